//! Record sets: the form in which Route 53 answers ([`RawRecordSet`]) and the one in which two can be compared ([`RecordSet`]).
//!
//! A DELETE has to repeat exactly what Route 53 holds, so the raw form is kept character by character. Desired and observed
//! record sets are compared in the canonical form.

use std::fmt;

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};

use super::name::{DnsName, NameError};
use super::rdata;
use super::rdata::ValueError;
pub use super::record_type::RecordType;
use crate::core::ids::ZoneId;

/// The key of a record set inside a zone. The order is Route 53's list order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordKey {
    /// The owner name.
    pub name: DnsName,
    /// The type.
    #[serde(rename = "type")]
    pub rtype: RecordType,
    /// The set identifier; `None` for the simple policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_identifier: Option<ArcStr>,
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.rtype)?;
        if let Some(set) = &self.set_identifier {
            write!(f, " [{set}]")?;
        }
        Ok(())
    }
}

/// PRIMARY or SECONDARY of the failover policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FailoverRole {
    /// Answers while it is healthy; a non-alias one needs a health check.
    Primary,
    /// Answers when the primary does not.
    Secondary,
}

/// A place of the geolocation policy. Exactly one of continent and country is set; subdivision goes with a country.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GeoLocation {
    /// Two letters: AF, AN, AS, EU, OC, NA, SA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continent_code: Option<ArcStr>,
    /// ISO 3166-1 alpha-2, or `*` for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country_code: Option<ArcStr>,
    /// One to three characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdivision_code: Option<ArcStr>,
}

/// A place of the geoproximity policy. Exactly one of region, local zone group and coordinates is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GeoProximity {
    /// An AWS region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_region: Option<ArcStr>,
    /// A local zone group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_zone_group: Option<ArcStr>,
    /// Latitude, then longitude, as text in the form that Route 53 accepts (at most two decimals).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinates: Option<(ArcStr, ArcStr)>,
    /// -99 to 99; `None` means 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<i32>,
}

/// The routing policy of a record set. All sets of one name and type share one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutingPolicy {
    /// One set answers for the name.
    #[default]
    Simple,
    /// 0 to 255, a share of the sum.
    Weighted(u8),
    /// The AWS region whose latency decides.
    Latency(ArcStr),
    /// Primary or secondary.
    Failover(FailoverRole),
    /// The place of the asker.
    Geolocation(GeoLocation),
    /// The distance to the asker, with a bias.
    Geoproximity(GeoProximity),
    /// Up to eight healthy answers.
    Multivalue,
    /// The asker's address block.
    Cidr {
        /// The id of the CIDR collection.
        collection_id: ArcStr,
        /// The location in it; `*` is the default.
        location_name: ArcStr,
    },
}

/// Which kind of policy, without its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    Simple,
    Weighted,
    Latency,
    Failover,
    Geolocation,
    Geoproximity,
    Multivalue,
    Cidr,
}

impl RoutingPolicy {
    /// The policy if its parameters name a place that only one set of a name and type can have (Route 53: one set a region,
    /// location or failover role).
    pub fn place(&self) -> Option<&Self> {
        match self {
            Self::Latency(_) | Self::Failover(_) | Self::Geolocation(_) | Self::Cidr { .. } => {
                Some(self)
            }
            Self::Simple | Self::Weighted(_) | Self::Geoproximity(_) | Self::Multivalue => None,
        }
    }

    /// The kind without its parameters.
    pub fn kind(&self) -> PolicyKind {
        match self {
            Self::Simple => PolicyKind::Simple,
            Self::Weighted(_) => PolicyKind::Weighted,
            Self::Latency(_) => PolicyKind::Latency,
            Self::Failover(_) => PolicyKind::Failover,
            Self::Geolocation(_) => PolicyKind::Geolocation,
            Self::Geoproximity(_) => PolicyKind::Geoproximity,
            Self::Multivalue => PolicyKind::Multivalue,
            Self::Cidr { .. } => PolicyKind::Cidr,
        }
    }
}

/// The target of an alias record set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AliasTarget {
    /// The hosted zone that holds the target: AWS's own for a load balancer, the same zone for a record of ours.
    pub zone_id: ZoneId,
    /// The target's name.
    pub name: DnsName,
    /// Whether the target's health decides if this set answers.
    pub evaluate_target_health: bool,
}

/// The answer of a record set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordData {
    /// Values with a TTL.
    Values {
        /// Seconds, 0 to 2,147,483,647.
        ttl_secs: u32,
        /// Canonical values, sorted, without duplicates.
        values: Vec<ArcStr>,
    },
    /// Another name's answers.
    Alias(AliasTarget),
}

/// A record set in canonical form: two that mean the same are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordSet {
    /// Name, type and set identifier.
    #[serde(flatten)]
    pub key: RecordKey,
    /// The routing policy; `Simple` exactly when there is no set identifier.
    #[serde(default)]
    pub policy: RoutingPolicy,
    /// The answers.
    pub data: RecordData,
    /// The id of a health check, at most 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_id: Option<ArcStr>,
}

