//! One token bucket in whole micro-tokens.

use super::config::BucketConfig;
use super::{ApiAction, Lane};

/// The micro-tokens of one token. One token a second is then 1,000 micro-tokens a millisecond.
pub(in crate::core::limits::budget) const TOKEN: i64 = 1_000_000;
/// Parts of the configured refill: 1 is [`FULL_CEILING`] parts.
pub(in crate::core::limits::budget) const FULL_CEILING: i64 = 1_000_000;

/// Below this usable capacity a token kept for [`Lane::Urgent`] would cost the other lanes too much.
const KEEP_FOR_URGENT_FROM: i64 = 5 * TOKEN;
/// Route 53's limit of records in one call. Each of them belongs to a change of one token at most, so no call needs more.
const LARGEST_CALL: i64 = 1_000 * TOKEN;

/// The unit that a bucket counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core::limits::budget) enum Kind {
    Requests,
    Action(ApiAction),
    Changes,
}

impl Kind {
    pub(in crate::core::limits::budget) fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Action(action) => action.as_str(),
            Self::Changes => "changes",
        }
    }
}

/// Our part of a published bucket. All amounts are micro-tokens, the refill is micro-tokens a millisecond.
#[derive(Clone, Debug)]
pub(in crate::core::limits::budget) struct Bucket {
    pub(in crate::core::limits::budget) kind: Kind,
    pub(in crate::core::limits::budget) capacity: i64,
    pub(in crate::core::limits::budget) refill: i64,
    pub(in crate::core::limits::budget) level: i64,
    /// Taken by calls that are not answered yet: AWS may take those tokens as late as now, so its bucket may not have
    /// refilled what they took. Until they are answered, ours does not either.
    pub(in crate::core::limits::budget) in_flight: i64,
}

impl Bucket {
    /// The usable part, empty: the published bucket without the reserve and without one more token. Two clocks that count whole
    /// milliseconds from different moments never agree on the last fraction of a token; this one is never asked for.
    pub(in crate::core::limits::budget) fn usable(
        kind: Kind,
        published: BucketConfig,
        reserve_share: f64,
    ) -> Self {
        let ours = 1.0 - reserve_share.clamp(0.0, 1.0);
        let capacity = (whole(published.capacity * ours, TOKEN) - TOKEN).max(TOKEN);
        Self {
            kind,
            capacity,
            refill: whole(published.refill_per_second * ours, 1_000),
            level: 0,
            in_flight: 0,
        }
    }

    /// The refill under a ceiling. It never stops, or nothing would show that the throttling ended.
    pub(in crate::core::limits::budget) fn effective_refill(&self, ceiling: i64) -> i64 {
        let scaled = i128::from(self.refill) * i128::from(ceiling) / i128::from(FULL_CEILING);
        i64::try_from(scaled).unwrap_or(i64::MAX).max(self.refill.min(1))
    }

    /// Lets in the tokens of `elapsed_ms`.
    pub(in crate::core::limits::budget) fn fill(&mut self, elapsed_ms: i64, ceiling: i64) {
        let inflow = self.effective_refill(ceiling).saturating_mul(elapsed_ms.max(0));
        let full = self.capacity - self.in_flight;
        self.level = self.level.saturating_add(inflow).min(full.max(self.level));
    }

    /// The micro-tokens that `calls` calls of an action, with `changes` changes together, take from this bucket.
    pub(in crate::core::limits::budget) fn need(
        &self,
        action: ApiAction,
        calls: u32,
        changes: u32,
    ) -> i64 {
        match self.kind {
            Kind::Requests => i64::from(calls) * TOKEN,
            Kind::Action(own) if own == action => i64::from(calls) * TOKEN,
            Kind::Action(_) => 0,
            Kind::Changes => i64::from(changes) * TOKEN,
        }
    }

    /// The level that a lane leaves in the bucket for the lanes before it.
    pub(in crate::core::limits::budget) fn floor(&self, lane: Lane) -> i64 {
        let for_urgent = match self.kind {
            _ if lane == Lane::Urgent => 0,
            // Some changes for an urgent call, but never so many that a full call of the other lanes does not fit.
            Kind::Changes => (self.capacity / 50).min(self.capacity - LARGEST_CALL).max(0),
            Kind::Requests | Kind::Action(_) if self.capacity >= KEEP_FOR_URGENT_FROM => TOKEN,
            Kind::Requests | Kind::Action(_) => 0,
        };
        match (lane, self.kind) {
            (Lane::Reads, Kind::Requests) => for_urgent.max(self.capacity / 2),
            _ => for_urgent,
        }
    }

    /// The level that lets a lane take `need`; `None` if `need` exceeds the capacity. A need that only fits into the whole
    /// bucket is not held to the lane's floor, or it would wait for ever.
    pub(in crate::core::limits::budget) fn wanted_level(
        &self,
        lane: Lane,
        need: i64,
    ) -> Option<i64> {
        match need {
            0 => Some(0),
            need if need > self.capacity => None,
            need => Some(need + self.floor(lane).min(self.capacity - need)),
        }
    }

    /// Milliseconds until the level is reached; `None` if nothing flows in.
    pub(in crate::core::limits::budget) fn wait_ms(
        &self,
        wanted_level: i64,
        ceiling: i64,
    ) -> Option<i64> {
        let missing = wanted_level - self.level;
        if missing <= 0 {
            return Some(0);
        }
        let refill = self.effective_refill(ceiling);
        (refill > 0).then(|| (missing - 1) / refill + 1)
    }
}

/// `amount` in units of `1 / scale`, rounded down but for the error of binary fractions; NaN counts as 0.
fn whole(amount: f64, scale: i64) -> i64 {
    // `as` saturates and turns NaN into 0.
    ((amount * scale as f64) + 1e-3).floor().max(0.0) as i64
}
