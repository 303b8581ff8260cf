//! What the targets start from: what the examples, the documents and the captured answers of Route 53 hold, in the form that
//! each target reads.

use std::collections::BTreeMap;
use std::path::Path;

use arcstr::ArcStr;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType as WireType};
use zonefold::adapters::store::offline::{page_of, sort_key};
use zonefold::agent::manifests::documents;
use zonefold::agent::sources::{ExtractOptions, extract};
use zonefold::core::dns::record::{RawRecordSet, RecordKey, RecordType};
use zonefold::core::endpoint::packed::{PackedEndpoint, PackedRecord};
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::emulator::offline::write_changes;
use zonefold::emulator::{ChangeAction, RecordChange};
use zonefold::wire::convert::version_to_wire;
use zonefold::wire::v1::{self, agent_message, broker_message, operation};

/// The seeds of each target.
pub type Seeds = BTreeMap<&'static str, Vec<Vec<u8>>>;

const NAMESPACE: &str = "https://route53.amazonaws.com/doc/2013-04-01/";

/// All seeds, from the files below the repository's folder.
pub fn all(repository: &Path) -> std::io::Result<Seeds> {
    let read = |path: &str| std::fs::read_to_string(repository.join(path));
    let mut seeds = Seeds::new();
    let manifests = examples(&repository.join("examples/clusters"))?;
    let endpoints: Vec<Endpoint> =
        manifests.iter().flat_map(|text| endpoints_of(text.as_bytes())).collect();
    let sets: Vec<RawRecordSet> = serde_json::from_str(SETS).unwrap_or_default();
    let captured = read("tests/data/route53-errors.jsonl")?;
    let messages: Vec<String> = captured.lines().filter_map(message_of).collect();

    seeds.insert(
        "manifests",
        manifests
            .iter()
            .map(|text| text.clone().into_bytes())
            .chain([MORE_MANIFESTS.into()])
            .collect(),
    );
    seeds.insert(
        "config",
        yaml_blocks(&read("docs/configuration.md")?)
            .into_iter()
            .chain(texts(CONFIGURATIONS))
            .collect(),
    );
    seeds.insert("name", texts(NAMES));
    seeds.insert("identifiers", texts(IDENTIFIERS));
    seeds.insert("values", values());
    seeds
        .insert("record_set", sets.iter().filter_map(|set| serde_json::to_vec(set).ok()).collect());
    seeds.insert("endpoint", endpoint_seeds(&endpoints));
    seeds.insert("packed", packed_seeds(&endpoints, &sets));
    seeds.insert("ingest", ingest_seeds(&endpoints));
    seeds.insert("agent", agent_seeds(&endpoints));
    seeds.insert("statuses", status_seeds(&endpoints));
    seeds.insert("route53_answer", answer_seeds(&sets, &messages));
    seeds.insert("refusal", refusal_seeds(&messages));
    seeds.insert("emulator_request", request_seeds(&sets));
    seeds.insert("store_rows", row_seeds(&sets));
    seeds.insert("rest", with_choices(QUERIES));
    seeds.insert("dns", question_seeds());
    seeds.insert("callers", with_choices(SHOWN));
    Ok(seeds)
}

