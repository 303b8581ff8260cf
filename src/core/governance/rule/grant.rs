//! Who may publish a name.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::validate_names;
use crate::core::dns::name::DnsName;
use crate::core::dns::record_type::RecordType;
use crate::core::governance::pattern::NamePattern;
use crate::core::governance::problem::{RulePath, RuleProblems};
use crate::core::governance::selector::{ClusterFacts, ClusterSelector};
use crate::core::time::Timestamp;

/// Clusters and namespaces may publish names. Several that fit add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// The zone's apex.
    pub zone: DnsName,
    /// The names.
    pub names: Vec<NamePattern>,
    /// Who may.
    pub clusters: ClusterSelector,
    /// The objects of these namespaces; of all if empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub namespaces: BTreeSet<String>,
    /// These types; all that the zone allows if empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub record_types: BTreeSet<RecordType>,
    /// Until when; for good if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<jiff::Timestamp>,
    /// Why, for who reads it later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Grant {
    /// Whether it is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until.as_millisecond() <= now.0)
    }

    /// Whether it is for objects of the namespace in the cluster.
    pub fn is_for(&self, cluster: ClusterFacts<'_>, namespace: &str) -> bool {
        (self.namespaces.is_empty() || self.namespaces.contains(namespace))
            && self.clusters.matches(cluster)
    }

    /// Whether it is for record sets of the type.
    pub fn allows(&self, rtype: RecordType) -> bool {
        self.record_types.is_empty() || self.record_types.contains(&rtype)
    }

    pub(super) fn validate(&self, at: &RulePath, problems: &mut RuleProblems) {
        problems.require(
            !self.names.is_empty(),
            at.key("names"),
            "a grant of no name grants nothing",
            format!("name what is granted, such as app.{} or *.app.{}", self.zone, self.zone),
        );
        validate_names(at, &self.zone, &self.names, problems);
        self.clusters.validate(&at.key("clusters"), problems);
    }
}
