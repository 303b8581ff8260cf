//! An agent's host: the real session over the simulated network. The harness reports the cluster's objects to it, as its
//! watches of the Kubernetes API would.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arcstr::ArcStr;
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use zonefold::agent::Shared;
use zonefold::agent::index::{Index, IndexChange};
use zonefold::agent::session::publisher::{Identity, Publisher};
use zonefold::agent::session::{self, Broker};
use zonefold::agent::sources::{Extraction, ObjectRef, SourceKind};
use zonefold::agent::{Access, KeepAlive};
use zonefold::core::endpoint::verdict::VerdictState;
use zonefold::core::endpoint::{EndpointKey, KeyHash, Version};
use zonefold::wire::v1;

use crate::broker::TOKEN;
use crate::gate::Gate;
use crate::history::{Agent, AgentEnd, Part, Progress, Sight, Status, What};
use crate::net::{Death, Network};
use crate::recorder::{Recorder, lock};

/// The kinds of objects that clusters have.
pub const SOURCES: [SourceKind; 2] = [SourceKind::Service, SourceKind::Ingress];

/// A cluster as its Kubernetes API shows it.
#[derive(Default)]
pub struct Cluster {
    /// Its objects.
    pub objects: BTreeMap<ObjectRef, Extraction>,
    /// The kinds that cannot be read now.
    pub failing: BTreeSet<SourceKind>,
}

impl Cluster {
    /// All objects of a kind, as a list answers them.
    fn list(&self, kind: SourceKind) -> Vec<(ObjectRef, ArcStr, Extraction)> {
        let own = self.objects.iter().filter(|(object, _)| object.source == kind);
        own.map(|(object, extraction)| (object.clone(), "api".into(), extraction.clone())).collect()
    }
}

/// The parts that all agents share.
#[derive(Clone)]
pub struct Surroundings {
    /// The log.
    pub recorder: Recorder,
    /// The network.
    pub network: Network,
    /// How many brokers there are.
    pub brokers: u32,
}

/// One agent's host.
pub struct AgentHost {
    agent: Agent,
    kube_system_uid: String,
    cluster: Arc<Mutex<Cluster>>,
    surroundings: Surroundings,
    random: fastrand::Rng,
    lives: u32,
    life: Option<Life>,
}

struct Life {
    shared: Arc<Shared>,
    gate: Gate,
    stop: CancellationToken,
    tasks: Vec<AbortHandle>,
    /// The kinds that were listed once.
    listed: BTreeSet<SourceKind>,
}

impl AgentHost {
    /// A host on which nothing runs.
    pub fn new(
        agent: Agent,
        kube_system_uid: String,
        cluster: Arc<Mutex<Cluster>>,
        surroundings: Surroundings,
        random: fastrand::Rng,
    ) -> Self {
        Self { agent, kube_system_uid, cluster, surroundings, random, lives: 0, life: None }
    }

