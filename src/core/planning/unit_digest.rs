//! What a unit of change is known by while people decide about it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A hash of a zone and what a unit does there: record keys, what is there before and after. It survives restarts and releases, since it is taken over
/// the form that the journal keeps; why the unit is there has no part in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitDigest(pub [u8; 32]);

impl UnitDigest {
    /// Reads the 64 hexadecimal digits; `None` if they are none.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut octets = [0; 32];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(octets))
    }
}

impl fmt::Display for UnitDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for UnitDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for UnitDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
            .ok_or_else(|| format!("{text:?} is no digest: it has 64 hexadecimal digits"))
    }
}

impl Serialize for UnitDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnitDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::dns::record::{RawRecordSet, RecordKey, RecordType};
    use crate::core::ids::ZoneId;
    use crate::core::planning::change::{Cause, Change, Motive, Unit};
    use crate::core::testkit::{cluster, name};

    fn zone(id: &str) -> ZoneId {
        ZoneId::parse(id).unwrap()
    }

    fn change(host: &str, value: &str) -> Change {
        let set = RawRecordSet { values: vec![value.into()], ..RawRecordSet::default() };
        Change {
            key: RecordKey { name: name(host), rtype: RecordType::A, set_identifier: None },
            before: None,
            after: Some(set),
            cause: Cause {
                motive: Motive::Wanted,
                cluster: cluster("dev-east"),
                endpoints: vec![],
            },
        }
    }

    #[test]
    fn a_digest_is_of_what_a_unit_does_and_of_nothing_else() {
        let (a, b) = (change("a.example.com", "192.0.2.1"), change("b.example.com", "192.0.2.2"));
        let digest = |changes: &[&Change]| {
            Unit { changes: changes.iter().map(|c| (*c).clone()).collect() }.digest(&zone("Z1"))
        };
        let both = digest(&[&a, &b]);
        assert_eq!(both, digest(&[&b, &a]));
        let mut other_cause = a.clone();
        other_cause.cause.motive = Motive::Repair;
        assert_eq!(digest(&[&a]), digest(&[&other_cause]));
        assert_ne!(digest(&[&a]), digest(&[&change("a.example.com", "192.0.2.9")]));
        let unit = Unit { changes: vec![a.clone()] };
        assert_ne!(unit.digest(&zone("Z1")), unit.digest(&zone("Z2")), "a private one, say");
        assert_eq!(UnitDigest::parse(&both.to_string()), Some(both));
        assert_eq!(UnitDigest::parse("12"), None);
        // Approvals that are stored are for this form: another one would let nothing go that was approved.
        assert_eq!(
            digest(&[&a]).to_string(),
            "be2d584b261c9afe839e6c5a4da57995c5631c65cb71b1abbb58cbff5ad937f9"
        );
    }
}
