//! How much went within a window, how much is about to, and whether a guard holds it.
//!
//! A state machine without a runtime, as the budget is: the worker tells it what it sent and what is pending, and asks what is held.

use std::collections::VecDeque;

use crate::core::governance::rule::guard::{Counted, Guard};
use crate::core::planning::tally::Tally;
use crate::core::time::{Millis, Timestamp};

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
