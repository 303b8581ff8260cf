//! The routing policy that an endpoint's properties ask for, by the rules of Route 53 that need no knowledge of its state.
//!
//! Lists that AWS extends (regions, local zone groups, its alias zones) are doubted and never refused: see [`doubts`].

use arcstr::ArcStr;

use super::Endpoint;
use super::verdict::{Reason, Verdict};
use crate::core::aws::{alias_zones, places};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{
    FailoverRole, GeoLocation, GeoProximity, RecordType, RoutingPolicy,
};
use crate::core::ids::ZoneId;

/// Characters of a region or local zone group, at most (Route 53).
const MAX_REGION_CHARS: usize = 64;

/// Possible mistakes that are published all the same: regions, local zone groups and alias zones that this version does not know,
/// each with the property and the remedy.
pub fn doubts(endpoint: &Endpoint) -> Vec<String> {
    if endpoint.properties.is_empty() {
        return Vec::new();
    }
    let regions = ["region", "geoproximity-region"].into_iter().filter_map(|name| {
        let region = property(endpoint, name).filter(|region| !places::is_known_region(region))?;
        Some(format!(
            "aws/{name} is {region:?}, a region that is not known here: it is published as it is; check the spelling if Route 53 \
             refuses it"
        ))
    });
    let group = property(endpoint, "geoproximity-local-zone-group")
        .filter(|group| !places::is_like_zone_group(group))
        .map(|group| {
            format!(
                "aws/geoproximity-local-zone-group is {group:?}, which is not like us-west-2-den-1: it is published as it is; check \
                 the spelling if Route 53 refuses it"
            )
        });
    regions.chain(group).chain(misplaced_alias(endpoint)).collect()
}

/// An alias whose target does not lie in the zone that the endpoint names for it.
fn misplaced_alias(endpoint: &Endpoint) -> Option<String> {
    let zone = ZoneId::from_wire(property(endpoint, "target-hosted-zone")?).ok()?;
    let target = DnsName::parse(endpoint.targets.first()?).ok()?;
    alias_zones::lies_outside(&zone, &target).then(|| {
        format!(
            "aws/target-hosted-zone is {zone}, and {target} does not seem to lie in that zone of AWS: it is published as it is; \
             remove the property if Route 53 refuses it"
        )
    })
}

/// A property under `aws/`, or under `webhook/`, which ExternalDNS leaves in place for webhook providers.
pub(super) fn property<'a>(endpoint: &'a Endpoint, name: &str) -> Option<&'a str> {
    // An endpoint has a handful of properties at most, and most have none.
    ["aws", "webhook"].iter().find_map(|family| {
        let is_meant = |property: &ArcStr| {
            property.strip_prefix(family).and_then(|rest| rest.strip_prefix('/')) == Some(name)
        };
        endpoint
            .properties
            .iter()
            .find(|(property, _)| is_meant(property))
            .map(|(_, value)| value.as_str())
    })
}

/// Whether an answer is an alias, and whether its target's health counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AliasHealth {
    NoAlias,
    Evaluated,
    NotEvaluated,
}

fn bad_routing(message: impl Into<String>) -> Verdict {
    Verdict::rejected(Reason::InvalidRouting, message)
}

