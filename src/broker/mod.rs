//! The broker: takes the clusters' endpoints, decides the owner of each name, and keeps Route 53 like that.
//!
//! ```text
//! ingest (streams, group commit) ─▶ decider (directory: who wants what, where it goes) ─▶ worker, one an account
//!                                                  statuses ◀─ feedback ◀──────────────────┘
//! ```
//!
//! Several replicas may share one store: each takes streams and holds the whole directory, and each account is managed by the one
//! that holds its lease ([`replicas`], [`lease`]). Each follows what the others make durable; the statuses of endpoints come from
//! the one that manages their account ([`status`]).
//!
//! [`Broker::start`] loads the store and starts the tasks; [`BrokerHandle`] is how the API, the command line and the gRPC
//! server reach it.

pub mod decider;
pub mod directory;
mod handle;
pub mod handovers;
pub mod ingest;
pub mod lease;
pub mod metrics;
pub mod placer;
pub mod replicas;
pub mod rules;
pub mod startup;
pub mod status;
pub mod usage;
pub mod worker;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::FutureExt as _;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::core::governance::ruleset::Rules;
use crate::core::governance::snapshot::{GovernedCluster, GovernedClusters};
use crate::core::ids::{AccountId, ClusterId};
use crate::core::time::Millis;
use crate::ports::{
    CallError, Clock, DnsProviders, Feed, Leases, Membership, ReplicaId, ReplicaRow, Store,
    StoreError,
};
use decider::{Decider, DeciderMessage};
use directory::entry::EndpointEntry;
use directory::{ClusterSettings, Directory, SharedDirectory};
pub use handle::{BrokerHandle, ClusterView};
use handovers::HandoverKeeper;
use ingest::{
    Admission, Committer, CommitterHandle, CommitterParts, FederationService, Limits, ServiceParts,
    watch_store,
};
use lease::LeaseTiming;
use metrics::BrokerMetrics;
use replicas::feed_reader::{CommitOrder, FeedHandle, FeedReader, FeedReaderParts};
use replicas::leased_account::WorkerFactory;
use replicas::manager::{LeaseCommand, LeaseManager, LeaseManagerParts};
use rules::RulesInForce;
use rules::keeper::{RulesKeeper, RulesMessage};
use startup::progress::{StartPhase, StartProgress};
use startup::start::Start;
use status::feedback::{Feedback, VerdictKeeper};
use status::relay::{Relay, RelayHandle};
use worker::registry::Workers;
use worker::{AccountSettings, Gate};

/// How many messages wait for the decider, and for a worker, before the sender has to wait; each is of one commit at most.
/// Enough to go on while a worker stores how much it may spend. Not more: messages wait here in the order of the
/// commits. That is short, since both only take in their messages; before the commit, and for the plans that follow,
/// clusters take turns.
const DECIDER_QUEUE: usize = 8;
const WORKER_QUEUE: usize = 16;
/// An account that has not answered by then does not keep the broker from being ready.
const ACCOUNTS_ANSWER_WITHIN: Millis = Millis(10_000);

/// How many accounts read their zone states at once.
const STATES_AT_ONCE: usize = 4;
/// How long a start waits for the statuses of other replicas.
const STATUSES_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);
/// The name of the task that keeps the leases.
const LEASES: &str = "the keeper of the leases";

/// The parts of a broker.
pub struct BrokerParts {
    /// Which replica this is, and where the others reach its HTTP. Every start is a new replica.
    pub replica: ReplicaRow,
    /// How the leases of accounts are kept.
    pub leases: LeaseTiming,
    /// The registered clusters.
    pub clusters: HashMap<ClusterId, ClusterSettings>,
    pub accounts: Vec<AccountSettings>,
    /// The rules of governance in this replica's files.
    pub rules: Arc<Rules>,
    /// Authenticates callers and remembers refused claims.
    pub admission: Admission,
    /// The bounds of each session.
    pub limits: Limits,
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
    #[error("the account {account} cannot be set up: {reason}")]
    Account {
        /// Which.
        account: AccountId,
        /// Why.
        reason: CallError,
    },
}

/// The parts that a broker's tasks share, and how each task is made of them.
struct Wiring {
    replica: ReplicaId,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    metrics: BrokerMetrics,
    directory: SharedDirectory,
    workers: Arc<Workers>,
    feedback: Feedback,
    relay: RelayHandle,
    to_decider: mpsc::Sender<DeciderMessage>,
    /// Messages to the keeper of the rules.
    to_rules: mpsc::UnboundedSender<RulesMessage>,
    /// The order of this replica's commits, among which those of others are read.
    commits: CommitOrder,
}

