//! The record types of Route 53.

use std::fmt;

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};

/// The record types that Route 53 takes (API reference, `RRType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are the mnemonics of the IANA registry")]
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
}

impl RecordType {
    /// All of them, in Route 53's list order (by mnemonic).
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
    pub const fn as_str(self) -> &'static str {
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

    /// Reads a mnemonic in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
