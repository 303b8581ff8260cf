//! Typed identifiers. Each is a short piece of text that is checked once, where it enters.

use std::fmt;

use arcstr::ArcStr;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::time::Timestamp;

/// Why a text is not an identifier of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a {kind}: {rule}")]
pub struct IdError {
    /// The expected kind, in words.
    pub kind: &'static str,
    /// The given text.
    pub value: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

/// An id that sorts by its time (UUID version 7, RFC 9562 §5.7); `random` fills the rest.
pub fn id_at(now: Timestamp, random: impl FnOnce(&mut [u8])) -> Uuid {
    let mut octets = [0; 10];
    random(&mut octets);
    uuid::Builder::from_unix_timestamp_millis(now.0.unsigned_abs(), &octets).into_uuid()
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(ArcStr);

        impl $name {
            /// Checks the text.
            pub fn parse(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(ArcStr::from(text)))
                } else {
                    Err(IdError { kind: $kind, value: text.chars().take(80).collect(), rule: $rule })
                }
            }

            /// The text of the identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// RFC 1123 label, as Kubernetes accepts for names: a cluster's name can stand in metrics, paths and set identifiers.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

text_id!(
    /// The name under which a cluster is registered at the broker.
    ClusterId, "cluster name", "1 to 63 characters a-z, 0-9 and -, not starting or ending with -", is_label
);
text_id!(
    /// The name of an environment (dev, stage, prod): it joins clusters and accounts.
    EnvironmentId, "environment name", "1 to 63 characters a-z, 0-9 and -, not starting or ending with -", is_label
);
text_id!(
    /// The twelve digits of an AWS account.
    AccountId, "AWS account id", "exactly twelve digits", |t| t.len() == 12 && t.bytes().all(|b| b.is_ascii_digit())
);
text_id!(
    /// A hosted zone's id without the `/hostedzone/` prefix, at most 32 characters (Route 53 `ResourceId`).
    ZoneId, "hosted zone id", "1 to 32 characters A-Z and 0-9, without /hostedzone/",
    |t| (1..=32).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_alphanumeric())
);

text_id!(
    /// The name of a rule, unique within its kind.
    RuleName, "rule name", "1 to 63 characters a-z, 0-9 and -, not starting or ending with -", is_label
);

impl ZoneId {
    /// Takes the id as Route 53 writes it, with or without `/hostedzone/` before it.
    pub fn from_wire(text: &str) -> Result<Self, IdError> {
        Self::parse(text.strip_prefix("/hostedzone/").unwrap_or(text))
    }
}

/// The id of one batch: the key of its journal entries, and the comment of its call, so that AWS's own log can be joined to ours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub uuid::Uuid);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The number of a cluster's session: the store raises it at every Hello, and every ingest transaction asserts it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_id_is_twelve_digits() {
        assert!(AccountId::parse("123456789012").is_ok());
        for bad in ["12345678901", "1234567890123", "12345678901a", ""] {
            assert!(AccountId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_zone_id_loses_its_path_prefix() {
        assert_eq!(ZoneId::from_wire("/hostedzone/Z0123ABC").unwrap().as_str(), "Z0123ABC");
        assert!(ZoneId::parse("/hostedzone/Z0123ABC").is_err());
    }

    #[test]
    fn a_cluster_name_is_a_label() {
        assert!(ClusterId::parse("dev-east").is_ok());
        for bad in ["Dev", "-a", "a-", "a.b", "", "a b"] {
            assert!(ClusterId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
