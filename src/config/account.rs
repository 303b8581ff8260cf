//! The section about one AWS account: how it is reached, what may be spent there, and which of its zones are managed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::budget::BudgetEntry;
use super::error::{KeyPath, Problems};
use crate::core::aws::access::{AccountAccess, ExternalId, Partition, RoleArn};
use crate::core::ids::{AccountId, EnvironmentId, ZoneId};
use crate::core::limits::budget::BudgetConfig;
use crate::core::planning::policy::{
    AdoptPolicy, DEFAULT_TTL_SECS, DriftPolicy, MergePolicy, PlacementWait, ZonePattern,
    ZonePolicy, ZoneRule, ZoneSelector, ZoneSettings,
};
use crate::core::planning::record_types::RecordTypes;
use crate::core::time::Millis;
use crate::core::visibility::Visibility;

/// Route 53 accepts 0 to 2,147,483,647 seconds.
const MAX_TTL_SECS: u32 = 2_147_483_647;

/// An AWS account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its twelve digits. They go in quotes, or YAML reads a number.
    pub id: AccountId,
    /// A name for people.
    pub name: String,
    pub environment: EnvironmentId,
    #[serde(default)]
    pub partition: Partition,
    /// The role to assume in it; `None` if the broker's own credentials belong to the account.
    #[serde(default)]
    pub role_arn: Option<RoleArn>,
    /// The external id that the trust policy of the role asks for.
    #[serde(default)]
    pub external_id: Option<ExternalId>,
    /// A role to assume first. Sessions are then chained and last one hour at most.
    #[serde(default)]
    pub via_role_arn: Option<RoleArn>,
    /// The tokens that the broker may spend there.
    #[serde(default)]
    pub budget: BudgetEntry,
    /// Which zones are managed. The first entry that fits a zone applies; a zone that no entry fits is left alone.
    #[serde(default)]
    pub zones: Vec<ZoneEntry>,
    /// Whether names that are placed nowhere yet wait until the zones of this account were listed once, also while it cannot be
    /// reached: a closer zone may be there.
    #[serde(default)]
    pub placement: PlacementWait,
    /// How often zones are looked for, in seconds.
    #[serde(default = "default_discovery_interval_secs")]
    pub discovery_interval_secs: u32,
    /// How often the records of a zone are read and compared, in seconds.
    #[serde(default = "default_drift_interval_secs")]
    pub drift_interval_secs: u32,
}

fn default_discovery_interval_secs() -> u32 {
    300
}

fn default_drift_interval_secs() -> u32 {
    600
}

impl Account {
    /// How the account is reached.
    pub fn access(&self) -> AccountAccess {
        AccountAccess {
            account: self.id.clone(),
            partition: self.partition,
            via_role_arn: self.via_role_arn.clone(),
            role_arn: self.role_arn.clone(),
            external_id: self.external_id.clone(),
        }
    }

    /// The buckets of the account, by its profile and the settings that override it.
    pub fn budget_config(&self) -> BudgetConfig {
        self.budget.to_core(self.partition)
    }

    /// The rules by which zones are selected.
    pub fn zone_rules(&self) -> Vec<ZoneRule> {
        self.zones.iter().map(ZoneEntry::rule).collect()
    }

    /// How often zones are looked for.
    pub fn discovery_interval(&self) -> Millis {
        Millis::from_secs(i64::from(self.discovery_interval_secs))
    }

    /// How often the records of a zone are compared.
    pub fn drift_interval(&self) -> Millis {
        Millis::from_secs(i64::from(self.drift_interval_secs))
    }

    /// Parts in the form of an earlier version, which should be rewritten.
    pub(super) fn warnings(&self, at: &KeyPath) -> Vec<String> {
        let zones = at.key("zones");
        let of = |(index, zone): (usize, &ZoneEntry)| zone.warning(&zones.index(index));
        self.zones.iter().enumerate().filter_map(of).collect()
    }

