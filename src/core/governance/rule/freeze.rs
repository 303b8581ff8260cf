//! When nothing is changed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::scope::RuleScope;
use super::team::People;
use crate::core::governance::problem::{RulePath, RuleProblems};
use crate::core::governance::schedule::{Opening, Schedule};

/// The longest time that one freeze may last.
const LONGEST_SECS: i64 = 366 * 24 * 3_600;

/// What passes through a freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// Values go as long as one stays; people's weights and fail-overs; aborts of a hand-over; break-glass.
    Urgent,
}

/// Who and what passes through a freeze.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Exemptions {
    /// These lanes; `urgent` if not given.
    pub lanes: BTreeSet<Lane>,
    /// What these people do.
    #[serde(skip_serializing_if = "People::is_empty")]
    pub people: People,
}

impl Default for Exemptions {
    fn default() -> Self {
        Self { lanes: [Lane::Urgent].into(), people: People::default() }
    }
}

/// A time in which a scope is not changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Freeze {
    /// Where.
    #[serde(default, skip_serializing_if = "RuleScope::is_everywhere")]
    pub scope: RuleScope,
    /// From when, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<jiff::Timestamp>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<jiff::Timestamp>,
    /// Or again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// What passes.
    #[serde(default)]
    pub exempt: Exemptions,
    /// Why, for whoever waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Freeze {
    pub(super) fn validate(&self, at: &RulePath, problems: &mut RuleProblems) {
        match (&self.schedule, self.from, self.until) {
            (None, from, Some(until)) => {
                let length = from.map(|from| until.as_second() - from.as_second());
                problems.require(
                    length.is_none_or(|length| length > 0),
                    at.key("until"),
                    "the freeze ends before it begins",
                    "give a later end",
                );
                problems.require(
                    length.is_none_or(|length| length <= LONGEST_SECS),
                    at.key("until"),
                    "the freeze lasts longer than a year",
                    "give an earlier end, or set the zone's policy to observe",
                );
            }
            (None, _, None) => problems.add(
                at.key("until"),
                "the freeze never ends",
                "give an end, or a schedule; what is never to be written has the policy observe",
            ),
            (Some(schedule), None, None) => {
                validate_schedule(schedule, &at.key("schedule"), problems);
            }
            (Some(_), _, _) => problems.add(
                at.key("schedule"),
                "a freeze is once or by a schedule",
                "keep from and until, or the schedule",
            ),
        }
    }
}

fn validate_schedule(schedule: &Schedule, at: &RulePath, problems: &mut RuleProblems) {
    let secs = schedule.duration.as_secs();
    problems.require(
        (60..=LONGEST_SECS).contains(&secs),
        at.key("duration"),
        "it is shorter than a minute or longer than a year",
        "give for example 12h",
    );
    if let Err(problem) = Opening::parse(schedule) {
        problems.add(at.key(problem.key), problem.reason, problem.remedy);
    }
}
