//! The sections about environments and clusters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::{KeyPath, Problems};
use super::identity::ClusterIdentity;
use crate::core::ids::{ClusterId, EnvironmentId};
use crate::core::visibility::Exposure;

/// An environment: clusters publish into the accounts of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    pub name: EnvironmentId,
}

/// A cluster that may publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The name that its agent gives.
    pub name: ClusterId,
    pub environment: EnvironmentId,
    /// For people and for rules: region, team, ….
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// In which kinds of zones its names are published when they do not say so themselves: `public`, `private`, `both` or
    /// `internal`.
    #[serde(default)]
    pub visibility: Exposure,
    /// How it proves itself; without it the token that clusters share speaks for it.
    #[serde(default)]
    pub identity: Option<ClusterIdentity>,
}

impl Cluster {
    pub(super) fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        for key in self.labels.keys() {
            let fits = (1..=63).contains(&key.len())
                && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
            if !fits {
                problems.add(
                    at.key("labels").key(key),
                    format!("{key:?} is not the key of a label"),
                    "use 1 to 63 characters A-Z, a-z, 0-9 and -_./",
                );
            }
        }
        if let Some(identity) = &self.identity {
            identity.validate(&at.key("identity"), problems);
        }
    }
}
