//! Token buckets in integer micro-tokens, refilled when they are looked at.

use std::collections::BTreeMap;

use serde::Serialize;

use super::action::Action;
use super::config::{BucketConfig, LimitsConfig, LimitsProfile, ThrottledCalls};
use crate::core::time::Timestamp;

const MICRO: i64 = 1_000_000;

/// One bucket.
#[derive(Clone, Debug)]
struct Bucket {
    capacity_micro: i64,
    micro_per_sec: i64,
    micro: i64,
    /// The time up to which the refill is counted.
    counted_to: Timestamp,
}

impl Bucket {
    fn full(config: BucketConfig, now: Timestamp) -> Self {
        let capacity_micro = i64::from(config.capacity) * MICRO;
        // The rate was checked to be finite and not negative; the cast saturates.
        let micro_per_sec = (config.per_sec * MICRO as f64).round() as i64;
        Self { capacity_micro, micro_per_sec, micro: capacity_micro, counted_to: now }
    }

    fn refill(&mut self, now: Timestamp) {
        let elapsed_ms = now.since(self.counted_to).0;
        if elapsed_ms == 0 {
            return;
        }
        let gained = i128::from(elapsed_ms) * i128::from(self.micro_per_sec) / 1_000;
        self.micro = i64::try_from(i128::from(self.micro) + gained)
            .unwrap_or(i64::MAX)
            .min(self.capacity_micro);
        self.counted_to = now;
    }

    fn holds(&self, tokens: u64) -> bool {
        i64::try_from(tokens).is_ok_and(|tokens| self.micro >= tokens.saturating_mul(MICRO))
    }

    fn take(&mut self, tokens: u64) {
        self.micro -= i64::try_from(tokens).unwrap_or(0).saturating_mul(MICRO);
    }
}

/// A bucket's level, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BucketLevel {
    /// `requests`, `changes`, or an action's name.
    pub bucket: String,
    /// Whole and broken tokens.
    pub tokens: f64,
    /// How many it holds when it is full.
    pub capacity: f64,
}

/// The buckets of one account.
#[derive(Clone, Debug)]
pub struct Limiter {
    requests: Option<Bucket>,
    changes: Option<Bucket>,
    actions: BTreeMap<Action, Bucket>,
    config: LimitsConfig,
}

impl Limiter {
    /// Full buckets.
    pub fn new(config: &LimitsConfig, now: Timestamp) -> Self {
        let (requests, changes) = match config.profile {
            LimitsProfile::Legacy => (Some(BucketConfig { capacity: 5, per_sec: 5.0 }), None),
            LimitsProfile::Published2026 => (
                Some(BucketConfig { capacity: 50, per_sec: 10.0 }),
                Some(BucketConfig { capacity: 1_500, per_sec: 100.0 }),
            ),
            LimitsProfile::Unlimited => (None, None),
        };
        let full = |bucket: Option<BucketConfig>| bucket.map(|bucket| Bucket::full(bucket, now));
        Self {
            requests: full(config.requests.or(requests)),
            changes: full(config.changes.or(changes)),
            actions: BTreeMap::new(),
            config: config.clone(),
        }
    }

    /// The cost of an UPSERT in the bucket of changes.
    pub fn upsert_cost(&self) -> u64 {
        u64::from(self.config.upsert_cost)
    }

    /// Takes one request of the action and `changes` changes, or answers that a bucket is too empty.
    pub fn take(
        &mut self,
        action: Action,
        changes: u64,
        now: Timestamp,
        throttled: ThrottledCalls,
    ) -> bool {
        if let Some(config) = self.action_bucket(action) {
            self.actions.entry(action).or_insert_with(|| Bucket::full(config, now));
        }
        let mut buckets: Vec<(&mut Bucket, u64)> = Vec::with_capacity(3);
        buckets.extend(self.requests.as_mut().map(|bucket| (bucket, 1)));
        buckets.extend(self.actions.get_mut(&action).map(|bucket| (bucket, 1)));
        buckets.extend(self.changes.as_mut().map(|bucket| (bucket, changes)));
        for (bucket, _) in &mut buckets {
            bucket.refill(now);
        }
        let granted = buckets.iter().all(|(bucket, tokens)| bucket.holds(*tokens));
        for (bucket, tokens) in buckets {
            if granted || (throttled == ThrottledCalls::TakeTokens && bucket.holds(tokens)) {
                bucket.take(tokens);
            }
        }
        granted
    }

