//! Desired × observed → changes, for one name of one zone.
//!
//! A plan is complete: each wanted change that is not planned has a reason in it. Applying the plan and planning again gives
//! nothing (it is a fixed point). What only goes together is in one [`Unit`].

use std::collections::{BTreeMap, BTreeSet};

use super::block::PolicyStep;
pub use super::block::{AliasPart, BlockReason, Blocked, DriftBlock, PolicyBlock, SiblingBlock};
use super::change::{Cause, Change, Motive, Unit};
use super::decision::{Contribution, Desired, NameDecision, Retention, ZoneContext};
pub use super::observed::{Drift, Observed, Ownership};
use super::policy::{AdoptPolicy, DriftPolicy, ZonePolicy};
use super::units::{group, place_of};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{
    RawRecordSet, RecordData, RecordKey, RecordSet, RecordType, RoutingPolicy,
};
use crate::core::endpoint::EndpointKey;
use crate::core::endpoint::parsed::MAX_VALUES;
use crate::core::ids::ClusterId;

/// The input of the plan of a name.
pub struct PlanInput<'a> {
    pub zone: &'a ZoneContext,
    /// The writes that the zone allows.
    pub policy: ZonePolicy,
    /// How drift is handled.
    pub drift: DriftPolicy,
    /// Which sets of others are taken over.
    pub adopt: AdoptPolicy,
    /// The owner name.
    pub name: &'a DnsName,
    /// The owner and the desired record sets.
    pub decision: &'a NameDecision,
    /// The contributions that the decision's indices refer to.
    pub contributions: &'a [Contribution],
    /// The observed sets of the name.
    pub observed: &'a BTreeMap<RecordKey, Observed>,
    /// Endpoints that are gone from here and their clusters, for the cause of a deletion.
    pub departed: &'a [(ClusterId, EndpointKey)],
    /// Whether the zone holds a set of that name and type now: an alias needs its target to be there.
    pub target_exists: &'a dyn Fn(&DnsName, RecordType) -> bool,
}

/// The plan of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamePlan {
    /// The changes to send.
    pub units: Vec<Unit>,
    /// The changes that are not sent, and why.
    pub blocked: Vec<Blocked>,
    /// Halves of aliases whose target is not there. Their endpoints are in sync without them, and they keep nothing else back.
    pub left_out: Vec<Blocked>,
    /// Foreign sets that already match, in a zone that adopts: they change hands without a call.
    pub adopted: Vec<RecordKey>,
}

/// Plans one name.
pub fn plan(input: &PlanInput<'_>) -> NamePlan {
    let mut planner = Planner {
        input,
        changes: BTreeMap::new(),
        blocked: BTreeSet::new(),
        plan: NamePlan::default(),
    };
    planner.compare_desired();
    planner.block_conflicts();
    planner.compare_undesired();
    planner.wait_for_places();
    planner.finish()
}

/// Sets at a zone's apex that Route 53 keeps.
pub fn is_protected(apex: &DnsName, key: &RecordKey) -> bool {
    key.rtype == RecordType::Soa || (key.rtype == RecordType::Ns && key.name == *apex)
}

struct Planner<'a> {
    input: &'a PlanInput<'a>,
    changes: BTreeMap<RecordKey, Change>,
    /// The keys that are blocked as wanted sets.
    blocked: BTreeSet<RecordKey>,
    plan: NamePlan,
}

