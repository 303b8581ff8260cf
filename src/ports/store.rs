//! The broker's durable state. One narrow interface, the same over PostgreSQL and SQLite.
//!
//! Each method is one transaction. Once a method has returned `Ok`, its writes survive every crash but the disk's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::books::Books;
use super::credentials::Credentials;
use super::handovers::HandoverStore;
use super::replicas::{Feed, Leases, ReplicaId, Tenure};
use super::requests::Requests;
use super::rules::RuleSets;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordKey;
use crate::core::endpoint::packed::{PackedEndpoint, PackedRecord};
use crate::core::endpoint::verdict::Verdict;
use crate::core::endpoint::{KeyHash, Version};
use crate::core::ids::{AccountId, BatchId, ClusterId, EnvironmentId, Epoch, ZoneId};
use crate::core::planning::change::{Batch, Cause, Change};
use crate::core::planning::placement::{PlacementDecision, StoredPlacement};
pub use crate::core::planning::plan::{Drift, Ownership};
use crate::core::planning::tally::CountedName;
use crate::core::time::Timestamp;

/// The errors of a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached or gave up; the operation may be tried again.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A row cannot be read back: a newer version wrote it, or the file is damaged.
    #[error("the store holds a {what} that cannot be read: {reason}")]
    Corrupt {
        /// The kind of row, and which one.
        what: String,
        reason: String,
    },
    /// The database refuses the statement (a defect of ours, or a schema from another version).
    #[error("the store refused: {0}")]
    Refused(String),
    /// The lease under which this was to be written has passed on: nothing was written, and the worker has to stop.
    #[error("the lease of the account {0} has passed on to another replica")]
    Fenced(AccountId),
    /// A newer set of rules counts than the one by which this was planned: nothing was written, and it is to be planned anew.
    #[error("it was planned by set {planned} of the rules, and set {number} counts by now")]
    OlderRules {
        /// The number of the set by which it was planned.
        planned: u64,
        /// The number of the set that counts.
        number: u64,
    },
    /// Replicas of a release that cannot share the store with this one live; nothing was done.
    #[error(
        "replicas of zonefold {release} work on the store ({}), and that release cannot share it with this one: stop all of them; \
         what they hold is taken over once their leases have run out",
        .replicas.join(", ")
    )]
    OlderReplicas {
        /// Their release.
        release: &'static str,
        /// Their addresses.
        replicas: Vec<String>,
    },
    /// The feed no longer goes back that far.
    #[error(
        "the feed was cut after entry {after}: this replica was away for too long and has to start again"
    )]
    FeedCut {
        /// The entry after which entries are missing.
        after: u64,
    },
}

/// Whether the hash chain of an account's journal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainCheck {
    /// Every entry fits: the number of kept entries.
    Whole(u64),
    /// The first number that is missing, too much, or does not fit its hash.
    BrokenAt(u64),
}

impl ChainCheck {
    /// The number of kept entries; `None` if one does not fit.
    pub fn entries(self) -> Option<u64> {
        match self {
            Self::Whole(entries) => Some(entries),
            Self::BrokenAt(_) => None,
        }
    }
}

/// A request to open a session.
#[derive(Clone, Debug)]
pub struct SessionOpening {
    /// The registered cluster.
    pub cluster: ClusterId,
    /// The UID of its namespace kube-system.
    pub kube_system_uid: String,
    /// The agent's instance.
    pub instance_id: String,
    /// Now.
    pub at: Timestamp,
}

/// The answer to a request to open a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionOpened {
    /// The session has a new epoch; the older ones can commit nothing any more.
    Welcome {
        /// The new epoch.
        epoch: Epoch,
        /// Whether this cluster ever had a snapshot committed.
        known: bool,
    },
    /// The cluster's name belongs to another kube-system UID.
    IdentityConflict {
        /// The UID that was first.
        registered_uid: String,
    },
}

