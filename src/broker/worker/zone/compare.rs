//! Compares the zone state with what Route 53 holds: drift, foreign sets, and calls of ours that came late.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::name_state::Sighting;
use super::{Late, ZoneState};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RawRecordSet, RecordKey};
use crate::core::endpoint::packed::PackedRecord;
use crate::core::ids::BatchId;
use crate::core::planning::change::Batch;
use crate::core::planning::plan::{Drift, Ownership};
use crate::core::time::{Millis, Timestamp};
use crate::ports::RecordWrite;

/// How long after it was found not applied a lost call may still be carried out.
pub const LATE_FOR: Millis = Millis::from_secs(900);

/// A page of what Route 53 holds, from a name on.
#[derive(Clone, Debug)]
pub struct Page {
    /// The first name that the page covers; `None` if it starts at the zone's first.
    pub from: Option<DnsName>,
    /// The first name after those that it covers; `None` if it reaches the end.
    pub until: Option<DnsName>,
    pub sets: Vec<RawRecordSet>,
}

impl Page {
    fn speaks_of(&self, name: &DnsName) -> bool {
        self.from.as_ref().is_none_or(|from| from <= name)
            && self.until.as_ref().is_none_or(|until| name < until)
    }
}

/// The differences that a page showed.
#[derive(Debug, Default)]
pub struct PageDiff {
    /// For the store.
    pub writes: Vec<RecordWrite>,
    /// The names to look at again.
    pub touched: BTreeSet<DnsName>,
    /// Our sets that another writer changed or removed.
    pub drifted: Vec<RecordKey>,
    /// The names of sets that lost calls of ours made.
    pub came_late: Vec<DnsName>,
}

impl ZoneState {
    /// Notes a batch whose answer was lost and that was not there when it was read back; [`LATE_FOR`] counts from `since`. It may
    /// come late: a set that it creates is then ours and no foreign record, and one that it deletes is no drift.
    pub fn may_come_late(&mut self, batch: &Batch, since: Timestamp) {
        for may_come in [&mut self.late, &mut self.late_deletions] {
            may_come.retain(|_, calls| {
                calls.retain(|late| late.until > since && late.owner.batch != batch.id);
                !calls.is_empty()
            });
        }
        for change in batch.changes() {
            let (may_come, raw) = match (&change.before, &change.after) {
                (_, Some(after)) => (&mut self.late, after),
                (Some(before), None) => (&mut self.late_deletions, before),
                (None, None) => continue,
            };
            let owner = Ownership { cluster: change.cause.cluster.clone(), batch: batch.id };
            let (raw, until) = (raw.clone(), since + LATE_FOR);
            let late = Late { raw, owner, until, has_come: false };
            may_come.entry(change.key.clone()).or_default().push(late);
        }
    }

    /// The ownership of an unexpected set that a late call of ours made; `None` if another writer made it.
    fn came_late(
        &mut self,
        key: &RecordKey,
        raw: &RawRecordSet,
        now: Timestamp,
    ) -> Option<Arc<Ownership>> {
        let calls = self.late.get_mut(key)?;
        // Where several calls may have made it, the others are still to come.
        let which = calls.iter().position(|late| late.until > now && same(&late.raw, raw))?;
        Some(Arc::new(calls.remove(which).owner))
    }

    /// A call is carried out whole or not at all, so one set that only this lost call makes shows that the rest was made too.
    fn note_what_came(&mut self, held: &BTreeMap<RecordKey, RawRecordSet>, now: Timestamp) {
        let made_here = |(key, calls): (&RecordKey, &Vec<Late>)| {
            let raw = held.get(key)?;
            let is_known = self.sighting(key).is_some_and(Sighting::is_there);
            let mut makers = calls.iter().filter(|late| late.until > now && same(&late.raw, raw));
            let (first, second) = (makers.next()?, makers.next());
            (!is_known && second.is_none()).then_some(first.owner.batch)
        };
        let came: BTreeSet<BatchId> = self.late.iter().filter_map(made_here).collect();
        self.late
            .values_mut()
            .flatten()
            .filter(|late| came.contains(&late.owner.batch))
            .for_each(|late| late.has_come = true);
    }

