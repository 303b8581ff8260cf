//! What guards count, of one account: how much went within their windows and how much is about to go, of each zone, of each cluster
//! and of the account.
//!
//! A state machine without a runtime: the worker says what each name would do and what was sent, and asks what is held. Each guard
//! has counters of its own for what lies in its scope.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;

use super::guard::{Crossed, GuardWindow, crossed};
use crate::core::dns::name::DnsName;
use crate::core::governance::rule::guard::{Counted, Guard, GuardId};
use crate::core::ids::{ClusterId, ZoneId};
use crate::core::planning::tally::{CountedName, Tally};
use crate::core::time::{Millis, Timestamp};

/// Of what a guard counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GuardScope {
    /// All names of a zone.
    Zone(ZoneId),
    /// All names that a cluster has in the account.
    Cluster(ClusterId),
    /// All names of the account.
    Account,
}

impl fmt::Display for GuardScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zone(_) => f.write_str("the zone"),
            Self::Cluster(cluster) => write!(f, "what the cluster {cluster} has in the account"),
            Self::Account => f.write_str("the account"),
        }
    }
}

/// One count of a guard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuardCounter {
    /// Whose.
    pub guard: GuardId,
    /// Of what.
    pub scope: GuardScope,
}

/// The lines that are crossed now. What is counted there and not let go by a person is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crossings(BTreeMap<GuardCounter, Vec<Counted>>);

impl Crossings {
    /// Whether no line is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first line that what a name would do is behind: of its zone, of its cluster, of the account.
    pub fn holds(
        &self,
        guards: &[GuardId],
        zone: &ZoneId,
        cluster: &ClusterId,
        does: impl Fn(Counted) -> bool,
    ) -> Option<(GuardCounter, Counted)> {
        scopes(zone, cluster).into_iter().find_map(|scope| {
            guards.iter().find_map(|guard| {
                let counter = GuardCounter { guard: guard.clone(), scope: scope.clone() };
                let what = self.0.get(&counter)?.iter().copied().find(|what| does(*what))?;
                Some((counter, what))
            })
        })
    }
}

/// What a name would do if all that is planned for it went, without what people let go.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PendingName {
    cluster: ClusterId,
    tally: Tally,
    guards: Vec<GuardId>,
}

#[derive(Clone, Debug)]
struct SentName {
    at: Timestamp,
    zone: ZoneId,
    counted: CountedName,
}

#[derive(Clone, Debug, Default)]
struct Count {
    sent: GuardWindow,
    pending: Tally,
    /// What is crossed, as it was evaluated last.
    crossed: Vec<Crossed>,
}

/// See the module's page.
#[derive(Clone, Debug, Default)]
pub struct GuardLedger {
    guards: BTreeMap<GuardId, Guard>,
    counts: BTreeMap<GuardCounter, Count>,
    names: BTreeMap<ZoneId, HashMap<DnsName, PendingName>>,
    /// What still counts for one of the guards, the oldest first.
    sent: VecDeque<SentName>,
    /// Counters that changed since they were evaluated.
    changed: BTreeSet<GuardCounter>,
}

fn scopes(zone: &ZoneId, cluster: &ClusterId) -> [GuardScope; 3] {
    [GuardScope::Zone(zone.clone()), GuardScope::Cluster(cluster.clone()), GuardScope::Account]
}

fn counters<'a>(
    guards: &'a [GuardId],
    zone: &ZoneId,
    cluster: &ClusterId,
) -> impl Iterator<Item = GuardCounter> + 'a {
    scopes(zone, cluster).into_iter().flat_map(|scope| {
        guards.iter().map(move |guard| GuardCounter { guard: guard.clone(), scope: scope.clone() })
    })
}

fn window_of(guard: &Guard) -> Millis {
    Millis::from_secs(guard.window_secs())
}

impl GuardLedger {
    /// Takes the guards that there are now. `fits` says which of them count a name of a zone that a cluster has.
    pub fn govern(
        &mut self,
        guards: BTreeMap<GuardId, Guard>,
        fits: impl Fn(&ZoneId, &DnsName, &ClusterId) -> Vec<GuardId>,
    ) {
        self.guards = guards;
        self.counts.clear();
        let (names, sent) = (std::mem::take(&mut self.names), std::mem::take(&mut self.sent));
        for SentName { at, zone, counted } in sent {
            let guards = fits(&zone, &counted.name, &counted.cluster);
            self.sends(&zone, counted, &guards, at);
        }
        for (zone, of_zone) in names {
            for (name, PendingName { cluster, tally, .. }) in of_zone {
                let guards = fits(&zone, &name, &cluster);
                self.plans(&zone, &name, &cluster, tally, guards);
            }
        }
        self.changed = self.counts.keys().cloned().collect();
    }

