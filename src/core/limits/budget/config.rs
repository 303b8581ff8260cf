//! The buckets of an account, as AWS publishes them, and the share of them that we leave to others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ApiAction;

/// One token bucket as AWS publishes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// The most tokens that it holds.
    pub capacity: f64,
    /// The tokens that flow in each second.
    pub refill_per_second: f64,
}

/// The published buckets of one AWS account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetConfig {
    /// All requests of the account.
    pub requests: BucketConfig,
    /// The requests of one action, in addition to the account's bucket; an action that is not listed has none of its own.
    #[serde(default)]
    pub per_action: BTreeMap<ApiAction, BucketConfig>,
    /// Record changes: CREATE and DELETE cost 1 each; `None` where AWS counts requests only.
    #[serde(default)]
    pub changes: Option<BucketConfig>,
    /// The share of each bucket, 0 up to but not including 1, that is left to people and other tools.
    #[serde(default = "default_reserve_share")]
    pub reserve_share: f64,
}

fn default_reserve_share() -> f64 {
    0.2
}

/// Why a budget is invalid.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BudgetConfigError {
    /// The reserve share is out of range, or leaves nothing.
    #[error("the reserve share is {0}: give a number from 0 up to, but not including, 1")]
    ReserveShare(f64),
    /// A bucket that lets nothing through.
    #[error("the bucket {bucket:?} has {what} {value}: give a number of at least {least}")]
    Bucket {
        /// Which bucket.
        bucket: &'static str,
        /// `capacity` or `refill_per_second`.
        what: &'static str,
        /// The given value.
        value: f64,
        /// The least that works.
        least: f64,
    },
}

impl BudgetConfig {
    /// The limit until 2026-07-30, and in partitions where the newer one is not confirmed: 5 requests a second, all calls
    /// together.
    pub fn legacy() -> Self {
        Self {
            requests: BucketConfig { capacity: 5.0, refill_per_second: 5.0 },
            per_action: BTreeMap::new(),
            changes: None,
            reserve_share: default_reserve_share(),
        }
    }

    /// The limits since 2026-07-30: 50 requests refilled at 10 a second for the account and for each action that we call, and
    /// 1,500 record changes refilled at 100 a second.
    pub fn profile_2026() -> Self {
        let requests = BucketConfig { capacity: 50.0, refill_per_second: 10.0 };
        Self {
            requests,
            per_action: ApiAction::ALL.into_iter().map(|action| (action, requests)).collect(),
            changes: Some(BucketConfig { capacity: 1_500.0, refill_per_second: 100.0 }),
            reserve_share: default_reserve_share(),
        }
    }

    /// Checks that every bucket lets something through.
    ///
    /// # Errors
    /// The first number that cannot work.
    pub fn validate(&self) -> Result<(), BudgetConfigError> {
        if !(0.0..1.0).contains(&self.reserve_share) {
            return Err(BudgetConfigError::ReserveShare(self.reserve_share));
        }
        let actions = self.per_action.iter().map(|(action, bucket)| (action.as_str(), bucket));
        let changes = self.changes.iter().map(|bucket| ("changes", bucket));
        for (name, bucket) in
            std::iter::once(("requests", &self.requests)).chain(actions).chain(changes)
        {
            // An infinite bucket is no bucket; where AWS has none, it is left out.
            let numbers = [
                ("capacity", bucket.capacity, 1.0),
                ("refill_per_second", bucket.refill_per_second, 0.01),
            ];
            for (what, value, least) in numbers {
                if !value.is_finite() || value < least {
                    return Err(BudgetConfigError::Bucket { bucket: name, what, value, least });
                }
            }
        }
        Ok(())
    }
}
