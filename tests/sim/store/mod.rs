//! The store of a run: what the ports promise, in memory, shared by all replicas and outliving them, with the troubles of a
//! database that is reached over a network.
//!
//! [`tables`] is the database, whose every method is one transaction and whose time is the true time. [`MemoryStore`] is one
//! process's connection to it: a call takes a while on the way there and on the way back, and by the seed it fails before
//! it was applied, or is applied and the answer is lost. What was sent when its process died is applied all the same.

mod governed;
mod half_open;
mod leases;
mod people;
mod tables;

pub use half_open::{HalfOpen, Way};
pub use tables::Tables;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use zonefold::core::dns::record::RecordKey;
use zonefold::core::ids::{AccountId, BatchId, ZoneId};
use zonefold::core::planning::change::{Batch, Cause};
use zonefold::core::time::{Millis, Timestamp};
use zonefold::ports::*;

use crate::gate::Gate;
use crate::history::{Commit, Replica, What};
use crate::recorder::{Recorder, lock};

/// The present faults between the brokers and the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Troubles {
    /// How long a call takes on each way, in milliseconds.
    pub latency_ms: (u64, u64),
    /// The chance that a call takes seconds more on one way.
    pub slow: f64,
    /// The chance that a call fails and was not applied.
    pub refuse: f64,
    /// The chance that a call is applied and its answer lost.
    pub lose_answer: f64,
    /// How many outages are going on: while there is one, nothing is applied.
    pub outages: u32,
    /// The chance that a notification is lost, so that only polling finds an entry of the feed.
    pub lose_notice: f64,
    /// The brokers whose connections to it are half open.
    pub half_open: HalfOpen,
}

impl Troubles {
    /// None, on a network of that latency.
    pub fn none(latency_ms: (u64, u64)) -> Self {
        Self {
            latency_ms,
            slow: 0.0,
            refuse: 0.0,
            lose_answer: 0.0,
            outages: 0,
            lose_notice: 0.0,
            half_open: HalfOpen::default(),
        }
    }
}

/// The database.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    tables: Mutex<Tables>,
    troubles: Mutex<Troubles>,
    random: Mutex<fastrand::Rng>,
    feed_end: watch::Sender<u64>,
    recorder: Recorder,
    shared: bool,
    /// How far the database's clock is ahead.
    ahead_ms: AtomicI64,
}

impl Database {
    /// An empty one. One that is not shared is what a single broker has on its own disk.
    pub fn new(
        recorder: Recorder,
        random: fastrand::Rng,
        troubles: Troubles,
        shared: bool,
    ) -> Self {
        Self(Arc::new(Inner {
            tables: Mutex::default(),
            troubles: Mutex::new(troubles),
            random: Mutex::new(random),
            feed_end: watch::Sender::new(0),
            recorder,
            shared,
            ahead_ms: AtomicI64::new(0),
        }))
    }

    /// Changes what goes wrong.
    pub fn trouble(&self, change: impl FnOnce(&mut Troubles)) {
        change(&mut lock(&self.0.troubles));
    }

    /// Takes all entries out of the feed.
    pub fn cut_feed(&self) {
        let now = self.now();
        lock(&self.0.tables).prune_feed(now, Millis(-1));
    }

    /// Sets the database's clock forward, or back; answers how far it is ahead now.
    pub fn set_clock(&self, by_ms: i64) -> i64 {
        self.0.ahead_ms.fetch_add(by_ms, Ordering::Relaxed) + by_ms
    }

    fn now(&self) -> Timestamp {
        self.0.recorder.now() + Millis(self.0.ahead_ms.load(Ordering::Relaxed))
    }

    /// Looks at the tables.
    pub fn look<T>(&self, look: impl FnOnce(&Tables) -> T) -> T {
        look(&lock(&self.0.tables))
    }

    /// The connection of one life of a broker.
    pub fn connect(&self, replica: Replica, gate: Gate) -> Arc<MemoryStore> {
        Arc::new(MemoryStore {
            database: self.clone(),
            replica,
            gate,
            origin: None,
            tenure: None,
            seen: AtomicU64::new(0),
        })
    }

