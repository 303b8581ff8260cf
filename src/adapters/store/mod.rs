//! The broker's store over SQLite and PostgreSQL.
//!
//! [`open`] takes the address of a database, brings its schema up to date and returns the port
//! [`Store`](crate::ports::Store). Both databases run the same statements, kept next to the function that uses them; what
//! differs is small and stands in [`sqlite`], [`postgres`] and [`transaction`]. Work is set-based: a call with a thousand
//! rows is a handful of statements, never a thousand.
//!
//! * **Ingest** ([`ingest`]) is one transaction for the units of many streams: the caller groups them, one commit pays for
//!   all. The rows of the clusters are locked and their epochs compared inside it, so a paused old session can commit
//!   nothing. Arrival numbers come from one locked row: a reader up to a number has missed no smaller one.
//! * **Verdicts** ([`endpoints`]) are kept with the endpoint. When an endpoint's content changes, the verdict for the old
//!   content stays until the next one is saved: its placement is what keeps a name in its zone across a restart. A key that
//!   was deleted and comes back starts without one.
//! * **The journal** ([`journal`]) is append-only, which triggers enforce, and hash-chained for each account. The tables
//!   `batches` and `changes` are made from it in the same transaction, to be queried. Old entries are cut from its front
//!   ([`retention`]), and the chain says so.
//! * **The audit** ([`audit`]) is one chain of the same kind for the whole store; what it tells of is written in the same
//!   transaction.
//! * **Several replicas** on one PostgreSQL: [`leases`] says which of them manages which account, and fences the writes of one
//!   whose lease has passed on; [`feed`] tells each what the others stored, and [`listener`] wakes it.
//! * **Durability**: SQLite syncs its log at each commit, PostgreSQL is refused when `synchronous_commit` is off.
//!
//! Times are milliseconds; names of clusters and ids of zones are numbers inside the database.

mod audit;
mod changes;
mod clock;
mod codec;
mod credentials;
mod endpoints;
mod error;
mod feed;
mod governed;
mod handovers;
mod history;
mod ingest;
mod journal;
mod lane;
mod leases;
mod listener;
mod migrate;
mod names;
mod notices;
pub mod offline;
mod opening;
mod placements;
mod placing;
mod postgres;
mod precedence;
mod presence;
mod requests;
mod restored;
mod retention;
mod rules;
mod sessions;
mod sqlite;
mod transaction;
mod url;
mod value;
mod zones;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tracing::Instrument as _;

pub use self::opening::{is_in_use, open, open_restored};
pub use self::url::{StoreUrl, StoreUrlError};

use self::error::from_sqlx;
use self::feed::Piece;
use self::listener::Listener;
use self::names::Numbered;
use self::postgres::PostgresLanes;
use self::precedence::Precedence;
use self::sqlite::SqlitePools;
use self::transaction::Transaction;
use crate::core::dns::record::RecordKey;
use crate::core::endpoint::verdict::Placement;
use crate::core::ids::{AccountId, BatchId, ClusterId, ZoneId};
use crate::core::planning::change::{Batch, Cause};
use crate::core::time::{Millis, Timestamp};
use crate::ports::{
    BatchOutcome, BatchRow, ChainCheck, ChangeFilter, ChangeRow, ClaimRow, ClaimWrite, ClusterRow,
    CountedRow, EndpointRow, Feed, FeedEntry, IngestOutcome, IngestUnit, Leases, Membership, News,
    PlacementWrite, RecordRow, RecordWrite, ReplicaId, ReplicaRow, SessionOpened, SessionOpening,
    Store, StoreError, Tenure, VerdictRow, ZoneRow,
};

/// How a store is opened; the defaults suit a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Connections of the pool at most. For SQLite those that read; one that writes is added. For PostgreSQL one for leases is
    /// added, and one that listens.
    pub connections: u32,
    /// How long a call waits for a free connection.
    pub acquire_wait_ms: u64,
    /// How long a statement waits for another's lock.
    pub lock_wait_ms: u64,
    /// How long PostgreSQL lets a statement run.
    pub statement_ms: u64,
    /// How long PostgreSQL waits inside a transaction for its client. A client that was paused or cut off holds its locks until
    /// then, and others wait for them, so it is less than a lease lasts from one heartbeat to its end.
    pub idle_ms: u64,
    /// How long a call about leases waits for PostgreSQL. Short enough that it is tried again before a lease expires.
    pub lease_wait_ms: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            connections: 8,
            acquire_wait_ms: 30_000,
            lock_wait_ms: 10_000,
            statement_ms: 60_000,
            idle_ms: 4_000,
            lease_wait_ms: 2_000,
        }
    }
}

