//! 11: When inputs stop, observed equals desired, or the statuses sent to a cluster say why not.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::{RawRecordSet, RecordKey, RecordType};
use zonefold::core::endpoint::verdict::{Reason, VerdictState};
use zonefold::core::endpoint::{Endpoint, EndpointKey, Version};
use zonefold::core::ids::{BatchId, ClusterId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::planning::change::Batch;
use zonefold::core::planning::policy::{AdoptPolicy, DriftPolicy, ZonePolicy};
use zonefold::emulator::Action as Operation;

use super::Violation;
use super::history::{
    Agent, AgentEnd, Call, Commit, History, Part, Progress, Sight, StoredEndpoint, What, Zone,
};
use super::model::{self, Expected, Policy, Set, SetKey, set_key};
use super::owners::{Owner, Owners, is_ours, net_changes};
use super::placing;
use super::{quota, sharing};

/// A name that is not as it should be.
pub struct Unsettled {
    /// The zone.
    pub zone: ZoneId,
    /// The name.
    pub name: DnsName,
    /// The fault.
    pub what: String,
}

/// The chain from the objects to the record sets and back, link by link: the agents hold what their clusters want, the store
/// what the agents hold, Route 53 what the stored endpoints add up to, the book what Route 53 holds, and the agents the last
/// word. It is judged where a run was healed and then left alone; one that never came to rest then is a violation itself.
pub fn judge(history: &History) -> Vec<Violation> {
    if !was_healed(history) {
        return vec![];
    }
    let at = history.end.at;
    let found = |what: String| Violation::new(Invariant::Converges, at, what);
    let mut violations: Vec<Violation> = unsettled_names(history)
        .into_iter()
        .map(|unsettled| found(unsettled.what).about(&unsettled.name))
        .collect();
    if !history.log.iter().any(|event| matches!(event.what, What::Quiet)) {
        violations
            .push(found("after everything was healed the world did not come to rest".to_owned()));
    }
    for stored in history.end.batches.iter().filter(|stored| stored.outcome.is_none()) {
        violations.push(found(format!("nobody knows what became of batch {}", stored.batch.id)));
    }
    let running = history.end.agents.iter().filter(|(_, held)| !held.refused);
    for (agent, held) in running {
        if held.live {
            violations.extend(agent_has_the_truth(history, agent, held));
            violations.extend(store_has_the_agents(history, agent, held));
        } else {
            violations.push(found(format!("{agent} has no live session")));
        }
    }
    violations.extend(quota::judge(history));
    violations.extend(book_is_exact(history));
    violations.extend(last_word(history));
    violations
}

/// Whether everything was healed, and so had time.
fn was_healed(history: &History) -> bool {
    history.log.iter().any(|event| matches!(event.what, What::Healed))
}

/// The names whose records are not what the stored endpoints add up to, where nothing excuses it.
pub fn unsettled_names(history: &History) -> Vec<Unsettled> {
    if !was_healed(history) {
        return vec![];
    }
    let (owners, looks_foreign) = (Owners::at_the_end(history), may_look_foreign(history));
    let mut expected = model::expect(history);
    let mut unsettled = vec![];
    for zone in &history.world.zones {
        let Some(records) = history.end.zones.get(&zone.id) else { continue };
        let mut names: BTreeMap<DnsName, Vec<(RecordKey, &RawRecordSet)>> = BTreeMap::new();
        for set in records {
            let Ok(key) = set.key() else { continue };
            names.entry(key.name.clone()).or_default().push((key, set));
        }
        let wanted: Vec<DnsName> = expected
            .keys()
            .filter(|(id, _)| *id == zone.id)
            .map(|(_, name)| name.clone())
            .collect();
        for name in wanted {
            names.entry(name).or_default();
        }
        for (name, held) in names {
            // Names that clusters share are judged apart.
            if sharing::is_ever_shared(history, &zone.id, &name) {
                continue;
            }
            let expected = expected.remove(&(zone.id.clone(), name.clone())).unwrap_or_default();
            let one = Name {
                history,
                zone,
                name: &name,
                held: &held,
                expected: &expected,
                owners: &owners,
                looks_foreign: &looks_foreign,
            };
            if let Some(what) = one.is_wrong() {
                unsettled.push(Unsettled { zone: zone.id.clone(), name, what });
            }
        }
    }
    unsettled
}

/// The sets that we made once and that may be taken for foreign all the same: another writer made them anew after they were gone, or
/// changed them, and a batch of ours that was about them had an answer that was lost. A later reader then cannot
/// know whether the other writer changed ours, or made its own after ours was gone. What such a batch makes late is ours once a
/// listing has shown it.
fn may_look_foreign(history: &History) -> BTreeSet<(ZoneId, RecordKey)> {
    type Sets = BTreeSet<(ZoneId, RecordKey)>;
    let (mut batches, mut calls) = (BTreeMap::new(), BTreeMap::new());
    let mut lost: BTreeSet<BatchId> = BTreeSet::new();
    let mut shown: BTreeMap<u64, Sets> = BTreeMap::new();
    let (mut found, mut unseen) = (Sets::new(), Sets::new());
    for event in &history.log {
        match &event.what {
            What::CallStarted(call) => {
                calls.insert(call.number, call);
            }
            What::CallArrived { call, .. } => {
                let call: Option<&&Call> = calls.get(call);
                let lists =
                    call.filter(|call| call.action == Operation::ListResourceRecordSets.as_str());
                if let Some(call) = lists
                    && let Some(zone) = &call.zone
                {
                    let here = unseen.iter().filter(|(of, _)| of == zone).cloned();
                    shown.insert(call.number, here.collect());
                }
            }
            What::CallEnded { call, outcome } if outcome == "status 200" => {
                for set in shown.remove(call).unwrap_or_default() {
                    unseen.remove(&set);
                    found.remove(&set);
                }
            }
            What::Applied { entry, call } => {
                let batch = call.and_then(|call| calls.get(&call)?.batch);
                let is_late = batch.is_some_and(|batch| lost.contains(&batch));
                for change in net_changes(entry).into_iter().filter(|change| change.after.is_some())
                {
                    let (set, is_new) = ((entry.zone.clone(), change.key), change.before.is_none());
                    if !is_ours(entry) {
                        // No listing can show any more that it was ours.
                        if unseen.remove(&set) || is_new {
                            found.insert(set);
                        }
                    } else if is_late {
                        unseen.insert(set);
                    } else {
                        unseen.remove(&set);
                        found.remove(&set);
                    }
                }
            }
            What::Committed { commit: Commit::BatchBegun(batch), .. } => {
                let batch: &Batch = batch;
                batches.insert(batch.id, batch);
            }
            What::Committed { commit: Commit::BatchFinished { batch, outcome }, .. }
                if outcome.may_come_late() =>
            {
                lost.insert(*batch);
                let keys = batches
                    .get(batch)
                    .into_iter()
                    .flat_map(|batch| batch.changes().map(|change| (&batch.zone, &change.key)));
                found.extend(keys.map(|(zone, key)| (zone.clone(), key.clone())));
            }
            _ => {}
        }
    }
    found
}

/// One name of one zone.
struct Name<'a> {
    history: &'a History,
    zone: &'a Zone,
    name: &'a DnsName,
    held: &'a [(RecordKey, &'a RawRecordSet)],
    expected: &'a Expected,
    owners: &'a Owners,
    looks_foreign: &'a BTreeSet<(ZoneId, RecordKey)>,
}

