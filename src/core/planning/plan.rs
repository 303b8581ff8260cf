//! Desired × observed → changes, for one name of one zone.
//!
//! A plan is complete: whatever is wanted and not planned has a reason in it. Applying the plan and planning again gives
//! nothing (it is a fixed point). What only goes together is in one [`Unit`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::change::{Cause, Change, Motive, Unit};
use super::claims::{Contribution, Desired, NameDecision, ZoneContext};
use super::policy::{DriftPolicy, ZonePolicy};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{
    RawRecordSet, RecordData, RecordKey, RecordSet, RecordType, RoutingPolicy,
};
use crate::core::endpoint::EndpointKey;
use crate::core::endpoint::verdict::Reason;
use crate::core::ids::{BatchId, ClusterId};

/// Who made a record set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ownership {
    /// The cluster that held the name when the set was written.
    pub cluster: ClusterId,
    /// The batch that wrote it.
    pub batch: BatchId,
}

/// What somebody else did to a record set of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// It says something else than we wrote.
    Changed,
    /// It is gone; the raw form kept is the last that was there.
    Missing,
}

/// A record set as observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Exactly what Route 53 answered.
    pub raw: RawRecordSet,
    /// None: foreign.
    pub owner: Option<Ownership>,
    /// What somebody else did to it since we wrote it.
    pub drift: Option<Drift>,
}

impl Observed {
    /// Whether Route 53 holds the set.
    pub fn is_there(&self) -> bool {
        self.drift != Some(Drift::Missing)
    }
}

/// What planning a name needs.
pub struct PlanInput<'a> {
    /// The zone.
    pub zone: &'a ZoneContext,
    /// What may be written there.
    pub policy: ZonePolicy,
    /// What becomes of drift.
    pub drift: DriftPolicy,
    /// The owner name.
    pub name: &'a DnsName,
    /// Who holds it and what that adds up to.
    pub decision: &'a NameDecision,
    /// The contributions that the decision's indices mean.
    pub contributions: &'a [Contribution],
    /// The observed sets of the name.
    pub observed: &'a BTreeMap<RecordKey, Observed>,
    /// Endpoints that were here and are gone, and whose they were, for the cause of a deletion.
    pub departed: &'a [(ClusterId, EndpointKey)],
    /// Whether the zone holds a set of that name and type now: an alias needs its target to be there.
    pub target_exists: &'a dyn Fn(&DnsName, RecordType) -> bool,
}

/// Something that is wanted and not planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Which set.
    pub key: RecordKey,
    /// Why, for programs.
    pub why: BlockReason,
    /// Why, for people.
    pub message: String,
    /// Indices of the contributions that wait for it.
    pub from: Vec<usize>,
}

/// Why something wanted is not planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockReason {
    /// A set that Zonefold did not make is in the way.
    Foreign,
    /// The zone's policy does not allow it.
    Policy,
    /// Somebody else changed the set and the drift policy says to leave it.
    Drifted,
    /// The alias's target, a name in the same zone, is not there yet.
    AliasTarget(DnsName),
    /// It stays, or waits with what stays: what is to replace that is blocked.
    KeptForSibling,
}

impl BlockReason {
    /// The verdict's reason, where the endpoint's verdict changes with it.
    pub fn verdict_reason(&self) -> Option<Reason> {
        match self {
            Self::Foreign => Some(Reason::ForeignRecord),
            Self::Policy => Some(Reason::ZonePolicy),
            Self::Drifted | Self::AliasTarget(_) | Self::KeptForSibling => None,
        }
    }
}

/// The plan of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamePlan {
    /// What to send.
    pub units: Vec<Unit>,
    /// What is wanted and not sent, and why.
    pub blocked: Vec<Blocked>,
    /// Foreign sets that already say what is wanted, in a zone whose drift policy adopts: they change hands without a call.
    pub adopted: Vec<RecordKey>,
}

/// Plans one name.
pub fn plan(input: &PlanInput<'_>) -> NamePlan {
    let mut planner = Planner { input, changes: BTreeMap::new(), plan: NamePlan::default() };
    planner.compare_desired();
    planner.block_conflicts();
    planner.compare_undesired();
    planner.finish()
}

/// Sets at a zone's apex that Route 53 keeps.
pub fn is_protected(apex: &DnsName, key: &RecordKey) -> bool {
    key.rtype == RecordType::Soa || (key.rtype == RecordType::Ns && key.name == *apex)
}

struct Planner<'a> {
    input: &'a PlanInput<'a>,
    changes: BTreeMap<RecordKey, Change>,
    plan: NamePlan,
}

