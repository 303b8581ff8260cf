//! The parts of a benchmark in one process: AWS accounts at the emulator, a broker on a SQLite file, and what clusters publish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zonefold::adapters::route53::AwsOptions;
use zonefold::app::broker::{self, BrokerOptions, Reloader};
use zonefold::broker::BrokerHandle;
use zonefold::broker::worker::Health;
use zonefold::config::Config;
use zonefold::core::dns::name::DnsName;
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::{AccountId, ClusterId};
use zonefold::core::limits::budget::BudgetConfig;
use zonefold::core::time::{Millis, Timestamp};
use zonefold::emulator::{
    AccessKeyConfig, AccountConfig, AccountCounters, Control, CountersReport, Emulator,
    EmulatorConfig, EmulatorHandle, JournalEntry, LimitsConfig, LimitsProfile, RoleConfig, Secret,
    SignatureMode, Snapshot, ZoneConfig,
};

use super::child::{Addresses, Launch, write_whole};
use super::cluster::{Cluster, HeldEndpoints};
use super::fleet::SOURCES;
use super::folder::Folder;
use super::say;
use super::site::{MAX_BYTES, MAX_ENDPOINTS};
use crate::cli::{BenchProfile, BenchSignature, CommonBenchArgs};

/// The first of the accounts whose zones are managed; the others follow it.
const FIRST_ACCOUNT: u64 = 111_111_111_111;
/// The account of the broker's own user.
const OPERATIONS_ACCOUNT: &str = "999999999999";
const KEY_ID: &str = "AKIAZONEFOLDBENCH001";
const EXTERNAL_ID: &str = "zonefold-bench";
/// More than any run takes from a bucket.
const PLENTY: f64 = 1e6;
/// How often what has come of something is looked at; the times themselves are the journal's.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What outlives brokers and emulators: names, secrets and the folder.
pub struct World {
    /// The accounts' ids.
    pub accounts: Vec<AccountId>,
    /// The zones' names, one account's after the other's.
    pub zones: Vec<DnsName>,
    /// The clusters' names.
    pub clusters: Vec<ClusterId>,
    folder: Folder,
    secret: String,
    token: String,
    seed: u64,
    signature: BenchSignature,
}

/// How much of everything a world has.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// AWS accounts.
    pub accounts: u32,
    /// Hosted zones of each.
    pub zones: u32,
    /// Clusters, which publish to all of them.
    pub clusters: u32,
}

/// The settings that differ from one opening of a world to the next.
#[derive(Clone, Copy)]
pub struct Pace {
    /// The buckets of each account; `None` if there are no limits.
    pub profile: Option<BenchProfile>,
    /// The part of them that is left to others.
    pub reserve_percent: u8,
    /// How often zones are looked for.
    pub discovery_interval_secs: u32,
    /// How often records are compared.
    pub drift_interval_secs: u32,
    /// How long a change stays PENDING.
    pub propagation_ms: u64,
}

impl Pace {
    /// The defaults of the broker and of Route 53 under these buckets.
    pub fn of(profile: BenchProfile, reserve_percent: u8) -> Self {
        Self {
            profile: Some(profile),
            reserve_percent,
            discovery_interval_secs: 300,
            drift_interval_secs: 600,
            propagation_ms: 30_000,
        }
    }

    /// No limits, to bring a world into the state from which something is measured.
    pub fn unlimited() -> Self {
        Self { profile: None, propagation_ms: 200, ..Self::of(BenchProfile::Since2026, 0) }
    }
}

