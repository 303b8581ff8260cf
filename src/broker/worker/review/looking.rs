//! Looking at names: a slice of those that were noted, and what follows from a look.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::worker::Worker;
use crate::broker::worker::view::Health;
use crate::core::dns::name::DnsName;
use crate::core::ids::ZoneId;
use crate::core::time::Timestamp;

/// How many names are looked at between two messages: about a millisecond.
pub const SLICE: usize = 100;

impl Worker {
    /// Notes names of a zone that Zonefold itself wants to be looked at.
    pub(in crate::broker::worker) fn note(
        &mut self,
        zone_id: &ZoneId,
        names: impl IntoIterator<Item = DnsName>,
    ) {
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        names
            .into_iter()
            .for_each(|name| self.reviews.note(zone_id, &mut zone.reviews, None, name));
        self.dirty_view = true;
    }

    /// Notes all names of a zone.
    pub(in crate::broker::worker) fn note_all(&mut self, zone_id: &ZoneId) {
        if self.loading.is_loading() {
            // All names of all zones are noted once all endpoints are loaded.
            return;
        }
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        self.reviews.note_all(zone_id, &mut zone.reviews, zone.state.len());
        self.dirty_view = true;
    }

    /// Notes all names that have something to send, since what they wait for has changed.
    pub(in crate::broker::worker) fn note_waiting(&mut self) {
        let with_work = self.zones.all().filter(|(_, zone)| !zone.backlog.is_empty());
        let waiting: Vec<_> =
            with_work.map(|(zone_id, zone)| (zone_id.clone(), zone.backlog.names())).collect();
        waiting.into_iter().for_each(|(zone_id, names)| self.note(&zone_id, names));
    }

    /// Gives the entries held back in a zone their turns, unless a batch there is still in doubt.
    pub(in crate::broker::worker) fn release_held(&mut self, zone_id: &ZoneId) {
        let Some(zone) = self.zones.get_mut(zone_id).filter(|zone| zone.in_doubt.is_empty()) else {
            return;
        };
        self.reviews.release(zone_id, &mut zone.reviews);
    }

    /// Whether names are to be looked at.
    pub(in crate::broker::worker) fn has_reviews(&self) -> bool {
        !self.reviews.is_empty()
    }

    /// Looks at the next names: one slice, however many wait.
    pub(in crate::broker::worker) fn review_some(&mut self) {
        let now = self.clock.now();
        self.govern(now);
        let mut slice: BTreeMap<ZoneId, Vec<DnsName>> = BTreeMap::new();
        for _ in 0..SLICE {
            let Some((asker, (zone_id, look))) = self.reviews.take() else { break };
            let Some(zone) = self.zones.get_mut(&zone_id) else { continue };
            if !zone.in_doubt.is_empty() {
                zone.reviews.hold_back(asker, look);
                continue;
            }
            let (name, goes_on) = zone.reviews.turn(&asker, &look, &zone.state);
            if let Some(name) = name {
                slice.entry(zone_id.clone()).or_default().push(name);
            }
            if goes_on {
                self.reviews.go_on(asker, zone_id, look);
            }
        }
        for (zone_id, names) in slice {
            self.review(&zone_id, names, now);
        }
        if self.loading.is_looking() && !self.reviews.has(&None) {
            self.loading.done();
            // The broker's start waits for this.
            self.publish(now);
        }
        self.dirty_view = true;
    }

    /// Looks at names now: claims, plans, statuses, and whether there is something to send.
    pub(in crate::broker::worker) fn review(
        &mut self,
        zone_id: &ZoneId,
        names: impl IntoIterator<Item = DnsName>,
        now: Timestamp,
    ) {
        if self.loading.is_loading() {
            // An endpoint that is not loaded yet looks like one that is gone. All names are looked at once all are loaded.
            return;
        }
        let detail = self.pending_detail(zone_id, now);
        let expected_at = self.expected_at(zone_id, now);
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        if !zone.in_doubt.is_empty() {
            // The zone's records are in doubt; a plan made now could be wrong, and a status too.
            zone.reviews.hold(names);
            return;
        }
        let placement = zone.state.context.placement.clone();
        let (mut statuses, mut others, mut counted) = (vec![], BTreeSet::new(), vec![]);
        for name in names {
            zone.reviews.looked_at(&name);
            let review = zone.state.review(&name, now, &detail, expected_at);
            zone.pending_writes.extend(review.adopted);
            let searched = zone.searches.iter().any(|search| search.holds(&name));
            zone.backlog.set(&name, review.work.filter(|_| !searched));
            statuses.extend(review.statuses);
            others.extend(review.others);
            counted.push((name, review.counted));
        }
        self.dirty_view = true;
        for (name, counted) in counted {
            self.count_planned(zone_id, &name, counted);
        }
        self.watch_guards(now);
        self.note(zone_id, others);
        for (held, status) in statuses {
            self.feedback.tell(&held, &placement, status, now);
        }
    }

    /// Why an endpoint is pending, apart from waiting for its turn.
    fn pending_detail(&self, zone_id: &ZoneId, now: Timestamp) -> String {
        if let Health::Parked { message, .. } = &self.health {
            return format!("the account {} is parked: {message}", self.settings.account);
        }
        match self.zones.get(zone_id) {
            Some(zone)
                if !zone.is_open(now) || zone.changes_open_from().is_some_and(|at| at > now) =>
            {
                zone.told_trouble(now).map_or_else(String::new, |(message, _)| message)
            }
            Some(zone) if zone.listed_at.is_none() => {
                format!("the zone {} is being listed for the first time", zone.facts.name)
            }
            _ => String::new(),
        }
    }

    /// When a change added now would go out, if the account goes on as it is.
    fn expected_at(&mut self, zone_id: &ZoneId, now: Timestamp) -> Option<Timestamp> {
        if !matches!(self.health, Health::Working) {
            return None;
        }
        let changes = self.zones.agenda(now).cost();
        let at = self.budget.predict(now, 1, changes.max(1));
        let zone = self.zones.get(zone_id)?;
        let open_at = zone.changes_open_from().unwrap_or(at);
        (at.0 < i64::MAX).then(|| at.max(zone.free_at).max(open_at))
    }
}
