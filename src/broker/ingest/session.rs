//! One session of one cluster: messages are processed in order, and acked when durable.

mod credit;
mod diff;
mod quota;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::{info, warn};

use self::credit::Taken;
use self::diff::Diff;
use self::quota::QuotaState;
use super::committer::{Commit, CommitterHandle};
use super::put::{malformed, read_put};
use super::snapshot::{Snapshot, SnapshotError};
use crate::broker::decider::DeciderMessage;
use crate::broker::directory::SharedDirectory;
use crate::core::endpoint::quota::Quota;
use crate::core::endpoint::{KeyHash, Version};
use crate::core::ids::{ClusterId, Epoch};
use crate::ports::{IngestOp, IngestUnit};
use crate::wire::convert::{key_hashes_to_wire, version_from_wire};
use crate::wire::v1::{self, agent_message, broker_message, operation};

/// The bounds on what a session accepts and sends.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Operations that may be in flight without an ack.
    pub credit_items: u32,
    /// Bytes of them.
    pub credit_bytes: u64,
    /// The largest message.
    pub max_message_bytes: u32,
    /// How often the agent sends a heartbeat; silence for three of them ends the session.
    pub heartbeat: Duration,
    /// A session ends after a time between this and twice this, so that streams spread over replicas.
    pub least_age: Duration,
    /// The largest first snapshot, in endpoints.
    pub snapshot_items: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // One unit of a cluster is processed whole, so this bounds the wait of a quiet cluster's change.
            credit_items: 2_000,
            credit_bytes: 8 << 20,
            // A connection keeps the room of its largest message for as long as it lives.
            max_message_bytes: 128 << 10,
            heartbeat: Duration::from_secs(10),
            least_age: Duration::from_secs(1_800),
            snapshot_items: 500_000,
        }
    }
}

/// How a session ends.
#[derive(Debug)]
pub enum End {
    /// The stream is over.
    Closed,
    /// The agent gets GoAway, with the reason.
    GoAway(v1::go_away::Reason, String),
    /// The stream fails.
    Failed(Status),
}

/// How many parts of a snapshot are in flight to the store at most; the next ones are not read before.
const PARTS_AT_ONCE: usize = 4;

fn protocol(detail: impl Into<String>) -> End {
    End::GoAway(v1::go_away::Reason::Protocol, detail.into())
}

impl From<SnapshotError> for End {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Protocol(text) => protocol(text),
            SnapshotError::TooLarge(text) => Self::Failed(Status::resource_exhausted(text)),
        }
    }
}

struct InFlight {
    seq: u64,
    credits: v1::Credits,
    commit: Commit,
}

/// See the module's page.
pub struct Session {
    /// The cluster that the agent speaks for.
    pub(super) cluster: ClusterId,
    /// The number of the session: an older one commits nothing.
    pub(super) epoch: Epoch,
    /// Makes units durable.
    pub(super) committer: CommitterHandle,
    /// Waited for before a comparison: until the directory has all commits.
    pub(super) decider: mpsc::Sender<DeciderMessage>,
    /// Read for the cluster's digests and keys.
    pub(super) directory: SharedDirectory,
    /// Messages to the agent; bounded.
    pub(super) outbound: mpsc::Sender<Result<v1::BrokerMessage, Status>>,
    /// Its credits, sizes and times.
    pub(super) limits: Limits,
    /// Its state between messages.
    pub(super) state: State,
}

/// The state of a session between messages.
pub struct State {
    /// Whether each source is synced.
    sources: BTreeMap<String, bool>,
    last_seq: u64,
    in_flight: FuturesOrdered<futures::future::BoxFuture<'static, Option<InFlight>>>,
    /// Whether something was submitted that may not be in the directory yet.
    in_doubt: bool,
    /// The root of what the agent should hold; `None` if it may have changed. No other session changes the cluster's durable
    /// endpoints, so while nothing is submitted a heartbeat is compared with this and costs nothing more.
    expected_root: Option<[u8; 32]>,
    /// A comparison under way: the requested buckets, and the keys that came.
    diff: Option<Diff>,
    /// Whether the last comparison left deletions to the next one, after the requested bodies.
    deletions_waited: bool,
    snapshot: Option<Snapshot>,
    /// Keys that the agent no longer names and whose source is not synced: kept, and not counted as a difference.
    kept_keys: HashMap<KeyHash, Version>,
    credits: Taken,
    quota: QuotaState,
}

