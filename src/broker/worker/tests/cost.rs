//! The cost of one change, counted in zones that are looked at.

use std::sync::Arc;

use super::world::{World, drive, requests, wants, www, zone_id};
use crate::broker::worker::{Message, Query, Worker, ZoneView};
use crate::core::testkit::name;
use crate::core::time::Millis;

/// From the arrival of a change to its answer in the journal, in an account with this many zones.
async fn looks_of_one_change(zones: usize) -> usize {
    let mut world = World::new(zones, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    worker.publish(worker.clock.now());
    worker.zones.take_looks();
    worker.take(Message::Effects(vec![wants(3, &www(3), "192.0.2.1")]));
    drive(&mut worker).await;
    worker.publish(worker.clock.now());
    assert_eq!(world.provider.created(), [["192.0.2.1"]]);
    worker.zones.take_looks()
}

#[tokio::test]
async fn a_change_costs_the_same_in_an_account_of_ten_zones_and_of_a_thousand() {
    let (few, many) = (looks_of_one_change(10).await, looks_of_one_change(1_000).await);
    assert_eq!(few, many);
    assert!(many < 100, "{many} looks at zones for one change");
}

/// Wakes of a worker whose zones all wait for tokens.
async fn looks_of_a_wake_without_tokens(zones: usize) -> usize {
    let mut world = World::new(zones, requests(2.0, 1.0));
    let (mut worker, _view) = world.idle_worker().await;
    let effects = (0..zones).map(|zone| wants(zone, &www(zone), "192.0.2.1")).collect();
    worker.take(Message::Effects(effects));
    drive(&mut worker).await;
    worker.zones.take_looks();
    drive(&mut worker).await;
    worker.zones.take_looks()
}

#[tokio::test]
async fn a_wake_without_tokens_looks_at_no_zone_more_when_more_of_them_wait() {
    let (few, many) =
        (looks_of_a_wake_without_tokens(10).await, looks_of_a_wake_without_tokens(1_000).await);
    assert_eq!(few, many);
}

fn views(worker: &Worker) -> Vec<*const ZoneView> {
    let view = Arc::clone(&worker.view.borrow());
    view.zones.iter().map(std::ptr::from_ref).collect()
}

#[tokio::test]
async fn the_views_of_zones_where_nothing_happened_are_shared() {
    let mut world = World::new(100, requests(100.0, 50.0));
    let (mut worker, mut view) = world.idle_worker().await;
    worker.publish(worker.clock.now());
    // Held, so that nothing new can stand where it stood.
    let held = Arc::clone(&view.borrow_and_update());
    let before = views(&worker);
    worker.take(Message::Effects(vec![wants(3, &www(3), "192.0.2.1")]));
    worker.publish(worker.clock.now());
    let after = views(&worker);
    let changed: Vec<usize> = (0..100).filter(|zone| before[*zone] != after[*zone]).collect();
    assert_eq!(changed, [3]);
    let pending = |view: &crate::broker::worker::AccountView| {
        view.zones.iter().map(|zone| zone.pending).sum::<usize>()
    };
    let now = Arc::clone(&view.borrow_and_update());
    assert_eq!((held.pending, pending(&held), now.pending, pending(&now)), (0, 0, 1, 1));
}

#[tokio::test]
async fn a_trouble_that_is_over_leaves_the_view() {
    let mut world = World::new(3, requests(100.0, 50.0));
    let (mut worker, view) = world.idle_worker().await;
    let denied = crate::ports::CallError::Denied { message: "no".to_owned() };
    worker.not_applied(&zone_id(1), &denied, worker.clock.now());
    worker.publish(worker.clock.now());
    let troubled = || view.borrow().zones.iter().filter(|zone| zone.trouble.is_some()).count();
    assert_eq!(troubled(), 1);
    world.clock.advance(Millis::from_secs(60));
    worker.publish(worker.clock.now());
    assert_eq!(troubled(), 0);
}

#[tokio::test]
async fn a_question_after_a_name_looks_at_the_zones_around_it() {
    let mut world = World::new(1_000, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    worker.take(Message::Effects(vec![wants(3, &www(3), "192.0.2.1")]));
    worker.zones.take_looks();
    let (reply, mut answer) = tokio::sync::oneshot::channel();
    worker.take(Message::Query(Query::Why { name: name(&www(3)), reply }));
    let reports = answer.try_recv().unwrap();
    assert_eq!(
        reports.iter().map(|report| report.zone.zone.clone()).collect::<Vec<_>>(),
        [zone_id(3)]
    );
    assert_eq!(worker.zones.take_looks(), 1);
}
