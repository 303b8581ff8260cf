use super::*;
use crate::core::endpoint::EndpointKey;
use crate::core::endpoint::verdict::VerdictState;

fn endpoint(name: &str, rtype: &str, targets: &[&str]) -> Endpoint {
    Endpoint {
        key: EndpointKey {
            source: "dnsendpoint".into(),
            namespace: "default".into(),
            object: "o".into(),
            dns_name: name.into(),
            record_type: rtype.into(),
            set_identifier: "".into(),
        },
        targets: targets.iter().map(|t| ArcStr::from(*t)).collect(),
        ..Endpoint::default()
    }
}

fn with(mut endpoint: Endpoint, set: &str, properties: &[(&str, &str)]) -> Endpoint {
    endpoint.key.set_identifier = set.into();
    endpoint.properties =
        properties.iter().map(|(k, v)| (ArcStr::from(*k), ArcStr::from(*v))).collect();
    endpoint
}

#[test]
fn a_load_balancer_s_name_becomes_an_alias_of_both_address_types() {
    let parsed = parse_endpoint(&endpoint(
        "www.example.com",
        "CNAME",
        &["lb-1.us-east-1.elb.amazonaws.com"],
    ))
    .unwrap();
    assert_eq!(parsed.types, [RecordType::A, RecordType::Aaaa]);
    assert!(
        matches!(&parsed.answer, Answer::Alias { zone: Some(zone), evaluate_target_health: true, .. } if zone.as_str() == "Z35SXDOTRQ7X7K")
    );
}

#[test]
fn alias_false_keeps_a_cname_and_alias_true_makes_one_in_the_own_zone() {
    let plain = with(
        endpoint("www.example.com", "CNAME", &["lb-1.us-east-1.elb.amazonaws.com"]),
        "",
        &[("alias", "false")],
    );
    assert!(parse_endpoint(&plain).unwrap().is_cname());
    let own =
        with(endpoint("www.example.com", "CNAME", &["web.example.com"]), "", &[("alias", "true")]);
    let sets = parse_endpoint(&own).unwrap().record_sets(&ZoneId::parse("Z1").unwrap(), 300);
    assert!(sets.iter().all(
        |set| matches!(&set.data, RecordData::Alias(target) if target.zone_id.as_str() == "Z1")
    ));
}

#[test]
fn cloudfront_evaluates_no_health() {
    let parsed =
        parse_endpoint(&endpoint("www.example.com", "CNAME", &["d1.cloudfront.net"])).unwrap();
    assert!(matches!(parsed.answer, Answer::Alias { evaluate_target_health: false, .. }));
}

