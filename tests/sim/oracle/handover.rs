//! 7: A name that passes from one cluster to another, or from one endpoint to another, resolves throughout.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::{RecordKey, RecordType};
use zonefold::core::endpoint::EndpointKey;
use zonefold::core::ids::{BatchId, ClusterId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::planning::change::Batch;
use zonefold::core::time::{Millis, Timestamp};
use zonefold::emulator::JournalEntry;

use super::history::{Call, Commit, Event, History, What};
use super::owners::{Owner, Owners, is_ours, net_changes};
use super::stored::{Place, Stored};
use super::{Violation, model, placing};

/// How long before a batch a wish must have been stored so that the batch's planner has to know of it: news between
/// replicas takes a second, a start or a fail-over some more.
const KNOWN_AFTER: Millis = Millis::from_secs(30);

/// The endpoints that wanted a name when a batch was journalled.
type Heirs = Vec<(ClusterId, EndpointKey)>;

struct Reading<'a> {
    history: &'a History,
    owners: Owners,
    stored: Stored,
    /// The zone that each endpoint was written in last, below the apexes of zones that come and go.
    homes: BTreeMap<Place, ZoneId>,
    /// The sets that are there, by zone and name.
    present: BTreeMap<(ZoneId, DnsName), BTreeSet<RecordKey>>,
    /// For each journalled batch, who wanted its names then.
    heirs: BTreeMap<BatchId, BTreeMap<DnsName, Heirs>>,
    calls: BTreeMap<u64, (&'a Call, Timestamp)>,
    /// The sets that others made and took away again, and when: a broker that has not looked since believes them to be there.
    unseen: BTreeMap<(ZoneId, RecordKey), Timestamp>,
    /// The clusters whose registration has changed: whether they are registered, and since when.
    registered: BTreeMap<ClusterId, (bool, Timestamp)>,
}

/// No batch of ours leaves a name without records while an endpoint wants it that was known well before the batch was planned
/// and is still there when it is applied.
pub fn judge(history: &History) -> Vec<Violation> {
    let mut reading = Reading {
        history,
        owners: Owners::default(),
        stored: Stored::default(),
        homes: BTreeMap::new(),
        present: BTreeMap::new(),
        heirs: BTreeMap::new(),
        calls: BTreeMap::new(),
        unseen: BTreeMap::new(),
        registered: BTreeMap::new(),
    };
    history.log.iter().flat_map(|event| reading.read(event)).collect()
}

impl<'a> Reading<'a> {
    fn read(&mut self, event: &'a Event) -> Vec<Violation> {
        for changed in self.stored.apply(event) {
            if self.stored.get(&changed).is_none() {
                self.homes.remove(&changed);
            }
        }
        match &event.what {
            What::CallStarted(call) => drop(self.calls.insert(call.number, (call, event.at))),
            What::CallEnded { call, outcome } if outcome == "status 200" => {
                let looked = self
                    .calls
                    .get(call)
                    .filter(|(call, _)| call.action == "ListResourceRecordSets");
                if let Some((zone, since)) =
                    looked.and_then(|(call, since)| Some((call.zone.as_ref()?, *since)))
                {
                    self.unseen.retain(|(of, _), at| of != zone || *at >= since);
                }
            }
            What::Registered { cluster, registered } => {
                self.registered.insert(cluster.clone(), (*registered, event.at));
            }
            What::Committed { commit: Commit::BatchBegun(batch), .. } => {
                let names: BTreeSet<(DnsName, ClusterId)> = batch
                    .changes()
                    .map(|change| (change.key.name.clone(), change.cause.cluster.clone()))
                    .collect();
                let heirs = names.into_iter().map(|(name, holder)| {
                    let mut heirs = self.wanting(&batch.zone, &name, event.at);
                    // A holder that still wants anything there has not given the name up, and it is no other cluster's turn.
                    if self.stored.at(&name).any(|((cluster, _), _)| *cluster == holder) {
                        heirs.retain(|(cluster, _)| *cluster == holder);
                    }
                    (name, heirs)
                });
                let heirs = heirs.filter(|(_, heirs)| !heirs.is_empty()).collect();
                self.heirs.insert(batch.id, heirs);
                self.written(batch);
            }
            What::Applied { call, entry } => return self.applied(event.at, *call, entry),
            _ => {}
        }
        vec![]
    }

    fn written(&mut self, batch: &Batch) {
        let shifting = &self.history.world.shifting;
        let written = batch.changes().filter(|change| change.after.is_some());
        for change in written.filter(|change| model::is_below_any(&change.key.name, shifting)) {
            for key in &change.cause.endpoints {
                let place = (change.cause.cluster.clone(), key.clone());
                self.homes.insert(place, batch.zone.clone());
            }
        }
    }

    /// The endpoints that have wanted a name for long enough.
    fn wanting(&self, zone: &ZoneId, name: &DnsName, now: Timestamp) -> Heirs {
        let rows = self.stored.at(name).filter(|(_, row)| row.since + KNOWN_AFTER <= now);
        // An alias to another name of the zone waits for that one.
        let wants_it = |endpoint| {
            model::wish(endpoint).is_some_and(|wish| {
                wish.name == *name && wish.alias.is_none_or(|alias| alias.zone.is_some())
            })
        };
        let zones = &self.history.world.zones;
        // At the apex there is no place for a CNAME, and nothing of it may stand in the way of an answer here.
        let takes_it =
            zones.iter().any(|it| it.id == *zone && it.policy.allows_create() && it.apex != *name);
        let world = &self.history.world;
        // A closer zone that was made during the run has what came since; only what was written tells.
        let may_be_elsewhere = model::is_below_any(name, &world.shifting);
        let is_placed = |place: &Place, endpoint| {
            takes_it
                && placing::is_in(world, &place.0, endpoint, zone)
                && (!may_be_elsewhere || self.homes.get(place) == Some(zone))
        };
        // The endpoints of a cluster that is not registered are stored, but not published.
        let is_registered = |cluster: &ClusterId| {
            self.registered
                .get(cluster)
                .is_none_or(|(registered, since)| *registered && *since + KNOWN_AFTER <= now)
        };
        let heirs = rows.filter(|(place, row)| {
            wants_it(&row.endpoint) && is_placed(place, &row.endpoint) && is_registered(&place.0)
        });
        heirs.map(|((cluster, key), _)| (cluster.clone(), key.clone())).collect()
    }

    /// Whether an endpoint is still wanted, and no other writer took its record set away, or what was in its way: that name stopped to
    /// resolve before us, or could have begun to, and a broker that has not looked since cannot know. A set of ours may be in the way
    /// of another one too, that came later and waits.
    fn is_owed(&self, heir: &(ClusterId, EndpointKey), zone: &ZoneId) -> bool {
        self.stored.get(heir).and_then(|row| model::wish(&row.endpoint)).is_some_and(|wish| {
            wish.keys().all(|(rtype, set_identifier)| {
                let set_identifier = set_identifier.map(Into::into);
                let key = RecordKey { name: wish.name.clone(), rtype, set_identifier };
                let is_in_the_way = |other: &RecordKey| {
                    other.name == key.name
                        && (other.rtype == key.rtype
                            || [other.rtype, key.rtype].contains(&RecordType::Cname))
                };
                let waits_for_nothing =
                    self.unseen.keys().any(|(of, other)| of == zone && is_in_the_way(other));
                // Sets of one policy stand beside each other, and none waits for another.
                let is_beside = |other: &RecordKey| {
                    *other != key
                        && other.rtype == key.rtype
                        && other.set_identifier.is_some()
                        && key.set_identifier.is_some()
                };
                let was_taken_away = self.owners.at(zone, &key.name).any(|(other, owner)| {
                    owner == Owner::UsChanged && is_in_the_way(other) && !is_beside(other)
                });
                !was_taken_away && !waits_for_nothing
            })
        })
    }

    fn applied(
        &mut self,
        at: Timestamp,
        call: Option<u64>,
        entry: &JournalEntry,
    ) -> Vec<Violation> {
        let mut touched = BTreeSet::new();
        let mut had_ours = BTreeSet::new();
        for change in net_changes(entry) {
            let place = (entry.zone.clone(), change.key.name.clone());
            if matches!(self.owners.of(&entry.zone, &change.key), Some(Owner::Us))
                && change.before.is_some()
            {
                had_ours.insert(change.key.name.clone());
            }
            if change.after.is_none()
                && self.owners.of(&entry.zone, &change.key) == Some(Owner::Others)
            {
                self.unseen.insert((entry.zone.clone(), change.key.clone()), at);
            } else {
                self.unseen.remove(&(entry.zone.clone(), change.key.clone()));
            }
            let present = self.present.entry(place).or_default();
            if change.after.is_some() {
                present.insert(change.key.clone());
            } else {
                present.remove(&change.key);
            }
            touched.insert(change.key.name);
        }
        self.owners.apply(entry);
        let batch = call.and_then(|call| self.calls.get(&call)).and_then(|(call, _)| call.batch);
        let Some(heirs) = batch.and_then(|batch| self.heirs.get(&batch)).filter(|_| is_ours(entry))
        else {
            return vec![];
        };
        let is_empty = |name: &&DnsName| {
            self.present.get(&(entry.zone.clone(), (*name).clone())).is_none_or(BTreeSet::is_empty)
        };
        let emptied = touched.intersection(&had_ours).filter(is_empty);
        let mut violations = vec![];
        for name in emptied {
            let still = heirs
                .get(name)
                .into_iter()
                .flatten()
                .filter(|heir| self.is_owed(heir, &entry.zone));
            let still: Vec<String> =
                still.map(|(cluster, key)| format!("{cluster}: {key}")).collect();
            if !still.is_empty() {
                let what = format!(
                    "{name} stopped to resolve in batch {:?} while it was wanted by {}",
                    entry.comment.as_deref().unwrap_or_default(),
                    still.join(", ")
                );
                violations
                    .push(Violation::new(Invariant::HandoverWithoutGap, at, what).about(name));
            }
        }
        violations
    }
}
