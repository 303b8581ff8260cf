//! The raw insert that an ingest is held against: the rows that the broker made durable, put into an empty database of the same
//! kind by its driver alone, with the statement that is fastest there.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::TryStreamExt as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _,
    Executor as _, PgConnection, Row as _, TypeInfo as _, ValueRef as _,
};
use tokio::time::Instant;
use zonefold::adapters::store::{self, StoreOptions};

/// Rows of one statement for SQLite. More gain nothing, and the driver's way to its thread is paid once for all of them.
const ROWS_A_STATEMENT: usize = 250;
/// The start of PostgreSQL's binary format: its signature, no flags, no extension.
const COPY_START: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_END: [u8; 2] = [0xff; 2];
/// The tables that are filled with a session and not with an endpoint.
const BEFORE_ENDPOINTS: [&str; 2] = ["cluster_names", "clusters"];

/// How long the raw insert took.
#[derive(Clone, Copy, Debug)]
pub struct RawInsert {
    /// Rows.
    pub rows: usize,
    /// The time for all of them.
    pub took: Duration,
}

/// Inserts the endpoints of one SQLite file into another that is made for it.
///
/// # Errors
/// The driver says so, or not all rows arrived.
pub async fn sqlite(full: &Path, empty: &Path, rows_a_commit: usize) -> anyhow::Result<RawInsert> {
    drop(
        store::open(&format!("sqlite:{}", empty.display()).parse()?, &StoreOptions::default())
            .await?,
    );
    // The settings of the store: the log is on the disk at each commit.
    let settings = SqliteConnectOptions::new()
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let settings = settings.pragma("cache_size", "-65536").pragma("wal_autocheckpoint", "4000");
    let mut from = settings.clone().filename(full).connect().await?;
    let mut to = settings.filename(empty).connect().await?;
    let columns: Vec<String> = sqlx::query_scalar(
        "select name from pragma_table_info('endpoints') where name <> 'verdict' order by cid",
    )
    .fetch_all(&mut from)
    .await?;
    to.execute(AssertSqlSafe(format!("attach database '{}' as filled", full.display()))).await?;
    for table in BEFORE_ENDPOINTS {
        to.execute(AssertSqlSafe(format!("insert into {table} select * from filled.{table}")))
            .await?;
    }
    to.execute("detach database filled").await?;
    let query = format!("select {} from endpoints order by arrival", columns.join(", "));
    let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(&mut from).await?;
    from.close().await?;
    let (count, transactions) = (rows.len(), statements(&rows, &columns, rows_a_commit)?);
    drop(rows);
    let began = Instant::now();
    for statements in transactions {
        let mut transaction = to.begin_with("begin immediate").await?;
        for (sql, arguments) in statements {
            sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
    }
    let took = began.elapsed();
    let arrived: i64 =
        sqlx::query_scalar("select count(*) from endpoints").fetch_one(&mut to).await?;
    to.close().await?;
    anyhow::ensure!(arrived == count as i64, "{arrived} of {count} rows arrived");
    Ok(RawInsert { rows: count, took })
}

type Statement = (String, SqliteArguments);

/// The statements of each transaction, their arguments bound.
fn statements(
    rows: &[SqliteRow],
    columns: &[String],
    rows_a_commit: usize,
) -> anyhow::Result<Vec<Vec<Statement>>> {
    let a_row = format!("({})", vec!["?"; columns.len()].join(", "));
    let statement = |rows: &[SqliteRow]| {
        let values = vec![a_row.as_str(); rows.len()].join(", ");
        let mut arguments = SqliteArguments::default();
        rows.iter().try_for_each(|row| bind(row, &mut arguments))?;
        anyhow::Ok((
            format!("insert into endpoints ({}) values {values}", columns.join(", ")),
            arguments,
        ))
    };
    rows.chunks(rows_a_commit)
        .map(|rows| rows.chunks(ROWS_A_STATEMENT).map(statement).collect())
        .collect()
}

fn bind(row: &SqliteRow, arguments: &mut SqliteArguments) -> anyhow::Result<()> {
    for column in row.columns() {
        let at = column.ordinal();
        let added = match row.try_get_raw(at)?.type_info().name() {
            "INTEGER" => arguments.add(row.try_get::<i64, _>(at)?),
            "TEXT" => arguments.add(row.try_get::<String, _>(at)?),
            "BLOB" => arguments.add(row.try_get::<Vec<u8>, _>(at)?),
            _ => arguments.add(None::<i64>),
        };
        added.map_err(|error| {
            anyhow::anyhow!("the column {} cannot be bound: {error}", column.name())
        })?;
    }
    Ok(())
}

/// Copies the endpoints of one PostgreSQL database into another, whose schema is made for it.
///
/// # Errors
/// The driver says so, or not all rows arrived.
pub async fn postgres(
    full: &PgConnectOptions,
    empty: &PgConnectOptions,
    rows_a_commit: usize,
) -> anyhow::Result<RawInsert> {
    drop(store::open(&super::postgres::url_of(empty).parse()?, &StoreOptions::default()).await?);
    let (mut from, mut to) = (full.connect().await?, empty.connect().await?);
    for table in BEFORE_ENDPOINTS {
        let all = copy_out(&mut from, table).await?;
        copy_in(&mut to, table, all).await?;
    }
    let columns: Vec<String> = sqlx::query_scalar(
        "select column_name::text from information_schema.columns
          where table_schema = current_schema() and table_name = 'endpoints' and column_name <> 'verdict' order by ordinal_position",
    )
    .fetch_all(&mut from)
    .await?;
    let columns = columns.join(", ");
    let all =
        copy_out(&mut from, &format!("(select {columns} from endpoints order by arrival)")).await?;
    from.close().await?;
    let (count, transactions) = copies(&all, rows_a_commit)?;
    let target = format!("endpoints ({columns})");
    let began = Instant::now();
    for rows in transactions {
        let mut transaction = to.begin().await?;
        copy_in(&mut transaction, &target, rows).await?;
        transaction.commit().await?;
    }
    let took = began.elapsed();
    let arrived: i64 =
        sqlx::query_scalar("select count(*) from endpoints").fetch_one(&mut to).await?;
    to.close().await?;
    anyhow::ensure!(arrived == count as i64, "{arrived} of {count} rows arrived");
    Ok(RawInsert { rows: count, took })
}

async fn copy_out(connection: &mut PgConnection, what: &str) -> anyhow::Result<Bytes> {
    let copy = format!("copy {what} to stdout (format binary)");
    let mut all = BytesMut::new();
    let mut parts = connection.copy_out_raw(&copy).await?;
    while let Some(part) = parts.try_next().await? {
        all.put(part);
    }
    Ok(all.freeze())
}

async fn copy_in(connection: &mut PgConnection, what: &str, rows: Bytes) -> anyhow::Result<()> {
    let mut copy =
        connection.copy_in_raw(&format!("copy {what} from stdin (format binary)")).await?;
    copy.send(&rows[..]).await?;
    copy.finish().await?;
    Ok(())
}

/// Cuts a binary copy into copies of `rows_each` rows; answers the number of rows as well.
fn copies(all: &[u8], rows_each: usize) -> anyhow::Result<(usize, Vec<Bytes>)> {
    let mut rest =
        all.strip_prefix(COPY_START).context("PostgreSQL's binary format has another start")?;
    let (mut rows, mut copies, mut copy) = (0, vec![], BytesMut::from(COPY_START));
    while let Some(row) = row_bytes(rest)? {
        copy.put(&rest[..row]);
        rest = &rest[row..];
        rows += 1;
        if rows % rows_each == 0 {
            copy.put(&COPY_END[..]);
            copies.push(std::mem::replace(&mut copy, BytesMut::from(COPY_START)).freeze());
        }
    }
    if copy.len() > COPY_START.len() {
        copy.put(&COPY_END[..]);
        copies.push(copy.freeze());
    }
    Ok((rows, copies))
}

/// The length of the first row: the number of its fields, then each with its length; `None` at the end.
fn row_bytes(rest: &[u8]) -> anyhow::Result<Option<usize>> {
    let cut = "PostgreSQL's copy ends in the middle of a row";
    let fields = i16::from_be_bytes(*rest.first_chunk().context(cut)?);
    if fields < 0 {
        return Ok(None);
    }
    let mut at = 2;
    for _ in 0..fields {
        let length =
            i32::from_be_bytes(*rest.get(at..).and_then(<[u8]>::first_chunk).context(cut)?);
        // A length of -1 is null.
        at += 4 + usize::try_from(length).unwrap_or(0);
    }
    anyhow::ensure!(at <= rest.len(), cut);
    Ok(Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_cut_between_rows() {
        let row = |byte: u8| [&[0, 2, 0, 0, 0, 1, byte][..], &[0xff; 4]].concat();
        let all = [COPY_START, &row(1), &row(2), &row(3), &COPY_END].concat();
        let (rows, copies) = copies(&all, 2).unwrap();
        assert_eq!(rows, 3);
        assert_eq!(
            copies,
            [
                [COPY_START, &row(1), &row(2), &COPY_END].concat(),
                [COPY_START, &row(3), &COPY_END].concat()
            ]
        );
        assert!(super::copies(&all[..all.len() - 8], 2).is_err());
    }
}
