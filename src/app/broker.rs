//! The broker as a process: configuration in, two listeners out.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry;
use ring::rand::SecureRandom as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::identities::SignInSetting;
use super::notices::NoticeSettings;
use super::servers::{ConnectionLimits, Ports, Servers};
use super::{audit, identities, retention, signal};
use crate::adapters::auth::KnownCallers;
use crate::adapters::clock::{AnchoredClock, SystemClock};
use crate::adapters::route53::{AwsOptions, AwsProviders};
use crate::adapters::store::{self, StoreOptions};
use crate::api::authority::Authority;
use crate::api::front::Front;
use crate::api::peers::PeerTls;
use crate::api::voucher::Vouching;
use crate::broker::directory::ClusterSettings;
use crate::broker::ingest::{Admission, FederationService, Limits, StartingService};
use crate::broker::lease::LeaseTiming;
use crate::broker::metrics::BrokerMetrics;
use crate::broker::notices::metrics::NoticeMetrics;
use crate::broker::notices::observer::Observer;
use crate::broker::startup::progress::{StartPhase, StartProgress};
use crate::broker::worker::AccountSettings;
use crate::broker::{Broker, BrokerHandle, BrokerParts};
use crate::cli::BrokerArgs;
use crate::config::{Config, ConfigWatch};
use crate::core::ids::ClusterId;
use crate::ports::{Callers, Clock, DnsProviders, ReplicaId, ReplicaRow, Store, StoreError};
use crate::telemetry;

/// How long work under way may take to finish after a stop is requested.
const DRAIN_DEADLINE: Duration = Duration::from_secs(25);
/// How often a start that takes long says how far it is.
const SAY_PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// How often a replica that waits for those of an older release to stop looks again.
const OLDER_REPLICAS_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// What the audit calls the broker's configuration file.
const CONFIGURATION: &str = "configuration";
/// How often the files of the certificates are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(5);

/// Both ports, answering while the broker starts: HTTP says how far it is, and agents wait.
pub struct Listening<'a> {
    /// Where agents connect.
    pub grpc: SocketAddr,
    /// REST, metrics, health.
    pub http: SocketAddr,
    /// How far the start is.
    pub progress: Arc<StartProgress>,
    config: &'a Config,
    options: BrokerOptions,
    clock: Arc<dyn Clock>,
    metrics: BrokerMetrics,
    notice_metrics: NoticeMetrics,
    front: Front,
    peer_tls: Option<Arc<dyn PeerTls>>,
    callers: Arc<KnownCallers>,
    authority: Authority,
    sign_in: SignInSetting,
    time_of_day: Arc<dyn Clock>,
    admission: Admission,
    started: watch::Sender<Option<FederationService>>,
    servers: Servers,
}

/// A broker with its ports open, its store loaded and its workers working.
pub struct BoundBroker {
    /// Where agents connect.
    pub grpc: SocketAddr,
    /// REST, metrics, health.
    pub http: SocketAddr,
    broker: Broker,
    providers: Arc<AwsProviders>,
    callers: Arc<KnownCallers>,
    authority: Authority,
    retention: retention::Kept,
    notices: Arc<NoticeSettings>,
    sign_in: Mutex<SignInSetting>,
    time_of_day: Arc<dyn Clock>,
    servers: Servers,
}

/// Everything about a broker that the configuration does not say.
#[derive(Clone)]
pub struct BrokerOptions {
    /// How AWS is called.
    pub aws: AwsOptions,
    /// The limits of a session.
    pub limits: Limits,
    /// How the leases of accounts are kept.
    pub leases: LeaseTiming,
    /// The time that budgets and leases count by, and that what is stored has; it does not jump. By default the system's at the start,
    /// carried on.
    pub clock: Option<Arc<dyn Clock>>,
    /// The time of day, by which calls are signed and tokens judged; by default `clock` if it is given, or the system's at each moment.
    pub time_of_day: Option<Arc<dyn Clock>>,
    /// The limits of unauthenticated connections.
    pub connections: ConnectionLimits,
    /// How often the files of the certificates are looked at.
    pub certificates_every: Duration,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            aws: AwsOptions::default(),
            limits: Limits::default(),
            leases: LeaseTiming::default(),
            clock: None,
            time_of_day: None,
            connections: ConnectionLimits::default(),
            certificates_every: CERTIFICATES_EVERY,
        }
    }
}

