//! The names whose claims the store does not have as they stand.

use std::collections::{BTreeSet, HashSet};

use crate::core::dns::name::DnsName;

/// How many claims are written alone in one transaction: the zone is busy until they are durable.
const CLAIMS_AT_ONCE: usize = 1_000;

/// See the module's page.
#[derive(Default)]
pub struct DirtyClaims {
    names: HashSet<DnsName>,
    /// Of those, the ones that no batch takes along.
    alone: BTreeSet<DnsName>,
}

impl DirtyClaims {
    /// The name's claim has changed.
    pub fn note(&mut self, name: &DnsName) {
        self.names.insert(name.clone());
    }

    /// The store has the name's claim as it stands, or will have it with the write under way.
    pub fn forget(&mut self, name: &DnsName) {
        self.names.remove(name);
        if self.names.is_empty() {
            // Frees the memory that a flood needed.
            self.names = HashSet::new();
        }
    }

    /// Whether the store does not have the name's claim as it stands.
    pub fn contains(&self, name: &DnsName) -> bool {
        self.names.contains(name)
    }

    /// Nothing is to be sent for the name, so its claim is written alone if the store does not have it.
    pub fn leave_alone(&mut self, name: &DnsName) {
        if self.names.contains(name) {
            self.alone.insert(name.clone());
        }
    }

    /// Whether claims are to be written alone.
    pub fn has_alone(&self) -> bool {
        !self.alone.is_empty()
    }

    /// Takes some of the names whose claims are to be written alone.
    pub fn take_alone(&mut self) -> Vec<DnsName> {
        let all = &mut self.alone;
        let rest = all
            .iter()
            .nth(CLAIMS_AT_ONCE)
            .cloned()
            .map_or_else(BTreeSet::new, |next| all.split_off(&next));
        let alone = std::mem::replace(all, rest);
        alone.into_iter().filter(|name| self.names.contains(name)).collect()
    }
}
