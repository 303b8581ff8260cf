//! The roles of callers.

use std::collections::BTreeSet;
use std::fmt;

use crate::core::governance::actor::{ActingPerson, Actor};

/// The role of a caller; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read.
    Viewer,
    /// Change what the broker does: approve, hold, hand over.
    Operator,
    /// Everything.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

impl Granted {
    /// The caller as rules and requests know people.
    pub fn person(&self) -> ActingPerson {
        let name = if self.name.is_empty() { "anonymous" } else { &self.name };
        ActingPerson {
            actor: Actor::Token(name.to_owned()),
            groups: BTreeSet::new(),
            is_admin: self.role >= Role::Admin,
            is_operator: self.role >= Role::Operator,
        }
    }
}

/// The established identity of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The holder of the token; empty for a caller without one.
    pub name: String,
    /// The role.
    pub role: Role,
}
