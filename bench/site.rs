//! The site of a fleet: a folder, an emulator with its accounts, and the configuration of a broker.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use zonefold::api::accounts::Health;
use zonefold::core::ids::{AccountId, ClusterId};
use zonefold::emulator::{
    AccessKeyConfig, AccountConfig, Control, Emulator, EmulatorConfig, EmulatorHandle,
    LimitsConfig, LimitsProfile, RoleConfig, Secret, SignatureMode, ZoneConfig,
};

use super::child::{Addresses, ChildBroker, Launch, write_whole};
use super::cluster::{Cluster, Encoded, HeldEndpoints, encode};
use super::deaf::Deaf;
use super::fleet::Fleet;
use super::folder::Folder;
use super::say;

/// The account of the broker's own user.
const OPERATIONS_ACCOUNT: &str = "999999999999";
const KEY_ID: &str = "AKIAZONEFOLDBENCH001";
const EXTERNAL_ID: &str = "zonefold-bench";
/// More than any run takes from a bucket.
const PLENTY: f64 = 1e6;
/// Long enough that nothing recurs while something is measured.
const NEVER_SECS: u32 = 1_000_000;
/// How long a zone stays busy after a batch, and a change PENDING: short, since it is not AWS that is measured.
const PROCESS_MS: u64 = 20;
const PROPAGATION_MS: u64 = 200;
/// The sets that a zone may hold: that of AWS is ten thousand and can be raised.
const RECORD_QUOTA: u64 = 1_000_000;

/// A flood of one cluster is measured and not its quota: as many endpoints as a cluster may have at all, ...
pub const MAX_ENDPOINTS: usize = 500_000;
/// ... of any size.
pub const MAX_BYTES: u64 = 1 << 32;

/// Whether the accounts are managed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accounts {
    /// Their roles can be assumed.
    Working,
    /// Their roles cannot be assumed: what is published is stored, routed and claimed, and nothing is called.
    Parked,
}

/// How often accounts are looked at without a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// At the broker's default intervals.
    Default,
    /// Never while something is measured.
    Off,
}

/// The settings that may differ from one configuration to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Whether the accounts are managed.
    pub accounts: Accounts,
    /// The background checks.
    pub background: Background,
}

/// See the module's page.
pub struct Site {
    /// The managed fleet.
    pub fleet: Fleet,
    folder: Folder,
    emulator: EmulatorHandle,
    store: String,
    launch: Launch,
    token: String,
    log_filter: String,
}

impl Site {
    /// Starts the emulator and writes the configuration. Without a store's address, the broker keeps a SQLite file in the folder.
    ///
    /// # Errors
    /// A part cannot be made.
    pub async fn open(
        fleet: Fleet,
        folder: Option<&Path>,
        store: Option<String>,
        log_filter: &str,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let folder = Folder::make(folder)?;
        let secret = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let emulator = Emulator::start(emulator_config(&fleet, &secret, seed)?).await?;
        let environment = vec![
            ("AWS_ENDPOINT_URL", emulator.endpoint_url()),
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", secret.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ];
        let (config, log) = (folder.path().join("broker.yaml"), folder.path().join("broker.log"));
        let launch = Launch { config, log, addresses: Addresses::free()?, environment };
        let store = store
            .unwrap_or_else(|| format!("sqlite:{}", folder.path().join("broker.db").display()));
        let token = uuid::Uuid::new_v4().simple().to_string();
        let site = Self {
            fleet,
            folder,
            emulator,
            store,
            launch,
            token,
            log_filter: log_filter.to_owned(),
        };
        site.configure(Setting { accounts: Accounts::Working, background: Background::Default })?;
        Ok(site)
    }

    /// The folder of the broker's files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the configuration; a broker that runs takes it at once.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure(&self, setting: Setting) -> anyhow::Result<()> {
        let external_id = match setting.accounts {
            Accounts::Working => EXTERNAL_ID,
            Accounts::Parked => "not-the-external-id",
        };
        let plenty = json!({ "capacity": PLENTY, "refill_per_second": PLENTY });
        let account = |account: &super::fleet::FleetAccount| {
            let mut entry = json!({
                "id": account.id, "name": format!("account-{}", account.id), "environment": account.environment,
                "role_arn": role_of(&account.id), "external_id": external_id, "zones": [{ "name": "*", "record_types": "all" }],
                "budget": { "profile": "legacy", "reserve_percent": 0, "requests": plenty },
            });
            if setting.background == Background::Off {
                entry["discovery_interval_secs"] = json!(NEVER_SECS);
                entry["drift_interval_secs"] = json!(NEVER_SECS);
            }
            entry
        };
        let cluster = |cluster: &super::fleet::FleetCluster| json!({ "name": cluster.id, "environment": cluster.environment, "max_endpoints": MAX_ENDPOINTS, "max_bytes": MAX_BYTES });
        let config = json!({
            "store": self.store,
            "listen": { "grpc": self.launch.addresses.grpc, "http": self.launch.addresses.http },
            "agents": { "token": self.token },
            "environments": self.fleet.environments().iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
            "accounts": self.fleet.accounts.iter().map(account).collect::<Vec<_>>(),
            "clusters": self.fleet.clusters.iter().map(cluster).collect::<Vec<_>>(),
            "rules": [self.folder.without_guards()?],
            "log": { "filter": self.log_filter },
        });
        Ok(write_whole(&self.launch.config, &config.to_string())?)
    }

