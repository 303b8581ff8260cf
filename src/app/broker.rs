//! The broker as a process: configuration in, two listeners out.

use std::collections::HashMap;
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{retention, signal};
use crate::adapters::clock::AnchoredClock;
use crate::adapters::route53::{AwsOptions, AwsProviders};
use crate::adapters::store::{self, StoreOptions};
use crate::api;
use crate::broker::directory::ClusterSettings;
use crate::broker::ingest::Limits;
use crate::broker::metrics::BrokerMetrics;
use crate::broker::worker::AccountSettings;
use crate::broker::{Broker, BrokerHandle, BrokerParts};
use crate::cli::BrokerArgs;
use crate::config::{Config, ConfigWatch};
use crate::core::ids::{AccountId, ClusterId};
use crate::ports::{Clock, DnsProviders};
use crate::telemetry;
use crate::wire::v1::federation_server::FederationServer;

/// What is under way may take this long after the word to stop.
const DRAIN_DEADLINE: Duration = Duration::from_secs(25);
/// A gRPC message may be this much larger than what Welcome names, for its frame.
const MESSAGE_SLACK: usize = 64 * 1024;

/// A broker with its ports open, its store loaded and its workers working.
pub struct BoundBroker {
    /// Where agents connect.
    pub grpc: SocketAddr,
    /// REST, metrics, health.
    pub http: SocketAddr,
    broker: Broker,
    providers: Arc<AwsProviders>,
    token: watch::Sender<Option<String>>,
    registry: Arc<Registry>,
    limits: Limits,
    accounts: Vec<AccountId>,
    journal_retention: Option<Duration>,
    grpc_listener: TcpListener,
    http_listener: TcpListener,
}

/// Everything about a broker that the configuration does not say.
#[derive(Clone, Default)]
pub struct BrokerOptions {
    /// How AWS is called.
    pub aws: AwsOptions,
    /// What a session may take.
    pub limits: Limits,
    /// The time; the system's by default.
    pub clock: Option<Arc<dyn Clock>>,
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
    let bound = build(&config, BrokerOptions { aws, ..BrokerOptions::default() }).await?;
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

/// Opens the store and the ports and starts the broker.
///
/// # Errors
/// What could not be opened, with the remedy.
pub async fn build(config: &Config, options: BrokerOptions) -> anyhow::Result<BoundBroker> {
    let grpc_listener = bind(config.listen.grpc, "listen.grpc").await?;
    let http_listener = bind(config.listen.http, "listen.http").await?;
    let clock = options.clock.unwrap_or_else(|| Arc::new(AnchoredClock::system()));
    let store_url: store::StoreUrl = config.store.expose().parse()?;
    let store = store::open(&store_url, &StoreOptions::default()).await.context("the store cannot be opened")?;
    let access = config.accounts.iter().map(|account| account.access()).collect();
    let providers = Arc::new(AwsProviders::new(access, options.aws, Arc::clone(&clock)).await);
    let (token, token_seen) = watch::channel(Some(config.agents.read_token()?.expose().to_owned()));
    let mut registry = Registry::default();
    let metrics = BrokerMetrics::register(&mut registry);
    let broker = Broker::start(BrokerParts {
        clusters: clusters_of(config),
        accounts: accounts_of(config),
        token: token_seen,
        limits: options.limits.clone(),
        store,
        providers: Arc::clone(&providers) as Arc<dyn DnsProviders>,
        clock,
        metrics,
        seed: fastrand::u64(..),
    })
    .await?;
    Ok(BoundBroker {
        grpc: grpc_listener.local_addr()?,
        http: http_listener.local_addr()?,
        broker,
        providers,
        token,
        registry: Arc::new(registry),
        limits: options.limits,
        accounts: config.accounts.iter().map(|account| account.id.clone()).collect(),
        journal_retention: config.journal.retention(),
        grpc_listener,
        http_listener,
    })
}

async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{key}: cannot listen on {address}: stop what listens there, or choose another port"))
}

fn clusters_of(config: &Config) -> HashMap<ClusterId, ClusterSettings> {
    let settings = |cluster: &crate::config::Cluster| ClusterSettings {
        environment: cluster.environment.clone(),
        visibility: cluster.visibility,
    };
    config.clusters.iter().map(|cluster| (cluster.name.clone(), settings(cluster))).collect()
}

