//! All rules at one moment.
//!
//! A set is checked as a whole and never changes afterwards; its digest is its version. The store gives each accepted digest a number
//! once, and the set with the highest number counts everywhere.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arcstr::ArcStr;
use sha2::{Digest as _, Sha256};

use super::freeze::CompiledFreeze;
use super::pattern::{NamePattern, PatternLength};
use super::problem::{RulePath, RuleProblem, RuleProblems};
use super::rule::{
    Guard, NameOwnership, Rule, RuleHome, RuleId, RuleKind, RuleSpec, SharedRule, Sharing, Team,
    patterns_of,
};
use crate::core::dns::name::DnsName;
use crate::core::ids::RuleName;

/// The version of a set: equal sets have equal digests, wherever their rules live.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RulesDigest(pub [u8; 32]);

impl fmt::Display for RulesDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for RulesDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Something that is wrong with a set, at one of its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetProblem {
    /// Which rule.
    pub rule: RuleId,
    /// Where it lives.
    pub home: RuleHome,
    /// What, where in the rule, and what to do.
    pub problem: RuleProblem,
    /// A set with the problem can be worked by: a team is gone, and what it owned falls to the owner of the wider pattern.
    pub is_tolerable: bool,
}

impl fmt::Display for SetProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.rule, self.home, self.problem)
    }
}

/// Rules by the pattern that fits a name, found by the labels of the name: what others wrote costs nothing.
#[derive(Clone, Debug)]
struct PatternIndex<T>(HashMap<ArcStr, Vec<Indexed<T>>>);

#[derive(Clone, Debug)]
struct Indexed<T> {
    zone: DnsName,
    pattern: NamePattern,
    value: T,
}

impl<T> Default for PatternIndex<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> PatternIndex<T> {
    /// Adds a value; answers the one that stands there with the same pattern already, and leaves that.
    fn add(&mut self, zone: &DnsName, pattern: NamePattern, value: T) -> Option<&T> {
        let there = self.0.entry(pattern.base().text()).or_default();
        match there.iter().position(|other| other.zone == *zone && other.pattern == pattern) {
            Some(index) => there.get(index).map(|other| &other.value),
            None => {
                there.push(Indexed { zone: zone.clone(), pattern, value });
                None
            }
        }
    }

    /// What fits a name of a zone.
    fn fitting<'a>(
        &'a self,
        zone: &'a DnsName,
        name: &'a DnsName,
    ) -> impl Iterator<Item = (PatternLength, &'a NamePattern, &'a T)> {
        suffixes(name.as_str())
            .filter_map(|suffix| self.0.get(suffix))
            .flatten()
            .filter(move |indexed| indexed.zone == *zone && indexed.pattern.matches(name))
            .map(|indexed| (indexed.pattern.length(), &indexed.pattern, &indexed.value))
    }
}

/// A name and the names above it, as canonical text.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    let dots = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
    std::iter::once(name).chain(dots).filter(|suffix| !suffix.is_empty())
}

/// All rules at one moment; see the module's page.
#[derive(Clone, Debug)]
pub struct Rules {
    digest: RulesDigest,
    rules: BTreeMap<RuleId, SharedRule>,
    owners: PatternIndex<SharedRule>,
    grants: PatternIndex<Vec<SharedRule>>,
    sharings: PatternIndex<SharedRule>,
    guards: Vec<SharedRule>,
    freezes: Vec<CompiledFreeze>,
}

impl Default for Rules {
    fn default() -> Self {
        Self::of(BTreeMap::new()).0
    }
}

