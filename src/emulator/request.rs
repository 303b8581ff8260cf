//! The request bodies that the emulator reads.

use arcstr::ArcStr;
use roxmltree::Node;
use serde::{Deserialize, Serialize};

use super::error::AwsError;
use super::places::REGIONS;
use super::xml_read::{
    Occurs, Pattern, Slot, boolean, bounded, children, children_in_any_order, document,
    enumeration, integer_in, member, number_in, patterned, root, text, violation,
};
use crate::core::dns::record::{
    GeoLocation, GeoProximity, RawAlias, RawCidr, RawRecordSet, RecordType,
};

/// The action of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ChangeAction {
    /// Create if absent.
    Create,
    /// Delete if exactly this is there.
    Delete,
    /// Create or replace, whatever is there.
    Upsert,
}

impl ChangeAction {
    /// As it stands in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Delete => "DELETE",
            Self::Upsert => "UPSERT",
        }
    }
}

/// One element of a batch, as sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordChange {
    /// CREATE, DELETE or UPSERT.
    pub action: ChangeAction,
    /// With which set; the name is as sent.
    pub set: RawRecordSet,
}

/// The body of ChangeResourceRecordSets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChangeRequest {
    pub comment: Option<String>,
    pub changes: Vec<RecordChange>,
}

/// The body of CreateHostedZone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CreateZoneRequest {
    pub name: String,
    pub caller_reference: String,
    pub comment: Option<String>,
    pub private: bool,
    pub vpc: Option<Vpc>,
}

/// A VPC of a private zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    pub region: String,
    pub id: String,
}

/// The body of ChangeTagsForResource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TagsRequest {
    pub add: Vec<(String, String)>,
    pub remove: Vec<String>,
}

use Occurs::{Many, Once, Optional};

const REGION_CHARS: usize = 64;
/// The types, in the order in which Route 53 lists them.
pub(super) const TYPES: [&str; 17] = [
    "AAAA", "A", "SVCB", "CAA", "NS", "SOA", "TLSA", "SPF", "HTTPS", "MX", "PTR", "CNAME", "DS",
    "TXT", "SSHFP", "SRV", "NAPTR",
];
const COLLECTION_ID: &str = "[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}";
const LOCATION_NAME: Pattern = Pattern {
    kind: "CidrLocationNameDefaultAllowed",
    text: r"[0-9A-Za-z_\-\*]+",
    takes: |text| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-*".contains(&b))
    },
};
const LATITUDE: Pattern = Pattern {
    kind: "Latitude",
    text: r"[-+]?(90|[0-8]{0,1}[0-9](\.[0-9]{0,2})?)",
    takes: |text| is_degrees(text, "90", |whole| whole.len() < 2 || whole < "90"),
};
const LONGITUDE: Pattern = Pattern {
    kind: "Longitude",
    text: r"[-+]?(180|(1[0-7][0-9]|[0-9]{1,2})(\.[0-9]{0,2})?)",
    takes: |text| {
        is_degrees(text, "180", |whole| whole.len() < 3 || ("100".."180").contains(&whole))
    },
};

/// A sign or none, and the most without decimals, or less with up to two of them.
fn is_degrees(text: &str, most: &str, is_less: fn(&str) -> bool) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    if text == most {
        return true;
    }
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !whole.is_empty()
        && whole.len() <= most.len()
        && digits(whole)
        && is_less(whole)
        && decimals.len() <= 2
        && digits(decimals)
}
const RECORD_SET: [Slot; 15] = [
    ("Name", Once),
    ("Type", Once),
    ("SetIdentifier", Optional),
    ("Weight", Optional),
    ("Region", Optional),
    ("GeoLocation", Optional),
    ("Failover", Optional),
    ("MultiValueAnswer", Optional),
    ("TTL", Optional),
    ("ResourceRecords", Optional),
    ("AliasTarget", Optional),
    ("HealthCheckId", Optional),
    ("TrafficPolicyInstanceId", Optional),
    ("CidrRoutingConfig", Optional),
    ("GeoProximityLocation", Optional),
];

/// Reads the body of ChangeResourceRecordSets.
pub(super) fn change_request(body: &str) -> Result<ChangeRequest, AwsError> {
    let document = document(body)?;
    let request =
        children(root(&document, "ChangeResourceRecordSetsRequest")?, &[("ChangeBatch", Once)])?;
    let batch = children(only(&request, 0)?, &[("Comment", Optional), ("Changes", Once)])?;
    let comment = first(&batch, 0)
        .map(|node| bounded(node, "ResourceDescription", 0, 256))
        .transpose()?
        .map(str::to_owned);
    let changes = children(only(&batch, 1)?, &[("Change", Many)])?;
    let changes = changes.first().map_or(&[][..], Vec::as_slice);
    Ok(ChangeRequest {
        comment,
        changes: changes
            .iter()
            .enumerate()
            .map(|(at, node)| change(*node, at + 1))
            .collect::<Result<_, _>>()?,
    })
}

