//! The agent: reads what a cluster wants, publishes it to the broker, and shows the outcome.
//!
//! ```text
//! kube or manifests ─▶ sources (extract) ─▶ index ─▶ outbox ─▶ session ══ Publish ══▶ broker
//!                                           http ◀─ statuses ◀══ WatchStatus ══
//! ```
//!
//! [`Agent::build`] checks the configuration and binds the listener; [`Bound::run`] runs until its token is cancelled, and drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::core::ids::{ClusterId, IdError};
use crate::wire;
use crate::wire::http::HttpLimits;

pub mod access;
pub mod http;
pub mod identity;
pub mod index;
pub mod kube;
pub mod manifests;
mod operator;
pub mod outbox;
pub mod release;
pub mod session;
pub mod shared;
pub mod sources;
pub mod status;
mod term;

pub use access::{Access, AccessError, BrokerAddress, ClientCertificate, KeepAlive, Material};
pub use identity::{ClusterUid, IdentityError};
use index::Index;
use kube::KubeOptions;
use kube::leader::Elector;
use manifests::ManifestOptions;
use session::publisher::{Identity, Publisher};
pub use shared::{AgentRole, Shared, State};
use sources::SourceKind;
use term::Term;

/// The operator's settings.
#[derive(Clone)]
pub struct AgentConfig {
    /// The name under which the cluster is registered at the broker.
    pub cluster: String,
    /// The UID of the namespace kube-system, or the file that stands for it.
    pub kube_system_uid: ClusterUid,
    /// The broker's address, and the cluster's credentials there.
    pub broker: BrokerAddress,
    /// Where the objects are.
    pub objects: Objects,
    /// The address of the agent's own HTTP server; `None` if it has none.
    pub listen: Option<SocketAddr>,
}

/// Where the objects are that say what the cluster wants.
#[derive(Clone)]
pub enum Objects {
    /// In a folder.
    Manifests(ManifestOptions),
    /// In a live cluster, behind this connection.
    Cluster(::kube::Client, Box<KubeOptions>),
}

impl Objects {
    /// The election of the one agent that speaks to the broker; `None` if the agent runs alone.
    fn election(&self, random: fastrand::Rng) -> Option<Elector> {
        match self {
            Self::Manifests(_) => None,
            Self::Cluster(client, options) => {
                options.lease.clone().map(|lease| Elector::new(client.clone(), lease, random))
            }
        }
    }

    /// The kinds that are read.
    fn kinds(&self) -> Vec<SourceKind> {
        match self {
            Self::Manifests(_) => SourceKind::IN_FOLDERS.to_vec(),
            Self::Cluster(_, options) => options.sources.clone(),
        }
    }
}

/// Why an agent cannot start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The cluster's name.
    #[error(transparent)]
    Cluster(#[from] IdError),
    /// The cluster's UID.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The broker's address, or the cluster's credentials there.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The listener.
    #[error("the agent cannot listen on {address}: {reason}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's error.
        reason: io::Error,
    },
    /// A task ended that should not have.
    #[error("the agent's task {task} ended before it was stopped")]
    TaskEnded {
        /// Which task.
        task: &'static str,
    },
    /// A task panicked.
    #[error("a task of the agent died: {reason}")]
    TaskDied {
        /// The panic's text.
        reason: String,
    },
}

/// The way to build an agent.
pub struct Agent;

/// An agent that is bound and does nothing yet.
pub struct Bound {
    cluster: String,
    broker: Access,
    objects: Objects,
    listener: Option<TcpListener>,
    shared: Arc<Shared>,
    random: fastrand::Rng,
}

/// A view of a running agent.
#[derive(Clone)]
pub struct AgentHandle {
    shared: Arc<Shared>,
    http: Option<SocketAddr>,
}

impl AgentHandle {
    /// Where the agent's HTTP listens.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Looks at the state.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.shared.read(look)
    }

    /// The root digest and the count of what the cluster wants.
    pub fn digest(&self) -> ([u8; 32], u64) {
        self.read(|state| (state.index.digest().root(), state.index.digest().count()))
    }

    /// Whether the broker has made durable everything that the cluster wants.
    pub fn is_converged(&self) -> bool {
        self.read(|state| state.publisher.is_converged())
    }

    /// Waits until the state is as wanted; bound it with a timeout.
    pub async fn wait_until(&self, wanted: impl FnMut(&State) -> bool) {
        self.shared.wait_until(wanted).await;
    }
}

