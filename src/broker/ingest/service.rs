//! The gRPC service: admission, and the life of a stream.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::Stream;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument as _, info, info_span, warn};

use super::admission::{Admission, Caller};
use super::committer::CommitterHandle;
use super::opener::{OpenError, Opener, OpenerHandle};
use super::quiet::Quiet;
use super::readiness::lost;
use super::session::{End, Limits, Session, State};
use super::status;
use super::watchers::Watchers;
use crate::broker::decider::DeciderMessage;
use crate::broker::directory::SharedDirectory;
use crate::broker::metrics::BrokerMetrics;
use crate::broker::replicas::feed_reader::FeedHandle;
use crate::core::ids::{ClusterId, Epoch};
use crate::ports::{Clock, SessionOpened, SessionOpening, Store};
use crate::wire::v1::federation_server::Federation;
use crate::wire::v1::{self, agent_message, broker_message, welcome};

/// Hello has to come within this time.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Messages that wait for a slow reader; then its session waits too.
const OUTBOUND: usize = 64;
/// How long an ending session has for its last acks and words. After that its agent reads nothing, and it ends without them.
const LAST_WORDS: Duration = Duration::from_secs(4);
/// When the broker stops, its agents reconnect no sooner than this, spread to this many a second.
const DRAIN_AFTER_MS: u64 = 500;
const DRAIN_PER_SECOND: u64 = 500;

/// The parts of the service.
pub struct ServiceParts {
    /// Authenticates callers.
    pub admission: Admission,
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Group commit.
    pub committer: CommitterHandle,
    pub decider: mpsc::Sender<DeciderMessage>,
    /// Changes that other replicas made durable.
    pub feed: FeedHandle,
    pub directory: SharedDirectory,
    /// The figures.
    pub metrics: BrokerMetrics,
    /// The bounds of each session.
    pub limits: Limits,
    /// Whether this replica reaches its store, so that sessions may stay.
    pub ready: watch::Receiver<bool>,
    /// The seed of the jitter.
    pub seed: u64,
}

/// See the module's page.
#[derive(Clone)]
pub struct FederationService(Arc<Inner>);

struct Inner {
    parts: ServiceParts,
    opener: OpenerHandle,
    sessions: Mutex<HashMap<ClusterId, (Epoch, CancellationToken)>>,
    /// The most sessions that were open when one ended by the drain.
    drained: AtomicUsize,
    rng: Mutex<fastrand::Rng>,
    watch_rng: Mutex<fastrand::Rng>,
    sessions_refused: Quiet<i32>,
    watchers: Watchers,
    tracker: TaskTracker,
    drain: CancellationToken,
}

impl FederationService {
    /// The service; `tracker` waits for its sessions, `drain` ends them.
    pub fn new(parts: ServiceParts, tracker: TaskTracker, drain: CancellationToken) -> Self {
        let [rng, watch_rng] =
            [parts.seed, !parts.seed].map(|seed| Mutex::new(fastrand::Rng::with_seed(seed)));
        let (opener, handle) =
            Opener::new(Arc::clone(&parts.store), parts.decider.clone(), parts.feed.clone());
        tracker.spawn(opener.run(drain.clone()));
        let (sessions, drained) = (Mutex::default(), AtomicUsize::new(0));
        let opener = handle;
        Self(Arc::new(Inner {
            parts,
            opener,
            sessions,
            drained,
            rng,
            watch_rng,
            sessions_refused: Quiet::default(),
            watchers: Watchers::default(),
            tracker,
            drain,
        }))
    }

    /// The clusters with an open session, and its epoch.
    pub fn open_sessions(&self) -> HashMap<ClusterId, Epoch> {
        let sessions = self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.iter().map(|(cluster, (epoch, _))| (cluster.clone(), *epoch)).collect()
    }
}

impl Inner {
    fn registered(&self, cluster: &str) -> Result<ClusterId, Status> {
        let id = ClusterId::parse(cluster)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if self.parts.directory.settings().contains_key(&id) {
            return Ok(id);
        }
        Err(not_registered(&id))
    }

