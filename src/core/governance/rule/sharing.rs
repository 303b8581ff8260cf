//! What happens when several clusters may publish one name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::validate_names;
use crate::core::dns::name::DnsName;
use crate::core::governance::pattern::NamePattern;
use crate::core::governance::problem::{RulePath, RuleProblems};
use crate::core::ids::ClusterId;

/// The greatest weight of a record set (Route 53 API reference, `Weight`).
pub const MAX_WEIGHT: u32 = 255;

/// How clusters share a name.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum SharingPolicy {
    /// One cluster has the name, the others wait.
    #[default]
    Exclusive,
    /// The values of all in one record set.
    Merge,
    /// A multivalue answer record set for each.
    Multivalue,
    /// A weighted record set for each.
    Weighted,
    /// One answers, another one when that cannot.
    Failover,
    /// A latency record set for each, by the cluster's label `region`.
    Latency,
}

impl SharingPolicy {
    /// As it is written in a rule.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Merge => "merge",
            Self::Multivalue => "multivalue",
            Self::Weighted => "weighted",
            Self::Failover => "failover",
            Self::Latency => "latency",
        }
    }
}

/// Who switches a fail-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailoverMode {
    /// Route 53, by a health check or by the health of an alias's target; and back by itself.
    Route53,
    /// A person: only the active cluster is published.
    Manual,
}

/// Two clusters, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailoverPair {
    /// Who switches.
    pub mode: FailoverMode,
    /// Who answers as a rule.
    pub primary: ClusterId,
    /// Who answers instead.
    pub secondary: ClusterId,
    /// The id of the health check of the primary's record sets. An alias that evaluates its target's health needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<String>,
    /// Who is published under `manual`; the primary if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ClusterId>,
}

impl FailoverPair {
    /// Who is published under `manual`.
    pub fn active(&self) -> &ClusterId {
        self.active.as_ref().unwrap_or(&self.primary)
    }
}

/// What becomes of a shared name's last value when the endpoint that gave it is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LastValue {
    /// It stays until a person releases it.
    #[default]
    Keep,
    /// It goes when the only cluster that has it deletes it.
    Delete,
}

/// Names that clusters share. Of several rules that fit a name the longest pattern wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sharing {
    /// The zone's apex.
    pub zone: DnsName,
    /// The names.
    pub names: Vec<NamePattern>,
    /// How.
    pub policy: SharingPolicy,
    /// The weight of each cluster, 0 to 255, under `weighted`; 0 drains.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<ClusterId, u32>,
    /// The weight of a cluster that `weights` does not name; if not given, what its endpoint says, or 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_weight: Option<u32>,
    /// The clusters under `failover`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<FailoverPair>,
    /// What becomes of the last value.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_value: LastValue,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Sharing {
    /// The weight that the rule gives a cluster, 0 to 255; `None` if it leaves that to the cluster's endpoint.
    pub fn given_weight(&self, cluster: &ClusterId) -> Option<u8> {
        let given = self.weights.get(cluster).copied().or(self.default_weight)?;
        Some(u8::try_from(given).unwrap_or(u8::MAX))
    }

    pub(super) fn validate(&self, at: &RulePath, problems: &mut RuleProblems) {
        problems.require(
            !self.names.is_empty(),
            at.key("names"),
            "no name is shared",
            format!("name what is shared, such as app.{}", self.zone),
        );
        validate_names(at, &self.zone, &self.names, problems);
        self.validate_weights(at, problems);
        self.validate_failover(at, problems);
    }

    fn validate_weights(&self, at: &RulePath, problems: &mut RuleProblems) {
        let is_weighted = self.policy == SharingPolicy::Weighted;
        problems.require(
            is_weighted || (self.weights.is_empty() && self.default_weight.is_none()),
            at.key("weights"),
            format!("the policy {} has no weights", self.policy.as_str()),
            "remove them, or set policy: weighted",
        );
        let given = self
            .weights
            .iter()
            .map(|(cluster, weight)| (at.key("weights").key(cluster.as_str()), *weight));
        let default = self.default_weight.map(|weight| (at.key("defaultWeight"), weight));
        for (at, weight) in given.chain(default) {
            problems.require(
                weight <= MAX_WEIGHT,
                at,
                format!("{weight} is no weight"),
                format!("give 0 to {MAX_WEIGHT}; what counts is each one's share of the sum"),
            );
        }
        // Route 53 answers with all of them if all weights are 0, which is not what a drained group means.
        let has_weight = self.weights.values().any(|weight| *weight > 0)
            || self.default_weight.is_none_or(|weight| weight > 0);
        problems.require(
            !is_weighted || has_weight,
            at.key("weights"),
            "all weights are 0, and Route 53 then answers with all of them alike",
            "give one cluster a weight",
        );
    }

    fn validate_failover(&self, at: &RulePath, problems: &mut RuleProblems) {
        let at = at.key("failover");
        let pair = match (self.policy == SharingPolicy::Failover, &self.failover) {
            (false, None) => return,
            (true, Some(pair)) => pair,
            (true, None) => {
                return problems.add(
                    at,
                    "the policy failover names no clusters",
                    "give mode, primary and secondary",
                );
            }
            (false, Some(_)) => {
                return problems.add(
                    at,
                    format!("the policy {} has no fail-over", self.policy.as_str()),
                    "remove it, or set policy: failover",
                );
            }
        };
        problems.require(
            pair.primary != pair.secondary,
            at.key("secondary"),
            format!("{} cannot stand in for itself", pair.primary),
            "name another cluster",
        );
        problems.require(
            pair.mode == FailoverMode::Manual || pair.active.is_none(),
            at.key("active"),
            "Route 53 decides who answers",
            "remove it, or set mode: manual",
        );
        problems.require(
            [&pair.primary, &pair.secondary].contains(&pair.active()),
            at.key("active"),
            format!("{} is neither the primary nor the secondary", pair.active()),
            "name one of the two",
        );
    }
}
