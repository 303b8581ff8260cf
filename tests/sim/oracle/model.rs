//! A small model of what the wishes for one name add up to.
//!
//! Names with wishes that it cannot read are unmodelled; the oracle leaves them alone.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::{RawRecordSet, RecordKey, RecordType};
use zonefold::core::endpoint::EndpointKey;
use zonefold::core::ids::{ClusterId, ZoneId};
use zonefold::core::planning::policy::{AdoptPolicy, DriftPolicy, ZonePolicy};

use super::history::{Commit, Event, History, RowChange, StoredEndpoint, What, Zone};
use super::owners::{Owner, Owners};
use super::placing::{self, Placed, SEEN_BY};
use super::reading::{Alias, rtypes_of};
pub use super::reading::{Policy, Reading, SetKey, Wish, read, set_key, values_of, wish};
use super::sharing;

/// A record set that is to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Seconds; `None` if it is an alias.
    pub ttl_secs: Option<i64>,
    /// The values.
    pub values: BTreeSet<String>,
    /// The routing policy.
    pub policy: Policy,
    /// Whether it may be left out: it is an alias of a name of the zone that has no set of the type now.
    pub may_be_left_out: bool,
    /// When the endpoint arrived that wants it, the oldest one.
    arrival: i64,
}

/// Whether a name lies below one of the apexes, or is one of them.
pub fn is_below_any(name: &DnsName, apexes: &[DnsName]) -> bool {
    apexes.iter().any(|apex| name.is_in(apex))
}

/// The expected content of a name in a zone.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The owning cluster.
    pub holder: Option<ClusterId>,
    /// The record sets.
    pub sets: BTreeMap<SetKey, Set>,
    /// The endpoints that they add up from, by their place in the list that was given.
    pub accepted: Vec<usize>,
    /// Of those, the aliases of which no half can be there yet.
    pub pending: BTreeSet<usize>,
    /// Endpoints of the holder that do not go together with an older one.
    pub conflicting: Vec<usize>,
    /// The values that each set may hold at most: values of other kinds of object stay in a sum that stands, and are added to none.
    pub sums: BTreeMap<SetKey, BTreeSet<String>>,
    /// Endpoints of other clusters.
    pub waiting: Vec<usize>,
    /// Endpoints that cannot be published, whichever cluster asks.
    pub rejected: Vec<usize>,
    /// Endpoints beyond their cluster's quota.
    pub beyond_quota: Vec<usize>,
    /// Sets that may be there or not, since an endpoint that made them once cannot be read any more.
    pub retained: BTreeSet<SetKey>,
    /// Sets that may be there or not as long as they are in no other's way, since their endpoint waits for another one.
    pub loose: BTreeSet<SetKey>,
    /// Whether something about the name is unmodelled.
    pub unmodelled: bool,
}