impl Rules {
    /// Puts rules together. Of two with one kind and name, or with one pattern where only one can decide, the second is the problem;
    /// rules of files come first, and then those of the store, each by kind and name.
    ///
    /// # Errors
    /// What is wrong, all of it.
    pub fn new(mut rules: Vec<Rule>) -> Result<Self, Vec<SetProblem>> {
        rules.sort_by_cached_key(|rule| (rule.home.clone(), rule.id()));
        let mut problems = vec![];
        let mut by_id: BTreeMap<RuleId, SharedRule> = BTreeMap::new();
        for rule in rules {
            let mut found = RuleProblems::default();
            rule.spec.validate(&mut found);
            let id = rule.id();
            if let Some(first) = by_id.get(&id) {
                found.add(
                    RulePath::default().key("metadata").key("name"),
                    format!("there is a {id} in {} already", first.home),
                    "give it another name, or remove one of the two",
                );
            }
            let is_first = !by_id.contains_key(&id);
            problems.extend(found.0.into_iter().map(|problem| SetProblem {
                rule: id.clone(),
                home: rule.home.clone(),
                problem,
                is_tolerable: false,
            }));
            if is_first {
                by_id.insert(id, Arc::new(rule));
            }
        }
        let (rules, found) = Self::of(by_id);
        problems.extend(found);
        if problems.iter().all(|problem| problem.is_tolerable) { Ok(rules) } else { Err(problems) }
    }

    fn of(by_id: BTreeMap<RuleId, SharedRule>) -> (Self, Vec<SetProblem>) {
        let mut rules = Self {
            digest: digest(by_id.values()),
            rules: BTreeMap::new(),
            owners: PatternIndex::default(),
            grants: PatternIndex::default(),
            sharings: PatternIndex::default(),
            guards: vec![],
            freezes: vec![],
        };
        let mut problems = vec![];
        // In the order of the homes, so that which of two is the second does not depend on names.
        let mut in_order: Vec<&SharedRule> = by_id.values().collect();
        in_order.sort_by(|a, b| a.home.cmp(&b.home));
        for rule in in_order {
            rules.index(rule, &by_id, &mut problems);
        }
        rules.rules = by_id;
        (rules, problems)
    }

    fn index(
        &mut self,
        rule: &SharedRule,
        all: &BTreeMap<RuleId, SharedRule>,
        problems: &mut Vec<SetProblem>,
    ) {
        let mut problem = |path: RulePath, reason: String, remedy: &str, is_tolerable| {
            let problem = RuleProblem { path, reason, remedy: remedy.to_owned() };
            let (rule, home) = (rule.id(), rule.home.clone());
            problems.push(SetProblem { rule, home, problem, is_tolerable });
        };
        let names_at = |index: usize| RulePath::spec().key("names").index(index);
        match &rule.spec {
            RuleSpec::Team(_) | RuleSpec::Subscription(_) => {}
            RuleSpec::Guard(_) => self.guards.push(Arc::clone(rule)),
            RuleSpec::Freeze(_) => self.freezes.extend(CompiledFreeze::of(rule)),
            RuleSpec::Ownership(ownership) => {
                let team = RuleId { kind: RuleKind::Team, name: ownership.team.clone() };
                if !all.contains_key(&team) {
                    problem(
                        RulePath::spec().key("team"),
                        format!("there is no {team}"),
                        "correct the name, or write the team first",
                        true,
                    );
                }
                let patterns = patterns_of(&ownership.zone, &ownership.names);
                for (index, pattern) in patterns.into_iter().enumerate() {
                    let added = self.owners.add(&ownership.zone, pattern.clone(), Arc::clone(rule));
                    if let Some(other) = added {
                        let reason =
                            format!("{pattern} belongs by the {} in {}", other.id(), other.home);
                        let remedy =
                            "remove it from one of the two; a longer pattern takes precedence";
                        problem(names_at(index), reason, remedy, false);
                    }
                }
            }
            RuleSpec::Sharing(sharing) => {
                for (index, pattern) in sharing.names.iter().enumerate() {
                    let added = self.sharings.add(&sharing.zone, pattern.clone(), Arc::clone(rule));
                    if let Some(other) = added {
                        let reason =
                            format!("{pattern} is shared by the {} in {}", other.id(), other.home);
                        let remedy =
                            "remove it from one of the two; a longer pattern takes precedence";
                        problem(names_at(index), reason, remedy, false);
                    }
                }
            }
            RuleSpec::Grant(grant) => {
                for pattern in &grant.names {
                    let there = self.grants.0.entry(pattern.base().text()).or_default();
                    let same = there
                        .iter_mut()
                        .find(|other| other.zone == grant.zone && other.pattern == *pattern);
                    match same {
                        Some(same) => same.value.push(Arc::clone(rule)),
                        None => there.push(Indexed {
                            zone: grant.zone.clone(),
                            pattern: pattern.clone(),
                            value: vec![Arc::clone(rule)],
                        }),
                    }
                }
            }
        }
    }

