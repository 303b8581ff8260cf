//! What is wrong with a rule: where, why, and what to do.

use std::fmt;

/// The way from a rule to one of its values, such as `spec.names[0]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RulePath(String);

impl RulePath {
    /// The path of a rule's spec.
    pub fn spec() -> Self {
        Self("spec".to_owned())
    }

    /// The path of a key below this one.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        match self.0.as_str() {
            "" => Self(key.to_owned()),
            path => Self(format!("{path}.{key}")),
        }
    }

    /// The path of an item below this one, counted from 0.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One thing that is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleProblem {
    /// Where in the rule.
    pub path: RulePath,
    /// Why it cannot be.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.reason, self.remedy)
    }
}

/// Collects problems.
#[derive(Debug, Default)]
pub struct RuleProblems(pub Vec<RuleProblem>);

impl RuleProblems {
    /// Adds one.
    pub fn add(&mut self, path: RulePath, reason: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(RuleProblem { path, reason: reason.into(), remedy: remedy.into() });
    }

    /// Adds one unless the condition holds.
    pub fn require(
        &mut self,
        holds: bool,
        path: RulePath,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if !holds {
            self.add(path, reason, remedy);
        }
    }
}
