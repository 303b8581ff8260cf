//! Who is notified of what.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::scope::RuleScope;
use crate::core::governance::problem::{RulePath, RuleProblems};
use crate::core::ids::RuleName;

/// What there is to be notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Something is held.
    Holds,
    /// Somebody asks for something.
    Requests,
    /// A request was decided.
    Decisions,
    /// A cluster wants a name that another one has.
    Conflicts,
    /// Somebody else changed a record set of ours.
    Drift,
    /// An account cannot be worked.
    AccountParked,
    /// A cluster is silent.
    ClusterAway,
    /// A freeze begins or ends.
    Freezes,
}

/// Where notifications go. Secrets stand in files of the broker's machine, never in a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum NoticeSink {
    /// JSON by POST, signed with HMAC-SHA-256.
    Webhook {
        /// Where to.
        url: String,
        /// The file with the key.
        #[serde(rename = "secretFile")]
        secret_file: PathBuf,
    },
    /// A Slack-compatible incoming webhook.
    Slack {
        /// The file with the URL, which is a secret itself.
        #[serde(rename = "urlFile")]
        url_file: PathBuf,
    },
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subscription {
    /// Where to.
    pub sink: NoticeSink,
    /// Of what; of everything if empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub topics: BTreeSet<Topic>,
    /// Where it has to happen.
    #[serde(default, skip_serializing_if = "RuleScope::is_everywhere")]
    pub scope: RuleScope,
    /// Of names of these teams; of all if empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub teams: BTreeSet<RuleName>,
}

impl Subscription {
    /// Whether it is for the topic.
    pub fn wants(&self, topic: Topic) -> bool {
        self.topics.is_empty() || self.topics.contains(&topic)
    }

    pub(super) fn validate(&self, at: &RulePath, problems: &mut RuleProblems) {
        if let NoticeSink::Webhook { url, .. } = &self.sink {
            let is_local =
                url.starts_with("http://localhost") || url.starts_with("http://127.0.0.1");
            problems.require(
                url.starts_with("https://") || is_local,
                at.key("sink").key("webhook").key("url"),
                "the address is not https",
                "give https://…; plain http is for this machine only",
            );
        }
    }
}
