//! Internal and public addresses at one name of a cluster.
//!
//! They never add up: either would be wrong for some clients. In a private zone the internal addresses count, in a public one the
//! public addresses. The others are ignored there.

use super::decision::{Contribution, NameDecision, NameInput};
use crate::core::dns::record::RecordType;
use crate::core::endpoint::INTERNAL_PART;
use crate::core::endpoint::verdict::Verdict;
use crate::core::visibility::Exposure;

/// The valid endpoints of one cluster that count in the zone; the others are accepted, and their verdicts name one that counts.
pub(super) fn counting(
    input: &NameInput<'_>,
    decision: &mut NameDecision,
    valid: Vec<usize>,
) -> Vec<usize> {
    let Some(oldest) = valid.first().and_then(|index| input.contributions.get(*index)) else {
        return valid;
    };
    let is_private = input.zone.visibility.is_private();
    let is_of_zone = |it: &Contribution| is_inside(it) == is_private;
    // Also one that is rejected now: what it published before stays, and nothing is added to it.
    let Some(first) = input
        .contributions
        .iter()
        .find(|it| it.cluster == oldest.cluster && is_of_zone(it) && answers_hosts(it))
    else {
        return valid;
    };
    let (counting, left_out): (Vec<usize>, Vec<usize>) = valid.into_iter().partition(|index| {
        let contribution = &input.contributions[*index];
        is_of_zone(contribution) || !answers_hosts(contribution)
    });
    let (zone, whom) = (input.zone, if is_private { "those inside" } else { "everybody" });
    for index in left_out {
        let mut verdict = Verdict::accepted(zone.placement.clone());
        verdict.message = format!(
            "in the {} zone {} the addresses for {whom} count, which are those of {}",
            zone.visibility,
            zone.apex,
            first.endpoint.key.resource()
        );
        decision.verdicts.push((index, verdict));
    }
    counting
}

fn is_inside(contribution: &Contribution) -> bool {
    let exposure = contribution.parsed.as_ref().and_then(|parsed| parsed.exposure);
    exposure == Some(Exposure::Internal)
        || contribution.endpoint.key.object.ends_with(INTERNAL_PART)
}

/// Whether it says where a host is.
fn answers_hosts(contribution: &Contribution) -> bool {
    let rtype = RecordType::parse(&contribution.endpoint.key.record_type);
    matches!(rtype, Some(RecordType::A | RecordType::Aaaa | RecordType::Cname))
}
