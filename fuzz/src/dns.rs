//! DNS messages to the emulated name servers.

use std::cell::RefCell;

use hickory_proto::op::{Message, ResponseCode};
use zonefold::core::dns::name::DnsName;
use zonefold::emulator::offline::{OFFLINE_ZONE, OfflineNameServer, write_changes};
use zonefold::emulator::{ChangeAction, RecordChange};

/// What the zone `example.com` holds: a set of each kind that answers differently.
const RECORDS: &str = r#"[
    {"name": "example.com.", "type": "A", "ttl_secs": 60, "values": ["192.0.2.1", "192.0.2.2"]},
    {"name": "example.com.", "type": "MX", "ttl_secs": 60, "values": ["10 mail.example.com."]},
    {"name": "example.com.", "type": "TXT", "ttl_secs": 60, "values": ["\"a\\\"b\" \"c\""]},
    {"name": "example.com.", "type": "CAA", "ttl_secs": 60, "values": ["0 issue \"ca.example.net\""]},
    {"name": "_sip._tcp.example.com.", "type": "SRV", "ttl_secs": 60, "values": ["1 10 5060 sip.example.com."]},
    {"name": "svc.example.com.", "type": "HTTPS", "ttl_secs": 60, "values": ["1 . alpn=\"h2\""]},
    {"name": "\\052.example.com.", "type": "A", "ttl_secs": 60, "values": ["192.0.2.3"]},
    {"name": "\\052.wild.example.com.", "type": "CNAME", "ttl_secs": 60, "values": ["a.example.com."]},
    {"name": "a.example.com.", "type": "CNAME", "ttl_secs": 60, "values": ["b.example.com."]},
    {"name": "b.example.com.", "type": "CNAME", "ttl_secs": 60, "values": ["c.example.com."]},
    {"name": "\\052.loop.example.com.", "type": "CNAME", "ttl_secs": 60, "values": ["a.loop.example.com."]},
    {"name": "cut.example.com.", "type": "NS", "ttl_secs": 60, "values": ["ns.cut.example.com.", "ns.example.net."]},
    {"name": "ns.cut.example.com.", "type": "A", "ttl_secs": 60, "values": ["192.0.2.7"]},
    {"name": "w.example.com.", "type": "A", "set_identifier": "1", "weight": 0, "ttl_secs": 60, "values": ["192.0.2.4"]},
    {"name": "w.example.com.", "type": "A", "set_identifier": "2", "weight": 5, "ttl_secs": 60, "values": ["192.0.2.5"]},
    {"name": "m.example.com.", "type": "A", "set_identifier": "1", "multivalue_answer": true, "ttl_secs": 60,
     "values": ["192.0.2.6"]},
    {"name": "alias.example.com.", "type": "A",
     "alias": {"zone_id": "ZOFFLINE", "name": "example.com.", "evaluate_target_health": false}},
    {"name": "a\\100b.example.com.", "type": "AAAA", "ttl_secs": 60, "values": ["2001:db8::1"]}
]"#;

thread_local! {
    static SERVER: RefCell<OfflineNameServer> = RefCell::new(server());
}

fn server() -> OfflineNameServer {
    let sets: Vec<_> = serde_json::from_str(RECORDS).unwrap();
    let changes: Vec<_> =
        sets.into_iter().map(|set| RecordChange { action: ChangeAction::Create, set }).collect();
    assert!(write_changes(&changes).contains(OFFLINE_ZONE));
    OfflineNameServer::new(DnsName::parse("example.com").unwrap(), &changes).unwrap()
}

/// The bytes are a message.
pub fn run(data: &[u8]) {
    let Some(answer) = SERVER.with_borrow_mut(|server| server.answer(data)) else { return };
    let answer = Message::from_vec(&answer).expect("an answer is a message");
    assert_eq!(answer.metadata.id.to_be_bytes()[..], data[..2]);
    assert!(answer.answers.len() <= 64 && answer.authorities.len() <= 2);
    // Below a delegation nothing is answered but where to ask.
    if let Some(question) = answer.queries.first() {
        let cut = hickory_proto::rr::Name::from_ascii("cut.example.com.").unwrap();
        let is_below = cut.zone_of(question.name()) && !answer.authorities.is_empty();
        assert!(!is_below || answer.answers.is_empty());
    }
    if answer.metadata.response_code == ResponseCode::NXDomain {
        assert_eq!(answer.authorities.len(), 1, "the zone's SOA says how long that holds");
    }
    if let (Some(question), Some(first)) = (answer.queries.first(), answer.answers.first()) {
        assert_eq!(
            first.name.to_lowercase(),
            question.name().to_lowercase(),
            "the first record is of the name that was asked for"
        );
    }
}