enum Database {
    Sqlite(SqlitePools),
    Postgres(PostgresLanes),
}

/// The origin of news when no replica was named.
const NOBODY: ReplicaId = ReplicaId(uuid::Uuid::nil());

/// State that all handles of one open store share.
struct Shared {
    database: Database,
    clusters: Numbered<ClusterId>,
    placements: Numbered<Placement>,
    precedence: Precedence,
}

/// The port over either database, for one replica and, for a worker, under its lease.
struct SqlStore {
    shared: Arc<Shared>,
    replica: ReplicaId,
    tenure: Option<Tenure>,
    /// Begins at the first waiting for news.
    listener: OnceLock<Listener>,
}

impl SqlStore {
    /// A transaction that writes. SQLite's takes its lock at once: one that first reads could not always go on to write.
    async fn writing(&self) -> Result<Transaction, StoreError> {
        match &self.shared.database {
            Database::Sqlite(pools) => pools
                .writer
                .begin_with("begin immediate")
                .await
                .map(Transaction::Sqlite)
                .map_err(from_sqlx),
            Database::Postgres(lanes) => lanes.common.begin().await.map(Transaction::Postgres),
        }
    }

    /// A transaction that writes for a worker: its lease has not passed on and does not before the commit.
    async fn working(&self) -> Result<Transaction, StoreError> {
        let mut transaction = self.writing().await?;
        if let Some(tenure) = &self.tenure {
            leases::assert_held(&mut transaction, tenure).await?;
        }
        Ok(transaction)
    }

    /// A transaction that only reads.
    async fn reading(&self) -> Result<Transaction, StoreError> {
        match &self.shared.database {
            Database::Sqlite(pools) => {
                pools.readers.begin().await.map(Transaction::Sqlite).map_err(from_sqlx)
            }
            Database::Postgres(lanes) => lanes.common.begin().await.map(Transaction::Postgres),
        }
    }

    /// A transaction about leases.
    async fn leasing(&self) -> Result<Transaction, StoreError> {
        match &self.shared.database {
            Database::Sqlite(_) => self.writing().await,
            Database::Postgres(lanes) => lanes.leases.begin().await.map(Transaction::Postgres),
        }
    }
}

/// Runs one function inside one transaction, and in a span that names it.
macro_rules! in_transaction {
    ($self:ident.$kind:ident(), $function:path $(, $argument:expr)*) => {{
        let span = tracing::debug_span!("transaction", operation = stringify!($function));
        let work = async {
            let mut transaction = $self.$kind().await?;
            let answer = $function(&mut transaction $(, $argument)*).await?;
            transaction.commit().await?;
            Ok::<_, StoreError>(answer)
        };
        work.instrument(span).await
    }};
}
use in_transaction;

#[async_trait]
impl Store for SqlStore {
    fn of_replica(&self, replica: ReplicaId) -> Arc<dyn Store> {
        let shared = Arc::clone(&self.shared);
        Arc::new(Self { shared, replica, tenure: self.tenure.clone(), listener: OnceLock::new() })
    }

    fn under(&self, tenure: Tenure) -> Arc<dyn Store> {
        let shared = Arc::clone(&self.shared);
        Arc::new(Self {
            shared,
            replica: self.replica,
            tenure: Some(tenure),
            listener: OnceLock::new(),
        })
    }

    async fn open_sessions(
        &self,
        openings: &[SessionOpening],
    ) -> Result<Vec<SessionOpened>, StoreError> {
        if openings.is_empty() {
            return Ok(Vec::new());
        }
        in_transaction!(self.writing(), sessions::open, openings)
    }

    async fn ingest(
        &self,
        units: &[IngestUnit],
        at: Timestamp,
    ) -> Result<Vec<IngestOutcome>, StoreError> {
        if units.is_empty() {
            return Ok(Vec::new());
        }
        let _urgent = self.shared.precedence.urgent();
        in_transaction!(
            self.writing(),
            ingest::ingest,
            &self.shared.placements,
            self.replica,
            units,
            at
        )
    }

    async fn clusters(&self) -> Result<Vec<ClusterRow>, StoreError> {
        in_transaction!(self.reading(), sessions::clusters)
    }

