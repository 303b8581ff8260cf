//! What Route 53 holds against what the book believes: drift, foreign sets, and calls of ours that came late.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::name_state::Sighting;
use super::zone::{Late, ZoneBook};
use crate::core::change::Batch;
use crate::core::name::DnsName;
use crate::core::packed::PackedRecord;
use crate::core::plan::{Drift, Ownership};
use crate::core::record::{RawRecordSet, RecordKey};
use crate::core::time::{Millis, Timestamp};
use crate::ports::RecordWrite;

/// A call that was lost on its way may still be carried out for so long after it was found not to have been.
pub const LATE_FOR: Millis = Millis::from_secs(900);
/// A page of what Route 53 holds, from a name on.
#[derive(Clone, Debug)]
pub struct Page {
    /// The first name that the page can speak of; none for the zone's first.
    pub from: Option<DnsName>,
    /// The first name that it does not speak of; none when it reaches the end.
    pub until: Option<DnsName>,
    /// The sets.
    pub sets: Vec<RawRecordSet>,
}

/// What a page differed in.
#[derive(Debug, Default)]
pub struct PageDiff {
    /// For the store.
    pub writes: Vec<RecordWrite>,
    /// The names to look at again.
    pub touched: BTreeSet<DnsName>,
    /// Sets of ours that somebody else changed or removed.
    pub drifted: Vec<RecordKey>,
}

impl ZoneBook {
    /// Notes a batch whose answer was lost and that was not there when it was read back, and from when on that is to be
    /// reckoned. It may come late: what it would have made is then ours and no foreign record.
    pub fn may_come_late(&mut self, batch: &Batch, since: Timestamp) {
        self.late.retain(|_, late| late.until > since);
        for change in batch.changes() {
            if let Some(raw) = &change.after {
                let owner = Ownership { cluster: change.cause.cluster.clone(), batch: batch.id };
                self.late.insert(change.key.clone(), Late { raw: raw.clone(), owner, until: since + LATE_FOR });
            }
        }
    }

    /// Who made a set that was not expected: a call of ours that came late, or somebody else.
    fn came_late(&mut self, key: &RecordKey, raw: &RawRecordSet, now: Timestamp) -> Option<Arc<Ownership>> {
        let late = self.late.get(key).filter(|late| late.until > now && same(&late.raw, raw))?;
        let owner = Arc::new(late.owner.clone());
        self.late.remove(key);
        Some(owner)
    }

    /// Takes a page of what Route 53 holds. The caller makes sure that no call on the zone was in flight beside it.
    pub fn compare(&mut self, page: &Page, now: Timestamp) -> PageDiff {
        let mut held: BTreeMap<RecordKey, RawRecordSet> = BTreeMap::new();
        for raw in &page.sets {
            // A type that Route 53 will have one day cannot be a record of ours, nor in the way of one.
            if let Ok(key) = raw.key() {
                held.insert(key, raw.clone());
            }
        }
        let lower = page.from.clone().map_or(Bound::Unbounded, Bound::Included);
        let upper = page.until.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let known: Vec<(RecordKey, Sighting)> = self
            .names
            .range((lower, upper))
            .flat_map(|(name, state)| state.observed.as_slice().iter().map(|sighting| (sighting.key(name), sighting.clone())))
            .collect();
        let mut diff = PageDiff::default();
        for (key, old) in known {
            match held.remove(&key) {
                Some(raw) if old.is_there() && PackedRecord::pack(&key, &raw) == old.record => {}
                Some(raw) => self.differs(key, &old, &raw, now, &mut diff),
                None => self.missing(key, &old, now, &mut diff),
            }
        }
        for (key, raw) in held {
            let owner = self.came_late(&key, &raw, now);
            let (name, is_ours) = (key.name.clone(), owner.is_some());
            let seen = Sighting::new(&key, PackedRecord::pack(&key, &raw), owner, None);
            self.note(key, seen, now, &mut diff);
            if let Some(state) = self.names.get_mut(&name).filter(|_| is_ours) {
                state.came_late();
            }
        }
        diff
    }

    /// What stands under a key is somebody else's, whoever had it before.
    pub fn sees_others(&mut self, key: RecordKey, raw: &RawRecordSet, now: Timestamp) -> RecordWrite {
        let seen = Sighting::new(&key, PackedRecord::pack(&key, raw), None, None);
        let write = RecordWrite::Put(seen.row(key.clone(), now));
        self.observe(&key, Some(seen));
        write
    }

    fn note(&mut self, key: RecordKey, seen: Sighting, now: Timestamp, diff: &mut PageDiff) {
        diff.writes.push(RecordWrite::Put(seen.row(key.clone(), now)));
        diff.touched.insert(key.name.clone());
        self.observe(&key, Some(seen));
    }

    fn differs(&mut self, key: RecordKey, old: &Sighting, raw: &RawRecordSet, now: Timestamp, diff: &mut PageDiff) {
        // Another spelling of the same, such as another order of values, is no drift.
        let unchanged = old.is_there() && same(raw, &old.record.unpack(&key));
        let (owner, drift) = match self.came_late(&key, raw, now) {
            Some(owner) => (Some(owner), None),
            None if unchanged => (old.owner.clone(), old.drift()),
            None => (old.owner.clone(), old.owner.as_ref().map(|_| Drift::Changed)),
        };
        if drift.is_some() && !unchanged {
            diff.drifted.push(key.clone());
        }
        let seen = Sighting::new(&key, PackedRecord::pack(&key, raw), owner, drift);
        self.note(key, seen, now, diff);
    }

    fn missing(&mut self, key: RecordKey, old: &Sighting, now: Timestamp, diff: &mut PageDiff) {
        let wanted = self.names.get(&key.name).is_some_and(|state| !state.contributions.is_empty());
        if old.owner.is_some() && wanted {
            if old.drift() != Some(Drift::Missing) {
                diff.drifted.push(key.clone());
                let seen = Sighting::new(&key, old.record.clone(), old.owner.clone(), Some(Drift::Missing));
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