/// Runs `zonefold broker`.
///
/// # Errors
/// The configuration is refused, a port is taken, the store cannot be opened, or a part died.
pub async fn run(args: BrokerArgs) -> anyhow::Result<ExitCode> {
    let watch = ConfigWatch::start(&args.config, args.overrides())?;
    let mut configs = watch.subscribe();
    let config = Arc::clone(&configs.borrow_and_update());
    telemetry::init(&config.log)?;
    let shutdown = signal::shutdown()?;
    let aws = AwsOptions { attempt_timeout: config.aws.attempt_timeout(), ..AwsOptions::default() };
    let listening = listen(&config, BrokerOptions { aws, ..BrokerOptions::default() })?;
    info!(grpc = %listening.grpc, http = %listening.http, "listening; the broker starts");
    let bound = tokio::select! {
        bound = listening.start() => bound?,
        () = shutdown.cancelled() => {
            info!("stopped while the broker started; nothing was under way");
            return Ok(ExitCode::SUCCESS);
        }
    };
    info!(grpc = %bound.grpc, http = %bound.http, accounts = config.accounts.len(), clusters = config.clusters.len(), "broker started");
    let reload = bound.reloader(Arc::clone(&config));
    let stop_watching = shutdown.clone();
    let watching = tokio::spawn(watch.run(stop_watching.clone()));
    let reloading = tokio::spawn(async move {
        while configs.changed().await.is_ok() {
            let config = Arc::clone(&configs.borrow_and_update());
            reload.apply(&config).await;
        }
    });
    let result = bound.run(shutdown.clone()).await;
    stop_watching.cancel();
    reloading.abort();
    // Either has nothing left to do.
    let _ = watching.await;
    result.map(|()| ExitCode::SUCCESS)
}

/// Opens the ports and the store and starts the broker.
///
/// # Errors
/// Something could not be opened; the error says how to fix it.
pub async fn build(config: &Config, options: BrokerOptions) -> anyhow::Result<BoundBroker> {
    listen(config, options)?.start().await
}

/// Opens the ports, which answer from now on, on the runtime in which this is called.
///
/// # Errors
/// A port is taken, a certificate cannot be used, or the agents' token cannot be read.
pub fn listen(config: &Config, mut options: BrokerOptions) -> anyhow::Result<Listening<'_>> {
    let mut registry = Registry::default();
    let ports = Ports::open(&config.listen, &mut registry)?;
    let (grpc, http) = (ports.grpc, ports.http);
    warn_of(config);
    let peer_tls = ports.peer_tls(&config.listen);
    let time_of_day = options
        .time_of_day
        .get_or_insert_with(|| options.clock.clone().unwrap_or_else(|| Arc::new(SystemClock)))
        .clone();
    let clock = options.clock.clone().unwrap_or_else(|| Arc::new(AnchoredClock::system()));
    let callers = Arc::new(KnownCallers::new(identities::of(config)?, Arc::clone(&time_of_day)));
    let metrics = BrokerMetrics::register(&mut registry);
    let notice_metrics = NoticeMetrics::register(&mut registry);
    let admission = Admission::new(
        Arc::clone(&callers) as Arc<dyn Callers>,
        Arc::clone(&time_of_day),
        metrics.clone(),
    );
    let (started, started_seen) = watch::channel(None);
    let progress = Arc::new(StartProgress::default());
    let rules = identities::api_rules(config, http);
    if rules.holders.is_empty() && rules.anonymous.is_none() {
        warn!(
            "no caller may use the API under {http}: add api.tokens to the configuration (zonefold token makes one), or set api.anonymous"
        );
    }
    let authority = Authority::new(rules);
    let mut sign_in = SignInSetting::default();
    sign_in.apply(config, &authority, &time_of_day)?;
    let front = Front::new(Arc::clone(&progress), Arc::new(registry), authority.clone());
    let service = StartingService::new(admission.clone(), started_seen, Arc::clone(&progress));
    let servers = Servers::start(
        ports,
        service,
        front.router(),
        &options.limits,
        options.connections,
        options.certificates_every,
    );
    Ok(Listening {
        grpc,
        http,
        progress,
        config,
        options,
        clock,
        metrics,
        notice_metrics,
        front,
        peer_tls,
        callers,
        authority,
        sign_in,
        time_of_day,
        admission,
        started,
        servers,
    })
}

