//! Environment → account → zones, and why.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arcstr::ArcStr;

use super::policy::ZonePattern;
use crate::core::dns::name::DnsName;
use crate::core::endpoint::verdict::{Placement, Reason, Verdict};
use crate::core::ids::{AccountId, EnvironmentId, ZoneId};
use crate::core::visibility::{Exposure, Visibility};

/// How many zones a message names.
const NAMED_ZONES: usize = 3;
/// How many zones are looked at for a message.
const LOOKED_AT: usize = 64;

/// The facts about a zone that routing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneFacts {
    /// The account that holds the zone.
    pub account: AccountId,
    /// The account's environment.
    pub environment: EnvironmentId,
    pub zone: ZoneId,
    /// Its apex.
    pub name: DnsName,
    /// Public or private.
    pub visibility: Visibility,
    /// False when discovery no longer finds the zone: what was placed there stays, nothing new goes there.
    pub visible: bool,
}

/// The facts about an account that routing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountScope {
    pub environment: EnvironmentId,
    /// Which zones its rules could select: any of these.
    pub reach: Vec<Reach>,
    /// Whether its zones were ever listed. Until then it may hold a closer zone that is not known.
    pub listed: bool,
    /// Whether placing goes on without it while it cannot be listed: `placement: do-not-wait`, and it is parked.
    pub exempt: bool,
}

/// Zones that one rule of an account could select, as far as that is known without having listed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// By name; `None` for any.
    pub name: Option<ZonePattern>,
    /// By kind; `None` for both.
    pub visibility: Option<Visibility>,
}

impl Reach {
    fn covers(&self, apex: &DnsName, visibility: Visibility) -> bool {
        self.name.as_ref().is_none_or(|pattern| pattern.matches(apex))
            && self.visibility.is_none_or(|only| only == visibility)
    }
}

/// A request to route an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct RouteRequest<'a> {
    /// The environment of its cluster.
    pub environment: &'a EnvironmentId,
    /// The owner name.
    pub name: &'a DnsName,
    /// Whether it belongs to the parent's side of a zone cut: NS and DS of a child zone (RFC 4035 §2.4).
    pub at_cut: bool,
    /// In which kinds of zones: the endpoint's own word, or its cluster's.
    pub exposure: Exposure,
    /// The zone that the endpoint names itself.
    pub pinned: Option<&'a ZoneId>,
}

/// Where an endpoint goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The zones, at least one.
    pub at: Vec<Placement>,
    /// A warning for the endpoint's owner; empty if there is none.
    pub warning: String,
}

/// All zones of all accounts, by apex.
#[derive(Clone, Debug, Default)]
pub struct ZoneTable {
    zones: BTreeMap<ZoneId, ZoneFacts>,
    /// By the canonical text of the apex: every endpoint is looked up here, once for each of its labels.
    by_apex: HashMap<ArcStr, Vec<ZoneId>>,
    /// The lengths of the shortest and the longest text there ever was: no other text is looked up.
    lengths: Option<(usize, usize)>,
    /// The apexes in the order of names, so those below a name stand together.
    apexes: BTreeSet<DnsName>,
    accounts: BTreeMap<AccountId, AccountScope>,
}

impl ZoneTable {
    /// Adds a zone, or replaces its facts.
    pub fn insert(&mut self, facts: ZoneFacts) {
        if let Some(before) = self.zones.remove(&facts.zone)
            && let Some(siblings) = self.by_apex.get_mut(before.name.as_str())
        {
            siblings.retain(|id| *id != facts.zone);
        }
        let length = facts.name.as_str().len();
        let (shortest, longest) = self.lengths.unwrap_or((length, length));
        self.lengths = Some((shortest.min(length), longest.max(length)));
        self.by_apex.entry(facts.name.text()).or_default().push(facts.zone.clone());
        self.apexes.insert(facts.name.clone());
        self.zones.insert(facts.zone.clone(), facts);
    }

    /// Sets the configured accounts.
    pub fn set_accounts(&mut self, accounts: BTreeMap<AccountId, AccountScope>) {
        self.accounts = accounts;
    }

    /// The configured accounts.
    pub fn accounts(&self) -> &BTreeMap<AccountId, AccountScope> {
        &self.accounts
    }

    /// Updates the facts of an account; `false` if it is not configured or nothing changes.
    pub fn update_account(
        &mut self,
        account: &AccountId,
        update: impl FnOnce(&mut AccountScope),
    ) -> bool {
        let Some(scope) = self.accounts.get_mut(account) else { return false };
        let before = scope.clone();
        update(scope);
        *scope != before
    }

