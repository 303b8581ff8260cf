//! From a change that was applied to one that is in sync.

use std::sync::atomic::Ordering;

use super::world::{START, World, account, drive, requests, wants, www, zone_id};
use crate::broker::directory::entry::{EndpointEntry, Progress};
use crate::broker::worker::zone::work::PROPAGATION;
use crate::broker::worker::{Effect, Message, Worker};
use crate::core::dns::record::{RecordKey, RecordType};
use crate::core::ids::BatchId;
use crate::core::planning::change::{Cause, Change, Motive};
use crate::core::testkit::{cluster, name};
use crate::core::time::{Millis, Timestamp};
use crate::ports::{BatchOutcome, ChangeRow};

fn wanted() -> (Effect, EndpointEntry) {
    let effect = wants(0, &www(0), "192.0.2.1");
    let Effect::Contribute { held, .. } = &effect else { panic!("{effect:?}") };
    let held = held.clone();
    (effect, held)
}

/// A worker takes what is wanted and does all that it can do now.
async fn publishes(worker: &mut Worker) -> EndpointEntry {
    let (effect, held) = wanted();
    worker.take(Message::Effects(vec![effect]));
    drive(worker).await;
    held
}

fn progress(held: &EndpointEntry) -> Option<&'static str> {
    held.status()?.progress.as_ref().map(Progress::as_str)
}

async fn go_on(world: &World, worker: &mut Worker, millis: Millis) {
    world.clock.advance(millis);
    drive(worker).await;
    // A name that is in sync without a call is looked at when nothing else is to be done.
    drive(worker).await;
}

#[tokio::test]
async fn what_was_found_to_be_done_is_in_sync_when_route_53_has_had_its_time() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    world.provider.loses_answers.store(true, Ordering::Relaxed);
    let held = publishes(&mut worker).await;
    assert_eq!(progress(&held), Some("applied"));
    go_on(&world, &mut worker, Millis(PROPAGATION.0 - 1)).await;
    assert_eq!(progress(&held), Some("applied"), "its id is unknown, so it cannot be asked after");
    go_on(&world, &mut worker, Millis(1)).await;
    assert_eq!(progress(&held), Some("in_sync"));
    assert!(!world.calls().contains(&"change_in_sync"));
}

#[tokio::test]
async fn a_change_that_cannot_be_asked_after_for_an_hour_is_in_sync_when_it_can() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    world.provider.sync_unknown.store(true, Ordering::Relaxed);
    let held = publishes(&mut worker).await;
    let changes = world.provider.changes.lock().unwrap().clone();
    let made = changes.into_iter().flat_map(|(_, changes)| changes).map(|change| change.set);
    world.provider.held.lock().unwrap().extend(made);
    for _ in 0..360 {
        go_on(&world, &mut worker, Millis::from_secs(10)).await;
    }
    let asked = world.calls().iter().filter(|call| **call == "change_in_sync").count();
    assert!((30..50).contains(&asked), "{asked}");
    assert_eq!(progress(&held), Some("applied"));
    world.provider.sync_unknown.store(false, Ordering::Relaxed);
    go_on(&world, &mut worker, Millis::from_secs(700)).await;
    assert_eq!(progress(&held), Some("in_sync"));
}

#[tokio::test]
async fn what_an_earlier_life_changed_a_moment_ago_is_asked_after_before_it_is_called_in_sync() {
    for (ago, expected) in [(Millis(10_000), "applied"), (PROPAGATION, "in_sync")] {
        let mut world = World::new(1, requests(100.0, 50.0));
        world.store.hold(0, &www(0), "192.0.2.1");
        world.provider.sync_unknown.store(true, Ordering::Relaxed);
        let cause = Cause::new(Motive::Wanted, cluster("east"), vec![]);
        let key = RecordKey { name: name(&www(0)), rtype: RecordType::A, set_identifier: None };
        let row = ChangeRow {
            id: 1,
            batch: BatchId(uuid::Uuid::nil()),
            account: account(),
            zone: zone_id(0),
            change: Change { key, before: None, after: None, cause },
            planned_at: Timestamp(START.0 - ago.0),
            outcome: Some(BatchOutcome::Applied { change_id: "C1".to_owned(), request_id: None }),
        };
        world.store.changes.lock().unwrap().push(row);
        let (effect, held) = wanted();
        let (mut worker, _view) = Worker::load(world.parts(), vec![effect]).await.unwrap();
        drive(&mut worker).await;
        assert_eq!(progress(&held), Some(expected));
        world.provider.sync_unknown.store(false, Ordering::Relaxed);
        go_on(&world, &mut worker, Millis::from_secs(60)).await;
        assert_eq!(progress(&held), Some("in_sync"));
    }
}