impl Name<'_> {
    fn is_wrong(&self) -> Option<String> {
        let is_left_alone = self.zone.policy == ZonePolicy::Observe || self.expected.unmodelled;
        if is_left_alone || self.history.end.poisoned.contains(self.name) {
            return None;
        }
        for (wanted, set) in &self.expected.sets {
            let held = self.held.iter().find(|(key, _)| set_key(key) == *wanted);
            let is_as_wanted = held.map_or(set.may_be_left_out, |(_, held)| {
                let values = model::values_of(held);
                let sum = self.expected.sums.get(wanted).unwrap_or(&set.values);
                held.ttl_secs == set.ttl_secs
                    && Policy::of(held) == set.policy
                    && values.is_superset(&set.values)
                    && values.is_subset(sum)
            });
            // A set that waits for its target leaves what is there as it is.
            let is_left = set.may_be_left_out && self.is_pending();
            if is_as_wanted
                || is_left
                || self.expected.retained.contains(wanted)
                || self.is_excused(wanted, set)
            {
                continue;
            }
            let is = held.map_or_else(
                || "not there".to_owned(),
                |(_, set)| text(set.ttl_secs, &model::values_of(set), &Policy::of(set)),
            );
            let holder = self.expected.holder.as_ref().map_or("nobody", |cluster| cluster.as_str());
            return Some(format!(
                "{} {} is {is}, and {holder}, who holds the name, wants {}",
                self.name,
                name_of(wanted),
                text(set.ttl_secs, &set.values, &set.policy)
            ));
        }
        let is_surplus = |key: &RecordKey| {
            let set = set_key(key);
            let is_wanted = self.expected.sets.contains_key(&set)
                || self.expected.retained.contains(&set)
                || self.expected.loose.contains(&set);
            !is_wanted && self.owner(key) == Some(Owner::Us)
        };
        // A set that is no longer wanted stays as long as something that is wanted at the name cannot be written and might replace
        // it, or the name would have nothing.
        let is_all = self.held.iter().all(|(key, _)| is_surplus(key));
        let waits = |wanted: &SetKey, set: &Set| {
            self.is_excused(wanted, set) || (set.may_be_left_out && self.is_pending())
        };
        let is_kept = |key: &RecordKey| {
            let mut waiting = self.expected.sets.iter().filter(|(wanted, set)| waits(wanted, set));
            waiting.any(|((rtype, _), _)| is_all || replaces(*rtype, key.rtype))
        };
        let surplus = self.held.iter().find(|(key, _)| is_surplus(key) && !is_kept(key));
        let (key, set) = surplus.filter(|_| self.zone.policy.allows_delete())?;
        Some(format!(
            "{key} is {}, and nobody wants it",
            text(set.ttl_secs, &model::values_of(set), &Policy::of(set))
        ))
    }

    /// Whether an alias of the name waits for its target.
    fn is_pending(&self) -> bool {
        !self.expected.pending.is_empty()
    }

    fn owner(&self, key: &RecordKey) -> Option<Owner> {
        self.owners.of(&self.zone.id, key)
    }

    /// Another writer's record set is in the way, or one of ours that another writer changed in a zone that only reports drift, or
    /// one that stays because the endpoint that made it cannot be read any more, or the zone's policy is to leave what is there.
    /// Adopting is for sets of the same name and type: what excludes the wanted one stays in its way. Sets that pass their places on
    /// to each other wait for each other.
    fn is_excused(&self, wanted: &SetKey, set: &Set) -> bool {
        self.is_hindered(wanted, set)
            || (set.policy.place().is_some()
                && self.expected.sets.iter().any(|(other, set)| {
                    other.0 == wanted.0 && other != wanted && self.is_hindered(other, set)
                }))
    }

    fn is_hindered(&self, wanted: &SetKey, set: &Set) -> bool {
        let excludes = |key: &RecordKey, held: &RawRecordSet| {
            let policy = Policy::of(held);
            let is_place = policy.place().is_some() && policy.place() == set.policy.place();
            (key.rtype == RecordType::Cname) != (wanted.0 == RecordType::Cname)
                || (key.rtype == wanted.0
                    && set_key(key) != *wanted
                    && (policy.kind != set.policy.kind || is_place))
        };
        // Weighted sets have one TTL.
        let is_of_another_ttl = |key: &RecordKey, held: &RawRecordSet| {
            let stays = self.owner(key) != Some(Owner::Us)
                || self.expected.retained.contains(&set_key(key))
                || !self.zone.policy.allows_delete();
            let is_weighted = Policy::of(held).kind == "weight" && set.policy.kind == "weight";
            let differs = key.rtype == wanted.0 && held.ttl_secs != set.ttl_secs;
            is_weighted && differs && stays && set_key(key) != *wanted && held.ttl_secs.is_some()
        };
        let is_adopted =
            |key: &RecordKey| set_key(key) == *wanted && self.zone.adopt == AdoptPolicy::Any;
        let is_in_the_way = |key: &RecordKey, held: &RawRecordSet| {
            (set_key(key) == *wanted || excludes(key, held)) && !is_adopted(key)
        };
        let is_alert = self.zone.drift == DriftPolicy::Alert;
        let is_foreign = |key: &RecordKey| match self.owner(key) {
            Some(Owner::Us) => false,
            Some(Owner::UsChanged) => {
                is_alert || self.looks_foreign.contains(&(self.zone.id.clone(), key.clone()))
            }
            Some(Owner::Others) | None => true,
        };
        let key = RecordKey {
            name: self.name.clone(),
            rtype: wanted.0,
            set_identifier: wanted.1.as_deref().map(Into::into),
        };
        let is_left = self.owner(&key) == Some(Owner::UsChanged) && is_alert;
        let is_kept = |key: &RecordKey, held: &RawRecordSet| {
            excludes(key, held) && self.expected.retained.contains(&set_key(key))
        };
        self.held.iter().any(|(key, set)| {
            (is_in_the_way(key, set) && is_foreign(key))
                || is_kept(key, set)
                || is_of_another_ttl(key, set)
        }) || is_left
            || !self.zone.policy.allows_update()
    }
}