    /// Takes Hello, opens the session and says Welcome; then the session runs.
    async fn serve(
        self: Arc<Self>,
        caller: Caller,
        mut inbound: Streaming<v1::AgentMessage>,
        outbound: mpsc::Sender<Result<v1::BrokerMessage, Status>>,
    ) {
        let opened = tokio::select! {
            opened = self.open(&caller, &mut inbound, &outbound) => opened,
            () = self.drain.cancelled() => Err(Status::unavailable("the broker shuts down: connect again")),
        };
        let (session, superseded) = match opened {
            Ok(opened) => opened,
            Err(status) => {
                if let Some(count) = self.sessions_refused.count(status.code() as i32) {
                    warn!(code = ?status.code(), count, "a session was refused: {}", status.message());
                }
                // The agent may have gone already.
                let _gone = outbound.send(Err(status)).await;
                return;
            }
        };
        let (cluster, epoch) = (session.cluster.clone(), session.epoch);
        self.parts.metrics.sessions.inc();
        // The session ends by itself before its credentials expire, so that the agent shows newer ones.
        let admission = &self.parts.admission;
        let age = self.age().min(admission.time_left(&caller).unwrap_or(Duration::MAX));
        let overdue = self.overdue(superseded.clone(), age);
        let expired = admission.expired(caller.good_until());
        let span = info_span!("session", %cluster, epoch = epoch.0);
        let running = session.run(inbound, superseded, self.drain.clone(), age).instrument(span);
        let end = tokio::select! {
            end = running => end,
            () = overdue => End::Failed(Status::deadline_exceeded("the agent does not read what it is sent")),
            withdrawn = admission.withdrawn(caller, &cluster) => End::Failed(withdrawn),
            status = async {
                let status = expired.await;
                tokio::time::sleep(LAST_WORDS).await;
                status
            } => End::GoAway(v1::go_away::Reason::SessionAge, status.message().to_owned()),
            // Units in flight will not be acked here: the agent sends them again elsewhere.
            () = lost(self.parts.ready.clone()) => End::GoAway(
                v1::go_away::Reason::Drain,
                "this replica does not reach its store: connect to another one".to_owned(),
            ),
        };
        self.parts.metrics.sessions.dec();
        let reconnect_after_ms = self.reconnect_after_ms(&end);
        self.forget(&cluster, epoch);
        self.say_goodbye(&cluster, epoch, end, reconnect_after_ms, &outbound).await;
    }

    /// Returns when a session should have ended by itself and has not: it waits for an agent that does not read.
    async fn overdue(&self, superseded: CancellationToken, age: Duration) {
        tokio::select! {
            () = superseded.cancelled() => {}
            () = self.drain.cancelled() => {}
            () = tokio::time::sleep(age) => {}
        }
        tokio::time::sleep(LAST_WORDS).await;
    }

    async fn say_goodbye(
        &self,
        cluster: &ClusterId,
        epoch: Epoch,
        end: End,
        reconnect_after_ms: u64,
        outbound: &mpsc::Sender<Result<v1::BrokerMessage, Status>>,
    ) {
        let word = match end {
            End::Closed => {
                info!(cluster = %cluster, epoch = epoch.0, "session closed");
                return;
            }
            End::GoAway(reason, detail) => {
                info!(cluster = %cluster, epoch = epoch.0, reason = reason.as_str_name(), "session ended: {detail}");
                let go_away = v1::GoAway { reason: reason as i32, reconnect_after_ms, detail };
                Ok(v1::BrokerMessage { message: Some(broker_message::Message::GoAway(go_away)) })
            }
            End::Failed(status) => {
                warn!(cluster = %cluster, epoch = epoch.0, code = ?status.code(), "session failed: {}", status.message());
                Err(status)
            }
        };
        // The agent may have gone, or not read earlier messages.
        let _unheard = tokio::time::timeout(LAST_WORDS, outbound.send(word)).await;
    }