/// One durable operation on the endpoints of a cluster.
#[derive(Clone, Debug)]
pub enum IngestOp {
    /// Insert or replace. A key that is new gets the next arrival number; a known key keeps its own.
    Put {
        /// Hash of the key.
        key: KeyHash,
        /// Hash of the content.
        version: Version,
        endpoint: PackedEndpoint,
    },
    /// Remove the key if the stored version is the one seen; `None` removes it whatever the version.
    Del {
        /// Hash of the key.
        key: KeyHash,
        /// The version that the agent saw last.
        version_seen: Option<Version>,
    },
}

/// The operations of one cluster that become durable together.
#[derive(Clone, Debug)]
pub struct IngestUnit {
    pub cluster: ClusterId,
    /// Its session's epoch; another one in the store fences the unit off.
    pub epoch: Epoch,
    /// The highest sequence number covered, for the record.
    pub seq: u64,
    /// Whether this completes a snapshot, after which the cluster is `known`.
    pub completes_snapshot: bool,
    /// The operations, in order.
    pub ops: Vec<IngestOp>,
    /// Where puts go, by the index of the operation: stored with the content if it still rests on what is stored.
    pub placings: BTreeMap<usize, PlacementDecision>,
}

/// The outcome of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngestOutcome {
    /// Durable. `applied[i]` tells for each operation whether it changed anything, and the arrival number of a put.
    Committed {
        /// One for each operation.
        applied: Vec<OpOutcome>,
    },
    /// A newer session exists: nothing of the unit was committed.
    Fenced {
        /// The epoch that the store has.
        current: Epoch,
    },
}

/// The outcome of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpOutcome {
    /// The endpoint is stored under this arrival number.
    Stored {
        /// Rises with every new key of any cluster; decides which endpoint was first.
        arrival: i64,
    },
    /// The same, and where it goes was stored with it.
    Placed {
        /// As in `Stored`.
        arrival: i64,
    },
    /// The endpoint is gone.
    Removed,
    /// The key was not there, or another version than the one seen was.
    Unchanged,
}

/// One stored endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointRow {
    pub cluster: ClusterId,
    /// Hash of the key.
    pub key: KeyHash,
    /// Hash of the content.
    pub version: Version,
    /// The arrival number: the lowest was first.
    pub arrival: i64,
    pub endpoint: PackedEndpoint,
    /// The stored verdict for this version, once there is one.
    pub verdict: Option<Verdict>,
    /// Where it goes, once that was decided.
    pub placed: Option<PlacementRow>,
    /// When the content was stored last.
    pub updated_at: Timestamp,
}

/// Where a stored endpoint goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementRow {
    /// The content that this was decided for; `None` if a release before 0.2 decided it, which did not keep that.
    pub version: Option<Version>,
    /// The zones.
    pub placement: StoredPlacement,
}

/// A decision about a stored endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementWrite {
    /// The endpoint's cluster.
    pub cluster: ClusterId,
    /// Which, by its arrival number.
    pub arrival: i64,
    /// For which content.
    pub version: Version,
    /// Where it goes.
    pub placing: PlacementDecision,
}

/// A verdict to keep.
#[derive(Clone, Debug)]
pub struct VerdictRow {
    pub cluster: ClusterId,
    /// Which, by its arrival number.
    pub arrival: i64,
    /// For which content; kept only when the store still has that version.
    pub version: Version,
    pub verdict: Verdict,
}

/// A cluster as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRow {
    /// Its name.
    pub cluster: ClusterId,
    /// The UID of its namespace kube-system.
    pub kube_system_uid: String,
    /// The epoch of its newest session.
    pub epoch: Epoch,
    /// The instance that opened it.
    pub instance_id: String,
    /// The highest durable sequence number of that session.
    pub last_seq: u64,
    /// Whether a snapshot was ever committed.
    pub known: bool,
    /// When the session was opened.
    pub session_at: Timestamp,
}

