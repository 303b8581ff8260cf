//! A small model of where endpoints are published: the zone that one names itself, or else the closest public zone and all private
//! zones that fit, as far as it says who is to see it.
//!
//! All zones of a run are there from its start, so of what is kept through an edit only one thing shows: an endpoint that named a
//! public zone that is not the closest, and names none any more, stays there.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::dns::name::DnsName;
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::{ClusterId, ZoneId};

use super::history::{Commit, History, What, World, Zone};
use super::model::{self, Reading};

/// The property by which an endpoint names its zone.
pub const NAMED_ZONE: &str = "aws/hosted-zone-id";
/// The property by which it says who is to see it.
pub const SEEN_BY: &str = "zonefold/visibility";

/// Zones that an endpoint is published in.
type Zones = BTreeSet<ZoneId>;

/// Where an endpoint is, as far as that can be known.
#[derive(Clone, Debug, Default)]
pub struct Placed {
    /// Where the present version is. More than one if that is uncertain; a single empty one if it is nowhere.
    pub at: BTreeSet<Zones>,
    /// Whether the present version has a place of its own; else it is where a version before it was.
    pub is_decided: bool,
    /// All that versions of it may have had.
    pub ever: Zones,
}

impl Placed {
    /// The zones, when they are known.
    pub fn known(&self) -> Option<&Zones> {
        self.at.first().filter(|_| self.at.len() == 1)
    }
}

/// The zones that a cluster's name fits into: those of the accounts of its environment whose apex is a suffix of it.
fn fitting<'a>(
    world: &'a World,
    cluster: &ClusterId,
    name: &DnsName,
) -> impl Iterator<Item = &'a Zone> {
    let environment = world.clusters.get(cluster);
    let is_of_environment = move |zone: &Zone| {
        world
            .accounts
            .iter()
            .any(|account| account.id == zone.account && Some(&account.environment) == environment)
    };
    let name = name.clone();
    world.zones.iter().filter(move |zone| name.is_in(&zone.apex) && is_of_environment(zone))
}

/// Whether an endpoint leaves open, by what it says, that it is published in a zone.
pub fn may_be_in(world: &World, cluster: &ClusterId, endpoint: &Endpoint, zone: &ZoneId) -> bool {
    let Ok(name) = DnsName::parse(&endpoint.key.dns_name) else { return false };
    let said = |property: &str| endpoint.properties.get(property).map(|word| word.as_str());
    let has_private = || fitting(world, cluster, &name).any(|zone| zone.private);
    fitting(world, cluster, &name).filter(|fitting| fitting.id == *zone).any(|zone| {
        match (said(NAMED_ZONE), said(SEEN_BY)) {
            (Some(named), _) => named == zone.id.as_str(),
            (None, Some("public")) => !zone.private,
            (None, Some("private")) => zone.private,
            // Public only for want of a private zone.
            (None, Some("internal")) => zone.private || !has_private(),
            (None, _) => true,
        }
    })
}

/// Whether an endpoint with this content has a place of its own: none does whose zone does not take the name, and none that
/// cannot be read.
pub fn has_place(world: &World, cluster: &ClusterId, endpoint: &Endpoint) -> bool {
    model::read(endpoint) != Reading::Invalid
        && world.zones.iter().any(|zone| may_be_in(world, cluster, endpoint, &zone.id))
}

/// Whether an endpoint is published in a zone, whatever was before.
pub fn is_in(world: &World, cluster: &ClusterId, endpoint: &Endpoint, zone: &ZoneId) -> bool {
    let nowhere = decide(world, cluster, endpoint, &Zones::new());
    // Only where there are private zones do endpoints name any.
    let names_zones = world.zones.iter().any(|zone| zone.private);
    let all = world.zones.iter().filter(|_| names_zones).map(|zone| zone.id.clone()).collect();
    let anywhere = decide(world, cluster, endpoint, &all);
    [nowhere, anywhere].into_iter().all(|zones| zones.is_some_and(|zones| zones.contains(zone)))
}

