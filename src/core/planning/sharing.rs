//! What several clusters publish together at one name.
//!
//! Each member of the group is first decided as if it had the name alone. Then its record sets become its share: values of one set
//! (`merge`), or a set of its own with the member's name for its set identifier. The member that came first has the say where two do
//! not go together; the present holder of the name comes before all others, so that a name keeps its type when others join.

use std::collections::BTreeMap;

use super::decision::{Desired, NameDecision, NameInput, Retention};
use super::merge::Merge;
use super::sides;
use crate::core::dns::record::{
    FailoverRole, RecordData, RecordKey, RecordSet, RecordType, RoutingPolicy,
};
use crate::core::endpoint::parsed::MAX_VALUES;
use crate::core::endpoint::verdict::{Reason, Verdict, VerdictState};
use crate::core::governance::rule::sharing::{
    FailoverMode, FailoverPair, LastValue, Sharing, SharingPolicy,
};
use crate::core::ids::ClusterId;

/// The label of a cluster that names its AWS region.
const REGION: &str = "region";

/// Decides a name that clusters share; `valid` are the endpoints that may be published, the oldest first.
pub(super) fn decide(
    input: &NameInput<'_>,
    sharing: &Sharing,
    valid: &[usize],
    mut decision: NameDecision,
) -> NameDecision {
    let members = members(input, valid);
    decision.holder = members.first().cloned().or_else(|| input.claimed_by.cloned());
    let mut group =
        Group { input, sharing, decision, kind_of_first: None, places: BTreeMap::new() };
    for member in &members {
        group.join(member, valid);
    }
    group.keep_what_barred_endpoints_made();
    group.align_ttls();
    group.never_empty();
    group.decision
}

/// The clusters with a valid endpoint: the holder, and then by who came first.
fn members(input: &NameInput<'_>, valid: &[usize]) -> Vec<ClusterId> {
    let mut members: Vec<ClusterId> = vec![];
    let holder = input.claimed_by.cloned();
    let clusters = valid.iter().map(|index| &input.contributions[*index].cluster);
    for cluster in holder.iter().chain(clusters.clone()) {
        let is_valid = clusters.clone().any(|other| other == cluster);
        if is_valid && !members.contains(cluster) {
            members.push(cluster.clone());
        }
    }
    members
}

struct Group<'a> {
    input: &'a NameInput<'a>,
    sharing: &'a Sharing,
    decision: NameDecision,
    /// Whether the first member's set is a CNAME: nothing else can stand with one.
    kind_of_first: Option<bool>,
    /// The set that has each place of a routing policy.
    places: BTreeMap<(RecordType, RoutingPolicy), usize>,
}

