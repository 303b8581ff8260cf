//! Decides which cluster owns a name in a zone, and adds up the owner's endpoints.
//!
//! Unless a rule says how clusters share the name, the policy is `exclusive`: the first cluster with an accepted contribution owns
//! the name; the others wait, and their verdicts name it. Endpoints of the owner's objects may add up (as in ExternalDNS), and the
//! oldest wins where they cannot.

pub use super::decision::{
    Contribution, Delegation, Desired, Link, LinkRank, NameDecision, NameInput, NoOtherNames,
    OtherNames, Retention, ZoneContext,
};
use super::entrants::Entrants;
pub use super::handover::HandedName;
use super::{entitled, handover, sharing};
use crate::core::governance::handover::Handover;
use crate::core::governance::rule::sharing::SharingPolicy;

/// Decides a name: its owner and the desired record sets. The order of the contributions does not matter.
pub fn decide_name(input: &NameInput<'_>) -> NameDecision {
    let entrants = Entrants::of(input);
    let governance = &input.zone.governance;
    let mut decision = match governance.rules().sharing(&input.zone.apex, input.name) {
        Some(rule) if rule.1.policy != SharingPolicy::Exclusive => {
            let holder = entrants.holder().cloned();
            let decision = NameDecision { holder, ..entrants.barred };
            sharing::decide(input, rule, &entrants.valid, &entrants.others, decision)
        }
        _ => handover::pass(&entrants),
    };
    entitled::report(input, &mut decision);
    decision
}

/// How far a name is that a hand-over is about; `None` if it is none of its names.
pub fn handover_of(input: &NameInput<'_>, handover: &Handover) -> Option<HandedName> {
    handover::look_at(&Entrants::of(input), handover)
}

/// The links from a name within its zone: those that its owner wants, or, if it wants nothing, those that are observed.
/// Loops are not looked for, since these links are used to find them.
pub fn links_of(input: &NameInput<'_>) -> Vec<Link> {
    let decision = decide_name(&NameInput { around: &NoOtherNames, ..*input });
    if decision.desired.is_empty() {
        return input.observed_links();
    }
    let link = |desired: &Desired| {
        let first = input.contributions.get(*desired.from.first()?)?;
        input.link(&desired.set, first.arrival)
    };
    decision.desired.values().filter_map(link).collect()
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
