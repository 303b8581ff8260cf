//! Changes that Route 53 does not take, or does not answer: who waits for whom, and how long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::world::{
    START, World, drive, effect_of, refused, requests, wants, wants_for, www, zone_id,
};
use crate::broker::directory::Effect;
use crate::broker::worker::{Message, Worker};
use crate::core::limits::budget::{BucketConfig, BudgetConfig};
use crate::core::planning::change::{Action, WireChange};
use crate::core::testkit::{endpoint, name};
use crate::core::time::{Millis, Timestamp};
use crate::ports::{BatchOutcome, CallError, Clock as _};

const SOMETHING: &str = "[Something is wrong that nobody has seen before.]";
const FULL: &str = "[Exceeded limit MAX_RRSETS_BY_ZONE for zone: Z00000]";

fn owner(label: &str) -> String {
    format!("{label}.{}", &www(0)[4..])
}

fn is_bad(change: &WireChange) -> bool {
    change.set.name.starts_with("bad")
}

fn refuse(world: &World, refuses: impl Fn(&[WireChange]) -> Option<CallError> + Send + 'static) {
    *world.provider.refuses.lock().unwrap() = Some(Box::new(refuses));
}

fn refuse_bad(world: &World) {
    refuse(world, |changes| changes.iter().any(is_bad).then(|| refused(SOMETHING)));
}

/// Goes on for a time, a tenth of a second at a time.
async fn go_on(world: &World, worker: &mut Worker, for_ms: i64) {
    for _ in 0..for_ms / 100 {
        world.clock.advance(Millis(100));
        drive(worker).await;
    }
}

/// The names of each call, in order.
fn calls(world: &World) -> Vec<BTreeSet<String>> {
    let asked = world.provider.asked.lock().unwrap();
    let names = |changes: &Vec<WireChange>| {
        changes.iter().map(|change| change.set.name.to_string()).collect()
    };
    asked.iter().map(|(_, changes)| names(changes)).collect()
}

fn asked_at(world: &World) -> Vec<Timestamp> {
    world.provider.asked.lock().unwrap().iter().map(|(at, _)| *at).collect()
}

