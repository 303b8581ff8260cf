//! Endpoints between the core's form and the protocol's.

use arcstr::ArcStr;
use bytes::Bytes;

use super::v1;
use crate::core::endpoint::packed::EndpointView;
use crate::core::endpoint::status::StatusContent;
use crate::core::endpoint::{Endpoint, EndpointKey, KeyHash, Version};

/// Why a message is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A field without which the message means nothing is absent.
    #[error("the message lacks the field {field}")]
    Missing {
        /// The field's name in the .proto file.
        field: &'static str,
    },
    /// A hash is not 32 bytes long.
    #[error("the field {field} has {length} bytes and a hash has 32")]
    HashLength {
        /// The field's name in the .proto file.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// A list of hashes is not a whole number of entries.
    #[error("the field {field} has {length} bytes, which is not a multiple of {entry}")]
    ListLength {
        /// The field's name in the .proto file.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The length of an entry in bytes.
        entry: usize,
    },
}

impl From<&EndpointKey> for v1::EndpointKey {
    fn from(key: &EndpointKey) -> Self {
        Self {
            source: key.source.to_string(),
            namespace: key.namespace.to_string(),
            object: key.object.to_string(),
            dns_name: key.dns_name.to_string(),
            record_type: key.record_type.to_string(),
            set_identifier: key.set_identifier.to_string(),
        }
    }
}

/// The key of the packed endpoint.
impl From<&EndpointView<'_>> for v1::EndpointKey {
    fn from(endpoint: &EndpointView<'_>) -> Self {
        Self {
            source: endpoint.source.to_owned(),
            namespace: endpoint.namespace.to_owned(),
            object: endpoint.object.to_owned(),
            dns_name: endpoint.dns_name.to_owned(),
            record_type: endpoint.record_type.to_owned(),
            set_identifier: endpoint.set_identifier.to_owned(),
        }
    }
}

impl From<v1::EndpointKey> for EndpointKey {
    fn from(key: v1::EndpointKey) -> Self {
        Self {
            source: key.source.into(),
            namespace: key.namespace.into(),
            object: key.object.into(),
            dns_name: key.dns_name.into(),
            record_type: key.record_type.into(),
            set_identifier: key.set_identifier.into(),
        }
    }
}

impl From<&Endpoint> for v1::Endpoint {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            key: Some((&endpoint.key).into()),
            targets: endpoint.targets.iter().map(ArcStr::to_string).collect(),
            ttl_secs: endpoint.ttl_secs,
            properties: endpoint
                .properties
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        }
    }
}

impl TryFrom<v1::Endpoint> for Endpoint {
    type Error = ConvertError;

    fn try_from(endpoint: v1::Endpoint) -> Result<Self, ConvertError> {
        Ok(Self {
            key: endpoint.key.ok_or(ConvertError::Missing { field: "key" })?.into(),
            targets: endpoint.targets.into_iter().map(ArcStr::from).collect(),
            ttl_secs: endpoint.ttl_secs,
            properties: endpoint
                .properties
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        })
    }
}

/// Puts a version into the protocol's form.
pub fn version_to_wire(version: &Version) -> Bytes {
    Bytes::copy_from_slice(&version.0)
}

/// The hash of a status's content, as the broker computes it for the status that it holds.
pub fn status_hash(status: &v1::EndpointStatus) -> Version {
    let content = StatusContent {
        version: &status.version,
        verdict: status.verdict,
        reason: &status.reason,
        message: &status.message,
        progress: status.progress,
        account: &status.account,
        zone: &status.zone_id,
    };
    content.hash()
}

/// Reads a version out of the field `field`.
pub fn version_from_wire(field: &'static str, bytes: &[u8]) -> Result<Version, ConvertError> {
    Version::from_slice(bytes).ok_or(ConvertError::HashLength { field, length: bytes.len() })
}