impl RecordSet {
    /// Whether the set is an alias.
    pub fn is_alias(&self) -> bool {
        matches!(self.data, RecordData::Alias(_))
    }

    /// The TTL in seconds; `None` for an alias.
    pub fn ttl_secs(&self) -> Option<u32> {
        match &self.data {
            RecordData::Values { ttl_secs, .. } => Some(*ttl_secs),
            RecordData::Alias(_) => None,
        }
    }

    /// The form in which the set is written to Route 53.
    pub fn to_raw(&self) -> RawRecordSet {
        let mut raw = RawRecordSet {
            name: self.key.name.text(),
            rtype: self.key.rtype.text(),
            set_identifier: self.key.set_identifier.clone(),
            health_check_id: self.health_check_id.clone(),
            ..RawRecordSet::default()
        };
        match &self.policy {
            RoutingPolicy::Simple => {}
            RoutingPolicy::Weighted(weight) => raw.weight = Some(i64::from(*weight)),
            RoutingPolicy::Latency(region) => raw.region = Some(region.clone()),
            RoutingPolicy::Failover(role) => {
                raw.failover = Some(match role {
                    FailoverRole::Primary => arcstr::literal!("PRIMARY"),
                    FailoverRole::Secondary => arcstr::literal!("SECONDARY"),
                });
            }
            RoutingPolicy::Geolocation(place) => raw.geolocation = Some(place.clone()),
            RoutingPolicy::Geoproximity(place) => raw.geoproximity = Some(place.clone()),
            RoutingPolicy::Multivalue => raw.multivalue_answer = Some(true),
            RoutingPolicy::Cidr { collection_id, location_name } => {
                raw.cidr = Some(RawCidr {
                    collection_id: collection_id.clone(),
                    location_name: location_name.clone(),
                });
            }
        }
        match &self.data {
            RecordData::Values { ttl_secs, values } => {
                raw.ttl_secs = Some(i64::from(*ttl_secs));
                raw.values.clone_from(values);
            }
            RecordData::Alias(target) => {
                raw.alias = Some(RawAlias {
                    zone_id: target.zone_id.as_str().into(),
                    name: target.name.as_str().into(),
                    evaluate_target_health: target.evaluate_target_health,
                });
            }
        }
        raw
    }
}

/// A record set exactly as Route 53 answers it, field by field of the API's `ResourceRecordSet`, text untouched.
///
/// Fields are boxed or shared so that a large zone stays small in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RawRecordSet {
    /// The owner name, escaped as answered.
    pub name: ArcStr,
    /// The type's mnemonic.
    #[serde(rename = "type")]
    pub rtype: ArcStr,
    /// 1 to 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_identifier: Option<ArcStr>,
    /// Weighted policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
    /// Latency policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<ArcStr>,
    /// Geolocation policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geolocation: Option<GeoLocation>,
    /// Failover policy: `PRIMARY` or `SECONDARY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<ArcStr>,
    /// Multivalue policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multivalue_answer: Option<bool>,
    /// Seconds; `None` for an alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_secs: Option<i64>,
    /// The values in the order answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<ArcStr>,
    /// The alias target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<RawAlias>,
    /// The id of a health check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_id: Option<ArcStr>,
    /// Set when a traffic policy made the record: only that policy may write such sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_policy_instance_id: Option<ArcStr>,
    /// CIDR policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<RawCidr>,
    /// Geoproximity policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geoproximity: Option<GeoProximity>,
}

/// The alias part of a [`RawRecordSet`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RawAlias {
    /// The target's hosted zone.
    pub zone_id: ArcStr,
    /// The target's name, as answered.
    pub name: ArcStr,
    /// Whether the target's health counts.
    pub evaluate_target_health: bool,
}

/// The CIDR routing part of a [`RawRecordSet`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RawCidr {
    /// The id of the collection.
    pub collection_id: ArcStr,
    /// The location in it.
    pub location_name: ArcStr,
}

/// Why a record set is not one that Route 53 can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The owner name is invalid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A value does not fit the type.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The type is not one of Route 53's.
    #[error(
        "Route 53 has no record type {0:?}; it supports A, AAAA, CAA, CNAME, DS, HTTPS, MX, NAPTR, NS, PTR, SPF, SRV, SSHFP, SVCB, TLSA and TXT"
    )]
    UnknownType(String),
    /// Something about routing, counts or ranges; the text says what and how to fix it.
    #[error("{0}")]
    Shape(String),
    /// The set belongs to a traffic policy; it is Route 53's own.
    #[error("the record set belongs to the traffic policy instance {0}")]
    TrafficPolicy(String),
}

impl RawRecordSet {
    /// The value characters as Route 53 counts them against its 32,000 (quotes and spaces included, aliases none).
    pub fn value_chars(&self) -> usize {
        self.values.iter().map(|value| value.chars().count()).sum()
    }

    /// The elements that count against the 1,000 of a call; an alias counts as one.
    pub fn record_count(&self) -> usize {
        self.values.len().max(1)
    }

