//! The broker's end of the stream, spoken to by hand: what a well-behaved agent never does, too.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use zonefold::core::endpoint::digest::SetDigest;
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::wire::v1::federation_client::FederationClient;
use zonefold::wire::v1::go_away::Reason;
use zonefold::wire::v1::welcome::Mode;
use zonefold::wire::v1::{self, agent_message::Message as Up, broker_message::Message as Down};

use crate::support::world::{Plan, TOKEN, World};

mod quota;
mod reconnect;
mod stuck;

pub const UID: &str = "11111111-2222-3333-4444-555555555555";

/// One stream, by hand.
pub struct Raw {
    up: mpsc::Sender<v1::AgentMessage>,
    down: Streaming<v1::BrokerMessage>,
}

async fn client(world: &World) -> FederationClient<Channel> {
    client_at(world.grpc()).await
}

async fn client_at(grpc: std::net::SocketAddr) -> FederationClient<Channel> {
    FederationClient::connect(format!("http://{grpc}")).await.unwrap()
}

impl Raw {
    async fn open(world: &World, token: &str) -> Result<Self, Status> {
        Self::open_at(world.grpc(), token).await
    }

    pub async fn open_at(grpc: std::net::SocketAddr, token: &str) -> Result<Self, Status> {
        let (up, outgoing) = mpsc::channel(64);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        request
            .metadata_mut()
            .insert("authorization", MetadataValue::try_from(format!("Bearer {token}")).unwrap());
        let down = client_at(grpc).await.publish(request).await?.into_inner();
        Ok(Self { up, down })
    }

    async fn say(&self, message: Up) {
        self.up.send(v1::AgentMessage { message: Some(message) }).await.unwrap();
    }

    /// The next message that is not about being alive.
    async fn hear(&mut self) -> Result<Down, Status> {
        loop {
            let next =
                tokio::time::timeout(std::time::Duration::from_secs(20), self.down.message())
                    .await
                    .expect("the broker is silent");
            match next? {
                Some(v1::BrokerMessage { message: Some(Down::Ping(_) | Down::Pong(_)) }) => {}
                Some(message) => return Ok(message.message.unwrap()),
                None => return Err(Status::ok("the stream is over")),
            }
        }
    }

    /// Says Hello for what is held and answers the mode.
    pub async fn hello(
        &mut self,
        cluster: &str,
        uid: &str,
        held: &[Endpoint],
        synced: bool,
    ) -> Result<(Mode, u64), Status> {
        let digest = digest(held);
        let resume = v1::Resume {
            root_digest: digest.root().to_vec().into(),
            count: digest.count(),
            ..v1::Resume::default()
        };
        self.say(Up::Hello(v1::Hello {
            cluster: cluster.to_owned(),
            kube_system_uid: uid.to_owned(),
            instance_id: "test".to_owned(),
            resume: Some(resume),
            sources: vec![v1::SourceState {
                kind: "ingress".to_owned(),
                synced,
                last_error: String::new(),
            }],
            ..v1::Hello::default()
        }))
        .await;
        match self.hear().await? {
            Down::Welcome(welcome) => Ok((welcome.mode(), welcome.epoch)),
            other => panic!("no Welcome but {other:?}"),
        }
    }

    /// The first contact: a snapshot, until it is acked.
    pub async fn snapshot(&mut self, held: &[Endpoint]) {
        let digest = digest(held);
        self.say(Up::SnapshotBegin(v1::SnapshotBegin {
            seq: 1,
            count: digest.count(),
            root_digest: digest.root().to_vec().into(),
            by_name: false,
        }))
        .await;
        self.say(Up::SnapshotChunk(v1::SnapshotChunk { puts: held.iter().map(put).collect() }))
            .await;
        self.say(Up::SnapshotEnd(v1::SnapshotEnd::default())).await;
        assert!(matches!(self.hear().await.unwrap(), Down::Ack(v1::Ack { seq: 1, .. })));
    }

    pub async fn change(&self, seq: u64, operations: Vec<v1::operation::Operation>) {
        let operations = operations
            .into_iter()
            .map(|operation| v1::Operation { operation: Some(operation) })
            .collect();
        self.say(Up::Changes(v1::Changes { seq, operations })).await;
    }

    /// Sends one endpoint, until it is acked.
    pub async fn put(&mut self, seq: u64, endpoint: &Endpoint) {
        self.change(seq, vec![v1::operation::Operation::Put(put(endpoint))]).await;
        assert!(matches!(self.hear().await.unwrap(), Down::Ack(ack) if ack.seq == seq));
    }

