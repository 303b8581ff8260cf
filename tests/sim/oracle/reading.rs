//! The wish of an endpoint, read by rules of the oracle's own: A, AAAA, TXT and CNAME, aliases, and the routing policies that are
//! drawn. Anything else is unmodelled.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::{RawRecordSet, RecordKey, RecordType};
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::ZoneId;

use super::placing::{NAMED_ZONE, SEEN_BY};

/// The reading of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// This.
    Wants(Wish),
    /// Nothing that could be published: the broker has to say so.
    Invalid,
    /// Something that the model does not know.
    Unmodelled,
}

/// A wish that can be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The owner name.
    pub name: DnsName,
    /// The types: one, or both kinds of addresses for an alias that is written as a CNAME.
    pub rtypes: Vec<RecordType>,
    /// The set identifier.
    pub set_identifier: Option<String>,
    /// The routing policy.
    pub policy: Policy,
    /// Seconds; `None` for the zone's default.
    pub ttl_secs: Option<i64>,
    /// The values, each in the one form that [`values`] gives it; of an alias none.
    pub values: BTreeSet<String>,
    /// Where an alias leads.
    pub alias: Option<Alias>,
}

/// Where an alias leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The target.
    pub target: DnsName,
    /// Its zone, if that is AWS's; `None` if it is the zone that the alias is in.
    pub zone: Option<&'static str>,
}

/// A routing policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Which kind.
    pub kind: &'static str,
    /// Its value: a weight, or a place that only one set of a name and type has.
    pub value: String,
    /// A health check.
    pub health: String,
}

impl Policy {
    /// The place that only one set of a name and type has.
    pub fn place(&self) -> Option<(&'static str, &str)> {
        (!matches!(self.kind, "" | "weight")).then_some((self.kind, self.value.as_str()))
    }

    /// The policy of a set that Route 53 holds.
    pub fn of(set: &RawRecordSet) -> Self {
        let health = set.health_check_id.as_ref().map_or_else(String::new, ToString::to_string);
        let geolocation = set.geolocation.as_ref().map(|place| {
            let part = |part: &Option<arcstr::ArcStr>| part.as_deref().unwrap_or("").to_owned();
            format!("{}/{}", part(&place.continent_code), part(&place.country_code))
        });
        let (kind, value) = match (set.weight, &set.region, &set.failover, geolocation) {
            (Some(weight), ..) => ("weight", weight.to_string()),
            (_, Some(region), ..) => ("region", region.to_string()),
            (_, _, Some(role), _) => ("failover", role.to_string()),
            (.., Some(place)) => ("geolocation", place),
            _ => ("", String::new()),
        };
        Self { kind, value, health }
    }
}

impl Wish {
    /// The keys of its record sets.
    pub fn keys(&self) -> impl Iterator<Item = SetKey> {
        self.rtypes.iter().map(|rtype| (*rtype, self.set_identifier.clone()))
    }

    /// Whether it is for a record set.
    pub fn is_for(&self, key: &RecordKey) -> bool {
        self.name == key.name && self.keys().any(|own| own == set_key(key))
    }

    /// The values in a zone, in the form of [`values_of`].
    pub fn values_in(&self, zone: &ZoneId) -> BTreeSet<String> {
        match &self.alias {
            None => self.values.clone(),
            Some(Alias { target, zone: of_aws }) => {
                [alias_text(target, of_aws.unwrap_or(zone.as_str()))].into()
            }
        }
    }
}

/// The zone of AWS's load balancers that runs have.
const BALANCERS: (&str, &str) = (".eu-central-1.elb.amazonaws.com", "Z215JYRZR1TBD5");

/// Reads an endpoint.
pub fn read(endpoint: &Endpoint) -> Reading {
    let said = |property: &str| endpoint.properties.get(property).map(|word| word.as_str());
    let rtype = match RecordType::parse(&endpoint.key.record_type) {
        Some(rtype @ (RecordType::A | RecordType::Aaaa | RecordType::Txt | RecordType::Cname)) => {
            rtype
        }
        Some(_) => return Reading::Unmodelled,
        None => return Reading::Invalid,
    };
    let known = |property: &arcstr::ArcStr| {
        POLICIES.iter().any(|(known, _)| *known == property.as_str())
            || ["alias", "aws/health-check-id", NAMED_ZONE, SEEN_BY].contains(&property.as_str())
    };
    if !endpoint.properties.keys().all(known) {
        return Reading::Unmodelled;
    }
    let Ok(name) = DnsName::parse(&endpoint.key.dns_name) else { return Reading::Invalid };
    let is_ttl_wrong =
        endpoint.ttl_secs.is_some_and(|ttl| i32::try_from(ttl).map_or(true, |ttl| ttl < 0));
    if is_ttl_wrong {
        return Reading::Invalid;
    }
    let first = endpoint.targets.first().map(|target| target.as_str()).unwrap_or_default();
    let is_balancer = rtype == RecordType::Cname && first.ends_with(BALANCERS.0);
    let is_asked = said("alias") == Some("true");
    // A text that looks like an address is one.
    let is_name = rtype == RecordType::Cname || first.parse::<Ipv4Addr>().is_err();
    let is_alias = is_name && (is_asked || (is_balancer && said("alias") != Some("false")));
    let (rtypes, values, alias) = if is_alias {
        let Ok(target) = DnsName::parse(first) else { return Reading::Invalid };
        if endpoint.targets.len() != 1 || target == name {
            return Reading::Invalid;
        }
        let rtypes = match rtype {
            RecordType::Cname => vec![RecordType::A, RecordType::Aaaa],
            other => vec![other],
        };
        let zone = first.ends_with(BALANCERS.0).then_some(BALANCERS.1);
        (rtypes, BTreeSet::new(), Some(Alias { target, zone }))
    } else {
        let targets = endpoint.targets.iter().map(|target| target.as_str());
        let Some(values) = values(rtype, targets) else { return Reading::Invalid };
        if values.is_empty() || (rtype == RecordType::Cname && values.len() != 1) {
            return Reading::Invalid;
        }
        (vec![rtype], values, None)
    };
    let Some(policy) = policy(endpoint, alias.is_some()) else { return Reading::Invalid };
    let set = endpoint.key.set_identifier.as_str();
    let set_identifier = Some(set.to_owned()).filter(|set| !set.is_empty());
    let ttl_secs = endpoint.ttl_secs;
    Reading::Wants(Wish { name, rtypes, set_identifier, policy, ttl_secs, values, alias })
}

