//! The names of a zone of which guards hold something, as they were looked at last.

use std::collections::{BTreeMap, BTreeSet};

use super::ZoneState;
use super::held_back::HeldBack;
use crate::core::dns::name::DnsName;
use crate::core::governance::rule::guard::{Counted, GuardId};
use crate::core::ids::ZoneId;
use crate::core::planning::change::Unit;
use crate::core::planning::unit_digest::UnitDigest;
use crate::core::release::hold::digest_of_units;
use crate::core::release::ledger::GuardScope;
use crate::core::time::Timestamp;

/// Why the units of a hold are held: each has its own hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HoldReason {
    /// By which guard.
    pub guard: GuardId,
    /// Where its line is crossed; `None` if it asks for a word for each change of its kind.
    pub scope: Option<GuardScope>,
}

/// A unit that is held.
#[derive(Clone, Debug)]
struct HeldUnit {
    digest: UnitDigest,
    reason: HoldReason,
    what: Option<Counted>,
    since: Timestamp,
}

/// A hold: what one guard keeps back for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What it is known by: other units are another hold.
    pub digest: UnitDigest,
    /// By which guard, and where its line is crossed.
    pub reason: HoldReason,
    /// What there is too much of.
    pub what: BTreeSet<Counted>,
    /// The units.
    pub units: Vec<UnitDigest>,
    /// The names.
    pub names: BTreeSet<DnsName>,
    /// Since when the oldest of them is held.
    pub since: Timestamp,
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct HeldNames(BTreeMap<DnsName, Vec<HeldUnit>>);

impl HeldNames {
    /// A name was looked at, and these of its units are held back.
    pub(super) fn looked_at(
        &mut self,
        zone: &ZoneId,
        name: &DnsName,
        held_back: &[(&Unit, HeldBack)],
        now: Timestamp,
    ) {
        let before = self.0.remove(name).unwrap_or_default();
        let held = |(unit, why): &(&Unit, HeldBack)| {
            let (guard, scope, what) = match why {
                HeldBack::Guarded { counter, what } => {
                    (counter.guard.clone(), Some(counter.scope.clone()), Some(*what))
                }
                HeldBack::Reviewed(guard) => (guard.clone(), None, None),
                HeldBack::Refused(_) | HeldBack::Frozen(_) => return None,
            };
            let digest = unit.digest(zone);
            let since = before.iter().find(|old| old.digest == digest).map_or(now, |old| old.since);
            Some(HeldUnit { digest, reason: HoldReason { guard, scope }, what, since })
        };
        let held: Vec<HeldUnit> = held_back.iter().filter_map(held).collect();
        if !held.is_empty() {
            self.0.insert(name.clone(), held);
        }
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All holds.
    pub fn holds(&self) -> Vec<Hold> {
        let mut by_reason: BTreeMap<&HoldReason, Vec<(&DnsName, &HeldUnit)>> = BTreeMap::new();
        for (name, units) in &self.0 {
            for unit in units {
                by_reason.entry(&unit.reason).or_default().push((name, unit));
            }
        }
        let hold = |(reason, held): (&HoldReason, Vec<(&DnsName, &HeldUnit)>)| {
            let units: Vec<UnitDigest> = held.iter().map(|(_, unit)| unit.digest).collect();
            Hold {
                digest: digest_of_units(&units),
                reason: reason.clone(),
                what: held.iter().filter_map(|(_, unit)| unit.what).collect(),
                units,
                names: held.iter().map(|(name, _)| (*name).clone()).collect(),
                since: held.iter().map(|(_, unit)| unit.since).min().unwrap_or_default(),
            }
        };
        by_reason.into_iter().map(hold).collect()
    }
}

impl ZoneState {
    /// What one of the zone's units is known by.
    pub(super) fn digest_of(&self, unit: &Unit) -> UnitDigest {
        unit.digest(&self.context.placement.zone)
    }

    /// The held units of a name as they are now, each with its digest.
    pub fn held_units(&self, name: &DnsName, now: Timestamp) -> Vec<(UnitDigest, Unit)> {
        let Some((_, plan, _)) = self.decide(name) else { return vec![] };
        let (_, held_back) = self.sift(&plan.units, now);
        let held = held_back
            .into_iter()
            .filter(|(_, why)| matches!(why, HeldBack::Guarded { .. } | HeldBack::Reviewed(_)));
        held.map(|(unit, _)| (self.digest_of(unit), unit.clone())).collect()
    }
}