/// Key hashes, one after the other, as in `BodyRequest.key_hashes`.
pub fn key_hashes_to_wire<'a>(hashes: impl IntoIterator<Item = &'a KeyHash>) -> Bytes {
    hashes.into_iter().flat_map(|hash| hash.0).collect()
}

/// Reads `BodyRequest.key_hashes`.
pub fn key_hashes_from_wire(bytes: &[u8]) -> Result<Vec<KeyHash>, ConvertError> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(ConvertError::ListLength {
            field: "key_hashes",
            length: bytes.len(),
            entry: 32,
        });
    }
    Ok(hashes.iter().map(|hash| KeyHash(*hash)).collect())
}

/// Pairs of key hash and version, as in `KeyVersions.entries`.
pub fn key_versions_to_wire<'a>(
    entries: impl IntoIterator<Item = (&'a KeyHash, &'a Version)>,
) -> Bytes {
    entries.into_iter().flat_map(|(key, version)| key.0.into_iter().chain(version.0)).collect()
}

/// Reads `KeyVersions.entries`.
pub fn key_versions_from_wire(bytes: &[u8]) -> Result<Vec<(KeyHash, Version)>, ConvertError> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    let (pairs, odd) = hashes.as_chunks::<2>();
    if !rest.is_empty() || !odd.is_empty() {
        return Err(ConvertError::ListLength { field: "entries", length: bytes.len(), entry: 64 });
    }
    Ok(pairs.iter().map(|[key, version]| (KeyHash(*key), Version(*version))).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_endpoint_without_its_key_is_refused() {
        assert_eq!(
            Endpoint::try_from(v1::Endpoint::default()),
            Err(ConvertError::Missing { field: "key" })
        );
    }

    #[test]
    fn hashes_of_another_length_are_refused() {
        assert_eq!(
            version_from_wire("version", &[0; 31]),
            Err(ConvertError::HashLength { field: "version", length: 31 })
        );
        assert!(key_hashes_from_wire(&[0; 33]).is_err());
        assert!(key_versions_from_wire(&[0; 96]).is_err());
        assert!(key_versions_from_wire(&[0; 65]).is_err());
    }

    proptest! {
        #[test]
        fn an_endpoint_survives_the_wire_with_its_version(
            texts in proptest::collection::vec("\\PC{0,8}", 6),
            targets in proptest::collection::vec("\\PC{0,8}", 0..4),
            ttl_secs in any::<Option<i64>>(),
            properties in proptest::collection::btree_map("\\PC{0,4}", "\\PC{0,4}", 0..4),
        ) {
            let endpoint = Endpoint {
                key: EndpointKey {
                    source: texts[0].as_str().into(), namespace: texts[1].as_str().into(), object: texts[2].as_str().into(),
                    dns_name: texts[3].as_str().into(), record_type: texts[4].as_str().into(), set_identifier: texts[5].as_str().into(),
                },
                targets: targets.into_iter().map(ArcStr::from).collect(),
                ttl_secs,
                properties: properties.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            };
            let back = Endpoint::try_from(v1::Endpoint::from(&endpoint)).unwrap();
            prop_assert_eq!(back.version(), endpoint.version());
            prop_assert_eq!(back, endpoint);
        }

        #[test]
        fn lists_of_hashes_survive_the_wire(entries in proptest::collection::vec(any::<([u8; 32], [u8; 32])>(), 0..5)) {
            let entries: Vec<_> = entries.into_iter().map(|(key, version)| (KeyHash(key), Version(version))).collect();
            let wire = key_versions_to_wire(entries.iter().map(|(key, version)| (key, version)));
            prop_assert_eq!(key_versions_from_wire(&wire).unwrap(), entries.clone());
            let keys: Vec<_> = entries.iter().map(|(key, _)| *key).collect();
            prop_assert_eq!(key_hashes_from_wire(&key_hashes_to_wire(&keys)).unwrap(), keys);
        }
    }
}
