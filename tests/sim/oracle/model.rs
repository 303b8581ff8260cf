//! A small model of what clusters want: which names, which values, where, and what the wishes for one name add up to.
//!
//! It knows A, AAAA, TXT and CNAME, aliases, and the routing policies that are drawn. What it does not know it calls unmodelled, and
//! the oracle leaves such names alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::{RawRecordSet, RecordKey, RecordType};
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::{ClusterId, ZoneId};

use super::history::{Commit, Event, History, RowChange, StoredEndpoint, What, Zone};
use super::owners::{Owner, Owners};
use super::placing::{self, NAMED_ZONE, Placed, SEEN_BY};

/// What an endpoint wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// This.
    Wants(Wish),
    /// Nothing that could be published: the broker has to say so.
    Invalid,
    /// Something that the model does not know.
    Unmodelled,
}

/// A wish that can be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The owner name.
    pub name: DnsName,
    /// The types: one, or both kinds of addresses for an alias that is written as a CNAME.
    pub rtypes: Vec<RecordType>,
    /// The set identifier.
    pub set_identifier: Option<String>,
    /// The routing policy.
    pub policy: Policy,
    /// Seconds; none for the zone's default.
    pub ttl_secs: Option<i64>,
    /// The values, each in the one form that [`values`] gives it; of an alias none.
    pub values: BTreeSet<String>,
    /// Where an alias leads.
    pub alias: Option<Alias>,
}

/// Where an alias leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The target.
    pub target: DnsName,
    /// Its zone, if that is AWS's; none for the zone that the alias is in.
    pub zone: Option<&'static str>,
}

/// A routing policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Which kind.
    pub kind: &'static str,
    /// Its value: a weight, or a place that only one set of a name and type has.
    pub value: String,
    /// A health check.
    pub health: String,
}

impl Policy {
    /// The place that only one set of a name and type has.
    pub fn place(&self) -> Option<(&'static str, &str)> {
        (!matches!(self.kind, "" | "weight")).then_some((self.kind, self.value.as_str()))
    }

    /// The policy of a set that Route 53 holds.
    pub fn of(set: &RawRecordSet) -> Self {
        let health = set.health_check_id.as_ref().map_or_else(String::new, ToString::to_string);
        let geolocation = set.geolocation.as_ref().map(|place| {
            let part = |part: &Option<arcstr::ArcStr>| part.as_deref().unwrap_or("").to_owned();
            format!("{}/{}", part(&place.continent_code), part(&place.country_code))
        });
        let (kind, value) = match (set.weight, &set.region, &set.failover, geolocation) {
            (Some(weight), ..) => ("weight", weight.to_string()),
            (_, Some(region), ..) => ("region", region.to_string()),
            (_, _, Some(role), _) => ("failover", role.to_string()),
            (.., Some(place)) => ("geolocation", place),
            _ => ("", String::new()),
        };
        Self { kind, value, health }
    }
}

impl Wish {
    /// The keys of its record sets.
    pub fn keys(&self) -> impl Iterator<Item = SetKey> {
        self.rtypes.iter().map(|rtype| (*rtype, self.set_identifier.clone()))
    }

    /// Whether it is for a record set.
    pub fn is_for(&self, key: &RecordKey) -> bool {
        self.name == key.name && self.keys().any(|own| own == set_key(key))
    }

    /// The values in a zone, in the form of [`values_of`].
    pub fn values_in(&self, zone: &ZoneId) -> BTreeSet<String> {
        match &self.alias {
            None => self.values.clone(),
            Some(Alias { target, zone: of_aws }) => {
                [alias_text(target, of_aws.unwrap_or(zone.as_str()))].into()
            }
        }
    }
}

/// The zone of AWS's load balancers that runs have.
const BALANCERS: (&str, &str) = (".eu-central-1.elb.amazonaws.com", "Z215JYRZR1TBD5");

