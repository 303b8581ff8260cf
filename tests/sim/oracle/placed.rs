//! 2: What is placed stays where it is, whatever zones appear or vanish: a closer one takes nothing over, and what a deleted one held
//! goes nowhere until its object is written again or an operator has it placed anew, and then to a zone of the same name.
//!
//! The first batch that wrote for an endpoint since it is stored tells where the endpoint is.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::dns::name::DnsName;
use zonefold::core::endpoint::EndpointKey;
use zonefold::core::ids::{ClusterId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::planning::change::Batch;

use super::history::{Commit, Event, History, RowChange, Told, What};
use super::owners::{is_ours, net_changes};
use super::{Violation, model};

/// A zone that appeared; places are places in the log.
struct Made {
    apex: DnsName,
    deleted: Option<usize>,
}

/// Where an endpoint is.
struct Home {
    zone: ZoneId,
    /// Where in the log the last batch that wrote for it was begun.
    written: usize,
}

struct Reading<'a> {
    history: &'a History,
    made: BTreeMap<ZoneId, Made>,
    homes: BTreeMap<(ClusterId, EndpointKey), Home>,
    /// Where each endpoint's present content was stored.
    stored: BTreeMap<(ClusterId, EndpointKey), usize>,
    rerouted: BTreeMap<DnsName, usize>,
    /// The names at which others wrote.
    others: BTreeSet<DnsName>,
    violations: Vec<Violation>,
}

/// Follows the endpoints below the apexes of zones that come and go.
pub fn judge(history: &History) -> Vec<Violation> {
    if history.world.shifting.is_empty() {
        return vec![];
    }
    let mut reading = Reading {
        history,
        made: BTreeMap::new(),
        homes: BTreeMap::new(),
        stored: BTreeMap::new(),
        rerouted: BTreeMap::new(),
        others: BTreeSet::new(),
        violations: vec![],
    };
    for (place, event) in history.log.iter().enumerate() {
        reading.read(place, event);
    }
    reading.violations.extend(reading.lost());
    reading.violations
}

impl Reading<'_> {
    fn read(&mut self, place: usize, event: &Event) {
        match &event.what {
            What::Applied { entry, .. } if !is_ours(entry) => {
                self.others.extend(net_changes(entry).into_iter().map(|change| change.key.name));
            }
            What::Told(Told::ZoneMade { zone, apex, .. }) => {
                self.made.insert(zone.clone(), Made { apex: apex.clone(), deleted: None });
            }
            What::Told(Told::ZoneDeleted { zone }) => {
                if let Some(made) = self.made.get_mut(zone) {
                    made.deleted = Some(place);
                }
            }
            What::Told(Told::Rerouted { below }) => {
                self.rerouted.insert(below.clone(), place);
            }
            What::Committed { commit: Commit::Ingest { cluster, rows, .. }, .. } => {
                for row in rows {
                    let of = (cluster.clone(), row.key().clone());
                    match row {
                        RowChange::Removed(_) => drop(self.homes.remove(&of)),
                        _ => drop(self.stored.insert(of, place)),
                    }
                }
            }
            What::Committed { commit: Commit::BatchBegun(batch), .. } => {
                self.begun(place, batch, event);
            }
            _ => {}
        }
    }

    fn begun(&mut self, place: usize, batch: &Batch, event: &Event) {
        let shifting = &self.history.world.shifting;
        let written = batch.changes().filter(|change| change.after.is_some());
        for change in written.filter(|change| model::is_below_any(&change.key.name, shifting)) {
            for key in &change.cause.endpoints {
                let of = (change.cause.cluster.clone(), key.clone());
                let home = self.homes.get(&of).map(|home| home.zone.clone());
                let may = home.as_ref().is_none_or(|home| self.may_move(&of, home, &batch.zone));
                if !may {
                    let what = format!(
                        "{key} of {} was published in the zone {}, and goes to {} in batch {}",
                        of.0,
                        home.as_ref().map_or("", ZoneId::as_str),
                        batch.zone,
                        batch.id
                    );
                    let violation = Violation::new(Invariant::SilenceNeverDeletes, event.at, what);
                    self.violations.push(violation.about(&change.key.name));
                }
                self.homes.insert(of, Home { zone: batch.zone.clone(), written: place });
            }
        }
    }

    /// Whether an endpoint may go from one zone to another.
    fn may_move(&self, of: &(ClusterId, EndpointKey), from: &ZoneId, to: &ZoneId) -> bool {
        if from == to {
            return true;
        }
        let (Some(old), Some(new)) = (self.made.get(from), self.made.get(to)) else { return false };
        let Some(deleted) = old.deleted else { return false };
        let asked = self.stored.get(of).max(self.rerouted.get(&old.apex));
        old.apex == new.apex && asked.is_some_and(|asked| *asked > deleted)
    }

    /// The endpoints that are not where they were published at the end, though the zone is there and the object wants them.
    fn lost(&self) -> Vec<Violation> {
        let end = &self.history.end;
        let is_healed = self.history.log.iter().any(|event| matches!(event.what, What::Quiet));
        let mut violations = vec![];
        for row in
            end.endpoints.iter().filter(|row| is_healed && !end.unregistered.contains(&row.cluster))
        {
            let of = (row.cluster.clone(), row.endpoint.key.clone());
            let (Some(home), Some(wish)) = (self.homes.get(&of), model::wish(&row.endpoint)) else {
                continue;
            };
            // An alias may have two halves, of which one may be away.
            let ([rtype], None) = (wish.rtypes.as_slice(), &wish.set_identifier) else { continue };
            // Sets that the policy forbids, or that others had a hand in, are judged nowhere here.
            let zones = &self.history.world.zones;
            let mut policies = zones.iter().filter(|zone| zone.id == home.zone);
            if self.others.contains(&wish.name) || policies.any(|zone| !zone.policy.allows_update())
            {
                continue;
            }
            let Some(records) = end.zones.get(&home.zone) else { continue };
            let is_it = |set: &&zonefold::core::dns::record::RawRecordSet| {
                set.key().is_ok_and(|key| key.name == wish.name && key.rtype == *rtype)
            };
            let held = records.iter().find(is_it).map(model::values_of).unwrap_or_default();
            if !held.is_superset(&wish.values) && !end.poisoned.contains(&wish.name) {
                let what = format!(
                    "{} of {} was published in the zone {} at event {}, wants {:?} there, and it holds {held:?}",
                    of.1, of.0, home.zone, home.written, wish.values
                );
                let violation = Violation::new(Invariant::Converges, end.at, what);
                violations.push(violation.about(&wish.name));
            }
        }
        violations
    }
}
