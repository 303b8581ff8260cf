//! Guards over an account: what its names would do and what was sent goes into one ledger, and what that holds goes to the zones.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use uuid::Uuid;

use super::Worker;
use super::agenda::Zones;
use super::view::{HeldUnits, HoldReport};
use super::zone::holds::{Hold, HoldReason};
use super::zone::work::ZoneWork;
use crate::core::dns::name::DnsName;
use crate::core::governance::rule::guard::GuardId;
use crate::core::governance::snapshot::Governance;
use crate::core::ids::{ClusterId, ZoneId};
use crate::core::planning::change::Batch;
use crate::core::planning::tally::CountedName;
use crate::core::planning::unit_digest::UnitDigest;
use crate::core::release::guard::Crossed;
use crate::core::release::guarded::Guarded;
use crate::core::release::hold::Approvals;
use crate::core::release::ledger::{GuardCounter, GuardLedger, GuardScope};
use crate::core::time::{Millis, Timestamp};
use crate::ports::CountedRow;

/// The guards of an account.
#[derive(Default)]
pub(super) struct Guards {
    ledger: GuardLedger,
    /// As the zones know it.
    guarded: Arc<Guarded>,
    /// The words that people gave, as the store showed them last.
    stored: Arc<Approvals>,
    /// Words that were used up and that the store may still show.
    used: BTreeSet<(UnitDigest, Uuid)>,
}

/// Which guards count a name of a zone that a cluster has.
fn guards_at(
    governance: &Governance,
    zones: &Zones,
    zone: &ZoneId,
    name: &DnsName,
    cluster: &ClusterId,
) -> Vec<GuardId> {
    let Some(work) = zones.get(zone) else { return vec![] };
    let context = &work.state.context;
    governance.guards_at(&context.placement, &context.apex, name, cluster)
}

/// How many names of ours there are.
fn names_in(zones: &Zones, scope: &GuardScope) -> u64 {
    match scope {
        GuardScope::Zone(zone) => zones.get(zone).map_or(0, |work| work.state.owned().all()),
        GuardScope::Cluster(cluster) => {
            zones.all().map(|(_, work)| work.state.owned().of_cluster(cluster)).sum()
        }
        GuardScope::Account => zones.all().map(|(_, work)| work.state.owned().all()).sum(),
    }
}

impl Worker {
    /// Takes the guards that the rules have now.
    pub(super) fn take_guards(&mut self) {
        let (governance, zones) = (&self.governance, &self.zones);
        self.guards.ledger.govern(governance.guards(), |zone, name, cluster| {
            guards_at(governance, zones, zone, name, cluster)
        });
    }

    /// Since when what was sent counts.
    pub(super) fn guards_count_since(&self, now: Timestamp) -> Timestamp {
        let windows = self.governance.guards().into_values().map(|guard| guard.window_secs());
        let longest = Millis::from_secs(windows.max().unwrap_or_default());
        Timestamp(now.0.saturating_sub(longest.0))
    }

    /// Takes what an earlier life, or another replica, sent.
    pub(super) fn load_counted(&mut self, rows: Vec<CountedRow>) {
        for CountedRow { at, zone, counted } in rows {
            counted.into_iter().for_each(|counted| self.count_sent(&zone, counted, at));
        }
    }

    fn count_sent(&mut self, zone: &ZoneId, counted: CountedName, at: Timestamp) {
        let (name, cluster) = (&counted.name, &counted.cluster);
        let guards = guards_at(&self.governance, &self.zones, zone, name, cluster);
        self.guards.ledger.sends(zone, counted, &guards, at);
    }

    /// A batch was applied, or found to be.
    pub(super) fn count_applied(&mut self, batch: &Batch, at: Timestamp) {
        for counted in &batch.stamp.counted {
            self.guards.ledger.plans_nothing(&batch.zone, &counted.name);
            self.count_sent(&batch.zone, counted.clone(), at);
        }
        if !batch.stamp.released.is_empty() {
            let mut approvals = Approvals::clone(&self.guards.guarded.approvals);
            for unit in &batch.stamp.released {
                let words = approvals.take(unit);
                self.guards.used.extend(words.into_iter().map(|word| (*unit, word.request)));
            }
            self.show_guarded(Guarded {
                approvals: Arc::new(approvals),
                ..Guarded::clone(&self.guards.guarded)
            });
        }
    }

    /// What guards count of a name, as it was looked at.
    pub(super) fn count_planned(
        &mut self,
        zone: &ZoneId,
        name: &DnsName,
        counted: Option<CountedName>,
    ) {
        let Some(CountedName { cluster, tally, .. }) = counted else {
            return self.guards.ledger.plans_nothing(zone, name);
        };
        let guards = guards_at(&self.governance, &self.zones, zone, name, &cluster);
        self.guards.ledger.plans(zone, name, &cluster, tally, guards);
    }