impl World {
    /// Makes the folder, the names and the secrets.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(common: &CommonBenchArgs, extent: Extent) -> anyhow::Result<Self> {
        let account =
            |index: u32| AccountId::parse(format!("{:012}", FIRST_ACCOUNT + u64::from(index)));
        let zone = |zone: u32| DnsName::parse(&format!("zone-{zone:03}.example.com"));
        let cluster = |cluster: u32| ClusterId::parse(format!("cluster-{cluster:04}"));
        Ok(Self {
            accounts: (0..extent.accounts).map(account).collect::<Result<_, _>>()?,
            zones: (0..extent.accounts * extent.zones).map(zone).collect::<Result<_, _>>()?,
            clusters: (0..extent.clusters).map(cluster).collect::<Result<_, _>>()?,
            folder: Folder::make(common.folder.as_deref())?,
            secret: format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()),
            token: uuid::Uuid::new_v4().simple().to_string(),
            seed: common.seed,
            signature: common.signature,
        })
    }

    /// Starts an emulator and a broker and waits until every zone has been listed.
    ///
    /// # Errors
    /// A part cannot be started.
    pub async fn open(&self, pace: Pace, zones: Option<Snapshot>) -> anyhow::Result<Stage<'_>> {
        let emulator = Emulator::start(self.emulator_config(pace)?).await?;
        let control = emulator.control();
        if let Some(zones) = zones {
            control.restore(zones)?;
        }
        let config = Arc::new(self.broker_config(pace, EXTERNAL_ID)?);
        let aws = AwsOptions::emulator(&emulator.endpoint_url(), KEY_ID, &self.secret);
        let bound =
            broker::build(&config, BrokerOptions { aws, ..BrokerOptions::default() }).await?;
        let (grpc, handle, reloader) =
            (bound.grpc, bound.handle(), bound.reloader(Arc::clone(&config)));
        let stop = CancellationToken::new();
        let serving = tokio::spawn(bound.run(stop.clone()));
        handle.wait_idle().await;
        Ok(Stage { world: self, pace, emulator, control, handle, reloader, grpc, stop, serving })
    }

    /// The zones of an account, by its place.
    pub fn zones_of(&self, account: usize) -> &[DnsName] {
        let each = self.zones.len() / self.accounts.len();
        &self.zones[account * each..(account + 1) * each]
    }

    /// An A record set for a cluster; the serial number spreads names over the zones.
    pub fn endpoint(
        &self,
        cluster: &ClusterId,
        purpose: &str,
        serial: u32,
        address: [u8; 2],
    ) -> Endpoint {
        self.endpoint_in(
            &self.zones[serial as usize % self.zones.len()],
            cluster,
            purpose,
            serial,
            address,
        )
    }

    /// The same in a zone.
    pub fn endpoint_in(
        &self,
        zone: &DnsName,
        cluster: &ClusterId,
        purpose: &str,
        serial: u32,
        address: [u8; 2],
    ) -> Endpoint {
        Endpoint {
            key: EndpointKey {
                source: SOURCES[0].into(),
                namespace: "bench".into(),
                object: format!("{purpose}-{serial}").into(),
                dns_name: format!("{purpose}-{serial}.{cluster}.{zone}").into(),
                record_type: "A".into(),
                set_identifier: "".into(),
            },
            targets: vec![format!("10.{}.{}.{}", address[0], address[1], serial % 256).into()],
            ttl_secs: Some(60),
            ..Endpoint::default()
        }
    }

    fn emulator_config(&self, pace: Pace) -> anyhow::Result<EmulatorConfig> {
        let mut operations = AccountConfig::new(AccountId::parse(OPERATIONS_ACCOUNT)?);
        operations.access_keys = vec![AccessKeyConfig {
            id: KEY_ID.to_owned(),
            secret: Secret::new(&self.secret),
            user: "broker".to_owned(),
        }];
        let mut accounts = vec![operations];
        for (index, id) in self.accounts.iter().enumerate() {
            let mut account = AccountConfig::new(id.clone());
            account.limits = LimitsConfig::of(match pace.profile {
                Some(BenchProfile::Since2026) => LimitsProfile::Published2026,
                Some(BenchProfile::Legacy) => LimitsProfile::Legacy,
                None => LimitsProfile::Unlimited,
            });
            account.zones = self.zones_of(index).iter().cloned().map(ZoneConfig::public).collect();
            account.roles = vec![RoleConfig {
                trusted_principals: vec![format!("arn:aws:iam::{OPERATIONS_ACCOUNT}:user/broker")],
                external_id: Some(EXTERNAL_ID.to_owned()),
                ..RoleConfig::new(role_of(id))
            }];
            accounts.push(account);
        }
        let signature = match self.signature {
            BenchSignature::Verify => SignatureMode::Verify,
            BenchSignature::Trust => SignatureMode::Trust,
        };
        Ok(EmulatorConfig {
            accounts,
            dns_listen: None,
            signature,
            propagation_ms: pace.propagation_ms,
            seed: self.seed,
            ..EmulatorConfig::default()
        })
    }

    fn broker_config(&self, pace: Pace, external_id: &str) -> anyhow::Result<Config> {
        let store = format!("sqlite:{}", self.folder.path().join("broker.db").display());
        let text = self.broker_text(
            pace,
            external_id,
            &store,
            json!({ "grpc": "127.0.0.1:0", "http": "127.0.0.1:0" }),
        )?;
        Ok(Config::parse(&text, "the benchmark's configuration")?)
    }

    /// In the form that an operator would write: it goes through the same reading and checks.
    fn broker_text(
        &self,
        pace: Pace,
        external_id: &str,
        store: &str,
        listen: serde_json::Value,
    ) -> anyhow::Result<String> {
        let plenty = json!({ "capacity": PLENTY, "refill_per_second": PLENTY });
        let budget = match pace.profile {
            Some(profile) => json!({ "profile": profile, "reserve_percent": pace.reserve_percent }),
            None => json!({ "profile": "legacy", "reserve_percent": 0, "requests": plenty }),
        };
        let account = |id: &AccountId| {
            json!({
                "id": id, "name": format!("bench-{id}"), "environment": "bench", "budget": budget,
                "role_arn": role_of(id), "external_id": external_id, "zones": [{ "name": "*", "record_types": "all" }],
                "discovery_interval_secs": pace.discovery_interval_secs, "drift_interval_secs": pace.drift_interval_secs,
            })
        };
        let config = json!({
            "store": store,
            "listen": listen,
            "agents": { "token": self.token },
            "environments": [{ "name": "bench" }],
            "accounts": self.accounts.iter().map(account).collect::<Vec<_>>(),
            "clusters": self.clusters.iter().map(|name| json!({ "name": name, "environment": "bench", "max_endpoints": MAX_ENDPOINTS, "max_bytes": MAX_BYTES })).collect::<Vec<_>>(),
            "rules": [self.folder.without_guards()?],
        });
        Ok(config.to_string())
    }

    /// Starts an emulator alone.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn emulator(&self, pace: Pace) -> anyhow::Result<EmulatorHandle> {
        Ok(Emulator::start(self.emulator_config(pace)?).await?)
    }

    /// Writes the configuration of a broker that is to run as a process of its own; answers how it is started.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn launch(
        &self,
        pace: Pace,
        name: &str,
        store: &str,
        emulator: &EmulatorHandle,
    ) -> anyhow::Result<Launch> {
        let addresses = Addresses::free()?;
        let listen = json!({ "grpc": addresses.grpc, "http": addresses.http });
        let (config, log) = (
            self.folder.path().join(format!("{name}.yaml")),
            self.folder.path().join(format!("{name}.log")),
        );
        write_whole(&config, &self.broker_text(pace, EXTERNAL_ID, store, listen)?)?;
        let environment = vec![
            ("AWS_ENDPOINT_URL", emulator.endpoint_url()),
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", self.secret.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ];
        Ok(Launch { config, log, addresses, environment })
    }

    /// Opens the session of a cluster at a broker.
    ///
    /// # Errors
    /// The session is refused.
    pub async fn connect_to(
        &self,
        broker: SocketAddr,
        cluster: &ClusterId,
        held: HeldEndpoints,
    ) -> anyhow::Result<Cluster> {
        Cluster::connect(broker, &self.token, cluster, held).await
    }
}