    async fn endpoints(
        &self,
        after_arrival: i64,
        limit: u32,
    ) -> Result<Vec<EndpointRow>, StoreError> {
        in_transaction!(
            self.reading(),
            endpoints::list,
            &self.shared.clusters,
            &self.shared.placements,
            after_arrival,
            limit
        )
    }

    async fn save_verdicts(&self, verdicts: &[VerdictRow]) -> Result<(), StoreError> {
        if verdicts.is_empty() {
            return Ok(());
        }
        if let Database::Sqlite(_) = self.shared.database {
            self.shared.precedence.give_way().await;
        }
        let known = &self.shared.placements;
        in_transaction!(self.writing(), endpoints::save_verdicts, known, self.replica, verdicts)
    }

    async fn place(&self, decisions: &[PlacementWrite]) -> Result<Vec<bool>, StoreError> {
        if decisions.is_empty() {
            return Ok(Vec::new());
        }
        let known = &self.shared.placements;
        in_transaction!(self.writing(), placing::place, known, self.replica, decisions)
    }

    async fn endpoints_at(&self, arrivals: &[i64]) -> Result<Vec<EndpointRow>, StoreError> {
        let arrivals: BTreeSet<i64> = arrivals.iter().copied().collect();
        let (clusters, placements) = (&self.shared.clusters, &self.shared.placements);
        let mut transaction = self.reading().await?;
        let rows = endpoints::by_arrival(&mut transaction, clusters, placements, arrivals).await?;
        transaction.commit().await?;
        Ok(rows.into_values().collect())
    }

    async fn listed_accounts(&self) -> Result<BTreeSet<AccountId>, StoreError> {
        in_transaction!(self.reading(), placing::listed_accounts)
    }

    async fn note_listed(&self, account: &AccountId, at: Timestamp) -> Result<(), StoreError> {
        in_transaction!(self.working(), placing::note_listed, self.replica, account, at)
    }

    async fn zones(&self) -> Result<Vec<ZoneRow>, StoreError> {
        in_transaction!(self.reading(), zones::list)
    }

    async fn save_zones(&self, zones: &[ZoneRow]) -> Result<(), StoreError> {
        if zones.is_empty() {
            return Ok(());
        }
        let saved = in_transaction!(self.working(), zones::save, self.replica, zones);
        self.shared.placements.forget();
        saved
    }

    async fn records(
        &self,
        zone: &ZoneId,
        after: Option<&RecordKey>,
        limit: u32,
    ) -> Result<Vec<RecordRow>, StoreError> {
        in_transaction!(self.reading(), zones::records, &self.shared.clusters, zone, after, limit)
    }

    async fn save_records(
        &self,
        zone: &ZoneId,
        writes: &[RecordWrite],
        listed_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        if writes.is_empty() && listed_at.is_none() {
            return Ok(());
        }
        in_transaction!(self.working(), zones::save_records, zone, writes, listed_at)
    }

    async fn claims(&self, zones: &[ZoneId]) -> Result<Vec<ClaimRow>, StoreError> {
        in_transaction!(self.reading(), zones::claims, &self.shared.clusters, zones)
    }

    async fn save_claims(&self, writes: &[ClaimWrite]) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        in_transaction!(self.working(), zones::save_claims, writes)
    }

    async fn begin_batch(&self, batch: &Batch, claims: &[ClaimWrite]) -> Result<(), StoreError> {
        let _urgent = self.shared.precedence.urgent();
        in_transaction!(self.working(), journal::begin, batch, claims)
    }

    async fn finish_batch(
        &self,
        batch: &Batch,
        outcome: &BatchOutcome,
        writes: &[RecordWrite],
        claims: &[ClaimWrite],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let ending = journal::Ending { outcome, writes, claims, at };
        let _urgent = self.shared.precedence.urgent();
        in_transaction!(self.working(), journal::finish, batch, &ending)
    }

    async fn open_batches(&self, account: &AccountId) -> Result<Vec<BatchRow>, StoreError> {
        in_transaction!(self.reading(), journal::open, account)
    }

    async fn lost_batches(
        &self,
        account: &AccountId,
        since: Timestamp,
    ) -> Result<Vec<BatchRow>, StoreError> {
        in_transaction!(self.reading(), journal::lost, account, since)
    }

    async fn counted(
        &self,
        account: &AccountId,
        since: Timestamp,
    ) -> Result<Vec<CountedRow>, StoreError> {
        in_transaction!(self.reading(), journal::counted, account, since)
    }

    async fn changes(&self, filter: &ChangeFilter) -> Result<Vec<ChangeRow>, StoreError> {
        in_transaction!(self.reading(), changes::list, filter)
    }

    async fn last_cause(
        &self,
        zone: &ZoneId,
        key: &RecordKey,
    ) -> Result<Option<(BatchId, Cause)>, StoreError> {
        in_transaction!(self.reading(), changes::last_cause, zone, key)
    }

    async fn spend_horizon(&self, account: &AccountId) -> Result<Option<Timestamp>, StoreError> {
        in_transaction!(self.reading(), sessions::spend_horizon, account)
    }

    async fn set_spend_horizon(
        &self,
        account: &AccountId,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        in_transaction!(self.working(), sessions::set_spend_horizon, account, until)
    }

    async fn verify_journal(&self, account: &AccountId) -> Result<ChainCheck, StoreError> {
        in_transaction!(self.reading(), journal::verify, account)
    }

    async fn prune_journal(
        &self,
        account: &AccountId,
        before: Timestamp,
        most: u32,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        let pruned: Result<u64, StoreError> =
            in_transaction!(self.writing(), retention::prune, account, before, most, at);
        let pruned = pruned?;
        if let (Database::Sqlite(pools), 1..) = (&self.shared.database, pruned) {
            pools.give_back_pages().await?;
        }
        Ok(pruned)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let mut transaction = self.reading().await?;
        transaction.fetch("select 1", []).await?;
        transaction.commit().await
    }
}

