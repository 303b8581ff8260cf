//! The parts of a world, drawn from the seed: accounts with zones and limits, clusters, brokers, and how far apart all is.

use serde_json::{Value, json};
use zonefold::config::Config;
use zonefold::core::dns::name::DnsName;
use zonefold::core::endpoint::quota::Quota;
use zonefold::core::ids::{AccountId, ZoneId};
use zonefold::core::planning::policy::{AdoptPolicy, DriftPolicy, ZonePolicy};
use zonefold::emulator::{
    AccessKeyConfig, AccountConfig, BucketConfig, ClockMode, EmulatorConfig, LimitsConfig,
    LimitsProfile, RoleConfig, Secret, SignatureMode, ZoneConfig,
};

use crate::broker::{ACCESS_KEY, TOKEN};
use crate::extra::Prepared;
use crate::history::region_of;
use crate::recorder::STARTED_AT;

/// The account of the brokers' own user.
const OPERATIONS: &str = "999999999999";
/// The most brokers that a world has.
pub const MOST_BROKERS: u32 = 3;

/// A world.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many brokers there are.
    pub brokers: u32,
    /// Whether the store can be shared, so that leases run out; one that several brokers use is.
    pub shared_store: bool,
    /// The AWS accounts.
    pub accounts: Vec<Account>,
    /// The environment of each cluster.
    pub clusters: Vec<&'static str>,
    /// The quota of each cluster; `None` for the default. Drawn apart.
    pub quotas: Vec<Option<Quota>>,
    /// How far each life of each broker's clock is off, in milliseconds.
    pub skews_ms: Vec<Vec<i64>>,
    /// The length of the run until everything is healed, in milliseconds.
    pub length_ms: u64,
    /// On the agents' network, in milliseconds.
    pub network_ms: (u64, u64),
    /// The bytes that a connection holds before its writer has to wait.
    pub pipe_bytes: usize,
    /// On the way to the store.
    pub store_ms: (u64, u64),
    /// On the way to AWS.
    pub aws_ms: (u64, u64),
    /// The longest wait for an answer of AWS.
    pub attempt_timeout_ms: u64,
    /// How long a zone stays busy after a change.
    pub process_ms: u64,
    /// How long a change takes to propagate.
    pub propagation_ms: u64,
    /// Between two heartbeats of an agent.
    pub heartbeat_ms: u64,
    /// The shortest life of a stream.
    pub least_age_ms: u64,
    /// Between two comparisons of a zone.
    pub drift_secs: u32,
    /// Between two looks for zones.
    pub discovery_secs: u32,
    /// Whether signatures are checked.
    pub signatures: bool,
    /// The preparations for further events.
    pub prepared: Prepared,
}

/// An account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Twelve digits.
    pub id: &'static str,
    /// Whose clusters it serves.
    pub environment: &'static str,
    /// Its public zones.
    pub zones: Vec<Zone>,
    /// Its private zones; empty unless the wants besides the schedule ask for them.
    pub private: Vec<Zone>,
    /// AWS's limits for it.
    pub limits: Limits,
}

/// AWS's limits for an account.
#[derive(Clone, Debug)]
pub enum Limits {
    /// The published limits since 2026.
    Since2026,
    /// Five requests a second.
    Legacy,
    /// Buckets so small that they are always nearly empty: capacity and refill a second, of requests and of changes.
    Tight { requests: (u32, u32), changes: (u32, u32) },
}

/// A zone, and how it is configured.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The apex.
    pub apex: &'static str,
    /// A fixed id, so that endpoints can name it; `None` if it comes from the seed.
    pub id: Option<&'static str>,
    /// The permissions.
    pub policy: ZonePolicy,
    /// The reaction to changes by others.
    pub drift: DriftPolicy,
    /// Which record sets of others are taken over.
    pub adopt: AdoptPolicy,
}

