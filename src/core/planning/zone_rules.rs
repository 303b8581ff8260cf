//! Endpoints that a zone does not accept at a name, whichever cluster asks.

use super::decision::{NameInput, ZoneContext};
use crate::core::dns::record::RecordType;
use crate::core::endpoint::parsed::{Answer, ParsedEndpoint};
use crate::core::endpoint::verdict::{Reason, Verdict};

/// Why the zone does not accept an endpoint.
pub(super) fn bar(input: &NameInput<'_>, parsed: &ParsedEndpoint) -> Option<Verdict> {
    at_apex(input.zone, parsed)
        .or_else(|| of_type(input, parsed))
        .or_else(|| of_alias(input.zone, parsed))
        .or_else(|| below_delegation(input, parsed))
}

fn at_apex(zone: &ZoneContext, parsed: &ParsedEndpoint) -> Option<Verdict> {
    if parsed.name != zone.apex {
        return None;
    }
    if parsed.is_cname() {
        return Some(Verdict::rejected(
            Reason::InvalidType,
            format!(
                "a CNAME cannot stand at the apex of the zone {} (RFC 1034 §3.6.2): use an alias (annotation alias: \"true\") or addresses",
                zone.apex
            ),
        ));
    }
    parsed.types.contains(&RecordType::Ns).then(|| {
        Verdict::rejected(
            Reason::InvalidType,
            format!(
                "the NS record set at the apex of {} belongs to Route 53: remove the endpoint",
                zone.apex
            ),
        )
    })
}

/// Anyone who may create a DNSEndpoint can ask for any type, so the zone says which ones are published.
fn of_type(input: &NameInput<'_>, parsed: &ParsedEndpoint) -> Option<Verdict> {
    let zone = input.zone;
    let is_refused = |rtype: &&RecordType| {
        !zone.record_types.allow(**rtype, false)
            && !zone.record_types.allow(**rtype, input.is_published(parsed))
    };
    let rtype = parsed.types.iter().find(is_refused)?;
    Some(Verdict::rejected(
        Reason::ZonePolicy,
        format!(
            "the zone {} accepts the record types {} from clusters, and this is {rtype}: add it to record_types of the zone, or remove the endpoint",
            zone.apex, zone.record_types
        ),
    ))
}

/// Route 53 accepts aliases to AWS services and to names of the same zone.
fn of_alias(zone: &ZoneContext, parsed: &ParsedEndpoint) -> Option<Verdict> {
    let Answer::Alias { zone: target_zone, target, .. } = &parsed.answer else { return None };
    let is_in_zone = target_zone.as_ref().is_none_or(|target_zone| target_zone == zone.zone());
    (is_in_zone && !target.is_in(&zone.apex)).then(|| {
        let otherwise = if parsed.name == zone.apex {
            "publish addresses"
        } else {
            "remove the annotation alias, so that it becomes a CNAME"
        };
        Verdict::rejected(
            Reason::InvalidTarget,
            format!(
                "the alias target {target} lies outside the zone {} and is no name of an AWS service that is known: {otherwise}, or name the service's zone with aws/target-hosted-zone",
                zone.apex
            ),
        )
    })
}

/// The zone's servers answer a referral for whatever lies below a delegation, and for nothing there but the addresses of the
/// servers that it names (RFC 1034 §4.2.1).
fn below_delegation(input: &NameInput<'_>, parsed: &ParsedEndpoint) -> Option<Verdict> {
    let delegation = input.around.delegation_above(&parsed.name)?;
    let is_address = |rtype: &RecordType| matches!(rtype, RecordType::A | RecordType::Aaaa);
    let is_glue = delegation.servers.contains(&parsed.name) && parsed.types.iter().all(is_address);
    if is_glue || input.is_published(parsed) {
        return None;
    }
    let zone = input.zone;
    Some(Verdict::waiting(
        Reason::BelowDelegation,
        format!(
            "the NS record set of {} in the zone {} gives {} to other servers, so no record here would be answered: publish it in the zone that they serve, or remove the NS record set",
            delegation.at, zone.apex, parsed.name
        ),
        Some(zone.placement.clone()),
    ))
}
