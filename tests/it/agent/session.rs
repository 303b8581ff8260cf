//! The rules of the stream (design section 6), in virtual time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zonefold::agent::index::Index;
use zonefold::agent::session;
use zonefold::agent::session::publisher::{Identity, Publisher};
use zonefold::agent::shared::Shared;
use zonefold::agent::sources::{Extraction, ObjectRef, SourceKind};
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::wire::convert::{key_hashes_to_wire, key_versions_from_wire};
use zonefold::wire::v1::agent_message::Message as FromAgent;
use zonefold::wire::v1::broker_message::Message as ToAgent;
use zonefold::wire::v1::{self, go_away::Reason, operation::Operation, welcome::Mode};

use super::fake_broker::{FakeBroker, FakeSession, PLENTY};

struct Agent {
    shared: Arc<Shared>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

fn object(name: &str) -> ObjectRef {
    ObjectRef { source: SourceKind::Service, namespace: "default".into(), name: name.into() }
}

fn endpoint(name: &str, target: &str) -> Endpoint {
    let key = EndpointKey {
        source: "service".into(),
        namespace: "default".into(),
        object: name.into(),
        dns_name: "www.example.com".into(),
        record_type: "A".into(),
        set_identifier: "".into(),
    };
    Endpoint { key, targets: vec![target.into()], ..Endpoint::default() }
}

fn wants(name: &str, target: &str) -> Extraction {
    Extraction { endpoints: vec![endpoint(name, target)], ..Extraction::default() }
}

impl Agent {
    fn unsynced(broker: &FakeBroker) -> Self {
        let identity = Identity {
            cluster: "dev".into(),
            kube_system_uid: "uid".into(),
            instance_id: "instance".into(),
        };
        let shared = Shared::new(Index::new([SourceKind::Service]), Publisher::new(identity));
        let shutdown = CancellationToken::new();
        let random = fastrand::Rng::with_seed(1);
        let task =
            tokio::spawn(session::run(broker.access(), shared.clone(), random, shutdown.clone()));
        Self { shared, shutdown, task }
    }

    fn with(broker: &FakeBroker, names: &[&str]) -> Self {
        let agent = Self::unsynced(broker);
        agent.list(names);
        agent
    }

    fn list(&self, names: &[&str]) {
        let objects =
            names.iter().map(|name| (object(name), "f".into(), wants(name, "192.0.2.1"))).collect();
        self.shared.change(|index| index.reset(SourceKind::Service, objects));
    }

    fn want(&self, name: &str, target: &str) {
        self.shared.change(|index| index.apply(&object(name), &"f".into(), wants(name, target)));
    }

