//! Adds up the endpoints of a name's owner, and finds those that do not go together.
//!
//! The oldest wins. Addresses add up if they are of one kind of object and one namespace, since other objects usually belong to
//! other people; an existing sum stays one until one of its objects changes.

use std::collections::{BTreeMap, BTreeSet};

use arcstr::ArcStr;

use super::decision::{Contribution, Desired, NameDecision, NameInput, Retention};
use super::loops;
use super::policy::MergePolicy;
use crate::core::dns::record::{RecordData, RecordKey, RecordSet, RecordType, RoutingPolicy};
use crate::core::endpoint::parsed::{MAX_VALUES, ParsedEndpoint};
use crate::core::endpoint::verdict::{Reason, Verdict, VerdictState};
use crate::core::endpoint::{ANNOTATION, TARGET_SOURCE};

/// Route 53's limit of record sets of one name and type, for any routing policy but geoproximity.
const MAX_SETS_OF_POLICY: usize = 100;
/// Route 53's limit of geoproximity record sets of one name and type.
const MAX_GEOPROXIMITY_SETS: usize = 30;

/// Why an endpoint does not go together with an older one.
struct Conflict {
    /// The contribution that it loses to.
    with: usize,
    verdict: Verdict,
}

/// Adds endpoints up, the oldest first.
pub(super) struct Merge<'a> {
    input: &'a NameInput<'a>,
    decision: &'a mut NameDecision,
    /// A key of each type that is wanted: all sets of one type share a policy.
    by_type: BTreeMap<RecordType, RecordKey>,
    /// How many sets of each type are wanted.
    sets_of_type: BTreeMap<RecordType, usize>,
    /// The set that has each place of a routing policy: one wanted so far, or one that is already there and still wanted.
    places: BTreeMap<(RecordType, RoutingPolicy), (RecordKey, usize)>,
    /// The contributions that wait for each contribution.
    losers: BTreeMap<usize, Vec<usize>>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(input: &'a NameInput<'a>, decision: &'a mut NameDecision) -> Self {
        Self {
            input,
            decision,
            by_type: BTreeMap::new(),
            sets_of_type: BTreeMap::new(),
            places: BTreeMap::new(),
            losers: BTreeMap::new(),
        }
    }

    pub(super) fn run(mut self, accepted: &[usize]) {
        self.note_standing_places(accepted);
        for index in accepted {
            let Some(parsed) = self.input.contributions[*index].parsed.clone() else { continue };
            let verdict = self.take(*index, &parsed);
            self.decision.verdicts.push((*index, verdict));
        }
        self.name_losers();
        self.align_weighted_ttls();
    }

    /// A set keeps the place that it has while its endpoint wants it: two that swap do so together, when both are edited.
    fn note_standing_places(&mut self, accepted: &[usize]) {
        for index in accepted {
            let Some(parsed) = &self.input.contributions[*index].parsed else { continue };
            if parsed.policy.place().is_none() {
                continue;
            }
            for set in self.input.record_sets(parsed) {
                if let Some(place) = self.input.standing_place(&set) {
                    let at = (set.key.rtype, place.clone());
                    self.places.entry(at).or_insert((set.key, *index));
                }
            }
        }
    }

    fn take(&mut self, index: usize, parsed: &ParsedEndpoint) -> Verdict {
        let contribution = &self.input.contributions[index];
        let sets = self.input.record_sets(parsed);
        if let Some(verdict) = self.looped(&sets, contribution.arrival) {
            self.retain(contribution, Retention::Firm);
            return verdict;
        }
        if let Some(conflict) = sets.iter().find_map(|set| self.conflict(set, index)) {
            let retention = match conflict.verdict.state {
                VerdictState::Rejected => Retention::Firm,
                VerdictState::Accepted | VerdictState::Waiting => {
                    self.losers.entry(conflict.with).or_default().push(index);
                    Retention::Loose
                }
            };
            self.retain(contribution, retention);
            return conflict.verdict;
        }
        sets.into_iter().for_each(|set| self.add(set, index));
        Verdict::accepted(self.input.zone.placement.clone())
    }

    fn retain(&mut self, contribution: &Contribution, retention: Retention) {
        if self.input.claimed_by == Some(&contribution.cluster) {
            self.decision.retain(&contribution.endpoint, retention);
        }
    }

    /// Rejects an endpoint that closes a loop, unless another name of the loop has to give way.
    fn looped(&mut self, sets: &[RecordSet], arrival: i64) -> Option<Verdict> {
        let set = sets.first()?;
        let found = loops::closed_by(self.input, set, arrival)?;
        let others = found.names.iter().filter(|name| *name != self.input.name).cloned();
        if let Some(name) = &found.gives_way {
            self.decision.loop_ends.insert(name.clone());
            return None;
        }
        self.decision.looped_with.extend(others);
        let message = match found.names.as_slice() {
            [_, _] => format!("{} points to itself: give it another target", self.input.name),
            _ => format!(
                "{} is a loop, in which no name has an answer: change the target of one of them",
                found.spelled()
            ),
        };
        Some(Verdict::rejected(Reason::InvalidTarget, message))
    }

    /// Why a set does not go together with what older endpoints already want.
    fn conflict(&self, set: &RecordSet, index: usize) -> Option<Conflict> {
        let is_cname = |rtype: &RecordType| *rtype == RecordType::Cname;
        if let Some(other) = self
            .by_type
            .iter()
            .find(|(rtype, _)| is_cname(rtype) != is_cname(&set.key.rtype))
            .and_then(|(_, key)| self.decision.desired.get(key))
        {
            return Some(self.lost(
                other,
                "a CNAME cannot coexist with other record sets at its name (RFC 1034 §3.6.2)",
            ));
        }
        let of_type = self.by_type.get(&set.key.rtype);
        if let Some(other) = of_type
            .and_then(|key| self.decision.desired.get(key))
            .filter(|other| other.set.policy.kind() != set.policy.kind())
        {
            return Some(
                self.lost(other, "all record sets of one name and type share one routing policy"),
            );
        }
        if let Some((key, with)) = set
            .policy
            .place()
            .and_then(|place| self.places.get(&(set.key.rtype, place.clone())))
            .filter(|(key, _)| *key != set.key)
        {
            return Some(self.lost_to(
                *with,
                key,
                "that place of the routing policy is taken (one record set a region, location or failover role)",
            ));
        }
        if let Some(other) = of_type
            .and_then(|key| self.decision.desired.get(key))
            .filter(|other| collection(&other.set.policy) != collection(&set.policy))
        {
            return Some(
                self.lost(other, "all CIDR record sets of one name and type have one collection"),
            );
        }
        if let Some(conflict) = self.beyond_limit(set, index) {
            return Some(conflict);
        }
        if let Some(conflict) = self.mixed_families(set, index) {
            return Some(conflict);
        }
        let other = self.decision.desired.get(&set.key)?;
        match (&other.set.data, &set.data) {
            (RecordData::Values { values: old, .. }, RecordData::Values { values: new, .. })
                if set.policy == RoutingPolicy::Simple && set.key.rtype != RecordType::Cname =>
            {
                self.sum_conflict(other, old, new, index)
            }
            _ if other.set == *set => None,
            _ if set.key.set_identifier.is_some() => {
                Some(self.lost(other, "the set identifier is used twice"))
            }
            _ => Some(self.lost(other, "both want another answer for one name and type")),
        }
    }

    /// Checks Route 53's limit of record sets of a routing policy at one name and type.
    fn beyond_limit(&self, set: &RecordSet, index: usize) -> Option<Conflict> {
        let most = match set.policy {
            RoutingPolicy::Simple => return None,
            RoutingPolicy::Geoproximity(_) => MAX_GEOPROXIMITY_SETS,
            _ => MAX_SETS_OF_POLICY,
        };
        let wanted = self.sets_of_type.get(&set.key.rtype).copied().unwrap_or_default();
        let is_one_more = !self.decision.desired.contains_key(&set.key);
        (is_one_more && wanted >= most).then(|| Conflict {
            with: index,
            verdict: Verdict::rejected(
                Reason::TooLarge,
                format!(
                    "{} {} has {most} record sets of this routing policy already, and Route 53 accepts no more: remove one",
                    set.key.name, set.key.rtype
                ),
            ),
        })
    }

    /// Why values do not add up with those of older endpoints.
    fn sum_conflict(
        &self,
        other: &Desired,
        old: &[ArcStr],
        new: &[ArcStr],
        index: usize,
    ) -> Option<Conflict> {
        let key = &other.set.key;
        let added = new.iter().filter(|value| old.binary_search(value).is_err()).count();
        if added == 0 {
            return None;
        }
        // Others may be here that want no more than the oldest does: the oldest decides whose objects may add up.
        let oldest = other.from.first().copied().unwrap_or(index);
        if !self.add_up(key.rtype, oldest, index) && !self.stands(key, old.iter().chain(new)) {
            return Some(self.lost_to(oldest, key, self.why_not(oldest, index)));
        }
        (old.len() + added > MAX_VALUES).then(|| Conflict {
            with: oldest,
            verdict: Verdict::rejected(
                Reason::TooLarge,
                format!(
                    "together with {} the record set would have {} values and the limit is {MAX_VALUES}",
                    self.name_of(other),
                    old.len() + added
                ),
            ),
        })
    }

    /// An annotated target is the answer that its author wants for the name: no other object's status adds the other family.
    fn mixed_families(&self, set: &RecordSet, index: usize) -> Option<Conflict> {
        let RecordData::Values { values, .. } = &set.data else { return None };
        let family = match set.key.rtype {
            RecordType::A => RecordType::Aaaa,
            RecordType::Aaaa => RecordType::A,
            _ => return None,
        };
        let key = RecordKey { rtype: family, ..set.key.clone() };
        let other = self.decision.desired.get(&key).filter(|other| !other.set.is_alias())?;
        let are_mixed = |one: usize, other: usize| self.is_annotated(one) && self.is_status(other);
        let stranger = other.from.iter().find(|older| {
            (are_mixed(**older, index) || are_mixed(index, **older))
                && !self.is_one_object(**older, index)
        })?;
        (!self.stands(&set.key, values.iter()))
            .then(|| self.lost_to(*stranger, &key, self.why_not(*stranger, index)))
    }

    fn contribution(&self, index: usize) -> &Contribution {
        &self.input.contributions[index]
    }

    fn is_annotated(&self, index: usize) -> bool {
        let properties = &self.contribution(index).endpoint.properties;
        properties.get(TARGET_SOURCE).is_some_and(|source| source == ANNOTATION)
    }

    /// Whether the targets are what the object's status says; a DNSEndpoint's are written by its author.
    fn is_status(&self, index: usize) -> bool {
        !self.is_annotated(index) && self.contribution(index).endpoint.key.source != "dnsendpoint"
    }

    fn is_one_object(&self, one: usize, other: usize) -> bool {
        let of = |index: usize| {
            let key = &self.contribution(index).endpoint.key;
            (&key.source, &key.namespace, &key.object)
        };
        of(one) == of(other)
    }

    /// Whether the values of two endpoints for one record set add up.
    fn add_up(&self, rtype: RecordType, one: usize, other: usize) -> bool {
        if !matches!(rtype, RecordType::A | RecordType::Aaaa) || self.is_one_object(one, other) {
            return true;
        }
        let keys = [one, other].map(|index| &self.contribution(index).endpoint.key);
        let is_one_namespace = match self.input.zone.merge {
            MergePolicy::Namespace => keys[0].namespace == keys[1].namespace,
            MergePolicy::Cluster => true,
        };
        keys[0].source == keys[1].source
            && is_one_namespace
            && self.is_annotated(one) == self.is_annotated(other)
    }

    fn why_not(&self, one: usize, other: usize) -> &'static str {
        if self.is_annotated(one) != self.is_annotated(other) {
            return "an annotated target is not mixed with addresses of another object";
        }
        match self.input.zone.merge {
            MergePolicy::Namespace => {
                "addresses add up only among objects of one kind and namespace"
            }
            MergePolicy::Cluster => "addresses add up only among objects of one kind",
        }
    }

    /// Whether Zonefold has published all these values there: a sum that stands stays one.
    fn stands<'b>(&self, key: &RecordKey, mut values: impl Iterator<Item = &'b ArcStr>) -> bool {
        let Some(observed) = self.input.observed.get(key) else { return false };
        let standing: BTreeSet<ArcStr> = observed.own_values().into_iter().collect();
        !standing.is_empty() && values.all(|value| standing.contains(value))
    }

    fn name_of(&self, other: &Desired) -> String {
        other
            .from
            .first()
            .map_or_else(String::new, |index| self.contribution(*index).endpoint.key.resource())
    }

    fn lost(&self, other: &Desired, rule: &str) -> Conflict {
        self.lost_to(other.from.first().copied().unwrap_or_default(), &other.set.key, rule)
    }

    fn lost_to(&self, with: usize, key: &RecordKey, rule: &str) -> Conflict {
        let verdict = Verdict::waiting(
            Reason::ConflictInCluster,
            format!(
                "{} came first with {key}: {rule}. Change or remove one of the two",
                self.contribution(with).endpoint.key.resource()
            ),
            Some(self.input.zone.placement.clone()),
        );
        Conflict { with, verdict }
    }

    /// Names the first waiting endpoint in the verdict of the accepted one, as the waiting one's verdict names the accepted one.
    fn name_losers(&mut self) {
        for (index, verdict) in &mut self.decision.verdicts {
            let losers = self.losers.get(index).map(Vec::as_slice).unwrap_or_default();
            let Some(first) = losers.first().filter(|_| verdict.state == VerdictState::Accepted)
            else {
                continue;
            };
            let more = match losers.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            verdict.message = format!(
                "{}{more} came later, wants another answer for {} and waits: change or remove one of them",
                self.input.contributions[*first].endpoint.key.resource(),
                self.input.name
            );
        }
    }

    fn add(&mut self, set: RecordSet, index: usize) {
        self.by_type.entry(set.key.rtype).or_insert_with(|| set.key.clone());
        if let Some(place) = set.policy.place() {
            self.places
                .entry((set.key.rtype, place.clone()))
                .or_insert_with(|| (set.key.clone(), index));
        }
        match self.decision.desired.get_mut(&set.key) {
            None => {
                *self.sets_of_type.entry(set.key.rtype).or_default() += 1;
                self.decision.desired.insert(set.key.clone(), Desired { set, from: vec![index] });
            }
            Some(desired) => {
                desired.from.push(index);
                if let (
                    RecordData::Values { values, .. },
                    RecordData::Values { values: more, .. },
                ) = (&mut desired.set.data, set.data)
                {
                    for value in more {
                        if let Err(at) = values.binary_search(&value) {
                            values.insert(at, value);
                        }
                    }
                }
            }
        }
    }

    /// Route 53 accepts one TTL in a weighted group ("weighted sets must contain the same TTL"): that of the oldest.
    fn align_weighted_ttls(&mut self) {
        let mut group: BTreeMap<RecordType, (usize, u32)> = BTreeMap::new();
        let weighted = self
            .decision
            .desired
            .values()
            .filter(|d| matches!(d.set.policy, RoutingPolicy::Weighted(_)));
        let order: Vec<(usize, RecordKey)> =
            weighted.filter_map(|d| Some((*d.from.first()?, d.set.key.clone()))).collect();
        let mut order: Vec<_> = order
            .into_iter()
            .map(|(index, key)| (self.input.contributions[index].arrival, index, key))
            .collect();
        order.sort();
        for (_, index, key) in order {
            let Some(desired) = self.decision.desired.get_mut(&key) else { continue };
            if let RecordData::Values { ttl_secs, .. } = &mut desired.set.data {
                *ttl_secs = group.entry(key.rtype).or_insert((index, *ttl_secs)).1;
            }
        }
    }
}

/// The collection of the CIDR policy.
fn collection(policy: &RoutingPolicy) -> Option<&ArcStr> {
    match policy {
        RoutingPolicy::Cidr { collection_id, .. } => Some(collection_id),
        _ => None,
    }
}