fn texts(list: &[&str]) -> Vec<Vec<u8>> {
    list.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Bytes behind the byte that chooses.
fn chosen(choice: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    [&[choice], bytes.as_ref()].concat()
}

fn with_choices(list: &[(u8, &str)]) -> Vec<Vec<u8>> {
    list.iter().map(|(choice, text)| chosen(*choice, text)).collect()
}

fn examples(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut paths = Vec::new();
    for cluster in std::fs::read_dir(folder)? {
        for file in std::fs::read_dir(cluster?.path())? {
            paths.push(file?.path());
        }
    }
    paths.sort();
    paths.iter().map(std::fs::read_to_string).collect()
}

fn endpoints_of(manifest: &[u8]) -> Vec<Endpoint> {
    let objects = documents::read(manifest).objects;
    objects
        .iter()
        .flat_map(|placed| extract(&placed.object, ExtractOptions::default()).endpoints)
        .collect()
}

fn yaml_blocks(page: &str) -> Vec<Vec<u8>> {
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    blocks.map(|(block, _)| block.as_bytes().to_vec()).collect()
}

/// A captured message with something in the place of what it speaks of.
fn message_of(line: &str) -> Option<String> {
    let row: serde_json::Value = serde_json::from_str(line).ok()?;
    let message = row["message"]
        .as_str()?
        .replace("{name}", "www.example.com.")
        .replace("{name as sent}", "www.example.com");
    Some(message.replace("{type}", "A").replace("{zone}", "example.com.").replace("{sid}", "east"))
}

fn values() -> Vec<Vec<u8>> {
    let choice =
        |rtype: &RecordType| RecordType::ALL.iter().position(|known| known == rtype).unwrap_or(0);
    VALUES.iter().map(|(rtype, value)| chosen(choice(rtype) as u8, value)).collect()
}

fn delimited<M: prost::Message>(choice: u8, messages: &[M]) -> Vec<u8> {
    chosen(
        choice,
        messages
            .iter()
            .flat_map(|message| message.encode_length_delimited_to_vec())
            .collect::<Vec<u8>>(),
    )
}

fn endpoint_seeds(endpoints: &[Endpoint]) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        endpoints.iter().map(|endpoint| delimited(0, &[v1::Endpoint::from(endpoint)])).collect();
    let mut seed =
        |rtype: &str, targets: &[&str], set_identifier: &str, properties: &[(&str, &str)]| {
            let endpoint = Endpoint {
                key: EndpointKey {
                    source: "dnsendpoint".into(),
                    namespace: "shop".into(),
                    object: "web".into(),
                    dns_name: "www.example.com".into(),
                    record_type: rtype.into(),
                    set_identifier: set_identifier.into(),
                },
                targets: targets.iter().map(|target| ArcStr::from(*target)).collect(),
                ttl_secs: Some(60),
                properties: properties
                    .iter()
                    .map(|(name, value)| (ArcStr::from(*name), ArcStr::from(*value)))
                    .collect(),
            };
            let other = Endpoint {
                key: EndpointKey { object: "api".into(), ..endpoint.key.clone() },
                ..endpoint.clone()
            };
            seeds.push(delimited(2, &[v1::Endpoint::from(&endpoint), v1::Endpoint::from(&other)]));
        };
    seed("A", &["192.0.2.1"], "east", &[("aws/weight", "10")]);
    seed("A", &["192.0.2.1"], "east", &[("aws/region", "eu-central-1")]);
    seed(
        "A",
        &["192.0.2.1"],
        "east",
        &[("aws/failover", "PRIMARY"), ("aws/health-check-id", "abc")],
    );
    seed("AAAA", &["2001:db8::1"], "east", &[("aws/multi-value-answer", "true")]);
    seed(
        "TXT",
        &["\"v=spf1 -all\""],
        "east",
        &[("aws/geolocation-country-code", "US"), ("aws/geolocation-subdivision-code", "WA")],
    );
    seed(
        "A",
        &["192.0.2.1"],
        "east",
        &[("aws/geoproximity-coordinates", "49.22,-74.01"), ("aws/geoproximity-bias", "-9")],
    );
    seed(
        "A",
        &["192.0.2.1"],
        "east",
        &[
            ("aws/cidr-collection-id", "c8c02a84-aaaa-bbbb-e0d2-d833a2f80106"),
            ("aws/cidr-location-name", "*"),
        ],
    );
    seed(
        "CNAME",
        &["lb-1.eu-central-1.elb.amazonaws.com"],
        "",
        &[("aws/evaluate-target-health", "false")],
    );
    seed(
        "CNAME",
        &["other.example.com"],
        "",
        &[("alias", "true"), ("aws/target-hosted-zone", "Z1")],
    );
    seed(
        "MX",
        &["10 mail.example.com", "20 mail2.example.com"],
        "",
        &[("zonefold/visibility", "private")],
    );
    seeds
}

