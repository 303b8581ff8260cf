//! Each policy by which clusters share a name, and what stays when one of them goes.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::core::endpoint::Endpoint;
use crate::core::endpoint::parsed::parse_endpoint;
use crate::core::governance::rule::{Rule, RuleKind};
use crate::core::governance::snapshot::{Governance, GovernedCluster};
use crate::core::governance::testkit::{rule, rules};
use crate::core::ids::{BatchId, EnvironmentId};
use crate::core::planning::claims::decide_name;
use crate::core::planning::decision::{Contribution, NoOtherNames, ZoneContext};
use crate::core::planning::observed::{Observed, Ownership};
use crate::core::testkit::{cluster, contribution, endpoint, name, zone_context};

#[path = "sharing_switch_tests.rs"]
mod switches;

const WWW: &str = "www.example.com";

fn sharing(policy: &str, more: serde_json::Value) -> Rule {
    let mut spec = json!({ "zone": "example.com", "names": [WWW], "policy": policy });
    spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    rule(RuleKind::Sharing, "www", spec)
}

fn zone(policy: &str, more: serde_json::Value) -> ZoneContext {
    let of = |name: &str| {
        let environment = EnvironmentId::parse("prod").unwrap();
        let region = if name == "twin" { "west" } else { name };
        let labels = BTreeMap::from([("region".to_owned(), format!("eu-{region}-1"))]);
        (cluster(name), GovernedCluster { environment, labels })
    };
    let clusters = ["east", "west", "twin"].map(of).into();
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
    assert!(messages(&decision)[0].1.contains("west answers for it until somebody switches"));
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

/// Record sets of ours, by the cluster that made them.
fn made(sets: &[(&str, RecordSet)]) -> BTreeMap<RecordKey, Observed> {
    let observed = |(by, set): &(&str, RecordSet)| {
        let owner = Ownership { cluster: cluster(by), batch: BatchId(uuid::Uuid::nil()) };
        let raw = set.to_raw();
        (set.key.clone(), Observed { raw, owner: Some(owner), drift: None })
    };
    sets.iter().map(observed).collect()
}

/// A set of addresses at the name.
fn address(identifier: Option<&str>, policy: RoutingPolicy, values: &[&str]) -> RecordSet {
    let parsed = parse_endpoint(&endpoint("web", WWW, "A", values)).unwrap();
    let mut set = parsed.record_sets(zone_context().zone(), 300).remove(0);
    set.key.set_identifier = identifier.map(Into::into);
    set.policy = policy;
    set
}

fn kept(decision: &NameDecision) -> Vec<(Option<&str>, Option<Retention>)> {
    let kept = decision.retained.iter();
    kept.map(|((_, identifier), kept)| (identifier.as_deref(), kept.values)).collect()
}

#[test]
fn the_last_value_stays_unless_the_rule_lets_it_go() {
    let observed = made(&[("east", address(None, RoutingPolicy::Simple, &["192.0.2.1"]))]);
    let keep = decide_with(&zone("merge", json!({})), &[], &observed);
    assert_eq!(kept(&keep), [(None, Some(Retention::Firm))]);
    let delete = zone("merge", json!({ "lastValue": "delete" }));
    assert!(decide_with(&delete, &[], &observed).retained.is_empty());
}

#[test]
fn a_rule_that_leaves_nobody_to_answer_lets_nothing_go_whatever_it_says_of_last_values() {
    let observed = made(&[("north", address(None, RoutingPolicy::Simple, &["192.0.2.1"]))]);
    let north = [contribution("north", 1, web("A", "192.0.2.1"))];
    let delete = json!({ "lastValue": "delete" });
    let decision = decide_with(&zone("latency", delete), &north, &observed);
    assert!(decision.desired.is_empty() && messages(&decision)[0].1.contains("no label region"));
    assert_eq!(decision.retained.len(), 1);
    let pair = json!({ "mode": "manual", "primary": "east", "secondary": "west" });
    let nobody_there = zone("failover", json!({ "lastValue": "delete", "failover": pair }));
    assert_eq!(decide_with(&nobody_there, &north, &observed).retained.len(), 1);
}

#[test]
fn a_person_fails_over_between_an_address_and_a_cname() {
    let pair = |active: &str| {
        let pair =
            json!({ "mode": "manual", "primary": "east", "secondary": "west", "active": active });
        zone("failover", json!({ "failover": pair }))
    };
    let contributions = [
        contribution("east", 1, web("A", "192.0.2.1")),
        contribution("west", 2, web("CNAME", "lb.example.net")),
    ];
    assert_eq!(sets(&decided(&pair("east"), &contributions)), ["A - Simple 300 192.0.2.1"]);
    assert_eq!(
        sets(&decided(&pair("west"), &contributions)),
        ["CNAME - Simple 300 lb.example.net."]
    );
}

#[test]
fn who_does_not_answer_after_a_fail_over_keeps_no_value_in_the_set() {
    let pair =
        json!({ "mode": "manual", "primary": "east", "secondary": "west", "active": "west" });
    let observed = made(&[("east", address(None, RoutingPolicy::Simple, &["192.0.2.1"]))]);
    let decision = decide_with(&zone("failover", json!({ "failover": pair })), &both(), &observed);
    assert_eq!(sets(&decision), ["A - Simple 60 192.0.2.2"]);
    assert!(decision.retained.is_empty());
}

#[test]
fn a_primary_has_a_health_check_or_is_an_alias_that_evaluates_its_target() {
    let pair = json!({ "mode": "route53", "primary": "east", "secondary": "west" });
    let without = zone("failover", json!({ "failover": pair }));
    let decision = decided(&without, &both());
    assert_eq!(sets(&decision), ["A west Failover(Secondary) 60 192.0.2.2"]);
    assert!(messages(&decision)[0].1.contains("give failover.healthCheck"), "{decision:?}");
    let balancer = web("CNAME", "a-1.eu-central-1.elb.amazonaws.com");
    let decision = decided(&without, &[contribution("east", 1, balancer)]);
    let targets = decision.desired.values().map(|desired| match &desired.set.data {
        RecordData::Alias(target) => target.evaluate_target_health,
        RecordData::Values { .. } => false,
    });
    assert!(targets.collect::<Vec<_>>().iter().all(|evaluates| *evaluates));
    assert!(!decision.desired.is_empty());
    let front = decided(&without, &[contribution("east", 1, web("CNAME", "d1.cloudfront.net"))]);
    assert!(front.desired.is_empty() && messages(&front)[0].1.contains("CloudFront"));
}

#[test]
fn an_endpoint_s_own_weight_counts_where_the_rule_gives_none() {
    let mut own = web("A", "192.0.2.3");
    own.key.set_identifier = "blue".into();
    own.properties.insert("aws/weight".into(), "99".into());
    let contributions = [contribution("east", 1, own), both()[1].clone()];
    let decision = decided(&zone("weighted", json!({ "weights": { "west": 7 } })), &contributions);
    assert_eq!(
        sets(&decision),
        ["A blue Weighted(99) 60 192.0.2.3", "A west Weighted(7) 60 192.0.2.2"]
    );
}

#[test]
fn one_identifier_and_one_region_are_for_who_came_first() {
    let own = |address: &str| {
        let mut own = web("A", address);
        own.key.set_identifier = "blue".into();
        own.properties.insert("aws/weight".into(), "1".into());
        own
    };
    let twice =
        [contribution("east", 1, own("192.0.2.1")), contribution("west", 2, own("192.0.2.2"))];
    let decision = decided(&zone("weighted", json!({})), &twice);
    assert_eq!(sets(&decision), ["A blue Weighted(1) 300 192.0.2.1"]);
    let [(1, told)] = &messages(&decision)[..] else { panic!("{decision:?}") };
    assert_eq!(
        told,
        "www.example.com is shared: east has the set identifier blue (by the Sharing www in the store)"
    );
    let mut one_region = both().to_vec();
    one_region.push(contribution("twin", 3, web("A", "192.0.2.3")));
    let decision = decided(&zone("latency", json!({})), &one_region);
    assert_eq!(decision.desired.len(), 2);
    let [(2, told)] = &messages(&decision)[..] else { panic!("{decision:?}") };
    assert!(told.contains("ingress/default/web of west has that place"), "{told}");
}

#[test]
fn a_group_without_any_weight_answers_and_says_so() {
    let decision =
        decided(&zone("weighted", json!({ "weights": { "east": 0, "north": 5 }})), &both()[..1]);
    assert_eq!(sets(&decision), ["A east Weighted(0) 300 192.0.2.1"]);
    let (_, verdict) = &decision.verdicts[0];
    assert!(
        verdict.state == VerdictState::Accepted && verdict.message.contains("answers with all"),
        "{verdict:?}"
    );
    let drained = decided(&zone("weighted", json!({ "weights": { "east": 0 }})), &both());
    assert!(drained.verdicts.iter().all(|(_, verdict)| verdict.message.is_empty()));
}

#[test]
fn the_share_of_an_endpoint_that_is_rejected_now_stays_and_the_others_follow_its_ttl() {
    let mut wrong = web("A", "no-address");
    wrong.ttl_secs = Some(60);
    let contributions = [both()[0].clone(), contribution("west", 2, wrong)];
    let west = address(Some("west"), RoutingPolicy::Weighted(1), &["192.0.2.2"]);
    let decision =
        decide_with(&zone("weighted", json!({})), &contributions, &made(&[("west", west)]));
    assert_eq!(kept(&decision), [(Some("west"), Some(Retention::Firm))]);
    assert_eq!(sets(&decision), ["A east Weighted(1) 300 192.0.2.1"]);
    let mut short = address(Some("west"), RoutingPolicy::Weighted(1), &["192.0.2.2"]);
    if let RecordData::Values { ttl_secs, .. } = &mut short.data {
        *ttl_secs = 77;
    }
    let decision =
        decide_with(&zone("weighted", json!({})), &contributions, &made(&[("west", short)]));
    assert_eq!(sets(&decision), ["A east Weighted(1) 77 192.0.2.1"], "Route 53 accepts one");
    // Under another policy than it was made, too.
    let west = made(&[("west", address(None, RoutingPolicy::Simple, &["192.0.2.2"]))]);
    let decision = decide_with(&zone("weighted", json!({})), &contributions, &west);
    assert_eq!(kept(&decision), [(None, Some(Retention::Firm))]);
}

#[test]
fn an_endpoint_that_was_never_granted_keeps_no_value_of_others() {
    let of = [
        crate::core::governance::testkit::claimed("granted"),
        vec![
            rule(
                RuleKind::Grant,
                "east",
                json!({
                    "zone": "example.com", "names": ["*.example.com"], "clusters": { "names": ["east"] },
                }),
            ),
            sharing("merge", json!({})),
        ],
    ];
    let governed = zone("merge", json!({})).governance;
    let clusters = ["east", "west"].map(cluster).map(|name| {
        let facts = governed.cluster(&name).unwrap();
        let (environment, labels) = (facts.environment.clone(), facts.labels.clone());
        (name.clone(), GovernedCluster { environment, labels })
    });
    let governance = Governance::new(Arc::new(rules(of.concat())), clusters.into());
    let zone = zone_context().governed(Arc::new(governance));
    let old = made(&[("east", address(None, RoutingPolicy::Simple, &["192.0.2.1", "192.0.2.9"]))]);
    let decision = decide_with(&zone, &both(), &old);
    assert_eq!(sets(&decision), ["A - Simple 300 192.0.2.1"]);
    assert!(decision.retained.is_empty(), "192.0.2.9 goes");
    let its = made(&[("east", address(None, RoutingPolicy::Simple, &["192.0.2.1", "192.0.2.2"]))]);
    assert_eq!(kept(&decide_with(&zone, &both(), &its)), [(None, Some(Retention::Firm))]);
}

#[test]
fn a_cluster_that_lost_its_region_keeps_its_share_until_another_has_the_place() {
    let north = [contribution("north", 1, web("A", "192.0.2.1"))];
    let share = address(Some("north"), RoutingPolicy::Latency("eu-west-1".into()), &["192.0.2.1"]);
    let decision = decide_with(&zone("latency", json!({})), &north, &made(&[("north", share)]));
    assert_eq!(kept(&decision), [(Some("north"), Some(Retention::Loose))]);
}

#[test]
fn more_values_than_a_record_set_may_have_wait_whole() {
    let many = |from: usize, to: usize| {
        let values: Vec<String> =
            (from..to).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        endpoint("web", WWW, "A", &values)
    };
    let contributions =
        [contribution("east", 1, many(0, 399)), contribution("west", 2, many(398, 401))];
    let decision = decided(&zone("merge", json!({})), &contributions);
    let [desired] = decision.desired.values().collect::<Vec<_>>()[..] else { panic!() };
    assert!(matches!(&desired.set.data, RecordData::Values { values, .. } if values.len() == 399));
    assert!(messages(&decision)[0].1.contains("more than 400 values"), "{:?}", messages(&decision));
    let fits = [contribution("east", 1, many(0, 399)), contribution("west", 2, many(398, 400))];
    assert!(messages(&decided(&zone("merge", json!({})), &fits)).is_empty());
}

#[test]
fn an_alias_of_which_one_half_does_not_go_with_the_others_waits_whole() {
    let balancer = web("CNAME", "a-1.eu-central-1.elb.amazonaws.com");
    let contributions = [both()[0].clone(), contribution("west", 2, balancer)];
    let decision = decided(&zone("merge", json!({})), &contributions);
    assert_eq!(sets(&decision), ["A - Simple 300 192.0.2.1"]);
    assert!(messages(&decision)[0].1.contains("do not add up"), "{:?}", messages(&decision));
}

#[test]
fn a_name_passes_to_the_next_member_when_its_holder_goes() {
    let decision = decide_name(&NameInput {
        zone: &zone("weighted", json!({})),
        name: &name(WWW),
        claimed_by: Some(&cluster("east")),
        claimed_since: None,
        contributions: &both()[1..],
        observed: &BTreeMap::new(),
        around: &NoOtherNames,
    });
    assert_eq!(decision.holder, Some(cluster("west")));
    let gone = decide_name(&NameInput {
        zone: &zone("weighted", json!({})),
        name: &name(WWW),
        claimed_by: Some(&cluster("east")),
        claimed_since: None,
        contributions: &[],
        observed: &BTreeMap::new(),
        around: &NoOtherNames,
    });
    assert_eq!(gone.holder, None, "nothing is left to hold it for");
}
