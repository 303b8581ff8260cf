//! The cost of coming back: statuses that are held already, many Hellos at once, a broker that still loads, a snapshot that
//! breaks off.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zonefold::agent::KeepAlive;
use zonefold::agent::status::StatusBook;
use zonefold::app::broker::listen;
use zonefold::broker::directory::cluster::StatusCounts;
use zonefold::core::ids::ClusterId;

use super::*;
use crate::support::relay::Relay;
use crate::support::world::{Cluster, temporary};

/// Fails a test that waits for what never comes.
async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .unwrap_or_else(|_| panic!("it never came to this: {what}"))
}

async fn next(stream: &mut Streaming<v1::StatusBatch>) -> v1::StatusBatch {
    in_time("a batch of statuses", stream.message()).await.unwrap().unwrap()
}

fn key_names(statuses: &[v1::EndpointStatus]) -> BTreeSet<String> {
    statuses.iter().map(|status| status.key.clone().unwrap().object).collect()
}

/// Watches until the replay is done; answers the objects that it named and the buckets that it covered.
async fn replay(world: &World, book: &mut StatusBook) -> (BTreeSet<String>, Option<Bytes>) {
    let mut stream = watch(world, book.held_digests()).await.unwrap();
    book.begin_replay();
    let mut named = BTreeSet::new();
    loop {
        let batch = next(&mut stream).await;
        named.extend(key_names(&batch.statuses));
        let (done, scope) = (batch.replay_done, batch.replay_scope.clone());
        book.take(batch);
        if done {
            return (named, scope.map(|scope| scope.buckets));
        }
    }
}

fn held_objects(book: &StatusBook) -> BTreeSet<String> {
    book.iter().map(|status| status.key.clone().unwrap().object).collect()
}