impl State {
    /// The state of a session that has just been opened, with this root of what is durable and this quota of its cluster.
    pub(super) fn new(root: [u8; 32], quota: Quota) -> Self {
        Self {
            sources: BTreeMap::new(),
            last_seq: 0,
            in_flight: FuturesOrdered::new(),
            in_doubt: false,
            expected_root: Some(root),
            diff: None,
            deletions_waited: false,
            snapshot: None,
            kept_keys: HashMap::new(),
            credits: Taken::default(),
            quota: QuotaState::new(quota),
        }
    }
}

impl Session {
    /// Processes messages until the stream ends, the session is superseded or the broker drains.
    pub async fn run(
        mut self,
        mut inbound: Streaming<v1::AgentMessage>,
        superseded: CancellationToken,
        drain: CancellationToken,
        age: Duration,
    ) -> End {
        let too_old = tokio::time::sleep(age);
        tokio::pin!(too_old);
        let silence = (self.limits.heartbeat * 3).max(Duration::from_secs(5));
        loop {
            let has_room = self.state.in_flight.len() < 64;
            let end = tokio::select! {
                Some(acked) = self.state.in_flight.next(), if !self.state.in_flight.is_empty() => self.ack(acked).await.err(),
                message = tokio::time::timeout(silence, inbound.message()), if has_room => match message {
                    Ok(Ok(Some(message))) => self.take(message).await.err(),
                    Ok(Ok(None)) => Some(End::Closed),
                    Ok(Err(status)) => Some(broken(&status)),
                    Err(_) => Some(End::Failed(Status::deadline_exceeded("nothing was heard of the agent for three heartbeats"))),
                },
                () = superseded.cancelled() => Some(End::GoAway(v1::go_away::Reason::Superseded, format!("a newer session of {} was welcomed", self.cluster))),
                () = drain.cancelled() => Some(End::GoAway(v1::go_away::Reason::Drain, "the broker shuts down".to_owned())),
                () = &mut too_old => Some(End::GoAway(v1::go_away::Reason::SessionAge, String::new())),
            };
            let Some(end) = end else { continue };
            // Everything submitted is acked before the session ends, whatever the reason.
            while let Some(acked) = self.state.in_flight.next().await {
                if self.ack(acked).await.is_err() {
                    break;
                }
            }
            return end;
        }
    }

    pub(super) async fn take(&mut self, message: v1::AgentMessage) -> Result<(), End> {
        match message.message {
            Some(agent_message::Message::Changes(changes)) => self.take_changes(changes).await,
            Some(agent_message::Message::BucketDigests(digests)) => {
                self.take_digests(&digests.digests).await
            }
            Some(agent_message::Message::KeyVersions(keys)) => self.take_keys(keys).await,
            Some(agent_message::Message::SnapshotBegin(begin)) => self.begin_snapshot(begin),
            Some(agent_message::Message::SnapshotChunk(chunk)) => self.take_chunk(chunk).await,
            Some(agent_message::Message::SnapshotEnd(end)) => self.end_snapshot(end).await,
            Some(agent_message::Message::Heartbeat(heartbeat)) => {
                self.take_heartbeat(heartbeat).await
            }
            Some(agent_message::Message::Ping(ping)) => {
                self.say(broker_message::Message::Pong(v1::Pong { nonce: ping.nonce })).await
            }
            Some(agent_message::Message::Pong(_)) => Ok(()),
            Some(agent_message::Message::Hello(_)) => {
                Err(protocol("Hello was sent twice: open another stream for another session"))
            }
            None => Err(protocol(
                "a message of a kind that this broker does not know: update the broker before the agent",
            )),
        }
    }

    async fn take_changes(&mut self, changes: v1::Changes) -> Result<(), End> {
        self.next_seq(changes.seq)?;
        let credits = v1::Credits {
            items: u32::try_from(changes.operations.len()).unwrap_or(u32::MAX),
            bytes: changes.operations.iter().map(|operation| operation.encoded_len() as u64).sum(),
        };
        let credits = self.state.credits.take(credits, &self.limits)?;
        let (mut ops, mut malformed) = (vec![], vec![]);
        for operation in changes.operations {
            match read_operation(operation) {
                Ok(op) => ops.push(op),
                Err(status) => malformed.push(*status),
            }
        }
        if !malformed.is_empty() {
            self.say(broker_message::Message::Verdicts(v1::Verdicts { verdicts: malformed }))
                .await?;
        }
        for op in &ops {
            let key = match op {
                IngestOp::Put { key, .. } | IngestOp::Del { key, .. } => key,
            };
            self.state.kept_keys.remove(key);
        }
        self.submit(changes.seq, ops, credits, false).await
    }

