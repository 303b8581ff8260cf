//! 14: What a guard holds is not sent without the word of people: within its window no more record sets are deleted in its zone than
//! it lets go, but for units that people let go; and a batch names no word that nobody gave.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::dns::name::DnsName;
use zonefold::core::ids::{BatchId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::planning::change::Batch;
use zonefold::core::planning::unit_digest::UnitDigest;
use zonefold::core::time::{Millis, Timestamp};

use super::Violation;
use super::attributable::batch_of;
use super::history::{Commit, History, Told, What};

/// How far the clocks of brokers are apart at most.
const SLACK: Millis = Millis::from_secs(12);

struct Guarded {
    apex: DnsName,
    allowed: u64,
    window: Millis,
    /// When AWS deleted how many, by zone: a public and a private one of this apex are two.
    deleted: BTreeMap<ZoneId, Vec<(Timestamp, u64)>>,
}

/// Looks at each batch that AWS applied and the broker knows of. Where clocks are set, nobody can say when a window ends.
pub fn judge(history: &History) -> Vec<Violation> {
    let is_clock =
        |what: &What| matches!(what, What::Fault { kind, .. } if kind.starts_with("clock"));
    if history.log.iter().any(|event| is_clock(&event.what)) {
        return vec![];
    }
    let known_done = known_done(history);
    let (mut guards, mut violations): (Vec<Guarded>, _) = (vec![], vec![]);
    let mut let_go: BTreeSet<UnitDigest> = BTreeSet::new();
    let mut begun: BTreeMap<BatchId, &Batch> = BTreeMap::new();
    for event in &history.log {
        match &event.what {
            What::Told(Told::Guarded { apex, allowed, window_ms }) => {
                let window = Millis(i64::try_from(*window_ms).unwrap_or(i64::MAX));
                let (apex, allowed) = (apex.clone(), *allowed);
                guards.push(Guarded { apex, allowed, window, deleted: BTreeMap::new() });
            }
            What::Told(Told::LetGo { units }) => let_go.extend(units),
            What::Committed { commit: Commit::BatchBegun(batch), .. } => {
                begun.insert(batch.id, batch);
                let unknown = batch.stamp.released.iter().filter(|unit| !let_go.contains(unit));
                for unit in unknown {
                    let what =
                        format!("batch {} goes by a word for {unit} that nobody gave", batch.id);
                    violations.push(Violation::new(Invariant::GuardsHold, event.at, what));
                }
            }
            What::Applied { call: Some(_), entry } => {
                let batch = batch_of(entry).filter(|id| known_done.contains(id));
                let Some(batch) = batch.and_then(|id| begun.get(&id)) else { continue };
                let deleted = deletions(batch, &let_go);
                for guard in guards.iter_mut().filter(|guard| guard.apex == entry.zone_name) {
                    if deleted == 0 {
                        continue;
                    }
                    let of_zone = guard.deleted.entry(batch.zone.clone()).or_default();
                    of_zone.push((event.at, deleted));
                    let counts = |at: Timestamp| event.at.since(at).0 < guard.window.0 - SLACK.0;
                    let within: u64 = of_zone
                        .iter()
                        .filter(|(at, _)| counts(*at))
                        .map(|(_, deleted)| deleted)
                        .sum();
                    if within > guard.allowed {
                        let what = format!(
                            "{within} record sets of {} are deleted within {} seconds with batch {}, and {} may be",
                            guard.apex,
                            guard.window.0 / 1_000,
                            batch.id,
                            guard.allowed
                        );
                        violations.push(Violation::new(Invariant::GuardsHold, event.at, what));
                    }
                }
            }
            _ => {}
        }
    }
    violations
}

/// The batches of which the broker came to know that they were applied.
fn known_done(history: &History) -> BTreeSet<BatchId> {
    let done = history.log.iter().filter_map(|event| match &event.what {
        What::Committed { commit: Commit::BatchFinished { batch, outcome }, .. }
            if outcome.is_done() =>
        {
            Some(*batch)
        }
        _ => None,
    });
    done.collect()
}

/// How many record sets a batch deletes and does not replace at their names, without what people let go.
fn deletions(batch: &Batch, let_go: &BTreeSet<UnitDigest>) -> u64 {
    let mut by_name: BTreeMap<&DnsName, i64> = BTreeMap::new();
    let counted = batch.units.iter().filter(|unit| {
        let digest = unit.digest(&batch.zone);
        !(batch.stamp.released.contains(&digest) && let_go.contains(&digest))
    });
    for change in counted.flat_map(|unit| &unit.changes) {
        let count = by_name.entry(&change.key.name).or_default();
        *count += i64::from(change.after.is_none()) - i64::from(change.before.is_none());
    }
    by_name.into_values().filter_map(|count| u64::try_from(count).ok()).sum()
}