    async fn open(
        &self,
        caller: &Caller,
        inbound: &mut Streaming<v1::AgentMessage>,
        outbound: &mpsc::Sender<Result<v1::BrokerMessage, Status>>,
    ) -> Result<(Session, CancellationToken), Status> {
        let first = tokio::time::timeout(HELLO_WITHIN, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no Hello came within ten seconds"))??;
        let Some(agent_message::Message::Hello(hello)) = first.and_then(|message| message.message)
        else {
            return Err(Status::invalid_argument("the first message has to be Hello"));
        };
        let cluster = self.registered(&hello.cluster)?;
        self.parts.admission.claim(caller, &cluster)?;
        if hello.kube_system_uid.is_empty() {
            return Err(Status::invalid_argument(
                "Hello has no kube-system UID: it tells clusters of one name apart",
            ));
        }
        let opening = SessionOpening {
            cluster: cluster.clone(),
            kube_system_uid: hello.kube_system_uid.clone(),
            instance_id: hello.instance_id.clone(),
            at: self.parts.clock.now(),
        };
        let (epoch, known) = match self.opener.open(opening).await.map_err(open_status)? {
            SessionOpened::Welcome { epoch, known } => (epoch, known),
            SessionOpened::IdentityConflict { registered_uid } => {
                let message = format!(
                    "the name {cluster} belongs to the cluster with the kube-system UID {registered_uid}, and this one has {}: register this cluster under a name of its own",
                    hello.kube_system_uid
                );
                self.parts.admission.raise_other_uid(&cluster, &message);
                return Err(Status::failed_precondition(message));
            }
        };
        let superseded = self.supersede(&cluster, epoch);
        let directory = &self.parts.directory;
        let root = directory.digest(&cluster).root();
        // The cluster may have been removed from the configuration meanwhile, and then has no quota.
        let quota = directory.quota(&cluster).ok_or_else(|| not_registered(&cluster))?;
        let resume = hello.resume.unwrap_or_default();
        let mode = match known {
            false => welcome::Mode::Snapshot,
            true if root[..] == resume.root_digest[..] => welcome::Mode::Resume,
            true => welcome::Mode::Diff,
        };
        info!(cluster = %cluster, epoch = epoch.0, mode = mode.as_str_name(), by = caller.means().as_str(), endpoints = resume.count, agent = %hello.agent_version, "session opened");
        let limits = self.parts.limits.clone();
        let mut session = Session {
            cluster,
            epoch,
            committer: self.parts.committer.clone(),
            decider: self.parts.decider.clone(),
            directory: self.parts.directory.clone(),
            outbound: outbound.clone(),
            limits: limits.clone(),
            state: State::new(root, quota),
        };
        session.note_sources(&hello.sources);
        let welcome = v1::Welcome {
            epoch: epoch.0,
            mode: mode as i32,
            credits: Some(v1::Credits { items: limits.credit_items, bytes: limits.credit_bytes }),
            policy_digest: bytes::Bytes::new(),
            heartbeat_ms: limits.heartbeat.as_millis() as u64,
            max_message_bytes: limits.max_message_bytes,
            features: vec![],
        };
        let message =
            v1::BrokerMessage { message: Some(broker_message::Message::Welcome(welcome)) };
        outbound.send(Ok(message)).await.map_err(|_| Status::cancelled("the agent has gone"))?;
        Ok((session, superseded))
    }

    /// Notes the new session and tells an older one to go.
    fn supersede(&self, cluster: &ClusterId, epoch: Epoch) -> CancellationToken {
        let token = CancellationToken::new();
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = sessions.get(cluster).is_none_or(|(other, _)| *other < epoch);
        if newest {
            if let Some((_, old)) = sessions.insert(cluster.clone(), (epoch, token.clone())) {
                old.cancel();
            }
        } else {
            token.cancel();
        }
        token
    }

    fn forget(&self, cluster: &ClusterId, epoch: Epoch) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.get(cluster).is_some_and(|(other, _)| *other == epoch) {
            sessions.remove(cluster);
        }
    }

