//! What guards count of a zone's names, and what they hold.

use std::collections::BTreeMap;

use super::held_back::HeldBack;
use super::{ZoneState, unit_key};
use crate::core::dns::name::DnsName;
use crate::core::governance::rule::guard::{Counted, GuardId};
use crate::core::planning::change::{BatchStamp, Change, Unit};
use crate::core::planning::counting::{count_name, takes_part};
use crate::core::planning::tally::CountedName;
use crate::core::time::Timestamp;

impl ZoneState {
    /// What guards count of units of one name; `None` for nothing.
    pub(super) fn counted<'a>(
        &self,
        units: impl IntoIterator<Item = &'a Unit>,
        now: Timestamp,
    ) -> Option<CountedName> {
        let units = units.into_iter().filter(|unit| !self.is_released(unit, now));
        let units: Vec<Unit> = units.cloned().collect();
        let changes = units.iter().flat_map(|unit| &unit.changes);
        let name = &changes.clone().find(|change| change.before.is_some())?.key.name;
        let observed = self.names.get(name)?.to_observed(name);
        let there = observed.iter().filter(|(_, observed)| observed.is_there());
        let tally = count_name(there.map(|(key, observed)| (key, &observed.raw)), &units);
        let cluster = units.iter().find_map(Unit::cluster)?;
        let counted = CountedName { name: name.clone(), cluster: cluster.clone(), tally };
        (!tally.is_empty()).then_some(counted)
    }

    /// By which rules and by whose word units would go now, and what guards count of them.
    pub fn stamp(&self, units: &[Unit], now: Timestamp) -> BatchStamp {
        let mut by_name: BTreeMap<&DnsName, Vec<&Unit>> = BTreeMap::new();
        for unit in units {
            if let Some(key) = unit_key(unit) {
                by_name.entry(&key.name).or_default().push(unit);
            }
        }
        let counted = by_name.into_values().filter_map(|units| self.counted(units, now));
        let released = units.iter().filter(|unit| self.is_released(unit, now));
        BatchStamp {
            rules: self.context.governance.number(),
            counted: counted.collect(),
            released: released.map(|unit| self.digest_of(unit)).collect(),
        }
    }

    /// Whether people let a unit go.
    pub(super) fn is_released(&self, unit: &Unit, now: Timestamp) -> bool {
        let approvals = &self.guarded.approvals;
        if approvals.is_empty() {
            return false;
        }
        let frozen = |since| self.frozen_since(unit, since, now);
        approvals.allow(&self.digest_of(unit), now, frozen)
    }

    /// What holds each of the units of a name, of guards alone.
    pub(super) fn guarded<'a>(
        &self,
        units: &'a [Unit],
        now: Timestamp,
    ) -> Vec<(&'a Unit, HeldBack)> {
        let governance = &self.context.governance;
        if self.guarded.crossings.is_empty() && !governance.has_reviews() {
            return vec![];
        }
        let guards = |unit: &Unit| -> Option<Vec<GuardId>> {
            let (name, cluster) = (&unit.changes.first()?.key.name, unit.cluster()?);
            let context = &self.context;
            Some(governance.guards_at(&context.placement, &context.apex, name, cluster))
        };
        let counted = self.counted(units, now);
        let held = |unit: &Unit| -> Option<HeldBack> {
            let guards = guards(unit)?;
            let mut written = unit.changes.iter().filter(|change| change.after.is_some());
            let asks =
                |change: &Change| governance.review(&guards, &change.key.name, change.key.rtype);
            if let Some(guard) = written.find_map(asks) {
                return Some(HeldBack::Reviewed(guard));
            }
            let counted = counted.as_ref()?;
            let does = |what: Counted| counted.tally.of(what) > 0 && takes_part(unit, what);
            let (zone, crossings) = (&self.context.placement.zone, &self.guarded.crossings);
            let (counter, what) = crossings.holds(&guards, zone, &counted.cluster, does)?;
            Some(HeldBack::Guarded { counter, what })
        };
        let unreleased = units.iter().filter(|unit| !self.is_released(unit, now));
        unreleased.filter_map(|unit| Some((unit, held(unit)?))).collect()
    }
}
