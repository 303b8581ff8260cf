//! An emulator's configuration: accounts with their keys, zones, roles and limits, and switches for what is not known for
//! certain outside AWS.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::core::dns::name::DnsName;
use crate::core::ids::{AccountId, ZoneId};

/// A secret that never shows itself in logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes the secret's text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// The whole configuration. Every field has a default; an emulator of the default configuration has no account.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmulatorConfig {
    /// Where Route 53 and STS listen; port 0 takes a free one.
    pub aws_listen: SocketAddr,
    /// Where the control API listens. It has no authentication, so only a loopback address is taken.
    pub control_listen: SocketAddr,
    /// The address of DNS, UDP and TCP on one port; `None` if DNS is off.
    pub dns_listen: Option<SocketAddr>,
    pub accounts: Vec<AccountConfig>,
    /// Whether signatures are checked.
    pub signature: SignatureMode,
    /// Where time comes from.
    pub clock: ClockMode,
    /// How long a zone stays busy after it accepted a change, in milliseconds.
    pub process_ms: u64,
    /// A seeded random addition to `process_ms`, at most this many milliseconds.
    pub process_jitter_ms: u64,
    /// How long a change stays PENDING, in milliseconds.
    pub propagation_ms: u64,
    /// Where ids, keys, weighted answers and fault probabilities come from.
    pub seed: u64,
    /// A file that gets every journal entry as one line of JSON.
    pub journal_file: Option<PathBuf>,
    /// The ids of the health checks that exist; `None` if every id exists.
    pub health_checks: Option<Vec<String>>,
    /// Assumptions about AWS.
    pub switches: Switches,
}

impl Default for EmulatorConfig {
    fn default() -> Self {
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            aws_listen: loopback,
            control_listen: loopback,
            dns_listen: Some(loopback),
            accounts: Vec::new(),
            signature: SignatureMode::Verify,
            clock: ClockMode::Real,
            process_ms: 200,
            process_jitter_ms: 0,
            propagation_ms: 30_000,
            seed: 1,
            journal_file: None,
            health_checks: None,
            switches: Switches::default(),
        }
    }
}

/// Whether signatures are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureMode {
    /// Every request is signed again and compared.
    Verify,
    /// The access key alone says who calls; for benchmarks.
    Trust,
}

/// Where time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockMode {
    /// The system's time, carried on by tokio's monotonic clock (so it stands still in a paused runtime).
    Real,
    /// As `real`, but starting at another time: all output then depends on the seed alone.
    From {
        /// Milliseconds since the epoch.
        start_ms: i64,
    },
    /// Stands still until the control API moves it; starts at the given milliseconds since the epoch.
    Stepped {
        /// Milliseconds since the epoch.
        start_ms: i64,
    },
}

/// One AWS account.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountConfig {
    /// Twelve digits.
    pub id: AccountId,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Long-lived keys of users, who may do everything in the account.
    #[serde(default)]
    pub access_keys: Vec<AccessKeyConfig>,
    /// Zones that exist from the start.
    #[serde(default)]
    pub zones: Vec<ZoneConfig>,
    /// Roles that may be assumed.
    #[serde(default)]
    pub roles: Vec<RoleConfig>,
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Hosted zones an account may have.
    #[serde(default = "default_zone_quota")]
    pub zone_quota: u64,
    /// Record sets a zone may have.
    #[serde(default = "default_record_quota")]
    pub record_quota: u64,
}

const fn default_zone_quota() -> u64 {
    500
}

const fn default_record_quota() -> u64 {
    10_000
}

impl AccountConfig {
    /// An account without keys, zones and roles, with the limits of 2026.
    pub fn new(id: AccountId) -> Self {
        Self {
            name: id.to_string(),
            id,
            access_keys: Vec::new(),
            zones: Vec::new(),
            roles: Vec::new(),
            limits: LimitsConfig::default(),
            zone_quota: default_zone_quota(),
            record_quota: default_record_quota(),
        }
    }
}

/// A long-lived access key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessKeyConfig {
    /// `AKIA…`.
    pub id: String,
    /// The key itself.
    pub secret: Secret,
    /// The user's name; the principal is `arn:aws:iam::{account}:user/{user}`.
    #[serde(default = "default_user")]
    pub user: String,
}

fn default_user() -> String {
    "admin".to_owned()
}

