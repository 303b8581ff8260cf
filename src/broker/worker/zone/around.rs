//! Dependencies of a name on other names of its zone: alias targets, loops, and delegations above it.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use super::ZoneState;
use super::name_state::{NameState, Sighting};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RecordKey, RecordType};
use crate::core::endpoint::parsed::is_link;
use crate::core::endpoint::verdict::Reason;
use crate::core::planning::claims::{
    Delegation, Link, NameDecision, NameInput, NoOtherNames, OtherNames, links_of,
};
use crate::core::planning::plan::{BlockReason, NamePlan};

/// Names that wait for something at other names.
#[derive(Default)]
pub(super) struct WaitingFor {
    /// By the alias's target, or the delegation, that Route 53 is to hold or not.
    records: HashMap<DnsName, BTreeSet<DnsName>>,
    /// By a name of the loop that the waiting one would close.
    loops: HashMap<DnsName, BTreeSet<DnsName>>,
}

/// The zone around one of its names.
pub(super) struct Around<'a>(&'a ZoneState);

impl OtherNames for Around<'_> {
    fn delegation_above(&self, name: &DnsName) -> Option<Delegation> {
        if self.0.delegations.is_empty() {
            return None;
        }
        let apex = &self.0.context.apex;
        let mut above = name.parent();
        while let Some(at) = above.filter(|at| at != apex && at.is_in(apex)) {
            if let Some(servers) = self.0.servers_of(&at) {
                return Some(Delegation { at, servers });
            }
            above = at.parent();
        }
        None
    }

    fn answered_by(&self, name: &DnsName) -> DnsName {
        let apex = &self.0.context.apex;
        let mut at = Some(name.clone()).filter(|name| !self.0.exists(name));
        while let Some(encloser) = at.as_ref().and_then(DnsName::parent) {
            if !encloser.is_in(apex) {
                break;
            }
            // Nothing above the closest name that exists answers for what lies below it.
            if self.0.exists(&encloser) {
                let covers = |wildcard: &DnsName| self.0.names.contains_key(wildcard);
                return encloser.wildcard().filter(covers).unwrap_or_else(|| name.clone());
            }
            at = Some(encloser);
        }
        name.clone()
    }

    fn links(&self, name: &DnsName) -> Vec<Link> {
        let Some(state) = self.0.names.get(name).filter(|state| may_link(state)) else {
            return vec![];
        };
        links_of(&NameInput {
            zone: &self.0.context,
            name,
            claimed_by: state.claim.as_ref().map(|claim| &claim.cluster),
            claimed_since: state.claim.as_ref().map(|claim| claim.since),
            contributions: &state.to_contributions(),
            observed: &state.to_observed(name),
            around: &NoOtherNames,
        })
    }
}

/// Whether anything at the name could lead to another one; most names are addresses.
fn may_link(state: &NameState) -> bool {
    let is_alias_or_cname =
        |sighting: &Sighting| sighting.is_of(RecordType::Cname) || sighting.is_alias();
    state.contributions.as_slice().iter().any(|held| is_link(&held.view()))
        || state.observed.as_slice().iter().any(is_alias_or_cname)
}

impl ZoneState {
    pub(super) fn around(&self) -> Around<'_> {
        Around(self)
    }

    /// Whether anything is at the name or below it: then no wildcard answers for it (RFC 4592 §2.2.2).
    fn exists(&self, name: &DnsName) -> bool {
        let from = (Bound::Included(name), Bound::Unbounded);
        self.names.range(from).next().is_some_and(|(next, _)| next.is_in(name))
    }

    /// Notes whether a name delegates what lies below it.
    pub(super) fn note_delegation(&mut self, key: &RecordKey, sighting: Option<&Sighting>) {
        if key.rtype != RecordType::Ns || key.name == self.context.apex {
            return;
        }
        if sighting.is_some_and(Sighting::is_there) {
            self.delegations.insert(key.name.clone());
        } else {
            self.delegations.remove(&key.name);
        }
    }

    /// The servers that the NS record set of a name gives; `None` if it has none.
    fn servers_of(&self, at: &DnsName) -> Option<Vec<DnsName>> {
        if !self.delegations.contains(at) {
            return None;
        }
        let key = RecordKey { name: at.clone(), rtype: RecordType::Ns, set_identifier: None };
        let sighting = self.sighting(&key)?;
        let values = sighting.record.unpack(&key).values;
        Some(values.iter().filter_map(|server| DnsName::parse(server).ok()).collect())
    }

    /// Notes the names that a name waits for; returns the names that wait for this one.
    pub(super) fn follow(
        &mut self,
        name: &DnsName,
        decision: &NameDecision,
        plan: &NamePlan,
    ) -> BTreeSet<DnsName> {
        for blocked in plan.blocked.iter().chain(&plan.left_out) {
            if let BlockReason::AliasTarget { target, .. } = &blocked.why {
                self.wait_for_record(target.clone(), name);
            }
        }
        let is_below = decision.verdicts.iter().any(|(_, v)| v.reason == Reason::BelowDelegation);
        if is_below && let Some(delegation) = self.around().delegation_above(name) {
            self.wait_for_record(delegation.at, name);
        }
        let mut others = self.waiting_for.loops.remove(name).unwrap_or_default();
        others.extend(decision.loop_ends.iter().cloned());
        for other in &decision.looped_with {
            self.waiting_for.loops.entry(other.clone()).or_default().insert(name.clone());
        }
        others
    }

    fn wait_for_record(&mut self, at: DnsName, name: &DnsName) {
        self.waiting_for.records.entry(at).or_default().insert(name.clone());
    }

    /// Names that wait for a change at one of these names, or that lie below a delegation there.
    pub fn followers_of(&mut self, names: impl IntoIterator<Item = DnsName>) -> BTreeSet<DnsName> {
        let mut followers = BTreeSet::new();
        for name in names {
            if self.delegations.contains(&name) {
                let below = self.names.range((Bound::Excluded(&name), Bound::Unbounded));
                let below = below.take_while(|(other, _)| other.is_in(&name));
                let with_endpoints = below.filter(|(_, state)| !state.contributions.is_empty());
                followers.extend(with_endpoints.map(|(other, _)| other.clone()));
            }
            followers.extend(self.waiting_for.records.remove(&name).into_iter().flatten());
        }
        followers
    }
}