/// Changes are counted from 1 in the messages of the service's model.
fn change(node: Node<'_, '_>, place: usize) -> Result<RecordChange, AwsError> {
    let parts = children(node, &[("Action", Once), ("ResourceRecordSet", Once)])?;
    let action = match enumeration(only(&parts, 0)?, &["CREATE", "DELETE", "UPSERT"])? {
        "CREATE" => ChangeAction::Create,
        "DELETE" => ChangeAction::Delete,
        _ => ChangeAction::Upsert,
    };
    let path = format!("changeBatch.changes.{place}.member.resourceRecordSet");
    Ok(RecordChange { action, set: record_set(only(&parts, 1)?, &path)? })
}

fn record_set(node: Node<'_, '_>, path: &str) -> Result<RawRecordSet, AwsError> {
    let parts = children(node, &RECORD_SET)?;
    let number = |at, field: &str, max| {
        first(&parts, at)
            .map(|node| number_in(node, &format!("{path}.{field}"), 0, max))
            .transpose()
    };
    let mut set = RawRecordSet {
        name: bounded(only(&parts, 0)?, "DNSName", 0, 1_024)?.into(),
        rtype: member(text(only(&parts, 1)?), &format!("{path}.type"), &TYPES)?.into(),
        set_identifier: shared(first(&parts, 2), "SetIdentifier", 1, 128)?,
        weight: number(3, "weight", 255)?,
        region: shared(first(&parts, 4), "ResourceRecordSetRegion", 1, REGION_CHARS)?,
        geolocation: first(&parts, 5).map(geolocation).transpose()?,
        multivalue_answer: first(&parts, 7).map(boolean).transpose()?,
        ttl_secs: number(8, "tTL", 2_147_483_647)?,
        alias: first(&parts, 10).map(alias).transpose()?,
        health_check_id: shared(first(&parts, 11), "HealthCheckId", 0, 64)?,
        traffic_policy_instance_id: shared(first(&parts, 12), "TrafficPolicyInstanceId", 1, 36)?,
        cidr: first(&parts, 13).map(|node| cidr(node, path)).transpose()?,
        geoproximity: first(&parts, 14).map(geoproximity).transpose()?,
        ..RawRecordSet::default()
    };
    if let Some(node) = first(&parts, 6) {
        set.failover = Some(enumeration(node, &["PRIMARY", "SECONDARY"])?.into());
    }
    if let Some(node) = first(&parts, 9) {
        let records = children(node, &[("ResourceRecord", Many)])?;
        for record in records.iter().flatten() {
            let value = children(*record, &[("Value", Once)])?;
            set.values.push(bounded(only(&value, 0)?, "RData", 0, 4_000)?.into());
        }
    }
    Ok(set)
}

fn geolocation(node: Node<'_, '_>) -> Result<GeoLocation, AwsError> {
    let parts = children(
        node,
        &[("ContinentCode", Optional), ("CountryCode", Optional), ("SubdivisionCode", Optional)],
    )?;
    Ok(GeoLocation {
        continent_code: shared(first(&parts, 0), "GeoLocationContinentCode", 2, 2)?,
        country_code: shared(first(&parts, 1), "GeoLocationCountryCode", 1, 2)?,
        subdivision_code: shared(first(&parts, 2), "GeoLocationSubdivisionCode", 1, 3)?,
    })
}

fn alias(node: Node<'_, '_>) -> Result<RawAlias, AwsError> {
    let parts = children(
        node,
        &[("HostedZoneId", Once), ("DNSName", Once), ("EvaluateTargetHealth", Once)],
    )?;
    Ok(RawAlias {
        zone_id: bounded(only(&parts, 0)?, "ResourceId", 0, 32)?.into(),
        name: bounded(only(&parts, 1)?, "DNSName", 0, 1_024)?.into(),
        evaluate_target_health: boolean(only(&parts, 2)?)?,
    })
}

fn cidr(node: Node<'_, '_>, path: &str) -> Result<RawCidr, AwsError> {
    let parts = children(node, &[("CollectionId", Once), ("LocationName", Once)])?;
    let location = only(&parts, 1)?;
    patterned(location, &LOCATION_NAME)?;
    let location_name = bounded(location, LOCATION_NAME.kind, 1, 16)?.into();
    let collection_id = text(only(&parts, 0)?);
    if !is_collection_id(collection_id) {
        let pattern = format!("Member must satisfy regular expression pattern: {COLLECTION_ID}");
        let path = format!("{path}.cidrRoutingConfig.collectionId");
        return Err(violation(collection_id, &path, &pattern));
    }
    Ok(RawCidr { collection_id: collection_id.into(), location_name })
}

