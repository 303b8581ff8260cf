use super::super::EndpointKey;
use super::super::parsed::{ParsedEndpoint, parse_endpoint};
use super::*;
use crate::core::endpoint::verdict::Verdict;

fn endpoint(rtype: &str, target: &str, set: &str, properties: &[(&str, &str)]) -> Endpoint {
    Endpoint {
        key: EndpointKey {
            source: "dnsendpoint".into(),
            namespace: "default".into(),
            object: "o".into(),
            dns_name: "www.example.com".into(),
            record_type: rtype.into(),
            set_identifier: set.into(),
        },
        targets: vec![target.into()],
        properties: properties
            .iter()
            .map(|(name, value)| (ArcStr::from(*name), ArcStr::from(*value)))
            .collect(),
        ..Endpoint::default()
    }
}

fn routed(properties: &[(&str, &str)]) -> Result<ParsedEndpoint, Verdict> {
    parse_endpoint(&endpoint("A", "192.0.2.1", "one", properties))
}

/// A value that Route 53 would refuse is reported with the property and what to write instead.
#[test]
fn each_field_of_a_routing_policy_is_checked_before_a_call() {
    const ID: &str = "c8c02a84-aaaa-bbbb-e0d2-d833a2f80106";
    for (properties, part) in [
        (&[("aws/weight", "256")][..], "aws/weight is \"256\": write a whole number from 0 to 255"),
        (&[("aws/region", "")], "aws/region is \"\": write 1 to 64 characters"),
        (&[("aws/failover", "BACKUP")], "write PRIMARY or SECONDARY"),
        (&[("aws/geolocation-continent-code", "XX")], "write one of AF, AN, AS, EU, NA, OC, SA"),
        (&[("aws/geolocation-country-code", "ZZ")], "write the two letters of ISO 3166-1"),
        (&[("aws/geolocation-country-code", "BV")], "which Route 53 does not find"),
        (
            &[("aws/geolocation-country-code", "US"), ("aws/geolocation-subdivision-code", "ZZ")],
            "a state of the US",
        ),
        (
            &[("aws/geolocation-country-code", "CA"), ("aws/geolocation-subdivision-code", "ON")],
            "subdivisions of US and UA only",
        ),
        (
            &[("aws/geolocation-continent-code", "NA"), ("aws/geolocation-subdivision-code", "WA")],
            "aws/geolocation-continent-code stands alone",
        ),
        (&[("aws/geoproximity-coordinates", "91,0")], "the latitude is a number from -90 to 90"),
        (
            &[("aws/geoproximity-coordinates", "0,180.01")],
            "the longitude is a number from -180 to 180",
        ),
        (&[("aws/geoproximity-coordinates", "40.71")], "write latitude,longitude"),
        (
            &[("aws/geoproximity-region", "us-east-1"), ("aws/geoproximity-bias", "150")],
            "a whole number from -99 to 99",
        ),
        (
            &[("aws/geoproximity-region", "us-east-1"), ("aws/geoproximity-coordinates", "1,1")],
            "leave one",
        ),
        (&[("aws/geoproximity-bias", "1")], "needs a region, a local zone group or coordinates"),
        (&[("aws/cidr-collection-id", "not-a-uuid")], "write the collection's id"),
        (&[("aws/cidr-location-name", "office")], "needs aws/cidr-collection-id"),
        (
            &[("aws/cidr-collection-id", ID), ("aws/cidr-location-name", "bad location!")],
            "write 1 to 16 letters",
        ),
        (&[("aws/failover", "PRIMARY")], "a failover PRIMARY needs a health check"),
    ] {
        let verdict = routed(properties).unwrap_err();
        assert_eq!(verdict.reason, Reason::InvalidRouting, "{}", verdict.message);
        assert!(verdict.message.contains(part), "{properties:?}: {}", verdict.message);
    }
}