    /// The lost calls that were not carried out, as far as a page tells: something that it covers is not as they would leave it.
    fn not_come(&self, page: &Page, held: &BTreeMap<RecordKey, RawRecordSet>) -> BTreeSet<BatchId> {
        let holds =
            |key: &RecordKey, raw: &RawRecordSet| held.get(key).is_some_and(|held| same(held, raw));
        let such = |may_come: &HashMap<RecordKey, Vec<Late>>, is_held: bool| -> BTreeSet<BatchId> {
            let spoken_of = may_come.iter().filter(|(key, _)| page.speaks_of(&key.name));
            spoken_of
                .flat_map(|(key, calls)| calls.iter().map(move |late| (key, late)))
                .filter(|(key, late)| holds(key, &late.raw) == is_held)
                .map(|(_, late)| late.owner.batch)
                .collect()
        };
        &such(&self.late, false) | &such(&self.late_deletions, true)
    }

    /// Whether a lost call of ours deleted a missing set. Only another writer's deletion of the very same set looks alike.
    fn went_late(
        &mut self,
        key: &RecordKey,
        old: &Sighting,
        not_come: &BTreeSet<BatchId>,
        now: Timestamp,
    ) -> bool {
        let Some(calls) = self.late_deletions.get_mut(key) else { return false };
        let went = calls.iter().position(|late| {
            late.until > now
                && !not_come.contains(&late.owner.batch)
                && same(&late.raw, &old.record.unpack(key))
        });
        went.map(|which| calls.remove(which)).is_some()
    }

    /// The ownership of a set that a lost call of ours made late and unseen, and that another writer then changed.
    fn came_late_and_changed(&mut self, key: &RecordKey, now: Timestamp) -> Option<Arc<Ownership>> {
        let mut calls = self.late.get(key)?.iter();
        let late = calls.find(|late| late.until > now && late.has_come)?;
        Some(Arc::new(late.owner.clone()))
    }

    /// Takes a page of what Route 53 holds. The caller makes sure that no other call on the zone was in flight.
    pub fn compare(&mut self, page: &Page, now: Timestamp) -> PageDiff {
        let mut held: BTreeMap<RecordKey, RawRecordSet> = BTreeMap::new();
        for raw in &page.sets {
            // An unknown type cannot be a record of ours, but it is in the way of a CNAME.
            if let Ok(key) = raw.observed_key() {
                held.insert(key, raw.clone());
            }
        }
        self.note_what_came(&held, now);
        let not_come = self.not_come(page, &held);
        let lower = page.from.clone().map_or(Bound::Unbounded, Bound::Included);
        let upper = page.until.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let known: Vec<(RecordKey, Sighting)> = self
            .names
            .range((lower, upper))
            .flat_map(|(name, state)| {
                state
                    .observed
                    .as_slice()
                    .iter()
                    .map(|sighting| (sighting.key(name), sighting.clone()))
            })
            .collect();
        let mut diff = PageDiff::default();
        for (key, old) in known {
            match held.remove(&key) {
                Some(raw) if old.is_there() && PackedRecord::pack(&key, &raw) == old.record => {}
                Some(raw) => self.differs(key, &old, &raw, now, &mut diff),
                None => {
                    let is_ours = self.went_late(&key, &old, &not_come, now);
                    self.missing(key, &old, is_ours, now, &mut diff);
                }
            }
        }
        for (key, raw) in held {
            if let Some(owner) = self.came_late(&key, &raw, now) {
                let name = key.name.clone();
                let seen = Sighting::new(&key, PackedRecord::pack(&key, &raw), Some(owner), None);
                self.note(key, seen, now, &mut diff);
                self.await_sync_of(&name, &mut diff);
                continue;
            }
            let owner = self.came_late_and_changed(&key, now);
            let drift = owner.as_ref().map(|_| Drift::Changed);
            diff.drifted.extend(drift.map(|_| key.clone()));
            let seen = Sighting::new(&key, PackedRecord::pack(&key, &raw), owner, drift);
            self.note(key, seen, now, &mut diff);
        }
        // Nothing more is to come of a call that was carried out.
        for (_, calls) in self.late.iter_mut().filter(|(key, _)| page.speaks_of(&key.name)) {
            calls.retain(|late| !late.has_come);
        }
        diff
    }

