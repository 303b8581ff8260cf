use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::core::dns::record_type::RecordType;
use crate::core::governance::entitlement::{Entitlement, NameAsked, Nearly};
use crate::core::governance::selector::ClusterFacts;
use crate::core::governance::testkit::{rule, rule_of, team};
use crate::core::ids::EnvironmentId;
use crate::core::testkit::{cluster, name};
use crate::core::time::Timestamp;

fn ownership(rule_name: &str, names: &[&str], of: &str, more: serde_json::Value) -> Rule {
    let mut spec = json!({ "zone": "example.com", "names": names, "team": of });
    let more = more.as_object().cloned().unwrap_or_default();
    spec.as_object_mut().unwrap().extend(more);
    rule(RuleKind::Ownership, rule_name, spec)
}

fn refused(rules: Vec<Rule>) -> Vec<String> {
    Rules::new(rules).unwrap_err().iter().map(ToString::to_string).collect()
}

fn granted(rules: &Rules, at: &str, rtype: RecordType, namespace: &str) -> Entitlement {
    let (zone, at, east) = (name("example.com"), name(at), cluster("dev-east"));
    let environment = EnvironmentId::parse("dev").unwrap();
    let labels = BTreeMap::from([("region".to_owned(), "east".to_owned())]);
    let cluster = ClusterFacts { name: &east, environment: &environment, labels: &labels };
    rules.entitlement(
        NameAsked { zone: &zone, name: &at, rtype, cluster, namespace },
        Timestamp(1_000),
    )
}

#[test]
fn the_longest_pattern_owns_and_what_it_leaves_out_is_as_the_wider_one_says() {
    let rules = Rules::new(vec![
        team("platform"),
        team("pay"),
        ownership("all", &[], "platform", json!({ "claims": "granted", "fourEyes": false })),
        ownership("pay", &["*.pay.example.com", "pay.example.com"], "pay", json!({})),
        ownership("gone", &["*.old.pay.example.com"], "nobody", json!({})),
    ])
    .unwrap();
    let zone = name("example.com");
    let owner = |text: &str| {
        let at = name(text);
        let owner = rules.owner(&zone, &at);
        (owner.team.map(|(team, _)| team.to_string()), owner.claims, owner.four_eyes)
    };
    let of = |team: &str| (Some(team.to_owned()), ClaimsMode::Granted, false);
    assert_eq!(owner("www.example.com"), of("platform"));
    assert_eq!(owner("pay.example.com"), of("pay"));
    assert_eq!(owner("api.pay.example.com"), of("pay"));
    assert_eq!(owner("a.old.pay.example.com"), of("pay"), "its own team is gone");
    let elsewhere = rules.owner(&name("example.org"), &name("www.example.org")).claims;
    assert_eq!(elsewhere, ClaimsMode::Open);
}
use crate::core::governance::rule::ownership::ClaimsMode;

