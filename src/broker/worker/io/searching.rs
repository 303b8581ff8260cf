//! The search for the units that Route 53 refuses: its turns, its next try, and which clusters pay.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::worker::Worker;
use crate::broker::worker::zone::search::{Search, SearchStage, carries};
use crate::broker::worker::zone::unit_key;
use crate::core::batch::fold::{Folder, cost};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordKey;
use crate::core::ids::{ClusterId, ZoneId};
use crate::core::planning::change::Unit;
use crate::core::time::Timestamp;

/// However much the clusters of a search were given, after this many batches of the backlog it is the search's turn.
const MOST_TURNS: u32 = 3;

impl Worker {
    /// The next units that a search for poison tries; `None` if there is no search or it is the backlog's turn.
    pub(super) fn search_units(
        &mut self,
        zone_id: &ZoneId,
        tokens: u32,
        now: Timestamp,
    ) -> Option<Vec<Unit>> {
        if !self.take_search_turn(zone_id) {
            return None;
        }
        let limits = self.fold_limits();
        loop {
            let zone = self.zones.get_mut(zone_id)?;
            let search = zone.searches.front_mut()?;
            let Some(keys) = search.next_keys() else {
                self.end_search(zone_id, now);
                return None;
            };
            let names: BTreeSet<DnsName> = keys.iter().map(|key| key.name.clone()).collect();
            let planned = names.iter().flat_map(|name| zone.state.units(name, now));
            let units: Vec<Unit> = planned
                .filter(|unit| unit_key(unit).is_some_and(|key| keys.contains(key)))
                .collect();
            let others: BTreeSet<DnsName> = units
                .iter()
                .filter(|unit| unit.cluster().is_some_and(|of| !search.clusters().contains(of)))
                .filter_map(|unit| unit_key(unit).map(|key| key.name.clone()))
                .collect();
            if !others.is_empty() {
                // They were released or claimed since, and wait for another cluster's poison no longer.
                search.release(&others);
                self.note(zone_id, others);
                continue;
            }
            if units.is_empty() {
                // The suspects are no longer wanted, or are there by now.
                search.applied();
                continue;
            }
            let mut folder = Folder::new(limits, u32::MAX);
            if units.iter().any(|unit| folder.try_add(unit).is_err()) {
                // They have grown since they were refused: no call holds them together any more.
                self.end_search(zone_id, now);
                return None;
            }
            if folder.used().change_tokens > tokens {
                // The suspects are tried together or the search learns nothing: wait for the tokens.
                return Some(vec![]);
            }
            self.charge(&units);
            return Some(units);
        }
    }

    /// Ends the search that has its turn; its names are looked at again.
    fn end_search(&mut self, zone_id: &ZoneId, now: Timestamp) {
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        let names = zone.searches.pop_front().map(Search::into_names).unwrap_or_default();
        zone.search_turn = false;
        self.review(zone_id, names, now);
    }

    /// Whether a search has the next turn of a zone; the one whose clusters were given least is the first then. A search and
    /// the backlog take turns as their clusters were given, but neither has two in a row while the search has some to catch up.
    fn take_search_turn(&mut self, zone_id: &ZoneId) -> bool {
        let Some(zone) = self.zones.get_mut(zone_id) else { return false };
        let share = &self.share;
        let given = |search: &Search| share.least(search.clusters().iter()).unwrap_or(0);
        let searches = zone.searches.iter().enumerate();
        let next = searches.map(|(index, search)| (given(search), index)).min();
        let Some((given, index)) = next else {
            zone.search_turn = false;
            return false;
        };
        if !zone.backlog.is_empty() {
            let waiting = share.least(zone.backlog.clusters()).unwrap_or(0);
            let is_owed = given <= waiting || zone.turns_without_search >= MOST_TURNS;
            if zone.search_turn || !is_owed {
                zone.search_turn = false;
                zone.turns_without_search += 1;
                return false;
            }
        }
        if let Some(search) = zone.searches.remove(index) {
            zone.searches.push_front(search);
        }
        zone.search_turn = true;
        zone.turns_without_search = 0;
        true
    }

    /// Charges the units of a try to their clusters, whatever comes of it.
    fn charge(&mut self, units: &[Unit]) {
        let mut costs: BTreeMap<&ClusterId, u32> = BTreeMap::new();
        for unit in units {
            if let Some(cluster) = unit.cluster() {
                let sum = costs.entry(cluster).or_default();
                *sum = sum.saturating_add(cost(unit).change_tokens);
            }
        }
        costs.into_iter().for_each(|(cluster, cost)| self.share.charge(cluster, cost));
    }

    /// Begins a search in units that were refused together. One alone is the poison itself.
    pub(super) fn search_in(
        &mut self,
        zone_id: &ZoneId,
        units: &[Unit],
        message: &str,
        now: Timestamp,
    ) {
        if units.len() <= 1 {
            self.refuse_units(zone_id, units, message, now);
            return;
        }
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        for name in units.iter().filter_map(unit_key).map(|key| &key.name) {
            zone.backlog.set(name, None);
        }
        zone.searches.push_back(Search::new(units, message));
    }

    /// What a search tried was refused, for these units if the message names any.
    pub(super) fn refused_in_search(
        &mut self,
        zone_id: &ZoneId,
        units: &[Unit],
        named: &[Unit],
        message: &str,
        now: Timestamp,
    ) {
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        let Some(search) = zone.searches.front_mut() else { return };
        if search.of == SearchStage::Clusters && !named.is_empty() && units.len() > 1 {
            // Nothing is known of the others any more: they go out as they come.
            let names = zone.searches.pop_front().map(Search::into_names).unwrap_or_default();
            self.refuse_units(zone_id, named, message, now);
            self.note(zone_id, names);
            return;
        }
        let of = search.of;
        let found = search.refused(named);
        let poison: Vec<Unit> = units
            .iter()
            .filter(|unit| unit_key(unit).is_some_and(|key| found.contains(key)))
            .cloned()
            .collect();
        match of {
            SearchStage::Clusters => {
                let mut by_cluster: BTreeMap<&ClusterId, Vec<Unit>> = BTreeMap::new();
                for unit in &poison {
                    if let Some(cluster) = unit.cluster() {
                        by_cluster.entry(cluster).or_default().push(unit.clone());
                    }
                }
                by_cluster.values().for_each(|units| self.search_in(zone_id, units, message, now));
            }
            SearchStage::Units => {
                self.refuse_units(zone_id, &poison, message, now);
                if poison.iter().any(|unit| carries(unit, message)) {
                    self.refuse_alike(zone_id, message, now);
                }
            }
        }
    }

    /// A unit that carries what the message repeats was refused for itself. The cluster's others in the search that carry it
    /// too wait as it does, and cost no call each.
    fn refuse_alike(&mut self, zone_id: &ZoneId, message: &str, now: Timestamp) {
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        let Some(search) = zone.searches.front_mut() else { return };
        let open = search.open_keys();
        let names: BTreeSet<DnsName> = open.iter().map(|key| key.name.clone()).collect();
        let planned = names.iter().flat_map(|name| zone.state.units(name, now));
        let alike: Vec<Unit> = planned
            .filter(|unit| {
                unit_key(unit).is_some_and(|key| open.contains(key)) && carries(unit, message)
            })
            .collect();
        let keys: BTreeSet<RecordKey> = alike.iter().filter_map(unit_key).cloned().collect();
        search.settle(&keys);
        self.refuse_units(zone_id, &alike, message, now);
        self.note(zone_id, keys.into_iter().map(|key| key.name));
    }
}