    /// The version.
    pub fn digest(&self) -> RulesDigest {
        self.digest
    }

    /// The version of the rules that live in files.
    pub fn digest_of_files(&self) -> RulesDigest {
        digest(self.rules.values().filter(|rule| matches!(rule.home, RuleHome::File(_))))
    }

    /// A rule.
    pub fn get(&self, id: &RuleId) -> Option<&SharedRule> {
        self.rules.get(id)
    }

    /// All of them, by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = &SharedRule> {
        self.rules.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// A team; `None` if there is none of that name.
    pub fn team(&self, name: &RuleName) -> Option<&Team> {
        let id = RuleId { kind: RuleKind::Team, name: name.clone() };
        match &self.rules.get(&id)?.spec {
            RuleSpec::Team(team) => Some(team),
            _ => None,
        }
    }

    /// The ownerships that fit a name, the longest pattern first.
    pub fn ownerships<'a>(
        &'a self,
        zone: &'a DnsName,
        name: &'a DnsName,
    ) -> Vec<(&'a SharedRule, &'a NamePattern, &'a NameOwnership)> {
        let mut found: Vec<_> = self.owners.fitting(zone, name).collect();
        found.sort_by_key(|(length, ..)| std::cmp::Reverse(*length));
        let ownership = |(_, pattern, rule): (_, &'a NamePattern, &'a SharedRule)| match &rule.spec
        {
            RuleSpec::Ownership(ownership) => Some((rule, pattern, ownership)),
            _ => None,
        };
        found.into_iter().filter_map(ownership).collect()
    }

    /// The grants whose names fit, of whoever and until whenever.
    pub fn grants<'a>(
        &'a self,
        zone: &'a DnsName,
        name: &'a DnsName,
    ) -> impl Iterator<Item = &'a SharedRule> {
        self.grants.fitting(zone, name).flat_map(|(_, _, rules)| rules)
    }

    /// How a name is shared; `None` if no rule says so, and then it is not.
    pub fn sharing<'a>(
        &'a self,
        zone: &'a DnsName,
        name: &'a DnsName,
    ) -> Option<(&'a SharedRule, &'a Sharing)> {
        let (_, _, rule) = self.sharings.fitting(zone, name).max_by_key(|(length, ..)| *length)?;
        match &rule.spec {
            RuleSpec::Sharing(sharing) => Some((rule, sharing)),
            _ => None,
        }
    }

    /// The guards, wherever they hold.
    pub fn guards(&self) -> impl Iterator<Item = (&SharedRule, &Guard)> {
        self.guards.iter().filter_map(|rule| match &rule.spec {
            RuleSpec::Guard(guard) => Some((rule, guard)),
            _ => None,
        })
    }

    /// The freezes.
    pub fn freezes(&self) -> &[CompiledFreeze] {
        &self.freezes
    }
}

fn digest<'a>(rules: impl Iterator<Item = &'a SharedRule>) -> RulesDigest {
    let mut hasher = Sha256::new();
    hasher.update(b"zonefold.v1.rules");
    for rule in rules {
        // What has no form in JSON is nothing that a rule can say.
        let document = rule.document().map(|value| value.to_string()).unwrap_or_default();
        hasher.update((document.len() as u64).to_be_bytes());
        hasher.update(document);
    }
    RulesDigest(hasher.finalize().into())
}

#[cfg(test)]
#[path = "ruleset_tests.rs"]
mod tests;