/// Waits until `in_sync` endpoints of east are in sync and `rejected` are rejected: from then on nothing changes by itself.
async fn at_rest(world: &World, in_sync: usize, rejected: usize) {
    let endpoints = world.broker().endpoints(&ClusterId::parse("east").unwrap());
    let rests = |counts: StatusCounts| {
        (counts.endpoints, counts.in_sync, counts.rejected)
            == (in_sync + rejected, in_sync, rejected)
    };
    world.until("everything is in sync", |_| rests(endpoints.counts())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_that_the_agent_holds_are_not_sent_again_not_even_after_a_restart_of_the_broker() {
    let mut world = World::start(Plan::default()).await;
    let mut held: Vec<Endpoint> =
        (0..40).map(|n| endpoint(&format!("host{n}"), "192.0.2.1")).collect();
    held.push(endpoint("bad", "no-address"));
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    raw.hello("east", UID, &held, true).await.unwrap();
    raw.snapshot(&held).await;
    at_rest(&world, 40, 1).await;
    let mut book = StatusBook::default();
    let (named, scope) = replay(&world, &mut book).await;
    assert_eq!((named.len(), scope), (41, None));
    drop(raw);

    world.stop_broker().await;
    world.start_broker().await;
    world.wait_idle().await;
    at_rest(&world, 40, 1).await;
    assert_eq!(
        replay(&world, &mut book).await,
        (BTreeSet::new(), Some(Bytes::new())),
        "nothing has changed"
    );
    assert_eq!(held_objects(&book).len(), 41);

    // One changes, one goes, while no agent watches.
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    assert_eq!(raw.hello("east", UID, &held, true).await.unwrap().0, Mode::Resume);
    let gone = v1::Del { key: Some((&held[1].key).into()), ..v1::Del::default() };
    let changed = put(&endpoint("host0", "192.0.2.9"));
    raw.change(
        1,
        vec![v1::operation::Operation::Put(changed), v1::operation::Operation::Del(gone)],
    )
    .await;
    assert!(matches!(raw.hear().await.unwrap(), Down::Ack(_)));
    world.until("host0 has moved", |w| w.values("host0.example.com", "A") == ["192.0.2.9"]).await;
    at_rest(&world, 39, 1).await;
    let bucket = |n: usize| SetDigest::bucket_of(&held[n].key.hash());
    let (named, scope) = replay(&world, &mut book).await;
    let covered: BTreeSet<u8> = scope.unwrap().iter().copied().collect();
    assert_eq!(covered, BTreeSet::from([bucket(0), bucket(1)]));
    let in_covered = |e: &&Endpoint| {
        covered.contains(&SetDigest::bucket_of(&e.key.hash())) && e.key.object != "host1"
    };
    assert_eq!(named, held.iter().filter(in_covered).map(|e| e.key.object.to_string()).collect());
    assert!(
        named.contains("host0") && !held_objects(&book).contains("host1"),
        "what vanished is told"
    );
    assert_eq!(held_objects(&book).len(), 40);
    assert_eq!(replay(&world, &mut book).await, (BTreeSet::new(), Some(Bytes::new())));

    let status = watch(&world, Bytes::from_static(&[1; 31])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    drop(raw);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_resumed_tells_every_later_change() {
    let world = World::start(Plan::default()).await;
    let held: Vec<Endpoint> = (0..20).map(|n| endpoint(&format!("host{n}"), "192.0.2.1")).collect();
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    raw.hello("east", UID, &held, true).await.unwrap();
    raw.snapshot(&held).await;
    at_rest(&world, 20, 0).await;
    let mut book = StatusBook::default();
    replay(&world, &mut book).await;
    let mut stream = watch(&world, book.held_digests()).await.unwrap();
    assert!(next(&mut stream).await.replay_done);
    for (seq, n) in [(2, 3), (3, 11), (4, 7)] {
        raw.change(
            seq,
            vec![v1::operation::Operation::Put(put(&endpoint(&format!("host{n}"), "192.0.2.77")))],
        )
        .await;
        let wanted = BTreeSet::from([format!("host{n}")]);
        loop {
            let batch = next(&mut stream).await;
            assert!(batch.replay_scope.is_none() && !batch.replay_done);
            assert_eq!(key_names(&batch.statuses), wanted);
            if batch.statuses.iter().any(|status| status.progress() == v1::Progress::InSync) {
                break;
            }
        }
    }
    drop(raw);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_back_to_an_unchanged_cluster_costs_less_than_32_kib() {
    let mut world = World::start(Plan::default()).await;
    let relay = Relay::start(world.grpc()).await;
    let cluster = Cluster::start("east", relay.address, &world.data.join("east")).await;
    let owners: Vec<String> = (0..300).map(|n| format!("host{n}.example.com")).collect();
    let wishes: Vec<(&str, &str, &[&str])> =
        owners.iter().map(|owner| (owner.as_str(), "A", &["192.0.2.1"][..])).collect();
    cluster.wants("many", &wishes);
    cluster.acked(300).await;
    at_rest(&world, 300, 0).await;
    let all_in_sync = |state: &zonefold::agent::State| {
        state.statuses.iter().filter(|status| status.progress() == v1::Progress::InSync).count()
            == 300
    };
    in_time("the agent knows that all are in sync", cluster.agent.wait_until(all_in_sync)).await;
    // A broker that starts asks after the changes of the last minute, by the clock, and tells their statuses anew.
    tokio::time::sleep(Duration::from_secs(61)).await;
    world.stop_broker().await;
    in_time("the session ends", cluster.agent.wait_until(|state| !state.publisher.is_live())).await;

    world.start_broker().await;
    world.wait_idle().await;
    relay.lead_to(world.grpc());
    let before = relay.bytes();
    cluster.acked(300).await;
    // A change goes the whole way: the statuses before it have come when its own has.
    let more: Vec<(&str, &str, &[&str])> =
        wishes.iter().copied().chain([("one-more.example.com", "A", &["192.0.2.1"][..])]).collect();
    cluster.wants("many", &more);
    let all_held = cluster.agent.wait_until(|state| state.statuses.iter().count() == 301);
    in_time("the agent holds the statuses of all", all_held).await;
    let bytes = relay.bytes() - before;
    assert!(bytes < 16_384, "{bytes} bytes for a reconnect and one change");
    cluster.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_leaves_a_connection_that_is_dead_and_reaches_the_broker_by_a_new_one() {
    let world = World::start(Plan::default()).await;
    let relay = Relay::start(world.grpc()).await;
    let (interval, timeout) = (Duration::from_millis(500), Duration::from_secs(1));
    let home = world.data.join("east");
    let keep_alive = KeepAlive { interval, timeout };
    let cluster = Cluster::start_with("east", relay.address, &home, keep_alive).await;
    cluster.wants("one", &[("host1.example.com", "A", &["192.0.2.1"])]);
    cluster.acked(1).await;
    let epoch = cluster.agent.read(|state| state.publisher.epoch());
    let made = relay.made();
    relay.strand();
    cluster.wants("two", &[("host2.example.com", "A", &["192.0.2.2"])]);
    // Sooner than three heartbeats of silence, after which the session would be lost in any case.
    let acked = cluster
        .agent
        .wait_until(|state| state.index.digest().count() == 2 && state.publisher.is_converged());
    tokio::time::timeout(Duration::from_secs(20), acked).await.expect("it left the connection");
    assert!(cluster.agent.read(|state| state.publisher.epoch()) > epoch && relay.made() > made);
    let told = cluster.agent.wait_until(|state| {
        state.statuses.iter().filter(|one| one.progress() == v1::Progress::InSync).count() == 2
    });
    in_time("the statuses come over the new connection", told).await;
    cluster.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hellos_of_one_cluster_at_once_open_one_after_the_other_and_the_last_stays() {
    let world = World::start(Plan::default()).await;
    let mut raws = vec![];
    for _ in 0..12 {
        raws.push(Raw::open(&world, TOKEN).await.unwrap());
    }
    let opened =
        futures::future::join_all(raws.into_iter().enumerate().map(async |(n, mut raw)| {
            let cluster = if n % 3 == 0 { "west" } else { "east" };
            let epoch = raw.hello(cluster, UID, &[], true).await.unwrap().1;
            (cluster, epoch, raw)
        }))
        .await;
    for (cluster, sessions) in [("west", 4), ("east", 8)] {
        let epochs: BTreeSet<u64> =
            opened.iter().filter(|(of, ..)| *of == cluster).map(|(_, epoch, _)| *epoch).collect();
        assert_eq!(epochs, (1..=sessions).collect());
    }
    for (cluster, epoch, mut raw) in opened {
        let newest = if cluster == "west" { 4 } else { 8 };
        if epoch < newest {
            assert_eq!(raw.goes_away().await.0, Reason::Superseded);
        } else {
            raw.snapshot(&[]).await;
        }
    }
    world.stop().await;
}

async fn http_get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        )
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_still_loads_says_so_and_lets_agents_wait() {
    let mut world = World::start(Plan::default()).await;
    world.stop_broker().await;
    let (config, options) = world.broker_parts();
    let listening = listen(&config, options).unwrap();
    let (grpc, http) = (listening.grpc, listening.http);
    assert!(http_get(http, "/healthz").await.starts_with("HTTP/1.1 200"));
    let ready = http_get(http, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("opening the store"), "{ready}");
    let zones = http_get(http, "/api/v1/zones").await;
    assert!(
        zones.starts_with("HTTP/1.1 503") && zones.contains("urn:zonefold:problem:starting"),
        "{zones}"
    );

    assert_eq!(
        Raw::open_at(grpc, "another-token").await.err().unwrap().code(),
        Code::Unauthenticated
    );
    // The call is taken, and Hello waits for its answer.
    let mut raw = Raw::open_at(grpc, TOKEN).await.unwrap();
    let waiting = tokio::spawn(async move {
        raw.hello("east", UID, &[], true).await.unwrap();
        raw
    });
    let bound = listening.start().await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let handle = bound.handle();
    let serving = tokio::spawn(bound.run(stop.clone()));
    drop(waiting.await.unwrap());
    handle.wait_idle().await;
    assert!(http_get(http, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(http_get(http, "/api/v1/zones").await.contains("example.com"));
    stop.cancel();
    serving.await.unwrap().unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_dropped_frees_its_ports_and_sends_agents_away() {
    let mut world = World::start(Plan::default()).await;
    world.stop_broker().await;
    let (config, options) = world.broker_parts();
    let listening = listen(&config, options).unwrap();
    let grpc = listening.grpc;
    let mut raw = Raw::open_at(grpc, TOKEN).await.unwrap();
    drop(listening);
    assert_eq!(raw.hear().await.unwrap_err().code(), Code::Unavailable);
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    while tokio::net::TcpListener::bind(grpc).await.is_err() {
        assert!(tokio::time::Instant::now() < until, "the port is still taken");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.stop().await;
}

/// Endpoints outside of every zone: they are stored, and nothing else happens.
fn homeless(numbers: std::ops::Range<u32>) -> Vec<Endpoint> {
    numbers
        .map(|n| {
            let mut endpoint = endpoint(&format!("n{n:05}"), "192.0.2.1");
            endpoint.key.dns_name = format!("n{n:05}.elsewhere.test").into();
            endpoint
        })
        .collect()
}

impl Raw {
    /// Begins a snapshot in the order of names and sends its first endpoints.
    async fn begin_by_name(&mut self, held: &[Endpoint], sent: usize) {
        let digest = digest(held);
        let root_digest = digest.root().to_vec().into();
        self.say(Up::SnapshotBegin(v1::SnapshotBegin {
            seq: 1,
            count: digest.count(),
            root_digest,
            by_name: true,
        }))
        .await;
        for piece in held[..sent].chunks(700) {
            self.say(Up::SnapshotChunk(v1::SnapshotChunk {
                puts: piece.iter().map(put).collect(),
            }))
            .await;
        }
    }

    async fn end_snapshot(&mut self, synced: bool) {
        let sources =
            vec![v1::SourceState { kind: "ingress".to_owned(), synced, last_error: String::new() }];
        self.say(Up::SnapshotEnd(v1::SnapshotEnd { sources })).await;
        assert!(matches!(self.hear().await.unwrap(), Down::Ack(v1::Ack { seq: 1, .. })));
    }

    /// Answers what the broker asks when it compares; answers how many bodies it wants.
    pub(super) async fn compare(&mut self, held: &[Endpoint]) -> usize {
        assert!(matches!(self.hear().await.unwrap(), Down::DiffRequest(_)));
        self.say(Up::BucketDigests(v1::BucketDigests { digests: digest(held).to_bytes().into() }))
            .await;
        let Down::BucketRequest(request) = self.hear().await.unwrap() else {
            panic!("no BucketRequest")
        };
        let in_asked = |e: &&Endpoint| {
            request.buckets.contains(&u32::from(SetDigest::bucket_of(&e.key.hash())))
        };
        let entries: Vec<u8> = held
            .iter()
            .filter(in_asked)
            .flat_map(|e| [e.key.hash().0, e.version().0].concat())
            .collect();
        self.say(Up::KeyVersions(v1::KeyVersions { entries: entries.into(), last: true })).await;
        let Down::BodyRequest(request) = self.hear().await.unwrap() else {
            panic!("no BodyRequest")
        };
        request.key_hashes.len() / 32
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_breaks_off_has_deleted_nothing_and_the_next_one_finds_what_is_gone() {
    let world = World::start(Plan::default()).await;
    let east = ClusterId::parse("east").unwrap();
    let stored = |world: &World| world.broker().directory.endpoint_count(&east);

    // The first attempt: parts of it are durable although its end never comes.
    let first = homeless(0..2_000);
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    assert_eq!(raw.hello("east", UID, &first, true).await.unwrap().0, Mode::Snapshot);
    raw.begin_by_name(&first, 1_500).await;
    world.until("whole parts are durable", |world| stored(world) >= 1_000).await;
    drop(raw);

    // The second says something else, and breaks off too: nothing of the first is gone.
    let second = homeless(1_200..3_000);
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    assert_eq!(
        raw.hello("east", UID, &second, true).await.unwrap().0,
        Mode::Snapshot,
        "the first was never completed"
    );
    let before = stored(&world);
    raw.begin_by_name(&second, 1_400).await;
    world.until("more of it is durable", |world| stored(world) > before).await;
    drop(raw);
    world.broker().wait_idle().await;
    let after = stored(&world);

    // The third comes to its end while its source is not complete: absence means nothing.
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    assert_eq!(raw.hello("east", UID, &second, false).await.unwrap().0, Mode::Snapshot);
    raw.begin_by_name(&second, second.len()).await;
    raw.end_snapshot(false).await;
    assert_eq!(raw.compare(&second).await, 0);
    world.broker().wait_idle().await;
    assert!(stored(&world) >= after.max(second.len()), "{} of {after}", stored(&world));
    drop(raw);

    // Now the source is complete, and what the first attempt left is gone.
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    assert_eq!(
        raw.hello("east", UID, &second, true).await.unwrap().0,
        Mode::Diff,
        "the cluster is known"
    );
    raw.say(Up::BucketDigests(v1::BucketDigests { digests: digest(&second).to_bytes().into() }))
        .await;
    let Down::BucketRequest(_) = raw.hear().await.unwrap() else { panic!("no BucketRequest") };
    let entries: Vec<u8> =
        second.iter().flat_map(|e| [e.key.hash().0, e.version().0].concat()).collect();
    raw.say(Up::KeyVersions(v1::KeyVersions { entries: entries.into(), last: true })).await;
    world.until("the rest is gone", |world| stored(world) == second.len()).await;
    drop(raw);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_in_parts_that_does_not_add_up_completes_nothing() {
    let world = World::start(Plan::default()).await;
    let held = homeless(0..1_200);
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    raw.hello("east", UID, &held, true).await.unwrap();
    raw.begin_by_name(&held, 1_199).await;
    raw.say(Up::SnapshotEnd(v1::SnapshotEnd::default())).await;
    let (reason, detail) = raw.goes_away().await;
    assert!(
        reason == Reason::Protocol && detail.contains("announced 1200 endpoints and holds 1199"),
        "{detail}"
    );
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    assert_eq!(raw.hello("east", UID, &held, true).await.unwrap().0, Mode::Snapshot);
    raw.begin_by_name(&held, held.len()).await;
    raw.end_snapshot(true).await;
    drop(raw);
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    assert_eq!(raw.hello("east", UID, &held, true).await.unwrap().0, Mode::Resume);
    drop(raw);
    world.stop().await;
}

/// A SIGTERM while the store does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_told_to_stop_while_it_starts_stops_at_once() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let data = temporary("starting");
    let mut config = crate::support::world::broker_config(&Plan::default(), &data);
    config["store"] =
        format!("postgres://zonefold:x@{}/zonefold", silent.local_addr().unwrap()).into();
    std::fs::write(data.join("broker.yaml"), config.to_string()).unwrap();
    let path = data.join("broker.yaml");
    let arguments = [std::ffi::OsStr::new("broker"), "--config".as_ref(), path.as_os_str()];
    let mut command = crate::support::process::zonefold(&data, arguments);
    command
        .env("AWS_ACCESS_KEY_ID", "x")
        .env("AWS_SECRET_ACCESS_KEY", "x")
        .env("AWS_REGION", "us-east-1");
    let mut broker = crate::support::process::Process::start("the broker", command);
    let line = broker.says("listening; the broker starts").await;
    let http: std::net::SocketAddr = line["http"].as_str().unwrap().parse().unwrap();
    assert!(http_get(http, "/readyz").await.contains("opening the store"));
    let at = std::time::Instant::now();
    broker.stop().await;
    assert!(at.elapsed() < Duration::from_secs(5), "{:?}", at.elapsed());
    let _removed = std::fs::remove_dir_all(&data);
}
