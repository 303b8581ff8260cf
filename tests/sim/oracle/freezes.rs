//! 13: A freeze lets nothing through but its exempt lanes: no batch is begun while it is closed that does more in its zone than take
//! values of which one stays.

use std::collections::BTreeSet;

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::invariants::Invariant;
use zonefold::core::planning::change::{Batch, Unit};
use zonefold::core::time::{Millis, Timestamp};

use super::Violation;
use super::history::{Commit, History, Told, What};

/// How far the clocks of brokers are apart at most, and how long a batch that was decided before is on its way to the store.
const SLACK: Millis = Millis::from_secs(12);

struct Frozen {
    apex: DnsName,
    from: Timestamp,
    until: Timestamp,
    urgent: bool,
}

/// Looks at each batch that is begun. Where clocks are set, nobody can say when a freeze begins.
pub fn judge(history: &History) -> Vec<Violation> {
    let is_clock =
        |what: &What| matches!(what, What::Fault { kind, .. } if kind.starts_with("clock"));
    if history.log.iter().any(|event| is_clock(&event.what)) {
        return vec![];
    }
    let (mut freezes, mut violations): (Vec<Frozen>, _) = (vec![], vec![]);
    for event in &history.log {
        match &event.what {
            What::Told(Told::Frozen { apex, from, until, urgent }) => {
                let (apex, urgent) = (apex.clone(), *urgent);
                freezes.push(Frozen { apex, from: *from, until: *until, urgent });
            }
            What::Committed { commit: Commit::BatchBegun(batch), .. } => {
                let is_closed = |frozen: &&Frozen| {
                    frozen.from + SLACK < event.at
                        && event.at + SLACK < frozen.until
                        && is_of(history, batch, &frozen.apex)
                };
                for frozen in freezes.iter().filter(is_closed) {
                    for unit in
                        batch.units.iter().filter(|unit| !(frozen.urgent && is_urgent(unit)))
                    {
                        let Some(change) = unit.changes.first() else { continue };
                        let what = format!(
                            "{} is changed in batch {} while {} is frozen until {}",
                            change.key, batch.id, frozen.apex, frozen.until
                        );
                        let violation = Violation::new(Invariant::FreezesHold, event.at, what);
                        violations.push(violation.about(&change.key.name));
                    }
                }
            }
            _ => {}
        }
    }
    violations
}

fn is_of(history: &History, batch: &Batch, apex: &DnsName) -> bool {
    history.world.zones.iter().any(|zone| zone.id == batch.zone && zone.apex == *apex)
}

fn is_urgent(unit: &Unit) -> bool {
    unit.changes.iter().all(|change| match (&change.before, &change.after) {
        (Some(before), Some(after)) => keeps_some(before, after),
        _ => false,
    })
}

fn keeps_some(before: &RawRecordSet, after: &RawRecordSet) -> bool {
    let values = |raw: &RawRecordSet| raw.values.iter().cloned().collect::<BTreeSet<_>>();
    let (old, new) = (values(before), values(after));
    let rest = |raw: &RawRecordSet| RawRecordSet { values: vec![], ..raw.clone() };
    !new.is_empty() && new.is_subset(&old) && new.len() < old.len() && rest(before) == rest(after)
}