    pub(super) fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        if self.name.trim().is_empty() {
            problems.add(at.key("name"), "the name is empty", "give the account a name");
        }
        self.validate_roles(at, problems);
        self.budget.validate(self.partition, &at.key("budget"), problems);
        for (key, interval_secs) in [
            ("discovery_interval_secs", self.discovery_interval_secs),
            ("drift_interval_secs", self.drift_interval_secs),
        ] {
            if interval_secs == 0 {
                problems.add(
                    at.key(key),
                    "an interval of no seconds would never rest",
                    "give at least one second",
                );
            }
        }
        for (index, zone) in self.zones.iter().enumerate() {
            zone.validate(&at.key("zones").index(index), problems);
        }
    }

    fn validate_roles(&self, at: &KeyPath, problems: &mut Problems) {
        if let Some(role) = &self.role_arn
            && *role.account() != self.id
        {
            problems.add(
                at.key("role_arn"),
                format!(
                    "the role is one of the account {}, and this is the account {}",
                    role.account(),
                    self.id
                ),
                "name a role of this account, or correct the id",
            );
        }
        for (key, role) in [("role_arn", &self.role_arn), ("via_role_arn", &self.via_role_arn)] {
            if let Some(role) = role
                && role.partition() != self.partition
            {
                problems.add(
                    at.key(key),
                    format!(
                        "the role is one of the partition {}, and the account's is {}",
                        role.partition(),
                        self.partition
                    ),
                    "correct the role's ARN, or the account's partition",
                );
            }
        }
        if self.role_arn.is_none() {
            let without_role = [
                ("external_id", self.external_id.is_some()),
                ("via_role_arn", self.via_role_arn.is_some()),
            ];
            for (key, _) in without_role.into_iter().filter(|(_, given)| *given) {
                problems.add(
                    at.key(key),
                    "it goes with role_arn, and there is none",
                    "add role_arn, or remove it",
                );
            }
        }
    }
}

/// Zones of the account and how they are managed. All given conditions have to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneEntry {
    /// `example.com` itself, `*.example.com` what lies below it, `*` all.
    #[serde(default)]
    pub name: Option<ZonePattern>,
    /// The zone of this id.
    #[serde(default)]
    pub id: Option<ZoneId>,
    /// Zones with all these tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Only public or only private zones.
    #[serde(default)]
    pub visibility: Option<Visibility>,
    /// The changes that are allowed in them.
    #[serde(default)]
    pub policy: ZonePolicy,
    /// How changes by others are handled.
    #[serde(default)]
    pub drift: DriftEntry,
    /// Which record sets of others are taken over; `None` means never, or any where `drift` says `adopt`.
    #[serde(default)]
    pub adopt: Option<AdoptPolicy>,
    /// Which record types clusters may publish.
    #[serde(default, skip_serializing_if = "RecordTypes::is_usual")]
    pub record_types: RecordTypes,
    /// Which objects of a cluster add their addresses up in one record set.
    #[serde(default)]
    pub merge: MergePolicy,
    /// The TTL of a record set whose endpoint names none, in seconds.
    #[serde(default = "default_ttl_secs")]
    pub default_ttl_secs: u32,
}

fn default_ttl_secs() -> u32 {
    DEFAULT_TTL_SECS
}

/// How changes by others are handled, as the file says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftEntry {
    /// They are put back.
    #[default]
    Repair,
    /// They are reported.
    Alert,
    /// Written before adoption was a setting of its own: `repair` with `adopt: any`.
    Adopt,
}

impl ZoneEntry {
    /// The entry as the core sees it.
    pub fn rule(&self) -> ZoneRule {
        ZoneRule {
            selector: ZoneSelector {
                name: self.name.clone(),
                id: self.id.clone(),
                tags: self.tags.clone(),
                visibility: self.visibility,
            },
            settings: ZoneSettings {
                policy: self.policy,
                drift: match self.drift {
                    DriftEntry::Repair | DriftEntry::Adopt => DriftPolicy::Repair,
                    DriftEntry::Alert => DriftPolicy::Alert,
                },
                adopt: self.adopt.unwrap_or(match self.drift {
                    DriftEntry::Adopt => AdoptPolicy::Any,
                    DriftEntry::Repair | DriftEntry::Alert => AdoptPolicy::Never,
                }),
                record_types: self.record_types,
                merge: self.merge,
                default_ttl_secs: self.default_ttl_secs,
            },
        }
    }

    fn warning(&self, at: &KeyPath) -> Option<String> {
        (self.drift == DriftEntry::Adopt).then(|| {
            format!(
                "{}: adoption is a setting of its own now, and this means drift: repair and adopt: any: write those",
                at.key("drift")
            )
        })
    }

    fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        if self.rule().selector.is_empty() {
            problems.add(
                at.clone(),
                "the entry has no condition, so it would take every zone of the account",
                "add name, id, tags or visibility; name: \"*\" says that every zone is meant",
            );
        }
        if self.default_ttl_secs > MAX_TTL_SECS {
            problems.add(
                at.key("default_ttl_secs"),
                format!("{} s is more than Route 53 accepts", self.default_ttl_secs),
                format!("give at most {MAX_TTL_SECS}"),
            );
        }
    }
}
