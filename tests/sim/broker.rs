//! A broker's host: the real broker and its real gRPC server, started as its process is, over the simulated store, network and
//! AWS. It can be stopped in good order, stopped by SIGSTOP, or die between two polls.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use zonefold::adapters::auth::{Identities, KnownCallers, token_hash};
use zonefold::adapters::route53::{AwsOptions, AwsProviders};
use zonefold::app::broker::{accounts_of, clusters_of};
use zonefold::broker::ingest::{Admission, FederationService, Limits, StartingService};
use zonefold::broker::lease::LeaseTiming;
use zonefold::broker::metrics::BrokerMetrics;
use zonefold::broker::startup::progress::StartProgress;
use zonefold::broker::{Broker, BrokerHandle, BrokerParts};
use zonefold::config::Config;
use zonefold::ports::{DnsProviders, ReplicaId, ReplicaRow, Store};
use zonefold::wire::v1::federation_server::FederationServer;

use crate::aws::Aws;
use crate::gate::Gate;
use crate::history::{Part, Replica, What};
use crate::net::{Death, Network};
use crate::recorder::{Recorder, SkewedClock, lock};
use crate::store::Database;
use crate::tap::Tap;

/// The token that agents show.
pub const TOKEN: &str = "a-token-that-only-the-simulation-knows";
/// The broker's own key at AWS.
pub const ACCESS_KEY: (&str, &str) =
    ("AKIAZONEFOLDSIM00001", "a-secret-that-only-the-simulation-knows");
/// How long a drain may take.
const DRAIN: Duration = Duration::from_secs(25);
/// A process that ended is started again after this, as a kubelet would.
const RESTART_AFTER: Duration = Duration::from_secs(2);
/// As in production.
const MESSAGE_SLACK: usize = 64 * 1024;
const STREAM_WINDOW_BYTES: u32 = 512 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// The parts that all brokers share.
#[derive(Clone)]
pub struct Surroundings {
    /// The log.
    pub recorder: Recorder,
    /// The network of the agents.
    pub network: Network,
    /// The database.
    pub database: Database,
    /// AWS.
    pub aws: Aws,
    /// The configuration as it stands in the file now.
    pub config: watch::Receiver<Arc<Config>>,
    /// The limits of a session.
    pub limits: Limits,
    /// The longest wait for an answer of AWS.
    pub attempt_timeout: Duration,
}

/// One broker's host.
pub struct BrokerHost {
    slot: u32,
    surroundings: Surroundings,
    skews_ms: Vec<i64>,
    /// How far the machine's time of day was set forward; monotonic clocks, and clocks anchored to them, do not notice.
    jumped_ms: Arc<AtomicI64>,
    seed: u64,
    lives: u32,
    life: Option<Life>,
    /// Processes that were thought dead, and were only stopped.
    ghosts: Vec<Life>,
}

struct Life {
    replica: Replica,
    gate: Gate,
    stop: CancellationToken,
    process: AbortHandle,
    server: AbortHandle,
    handle: Arc<Mutex<Option<BrokerHandle>>>,
    ended: CancellationToken,
}

impl BrokerHost {
    /// A host on which nothing runs. Each life's clock is off by the next of the skews.
    pub fn new(slot: u32, surroundings: Surroundings, skews_ms: Vec<i64>, seed: u64) -> Self {
        Self {
            slot,
            surroundings,
            skews_ms,
            jumped_ms: Arc::default(),
            seed,
            lives: 0,
            life: None,
            ghosts: vec![],
        }
    }