#[test]
fn each_mistake_has_its_reason() {
    let address = || endpoint("www.example.com", "A", &["192.0.2.1"]);
    let long_label = "a".repeat(64);
    let many: Vec<String> = (0..401).map(|i| format!("10.0.{}.{}", i / 256, i % 256)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (given, reason) in [
        (endpoint(&format!("{long_label}.example.com"), "A", &["192.0.2.1"]), Reason::InvalidName),
        (endpoint("www..example.com", "A", &["192.0.2.1"]), Reason::InvalidName),
        (endpoint("www.example.com", "A", &["not-an-address"]), Reason::InvalidTarget),
        (endpoint("www.example.com", "A", &many), Reason::TooLarge),
        (endpoint("www.example.com", "TXT", &[&"x".repeat(5_000)]), Reason::InvalidTarget),
        (
            endpoint("www.example.com", "CNAME", &["a.example.com", "b.example.com"]),
            Reason::InvalidTarget,
        ),
        (endpoint("www.example.com", "DNAME", &["a.example.com"]), Reason::InvalidType),
        (endpoint("example.com", "SOA", &["x"]), Reason::InvalidType),
        (Endpoint { ttl_secs: Some(-1), ..address() }, Reason::InvalidTtl),
        (Endpoint { ttl_secs: Some(MAX_TTL_SECS + 1), ..address() }, Reason::InvalidTtl),
        (with(address(), "east", &[("aws/weight", "300")]), Reason::InvalidRouting),
        (with(address(), "", &[("aws/weight", "1")]), Reason::InvalidRouting),
        (with(address(), "east", &[]), Reason::InvalidRouting),
        (
            with(address(), "east", &[("aws/weight", "1"), ("aws/region", "us-east-1")]),
            Reason::InvalidRouting,
        ),
        (with(address(), "east", &[("aws/failover", "PRIMARY")]), Reason::InvalidRouting),
        (with(address(), "", &[("zonefold/visibility", "everywhere")]), Reason::InvalidRouting),
    ] {
        let verdict = parse_endpoint(&given).unwrap_err();
        assert_eq!(
            (verdict.state, verdict.reason),
            (VerdictState::Rejected, reason),
            "{:?}: {}",
            given.key,
            verdict.message
        );
        assert!(!verdict.message.is_empty());
    }
}

#[test]
fn a_broken_label_address_or_naptr_is_rejected_with_place_and_remedy() {
    let long = format!("{}.example.com", "a".repeat(64));
    for (given, reason, place, remedy) in [
        (endpoint(&long, "A", &["192.0.2.1"]), Reason::InvalidName, "aaaa", "shorten it"),
        (
            endpoint("www.example.com", "A", &["192.0.2.1."]),
            Reason::InvalidTarget,
            "A value \"192.0.2.1.\"",
            "write four numbers",
        ),
        (
            with(endpoint("www.example.com", "A", &["192.0.2.1."]), "", &[("alias", "true")]),
            Reason::InvalidTarget,
            "A value \"192.0.2.1.\"",
            "write four numbers",
        ),
        (
            endpoint("www.example.com", "NAPTR", &["x"]),
            Reason::InvalidTarget,
            "NAPTR value \"x\"",
            "as in 10 10",
        ),
    ] {
        let verdict = parse_endpoint(&given).unwrap_err();
        assert_eq!(verdict.reason, reason, "{}", verdict.message);
        assert!(verdict.message.contains(place), "{}", verdict.message);
        assert!(verdict.message.contains(remedy), "{}", verdict.message);
    }
}

#[test]
fn every_routing_policy_is_read() {
    let address = || endpoint("www.example.com", "A", &["192.0.2.1"]);
    for (properties, kind) in [
        (&[("aws/weight", "0")][..], "Weighted"),
        (&[("webhook/weight", "7")], "Weighted"),
        (&[("aws/region", "us-east-1")], "Latency"),
        (&[("aws/failover", "SECONDARY")], "Failover"),
        (&[("aws/multi-value-answer", "true")], "Multivalue"),
        (&[("aws/geolocation-country-code", "*")], "Geolocation"),
        (
            &[("aws/geoproximity-region", "us-east-1"), ("aws/geoproximity-bias", "-5")],
            "Geoproximity",
        ),
        (&[("aws/cidr-collection-id", "C8C02A84-aaaa-bbbb-e0d2-d833a2f80106")], "Cidr"),
    ] {
        let parsed = parse_endpoint(&with(address(), "east", properties)).unwrap();
        assert_eq!(format!("{:?}", parsed.policy.kind()), kind);
        assert_eq!(parsed.set_identifier.as_deref(), Some("east"));
    }
}

#[test]
fn rfc1123_2_1_what_ends_in_a_number_is_no_target_that_is_a_name() {
    for target in ["192.0.2.300", "192.0.2.191:443", "192.0.2.192/32", "192.0.2.1%5", "2001:db8::1"]
    {
        for rtype in ["CNAME", "A", "NS"] {
            for properties in [&[][..], &[("alias", "true")]] {
                let given = with(endpoint("www.example.com", rtype, &[target]), "", properties);
                let verdict = parse_endpoint(&given).unwrap_err();
                assert_eq!(verdict.reason, Reason::InvalidTarget, "{rtype} {}", verdict.message);
                assert!(verdict.message.contains(target), "{rtype} {}", verdict.message);
            }
        }
    }
    let address =
        with(endpoint("www.example.com", "A", &["192.0.2.193"]), "", &[("alias", "true")]);
    assert_eq!(
        parse_endpoint(&address).unwrap().answer,
        Answer::Values(vec!["192.0.2.193".into()])
    );
}

#[test]
fn a_stored_cname_to_an_address_is_read_and_a_wanted_one_is_rejected() {
    let stored = crate::core::dns::record::RawRecordSet {
        name: "www.example.com.".into(),
        rtype: "CNAME".into(),
        ttl_secs: Some(60),
        values: vec!["192.0.2.1".into()],
        ..Default::default()
    };
    assert!(stored.canonical().is_ok());
    let wanted = endpoint("www.example.com", "CNAME", &["192.0.2.1"]);
    assert!(parse_endpoint(&wanted).unwrap_err().message.contains("under the type A"));
}

#[test]
fn a_cname_or_alias_to_itself_is_rejected() {
    let itself = |properties: &[(&str, &str)]| {
        with(endpoint("entry.example.com", "CNAME", &["Entry.example.com."]), "", properties)
    };
    for given in [itself(&[]), itself(&[("alias", "true")])] {
        let verdict = parse_endpoint(&given).unwrap_err();
        assert_eq!(verdict.reason, Reason::InvalidTarget);
        assert!(verdict.message.contains("points to itself"), "{}", verdict.message);
    }
}

#[test]
fn an_alias_may_lead_to_a_wildcard() {
    let star = with(
        endpoint("*.front.example.com", "CNAME", &["*.back.example.com"]),
        "",
        &[("alias", "true"), ("aws/evaluate-target-health", "false")],
    );
    let parsed = parse_endpoint(&star).unwrap();
    assert!(matches!(parsed.answer, Answer::Alias { target, .. } if target.is_wildcard()));
}

#[test]
fn ns_takes_no_wildcard() {
    let verdict =
        parse_endpoint(&endpoint("*.example.com", "NS", &["ns.example.net"])).unwrap_err();
    assert_eq!(verdict.reason, Reason::InvalidName);
}
