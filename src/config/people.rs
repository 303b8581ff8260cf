//! People: how they sign in, and which of them may do what.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::{ConfigError, KeyPath, Problem, Problems, SourceLocation};
use super::secret::Secret;
use crate::core::ids::EnvironmentId;

/// People by the names under which they sign in, and by the groups that the identity provider says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamedPeople {
    pub users: Vec<String>,
    pub groups: Vec<String>,
}

/// People who read what belongs to some environments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ViewerEntry {
    pub users: Vec<String>,
    pub groups: Vec<String>,
    /// What belongs to these is seen; everything if empty.
    pub environments: Vec<EnvironmentId>,
}

/// What whoever signs in and is named nowhere may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtherPeople {
    /// Read everything.
    #[default]
    Viewer,
    /// Nothing.
    Nothing,
}

/// Who has which role for the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeopleRoles {
    pub admins: NamedPeople,
    pub operators: NamedPeople,
    pub viewers: Vec<ViewerEntry>,
    /// What the rest of those who sign in may do.
    pub others: OtherPeople,
}

fn named(at: &KeyPath, users: &[String], groups: &[String], problems: &mut Problems) {
    for (key, names) in [("users", users), ("groups", groups)] {
        for (index, name) in names.iter().enumerate() {
            if name.trim().is_empty() {
                problems.add(at.key(key).index(index), "the name is empty", "remove it");
            }
        }
    }
}

impl PeopleRoles {
    pub(super) fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        for (key, people) in [("admins", &self.admins), ("operators", &self.operators)] {
            named(&at.key(key), &people.users, &people.groups, problems);
        }
        for (index, entry) in self.viewers.iter().enumerate() {
            let at = at.key("viewers").index(index);
            named(&at, &entry.users, &entry.groups, problems);
            if entry.users.is_empty() && entry.groups.is_empty() {
                problems.add(at, "the entry names nobody", "add users or groups, or remove it");
            }
        }
    }
}

/// How a client shows its secret (OpenID Connect Core 1.0 §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// In a header.
    ClientSecretBasic,
    /// In the body.
    ClientSecretPost,
}

/// How people sign in: OpenID Connect, by the authorization code flow with PKCE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// The provider's issuer, exactly as its discovery document has it.
    pub issuer: String,
    /// The client's id there.
    pub client_id: String,
    /// A file that holds the client's secret; without one the client is a public one.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// How the client shows its secret; without it as the provider says.
    #[serde(default)]
    pub client_authentication: Option<ClientAuthentication>,
    /// The secret from the environment.
    #[serde(skip)]
    pub client_secret: Option<Secret>,
    /// What is asked for besides `openid`.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// The claim by which rules know people.
    #[serde(default = "default_user_claim")]
    pub user_claim: String,
    /// The claim with their groups: a name, or a path with dots into it.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// Hosts (`HOST` or `HOST:PORT`) to which the discovery document may send the broker, besides the issuer's own.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The CAs for the provider's certificate; without it those that the system trusts.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long a session lasts.
    #[serde(default = "default_session_hours")]
    pub session_hours: u32,
}

fn default_scopes() -> Vec<String> {
    ["profile", "email"].map(str::to_owned).into()
}

fn default_user_claim() -> String {
    "email".to_owned()
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}

/// The shortest session: a long day at work is not interrupted.
const LEAST_SESSION_HOURS: u32 = 20;
/// The longest: who is gone from the provider has a session until its end.
const MOST_SESSION_HOURS: u32 = 7 * 24;

fn default_session_hours() -> u32 {
    LEAST_SESSION_HOURS
}

impl Oidc {
    pub(super) fn validate(&self, at: &KeyPath, has_public_url: bool, problems: &mut Problems) {
        if !has_public_url {
            problems.add(
                at.clone(),
                "people sign in by their browsers, and where these reach the broker is not said",
                "set public_url, such as https://zonefold.example.com",
            );
        }
        for (key, value) in [
            ("issuer", &self.issuer),
            ("client_id", &self.client_id),
            ("user_claim", &self.user_claim),
            ("groups_claim", &self.groups_claim),
        ] {
            if value.trim().is_empty() {
                problems.add(at.key(key), "the text is empty", "write it, or remove the key");
            }
        }
        if !(self.issuer.starts_with("https://") || is_loopback(&self.issuer)) {
            problems.add(
                at.key("issuer"),
                format!("{:?} is no address with https", self.issuer),
                "write the issuer as its discovery document has it; plain http is for this machine alone",
            );
        }
        for (index, scope) in self.scopes.iter().enumerate() {
            // RFC 6749 §3.3.
            let is_token = |octet: u8| octet.is_ascii_graphic() && !b"\"\\".contains(&octet);
            if scope.is_empty() || !scope.bytes().all(is_token) {
                problems.add(
                    at.key("scopes").index(index),
                    format!("{scope:?} is no scope"),
                    "write one word, such as groups",
                );
            }
        }
        if !(LEAST_SESSION_HOURS..=MOST_SESSION_HOURS).contains(&self.session_hours) {
            problems.add(
                at.key("session_hours"),
                format!("{} hours are no length for a session", self.session_hours),
                format!("give {LEAST_SESSION_HOURS} to {MOST_SESSION_HOURS} hours"),
            );
        }
    }

    /// The client's secret, read from its file when it stands in one; `None` for a public client.
    ///
    /// # Errors
    /// The file cannot be read, or is empty.
    pub fn read_client_secret(&self) -> Result<Option<Secret>, ConfigError> {
        if let Some(secret) = &self.client_secret {
            return Ok(Some(secret.clone()));
        }
        let Some(path) = &self.client_secret_file else { return Ok(None) };
        let text = std::fs::read_to_string(path)
            .map_err(|reason| ConfigError::Unreadable { path: path.clone(), reason })?;
        if text.trim().is_empty() {
            return Err(ConfigError::refused(
                &path.display().to_string(),
                vec![Problem {
                    place: SourceLocation::Text { line: 1, column: 1 },
                    path: String::new(),
                    reason: "the file is empty".to_owned(),
                    remedy: "write the client's secret into it, as the provider shows it"
                        .to_owned(),
                }],
            ));
        }
        Ok(Some(Secret::new(text.trim())))
    }
}

fn is_loopback(url: &str) -> bool {
    let authority = url.strip_prefix("http://").and_then(|rest| rest.split('/').next());
    let host = authority.map(|authority| match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    });
    host.is_some_and(crate::core::transport::is_loopback_host)
}