/// The policy that the properties ask for, and its set identifier (Route 53 developer guide, "Choosing a routing policy"; exactly one).
pub(super) fn routing(
    endpoint: &Endpoint,
    rtype: RecordType,
    alias_health: AliasHealth,
    has_health_check: bool,
) -> Result<(Option<ArcStr>, RoutingPolicy), Verdict> {
    let mut policies = Vec::new();
    if let Some(text) = property(endpoint, "weight") {
        let weight = text.parse::<u8>().map_err(|_| {
            bad_routing(format!("aws/weight is {text:?}: write a whole number from 0 to 255"))
        })?;
        policies.push(("aws/weight", RoutingPolicy::Weighted(weight)));
    }
    if let Some(region) = property(endpoint, "region") {
        check_length("aws/region", region, MAX_REGION_CHARS)?;
        policies.push(("aws/region", RoutingPolicy::Latency(region.into())));
    }
    if let Some(role) = property(endpoint, "failover") {
        let role = match role.to_ascii_uppercase().as_str() {
            "PRIMARY" => FailoverRole::Primary,
            "SECONDARY" => FailoverRole::Secondary,
            _ => {
                return Err(bad_routing(format!(
                    "aws/failover is {role:?}: write PRIMARY or SECONDARY"
                )));
            }
        };
        policies.push(("aws/failover", RoutingPolicy::Failover(role)));
    }
    match property(endpoint, "multi-value-answer") {
        None | Some("false") => {}
        Some("true") | Some("") => {
            policies.push(("aws/multi-value-answer", RoutingPolicy::Multivalue))
        }
        Some(other) => {
            return Err(bad_routing(format!(
                "aws/multi-value-answer is {other:?}: write true or false"
            )));
        }
    }
    if let Some(place) = geolocation(endpoint)? {
        policies.push(("aws/geolocation-*", RoutingPolicy::Geolocation(place)));
    }
    if let Some(place) = geoproximity(endpoint)? {
        policies.push(("aws/geoproximity-*", RoutingPolicy::Geoproximity(place)));
    }
    if let Some(policy) = cidr(endpoint)? {
        policies.push(("aws/cidr-collection-id", policy));
    }
    if policies.len() > 1 {
        let names: Vec<_> = policies.iter().map(|(name, _)| *name).collect();
        return Err(bad_routing(format!(
            "a record set has one routing policy and {} are given: leave one",
            names.join(", ")
        )));
    }
    let set_identifier = Some(endpoint.key.set_identifier.clone()).filter(|text| !text.is_empty());
    let Some((property, policy)) = policies.pop() else {
        return match set_identifier {
            None if has_health_check => Err(bad_routing(
                "aws/health-check-id needs a routing policy, since without one there is nothing else to answer: add one, such as \
                 aws/weight, with a set identifier, or remove the health check",
            )),
            None => Ok((None, RoutingPolicy::Simple)),
            Some(set) => Err(bad_routing(format!(
                "the set identifier {set:?} stands without a routing policy: add one, such as aws/weight, or remove it"
            ))),
        };
    };
    let Some(set_identifier) = set_identifier else {
        return Err(bad_routing(format!(
            "{property} needs a set identifier: add the annotation set-identifier"
        )));
    };
    if set_identifier.chars().count() > 128 {
        return Err(bad_routing("a set identifier has 128 characters at most: shorten it"));
    }
    check_policy(rtype, &policy, alias_health, has_health_check)?;
    Ok((Some(set_identifier), policy))
}

/// Rejects combinations that Route 53 refuses.
fn check_policy(
    rtype: RecordType,
    policy: &RoutingPolicy,
    alias_health: AliasHealth,
    has_health_check: bool,
) -> Result<(), Verdict> {
    if matches!(rtype, RecordType::Ns | RecordType::Soa) {
        return Err(bad_routing(format!(
            "Route 53 accepts no routing policy on {rtype}: remove it"
        )));
    }
    match (policy, alias_health) {
        (RoutingPolicy::Multivalue, AliasHealth::Evaluated | AliasHealth::NotEvaluated) => Err(
            bad_routing("a multivalue answer cannot be an alias: use addresses, or another policy"),
        ),
        (RoutingPolicy::Multivalue, AliasHealth::NoAlias) if rtype == RecordType::Cname => Err(
            bad_routing("a multivalue answer cannot be a CNAME: use addresses, or another policy"),
        ),
        (RoutingPolicy::Failover(FailoverRole::Primary), AliasHealth::NoAlias)
            if !has_health_check =>
        {
            Err(bad_routing("a failover PRIMARY needs a health check: add aws/health-check-id"))
        }
        (RoutingPolicy::Failover(FailoverRole::Primary), AliasHealth::NotEvaluated)
            if !has_health_check =>
        {
            Err(bad_routing(
                "a failover PRIMARY alias has to evaluate its target's health, which CloudFront does not allow: set \
                 aws/evaluate-target-health to true, or add aws/health-check-id",
            ))
        }
        _ => Ok(()),
    }
}

