//! The operations of Route 53 other than ChangeResourceRecordSets.

use std::sync::Arc;

use super::action::{Action, Service};
use super::call::Call;
use super::error::AwsError;
use super::identity::Caller;
use super::messages;
use super::names::read_name;
use super::request::{TYPES, create_zone_request, tags_batch_request, tags_request};
use super::state::{Begun, EmulatorState, name_servers, new_zone_id};
use super::xml_read::member;
use super::xml_write::{ChangeInfo, Xml};
use super::zone::{SetKey, Zone};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RawRecordSet, RecordType};
use crate::core::ids::ZoneId;
use crate::core::time::{Millis, Timestamp};

const DEFAULT_PAGE: usize = 100;
const MAX_ZONE_PAGE: usize = 100;
const MAX_RECORD_PAGE: usize = 300;
const MAX_RESOURCE_ID_CHARS: usize = 32;
const MAX_TAG_RESOURCES: usize = 10;

/// A successful answer. The body is written outside the lock, from the request's id.
pub(super) struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: Box<dyn FnOnce(&str) -> String + Send>,
}

impl Answer {
    fn later(body: impl FnOnce() -> String + Send + 'static) -> Self {
        Self { status: 200, location: None, body: Box::new(move |_| body()) }
    }

    fn route53(root: &'static str, content: impl FnOnce(&mut Xml)) -> Self {
        let body = Xml::document(Service::Route53, root, content);
        Self::later(move || body)
    }

    /// An answer of STS.
    pub fn sts(operation: &'static str, content: impl FnOnce(&mut Xml)) -> Self {
        let content = Xml::fragment(content);
        let body = move |request_id: &str| {
            Xml::document(Service::Sts, &format!("{operation}Response"), |xml| {
                xml.element(&format!("{operation}Result"), |xml| xml.raw(&content));
                xml.element("ResponseMetadata", |xml| xml.text("RequestId", request_id));
            })
        };
        Self { status: 200, location: None, body: Box::new(body) }
    }
}

/// The answer of ChangeResourceRecordSets.
pub(super) fn change_answer(info: &ChangeInfo) -> Answer {
    Answer::route53("ChangeResourceRecordSetsResponse", |xml| xml.change_info(info))
}

/// Answers a call of a caller who may make it.
pub(super) fn answer(
    world: &mut EmulatorState,
    call: &Call,
    caller: &Caller,
    begun: &Begun,
    now: Timestamp,
) -> Result<Answer, AwsError> {
    match call.action {
        Action::ListHostedZones => list_zones(world, call, caller),
        Action::ListHostedZonesByName => list_zones_by_name(world, call, caller),
        Action::GetHostedZoneCount => Ok(Answer::route53("GetHostedZoneCountResponse", |xml| {
            xml.value("HostedZoneCount", own_zones(world, caller).count());
        })),
        Action::CreateHostedZone => create_zone(world, call, caller, now),
        Action::GetHostedZone => get_zone(world, call, caller),
        Action::DeleteHostedZone => delete_zone(world, call, caller, begun, now),
        Action::ListResourceRecordSets => list_records(world, call, caller),
        Action::GetChange => get_change(world, call, now),
        Action::ListTagsForResource => {
            let zone = tagged_zone(world, call, caller)?;
            let set = Xml::fragment(|xml| tag_set(xml, zone));
            Ok(Answer::route53("ListTagsForResourceResponse", |xml| xml.raw(&set)))
        }
        Action::ListTagsForResources => list_tags(world, call, caller),
        Action::ChangeTagsForResource => change_tags(world, call, caller),
        Action::GetHostedZoneLimit => zone_limit(world, call, caller),
        Action::GetAccountLimit => account_limit(world, call, caller),
        Action::ChangeResourceRecordSets | Action::AssumeRole | Action::GetCallerIdentity => {
            Err(AwsError::server(500))
        }
    }
}

fn own_zones<'w>(world: &'w EmulatorState, caller: &'w Caller) -> impl Iterator<Item = &'w Zone> {
    world.zones.values().filter(|zone| zone.account == caller.account)
}

