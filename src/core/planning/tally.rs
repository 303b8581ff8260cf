//! The numbers that guards count.

use serde::{Deserialize, Serialize};

use crate::core::dns::name::DnsName;
use crate::core::governance::rule::guard::Counted;
use crate::core::ids::ClusterId;

/// How many of each that guards count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Record sets that are deleted and not replaced.
    #[serde(skip_serializing_if = "is_none")]
    pub deletions: u64,
    /// Names of which no answer is left.
    #[serde(skip_serializing_if = "is_none")]
    pub lost_names: u64,
    /// Names of which every value changes.
    #[serde(skip_serializing_if = "is_none")]
    pub replaced_names: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Tally {
    /// The number of one of them.
    pub const fn of(&self, what: Counted) -> u64 {
        match what {
            Counted::Deletions => self.deletions,
            Counted::LostNames => self.lost_names,
            Counted::ReplacedNames => self.replaced_names,
        }
    }

    /// Whether there is nothing to count.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.deletions += other.deletions;
        self.lost_names += other.lost_names;
        self.replaced_names += other.replaced_names;
    }

    /// Takes another one away that was added before.
    pub fn remove(&mut self, other: Self) {
        self.deletions = self.deletions.saturating_sub(other.deletions);
        self.lost_names = self.lost_names.saturating_sub(other.lost_names);
        self.replaced_names = self.replaced_names.saturating_sub(other.replaced_names);
    }
}

/// What guards count of one name in a batch, without what people let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedName {
    /// The name.
    pub name: DnsName,
    /// The cluster that it is for.
    pub cluster: ClusterId,
    /// What the batch does to it.
    pub tally: Tally,
}
