//! From an endpoint, which is text, to its parsed and checked content.
//!
//! The rules are ExternalDNS's where its users rely on them (alias detection, property names), and Route 53's for the rest.

use arcstr::ArcStr;

use super::Endpoint;
use super::packed::EndpointView;
use super::routing::{AliasHealth, property, routing};
use super::verdict::{Reason, Verdict};
use crate::core::aws::alias_zones;
use crate::core::aws::alias_zones::canonical_zone;
use crate::core::dns::name::DnsName;
use crate::core::dns::rdata;
use crate::core::dns::record::{
    AliasTarget, RecordData, RecordKey, RecordSet, RecordType, RoutingPolicy,
};
use crate::core::ids::ZoneId;
use crate::core::visibility::Exposure;

/// Route 53's largest TTL, in seconds.
pub const MAX_TTL_SECS: i64 = 2_147_483_647;
/// Route 53 accepts at most 400 values in one record set.
pub const MAX_VALUES: usize = 400;

/// The content of an endpoint, checked as far as that is possible without knowing the zone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParsedEndpoint {
    /// The owner name.
    pub name: DnsName,
    /// The types to publish: one, or A and AAAA for an alias that was written as a CNAME.
    pub types: Vec<RecordType>,
    /// The set identifier; present exactly when the policy is not simple.
    pub set_identifier: Option<ArcStr>,
    /// The routing policy.
    pub policy: RoutingPolicy,
    /// Seconds; `None` for the zone's default.
    pub ttl_secs: Option<u32>,
    pub answer: Answer,
    /// The id of a health check.
    pub health_check_id: Option<ArcStr>,
    /// The zone that the endpoint names itself (`aws/hosted-zone-id`).
    pub zone: Option<ZoneId>,
    /// In which kinds of zones, when the endpoint says so (`zonefold/visibility`).
    pub exposure: Option<Exposure>,
}

/// Values, or another name's answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Canonical values.
    Values(Vec<ArcStr>),
    /// An alias.
    Alias {
        /// The target's zone; `None` for the zone that the endpoint is placed in.
        zone: Option<ZoneId>,
        target: DnsName,
        /// Whether the target's health counts.
        evaluate_target_health: bool,
    },
}

impl ParsedEndpoint {
    /// The record sets in a zone with the given default TTL.
    pub fn record_sets(&self, zone: &ZoneId, default_ttl_secs: u32) -> Vec<RecordSet> {
        self.types
            .iter()
            .map(|rtype| RecordSet {
                key: RecordKey {
                    name: self.name.clone(),
                    rtype: *rtype,
                    set_identifier: self.set_identifier.clone(),
                },
                policy: self.policy.clone(),
                data: match &self.answer {
                    Answer::Values(values) => RecordData::Values {
                        ttl_secs: self.ttl_secs.unwrap_or(default_ttl_secs),
                        values: values.clone(),
                    },
                    Answer::Alias { zone: target_zone, target, evaluate_target_health } => {
                        RecordData::Alias(AliasTarget {
                            zone_id: target_zone.clone().unwrap_or_else(|| zone.clone()),
                            name: target.clone(),
                            evaluate_target_health: *evaluate_target_health,
                        })
                    }
                },
                health_check_id: self.health_check_id.clone(),
            })
            .collect()
    }

    /// Whether it asks for a CNAME record set, which cannot coexist with another at its name (RFC 1034 §3.6.2).
    pub fn is_cname(&self) -> bool {
        self.types == [RecordType::Cname]
    }
}

/// The record keys that an endpoint can have made under any content: its key does not change, only its content. Used to
/// leave the record sets of an earlier, accepted version alone while the present one is rejected.
pub fn reachable_types(endpoint: &Endpoint) -> Vec<RecordType> {
    match RecordType::parse(&endpoint.key.record_type) {
        Some(RecordType::Cname) => vec![RecordType::Cname, RecordType::A, RecordType::Aaaa],
        Some(rtype) => vec![rtype],
        None => vec![],
    }
}

/// Whether an endpoint may lead to another name: it is a CNAME, or is written as an alias.
pub fn is_link(endpoint: &EndpointView<'_>) -> bool {
    endpoint.record_type.eq_ignore_ascii_case("CNAME")
        || endpoint.properties.iter().any(|(name, _)| *name == "alias")
}