/// `maxitems`: what is asked for, not more than the API gives.
fn page_size(call: &Call, most: usize) -> Result<usize, AwsError> {
    match call.param("maxitems") {
        None => Ok(DEFAULT_PAGE.min(most)),
        Some(text) => match text.parse::<usize>() {
            Ok(items) if items > 0 => Ok(items.min(most)),
            _ => Err(AwsError::invalid_input(format!("Invalid value for maxItems: {text}"))),
        },
    }
}

fn zone_element(xml: &mut Xml, zone: &Zone) {
    xml.element("HostedZone", |xml| {
        xml.text("Id", &format!("/hostedzone/{}", zone.id));
        xml.text("Name", zone.name.as_str());
        xml.text("CallerReference", &zone.caller_reference);
        xml.element("Config", |xml| {
            xml.optional("Comment", zone.comment.as_deref());
            xml.value("PrivateZone", zone.private);
        });
        xml.value("ResourceRecordSetCount", zone.records.len());
    });
}

fn list_zones(world: &EmulatorState, call: &Call, caller: &Caller) -> Result<Answer, AwsError> {
    let size = page_size(call, MAX_ZONE_PAGE)?;
    let marker = call.param("marker").unwrap_or_default();
    let only_private = call.param("hostedzonetype") == Some("PrivateHostedZone");
    let mut zones = own_zones(world, caller)
        .filter(|zone| !only_private || zone.private)
        .skip_while(|zone| zone.id.as_str() < marker);
    let page: Vec<&Zone> = zones.by_ref().take(size).collect();
    let next = zones.next();
    Ok(Answer::route53("ListHostedZonesResponse", |xml| {
        xml.element("HostedZones", |xml| page.iter().for_each(|zone| zone_element(xml, zone)));
        xml.optional("Marker", call.param("marker"));
        xml.value("IsTruncated", next.is_some());
        xml.optional("NextMarker", next.map(|zone| zone.id.as_str()));
        xml.value("MaxItems", size);
    }))
}

fn list_zones_by_name(
    world: &EmulatorState,
    call: &Call,
    caller: &Caller,
) -> Result<Answer, AwsError> {
    let size = page_size(call, MAX_ZONE_PAGE)?;
    let from = call.param("dnsname").map(read_name).transpose().map_err(AwsError::invalid_input)?;
    let from_id = call.param("hostedzoneid").map(|id| id.trim_start_matches("/hostedzone/"));
    let mut zones: Vec<&Zone> = own_zones(world, caller).collect();
    zones.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
    let is_before = |zone: &&Zone| match &from {
        Some(from) if zone.name == *from => from_id.is_some_and(|id| zone.id.as_str() < id),
        Some(from) => zone.name < *from,
        None => false,
    };
    let mut zones = zones.into_iter().skip_while(is_before);
    let page: Vec<&Zone> = zones.by_ref().take(size).collect();
    let next = zones.next();
    Ok(Answer::route53("ListHostedZonesByNameResponse", |xml| {
        xml.element("HostedZones", |xml| page.iter().for_each(|zone| zone_element(xml, zone)));
        xml.optional("DNSName", call.param("dnsname"));
        xml.optional("HostedZoneId", from_id);
        xml.value("IsTruncated", next.is_some());
        xml.optional("NextDNSName", next.map(|zone| zone.name.as_str()));
        xml.optional("NextHostedZoneId", next.map(|zone| zone.id.as_str()));
        xml.value("MaxItems", size);
    }))
}

