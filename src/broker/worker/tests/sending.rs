//! Journal, then tokens, then the call.

use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::world::{
    START, World, drive, effect_of, requests, step, take_next, wants, www, zone_id,
};
use crate::broker::worker::zone::compare::Page;
use crate::broker::worker::{Message, Worker};
use crate::core::planning::change::WireChange;
use crate::core::testkit::{endpoint, name};
use crate::core::time::Millis;
use crate::ports::{BatchOutcome, Clock};

/// A batch for `192.0.2.1` that is journalled and was not sent.
async fn journalled(world: &mut World) -> Worker {
    let (mut worker, _view) = world.idle_worker().await;
    worker.take(Message::Effects(vec![wants(0, &www(0), "192.0.2.1")]));
    step(&mut worker).await;
    take_next(&mut worker).await;
    assert!(worker.outgoing.is_waiting() && world.provider.changes.lock().unwrap().is_empty());
    worker
}

fn not_applied(world: &World) -> usize {
    let outcomes = world.store.outcomes.lock().unwrap();
    outcomes.iter().filter(|outcome| matches!(outcome, BatchOutcome::NotApplied { .. })).count()
}

#[tokio::test]
async fn no_token_is_spent_later_than_the_store_knows_of_however_long_the_journal_takes() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let mut worker = journalled(&mut world).await;
    world.clock.advance(Millis::from_secs(60));
    drive(&mut worker).await;
    let sent_at = world.provider.changes.lock().unwrap()[0].0;
    assert_eq!(sent_at, world.clock.now());
    assert!(world.store.horizon.lock().unwrap().is_some_and(|until| until > sent_at));
}

#[tokio::test]
async fn a_journalled_batch_waits_a_little_for_its_token_and_goes_out_as_it_is() {
    let mut world = World::new(1, requests(5.0, 5.0));
    let mut worker = journalled(&mut world).await;
    worker.budget.throttled(worker.clock.now());
    worker.take(Message::Effects(vec![wants(0, &www(0), "192.0.2.2")]));
    let wake = step(&mut worker).await.unwrap();
    assert!(wake > worker.clock.now() && wake <= worker.clock.now() + Millis(1_000), "{wake}");
    assert!(world.provider.created().is_empty() && not_applied(&world) == 0);
    world.clock.advance(Millis(600));
    drive(&mut worker).await;
    assert_eq!(world.provider.created(), [["192.0.2.1"]]);
    world.clock.advance(Millis::from_secs(10));
    drive(&mut worker).await;
    assert_eq!(world.provider.created(), [["192.0.2.1"], ["192.0.2.2"]]);
}

#[tokio::test]
async fn a_journalled_batch_whose_tokens_are_gone_is_planned_anew_with_what_has_changed() {
    let mut world = World::new(1, requests(5.0, 0.5));
    let mut worker = journalled(&mut world).await;
    worker.budget.throttled(worker.clock.now());
    worker.take(Message::Effects(vec![wants(0, &www(0), "192.0.2.2")]));
    drive(&mut worker).await;
    assert!(world.provider.created().is_empty() && not_applied(&world) == 1);
    world.clock.advance(Millis::from_secs(10));
    drive(&mut worker).await;
    assert_eq!(world.provider.created(), [["192.0.2.2"]], "the late edit is in it");
}

#[tokio::test]
async fn no_more_batches_are_journalled_than_the_bucket_can_pay_soon() {
    // Three tokens of a bucket of four are ours, and the listing of zones took one of them.
    let mut world = World::new(10, requests(4.0, 1.0));
    let (mut worker, _view) = world.idle_worker().await;
    let effects = (0..10).map(|zone| wants(zone, &www(zone), "192.0.2.1")).collect();
    worker.take(Message::Effects(effects));
    for _ in 0..3 {
        step(&mut worker).await;
    }
    assert_eq!((worker.outgoing.promised_calls(), worker.clock.now()), (2, START));
    drive(&mut worker).await;
    assert_eq!(
        (world.provider.created().len(), world.store.journalled.load(Ordering::Relaxed)),
        (2, 2)
    );
}

#[tokio::test]
async fn a_worker_that_stops_sends_nothing_that_is_journalled_meanwhile() {
    let mut world = World::new(1, requests(100.0, 50.0));
    world.store.journal.forget_permits(usize::MAX);
    let (mut worker, _view) =
        Worker::load(world.parts(), vec![wants(0, &www(0), "192.0.2.1")]).await.unwrap();
    while worker.outgoing.promised_calls() == 0 {
        step(&mut worker).await;
        take_next(&mut worker).await;
    }
    worker.lease.stop().cancel();
    world.store.journal.add_permits(1);
    let (_messages, receiver) = mpsc::channel(1);
    worker.run(receiver).await;
    assert_eq!((world.provider.created().len(), not_applied(&world)), (0, 1));
}

#[tokio::test]
async fn a_batch_that_may_be_journalled_although_the_store_failed_is_not_sent_and_has_an_end() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    world.store.loses_answer.store(true, Ordering::Relaxed);
    worker.take(Message::Effects(vec![wants(0, &www(0), "192.0.2.1")]));
    drive(&mut worker).await;
    assert!(world.provider.created().is_empty() && not_applied(&world) == 1);
    world.clock.advance(Millis::from_secs(2));
    drive(&mut worker).await;
    assert_eq!(
        (world.provider.created().len(), not_applied(&world)),
        (1, 1),
        "it is planned anew, under another id"
    );
}

#[tokio::test]
async fn a_name_whose_change_vanished_while_it_waited_is_planned_again_when_its_target_is_there() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    let both =
        [(1, "A", "192.0.2.1"), (2, "AAAA", "2001:db8::1")].map(|(arrival, rtype, target)| {
            effect_of("east", arrival, 0, &endpoint("web", &www(0), rtype, &[target]))
        });
    worker.take(Message::Effects(both.into()));
    drive(&mut worker).await;
    let mut alias = endpoint("alias", &format!("alias.{}", &www(0)[4..]), "CNAME", &[&www(0)]);
    alias.properties.insert("alias".into(), "true".into());
    worker.take(Message::Effects(vec![effect_of("east", 3, 0, &alias)]));
    worker.review_some();
    let zone = worker.zones.get_mut(&zone_id(0)).unwrap();
    assert!(!zone.backlog.is_empty(), "its target is there");
    // The target goes, and nobody tells the alias.
    let page = Page { from: None, until: None, sets: vec![] };
    zone.state.compare(&page, START);
    drive(&mut worker).await;
    worker.note(&zone_id(0), [name(&www(0))]);
    for _ in 0..8 {
        world.clock.advance(Millis::from_secs(1));
        drive(&mut worker).await;
    }
    let changes = world.provider.changes.lock().unwrap().clone();
    let is_alias = |(_, changes): &(_, Vec<WireChange>)| {
        changes.iter().any(|change| change.set.alias.is_some())
    };
    assert!(changes.iter().any(is_alias), "{changes:?}");
}
