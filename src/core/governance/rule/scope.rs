//! Where guards, freezes and subscriptions hold.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::core::dns::name::DnsName;
use crate::core::governance::pattern::NamePattern;
use crate::core::governance::selector::{ClusterSelector, Place};
use crate::core::ids::{AccountId, EnvironmentId};

/// Where a rule holds: everywhere, if nothing is given; all that are given have to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RuleScope {
    /// Any of these environments.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub environments: BTreeSet<EnvironmentId>,
    /// Any of these accounts.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub accounts: BTreeSet<AccountId>,
    /// Any of these zones, by their apex.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<DnsName>,
    /// Any of these names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NamePattern>,
    /// These clusters.
    #[serde(skip_serializing_if = "ClusterSelector::is_empty")]
    pub clusters: ClusterSelector,
}

impl RuleScope {
    /// Whether the place is in it.
    pub fn contains(&self, place: Place<'_>) -> bool {
        (self.environments.is_empty() || self.environments.contains(place.environment))
            && (self.accounts.is_empty() || self.accounts.contains(place.account))
            && (self.zones.is_empty() || self.zones.contains(place.zone))
            && (self.names.is_empty() || self.names.iter().any(|names| names.matches(place.name)))
            && (self.clusters.is_empty() || self.clusters.matches(place.cluster))
    }

    /// Whether a name may be in it whose cluster is not known any more: by what else is given.
    pub fn may_contain(&self, account: &AccountId, zone: &DnsName, name: &DnsName) -> bool {
        (self.accounts.is_empty() || self.accounts.contains(account))
            && (self.zones.is_empty() || self.zones.contains(zone))
            && (self.names.is_empty() || self.names.iter().any(|names| names.matches(name)))
    }

    /// Whether it is everywhere.
    pub fn is_everywhere(&self) -> bool {
        *self == Self::default()
    }
}
