//! A broker that accepts all messages of an agent and publishes nothing: it notes what arrived and when, and says of each endpoint
//! that it is in sync.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use futures::{Stream, StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use zonefold::core::endpoint::digest::SetDigest;
use zonefold::core::endpoint::{EndpointKey, KeyHash, Version};
use zonefold::wire::convert::{version_from_wire, version_to_wire};
use zonefold::wire::v1::agent_message::Message as FromAgent;
use zonefold::wire::v1::broker_message::Message as ToAgent;
use zonefold::wire::v1::federation_server::{Federation, FederationServer};
use zonefold::wire::v1::{self, operation::Operation, welcome::Mode};

/// The credits of a session, as a broker grants them.
const CREDITS: v1::Credits = v1::Credits { items: 2_000, bytes: 8 << 20 };
/// The largest message, as a broker wants it.
const MAX_MESSAGE_BYTES: u32 = 128 << 10;
/// More often than a broker wants it: what both ends know equally is known by heartbeats.
const HEARTBEAT_MS: u64 = 1_000;
/// After this number of them in a row nothing more is expected.
const ENOUGH: u32 = 5;
/// Statuses of one batch.
const BATCH: usize = 500;

/// The state heard from the agent.
#[derive(Default)]
pub struct Heard {
    held: HashMap<KeyHash, Version>,
    digest: SetDigest,
    /// The latest content of each name, and when it came.
    arrived: HashMap<String, (Instant, v1::Endpoint)>,
    /// The snapshot that is being read.
    snapshot_seq: u64,
    sessions: u32,
    /// How many heartbeats in a row named what is held here, and those of them whose sources were all complete.
    equal: u32,
    complete: u32,
    /// Whether the agent receives statuses of its endpoints.
    tells: bool,
    /// The statuses not sent yet.
    untold: Vec<(v1::EndpointKey, Version)>,
    told: u64,
    fault: Option<String>,
}

impl Heard {
    /// When the latest content of a name arrived, if it is the one that is meant.
    pub fn arrival(&self, name: &str, is_meant: impl Fn(&v1::Endpoint) -> bool) -> Option<Instant> {
        self.arrived.get(name).filter(|(_, endpoint)| is_meant(endpoint)).map(|(at, _)| *at)
    }

    /// Whether this is all there is, and the agent has said for a while that it has nothing else.
    fn is_settled(&self, endpoints: usize) -> bool {
        self.held.len() == endpoints && self.equal >= ENOUGH
    }

    /// Whether the agent has said for a while that it knows what became of everything.
    fn is_complete(&self) -> bool {
        self.complete >= ENOUGH
    }

    fn take(&mut self, message: FromAgent) -> Result<Option<ToAgent>, Status> {
        Ok(match message {
            FromAgent::Hello(_) => {
                self.sessions += 1;
                if self.sessions > 1 {
                    return Err(Status::aborted(
                        "the agent lost its session: what is measured now is something else",
                    ));
                }
                Some(ToAgent::Welcome(v1::Welcome {
                    epoch: 1,
                    mode: Mode::Snapshot.into(),
                    credits: Some(CREDITS),
                    heartbeat_ms: HEARTBEAT_MS,
                    max_message_bytes: MAX_MESSAGE_BYTES,
                    ..v1::Welcome::default()
                }))
            }
            FromAgent::SnapshotBegin(begin) => {
                self.snapshot_seq = begin.seq;
                None
            }
            FromAgent::SnapshotChunk(chunk) => {
                chunk.puts.into_iter().try_for_each(|put| self.put(put))?;
                None
            }
            FromAgent::SnapshotEnd(_) => {
                Some(ToAgent::Ack(v1::Ack { seq: self.snapshot_seq, credits: None }))
            }
            FromAgent::Changes(changes) => {
                let bytes = changes
                    .operations
                    .iter()
                    .map(|operation| prost::Message::encoded_len(operation) as u64)
                    .sum();
                let items = u32::try_from(changes.operations.len()).unwrap_or(u32::MAX);
                changes.operations.into_iter().try_for_each(|operation| self.operate(operation))?;
                Some(ToAgent::Ack(v1::Ack {
                    seq: changes.seq,
                    credits: Some(v1::Credits { items, bytes }),
                }))
            }
            FromAgent::Heartbeat(heartbeat) => {
                let is_equal = heartbeat.count == self.digest.count()
                    && heartbeat.root_digest == self.digest.root().as_slice();
                let is_complete = is_equal && heartbeat.sources.iter().all(|source| source.synced);
                self.equal = if is_equal { self.equal + 1 } else { 0 };
                self.complete = if is_complete { self.complete + 1 } else { 0 };
                Some(ToAgent::Ping(v1::Ping { nonce: 1 }))
            }
            FromAgent::Ping(ping) => Some(ToAgent::Pong(v1::Pong { nonce: ping.nonce })),
            FromAgent::Pong(_) => None,
            FromAgent::BucketDigests(_) | FromAgent::KeyVersions(_) => {
                return Err(Status::aborted("the agent answers what it was not asked"));
            }
        })
    }