    pub(super) fn next_seq(&mut self, seq: u64) -> Result<(), End> {
        if seq != self.state.last_seq + 1 {
            return Err(protocol(format!(
                "the sequence number {seq} came after {}: they rise by one",
                self.state.last_seq
            )));
        }
        self.state.last_seq = seq;
        Ok(())
    }

    pub(super) async fn submit(
        &mut self,
        seq: u64,
        mut ops: Vec<IngestOp>,
        credits: v1::Credits,
        completes_snapshot: bool,
    ) -> Result<(), End> {
        self.keep_to_quota(&mut ops).await?;
        let placings = self.directory.propose(&self.cluster, &ops);
        let unit = IngestUnit {
            placings,
            cluster: self.cluster.clone(),
            epoch: self.epoch,
            seq,
            completes_snapshot,
            ops,
        };
        let Some(told) = self.committer.submit(unit).await else {
            return Err(End::GoAway(
                v1::go_away::Reason::Drain,
                "the broker shuts down".to_owned(),
            ));
        };
        self.state.in_doubt = true;
        self.state.expected_root = None;
        self.state.in_flight.push_back(Box::pin(async move {
            told.await.ok().map(|commit| InFlight { seq, credits, commit })
        }));
        Ok(())
    }

    async fn ack(&mut self, in_flight: Option<InFlight>) -> Result<(), End> {
        match in_flight {
            Some(InFlight { seq, credits, commit: Commit::Durable }) => {
                // Deletions that the broker decided itself and parts of a snapshot have no sequence number to be acked.
                self.state.credits.give_back(&credits);
                if seq == 0 {
                    Ok(())
                } else {
                    self.say(broker_message::Message::Ack(v1::Ack { seq, credits: Some(credits) }))
                        .await
                }
            }
            Some(InFlight { commit: Commit::Fenced, .. }) => Err(End::GoAway(
                v1::go_away::Reason::Superseded,
                format!(
                    "a newer session of {} was welcomed: nothing of this one is committed any more",
                    self.cluster
                ),
            )),
            Some(InFlight { commit: Commit::Refused, .. }) => Err(End::Failed(Status::internal(
                "the store refuses the change; see the broker's log",
            ))),
            None => Err(End::Failed(Status::unavailable(
                "the broker stops before the change was durable; it is asked for again",
            ))),
        }
    }

    /// Everything submitted so far is durable and in the directory when this returns.
    pub(super) async fn settle(&mut self) -> Result<(), End> {
        while let Some(in_flight) = self.state.in_flight.next().await {
            self.ack(in_flight).await?;
        }
        if self.state.in_doubt {
            barrier(&self.decider).await.ok_or_else(|| {
                End::GoAway(v1::go_away::Reason::Drain, "the broker shuts down".to_owned())
            })?;
            self.state.in_doubt = false;
        }
        self.state.quota.all_is_there();
        Ok(())
    }

    /// Notes the states of the agent's sources; returns whether one became synced.
    pub(super) fn note_sources(&mut self, sources: &[v1::SourceState]) -> bool {
        let mut newly_synced = false;
        for source in sources {
            let before = self.state.sources.get(&source.kind).copied();
            if before == Some(source.synced) {
                continue;
            }
            self.state.sources.insert(source.kind.clone(), source.synced);
            newly_synced |= source.synced && before != Some(true);
            let (cluster, kind, reason) = (&self.cluster, &source.kind, &source.last_error);
            match (before, source.synced) {
                // Every agent begins like this.
                (None, false) => {
                    info!(%cluster, source = %kind, %reason, "a source is not synced yet, its keys are kept")
                }
                (Some(_), false) => {
                    warn!(%cluster, source = %kind, %reason, "a source is not synced any more, its keys are kept")
                }
                (Some(false), true) => info!(%cluster, source = %kind, "a source is synced"),
                (_, true) => {}
            }
        }
        newly_synced
    }

    pub(super) fn is_synced(&self, source: &str) -> bool {
        self.state.sources.get(source).copied().unwrap_or(false)
    }

    async fn request_bodies(&mut self, wanted: &[KeyHash]) -> Result<(), End> {
        let per_message = (self.limits.max_message_bytes as usize / 2 / 32).max(1);
        let mut chunks = wanted.chunks(per_message).peekable();
        loop {
            let chunk = chunks.next().unwrap_or_default();
            let last = chunks.peek().is_none();
            self.say(broker_message::Message::BodyRequest(v1::BodyRequest {
                key_hashes: key_hashes_to_wire(chunk),
                last,
            }))
            .await?;
            if last {
                return Ok(());
            }
        }
    }

