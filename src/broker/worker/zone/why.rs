//! Everything that a zone knows of one name, for people.

use super::ZoneState;
use super::held_back::HeldBack;
use super::refusals::Refusal;
use crate::broker::directory::entry::EndpointEntry;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RawRecordSet;
use crate::core::ids::ClusterId;
use crate::core::planning::change::Unit;
use crate::core::planning::plan::Observed;
use crate::core::time::Timestamp;

/// Everything that is known of a name.
#[derive(Clone, Debug)]
pub struct NameReport {
    /// The owning cluster; `None` if no valid endpoint asks for the name.
    pub holder: Option<ClusterId>,
    /// Since when.
    pub held_since: Option<Timestamp>,
    /// All contributions, of all clusters.
    pub contributions: Vec<EndpointEntry>,
    /// The sets that the owner's contributions add up to.
    pub desired: Vec<RawRecordSet>,
    /// The record sets that Route 53 holds.
    pub observed: Vec<Observed>,
    /// The units to send.
    pub pending: Vec<Unit>,
    /// Why wanted changes are not sent.
    pub blocked: Vec<String>,
    /// Why changes were refused, and when each is retried.
    pub refused: Vec<(String, Timestamp)>,
}

impl ZoneState {
    /// Everything that is known of a name, for "why".
    pub fn why(&self, name: &DnsName, now: Timestamp) -> Option<NameReport> {
        let state = self.names.get(name)?;
        let (decision, plan, _) = self.decide(name)?;
        let (ready, held_back) = self.sift(&plan.units, now);
        let mut blocked: Vec<String> =
            plan.blocked.iter().chain(&plan.left_out).map(ToString::to_string).collect();
        let mut refused = vec![];
        for (_, why) in held_back {
            match &why {
                HeldBack::Refused(Refusal { message, retry_at, .. }) => {
                    refused.push((message.clone(), *retry_at));
                }
                HeldBack::Frozen(_) | HeldBack::Guarded { .. } | HeldBack::Reviewed(_) => {
                    blocked.push(why.to_string());
                }
            }
        }
        blocked.dedup();
        Some(NameReport {
            holder: decision.holder.clone(),
            held_since: state.claim.as_ref().map(|claim| claim.since),
            contributions: state.contributions.as_slice().to_vec(),
            desired: decision.desired.values().map(|desired| desired.set.to_raw()).collect(),
            observed: state.to_observed(name).into_values().collect(),
            pending: ready.into_iter().cloned().collect(),
            blocked,
            refused,
        })
    }
}
