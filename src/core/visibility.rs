//! Who can resolve a name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who can resolve the names of a zone.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    /// Everybody.
    #[default]
    Public,
    /// The VPCs that the zone is associated with.
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