/// The sum of all stored endpoints at the end, by zone and name.
///
/// Names are unmodelled in zones where it is unknown whether an endpoint is there, and where one has been that is not yet where
/// it went. So are the names of clusters that are no longer registered, and those below the apexes of zones that come and go
/// (`placed.rs`).
pub fn expect(history: &History) -> BTreeMap<(ZoneId, DnsName), Expected> {
    let History { world, end, log } = history;
    let endpoints = &end.endpoints;
    let placed = placing::at_the_end(history);
    let owners = Owners::at_the_end(history);
    let once_readable = once_readable(log);
    let mut order: Vec<usize> = (0..endpoints.len()).collect();
    order.sort_by_key(|index| endpoints[*index].arrival);
    let mut by_name: BTreeMap<(ZoneId, DnsName), Vec<usize>> = BTreeMap::new();
    let mut unclear: BTreeSet<(ZoneId, DnsName)> = BTreeSet::new();
    let nowhere = Placed::default();
    let placed_of = |row: &StoredEndpoint| {
        placed.get(&(row.cluster.clone(), row.endpoint.key.clone())).unwrap_or(&nowhere)
    };
    for index in order {
        let row = &endpoints[index];
        let Ok(name) = DnsName::parse(&row.endpoint.key.dns_name) else { continue };
        let placed = placed_of(row);
        let is_unregistered = end.unregistered.contains(&row.cluster);
        let is_shifting = is_below_any(&name, &world.shifting);
        match placed.known().filter(|_| !is_unregistered && !is_shifting) {
            Some(zones) => {
                for zone in zones {
                    by_name.entry((zone.clone(), name.clone())).or_default().push(index);
                }
            }
            None => {
                let all = world.zones.iter().map(|zone| &zone.id);
                let may = all.filter(|zone| {
                    placed.ever.contains(*zone)
                        || placing::may_be_in(world, &row.cluster, &row.endpoint, zone)
                });
                unclear.extend(may.map(|zone| (zone.clone(), name.clone())));
            }
        }
    }
    for at in &unclear {
        by_name.entry(at.clone()).or_default();
    }
    let settle = |(at, rows): ((ZoneId, DnsName), Vec<usize>)| {
        let zone = world.zones.iter().find(|zone| zone.id == at.0)?;
        let is_decided = |index: &usize| placed_of(&endpoints[*index]).is_decided;
        let undecided: BTreeSet<usize> =
            rows.iter().copied().filter(|index| !is_decided(index)).collect();
        let claimed_by = end.claims.get(&at);
        let name = Name {
            zone,
            name: &at.1,
            endpoints,
            undecided,
            once_readable: &once_readable,
            held: end.zones.get(&at.0).map(Vec::as_slice).unwrap_or_default(),
            owners: &owners,
        };
        let mut expected = name.expect(&rows, claimed_by);
        // Names that clusters share are judged apart.
        expected.unmodelled |=
            unclear.contains(&at) || sharing::is_ever_shared(history, &at.0, &at.1);
        Some((at, expected))
    };
    let mut expected: BTreeMap<(ZoneId, DnsName), Expected> =
        by_name.into_iter().filter_map(settle).collect();
    // An endpoint that has left a zone for another keeps the name there until it is in sync in the other.
    for (index, row) in endpoints.iter().enumerate() {
        let placed = placed_of(row);
        let Ok(name) = DnsName::parse(&row.endpoint.key.dns_name) else { continue };
        let Some(zones) = placed.known() else { continue };
        let has_arrived = zones.iter().all(|zone| {
            expected.get(&(zone.clone(), name.clone())).is_some_and(|expected| {
                expected.accepted.contains(&index)
                    && !expected.pending.contains(&index)
                    && !expected.unmodelled
            }) && is_undisturbed(history, &owners, zone, &name)
        });
        if !has_arrived {
            for left in placed.ever.difference(zones) {
                expected.entry((left.clone(), name.clone())).or_default().unmodelled = true;
            }
        }
    }
    expected
}

/// Whether the wanted sets of a name can be written: nothing of others is in the way, and the zone's policy allows it.
pub fn is_undisturbed(history: &History, owners: &Owners, zone: &ZoneId, name: &DnsName) -> bool {
    let is_plain = history.world.zones.iter().filter(|it| it.id == *zone).any(|zone| {
        (zone.policy, zone.drift, zone.adopt)
            == (ZonePolicy::Sync, DriftPolicy::Repair, AdoptPolicy::Never)
    });
    let is_foreign = |set: &RawRecordSet| {
        set.key()
            .is_ok_and(|key| key.name == *name && !matches!(owners.of(zone, &key), Some(Owner::Us)))
    };
    let held = history.end.zones.get(zone);
    is_plain && held.is_some_and(|records| !records.iter().any(is_foreign))
}

