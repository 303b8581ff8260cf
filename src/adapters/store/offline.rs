//! The store's forms without a database: the contents of its rows, read from any bytes.
//!
//! Tests and fuzz targets use it to pass damaged rows to the readers.

use super::codec;
use super::value::{Kind, Row, unpack_rows};
use crate::core::dns::record::RecordKey;
use crate::ports::StoreError;

/// The columns of [`rows`].
const COLUMNS: &[(&str, Kind)] =
    &[("int", Kind::Int), ("bytes", Kind::Bytes), ("text", Kind::Text), ("last", Kind::Int)];

/// One row of [`rows`]: an integer, octets, text and an integer, each of which may be null.
pub type OfflineRow = (Option<i64>, Option<Vec<u8>>, Option<String>, Option<i64>);

/// The bytes of a record key, which sort as the key does.
pub fn sort_key(key: &RecordKey) -> Vec<u8> {
    codec::sort_key(key)
}

/// The inverse of [`sort_key`].
///
/// # Errors
/// The bytes are no record key.
pub fn record_key(bytes: &[u8]) -> Result<RecordKey, StoreError> {
    codec::record_key(bytes)
}

/// The rows of a page that SQLite answered as one value.
///
/// # Errors
/// The page or a column of it is damaged.
pub fn rows(page: &[u8]) -> Result<Vec<OfflineRow>, StoreError> {
    let read = |row: &Row| {
        let bytes = row.bytes_or_null("bytes")?.map(<[u8]>::to_vec);
        Ok((
            row.int_or_null("int")?,
            bytes,
            row.text_or_null("text")?.map(str::to_owned),
            row.int_or_null("last")?,
        ))
    };
    unpack_rows(COLUMNS, page.to_vec())?.iter().map(read).collect()
}

/// A page of such rows, as SQLite puts it together.
pub fn page_of(rows: &[OfflineRow]) -> Vec<u8> {
    let mut page = Vec::new();
    for (int, bytes, text, last) in rows {
        let lengths = [
            *int,
            bytes.as_ref().map(|b| b.len() as i64),
            text.as_ref().map(|t| t.len() as i64),
            *last,
        ];
        for field in lengths {
            page.extend(field.map(|number| number.to_string()).unwrap_or_default().into_bytes());
            page.push(b' ');
        }
        page.extend(bytes.iter().flatten());
        page.extend(text.iter().flat_map(|text| text.bytes()));
    }
    page
}