impl Wiring {
    fn new(
        parts: &BrokerParts,
        store: Arc<dyn Store>,
        verdicts: mpsc::UnboundedSender<EndpointEntry>,
        to_decider: mpsc::Sender<DeciderMessage>,
        to_rules: mpsc::UnboundedSender<RulesMessage>,
    ) -> Self {
        let directory = Arc::new(Directory::new(parts.clusters.clone()));
        Self {
            replica: parts.replica.replica,
            store,
            clock: Arc::clone(&parts.clock),
            metrics: parts.metrics.clone(),
            feedback: Feedback::new(Arc::clone(&directory), verdicts),
            directory,
            workers: Arc::default(),
            relay: RelayHandle::default(),
            to_decider,
            to_rules,
            commits: CommitOrder::default(),
        }
    }

    /// Reads the feed from where it ends now, so it is made before anything is loaded; `None` if the store has one replica.
    async fn feed_reader(
        &self,
        whole: Arc<dyn Store>,
    ) -> Result<(Option<FeedReader>, FeedHandle), StoreError> {
        if !self.store.is_shared() {
            return Ok((None, FeedHandle::default()));
        }
        let (reader, handle) = FeedReader::new(FeedReaderParts {
            after: self.store.feed_end().await?,
            store: Arc::clone(&self.store),
            whole,
            replica: self.replica,
            decider: self.to_decider.clone(),
            rules: self.to_rules.clone(),
            commits: self.commits.clone(),
            relay: self.relay.clone(),
            metrics: self.metrics.clone(),
        });
        Ok((Some(reader), handle))
    }

    fn worker_factory(
        &self,
        parts: &BrokerParts,
        feed: FeedHandle,
        discovered: mpsc::Sender<worker::Discovered>,
        rules: watch::Receiver<Arc<RulesInForce>>,
    ) -> Arc<WorkerFactory> {
        Arc::new(WorkerFactory {
            store: Arc::clone(&self.store),
            providers: Arc::clone(&parts.providers),
            clock: Arc::clone(&self.clock),
            feedback: self.judging(),
            rules,
            discovered,
            decider: self.to_decider.clone(),
            feed,
            metrics: self.metrics.clone(),
            gate: Gate::of_this_machine(),
            states: Semaphore::new(STATES_AT_ONCE),
            seed: parts.seed,
        })
    }

    fn lease_manager(
        &self,
        parts: &BrokerParts,
        factory: Arc<WorkerFactory>,
    ) -> (LeaseManager, watch::Receiver<Arc<Membership>>) {
        LeaseManager::new(LeaseManagerParts {
            replica: parts.replica.clone(),
            timing: parts.leases.clone(),
            leases: Arc::clone(&self.store) as Arc<dyn Leases>,
            feed: Arc::clone(&self.store) as Arc<dyn Feed>,
            accounts: parts.accounts.clone(),
            spawn_worker: Box::new(move |tenant| Arc::clone(&factory).live(tenant).boxed()),
            workers: Arc::clone(&self.workers),
            relay: self.relay.clone(),
            metrics: self.metrics.clone(),
        })
    }

    /// Statuses go to the other replicas too. Every replica judges for itself and gets the verdict all the same, so that it comes
    /// after earlier statuses from the endpoint's worker.
    fn judging(&self) -> Feedback {
        self.feedback.clone().relayed(self.relay.clone())
    }

    fn decider(&self) -> Decider {
        let (directory, workers) = (Arc::clone(&self.directory), Arc::clone(&self.workers));
        Decider::new(directory, workers, self.judging(), Arc::clone(&self.clock))
    }

    fn placer(&self) -> placer::PlacementWriter {
        placer::PlacementWriter {
            directory: Arc::clone(&self.directory),
            store: Arc::clone(&self.store),
            decider: self.to_decider.clone(),
        }
    }

    fn relay(&self) -> Relay {
        let workers = Arc::clone(&self.workers);
        Relay {
            handle: self.relay.clone(),
            origin: self.replica,
            store: Arc::clone(&self.store),
            directory: Arc::clone(&self.directory),
            is_worked_here: Box::new(move |account| workers.has(account)),
        }
    }

    fn committer(&self, feed: FeedHandle) -> (Committer, CommitterHandle) {
        Committer::new(CommitterParts {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            decider: self.to_decider.clone(),
            metrics: self.metrics.clone(),
            order: self.commits.clone(),
            feed,
        })
    }

    fn service_parts(
        &self,
        parts: &BrokerParts,
        committer: CommitterHandle,
        feed: FeedHandle,
        ready: watch::Receiver<bool>,
    ) -> ServiceParts {
        ServiceParts {
            admission: parts.admission.clone(),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            committer,
            decider: self.to_decider.clone(),
            feed,
            directory: Arc::clone(&self.directory),
            metrics: self.metrics.clone(),
            limits: parts.limits.clone(),
            ready,
            seed: parts.seed,
        }
    }
}

