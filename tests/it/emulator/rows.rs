//! Every row of the captured answers of AWS that the emulator can express: status, code and exact message. The rows of the second
//! reading are in `rows_2`.

use aws_sdk_route53::config::Credentials;
use serde::Deserialize;
use zonefold::core::dns::record::RawRecordSet;
use zonefold::emulator::*;

use crate::emulator::support::{ACCOUNT, KEY, READER, ROLE, SECRET, ZONE, config, start};

/// A captured answer.
#[derive(Debug, Deserialize)]
pub struct Row {
    pub id: String,
    pub http_status: u16,
    pub code: Option<String>,
    pub message: Option<String>,
    /// Whether the source lost a part of the message.
    #[serde(default)]
    pub partial: bool,
}

/// The rows of both files.
pub fn rows(text: &str) -> Vec<Row> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub const FIRST: &str = include_str!("../../data/route53-errors.jsonl");
pub const SECOND: &str = include_str!("../../data/route53-errors-2.jsonl");

/// Rows whose text AWS has changed since, or that have none, with the row of the second file that has the present one.
const SUPERSEDED: [(&str, &str); 3] = [
    ("setid-no-policy", "setid-no-policy-2025"),
    ("weighted-ttl", "weighted-ttl-2026"),
    ("doc-zone-callerref", "zone-callerref-text"),
];

/// The text before those of the schema since about 2020; `xml-empty-rrs` and `alias-no-eval` are older.
const SAX: &str = "javax.xml.stream.XMLStreamException: org.xml.sax.SAXParseException; ";

/// A message without what the reader of XML puts before its text, which depends on the body.
pub fn without_position(message: &str) -> String {
    let Some((before, rest)) = message.split_once(SAX) else { return message.to_owned() };
    let text = match rest.split_once("; columnNumber: ").and_then(|(_, rest)| rest.split_once("; "))
    {
        Some((_, text)) => text,
        None => rest,
    };
    format!("{before}{text}")
}

/// Rows that are about something that the emulator does not have, with what that is.
const NOT_EXPRESSED: [(&str, &str); 8] = [
    ("zones-by-vpc", "ListHostedZonesByVPC is not emulated"),
    ("hc-create", "health checks are known by id only"),
    ("delegation-set-gone", "reusable delegation sets are not emulated"),
    ("upsert-weighted-change-setid", "what CloudFormation does, not an answer of Route 53"),
    ("doc-icb-unwrapped", "an envelope of the documentation that AWS never sends"),
    ("create-exists-old", "the text of before 2019; the row create-exists has the present one"),
    (
        "xml-wrong-order",
        "the reporter cut the list of elements short; a unit test has the whole text",
    ),
    ("doc-throttle-limits", "the same answer as the row throttle"),
];

/// Rows captured before the messages of a batch were put in brackets, or reported without them.
const WITHOUT_BRACKETS: [&str; 8] = [
    "delete-missing",
    "delete-mismatch",
    "cname-apex",
    "dup-rrset-in-batch",
    "batch-4000",
    "rrset-100",
    "weighted-100",
    "ns-delete",
];

/// The answer to a row's request.
pub struct Answered {
    pub status: u16,
    pub body: String,
}

impl Answered {
    pub fn element(&self, name: &str) -> Option<String> {
        let document = roxmltree::Document::parse(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.body));
        let node = document.descendants().find(|node| node.tag_name().name() == name)?;
        Some(node.text().unwrap_or_default().to_owned())
    }
}

/// A signed request as a row needs it: any method, path and body.
pub struct Caller<'e> {
    pub emulator: &'e EmulatorHandle,
    pub credentials: Credentials,
    pub signed_at: std::time::SystemTime,
}

impl<'e> Caller<'e> {
    /// The user with the long-lived key, now.
    pub fn new(emulator: &'e EmulatorHandle) -> Self {
        let credentials = Credentials::new(KEY, SECRET, None, None, "test");
        Self { emulator, credentials, signed_at: std::time::SystemTime::now() }
    }

