//! The token buckets of one AWS account: which calls may go out, and when.
//!
//! AWS publishes buckets for an account: all requests, the requests of each action and, since 2026, record changes. A
//! [`Budget`] mirrors the part of them that is ours. A call takes from every bucket that it touches or from none, and gets a
//! [`Permit`] for it; without one the Route 53 adapter sends nothing.
//!
//! * **Never overdrawn.** Of each published bucket we use the share that is not reserved, in capacity and in refill. If only
//!   we spend, the published bucket never falls below its reserve, whatever we send and however often the broker restarts.
//! * **Exact.** Levels are whole micro-tokens, refill is computed on demand, and time that runs backwards adds
//!   nothing: the latest time ever seen stands until it is passed.
//! * **Learning.** `Throttling` means that others spend too, or that the limit is lower than configured: all levels fall to
//!   zero and the refill is halved. It comes back in a straight line while calls succeed.

mod bucket;
mod config;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::core::time::{Millis, Timestamp};
use bucket::{Bucket, FULL_CEILING, Kind, TOKEN};
pub use config::{BucketConfig, BudgetConfig, BudgetConfigError};

/// The lowest that throttling can bring the refill: a sixteenth, so that a wrong guess is left within a minute.
const LOWEST_CEILING: i64 = FULL_CEILING / 16;
/// The time in which the refill comes back from the lowest ceiling.
const RECOVERY_MS: i64 = 60_000;
/// Refusals within this time are answers to one and the same overdraft.
const ONE_OVERDRAFT_MS: i64 = 1_000;
/// Longer series are predicted from the pace of their beginning.
const PREDICTED_CALL_BY_CALL: u32 = 10_000;

/// The Route 53 actions that Zonefold calls; each has a bucket of its own in addition to the account's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ApiAction {
    ChangeResourceRecordSets,
    GetChange,
    ListHostedZones,
    ListResourceRecordSets,
    ListTagsForResources,
}

impl ApiAction {
    /// All of them.
    pub const ALL: [ApiAction; 5] = [
        Self::ChangeResourceRecordSets,
        Self::GetChange,
        Self::ListHostedZones,
        Self::ListResourceRecordSets,
        Self::ListTagsForResources,
    ];

    /// The name in the Route 53 API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChangeResourceRecordSets => "ChangeResourceRecordSets",
            Self::GetChange => "GetChange",
            Self::ListHostedZones => "ListHostedZones",
            Self::ListResourceRecordSets => "ListResourceRecordSets",
            Self::ListTagsForResources => "ListTagsForResources",
        }
    }
}

/// Proof that one call was paid for. It cannot be copied, so an attempt that is repeated has to be paid again.
#[derive(Debug)]
pub struct Permit {
    action: ApiAction,
    changes: u32,
}

/// The action and the changes that a permit paid for, to settle them when the call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paid {
    action: ApiAction,
    changes: u32,
}

impl Permit {
    /// The action and the changes that it paid for.
    pub fn paid(&self) -> Paid {
        Paid { action: self.action, changes: self.changes }
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

/// The priority of a call when tokens are short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Fail-over and the removal of dead targets: may spend everything.
    Urgent,
    /// All other changes: leave a little for urgent ones.
    Changes,
    /// Drift reads and questions after changes: leave half of our requests for changes.
    Reads,
}

/// How full our part of the buckets is when a budget starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLevel {
    /// None of our replicas spent anything lately.
    Full,
    /// Nothing is known.
    Empty,
    /// None of our replicas spent anything after this time, and until then a budget of the same configuration was kept: its levels
    /// were at least zero.
    Since(Timestamp),
}

/// Why a call has to wait.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bucket {bucket:?} has too few tokens{}", until(.ready_at))]
pub struct Shortage {
    /// The bucket that is ready last.
    pub bucket: &'static str,
    /// When the call can be paid for, if nothing else is; `None` if the call is larger than the bucket.
    pub ready_at: Option<Timestamp>,
}

fn until(ready_at: &Option<Timestamp>) -> String {
    match ready_at {
        Some(time) => format!(" until {time}"),
        None => " even when it is full: make the call smaller or the bucket larger".to_owned(),
    }
}

