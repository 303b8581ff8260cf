//! Looks at names: who waits for them, and who does not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::world::{World, account, drive, requests, step, take_next, wants, www, zone_id};
use crate::broker::directory::entry::EndpointEntry;
use crate::broker::directory::{Effect, PlacementRole};
use crate::broker::worker::io::calls::ZoneListing;
use crate::broker::worker::review::gate::GateTicket;
use crate::broker::worker::review::looking::SLICE;
use crate::broker::worker::{AccountView, Gate, Health, Message, Query, Worker, WorkerParts};
use crate::core::endpoint::packed::PackedEndpoint;
use crate::core::endpoint::verdict::Placement;
use crate::core::testkit::{cluster, endpoint, name};
use crate::core::time::Millis;
use crate::ports::{BatchOutcome, ZonePage};

/// A cluster wants an address at a name of the first zone, with its endpoint of this number.
fn effect(of: &str, number: i64, owner: &str) -> (Effect, EndpointEntry) {
    let endpoint = endpoint(&format!("o{number}"), owner, "A", &["192.0.2.1"]);
    let held = EndpointEntry::new(cluster(of), number, &PackedEndpoint::pack(&endpoint));
    let placement = Placement { account: account(), zone: zone_id(0) };
    let role = PlacementRole::Publishes;
    (Effect::Contribute { placement, name: name(owner), held: held.clone(), role }, held)
}

fn flood(of: &str, names: i64) -> (Vec<Effect>, Vec<EndpointEntry>) {
    (0..names)
        .map(|number| effect(of, number, &format!("n{number}.zone-00000.example.com")))
        .unzip()
}

fn looked_at(all: &[EndpointEntry]) -> usize {
    all.iter().filter(|held| held.status().is_some()).count()
}

fn waiting(worker: &Worker) -> usize {
    worker.zones.get(&zone_id(0)).unwrap().reviews.waiting()
}

#[tokio::test]
async fn after_a_flood_of_one_cluster_a_name_of_another_is_looked_at_in_the_next_slice() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    let (effects, noisy) = flood("noisy", 50_000);
    worker.take(Message::Effects(effects));
    let (new, quiet) = effect("quiet", 60_000, &www(0));
    // One that the flood has touched too, at its end.
    let (shared, of_both) = effect("quiet", 60_001, "n49999.zone-00000.example.com");
    worker.take(Message::Effects(vec![new, shared]));
    assert_eq!(
        (looked_at(&noisy), waiting(&worker)),
        (0, 50_001),
        "nothing is looked at while messages are taken"
    );
    worker.review_some();
    assert_eq!(looked_at(&[quiet, of_both]), 2);
    assert_eq!(
        (looked_at(&noisy), waiting(&worker)),
        (SLICE - 1, 50_001 - SLICE),
        "a slice is a slice, whatever waits"
    );
}

/// A change is sent whose answer is lost; later ones are answered.
async fn leave_a_batch_in_doubt(world: &World, worker: &mut Worker) {
    world.provider.unanswered.store(true, Ordering::Relaxed);
    worker.take(Message::Effects(vec![wants(0, &www(0), "192.0.2.1")]));
    for _ in ["journalled", "sent"] {
        step(worker).await;
        take_next(worker).await;
    }
    world.provider.unanswered.store(false, Ordering::Relaxed);
}

#[tokio::test]
async fn what_waits_for_a_zone_to_be_read_back_keeps_waiting_and_loses_nothing() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    leave_a_batch_in_doubt(&world, &mut worker).await;
    assert_eq!(worker.zones.get(&zone_id(0)).unwrap().in_doubt.len(), 1);
    let (late, held) = effect("west", 7, "late.zone-00000.example.com");
    worker.take(Message::Effects(vec![late]));
    while worker.has_reviews() {
        worker.review_some();
    }
    assert!(held.status().is_none() && waiting(&worker) == 2, "nobody knows what is there");
    drive(&mut worker).await;
    assert!(held.status().is_some());
    assert_eq!(waiting(&worker), 0);
    // After a call without an answer changes pause.
    world.clock.advance(Millis::from_secs(2));
    drive(&mut worker).await;
    let mut created = world.provider.created().concat();
    created.sort();
    assert_eq!(created, ["192.0.2.1", "192.0.2.1"]);
}

