//! Rows of the store: keys that sort, pages of rows, and the JSON of the journal.

use arcstr::ArcStr;
use zonefold::adapters::store::offline::{page_of, record_key, rows, sort_key};
use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::{RecordKey, RecordType};
use zonefold::core::planning::change::{Batch, Cause};
use zonefold::ports::{BatchOutcome, StoreError};

/// The first byte says what the bytes after it are.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = super::split_choice(data) else { return };
    match choice % 4 {
        0 => check_key_bytes(rest),
        1 => check_page(rest),
        2 => check_keys(rest),
        _ => {
            check_json::<Batch>(rest);
            check_json::<BatchOutcome>(rest);
            check_json::<Cause>(rest);
        }
    }
}

fn is_corrupt<T>(read: Result<T, StoreError>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(StoreError::Corrupt { what, reason }) => {
            assert!(!what.is_empty() && !reason.is_empty());
            None
        }
        Err(other) => panic!("what cannot be read is damaged: {other}"),
    }
}

/// Bytes that are a key lead to a key whose bytes lead to it.
fn check_key_bytes(bytes: &[u8]) {
    if let Some(key) = is_corrupt(record_key(bytes)) {
        assert_eq!(record_key(&sort_key(&key)).unwrap(), key);
    }
}

fn check_page(bytes: &[u8]) {
    if let Some(read) = is_corrupt(rows(bytes)) {
        assert!(read.len() <= bytes.len());
        assert_eq!(is_corrupt(rows(&page_of(&read))), Some(read));
    }
}

/// Lines are a name and a set identifier, twice: the bytes of the keys sort as the keys do.
fn check_keys(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    let mut key = || {
        let name = DnsName::parse(lines.next()?).ok()?;
        let set_identifier = lines.next().filter(|text| !text.is_empty()).map(ArcStr::from);
        let rtype = RecordType::ALL[text.len() % RecordType::ALL.len()];
        Some(RecordKey { name, rtype, set_identifier })
    };
    if let (Some(a), Some(b)) = (key(), key()) {
        assert_eq!(sort_key(&a).cmp(&sort_key(&b)), a.cmp(&b), "{a} and {b}");
        assert_eq!(record_key(&sort_key(&a)).unwrap(), a);
    }
}

fn check_json<T>(bytes: &[u8])
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let Ok(value) = serde_json::from_slice::<T>(bytes) else { return };
    let json = serde_json::to_string(&value).unwrap();
    assert_eq!(serde_json::from_str::<T>(&json).unwrap(), value);
    assert_eq!(serde_json::to_string(&value).unwrap(), json);
}