/// Whether a wanted set may be what becomes of one of another type: one address of another, a CNAME of anything.
fn replaces(wanted: RecordType, held: RecordType) -> bool {
    let is_address = |rtype| matches!(rtype, RecordType::A | RecordType::Aaaa);
    [wanted, held].contains(&RecordType::Cname)
        || wanted == held
        || (is_address(wanted) && is_address(held))
}

fn text(ttl_secs: Option<i64>, values: &BTreeSet<String>, policy: &Policy) -> String {
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let ttl = ttl_secs.map_or_else(|| "none".to_owned(), |ttl| ttl.to_string());
    let Policy { kind, value, .. } = policy;
    let routing = if kind.is_empty() { String::new() } else { format!(", {kind} {value}") };
    format!("{} (TTL {ttl}{routing})", values.join(" "))
}

fn name_of((rtype, set): &SetKey) -> String {
    set.as_ref().map_or_else(|| rtype.to_string(), |set| format!("{rtype} [{set}]"))
}

/// The agent's index holds what the cluster's objects want, as far as its sources are synced.
fn agent_has_the_truth(history: &History, agent: &Agent, held: &AgentEnd) -> Vec<Violation> {
    let mut truth: BTreeMap<&EndpointKey, &Endpoint> = BTreeMap::new();
    for event in &history.log {
        match &event.what {
            What::Wanted { cluster, endpoint } if *cluster == agent.cluster => {
                truth.insert(&endpoint.key, endpoint);
            }
            What::Unwanted { cluster, key } if *cluster == agent.cluster => drop(truth.remove(key)),
            _ => {}
        }
    }
    let synced = synced_sources(history, agent);
    let versions =
        |endpoints: &mut dyn Iterator<Item = &Endpoint>| -> BTreeMap<EndpointKey, Version> {
            let of_synced =
                endpoints.filter(|endpoint| synced.contains(endpoint.key.source.as_str()));
            of_synced.map(|endpoint| (endpoint.key.clone(), endpoint.version())).collect()
        };
    let (wanted, held) = (versions(&mut truth.into_values()), versions(&mut held.endpoints.iter()));
    differences(&wanted, &held)
        .into_iter()
        .map(|key| {
            let what = format!("{agent} does not hold {key} as its cluster wants it");
            Violation::new(Invariant::Converges, history.end.at, what).about(&key.dns_name)
        })
        .collect()
}

