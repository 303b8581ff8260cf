//! `zonefold dev`: emulated AWS accounts, a broker on SQLite and an agent for each example cluster, in one process.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::broker::{BoundBroker, BrokerOptions};
use super::dev_view::{Addresses, Parts};
use super::{dev_view, signal};
use crate::adapters::route53::AwsOptions;
use crate::agent::manifests::ManifestOptions;
use crate::agent::sources::ExtractOptions;
use crate::agent::{
    Agent, AgentConfig, AgentHandle, BrokerAddress, ClusterUid, KeepAlive, Material, Objects,
};
use crate::cli::{DevArgs, token};
use crate::config::Config;
use crate::core::dns::name::DnsName;
use crate::core::ids::{AccountId, ClusterId};
use crate::emulator::{
    AccessKeyConfig, AccountConfig, Control, Emulator, EmulatorConfig, LimitsConfig, LimitsProfile,
    RoleConfig, Secret, ZoneConfig,
};
use crate::telemetry;

/// The environments, each with its account, its zone and its external id.
const ACCOUNTS: [(&str, &str, &str); 3] = [
    ("dev", "111111111111", "dev.example.com"),
    ("stage", "222222222222", "stage.example.com"),
    ("prod", "333333333333", "prod.example.com"),
];
/// The account of the broker's own user, who may assume the roles of the others.
const OPERATIONS_ACCOUNT: &str = "999999999999";
const KEY_ID: &str = "AKIAZONEFOLDDEV00001";
/// How long an agent waits for the one before it.
const AGENT_TURN: Duration = Duration::from_secs(5);
/// Propagation of the emulated Route 53: short, so that in sync is seen soon.
const PROPAGATION_MS: u64 = 2_000;

/// Runs `zonefold dev`.
///
/// # Errors
/// A port is taken, the examples are not there, or a part died.
pub async fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    let (data, _temporary) = data_folder(args.data.as_deref())?;
    let live = std::io::stdout().is_terminal() && !args.plain;
    let recent = dev_view::RecentLines::default();
    if live {
        telemetry::init_to(&args.log.to_config(), recent.clone())?;
    } else {
        telemetry::init(&args.log.to_config())?;
    }
    let clusters = clusters_in(&args.clusters)?;
    let shutdown = signal::shutdown()?;
    let ports = Ports { free: args.free_ports };

    let aws = DevAws::start(&ports, &data).await?;
    let mut parts = JoinSet::new();
    let config = broker_config(&ports, &data, args.store.as_deref(), &clusters)?;
    let options = BrokerOptions {
        aws: AwsOptions::emulator(&format!("http://{}", aws.address), KEY_ID, &secret(&data)?),
        ..BrokerOptions::default()
    };
    let broker = super::broker::build(&config, options).await?;
    let broker_addresses = (broker.grpc, broker.http);
    let handle = broker.handle();
    let stop_agents = CancellationToken::new();
    let mut agents = vec![];
    for (index, (cluster, folder)) in clusters.iter().enumerate() {
        let (handle, bound) = agent(
            cluster,
            folder,
            index,
            &ports,
            &data,
            broker.grpc,
            config.agents.read_token()?.expose(),
        )
        .await?;
        let before = agents.last().map(|(_, before): &(String, AgentHandle)| before.clone());
        agents.push((cluster.to_string(), handle));
        parts.spawn(run_agent(bound, before, stop_agents.clone()));
    }
    let stop_broker = CancellationToken::new();
    let serving = spawn_broker(broker, stop_broker.clone());

    let addresses = Addresses {
        aws: aws.address,
        control: aws.control_address,
        dns: aws.dns_address,
        grpc: broker_addresses.0,
        http: broker_addresses.1,
        agents: agents
            .into_iter()
            .filter_map(|(name, agent)| Some((name, agent.http_address()?)))
            .collect(),
    };
    if let Some(path) = &args.addresses_file {
        write_addresses(path, &addresses)?;
    }
    let view =
        Parts { addresses, broker: handle, clusters: args.clusters.clone(), data: data.clone() };
    show(&view, live.then_some(&recent), &shutdown, &mut parts).await?;
    // Agents first, so that what they have sent is acked; the broker then records what is under way; AWS goes last.
    stop_agents.cancel();
    while parts.join_next().await.is_some() {}
    stop_broker.cancel();
    let result = serving.await.context("the broker's task")?;
    aws.stop().await;
    result.map(|()| ExitCode::SUCCESS)
}

/// Shows how things are until the user or a signal ends it; a part that ends is an error. Live if there are recent lines to show.
async fn show(
    view: &Parts,
    live: Option<&dev_view::RecentLines>,
    shutdown: &CancellationToken,
    parts: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let Some(recent) = live else {
        dev_view::banner(view).lines().for_each(|line| info!("{line}"));
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = dev_view::lines(view) => return Ok(()),
            ended = parts.join_next() => bail!("a part ended unasked: {ended:?}"),
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = dev_view::live(view, recent) => {}
        ended = parts.join_next() => bail!("a part ended unasked: {ended:?}"),
    }
    dev_view::leave();
    Ok(())
}