    /// The agent's identity.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.life.is_some()
    }

    /// Starts the process; it knows nothing until it has listed its sources, which takes a while for each.
    pub fn start(host: &Arc<Mutex<Self>>) {
        let mut own = lock(host);
        if own.life.is_some() {
            return;
        }
        own.lives += 1;
        let identity = Identity {
            cluster: own.agent.cluster.to_string(),
            kube_system_uid: own.kube_system_uid.clone(),
            instance_id: format!("{}-{}-{}", own.agent.cluster, own.agent.number, own.lives),
        };
        let shared = Shared::new(Index::new(SOURCES), Publisher::new(identity));
        own.surroundings.recorder.note(What::Started(Part::Agent(own.agent.clone())));
        own.connect(shared);
        for kind in SOURCES {
            let wait = Duration::from_millis(own.random.u64(20..=2_500));
            let (host, life) = (Arc::clone(host), own.lives);
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                let mut own = lock(&host);
                if own.lives == life {
                    own.list(kind);
                }
            });
        }
    }

    /// Runs the session and the statuses over a state.
    fn connect(&mut self, shared: Arc<Shared>) {
        let (gate, stop) = (Gate::open(), CancellationToken::new());
        let broker = self.broker(&gate);
        let status = session::watch_status(
            broker.clone(),
            self.agent.cluster.to_string(),
            Arc::clone(&shared),
            self.random.fork(),
            stop.clone(),
        );
        let session = session::run(broker, Arc::clone(&shared), self.random.fork(), stop.clone());
        let heard = watch_statuses(
            self.agent.clone(),
            Arc::clone(&shared),
            self.surroundings.recorder.clone(),
        );
        let tasks = vec![
            tokio::spawn(status).abort_handle(),
            tokio::spawn(session).abort_handle(),
            tokio::spawn(heard).abort_handle(),
        ];
        self.life = Some(Life { shared, gate, stop, tasks, listed: BTreeSet::new() });
    }

    fn broker(&self, gate: &Gate) -> Access {
        let (network, agent, brokers, gate) = (
            self.surroundings.network.clone(),
            self.agent.clone(),
            self.surroundings.brokers,
            gate.clone(),
        );
        let KeepAlive { interval, timeout } = KeepAlive::default();
        Access::made_by(move || {
            let (network, agent, gate) = (network.clone(), agent.clone(), gate.clone());
            let connector = tower::service_fn(move |_: http::Uri| {
                let (network, agent, gate) = (network.clone(), agent.clone(), gate.clone());
                async move {
                    Ok::<_, std::io::Error>(TokioIo::new(
                        network.connect(&agent, &gate, brokers).await?,
                    ))
                }
            });
            // As an agent's configuration makes it.
            let channel = tonic::transport::Endpoint::from_static("http://broker")
                .initial_stream_window_size(1024 * 1024)
                .initial_connection_window_size(4 * 1024 * 1024)
                .connect_timeout(Duration::from_secs(10))
                .http2_keep_alive_interval(interval)
                .keep_alive_timeout(timeout)
                .keep_alive_while_idle(true)
                .connect_with_connector_lazy(connector);
            Broker { channel, authorization: format!("Bearer {TOKEN}").parse().ok() }
        })
    }

    /// The process is gone from one moment to the next.
    pub fn crash(&mut self, death: Death) {
        if self.end_life(death) {
            self.surroundings.recorder.note(What::Crashed(Part::Agent(self.agent.clone())));
        }
    }

    fn end_life(&mut self, death: Death) -> bool {
        let Some(life) = self.life.take() else { return false };
        self.lives += 1;
        life.gate.close();
        self.surroundings.network.agent_died(&self.agent, death);
        life.tasks.iter().for_each(AbortHandle::abort);
        true
    }

    /// Tells the process to stop in good order; it is gone when its last acks came, or ten seconds later.
    pub fn drain(host: &Arc<Mutex<Self>>) {
        let (stop, lives) = {
            let own = lock(host);
            let Some(life) = &own.life else { return };
            (life.stop.clone(), own.lives)
        };
        stop.cancel();
        let host = Arc::clone(host);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let mut own = lock(&host);
            if own.lives == lives && own.end_life(Death::Reset) {
                own.surroundings.recorder.note(What::Stopped(Part::Agent(own.agent.clone())));
            }
        });
    }

    /// The session breaks and begins anew, in the same process.
    pub fn reconnect(&mut self, death: Death) {
        let Some(life) = self.life.take() else { return };
        life.gate.close();
        self.surroundings.network.agent_died(&self.agent, death);
        life.tasks.iter().for_each(AbortHandle::abort);
        life.shared.write(|state| state.publisher.disconnected());
        let listed = life.listed;
        self.connect(life.shared);
        if let Some(life) = &mut self.life {
            life.listed = listed;
        }
    }

    /// It reads nothing and says nothing for now (SIGSTOP of what it does to the outside).
    pub fn pause(&self) {
        self.life.iter().for_each(|life| life.gate.stop());
    }

    /// It goes on.
    pub fn resume(&self) {
        self.life.iter().for_each(|life| life.gate.resume());
        self.surroundings.network.resumed();
    }

    /// Reads a source completely, unless it fails.
    pub fn list(&mut self, kind: SourceKind) {
        let (fails, objects) = {
            let cluster = lock(&self.cluster);
            (cluster.failing.contains(&kind), cluster.list(kind))
        };
        if fails {
            return self.fail(kind);
        }
        if let Some(life) = &mut self.life {
            life.listed.insert(kind);
        }
        self.see(|index| index.reset(kind, objects));
    }

    /// Notes that a source cannot be read.
    pub fn fail(&mut self, kind: SourceKind) {
        self.see(|index| {
            index.fail(kind, "the API server answers 503".to_owned());
            vec![]
        });
    }

    /// The watch tells of an object; a source that fails, or was not listed yet, tells nothing.
    pub fn watch(&mut self, object: &ObjectRef) {
        let Some(life) = &self.life else { return };
        let now = {
            let cluster = lock(&self.cluster);
            if cluster.failing.contains(&object.source) || !life.listed.contains(&object.source) {
                return;
            }
            cluster.objects.get(object).cloned()
        };
        let object = object.clone();
        self.see(move |index| match now {
            Some(extraction) => index.apply(&object, &"api".into(), extraction),
            None => index.delete(&object),
        });
    }

    fn see(&self, change: impl FnOnce(&mut Index) -> Vec<IndexChange>) {
        let Some(life) = &self.life else { return };
        let before = life.shared.read(|state| state.index.sources());
        let mut seen = vec![];
        life.shared.change(|index| {
            let changes = change(index);
            seen.clone_from(&changes);
            changes
        });
        let note =
            |sight| self.surroundings.recorder.note(What::Saw { agent: self.agent.clone(), sight });
        for change in seen {
            note(match change {
                IndexChange::Put { endpoint, .. } => Sight::Put((*endpoint).clone()),
                IndexChange::Del { key, .. } => Sight::Del(key),
            });
        }
        let after = life.shared.read(|state| state.index.sources());
        for source in after.into_iter().filter(|source| !before.contains(source)) {
            note(Sight::Source { kind: source.kind.as_str().to_owned(), synced: source.synced });
        }
    }

    /// Whether the broker has everything that the agent holds.
    pub fn is_converged(&self) -> bool {
        self.life
            .as_ref()
            .is_some_and(|life| life.shared.read(|state| state.publisher.is_converged()))
    }

    /// The agent's state at the end.
    pub fn end(&self, refused: bool) -> Option<AgentEnd> {
        let life = self.life.as_ref()?;
        Some(life.shared.read(|state| AgentEnd {
            endpoints: state.index.iter().map(|(_, held)| (*held.endpoint).clone()).collect(),
            statuses: state.statuses.iter().map(|status| status_of(&status)).collect(),
            live: state.publisher.is_live() && state.publisher.is_converged(),
            refused,
        }))
    }
}

