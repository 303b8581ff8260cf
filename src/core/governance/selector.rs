//! Which clusters, namespaces and zones a rule is about.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::problem::{RulePath, RuleProblems};
use crate::core::ids::{AccountId, ClusterId, EnvironmentId};

/// What is known of a cluster where rules are asked about it.
#[derive(Clone, Copy, Debug)]
pub struct ClusterFacts<'a> {
    /// Its name.
    pub name: &'a ClusterId,
    /// Its environment.
    pub environment: &'a EnvironmentId,
    /// Its labels by the configuration.
    pub labels: &'a BTreeMap<String, String>,
}

/// Clusters by name or by label. All that are given have to fit; one that gives nothing fits none, so that nothing is granted by
/// leaving something out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClusterSelector {
    /// Any of these names.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub names: BTreeSet<ClusterId>,
    /// Each of these labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl ClusterSelector {
    /// Whether the cluster fits.
    pub fn matches(&self, cluster: ClusterFacts<'_>) -> bool {
        !self.is_empty()
            && (self.names.is_empty() || self.names.contains(cluster.name))
            && self.labels.iter().all(|(key, value)| cluster.labels.get(key) == Some(value))
    }

    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.labels.is_empty()
    }

    pub(super) fn validate(&self, at: &RulePath, problems: &mut RuleProblems) {
        problems.require(
            !self.is_empty(),
            at.clone(),
            "no cluster is selected",
            "give names or labels of clusters",
        );
    }
}

/// Where something happens that guards, freezes and notifications are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The environment of the account.
    pub environment: &'a EnvironmentId,
    /// The account.
    pub account: &'a AccountId,
    /// The apex of the zone.
    pub zone: &'a crate::core::dns::name::DnsName,
    /// The owner name.
    pub name: &'a crate::core::dns::name::DnsName,
    /// The cluster that it is for.
    pub cluster: ClusterFacts<'a>,
}
