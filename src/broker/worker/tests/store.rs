//! The store of these tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::core::dns::record::RecordKey;
use crate::core::endpoint::packed::PackedRecord;
use crate::core::endpoint::verdict::VerdictState;
use crate::core::governance::handover::{Handover, HandoverReport};
use crate::core::governance::ruleset::RulesDigest;
use crate::core::ids::{AccountId, BatchId, ZoneId};
use crate::core::planning::change::{Batch, Cause};
use crate::core::release::request::ReleaseRequest;
use crate::core::testkit::{cluster, endpoint, name};
use crate::core::time::{Millis, Timestamp};
use crate::ports::*;

pub const START: Timestamp = Timestamp(1_000_000);

/// A store that holds zones and records and notes how batches ended.
pub struct TestStore {
    pub zones: Mutex<Vec<ZoneRow>>,
    pub records: Mutex<BTreeMap<ZoneId, Vec<RecordRow>>>,
    pub claims: Mutex<Vec<ClaimRow>>,
    pub outcomes: Mutex<Vec<BatchOutcome>>,
    /// The verdicts that were stored, one after the other.
    pub verdicts: Mutex<Vec<VerdictState>>,
    /// Verdicts are stored, but the answers are lost.
    pub loses_verdict_answers: AtomicBool,
    /// The changes of an earlier life, the newest first.
    pub changes: Mutex<Vec<ChangeRow>>,
    /// Batches of an earlier life that may come late.
    pub lost: Mutex<Vec<BatchRow>>,
    /// What guards count of the batches of an earlier life.
    pub counted: Mutex<Vec<CountedRow>>,
    pub horizon: Mutex<Option<Timestamp>>,
    /// One permit for each batch that may be journalled.
    pub journal: Semaphore,
    pub journalled: AtomicUsize,
    /// The next batch is journalled, but the answer is lost.
    pub loses_answer: AtomicBool,
}

impl TestStore {
    /// A record set of the cluster east, with its claim.
    pub fn hold(&self, zone: usize, owner: &str, target: &str) {
        let parsed =
            crate::core::endpoint::parsed::parse_endpoint(&endpoint("web", owner, "A", &[target]))
                .unwrap();
        let raw = parsed.record_sets(&zone_id(zone), 300)[0].to_raw();
        let key = raw.key().unwrap();
        let packed = PackedRecord::pack(&key, &raw);
        let ownership = Ownership { cluster: cluster("east"), batch: BatchId(uuid::Uuid::nil()) };
        let row =
            RecordRow { key, raw: packed, owner: Some(ownership), drift: None, observed_at: START };
        self.records.lock().unwrap().entry(zone_id(zone)).or_default().push(row);
        let claim = ClaimRow {
            zone: zone_id(zone),
            name: name(owner),
            cluster: cluster("east"),
            since: START,
        };
        self.claims.lock().unwrap().push(claim);
    }
}

#[async_trait]
impl RuleSets for TestStore {
    async fn latest_rules(&self) -> Result<Option<RuleSetRow>, StoreError> {
        Ok(None)
    }
    async fn rules_numbered(&self, _: u64) -> Result<Option<RuleSetRow>, StoreError> {
        Ok(None)
    }
    async fn files_were_accepted(&self, _: RulesDigest) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn accept_rules(&self, _: &RuleSetRow) -> Result<bool, StoreError> {
        Ok(true)
    }
}

#[async_trait]
impl Requests for TestStore {
    async fn requests(&self, _: &RequestFilter) -> Result<Vec<ReleaseRequest>, StoreError> {
        Ok(vec![])
    }
    async fn request(&self, _: uuid::Uuid) -> Result<Option<ReleaseRequest>, StoreError> {
        Ok(None)
    }
    async fn save_request(
        &self,
        _: &ReleaseRequest,
        _: &[ApprovalRow],
    ) -> Result<bool, StoreError> {
        Ok(true)
    }
    async fn approvals(&self) -> Result<Vec<ApprovalRow>, StoreError> {
        Ok(vec![])
    }
}

