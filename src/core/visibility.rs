//! Where a name can be resolved.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where the names of a zone can be resolved.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    /// On the internet.
    #[default]
    Public,
    /// In the VPCs that the zone is associated with.
    Private,
}

impl Visibility {
    /// The visibility of a zone by Route 53's `PrivateZone`.
    pub const fn of(private: bool) -> Self {
        if private { Self::Private } else { Self::Public }
    }

    /// Whether only associated VPCs see it.
    pub const fn is_private(self) -> bool {
        matches!(self, Self::Private)
    }

    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

impl fmt::Display for Visibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// In which kinds of zones an endpoint is published.
///
/// As ExternalDNS does, an endpoint goes to the public zone with the longest suffix and to all private zones that fit, the
/// parents of others among them: resolvers of a VPC ask the closest private zone that is associated with it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Exposure {
    /// The closest public zone only.
    Public,
    /// All private zones that fit.
    Private,
    /// The closest public zone, and all private zones that fit.
    #[default]
    Both,
    /// All private zones that fit; only where there is none, the closest public zone. For addresses that are of use inside
    /// only, such as those of `internal-hostname`.
    Internal,
}

impl Exposure {
    /// The words that an endpoint or the configuration can use, for messages.
    pub const WORDS: &str = "public, private, both or internal";

    /// Reads a word; `None` if it is not one of them.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Public, Self::Private, Self::Both, Self::Internal]
            .into_iter()
            .find(|exposure| exposure.as_str() == text)
    }

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Both => "both",
            Self::Internal => "internal",
        }
    }

    /// Whether zones of this kind may hold the endpoint.
    pub const fn allows(self, visibility: Visibility) -> bool {
        match self {
            Self::Public => matches!(visibility, Visibility::Public),
            Self::Private => matches!(visibility, Visibility::Private),
            Self::Both | Self::Internal => true,
        }
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