    pub async fn call(&self, service: &str, method: &str, target: &str, body: &str) -> Answered {
        use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
        let url = format!("{}{target}", self.emulator.endpoint_url());
        let identity = self.credentials.clone().into();
        let params = aws_sigv4::sign::v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name(service)
            .time(self.signed_at)
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let signable = SignableRequest::new(
            method,
            url.as_str(),
            std::iter::empty(),
            SignableBody::Bytes(body.as_bytes()),
        )
        .unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        let mut request =
            http::Request::builder().method(method).uri(&url).body(body.to_owned()).unwrap();
        instructions.apply_to_request_http1x(&mut request);
        let client =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                .build_http::<String>();
        let response = client.request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        let answered = Answered {
            status: parts.status.as_u16(),
            body: String::from_utf8(body.to_vec()).unwrap(),
        };
        if let Some(id) = answered.element("RequestId") {
            assert_eq!(parts.headers["x-amzn-requestid"], id);
        }
        answered
    }

    pub async fn get(&self, target: &str) -> Answered {
        self.call("route53", "GET", target, "").await
    }

    pub async fn assume(&self, parameters: &[(&str, &str)]) -> Answered {
        let mut form = "Action=AssumeRole&Version=2011-06-15".to_owned();
        let defaults = [("RoleArn", READER), ("RoleSessionName", "session")];
        let given = |name: &str| parameters.iter().any(|(given, _)| *given == name);
        for (name, value) in defaults.iter().filter(|(name, _)| !given(name)).chain(parameters) {
            let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            form.push_str(&format!("&{name}={value}"));
        }
        self.call("sts", "POST", "/", &form).await
    }

    pub async fn change(&self, changes: &[String]) -> Answered {
        let target = format!("/2013-04-01/hostedzone/{ZONE}/rrset");
        self.call("route53", "POST", &target, &batch_body(changes)).await
    }
}

pub fn batch_body(changes: &[String]) -> String {
    format!(
        "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>{}\
         </Changes></ChangeBatch></ChangeResourceRecordSetsRequest>",
        changes.concat()
    )
}

/// A change with these elements after the type.
pub fn change(action: &str, name: &str, rtype: &str, rest: &str) -> String {
    format!(
        "<Change><Action>{action}</Action><ResourceRecordSet><Name>{name}</Name><Type>{rtype}</Type>{rest}\
         </ResourceRecordSet></Change>"
    )
}

/// A change with a TTL and values, and perhaps routing before them.
pub fn plain(action: &str, name: &str, rtype: &str, values: &[&str]) -> String {
    routed(action, name, rtype, "", 300, values)
}

pub fn routed(
    action: &str,
    name: &str,
    rtype: &str,
    routing: &str,
    ttl: u32,
    values: &[&str],
) -> String {
    let records: String = values
        .iter()
        .map(|value| format!("<ResourceRecord><Value>{value}</Value></ResourceRecord>"))
        .collect();
    change(
        action,
        name,
        rtype,
        &format!("{routing}<TTL>{ttl}</TTL><ResourceRecords>{records}</ResourceRecords>"),
    )
}

fn alias(name: &str, zone: &str, target: &str) -> String {
    let target = format!(
        "<AliasTarget><HostedZoneId>{zone}</HostedZoneId><DNSName>{target}</DNSName><EvaluateTargetHealth>false\
         </EvaluateTargetHealth></AliasTarget>"
    );
    change("CREATE", name, "A", &target)
}

pub fn weighted(set: &str, weight: u8) -> String {
    format!("<SetIdentifier>{set}</SetIdentifier><Weight>{weight}</Weight>")
}