    /// Holds what is over a line now and lets go what no longer is: those names are looked at again.
    pub(super) fn watch_guards(&mut self, now: Timestamp) {
        let zones = &self.zones;
        let turned = self.guards.ledger.evaluate(now, |scope| names_in(zones, scope));
        if turned.is_empty() {
            return;
        }
        let crossings = self.guards.ledger.crossings();
        self.show_guarded(Guarded { crossings, ..Guarded::clone(&self.guards.guarded) });
        self.note_turned(turned);
    }

    /// Takes the words that people gave, if there are other ones: what they let go is looked at again.
    pub(super) fn take_approvals(&mut self, stored: &Arc<Approvals>) {
        if Arc::ptr_eq(&self.guards.stored, stored) {
            return;
        }
        self.guards.stored = Arc::clone(stored);
        let listed: BTreeSet<(UnitDigest, Uuid)> =
            stored.iter().map(|(unit, word)| (*unit, word.request)).collect();
        self.guards.used.retain(|word| listed.contains(word));
        let approvals = Arc::new(Approvals::clone(stored).without(&self.guards.used));
        self.show_guarded(Guarded { approvals, ..Guarded::clone(&self.guards.guarded) });
        let pending = self.guards.ledger.pending_names();
        let held: BTreeSet<(ZoneId, DnsName)> =
            pending.map(|(zone, name)| (zone.clone(), name.clone())).collect();
        self.note_turned(held);
        if self.governance.has_reviews() {
            self.zones.ids().iter().for_each(|zone| self.note_all(zone));
        }
    }

    fn note_turned(&mut self, turned: BTreeSet<(ZoneId, DnsName)>) {
        let mut by_zone: BTreeMap<ZoneId, Vec<DnsName>> = BTreeMap::new();
        for (zone, name) in turned {
            by_zone.entry(zone).or_default().push(name);
        }
        by_zone.into_iter().for_each(|(zone, names)| self.note(&zone, names));
    }

    fn show_guarded(&mut self, guarded: Guarded) {
        self.guards.guarded = Arc::new(guarded);
        for zone_id in self.zones.ids() {
            if let Some(zone) = self.zones.get_mut(&zone_id) {
                zone.state.guarded = Arc::clone(&self.guards.guarded);
            }
        }
    }

    /// All holds.
    pub(super) fn holds(&self) -> Vec<HoldReport> {
        let crossed = |hold: &Hold| {
            let HoldReason { guard, scope } = hold.reason.clone();
            let counter = scope.map(|scope| GuardCounter { guard, scope });
            let of_counter =
                |(other, _): &(&GuardCounter, &[Crossed])| Some(*other) == counter.as_ref();
            let found = self.guards.ledger.crossed().find(of_counter);
            found.map(|(_, crossed)| crossed.to_vec()).unwrap_or_default()
        };
        let of_zone = self.zones.all().flat_map(|(zone_id, zone)| {
            zone.state.held.holds().into_iter().map(move |hold| (zone_id, zone, hold))
        });
        let report = |(zone_id, zone, hold): (&ZoneId, &ZoneWork, Hold)| HoldReport {
            account: self.settings.account.clone(),
            zone: zone_id.clone(),
            apex: zone.facts.name.clone(),
            crossed: crossed(&hold),
            hold,
        };
        of_zone.map(report).collect()
    }

    /// The units of a hold, of some names after one, and the last of those if there are more; `None` if there is no such hold.
    pub(super) fn hold_units(
        &self,
        digest: UnitDigest,
        after: Option<&DnsName>,
        limit: usize,
        now: Timestamp,
    ) -> Option<HeldUnits> {
        let holds = self.holds();
        let HoldReport { zone, hold, .. } =
            holds.into_iter().find(|report| report.hold.digest == digest)?;
        let state = &self.zones.get(&zone)?.state;
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut names = hold.names.range::<DnsName, _>((lower, Bound::Unbounded));
        let page: Vec<&DnsName> = names.by_ref().take(limit).collect();
        let next = names.next().and_then(|_| page.last().map(|name| (*name).clone()));
        let units: BTreeSet<UnitDigest> = hold.units.into_iter().collect();
        let held = page.into_iter().flat_map(|name| state.held_units(name, now));
        Some((held.filter(|(digest, _)| units.contains(digest)).collect(), next))
    }

    /// When time alone may let something go next.
    pub(super) fn guards_change_at(&self) -> Option<Timestamp> {
        self.guards.ledger.next_change()
    }

    /// What a new zone is to know.
    pub(super) fn guarded(&self) -> Arc<Guarded> {
        Arc::clone(&self.guards.guarded)
    }
}
