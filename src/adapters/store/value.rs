//! Values on their way into statements and out of rows.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use super::error::{corrupt, from_sqlx};
use crate::ports::StoreError;

/// One argument of a statement. Both databases get the same three types; null keeps its type, which PostgreSQL asks for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(Some(value))
    }
}

impl From<Option<Vec<u8>>> for Value {
    fn from(value: Option<Vec<u8>>) -> Self {
        Self::Bytes(value)
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(value: [u8; N]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

/// The type of a column of an [`Input`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Text,
    Bytes,
}

/// Rows that one statement takes as the table `input`.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) columns: &'static [(&'static str, Kind)],
    pub(super) values: Vec<Value>,
}

impl Input {
    /// An empty table of these columns.
    pub(super) fn new(columns: &'static [(&'static str, Kind)]) -> Self {
        Self { columns, values: Vec::new() }
    }

    /// Appends one row; the array is as long as there are columns.
    pub(super) fn push<const N: usize>(&mut self, row: [Value; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.values.extend(row);
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.values.len() / self.columns.len()
    }
}

/// One row of an answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// An integer, whichever its width in the table.
    pub(super) fn int(&self, index: usize) -> Result<i64, StoreError> {
        self.int_or_null(index)?.ok_or_else(|| corrupt(format_args!("column {index}"), "it is null"))
    }

    /// An integer or null.
    pub(super) fn int_or_null(&self, index: usize) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(index),
            Self::Postgres(row) => row
                .try_get::<Option<i64>, _>(index)
                .or_else(|_| row.try_get::<Option<i32>, _>(index).map(|value| value.map(i64::from))),
        }
        .map_err(from_sqlx)
    }

    /// Text.
    pub(super) fn text(&self, index: usize) -> Result<&str, StoreError> {
        self.text_or_null(index)?.ok_or_else(|| corrupt(format_args!("column {index}"), "it is null"))
    }

    /// Text or null.
    pub(super) fn text_or_null(&self, index: usize) -> Result<Option<&str>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(index),
            Self::Postgres(row) => row.try_get(index),
        }
        .map_err(from_sqlx)
    }

    /// Bytes.
    pub(super) fn bytes(&self, index: usize) -> Result<&[u8], StoreError> {
        self.bytes_or_null(index)?.ok_or_else(|| corrupt(format_args!("column {index}"), "it is null"))
    }

    /// Bytes or null.
    pub(super) fn bytes_or_null(&self, index: usize) -> Result<Option<&[u8]>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(index),
            Self::Postgres(row) => row.try_get(index),
        }
        .map_err(from_sqlx)
    }
}