    /// Starts the broker; it may not be ready yet.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(&self) -> anyhow::Result<ChildBroker> {
        ChildBroker::start(&self.launch)
    }

    /// Starts the broker and waits until it knows all zones.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn start_fresh(&self) -> anyhow::Result<ChildBroker> {
        let mut broker = self.start()?;
        broker.ready(Duration::from_secs(60)).await?;
        let zones: usize = self.fleet.accounts.iter().map(|account| account.zones.len()).sum();
        broker
            .until(Duration::from_secs(300), "every zone is known and listed", async |broker| {
                let accounts = broker.accounts().await?;
                let records: usize = accounts.iter().map(|account| account.zones.records).sum();
                // Each zone has its SOA and NS sets.
                Ok(accounts.iter().map(|account| account.zones.zones).sum::<usize>() == zones
                    && records >= 2 * zones)
            })
            .await?;
        Ok(broker)
    }

    /// Makes the roles such that they cannot be assumed, and waits until the broker has noticed.
    ///
    /// # Errors
    /// It does not notice.
    pub async fn park(&self, broker: &mut ChildBroker) -> anyhow::Result<()> {
        self.configure(Setting { accounts: Accounts::Parked, background: Background::Off })?;
        broker
            .until(Duration::from_secs(60), "all accounts are parked", async |broker| {
                let accounts = broker.accounts().await?;
                Ok(accounts.iter().all(|account| matches!(account.health, Health::Parked { .. })))
            })
            .await
    }

    /// Opens the sessions of all clusters at once, each with what it held before.
    ///
    /// # Errors
    /// A session is refused.
    pub async fn connect(
        &self,
        broker: &ChildBroker,
        held: Vec<HeldEndpoints>,
    ) -> anyhow::Result<Vec<Cluster>> {
        let held = held.into_iter().chain(std::iter::repeat_with(HeldEndpoints::default));
        let opening = self.fleet.clusters.iter().zip(held);
        let opening = opening.map(|(cluster, held)| {
            Cluster::connect(broker.addresses.grpc, &self.token, &cluster.id, held)
        });
        futures::future::try_join_all(opening).await
    }

    /// The way of clusters to a broker, to be taken while the site is busy.
    pub fn way(&self) -> Way {
        Way {
            clusters: self.fleet.clusters.iter().map(|cluster| cluster.id.clone()).collect(),
            token: self.token.clone(),
        }
    }

    /// The emulator's control.
    pub fn control(&self) -> Control {
        self.emulator.control()
    }

    /// Everything that the clusters publish at first, encoded.
    ///
    /// # Errors
    /// A message would be larger than a session takes.
    pub fn encode(&self) -> anyhow::Result<Vec<Vec<Encoded>>> {
        say("encoding what the clusters publish");
        // The empty snapshot of first contact has the number 1.
        self.fleet
            .clusters
            .iter()
            .map(|cluster| encode(&self.fleet.endpoints(cluster), 1))
            .collect()
    }

    /// Waits until all endpoints of the fleet are in sync and nothing is left to do.
    ///
    /// # Errors
    /// It does not come to that; the text says how far it came.
    pub async fn in_sync(&self, broker: &mut ChildBroker, within: Duration) -> anyhow::Result<()> {
        let wanted: usize = self.fleet.clusters.iter().map(|cluster| cluster.endpoints).sum();
        let mut said = 0;
        broker
            .until(within, "everything is applied and in sync", async |broker| {
                tokio::time::sleep(Duration::from_millis(400)).await;
                let clusters = broker.clusters().await?;
                let counts = clusters.iter().map(|cluster| cluster.endpoints);
                let in_sync: usize = counts.clone().map(|counts| counts.in_sync).sum();
                let wrong: usize =
                    counts.map(|counts| counts.waiting + counts.rejected + counts.troubled).sum();
                anyhow::ensure!(
                    wrong == 0,
                    "{wrong} endpoints of the fleet are waiting, rejected or troubled"
                );
                if in_sync * 10 / wanted.max(1) > said {
                    said = in_sync * 10 / wanted.max(1);
                    say(&format!("{in_sync} of {wanted} in sync"));
                }
                Ok(in_sync == wanted)
            })
            .await
    }

    /// Stops the emulator and removes the folder.
    pub async fn close(self) {
        self.emulator.stop().await;
    }
}

