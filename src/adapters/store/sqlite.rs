//! SQLite: one connection that writes, some that read, and a log that is on the disk before a commit answers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use super::error::{from_migration, from_sqlx};
use super::transaction::column_names;
use super::value::{Input, Value};
use super::{StoreOptions, migrate};
use crate::ports::StoreError;

/// Rows of one bulk statement. Few sizes make few prepared statements; 512 rows of a dozen columns stay below SQLite's
/// 32,766 parameters.
const CHUNK_ROWS: [usize; 4] = [512, 64, 8, 1];

/// The pools of one database file.
pub(super) struct SqlitePools {
    /// One connection: SQLite has one writer, and waiting here is fair where waiting for its lock is not.
    pub(super) writer: SqlitePool,
    /// Readers see the last commit and hinder nobody (WAL).
    pub(super) readers: SqlitePool,
}

/// Opens a file, made with its directory when missing, for its owner only.
pub(super) async fn open_file(path: &Path, options: &StoreOptions) -> Result<SqlitePools, StoreError> {
    let path = path.to_owned();
    let prepared = tokio::task::spawn_blocking(move || prepare(path)).await;
    let path = prepared.map_err(|error| StoreError::Unavailable(error.to_string()))??;
    let connect = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        // FULL syncs the log at every commit; NORMAL could lose the last commits with the machine's power.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_millis(options.lock_wait_ms))
        .pragma("cache_size", "-65536")
        .pragma("temp_store", "memory")
        .pragma("wal_autocheckpoint", "4000");
    let writer = sound_only(pool(1, options)).connect_with(connect.clone()).await.map_err(|error| unreadable(&path, error))?;
    migrate_with_writer(&writer).await?;
    let readers = pool(options.connections.max(1), options).connect_lazy_with(connect.read_only(true));
    Ok(SqlitePools { writer, readers })
}

/// Opens a database that lives as long as its one connection.
pub(super) async fn open_memory(options: &StoreOptions) -> Result<SqlitePools, StoreError> {
    let connect = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
    let writer = pool(1, options).connect_with(connect).await.map_err(from_sqlx)?;
    migrate_with_writer(&writer).await?;
    Ok(SqlitePools { readers: writer.clone(), writer })
}

fn pool(connections: u32, options: &StoreOptions) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_millis(options.acquire_wait_ms))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// A pool that closes a connection which comes back inside a transaction. When the disk is full SQLite may end a transaction by
/// itself; the driver then counts one that is no longer there, and every later `begin` on that connection would be refused.
fn sound_only(pool: SqlitePoolOptions) -> SqlitePoolOptions {
    pool.before_acquire(|connection, _| {
        Box::pin(async move {
            // A rollback that a dropped transaction asked for is carried out before this is answered.
            connection.ping().await?;
            Ok(!connection.is_in_transaction())
        })
    })
}

/// The migrations run inside one writing transaction: a second process that starts at once waits for it, then finds them done.
async fn migrate_with_writer(writer: &SqlitePool) -> Result<(), StoreError> {
    let mut transaction = writer.begin_with("begin immediate").await.map_err(from_sqlx)?;
    migrate::sqlite().run_direct(None, &mut *transaction, false).await.map_err(from_migration)?;
    transaction.commit().await.map_err(from_sqlx)
}

/// Makes the directory and an empty file. SQLite gives its log and index the mode of the file.
fn prepare(path: PathBuf) -> Result<PathBuf, StoreError> {
    let problem = |what: &str, error: std::io::Error| {
        StoreError::Unavailable(format!(
            "{what} {} cannot be made: {error}; name a path that this process may write",
            path.display()
        ))
    };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory).map_err(|error| problem("the directory of", error))?;
    }
    let mut file = std::fs::OpenOptions::new();
    file.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    match file.open(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(problem("the file", error)),
        _ => Ok(path),
    }
}

fn unreadable(path: &Path, error: sqlx::Error) -> StoreError {
    let place = |reason: String| format!("{}: {reason}", path.display());
    match from_sqlx(error) {
        StoreError::Unavailable(reason) => StoreError::Unavailable(place(reason)),
        StoreError::Corrupt { what, reason } => StoreError::Corrupt { what, reason: place(reason) },
        StoreError::Refused(reason) => StoreError::Refused(place(reason)),
    }
}

/// Cuts `input` into statements with `input` as a list of values before `sql`.
pub(super) fn chunks(sql: &str, input: Input) -> impl Iterator<Item = (String, Vec<Value>)> {
    let width = input.columns.len();
    let names = column_names(input.columns);
    let mut left = input.rows();
    let mut values = input.values.into_iter();
    std::iter::from_fn(move || {
        let rows = CHUNK_ROWS.into_iter().find(|rows| *rows <= left)?;
        left -= rows;
        let mut text = format!("with input ({names}) as (values ");
        for row in 0..rows {
            text.push_str(if row == 0 { "(" } else { ", (" });
            for column in 0..width {
                text.push_str(if column == 0 { "?" } else { ", ?" });
            }
            text.push(')');
        }
        text.push_str(") ");
        text.push_str(sql);
        Some((text, values.by_ref().take(rows * width).collect()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_commit_is_on_the_disk_before_it_answers() {
        let directory = std::env::temp_dir().join(format!("zonefold-sqlite-{}", uuid::Uuid::new_v4()));
        let pools = open_file(&directory.join("zonefold.db"), &StoreOptions::default()).await.unwrap();
        for pool in [&pools.writer, &pools.readers] {
            let (journal, synchronous, foreign_keys): (String, i64, i64) = sqlx::query_as(
                "select journal_mode, synchronous, foreign_keys
                   from pragma_journal_mode, pragma_synchronous, pragma_foreign_keys",
            )
            .fetch_one(pool)
            .await
            .unwrap();
            assert_eq!((journal.as_str(), synchronous, foreign_keys), ("wal", 2, 1), "2 is FULL");
        }
        let written = sqlx::query("update counters set value = 9").execute(&pools.readers).await;
        assert!(written.is_err(), "a reader does not write");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_ended_itself_does_not_spoil_the_writer() {
        let directory = std::env::temp_dir().join(format!("zonefold-sqlite-{}", uuid::Uuid::new_v4()));
        let pools = open_file(&directory.join("zonefold.db"), &StoreOptions::default()).await.unwrap();
        let mut transaction = pools.writer.begin_with("begin immediate").await.unwrap();
        // What SQLite does by itself when the disk is full at the commit.
        sqlx::query("rollback").execute(&mut *transaction).await.unwrap();
        assert!(transaction.commit().await.is_err());
        let transaction = pools.writer.begin_with("begin immediate").await.unwrap();
        transaction.commit().await.unwrap();
        std::fs::remove_dir_all(directory).unwrap();
    }
}
