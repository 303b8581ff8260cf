//! Units that wait for a person's word, and the word that lets them go.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::core::planning::unit_digest::UnitDigest;
use crate::core::time::{Millis, Timestamp};

/// A hash of the units of a hold: what the hold is known by. A hold with other units is another hold.
pub fn digest_of_units(units: &[UnitDigest]) -> UnitDigest {
    let mut sorted = units.to_vec();
    sorted.sort();
    sorted.dedup();
    let mut hasher = Sha256::new();
    hasher.update(b"zonefold.v1.hold");
    sorted.iter().for_each(|unit| hasher.update(unit.0));
    UnitDigest(hasher.finalize().into())
}

/// The units that people let go. A word is for what the unit does now: one that changes is another unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvals(BTreeMap<UnitDigest, Vec<Approval>>);

/// How long a word holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    /// By which request.
    pub request: Uuid,
    /// Since when.
    pub at: Timestamp,
    /// Until when, as long as no freeze is closed meanwhile.
    pub until: Timestamp,
}

impl Approvals {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether anybody ever let a unit go, be it too long ago.
    pub fn speak_of(&self, unit: &UnitDigest) -> bool {
        self.0.contains_key(unit)
    }

    /// A unit may go.
    pub fn add(&mut self, unit: UnitDigest, approval: Approval) {
        self.0.entry(unit).or_default().push(approval);
    }

    /// Whether a unit may go. `frozen` says for how long freezes kept it back since a time: that time does not count.
    pub fn allow(
        &self,
        unit: &UnitDigest,
        now: Timestamp,
        frozen: impl Fn(Timestamp) -> Millis,
    ) -> bool {
        let holds = |approval: &Approval| {
            now < approval.until || now < approval.until + frozen(approval.at)
        };
        self.0.get(unit).is_some_and(|approvals| approvals.iter().any(holds))
    }

    /// A unit went: its words are used up. They are answered.
    pub fn take(&mut self, unit: &UnitDigest) -> Vec<Approval> {
        self.0.remove(unit).unwrap_or_default()
    }

    /// Without those that were used up.
    #[must_use]
    pub fn without(mut self, used: &BTreeSet<(UnitDigest, Uuid)>) -> Self {
        for (unit, approvals) in &mut self.0 {
            approvals.retain(|approval| !used.contains(&(*unit, approval.request)));
        }
        self.0.retain(|_, approvals| !approvals.is_empty());
        self
    }

    /// All words, each with its unit.
    pub fn iter(&self) -> impl Iterator<Item = (&UnitDigest, &Approval)> {
        self.0.iter().flat_map(|(unit, approvals)| approvals.iter().map(move |one| (unit, one)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_for_its_time_and_for_as_much_longer_as_freezes_kept_the_unit_back() {
        let unit = UnitDigest([7; 32]);
        let open = |_| Millis(0);
        let mut approvals = Approvals::default();
        assert!(!approvals.allow(&unit, Timestamp(0), open));
        let request = Uuid::from_u128(1);
        approvals.add(unit, Approval { request, at: Timestamp(0), until: Timestamp(10) });
        assert!(approvals.allow(&unit, Timestamp(9), open));
        assert!(!approvals.allow(&unit, Timestamp(10), open));
        assert!(approvals.allow(&unit, Timestamp(29), |_| Millis(20)));
        assert!(!approvals.allow(&unit, Timestamp(30), |_| Millis(20)));
    }

    #[test]
    fn a_word_that_is_used_up_lets_nothing_go_and_a_new_one_does() {
        let unit = UnitDigest([7; 32]);
        let of = |requests: &[u128]| {
            let mut approvals = Approvals::default();
            for request in requests {
                let request = Uuid::from_u128(*request);
                approvals.add(unit, Approval { request, at: Timestamp(0), until: Timestamp(10) });
            }
            approvals
        };
        let mut approvals = of(&[1]);
        let used: BTreeSet<_> =
            approvals.take(&unit).into_iter().map(|approval| (unit, approval.request)).collect();
        assert!(approvals.is_empty());
        assert!(of(&[1]).without(&used).is_empty(), "the store was read before it knew");
        assert_eq!(of(&[1, 2]).without(&used), of(&[2]));
    }
}
