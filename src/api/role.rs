//! What callers may do.

use std::fmt;

/// What a caller may do; each may do what those before it may.
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

/// Who asks, as it was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The holder of the token; empty for a caller without one.
    pub name: String,
    /// What it may do.
    pub role: Role,
}
