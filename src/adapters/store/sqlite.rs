//! SQLite: one connection that writes, some that read, and a log that is on the disk before a commit returns.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};

use super::error::from_sqlx;
use super::value::column_names;
use super::value::{Input, Value};
use super::{StoreOptions, migrate};
use crate::ports::StoreError;

/// Rows of one bulk statement. Few sizes make few prepared statements; 512 rows of a dozen columns stay below SQLite's
/// 32,766 parameters.
const CHUNK_ROWS: [usize; 4] = [512, 64, 8, 1];

/// Pages that a connection holds, in KiB below zero. The one that writes holds most of the index of a million keys, whose pages
/// ingest visits at random; one that reads walks a page once, or a few of them for a look-up. What is not here is in the
/// system's cache of files, which gives memory back when others need it: eight readers of 64 MiB would not.
const WRITER_CACHE: &str = "-32768";
const READER_CACHE: &str = "-2048";

/// The pools of one database file.
pub(super) struct SqlitePools {
    /// One connection: SQLite has one writer, and waiting here is fair where waiting for its lock is not.
    pub(super) writer: SqlitePool,
    /// Readers see the last commit and block no one (WAL).
    pub(super) readers: SqlitePool,
}

/// Pages that go back to the disk in one step: a few milliseconds for waiting writers.
const PAGES_GIVEN_BACK: u32 = 1_000;

impl SqlitePools {
    /// Gives some of the pages that hold nothing back to the disk; what is left is used again or given back the next time.
    pub(super) async fn give_back_pages(&self) -> Result<(), StoreError> {
        let statement =
            sqlx::AssertSqlSafe(format!("pragma incremental_vacuum({PAGES_GIVEN_BACK})"));
        sqlx::query(statement).fetch_all(&self.writer).await.map(drop).map_err(from_sqlx)
    }
}

/// Opens a file, made with its directory when missing, for its owner only.
pub(super) async fn open_file(
    path: &Path,
    options: &StoreOptions,
) -> Result<SqlitePools, StoreError> {
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
        .pragma("temp_store", "memory")
        .pragma("wal_autocheckpoint", "4000");
    // Pages that retention frees go back to the disk in small steps; said before the first table is made, or never.
    let writing = connect
        .clone()
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .pragma("cache_size", WRITER_CACHE);
    let writer =
        connect_writer(writing, options).await.map_err(|error| unreadable(&path, error))?;
    migrate::sqlite(&writer).await?;
    let readers = pool(options.connections.max(1), options)
        .connect_lazy_with(connect.pragma("cache_size", READER_CACHE).read_only(true));
    Ok(SqlitePools { writer, readers })
}

/// Connects once the process that makes the file at the same moment is done: SQLite does not wait for its lock while a file's mode is
/// changed.
async fn connect_writer(
    writing: SqliteConnectOptions,
    options: &StoreOptions,
) -> Result<SqlitePool, sqlx::Error> {
    let give_up = tokio::time::Instant::now() + Duration::from_millis(options.lock_wait_ms);
    loop {
        match sound_only(pool(1, options)).connect_with(writing.clone()).await {
            Err(error) if is_locked(&error) && tokio::time::Instant::now() < give_up => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            connected => return connected,
        }
    }
}

/// Whether another process has the file open: each connection of one holds a shared lock on it for as long as it lives (WAL).
pub(super) async fn is_in_use(path: &Path) -> Result<bool, StoreError> {
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .locking_mode(SqliteLockingMode::Exclusive)
        .busy_timeout(Duration::ZERO);
    let take = async {
        let mut connection = sqlx::SqliteConnection::connect_with(&connect).await?;
        sqlx::raw_sql("begin exclusive; rollback").execute(&mut connection).await?;
        connection.close().await
    };
    match take.await {
        Ok(()) => Ok(false),
        Err(error) if is_locked(&error) => Ok(true),
        Err(error) => Err(from_sqlx(error)),
    }
}

/// SQLITE_BUSY, with any extended code.
fn is_locked(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}

/// Opens a database that lives as long as its one connection.
pub(super) async fn open_memory(options: &StoreOptions) -> Result<SqlitePools, StoreError> {
    let connect = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
    let writer = pool(1, options).connect_with(connect).await.map_err(from_sqlx)?;
    migrate::sqlite(&writer).await?;
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
        // The pool has pinged it when it came back, and a rollback that a dropped transaction asked for was carried out before
        // that was answered.
        Box::pin(async move { Ok(!connection.is_in_transaction()) })
    })
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
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(problem("the file", error))
        }
        _ => Ok(path),
    }
}

