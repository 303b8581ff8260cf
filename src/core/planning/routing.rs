//! Environment → account → zone, and why.

use std::collections::{BTreeMap, HashMap};

use crate::core::dns::name::DnsName;
use crate::core::endpoint::verdict::{Placement, Reason, Verdict};
use crate::core::ids::{AccountId, EnvironmentId, ZoneId};
use crate::core::visibility::Visibility;

/// What routing has to know of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneFacts {
    /// The account that holds the zone.
    pub account: AccountId,
    /// The account's environment.
    pub environment: EnvironmentId,
    /// The zone.
    pub zone: ZoneId,
    /// Its apex.
    pub name: DnsName,
    /// Public or private.
    pub visibility: Visibility,
    /// False when discovery no longer finds the zone: what was placed there stays, nothing new goes there.
    pub visible: bool,
}

/// What an endpoint asks of routing.
#[derive(Clone, Copy, Debug)]
pub struct RouteRequest<'a> {
    /// The environment of its cluster.
    pub environment: &'a EnvironmentId,
    /// The owner name.
    pub name: &'a DnsName,
    /// Public or private: the endpoint's own word, or its cluster's.
    pub visibility: Visibility,
    /// The zone that the endpoint names itself.
    pub pinned: Option<&'a ZoneId>,
    /// Where the endpoint is now.
    pub current: Option<&'a Placement>,
}

/// All zones of all accounts, by apex.
#[derive(Clone, Debug, Default)]
pub struct ZoneTable {
    zones: BTreeMap<ZoneId, ZoneFacts>,
    by_name: HashMap<DnsName, Vec<ZoneId>>,
}

impl ZoneTable {
    /// Adds a zone, or replaces what is known of it.
    pub fn insert(&mut self, facts: ZoneFacts) {
        self.remove(&facts.zone);
        self.by_name.entry(facts.name.clone()).or_default().push(facts.zone.clone());
        self.zones.insert(facts.zone.clone(), facts);
    }

    fn remove(&mut self, zone: &ZoneId) {
        if let Some(facts) = self.zones.remove(zone)
            && let Some(siblings) = self.by_name.get_mut(&facts.name)
        {
            siblings.retain(|id| id != zone);
        }
    }

    /// One zone.
    pub fn get(&self, zone: &ZoneId) -> Option<&ZoneFacts> {
        self.zones.get(zone)
    }

    /// All zones, by id.
    pub fn iter(&self) -> impl Iterator<Item = &ZoneFacts> {
        self.zones.values()
    }

    /// Decides the zone of an endpoint; costs the labels of the name, not the number of zones.
    ///
    /// The zone with the longest apex wins. An endpoint that has a placement keeps it as long as that zone exists and the
    /// environment, the visibility and the pin still fit: a closer zone that nobody delegates to yet would make the name
    /// unresolvable, so moving is never a side effect of a zone's appearance.
    ///
    /// # Errors
    /// The verdict that says why there is no zone, and which ones are near.
    pub fn route(&self, request: &RouteRequest<'_>) -> Result<Placement, Verdict> {
        if let Some(current) = request.current
            && let Some(facts) = self.zones.get(&current.zone)
            && request.pinned.is_none_or(|pin| *pin == facts.zone)
            && self.fits(facts, request)
        {
            return if facts.visible { Ok(place(facts)) } else { Err(zone_gone(facts)) };
        }
        if let Some(pin) = request.pinned {
            return self.route_pinned(pin, request);
        }
        let mut apex = Some(request.name.clone());
        while let Some(name) = apex {
            let here: Vec<&ZoneFacts> =
                self.at(&name).filter(|facts| facts.visible && self.fits(facts, request)).collect();
            match here.as_slice() {
                [] => apex = name.parent(),
                [one] => return Ok(place(one)),
                several => return Err(ambiguous(&name, several)),
            }
        }
        Err(self.no_zone(request))
    }

    fn at(&self, name: &DnsName) -> impl Iterator<Item = &ZoneFacts> {
        self.by_name.get(name).into_iter().flatten().filter_map(|id| self.zones.get(id))
    }

    fn fits(&self, facts: &ZoneFacts, request: &RouteRequest<'_>) -> bool {
        facts.environment == *request.environment
            && facts.visibility == request.visibility
            && request.name.is_in(&facts.name)
    }

