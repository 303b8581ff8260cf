//! The rules that count, and the words that people gave: which they are, and how they become other ones.

pub mod keeper;
pub mod releases;

use std::sync::Arc;

use crate::core::governance::rule::{Rule, RuleId};
use crate::core::governance::ruleset::{Rules, SetProblem};
use crate::core::governance::snapshot::Governance;
use crate::core::release::hold::Approvals;
use crate::ports::StoreError;

/// The rules that count everywhere, as this replica knows them.
#[derive(Clone, Debug, Default)]
pub struct RulesInForce {
    /// The rules, with the clusters that they speak of.
    pub governance: Arc<Governance>,
    /// The units that people let go.
    pub approvals: Arc<Approvals>,
    /// Why the rules in this replica's files are not among them; `None` if they are.
    pub behind: Option<String>,
}

/// A change of the rules that live in the store.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleChange {
    /// Writes a rule, a new one or in the place of the one with its kind and name.
    Put(Box<Rule>),
    /// Removes a rule.
    Delete(RuleId),
}

impl RuleChange {
    /// The rule that changes.
    pub fn id(&self) -> RuleId {
        match self {
            Self::Put(rule) => rule.id(),
            Self::Delete(id) => id.clone(),
        }
    }
}

/// Who changes rules, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedBy {
    /// A person, a token, or a file, as people read it.
    pub who: String,
    /// The reason that they gave.
    pub reason: Option<String>,
}

/// Why rules are not changed. Nothing of what was asked for is.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The rules would not go together.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<SetProblem>),
    /// The rule lives in a file.
    #[error("{id} lives in the file {file}: change it there")]
    InFile {
        /// The rule.
        id: RuleId,
        /// Its file.
        file: String,
    },
    /// There is no such rule.
    #[error("there is no {0}")]
    NotFound(RuleId),
    /// Other rules count by now than those that the caller looked at.
    #[error(
        "the rules have changed since number {expected}: number {number} counts now; look again"
    )]
    Outdated {
        /// The number that the caller named.
        expected: u64,
        /// The number that counts.
        number: u64,
    },
    /// The store does not answer, or holds what cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The rules with some changes made to those that live in the store.
///
/// # Errors
/// A rule lives in a file, or is not there, or the rules do not go together.
pub fn changed(rules: &Rules, changes: &[RuleChange]) -> Result<Rules, ApplyError> {
    use crate::core::governance::rule::RuleHome;

    let mut by_id: std::collections::BTreeMap<RuleId, Rule> =
        rules.iter().map(|rule| (rule.id(), Rule::clone(rule))).collect();
    for change in changes {
        let id = change.id();
        if let Some(Rule { home: RuleHome::File(file), .. }) = by_id.get(&id) {
            return Err(ApplyError::InFile { id, file: file.to_string() });
        }
        match change {
            RuleChange::Put(rule) => {
                by_id.insert(id, Rule { home: RuleHome::Store, ..(**rule).clone() });
            }
            RuleChange::Delete(_) if by_id.remove(&id).is_none() => {
                return Err(ApplyError::NotFound(id));
            }
            RuleChange::Delete(_) => {}
        }
    }
    Rules::new(by_id.into_values().collect()).map_err(ApplyError::Problems)
}
