//! A cluster as the broker sees it: the agent's end of the protocol, without objects, sources or an outbox.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint as GrpcEndpoint};
use tonic::{Request, Streaming};

use crate::core::digest::SetDigest;
use crate::core::endpoint::{Endpoint, KeyHash, Version};
use crate::core::ids::ClusterId;
use crate::wire::convert::version_to_wire;
use crate::wire::v1::agent_message::Message as ToBroker;
use crate::wire::v1::broker_message::Message as FromBroker;
use crate::wire::v1::federation_client::FederationClient;
use crate::wire::v1::{self, operation, welcome::Mode};

/// The kind of source that the endpoints come from.
pub const SOURCE: &str = "dnsendpoint";
/// Operations of one message.
const OPERATIONS: usize = 500;
/// Messages that wait for the connection.
const QUEUE: usize = 64;
/// The largest status message that is read.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// What the cluster wants, for a session that resumes.
#[derive(Clone, Default)]
pub struct Held {
    digest: SetDigest,
    versions: HashMap<KeyHash, Version>,
}

impl Held {
    /// Takes an endpoint in, or its new content.
    fn take(&mut self, key: KeyHash, version: Version) {
        if let Some(old) = self.versions.insert(key, version) {
            self.digest.remove(&key, &old);
        }
        self.digest.insert(&key, &version);
    }

    fn root(&self) -> Bytes {
        Bytes::copy_from_slice(&self.digest.root())
    }
}

/// What is sent, in order: a heartbeat's figures belong to the last sequence number before it.
struct Outgoing {
    messages: mpsc::Sender<v1::AgentMessage>,
    seq: u64,
    held: Held,
}

impl Outgoing {
    async fn send(&self, message: ToBroker) -> anyhow::Result<()> {
        self.messages.send(v1::AgentMessage { message: Some(message) }).await.context("the session has ended")
    }
}

/// How far the broker has come.
#[derive(Clone, Default)]
struct Heard {
    acked: u64,
    ended: Option<String>,
}

/// An open session.
pub struct Cluster {
    id: ClusterId,
    outgoing: Arc<Mutex<Outgoing>>,
    items: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    heard: watch::Receiver<Heard>,
    // Reading, heartbeats and the status stream; they end with the session.
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// Opens a session and brings it to the point at which changes may be sent.
    ///
    /// # Errors
    /// The broker cannot be reached, refuses the session, or does not hold what the cluster wants.
    pub async fn connect(broker: SocketAddr, token: &str, id: &ClusterId, held: Held) -> anyhow::Result<Self> {
        let channel = GrpcEndpoint::from_shared(format!("http://{broker}"))?.connect().await?;
        let mut client = FederationClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let (messages, receiver) = mpsc::channel(QUEUE);
        let outgoing = Outgoing { messages, seq: 0, held };
        outgoing.send(ToBroker::Hello(hello(id, &outgoing.held))).await?;
        let mut inbound = client.publish(signed(ReceiverStream::new(receiver), token)?).await?.into_inner();
        let Some(FromBroker::Welcome(welcome)) = inbound.message().await?.and_then(|message| message.message) else {
            bail!("the broker said something else than Welcome to {id}");
        };
        let mode = welcome.mode();
        let credits = welcome.credits.unwrap_or_default();
        let (told, heard) = watch::channel(Heard::default());
        let (items, bytes) = (semaphore(credits.items as usize), semaphore(usize::try_from(credits.bytes)?));
        let outgoing = Arc::new(Mutex::new(outgoing));
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(inbound, told, Arc::clone(&outgoing), Arc::clone(&items), Arc::clone(&bytes)));
        tasks.spawn(beat(Arc::clone(&outgoing), Duration::from_millis(welcome.heartbeat_ms.max(1_000))));
        tasks.spawn(watch_status(client, token.to_owned(), id.clone()));
        let cluster = Self { id: id.clone(), outgoing, items, bytes, heard, _tasks: tasks };
        match mode {
            Mode::Resume => {}
            Mode::Snapshot => cluster.begin().await?,
            other => bail!("the broker answered {id} with {}: it does not hold what it acknowledged", other.as_str_name()),
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
                .send(ToBroker::SnapshotBegin(v1::SnapshotBegin { seq: 1, root_digest, ..v1::SnapshotBegin::default() }))
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
            let (mut operations, mut versions) = (vec![], vec![]);
            for endpoint in chunk {
                let version = endpoint.version();
                versions.push((endpoint.key.hash(), version));
                let put = v1::Put { endpoint: Some(endpoint.into()), version: version_to_wire(&version) };
                operations.push(v1::Operation { operation: Some(operation::Operation::Put(put)) });
            }
            let bytes: usize = operations.iter().map(prost::Message::encoded_len).sum();
            // An Ack gives the credits back.
            self.items.acquire_many(u32::try_from(operations.len())?).await?.forget();
            self.bytes.acquire_many(u32::try_from(bytes)?).await?.forget();
            let mut outgoing = self.outgoing.lock().await;
            outgoing.seq += 1;
            last = outgoing.seq;
            versions.into_iter().for_each(|(key, version)| outgoing.held.take(key, version));
            outgoing.send(ToBroker::Changes(v1::Changes { seq: last, operations })).await?;
        }
        Ok(last)
    }

    /// Returns when the broker has acknowledged a sequence number.
    ///
    /// # Errors
    /// The session has ended.
    pub async fn durable(&self, seq: u64) -> anyhow::Result<()> {
        let mut heard = self.heard.clone();
        let heard = heard.wait_for(|heard| heard.acked >= seq || heard.ended.is_some()).await?;
        match &heard.ended {
            Some(reason) if heard.acked < seq => bail!("the session of {} ended: {reason}", self.id),
            _ => Ok(()),
        }
    }

    /// Ends the session; answers what a later one resumes with.
    pub async fn leave(self) -> Held {
        self.outgoing.lock().await.held.clone()
    }
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

fn sources() -> Vec<v1::SourceState> {
    vec![v1::SourceState { kind: SOURCE.to_owned(), synced: true, last_error: String::new() }]
}

fn hello(id: &ClusterId, held: &Held) -> v1::Hello {
    v1::Hello {
        cluster: id.to_string(),
        kube_system_uid: format!("uid-of-{id}"),
        instance_id: uuid::Uuid::new_v4().to_string(),
        features: vec![],
        resume: Some(v1::Resume { epoch: 0, last_acked_seq: 0, root_digest: held.root(), count: held.digest.count() }),
        sources: sources(),
        agent_version: concat!("bench ", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

fn signed<T>(message: T, token: &str) -> anyhow::Result<Request<T>> {
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
            Ok(Some(v1::BrokerMessage { message: Some(FromBroker::GoAway(go_away)) })) => break go_away.detail,
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

/// Reads the statuses, as an agent does; what they say is not measured.
async fn watch_status(mut client: FederationClient<Channel>, token: String, id: ClusterId) {
    let Ok(request) = signed(v1::WatchStatusRequest { cluster: id.to_string(), ..v1::WatchStatusRequest::default() }, &token)
    else {
        return;
    };
    let Ok(statuses) = client.watch_status(request).await else { return };
    let mut statuses = statuses.into_inner();
    while let Ok(Some(_)) = statuses.message().await {}
}