/// Reads an endpoint.
pub fn read(endpoint: &Endpoint) -> Reading {
    let said = |property: &str| endpoint.properties.get(property).map(|word| word.as_str());
    let rtype = match RecordType::parse(&endpoint.key.record_type) {
        Some(rtype @ (RecordType::A | RecordType::Aaaa | RecordType::Txt | RecordType::Cname)) => {
            rtype
        }
        Some(_) => return Reading::Unmodelled,
        None => return Reading::Invalid,
    };
    let known = |property: &arcstr::ArcStr| {
        POLICIES.iter().any(|(known, _)| *known == property.as_str())
            || ["alias", "aws/health-check-id", NAMED_ZONE, SEEN_BY].contains(&property.as_str())
    };
    if !endpoint.properties.keys().all(known) {
        return Reading::Unmodelled;
    }
    let Ok(name) = DnsName::parse(&endpoint.key.dns_name) else { return Reading::Invalid };
    let is_ttl_wrong =
        endpoint.ttl_secs.is_some_and(|ttl| i32::try_from(ttl).map_or(true, |ttl| ttl < 0));
    if is_ttl_wrong {
        return Reading::Invalid;
    }
    let first = endpoint.targets.first().map(|target| target.as_str()).unwrap_or_default();
    let is_balancer = rtype == RecordType::Cname && first.ends_with(BALANCERS.0);
    let is_asked = said("alias") == Some("true");
    // What looks like an address is one.
    let is_name = rtype == RecordType::Cname || first.parse::<Ipv4Addr>().is_err();
    let is_alias = is_name && (is_asked || (is_balancer && said("alias") != Some("false")));
    let (rtypes, values, alias) = if is_alias {
        let Ok(target) = DnsName::parse(first) else { return Reading::Invalid };
        if endpoint.targets.len() != 1 || target == name {
            return Reading::Invalid;
        }
        let rtypes = match rtype {
            RecordType::Cname => vec![RecordType::A, RecordType::Aaaa],
            other => vec![other],
        };
        let zone = first.ends_with(BALANCERS.0).then_some(BALANCERS.1);
        (rtypes, BTreeSet::new(), Some(Alias { target, zone }))
    } else {
        let targets = endpoint.targets.iter().map(|target| target.as_str());
        let Some(values) = values(rtype, targets) else { return Reading::Invalid };
        if values.is_empty() || (rtype == RecordType::Cname && values.len() != 1) {
            return Reading::Invalid;
        }
        (vec![rtype], values, None)
    };
    let Some(policy) = policy(endpoint, alias.is_some()) else { return Reading::Invalid };
    let set = endpoint.key.set_identifier.as_str();
    let set_identifier = Some(set.to_owned()).filter(|set| !set.is_empty());
    let ttl_secs = endpoint.ttl_secs;
    Reading::Wants(Wish { name, rtypes, set_identifier, policy, ttl_secs, values, alias })
}

/// The properties of routing policies, and their kinds.
const POLICIES: [(&str, &str); 5] = [
    ("aws/weight", "weight"),
    ("aws/region", "region"),
    ("aws/failover", "failover"),
    ("aws/geolocation-continent-code", "geolocation"),
    ("aws/geolocation-country-code", "geolocation"),
];

/// The routing policy, if it is whole: it has an identifier, and a primary has a health check.
fn policy(endpoint: &Endpoint, is_alias: bool) -> Option<Policy> {
    let said = |property: &str| endpoint.properties.get(property).map(|word| word.as_str());
    let health = said("aws/health-check-id").unwrap_or_default().to_owned();
    let given = || POLICIES.iter().filter_map(|(name, kind)| Some((*name, *kind, said(name)?)));
    let has_identifier = !endpoint.key.set_identifier.is_empty();
    match (given().next(), given().count()) {
        (None, _) => (health.is_empty() && !has_identifier).then(Policy::default),
        (Some((name, kind, value)), 1) => {
            let is_whole = value != "PRIMARY" || is_alias || !health.is_empty();
            let value = match name {
                "aws/geolocation-continent-code" => format!("{value}/"),
                "aws/geolocation-country-code" => format!("/{value}"),
                _ => value.to_owned(),
            };
            (has_identifier && is_whole).then_some(Policy { kind, value, health })
        }
        _ => None,
    }
}

/// The wish of an endpoint, when it has one.
pub fn wish(endpoint: &Endpoint) -> Option<Wish> {
    match read(endpoint) {
        Reading::Wants(wish) => Some(wish),
        Reading::Invalid | Reading::Unmodelled => None,
    }
}

/// The types of the record sets that an endpoint can have made under any content.
pub fn rtypes_of(key: &EndpointKey) -> Vec<RecordType> {
    match RecordType::parse(&key.record_type) {
        // It may have been an alias once, and that is A and AAAA.
        Some(RecordType::Cname) => vec![RecordType::Cname, RecordType::A, RecordType::Aaaa],
        Some(rtype) => vec![rtype],
        None => vec![],
    }
}

/// Values in one form, whether a person wrote them or Route 53 answers them; none when one of them is no value of the type.
pub fn values<'a>(
    rtype: RecordType,
    values: impl Iterator<Item = &'a str>,
) -> Option<BTreeSet<String>> {
    let one = |value: &str| match rtype {
        RecordType::A => value.parse::<Ipv4Addr>().ok().map(|address| address.to_string()),
        RecordType::Aaaa => value.parse::<Ipv6Addr>().ok().map(|address| address.to_string()),
        RecordType::Cname => DnsName::parse(value).ok().map(|name| name.to_string()),
        _ => Some(value.trim_matches('"').to_owned()),
    };
    values.map(one).collect()
}