/// The store holds what the agent holds, as far as its sources are synced.
fn store_has_the_agents(history: &History, agent: &Agent, held: &AgentEnd) -> Vec<Violation> {
    let synced = synced_sources(history, agent);
    let of_synced = |key: &EndpointKey| synced.contains(key.source.as_str());
    let sent = held.endpoints.iter().map(|endpoint| (endpoint.key.clone(), endpoint.version()));
    let sent: BTreeMap<EndpointKey, Version> = sent.filter(|(key, _)| of_synced(key)).collect();
    let rows = history.end.endpoints.iter().filter(|row| row.cluster == agent.cluster);
    let rows = rows
        .map(|row| (row.endpoint.key.clone(), row.version))
        .filter(|(key, _)| of_synced(key))
        .collect();
    differences(&sent, &rows)
        .into_iter()
        .map(|key| {
            let what = format!("the store does not hold {key} as {agent} does");
            Violation::new(Invariant::Converges, history.end.at, what).about(&key.dns_name)
        })
        .collect()
}

fn differences(
    one: &BTreeMap<EndpointKey, Version>,
    other: &BTreeMap<EndpointKey, Version>,
) -> BTreeSet<EndpointKey> {
    one.keys().chain(other.keys()).filter(|key| one.get(*key) != other.get(*key)).cloned().collect()
}