    pub async fn goes_away(&mut self) -> (Reason, String) {
        match self.hear().await.unwrap() {
            Down::GoAway(go_away) => (go_away.reason(), go_away.detail),
            other => panic!("no GoAway but {other:?}"),
        }
    }
}

pub fn endpoint(object: &str, target: &str) -> Endpoint {
    let key = EndpointKey {
        source: "ingress".into(),
        namespace: "default".into(),
        object: object.into(),
        dns_name: format!("{object}.example.com").into(),
        record_type: "A".into(),
        set_identifier: "".into(),
    };
    Endpoint { key, targets: vec![target.into()], ..Endpoint::default() }
}

fn put(endpoint: &Endpoint) -> v1::Put {
    v1::Put { endpoint: Some(endpoint.into()), version: endpoint.version().0.to_vec().into() }
}

/// Removes an endpoint, whatever its version.
pub fn del(endpoint: &Endpoint) -> v1::operation::Operation {
    v1::operation::Operation::Del(v1::Del {
        key: Some((&endpoint.key).into()),
        ..v1::Del::default()
    })
}

fn digest(held: &[Endpoint]) -> SetDigest {
    let mut digest = SetDigest::default();
    held.iter().for_each(|endpoint| digest.insert(&endpoint.key.hash(), &endpoint.version()));
    digest
}

async fn watch(
    world: &World,
    held_digests: bytes::Bytes,
) -> Result<Streaming<v1::StatusBatch>, Status> {
    let mut request =
        Request::new(v1::WatchStatusRequest { cluster: "east".to_owned(), held_digests });
    request
        .metadata_mut()
        .insert("authorization", MetadataValue::try_from(format!("Bearer {TOKEN}")).unwrap());
    Ok(client(world).await.watch_status(request).await?.into_inner())
}

