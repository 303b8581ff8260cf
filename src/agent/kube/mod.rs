//! The source over a live cluster: what its API server says, and only that.
//!
//! ```text
//! feed (list, watch) ─▶ world ─▶ extractors ─▶ index
//! broker's statuses ─┬▶ proof (look-ups) ──────▲
//!                    └▶ report ─▶ Events and conditions on the objects
//! ```
//!
//! Each kind of object in each namespace has a [`feed`] of its own; the [`world`] puts what they observed into the index, with
//! what is [`around`] the objects; the [`proof`] keeps what this agent cannot see any more and was not deleted.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use super::sources::SourceKind;
use crate::ports::Clock;

pub mod around;
pub mod ask;
pub mod document;
#[cfg(test)]
pub(crate) mod fake;
pub mod feed;
pub mod filter;
pub mod leader;
pub mod proof;
pub mod rbac;
pub mod report;
pub mod resources;
pub mod world;

use feed::Feed;
use leader::LeaseOptions;
use proof::Prover;
use report::Reporter;
use world::{FeedId, Followed, KubeWorld, Observation, Reading};

/// Queued news, such as pages of lists; more than that hold up the feeds.
const NEWS: usize = 1;

/// The objects to read in a cluster, and how.
#[derive(Clone)]
pub struct KubeOptions {
    /// The kinds of objects.
    pub sources: Vec<SourceKind>,
    /// Which objects count and how they are read.
    pub reading: Reading,
    /// Whether the outcome of each name is written on the objects.
    pub telling: Telling,
    /// The Lease that decides which of several agents speaks to the broker; `None` if the agent runs alone.
    pub lease: Option<LeaseOptions>,
    /// The time, for what is written on the objects.
    pub clock: Arc<dyn Clock>,
}

/// Where the outcome of each name is written besides the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Telling {
    /// As Events and conditions.
    #[default]
    OnObjects,
    /// Nowhere.
    Nowhere,
}

/// The way to the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig; `None` for the usual place, or else the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; `None` for its current one.
    pub context: Option<String>,
}

/// Why the cluster cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KubeError {
    /// The kubeconfig.
    #[error("the kubeconfig {} cannot be used: {reason}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why it cannot be used.
        reason: String,
    },
    /// Neither a kubeconfig nor a service account.
    #[error(
        "no way to the API server was found: name a --kubeconfig, or run in a pod with a service account ({reason})"
    )]
    NoAccess {
        /// The attempts that failed.
        reason: String,
    },
    /// The connection cannot be prepared.
    #[error("the connection to the API server cannot be prepared: {reason}")]
    Client {
        /// Why it cannot be prepared.
        reason: String,
    },
    /// The namespace kube-system, whose UID tells clusters apart.
    #[error(
        "the UID of the namespace kube-system cannot be read: {reason}; `zonefold agent rbac` prints what the agent needs, or give \
         it with --kube-system-uid"
    )]
    Uid {
        /// The API server's answer.
        reason: String,
    },
}

impl Access {
    /// Prepares the connection. Nothing is asked yet.
    pub async fn connect(&self) -> Result<Client, KubeError> {
        let options =
            KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = match &self.kubeconfig {
            Some(path) => {
                let unusable =
                    |reason: String| KubeError::Kubeconfig { path: path.clone(), reason };
                let file =
                    Kubeconfig::read_from(path).map_err(|error| unusable(error.to_string()))?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(|error| unusable(error.to_string()))?
            }
            None if self.context.is_some() => Config::from_kubeconfig(&options)
                .await
                .map_err(|error| KubeError::NoAccess { reason: error.to_string() })?,
            None => Config::infer()
                .await
                .map_err(|error| KubeError::NoAccess { reason: error.to_string() })?,
        };
        Client::try_from(config).map_err(|error| KubeError::Client { reason: error.to_string() })
    }
}

