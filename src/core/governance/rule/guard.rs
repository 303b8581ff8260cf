//! How much may go at once before it is held for a person's word.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::scope::RuleScope;
use crate::core::dns::name::DnsName;
use crate::core::dns::record_type::RecordType;
use crate::core::governance::pattern::NamePattern;
use crate::core::governance::problem::{RulePath, RuleProblems};
use crate::core::ids::RuleName;

/// A guard by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardId {
    /// The one that is there where no rule is one.
    Default,
    /// A rule.
    Rule(RuleName),
}

impl fmt::Display for GuardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default guard"),
            Self::Rule(name) => write!(f, "the guard {name}"),
        }
    }
}

/// What a guard counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counted {
    /// Record sets that are deleted.
    Deletions,
    /// Names of which no answer is left.
    LostNames,
    /// Names of which every value changes.
    ReplacedNames,
}

impl Counted {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Deletions, Self::LostNames, Self::ReplacedNames];

    /// As it is written in a rule.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deletions => "deletions",
            Self::LostNames => "lost-names",
            Self::ReplacedNames => "replaced-names",
        }
    }
}

/// Up to how many names which share may go within the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuardStep {
    /// Of up to so many names; without an end if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_names: Option<u64>,
    /// So many of a hundred may go.
    pub percent: u8,
    /// But so many always.
    pub at_least: u64,
}

/// By default: of up to 100 names 30 % but at least 10, of up to 1,000 10 % but at least 20, of more 2 % but at least 50.
pub const DEFAULT_STEPS: [GuardStep; 3] = [
    GuardStep { up_to_names: Some(100), percent: 30, at_least: 10 },
    GuardStep { up_to_names: Some(1_000), percent: 10, at_least: 20 },
    GuardStep { up_to_names: None, percent: 2, at_least: 50 },
];
/// The length of a guard's window, in seconds, if it names none.
pub const DEFAULT_WINDOW_SECS: i64 = 3_600;
/// The longest window that is kept.
const LONGEST_WINDOW_SECS: i64 = 7 * 24 * 3_600;

/// What needs a person's word whatever its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GuardReview {
    /// Creations and changes of these types.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub record_types: BTreeSet<RecordType>,
    /// Creations and changes at these names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NamePattern>,
}

impl GuardReview {
    /// Whether it asks for a word where a record set is created or changed.
    pub fn asks_for(&self, name: &DnsName, rtype: RecordType) -> bool {
        self.record_types.contains(&rtype) || self.names.iter().any(|names| names.matches(name))
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A guard. Where one holds, the guard that is there by default does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guard {
    /// Where.
    #[serde(default, skip_serializing_if = "RuleScope::is_everywhere")]
    pub scope: RuleScope,
    /// `false`: nothing is counted there.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// How far back is counted; an hour if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<jiff::SignedDuration>,
    /// What is counted; everything if empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub counts: BTreeSet<Counted>,
    /// How much may go, by how much there is; the default if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<GuardStep>,
    /// What needs a word whatever its number.
    #[serde(default, skip_serializing_if = "GuardReview::is_empty")]
    pub review: GuardReview,
    /// How many people have to say yes; one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<u8>,
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_yes(enabled: &bool) -> bool {
    *enabled
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            scope: RuleScope::default(),
            enabled: true,
            window: None,
            counts: BTreeSet::new(),
            steps: vec![],
            review: GuardReview::default(),
            approvals: None,
        }
    }
}

impl Guard {
    /// How far back is counted, in seconds.
    pub fn window_secs(&self) -> i64 {
        self.window.map_or(DEFAULT_WINDOW_SECS, |window| window.as_secs())
    }

    /// Whether this is counted.
    pub fn counts(&self, what: Counted) -> bool {
        self.enabled && (self.counts.is_empty() || self.counts.contains(&what))
    }

    /// How many of so many names may go within the window.
    pub fn allowance(&self, names: u64) -> u64 {
        let steps = if self.steps.is_empty() { &DEFAULT_STEPS[..] } else { &self.steps };
        let fits = |step: &&GuardStep| step.up_to_names.is_none_or(|most| names <= most);
        steps.iter().find(fits).or(steps.last()).map_or(0, |step| {
            (names.saturating_mul(u64::from(step.percent)) / 100).max(step.at_least)
        })
    }

    pub(super) fn validate(&self, at: &RulePath, problems: &mut RuleProblems) {
        problems.require(
            (60..=LONGEST_WINDOW_SECS).contains(&self.window_secs()),
            at.key("window"),
            "the window is shorter than a minute or longer than seven days",
            "give for example 1h",
        );
        let mut before = Some(0);
        for (index, step) in self.steps.iter().enumerate() {
            let at = at.key("steps").index(index);
            problems.require(
                step.percent <= 100,
                at.key("percent"),
                format!("{} is more than all", step.percent),
                "give 0 to 100",
            );
            problems.require(
                before.is_some_and(|before| step.up_to_names.is_none_or(|most| most > before)),
                at.key("upToNames"),
                "the step before goes as far",
                "order the steps from few names to many",
            );
            before = step.up_to_names;
        }
        problems.require(
            before.is_none() || self.steps.is_empty(),
            at.key("steps"),
            "the last step has an end",
            "leave out upToNames there, so that every zone has a step",
        );
        problems.require(
            self.approvals != Some(0),
            at.key("approvals"),
            "nobody would have to say yes",
            "give 1 or more, or set enabled: false",
        );
    }
}
