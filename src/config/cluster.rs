//! The sections about environments and clusters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::{KeyPath, Problems};
use super::identity::ClusterIdentity;
use crate::core::endpoint::quota::Quota;
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
    /// How many of its endpoints are stored; of the others, only the keys.
    #[serde(default = "default_max_endpoints")]
    pub max_endpoints: usize,
    /// How many octets of them are stored, in their packed form.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: u64,
    /// How it proves itself; without it the token that clusters share speaks for it.
    #[serde(default)]
    pub identity: Option<ClusterIdentity>,
}

/// The most endpoints that an agent can send in one snapshot.
const MOST_ENDPOINTS: usize = 500_000;

fn default_max_endpoints() -> usize {
    Quota::default().max_endpoints
}

fn default_max_bytes() -> u64 {
    Quota::default().max_bytes
}

impl Cluster {
    /// How much of it is stored.
    pub fn quota(&self) -> Quota {
        Quota { max_endpoints: self.max_endpoints, max_bytes: self.max_bytes }
    }

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
        if !(1..=MOST_ENDPOINTS).contains(&self.max_endpoints) {
            problems.add(
                at.key("max_endpoints"),
                format!("{} is no number of endpoints that a cluster can have", self.max_endpoints),
                format!("use 1 to {MOST_ENDPOINTS}, and split a larger cluster's sources over several registered clusters"),
            );
        }
        if self.max_bytes == 0 {
            problems.add(
                at.key("max_bytes"),
                "no endpoint has 0 bytes",
                "use a larger number, or leave it out",
            );
        }
        if let Some(identity) = &self.identity {
            identity.validate(&at.key("identity"), problems);
        }
    }
}