#[test]
fn grants_add_up_and_what_they_leave_out_is_refused_with_the_nearest_one() {
    let grant = |grant_name: &str, more: serde_json::Value| {
        let mut spec = json!({
            "zone": "example.com", "names": ["*.pay.example.com"], "clusters": { "labels": { "region": "east" } },
        });
        spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        rule(RuleKind::Grant, grant_name, spec)
    };
    let rules = Rules::new(vec![
        team("platform"),
        ownership("all", &[], "platform", json!({ "claims": "granted" })),
        grant("addresses", json!({ "recordTypes": ["A"], "namespaces": ["pay"] })),
        grant("texts", json!({ "recordTypes": ["TXT"], "until": "1970-01-01T00:00:01Z" })),
    ])
    .unwrap();
    let nearly = |entitlement| match entitlement {
        Entitlement::Refused(refused) => refused.nearly,
        other => panic!("{other:?}"),
    };
    let id =
        |rule_name| RuleId { kind: RuleKind::Grant, name: RuleName::parse(rule_name).unwrap() };
    let at = "api.pay.example.com";
    assert_eq!(granted(&rules, at, RecordType::A, "pay"), Entitlement::Granted(id("addresses")));
    assert_eq!(nearly(granted(&rules, "www.example.com", RecordType::A, "pay")), None);
    assert_eq!(
        nearly(granted(&rules, at, RecordType::Aaaa, "pay")),
        Some(Nearly::OtherTypes(id("addresses")))
    );
    assert_eq!(
        nearly(granted(&rules, at, RecordType::A, "web")),
        Some(Nearly::OtherNamespaces(id("addresses")))
    );
    let texts = Rules::new(vec![
        team("platform"),
        ownership("all", &[], "platform", json!({ "claims": "report" })),
        grant("texts", json!({ "recordTypes": ["TXT"], "until": "1970-01-01T00:00:01Z" })),
    ])
    .unwrap();
    match granted(&texts, at, RecordType::Txt, "pay") {
        Entitlement::Reported(refused) => {
            assert_eq!(refused.nearly, Some(Nearly::Over(id("texts"), Timestamp(1_000))));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_set_is_refused_whole_with_each_rule_at_fault_and_the_remedy() {
    let shared = |rule_name: &str, spec: serde_json::Value| {
        let mut all = json!({ "zone": "example.com", "names": ["www.example.com"] });
        all.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
        rule(RuleKind::Sharing, rule_name, all)
    };
    let east = json!({ "names": ["dev-east"] });
    insta::assert_snapshot!(
        refused(vec![
            team("pay"),
            rule_of(RuleHome::File("rules/a.yaml".into()), RuleKind::Team, "pay", json!({ "owners": { "users": ["ann"] } })),
            ownership("one", &["*.pay.example.com"], "pay", json!({})),
            ownership("two", &["*.pay.example.com", "www.example.org"], "pay", json!({})),
            ownership("whose", &["a.example.com"], "nobody", json!({})),
            rule(RuleKind::Grant, "nothing", json!({ "zone": "example.com", "names": [], "clusters": {} })),
            rule(RuleKind::Grant, "twice", json!({ "zone": "example.com", "names": ["a.example.com", "a.example.com"], "clusters": east })),
            shared("heavy", json!({ "policy": "weighted", "weights": { "dev-east": 300 } })),
            shared("drained", json!({ "policy": "weighted", "weights": { "dev-east": 0 }, "defaultWeight": 0 })),
            shared("alone", json!({ "policy": "failover", "failover": { "mode": "route53", "primary": "dev-east", "secondary": "dev-east" } })),
            rule(RuleKind::Freeze, "for-ever", json!({ "from": "2026-12-24T00:00:00Z" })),
            rule(RuleKind::Freeze, "never", json!({ "schedule": { "cron": "0 0 31 2 *", "duration": "1h" } })),
            rule(RuleKind::Guard, "backwards", json!({ "steps": [
                { "upToNames": 100, "percent": 30, "atLeast": 1 }, { "upToNames": 10, "percent": 101, "atLeast": 1 },
            ] })),
            rule(RuleKind::Subscription, "open", json!({ "sink": { "webhook": { "url": "http://hooks.example.com", "secret": "key" } } })),
        ])
        .join("\n")
    );
}

#[test]
fn equal_sets_have_equal_digests_wherever_their_rules_live() {
    let of = |rules: Vec<Rule>| Rules::new(rules).unwrap().digest();
    let in_file = rule_of(
        RuleHome::File("a.yaml".into()),
        RuleKind::Team,
        "pay",
        json!({ "owners": { "groups": ["pay"] } }),
    );
    assert_eq!(of(vec![team("pay"), team("web")]), of(vec![team("web"), in_file.clone()]));
    assert_ne!(of(vec![team("pay")]), of(vec![team("web")]));
    assert_ne!(of(vec![]), of(vec![team("pay")]));
    assert_eq!(Rules::default().digest(), of(vec![]));
}

#[test]
fn a_rule_that_is_written_out_reads_back_as_it_was() {
    for rule in [
        team("pay"),
        ownership("all", &[], "pay", json!({ "claims": "report", "visibilityOfClaims": "team" })),
        rule(
            RuleKind::Guard,
            "off",
            json!({ "scope": { "environments": ["dev"] }, "enabled": false, "window": "30m" }),
        ),
        rule(
            RuleKind::Freeze,
            "weekend",
            json!({ "schedule": { "cron": "0 18 * * FRI", "duration": "60h", "timeZone": "Europe/Berlin" } }),
        ),
        rule(
            RuleKind::Subscription,
            "chat",
            json!({ "sink": { "slack": { "secret": "chat" } }, "what": ["holds"] }),
        ),
    ] {
        assert_eq!(Rule::from_json(&rule.document().unwrap(), RuleHome::Store).unwrap(), rule);
    }
}
