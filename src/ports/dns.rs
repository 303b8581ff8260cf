//! Route 53 as the broker sees it. Every call consumes a [`Permit`]: without tokens there is no call, by type.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::core::dns::name::DnsName;
use crate::core::dns::record::RawRecordSet;
use crate::core::ids::{AccountId, ZoneId};
use crate::core::limits::budget::Permit;
use crate::core::planning::change::WireChange;

/// The outcome of a call that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Refused for its content (`InvalidChangeBatch`, `InvalidInput`): the same content will be refused again.
    #[error("refused: {message}")]
    Refused {
        /// Route 53's error code.
        code: String,
        /// Route 53's message, whole.
        message: String,
        /// AWS's request id.
        request_id: Option<String>,
    },
    /// `Throttling` / `Rate exceeded`: not applied; the account's limits are lower than believed, or others spend them.
    #[error("throttled by Route 53")]
    Throttled,
    /// `PriorRequestNotComplete`: not applied; the zone still processes an earlier call.
    #[error("the zone is still busy with a prior request")]
    Busy,
    /// The credentials ran out (`ExpiredToken`): not applied; fetch new ones and ask again.
    #[error("the credentials have expired")]
    Expired,
    /// Not allowed (`AccessDenied`, `InvalidClientTokenId`, `SignatureDoesNotMatch`, a role that cannot be assumed): not
    /// applied, and asking again soon is no use.
    #[error("denied: {message}")]
    Denied {
        /// AWS's message, without secrets.
        message: String,
    },
    /// `NoSuchHostedZone`, `NoSuchChange`.
    #[error("not found: {message}")]
    NotFound {
        /// AWS's message.
        message: String,
    },
    /// It certainly did not reach Route 53 (connection refused, name not resolved, no permit).
    #[error("not sent: {message}")]
    NotSent { message: String },
    /// Refused with a status of 400 to 499 and a code that is not known here: whether it was applied is not known either, and
    /// when it is refused again and again, it was not.
    #[error("refused with a code that is not known: {code}: {message}")]
    Unlisted { code: String, message: String, request_id: Option<String> },
    /// It is in doubt whether it was applied (time-out, connection lost, 5xx, an answer that cannot be read).
    #[error("the outcome is unknown: {message}")]
    Unknown { message: String },
}

/// The principal that the credentials belong to (STS GetCallerIdentity).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The account that would be changed.
    pub account: AccountId,
    /// The principal.
    pub arn: String,
}

/// One zone of ListHostedZones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostedZone {
    /// Bare id.
    pub id: ZoneId,
    /// The zone's apex.
    pub name: DnsName,
    /// Whether only associated VPCs see it.
    pub private: bool,
    /// How many record sets it holds.
    pub record_count: u64,
}

/// One page of ListHostedZones.
#[derive(Clone, Debug, Default)]
pub struct ZonePage {
    pub zones: Vec<HostedZone>,
    /// Where the next page starts.
    pub next_marker: Option<String>,
}

/// Where a page of ListResourceRecordSets starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordCursor {
    /// Name, as answered.
    pub name: String,
    pub rtype: String,
    pub set_identifier: Option<String>,
}

/// One page of ListResourceRecordSets (300 sets at most).
#[derive(Clone, Debug, Default)]
pub struct RecordPage {
    /// The sets, raw.
    pub sets: Vec<RawRecordSet>,
    /// Where the next page starts.
    pub next: Option<RecordCursor>,
}

/// The answer of ChangeResourceRecordSets when it accepts a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeReceipt {
    /// The bare change id.
    pub change_id: String,
    /// Whether it is INSYNC already.
    pub in_sync: bool,
    /// AWS's request id.
    pub request_id: Option<String>,
}

/// Route 53 and STS of one account. Each method is one attempt: there are no retries below this line.
#[async_trait]
pub trait DnsProvider: Send + Sync {
    /// STS GetCallerIdentity with the account's credentials. STS has a quota of its own, so it needs no permit.
    async fn identity(&self) -> Result<CallerIdentity, CallError>;

    /// ListHostedZones, one page of 100.
    async fn list_zones(
        &self,
        permit: Permit,
        marker: Option<String>,
    ) -> Result<ZonePage, CallError>;

    /// ListTagsForResources, ten zones at most.
    async fn zone_tags(
        &self,
        permit: Permit,
        zones: &[ZoneId],
    ) -> Result<BTreeMap<ZoneId, BTreeMap<String, String>>, CallError>;

    /// ListResourceRecordSets, one page of 300, starting at the cursor.
    async fn list_records(
        &self,
        permit: Permit,
        zone: &ZoneId,
        from: Option<RecordCursor>,
    ) -> Result<RecordPage, CallError>;

    /// ChangeResourceRecordSets.
    async fn change_records(
        &self,
        permit: Permit,
        zone: &ZoneId,
        comment: &str,
        changes: &[WireChange],
    ) -> Result<ChangeReceipt, CallError>;

    /// GetChange: whether the change is INSYNC.
    async fn change_in_sync(&self, permit: Permit, change_id: &str) -> Result<bool, CallError>;

    /// Forget the credentials, so that the next call fetches new ones.
    async fn refresh_credentials(&self);
}

/// Makes the provider of an account.
#[async_trait]
pub trait DnsProviders: Send + Sync {
    /// The provider of one configured account.
    async fn provider(
        &self,
        account: &AccountId,
    ) -> Result<std::sync::Arc<dyn DnsProvider>, CallError>;
}
