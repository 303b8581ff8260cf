//! Who may have a name: what is accepted, what waits, and what stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::core::dns::record::RecordType;
use crate::core::endpoint::Endpoint;
use crate::core::governance::rule::{Rule, RuleKind};
use crate::core::governance::snapshot::{Governance, GovernedCluster};
use crate::core::governance::testkit::{claimed, rule, rules};
use crate::core::ids::EnvironmentId;
use crate::core::planning::claims::decide_name;
use crate::core::planning::decision::{NoOtherNames, Retention, ZoneContext};
use crate::core::testkit::{cluster, contribution, endpoint, name, zone_context};

const WWW: &str = "www.example.com";

fn grant(to: &str, more: serde_json::Value) -> Rule {
    let mut spec = serde_json::json!({
        "zone": "example.com", "names": ["*.example.com"], "clusters": { "names": [to] },
    });
    let more = more.as_object().cloned().unwrap_or_default();
    spec.as_object_mut().unwrap().extend(more);
    rule(RuleKind::Grant, to, spec)
}

fn zone(mode: &str, grants: Vec<Rule>) -> ZoneContext {
    let of = |name| {
        let environment = EnvironmentId::parse("prod").unwrap();
        (cluster(name), GovernedCluster { environment, labels: BTreeMap::new() })
    };
    let rules = Arc::new(rules([claimed(mode), grants].concat()));
    zone_context().governed(Arc::new(Governance::new(rules, ["east", "west"].map(of).into())))
}

fn decide(
    zone: &ZoneContext,
    claimed_by: Option<&str>,
    contributions: &[Contribution],
) -> NameDecision {
    decide_name(&NameInput {
        zone,
        name: &name(WWW),
        claimed_by: claimed_by.map(cluster).as_ref(),
        claimed_since: None,
        contributions,
        observed: &BTreeMap::new(),
        around: &NoOtherNames,
    })
}

fn web(object: &str, target: &str) -> Endpoint {
    endpoint(object, WWW, "A", &[target])
}

fn both() -> [Contribution; 2] {
    [
        contribution("east", 1, web("web", "192.0.2.1")),
        contribution("west", 2, web("web", "192.0.2.2")),
    ]
}

fn verdict(decision: &NameDecision, index: usize) -> &Verdict {
    &decision.verdicts.iter().find(|(at, _)| *at == index).unwrap().1
}

#[test]
fn a_name_that_is_granted_goes_to_who_has_the_grant_and_not_to_who_came_first() {
    let decision =
        decide(&zone("granted", vec![grant("west", serde_json::json!({}))]), None, &both());
    assert_eq!(decision.holder, Some(cluster("west")));
    assert_eq!(verdict(&decision, 1).state, VerdictState::Accepted);
    let refused = verdict(&decision, 0);
    assert_eq!((refused.state, refused.reason), (VerdictState::Waiting, Reason::NotGranted));
    assert_eq!(
        refused.message,
        "no grant gives www.example.com to the namespace default of east: ask an owner of the team platform for one, by the Ownership all in the store; what is published already stays"
    );
}

#[test]
fn who_loses_the_grant_keeps_the_name_and_what_it_published() {
    let zone = zone("granted", vec![grant("west", serde_json::json!({}))]);
    let decision = decide(&zone, Some("east"), &both());
    assert_eq!(decision.holder, Some(cluster("east")), "a rule alone moves nothing");
    assert!(decision.desired.is_empty());
    assert_eq!(verdict(&decision, 0).reason, Reason::NotGranted);
    assert_eq!(verdict(&decision, 1).reason, Reason::NameHeld);
    assert_eq!(decision.retained[&(RecordType::A, None)].values, Some(Retention::Firm));
}

#[test]
fn a_grant_that_is_nearly_right_is_named() {
    for (more, said) in [
        (serde_json::json!({ "namespaces": ["pay"] }), "(the Grant east is for other namespaces)"),
        (
            serde_json::json!({ "recordTypes": ["TXT"] }),
            "(the Grant east is for other record types)",
        ),
    ] {
        let decision = decide(&zone("granted", vec![grant("east", more)]), None, &both());
        assert!(verdict(&decision, 0).message.contains(said), "{}", verdict(&decision, 0).message);
    }
}

#[test]
fn under_report_the_first_has_the_name_and_hears_what_would_be_refused() {
    let decision = decide(&zone("report", vec![]), None, &both());
    assert_eq!(decision.holder, Some(cluster("east")));
    let accepted = verdict(&decision, 0);
    assert_eq!(accepted.state, VerdictState::Accepted);
    assert!(accepted.message.starts_with("under `claims: granted` it would wait: no grant gives"));
    let decision =
        decide(&zone("report", vec![grant("east", serde_json::json!({}))]), None, &both());
    assert_eq!(verdict(&decision, 0).message, "");
}

#[test]
fn of_a_sum_the_endpoint_that_loses_its_grant_keeps_its_values_there() {
    let pay = grant("east", serde_json::json!({ "namespaces": ["pay"] }));
    let mut other = web("pay", "192.0.2.9");
    other.key.namespace = "pay".into();
    let contributions =
        [contribution("east", 1, web("web", "192.0.2.1")), contribution("east", 2, other)];
    let decision = decide(&zone("granted", vec![pay]), Some("east"), &contributions);
    assert_eq!(verdict(&decision, 0).reason, Reason::NotGranted);
    assert_eq!(verdict(&decision, 1).state, VerdictState::Accepted);
    assert_eq!(decision.retained[&(RecordType::A, None)].values, Some(Retention::Firm));
}
