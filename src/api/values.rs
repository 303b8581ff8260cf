//! Values that several resources show.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

use crate::core::dns::name::DnsName;
use crate::core::dns::record::{GeoLocation, GeoProximity, RawRecordSet, RecordType};
use crate::core::endpoint::EndpointKey;
use crate::core::endpoint::verdict::{Reason, VerdictState};
use crate::core::ids::{AccountId, ClusterId, EnvironmentId, ZoneId};
use crate::core::planning::change::Cause as CoreCause;
use crate::core::planning::change::{Motive, Sharer};
use crate::core::planning::plan::Drift;
use crate::core::planning::policy::{AdoptPolicy, ZonePolicy};
use crate::core::planning::routing::ZoneFacts;
use crate::core::time::Timestamp;

/// A point in time: RFC 3339 in UTC, with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-07-30T09:15:00.250Z")]
pub struct Time(pub Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        Ok(Self(Timestamp(time.as_millisecond())))
    }
}

/// A closed list of words.
fn words(description: &str, words: impl IntoIterator<Item = impl Into<String>>) -> Object {
    let words = words.into_iter().map(|word| serde_json::Value::from(word.into()));
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .enum_values(Some(words))
        .build()
}

/// A closed list of words, or null.
fn or_null(mut words: Object) -> Object {
    words.schema_type = SchemaType::from_iter([Type::String, Type::Null]);
    words.enum_values.get_or_insert_default().push(serde_json::Value::Null);
    words
}

/// Any values of a type that is written as a word.
fn words_of<T: Serialize>(description: &str, all: &[T]) -> Object {
    let word = |value: &T| serde_json::to_value(value).ok()?.as_str().map(str::to_owned);
    words(description, all.iter().filter_map(word))
}

pub(super) fn verdict_states() -> Object {
    words_of(
        "The broker's answer.",
        &[VerdictState::Accepted, VerdictState::Waiting, VerdictState::Rejected],
    )
}

pub(super) fn reasons() -> Object {
    let all = [
        Reason::Accepted,
        Reason::NoZone,
        Reason::ZoneGone,
        Reason::AmbiguousZone,
        Reason::NameHeld,
        Reason::ConflictInCluster,
        Reason::ForeignRecord,
        Reason::ZonePolicy,
        Reason::InvalidName,
        Reason::InvalidTarget,
        Reason::InvalidType,
        Reason::InvalidTtl,
        Reason::InvalidRouting,
        Reason::TooLarge,
        Reason::Malformed,
        Reason::ZonesUnknown,
        Reason::BelowDelegation,
        Reason::Quota,
        Reason::NotGranted,
    ];
    words_of("Why, for programs. The list is added to, never changed.", &all)
}

pub(super) fn record_types() -> Object {
    words(
        "The record type.",
        RecordType::ALL.into_iter().chain(RecordType::others()).map(RecordType::as_str),
    )
}

pub(super) fn motives() -> Object {
    words_of(
        "Why a change is made.",
        &[
            Motive::Wanted,
            Motive::Withdrawn,
            Motive::Passed,
            Motive::Repair,
            Motive::Adopt,
            Motive::Unknown,
        ],
    )
}

pub(super) fn drift_or_null() -> Object {
    or_null(words_of(
        "How another writer changed a record set of ours; null if none did.",
        &[Drift::Changed, Drift::Missing],
    ))
}

pub(super) fn zone_policies() -> Object {
    let all =
        [ZonePolicy::Sync, ZonePolicy::UpsertOnly, ZonePolicy::CreateOnly, ZonePolicy::Observe];
    words_of("What Zonefold may do in the zone.", &all)
}

pub(super) fn drift_policies() -> Object {
    words(
        "How the broker treats a record set of ours that another writer changed.",
        ["repair", "alert"],
    )
}

pub(super) fn adopt_policies() -> Object {
    let all = [AdoptPolicy::Never, AdoptPolicy::Identical, AdoptPolicy::Any];
    words_of("Which record sets that Zonefold did not make are taken over.", &all)
}

pub(super) fn visibilities() -> Object {
    words("Who can resolve the names of a zone.", ["public", "private"])
}

pub(super) fn visibility_or_null() -> Object {
    or_null(words(
        "The kind of zone that a cluster's endpoints go to; null for a cluster that is not registered.",
        ["public", "private"],
    ))
}

/// An account and a zone in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Placement {
    /// The AWS account.
    #[schema(value_type = String, example = "111111111111")]
    pub account: AccountId,
    /// The hosted zone.
    #[schema(value_type = String, example = "Z0EXAMPLE")]
    pub zone: ZoneId,
}

impl From<&crate::core::endpoint::verdict::Placement> for Placement {
    fn from(placement: &crate::core::endpoint::verdict::Placement) -> Self {
        Self { account: placement.account.clone(), zone: placement.zone.clone() }
    }
}

