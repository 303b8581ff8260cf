//! Values on their way into statements and out of rows.

use bytes::Bytes;
use sqlx::postgres::PgRow;
use sqlx::postgres::PgValueFormat;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Row as _, ValueRef as _};

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

/// Rows that one statement reads as the table `input`.
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

/// The columns of a query, in its order.
pub(super) type Columns = &'static [(&'static str, Kind)];

fn position(columns: Columns, column: &str) -> Option<usize> {
    columns.iter().position(|(name, _)| *name == column)
}

fn is_null(column: &str) -> StoreError {
    corrupt(format_args!("column {column}"), "it is null")
}

/// One row of an answer; its columns are asked for by name.
pub(super) enum Row {
    Sqlite(SqliteRow),
    /// With the columns of the query where they are known: then they are found without the driver's map of names.
    Postgres(PgRow, Columns),
    /// One of many that SQLite answered as one value; see [`PackedRow`].
    Packed(PackedRow),
}

impl Row {
    /// An integer, whichever its width in the table.
    pub(super) fn int(&self, column: &str) -> Result<i64, StoreError> {
        self.int_or_null(column)?.ok_or_else(|| is_null(column))
    }

    /// An integer or null.
    pub(super) fn int_or_null(&self, column: &str) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(column).map_err(from_sqlx),
            Self::Postgres(row, columns) => match position(columns, column) {
                Some(index) => postgres_int(row, index, column),
                None => postgres_int(row, column, column),
            },
            Self::Packed(row) => row.int(column),
        }
    }

    /// Text.
    pub(super) fn text(&self, column: &str) -> Result<&str, StoreError> {
        self.text_or_null(column)?.ok_or_else(|| is_null(column))
    }

    /// Text or null.
    pub(super) fn text_or_null(&self, column: &str) -> Result<Option<&str>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row, columns) => match position(columns, column) {
                Some(index) => row.try_get(index),
                None => row.try_get(column),
            },
            Self::Packed(row) => return row.text(column),
        }
        .map_err(from_sqlx)
    }

    /// Bytes.
    pub(super) fn bytes(&self, column: &str) -> Result<&[u8], StoreError> {
        self.bytes_or_null(column)?.ok_or_else(|| is_null(column))
    }

    /// Bytes or null.
    pub(super) fn bytes_or_null(&self, column: &str) -> Result<Option<&[u8]>, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row, columns) => match position(columns, column) {
                Some(index) => row.try_get(index),
                None => row.try_get(column),
            },
            Self::Packed(row) => return row.bytes(column),
        }
        .map_err(from_sqlx)
    }
}

/// An integer of either width. The driver's own conversion would make an error of each narrow one first.
fn postgres_int(
    row: &PgRow,
    index: impl ColumnIndex<PgRow>,
    column: &str,
) -> Result<Option<i64>, StoreError> {
    let value = row.try_get_raw(index).map_err(from_sqlx)?;
    if value.is_null() {
        return Ok(None);
    }
    let refuse = |reason: &str| corrupt(format_args!("column {column}"), reason);
    if value.format() != PgValueFormat::Binary {
        return Err(refuse("it is not in the binary form"));
    }
    match *value.as_bytes().map_err(|error| refuse(&error.to_string()))? {
        [a, b, c, d] => Ok(Some(i32::from_be_bytes([a, b, c, d]).into())),
        [a, b, c, d, e, f, g, h] => Ok(Some(i64::from_be_bytes([a, b, c, d, e, f, g, h]))),
        _ => Err(refuse("it is no integer of four or eight octets")),
    }
}

/// Columns of a [`PackedRow`] at most.
const PACKED_COLUMNS: usize = 10;

/// A row out of one value that holds a whole page.
///
/// The driver hands every row of SQLite through a channel and copies every column by itself, which costs several times what
/// reading the row does. [`pack_columns`] makes SQLite put a page together as one value, which is copied once. A row is a head,
/// then its texts and bytes without anything between; the head has a field for each column, ended by a space: an integer in
/// decimal, the length of a text or of bytes in octets, nothing for null.
pub(super) struct PackedRow {
    page: Bytes,
    columns: Columns,
    /// Where each value stands; `None` for null.
    places: [Option<(u32, u32)>; PACKED_COLUMNS],
}

