//! The record types of Route 53.

use std::cmp::Ordering;
use std::fmt;

use arcstr::ArcStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The record types that Route 53 supports (API reference, `RRType`). Their order is Route 53's list order, by mnemonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordType {
    A,
    Aaaa,
    Caa,
    Cname,
    Ds,
    Https,
    Mx,
    Naptr,
    Ns,
    Ptr,
    Soa,
    Spf,
    Srv,
    Sshfp,
    Svcb,
    Tlsa,
    Txt,
    /// A type that Route 53 did not support when this was written. It is observed only: nothing of it is read, wanted or written.
    Other(OtherType),
}

/// A record type that is observed only, by its place in [`OTHERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OtherType(u8);

/// The types of the IANA registry "Resource Record (RR) TYPEs" that Route 53 does not support, and one for types not in it.
const OTHERS: [&str; 67] = [
    "A6",
    "AFSDB",
    "AMTRELAY",
    "APL",
    "ATMA",
    "AVC",
    "BRID",
    "CDNSKEY",
    "CDS",
    "CERT",
    "CLA",
    "CSYNC",
    "DHCID",
    "DLV",
    "DNAME",
    "DNSKEY",
    "DOA",
    "DSYNC",
    "EID",
    "EUI48",
    "EUI64",
    "GPOS",
    "HHIT",
    "HINFO",
    "HIP",
    "IPN",
    "IPSECKEY",
    "ISDN",
    "KEY",
    "KX",
    "L32",
    "L64",
    "LOC",
    "LP",
    "MB",
    "MG",
    "MINFO",
    "MR",
    "NID",
    "NIMLOC",
    "NINFO",
    "NSAP",
    "NSAP-PTR",
    "NSEC",
    "NSEC3",
    "NSEC3PARAM",
    "NULL",
    "NXT",
    "OPENPGPKEY",
    "PX",
    "RESINFO",
    "RKEY",
    "RP",
    "RRSIG",
    "RT",
    "SIG",
    "SINK",
    "SMIMEA",
    "TA",
    "TALINK",
    "URI",
    "WALLET",
    "WKS",
    "X25",
    "ZONEMD",
    "NXNAME",
    "UNKNOWN",
];

impl OtherType {
    fn named(text: &str) -> Self {
        let last = OTHERS.len() - 1;
        let at = OTHERS.iter().position(|other| other.eq_ignore_ascii_case(text)).unwrap_or(last);
        Self(u8::try_from(at).unwrap_or(u8::MAX))
    }

    fn as_str(self) -> &'static str {
        OTHERS.get(usize::from(self.0)).copied().unwrap_or("UNKNOWN")
    }
}

impl RecordType {
    /// All that Route 53 supports, in its list order (by mnemonic).
    pub const ALL: [RecordType; 17] = [
        Self::A,
        Self::Aaaa,
        Self::Caa,
        Self::Cname,
        Self::Ds,
        Self::Https,
        Self::Mx,
        Self::Naptr,
        Self::Ns,
        Self::Ptr,
        Self::Soa,
        Self::Spf,
        Self::Srv,
        Self::Sshfp,
        Self::Svcb,
        Self::Tlsa,
        Self::Txt,
    ];

    /// The mnemonic in capitals.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Caa => "CAA",
            Self::Cname => "CNAME",
            Self::Ds => "DS",
            Self::Https => "HTTPS",
            Self::Mx => "MX",
            Self::Naptr => "NAPTR",
            Self::Ns => "NS",
            Self::Ptr => "PTR",
            Self::Soa => "SOA",
            Self::Spf => "SPF",
            Self::Srv => "SRV",
            Self::Sshfp => "SSHFP",
            Self::Svcb => "SVCB",
            Self::Tlsa => "TLSA",
            Self::Txt => "TXT",
            Self::Other(other) => other.as_str(),
        }
    }

    /// The mnemonic as shared text; costs nothing.
    pub fn text(self) -> ArcStr {
        match self {
            Self::A => arcstr::literal!("A"),
            Self::Aaaa => arcstr::literal!("AAAA"),
            Self::Caa => arcstr::literal!("CAA"),
            Self::Cname => arcstr::literal!("CNAME"),
            Self::Mx => arcstr::literal!("MX"),
            Self::Srv => arcstr::literal!("SRV"),
            Self::Txt => arcstr::literal!("TXT"),
            rare => rare.as_str().into(),
        }
    }

    /// The types that are observed only.
    pub fn others() -> impl Iterator<Item = Self> {
        OTHERS.iter().map(|other| Self::observed(other))
    }

    /// The type of what Route 53 holds, whichever it is. Those that are not even in the IANA registry count as one.
    pub fn observed(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(|| Self::Other(OtherType::named(text)))
    }

    /// Reads the mnemonic of a type that Route 53 supports, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Ord for RecordType {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for RecordType {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for RecordType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for RecordType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = Self::parse(&text)
            .or_else(|| Some(Self::observed(&text)).filter(|other| other.as_str() == text));
        known.ok_or_else(|| serde::de::Error::custom(format!("there is no record type {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_route_53_does_not_take_is_told_by_its_name_and_never_read_as_one_that_is_wanted()
    {
        let dname = RecordType::observed("DNAME");
        assert_eq!((dname.as_str(), RecordType::parse("DNAME")), ("DNAME", None));
        assert_ne!(dname, RecordType::observed("LOC"));
        assert_eq!(RecordType::observed("NOVELTY"), RecordType::observed("UNKNOWN"));
        for rtype in RecordType::ALL.into_iter().chain(RecordType::others()) {
            assert_eq!(RecordType::observed(rtype.as_str()), rtype);
            let json = serde_json::to_string(&rtype).unwrap();
            assert_eq!(serde_json::from_str::<RecordType>(&json).unwrap(), rtype);
        }
        assert!(serde_json::from_str::<RecordType>("\"QQ\"").is_err());
    }

    #[test]
    fn types_sort_by_their_mnemonics() {
        assert!(RecordType::ALL.is_sorted() && RecordType::Cname < RecordType::observed("DNAME"));
    }
}