    /// The set under a key is foreign, whatever its ownership was before.
    pub fn sees_others(
        &mut self,
        key: RecordKey,
        raw: &RawRecordSet,
        now: Timestamp,
    ) -> RecordWrite {
        let seen = Sighting::new(&key, PackedRecord::pack(&key, raw), None, None);
        let write = RecordWrite::Put(seen.row(key.clone(), now));
        self.observe(&key, Some(seen));
        write
    }

    /// Another writer changed the set under a key of ours.
    pub fn sees_changed(
        &mut self,
        key: RecordKey,
        raw: &RawRecordSet,
        now: Timestamp,
    ) -> RecordWrite {
        let owner = self.sighting(&key).and_then(|sighting| sighting.owner.clone());
        let drift = owner.as_ref().map(|_| Drift::Changed);
        let seen = Sighting::new(&key, PackedRecord::pack(&key, raw), owner, drift);
        let write = RecordWrite::Put(seen.row(key.clone(), now));
        self.observe(&key, Some(seen));
        write
    }

    fn note(&mut self, key: RecordKey, seen: Sighting, now: Timestamp, diff: &mut PageDiff) {
        diff.writes.push(RecordWrite::Put(seen.row(key.clone(), now)));
        diff.touched.insert(key.name.clone());
        self.observe(&key, Some(seen));
    }

    fn differs(
        &mut self,
        key: RecordKey,
        old: &Sighting,
        raw: &RawRecordSet,
        now: Timestamp,
        diff: &mut PageDiff,
    ) {
        // Another spelling of the same, such as another order of values, is no drift.
        let unchanged = old.is_there() && same(raw, &old.record.unpack(&key));
        let late = self.came_late(&key, raw, now);
        let (owner, drift) = match &late {
            Some(owner) => (Some(Arc::clone(owner)), None),
            None if unchanged => (old.owner.clone(), old.drift()),
            None => (old.owner.clone(), old.owner.as_ref().map(|_| Drift::Changed)),
        };
        if drift.is_some() && !unchanged {
            diff.drifted.push(key.clone());
        }
        let name = key.name.clone();
        let has_come_late = late.is_some();
        let seen = Sighting::new(&key, PackedRecord::pack(&key, raw), owner, drift);
        self.note(key, seen, now, diff);
        if has_come_late {
            self.await_sync_of(&name, diff);
        }
    }

    /// A set that a lost call of ours made at a name is there, and may not be in sync yet.
    fn await_sync_of(&mut self, name: &DnsName, diff: &mut PageDiff) {
        self.names.entry(name.clone()).or_default().came_late();
        diff.came_late.push(name.clone());
    }

    fn missing(
        &mut self,
        key: RecordKey,
        old: &Sighting,
        is_ours: bool,
        now: Timestamp,
        diff: &mut PageDiff,
    ) {
        let wanted = self.names.get(&key.name).is_some_and(|state| !state.contributions.is_empty());
        if old.owner.is_some() && wanted && !is_ours {
            if old.drift() != Some(Drift::Missing) {
                diff.drifted.push(key.clone());
                let seen = Sighting::new(
                    &key,
                    old.record.clone(),
                    old.owner.clone(),
                    Some(Drift::Missing),
                );
                self.note(key, seen, now, diff);
            }
            return;
        }
        diff.writes.push(RecordWrite::Remove(key.clone()));
        diff.touched.insert(key.name.clone());
        self.observe(&key, None);
    }
}

/// Whether two raw forms say the same.
pub fn same(a: &RawRecordSet, b: &RawRecordSet) -> bool {
    a == b || matches!((a.canonical(), b.canonical()), (Ok(a), Ok(b)) if a == b)
}