impl Listening<'_> {
    /// Opens the store and starts the broker; from then on everything is served. Dropped before that it has done nothing.
    ///
    /// # Errors
    /// Something could not be opened; the error says how to fix it.
    pub async fn start(self) -> anyhow::Result<BoundBroker> {
        let progress = self.progress;
        let time_of_day = self.options.time_of_day.clone().unwrap_or_else(|| Arc::new(SystemClock));
        let (broker, providers) = {
            let starting = start(
                self.config,
                self.http,
                self.options,
                self.clock,
                self.metrics,
                self.admission,
                Arc::clone(&progress),
            );
            tokio::pin!(starting);
            loop {
                tokio::select! {
                    started = &mut starting => break started?,
                    () = tokio::time::sleep(SAY_PROGRESS_EVERY) => info!("the broker starts: {}", progress.describe()),
                }
            }
        };
        let notices =
            NoticeSettings::new(self.config, Arc::clone(&time_of_day), self.notice_metrics);
        let notices = Arc::new(notices);
        let vouching = vouching(&broker.handle(), time_of_day).await?;
        audit::note_configuration(&broker.handle(), self.config, CONFIGURATION).await;
        self.front.open(broker.handle(), self.peer_tls, vouching);
        self.started.send_replace(Some(broker.service()));
        Ok(BoundBroker {
            grpc: self.grpc,
            http: self.http,
            broker,
            providers,
            callers: self.callers,
            authority: self.authority,
            retention: retention::Kept {
                journal: self.config.journal.retention(),
                audit: self.config.audit.retention(),
            },
            notices,
            sign_in: Mutex::new(self.sign_in),
            time_of_day: self.time_of_day,
            servers: self.servers,
        })
    }
}

/// How replicas authenticate each other; `None` if there is only one.
async fn vouching(
    broker: &BrokerHandle,
    time_of_day: Arc<dyn Clock>,
) -> anyhow::Result<Option<Vouching>> {
    let mut proposed = [0; 32];
    ring::rand::SystemRandom::new()
        .fill(&mut proposed)
        .map_err(|_| anyhow::anyhow!("the system gives no random numbers: see to its sources"))?;
    let key = broker.store.replica_key(&proposed).await.context("the key of the replicas")?;
    Ok(key.map(|key| Vouching::new(&key, broker.replica.replica, time_of_day)))
}

async fn start(
    config: &Config,
    http: SocketAddr,
    options: BrokerOptions,
    clock: Arc<dyn Clock>,
    metrics: BrokerMetrics,
    admission: Admission,
    progress: Arc<StartProgress>,
) -> anyhow::Result<(Broker, Arc<AwsProviders>)> {
    let store_url: store::StoreUrl = config.store.expose().parse()?;
    let store = open_store(&store_url, &progress).await?;
    let access = config.accounts.iter().map(|account| account.access()).collect();
    let replica = ReplicaRow {
        replica: ReplicaId(uuid::Uuid::new_v4()),
        address: config.listen.advertised(http),
    };
    let mut aws = options.aws;
    let time_of_day = options.time_of_day.unwrap_or_else(|| Arc::new(SystemClock));
    if store.is_shared() {
        // AWS's own log says then which of them called.
        aws.instance = format!("{}-{:08x}", aws.instance, replica.replica.0.as_fields().0);
        info!(replica = %replica.replica, address = %replica.address, "one of the replicas that share the store");
    }
    let providers = Arc::new(AwsProviders::new(access, aws, time_of_day).await);
    let broker = Broker::start(BrokerParts {
        replica,
        leases: options.leases,
        clusters: clusters_of(config),
        accounts: accounts_of(config),
        rules: config.governance.shared(),
        admission,
        limits: options.limits,
        store,
        providers: Arc::clone(&providers) as Arc<dyn DnsProviders>,
        clock,
        metrics,
        seed: fastrand::u64(..),
        progress,
    })
    .await?;
    Ok((broker, providers))
}

