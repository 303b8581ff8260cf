//! States that are told of when they change, and not more often than people can read.

use std::collections::BTreeMap;

use crate::core::audit::{AuditEntry, AuditKind};
use crate::core::time::{Millis, Timestamp};

/// How often a state that goes on and changes is told of.
const TOLD_EVERY: Millis = Millis::from_secs(60);

/// The states of things of one kind: each is told of when it begins, when it changes, and when it ends.
pub(super) struct WatchedStates {
    /// A state begins or changes, and ends.
    pub(super) kinds: [AuditKind; 2],
    told: BTreeMap<String, Told>,
}

#[derive(Clone, Debug)]
struct Told {
    after: Option<serde_json::Value>,
    at: Timestamp,
    /// What is said when it ends.
    entry: AuditEntry,
}

impl WatchedStates {
    pub(super) fn new(begins: AuditKind, ends: AuditKind) -> Self {
        Self { kinds: [begins, ends], told: BTreeMap::new() }
    }

    /// What another replica, or an earlier life of this one, told of as it stands.
    pub(super) fn knows(&mut self, entry: AuditEntry) {
        let Some(subject) = entry.subject.clone().filter(|_| entry.kind == self.kinds[0]) else {
            return;
        };
        let told = Told { after: entry.after.clone(), at: entry.at, entry };
        self.told.entry(subject).or_insert(told);
    }

    /// The entries that are news: `current` are all states that there are, each with its subject and `after`. `is_mine` says of what was
    /// told before whether this replica can say that it has ended.
    pub(super) fn news(
        &self,
        current: &[AuditEntry],
        is_mine: impl Fn(&AuditEntry) -> bool,
        now: Timestamp,
    ) -> Vec<AuditEntry> {
        let mut news: Vec<AuditEntry> = current
            .iter()
            .filter(|entry| {
                let told = entry.subject.as_ref().and_then(|subject| self.told.get(subject));
                told.is_none_or(|told| {
                    let is_due = told.after.is_none() || now - told.at >= TOLD_EVERY;
                    told.after != entry.after && is_due
                })
            })
            .cloned()
            .collect();
        let is_there =
            |subject: &String| current.iter().any(|entry| entry.subject.as_ref() == Some(subject));
        let ended = self.told.iter().filter(|(subject, told)| {
            told.after.is_some() && !is_there(subject) && is_mine(&told.entry)
        });
        news.extend(ended.map(|(_, told)| AuditEntry {
            kind: self.kinds[1],
            at: now,
            after: None,
            before: None,
            ..told.entry.clone()
        }));
        news
    }

    /// They stand in the audit.
    pub(super) fn told(&mut self, news: &[AuditEntry], now: Timestamp) {
        for entry in news {
            let Some(subject) = entry.subject.clone() else { continue };
            match entry.kind == self.kinds[1] {
                true => drop(self.told.remove(&subject)),
                false => {
                    let told = Told { after: entry.after.clone(), at: now, entry: entry.clone() };
                    self.told.insert(subject, told);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::governance::actor::Actor;

    fn state(at: i64, units: u64) -> AuditEntry {
        AuditEntry {
            subject: Some("hold Z1".to_owned()),
            after: Some(serde_json::json!({ "units": units })),
            ..AuditEntry::new(Timestamp(at), Actor::Broker, AuditKind::HoldBegan)
        }
    }

    #[test]
    fn a_state_is_told_of_when_it_begins_changes_and_ends() {
        let mut watched = WatchedStates::new(AuditKind::HoldBegan, AuditKind::HoldEnded);
        let mut step = |current: &[AuditEntry], now: i64| {
            let news = watched.news(current, |_| true, Timestamp(now));
            watched.told(&news, Timestamp(now));
            news.into_iter().map(|entry| (entry.kind, entry.after.is_some())).collect::<Vec<_>>()
        };
        let began = (AuditKind::HoldBegan, true);
        assert_eq!(step(&[], 0), []);
        assert_eq!(step(&[state(1, 3)], 1), [began]);
        assert_eq!(step(&[state(2, 3)], 2), []);
        assert_eq!(step(&[state(3, 4)], 3), [], "not each change");
        assert_eq!(step(&[state(61_000, 5)], 61_001), [began], "the one that there is in the end");
        assert_eq!(step(&[], 61_002), [(AuditKind::HoldEnded, false)]);
        assert_eq!(step(&[], 61_003), []);
        assert_eq!(step(&[state(61_004, 5)], 61_004), [began], "again");
    }

    #[test]
    fn what_an_earlier_life_told_of_ends_where_it_can_be_seen() {
        let mut watched = WatchedStates::new(AuditKind::HoldBegan, AuditKind::HoldEnded);
        watched.knows(state(1, 3));
        assert_eq!(watched.news(&[], |_| false, Timestamp(9)), [], "of another replica's account");
        let news = watched.news(&[], |_| true, Timestamp(9));
        assert_eq!((news.len(), news[0].kind, news[0].at), (1, AuditKind::HoldEnded, Timestamp(9)));
        assert_eq!(watched.news(&[state(5, 3)], |_| true, Timestamp(5)), [], "it goes on");
    }
}