fn cidr(endpoint: &Endpoint) -> Result<Option<RoutingPolicy>, Verdict> {
    let location = property(endpoint, "cidr-location-name");
    let Some(collection) = property(endpoint, "cidr-collection-id") else {
        return match location {
            None => Ok(None),
            Some(_) => Err(bad_routing("aws/cidr-location-name needs aws/cidr-collection-id too")),
        };
    };
    let collection_id = collection.to_ascii_lowercase();
    let groups = collection_id.split('-').map(str::len);
    let octets = collection_id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if !groups.eq([8, 4, 4, 4, 12]) || !octets {
        return Err(bad_routing(format!(
            "aws/cidr-collection-id is {collection:?}: write the collection's id, a UUID such as \
             c8c02a84-aaaa-bbbb-e0d2-d833a2f80106"
        )));
    }
    let location = location.unwrap_or("*");
    let taken = location.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-*".contains(&byte));
    if !(1..=16).contains(&location.len()) || !taken {
        return Err(bad_routing(format!(
            "aws/cidr-location-name is {location:?}: write 1 to 16 letters, digits, \"-\" and \"_\", or * for the default"
        )));
    }
    Ok(Some(RoutingPolicy::Cidr {
        collection_id: collection_id.into(),
        location_name: location.into(),
    }))
}

fn check_length(property: &str, text: &str, most: usize) -> Result<(), Verdict> {
    if (1..=most).contains(&text.chars().count()) {
        return Ok(());
    }
    Err(bad_routing(format!("{property} is {text:?}: write 1 to {most} characters")))
}

fn geolocation(endpoint: &Endpoint) -> Result<Option<GeoLocation>, Verdict> {
    let part = |name: &str| property(endpoint, name).map(|t| ArcStr::from(t.to_ascii_uppercase()));
    let place = GeoLocation {
        continent_code: part("geolocation-continent-code"),
        country_code: part("geolocation-country-code"),
        subdivision_code: part("geolocation-subdivision-code"),
    };
    match (&place.continent_code, &place.country_code, &place.subdivision_code) {
        (None, None, None) => Ok(None),
        (Some(_), None, None) | (None, Some(_), _) => {
            places::check_location(&place).map_err(bad_routing)?;
            Ok(Some(place))
        }
        (Some(_), ..) => Err(bad_routing(
            "aws/geolocation-continent-code stands alone: remove the country and subdivision, or the continent",
        )),
        (None, None, Some(_)) => {
            Err(bad_routing("aws/geolocation-subdivision-code needs aws/geolocation-country-code"))
        }
    }
}

fn geoproximity(endpoint: &Endpoint) -> Result<Option<GeoProximity>, Verdict> {
    let part = |name: &str| property(endpoint, name).map(ArcStr::from);
    let bias = part("geoproximity-bias")
        .map(|text| match text.parse::<i32>() {
            Ok(bias) if (-99..=99).contains(&bias) => Ok(bias),
            _ => Err(bad_routing(format!(
                "aws/geoproximity-bias is {text:?}: write a whole number from -99 to 99"
            ))),
        })
        .transpose()?;
    let coordinates = part("geoproximity-coordinates")
        .map(|text| places::coordinates(&text).map_err(bad_routing))
        .transpose()?;
    let place = GeoProximity {
        aws_region: part("geoproximity-region"),
        local_zone_group: part("geoproximity-local-zone-group"),
        coordinates,
        bias,
    };
    for (property, text) in [
        ("aws/geoproximity-region", &place.aws_region),
        ("aws/geoproximity-local-zone-group", &place.local_zone_group),
    ] {
        text.iter().try_for_each(|text| check_length(property, text, MAX_REGION_CHARS))?;
    }
    let given = usize::from(place.aws_region.is_some())
        + usize::from(place.local_zone_group.is_some())
        + usize::from(place.coordinates.is_some());
    match given {
        0 if place.bias.is_none() => Ok(None),
        1 => Ok(Some(place)),
        0 => Err(bad_routing(
            "aws/geoproximity-bias needs a region, a local zone group or coordinates",
        )),
        _ => Err(bad_routing(
            "geoproximity needs exactly one of region, local zone group and coordinates: leave one",
        )),
    }
}

#[cfg(test)]
#[path = "routing_tests.rs"]
mod tests;