/// The properties of routing policies, and their kinds.
const POLICIES: [(&str, &str); 5] = [
    ("aws/weight", "weight"),
    ("aws/region", "region"),
    ("aws/failover", "failover"),
    ("aws/geolocation-continent-code", "geolocation"),
    ("aws/geolocation-country-code", "geolocation"),
];

/// The routing policy, if it is whole: it has an identifier, and a primary has a health check.
fn policy(endpoint: &Endpoint, is_alias: bool) -> Option<Policy> {
    let said = |property: &str| endpoint.properties.get(property).map(|word| word.as_str());
    let health = said("aws/health-check-id").unwrap_or_default().to_owned();
    let given = || POLICIES.iter().filter_map(|(name, kind)| Some((*name, *kind, said(name)?)));
    let has_identifier = !endpoint.key.set_identifier.is_empty();
    match (given().next(), given().count()) {
        (None, _) => (health.is_empty() && !has_identifier).then(Policy::default),
        (Some((name, kind, value)), 1) => {
            let is_whole = value != "PRIMARY" || is_alias || !health.is_empty();
            let value = match name {
                "aws/geolocation-continent-code" => format!("{value}/"),
                "aws/geolocation-country-code" => format!("/{value}"),
                _ => value.to_owned(),
            };
            (has_identifier && is_whole).then_some(Policy { kind, value, health })
        }
        _ => None,
    }
}

/// The wish of an endpoint, when it has one.
pub fn wish(endpoint: &Endpoint) -> Option<Wish> {
    match read(endpoint) {
        Reading::Wants(wish) => Some(wish),
        Reading::Invalid | Reading::Unmodelled => None,
    }
}

/// The types of the record sets that an endpoint can have made under any content.
pub fn rtypes_of(key: &EndpointKey) -> Vec<RecordType> {
    match RecordType::parse(&key.record_type) {
        // It may have been an alias once, and that is A and AAAA.
        Some(RecordType::Cname) => vec![RecordType::Cname, RecordType::A, RecordType::Aaaa],
        Some(rtype) => vec![rtype],
        None => vec![],
    }
}

/// Values in one form, whether a person wrote them or Route 53 answers them; `None` if one of them is no value of the type.
pub fn values<'a>(
    rtype: RecordType,
    values: impl Iterator<Item = &'a str>,
) -> Option<BTreeSet<String>> {
    let one = |value: &str| match rtype {
        RecordType::A => value.parse::<Ipv4Addr>().ok().map(|address| address.to_string()),
        RecordType::Aaaa => value.parse::<Ipv6Addr>().ok().map(|address| address.to_string()),
        RecordType::Cname => DnsName::parse(value).ok().map(|name| name.to_string()),
        _ => Some(value.trim_matches('"').to_owned()),
    };
    values.map(one).collect()
}

/// The values of a set that Route 53 holds; what cannot be read is taken letter by letter, and an alias by its target.
pub fn values_of(set: &RawRecordSet) -> BTreeSet<String> {
    if let Some(alias) = &set.alias {
        let target = alias.name.trim_end_matches('.');
        return [alias_text(target, &alias.zone_id)].into();
    }
    let texts = || set.values.iter().map(|value| value.as_str());
    let read = RecordType::parse(&set.rtype).and_then(|rtype| values(rtype, texts()));
    read.unwrap_or_else(|| texts().map(str::to_owned).collect())
}

fn alias_text(target: impl std::fmt::Display, zone: &str) -> String {
    format!("alias of {target} in {zone}")
}

/// A record set of a name: its type and identifier.
pub type SetKey = (RecordType, Option<String>);

/// The set of a name that a key is of.
pub fn set_key(key: &RecordKey) -> SetKey {
    (key.rtype, key.set_identifier.as_ref().map(ToString::to_string))
}
