//! A small world in one process: our emulator, a broker on SQLite, and real agents on folders of manifests.
//!
//! Nothing is replaced by a double: streams, store, signatures, roles and calls are the real ones. Tests wait for conditions,
//! with a deadline that only a broken test meets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zonefold::adapters::route53::AwsOptions;
use zonefold::agent::manifests::ManifestOptions;
use zonefold::agent::sources::ExtractOptions;
use zonefold::agent::{
    Agent, AgentConfig, AgentHandle, BrokerAddress, ClusterUid, KeepAlive, Material, Objects,
};
use zonefold::app::broker::{BrokerOptions, accounts_of, build, clusters_of};
use zonefold::broker::BrokerHandle;
use zonefold::broker::directory::entry::{EndpointEntry, Progress, Status};
use zonefold::broker::ingest::Limits;
use zonefold::config::Config;
use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::ids::{AccountId, ClusterId, ZoneId};
use zonefold::emulator::*;

use super::NO_GUARDS;

/// The one account.
pub const ACCOUNT: &str = "111111111111";
/// The account of the broker's own user.
const OPERATIONS: &str = "999999999999";
pub const KEY: &str = "AKIAZONEFOLDTEST0001";
pub const SECRET: &str = "a-secret-that-only-tests-know-0123456789";
pub const TOKEN: &str = "a-token-that-only-tests-know";
/// No condition takes this long on a machine that works.
const DEADLINE: Duration = Duration::from_secs(60);

/// The parts of a world.
pub struct Plan {
    pub limits: LimitsConfig,
    pub zones: Vec<&'static str>,
    pub clusters: Vec<&'static str>,
    /// Owner, type and value of what another writer made before the broker starts, so that its first listing shows it.
    pub others: Vec<(&'static str, &'static str, &'static str)>,
    /// `max_endpoints` of each cluster.
    pub max_endpoints: usize,
    /// Between two heartbeats of an agent.
    pub heartbeat: Duration,
    pub policy: &'static str,
    pub drift: &'static str,
    pub adopt: &'static str,
    /// The zone's `record_types`.
    pub record_types: serde_json::Value,
    pub process_ms: u64,
    /// The account's `budget` section.
    pub budget: serde_json::Value,
    pub drift_interval_secs: u32,
    pub discovery_interval_secs: u32,
    pub attempt_timeout: Duration,
    /// The ids of the health checks that exist; `None` if every id exists.
    pub health_checks: Option<Vec<String>>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            limits: LimitsConfig::of(LimitsProfile::Published2026),
            zones: vec!["example.com"],
            clusters: vec!["east", "west"],
            others: vec![],
            max_endpoints: 50_000,
            heartbeat: Limits::default().heartbeat,
            policy: "sync",
            drift: "repair",
            adopt: "never",
            record_types: serde_json::json!("all"),
            process_ms: 0,
            budget: serde_json::json!({ "profile": "2026" }),
            drift_interval_secs: 3_600,
            discovery_interval_secs: 300,
            attempt_timeout: Duration::from_secs(30),
            health_checks: None,
        }
    }
}

pub struct World {
    pub emulator: EmulatorHandle,
    pub data: PathBuf,
    plan: Plan,
    broker: Option<Running>,
}