    fn route_pinned(&self, pin: &ZoneId, request: &RouteRequest<'_>) -> Result<Placement, Verdict> {
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
            Some(facts) => Ok(place(facts)),
        }
    }

    /// Names the nearest zones: those that share the most labels, and those that would fit but for the environment.
    fn no_zone(&self, request: &RouteRequest<'_>) -> Verdict {
        let holding: Vec<String> =
            std::iter::successors(Some(request.name.clone()), DnsName::parent)
                .flat_map(|name| self.at(&name).map(describe).collect::<Vec<_>>())
                .take(3)
                .collect();
        if !holding.is_empty() {
            return Verdict::waiting(
                Reason::NoZone,
                format!(
                    "no {} zone of the environment {} holds {}; it would lie in {}",
                    request.visibility,
                    request.environment,
                    request.name,
                    holding.join(", ")
                ),
                None,
            );
        }
        let mut near: Vec<(usize, &ZoneFacts)> = self
            .zones
            .values()
            .filter(|facts| facts.visible && facts.environment == *request.environment)
            .map(|facts| (facts.name.shared_labels(request.name), facts))
            .collect();
        near.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.name.cmp(&y.name)));
        let nearest: Vec<String> =
            near.iter().take(3).map(|(_, facts)| facts.name.to_string()).collect();
        let nearest = if nearest.is_empty() {
            "it has none".to_owned()
        } else {
            format!("the nearest are {}", nearest.join(", "))
        };
        Verdict::waiting(
            Reason::NoZone,
            format!(
                "no zone of the environment {} holds {}; {nearest}. Create the zone, widen the account's zone selectors, or correct the name",
                request.environment, request.name
            ),
            None,
        )
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
            "the zone {} ({}) is no longer visible in the account {}: it was deleted, or the zone selectors no longer take it. Nothing is removed there",
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
mod tests {
    use super::*;
    use crate::core::endpoint::verdict::VerdictState;

    fn facts(zone: &str, name: &str, environment: &str) -> ZoneFacts {
        ZoneFacts {
            account: AccountId::parse("111111111111").unwrap(),
            environment: EnvironmentId::parse(environment).unwrap(),
            zone: ZoneId::parse(zone).unwrap(),
            name: DnsName::parse(name).unwrap(),
            visibility: Visibility::Public,
            visible: true,
        }
    }

    fn table(zones: &[ZoneFacts]) -> ZoneTable {
        let mut table = ZoneTable::default();
        zones.iter().cloned().for_each(|zone| table.insert(zone));
        table
    }

    fn route(table: &ZoneTable, name: &str, current: Option<&str>) -> Result<String, Verdict> {
        let current = current.map(|zone| Placement {
            account: AccountId::parse("111111111111").unwrap(),
            zone: ZoneId::parse(zone).unwrap(),
        });
        let (environment, name) =
            (EnvironmentId::parse("dev").unwrap(), DnsName::parse(name).unwrap());
        let request = RouteRequest {
            environment: &environment,
            name: &name,
            visibility: Visibility::Public,
            pinned: None,
            current: current.as_ref(),
        };
        table.route(&request).map(|placement| placement.zone.to_string())
    }

    #[test]
    fn the_longest_suffix_wins() {
        let table = table(&[
            facts("Z1", "example.com", "dev"),
            facts("Z2", "dev.example.com", "dev"),
            facts("Z3", "v.example.com", "dev"),
        ]);
        assert_eq!(route(&table, "a.b.dev.example.com", None).unwrap(), "Z2");
        assert_eq!(route(&table, "dev.example.com", None).unwrap(), "Z2");
        assert_eq!(route(&table, "xdev.example.com", None).unwrap(), "Z1");
    }

    #[test]
    fn a_placement_is_kept_when_a_closer_zone_appears() {
        let table =
            table(&[facts("Z1", "example.com", "dev"), facts("Z2", "dev.example.com", "dev")]);
        assert_eq!(route(&table, "a.dev.example.com", Some("Z1")).unwrap(), "Z1");
    }

    #[test]
    fn a_zone_that_is_gone_keeps_its_endpoints_waiting() {
        let mut gone = facts("Z2", "dev.example.com", "dev");
        gone.visible = false;
        let table = table(&[facts("Z1", "example.com", "dev"), gone]);
        let verdict = route(&table, "a.dev.example.com", Some("Z2")).unwrap_err();
        assert_eq!((verdict.state, verdict.reason), (VerdictState::Waiting, Reason::ZoneGone));
        assert!(verdict.placement.is_some());
        assert_eq!(
            route(&table, "b.dev.example.com", None).unwrap(),
            "Z1",
            "nothing new goes there"
        );
    }

    #[test]
    fn no_zone_names_the_nearest_and_the_other_environment() {
        let table = table(&[
            facts("Z1", "dev.example.com", "dev"),
            facts("Z2", "prod.example.com", "prod"),
        ]);
        let nearest = route(&table, "a.stage.example.com", None).unwrap_err();
        assert!(nearest.message.contains("the nearest are dev.example.com"), "{}", nearest.message);
        let other = route(&table, "a.prod.example.com", None).unwrap_err();
        assert!(other.message.contains("environment prod"), "{}", other.message);
    }

    #[test]
    fn two_zones_of_one_name_are_not_guessed_between() {
        let table = table(&[facts("Z1", "example.com", "dev"), facts("Z2", "example.com", "dev")]);
        assert_eq!(route(&table, "a.example.com", None).unwrap_err().reason, Reason::AmbiguousZone);
    }
}