/// The kinds of source that the agent reports as synced, since it started last.
fn synced_sources(history: &History, agent: &Agent) -> BTreeSet<String> {
    let mut synced = BTreeSet::new();
    for event in &history.log {
        match &event.what {
            What::Started(Part::Agent(started)) if started == agent => synced.clear(),
            What::Saw { agent: seeing, sight: Sight::Source { kind, synced: is_synced } }
                if seeing == agent =>
            {
                if *is_synced {
                    synced.insert(kind.clone());
                } else {
                    synced.remove(kind);
                }
            }
            _ => {}
        }
    }
    synced
}

/// The broker's book is exact: each set in it is there, letter by letter, and no set that the broker made is missing from it.
fn book_is_exact(history: &History) -> Vec<Violation> {
    let owners = Owners::at_the_end(history);
    let mut violations = vec![];
    for (zone, records) in &history.end.zones {
        let Some(book) = history.end.book.get(zone) else { continue };
        let held: BTreeSet<&RawRecordSet> = records.iter().collect();
        let noted: BTreeSet<&RawRecordSet> = book.iter().collect();
        let wrong = noted.difference(&held).map(|set| (set, "is in the book and not in Route 53"));
        let is_ours = |set: &&&RawRecordSet| {
            set.key().is_ok_and(|key| owners.of(zone, &key) == Some(Owner::Us))
        };
        let missing = held
            .difference(&noted)
            .filter(is_ours)
            .map(|set| (set, "was made by us and is not in the book"));
        for (set, wrong) in wrong.chain(missing) {
            let name = set.name.trim_end_matches('.');
            let values = text(set.ttl_secs, &model::values_of(set), &Policy::of(set));
            let what = format!("{name} {} = {values} {wrong}", set.rtype);
            violations.push(Violation::new(Invariant::Converges, history.end.at, what).about(name));
        }
    }
    violations
}