/// The endpoints that could be read at some time since they are stored. What is left of the others is their rejection: they never
/// made anything and win nothing.
fn once_readable(log: &[Event]) -> BTreeSet<(&ClusterId, &EndpointKey)> {
    let mut readable = BTreeSet::new();
    for event in log {
        let What::Committed { commit: Commit::Ingest { cluster, rows, .. }, .. } = &event.what
        else {
            continue;
        };
        for row in rows {
            match row {
                RowChange::Stored(endpoint) if read(endpoint) == Reading::Invalid => {}
                RowChange::Withheld(..) => {}
                RowChange::Stored(endpoint) => {
                    readable.insert((cluster, &endpoint.key));
                }
                RowChange::Removed(key) => {
                    readable.remove(&(cluster, key));
                }
            }
        }
    }
    readable
}

/// A name of a zone, and what is known of it.
struct Name<'a> {
    zone: &'a Zone,
    name: &'a DnsName,
    endpoints: &'a [StoredEndpoint],
    /// Endpoints that are here for the sake of what a version before made: where the present one belongs does not take them.
    undecided: BTreeSet<usize>,
    once_readable: &'a BTreeSet<(&'a ClusterId, &'a EndpointKey)>,
    held: &'a [RawRecordSet],
    owners: &'a Owners,
}

