//! The search for the units that Route 53 refuses in a batch.
//!
//! A batch of several clusters is first split by cluster: good parts have gone out after a few calls, and only the others are
//! searched further, each by itself and at its own cost.

use std::collections::{BTreeMap, BTreeSet};

use super::unit_key;
use crate::core::batch::fold::Bisection;
use crate::core::batch::refusal::is_repeated;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordKey;
use crate::core::ids::ClusterId;
use crate::core::planning::change::Unit;

/// The size of the parts that are tried or left as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchStage {
    /// All that a cluster had in the batch.
    Clusters,
    /// A unit.
    Units,
}

/// The search for the poison of a refused batch. Each try is planned anew; only the choice of units stays.
pub struct Search {
    /// Whether a part is a cluster's units or a single unit.
    pub of: SearchStage,
    bisection: Bisection,
    /// The keys of each part's units.
    parts: Vec<Vec<RecordKey>>,
    clusters: BTreeSet<ClusterId>,
    names: BTreeSet<DnsName>,
}

/// Whether a unit carries a value that a message repeats.
pub fn carries(unit: &Unit, message: &str) -> bool {
    let sets = unit.changes.iter().flat_map(|change| change.before.iter().chain(&change.after));
    sets.into_iter().any(|set| is_repeated(message, set))
}

