//! How much went within a window, how much is about to, and whether a guard holds it.
//!
//! A state machine without a runtime, as the budget is: the worker tells it what it sent and what is pending, and asks what is held.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::core::dns::record::{RawRecordSet, RecordKey, RecordType};
use crate::core::governance::rule::guard::{Counted, Guard};
use crate::core::planning::change::Unit;
use crate::core::time::{Millis, Timestamp};

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

    /// What units do to a name that holds these record sets now.
    pub fn of_name<'a>(
        observed: impl Iterator<Item = (&'a RecordKey, &'a RawRecordSet)>,
        units: &[Unit],
    ) -> Self {
        let changes: Vec<_> = units.iter().flat_map(|unit| &unit.changes).collect();
        let created = changes.iter().filter(|change| change.before.is_none()).count();
        let deleted = changes.iter().filter(|change| change.after.is_none()).count();
        let (mut before, mut after) = (vec![], vec![]);
        for (key, raw) in observed.filter(|(key, _)| answers(key.rtype)) {
            before.push(raw);
            if !changes.iter().any(|change| change.key == *key) {
                after.push(raw);
            }
        }
        let written = changes.iter().filter(|change| answers(change.key.rtype));
        after.extend(written.filter_map(|change| change.after.as_ref()));
        let is_lost = !before.is_empty() && after.is_empty();
        let is_replaced = !before.is_empty()
            && !after.is_empty()
            && !changes.is_empty()
            && !before.iter().any(|old| after.iter().any(|new| share_an_answer(old, new)));
        Self {
            deletions: deleted.saturating_sub(created) as u64,
            lost_names: is_lost.into(),
            replaced_names: is_replaced.into(),
        }
    }
}

/// Whether a name without a record set of the type answers less. What a TXT or CAA set says is for machines that can do without.
const fn answers(rtype: RecordType) -> bool {
    !matches!(rtype, RecordType::Txt | RecordType::Caa | RecordType::Soa)
}

/// Whether a unit has a part in what its name is counted for.
pub fn takes_part(unit: &Unit, what: Counted) -> bool {
    let changes = &unit.changes;
    match what {
        Counted::Deletions => {
            let deleted = changes.iter().filter(|change| change.after.is_none()).count();
            deleted > changes.iter().filter(|change| change.before.is_none()).count()
        }
        Counted::LostNames => {
            changes.iter().any(|change| change.after.is_none() && answers(change.key.rtype))
        }
        Counted::ReplacedNames => {
            changes.iter().any(|change| change.before.is_some() && answers(change.key.rtype))
        }
    }
}

/// Whether two record sets have a value or the alias target in common.
fn share_an_answer(old: &RawRecordSet, new: &RawRecordSet) -> bool {
    match (&old.alias, &new.alias) {
        (Some(old), Some(new)) => old == new,
        (None, None) => old.values.iter().any(|value| new.values.contains(value)),
        _ => false,
    }
}

/// What went within the last while, of a zone, a cluster or an account.
#[derive(Clone, Debug, Default)]
pub struct GuardWindow {
    sent: VecDeque<(Timestamp, Tally)>,
    sum: Tally,
}

impl GuardWindow {
    /// Something went at a time; times do not fall.
    pub fn add(&mut self, at: Timestamp, tally: Tally) {
        if !tally.is_empty() {
            self.sent.push_back((at, tally));
            self.sum.add(tally);
        }
    }

    /// What went within the last `length`.
    pub fn sum(&mut self, now: Timestamp, length: Millis) -> Tally {
        while let Some((at, tally)) = self.sent.front().copied() {
            if now.since(at) < length {
                break;
            }
            self.sent.pop_front();
            self.sum.remove(tally);
        }
        self.sum
    }

    /// When the oldest leaves a window of that length.
    pub fn next_change(&self, length: Millis) -> Option<Timestamp> {
        self.sent.front().map(|(at, _)| *at + length)
    }
}

/// That a guard's line is crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossed {
    /// What there is too much of.
    pub what: Counted,
    /// How many went within the window.
    pub sent: u64,
    /// How many are about to.
    pub pending: u64,
    /// How many may.
    pub allowed: u64,
    /// Of how many names.
    pub names: u64,
}

/// What of a guard is crossed, where so many names are, by what was sent within its window and what is pending and not approved.
/// All that is pending of that kind is to be held then, not only what is beyond the line.
pub fn crossed(guard: &Guard, names: u64, sent: Tally, pending: Tally) -> Vec<Crossed> {
    let allowed = guard.allowance(names);
    let crossed = |what: Counted| {
        let (sent, pending) = (sent.of(what), pending.of(what));
        let is_over = guard.counts(what) && pending > 0 && sent + pending > allowed;
        is_over.then_some(Crossed { what, sent, pending, allowed, names })
    };
    Counted::ALL.into_iter().filter_map(crossed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deletions(deletions: u64) -> Tally {
        Tally { deletions, ..Tally::default() }
    }

    #[test]
    fn by_default_a_zone_may_lose_a_share_by_its_size_and_a_few_always() {
        let guard = Guard::default();
        for (names, allowed) in
            [(0, 10), (10, 10), (100, 30), (101, 20), (1_000, 100), (1_001, 50), (10_000, 200)]
        {
            assert_eq!(guard.allowance(names), allowed, "{names} names");
        }
    }

    #[test]
    fn what_was_sent_and_what_is_pending_cross_the_line_together() {
        let guard = Guard::default();
        assert!(crossed(&guard, 100, deletions(20), deletions(10)).is_empty());
        let over = crossed(&guard, 100, deletions(20), deletions(11));
        assert_eq!(
            over,
            [Crossed { what: Counted::Deletions, sent: 20, pending: 11, allowed: 30, names: 100 }]
        );
        assert!(crossed(&guard, 100, deletions(40), deletions(0)).is_empty(), "nothing is to go");
        let off = Guard { enabled: false, ..Guard::default() };
        assert!(crossed(&off, 100, deletions(0), deletions(99)).is_empty());
    }

    #[test]
    fn what_went_leaves_the_window_after_its_length() {
        let (mut window, hour) = (GuardWindow::default(), Millis::from_secs(3_600));
        window.add(Timestamp(0), deletions(3));
        window.add(Timestamp(60_000), deletions(4));
        assert_eq!(window.sum(Timestamp(60_000), hour), deletions(7));
        assert_eq!(window.next_change(hour), Some(Timestamp(3_600_000)));
        assert_eq!(window.sum(Timestamp(3_600_000), hour), deletions(4));
        assert_eq!(window.sum(Timestamp(3_660_000), hour), deletions(0));
        assert_eq!(window.next_change(hour), None);
    }
}
