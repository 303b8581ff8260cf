//! Record sets and answers, to and from the types of the SDK, without loss.

use std::collections::BTreeMap;

use arcstr::ArcStr;
use aws_sdk_route53::error::BuildError;
use aws_sdk_route53::operation::RequestId as _;
use aws_sdk_route53::operation::change_resource_record_sets::ChangeResourceRecordSetsOutput;
use aws_sdk_route53::operation::get_change::GetChangeOutput;
use aws_sdk_route53::operation::list_hosted_zones::ListHostedZonesOutput;
use aws_sdk_route53::operation::list_resource_record_sets::ListResourceRecordSetsOutput;
use aws_sdk_route53::operation::list_tags_for_resources::ListTagsForResourcesOutput;
use aws_sdk_route53::types;

use crate::core::dns::name::DnsName;
use crate::core::dns::record::{GeoLocation, GeoProximity, RawAlias, RawCidr, RawRecordSet};
use crate::core::ids::ZoneId;
use crate::core::planning::change::{Action, WireChange};
use crate::ports::{CallError, ChangeReceipt, HostedZone, RecordCursor, RecordPage, ZonePage};

fn text(value: &str) -> ArcStr {
    ArcStr::from(value)
}

fn owned(value: &ArcStr) -> String {
    value.as_str().to_owned()
}

