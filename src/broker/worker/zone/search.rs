//! The search for what Route 53 refuses in a batch.

use std::collections::BTreeSet;

use super::unit_key;
use crate::core::batch::fold::Bisection;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordKey;
use crate::core::planning::change::Batch;

/// The search for the poison of a refused batch. What is tried is planned anew each time; only which units are meant stays.
pub struct Search {
    /// What is known by now.
    pub bisection: Bisection,
    /// The units by their keys, in the order of the batch.
    pub keys: Vec<RecordKey>,
    /// All their names.
    pub names: BTreeSet<DnsName>,
}

impl Search {
    /// The search in a batch that was refused as a whole.
    pub fn new(batch: &Batch, culprits: &[usize]) -> Self {
        let keys: Vec<RecordKey> = batch.units.iter().filter_map(unit_key).cloned().collect();
        let names = keys.iter().map(|key| key.name.clone()).collect();
        Self { bisection: Bisection::new(&batch.units, culprits), keys, names }
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

    /// The keys of the units to try next; none when all are settled.
    pub fn next_keys(&self) -> Option<BTreeSet<&RecordKey>> {
        let indices = self.bisection.next_try()?;
        Some(indices.iter().filter_map(|index| self.keys.get(*index)).collect())
    }
}
