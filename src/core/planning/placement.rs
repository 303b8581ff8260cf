//! Where an endpoint is published: decided once for each version of it, stored, and only then acted on.

use serde::{Deserialize, Serialize};

use crate::core::dns::name::DnsName;
use crate::core::endpoint::verdict::Placement;

/// The zones of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlacementSet {
    /// Where it is published, sorted. More than one in split horizon: a public zone and private ones.
    at: Vec<Placement>,
    /// Zones that it has left, sorted. What it made there stays until it is in sync in all zones of `at`, so a move leaves no
    /// gap.
    leaving: Vec<Placement>,
}

impl PlacementSet {
    /// A set of zones; the order does not matter.
    pub fn new(
        at: impl IntoIterator<Item = Placement>,
        leaving: impl IntoIterator<Item = Placement>,
    ) -> Self {
        let at = sorted(at.into_iter().collect());
        let leaving = sorted(leaving.into_iter().filter(|left| !at.contains(left)).collect());
        Self { at, leaving }
    }

    /// One zone.
    pub fn one(placement: Placement) -> Self {
        Self { at: vec![placement], leaving: vec![] }
    }

    /// The zones where the endpoint is published.
    pub fn at(&self) -> &[Placement] {
        &self.at
    }

    /// The zones that it is leaving.
    pub fn leaving(&self) -> &[Placement] {
        &self.leaving
    }

    /// All zones where it may have record sets.
    pub fn all(&self) -> impl Iterator<Item = &Placement> {
        self.at.iter().chain(&self.leaving)
    }

    /// Whether the endpoint may have record sets in a zone.
    pub fn contains(&self, placement: &Placement) -> bool {
        self.all().any(|held| held == placement)
    }

    /// The set after a move to other zones: whatever it had and has no more it is leaving.
    pub fn moved_to(&self, at: impl IntoIterator<Item = Placement>) -> Self {
        Self::new(at, self.all().cloned())
    }

    /// The set when it is in sync where it is published.
    pub fn arrived(&self) -> Self {
        Self { at: self.at.clone(), leaving: vec![] }
    }
}

/// A placement as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPlacement {
    /// Rises with each move of the endpoint, whatever its version: of two placements the higher one counts.
    pub sequence: u32,
    /// The zones.
    pub set: PlacementSet,
}

/// A decision that is to be stored: where an endpoint goes, if it still is where it was when that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementDecision {
    /// The placement that the decision rests on; `None` if the endpoint had none.
    pub found: Option<StoredPlacement>,
    /// Where it goes.
    pub to: PlacementSet,
    /// What the zones were asked; `None` if it follows from the stored placement alone.
    pub asked: Option<ZonesAsked>,
}

/// The question to the zones that a decision answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZonesAsked {
    /// The name that the endpoint wants.
    pub name: DnsName,
    /// The state of zones and clusters that the decision rests on, as whoever decided counts them: while that is the same, so
    /// would the decision be.
    pub basis: u64,
}

impl PlacementDecision {
    /// A decision that follows from the stored placement alone: where else the endpoint could go was not asked.
    pub fn unasked(found: StoredPlacement, to: PlacementSet) -> Self {
        Self { found: Some(found), to, asked: None }
    }

    /// The sequence number of the placement that is stored if the decision holds. If the zones stay the same, so does the
    /// number: edits that follow each other closely then do not rest on each other.
    pub fn sequence(&self) -> u32 {
        match &self.found {
            Some(found) if found.set == self.to => found.sequence,
            Some(found) => found.sequence.saturating_add(1),
            None => 1,
        }
    }

    /// The placement that is stored if the decision holds.
    pub fn result(&self) -> StoredPlacement {
        StoredPlacement { sequence: self.sequence(), set: self.to.clone() }
    }

    /// The sets of zones that it speaks of.
    pub fn sets(&self) -> impl Iterator<Item = &PlacementSet> {
        self.found.iter().map(|found| &found.set).chain([&self.to])
    }
}

fn sorted(mut placements: Vec<Placement>) -> Vec<Placement> {
    placements.sort();
    placements.dedup();
    placements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{AccountId, ZoneId};

    fn at(zone: &str) -> Placement {
        Placement {
            account: AccountId::parse("111111111111").unwrap(),
            zone: ZoneId::parse(zone).unwrap(),
        }
    }

    #[test]
    fn a_move_leaves_what_it_had_until_it_has_arrived() {
        let before = PlacementSet::new([at("Z2"), at("Z1")], [at("Z0")]);
        let moved = before.moved_to([at("Z2"), at("Z3")]);
        assert_eq!(moved.at(), [at("Z2"), at("Z3")]);
        assert_eq!(moved.leaving(), [at("Z0"), at("Z1")]);
        assert_eq!(moved.arrived(), PlacementSet::new([at("Z3"), at("Z2")], []));
        assert_eq!(moved.moved_to([at("Z1")]).leaving(), [at("Z0"), at("Z2"), at("Z3")]);
    }

    #[test]
    fn a_decision_is_the_next_after_what_it_rests_on() {
        let first = PlacementDecision { found: None, to: PlacementSet::one(at("Z1")), asked: None };
        let second = PlacementDecision::unasked(first.result(), PlacementSet::one(at("Z2")));
        assert_eq!((first.result().sequence, second.result().sequence), (1, 2));
        let stays = PlacementDecision::unasked(second.result(), PlacementSet::one(at("Z2")));
        assert_eq!(stays.result(), second.result());
    }
}