/// Opens the store, as soon as no replica of a release is left that cannot share it.
async fn open_store(
    url: &store::StoreUrl,
    progress: &StartProgress,
) -> anyhow::Result<Arc<dyn Store>> {
    let mut named = None;
    loop {
        let older = match store::open(url, &StoreOptions::default()).await {
            Err(error @ StoreError::OlderReplicas { .. }) => error.to_string(),
            opened => return opened.context("the store cannot be opened"),
        };
        if named.as_ref() != Some(&older) {
            progress.enter(StartPhase::OlderReplicas, 0);
            warn!("{older}");
            named = Some(older);
        }
        tokio::time::sleep(OLDER_REPLICAS_AGAIN_AFTER).await;
    }
}

/// The clusters of a configuration, as the broker takes them.
pub fn clusters_of(config: &Config) -> HashMap<ClusterId, ClusterSettings> {
    let settings = |cluster: &crate::config::Cluster| ClusterSettings {
        environment: cluster.environment.clone(),
        labels: cluster.labels.clone(),
        exposure: cluster.visibility,
        quota: cluster.quota(),
    };
    config.clusters.iter().map(|cluster| (cluster.name.clone(), settings(cluster))).collect()
}

/// The accounts of a configuration, as the broker takes them.
pub fn accounts_of(config: &Config) -> Vec<AccountSettings> {
    let settings = |account: &crate::config::Account| AccountSettings {
        account: account.id.clone(),
        name: account.name.clone(),
        environment: account.environment.clone(),
        budget: account.budget_config(),
        rules: account.zone_rules(),
        placement: account.placement,
        discovery_interval: account.discovery_interval(),
        drift_interval: account.drift_interval(),
    };
    config.accounts.iter().map(settings).collect()
}

impl BoundBroker {
    /// How to reach the broker.
    pub fn handle(&self) -> BrokerHandle {
        self.broker.handle()
    }

    /// Applies later configurations.
    pub fn reloader(&self, config: Arc<Config>) -> Reloader {
        let sign_in =
            std::mem::take(&mut *self.sign_in.lock().unwrap_or_else(PoisonError::into_inner));
        Reloader {
            sign_in: Mutex::new(sign_in),
            time_of_day: Arc::clone(&self.time_of_day),
            handle: self.broker.handle(),
            providers: Arc::clone(&self.providers),
            callers: Arc::clone(&self.callers),
            authority: self.authority.clone(),
            http: self.http,
            notices: Arc::clone(&self.notices),
            first: config,
        }
    }

    /// Serves until the shutdown, then drains.
    ///
    /// # Errors
    /// A part of the broker ended that should not have.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { mut broker, mut servers, retention, notices, .. } = self;
        let handle = broker.handle();
        let mut retention =
            tokio::spawn(retention::run(handle.store, handle.clock, handle.workers, retention));
        let handle = broker.handle();
        let mut dispatching = tokio::spawn(notices.dispatcher(&handle).run());
        let mut observing = tokio::spawn(Observer::new(handle).run());
        let died = tokio::select! {
            () = shutdown.cancelled() => None,
            task = broker.task_died() => Some(task.to_owned()),
            ended = servers.died() => Some(ended),
            ended = &mut retention => Some(format!("the retention of the journal: {ended:?}")),
            ended = &mut dispatching => Some(format!("the delivery of notifications: {ended:?}")),
            ended = &mut observing => Some(format!("the observer: {ended:?}")),
        };
        if let Some(task) = &died {
            error!("{task} ended unasked: the broker stops, to be started again");
        }
        retention.abort();
        dispatching.abort();
        observing.abort();
        broker.stop(DRAIN_DEADLINE).await;
        servers.stop().await;
        info!("broker stopped");
        match died {
            None => Ok(()),
            Some(task) => anyhow::bail!("{task} ended unasked; see the log"),
        }
    }
}