/// One bucket for people to see; our part of it, in tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BucketSnapshot {
    /// `requests`, `changes` or the name of an action.
    pub bucket: &'static str,
    /// The tokens in it.
    pub tokens: f64,
    /// The most that it holds.
    pub capacity: f64,
    /// The tokens that flow in each second, as lowered by throttling.
    pub refill_per_second: f64,
}

/// A budget for people to see.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BudgetSnapshot {
    /// All buckets.
    pub buckets: Vec<BucketSnapshot>,
    /// The part of the refill that throttling has left, above 0 and up to 1.
    pub ceiling: f64,
    /// How often AWS throttled since the budget began.
    pub throttles: u64,
}

/// The token buckets of one account; see the module's page. It is neither shared nor copied: one writer spends from it.
#[derive(Debug)]
pub struct Budget {
    buckets: Vec<Bucket>,
    /// The latest time seen: the levels are those of this time.
    filled_at: Timestamp,
    /// Parts of [`FULL_CEILING`].
    ceiling: i64,
    ceiling_changed_at: Timestamp,
    lowered_at: Option<Timestamp>,
    throttles: u64,
    /// Calls whose answer was lost, and until when they may still arrive; the earliest first.
    lost: VecDeque<(Timestamp, Paid)>,
}

/// How long after its answer was given up a call may still reach AWS, with what was on the network and in queues.
const ARRIVES_WITHIN: Millis = Millis::from_secs(10);

impl Budget {
    /// A budget that starts as full as is safe.
    pub fn new(config: &BudgetConfig, start: StartLevel, now: Timestamp) -> Self {
        let mut buckets = usable_buckets(config);
        for bucket in &mut buckets {
            match start {
                StartLevel::Full => bucket.level = bucket.capacity,
                StartLevel::Empty => {}
                StartLevel::Since(spent_until) => bucket.fill((now - spent_until).0, FULL_CEILING),
            }
        }
        Self {
            buckets,
            filled_at: now,
            ceiling: FULL_CEILING,
            ceiling_changed_at: now,
            lowered_at: None,
            throttles: 0,
            lost: VecDeque::new(),
        }
    }

    /// Takes another configuration. No level rises by it, and a bucket that was not there starts empty.
    pub fn reconfigure(&mut self, config: &BudgetConfig, now: Timestamp) {
        self.fill(now);
        let old = std::mem::replace(&mut self.buckets, usable_buckets(config));
        for bucket in &mut self.buckets {
            if let Some(old) = old.iter().find(|old| old.kind == bucket.kind) {
                bucket.level = old.level.min(bucket.capacity);
                bucket.in_flight = old.in_flight;
            }
        }
    }

    /// Pays for one call from all of its buckets, or from none.
    ///
    /// # Errors
    /// Which bucket is short, and when the call can be paid for.
    pub fn try_take(
        &mut self,
        now: Timestamp,
        lane: Lane,
        action: ApiAction,
        changes: u32,
    ) -> Result<Permit, Shortage> {
        self.fill(now);
        match longest_wait(&self.buckets, self.ceiling, lane, action, 1, changes) {
            Wait::None => {
                take(&mut self.buckets, action, changes);
                put_in_flight(&mut self.buckets, action, changes);
                Ok(Permit { action, changes })
            }
            Wait::Millis(bucket, wait_ms) => {
                Err(Shortage { bucket, ready_at: Some(self.filled_at + Millis(wait_ms)) })
            }
            Wait::Forever(bucket) => Err(Shortage { bucket, ready_at: None }),
        }
    }

    /// A call that was paid for has been answered, or will not be. When AWS took its tokens is not known, only that it was
    /// between the taking here and now: until this is called they count as not yet taken there, so that calls that were held
    /// up on their way and arrive with later ones overdraw nothing.
    pub fn settle(&mut self, now: Timestamp, paid: Paid) {
        self.fill(now);
        self.settle_filled(paid);
    }

    /// The answer to a call that was paid for was lost or is no longer waited for. AWS may take its tokens a little later yet, so
    /// they count as not yet taken there for ten seconds more.
    pub fn give_up(&mut self, now: Timestamp, paid: Paid) {
        self.fill(now);
        self.lost.push_back((now + ARRIVES_WITHIN, paid));
    }