impl Agent {
    /// Checks the configuration and binds the listener.
    pub async fn build(config: AgentConfig) -> Result<Bound, AgentError> {
        let cluster = ClusterId::parse(&config.cluster)?.to_string();
        let broker = Access::new(config.broker)?;
        let identity = Identity {
            cluster: cluster.clone(),
            kube_system_uid: config.kube_system_uid.read_or_make()?,
            instance_id: uuid::Uuid::new_v4().to_string(),
        };
        let listener = match config.listen {
            Some(address) => Some(
                TcpListener::bind(address)
                    .await
                    .map_err(|reason| AgentError::Listen { address, reason })?,
            ),
            None => None,
        };
        Ok(Bound {
            cluster,
            broker,
            listener,
            shared: Shared::new(Index::new(config.objects.kinds()), Publisher::new(identity)),
            objects: config.objects,
            random: fastrand::Rng::new(),
        })
    }
}

impl Bound {
    /// A view that outlives the run.
    pub fn handle(&self) -> AgentHandle {
        AgentHandle {
            shared: self.shared.clone(),
            http: self.listener.as_ref().and_then(|l| l.local_addr().ok()),
        }
    }

    /// Runs until `shutdown`: the source stops first, the session waits for its last acknowledgements, the rest follows.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), AgentError> {
        let Self { cluster, broker, objects, listener, shared, mut random } = self;
        let kinds = objects.kinds();
        let after_drain = CancellationToken::new();
        let mut tasks: JoinSet<&'static str> = JoinSet::new();
        let election = objects.election(random.fork());
        let leads = election.map(|elector| {
            shared.write(|state| state.role = AgentRole::StandsBy);
            let (sender, leads) = watch::channel(false);
            // It leads until its last messages are acknowledged.
            let of_election = after_drain.clone();
            tasks.spawn(async move {
                elector.run(sender, of_election).await;
                "election"
            });
            leads
        });
        let (of_source, of_status) = (shutdown.clone(), after_drain.clone());
        let (source_shared, of_feeds) = (shared.clone(), random.fork());
        tasks.spawn(async move {
            match objects {
                Objects::Manifests(options) => {
                    manifests::run(options, source_shared, of_source).await
                }
                Objects::Cluster(client, options) => {
                    kube::run(client, *options, source_shared, of_feeds, of_source).await
                }
            }
            "source"
        });
        tasks.spawn({
            let (broker, shared, leads, mut random) =
                (broker.clone(), shared.clone(), leads.clone(), random.fork());
            async move {
                let watch = || {
                    session::watch_status(
                        broker.clone(),
                        cluster.clone(),
                        shared.clone(),
                        random.fork(),
                        of_status.clone(),
                    )
                };
                term::while_leading(leads, of_status.clone(), watch).await;
                "status"
            }
        });
        if let Some(listener) = listener {
            let (routes, stop) = (http::router(shared.clone()), after_drain.clone());
            tasks.spawn(async move {
                let serving =
                    wire::http::serve(listener, routes, HttpLimits::default(), stop.clone());
                // No answer is waited for at the end.
                tokio::select! {
                    () = serving => {}
                    () = stop.cancelled() => {}
                }
                "http"
            });
        }
        let of_session = shutdown.clone();
        tasks.spawn(async move {
            let is_one_of_several = leads.is_some();
            let publish = || {
                let term = is_one_of_several.then(|| Term::begin(shared.clone(), &kinds));
                let session =
                    session::run(broker.clone(), shared.clone(), random.fork(), of_session.clone());
                async move {
                    session.await;
                    drop(term);
                }
            };
            term::while_leading(leads, of_session.clone(), publish).await;
            "session"
        });
        let ended = watch_over(&mut tasks, &shutdown, &after_drain).await;
        tasks.shutdown().await;
        ended
    }
}

/// Waits for all tasks; one that ends before `shutdown` ends the agent.
async fn watch_over(
    tasks: &mut JoinSet<&'static str>,
    shutdown: &CancellationToken,
    after_drain: &CancellationToken,
) -> Result<(), AgentError> {
    while let Some(ended) = tasks.join_next().await {
        let task = ended.map_err(|error| AgentError::TaskDied { reason: error.to_string() })?;
        if !shutdown.is_cancelled() {
            return Err(AgentError::TaskEnded { task });
        }
        if task == "session" {
            after_drain.cancel();
        }
    }
    Ok(())
}
