//! Standings in teams, and what may be changed with them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::role::Role;
use crate::core::dns::name::DnsName;
use crate::core::governance::pattern::NamePattern;
use crate::core::governance::rule::team::Person;
use crate::core::governance::rule::{Rule, RuleId, RuleSpec, Team, patterns_of};
use crate::core::governance::ruleset::Rules;
use crate::core::ids::RuleName;

/// What somebody is in a team; an owner may do what a member may.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum TeamStanding {
    /// Belongs to it.
    #[default]
    Member,
    /// Decides for it.
    Owner,
}

impl TeamStanding {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Owner => "owner",
        }
    }

    /// Of a person in a team; `None` if they do not belong to it.
    pub fn of(team: &Team, person: &Person) -> Option<Self> {
        if team.owners.include(person) {
            Some(Self::Owner)
        } else {
            team.members.include(person).then_some(Self::Member)
        }
    }
}

/// The teams of somebody, with what they are there.
pub type Standings = BTreeMap<RuleName, TeamStanding>;

/// The teams of a person.
pub fn standings(rules: &Rules, person: &Person) -> Standings {
    let of = |rule: &Rule| match &rule.spec {
        RuleSpec::Team(team) => Some((rule.name.clone(), TeamStanding::of(team, person)?)),
        _ => None,
    };
    rules.iter().filter_map(|rule| of(rule)).collect()
}

/// What somebody may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorization {
    /// Their role for the whole.
    pub role: Role,
    /// Their teams.
    pub standings: Standings,
    /// The zones, by their apex, in which they may change something; all if empty.
    pub zones: BTreeSet<DnsName>,
}

/// Why a rule may not be changed by somebody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleNotYours {
    /// Kinds that say who decides.
    #[error("{0} says who decides: an admin changes it")]
    AdminsOnly(RuleId),
    /// Kinds that are for the whole.
    #[error("{0} is for the whole: an operator or an admin changes it")]
    OperatorsOnly(RuleId),
    /// The rule is about names that are another's.
    #[error("{id} is about {pattern} of {zone}, not all of which belongs to a team that you own")]
    OthersNames {
        /// The rule.
        id: RuleId,
        /// The names.
        pattern: NamePattern,
        /// Their zone.
        zone: DnsName,
    },
    /// The rule does not say of which names it is, or of which zones.
    #[error(
        "{0} is about more than the names of a team: give spec.scope.zones and spec.scope.names"
    )]
    NoNames(RuleId),
    /// A team's own rule, in a part that others have to agree to.
    #[error("{0}: what publishes for a team is said by an admin")]
    Publishers(RuleId),
    /// The token is for other zones.
    #[error("{id} is about the zone {zone}, and the token is for other zones")]
    OtherZone {
        /// The rule.
        id: RuleId,
        /// Its zone.
        zone: DnsName,
    },
    /// The token is for some zones, and the rule is about more.
    #[error("{0} is not about one zone, and the token is for some zones alone")]
    NotOfAZone(RuleId),
}

impl Authorization {
    /// Whether somebody decides for a team.
    pub fn owns(&self, team: &RuleName) -> bool {
        self.standings.get(team) == Some(&TeamStanding::Owner)
    }

    /// Whether they may make `after` of a rule that is `before` now; `None` stands for no rule.
    ///
    /// # Errors
    /// They may not, and who may.
    pub fn may_change(
        &self,
        rules: &Rules,
        before: Option<&Rule>,
        after: Option<&Rule>,
    ) -> Result<(), RuleNotYours> {
        for rule in [before, after].into_iter().flatten() {
            self.may_touch(rules, rule)?;
        }
        if self.role == Role::Admin {
            return Ok(());
        }
        let publishers = |rule: Option<&Rule>| match rule.map(|rule| &rule.spec) {
            Some(RuleSpec::Team(team)) => Some(team.publishes.clone()),
            _ => None,
        };
        match (before, after) {
            // Nothing is known yet of a team that is new, and what a team owned would belong to nobody.
            (None, Some(rule)) | (Some(rule), None) if publishers(Some(rule)).is_some() => {
                Err(RuleNotYours::AdminsOnly(rule.id()))
            }
            (Some(rule), Some(_)) if publishers(before) != publishers(after) => {
                Err(RuleNotYours::Publishers(rule.id()))
            }
            _ => Ok(()),
        }
    }

