//! A cluster as the broker sees it: the agent's end of the protocol, without objects, sources or an outbox.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message as _;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Streaming};
use zonefold::core::endpoint::digest::SetDigest;
use zonefold::core::endpoint::{Endpoint, EndpointKey, KeyHash, Version};
use zonefold::core::ids::ClusterId;
use zonefold::wire::convert::{status_hash, version_to_wire};
use zonefold::wire::v1::agent_message::Message as ToBroker;
use zonefold::wire::v1::broker_message::Message as FromBroker;
use zonefold::wire::v1::federation_client::FederationClient;
use zonefold::wire::v1::{self, operation, welcome::Mode};

use super::connection::{self, AsEncoded, Traffic};
use super::fleet::SOURCES;

/// The call of [`FederationClient::publish`], for messages that are encoded already.
const PUBLISH: &str = "/zonefold.v1.Federation/Publish";
/// Operations of one message.
const OPERATIONS: usize = 250;
/// Messages that wait for the connection.
const QUEUE: usize = 64;
/// The largest status message that is read.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Hashes by key with their digest. What a cluster of a benchmark has published it never withdraws.
#[derive(Clone, Default)]
struct Known {
    digest: SetDigest,
    versions: HashMap<KeyHash, Version>,
}

impl Known {
    /// Takes a key in, or its new content.
    fn take(&mut self, key: KeyHash, version: Version) {
        if let Some(old) = self.versions.insert(key, version) {
            self.digest.remove(&key, &old);
        }
        self.digest.insert(&key, &version);
    }

    fn root(&self) -> Bytes {
        Bytes::copy_from_slice(&self.digest.root())
    }

    /// As a request to watch says it; empty for nothing.
    fn digests(&self) -> Bytes {
        if self.digest.is_empty() { Bytes::new() } else { self.digest.to_bytes().into() }
    }
}

/// The wanted endpoints and known statuses of a cluster, for a session that resumes.
#[derive(Clone, Default)]
pub struct HeldEndpoints {
    endpoints: Known,
    statuses: Known,
}

/// The outgoing messages, in order: a heartbeat's figures belong to the last sequence number before it.
struct Outgoing {
    messages: mpsc::Sender<Bytes>,
    seq: u64,
    held: Known,
}

impl Outgoing {
    async fn send(&self, message: ToBroker) -> anyhow::Result<()> {
        self.send_encoded(encoded(message)).await
    }

    async fn send_encoded(&self, message: Bytes) -> anyhow::Result<()> {
        self.messages.send(message).await.context("the session has ended")
    }
}

fn encoded(message: ToBroker) -> Bytes {
    v1::AgentMessage { message: Some(message) }.encode_to_vec().into()
}

/// Operations under one sequence number, encoded.
pub struct Encoded {
    seq: u64,
    message: Bytes,
    /// The items that it takes from the session's credits.
    items: u32,
    bytes: u32,
    versions: Vec<(KeyHash, Version)>,
}

/// Encodes what a cluster publishes after the sequence number `after`; after first contact that is 1.
///
/// # Errors
/// A message would be larger than a session takes.
pub fn encode(endpoints: &[Endpoint], after: u64) -> anyhow::Result<Vec<Encoded>> {
    (after + 1..)
        .zip(endpoints.chunks(OPERATIONS))
        .map(|(seq, chunk)| encode_one(chunk, seq))
        .collect()
}

fn encode_one(endpoints: &[Endpoint], seq: u64) -> anyhow::Result<Encoded> {
    let (mut operations, mut versions) = (vec![], vec![]);
    for endpoint in endpoints {
        let version = endpoint.version();
        versions.push((endpoint.key.hash(), version));
        let put = v1::Put { endpoint: Some(endpoint.into()), version: version_to_wire(&version) };
        operations.push(v1::Operation { operation: Some(operation::Operation::Put(put)) });
    }
    let bytes = u32::try_from(operations.iter().map(prost::Message::encoded_len).sum::<usize>())?;
    let items = u32::try_from(operations.len())?;
    Ok(Encoded {
        seq,
        message: encoded(ToBroker::Changes(v1::Changes { seq, operations })),
        items,
        bytes,
        versions,
    })
}