impl Shape {
    /// Draws a world.
    pub fn draw(random: &mut fastrand::Rng) -> Self {
        let brokers = random.u32(1..=MOST_BROKERS);
        let two_accounts = random.u8(..) < 100;
        let two_environments = two_accounts && random.bool();
        let apexes: &[&'static str] = match random.u8(0..4) {
            0 => &["example.com"],
            1 => &["example.com", "example.org"],
            2 => &["example.com", "dev.example.com"],
            _ => &["example.com", "example.org", "dev.example.com"],
        };
        let account = |id, environment, random: &mut fastrand::Rng| Account {
            id,
            environment,
            zones: vec![],
            private: vec![],
            limits: Limits::draw(random),
        };
        let mut accounts = vec![account("111111111111", "dev", random)];
        if two_accounts {
            accounts.push(account(
                "222222222222",
                if two_environments { "prod" } else { "dev" },
                random,
            ));
        }
        for (index, apex) in apexes.iter().enumerate() {
            let zone = Zone::draw(apex, random);
            let place = index % accounts.len();
            accounts[place].zones.push(zone);
        }
        let clusters = (0..random.usize(2..=4))
            .map(|_| if two_environments && random.bool() { "prod" } else { "dev" })
            .collect();
        let skew = |random: &mut fastrand::Rng| match random.u8(0..8) {
            0 => random.i64(-5_000..=5_000),
            1..=3 => 0,
            _ => random.i64(-300..=300),
        };
        Self {
            brokers,
            shared_store: brokers > 1 || random.bool(),
            accounts,
            clusters,
            quotas: vec![],
            skews_ms: (0..brokers).map(|_| (0..4).map(|_| skew(random)).collect()).collect(),
            length_ms: random.u64(40_000..=180_000),
            network_ms: (1, random.u64(2..=80)),
            pipe_bytes: [1_500, 16_000, 128_000][random.usize(0..3)],
            store_ms: (0, random.u64(1..=30)),
            aws_ms: (2, random.u64(10..=150)),
            attempt_timeout_ms: random.u64(2_000..=10_000),
            process_ms: random.u64(0..=600),
            propagation_ms: random.u64(0..=8_000),
            heartbeat_ms: random.u64(1_000..=6_000),
            least_age_ms: if random.u8(0..4) == 0 {
                random.u64(15_000..=40_000)
            } else {
                1_800_000
            },
            drift_secs: random.u32(20..=60),
            discovery_secs: random.u32(20..=60),
            signatures: random.u8(0..8) == 0,
            prepared: Prepared::default(),
        }
    }

    /// The name of a cluster.
    pub fn cluster_name(index: usize) -> String {
        format!("cluster-{index}")
    }

    /// The quota of a cluster; `None` for the default.
    pub fn quota(&self, index: usize) -> Option<Quota> {
        self.quotas.get(index).copied().flatten()
    }

    /// All public zones with their accounts.
    pub fn zones(&self) -> impl Iterator<Item = (&Account, &Zone)> {
        self.accounts
            .iter()
            .flat_map(|account| account.zones.iter().map(move |zone| (account, zone)))
    }

    /// All zones with their accounts, and whether each is private.
    pub fn all_zones(&self) -> impl Iterator<Item = (&Account, &Zone, bool)> {
        let private = self
            .accounts
            .iter()
            .flat_map(|account| account.private.iter().map(move |zone| (account, zone, true)));
        self.zones().map(|(account, zone)| (account, zone, false)).chain(private)
    }

    /// AWS.
    pub fn emulator(&self, seed: u64) -> EmulatorConfig {
        let id = |text: &str| AccountId::parse(text).unwrap();
        let mut operations = AccountConfig::new(id(OPERATIONS));
        operations.access_keys = vec![AccessKeyConfig {
            id: ACCESS_KEY.0.to_owned(),
            secret: Secret::new(ACCESS_KEY.1),
            user: "broker".to_owned(),
        }];
        let account = |shape: &Account| {
            let mut account = AccountConfig::new(id(shape.id));
            account.limits = shape.limits.of_aws();
            let public = |apex: &str| ZoneConfig {
                tags: self.prepared.tags(apex),
                ..ZoneConfig::public(DnsName::parse(apex).unwrap())
            };
            let of_shape = |zone: &Zone, private| ZoneConfig {
                id: zone.id.map(|id| ZoneId::parse(id).unwrap()),
                private,
                ..public(zone.apex)
            };
            let own = shape.zones.iter().map(|zone| of_shape(zone, false));
            let private = shape.private.iter().map(|zone| of_shape(zone, true));
            let more = self.prepared.more(shape).map(public);
            account.zones = own.chain(private).chain(more).collect();
            account.roles = vec![RoleConfig {
                trusted_principals: vec![format!("arn:aws:iam::{OPERATIONS}:user/broker")],
                external_id: Some("right".to_owned()),
                ..RoleConfig::new(role_of(shape))
            }];
            account
        };
        EmulatorConfig {
            accounts: std::iter::once(operations)
                .chain(self.accounts.iter().map(account))
                .collect(),
            clock: ClockMode::From { start_ms: STARTED_AT.0 },
            signature: if self.signatures { SignatureMode::Verify } else { SignatureMode::Trust },
            process_ms: self.process_ms,
            process_jitter_ms: self.process_ms / 2,
            propagation_ms: self.propagation_ms,
            seed,
            ..EmulatorConfig::default()
        }
    }

