//! A small model of what clusters want: which names, which values, where, and what the wishes for one name add up to.
//!
//! It knows A, AAAA, TXT and CNAME with the simple routing policy. What it does not know it calls unmodelled, and the oracle
//! leaves such names alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::{RawRecordSet, RecordType};
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::{ClusterId, ZoneId};

use super::history::{Commit, Event, History, RowChange, StoredEndpoint, What, World, Zone};

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
    /// The type.
    pub rtype: RecordType,
    /// Seconds; none for the zone's default.
    pub ttl_secs: Option<i64>,
    /// The values, each in the one form that [`values`] gives it.
    pub values: BTreeSet<String>,
}

/// Reads an endpoint.
pub fn read(endpoint: &Endpoint) -> Reading {
    if !endpoint.properties.is_empty() || !endpoint.key.set_identifier.is_empty() {
        return Reading::Unmodelled;
    }
    let rtype = match RecordType::parse(&endpoint.key.record_type) {
        Some(rtype @ (RecordType::A | RecordType::Aaaa | RecordType::Txt | RecordType::Cname)) => {
            rtype
        }
        Some(_) => return Reading::Unmodelled,
        None => return Reading::Invalid,
    };
    let targets = endpoint.targets.iter().map(|target| target.as_str());
    // Whether a name is an alias of AWS's is a long list; no run has one.
    if rtype == RecordType::Cname
        && targets
            .clone()
            .any(|target| target.contains("amazonaws") || target.contains("cloudfront"))
    {
        return Reading::Unmodelled;
    }
    let Ok(name) = DnsName::parse(&endpoint.key.dns_name) else { return Reading::Invalid };
    let Some(values) = values(rtype, targets) else { return Reading::Invalid };
    let is_ttl_wrong =
        endpoint.ttl_secs.is_some_and(|ttl| i32::try_from(ttl).map_or(true, |ttl| ttl < 0));
    if values.is_empty() || is_ttl_wrong || (rtype == RecordType::Cname && values.len() != 1) {
        return Reading::Invalid;
    }
    Reading::Wants(Wish { name, rtype, ttl_secs: endpoint.ttl_secs, values })
}

/// The wish of an endpoint, when it has one.
pub fn wish(endpoint: &Endpoint) -> Option<Wish> {
    match read(endpoint) {
        Reading::Wants(wish) => Some(wish),
        Reading::Invalid | Reading::Unmodelled => None,
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
        return [format!("alias of {}", alias.name)].into();
    }
    let texts = || set.values.iter().map(|value| value.as_str());
    let read = RecordType::parse(&set.rtype).and_then(|rtype| values(rtype, texts()));
    read.unwrap_or_else(|| texts().map(str::to_owned).collect())
}

/// The zones that a name of a cluster fits into: those of the accounts of its environment whose apex is a suffix of it.
fn candidates<'a>(world: &'a World, cluster: &ClusterId, name: &DnsName) -> Vec<&'a Zone> {
    let Some(environment) = world.clusters.get(cluster) else { return vec![] };
    let is_of_environment = |zone: &Zone| {
        world
            .accounts
            .iter()
            .any(|account| account.id == zone.account && account.environment == *environment)
    };
    world.zones.iter().filter(|zone| name.is_in(&zone.apex) && is_of_environment(zone)).collect()
}

/// The zone of a name for a cluster: the longest suffix. None when there is none, or when two fit alike.
pub fn place<'a>(world: &'a World, cluster: &ClusterId, name: &DnsName) -> Option<&'a Zone> {
    let candidates = candidates(world, cluster, name);
    let longest = candidates.iter().map(|zone| zone.apex.as_str().len()).max()?;
    let mut longest = candidates.into_iter().filter(|zone| zone.apex.as_str().len() == longest);
    longest.next().filter(|_| longest.next().is_none())
}

/// What a name is to be in a zone.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Who holds it.
    pub holder: Option<ClusterId>,
    /// The record sets, by type: time to live and values.
    pub sets: BTreeMap<RecordType, (i64, BTreeSet<String>)>,
    /// The endpoints that they add up from, by their place in the list that was given.
    pub accepted: Vec<usize>,
    /// Endpoints of the holder that do not go together with an older one.
    pub conflicting: Vec<usize>,
    /// What each set may hold at most: values of other kinds of object stay in a sum that stands, and are added to none.
    pub sums: BTreeMap<RecordType, BTreeSet<String>>,
    /// Endpoints of other clusters.
    pub waiting: Vec<usize>,
    /// Endpoints that cannot be published, whoever asks.
    pub rejected: Vec<usize>,
    /// Endpoints beyond their cluster's quota.
    pub beyond_quota: Vec<usize>,
    /// Types that may be there or not, since an endpoint that made them once cannot be read any more.
    pub retained: BTreeSet<RecordType>,
    /// Whether something about the name is unmodelled.
    pub unmodelled: bool,
}

