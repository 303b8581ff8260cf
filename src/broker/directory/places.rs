//! The places of endpoints, by number, and the endpoints that publish nothing.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::entry::EndpointEntry;
use super::locked;
use crate::core::dns::name::DnsName;
use crate::core::ids::ZoneId;
use crate::core::planning::placement::PlacementSet;

/// The sets of zones where endpoints are, numbered from 1 in the order of their first use in this process. They are few: the
/// zones, and the pairs of split horizon.
#[derive(Default)]
pub(super) struct PlacementTable {
    /// Workers and streams read it for each status while the decider works: they wait for nothing.
    sets: ArcSwap<Vec<Arc<PlacementSet>>>,
    numbers: Mutex<HashMap<Arc<PlacementSet>, u32>>,
}

impl PlacementTable {
    /// The number of a set.
    pub(super) fn number(&self, set: &PlacementSet) -> u32 {
        let mut numbers = locked(&self.numbers);
        if let Some(number) = numbers.get(set) {
            return *number;
        }
        let set = Arc::new(set.clone());
        let mut sets = Vec::clone(&self.sets.load());
        sets.push(Arc::clone(&set));
        let number = u32::try_from(sets.len()).unwrap_or(u32::MAX);
        self.sets.store(Arc::new(sets));
        numbers.insert(set, number);
        number
    }

    /// Where an endpoint may have record sets; `None` for nowhere.
    pub(super) fn of(&self, held: &EndpointEntry) -> Option<Arc<PlacementSet>> {
        self.sets.load().get(place(held)?).cloned()
    }

    /// Looks at where an endpoint may have record sets.
    pub(super) fn look<T>(
        &self,
        held: &EndpointEntry,
        look: impl FnOnce(Option<&PlacementSet>) -> T,
    ) -> T {
        let sets = self.sets.load();
        look(place(held).and_then(|place| sets.get(place)).map(Arc::as_ref))
    }

    /// The numbers of the sets with one of these zones.
    pub(super) fn with(&self, is_meant: impl Fn(&ZoneId) -> bool) -> Vec<u32> {
        let meant = |set: &Arc<PlacementSet>| set.all().any(|held| is_meant(&held.zone));
        let sets = self.sets.load();
        let numbers = (1..).zip(sets.iter());
        numbers.filter(|(_, set)| meant(set)).map(|(number, _)| number).collect()
    }
}

/// The place in the table of the set where an endpoint is.
fn place(held: &EndpointEntry) -> Option<usize> {
    (held.place() as usize).checked_sub(1)
}

/// A name as an endpoint writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Written {
    /// In the order of names, so what lies below an apex stands together.
    Name(DnsName),
    /// Text that is no name.
    Other(String),
}

impl Written {
    pub(super) fn of(text: &str) -> Self {
        DnsName::parse(text).map_or_else(|_| Self::Other(text.to_ascii_lowercase()), Self::Name)
    }
}

/// The endpoints that publish nothing by their present content: it is rejected, or it waits.
#[derive(Default)]
pub(super) struct WaitingEndpoints(BTreeMap<Written, Vec<EndpointEntry>>);

impl WaitingEndpoints {
    /// Adds an endpoint, or its later version.
    pub(super) fn insert(&mut self, held: &EndpointEntry) {
        let there = self.0.entry(Written::of(held.view().dns_name)).or_default();
        there.retain(|other| other.arrival() != held.arrival());
        there.push(held.clone());
    }

    /// Takes an endpoint out, whichever version of it is there.
    pub(super) fn remove(&mut self, held: &EndpointEntry) {
        let key = Written::of(held.view().dns_name);
        if let Some(there) = self.0.get_mut(&key) {
            there.retain(|other| other.arrival() != held.arrival());
            if there.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    /// Those that want one name.
    pub(super) fn at(&self, name: &str) -> &[EndpointEntry] {
        self.0.get(&Written::of(name)).map_or(&[], Vec::as_slice)
    }

    /// Those that want a name or one below it.
    pub(super) fn below(&self, name: &DnsName) -> Vec<EndpointEntry> {
        self.page(&WaitingScope::Below(name.clone()), None, usize::MAX).0
    }

    /// The next names after one, about `limit` endpoints, as long as they are meant; and the last of the names.
    pub(super) fn page(
        &self,
        scope: &WaitingScope,
        after: Option<&Written>,
        limit: usize,
    ) -> (Vec<EndpointEntry>, Option<Written>) {
        let from = match (after, scope) {
            (Some(after), _) => Bound::Excluded(after.clone()),
            (None, WaitingScope::Below(apex)) => Bound::Included(Written::Name(apex.clone())),
            (None, WaitingScope::All) => Bound::Unbounded,
        };
        let (mut page, mut last) = (vec![], None);
        for (written, there) in self.0.range((from, Bound::Unbounded)) {
            let is_meant = match (scope, written) {
                (WaitingScope::All, _) => true,
                (WaitingScope::Below(apex), Written::Name(name)) => name.is_in(apex),
                (WaitingScope::Below(_), Written::Other(_)) => false,
            };
            if !is_meant || page.len() >= limit {
                break;
            }
            page.extend(there.iter().cloned());
            last = Some(written.clone());
        }
        (page, last)
    }
}

/// Which of the waiting endpoints are reviewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WaitingScope {
    /// All.
    All,
    /// At a name and below it.
    Below(DnsName),
}
