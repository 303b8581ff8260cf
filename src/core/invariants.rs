//! The catalogue of invariants, with ids for tests, reports and metrics. The numbers are those of `ARCHITECTURE.md`.

use serde::{Deserialize, Serialize};

/// One invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invariant {
    /// Once acked, a change survives every crash but the disk's.
    AckedIsDurable,
    /// Only an observed deletion, or absence from a complete and synced view, deletes.
    SilenceNeverDeletes,
    /// Record sets that Zonefold did not make are not touched without an explicit adoption.
    ForeignIsUntouched,
    /// Every write is DELETE of exactly the observed record set and CREATE of the desired one.
    CompareAndSwap,
    /// No published bucket of an account is overdrawn by us, and the reserve is left alone.
    LimitsHold,
    /// A refused record set delays nothing but itself.
    PoisonIsAlone,
    /// A name that passes from one cluster to another resolves throughout.
    HandoverWithoutGap,
    /// A quiet cluster's change goes out within a few calls.
    NoStarvation,
    /// No writes in the steady state, and reads that do not depend on the number of clusters.
    IdleIsFree,
    /// Every change names its endpoints, its decision, its batch and AWS's change id.
    Attributable,
    /// When inputs stop, observed equals desired or a stored verdict says why not.
    Converges,
    /// At most one replica manages an account.
    OneWriter,
    /// A freeze lets nothing through but its exempt lanes and people.
    FreezesHold,
    /// What a guard holds is not sent without the word of people, and their word is for nothing but what they looked at.
    GuardsHold,
    /// A name that clusters share keeps its last answer until people let it go, and has the shares that its rule says.
    SharedNamesAnswer,
}

impl Invariant {
    /// All of them, in the order of their numbers.
    pub const ALL: [Invariant; 15] = [
        Self::AckedIsDurable,
        Self::SilenceNeverDeletes,
        Self::ForeignIsUntouched,
        Self::CompareAndSwap,
        Self::LimitsHold,
        Self::PoisonIsAlone,
        Self::HandoverWithoutGap,
        Self::NoStarvation,
        Self::IdleIsFree,
        Self::Attributable,
        Self::Converges,
        Self::OneWriter,
        Self::FreezesHold,
        Self::GuardsHold,
        Self::SharedNamesAnswer,
    ];

    /// Its number, from 1.
    pub fn number(self) -> usize {
        Self::ALL.iter().position(|other| *other == self).map_or(0, |at| at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_numbered_from_one_to_fifteen() {
        assert_eq!(Invariant::AckedIsDurable.number(), 1);
        assert_eq!(Invariant::SharedNamesAnswer.number(), 15);
    }
}