impl Group<'_> {
    fn join(&mut self, member: &ClusterId, valid: &[usize]) {
        let input = NameInput { claimed_by: Some(member), ..*self.input };
        let is_its = |index: &&usize| self.input.contributions[**index].cluster == *member;
        let mine: Vec<usize> = valid.iter().filter(is_its).copied().collect();
        let mut own = NameDecision::default();
        let counting = sides::counting(&input, &mut own, mine);
        Merge::new(&input, &mut own).run(&counting);
        let mut lost: BTreeMap<usize, Verdict> = BTreeMap::new();
        for desired in own.desired.into_values() {
            let from = desired.from.clone();
            if let Err(verdict) = self.add(member, desired) {
                lost.extend(from.into_iter().map(|index| (index, verdict.clone())));
            }
        }
        for (index, verdict) in own.verdicts {
            self.decision.verdicts.push((index, lost.remove(&index).unwrap_or(verdict)));
        }
        for ((rtype, identifier), kept) in own.retained {
            let at = (rtype, self.identifier(member, identifier));
            let there = self.decision.retained.entry(at).or_default();
            there.values = there.values.max(kept.values);
            there.alias = there.alias.max(kept.alias);
        }
        self.decision.looped_with.extend(own.looped_with);
        self.decision.loop_ends.extend(own.loop_ends);
    }

    /// The set identifier of a member's set: its own if it has one, else the name of the cluster.
    fn identifier(
        &self,
        member: &ClusterId,
        own: Option<arcstr::ArcStr>,
    ) -> Option<arcstr::ArcStr> {
        let is_one_set = matches!(
            (self.sharing.policy, &self.sharing.failover),
            (SharingPolicy::Merge | SharingPolicy::Exclusive, _)
                | (SharingPolicy::Failover, Some(FailoverPair { mode: FailoverMode::Manual, .. }))
        );
        if is_one_set { own } else { own.or_else(|| Some(member.as_str().into())) }
    }

    fn add(&mut self, member: &ClusterId, desired: Desired) -> Result<(), Verdict> {
        let Desired { mut set, from } = desired;
        let is_cname = set.key.rtype == RecordType::Cname;
        if *self.kind_of_first.get_or_insert(is_cname) != is_cname {
            return Err(self.waits(
                "a CNAME cannot coexist with other record sets at its name (RFC 1034 §3.6.2), and another cluster came first",
            ));
        }
        self.share(member, &mut set)?;
        let key = set.key.clone();
        if let Some(place) = set.policy.place() {
            let at = (key.rtype, place.clone());
            let first = from.first().copied().unwrap_or_default();
            let has = *self.places.entry(at).or_insert(first);
            if has != first {
                let other = &self.input.contributions[has].cluster;
                return Err(self.waits(&format!(
                    "the cluster {other} has that place of the routing policy (one record set a region or fail-over role)"
                )));
            }
        }
        match self.decision.desired.get_mut(&key) {
            None => drop(self.decision.desired.insert(key, Desired { set, from })),
            Some(there) => match join_values(&mut there.set, &set) {
                Ok(()) => there.from.extend(from),
                Err(why) => return Err(self.waits(why)),
            },
        }
        Ok(())
    }

    /// Makes a member's set its share of the name.
    fn share(&self, member: &ClusterId, set: &mut RecordSet) -> Result<(), Verdict> {
        let shared = match self.sharing.policy {
            SharingPolicy::Exclusive | SharingPolicy::Merge => RoutingPolicy::Simple,
            SharingPolicy::Multivalue => RoutingPolicy::Multivalue,
            SharingPolicy::Weighted => RoutingPolicy::Weighted(self.sharing.weight(member)),
            SharingPolicy::Latency => RoutingPolicy::Latency(self.region(member)?),
            SharingPolicy::Failover => match &self.sharing.failover {
                Some(pair) => self.failover(pair, member, set)?,
                None => RoutingPolicy::Simple,
            },
        };
        let is_own = set.policy != RoutingPolicy::Simple;
        if is_own && set.policy.kind() != shared.kind() {
            return Err(self.waits(&format!(
                "the name is shared by the policy {}, and the endpoint asks for another one",
                self.sharing.policy.as_str()
            )));
        }
        // A multivalue answer is no alias and no CNAME (Route 53 developer guide, "Values specific for multivalue answer records").
        if shared == RoutingPolicy::Multivalue
            && (set.is_alias() || set.key.rtype == RecordType::Cname)
        {
            return Err(self.waits("an alias or a CNAME cannot be shared by the policy multivalue"));
        }
        set.policy = shared;
        set.key.set_identifier = self.identifier(member, set.key.set_identifier.take());
        Ok(())
    }

    fn region(&self, member: &ClusterId) -> Result<arcstr::ArcStr, Verdict> {
        let cluster = self.input.zone.governance.cluster(member);
        let region = cluster.and_then(|facts| facts.labels.get(REGION));
        region.map(|region| region.as_str().into()).ok_or_else(|| {
            self.waits(&format!(
                "the name is shared by latency, and the cluster {member} has no label {REGION}: add it to the broker's configuration"
            ))
        })
    }

    fn failover(
        &self,
        pair: &FailoverPair,
        member: &ClusterId,
        set: &mut RecordSet,
    ) -> Result<RoutingPolicy, Verdict> {
        let role = match member {
            member if *member == pair.primary => FailoverRole::Primary,
            member if *member == pair.secondary => FailoverRole::Secondary,
            _ => {
                return Err(self.waits(&format!(
                    "the name fails over from {} to {}, and {member} is neither",
                    pair.primary, pair.secondary
                )));
            }
        };
        if pair.mode == FailoverMode::Manual {
            return match member == pair.active() {
                true => Ok(RoutingPolicy::Simple),
                false => Err(self.waits(&format!(
                    "{} answers for the name until somebody switches to {member}",
                    pair.active()
                ))),
            };
        }
        if role == FailoverRole::Primary {
            match &mut set.data {
                RecordData::Alias(target) => target.evaluate_target_health = true,
                RecordData::Values { .. } => {
                    set.health_check_id = pair.health_check.as_deref().map(Into::into);
                }
            }
        }
        Ok(RoutingPolicy::Failover(role))
    }

    fn waits(&self, why: &str) -> Verdict {
        let name = self.input.name;
        Verdict::waiting(
            Reason::NameHeld,
            format!("{name} is shared: {why}"),
            Some(self.input.zone.placement.clone()),
        )
    }

    /// An endpoint that may not be published now keeps its cluster's share as it is.
    fn keep_what_barred_endpoints_made(&mut self) {
        let valid_or_waiting = |index: usize| {
            self.decision
                .verdicts
                .iter()
                .any(|(at, verdict)| *at == index && verdict.state == VerdictState::Accepted)
        };
        let barred: Vec<usize> =
            (0..self.input.contributions.len()).filter(|index| !valid_or_waiting(*index)).collect();
        for index in barred {
            let contribution = &self.input.contributions[index];
            let mut own = NameDecision::default();
            own.retain(&contribution.endpoint, Retention::Firm);
            for ((rtype, identifier), kept) in own.retained {
                let at = (rtype, self.identifier(&contribution.cluster, identifier));
                let has_made = self.input.observed.iter().any(|(key, observed)| {
                    (key.rtype, &key.set_identifier) == (at.0, &at.1)
                        && observed.owner.as_ref().is_some_and(|owner| {
                            owner.cluster == contribution.cluster || at.1.is_none()
                        })
                });
                if has_made {
                    let there = self.decision.retained.entry(at).or_default();
                    there.values = there.values.max(kept.values);
                    there.alias = there.alias.max(kept.alias);
                }
            }
        }
    }

    /// Route 53 accepts one TTL for a group, and the lowest that a member asks for suits all.
    fn align_ttls(&mut self) {
        let mut lowest: BTreeMap<RecordType, u32> = BTreeMap::new();
        for desired in self.decision.desired.values() {
            if let Some(ttl_secs) = desired.set.ttl_secs() {
                let there = lowest.entry(desired.set.key.rtype).or_insert(ttl_secs);
                *there = ttl_secs.min(*there);
            }
        }
        for desired in self.decision.desired.values_mut() {
            let lowest = lowest.get(&desired.set.key.rtype).copied();
            if let (RecordData::Values { ttl_secs, .. }, Some(lowest)) =
                (&mut desired.set.data, lowest)
            {
                *ttl_secs = lowest;
            }
        }
    }

    /// The last value of a shared name stays until a person releases it, unless its rule says otherwise.
    fn never_empty(&mut self) {
        if self.sharing.last_value == LastValue::Delete || !self.decision.desired.is_empty() {
            return;
        }
        let ours = self.input.observed.iter().filter(|(_, observed)| observed.owner.is_some());
        for RecordKey { rtype, set_identifier, .. } in ours.map(|(key, _)| key) {
            let kept = self.decision.retained.entry((*rtype, set_identifier.clone())).or_default();
            (kept.values, kept.alias) = (Some(Retention::Firm), Some(Retention::Firm));
        }
    }
}

/// Adds the values of a set to one that is there.
pub(super) fn join_values(there: &mut RecordSet, other: &RecordSet) -> Result<(), &'static str> {
    let is_cname = there.key.rtype == RecordType::Cname;
    let is_equal = there.data == other.data && there.policy == other.policy;
    match (&mut there.data, &other.data) {
        _ if is_equal => Ok(()),
        (
            RecordData::Values { values, ttl_secs },
            RecordData::Values { values: more, ttl_secs: other_ttl },
        ) if !is_cname && there.policy == RoutingPolicy::Simple => {
            let added: Vec<_> =
                more.iter().filter(|value| values.binary_search(value).is_err()).cloned().collect();
            if values.len() + added.len() > MAX_VALUES {
                return Err("the record set would have more than 400 values");
            }
            values.extend(added);
            values.sort();
            *ttl_secs = (*ttl_secs).min(*other_ttl);
            Ok(())
        }
        (RecordData::Values { .. }, RecordData::Values { .. }) if !is_cname => {
            Err("another cluster has that set identifier")
        }
        _ => Err("another cluster came first and wants another answer, and the two do not add up"),
    }
}

#[cfg(test)]
#[path = "sharing_tests.rs"]
mod tests;
