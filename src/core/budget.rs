//! Token buckets of an account.

use std::collections::BTreeMap;

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
    /// A permit that nobody paid for.
    #[cfg(test)]
    pub(crate) fn for_test(action: ApiAction, changes: u32) -> Self {
        Self { action, changes }
    }

    /// The action that was paid for.
    pub fn action(&self) -> ApiAction {
        self.action
    }

    /// The record changes that were paid for.
    pub fn changes(&self) -> u32 {
        self.changes
    }
}

/// One token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BucketConfig {
    /// The tokens that it holds when full.
    pub capacity: f64,
    /// The tokens that flow in each second.
    pub refill_per_second: f64,
}

/// The buckets of an account and the share of them that is left to others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetConfig {
    /// All requests.
    pub requests: BucketConfig,
    /// The requests of one action, beside the account's.
    pub per_action: BTreeMap<ApiAction, BucketConfig>,
    /// Record changes; none when AWS does not count them.
    pub changes: Option<BucketConfig>,
    /// 0 to 0.9.
    pub reserve_share: f64,
}

impl BudgetConfig {
    /// Five requests a second.
    pub fn legacy() -> Self {
        Self {
            requests: BucketConfig { capacity: 5.0, refill_per_second: 5.0 },
            per_action: BTreeMap::new(),
            changes: None,
            reserve_share: 0.2,
        }
    }

    /// The limits since 2026-07-30.
    pub fn profile_2026() -> Self {
        Self {
            requests: BucketConfig { capacity: 50.0, refill_per_second: 10.0 },
            per_action: BTreeMap::new(),
            changes: Some(BucketConfig { capacity: 1_500.0, refill_per_second: 100.0 }),
            reserve_share: 0.2,
        }
    }
}