/// A UUID in lower case.
fn is_collection_id(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let hexadecimal = |group: &&str| {
        group.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(hexadecimal)
}

fn geoproximity(node: Node<'_, '_>) -> Result<GeoProximity, AwsError> {
    let slots = [
        ("AWSRegion", Optional),
        ("LocalZoneGroup", Optional),
        ("Coordinates", Optional),
        ("Bias", Optional),
    ];
    let parts = children(node, &slots)?;
    let coordinates = match first(&parts, 2) {
        Some(node) => {
            let parts = children(node, &[("Latitude", Once), ("Longitude", Once)])?;
            let latitude = patterned(only(&parts, 0)?, &LATITUDE)?;
            Some((latitude.into(), patterned(only(&parts, 1)?, &LONGITUDE)?.into()))
        }
        None => None,
    };
    let bias = first(&parts, 3).map(|node| integer_in(node, "Bias", -99, 99)).transpose()?;
    Ok(GeoProximity {
        aws_region: shared(first(&parts, 0), "AWSRegion", 1, REGION_CHARS)?,
        local_zone_group: shared(first(&parts, 1), "LocalZoneGroup", 1, REGION_CHARS)?,
        coordinates,
        bias: bias.and_then(|bias| i32::try_from(bias).ok()),
    })
}

/// Reads the body of CreateHostedZone.
pub(super) fn create_zone_request(body: &str) -> Result<CreateZoneRequest, AwsError> {
    let document = document(body)?;
    let slots = [
        ("Name", Once),
        ("VPC", Optional),
        ("CallerReference", Once),
        ("HostedZoneConfig", Optional),
        ("DelegationSetId", Optional),
    ];
    let parts = children_in_any_order(root(&document, "CreateHostedZoneRequest")?, &slots)?;
    let vpc = match first(&parts, 1) {
        Some(node) => {
            let parts = children(node, &[("VPCRegion", Optional), ("VPCId", Optional)])?;
            if let Some(region) = first(&parts, 0) {
                member(text(region), "vPC.vPCRegion", &REGIONS)?;
            }
            let part = |at| first(&parts, at).map(|node| text(node).to_owned()).unwrap_or_default();
            Some(Vpc { region: part(0), id: part(1) })
        }
        None => None,
    };
    let (comment, private) = match first(&parts, 3) {
        Some(node) => {
            let parts = children(node, &[("Comment", Optional), ("PrivateZone", Optional)])?;
            let comment = first(&parts, 0)
                .map(|node| bounded(node, "ResourceDescription", 0, 256))
                .transpose()?
                .map(str::to_owned);
            (comment, first(&parts, 1).map(boolean).transpose()?.unwrap_or(false))
        }
        None => (None, false),
    };
    Ok(CreateZoneRequest {
        name: bounded(only(&parts, 0)?, "DNSName", 0, 1_024)?.to_owned(),
        caller_reference: bounded(only(&parts, 2)?, "Nonce", 1, 128)?.to_owned(),
        comment,
        private: private || vpc.is_some(),
        vpc,
    })
}

/// Reads the body of ChangeTagsForResource.
pub(super) fn tags_request(body: &str) -> Result<TagsRequest, AwsError> {
    let document = document(body)?;
    let slots = [("AddTags", Optional), ("RemoveTagKeys", Optional)];
    let parts = children(root(&document, "ChangeTagsForResourceRequest")?, &slots)?;
    let mut request = TagsRequest::default();
    if let Some(node) = first(&parts, 0) {
        for tag in children(node, &[("Tag", Many)])?.iter().flatten() {
            let parts = children(*tag, &[("Key", Optional), ("Value", Optional)])?;
            let part = |at, kind, max| match first(&parts, at) {
                Some(node) => bounded(node, kind, 0, max).map(str::to_owned),
                None => Ok(String::new()),
            };
            request.add.push((part(0, "TagKey", 128)?, part(1, "TagValue", 256)?));
        }
    }
    if let Some(node) = first(&parts, 1) {
        for key in children(node, &[("Key", Many)])?.iter().flatten() {
            request.remove.push(bounded(*key, "TagKey", 0, 128)?.to_owned());
        }
    }
    Ok(request)
}

/// Reads the body of ListTagsForResources.
pub(super) fn tags_batch_request(body: &str) -> Result<Vec<String>, AwsError> {
    let document = document(body)?;
    let parts =
        children(root(&document, "ListTagsForResourcesRequest")?, &[("ResourceIds", Once)])?;
    let ids = children(only(&parts, 0)?, &[("ResourceId", Many)])?;
    Ok(ids.iter().flatten().map(|node| text(*node).to_owned()).collect())
}

fn first<'a>(parts: &[Vec<Node<'a, 'a>>], at: usize) -> Option<Node<'a, 'a>> {
    parts.get(at).and_then(|nodes| nodes.first()).copied()
}