    /// Notes what is planned for a name now, in the place of what was, and the guards that count it.
    pub fn plans(
        &mut self,
        zone: &ZoneId,
        name: &DnsName,
        cluster: &ClusterId,
        tally: Tally,
        guards: Vec<GuardId>,
    ) {
        let new = PendingName { cluster: cluster.clone(), tally, guards };
        let is_known = self.names.get(zone).and_then(|names| names.get(name)) == Some(&new);
        if is_known {
            return;
        }
        self.plans_nothing(zone, name);
        if tally.is_empty() || new.guards.is_empty() {
            return;
        }
        for counter in counters(&new.guards, zone, cluster) {
            self.counts.entry(counter.clone()).or_default().pending.add(tally);
            self.changed.insert(counter);
        }
        self.names.entry(zone.clone()).or_default().insert(name.clone(), new);
    }

    /// Nothing that guards count is planned for a name.
    pub fn plans_nothing(&mut self, zone: &ZoneId, name: &DnsName) {
        let Some(of_zone) = self.names.get_mut(zone) else { return };
        let Some(PendingName { cluster, tally, guards }) = of_zone.remove(name) else { return };
        if of_zone.is_empty() {
            self.names.remove(zone);
        }
        for counter in counters(&guards, zone, &cluster) {
            self.counts.entry(counter.clone()).or_default().pending.remove(tally);
            self.changed.insert(counter);
        }
    }

    /// Something went that these guards count; times do not fall.
    pub fn sends(
        &mut self,
        zone: &ZoneId,
        counted: CountedName,
        guards: &[GuardId],
        at: Timestamp,
    ) {
        for counter in counters(guards, zone, &counted.cluster) {
            self.counts.entry(counter.clone()).or_default().sent.add(at, counted.tally);
            self.changed.insert(counter);
        }
        self.sent.push_back(SentName { at, zone: zone.clone(), counted });
    }

    /// Looks at what has changed, in sizes that the caller knows. Answers the names that are held now and were not, or the other way
    /// round.
    pub fn evaluate(
        &mut self,
        now: Timestamp,
        names_in: impl Fn(&GuardScope) -> u64,
    ) -> BTreeSet<(ZoneId, DnsName)> {
        let mut turned = BTreeSet::new();
        let due: Vec<GuardCounter> = self
            .counts
            .iter()
            .filter(|(_, count)| !count.crossed.is_empty())
            .filter(|(counter, count)| self.moves(counter, count).is_some_and(|at| at <= now))
            .map(|(counter, _)| counter.clone())
            .collect();
        for counter in std::mem::take(&mut self.changed).into_iter().chain(due) {
            let Some(guard) = self.guards.get(&counter.guard) else { continue };
            let Some(count) = self.counts.get_mut(&counter) else { continue };
            let sent = count.sent.sum(now, window_of(guard));
            // The share is one of what there was when the window began.
            let names = names_in(&counter.scope) + sent.lost_names;
            let is = crossed(guard, names, sent, count.pending);
            let was = std::mem::replace(&mut count.crossed, is.clone());
            let kinds = |crossed: &[Crossed]| -> BTreeSet<Counted> {
                crossed.iter().map(|crossed| crossed.what).collect()
            };
            for what in kinds(&is).symmetric_difference(&kinds(&was)) {
                turned.extend(self.behind(&counter, *what));
            }
        }
        self.forget(now);
        turned
    }

