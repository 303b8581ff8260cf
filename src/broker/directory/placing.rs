//! The effects of a placement: where an endpoint contributes, and its status if it does not.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use super::cluster::ClusterEndpoints;
use super::due::{DuePlacements, Turn};
use super::entry::EndpointEntry;
use super::places::{PlacementTable, WaitingEndpoints};
use super::{ClusterSettings, Effect, PlacementRole};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordType;
use crate::core::endpoint::parsed::{ParsedEndpoint, parse_endpoint};
use crate::core::endpoint::quota::{Quota, QuotaBound, Withheld};
use crate::core::endpoint::verdict::{Placement, Reason, Verdict};
use crate::core::endpoint::{Endpoint, KeyHash, Version};
use crate::core::ids::ClusterId;
use crate::core::planning::placement::{
    PlacementDecision, PlacementSet, StoredPlacement, ZonesAsked,
};
use crate::core::planning::routing::{Route, RouteRequest, ZoneTable};
use crate::ports::PlacementRow;

/// The clusters and zones at one moment, on which decisions rest.
pub(super) struct Grounds {
    pub(super) settings: Arc<HashMap<ClusterId, ClusterSettings>>,
    pub(super) zones: Arc<ZoneTable>,
    /// Their number, read before them: what changes after it makes the decision be asked again.
    pub(super) basis: u64,
}

impl Grounds {
    /// Decides where an endpoint goes; `None` if it goes nowhere by what is known now.
    pub(super) fn decide(
        &self,
        cluster: &ClusterId,
        endpoint: &Endpoint,
        found: Option<StoredPlacement>,
    ) -> Option<PlacementDecision> {
        let parsed = parse_endpoint(endpoint).ok()?;
        let current = found.as_ref().map_or(&[][..], |found| found.set.at());
        let route = route(&self.settings, &self.zones, cluster, &parsed, current).ok()?;
        let to = match &found {
            Some(found) => found.set.moved_to(route.at),
            None => PlacementSet::new(route.at, []),
        };
        let asked = Some(ZonesAsked { name: parsed.name, basis: self.basis });
        Some(PlacementDecision { found, to, asked })
    }
}

fn route(
    settings: &HashMap<ClusterId, ClusterSettings>,
    zones: &ZoneTable,
    cluster: &ClusterId,
    parsed: &ParsedEndpoint,
    current: &[Placement],
) -> Result<Route, Verdict> {
    ask(settings, cluster, parsed, current, |request| zones.place(&request, current))
}

/// Asks routing on behalf of a cluster's endpoint.
fn ask<T>(
    settings: &HashMap<ClusterId, ClusterSettings>,
    cluster: &ClusterId,
    parsed: &ParsedEndpoint,
    current: &[Placement],
    answer: impl FnOnce(RouteRequest<'_>) -> Result<T, Verdict>,
) -> Result<T, Verdict> {
    let Some(settings) = settings.get(cluster) else {
        return Err(not_registered(cluster, current));
    };
    let is_of_the_parent = |rtype: &RecordType| matches!(rtype, RecordType::Ns | RecordType::Ds);
    answer(RouteRequest {
        environment: &settings.environment,
        name: &parsed.name,
        at_cut: parsed.types.iter().any(is_of_the_parent),
        exposure: parsed.exposure.unwrap_or(settings.exposure),
        pinned: parsed.zone.as_ref(),
    })
}

fn not_registered(cluster: &ClusterId, current: &[Placement]) -> Verdict {
    Verdict::waiting(
        Reason::NoZone,
        format!(
            "the cluster {cluster} is no longer registered at the broker: register it again, or remove its endpoints"
        ),
        current.first().cloned(),
    )
}

/// The verdict on an endpoint beyond its cluster's quota.
fn beyond_quota(
    settings: &HashMap<ClusterId, ClusterSettings>,
    cluster: &ClusterId,
    withheld: &Withheld,
    current: &[Placement],
) -> Verdict {
    let Some(ClusterSettings { quota, .. }) = settings.get(cluster) else {
        return not_registered(cluster, current);
    };
    let Quota { max_endpoints, max_bytes } = quota;
    let (limit, needs, key) = match withheld.bound {
        QuotaBound::Endpoints => {
            (format!("{max_endpoints} endpoints"), String::new(), "max_endpoints")
        }
        QuotaBound::Bytes => (
            format!("{max_bytes} bytes of endpoints"),
            format!(" with its {} bytes", withheld.octets),
            "max_bytes",
        ),
    };
    Verdict::waiting(
        Reason::Quota,
        format!(
            "the broker stores {limit} of the cluster {cluster} at most, and this one{needs} is beyond that: delete endpoints of the cluster, or have the platform team raise clusters[].{key}; what an earlier version published stays"
        ),
        current.first().cloned(),
    )
}

/// The contributions of an endpoint where it is placed.
pub(super) fn contributions(
    held: &EndpointEntry,
    name: &DnsName,
    set: &PlacementSet,
) -> impl Iterator<Item = Effect> {
    let published = set.at().iter().map(|placement| (placement, PlacementRole::Publishes));
    let left = set.leaving().iter().map(|placement| (placement, PlacementRole::Leaves));
    published.chain(left).map(|(placement, role)| Effect::Contribute {
        placement: placement.clone(),
        name: name.clone(),
        held: held.clone(),
        role,
    })
}

/// Whether an endpoint is published by its present content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Published {
    Yes,
    No,
}