fn accounts_of(config: &Config) -> Vec<AccountSettings> {
    let settings = |account: &crate::config::Account| AccountSettings {
        account: account.id.clone(),
        name: account.name.clone(),
        environment: account.environment.clone(),
        budget: account.budget_config(),
        rules: account.zone_rules(),
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
        Reloader {
            handle: self.broker.handle(),
            providers: Arc::clone(&self.providers),
            token: self.token.clone(),
            first: config,
        }
    }

    /// Serves until the shutdown, then drains.
    ///
    /// # Errors
    /// A part of the broker ended that should not have.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            mut broker, grpc_listener, http_listener, registry, limits, token: _token, accounts, journal_retention, ..
        } = self;
        let servers_stop = CancellationToken::new();
        let max_message = limits.max_message_bytes as usize + MESSAGE_SLACK;
        let service = FederationServer::new(broker.service()).max_decoding_message_size(max_message);
        let grpc = tonic::transport::Server::builder()
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .add_service(service)
            .serve_with_incoming_shutdown(TcpListenerStream::new(grpc_listener), servers_stop.clone().cancelled_owned());
        let router = api::router(broker.handle(), registry);
        let http = axum::serve(http_listener, router).with_graceful_shutdown(servers_stop.clone().cancelled_owned());
        let mut grpc = tokio::spawn(grpc);
        let mut http = tokio::spawn(http.into_future());
        let handle = broker.handle();
        let mut retention = tokio::spawn(retention::run(handle.store, handle.clock, accounts, journal_retention));
        let died = tokio::select! {
            () = shutdown.cancelled() => None,
            task = broker.task_died() => Some(task.to_owned()),
            ended = &mut grpc => Some(format!("the gRPC server: {ended:?}")),
            ended = &mut http => Some(format!("the HTTP server: {ended:?}")),
            ended = &mut retention => Some(format!("the retention of the journal: {ended:?}")),
        };
        if let Some(task) = &died {
            error!("{task} ended unasked: the broker stops, to be started again");
        }
        retention.abort();
        broker.stop(DRAIN_DEADLINE).await;
        servers_stop.cancel();
        for server in [grpc.abort_handle(), http.abort_handle()] {
            let ended = async {
                while !server.is_finished() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            if tokio::time::timeout(Duration::from_secs(3), ended).await.is_err() {
                warn!("clients still hold connections; they are cut");
                server.abort();
            }
        }
        info!("broker stopped");
        match died {
            None => Ok(()),
            Some(task) => anyhow::bail!("{task} ended unasked; see the log"),
        }
    }
}

/// Applies later configurations to a running broker.
pub struct Reloader {
    handle: BrokerHandle,
    providers: Arc<AwsProviders>,
    token: watch::Sender<Option<String>>,
    first: Arc<Config>,
}

impl Reloader {
    /// Applies what can be applied, and says what needs a restart.
    pub async fn apply(&self, config: &Config) {
        if config.store != self.first.store || config.listen != self.first.listen || config.journal != self.first.journal {
            warn!("store, listen and journal take effect at the next start");
        }
        match config.agents.read_token() {
            Ok(token) => drop(self.token.send_replace(Some(token.expose().to_owned()))),
            Err(error) => warn!("the agents' token stays as it was: {error}"),
        }
        self.providers.set_accounts(config.accounts.iter().map(|account| account.access()).collect());
        let known = self.handle.workers.keys().cloned().collect::<Vec<_>>();
        let mut accounts = vec![];
        for settings in accounts_of(config) {
            if !known.contains(&settings.account) {
                warn!(account = %settings.account, "a new account is worked from the next start on");
                continue;
            }
            match self.providers.provider(&settings.account).await {
                Ok(provider) => accounts.push((settings, provider)),
                Err(error) => warn!(account = %settings.account, "the account stays as it was: {error}"),
            }
        }
        for account in known.iter().filter(|account| config.accounts.iter().all(|other| other.id != **account)) {
            warn!(account = %account, "the account is no longer configured; it is worked as before until the next start");
        }
        self.handle.reconfigure(clusters_of(config), accounts).await;
        info!("configuration applied");
    }
}
