//! Endpoints: the record sets that a cluster wants, as written.
//!
//! The text is kept as written. A name that is too long or a target that is no address is judged by the broker and gets a
//! stored verdict, so an endpoint is data before it is correct.

pub mod digest;
pub mod packed;
pub mod parsed;
pub mod quota;
pub mod routing;
pub mod status;
pub mod verdict;

use std::collections::BTreeMap;
use std::fmt;

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The property that says where an endpoint's targets are from, for objects that have two places for them. Without it they are
/// what the object's status says, or, in a DNSEndpoint, what its author wrote.
pub const TARGET_SOURCE: &str = "zonefold/target-source";
/// [`TARGET_SOURCE`] of targets that an annotation gives.
pub const ANNOTATION: &str = "annotation";

/// Ends the object's name in the keys of internal endpoints (`internal-hostname`), which keeps them apart from the public ones of
/// the same host: each has its own placement and verdict, and their addresses are never added up. The names of Kubernetes
/// objects have no slash, so such a key is never another object's. The source kind stays the same, because absence counts by
/// source kind.
pub const INTERNAL_PART: &str = "/internal";

/// The key of an endpoint inside its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointKey {
    /// The kind of source: `service`, `ingress`, `dnsendpoint`, `f5-virtualserver`, `nginx-virtualserver`, ….
    pub source: ArcStr,
    /// The object's namespace.
    pub namespace: ArcStr,
    /// The object's name.
    pub object: ArcStr,
    /// The wanted owner name, as written, without a final dot and in lower case.
    pub dns_name: ArcStr,
    /// The wanted record type, as written, in capitals.
    pub record_type: ArcStr,
    /// The wanted set identifier; empty for none.
    pub set_identifier: ArcStr,
}

impl EndpointKey {
    /// SHA-256 over the fields with their lengths: the key on the wire and in the set digest.
    pub fn hash(&self) -> KeyHash {
        hash_key([
            &self.source,
            &self.namespace,
            &self.object,
            &self.dns_name,
            &self.record_type,
            &self.set_identifier,
        ])
    }

    /// The object in the form of ExternalDNS's resource label: `ingress/default/web`.
    pub fn resource(&self) -> String {
        format!("{}/{}/{}", self.source, self.namespace, self.object)
    }
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} from {}/{}/{}",
            self.dns_name, self.record_type, self.source, self.namespace, self.object
        )?;
        if !self.set_identifier.is_empty() {
            write!(f, " [{}]", self.set_identifier)?;
        }
        Ok(())
    }
}

/// The hash of an [`EndpointKey`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub [u8; 32]);

/// The content hash of an [`Endpoint`]: equal for two that want the same. Not a `resourceVersion`, which changes with every
/// status update and means nothing after a restore.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub [u8; 32]);

macro_rules! hex_hash {
    ($name:ident) => {
        impl $name {
            /// Reads 32 bytes; `None` for another length.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    };
}
hex_hash!(KeyHash);
hex_hash!(Version);

/// A record set that a cluster publishes under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// The key inside its cluster.
    pub key: EndpointKey,
    /// The wanted values, as written. For an alias, one name.
    pub targets: Vec<ArcStr>,
    /// Seconds; `None` for the zone's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_secs: Option<i64>,
    /// ExternalDNS's provider-specific properties, by their names there (`alias`, `aws/weight`, `aws/health-check-id`, …).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<ArcStr, ArcStr>,
}

impl Endpoint {
    /// SHA-256 over the key and the content; the order and repetition of targets do not matter.
    pub fn version(&self) -> Version {
        let targets = self.targets.iter().map(ArcStr::as_str).collect();
        let properties =
            self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        hash_content(&self.key.hash(), targets, self.ttl_secs, properties)
    }
}

/// The hash of a key, given its fields in the order of their declaration.
pub(super) fn hash_key(fields: [&str; 6]) -> KeyHash {
    let mut hasher = Sha256::new();
    hasher.update(b"zonefold.v1.key");
    for field in fields {
        update_text(&mut hasher, field);
    }
    KeyHash(hasher.finalize().into())
}

/// The version of a content; the properties come in the order of their names.
pub(super) fn hash_content<'a>(
    key: &KeyHash,
    mut targets: Vec<&str>,
    ttl_secs: Option<i64>,
    properties: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
) -> Version {
    let mut hasher = Sha256::new();
    hasher.update(b"zonefold.v1.endpoint");
    hasher.update(key.0);
    targets.sort_unstable();
    targets.dedup();
    update_count(&mut hasher, targets.len());
    for target in targets {
        update_text(&mut hasher, target);
    }
    // A missing TTL and every TTL are told apart by a flag byte.
    hasher.update([u8::from(ttl_secs.is_some())]);
    hasher.update(ttl_secs.unwrap_or(0).to_be_bytes());
    update_count(&mut hasher, properties.len());
    for (name, value) in properties {
        update_text(&mut hasher, name);
        update_text(&mut hasher, value);
    }
    Version(hasher.finalize().into())
}

fn update_count(hasher: &mut Sha256, count: usize) {
    hasher.update((count as u64).to_be_bytes());
}

fn update_text(hasher: &mut Sha256, text: &str) {
    update_count(hasher, text.len());
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            key: EndpointKey {
                source: "ingress".into(),
                namespace: "shop".into(),
                object: "web".into(),
                dns_name: "www.example.com".into(),
                record_type: "A".into(),
                set_identifier: "".into(),
            },
            targets: vec!["192.0.2.1".into(), "192.0.2.2".into()],
            ttl_secs: Some(60),
            properties: BTreeMap::new(),
        }
    }

    #[test]
    fn the_version_ignores_the_order_of_targets_and_nothing_else() {
        let base = endpoint();
        let mut turned = base.clone();
        turned.targets.reverse();
        turned.targets.push("192.0.2.1".into());
        assert_eq!(base.version(), turned.version());

        let mut others = vec![];
        let mut other = base.clone();
        other.targets.pop();
        others.push(other);
        let mut other = base.clone();
        other.ttl_secs = None;
        others.push(other);
        let mut other = base.clone();
        other.ttl_secs = Some(0);
        others.push(other);
        let mut other = base.clone();
        other.properties.insert("aws/weight".into(), "1".into());
        others.push(other);
        let mut other = base.clone();
        other.key.object = "web2".into();
        others.push(other);
        let mut versions: Vec<_> =
            others.iter().map(Endpoint::version).chain([base.version()]).collect();
        versions.sort();
        versions.dedup();
        assert_eq!(versions.len(), 6);
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let mut one = endpoint().key;
        let mut two = one.clone();
        one.namespace = "ab".into();
        one.object = "c".into();
        two.namespace = "a".into();
        two.object = "bc".into();
        assert_ne!(one.hash(), two.hash());
    }
}
