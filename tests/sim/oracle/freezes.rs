//! 13: A freeze lets nothing through but its exempt lanes: no batch is begun while it is closed that does more in its zone than take
//! values of which one stays.

use std::collections::BTreeSet;

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::ids::ZoneId;
use zonefold::core::invariants::Invariant;
use zonefold::core::planning::change::{Batch, Motive, Unit};
use zonefold::core::time::{Millis, Timestamp};

use super::history::{Commit, History, Told, What};
use super::{Violation, sharing};

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
                    let passes = |unit: &&Unit| {
                        frozen.urgent
                            && (is_urgent(unit) || follows_people(history, &batch.zone, unit))
                    };
                    for unit in batch.units.iter().filter(|unit| !passes(unit)) {
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

/// Whether a unit changes nothing but weights of a shared name, or has another cluster answer for it.
fn follows_people(history: &History, zone: &ZoneId, unit: &Unit) -> bool {
    unit.changes.iter().all(|change| match (&change.before, &change.after) {
        (Some(before), Some(after)) => {
            let weights_apart = |raw: &RawRecordSet| RawRecordSet {
                name: raw.name.trim_end_matches('.').into(),
                values: sorted(&raw.values),
                weight: None,
                ..raw.clone()
            };
            let is_weight =
                before.weight.is_some() && weights_apart(before) == weights_apart(after);
            let is_simple = before.set_identifier.is_none() && after.set_identifier.is_none();
            let is_passed = change.cause.motive == Motive::Passed && is_simple;
            sharing::is_ever_shared(history, zone, &change.key.name) && (is_weight || is_passed)
        }
        _ => false,
    })
}

fn sorted(values: &[arcstr::ArcStr]) -> Vec<arcstr::ArcStr> {
    let mut values = values.to_vec();
    values.sort();
    values
}

fn keeps_some(before: &RawRecordSet, after: &RawRecordSet) -> bool {
    let values = |raw: &RawRecordSet| raw.values.iter().cloned().collect::<BTreeSet<_>>();
    let (old, new) = (values(before), values(after));
    let rest = |raw: &RawRecordSet| RawRecordSet { values: vec![], ..raw.clone() };
    !new.is_empty() && new.is_subset(&old) && new.len() < old.len() && rest(before) == rest(after)
}