/// Notes every status that an agent hears.
async fn watch_statuses(agent: Agent, shared: Arc<Shared>, recorder: Recorder) {
    let mut known: BTreeMap<KeyHash, v1::EndpointStatus> = BTreeMap::new();
    let look = |state: &zonefold::agent::State| {
        for status in state.statuses.iter() {
            let Some(key) = status.key.clone() else { continue };
            let hash = EndpointKey::from(key).hash();
            let is_news = known.get(&hash).is_none_or(|before| {
                (before.at_ms, before.verdict, before.progress, &before.version, &before.message)
                    != (
                        status.at_ms,
                        status.verdict,
                        status.progress,
                        &status.version,
                        &status.message,
                    )
            });
            if is_news {
                known.insert(hash, status.clone());
                recorder.note(What::Status { agent: agent.clone(), status: status_of(&status) });
            }
        }
        false
    };
    shared.wait_until(look).await;
}

fn status_of(status: &v1::EndpointStatus) -> Status {
    Status {
        key: status.key.clone().map(EndpointKey::from).unwrap_or_default(),
        version: Version::from_slice(&status.version),
        verdict: match status.verdict() {
            v1::VerdictState::Unspecified => None,
            v1::VerdictState::Accepted => Some(VerdictState::Accepted),
            v1::VerdictState::Waiting => Some(VerdictState::Waiting),
            v1::VerdictState::Rejected => Some(VerdictState::Rejected),
        },
        reason: status.reason.clone(),
        message: status.message.clone(),
        progress: match status.progress() {
            v1::Progress::Unspecified => Progress::Unspecified,
            v1::Progress::Pending => Progress::Pending,
            v1::Progress::Applied => Progress::Applied,
            v1::Progress::InSync => Progress::InSync,
            v1::Progress::Held => Progress::Held,
            v1::Progress::Refused => Progress::Refused,
            v1::Progress::Drifted => Progress::Drifted,
        },
    }
}