    fn may_touch(&self, rules: &Rules, rule: &Rule) -> Result<(), RuleNotYours> {
        let id = || rule.id();
        self.is_in_zones(rule)?;
        match (&rule.spec, self.role) {
            (_, Role::Admin) => Ok(()),
            (RuleSpec::Team(_), _) if self.owns(&rule.name) => Ok(()),
            (RuleSpec::Team(_) | RuleSpec::Ownership(_), _) => Err(RuleNotYours::AdminsOnly(id())),
            (_, Role::Operator) => Ok(()),
            (RuleSpec::Guard(_) | RuleSpec::Subscription(_), _) => {
                Err(RuleNotYours::OperatorsOnly(id()))
            }
            (RuleSpec::Grant(grant), _) => self.own_all(rules, rule, &grant.zone, &grant.names),
            (RuleSpec::Sharing(sharing), _) => {
                self.own_all(rules, rule, &sharing.zone, &sharing.names)
            }
            (RuleSpec::Freeze(freeze), _) => {
                let scope = &freeze.scope;
                if scope.zones.is_empty() || scope.names.is_empty() {
                    return Err(RuleNotYours::NoNames(id()));
                }
                scope
                    .zones
                    .iter()
                    .try_for_each(|zone| self.own_all(rules, rule, zone, &scope.names))
            }
        }
    }

    fn is_in_zones(&self, rule: &Rule) -> Result<(), RuleNotYours> {
        if self.zones.is_empty() {
            return Ok(());
        }
        let zones = match &rule.spec {
            RuleSpec::Ownership(ownership) => vec![&ownership.zone],
            RuleSpec::Grant(grant) => vec![&grant.zone],
            RuleSpec::Sharing(sharing) => vec![&sharing.zone],
            RuleSpec::Guard(guard) => guard.scope.zones.iter().collect(),
            RuleSpec::Freeze(freeze) => freeze.scope.zones.iter().collect(),
            RuleSpec::Team(_) | RuleSpec::Subscription(_) => vec![],
        };
        if zones.is_empty() {
            return Err(RuleNotYours::NotOfAZone(rule.id()));
        }
        match zones.into_iter().find(|zone| !self.zones.contains(*zone)) {
            Some(zone) => Err(RuleNotYours::OtherZone { id: rule.id(), zone: zone.clone() }),
            None => Ok(()),
        }
    }

    fn own_all(
        &self,
        rules: &Rules,
        rule: &Rule,
        zone: &DnsName,
        names: &[NamePattern],
    ) -> Result<(), RuleNotYours> {
        match names.iter().find(|pattern| !self.own_pattern(rules, zone, pattern)) {
            None => Ok(()),
            Some(pattern) => Err(RuleNotYours::OthersNames {
                id: rule.id(),
                pattern: pattern.clone(),
                zone: zone.clone(),
            }),
        }
    }

    /// Whether every name that a pattern takes belongs to one of their teams: what is around it, and what others own within it.
    fn own_pattern(&self, rules: &Rules, zone: &DnsName, pattern: &NamePattern) -> bool {
        let mut around: Option<(&NamePattern, &RuleName)> = None;
        let owned: Vec<(NamePattern, &RuleName)> = rules
            .iter()
            .filter_map(|rule| match &rule.spec {
                // What a team that is gone owned falls to the owner of the wider pattern.
                RuleSpec::Ownership(of) if of.zone == *zone && rules.team(&of.team).is_some() => {
                    Some(
                        patterns_of(&of.zone, &of.names).into_iter().map(|names| (names, &of.team)),
                    )
                }
                _ => None,
            })
            .flatten()
            .collect();
        for (names, team) in &owned {
            if names.covers(pattern)
                && around.is_none_or(|(other, _)| names.length() > other.length())
            {
                around = Some((names, team));
            } else if pattern.covers(names) && !self.owns(team) {
                return false;
            }
        }
        around.is_some_and(|(_, team)| self.owns(team))
    }
}

#[cfg(test)]
#[path = "teams_tests.rs"]
mod tests;
