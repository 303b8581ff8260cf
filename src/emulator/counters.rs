//! Counters, as JSON for tests and as Prometheus text for people.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::limiter::BucketLevel;
use crate::core::ids::{AccountId, ZoneId};
use crate::core::time::Timestamp;

/// Requests of one account, action and outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCount {
    /// The account; `None` if it is unknown.
    pub account: Option<AccountId>,
    pub action: Action,
    /// `ok`, or the error code; `no_answer` when the connection was cut or left hanging.
    pub outcome: String,
    pub count: u64,
}

/// The highest number in any window of that length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowMax {
    /// In any one second.
    pub in_1_sec: u64,
    /// In any ten seconds.
    pub in_10_secs: u64,
}

/// Calls of one principal that no other one's call came between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerRun {
    /// The caller's ARN; the name of a role's session is its last part.
    pub principal: String,
    /// When the first call came in.
    pub first_at: Timestamp,
    /// When the last call came in.
    pub last_at: Timestamp,
    pub calls: u64,
}

/// An account's counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AccountCounters {
    /// Route 53 requests, refused ones too.
    pub requests: u64,
    /// Requests that got `Throttling`, from a bucket or a fault.
    pub throttled: u64,
    /// Requests refused by a bucket.
    pub overdrawn: u64,
    /// Record changes applied.
    pub changes_applied: u64,
    /// UPSERTs that changed nothing.
    pub idle_upserts: u64,
    /// Requests that were throttled, met a busy zone, or repeated the last applied batch of their zone.
    pub wasted_calls: u64,
    pub request_rate: WindowMax,
    /// Rate of applied changes, weighed as the bucket weighs them.
    pub change_rate: WindowMax,
    /// The buckets now.
    pub buckets: Vec<BucketLevel>,
    /// The callers of Route 53, in the order in which the calls came in.
    pub callers: Vec<CallerRun>,
}

/// Everything that is counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CountersReport {
    /// By account, action and outcome.
    pub requests: Vec<RequestCount>,
    pub accounts: BTreeMap<AccountId, AccountCounters>,
    /// By zone: the most mutating requests that were in flight at once.
    pub max_in_flight: BTreeMap<ZoneId, u64>,
    pub sts_calls: u64,
    /// Applied batches by their number of changes; the key is the upper bound of the bin.
    pub batch_changes: BTreeMap<u64, u64>,
}

/// A sum over the last seconds, and the highest that it ever was.
#[derive(Clone, Debug, Default)]
struct Window {
    events: VecDeque<(Timestamp, u64)>,
    sum: u64,
    max: u64,
}

impl Window {
    fn add(&mut self, at: Timestamp, count: u64, length_ms: i64) {
        match self.events.back_mut() {
            Some((last, sum)) if *last == at => *sum += count,
            _ => self.events.push_back((at, count)),
        }
        self.sum += count;
        while let Some((first, count)) = self.events.front().copied() {
            if (at - first).0 < length_ms {
                break;
            }
            self.sum -= count;
            self.events.pop_front();
        }
        self.max = self.max.max(self.sum);
    }
}

#[derive(Clone, Debug, Default)]
struct Rate {
    one: Window,
    ten: Window,
}

impl Rate {
    fn add(&mut self, at: Timestamp, count: u64) {
        self.one.add(at, count, 1_000);
        self.ten.add(at, count, 10_000);
    }

    fn max(&self) -> WindowMax {
        WindowMax { in_1_sec: self.one.max, in_10_secs: self.ten.max }
    }
}

#[derive(Debug, Default)]
struct OfAccount {
    counted: AccountCounters,
    requests: Rate,
    changes: Rate,
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: BTreeMap<(Option<AccountId>, Action, String), u64>,
    accounts: BTreeMap<AccountId, OfAccount>,
    in_flight: BTreeMap<ZoneId, (u64, u64)>,
    sts_calls: u64,
    batch_changes: BTreeMap<u64, u64>,
}

impl Counters {
    fn of(&mut self, account: &AccountId) -> &mut OfAccount {
        self.accounts.entry(account.clone()).or_default()
    }

    /// A request has been answered, or not.
    pub fn answered(&mut self, account: Option<&AccountId>, action: Action, outcome: &str) {
        *self.requests.entry((account.cloned(), action, outcome.to_owned())).or_default() += 1;
        if action.service() == super::action::Service::Sts {
            self.sts_calls += 1;
        }
    }

    /// A Route 53 request has come in, and is not judged yet.
    pub fn called(&mut self, account: &AccountId, principal: &str, at: Timestamp) {
        let callers = &mut self.of(account).counted.callers;
        match callers.last_mut() {
            Some(run) if run.principal == principal => {
                run.last_at = at;
                run.calls += 1;
            }
            _ => callers.push(CallerRun {
                principal: principal.to_owned(),
                first_at: at,
                last_at: at,
                calls: 1,
            }),
        }
    }