    fn draw(&self) -> Fate {
        let troubles = lock(&self.0.troubles).clone();
        let mut random = lock(&self.0.random);
        let (least, most) = troubles.latency_ms;
        let (mut there, mut back) = (random.u64(least..=most), random.u64(least..=most));
        let mut is = |chance: f64| chance > 0.0 && random.f64() < chance;
        let (slow, slow_there) = (is(troubles.slow), is(0.5));
        let end = if is(troubles.refuse) {
            End::Refused
        } else if is(troubles.lose_answer) {
            End::AnswerLost
        } else {
            End::Answered
        };
        if slow {
            let extra = random.u64(300..=4_000);
            *(if slow_there { &mut there } else { &mut back }) += extra;
        }
        Fate { there: Duration::from_millis(there), back: Duration::from_millis(back), end, slow }
    }

    fn is_out(&self) -> bool {
        lock(&self.0.troubles).outages > 0
    }

    /// One transaction, in the moment in which it is applied.
    fn apply<T>(&self, transaction: impl FnOnce(&mut Tables, Timestamp, &Recorder) -> T) -> T {
        let mut tables = lock(&self.0.tables);
        let before = tables.feed_end();
        let answer = transaction(&mut tables, self.now(), &self.0.recorder);
        let end = tables.feed_end();
        drop(tables);
        if end > before {
            let lost = lock(&self.0.troubles).lose_notice;
            if lost == 0.0 || lock(&self.0.random).f64() >= lost {
                self.0.feed_end.send_replace(end);
            }
        }
        answer
    }
}

struct Fate {
    there: Duration,
    back: Duration,
    end: End,
    slow: bool,
}

#[derive(PartialEq)]
enum End {
    Answered,
    Refused,
    AnswerLost,
}

/// One process's connection to the database.
pub struct MemoryStore {
    database: Database,
    replica: Replica,
    gate: Gate,
    /// The replica from which news of ingest and zones comes.
    origin: Option<ReplicaId>,
    tenure: Option<Tenure>,
    /// The entry of the feed that the process was last woken for.
    seen: AtomicU64,
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(why.to_owned())
}

impl MemoryStore {
    fn copy(&self) -> Self {
        Self {
            database: self.database.clone(),
            replica: self.replica,
            gate: self.gate.clone(),
            origin: self.origin,
            tenure: self.tenure.clone(),
            seen: AtomicU64::new(0),
        }
    }

    /// Reads; what fails changes nothing.
    async fn read<T>(
        &self,
        what: &'static str,
        read: impl FnOnce(&Tables, Timestamp) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.gate.pass().await;
        let fate = self.database.draw();
        tokio::time::sleep(fate.there).await;
        self.gate.pass().await;
        if self.database.way(self.replica).is_some() {
            half_open::patience().await;
            self.gate.pass().await;
            return Err(unavailable("the database did not answer"));
        }
        let answer = if self.database.is_out() || fate.end == End::Refused {
            self.database
                .0
                .recorder
                .fault("store.unavailable", format!("{}: {what} failed", self.replica));
            Err(unavailable("the connection broke"))
        } else {
            self.database.apply(|tables, now, _| read(tables, now))
        };
        tokio::time::sleep(fate.back).await;
        self.gate.pass().await;
        answer
    }