/// How far the broker has come.
#[derive(Clone, Default)]
struct Heard {
    acked: u64,
    ended: Option<String>,
}

/// The state of the status stream.
#[derive(Clone, Copy, Default)]
struct Watched {
    replay_done: bool,
    /// The newest status: of which content, and how far it is.
    newest: Option<(Version, v1::Progress)>,
}

/// An open session.
pub struct Cluster {
    id: ClusterId,
    outgoing: Arc<Mutex<Outgoing>>,
    statuses: Arc<StdMutex<Known>>,
    items: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    heard: watch::Receiver<Heard>,
    watched: watch::Receiver<Watched>,
    traffic: Arc<Traffic>,
    // Reading, heartbeats and the status stream; they end with the session.
    tasks: JoinSet<()>,
}

impl Cluster {
    /// Opens a session and brings it to the point at which changes may be sent.
    ///
    /// # Errors
    /// The broker cannot be reached, refuses the session, or does not hold what the cluster wants.
    pub async fn connect(
        broker: SocketAddr,
        token: &str,
        id: &ClusterId,
        held: HeldEndpoints,
    ) -> anyhow::Result<Self> {
        let traffic = Arc::new(Traffic::default());
        let channel = connection::connect(broker, Arc::clone(&traffic)).await?;
        let client =
            FederationClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let (messages, receiver) = mpsc::channel(QUEUE);
        let outgoing = Outgoing { messages, seq: 0, held: held.endpoints };
        outgoing.send(ToBroker::Hello(hello_of(id, &outgoing.held))).await?;
        let mut grpc =
            tonic::client::Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        grpc.ready().await?;
        let request = signed(ReceiverStream::new(receiver), token)?;
        let mut inbound = grpc
            .streaming(request, PathAndQuery::from_static(PUBLISH), AsEncoded)
            .await?
            .into_inner();
        let Some(FromBroker::Welcome(welcome)) =
            inbound.message().await?.and_then(|message| message.message)
        else {
            bail!("the broker said something else than Welcome to {id}");
        };
        let mode = welcome.mode();
        let credits = welcome.credits.unwrap_or_default();
        let (told, heard) = watch::channel(Heard::default());
        let (tell_status, watched) = watch::channel(Watched::default());
        let (items, bytes) =
            (semaphore(credits.items as usize), semaphore(usize::try_from(credits.bytes)?));
        let outgoing = Arc::new(Mutex::new(outgoing));
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(
            inbound,
            told,
            Arc::clone(&outgoing),
            Arc::clone(&items),
            Arc::clone(&bytes),
        ));
        tasks.spawn(beat(
            Arc::clone(&outgoing),
            Duration::from_millis(welcome.heartbeat_ms.max(1_000)),
        ));
        let statuses = Arc::new(StdMutex::new(held.statuses));
        tasks.spawn(watch_status(
            client,
            token.to_owned(),
            id.clone(),
            Arc::clone(&statuses),
            tell_status,
        ));
        let cluster = Self {
            id: id.clone(),
            outgoing,
            statuses,
            items,
            bytes,
            heard,
            watched,
            traffic,
            tasks,
        };
        match mode {
            Mode::Resume => {}
            Mode::Snapshot => cluster.begin().await?,
            other => bail!(
                "the broker answered {id} with {}: it does not hold what it acknowledged",
                other.as_str_name()
            ),
        }
        Ok(cluster)
    }

    /// Its name.
    pub fn id(&self) -> &ClusterId {
        &self.id
    }

    /// First contact: a snapshot of nothing.
    async fn begin(&self) -> anyhow::Result<()> {
        {
            let mut outgoing = self.outgoing.lock().await;
            if !outgoing.held.digest.is_empty() {
                bail!("the broker does not know {}, which has endpoints", self.id);
            }
            outgoing.seq = 1;
            let root_digest = outgoing.held.root();
            outgoing
                .send(ToBroker::SnapshotBegin(v1::SnapshotBegin {
                    seq: 1,
                    root_digest,
                    ..v1::SnapshotBegin::default()
                }))
                .await?;
            outgoing.send(ToBroker::SnapshotEnd(v1::SnapshotEnd { sources: sources() })).await?;
        }
        self.durable(1).await
    }

    /// Publishes endpoints as fast as the broker's credits allow; answers the last sequence number.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn publish(&self, endpoints: &[Endpoint]) -> anyhow::Result<u64> {
        let mut last = self.outgoing.lock().await.seq;
        for chunk in endpoints.chunks(OPERATIONS) {
            last += 1;
            self.send(encode_one(chunk, last)?).await?;
        }
        Ok(last)
    }

    /// The same for messages that are encoded already.
    ///
    /// # Errors
    /// The session has ended, or the messages do not follow what was sent before.
    pub async fn publish_encoded(&self, messages: Vec<Encoded>) -> anyhow::Result<u64> {
        let mut last = self.outgoing.lock().await.seq;
        for message in messages {
            last = message.seq;
            self.send(message).await?;
        }
        Ok(last)
    }

    /// Sends one message as soon as the credits allow it; an Ack gives them back.
    async fn send(&self, message: Encoded) -> anyhow::Result<()> {
        self.items.acquire_many(message.items).await?.forget();
        self.bytes.acquire_many(message.bytes).await?.forget();
        let mut outgoing = self.outgoing.lock().await;
        if message.seq != outgoing.seq + 1 {
            bail!(
                "the sequence number {} would follow {}: one task publishes at a time",
                message.seq,
                outgoing.seq
            );
        }
        outgoing.seq = message.seq;
        message.versions.into_iter().for_each(|(key, version)| outgoing.held.take(key, version));
        outgoing.send_encoded(message.message).await
    }

    /// The last sequence number that was published.
    pub async fn published(&self) -> u64 {
        self.outgoing.lock().await.seq
    }

    /// Returns when the broker has acknowledged a sequence number.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn durable(&self, seq: u64) -> anyhow::Result<()> {
        let mut heard = self.heard.clone();
        let heard = heard.wait_for(|heard| heard.acked >= seq || heard.ended.is_some()).await?;
        match &heard.ended {
            Some(reason) if heard.acked < seq => {
                bail!("the session of {} ended: {reason}", self.id)
            }
            _ => Ok(()),
        }
    }

    /// Returns when the status stream has said all that there was.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn replayed(&self) -> anyhow::Result<()> {
        self.watched
            .clone()
            .wait_for(|watched| watched.replay_done)
            .await
            .context("the status stream ended")?;
        Ok(())
    }

    /// Returns when the newest status is of this content and has come so far, or farther.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn progressed(&self, version: Version, progress: v1::Progress) -> anyhow::Result<()> {
        let reached = |watched: &Watched| {
            watched.newest.is_some_and(|(of, now)| {
                of == version && (now == progress || now == v1::Progress::InSync)
            })
        };
        self.watched.clone().wait_for(reached).await.context("the status stream ended")?;
        Ok(())
    }

    /// The bytes of its connection by now, in both directions.
    pub fn traffic_bytes(&self) -> u64 {
        self.traffic.bytes()
    }

    /// Ends the session; answers what a later one resumes with.
    pub async fn leave(mut self) -> HeldEndpoints {
        // A heartbeat must not speak of what is taken away here.
        self.tasks.shutdown().await;
        let endpoints = std::mem::take(&mut self.outgoing.lock().await.held);
        let statuses = std::mem::take(&mut *lock(&self.statuses));
        HeldEndpoints { endpoints, statuses }
    }
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

