//! Whom an entry is for, and what they are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::core::governance::actor::Actor;
use crate::core::governance::rule::Rule;
use crate::core::governance::snapshot::GovernedCluster;
use crate::core::governance::testkit::{rule, rules, team};
use crate::core::ids::{AccountId, EnvironmentId, ZoneId};
use crate::core::testkit::{cluster, name};
use crate::core::visibility::Visibility;

fn subscription(name: &str, what: &[&str], scope: serde_json::Value, teams: &[&str]) -> Rule {
    let sink = json!({ "webhook": { "url": "https://hooks.example.com", "secret": "key" } });
    let spec = json!({ "sink": sink, "what": what, "scope": scope, "teams": teams });
    rule(RuleKind::Subscription, name, spec)
}

fn governance(mut all: Vec<Rule>) -> Governance {
    all.push(team("pay"));
    let owned = json!({ "zone": "example.com", "names": ["*.pay.example.com"], "team": "pay" });
    all.push(rule(RuleKind::Ownership, "pay", owned));
    let of = |environment: &str| GovernedCluster {
        environment: EnvironmentId::parse(environment).unwrap(),
        labels: BTreeMap::new(),
    };
    let clusters = [(cluster("east"), of("prod")), (cluster("lab"), of("dev"))];
    Governance::new(Arc::new(rules(all)), clusters.into())
}

fn zone() -> ZoneFacts {
    ZoneFacts {
        account: AccountId::parse("111111111111").unwrap(),
        environment: EnvironmentId::parse("prod").unwrap(),
        zone: ZoneId::parse("Z1").unwrap(),
        name: name("example.com"),
        visibility: Visibility::Public,
        visible: true,
    }
}

fn entry(kind: AuditKind, scope: AuditScope) -> AuditEntry {
    AuditEntry { scope, ..AuditEntry::new(Timestamp(1_000), Actor::Broker, kind) }
}

fn of_zone(names: &[&str]) -> AuditScope {
    AuditScope { zone: Some(name("example.com")), ..AuditScope::default() }
        .named(names.iter().map(|name| (*name).to_owned()))
}

fn told(all: Vec<Rule>, entry: &AuditEntry) -> Vec<String> {
    let governance = governance(all);
    subscribers(&governance, &[zone()], entry).into_iter().map(ToString::to_string).collect()
}

#[test]
fn a_subscription_hears_of_its_topics_alone() {
    let all = || {
        vec![
            subscription("everything", &[], json!({}), &[]),
            subscription("holds", &["holds"], json!({}), &[]),
            subscription("drift", &["drift"], json!({}), &[]),
        ]
    };
    let held = entry(AuditKind::HoldBegan, of_zone(&["a.example.com"]));
    assert_eq!(told(all(), &held), ["everything", "holds"]);
    assert_eq!(told(all(), &entry(AuditKind::RuleWritten, AuditScope::default())), [""; 0]);
    let refused = AuditEntry { result: AuditResult::Refused("no".to_owned()), ..held };
    assert_eq!(told(all(), &refused), [""; 0], "what is refused has not happened");
}

#[test]
fn all_that_a_scope_asks_for_has_to_be_said() {
    let all = || {
        vec![
            subscription("prod", &[], json!({ "environments": ["prod"] }), &[]),
            subscription("dev", &[], json!({ "environments": ["dev"] }), &[]),
            subscription("pay", &[], json!({ "names": ["*.pay.example.com"] }), &[]),
            subscription("lab", &[], json!({ "clusters": { "names": ["lab"] } }), &[]),
        ]
    };
    let held = entry(AuditKind::HoldBegan, of_zone(&["www.example.com"]));
    assert_eq!(told(all(), &held), ["prod"], "the zone says in which environment it is");
    let held = entry(AuditKind::HoldBegan, of_zone(&["a.pay.example.com"]));
    assert_eq!(told(all(), &held), ["pay", "prod"]);
    let scope = AuditScope { cluster: Some(cluster("lab")), ..AuditScope::default() };
    assert_eq!(told(all(), &entry(AuditKind::ClusterAway, scope)), ["dev", "lab"]);
}

#[test]
fn a_team_hears_of_its_names() {
    let all = || vec![subscription("pay", &[], json!({}), &["pay"])];
    let held = |names: &[&str]| entry(AuditKind::HoldBegan, of_zone(names));
    assert_eq!(told(all(), &held(&["a.pay.example.com", "www.example.com"])), ["pay"]);
    assert_eq!(told(all(), &held(&["www.example.com"])), [""; 0]);
    assert_eq!(told(all(), &held(&[])), [""; 0], "the zone is nobody's");
}

#[test]
fn a_freeze_concerns_whom_it_may_close_out() {
    let freeze = |scope: serde_json::Value| {
        rule(RuleKind::Freeze, "x-mas", json!({ "scope": scope, "until": "2030-01-01T00:00:00Z" }))
    };
    let began = AuditEntry {
        subject: Some("Freeze x-mas".to_owned()),
        ..entry(AuditKind::FreezeBegan, AuditScope::default())
    };
    let heard = |scope: serde_json::Value| {
        let of = |name: &str, scope, teams: &[&str]| subscription(name, &["freezes"], scope, teams);
        let all = vec![
            of("dev", json!({ "environments": ["dev"] }), &[]),
            of("team", json!({}), &["pay"]),
            freeze(scope),
        ];
        told(all, &began)
    };
    assert_eq!(heard(json!({})), ["dev", "team"]);
    assert_eq!(heard(json!({ "environments": ["prod"] })), ["team"]);
    assert_eq!(heard(json!({ "zones": ["example.org"] })), ["dev"]);
}

#[test]
fn a_delivery_is_tried_for_a_day_at_growing_distances() {
    assert_eq!([1, 2, 3, 50].map(|n| back_off(n).0 / 1_000), [10, 30, 90, 3_600]);
    let (mut now, mut tries) = (Timestamp(0), 0);
    while let Some(next) = next_try(Timestamp(0), tries + 1, None, now) {
        assert!(next > now);
        (now, tries) = (next, tries + 1);
    }
    assert!((25..35).contains(&tries), "{tries}");
    let asked = next_try(Timestamp(0), 1, Some(Millis::from_secs(120)), Timestamp(0));
    assert_eq!(asked, Some(Timestamp(120_000)), "a sink may ask for more time");
    let hostile = next_try(Timestamp(0), 1, Some(Millis(i64::MAX)), Timestamp(0));
    assert_eq!(hostile, Some(Timestamp(3_600_000)), "and not for all of it");
}

#[test]
fn what_others_wrote_is_text_in_a_chat() {
    let mut began = entry(AuditKind::HoldBegan, of_zone(&["<!channel>.example.com"]));
    began.after = Some(json!({ "units": 3, "digest": "ab", "message": "a & b" }));
    let url = PublicUrl::parse("https://zonefold.example.com").unwrap();
    let subscription = RuleName::parse("chat").unwrap();
    let notice = Notice::new(17, &began, &subscription, Some(&url)).unwrap();
    assert_eq!(notice.id, "17-chat");
    assert_eq!(notice.title, "3 units of change are held in example.com");
    assert_eq!(notice.link.as_deref(), Some("https://zonefold.example.com/holds/ab"));
    let slack = notice.to_slack()["text"].as_str().unwrap().to_owned();
    assert!(slack.contains("&lt;!channel&gt;") && slack.contains("a &amp; b"), "{slack}");
    assert!(slack.ends_with("<https://zonefold.example.com/holds/ab|Show>"), "{slack}");
    assert_eq!(Notice::new(1, &began, &subscription, None).unwrap().link, None);
}
