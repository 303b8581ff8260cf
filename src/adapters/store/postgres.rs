//! PostgreSQL: sessions that cannot hang for ever and cannot commit without the disk.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::error::from_sqlx;
use super::lane::{Lane, LaneOptions, PostgresQuery};
use super::value::column_names;
use super::value::{Input, Kind, Value};
use super::{StoreOptions, migrate};
use crate::ports::StoreError;

/// Rows of one bulk statement: enough to make the round trip cheap, few enough to keep a message below some megabytes.
const CHUNK_ROWS: usize = 5_000;

/// The ways to one database.
pub(super) struct PostgresLanes {
    /// For everything that is stored.
    pub(super) common: Arc<Lane>,
    /// For leases: a heartbeat waits for no other transaction, and one that is not answered can be tried again before a lease
    /// expires.
    pub(super) leases: Arc<Lane>,
}

/// Connects, checks that commits are durable, and migrates.
pub(super) async fn open(
    connect: &PgConnectOptions,
    options: &StoreOptions,
) -> Result<PostgresLanes, StoreError> {
    let common = LaneOptions {
        connections: options.connections,
        acquire_wait: Duration::from_millis(options.acquire_wait_ms),
        lock_wait: Duration::from_millis(options.lock_wait_ms),
        statement: Duration::from_millis(options.statement_ms),
        idle: Duration::from_millis(options.idle_ms),
    };
    let wait = Duration::from_millis(options.lease_wait_ms);
    // A heartbeat that got stuck has its own rows locked; they are free again when it is given up.
    let leases = LaneOptions {
        connections: 1,
        acquire_wait: wait,
        lock_wait: wait,
        statement: wait,
        idle: wait,
    };
    let connect = connect.clone().application_name("zonefold").options([
        ("lock_timeout", options.lock_wait_ms.to_string()),
        ("statement_timeout", options.statement_ms.to_string()),
        // A plan that was made while a table was empty would scan it when it is large.
        ("plan_cache_mode", "force_custom_plan".to_owned()),
    ]);
    let mut connection =
        tokio::time::timeout(common.acquire_wait, PgConnection::connect_with(&connect))
            .await
            .map_err(|_| {
                StoreError::Unavailable(
                    "PostgreSQL did not answer in time; check host, port and network".to_owned(),
                )
            })?
            .map_err(from_sqlx)?;
    check_durability(&mut connection).await?;
    migrate::postgres(&mut connection).await?;
    connection.close().await.map_err(from_sqlx)?;
    Ok(PostgresLanes { common: Lane::new(&connect, common), leases: Lane::new(&connect, leases) })
}

/// An acknowledged commit has to be on the disk: refuses a session that does not wait for it, and warns of a server without `fsync`.
async fn check_durability(connection: &mut PgConnection) -> Result<(), StoreError> {
    let (synchronous_commit, fsync): (String, String) =
        sqlx::query_as("select current_setting('synchronous_commit'), current_setting('fsync')")
            .fetch_one(connection)
            .await
            .map_err(from_sqlx)?;
    if synchronous_commit == "off" {
        return Err(StoreError::Refused(
            "synchronous_commit is off, so PostgreSQL could lose what was acknowledged; set it to on for this role or database"
                .to_owned(),
        ));
    }
    if fsync == "off" {
        tracing::warn!(
            "fsync is off in PostgreSQL: a crash of its machine can lose or damage everything; use it for tests only"
        );
    }
    Ok(())
}

/// Some rows of an [`Input`], column by column.
pub(super) struct Chunk {
    columns: Vec<(&'static str, Column)>,
    names: String,
}

enum Column {
    Int(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

/// Cuts `input` into chunks.
pub(super) fn chunks(input: Input) -> impl Iterator<Item = Chunk> {
    let Input { columns, values } = input;
    let mut values = values.into_iter().peekable();
    std::iter::from_fn(move || {
        values.peek()?;
        let mut chunk = Chunk::new(columns);
        for _ in 0..CHUNK_ROWS {
            if values.peek().is_none() {
                break;
            }
            chunk
                .columns
                .iter_mut()
                .zip(values.by_ref())
                .for_each(|((_, column), value)| column.push(value));
        }
        Some(chunk)
    })
}

impl Chunk {
    fn new(columns: &[(&'static str, Kind)]) -> Self {
        let empty = |kind| match kind {
            Kind::Int => Column::Int(Vec::new()),
            Kind::Text => Column::Text(Vec::new()),
            Kind::Bytes => Column::Bytes(Vec::new()),
        };
        Self {
            names: column_names(columns),
            columns: columns.iter().map(|(name, kind)| (*name, empty(*kind))).collect(),
        }
    }

    /// The statement with `input` before it.
    pub(super) fn statement(&self, sql: &str) -> String {
        let arrays: Vec<_> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, (_, column))| format!("${}::{}[]", at + 1, column.type_name()))
            .collect();
        format!(
            "with input ({}) as (select * from unnest({})) {sql}",
            self.names,
            arrays.join(", ")
        )
    }

    /// Binds the arrays.
    pub(super) fn bind(self, query: PostgresQuery) -> PostgresQuery {
        self.columns.into_iter().fold(query, |query, (_, column)| match column {
            Column::Int(values) => query.bind(values),
            Column::Text(values) => query.bind(values),
            Column::Bytes(values) => query.bind(values),
        })
    }
}

impl Column {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Int(_) => "bigint",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytea",
        }
    }

    fn push(&mut self, value: Value) {
        // A value of another type than its column is a defect; it becomes null, which the tables refuse.
        match self {
            Self::Int(values) => {
                values.push(if let Value::Int(value) = value { value } else { None })
            }
            Self::Text(values) => {
                values.push(if let Value::Text(value) = value { value } else { None })
            }
            Self::Bytes(values) => {
                values.push(if let Value::Bytes(value) = value { value } else { None })
            }
        }
    }
}
