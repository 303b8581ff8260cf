//! 6: A refused record set delays nothing but itself, and is not sent again unchanged before its back-off.
//!
//! A name that goes out with a poisoned one is refused with it, until halving the batch has parted them. That the other names
//! of a zone get where they belong is part of what must have settled at the end: it is judged with the names that have not
//! (`converges.rs`), and here only the statuses of a zone with a poisoned name.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::dns::name::DnsName;
use zonefold::core::ids::{AccountId, BatchId, ClusterId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::planning::change::{Batch, WireChange};
use zonefold::core::time::Timestamp;
use zonefold::ports::BatchOutcome;

use super::history::{Call, Commit, Event, History, LeaseChange, Replica, What};
use super::{Violation, converges};

/// The content of one name that was refused, for certain.
struct Refused {
    content: Vec<WireChange>,
    /// The replica that received the refusal, and its lease: a successor does not know and may find out for itself.
    told: (Replica, u64),
    at: Timestamp,
}

/// A name that was refused because of another one, again and again.
#[derive(Default)]
struct Beside {
    times: u32,
    /// The largest batch, and the most poison in one.
    names: u32,
    poison: u32,
    told: bool,
}

impl Beside {
    /// How often halving refuses a name at most: for each poisoned name once for each halving, and once in the whole batch.
    /// A late discovery, since another search goes first or a unit comes back after its wait, may cost one more.
    fn most_times(&self) -> u32 {
        self.poison * (self.names.next_power_of_two().ilog2() + 2)
    }
}

/// The most refusals of a name with poison of other clusters, until another replica manages the account: once with the whole of a
/// batch that no search was begun for, and a few times more until the cluster whose poison it is travels apart.
const MOST_WITH_OTHERS: u32 = 8;

/// A batch that went out.
struct Sent {
    by: (Replica, u64),
    ended_at: Option<Timestamp>,
}

#[derive(Default)]
struct Reading {
    batches: BTreeMap<BatchId, Batch>,
    calls: BTreeMap<BatchId, Sent>,
    /// How often the lease of each account was taken.
    tenures: BTreeMap<AccountId, u64>,
    by_number: BTreeMap<u64, BatchId>,
    refused: BTreeMap<(ZoneId, DnsName), Refused>,
    beside: BTreeMap<(ZoneId, DnsName), Beside>,
    /// How often each name was refused with poison of other clusters alone.
    with_others: BTreeMap<(ZoneId, DnsName), u32>,
    /// The names that Route 53 refuses now. Other refusals are about what is there, and are looked into at once.
    poisoned: BTreeSet<DnsName>,
    clock_jumped_at: Option<Timestamp>,
    violations: Vec<Violation>,
}

/// Nothing that was refused goes out unchanged before its time, and the names that went out with a poisoned one have converged.
pub fn judge(history: &History) -> Vec<Violation> {
    let mut reading = Reading::default();
    for event in &history.log {
        reading.read(event, history.world.poison_backoff_ms);
    }
    let with_poison: BTreeSet<&ZoneId> = history
        .world
        .zones
        .iter()
        .filter(|zone| history.end.poisoned.iter().any(|name| name.is_in(&zone.apex)))
        .map(|zone| &zone.id)
        .collect();
    for unsettled in converges::unsettled_names(history) {
        if with_poison.contains(&unsettled.zone) {
            let what = format!(
                "beside a poisoned name {} did not get where it belongs: {}",
                unsettled.name, unsettled.what
            );
            let violation = Violation::new(Invariant::PoisonIsAlone, history.end.at, what);
            reading.violations.push(violation.about(&unsettled.name));
        }
    }
    reading.violations
}

impl Reading {
    fn read(&mut self, event: &Event, backoff_ms: i64) {
        match &event.what {
            // A broker's clock that jumps ahead shortens its waits, which cannot be seen.
            What::Fault { kind, .. } if kind.starts_with("clock") => {
                self.clock_jumped_at = Some(event.at)
            }
            What::Poisoned { name } => {
                self.poisoned.insert(name.clone());
                self.beside.clear();
            }
            What::Cured { name } => {
                self.poisoned.remove(name);
                self.beside.clear();
            }
            What::Committed { commit: Commit::BatchBegun(batch), .. } => {
                self.batches.insert(batch.id, Batch::clone(batch));
            }
            What::CallStarted(call) => self.started(call, event.at, backoff_ms),
            What::CallEnded { call, .. } => {
                let ended = self.by_number.get(call).and_then(|batch| self.calls.get_mut(batch));
                ended.into_iter().for_each(|sent| sent.ended_at = Some(event.at));
            }
            What::Lease { account, change: LeaseChange::Taken { .. }, .. } => {
                *self.tenures.entry(account.clone()).or_default() += 1;
                // A successor knows of no search.
                self.beside.clear();
                self.with_others.clear();
            }
            What::Committed { commit: Commit::BatchFinished { batch, outcome }, .. } => {
                self.finished(*batch, outcome, event.at);
                self.refused_beside(*batch, outcome, event.at);
            }
            _ => {}
        }
    }

    fn started(&mut self, call: &Call, at: Timestamp, backoff_ms: i64) {
        let (Some(id), Some(zone)) = (call.batch, call.zone.clone()) else { return };
        self.by_number.insert(call.number, id);
        let by = (call.replica, self.tenures.get(&call.account).copied().unwrap_or_default());
        self.calls.insert(id, Sent { by, ended_at: None });
        let Some(batch) = self.batches.get(&id) else { return };
        for name in names_of(batch) {
            let Some(refused) = self.refused.get(&(zone.clone(), name.clone())) else { continue };
            let is_same = refused.content == content_of(batch, &name) && refused.told == by;
            let is_jumped = self.clock_jumped_at.is_some_and(|jumped| jumped >= refused.at);
            let waited_ms = (at - refused.at).0;
            if is_same && !is_jumped && waited_ms < backoff_ms {
                let what = format!(
                    "{} sends {name} again {waited_ms} ms after Route 53 refused it, unchanged, in call {}",
                    call.replica, call.number
                );
                self.violations
                    .push(Violation::new(Invariant::PoisonIsAlone, at, what).about(&name));
            }
        }
    }

    /// Notes for which name of a refused batch the refusal is certain: the only one. That the message speaks of a name proves
    /// nothing: its sentence ("FATAL problem: … encountered with '…'") repeats what was sent, and the owner of another name
    /// of the batch may have written that name as a value. So halving the batch finds the culprit, which goes out unchanged
    /// again meanwhile, in fewer calls each time; an unknown outcome ends a search, and what is refused next begins another.
    fn finished(&mut self, id: BatchId, outcome: &BatchOutcome, at: Timestamp) {
        let (Some(batch), Some(sent)) = (self.batches.get(&id), self.calls.get(&id)) else {
            return;
        };
        let names = names_of(batch);
        if !matches!(outcome, BatchOutcome::Refused { .. }) {
            if outcome.is_done() {
                names
                    .into_iter()
                    .for_each(|name| drop(self.refused.remove(&(batch.zone.clone(), name))));
            }
            return;
        }
        let is_alone = names.len() == 1;
        for name in names.into_iter().filter(|name| is_alone && self.poisoned.contains(name)) {
            let content = content_of(batch, &name);
            let refused = Refused { content, told: sent.by, at: sent.ended_at.unwrap_or(at) };
            self.refused.insert((batch.zone.clone(), name), refused);
        }
    }

    /// Counts how often the names that went out with a poisoned one were refused since something of theirs was applied.
    fn refused_beside(&mut self, id: BatchId, outcome: &BatchOutcome, at: Timestamp) {
        let Some(batch) = self.batches.get(&id).cloned() else { return };
        let names = names_of(&batch);
        let (poison, others): (Vec<_>, Vec<_>) =
            names.iter().partition(|name| self.poisoned.contains(*name));
        match outcome {
            BatchOutcome::Refused { message, .. }
                if !poison.is_empty() && !is_of_what_is_there(message) => {}
            BatchOutcome::Applied { .. } => {
                for name in names {
                    self.beside.remove(&(batch.zone.clone(), name));
                }
                return;
            }
            // The record sets were not as believed, or are unknown: every search in the zone ends.
            _ => return self.beside.retain(|(zone, _), _| *zone != batch.zone),
        }
        for name in others {
            self.with_others(&batch, name, &poison, at);
            let beside = self.beside.entry((batch.zone.clone(), name.clone())).or_default();
            beside.times += 1;
            beside.names = beside.names.max(count(names.len()));
            beside.poison = beside.poison.max(count(poison.len()));
            if beside.times > beside.most_times() && !std::mem::replace(&mut beside.told, true) {
                let what = format!(
                    "{name} was refused {} times with {}, in batches of {} names at most",
                    beside.times,
                    poison.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
                    beside.names
                );
                self.violations
                    .push(Violation::new(Invariant::PoisonIsAlone, at, what).about(name));
            }
        }
    }
}

impl Reading {
    /// Counts how often a name was refused with poison of other clusters.
    fn with_others(&mut self, batch: &Batch, name: &DnsName, poison: &[&DnsName], at: Timestamp) {
        let clusters = |name: &DnsName| -> BTreeSet<ClusterId> {
            let changes = batch.changes().filter(|change| change.key.name == *name);
            changes.map(|change| change.cause.cluster.clone()).collect()
        };
        let own = clusters(name);
        if poison.iter().any(|poison| !clusters(poison).is_disjoint(&own)) {
            return;
        }
        let times = self.with_others.entry((batch.zone.clone(), name.clone())).or_default();
        *times += 1;
        if *times == MOST_WITH_OTHERS + 1 {
            let what = format!("{name} was refused {times} times with names of other clusters");
            self.violations.push(Violation::new(Invariant::PoisonIsAlone, at, what).about(name));
        }
    }
}

/// Whether a refusal speaks of what stands in the zone as well.
fn is_of_what_is_there(message: &str) -> bool {
    ["Tried to ", "is not permitted", "limit"].iter().any(|words| message.contains(words))
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn names_of(batch: &Batch) -> BTreeSet<DnsName> {
    batch.changes().map(|change| change.key.name.clone()).collect()
}

fn content_of(batch: &Batch, name: &DnsName) -> Vec<WireChange> {
    let is_of_name =
        |change: &&WireChange| DnsName::parse(&change.set.name).is_ok_and(|other| other == *name);
    let mut content: Vec<WireChange> = batch.wire.iter().filter(is_of_name).cloned().collect();
    content.sort();
    content
}
