//! Decides which cluster owns a name in a zone, and adds up the owner's endpoints.
//!
//! Unless a rule says how clusters share the name, the policy is `exclusive`: the first cluster with an accepted contribution owns
//! the name; the others wait, and their verdicts name it. Endpoints of the owner's objects may add up (as in ExternalDNS), and the
//! oldest wins where they cannot.

pub use super::decision::{
    Contribution, Delegation, Desired, Link, LinkRank, NameDecision, NameInput, NoOtherNames,
    OtherNames, Retention, ZoneContext,
};
use super::merge::Merge;
use super::{entitled, sharing, sides, zone_rules};
use crate::core::endpoint::verdict::{Reason, Verdict};
use crate::core::governance::rule::sharing::SharingPolicy;
use crate::core::ids::ClusterId;

/// Decides a name: its owner and the desired record sets. The order of the contributions does not matter.
pub fn decide_name(input: &NameInput<'_>) -> NameDecision {
    let contributions = input.contributions;
    let mut order: Vec<usize> = (0..contributions.len()).collect();
    order.sort_by_key(|index| contributions[*index].arrival);
    let mut decision = NameDecision::default();
    let (mut valid, mut others) = (Vec::new(), Vec::new());
    for index in order {
        let contribution = &contributions[index];
        let barred = contribution.parsed.as_ref().map(|parsed| {
            zone_rules::bar(input, parsed).or_else(|| entitled::bar(input, contribution, parsed))
        });
        match barred {
            Some(None) => valid.push(index),
            Some(Some(verdict)) => {
                others.push(contribution);
                decision.verdicts.push((index, verdict));
            }
            None => others.push(contribution),
        }
    }
    let governance = &input.zone.governance;
    if let Some((_, rule)) = governance.rules().sharing(&input.zone.apex, input.name)
        && rule.policy != SharingPolicy::Exclusive
    {
        let mut decision = sharing::decide(input, rule, &valid, decision);
        entitled::report(input, &mut decision);
        return decision;
    }
    decision.holder = holder(input, &valid).cloned();
    let Some(holder) = decision.holder.clone() else { return decision };
    if input.claimed_by == Some(&holder) {
        others.iter().for_each(|other| keep_what_it_made(&mut decision, &holder, other));
    }
    let (accepted, waiting): (Vec<usize>, Vec<usize>) =
        valid.into_iter().partition(|index| contributions[*index].cluster == holder);
    if !waiting.is_empty() {
        let first = accepted.first().copied();
        let object = first
            .or_else(|| contributions.iter().position(|c| c.cluster == holder))
            .map(|index| contributions[index].endpoint.key.resource());
        for index in waiting {
            decision.verdicts.push((index, held_by(input, &holder, object.as_deref())));
        }
    }
    let counting = sides::counting(input, &mut decision, accepted);
    Merge::new(input, &mut decision).run(&counting);
    entitled::report(input, &mut decision);
    decision
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

/// The cluster that has the name: the one that had it, as long as an endpoint of it is there, or else the first to come with a valid
/// endpoint. A cluster whose endpoints have all moved to other zones protects what it made and bars no other: two clusters that
/// swap their zones would wait for each other.
fn holder<'a>(input: &NameInput<'a>, valid: &[usize]) -> Option<&'a ClusterId> {
    let contributions = input.contributions;
    let first = || valid.first().map(|index| &contributions[*index].cluster);
    let is_there = |cluster: &&ClusterId, or_leaves: bool| {
        contributions.iter().any(|c| c.cluster == **cluster && (or_leaves || !c.leaves))
    };
    let stays = input.claimed_by.filter(|cluster| is_there(cluster, false));
    stays.or_else(first).or_else(|| input.claimed_by.filter(|cluster| is_there(cluster, true)))
}

/// Keeps what an endpoint of the owner made before its present content, whichever rule rejects it or makes it wait.
fn keep_what_it_made(decision: &mut NameDecision, holder: &ClusterId, other: &Contribution) {
    if other.cluster == *holder {
        decision.retain(&other.endpoint, Retention::Firm);
    }
}

fn held_by(input: &NameInput<'_>, holder: &ClusterId, object: Option<&str>) -> Verdict {
    let object = object.map_or_else(String::new, |object| format!(" for {object}"));
    Verdict::waiting(
        Reason::NameHeld,
        format!(
            "{} in the zone {} is held by the cluster {holder}{object}; it passes on when that cluster gives it up",
            input.name, input.zone.apex
        ),
        Some(input.zone.placement.clone()),
    )
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
