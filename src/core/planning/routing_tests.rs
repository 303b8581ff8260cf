use super::*;
use crate::core::endpoint::verdict::VerdictState;
use crate::core::testkit::name;

const ACCOUNT: &str = "111111111111";

fn environment(text: &str) -> EnvironmentId {
    EnvironmentId::parse(text).unwrap()
}

fn account(text: &str) -> AccountId {
    AccountId::parse(text).unwrap()
}

fn facts(zone: &str, apex: &str, environment_name: &str) -> ZoneFacts {
    ZoneFacts {
        account: account(ACCOUNT),
        environment: environment(environment_name),
        zone: ZoneId::parse(zone).unwrap(),
        name: name(apex),
        visibility: Visibility::Public,
        visible: true,
    }
}

fn private(zone: &str, apex: &str) -> ZoneFacts {
    ZoneFacts { visibility: Visibility::Private, ..facts(zone, apex, "dev") }
}

fn gone(facts: ZoneFacts) -> ZoneFacts {
    ZoneFacts { visible: false, ..facts }
}

fn table(zones: &[ZoneFacts]) -> ZoneTable {
    let mut table = ZoneTable::default();
    zones.iter().cloned().for_each(|zone| table.insert(zone));
    table
}

/// A request of the environment dev, and where its endpoint is.
struct Asked {
    name: DnsName,
    at_cut: bool,
    exposure: Exposure,
    pinned: Option<ZoneId>,
    current: Vec<Placement>,
}

fn ask(owner: &str) -> Asked {
    Asked {
        name: name(owner),
        at_cut: false,
        exposure: Exposure::Both,
        pinned: None,
        current: vec![],
    }
}

impl Asked {
    fn exposed(self, exposure: Exposure) -> Self {
        Self { exposure, ..self }
    }

    fn at_cut(self) -> Self {
        Self { at_cut: true, ..self }
    }

    fn at(mut self, zones: &[&str]) -> Self {
        self.current = zones
            .iter()
            .map(|zone| Placement { account: account(ACCOUNT), zone: ZoneId::parse(zone).unwrap() })
            .collect();
        self
    }

    fn pinned(self, zone: &str) -> Self {
        Self { pinned: Some(ZoneId::parse(zone).unwrap()), ..self }
    }

