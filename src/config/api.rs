//! Access to the REST API.

use serde::{Deserialize, Serialize};

use super::error::{KeyPath, Problems};
use super::identity::sha256_of;
use super::people::PeopleRoles;

/// The permissions of a caller; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiRole {
    /// Read.
    Viewer,
    /// Change what the broker does.
    Operator,
    /// Everything.
    Admin,
}

/// A token of the REST API, by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiToken {
    /// The holder of the token.
    pub name: String,
    /// The permissions of its holder.
    pub role: ApiRole,
    /// SHA-256 of it, in hexadecimal.
    pub token_sha256: String,
}

impl ApiToken {
    /// The hash.
    pub fn token_hash(&self) -> Option<[u8; 32]> {
        sha256_of(&self.token_sha256)
    }
}

/// The permissions of callers without a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anonymous {
    /// They may read where `listen.http` is a loopback address and no tokens are configured.
    #[default]
    OnLoopback,
    /// They may read.
    Viewer,
    /// They may do nothing.
    Nothing,
}

/// Access to the REST API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    pub tokens: Vec<ApiToken>,
    /// Who of those who sign in may do what.
    pub people: PeopleRoles,
    /// The permissions of callers without a token.
    pub anonymous: Anonymous,
    /// Whether `/metrics` needs no token; without it that is so where `listen.http` is a loopback address.
    pub open_metrics: Option<bool>,
}

impl Api {
    pub(super) fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        self.people.validate(&at.key("people"), problems);
        let tokens = at.key("tokens");
        problems.unique(
            &tokens,
            "name",
            "tokens",
            self.tokens.iter().map(|token| token.name.as_str()),
        );
        let hashes: Vec<String> =
            self.tokens.iter().map(|token| token.token_sha256.to_ascii_lowercase()).collect();
        problems.unique(&tokens, "token_sha256", "tokens", hashes.iter().map(String::as_str));
        for (index, token) in self.tokens.iter().enumerate() {
            if token.name.is_empty() {
                problems.add(
                    tokens.index(index).key("name"),
                    "the name is empty",
                    "write the holder of the token",
                );
            }
            if token.token_hash().is_none() {
                problems.add(
                    tokens.index(index).key("token_sha256"),
                    "that is not a SHA-256 in hexadecimal",
                    "write the entry that zonefold token prints",
                );
            }
        }
    }
}