#[async_trait]
impl HandoverStore for TestStore {
    async fn handovers(&self, _: u32) -> Result<Vec<Handover>, StoreError> {
        Ok(vec![])
    }
    async fn handover(&self, _: uuid::Uuid) -> Result<Option<Handover>, StoreError> {
        Ok(None)
    }
    async fn save_handover(&self, _: &Handover) -> Result<bool, StoreError> {
        unimplemented!("not of these tests")
    }
    async fn handover_reports(
        &self,
        _: uuid::Uuid,
    ) -> Result<BTreeMap<AccountId, HandoverReport>, StoreError> {
        Ok(BTreeMap::new())
    }
    async fn save_handover_report(
        &self,
        _: uuid::Uuid,
        _: &AccountId,
        _: &HandoverReport,
    ) -> Result<(), StoreError> {
        unimplemented!("not of these tests")
    }
}

#[async_trait]
impl Leases for TestStore {
    fn is_shared(&self) -> bool {
        false
    }
    async fn heartbeat(&self, replica: &ReplicaRow, _: Millis) -> Result<Membership, StoreError> {
        Ok(Membership { replicas: vec![replica.clone()], leases: vec![] })
    }
    async fn take_leases(
        &self,
        holder: ReplicaId,
        accounts: &[AccountId],
        _: Millis,
    ) -> Result<Vec<Tenure>, StoreError> {
        let taken =
            |account: &AccountId| Tenure { account: account.clone(), holder, epoch: LeaseEpoch(1) };
        Ok(accounts.iter().map(taken).collect())
    }
    async fn give_back(&self, _: &[Tenure]) -> Result<(), StoreError> {
        Ok(())
    }
    async fn leave(&self, _: ReplicaId) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Feed for TestStore {
    async fn feed_end(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
    async fn feed(&self, _: u64, _: u32) -> Result<Vec<FeedEntry>, StoreError> {
        Ok(vec![])
    }
    async fn announce(&self, _: ReplicaId, _: Vec<News>) -> Result<(), StoreError> {
        Ok(())
    }
    async fn feed_changed(&self) {
        std::future::pending().await
    }
    async fn prune_feed(&self, _: Millis) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl Store for TestStore {
    fn of_replica(&self, _: ReplicaId) -> Arc<dyn Store> {
        unreachable!("who makes a worker names the replica")
    }
    fn under(&self, _: Tenure) -> Arc<dyn Store> {
        unreachable!("a worker is given the store of its tenure")
    }
    async fn open_sessions(&self, _: &[SessionOpening]) -> Result<Vec<SessionOpened>, StoreError> {
        Err(StoreError::Refused("no sessions here".to_owned()))
    }
    async fn ingest(
        &self,
        _: &[IngestUnit],
        _: Timestamp,
    ) -> Result<Vec<IngestOutcome>, StoreError> {
        Ok(vec![])
    }
    async fn clusters(&self) -> Result<Vec<ClusterRow>, StoreError> {
        Ok(vec![])
    }
    async fn endpoints(&self, _: i64, _: u32) -> Result<Vec<EndpointRow>, StoreError> {
        Ok(vec![])
    }
    async fn save_verdicts(&self, rows: &[VerdictRow]) -> Result<(), StoreError> {
        self.verdicts.lock().unwrap().extend(rows.iter().map(|row| row.verdict.state));
        if self.loses_verdict_answers.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable(
                "the connection broke after the commit was sent".to_owned(),
            ));
        }
        Ok(())
    }
    async fn zones(&self) -> Result<Vec<ZoneRow>, StoreError> {
        Ok(self.zones.lock().unwrap().clone())
    }
    async fn place(&self, decisions: &[PlacementWrite]) -> Result<Vec<bool>, StoreError> {
        Ok(vec![true; decisions.len()])
    }

    async fn endpoints_at(&self, _: &[i64]) -> Result<Vec<EndpointRow>, StoreError> {
        Ok(vec![])
    }

    async fn listed_accounts(&self) -> Result<BTreeSet<AccountId>, StoreError> {
        Ok(BTreeSet::new())
    }

    async fn note_listed(&self, _: &AccountId, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn save_zones(&self, rows: &[ZoneRow]) -> Result<(), StoreError> {
        let mut zones = self.zones.lock().unwrap();
        for row in rows {
            zones.retain(|zone| zone.zone != row.zone);
            zones.push(row.clone());
        }
        Ok(())
    }
    async fn records(
        &self,
        zone: &ZoneId,
        after: Option<&RecordKey>,
        _: u32,
    ) -> Result<Vec<RecordRow>, StoreError> {
        let rows = self.records.lock().unwrap().get(zone).cloned().unwrap_or_default();
        Ok(rows.into_iter().filter(|row| after.is_none_or(|after| row.key > *after)).collect())
    }
    async fn save_records(
        &self,
        _: &ZoneId,
        _: &[RecordWrite],
        _: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        Ok(())
    }
    async fn claims(&self, _: &[ZoneId]) -> Result<Vec<ClaimRow>, StoreError> {
        Ok(self.claims.lock().unwrap().clone())
    }
    async fn save_claims(&self, _: &[ClaimWrite]) -> Result<(), StoreError> {
        Ok(())
    }
    async fn begin_batch(&self, _: &Batch, _: &[ClaimWrite]) -> Result<(), StoreError> {
        self.journal.acquire().await.unwrap().forget();
        self.journalled.fetch_add(1, Ordering::Relaxed);
        if self.loses_answer.swap(false, Ordering::Relaxed) {
            return Err(StoreError::Unavailable(
                "the connection broke after the commit was sent".to_owned(),
            ));
        }
        Ok(())
    }
    async fn finish_batch(
        &self,
        _: &Batch,
        outcome: &BatchOutcome,
        _: &[RecordWrite],
        _: &[ClaimWrite],
        _: Timestamp,
    ) -> Result<(), StoreError> {
        self.outcomes.lock().unwrap().push(outcome.clone());
        Ok(())
    }
    async fn open_batches(&self, _: &AccountId) -> Result<Vec<BatchRow>, StoreError> {
        Ok(vec![])
    }
    async fn lost_batches(
        &self,
        _: &AccountId,
        since: Timestamp,
    ) -> Result<Vec<BatchRow>, StoreError> {
        let lost = self.lost.lock().unwrap();
        Ok(lost.iter().filter(|row| row.batch.planned_at >= since).cloned().collect())
    }
    async fn counted(
        &self,
        _: &AccountId,
        since: Timestamp,
    ) -> Result<Vec<CountedRow>, StoreError> {
        let counted = self.counted.lock().unwrap();
        Ok(counted.iter().filter(|row| row.at >= since).cloned().collect())
    }
    async fn changes(&self, filter: &ChangeFilter) -> Result<Vec<ChangeRow>, StoreError> {
        let changes = self.changes.lock().unwrap();
        Ok(changes.iter().take(filter.limit as usize).cloned().collect())
    }
    async fn last_cause(
        &self,
        _: &ZoneId,
        _: &RecordKey,
    ) -> Result<Option<(BatchId, Cause)>, StoreError> {
        Ok(None)
    }
    async fn spend_horizon(&self, _: &AccountId) -> Result<Option<Timestamp>, StoreError> {
        Ok(*self.horizon.lock().unwrap())
    }
    async fn set_spend_horizon(&self, _: &AccountId, until: Timestamp) -> Result<(), StoreError> {
        *self.horizon.lock().unwrap() = Some(until);
        Ok(())
    }
    async fn verify_journal(&self, _: &AccountId) -> Result<ChainCheck, StoreError> {
        Ok(ChainCheck::Whole(0))
    }
    async fn prune_journal(
        &self,
        _: &AccountId,
        _: Timestamp,
        _: u32,
        _: Timestamp,
    ) -> Result<u64, StoreError> {
        Ok(0)
    }
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

pub fn zone_id(zone: usize) -> ZoneId {
    ZoneId::parse(format!("Z{zone:05}")).unwrap()
}
