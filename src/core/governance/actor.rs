//! Who decides something.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::rule::team::Person;

/// Who decides something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A person who signed in.
    User(String),
    /// A token of the configuration, by its name.
    Token(String),
    /// A machine with a token that people made for it, by its name. Rules do not know it by that: whoever may make a token chooses
    /// the name.
    Machine(String),
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
            Self::Machine(name) => write!(f, "machine {name}"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Broker => f.write_str("broker"),
        }
    }
}

/// By what a caller proved who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProvedBy {
    /// By nothing.
    #[default]
    Nothing,
    /// By a token of the configuration.
    Configuration,
    /// By a session, known by its id.
    Session(Uuid),
    /// By a token of the store, known by its id.
    Token(Uuid),
}

/// Who did something, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActedBy {
    /// Who.
    pub actor: Actor,
    /// By what they proved it.
    pub proved_by: ProvedBy,
    /// The address of the other end of the connection, which may be that of a proxy; `None` for what came by no connection.
    pub from: Option<IpAddr>,
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
            Actor::Machine(_) | Actor::File(_) | Actor::Broker => String::new(),
        };
        Person { user, groups: self.groups.clone() }
    }
}