    /// The spender before may have sent a call that has not reached AWS yet: as [`give_up`](Self::give_up), for a call that
    /// was not paid for here.
    pub fn expect_late(&mut self, now: Timestamp, action: ApiAction, changes: u32) {
        put_in_flight(&mut self.buckets, action, changes);
        self.give_up(now, Paid { action, changes });
    }

    fn settle_filled(&mut self, paid: Paid) {
        for bucket in &mut self.buckets {
            let need = bucket.need(paid.action, 1, paid.changes);
            bucket.in_flight = (bucket.in_flight - need).max(0);
        }
    }

    /// When [`try_take`](Self::try_take) would succeed if nothing else is taken before: `now` if at once, `None` if the call is
    /// larger than a bucket.
    pub fn ready_at(
        &mut self,
        now: Timestamp,
        lane: Lane,
        action: ApiAction,
        changes: u32,
    ) -> Option<Timestamp> {
        self.all_ready_at(now, lane, action, 1, changes)
    }

    /// When `calls` calls, which carry `changes` changes together, could all be paid for at once; otherwise as
    /// [`ready_at`](Self::ready_at).
    pub fn all_ready_at(
        &mut self,
        now: Timestamp,
        lane: Lane,
        action: ApiAction,
        calls: u32,
        changes: u32,
    ) -> Option<Timestamp> {
        self.fill(now);
        match longest_wait(&self.buckets, self.ceiling, lane, action, calls, changes) {
            Wait::None => Some(now),
            Wait::Millis(_, wait_ms) => Some(self.filled_at + Millis(wait_ms)),
            Wait::Forever(_) => None,
        }
    }

    /// The record changes that one call of the lane could carry now; `u32::MAX` where changes are not counted.
    pub fn changes_available(&mut self, now: Timestamp, lane: Lane) -> u32 {
        self.fill(now);
        match self.buckets.iter().find(|bucket| bucket.kind == Kind::Changes) {
            Some(bucket) => u32::try_from((bucket.level - bucket.floor(lane)).max(0) / TOKEN)
                .unwrap_or(u32::MAX),
            None => u32::MAX,
        }
    }

    /// AWS answered `Throttling`. It does not say which bucket was empty, so all of ours are taken to be.
    pub fn throttled(&mut self, now: Timestamp) {
        self.fill(now);
        self.throttles += 1;
        self.buckets.iter_mut().for_each(|bucket| bucket.level = 0);
        if self
            .lowered_at
            .is_none_or(|lowered_at| self.filled_at.since(lowered_at).0 >= ONE_OVERDRAFT_MS)
        {
            self.ceiling = (self.ceiling / 2).max(LOWEST_CEILING);
            self.lowered_at = Some(self.filled_at);
        }
        self.ceiling_changed_at = self.filled_at;
    }

    /// AWS accepted a call: the refill rises in proportion to the time since the last rise or refusal.
    pub fn succeeded(&mut self, now: Timestamp) {
        self.fill(now);
        let elapsed_ms = self.filled_at.since(self.ceiling_changed_at).0.min(RECOVERY_MS);
        let rise = (FULL_CEILING - LOWEST_CEILING) * elapsed_ms / RECOVERY_MS;
        self.ceiling = (self.ceiling + rise).min(FULL_CEILING);
        self.ceiling_changed_at = self.filled_at;
    }

    /// The state for people to see.
    pub fn snapshot(&mut self, now: Timestamp) -> BudgetSnapshot {
        self.fill(now);
        let tokens = |micro: i64| micro as f64 / TOKEN as f64;
        let show = |bucket: &Bucket| BucketSnapshot {
            bucket: bucket.kind.name(),
            tokens: tokens(bucket.level),
            capacity: tokens(bucket.capacity),
            refill_per_second: bucket.effective_refill(self.ceiling) as f64 / 1_000.0,
        };
        BudgetSnapshot {
            buckets: self.buckets.iter().map(show).collect(),
            ceiling: self.ceiling as f64 / FULL_CEILING as f64,
            throttles: self.throttles,
        }
    }

    /// The most changes that a call can ever carry; `u32::MAX` where changes have no bucket.
    pub fn most_changes(&self) -> u32 {
        let bucket = self.buckets.iter().find(|bucket| bucket.kind == Kind::Changes);
        let most = bucket.map(|bucket| u32::try_from(bucket.capacity / TOKEN).unwrap_or(u32::MAX));
        most.unwrap_or(u32::MAX).max(1)
    }

