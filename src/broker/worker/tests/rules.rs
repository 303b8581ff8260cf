//! The rules for a zone: at the start, at a reload, and while its tags are not known.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::world::{World, account, drive, requests, step, take_next, wants, www, zone_id};
use crate::broker::worker::{Message, Worker};
use crate::core::planning::policy::{
    AdoptPolicy, ZonePolicy, ZoneRule, ZoneSelector, ZoneSettings,
};
use crate::core::time::Millis;
use crate::ports::DnsProvider;

fn rule(tags: &[(&str, &str)], policy: ZonePolicy) -> ZoneRule {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ZoneRule {
        selector: ZoneSelector { tags, ..ZoneSelector::default() },
        settings: ZoneSettings { policy, adopt: AdoptPolicy::Any, ..ZoneSettings::default() },
    }
}

fn terraform_s_are_observed() -> Vec<ZoneRule> {
    vec![rule(&[("owner", "terraform")], ZonePolicy::Observe), rule(&[], ZonePolicy::Sync)]
}

fn reload(worker: &mut Worker, world: &World, rules: Vec<ZoneRule>) {
    let settings = crate::broker::worker::AccountSettings { rules, ..worker.settings.clone() };
    let provider = Arc::clone(&world.provider) as Arc<dyn DnsProvider>;
    worker.take(Message::Reconfigure(Box::new(settings), provider));
}

fn policy(worker: &Worker) -> ZonePolicy {
    worker.zones.get(&zone_id(0)).unwrap().state.settings.policy
}

#[tokio::test]
async fn the_stored_tags_decide_from_the_start_and_without_them_the_zone_is_observed() {
    let tagged = BTreeMap::from([("owner".to_owned(), "terraform".to_owned())]);
    for (tags, expected) in [
        (None, ZonePolicy::Observe),
        (Some(tagged), ZonePolicy::Observe),
        (Some(BTreeMap::new()), ZonePolicy::Sync),
    ] {
        let mut world = World::new(1, requests(100.0, 50.0));
        world.rules = terraform_s_are_observed();
        let is_known = tags.is_some();
        world.store.zones.lock().unwrap()[0].tags = tags;
        let (mut worker, view) =
            Worker::load(world.parts(), vec![wants(0, &www(0), "192.0.2.1")]).await.unwrap();
        assert_eq!(policy(&worker), expected);
        let trouble = view.borrow().zones.iter().next().unwrap().trouble.clone();
        assert_eq!(trouble.is_some_and(|text| text.contains("tags")), !is_known);
        drive(&mut worker).await;
        assert_eq!(policy(&worker), ZonePolicy::Sync, "discovery finds no tags");
        assert_eq!(
            world.store.zones.lock().unwrap()[0].tags,
            Some(BTreeMap::new()),
            "they are kept"
        );
        let calls = world.calls();
        let at = |call: &str| calls.iter().position(|other| *other == call);
        if expected == ZonePolicy::Observe {
            assert!(at("zone_tags") < at("change_records"), "{calls:?}");
        }
        assert!(at("change_records").is_some() && account() == worker.settings.account);
    }
}

#[tokio::test]
async fn a_reload_that_says_observe_takes_effect_before_the_next_call() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    worker.take(Message::Effects(vec![wants(0, &www(0), "192.0.2.1")]));
    step(&mut worker).await;
    take_next(&mut worker).await;
    assert!(worker.outgoing.is_waiting(), "it is journalled");
    reload(&mut worker, &world, vec![rule(&[], ZonePolicy::Observe)]);
    assert_eq!(policy(&worker), ZonePolicy::Observe);
    drive(&mut worker).await;
    assert!(!world.calls().contains(&"change_records"), "{:?}", world.calls());
    // The other way round nothing is written before the tags are known.
    reload(&mut worker, &world, terraform_s_are_observed());
    assert_eq!(policy(&worker), ZonePolicy::Observe);
    drive(&mut worker).await;
    // The batch that was given back was paid for with the zone's pause.
    world.clock.advance(Millis::from_secs(1));
    drive(&mut worker).await;
    let calls = world.calls();
    let at = |call: &str| calls.iter().position(|other| *other == call);
    assert!(at("zone_tags").is_some() && at("zone_tags") < at("change_records"), "{calls:?}");
}

#[tokio::test]
async fn a_zone_that_no_rule_selects_any_more_is_left_alone_at_once() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    reload(&mut worker, &world, vec![]);
    worker.take(Message::Effects(vec![wants(0, &www(0), "192.0.2.1")]));
    drive(&mut worker).await;
    assert!(!world.calls().contains(&"change_records"), "{:?}", world.calls());
}