impl Search {
    /// The search in units that were refused together with a message that names none of them.
    pub fn new(units: &[Unit], message: &str) -> Self {
        let mut by_cluster: BTreeMap<ClusterId, Vec<usize>> = BTreeMap::new();
        for (index, unit) in units.iter().enumerate() {
            if let Some(cluster) = unit.cluster() {
                by_cluster.entry(cluster.clone()).or_default().push(index);
            }
        }
        let keys_of = |indices: &[usize]| -> Vec<RecordKey> {
            let meant = indices.iter().filter_map(|index| units.get(*index));
            meant.filter_map(unit_key).cloned().collect()
        };
        let is_blamed = |indices: &[usize]| {
            indices.iter().filter_map(|index| units.get(*index)).any(|unit| carries(unit, message))
        };
        let (of, groups): (SearchStage, Vec<Vec<usize>>) = match by_cluster.len() {
            0 | 1 => {
                (SearchStage::Units, Bisection::order(units).into_iter().map(|i| vec![i]).collect())
            }
            _ => (SearchStage::Clusters, by_cluster.values().cloned().collect()),
        };
        let (blamed, others): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group| is_blamed(group));
        let blamed_parts = blamed.len();
        let parts: Vec<Vec<RecordKey>> =
            others.into_iter().chain(blamed).map(|group| keys_of(&group)).collect();
        Self {
            of,
            bisection: Bisection::of_parts((0..parts.len()).collect(), blamed_parts),
            names: parts.iter().flatten().map(|key| key.name.clone()).collect(),
            parts,
            clusters: by_cluster.into_keys().collect(),
        }
    }

    /// The clusters that pay for it.
    pub fn clusters(&self) -> &BTreeSet<ClusterId> {
        &self.clusters
    }

    /// Whether a name is part of the search, and therefore not of the backlog.
    pub fn holds(&self, name: &DnsName) -> bool {
        self.names.contains(name)
    }

    /// How many names are part of it.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The names that the search held.
    pub fn into_names(self) -> BTreeSet<DnsName> {
        self.names
    }

    /// The keys of the units to try next; `None` if all are settled.
    pub fn next_keys(&self) -> Option<BTreeSet<&RecordKey>> {
        let indices = self.bisection.next_try()?;
        Some(indices.iter().filter_map(|index| self.parts.get(*index)).flatten().collect())
    }

    /// The units that were tried have gone out, or are no longer wanted.
    pub fn applied(&mut self) {
        self.bisection.applied();
    }

    /// The units that were tried were refused, for these ones if the refusal names any. Returns the keys of the units whose parts
    /// are now known to be poison.
    pub fn refused(&mut self, named: &[Unit]) -> BTreeSet<RecordKey> {
        let before = self.bisection.poison().len();
        let is_named =
            |keys: &[RecordKey]| named.iter().filter_map(unit_key).any(|key| keys.contains(key));
        let parts = self.parts.iter().enumerate();
        let culprits: Vec<usize> =
            parts.filter(|(_, keys)| is_named(keys)).map(|(index, _)| index).collect();
        self.bisection.refused(&culprits);
        let found = self.bisection.poison().get(before..).unwrap_or_default();
        found.iter().filter_map(|index| self.parts.get(*index)).flatten().cloned().collect()
    }

    /// The keys that are still to be tried.
    pub fn open_keys(&self) -> BTreeSet<RecordKey> {
        let open = self.bisection.open();
        open.filter_map(|index| self.parts.get(index)).flatten().cloned().collect()
    }

    /// Takes out names that are another cluster's by now, which has nothing to do with what was refused.
    pub fn release(&mut self, names: &BTreeSet<DnsName>) {
        self.names.retain(|name| !names.contains(name));
        for part in &mut self.parts {
            part.retain(|key| !names.contains(&key.name));
        }
        let parts = self.parts.iter().enumerate();
        let emptied: Vec<usize> =
            parts.filter(|(_, part)| part.is_empty()).map(|(index, _)| index).collect();
        self.bisection.settle(&emptied);
    }

    /// Takes out units that are judged without a try.
    pub fn settle(&mut self, keys: &BTreeSet<RecordKey>) {
        let parts = self.parts.iter().enumerate();
        let settled: Vec<usize> = parts
            .filter(|(_, part)| part.iter().all(|key| keys.contains(key)))
            .map(|(index, _)| index)
            .collect();
        self.bisection.settle(&settled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::dns::record::{RawRecordSet, RecordType};
    use crate::core::planning::change::{Cause, Change, Motive};
    use crate::core::testkit::{cluster, name};

    const GONE: &str = "0e8f9c14-6d63-4d6b-8c4e-3f1f6a3a1b11";

    fn unit(of: &str, owner: &str, health_check_id: Option<&str>) -> Unit {
        let set = RawRecordSet {
            name: owner.into(),
            rtype: "A".into(),
            health_check_id: health_check_id.map(Into::into),
            ..RawRecordSet::default()
        };
        let cause = Cause::new(Motive::Wanted, cluster(of), vec![]);
        let key = RecordKey { name: name(owner), rtype: RecordType::A, set_identifier: None };
        Unit { changes: vec![Change { key, before: None, after: Some(set), cause }] }
    }

    fn next(search: &Search) -> Vec<String> {
        let keys = search.next_keys().unwrap_or_default();
        keys.into_iter().map(|key| key.name.to_string()).collect()
    }

    #[test]
    fn the_parts_of_a_batch_are_its_clusters_and_of_one_cluster_s_its_units() {
        let units = [
            unit("east", "a.example.com", None),
            unit("west", "b.example.com", None),
            unit("east", "c.example.com", None),
        ];
        let mut search = Search::new(&units, "something is wrong");
        assert_eq!(
            (search.of, search.clusters().len(), search.len()),
            (SearchStage::Clusters, 2, 3)
        );
        assert_eq!(next(&search), ["a.example.com", "c.example.com"]);
        let found = search.refused(&[]);
        assert_eq!(found.len(), 2, "all of east");
        assert_eq!(next(&search), ["b.example.com"]);
        search.applied();
        assert!(search.next_keys().is_none());
        let search = Search::new(&[units[0].clone(), units[2].clone()], "something is wrong");
        assert_eq!(
            (search.of, next(&search)),
            (SearchStage::Units, vec!["a.example.com".to_owned()])
        );
    }

    #[test]
    fn a_name_that_is_released_is_tried_no_more_and_the_others_are() {
        let units =
            ["a", "b", "c"].map(|label| unit("east", &format!("{label}.example.com"), None));
        let mut search = Search::new(&units, "something is wrong");
        search.release(&[name("b.example.com")].into());
        assert!(!search.holds(&name("b.example.com")) && search.len() == 2);
        assert_eq!(next(&search), ["a.example.com", "c.example.com"]);
        search.applied();
        assert!(search.next_keys().is_none());
    }

    #[test]
    fn what_carries_the_identifier_that_the_message_repeats_is_tried_last_and_judged_together() {
        let units: Vec<Unit> = (0..20)
            .map(|number| {
                let is_bad = number % 5 == 0;
                unit("east", &format!("n{number}.example.com"), is_bad.then_some(GONE))
            })
            .collect();
        let message = format!("No health check exists with the ID: {GONE}");
        let mut search = Search::new(&units, &message);
        assert_eq!(next(&search).len(), 16, "nothing speaks against these");
        search.applied();
        while search.refused(&[]).is_empty() {}
        assert!(units.iter().filter(|unit| carries(unit, &message)).count() == 4);
        let open = search.open_keys();
        assert_eq!(open.len(), 3, "one was found");
        search.settle(&open);
        assert!(search.next_keys().is_none());
    }
}