    pub(super) async fn say(&mut self, message: broker_message::Message) -> Result<(), End> {
        self.outbound
            .send(Ok(v1::BrokerMessage { message: Some(message) }))
            .await
            .map_err(|_| End::Closed)
    }

    fn begin_snapshot(&mut self, begin: v1::SnapshotBegin) -> Result<(), End> {
        self.next_seq(begin.seq)?;
        if self.state.snapshot.is_some() {
            return Err(protocol("a snapshot began inside another"));
        }
        if begin.count > self.limits.snapshot_items as u64 {
            return Err(protocol(format!(
                "the snapshot has {} endpoints and {} are taken at once: split the cluster's sources over several registered clusters",
                begin.count, self.limits.snapshot_items
            )));
        }
        self.can_hold(usize::try_from(begin.count).unwrap_or(usize::MAX))?;
        self.state.snapshot = Some(Snapshot::new(begin));
        Ok(())
    }

    async fn take_chunk(&mut self, chunk: v1::SnapshotChunk) -> Result<(), End> {
        let Some(snapshot) = &mut self.state.snapshot else {
            return Err(protocol("a part of a snapshot came before its begin"));
        };
        for part in snapshot.take(chunk).map_err(End::from)? {
            self.submit(0, part, v1::Credits::default(), false).await?;
        }
        // A snapshot uses no credits: it waits here, and its unread rest waits at the agent.
        while self.state.in_flight.len() > PARTS_AT_ONCE
            && let Some(in_flight) = self.state.in_flight.next().await
        {
            self.ack(in_flight).await?;
        }
        Ok(())
    }

    async fn end_snapshot(&mut self, end: v1::SnapshotEnd) -> Result<(), End> {
        let Some(snapshot) = self.state.snapshot.take() else {
            return Err(protocol("a snapshot ended before its begin"));
        };
        self.note_sources(&end.sources);
        let (seq, count) = (snapshot.seq(), snapshot.count());
        let (rest, root) = snapshot.finish().map_err(protocol)?;
        self.submit(seq, rest, v1::Credits::default(), true).await?;
        self.settle().await?;
        info!(cluster = %self.cluster, endpoints = count, "snapshot taken");
        if self.expected_root() == root {
            return Ok(());
        }
        // An earlier snapshot was interrupted, or the cluster was known before: a comparison finds what is gone.
        self.state.diff = Some(Diff::default());
        self.say(broker_message::Message::DiffRequest(v1::DiffRequest {})).await
    }
}

/// The end of a stream that cannot be read further.
fn broken(status: &Status) -> End {
    if status.code() != tonic::Code::OutOfRange {
        return End::Closed;
    }
    warn!("a message was larger than the broker accepts: {}", status.message());
    End::Failed(Status::out_of_range(format!(
        "{}; send messages of at most the size that Welcome names",
        status.message()
    )))
}

/// Waits until everything committed before is in the directory; `None` if the broker stops.
pub async fn barrier(decider: &mpsc::Sender<DeciderMessage>) -> Option<()> {
    let (reply, told) = oneshot::channel();
    decider.send(DeciderMessage::Barrier(reply)).await.ok()?;
    told.await.ok()
}

/// Reads one operation; one that cannot be stored gets its own verdict, and the rest goes on.
fn read_operation(operation: v1::Operation) -> Result<IngestOp, Box<v1::EndpointStatus>> {
    match operation.operation {
        Some(operation::Operation::Put(put)) => {
            read_put(put).map(|(key, version, endpoint)| IngestOp::Put { key, version, endpoint })
        }
        Some(operation::Operation::Del(del)) => {
            let key: crate::core::endpoint::EndpointKey =
                del.key.clone().unwrap_or_default().into();
            match version_from_wire("version_seen", &del.version_seen) {
                _ if del.version_seen.is_empty() => {
                    Ok(IngestOp::Del { key: key.hash(), version_seen: None })
                }
                Ok(version) => Ok(IngestOp::Del { key: key.hash(), version_seen: Some(version) }),
                Err(error) => Err(malformed(del.key, del.version_seen, error.to_string())),
            }
        }
        None => Err(malformed(
            None,
            bytes::Bytes::new(),
            "an operation of a kind that this broker does not know".to_owned(),
        )),
    }
}
