//! Agents that are stuck: they keep their connection and read nothing, or say nothing. What that costs is counted.

use std::collections::HashMap;
use std::time::Duration;

use zonefold::app::broker::BrokerOptions;
use zonefold::broker::ingest::Limits;
use zonefold::core::ids::ClusterId;

use zonefold::emulator::{Action, FaultEffect};

use super::*;

/// Longer than a stop without any wait takes, and shorter than the broker's deadline for it.
const A_STOP: Duration = Duration::from_secs(20);

fn named(number: usize, round: usize) -> Endpoint {
    endpoint(
        &format!("host{number}"),
        &format!("10.{}.{}.{}", round, number / 250, number % 250 + 1),
    )
}

/// Says Ping until the broker accepts no more; answers how many it accepted.
async fn pings_until_nobody_listens(raw: &Raw) -> usize {
    let ping = || v1::AgentMessage { message: Some(Up::Ping(v1::Ping { nonce: 7 })) };
    let mut sent = 0;
    // The broker has stopped listening when there has been no room for a message for a while.
    while let Ok(Ok(())) =
        tokio::time::timeout(Duration::from_millis(1_500), raw.up.send(ping())).await
    {
        sent += 1;
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_reads_nothing_is_not_read_either_and_holds_up_neither_its_successor_nor_a_stop()
 {
    let mut world = World::start(Plan::default()).await;
    let mut deaf = Raw::open(&world, TOKEN).await.unwrap();
    deaf.hello("east", UID, &[], true).await.unwrap();
    deaf.snapshot(&[]).await;
    // Each is answered; what is answered and not read is bounded by the windows of the connection.
    let sent = pings_until_nobody_listens(&deaf).await;
    assert!(
        (64..500_000).contains(&sent),
        "{sent} messages were taken of an agent that reads nothing"
    );
    let mut next = Raw::open(&world, TOKEN).await.unwrap();
    next.hello("east", UID, &[], true).await.unwrap();
    next.change(1, vec![v1::operation::Operation::Put(put(&endpoint("a", "192.0.2.1")))]).await;
    assert!(matches!(next.hear().await.unwrap(), Down::Ack(v1::Ack { seq: 1, .. })));
    // Neither is the old session left over when the broker stops, nor is one that is deaf now.
    let mut also_deaf = Raw::open(&world, TOKEN).await.unwrap();
    also_deaf.hello("west", UID, &[], true).await.unwrap();
    pings_until_nobody_listens(&also_deaf).await;
    drop(next);
    tokio::time::timeout(A_STOP, world.stop_broker())
        .await
        .expect("a deaf agent holds up the broker's stop");
    drop((deaf, also_deaf));
    world.stop().await;
}

/// A status stream whose reader has little room for what it does not read.
async fn watch_without_room(world: &World) -> Streaming<v1::StatusBatch> {
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{}", world.grpc())).unwrap();
    let channel = endpoint
        .initial_stream_window_size(16 * 1024)
        .initial_connection_window_size(64 * 1024)
        .connect()
        .await
        .unwrap();
    let mut request = Request::new(v1::WatchStatusRequest {
        cluster: "east".to_owned(),
        held_digests: bytes::Bytes::new(),
    });
    request
        .metadata_mut()
        .insert("authorization", MetadataValue::try_from(format!("Bearer {TOKEN}")).unwrap());
    FederationClient::new(channel).watch_status(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_stream_that_nobody_reads_keeps_the_latest_of_each_endpoint_and_does_not_hold_up_a_stop()
 {
    const ENDPOINTS: usize = 1_000;
    const ROUNDS: usize = 30;
    let mut world = World::start(Plan::default()).await;
    // Route 53 is away: the status that an endpoint waits for it is sent again whenever its content changes.
    world.fault(Action::ChangeResourceRecordSets, None, FaultEffect::HttpError { status: 503 });
    let mut held: Vec<Endpoint> = (0..ENDPOINTS).map(|number| named(number, 0)).collect();
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    raw.hello("east", UID, &held, true).await.unwrap();
    raw.snapshot(&held).await;
    let mut unread = watch_without_room(&world).await;
    for round in 1..=ROUNDS {
        held = (0..ENDPOINTS).map(|number| named(number, round)).collect();
        for (part, chunk) in held.chunks(250).enumerate() {
            let seq = 1 + (round - 1) * ENDPOINTS / 250 + part + 1;
            raw.change(
                seq as u64,
                chunk.iter().map(|e| v1::operation::Operation::Put(put(e))).collect(),
            )
            .await;
            while !matches!(raw.hear().await.unwrap(), Down::Ack(v1::Ack { seq: acked, .. }) if acked == seq as u64)
            {
            }
        }
        let endpoints = world.broker().endpoints(&ClusterId::parse("east").unwrap());
        world
            .until("every endpoint has a status", |_| endpoints.counts().endpoints == ENDPOINTS)
            .await;
    }
    let mut newest: HashMap<String, bytes::Bytes> = HashMap::new();
    let wanted: HashMap<String, bytes::Bytes> =
        held.iter().map(|e| (e.key.object.to_string(), e.version().0.to_vec().into())).collect();
    let mut read = 0;
    while newest != wanted {
        let next = tokio::time::timeout(Duration::from_secs(30), unread.message())
            .await
            .expect("something is missing");
        for status in next.unwrap().unwrap().statuses {
            read += 1;
            newest.insert(status.key.unwrap().object, status.version);
        }
    }
    // The statuses on their way when the reading stopped, and then each endpoint once, in all its states at most twice.
    assert!(
        read < ENDPOINTS * ROUNDS / 3,
        "{read} statuses were kept for a reader that did not read"
    );
    let deaf = (watch_without_room(&world).await, unread);
    drop(raw);
    tokio::time::timeout(A_STOP, world.stop_broker())
        .await
        .expect("a deaf reader of statuses holds up the broker's stop");
    drop(deaf);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_falls_silent_is_let_go_and_what_it_wanted_stays() {
    let mut world = World::start(Plan::default()).await;
    world.stop_broker().await;
    let (config, options) = world.broker_parts();
    let limits = Limits { heartbeat: Duration::from_millis(200), ..Limits::default() };
    let bound =
        zonefold::app::broker::build(&config, BrokerOptions { limits, ..options }).await.unwrap();
    let (grpc, stop) = (bound.grpc, tokio_util::sync::CancellationToken::new());
    let running = tokio::spawn(bound.run(stop.clone()));
    let mut silent = Raw::open_at(grpc, TOKEN).await.unwrap();
    let held = [endpoint("a", "192.0.2.1")];
    silent.hello("east", UID, &held, true).await.unwrap();
    silent.snapshot(&held).await;
    // The connection is there all the time, and nothing is said over it.
    let status = silent.hear().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    world.until("what it wanted is there", |w| w.record("a.example.com", "A").is_some()).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    world.stop().await;
}

/// Tasks that live in this process, the test's own included.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_agents_that_come_at_once_costs_the_same_few_tasks_and_leaves_none() {
    const AGENTS: usize = 200;
    /// At the agent's end a connection, its buffer and its dispatcher; at the broker's a connection, a stream and a session.
    const EACH: usize = 12;
    let clusters: Vec<&'static str> =
        (0..AGENTS).map(|n| &*Box::leak(format!("c{n}").into_boxed_str())).collect();
    let world = World::start(Plan { clusters: clusters.clone(), ..Plan::default() }).await;
    world.wait_idle().await;
    let before = tasks();
    for round in 1..=3 {
        let world = &world;
        let opening = clusters.iter().map(async |cluster| {
            let mut raw = Raw::open(world, TOKEN).await.unwrap();
            raw.hello(cluster, UID, &[], true).await.unwrap();
            if round == 1 {
                raw.snapshot(&[]).await;
            }
            raw
        });
        let open = futures::future::join_all(opening).await;
        let with_all = tasks();
        assert!(
            with_all <= before + AGENTS * EACH,
            "{} tasks for {AGENTS} agents",
            with_all - before
        );
        drop(open);
        world.until("their tasks are gone", |_| tasks() <= before + EACH).await;
    }
    world.stop().await;
}