/// The emulated AWS, whose state outlives the process in the data folder.
struct DevAws {
    address: SocketAddr,
    control_address: SocketAddr,
    dns_address: SocketAddr,
    control: Control,
    /// Where the state is kept.
    state: PathBuf,
    emulating: JoinHandle<()>,
    /// Saves the state now and then.
    keeping: JoinHandle<()>,
    stop: CancellationToken,
}

impl DevAws {
    async fn start(ports: &Ports, data: &Path) -> anyhow::Result<Self> {
        let emulator = Emulator::build(emulator_config(ports, data)?)
            .await
            .context("the emulator cannot start")?;
        let control = emulator.control();
        let state = data.join("emulator.json");
        super::emulator::restore(&control, &state)?;
        let stop = CancellationToken::new();
        Ok(Self {
            address: emulator.aws_addr,
            control_address: emulator.control_addr,
            dns_address: emulator.dns_addr.context("the emulator has no DNS")?,
            keeping: tokio::spawn(super::emulator::keep(control.clone(), state.clone())),
            emulating: tokio::spawn(emulator.run(stop.clone())),
            control,
            state,
            stop,
        })
    }

    async fn stop(self) {
        self.keeping.abort();
        super::emulator::save(&self.control, &self.state);
        self.stop.cancel();
        stop_emulator(self.emulating).await;
    }
}

fn spawn_broker(broker: BoundBroker, stop: CancellationToken) -> JoinHandle<anyhow::Result<()>> {
    tokio::spawn(broker.run(stop))
}

async fn stop_emulator(emulating: JoinHandle<()>) {
    if tokio::time::timeout(Duration::from_secs(3), emulating).await.is_err() {
        info!("the emulator still answered a call; it is cut off");
    }
}

/// A folder that is removed at the end, unless one was named.
struct Temporary(Option<PathBuf>);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = std::fs::remove_dir_all(path)
        {
            tracing::warn!(%error, "the temporary folder {} could not be removed", path.display());
        }
    }
}

fn data_folder(wanted: Option<&Path>) -> anyhow::Result<(PathBuf, Temporary)> {
    let (path, temporary) = match wanted {
        Some(path) => (path.to_owned(), Temporary(None)),
        None => {
            let path = std::env::temp_dir().join(format!("zonefold-dev-{}", uuid::Uuid::new_v4()));
            (path.clone(), Temporary(Some(path)))
        }
    };
    std::fs::create_dir_all(&path).with_context(|| {
        format!("the folder {} cannot be made: choose another with --data", path.display())
    })?;
    Ok((path, temporary))
}

/// A secret that is made once for a data folder.
fn secret(data: &Path) -> anyhow::Result<String> {
    let path = data.join("secret");
    if !path.exists() {
        std::fs::write(
            &path,
            format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()),
        )
        .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(text.trim().to_owned())
}

/// The clusters: one folder each, the environment is what stands before the first dash.
fn clusters_in(folder: &Path) -> anyhow::Result<Vec<(ClusterId, PathBuf)>> {
    let entries = std::fs::read_dir(folder).with_context(|| {
        format!(
            "the folder {} cannot be read: run zonefold from the repository's root, or name a folder with --clusters",
            folder.display()
        )
    })?;
    let mut clusters = vec![];
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_dir())
        else {
            continue;
        };
        let environment = name.split('-').next().unwrap_or_default();
        if ACCOUNTS.iter().all(|(known, ..)| *known != environment) {
            bail!(
                "the folder {} starts with none of dev-, stage- and prod-: rename it",
                path.display()
            );
        }
        clusters.push((ClusterId::parse(name)?, path));
    }
    clusters.sort();
    if clusters.is_empty() {
        bail!(
            "the folder {} holds no cluster: make a folder such as dev-east in it",
            folder.display()
        );
    }
    Ok(clusters)
}

struct Ports {
    free: bool,
}

impl Ports {
    fn loopback(&self, usual: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, if self.free { 0 } else { usual }))
    }
}

fn emulator_config(ports: &Ports, data: &Path) -> anyhow::Result<EmulatorConfig> {
    let mut operations = AccountConfig::new(AccountId::parse(OPERATIONS_ACCOUNT)?);
    operations.name = "operations".to_owned();
    operations.access_keys = vec![AccessKeyConfig {
        id: KEY_ID.to_owned(),
        secret: Secret::new(secret(data)?),
        user: "broker".to_owned(),
    }];
    let mut accounts = vec![operations];
    for (environment, id, zone) in ACCOUNTS {
        let mut account = AccountConfig::new(AccountId::parse(id)?);
        account.name = format!("{environment}-dns");
        account.limits = LimitsConfig::of(LimitsProfile::Published2026);
        account.zones = vec![ZoneConfig::public(DnsName::parse(zone)?)];
        account.roles = vec![RoleConfig {
            trusted_principals: vec![format!("arn:aws:iam::{OPERATIONS_ACCOUNT}:user/broker")],
            external_id: Some(format!("zonefold-{environment}")),
            ..RoleConfig::new(format!("arn:aws:iam::{id}:role/zonefold"))
        }];
        accounts.push(account);
    }
    Ok(EmulatorConfig {
        aws_listen: ports.loopback(4566),
        control_listen: ports.loopback(4567),
        dns_listen: Some(ports.loopback(5353)),
        accounts,
        propagation_ms: PROPAGATION_MS,
        journal_file: Some(data.join("route53-journal.jsonl")),
        ..EmulatorConfig::default()
    })
}