/// The labels of what was applied.
fn applied(world: &World) -> BTreeSet<String> {
    let changes = world.provider.changes.lock().unwrap();
    let names = changes.iter().flat_map(|(_, changes)| changes);
    names.map(|change| change.set.name.split('.').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_refused_batch_is_parted_by_cluster_first() {
    let mut world = World::new(1, requests(1_000.0, 500.0));
    let (mut worker, _view) = world.idle_worker().await;
    refuse_bad(&world);
    let mut effects = vec![];
    for of in ["east", "north", "south", "west"] {
        for number in 0..8 {
            let label = if of == "east" { "bad" } else { "good" };
            effects.push(wants_for(of, 0, &owner(&format!("{label}-{of}-{number}")), "192.0.2.1"));
        }
    }
    worker.take(Message::Effects(effects));
    go_on(&world, &mut worker, 3_000).await;
    let good: BTreeSet<String> =
        applied(&world).into_iter().filter(|label| label.starts_with("good")).collect();
    assert_eq!(good.len(), 24, "{:?}", calls(&world));
    let mut refused_with_east: BTreeMap<String, usize> = BTreeMap::new();
    for call in calls(&world).iter().filter(|call| call.iter().any(|name| name.starts_with("bad")))
    {
        for name in call.iter().filter(|name| name.starts_with("good")) {
            *refused_with_east.entry(name.clone()).or_default() += 1;
        }
    }
    assert!(refused_with_east.values().all(|times| *times <= 2), "{refused_with_east:?}");
}

#[tokio::test]
async fn a_thousand_poisons_of_one_cluster_keep_no_other_waiting() {
    let mut world = World::new(1, requests(1_000.0, 500.0));
    let (mut worker, _view) = world.idle_worker().await;
    refuse_bad(&world);
    let poisons =
        (0..1_000).map(|number| wants(0, &owner(&format!("bad-{number}")), "192.0.2.1")).collect();
    worker.take(Message::Effects(poisons));
    go_on(&world, &mut worker, 2_000).await;
    for number in 0..30 {
        let (label, before) = (format!("good-{number}"), calls(&world).len());
        worker.take(Message::Effects(vec![wants_for("west", 0, &owner(&label), "192.0.2.2")]));
        let mut rounds = 0;
        while !applied(&world).contains(&label) {
            go_on(&world, &mut worker, 100).await;
            rounds += 1;
            assert!(rounds < 100, "{label} waits: {:?}", &calls(&world)[before..]);
        }
        let overtaken = calls(&world).len() - before;
        assert!(overtaken <= 5, "{overtaken} calls went before {label}");
    }
    let with_poison = calls(&world)
        .iter()
        .filter(|call| {
            call.iter().any(|name| name.starts_with("bad"))
                && call.iter().any(|name| name.starts_with("good"))
        })
        .count();
    assert!(with_poison <= 3, "{with_poison} calls carried both");
}

#[tokio::test]
async fn a_name_that_became_another_cluster_s_leaves_the_search() {
    let mut world = World::new(1, requests(1_000.0, 500.0));
    let (mut worker, _view) = world.idle_worker().await;
    refuse_bad(&world);
    let theirs = wants(0, &owner("shared"), "192.0.2.1");
    let poisons = (0..20).map(|n| wants(0, &owner(&format!("bad-{n}")), "192.0.2.1"));
    worker.take(Message::Effects(poisons.chain([theirs.clone()]).collect()));
    while calls(&world).len() < 2 {
        go_on(&world, &mut worker, 100).await;
    }
    let Effect::Contribute { placement, name, held, .. } = theirs else { panic!() };
    worker.take(Message::Effects(vec![
        Effect::Withdraw { placement, name, held },
        wants_for("west", 0, &owner("shared"), "192.0.2.2"),
    ]));
    let before = calls(&world).len();
    go_on(&world, &mut worker, 20_000).await;
    let shared = format!("{}.", owner("shared"));
    let carried = calls(&world)[before..].iter().filter(|call| call.contains(&shared)).count();
    assert_eq!((carried, applied(&world).contains("shared")), (1, true));
}

/// A record set of a routing policy at the name `swap`.
fn routed(number: i64, property: &str, value: &str) -> Effect {
    let mut endpoint = endpoint("routed", &owner("swap"), "A", &["192.0.2.1"]);
    endpoint.key.set_identifier = format!("s{number}").as_str().into();
    endpoint.properties.insert(property.into(), value.into());
    effect_of("east", number, 0, &endpoint)
}

#[tokio::test]
async fn a_change_that_the_account_s_bucket_never_holds_is_told_and_keeps_no_other_waiting() {
    let changes = Some(BucketConfig { capacity: 6.0, refill_per_second: 5.0 });
    let mut world = World::new(1, BudgetConfig { changes, ..requests(100.0, 50.0) });
    let (mut worker, _view) = world.idle_worker().await;
    let weights = (1..=3).map(|number| routed(number, "aws/weight", "10"));
    worker.take(Message::Effects(weights.collect()));
    go_on(&world, &mut worker, 5_000).await;
    let sets: usize = world.provider.changes.lock().unwrap().iter().map(|(_, c)| c.len()).sum();
    assert_eq!(sets, 3);
    let places = [(1, "EU"), (2, "NA"), (3, "AS")];
    let moved = places.map(|(n, place)| routed(n, "aws/geolocation-continent-code", place));
    worker.take(Message::Effects(
        moved.into_iter().chain([wants(0, &www(0), "192.0.2.1")]).collect(),
    ));
    go_on(&world, &mut worker, 5_000).await;
    assert!(applied(&world).contains("www"), "{:?}", calls(&world));
    let state = &worker.zones.get(&zone_id(0)).unwrap().state;
    let (message, _) =
        state.why(&name(&owner("swap")), world.clock.now()).unwrap().refused[0].clone();
    assert!(message.contains("needs 6 change tokens") && message.contains("holds 5"), "{message}");
}

#[tokio::test]
async fn a_full_zone_takes_no_creations_and_everything_else() {
    let mut world = World::new(1, requests(1_000.0, 500.0));
    world.store.hold(0, &owner("old"), "192.0.2.1");
    world.store.hold(0, &owner("gone"), "192.0.2.1");
    let stored = vec![wants(0, &owner("old"), "192.0.2.1"), wants(0, &owner("gone"), "192.0.2.1")];
    let (mut worker, view) = Worker::load(world.parts(), stored.clone()).await.unwrap();
    drive(&mut worker).await;
    refuse(&world, |changes| {
        let of = |action| changes.iter().filter(|change| change.action == action).count();
        (of(Action::Create) > of(Action::Delete)).then(|| refused(FULL))
    });
    let new =
        (0..5).map(|number| wants_for("west", 0, &owner(&format!("new-{number}")), "192.0.2.3"));
    worker.take(Message::Effects(new.collect()));
    drive(&mut worker).await;
    worker.take(Message::Effects(vec![wants(0, &owner("old"), "192.0.2.2")]));
    go_on(&world, &mut worker, 10_000).await;
    assert_eq!(applied(&world), ["old".to_owned()].into(), "what takes no room goes on");
    assert_eq!(calls(&world).len(), 2, "creations wait");
    worker.publish(worker.clock.now());
    let trouble = view.borrow().zones.iter().next().unwrap().trouble.clone().unwrap();
    assert!(trouble.contains("the zone is full") && trouble.contains(FULL), "{trouble}");
    let why =
        worker.zones.get(&zone_id(0)).unwrap().state.why(&name(&owner("new-1")), world.clock.now());
    let (message, retry_at) = why.unwrap().refused[0].clone();
    assert!(message.contains("is full") && retry_at > world.clock.now(), "{message}");
    go_on(&world, &mut worker, 25_000).await;
    assert_eq!(calls(&world).last().unwrap().len(), 1, "one goes to see");
    // Room is made: what waits goes out at once, a few at a time.
    *world.provider.refuses.lock().unwrap() = None;
    let Effect::Contribute { placement, name, held, .. } = stored[1].clone() else { panic!() };
    let withdrawn = Effect::Withdraw { placement, name, held };
    worker.take(Message::Effects(vec![withdrawn]));
    go_on(&world, &mut worker, 5_000).await;
    assert_eq!(applied(&world).len(), 7, "{:?}", calls(&world));
}

#[tokio::test]
async fn changes_that_are_not_answered_wait_longer_each_time_whatever_becomes_of_reads() {
    let mut world = World::new(1, requests(1_000.0, 500.0));
    let (mut worker, view) = world.idle_worker().await;
    world.provider.unanswered.store(true, Ordering::Relaxed);
    worker.take(Message::Effects(vec![wants(0, &www(0), "192.0.2.1")]));
    drive(&mut worker).await;
    worker.publish(worker.clock.now());
    let trouble = view.borrow().zones.iter().next().unwrap().trouble.clone().unwrap();
    assert!(trouble.contains("no answer"), "{trouble}");
    go_on(&world, &mut worker, 600_000).await;
    let asked = asked_at(&world);
    let waits: Vec<i64> = asked.windows(2).map(|pair| (pair[1] - pair[0]).0).collect();
    assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    assert!(asked.len() <= 10 && waits[0] >= 1_000, "{waits:?}");
    let reads = world.calls().iter().filter(|call| **call == "list_records").count();
    assert!(reads >= asked.len(), "each is read back");
    world.provider.unanswered.store(false, Ordering::Relaxed);
    go_on(&world, &mut worker, 400_000).await;
    assert_eq!(applied(&world), ["www".to_owned()].into());
}

#[tokio::test]
async fn a_code_that_nobody_knows_counts_as_a_refusal_after_some_rounds() {
    let mut world = World::new(1, requests(1_000.0, 500.0));
    let (mut worker, _view) = world.idle_worker().await;
    refuse(&world, |changes| {
        changes.iter().any(is_bad).then(|| CallError::Unlisted {
            code: "Novelty".to_owned(),
            message: "this is new".to_owned(),
            request_id: None,
        })
    });
    let wanted = ["bad", "a", "b", "c"].map(|label| wants(0, &owner(label), "192.0.2.1"));
    worker.take(Message::Effects(wanted.into()));
    go_on(&world, &mut worker, 30_000).await;
    assert_eq!(applied(&world), ["a", "b", "c"].map(str::to_owned).into());
    let outcomes = world.store.outcomes.lock().unwrap().clone();
    let refused = outcomes.iter().filter(
        |outcome| matches!(outcome, BatchOutcome::Refused { code, .. } if code == "Novelty"),
    );
    assert!(refused.count() >= 1);
    let why =
        worker.zones.get(&zone_id(0)).unwrap().state.why(&name(&owner("bad")), world.clock.now());
    assert_eq!(why.unwrap().refused[0].0, "this is new");
}

#[tokio::test]
async fn a_zone_that_refuses_everything_with_a_code_that_nobody_knows_is_asked_seldom() {
    let mut world = World::new(1, requests(1_000.0, 500.0));
    let (mut worker, _view) = world.idle_worker().await;
    refuse(&world, |_| {
        Some(CallError::Unlisted {
            code: "Novelty".to_owned(),
            message: "this is new".to_owned(),
            request_id: None,
        })
    });
    let wanted = (0..40).map(|number| wants(0, &owner(&format!("a{number}")), "192.0.2.1"));
    worker.take(Message::Effects(wanted.collect()));
    go_on(&world, &mut worker, 60_000).await;
    let before = calls(&world).len();
    go_on(&world, &mut worker, 60_000).await;
    assert!(calls(&world).len() <= before + 3, "{:?}", asked_at(&world));
    refuse(&world, |_| None);
    go_on(&world, &mut worker, 200_000).await;
    assert_eq!(applied(&world).len(), 40, "and it goes on by itself");
}

#[tokio::test]
async fn what_is_refused_for_something_that_is_not_there_waits_as_any_refusal() {
    let mut world = World::new(1, requests(1_000.0, 500.0));
    let (mut worker, _view) = world.idle_worker().await;
    let bad = owner("bad");
    refuse(&world, move |changes| {
        let text = format!(
            "[RRSet of type A with DNS name {bad}. is not permitted because a conflicting RRSet of type CNAME with the same DNS name already exists in zone x.]"
        );
        changes.iter().any(is_bad).then(|| refused(&text))
    });
    let wanted = ["bad", "good"].map(|label| wants(0, &owner(label), "192.0.2.1"));
    worker.take(Message::Effects(wanted.into()));
    go_on(&world, &mut worker, 20_000).await;
    assert_eq!(applied(&world), ["good".to_owned()].into());
    let with_bad = || {
        let calls = calls(&world);
        calls.iter().filter(|call| call.iter().any(|name| name.starts_with("bad"))).count()
    };
    assert_eq!(with_bad(), 1, "{:?}", calls(&world));
    go_on(&world, &mut worker, 15_000).await;
    assert_eq!(with_bad(), 2, "it is tried again after its wait");
}

#[tokio::test]
async fn after_a_call_that_was_found_to_be_done_the_zone_has_its_gap() {
    let mut world = World::new(1, requests(1_000.0, 500.0));
    let (mut worker, _view) = world.idle_worker().await;
    world.provider.loses_answers.store(true, Ordering::Relaxed);
    worker.take(Message::Effects(vec![wants(0, &www(0), "192.0.2.1")]));
    drive(&mut worker).await;
    world.provider.loses_answers.store(false, Ordering::Relaxed);
    worker.take(Message::Effects(vec![wants(0, &owner("next"), "192.0.2.1")]));
    drive(&mut worker).await;
    assert_eq!(
        (calls(&world).len(), world.clock.now()),
        (1, START),
        "it may have been made just now"
    );
    go_on(&world, &mut worker, 1_000).await;
    assert_eq!(calls(&world).len(), 2);
    assert!(asked_at(&world)[1] - START >= crate::broker::worker::zone::work::SHORTEST_GAP);
}