impl Planner<'_> {
    fn compare_desired(&mut self) {
        for (key, desired) in &self.input.decision.desired {
            if let Some(target) = self.missing_target(&desired.set) {
                let message = format!(
                    "the alias target {target} is not in the zone {} yet; the alias follows when it is",
                    self.input.zone.apex
                );
                self.block(key, BlockReason::AliasTarget(target), message);
                continue;
            }
            match self.input.observed.get(key) {
                None => self.create(desired, Motive::Wanted),
                Some(observed) => self.compare(desired, observed),
            }
        }
    }

    fn compare(&mut self, desired: &Desired, observed: &Observed) {
        let key = &desired.set.key;
        let (input, alert) = (self.input, self.input.drift == DriftPolicy::Alert);
        match (&observed.owner, observed.drift) {
            (Some(_), Some(_)) if alert && !says(observed, &desired.set) => {
                let message = format!(
                    "somebody else changed or removed {key}, and the zone's drift policy is alert: put it back by hand, or set the policy to repair"
                );
                self.block(key, BlockReason::Drifted, message);
            }
            (Some(_), Some(Drift::Missing)) => self.create(desired, Motive::Repair),
            _ if says(observed, &desired.set) => {
                if observed.owner.is_none() {
                    self.adopt_as_it_is(key);
                }
            }
            (None, _) if input.drift != DriftPolicy::Adopt => self.block_foreign(key, key),
            (None, _) => self.update(desired, observed, Motive::Adopt),
            (Some(_), Some(Drift::Changed)) => self.update(desired, observed, Motive::Repair),
            (Some(owner), None) => {
                let passed =
                    input.decision.holder.as_ref().is_some_and(|holder| *holder != owner.cluster);
                self.update(
                    desired,
                    observed,
                    if passed { Motive::Passed } else { Motive::Wanted },
                );
            }
        }
    }

    fn adopt_as_it_is(&mut self, key: &RecordKey) {
        match self.input.drift {
            DriftPolicy::Adopt if self.input.policy != ZonePolicy::Observe => {
                self.plan.adopted.push(key.clone())
            }
            _ => self.block_foreign(key, key),
        }
    }

    fn create(&mut self, desired: &Desired, motive: Motive) {
        if self.input.policy.allows_create() {
            self.change(&desired.set.key, None, Some(desired.set.to_raw()), motive);
        } else {
            self.block_policy(&desired.set.key, "created");
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
            self.block_policy(&desired.set.key, "changed");
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
            (Some(desired), _) => (input.decision.holder.clone(), self.endpoints(&desired.from)),
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

    fn endpoints(&self, from: &[usize]) -> Vec<EndpointKey> {
        from.iter()
            .filter_map(|index| self.input.contributions.get(*index))
            .map(|c| c.endpoint.key.clone())
            .collect()
    }

    /// What stays at the name can be in the way of what is to come.
    fn block_conflicts(&mut self) {
        let input = self.input;
        let coming: Vec<&RecordSet> = self
            .changes
            .keys()
            .filter_map(|key| input.decision.desired.get(key))
            .map(|desired| &desired.set)
            .collect();
        let mut conflicts = vec![];
        for set in coming {
            let in_the_way = input.observed.iter().filter(|(key, observed)| {
                **key != set.key
                    && observed.is_there()
                    && !input.decision.desired.contains_key(*key)
                    && excludes(set, key, &observed.raw)
            });
            conflicts.extend(in_the_way.map(|(other, observed)| (&set.key, other, observed)));
        }
        for (key, other, observed) in &conflicts {
            self.hinder(key, other, observed);
        }
        for (key, other, observed) in conflicts {
            if self.plan.blocked.is_empty() {
                // A switch of type or policy is an update of the name: also where deletions are not allowed.
                self.change(other, Some(observed.raw.clone()), None, Motive::Withdrawn);
            } else {
                // Something of the name is blocked, so all that is there stays, and what has no place beside it waits.
                let message = format!("{other} stays until all that replaces it can be written");
                self.block(key, BlockReason::KeptForSibling, message);
            }
        }
    }

    /// Blocks what is to come when what is in its way has to stay.
    fn hinder(&mut self, key: &RecordKey, other: &RecordKey, observed: &Observed) {
        if observed.owner.is_none() {
            self.block_foreign(key, other);
        } else if self.is_retained(other) {
            let message = format!(
                "{other} is kept because the endpoint that made it is now rejected: correct or delete that endpoint"
            );
            self.block(key, BlockReason::Policy, message);
        } else if observed.drift.is_some() && self.input.drift == DriftPolicy::Alert {
            let message = format!(
                "somebody else changed {other}, which is in the way, and the zone's drift policy is alert: remove it by hand, or set the policy to repair"
            );
            self.block(key, BlockReason::Drifted, message);
        } else if !self.input.policy.allows_update() {
            self.block_policy(key, "changed");
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
                let message = format!("{key} stays until what replaces it can be written");
                self.plan.blocked.push(Blocked {
                    key: key.clone(),
                    why: BlockReason::KeptForSibling,
                    message,
                    from: vec![],
                });
            } else if observed.drift == Some(Drift::Changed)
                && self.input.drift == DriftPolicy::Alert
            {
                let message = format!(
                    "somebody else changed {key} and the drift policy is alert: it is not deleted"
                );
                self.plan.blocked.push(Blocked {
                    key: key.clone(),
                    why: BlockReason::Drifted,
                    message,
                    from: vec![],
                });
            } else if self.input.policy.allows_delete() {
                self.change(key, Some(observed.raw.clone()), None, Motive::Withdrawn);
            } else if !self.changes.contains_key(key) {
                let message = format!(
                    "nobody wants {key} any more, and the zone's policy {} keeps it",
                    self.input.policy
                );
                self.plan.blocked.push(Blocked {
                    key: key.clone(),
                    why: BlockReason::Policy,
                    message,
                    from: vec![],
                });
            }
        }
    }

    /// Whether a set is there, is ours, and nobody wants it.
    fn is_undesired(&self, key: &RecordKey, observed: &Observed) -> bool {
        observed.owner.is_some()
            && observed.is_there()
            && !self.input.decision.desired.contains_key(key)
            && !self.is_retained(key)
            && !is_protected(&self.input.zone.apex, key)
    }

    /// Whether the name still has something when all that nobody wants is gone.
    fn rest_stays(&self) -> bool {
        let counts = |key: &RecordKey| !is_protected(&self.input.zone.apex, key);
        let stays = |(key, observed): (&RecordKey, &Observed)| {
            observed.is_there() && counts(key) && !self.is_undesired(key, observed)
        };
        self.input.observed.iter().any(stays)
            || self.changes.values().any(|change| change.after.is_some())
    }

    fn is_retained(&self, key: &RecordKey) -> bool {
        self.input
            .decision
            .retained
            .iter()
            .any(|(rtype, set)| *rtype == key.rtype && *set == key.set_identifier)
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

    fn block_foreign(&mut self, key: &RecordKey, other: &RecordKey) {
        let message = format!(
            "Route 53 holds {other}, which Zonefold did not make: remove it there, or set the zone's drift policy to adopt to take it over"
        );
        self.block(key, BlockReason::Foreign, message);
    }

    fn block_policy(&mut self, key: &RecordKey, what: &str) {
        let message = format!(
            "{key} would be {what}, and the policy of the zone {} is {}",
            self.input.zone.apex, self.input.policy
        );
        self.block(key, BlockReason::Policy, message);
    }

    fn block(&mut self, key: &RecordKey, why: BlockReason, message: String) {
        if self.plan.blocked.iter().any(|blocked| blocked.key == *key) {
            return;
        }
        let from = self
            .input
            .decision
            .desired
            .get(key)
            .map(|desired| desired.from.clone())
            .unwrap_or_default();
        self.plan.blocked.push(Blocked { key: key.clone(), why, message, from });
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

/// Whether a set cannot stand beside another of the same name (RFC 1034 §3.6.2; Route 53: one policy a name and type).
fn excludes(set: &RecordSet, other: &RecordKey, other_raw: &RawRecordSet) -> bool {
    let cname = |rtype: RecordType| rtype == RecordType::Cname;
    if cname(set.key.rtype) != cname(other.rtype) {
        return true;
    }
    set.key.rtype == other.rtype
        && other_raw.canonical().map_or(true, |o| o.policy.kind() != set.policy.kind())
}

/// Whether who asks for one type may find what they need in a set of another in its place: an address for another, and a CNAME,
/// which answers for every type, for anything.
fn replaces(wanted: RecordType, held: RecordType) -> bool {
    let answers_for_all = |rtype: RecordType| rtype == RecordType::Cname;
    let is_address = |rtype: RecordType| matches!(rtype, RecordType::A | RecordType::Aaaa);
    wanted == held
        || answers_for_all(wanted)
        || answers_for_all(held)
        || (is_address(wanted) && is_address(held))
}

/// What only goes together: everything at a name where a CNAME comes or goes, everything at a name of which nothing stays and
/// that is to have something else, and a type whose policy or weighted time to live changes. Everything else stands alone, so
/// that one refusal delays nothing else.
fn group(changes: Vec<Change>, anything_stays: bool) -> Vec<Unit> {
    if changes.is_empty() {
        return vec![];
    }
    // Alone, the deletion could go out in a call and what takes its place be refused or wait: the name would not resolve.
    let is_replaced_whole = !anything_stays
        && changes.iter().any(|change| change.before.is_some())
        && changes.iter().any(|c| c.after.is_some());
    if is_replaced_whole || changes.iter().any(|change| change.key.rtype == RecordType::Cname) {
        return vec![Unit { changes }];
    }
    let mut by_type: BTreeMap<RecordType, Vec<Change>> = BTreeMap::new();
    for change in changes {
        by_type.entry(change.key.rtype).or_default().push(change);
    }
    let mut units = Vec::new();
    for changes in by_type.into_values() {
        // Alone it is a unit of its own whatever it is.
        if changes.len() == 1 || switches(&changes) {
            units.push(Unit { changes });
        } else {
            units.extend(changes.into_iter().map(|change| Unit { changes: vec![change] }));
        }
    }
    units
}

fn switches(changes: &[Change]) -> bool {
    let mut shapes = BTreeSet::new();
    for raw in changes.iter().flat_map(|change| [&change.before, &change.after]).flatten() {
        match raw.canonical() {
            Ok(set) => {
                let weighted_ttl = if matches!(set.policy, RoutingPolicy::Weighted(_)) {
                    set.ttl_secs()
                } else {
                    None
                };
                shapes.insert((set.policy.kind(), weighted_ttl));
            }
            Err(_) => return true,
        }
    }
    shapes.len() > 1
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
