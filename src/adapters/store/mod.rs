//! The broker's store over SQLite and PostgreSQL.
//!
//! [`open`] takes the address of a database, brings its schema up to date and answers the port
//! [`Store`](crate::ports::Store). Both databases run the same statements, kept beside the function that uses them; what
//! differs is small and stands in [`sqlite`], [`postgres`] and [`transaction`]. Work is set-based: a call with a thousand
//! rows is a handful of statements, never a thousand.
//!
//! * **Ingest** ([`ingest`]) is one transaction for the units of many streams: the caller groups them, one commit pays for
//!   all. The rows of the clusters are locked and their epochs compared inside it, so a paused old session can commit
//!   nothing. Arrival numbers come from one locked row: whoever has read up to a number has missed no smaller one.
//! * **Verdicts** ([`endpoints`]) are kept beside the endpoint. When an endpoint's content changes, the verdict for the old
//!   content stays until the next one is saved: its placement is what keeps a name in its zone across a restart. A key that
//!   was deleted and comes back starts without one.
//! * **The journal** ([`journal`]) is append-only, which triggers enforce, and hash-chained for each account. The tables
//!   `batches` and `changes` are made from it in the same transaction, to be queried. Old entries are cut from its front
//!   ([`retention`]), and the chain says so.
//! * **Durability**: SQLite syncs its log at each commit, PostgreSQL is refused when `synchronous_commit` is off.
//!
//! Times are milliseconds; names of clusters and ids of zones are numbers inside the database.

mod changes;
mod codec;
mod endpoints;
mod error;
mod ingest;
mod journal;
mod migrate;
mod names;
pub mod offline;
mod postgres;
mod precedence;
mod retention;
mod sessions;
mod sqlite;
mod transaction;
mod url;
mod value;
mod zones;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::url::{StoreUrl, StoreUrlError};

use self::error::from_sqlx;
use self::names::Numbered;
use self::precedence::Precedence;
use self::sqlite::SqlitePools;
use self::transaction::Transaction;
use self::url::Location;
use crate::core::change::{Batch, Cause};
use crate::core::ids::{AccountId, BatchId, ClusterId, ZoneId};
use crate::core::name::DnsName;
use crate::core::record::{RecordKey, RecordType};
use crate::core::time::Timestamp;
use crate::core::verdict::Placement;
use crate::ports::{
    BatchOutcome, BatchRow, ChangeFilter, ChangeRow, ClaimRow, ClaimWrite, ClusterRow, EndpointRow, IngestOutcome, IngestUnit,
    RecordRow, RecordWrite, SessionOpened, SessionOpening, Store, StoreError, VerdictRow, ZoneRow,
};

/// How a store is opened; the defaults suit a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Connections of the pool at most. For SQLite those that read; one that writes is added.
    pub connections: u32,
    /// How long a call waits for a free connection.
    pub acquire_wait_ms: u64,
    /// How long a statement waits for another's lock.
    pub lock_wait_ms: u64,
    /// How long PostgreSQL lets a statement run, or a transaction idle.
    pub statement_ms: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { connections: 8, acquire_wait_ms: 30_000, lock_wait_ms: 10_000, statement_ms: 60_000 }
    }
}

/// Opens the store and brings its schema up to date; processes that do so at once take turns.
///
/// # Errors
/// [`StoreError::Unavailable`] when the database cannot be reached or made, [`StoreError::Refused`] when a newer version
/// wrote it or when it does not keep what it commits. The text names the place, never a password.
pub async fn open(url: &StoreUrl, options: &StoreOptions) -> Result<Arc<dyn Store>, StoreError> {
    let opened = match &url.0 {
        Location::File(path) => sqlite::open_file(path, options).await.map(Database::Sqlite),
        Location::Memory => sqlite::open_memory(options).await.map(Database::Sqlite),
        Location::Postgres(connect) => postgres::open(connect, options).await.map(Database::Postgres),
    };
    let place = |reason: String| format!("{url}: {reason}");
    match opened {
        Ok(database) => Ok(Arc::new(SqlStore {
            database,
            clusters: names::cluster_names(),
            placements: names::placements(),
            precedence: Precedence::default(),
        })),
        Err(StoreError::Unavailable(reason)) => Err(StoreError::Unavailable(place(reason))),
        Err(StoreError::Corrupt { what, reason }) => Err(StoreError::Corrupt { what, reason: place(reason) }),
        Err(StoreError::Refused(reason)) => Err(StoreError::Refused(place(reason))),
    }
}

enum Database {
    Sqlite(SqlitePools),
    Postgres(sqlx::PgPool),
}

/// The port over either database.
struct SqlStore {
    database: Database,
    clusters: Numbered<ClusterId>,
    placements: Numbered<Placement>,
    precedence: Precedence,
}

impl SqlStore {
    /// A transaction that writes. SQLite's takes its lock at once: one that first reads could not always go on to write.
    async fn writing(&self) -> Result<Transaction, StoreError> {
        match &self.database {
            Database::Sqlite(pools) => pools.writer.begin_with("begin immediate").await.map(Transaction::Sqlite),
            Database::Postgres(pool) => pool.begin().await.map(Transaction::Postgres),
        }
        .map_err(from_sqlx)
    }