#[async_trait]
impl Leases for SqlStore {
    fn is_shared(&self) -> bool {
        matches!(self.shared.database, Database::Postgres(_))
    }

    async fn heartbeat(&self, replica: &ReplicaRow, ttl: Millis) -> Result<Membership, StoreError> {
        match &self.shared.database {
            Database::Sqlite(_) => in_transaction!(self.reading(), leases::standing_alone, replica),
            Database::Postgres(_) => {
                in_transaction!(self.leasing(), leases::heartbeat, replica, ttl)
            }
        }
    }

    async fn take_leases(
        &self,
        replica: ReplicaId,
        accounts: &[AccountId],
        ttl: Millis,
    ) -> Result<Vec<Tenure>, StoreError> {
        if accounts.is_empty() {
            return Ok(Vec::new());
        }
        in_transaction!(self.leasing(), leases::take, replica, accounts, ttl)
    }

    async fn replica_key(&self, proposed: &[u8; 32]) -> Result<Option<[u8; 32]>, StoreError> {
        if !self.is_shared() {
            return Ok(None);
        }
        in_transaction!(self.writing(), leases::replica_key, proposed).map(Some)
    }

    async fn give_back(&self, tenures: &[Tenure]) -> Result<(), StoreError> {
        if tenures.is_empty() {
            return Ok(());
        }
        in_transaction!(self.leasing(), leases::give_back, tenures)
    }

    async fn leave(&self, replica: ReplicaId) -> Result<(), StoreError> {
        in_transaction!(self.leasing(), leases::leave, replica)
    }
}

#[async_trait]
impl Feed for SqlStore {
    async fn feed_end(&self) -> Result<u64, StoreError> {
        if !self.is_shared() {
            return Ok(0);
        }
        in_transaction!(self.reading(), feed::end)
    }

    async fn feed(&self, after: u64, limit: u32) -> Result<Vec<FeedEntry>, StoreError> {
        if !self.is_shared() {
            return Ok(Vec::new());
        }
        let (clusters, placements) = (&self.shared.clusters, &self.shared.placements);
        in_transaction!(
            self.reading(),
            feed::read,
            clusters,
            placements,
            self.replica,
            after,
            limit
        )
    }

    async fn announce(&self, origin: ReplicaId, news: Vec<News>) -> Result<(), StoreError> {
        let pieces = news.into_iter().map(Piece::announcement).collect::<Result<Vec<_>, _>>()?;
        if pieces.is_empty() || !self.is_shared() {
            return Ok(());
        }
        in_transaction!(self.writing(), feed::append, origin, pieces)
    }

    async fn feed_changed(&self) {
        match &self.shared.database {
            Database::Sqlite(_) => std::future::pending().await,
            Database::Postgres(lanes) => {
                let begin =
                    || Listener::start(lanes.common.connect_options().clone(), self.replica);
                self.listener.get_or_init(begin).changed().await;
            }
        }
    }

    async fn prune_feed(&self, age: Millis) -> Result<u64, StoreError> {
        if !self.is_shared() {
            return Ok(0);
        }
        in_transaction!(self.writing(), feed::prune, age)
    }
}