    fn operate(&mut self, operation: v1::Operation) -> Result<(), Status> {
        match operation.operation {
            Some(Operation::Put(put)) => self.put(put),
            Some(Operation::Del(del)) => {
                let key: EndpointKey = del.key.unwrap_or_default().into();
                let hash = key.hash();
                if let Some(version) = self.held.remove(&hash) {
                    self.digest.remove(&hash, &version);
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn put(&mut self, put: v1::Put) -> Result<(), Status> {
        let unreadable = |_| Status::invalid_argument("a version is not a hash");
        let version = version_from_wire("version", &put.version).map_err(unreadable)?;
        let endpoint = put.endpoint.unwrap_or_default();
        let wire_key = endpoint.key.clone().unwrap_or_default();
        let hash = EndpointKey::from(wire_key.clone()).hash();
        if let Some(before) = self.held.insert(hash, version) {
            self.digest.remove(&hash, &before);
        }
        self.digest.insert(&hash, &version);
        self.arrived.insert(wire_key.dns_name.clone(), (Instant::now(), endpoint));
        self.untold.push((wire_key, version));
        Ok(())
    }

    /// The statuses to send to the agent now, in the words of a broker.
    fn tell(&mut self) -> Vec<v1::EndpointStatus> {
        let status = |(key, version): (v1::EndpointKey, Version)| {
            self.told += 1;
            v1::EndpointStatus {
                key: Some(key),
                version: version_to_wire(&version),
                verdict: v1::VerdictState::Accepted.into(),
                reason: "ACCEPTED".to_owned(),
                message: String::new(),
                progress: v1::Progress::InSync.into(),
                account: "111122223333".to_owned(),
                zone_id: "Z04210572KAPLX3RVQ8B1".to_owned(),
                zone_name: super::objects::ZONE.to_owned(),
                change_id: format!("C{:020}", self.told),
                at_ms: i64::try_from(self.told).unwrap_or(i64::MAX),
                expected_ms: 0,
            }
        };
        std::mem::take(&mut self.untold).into_iter().map(status).collect()
    }
}

/// See the module's page. Clones share what was heard.
#[derive(Clone)]
pub struct Sink {
    heard: Arc<watch::Sender<Heard>>,
}

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Sink {
    /// One that has heard nothing.
    pub fn new() -> Self {
        Self { heard: Arc::new(watch::Sender::new(Heard::default())) }
    }

    /// Opens a port of this machine. It serves from [`serve`](Self::serve) on.
    ///
    /// # Errors
    /// There is none.
    pub async fn bind() -> anyhow::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port is free")?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    }

    /// Serves agents until it is dropped.
    ///
    /// # Errors
    /// The port cannot be used.
    pub async fn serve(&self, listener: TcpListener) -> anyhow::Result<()> {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Server::builder()
            .add_service(FederationServer::new(self.clone()))
            .serve_with_incoming(incoming)
            .await?;
        anyhow::bail!("the broker of the benchmark serves no more")
    }

    /// From now on the agent receives the statuses of its endpoints.
    pub fn tell(&self) {
        self.heard.send_modify(|heard| {
            heard.tells = true;
            (heard.equal, heard.complete) = (0, 0);
        });
    }

    /// Returns when `endpoints` endpoints are held, and the agent says that they are all.
    ///
    /// # Errors
    /// The agent broke off.
    pub async fn settled(&self, endpoints: usize) -> anyhow::Result<()> {
        self.until(|heard| heard.is_settled(endpoints).then_some(())).await
    }

    /// Returns when the agent has heard what became of everything, and compared it.
    ///
    /// # Errors
    /// The agent broke off.
    pub async fn complete(&self) -> anyhow::Result<()> {
        self.until(|heard| heard.is_complete().then_some(())).await
    }

    /// Returns what was looked for once it is there.
    ///
    /// # Errors
    /// The agent broke off.
    pub async fn until<T>(&self, look: impl Fn(&Heard) -> Option<T>) -> anyhow::Result<T> {
        let mut changes = self.heard.subscribe();
        loop {
            {
                let heard = changes.borrow_and_update();
                if let Some(fault) = &heard.fault {
                    anyhow::bail!("the session of the agent failed: {fault}");
                }
                if let Some(found) = look(&heard) {
                    return Ok(found);
                }
            }
            changes.changed().await?;
        }
    }

    /// The number of endpoints held now, for messages.
    pub fn endpoints(&self) -> usize {
        self.heard.borrow().held.len()
    }

    fn answer(
        &self,
        message: Result<v1::AgentMessage, Status>,
    ) -> Option<Result<v1::BrokerMessage, Status>> {
        let mut answer = Ok(None);
        self.heard.send_modify(|heard| {
            answer = match message {
                Ok(v1::AgentMessage { message: Some(message) }) => heard.take(message),
                Ok(_) => Ok(None),
                Err(status) => Err(status),
            };
            if let Err(status) = &answer {
                heard.fault.get_or_insert_with(|| status.message().to_owned());
            }
        });
        answer
            .map(|answer| answer.map(|message| v1::BrokerMessage { message: Some(message) }))
            .transpose()
    }
}

#[tonic::async_trait]
impl Federation for Sink {
    type PublishStream = Out<v1::BrokerMessage>;
    type WatchStatusStream = Out<v1::StatusBatch>;

    async fn publish(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let sink = self.clone();
        let answers = request
            .into_inner()
            .filter_map(move |message| std::future::ready(sink.answer(message)));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn watch_status(
        &self,
        _: Request<v1::WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let teller = Teller {
            heard: self.heard.clone(),
            changes: self.heard.subscribe(),
            open: VecDeque::new(),
            has_replayed: false,
        };
        Ok(Response::new(Box::pin(stream::unfold(teller, Teller::next))))
    }
}

/// One stream of statuses: the replay, once there is any status, then each change.
struct Teller {
    heard: Arc<watch::Sender<Heard>>,
    changes: watch::Receiver<Heard>,
    open: VecDeque<v1::StatusBatch>,
    has_replayed: bool,
}

impl Teller {
    async fn next(mut self) -> Option<(Result<v1::StatusBatch, Status>, Self)> {
        loop {
            if let Some(batch) = self.open.pop_front() {
                return Some((Ok(batch), self));
            }
            let is_due =
                |heard: &Heard| heard.tells && (!self.has_replayed || !heard.untold.is_empty());
            self.changes.wait_for(is_due).await.ok()?;
            let mut statuses = Vec::new();
            self.heard.send_if_modified(|heard| {
                statuses = heard.tell();
                false
            });
            while !statuses.is_empty() {
                let rest = statuses.split_off(statuses.len().min(BATCH));
                let batch = std::mem::replace(&mut statuses, rest);
                self.open
                    .push_back(v1::StatusBatch { statuses: batch, ..v1::StatusBatch::default() });
            }
            if !std::mem::replace(&mut self.has_replayed, true) {
                self.open
                    .push_back(v1::StatusBatch { replay_done: true, ..v1::StatusBatch::default() });
            }
        }
    }
}

#[cfg(test)]
mod tests;