fn packed_seeds(endpoints: &[Endpoint], sets: &[RawRecordSet]) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = endpoints
        .iter()
        .step_by(3)
        .map(|endpoint| PackedEndpoint::pack(endpoint).as_bytes().to_vec())
        .collect();
    for set in sets {
        seeds.extend(set.key().ok().map(|key| PackedRecord::pack(&key, set).as_bytes().to_vec()));
    }
    seeds.extend(endpoints.first().map(|endpoint| {
        let packed = PackedEndpoint::pack(endpoint);
        chosen(u8::try_from(packed.parts().0.len()).unwrap_or(0), packed.as_bytes())
    }));
    seeds
}

fn from_agent(message: agent_message::Message) -> v1::AgentMessage {
    v1::AgentMessage { message: Some(message) }
}

fn ingest_seeds(endpoints: &[Endpoint]) -> Vec<Vec<u8>> {
    use agent_message::Message;
    let put = |endpoint: &Endpoint| v1::Put {
        endpoint: Some(endpoint.into()),
        version: Default::default(),
    };
    let operation = |operation| v1::Operation { operation: Some(operation) };
    let put_all = |endpoints: &[Endpoint]| {
        let operations = endpoints
            .iter()
            .map(|endpoint| operation(operation::Operation::Put(put(endpoint))))
            .collect();
        from_agent(Message::Changes(v1::Changes { seq: 0, operations }))
    };
    let del = |endpoint: &Endpoint| {
        let version_seen = version_to_wire(&endpoint.version());
        let del = v1::Del {
            key: Some((&endpoint.key).into()),
            version_seen,
            cause: v1::del::Cause::ObjectDeleted.into(),
        };
        from_agent(Message::Changes(v1::Changes {
            seq: 0,
            operations: vec![operation(operation::Operation::Del(del))],
        }))
    };
    let source =
        |synced| v1::SourceState { kind: "ingress".to_owned(), synced, last_error: String::new() };
    let heartbeat = |synced, root: &'static [u8]| {
        let root_digest = root.into();
        from_agent(Message::Heartbeat(v1::Heartbeat {
            through_seq: 0,
            count: 0,
            root_digest,
            sources: vec![source(synced)],
        }))
    };
    let mut by_name = endpoints.to_vec();
    by_name.sort_by(|a, b| a.key.dns_name.cmp(&b.key.dns_name));
    let snapshot = |by_name: bool, endpoints: &[Endpoint]| {
        let begin =
            v1::SnapshotBegin { seq: 0, count: 0, root_digest: Default::default(), by_name };
        let mut messages = vec![from_agent(Message::SnapshotBegin(begin))];
        for part in endpoints.chunks(3) {
            messages.push(from_agent(Message::SnapshotChunk(v1::SnapshotChunk {
                puts: part.iter().map(put).collect(),
            })));
        }
        messages.push(from_agent(Message::SnapshotEnd(v1::SnapshotEnd {
            sources: vec![source(true)],
        })));
        messages
    };
    let buckets = |buckets: &[u8]| {
        from_agent(Message::BucketDigests(v1::BucketDigests { digests: buckets.to_vec().into() }))
    };
    let keys = |entries: Vec<u8>, last| {
        from_agent(Message::KeyVersions(v1::KeyVersions { entries: entries.into(), last }))
    };
    let entry = |endpoint: &Endpoint| [endpoint.key.hash().0, endpoint.version().0].concat();
    let (Some(first), Some(last)) = (endpoints.first(), endpoints.last()) else {
        return Vec::new();
    };
    let bucket = first.key.hash().0[0];
    vec![
        delimited(
            0xff,
            &[put_all(&endpoints[..1]), heartbeat(true, b""), del(first), heartbeat(true, b"")],
        ),
        delimited(
            0,
            &[
                put_all(endpoints),
                heartbeat(true, b"x"),
                buckets(&[bucket]),
                keys(Vec::new(), true),
                put_all(&endpoints[..2]),
            ],
        ),
        delimited(
            1,
            &[
                put_all(endpoints),
                heartbeat(false, b"x"),
                buckets(&[bucket, 7]),
                keys(entry(first), false),
                keys(entry(last), true),
            ],
        ),
        delimited(0, &snapshot(true, &by_name[..by_name.len().min(9)])),
        delimited(3, &snapshot(false, &endpoints[..endpoints.len().min(5)])),
        delimited(
            0,
            &[
                from_agent(Message::Ping(v1::Ping { nonce: 7 })),
                from_agent(Message::Pong(v1::Pong { nonce: 7 })),
            ],
        ),
    ]
}

