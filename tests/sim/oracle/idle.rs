//! 9: No writes in the steady state, and reads that depend on the zones alone.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::dns::record::RecordKey;
use zonefold::core::ids::{AccountId, BatchId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::time::{Millis, Timestamp};
use zonefold::emulator::Action;
use zonefold::ports::BatchOutcome;

use super::Violation;
use super::history::{Commit, History, Told, What};
use super::owners::is_ours;

/// Record sets on a page of ListResourceRecordSets.
const PAGE: usize = 300;
/// The calls that a sweep may cost besides the listing of records: the list of zones and their tags.
const DISCOVERY_CALLS: usize = 2;

/// The batches that try again, when its wait is over, what Route 53 has refused: what is in its way may be gone.
fn retries(history: &History) -> BTreeSet<BatchId> {
    // By zone, since one name may be in several.
    let mut begun: BTreeMap<BatchId, BTreeSet<(&ZoneId, &RecordKey)>> = BTreeMap::new();
    let mut refused: BTreeMap<(&ZoneId, &RecordKey), Timestamp> = BTreeMap::new();
    let mut retries = BTreeSet::new();
    let wait = Millis(history.world.poison_backoff_ms);
    for event in &history.log {
        match &event.what {
            What::Committed { commit: Commit::BatchBegun(batch), .. } => {
                let keys: BTreeSet<(&ZoneId, &RecordKey)> =
                    batch.changes().map(|change| (&batch.zone, &change.key)).collect();
                if keys.iter().all(|key| refused.get(key).is_some_and(|at| *at + wait <= event.at))
                {
                    retries.insert(batch.id);
                }
                begun.insert(batch.id, keys);
            }
            What::Committed { commit: Commit::BatchFinished { batch, outcome }, .. } => {
                for key in begun.remove(batch).unwrap_or_default() {
                    match outcome {
                        BatchOutcome::Refused { .. } => drop(refused.insert(key, event.at)),
                        _ if outcome.is_done() => drop(refused.remove(&key)),
                        // It tells nothing of what was refused before.
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    retries
}

/// While everything is quiet nothing is written anywhere, and an account is read as often as its sweeps ask for.
pub fn judge(history: &History) -> Vec<Violation> {
    let Some(quiet) = history.log.iter().position(|event| matches!(event.what, What::Quiet)) else {
        return vec![];
    };
    let since = history.log[quiet].at;
    let mut violations = vec![];
    let mut reads: BTreeMap<&AccountId, usize> = BTreeMap::new();
    let (retries, mut tried_again) = (retries(history), BTreeSet::new());
    for event in &history.log[quiet..] {
        let what = match &event.what {
            What::Committed { commit: Commit::BatchBegun(batch), .. }
                if retries.contains(&batch.id) =>
            {
                continue;
            }
            What::CallStarted(call) if call.batch.is_some_and(|batch| retries.contains(&batch)) => {
                tried_again.insert(call.number);
                continue;
            }
            // The obstacle is gone by now.
            What::Applied { call: Some(call), .. } if tried_again.contains(call) => continue,
            What::Applied { entry, .. } if is_ours(entry) => {
                format!("a batch of {} changes was applied", entry.changes.len())
            }
            What::Committed { commit: Commit::Ingest { cluster, rows, .. }, .. }
                if !rows.is_empty() =>
            {
                format!("{} endpoints of {cluster} were written to the store", rows.len())
            }
            What::Committed { commit: Commit::BatchBegun(_), .. } => {
                "a batch was journalled".to_owned()
            }
            What::CallStarted(call) if call.action == Action::ChangeResourceRecordSets.as_str() => {
                format!("{} sent {} changes", call.replica, call.changes)
            }
            What::CallStarted(call) => {
                *reads.entry(&call.account).or_default() += 1;
                continue;
            }
            _ => continue,
        };
        violations.push(Violation::new(
            Invariant::IdleIsFree,
            event.at,
            format!("in the steady state {what}"),
        ));
    }
    let elapsed_ms = (history.end.at - since).0;
    for (account, reads) in reads {
        let appeared = history.log.iter().filter(|event| {
            matches!(&event.what, What::Told(Told::ZoneMade { account: of, .. }) if of == account)
        });
        let pages: usize = history
            .world
            .zones
            .iter()
            .filter(|zone| zone.account == *account)
            .map(|zone| {
                let held = history.end.zones.get(&zone.id).map_or(0, Vec::len);
                held.div_ceil(PAGE).max(1)
            })
            .sum::<usize>()
            + appeared.count();
        // The first sweep may begin at once, and a share of each wait is chance.
        let sweeps =
            usize::try_from(2 * elapsed_ms / history.world.sweep_ms.max(1)).unwrap_or(0) + 2;
        let allowed = sweeps * (pages + DISCOVERY_CALLS);
        if reads > allowed {
            let what = format!(
                "in the steady state {reads} reads of the account {account} in {elapsed_ms} ms; {allowed} would do"
            );
            violations.push(Violation::new(Invariant::IdleIsFree, history.end.at, what));
        }
    }
    violations
}
