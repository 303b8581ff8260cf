//! Why a unit that is planned is not sent now.

use super::refusals::Refusal;
use super::{ZoneState, fingerprint, unit_key};
use crate::broker::directory::entry::Progress;
use crate::core::governance::freeze::Closed;
use crate::core::planning::change::Unit;
use crate::core::release::lane::lane_of;
use crate::core::time::Timestamp;

/// Why a unit is not sent now.
#[derive(Clone, Debug)]
pub(super) enum HeldBack {
    /// Route 53 refused it as it is, or its zone is full.
    Refused(Refusal),
    /// A freeze is closed.
    Frozen(Closed),
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
        for unit in units {
            match self.held_back(unit, now) {
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

    /// What closes a unit: of several freezes the one that ends last.
    fn is_frozen(&self, unit: &Unit) -> Option<Closed> {
        let (context, lane) = (&self.context, lane_of(unit));
        let closes = unit.changes.iter().filter_map(|change| {
            let (name, cluster) = (&change.key.name, &change.cause.cluster);
            context.governance.closes(&context.placement, &context.apex, name, cluster, lane)
        });
        closes.max_by_key(|closed| closed.until)
    }
}