    /// A Route 53 request is carried out.
    pub fn requested(&mut self, account: &AccountId, at: Timestamp) {
        let of = self.of(account);
        of.counted.requests += 1;
        of.requests.add(at, 1);
    }

    /// A request was throttled by a bucket.
    pub fn overdrew(&mut self, account: &AccountId) {
        self.of(account).counted.overdrawn += 1;
    }

    /// How many requests were throttled by a bucket.
    pub fn overdrawn(&self, account: Option<&AccountId>) -> u64 {
        account.and_then(|account| self.accounts.get(account)).map_or(0, |of| of.counted.overdrawn)
    }

    /// A request got `Throttling`.
    pub fn throttled(&mut self, account: &AccountId) {
        let counted = &mut self.of(account).counted;
        counted.throttled += 1;
        counted.wasted_calls += 1;
    }

    /// A request could only fail.
    pub fn wasted(&mut self, account: &AccountId) {
        self.of(account).counted.wasted_calls += 1;
    }

    /// A batch was applied.
    pub fn applied(
        &mut self,
        account: &AccountId,
        at: Timestamp,
        changes: u64,
        cost: u64,
        idle_upserts: u64,
    ) {
        let of = self.of(account);
        of.counted.changes_applied += changes;
        of.counted.idle_upserts += idle_upserts;
        of.changes.add(at, cost);
        *self.batch_changes.entry(changes.next_power_of_two()).or_default() += 1;
    }

    /// A mutating request of a zone begins.
    pub fn enter(&mut self, zone: &ZoneId) {
        let (now, max) = self.in_flight.entry(zone.clone()).or_default();
        *now += 1;
        *max = (*max).max(*now);
    }

    /// It ends.
    pub fn leave(&mut self, zone: &ZoneId) {
        if let Some((now, _)) = self.in_flight.get_mut(zone) {
            *now = now.saturating_sub(1);
        }
    }

    /// Everything, with the buckets that the caller knows.
    pub fn report(&self, mut buckets: BTreeMap<AccountId, Vec<BucketLevel>>) -> CountersReport {
        let mut accounts: BTreeMap<AccountId, AccountCounters> = BTreeMap::new();
        for (id, of) in &self.accounts {
            let (request_rate, change_rate) = (of.requests.max(), of.changes.max());
            accounts.insert(
                id.clone(),
                AccountCounters { request_rate, change_rate, ..of.counted.clone() },
            );
        }
        while let Some((id, levels)) = buckets.pop_first() {
            accounts.entry(id).or_default().buckets = levels;
        }
        let requests =
            self.requests.iter().map(|((account, action, outcome), count)| RequestCount {
                account: account.clone(),
                action: *action,
                outcome: outcome.clone(),
                count: *count,
            });
        CountersReport {
            requests: requests.collect(),
            accounts,
            max_in_flight: self
                .in_flight
                .iter()
                .map(|(zone, (_, max))| (zone.clone(), *max))
                .collect(),
            sts_calls: self.sts_calls,
            batch_changes: self.batch_changes.clone(),
        }
    }
}

impl CountersReport {
    /// How many requests of an action ended so.
    pub fn count(&self, action: Action, outcome: &str) -> u64 {
        let of = self.requests.iter().filter(|row| row.action == action && row.outcome == outcome);
        of.map(|row| row.count).sum()
    }

    /// Prometheus text format.
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, labels: &str, value: f64| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "zonefold_emulator_{name}{{{labels}}} {value}");
        };
        for row in &self.requests {
            let account = row.account.as_ref().map_or("", |account| account.as_str());
            let labels = format!(
                "account=\"{account}\",action=\"{}\",outcome=\"{}\"",
                row.action, row.outcome
            );
            line("requests_total", &labels, row.count as f64);
        }
        for (account, counted) in &self.accounts {
            let labels = format!("account=\"{account}\"");
            for (name, value) in [
                ("throttled_total", counted.throttled),
                ("overdrawn_total", counted.overdrawn),
                ("changes_applied_total", counted.changes_applied),
                ("idle_upserts_total", counted.idle_upserts),
                ("wasted_calls_total", counted.wasted_calls),
                ("requests_in_1_sec_max", counted.request_rate.in_1_sec),
                ("requests_in_10_secs_max", counted.request_rate.in_10_secs),
                ("changes_in_1_sec_max", counted.change_rate.in_1_sec),
                ("changes_in_10_secs_max", counted.change_rate.in_10_secs),
            ] {
                line(name, &labels, value as f64);
            }
            for level in &counted.buckets {
                line(
                    "bucket_tokens",
                    &format!("{labels},bucket=\"{}\"", level.bucket),
                    level.tokens,
                );
            }
        }
        for (zone, max) in &self.max_in_flight {
            line("zone_in_flight_max", &format!("zone=\"{zone}\""), *max as f64);
        }
        line("sts_calls_total", "", self.sts_calls as f64);
        text
    }
}
