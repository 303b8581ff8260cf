//! The emulator's DNS view, over UDP and TCP.

use std::net::SocketAddr;

use aws_sdk_route53::types::ChangeAction::Create;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use zonefold::core::dns::record::{RawAlias, RawRecordSet};
use zonefold::emulator::{ChangeAction, EmulatorHandle, RecordChange, ZoneConfig};

use crate::emulator::support::*;

fn question(owner: &str, rtype: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(owner).unwrap(), rtype));
    message.to_vec().unwrap()
}

async fn udp(server: SocketAddr, owner: &str, rtype: RecordType) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&question(owner, rtype), server).await.unwrap();
    let mut buffer = [0; 4_096];
    let (length, _) = socket.recv_from(&mut buffer).await.unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn tcp(server: SocketAddr, owner: &str, rtype: RecordType) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let question = question(owner, rtype);
    stream.write_u16(question.len() as u16).await.unwrap();
    stream.write_all(&question).await.unwrap();
    let length = stream.read_u16().await.unwrap();
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn put(emulator: &EmulatorHandle, owner: &str, rtype: &str, values: &[&str]) {
    let set = RawRecordSet {
        name: owner.into(),
        rtype: rtype.into(),
        ttl_secs: Some(60),
        values: values.iter().map(|value| arcstr::ArcStr::from(*value)).collect(),
        ..RawRecordSet::default()
    };
    write(emulator, set);
}

fn write(emulator: &EmulatorHandle, set: RawRecordSet) {
    let change = RecordChange { action: ChangeAction::Create, set };
    emulator.control().foreign_write(&ZONE.parse().unwrap(), &[change]).unwrap();
}

fn alias(owner: &str, zone: &str, target: &str) -> RawRecordSet {
    let alias =
        RawAlias { zone_id: zone.into(), name: target.into(), evaluate_target_health: false };
    RawRecordSet {
        name: owner.into(),
        rtype: "A".into(),
        alias: Some(alias),
        ..RawRecordSet::default()
    }
}