/// The broker's configuration, in the form that an operator would write: it goes through the same reading and checks.
fn broker_config(
    ports: &Ports,
    data: &Path,
    store: Option<&str>,
    clusters: &[(ClusterId, PathBuf)],
) -> anyhow::Result<Arc<Config>> {
    let token_file = data.join("agents-token");
    if !token_file.exists() {
        token::write_secret(&token_file, &token::NewToken::make()?.token)?;
    }
    let api_token = data.join("api-token");
    if !api_token.exists() {
        token::write_secret(&api_token, &token::NewToken::make()?.token)?;
    }
    let held = std::fs::read_to_string(&api_token)
        .with_context(|| format!("{} cannot be read", api_token.display()))?;
    let store =
        store.map_or_else(|| format!("sqlite:{}", data.join("broker.db").display()), str::to_owned);
    let accounts = ACCOUNTS.map(|(environment, id, zone)| {
        serde_json::json!({
            "id": id, "name": format!("{environment}-dns"), "environment": environment,
            "role_arn": format!("arn:aws:iam::{id}:role/zonefold"), "external_id": format!("zonefold-{environment}"),
            "zones": [{ "name": zone, "record_types": "all" }], "drift_interval_secs": 60,
        })
    });
    let clusters: Vec<_> = clusters
        .iter()
        .map(|(cluster, _)| serde_json::json!({ "name": cluster, "environment": cluster.as_str().split('-').next() }))
        .collect();
    let config = serde_json::json!({
        "store": store,
        "listen": { "grpc": ports.loopback(7443), "http": ports.loopback(7080) },
        "agents": { "token_file": token_file },
        // Every process of this machine may look; a request that changes something shows the token of the data folder.
        "api": {
            "anonymous": "viewer",
            "tokens": [{ "name": "dev", "role": "admin", "token_sha256": token::sha256_hex(&held) }],
        },
        "environments": ACCOUNTS.map(|(environment, ..)| serde_json::json!({ "name": environment })),
        "accounts": accounts,
        "clusters": clusters,
    });
    let path = data.join("broker.yaml");
    // JSON is YAML, and this way the file can be looked at and used with `zonefold broker`.
    let text = serde_json::to_string_pretty(&config)?;
    std::fs::write(&path, &text)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(Arc::new(Config::parse(&text, &path.display().to_string())?))
}

async fn agent(
    cluster: &ClusterId,
    folder: &Path,
    index: usize,
    ports: &Ports,
    data: &Path,
    broker: SocketAddr,
    token: &str,
) -> anyhow::Result<(AgentHandle, crate::agent::Bound)> {
    let port = u16::try_from(7_081 + index).unwrap_or(0);
    let bound = Agent::build(AgentConfig {
        cluster: cluster.to_string(),
        kube_system_uid: ClusterUid::StateFile(data.join(format!("{cluster}-uid"))),
        broker: BrokerAddress {
            url: format!("http://{broker}"),
            token: Some(Material::text(token)),
            ca: None,
            certificate: None,
            keep_alive: KeepAlive::default(),
        },
        objects: Objects::Manifests(ManifestOptions {
            path: folder.to_owned(),
            rescan: Duration::from_secs(10),
            extract: ExtractOptions::default(),
        }),
        listen: Some(ports.loopback(port)),
    })
    .await?;
    Ok((bound.handle(), bound))
}

/// Runs an agent, after the one before it has published: a name that two clusters want goes to the first to come, and which
/// one that is must not differ from one start to the next.
async fn run_agent(
    agent: crate::agent::Bound,
    before: Option<AgentHandle>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    if let Some(before) = before {
        let published = before.wait_until(|state| state.publisher.is_converged());
        tokio::select! {
            _ = tokio::time::timeout(AGENT_TURN, published) => {}
            () = stop.cancelled() => {}
        }
    }
    agent.run(stop).await.context("an agent")
}

fn write_addresses(path: &Path, addresses: &Addresses) -> anyhow::Result<()> {
    // Written whole or not at all: a reader that waits for the file reads it at once.
    let new = path.with_extension("new");
    let written = std::fs::write(&new, serde_json::to_vec_pretty(addresses)?)
        .and_then(|()| std::fs::rename(&new, path));
    written.with_context(|| format!("{} cannot be written", path.display()))
}