/// Reads an endpoint.
///
/// # Errors
/// The verdict that rejects it: the problem, its place, and what to do.
pub fn parse_endpoint(endpoint: &Endpoint) -> Result<ParsedEndpoint, Verdict> {
    let name = DnsName::parse(&endpoint.key.dns_name)
        .map_err(|e| Verdict::rejected(Reason::InvalidName, e.to_string()))?;
    let rtype = record_type(endpoint)?;
    let ttl_secs = ttl(endpoint)?;
    let zone = property(endpoint, "hosted-zone-id")
        .map(|text| {
            ZoneId::from_wire(text).map_err(|e| {
                Verdict::rejected(Reason::InvalidRouting, format!("aws/hosted-zone-id: {e}"))
            })
        })
        .transpose()?;
    let exposure = match endpoint.properties.get("zonefold/visibility").map(ArcStr::as_str) {
        None => None,
        Some(word) => Some(Exposure::parse(word).ok_or_else(|| {
            Verdict::rejected(
                Reason::InvalidRouting,
                format!("zonefold/visibility is {word:?}: write {}", Exposure::WORDS),
            )
        })?),
    };
    if rtype == RecordType::Ns && name.is_wildcard() {
        return Err(Verdict::rejected(
            Reason::InvalidName,
            "Route 53 accepts no NS record set with a wildcard for its name: delegate each name",
        ));
    }
    let (types, answer) = answer(endpoint, rtype)?;
    let leads_back = match &answer {
        Answer::Values(values) => {
            rtype == RecordType::Cname && values.iter().any(|value| value.as_str() == name.as_str())
        }
        Answer::Alias { target, .. } => *target == name,
    };
    if leads_back {
        return Err(Verdict::rejected(
            Reason::InvalidTarget,
            format!("{name} points to itself: give another target"),
        ));
    }
    let health_check_id = property(endpoint, "health-check-id").map(ArcStr::from);
    if health_check_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > 64) {
        return Err(Verdict::rejected(
            Reason::InvalidRouting,
            "aws/health-check-id has 1 to 64 characters",
        ));
    }
    let alias_health = match &answer {
        Answer::Values(_) => AliasHealth::NoAlias,
        Answer::Alias { evaluate_target_health: true, .. } => AliasHealth::Evaluated,
        Answer::Alias { .. } => AliasHealth::NotEvaluated,
    };
    let (set_identifier, policy) =
        routing(endpoint, rtype, alias_health, health_check_id.is_some())?;
    if matches!(policy, RoutingPolicy::Cidr { .. }) && exposure == Some(Exposure::Private) {
        return Err(Verdict::rejected(
            Reason::InvalidRouting,
            "Route 53 accepts CIDR routing in public zones only: choose another policy, or another visibility",
        ));
    }
    Ok(ParsedEndpoint {
        name,
        types,
        set_identifier,
        policy,
        ttl_secs,
        answer,
        health_check_id,
        zone,
        exposure,
    })
}

fn record_type(endpoint: &Endpoint) -> Result<RecordType, Verdict> {
    let text = endpoint.key.record_type.as_str();
    match RecordType::parse(text) {
        Some(RecordType::Soa) => Err(Verdict::rejected(
            Reason::InvalidType,
            "the SOA record set belongs to Route 53: remove the endpoint",
        )),
        Some(rtype) => Ok(rtype),
        None => Err(Verdict::rejected(
            Reason::InvalidType,
            format!(
                "Route 53 has no record type {text:?}: use A, AAAA, CAA, CNAME, DS, HTTPS, MX, NAPTR, NS, PTR, SPF, SRV, SSHFP, SVCB, TLSA or TXT"
            ),
        )),
    }
}

fn ttl(endpoint: &Endpoint) -> Result<Option<u32>, Verdict> {
    let Some(secs) = endpoint.ttl_secs else { return Ok(None) };
    match u32::try_from(secs) {
        Ok(ttl) if secs <= MAX_TTL_SECS => Ok(Some(ttl)),
        _ => Err(Verdict::rejected(
            Reason::InvalidTtl,
            format!("the TTL {secs} is out of range: write 0 to {MAX_TTL_SECS} seconds"),
        )),
    }
}

