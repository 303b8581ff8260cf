//! A part of 11: no more is stored of a cluster than its quota allows, nothing waits while there is room, and a cluster without a
//! small quota has nothing waiting.

use zonefold::core::endpoint::quota::Quota;
use zonefold::core::ids::ClusterId;
use zonefold::core::invariants::Invariant;

use super::Violation;
use super::history::{History, StoredEndpoint};

/// Quotas do not change in a run, so this holds at its end for every cluster. Whether there is room is asked of clusters with a
/// live agent only: the content is the agent's to say again.
pub fn judge(history: &History) -> Vec<Violation> {
    let mut violations = vec![];
    for cluster in history.world.clusters.keys() {
        let rows = || history.end.endpoints.iter().filter(|row| row.cluster == *cluster);
        let (stored, beyond): (Vec<_>, Vec<_>) = rows().partition(|row| row.withheld.is_none());
        let octets: u64 = stored.iter().map(|row| row.octets).sum();
        let mut found = |row: &StoredEndpoint, what: &str| {
            let what = format!("{} of {cluster} {what}", row.endpoint.key);
            violations.push(
                Violation::new(Invariant::Converges, history.end.at, what)
                    .about(&row.endpoint.key.dns_name),
            );
        };
        let Some(quota) = history.world.quotas.get(cluster) else {
            beyond.iter().for_each(|row| found(row, "is beyond a quota that is not there"));
            continue;
        };
        if stored.len() > quota.max_endpoints || octets > quota.max_bytes {
            stored.last().iter().for_each(|row| found(row, "is stored beyond the quota"));
        }
        if has_live_agent(history, cluster) {
            let fits = |row: &&&StoredEndpoint| {
                has_room(quota, stored.len(), beyond.len(), octets, row.withheld.unwrap_or(0))
            };
            beyond.iter().find(fits).iter().for_each(|row| found(row, "waits, and there is room"));
        }
    }
    violations
}

/// An endpoint that is too large keeps its place, so where both bounds count, there is room for sure if all have a place.
fn has_room(quota: &Quota, stored: usize, beyond: usize, octets: u64, more: u64) -> bool {
    let is_of_bytes = quota.max_bytes < Quota::default().max_bytes;
    let has_place = if is_of_bytes {
        stored + beyond <= quota.max_endpoints
    } else {
        stored < quota.max_endpoints
    };
    has_place && octets + more <= quota.max_bytes
}

fn has_live_agent(history: &History, cluster: &ClusterId) -> bool {
    let mut agents = history.end.agents.iter();
    agents.any(|(agent, end)| agent.cluster == *cluster && end.live && !end.refused)
}
