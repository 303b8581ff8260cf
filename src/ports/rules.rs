//! Accepted sets of rules, numbered.

use async_trait::async_trait;

use super::StoreError;
use crate::core::audit::AuditEntry;
use crate::core::governance::document::StoredRule;
use crate::core::governance::ruleset::RulesDigest;
use crate::core::time::Timestamp;

/// An accepted set of rules. The one with the highest number counts everywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSetRow {
    /// Rises by one with each accepted set; the first has 1.
    pub number: u64,
    /// The version of the whole set.
    pub digest: RulesDigest,
    /// The version of those of its rules that live in files.
    pub files: RulesDigest,
    /// The rules.
    pub rules: Vec<StoredRule>,
    /// When it was accepted.
    pub at: Timestamp,
    /// Who changed the set before into this one, as people read it.
    pub by: String,
    /// Why, if somebody said so.
    pub reason: Option<String>,
}

/// The sets of rules that counted, one after the other.
#[async_trait]
pub trait RuleSets: Send + Sync {
    /// The set that counts; `None` before the first.
    async fn latest_rules(&self) -> Result<Option<RuleSetRow>, StoreError>;

    /// A set by its number; `None` if there is none, or it is kept no more.
    async fn rules_numbered(&self, number: u64) -> Result<Option<RuleSetRow>, StoreError>;

    /// Whether the rules of these files ever counted.
    async fn files_were_accepted(&self, files: RulesDigest) -> Result<bool, StoreError>;

    /// Makes a set the one that counts, with what the audit is to say of it, and tells the other replicas; answers whether its number
    /// was the next one. If not, another set was accepted meanwhile and nothing was done.
    async fn accept_rules(
        &self,
        set: &RuleSetRow,
        audit: &[AuditEntry],
    ) -> Result<bool, StoreError>;
}
