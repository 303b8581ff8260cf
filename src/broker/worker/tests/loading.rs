//! A worker that is started while what clusters want is still being loaded.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::world::{World, drive, requests, wants, www};
use crate::broker::worker::{Message, Worker};
use crate::core::time::Millis;

async fn loading(world: &mut World) -> Worker {
    Worker::load_books(world.parts(), CancellationToken::new()).await.unwrap().0
}

fn look_at_all(worker: &mut Worker) {
    while worker.loading.is_looking() {
        worker.look_at_some();
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
    world.clock.advance(Millis::from_secs(3_600));
    drive(&mut worker).await;
    assert_eq!(world.calls(), ["identity"], "the other endpoint is not loaded yet, so it looks as if it were gone");
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
    assert!(matches!(&changes[..], [(_, change)] if change.len() == 1), "{changes:?}");
    assert!(world.provider.created()[0].is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_start_takes_messages_while_it_looks_at_names() {
    let mut world = World::new(1, requests(100.0, 50.0));
    let names: Vec<String> = (0..5_000).map(|i| format!("n{i}.zone-00000.example.com")).collect();
    let stop = CancellationToken::new();
    let (worker, mut view) = Worker::load_books(world.parts(), stop.clone()).await.unwrap();
    let (messages, receiver) = mpsc::channel(1);
    let running = tokio::spawn(worker.run(receiver));
    for some in names.chunks(1_000) {
        let effects = some.iter().map(|owner| wants(0, owner, "192.0.2.1")).collect();
        messages.send(Message::Effects(effects)).await.unwrap();
    }
    assert!(world.provider.created().is_empty() && view.borrow().loading && !view.borrow().is_settled());
    messages.send(Message::Loaded).await.unwrap();
    messages.send(Message::Effects(vec![wants(0, "late.zone-00000.example.com", "192.0.2.2")])).await.unwrap();
    let view = Arc::clone(&view.wait_for(|view| !view.loading).await.unwrap());
    assert!(view.pending >= 5_001 - 1_000, "{}", view.pending);
    stop.cancel();
    running.await.unwrap();
}
