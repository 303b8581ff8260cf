//! 10: Every change names its endpoints, its decision, its batch and AWS's change id.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::change::{Action, Batch, WireChange};
use zonefold::core::endpoint::EndpointKey;
use zonefold::core::ids::{BatchId, ClusterId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::record::RecordKey;
use zonefold::core::time::Timestamp;
use zonefold::emulator::{ChangeAction, JournalEntry};
use zonefold::ports::BatchOutcome;

use super::Violation;
use super::history::{Commit, Event, History, RowChange, What};
use super::owners::{is_ours, net_changes};

#[derive(Default)]
struct Reading<'a> {
    begun: BTreeMap<BatchId, &'a Batch>,
    /// The outcome of each batch, with its place in the log.
    finished: BTreeMap<BatchId, (usize, &'a BatchOutcome)>,
    /// The batches that AWS applied, with the place in the log and the change's id.
    applied: BTreeMap<BatchId, (usize, &'a str)>,
    /// Where in the log somebody else wrote each record set.
    others: BTreeMap<(ZoneId, RecordKey), Vec<usize>>,
    /// Every endpoint that was ever stored.
    known: BTreeSet<(ClusterId, EndpointKey)>,
    violations: Vec<Violation>,
}

/// Each batch that AWS applied for us was journalled before, says the same there, and is for endpoints that the cluster had; and
/// what the journal says became of a batch is what became of it.
pub fn judge(history: &History) -> Vec<Violation> {
    let mut reading = Reading::default();
    for (index, event) in history.log.iter().enumerate() {
        reading.read(index, event);
    }
    reading.compare_outcomes(history);
    reading.violations
}

impl<'a> Reading<'a> {
    fn found(&mut self, at: Timestamp, what: String) {
        self.violations.push(Violation::new(Invariant::Attributable, at, what));
    }

    fn read(&mut self, index: usize, event: &'a Event) {
        match &event.what {
            What::Committed { commit: Commit::Ingest { cluster, rows, .. }, .. } => {
                for row in rows {
                    if let RowChange::Stored(endpoint) = row {
                        self.known.insert((cluster.clone(), endpoint.key.clone()));
                    }
                }
            }
            What::Committed { commit: Commit::BatchBegun(batch), .. } => self.begun(batch, event.at),
            What::Committed { commit: Commit::BatchFinished { batch, outcome }, .. } => {
                self.finished.insert(*batch, (index, outcome));
            }
            What::CallStarted(call) => {
                if let Some(batch) = call.batch.filter(|batch| !self.begun.contains_key(batch)) {
                    self.found(event.at, format!("{} sends batch {batch} before it is in the journal", call.replica));
                }
            }
            What::Applied { entry, .. } if is_ours(entry) => self.applied(index, entry, event.at),
            What::Applied { entry, .. } => {
                for change in net_changes(entry) {
                    self.others.entry((entry.zone.clone(), change.key)).or_default().push(index);
                }
            }
            _ => {}
        }
    }

    fn begun(&mut self, batch: &'a Batch, at: Timestamp) {
        for change in batch.changes() {
            let strangers = change.cause.endpoints.iter();
            let stranger =
                strangers.into_iter().find(|key| !self.known.contains(&(change.cause.cluster.clone(), (*key).clone())));
            if let Some(stranger) = stranger {
                let what = format!("{} is changed for {stranger}, which {} never had", change.key, change.cause.cluster);
                let violation = Violation::new(Invariant::Attributable, at, what);
                self.violations.push(violation.about(&change.key.name));
            }
            if change.after.is_some() && change.cause.endpoints.is_empty() {
                let violation = Violation::new(Invariant::Attributable, at, format!("{} is written for no endpoint", change.key));
                self.violations.push(violation.about(&change.key.name));
            }
        }
        self.begun.insert(batch.id, batch);
    }

    fn applied(&mut self, index: usize, entry: &'a JournalEntry, at: Timestamp) {
        let comment = entry.comment.as_deref().unwrap_or_default();
        let id = comment.strip_prefix("zonefold ").and_then(|id| id.parse().ok()).map(BatchId);
        let Some((id, batch)) = id.and_then(|id| Some((id, *self.begun.get(&id)?))) else {
            self.found(at, format!("AWS applied {} for {comment:?}, which is in no journal", entry.change_id));
            return;
        };
        if batch.zone != entry.zone || batch.account != entry.account || changes_of(entry) != sorted(batch.wire.clone()) {
            self.found(at, format!("AWS applied something else for batch {id} than what is journalled"));
        }
        if self.applied.insert(id, (index, &entry.change_id)).is_some() {
            self.found(at, format!("AWS applied batch {id} twice"));
        }
    }

    /// Whether others wrote every set of a batch between two places in the log.
    fn is_overwritten(&self, id: BatchId, from: usize, to: usize) -> bool {
        let Some(batch) = self.begun.get(&id) else { return false };
        batch.changes().all(|change| {
            let places = self.others.get(&(batch.zone.clone(), change.key.clone()));
            places.into_iter().flatten().any(|place| (from..to).contains(place))
        })
    }

    fn compare_outcomes(&mut self, history: &History) {
        let at = history.end.at;
        for (id, (finished, outcome)) in std::mem::take(&mut self.finished) {
            match (outcome, self.applied.get(&id).copied()) {
                (BatchOutcome::Applied { change_id: None, .. }, Some(_)) => {}
                (BatchOutcome::Applied { change_id: Some(noted), .. }, Some((_, actual))) if noted == actual => {}
                (BatchOutcome::Applied { change_id, .. }, Some((_, actual))) => {
                    self.found(at, format!("batch {id} is journalled with the change {change_id:?} and AWS's is {actual}"));
                }
                (BatchOutcome::Applied { .. }, None) => {
                    self.found(at, format!("batch {id} is journalled as applied, and AWS never applied it"));
                }
                // A call may come late, after it was read back as not applied; not before. Where somebody else wrote over all
                // of it meanwhile, nobody can read that any more.
                (BatchOutcome::Refused { .. } | BatchOutcome::NotApplied { .. }, Some((applied, _)))
                    if applied < finished && !self.is_overwritten(id, applied, finished) =>
                {
                    self.found(at, format!("batch {id} is journalled as {outcome:?} after AWS had applied it"));
                }
                (BatchOutcome::Refused { .. } | BatchOutcome::NotApplied { .. }, _) => {}
            }
        }
        // The journal at the end is what was committed to it.
        let kept: BTreeSet<BatchId> = history.end.batches.iter().map(|stored| stored.batch.id).collect();
        let lost: Vec<BatchId> = self.applied.keys().filter(|id| !kept.contains(id)).copied().collect();
        for id in lost {
            self.found(at, format!("batch {id} was applied and is not in the journal at the end"));
        }
    }
}

fn changes_of(entry: &JournalEntry) -> Vec<WireChange> {
    let wire = entry.changes.iter().filter_map(|change| {
        let (action, set) = match change.action {
            ChangeAction::Delete => (Action::Delete, change.before.as_ref()),
            ChangeAction::Create | ChangeAction::Upsert => (Action::Create, change.after.as_ref()),
        };
        Some(WireChange { action, set: zonefold::core::record::RawRecordSet::clone(set?) })
    });
    sorted(wire.collect())
}

fn sorted(mut wire: Vec<WireChange>) -> Vec<WireChange> {
    // AWS answers a name with its final dot, and values in the order sent.
    for change in &mut wire {
        let name = change.set.name.trim_end_matches('.').to_ascii_lowercase();
        change.set.name = name.into();
    }
    wire.sort();
    wire
}
