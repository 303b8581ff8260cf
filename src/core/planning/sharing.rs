//! What several clusters publish together at one name.
//!
//! Each member of the group is first decided as if it had the name alone. Then its record sets become its share: values of one set
//! (`merge`), or a set of its own with the member's name for its set identifier. The member that came first has the say where two do
//! not go together; the present holder of the name comes before all others, so that a name keeps its type when others join.

use std::collections::BTreeMap;

use arcstr::ArcStr;

use super::counting::answers;
use super::decision::{Contribution, Desired, NameDecision, NameInput, Retained, Retention};
use super::merge::{MAX_SETS_OF_POLICY, Merge};
use super::observed::Observed;
use super::shares::Shares;
use super::sides;
use crate::core::dns::record::{RecordData, RecordKey, RecordSet, RecordType, RoutingPolicy};
use crate::core::endpoint::parsed::MAX_VALUES;
use crate::core::endpoint::verdict::{Verdict, VerdictState};
use crate::core::governance::rule::SharedRule;
use crate::core::governance::rule::sharing::{LastValue, Sharing, SharingPolicy};
use crate::core::ids::ClusterId;

/// Decides a name that clusters share; `valid` are the endpoints that may be published, the oldest first, and `barred` those that
/// may not be now. The holder of the name is decided.
pub(super) fn decide(
    input: &NameInput<'_>,
    rule: (&SharedRule, &Sharing),
    valid: &[usize],
    barred: &[&Contribution],
    mut decision: NameDecision,
) -> NameDecision {
    decision.is_shared = true;
    let members = members(decision.holder.as_ref(), input, valid);
    let shares = Shares { input, rule: rule.0, sharing: rule.1 };
    let mut group = Group { shares, decision, has_cname: None, places: BTreeMap::new() };
    for contribution in barred {
        group.retain(contribution, Retention::Firm);
    }
    for member in &members {
        group.join(member, valid);
    }
    group.align_ttls();
    group.never_empty();
    group.warn_of_no_weight();
    group.decision
}

/// The clusters with a valid endpoint: the holder, and then by who came first.
fn members(holder: Option<&ClusterId>, input: &NameInput<'_>, valid: &[usize]) -> Vec<ClusterId> {
    let mut members: Vec<ClusterId> = vec![];
    let clusters = valid.iter().map(|index| &input.contributions[*index].cluster);
    for cluster in holder.into_iter().chain(clusters.clone()) {
        let is_valid = clusters.clone().any(|other| other == cluster);
        if is_valid && !members.contains(cluster) {
            members.push(cluster.clone());
        }
    }
    members
}

struct Group<'a> {
    shares: Shares<'a>,
    decision: NameDecision,
    /// Whether the sets of the group are CNAMEs; `None` before the first set.
    has_cname: Option<bool>,
    /// The endpoint whose set has each place of a routing policy.
    places: BTreeMap<(RecordType, RoutingPolicy), usize>,
}