    /// Sets the machine's time of day forward, or back.
    pub fn set_time_of_day(&self, by_ms: i64) {
        self.jumped_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// The running broker, when it has started.
    pub fn handle(&self) -> Option<BrokerHandle> {
        lock(&self.life.as_ref()?.handle).clone()
    }

    /// Whether a process runs.
    pub fn is_up(&self) -> bool {
        self.life.as_ref().is_some_and(|life| !life.ended.is_cancelled())
    }

    /// Starts the process, if none runs.
    pub fn start(&mut self) {
        if self.is_up() {
            return;
        }
        let replica = Replica { slot: self.slot, life: self.lives };
        self.lives += 1;
        let (gate, stop, ended) =
            (Gate::open(), CancellationToken::new(), CancellationToken::new());
        let skew = self
            .skews_ms
            .get(replica.life as usize % self.skews_ms.len().max(1))
            .copied()
            .unwrap_or_default();
        let clock = SkewedClock::new(self.surroundings.recorder.clone(), skew);
        let process = Process {
            replica,
            gate: gate.clone(),
            stop: stop.clone(),
            surroundings: self.surroundings.clone(),
            time_of_day: Arc::new(clock.that_jumps(Arc::clone(&self.jumped_ms))),
            clock: Arc::new(clock),
            seed: self.seed.wrapping_add(u64::from(replica.life) * 1_000),
            handle: Arc::default(),
        };
        self.surroundings.recorder.note(What::Started(Part::Replica(replica)));
        let (started, service) = watch::channel(None);
        let server = tokio::spawn(process.clone().serve(service)).abort_handle();
        let handle = Arc::clone(&process.handle);
        let end = ended.clone();
        let process = tokio::task::spawn_local(async move {
            process.run(started).await;
            end.cancel();
        });
        self.life = Some(Life {
            replica,
            gate,
            stop,
            process: process.abort_handle(),
            server,
            handle,
            ended,
        });
    }

    /// The process is gone from one moment to the next.
    pub fn crash(&mut self, death: Death) {
        if let Some(life) = self.life.take() {
            self.end(life, death);
        }
    }

    fn end(&self, life: Life, death: Death) {
        life.gate.close();
        self.surroundings.network.broker_died(life.replica, death);
        life.process.abort();
        life.server.abort();
        if !life.ended.is_cancelled() {
            self.surroundings.recorder.note(What::Crashed(Part::Replica(life.replica)));
        }
    }

    /// The process is stopped and thought dead, and another one is started in its place.
    pub fn supersede(&mut self) {
        if let Some(life) = self.life.take() {
            life.gate.stop();
            self.ghosts.push(life);
        }
        self.start();
    }

    /// Those that were thought dead go on where they stood; answers how many.
    pub fn wake_ghosts(&mut self) -> usize {
        self.ghosts.iter().for_each(|ghost| ghost.gate.resume());
        self.surroundings.network.resumed();
        self.ghosts.len()
    }

    /// Kills those that still run.
    pub fn lay_ghosts(&mut self) {
        for ghost in std::mem::take(&mut self.ghosts) {
            self.end(ghost, Death::Reset);
        }
    }

    /// Tells the process to stop in good order; it ends by itself.
    pub fn drain(&mut self) {
        if let Some(life) = &self.life {
            life.stop.cancel();
        }
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.life.iter().for_each(|life| life.gate.stop());
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.life.iter().for_each(|life| life.gate.resume());
        self.surroundings.network.resumed();
    }

    /// Starts a process that ended by itself again, after a while.
    pub async fn restart_when_ended(host: Arc<Mutex<Self>>) {
        loop {
            let ended = lock(&host).life.as_ref().map(|life| life.ended.clone());
            match ended {
                Some(ended) => ended.cancelled().await,
                None => tokio::time::sleep(RESTART_AFTER).await,
            }
            tokio::time::sleep(RESTART_AFTER).await;
            let mut host = lock(&host);
            if host
                .life
                .as_ref()
                .is_some_and(|life| life.ended.is_cancelled() && !life.stop.is_cancelled())
            {
                host.start();
            }
        }
    }
}

/// One life.
#[derive(Clone)]
struct Process {
    replica: Replica,
    gate: Gate,
    stop: CancellationToken,
    surroundings: Surroundings,
    /// Anchored at the start.
    clock: Arc<SkewedClock>,
    time_of_day: Arc<SkewedClock>,
    seed: u64,
    handle: Arc<Mutex<Option<BrokerHandle>>>,
}

impl Process {
    /// All agents share a token.
    fn admission(&self) -> Admission {
        let known = Identities { shared_token_sha256: Some(token_hash(TOKEN)), clusters: vec![] };
        let clock: Arc<dyn zonefold::ports::Clock> = self.time_of_day.clone();
        Admission::new(
            Arc::new(KnownCallers::new(known, Arc::clone(&clock))),
            clock,
            BrokerMetrics::default(),
        )
    }

