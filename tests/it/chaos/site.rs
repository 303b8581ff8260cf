//! Where the tests of this folder take place.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use serde_json::{Value, json};
use zonefold::core::ids::AccountId;
use zonefold::emulator::*;

use crate::support::NO_GUARDS;
use crate::support::folder::TestFolder;
use crate::support::foreign::write_foreign;
use crate::support::network::try_get;
use crate::support::postgres;
use crate::support::process::{Process, zonefold};
use crate::support::relay::Relay;
use crate::support::wait::eventually;
use crate::support::world::{Cluster, KEY, SECRET, TOKEN, name};

/// Accounts, each with the zones of its own in one environment.
pub const ACCOUNTS: [&str; 3] = ["111111111111", "222222222222", "333333333333"];
pub const ZONES_PER_ACCOUNT: usize = 2;
pub const CLUSTERS: [&str; 3] = ["east", "north", "west"];
pub const REPLICAS: usize = 3;
/// The account of the brokers' own user.
const OPERATIONS: &str = "999999999999";
const EXTERNAL_ID: &str = "right";
/// Short, so that a call without an answer is over within a test.
const ATTEMPT_TIMEOUT_SECS: u64 = 3;
/// Calls take up to this, so that many a fault falls between a call and its answer.
const MOST_LATENCY_MS: u64 = 120;

/// The apex of a zone by its place among all zones; those of one account follow each other.
pub fn apex(zone: usize) -> String {
    format!("z{zone}.example.com")
}

/// Whether a name is in a zone of an account.
pub fn is_of(account: &str, owner: &str) -> bool {
    let number = ACCOUNTS.iter().position(|id| *id == account).unwrap();
    zones_of(number).any(|zone| owner.ends_with(&format!(".{zone}")))
}

/// One replica: a process, and its ways to the others.
pub struct Replica {
    pub to_aws: Relay,
    pub to_store: Relay,
    /// Where it listens in this life; any free port, so that no two tests want one.
    grpc: SocketAddr,
    pub http: SocketAddr,
    config: PathBuf,
    process: Option<Process>,
    /// The names of its sessions at AWS: one for each life of the process.
    lives: Vec<String>,
}

/// See the module's page.
pub struct ChaosSite {
    pub emulator: EmulatorHandle,
    pub replicas: Vec<Replica>,
    /// The address that agents connect to, as to a load balancer: it leads to any replica that listens.
    pub front: Relay,
    /// The replicas that it leads to.
    balanced: Vec<usize>,
    pub folder: TestFolder,
    pub store: String,
    foreign: Vec<(String, String)>,
}

/// An address where no server listens.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));

impl ChaosSite {
    /// Three replicas on a new database of the test run's PostgreSQL.
    pub async fn start() -> Self {
        Self::on(postgres::database().await, REPLICAS).await
    }

    /// `replicas` replicas on a store.
    pub async fn on(store: String, replicas: usize) -> Self {
        let emulator = Emulator::start(emulator_config()).await.unwrap();
        let slow = FaultRule {
            matching: FaultMatch {
                action: Some(Action::ChangeResourceRecordSets),
                ..FaultMatch::default()
            },
            times: None,
            effect: FaultEffect::Latency { min_ms: 0, max_ms: MOST_LATENCY_MS },
        };
        emulator.control().add_fault(slow);
        let foreign = write_foreign(&emulator.control(), 5);
        let folder = TestFolder::new();
        let mut made = vec![];
        for number in 0..replicas {
            made.push(Replica::new(number, &emulator, &store, &folder).await);
        }
        let (front, balanced) = (Relay::before(vec![]).await, (0..replicas).collect());
        let mut site = Self { emulator, replicas: made, front, balanced, folder, store, foreign };
        for number in 0..replicas {
            site.start_replica(number);
        }
        for number in 0..replicas {
            site.ready(number).await;
        }
        site
    }

    pub fn start_replica(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        let mut command = zonefold(
            &self.folder.path(""),
            ["broker".as_ref(), "--config".as_ref(), replica.config.as_os_str()],
        );
        command
            .env("AWS_ENDPOINT_URL", format!("http://{}", replica.to_aws.address))
            .env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        replica.process = Some(Process::start(format!("replica {number}"), command));
    }

