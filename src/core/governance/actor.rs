//! Who decides something.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::rule::team::Person;

/// Who decides something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A person who signed in.
    User(String),
    /// A token, by its name.
    Token(String),
    /// A file with rules.
    File(String),
    /// The broker by itself.
    Broker,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => f.write_str(name),
            Self::Token(name) => write!(f, "token {name}"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Broker => f.write_str("broker"),
        }
    }
}

/// Who acts, and what they are known by where rules name people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActingPerson {
    /// Who.
    pub actor: Actor,
    /// The groups that the identity provider says.
    pub groups: BTreeSet<String>,
    /// Whether they administer the whole.
    pub is_admin: bool,
    /// Whether they operate the whole: they decide for what belongs to no team.
    pub is_operator: bool,
}

impl ActingPerson {
    /// As rules know people.
    pub fn person(&self) -> Person {
        let user = match &self.actor {
            Actor::User(name) | Actor::Token(name) => name.clone(),
            Actor::File(_) | Actor::Broker => String::new(),
        };
        Person { user, groups: self.groups.clone() }
    }
}
