//! Every text with which Route 53 refuses a batch, in one place. The first part is as captured from AWS; the second is in the
//! same manner, for cases of which no capture is known. The texts about values stand with their checks.

use std::fmt::Display;

use crate::core::dns::record::RawCidr;

/// The owner name, type and set identifier that a message speaks of.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Canonical, with the final dot.
    pub name: &'a str,
    /// The type.
    pub rtype: &'a str,
    /// The set identifier, if any.
    pub set_identifier: Option<&'a str>,
}

impl Subject<'_> {
    /// `[name='…', type='…']`, with the set identifier where there is one.
    fn brackets(&self) -> String {
        let Subject { name, rtype, set_identifier } = self;
        match set_identifier {
            Some(set) => format!("[name='{name}', type='{rtype}', set-identifier='{set}']"),
            None => format!("[name='{name}', type='{rtype}']"),
        }
    }

    fn set(&self) -> &str {
        self.set_identifier.unwrap_or("null")
    }
}

// As captured.

pub(super) fn already_exists(of: &Subject<'_>) -> String {
    format!("Tried to create resource record set {} but it already exists", of.brackets())
}

pub(super) fn not_found(of: &Subject<'_>) -> String {
    format!("Tried to delete resource record set {} but it was not found", of.brackets())
}

pub(super) fn values_differ(of: &Subject<'_>) -> String {
    format!(
        "Tried to delete resource record set {} but the values provided do not match the current values",
        of.brackets()
    )
}

pub(super) fn cname_over_others(name: &str, zone: &str) -> String {
    format!(
        "RRSet of type CNAME with DNS name {name} is not permitted as it conflicts with other records with the same DNS name \
         in zone {zone}"
    )
}

pub(super) fn over_cname(of: &Subject<'_>, zone: &str) -> String {
    format!(
        "RRSet of type {} with DNS name {} is not permitted because a conflicting RRSet of type CNAME with the same DNS name \
         already exists in zone {zone}",
        of.rtype, of.name
    )
}

pub(super) fn cname_at_apex(name: &str, zone: &str) -> String {
    format!("RRSet of type CNAME with DNS name {name} is not permitted at apex in zone {zone}")
}

/// DS belongs to the parent's side of a cut (RFC 4035 §2.4).
pub(super) fn ds_at_apex(name: &str, zone: &str) -> String {
    format!("RRSet of type DS with DNS name {name} is not permitted in zone {zone}")
}

pub(super) fn loops(of: &Subject<'_>) -> String {
    format!(
        "RRSet of type {} with DNS name {} is not permitted as it creates a CNAME or alias loop in the zone.",
        of.rtype, of.name
    )
}

pub(super) fn outside_zone(name: &str, zone: &str) -> String {
    format!("RRSet with DNS name {name} is not permitted in zone {zone}")
}

/// `policy` is `weighted` in every capture; failover, CIDR and geoproximity are assumed to read alike.
pub(super) fn other_policy_exists(of: &Subject<'_>, policy: &str) -> String {
    format!(
        "RRSet with DNS name {}, type {}, SetIdentifier {} cannot be created as a non-{policy} set exists with the same name \
         and type.",
        of.name,
        of.rtype,
        of.set()
    )
}

pub(super) fn simple_beside_others(of: &Subject<'_>) -> String {
    format!(
        "RRSet with DNS name {}, type {} cannot be created as other RRSets exist with the same name and type.",
        of.name, of.rtype
    )
}

pub(super) fn multivalue_beside_others(of: &Subject<'_>) -> String {
    format!(
        "RRSet with DNS name {}, type {}, SetIdentifier \"{}\" cannot be created because a non multivalue answer rrset exists \
         with the same name and type.",
        of.name,
        of.rtype,
        of.set()
    )
}

pub(super) fn latency_beside_others(of: &Subject<'_>, region: &str) -> String {
    format!(
        "RRSet with DNS name {}, type {}, SetIdentifier {}, and Region Name={region} cannot be created because a non-latency \
         RRSet with the same name and type already exists.",
        of.name,
        of.rtype,
        of.set()
    )
}

pub(super) fn geo_beside_others(of: &Subject<'_>, place: &str) -> String {
    format!(
        "RRSet with DNS name {}, type {}, SetIdentifier {}, and routing to [{place}] cannot be created because a non-GEO RRSet \
         with the same name and type already exists.",
        of.name,
        of.rtype,
        of.set()
    )
}