fn agent_seeds(endpoints: &[Endpoint]) -> Vec<Vec<u8>> {
    use broker_message::Message;
    let say = |message| v1::BrokerMessage { message: Some(message) };
    let credits = Some(v1::Credits { items: 100, bytes: 1 << 20 });
    let welcome = |mode: v1::welcome::Mode, max_message_bytes| {
        say(Message::Welcome(v1::Welcome {
            epoch: 1,
            mode: mode.into(),
            credits,
            heartbeat_ms: 10_000,
            max_message_bytes,
            ..v1::Welcome::default()
        }))
    };
    let ack = |seq| say(Message::Ack(v1::Ack { seq, credits }));
    let buckets = |buckets: Vec<u32>| say(Message::BucketRequest(v1::BucketRequest { buckets }));
    let bodies = |key_hashes: Vec<u8>| {
        say(Message::BodyRequest(v1::BodyRequest { key_hashes: key_hashes.into(), last: true }))
    };
    let drain = v1::GoAway {
        reason: v1::go_away::Reason::Drain.into(),
        reconnect_after_ms: 500,
        detail: String::new(),
    };
    let hashes = endpoints.iter().take(3).flat_map(|endpoint| endpoint.key.hash().0).collect();
    // The first byte says when the agent speaks, the second when an object moves.
    let session =
        |turns, moves, messages: &[v1::BrokerMessage]| chosen(turns, delimited(moves, messages));
    vec![
        session(0xff, 0, &[welcome(v1::welcome::Mode::Snapshot, 0), ack(1), ack(2)]),
        session(
            0xff,
            3,
            &[
                welcome(v1::welcome::Mode::Resume, 4_096),
                ack(1),
                say(Message::DiffRequest(v1::DiffRequest {})),
            ],
        ),
        session(
            4,
            2,
            &[
                welcome(v1::welcome::Mode::Diff, 1 << 17),
                buckets((0..256).collect()),
                bodies(hashes),
                ack(1),
            ],
        ),
        session(
            2,
            1,
            &[welcome(v1::welcome::Mode::Diff, 1), buckets(vec![]), say(Message::GoAway(drain))],
        ),
        session(
            0,
            0,
            &[say(Message::Ping(v1::Ping { nonce: 1 })), say(Message::Pong(v1::Pong { nonce: 1 }))],
        ),
    ]
}

fn status_seeds(endpoints: &[Endpoint]) -> Vec<Vec<u8>> {
    let status = |endpoint: &Endpoint, at_ms| v1::EndpointStatus {
        key: Some((&endpoint.key).into()),
        version: version_to_wire(&endpoint.version()),
        verdict: v1::VerdictState::Accepted.into(),
        reason: "ACCEPTED".to_owned(),
        progress: v1::Progress::Applied.into(),
        account: "111111111111".to_owned(),
        zone_id: "Z1".to_owned(),
        at_ms,
        ..v1::EndpointStatus::default()
    };
    let statuses: Vec<_> =
        endpoints.iter().zip(1..).map(|(endpoint, at_ms)| status(endpoint, at_ms)).collect();
    let batch = |statuses: &[v1::EndpointStatus], replay_done| v1::StatusBatch {
        statuses: statuses.to_vec(),
        replay_done,
        replay_scope: None,
    };
    let (some, few) = (&statuses[..statuses.len().min(6)], &statuses[..statuses.len().min(2)]);
    let scope = Some(v1::ReplayScope { buckets: (0..128).collect::<Vec<u8>>().into() });
    vec![
        delimited(1, &[batch(some, true), batch(few, false)]),
        delimited(3, &[batch(some, false), batch(few, true)]),
        delimited(
            2,
            &[batch(some, false), v1::StatusBatch { replay_scope: scope, ..batch(few, true) }],
        ),
        vec![7; 64],
    ]
}

fn document(root: &str, content: &str) -> String {
    format!("<?xml version=\"1.0\"?>\n<{root} xmlns=\"{NAMESPACE}\">{content}</{root}>")
}

