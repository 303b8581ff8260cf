//! The answer in a few sentences, for a person who has one minute.

use super::{Name, NameInZone};
use crate::api::endpoints::{Endpoint, Progress};
use crate::core::endpoint::verdict::VerdictState;
use crate::core::planning::plan::Drift;

/// How many endpoints that are not fine are listed one by one.
const TOLD_ONE_BY_ONE: usize = 3;

/// Puts an answer into words.
pub fn of(answer: &Name) -> String {
    let mut sentences = vec![];
    for zone in &answer.zones {
        in_zone(answer, zone, &mut sentences);
    }
    let unplaced: Vec<&Endpoint> = answer.unplaced.iter().collect();
    not_fine(&unplaced, &mut sentences);
    if answer.zones.is_empty() && answer.unplaced.is_empty() {
        // With a part missing, it is unknown.
        if answer.missing.is_empty() {
            sentences.push(format!(
                "No cluster wants {}, and Zonefold knows of no record there.",
                answer.name
            ));
        }
        would_go(answer, &mut sentences);
    }
    for missing in &answer.missing {
        let accounts: Vec<&str> = missing.accounts.iter().map(|account| account.as_str()).collect();
        sentences
            .push(format!("This is incomplete: the accounts {} are missing.", accounts.join(", ")));
    }
    sentences.join(" ")
}

fn in_zone(answer: &Name, zone: &NameInZone, sentences: &mut Vec<String>) {
    match &zone.holder {
        Some(holder) => {
            let since = holder.since.map_or_else(String::new, |since| format!(" since {since}"));
            sentences.push(format!(
                "{} is held by {} in the zone {}{since}.",
                answer.name, holder.cluster, zone.zone
            ));
        }
        None if zone.contributions.is_empty() => {
            sentences.push(format!("No cluster wants {} in the zone {}.", answer.name, zone.zone));
        }
        None => {
            sentences.push(format!("No cluster holds {} in the zone {}.", answer.name, zone.zone))
        }
    }
    if let Some(shared) = &zone.sharing {
        sentences.push(format!(
            "Clusters share it: {}, by the {} {}.",
            shared.policy, shared.rule.kind, shared.rule.name
        ));
        let is_left = zone.contributions.is_empty() && zone.pending.is_empty();
        if is_left && zone.observed.iter().any(|record| record.ours) {
            sentences.push(
                "Its last answer stays, since the rule does not say lastValue: delete.".to_owned(),
            );
        }
    }
    what_is_there(zone, sentences);
    let told = zone.contributions.iter().map(|contribution| &contribution.endpoint);
    not_fine(&told.collect::<Vec<_>>(), sentences);
    if let Some(trouble) = &zone.trouble {
        sentences.push(format!("Nothing is called in the zone at present: {trouble}."));
    }
}

fn what_is_there(zone: &NameInZone, sentences: &mut Vec<String>) {
    let list = |sets: Vec<String>| sets.join(" and ");
    let desired = list(zone.desired.iter().map(ToString::to_string).collect());
    if !zone.desired.is_empty() {
        let objects = objects(zone);
        let ask = if objects.contains(" and ") { "ask" } else { "asks" };
        sentences.push(format!("{objects} {ask} for {desired}."));
    }
    for record in &zone.observed {
        match (record.ours, record.drift) {
            (_, Some(Drift::Changed)) => {
                sentences.push(format!(
                    "Another writer changed the set, and Route 53 now holds {}.",
                    record.set
                ));
            }
            (_, Some(Drift::Missing)) => {
                sentences.push(format!("Another writer removed {}.", record.set))
            }
            (false, None) => {
                sentences.push(format!(
                    "Route 53 holds {}, which Zonefold did not make and does not touch.",
                    record.set
                ));
            }
            (true, None) => {}
        }
    }
    if !zone.pending.is_empty() {
        let count = zone.pending.len();
        let changes =
            if count == 1 { "1 change is".to_owned() } else { format!("{count} changes are") };
        sentences.push(format!("{changes} on the way to Route 53{}.", expected(zone)));
    }
    for refusal in &zone.refused {
        let message = refusal.message.trim_end_matches('.');
        sentences.push(format!(
            "Route 53 refused the change: {message}; it is tried again at {}.",
            refusal.retry_at
        ));
    }
    for blocked in &zone.blocked {
        sentences.push(format!("Not sent: {}.", blocked.trim_end_matches('.')));
    }
    let settled = zone.pending.is_empty() && zone.refused.is_empty() && zone.blocked.is_empty();
    let undisturbed = zone.observed.iter().all(|record| record.drift.is_none());
    if settled && undisturbed && !zone.desired.is_empty() {
        sentences.push(format!("Route 53 holds that{}.", in_sync(zone)));
    }
}