impl Planner<'_> {
    fn compare_desired(&mut self) {
        for (key, desired) in &self.input.decision.desired {
            // A set that already matches needs nothing of its target.
            let stands = self.input.observed.get(key).is_some_and(|observed| {
                observed.owner.is_some() && observed.drift.is_none() && says(observed, &desired.set)
            });
            if let Some(target) = self.missing_target(&desired.set).filter(|_| !stands) {
                self.wait_for_target(desired, target);
                continue;
            }
            match self.input.observed.get(key) {
                None => self.create(desired, Motive::Wanted),
                Some(observed) => self.compare(desired, observed),
            }
        }
    }

    fn compare(&mut self, wanted: &Desired, observed: &Observed) {
        let kept = self.with_kept_values(wanted, observed);
        let desired = kept.as_ref().unwrap_or(wanted);
        let key = &desired.set.key;
        let (input, alert) = (self.input, self.input.drift == DriftPolicy::Alert);
        match (&observed.owner, observed.drift) {
            (Some(_), Some(_)) if alert && !says(observed, &desired.set) => {
                self.block(key, BlockReason::Drifted(DriftBlock::Itself));
            }
            (Some(_), Some(Drift::Missing)) => self.create(desired, Motive::Repair),
            _ if says(observed, &desired.set) => {
                if observed.owner.is_none() {
                    self.adopt_as_it_is(key);
                }
            }
            (None, _) if input.adopt != AdoptPolicy::Any => self.block_foreign(key, key),
            (None, _) => self.update(desired, observed, Motive::Adopt),
            (Some(_), Some(Drift::Changed)) => self.update(desired, observed, Motive::Repair),
            (Some(owner), None) => {
                let passed =
                    self.cluster_of(desired).is_some_and(|cluster| *cluster != owner.cluster);
                self.update(
                    desired,
                    observed,
                    if passed { Motive::Passed } else { Motive::Wanted },
                );
            }
        }
    }

    fn adopt_as_it_is(&mut self, key: &RecordKey) {
        match self.input.adopt {
            AdoptPolicy::Never => self.block_foreign(key, key),
            _ if self.input.policy == ZonePolicy::Observe => {
                self.block_policy(key, PolicyStep::Adopt)
            }
            AdoptPolicy::Identical | AdoptPolicy::Any => self.plan.adopted.push(key.clone()),
        }
    }

    /// A rejected endpoint of the owner may have given some of the observed values: they stay with the wanted ones, as far as a
    /// set has room, until the endpoint is corrected or deleted.
    fn with_kept_values(&self, desired: &Desired, observed: &Observed) -> Option<Desired> {
        let key = &desired.set.key;
        let is_reported =
            observed.drift == Some(Drift::Changed) && self.input.drift == DriftPolicy::Alert;
        let is_sum = key.set_identifier.is_none() && key.rtype != RecordType::Cname;
        if is_reported || !is_sum || self.retention_of(key, observed) != Some(Retention::Firm) {
            return None;
        }
        let mut kept = desired.clone();
        if let RecordData::Values { values, .. } = &mut kept.set.data {
            let room = MAX_VALUES.saturating_sub(values.len());
            let given = observed.own_values().into_iter();
            let others: Vec<_> =
                given.filter(|value| values.binary_search(value).is_err()).take(room).collect();
            values.extend(others);
            values.sort();
        }
        Some(kept)
    }

    /// The alias waits for its target. The half of one whose other half has its target is left out meanwhile.
    fn wait_for_target(&mut self, desired: &Desired, target: DnsName) {
        let key = &desired.set.key;
        let apex = &self.input.zone.apex;
        let is_other_half = |other: &&Desired| {
            other.set.key != *key
                && other.set.key.set_identifier == key.set_identifier
                && other.set.data == desired.set.data
                && other.from == desired.from
        };
        // A half that already matches stays even if its target has gone.
        let has = |other: &Desired| {
            let stands = |observed: &Observed| observed.is_there() && says(observed, &other.set);
            (self.input.target_exists)(&target, other.set.key.rtype)
                || self.input.observed.get(&other.set.key).is_some_and(stands)
        };
        let has_half = self.input.decision.desired.values().filter(is_other_half).any(has);
        let zone = apex.clone();
        if has_half {
            let why = BlockReason::AliasTarget { target, zone, waits: AliasPart::Half };
            let from = desired.from.clone();
            self.plan.left_out.push(Blocked { key: key.clone(), why, from });
        } else {
            let waits = AliasPart::All;
            self.block(key, BlockReason::AliasTarget { target, zone, waits });
        }
    }

    fn create(&mut self, desired: &Desired, motive: Motive) {
        if self.input.policy.allows_create() {
            self.change(&desired.set.key, None, Some(desired.set.to_raw()), motive);
        } else {
            self.block_policy(&desired.set.key, PolicyStep::Create);
        }
    }

    fn update(&mut self, desired: &Desired, observed: &Observed, motive: Motive) {
        if self.input.policy.allows_update() {
            self.change(
                &desired.set.key,
                Some(observed.raw.clone()),
                Some(desired.set.to_raw()),
                motive,
            );
        } else {
            self.block_policy(&desired.set.key, PolicyStep::Update);
        }
    }

    fn change(
        &mut self,
        key: &RecordKey,
        before: Option<RawRecordSet>,
        after: Option<RawRecordSet>,
        motive: Motive,
    ) {
        let input = self.input;
        let (cluster, endpoints) = match (input.decision.desired.get(key), input.observed.get(key))
        {
            (Some(desired), _) => {
                (self.cluster_of(desired).cloned(), self.endpoints(&desired.from))
            }
            (None, Some(observed)) => {
                let owner = observed.owner.as_ref().map(|owner| owner.cluster.clone());
                // Another cluster's endpoint that waited here had no part in the set.
                let own =
                    input.departed.iter().filter(|(cluster, _)| Some(cluster) == owner.as_ref());
                (owner.clone(), own.map(|(_, endpoint)| endpoint.clone()).collect())
            }
            (None, None) => (None, vec![]),
        };
        // Every change has a holder or an owner; one without is not planned.
        let Some(cluster) = cluster else { return };
        let cause = Cause { motive, cluster, endpoints };
        self.changes.insert(key.clone(), Change { key: key.clone(), before, after, cause });
    }

    /// The cluster that a wanted set is for: of those that share it, the one that came first.
    fn cluster_of(&self, desired: &Desired) -> Option<&ClusterId> {
        let first = self.input.contributions.get(*desired.from.first()?)?;
        Some(&first.cluster)
    }

    fn endpoints(&self, from: &[usize]) -> Vec<EndpointKey> {
        from.iter()
            .filter_map(|index| self.input.contributions.get(*index))
            .map(|c| c.endpoint.key.clone())
            .collect()
    }

    /// Record sets that stay at the name can be in the way of new ones.
    fn block_conflicts(&mut self) {
        let input = self.input;
        let coming: Vec<&RecordSet> = self
            .changes
            .keys()
            .filter_map(|key| input.decision.desired.get(key))
            .map(|desired| &desired.set)
            .collect();
        let unwanted: Vec<(&RecordKey, &Observed)> = input
            .observed
            .iter()
            .filter(|(key, observed)| {
                observed.is_there() && !input.decision.desired.contains_key(*key)
            })
            .collect();
        let mut conflicts = vec![];
        for set in coming {
            let in_the_way = unwanted.iter().filter(|(key, observed)| {
                excludes(set, key, &observed.raw) || self.keeps_another_ttl(set, key, observed)
            });
            conflicts.extend(in_the_way.map(|(other, observed)| (&set.key, *other, *observed)));
        }
        for (key, other, observed) in &conflicts {
            self.hinder(key, other, observed);
        }
        for (key, other, observed) in conflicts {
            if self.plan.blocked.is_empty() {
                // A switch of type or policy is an update of the name: also where deletions are not allowed.
                self.change(other, Some(observed.raw.clone()), None, Motive::Withdrawn);
            } else {
                // Something of the name is blocked, so all that is there stays, and sets that cannot coexist with it wait.
                let why = SiblingBlock::WaitsFor(other.clone());
                self.block(key, BlockReason::KeptForSibling(why));
            }
        }
    }

    /// Whether a set that only waits for another endpoint stands beside a weighted one with another TTL.
    fn keeps_another_ttl(&self, set: &RecordSet, other: &RecordKey, observed: &Observed) -> bool {
        set.key.rtype == other.rtype
            && matches!(set.policy, RoutingPolicy::Weighted(_))
            && observed.raw.weight.is_some()
            && observed.raw.ttl_secs != set.ttl_secs().map(i64::from)
            && self.retention_of(other, observed) == Some(Retention::Loose)
    }

    /// Blocks a new set if the set in its way has to stay.
    fn hinder(&mut self, key: &RecordKey, other: &RecordKey, observed: &Observed) {
        if observed.owner.is_none() {
            self.block_foreign(key, other);
        } else if self.retention_of(other, observed) == Some(Retention::Firm) {
            self.block(key, BlockReason::Policy(PolicyBlock::Retained(other.clone())));
        } else if observed.drift.is_some() && self.input.drift == DriftPolicy::Alert {
            self.block(key, BlockReason::Drifted(DriftBlock::InTheWay(other.clone())));
        } else if !self.input.policy.allows_update() {
            self.block_policy(key, PolicyStep::Update);
        }
    }

    fn compare_undesired(&mut self) {
        let blocked: BTreeSet<RecordType> =
            self.plan.blocked.iter().map(|blocked| blocked.key.rtype).collect();
        let rest_stays = self.rest_stays();
        for (key, observed) in self.input.observed {
            if !self.is_undesired(key, observed) {
                continue;
            }
            if blocked.iter().any(|rtype| !rest_stays || replaces(*rtype, key.rtype)) {
                // The replacement is blocked: taking away what is there would take the name off the air.
                self.changes.remove(key);
                let why = BlockReason::KeptForSibling(SiblingBlock::StaysForReplacement);
                self.keep(key, why);
            } else if observed.drift == Some(Drift::Changed)
                && self.input.drift == DriftPolicy::Alert
            {
                self.keep(key, BlockReason::Drifted(DriftBlock::Unwanted));
            } else if self.input.policy.allows_delete()
                // It leads where the name no longer leads: its removal is part of the update.
                || (self.is_left_out(key) && self.input.policy.allows_update())
            {
                self.change(key, Some(observed.raw.clone()), None, Motive::Withdrawn);
            } else if !self.changes.contains_key(key) {
                self.keep(key, BlockReason::Policy(PolicyBlock::Deletion(self.input.policy)));
            }
        }
    }

    /// Leaves a set that no endpoint asks for where it is.
    fn keep(&mut self, key: &RecordKey, why: BlockReason) {
        self.plan.blocked.push(Blocked { key: key.clone(), why, from: vec![] });
    }

    /// Whether a set is there, is ours, and no endpoint asks for it: also half of an alias that is left out now.
    fn is_undesired(&self, key: &RecordKey, observed: &Observed) -> bool {
        observed.owner.is_some()
            && observed.is_there()
            && (!self.input.decision.desired.contains_key(key) || self.is_left_out(key))
            && self.retention_of(key, observed).is_none()
            && !is_protected(&self.input.zone.apex, key)
    }

    /// Whether it is the half of an alias that is left out now.
    fn is_left_out(&self, key: &RecordKey) -> bool {
        self.plan.left_out.iter().any(|left_out| left_out.key == *key)
    }

    /// Whether the name still has something once all that no endpoint asks for is gone.
    fn rest_stays(&self) -> bool {
        let counts = |key: &RecordKey| !is_protected(&self.input.zone.apex, key);
        let stays = |(key, observed): (&RecordKey, &Observed)| {
            observed.is_there() && counts(key) && !self.is_undesired(key, observed)
        };
        self.input.observed.iter().any(stays)
            || self.changes.values().any(|change| change.after.is_some())
    }

    /// How firmly an observed set is kept for an endpoint that is not accepted now and may have made it.
    fn retention_of(&self, key: &RecordKey, observed: &Observed) -> Option<Retention> {
        let at = (key.rtype, key.set_identifier.clone());
        self.input.decision.retained.get(&at)?.of(&observed.raw)
    }

    fn missing_target(&self, set: &RecordSet) -> Option<DnsName> {
        match &set.data {
            RecordData::Alias(target)
                if target.zone_id == *self.input.zone.zone()
                    && !(self.input.target_exists)(&target.name, set.key.rtype) =>
            {
                Some(target.name.clone())
            }
            _ => None,
        }
    }

    /// `other` is the foreign set: the set itself, or one that it cannot coexist with.
    fn block_foreign(&mut self, key: &RecordKey, other: &RecordKey) {
        let why = BlockReason::Foreign { other: other.clone(), adopt: self.input.adopt };
        self.block(key, why);
    }

    fn block_policy(&mut self, key: &RecordKey, step: PolicyStep) {
        let (zone, policy) = (self.input.zone.apex.clone(), self.input.policy);
        self.block(key, BlockReason::Policy(PolicyBlock::Step { step, zone, policy }));
    }

    fn block(&mut self, key: &RecordKey, why: BlockReason) {
        if !self.blocked.insert(key.clone()) {
            return;
        }
        let from = self
            .input
            .decision
            .desired
            .get(key)
            .map(|desired| desired.from.clone())
            .unwrap_or_default();
        self.plan.blocked.push(Blocked { key: key.clone(), why, from });
    }

    /// A place of a routing policy is free only once the set that has it gives it up, so its successor waits for a set that
    /// cannot be changed now. So does a weighted set with another TTL than one that stays.
    fn wait_for_places(&mut self) {
        loop {
            let blocked = &self.blocked;
            let moves = |key: &RecordKey| !blocked.contains(key) && self.changes.contains_key(key);
            let mut held: BTreeMap<_, &RecordKey> = BTreeMap::new();
            for (key, observed) in self.input.observed.iter().filter(|(_, o)| o.is_there()) {
                if !moves(key)
                    && let Some(place) = place_of(&observed.raw)
                {
                    held.insert(place, key);
                }
            }
            let waits = self.changes.iter().find_map(|(key, change)| {
                let place = place_of(change.after.as_ref()?)?;
                let holder = held.get(&place).filter(|holder| **holder != key)?;
                (!blocked.contains(key)).then(|| (key.clone(), (*holder).clone()))
            });
            if let Some((key, holder)) = waits {
                self.block(&key, BlockReason::KeptForSibling(SiblingBlock::PlaceOf(holder)));
            } else if let Some((key, holder)) = self.waits_for_ttl() {
                self.block(&key, BlockReason::KeptForSibling(SiblingBlock::TtlOf(holder)));
            } else {
                return;
            }
        }
    }

    /// A weighted set whose TTL differs from one that stays, and that one.
    fn waits_for_ttl(&self) -> Option<(RecordKey, RecordKey)> {
        let ttl = |raw: &RawRecordSet| raw.weight.and(raw.ttl_secs);
        let is_free = |key: &RecordKey| !self.blocked.contains(key);
        let changes = || self.changes.iter().filter(|(key, _)| is_free(key));
        let moves = |key: &RecordKey| changes().any(|(other, _)| other == key);
        let there = self.input.observed.iter().filter(|(_, observed)| observed.is_there());
        let stays = there.filter(|(key, observed)| ttl(&observed.raw).is_some() && !moves(key));
        stays.into_iter().find_map(|(stays, observed)| {
            let is_beside = |key: &RecordKey, change: &Change| {
                let after = change.after.as_ref().and_then(ttl);
                key.rtype == stays.rtype && after.is_some() && after != ttl(&observed.raw)
            };
            let (key, _) = changes().find(|(key, change)| is_beside(key, change))?;
            Some((key.clone(), stays.clone()))
        })
    }

    fn finish(mut self) -> NamePlan {
        let blocked: BTreeSet<&RecordKey> =
            self.plan.blocked.iter().map(|blocked| &blocked.key).collect();
        self.changes.retain(|key, change| !blocked.contains(key) && change.before != change.after);
        let is_deleted =
            |key: &RecordKey| self.changes.get(key).is_some_and(|change| change.after.is_none());
        let counts = |key: &RecordKey| !is_protected(&self.input.zone.apex, key);
        let anything_stays = self
            .input
            .observed
            .iter()
            .any(|(key, observed)| observed.is_there() && counts(key) && !is_deleted(key));
        self.plan.units = group(self.changes.into_values().collect(), anything_stays);
        self.plan
    }
}

