//! Reading what Route 53 holds: the first listing, the sweep for drift, and the reading back of what is in doubt.

use std::sync::Arc;

use futures::FutureExt;
use tracing::{info, warn};

use super::calls::{Done, WakeAt, persist};
use super::sending::names_of;
use crate::broker::worker::Worker;
use crate::broker::worker::agenda::Kind;
use crate::broker::worker::zone::ZoneState;
use crate::broker::worker::zone::compare::same;
use crate::broker::worker::zone::reader::Reader;
use crate::broker::worker::zone::work::{AwaitedChange, ZoneWork};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RawRecordSet, RecordKey};
use crate::core::ids::ZoneId;
use crate::core::limits::budget::{ApiAction, Lane, Permit};
use crate::core::planning::change::{Batch, Change, Unit};
use crate::core::planning::plan::{Drift, Observed};
use crate::core::time::{Millis, Timestamp};
use crate::ports::{
    BatchOutcome, CallError, ClaimWrite, DnsProvider as _, RecordPage, RecordWrite,
};

/// The longest wait between two questions after one change.
const LONGEST_ASK: Millis = Millis(20_000);
/// Questions after which a change is asked after seldom: Route 53 propagates within a minute as a rule.
const MANY_ASKS: u32 = 30;
/// The wait between two questions from then on.
const SELDOM_ASK: Millis = Millis::from_secs(600);

impl Worker {
    /// Reads that others wait for: the first listing of a zone, and the reading back of unknown outcomes.
    pub(in crate::broker::worker) fn start_required_reads(
        &mut self,
        now: Timestamp,
        wake: &mut WakeAt,
    ) {
        let mut last = None;
        while let Some(due) = self.zones.agenda(now).next_due(Kind::Read, last.as_ref()) {
            // If one read cannot be paid for, none can: each is one page.
            let Some(permit) =
                self.permit(now, Lane::Changes, ApiAction::ListResourceRecordSets, 0, wake)
            else {
                return;
            };
            let Some(zone) = self.zones.get_mut(&due.1) else { return };
            if zone.reader.is_none() && !zone.in_doubt.is_empty() {
                let names = zone.in_doubt.iter().flat_map(|row| names_of(&row.batch)).collect();
                zone.reader = Some(Reader::of(names));
            } else if zone.reader.is_none() {
                info!(account = %zone.facts.account, zone = %due.1, name = %zone.facts.name, "listing the zone for the first time");
                zone.reader = Some(Reader::whole());
            }
            self.start_page(&due.1, permit, now);
            last = Some(due);
        }
    }

    /// Reads without urgency: the sweep for drift and GetChange, with spare tokens; the longest wait first.
    pub(in crate::broker::worker) fn start_spare_reads(
        &mut self,
        now: Timestamp,
        wake: &mut WakeAt,
    ) {
        let (mut last_ask, mut last_sweep) = (None, None);
        let (mut may_ask, mut may_sweep) = (true, true);
        loop {
            let agenda = self.zones.agenda(now);
            let ask = agenda.next_due(Kind::Ask, last_ask.as_ref()).filter(|_| may_ask);
            let sweep = agenda.next_due(Kind::Sweep, last_sweep.as_ref()).filter(|_| may_sweep);
            match (ask, sweep) {
                (Some(ask), sweep) if sweep.as_ref().is_none_or(|sweep| ask <= *sweep) => {
                    may_ask = self.ask_after_change(&ask.1, now, wake);
                    last_ask = Some(ask);
                }
                (_, Some(sweep)) => {
                    may_sweep = self.go_on_sweeping(&sweep.1, now, wake);
                    last_sweep = Some(sweep);
                }
                _ => return,
            }
        }
    }

    /// Reads the next page of a sweep; returns whether there was a token for it.
    fn go_on_sweeping(&mut self, zone_id: &ZoneId, now: Timestamp, wake: &mut WakeAt) -> bool {
        let Some(permit) =
            self.permit(now, Lane::Reads, ApiAction::ListResourceRecordSets, 0, wake)
        else {
            return false;
        };
        if let Some(zone) = self.zones.get_mut(zone_id) {
            zone.reader.get_or_insert_with(Reader::whole);
        }
        self.start_page(zone_id, permit, now);
        true
    }

    fn start_page(&mut self, zone_id: &ZoneId, permit: Permit, now: Timestamp) {
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        let cursor = zone.reader.as_ref().and_then(|reader| reader.cursor().cloned());
        zone.busy = true;
        zone.last_call_at = now;
        let (provider, zone_id, paid) =
            (Arc::clone(&self.provider), zone_id.clone(), permit.paid());
        self.spawn(
            async move {
                let result = provider.list_records(permit, &zone_id, cursor).await;
                Done::Page { paid, zone: zone_id, result }
            }
            .boxed(),
        );
    }

