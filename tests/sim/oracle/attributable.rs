//! 10: Every change names its endpoints, its decision, its batch and AWS's change id.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::{BatchId, ClusterId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::planning::change::{Action, Batch, Change, WireChange};
use zonefold::core::time::Timestamp;
use zonefold::emulator::{Action as Operation, ChangeAction, JournalEntry};
use zonefold::ports::BatchOutcome;

use super::Violation;
use super::history::{Call, Commit, Event, History, Replica, RowChange, What, World};
use super::owners::{NetChange, is_ours, net_changes};
use super::placing;

/// The end of a batch in the journal. Places are places in the log.
#[derive(Clone, Copy)]
struct Finished<'a> {
    at: usize,
    outcome: &'a BatchOutcome,
    /// When AWS looked, where it was read back; else the place of the end itself.
    looked: usize,
}

/// A call that lists the record sets of a zone, or sends a batch.
struct Asked<'a> {
    call: &'a Call,
    arrived: Option<usize>,
    ended: Option<usize>,
    is_answered: bool,
}

#[derive(Default)]
struct Reading<'a> {
    /// The journalled batches, and their places in the log.
    begun: BTreeMap<BatchId, (usize, &'a Batch)>,
    finished: BTreeMap<BatchId, Finished<'a>>,
    /// The batches that AWS applied, with the place in the log and the change's id.
    applied: BTreeMap<BatchId, (usize, &'a str)>,
    /// The changes of record sets in each zone, by any writer: the place in the log, and the change.
    changes: BTreeMap<ZoneId, Vec<(usize, NetChange)>>,
    /// The calls by their numbers, in the order in which they were started.
    calls: BTreeMap<u64, Asked<'a>>,
    /// Every endpoint that was ever stored, and its contents.
    known: BTreeMap<(ClusterId, EndpointKey), Vec<&'a Endpoint>>,
    world: Option<&'a World>,
    violations: Vec<Violation>,
}

/// Each batch that AWS applied for us was journalled before, says the same there, and is for endpoints that the cluster had; and
/// the outcome of a batch in the journal is the true one.
pub fn judge(history: &History) -> Vec<Violation> {
    let mut reading = Reading { world: Some(&history.world), ..Reading::default() };
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
                        let at = (cluster.clone(), endpoint.key.clone());
                        self.known.entry(at).or_default().push(endpoint);
                    }
                }
            }
            What::Committed { commit: Commit::BatchBegun(batch), .. } => {
                self.begun(index, batch, event.at)
            }
            What::Committed {
                commit: Commit::BatchFinished { batch, outcome }, replica, ..
            } => {
                let looked =
                    replica.and_then(|replica| self.looked(*batch, replica)).unwrap_or(index);
                self.finished.insert(*batch, Finished { at: index, outcome, looked });
            }
            What::CallArrived { call, .. } => {
                self.calls.get_mut(call).into_iter().for_each(|asked| asked.arrived = Some(index));
            }
            What::CallEnded { call, outcome } => {
                if let Some(asked) = self.calls.get_mut(call) {
                    asked.ended = Some(index);
                    asked.is_answered = outcome == "status 200";
                }
            }
            What::CallStarted(call) => {
                self.calls.insert(
                    call.number,
                    Asked { call, arrived: None, ended: None, is_answered: false },
                );
                if let Some(batch) = call.batch.filter(|batch| !self.begun.contains_key(batch)) {
                    self.found(
                        event.at,
                        format!("{} sends batch {batch} before it is in the journal", call.replica),
                    );
                }
            }
            What::Applied { entry, .. } => {
                let changes = self.changes.entry(entry.zone.clone()).or_default();
                changes.extend(net_changes(entry).into_iter().map(|change| (index, change)));
                if is_ours(entry) {
                    self.applied(index, entry, event.at);
                }
            }
            _ => {}
        }
    }

    /// When AWS looked at the zone for a replica that reads a batch back: at the first listing that was answered after the
    /// batch's call was over, or after it was journalled for a replica that did not send it.
    fn looked(&self, batch: BatchId, replica: Replica) -> Option<usize> {
        let (begun, zone) = self.begun.get(&batch).map(|(begun, batch)| (*begun, &batch.zone))?;
        let sent = self
            .calls
            .values()
            .find(|asked| asked.call.batch == Some(batch) && asked.call.replica == replica);
        let over = sent.map_or(Some(begun), |asked| asked.ended)?;
        let is_listing = |asked: &&Asked<'_>| {
            asked.call.replica == replica
                && asked.call.action == Operation::ListResourceRecordSets.as_str()
                && asked.call.zone.as_ref() == Some(zone)
                && asked.is_answered
        };
        let arrivals = self.calls.values().filter(is_listing).filter_map(|asked| asked.arrived);
        arrivals.filter(|arrived| *arrived > over).min()
    }

    /// Whether every record set of a batch that AWS applied was written again before the reading back ended; or whether one that it
    /// took away was put back exactly as it was, which looks as if the batch had never come.
    fn is_covered(&self, id: BatchId, applied: usize, done: usize) -> bool {
        let Some((_, batch)) = self.begun.get(&id) else { return false };
        let changes = self.changes.get(&batch.zone).map_or(&[][..], Vec::as_slice);
        let later = |change: &Change| {
            let key = change.key.clone();
            changes
                .iter()
                .filter(move |(at, other)| *at > applied && *at < done && other.key == key)
                .map(|(_, other)| other)
        };
        let is_written = |change: &Change| later(change).next().is_some();
        let is_restored = |change: &Change| {
            let before = change.before.clone().map(plain);
            before.is_some() && later(change).any(|other| other.after.clone().map(plain) == before)
        };
        batch.changes().all(is_written) || batch.changes().any(is_restored)
    }

    /// Whether one of a batch's record sets was as the batch would have made it when the reading back began, or before it
    /// ended. A set that was never written is not there.
    fn is_found_done(&self, id: BatchId, looked: usize, done: usize) -> bool {
        let Some((_, batch)) = self.begun.get(&id) else { return false };
        let changes = self.changes.get(&batch.zone).map_or(&[][..], Vec::as_slice);
        batch.changes().any(|change| {
            let wanted = change.after.clone().map(plain);
            let of_it = || changes.iter().filter(|(_, other)| other.key == change.key);
            let held = |other: &NetChange| other.after.clone().map(plain);
            let at_first = of_it().rfind(|(at, _)| *at < looked).and_then(|(_, other)| held(other));
            let meanwhile =
                of_it().filter(|(at, _)| *at >= looked && *at < done).map(|(_, other)| held(other));
            std::iter::once(at_first).chain(meanwhile).any(|held| held == wanted)
        })
    }

    fn begun(&mut self, index: usize, batch: &'a Batch, at: Timestamp) {
        for change in batch.changes() {
            let wanting = change.cause.clusters();
            let mut wanting =
                wanting.flat_map(|(cluster, keys)| keys.iter().map(move |key| (cluster, key)));
            let stranger = wanting.find(|(cluster, key)| {
                !self.known.contains_key(&((*cluster).clone(), (*key).clone()))
            });
            if let Some((cluster, stranger)) = stranger {
                let what =
                    format!("{} is changed for {stranger}, which {cluster} never had", change.key);
                let violation = Violation::new(Invariant::Attributable, at, what);
                self.violations.push(violation.about(&change.key.name));
            }
            let belongs = |key: &EndpointKey| {
                let at = (change.cause.cluster.clone(), key.clone());
                let contents = self.known.get(&at).map(Vec::as_slice).unwrap_or_default();
                // Zones that are made during the run are judged by `placed.rs`.
                let is_judged = |world: &&World| world.zones.iter().any(|z| z.id == batch.zone);
                self.world.filter(is_judged).is_none_or(|world| {
                    contents
                        .iter()
                        .any(|content| placing::may_be_in(world, &at.0, content, &batch.zone))
                })
            };
            if let Some(misplaced) = change.cause.endpoints.iter().find(|key| !belongs(key)) {
                let what = format!(
                    "{} is changed in {} for {misplaced} of {}, which was never meant for that zone",
                    change.key, batch.zone, change.cause.cluster
                );
                let violation = Violation::new(Invariant::Attributable, at, what);
                self.violations.push(violation.about(&change.key.name));
            }
            let is_for_none = change.cause.clusters().any(|(_, endpoints)| endpoints.is_empty());
            if change.after.is_some() && is_for_none {
                let violation = Violation::new(
                    Invariant::Attributable,
                    at,
                    format!("{} is written for no endpoint", change.key),
                );
                self.violations.push(violation.about(&change.key.name));
            }
        }
        self.begun.insert(batch.id, (index, batch));
    }

    fn applied(&mut self, index: usize, entry: &'a JournalEntry, at: Timestamp) {
        let comment = entry.comment.as_deref().unwrap_or_default();
        let Some((id, batch)) = batch_of(entry).and_then(|id| Some((id, self.begun.get(&id)?.1)))
        else {
            self.found(
                at,
                format!("AWS applied {} for {comment:?}, which is in no journal", entry.change_id),
            );
            return;
        };
        if batch.zone != entry.zone
            || batch.account != entry.account
            || changes_of(entry) != sorted(batch.wire.clone())
        {
            self.found(
                at,
                format!("AWS applied something else for batch {id} than what is journalled"),
            );
        }
        if self.applied.insert(id, (index, &entry.change_id)).is_some() {
            self.found(at, format!("AWS applied batch {id} twice"));
        }
    }

    fn compare_outcomes(&mut self, history: &History) {
        let at = history.end.at;
        for (id, Finished { at: finished, outcome, looked }) in std::mem::take(&mut self.finished) {
            match (outcome, self.applied.get(&id).copied()) {
                (BatchOutcome::Applied { change_id, .. }, Some((_, actual)))
                    if change_id == actual => {}
                (BatchOutcome::Applied { change_id, .. }, Some((_, actual))) => {
                    self.found(at, format!("batch {id} is journalled with the change {change_id:?} and AWS's is {actual}"));
                }
                (BatchOutcome::Applied { .. }, None) => {
                    self.found(
                        at,
                        format!("batch {id} is journalled as applied, and AWS never applied it"),
                    );
                }
                // Reading back cannot tell who made the change, only that it was made.
                (BatchOutcome::FoundDone, _) if self.is_found_done(id, looked, finished) => {}
                (BatchOutcome::FoundDone, _) => {
                    self.found(
                        at,
                        format!("batch {id} is journalled as found done, and nothing of it was"),
                    );
                }
                // Of a zone that is gone nothing can be told.
                (BatchOutcome::ZoneDeleted, _) => {}
                // A call may come late, after AWS was asked whether it was applied; not before, unless nothing of it was left when
                // AWS was asked last: a look that breaks off is begun anew.
                (BatchOutcome::NotApplied { .. }, Some((applied, _)))
                    if applied > looked || self.is_covered(id, applied, finished) => {}
                (
                    BatchOutcome::Refused { .. } | BatchOutcome::NotApplied { .. },
                    Some((applied, _)),
                ) if applied < finished => {
                    self.found(
                        at,
                        format!("batch {id} is journalled as {outcome:?} after AWS had applied it"),
                    );
                }
                (BatchOutcome::Refused { .. } | BatchOutcome::NotApplied { .. }, _) => {}
            }
        }
        // The journal at the end is what was committed to it.
        let kept: BTreeSet<BatchId> =
            history.end.batches.iter().map(|stored| stored.batch.id).collect();
        let lost: Vec<BatchId> =
            self.applied.keys().filter(|id| !kept.contains(id)).copied().collect();
        for id in lost {
            self.found(at, format!("batch {id} was applied and is not in the journal at the end"));
        }
    }
}

/// The batch that the comment of an entry names.
pub(super) fn batch_of(entry: &JournalEntry) -> Option<BatchId> {
    entry.comment.as_deref()?.strip_prefix("zonefold ")?.parse().ok().map(BatchId)
}

/// A record set in the form in which sets are compared.
fn plain(mut set: RawRecordSet) -> RawRecordSet {
    // AWS answers a name with its final dot, and values in the order sent.
    set.name = set.name.trim_end_matches('.').to_ascii_lowercase().into();
    set
}

fn changes_of(entry: &JournalEntry) -> Vec<WireChange> {
    let wire = entry.changes.iter().filter_map(|change| {
        let (action, set) = match change.action {
            ChangeAction::Delete => (Action::Delete, change.before.as_ref()),
            ChangeAction::Create | ChangeAction::Upsert => (Action::Create, change.after.as_ref()),
        };
        Some(WireChange { action, set: RawRecordSet::clone(set?) })
    });
    sorted(wire.collect())
}

fn sorted(mut wire: Vec<WireChange>) -> Vec<WireChange> {
    for change in &mut wire {
        change.set = plain(std::mem::take(&mut change.set));
    }
    wire.sort();
    wire
}