/// A row's case: the zone before, the request, and the values of the placeholders in its message.
#[derive(Default)]
pub struct Case {
    pub before: Vec<String>,
    pub batch: Vec<String>,
    pub fill: Vec<(&'static str, String)>,
}

pub fn case(
    before: Vec<String>,
    batch: Vec<String>,
    fill: &[(&'static str, &str)],
) -> Option<Case> {
    let fill = fill.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Some(Case { before, batch, fill })
}

pub const A: &[&str] = &["192.0.2.1"];
pub const W: &str = "www.example.com";

/// The cases that are one batch against the zone example.com.
fn batch_case(id: &str) -> Option<Case> {
    let www: &[(&str, &str)] =
        &[("name", "www.example.com."), ("type", "A"), ("zone", "example.com."), ("sid", "one")];
    let create = |rtype, values: &[&str]| plain("CREATE", W, rtype, values);
    let one = |routing: &str| routed("CREATE", W, "A", routing, 300, A);
    match id {
        "create-exists" => case(vec![create("A", A)], vec![create("A", A)], www),
        "delete-missing" => case(vec![], vec![plain("DELETE", W, "A", A)], www),
        "delete-mismatch" => {
            case(vec![create("A", A)], vec![plain("DELETE", W, "A", &["192.0.2.2"])], www)
        }
        "cname-conflict" => {
            case(vec![create("A", A)], vec![create("CNAME", &["x.example.net"])], www)
        }
        "conflict-with-cname" => {
            case(vec![create("CNAME", &["x.example.net"])], vec![create("A", A)], www)
        }
        "cname-apex" => {
            let apex = plain("CREATE", "example.com", "CNAME", &["x.example.net"]);
            case(vec![], vec![apex], &[("name", "example.com."), ("zone", "example.com.")])
        }
        "wrong-zone" => {
            let outside = plain("CREATE", "www.example.org", "A", A);
            case(vec![], vec![outside], &[("name", "www.example.org."), ("zone", "example.com.")])
        }
        "dup-rrset-in-batch" => case(vec![], vec![create("A", A), create("A", A)], www),
        "dup-value" => {
            case(vec![], vec![create("A", &["192.0.2.1", "192.0.2.1"])], &[("value", "192.0.2.1")])
        }
        "batch-1000" => case(
            vec![],
            (0..1_001).map(|n| plain("CREATE", &format!("n{n}.example.com"), "A", A)).collect(),
            &[],
        ),
        "batch-32000" => {
            let text = format!("\"{}\"", "x".repeat(250));
            let sets =
                (0..128).map(|n| plain("CREATE", &format!("n{n}.example.com"), "TXT", &[&text]));
            case(vec![], sets.collect(), &[])
        }
        "batch-4000" => {
            let sets = (0..4_001).map(|n| {
                alias(
                    &format!("n{n}.example.com"),
                    "Z35SXDOTRQ7X7K",
                    "l.us-east-1.elb.amazonaws.com",
                )
            });
            case(vec![], sets.collect(), &[])
        }
        "zone-10000" => case(
            vec![create("A", A)],
            vec![plain("CREATE", "new.example.com", "A", A)],
            &[("zone_id", ZONE)],
        ),
        "rrset-100" => {
            let values: Vec<String> = (0..101).map(|n| format!("192.0.2.{n}")).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            case(vec![], vec![create("A", &values)], &[])
        }
        "weighted-100" => case(
            (0..100).map(|n| one(&weighted(&format!("s{n}"), 1))).collect(),
            vec![one(&weighted("one", 1))],
            www,
        ),
        "weighted-where-simple" => case(vec![create("A", A)], vec![one(&weighted("one", 1))], www),
        "simple-where-other" => case(vec![one(&weighted("one", 1))], vec![create("A", A)], www),
        "multivalue-where-simple" => {
            let multivalue =
                "<SetIdentifier>one</SetIdentifier><MultiValueAnswer>true</MultiValueAnswer>";
            case(vec![create("A", A)], vec![one(multivalue)], www)
        }
        "weighted-ttl" => case(
            vec![one(&weighted("two", 1))],
            vec![routed("CREATE", W, "A", &weighted("one", 1), 60, A)],
            www,
        ),
        "latency-region-dup" => {
            let latency = |set| {
                one(&format!("<SetIdentifier>{set}</SetIdentifier><Region>eu-west-1</Region>"))
            };
            let fill = [www, &[("region", "eu-west-1")]].concat();
            case(vec![latency("two")], vec![latency("one")], &fill)
        }
        "failover-no-hc" => case(
            vec![],
            vec![one("<SetIdentifier>one</SetIdentifier><Failover>PRIMARY</Failover>")],
            &[],
        ),
        "alias-outside-zone" => case(
            vec![],
            vec![alias(W, ZONE, "Target.Example.org")],
            &[("target", "target.example.org."), ("type", "A"), ("alias_zone_id", ZONE)],
        ),
        "alias-missing" => case(
            vec![],
            vec![alias(W, ZONE, "target.example.com")],
            &[("target", "target.example.com."), ("type", "A"), ("alias_zone_id", ZONE)],
        ),
        "bad-txt" => case(vec![], vec![create("TXT", &["plain"])], &[("value", "plain")]),
        "label-63" => {
            let label = "a".repeat(64);
            case(
                vec![],
                vec![plain("CREATE", &format!("{label}.example.com"), "A", A)],
                &[("label", &label)],
            )
        }
        "label-empty" => case(
            vec![],
            vec![plain("CREATE", "a..example.com", "A", A)],
            &[("name", "a..example.com")],
        ),
        "name-empty" => case(vec![], vec![alias(W, ZONE, "")], &[]),
        "missing-ttl" => case(
            vec![],
            vec![change("UPSERT", W, "A", "<TTL>300</TTL>")],
            &[("action", "UPSERT"), ("name as sent", W), ("type", "A")],
        ),
        "missing-setid" => case(
            vec![],
            vec![one("<MultiValueAnswer>false</MultiValueAnswer>")],
            &[("action", "CREATE"), ("name", W), ("type", "A")],
        ),
        "setid-no-policy" => case(
            vec![],
            vec![routed("DELETE", W, "A", "<SetIdentifier>one</SetIdentifier>", 300, A)],
            &[("action", "DELETE"), ("name as sent", W), ("type", "A"), ("sid", "one")],
        ),
        "xml-empty-rrs" => {
            case(vec![], vec![change("CREATE", W, "A", "<TTL>300</TTL><ResourceRecords/>")], &[])
        }
        "alias-no-eval" => {
            let target = "<AliasTarget><HostedZoneId>Z1</HostedZoneId><DNSName>a.example.com</DNSName></AliasTarget>";
            case(vec![], vec![change("CREATE", W, "A", target)], &[])
        }
        "type-change-batch" => {
            let batch = vec![plain("DELETE", W, "A", A), create("CNAME", &["x.example.net"])];
            case(vec![create("A", A)], batch, &[])
        }
        "weighted-to-simple" => {
            let old = weighted("one", 1);
            case(vec![one(&old)], vec![routed("DELETE", W, "A", &old, 300, A), create("A", A)], &[])
        }
        "alias-created-with-target" => {
            case(vec![], vec![create("A", A), alias("b.example.com", ZONE, W)], &[])
        }
        "dangling-alias-ok" => case(
            vec![create("A", A), alias("b.example.com", ZONE, W)],
            vec![plain("DELETE", W, "A", A)],
            &[],
        ),
        "replace-case-insensitive" => case(
            vec![create("A", A)],
            vec![plain("UPSERT", "WWW.example.COM", "A", &["192.0.2.2"])],
            &[],
        ),
        "case-fold" => case(vec![], vec![plain("CREATE", "UPPER.example.com", "A", A)], &[]),
        "alias-case-fold" => {
            case(vec![], vec![alias(W, "Z35SXDOTRQ7X7K", "UPPER.us-east-1.ELB.amazonaws.com")], &[])
        }
        "wildcard-octal" => case(vec![], vec![plain("CREATE", "*.example.com", "A", A)], &[]),
        "weighted-independent-upsert" => case(
            vec![one(&weighted("one", 1)), one(&weighted("two", 1))],
            vec![routed("UPSERT", W, "A", &weighted("one", 9), 300, A)],
            &[],
        ),
        "list-weighted-alias" => {
            let target = |set, weight| {
                let alias = "<AliasTarget><HostedZoneId>Z35SXDOTRQ7X7K</HostedZoneId><DNSName>l.us-east-1.elb.amazonaws.com\
                             </DNSName><EvaluateTargetHealth>false</EvaluateTargetHealth></AliasTarget>";
                change("CREATE", "example.com", "A", &(weighted(set, weight) + alias))
            };
            case(vec![], vec![target("region-2", 0), target("region-1", 255)], &[])
        }
        "doc-protected" => case(vec![], vec![create("A", A)], &[]),
        "prior" => case(vec![create("TXT", &["\"a\""])], vec![create("A", A)], &[]),
        _ => None,
    }
}

/// The emulator that a row needs.
fn row_config(id: &str) -> EmulatorConfig {
    let mut config = config();
    match id {
        "zone-10000" => config.accounts[0].record_quota = 3,
        "rrset-100" => config.switches.max_records_per_set = 100,
        "prior" => config.process_ms = 200,
        "throttle" => {
            config.accounts[0].limits.requests = Some(BucketConfig { capacity: 0, per_sec: 0.0 });
        }
        _ => {}
    }
    config
}

async fn session(caller: &Caller<'_>, parameters: &[(&str, &str)]) -> Credentials {
    let answered = caller.assume(parameters).await;
    let part = |name| answered.element(name).unwrap_or_else(|| panic!("{}", answered.body));
    Credentials::new(
        part("AccessKeyId"),
        part("SecretAccessKey"),
        Some(part("SessionToken")),
        None,
        "test",
    )
}

pub fn create_zone(name: &str, rest: &str, reference: &str) -> String {
    format!(
        "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>{name}</Name>{rest}\
         <CallerReference>{reference}</CallerReference></CreateHostedZoneRequest>"
    )
}

/// The DELETE of one of the zone's own sets, as it is.
fn delete_apex(emulator: &EmulatorHandle, rtype: &str) -> String {
    let sets: Vec<RawRecordSet> =
        emulator.control().records(&ZONE.parse().unwrap(), View::Accepted).unwrap();
    let set = sets.iter().find(|set| set.rtype == rtype).unwrap();
    let values: Vec<&str> = set.values.iter().map(|value| value.as_str()).collect();
    routed("DELETE", &set.name, rtype, "", u32::try_from(set.ttl_secs.unwrap()).unwrap(), &values)
}

/// The cases that are not one batch: the answer, and what the placeholders of the message stand for.
async fn other_case(
    id: &str,
    caller: &mut Caller<'_>,
) -> Option<(Answered, Vec<(&'static str, String)>)> {
    let zones = "/2013-04-01/hostedzone";
    let fill = |pairs: &[(&'static str, &str)]| {
        pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    };
    let none = Vec::new();
    let vpc = |id: &str| format!("<VPC><VPCRegion>us-east-1</VPCRegion><VPCId>{id}</VPCId></VPC>");
    Some(match id {
        "zone-create-public" => {
            (caller.call("route53", "POST", zones, &create_zone("zone-x.com", "", "1")).await, none)
        }
        "zone-create-private" => (
            caller
                .call(
                    "route53",
                    "POST",
                    zones,
                    &create_zone("zone-x.com", &vpc("vpc-01234567"), "1"),
                )
                .await,
            none,
        ),
        "zone-create-bad-vpc" => (
            caller
                .call(
                    "route53",
                    "POST",
                    zones,
                    &create_zone("zone-x.com", &vpc("non-existent"), "1"),
                )
                .await,
            none,
        ),
        "doc-zone-callerref" => {
            caller.call("route53", "POST", zones, &create_zone("zone-x.com", "", "1")).await;
            (caller.call("route53", "POST", zones, &create_zone("zone-y.com", "", "1")).await, none)
        }
        "zone-delete-unknown" => (
            caller.call("route53", "DELETE", &format!("{zones}/Zasdf1234"), "").await,
            fill(&[("<id>", "Zasdf1234")]),
        ),
        "zone-delete" => {
            (caller.call("route53", "DELETE", &format!("{zones}/{ZONE}"), "").await, none)
        }
        "zone-not-empty" => {
            caller.change(&[plain("CREATE", W, "A", A)]).await;
            (caller.call("route53", "DELETE", &format!("{zones}/{ZONE}"), "").await, none)
        }
        "list-default-maxitems" | "list-rrsets-wire" => {
            let answered = caller.get(&format!("{zones}/{ZONE}/rrset")).await;
            assert_eq!(answered.element("MaxItems").as_deref(), Some("100"));
            (answered, none)
        }
        "list-zones-wire" => {
            let answered = caller.get(zones).await;
            let wire = "<HostedZone><Id>/hostedzone/Z0EXAMPLE</Id><Name>example.com.</Name><CallerReference>\
                        emulator:Z0EXAMPLE</CallerReference><Config><PrivateZone>false</PrivateZone></Config>\
                        <ResourceRecordSetCount>2</ResourceRecordSetCount></HostedZone>";
            assert!(answered.body.contains(wire), "{}", answered.body);
            (answered, none)
        }
        "label-empty-list" => {
            (caller.get("/2013-04-01/hostedzonesbyname?dnsname=example.org..").await, none)
        }
        "doc-list-type-no-name" => {
            (caller.get(&format!("{zones}/{ZONE}/rrset?type=A")).await, none)
        }
        "tags-full-id" => (
            caller.get("/2013-04-01/tags/hostedzone/%2Fhostedzone%2FZ0EXAMPLE").await,
            fill(&[("/hostedzone/Z..", "/hostedzone/Z0EXAMPLE")]),
        ),
        "throttle" => (caller.get(zones).await, none),
        "txt-255" => {
            let value = format!("\"{}\"", "x".repeat(256));
            (caller.change(&[plain("CREATE", W, "TXT", &[&value])]).await, vec![("{value}", value)])
        }
        "soa-delete" => (caller.change(&[delete_apex(caller.emulator, "SOA")]).await, none),
        "ns-delete" => (caller.change(&[delete_apex(caller.emulator, "NS")]).await, none),
        "sts-bad-arn-0" => (caller.assume(&[("RoleArn", "nothing-valid-in-here")]).await, none),
        "sts-bad-arn-1" => {
            (caller.assume(&[("RoleArn", "arn::b:::something/test-role")]).await, none)
        }
        "sts-bad-arn-2" => {
            (caller.assume(&[("RoleArn", "arn:a::::something/test-role")]).await, none)
        }
        "sts-bad-arn-3" => {
            (caller.assume(&[("RoleArn", "arn:a:::something/test-role")]).await, none)
        }
        "sts-bad-arn-4" => (caller.assume(&[("RoleArn", "arn:a:a::aaaaaaaaaa:")]).await, none),
        "sts-bad-session-name" => (caller.assume(&[("RoleSessionName", "Session1:2")]).await, none),
        "sts-assume-ok" => (caller.assume(&[]).await, none),
        "sts-transitive-tag" => {
            (caller.assume(&[("TransitiveTagKeys.member.1", "absent")]).await, none)
        }
        "sts-dup-tag" => {
            (caller.assume(&[("Tags.member.1.Key", "k"), ("Tags.member.2.Key", "K")]).await, none)
        }
        "sts-chain-1h" => {
            caller.credentials =
                session(caller, &[("RoleArn", ROLE), ("ExternalId", "right")]).await;
            (caller.assume(&[("DurationSeconds", "3601")]).await, none)
        }
        "r53-access-denied" => {
            caller.credentials = session(caller, &[]).await;
            let pairs = [
                ("{acct}", "222222222222"),
                ("{role}", "reader"),
                ("{session}", "session"),
                ("{id}", ZONE),
            ];
            (caller.change(&[plain("CREATE", W, "A", A)]).await, fill(&pairs))
        }
        "r53-access-denied-list" => {
            caller.credentials = session(caller, &[]).await;
            let control = caller.emulator.control();
            control.add_fault(FaultRule::always(FaultEffect::RoleRevoked {
                role_arn: READER.to_owned(),
            }));
            (
                caller.get(zones).await,
                fill(&[("{acct}", "222222222222"), ("{role}", "reader"), ("{session}", "session")]),
            )
        }
        "r53-bad-key" => {
            caller.credentials = Credentials::new("AKIAUNKNOWN", SECRET, None, None, "test");
            (caller.get(zones).await, none)
        }
        "r53-expired" => {
            caller.credentials = session(caller, &[]).await;
            caller.emulator.control().step(3_600_000);
            caller.signed_at += std::time::Duration::from_secs(3_600);
            (caller.get(zones).await, none)
        }
        "r53-clock-skew" => {
            // The captured pair: signed at 10:18:37, checked at 10:32:49.
            let times = [("2019-12-18T10:18:37Z", -852_i64), ("2019-12-18T10:32:49Z", 0)];
            caller.signed_at = times[0].0.parse::<jiff::Timestamp>().unwrap().into();
            let checked: jiff::Timestamp = times[1].0.parse().unwrap();
            let skew_ms = checked.as_millisecond() - caller.emulator.control().now().0;
            caller
                .emulator
                .control()
                .add_fault(FaultRule::always(FaultEffect::ClockSkew { skew_ms }));
            (caller.get(zones).await, none)
        }
        _ => return None,
    })
}

/// A row's message with its placeholders filled, and the version of the API that the emulator has.
pub fn filled(row: &Row, fill: &[(&'static str, String)]) -> Option<String> {
    let mut message = row.message.clone()?;
    for version in ["2012-12-12", "2012-02-29"] {
        message = message.replace(&format!("/doc/{version}/"), "/doc/2013-04-01/");
    }
    for (name, value) in fill {
        let placeholder = if name.starts_with(['{', '<', '/']) {
            (*name).to_owned()
        } else {
            format!("{{{name}}}")
        };
        message = message.replace(&placeholder, value);
    }
    Some(message)
}

/// The message that a row wants, with today's brackets and words.
fn wanted_message(row: &Row, fill: &[(&'static str, String)]) -> Option<String> {
    let newer = SUPERSEDED.iter().find(|(old, _)| *old == row.id).map(|(_, newer)| *newer);
    let message = match newer {
        Some(newer) => filled(rows(SECOND).iter().find(|row| row.id == newer)?, fill)?,
        None => filled(row, fill)?,
    };
    if row.id == "txt-255" {
        let value = message.strip_prefix("Invalid Resource Record: ").unwrap();
        return Some(format!("[Invalid Resource Record: '{value}']"));
    }
    Some(if WITHOUT_BRACKETS.contains(&row.id.as_str()) { format!("[{message}]") } else { message })
}

/// Checks the answer to a list after a row's batch.
fn check_stored(id: &str, emulator: &EmulatorHandle) {
    let Ok(sets) = emulator.control().records(&ZONE.parse().unwrap(), View::Accepted) else {
        return;
    };
    let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
    let targets: Vec<&str> =
        sets.iter().filter_map(|set| Some(set.alias.as_ref()?.name.as_str())).collect();
    let weights: Vec<i64> = sets.iter().filter_map(|set| set.weight).collect();
    match id {
        "case-fold" => assert!(names.contains(&"upper.example.com."), "{names:?}"),
        "wildcard-octal" => assert!(names.contains(&"\\052.example.com."), "{names:?}"),
        "alias-case-fold" => assert_eq!(targets, ["upper.us-east-1.elb.amazonaws.com."]),
        "weighted-independent-upsert" => assert_eq!(weights, [9, 1]),
        "list-weighted-alias" => {
            assert_eq!(weights, [255, 0], "in the order of the set identifiers")
        }
        "replace-case-insensitive" => assert_eq!(names.len(), 3),
        _ => {}
    }
}

#[tokio::test]
async fn every_captured_answer_is_given_word_for_word() {
    let mut faults = Vec::new();
    let mut checked = 0;
    for row in rows(FIRST) {
        let id = row.id.as_str();
        if NOT_EXPRESSED.iter().any(|(left_out, _)| *left_out == id) {
            continue;
        }
        let emulator = start(row_config(id)).await;
        let mut caller = Caller::new(&emulator);
        let (answered, fill) = match batch_case(id) {
            Some(case) => {
                for before in &case.before {
                    assert_eq!(
                        caller.change(std::slice::from_ref(before)).await.status,
                        200,
                        "{id}: {before}"
                    );
                }
                if id == "doc-protected" {
                    let name = "www.example.com".parse().unwrap();
                    let effect =
                        FaultEffect::Protected { name, rtype: None, comment: "keep".to_owned() };
                    emulator.control().add_fault(FaultRule::always(effect));
                }
                (caller.change(&case.batch).await, case.fill)
            }
            None => match other_case(id, &mut caller).await {
                Some(answered) => answered,
                None => {
                    faults.push(format!("{id}: neither expressed nor left out with a reason"));
                    continue;
                }
            },
        };
        checked += 1;
        check_stored(id, &emulator);
        let got = (answered.status, answered.element("Code"));
        let got_message = answered.element("Message").map(|message| without_position(&message));
        let wanted = wanted_message(&row, &fill);
        if got != (row.http_status, row.code.clone()) || (wanted.is_some() && got_message != wanted)
        {
            faults.push(format!(
                "{id}:\n  got    {got:?} {got_message:?}\n  wanted {} {:?} {wanted:?}",
                row.http_status, row.code
            ));
        }
        emulator.stop().await;
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert_eq!((checked, NOT_EXPRESSED.len()), (76, 8), "of 84 rows, in account {ACCOUNT}");
}
