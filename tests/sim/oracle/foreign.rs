//! 3: Record sets that Zonefold did not make are not touched without an explicit adoption.

use zonefold::core::dns::record::RecordType;
use zonefold::core::invariants::Invariant;
use zonefold::core::planning::policy::{AdoptPolicy, DriftPolicy};

use super::Violation;
use super::history::{History, What};
use super::owners::{Owner, Owners, is_ours, net_changes};

/// Of every set that a batch of ours changed or took away, the last that was in its place was ours; one that another writer changed
/// meanwhile is put back only where the policy says so.
pub fn judge(history: &History) -> Vec<Violation> {
    let mut owners = Owners::default();
    let mut violations = vec![];
    for event in &history.log {
        let What::Applied { entry, .. } = &event.what else { continue };
        for change in net_changes(entry).into_iter().filter(|_| is_ours(entry)) {
            let zone = history.world.zones.iter().find(|zone| zone.id == entry.zone);
            let drift = zone.map(|zone| zone.drift);
            let adopt = zone.map(|zone| zone.adopt);
            let is_route_53s = change.key.name == entry.zone_name
                && matches!(change.key.rtype, RecordType::Soa | RecordType::Ns);
            let owner = owners.of(&entry.zone, &change.key);
            let may = match owner {
                _ if is_route_53s => false,
                _ if change.before.is_none() => true,
                Some(Owner::Us) => true,
                Some(Owner::UsChanged) => drift != Some(DriftPolicy::Alert),
                Some(Owner::Others) | None => adopt == Some(AdoptPolicy::Any),
            };
            if !may {
                let whose = match owner {
                    _ if is_route_53s => "belongs to Route 53",
                    Some(Owner::UsChanged) => {
                        "was changed by somebody else, and the policy is to leave that"
                    }
                    _ => "was made by somebody else",
                };
                let what = format!(
                    "{} {whose}, and {:?} changed it",
                    change.key,
                    entry.comment.as_deref().unwrap_or_default()
                );
                violations.push(
                    Violation::new(Invariant::ForeignIsUntouched, event.at, what)
                        .about(&change.key.name),
                );
            }
        }
        owners.apply(entry);
    }
    violations
}
