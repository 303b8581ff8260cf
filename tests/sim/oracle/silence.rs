//! 2: Only an observed deletion, or absence from a complete and synced view, deletes.

use std::collections::BTreeMap;

use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::{ClusterId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::record::RecordKey;
use zonefold::emulator::JournalEntry;

use super::history::{Commit, Event, History, RowChange, What};
use super::owners::{NetChange, is_ours, net_changes};
use super::views::Views;
use super::{Violation, model};

/// A value of a record set that we made.
type Value = (ZoneId, RecordKey, String);

struct Reading<'a> {
    history: &'a History,
    views: Views,
    /// Where in the log each value that is there came to be.
    born: BTreeMap<Value, usize>,
    /// Where in the log each call was started.
    calls: BTreeMap<u64, usize>,
    /// Who ever had an endpoint stored that wants a value at a name, by the name's text and type.
    suppliers: BTreeMap<(ClusterId, EndpointKey), Vec<Endpoint>>,
}

/// Each value of ours that goes away had an endpoint that gave it; an agent must have had good reason to say that this endpoint
/// no longer wants it, after the value came to be and before the call that took it away arrived.
pub fn judge(history: &History) -> Vec<Violation> {
    let mut reading = Reading {
        history,
        views: Views::of(&history.log),
        born: BTreeMap::new(),
        calls: BTreeMap::new(),
        suppliers: BTreeMap::new(),
    };
    history.log.iter().enumerate().flat_map(|(index, event)| reading.read(index, event)).collect()
}

impl Reading<'_> {
    fn read(&mut self, index: usize, event: &Event) -> Vec<Violation> {
        match &event.what {
            What::CallStarted(call) => drop(self.calls.insert(call.number, index)),
            What::Committed { commit: Commit::Ingest { cluster, rows, .. }, .. } => {
                for row in rows {
                    if let RowChange::Stored(endpoint) = row {
                        let at = (cluster.clone(), endpoint.key.clone());
                        self.suppliers.entry(at).or_default().push(endpoint.clone());
                    }
                }
            }
            What::Applied { call, entry } => {
                let started = call.and_then(|call| self.calls.get(&call)).copied().unwrap_or(index);
                return net_changes(entry)
                    .into_iter()
                    .flat_map(|change| self.applied(index, started, event, entry, &change))
                    .collect();
            }
            _ => {}
        }
        vec![]
    }

    fn applied(
        &mut self,
        index: usize,
        started: usize,
        event: &Event,
        entry: &JournalEntry,
        change: &NetChange,
    ) -> Vec<Violation> {
        let values = |set: &Option<_>| set.as_ref().map(model::values_of).unwrap_or_default();
        let (before, after) = (values(&change.before), values(&change.after));
        let is_ours = is_ours(entry);
        let creates_another = |other: &NetChange| other.key.name == change.key.name && other.after.is_some();
        let is_replaced = net_changes(entry).iter().any(creates_another);
        let mut violations = vec![];
        for value in before.difference(&after) {
            let Some(born) = self.born.remove(&(entry.zone.clone(), change.key.clone(), value.clone())) else { continue };
            let wanted_by = self.wanted_by(change, value);
            let is_explained = |keys: &Vec<EndpointKey>, cluster: &ClusterId| {
                let from = born.min(started);
                keys.iter().all(|key| {
                    let wants = |endpoint: &Endpoint| wants(endpoint, &change.key, value);
                    // An older endpoint of the cluster that came to want another type takes the name over.
                    let gives_way = || is_replaced && self.views.saw_another(cluster, key, from, index);
                    self.views.lacked(cluster, key, from, index, wants) || gives_way()
                })
            };
            if !is_ours || wanted_by.is_empty() || wanted_by.iter().any(|(cluster, keys)| is_explained(keys, cluster)) {
                continue;
            }
            let who: Vec<String> =
                wanted_by.iter().flat_map(|(cluster, keys)| keys.iter().map(move |key| format!("{cluster}: {key}"))).collect();
            let what = format!(
                "{} lost {value} in batch {:?}, and no agent saw that it is no longer wanted by {}",
                change.key,
                entry.comment.as_deref().unwrap_or("without a comment"),
                who.join(", ")
            );
            violations.push(Violation::new(Invariant::SilenceNeverDeletes, event.at, what).about(&change.key.name));
        }
        for value in after.difference(&before).filter(|_| is_ours) {
            self.born.insert((entry.zone.clone(), change.key.clone(), value.clone()), index);
        }
        violations
    }

    /// The endpoints, by cluster, that ever wanted the value there.
    fn wanted_by(&self, change: &NetChange, value: &str) -> BTreeMap<ClusterId, Vec<EndpointKey>> {
        let mut found: BTreeMap<ClusterId, Vec<EndpointKey>> = BTreeMap::new();
        for ((cluster, key), contents) in &self.suppliers {
            let is_placed = model::place(&self.history.world, cluster, &change.key.name).is_some();
            if is_placed && contents.iter().any(|endpoint| wants(endpoint, &change.key, value)) {
                found.entry(cluster.clone()).or_default().push(key.clone());
            }
        }
        found
    }
}

fn wants(endpoint: &Endpoint, key: &RecordKey, value: &str) -> bool {
    model::wish(endpoint).is_some_and(|wish| wish.name == key.name && wish.rtype == key.rtype && wish.values.contains(value))
}
