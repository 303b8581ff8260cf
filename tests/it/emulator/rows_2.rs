//! The rows of the second reading of AWS's answers (2013 to 2026), each with status, code and exact message, and the rules that no
//! single row has.

use zonefold::core::dns::name::DnsName;
use zonefold::emulator::*;

use super::rows::*;
use crate::emulator::support::{READER, ROLE, ZONE, config, start};

/// Rows that the emulator cannot express, with the reason.
const NOT_EXPRESSED: [(&str, &str); 8] = [
    (
        "type-lower-case",
        "an answer of the API of 2010, with its code and types; a unit test has the present form",
    ),
    ("xml-no-ttl-2012", "the schema of 2012, in which no policy follows a type"),
    ("last-vpc", "DisassociateVPCFromHostedZone is not emulated"),
    ("sts-root", "accounts have no root user"),
    ("sts-region-disabled", "there is one endpoint for all regions"),
    ("sts-packed-policy", "how AWS packs a session policy is not known"),
    ("sts-packed-tags", "how AWS packs session tags is not known"),
    ("session-policy-denied", "session policies are not evaluated; captured on other services"),
];

/// Rows whose source lost what stands around the message.
const COMPLETED: [(&str, &str, &str); 20] = [
    // Reported without brackets, or captured before there were any.
    ("delete-mismatch-setid", "[", "]"),
    ("cname-loop", "[", "]"),
    ("cname-conflict-and-loop", "", "]"),
    ("geo-continent-subdivision", "[", "]"),
    ("geo-where-other", "[", ".]"),
    ("cidr-other-collection", "[", ".]"),
    ("policy-not-for-type", "[", "]"),
    ("multivalue-alias", "[", "]"),
    ("alias-to-other-type", "[", "]"),
    ("ds-apex", "[", "]"),
    // Without the opening that texts of the schema have, or their last words.
    ("geoprox-longitude", "", "."),
    ("geoprox-bias", "Invalid XML ; ", "."),
    ("failover-word", "Invalid XML ; ", ". It must be a value from the enumeration."),
    ("value-4001", "Invalid XML ; ", "."),
    ("setid-129", "Invalid XML ; ", "."),
    // Without the change that they speak of.
    ("two-policies", "", IN_CHANGE),
    ("two-contents", "Invalid request: ", IN_CHANGE_SIMPLE),
    ("geoprox-two-places", "", IN_CHANGE),
    ("zone-name-254", "", " encountered with '{name as sent}'"),
    ("mx-fields", "", ""),
];

const IN_CHANGE: &str =
    " in Change with [Action=CREATE, Name=www.example.com, Type=A, SetIdentifier=one]";
const IN_CHANGE_SIMPLE: &str =
    " in Change with [Action=CREATE, Name=www.example.com, Type=A, SetIdentifier=null]";
const BALANCERS: &str = "Z35SXDOTRQ7X7K";
const COLLECTION: &str = "c8c02a84-aaaa-bbbb-e0d2-d833a2f80106";
const OTHER_COLLECTION: &str = "c8c02a84-aaaa-bbbb-e0d2-d833a2f80107";

fn in_set(rest: &str) -> String {
    format!("<SetIdentifier>one</SetIdentifier>{rest}")
}

/// A set of A with this routing.
fn one(routing: &str) -> String {
    routed("CREATE", W, "A", &in_set(routing), 300, A)
}

fn geo(set: &str, code: &str) -> String {
    let routing = format!("<SetIdentifier>{set}</SetIdentifier><GeoLocation>{code}</GeoLocation>");
    routed("CREATE", W, "A", &routing, 300, A)
}

/// A set whose routing stands behind its values.
fn trailing(set: &str, rest: &str) -> String {
    let set = format!(
        "<SetIdentifier>{set}</SetIdentifier><TTL>300</TTL><ResourceRecords><ResourceRecord><Value>192.0.2.1</Value>\
         </ResourceRecord></ResourceRecords>{rest}"
    );
    change("CREATE", W, "A", &set)
}

