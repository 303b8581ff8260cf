//! How many names of a zone hold record sets of ours: what the share that a guard lets go is a share of.

use std::collections::BTreeMap;

use super::name_state::{NameState, Sighting};
use crate::core::dns::record::RecordKey;
use crate::core::ids::ClusterId;

/// The names of a zone that hold sets of ours, in all and of each cluster.
#[derive(Debug, Default)]
pub struct OwnedNames {
    all: u64,
    of_cluster: BTreeMap<ClusterId, u64>,
}

impl OwnedNames {
    /// How many there are.
    pub fn all(&self) -> u64 {
        self.all
    }

    /// How many hold a set of a cluster.
    pub fn of_cluster(&self, cluster: &ClusterId) -> u64 {
        self.of_cluster.get(cluster).copied().unwrap_or_default()
    }

    /// Sets what is observed under a key of a name; returns what was.
    pub fn observe(
        &mut self,
        state: &mut NameState,
        key: &RecordKey,
        sighting: Option<Sighting>,
    ) -> Option<Sighting> {
        let before = owned(state, |_| true);
        let new = sighting.as_ref().and_then(owner).cloned();
        let old_sighting = state.observe(key, sighting);
        let old = old_sighting.as_ref().and_then(owner);
        match (before, owned(state, |_| true)) {
            (0, 1..) => self.all += 1,
            (1.., 0) => self.all -= 1,
            _ => {}
        }
        if old != new.as_ref() {
            if let Some(old) = old.filter(|old| owned(state, |owner| owner == *old) == 0) {
                self.leaves(old);
            }
            if let Some(new) = new.filter(|new| owned(state, |owner| owner == new) == 1) {
                *self.of_cluster.entry(new).or_default() += 1;
            }
        }
        old_sighting
    }

    fn leaves(&mut self, cluster: &ClusterId) {
        if let Some(names) = self.of_cluster.get_mut(cluster) {
            *names -= 1;
            if *names == 0 {
                self.of_cluster.remove(cluster);
            }
        }
    }
}

fn owner(sighting: &Sighting) -> Option<&ClusterId> {
    sighting.owner.as_ref().map(|owner| &owner.cluster)
}

/// How many sets of ours a name holds, of owners that are meant.
fn owned(state: &NameState, is_meant: impl Fn(&ClusterId) -> bool) -> usize {
    state.observed.as_slice().iter().filter_map(owner).filter(|owner| is_meant(owner)).count()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::dns::record::{RawRecordSet, RecordType};
    use crate::core::endpoint::packed::PackedRecord;
    use crate::core::ids::BatchId;
    use crate::core::planning::plan::Ownership;
    use crate::core::testkit::{cluster, name};

    #[test]
    fn a_name_counts_once_for_each_cluster_that_has_a_set_there() {
        let (mut names, mut state) = (OwnedNames::default(), NameState::default());
        let mut sees = |names: &mut OwnedNames, rtype, by: Option<&str>| {
            let key = RecordKey { name: name("www.example.com"), rtype, set_identifier: None };
            let owner = by.map(|by| {
                Arc::new(Ownership { cluster: cluster(by), batch: BatchId(uuid::Uuid::nil()) })
            });
            let record = PackedRecord::pack(&key, &RawRecordSet::default());
            let sighting = owner.map(|owner| Sighting::new(&key, record, Some(owner), None));
            names.observe(&mut state, &key, sighting);
            let of = |by| names.of_cluster(&cluster(by));
            (names.all(), of("east"), of("west"))
        };
        let (a, txt) = (RecordType::A, RecordType::Txt);
        assert_eq!(sees(&mut names, a, Some("east")), (1, 1, 0));
        assert_eq!(sees(&mut names, txt, Some("east")), (1, 1, 0));
        assert_eq!(sees(&mut names, txt, Some("west")), (1, 1, 1));
        assert_eq!(sees(&mut names, a, Some("west")), (1, 0, 1));
        assert_eq!(sees(&mut names, a, None), (1, 0, 1));
        assert_eq!(sees(&mut names, txt, None), (0, 0, 0));
        assert!(names.of_cluster.is_empty());
    }
}
