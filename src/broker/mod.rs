//! The broker: takes what clusters want, decides who owns each name, and keeps Route 53 like that.
//!
//! ```text
//! ingest (streams, group commit) ─▶ decider (directory: who wants what, where it goes) ─▶ worker, one an account
//!                                                  statuses ◀─ feedback ◀──────────────────┘
//! ```
//!
//! [`Broker::start`] loads the store and starts the tasks; [`BrokerHandle`] is how the API, the command line and the gRPC
//! server reach it.

pub mod decider;
pub mod directory;
pub mod endpoints;
pub mod feedback;
pub mod held;
pub mod ingest;
pub mod interner;
pub mod metrics;
pub mod progress;
mod start;
pub mod worker;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::core::ids::{AccountId, ClusterId, ZoneId};
use crate::core::name::DnsName;
use crate::core::plan::Observed;
use crate::core::record::RecordKey;
use crate::core::time::{Millis, Timestamp};
use crate::ports::{CallError, ChangeFilter, ChangeRow, Clock, ClusterRow, DnsProvider, DnsProviders, Store, StoreError};
use decider::{Decider, ToDecider};
use directory::SharedDirectory;
use directory::{ClusterSettings, Directory};
use endpoints::{ClusterEndpoints, StatusCounts};
use feedback::{Feedback, VerdictKeeper};
use ingest::{Committer, FederationService, Limits, ServiceParts};
use metrics::BrokerMetrics;
use progress::{StartPhase, StartProgress};
use start::Start;
use worker::{AccountSettings, AccountView, Gate, Message, Query, WhyReport, WorkerHandle};

/// How many messages wait for the decider, and for a worker, before who tells them has to wait; each is of one commit at most.
/// Enough to go on while a worker notes in the store what it may spend. Not more: what waits here waits in the order of the
/// commits. That is short, since both only take in what they are told; before the commit, and for the plans that follow,
/// clusters take turns.
const DECIDER_QUEUE: usize = 8;
const WORKER_QUEUE: usize = 16;
/// An account that has not answered by then does not keep the broker from being ready.
const ACCOUNTS_ANSWER_WITHIN: Millis = Millis(10_000);

/// What a broker is built from.
pub struct BrokerParts {
    /// The registered clusters.
    pub clusters: HashMap<ClusterId, ClusterSettings>,
    /// The accounts.
    pub accounts: Vec<AccountSettings>,
    /// The shared token of the agents.
    pub token: watch::Receiver<Option<String>>,
    /// What a session may take.
    pub limits: Limits,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Route 53 and STS.
    pub providers: Arc<dyn DnsProviders>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The figures.
    pub metrics: BrokerMetrics,
    /// The seed of all jitter.
    pub seed: u64,
    /// Where the start says how far it is.
    pub progress: Arc<StartProgress>,
}

/// Why a broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An account's client cannot be made.
    #[error("the account {account} cannot be set up: {source}")]
    Account {
        /// Which.
        account: AccountId,
        /// Why.
        source: CallError,
    },
}

/// A broker that has started.
pub struct Broker {
    handle: BrokerHandle,
    service: FederationService,
    /// Sessions and status streams.
    streams: TaskTracker,
    streams_drain: CancellationToken,
    workers_stop: CancellationToken,
    hard_stop: CancellationToken,
    tasks: tokio::task::JoinSet<&'static str>,
}

/// How to reach a broker.
#[derive(Clone)]
pub struct BrokerHandle {
    /// The directory of endpoints and zones.
    pub directory: SharedDirectory,
    /// The workers.
    pub workers: Arc<BTreeMap<AccountId, WorkerHandle>>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    decider: mpsc::Sender<ToDecider>,
    service: FederationService,
    started_at: Timestamp,
}

/// A cluster, for people.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// Its name.
    pub cluster: ClusterId,
    /// What the configuration says; none for one that is no longer registered.
    pub settings: Option<ClusterSettings>,
    /// What the store says; none for one that never connected.
    pub stored: Option<ClusterRow>,
    /// Whether a session is open.
    pub connected: bool,
    /// How many endpoints are in which state.
    pub counts: StatusCounts,
}