    /// One zone.
    pub fn get(&self, zone: &ZoneId) -> Option<&ZoneFacts> {
        self.zones.get(zone)
    }

    /// All zones, by id.
    pub fn iter(&self) -> impl Iterator<Item = &ZoneFacts> {
        self.zones.values()
    }

    /// Decides the zones of an endpoint that has no placement for its present content; costs the labels of the name, not the
    /// number of zones. `current` is where an earlier version of it is.
    ///
    /// The public zone with the longest apex wins, and all private zones that fit. A zone that an endpoint has is kept as long
    /// as it exists and fits: a closer zone that has no delegation yet would make the name unresolvable, so moving is never a
    /// side effect of a zone's appearance. A zone that was deleted and made again under another id is the same place.
    ///
    /// # Errors
    /// The verdict that says why there is no zone, and which ones are near, or which accounts have to be listed first.
    pub fn place(
        &self,
        request: &RouteRequest<'_>,
        current: &[Placement],
    ) -> Result<Route, Verdict> {
        if let Some(pin) = request.pinned {
            return self.pinned(pin, request);
        }
        let kept = self.kept(request, current);
        let is_new = kept.is_empty() && kept.gone.is_empty();
        let mut at: Vec<Placement> = kept.private.iter().cloned().collect();
        if request.exposure.allows(Visibility::Private) {
            at.extend(self.holding(request, Visibility::Private).map(place));
        }
        let wants_public = match request.exposure {
            Exposure::Public | Exposure::Both => true,
            Exposure::Private => false,
            Exposure::Internal => at.is_empty() && kept.gone.is_empty(),
        };
        let mut closest = None;
        if wants_public && kept.public.is_empty() && !kept.has_lost(Visibility::Public) {
            closest = self.closest_public(request)?;
            at.extend(closest.map(place));
        }
        if wants_public {
            at.extend(kept.public.iter().cloned());
        }
        // An endpoint that is of use inside only stays public for good once it is placed so.
        let falls_to_public = request.exposure == Exposure::Internal && wants_public;
        if (is_new || falls_to_public)
            && let Some(verdict) = self.awaited(request, closest)
        {
            return Err(verdict);
        }
        // Nothing is written to a zone that is not visible; it may come back.
        match (at.is_empty(), kept.gone.first()) {
            (true, Some(gone)) => return Err(zone_gone(gone)),
            (true, None) => return Err(self.no_zone(request)),
            (false, _) => at.extend(kept.gone.iter().map(|facts| place(facts))),
        }
        let warning = match (request.exposure, closest) {
            (Exposure::Internal, Some(public)) => format!(
                "no private zone of the environment {} holds {}: it is published in the public zone {}, which anyone can read",
                request.environment, request.name, public.name
            ),
            _ => String::new(),
        };
        at.sort();
        at.dedup();
        Ok(Route { at, warning })
    }

    /// Whether a placement that was decided for an endpoint's present content still holds.
    ///
    /// # Errors
    /// The verdict on an endpoint whose record sets stay as they are meanwhile.
    pub fn stays(&self, request: &RouteRequest<'_>, current: &[Placement]) -> Result<(), Verdict> {
        let known = || {
            let of =
                |placement: &Placement| Some((placement.clone(), self.zones.get(&placement.zone)?));
            current.iter().filter_map(of)
        };
        let belongs = |facts: &ZoneFacts| {
            let is_asked_for = match request.pinned {
                Some(pin) => *pin == facts.zone,
                None => request.exposure.allows(facts.visibility),
            };
            is_asked_for && facts.environment == *request.environment
        };
        if let Some((placement, facts)) = known().find(|(_, facts)| !belongs(facts)) {
            return Err(Verdict::waiting(
                Reason::ZoneGone,
                format!(
                    "by its cluster's settings the endpoint no longer belongs to the zone {} ({}), and its records stay where they are: write the endpoint again to move it",
                    facts.zone, facts.name
                ),
                Some(placement),
            ));
        }
        match known().next() {
            Some((_, first)) if known().all(|(_, facts)| !facts.visible) => Err(zone_gone(first)),
            _ => Ok(()),
        }
    }

    fn at(&self, apex: &str) -> impl Iterator<Item = &ZoneFacts> {
        let can_be = |(shortest, longest)| (shortest..=longest).contains(&apex.len());
        let ids =
            self.lengths.filter(|lengths| can_be(*lengths)).and_then(|_| self.by_apex.get(apex));
        ids.into_iter().flatten().filter_map(|id| self.zones.get(id))
    }