/// The last status of an endpoint sent to each agent is true: the worst of the outcomes in its zones.
fn last_word(history: &History) -> Vec<Violation> {
    let expected = model::expect(history);
    let owners = Owners::at_the_end(history);
    let placed = placing::at_the_end(history);
    let mut violations = vec![];
    for (index, row) in history.end.endpoints.iter().enumerate() {
        let at = placed.get(&(row.cluster.clone(), row.endpoint.key.clone()));
        let (Some(at), Ok(name)) = (at, DnsName::parse(&row.endpoint.key.dns_name)) else {
            continue;
        };
        if row.withheld.is_some() {
            if !history.end.unregistered.contains(&row.cluster) {
                violations.extend(word_of(history, row, Told::Waiting(Reason::Quota)));
            }
            continue;
        }
        let is_unreadable = model::read(&row.endpoint) == model::Reading::Invalid;
        if is_unreadable && at.ever.is_empty() && !history.end.unregistered.contains(&row.cluster) {
            violations.extend(word_of(history, row, Told::Rejected));
        }
        let Some(zones) = at.known().filter(|_| at.is_decided) else { continue };
        let told = zones.iter().map(|zone| {
            let expected = expected.get(&(zone.clone(), name.clone()))?;
            let is_clear = !expected.unmodelled
                && expected.retained.is_empty()
                && model::is_undisturbed(history, &owners, zone, &name);
            if !is_clear {
                return None;
            }
            let is_poisoned = history.end.poisoned.contains(&name);
            let is_in = |indices: &[usize]| indices.contains(&index);
            if is_in(&expected.rejected) {
                Some(Told::Rejected)
            } else if is_in(&expected.waiting) {
                Some(Told::Waiting(Reason::NameHeld))
            } else if is_in(&expected.conflicting) {
                Some(Told::Waiting(Reason::ConflictInCluster))
            } else if expected.pending.contains(&index) {
                Some(Told::Pending)
            } else if is_in(&expected.accepted) {
                Some(Told::Accepted { is_poisoned })
            } else {
                None
            }
        });
        // Where one of the zones is not judged, the worst is unknown.
        let told: Option<BTreeSet<Told>> = told.collect();
        if let Some(worst) = told.and_then(|told| told.last().copied()) {
            violations.extend(word_of(history, row, worst));
        }
    }
    violations
}

/// The status that an endpoint's cluster should have been sent; the worst is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Accepted { is_poisoned: bool },
    Pending,
    Waiting(Reason),
    Rejected,
}

fn word_of(history: &History, row: &StoredEndpoint, told: Told) -> Vec<Violation> {
    let key = &row.endpoint.key;
    let mut violations = vec![];
    let mut found = |what: String| {
        violations
            .push(Violation::new(Invariant::Converges, history.end.at, what).about(&key.dns_name));
    };
    let is_stored = match (told, row.verdict) {
        (Told::Accepted { .. } | Told::Pending, Some((state, _))) => {
            state == VerdictState::Accepted
        }
        (Told::Waiting(reason), Some((state, stored))) => {
            state == VerdictState::Waiting && stored == reason
        }
        (Told::Rejected, Some((state, _))) => state == VerdictState::Rejected,
        (_, None) => false,
    };
    if !is_stored {
        found(format!(
            "the verdict on {key} of {} should be {told:?} and is {:?}",
            row.cluster, row.verdict
        ));
    }
    for (agent, held) in agents_of(history, &row.cluster).filter(|(_, held)| held.live) {
        if !held.endpoints.iter().any(|endpoint| endpoint.version() == row.version) {
            continue;
        }
        let Some(status) = held.statuses.iter().find(|status| status.key == *key) else {
            found(format!("{agent} was told nothing about {key}"));
            continue;
        };
        let is_told = match told {
            Told::Accepted { is_poisoned: true } => status.progress == Progress::Refused,
            Told::Accepted { is_poisoned: false } => {
                matches!(status.progress, Progress::Applied | Progress::InSync)
            }
            Told::Pending => status.progress == Progress::Pending,
            Told::Waiting(reason) => status.reason == reason.as_str(),
            Told::Rejected => status.verdict == Some(VerdictState::Rejected),
        };
        if !is_told || status.version.is_some_and(|version| version != row.version) {
            let (verdict, progress, reason) = (status.verdict, status.progress, &status.reason);
            found(format!(
                "{agent} was told last that {key} is {verdict:?}, {progress:?}, {reason}; it should be {told:?}"
            ));
        }
    }
    violations
}

fn agents_of<'a>(
    history: &'a History,
    cluster: &'a ClusterId,
) -> impl Iterator<Item = (&'a Agent, &'a AgentEnd)> {
    history
        .end
        .agents
        .iter()
        .filter(move |(agent, held)| agent.cluster == *cluster && !held.refused)
}