/// A query of one value that holds all rows of `sql`, whose columns these are. The order of `sql` stays: SQLite keeps an inner
/// order when what is around it depends on it, as `group_concat` does.
pub(super) fn pack_columns(columns: Columns, sql: &str) -> String {
    let head = columns.iter().map(|(name, kind)| match kind {
        Kind::Int => format!("{name}, ' '"),
        Kind::Text | Kind::Bytes => format!("octet_length({name}), ' '"),
    });
    let body =
        columns.iter().filter(|(_, kind)| *kind != Kind::Int).map(|(name, _)| (*name).to_owned());
    let parts: Vec<String> = head.chain(body).collect();
    format!(
        "select cast(group_concat(concat({}), '') as blob) as page from ({sql})",
        parts.join(", ")
    )
}

/// The rows of such a value.
pub(super) fn unpack_rows(columns: Columns, page: Vec<u8>) -> Result<Vec<Row>, StoreError> {
    debug_assert!(columns.len() <= PACKED_COLUMNS);
    let page = Bytes::from(page);
    let (mut rows, mut at) = (Vec::new(), 0);
    while at < page.len() {
        let (row, end) = PackedRow::read(columns, &page, at)
            .ok_or_else(|| corrupt("page of rows", "its parts do not fit"))?;
        rows.push(Row::Packed(row));
        at = end;
    }
    Ok(rows)
}

impl PackedRow {
    /// The row that begins at `start`, and where it ends; `None` if the page is not whole.
    fn read(columns: Columns, page: &Bytes, start: usize) -> Option<(Self, usize)> {
        let mut places = [None; PACKED_COLUMNS];
        let mut at = start;
        for place in places.iter_mut().take(columns.len()) {
            let length = page.get(at..)?.iter().position(|octet| *octet == b' ')?;
            *place =
                (length > 0).then_some((u32::try_from(at).ok()?, u32::try_from(at + length).ok()?));
            at += length + 1;
        }
        let mut row = Self { page: page.clone(), columns, places };
        for (index, (_, kind)) in columns.iter().enumerate() {
            if *kind == Kind::Int {
                continue;
            }
            let Some(length) = row.int_at(index).ok()? else { continue };
            let end =
                at.checked_add(usize::try_from(length).ok()?).filter(|end| *end <= page.len())?;
            *row.places.get_mut(index)? = Some((u32::try_from(at).ok()?, u32::try_from(end).ok()?));
            at = end;
        }
        Some((row, at))
    }

    fn bytes_at(&self, index: usize) -> Option<&[u8]> {
        let place = self.places.get(index).copied().flatten();
        place.and_then(|(start, end)| self.page.get(start as usize..end as usize))
    }

    fn text_at(&self, index: usize) -> Result<Option<&str>, StoreError> {
        let text = self.bytes_at(index).map(std::str::from_utf8).transpose();
        text.map_err(|error| corrupt(format_args!("column {index}"), error))
    }

    fn int_at(&self, index: usize) -> Result<Option<i64>, StoreError> {
        let number = self.text_at(index)?.map(str::parse).transpose();
        number.map_err(|error| corrupt(format_args!("column {index}"), error))
    }

    fn index_of(&self, column: &str) -> Result<usize, StoreError> {
        position(self.columns, column)
            .ok_or_else(|| corrupt(format_args!("column {column}"), "the query does not have it"))
    }

    fn bytes(&self, column: &str) -> Result<Option<&[u8]>, StoreError> {
        Ok(self.bytes_at(self.index_of(column)?))
    }

    fn text(&self, column: &str) -> Result<Option<&str>, StoreError> {
        self.text_at(self.index_of(column)?)
    }

    fn int(&self, column: &str) -> Result<Option<i64>, StoreError> {
        self.int_at(self.index_of(column)?)
    }
}

/// The names of the columns of `input`, separated by commas.
pub(super) fn column_names(columns: &[(&'static str, Kind)]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: Columns =
        &[("a", Kind::Int), ("b", Kind::Bytes), ("c", Kind::Text), ("d", Kind::Int)];

    #[test]
    fn a_page_that_is_cut_off_is_damaged() {
        let page = b"7 3 2  x\0yhi-1  0 9 ";
        let rows = unpack_rows(COLUMNS, page.to_vec()).unwrap();
        let all: Vec<_> = rows
            .iter()
            .map(|row| {
                let bytes = row.bytes_or_null("b").unwrap();
                (
                    row.int("a").unwrap(),
                    bytes,
                    row.text_or_null("c").unwrap(),
                    row.int_or_null("d").unwrap(),
                )
            })
            .collect();
        assert_eq!(all, [(7, Some(&b"x\0y"[..]), Some("hi"), None), (-1, None, Some(""), Some(9))]);
        for end in [1, 3, 7, 9, 14, page.len() - 1] {
            assert!(unpack_rows(COLUMNS, page[..end].to_vec()).is_err(), "{end}");
        }
    }
}