fn accepted(zone: &NameInZone) -> impl Iterator<Item = &Endpoint> {
    let endpoints = zone.contributions.iter().map(|contribution| &contribution.endpoint);
    endpoints.filter(|endpoint| {
        endpoint.verdict.as_ref().is_none_or(|verdict| verdict.state == VerdictState::Accepted)
    })
}

fn objects(zone: &NameInZone) -> String {
    let mut objects: Vec<String> =
        accepted(zone).map(|endpoint| endpoint.key.to_string()).collect();
    objects.sort();
    objects.dedup();
    match objects.as_slice() {
        [] => "its holder".to_owned(),
        _ => objects.join(" and "),
    }
}

fn in_sync(zone: &NameInZone) -> &'static str {
    let mut accepted = accepted(zone).peekable();
    let any = accepted.peek().is_some();
    if any && accepted.all(|endpoint| matches!(endpoint.progress, Some(Progress::InSync { .. }))) {
        ", in sync on its name servers"
    } else {
        ""
    }
}

fn expected(zone: &NameInZone) -> String {
    let times = accepted(zone).filter_map(|endpoint| match &endpoint.progress {
        Some(Progress::Pending { expected_at, .. }) => *expected_at,
        _ => None,
    });
    times.max().map_or_else(String::new, |time| format!(", expected there at {time}"))
}

fn not_fine(endpoints: &[&Endpoint], sentences: &mut Vec<String>) {
    let mut troubled = endpoints.iter().filter_map(|endpoint| {
        let verdict = endpoint.verdict.as_ref()?;
        let state = match verdict.state {
            VerdictState::Accepted => return None,
            VerdictState::Waiting => "waits",
            VerdictState::Rejected => "is rejected",
        };
        let message = verdict.message.trim_end_matches('.');
        Some(format!("{} of {} {state}: {message}.", endpoint.key, endpoint.cluster))
    });
    sentences.extend(troubled.by_ref().take(TOLD_ONE_BY_ONE));
    match troubled.count() {
        0 => {}
        1 => sentences.push("One more endpoint is not served.".to_owned()),
        more => sentences.push(format!("{more} more endpoints are not served.")),
    }
}