fn create_zone(
    world: &mut EmulatorState,
    call: &Call,
    caller: &Caller,
    now: Timestamp,
) -> Result<Answer, AwsError> {
    let request = create_zone_request(&call.body)?;
    let name = read_name(&request.name)
        .map_err(|message| AwsError::sender(400, "InvalidDomainName", message))?;
    check_zone_name(&name, &request.name)?;
    let is_vpc = |id: &str| {
        let digits = id.strip_prefix("vpc-").unwrap_or_default();
        digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if request.private && !request.vpc.as_ref().is_some_and(|vpc| is_vpc(&vpc.id)) {
        return Err(AwsError::sender(400, "InvalidVPCId", "The VPC ID is invalid."));
    }
    let reference = (caller.account.clone(), request.caller_reference.clone());
    let is_used = |zone: &Zone| zone.caller_reference == request.caller_reference;
    if world.caller_references.contains(&reference) || own_zones(world, caller).any(is_used) {
        let message = "A hosted zone has already been created with the specified caller reference.";
        return Err(AwsError::sender(409, "HostedZoneAlreadyExists", message));
    }
    if let Some(vpc) = &request.vpc
        && let Some(other) = own_zones(world, caller).find(|other| {
            other.name == name && other.vpc.as_ref().is_some_and(|taken| taken.id == vpc.id)
        })
    {
        return Err(AwsError::sender(
            400,
            "ConflictingDomainExists",
            format!(
                "The VPC {} in region {} has already been associated with the hosted zone {} with the same domain name.",
                vpc.id, vpc.region, other.id
            ),
        ));
    }
    let quota = world.accounts.get(&caller.account).map_or(0, |account| account.config.zone_quota);
    if own_zones(world, caller).count() as u64 >= quota {
        return Err(AwsError::sender(
            400,
            "TooManyHostedZones",
            "Limits Exceeded: MAX_HOSTED_ZONES_BY_OWNER - Cannot create more hosted zones.",
        ));
    }
    let id = new_zone_id(&mut world.ids);
    let mut zone =
        Zone::new(id.clone(), caller.account.clone(), name, name_servers(&mut world.ids));
    zone.caller_reference = request.caller_reference;
    zone.comment = request.comment;
    zone.private = request.private;
    zone.vpc = request.vpc;
    let due = propagated_at(world, now);
    let info = world.submit(None, now, due);
    let mut answer = Answer::route53("CreateHostedZoneResponse", |xml| {
        zone_element(xml, &zone);
        xml.change_info(&info);
        delegation_or_vpc(xml, &zone, Vpcs::One);
    });
    answer.status = 201;
    answer.location = Some(format!("https://route53.amazonaws.com/2013-04-01/hostedzone/{id}"));
    world.caller_references.insert(reference);
    world.zones.insert(id, zone);
    Ok(answer)
}

/// No zone is made for a wildcard, a top-level domain or the names of examples (RFC 2606 §3).
fn check_zone_name(name: &DnsName, as_sent: &str) -> Result<(), AwsError> {
    let invalid = |message: String| AwsError::sender(400, "InvalidDomainName", message);
    if name.is_wildcard() {
        let message = "Creation of hosted zone with a wildcard domain name is not supported.";
        return Err(invalid(message.to_owned()));
    }
    let is_example = DnsName::parse("example.com").is_ok_and(|reserved| name.is_in(&reserved));
    if name.label_count() < 2 || is_example {
        return Err(invalid(format!("{as_sent} is reserved by AWS!")));
    }
    Ok(())
}

/// CreateHostedZone answers one VPC, GetHostedZone a list.
enum Vpcs {
    One,
    List,
}

fn delegation_or_vpc(xml: &mut Xml, zone: &Zone, vpcs: Vpcs) {
    if !zone.private {
        xml.element("DelegationSet", |xml| {
            xml.element("NameServers", |xml| {
                zone.name_servers.iter().for_each(|server| xml.text("NameServer", server))
            });
        });
        return;
    }
    let Some(vpc) = &zone.vpc else { return };
    let vpc_element = |xml: &mut Xml| {
        xml.element("VPC", |xml| {
            xml.text("VPCRegion", &vpc.region);
            xml.text("VPCId", &vpc.id);
        });
    };
    match vpcs {
        Vpcs::One => vpc_element(xml),
        Vpcs::List => xml.element("VPCs", vpc_element),
    }
}

fn propagated_at(world: &EmulatorState, now: Timestamp) -> Timestamp {
    now + Millis(i64::try_from(world.config.propagation_ms).unwrap_or(i64::MAX))
}

fn get_zone(world: &mut EmulatorState, call: &Call, caller: &Caller) -> Result<Answer, AwsError> {
    let zone = world.zone_of(call, caller)?;
    Ok(Answer::route53("GetHostedZoneResponse", |xml| {
        zone_element(xml, zone);
        delegation_or_vpc(xml, zone, Vpcs::List);
    }))
}

fn delete_zone(
    world: &mut EmulatorState,
    call: &Call,
    caller: &Caller,
    begun: &Begun,
    now: Timestamp,
) -> Result<Answer, AwsError> {
    world.check_busy(call, begun, caller, now)?;
    let zone = world.zone_of(call, caller)?;
    if zone.holds_records() {
        return Err(AwsError::sender(400, "HostedZoneNotEmpty", messages::ZONE_NOT_EMPTY));
    }
    let id = zone.id.clone();
    world.zones.remove(&id);
    let due = propagated_at(world, now);
    let info = world.submit(None, now, due);
    Ok(Answer::route53("DeleteHostedZoneResponse", |xml| xml.change_info(&info)))
}

fn list_records(
    world: &mut EmulatorState,
    call: &Call,
    caller: &Caller,
) -> Result<Answer, AwsError> {
    let size = page_size(call, MAX_RECORD_PAGE)?;
    let from = list_start(call)?;
    let zone = world.zone_of(call, caller)?;
    let (page, next) = zone.page(from.as_ref(), size);
    Ok(Answer::later(move || records_document(&page, next.as_ref(), size)))
}

fn list_start(call: &Call) -> Result<Option<SetKey>, AwsError> {
    let (name, rtype, identifier) =
        (call.param("name"), call.param("type"), call.param("identifier"));
    if rtype.is_some() && name.is_none() {
        return Err(AwsError::invalid_input(
            "The input is not valid: type is specified without name",
        ));
    }
    if identifier.is_some() && rtype.is_none() {
        return Err(AwsError::invalid_input(
            "The input is not valid: identifier is specified without type",
        ));
    }
    let Some(name) = name else { return Ok(None) };
    let name: DnsName = read_name(name).map_err(AwsError::invalid_input)?;
    let rtype = match rtype {
        Some(text) => {
            RecordType::parse(member(text, "startRecordType", &TYPES)?).unwrap_or(RecordType::A)
        }
        None => RecordType::A,
    };
    Ok(Some(SetKey::new(&name, rtype, identifier.map(Into::into))))
}

fn records_document(
    page: &[Arc<RawRecordSet>],
    next: Option<&Arc<RawRecordSet>>,
    size: usize,
) -> String {
    Xml::document(Service::Route53, "ListResourceRecordSetsResponse", |xml| {
        xml.element("ResourceRecordSets", |xml| page.iter().for_each(|set| xml.record_set(set)));
        xml.value("IsTruncated", next.is_some());
        if let Some(next) = next {
            xml.text("NextRecordName", &next.name);
            xml.text("NextRecordType", &next.rtype);
            xml.optional("NextRecordIdentifier", next.set_identifier.as_deref());
        }
        xml.value("MaxItems", size);
    })
}

fn get_change(world: &EmulatorState, call: &Call, now: Timestamp) -> Result<Answer, AwsError> {
    let id = call.parts.first().map(String::as_str).unwrap_or_default();
    let id = id.strip_prefix("/change/").unwrap_or(id);
    let missing =
        || AwsError::sender(404, "NoSuchChange", format!("Could not find resource with ID: {id}"));
    let submitted = world.submitted.get(id).ok_or_else(missing)?;
    let info = ChangeInfo {
        id: id.to_owned(),
        in_sync: submitted.due <= now,
        submitted_at: submitted.at,
        comment: submitted.comment.clone(),
    };
    Ok(Answer::route53("GetChangeResponse", |xml| xml.change_info(&info)))
}

/// The resource of a tag call: it takes the bare id only.
fn tag_resource<'w>(
    world: &'w mut EmulatorState,
    id: &str,
    caller: &Caller,
) -> Result<&'w mut Zone, AwsError> {
    if id.chars().count() > MAX_RESOURCE_ID_CHARS || id.starts_with('/') {
        return Err(AwsError::invalid_input(format!(
            "1 validation error detected: Value '{id}' at 'resourceId' failed to satisfy constraint: Member must have length \
             less than or equal to {MAX_RESOURCE_ID_CHARS}"
        )));
    }
    let zone = ZoneId::parse(id).ok().and_then(|id| world.zones.get_mut(&id));
    zone.filter(|zone| zone.account == caller.account).ok_or_else(|| AwsError::no_such_zone(id))
}