#[tokio::test]
async fn what_cannot_be_read_back_since_its_zone_was_deleted_ends_and_says_so() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    leave_a_batch_in_doubt(&world, &mut worker).await;
    let in_doubt = |worker: &Worker| worker.zones.get(&zone_id(0)).unwrap().in_doubt.len();
    assert_eq!(in_doubt(&worker), 1);
    let none = ZonePage { zones: vec![], next_marker: None };
    let now = worker.clock.now();
    worker.finish_discovery(Ok(ZoneListing::Zones(none)), now).await;
    while !worker.running.is_empty() {
        take_next(&mut worker).await;
    }
    assert_eq!(in_doubt(&worker), 0);
    let outcomes = world.store.outcomes.lock().unwrap().clone();
    assert_eq!(outcomes, [BatchOutcome::ZoneDeleted]);
}

#[tokio::test]
async fn an_account_is_settled_only_when_nothing_waits_to_be_looked_at() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, view) = world.idle_worker().await;
    worker.publish(worker.clock.now());
    assert!(view.borrow().is_settled());
    worker.take(Message::Effects(vec![wants(0, &www(0), "192.0.2.1")]));
    worker.publish(worker.clock.now());
    assert!(!view.borrow().is_settled());
    drive(&mut worker).await;
    worker.publish(worker.clock.now());
    assert!(view.borrow().is_settled());
    worker.note_all(&zone_id(0));
    worker.publish(worker.clock.now());
    assert!(!view.borrow().is_settled());
}

#[tokio::test]
async fn an_account_that_is_parked_again_for_the_same_reason_looks_at_nothing() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    worker.health = Health::Starting;
    worker.take(Message::Effects(vec![wants(0, &www(0), "192.0.2.1")]));
    worker.review_some();
    let mut parked_for = |why: &str| {
        worker.park(why.to_owned(), worker.clock.now());
        let noted = waiting(&worker);
        worker.review_some();
        noted
    };
    assert_eq!([parked_for("denied"), parked_for("denied"), parked_for("no network")], [1, 0, 1]);
}

/// How many names a running worker shows as pending when it is asked.
async fn pending(
    messages: &mpsc::Sender<Message>,
    view: &watch::Receiver<Arc<AccountView>>,
) -> usize {
    let (reply, published) = oneshot::channel();
    messages.send(Message::Query(Query::Publish { reply })).await.unwrap();
    published.await.unwrap();
    view.borrow().pending
}

#[tokio::test(start_paused = true)]
async fn messages_are_taken_and_answered_while_names_wait_at_the_gate() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let gate = Gate::new(1);
    let parts = WorkerParts { gate: gate.clone(), ..world.parts() };
    let (worker, view) = Worker::load(parts, vec![]).await.unwrap();
    let inside = GateTicket::before(gate).enter().await;
    let stop = worker.lease.stop().clone();
    let (messages, receiver) = mpsc::channel(1);
    let mut running = JoinSet::new();
    running.spawn(worker.run(receiver));
    let (effects, held) = flood("noisy", 3_000);
    let mut effects = effects.into_iter();
    for _ in 0..3 {
        messages.send(Message::Effects(effects.by_ref().take(1_000).collect())).await.unwrap();
    }
    assert_eq!((pending(&messages, &view).await, looked_at(&held)), (3_000, 0));
    drop(inside);
    let mut answered = 0;
    while looked_at(&held) < held.len() {
        pending(&messages, &view).await;
        answered += 1;
    }
    assert!(answered > 1, "nobody was answered while names were looked at");
    stop.cancel();
    running.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_name_that_ceased_to_wait_and_began_again_is_in_the_next_batch_once() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let (mut worker, _view) = world.idle_worker().await;
    worker.take(Message::Effects(vec![wants(0, &www(0), "192.0.2.1")]));
    worker.review_some();
    let work = Some((cluster("east"), 1));
    let zone = worker.zones.get_mut(&zone_id(0)).unwrap();
    zone.backlog.set(&name(&www(0)), None);
    zone.backlog.set(&name(&www(0)), work);
    drive(&mut worker).await;
    assert_eq!(world.provider.created(), [["192.0.2.1"]]);
}