/// Which zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ZoneReference {
    /// Its id.
    #[schema(value_type = String, example = "Z0EXAMPLE")]
    pub id: ZoneId,
    /// Its apex.
    #[schema(value_type = String, example = "dev.example.com")]
    pub name: DnsName,
    /// Its account.
    #[schema(value_type = String, example = "111111111111")]
    pub account: AccountId,
    /// Its environment.
    #[schema(value_type = String, example = "dev")]
    pub environment: EnvironmentId,
    /// Public or private.
    #[schema(schema_with = visibilities)]
    pub visibility: String,
}

impl From<&ZoneFacts> for ZoneReference {
    fn from(facts: &ZoneFacts) -> Self {
        Self {
            id: facts.zone.clone(),
            name: facts.name.clone(),
            account: facts.account.clone(),
            environment: facts.environment.clone(),
            visibility: facts.visibility.to_string(),
        }
    }
}

impl fmt::Display for ZoneReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {}, account {})", self.name, self.visibility, self.id, self.account)
    }
}

/// The Kubernetes object that an endpoint comes from, and the name that it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndpointSource {
    /// The kind of source.
    #[schema(example = "ingress")]
    pub source: String,
    /// The object's namespace; empty for one without.
    #[schema(example = "shop")]
    pub namespace: String,
    /// The object's name.
    #[schema(example = "web")]
    pub object: String,
    /// The wanted name, as written.
    #[schema(example = "www.dev.example.com")]
    pub name: String,
    /// The wanted type, as written.
    #[serde(rename = "type")]
    #[schema(example = "A")]
    pub record_type: String,
    /// The wanted set identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_identifier: Option<String>,
}

impl From<&EndpointKey> for EndpointSource {
    fn from(key: &EndpointKey) -> Self {
        Self {
            source: key.source.to_string(),
            namespace: key.namespace.to_string(),
            object: key.object.to_string(),
            name: key.dns_name.to_string(),
            record_type: key.record_type.to_string(),
            set_identifier: (!key.set_identifier.is_empty())
                .then(|| key.set_identifier.to_string()),
        }
    }
}

impl fmt::Display for EndpointSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.source, self.namespace, self.object)
    }
}

/// The cause of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cause {
    /// Why.
    #[schema(schema_with = motives)]
    pub motive: Motive,
    /// The cluster that holds the name, or held it last.
    #[schema(value_type = String, example = "dev-east")]
    pub cluster: ClusterId,
    /// The endpoints of that cluster that the record set adds up from; for a deletion, those that are gone.
    pub endpoints: Vec<EndpointSource>,
    /// The same of the other clusters that share the record set; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_with: Vec<SharedWith>,
}

/// Another cluster's part in a record set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SharedWith {
    /// Whose.
    #[schema(value_type = String, example = "dev-west")]
    pub cluster: ClusterId,
    /// The endpoints that give it.
    pub endpoints: Vec<EndpointSource>,
}

impl From<&CoreCause> for Cause {
    fn from(cause: &CoreCause) -> Self {
        Self {
            motive: cause.motive,
            cluster: cause.cluster.clone(),
            endpoints: cause.endpoints.iter().map(EndpointSource::from).collect(),
            shared_with: cause.shared_with.iter().map(SharedWith::from).collect(),
        }
    }
}

impl From<&Sharer> for SharedWith {
    fn from(sharer: &Sharer) -> Self {
        let endpoints = sharer.endpoints.iter().map(EndpointSource::from).collect();
        Self { cluster: sharer.cluster.clone(), endpoints }
    }
}

/// A record set, field by field as Route 53's API has it, text untouched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordSet {
    /// The owner name, escaped as Route 53 answers it.
    #[schema(example = "www.dev.example.com.")]
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    #[schema(schema_with = record_types)]
    pub record_type: String,
    /// Seconds; none for an alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 300)]
    pub ttl_secs: Option<i64>,
    /// The values in Route 53's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["192.0.2.1"]))]
    pub values: Vec<String>,
    /// The target of an alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<AliasTarget>,
    /// Tells apart the sets of one name and type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_identifier: Option<String>,
    /// Weighted policy: 0 to 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
    /// Latency policy: the AWS region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Failover policy: PRIMARY or SECONDARY.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<String>,
    /// Multivalue policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multivalue_answer: Option<bool>,
    /// Geolocation policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geolocation: Option<Geolocation>,
    /// Geoproximity policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geoproximity: Option<Geoproximity>,
    /// CIDR policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// The health check that decides whether the set answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_id: Option<String>,
    /// Set if a traffic policy made the record: only that policy may write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_policy_instance_id: Option<String>,
}

/// The target of an alias record set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AliasTarget {
    /// The hosted zone of the target.
    pub zone_id: String,
    /// The target's name.
    pub name: String,
    /// Whether the target's health decides if the set answers.
    pub evaluate_target_health: bool,
}

/// A place of the geolocation policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Geolocation {
    /// Two letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continent_code: Option<String>,
    /// ISO 3166-1 alpha-2, or `*` for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country_code: Option<String>,
    /// One to three characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdivision_code: Option<String>,
}