    /// A transaction that only reads.
    async fn reading(&self) -> Result<Transaction, StoreError> {
        match &self.database {
            Database::Sqlite(pools) => pools.readers.begin().await.map(Transaction::Sqlite),
            Database::Postgres(pool) => pool.begin().await.map(Transaction::Postgres),
        }
        .map_err(from_sqlx)
    }
}

/// Runs one function inside one transaction.
macro_rules! in_transaction {
    ($self:ident.$kind:ident(), $function:path $(, $argument:expr)*) => {{
        let mut transaction = $self.$kind().await?;
        let answer = $function(&mut transaction $(, $argument)*).await?;
        transaction.commit().await?;
        Ok(answer)
    }};
}

#[async_trait]
impl Store for SqlStore {
    async fn open_sessions(&self, openings: &[SessionOpening]) -> Result<Vec<SessionOpened>, StoreError> {
        if openings.is_empty() {
            return Ok(Vec::new());
        }
        in_transaction!(self.writing(), sessions::open, openings)
    }

    async fn ingest(&self, units: &[IngestUnit], at: Timestamp) -> Result<Vec<IngestOutcome>, StoreError> {
        if units.is_empty() {
            return Ok(Vec::new());
        }
        let _urgent = self.precedence.urgent();
        in_transaction!(self.writing(), ingest::ingest, units, at)
    }

    async fn clusters(&self) -> Result<Vec<ClusterRow>, StoreError> {
        in_transaction!(self.reading(), sessions::clusters)
    }

    async fn endpoints(&self, after_arrival: i64, limit: u32) -> Result<Vec<EndpointRow>, StoreError> {
        in_transaction!(self.reading(), endpoints::list, &self.clusters, &self.placements, after_arrival, limit)
    }

    async fn save_verdicts(&self, verdicts: &[VerdictRow]) -> Result<(), StoreError> {
        if verdicts.is_empty() {
            return Ok(());
        }
        if let Database::Sqlite(_) = self.database {
            self.precedence.give_way().await;
        }
        in_transaction!(self.writing(), endpoints::save_verdicts, &self.placements, verdicts)
    }

    async fn zones(&self) -> Result<Vec<ZoneRow>, StoreError> {
        in_transaction!(self.reading(), zones::list)
    }

    async fn save_zones(&self, zones: &[ZoneRow]) -> Result<(), StoreError> {
        if zones.is_empty() {
            return Ok(());
        }
        let saved = in_transaction!(self.writing(), zones::save, zones);
        self.placements.forget();
        saved
    }

    async fn records(&self, zone: &ZoneId, after: Option<&RecordKey>, limit: u32) -> Result<Vec<RecordRow>, StoreError> {
        in_transaction!(self.reading(), zones::records, &self.clusters, zone, after, limit)
    }

    async fn save_records(&self, zone: &ZoneId, writes: &[RecordWrite], listed_at: Option<Timestamp>) -> Result<(), StoreError> {
        if writes.is_empty() && listed_at.is_none() {
            return Ok(());
        }
        in_transaction!(self.writing(), zones::save_records, zone, writes, listed_at)
    }

    async fn claims(&self, zones: &[ZoneId]) -> Result<Vec<ClaimRow>, StoreError> {
        in_transaction!(self.reading(), zones::claims, &self.clusters, zones)
    }

    async fn begin_batch(&self, batch: &Batch, claims: &[ClaimWrite]) -> Result<(), StoreError> {
        let _urgent = self.precedence.urgent();
        in_transaction!(self.writing(), journal::begin, batch, claims)
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
        let _urgent = self.precedence.urgent();
        in_transaction!(self.writing(), journal::finish, batch, &ending)
    }

    async fn open_batches(&self, account: &AccountId) -> Result<Vec<BatchRow>, StoreError> {
        in_transaction!(self.reading(), journal::open, account)
    }

    async fn changes(&self, filter: &ChangeFilter) -> Result<Vec<ChangeRow>, StoreError> {
        in_transaction!(self.reading(), changes::list, filter)
    }

    async fn last_cause(&self, zone: &ZoneId, name: &DnsName, rtype: RecordType) -> Result<Option<(BatchId, Cause)>, StoreError> {
        in_transaction!(self.reading(), changes::last_cause, zone, name, rtype)
    }

    async fn spend_horizon(&self, account: &AccountId) -> Result<Option<Timestamp>, StoreError> {
        in_transaction!(self.reading(), sessions::spend_horizon, account)
    }

    async fn set_spend_horizon(&self, account: &AccountId, until: Timestamp) -> Result<(), StoreError> {
        in_transaction!(self.writing(), sessions::set_spend_horizon, account, until)
    }

    async fn verify_journal(&self, account: &AccountId) -> Result<Result<u64, u64>, StoreError> {
        in_transaction!(self.reading(), journal::verify, account)
    }

    async fn prune_journal(&self, account: &AccountId, before: Timestamp, most: u32, at: Timestamp) -> Result<u64, StoreError> {
        let pruned: Result<u64, StoreError> = in_transaction!(self.writing(), retention::prune, account, before, most, at);
        let pruned = pruned?;
        if let (Database::Sqlite(pools), 1..) = (&self.database, pruned) {
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
