//! Who is notified of what.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::scope::RuleScope;
use crate::core::governance::problem::{RulePath, RuleProblems};
use crate::core::ids::RuleName;
use crate::core::transport::is_loopback_host;

/// The longest address of a sink, in octets.
const MAX_URL: usize = 2_000;

/// What there is to be notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// A guard holds something, or lets it go.
    Holds,
    /// Somebody asks for something.
    Requests,
    /// A request was decided, or was not in its time.
    Decisions,
    /// A cluster wants names that another one has.
    Conflicts,
    /// Another writer changed record sets of ours.
    Drift,
    /// The broker writes nothing in an account.
    AccountParked,
    /// A cluster is silent.
    ClusterAway,
    /// A freeze begins or ends.
    Freezes,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Holds,
        Self::Requests,
        Self::Decisions,
        Self::Conflicts,
        Self::Drift,
        Self::AccountParked,
        Self::ClusterAway,
        Self::Freezes,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Requests => "requests",
            Self::Decisions => "decisions",
            Self::Conflicts => "conflicts",
            Self::Drift => "drift",
            Self::AccountParked => "account-parked",
            Self::ClusterAway => "cluster-away",
            Self::Freezes => "freezes",
        }
    }

    /// Reads the word of a topic.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == text)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where notifications go. Keys and addresses that are secrets stand in the broker's configuration, under a name; a rule has the name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum NoticeSink {
    /// JSON by POST, signed with HMAC-SHA-256 as Standard Webhooks has it.
    Webhook {
        /// Where to.
        url: String,
        /// The name of the key in the configuration.
        secret: String,
    },
    /// A Slack-compatible incoming webhook, whose address is the secret.
    Slack {
        /// The name of the address in the configuration.
        secret: String,
    },
}

impl NoticeSink {
    /// The name of its secret.
    pub fn secret(&self) -> &str {
        match self {
            Self::Webhook { secret, .. } | Self::Slack { secret } => secret,
        }
    }
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subscription {
    /// Where to.
    pub sink: NoticeSink,
    /// Of what; of everything if empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub what: BTreeSet<Topic>,
    /// Where it has to happen.
    #[serde(default, skip_serializing_if = "RuleScope::is_everywhere")]
    pub scope: RuleScope,
    /// Of names of these teams; of all if empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub teams: BTreeSet<RuleName>,
}

/// Why a text is no address of a sink.
fn url_problem(url: &str) -> Option<&'static str> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => host,
        _ => authority,
    };
    if authority.contains('@') {
        return Some("it holds a user or a password");
    }
    if url.len() > MAX_URL || !url.bytes().all(|octet| octet.is_ascii_graphic()) || host.is_empty()
    {
        return Some("it is no address");
    }
    match scheme {
        "https" => None,
        "http" if is_loopback_host(host) => None,
        "http" => Some("it is plain text over a network"),
        _ => Some("it is neither https nor http"),
    }
}

/// Whether a text is an address to which notifications may be sent.
///
/// # Errors
/// Why not.
pub fn check_sink_url(url: &str) -> Result<(), &'static str> {
    match url.contains("://") {
        false => Err("it is no address"),
        true => url_problem(url).map_or(Ok(()), Err),
    }
}

impl Subscription {
    /// Whether it is for the topic.
    pub fn wants(&self, topic: Topic) -> bool {
        self.what.is_empty() || self.what.contains(&topic)
    }

    pub(super) fn validate(&self, at: &RulePath, problems: &mut RuleProblems) {
        let sink = at.key("sink");
        if let NoticeSink::Webhook { url, .. } = &self.sink
            && let Err(problem) = check_sink_url(url)
        {
            problems.add(
                sink.key("webhook").key("url"),
                format!("the address cannot be used: {problem}"),
                "give https://HOST/PATH without a user; plain http is for this machine only",
            );
        }
        let kind = match self.sink {
            NoticeSink::Webhook { .. } => "webhook",
            NoticeSink::Slack { .. } => "slack",
        };
        problems.require(
            RuleName::parse(self.sink.secret()).is_ok(),
            sink.key(kind).key("secret"),
            "that is no name of a secret",
            "name an entry of notifications.secrets of the broker's configuration; the secret itself stands in no rule",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_or_of_this_machine_and_holds_no_password() {
        for url in [
            "https://hooks.example.com/a?b=c",
            "https://10.0.0.5:8443/x",
            "http://localhost:8080/x",
            "http://127.0.0.1/x",
            "http://[::1]:80/x",
        ] {
            assert_eq!(check_sink_url(url), Ok(()), "{url}");
        }
        for url in [
            "",
            "hooks.example.com",
            "http://hooks.example.com/x",
            "http://localhost.evil.test/x",
            "http://127.0.0.1.evil.test/x",
            "https://user:word@hooks.example.com/x",
            "https:///x",
            "https://hooks.example.com/a b",
            "file:///etc/passwd",
            "gopher://hooks.example.com",
        ] {
            assert!(check_sink_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn every_topic_is_read_as_it_is_written() {
        for topic in Topic::ALL {
            assert_eq!(serde_json::to_value(topic).unwrap(), topic.as_str());
            assert_eq!(Topic::parse(topic.as_str()), Some(topic));
        }
    }
}