/// The UID of the namespace kube-system: one cluster, one UID, for as long as it lives.
pub async fn cluster_uid(client: &Client) -> Result<String, KubeError> {
    let path = format!("{}/kube-system", resources::NAMESPACES.path("v1", None));
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|error| KubeError::Uid { reason: error.to_string() })?;
    let namespace: document::Document =
        ask::ask(client, request).await.map_err(|reason| KubeError::Uid { reason })?;
    Ok(namespace.metadata.uid.to_string())
}

/// Follows the cluster until `shutdown`.
pub async fn run(
    client: Client,
    options: KubeOptions,
    shared: Arc<Shared>,
    random: fastrand::Rng,
    shutdown: CancellationToken,
) {
    let KubeOptions { sources, reading, telling, clock, .. } = options;
    let mut tasks = JoinSet::new();
    let (to_world, mut news) = mpsc::channel(NEWS);
    let mut world = KubeWorld::new(&sources, reading.clone());
    shared.update(|state| {
        sources.iter().for_each(|source| state.index.require_proof(*source));
        Vec::new()
    });
    if telling == Telling::OnObjects {
        let (sources, reading) = (sources.clone(), reading.clone());
        let reporter = Reporter { client: client.clone(), sources, reading, clock };
        tasks.spawn(report::run(reporter, shared.clone()));
    }
    let prover =
        Prover { client: client.clone(), sources, reading: reading.clone(), to: to_world.clone() };
    tasks.spawn(proof::run(prover, shared.clone()));
    let mut feeds = Feeds { client, reading, random, to: to_world, followed: BTreeSet::new() };
    loop {
        feeds.start_missing(&world, &mut tasks);
        tokio::select! {
            () = shutdown.cancelled() => break,
            // None of them ends by itself.
            Some(ended) = tasks.join_next() => {
                tracing::error!(error = ?ended.err(), "a task that follows the cluster ended");
                break;
            }
            Some((id, observed)) = news.recv() => match read(world, id, observed).await {
                Some((back, observed)) => {
                    world = back;
                    put(observed, &shared);
                }
                None => break,
            }
        }
    }
    tasks.shutdown().await;
}

/// Reads observations away from the thread that answers probes and keeps the session: a single object may be large. A reading
/// that dies takes what it knew with it.
async fn read(
    mut world: KubeWorld,
    id: FeedId,
    news: feed::News,
) -> Option<(KubeWorld, Observation)> {
    let reading = tokio::task::spawn_blocking(move || {
        let observed = world.observe(id, news);
        (world, observed)
    });
    reading
        .await
        .inspect_err(|error| tracing::error!(%error, "reading the cluster was interrupted"))
        .ok()
}

fn put(observed: Observation, shared: &Shared) {
    let mut messages = Vec::new();
    shared.update(|state| {
        let (changes, said) = observed.apply(&mut state.index);
        messages = said;
        changes
    });
    messages.iter().for_each(|message| tracing::warn!("{message}"));
}

/// The running feeds.
struct Feeds {
    client: Client,
    reading: Reading,
    random: fastrand::Rng,
    to: mpsc::Sender<(FeedId, feed::News)>,
    followed: BTreeSet<Followed>,
}

impl Feeds {
    /// Follows the objects that the world wants and no feed follows yet: nodes and pods only once a service needs them.
    fn start_missing(&mut self, world: &KubeWorld, tasks: &mut JoinSet<()>) {
        for followed in world.wanted() {
            if !self.followed.insert(followed) {
                continue;
            }
            for (number, namespace) in world.scopes(followed).into_iter().enumerate() {
                let feed = Feed {
                    id: (followed, number),
                    client: self.client.clone(),
                    resource: followed.resource(),
                    namespace,
                    labels: followed.labels(&self.reading.filter),
                    random: self.random.fork(),
                    to: self.to.clone(),
                };
                tasks.spawn(feed.run());
            }
        }
    }
}

#[cfg(test)]
mod tests;