    pub(in crate::broker::worker) fn finish_page(
        &mut self,
        zone_id: &ZoneId,
        result: Result<RecordPage, CallError>,
        now: Timestamp,
    ) {
        let page = match result {
            Ok(page) => page,
            Err(error) => {
                self.not_applied(zone_id, &error, now);
                self.release(zone_id, now);
                return;
            }
        };
        self.budget.succeeded(now);
        let drift_interval = self.settings.drift_interval;
        let jitter = Millis(self.rng.i64(0..=drift_interval.0 / 10));
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        zone.trouble = None;
        let gap = zone.gap;
        let Some(mut reader) = zone.reader.take() else {
            self.release(zone_id, now);
            return;
        };
        let whole = reader.is_whole();
        let (page, is_last) = reader.take(page);
        let diff = zone.state.compare(&page, now);
        if !diff.came_late.is_empty() {
            zone.sequence += 1;
            let change = AwaitedChange { sequence: zone.sequence, change_id: None, since: now };
            zone.await_sync(change, diff.came_late);
        }
        zone.doubted.retain(|(unit, _)| {
            !unit.changes.iter().any(|change| diff.touched.contains(&change.key.name))
        });
        let unchanged = if is_last { std::mem::take(&mut zone.doubted) } else { vec![] };
        let first_listing = zone.listed_at.is_none();
        if !first_listing && zone.in_doubt.is_empty() {
            for key in &diff.drifted {
                warn!(account = %zone.facts.account, zone = %zone_id, key = %key, policy = %zone.state.settings.drift, "another writer changed a record set of ours");
            }
            self.metrics.drifted(diff.drifted.len());
        }
        if !first_listing {
            zone.reviews.hold(diff.touched);
        }
        let mut listed_at = None;
        if !is_last {
            zone.reader = Some(reader);
        } else if whole {
            zone.listed_at = Some(now);
            zone.sweep_at = now + drift_interval + jitter;
            listed_at = Some(now);
            if first_listing {
                info!(account = %zone.facts.account, zone = %zone_id, records = zone.state.counts().records, "zone listed");
                zone.reviews.hold_all(zone.state.len());
            }
        }
        let settled = if is_last { settle_batches(zone, now) } else { vec![] };
        if !settled.is_empty() {
            // A call that was found to be done may have been made just now.
            zone.free_at = zone.free_at.max(now + gap);
        }
        for Settled { batch, .. } in settled.iter().filter(|settled| settled.outcome.is_done()) {
            self.count_applied(batch, now);
        }
        for (unit, message) in unchanged {
            self.refuse_unchanged(zone_id, &unit, &message, now);
        }
        self.save_page(zone_id, diff.writes, listed_at, settled);
    }

    /// A unit was refused for a reason that is not to be seen in the zone: it would be refused again.
    fn refuse_unchanged(&mut self, zone_id: &ZoneId, unit: &Unit, message: &str, now: Timestamp) {
        self.refuse_units(zone_id, std::slice::from_ref(unit), message, now);
        if let Some(zone) = self.zones.get_mut(zone_id) {
            zone.reviews.hold(unit.changes.iter().map(|change| change.key.name.clone()));
        }
    }

    /// Makes a page durable, then the ends of the batches that it settled; the zone stays busy until then.
    fn save_page(
        &mut self,
        zone_id: &ZoneId,
        writes: Vec<RecordWrite>,
        listed_at: Option<Timestamp>,
        settled: Vec<Settled>,
    ) {
        let (store, lease, clock, zone) =
            (Arc::clone(&self.store), self.lease.clone(), Arc::clone(&self.clock), zone_id.clone());
        self.spawn(
            async move {
                if !writes.is_empty() || listed_at.is_some() {
                    let saved = persist(&lease, "a page of records", || {
                        store.save_records(&zone, &writes, listed_at)
                    })
                    .await;
                    if !saved {
                        return Done::Nothing;
                    }
                }
                for Settled { batch, outcome, writes, claims } in &settled {
                    let done = persist(&lease, "the end of a batch", || {
                        store.finish_batch(batch, outcome, writes, claims, clock.now())
                    })
                    .await;
                    if !done {
                        return Done::Nothing;
                    }
                }
                Done::Saved { zone, claims: vec![] }
            }
            .boxed(),
        );
    }

