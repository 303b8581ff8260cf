//! Which changes of a name only go together.

use std::collections::{BTreeMap, BTreeSet};

use super::change::{Change, Unit};
use crate::core::dns::record::{RawRecordSet, RecordType, RoutingPolicy};

/// The place in its routing policy that a set has alone among those of its name and type: a region, a location, a role. `None` if
/// its policy has none.
pub(super) fn place_of(raw: &RawRecordSet) -> Option<(RecordType, RoutingPolicy)> {
    // Without a set identifier there is no routing policy.
    raw.set_identifier.as_ref()?;
    let set = raw.canonical().ok()?;
    Some((set.key.rtype, set.policy.place()?.clone()))
}

/// Groups changes that only go together: everything at a name where a CNAME comes or goes, everything at a name of which nothing
/// stays and that is to have something else, a type whose policy or weighted TTL changes, and sets that pass a place of their
/// routing policy on to each other. Everything else stands alone, so that one refusal delays nothing else.
pub(super) fn group(changes: Vec<Change>, anything_stays: bool) -> Vec<Unit> {
    if changes.len() < 2 {
        return changes.into_iter().map(|change| Unit { changes: vec![change] }).collect();
    }
    // Alone, the deletion could go out in a call while its replacement is refused or waits: the name would not resolve.
    let is_replaced_whole = !anything_stays
        && changes.iter().any(|change| change.before.is_some())
        && changes.iter().any(|c| c.after.is_some());
    if is_replaced_whole || changes.iter().any(|change| change.key.rtype == RecordType::Cname) {
        return vec![Unit { changes }];
    }
    let mut by_type: BTreeMap<RecordType, Vec<Change>> = BTreeMap::new();
    for change in changes {
        by_type.entry(change.key.rtype).or_default().push(change);
    }
    let mut units = Vec::new();
    for changes in by_type.into_values() {
        // Alone it is a unit of its own whatever it is.
        if changes.len() == 1 || switches(&changes) {
            units.push(Unit { changes });
        } else {
            units.extend(by_place(changes));
        }
    }
    units
}

fn switches(changes: &[Change]) -> bool {
    let mut shapes = BTreeSet::new();
    for raw in changes.iter().flat_map(|change| [&change.before, &change.after]).flatten() {
        match raw.canonical() {
            Ok(set) => {
                let weighted_ttl = if matches!(set.policy, RoutingPolicy::Weighted(_)) {
                    set.ttl_secs()
                } else {
                    None
                };
                shapes.insert((set.policy.kind(), weighted_ttl));
            }
            Err(_) => return true,
        }
    }
    shapes.len() > 1
}

/// Changes of one type: if one gives up the place that another is to have, they are one unit.
fn by_place(changes: Vec<Change>) -> Vec<Unit> {
    let mut given_up = BTreeMap::new();
    for (index, change) in changes.iter().enumerate() {
        if let Some(place) = change.before.as_ref().and_then(place_of) {
            given_up.insert(place, index);
        }
    }
    // Each change leads to one of its unit; the one that leads to itself stands for it.
    let mut leads_to: Vec<usize> = (0..changes.len()).collect();
    fn first(leads_to: &[usize], mut index: usize) -> usize {
        while leads_to[index] != index {
            index = leads_to[index];
        }
        index
    }
    for (index, change) in changes.iter().enumerate() {
        let place = change.after.as_ref().and_then(place_of);
        if let Some(giver) = place.and_then(|place| given_up.get(&place)) {
            let (one, other) = (first(&leads_to, index), first(&leads_to, *giver));
            leads_to[one.max(other)] = one.min(other);
        }
    }
    let mut units: BTreeMap<usize, Unit> = BTreeMap::new();
    for (index, change) in changes.into_iter().enumerate() {
        let unit = units.entry(first(&leads_to, index)).or_insert(Unit { changes: vec![] });
        unit.changes.push(change);
    }
    units.into_values().collect()
}