struct Running {
    handle: BrokerHandle,
    grpc: std::net::SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// A new folder under the system's folder for temporary files.
pub fn temporary(what: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("zonefold-{what}-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

pub fn name(text: &str) -> DnsName {
    DnsName::parse(text).unwrap()
}

/// The emulator's part of a world.
pub fn emulator_config(plan: &Plan) -> EmulatorConfig {
    let mut operations = AccountConfig::new(AccountId::parse(OPERATIONS).unwrap());
    operations.access_keys = vec![AccessKeyConfig {
        id: KEY.to_owned(),
        secret: Secret::new(SECRET),
        user: "broker".to_owned(),
    }];
    let mut account = AccountConfig::new(AccountId::parse(ACCOUNT).unwrap());
    account.limits = plan.limits.clone();
    account.zones = plan.zones.iter().map(|zone| ZoneConfig::public(name(zone))).collect();
    account.roles = vec![RoleConfig {
        trusted_principals: vec![format!("arn:aws:iam::{OPERATIONS}:user/broker")],
        external_id: Some("right".to_owned()),
        ..RoleConfig::new(format!("arn:aws:iam::{ACCOUNT}:role/zonefold"))
    }];
    EmulatorConfig {
        accounts: vec![operations, account],
        process_ms: plan.process_ms,
        propagation_ms: 0,
        health_checks: plan.health_checks.clone(),
        ..EmulatorConfig::default()
    }
}

/// The broker's configuration of a world, as an operator would write it.
pub fn broker_config(plan: &Plan, data: &Path) -> serde_json::Value {
    let clusters: Vec<_> = plan
        .clusters
        .iter()
        .map(|c| {
            serde_json::json!({
                "name": c, "environment": "dev", "max_endpoints": plan.max_endpoints,
                "labels": { "region": format!("us-{c}-1") },
            })
        })
        .collect();
    serde_json::json!({
        "store": format!("sqlite:{}", data.join("broker.db").display()),
        "listen": { "grpc": "127.0.0.1:0", "http": "127.0.0.1:0" },
        "agents": { "token": TOKEN },
        "environments": [{ "name": "dev" }],
        "rules": [NO_GUARDS],
        "accounts": [{
            "id": ACCOUNT, "name": "dev-dns", "environment": "dev",
            "role_arn": format!("arn:aws:iam::{ACCOUNT}:role/zonefold"), "external_id": "right",
            "zones": [{
                "name": "*", "policy": plan.policy, "drift": plan.drift, "adopt": plan.adopt,
                "record_types": plan.record_types,
            }],
            "budget": plan.budget,
            "drift_interval_secs": plan.drift_interval_secs,
            "discovery_interval_secs": plan.discovery_interval_secs,
        }],
        "clusters": clusters,
    })
}

impl World {
    /// Runs a test in a world of its own, which ends as every world does.
    pub async fn run(plan: Plan, test: impl AsyncFnOnce(&mut World)) {
        let mut world = Self::start(plan).await;
        test(&mut world).await;
        world.stop().await;
    }

    /// A world that the test stops; see [`World::run`].
    pub async fn start(plan: Plan) -> Self {
        let emulator = Emulator::start(emulator_config(&plan)).await.unwrap();
        let mut world = Self { emulator, data: temporary("world"), plan, broker: None };
        for (owner, rtype, value) in &world.plan.others {
            world.foreign_write(ChangeAction::Create, owner, rtype, &[value]);
        }
        world.start_broker().await;
        world
    }

    /// The parts of a broker of this world.
    pub fn broker_parts(&self) -> (Config, BrokerOptions) {
        let text = broker_config(&self.plan, &self.data).to_string();
        let aws = AwsOptions {
            attempt_timeout: self.plan.attempt_timeout,
            ..AwsOptions::emulator(&self.emulator.endpoint_url(), KEY, SECRET)
        };
        (
            Config::parse(&text, "broker.yaml").unwrap(),
            BrokerOptions {
                aws,
                limits: Limits { heartbeat: self.plan.heartbeat, ..Limits::default() },
                ..BrokerOptions::default()
            },
        )
    }

    pub async fn start_broker(&mut self) {
        let (config, options) = self.broker_parts();
        let bound = build(&config, options).await.unwrap();
        let stop = CancellationToken::new();
        let (handle, grpc) = (bound.handle(), bound.grpc);
        let task = tokio::spawn(bound.run(stop.clone()));
        self.broker = Some(Running { handle, grpc, stop, task });
    }

    /// Changes the clusters' `max_endpoints` in the configuration of the running broker.
    pub async fn set_max_endpoints(&mut self, max_endpoints: usize) {
        self.plan.max_endpoints = max_endpoints;
        let (config, _) = self.broker_parts();
        let rules = config.governance.shared();
        self.broker().reconfigure(clusters_of(&config), accounts_of(&config), rules).await;
    }

    /// Takes all clusters but these out of the configuration, from the next start on.
    pub fn register(&mut self, clusters: &[&'static str]) {
        self.plan.clusters = clusters.to_vec();
    }

    /// Stops the broker as an operator would.
    pub async fn stop_broker(&mut self) {
        let running = self.broker.take().unwrap();
        running.stop.cancel();
        running.task.await.unwrap().unwrap();
    }

    pub fn broker(&self) -> &BrokerHandle {
        &self.broker.as_ref().unwrap().handle
    }

    pub fn control(&self) -> Control {
        self.emulator.control()
    }

    pub fn zone(&self, apex: &str) -> ZoneId {
        self.control().zone_named(&name(apex)).unwrap()
    }

    /// Adds a fault and answers its id.
    pub fn fault(&self, action: Action, times: Option<u64>, effect: FaultEffect) -> u64 {
        self.control().add_fault(FaultRule {
            matching: FaultMatch { action: Some(action), ..FaultMatch::default() },
            times,
            effect,
        })
    }

    /// Where agents connect.
    pub fn grpc(&self) -> std::net::SocketAddr {
        self.broker.as_ref().unwrap().grpc
    }

    /// An agent on a folder of its own.
    pub async fn cluster(&self, cluster: &str) -> Cluster {
        Cluster::start(cluster, self.broker.as_ref().unwrap().grpc, &self.data.join(cluster)).await
    }

    /// The record set that Route 53 holds under a name and type.
    pub fn record(&self, owner: &str, rtype: &str) -> Option<RawRecordSet> {
        let owner = name(owner);
        let zones = self.control().zones();
        let zone = zones
            .iter()
            .filter(|zone| owner.is_in(&zone.name))
            .max_by_key(|zone| zone.name.label_count())?;
        let records = self.control().records(&zone.id, View::Accepted).unwrap();
        records.into_iter().find(|set| set.rtype == rtype && name(&set.name) == owner)
    }

    pub fn values(&self, owner: &str, rtype: &str) -> Vec<String> {
        self.record(owner, rtype)
            .map(|set| set.values.iter().map(ToString::to_string).collect())
            .unwrap_or_default()
    }

    /// Another writer, such as a person at the console.
    pub fn foreign_write(&self, action: ChangeAction, owner: &str, rtype: &str, values: &[&str]) {
        let zone =
            self.control().zones().into_iter().find(|zone| name(owner).is_in(&zone.name)).unwrap();
        let set = RawRecordSet {
            name: owner.into(),
            rtype: rtype.into(),
            ttl_secs: Some(60),
            values: values.iter().map(|value| (*value).into()).collect(),
            ..RawRecordSet::default()
        };
        self.control().foreign_write(&zone.id, &[RecordChange { action, set }]).unwrap();
    }

    /// The status of the endpoints of a cluster for a name.
    pub fn statuses(&self, cluster: &str, owner: &str) -> Vec<Arc<Status>> {
        let held =
            self.broker().endpoints(&ClusterId::parse(cluster).unwrap()).page(None, usize::MAX);
        held.iter()
            .filter(|held| held.view().dns_name == owner)
            .filter_map(EndpointEntry::status)
            .collect()
    }

    /// Waits until something holds.
    pub async fn until(&self, what: &str, mut holds: impl FnMut(&World) -> bool) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !holds(self) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "it never came to this: {what}\n{}",
                self.report()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until every account has nothing left to do.
    pub async fn wait_idle(&self) {
        tokio::time::timeout(DEADLINE, self.broker().wait_idle())
            .await
            .unwrap_or_else(|_| panic!("the broker never settled\n{}", self.report()));
    }

    /// Our batches.
    pub fn our_batches(&self) -> Vec<JournalEntry> {
        self.control()
            .journal(0)
            .into_iter()
            .filter(|entry| entry.origin == Origin::Request)
            .collect()
    }

    fn report(&self) -> String {
        let mut text = String::new();
        for account in self.broker().accounts() {
            let _ = writeln!(text, "{account:#?}");
        }
        for cluster in &self.plan.clusters {
            for held in self.broker().endpoints(&ClusterId::parse(cluster).unwrap()).page(None, 50)
            {
                let _ = writeln!(text, "{held:?}: {:?}", held.status());
            }
        }
        text
    }

    /// The oracle that every world ends with: what the emulator saw breaks none of the invariants that it can see.
    fn assert_clean(&self) {
        let upserts: Vec<_> = self
            .our_batches()
            .into_iter()
            .flat_map(|entry| entry.changes)
            .filter(|c| c.action == ChangeAction::Upsert)
            .collect();
        assert!(upserts.is_empty(), "writes without a precondition: {upserts:?}");
        let counters = self.control().counters();
        for (account, counters) in &counters.accounts {
            assert_eq!(counters.overdrawn, 0, "a bucket of {account} was overdrawn: {counters:?}");
        }
        for (zone, most) in &counters.max_in_flight {
            assert!(*most <= 1, "{most} calls were in flight at once in {zone}");
        }
        for entry in self.our_batches() {
            assert!(
                entry.comment.as_deref().is_some_and(|comment| comment.starts_with("zonefold ")),
                "a batch without an id: {entry:?}"
            );
        }
    }

    /// Stops the broker, and asserts what has to hold at the end of every test.
    pub async fn stop(mut self) {
        if self.broker.is_some() {
            self.stop_broker().await;
        }
        self.assert_clean();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// Whether the status says that Route 53 accepted it.
pub fn is_applied(status: &Arc<Status>) -> bool {
    matches!(status.progress, Some(Progress::Applied { .. } | Progress::InSync { .. }))
}

/// A cluster: a folder of manifests and the agent that reads it.
pub struct Cluster {
    pub folder: PathBuf,
    pub agent: AgentHandle,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// A wish in a test's words: name, type, targets.
pub type Wish<'a> = (&'a str, &'a str, &'a [&'a str]);

impl Cluster {
    pub async fn start(cluster: &str, grpc: std::net::SocketAddr, home: &Path) -> Self {
        Self::start_with(cluster, grpc, home, KeepAlive::default()).await
    }

    pub async fn start_with(
        cluster: &str,
        grpc: std::net::SocketAddr,
        home: &Path,
        keep_alive: KeepAlive,
    ) -> Self {
        let folder = home.join("manifests");
        std::fs::create_dir_all(&folder).unwrap();
        let bound = Agent::build(AgentConfig {
            cluster: cluster.to_owned(),
            kube_system_uid: ClusterUid::StateFile(home.join("uid")),
            broker: BrokerAddress {
                url: format!("http://{grpc}"),
                token: Some(Material::text(TOKEN)),
                ca: None,
                certificate: None,
                keep_alive,
            },
            objects: Objects::Manifests(ManifestOptions {
                path: folder.clone(),
                rescan: Duration::from_secs(60),
                extract: ExtractOptions::default(),
            }),
            listen: None,
        })
        .await
        .unwrap();
        let (agent, stop) = (bound.handle(), CancellationToken::new());
        let run = bound.run(stop.clone());
        let task = tokio::spawn(async move { run.await.unwrap() });
        Self { folder, agent, stop, task: Some(task) }
    }

    /// Writes a manifest, whole.
    pub fn write(&self, file: &str, text: &str) {
        let new = self.folder.join(format!(".{file}.new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.folder.join(file)).unwrap();
    }

    /// Wants exactly these, as one DNSEndpoint in a file of that name.
    pub fn wants(&self, object: &str, wishes: &[Wish<'_>]) {
        self.write(&format!("{object}.yaml"), &dns_endpoint(object, wishes));
    }

    /// Wants one address at each of these names.
    pub fn wants_addresses(&self, object: &str, names: &BTreeMap<String, String>) {
        let targets: Vec<[&str; 1]> = names.values().map(|target| [target.as_str()]).collect();
        let named = names.keys().zip(&targets);
        let wishes: Vec<Wish<'_>> =
            named.map(|(owner, target)| (owner.as_str(), "A", &target[..])).collect();
        self.wants(object, &wishes);
    }

    pub fn delete(&self, object: &str) {
        std::fs::remove_file(self.folder.join(format!("{object}.yaml"))).unwrap();
    }

    /// Waits until the broker has made durable the folder's endpoints, of which there are `endpoints`.
    pub async fn acked(&self, endpoints: u64) {
        let acked = self.agent.wait_until(|state| {
            state.index.digest().count() == endpoints && state.publisher.is_converged()
        });
        tokio::time::timeout(DEADLINE, acked).await.expect("the broker never acked everything");
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A DNSEndpoint as YAML.
pub fn dns_endpoint(object: &str, wishes: &[Wish<'_>]) -> String {
    let mut text = format!(
        "apiVersion: externaldns.k8s.io/v1alpha1\nkind: DNSEndpoint\nmetadata:\n  name: {object}\n  namespace: default\nspec:\n  endpoints:\n"
    );
    for (dns_name, record_type, targets) in wishes {
        let targets = serde_json::to_string(targets).unwrap();
        let _ = writeln!(
            text,
            "  - {{dnsName: {dns_name:?}, recordType: {record_type}, targets: {targets}}}"
        );
    }
    if wishes.is_empty() {
        text.push_str("    []\n");
    }
    text
}