/// How clusters reach a broker.
#[derive(Clone)]
pub struct Way {
    clusters: Vec<ClusterId>,
    token: String,
}

impl Way {
    fn cluster(&self, index: usize) -> anyhow::Result<&ClusterId> {
        self.clusters.get(index).context("there is no such cluster")
    }

    /// Opens the session of one cluster.
    ///
    /// # Errors
    /// It is refused.
    pub async fn connect(
        &self,
        broker: SocketAddr,
        index: usize,
        held: HeldEndpoints,
    ) -> anyhow::Result<Cluster> {
        Cluster::connect(broker, &self.token, self.cluster(index)?, held).await
    }

    /// The same for an agent that reads nothing.
    ///
    /// # Errors
    /// It is refused.
    pub async fn connect_deaf(
        &self,
        broker: SocketAddr,
        index: usize,
        held: &HeldEndpoints,
    ) -> anyhow::Result<Deaf> {
        Deaf::connect(broker, &self.token, self.cluster(index)?, held).await
    }
}

/// Publishes what is encoded, all clusters at once, and returns when all of it is durable.
///
/// # Errors
/// A session ended.
pub async fn publish_encoded<'a>(
    clusters: impl IntoIterator<Item = &'a Cluster>,
    messages: Vec<Vec<Encoded>>,
) -> anyhow::Result<()> {
    let publishing = clusters.into_iter().zip(messages).map(async |(cluster, messages)| {
        let last = cluster.publish_encoded(messages).await?;
        cluster.durable(last).await
    });
    futures::future::try_join_all(publishing).await?;
    Ok(())
}

fn role_of(account: &AccountId) -> String {
    format!("arn:aws:iam::{account}:role/zonefold")
}

fn emulator_config(fleet: &Fleet, secret: &str, seed: u64) -> anyhow::Result<EmulatorConfig> {
    let mut operations = AccountConfig::new(AccountId::parse(OPERATIONS_ACCOUNT)?);
    operations.access_keys = vec![AccessKeyConfig {
        id: KEY_ID.to_owned(),
        secret: Secret::new(secret),
        user: "broker".to_owned(),
    }];
    let mut accounts = vec![operations];
    for account in &fleet.accounts {
        accounts.push(AccountConfig {
            zones: account.zones.iter().cloned().map(ZoneConfig::public).collect(),
            limits: LimitsConfig::of(LimitsProfile::Unlimited),
            zone_quota: account.zones.len() as u64,
            record_quota: RECORD_QUOTA,
            roles: vec![RoleConfig {
                trusted_principals: vec![format!("arn:aws:iam::{OPERATIONS_ACCOUNT}:user/broker")],
                external_id: Some(EXTERNAL_ID.to_owned()),
                ..RoleConfig::new(role_of(&account.id))
            }],
            ..AccountConfig::new(account.id.clone())
        });
    }
    Ok(EmulatorConfig {
        accounts,
        dns_listen: None,
        signature: SignatureMode::Trust,
        process_ms: PROCESS_MS,
        propagation_ms: PROPAGATION_MS,
        seed,
        ..EmulatorConfig::default()
    })
}