    /// The brokers' configuration, as an operator would write it.
    pub fn config(&self) -> Config {
        let zone = |zone: &Zone, visibility: Option<&str>| {
            json!({
                "name": zone.apex, "policy": zone.policy, "drift": zone.drift, "adopt": zone.adopt,
                "record_types": "all", "visibility": visibility,
            })
        };
        let zones = |account: &Account| -> Vec<Value> {
            let public = account.zones.iter().map(|it| zone(it, it.id.map(|_| "public")));
            public.chain(account.private.iter().map(|it| zone(it, Some("private")))).collect()
        };
        let account = |account: &Account| {
            json!({
                "id": account.id, "name": format!("account-{}", &account.id[..3]), "environment": account.environment,
                "role_arn": role_of(account), "external_id": "right",
                "zones": self.prepared.rules(account, zones(account)),
                "budget": account.limits.of_broker(),
                "drift_interval_secs": self.drift_secs, "discovery_interval_secs": self.discovery_secs,
            })
        };
        let clusters = self.clusters.iter().enumerate();
        let clusters = clusters.map(|(index, environment)| {
            let quota = self.quota(index).unwrap_or_default();
            json!({
                "name": Self::cluster_name(index), "environment": environment,
                "max_endpoints": quota.max_endpoints, "max_bytes": quota.max_bytes,
                "labels": region_of(&Self::cluster_name(index))
                    .map_or_else(|| json!({}), |region| json!({ "region": region })),
            })
        });
        let text = json!({
            "agents": { "token": TOKEN },
            "environments": [{ "name": "dev" }, { "name": "prod" }],
            "accounts": self.accounts.iter().map(account).collect::<Vec<_>>(),
            "clusters": clusters.collect::<Vec<_>>(),
        });
        let config = Config::parse(&text.to_string(), "broker.yaml").unwrap();
        Config { governance: self.prepared.governance(), ..config }
    }
}

fn role_of(account: &Account) -> String {
    format!("arn:aws:iam::{}:role/zonefold", account.id)
}

impl Zone {
    /// Draws how a zone is configured.
    pub fn draw(apex: &'static str, random: &mut fastrand::Rng) -> Self {
        let policy = match random.u8(0..20) {
            0 => ZonePolicy::UpsertOnly,
            1 => ZonePolicy::CreateOnly,
            2 => ZonePolicy::Observe,
            _ => ZonePolicy::Sync,
        };
        let (drift, adopt) = match random.u8(0..10) {
            0 | 1 => (DriftPolicy::Alert, AdoptPolicy::Never),
            2 => (DriftPolicy::Repair, AdoptPolicy::Any),
            _ => (DriftPolicy::Repair, AdoptPolicy::Never),
        };
        Self { apex, id: None, policy, drift, adopt }
    }
}

impl Limits {
    fn draw(random: &mut fastrand::Rng) -> Self {
        match random.u8(0..4) {
            0 => Self::Legacy,
            1 => Self::Tight {
                requests: (random.u32(3..=8), random.u32(1..=3)),
                // A change of a name's routing policy needs nine changes in one call, beside the reserve.
                changes: (random.u32(10..=40).max(16), random.u32(2..=8)),
            },
            _ => Self::Since2026,
        }
    }

    fn of_aws(&self) -> LimitsConfig {
        let bucket = |(capacity, per_sec): (u32, u32)| {
            Some(BucketConfig { capacity, per_sec: f64::from(per_sec) })
        };
        match self {
            Self::Since2026 => LimitsConfig::of(LimitsProfile::Published2026),
            Self::Legacy => LimitsConfig::of(LimitsProfile::Legacy),
            Self::Tight { requests, changes } => LimitsConfig {
                requests: bucket(*requests),
                changes: bucket(*changes),
                ..LimitsConfig::of(LimitsProfile::Published2026)
            },
        }
    }

    fn of_broker(&self) -> Value {
        let bucket = |(capacity, refill): (u32, u32)| json!({ "capacity": capacity, "refill_per_second": refill });
        match self {
            Self::Since2026 => json!({ "profile": "2026" }),
            Self::Legacy => json!({ "profile": "legacy" }),
            Self::Tight { requests, changes } => {
                json!({ "profile": "2026", "requests": bucket(*requests), "changes": bucket(*changes) })
            }
        }
    }
}
