//! Who may have a name, by the rules of its owner.

use super::decision::{Contribution, NameDecision, NameInput};
use crate::core::endpoint::parsed::ParsedEndpoint;
use crate::core::endpoint::verdict::{Reason, Verdict, VerdictState};
use crate::core::governance::entitlement::{Entitlement, Nearly, NotGranted};

/// Why an endpoint may not have the name: no grant lets it.
pub(super) fn bar(
    input: &NameInput<'_>,
    contribution: &Contribution,
    parsed: &ParsedEndpoint,
) -> Option<Verdict> {
    let Entitlement::Refused(why) = entitlement(input, contribution, parsed) else { return None };
    let text = format!("{}; what is published already stays", told(input, contribution, &why));
    Some(Verdict::waiting(Reason::NotGranted, text, Some(input.zone.placement.clone())))
}

/// Says of what is accepted where it would not be if the names were given by grants alone.
pub(super) fn report(input: &NameInput<'_>, decision: &mut NameDecision) {
    let accepted = decision.verdicts.iter_mut().filter(|(_, verdict)| {
        verdict.state == VerdictState::Accepted && verdict.message.is_empty()
    });
    for (index, verdict) in accepted {
        let contribution = &input.contributions[*index];
        let parsed = contribution.parsed.as_ref();
        let found = parsed.map(|parsed| entitlement(input, contribution, parsed));
        if let Some(Entitlement::Reported(why)) = found {
            let text = told(input, contribution, &why);
            verdict.message = format!("under `claims: granted` it would wait: {text}");
        }
    }
}

fn entitlement(
    input: &NameInput<'_>,
    contribution: &Contribution,
    parsed: &ParsedEndpoint,
) -> Entitlement {
    let namespace = &contribution.endpoint.key.namespace;
    input.zone.governance.entitlement(&input.zone.apex, parsed, &contribution.cluster, namespace)
}

fn told(input: &NameInput<'_>, contribution: &Contribution, why: &NotGranted) -> String {
    let (name, cluster) = (input.name, &contribution.cluster);
    let namespace = &contribution.endpoint.key.namespace;
    let of_namespace = match namespace.as_str() {
        "" => String::new(),
        namespace => format!("the namespace {namespace} of "),
    };
    let nearly = match &why.nearly {
        None => String::new(),
        Some(Nearly::Over(grant, at)) => format!(" (the {grant} ended at {at})"),
        Some(Nearly::OtherTypes(grant)) => format!(" (the {grant} is for other record types)"),
        Some(Nearly::OtherNamespaces(grant)) => format!(" (the {grant} is for other namespaces)"),
    };
    let who = match &why.team {
        Some(team) => format!("an owner of the team {team}"),
        None => "the platform team".to_owned(),
    };
    let by = match &why.rule {
        Some((rule, home)) => format!(", by the {rule} in {home}"),
        None => String::new(),
    };
    format!("no grant gives {name} to {of_namespace}{cluster}{nearly}: ask {who} for one{by}")
}

#[cfg(test)]
#[path = "entitled_tests.rs"]
mod tests;