    /// How long an agent is asked to stay away: agents of a broker that stops come back one after the other.
    fn reconnect_after_ms(&self, end: &End) -> u64 {
        if !matches!(end, End::GoAway(v1::go_away::Reason::Drain, _)) {
            return 0;
        }
        let open = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).len();
        let most = self.drained.fetch_max(open, Ordering::Relaxed).max(open);
        let window_ms = most as u64 * 1_000 / DRAIN_PER_SECOND;
        DRAIN_AFTER_MS + self.rng.lock().unwrap_or_else(PoisonError::into_inner).u64(0..=window_ms)
    }

    fn age(&self) -> Duration {
        self.age_by(&self.rng)
    }

    /// How long a stream of statuses lives: as long as a session.
    fn watch_age(&self) -> Duration {
        self.age_by(&self.watch_rng)
    }

    fn age_by(&self, rng: &Mutex<fastrand::Rng>) -> Duration {
        let least = self.parts.limits.least_age;
        let jitter = rng.lock().unwrap_or_else(PoisonError::into_inner).f64();
        least + least.mul_f64(jitter)
    }
}

fn not_registered(cluster: &ClusterId) -> Status {
    Status::permission_denied(format!(
        "the cluster {cluster} is not registered at this broker: add it to `clusters` in the broker's configuration"
    ))
}

fn open_status(error: OpenError) -> Status {
    match error {
        OpenError::Unavailable | OpenError::Stopping => Status::unavailable(error.to_string()),
        OpenError::Refused => Status::internal(error.to_string()),
    }
}

/// A stream of answers.
pub(super) type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Federation for FederationService {
    type PublishStream = Outgoing<v1::BrokerMessage>;
    type WatchStatusStream = Outgoing<v1::StatusBatch>;

    async fn publish(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let caller = self.0.parts.admission.prove(&request).await?;
        let (outbound, stream) = mpsc::channel(OUTBOUND);
        let inner = Arc::clone(&self.0);
        self.0.tracker.spawn(inner.serve(caller, request.into_inner(), outbound));
        // The headers go at once, whatever Hello will say.
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn watch_status(
        &self,
        request: Request<v1::WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let admission = self.0.parts.admission.clone();
        let caller = admission.prove(&request).await?;
        let cluster = self.0.registered(&request.get_ref().cluster)?;
        admission.claim(&caller, &cluster)?;
        let watching = self.0.watchers.open(&cluster)?;
        let (outbound, stream) = mpsc::channel(4);
        let held = &request.get_ref().held_digests;
        // An agent that holds nothing decides withdrawals by the replay: it must not lack changes of other replicas.
        if held.is_empty() && self.0.parts.feed.catch_up().await.is_err() {
            return Err(Status::unavailable("the store does not answer: connect again"));
        }
        let endpoints = self.0.parts.directory.cluster(&cluster);
        let Some(follower) = endpoints.follow(held) else {
            return Err(Status::invalid_argument(format!(
                "{} bytes of held_digests came and 8192 are 256 digests",
                held.len()
            )));
        };
        let (directory, drain) = (self.0.parts.directory.clone(), self.0.drain.clone());
        let clock = Arc::clone(&self.0.parts.clock);
        let follow =
            status::follow(follower, directory, outbound.clone(), drain, move || clock.now());
        let (age, good_until) = (self.0.watch_age(), caller.good_until());
        self.0.tracker.spawn(async move {
            let _watching = watching;
            let end = tokio::select! {
                () = follow => return,
                // Nothing is wrong with the stream: the agent opens the next one, at whichever replica.
                () = tokio::time::sleep(age) => return,
                withdrawn = admission.withdrawn(caller, &cluster) => withdrawn,
                expired = admission.expired(good_until) => expired,
            };
            // The agent may have gone, or not read earlier messages.
            let _unheard = tokio::time::timeout(LAST_WORDS, outbound.send(Err(end))).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}
