//! A history as lines that a person can read: what was done, what went wrong, what was said and what came of it, in one order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::BatchId;
use zonefold::core::planning::change::{Action, Batch, WireChange};
use zonefold::core::time::Timestamp;
use zonefold::emulator::{ChangeAction, JournalEntry};

use super::super::history::{
    Agent, Commit, Event, History, LeaseChange, Op, RowChange, Sight, What,
};

/// The scope of a timeline.
pub enum Focus {
    /// Everything.
    All,
    /// Events about these names, and about everything (steps, faults, crashes, leases). Without names: calls and leases.
    Names(BTreeSet<String>),
}

/// The lines of a history, up to a time.
pub fn lines(history: &History, focus: &Focus, until: Timestamp) -> Vec<String> {
    let mut teller = Teller {
        focus,
        batches: BTreeMap::new(),
        calls: BTreeMap::new(),
        unacked: BTreeMap::new(),
    };
    let mut lines: Vec<String> = vec![];
    let mut repeated: Option<(&'static str, usize)> = None;
    for event in history.log.iter().take_while(|event| event.at <= until) {
        let Some(text) = teller.tell(event) else { continue };
        // The same kind of fault many times in a row says no more than once.
        if let (What::Fault { kind, .. }, Focus::Names(_)) = (&event.what, focus) {
            if let Some((last, count)) = repeated.as_mut().filter(|(last, _)| last == kind) {
                *count += 1;
                let more = format!("{:>13}  ... and {} more of {last}", "", *count);
                if *count > 1 {
                    lines.pop();
                }
                lines.push(more);
                continue;
            }
            repeated = Some((kind, 0));
        } else {
            repeated = None;
        }
        let offset_ms = (event.at - history.world.started_at).0;
        lines.push(format!("{:>9}.{:03}  {text}", offset_ms / 1_000, offset_ms % 1_000));
    }
    lines
}

struct Teller<'a> {
    focus: &'a Focus,
    /// Batches by the order in which they were journalled, since a person cannot keep their ids apart.
    batches: BTreeMap<BatchId, (usize, Batch)>,
    /// Each call's description, and whether it is shown.
    calls: BTreeMap<u64, (String, bool)>,
    /// Messages that were shown and are not acked, by agent and session.
    unacked: BTreeMap<(Agent, u64), BTreeSet<u64>>,
}