/// A place of the geoproximity policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Geoproximity {
    /// An AWS region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_region: Option<String>,
    /// A local zone group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_zone_group: Option<String>,
    /// Degrees, as Route 53 writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latitude: Option<String>,
    /// Degrees, as Route 53 writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longitude: Option<String>,
    /// -99 to 99.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<i32>,
}

/// A block of the CIDR policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cidr {
    /// The id of the CIDR collection.
    pub collection_id: String,
    /// The location in it; `*` is the default.
    pub location_name: String,
}

fn text(value: &impl ToString) -> String {
    value.to_string()
}

impl From<&GeoLocation> for Geolocation {
    fn from(place: &GeoLocation) -> Self {
        Self {
            continent_code: place.continent_code.as_ref().map(text),
            country_code: place.country_code.as_ref().map(text),
            subdivision_code: place.subdivision_code.as_ref().map(text),
        }
    }
}

impl From<&GeoProximity> for Geoproximity {
    fn from(place: &GeoProximity) -> Self {
        Self {
            aws_region: place.aws_region.as_ref().map(text),
            local_zone_group: place.local_zone_group.as_ref().map(text),
            latitude: place.coordinates.as_ref().map(|(latitude, _)| text(latitude)),
            longitude: place.coordinates.as_ref().map(|(_, longitude)| text(longitude)),
            bias: place.bias,
        }
    }
}

impl From<&RawRecordSet> for RecordSet {
    fn from(raw: &RawRecordSet) -> Self {
        Self {
            name: text(&raw.name),
            record_type: text(&raw.rtype),
            ttl_secs: raw.ttl_secs,
            values: raw.values.iter().map(text).collect(),
            alias: raw.alias.as_ref().map(|alias| AliasTarget {
                zone_id: text(&alias.zone_id),
                name: text(&alias.name),
                evaluate_target_health: alias.evaluate_target_health,
            }),
            set_identifier: raw.set_identifier.as_ref().map(text),
            weight: raw.weight,
            region: raw.region.as_ref().map(text),
            failover: raw.failover.as_ref().map(text),
            multivalue_answer: raw.multivalue_answer,
            geolocation: raw.geolocation.as_ref().map(Geolocation::from),
            geoproximity: raw.geoproximity.as_ref().map(Geoproximity::from),
            cidr: raw.cidr.as_ref().map(|cidr| Cidr {
                collection_id: text(&cidr.collection_id),
                location_name: text(&cidr.location_name),
            }),
            health_check_id: raw.health_check_id.as_ref().map(text),
            traffic_policy_instance_id: raw.traffic_policy_instance_id.as_ref().map(text),
        }
    }
}

impl fmt::Display for RecordSet {
    /// For people: `A 192.0.2.1, 192.0.2.2`, `A alias of lb.example.com`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.record_type)?;
        match &self.alias {
            Some(alias) => write!(f, "alias of {}", alias.name.trim_end_matches('.'))?,
            None => f.write_str(&self.values.join(", "))?,
        }
        match &self.set_identifier {
            Some(set) => write!(f, " [{set}]"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::planning::policy::DriftPolicy;

    #[test]
    fn a_time_is_rfc_3339_both_ways() {
        let time = Time(Timestamp(1_490_635_096_751));
        let json = serde_json::to_value(time).unwrap();
        assert_eq!(json, "2017-03-27T17:18:16.751Z");
        assert_eq!(serde_json::from_value::<Time>(json).unwrap(), time);
    }

    #[test]
    fn a_record_set_loses_nothing_on_its_way_to_the_caller() {
        let full = serde_json::json!({
            "name": "\\052.example.com.", "type": "A", "ttl_secs": 60, "values": ["192.0.2.1"], "set_identifier": "east",
            "weight": 5, "region": "eu-west-1", "failover": "PRIMARY", "multivalue_answer": true,
            "geolocation": {"continent_code": "EU", "country_code": "DE", "subdivision_code": "BY"},
            "alias": {"zone_id": "Z1", "name": "lb.example.com.", "evaluate_target_health": true},
            "cidr": {"collection_id": "c", "location_name": "*"},
            "health_check_id": "h", "traffic_policy_instance_id": "t"
        });
        let raw: RawRecordSet = serde_json::from_value(full.clone()).unwrap();
        assert_eq!(serde_json::to_value(RecordSet::from(&raw)).unwrap(), full);
    }

    #[test]
    fn the_lists_of_words_are_those_of_the_types() {
        let listed = serde_json::to_value(reasons()).unwrap();
        assert_eq!(listed["enum"][1], Reason::NoZone.as_str());
        let drift = serde_json::to_value(drift_policies()).unwrap();
        let policies = [DriftPolicy::Repair, DriftPolicy::Alert];
        assert_eq!(drift["enum"], serde_json::json!(policies.map(DriftPolicy::as_str)));
        let drift = serde_json::to_value(drift_or_null()).unwrap();
        assert_eq!(drift["enum"], serde_json::json!(["changed", "missing", null]));
        assert_eq!(drift["type"], serde_json::json!(["string", "null"]));
    }
}
