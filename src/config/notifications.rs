//! Notifications: the secrets of their sinks, and where these may be; and how long the audit is kept.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{KeyPath, Problems};
use super::secret::Secret;
use crate::core::ids::RuleName;

/// A secret that subscriptions name: the key of a webhook, or the address of a chat's webhook. It stands in a file or in a variable of
/// the broker's environment, never in a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkSecret {
    /// As subscriptions name it.
    pub name: RuleName,
    /// A file that holds it; read for each delivery. White space around it does not count.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// A variable of the environment that holds it.
    #[serde(default)]
    pub env: Option<String>,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// In a file.
    File(PathBuf),
    /// Here: it was read from the environment.
    Here(Secret),
}

impl SinkSecret {
    /// Where the secret is; `None` if its variable is not set.
    pub fn place(&self) -> Option<SecretPlace> {
        match (&self.file, &self.env) {
            (Some(file), _) => Some(SecretPlace::File(file.clone())),
            (None, Some(variable)) => read_variable(variable).map(SecretPlace::Here),
            (None, None) => None,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the configuration names the variable, so an option of the command line cannot"
)]
fn read_variable(variable: &str) -> Option<Secret> {
    std::env::var(variable).ok().filter(|text| !text.trim().is_empty()).map(Secret::new)
}

/// Whether sinks may have addresses that are not for everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrivateAddresses {
    /// They may not: who may write a subscription cannot have the broker call what only the broker reaches.
    #[default]
    Refuse,
    /// They may be of a private network, or of this machine.
    Allow,
}

/// What notifications need besides the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notifications {
    pub secrets: Vec<SinkSecret>,
    pub private_addresses: PrivateAddresses,
    /// The CAs for the certificates of sinks; without it those that the system trusts.
    pub ca_file: Option<PathBuf>,
}

impl Notifications {
    pub(super) fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        let secrets = at.key("secrets");
        problems.unique(
            &secrets,
            "name",
            "secrets",
            self.secrets.iter().map(|secret| secret.name.as_str()),
        );
        for (index, secret) in self.secrets.iter().enumerate() {
            let at = secrets.index(index);
            match (&secret.file, &secret.env) {
                (Some(_), Some(_)) => {
                    problems.add(at, "both file and env are given", "keep one of them");
                }
                (None, None) => {
                    problems.add(at, "where the secret is is not said", "give file or env");
                }
                (None, Some(variable)) if secret.place().is_none() => problems.add(
                    at.key("env"),
                    format!("the variable {variable} is not set, or empty"),
                    "set it in the environment of the broker, or use file",
                ),
                _ => {}
            }
        }
    }
}

/// How long the audit is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Days after which an entry is cut off; 0, the default, keeps everything.
    pub retention_days: u32,
}

/// A hundred years: more is meant to be 0.
const MOST_RETENTION_DAYS: u32 = 36_500;

impl Audit {
    /// How long an entry is kept; `None` means for ever.
    pub fn retention(&self) -> Option<Duration> {
        (self.retention_days > 0)
            .then(|| Duration::from_secs(u64::from(self.retention_days) * 24 * 60 * 60))
    }

    pub(super) fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        if self.retention_days > MOST_RETENTION_DAYS {
            problems.add(
                at.key("retention_days"),
                format!("{} days are more than a hundred years", self.retention_days),
                "give the days to keep the audit for, or 0 to keep all of it",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn refused(more: &str) -> String {
        let text = format!("agents: {{ token: a-token-of-many-characters }}\n{more}");
        Config::parse(&text, "broker.yaml").map(drop).unwrap_err().to_string()
    }

    #[test]
    fn a_secret_has_one_place() {
        for (secrets, part) in [
            ("[{ name: a }]", "where the secret is"),
            ("[{ name: a, file: /x, env: HOME }]", "both file and env"),
            ("[{ name: a, env: ZONEFOLD_NO_SUCH_VARIABLE }]", "is not set, or empty"),
            ("[{ name: a, file: /x }, { name: a, file: /y }]", "name"),
            ("[{ name: a, value: secret }]", "value"),
        ] {
            let text = refused(&format!("notifications: {{ secrets: {secrets} }}"));
            assert!(text.contains(part), "{secrets}: {text}");
        }
        assert!(refused("audit: { retention_days: 99999 }").contains("a hundred years"));
        assert!(refused("public_url: https://zonefold.example.com/app").contains("without a path"));
    }
}