    /// The names whose zones could hold the endpoint, in their canonical text, the closest first.
    fn apexes<'a>(request: &RouteRequest<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
        request.name.suffixes().skip(usize::from(request.at_cut))
    }

    /// The zones that could hold the endpoint and are of its environment, the closest first.
    fn holding<'a, 'r>(
        &'a self,
        request: &RouteRequest<'r>,
        visibility: Visibility,
    ) -> impl Iterator<Item = &'a ZoneFacts> + use<'a, 'r> {
        let environment = request.environment;
        let is_meant = move |facts: &&ZoneFacts| {
            facts.visible && facts.visibility == visibility && facts.environment == *environment
        };
        Self::apexes(request).flat_map(|apex| self.at(apex)).filter(is_meant)
    }

    fn fits(facts: &ZoneFacts, request: &RouteRequest<'_>) -> bool {
        facts.environment == *request.environment
            && request.name.is_in(&facts.name)
            && !(request.at_cut && *request.name == facts.name)
    }

    /// The zones of a placement that are kept.
    fn kept<'a>(&'a self, request: &RouteRequest<'_>, current: &[Placement]) -> Kept<'a> {
        let mut kept = Kept::default();
        for facts in current.iter().filter_map(|placement| self.zones.get(&placement.zone)) {
            if !Self::fits(facts, request) || !request.exposure.allows(facts.visibility) {
                continue;
            }
            let is_again = |other: &&ZoneFacts| {
                other.visible
                    && other.visibility == facts.visibility
                    && other.environment == facts.environment
            };
            let now = if facts.visible {
                Some(facts)
            } else {
                self.at(facts.name.as_str()).find(is_again)
            };
            match now {
                Some(now) if now.visibility.is_private() => drop(kept.private.insert(place(now))),
                Some(now) => drop(kept.public.insert(place(now))),
                None => kept.gone.push(facts),
            }
        }
        kept
    }

    fn closest_public(&self, request: &RouteRequest<'_>) -> Result<Option<&ZoneFacts>, Verdict> {
        let mut holding = self.holding(request, Visibility::Public).peekable();
        let Some(first) = holding.next() else { return Ok(None) };
        if holding.peek().is_none_or(|second| second.name != first.name) {
            return Ok(Some(first));
        }
        let several: Vec<&ZoneFacts> = std::iter::once(first)
            .chain(holding)
            .take_while(|facts| facts.name == first.name)
            .collect();
        Err(ambiguous(&first.name, &several))
    }

    /// The verdict that waits for accounts that were never listed and could hold a zone that would be chosen.
    fn awaited(&self, request: &RouteRequest<'_>, closest: Option<&ZoneFacts>) -> Option<Verdict> {
        let closer_than = closest.map_or(0, |facts| facts.name.label_count());
        let could_hold = |scope: &AccountScope| {
            let kinds = |apex: &DnsName| {
                let public =
                    request.exposure != Exposure::Private && apex.label_count() > closer_than;
                let private = request.exposure != Exposure::Public;
                [(public, Visibility::Public), (private, Visibility::Private)]
            };
            let first =
                if request.at_cut { request.name.parent() } else { Some(request.name.clone()) };
            std::iter::successors(first, DnsName::parent).any(|apex| {
                kinds(&apex).into_iter().any(|(is_wanted, kind)| {
                    is_wanted && scope.reach.iter().any(|reach| reach.covers(&apex, kind))
                })
            })
        };
        let awaited: Vec<&str> = self
            .accounts
            .iter()
            .filter(|(_, scope)| {
                !scope.listed && !scope.exempt && scope.environment == *request.environment
            })
            .filter(|(_, scope)| could_hold(scope))
            .map(|(account, _)| account.as_str())
            .collect();
        let first = awaited.first()?;
        let others = match awaited.len() - 1 {
            0 => String::new(),
            1 => " and one more".to_owned(),
            more => format!(" and {more} more"),
        };
        Some(Verdict::waiting(
            Reason::ZonesUnknown,
            format!(
                "waiting until the zones of the account {first}{others} were listed once, since a closer zone may be there. If that account cannot be reached for long, set placement: do-not-wait for it"
            ),
            None,
        ))
    }

    fn pinned(&self, pin: &ZoneId, request: &RouteRequest<'_>) -> Result<Route, Verdict> {
        let refuse = |message: String| Err(Verdict::waiting(Reason::NoZone, message, None));
        match self.zones.get(pin) {
            None => refuse(format!(
                "the zone {pin} that aws/hosted-zone-id names is not visible to Zonefold: check the id and the account's zone selectors"
            )),
            Some(facts) if facts.environment != *request.environment => refuse(format!(
                "the zone {pin} ({}) belongs to the environment {}, and the cluster to {}: publish from a cluster of that environment",
                facts.name, facts.environment, request.environment
            )),
            Some(facts) if !request.name.is_in(&facts.name) => refuse(format!(
                "{} does not lie in the zone {pin} ({}): remove aws/hosted-zone-id or correct it",
                request.name, facts.name
            )),
            Some(facts) if !facts.visible => Err(zone_gone(facts)),
            // The pin is the endpoint's explicit word, so it also says public or private.
            Some(facts) => Ok(Route { at: vec![place(facts)], warning: String::new() }),
        }
    }

    /// Says why there is no zone, and names those that would fit but for one thing, or the nearest.
    fn no_zone(&self, request: &RouteRequest<'_>) -> Verdict {
        let holding: Vec<String> = Self::apexes(request)
            .flat_map(|apex| self.at(apex))
            .map(describe)
            .take(NAMED_ZONES)
            .collect();
        let message = if !holding.is_empty() {
            let kind = match request.exposure {
                Exposure::Public => "public zone",
                Exposure::Private => "private zone",
                Exposure::Both | Exposure::Internal => "zone",
            };
            format!(
                "no {kind} of the environment {} holds {}; it would lie in {}",
                request.environment,
                request.name,
                holding.join(", ")
            )
        } else if request.at_cut && self.at(request.name.as_str()).next().is_some() {
            format!(
                "the NS and DS record sets of {} belong to its parent zone, and no zone of the environment {} is the parent: make the delegation where the parent is",
                request.name, request.environment
            )
        } else {
            let nearest = self.nearest(request);
            let nearest = if nearest.is_empty() {
                "none is near".to_owned()
            } else {
                format!("the nearest are {}", nearest.join(", "))
            };
            format!(
                "no zone of the environment {} holds {}; {nearest}. Create the zone, widen the account's zone selectors, or correct the name",
                request.environment, request.name
            )
        };
        Verdict::waiting(Reason::NoZone, message, None)
    }

    /// The zones that share the most labels with a name.
    fn nearest(&self, request: &RouteRequest<'_>) -> Vec<String> {
        let mut found: Vec<String> = vec![];
        for parent in std::iter::successors(request.name.parent(), DnsName::parent) {
            let below = self.apexes.range(parent.clone()..);
            let below = below.take_while(|apex| apex.is_in(&parent)).take(LOOKED_AT);
            for facts in below.flat_map(|apex| self.at(apex.as_str())) {
                let name = facts.name.to_string();
                if facts.visible
                    && facts.environment == *request.environment
                    && !found.contains(&name)
                {
                    found.push(name);
                }
                if found.len() == NAMED_ZONES {
                    return found;
                }
            }
        }
        found
    }
}

