//! Values of the core, written to columns and read back.

use arcstr::ArcStr;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::corrupt;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RecordKey, RecordType};
use crate::core::endpoint::packed::{PackedEndpoint, PackedRecord};
use crate::core::endpoint::{KeyHash, Version};
use crate::core::ids::BatchId;
use crate::ports::{BatchOutcome, StoreError};

/// JSON text, without spaces, fields in the order of their declaration: the same value always gives the same bytes.
pub(super) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Refused(format!("a value cannot be written as JSON: {error}")))
}

/// Reads JSON text; `what` names the row in the error.
pub(super) fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt(what, error))
}

/// Reads JSON text that a newer release may have written: `None` if it is JSON, but says something that is unknown here.
pub(super) fn known_json<T: DeserializeOwned>(
    what: &str,
    text: &str,
) -> Result<Option<T>, StoreError> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_data() => {
            tracing::debug!(%error, "a {what} is unknown here");
            Ok(None)
        }
        Err(error) => Err(corrupt(what, error)),
    }
}

/// How a batch ended. An end that is unknown here is shown by its effect: `applied` says whether the changes of the batch are
/// done.
pub(super) fn outcome(text: &str, applied: bool) -> Result<BatchOutcome, StoreError> {
    Ok(match known_json("batch outcome", text)? {
        Some(outcome) => outcome,
        None if applied => BatchOutcome::FoundDone,
        None => BatchOutcome::NotApplied {
            reason: format!("an end that only a newer release knows: {text}"),
        },
    })
}

/// Reads an identifier or name.
pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    what: &str,
    text: &str,
) -> Result<T, StoreError> {
    text.parse().map_err(|error| corrupt(what, error))
}

/// A number that is never negative, as the databases keep it.
pub(super) fn to_signed(what: &str, number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| {
        StoreError::Refused(format!("{what} {number} is larger than the store accepts"))
    })
}

/// The inverse of [`to_signed`].
pub(super) fn to_unsigned(what: &str, number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| corrupt(what, format_args!("{number} is negative")))
}

pub(super) fn key_hash(bytes: &[u8]) -> Result<KeyHash, StoreError> {
    KeyHash::from_slice(bytes)
        .ok_or_else(|| corrupt("key hash", format_args!("it has {} bytes", bytes.len())))
}

pub(super) fn version(bytes: &[u8]) -> Result<Version, StoreError> {
    Version::from_slice(bytes)
        .ok_or_else(|| corrupt("version", format_args!("it has {} bytes", bytes.len())))
}

pub(super) fn batch_bytes(id: BatchId) -> Vec<u8> {
    id.0.as_bytes().to_vec()
}

pub(super) fn batch_id(bytes: &[u8]) -> Result<BatchId, StoreError> {
    uuid::Uuid::from_slice(bytes).map(BatchId).map_err(|error| corrupt("batch id", error))
}

pub(super) fn endpoint(bytes: &[u8]) -> Result<PackedEndpoint, StoreError> {
    PackedEndpoint::from_bytes(bytes).map_err(|error| corrupt("endpoint", error))
}

pub(super) fn record_set(bytes: &[u8]) -> Result<PackedRecord, StoreError> {
    PackedRecord::from_bytes(bytes).map_err(|error| corrupt("record set", error))
}

/// A record key in bytes whose order is the key's own (Route 53's list order): the labels from the root, each with its dot,
/// the type's mnemonic, and the set identifier behind a mark that tells none from empty. A canonical name holds no zero byte.
pub(super) fn sort_key(key: &RecordKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.name.as_str().len() + 8);
    for label in key.name.labels().rev() {
        bytes.extend_from_slice(label.as_bytes());
        bytes.push(b'.');
    }
    bytes.push(0);
    bytes.extend_from_slice(key.rtype.as_str().as_bytes());
    bytes.push(0);
    if let Some(set) = &key.set_identifier {
        bytes.push(1);
        bytes.extend_from_slice(set.as_bytes());
    }
    bytes
}

pub(super) fn record_key(bytes: &[u8]) -> Result<RecordKey, StoreError> {
    let damaged =
        || corrupt("record key", format_args!("{:?} is none", String::from_utf8_lossy(bytes)));
    let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
    let mut parts = text.splitn(3, '\0');
    let (Some(name), Some(rtype), Some(set)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(damaged());
    };
    let mut turned = String::with_capacity(name.len());
    for label in name.strip_suffix('.').ok_or_else(damaged)?.rsplit('.') {
        turned.push_str(label);
        turned.push('.');
    }
    Ok(RecordKey {
        name: DnsName::parse(&turned).map_err(|error| corrupt("record key", error))?,
        rtype: Some(rtype)
            .filter(|rtype| !rtype.is_empty())
            .map(RecordType::observed)
            .ok_or_else(damaged)?,
        set_identifier: set.strip_prefix('\u{1}').map(ArcStr::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = RecordKey> {
        let name = "[ab_*-]{1,2}(\\.[ab@]{1,2}){0,3}";
        let types: Vec<RecordType> =
            RecordType::ALL.into_iter().chain(RecordType::others()).collect();
        (name, proptest::sample::select(types), proptest::option::of("[ab\u{1}é]{0,2}")).prop_map(
            |(name, rtype, set)| RecordKey {
                name: DnsName::parse(&name).unwrap(),
                rtype,
                set_identifier: set.map(ArcStr::from),
            },
        )
    }

    proptest! {
        #[test]
        fn the_bytes_of_a_record_key_sort_as_the_key_does(a in any_key(), b in any_key()) {
            prop_assert_eq!(sort_key(&a).cmp(&sort_key(&b)), a.cmp(&b));
            prop_assert_eq!(record_key(&sort_key(&a)).unwrap(), a);
        }
    }

    #[test]
    fn a_damaged_record_key_is_an_error() {
        for bytes in [&b""[..], b"com.", b"com.\0A", b"com.\0\0", b"\xff\0A\0", b"\0A\0"] {
            let StoreError::Corrupt { what, reason } = record_key(bytes).unwrap_err() else {
                panic!("{bytes:?}")
            };
            assert!(what == "record key" && !reason.is_empty(), "{bytes:?}");
        }
    }
}