fn warn_of(config: &Config) {
    config.warnings().iter().for_each(|warning| warn!("configuration: {warning}"));
}

/// Applies later configurations to a running broker.
pub struct Reloader {
    handle: BrokerHandle,
    providers: Arc<AwsProviders>,
    callers: Arc<KnownCallers>,
    authority: Authority,
    sign_in: Mutex<SignInSetting>,
    time_of_day: Arc<dyn Clock>,
    http: SocketAddr,
    notices: Arc<NoticeSettings>,
    first: Arc<Config>,
}

impl Reloader {
    /// Applies what can be applied, and says what needs a restart.
    pub async fn apply(&self, config: &Config) {
        let waiting = needs_restart(&self.first, config);
        if !waiting.is_empty() {
            warn!("changes of {} take effect at the next start", waiting.join(", "));
        }
        warn_of(config);
        match identities::of(config) {
            Ok(identities) => self.callers.set(identities),
            Err(error) => warn!(%error, "the identities of agents stay as they were"),
        }
        self.authority.set(identities::api_rules(config, self.http));
        self.notices.set(config);
        let signs_in = {
            let mut sign_in = self.sign_in.lock().unwrap_or_else(PoisonError::into_inner);
            sign_in.apply(config, &self.authority, &self.time_of_day)
        };
        if let Err(error) = signs_in {
            warn!(%error, "people sign in as before");
        }
        self.providers
            .set_accounts(config.accounts.iter().map(|account| account.access()).collect());
        let rules = config.governance.shared();
        self.handle.reconfigure(clusters_of(config), accounts_of(config), rules).await;
        audit::note_configuration(&self.handle, config, CONFIGURATION).await;
        info!("configuration applied");
    }
}

/// The sections of a later configuration that differ from the first and take effect at the next start.
fn needs_restart(first: &Config, later: &Config) -> Vec<&'static str> {
    let sections = [
        ("store", first.store != later.store),
        ("listen", first.listen != later.listen),
        ("aws", first.aws != later.aws),
        ("journal", first.journal != later.journal),
        ("audit", first.audit != later.audit),
        ("log", first.log != later.log),
    ];
    sections.into_iter().filter(|(_, differs)| *differs).map(|(section, _)| section).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_that_waits_for_the_next_start_is_named_in_the_log_and_on_the_page() {
        let config = |more: &str| {
            let text = format!("agents: {{ token: a-token-of-many-characters }}\n{more}");
            Config::parse(&text, "broker.yaml").unwrap()
        };
        let page = include_str!("../../docs/configuration.md");
        let paragraph = page.split("What waits for the next").nth(1).unwrap();
        let paragraph = paragraph.split("\n\n").next().unwrap();
        for (section, more) in [
            ("store", "store: sqlite:elsewhere.db"),
            ("listen", "listen: { http: \"127.0.0.1:1\" }"),
            ("aws", "aws: { attempt_timeout_secs: 7 }"),
            ("journal", "journal: { retention_days: 7 }"),
            ("audit", "audit: { retention_days: 7 }"),
            ("log", "log: { filter: debug }"),
        ] {
            assert_eq!(needs_restart(&config(""), &config(more)), [section]);
            assert!(paragraph.contains(&format!("`{section}`")), "{section} is not on the page");
        }
        for more in [
            "accounts: []",
            "clusters: []",
            "api: { anonymous: viewer }",
            "public_url: http://localhost:7080",
        ] {
            assert_eq!(needs_restart(&config(""), &config(more)), [""; 0], "{more}");
        }
    }
}