impl Teller<'_> {
    /// A line without its time; `None` if the event is out of focus.
    fn tell(&mut self, event: &Event) -> Option<String> {
        match &event.what {
            What::Step { number, text } => Some(format!("STEP {number}: {text}")),
            What::Fault { kind, text } => Some(format!("fault {kind}: {text}")),
            What::Started(part) => Some(format!("{part} starts")),
            What::Stopped(part) => Some(format!("{part} has stopped")),
            What::Crashed(part) => Some(format!("{part} CRASHES")),
            What::Panicked { part, message } => Some(format!("{part} PANICS: {message}")),
            // The step says it.
            What::Registered { .. } => None,
            What::Told(told) => Some(format!("{told:?}")),
            What::Healed => Some("== everything is healed ==".to_owned()),
            What::Quiet => Some("== all is quiet ==".to_owned()),
            What::Wanted { cluster, endpoint } => self
                .of(&endpoint.key)
                .then(|| format!("the objects of {cluster} want {}", endpoint_text(endpoint))),
            What::Unwanted { cluster, key } => {
                self.of(key).then(|| format!("the objects of {cluster} no longer want {key}"))
            }
            What::Saw { agent, sight } => self.sight(&agent.to_string(), sight),
            What::Sent { agent, epoch, seq, ops } => {
                let ops: Vec<String> =
                    ops.iter().filter(|op| self.of(key_of(op))).map(op_text).collect();
                if !ops.is_empty() {
                    self.unacked.entry((agent.clone(), *epoch)).or_default().insert(*seq);
                }
                (!ops.is_empty())
                    .then(|| format!("{agent} sends {seq} in session {epoch}: {}", ops.join("; ")))
            }
            What::Acked { agent, epoch, seq } => {
                let unacked = self.unacked.get_mut(&(agent.clone(), *epoch));
                let is_awaited = unacked.is_some_and(|unacked| {
                    let later = unacked.split_off(&(seq + 1));
                    !std::mem::replace(unacked, later).is_empty()
                });
                is_awaited.then(|| format!("{agent} is acked up to {seq} in session {epoch}"))
            }
            What::Status { agent, status } => self.of(&status.key).then(|| {
                let (progress, reason, message) =
                    (status.progress, &status.reason, &status.message);
                let colon = if message.is_empty() { "" } else { ": " };
                format!(
                    "{agent} is told that {} is {progress:?} ({reason}){colon}{message}",
                    status.key
                )
            }),
            What::Committed { replica, commit, .. } => {
                let who = replica.map_or_else(
                    || "the store".to_owned(),
                    |replica| format!("the store for {replica}"),
                );
                self.commit(&who, commit)
            }
            What::Lease { account, replica, epoch, change } => match change {
                LeaseChange::Taken { .. } => {
                    Some(format!("{replica} takes the lease {epoch} of {account}"))
                }
                LeaseChange::GivenBack => {
                    Some(format!("{replica} gives back the lease {epoch} of {account}"))
                }
                LeaseChange::Renewed { .. } => matches!(self.focus, Focus::All)
                    .then(|| format!("{replica} lengthens the lease {epoch} of {account}")),
            },
            What::CallStarted(call) => {
                let batch = call
                    .batch
                    .map_or_else(String::new, |id| format!(" with {}", self.batch_text(id)));
                let names = call.names.iter().any(|name| self.of_name(name.as_str()));
                let is_told = self.is_about_calls() || names;
                let lease = call
                    .lease_epoch
                    .map_or_else(String::new, |epoch| format!(" under lease {epoch}"));
                let text = format!(
                    "call {} of {}{lease} ({}{batch})",
                    call.number, call.replica, call.action
                );
                self.calls.insert(call.number, (text.clone(), is_told));
                is_told.then(|| format!("{text} is sent"))
            }
            What::CallArrived { call, granted } => {
                let arrives =
                    if *granted { "arrives at AWS" } else { "arrives at AWS, which THROTTLES it" };
                self.call(*call).map(|text| format!("{text} {arrives}"))
            }
            What::CallEnded { call, outcome } => {
                self.call(*call).map(|text| format!("{text} is over: {outcome}"))
            }
            What::Applied { entry, .. } => self.applied(entry),
            What::Poisoned { name } => Some(format!("AWS refuses {name} from now on")),
            What::Cured { name } => Some(format!("AWS takes {name} again")),
        }
    }

    fn sight(&self, agent: &str, sight: &Sight) -> Option<String> {
        match sight {
            Sight::Put(endpoint) => {
                self.of(&endpoint.key).then(|| format!("{agent} sees {}", endpoint_text(endpoint)))
            }
            Sight::Del(key) => self.of(key).then(|| format!("{agent} sees that {key} is gone")),
            Sight::Source { kind, synced } => {
                let is = if *synced { "is synced" } else { "is not synced" };
                (!self.is_about_calls() || matches!(self.focus, Focus::All))
                    .then(|| format!("{agent}: its source {kind} {is}"))
            }
        }
    }

    fn commit(&mut self, who: &str, commit: &Commit) -> Option<String> {
        match commit {
            Commit::Session { cluster, epoch, kube_system_uid } => {
                Some(format!("{who}: session {epoch} of {cluster} is open for {kube_system_uid}"))
            }
            Commit::Ingest { cluster, epoch, seq, rows, .. } => {
                let told = rows.iter().filter(|row| self.of(row.key()));
                let told: Vec<String> = told.map(row_text).collect();
                (!told.is_empty()).then(|| {
                    format!(
                        "{who}: session {epoch} of {cluster} commits {seq}: {}",
                        told.join("; ")
                    )
                })
            }
            Commit::BatchBegun(batch) => {
                let number = self.batches.len() + 1;
                self.batches.insert(batch.id, (number, Batch::clone(batch)));
                let told = self.wire_text(&batch.wire);
                told.map(|told| {
                    format!(
                        "{who}: batch {number} is journalled ({} changes): {told}",
                        batch.wire.len()
                    )
                })
            }
            Commit::BatchFinished { batch, outcome } => {
                let told = self
                    .batches
                    .get(batch)
                    .is_some_and(|(_, batch)| self.wire_text(&batch.wire).is_some());
                told.then(|| format!("{who}: {} has ended: {outcome:?}", self.batch_text(*batch)))
            }
            Commit::SpendHorizon { account, until } => {
                let is_told = matches!(self.focus, Focus::All);
                is_told.then(|| format!("{who}: tokens of {account} may be spent until {until}"))
            }
        }
    }

    fn applied(&self, entry: &JournalEntry) -> Option<String> {
        let changes = entry.changes.iter().filter(|change| {
            let set = change.after.as_ref().or(change.before.as_ref());
            self.is_about_calls()
                || set.is_some_and(|set| self.of_name(set.name.trim_end_matches('.')))
        });
        let changes = changes.map(|change| {
            let set = if change.action == ChangeAction::Delete {
                change.before.as_ref()
            } else {
                change.after.as_ref()
            };
            format!(
                "{} {}",
                change.action.as_str(),
                set.map_or_else(String::new, |set| set_text(set))
            )
        });
        let changes: Vec<String> = changes.collect();
        let id = entry.comment.as_deref().and_then(|comment| comment.strip_prefix("zonefold "));
        let who = match id.and_then(|id| id.parse().ok()).map(BatchId) {
            Some(id) => self.batch_text(id),
            None => "SOMEBODY ELSE'S write".to_owned(),
        };
        (!changes.is_empty()).then(|| format!("AWS applies {who}: {}", changes.join("; ")))
    }

    fn call(&self, call: u64) -> Option<&String> {
        self.calls.get(&call).filter(|(_, is_told)| *is_told).map(|(text, _)| text)
    }

    fn batch_text(&self, id: BatchId) -> String {
        self.batches.get(&id).map_or_else(
            || format!("the unknown batch {id}"),
            |(number, _)| format!("batch {number}"),
        )
    }

    fn wire_text(&self, wire: &[WireChange]) -> Option<String> {
        let told = wire.iter().filter(|change| {
            self.is_about_calls() || self.of_name(change.set.name.trim_end_matches('.'))
        });
        let told = told.map(|change| {
            let verb = if change.action == Action::Delete { "DELETE" } else { "CREATE" };
            format!("{verb} {}", set_text(&change.set))
        });
        let told: Vec<String> = told.take(6).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    fn of(&self, key: &EndpointKey) -> bool {
        self.of_name(&key.dns_name)
    }

    fn of_name(&self, name: &str) -> bool {
        match self.focus {
            Focus::All => true,
            Focus::Names(names) => names.contains(name),
        }
    }

    /// Whether calls as such are shown.
    fn is_about_calls(&self) -> bool {
        match self.focus {
            Focus::All => true,
            Focus::Names(names) => names.is_empty(),
        }
    }
}

