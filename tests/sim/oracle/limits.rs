//! 5: No published bucket of an account is overdrawn by us, and the reserve is left alone, summed over replicas and fail-overs.
//!
//! Every call of ours is replayed at its arrival against two sets of reference buckets that start full.
//!
//! * The **published** buckets take every call, also those that come late: arrive after the caller gave them up or died.
//!   They must never be overdrawn; the reserve is the room for late calls.
//! * **Our part** of them (without the reserve, in capacity and in refill) takes the calls that arrive while their caller waits.
//!   It must never be overdrawn, however the network bunches calls up: a budget counts the tokens of a call as not refilling
//!   until the call is over, so at any moment the bucket at AWS holds at least what the budget holds and what is on the way,
//!   and arrivals take from the latter. A late call is no longer on the way by the budget's reckoning, so it is not held
//!   against this part.
//!
//! Times are whole milliseconds on both sides. A budget has one token less than its part of the capacity for what rounding does;
//! that token is the only spare here.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::ids::AccountId;
use zonefold::core::invariants::Invariant;
use zonefold::core::limits::budget::BucketConfig;
use zonefold::core::time::Timestamp;

use super::Violation;
use super::history::{Account, Call, History, What};

/// For the error of binary fractions.
const DUST: f64 = 1e-6;

/// A reference bucket.
struct Bucket {
    name: String,
    capacity: f64,
    per_sec: f64,
    level: f64,
    counted_to: Timestamp,
}

impl Bucket {
    fn full(name: &str, published: BucketConfig, share: f64, from: Timestamp) -> Self {
        let capacity = published.capacity * share;
        Self {
            name: name.to_owned(),
            capacity,
            per_sec: published.refill_per_second * share,
            level: capacity,
            counted_to: from,
        }
    }

    /// Takes tokens; answers whether they were there. An overdrawn bucket goes on empty, so that one overdraft is reported once.
    fn take(&mut self, tokens: f64, now: Timestamp) -> bool {
        let gained = self.per_sec * (now - self.counted_to).0 as f64 / 1_000.0;
        self.level = (self.level + gained).min(self.capacity) - tokens;
        self.counted_to = now;
        let is_overdrawn = self.level < -DUST;
        self.level = self.level.max(0.0);
        !is_overdrawn
    }
}

/// The buckets of an account, and what they are called in a violation.
struct Buckets {
    what: &'static str,
    requests: Bucket,
    changes: Option<Bucket>,
    actions: BTreeMap<&'static str, Bucket>,
}

impl Buckets {
    fn full(what: &'static str, account: &Account, share: f64, from: Timestamp) -> Self {
        let full = |name: &str, published| Bucket::full(name, published, share, from);
        let actions = account.budget.per_action.iter();
        Self {
            what,
            requests: full("all requests", account.budget.requests),
            changes: account.budget.changes.map(|published| full("changes", published)),
            actions: actions
                .map(|(action, published)| (action.as_str(), full(action.as_str(), *published)))
                .collect(),
        }
    }

    /// Answers the buckets that the call overdraws.
    fn take(&mut self, call: &Call, now: Timestamp) -> Vec<String> {
        let requests = [
            Some((&mut self.requests, 1.0)),
            self.actions.get_mut(call.action).map(|bucket| (bucket, 1.0)),
        ];
        let changes = self.changes.as_mut().map(|bucket| (bucket, f64::from(call.changes)));
        let takes = requests.into_iter().chain([changes]).flatten();
        takes
            .filter_map(|(bucket, tokens)| (!bucket.take(tokens, now)).then(|| bucket.name.clone()))
            .collect()
    }
}

/// Replays all calls of all accounts.
pub fn judge(history: &History) -> Vec<Violation> {
    let from = history.world.started_at;
    let mut buckets: BTreeMap<&AccountId, [Buckets; 2]> = BTreeMap::new();
    for account in &history.world.accounts {
        let published = Buckets::full("the published", account, 1.0, from);
        let ours =
            Buckets::full("our part of the", account, 1.0 - account.budget.reserve_share, from);
        buckets.insert(&account.id, [published, ours]);
    }
    let mut calls: BTreeMap<u64, &Call> = BTreeMap::new();
    let mut ended: BTreeSet<u64> = BTreeSet::new();
    let mut violations = vec![];
    for event in &history.log {
        match &event.what {
            What::CallStarted(call) => drop(calls.insert(call.number, call)),
            What::CallEnded { call, .. } => drop(ended.insert(*call)),
            What::CallArrived { call, .. } => {
                let Some(call) = calls.get(call) else { continue };
                let Some([published, ours]) = buckets.get_mut(&call.account) else { continue };
                let is_late = ended.contains(&call.number);
                let of_ours = if is_late { None } else { Some(ours) };
                for buckets in [Some(published), of_ours].into_iter().flatten() {
                    for bucket in buckets.take(call, event.at) {
                        let what = format!(
                            "call {} of {} ({} with {} changes) overdraws {} bucket of {bucket} of the account {}",
                            call.number,
                            call.replica,
                            call.action,
                            call.changes,
                            buckets.what,
                            call.account
                        );
                        violations.push(Violation::new(Invariant::LimitsHold, event.at, what));
                    }
                }
            }
            _ => {}
        }
    }
    violations
}