#[test]
fn what_does_not_go_together_is_told_before_a_call() {
    const BALANCER: &str = "lb-1.us-east-1.elb.amazonaws.com";
    for (rtype, target, set, properties, part) in [
        ("CNAME", BALANCER, "one", &[("aws/multi-value-answer", "true")][..], "cannot be an alias"),
        (
            "CNAME",
            "a.example.net",
            "one",
            &[("aws/multi-value-answer", "true")],
            "cannot be a CNAME",
        ),
        ("NS", "ns.example.net", "one", &[("aws/weight", "1")], "no routing policy on NS"),
        ("A", "192.0.2.1", "", &[("aws/health-check-id", "abc")], "needs a routing policy"),
        (
            "CNAME",
            BALANCER,
            "one",
            &[("aws/failover", "PRIMARY"), ("aws/evaluate-target-health", "false")],
            "set aws/evaluate-target-health to true, or add aws/health-check-id",
        ),
    ] {
        let verdict = parse_endpoint(&endpoint(rtype, target, set, properties)).unwrap_err();
        assert_eq!(verdict.reason, Reason::InvalidRouting, "{}", verdict.message);
        assert!(verdict.message.contains(part), "{}", verdict.message);
    }
    for properties in [
        &[("aws/failover", "PRIMARY")][..],
        &[("aws/failover", "SECONDARY"), ("aws/evaluate-target-health", "false")],
        &[
            ("aws/failover", "PRIMARY"),
            ("aws/evaluate-target-health", "false"),
            ("aws/health-check-id", "abc"),
        ],
    ] {
        let taken = parse_endpoint(&endpoint("CNAME", BALANCER, "one", properties));
        assert!(taken.is_ok(), "{properties:?}: {taken:?}");
    }
    let ds = format!("1 13 2 {}", "0A".repeat(32));
    assert!(parse_endpoint(&endpoint("DS", &ds, "one", &[("aws/weight", "1")])).is_ok());
}

#[test]
fn coordinates_are_rounded_and_codes_are_written_in_capitals() {
    let policy = routed(&[("aws/geoproximity-coordinates", "40.7128,-74.0060")]).unwrap().policy;
    let RoutingPolicy::Geoproximity(place) = policy else { panic!("{policy:?}") };
    assert_eq!(place.coordinates, Some(("40.71".into(), "-74.01".into())));
    let policy = routed(&[("aws/geolocation-country-code", "jp")]).unwrap().policy;
    let RoutingPolicy::Geolocation(place) = policy else { panic!("{policy:?}") };
    assert_eq!(place.country_code.as_deref(), Some("JP"));
}

/// AWS adds regions and local zones: what this version does not know may be right.
#[test]
fn an_unknown_region_is_published_and_doubted() {
    for (property, known, unknown) in [
        ("aws/region", "eu-west-1", "eu-west-9"),
        ("webhook/geoproximity-region", "us-gov-east-1", "us-est-1"),
        ("aws/geoproximity-local-zone-group", "us-west-2-den-1", "den"),
    ] {
        let with = |place| endpoint("A", "192.0.2.1", "one", &[(property, place)]);
        assert!(parse_endpoint(&with(unknown)).is_ok(), "{property}");
        assert_eq!(doubts(&with(known)), Vec::<String>::new());
        let doubts = doubts(&with(unknown));
        assert_eq!(doubts.len(), 1, "{property}");
        assert!(doubts[0].contains(unknown) && doubts[0].contains("published as it is"));
    }
}

#[test]
fn an_alias_outside_of_the_zone_that_it_names_is_published_and_doubted() {
    let target = "lb-1.us-east-1.elb.amazonaws.com";
    let of = |zone| endpoint("CNAME", target, "", &[("aws/target-hosted-zone", zone)]);
    assert!(parse_endpoint(&of("Z26RNL4JYFTOTI")).is_ok());
    assert_eq!(doubts(&of("Z26RNL4JYFTOTI")).len(), 1);
    assert_eq!(doubts(&of("Z35SXDOTRQ7X7K")), Vec::<String>::new());
}

#[test]
fn cidr_routing_is_for_public_zones() {
    const ID: &str = "c8c02a84-aaaa-bbbb-e0d2-d833a2f80106";
    let verdict =
        routed(&[("aws/cidr-collection-id", ID), ("zonefold/visibility", "private")]).unwrap_err();
    assert_eq!(verdict.reason, Reason::InvalidRouting);
    assert!(verdict.message.contains("public zones only"), "{}", verdict.message);
}