/// The record set as Route 53 answered it.
pub(super) fn raw_record_set(set: &types::ResourceRecordSet) -> RawRecordSet {
    RawRecordSet {
        name: text(set.name()),
        rtype: text(set.r#type().as_str()),
        set_identifier: set.set_identifier().map(text),
        weight: set.weight(),
        region: set.region().map(|region| text(region.as_str())),
        geolocation: set.geo_location().map(|place| GeoLocation {
            continent_code: place.continent_code().map(text),
            country_code: place.country_code().map(text),
            subdivision_code: place.subdivision_code().map(text),
        }),
        failover: set.failover().map(|role| text(role.as_str())),
        multivalue_answer: set.multi_value_answer(),
        ttl_secs: set.ttl(),
        values: set.resource_records().iter().map(|record| text(record.value())).collect(),
        alias: set.alias_target().map(|target| RawAlias {
            zone_id: text(target.hosted_zone_id()),
            name: text(target.dns_name()),
            evaluate_target_health: target.evaluate_target_health(),
        }),
        health_check_id: set.health_check_id().map(text),
        traffic_policy_instance_id: set.traffic_policy_instance_id().map(text),
        cidr: set.cidr_routing_config().map(|cidr| RawCidr {
            collection_id: text(cidr.collection_id()),
            location_name: text(cidr.location_name()),
        }),
        geoproximity: set.geo_proximity_location().map(|place| GeoProximity {
            aws_region: place.aws_region().map(text),
            local_zone_group: place.local_zone_group().map(text),
            coordinates: place.coordinates().map(|at| (text(at.latitude()), text(at.longitude()))),
            bias: place.bias(),
        }),
    }
}

/// The record set as the SDK sends it.
pub(super) fn sdk_record_set(raw: &RawRecordSet) -> Result<types::ResourceRecordSet, BuildError> {
    let values = raw
        .values
        .iter()
        .map(|value| types::ResourceRecord::builder().value(value.as_str()).build())
        .collect::<Result<Vec<_>, _>>()?;
    let alias = raw.alias.as_ref().map(|alias| {
        types::AliasTarget::builder()
            .hosted_zone_id(alias.zone_id.as_str())
            .dns_name(alias.name.as_str())
            .evaluate_target_health(alias.evaluate_target_health)
            .build()
    });
    let cidr = raw.cidr.as_ref().map(|cidr| {
        types::CidrRoutingConfig::builder()
            .collection_id(cidr.collection_id.as_str())
            .location_name(cidr.location_name.as_str())
            .build()
    });
    let geolocation = raw.geolocation.as_ref().map(|place| {
        types::GeoLocation::builder()
            .set_continent_code(place.continent_code.as_ref().map(owned))
            .set_country_code(place.country_code.as_ref().map(owned))
            .set_subdivision_code(place.subdivision_code.as_ref().map(owned))
            .build()
    });
    types::ResourceRecordSet::builder()
        .name(raw.name.as_str())
        .r#type(types::RrType::from(raw.rtype.as_str()))
        .set_set_identifier(raw.set_identifier.as_ref().map(owned))
        .set_weight(raw.weight)
        .set_region(
            raw.region.as_ref().map(|region| types::ResourceRecordSetRegion::from(region.as_str())),
        )
        .set_geo_location(geolocation)
        .set_failover(
            raw.failover.as_ref().map(|role| types::ResourceRecordSetFailover::from(role.as_str())),
        )
        .set_multi_value_answer(raw.multivalue_answer)
        .set_ttl(raw.ttl_secs)
        .set_resource_records((!values.is_empty()).then_some(values))
        .set_alias_target(alias.transpose()?)
        .set_health_check_id(raw.health_check_id.as_ref().map(owned))
        .set_traffic_policy_instance_id(raw.traffic_policy_instance_id.as_ref().map(owned))
        .set_cidr_routing_config(cidr.transpose()?)
        .set_geo_proximity_location(raw.geoproximity.as_ref().map(sdk_geoproximity).transpose()?)
        .build()
}

fn sdk_geoproximity(place: &GeoProximity) -> Result<types::GeoProximityLocation, BuildError> {
    let coordinates = place
        .coordinates
        .as_ref()
        .map(|(latitude, longitude)| {
            types::Coordinates::builder()
                .latitude(latitude.as_str())
                .longitude(longitude.as_str())
                .build()
        })
        .transpose()?;
    Ok(types::GeoProximityLocation::builder()
        .set_aws_region(place.aws_region.as_ref().map(owned))
        .set_local_zone_group(place.local_zone_group.as_ref().map(owned))
        .set_coordinates(coordinates)
        .set_bias(place.bias)
        .build())
}

/// The batch as the SDK sends it, in the order given.
pub(super) fn sdk_batch(
    comment: &str,
    changes: &[WireChange],
) -> Result<types::ChangeBatch, BuildError> {
    let mut batch = types::ChangeBatch::builder().comment(comment);
    for change in changes {
        let action = match change.action {
            Action::Create => types::ChangeAction::Create,
            Action::Delete => types::ChangeAction::Delete,
        };
        batch = batch.changes(
            types::Change::builder()
                .action(action)
                .resource_record_set(sdk_record_set(&change.set)?)
                .build()?,
        );
    }
    batch.build()
}

fn unreadable(what: &str, reason: impl std::fmt::Display) -> CallError {
    CallError::Unknown {
        message: format!("Route 53 answered {what} that cannot be read: {reason}"),
    }
}

/// The page of zones.
pub(super) fn zone_page(output: &ListHostedZonesOutput) -> Result<ZonePage, CallError> {
    let zones = output.hosted_zones().iter().map(hosted_zone).collect::<Result<_, _>>()?;
    let next_marker = output.next_marker().map(str::to_owned);
    if output.is_truncated() && next_marker.is_none() {
        return Err(unreadable("a page of zones", "it is truncated and names no next marker"));
    }
    Ok(ZonePage { zones, next_marker: next_marker.filter(|_| output.is_truncated()) })
}

fn hosted_zone(zone: &types::HostedZone) -> Result<HostedZone, CallError> {
    Ok(HostedZone {
        id: ZoneId::from_wire(zone.id()).map_err(|error| unreadable("a zone id", error))?,
        name: DnsName::parse(zone.name()).map_err(|error| unreadable("a zone name", error))?,
        private: zone.config().is_some_and(types::HostedZoneConfig::private_zone),
        record_count: zone
            .resource_record_set_count()
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or(0),
    })
}

/// The page of record sets.
pub(super) fn record_page(output: &ListResourceRecordSetsOutput) -> Result<RecordPage, CallError> {
    let sets = output.resource_record_sets().iter().map(raw_record_set).collect();
    if !output.is_truncated() {
        return Ok(RecordPage { sets, next: None });
    }
    match (output.next_record_name(), output.next_record_type()) {
        (Some(name), Some(rtype)) => {
            let next = RecordCursor {
                name: name.to_owned(),
                rtype: rtype.as_str().to_owned(),
                set_identifier: output.next_record_identifier().map(str::to_owned),
            };
            Ok(RecordPage { sets, next: Some(next) })
        }
        _ => Err(unreadable("a page of record sets", "it is truncated and names no next record")),
    }
}

/// The tags of zones, by zone.
pub(super) fn tags_by_zone(
    output: &ListTagsForResourcesOutput,
) -> Result<BTreeMap<ZoneId, BTreeMap<String, String>>, CallError> {
    let mut tags_by_zone = BTreeMap::new();
    for set in output.resource_tag_sets() {
        let zone = ZoneId::from_wire(set.resource_id().unwrap_or_default())
            .map_err(|error| unreadable("tags", error))?;
        let tags = set
            .tags()
            .iter()
            .filter_map(|tag| {
                Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))
            })
            .collect();
        tags_by_zone.insert(zone, tags);
    }
    Ok(tags_by_zone)
}

