//! What a broker may send: messages of any content in any order, put to the agent's end of the stream.

use std::cell::RefCell;

use arcstr::ArcStr;
use prost::Message as _;
use zonefold::agent::index::{Index, IndexChange};
use zonefold::agent::manifests::documents;
use zonefold::agent::session::publisher::{Identity, Publisher};
use zonefold::agent::sources::{
    ExtractOptions, Extraction, Object, ObjectRef, SourceKind, extract,
};
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

thread_local! {
    static WISHES: RefCell<Wishes> = RefCell::new(Wishes::read());
}

/// The bytes are messages, each behind its length. The first byte says after which of them the agent gets to speak, the second
/// after which of them an object goes or comes back.
pub fn run(data: &[u8]) {
    let Some((turns, rest)) = super::split_choice(data) else { return };
    let Some((moves, rest)) = super::split_choice(rest) else { return };
    let messages: Vec<v1::BrokerMessage> = super::delimited(rest, MOST_MESSAGES);
    WISHES.with_borrow_mut(|parsed| {
        hold(parsed, messages, turns, moves);
        parsed.come_back();
    });
}

fn hold(parsed: &mut Wishes, messages: Vec<v1::BrokerMessage>, turns: usize, moves: usize) {
    let identity =
        Identity { cluster: "east".into(), kube_system_uid: "u".into(), instance_id: "i".into() };
    let mut publisher = Publisher::new(identity);
    let mut book = Book::default();
    publisher.hello(&parsed.index);
    for (number, message) in messages.into_iter().enumerate() {
        book.received(&message);
        // The session ends with an error, and the next one starts over.
        if let Err(error) = publisher.receive(&parsed.index, message) {
            assert!(!error.to_string().is_empty());
            publisher.disconnected();
            publisher.hello(&parsed.index);
            book = Book::default();
        }
        if moves >> (number % 8) & 1 == 1 {
            parsed.change().into_iter().for_each(|change| publisher.push(change));
        }
        if turns >> (number % 8) & 1 == 1 {
            publisher.heartbeat(&parsed.index);
            book.listen(&mut publisher, &parsed.index);
        }
    }
    book.listen(&mut publisher, &parsed.index);
    assert!(publisher.outbox_len() <= parsed.keys, "one change a key");
}

/// What the cluster wants.
struct Wishes {
    index: Index,
    objects: Vec<(ObjectRef, Extraction)>,
    /// How many keys there are when every object is there.
    keys: usize,
    /// Whether the first object is gone.
    is_gone: bool,
}

impl Wishes {
    fn read() -> Self {
        let objects = documents::read(OBJECTS.as_bytes()).objects;
        let read = |object: &Object| {
            (object.reference().clone(), extract(object, ExtractOptions::default()))
        };
        let objects: Vec<_> = objects.iter().map(|placed| read(&placed.object)).collect();
        let mut parsed =
            Self { index: Index::new(SourceKind::ALL), keys: 0, objects, is_gone: true };
        for at in 0..parsed.objects.len() {
            parsed.apply(at);
        }
        parsed.index.listed();
        parsed.is_gone = false;
        parsed.keys = parsed.index.iter().count();
        parsed
    }

    fn apply(&mut self, at: usize) -> Vec<IndexChange> {
        let (reference, extraction) = &self.objects[at];
        self.index.apply(reference, &ArcStr::from("file.yaml"), extraction.clone())
    }

    /// The first object goes, or comes back.
    fn change(&mut self) -> Vec<IndexChange> {
        self.is_gone = !self.is_gone;
        if self.is_gone { self.index.delete(&self.objects[0].0) } else { self.apply(0) }
    }

    fn come_back(&mut self) {
        if self.is_gone {
            self.change();
        }
    }
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
                    assert!(
                        bytes <= self.message_bytes || changes.operations.len() == 1,
                        "{bytes}"
                    );
                    assert!(!changes.operations.is_empty());
                    self.next_seq(changes.seq);
                    let items = changes.operations.len() as u64;
                    assert!(items <= self.items, "{items} operations for {} credits", self.items);
                    self.items -= items;
                }
                agent_message::Message::SnapshotBegin(begin) => self.next_seq(begin.seq),
                agent_message::Message::SnapshotChunk(chunk) => {
                    assert!(bytes <= self.message_bytes || chunk.puts.len() == 1)
                }
                agent_message::Message::KeyVersions(_) => {
                    assert!(bytes <= self.message_bytes, "{bytes}")
                }
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