fn answer_seeds(sets: &[RawRecordSet], messages: &[String]) -> Vec<Vec<u8>> {
    let changes: Vec<_> = sets
        .iter()
        .map(|set| RecordChange { action: ChangeAction::Create, set: set.clone() })
        .collect();
    let written = write_changes(&changes);
    let written_sets: String = written
        .split("<ResourceRecordSet>")
        .skip(1)
        .filter_map(|rest| rest.split_once("</ResourceRecordSet>"))
        .map(|(set, _)| format!("<ResourceRecordSet>{set}</ResourceRecordSet>"))
        .collect();
    let next = "<IsTruncated>true</IsTruncated><NextRecordName>z.</NextRecordName><NextRecordType>A</NextRecordType>\
                <NextRecordIdentifier>east</NextRecordIdentifier><MaxItems>300</MaxItems>";
    let records = document(
        "ListResourceRecordSetsResponse",
        &format!("<ResourceRecordSets>{written_sets}</ResourceRecordSets>{next}"),
    );
    let zone = "<HostedZone><Id>/hostedzone/Z1</Id><Name>example.com.</Name><CallerReference>r</CallerReference><Config><Comment>c\
                </Comment><PrivateZone>false</PrivateZone></Config><ResourceRecordSetCount>2</ResourceRecordSetCount></HostedZone>";
    let zones = format!(
        "<HostedZones>{zone}{zone}</HostedZones><IsTruncated>true</IsTruncated><NextMarker>Z2</NextMarker><MaxItems>100</MaxItems>"
    );
    let tags = "<ResourceTagSets><ResourceTagSet><ResourceType>hostedzone</ResourceType><ResourceId>Z1</ResourceId><Tags><Tag><Key>a\
                </Key><Value>b</Value></Tag></Tags></ResourceTagSet></ResourceTagSets>";
    let info = "<ChangeInfo><Id>/change/C1</Id><Status>INSYNC</Status><SubmittedAt>2026-07-30T09:15:00.250Z</SubmittedAt><Comment>c\
                </Comment></ChangeInfo>";
    let mut seeds = vec![
        chosen(0, document("ListHostedZonesResponse", &zones)),
        chosen(1, document("ListTagsForResourcesResponse", tags)),
        chosen(2, records),
        chosen(3, document("ChangeResourceRecordSetsResponse", info)),
        chosen(4, document("GetChangeResponse", info)),
        chosen(3 + 5 * 5, "<html>502 Bad Gateway</html>"),
    ];
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    for (code, message) in [
        ("InvalidChangeBatch", 3),
        ("InvalidInput", 5),
        ("Throttling", 0),
        ("PriorRequestNotComplete", 1),
    ] {
        let message = messages.get(message).map(|text| escape(text)).unwrap_or_default();
        let error = format!(
            "<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId>"
        );
        seeds.push(chosen(3 + 5, document("ErrorResponse", &error)));
    }
    let listed: String = messages
        .iter()
        .take(4)
        .map(|text| format!("<Message>{}</Message>", escape(text)))
        .collect();
    seeds.push(chosen(
        3 + 5,
        document(
            "InvalidChangeBatch",
            &format!("<Messages>{listed}</Messages><RequestId>r</RequestId>"),
        ),
    ));
    seeds
}

fn refusal_seeds(messages: &[String]) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        messages.iter().filter(|text| text.len() < 400).map(|text| chosen(0, text)).collect();
    seeds.push(chosen(1, "www.example.com\nexample.com\neast"));
    seeds.push(chosen(16, "*.example.com\nexample.com\na b"));
    seeds.push(chosen(
        0,
        format!("[{}]", messages.iter().take(5).cloned().collect::<Vec<_>>().join(", ")),
    ));
    seeds
}