    /// When the last of `calls` change calls would have gone out, if they carry `changes` changes in equal parts, nothing else
    /// is spent and the refill stays as it is. More calls are assumed if a call would be larger than the bucket. The end of time
    /// if nothing flows in.
    pub fn predict(&mut self, now: Timestamp, calls: u32, changes: u32) -> Timestamp {
        self.fill(now);
        let calls = calls.max(changes.div_ceil(self.most_changes()));
        if calls == 0 {
            return now;
        }
        let simulated = calls.min(PREDICTED_CALL_BY_CALL);
        let mut buckets = self.buckets.clone();
        let mut waited_ms = 0;
        for call in 0..simulated {
            let part = changes / calls + u32::from(call < changes % calls);
            match longest_wait(
                &buckets,
                self.ceiling,
                Lane::Changes,
                ApiAction::ChangeResourceRecordSets,
                1,
                part,
            ) {
                Wait::None => {}
                Wait::Millis(_, wait_ms) => {
                    buckets.iter_mut().for_each(|bucket| bucket.fill(wait_ms, self.ceiling));
                    waited_ms = i64::saturating_add(waited_ms, wait_ms);
                }
                Wait::Forever(_) => return Timestamp(i64::MAX),
            }
            take(&mut buckets, ApiAction::ChangeResourceRecordSets, part);
        }
        let rest_ms = i128::from(waited_ms) * i128::from(calls - simulated) / i128::from(simulated);
        let waited_ms = waited_ms.saturating_add(i64::try_from(rest_ms).unwrap_or(i64::MAX));
        if waited_ms == 0 { now } else { self.filled_at + Millis(waited_ms) }
    }

    fn fill(&mut self, now: Timestamp) {
        while let Some((until, paid)) =
            self.lost.front().copied().filter(|(until, _)| *until <= now)
        {
            self.fill_to(until);
            self.settle_filled(paid);
            self.lost.pop_front();
        }
        self.fill_to(now);
    }

    fn fill_to(&mut self, now: Timestamp) {
        let elapsed = now.since(self.filled_at);
        self.buckets.iter_mut().for_each(|bucket| bucket.fill(elapsed.0, self.ceiling));
        self.filled_at = self.filled_at.max(now);
    }
}

/// Our part of each configured bucket, empty.
fn usable_buckets(config: &BudgetConfig) -> Vec<Bucket> {
    let usable =
        |kind, published: &BucketConfig| Bucket::usable(kind, *published, config.reserve_share);
    let mut buckets = vec![usable(Kind::Requests, &config.requests)];
    buckets.extend(
        config
            .per_action
            .iter()
            .map(|(action, published)| usable(Kind::Action(*action), published)),
    );
    buckets.extend(config.changes.iter().map(|published| usable(Kind::Changes, published)));
    buckets
}

/// How long a call waits, and for which bucket.
enum Wait {
    None,
    Millis(&'static str, i64),
    Forever(&'static str),
}

fn longest_wait(
    buckets: &[Bucket],
    ceiling: i64,
    lane: Lane,
    action: ApiAction,
    calls: u32,
    changes: u32,
) -> Wait {
    let mut longest = Wait::None;
    for bucket in buckets {
        let name = bucket.kind.name();
        let wanted_level = bucket.wanted_level(lane, bucket.need(action, calls, changes));
        match (wanted_level.and_then(|level| bucket.wait_ms(level, ceiling)), &longest) {
            (None, _) => return Wait::Forever(name),
            (Some(0), _) => {}
            (Some(wait_ms), Wait::Millis(_, longest_ms)) if wait_ms <= *longest_ms => {}
            (Some(wait_ms), _) => longest = Wait::Millis(name, wait_ms),
        }
    }
    longest
}

fn take(buckets: &mut [Bucket], action: ApiAction, changes: u32) {
    for bucket in buckets {
        bucket.level -= bucket.need(action, 1, changes);
    }
}

fn put_in_flight(buckets: &mut [Bucket], action: ApiAction, changes: u32) {
    for bucket in buckets {
        bucket.in_flight += bucket.need(action, 1, changes);
    }
}