/// The values of a set that Route 53 holds; what cannot be read is taken letter by letter, and an alias by its target.
pub fn values_of(set: &RawRecordSet) -> BTreeSet<String> {
    if let Some(alias) = &set.alias {
        let target = alias.name.trim_end_matches('.');
        return [alias_text(target, &alias.zone_id)].into();
    }
    let texts = || set.values.iter().map(|value| value.as_str());
    let read = RecordType::parse(&set.rtype).and_then(|rtype| values(rtype, texts()));
    read.unwrap_or_else(|| texts().map(str::to_owned).collect())
}

fn alias_text(target: impl std::fmt::Display, zone: &str) -> String {
    format!("alias of {target} in {zone}")
}

/// A record set of a name: its type and identifier.
pub type SetKey = (RecordType, Option<String>);

/// The set of a name that a key is of.
pub fn set_key(key: &RecordKey) -> SetKey {
    (key.rtype, key.set_identifier.as_ref().map(ToString::to_string))
}

/// A record set that is to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Seconds; none for an alias.
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

/// What a name is to be in a zone.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Who holds it.
    pub holder: Option<ClusterId>,
    /// The record sets.
    pub sets: BTreeMap<SetKey, Set>,
    /// The endpoints that they add up from, by their place in the list that was given.
    pub accepted: Vec<usize>,
    /// Of those, the aliases of which no half can be there yet.
    pub pending: BTreeSet<usize>,
    /// Endpoints of the holder that do not go together with an older one.
    pub conflicting: Vec<usize>,
    /// What each set may hold at most: values of other kinds of object stay in a sum that stands, and are added to none.
    pub sums: BTreeMap<SetKey, BTreeSet<String>>,
    /// Endpoints of other clusters.
    pub waiting: Vec<usize>,
    /// Endpoints that cannot be published, whoever asks.
    pub rejected: Vec<usize>,
    /// Sets that may be there or not, since an endpoint that made them once cannot be read any more.
    pub retained: BTreeSet<SetKey>,
    /// Sets that may be there or not as long as they are in nobody's way, since their endpoint waits for another one.
    pub loose: BTreeSet<SetKey>,
    /// Whether something about the name is unmodelled.
    pub unmodelled: bool,
}

/// What all stored endpoints add up to at the end, by zone and name.
///
/// Names are unmodelled in zones of which nobody can tell whether an endpoint is there, and where one has been that is not yet where
/// it went. So are the names of clusters that are no longer registered.
pub fn expect(history: &History) -> BTreeMap<(ZoneId, DnsName), Expected> {
    let History { world, end, log } = history;
    let endpoints = &end.endpoints;
    let placed = placing::at_the_end(world, log);
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
        match placed.known().filter(|_| !is_unregistered) {
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
        expected.unmodelled |= unclear.contains(&at);
        Some((at, expected))
    };
    let mut expected: BTreeMap<(ZoneId, DnsName), Expected> =
        by_name.into_iter().filter_map(settle).collect();
    // Whoever has left a zone for another keeps the name there until it is in sync in the other.
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

/// Whether what is wanted at a name can be written: nothing of others is in its way, and the zone's policy allows it.
pub fn is_undisturbed(history: &History, owners: &Owners, zone: &ZoneId, name: &DnsName) -> bool {
    use zonefold::core::planning::policy::{AdoptPolicy, DriftPolicy, ZonePolicy};
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
        // Who held it keeps it while anything of theirs is there, even something that cannot be read.
        let has_any = |cluster: &&ClusterId| {
            let is_valid = |index: usize| valid.iter().any(|(other, _)| *other == index);
            rows.iter().any(|index| {
                self.cluster(*index) == *cluster && (is_valid(*index) || self.counts(*index))
            })
        };
        let claimed_by = claimed_by.filter(has_any);
        let first = || valid.first().map(|(index, _)| self.cluster(*index));
        let Some(holder) = claimed_by.or_else(first).cloned() else { return expected };
        for index in expected.rejected.iter().filter(|index| self.counts(**index)) {
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

    /// What the zone takes from nobody: a CNAME at its apex, and an alias to a name that is neither in it nor AWS's.
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
        // What cannot be read says nothing of who is to see it.
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

    /// Route 53 takes one time to live in a weighted group: that of the oldest.
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