/// The receipt of an accepted batch.
pub(super) fn receipt(output: &ChangeResourceRecordSetsOutput) -> Result<ChangeReceipt, CallError> {
    let info = output.change_info().ok_or_else(|| no_change_info("an accepted batch"))?;
    Ok(ChangeReceipt {
        change_id: bare_change_id(info.id()),
        in_sync: is_in_sync(info),
        request_id: output.request_id().map(str::to_owned),
    })
}

/// Whether a change has reached all name servers.
pub(super) fn in_sync(output: &GetChangeOutput) -> Result<bool, CallError> {
    output.change_info().map(is_in_sync).ok_or_else(|| no_change_info("a change"))
}

fn is_in_sync(info: &types::ChangeInfo) -> bool {
    info.status().as_str() == "INSYNC"
}

fn no_change_info(what: &str) -> CallError {
    CallError::Unknown {
        message: format!("Route 53 answered {what} without saying which change it is"),
    }
}

/// A change id without `/change/` before it.
fn bare_change_id(id: &str) -> String {
    id.strip_prefix("/change/").unwrap_or(id).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;

    fn word() -> impl Strategy<Value = ArcStr> {
        "[ -~é]{1,12}".prop_map(ArcStr::from)
    }

    fn places() -> impl Strategy<Value = (Option<GeoLocation>, Option<GeoProximity>)> {
        let location = (of(word()), of(word()), of(word())).prop_map(
            |(continent_code, country_code, subdivision_code)| GeoLocation {
                continent_code,
                country_code,
                subdivision_code,
            },
        );
        let proximity = (of(word()), of(word()), of((word(), word())), of(-99..=99)).prop_map(
            |(aws_region, local_zone_group, coordinates, bias)| GeoProximity {
                aws_region,
                local_zone_group,
                coordinates,
                bias,
            },
        );
        (of(location), of(proximity))
    }

    fn raw_sets() -> impl Strategy<Value = RawRecordSet> {
        let alias =
            (word(), word(), any::<bool>()).prop_map(|(zone_id, name, evaluate_target_health)| {
                RawAlias { zone_id, name, evaluate_target_health }
            });
        let cidr = (word(), word())
            .prop_map(|(collection_id, location_name)| RawCidr { collection_id, location_name });
        let head = (
            word(),
            word(),
            of(word()),
            of(any::<i64>()),
            of(word()),
            of(word()),
            of(any::<bool>()),
        );
        let tail = (
            of(any::<i64>()),
            prop::collection::vec(word(), 0..4),
            of(alias),
            of(word()),
            of(word()),
            of(cidr),
        );
        (head, tail, places()).prop_map(|(head, tail, (geolocation, geoproximity))| {
            let (name, rtype, set_identifier, weight, region, failover, multivalue_answer) = head;
            let (ttl_secs, values, alias, health_check_id, traffic_policy_instance_id, cidr) = tail;
            RawRecordSet {
                name,
                rtype,
                set_identifier,
                weight,
                region,
                geolocation,
                failover,
                multivalue_answer,
                ttl_secs,
                values,
                alias,
                health_check_id,
                traffic_policy_instance_id,
                cidr,
                geoproximity,
            }
        })
    }

    proptest! {
        #[test]
        fn a_record_set_survives_the_types_of_the_sdk(raw in raw_sets()) {
            prop_assert_eq!(raw_record_set(&sdk_record_set(&raw).unwrap()), raw);
        }
    }

    #[test]
    fn a_zone_with_an_id_or_name_that_cannot_be_read_is_an_error() {
        let zone = |id: &str, name: &str| {
            types::HostedZone::builder().id(id).name(name).caller_reference("r").build().unwrap()
        };
        assert!(hosted_zone(&zone("/hostedzone/Z1", "example.com.")).is_ok());
        for (id, name) in
            [("/hostedzone/../x", "example.com."), ("", "example.com."), ("Z1", "a..b"), ("Z1", "")]
        {
            assert!(
                matches!(hosted_zone(&zone(id, name)), Err(CallError::Unknown { .. })),
                "{id:?} {name:?}"
            );
        }
    }
}