/// A broker that has started.
pub struct Broker {
    handle: BrokerHandle,
    service: FederationService,
    /// Sessions and status streams.
    streams: TaskTracker,
    streams_drain: CancellationToken,
    leases_stop: CancellationToken,
    hard_stop: CancellationToken,
    tasks: tokio::task::JoinSet<&'static str>,
    /// Whether the keeper of the leases has ended: then no worker is left, and nothing to hand over.
    leases_ended: bool,
}

impl Broker {
    /// Loads the store, then starts the workers of the accounts that are free, the decider and the committer.
    ///
    /// # Errors
    /// The store cannot be read, or an account's client cannot be made.
    pub async fn start(parts: BrokerParts) -> Result<Self, StartError> {
        let (leases_stop, hard_stop) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = tokio::task::JoinSet::new();
        let store = parts.store.of_replica(parts.replica.replica);
        let (keeper, verdicts) = VerdictKeeper::new(Arc::clone(&store));
        let (to_decider, decider_messages) = mpsc::channel(DECIDER_QUEUE);
        let (discovered, discoveries) = mpsc::channel(64);
        let (to_rules, rules_messages) = mpsc::unbounded_channel();
        let wiring = Wiring::new(&parts, store, verdicts, to_decider, to_rules);
        parts.metrics.usage.follow(&wiring.directory);
        let (follower, feed) = wiring.feed_reader(parts.store.clone()).await?;
        // From here on another replica's rules are heard of.
        let (store, clock) = (Arc::clone(&wiring.store), Arc::clone(&parts.clock));
        let (rules_keeper, rules) =
            RulesKeeper::begin(store, clock, parts.rules.clone(), governed(&parts.clusters))
                .await?;
        let factory = wiring.worker_factory(&parts, feed.clone(), discovered, rules.clone());
        let (mut manager, standing) = wiring.lease_manager(&parts, factory);
        let start = Start {
            store: &wiring.store,
            clock: &*parts.clock,
            progress: &parts.progress,
            directory: &wiring.directory,
            feedback: &wiring.feedback,
            workers: &wiring.workers,
        };
        start.zones().await?;
        let listed = wiring.store.listed_accounts().await?;
        wiring.directory.set_accounts(worker::scopes(&parts.accounts, &listed));
        let starting = manager.begin().await?;
        // The leases are kept while everything is loaded.
        let (to_manager, commands) = mpsc::unbounded_channel();
        spawn(&mut tasks, LEASES, manager.run(commands, leases_stop.clone()));
        start.states(starting).await?;
        start.endpoints().await?;

        let decider = wiring.decider();
        let told_all = decider.told_all();
        spawn(&mut tasks, "the decider", decider.run(decider_messages));
        spawn(&mut tasks, "the placer", wiring.placer().run());
        spawn(&mut tasks, "the keeper of rules", rules_keeper.run(rules_messages));
        spawn(&mut tasks, "the keeper of verdicts", keeper.run());
        let handovers = HandoverKeeper {
            store: Arc::clone(&wiring.store),
            clock: Arc::clone(&parts.clock),
            workers: Arc::clone(&wiring.workers),
            rules: rules.clone(),
            to_rules: wiring.to_rules.clone(),
        };
        spawn(&mut tasks, "the keeper of hand-overs", handovers.run());
        let to_decider = wiring.to_decider.clone();
        spawn(&mut tasks, "the discoveries", forward(discoveries, to_decider));
        if let Some(follower) = follower {
            spawn(&mut tasks, "the follower of the other replicas", follower.run());
            spawn(&mut tasks, "the relay to the other replicas", wiring.relay().run());
        }
        let (seen, to_decider) = (standing.clone(), wiring.to_decider.clone());
        spawn(&mut tasks, "the watch over the other replicas", watch_replicas(seen, to_decider));
        let (committer, commit) = wiring.committer(feed.clone());
        spawn(&mut tasks, "the committer", committer.run(hard_stop.clone()));
        let (ready, sees_ready) = watch::channel(true);
        let (pinged, others) = (Arc::clone(&wiring.store), standing.clone());
        let ping = async move || pinged.ping().await.is_ok();
        let has_others = move || others.borrow().replicas.len() > 1;
        spawn(&mut tasks, "the watch over the store", watch_store(ping, has_others, ready));
        let (streams, streams_drain) = (TaskTracker::new(), CancellationToken::new());
        let service = wiring.service_parts(&parts, commit, feed, sees_ready);
        let service = FederationService::new(service, streams.clone(), streams_drain.clone());
        // From here on this replica can manage accounts that others give up. The end of the lease manager is noticed elsewhere.
        let _gone = to_manager.send(LeaseCommand::Open);
        parts.progress.enter(StartPhase::Statuses, 0);
        hear_of_statuses(parts.replica.replica, standing.clone(), told_all).await;
        parts.progress.enter(StartPhase::Started, 0);
        let handle = BrokerHandle {
            started_at: parts.clock.now(),
            directory: wiring.directory,
            workers: wiring.workers,
            store: wiring.store,
            clock: parts.clock,
            replica: parts.replica,
            standing,
            tenancy: to_manager,
            decider: wiring.to_decider,
            rules,
            to_rules: wiring.to_rules,
            service: service.clone(),
            admission: parts.admission,
        };
        Ok(Self {
            handle,
            service,
            streams,
            streams_drain,
            leases_stop,
            hard_stop,
            tasks,
            leases_ended: false,
        })
    }

