//! How far the names of hand-overs are in a zone.

use std::ops::Bound;

use super::ZoneState;
use super::name_state::NameState;
use crate::core::dns::name::DnsName;
use crate::core::governance::handover::{Handover, HandoverReport, Passage};
use crate::core::ids::ClusterId;
use crate::core::planning::claims::{HandedName, NameInput, handover_of};

/// What resolvers keep an alias for, in seconds (Route 53 developer guide, "Choosing between alias and non-alias records").
const ALIAS_TTL_SECS: u32 = 60;

/// A name of a hand-over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameOnItsWay {
    /// The name.
    pub name: DnsName,
    /// How far it is.
    pub is: HandedName,
    /// Whether Route 53 or the store do not have it yet as the hand-over wants it now.
    pub is_on_its_way: bool,
}

impl ZoneState {
    /// The names of a hand-over after one, so many at most.
    pub fn handed_names(
        &self,
        handover: &Handover,
        after: Option<&DnsName>,
        limit: usize,
    ) -> Vec<NameOnItsWay> {
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let names = self.names.range::<DnsName, _>((lower, Bound::Unbounded));
        names.filter_map(|(name, state)| self.handed(handover, name, state)).take(limit).collect()
    }

    /// How far a name is; `None` if it is none of the hand-over's.
    fn handed(
        &self,
        handover: &Handover,
        name: &DnsName,
        state: &NameState,
    ) -> Option<NameOnItsWay> {
        let is_from = |cluster: &ClusterId| *cluster == handover.from;
        let is_near = state.contributions.as_slice().iter().any(|held| is_from(held.cluster()));
        if !is_near || !handover.is_about(name) {
            return None;
        }
        let contributions = state.to_contributions();
        let observed = state.to_observed(name);
        let is = handover_of(
            &NameInput {
                zone: &self.context,
                name,
                claimed_by: state.claim.as_ref().map(|claim| &claim.cluster),
                claimed_since: state.claim.as_ref().map(|claim| claim.since),
                contributions: &contributions,
                observed: &observed,
                around: &self.around(),
            },
            handover,
        )?;
        let is_on_its_way = handover.passage().is_some_and(|passage| {
            let Some((decision, plan, claim_stands)) = self.decide(name) else { return false };
            let goes_to = match &passage {
                Passage::Both { gives, .. } => gives,
                Passage::Passes { takes, .. } => takes,
            };
            let is_as_wanted =
                plan.units.is_empty() && claim_stands && !self.dirty_claims.contains(name);
            decision.holder.as_ref() == Some(*goes_to) && !is_as_wanted
        });
        Some(NameOnItsWay { name: name.clone(), is, is_on_its_way })
    }

    /// Adds the zone's names of a hand-over to a report.
    pub fn report_handover(&self, handover: &Handover, report: &mut HandoverReport) {
        for (name, state) in &self.names {
            let Some(handed) = self.handed(handover, name, state) else { continue };
            match handed.is {
                HandedName::Ready => report.ready += 1,
                HandedName::Different => report.different += 1,
                HandedName::Missing => report.missing += 1,
                HandedName::Passed => report.passed += 1,
            }
            report.remaining += u64::from(handed.is_on_its_way);
            let ttls = state.to_observed(name).into_values().map(|observed| {
                observed
                    .raw
                    .ttl_secs
                    .and_then(|ttl| u32::try_from(ttl).ok())
                    .unwrap_or(ALIAS_TTL_SECS)
            });
            report.ttl_secs = ttls.fold(report.ttl_secs, u32::max);
        }
    }
}