fn role_of(account: &AccountId) -> String {
    format!("arn:aws:iam::{account}:role/zonefold")
}

/// A running emulator and broker.
pub struct Stage<'w> {
    /// The broker's handle.
    pub handle: BrokerHandle,
    world: &'w World,
    pace: Pace,
    emulator: EmulatorHandle,
    control: Control,
    reloader: Reloader,
    grpc: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Stage<'_> {
    /// The emulator's time, by which everything is measured.
    pub fn now(&self) -> Timestamp {
        self.control.now()
    }

    /// Everything that the emulator counted.
    pub fn counters(&self) -> CountersReport {
        self.control.counters()
    }

    /// The emulator's counters of the managed accounts, in their order.
    pub fn account_counters(&self) -> Vec<AccountCounters> {
        let mut counted = self.counters().accounts;
        self.world
            .accounts
            .iter()
            .map(|account| counted.remove(account).unwrap_or_default())
            .collect()
    }

    /// Calls of Route 53 by now, refused ones too.
    pub fn requests(&self) -> u64 {
        self.account_counters().iter().map(|account| account.requests).sum()
    }

    /// Calls that were answered with Throttling by now.
    pub fn throttled(&self) -> u64 {
        self.account_counters().iter().map(|account| account.throttled).sum()
    }

    /// The batches that Route 53 applied, after a number.
    pub fn journal(&self, after: u64) -> Vec<JournalEntry> {
        self.control.journal(after)
    }

    /// Each account's buckets as in the broker's configuration.
    ///
    /// # Errors
    /// The configuration is refused, which would be a defect.
    pub fn budget(&self) -> anyhow::Result<BudgetConfig> {
        let config = self.world.broker_config(self.pace, EXTERNAL_ID)?;
        Ok(config.accounts.first().context("the configuration has no account")?.budget_config())
    }

    /// Opens the sessions of clusters, each with what it held before.
    ///
    /// # Errors
    /// A session is refused.
    pub async fn connect(&self, held: Vec<HeldEndpoints>) -> anyhow::Result<Vec<Cluster>> {
        let held = held.into_iter().chain(std::iter::repeat_with(HeldEndpoints::default));
        let opening = self.world.clusters.iter().zip(held);
        let opening =
            opening.map(|(id, held)| Cluster::connect(self.grpc, &self.world.token, id, held));
        futures::future::try_join_all(opening).await
    }

    /// Returns when Route 53 has been left alone until every bucket, ours and AWS's, is full again.
    ///
    /// # Errors
    /// It never is.
    pub async fn full_buckets(&self) -> anyhow::Result<()> {
        let budget = self.budget()?;
        let buckets = budget.per_action.values().chain([&budget.requests]).chain(&budget.changes);
        let fill_secs =
            buckets.map(|bucket| bucket.capacity / bucket.refill_per_second).fold(0.0, f64::max);
        // An earlier life of the broker may have spent ahead of the clock.
        let wanted = Millis((fill_secs * 1_000.0) as i64 + 2_500);
        say(&format!("waiting {:.0} s for full buckets", wanted.0 as f64 / 1_000.0));
        let (mut requests, mut since) = (self.requests(), self.now());
        let give_up = self.now() + Millis::from_secs(300);
        while self.now().since(since) < wanted {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.requests();
            if now != requests {
                (requests, since) = (now, self.now());
            }
            if self.now() > give_up {
                bail!("the broker did not leave the accounts alone within five minutes");
            }
        }
        Ok(())
    }

    /// Makes the accounts' roles such that they cannot be assumed, and waits until all accounts are parked.
    ///
    /// # Errors
    /// The configuration is refused, which would be a defect.
    pub async fn park(&self) -> anyhow::Result<()> {
        self.reloader.apply(&self.world.broker_config(self.pace, "not-the-external-id")?).await;
        self.wait_for(Millis::from_secs(30), "all accounts are parked", |stage| {
            stage
                .handle
                .accounts()
                .iter()
                .all(|account| matches!(account.health, Health::Parked { .. }))
        })
        .await
    }

    /// Puts the roles right again: the accounts are managed at once.
    ///
    /// # Errors
    /// The configuration is refused, which would be a defect.
    pub async fn unpark(&self) -> anyhow::Result<()> {
        self.reloader.apply(&self.world.broker_config(self.pace, EXTERNAL_ID)?).await;
        Ok(())
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// It is not so in time.
    pub async fn wait_for(
        &self,
        at_most: Millis,
        what: &str,
        is_so: impl Fn(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let give_up = self.now() + at_most;
        while !is_so(self) {
            if self.now() > give_up {
                bail!("within {} s it did not come to this: {what}", at_most.0 / 1_000);
            }
            if self.serving.is_finished() {
                bail!("the broker ended; see the log with --log-filter info");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Stops the broker and the emulator; answers the emulator's zones.
    ///
    /// # Errors
    /// The broker did not end well.
    pub async fn close(self) -> anyhow::Result<Snapshot> {
        self.stop.cancel();
        self.serving.await.context("the broker's task")??;
        let zones = self.control.snapshot();
        self.emulator.stop().await;
        Ok(zones)
    }
}

/// Publishes each cluster's endpoints, all clusters at once, and returns when all of them are durable.
///
/// # Errors
/// A session ended.
pub async fn publish_all(clusters: &[Cluster], endpoints: &[Vec<Endpoint>]) -> anyhow::Result<()> {
    let publishing = clusters.iter().zip(endpoints).map(async |(cluster, endpoints)| {
        let last = cluster.publish(endpoints).await?;
        cluster.durable(last).await
    });
    futures::future::try_join_all(publishing).await?;
    Ok(())
}

/// Creates what the clusters want, without limits, and leaves everything as a later broker finds it.
///
/// # Errors
/// A part failed, or not everything was applied.
pub async fn prepare(
    world: &World,
    endpoints: &[Vec<Endpoint>],
) -> anyhow::Result<(Snapshot, Vec<HeldEndpoints>)> {
    let sets: usize = endpoints.iter().map(Vec::len).sum();
    say(&format!("creating {sets} record sets without limits"));
    let stage = world.open(Pace::unlimited(), None).await?;
    let clusters = stage.connect(vec![]).await?;
    publish_all(&clusters, endpoints).await?;
    stage
        .wait_for(Millis::from_secs(600), "all record sets are created", |stage| {
            stage.account_counters().iter().map(|account| account.changes_applied).sum::<u64>()
                == sets as u64
        })
        .await?;
    stage.handle.wait_idle().await;
    let mut held = vec![];
    for cluster in clusters {
        held.push(cluster.leave().await);
    }
    Ok((stage.close().await?, held))
}