fn sources() -> Vec<v1::SourceState> {
    SOURCES
        .map(|kind| v1::SourceState {
            kind: kind.to_owned(),
            synced: true,
            last_error: String::new(),
        })
        .into()
}

/// The Hello of a cluster that holds something already.
pub fn hello(id: &ClusterId, held: &HeldEndpoints) -> v1::Hello {
    hello_of(id, &held.endpoints)
}

fn hello_of(id: &ClusterId, held: &Known) -> v1::Hello {
    v1::Hello {
        cluster: id.to_string(),
        kube_system_uid: format!("uid-of-{id}"),
        instance_id: uuid::Uuid::new_v4().to_string(),
        features: vec![],
        resume: Some(v1::Resume {
            epoch: 0,
            last_acked_seq: 0,
            root_digest: held.root(),
            count: held.digest.count(),
        }),
        sources: sources(),
        agent_version: concat!("bench ", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

/// A message with the token that proves who sends it.
///
/// # Errors
/// The token cannot stand in a header.
pub fn signed<T>(message: T, token: &str) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    Ok(request)
}

async fn listen(
    mut inbound: Streaming<v1::BrokerMessage>,
    told: watch::Sender<Heard>,
    outgoing: Arc<Mutex<Outgoing>>,
    items: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
) {
    let reason = loop {
        match inbound.message().await {
            Ok(Some(v1::BrokerMessage { message: Some(FromBroker::Ack(ack)) })) => {
                let credits = ack.credits.unwrap_or_default();
                items.add_permits(credits.items as usize);
                bytes.add_permits(usize::try_from(credits.bytes).unwrap_or(0));
                told.send_modify(|heard| heard.acked = ack.seq);
            }
            Ok(Some(v1::BrokerMessage { message: Some(FromBroker::Ping(ping)) })) => {
                let pong = ToBroker::Pong(v1::Pong { nonce: ping.nonce });
                if outgoing.lock().await.send(pong).await.is_err() {
                    break "the connection is gone".to_owned();
                }
            }
            Ok(Some(v1::BrokerMessage { message: Some(FromBroker::GoAway(go_away)) })) => {
                break go_away.detail;
            }
            Ok(Some(v1::BrokerMessage { message: Some(FromBroker::DiffRequest(_)) })) => {
                break "the broker holds something else than it acknowledged".to_owned();
            }
            Ok(Some(_)) => {}
            Ok(None) => break "the broker closed the stream".to_owned(),
            Err(status) => break status.to_string(),
        }
    };
    items.close();
    bytes.close();
    told.send_modify(|heard| heard.ended = Some(reason));
}

/// Says what the cluster holds, as often as the broker asked for.
async fn beat(outgoing: Arc<Mutex<Outgoing>>, every: Duration) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    loop {
        ticks.tick().await;
        let outgoing = outgoing.lock().await;
        let heartbeat = v1::Heartbeat {
            through_seq: outgoing.seq,
            count: outgoing.held.digest.count(),
            root_digest: outgoing.held.root(),
            sources: sources(),
        };
        if outgoing.send(ToBroker::Heartbeat(heartbeat)).await.is_err() {
            return;
        }
    }
}

/// Reads the statuses, as an agent does: it says what it holds, so that only what is new is said.
async fn watch_status(
    mut client: FederationClient<Channel>,
    token: String,
    id: ClusterId,
    held: Arc<StdMutex<Known>>,
    told: watch::Sender<Watched>,
) {
    let held_digests = lock(&held).digests();
    let Ok(request) =
        signed(v1::WatchStatusRequest { cluster: id.to_string(), held_digests }, &token)
    else {
        return;
    };
    let Ok(statuses) = client.watch_status(request).await else { return };
    let mut statuses = statuses.into_inner();
    while let Ok(Some(batch)) = statuses.message().await {
        let mut newest = None;
        for status in batch.statuses {
            let Some((key, version)) = status.key.clone().zip(Version::from_slice(&status.version))
            else {
                continue;
            };
            newest = Some((version, status.progress()));
            lock(&held).take(EndpointKey::from(key).hash(), status_hash(&status));
        }
        told.send_modify(|watched| {
            watched.replay_done |= batch.replay_done;
            watched.newest = newest.or(watched.newest);
        });
    }
}

fn lock(known: &StdMutex<Known>) -> MutexGuard<'_, Known> {
    // Nothing panics while it is held.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
