//! The emulator's readers without its ports: bodies, targets and headers of requests, names and values, and DNS messages.
//!
//! It is how tests and fuzz targets put any bytes where AWS or a name server would get them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::Name;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;
use http::{HeaderMap, Method};

use super::action::{Action, Service};
use super::clock::EmulatorClock;
use super::config::{AccountConfig, ClockMode, EmulatorConfig, ZoneConfig};
use super::error::AwsError;
use super::journal::Journal;
pub use super::messages::Subject;
use super::request::RecordChange;
use super::state::EmulatorState;
use super::xml_write::Xml;
use super::{call, dns_answer, messages, names, request, sigv4, sts, values};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordType;
use crate::core::ids::{AccountId, ZoneId};

/// Reads a name as the emulator does.
///
/// # Errors
/// Route 53's text.
pub fn read_name(text: &str) -> Result<DnsName, String> {
    names::read_name(text)
}

/// Checks a record value as the emulator does.
///
/// # Errors
/// Route 53's text.
pub fn check_value(rtype: RecordType, value: &str) -> Result<(), String> {
    values::check(rtype, value)
}

/// Reads the body of ChangeResourceRecordSets.
///
/// # Errors
/// Route 53's refusal.
pub fn read_changes(body: &str) -> Result<Vec<RecordChange>, AwsError> {
    request::change_request(body).map(|request| request.changes)
}

/// The body of ChangeResourceRecordSets that says these changes.
pub fn write_changes(changes: &[RecordChange]) -> String {
    Xml::document(Service::Route53, "ChangeResourceRecordSetsRequest", |xml| {
        xml.element("ChangeBatch", |xml| {
            xml.element("Changes", |xml| {
                for change in changes {
                    xml.element("Change", |xml| {
                        xml.text("Action", change.action.as_str());
                        xml.record_set(&change.set);
                    });
                }
            });
        });
    })
}

/// Reads a body as that of each other operation that has one; answers how many of them it is.
pub fn read_other_bodies(body: &str) -> usize {
    let mut read = 0;
    read += usize::from(request::create_zone_request(body).is_ok());
    read += usize::from(request::tags_request(body).is_ok());
    read += usize::from(request::tags_batch_request(body).is_ok());
    read + usize::from(sts::action_of(body).is_some() && !call::form(body).is_empty())
}

/// The target of a request.
pub struct Target {
    /// The operation.
    pub action: Action,
    /// The zone or other part of the path.
    pub zone: Option<String>,
    /// The parameters of the query after `?`.
    pub parameters: Vec<(String, String)>,
}

/// Reads the target from a method and a path; `None` if there is no such operation.
pub fn read_target(method: &Method, target: &str) -> Option<Target> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (action, zone, _) = call::route(method, path)?;
    Some(Target { action, zone, parameters: call::query(query) })
}

/// The access key that the headers of a request claim.
///
/// # Errors
/// AWS's refusal.
pub fn read_claim(headers: &HeaderMap) -> Result<String, AwsError> {
    sigv4::claim(headers).map(|claim| claim.access_key_id)
}

/// Every sentence with which a batch is refused and that names the set that is at fault.
pub fn sentences_about(of: &Subject<'_>, zone: &DnsName) -> Vec<String> {
    let in_change = messages::in_change("CREATE", of.name, of.rtype, of.set_identifier);
    let mut sentences = vec![
        messages::already_exists(of),
        messages::not_found(of),
        messages::values_differ(of),
        messages::over_cname(of, zone.as_str()),
        messages::outside_zone(of.name, zone.as_str()),
        messages::simple_beside_others(of),
        messages::loops(of),
        messages::alias_not_for_type(of),
        messages::duplicate_in_batch(of.rtype, of.name),
        messages::too_many_sets_of_policy(of, "weighted"),
        messages::wrong_content("more than one", &in_change),
        messages::wrong_policy("none", &in_change),
        messages::missing_set_identifier(&in_change),
    ];
    if of.set_identifier.is_some() {
        sentences.push(messages::other_policy_exists(of, "weighted"));
        sentences.push(messages::multivalue_beside_others(of));
        sentences.push(messages::latency_region_taken(of, "us-east-1"));
        sentences.push(messages::weighted_ttl_differs(of));
        sentences.push(messages::latency_beside_others(of, "us-east-1"));
        sentences.push(messages::geo_beside_others(of, "country = (JP, Japan)"));
        sentences.push(messages::geo_place_taken(of, "country = (JP, Japan)"));
        sentences.push(messages::cidr_in_private_zone(of));
        sentences.push(messages::policy_not_for_type(of));
        sentences.push(messages::primary_alias_without_health(of));
    }
    sentences
}