/// The one zone of an endpoint; `None` if it has several, or if that is uncertain, as where zones come and go.
pub fn only_zone<'a>(
    world: &'a World,
    cluster: &ClusterId,
    endpoint: &Endpoint,
) -> Option<&'a Zone> {
    let name = DnsName::parse(&endpoint.key.dns_name).ok()?;
    if model::is_below_any(&name, &world.shifting) {
        return None;
    }
    let mut may = world.zones.iter().filter(|it| may_be_in(world, cluster, endpoint, &it.id));
    let mut is = world.zones.iter().filter(|it| is_in(world, cluster, endpoint, &it.id));
    match (is.next(), is.next(), may.any(|zone| zone.private)) {
        (Some(zone), None, may_be_private) if !may_be_private || zone.private => Some(zone),
        _ => None,
    }
}

/// The destination of an endpoint whose last version was in some zones; `None` if it goes nowhere.
fn decide(
    world: &World,
    cluster: &ClusterId,
    endpoint: &Endpoint,
    before: &Zones,
) -> Option<Zones> {
    if !has_place(world, cluster, endpoint) {
        return None;
    }
    let may = world.zones.iter().filter(|zone| may_be_in(world, cluster, endpoint, &zone.id));
    let (private, public): (Vec<&Zone>, Vec<&Zone>) = may.partition(|zone| zone.private);
    let is_named = endpoint.properties.contains_key(NAMED_ZONE);
    let mut zones: Zones = private.iter().map(|zone| zone.id.clone()).collect();
    let kept: Zones =
        public.iter().map(|it| it.id.clone()).filter(|id| before.contains(id)).collect();
    let closest = public.iter().max_by_key(|zone| zone.apex.as_str().len());
    match kept.first().filter(|_| !is_named) {
        Some(kept) => drop(zones.insert(kept.clone())),
        None => zones.extend(closest.map(|zone| zone.id.clone())),
    }
    Some(zones)
}

/// Where every stored endpoint is at the end of a log.
///
/// It cannot be told from outside whether an earlier version was placed before the next one came, or waited for something until then.
pub fn at_the_end(history: &History) -> BTreeMap<(ClusterId, EndpointKey), Placed> {
    let History { world, log, end } = history;
    let mut placed: BTreeMap<(ClusterId, EndpointKey), Placed> = BTreeMap::new();
    // The places that each version may have come from.
    let mut before: BTreeMap<(ClusterId, EndpointKey), BTreeSet<Zones>> = BTreeMap::new();
    for event in log {
        let What::Committed { commit: Commit::Ingest { cluster, rows, .. }, .. } = &event.what
        else {
            continue;
        };
        for row in rows {
            let at = (cluster.clone(), row.key().clone());
            let Some(endpoint) = row.content() else {
                placed.remove(&at);
                before.remove(&at);
                continue;
            };
            let from = before.entry(at.clone()).or_insert_with(|| [Zones::new()].into());
            let decided: BTreeSet<Zones> =
                from.iter().filter_map(|from| decide(world, cluster, &endpoint, from)).collect();
            let now = placed.entry(at).or_default();
            now.is_decided = !decided.is_empty();
            now.ever.extend(decided.iter().flatten().cloned());
            now.at = match now.is_decided {
                true => decided.clone(),
                // An endpoint that was somewhere is taken to be there still.
                false if from.len() > 1 => {
                    from.iter().filter(|zones| !zones.is_empty()).cloned().collect()
                }
                false => from.clone(),
            };
            from.extend(decided);
        }
    }
    for row in &end.endpoints {
        placed.entry((row.cluster.clone(), row.endpoint.key.clone())).or_insert_with(|| {
            let decided = decide(world, &row.cluster, &row.endpoint, &Zones::new());
            Placed {
                is_decided: decided.is_some(),
                ever: decided.clone().unwrap_or_default(),
                at: [decided.unwrap_or_default()].into(),
            }
        });
    }
    placed
}