/// The node of a slot that `children` has found to be filled.
fn only<'a>(parts: &[Vec<Node<'a, 'a>>], at: usize) -> Result<Node<'a, 'a>, AwsError> {
    first(parts, at).ok_or_else(|| AwsError::invalid_input("Invalid XML"))
}

fn shared(
    node: Option<Node<'_, '_>>,
    kind: &str,
    min: usize,
    max: usize,
) -> Result<Option<ArcStr>, AwsError> {
    node.map(|node| bounded(node, kind, min, max).map(ArcStr::from)).transpose()
}

/// The type of a set whose type was read from a request.
pub(super) fn known_type(set: &RawRecordSet) -> Result<RecordType, AwsError> {
    RecordType::parse(&set.rtype)
        .ok_or_else(|| AwsError::invalid_input(format!("Invalid XML ; unknown type {}", set.rtype)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(set: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
             <ChangeBatch><Changes><Change><Action>CREATE</Action><ResourceRecordSet>{set}</ResourceRecordSet></Change>\
             </Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
        )
    }

    fn refusal(set: &str) -> String {
        change_request(&batch(set)).unwrap_err().message
    }

    #[test]
    fn elements_out_of_order_are_refused_with_what_may_stand_there() {
        let message = refusal(
            "<Name>a.example.com</Name><TTL>1</TTL><Type>A</Type><ResourceRecords><ResourceRecord><Value>192.0.2.1</Value>\
             </ResourceRecord></ResourceRecords>",
        );
        assert!(message.starts_with(
            "Invalid XML ; javax.xml.stream.XMLStreamException: org.xml.sax.SAXParseException; lineNumber: 1; columnNumber: "
        ));
        assert!(
            message.ends_with(
                "; cvc-complex-type.2.4.a: Invalid content was found starting with element 'TTL'. One of \
                 '{\"https://route53.amazonaws.com/doc/2013-04-01/\":Type}' is expected."
            ),
            "{message}"
        );
    }

    #[test]
    fn numbers_outside_their_range_are_refused_by_the_model_of_the_service() {
        for (element, wanted) in [
            (
                "<TTL>2147483648</TTL>",
                "resourceRecordSet.tTL' failed to satisfy constraint: Member must have value less than",
            ),
            ("<TTL>-1</TTL>", "Member must have value greater than or equal to 0"),
            ("<Weight>256</Weight>", "changes.1.member.resourceRecordSet.weight' failed"),
            ("<TTL>x</TTL>", "cvc-datatype-valid.1.2.1"),
        ] {
            let message = refusal(&format!("<Name>a.example.com</Name><Type>A</Type>{element}"));
            assert!(message.contains(wanted), "{message}");
        }
    }

    #[test]
    fn a_type_is_taken_in_capitals_only() {
        for rtype in ["URI", "a"] {
            let message = refusal(&format!("<Name>a</Name><Type>{rtype}</Type>"));
            assert_eq!(
                message,
                format!(
                    "1 validation error detected: Value '{rtype}' at 'changeBatch.changes.1.member.resourceRecordSet.type' failed \
                     to satisfy constraint: Member must satisfy enum value set: [AAAA, A, SVCB, CAA, NS, SOA, TLSA, SPF, HTTPS, MX, \
                     PTR, CNAME, DS, TXT, SSHFP, SRV, NAPTR]"
                )
            );
        }
    }

    #[test]
    fn coordinates_have_two_decimals_and_none_at_the_edge() {
        for taken in ["0", "90", "-90", "+89.99", "40.71", "5.", "9.5", "09.1"] {
            assert!((LATITUDE.takes)(taken), "{taken}");
        }
        for refused in ["", "-", "91", "90.0", "40.7128", "100", ".5", "4a", "1e1", "--1", "099"] {
            assert!(!(LATITUDE.takes)(refused), "{refused}");
        }
        for taken in ["0", "180", "-179.99", "99.9", "100", "179.", "07"] {
            assert!((LONGITUDE.takes)(taken), "{taken}");
        }
        for refused in ["180.0", "180.01", "181", "200", "012", "1.234", "1000"] {
            assert!(!(LONGITUDE.takes)(refused), "{refused}");
        }
    }
}
