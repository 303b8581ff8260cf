//! Teams: people, and what publishes for them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::core::governance::problem::{RulePath, RuleProblems};
use crate::core::governance::selector::{ClusterFacts, ClusterSelector};

/// People by name and by the groups of the identity provider. Nothing is synchronised: who signs in brings their groups with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct People {
    /// The names under which they sign in, or of tokens.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub users: BTreeSet<String>,
    /// Groups as the identity provider names them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
}

/// Who acts, as rules know people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// The name under which they signed in.
    pub user: String,
    /// The groups that the identity provider says.
    pub groups: BTreeSet<String>,
}

impl People {
    /// Whether the person is among them.
    pub fn include(&self, person: &Person) -> bool {
        self.users.contains(&person.user) || !self.groups.is_disjoint(&person.groups)
    }

    /// Whether nobody is named.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    pub(super) fn validate(&self, at: &RulePath, problems: &mut RuleProblems) {
        for (key, names) in [("users", &self.users), ("groups", &self.groups)] {
            problems.require(
                names.iter().all(|name| !name.trim().is_empty()),
                at.key(key),
                "a name is empty",
                "remove it",
            );
        }
    }
}

/// What publishes for a team: so that "my names" has an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TeamPublisher {
    /// In these clusters.
    pub clusters: ClusterSelector,
    /// The objects of these namespaces; of all if empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub namespaces: BTreeSet<String>,
}

impl TeamPublisher {
    /// Whether an object of the namespace in the cluster is among what publishes.
    pub fn matches(&self, cluster: ClusterFacts<'_>, namespace: &str) -> bool {
        (self.namespaces.is_empty() || self.namespaces.contains(namespace))
            && self.clusters.matches(cluster)
    }
}

/// A team.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Team {
    /// The name for people; the rule's name if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Where the team is reached: mail addresses, channels, pages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    /// Who decides for the team.
    pub owners: People,
    /// Who belongs to it.
    #[serde(default, skip_serializing_if = "People::is_empty")]
    pub members: People,
    /// What publishes for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publishes: Vec<TeamPublisher>,
}

impl Team {
    /// Whether an object of the namespace in the cluster publishes for the team.
    pub fn publishes(&self, cluster: ClusterFacts<'_>, namespace: &str) -> bool {
        self.publishes.iter().any(|publisher| publisher.matches(cluster, namespace))
    }

    pub(super) fn validate(&self, at: &RulePath, problems: &mut RuleProblems) {
        problems.require(
            !self.owners.is_empty(),
            at.key("owners"),
            "a team without owners can decide nothing",
            "name users or groups",
        );
        self.owners.validate(&at.key("owners"), problems);
        self.members.validate(&at.key("members"), problems);
        for (index, publisher) in self.publishes.iter().enumerate() {
            let at = at.key("publishes").index(index).key("clusters");
            publisher.clusters.validate(&at, problems);
        }
    }
}
