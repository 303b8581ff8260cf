//! What the rules of governance say holds from the start, from a reload on, and until a grant ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::world::{START, World, drive, requests, wants, www, zone_id};
use crate::broker::directory::entry::{EndpointEntry, Progress};
use crate::broker::rules::RulesInForce;
use crate::broker::worker::{Effect, Message};
use crate::core::governance::rule::{Rule, RuleKind};
use crate::core::governance::snapshot::{Governance, GovernedCluster};
use crate::core::governance::testkit::{rule, rules, team};
use crate::core::ids::EnvironmentId;
use crate::core::testkit::cluster;
use crate::core::time::{Millis, Timestamp};

const APEX: &str = "zone-00000.example.com";

fn granted() -> Vec<Rule> {
    let spec = json!({ "zone": APEX, "team": "platform", "claims": "granted" });
    vec![team("platform"), rule(RuleKind::Ownership, "all", spec)]
}

fn grant(until: Option<&str>) -> Rule {
    let mut spec = json!({
        "zone": APEX, "names": [format!("*.{APEX}")], "clusters": { "names": ["east"] },
    });
    if let Some(until) = until {
        spec["until"] = until.into();
    }
    rule(RuleKind::Grant, "east", spec)
}

fn reload(world: &World, of: Vec<Rule>) {
    let environment = EnvironmentId::parse("dev").unwrap();
    let east = GovernedCluster { environment, labels: BTreeMap::new() };
    let clusters = BTreeMap::from([(cluster("east"), east)]);
    let governance = Arc::new(Governance::new(Arc::new(rules(of)), clusters));
    world.governance.send_replace(Arc::new(RulesInForce { governance, ..RulesInForce::default() }));
}

fn wanted(target: &str) -> (Effect, EndpointEntry) {
    let effect = wants(0, &www(0), target);
    let Effect::Contribute { held, .. } = &effect else { panic!("{effect:?}") };
    let held = held.clone();
    (effect, held)
}

fn reason(held: &EndpointEntry) -> Option<&'static str> {
    Some(held.status()?.verdict.reason.as_str())
}

#[tokio::test]
async fn a_name_is_published_from_the_grant_on() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    reload(&world, granted());
    let (effect, held) = wanted("192.0.2.1");
    worker.take(Message::Effects(vec![effect]));
    drive(&mut worker).await;
    assert_eq!(reason(&held), Some("NOT_GRANTED"));
    assert!(world.provider.created().is_empty());
    reload(&world, [granted(), vec![grant(None)]].concat());
    drive(&mut worker).await;
    drive(&mut worker).await;
    assert_eq!(reason(&held), Some("ACCEPTED"));
    assert_eq!(world.provider.created().concat(), ["192.0.2.1"]);
}

#[tokio::test]
async fn a_grant_that_ends_leaves_the_record_as_it_is_and_takes_no_edit() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    let end = jiff::Timestamp::from_millisecond(START.0 + 60_000).unwrap().to_string();
    reload(&world, [granted(), vec![grant(Some(&end))]].concat());
    let (effect, held) = wanted("192.0.2.1");
    worker.take(Message::Effects(vec![effect]));
    drive(&mut worker).await;
    let changes = || world.provider.changes.lock().unwrap().len();
    assert_eq!((reason(&held), changes()), (Some("ACCEPTED"), 1));
    world.clock.advance(Millis::from_secs(61));
    drive(&mut worker).await;
    drive(&mut worker).await;
    assert_eq!(
        (reason(&held), changes()),
        (Some("NOT_GRANTED"), 1),
        "nothing is deleted by a rule"
    );
    let (edit, edited) = wanted("192.0.2.9");
    worker.take(Message::Effects(vec![edit]));
    drive(&mut worker).await;
    assert_eq!((reason(&edited), changes()), (Some("NOT_GRANTED"), 1));
    assert!(worker.zones.get(&zone_id(0)).unwrap().backlog.is_empty());
}

#[tokio::test]
async fn a_freeze_lets_nothing_go_and_what_is_wanted_at_its_end_goes_then() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    let changes = || world.provider.changes.lock().unwrap().len();
    let (effect, _) = wanted("192.0.2.1");
    worker.take(Message::Effects(vec![effect]));
    drive(&mut worker).await;
    assert_eq!(changes(), 1);
    let end = Timestamp(START.0 + 60_000);
    let until = jiff::Timestamp::from_millisecond(end.0).unwrap().to_string();
    let spec = json!({ "scope": { "zones": [APEX] }, "until": until, "reason": "the sale" });
    reload(&world, vec![rule(RuleKind::Freeze, "sale", spec)]);
    let (edit, edited) = wanted("192.0.2.9");
    worker.take(Message::Effects(vec![edit]));
    drive(&mut worker).await;
    assert_eq!((reason(&edited), changes()), (Some("ACCEPTED"), 1));
    let Some(Progress::Pending { detail, expected_at }) = edited.status().unwrap().progress.clone()
    else {
        panic!("{:?}", edited.status());
    };
    assert_eq!(expected_at, Some(end));
    assert!(detail.contains("the freeze sale") && detail.ends_with("the sale"), "{detail}");
    world.clock.advance(Millis::from_secs(61));
    drive(&mut worker).await;
    drive(&mut worker).await;
    assert_eq!(changes(), 2, "what is wanted at its end goes");
}