    /// The names of which something is planned that a counter counts.
    fn behind<'a>(
        &'a self,
        counter: &'a GuardCounter,
        what: Counted,
    ) -> impl Iterator<Item = (ZoneId, DnsName)> + 'a {
        let in_zone = move |zone: &ZoneId| match &counter.scope {
            GuardScope::Zone(only) => only == zone,
            GuardScope::Cluster(_) | GuardScope::Account => true,
        };
        let counts = move |pending: &PendingName| {
            let is_in = match &counter.scope {
                GuardScope::Cluster(only) => *only == pending.cluster,
                GuardScope::Zone(_) | GuardScope::Account => true,
            };
            is_in && pending.guards.contains(&counter.guard) && pending.tally.of(what) > 0
        };
        self.names.iter().filter(move |(zone, _)| in_zone(zone)).flat_map(move |(zone, names)| {
            let behind = names.iter().filter(move |(_, pending)| counts(pending));
            behind.map(|(name, _)| (zone.clone(), name.clone()))
        })
    }

    /// Frees what neither waits nor counts any more.
    fn forget(&mut self, now: Timestamp) {
        let longest = self.guards.values().map(window_of).max().unwrap_or_default();
        while self.sent.front().is_some_and(|sent| now.since(sent.at) >= longest) {
            self.sent.pop_front();
        }
        self.counts.retain(|counter, count| {
            let window = self.guards.get(&counter.guard).map(window_of).unwrap_or_default();
            !count.pending.is_empty() || !count.sent.sum(now, window).is_empty()
        });
    }

    /// When what went leaves the window of a counter next.
    fn moves(&self, counter: &GuardCounter, count: &Count) -> Option<Timestamp> {
        count.sent.next_change(window_of(self.guards.get(&counter.guard)?))
    }

    /// When time alone may let something go next.
    pub fn next_change(&self) -> Option<Timestamp> {
        let held = self.counts.iter().filter(|(_, count)| !count.crossed.is_empty());
        held.filter_map(|(counter, count)| self.moves(counter, count)).min()
    }

    /// The lines that are crossed, as they were evaluated last.
    pub fn crossings(&self) -> Crossings {
        let crossed = self.crossed().map(|(counter, crossed)| {
            (counter.clone(), crossed.iter().map(|crossed| crossed.what).collect())
        });
        Crossings(crossed.collect())
    }

    /// The same with their numbers.
    pub fn crossed(&self) -> impl Iterator<Item = (&GuardCounter, &[Crossed])> {
        let held = self.counts.iter().filter(|(_, count)| !count.crossed.is_empty());
        held.map(|(counter, count)| (counter, count.crossed.as_slice()))
    }

    /// The names of which something is planned that guards count.
    pub fn pending_names(&self) -> impl Iterator<Item = (&ZoneId, &DnsName)> {
        self.names.iter().flat_map(|(zone, names)| names.keys().map(move |name| (zone, name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::RuleName;
    use crate::core::testkit::{cluster, name};

    fn zone(id: &str) -> ZoneId {
        ZoneId::parse(id).unwrap()
    }

    fn deletions(deletions: u64) -> Tally {
        Tally { deletions, ..Tally::default() }
    }

    fn by_default() -> GuardLedger {
        let mut ledger = GuardLedger::default();
        ledger.govern([(GuardId::Default, Guard::default())].into(), |_, _, _| vec![]);
        ledger
    }

    fn plans(ledger: &mut GuardLedger, of: &str, host: &str, by: &str, tally: Tally) {
        let host = name(&format!("{host}.{of}.example.com"));
        ledger.plans(&zone(of), &host, &cluster(by), tally, vec![GuardId::Default]);
    }

    fn hosts(ledger: &mut GuardLedger, of: &str, by: &str, count: usize) {
        for host in 0..count {
            plans(ledger, of, &format!("h{host}"), by, deletions(1));
        }
    }

    fn sends(ledger: &mut GuardLedger, of: &str, by: &str, tally: Tally, at: i64) {
        let counted = CountedName { name: name("gone.example.com"), cluster: cluster(by), tally };
        ledger.sends(&zone(of), counted, &[GuardId::Default], Timestamp(at));
    }

    /// The scopes whose line is crossed once all was evaluated.
    fn crossed_in(ledger: &mut GuardLedger, names: u64, now: i64) -> Vec<GuardScope> {
        ledger.evaluate(Timestamp(now), |_| names);
        ledger.crossed().map(|(counter, _)| counter.scope.clone()).collect()
    }

    #[test]
    fn what_is_about_to_go_is_counted_once_for_its_zone_its_cluster_and_the_account() {
        let mut ledger = by_default();
        hosts(&mut ledger, "Z1", "east", 6);
        hosts(&mut ledger, "Z2", "east", 6);
        hosts(&mut ledger, "Z2", "east", 6);
        let crossed = crossed_in(&mut ledger, 0, 0);
        assert_eq!(crossed, [GuardScope::Cluster(cluster("east")), GuardScope::Account]);
    }

    #[test]
    fn the_names_that_a_line_stands_before_are_told_when_it_is_crossed_and_when_it_no_longer_is() {
        let mut ledger = by_default();
        hosts(&mut ledger, "Z1", "east", 10);
        assert!(ledger.evaluate(Timestamp(0), |_| 0).is_empty());
        plans(&mut ledger, "Z1", "more", "west", deletions(1));
        let held = ledger.evaluate(Timestamp(0), |_| 0);
        assert_eq!(held.len(), 11, "all of the zone, not only what came last");
        assert!(ledger.evaluate(Timestamp(0), |_| 0).is_empty(), "that is no news");
        ledger.plans_nothing(&zone("Z1"), &name("more.Z1.example.com"));
        assert_eq!(ledger.evaluate(Timestamp(0), |_| 0).len(), 10);
        assert!(ledger.crossings().is_empty());
    }

    #[test]
    fn what_a_name_would_do_changes_with_its_plan_and_its_cluster() {
        let mut ledger = by_default();
        plans(&mut ledger, "Z1", "h0", "east", deletions(11));
        plans(&mut ledger, "Z1", "h0", "west", deletions(11));
        let crossed = crossed_in(&mut ledger, 0, 0);
        assert!(crossed.contains(&GuardScope::Cluster(cluster("west"))));
        assert!(!crossed.contains(&GuardScope::Cluster(cluster("east"))));
        plans(&mut ledger, "Z1", "h0", "west", Tally::default());
        assert!(crossed_in(&mut ledger, 0, 0).is_empty());
        assert_eq!((ledger.pending_names().count(), ledger.counts.len()), (0, 0));
    }

    #[test]
    fn what_went_counts_until_it_leaves_the_window() {
        let mut ledger = by_default();
        sends(&mut ledger, "Z1", "east", deletions(8), 0);
        assert_eq!(ledger.next_change(), None, "nothing waits for it");
        hosts(&mut ledger, "Z1", "east", 3);
        assert_eq!(crossed_in(&mut ledger, 20, 1_000).len(), 3);
        let (_, crossed) = ledger.crossed().next().unwrap();
        assert_eq!(
            (crossed[0].what, crossed[0].sent, crossed[0].pending),
            (Counted::Deletions, 8, 3)
        );
        assert_eq!(ledger.next_change(), Some(Timestamp(3_600_000)));
        assert_eq!(ledger.evaluate(Timestamp(3_600_000), |_| 20).len(), 3);
        assert!(ledger.crossings().is_empty() && ledger.sent.is_empty());
    }

    #[test]
    fn a_share_is_one_of_the_names_that_there_were_before_any_went() {
        let mut ledger = by_default();
        let lost = |lost_names| Tally { lost_names, ..Tally::default() };
        sends(&mut ledger, "Z1", "east", lost(20), 0);
        plans(&mut ledger, "Z1", "h0", "east", lost(10));
        assert!(crossed_in(&mut ledger, 80, 0).is_empty(), "30 of 100");
    }

    #[test]
    fn other_guards_count_anew_what_went_and_what_waits() {
        let mut ledger = by_default();
        sends(&mut ledger, "Z1", "east", deletions(2), 0);
        hosts(&mut ledger, "Z1", "east", 3);
        assert!(crossed_in(&mut ledger, 0, 0).is_empty());
        let strict: Guard = serde_json::from_value(
            serde_json::json!({ "steps": [{ "percent": 0, "atLeast": 4 }] }),
        )
        .unwrap();
        let id = GuardId::Rule(RuleName::parse("strict").unwrap());
        ledger.govern([(id.clone(), strict)].into(), |_, _, _| vec![id.clone()]);
        assert_eq!(ledger.evaluate(Timestamp(0), |_| 0).len(), 3);
        let does = |what| what == Counted::Deletions;
        let held = |guards: &[GuardId]| {
            ledger.crossings().holds(guards, &zone("Z1"), &cluster("east"), does)
        };
        assert_eq!(
            held(std::slice::from_ref(&id)).map(|(counter, _)| counter.scope),
            Some(GuardScope::Zone(zone("Z1")))
        );
        assert_eq!(held(&[GuardId::Default]), None);
    }
}