/// What all stored endpoints add up to at the end, by zone and name.
///
/// An endpoint that was placed before a closer zone was found stays where it is, so where several zones fit, the one with a
/// claim on the name is its place; without exactly one such zone, the name is unmodelled in all of them. So are the names of
/// clusters that are no longer registered.
pub fn expect(history: &History) -> BTreeMap<(ZoneId, DnsName), Expected> {
    let History { world, end, log } = history;
    let (endpoints, claims) = (&end.endpoints, &end.claims);
    let once_readable = once_readable(log);
    let mut order: Vec<usize> = (0..endpoints.len()).collect();
    order.sort_by_key(|index| endpoints[*index].arrival);
    let mut by_name: BTreeMap<(ZoneId, DnsName), Vec<usize>> = BTreeMap::new();
    let mut unclear: BTreeSet<(ZoneId, DnsName)> = BTreeSet::new();
    for index in order {
        let row = &endpoints[index];
        let Ok(name) = DnsName::parse(&row.endpoint.key.dns_name) else { continue };
        let candidates = candidates(world, &row.cluster, &name);
        let claimed: Vec<&Zone> = candidates
            .iter()
            .copied()
            .filter(|zone| claims.contains_key(&(zone.id.clone(), name.clone())))
            .collect();
        match (candidates.as_slice(), claimed.as_slice()) {
            _ if end.unregistered.contains(&row.cluster) => {
                unclear.extend(candidates.iter().map(|zone| (zone.id.clone(), name.clone())));
            }
            ([zone], _) | (_, [zone]) => {
                by_name.entry((zone.id.clone(), name)).or_default().push(index)
            }
            _ => unclear.extend(candidates.iter().map(|zone| (zone.id.clone(), name.clone()))),
        }
    }
    for at in &unclear {
        by_name.entry(at.clone()).or_default();
    }
    let settle = |(at, rows): ((ZoneId, DnsName), Vec<usize>)| {
        let zone = world.zones.iter().find(|zone| zone.id == at.0)?;
        let mut expected = expect_name(zone, endpoints, &rows, claims.get(&at), &once_readable);
        expected.unmodelled |= unclear.contains(&at);
        Some((at, expected))
    };
    by_name.into_iter().filter_map(settle).collect()
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

/// `rows` are the endpoints of the name, the oldest first.
fn expect_name(
    zone: &Zone,
    endpoints: &[StoredEndpoint],
    rows: &[usize],
    claimed_by: Option<&ClusterId>,
    once_readable: &BTreeSet<(&ClusterId, &EndpointKey)>,
) -> Expected {
    let mut expected = Expected::default();
    let mut valid = Vec::new();
    let counts = |index: &usize| {
        once_readable.contains(&(&endpoints[*index].cluster, &endpoints[*index].endpoint.key))
    };
    for index in rows {
        if endpoints[*index].withheld.is_some() {
            expected.beyond_quota.push(*index);
            continue;
        }
        match read(&endpoints[*index].endpoint) {
            Reading::Wants(wish) if wish.rtype == RecordType::Cname && wish.name == zone.apex => {
                expected.rejected.push(*index)
            }
            Reading::Wants(wish) => valid.push((*index, wish)),
            Reading::Invalid => expected.rejected.push(*index),
            Reading::Unmodelled => expected.unmodelled = true,
        }
    }
    // Who held it keeps it while anything of theirs is there, even something that cannot be read.
    let has_any = |cluster: &&ClusterId| {
        let is_valid = |index: &usize| valid.iter().any(|(other, _)| other == index);
        rows.iter().any(|index| {
            endpoints[*index].cluster == **cluster && (is_valid(index) || counts(index))
        })
    };
    let claimed_by = claimed_by.filter(has_any);
    expected.holder =
        claimed_by.or_else(|| valid.first().map(|(index, _)| &endpoints[*index].cluster)).cloned();
    let kept = expected.rejected.iter().chain(&expected.beyond_quota);
    for index in kept.filter(|index| counts(index)) {
        let row = &endpoints[*index];
        if Some(&row.cluster) == expected.holder.as_ref() {
            // A CNAME endpoint may have been an alias once, and that is A and AAAA.
            expected.retained.extend(match RecordType::parse(&row.endpoint.key.record_type) {
                Some(RecordType::Cname) => vec![RecordType::Cname, RecordType::A, RecordType::Aaaa],
                Some(rtype) => vec![rtype],
                None => vec![],
            });
        }
    }
    let mut kinds: BTreeMap<RecordType, &str> = BTreeMap::new();
    for (index, wish) in valid {
        let kind = endpoints[index].endpoint.key.source.as_str();
        let is_address = matches!(wish.rtype, RecordType::A | RecordType::Aaaa);
        let adds_up = !is_address
            || kinds.get(&wish.rtype).is_none_or(|oldest| *oldest == kind)
            || expected.sets.get(&wish.rtype).is_none_or(|(_, set)| set.is_superset(&wish.values));
        if Some(&endpoints[index].cluster) != expected.holder.as_ref() {
            expected.waiting.push(index);
        } else if is_in_conflict(&expected.sets, &wish) {
            expected.conflicting.push(index);
        } else if !adds_up {
            let (_, values) = &expected.sets[&wish.rtype];
            expected.sums.entry(wish.rtype).or_insert_with(|| values.clone()).extend(wish.values);
        } else {
            kinds.entry(wish.rtype).or_insert(kind);
            if let Some(sum) = expected.sums.get_mut(&wish.rtype) {
                sum.extend(wish.values.iter().cloned());
            }
            let ttl_secs = wish.ttl_secs.unwrap_or(i64::from(zone.default_ttl_secs));
            // The oldest says for how long.
            expected
                .sets
                .entry(wish.rtype)
                .or_insert((ttl_secs, BTreeSet::new()))
                .1
                .extend(wish.values);
            expected.accepted.push(index);
        }
    }
    expected
}

/// A CNAME suffers no other set, and has one value (RFC 1034 §3.6.2).
fn is_in_conflict(sets: &BTreeMap<RecordType, (i64, BTreeSet<String>)>, wish: &Wish) -> bool {
    if wish.rtype == RecordType::Cname {
        sets.iter().any(|(rtype, (ttl_secs, values))| {
            *rtype != RecordType::Cname
                || *values != wish.values
                || wish.ttl_secs.is_some_and(|wanted| wanted != *ttl_secs)
        })
    } else {
        sets.contains_key(&RecordType::Cname)
    }
}