fn check_tag_kind(call: &Call) -> Result<(), AwsError> {
    match call.parts.first().map(String::as_str) {
        Some("hostedzone") => Ok(()),
        Some("healthcheck") => Err(AwsError::sender(
            404,
            "NoSuchHealthCheck",
            "The specified health check does not exist.",
        )),
        other => Err(AwsError::invalid_input(format!(
            "Invalid resource type: {}",
            other.unwrap_or_default()
        ))),
    }
}

fn tagged_zone<'w>(
    world: &'w mut EmulatorState,
    call: &Call,
    caller: &Caller,
) -> Result<&'w mut Zone, AwsError> {
    check_tag_kind(call)?;
    let id = call.parts.get(1).map(String::as_str).unwrap_or_default();
    tag_resource(world, id, caller)
}

fn tag_set(xml: &mut Xml, zone: &Zone) {
    xml.element("ResourceTagSet", |xml| {
        xml.text("ResourceType", "hostedzone");
        xml.text("ResourceId", zone.id.as_str());
        xml.element("Tags", |xml| {
            for (key, value) in &zone.tags {
                xml.element("Tag", |xml| {
                    xml.text("Key", key);
                    xml.text("Value", value);
                });
            }
        });
    });
}

fn list_tags(world: &mut EmulatorState, call: &Call, caller: &Caller) -> Result<Answer, AwsError> {
    check_tag_kind(call)?;
    let ids = tags_batch_request(&call.body)?;
    if ids.len() > MAX_TAG_RESOURCES {
        return Err(AwsError::invalid_input(format!(
            "1 validation error detected: Value at 'resourceIds' failed to satisfy constraint: Member must have length less \
             than or equal to {MAX_TAG_RESOURCES}"
        )));
    }
    let mut sets = String::new();
    for id in &ids {
        let zone = tag_resource(world, id, caller)?;
        sets.push_str(&Xml::fragment(|xml| tag_set(xml, zone)));
    }
    Ok(Answer::route53("ListTagsForResourcesResponse", |xml| {
        xml.element("ResourceTagSets", |xml| xml.raw(&sets))
    }))
}

