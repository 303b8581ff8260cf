//! Names that one cluster asks for with more endpoints than are looked at together.
//!
//! A look at a name goes through all of its endpoints, and each new one has it looked at. So the oldest count, and the rest wait
//! apart, where they cost nothing until one of the oldest goes.

use std::collections::{BTreeMap, HashMap};

use super::name_state::Few;
use crate::broker::directory::entry::EndpointEntry;
use crate::core::dns::name::DnsName;
use crate::core::endpoint::verdict::{Reason, Verdict};
use crate::core::ids::ClusterId;
use crate::core::planning::claims::ZoneContext;

/// How many endpoints of one cluster count at one name of a zone. Route 53 accepts 400 values in a record set, and a hundred
/// weighted sets of a name and type by default.
pub const MOST_AT_A_NAME: usize = 1_000;

/// The endpoints of one name beyond the bound.
#[derive(Default)]
struct Crowd {
    beyond: BTreeMap<i64, EndpointEntry>,
    /// Those whose status is to be sent.
    untold: Vec<i64>,
}

/// The endpoints beyond the bound, by name.
#[derive(Default)]
pub(super) struct Crowds(HashMap<DnsName, Crowd>);

impl Crowds {
    /// Takes an endpoint, newly or with new content. The oldest of its cluster count.
    pub(super) fn put(
        &mut self,
        name: &DnsName,
        counting: &mut Few<EndpointEntry>,
        held: EndpointEntry,
    ) {
        let arrival = held.arrival();
        if counting.as_slice().len() < MOST_AT_A_NAME && !self.0.contains_key(name) {
            counting.put(held, |old| old.arrival() == arrival);
            return;
        }
        let own = || counting.as_slice().iter().filter(|other| other.cluster() == held.cluster());
        let counts_already = own().any(|other| other.arrival() == arrival);
        let is_full = own().count() >= MOST_AT_A_NAME;
        let youngest = own().map(EndpointEntry::arrival).max();
        let crowd = self.0.entry(name.clone()).or_default();
        crowd.beyond.remove(&arrival);
        if counts_already || !is_full {
            counting.put(held, |old| old.arrival() == arrival);
        } else if youngest.is_some_and(|youngest| arrival < youngest) {
            if let Some(gives_way) = counting.remove(|old| Some(old.arrival()) == youngest) {
                crowd.add(gives_way);
            }
            counting.put(held, |_| false);
        } else {
            crowd.add(held);
        }
        self.forget_empty(name);
    }

    /// Removes an endpoint; the oldest waiting one of its cluster counts in its place. Returns whether the removed one counted.
    pub(super) fn remove(
        &mut self,
        name: &DnsName,
        counting: &mut Few<EndpointEntry>,
        held: &EndpointEntry,
    ) -> bool {
        let counted = counting.remove(|other| other.arrival() == held.arrival()).is_some();
        let Some(crowd) = self.0.get_mut(name) else { return counted };
        crowd.beyond.remove(&held.arrival());
        let next = crowd.beyond.iter().find(|(_, other)| other.cluster() == held.cluster());
        if counted
            && let Some(arrival) = next.map(|(arrival, _)| *arrival)
            && let Some(next) = crowd.beyond.remove(&arrival)
        {
            counting.put(next, |_| false);
        }
        self.forget_empty(name);
        counted
    }

    /// Takes the endpoints beyond the bound whose status was not sent.
    pub(super) fn take_untold(&mut self, name: &DnsName) -> Vec<EndpointEntry> {
        let Some(crowd) = self.0.get_mut(name) else { return vec![] };
        let untold = std::mem::take(&mut crowd.untold);
        let mut entries: Vec<EndpointEntry> =
            untold.iter().filter_map(|arrival| crowd.beyond.get(arrival).cloned()).collect();
        // A content that cannot be read has its verdict from where it was read.
        entries.retain(|held| !held.is_retained());
        entries
    }

    fn forget_empty(&mut self, name: &DnsName) {
        if self.0.get(name).is_some_and(|crowd| crowd.beyond.is_empty()) {
            self.0.remove(name);
        }
    }
}

impl Crowd {
    fn add(&mut self, held: EndpointEntry) {
        self.untold.push(held.arrival());
        self.beyond.insert(held.arrival(), held);
    }
}

/// The verdict of an endpoint beyond the bound.
pub(super) fn verdict_beyond(zone: &ZoneContext, name: &DnsName, cluster: &ClusterId) -> Verdict {
    Verdict::rejected(
        Reason::TooLarge,
        format!(
            "the cluster {cluster} has more than {MOST_AT_A_NAME} endpoints for {name} in the zone {}, and the oldest count: remove some of them, or take another name",
            zone.apex
        ),
    )
}