fn key_of(op: &Op) -> &EndpointKey {
    match op {
        Op::Put { endpoint, .. } => &endpoint.key,
        Op::Del { key, .. } => key,
    }
}

fn op_text(op: &Op) -> String {
    match op {
        Op::Put { endpoint, .. } => format!("put {}", endpoint_text(endpoint)),
        Op::Del { key, .. } => format!("del {key}"),
    }
}

fn row_text(row: &RowChange) -> String {
    match row {
        RowChange::Stored(endpoint) => endpoint_text(endpoint),
        RowChange::Withheld(key, _) => format!("the key of {key}"),
        RowChange::Removed(key) => format!("that {key} is gone"),
    }
}

fn endpoint_text(endpoint: &Endpoint) -> String {
    let mut text = format!("{} = {}", endpoint.key, endpoint.targets.join(" "));
    if let Some(ttl) = endpoint.ttl_secs {
        // Writing to a string cannot fail.
        let _ = write!(text, " (TTL {ttl})");
    }
    text
}

fn set_text(set: &RawRecordSet) -> String {
    let name = set.name.trim_end_matches('.');
    let id = set.set_identifier.as_ref().map_or_else(String::new, |id| format!(" [{id}]"));
    let values = match &set.alias {
        Some(alias) => format!("alias of {}", alias.name),
        None => set.values.join(" "),
    };
    let ttl = set.ttl_secs.map_or_else(String::new, |ttl| format!(" (TTL {ttl})"));
    format!("{name} {}{id} = {values}{ttl}", set.rtype)
}
