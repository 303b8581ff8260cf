//! The section about the tokens that the broker may spend in an account.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::{KeyPath, Problems};
use crate::core::aws::access::Partition;
use crate::core::limits::budget::{ApiAction, BucketConfig, BudgetConfig};

/// The highest share of an account's tokens that can be left to others.
const MAX_RESERVE_PERCENT: f64 = 90.0;
/// One token in a hundred seconds.
const MIN_REFILL_PER_SECOND: f64 = 0.01;

/// A set of limits that AWS publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BudgetProfile {
    /// Five requests a second; what holds outside the commercial regions until AWS says otherwise.
    #[serde(rename = "legacy")]
    Legacy,
    /// Since 2026-07-30: 50 requests and ten a second more, 1,500 record changes and 100 a second more.
    #[serde(rename = "2026")]
    Since2026,
}

/// The budget of an account: a profile, and the differences from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetEntry {
    /// `2026` or `legacy`; by default what AWS grants in the account's partition.
    pub profile: Option<BudgetProfile>,
    /// The share that is left to people and other tools, 0 to 90 percent; by default the profile's.
    pub reserve_percent: Option<f64>,
    /// All requests.
    pub requests: Option<BucketEntry>,
    /// Record changes.
    pub changes: Option<BucketEntry>,
    /// The requests of single actions.
    pub actions: BTreeMap<ApiAction, BucketEntry>,
}

/// One token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketEntry {
    /// The tokens that it holds when full; at least one.
    pub capacity: f64,
    /// The tokens that flow in each second; at least 0.01.
    pub refill_per_second: f64,
}

impl BucketEntry {
    fn to_core(self) -> BucketConfig {
        BucketConfig { capacity: self.capacity, refill_per_second: self.refill_per_second }
    }

    fn validate(self, at: &KeyPath, problems: &mut Problems) {
        if !(self.capacity.is_finite() && self.capacity >= 1.0) {
            problems.add(
                at.key("capacity"),
                format!("a bucket of {} tokens never holds enough for one call", self.capacity),
                "give at least 1",
            );
        }
        if !(self.refill_per_second.is_finite() && self.refill_per_second >= MIN_REFILL_PER_SECOND)
        {
            problems.add(
                at.key("refill_per_second"),
                format!(
                    "with {} tokens a second the bucket never fills again",
                    self.refill_per_second
                ),
                format!("give at least {MIN_REFILL_PER_SECOND}"),
            );
        }
    }
}

impl BudgetEntry {
    /// The buckets as the core sees them.
    pub fn to_core(&self, partition: Partition) -> BudgetConfig {
        let mut config = match self.profile.unwrap_or_else(|| default_profile(partition)) {
            BudgetProfile::Legacy => BudgetConfig::legacy(),
            BudgetProfile::Since2026 => BudgetConfig::profile_2026(),
        };
        if let Some(percent) = self.reserve_percent {
            config.reserve_share = percent / 100.0;
        }
        if let Some(requests) = self.requests {
            config.requests = requests.to_core();
        }
        if let Some(changes) = self.changes {
            config.changes = Some(changes.to_core());
        }
        config
            .per_action
            .extend(self.actions.iter().map(|(action, bucket)| (*action, bucket.to_core())));
        config
    }

    pub(super) fn validate(&self, partition: Partition, at: &KeyPath, problems: &mut Problems) {
        if let Some(percent) = self.reserve_percent
            && !(0.0..=MAX_RESERVE_PERCENT).contains(&percent)
        {
            problems.add(
                at.key("reserve_percent"),
                format!("{percent} percent cannot be left to others"),
                "give 0 to 90",
            );
            return;
        }
        let found_before = problems.len();
        for (key, bucket) in [("requests", self.requests), ("changes", self.changes)] {
            if let Some(bucket) = bucket {
                bucket.validate(&at.key(key), problems);
            }
        }
        for (action, bucket) in &self.actions {
            bucket.validate(&at.key("actions").key(&format!("{action:?}")), problems);
        }
        if problems.len() == found_before {
            self.validate_what_is_left(partition, at, problems);
        }
    }

    /// A reserve that leaves less than one request of a bucket would stop the account, or an action, for ever.
    fn validate_what_is_left(&self, partition: Partition, at: &KeyPath, problems: &mut Problems) {
        let config = self.to_core(partition);
        let per_action =
            config.per_action.iter().map(|(action, bucket)| (format!("{action:?}"), bucket));
        for (bucket_name, bucket) in
            std::iter::once(("all".to_owned(), &config.requests)).chain(per_action)
        {
            let ours = bucket.capacity * (1.0 - config.reserve_share);
            if ours < 1.0 {
                problems.add(
                    at.key("reserve_percent"),
                    format!("of {} requests ({bucket_name}) the reserve leaves {ours:.2}, less than one call", bucket.capacity),
                    "lower reserve_percent, or raise the bucket's capacity",
                );
            }
        }
    }
}

fn default_profile(partition: Partition) -> BudgetProfile {
    match partition {
        Partition::Aws => BudgetProfile::Since2026,
        Partition::AwsCn | Partition::AwsUsGov => BudgetProfile::Legacy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_wins_over_the_profile_and_the_rest_stays() {
        let entry = BudgetEntry {
            profile: Some(BudgetProfile::Since2026),
            reserve_percent: Some(50.0),
            requests: Some(BucketEntry { capacity: 20.0, refill_per_second: 4.0 }),
            changes: None,
            actions: BTreeMap::from([(
                ApiAction::ListHostedZones,
                BucketEntry { capacity: 2.0, refill_per_second: 1.0 },
            )]),
        };
        let config = entry.to_core(Partition::Aws);
        assert_eq!(config.requests, BucketConfig { capacity: 20.0, refill_per_second: 4.0 });
        assert_eq!(config.changes, BudgetConfig::profile_2026().changes);
        assert_eq!(config.reserve_share, 0.5);
        assert_eq!(
            config.per_action[&ApiAction::ListHostedZones],
            BucketConfig { capacity: 2.0, refill_per_second: 1.0 }
        );
    }

    #[test]
    fn outside_the_commercial_regions_the_legacy_profile_is_the_default() {
        let entry = BudgetEntry::default();
        assert_eq!(entry.to_core(Partition::AwsCn), BudgetConfig::legacy());
        assert_eq!(entry.to_core(Partition::AwsUsGov), BudgetConfig::legacy());
        assert_eq!(entry.to_core(Partition::Aws), BudgetConfig::profile_2026());
    }
}