fn request_seeds(sets: &[RawRecordSet]) -> Vec<Vec<u8>> {
    let changes: Vec<_> = sets
        .iter()
        .map(|set| RecordChange { action: ChangeAction::Delete, set: set.clone() })
        .collect();
    let mut seeds: Vec<Vec<u8>> = changes
        .iter()
        .map(|change| chosen(0, write_changes(std::slice::from_ref(change))))
        .collect();
    seeds.push(chosen(0, write_changes(&changes)));
    let zone = "<Name>example.com</Name><CallerReference>r</CallerReference><HostedZoneConfig><Comment>c</Comment><PrivateZone>true\
                </PrivateZone></HostedZoneConfig>";
    seeds.push(chosen(0, document("CreateHostedZoneRequest", zone)));
    let tags = "<AddTags><Tag><Key>a</Key><Value>b</Value></Tag></AddTags><RemoveTagKeys><Key>c</Key></RemoveTagKeys>";
    seeds.push(chosen(0, document("ChangeTagsForResourceRequest", tags)));
    seeds.push(chosen(
        0,
        document(
            "ListTagsForResourcesRequest",
            "<ResourceIds><ResourceId>Z1</ResourceId></ResourceIds>",
        ),
    ));
    seeds.push(chosen(
        0,
        "Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A111111111111%3Arole%2Fa&RoleSessionName=b",
    ));
    seeds.push(chosen(
        2,
        "/2013-04-01/hostedzone/Z1/rrset?name=%5C052.example.com.&type=A&maxitems=300",
    ));
    seeds.push(chosen(6, "/2013-04-01/hostedzone/%2Fhostedzone%2FZ1/rrset/"));
    seeds.push(chosen(2, "/2013-04-01/tags/hostedzone/Z1"));
    seeds.push(chosen(
        3,
        "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260730/us-east-1/route53/aws4_request, SignedHeaders=host;x-amz-date, \
         Signature=0123abcd\n20260730T091500Z\ntoken",
    ));
    seeds
}

