//! Decides which cluster owns a name in a zone, and adds up the owner's endpoints.
//!
//! Unless a rule says how clusters share the name, the policy is `exclusive`: the first cluster with an accepted contribution owns
//! the name; the others wait, and their verdicts name it. Endpoints of the owner's objects may add up (as in ExternalDNS), and the
//! oldest wins where they cannot.

pub use super::decision::{
    Contribution, Delegation, Desired, Link, LinkRank, NameDecision, NameInput, NoOtherNames,
    OtherNames, Retention, ZoneContext,
};
pub use super::handover::HandedName;
use super::merge::Merge;
use super::{entitled, handover, sharing, sides, zone_rules};
use crate::core::endpoint::verdict::{Reason, Verdict};
use crate::core::governance::handover::Handover;
use crate::core::governance::rule::sharing::SharingPolicy;
use crate::core::ids::ClusterId;

/// Decides a name: its owner and the desired record sets. The order of the contributions does not matter.
pub fn decide_name(input: &NameInput<'_>) -> NameDecision {
    let entrants = Entrants::of(input);
    let governance = &input.zone.governance;
    let mut decision = match governance.rules().sharing(&input.zone.apex, input.name) {
        Some((_, rule)) if rule.policy != SharingPolicy::Exclusive => {
            sharing::decide(input, rule, &entrants.valid, entrants.barred)
        }
        _ => handover::pass(&entrants),
    };
    entitled::report(input, &mut decision);
    decision
}

/// The endpoints at a name, of which each may be published or not.
pub(super) struct Entrants<'a> {
    pub input: &'a NameInput<'a>,
    /// Those that may, the oldest first.
    pub valid: Vec<usize>,
    /// Those that may not, and those whose content is rejected.
    others: Vec<&'a Contribution>,
    /// The verdicts of those that may not.
    barred: NameDecision,
}

impl<'a> Entrants<'a> {
    fn of(input: &'a NameInput<'a>) -> Self {
        let contributions = input.contributions;
        let mut order: Vec<usize> = (0..contributions.len()).collect();
        order.sort_by_key(|index| contributions[*index].arrival);
        let mut barred = NameDecision::default();
        let (mut valid, mut others) = (Vec::new(), Vec::new());
        for index in order {
            let contribution = &contributions[index];
            let bar = contribution.parsed.as_ref().map(|parsed| {
                zone_rules::bar(input, parsed)
                    .or_else(|| entitled::bar(input, contribution, parsed))
            });
            match bar {
                Some(None) => valid.push(index),
                Some(Some(verdict)) => {
                    others.push(contribution);
                    barred.verdicts.push((index, verdict));
                }
                None => others.push(contribution),
            }
        }
        Self { input, valid, others, barred }
    }

    /// The cluster that has the name: the one that had it, as long as an endpoint of it is there, or else the first to come with a
    /// valid endpoint. A cluster whose endpoints have all moved to other zones protects what it made and bars no other: two
    /// clusters that swap their zones would wait for each other.
    pub(super) fn holder(&self) -> Option<&'a ClusterId> {
        let contributions = self.input.contributions;
        let first = || self.valid.first().map(|index| &contributions[*index].cluster);
        let is_there = |cluster: &&ClusterId, or_leaves: bool| {
            contributions.iter().any(|c| c.cluster == **cluster && (or_leaves || !c.leaves))
        };
        let claimed_by = self.input.claimed_by;
        let stays = claimed_by.filter(|cluster| is_there(cluster, false));
        stays.or_else(first).or_else(|| claimed_by.filter(|cluster| is_there(cluster, true)))
    }

    /// The decision if a cluster has the name, and no other.
    pub(super) fn decided_for(&self, holder: Option<&ClusterId>) -> NameDecision {
        let (input, contributions) = (self.input, self.input.contributions);
        let mut decision = NameDecision { holder: holder.cloned(), ..self.barred.clone() };
        let Some(holder) = holder else { return decision };
        if input.claimed_by == Some(holder) {
            self.others.iter().for_each(|other| keep_what_it_made(&mut decision, holder, other));
        }
        let (accepted, waiting): (Vec<usize>, Vec<usize>) =
            self.valid.iter().partition(|index| contributions[**index].cluster == *holder);
        if !waiting.is_empty() {
            let first = accepted.first().copied();
            let object = first
                .or_else(|| contributions.iter().position(|c| c.cluster == *holder))
                .map(|index| contributions[index].endpoint.key.resource());
            for index in waiting {
                decision.verdicts.push((index, held_by(input, holder, object.as_deref())));
            }
        }
        let counting = sides::counting(input, &mut decision, accepted);
        Merge::new(input, &mut decision).run(&counting);
        decision
    }
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
