//! What the journal and the sets of rules say of an earlier moment, and of a batch.

use async_trait::async_trait;
use uuid::Uuid;

use super::{BatchOutcome, RuleSetRow, StoreError};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RawRecordSet, RecordKey};
use crate::core::ids::{AccountId, BatchId, ClusterId, EnvironmentId, ZoneId};
use crate::core::planning::change::{Batch, Change};
use crate::core::time::Timestamp;

/// A batch with all that is kept of it.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchHistory {
    pub id: BatchId,
    pub account: AccountId,
    pub zone: ZoneId,
    /// The apex of the zone.
    pub apex: DnsName,
    pub planned_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// How it ended; `None` while it is in doubt.
    pub outcome: Option<BatchOutcome>,
    /// The number of its entry in the account's journal.
    pub journal_seq: i64,
    /// As it was sent; `None` once its entry was cut off the journal.
    pub batch: Option<Batch>,
    /// Its changes, as many as are still kept.
    pub changes: Vec<Change>,
    /// The requests whose words let units of it go.
    pub requests: Vec<Uuid>,
}

/// A record set of ours as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct PastRecord {
    pub key: RecordKey,
    /// What Route 53 held then by our last write.
    pub set: RawRecordSet,
    /// The cluster that held the name when it was written.
    pub cluster: ClusterId,
    /// The batch that wrote it.
    pub batch: BatchId,
    /// Since when.
    pub since: Timestamp,
}

/// A name in one zone as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct PastName {
    pub account: AccountId,
    pub environment: EnvironmentId,
    pub zone: ZoneId,
    /// The apex of the zone.
    pub apex: DnsName,
    /// Whether the zone is private.
    pub private: bool,
    /// The cluster that held the name, and since when.
    pub holder: Option<(ClusterId, Timestamp)>,
    /// Our record sets.
    pub records: Vec<PastRecord>,
    /// From when on the journal of the account is whole; `None` if nothing was ever cut off.
    pub whole_since: Option<Timestamp>,
}

/// Earlier moments. A store that is not one of [`crate::ports::Store`]'s databases may know of none.
#[async_trait]
pub trait History: Send + Sync {
    /// A batch; `None` if there is none, or nothing of it is kept any more.
    async fn batch_history(&self, id: BatchId) -> Result<Option<BatchHistory>, StoreError> {
        let _ = id;
        Ok(None)
    }

    /// The batches that the words of a request let go.
    async fn batches_of_request(&self, request: Uuid) -> Result<Vec<BatchId>, StoreError> {
        let _ = request;
        Ok(vec![])
    }

    /// A name at a moment, in each zone of which anything was known of it then.
    async fn name_at(&self, name: &DnsName, at: Timestamp) -> Result<Vec<PastName>, StoreError> {
        let _ = (name, at);
        Ok(vec![])
    }

    /// Our record sets of a zone at a moment, by name and type, behind a key; and from when on the journal is whole.
    async fn records_at(
        &self,
        zone: &ZoneId,
        at: Timestamp,
        after: Option<&RecordKey>,
        limit: u32,
    ) -> Result<(Vec<PastRecord>, Option<Timestamp>), StoreError> {
        let _ = (zone, at, after, limit);
        Ok((vec![], None))
    }

    /// The set of rules that counted at a moment; `None` if none did, or it is not kept.
    async fn rules_at(&self, at: Timestamp) -> Result<Option<RuleSetRow>, StoreError> {
        let _ = at;
        Ok(None)
    }
}
