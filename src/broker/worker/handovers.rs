//! What an account says of hand-overs.

use super::Worker;
use super::zone::handed::NameOnItsWay;
use crate::core::dns::name::DnsName;
use crate::core::governance::handover::{Handover, HandoverReport};
use crate::core::ids::ZoneId;

/// Some names of a hand-over in one zone.
#[derive(Clone, Debug)]
pub struct HandedNames {
    /// The zone.
    pub zone: ZoneId,
    /// Its apex.
    pub apex: DnsName,
    /// The names.
    pub names: Vec<NameOnItsWay>,
}

impl Worker {
    /// The account's report on a hand-over; `None` while the account does not know all that is there, or decides by another version
    /// of the hand-over.
    pub(super) fn report_handover(&self, handover: &Handover) -> Option<HandoverReport> {
        let decides_by = self.governance.handovers().iter();
        let is_current = decides_by
            .into_iter()
            .any(|known| known.id == handover.id && known.version == handover.version);
        if !is_current || !self.is_working() || !self.discovery.is_complete() {
            return None;
        }
        let mut report = HandoverReport { version: handover.version, ..HandoverReport::default() };
        for (_, zone) in self.zones.all().filter(|(_, zone)| zone.facts.visible) {
            zone.listed_at?;
            zone.state.report_handover(handover, &mut report);
        }
        self.loading.is_done().then_some(report)
    }

    /// The names of a hand-over after one of a zone, so many at most.
    pub(super) fn handed_names(
        &self,
        handover: &Handover,
        after: Option<&(ZoneId, DnsName)>,
        limit: usize,
    ) -> Vec<HandedNames> {
        let mut left = limit;
        let mut found = vec![];
        for (zone_id, zone) in self.zones.all() {
            let (is_before, of_zone) = match after {
                Some((zone, name)) => (zone_id < zone, (zone_id == zone).then_some(name)),
                None => (false, None),
            };
            if is_before || left == 0 {
                continue;
            }
            let names = zone.state.handed_names(handover, of_zone, left);
            left -= names.len();
            if !names.is_empty() {
                found.push(HandedNames {
                    zone: zone_id.clone(),
                    apex: zone.facts.name.clone(),
                    names,
                });
            }
        }
        found
    }
}