/// A zone as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneRow {
    pub account: AccountId,
    pub environment: EnvironmentId,
    /// Bare id.
    pub zone: ZoneId,
    /// The apex.
    pub name: DnsName,
    /// Private or public.
    pub private: bool,
    /// When its records were listed completely for the last time; `None` before the first time.
    pub listed_at: Option<Timestamp>,
    /// Whether the last discovery found it, and a rule of the configuration selects it.
    pub visible: bool,
    /// Its tags, as the last discovery found them; `None` if no rule asked for them then.
    pub tags: Option<BTreeMap<String, String>>,
}

/// A record set as Route 53 holds it, with its ownership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    pub key: RecordKey,
    /// The record set exactly as answered.
    pub raw: PackedRecord,
    /// `None` if the set is foreign: it is never touched.
    pub owner: Option<Ownership>,
    /// How another writer changed it since we wrote it.
    pub drift: Option<Drift>,
    /// When it was seen or written.
    pub observed_at: Timestamp,
}

/// A difference to the observed records of a zone.
#[derive(Clone, Debug)]
pub enum RecordWrite {
    /// The set is there.
    Put(RecordRow),
    /// The set is gone.
    Remove(RecordKey),
}

/// A name in a zone and the cluster that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRow {
    pub zone: ZoneId,
    /// The owner name.
    pub name: DnsName,
    /// The holder.
    pub cluster: ClusterId,
    /// Since when.
    pub since: Timestamp,
}

/// A difference to the claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimWrite {
    /// The name is held.
    Hold(ClaimRow),
    /// The name is free.
    Release {
        zone: ZoneId,
        /// The owner name.
        name: DnsName,
    },
}

/// How a batch ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum BatchOutcome {
    /// Route 53 accepted it, and said so.
    Applied {
        /// The bare change id.
        change_id: String,
        /// AWS's request id.
        request_id: Option<String>,
    },
    /// Its answer was lost, and when it was read back, its changes were done. By it, as a rule; but an earlier call of ours that
    /// came late, or another writer, leaves the same behind, and no reading tells them apart.
    FoundDone,
    /// Route 53 refused it for its content: nothing of it was applied.
    Refused {
        code: String,
        message: String,
        /// AWS's request id.
        request_id: Option<String>,
    },
    /// Its answer was lost, and its zone was deleted before it could be read back: nothing is left that could tell.
    ZoneDeleted,
    /// It was not applied, for another reason (throttled, busy, denied, not sent, found absent by reading back).
    NotApplied { reason: String },
}

/// Why a batch with a lost answer was not applied: part of the journal, so the text never changes.
const NOT_FOUND: &str = "not found when read back";

impl BatchOutcome {
    /// The answer was lost, and the batch was not there when it was read back.
    pub fn not_found() -> Self {
        Self::NotApplied { reason: NOT_FOUND.to_owned() }
    }

    /// Whether the call may still be carried out after this end: its answer was lost, so it may be somewhere on its way. Changes
    /// that were found done may be the work of an earlier call that did the same.
    pub fn may_come_late(&self) -> bool {
        match self {
            Self::FoundDone => true,
            Self::NotApplied { reason } => reason == NOT_FOUND,
            Self::Applied { .. } | Self::Refused { .. } | Self::ZoneDeleted => false,
        }
    }

    /// Whether the batch explains what Route 53 holds since.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Applied { .. } | Self::FoundDone)
    }
}

/// A batch in the journal.
#[derive(Clone, Debug)]
pub struct BatchRow {
    /// The batch as it was sent.
    pub batch: Batch,
    /// How it ended; `None` while it is in doubt.
    pub outcome: Option<BatchOutcome>,
    pub finished_at: Option<Timestamp>,
}

/// One change in the journal.
#[derive(Clone, Debug)]
pub struct ChangeRow {
    /// Rises with every change; the cursor of a list.
    pub id: i64,
    pub batch: BatchId,
    pub account: AccountId,
    pub zone: ZoneId,
    /// Before, after and cause.
    pub change: Change,
    pub planned_at: Timestamp,
    /// How its batch ended.
    pub outcome: Option<BatchOutcome>,
}

