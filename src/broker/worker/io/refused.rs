//! Consequences of a refused batch: for the zone state, for the zone itself, or for some of the units.

use std::collections::BTreeSet;

use tracing::warn;

use super::sending::names_of;
use crate::broker::worker::Worker;
use crate::core::batch::refusal::{Culprit, CulpritKind, culprits_of};
use crate::core::dns::name::DnsName;
use crate::core::ids::ClusterId;
use crate::core::planning::change::{Batch, Unit};
use crate::core::time::Timestamp;
use crate::ports::BatchOutcome;

impl Worker {
    /// Refused for its content: nothing of it was applied. The culprits are named, or searched for; the rest goes out again.
    pub(super) fn finish_refused(
        &mut self,
        batch: Batch,
        code: String,
        message: String,
        request_id: Option<String>,
        now: Timestamp,
    ) {
        self.budget.succeeded(now);
        warn!(account = %batch.account, zone = %batch.zone, batch = %batch.id, code, "batch refused: {message}");
        let culprits = culprits_of(&message, &batch.wire);
        let stale: BTreeSet<DnsName> = culprits
            .iter()
            .filter(|culprit| is_of_what_is_there(culprit.kind))
            .filter_map(|culprit| culprit.name.clone())
            .collect();
        if culprits.iter().any(|culprit| culprit.kind == CulpritKind::ZoneQuota) {
            self.zone_is_full(&batch, &message, now);
        } else if !stale.is_empty() {
            self.doubt(&batch, &culprits, stale, &message);
        } else {
            self.blame(&batch, &culprits, &message, now);
        }
        self.record(batch, BatchOutcome::Refused { code, message, request_id }, vec![], vec![]);
    }

    /// The zone accepts no creations now, from any cluster: those that wait get a status, and the rest goes on.
    fn zone_is_full(&mut self, batch: &Batch, message: &str, now: Timestamp) {
        let Some(zone) = self.zones.get_mut(&batch.zone) else { return };
        zone.end_searches();
        zone.state.quota.refused(&batch.units, message.to_owned(), now);
        let waiting = zone.backlog.names();
        self.note(&batch.zone, waiting);
    }

    /// Another writer wrote: the state is stale, so the zone is read before anything is decided. Should it be right, the refused
    /// units are at fault.
    fn doubt(
        &mut self,
        batch: &Batch,
        culprits: &[Culprit],
        stale: BTreeSet<DnsName>,
        message: &str,
    ) {
        let Some(zone) = self.zones.get_mut(&batch.zone) else { return };
        zone.end_searches();
        let doubted = batch
            .units
            .iter()
            .filter(|unit| culprits.iter().any(|culprit| is_meant(culprit, unit)));
        zone.doubted.extend(doubted.map(|unit| (unit.clone(), message.to_owned())));
        let reader = zone.reader.take().unwrap_or_default();
        zone.reader = Some(reader.also(stale));
    }

    /// Some of the units are at fault.
    fn blame(&mut self, batch: &Batch, culprits: &[Culprit], message: &str, now: Timestamp) {
        let named = named_units(batch, culprits);
        let Some(zone) = self.zones.get_mut(&batch.zone) else { return };
        let in_search = zone.search_turn
            && zone
                .searches
                .front()
                .is_some_and(|search| names_of(batch).iter().all(|name| search.holds(name)));
        // Of several suspects only one may be left to plan, and then it is the one.
        let at_fault = if batch.units.len() == 1 { &batch.units } else { &named };
        let suspects = if at_fault.is_empty() { &batch.units } else { at_fault };
        let clusters: BTreeSet<&ClusterId> = suspects.iter().filter_map(Unit::cluster).collect();
        if let [cluster] = clusters.iter().collect::<Vec<_>>()[..] {
            zone.apart.refused(cluster, now);
        }
        if in_search {
            self.refused_in_search(&batch.zone, &batch.units, at_fault, message, now);
        } else if at_fault.is_empty() {
            self.search_in(&batch.zone, &batch.units, message, now);
        } else {
            self.refuse_units(&batch.zone, at_fault, message, now);
        }
    }
}

/// Whether a culprit is at fault for what the zone holds, as far as the message tells.
fn is_of_what_is_there(kind: CulpritKind) -> bool {
    match kind {
        CulpritKind::Exists
        | CulpritKind::NotFound
        | CulpritKind::Mismatch
        | CulpritKind::CnameConflict => true,
        CulpritKind::Protected
        | CulpritKind::Limit
        | CulpritKind::ZoneQuota
        | CulpritKind::Other => false,
    }
}

/// Whether a culprit is one of a unit's record sets; of a name and type without a set identifier, any.
fn is_meant(culprit: &Culprit, unit: &Unit) -> bool {
    unit.changes.iter().any(|change| {
        culprit.name.as_ref() == Some(&change.key.name)
            && culprit.rtype.is_none_or(|rtype| rtype == change.key.rtype)
            && culprit
                .set_identifier
                .as_ref()
                .is_none_or(|set| change.key.set_identifier.as_deref() == Some(set))
    })
}

/// The units that a refusal names. One that names nothing of the batch, or something that it cannot place, names none.
fn named_units(batch: &Batch, culprits: &[Culprit]) -> Vec<Unit> {
    if culprits.iter().any(|culprit| culprit.name.is_none()) {
        return vec![];
    }
    let fits = |unit: &&Unit| culprits.iter().any(|culprit| is_meant(culprit, unit));
    batch.units.iter().filter(fits).cloned().collect()
}