impl Broker {
    /// Loads the store, then starts the workers, the decider and the committer.
    ///
    /// # Errors
    /// The store cannot be read, or an account's client cannot be made.
    pub async fn start(parts: BrokerParts) -> Result<Self, StartError> {
        let (keeper, verdicts) = VerdictKeeper::new(Arc::clone(&parts.store));
        let directory = Arc::new(Directory::new(parts.clusters.clone()));
        let feedback = Feedback::new(directory.clone(), verdicts);
        let (to_decider, decider_messages) = mpsc::channel(DECIDER_QUEUE);
        let (discovered, mut discoveries) = mpsc::channel::<worker::Discovered>(64);
        let workers_stop = CancellationToken::new();
        let hard_stop = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        let start = Start { parts: &parts, directory: &directory, feedback: &feedback, gate: Gate::of_this_machine() };
        let workers = Arc::new(start.workers(discovered, &workers_stop, &mut tasks).await?);
        start.endpoints(&workers).await?;

        let decider =
            Decider { directory: directory.clone(), workers: (*workers).clone(), feedback, clock: Arc::clone(&parts.clock) };
        spawn(&mut tasks, "decider", decider.run(decider_messages));
        spawn(&mut tasks, "verdicts", keeper.run());
        let forward = to_decider.clone();
        // A broker may have no account yet: then nobody holds the other end.
        let none_yet = parts.accounts.is_empty().then(|| workers_stop.clone());
        spawn(&mut tasks, "discoveries", async move {
            while let Some(found) = discoveries.recv().await {
                if forward.send(ToDecider::Discovered(found)).await.is_err() {
                    break;
                }
            }
            if let Some(stop) = none_yet {
                stop.cancelled().await;
            }
        });
        let (committer, commit) =
            Committer::new(Arc::clone(&parts.store), Arc::clone(&parts.clock), to_decider.clone(), parts.metrics.clone());
        spawn(&mut tasks, "committer", committer.run(hard_stop.clone()));

        let (streams, streams_drain) = (TaskTracker::new(), CancellationToken::new());
        let service_parts = ServiceParts {
            token: parts.token,
            store: Arc::clone(&parts.store),
            clock: Arc::clone(&parts.clock),
            committer: commit,
            decider: to_decider.clone(),
            directory: directory.clone(),
            metrics: parts.metrics,
            limits: parts.limits,
            seed: parts.seed,
        };
        let service = FederationService::new(service_parts, streams.clone(), streams_drain.clone());
        parts.progress.enter(StartPhase::Started, 0);
        let handle = BrokerHandle {
            started_at: parts.clock.now(),
            directory,
            workers,
            store: parts.store,
            clock: parts.clock,
            decider: to_decider,
            service: service.clone(),
        };
        Ok(Self { handle, service, streams, streams_drain, workers_stop, hard_stop, tasks })
    }

    /// How to reach it.
    pub fn handle(&self) -> BrokerHandle {
        self.handle.clone()
    }

    /// The gRPC service, to be served.
    pub fn service(&self) -> FederationService {
        self.service.clone()
    }

    /// Returns the name of a task that ended although nobody asked it to: the broker cannot go on then.
    pub async fn task_died(&mut self) -> &'static str {
        match self.tasks.join_next().await {
            Some(Ok(name)) => name,
            Some(Err(_)) => "a task that panicked",
            None => "all tasks",
        }
    }

    /// Drains: sessions get their last acks and GoAway, calls that run are recorded, then everything ends. A hard stop follows
    /// at the deadline.
    pub async fn stop(mut self, deadline: std::time::Duration) {
        let hard_stop = self.hard_stop.clone();
        let drain = async {
            self.streams_drain.cancel();
            self.streams.close();
            self.streams.wait().await;
            self.workers_stop.cancel();
            while let Some(ended) = self.tasks.join_next().await {
                if matches!(ended, Ok("worker")) {
                    continue;
                }
                break;
            }
        };
        if tokio::time::timeout(deadline, drain).await.is_err() {
            info!("the drain took longer than its deadline; what is unfinished is read back at the next start");
        }
        hard_stop.cancel();
        self.tasks.abort_all();
    }
}

fn spawn(tasks: &mut tokio::task::JoinSet<&'static str>, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        task.await;
        name
    });
}

