//! Where hand-overs change who has a name.
//!
//! A name passes in one change, or in none: only if the new cluster wants every record set that the old one publishes, unless people
//! said that others may pass, too. So it never goes without an answer.

use std::collections::BTreeSet;

use super::claims::Entrants;
use super::decision::NameDecision;
use super::sharing::join_values;
use crate::core::dns::record::{RecordKey, RecordType};
use crate::core::governance::handover::{Handover, Passage};

/// How far a name is that a hand-over is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandedName {
    /// The new cluster wants all that the old one publishes.
    Ready,
    /// It wants other record types, or the old one publishes what no valid endpoint wants.
    Different,
    /// It does not want the name, or may not have it.
    Missing,
    /// It has the name.
    Passed,
}

/// The decision about a name that one cluster has at a time.
pub(super) fn pass(entrants: &Entrants<'_>) -> NameDecision {
    let holder = entrants.holder();
    let decision = entrants.decided_for(holder);
    let handovers = entrants.input.zone.governance.handovers();
    if handovers.is_empty() {
        return decision;
    }
    let Some(handover) = holder.and_then(|holder| handovers.passing(entrants.input.name, holder))
    else {
        return decision;
    };
    // Which names are meant is said by what the old cluster has there, also where they go back.
    if !is_meant(entrants, handover) {
        return decision;
    }
    match handover.passage() {
        None => decision,
        Some(Passage::Both { takes, .. }) => with_both(decision, entrants.decided_for(Some(takes))),
        Some(Passage::Passes { takes, held_since, .. }) => {
            let claimed = entrants.input.claimed_since;
            if held_since.is_some_and(|since| claimed.is_none_or(|claimed| claimed < since)) {
                return decision;
            }
            let would = entrants.decided_for(Some(takes));
            match compare(&decision, &would) {
                HandedName::Ready => would,
                HandedName::Different if handover.with_different => would,
                _ => decision,
            }
        }
    }
}

/// How far a name is; `None` if the old cluster does not want it.
pub(super) fn look_at(entrants: &Entrants<'_>, handover: &Handover) -> Option<HandedName> {
    let (input, holder) = (entrants.input, entrants.holder()?);
    if !handover.is_about(input.name) || !is_meant(entrants, handover) {
        return None;
    }
    if *holder == handover.to {
        let since = handover.began_at?;
        return (input.claimed_since? >= since).then_some(HandedName::Passed);
    }
    if *holder != handover.from {
        return None;
    }
    let (has, would) =
        (entrants.decided_for(Some(holder)), entrants.decided_for(Some(&handover.to)));
    Some(compare(&has, &would))
}

/// Whether an endpoint of the old cluster is of a namespace that is meant.
fn is_meant(entrants: &Entrants<'_>, handover: &Handover) -> bool {
    let contributions = entrants.input.contributions.iter();
    let mut of_old = contributions.filter(|one| one.cluster == handover.from && !one.leaves);
    of_old.any(|one| handover.is_in(&one.endpoint.key.namespace))
}

fn compare(has: &NameDecision, would: &NameDecision) -> HandedName {
    let wanted: BTreeSet<&RecordKey> = would.desired.keys().collect();
    let covers = has.desired.keys().all(|key| wanted.contains(key));
    match () {
        () if wanted.is_empty() => HandedName::Missing,
        () if covers && !has.desired.is_empty() && has.retained.is_empty() => HandedName::Ready,
        () => HandedName::Different,
    }
}

/// The addresses of both clusters, where both have some.
fn with_both(mut decision: NameDecision, would: NameDecision) -> NameDecision {
    let mut joined = BTreeSet::new();
    for (key, other) in would.desired {
        if !matches!(key.rtype, RecordType::A | RecordType::Aaaa) || key.set_identifier.is_some() {
            continue;
        }
        let Some(there) = decision.desired.get_mut(&key) else { continue };
        // Aliases, and more values than a record set can have, cut over.
        if !there.set.is_alias() && join_values(&mut there.set, &other.set).is_ok() {
            joined.extend(other.from.iter().copied());
            there.from.extend(other.from);
        }
    }
    if !joined.is_empty() {
        decision.verdicts.retain(|(index, _)| !joined.contains(index));
        let accepted = would.verdicts.into_iter().filter(|(index, _)| joined.contains(index));
        decision.verdicts.extend(accepted);
    }
    decision
}