    /// Takes agents' calls from the first moment on, as the process does; while the broker starts they wait.
    async fn serve(self, service: watch::Receiver<Option<FederationService>>) {
        let service = StartingService::new(self.admission(), service, Arc::default());
        let limits = &self.surroundings.limits;
        let service = FederationServer::new(service)
            .max_decoding_message_size(limits.max_message_bytes as usize + MESSAGE_SLACK);
        let incoming = self.surroundings.network.listen(self.replica, self.gate.clone());
        let served = tonic::transport::Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .layer(Tap { recorder: self.surroundings.recorder.clone(), gate: self.gate.clone() })
            .add_service(service)
            .serve_with_incoming(UnboundedReceiverStream::new(incoming))
            .await;
        if let Err(error) = served {
            self.surroundings
                .recorder
                .fault("broker.server_died", format!("{}: {error}", self.replica));
        }
    }

    /// Runs until it has to stop or a part of it dies.
    async fn run(self, started: watch::Sender<Option<FederationService>>) {
        let recorder = self.surroundings.recorder.clone();
        let mut broker = match self.build().await {
            Ok((broker, reloading)) => {
                tokio::spawn(reloading);
                broker
            }
            Err(reason) => {
                recorder.fault("broker.start_failed", format!("{}: {reason}", self.replica));
                return self.end();
            }
        };
        started.send_replace(Some(broker.service()));
        *lock(&self.handle) = Some(broker.handle());
        let died = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            task = broker.task_died() => Some(task),
        };
        if let Some(task) = died {
            recorder.fault("broker.task_died", format!("{}: {task} ended unasked", self.replica));
        }
        broker.stop(DRAIN).await;
        self.end();
    }

    /// The process ends; its system closes what it had open.
    fn end(&self) {
        lock(&self.handle).take();
        self.surroundings.network.broker_died(self.replica, Death::Reset);
        self.gate.close();
        self.surroundings.recorder.note(What::Stopped(Part::Replica(self.replica)));
    }

    async fn build(&self) -> Result<(Broker, impl Future<Output = ()> + use<>), String> {
        let Surroundings { config, limits, database, aws, attempt_timeout, .. } =
            &self.surroundings;
        let mut configs = config.clone();
        let config = Arc::clone(&configs.borrow_and_update());
        let store: Arc<dyn Store> = database.connect(self.replica, self.gate.clone());
        let clock: Arc<dyn zonefold::ports::Clock> = self.clock.clone();
        let options = AwsOptions {
            http_client: Some(aws.client(self.replica, self.gate.clone())),
            attempt_timeout: *attempt_timeout,
            instance: format!("broker-{}", self.replica.slot),
            seed: self.seed,
            ..AwsOptions::emulator("http://aws", ACCESS_KEY.0, ACCESS_KEY.1)
        };
        let access = config.accounts.iter().map(|account| account.access()).collect();
        let providers =
            Arc::new(AwsProviders::new(access, options, self.time_of_day.clone()).await);
        let broker = Broker::start(BrokerParts {
            replica: ReplicaRow {
                replica: ReplicaId(uuid::Uuid::new_v4()),
                address: String::new(),
            },
            leases: LeaseTiming::default(),
            clusters: clusters_of(&config),
            accounts: accounts_of(&config),
            rules: config.governance.shared(),
            admission: self.admission(),
            limits: limits.clone(),
            store,
            providers: Arc::clone(&providers) as Arc<dyn DnsProviders>,
            clock,
            metrics: BrokerMetrics::register(&mut Registry::default()),
            seed: self.seed,
            progress: Arc::<StartProgress>::default(),
        })
        .await
        .map_err(|error| error.to_string())?;
        let (handle, gate) = (broker.handle(), self.gate.clone());
        let reloading = async move {
            while configs.changed().await.is_ok() && !gate.is_dead() {
                let config = Arc::clone(&configs.borrow_and_update());
                reload(&handle, &providers, &config).await;
            }
        };
        Ok((broker, reloading))
    }
}

/// Applies a changed configuration, as the process does.
async fn reload(handle: &BrokerHandle, providers: &AwsProviders, config: &Config) {
    providers.set_accounts(config.accounts.iter().map(|account| account.access()).collect());
    let rules = config.governance.shared();
    handle.reconfigure(clusters_of(config), accounts_of(config), rules).await;
}