async fn refused(world: &World, token: &str, cluster: &str, uid: &str) -> Status {
    match Raw::open(world, token).await {
        Err(status) => status,
        Ok(mut raw) => raw.hello(cluster, uid, &[], true).await.unwrap_err(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_registered_clusters_with_the_token_and_their_own_uid_are_welcomed() {
    let world = World::start(Plan::default()).await;
    let wrong = refused(&world, "another-token-of-the-same-length", "east", UID).await;
    assert_eq!(wrong.code(), Code::Unauthenticated);
    let unknown = refused(&world, TOKEN, "nobody", UID).await;
    assert_eq!(unknown.code(), Code::PermissionDenied);
    assert!(unknown.message().contains("add it to `clusters`"), "{}", unknown.message());

    let mut first = Raw::open(&world, TOKEN).await.unwrap();
    first.hello("east", UID, &[], true).await.unwrap();
    first.snapshot(&[]).await;
    let clone = refused(&world, TOKEN, "east", "another-uid").await;
    assert_eq!(clone.code(), Code::FailedPrecondition);
    assert!(clone.message().contains(UID), "{}", clone.message());
    // The first is not disturbed: the newest does not win by being newest.
    first.change(2, vec![v1::operation::Operation::Put(put(&endpoint("a", "192.0.2.1")))]).await;
    assert!(matches!(first.hear().await.unwrap(), Down::Ack(v1::Ack { seq: 2, .. })));
    drop(first);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_session_ends_the_older_one_which_commits_nothing_any_more() {
    let world = World::start(Plan::default()).await;
    let mut old = Raw::open(&world, TOKEN).await.unwrap();
    let (mode, first_epoch) = old.hello("east", UID, &[], true).await.unwrap();
    assert_eq!(mode, Mode::Snapshot);
    old.snapshot(&[]).await;
    let mut new = Raw::open(&world, TOKEN).await.unwrap();
    let (mode, second_epoch) = new.hello("east", UID, &[], true).await.unwrap();
    assert_eq!((mode, second_epoch), (Mode::Resume, first_epoch + 1));
    assert_eq!(old.goes_away().await.0, Reason::Superseded);
    // It may already have written; whatever comes now is of an epoch that is over.
    let _closed = old
        .up
        .send(v1::AgentMessage {
            message: Some(Up::Changes(v1::Changes { seq: 2, operations: vec![] })),
        })
        .await;
    drop((old, new));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resume_sends_nothing_and_diff_only_what_differs() {
    let world = World::start(Plan::default()).await;
    let mut held = vec![endpoint("a", "192.0.2.1"), endpoint("b", "192.0.2.2")];
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    raw.hello("east", UID, &held, true).await.unwrap();
    raw.snapshot(&held).await;
    drop(raw);

    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    assert_eq!(raw.hello("east", UID, &held, true).await.unwrap().0, Mode::Resume);
    drop(raw);

    // One changed, one new, one gone while no agent was connected.
    held = vec![endpoint("a", "192.0.2.9"), endpoint("c", "192.0.2.3")];
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    assert_eq!(raw.hello("east", UID, &held, true).await.unwrap().0, Mode::Diff);
    raw.say(Up::BucketDigests(v1::BucketDigests { digests: digest(&held).to_bytes().into() }))
        .await;
    let Down::BucketRequest(request) = raw.hear().await.unwrap() else {
        panic!("no BucketRequest")
    };
    let asked: Vec<u8> =
        request.buckets.iter().map(|bucket| u8::try_from(*bucket).unwrap()).collect();
    let in_asked = |e: &&Endpoint| asked.contains(&SetDigest::bucket_of(&e.key.hash()));
    let entries: Vec<u8> = held
        .iter()
        .filter(in_asked)
        .flat_map(|e| [e.key.hash().0, e.version().0].concat())
        .collect();
    raw.say(Up::KeyVersions(v1::KeyVersions { entries: entries.into(), last: true })).await;
    let Down::BodyRequest(request) = raw.hear().await.unwrap() else { panic!("no BodyRequest") };
    assert_eq!(request.key_hashes.len(), 64, "the two bodies that differ, and no other");
    raw.change(1, held.iter().map(|e| v1::operation::Operation::Put(put(e))).collect()).await;
    assert!(matches!(raw.hear().await.unwrap(), Down::Ack(v1::Ack { seq: 1, .. })));
    world.until("a has changed", |w| w.values("a.example.com", "A") == ["192.0.2.9"]).await;
    world.wait_idle().await;
    assert!(world.record("b.example.com", "A").is_some(), "what was asked for is written first");
    let root_digest = digest(&held).root().to_vec().into();
    let heartbeat = v1::Heartbeat { through_seq: 1, count: 2, root_digest, sources: vec![] };
    raw.say(Up::Heartbeat(heartbeat)).await;
    assert_eq!(raw.compare(&held).await, 0);
    world.until("b is gone", |w| w.record("b.example.com", "A").is_none()).await;
    world.until("c is there", |w| w.record("c.example.com", "A").is_some()).await;
    drop(raw);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absence_from_a_source_that_is_not_synced_deletes_nothing() {
    let world = World::start(Plan::default()).await;
    let held = [endpoint("a", "192.0.2.1"), endpoint("b", "192.0.2.2")];
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    raw.hello("east", UID, &held, true).await.unwrap();
    raw.snapshot(&held).await;
    world
        .until("both are there", |w| {
            w.record("a.example.com", "A").is_some() && w.record("b.example.com", "A").is_some()
        })
        .await;
    drop(raw);

    let held = &held[..1];
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    assert_eq!(raw.hello("east", UID, held, false).await.unwrap().0, Mode::Diff);
    let compare = async |raw: &mut Raw| {
        raw.say(Up::BucketDigests(v1::BucketDigests { digests: digest(held).to_bytes().into() }))
            .await;
        let Down::BucketRequest(request) = raw.hear().await.unwrap() else {
            panic!("no BucketRequest")
        };
        let asked = request.buckets.contains(&u32::from(SetDigest::bucket_of(&held[0].key.hash())));
        let entries: Vec<u8> = held
            .iter()
            .filter(|_| asked)
            .flat_map(|e| [e.key.hash().0, e.version().0].concat())
            .collect();
        raw.say(Up::KeyVersions(v1::KeyVersions { entries: entries.into(), last: true })).await;
        assert!(matches!(raw.hear().await.unwrap(), Down::BodyRequest(_)));
    };
    compare(&mut raw).await;
    world.wait_idle().await;
    assert!(world.record("b.example.com", "A").is_some(), "kept");
    // The source has looked at everything now: the same absence means something.
    let sources = vec![v1::SourceState {
        kind: "ingress".to_owned(),
        synced: true,
        last_error: String::new(),
    }];
    let root_digest = digest(held).root().to_vec().into();
    raw.say(Up::Heartbeat(v1::Heartbeat { through_seq: 0, count: 1, root_digest, sources })).await;
    assert!(matches!(raw.hear().await.unwrap(), Down::DiffRequest(_)));
    compare(&mut raw).await;
    world.until("b is gone", |w| w.record("b.example.com", "A").is_none()).await;
    assert!(world.record("a.example.com", "A").is_some());
    drop(raw);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_the_protocol_ends_the_session_with_a_reason_and_stores_nothing() {
    let world = World::start(Plan::default()).await;
    // A snapshot that does not add up.
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    raw.hello("east", UID, &[], true).await.unwrap();
    let begin =
        v1::SnapshotBegin { seq: 1, count: 1, root_digest: vec![0; 32].into(), by_name: false };
    raw.say(Up::SnapshotBegin(begin)).await;
    raw.say(Up::SnapshotChunk(v1::SnapshotChunk { puts: vec![put(&endpoint("a", "192.0.2.1"))] }))
        .await;
    raw.say(Up::SnapshotEnd(v1::SnapshotEnd::default())).await;
    let (reason, detail) = raw.goes_away().await;
    assert_eq!(reason, Reason::Protocol);
    assert!(detail.contains("do not add up"), "{detail}");
    let east = zonefold::core::ids::ClusterId::parse("east").unwrap();
    assert_eq!(world.broker().directory.endpoint_count(&east), 0);

    // A sequence number that jumps, and a second Hello.
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    raw.hello("east", UID, &[], true).await.unwrap();
    raw.change(7, vec![]).await;
    assert_eq!(raw.goes_away().await.0, Reason::Protocol);
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    raw.hello("east", UID, &[], true).await.unwrap();
    raw.say(Up::Hello(v1::Hello::default())).await;
    assert_eq!(raw.goes_away().await.0, Reason::Protocol);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_cannot_be_stored_gets_a_verdict_and_the_others_are_stored() {
    let world = World::start(Plan::default()).await;
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    raw.hello("east", UID, &[], true).await.unwrap();
    raw.snapshot(&[]).await;
    let lie = v1::Put { version: vec![7; 32].into(), ..put(&endpoint("lie", "192.0.2.1")) };
    raw.change(
        2,
        vec![
            v1::operation::Operation::Put(lie),
            v1::operation::Operation::Put(put(&endpoint("good", "192.0.2.2"))),
        ],
    )
    .await;
    let Down::Verdicts(verdicts) = raw.hear().await.unwrap() else { panic!("no verdict") };
    assert_eq!(verdicts.verdicts[0].reason, "MALFORMED");
    let Down::Ack(ack) = raw.hear().await.unwrap() else { panic!("no ack") };
    assert_eq!(
        (ack.seq, ack.credits.map(|credits| credits.items)),
        (2, Some(2)),
        "all credits come back"
    );
    world.until("the good one is there", |w| w.record("good.example.com", "A").is_some()).await;
    assert!(world.record("lie.example.com", "A").is_none());
    drop(raw);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_status_replays_everything_and_then_follows() {
    let world = World::start(Plan::default()).await;
    let held = [endpoint("a", "192.0.2.1"), endpoint("bad", "no-address")];
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    raw.hello("east", UID, &held, true).await.unwrap();
    raw.snapshot(&held).await;
    world.until("a is there", |w| w.record("a.example.com", "A").is_some()).await;
    world.wait_idle().await;
    let mut statuses = watch(&world, bytes::Bytes::new()).await.unwrap();
    let replay = statuses.message().await.unwrap().unwrap();
    assert!(
        replay.replay_done && replay.replay_scope.is_none(),
        "who says nothing of what it holds gets all"
    );
    let of = |object: &str| {
        replay.statuses.iter().find(|s| s.key.as_ref().unwrap().object == object).unwrap().clone()
    };
    assert_eq!(
        (of("a").verdict(), of("bad").verdict()),
        (v1::VerdictState::Accepted, v1::VerdictState::Rejected)
    );
    assert!(of("bad").reason == "INVALID_TARGET" && !of("bad").message.is_empty());
    raw.change(2, vec![v1::operation::Operation::Put(put(&endpoint("bad", "192.0.2.5")))]).await;
    loop {
        let next = statuses.message().await.unwrap().unwrap();
        if next.statuses.iter().any(|s| {
            s.key.as_ref().unwrap().object == "bad" && s.progress() == v1::Progress::Applied
        }) {
            break;
        }
    }
    drop(raw);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_acks_what_was_sent_and_says_so() {
    let mut world = World::start(Plan::default()).await;
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    raw.hello("east", UID, &[], true).await.unwrap();
    raw.snapshot(&[]).await;
    raw.change(2, vec![v1::operation::Operation::Put(put(&endpoint("a", "192.0.2.1")))]).await;
    assert!(matches!(raw.hear().await.unwrap(), Down::Ack(v1::Ack { seq: 2, .. })));
    let stopping = tokio::spawn(async move {
        world.stop_broker().await;
        world
    });
    assert_eq!(raw.goes_away().await.0, Reason::Drain);
    drop(raw);
    stopping.await.unwrap().stop().await;
}
