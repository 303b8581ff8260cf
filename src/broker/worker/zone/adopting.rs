//! Record sets that change hands without a call: they say what is wanted, and are not the owner's that wants them.

use std::sync::Arc;

use super::ZoneState;
use super::name_state::Sighting;
use crate::core::dns::record::RecordKey;
use crate::core::ids::{BatchId, ClusterId};
use crate::core::planning::claims::NameDecision;
use crate::core::planning::plan::Ownership;
use crate::core::time::Timestamp;
use crate::ports::RecordWrite;

impl ZoneState {
    /// Foreign sets that say what is wanted become ours as they are.
    pub(super) fn adopt(
        &mut self,
        decision: &NameDecision,
        keys: &[RecordKey],
        now: Timestamp,
    ) -> Vec<RecordWrite> {
        // No batch wrote it: the nil id says that it was taken over as it was.
        let batch = BatchId(uuid::Uuid::nil());
        let adopted = keys.iter().filter_map(|key| {
            let cluster = self.owner_of(decision, key)?;
            let record = self.sighting(key)?.record.clone();
            let owner = Arc::new(Ownership { cluster, batch });
            Some((key, Sighting::new(key, record, Some(owner), None)))
        });
        let adopted: Vec<_> = adopted.collect();
        self.observe_all(adopted, now)
    }

    /// Sets that stand as they are are another cluster's now; the batch that wrote them is the same.
    pub(super) fn hand_on(
        &mut self,
        decision: &NameDecision,
        keys: &[RecordKey],
        now: Timestamp,
    ) -> Vec<RecordWrite> {
        let passed = keys.iter().filter_map(|key| {
            let cluster = self.owner_of(decision, key)?;
            let there = self.sighting(key)?;
            let batch = there.owner.as_ref()?.batch;
            let owner = Arc::new(Ownership { cluster, batch });
            Some((key, Sighting::new(key, there.record.clone(), Some(owner), there.drift())))
        });
        let passed: Vec<_> = passed.collect();
        self.observe_all(passed, now)
    }

    fn observe_all(
        &mut self,
        sightings: Vec<(&RecordKey, Sighting)>,
        now: Timestamp,
    ) -> Vec<RecordWrite> {
        let note = |(key, sighting): (&RecordKey, Sighting)| {
            let write = RecordWrite::Put(sighting.row(key.clone(), now));
            self.observe(key, Some(sighting));
            write
        };
        sightings.into_iter().map(note).collect()
    }

    /// The cluster that a wanted set is for: the first of those that it adds up from.
    fn owner_of(&self, decision: &NameDecision, key: &RecordKey) -> Option<ClusterId> {
        let first = decision.desired.get(key)?.from.first()?;
        let contributions = self.names.get(&key.name)?.contributions.as_slice();
        Some(contributions.get(*first)?.cluster().clone())
    }
}