fn answer(endpoint: &Endpoint, rtype: RecordType) -> Result<(Vec<RecordType>, Answer), Verdict> {
    if let Some(alias) = alias(endpoint, rtype)? {
        return Ok(alias);
    }
    if endpoint.targets.is_empty() {
        return Err(Verdict::rejected(
            Reason::InvalidTarget,
            "the endpoint has no target: give at least one",
        ));
    }
    if endpoint.targets.len() > MAX_VALUES {
        return Err(Verdict::rejected(
            Reason::TooLarge,
            format!(
                "{} values are given and the limit is {MAX_VALUES}: use fewer",
                endpoint.targets.len()
            ),
        ));
    }
    let values = rdata::canonical_values(rtype, &endpoint.targets)
        .map_err(|e| Verdict::rejected(Reason::InvalidTarget, e.to_string()))?;
    rdata::check_publishable(rtype, &values, &endpoint.targets)
        .map_err(|e| Verdict::rejected(Reason::InvalidTarget, e.to_string()))?;
    if rtype == RecordType::Cname && values.len() != 1 {
        return Err(Verdict::rejected(
            Reason::InvalidTarget,
            format!(
                "a CNAME has one target and {} are given (RFC 1034 §3.6.2): leave one",
                values.len()
            ),
        ));
    }
    Ok((vec![rtype], Answer::Values(values)))
}

/// ExternalDNS makes an alias of a CNAME whose target AWS runs, as A and AAAA, unless `alias` says `false`; `alias: true`
/// makes one of any name. `A` or `AAAA` in its place asks for that type alone.
fn alias(
    endpoint: &Endpoint,
    rtype: RecordType,
) -> Result<Option<(Vec<RecordType>, Answer)>, Verdict> {
    let wanted = endpoint.properties.get("alias").map(|text| text.to_ascii_lowercase());
    let asked = matches!(wanted.as_deref(), Some("true" | "a" | "aaaa"));
    if !asked && rtype != RecordType::Cname {
        return Ok(None);
    }
    let first = endpoint.targets.first().and_then(|target| DnsName::parse(target).ok());
    let is_host = |target: &DnsName| rdata::host_problem(target.as_str()).is_none();
    let known_zone = first.as_ref().and_then(canonical_zone);
    let applies = match rtype {
        RecordType::Cname => wanted.as_deref() != Some("false") && (asked || known_zone.is_some()),
        RecordType::A | RecordType::Aaaa => asked && first.as_ref().is_some_and(is_host),
        _ => false,
    };
    if !applies {
        return Ok(None);
    }
    let Some(target) = first else {
        return Err(Verdict::rejected(
            Reason::InvalidTarget,
            "an alias needs a name as its target",
        ));
    };
    if endpoint.targets.len() != 1 {
        return Err(Verdict::rejected(
            Reason::InvalidTarget,
            format!(
                "an alias has one target and {} are given: leave one, or set alias to \"false\"",
                endpoint.targets.len()
            ),
        ));
    }
    if let Some(problem) = rdata::host_problem(target.as_str()) {
        return Err(Verdict::rejected(
            Reason::InvalidTarget,
            format!("the alias target {:?}: {problem}", target.to_string()),
        ));
    }
    let zone = match property(endpoint, "target-hosted-zone") {
        Some(text) => Some(ZoneId::from_wire(text).map_err(|e| {
            Verdict::rejected(Reason::InvalidRouting, format!("aws/target-hosted-zone: {e}"))
        })?),
        None => known_zone,
    };
    let is_cloudfront = zone.as_ref().is_some_and(|zone| zone.as_str() == alias_zones::CLOUDFRONT);
    let evaluate_target_health = match property(endpoint, "evaluate-target-health") {
        None => true,
        Some("true") => true,
        Some("false") => false,
        Some(other) => {
            return Err(Verdict::rejected(
                Reason::InvalidRouting,
                format!("aws/evaluate-target-health is {other:?}: write true or false"),
            ));
        }
    } && !is_cloudfront;
    let types = match (rtype, wanted.as_deref()) {
        (RecordType::Cname, Some("a")) => vec![RecordType::A],
        (RecordType::Cname, Some("aaaa")) => vec![RecordType::Aaaa],
        (RecordType::Cname, _) => vec![RecordType::A, RecordType::Aaaa],
        (other, _) => vec![other],
    };
    Ok(Some((types, Answer::Alias { zone, target, evaluate_target_health })))
}

#[cfg(test)]
#[path = "parsed_tests.rs"]
mod tests;