/// Which changes to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct ChangeFilter {
    /// Only of this owner name.
    pub name: Option<DnsName>,
    /// Only of this zone.
    pub zone: Option<ZoneId>,
    /// Only attributed to this cluster.
    pub cluster: Option<ClusterId>,
    /// Only with a smaller id than this.
    pub before_id: Option<i64>,
    pub limit: u32,
}

/// What guards count of an applied batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedRow {
    /// When it was applied, or found to be.
    pub at: Timestamp,
    /// The zone.
    pub zone: ZoneId,
    /// Its names.
    pub counted: Vec<CountedName>,
}

/// The broker's durable state; see the module's page.
#[async_trait]
pub trait Store:
    Leases + Feed + RuleSets + Requests + HandoverStore + Credentials + Books + Send + Sync
{
    /// The same store, whose ingest and zones are announced to the other replicas as this one's news.
    fn of_replica(&self, replica: ReplicaId) -> Arc<dyn Store>;

    /// The same store for one account's worker: [`save_zones`](Self::save_zones), [`save_records`](Self::save_records),
    /// [`save_claims`](Self::save_claims), [`begin_batch`](Self::begin_batch), [`finish_batch`](Self::finish_batch) and
    /// [`set_spend_horizon`](Self::set_spend_horizon) assert in their transaction that the lease has not passed on, and are
    /// refused as [`StoreError::Fenced`] when it has.
    fn under(&self, tenure: Tenure) -> Arc<dyn Store>;

    /// Opens sessions, all in one transaction: raises each cluster's epoch, or refuses another kube-system UID. One answer for
    /// each opening; a cluster that is named twice is opened twice, in the order of the openings.
    async fn open_sessions(
        &self,
        openings: &[SessionOpening],
    ) -> Result<Vec<SessionOpened>, StoreError>;

    /// Opens one session.
    async fn open_session(&self, opening: &SessionOpening) -> Result<SessionOpened, StoreError> {
        let opened = self.open_sessions(std::slice::from_ref(opening)).await?;
        opened
            .into_iter()
            .next()
            .ok_or_else(|| StoreError::Refused("a session was opened without an answer".to_owned()))
    }

    /// Makes the units durable, all in one transaction; a fenced unit leaves the others alone.
    async fn ingest(
        &self,
        units: &[IngestUnit],
        at: Timestamp,
    ) -> Result<Vec<IngestOutcome>, StoreError>;

    /// All clusters that ever had a session.
    async fn clusters(&self) -> Result<Vec<ClusterRow>, StoreError>;

    /// Up to `limit` endpoints of all clusters with an arrival number above `after_arrival`, in that order.
    async fn endpoints(
        &self,
        after_arrival: i64,
        limit: u32,
    ) -> Result<Vec<EndpointRow>, StoreError>;

    /// Stores where endpoints go, by compare-and-swap: a decision holds if the store still has that content and the placement
    /// that it rests on, or holds it already. Returns for each whether it holds.
    async fn place(&self, decisions: &[PlacementWrite]) -> Result<Vec<bool>, StoreError>;

    /// The endpoints with these arrival numbers, if they are still there.
    async fn endpoints_at(&self, arrivals: &[i64]) -> Result<Vec<EndpointRow>, StoreError>;

    /// Keeps verdicts; a verdict for a version that is no longer stored is dropped. Where the store is not shared, those of a
    /// process whose leases a newer one took are refused as [`StoreError::Fenced`]. Replicas that share a store hear of each
    /// other's verdicts instead: whoever kept one that came too late keeps the newer one over it.
    async fn save_verdicts(&self, verdicts: &[VerdictRow]) -> Result<(), StoreError>;

    /// The zones of all accounts.
    async fn zones(&self) -> Result<Vec<ZoneRow>, StoreError>;

    /// Inserts or replaces zones by their id. A zone that discovery no longer finds stays until it is forgotten.
    async fn save_zones(&self, zones: &[ZoneRow]) -> Result<(), StoreError>;

    /// The accounts whose zones were listed at least once.
    async fn listed_accounts(&self) -> Result<BTreeSet<AccountId>, StoreError>;

    /// Notes that all zones of an account were listed, and announces it to the other replicas if that is news.
    async fn note_listed(&self, account: &AccountId, at: Timestamp) -> Result<(), StoreError>;

    /// Up to `limit` observed records of a zone after a key, in list order.
    async fn records(
        &self,
        zone: &ZoneId,
        after: Option<&RecordKey>,
        limit: u32,
    ) -> Result<Vec<RecordRow>, StoreError>;

    /// Applies differences to the observed records of a zone; `listed_at` is kept with the zone when given.
    async fn save_records(
        &self,
        zone: &ZoneId,
        writes: &[RecordWrite],
        listed_at: Option<Timestamp>,
    ) -> Result<(), StoreError>;

    /// All claims of the given zones.
    async fn claims(&self, zones: &[ZoneId]) -> Result<Vec<ClaimRow>, StoreError>;

    /// Applies differences to the claims, of names for which nothing is sent.
    async fn save_claims(&self, writes: &[ClaimWrite]) -> Result<(), StoreError>;

    /// Journals a batch before it is sent, with the claims that it rests on. One that was planned by older rules than those that
    /// count is refused as [`StoreError::OlderRules`].
    async fn begin_batch(&self, batch: &Batch, claims: &[ClaimWrite]) -> Result<(), StoreError>;

    /// Completes a batch: its outcome, what is now observed, and the claims that ended with it. If it was applied, the words that
    /// let its units go are used up.
    async fn finish_batch(
        &self,
        batch: &Batch,
        outcome: &BatchOutcome,
        writes: &[RecordWrite],
        claims: &[ClaimWrite],
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// The batches of an account without an outcome, oldest first: each has to be read back.
    async fn open_batches(&self, account: &AccountId) -> Result<Vec<BatchRow>, StoreError>;

    /// The batches of an account, planned at a time or later, that may still come late
    /// ([`BatchOutcome::may_come_late`]), oldest first.
    async fn lost_batches(
        &self,
        account: &AccountId,
        since: Timestamp,
    ) -> Result<Vec<BatchRow>, StoreError>;

    /// What guards count of the account's batches that were applied at a time or later, the oldest first.
    async fn counted(
        &self,
        account: &AccountId,
        since: Timestamp,
    ) -> Result<Vec<CountedRow>, StoreError>;

    /// The journal, newest first.
    async fn changes(&self, filter: &ChangeFilter) -> Result<Vec<ChangeRow>, StoreError>;

    /// The causes of the newest change of a record set, for "why".
    async fn last_cause(
        &self,
        zone: &ZoneId,
        key: &RecordKey,
    ) -> Result<Option<(BatchId, Cause)>, StoreError>;

    /// The time until which the account's tokens may have been spent; `None` if the account was never called.
    async fn spend_horizon(&self, account: &AccountId) -> Result<Option<Timestamp>, StoreError>;

    /// Moves that time, before the tokens are spent.
    async fn set_spend_horizon(
        &self,
        account: &AccountId,
        until: Timestamp,
    ) -> Result<(), StoreError>;

    /// Checks the hash chain of an account's journal.
    async fn verify_journal(&self, account: &AccountId) -> Result<ChainCheck, StoreError>;

    /// Cuts up to `most` entries from the front of an account's journal, of batches that ended before `before`; returns how many.
    /// The chain stays verifiable and records the cut. The newest change of each record set that is still there stays too.
    async fn prune_journal(
        &self,
        account: &AccountId,
        before: Timestamp,
        most: u32,
        at: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Whether the database answers.
    async fn ping(&self) -> Result<(), StoreError>;
}
