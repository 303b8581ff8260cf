//! What guards hold stays until a person lets it go, and all else goes on.

use std::sync::Arc;

use super::world::{START, World, drive, effect_of, requests, zone_id};
use crate::broker::rules::RulesInForce;
use crate::broker::worker::{Effect, HoldReport, Message, Query, Worker};
use crate::core::governance::rule::guard::Counted;
use crate::core::planning::change::Action;
use crate::core::planning::tally::{CountedName, Tally};
use crate::core::planning::unit_digest::UnitDigest;
use crate::core::release::hold::{Approval, Approvals};
use crate::core::testkit::{cluster, endpoint, name};
use crate::core::time::{Millis, Timestamp};
use crate::ports::CountedRow;

fn host(number: usize) -> String {
    format!("n{number:02}.zone-00000.example.com")
}

fn wants(number: usize, target: &str) -> Effect {
    let endpoint = endpoint("web", &host(number), "A", &[target]);
    effect_of("east", i64::try_from(number).unwrap(), 0, &endpoint)
}

fn withdraws(number: usize) -> Effect {
    let Effect::Contribute { placement, name, held, .. } = wants(number, "192.0.2.1") else {
        panic!("a contribution")
    };
    Effect::Withdraw { placement, name, held }
}

/// A worker with so many names that are published.
async fn publishing(world: &mut World, names: usize) -> Worker {
    let (mut worker, _view) = world.idle_worker().await;
    tell(world, &mut worker, (0..names).map(|number| wants(number, "192.0.2.1"))).await;
    assert_eq!(world.provider.created().concat().len(), names);
    worker
}

async fn tell(world: &World, worker: &mut Worker, effects: impl Iterator<Item = Effect>) {
    worker.take(Message::Effects(effects.collect()));
    settle(world, worker).await;
}

/// Long enough for the pauses between the changes of a zone.
async fn settle(world: &World, worker: &mut Worker) {
    for _ in 0..3 {
        world.clock.advance(Millis::from_secs(1));
        drive(worker).await;
    }
}

fn deleted(world: &World) -> usize {
    let calls = world.provider.changes.lock().unwrap();
    let changes = calls.iter().flat_map(|(_, call)| call);
    changes.filter(|change| change.action == Action::Delete).count()
}

async fn holds(worker: &mut Worker) -> Vec<HoldReport> {
    let (reply, answer) = tokio::sync::oneshot::channel();
    worker.take(Message::Query(Query::Holds { reply }));
    answer.await.unwrap()
}

fn approve(world: &World, units: &[UnitDigest], until: Timestamp) {
    let mut approvals = Approvals::default();
    let approval = Approval { request: uuid::Uuid::from_u128(1), at: START, until };
    units.iter().for_each(|unit| approvals.add(*unit, approval));
    let before = RulesInForce::clone(&world.governance.borrow());
    world
        .governance
        .send_replace(Arc::new(RulesInForce { approvals: Arc::new(approvals), ..before }));
}

#[tokio::test]
async fn up_to_the_line_deletions_go_and_over_it_all_that_wait_are_held() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let mut worker = publishing(&mut world, 30).await;
    tell(&world, &mut worker, (0..10).map(withdraws)).await;
    assert_eq!(deleted(&world), 10);
    tell(&world, &mut worker, (10..12).map(withdraws)).await;
    assert_eq!(deleted(&world), 10);
    let held = holds(&mut worker).await;
    assert_eq!(held.len(), 1, "{held:?}");
    let HoldReport { hold, crossed, .. } = &held[0];
    assert_eq!((hold.units.len(), hold.names.len()), (2, 2));
    assert!(hold.since > START);
    assert!(hold.what.contains(&Counted::Deletions) || hold.what.contains(&Counted::LostNames));
    let numbers = (crossed[0].sent, crossed[0].pending, crossed[0].allowed, crossed[0].names);
    assert_eq!(numbers, (10, 2, 10, 30));
    tell(&world, &mut worker, [wants(20, "192.0.2.9"), wants(31, "192.0.2.1")].into_iter()).await;
    assert_eq!(world.provider.created().concat().len(), 32, "all else goes on");
}

#[tokio::test]
async fn what_is_held_goes_when_people_let_it_go_or_when_what_went_is_long_ago() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let mut worker = publishing(&mut world, 30).await;
    tell(&world, &mut worker, (0..14).map(withdraws)).await;
    assert_eq!(deleted(&world), 0);
    let units = holds(&mut worker).await[0].hold.units.clone();
    approve(&world, &units[..13], Timestamp(START.0 + 60_000));
    settle(&world, &mut worker).await;
    assert_eq!(
        deleted(&world),
        14,
        "what was let go does not count, and the last one crosses nothing"
    );
    assert!(holds(&mut worker).await.is_empty());
    tell(&world, &mut worker, (14..24).map(withdraws)).await;
    assert_eq!(deleted(&world), 14);
    world.clock.advance(Millis::from_secs(3_601));
    settle(&world, &mut worker).await;
    assert_eq!(deleted(&world), 24);
}

#[tokio::test]
async fn a_word_is_for_what_was_looked_at_and_for_one_time() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let mut worker = publishing(&mut world, 30).await;
    tell(&world, &mut worker, (0..11).map(withdraws)).await;
    let units = holds(&mut worker).await[0].hold.units.clone();
    approve(&world, &units, Timestamp(START.0 + 600_000));
    settle(&world, &mut worker).await;
    assert_eq!(deleted(&world), 11);
    tell(&world, &mut worker, (0..11).map(|number| wants(number, "192.0.2.1"))).await;
    tell(&world, &mut worker, (0..11).map(withdraws)).await;
    assert_eq!(deleted(&world), 11, "the same again needs another word");
    tell(&world, &mut worker, (20..24).map(|number| wants(number, "192.0.2.7"))).await;
    assert_eq!(holds(&mut worker).await[0].hold.units, units);
}

#[tokio::test]
async fn what_went_before_a_restart_counts_after_it() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let counted = CountedName {
        name: name(&host(40)),
        cluster: cluster("east"),
        tally: Tally { deletions: 10, ..Tally::default() },
    };
    let row = CountedRow { at: START, zone: zone_id(0), counted: vec![counted] };
    world.store.counted.lock().unwrap().push(row);
    let mut worker = publishing(&mut world, 12).await;
    tell(&world, &mut worker, (0..1).map(withdraws)).await;
    assert_eq!((deleted(&world), holds(&mut worker).await.len()), (0, 1));
}

#[tokio::test]
async fn an_endpoint_that_comes_back_ends_the_hold() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let mut worker = publishing(&mut world, 30).await;
    tell(&world, &mut worker, (0..11).map(withdraws)).await;
    assert_eq!((deleted(&world), holds(&mut worker).await.len()), (0, 1));
    tell(&world, &mut worker, (0..1).map(|number| wants(number, "192.0.2.1"))).await;
    assert_eq!((deleted(&world), holds(&mut worker).await.len()), (10, 0));
}