/// A zone that exists from the start.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneConfig {
    /// The apex.
    pub name: DnsName,
    /// A fixed id; `None` if it comes from the seed.
    #[serde(default)]
    pub id: Option<ZoneId>,
    /// Private zones are not answered by the DNS view.
    #[serde(default)]
    pub private: bool,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl ZoneConfig {
    /// A public zone without tags, its id from the seed.
    pub fn public(name: DnsName) -> Self {
        Self { name, id: None, private: false, tags: BTreeMap::new() }
    }
}

/// A role that may be assumed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleConfig {
    /// `arn:aws:iam::{account}:role/{name}`; the account must be the one that holds the role.
    pub arn: String,
    /// The principals that may assume it: ARNs of users or roles, `arn:aws:iam::{account}:root` for a whole account, `*` for all.
    #[serde(default)]
    pub trusted_principals: Vec<String>,
    /// The external id that the trust policy asks for.
    #[serde(default)]
    pub external_id: Option<String>,
    /// The longest session, 3,600 to 43,200 seconds.
    #[serde(default = "default_session_secs")]
    pub max_session_secs: u32,
    /// The allowed actions, with `*` as wildcard: `route53:List*`.
    #[serde(default = "default_actions")]
    pub allowed_actions: Vec<String>,
    /// The bare ids of the zones that it may touch; empty for all of the account.
    #[serde(default)]
    pub allowed_zones: Vec<ZoneId>,
}

const fn default_session_secs() -> u32 {
    3_600
}

fn default_actions() -> Vec<String> {
    vec!["*".to_owned()]
}

impl RoleConfig {
    /// A role that may do everything and trusts no one yet.
    pub fn new(arn: impl Into<String>) -> Self {
        Self {
            arn: arn.into(),
            trusted_principals: Vec::new(),
            external_id: None,
            max_session_secs: default_session_secs(),
            allowed_actions: default_actions(),
            allowed_zones: Vec::new(),
        }
    }
}

/// A set of published limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitsProfile {
    /// 5 requests a second for the account, nothing else.
    #[serde(rename = "legacy")]
    Legacy,
    /// 50 requests and 10 a second for the account and for each action, and 1,500 record changes and 100 a second.
    #[default]
    #[serde(rename = "2026")]
    Published2026,
    #[serde(rename = "unlimited")]
    Unlimited,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// How many tokens it holds.
    pub capacity: u32,
    /// How many tokens come back in a second.
    pub per_sec: f64,
}

/// The rate limits of one account: a profile, and what differs from it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Where the buckets come from that are not given.
    pub profile: LimitsProfile,
    /// All requests of the account.
    pub requests: Option<BucketConfig>,
    /// Requests of one action, by the action's name.
    pub per_action: BTreeMap<String, BucketConfig>,
    /// Record changes.
    pub changes: Option<BucketConfig>,
    /// The cost of an UPSERT in the bucket of changes.
    pub upsert_cost: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self::of(LimitsProfile::default())
    }
}

impl LimitsConfig {
    /// A profile as it is.
    pub fn of(profile: LimitsProfile) -> Self {
        Self { profile, requests: None, per_action: BTreeMap::new(), changes: None, upsert_cost: 2 }
    }
}

/// Switches for what is not known about AWS; each default is our assumption.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// Whether a throttled call takes tokens.
    pub throttled_calls: ThrottledCalls,
    /// Whether a caller without permission is throttled.
    pub throttle_order: ThrottleOrder,
    /// Whether "already exists" and "not found" name the set identifier.
    pub set_identifier_in_messages: SetIdentifierInMessages,
    /// How a DELETE compares values, apart from their order.
    pub delete_comparison: DeleteComparison,
    /// When the old set of an UPSERT goes away.
    pub upsert_order: UpsertOrder,
    /// The error message for a protected record set; `{name}`, `{type}` and `{comment}` are filled in.
    pub protection_message: String,
    /// The maximum number of records in a set.
    pub max_records_per_set: usize,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            throttled_calls: ThrottledCalls::TakeNothing,
            throttle_order: ThrottleOrder::BeforeAuthorisation,
            set_identifier_in_messages: SetIdentifierInMessages::Named,
            delete_comparison: DeleteComparison::Exact,
            upsert_order: UpsertOrder::DeletedFirst,
            protection_message: "RRSet with DNS name {name}, type {type} is protected and cannot be changed: {comment}"
                .to_owned(),
            max_records_per_set: 400,
        }
    }
}