/// Name servers without sockets: one zone and what is published in it.
pub struct OfflineNameServer {
    world: EmulatorState,
}

/// The id of the zone of [`OfflineNameServer`].
pub const OFFLINE_ZONE: &str = "ZOFFLINE";

impl OfflineNameServer {
    /// Serves the zone `apex` with what these changes make of it.
    ///
    /// # Errors
    /// The changes are refused as Route 53 would refuse them, or [`OFFLINE_ZONE`] is no zone id.
    pub fn new(apex: DnsName, changes: &[RecordChange]) -> Result<Self, String> {
        let zone = ZoneId::parse(OFFLINE_ZONE).map_err(|error| error.to_string())?;
        let mut account = AccountConfig::new(
            AccountId::parse("111111111111").map_err(|error| error.to_string())?,
        );
        account.zones.push(ZoneConfig {
            name: apex,
            id: Some(zone.clone()),
            private: false,
            tags: Default::default(),
        });
        let clock = ClockMode::Stepped { start_ms: 0 };
        let config = EmulatorConfig {
            accounts: vec![account],
            clock,
            propagation_ms: 0,
            ..EmulatorConfig::default()
        };
        let mut world =
            EmulatorState::new(config, Arc::new(EmulatorClock::new(clock)), Journal::default());
        world.foreign_write(&zone, changes).map_err(|error| error.message)?;
        Ok(Self { world })
    }

    /// Answers a DNS message; `None` if it is not a request, which a server leaves without an answer.
    pub fn answer(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
        let request = Request::from_bytes(message.to_vec(), from, Protocol::Udp).ok()?;
        let mut response = Message::new(request.metadata.id, MessageType::Response, OpCode::Query);
        match request.request_info() {
            Ok(info) => {
                let (name, wanted) = (info.query.name(), info.query.query_type());
                let answer = dns_answer::answer(&mut self.world, name, wanted);
                response.add_query(Query::query(Name::from(name), wanted));
                response.metadata.response_code = answer.code;
                response.metadata.authoritative = answer.authoritative;
                response.add_answers(answer.answers);
                response.add_authorities(answer.authority);
                response.add_additionals(answer.additional);
            }
            Err(_) => response.metadata.response_code = ResponseCode::FormErr,
        }
        response.to_vec().ok()
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::RecordType as WireType;

    use super::*;
    use crate::core::dns::record::RawRecordSet;
    use crate::core::testkit::name;
    use crate::emulator::ChangeAction;

    fn creates(set: RawRecordSet) -> Vec<RecordChange> {
        vec![RecordChange { action: ChangeAction::Create, set }]
    }

    fn wildcard() -> RawRecordSet {
        RawRecordSet {
            name: "\\052.example.com.".into(),
            rtype: "A".into(),
            ttl_secs: Some(60),
            values: vec!["192.0.2.1".into()],
            ..RawRecordSet::default()
        }
    }

    #[test]
    fn changes_are_read_as_they_were_written() {
        let changes = creates(wildcard());
        assert_eq!(read_changes(&write_changes(&changes)).unwrap(), changes);
    }

    #[test]
    fn a_question_is_answered_without_a_socket() {
        let mut server = OfflineNameServer::new(name("example.com"), &creates(wildcard())).unwrap();
        let mut question = Message::new(7, MessageType::Query, OpCode::Query);
        question
            .add_query(Query::query(Name::from_ascii("www.example.com.").unwrap(), WireType::A));
        let answer =
            Message::from_vec(&server.answer(&question.to_vec().unwrap()).unwrap()).unwrap();
        assert_eq!(answer.answers.len(), 1);
        assert_eq!(answer.answers[0].name.to_string(), "www.example.com.");
        assert!(server.answer(b"x").is_none());
    }
}