    /// The key, when the name and type are ones we know.
    pub fn key(&self) -> Result<RecordKey, RecordError> {
        Ok(RecordKey {
            name: DnsName::parse(&self.name)?,
            rtype: RecordType::parse(&self.rtype)
                .ok_or_else(|| RecordError::UnknownType(self.rtype.to_string()))?,
            set_identifier: self.set_identifier.clone(),
        })
    }

    /// The key of a set that Route 53 holds, whatever its type.
    ///
    /// # Errors
    /// The name is invalid.
    pub fn observed_key(&self) -> Result<RecordKey, RecordError> {
        Ok(RecordKey {
            name: DnsName::parse(&self.name)?,
            rtype: RecordType::observed(&self.rtype),
            set_identifier: self.set_identifier.clone(),
        })
    }

    /// The canonical form, for comparing. A value that Route 53 holds but that we cannot read is an error, and such a set is
    /// never equal to one that is wanted.
    pub fn canonical(&self) -> Result<RecordSet, RecordError> {
        if let Some(instance) = &self.traffic_policy_instance_id {
            return Err(RecordError::TrafficPolicy(instance.to_string()));
        }
        let key = self.key()?;
        let policy = self.policy()?;
        let data = match &self.alias {
            Some(alias) => RecordData::Alias(AliasTarget {
                zone_id: ZoneId::from_wire(&alias.zone_id)
                    .map_err(|e| RecordError::Shape(e.to_string()))?,
                name: DnsName::parse(&alias.name)?,
                evaluate_target_health: alias.evaluate_target_health,
            }),
            None => {
                let ttl_secs =
                    self.ttl_secs.and_then(|ttl| u32::try_from(ttl).ok()).ok_or_else(|| {
                        RecordError::Shape(
                            "the record set has neither an alias target nor a TTL".to_owned(),
                        )
                    })?;
                RecordData::Values {
                    ttl_secs,
                    values: rdata::canonical_values(key.rtype, &self.values)?,
                }
            }
        };
        Ok(RecordSet { key, policy, data, health_check_id: self.health_check_id.clone() })
    }

    fn policy(&self) -> Result<RoutingPolicy, RecordError> {
        let mut found = Vec::new();
        if let Some(weight) = self.weight {
            let weight = u8::try_from(weight).map_err(|_| {
                RecordError::Shape(format!("the weight {weight} is not one of 0 to 255"))
            })?;
            found.push(RoutingPolicy::Weighted(weight));
        }
        if let Some(region) = &self.region {
            found.push(RoutingPolicy::Latency(region.clone()));
        }
        if let Some(place) = &self.geolocation {
            found.push(RoutingPolicy::Geolocation(place.clone()));
        }
        match self.failover.as_deref() {
            Some("PRIMARY") => found.push(RoutingPolicy::Failover(FailoverRole::Primary)),
            Some("SECONDARY") => found.push(RoutingPolicy::Failover(FailoverRole::Secondary)),
            Some(other) => {
                return Err(RecordError::Shape(format!(
                    "the failover role {other:?} is neither PRIMARY nor SECONDARY"
                )));
            }
            None => {}
        }
        if self.multivalue_answer == Some(true) {
            found.push(RoutingPolicy::Multivalue);
        }
        if let Some(cidr) = &self.cidr {
            found.push(RoutingPolicy::Cidr {
                collection_id: cidr.collection_id.clone(),
                location_name: cidr.location_name.clone(),
            });
        }
        if let Some(place) = &self.geoproximity {
            found.push(RoutingPolicy::Geoproximity(place.clone()));
        }
        let policy = found.pop().unwrap_or_default();
        if found.is_empty() {
            Ok(policy)
        } else {
            Err(RecordError::Shape("the record set has more than one routing policy".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(name: &str, rtype: &str, values: &[&str]) -> RawRecordSet {
        RawRecordSet {
            name: name.into(),
            rtype: rtype.into(),
            ttl_secs: Some(300),
            values: values.iter().map(|v| ArcStr::from(*v)).collect(),
            ..RawRecordSet::default()
        }
    }

    #[test]
    fn the_order_of_values_does_not_matter_and_the_raw_form_is_untouched() {
        let one = raw("WWW.example.com", "A", &["192.0.2.2", "192.0.2.1"]);
        let two = raw("www.example.com.", "A", &["192.0.2.1", "192.0.2.2"]);
        assert_eq!(one.canonical().unwrap(), two.canonical().unwrap());
        assert_eq!(one.values, ["192.0.2.2", "192.0.2.1"].map(ArcStr::from));
    }

    #[test]
    fn a_set_survives_the_way_to_route_53_and_back() {
        let mut weighted = raw("www.example.com.", "A", &["192.0.2.1"]);
        weighted.set_identifier = Some("east".into());
        weighted.weight = Some(0);
        let canonical = weighted.canonical().unwrap();
        assert_eq!(canonical.policy, RoutingPolicy::Weighted(0));
        assert_eq!(canonical.to_raw(), weighted);
    }

    #[test]
    fn a_traffic_policy_s_set_has_no_canonical_form() {
        let mut set = raw("www.example.com.", "A", &["192.0.2.1"]);
        set.traffic_policy_instance_id = Some("tpi".into());
        assert!(matches!(set.canonical(), Err(RecordError::TrafficPolicy(_))));
    }
}