/// Whether a throttled call takes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottledCalls {
    /// When one token is missing, nothing is taken from any bucket.
    TakeNothing,
    /// The buckets that have a token give it.
    TakeTokens,
}

/// Whether a caller without permission is throttled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleOrder {
    /// The buckets are asked first.
    BeforeAuthorisation,
    /// The permission is asked first, and a denied call is free.
    AfterAuthorisation,
}

/// Whether "already exists" and "not found" name the set identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetIdentifierInMessages {
    /// `[name='…', type='…', set-identifier='…']`.
    Named,
    /// `[name='…', type='…']` always.
    Omitted,
}

/// How a DELETE compares values, apart from their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeleteComparison {
    /// Character by character.
    Exact,
    /// Without regard to case and a final dot, except for TXT and SPF.
    Lenient,
}

/// When the old set of an UPSERT goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpsertOrder {
    /// Before all changes of the batch.
    DeletedFirst,
    /// In its turn.
    InTurn,
}

/// Why a configuration is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The control API has no authentication.
    #[error("the control address {0} is not a loopback address: use 127.0.0.1 or ::1")]
    ControlNotLoopback(SocketAddr),
    /// Two accounts with one id.
    #[error("the account {0} is configured twice: remove one of the two")]
    DuplicateAccount(AccountId),
    /// Two zones with one id.
    #[error("the zone id {0} is configured twice: give one of the two another id")]
    DuplicateZone(ZoneId),
    /// Two access keys with one id.
    #[error("the access key {0} is configured twice: give one of the two another id")]
    DuplicateKey(String),
    /// The ARN is not one of a role of this account.
    #[error(
        "{arn:?} is not the ARN of a role of account {account}: write arn:aws:iam::{account}:role/NAME"
    )]
    RoleArn {
        account: AccountId,
        /// The ARN as given.
        arn: String,
    },
    /// A bucket that can never fill.
    #[error(
        "the bucket {bucket} of account {account} refills at {per_sec} a second: give a number that is not negative"
    )]
    Rate {
        account: AccountId,
        bucket: String,
        /// The rate, as text.
        per_sec: String,
    },
}

impl EmulatorConfig {
    /// Checks what the types do not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !self.control_listen.ip().is_loopback() {
            return Err(ConfigError::ControlNotLoopback(self.control_listen));
        }
        let mut accounts = std::collections::BTreeSet::new();
        let mut zones = std::collections::BTreeSet::new();
        let mut keys = std::collections::BTreeSet::new();
        for account in &self.accounts {
            if !accounts.insert(&account.id) {
                return Err(ConfigError::DuplicateAccount(account.id.clone()));
            }
            for zone in account.zones.iter().filter_map(|zone| zone.id.as_ref()) {
                if !zones.insert(zone) {
                    return Err(ConfigError::DuplicateZone(zone.clone()));
                }
            }
            for key in &account.access_keys {
                if !keys.insert(&key.id) {
                    return Err(ConfigError::DuplicateKey(key.id.clone()));
                }
            }
            account.validate()?;
        }
        Ok(())
    }
}

impl AccountConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        let prefix = format!("arn:aws:iam::{}:role/", self.id);
        if let Some(role) = self
            .roles
            .iter()
            .find(|role| role.arn.len() <= prefix.len() || !role.arn.starts_with(&prefix))
        {
            return Err(ConfigError::RoleArn { account: self.id.clone(), arn: role.arn.clone() });
        }
        let named = [("requests", &self.limits.requests), ("changes", &self.limits.changes)];
        let named = named
            .into_iter()
            .filter_map(|(name, bucket)| bucket.as_ref().map(|bucket| (name, bucket)));
        for (bucket, config) in
            named.chain(self.limits.per_action.iter().map(|(name, bucket)| (name.as_str(), bucket)))
        {
            if !config.per_sec.is_finite() || config.per_sec < 0.0 {
                return Err(ConfigError::Rate {
                    account: self.id.clone(),
                    bucket: bucket.to_owned(),
                    per_sec: config.per_sec.to_string(),
                });
            }
        }
        Ok(())
    }
}