    /// Writes. What is under way does not care whether its process lives or waits.
    async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        transaction: impl FnOnce(&mut Tables, Timestamp, &Recorder) -> Result<T, StoreError>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        self.gate.pass().await;
        let fate = self.database.draw();
        let (database, replica) = (self.database.clone(), self.replica);
        let under_way = tokio::spawn(async move {
            tokio::time::sleep(fate.there).await;
            let recorder = &database.0.recorder;
            if let Some(way) = database.way(replica) {
                // A transaction that arrived is carried out, though its caller never hears of it.
                if way == half_open::Way::Back {
                    drop(database.apply(transaction));
                }
                half_open::patience().await;
                return Err(unavailable("the database did not answer"));
            }
            if fate.slow {
                recorder.fault(
                    "store.slow",
                    format!("{replica}: {what} takes {} ms", (fate.there + fate.back).as_millis()),
                );
            }
            if database.is_out() || fate.end == End::Refused {
                recorder.fault("store.unavailable", format!("{replica}: {what} failed"));
                tokio::time::sleep(fate.back).await;
                return Err(unavailable("the connection broke"));
            }
            let answer = database.apply(transaction);
            tokio::time::sleep(fate.back).await;
            // A refused transaction is not committed, and no network lies between a process and a store of its own.
            if fate.end == End::AnswerLost && (answer.is_ok() || database.0.shared) {
                recorder.fault(
                    "store.commit_answer_lost",
                    format!("{replica}: the answer of {what} was lost"),
                );
                return Err(unavailable("the connection broke after the commit was sent"));
            }
            answer
        });
        let answer = under_way.await.map_err(|_| unavailable("the simulation ends"))?;
        self.gate.pass().await;
        answer
    }

    /// Writes as the holder of a lease, when this is one's connection.
    async fn write_under<T: Send + 'static>(
        &self,
        what: &'static str,
        transaction: impl FnOnce(&mut Tables, Timestamp, &Recorder) -> Result<T, StoreError>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let (tenure, replica) = (self.tenure.clone(), self.replica);
        self.write(what, move |tables, now, recorder| {
            if let Some(tenure) = &tenure
                && !tables.leases.is_held(tenure)
            {
                recorder.fault(
                    "store.fenced",
                    format!("{replica}: {what} for {} under an older lease", tenure.account),
                );
                return Err(StoreError::Fenced(tenure.account.clone()));
            }
            transaction(tables, now, recorder)
        })
        .await
    }

    fn lease_epoch(&self) -> Option<u64> {
        self.tenure.as_ref().map(|tenure| tenure.epoch.0)
    }

    fn committed(&self) -> impl Fn(&Recorder, Commit) + Send + 'static {
        let (replica, lease_epoch) = (Some(self.replica), self.lease_epoch());
        move |recorder, commit| recorder.note(What::Committed { replica, lease_epoch, commit })
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn of_replica(&self, replica: ReplicaId) -> Arc<dyn Store> {
        Arc::new(Self { origin: Some(replica), ..self.copy() })
    }

    fn under(&self, tenure: Tenure) -> Arc<dyn Store> {
        Arc::new(Self { tenure: Some(tenure), ..self.copy() })
    }

    async fn open_sessions(
        &self,
        openings: &[SessionOpening],
    ) -> Result<Vec<SessionOpened>, StoreError> {
        let (openings, committed) = (openings.to_vec(), self.committed());
        self.write("open_sessions", move |tables, _, recorder| {
            Ok(openings
                .iter()
                .map(|opening| {
                    let opened = tables.open_session(opening);
                    if let SessionOpened::Welcome { epoch, .. } = &opened {
                        let (cluster, kube_system_uid) =
                            (opening.cluster.clone(), opening.kube_system_uid.clone());
                        committed(
                            recorder,
                            Commit::Session { cluster, epoch: epoch.0, kube_system_uid },
                        );
                    }
                    opened
                })
                .collect())
        })
        .await
    }

    async fn ingest(
        &self,
        units: &[IngestUnit],
        at: Timestamp,
    ) -> Result<Vec<IngestOutcome>, StoreError> {
        let (units, committed, origin) =
            (units.to_vec(), self.committed(), self.origin.filter(|_| self.database.0.shared));
        self.write("ingest", move |tables, now, recorder| {
            let ingested = tables.ingest(&units, at, origin, now);
            ingested.commits.into_iter().for_each(|commit| committed(recorder, commit));
            Ok(ingested.outcomes)
        })
        .await
    }

    async fn clusters(&self) -> Result<Vec<ClusterRow>, StoreError> {
        self.read("clusters", |tables, _| Ok(tables.clusters.values().cloned().collect())).await
    }

    async fn endpoints(
        &self,
        after_arrival: i64,
        limit: u32,
    ) -> Result<Vec<EndpointRow>, StoreError> {
        self.read("endpoints", |tables, _| Ok(tables.endpoints_after(after_arrival, limit))).await
    }

    async fn save_verdicts(&self, verdicts: &[VerdictRow]) -> Result<(), StoreError> {
        let verdicts = verdicts.to_vec();
        let alone = self.origin.filter(|_| !self.database.0.shared);
        self.write("save_verdicts", move |tables, _, _| {
            if let Some(account) = alone.and_then(|replica| tables.leases.superseded(replica)) {
                return Err(StoreError::Fenced(account));
            }
            tables.save_verdicts(verdicts);
            Ok(())
        })
        .await
    }

    async fn place(&self, decisions: &[PlacementWrite]) -> Result<Vec<bool>, StoreError> {
        let decisions = decisions.to_vec();
        let origin = self.origin.filter(|_| self.database.0.shared);
        self.write("place", move |tables, now, _| Ok(tables.place(&decisions, origin, now))).await
    }

    async fn endpoints_at(&self, arrivals: &[i64]) -> Result<Vec<EndpointRow>, StoreError> {
        let arrivals = arrivals.to_vec();
        self.read("endpoints_at", move |tables, _| {
            Ok(arrivals
                .iter()
                .filter_map(|arrival| tables.endpoints.get(arrival).cloned())
                .collect())
        })
        .await
    }

    async fn listed_accounts(&self) -> Result<BTreeSet<AccountId>, StoreError> {
        self.read("listed_accounts", |tables, _| Ok(tables.listed.clone())).await
    }

    async fn note_listed(&self, account: &AccountId, _: Timestamp) -> Result<(), StoreError> {
        let account = account.clone();
        let origin = self.origin.filter(|_| self.database.0.shared);
        self.write_under("note_listed", move |tables, now, _| {
            tables.note_listed(account, origin, now);
            Ok(())
        })
        .await
    }

    async fn zones(&self) -> Result<Vec<ZoneRow>, StoreError> {
        self.read("zones", |tables, _| Ok(tables.zones.values().cloned().collect())).await
    }

    async fn save_zones(&self, zones: &[ZoneRow]) -> Result<(), StoreError> {
        let (zones, origin) = (zones.to_vec(), self.origin.filter(|_| self.database.0.shared));
        self.write_under("save_zones", move |tables, now, _| {
            tables.save_zones(zones, origin, now);
            Ok(())
        })
        .await
    }

    async fn records(
        &self,
        zone: &ZoneId,
        after: Option<&RecordKey>,
        limit: u32,
    ) -> Result<Vec<RecordRow>, StoreError> {
        self.read("records", |tables, _| Ok(tables.records_after(zone, after, limit))).await
    }

    async fn save_records(
        &self,
        zone: &ZoneId,
        writes: &[RecordWrite],
        listed_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let (zone, writes) = (zone.clone(), writes.to_vec());
        self.write_under("save_records", move |tables, _, _| {
            tables.save_records(&zone, writes, listed_at)
        })
        .await
    }

    async fn claims(&self, zones: &[ZoneId]) -> Result<Vec<ClaimRow>, StoreError> {
        self.read("claims", |tables, _| Ok(tables.claims_of(zones))).await
    }

    async fn save_claims(&self, writes: &[ClaimWrite]) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let writes = writes.to_vec();
        self.write_under("save_claims", move |tables, _, _| {
            tables.write_claims(writes);
            Ok(())
        })
        .await
    }

    async fn begin_batch(&self, batch: &Batch, claims: &[ClaimWrite]) -> Result<(), StoreError> {
        let (batch, claims, committed) = (batch.clone(), claims.to_vec(), self.committed());
        self.write_under("begin_batch", move |tables, _, recorder| {
            tables.begin_batch(&batch, claims)?;
            committed(recorder, Commit::BatchBegun(Box::new(batch)));
            Ok(())
        })
        .await
    }

    async fn finish_batch(
        &self,
        batch: &Batch,
        outcome: &BatchOutcome,
        writes: &[RecordWrite],
        claims: &[ClaimWrite],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let (batch, outcome, writes, claims) =
            (batch.clone(), outcome.clone(), writes.to_vec(), claims.to_vec());
        let committed = self.committed();
        self.write_under("finish_batch", move |tables, _, recorder| {
            if tables.finish_batch(&batch, &outcome, writes, claims, at)? {
                committed(recorder, Commit::BatchFinished { batch: batch.id, outcome });
            }
            Ok(())
        })
        .await
    }

    async fn open_batches(&self, account: &AccountId) -> Result<Vec<BatchRow>, StoreError> {
        self.read("open_batches", |tables, _| Ok(tables.open_batches(account))).await
    }

    async fn lost_batches(
        &self,
        account: &AccountId,
        since: Timestamp,
    ) -> Result<Vec<BatchRow>, StoreError> {
        self.read("lost_batches", move |tables, _| Ok(tables.lost_batches(account, since))).await
    }

    async fn counted(
        &self,
        account: &AccountId,
        since: Timestamp,
    ) -> Result<Vec<CountedRow>, StoreError> {
        self.read("counted", move |tables, _| Ok(tables.counted(account, since))).await
    }

    async fn changes(&self, filter: &ChangeFilter) -> Result<Vec<ChangeRow>, StoreError> {
        self.read("changes", |tables, _| Ok(tables.changes(filter))).await
    }

    async fn last_cause(
        &self,
        zone: &ZoneId,
        key: &RecordKey,
    ) -> Result<Option<(BatchId, Cause)>, StoreError> {
        self.read("last_cause", |tables, _| Ok(tables.last_cause(zone, key))).await
    }

    async fn spend_horizon(&self, account: &AccountId) -> Result<Option<Timestamp>, StoreError> {
        self.read("spend_horizon", |tables, _| Ok(tables.horizons.get(account).copied())).await
    }

    async fn set_spend_horizon(
        &self,
        account: &AccountId,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let (account, committed) = (account.clone(), self.committed());
        self.write_under("set_spend_horizon", move |tables, _, recorder| {
            tables.horizons.insert(account.clone(), until);
            committed(recorder, Commit::SpendHorizon { account, until });
            Ok(())
        })
        .await
    }

    async fn verify_journal(&self, account: &AccountId) -> Result<ChainCheck, StoreError> {
        self.read("verify_journal", |tables, _| {
            Ok(ChainCheck::Whole(tables.journal_entries(account)))
        })
        .await
    }

    async fn prune_journal(
        &self,
        account: &AccountId,
        before: Timestamp,
        most: u32,
        _: Timestamp,
    ) -> Result<u64, StoreError> {
        let account = account.clone();
        self.write("prune_journal", move |tables, _, _| {
            Ok(tables.prune_journal(&account, before, most))
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.read("ping", |_, _| Ok(())).await
    }
}

#[async_trait]
impl Leases for MemoryStore {
    fn is_shared(&self) -> bool {
        self.database.0.shared
    }

    async fn heartbeat(&self, replica: &ReplicaRow, ttl: Millis) -> Result<Membership, StoreError> {
        let (row, life, shared) = (replica.clone(), self.replica, self.is_shared());
        self.write("heartbeat", move |tables, now, recorder| {
            let renewed = tables.leases.heartbeat(&row, life, now, ttl, shared);
            renewed.into_iter().for_each(|lease| recorder.note(lease));
            Ok(tables.leases.standing(&row, now, shared))
        })
        .await
    }

    async fn take_leases(
        &self,
        replica: ReplicaId,
        accounts: &[AccountId],
        ttl: Millis,
    ) -> Result<Vec<Tenure>, StoreError> {
        let (accounts, life, shared) = (accounts.to_vec(), self.replica, self.is_shared());
        self.write("take_leases", move |tables, now, recorder| {
            if !shared && tables.leases.is_any_of_another(replica, &accounts) {
                tables.end_sessions();
            }
            let (taken, notes) = tables.leases.take(replica, life, &accounts, now, ttl, shared);
            notes.into_iter().for_each(|note| recorder.note(note));
            Ok(taken)
        })
        .await
    }

    async fn give_back(&self, tenures: &[Tenure]) -> Result<(), StoreError> {
        let tenures = tenures.to_vec();
        self.write("give_back", move |tables, _, recorder| {
            tenures
                .iter()
                .filter_map(|tenure| tables.leases.give_back(tenure))
                .for_each(|note| recorder.note(note));
            Ok(())
        })
        .await
    }

    async fn leave(&self, replica: ReplicaId) -> Result<(), StoreError> {
        self.write("leave", move |tables, _, recorder| {
            tables.leases.leave(replica).into_iter().for_each(|note| recorder.note(note));
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Feed for MemoryStore {
    async fn feed_end(&self) -> Result<u64, StoreError> {
        self.read("feed_end", |tables, _| Ok(tables.feed_end())).await
    }

    async fn feed(&self, after: u64, limit: u32) -> Result<Vec<FeedEntry>, StoreError> {
        self.read("feed", |tables, _| tables.feed_after(self.origin, after, limit)).await
    }

    async fn announce(&self, origin: ReplicaId, news: Vec<News>) -> Result<(), StoreError> {
        if !self.is_shared() {
            return Ok(());
        }
        self.write("announce", move |tables, now, _| tables.announce(origin, news, now)).await
    }

    async fn feed_changed(&self) {
        if !self.is_shared() {
            return std::future::pending().await;
        }
        let mut end = self.database.0.feed_end.subscribe();
        let seen = self.seen.load(Ordering::Relaxed);
        let is_news = |end: &u64| {
            *end > seen && self.database.look(|tables| tables.others_told(self.origin, seen, *end))
        };
        // The sender lives as long as the database.
        if let Ok(end) = end.wait_for(is_news).await {
            self.seen.store(*end, Ordering::Relaxed);
        }
        self.gate.pass().await;
    }

    async fn prune_feed(&self, age: Millis) -> Result<u64, StoreError> {
        self.write("prune_feed", move |tables, now, _| Ok(tables.prune_feed(now, age))).await
    }
}