fn near(set: &str, place: &str) -> String {
    trailing(set, &format!("<GeoProximityLocation>{place}</GeoProximityLocation>"))
}

fn at(latitude: &str, longitude: &str) -> String {
    format!(
        "<Coordinates><Latitude>{latitude}</Latitude><Longitude>{longitude}</Longitude></Coordinates>"
    )
}

fn from_block(set: &str, collection: &str, location: &str) -> String {
    let cidr = format!(
        "<CidrRoutingConfig><CollectionId>{collection}</CollectionId><LocationName>{location}</LocationName></CidrRoutingConfig>"
    );
    trailing(set, &cidr)
}

fn target(zone: &str, name: &str) -> String {
    format!(
        "<AliasTarget><HostedZoneId>{zone}</HostedZoneId><DNSName>{name}</DNSName><EvaluateTargetHealth>false\
         </EvaluateTargetHealth></AliasTarget>"
    )
}

const BALANCER: &str = "l.us-east-1.elb.amazonaws.com";

/// The rows about the value of one type: the type and the value.
fn value_case(id: &str) -> Option<(&'static str, String)> {
    let value = |rtype, value: &str| Some((rtype, value.to_owned()));
    let octets = "0A".repeat(32);
    match id {
        "a-not-an-address" => value("A", "host.example.com"),
        "a-spaces" => value("A", "88.112.107.181, 88.112.107.181"),
        "mx-fields" => value("MX", "mail.example.com"),
        "srv-fields" => value("SRV", "1 10 5269"),
        "naptr-fields" => value("NAPTR", r#"100 10 "u" "E2U+sip" ."#),
        "naptr-unquoted" => value("NAPTR", r#"100 10 u "E2U+sip" "!^.*$!sip:a@example.com!" ."#),
        "naptr-order" => value("NAPTR", r#"65536 10 "u" "E2U+sip" "!^.*$!sip:a@example.com!" ."#),
        "naptr-preference" => {
            value("NAPTR", r#"100 65536 "u" "E2U+sip" "!^.*$!sip:a@example.com!" ."#)
        }
        "naptr-regexp-and-replacement" => {
            value("NAPTR", r#"100 10 "u" "E2U+sip" "!^.*$!sip:a@example.com!" a.example.com"#)
        }
        "caa-tag" => value("CAA", "0 other \"x\""),
        "ds-format" => value("DS", "12345 13 2"),
        "sshfp-fields" => value("SSHFP", "2 1"),
        "sshfp-hex" => value("SSHFP", "2 1 zz00"),
        "sshfp-type" => value("SSHFP", &format!("2 3 {octets}")),
        "tlsa-fields" => value("TLSA", "3 1 1"),
        "tlsa-usage" => value("TLSA", &format!("4 1 1 {octets}")),
        "tlsa-selector" => value("TLSA", &format!("3 2 1 {octets}")),
        "tlsa-matching" => value("TLSA", &format!("3 1 3 {octets}")),
        "svcb-fields" => value("HTTPS", "1"),
        "svcb-priority" => value("SVCB", "32768 ."),
        "svcb-key" => value("HTTPS", "1 . foo=bar"),
        "svcb-empty-value" => value("HTTPS", "1 . alpn"),
        "svcb-no-default-alpn" => value("HTTPS", "1 . no-default-alpn"),
        "txt-non-ascii" => value("TXT", "\"caf\u{e9}\""),
        "txt-tab" => value("TXT", "\t\"a\""),
        _ => None,
    }
}

/// The rows about routing.
fn routing_case(id: &str) -> Option<Case> {
    let www: &[(&str, &str)] =
        &[("name", "www.example.com."), ("type", "A"), ("zone", "example.com."), ("sid", "one")];
    let region = |region| one(&format!("<Region>{region}</Region>"));
    let country = |code| format!("<CountryCode>{code}</CountryCode>");
    let alone = |change: String| case(vec![], vec![change], www);
    match id {
        "create-exists-setid" => case(vec![region("eu-west-1")], vec![region("eu-west-1")], www),
        "delete-mismatch-setid" => {
            let set = |action, health_check: &str| {
                let rest = format!(
                    "{}<TTL>300</TTL><ResourceRecords><ResourceRecord><Value>192.0.2.1</Value></ResourceRecord>\
                     </ResourceRecords>{health_check}",
                    weighted("one", 1)
                );
                change(action, W, "A", &rest)
            };
            let before = set("CREATE", "<HealthCheckId>abc</HealthCheckId>");
            case(vec![before], vec![set("DELETE", "")], www)
        }
        "geo-unknown-country" => alone(geo("one", &country("ZZ"))),
        "geo-unsupported-country" => alone(geo("one", &country("BV"))),
        "geo-unknown-continent" => alone(geo("one", "<ContinentCode>XX</ContinentCode>")),
        "geo-unknown-subdivision" => {
            alone(geo("one", &(country("US") + "<SubdivisionCode>ZZ</SubdivisionCode>")))
        }
        "geo-subdivision-not-us" => {
            alone(geo("one", &(country("CA") + "<SubdivisionCode>ON</SubdivisionCode>")))
        }
        "geo-continent-subdivision" => alone(geo(
            "one",
            "<ContinentCode>NA</ContinentCode><SubdivisionCode>WA</SubdivisionCode>",
        )),
        "geo-taken" => {
            case(vec![geo("two", &country("JP"))], vec![geo("one", &country("JP"))], www)
        }
        "geo-where-other" => {
            let latency = "<SetIdentifier>two</SetIdentifier><Region>eu-west-1</Region>";
            let before = routed("CREATE", W, "A", latency, 300, A);
            let new = geo("one", "<ContinentCode>NA</ContinentCode>");
            case(vec![before], vec![new], www)
        }
        "latency-unknown-region" => alone(region("xx-fake-1")),
        "latency-where-other" => {
            let fill = [www, &[("region", "eu-west-1")]].concat();
            case(vec![plain("CREATE", W, "A", A)], vec![region("eu-west-1")], &fill)
        }
        "geoprox-unknown-region" => alone(near("one", "<AWSRegion>xx-fake-1</AWSRegion>")),
        "geoprox-unknown-zone-group" => {
            alone(near("one", "<LocalZoneGroup>not-a-zone-group</LocalZoneGroup>"))
        }
        "geoprox-two-places" => {
            alone(near("one", &("<AWSRegion>us-east-1</AWSRegion>".to_owned() + &at("1", "1"))))
        }
        "geoprox-latitude" => alone(near("one", &at("95", "0"))),
        "geoprox-longitude" => alone(near("one", &at("0", "180.01"))),
        "geoprox-bias" => alone(near("one", &(at("0", "0") + "<Bias>150</Bias>"))),
        "geoprox-30" => case(
            (0..30).map(|n| near(&format!("s{n}"), &at(&n.to_string(), "0"))).collect(),
            vec![near("one", &at("31", "0"))],
            www,
        ),
        "cidr-collection-id" => alone(from_block("one", "not-a-uuid", "office")),
        "cidr-location-name" => alone(from_block("one", COLLECTION, "bad location!")),
        "cidr-private-zone" => alone(from_block("one", COLLECTION, "office")),
        "cidr-other-collection" => {
            let fill = [
                www,
                &[
                    ("collection", COLLECTION),
                    ("location", "office"),
                    ("other_collection", OTHER_COLLECTION),
                ],
            ]
            .concat();
            let before = from_block("two", OTHER_COLLECTION, "home");
            case(vec![before], vec![from_block("one", COLLECTION, "office")], &fill)
        }
        "policy-not-for-type" => {
            let fill = [("name", "www.example.com."), ("type", "NS"), ("sid", "one")];
            let set = routed("CREATE", W, "NS", &weighted("one", 1), 300, &["ns.example.net"]);
            case(vec![], vec![set], &fill)
        }
        "multivalue-alias" => {
            let routing = in_set("<MultiValueAnswer>true</MultiValueAnswer>");
            alone(change("CREATE", W, "A", &(routing + &target(BALANCERS, BALANCER))))
        }
        "failover-alias-health" => {
            let routing = in_set("<Failover>PRIMARY</Failover>");
            alone(change("CREATE", W, "A", &(routing + &target(BALANCERS, BALANCER))))
        }
        "simple-health-check" => {
            let set = "<TTL>300</TTL><ResourceRecords><ResourceRecord><Value>192.0.2.1</Value></ResourceRecord>\
                       </ResourceRecords><HealthCheckId>abc</HealthCheckId>";
            alone(change("CREATE", W, "A", set))
        }
        "failover-word" => alone(one("<Failover>BACKUP</Failover>")),
        "weighted-ttl-2026" => case(
            vec![routed("CREATE", W, "A", &weighted("two", 1), 300, A)],
            vec![routed("CREATE", W, "A", &weighted("one", 1), 60, A)],
            www,
        ),
        "setid-no-policy-2025" => {
            let fill = [("action", "CREATE"), ("name as sent", W), ("type", "A"), ("sid", "one")];
            case(vec![], vec![one("")], &fill)
        }
        "two-policies" => alone(one("<Weight>1</Weight><Region>eu-west-1</Region>")),
        "weight-256" => alone(one("<Weight>256</Weight>")),
        "setid-129" => {
            let identifier = "x".repeat(129);
            let routing = format!("<SetIdentifier>{identifier}</SetIdentifier><Weight>1</Weight>");
            let set = routed("CREATE", W, "A", &routing, 300, A);
            case(vec![], vec![set], &[("{xxx...}", &identifier)])
        }
        _ => None,
    }
}

/// The rows about names, conflicts and aliases.
fn zone_case(id: &str) -> Option<Case> {
    let www: &[(&str, &str)] =
        &[("name", "www.example.com."), ("zone", "example.com."), ("type", "CNAME")];
    let cname = |owner: &str, target: &str| plain("CREATE", owner, "CNAME", &[target]);
    let alias = |owner: &str, rtype: &str, zone: &str, name: &str| {
        change("CREATE", owner, rtype, &target(zone, name))
    };
    let to = |rtype, name, zone| {
        [("name", "www.example.com."), ("type", rtype), ("target", name), ("alias_zone_id", zone)]
    };
    match id {
        "cname-loop" => {
            let before = vec![
                cname("a.example.com", "b.example.com"),
                cname("b.example.com", "www.example.com"),
            ];
            case(before, vec![cname(W, "A.example.com.")], www)
        }
        "alias-loop-self" => {
            case(vec![], vec![alias(W, "CNAME", ZONE, W)], &to("CNAME", "www.example.com.", ZONE))
        }
        "cname-conflict-and-loop" => case(vec![plain("CREATE", W, "A", A)], vec![cname(W, W)], www),
        "wildcard-ns" => {
            let set = plain("DELETE", "*.example.com", "NS", &["ns.example.net"]);
            case(vec![], vec![set], &[("name", "\\052.example.com.")])
        }
        "alias-ns" => {
            case(vec![], vec![alias(W, "NS", ZONE, "example.com")], &to("NS", "example.com.", ZONE))
        }
        "alias-other-service-zone" => case(
            vec![],
            vec![alias(W, "A", BALANCERS, "x.example.net")],
            &to("A", "x.example.net.", BALANCERS),
        ),
        "alias-cloudfront-own-zone" => case(
            vec![],
            vec![alias(W, "A", ZONE, "d1.cloudfront.net")],
            &to("A", "d1.cloudfront.net.", ZONE),
        ),
        "alias-to-other-type" => case(
            vec![cname(W, "x.example.net")],
            vec![alias("example.com", "A", ZONE, W)],
            &to("A", "www.example.com.", ZONE),
        ),
        "ds-apex" => {
            let ds = format!("12345 13 2 {}", "AB".repeat(32));
            let fill = [("name", "example.com."), ("zone", "example.com.")];
            case(vec![], vec![plain("CREATE", "example.com", "DS", &[&ds])], &fill)
        }
        "soa-fields" => {
            let value = "ns-1.example.net. admin.example.com. 1 7200 900 1209600";
            let set = plain("UPSERT", "example.com", "SOA", &[value]);
            case(vec![], vec![set], &[("value", value)])
        }
        "two-contents" => {
            let set = "<TTL>300</TTL><ResourceRecords><ResourceRecord><Value>192.0.2.1</Value></ResourceRecord>\
                       </ResourceRecords>";
            let set = set.to_owned() + &target(BALANCERS, BALANCER);
            case(vec![], vec![change("CREATE", W, "A", &set)], &[])
        }
        "rrset-400" => {
            let values: Vec<String> =
                (0..401).map(|n| format!("192.0.{}.{}", n / 256, n % 256)).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            case(vec![], vec![plain("CREATE", W, "A", &values)], &[])
        }
        "value-4001" => {
            let value = "x".repeat(4_001);
            case(vec![], vec![plain("CREATE", W, "TXT", &[&value])], &[("{...}", &value)])
        }
        "ttl-max" => {
            let set = "<TTL>2147483648</TTL><ResourceRecords><ResourceRecord><Value>192.0.2.1</Value></ResourceRecord>\
                       </ResourceRecords>";
            case(vec![], vec![change("CREATE", W, "A", set)], &[])
        }
        "name-space" => case(vec![], vec![plain("CREATE", "a b.example.com", "A", A)], &[]),
        "name-non-ascii" => case(vec![], vec![plain("CREATE", "\u{e4}.example.com", "A", A)], &[]),
        "name-too-long" => {
            let name = format!("{}example.com", format!("{}.", "a".repeat(60)).repeat(5));
            case(vec![], vec![plain("CREATE", &name, "A", A)], &[("name as sent", &name)])
        }
        "xml-empty-changes" => case(vec![], vec![], &[]),
        _ => None,
    }
}

fn batch_case(id: &str) -> Option<Case> {
    if let Some((rtype, value)) = value_case(id) {
        let fingerprint = value.rsplit(' ').next().unwrap_or_default();
        let fill = [("value", value.as_str()), ("fingerprint", fingerprint)];
        return case(vec![], vec![plain("CREATE", W, rtype, &[&value])], &fill);
    }
    routing_case(id).or_else(|| zone_case(id))
}

/// The emulator that a row needs.
fn config_of(id: &str) -> EmulatorConfig {
    let mut config = config();
    match id {
        "cidr-private-zone" => config.accounts[0].zones[0].private = true,
        "zone-quota" => config.accounts[0].zone_quota = 1,
        "sts-max-session" => config.accounts[1].roles[1].max_session_secs = 3_600,
        _ => {}
    }
    config
}

type Fill = Vec<(&'static str, String)>;

fn fill(pairs: &[(&'static str, &str)]) -> Fill {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// The rows about bodies and lists.
async fn body_case(id: &str, caller: &Caller<'_>) -> Option<(Answered, Fill)> {
    let rrset = format!("/2013-04-01/hostedzone/{ZONE}/rrset");
    let zones = "/2013-04-01/hostedzone";
    let xmlns = "xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"";
    let good = batch_body(&[plain("CREATE", W, "A", A)]);
    let (target, body) = match id {
        "xml-wrong-root" => {
            (rrset.as_str(), good.replace("ChangeResourceRecordSetsRequest", "ChangeBatch"))
        }
        "xml-wrong-root-zone" => {
            let body = create_zone("zone-x.com", "", "1");
            (zones, body.replace("CreateHostedZoneRequest", "Name"))
        }
        "xml-no-namespace" => (rrset.as_str(), good.replace(xmlns, "")),
        "xml-extra-element" => {
            let first = format!("<HostedZoneId>{ZONE}</HostedZoneId><ChangeBatch>");
            (rrset.as_str(), good.replacen("<ChangeBatch>", &first, 1))
        }
        "xml-2026-incomplete" => (
            zones,
            format!(
                "<CreateHostedZoneRequest {xmlns}><CallerReference>1</CallerReference><HostedZoneConfig><Comment>c</Comment>\
                 </HostedZoneConfig></CreateHostedZoneRequest>"
            ),
        ),
        "list-unknown-type" => {
            return Some((caller.get(&format!("{rrset}?name=a&type=AAA")).await, vec![]));
        }
        _ => return None,
    };
    Some((caller.call("route53", "POST", target, &body).await, vec![]))
}

/// The rows about zones, roles and the clock.
async fn other_case(id: &str, caller: &mut Caller<'_>) -> Option<(Answered, Fill)> {
    let make = async |name: &str, rest: &str, reference: &str| {
        let body = create_zone(name, rest, reference);
        caller.call("route53", "POST", "/2013-04-01/hostedzone", &body).await
    };
    let vpc = |region: &str| {
        format!("<VPC><VPCRegion>{region}</VPCRegion><VPCId>vpc-01234567</VPCId></VPC>")
    };
    let label = "a".repeat(64);
    let long = format!("{}{}", format!("{}.", "b".repeat(63)).repeat(3), "c".repeat(62));
    Some(match id {
        "zone-wildcard" => (make("*.example.net", "", "1").await, vec![]),
        "zone-tld" => (make("cdkpftld.", "", "1").await, fill(&[("name as sent", "cdkpftld.")])),
        "zone-reserved" => (make("tap-stack.example.com", "", "1").await, vec![]),
        "zone-name-space" => (make("a b.example.net", "", "1").await, vec![]),
        "zone-label-64" => {
            let answered = make(&format!("{label}.example.net"), "", "1").await;
            (answered, fill(&[("label", &label)]))
        }
        "zone-name-254" => {
            assert_eq!(long.len(), 254);
            assert_eq!(make(&long[1..], "", "0").await.status, 201, "253 characters are taken");
            assert_eq!(make(&format!("{}.", &long[1..]), "", "2").await.status, 201);
            (make(&long, "", "1").await, fill(&[("name as sent", &long)]))
        }
        "zone-vpc-region" => (make("zone-x.com", &vpc("us-east-1a"), "1").await, vec![]),
        "zone-vpc-taken" => {
            let first = make("zone-x.com", &vpc("us-east-1"), "1").await.element("Id").unwrap();
            let pairs = [
                ("vpc", "vpc-01234567"),
                ("region", "us-east-1"),
                ("zone_id", first.trim_start_matches("/hostedzone/")),
            ];
            (make("zone-x.com", &vpc("us-east-1"), "2").await, fill(&pairs))
        }
        "zone-quota" => (make("zone-x.com", "", "1").await, vec![]),
        "zone-callerref-text" => {
            make("zone-x.com", "", "1").await;
            (make("zone-y.com", "", "1").await, vec![])
        }
        "sts-assume-denied" => {
            let pairs =
                [("caller_arn", "arn:aws:iam::111111111111:user/admin"), ("role_arn", ROLE)];
            (caller.assume(&[("RoleArn", ROLE), ("ExternalId", "wrong")]).await, fill(&pairs))
        }
        "sts-max-session" => {
            (caller.assume(&[("RoleArn", READER), ("DurationSeconds", "7200")]).await, vec![])
        }
        "clock-ahead" => {
            // The captured pair: signed at 01:39:26, checked at 01:33:32.
            let signed: jiff::Timestamp = "2017-04-24T01:39:26Z".parse().unwrap();
            let checked: jiff::Timestamp = "2017-04-24T01:33:32Z".parse().unwrap();
            caller.signed_at = signed.into();
            let control = caller.emulator.control();
            let skew_ms = checked.as_millisecond() - control.now().0;
            control.add_fault(FaultRule::always(FaultEffect::ClockSkew { skew_ms }));
            (caller.get("/2013-04-01/hostedzone").await, vec![])
        }
        _ => return None,
    })
}

/// The whole message that a row stands for.
fn wanted(row: &Row, fill: &[(&'static str, String)]) -> String {
    let completed = COMPLETED.iter().find(|(id, ..)| *id == row.id);
    let (_, before, after) = completed.copied().unwrap_or_default();
    assert!(completed.is_some() || !row.partial, "{}: what did its source lose?", row.id);
    let text = row.message.clone().unwrap_or_default();
    let text = format!("{before}{text}{after}").replace("'...'", "'{...}'");
    let row = Row {
        message: Some(text.replace("'xxx...'", "'{xxx...}'")),
        id: row.id.clone(),
        code: None,
        ..*row
    };
    let message = without_position(&filled(&row, fill).unwrap_or_default());
    // Captured before values stood in quotation marks, or before brackets.
    match row.id.as_str() {
        "a-spaces" | "mx-fields" | "txt-tab" => {
            let text = message.trim_start_matches('[').trim_end_matches(']');
            let problem = text.trim_start_matches("Invalid Resource Record: ");
            format!("[Invalid Resource Record: '{problem}']")
        }
        _ => message,
    }
}

#[tokio::test]
async fn every_answer_of_the_second_reading_is_given_word_for_word() {
    let (mut faults, mut checked) = (Vec::new(), 0);
    let rows = rows(SECOND);
    for row in &rows {
        let id = row.id.as_str();
        if NOT_EXPRESSED.iter().any(|(left_out, _)| *left_out == id) {
            continue;
        }
        let emulator = start(config_of(id)).await;
        let mut caller = Caller::new(&emulator);
        let found = match batch_case(id) {
            Some(case) => {
                for before in &case.before {
                    let answered = caller.change(std::slice::from_ref(before)).await;
                    assert_eq!(answered.status, 200, "{id}: {before}: {}", answered.body);
                }
                Some((caller.change(&case.batch).await, case.fill))
            }
            None => match body_case(id, &caller).await {
                Some(found) => Some(found),
                None => other_case(id, &mut caller).await,
            },
        };
        let Some((answered, fill)) = found else {
            faults.push(format!("{id}: neither expressed nor left out with a reason"));
            continue;
        };
        checked += 1;
        let message = without_position(&answered.element("Message").unwrap_or_default());
        let got = (answered.status, answered.element("Code"), message);
        let wanted = (row.http_status, row.code.clone(), wanted(row, &fill));
        if got != wanted {
            faults.push(format!("{id}:\n  got    {got:?}\n  wanted {wanted:?}"));
        }
        emulator.stop().await;
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert_eq!((rows.len(), checked, NOT_EXPRESSED.len()), (103, 95, 8));
}

/// The message of a refused batch.
async fn refused(caller: &Caller<'_>, batch: &[String]) -> String {
    let answered = caller.change(batch).await;
    assert_eq!(answered.status, 400, "{batch:?}: {}", answered.body);
    answered.element("Message").unwrap()
}

#[tokio::test]
async fn existence_syntax_and_apex_errors_stand_in_one_list_in_their_order() {
    let emulator = start(config()).await;
    let caller = Caller::new(&emulator);
    let message = refused(
        &caller,
        &[
            plain("CREATE", W, "TXT", &["plain"]),
            plain("DELETE", "b.example.com", "A", A),
            geo("one", "<CountryCode>ZZ</CountryCode>"),
            plain("UPSERT", "example.com", "SOA", &["x"]),
        ],
    )
    .await;
    let order = [
        "[Cannot find location: 'country = ZZ'. No changes made., ",
        "Tried to delete resource record set [name='b.example.com.', type='A'] but it was not found, ",
        "Invalid Resource Record: 'FATAL problem: InvalidCharacterString",
        "Invalid Resource Record: 'FATAL problem: SOARRDATANotSevenFields",
        "A HostedZone must contain exactly one SOA record.]",
    ];
    let places: Vec<_> = order.iter().map(|part| message.find(part)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in {message}");
    emulator.stop().await;
}

#[tokio::test]
async fn a_delete_is_checked_like_a_create_unless_the_set_is_there() {
    let emulator = start(config()).await;
    let caller = Caller::new(&emulator);
    let alias = |action| change(action, "b.example.com", "A", &target(ZONE, W));
    let message = refused(&caller, &[alias("DELETE")]).await;
    assert!(
        message.contains(
            "but it was not found, Tried to create an alias that targets www.example.com."
        ),
        "{message}"
    );
    let message = refused(&caller, &[plain("DELETE", W, "TLSA", &["3 1 1"])]).await;
    assert!(message.contains("but it was not found, Invalid Resource Record: "), "{message}");
    // An alias that leads to nothing any more can still be deleted.
    let make = [plain("CREATE", W, "A", A), alias("CREATE")];
    assert_eq!(caller.change(&make).await.status, 200);
    assert_eq!(caller.change(&[plain("DELETE", W, "A", A)]).await.status, 200);
    assert_eq!(caller.change(&[alias("DELETE")]).await.status, 200);
    emulator.stop().await;
}

#[tokio::test]
async fn loops_are_judged_when_their_change_is_applied() {
    let emulator = start(config()).await;
    let caller = Caller::new(&emulator);
    let cname = |action, owner: &str, to: &str| plain(action, owner, "CNAME", &[to]);
    let a = |action, to| cname(action, "a.example.com", to);
    let b = |action, to| cname(action, "b.example.com", to);
    let message =
        refused(&caller, &[a("CREATE", "b.example.com"), b("CREATE", "a.example.com")]).await;
    assert!(
        message.contains("name b.example.com. is not permitted as it creates a CNAME"),
        "{message}"
    );
    assert!(!message.contains("DNS name a.example.com."), "{message}");
    // A chain that is turned around in one batch is none at any time.
    let make = [b("CREATE", "c.example.com"), a("CREATE", "b.example.com")];
    assert_eq!(caller.change(&make).await.status, 200);
    let turned = [a("UPSERT", "c.example.com"), b("UPSERT", "a.example.com")];
    assert_eq!(caller.change(&turned).await.status, 200);
    // Aliases too: A to A, whichever way around.
    let alias = |owner: &str, to: &str| change("UPSERT", owner, "A", &target(ZONE, to));
    let make = [
        plain("CREATE", W, "A", A),
        alias("x.example.com", W),
        alias("y.example.com", "x.example.com"),
    ];
    assert_eq!(caller.change(&make).await.status, 200);
    let message = refused(&caller, &[alias("x.example.com", "y.example.com")]).await;
    assert!(message.contains("RRSet of type A with DNS name x.example.com."), "{message}");
    emulator.stop().await;
}

#[tokio::test]
async fn what_route_53_takes_is_not_refused() {
    let emulator = start(config()).await;
    let caller = Caller::new(&emulator);
    let ds = format!("12345 13 2 {}", "AB".repeat(32));
    for taken in [
        plain("CREATE", "c1.example.com", "CNAME", &["192.0.2.1"]),
        plain("CREATE", "c2.example.com", "CNAME", &["192.0.2.1:443"]),
        plain("CREATE", "c3.example.com", "CNAME", &["192.0.2.1/32%5"]),
        plain("CREATE", "t.example.com", "TXT", &["\"first\"\"second\""]),
        plain("CREATE", "a@b.example.com", "A", A),
        routed("CREATE", "d.example.com", "DS", &weighted("one", 1), 300, &[&ds]),
        geo("ua", "<CountryCode>UA</CountryCode><SubdivisionCode>11</SubdivisionCode>"),
        geo("any", "<CountryCode>*</CountryCode>"),
        routed("CREATE", "l.example.com", "A", &in_set("<Region>us-gov-east-1</Region>"), 300, A),
    ] {
        let answered = caller.change(std::slice::from_ref(&taken)).await;
        assert_eq!(answered.status, 200, "{taken}: {}", answered.body);
    }
    for place in [
        at("90", "180"),
        at("-89.99", "+179.99"),
        "<LocalZoneGroup>us-west-2-den-1</LocalZoneGroup>".to_owned(),
    ] {
        let set = near("one", &place).replace("www.example.com", "near.example.com");
        let answered = caller.change(&[set.replace("CREATE", "UPSERT")]).await;
        assert_eq!(answered.status, 200, "{place}: {}", answered.body);
    }
    let stored = emulator.control().records(&ZONE.parse().unwrap(), View::Accepted).unwrap();
    let c1 = DnsName::parse("c1.example.com").unwrap();
    assert!(stored.iter().any(|set| set.name == c1.as_str() && set.canonical().is_ok()));
    emulator.stop().await;
}