/// The data of the answers, in order.
fn data(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

#[tokio::test]
async fn udp_and_tcp_answer_what_has_propagated() {
    let mut config = config();
    config.propagation_ms = 30_000;
    let emulator = start(config).await;
    let server = emulator.bound().dns_addr.unwrap();
    let client = route53(&emulator, user());
    change(&client, vec![(Create, a_set("www.example.com", 60, &["192.0.2.1", "192.0.2.2"]))])
        .await
        .unwrap();
    let early = udp(server, "www.example.com.", RecordType::A).await;
    assert_eq!(early.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(early.authorities[0].record_type(), RecordType::SOA);
    emulator.control().step(30_000);
    for message in [
        udp(server, "WWW.example.com.", RecordType::A).await,
        tcp(server, "www.example.com.", RecordType::A).await,
    ] {
        assert_eq!(data(&message), ["192.0.2.1", "192.0.2.2"]);
        assert!(message.metadata.authoritative);
        assert_eq!(message.answers[0].ttl, 60);
    }
    emulator.stop().await;
}

#[tokio::test]
async fn types_chains_and_aliases_resolve() {
    let emulator = start(config()).await;
    let server = emulator.bound().dns_addr.unwrap();
    put(&emulator, "a.example.com", "A", &["192.0.2.1"]);
    put(&emulator, "c.example.com", "CNAME", &["a.example.com"]);
    put(&emulator, "t.example.com", "TXT", &["\"one\" \"two\""]);
    put(&emulator, "t2.example.com", "TXT", &["\"first\"\"second\""]);
    put(&emulator, "m.example.com", "MX", &["10 a.example.com"]);
    put(&emulator, "s.example.com", "SRV", &["1 2 443 a.example.com."]);
    put(&emulator, "six.example.com", "AAAA", &["2001:db8::1"]);
    put(&emulator, "caa.example.com", "CAA", &["0 issue \"ca.example.net\""]);
    write(&emulator, alias("in.example.com", ZONE, "a.example.com"));
    write(&emulator, alias("out.example.com", "Z35SXDOTRQ7X7K", "lb.us-east-1.elb.amazonaws.com"));

    let chain = udp(server, "c.example.com.", RecordType::A).await;
    assert_eq!(data(&chain), ["a.example.com.", "192.0.2.1"]);
    assert_eq!(data(&udp(server, "in.example.com.", RecordType::A).await), ["192.0.2.1"]);
    let outside = data(&udp(server, "out.example.com.", RecordType::A).await);
    assert!(outside[0].starts_with("198.51.100."), "{outside:?}");
    assert_eq!(data(&udp(server, "out.example.com.", RecordType::A).await), outside);
    for (owner, rtype) in [
        ("t.example.com.", RecordType::TXT),
        ("m.example.com.", RecordType::MX),
        ("s.example.com.", RecordType::SRV),
        ("six.example.com.", RecordType::AAAA),
        ("caa.example.com.", RecordType::CAA),
        ("example.com.", RecordType::SOA),
    ] {
        assert_eq!(udp(server, owner, rtype).await.answers.len(), 1, "{owner}");
    }
    assert_eq!(udp(server, "example.com.", RecordType::NS).await.answers.len(), 4);
    let strings = udp(server, "t2.example.com.", RecordType::TXT).await;
    let hickory_proto::rr::RData::TXT(text) = &strings.answers[0].data else { panic!("{strings}") };
    assert_eq!(
        text.txt_data.iter().map(|s| s.to_vec()).collect::<Vec<_>>(),
        [b"first".to_vec(), b"second".to_vec()]
    );
    let nodata = udp(server, "a.example.com.", RecordType::MX).await;
    assert_eq!((nodata.metadata.response_code, nodata.answers.len()), (ResponseCode::NoError, 0));
    let foreign = udp(server, "example.invalid.", RecordType::A).await;
    assert_eq!(foreign.metadata.response_code, ResponseCode::Refused);
    emulator.stop().await;
}

#[tokio::test]
async fn rfc4592_a_wildcard_answers_only_below_its_closest_encloser() {
    let emulator = start(config()).await;
    let server = emulator.bound().dns_addr.unwrap();
    put(&emulator, "*.example.com", "A", &["192.0.2.1"]);
    put(&emulator, "host.sub.example.com", "A", &["192.0.2.2"]);
    let found = udp(server, "any.example.com.", RecordType::A).await;
    assert_eq!(data(&found), ["192.0.2.1"]);
    assert_eq!(found.answers[0].name.to_ascii(), "any.example.com.");
    assert_eq!(data(&udp(server, "x.y.example.com.", RecordType::A).await), ["192.0.2.1"]);
    // `sub` exists because something lies below it, so the wildcard does not reach there.
    let empty = udp(server, "sub.example.com.", RecordType::A).await;
    assert_eq!((empty.metadata.response_code, empty.answers.len()), (ResponseCode::NoError, 0));
    let below = udp(server, "other.sub.example.com.", RecordType::A).await;
    assert_eq!(below.metadata.response_code, ResponseCode::NXDomain);
    emulator.stop().await;
}

#[tokio::test]
async fn weighted_sets_answer_by_their_weight() {
    let emulator = start(config()).await;
    let server = emulator.bound().dns_addr.unwrap();
    for (set, weight, address) in
        [("east", 3, "192.0.2.1"), ("west", 1, "192.0.2.2"), ("off", 0, "192.0.2.3")]
    {
        write(
            &emulator,
            RawRecordSet {
                name: "w.example.com".into(),
                rtype: "A".into(),
                ttl_secs: Some(60),
                values: vec![address.into()],
                set_identifier: Some(set.into()),
                weight: Some(weight),
                ..RawRecordSet::default()
            },
        );
    }
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..200 {
        *counts
            .entry(data(&udp(server, "w.example.com.", RecordType::A).await).remove(0))
            .or_insert(0) += 1;
    }
    assert!(!counts.contains_key("192.0.2.3"));
    assert!((120..=180).contains(&counts["192.0.2.1"]), "{counts:?} with seed 1");
    emulator.stop().await;
}

/// The owner names and data of records.
fn sorted(records: &[hickory_proto::rr::Record]) -> Vec<String> {
    let mut texts: Vec<String> =
        records.iter().map(|record| format!("{} {}", record.name, record.data)).collect();
    texts.sort();
    texts
}

#[tokio::test]
async fn rfc1034_4_3_2_below_a_delegation_the_parent_refers_and_never_answers() {
    let emulator = start(config()).await;
    let server = emulator.bound().dns_addr.unwrap();
    put(&emulator, "ext.example.com", "NS", &["ns1.ext.example.com", "ns.example.net"]);
    put(&emulator, "ns1.ext.example.com", "A", &["192.0.2.53"]);
    put(&emulator, "app.ext.example.com", "A", &["192.0.2.60"]);
    put(&emulator, "deep.ext.example.com", "NS", &["ns.example.org"]);
    put(&emulator, "to.example.com", "CNAME", &["app.ext.example.com"]);
    for (owner, rtype) in [
        ("app.ext.example.com.", RecordType::A),
        ("none.ext.example.com.", RecordType::A),
        ("ext.example.com.", RecordType::A),
        ("ext.example.com.", RecordType::NS),
        ("ns1.ext.example.com.", RecordType::A),
        ("a.deep.ext.example.com.", RecordType::A),
    ] {
        let referral = udp(server, owner, rtype).await;
        assert_eq!(referral.metadata.response_code, ResponseCode::NoError, "{owner} {rtype}");
        assert!(!referral.metadata.authoritative, "{owner} {rtype}");
        assert!(referral.answers.is_empty(), "{owner} {rtype}: {:?}", referral.answers);
        assert_eq!(
            sorted(&referral.authorities),
            ["ext.example.com. ns.example.net.", "ext.example.com. ns1.ext.example.com."],
            "{owner} {rtype}"
        );
        assert_eq!(sorted(&referral.additionals), ["ns1.ext.example.com. 192.0.2.53"]);
    }
    let chain = udp(server, "to.example.com.", RecordType::A).await;
    assert_eq!(data(&chain), ["app.ext.example.com."]);
    assert_eq!((chain.metadata.authoritative, chain.authorities.len()), (true, 2));
    emulator.stop().await;
}

#[tokio::test]
async fn rfc4035_2_4_ds_is_answered_by_the_parent() {
    let mut config = config();
    config.accounts[0].zones.push(ZoneConfig::public(name("own.example.com")));
    let emulator = start(config).await;
    let server = emulator.bound().dns_addr.unwrap();
    let ds = format!("12345 13 2 {}", "AB".repeat(32));
    for cut in ["own.example.com", "ext.example.com"] {
        put(&emulator, cut, "NS", &["ns.example.net"]);
        put(&emulator, cut, "DS", &[&ds]);
        let answer = udp(server, &format!("{cut}."), RecordType::DS).await;
        assert_eq!(answer.answers.len(), 1, "{cut}");
        assert!(answer.metadata.authoritative, "{cut}");
    }
    put(&emulator, "bare.example.com", "NS", &["ns.example.net"]);
    let none = udp(server, "bare.example.com.", RecordType::DS).await;
    assert_eq!((none.metadata.response_code, none.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(sorted(&none.authorities).len(), 1);
    assert_eq!(none.authorities[0].name.to_ascii(), "example.com.");
    // The child answers the rest for itself.
    let own = udp(server, "own.example.com.", RecordType::NS).await;
    assert_eq!((own.answers.len(), own.metadata.authoritative), (4, true));
    emulator.stop().await;
}

#[tokio::test]
async fn a_loop_of_cnames_ends_and_a_chain_keeps_what_it_found() {
    let emulator = start(config()).await;
    let server = emulator.bound().dns_addr.unwrap();
    put(&emulator, "*.loop.example.com", "CNAME", &["a.loop.example.com"]);
    let looped = udp(server, "x.loop.example.com.", RecordType::A).await;
    assert_eq!(data(&looped), ["a.loop.example.com.", "a.loop.example.com."]);
    assert_eq!(looped.metadata.response_code, ResponseCode::NoError);
    put(&emulator, "c.example.com", "CNAME", &["gone.example.com"]);
    let broken = udp(server, "c.example.com.", RecordType::A).await;
    assert_eq!(broken.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!((data(&broken), broken.authorities.len()), (vec!["gone.example.com.".into()], 1));
    let all = udp(server, "c.example.com.", RecordType::ANY).await;
    assert_eq!(data(&all), ["gone.example.com."]);
    assert_eq!(all.metadata.response_code, ResponseCode::NoError);
    emulator.stop().await;
}

#[tokio::test]
async fn rfc4592_2_1_1_a_star_is_a_wildcard_only_as_the_whole_leftmost_label() {
    let emulator = start(config()).await;
    let server = emulator.bound().dns_addr.unwrap();
    put(&emulator, "a.*.example.com", "A", &["192.0.2.1"]);
    put(&emulator, "*b.example.com", "A", &["192.0.2.2"]);
    put(&emulator, "*.w.example.com", "A", &["192.0.2.3"]);
    put(&emulator, "*.w.example.com", "TXT", &["\"w\""]);
    let code = |message: &Message| message.metadata.response_code;
    let ask = async |owner: &str, rtype| udp(server, owner, rtype).await;
    assert_eq!(data(&ask("a.*.example.com.", RecordType::A).await), ["192.0.2.1"]);
    assert_eq!(data(&ask("*b.example.com.", RecordType::A).await), ["192.0.2.2"]);
    assert_eq!(code(&ask("xb.w2.example.com.", RecordType::A).await), ResponseCode::NoError);
    // `*.example.com` exists, since something lies below it, and holds nothing: no data for what it covers (§4.4).
    for owner in ["x.example.com.", "xb.example.com.", "a.x.example.com."] {
        let nodata = ask(owner, RecordType::A).await;
        assert_eq!((code(&nodata), nodata.answers.len()), (ResponseCode::NoError, 0), "{owner}");
    }
    // The star itself can be asked for, and what it covers has its types and no others.
    assert_eq!(data(&ask("*.w.example.com.", RecordType::A).await), ["192.0.2.3"]);
    assert_eq!(ask("x.w.example.com.", RecordType::TXT).await.answers.len(), 1);
    let nodata = ask("x.w.example.com.", RecordType::MX).await;
    assert_eq!((code(&nodata), nodata.answers.len()), (ResponseCode::NoError, 0));
    // A name that exists is not covered, whatever its types (§2.2.1).
    put(&emulator, "t.w.example.com", "TXT", &["\"t\""]);
    let own = ask("t.w.example.com.", RecordType::A).await;
    assert_eq!((code(&own), own.answers.len()), (ResponseCode::NoError, 0));
    emulator.stop().await;
}
