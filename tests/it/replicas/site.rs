//! A site with several replicas: two accounts, two clusters, one database, one emulator.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zonefold::adapters::route53::AwsOptions;
use zonefold::app::broker::{BrokerOptions, build};
use zonefold::broker::BrokerHandle;
use zonefold::broker::directory::cluster::StatusCounts;
use zonefold::broker::lease::LeaseTiming;
use zonefold::config::Config;
use zonefold::core::ids::{AccountId, ClusterId};
use zonefold::emulator::*;
use zonefold::wire::v1;

use crate::support::NO_GUARDS;
use crate::support::postgres;
use crate::support::world::{KEY, SECRET, TOKEN, name, temporary};

/// The account of the cluster east.
pub const DEV: &str = "111111111111";
/// The account of the cluster west.
pub const PROD: &str = "222222222222";
const OPERATIONS: &str = "999999999999";
/// No condition takes this long on a machine that works.
const DEADLINE: Duration = Duration::from_secs(60);

/// Leases that pass on within seconds.
pub fn quick() -> LeaseTiming {
    LeaseTiming {
        ttl: Duration::from_secs(3),
        heartbeat_every: Duration::from_millis(300),
        call_margin: Duration::from_secs(1),
        rebalance_after: Duration::from_millis(900),
    }
}

pub fn cluster(name: &str) -> ClusterId {
    ClusterId::parse(name).unwrap()
}

/// The parts of an answer that do not change from one moment to the next.
pub fn lasting(answer: &Value) -> Value {
    match answer {
        Value::Object(members) => {
            let passing = ["budget", "observed_at", "busy"];
            let lasting = members.iter().filter(|(name, _)| !passing.contains(&name.as_str()));
            lasting.map(|(name, member)| (name.clone(), self::lasting(member))).collect()
        }
        Value::Array(items) => items.iter().map(lasting).collect(),
        other => other.clone(),
    }
}

/// Whether a status says that Route 53 accepted the change.
pub fn is_applied(status: &v1::EndpointStatus) -> bool {
    matches!(status.progress(), v1::Progress::Applied | v1::Progress::InSync)
}

/// One replica, on a runtime of its own.
pub struct Replica {
    pub handle: BrokerHandle,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    runtime: Option<Runtime>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Replica {
    /// How its calls' principal ends.
    pub fn principal(&self) -> String {
        let id = self.handle.replica.replica.to_string();
        format!("/zonefold-broker-{}", id.split('-').next().unwrap())
    }

    pub fn counts(&self, name: &str) -> StatusCounts {
        self.handle.endpoints(&cluster(name)).counts()
    }
}

pub struct ReplicaSite {
    pub emulator: EmulatorHandle,
    data: PathBuf,
    store: String,
    timing: LeaseTiming,
    replicas: BTreeMap<usize, Replica>,
    started: usize,
}

impl ReplicaSite {
    pub async fn new(timing: LeaseTiming) -> Self {
        let mut operations = AccountConfig::new(AccountId::parse(OPERATIONS).unwrap());
        operations.access_keys = vec![AccessKeyConfig {
            id: KEY.to_owned(),
            secret: Secret::new(SECRET),
            user: "broker".to_owned(),
        }];
        let account = |id: &str, zone: &str| {
            let mut account = AccountConfig::new(AccountId::parse(id).unwrap());
            account.limits = LimitsConfig::of(LimitsProfile::Published2026);
            account.zones = vec![ZoneConfig::public(name(zone))];
            account.roles = vec![RoleConfig {
                trusted_principals: vec![format!("arn:aws:iam::{OPERATIONS}:user/broker")],
                external_id: Some("right".to_owned()),
                ..RoleConfig::new(format!("arn:aws:iam::{id}:role/zonefold"))
            }];
            account
        };
        let config = EmulatorConfig {
            accounts: vec![operations, account(DEV, "example.com"), account(PROD, "example.net")],
            process_ms: 0,
            propagation_ms: 0,
            ..EmulatorConfig::default()
        };
        Self {
            emulator: Emulator::start(config).await.unwrap(),
            data: temporary("replicas"),
            store: postgres::database().await,
            timing,
            replicas: BTreeMap::new(),
            started: 0,
        }
    }

    fn config(&self) -> Config {
        let account = |id: &str, environment: &str| {
            serde_json::json!({
                "id": id, "name": format!("{environment}-dns"), "environment": environment,
                "role_arn": format!("arn:aws:iam::{id}:role/zonefold"), "external_id": "right",
                "zones": [{ "name": "*" }],
            })
        };
        let text = serde_json::json!({
            "store": self.store,
            "listen": { "grpc": "127.0.0.1:0", "http": "127.0.0.1:0" },
            "agents": { "token": TOKEN },
            "environments": [{ "name": "dev" }, { "name": "prod" }],
            "accounts": [account(DEV, "dev"), account(PROD, "prod")],
            "clusters": [{ "name": "east", "environment": "dev" }, { "name": "west", "environment": "prod" }],
            "rules": [NO_GUARDS],
        });
        Config::parse(&text.to_string(), "broker.yaml").unwrap()
    }