impl Group<'_> {
    fn input(&self) -> &NameInput<'_> {
        self.shares.input
    }

    fn join(&mut self, member: &ClusterId, valid: &[usize]) {
        let input = NameInput { claimed_by: Some(member), ..*self.shares.input };
        let is_its = |index: &&usize| input.contributions[**index].cluster == *member;
        let mine: Vec<usize> = valid.iter().filter(is_its).copied().collect();
        let mut own = NameDecision::default();
        let counting = sides::counting(&input, &mut own, mine);
        Merge::new(&input, &mut own).run(&counting);
        let (shares, waiting) = self.shares_of(member, own.desired.into_values());
        for share in shares {
            self.add(share);
        }
        for ((rtype, identifier), kept) in own.retained {
            self.keep(member, rtype, identifier, kept, None);
        }
        for index in waiting.keys() {
            let contribution = &self.shares.input.contributions[*index];
            // Of two that take turns, one has to go.
            if !self.shares.take_turns() {
                self.retain(contribution, Retention::Loose);
            }
        }
        for (index, verdict) in own.verdicts {
            let verdict = waiting.get(&index).cloned().unwrap_or(verdict);
            self.decision.verdicts.push((index, verdict));
        }
        self.decision.looped_with.extend(own.looped_with);
        self.decision.loop_ends.extend(own.loop_ends);
    }

    /// The shares of a member that go together with those of the group, and the verdicts of its endpoints that have to wait. An
    /// endpoint with several record sets, such as both halves of an alias, is published whole or waits.
    fn shares_of(
        &self,
        member: &ClusterId,
        wanted: impl Iterator<Item = Desired>,
    ) -> (Vec<Desired>, BTreeMap<usize, Verdict>) {
        let (mut shares, mut waiting): (Vec<Desired>, BTreeMap<usize, Verdict>) =
            (vec![], BTreeMap::new());
        for Desired { set, from } in wanted {
            let share = self.shares.of(member, set).and_then(|set| {
                self.goes_with(&set, &from, &shares)?;
                Ok(set)
            });
            match share {
                Ok(set) => shares.push(Desired { set, from }),
                Err(verdict) => waiting.extend(from.iter().map(|at| (*at, verdict.clone()))),
            }
        }
        loop {
            let part = shares
                .iter()
                .position(|share| share.from.iter().any(|index| waiting.contains_key(index)));
            let Some(part) = part.map(|part| shares.remove(part)) else {
                return (shares, waiting);
            };
            let why = part.from.iter().find_map(|index| waiting.get(index)).cloned();
            let why = why.unwrap_or_else(|| self.shares.waits("another part of it waits"));
            for index in part.from {
                waiting.entry(index).or_insert_with(|| why.clone());
            }
        }
    }

    /// Whether a share goes with what is in the group already, and with the other shares of its member.
    fn goes_with(
        &self,
        set: &RecordSet,
        from: &[usize],
        beside: &[Desired],
    ) -> Result<(), Verdict> {
        let is_cname = set.key.rtype == RecordType::Cname;
        if self.has_cname.is_some_and(|has_cname| has_cname != is_cname) {
            return Err(self.shares.waits(
                "a CNAME cannot coexist with other record sets at its name (RFC 1034 §3.6.2), and another cluster came first",
            ));
        }
        if let Some(holder) = self.holder_of_place(set, beside).filter(|at| !from.contains(at)) {
            let other = &self.input().contributions[holder];
            return Err(self.shares.waits(&format!(
                "{} of {} has that place of the routing policy (one record set a region or fail-over role)",
                other.endpoint.key.resource(),
                other.cluster
            )));
        }
        let Some(there) = self.decision.desired.get(&set.key) else {
            return self.has_room(set);
        };
        if set.policy == RoutingPolicy::Simple {
            let mut sum = there.set.clone();
            return join_values(&mut sum, set).map_err(|why| self.shares.waits(why));
        }
        let other = there.from.first().map(|index| &self.input().contributions[*index].cluster);
        Err(self.shares.waits(&format!(
            "{} has the set identifier {}",
            other.map_or("another cluster", ClusterId::as_str),
            set.key.set_identifier.as_deref().unwrap_or_default()
        )))
    }

    fn holder_of_place(&self, set: &RecordSet, beside: &[Desired]) -> Option<usize> {
        let place = set.policy.place()?;
        let at = (set.key.rtype, place.clone());
        let is_it = |other: &&Desired| {
            other.set.key.rtype == set.key.rtype && other.set.policy.place() == Some(place)
        };
        let of_member = || beside.iter().find(is_it)?.from.first().copied();
        self.places.get(&at).copied().or_else(of_member)
    }

    /// Route 53 accepts a number of record sets of one name and type.
    fn has_room(&self, set: &RecordSet) -> Result<(), Verdict> {
        let of_type = |key: &&RecordKey| key.rtype == set.key.rtype;
        let there = self.decision.desired.keys().filter(of_type).count();
        if set.policy == RoutingPolicy::Simple || there < MAX_SETS_OF_POLICY {
            return Ok(());
        }
        Err(self.shares.waits(&format!(
            "{} has {MAX_SETS_OF_POLICY} record sets already, and Route 53 accepts no more",
            set.key.rtype
        )))
    }

    fn add(&mut self, share: Desired) {
        let Desired { set, from } = share;
        self.has_cname = Some(set.key.rtype == RecordType::Cname);
        if let (Some(place), Some(first)) = (set.policy.place(), from.first()) {
            self.places.entry((set.key.rtype, place.clone())).or_insert(*first);
        }
        match self.decision.desired.get_mut(&set.key) {
            None => drop(self.decision.desired.insert(set.key.clone(), Desired { set, from })),
            Some(there) => {
                // That they add up was looked at before.
                if join_values(&mut there.set, &set).is_ok() {
                    there.from.extend(from);
                }
            }
        }
    }

    /// Keeps what an endpoint made that is not published now.
    fn retain(&mut self, contribution: &Contribution, retention: Retention) {
        let mut own = NameDecision::default();
        own.retain(&contribution.endpoint, retention);
        for ((rtype, identifier), kept) in own.retained {
            self.keep(&contribution.cluster, rtype, identifier, kept, Some(contribution));
        }
    }

    /// Keeps sets of a type that a cluster made, under this policy or the one before it: with the identifier that its endpoint has, or
    /// with that of its share.
    fn keep(
        &mut self,
        cluster: &ClusterId,
        rtype: RecordType,
        own: Option<ArcStr>,
        kept: Retained,
        by: Option<&Contribution>,
    ) {
        let of_share = own.is_none().then(|| Some(ArcStr::from(cluster.as_str())));
        for identifier in std::iter::once(own).chain(of_share) {
            let name = self.input().name.clone();
            let key = RecordKey { name, rtype, set_identifier: identifier };
            let Some(observed) = self.input().observed.get(&key) else { continue };
            if self.has_made(cluster, observed, by) {
                let there = self.decision.retained.entry((rtype, key.set_identifier)).or_default();
                there.values = there.values.max(kept.values);
                there.alias = there.alias.max(kept.alias);
            }
        }
    }

    /// Whether a cluster has a part in a set. A sum says no more than its values: an endpoint that can be read has a part if one of
    /// them is its own, so that one which was never published keeps nothing.
    fn has_made(
        &self,
        cluster: &ClusterId,
        observed: &Observed,
        by: Option<&Contribution>,
    ) -> bool {
        let Some(owner) = &observed.owner else { return false };
        let is_sum = self.shares.sharing.policy == SharingPolicy::Merge
            && observed.raw.set_identifier.is_none();
        if owner.cluster == *cluster || !is_sum {
            return owner.cluster == *cluster;
        }
        let Some(by) = by else { return false };
        let Some(parsed) = &by.parsed else { return true };
        let standing = observed.own_values();
        self.input().record_sets(parsed).iter().any(|set| match &set.data {
            RecordData::Values { values, .. } => {
                values.iter().any(|value| standing.contains(value))
            }
            RecordData::Alias(_) => observed.raw.alias.is_some(),
        })
    }

    /// Route 53 accepts one TTL for a weighted group, and the lowest that a member asks for suits all. A set that stays as it is
    /// cannot follow, so the others follow it.
    fn align_ttls(&mut self) {
        let mut lowest: BTreeMap<RecordType, u32> = BTreeMap::new();
        for desired in self.decision.desired.values() {
            if let Some(ttl_secs) = desired.set.ttl_secs() {
                let there = lowest.entry(desired.set.key.rtype).or_insert(ttl_secs);
                *there = ttl_secs.min(*there);
            }
        }
        let fixed = self.retained_sets().filter(|(set, retention)| {
            matches!(set.policy, RoutingPolicy::Weighted(_)) && *retention == Retention::Firm
        });
        let fixed: Vec<_> =
            fixed.filter_map(|(set, _)| Some((set.key.rtype, set.ttl_secs()?))).collect();
        lowest.extend(fixed);
        for desired in self.decision.desired.values_mut() {
            let lowest = lowest.get(&desired.set.key.rtype).copied();
            if let (RecordData::Values { ttl_secs, .. }, Some(lowest)) =
                (&mut desired.set.data, lowest)
            {
                *ttl_secs = lowest;
            }
        }
    }

    /// The sets of ours that stay and that nothing is wanted under the key of.
    fn retained_sets(&self) -> impl Iterator<Item = (RecordSet, Retention)> {
        let kept = |(key, observed): (&RecordKey, &Observed)| {
            let at = (key.rtype, key.set_identifier.clone());
            let retention = self.decision.retained.get(&at)?.of(&observed.raw)?;
            let is_free = !self.decision.desired.contains_key(key);
            is_free.then(|| observed.ours()).flatten().map(|set| (set, retention))
        };
        self.input().observed.iter().filter_map(kept)
    }

    /// The last answer of a shared name stays until a person lets it go. Where the rule says `lastValue: delete`, it goes with the
    /// endpoint of the cluster that gave it, and with nothing else.
    fn never_empty(&mut self) {
        let is_answered = self.decision.desired.keys().any(|key| answers(key.rtype))
            || self.retained_sets().any(|(set, _)| answers(set.key.rtype));
        if is_answered {
            return;
        }
        let is_all = self.decision.desired.is_empty();
        let lets_go = |cluster: &ClusterId| {
            let mut there = self.input().contributions.iter();
            self.shares.sharing.last_value == LastValue::Delete
                && !there.any(|contribution| contribution.cluster == *cluster)
        };
        let stays = self.input().observed.iter().filter(|(key, observed)| {
            let owner = observed.owner.as_ref();
            (is_all || answers(key.rtype)) && owner.is_some_and(|owner| !lets_go(&owner.cluster))
        });
        let stays: Vec<_> = stays.map(|(key, _)| (key.rtype, key.set_identifier.clone())).collect();
        for at in stays {
            let kept = self.decision.retained.entry(at).or_default();
            (kept.values, kept.alias) = (Some(Retention::Firm), Some(Retention::Firm));
        }
    }

    /// Route 53 answers with all record sets alike if none has a weight. That is safer than no answer, and it is told.
    fn warn_of_no_weight(&mut self) {
        let standing: Vec<RecordSet> = self.retained_sets().map(|(set, _)| set).collect();
        let wanted = || self.decision.desired.values().map(|desired| &desired.set);
        let weight = |set: &RecordSet| match set.policy {
            RoutingPolicy::Weighted(weight) => Some(weight),
            _ => None,
        };
        let mut weights = wanted().chain(&standing).filter_map(weight).peekable();
        if weights.peek().is_none() || weights.any(|weight| weight > 0) {
            return;
        }
        let text = format!(
            "no cluster that publishes {} has a weight, so Route 53 answers with all of them alike: give one a weight {}",
            self.input().name,
            self.shares.by()
        );
        let accepted = self.decision.verdicts.iter_mut().filter(|(_, verdict)| {
            verdict.state == VerdictState::Accepted && verdict.message.is_empty()
        });
        accepted.for_each(|(_, verdict)| verdict.message.clone_from(&text));
    }
}

/// Adds the values of a set to one that is there.
pub(super) fn join_values(there: &mut RecordSet, other: &RecordSet) -> Result<(), &'static str> {
    let is_cname = there.key.rtype == RecordType::Cname;
    if there.data == other.data {
        return Ok(());
    }
    match (&mut there.data, &other.data) {
        (
            RecordData::Values { values, ttl_secs },
            RecordData::Values { values: more, ttl_secs: other_ttl },
        ) if !is_cname || values == more => {
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
        _ => Err("another cluster came first and wants another answer, and the two do not add up"),
    }
}

#[cfg(test)]
#[path = "sharing_tests.rs"]
mod tests;
