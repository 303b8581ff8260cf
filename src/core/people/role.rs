//! Roles for the whole, and who has which.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::governance::rule::team::{People, Person};
use crate::core::ids::EnvironmentId;

/// The role of a caller; each may do what those before it may.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read.
    #[default]
    Viewer,
    /// Change what the broker does: approve, hold, hand over.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The environments that somebody sees; `None` for all, and also what belongs to none.
pub type SeenEnvironments = Option<BTreeSet<EnvironmentId>>;

/// What somebody sees who sees no more than both allow.
pub fn seen_by_both(one: &SeenEnvironments, other: &SeenEnvironments) -> SeenEnvironments {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.intersection(other).cloned().collect()),
        (Some(only), None) | (None, Some(only)) => Some(only.clone()),
        (None, None) => None,
    }
}

/// People who read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewerGroup {
    /// Who.
    pub people: People,
    /// What belongs to these environments; everything if empty.
    pub environments: BTreeSet<EnvironmentId>,
}

/// Who has which role, by the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleTable {
    /// Who administers the whole.
    pub admins: People,
    /// Who operates the whole.
    pub operators: People,
    /// Who reads, and what. Entries add up.
    pub viewers: Vec<ViewerGroup>,
    /// Whether whoever signs in and is named nowhere here may read everything.
    pub others_read: bool,
}

/// A role for the whole, and what can be seen with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WholeRole {
    /// The role.
    pub role: Role,
    /// What is seen.
    pub environments: SeenEnvironments,
}

impl RoleTable {
    /// The role of a person; `None` if they may do nothing. Members of a team may read.
    pub fn role_of(&self, person: &Person, is_in_a_team: bool) -> Option<WholeRole> {
        let all_of = |role| Some(WholeRole { role, environments: None });
        if self.admins.include(person) {
            return all_of(Role::Admin);
        }
        if self.operators.include(person) {
            return all_of(Role::Operator);
        }
        let mut fitting = self.viewers.iter().filter(|of| of.people.include(person)).peekable();
        if fitting.peek().is_none() {
            return if self.others_read || is_in_a_team { all_of(Role::Viewer) } else { None };
        }
        let mut environments = BTreeSet::new();
        for entry in fitting {
            if entry.environments.is_empty() {
                return all_of(Role::Viewer);
            }
            environments.extend(entry.environments.iter().cloned());
        }
        Some(WholeRole { role: Role::Viewer, environments: Some(environments) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(users: &[&str], groups: &[&str]) -> People {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        People { users: set(users), groups: set(groups) }
    }

    fn environments(names: &[&str]) -> BTreeSet<EnvironmentId> {
        names.iter().map(|name| EnvironmentId::parse(name).unwrap()).collect()
    }

    #[test]
    fn the_greatest_role_counts_and_limits_of_viewers_add_up() {
        let viewers = |group: &str, of: &[&str]| ViewerGroup {
            people: people(&[], &[group]),
            environments: environments(of),
        };
        let table = RoleTable {
            admins: people(&["ann"], &[]),
            operators: people(&[], &["platform"]),
            viewers: vec![
                viewers("guests", &["dev"]),
                viewers("testers", &["stage"]),
                viewers("auditors", &[]),
            ],
            others_read: false,
        };
        let of = |user: &str, groups: &[&str], is_in_a_team| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            let role = table.role_of(&Person { user: user.to_owned(), groups }, is_in_a_team);
            role.map(|WholeRole { role, environments }| (role, environments))
        };
        assert_eq!(of("ann", &["guests"], false), Some((Role::Admin, None)));
        assert_eq!(of("ben", &["platform", "guests"], false), Some((Role::Operator, None)));
        let dev = Some((Role::Viewer, Some(environments(&["dev"]))));
        assert_eq!(of("eve", &["guests"], true), dev, "a team does not lift a limit");
        let both = Some((Role::Viewer, Some(environments(&["dev", "stage"]))));
        assert_eq!(of("eve", &["guests", "testers"], false), both);
        assert_eq!(of("eve", &["guests", "auditors"], false), Some((Role::Viewer, None)));
        assert_eq!(of("ida", &[], false), None);
        assert_eq!(of("ida", &[], true), Some((Role::Viewer, None)));
        let open = RoleTable { others_read: true, ..table.clone() };
        let ida = Person { user: "ida".to_owned(), groups: [].into() };
        assert_eq!(open.role_of(&ida, false).map(|whole| whole.role), Some(Role::Viewer));
    }

    #[test]
    fn who_sees_less_of_two_sees_what_both_allow() {
        let some = |names: &[&str]| Some(environments(names));
        assert_eq!(seen_by_both(&None, &None), None);
        assert_eq!(seen_by_both(&some(&["dev"]), &None), some(&["dev"]));
        assert_eq!(
            seen_by_both(&some(&["dev", "prod"]), &some(&["prod", "stage"])),
            some(&["prod"])
        );
        assert_eq!(seen_by_both(&some(&["dev"]), &some(&["prod"])), some(&[]));
    }
}