/// The zones of a placement that are kept when it is decided anew.
#[derive(Default)]
struct Kept<'a> {
    public: BTreeSet<Placement>,
    private: BTreeSet<Placement>,
    /// Zones that are not visible, and that were not recreated.
    gone: Vec<&'a ZoneFacts>,
}

impl Kept<'_> {
    fn is_empty(&self) -> bool {
        self.public.is_empty() && self.private.is_empty()
    }

    fn has_lost(&self, visibility: Visibility) -> bool {
        self.gone.iter().any(|facts| facts.visibility == visibility)
    }
}

fn place(facts: &ZoneFacts) -> Placement {
    Placement { account: facts.account.clone(), zone: facts.zone.clone() }
}

fn describe(facts: &ZoneFacts) -> String {
    let gone = if facts.visible { "" } else { ", no longer visible" };
    format!(
        "{} ({} {}, environment {}{gone})",
        facts.name, facts.visibility, facts.zone, facts.environment
    )
}

fn zone_gone(facts: &ZoneFacts) -> Verdict {
    Verdict::waiting(
        Reason::ZoneGone,
        format!(
            "the zone {} ({}) is no longer visible in the account {}: it was deleted, or the zone selectors no longer select it. Nothing is removed there. If it was made again under another id, write the endpoint again or run zonefold reroute",
            facts.zone, facts.name, facts.account
        ),
        Some(place(facts)),
    )
}

fn ambiguous(name: &DnsName, zones: &[&ZoneFacts]) -> Verdict {
    let ids: Vec<String> =
        zones.iter().map(|facts| format!("{} in {}", facts.zone, facts.account)).collect();
    Verdict::waiting(
        Reason::AmbiguousZone,
        format!(
            "{} zones are named {name}: {}. Name one with the annotation aws-hosted-zone-id",
            zones.len(),
            ids.join(", ")
        ),
        None,
    )
}

#[cfg(test)]
#[path = "routing_tests.rs"]
mod tests;
