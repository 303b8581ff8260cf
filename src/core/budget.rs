//! Token buckets of an account.

use serde::{Deserialize, Serialize};

/// The Route 53 actions that Zonefold calls; each has a bucket of its own beside the account's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the Route 53 API")]
pub enum ApiAction {
    ChangeResourceRecordSets,
    GetChange,
    ListHostedZones,
    ListResourceRecordSets,
    ListTagsForResources,
}

/// Proof that one call was paid for. It cannot be copied, so an attempt that is repeated has to be paid again.
#[derive(Debug)]
pub struct Permit {
    action: ApiAction,
    changes: u32,
}

impl Permit {
    /// The action that was paid for.
    pub fn action(&self) -> ApiAction {
        self.action
    }

    /// The record changes that were paid for.
    pub fn changes(&self) -> u32 {
        self.changes
    }
}
