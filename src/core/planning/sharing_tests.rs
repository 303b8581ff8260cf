//! Each policy by which clusters share a name, and what stays when one of them goes.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::core::endpoint::Endpoint;
use crate::core::governance::rule::{Rule, RuleKind};
use crate::core::governance::snapshot::{Governance, GovernedCluster};
use crate::core::governance::testkit::{rule, rules};
use crate::core::ids::{BatchId, EnvironmentId};
use crate::core::planning::claims::decide_name;
use crate::core::planning::decision::{Contribution, NoOtherNames, ZoneContext};
use crate::core::planning::observed::{Observed, Ownership};
use crate::core::testkit::{cluster, contribution, endpoint, name, zone_context};

const WWW: &str = "www.example.com";

fn sharing(policy: &str, more: serde_json::Value) -> Rule {
    let mut spec = json!({ "zone": "example.com", "names": [WWW], "policy": policy });
    spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    rule(RuleKind::Sharing, "www", spec)
}

fn zone(policy: &str, more: serde_json::Value) -> ZoneContext {
    let of = |name: &str| {
        let environment = EnvironmentId::parse("prod").unwrap();
        let labels = BTreeMap::from([("region".to_owned(), format!("eu-{name}-1"))]);
        (cluster(name), GovernedCluster { environment, labels })
    };
    let clusters = ["east", "west"].map(of).into();
    let rules = Arc::new(rules(vec![sharing(policy, more)]));
    zone_context().governed(Arc::new(Governance::new(rules, clusters)))
}

fn web(rtype: &str, target: &str) -> Endpoint {
    endpoint("web", WWW, rtype, &[target])
}

fn decide_with(
    zone: &ZoneContext,
    contributions: &[Contribution],
    observed: &BTreeMap<RecordKey, Observed>,
) -> NameDecision {
    decide_name(&NameInput {
        zone,
        name: &name(WWW),
        claimed_by: None,
        claimed_since: None,
        contributions,
        observed,
        around: &NoOtherNames,
    })
}

fn decided(zone: &ZoneContext, contributions: &[Contribution]) -> NameDecision {
    decide_with(zone, contributions, &BTreeMap::new())
}

/// The sets that are wanted: type, set identifier, policy, TTL and values.
fn sets(decision: &NameDecision) -> Vec<String> {
    let shown = |desired: &Desired| {
        let RecordSet { key, policy, data, .. } = &desired.set;
        let identifier = key.set_identifier.as_deref().unwrap_or("-");
        let answer = match data {
            RecordData::Values { ttl_secs, values } => format!("{ttl_secs} {}", values.join(",")),
            RecordData::Alias(target) => format!("alias {}", target.name),
        };
        format!("{} {identifier} {policy:?} {answer}", key.rtype)
    };
    decision.desired.values().map(shown).collect()
}

fn both() -> [Contribution; 2] {
    let mut west = web("A", "192.0.2.2");
    west.ttl_secs = Some(60);
    [contribution("east", 1, web("A", "192.0.2.1")), contribution("west", 2, west)]
}

fn messages(decision: &NameDecision) -> Vec<(usize, String)> {
    let waits = decision.verdicts.iter().filter(|(_, v)| v.state != VerdictState::Accepted);
    waits.map(|(index, verdict)| (*index, verdict.message.clone())).collect()
}

#[test]
fn merged_values_are_one_set_with_the_lowest_ttl() {
    let decision = decided(&zone("merge", json!({})), &both());
    assert_eq!(sets(&decision), ["A - Simple 60 192.0.2.1,192.0.2.2"]);
    assert_eq!(decision.holder, Some(cluster("east")));
    assert!(messages(&decision).is_empty());
    assert_eq!(decision.desired.values().next().unwrap().from, [0, 1]);
}