/// Derives effects from the places of endpoints. It decides nothing that is not stored: decisions that can be made are noted.
pub(super) struct Placer<'a> {
    /// The registered clusters.
    pub(super) settings: Arc<HashMap<ClusterId, ClusterSettings>>,
    /// The zones of all accounts, to route to.
    pub(super) zones: Arc<ZoneTable>,
    /// The sets of zones at which endpoints are placed.
    pub(super) places: &'a PlacementTable,
    /// Endpoints that publish nothing by their present content.
    pub(super) waiting: MutexGuard<'a, WaitingEndpoints>,
    /// Endpoints whose placement can be decided and is not stored yet.
    pub(super) due: &'a DuePlacements,
    /// Which replica is to decide.
    pub(super) turn: Turn,
    /// The effects on workers and statuses.
    pub(super) effects: &'a mut Vec<Effect>,
}

impl Placer<'_> {
    /// Takes a version of an endpoint that was placed by what is known now: it is published there, so nothing is asked again.
    pub(super) fn put_placed(
        &mut self,
        endpoints: &ClusterEndpoints,
        key: &KeyHash,
        version: &Version,
        held: &EndpointEntry,
        placed: &PlacementDecision,
        name: &DnsName,
    ) {
        let was = self.replace(endpoints, key, version, held);
        self.set(held, placed.sequence(), &placed.to);
        held.set_placed(true);
        let set = self.places.of(held);
        self.settle(held, was.as_deref(), set.as_deref(), Published::Yes, Some(name.clone()));
    }

    /// Takes a version of an endpoint, with its placement if one is stored for it; else it is where the version before was.
    pub(super) fn put(
        &mut self,
        endpoints: &ClusterEndpoints,
        key: &KeyHash,
        version: &Version,
        held: &EndpointEntry,
        placed: Option<&PlacementDecision>,
    ) {
        let was = self.replace(endpoints, key, version, held);
        if let Some(placed) = placed {
            self.set(held, placed.sequence(), &placed.to);
            held.set_placed(true);
        }
        self.look(held, was);
    }

    /// Takes a version that another replica stored.
    pub(super) fn follow(
        &mut self,
        endpoints: &ClusterEndpoints,
        key: &KeyHash,
        version: &Version,
        held: &EndpointEntry,
        row: Option<PlacementRow>,
    ) {
        let was = self.replace(endpoints, key, version, held);
        self.take_row(held, version, row);
        self.look(held, was);
    }

    /// Takes a stored endpoint at a start.
    pub(super) fn load(
        &mut self,
        held: &EndpointEntry,
        version: &Version,
        row: Option<PlacementRow>,
    ) {
        self.take_row(held, version, row);
        self.look(held, None);
    }

    /// Takes a decision about an endpoint, unless a later one is known.
    pub(super) fn place(&mut self, held: &EndpointEntry, stored: &StoredPlacement) {
        let is_known = held.is_placed() && !held.is_placed_before_versions();
        if held.is_gone() || (is_known && held.sequence() >= stored.sequence) {
            return;
        }
        let was = self.places.of(held);
        self.set(held, stored.sequence, &stored.set);
        held.set_placed(true);
        self.look(held, was);
    }

    /// Forgets that an endpoint was placed, if it would now go elsewhere than to its lost zone; returns whether it would.
    pub(super) fn place_anew(&mut self, held: &EndpointEntry) -> bool {
        let Some(set) = self.places.of(held).filter(|_| held.is_placed()) else { return false };
        let Ok(parsed) = parse_endpoint(&held.endpoint()) else { return false };
        let route = route(&self.settings, &self.zones, held.cluster(), &parsed, set.at());
        if !route.is_ok_and(|route| route.at != set.at()) {
            return false;
        }
        held.set_placed(false);
        self.look_again(held);
        true
    }

    /// Reviews an endpoint, because something around it changed.
    pub(super) fn look_again(&mut self, held: &EndpointEntry) {
        let was = self.places.of(held);
        self.look(held, was);
    }

    /// Removes an endpoint and its contributions.
    pub(super) fn remove(&mut self, endpoints: &ClusterEndpoints, key: &KeyHash) {
        if let Some(old) = endpoints.remove(key) {
            self.wait_no_more(&old);
            let was = self.places.of(&old);
            self.withdraw(&old, was.as_deref(), None);
        }
    }

    /// Puts a version in the place of the one before and returns where that one was.
    fn replace(
        &mut self,
        endpoints: &ClusterEndpoints,
        key: &KeyHash,
        version: &Version,
        held: &EndpointEntry,
    ) -> Option<Arc<PlacementSet>> {
        let old = endpoints.put(key, version, held.clone())?;
        self.wait_no_more(&old);
        let was = self.places.of(&old);
        if old.arrival() == held.arrival() {
            held.follows(&old);
            return was;
        }
        // Under another arrival number it was another endpoint, whose removal was not announced yet.
        self.withdraw(&old, was.as_deref(), None);
        None
    }

    fn take_row(&mut self, held: &EndpointEntry, version: &Version, row: Option<PlacementRow>) {
        let Some(row) = row else { return };
        if row.placement.sequence < held.sequence() {
            return;
        }
        self.set(held, row.placement.sequence, &row.placement.set);
        held.set_placed(match row.version {
            Some(placed) => placed == *version,
            // A release that did not keep the version decided it: it is trusted where it still fits.
            None => self.still_fits(held, &row.placement.set),
        });
        held.set_placed_before_versions(row.version.is_none());
    }

    fn still_fits(&self, held: &EndpointEntry, set: &PlacementSet) -> bool {
        let Ok(parsed) = parse_endpoint(&held.endpoint()) else { return false };
        ask(&self.settings, held.cluster(), &parsed, set.at(), |request| {
            self.zones.stays(&request, set.at())
        })
        .is_ok()
    }

    fn set(&mut self, held: &EndpointEntry, sequence: u32, set: &PlacementSet) {
        held.set_place(self.places.number(set), sequence);
        held.set_placed_before_versions(false);
    }

    /// Derives the effects of an endpoint's place; `was` is where it contributed until now.
    fn look(&mut self, held: &EndpointEntry, was: Option<Arc<PlacementSet>>) {
        let set = self.places.of(held);
        let current = set.as_ref().map_or(&[][..], |set| set.at());
        let (settings, zones, cluster) = (&*self.settings, &*self.zones, held.cluster());
        let parsed = match held.withheld() {
            Some(withheld) => Err(beyond_quota(settings, cluster, &withheld, current)),
            None => parse_endpoint(&held.endpoint()),
        };
        let name = parsed.as_ref().ok().map(|parsed| parsed.name.clone());
        let publishes = parsed.and_then(|parsed| {
            if held.is_placed() {
                let stays = |request: RouteRequest<'_>| zones.stays(&request, current);
                ask(settings, cluster, &parsed, current, stays).map(|()| true)
            } else {
                route(settings, zones, cluster, &parsed, current).map(|_| false)
            }
        });
        let published = if publishes == Ok(true) { Published::Yes } else { Published::No };
        if publishes == Ok(false) || held.is_placed_before_versions() {
            self.due.note(held, self.turn);
        }
        self.settle(held, was.as_deref(), set.as_deref(), published, name);
        if let Err(mut verdict) = publishes {
            verdict.placement = current.first().cloned();
            self.effects.push(Effect::Judge { held: held.clone(), verdict });
        }
    }

    /// Puts the answer about an endpoint into effect: whether it waits, and where it contributes. `name` is its name if it is known.
    fn settle(
        &mut self,
        held: &EndpointEntry,
        was: Option<&PlacementSet>,
        set: Option<&PlacementSet>,
        published: Published,
        name: Option<DnsName>,
    ) {
        match published {
            Published::Yes => {
                self.wait_no_more(held);
                held.set_retained(false);
            }
            Published::No => {
                held.set_retained(true);
                self.waiting.insert(held);
            }
        }
        self.withdraw(held, was, set);
        let Some(set) = set else { return };
        if let Some(name) = name.or_else(|| DnsName::parse(held.view().dns_name).ok()) {
            self.effects.extend(contributions(held, &name, set));
        }
    }

    /// Takes an endpoint out of those that wait. Only what is retained is among them, and as a rule none is.
    fn wait_no_more(&mut self, held: &EndpointEntry) {
        if held.is_retained() {
            self.waiting.remove(held);
        }
    }

    /// Withdraws an endpoint from the zones that it has left.
    fn withdraw(
        &mut self,
        held: &EndpointEntry,
        was: Option<&PlacementSet>,
        now: Option<&PlacementSet>,
    ) {
        let Some(was) = was.filter(|was| now != Some(was)) else { return };
        // A placed endpoint has a valid name.
        let Ok(name) = DnsName::parse(held.view().dns_name) else { return };
        let left = was.all().filter(|placement| !now.is_some_and(|now| now.contains(placement)));
        self.effects.extend(left.map(|placement| Effect::Withdraw {
            placement: placement.clone(),
            name: name.clone(),
            held: held.clone(),
        }));
    }
}