impl Name<'_> {
    fn cluster(&self, index: usize) -> &ClusterId {
        &self.endpoints[index].cluster
    }

    fn counts(&self, index: usize) -> bool {
        let row = &self.endpoints[index];
        self.once_readable.contains(&(&row.cluster, &row.endpoint.key))
    }

    /// `rows` are the endpoints of the name, the oldest first.
    fn expect(&self, rows: &[usize], claimed_by: Option<&ClusterId>) -> Expected {
        let mut expected = Expected::default();
        let mut valid = Vec::new();
        for index in rows {
            if self.endpoints[*index].withheld.is_some() {
                expected.beyond_quota.push(*index);
                continue;
            }
            match read(&self.endpoints[*index].endpoint) {
                Reading::Wants(_) if self.undecided.contains(index) => {
                    expected.rejected.push(*index)
                }
                Reading::Wants(wish) if self.bars(&wish) => expected.rejected.push(*index),
                Reading::Wants(wish) => valid.push((*index, wish)),
                Reading::Invalid => expected.rejected.push(*index),
                Reading::Unmodelled => expected.unmodelled = true,
            }
        }
        // The cluster that held it keeps it while anything of the cluster's is there, even something that cannot be read.
        let has_any = |cluster: &&ClusterId| {
            let is_valid = |index: usize| valid.iter().any(|(other, _)| *other == index);
            rows.iter().any(|index| {
                self.cluster(*index) == *cluster && (is_valid(*index) || self.counts(*index))
            })
        };
        let claimed_by = claimed_by.filter(has_any);
        let first = || valid.first().map(|(index, _)| self.cluster(*index));
        let Some(holder) = claimed_by.or_else(first).cloned() else { return expected };
        let kept = expected.rejected.iter().chain(&expected.beyond_quota);
        for index in kept.filter(|index| self.counts(**index)) {
            if *self.cluster(*index) == holder {
                expected.retained.extend(self.reachable(*index));
            }
        }
        let (own, others): (Vec<_>, Vec<_>) =
            valid.into_iter().partition(|(index, _)| *self.cluster(*index) == holder);
        expected.waiting = others.into_iter().map(|(index, _)| index).collect();
        let own = self.of_this_side(rows, &holder, own, &mut expected);
        self.add_up(own, &mut expected);
        expected.holder = Some(holder);
        expected
    }

    /// Wishes that the zone accepts from no cluster: a CNAME at its apex, and an alias to a name that is neither in it nor AWS's.
    fn bars(&self, wish: &Wish) -> bool {
        let leads_out =
            |alias: &Alias| alias.zone.is_none() && !alias.target.is_in(&self.zone.apex);
        (wish.rtypes.contains(&RecordType::Cname) && wish.name == self.zone.apex)
            || wish.alias.as_ref().is_some_and(leads_out)
    }

    fn reachable(&self, index: usize) -> impl Iterator<Item = SetKey> {
        let key = &self.endpoints[index].endpoint.key;
        let set = Some(key.set_identifier.to_string()).filter(|set| !set.is_empty());
        rtypes_of(key).into_iter().map(move |rtype| (rtype, set.clone()))
    }

    /// Addresses for those inside count in private zones and the others in public ones, where a cluster has both.
    fn of_this_side(
        &self,
        rows: &[usize],
        holder: &ClusterId,
        own: Vec<(usize, Wish)>,
        expected: &mut Expected,
    ) -> Vec<(usize, Wish)> {
        let answers = |index: usize| {
            matches!(
                RecordType::parse(&self.endpoints[index].endpoint.key.record_type),
                Some(RecordType::A | RecordType::Aaaa | RecordType::Cname)
            )
        };
        // An endpoint that cannot be read does not say who is to see it.
        let is_inside = |index: usize| {
            let endpoint = &self.endpoints[index].endpoint;
            let word = endpoint.properties.get(SEEN_BY).map(|word| word.as_str());
            word == Some("internal")
                && read(endpoint) != Reading::Invalid
                && !self.undecided.contains(&index)
        };
        let counts = |index: usize| is_inside(index) == self.zone.private;
        let mut rows = rows.iter().copied().filter(|index| self.cluster(*index) == holder);
        if own.is_empty() || !rows.any(|index| counts(index) && answers(index)) {
            return own;
        }
        let (own, left_out): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|(index, _)| counts(*index) || !answers(*index));
        expected.accepted.extend(left_out.into_iter().map(|(index, _)| index));
        own
    }

    /// Adds the holder's wishes up, the oldest first.
    fn add_up(&self, own: Vec<(usize, Wish)>, expected: &mut Expected) {
        let mut kinds: BTreeMap<SetKey, &str> = BTreeMap::new();
        let mut places = self.standing_places(&own);
        for (index, wish) in own {
            let kind = self.endpoints[index].endpoint.key.source.as_str();
            let is_taken = |key: &SetKey| {
                let place = wish.policy.place().map(|(kind, value)| (kind, value.to_owned()));
                place.and_then(|place| places.get(&(key.0, place))).is_some_and(|it| it != key)
            };
            if wish.keys().any(|key| is_taken(&key) || self.is_in_conflict(expected, &key, &wish)) {
                expected.conflicting.push(index);
                expected.loose.extend(self.reachable(index));
                continue;
            }
            let values = wish.values_in(&self.zone.id);
            let does_not_add_up = |key: &SetKey| {
                matches!(key.0, RecordType::A | RecordType::Aaaa)
                    && kinds.get(key).is_some_and(|oldest| *oldest != kind)
                    && expected.sets.get(key).is_some_and(|set| !set.values.is_superset(&values))
            };
            if let Some(key) = wish.keys().find(does_not_add_up) {
                let standing = expected.sets[&key].values.clone();
                expected.sums.entry(key).or_insert(standing).extend(values);
                continue;
            }
            for key in wish.keys() {
                kinds.entry(key.clone()).or_insert(kind);
                if let Some((kind, value)) = wish.policy.place() {
                    places.entry((key.0, (kind, value.to_owned()))).or_insert(key.clone());
                }
                if let Some(sum) = expected.sums.get_mut(&key) {
                    sum.extend(values.iter().cloned());
                }
                let set = self.set(&wish, &key, index);
                expected.sets.entry(key).or_insert(set).values.extend(values.iter().cloned());
            }
            if wish.keys().all(|key| expected.sets[&key].may_be_left_out) {
                expected.pending.insert(index);
            }
            expected.accepted.push(index);
        }
        self.align_weighted(expected);
    }

    fn set(&self, wish: &Wish, key: &SetKey, index: usize) -> Set {
        // The oldest says for how long.
        let ttl_secs = wish.ttl_secs.unwrap_or(i64::from(self.zone.default_ttl_secs));
        let own_target = wish.alias.as_ref().filter(|alias| alias.zone.is_none());
        let is_there = |target: &DnsName| {
            let is_it = |held: &RecordKey| held.name == *target && held.rtype == key.0;
            self.held.iter().any(|set| set.key().is_ok_and(|held| is_it(&held)))
        };
        // One that stands as it is wanted stays, also where it leads to nothing.
        let values = wish.values_in(&self.zone.id);
        let stands = self.held.iter().any(|set| {
            set.key().is_ok_and(|held| held.name == *self.name && set_key(&held) == *key)
                && values_of(set) == values
        });
        let is_missing = own_target.is_some_and(|alias| !is_there(&alias.target));
        Set {
            ttl_secs: Some(ttl_secs).filter(|_| wish.alias.is_none()),
            values: BTreeSet::new(),
            policy: wish.policy.clone(),
            may_be_left_out: is_missing && !stands,
            arrival: self.endpoints[index].arrival,
        }
    }

    /// A set of ours that is there keeps its place while its endpoint wants it.
    fn standing_places(
        &self,
        own: &[(usize, Wish)],
    ) -> BTreeMap<(RecordType, (&'static str, String)), SetKey> {
        let mut places = BTreeMap::new();
        for (wish, key) in own.iter().flat_map(|(_, wish)| wish.keys().map(move |key| (wish, key)))
        {
            let Some((kind, value)) = wish.policy.place() else { continue };
            let stands = |set: &RawRecordSet| {
                set.key().is_ok_and(|held| {
                    held.name == *self.name
                        && set_key(&held) == key
                        && self
                            .owners
                            .of(&self.zone.id, &held)
                            .is_some_and(|it| it != Owner::Others)
                }) && Policy::of(set).place() == Some((kind, value))
            };
            if self.held.iter().any(stands) {
                places.entry((key.0, (kind, value.to_owned()))).or_insert(key);
            }
        }
        places
    }

    /// A CNAME suffers no other set (RFC 1034 §3.6.2), all sets of a name and type have one policy, and only addresses and texts
    /// without one add up.
    fn is_in_conflict(&self, expected: &Expected, key: &SetKey, wish: &Wish) -> bool {
        let is_cname = |rtype: RecordType| rtype == RecordType::Cname;
        if expected.sets.iter().any(|((rtype, _), set)| {
            is_cname(*rtype) != is_cname(key.0)
                || (*rtype == key.0 && set.policy.kind != wish.policy.kind)
        }) {
            return true;
        }
        let Some(set) = expected.sets.get(key) else { return false };
        let adds_up = wish.policy.kind.is_empty() && !is_cname(key.0) && wish.alias.is_none();
        if adds_up && set.ttl_secs.is_some() {
            return false;
        }
        let ttl_secs = self.set(wish, key, 0).ttl_secs;
        (&set.values, &set.policy, set.ttl_secs)
            != (&wish.values_in(&self.zone.id), &wish.policy, ttl_secs)
    }

    /// Route 53 accepts one TTL in a weighted group: that of the oldest.
    fn align_weighted(&self, expected: &mut Expected) {
        let mut oldest: BTreeMap<RecordType, (i64, Option<i64>)> = BTreeMap::new();
        for ((rtype, _), set) in &expected.sets {
            if set.policy.kind == "weight" && set.ttl_secs.is_some() {
                let of_set = (set.arrival, set.ttl_secs);
                let of_type = oldest.entry(*rtype).or_insert(of_set);
                *of_type = (*of_type).min(of_set);
            }
        }
        for ((rtype, _), set) in &mut expected.sets {
            if let Some((_, ttl_secs)) = oldest.get(rtype)
                && set.policy.kind == "weight"
                && set.ttl_secs.is_some()
            {
                set.ttl_secs = *ttl_secs;
            }
        }
    }
}