fn unreadable(path: &Path, error: sqlx::Error) -> StoreError {
    let place = |reason: String| format!("{}: {reason}", path.display());
    match from_sqlx(error) {
        StoreError::Unavailable(reason) => StoreError::Unavailable(place(reason)),
        StoreError::Corrupt { what, reason } => StoreError::Corrupt { what, reason: place(reason) },
        StoreError::Refused(reason) => StoreError::Refused(place(reason)),
        other => other,
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
    use super::super::transaction::Transaction;
    use super::super::value::Kind;
    use super::super::{endpoints, ingest};
    use super::*;

    #[tokio::test]
    async fn a_commit_is_on_the_disk_before_it_answers() {
        let directory =
            std::env::temp_dir().join(format!("zonefold-sqlite-{}", uuid::Uuid::new_v4()));
        let pools =
            open_file(&directory.join("zonefold.db"), &StoreOptions::default()).await.unwrap();
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
        let vacuum: i64 =
            sqlx::query_scalar("pragma auto_vacuum").fetch_one(&pools.writer).await.unwrap();
        assert_eq!(vacuum, 2, "2 is incremental");
        let written = sqlx::query("update counters set value = 9").execute(&pools.readers).await;
        assert!(written.is_err(), "a reader does not write");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn every_look_up_of_many_rows_goes_through_an_index() {
        let pools = open_memory(&StoreOptions::default()).await.unwrap();
        for (sql, columns) in
            [(ingest::FIND_KEYS, ingest::KEYS), (endpoints::SAVE_VERDICTS, endpoints::VERDICTS)]
        {
            let mut input = Input::new(columns);
            input.values.resize(columns.len() * CHUNK_ROWS[0], Value::Int(None));
            let (statement, _) = chunks(sql, input).next().unwrap();
            let plan = sqlx::query(sqlx::AssertSqlSafe(format!("explain query plan {statement}")));
            let plan = plan.fetch_all(&pools.writer).await.unwrap();
            let steps: Vec<String> = plan.iter().map(|step| sqlx::Row::get(step, 3)).collect();
            let walks = |step: &&String| {
                step.starts_with("SCAN") && !step.contains("input") && !step.contains("CONSTANT")
            };
            assert_eq!(steps.iter().find(walks), None, "{steps:?}");
        }
    }

    #[tokio::test]
    async fn a_page_of_rows_is_packed_and_read_as_it_is() {
        const COLUMNS: &[(&str, Kind)] = &[("n", Kind::Int), ("b", Kind::Bytes), ("t", Kind::Text)];
        let pools = open_memory(&StoreOptions::default()).await.unwrap();
        let mut transaction = Transaction::Sqlite(pools.writer.begin().await.unwrap());
        transaction
            .execute("create table t (n integer primary key, b blob, t text) strict", [])
            .await
            .unwrap();
        let mut rng = fastrand::Rng::with_seed(7);
        let rows: Vec<(i64, Option<Vec<u8>>, Option<String>)> = (0..500)
            .map(|number| {
                let octets: Vec<u8> = (0..rng.usize(..40))
                    .map(|_| rng.choice([0, b' ', b'7', 0xff, 0xc3]).unwrap())
                    .collect();
                let text: String = (0..rng.usize(..9)).map(|_| rng.char('\0'..)).collect();
                (number - 250, rng.bool().then_some(octets), rng.bool().then_some(text))
            })
            .collect();
        for (number, octets, text) in &rows {
            let values = [(*number).into(), octets.clone().into(), text.clone().into()];
            transaction.execute("insert into t values ($1, $2, $3)", values).await.unwrap();
        }
        let read = transaction
            .fetch_many(COLUMNS, "select n, b, t from t order by n desc limit $1", [499.into()])
            .await
            .unwrap();
        assert_eq!(read.len(), 499);
        for (row, (number, octets, text)) in read.iter().zip(rows.iter().rev()) {
            assert_eq!(row.int("n").unwrap(), *number);
            assert_eq!(row.bytes_or_null("b").unwrap(), octets.as_deref());
            assert_eq!(row.text_or_null("t").unwrap(), text.as_deref());
        }
        assert!(
            transaction
                .fetch_many(COLUMNS, "select n, b, t from t where n > $1", [999.into()])
                .await
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_ended_itself_does_not_spoil_the_writer() {
        let directory =
            std::env::temp_dir().join(format!("zonefold-sqlite-{}", uuid::Uuid::new_v4()));
        let pools =
            open_file(&directory.join("zonefold.db"), &StoreOptions::default()).await.unwrap();
        let mut transaction = pools.writer.begin_with("begin immediate").await.unwrap();
        // SQLite does this by itself when the disk is full at the commit.
        sqlx::query("rollback").execute(&mut *transaction).await.unwrap();
        assert!(transaction.commit().await.is_err());
        let transaction = pools.writer.begin_with("begin immediate").await.unwrap();
        transaction.commit().await.unwrap();
        std::fs::remove_dir_all(directory).unwrap();
    }
}