fn would_go(answer: &Name, sentences: &mut Vec<String>) {
    for route in &answer.routes {
        let kind = format!(
            "An endpoint of a cluster of the environment {} ({})",
            route.environment, route.visibility
        );
        match (&route.zone, &route.message) {
            (Some(zone), _) => sentences.push(format!("{kind} would go to the zone {zone}.")),
            (None, Some(message)) => sentences.push(format!("{kind} would wait: {message}.")),
            (None, None) => {}
        }
    }
    if answer.routes.is_empty() {
        sentences.push(
            "There is no zone and no cluster yet: check the broker's configuration.".to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Holder, NameContribution, Refusal, Route};
    use super::*;
    use crate::api::endpoints::Verdict;
    use crate::api::records::Record;
    use crate::api::values::{RecordSet, Time, ZoneReference};
    use crate::broker::directory::entry::EndpointEntry;
    use crate::core::endpoint::packed::PackedEndpoint;
    use crate::core::endpoint::verdict::Reason;
    use crate::core::ids::{AccountId, EnvironmentId, ZoneId};
    use crate::core::testkit::{cluster, endpoint, name};
    use crate::core::time::Timestamp;

    fn zone() -> ZoneReference {
        ZoneReference {
            id: ZoneId::parse("Z1").unwrap(),
            name: name("example.com"),
            account: AccountId::parse("111111111111").unwrap(),
            environment: EnvironmentId::parse("dev").unwrap(),
            visibility: "public".to_owned(),
        }
    }

    fn set(value: &str) -> RecordSet {
        RecordSet {
            record_type: "A".to_owned(),
            values: vec![value.to_owned()],
            ..RecordSet::default()
        }
    }

    fn of_cluster(of: &str, state: VerdictState, message: &str) -> Endpoint {
        let wanted = endpoint("web", "www.example.com", "A", &["192.0.2.1"]);
        let reason =
            if state == VerdictState::Accepted { Reason::Accepted } else { Reason::NameHeld };
        Endpoint {
            verdict: Some(Verdict { state, reason, message: message.to_owned() }),
            progress: (state == VerdictState::Accepted)
                .then_some(Progress::InSync { change_id: None }),
            ..Endpoint::new(&EndpointEntry::new(cluster(of), 1, &PackedEndpoint::pack(&wanted)))
        }
    }

    fn in_zone() -> NameInZone {
        NameInZone {
            zone: zone(),
            trouble: None,
            owner: None,
            sharing: None,
            holder: None,
            contributions: vec![],
            desired: vec![],
            observed: vec![],
            pending: vec![],
            blocked: vec![],
            refused: vec![],
        }
    }

    fn held() -> NameInZone {
        NameInZone {
            holder: Some(Holder { cluster: cluster("east"), since: Some(Time(Timestamp(0))) }),
            contributions: vec![NameContribution {
                arrival: 1,
                endpoint: of_cluster("east", VerdictState::Accepted, ""),
            }],
            desired: vec![set("192.0.2.1")],
            ..in_zone()
        }
    }

    fn said(zones: Vec<NameInZone>, unplaced: Vec<Endpoint>, routes: Vec<Route>) -> String {
        let name = name("www.example.com");
        of(&Name {
            name,
            at: None,
            rules: None,
            summary: String::new(),
            zones,
            unplaced,
            routes,
            changes: vec![],
            missing: vec![],
        })
    }

    #[test]
    fn a_name_that_is_as_wanted() {
        let mut zone = held();
        zone.contributions.push(NameContribution {
            arrival: 2,
            endpoint: of_cluster("west", VerdictState::Waiting, "east holds the name"),
        });
        let object = of_cluster("east", VerdictState::Accepted, "").key.to_string();
        assert_eq!(
            said(vec![zone], vec![], vec![]),
            format!(
                "www.example.com is held by east in the zone example.com (public Z1, account 111111111111) since \
                 1970-01-01T00:00:00.000Z. {object} asks for A 192.0.2.1. Route 53 holds that, in sync on its name servers. \
                 {object} of west waits: east holds the name."
            )
        );
    }

    #[test]
    fn a_name_that_route_53_refused_is_not_said_to_be_there() {
        let refused =
            vec![Refusal { message: "no such alias.".to_owned(), retry_at: Time(Timestamp(0)) }];
        let text = said(vec![NameInZone { refused, ..held() }], vec![], vec![]);
        assert!(
            text.contains("Route 53 refused the change: no such alias; it is tried again at 1970"),
            "{text}"
        );
        assert!(!text.contains("That is what"), "{text}");
    }

    #[test]
    fn a_foreign_record_is_said_to_be_left_alone() {
        let record = Record {
            name: name("www.example.com"),
            record_type: crate::core::dns::record::RecordType::A,
            set_identifier: None,
            set: set("192.0.2.9"),
            ours: false,
            owner: None,
            batch: None,
            drift: None,
        };
        let text = said(vec![NameInZone { observed: vec![record], ..in_zone() }], vec![], vec![]);
        assert!(
            text.contains("No cluster wants www.example.com in the zone example.com"),
            "{text}"
        );
        assert!(
            text.contains("A 192.0.2.9, which Zonefold did not make and does not touch."),
            "{text}"
        );
    }

    #[test]
    fn an_unknown_name_is_told_where_it_would_go() {
        let route = |environment: &str, zone: Option<ZoneReference>, message: Option<&str>| Route {
            environment: EnvironmentId::parse(environment).unwrap(),
            visibility: "public".to_owned(),
            zone,
            message: message.map(str::to_owned),
        };
        let routes =
            vec![route("dev", Some(zone()), None), route("prod", None, Some("no zone holds it"))];
        let text = said(vec![], vec![], routes);
        assert!(
            text.starts_with(
                "No cluster wants www.example.com, and Zonefold knows of no record there."
            ),
            "{text}"
        );
        assert!(text.contains("dev (public) would go to the zone example.com"), "{text}");
        assert!(text.contains("prod (public) would wait: no zone holds it."), "{text}");
    }

    #[test]
    fn many_that_wait_are_counted() {
        let waiting = (0..5).map(|_| of_cluster("west", VerdictState::Waiting, "held")).collect();
        assert!(said(vec![], waiting, vec![]).ends_with("2 more endpoints are not served."));
    }
}
