//! Which record types clusters may publish in a zone.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::core::dns::record_type::RecordType;

/// Which record types clusters may publish in a zone: `all`, or a list. A DNSEndpoint can ask for any name of its environment, so
/// types that delegate, or that say who may send mail or issue certificates, are allowed by the operator and never by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordTypes {
    /// A, AAAA and CNAME, as ExternalDNS manages by default, and each record set of another type that Zonefold has published.
    #[default]
    Usual,
    /// These and no other.
    Listed(TypeSet),
    /// All that Route 53 supports.
    All,
}

/// A set of record types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeSet(u32);

impl TypeSet {
    /// A type that Route 53 does not support has none: it is in no set.
    fn bit(rtype: RecordType) -> u32 {
        RecordType::ALL.iter().position(|known| *known == rtype).map_or(0, |place| 1 << place)
    }

    /// Whether the type is in the set.
    pub fn contains(self, rtype: RecordType) -> bool {
        self.0 & Self::bit(rtype) != 0
    }
}

impl FromIterator<RecordType> for TypeSet {
    fn from_iter<T: IntoIterator<Item = RecordType>>(types: T) -> Self {
        Self(types.into_iter().fold(0, |bits, rtype| bits | Self::bit(rtype)))
    }
}

impl RecordTypes {
    /// Whether clusters may publish a record set of the type; `is_published` says whether Zonefold already holds it there.
    pub fn allow(self, rtype: RecordType, is_published: bool) -> bool {
        match self {
            Self::Usual => {
                is_published
                    || matches!(rtype, RecordType::A | RecordType::Aaaa | RecordType::Cname)
            }
            Self::Listed(types) => types.contains(rtype),
            Self::All => true,
        }
    }

    /// Whether it is the default.
    pub fn is_usual(&self) -> bool {
        *self == Self::Usual
    }
}

impl fmt::Display for RecordTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |types: TypeSet| {
            let names = RecordType::ALL.into_iter().filter(|rtype| types.contains(*rtype));
            names.map(RecordType::as_str).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Usual => f.write_str("A, AAAA, CNAME"),
            Self::Listed(types) => f.write_str(&listed(*types)),
            Self::All => f.write_str("all"),
        }
    }
}

impl Serialize for RecordTypes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            some => serializer
                .collect_seq(RecordType::ALL.into_iter().filter(|t| some.allow(*t, false))),
        }
    }
}

impl<'de> Deserialize<'de> for RecordTypes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = RecordTypes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all`, or a list of record types")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RecordTypes, E> {
                match text {
                    "all" => Ok(RecordTypes::All),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RecordTypes, A::Error> {
                let mut types = vec![];
                while let Some(text) = items.next_element::<String>()? {
                    let rtype = RecordType::parse(&text).ok_or_else(|| {
                        serde::de::Error::custom(format_args!(
                            "{text:?} is no record type that Route 53 supports"
                        ))
                    })?;
                    types.push(rtype);
                }
                Ok(RecordTypes::Listed(types.into_iter().collect()))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_types_are_those_of_externaldns_and_what_is_published() {
        let usual = RecordTypes::Usual;
        assert!(usual.allow(RecordType::Aaaa, false));
        assert!(!usual.allow(RecordType::Mx, false) && usual.allow(RecordType::Mx, true));
    }

    #[test]
    fn a_list_allows_what_it_names_and_nothing_else() {
        let listed: RecordTypes = serde_json::from_str(r#"["A", "TXT"]"#).unwrap();
        assert!(listed.allow(RecordType::Txt, false) && !listed.allow(RecordType::Cname, true));
        assert_eq!(serde_json::to_string(&listed).unwrap(), r#"["A","TXT"]"#);
        assert_eq!(serde_json::from_str::<RecordTypes>(r#""all""#).unwrap(), RecordTypes::All);
        assert!(serde_json::from_str::<RecordTypes>(r#""usual""#).is_err());
        assert!(serde_json::from_str::<RecordTypes>(r#"["APL"]"#).is_err());
    }
}
