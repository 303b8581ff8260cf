//! The audit, as the store keeps it.

use async_trait::async_trait;
use uuid::Uuid;

use super::{ChainCheck, StoreError};
use crate::core::audit::{AuditEntry, AuditHash, AuditKind};
use crate::core::dns::name::DnsName;
use crate::core::ids::{AccountId, ClusterId, EnvironmentId, RuleName};
use crate::core::time::Timestamp;

/// An entry with its number.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    /// Its place in the chain, from 1.
    pub seq: i64,
    /// Its hash.
    pub hash: AuditHash,
    /// The entry.
    pub entry: AuditEntry,
}

/// An entry as it was hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainedText {
    /// Its place in the chain, from 1.
    pub seq: i64,
    /// Its hash.
    pub hash: AuditHash,
    /// Its text.
    pub text: String,
}

/// A place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditLink {
    /// The number of the entry; 0 before the first.
    pub seq: i64,
    /// The hash of the entry, or the one before the first.
    pub hash: AuditHash,
}

/// Some entries as they were hashed, between the ends of the chain at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainPage {
    /// The last entry that was cut off, from which the chain is verified on.
    pub beginning: AuditLink,
    /// The newest entry.
    pub end: AuditLink,
    /// The entries.
    pub entries: Vec<ChainedText>,
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only by this actor, as people read it.
    pub actor: Option<String>,
    /// Only of this kind.
    pub kind: Option<AuditKind>,
    /// Only about this thing, such as `Grant pay-in-dev`.
    pub subject: Option<String>,
    pub environment: Option<EnvironmentId>,
    pub account: Option<AccountId>,
    /// Only about this zone, by its apex or its id.
    pub zone: Option<String>,
    pub cluster: Option<ClusterId>,
    pub team: Option<RuleName>,
    /// Only about this name, or a pattern that it is among.
    pub name: Option<DnsName>,
    /// Only of this request.
    pub request: Option<Uuid>,
    /// Not older.
    pub since: Option<Timestamp>,
    /// Older than this.
    pub until: Option<Timestamp>,
    /// Only with a smaller number: they come newest first.
    pub before: Option<i64>,
    pub limit: u32,
}

/// The audit. What a decision changes and its entry are written in one transaction where the store makes the decision; here is what
/// is written for decisions that change nothing in the store.
///
/// A store that is not one of [`crate::ports::Store`]'s databases may keep no audit: then it takes entries and has none.
#[async_trait]
pub trait AuditTrail: Send + Sync {
    /// Appends entries.
    async fn append_audit(&self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        let _ = entries;
        Ok(())
    }

    /// Appends of these entries those that are news: an entry whose kinds' newest entry for its subject says the same `after` already
    /// is passed over, so that of several replicas that see the same thing one tells of it. `kinds` are those that tell of the states
    /// of one subject, and each entry gets as `before` what the newest said. Answers how many were appended.
    async fn append_news(
        &self,
        kinds: &[AuditKind],
        entries: &[AuditEntry],
    ) -> Result<u64, StoreError> {
        let _ = (kinds, entries);
        Ok(0)
    }

    /// The newest entry for each subject of these kinds.
    async fn newest_audit(&self, kinds: &[AuditKind]) -> Result<Vec<AuditRow>, StoreError> {
        let _ = kinds;
        Ok(vec![])
    }

    /// Entries, the newest first.
    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let _ = filter;
        Ok(vec![])
    }

    /// Entries as they were hashed, after a number, in their order.
    async fn audit_chain(&self, after: i64, limit: u32) -> Result<ChainPage, StoreError> {
        let _ = (after, limit);
        Err(StoreError::Refused("this store keeps no audit".to_owned()))
    }

    /// Walks the chain, and checks that what is searched by says what the entries say.
    async fn verify_audit(&self) -> Result<ChainCheck, StoreError> {
        Ok(ChainCheck::Whole(0))
    }

    /// Cuts up to `most` entries older than `before` off the chain, with an entry that says so; answers how many.
    async fn prune_audit(
        &self,
        before: Timestamp,
        most: u32,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        let _ = (before, most, at);
        Ok(0)
    }
}
