//! Names that lead to each other and to no answer.

use std::collections::BTreeSet;

use super::decision::NameInput;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordSet;

/// How many names are followed from one: a longer way through a zone is not searched.
const MOST_STEPS: usize = 32;

/// A loop that an endpoint would close.
pub(super) struct Loop {
    /// The names in their order, from the one that was asked for to itself.
    pub(super) names: Vec<DnsName>,
    /// The other name that gives way; `None` if it is the one that was asked for.
    pub(super) gives_way: Option<DnsName>,
}

impl Loop {
    /// The names as people read them.
    pub(super) fn spelled(&self) -> String {
        self.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → ")
    }
}

/// The loop that a record set of the name closes, as far as the zone's names show it.
pub(super) fn closed_by(input: &NameInput<'_>, set: &RecordSet, arrival: i64) -> Option<Loop> {
    let first = input.link(set, arrival)?;
    // The names on the way so far, where it leads, and which of them gives way if it leads back.
    let mut ways = vec![(vec![input.name.clone()], first.target, (first.rank, input.name.clone()))];
    let mut seen = BTreeSet::new();
    while let Some((mut way, asked, last)) = ways.pop() {
        let at = input.around.answered_by(&asked);
        if at != asked {
            way.push(asked);
        }
        if at == *input.name {
            way.push(at);
            let gives_way = Some(last.1).filter(|name| name != input.name);
            return Some(Loop { names: way, gives_way });
        }
        if seen.len() >= MOST_STEPS || !seen.insert(at.clone()) {
            continue;
        }
        way.push(at.clone());
        for link in input.around.links(&at) {
            let last = if link.rank > last.0 { (link.rank, at.clone()) } else { last.clone() };
            ways.push((way.clone(), link.target, last));
        }
    }
    None
}