#[test]
fn each_cluster_has_a_weighted_set_of_its_own_and_a_rule_s_weight_counts() {
    let weighted = zone("weighted", json!({ "weights": { "east": 10, "west": 0 } }));
    assert_eq!(
        sets(&decided(&weighted, &both())),
        ["A east Weighted(10) 60 192.0.2.1", "A west Weighted(0) 60 192.0.2.2"]
    );
    let mut own = web("A", "192.0.2.3");
    own.key.set_identifier = "blue".into();
    own.properties.insert("aws/weight".into(), "99".into());
    let decision = decided(&weighted, &[contribution("east", 1, own)]);
    assert_eq!(sets(&decision), ["A blue Weighted(10) 300 192.0.2.3"]);
}

#[test]
fn multivalue_and_latency_make_a_set_for_each() {
    assert_eq!(
        sets(&decided(&zone("multivalue", json!({})), &both())),
        ["A east Multivalue 60 192.0.2.1", "A west Multivalue 60 192.0.2.2"]
    );
    assert_eq!(
        sets(&decided(&zone("latency", json!({})), &both())),
        [
            "A east Latency(\"eu-east-1\") 60 192.0.2.1",
            "A west Latency(\"eu-west-1\") 60 192.0.2.2"
        ]
    );
    let mut contributions = both().to_vec();
    contributions.push(contribution("north", 3, web("A", "192.0.2.3")));
    let decision = decided(&zone("latency", json!({})), &contributions);
    assert_eq!(decision.desired.len(), 2);
    assert!(messages(&decision)[0].1.contains("the cluster north has no label region"));
}

#[test]
fn a_fail_over_by_route_53_has_both_and_one_by_a_person_has_the_active_one() {
    let pair = |mode: &str, more: serde_json::Value| {
        let mut pair = json!({ "mode": mode, "primary": "west", "secondary": "east" });
        pair.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        zone("failover", json!({ "failover": pair }))
    };
    let by_route53 = pair("route53", json!({ "healthCheck": "abc" }));
    let decision = decided(&by_route53, &both());
    assert_eq!(
        sets(&decision),
        ["A east Failover(Secondary) 60 192.0.2.1", "A west Failover(Primary) 60 192.0.2.2"]
    );
    let checks: Vec<_> =
        decision.desired.values().map(|desired| desired.set.health_check_id.clone()).collect();
    assert_eq!(checks, [None, Some("abc".into())]);
    let by_hand = pair("manual", json!({}));
    let decision = decided(&by_hand, &both());
    assert_eq!(sets(&decision), ["A - Simple 60 192.0.2.2"]);
    assert!(messages(&decision)[0].1.contains("west answers for the name until somebody switches"));
    let switched = pair("manual", json!({ "active": "east" }));
    assert_eq!(sets(&decided(&switched, &both())), ["A - Simple 300 192.0.2.1"]);
}

#[test]
fn the_type_of_who_came_first_stays_and_the_other_waits() {
    let contributions = [
        contribution("east", 1, web("A", "192.0.2.1")),
        contribution("west", 2, web("CNAME", "lb.example.net")),
    ];
    let decision = decided(&zone("weighted", json!({})), &contributions);
    assert_eq!(sets(&decision), ["A east Weighted(1) 300 192.0.2.1"]);
    assert_eq!(messages(&decision)[0].0, 1);
    assert!(messages(&decision)[0].1.contains("another cluster came first"));
}

#[test]
fn the_last_value_stays_unless_the_rule_lets_it_go() {
    let parsed = crate::core::endpoint::parsed::parse_endpoint(&web("A", "192.0.2.1")).unwrap();
    let set = parsed.record_sets(zone_context().zone(), 300).remove(0);
    let owner = Ownership { cluster: cluster("east"), batch: BatchId(uuid::Uuid::nil()) };
    let observed = Observed { raw: set.to_raw(), owner: Some(owner), drift: None };
    let observed = BTreeMap::from([(set.key, observed)]);
    let keep = decide_with(&zone("merge", json!({})), &[], &observed);
    assert_eq!(keep.retained[&(RecordType::A, None)].values, Some(Retention::Firm));
    let delete = zone("merge", json!({ "lastValue": "delete" }));
    assert!(decide_with(&delete, &[], &observed).retained.is_empty());
}
