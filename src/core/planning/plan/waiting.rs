//! Record sets of one name and type that have to wait for each other, since Route 53 judges them together: one routing policy, one TTL
//! of a weighted group, one set at each place of a policy.

use std::collections::BTreeMap;

use super::{BlockReason, Planner, SiblingBlock};
use crate::core::dns::record::{RawRecordSet, RecordKey, RecordType};
use crate::core::planning::change::Change;
use crate::core::planning::units::place_of;

impl Planner<'_> {
    /// A place of a routing policy is free only once the set that has it gives it up, so its successor waits for a set that
    /// cannot be changed now. So does a weighted set with another TTL than one that stays.
    pub(super) fn wait_for_places(&mut self) {
        loop {
            let blocked = &self.blocked;
            let moves = |key: &RecordKey| !blocked.contains(key) && self.changes.contains_key(key);
            let mut held: BTreeMap<_, &RecordKey> = BTreeMap::new();
            for (key, observed) in self.input.observed.iter().filter(|(_, o)| o.is_there()) {
                if !moves(key)
                    && let Some(place) = place_of(&observed.raw)
                {
                    held.insert(place, key);
                }
            }
            let waits = self.changes.iter().find_map(|(key, change)| {
                let place = place_of(change.after.as_ref()?)?;
                let holder = held.get(&place).filter(|holder| **holder != key)?;
                (!blocked.contains(key)).then(|| (key.clone(), (*holder).clone()))
            });
            if let Some((key, holder)) = waits {
                self.block(&key, BlockReason::KeptForSibling(SiblingBlock::PlaceOf(holder)));
            } else if let Some((key, holder)) = self.waits_for_ttl() {
                self.block(&key, BlockReason::KeptForSibling(SiblingBlock::TtlOf(holder)));
            } else if let Some((key, holder)) = self.waits_for_policy() {
                self.block(&key, BlockReason::KeptForSibling(SiblingBlock::PolicyOf(holder)));
            } else {
                return;
            }
        }
    }

    /// A set whose policy differs from that of one that is wanted beside it and cannot be changed now, and that one: a name and type
    /// switches whole or not.
    fn waits_for_policy(&self) -> Option<(RecordKey, RecordKey)> {
        let kind = |raw: &RawRecordSet| raw.canonical().ok().map(|set| set.policy.kind());
        let stays = self
            .input
            .observed
            .iter()
            .filter(|(key, observed)| observed.is_there() && self.blocked.contains(*key));
        stays.into_iter().find_map(|(stays, observed)| {
            let is_beside = |key: &RecordKey, change: &Change| {
                let after = change.after.as_ref();
                key.rtype == stays.rtype
                    && !self.blocked.contains(key)
                    && after.is_some_and(|after| kind(after) != kind(&observed.raw))
            };
            let (key, _) = self.changes.iter().find(|(key, change)| is_beside(key, change))?;
            Some((key.clone(), stays.clone()))
        })
    }

    /// A weighted set whose TTL differs from one that stays, and that one.
    fn waits_for_ttl(&self) -> Option<(RecordKey, RecordKey)> {
        let ttl = |raw: &RawRecordSet| raw.weight.and(raw.ttl_secs);
        let is_free = |key: &RecordKey| !self.blocked.contains(key);
        let changes = || self.changes.iter().filter(|(key, _)| is_free(key));
        let moves = |key: &RecordKey| changes().any(|(other, _)| other == key);
        let there = self.input.observed.iter().filter(|(_, observed)| observed.is_there());
        let stays = there.filter(|(key, observed)| ttl(&observed.raw).is_some() && !moves(key));
        stays.into_iter().find_map(|(stays, observed)| {
            let is_beside = |key: &RecordKey, change: &Change| {
                let after = change.after.as_ref().and_then(ttl);
                key.rtype == stays.rtype && after.is_some() && after != ttl(&observed.raw)
            };
            let (key, _) = changes().find(|(key, change)| is_beside(key, change))?;
            Some((key.clone(), stays.clone()))
        })
    }

    /// A weighted set that is new to a shared name follows once those beside it have its TTL: in one call with theirs it would, if
    /// Route 53 refused it, hold up the sets of other clusters.
    pub(super) fn join_after_ttls(&mut self) {
        if !self.input.decision.is_shared {
            return;
        }
        let ttl =
            |raw: &Option<RawRecordSet>| raw.as_ref().and_then(|raw| raw.weight.and(raw.ttl_secs));
        let changes = || self.changes.iter();
        let turns = |rtype: RecordType| {
            changes().any(|(key, Change { before, after, .. })| {
                let (old, new) = (ttl(before), ttl(after));
                key.rtype == rtype && old.is_some() && new.is_some() && old != new
            })
        };
        let is_new = |change: &Change| change.before.is_none() && ttl(&change.after).is_some();
        let waits = changes().filter(|(key, change)| is_new(change) && turns(key.rtype));
        let waits: Vec<RecordKey> = waits.map(|(key, _)| key.clone()).collect();
        for key in waits {
            self.changes.remove(&key);
            self.block(&key, BlockReason::KeptForSibling(SiblingBlock::AfterTtls));
        }
    }
}