/// Whether what is there says what is wanted. What Zonefold wrote stands there as it would write it again, and that needs no
/// reading.
fn says(observed: &Observed, wanted: &RecordSet) -> bool {
    observed.is_there()
        && (observed.raw == wanted.to_raw()
            || observed.raw.canonical().is_ok_and(|canonical| canonical == *wanted))
}

/// Whether a set cannot stand beside another of the same name (RFC 1034 §3.6.2; Route 53: one policy a name and
/// type, one set a place of it).
fn excludes(set: &RecordSet, other: &RecordKey, other_raw: &RawRecordSet) -> bool {
    let cname = |rtype: RecordType| rtype == RecordType::Cname;
    if cname(set.key.rtype) != cname(other.rtype) {
        return true;
    }
    set.key.rtype == other.rtype
        && other_raw.canonical().map_or(true, |o| {
            o.policy.kind() != set.policy.kind()
                || (set.policy.place().is_some() && o.policy.place() == set.policy.place())
        })
}

/// Whether a set of one type may serve clients that ask for the other: an address for another address, and a CNAME,
/// which answers for every type, for anything.
fn replaces(wanted: RecordType, held: RecordType) -> bool {
    let answers_for_all = |rtype: RecordType| rtype == RecordType::Cname;
    let is_address = |rtype: RecordType| matches!(rtype, RecordType::A | RecordType::Aaaa);
    wanted == held
        || answers_for_all(wanted)
        || answers_for_all(held)
        || (is_address(wanted) && is_address(held))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