fn change_tags(
    world: &mut EmulatorState,
    call: &Call,
    caller: &Caller,
) -> Result<Answer, AwsError> {
    let request = tags_request(&call.body)?;
    let zone = tagged_zone(world, call, caller)?;
    for key in &request.remove {
        zone.tags.remove(key);
    }
    zone.tags.extend(request.add);
    Ok(Answer::route53("ChangeTagsForResourceResponse", |_| {}))
}

fn limit_document(root: &'static str, kind: &str, value: u64, count: usize) -> Answer {
    Answer::route53(root, |xml| {
        xml.element("Limit", |xml| {
            xml.text("Type", kind);
            xml.value("Value", value);
        });
        xml.value("Count", count);
    })
}

fn zone_limit(world: &mut EmulatorState, call: &Call, caller: &Caller) -> Result<Answer, AwsError> {
    let quota =
        world.accounts.get(&caller.account).map_or(0, |account| account.config.record_quota);
    let zone = world.zone_of(call, caller)?;
    let kind = call.parts.first().map(String::as_str).unwrap_or_default();
    let (value, count) = match kind {
        "MAX_RRSETS_BY_ZONE" => (quota, zone.records.len()),
        "MAX_VPCS_ASSOCIATED_BY_ZONE" => (300, usize::from(zone.vpc.is_some())),
        other => return Err(AwsError::invalid_input(format!("Invalid limit type: {other}"))),
    };
    Ok(limit_document("GetHostedZoneLimitResponse", kind, value, count))
}

fn account_limit(world: &EmulatorState, call: &Call, caller: &Caller) -> Result<Answer, AwsError> {
    let quota = world.accounts.get(&caller.account).map_or(0, |account| account.config.zone_quota);
    match call.parts.first().map(String::as_str) {
        Some(kind @ "MAX_HOSTED_ZONES_BY_OWNER") => Ok(limit_document(
            "GetAccountLimitResponse",
            kind,
            quota,
            own_zones(world, caller).count(),
        )),
        other => Err(AwsError::invalid_input(format!(
            "Invalid limit type: {}",
            other.unwrap_or_default()
        ))),
    }
}
