//! The order of a call's elements. Route 53 looks at them one after the other, so an alias has to come after the record that
//! it stands for, and a change that makes room comes before the one that needs the room.

use std::collections::HashMap;
use std::collections::VecDeque;

use super::elements;
use crate::core::dns::name::DnsName;
use crate::core::planning::change::{Action, Unit, WireChange};

/// The elements of a call for these units: DELETEs of aliases, other DELETEs, CREATEs of records with values, CREATEs of
/// aliases, each after what it stands for. Otherwise the order of the units is kept.
pub fn wire_order(units: &[Unit]) -> Vec<WireChange> {
    in_wire_order(units.iter().flat_map(wire_changes).collect())
}

pub(in crate::core::batch::fold) fn wire_changes(unit: &Unit) -> impl Iterator<Item = WireChange> {
    unit.changes
        .iter()
        .flat_map(elements)
        .map(|(action, set)| WireChange { action, set: set.clone() })
}

pub(in crate::core::batch::fold) fn in_wire_order(elements: Vec<WireChange>) -> Vec<WireChange> {
    let depths = alias_depths(&elements.iter().collect::<Vec<_>>());
    let mut ranked: Vec<(u8, usize, WireChange)> = elements
        .into_iter()
        .zip(depths)
        .map(|(element, depth)| (rank(&element), depth, element))
        .collect();
    ranked.sort_by_key(|(rank, depth, _)| (*rank, *depth));
    ranked.into_iter().map(|(_, _, element)| element).collect()
}

/// The indices of the units in an order in which each may go out before those after it: none has an alias to a record that a
/// later one creates.
pub(in crate::core::batch::fold) fn dependency_order(units: &[Unit]) -> Vec<usize> {
    let elements: Vec<(usize, WireChange)> = units
        .iter()
        .enumerate()
        .flat_map(|(index, unit)| wire_changes(unit).map(move |element| (index, element)))
        .collect();
    let depths = alias_depths(&elements.iter().map(|(_, element)| element).collect::<Vec<_>>());
    let mut deepest = vec![0; units.len()];
    for ((index, _), depth) in elements.iter().zip(depths) {
        deepest[*index] = deepest[*index].max(depth);
    }
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by_key(|index| deepest[*index]);
    order
}

fn rank(element: &WireChange) -> u8 {
    match (element.action, element.set.alias.is_some()) {
        (Action::Delete, true) => 0,
        (Action::Delete, false) => 1,
        (Action::Create, false) => 2,
        (Action::Create, true) => 3,
    }
}

/// For each element the number of created aliases between it and a record that does not depend on the call; 0 for all that
/// is no created alias. Aliases that stand for each other in a circle, which Route 53 refuses, come last.
fn alias_depths(elements: &[&WireChange]) -> Vec<usize> {
    // A group is all created aliases of one name and type: an alias to one of them is an alias to all.
    let mut groups = HashMap::<(String, &str), usize>::new();
    let mut members = Vec::new();
    for (index, element) in elements.iter().enumerate().filter(|(_, element)| rank(element) == 3) {
        let next = groups.len();
        let group =
            *groups.entry((name_text(&element.set.name), &element.set.rtype)).or_insert(next);
        members.push((index, group));
    }
    let mut unplaced = vec![0_usize; groups.len()];
    let mut dependents = vec![Vec::new(); groups.len()];
    let mut ready = VecDeque::new();
    for &(index, group) in &members {
        unplaced[group] += 1;
        let target = elements[index].set.alias.as_ref().map(|alias| name_text(&alias.name));
        match target.and_then(|name| groups.get(&(name, elements[index].set.rtype.as_str()))) {
            Some(target_group) => dependents[*target_group].push((index, group)),
            None => ready.push_back((index, group, 1)),
        }
    }
    let mut depths = vec![0; elements.len()];
    for &(index, _) in &members {
        depths[index] = usize::MAX;
    }
    // First in, first out keeps the depths rising, so the last member placed is its group's deepest.
    while let Some((index, group, depth)) = ready.pop_front() {
        depths[index] = depth;
        unplaced[group] -= 1;
        if unplaced[group] == 0 {
            ready.extend(
                dependents[group].drain(..).map(|(index, group)| (index, group, depth + 1)),
            );
        }
    }
    depths
}

/// One text for one name, whatever its spelling.
fn name_text(name: &str) -> String {
    DnsName::parse(name).map_or_else(|_| name.to_ascii_lowercase(), |name| name.as_str().to_owned())
}