    async fn converged(&self) {
        self.shared.wait_until(|state| state.publisher.is_converged()).await;
    }
}

fn said(changes: &v1::Changes) -> Vec<String> {
    let say = |operation: &v1::Operation| match operation.operation.clone().unwrap() {
        Operation::Put(put) => {
            let endpoint = put.endpoint.unwrap();
            format!("put {} {}", endpoint.key.unwrap().object, endpoint.targets.join(","))
        }
        Operation::Del(del) => format!("del {} {:?}", del.key.clone().unwrap().object, del.cause()),
    };
    changes.operations.iter().map(say).collect()
}

async fn resumed(broker: &mut FakeBroker) -> FakeSession {
    let (session, _) = broker.accept().await;
    session.welcome(Mode::Resume, PLENTY);
    session
}

#[tokio::test(start_paused = true)]
async fn equal_digests_send_nothing_but_heartbeats() {
    let mut broker = FakeBroker::spawn();
    let agent = Agent::with(&broker, &["a", "b"]);
    let (mut session, hello) = broker.accept().await;
    let resume = hello.resume.unwrap();
    assert_eq!((resume.count, hello.cluster.as_str()), (2, "dev"));
    assert!(hello.sources[0].synced);
    assert_eq!(session.authorization.as_deref(), Some("Bearer token"));
    session.welcome(Mode::Resume, PLENTY);
    agent.converged().await;
    let heartbeat = session.heartbeat().await;
    assert_eq!(
        (heartbeat.root_digest, heartbeat.count, heartbeat.through_seq),
        (resume.root_digest, 2, 0)
    );
    session.quiet_for(120).await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_whole_and_changes_wait_for_its_acknowledgement() {
    let mut broker = FakeBroker::spawn();
    let agent = Agent::with(&broker, &["a", "b", "c"]);
    let (mut session, _) = broker.accept().await;
    session.welcome(Mode::Snapshot, PLENTY);
    let FromAgent::SnapshotBegin(begin) = session.next_word().await else { panic!("begin") };
    agent.want("a", "192.0.2.2");
    let mut digest = zonefold::core::endpoint::digest::SetDigest::default();
    loop {
        match session.next_word().await {
            FromAgent::SnapshotChunk(chunk) => chunk.puts.into_iter().for_each(|put| {
                let endpoint = Endpoint::try_from(put.endpoint.unwrap()).unwrap();
                digest.insert(&endpoint.key.hash(), &endpoint.version());
            }),
            FromAgent::SnapshotEnd(end) => break assert!(end.sources[0].synced),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        (digest.count(), digest.root().as_slice()),
        (begin.count, begin.root_digest.as_ref())
    );
    session.quiet_for(60).await;
    session.ack(begin.seq, 0);
    let changes = session.changes().await;
    assert_eq!((said(&changes), changes.seq), (vec!["put a 192.0.2.2".to_owned()], begin.seq + 1));
    session.ack(changes.seq, 1);
    agent.converged().await;
}

#[tokio::test(start_paused = true)]
async fn a_difference_costs_the_bodies_that_differ() {
    let mut broker = FakeBroker::spawn();
    let agent = Agent::with(&broker, &["a", "b", "c"]);
    let (mut session, _) = broker.accept().await;
    session.welcome(Mode::Diff, PLENTY);
    let FromAgent::BucketDigests(digests) = session.next_word().await else { panic!("digests") };

    // The broker holds an older b.
    let mut held = zonefold::core::endpoint::digest::SetDigest::default();
    for endpoint in
        [endpoint("a", "192.0.2.1"), endpoint("b", "192.0.2.99"), endpoint("c", "192.0.2.1")]
    {
        held.insert(&endpoint.key.hash(), &endpoint.version());
    }
    let buckets: Vec<u32> =
        held.differing(&digests.digests).unwrap().into_iter().map(u32::from).collect();
    assert_eq!(buckets.len(), 1);
    session.send(ToAgent::BucketRequest(v1::BucketRequest { buckets }));
    let FromAgent::KeyVersions(keys) = session.next_word().await else { panic!("keys") };
    assert!(keys.last);
    let wanted = endpoint("b", "192.0.2.1");
    assert!(
        key_versions_from_wire(&keys.entries)
            .unwrap()
            .contains(&(wanted.key.hash(), wanted.version()))
    );
    session.send(ToAgent::BodyRequest(v1::BodyRequest {
        key_hashes: key_hashes_to_wire([&wanted.key.hash()]),
        last: true,
    }));
    let changes = session.changes().await;
    assert_eq!(said(&changes), ["put b 192.0.2.1"]);
    session.ack(changes.seq, 1);
    agent.converged().await;
    session.send(ToAgent::DiffRequest(v1::DiffRequest {}));
    assert!(matches!(session.next_word().await, FromAgent::BucketDigests(_)));
}

#[tokio::test(start_paused = true)]
async fn credits_are_kept_and_one_version_of_a_key_is_on_its_way() {
    let mut broker = FakeBroker::spawn();
    let agent = Agent::with(&broker, &[]);
    let (mut session, _) = broker.accept().await;
    session.welcome(Mode::Resume, v1::Credits { items: 2, bytes: 1_000_000 });
    agent.shared.wait_until(|state| state.publisher.is_live()).await;
    agent.list(&["a", "b", "c"]);
    let first = session.changes().await;
    assert_eq!(first.operations.len(), 2);
    agent.want("a", "192.0.2.2");
    agent.want("a", "192.0.2.3");
    session.quiet_for(60).await;
    session.ack(first.seq, 5);
    let second = session.changes().await;
    let mut both = said(&second);
    if both.len() == 1 {
        both.extend(said(&session.changes().await));
    }
    both.sort();
    assert!(both.contains(&"put a 192.0.2.3".to_owned()) && both.len() == 2, "{both:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_reconnects_soon_and_a_newer_agent_is_left_alone() {
    let mut broker = FakeBroker::spawn();
    let _agent = Agent::with(&broker, &["a"]);
    let session = resumed(&mut broker).await;
    let go_away = |reason: Reason| {
        ToAgent::GoAway(v1::GoAway {
            reason: reason.into(),
            reconnect_after_ms: 1_000,
            ..v1::GoAway::default()
        })
    };
    let at = Instant::now();
    session.send(go_away(Reason::Drain));
    let (session, hello) = broker.accept().await;
    assert!((1_000..2_000).contains(&at.elapsed().as_millis()), "{:?}", at.elapsed());
    assert_eq!(hello.resume.unwrap().epoch, 7);
    session.welcome(Mode::Resume, PLENTY);
    let at = Instant::now();
    session.send(go_away(Reason::Superseded));
    broker.accept().await;
    assert!(at.elapsed() >= Duration::from_secs(15), "{:?}", at.elapsed());
}

#[tokio::test(start_paused = true)]
async fn each_session_has_a_connection_of_its_own() {
    let mut broker = FakeBroker::spawn();
    let _agent = Agent::with(&broker, &["a"]);
    let mut session = resumed(&mut broker).await;
    for connections in 1..=3 {
        assert_eq!(broker.connections(), connections);
        match connections {
            1 => session.send(ToAgent::GoAway(v1::GoAway {
                reason: Reason::SessionAge.into(),
                ..v1::GoAway::default()
            })),
            // It is refused.
            _ => session.to_agent.send(Err(tonic::Status::unavailable("gone"))).unwrap(),
        }
        session = broker.accept().await.0;
        session.welcome(Mode::Resume, PLENTY);
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_while_the_broker_is_away_is_said_when_it_is_back() {
    let mut broker = FakeBroker::spawn();
    let agent = Agent::with(&broker, &["a", "b"]);
    let session = resumed(&mut broker).await;
    agent.converged().await;
    broker.set_away(true);
    session.to_agent.send(Err(tonic::Status::unavailable("gone"))).unwrap();
    agent.shared.wait_until(|state| !state.publisher.is_live()).await;
    agent.list(&["b"]);
    agent.want("b", "192.0.2.7");
    tokio::time::sleep(Duration::from_secs(600)).await;
    broker.set_away(false);
    let (mut session, hello) = broker.accept().await;
    assert_eq!(hello.resume.unwrap().count, 1);
    session.welcome(Mode::Diff, PLENTY);
    assert!(matches!(session.next_word().await, FromAgent::BucketDigests(_)));
    // The deletion was observed, so it is said whatever the digests are compared for.
    assert_eq!(said(&session.changes().await), ["del a ObjectDeleted"]);
}

#[tokio::test(start_paused = true)]
async fn hello_waits_for_the_sources_and_then_says_that_they_are_not_complete() {
    let mut broker = FakeBroker::spawn();
    let at = Instant::now();
    let agent = Agent::unsynced(&broker);
    let (mut session, hello) = broker.accept().await;
    assert_eq!(at.elapsed().as_secs(), 30);
    assert!(!hello.sources[0].synced);
    session.welcome(Mode::Resume, PLENTY);
    agent.converged().await;
    agent.list(&[]);
    assert!(
        session.heartbeat().await.sources[0].synced,
        "the broker hears at once that absence counts now"
    );
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_keeps_its_keys_and_says_so_at_once() {
    let mut broker = FakeBroker::spawn();
    let agent = Agent::with(&broker, &["a"]);
    let mut session = resumed(&mut broker).await;
    agent.converged().await;
    let at = Instant::now();
    agent.shared.change(|index| {
        index.fail(SourceKind::Service, "the folder is gone".to_owned());
        Vec::new()
    });
    let heartbeat = session.heartbeat().await;
    assert!(at.elapsed() < Duration::from_secs(1));
    assert_eq!((heartbeat.count, heartbeat.sources[0].synced), (1, false));
    assert_eq!(heartbeat.sources[0].last_error, "the folder is gone");
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_the_last_acknowledgement() {
    let mut broker = FakeBroker::spawn();
    let agent = Agent::with(&broker, &[]);
    let mut session = resumed(&mut broker).await;
    agent.converged().await;
    agent.want("a", "192.0.2.1");
    agent.shutdown.cancel();
    let changes = session.changes().await;
    assert!(!agent.task.is_finished());
    session.ack(changes.seq, 1);
    agent.task.await.unwrap();
    assert!(session.ended().await);
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_ever() {
    let mut broker = FakeBroker::spawn();
    let agent = Agent::with(&broker, &[]);
    let mut session = resumed(&mut broker).await;
    agent.converged().await;
    agent.want("a", "192.0.2.1");
    session.changes().await;
    let at = Instant::now();
    agent.shutdown.cancel();
    agent.task.await.unwrap();
    assert_eq!(at.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_and_silence_or_nonsense_ends_the_session() {
    let mut broker = FakeBroker::spawn();
    let _agent = Agent::with(&broker, &["a"]);
    let mut session = resumed(&mut broker).await;
    session.send(ToAgent::Ping(v1::Ping { nonce: 42 }));
    assert_eq!(session.next().await, FromAgent::Pong(v1::Pong { nonce: 42 }));
    session.ack(5, 1);
    let (session, _) = broker.accept().await;
    session.welcome(Mode::Resume, PLENTY);
    let at = Instant::now();
    broker.accept().await;
    assert!((30..35).contains(&at.elapsed().as_secs()), "three heartbeats: {:?}", at.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_a_person_has_to_solve_is_retried_slowly() {
    let mut broker = FakeBroker::spawn();
    let _agent = Agent::with(&broker, &["a"]);
    let (session, _) = broker.accept().await;
    let at = Instant::now();
    session.to_agent.send(Err(tonic::Status::permission_denied("not registered"))).unwrap();
    broker.accept().await;
    assert!(at.elapsed() >= Duration::from_secs(15), "{:?}", at.elapsed());
}