/// The bracket is closed by a brace in the capture.
pub(super) fn geo_place_taken(of: &Subject<'_>, place: &str) -> String {
    format!(
        "RRSet with DNS name {}, type {}, SetIdentifier {}, and routing to [{place}}} cannot be created because a GEO RRSet with \
         the same name, type and routing to [{place}}} already exists.",
        of.name,
        of.rtype,
        of.set()
    )
}

pub(super) fn cidr_in_private_zone(of: &Subject<'_>) -> String {
    format!(
        "RRSet with DNS name {}, type {}, SetIdentifier {} cannot be created because CIDR RRSet is not supported with private \
         hosted zone.",
        of.name,
        of.rtype,
        of.set()
    )
}

pub(super) fn cidr_of_other_collection(of: &Subject<'_>, cidr: &RawCidr, other: &str) -> String {
    let RawCidr { collection_id, location_name } = cidr;
    format!(
        "RRSet with DNS name {}, type {}, SetIdentifier {}, and routing to CidrCollectionId={collection_id} \
         CidrLocationId={location_name} cannot be created because a CIDR RRSets with a different collection id ({other}) already \
         exist.",
        of.name,
        of.rtype,
        of.set()
    )
}

pub(super) fn policy_not_for_type(of: &Subject<'_>) -> String {
    format!(
        "RRSet with DNS name {}, type {}, SetIdentifier {} cannot be created because this type of RRSet is not supported.",
        of.name,
        of.rtype,
        of.set()
    )
}

pub(super) fn primary_alias_without_health(of: &Subject<'_>) -> String {
    format!(
        "RRSet with DNS name {}, type {}, SetIdentifier {} cannot be a primary without EvaluateTargetHealth set to true or an \
         associated health check as a secondary would never be returned.",
        of.name,
        of.rtype,
        of.set()
    )
}

pub(super) fn alias_not_for_type(of: &Subject<'_>) -> String {
    format!(
        "RRSet with DNS name {}, type {} contains an alias target, but aliases of that type are forbidden",
        of.name, of.rtype
    )
}

pub(super) fn latency_region_taken(of: &Subject<'_>, region: &str) -> String {
    format!(
        "RRSet with DNS name {}, type {}, SetIdentifier {}, and Region Name={region} cannot be created because a latency \
         RRSet with the same name, type and region already exists.",
        of.name,
        of.rtype,
        of.set()
    )
}

pub(super) fn weighted_ttl_differs(of: &Subject<'_>) -> String {
    format!(
        "RRSet with DNS name {}, type {}, SetIdentifier {} cannot be created as weighted sets must contain the same TTL.",
        of.name,
        of.rtype,
        of.set()
    )
}

pub(super) const PRIMARY_WITHOUT_HEALTH_CHECK: &str =
    "A non-alias primary ResourceRecordSet must have an associated health check. No changes made.";
pub(super) const MULTIVALUE_ALIAS: &str =
    "Multivalue answer rrset should not be an alias rrset. No changes made.";
pub(super) const HEALTH_CHECK_WITHOUT_POLICY: &str = "DNS name must have alternate ResourceRecordSet responses configured via a \
     routing policy (e.g., Weight, Region, etc.) if a health check is attached. No changes made.";
pub(super) const WILDCARD_NS: &str =
    "Changing wildcard NS record sets are not supported. No changes made.";

/// `place` as [`super::places::words`] writes it.
pub(super) fn unknown_location(place: &str) -> String {
    format!("Cannot find location: '{place}'. No changes made.")
}

pub(super) fn unknown_region(region: &str) -> String {
    format!("Cannot find region '{region}'. No changes made.")
}

/// `kind` is `AWSRegion` or `LocalZoneGroup`.
pub(super) fn unknown_geoproximity(kind: &str, place: &str) -> String {
    format!("Cannot find GeoProximityLocation with {kind} = {place}. No changes made.")
}

pub(super) fn alias_outside_zone(target: &str, rtype: &str, target_zone: &str) -> String {
    format!(
        "Tried to create an alias that targets {target}, type {rtype} in zone {target_zone}, but the alias target name does \
         not lie within the target zone"
    )
}

pub(super) fn alias_target_missing(target: &str, rtype: &str, target_zone: &str) -> String {
    format!(
        "Tried to create an alias that targets {target}, type {rtype} in zone {target_zone}, but that target was not found"
    )
}

