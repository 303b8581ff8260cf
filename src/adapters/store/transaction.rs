//! One transaction on either database: statements in, rows out.
//!
//! A statement is written once. `$1` stands for an argument in both, and a bulk statement reads its rows from a table named
//! `input`, which is put before it: arrays and `unnest` in PostgreSQL, a list of `values` in SQLite.

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite};

use super::clock::clock;
use super::error::from_sqlx;
use super::lane::{PostgresQuery, Work};
use super::value::{Columns, Input, Row, Value, pack_columns, unpack_rows};
use super::{postgres, sqlite};
use crate::ports::StoreError;

/// An open transaction; dropped without [`Transaction::commit`] it is rolled back.
pub(super) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(Work),
}

impl Transaction {
    /// Ends the transaction; when this returns, it is durable.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await.map_err(from_sqlx),
            Self::Postgres(work) => work.commit().await,
        }
    }

    /// Runs a statement and returns how many rows it touched. `sql` is made of constants only.
    pub(super) async fn execute<const N: usize>(
        &mut self,
        sql: &str,
        arguments: [Value; N],
    ) -> Result<u64, StoreError> {
        self.execute_values(sql.to_owned(), arguments.into()).await
    }

    /// Runs a query. `sql` is made of constants only.
    pub(super) async fn fetch<const N: usize>(
        &mut self,
        sql: &str,
        arguments: [Value; N],
    ) -> Result<Vec<Row>, StoreError> {
        self.fetch_values(sql.to_owned(), arguments.into()).await
    }

    /// Runs a query of at most one row.
    pub(super) async fn fetch_optional<const N: usize>(
        &mut self,
        sql: &str,
        arguments: [Value; N],
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch(sql, arguments).await?.pop())
    }

    /// Runs a statement over the rows of `input`; does nothing if there are none.
    pub(super) async fn execute_bulk(
        &mut self,
        sql: &str,
        input: Input,
    ) -> Result<u64, StoreError> {
        let mut touched = 0;
        match self {
            Self::Sqlite(_) => {
                for (sql, values) in sqlite::chunks(sql, input) {
                    touched += self.execute_values(sql, values).await?;
                }
            }
            Self::Postgres(work) => {
                for chunk in postgres::chunks(input) {
                    let sql = chunk.statement(sql);
                    touched += work.execute(chunk.bind(sqlx::query(AssertSqlSafe(sql)))).await?;
                }
            }
        }
        Ok(touched)
    }

    /// Runs a query over the rows of `input`; an order in it holds inside one chunk only.
    pub(super) async fn fetch_bulk(
        &mut self,
        sql: &str,
        input: Input,
    ) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        match self {
            Self::Sqlite(_) => {
                for (sql, values) in sqlite::chunks(sql, input) {
                    rows.append(&mut self.fetch_values(sql, values).await?);
                }
            }
            Self::Postgres(work) => {
                for chunk in postgres::chunks(input) {
                    let sql = chunk.statement(sql);
                    rows.append(
                        &mut work.fetch(chunk.bind(sqlx::query(AssertSqlSafe(sql)))).await?,
                    );
                }
            }
        }
        Ok(rows)
    }

    /// Runs a query of these columns that may return many rows, in the cheapest way of each database.
    pub(super) async fn fetch_many<const N: usize>(
        &mut self,
        columns: Columns,
        sql: &str,
        arguments: [Value; N],
    ) -> Result<Vec<Row>, StoreError> {
        if let Self::Postgres(_) = self {
            let known = |row| match row {
                Row::Postgres(row, _) => Row::Postgres(row, columns),
                other => other,
            };
            let rows = self.fetch(sql, arguments).await?;
            return Ok(rows.into_iter().map(known).collect());
        }
        let answer = self.fetch_values(pack_columns(columns, sql), arguments.into()).await?;
        match answer.first().map(|row| row.bytes_or_null("page")).transpose()?.flatten() {
            Some(page) => unpack_rows(columns, page.to_vec()),
            None => Ok(Vec::new()),
        }
    }

    /// Whether other processes may write here at the same time.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// The time of the database in milliseconds since the epoch, as an expression.
    pub(super) fn clock(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "cast(unixepoch('subsec') * 1000 as integer)",
            Self::Postgres(_) => clock!(),
        }
    }

    /// A query's end that keeps the read rows from changing until the commit. SQLite's one writer needs none.
    pub(super) fn for_update(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "",
            Self::Postgres(_) => " for update",
        }
    }

    /// A query's end that locks the read rows against writers but not against [`Self::for_key_share`]. SQLite needs none.
    pub(super) fn for_no_key_update(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "",
            Self::Postgres(_) => " for no key update",
        }
    }

    /// A query's end that keeps the read rows from being locked by [`Self::for_update`] until the commit. SQLite needs none.
    pub(super) fn for_key_share(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "",
            Self::Postgres(_) => " for key share",
        }
    }

    /// Runs a statement whose text and arguments were put together.
    pub(super) async fn execute_values(
        &mut self,
        sql: String,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(transaction) => {
                let done = bind_sqlite(sqlx::query(AssertSqlSafe(sql)), values)
                    .execute(&mut **transaction)
                    .await;
                done.map(|done| done.rows_affected()).map_err(from_sqlx)
            }
            Self::Postgres(work) => {
                work.execute(bind_postgres(sqlx::query(AssertSqlSafe(sql)), values)).await
            }
        }
    }

    /// Runs a query whose text and arguments were put together.
    pub(super) async fn fetch_values(
        &mut self,
        sql: String,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(transaction) => {
                let rows = bind_sqlite(sqlx::query(AssertSqlSafe(sql)), values)
                    .fetch_all(&mut **transaction)
                    .await;
                rows.map(|rows| rows.into_iter().map(Row::Sqlite).collect()).map_err(from_sqlx)
            }
            Self::Postgres(work) => {
                work.fetch(bind_postgres(sqlx::query(AssertSqlSafe(sql)), values)).await
            }
        }
    }
}

type SqliteQuery = Query<'static, Sqlite, SqliteArguments>;

fn bind_sqlite(query: SqliteQuery, values: Vec<Value>) -> SqliteQuery {
    values.into_iter().fold(query, |query, value| match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Bytes(value) => query.bind(value),
    })
}

fn bind_postgres(query: PostgresQuery, values: Vec<Value>) -> PostgresQuery {
    values.into_iter().fold(query, |query, value| match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Bytes(value) => query.bind(value),
    })
}
