//! What a broker may send: messages of any content in any order, put to the agent's end of the stream.

use std::sync::Arc;

use arcstr::ArcStr;
use prost::Message as _;
use zonefold::agent::index::{Index, IndexChange};
use zonefold::agent::session::publisher::{Event, Identity, Publisher};
use zonefold::agent::sources::{ExtractOptions, SourceKind, extract};
use zonefold::agent::{manifests::documents, sources::Object};
use zonefold::wire::v1::{self, agent_message, broker_message};

const MOST_MESSAGES: usize = 24;
/// The least that a broker may name, and what the agent takes when it names less.
const LEAST_MESSAGE_BYTES: usize = 4_096;

/// A few objects of one namespace, with several endpoints each.
const OBJECTS: &str = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec: {rules: [{host: a.example.com}, {host: b.example.com}, {host: c.example.com}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {hostname: lb.example.net}]}}
---
apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata: {name: mail, namespace: shop}
spec:
  endpoints:
  - {dnsName: example.com, recordType: MX, recordTTL: 300, targets: [10 mail.example.com, 20 backup.example.com]}
  - {dnsName: example.com, recordType: TXT, targets: ['\"v=spf1 -all\"']}
";

/// The bytes are messages, each behind its length. The first byte says after which of them the agent gets to speak, and
/// whether an object changes meanwhile.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = super::split_choice(data) else { return };
    let messages: Vec<v1::BrokerMessage> = super::delimited(rest, MOST_MESSAGES);
    let (mut index, first) = index();
    let identity = Identity { cluster: "east".into(), kube_system_uid: "u".into(), instance_id: "i".into() };
    let mut publisher = Publisher::new(identity);
    first.into_iter().for_each(|change| publisher.push(change));
    let mut book = Book::default();
    let hello = publisher.hello(&index);
    assert!(matches!(hello.message, Some(agent_message::Message::Hello(_))));
    for (number, message) in messages.into_iter().enumerate() {
        book.received(&message);
        match publisher.receive(&index, message) {
            Ok(Event::Deleted(keys)) => assert!(keys.iter().all(|key| index.get(key).is_none())),
            Ok(_) => {}
            // The session ends, and the next one starts over.
            Err(error) => {
                assert!(!error.to_string().is_empty());
                publisher.disconnected();
                publisher.hello(&index);
                book = Book::default();
            }
        }
        if choice >> (number % 8) & 1 == 1 {
            publisher.heartbeat(&index);
            book.listen(&mut publisher, &index);
            change(&mut index).into_iter().for_each(|change| publisher.push(change));
        }
    }
    book.listen(&mut publisher, &index);
    assert!(publisher.outbox_len() <= 16, "one change a key");
}

fn objects() -> Vec<Arc<Object>> {
    documents::read(OBJECTS.as_bytes()).objects.into_iter().map(|placed| Arc::new(placed.object)).collect()
}

fn index() -> (Index, Vec<IndexChange>) {
    thread_local! {
        static OBJECTS_READ: Vec<Arc<Object>> = objects();
    }
    let mut index = Index::new([SourceKind::Ingress, SourceKind::DnsEndpoint]);
    let mut changes = Vec::new();
    OBJECTS_READ.with(|objects| {
        for object in objects {
            let extraction = extract(object, ExtractOptions::default());
            changes.extend(index.apply(object.reference(), &ArcStr::from("file.yaml"), extraction));
        }
    });
    index.listed();
    (index, changes)
}

/// The first object goes, or comes back.
fn change(index: &mut Index) -> Vec<IndexChange> {
    let Some(held) = index.iter().next().map(|(_, held)| held.clone()) else { return index_again(index) };
    index.delete(&held.object)
}

fn index_again(index: &mut Index) -> Vec<IndexChange> {
    let (again, changes) = self::index();
    *index = again;
    changes
}

/// What the broker granted and what was sent for it.
#[derive(Default)]
struct Book {
    items: u64,
    message_bytes: usize,
    last_seq: Option<u64>,
    live: bool,
}

impl Book {
    fn received(&mut self, message: &v1::BrokerMessage) {
        let credits = match &message.message {
            Some(broker_message::Message::Welcome(welcome)) if !self.live => {
                self.live = true;
                self.message_bytes = match welcome.max_message_bytes as usize {
                    0 => 1 << 20,
                    bytes => bytes.max(LEAST_MESSAGE_BYTES),
                };
                welcome.credits
            }
            Some(broker_message::Message::Ack(ack)) => ack.credits,
            _ => None,
        };
        self.items = self.items.saturating_add(u64::from(credits.unwrap_or_default().items));
    }

    /// Everything that the agent says now: within its credits, in messages of the size that was named, in sequence.
    fn listen(&mut self, publisher: &mut Publisher, index: &Index) {
        let mut said = 0;
        while let Some(message) = publisher.next(index) {
            said += 1;
            assert!(said < 1_000, "it never stops speaking");
            let bytes = message.encoded_len();
            match message.message.expect("the agent says something") {
                agent_message::Message::Changes(changes) => {
                    assert!(bytes <= self.message_bytes || changes.operations.len() == 1, "{bytes}");
                    assert!(!changes.operations.is_empty());
                    self.next_seq(changes.seq);
                    let items = changes.operations.len() as u64;
                    assert!(items <= self.items, "{items} operations for {} credits", self.items);
                    self.items -= items;
                }
                agent_message::Message::SnapshotBegin(begin) => self.next_seq(begin.seq),
                agent_message::Message::SnapshotChunk(chunk) => assert!(bytes <= self.message_bytes || chunk.puts.len() == 1),
                agent_message::Message::KeyVersions(_) => assert!(bytes <= self.message_bytes, "{bytes}"),
                agent_message::Message::Hello(_) => panic!("Hello comes once"),
                _ => {}
            }
        }
    }

    fn next_seq(&mut self, seq: u64) {
        assert_eq!(seq, self.last_seq.map_or(1, |last| last + 1));
        self.last_seq = Some(seq);
    }
}