    /// A save is done: the names that it touched get their turns, unless something is still unknown.
    pub(in crate::broker::worker) fn finish_saved(
        &mut self,
        zone_id: &ZoneId,
        claims: &[ClaimWrite],
        now: Timestamp,
    ) {
        self.release(zone_id, now);
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        zone.state.claims_kept(claims);
        if zone.listed_at.is_some() && zone.in_doubt.is_empty() {
            let followers = zone.state.followers_of(zone.reviews.held());
            self.release_held(zone_id);
            self.note(zone_id, followers);
        }
    }

    /// Asks whether a change is INSYNC, or knows it by the time that has passed; returns whether there was a token for it.
    fn ask_after_change(&mut self, zone_id: &ZoneId, now: Timestamp, wake: &mut WakeAt) -> bool {
        let Some(sync) = self.zones.get(zone_id).and_then(|zone| zone.sync.as_ref()) else {
            return true;
        };
        let Some(change_id) = sync.change.change_id.clone() else {
            self.reached(zone_id, now);
            return true;
        };
        let Some(permit) = self.permit(now, Lane::Reads, ApiAction::GetChange, 0, wake) else {
            return false;
        };
        if let Some(zone) = self.zones.get_mut(zone_id)
            && let Some(sync) = &mut zone.sync
        {
            // Not asked again before the answer; the answer sets the next time.
            sync.ask_at = now + Millis(120_000);
        }
        let (provider, zone, paid) = (Arc::clone(&self.provider), zone_id.clone(), permit.paid());
        self.spawn(
            async move {
                let result = provider.change_in_sync(permit, &change_id).await;
                Done::Synced { paid, zone, result }
            }
            .boxed(),
        );
        true
    }

    pub(in crate::broker::worker) fn finish_sync(
        &mut self,
        zone_id: &ZoneId,
        result: Result<bool, CallError>,
        now: Timestamp,
    ) {
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        let Some(sync) = &mut zone.sync else { return };
        sync.asked += 1;
        let arrived = match result {
            Ok(in_sync) => in_sync,
            // Route 53 forgets changes; one that it no longer knows is long in sync.
            Err(CallError::NotFound { .. }) => true,
            Err(CallError::Throttled) => {
                self.metrics.throttled();
                self.budget.throttled(now);
                false
            }
            Err(_) => false,
        };
        if arrived {
            self.reached(zone_id, now);
        } else if sync.asked < MANY_ASKS {
            let wait = Millis((2_000_i64 << sync.asked.min(8)).min(LONGEST_ASK.0));
            sync.ask_at = now + wait;
        } else {
            // A later change may be known to be in sync sooner, and then this one is too.
            sync.ask_at = now + SELDOM_ASK;
            let sequence = sync.change.sequence;
            if zone.latest_change.as_ref().is_some_and(|latest| latest.sequence > sequence) {
                zone.watch_later_than(sequence, now);
            }
        }
    }

    /// The change that is watched is INSYNC, and with it all before it.
    fn reached(&mut self, zone_id: &ZoneId, now: Timestamp) {
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        let Some(up_to) = zone.sync.as_ref().map(|sync| sync.change.sequence) else { return };
        zone.watch_later_than(up_to, now);
        let reached = zone.take_reached(up_to);
        let names: Vec<DnsName> =
            reached.into_iter().filter(|name| zone.state.in_sync(name, up_to)).collect();
        self.note(zone_id, names);
    }
}

/// A batch whose outcome was found by reading back.
struct Settled {
    batch: Batch,
    outcome: BatchOutcome,
    writes: Vec<RecordWrite>,
    claims: Vec<ClaimWrite>,
}

/// Decides the outcome of batches in doubt from what was read. A batch is applied whole or not at all, so one record set that
/// is as the batch would have made it shows that all were made. But one that still stands exactly as the batch would have deleted
/// it outweighs that: another writer, or an earlier call that came late, did what looks like the batch's work. They may have done
/// so in any case, so the journal never says more than what was found.
fn settle_batches(zone: &mut ZoneWork, now: Timestamp) -> Vec<Settled> {
    let rows = std::mem::take(&mut zone.in_doubt);
    let settled: Vec<Settled> =
        rows.into_iter().map(|row| settle_batch(zone, row.batch, now)).collect();
    let code = zone.doubt_code.take();
    if settled.iter().any(|settled| settled.outcome.is_done()) {
        zone.change_trouble = None;
        // A change that is answered with that code may have been applied.
        if let Some(code) = code {
            zone.unlisted.remove(&code);
        }
    }
    for Settled { batch, outcome, .. } in &settled {
        info!(zone = %batch.zone, batch = %batch.id, found_done = outcome.is_done(), "the outcome of a batch was read back");
        zone.reviews.hold(names_of(batch));
    }
    settled
}

