//! 8: A quiet cluster's change goes out within a few calls, whatever a noisy one does.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::RecordKey;
use zonefold::core::endpoint::EndpointKey;
use zonefold::core::ids::{BatchId, ClusterId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::planning::change::Batch;
use zonefold::core::time::{Millis, Timestamp};

use super::history::{Call, Commit, Event, History, What};
use super::owners::{Owner, Owners, net_changes};
use super::stored::Stored;
use super::{Violation, model, placing};

/// The number of calls of its zone that may be applied before a quiet cluster's change goes out.
const FEW_CALLS: u32 = 5;
/// The number that may fail before that: a zone with repeated refusals is searched, and others have their turns between.
const FEW_FAILURES: u32 = 16;
/// A cluster is quiet while it changes no more than this number of endpoints ...
const FEW_CHANGES: usize = 3;
/// ... in this time.
const QUIET_TIME: Millis = Millis::from_secs(60);
/// The longest that news takes from one replica to another while nothing is broken; calls that were planned before it do not
/// count.
const NEWS_TIME: Millis = Millis::from_secs(3);

/// A change of a quiet cluster that waits.
struct Waiting {
    zone: ZoneId,
    name: DnsName,
    since: Timestamp,
    /// The calls that went out before it.
    overtaken_by: u32,
    /// The calls that were sent before it and failed.
    failed_before: u32,
    told: bool,
}

/// The outcome of a call that went out before a change.
#[derive(Clone, Copy)]
enum Overtaking {
    Applied,
    Failed,
}

struct Reading<'a> {
    history: &'a History,
    stored: Stored,
    owners: Owners,
    /// The values of each record set that was ever changed; empty if it is gone.
    standing: BTreeMap<(ZoneId, RecordKey), BTreeSet<String>>,
    /// When each cluster changed something lately.
    changes: BTreeMap<ClusterId, Vec<Timestamp>>,
    /// The names that each cluster changed and that no call has carried since: a cluster with many waits for its own turn.
    unsent: BTreeMap<ClusterId, BTreeSet<DnsName>>,
    batches: BTreeMap<BatchId, &'a Batch>,
    calls: BTreeMap<u64, (&'a Call, Timestamp)>,
    /// The names that were poisoned at any time: they have delays of their own.
    poisoned: BTreeSet<DnsName>,
    /// The clusters that are not registered: their endpoints are stored, but not published.
    unregistered: BTreeSet<ClusterId>,
    waiting: BTreeMap<(ClusterId, EndpointKey), Waiting>,
    violations: Vec<Violation>,
}

/// Follows every new wish of a quiet cluster for a name at which no other cluster has anything.
pub fn judge(history: &History) -> Vec<Violation> {
    let poisoned = history.log.iter().filter_map(|event| match &event.what {
        What::Poisoned { name } => Some(name.clone()),
        _ => None,
    });
    let mut reading = Reading {
        history,
        stored: Stored::default(),
        owners: Owners::default(),
        standing: BTreeMap::new(),
        changes: BTreeMap::new(),
        unsent: BTreeMap::new(),
        batches: BTreeMap::new(),
        calls: BTreeMap::new(),
        poisoned: poisoned.collect(),
        unregistered: BTreeSet::new(),
        waiting: BTreeMap::new(),
        violations: vec![],
    };
    for event in &history.log {
        reading.read(event);
    }
    reading.violations
}

impl<'a> Reading<'a> {
    fn read(&mut self, event: &'a Event) {
        for (cluster, key) in self.stored.apply(event) {
            self.changed(cluster, key, event.at);
        }
        match &event.what {
            What::Committed { commit: Commit::BatchBegun(batch), .. } => {
                self.batches.insert(batch.id, batch);
            }
            What::Registered { cluster, registered: true } => {
                self.unregistered.remove(cluster);
            }
            What::Registered { cluster, registered: false } => {
                self.unregistered.insert(cluster.clone());
                self.waiting.retain(|(other, _), _| other != cluster);
            }
            What::CallStarted(call) => {
                self.calls.insert(call.number, (call, event.at));
                // It went out: what becomes of it then is another question.
                self.waiting.retain(|_, waiting| !call.names.contains(&waiting.name));
                self.unsent
                    .values_mut()
                    .for_each(|unsent| unsent.retain(|name| !call.names.contains(name)));
            }
            What::CallEnded { call, outcome } if outcome != "status 200" => {
                let call = self.calls.get(call).map(|(call, _)| *call);
                let change = call.filter(|call| call.batch.is_some());
                if let Some((call, zone)) =
                    change.and_then(|call| Some((call, call.zone.as_ref()?)))
                {
                    self.overtake(zone, call, event.at, Overtaking::Failed);
                }
            }
            What::Applied { call, entry } => {
                self.owners.apply(entry);
                for change in net_changes(entry) {
                    let values = change.after.as_ref().map(model::values_of).unwrap_or_default();
                    self.standing.insert((entry.zone.clone(), change.key), values);
                }
                let call = call.and_then(|call| self.calls.get(&call).copied());
                if let Some((call, _)) = call {
                    self.overtake(&entry.zone, call, event.at, Overtaking::Applied);
                }
            }
            _ => {}
        }
    }

    fn changed(&mut self, cluster: ClusterId, key: EndpointKey, at: Timestamp) {
        let recent = self.changes.entry(cluster.clone()).or_default();
        recent.retain(|change| *change + QUIET_TIME >= at);
        recent.push(at);
        let unsent = self.unsent.entry(cluster.clone()).or_default();
        let is_quiet = recent.len() <= FEW_CHANGES
            && unsent.len() < FEW_CHANGES
            && !self.unregistered.contains(&cluster);
        if !is_quiet {
            self.waiting.retain(|(other, _), _| *other != cluster);
        }
        let place = (cluster, key);
        self.waiting.remove(&place);
        unsent.extend(
            self.stored
                .get(&place)
                .and_then(|row| model::wish(&row.endpoint))
                .map(|wish| wish.name),
        );
        let Some(row) = self.stored.get(&place).filter(|_| is_quiet) else { return };
        let Some(wish) = model::wish(&row.endpoint) else { return };
        // An alias to another name of the zone waits for that one.
        if wish.alias.is_some() {
            return;
        }
        let Some(zone) = placing::only_zone(&self.history.world, &place.0, &row.endpoint) else {
            return;
        };
        // A set that is there as wanted, left by another cluster as a rule, needs no call.
        let stands = self.standing.iter().any(|((of, key), values)| {
            *of == zone.id && wish.is_for(key) && *values == wish.values_in(&zone.id)
        });
        let is_alone = self.stored.at(&wish.name).all(|(other, _)| *other == place);
        let is_ours = self.owners.at(&zone.id, &wish.name).all(|(_, owner)| owner == Owner::Us);
        if is_alone
            && !stands
            && is_ours
            && zone.policy.allows_update()
            && wish.name != zone.apex
            && !self.poisoned.contains(&wish.name)
        {
            let waiting = Waiting {
                zone: zone.id.clone(),
                name: wish.name,
                since: at,
                overtaken_by: 0,
                failed_before: 0,
                told: false,
            };
            self.waiting.insert(place, waiting);
        }
    }

    fn overtake(&mut self, zone: &ZoneId, call: &Call, at: Timestamp, how: Overtaking) {
        let batch = call.batch.and_then(|batch| self.batches.get(&batch));
        let planned_at = batch.map(|batch| batch.planned_at);
        let Some(started_at) = self.calls.get(&call.number).map(|(_, started_at)| *started_at)
        else {
            return;
        };
        let planned_at = planned_at.unwrap_or(started_at).min(started_at);
        for ((cluster, key), waiting) in &mut self.waiting {
            // A new configuration may give it many changes that it did not ask for. They wait for its own turn, as this one does.
            let is_its_turn = batch.is_some_and(|batch| {
                batch.changes().any(|change| change.cause.cluster == *cluster)
            });
            if waiting.zone != *zone
                || planned_at < waiting.since + NEWS_TIME
                || waiting.told
                || is_its_turn
            {
                continue;
            }
            match how {
                Overtaking::Applied => waiting.overtaken_by += 1,
                Overtaking::Failed => waiting.failed_before += 1,
            }
            if waiting.overtaken_by > FEW_CALLS || waiting.failed_before > FEW_FAILURES {
                waiting.told = true;
                let what = format!(
                    "{} calls were applied in {zone} and {} failed since {cluster} got {key} stored at {}, and it is in none of them",
                    waiting.overtaken_by, waiting.failed_before, waiting.since
                );
                self.violations
                    .push(Violation::new(Invariant::NoStarvation, at, what).about(&waiting.name));
            }
        }
    }
}