    /// Waits until a replica serves.
    pub async fn ready(&mut self, number: usize) {
        let started = self.process(number).says("broker started").await;
        // The first part of its name is in the name of its sessions. One that has a store of its own has no name among others.
        let named = self
            .process(number)
            .log()
            .into_iter()
            .find_map(|line| Some(line["replica"].as_str()?.to_owned()));
        let replica = &mut self.replicas[number];
        replica
            .lives
            .push(named.unwrap_or_default().split('-').next().unwrap_or_default().to_owned());
        let address = |key: &str| started[key].as_str().unwrap().parse().unwrap();
        (replica.grpc, replica.http) = (address("grpc"), address("http"));
        let http = replica.http;
        self.lead();
        eventually(&format!("replica {number} is ready"), async || {
            match try_get(http, "/readyz").await {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    pub fn process(&mut self, number: usize) -> &mut Process {
        self.replicas[number]
            .process
            .as_mut()
            .unwrap_or_else(|| panic!("replica {number} does not run"))
    }

    /// kill -9.
    pub async fn kill(&mut self, number: usize) {
        let process = self.replicas[number]
            .process
            .take()
            .unwrap_or_else(|| panic!("replica {number} does not run"));
        let output = process.kill().await;
        // Its port may be another test's from now on.
        self.replicas[number].grpc = NOWHERE;
        self.lead();
        assert!(
            !output.contains(SECRET) && !output.contains(TOKEN),
            "replica {number} has logged a secret"
        );
    }

    /// Starts a replica again and waits until it serves.
    pub async fn revive(&mut self, number: usize) {
        self.start_replica(number);
        self.ready(number).await;
    }

    /// Whether a replica has ended, for any reason.
    pub fn has_ended(&mut self, number: usize) -> bool {
        self.replicas[number].process.as_mut().is_none_or(Process::has_ended)
    }

    /// Starts those again that have ended, as an orchestrator does; answers which.
    pub async fn restart_ended(&mut self) -> Vec<usize> {
        let ended: Vec<usize> =
            (0..self.replicas.len()).filter(|number| self.has_ended(*number)).collect();
        for number in &ended {
            self.revive(*number).await;
        }
        ended
    }

    /// The replica that calls under a principal.
    pub fn replica_of(&self, principal: &str) -> Option<usize> {
        let session = principal.rsplit('/').next().unwrap_or_default();
        self.replicas.iter().position(|replica| {
            replica.lives.iter().any(|life| !life.is_empty() && session.contains(life.as_str()))
        })
    }

    /// The runs of calls that an account has seen, each with the replica that made it.
    pub fn runs(&self, account: &str) -> Vec<(usize, CallerRun)> {
        let mut counters = self.emulator.control().counters();
        let callers = counters
            .accounts
            .remove(&AccountId::parse(account).unwrap())
            .unwrap_or_default()
            .callers;
        let of_replica = |run: CallerRun| {
            let replica = self.replica_of(&run.principal);
            (replica.unwrap_or_else(|| panic!("nobody knows who called as {}", run.principal)), run)
        };
        callers.into_iter().map(of_replica).collect()
    }

    /// The replica whose call an account has seen last.
    pub fn last_caller(&self, account: &str) -> Option<usize> {
        self.runs(account).last().map(|(replica, _)| *replica)
    }

    /// Waits until a replica other than those calls an account.
    pub async fn called_by_another(&self, account: &str, than: &[usize]) -> usize {
        eventually(&format!("another replica than {than:?} works {account}"), async || {
            match self.last_caller(account) {
                Some(replica) if !than.contains(&replica) => Ok(replica),
                other => Err(format!("the last caller was {other:?}\n{}", self.words())),
            }
        })
        .await
    }

    /// The last output of all replicas.
    pub fn words(&self) -> String {
        let mut text = String::new();
        for (number, replica) in self.replicas.iter().enumerate() {
            let output = replica.process.as_ref().map(Process::output).unwrap_or_default();
            let lines: Vec<&str> = output.lines().rev().take(25).collect();
            text += &format!("replica {number} said at last:\n");
            lines.iter().rev().for_each(|line| text += &format!("  {line}\n"));
        }
        text
    }

    /// Agents of all clusters.
    pub async fn agents(&self) -> BTreeMap<&'static str, Cluster> {
        let mut agents = BTreeMap::new();
        for cluster in CLUSTERS {
            agents.insert(
                cluster,
                Cluster::start(cluster, self.front.address, &self.folder.path(cluster)).await,
            );
        }
        agents
    }

    /// New connections of agents go to these replicas only, and the others lose theirs: what a load balancer does when a check
    /// fails.
    pub fn balance_over(&mut self, numbers: &[usize]) {
        self.balanced = numbers.to_vec();
        self.lead();
        self.front.break_connections();
    }

    fn lead(&self) {
        self.front
            .lead_to_any(self.balanced.iter().map(|number| self.replicas[*number].grpc).collect());
    }

    /// The foreign records, as they were at first.
    pub fn foreign(&self) -> &[(String, String)] {
        &self.foreign
    }
}

impl Replica {
    async fn new(
        number: usize,
        emulator: &EmulatorHandle,
        store: &str,
        folder: &TestFolder,
    ) -> Self {
        let to_aws = Relay::start(emulator.bound().aws_addr).await;
        let url = store.strip_prefix("postgres://").and_then(|rest| rest.split_once('@')).map(
            |(user, rest)| {
                let (server, database) = rest.split_once('/').unwrap();
                (user, server.parse::<SocketAddr>().unwrap(), database)
            },
        );
        let to_store = Relay::start(url.map_or(NOWHERE, |(_, server, _)| server)).await;
        let store = match url {
            Some((user, _, database)) => {
                format!("postgres://{user}@{}/{database}", to_store.address)
            }
            None => store.to_owned(),
        };
        let config =
            folder.write(&format!("broker-{number}.yaml"), &broker_config(&store).to_string());
        Self {
            to_aws,
            to_store,
            grpc: NOWHERE,
            http: NOWHERE,
            config,
            process: None,
            lives: vec![],
        }
    }
}

fn role(account: &str) -> String {
    format!("arn:aws:iam::{account}:role/zonefold")
}

fn zones_of(account: usize) -> impl Iterator<Item = String> {
    (account * ZONES_PER_ACCOUNT..(account + 1) * ZONES_PER_ACCOUNT).map(apex)
}

fn emulator_config() -> EmulatorConfig {
    let mut operations = AccountConfig::new(AccountId::parse(OPERATIONS).unwrap());
    operations.access_keys = vec![AccessKeyConfig {
        id: KEY.to_owned(),
        secret: Secret::new(SECRET),
        user: "broker".to_owned(),
    }];
    let mut accounts = vec![operations];
    for (number, id) in ACCOUNTS.into_iter().enumerate() {
        let mut account = AccountConfig::new(AccountId::parse(id).unwrap());
        // The tightest bucket that there is: a replica that spends a token twice is throttled at once.
        account.limits = LimitsConfig::of(LimitsProfile::Legacy);
        account.zones = zones_of(number).map(|zone| ZoneConfig::public(name(&zone))).collect();
        account.roles = vec![RoleConfig {
            trusted_principals: vec![format!("arn:aws:iam::{OPERATIONS}:user/broker")],
            external_id: Some(EXTERNAL_ID.to_owned()),
            ..RoleConfig::new(role(id))
        }];
        accounts.push(account);
    }
    EmulatorConfig {
        accounts,
        dns_listen: None,
        process_ms: 30,
        propagation_ms: 50,
        ..EmulatorConfig::default()
    }
}

fn broker_config(store: &str) -> Value {
    let account = |id: &&str| {
        json!({
            "id": id, "name": format!("dns-{id}"), "environment": "dev", "role_arn": role(id), "external_id": EXTERNAL_ID,
            "zones": [{ "name": "*", "record_types": "all" }], "budget": { "profile": "legacy" },
            "drift_interval_secs": 3_600, "discovery_interval_secs": 300,
        })
    };
    json!({
        "store": store,
        "listen": { "grpc": "127.0.0.1:0", "http": "127.0.0.1:0" },
        "agents": { "token": TOKEN },
        "aws": { "attempt_timeout_secs": ATTEMPT_TIMEOUT_SECS },
        "environments": [{ "name": "dev" }],
        "accounts": ACCOUNTS.iter().map(account).collect::<Vec<_>>(),
        "clusters": CLUSTERS.map(|cluster| json!({ "name": cluster, "environment": "dev" })),
        "rules": [NO_GUARDS],
        "log": { "filter": "info,zonefold=debug" },
    })
}