impl BrokerHandle {
    /// Takes another configuration of clusters and accounts. Accounts that are new or gone need a restart; the caller says so.
    pub async fn reconfigure(
        &self,
        clusters: HashMap<ClusterId, ClusterSettings>,
        accounts: Vec<(AccountSettings, Arc<dyn DnsProvider>)>,
    ) {
        // A broker that stops takes no configuration any more.
        let _stopping = self.decider.send(ToDecider::Reconfigure(clusters)).await;
        for (settings, provider) in accounts {
            if let Some(worker) = self.workers.get(&settings.account) {
                let _stopping = worker.messages.send(Message::Reconfigure(Box::new(settings), provider)).await;
            }
        }
    }

    /// All accounts as their workers published them last.
    pub fn accounts(&self) -> Vec<Arc<AccountView>> {
        self.workers.values().map(|worker| Arc::clone(&worker.view.borrow())).collect()
    }

    /// The endpoints of a cluster.
    pub fn endpoints(&self, cluster: &ClusterId) -> Arc<ClusterEndpoints> {
        self.directory.cluster(cluster)
    }

    /// All clusters, registered or stored.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn clusters(&self) -> Result<Vec<ClusterView>, StoreError> {
        let mut stored: BTreeMap<ClusterId, ClusterRow> =
            self.store.clusters().await?.into_iter().map(|row| (row.cluster.clone(), row)).collect();
        let settings = self.directory.settings();
        let open = self.service.open_sessions();
        let mut names: Vec<ClusterId> = settings.keys().chain(stored.keys()).cloned().collect();
        names.sort();
        names.dedup();
        let view = |cluster: ClusterId| ClusterView {
            settings: settings.get(&cluster).cloned(),
            stored: stored.remove(&cluster),
            connected: open.contains_key(&cluster),
            counts: self.endpoints(&cluster).counts(),
            cluster,
        };
        Ok(names.into_iter().map(view).collect())
    }

    /// Observed records of a zone after a key; none for a zone that no worker has.
    pub async fn records(&self, zone: &ZoneId, after: Option<RecordKey>, limit: usize) -> Option<Vec<(RecordKey, Observed)>> {
        let account = self.directory.zones().get(zone).map(|facts| facts.account.clone())?;
        let (reply, answer) = oneshot::channel();
        let query = Query::Records { zone: zone.clone(), after, limit, reply };
        self.workers.get(&account)?.messages.send(Message::Query(query)).await.ok()?;
        answer.await.ok()?
    }

    /// Everything that is known of a name, from every account.
    pub async fn why(&self, name: &DnsName) -> Vec<WhyReport> {
        let mut reports = vec![];
        for worker in self.workers.values() {
            let (reply, answer) = oneshot::channel();
            let query = Query::Why { name: name.clone(), reply };
            if worker.messages.send(Message::Query(query)).await.is_ok()
                && let Ok(found) = answer.await
            {
                reports.extend(found);
            }
        }
        reports
    }

    /// The journal, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn changes(&self, filter: &ChangeFilter) -> Result<Vec<ChangeRow>, StoreError> {
        self.store.changes(filter).await
    }

    /// Why the broker is not ready; empty when it is. Agents are served without AWS, so an account is waited for only until its
    /// first answer, and not for longer than [`ACCOUNTS_ANSWER_WITHIN`].
    pub async fn not_ready(&self) -> Vec<String> {
        let mut reasons = vec![];
        if let Err(error) = self.store.ping().await {
            reasons.push(error.to_string());
        }
        if self.clock.now().since(self.started_at) > ACCOUNTS_ANSWER_WITHIN {
            return reasons;
        }
        for account in self.accounts() {
            if let worker::Health::Starting = account.health {
                reasons.push(format!("the account {} ({}) is starting", account.account, account.name));
            }
        }
        reasons
    }

    /// Returns when what was committed so far is decided and every account has nothing left to do. For tests and measurements.
    pub async fn settled(&self) {
        // A broker that stops is as settled as it will be.
        let _stopping = ingest::barrier(&self.decider).await;
        for worker in self.workers.values() {
            // The last view may be older than what the worker was just told.
            let (reply, published) = oneshot::channel();
            if worker.messages.send(Message::Query(Query::Publish { reply })).await.is_ok() {
                let _stopping = published.await;
            }
            let mut view = worker.view.clone();
            // A worker that has ended is as settled as it will be.
            let _ended = view.wait_for(|view| view.is_settled()).await;
        }
    }
}
