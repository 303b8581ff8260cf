//! A worker that is started while endpoints are still being loaded.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::world::{START, World, account, drive, requests, wants, www, zone_id};
use crate::broker::worker::zone::compare::{LATE_FOR, Page};
use crate::broker::worker::{AccountView, Message, Query, Worker};
use crate::core::batch::fold::wire_order;
use crate::core::ids::BatchId;
use crate::core::planning::change::{Action, Batch, BatchStamp};
use crate::core::testkit::name;
use crate::core::time::Millis;
use crate::ports::{BatchOutcome, BatchRow, Clock as _};

async fn loading(world: &mut World) -> Worker {
    Worker::load_state(world.parts()).await.unwrap().0
}

fn look_at_all(worker: &mut Worker) {
    while worker.loading.is_looking() {
        worker.review_some();
    }
}

#[tokio::test]
async fn before_everything_is_loaded_nothing_is_called_and_nothing_is_deleted() {
    let mut world = World::new(2, requests(100.0, 50.0));
    world.store.hold(0, &www(0), "192.0.2.1");
    world.store.hold(1, &www(1), "192.0.2.2");
    let mut worker = loading(&mut world).await;
    drive(&mut worker).await;
    worker.take(Message::Effects(vec![wants(0, &www(0), "192.0.2.1")]));
    drive(&mut worker).await;
    world.clock.advance(Millis::from_secs(60));
    drive(&mut worker).await;
    assert_eq!(
        world.calls(),
        ["identity"],
        "the other endpoint is not loaded yet, so it looks as if it were gone"
    );
    worker.take(Message::Effects(vec![wants(1, &www(1), "192.0.2.2")]));
    worker.take(Message::Loaded);
    drive(&mut worker).await;
    assert_eq!(world.calls(), ["identity"], "the names are still being looked at");
    look_at_all(&mut worker);
    drive(&mut worker).await;
    assert!(world.calls().contains(&"list_zones"));
    assert!(!world.calls().contains(&"change_records"), "everything is as it should be");
}

#[tokio::test]
async fn what_nobody_wants_when_everything_is_loaded_goes() {
    let mut world = World::new(1, requests(100.0, 50.0));
    world.store.hold(0, &www(0), "192.0.2.1");
    let mut worker = loading(&mut world).await;
    drive(&mut worker).await;
    worker.take(Message::Loaded);
    look_at_all(&mut worker);
    drive(&mut worker).await;
    let changes = world.provider.changes.lock().unwrap();
    assert!(
        matches!(&changes[..], [(_, change)] if change.len() == 1 && change[0].action == Action::Delete),
        "{changes:?}"
    );
}

#[tokio::test]
async fn what_a_call_of_an_earlier_life_makes_late_is_known_to_be_ours() {
    for (age, is_ours) in [(Millis(1), true), (LATE_FOR, false)] {
        let mut world = World::new(1, requests(100.0, 50.0));
        // An earlier life planned it, lost its answer and read it back.
        let mut earlier = loading(&mut world).await;
        earlier.take(Message::Effects(vec![wants(0, &www(0), "192.0.2.1")]));
        let state = &mut earlier.zones.get_mut(&zone_id(0)).unwrap().state;
        let units = state.units(&name(&www(0)), START);
        let wire = wire_order(&units);
        let id = BatchId(uuid::Uuid::from_u128(9));
        let batch = Batch {
            id,
            account: account(),
            zone: zone_id(0),
            planned_at: START,
            stamp: BatchStamp::default(),
            wire,
            units,
        };
        let made = batch.wire[0].set.clone();
        let row =
            BatchRow { batch, outcome: Some(BatchOutcome::not_found()), finished_at: Some(START) };
        world.store.lost.lock().unwrap().push(row);
        world.clock.advance(age);
        let now = world.clock.now();
        let mut worker = loading(&mut world).await;
        let state = &mut worker.zones.get_mut(&zone_id(0)).unwrap().state;
        state.compare(&Page { from: None, until: None, sets: vec![made] }, now);
        let owner = state.records(None, 1)[0].1.owner.clone();
        assert_eq!(
            owner.map(|owner| owner.batch),
            is_ours.then_some(id),
            "{age:?} after it was planned"
        );
    }
}

/// The view of a running worker, published on demand.
async fn shown(
    messages: &mpsc::Sender<Message>,
    view: &watch::Receiver<Arc<AccountView>>,
) -> Arc<AccountView> {
    let (reply, published) = oneshot::channel();
    messages.send(Message::Query(Query::Publish { reply })).await.unwrap();
    published.await.unwrap();
    Arc::clone(&view.borrow())
}

#[tokio::test]
async fn a_start_takes_messages_while_it_looks_at_names() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let names: Vec<String> = (0..5_000).map(|i| format!("n{i}.zone-00000.example.com")).collect();
    let (worker, view) = Worker::load_state(world.parts()).await.unwrap();
    let stop = worker.lease.stop().clone();
    // Nothing is journalled, so what waits stays there to be counted.
    world.store.journal.forget_permits(usize::MAX);
    let (messages, receiver) = mpsc::channel(1);
    let mut running = JoinSet::new();
    running.spawn(worker.run(receiver));
    for some in names.chunks(1_000) {
        let effects = some.iter().map(|owner| wants(0, owner, "192.0.2.1")).collect();
        messages.send(Message::Effects(effects)).await.unwrap();
    }
    let before = shown(&messages, &view).await;
    assert!(before.loading && !before.is_settled() && before.pending == 0);
    messages.send(Message::Loaded).await.unwrap();
    let mut answered = 0;
    while shown(&messages, &view).await.loading {
        answered += 1;
    }
    assert!(answered > 1, "nobody was answered while names were looked at");
    messages
        .send(Message::Effects(vec![wants(0, "late.zone-00000.example.com", "192.0.2.2")]))
        .await
        .unwrap();
    assert!(
        shown(&messages, &view).await.pending >= 4_001,
        "a batch that is being journalled holds 1,000 at most"
    );
    stop.cancel();
    world.store.journal.add_permits(1);
    running.join_next().await.unwrap().unwrap();
}