    /// How to reach it.
    pub fn handle(&self) -> BrokerHandle {
        self.handle.clone()
    }

    /// The gRPC service, to be served.
    pub fn service(&self) -> FederationService {
        self.service.clone()
    }

    /// Returns the name of a task that ended unasked: the broker cannot go on then.
    pub async fn task_died(&mut self) -> &'static str {
        match self.tasks.join_next().await {
            Some(Ok(name)) => {
                self.leases_ended |= name == LEASES;
                name
            }
            Some(Err(_)) => "a task that panicked",
            None => "all tasks",
        }
    }

    /// Drains: sessions get their last acks and GoAway, calls in flight are recorded, then everything ends. A hard stop follows
    /// at the deadline.
    pub async fn stop(mut self, deadline: std::time::Duration) {
        let hard_stop = self.hard_stop.clone();
        let drain = async {
            self.streams_drain.cancel();
            self.streams.close();
            self.streams.wait().await;
            // The workers end, and their leases pass on.
            self.leases_stop.cancel();
            while !self.leases_ended
                && let Some(ended) = self.tasks.join_next().await
            {
                self.leases_ended = matches!(ended, Ok(LEASES));
            }
        };
        if tokio::time::timeout(deadline, drain).await.is_err() {
            info!(
                "the drain took longer than its deadline; unfinished batches are read back at the next start"
            );
        }
        hard_stop.cancel();
        self.tasks.abort_all();
    }
}

/// Returns when the other replicas that manage accounts have sent their statuses, or their time is over: an agent that
/// is admitted holds most of them already, and must not hear that they are unknown.
async fn hear_of_statuses(
    me: ReplicaId,
    mut standing: watch::Receiver<Arc<Membership>>,
    mut told_all: watch::Receiver<BTreeSet<ReplicaId>>,
) {
    let hearing = async {
        loop {
            let (now, told) =
                (standing.borrow_and_update().clone(), told_all.borrow_and_update().clone());
            let is_awaited = |holder: ReplicaId| {
                holder != me
                    && !told.contains(&holder)
                    && now.replicas.iter().any(|row| row.replica == holder)
            };
            if !now.leases.iter().any(|tenure| is_awaited(tenure.holder)) {
                return;
            }
            tokio::select! {
                Ok(()) = standing.changed() => {}
                Ok(()) = told_all.changed() => {}
                else => return,
            }
        }
    };
    if tokio::time::timeout(STATUSES_WITHIN, hearing).await.is_err() {
        info!(
            "not all replicas have reported the statuses of their endpoints; what is missing comes later"
        );
    }
}

/// What rules ask of clusters.
pub(super) fn governed(clusters: &HashMap<ClusterId, ClusterSettings>) -> GovernedClusters {
    let of = |settings: &ClusterSettings| GovernedCluster {
        environment: settings.environment.clone(),
        labels: settings.labels.clone(),
    };
    clusters.iter().map(|(cluster, settings)| (cluster.clone(), of(settings))).collect()
}

/// Notifies the decider when another replica is gone, for as long as the membership is known.
async fn watch_replicas(
    mut standing: watch::Receiver<Arc<Membership>>,
    decider: mpsc::Sender<DeciderMessage>,
) {
    let living = |standing: &Membership| -> BTreeSet<ReplicaId> {
        standing.replicas.iter().map(|row| row.replica).collect()
    };
    let mut before = living(&standing.borrow_and_update());
    while standing.changed().await.is_ok() {
        let now = living(&standing.borrow_and_update());
        let is_less = !before.is_subset(&now);
        before = now;
        if is_less && decider.send(DeciderMessage::ReplicaGone).await.is_err() {
            return;
        }
    }
}

/// Forwards the workers' discoveries to the decider, for as long as there may be workers.
async fn forward(
    mut discoveries: mpsc::Receiver<worker::Discovered>,
    decider: mpsc::Sender<DeciderMessage>,
) {
    while let Some(found) = discoveries.recv().await {
        if decider.send(DeciderMessage::Discovered(found)).await.is_err() {
            break;
        }
    }
}

fn spawn(
    tasks: &mut tokio::task::JoinSet<&'static str>,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    tasks.spawn(async move {
        task.await;
        name
    });
}