fn row_seeds(sets: &[RawRecordSet]) -> Vec<Vec<u8>> {
    let keys: Vec<RecordKey> = sets.iter().filter_map(|set| set.key().ok()).collect();
    let mut seeds: Vec<Vec<u8>> = keys.iter().map(|key| chosen(0, sort_key(key))).collect();
    let row = (Some(7), Some(b"x\0y".to_vec()), Some("text".to_owned()), None);
    seeds.push(chosen(1, page_of(&[row, (Some(-1), None, None, Some(9))])));
    seeds.push(chosen(2, "a.example.com\neast\na-b.example.com\n"));
    seeds.push(chosen(3, r#"{"outcome":"applied","change_id":"C1","request_id":null}"#));
    seeds.push(chosen(
        3,
        r#"{"outcome":"refused","code":"InvalidInput","message":"m","request_id":"r"}"#,
    ));
    if let Some(set) = sets.first().and_then(|set| serde_json::to_string(set).ok()) {
        let key = r#"{"source":"ingress","namespace":"shop","object":"web","dns_name":"www.example.com","record_type":"A","set_identifier":""}"#;
        seeds.push(chosen(
            3,
            format!(
                r#"{{"id":"00000000-0000-0000-0000-000000000001","account":"111111111111","zone":"Z1","planned_at":5,"units":[{{"changes":[{{"key":{{"name":"www.example.com","type":"A"}},"after":{set},"cause":{{"motive":"wanted","cluster":"east","endpoints":[{key}]}}}}]}}],"wire":[{{"action":"CREATE","set":{set}}}]}}"#
            ),
        ));
    }
    seeds
}

fn question_seeds() -> Vec<Vec<u8>> {
    let ask = |name: &str, wanted: WireType| {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        if let Ok(name) = Name::from_ascii(name) {
            message.add_query(Query::query(name, wanted));
        }
        message.to_vec().unwrap_or_default()
    };
    vec![
        ask("example.com.", WireType::MX),
        ask("example.com.", WireType::ANY),
        ask("a.example.com.", WireType::A),
        ask("loop.example.com.", WireType::A),
        ask("x.wild.example.com.", WireType::AAAA),
        ask("w.example.com.", WireType::A),
        ask("alias.example.com.", WireType::A),
        ask("m.example.com.", WireType::A),
        ask("svc.example.com.", WireType::HTTPS),
        ask("nothing.example.org.", WireType::SOA),
        ask("_sip._tcp.example.com.", WireType::SRV),
    ]
}

/// Tokens, headers and claims, key sets.
const SHOWN: &[(u8, &str)] = &[
    (0, "a-token-of-many-characters"),
    (0, "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.eyJpc3MiOiJodHRwczovL2lzc3VlciJ9.AAAA"),
    (
        1,
        "{\"alg\":\"ES256\",\"kid\":\"k\"}\n{\"iss\":\"https://issuer\",\"sub\":\"system:serviceaccount:zonefold:agent\",\"aud\":[\"zonefold\"],\"exp\":1900000000}",
    ),
    (
        1,
        "{\"alg\":\"none\"}\n{\"iss\":\"https://issuer\",\"sub\":\"s\",\"aud\":\"zonefold\",\"exp\":1.5,\"nbf\":2}",
    ),
    (1, "{\"alg\":\"RS256\",\"crit\":[\"b64\"]}\n{}"),
    (
        3,
        "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"r\",\"alg\":\"RS256\",\"use\":\"sig\",\"n\":\"AQAB\",\"e\":\"AQAB\"},{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
    ),
    (
        3,
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}",
    ),
];

/// The names of a canonical form that is written differently.
const NAMES: &[&str] = &[
    "www.example.com",
    "WWW.Example.COM.\nwww.example.com",
    "*.example.com\n\\052.example.com.",
    "_sip._tcp.example.com\nexample.com",
    "a@b.example.com\na\\100b.example.com",
    "b\u{fc}cher.example.com\nxn--bcher-kva.example.com",
    "a\\056b.example.com\nb.example.com",
    "\\000\\377.example.com",
    "a-b.example.com\na.example.com",
    "a..b",
    ".",
];

const IDENTIFIERS: &[&str] = &[
    "dev-east",
    "111111111111",
    "/hostedzone/Z0123ABC",
    "arn:aws:iam::111111111111:role/path/zonefold",
    "arn:aws-cn:iam::111111111111:role/a",
    "*.dev.example.com",
    "1h30m",
    "1.5h",
    "+90",
    "300",
    "postgres://zonefold:secret@db.example.com:5433/zf?sslmode=require",
    "user@db.example.com/zonefold",
    "sqlite:///var/lib/zonefold.db",
    "sqlite::memory:",
    "Www.Example.Com.",
];

const VALUES: &[(RecordType, &str)] = &[
    (RecordType::A, "192.0.2.1\n192.0.2.2"),
    (RecordType::Aaaa, "2001:DB8::0001\n::ffff:192.0.2.1"),
    (RecordType::Caa, "0 issue \"ca.example.net; account=1\"\n128 iodef mailto:a@example.com"),
    (RecordType::Cname, "Target.Example.com"),
    (RecordType::Ds, "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"),
    (RecordType::Https, "1 . alpn=\"h2,h3\" port=443 ipv4hint=192.0.2.1 mandatory=alpn"),
    (RecordType::Mx, "10 mail.example.com\n0 ."),
    (RecordType::Naptr, "100 10 \"u\" \"E2U+sip\" \"!^.*$!sip:a@example.com!\" ."),
    (RecordType::Ns, "ns-1.example.net"),
    (RecordType::Ptr, "host.example.com."),
    (RecordType::Soa, "ns.example.net. admin.example.net. 1 7200 900 1209600 86400"),
    (RecordType::Spf, "\"v=spf1 -all\""),
    (RecordType::Srv, "10 5 5060 sip.example.com\n0 0 0 ."),
    (RecordType::Sshfp, "1 1 dd465c09cfa51fb45020cc83316fff21b9ec74ac"),
    (
        RecordType::Svcb,
        "16 foo.example.com key667=\"hello\\\"world\" ech=AEj+DQ== no-default-alpn alpn=h2",
    ),
    (RecordType::Tlsa, "3 1 1 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"),
    (RecordType::Txt, "\"a\\\"b\\\\c\\101\" \"second\"\nwithout quotes, b\u{fc}cher"),
];

const CONFIGURATIONS: &[&str] = &[
    "agents: {token: 0123456789abcdef}\nstore: sqlite:a.db\n",
    "agents: {token_file: ./token}\nenvironments: [{name: dev}]\nclusters: [{name: dev-east, environment: dev, visibility: private}]\n",
    "agents: {token_file: ./token}\nlog: {format: json, filter: info}\njournal: {keep_days: 30}\naws: {region: eu-central-1}\n",
    "# nothing yet\n",
    "agents: {token: short}\nlisten: {grpc: 0.0.0.0:1}\nenvironments: [{name: a}, {name: a}]\n",
];

const QUERIES: &[(u8, &str)] = &[
    (0, "cluster=dev-east&state=accepted&progress=in_sync&name=www.example.com&limit=5"),
    (
        1,
        "cursor=7b226e616d65223a227777772e6578616d706c652e636f6d222c2274797065223a2241227d&limit=1000",
    ),
    (2, "name=%2A.example.com&zone=Z1&cluster=east&cursor=3132"),
    (3, "environment=dev&account=111111111111&cursor=225a3122"),
    (4, "cursor=22646576"),
    (5, "environment=prod"),
    (6, "limit=1"),
    (7, "2026-07-30T09:15:00.250Z"),
    (7, "www.example.com"),
];

/// Record sets of every policy.
const SETS: &str = r#"[
    {"name": "www.example.com.", "type": "A", "ttl_secs": 60, "values": ["192.0.2.1", "192.0.2.2"]},
    {"name": "\\052.example.com.", "type": "TXT", "ttl_secs": 300, "values": ["\"a\\\"b\" \"c\""]},
    {"name": "w.example.com.", "type": "A", "set_identifier": "east", "weight": 10, "ttl_secs": 60, "values": ["192.0.2.4"]},
    {"name": "l.example.com.", "type": "AAAA", "set_identifier": "e", "region": "eu-central-1", "ttl_secs": 60, "values": ["::1"]},
    {"name": "f.example.com.", "type": "CNAME", "set_identifier": "e", "failover": "PRIMARY", "ttl_secs": 60,
     "values": ["a.example.com."], "health_check_id": "abc"},
    {"name": "g.example.com.", "type": "A", "set_identifier": "e", "ttl_secs": 60, "values": ["192.0.2.5"],
     "geolocation": {"country_code": "DE", "subdivision_code": "BY"}},
    {"name": "p.example.com.", "type": "A", "set_identifier": "e", "ttl_secs": 60, "values": ["192.0.2.6"],
     "geoproximity": {"coordinates": ["49.22", "-74.01"], "bias": -9}},
    {"name": "m.example.com.", "type": "A", "set_identifier": "e", "multivalue_answer": true, "ttl_secs": 60, "values": ["192.0.2.7"]},
    {"name": "c.example.com.", "type": "A", "set_identifier": "e", "ttl_secs": 60, "values": ["192.0.2.8"],
     "cidr": {"collection_id": "c1", "location_name": "*"}},
    {"name": "alias.example.com.", "type": "A",
     "alias": {"zone_id": "Z2FDTNDATAQYW2", "name": "d1.cloudfront.net.", "evaluate_target_health": false}}
]"#;

const MORE_MANIFESTS: &str = "\
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: a, annotations: {external-dns.alpha.kubernetes.io/hostname: 'a.example.com.,b.example.com',
   external-dns.kubernetes.io/ttl: 1h30m, external-dns.kubernetes.io/aws-weight: '10', external-dns.kubernetes.io/set-identifier: east}},
   spec: {type: LoadBalancer}, status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {hostname: lb.example.net}]}}}
- {apiVersion: v1, kind: Service, metadata: {name: b, annotations: {external-dns.kubernetes.io/internal-hostname: c.example.com}},
   spec: {clusterIP: 10.0.0.1}}
--- {apiVersion: k8s.nginx.org/v1, kind: VirtualServer, metadata: {name: n}, spec: {host: n.example.com, externalDNS: {enable: true,
  recordTTL: 60, recordType: A, providerSpecific: [{name: aws/weight, value: '1'}]}}, status: {externalEndpoints: [{ip: 192.0.2.2}]}}
---
apiVersion: cis.f5.com/v1
kind: VirtualServer
metadata: {name: f}
spec: {host: &host f.example.com, hostAliases: [*host, g.example.com], virtualServerAddress: 192.0.2.3}
status: {vsAddress: 192.0.2.3}
";