    /// The buckets that were used, with what they hold now.
    pub fn levels(&mut self, now: Timestamp) -> Vec<BucketLevel> {
        let fixed = [("requests", self.requests.as_mut()), ("changes", self.changes.as_mut())];
        let fixed =
            fixed.into_iter().filter_map(|(name, bucket)| bucket.map(|bucket| (name, bucket)));
        let actions = self.actions.iter_mut().map(|(action, bucket)| (action.as_str(), bucket));
        let mut levels = Vec::new();
        for (name, bucket) in fixed.chain(actions) {
            bucket.refill(now);
            levels.push(BucketLevel {
                bucket: name.to_owned(),
                tokens: bucket.micro as f64 / MICRO as f64,
                capacity: bucket.capacity_micro as f64 / MICRO as f64,
            });
        }
        levels
    }

    /// The published bucket of an action (developer guide, "Throttling API requests"), unless the configuration has one.
    fn action_bucket(&self, action: Action) -> Option<BucketConfig> {
        if let Some(config) = self.config.per_action.get(action.as_str()) {
            return Some(*config);
        }
        if self.config.profile != LimitsProfile::Published2026 {
            return None;
        }
        Some(match action {
            Action::CreateHostedZone => BucketConfig { capacity: 40, per_sec: 2.0 },
            Action::DeleteHostedZone => BucketConfig { capacity: 40, per_sec: 5.0 },
            _ => BucketConfig { capacity: 50, per_sec: 10.0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_000_000);

    fn after(ms: i64) -> Timestamp {
        Timestamp(START.0 + ms)
    }

    fn list(limiter: &mut Limiter, now: Timestamp) -> bool {
        limiter.take(Action::ListHostedZones, 0, now, ThrottledCalls::TakeNothing)
    }

    #[test]
    fn the_legacy_profile_gives_five_at_once_and_one_each_200_ms() {
        let mut limiter = Limiter::new(&LimitsConfig::of(LimitsProfile::Legacy), START);
        assert_eq!((0..10).filter(|_| list(&mut limiter, START)).count(), 5);
        assert!(!list(&mut limiter, after(199)));
        assert!(list(&mut limiter, after(200)));
        assert!(!list(&mut limiter, after(200)));
        assert_eq!(
            (0..10).filter(|_| list(&mut limiter, after(60_000))).count(),
            5,
            "a bucket holds no more than it can"
        );
    }

    #[test]
    fn a_missing_token_anywhere_takes_nothing_from_the_other_buckets() {
        let mut limiter = Limiter::new(&LimitsConfig::default(), START);
        let take = |limiter: &mut Limiter, changes| {
            limiter.take(
                Action::ChangeResourceRecordSets,
                changes,
                START,
                ThrottledCalls::TakeNothing,
            )
        };
        assert!(take(&mut limiter, 1_500));
        assert!(!take(&mut limiter, 1));
        let requests = &limiter.levels(START)[0];
        assert_eq!((requests.bucket.as_str(), requests.tokens), ("requests", 49.0));
    }

    #[test]
    fn the_switch_lets_throttled_calls_take_what_there_is() {
        let mut limiter = Limiter::new(&LimitsConfig::default(), START);
        for changes in [1_500, 1, 1] {
            limiter.take(
                Action::ChangeResourceRecordSets,
                changes,
                START,
                ThrottledCalls::TakeTokens,
            );
        }
        assert_eq!(limiter.levels(START)[0].tokens, 47.0);
    }

    #[test]
    fn broken_rates_add_up_over_small_steps() {
        let mut config = LimitsConfig::of(LimitsProfile::Unlimited);
        config
            .per_action
            .insert("ListHostedZones".to_owned(), BucketConfig { capacity: 1, per_sec: 0.5 });
        let mut limiter = Limiter::new(&config, START);
        assert!(list(&mut limiter, START));
        for ms in 1..2_000 {
            assert!(!list(&mut limiter, after(ms)), "{ms} ms");
        }
        assert!(list(&mut limiter, after(2_000)));
    }

    #[test]
    fn actions_have_buckets_of_their_own_in_2026() {
        let mut limiter = Limiter::new(&LimitsConfig::default(), START);
        let created = (0..50)
            .filter(|_| {
                limiter.take(Action::CreateHostedZone, 2, START, ThrottledCalls::TakeNothing)
            })
            .count();
        assert_eq!(created, 40);
        assert!(list(&mut limiter, START));
    }
}
