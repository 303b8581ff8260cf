//! The audit: what people, files and the broker by itself decided, one entry for each decision, in one hash chain.
//!
//! An entry's hash is SHA-256 over the hash before it, its number and its text, as in the journal of an account. So an entry that is
//! changed, moved or taken out breaks the chain from there on, and whoever noted a hash of it once can tell later whether all before
//! it is still the same.

mod decided;
mod kind;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

pub use decided::{RuleSetChange, request_changes, rule_changes};
pub use kind::AuditKind;

use crate::core::dns::name::DnsName;
use crate::core::governance::actor::Actor;
use crate::core::ids::{AccountId, BatchId, ClusterId, EnvironmentId, RuleName, ZoneId};
use crate::core::time::Timestamp;

/// How many names an entry lists; of more it has the number.
pub const MAX_NAMES: usize = 1_000;

/// From where somebody decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditOrigin {
    /// By which way, such as `rest` or `command line`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The address of the caller, as the replica that was asked saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The id of the HTTP request, as in the replica's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<Uuid>,
}

impl AuditOrigin {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A replica of the broker by itself.
    pub fn replica(replica: Uuid) -> Self {
        Self { replica: Some(replica), ..Self::default() }
    }
}

/// What a decision is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditScope {
    /// The environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentId>,
    /// The account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The apex of the zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<DnsName>,
    /// The id of the zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_id: Option<ZoneId>,
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterId>,
    /// The team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<RuleName>,
    /// Names and patterns, [`MAX_NAMES`] at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// How many names there are, where they are not all listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names_in_all: Option<u64>,
}

impl AuditScope {
    /// Lists names, as many as an entry holds.
    #[must_use]
    pub fn named(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.names = names.into_iter().collect();
        if self.names.len() > MAX_NAMES {
            self.names_in_all = Some(self.names.len() as u64);
            self.names.truncate(MAX_NAMES);
        }
        self
    }
}

/// What came of a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditResult {
    /// It counts.
    #[default]
    Done,
    /// It was refused, and why.
    Refused(String),
}

impl AuditResult {
    fn is_done(&self) -> bool {
        *self == Self::Done
    }
}

/// One decision. Its text in the chain is the JSON of this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When, by the clock of who wrote it.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// From where.
    #[serde(default, skip_serializing_if = "AuditOrigin::is_empty")]
    pub origin: AuditOrigin,
    /// What.
    pub kind: AuditKind,
    /// The one thing whose states follow each other, such as `Grant pay-in-dev`; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// About what.
    #[serde(default)]
    pub scope: AuditScope,
    /// How it was before; `None` if there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<serde_json::Value>,
    /// How it is since; `None` if there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<serde_json::Value>,
    /// Why, in the words of who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The request that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Uuid>,
    /// The batch that carries it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// The number of the set of rules that it makes, or that it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<u64>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "AuditResult::is_done")]
    pub result: AuditResult,
}

impl AuditEntry {
    /// A decision of which nothing more is said.
    pub fn new(at: Timestamp, actor: Actor, kind: AuditKind) -> Self {
        Self {
            at,
            actor,
            origin: AuditOrigin::default(),
            kind,
            subject: None,
            scope: AuditScope::default(),
            before: None,
            after: None,
            reason: None,
            request: None,
            batch: None,
            rules: None,
            result: AuditResult::Done,
        }
    }
}

/// A hash of the chain.
pub type AuditHash = [u8; 32];

/// The hash before the first entry.
pub fn genesis() -> AuditHash {
    Sha256::digest(b"zonefold.v1.audit").into()
}

/// The hash of an entry.
pub fn link(before: &AuditHash, seq: i64, text: &str) -> AuditHash {
    Sha256::new_with_prefix(before)
        .chain_update(seq.to_be_bytes())
        .chain_update(text)
        .finalize()
        .into()
}

/// A hash in hexadecimal digits.
pub fn hex(hash: &AuditHash) -> String {
    hash.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Reads 64 hexadecimal digits; `None` if they are none.
pub fn from_hex(text: &str) -> Option<AuditHash> {
    crate::core::planning::unit_digest::UnitDigest::parse(text).map(|digest| digest.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_the_one_before_the_number_and_the_text() {
        let first = link(&genesis(), 1, "{}");
        assert_ne!(first, link(&genesis(), 2, "{}"));
        assert_ne!(first, link(&genesis(), 1, "{ }"));
        assert_ne!(first, link(&first, 1, "{}"));
        assert_eq!(from_hex(&hex(&first)), Some(first));
        assert_eq!(from_hex("12"), None);
    }

    #[test]
    fn an_entry_lists_as_many_names_as_it_may_and_counts_the_rest() {
        let scope = AuditScope::default().named((0..MAX_NAMES + 5).map(|n| format!("n{n}.test")));
        assert_eq!((scope.names.len(), scope.names_in_all), (MAX_NAMES, Some(1_005)));
    }
}
