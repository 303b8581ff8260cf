//! Connections to PostgreSQL that are given up when they do not answer.
//!
//! A network that swallows what is sent leaves connections that never answer, and the system waits for them for a quarter of an
//! hour. A lane waits for as long as the server lets a statement run. Then the statement is an error that may be tried again, and
//! a new pool takes the place of the one that the connection came from: in that one it would be waited for.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::query::Query;
use sqlx::{Error, Postgres};

use super::error::from_sqlx;
use super::value::Row;
use crate::ports::StoreError;

/// How long an answer is on its way, once the server has given up the statement.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// How a lane waits.
#[derive(Clone, Copy)]
pub(super) struct LaneOptions {
    /// Connections at most.
    pub(super) connections: u32,
    /// For a free connection.
    pub(super) acquire_wait: Duration,
    /// The server's, for the lock of another.
    pub(super) lock_wait: Duration,
    /// The server's, for a statement.
    pub(super) statement: Duration,
    /// The server's, for a client that does nothing inside a transaction.
    pub(super) idle: Duration,
}

/// See the module's page.
pub(super) struct Lane {
    connect: PgConnectOptions,
    options: LaneOptions,
    pool: ArcSwap<PgPool>,
}

impl Lane {
    /// Connects when it is first used.
    pub(super) fn new(connect: &PgConnectOptions, options: LaneOptions) -> Arc<Self> {
        // The last of two settings counts.
        let connect = connect.clone().options([
            ("lock_timeout", options.lock_wait.as_millis().to_string()),
            ("statement_timeout", options.statement.as_millis().to_string()),
            ("idle_in_transaction_session_timeout", options.idle.as_millis().to_string()),
        ]);
        let pool = ArcSwap::from_pointee(pool(&connect, options));
        Arc::new(Self { connect, options, pool })
    }

    /// How it connects.
    pub(super) fn connect_options(&self) -> &PgConnectOptions {
        &self.connect
    }

    /// Begins a transaction.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<Work, StoreError> {
        let pool = self.pool.load_full();
        let patience = self.options.acquire_wait + self.patience();
        let transaction = self.answered(&pool, patience, pool.begin()).await?;
        Ok(Work { transaction, lane: Arc::clone(self), pool })
    }

    fn patience(&self) -> Duration {
        self.options.statement + ON_ITS_WAY
    }

    async fn answered<T>(
        &self,
        from: &Arc<PgPool>,
        patience: Duration,
        asking: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        let answer = tokio::time::timeout(patience, asking).await;
        // Connections that are not given back may be stuck too: the pool asks each whether it is still there.
        if let Err(_) | Ok(Err(Error::PoolTimedOut)) = answer {
            self.pool.compare_and_swap(from, Arc::new(pool(&self.connect, self.options)));
        }
        let waited = patience.as_secs_f64();
        answer
            .map_err(|_| {
                StoreError::Unavailable(format!(
                    "PostgreSQL did not answer within {waited:.1} s; the connection is given up"
                ))
            })?
            .map_err(from_sqlx)
    }
}

fn pool(connect: &PgConnectOptions, options: LaneOptions) -> PgPool {
    let pool = PgPoolOptions::new()
        .max_connections(options.connections.max(1))
        .acquire_timeout(options.acquire_wait);
    pool.connect_lazy_with(connect.clone())
}

/// An open transaction of a lane; dropped without [`Work::commit`] it is rolled back.
pub(super) struct Work {
    transaction: sqlx::Transaction<'static, Postgres>,
    lane: Arc<Lane>,
    pool: Arc<PgPool>,
}

pub(super) type PostgresQuery = Query<'static, Postgres, PgArguments>;

impl Work {
    /// Ends the transaction; when this answers, it is durable. Without an answer it is in doubt.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        self.lane.answered(&self.pool, self.lane.patience(), self.transaction.commit()).await
    }

    /// Returns how many rows were touched.
    pub(super) async fn execute(&mut self, query: PostgresQuery) -> Result<u64, StoreError> {
        let done = query.execute(&mut *self.transaction);
        Ok(self.lane.answered(&self.pool, self.lane.patience(), done).await?.rows_affected())
    }

    /// Returns the rows.
    pub(super) async fn fetch(&mut self, query: PostgresQuery) -> Result<Vec<Row>, StoreError> {
        let rows = query.fetch_all(&mut *self.transaction);
        let rows = self.lane.answered(&self.pool, self.lane.patience(), rows).await?;
        Ok(rows.into_iter().map(|row| Row::Postgres(row, &[])).collect())
    }
}