    fn with<T>(&self, then: impl FnOnce(&RouteRequest<'_>) -> T) -> T {
        then(&RouteRequest {
            environment: &environment("dev"),
            name: &self.name,
            at_cut: self.at_cut,
            exposure: self.exposure,
            pinned: self.pinned.as_ref(),
        })
    }

    fn route(&self, table: &ZoneTable) -> Result<Route, Verdict> {
        self.with(|request| table.place(request, &self.current))
    }

    fn zones(&self, table: &ZoneTable) -> Vec<String> {
        let at = self.route(table).unwrap().at;
        at.iter().map(|placement| placement.zone.to_string()).collect()
    }

    fn refused(&self, table: &ZoneTable) -> Verdict {
        self.route(table).unwrap_err()
    }
}

#[test]
fn the_longest_suffix_wins() {
    let table = table(&[
        facts("Z1", "example.com", "dev"),
        facts("Z2", "dev.example.com", "dev"),
        facts("Z3", "v.example.com", "dev"),
    ]);
    assert_eq!(ask("a.b.dev.example.com").zones(&table), ["Z2"]);
    assert_eq!(ask("dev.example.com").zones(&table), ["Z2"]);
    assert_eq!(ask("xdev.example.com").zones(&table), ["Z1"]);
}

#[test]
fn a_placement_is_kept_when_a_closer_zone_appears() {
    let table = table(&[facts("Z1", "example.com", "dev"), facts("Z2", "dev.example.com", "dev")]);
    assert_eq!(ask("a.dev.example.com").at(&["Z1"]).zones(&table), ["Z1"]);
}

#[test]
fn a_name_goes_to_the_closest_public_zone_and_to_all_private_ones_that_fit() {
    let table = table(&[
        facts("Z1", "example.com", "dev"),
        facts("Z2", "dev.example.com", "dev"),
        private("Z3", "example.com"),
        private("Z4", "dev.example.com"),
        private("Z5", "dev.example.com"),
        private("Z6", "other.example.com"),
    ]);
    let web = || ask("www.dev.example.com");
    assert_eq!(web().zones(&table), ["Z2", "Z3", "Z4", "Z5"]);
    assert_eq!(web().exposed(Exposure::Public).zones(&table), ["Z2"]);
    assert_eq!(web().exposed(Exposure::Private).zones(&table), ["Z3", "Z4", "Z5"]);
    assert_eq!(web().exposed(Exposure::Internal).zones(&table), ["Z3", "Z4", "Z5"]);
    assert_eq!(web().pinned("Z3").zones(&table), ["Z3"]);
    assert_eq!(web().at(&["Z1"]).zones(&table), ["Z1", "Z3", "Z4", "Z5"], "an edit adds the rest");
}

#[test]
fn what_is_of_use_inside_only_goes_public_where_there_is_no_private_zone_and_says_so() {
    let table = table(&[facts("Z1", "example.com", "dev"), private("Z2", "other.net")]);
    let route = ask("www.example.com").exposed(Exposure::Internal).route(&table).unwrap();
    assert_eq!(route.at[0].zone.as_str(), "Z1");
    assert!(route.warning.contains("anyone can read"), "{}", route.warning);
}

#[test]
fn a_zone_that_is_gone_keeps_its_endpoints_waiting() {
    let table =
        table(&[facts("Z1", "example.com", "dev"), gone(facts("Z2", "dev.example.com", "dev"))]);
    let verdict = ask("a.dev.example.com").at(&["Z2"]).refused(&table);
    assert_eq!((verdict.state, verdict.reason), (VerdictState::Waiting, Reason::ZoneGone));
    assert!(verdict.placement.is_some());
    assert_eq!(ask("b.dev.example.com").zones(&table), ["Z1"], "nothing new goes there");
}

#[test]
fn a_zone_that_was_made_again_takes_its_endpoints_back_and_a_parent_never_does() {
    let zones = [facts("Z1", "example.com", "dev"), gone(facts("Z2", "dev.example.com", "dev"))];
    let mut table = table(&zones);
    let web = ask("a.dev.example.com").at(&["Z2"]);
    assert_eq!(web.refused(&table).reason, Reason::ZoneGone);
    table.insert(private("Z3", "dev.example.com"));
    assert_eq!(
        web.route(&table).unwrap().at.len(),
        2,
        "the private zone is another place, and the lost one stays in mind"
    );
    table.insert(facts("Z4", "dev.example.com", "dev"));
    assert_eq!(web.zones(&table), ["Z3", "Z4"]);
}

#[test]
fn a_private_zone_that_is_gone_holds_back_no_public_one() {
    let table = table(&[facts("Z1", "example.com", "dev"), gone(private("Z2", "example.com"))]);
    let web = ask("www.example.com").at(&["Z1", "Z2"]);
    assert_eq!(web.zones(&table), ["Z1", "Z2"]);
    assert_eq!(web.with(|request| table.stays(request, &web.current)), Ok(()));
}

#[test]
fn what_is_placed_stays_while_its_zone_is_there_and_its_cluster_belongs_to_it() {
    let zones = [facts("Z1", "example.com", "dev"), gone(facts("Z2", "dev.example.com", "dev"))];
    let table = table(&[zones[0].clone(), zones[1].clone(), facts("Z3", "example.net", "prod")]);
    let stays = |owner: &str, at: &str| {
        let asked = ask(owner).at(&[at]);
        asked.with(|request| table.stays(request, &asked.current))
    };
    assert_eq!(stays("www.example.com", "Z1"), Ok(()));
    assert_eq!(stays("a.dev.example.com", "Z2").unwrap_err().reason, Reason::ZoneGone);
    let elsewhere = stays("www.example.net", "Z3").unwrap_err();
    assert!(elsewhere.message.contains("write the endpoint again"), "{}", elsewhere.message);
}

#[test]
fn the_delegation_of_a_child_belongs_to_the_parent() {
    let mut table =
        table(&[facts("Z1", "example.com", "dev"), facts("Z2", "dev.example.com", "dev")]);
    assert_eq!(ask("dev.example.com").at_cut().zones(&table), ["Z1"]);
    assert_eq!(ask("dev.example.com").at_cut().at(&["Z2"]).zones(&table), ["Z1"]);
    assert_eq!(ask("k8s.dev.example.com").at_cut().zones(&table), ["Z2"]);
    table.insert(facts("Z3", "example.org", "dev"));
    let verdict = ask("example.org").at_cut().refused(&table);
    assert!(verdict.message.contains("parent zone"), "{}", verdict.message);
}

#[test]
fn no_zone_names_the_nearest_and_the_other_environment() {
    let table = table(&[
        facts("Z1", "dev.example.com", "dev"),
        facts("Z2", "prod.example.com", "prod"),
        facts("Z3", "far.example", "dev"),
    ]);
    let nearest = ask("a.stage.example.com").refused(&table);
    assert!(nearest.message.contains("the nearest are dev.example.com."), "{}", nearest.message);
    let other = ask("a.prod.example.com").refused(&table);
    assert!(other.message.contains("environment prod"), "{}", other.message);
    let none = ask("www.example.org").refused(&table);
    assert!(none.message.contains("none is near"), "{}", none.message);
}

#[test]
fn two_public_zones_of_one_name_are_not_guessed_between() {
    let table = table(&[facts("Z1", "example.com", "dev"), facts("Z2", "example.com", "dev")]);
    assert_eq!(ask("a.example.com").refused(&table).reason, Reason::AmbiguousZone);
    assert_eq!(ask("a.example.com").pinned("Z2").zones(&table), ["Z2"]);
}

fn scope(pattern: Option<&str>, visibility: Option<Visibility>) -> AccountScope {
    AccountScope {
        environment: environment("dev"),
        reach: vec![Reach {
            name: pattern.map(|pattern| ZonePattern::parse(pattern).unwrap()),
            visibility,
        }],
        listed: false,
        exempt: false,
    }
}

/// The zone example.com is known, and one more account that was never listed.
fn with_unlisted(unlisted: AccountScope) -> ZoneTable {
    let mut table = table(&[facts("Z1", "example.com", "dev")]);
    let known = AccountScope { listed: true, ..scope(None, None) };
    table.set_accounts([(account(ACCOUNT), known), (account("222222222222"), unlisted)].into());
    table
}

#[test]
fn what_is_new_waits_for_every_account_that_could_hold_a_closer_zone() {
    let public = |pattern| scope(pattern, Some(Visibility::Public));
    let web = || ask("www.dev.example.com").exposed(Exposure::Public);
    for (unlisted, waits) in [
        (public(None), true),
        (public(Some("*.example.com")), true),
        (public(Some("dev.example.com")), true),
        (public(Some("example.com")), false),
        (public(Some("*.example.net")), false),
        (scope(None, Some(Visibility::Private)), false),
        (AccountScope { listed: true, ..public(None) }, false),
        (AccountScope { exempt: true, ..public(None) }, false),
        (AccountScope { environment: environment("prod"), ..public(None) }, false),
    ] {
        let table = with_unlisted(unlisted.clone());
        match web().route(&table) {
            Ok(route) => assert!(!waits && route.at.len() == 1, "{unlisted:?}"),
            Err(verdict) => {
                assert!(waits && verdict.reason == Reason::ZonesUnknown, "{unlisted:?}");
                assert!(verdict.message.contains("222222222222"), "{}", verdict.message);
            }
        }
        assert_eq!(web().at(&["Z1"]).zones(&table), ["Z1"], "what is placed goes on");
    }
}

#[test]
fn what_goes_to_private_zones_too_waits_for_those() {
    let table = with_unlisted(scope(Some("example.com"), Some(Visibility::Private)));
    assert_eq!(ask("www.example.com").refused(&table).reason, Reason::ZonesUnknown);
    assert_eq!(ask("www.example.com").exposed(Exposure::Public).zones(&table), ["Z1"]);
    // A public endpoint that is now of use inside only waits too, before it is placed where anyone can read it.
    let inside = || ask("www.example.com").exposed(Exposure::Internal);
    assert_eq!(inside().at(&["Z1"]).refused(&table).reason, Reason::ZonesUnknown);
    let listed = AccountScope { listed: true, ..scope(Some("example.com"), None) };
    assert_eq!(inside().at(&["Z1"]).zones(&with_unlisted(listed)), ["Z1"]);
}
