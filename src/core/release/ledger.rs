//! What guards count, of one account: how much went within their windows and how much is about to go, of each zone, of each cluster
//! and of the account.
//!
//! A state machine without a runtime: the worker says what each name would do and what was sent, and asks what is held.

use std::collections::{BTreeMap, HashMap};

use super::guard::{Crossed, GuardWindow, Tally, crossed};
use crate::core::dns::name::DnsName;
use crate::core::governance::rule::guard::Guard;
use crate::core::ids::{ClusterId, ZoneId};
use crate::core::time::{Millis, Timestamp};

/// Of what a guard counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuardScope {
    /// All names of a zone.
    Zone(ZoneId),
    /// All names that a cluster has in the account.
    Cluster(ClusterId),
    /// All names of the account.
    Account,
}

/// What a name would do if all that is planned for it went, without what people let go.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PendingName {
    cluster: ClusterId,
    tally: Tally,
}

/// See the module's page.
#[derive(Clone, Debug, Default)]
pub struct GuardLedger {
    sent: BTreeMap<GuardScope, GuardWindow>,
    pending: BTreeMap<GuardScope, Tally>,
    names: BTreeMap<ZoneId, HashMap<DnsName, PendingName>>,
}

fn scopes(zone: &ZoneId, cluster: &ClusterId) -> [GuardScope; 3] {
    [GuardScope::Zone(zone.clone()), GuardScope::Cluster(cluster.clone()), GuardScope::Account]
}

impl GuardLedger {
    /// Notes what is planned for a name now, in the place of what was; returns whether that is another sum.
    pub fn plans(
        &mut self,
        zone: &ZoneId,
        name: &DnsName,
        cluster: &ClusterId,
        tally: Tally,
    ) -> bool {
        let new = PendingName { cluster: cluster.clone(), tally };
        let of_zone = self.names.entry(zone.clone()).or_default();
        let old = match tally.is_empty() {
            true => of_zone.remove(name),
            false => of_zone.insert(name.clone(), new.clone()),
        };
        if old.as_ref().map_or(tally.is_empty(), |old| *old == new) {
            return false;
        }
        if let Some(PendingName { cluster, tally }) = old {
            for scope in scopes(zone, &cluster) {
                self.pending.entry(scope).or_default().remove(tally);
            }
        }
        for scope in scopes(zone, cluster) {
            self.pending.entry(scope).or_default().add(tally);
        }
        self.pending.retain(|_, tally| !tally.is_empty());
        true
    }

    /// Something was sent for a cluster; what people let go is not told here.
    pub fn sends(&mut self, zone: &ZoneId, cluster: &ClusterId, tally: Tally, at: Timestamp) {
        for scope in scopes(zone, cluster) {
            self.sent.entry(scope).or_default().add(at, tally);
        }
    }

    /// What of a guard is crossed in a scope with so many names.
    pub fn crossed(
        &mut self,
        guard: &Guard,
        scope: &GuardScope,
        names: u64,
        now: Timestamp,
    ) -> Vec<Crossed> {
        let Some(pending) = self.pending.get(scope).copied() else { return vec![] };
        let window = window_of(guard);
        let sent =
            self.sent.get_mut(scope).map_or_else(Tally::default, |sent| sent.sum(now, window));
        crossed(guard, names, sent, pending)
    }

    /// When what was sent leaves a guard's window in a scope next, which may let something go.
    pub fn next_change(&self, guard: &Guard, scope: &GuardScope) -> Option<Timestamp> {
        self.pending.get(scope)?;
        self.sent.get(scope)?.next_change(window_of(guard))
    }

    /// The names of a zone for which something is planned that guards count.
    pub fn pending_names(&self, zone: &ZoneId) -> impl Iterator<Item = &DnsName> {
        self.names.get(zone).into_iter().flat_map(HashMap::keys)
    }
}

fn window_of(guard: &Guard) -> Millis {
    Millis::from_secs(guard.window_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::governance::rule::guard::Counted;
    use crate::core::testkit::{cluster, name};

    fn zone(id: &str) -> ZoneId {
        ZoneId::parse(id).unwrap()
    }

    fn deletions(deletions: u64) -> Tally {
        Tally { deletions, ..Tally::default() }
    }

    fn hosts(ledger: &mut GuardLedger, of: &str, by: &str, count: usize) {
        for host in 0..count {
            let name = name(&format!("h{host}.{of}.example.com"));
            ledger.plans(&zone(of), &name, &cluster(by), deletions(1));
        }
    }

    #[test]
    fn what_is_about_to_go_is_counted_once_for_its_zone_its_cluster_and_the_account() {
        let (mut ledger, guard) = (GuardLedger::default(), Guard::default());
        hosts(&mut ledger, "Z1", "east", 6);
        hosts(&mut ledger, "Z2", "east", 6);
        hosts(&mut ledger, "Z2", "east", 6);
        let mut over = |scope| !ledger.crossed(&guard, &scope, 0, Timestamp(0)).is_empty();
        assert!(!over(GuardScope::Zone(zone("Z1"))) && !over(GuardScope::Zone(zone("Z2"))));
        assert!(over(GuardScope::Cluster(cluster("east"))) && over(GuardScope::Account));
    }

    #[test]
    fn what_a_name_would_do_changes_with_its_plan_and_its_cluster() {
        let mut ledger = GuardLedger::default();
        let (one, guard) = (name("h0.Z1.example.com"), Guard::default());
        assert!(ledger.plans(&zone("Z1"), &one, &cluster("east"), deletions(11)));
        assert!(!ledger.plans(&zone("Z1"), &one, &cluster("east"), deletions(11)), "it did before");
        assert!(ledger.plans(&zone("Z1"), &one, &cluster("west"), deletions(11)));
        let now = Timestamp(0);
        let mut of = |by| ledger.crossed(&guard, &GuardScope::Cluster(cluster(by)), 0, now).len();
        assert_eq!((of("east"), of("west")), (0, 1));
        assert!(ledger.plans(&zone("Z1"), &one, &cluster("west"), Tally::default()));
        assert!(ledger.crossed(&guard, &GuardScope::Account, 0, now).is_empty());
        assert_eq!(ledger.pending_names(&zone("Z1")).count(), 0);
    }

    #[test]
    fn what_went_counts_until_it_leaves_the_window() {
        let (mut ledger, guard) = (GuardLedger::default(), Guard::default());
        ledger.sends(&zone("Z1"), &cluster("east"), deletions(8), Timestamp(0));
        let scope = GuardScope::Zone(zone("Z1"));
        assert_eq!(ledger.next_change(&guard, &scope), None, "nothing waits for it");
        hosts(&mut ledger, "Z1", "east", 3);
        let crossed = ledger.crossed(&guard, &scope, 20, Timestamp(1_000));
        assert_eq!(crossed.len(), 1);
        assert_eq!(
            (crossed[0].what, crossed[0].sent, crossed[0].pending),
            (Counted::Deletions, 8, 3)
        );
        assert_eq!(ledger.next_change(&guard, &scope), Some(Timestamp(3_600_000)));
        assert!(ledger.crossed(&guard, &scope, 20, Timestamp(3_600_000)).is_empty());
    }
}