fn settle_batch(zone: &mut ZoneWork, batch: Batch, now: Timestamp) -> Settled {
    let traces = Traces { state: &zone.state, batch: &batch };
    let came_not = batch.changes().any(|change| traces.of(change) == Trace::AsBefore);
    let found_done = !came_not && batch.changes().any(|change| traces.of(change) == Trace::Done);
    let is_certain = found_done && traces.has_evidence();
    let keys = |is_such: &dyn Fn(&Change) -> bool| -> Vec<RecordKey> {
        batch.changes().filter(|change| is_such(change)).map(|change| change.key.clone()).collect()
    };
    let is_other = |change: &Change| traces.of(change) == Trace::Other;
    // A different set where the batch may have deleted ours may have been made by another writer since.
    let others = keys(&|change| !came_not && change.after.is_none() && is_other(change));
    // A set that the batch created and that is different now was changed by another writer since.
    let changed = keys(&|change| is_certain && change.before.is_none() && is_other(change));
    let part = |arrived: bool| {
        let has_arrived = |change: &Change| {
            traces.of(change) == Trace::Done
                || others.contains(&change.key)
                || changed.contains(&change.key)
        };
        let units = batch.units.iter().filter_map(|unit| {
            let changes: Vec<_> = unit
                .changes
                .iter()
                .filter(|change| has_arrived(change) == arrived)
                .cloned()
                .collect();
            (!changes.is_empty()).then_some(Unit { changes })
        });
        Batch { units: units.collect(), ..batch.clone() }
    };
    let (arrived, missing) = (part(true), part(false));
    let found = |keys: Vec<RecordKey>| -> Vec<(RecordKey, RawRecordSet)> {
        keys.into_iter()
            .filter_map(|key| zone.state.observed(&key).map(|observed| (key, observed.raw)))
            .collect()
    };
    let (others, changed) = (found(others), found(changed));
    // Without evidence for the batch, others may have done the same; then it may still come.
    zone.state.may_come_late(if is_certain { &missing } else { &batch }, now);
    zone.sequence += 1;
    let (mut writes, claims) = zone.state.applied(&arrived, None, zone.sequence, now);
    let names = names_of(&arrived);
    if !names.is_empty() {
        let change = AwaitedChange { sequence: zone.sequence, change_id: None, since: now };
        zone.await_sync(change, names);
    }
    writes.extend(others.into_iter().map(|(key, raw)| zone.state.sees_others(key, &raw, now)));
    writes.extend(changed.into_iter().map(|(key, raw)| zone.state.sees_changed(key, &raw, now)));
    let outcome = if found_done { BatchOutcome::FoundDone } else { BatchOutcome::not_found() };
    Settled { batch, outcome, writes, claims }
}

/// The trace of one change of a batch in doubt, as read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trace {
    /// It is as the batch would have made it.
    Done,
    /// It still stands as the batch would have deleted or replaced it.
    AsBefore,
    /// The batch would have made something, and nothing is there.
    Nothing,
    /// Something else is there.
    Other,
}

/// The traces of a batch in doubt, as read back.
struct Traces<'a> {
    state: &'a ZoneState,
    batch: &'a Batch,
}

impl Traces<'_> {
    fn held(&self, change: &Change) -> Option<Observed> {
        self.state.observed(&change.key).filter(Observed::is_there)
    }

    fn of(&self, change: &Change) -> Trace {
        match (self.held(change).map(|observed| observed.raw), &change.after, &change.before) {
            (None, None, _) => Trace::Done,
            (Some(held), Some(after), _) if same(&held, after) => Trace::Done,
            (Some(held), _, Some(before)) if same(&held, before) => Trace::AsBefore,
            (None, Some(_), _) => Trace::Nothing,
            (Some(_), ..) => Trace::Other,
        }
    }

    /// Whether the batch made something as far as can be seen: it is there, and no earlier call of ours explains it.
    /// A missing set proves little, since any writer may delete it.
    fn has_evidence(&self) -> bool {
        self.batch
            .changes()
            .filter(|change| change.after.is_some() && self.of(change) == Trace::Done)
            .any(|change| {
                let is_unexplained =
                    |seen: Observed| seen.owner.is_none() || seen.drift == Some(Drift::Changed);
                self.held(change).is_some_and(is_unexplained)
            })
    }
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
