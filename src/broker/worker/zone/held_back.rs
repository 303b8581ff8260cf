//! Why a unit that is planned is not sent now.

use std::fmt;

use super::refusals::Refusal;
use super::{ZoneState, fingerprint, unit_key};
use crate::broker::directory::entry::Progress;
use crate::core::governance::freeze::Closed;
use crate::core::governance::rule::guard::{Counted, GuardId};
use crate::core::planning::change::Unit;
use crate::core::release::lane::lane_of;
use crate::core::release::ledger::GuardCounter;
use crate::core::time::{Millis, Timestamp};

/// Why a unit is not sent now.
#[derive(Clone, Debug)]
pub(super) enum HeldBack {
    /// Route 53 refused it as it is, or its zone is full.
    Refused(Refusal),
    /// A freeze is closed.
    Frozen(Closed),
    /// More would go at once than a guard lets go without a person's word.
    Guarded {
        /// The line that is crossed.
        counter: GuardCounter,
        /// By what.
        what: Counted,
    },
    /// A guard asks for a person's word for each change of its kind.
    Reviewed(GuardId),
}

impl HeldBack {
    /// What its endpoints are told.
    pub(super) fn progress(&self) -> Progress {
        match self {
            Self::Refused(Refusal { message, retry_at, .. }) => {
                Progress::Refused { message: message.clone(), retry_at: *retry_at }
            }
            Self::Frozen(closed) => {
                Progress::Pending { detail: closed.to_string(), expected_at: Some(closed.until) }
            }
            Self::Guarded { .. } | Self::Reviewed(_) => {
                Progress::Pending { detail: self.to_string(), expected_at: None }
            }
        }
    }
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => f.write_str(&refusal.message),
            Self::Frozen(closed) => closed.fmt(f),
            Self::Guarded { counter: GuardCounter { guard, scope }, what } => {
                let many = match what {
                    Counted::Deletions => "record sets would be deleted",
                    Counted::LostNames => "names would lose their last answer",
                    Counted::ReplacedNames => "names would change all their answers",
                };
                write!(
                    f,
                    "held by {guard}, since too many {many} at once in {scope}; zonefold get holds shows what waits for a word"
                )
            }
            Self::Reviewed(guard) => {
                write!(
                    f,
                    "held by {guard}, which asks for a person's word; zonefold get holds shows what waits"
                )
            }
        }
    }
}

impl ZoneState {
    /// Parts units that may be sent from those that are held back.
    pub(super) fn sift<'a>(
        &self,
        units: &'a [Unit],
        now: Timestamp,
    ) -> (Vec<&'a Unit>, Vec<(&'a Unit, HeldBack)>) {
        let (mut ready, mut held_back) = (vec![], vec![]);
        let guarded = self.guarded(units, now);
        let by_guard = |unit: &Unit| {
            guarded.iter().find(|(held, _)| std::ptr::eq(*held, unit)).map(|(_, why)| why.clone())
        };
        for unit in units {
            match self.held_back(unit, now).or_else(|| by_guard(unit)) {
                Some(why) => held_back.push((unit, why)),
                None => ready.push(unit),
            }
        }
        (ready, held_back)
    }

    fn held_back(&self, unit: &Unit, now: Timestamp) -> Option<HeldBack> {
        if let Some(full) = self.is_held(unit, now) {
            return Some(HeldBack::Refused(full));
        }
        if let Some(closed) = self.is_frozen(unit) {
            return Some(HeldBack::Frozen(closed));
        }
        let refusal = self.refusals.get(unit_key(unit)?)?;
        let waits = refusal.fingerprint == fingerprint(unit) && now < refusal.retry_at;
        waits.then(|| HeldBack::Refused(refusal.clone()))
    }

    /// For how long freezes kept a unit back since a time.
    pub(super) fn frozen_since(&self, unit: &Unit, since: Timestamp, now: Timestamp) -> Millis {
        let (context, lane) = (&self.context, lane_of(unit, &self.context));
        let frozen = unit.changes.iter().map(|change| {
            let (name, cluster) = (&change.key.name, &change.cause.cluster);
            let (placement, apex) = (&context.placement, &context.apex);
            context.governance.frozen_within(placement, apex, name, cluster, lane, &(since..now))
        });
        frozen.max().unwrap_or_default()
    }

    /// What closes a unit: of several freezes the one that ends last.
    fn is_frozen(&self, unit: &Unit) -> Option<Closed> {
        let (context, lane) = (&self.context, lane_of(unit, &self.context));
        let closes = unit.changes.iter().filter_map(|change| {
            let (name, cluster) = (&change.key.name, &change.cause.cluster);
            context.governance.closes(&context.placement, &context.apex, name, cluster, lane)
        });
        closes.max_by_key(|closed| closed.until)
    }
}