    /// Starts another replica and answers its number.
    pub async fn start(&mut self) -> usize {
        let (config, leases) = (self.config(), self.timing.clone());
        let aws = AwsOptions::emulator(&self.emulator.endpoint_url(), KEY, SECRET);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let building = runtime.spawn(async move {
            let options = BrokerOptions { aws, leases, ..BrokerOptions::default() };
            build(&config, options).await.unwrap()
        });
        let bound = building.await.unwrap();
        let (handle, grpc, http, stop) =
            (bound.handle(), bound.grpc, bound.http, CancellationToken::new());
        let task = runtime.spawn(bound.run(stop.clone()));
        self.started += 1;
        self.replicas.insert(
            self.started,
            Replica { handle, grpc, http, stop, task, runtime: Some(runtime) },
        );
        self.started
    }

    pub fn replica(&self, number: usize) -> &Replica {
        &self.replicas[&number]
    }

    /// Ends a replica wherever it stands.
    pub fn kill(&mut self, number: usize) {
        drop(self.replicas.remove(&number).unwrap());
    }

    /// Stops a replica as an operator would.
    pub async fn stop_replica(&mut self, number: usize) {
        let mut replica = self.replicas.remove(&number).unwrap();
        replica.stop.cancel();
        (&mut replica.task).await.unwrap().unwrap();
    }

    /// A replica's answer over HTTP.
    pub async fn get(&self, number: usize, path: &str) -> (u16, Value) {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
        let uri = format!("http://{}{path}", self.replica(number).http).parse().unwrap();
        let (head, body) = client.get(uri).await.unwrap().into_parts();
        (
            head.status.as_u16(),
            serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap(),
        )
    }

    /// The replica that manages an account and has looked at all of it; by what each says of itself.
    pub fn holder(&self, account: &str) -> Option<usize> {
        let account = AccountId::parse(account).unwrap();
        let works = |replica: &Replica| {
            replica
                .handle
                .accounts()
                .iter()
                .any(|view| view.account == account && view.is_settled())
        };
        let holders: Vec<usize> = self
            .replicas
            .iter()
            .filter(|(_, replica)| works(replica))
            .map(|(number, _)| *number)
            .collect();
        assert!(holders.len() <= 1, "{account} is worked by {holders:?}");
        holders.first().copied()
    }

    pub fn holders(&self) -> [Option<usize>; 2] {
        [DEV, PROD].map(|account| self.holder(account))
    }

    /// A folder for an agent.
    pub fn home(&self, what: &str) -> PathBuf {
        self.data.join(what)
    }

    /// The addresses that Route 53 holds under a name.
    pub fn values(&self, owner: &str) -> Vec<String> {
        let (owner, control) = (name(owner), self.emulator.control());
        let zone = control.zones().into_iter().find(|zone| owner.is_in(&zone.name)).unwrap();
        let records = control.records(&zone.id, View::Accepted).unwrap();
        let found = records.into_iter().find(|set| set.rtype == "A" && name(&set.name) == owner);
        found.map(|set| set.values.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }

    /// The changes in an account, batch by batch.
    pub fn batches(&self, account: &str) -> Vec<JournalEntry> {
        self.emulator
            .control()
            .journal(0)
            .into_iter()
            .filter(|entry| entry.account.as_str() == account)
            .collect()
    }

    pub async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !holds(self) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "it never came to this: {what}\n{}",
                self.report()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn report(&self) -> String {
        let of = |(number, replica): (&usize, &Replica)| {
            let counts = ["east", "west"].map(|cluster| replica.counts(cluster));
            format!(
                "{number}: {:?}\n{counts:?}\n{:#?}\n",
                *replica.handle.standing.borrow(),
                replica.handle.accounts()
            )
        };
        self.replicas.iter().map(of).collect()
    }

    /// Asserts that what the emulator saw, summed over the replicas, breaks none of the invariants that it can see.
    pub fn assert_clean(&self) {
        let control = self.emulator.control();
        assert_eq!(control.blind_overwrites(), []);
        let counters = control.counters();
        for (account, counters) in &counters.accounts {
            assert_eq!((counters.overdrawn, counters.throttled), (0, 0), "{account}: {counters:?}");
        }
        for (zone, most) in &counters.max_in_flight {
            assert!(*most <= 1, "{most} calls were in flight at once in {zone}");
        }
    }

    pub async fn stop(mut self) {
        for number in self.replicas.keys().copied().collect::<Vec<_>>() {
            self.stop_replica(number).await;
        }
        let _ = std::fs::remove_dir_all(&self.data);
    }
}