/// `grade` is `FATAL`, or `WARNING`, which is refused all the same; `at` is the value, a part of it or an explanation.
pub(super) fn invalid_value(grade: &str, problem: &str, explanation: &str, at: &str) -> String {
    format!(
        "Invalid Resource Record: '{grade} problem: {problem} ({explanation}) encountered with '{at}''"
    )
}

pub(super) const SVC_PRIORITY: &str = "Unsupported SvcPriority value.";

pub(super) fn duplicate_value(value: &str) -> String {
    format!("Duplicate Resource Record: '{value}'")
}

pub(super) fn duplicate_in_batch(rtype: &str, name: &str) -> String {
    format!(
        "The request contains an invalid set of changes for a resource record set '{rtype} {name}'"
    )
}

pub(super) fn too_many_records(limit: usize) -> String {
    format!("Number of records limit of {limit} exceeded.")
}

pub(super) fn too_many_characters(limit: usize) -> String {
    format!("RDATA character limit of {limit} exceeded.")
}

pub(super) fn too_many_changes(limit: usize) -> String {
    format!("Cannot have more than {limit} changes in a batch.")
}

pub(super) fn too_many_records_in_set(limit: usize) -> String {
    format!("Cannot have more than {limit} records in a RRSet.")
}

pub(super) fn zone_full(zone_id: impl Display) -> String {
    format!("Exceeded limit MAX_RRSETS_BY_ZONE for zone: {zone_id}")
}

/// `policy` is `weighted` in the capture; the other policies are assumed to read alike.
pub(super) fn too_many_sets_of_policy(of: &Subject<'_>, policy: &str) -> String {
    format!(
        "Exceeded limit on number of {policy} RRSets for {}, type {} in this zone.",
        of.name, of.rtype
    )
}

pub(super) const ONE_SOA: &str = "A HostedZone must contain exactly one SOA record.";
pub(super) const APEX_NS: &str =
    "A HostedZone must contain at least one NS record for the zone itself.";

/// The tail of the texts about the shape of a change; name and type are as sent.
pub(super) fn in_change(
    action: &str,
    sent_name: &str,
    rtype: &str,
    set_identifier: Option<&str>,
) -> String {
    let set_identifier = set_identifier.unwrap_or("null");
    format!(
        "in Change with [Action={action}, Name={sent_name}, Type={rtype}, SetIdentifier={set_identifier}]"
    )
}

pub(super) fn wrong_content(found: &str, in_change: &str) -> String {
    format!(
        "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords], or TrafficPolicyInstanceId], \
         but found {found} {in_change}"
    )
}

pub(super) fn wrong_policy(found: &str, in_change: &str) -> String {
    format!(
        "Invalid request: Expected exactly one of [Weight, Region, Failover, GeoLocation, MultiValueAnswer, \
         GeoProximityLocation, or CidrRoutingConfig], but found {found} {in_change}"
    )
}

/// The tail is not in the capture.
pub(super) fn wrong_geoproximity(found: &str, in_change: &str) -> String {
    format!(
        "Invalid request: Expected exactly one of [AWSRegion, LocalZoneGroup, or at least one of [Coordinates, or all of \
         [Latitude, and Longitude]]], but found {found} {in_change}"
    )
}

pub(super) fn missing_set_identifier(in_change: &str) -> String {
    format!("Invalid request: Missing field 'SetIdentifier' {in_change}")
}

pub(super) fn fatal_name(problem: &str, explanation: &str, at: &str) -> String {
    format!("FATAL problem: {problem} ({explanation}) encountered with '{at}'")
}

pub(super) const ZONE_NOT_EMPTY: &str = "The specified hosted zone contains non-required resource record sets  and so cannot be deleted.";

// Assumed.

pub(super) fn failover_role_taken(of: &Subject<'_>, role: &str) -> String {
    format!(
        "RRSet with DNS name {}, type {}, SetIdentifier {}, and Failover={role} cannot be created because a failover RRSet \
         with the same name, type and role already exists.",
        of.name,
        of.rtype,
        of.set()
    )
}

pub(super) fn cidr_location_taken(of: &Subject<'_>, cidr: &RawCidr) -> String {
    let RawCidr { collection_id, location_name } = cidr;
    format!(
        "RRSet with DNS name {}, type {}, SetIdentifier {}, and routing to CidrCollectionId={collection_id} \
         CidrLocationId={location_name} cannot be created because a CIDR RRSet with the same name, type and location already \
         exists.",
        of.name,
        of.rtype,
        of.set()
    )
}

pub(super) fn no_such_health_check(id: &str) -> String {
    format!("No health check exists with the specified ID: {id}")
}
