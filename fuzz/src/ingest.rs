//! What an agent may send: messages of any content in any order, put to the broker's end of the stream.

use std::cell::RefCell;

use bytes::Bytes;
use zonefold::broker::ingest::Limits;
use zonefold::broker::ingest::offline::{Exchange, OfflineSession};
use zonefold::core::endpoint::Endpoint;
use zonefold::core::endpoint::digest::SetDigest;
use zonefold::core::ids::{ClusterId, EnvironmentId};
use zonefold::wire::convert::version_to_wire;
use zonefold::wire::v1::{self, agent_message, broker_message, operation};

/// A session of so many messages has been everywhere.
const MOST_MESSAGES: usize = 24;
const MOST_SNAPSHOT_ITEMS: usize = 40;
const MESSAGE_BYTES: u32 = 4_096;

thread_local! {
    // The session only waits for the parts around it, all of which are here; it needs no clock and no sockets.
    static RUNTIME: RefCell<tokio::runtime::Runtime> =
        RefCell::new(tokio::runtime::Builder::new_current_thread().build().unwrap());
}

/// The bytes are messages, each behind its length. The first byte says after which of them the session is let settle.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = super::split_choice(data) else { return };
    let mut messages: Vec<v1::AgentMessage> = super::delimited(rest, MOST_MESSAGES);
    mend(&mut messages);
    RUNTIME.with_borrow(|runtime| runtime.block_on(hold(&messages, choice)));
}

async fn hold(messages: &[v1::AgentMessage], choice: usize) {
    let limits = Limits {
        max_message_bytes: MESSAGE_BYTES,
        snapshot_items: MOST_SNAPSHOT_ITEMS,
        ..Limits::default()
    };
    let cluster = ClusterId::parse("east").unwrap();
    let mut session = OfflineSession::new(cluster, EnvironmentId::parse("dev").unwrap(), limits);
    let mut book = Book::default();
    for (number, message) in messages.iter().enumerate() {
        let mut message = message.clone();
        answer_root(&mut message, &session);
        book.sent(&message);
        let exchange = session.take(message).await;
        book.read(&exchange, &session);
        if exchange.ended.is_some() {
            return;
        }
        if choice >> (number % 8) & 1 == 1 {
            book.read(&session.settle().await, &session);
        }
    }
    book.read(&session.settle().await, &session);
    assert_eq!(book.unacked, 0, "what was taken is acked in the end");
}

/// What was sent and what was answered.
#[derive(Default)]
struct Book {
    last_seq: u64,
    last_acked: u64,
    unacked: u64,
    keys: usize,
}

impl Book {
    fn sent(&mut self, message: &v1::AgentMessage) {
        match &message.message {
            Some(agent_message::Message::Changes(changes)) => {
                self.last_seq = self.last_seq.max(changes.seq);
                self.unacked += changes.operations.len() as u64;
                self.keys += changes.operations.len();
            }
            Some(agent_message::Message::SnapshotBegin(begin)) => {
                self.last_seq = self.last_seq.max(begin.seq)
            }
            Some(agent_message::Message::SnapshotChunk(chunk)) => self.keys += chunk.puts.len(),
            _ => {}
        }
    }

    fn read(&mut self, exchange: &Exchange, session: &OfflineSession) {
        assert!(session.endpoint_count() <= self.keys);
        assert_eq!(session.digest().count(), session.endpoint_count() as u64);
        for answer in &exchange.answers {
            match answer.message.as_ref().expect("the broker says something") {
                broker_message::Message::Ack(ack) => {
                    assert!(
                        ack.seq > self.last_acked && ack.seq <= self.last_seq,
                        "{} after {}",
                        ack.seq,
                        self.last_acked
                    );
                    self.last_acked = ack.seq;
                    self.unacked -= u64::from(ack.credits.unwrap().items);
                }
                broker_message::Message::BucketRequest(request) => {
                    assert!(
                        request.buckets.iter().all(|bucket| *bucket < 256)
                            && request.buckets.is_sorted()
                    );
                }
                broker_message::Message::BodyRequest(request) => {
                    assert!(
                        request.key_hashes.len() % 32 == 0
                            && request.key_hashes.len() < MESSAGE_BYTES as usize
                    );
                }
                broker_message::Message::Verdicts(verdicts) => {
                    assert!(verdicts.verdicts.iter().all(
                        |verdict| verdict.reason == "MALFORMED" && !verdict.message.is_empty()
                    ));
                }
                broker_message::Message::DiffRequest(_) | broker_message::Message::Pong(_) => {}
                other => panic!("a session by itself does not say {other:?}"),
            }
        }
        if let Some(ended) = &exchange.ended {
            assert!(ended.contains("PROTOCOL"), "only a breach of the protocol ends it: {ended}");
        }
    }
}

/// Fills in what a fuzzer cannot compute, where it left a hole: hashes, sequence numbers, and what a snapshot adds up to.
fn mend(messages: &mut [v1::AgentMessage]) {
    let mut seq = 0;
    let mut open: Option<(usize, SetDigest)> = None;
    for at in 0..messages.len() {
        match &mut messages[at].message {
            Some(agent_message::Message::Changes(changes)) => {
                number(&mut changes.seq, &mut seq);
                for operation in &mut changes.operations {
                    if let Some(operation::Operation::Put(put)) = &mut operation.operation {
                        mend_put(put);
                    }
                }
            }
            Some(agent_message::Message::SnapshotBegin(begin)) => {
                number(&mut begin.seq, &mut seq);
                open = (begin.count == 0 && begin.root_digest.is_empty())
                    .then(|| (at, SetDigest::default()));
            }
            Some(agent_message::Message::SnapshotChunk(chunk)) => {
                for put in &mut chunk.puts {
                    if let (Some(endpoint), Some((_, digest))) = (mend_put(put), &mut open) {
                        digest.insert(&endpoint.key.hash(), &endpoint.version());
                    }
                }
            }
            Some(agent_message::Message::Heartbeat(heartbeat)) if heartbeat.through_seq == 0 => {
                heartbeat.through_seq = seq
            }
            Some(agent_message::Message::SnapshotEnd(_)) => {
                if let Some((at, digest)) = open.take()
                    && let Some(agent_message::Message::SnapshotBegin(begin)) =
                        &mut messages[at].message
                {
                    begin.count = digest.count();
                    begin.root_digest = Bytes::copy_from_slice(&digest.root());
                }
            }
            _ => {}
        }
    }
}

fn number(given: &mut u64, seq: &mut u64) {
    if *given == 0 {
        *given = *seq + 1;
    }
    *seq = *given;
}

fn mend_put(put: &mut v1::Put) -> Option<Endpoint> {
    let endpoint = Endpoint::try_from(put.endpoint.clone()?).ok()?;
    if put.version.is_empty() {
        put.version = version_to_wire(&endpoint.version());
    }
    Some(endpoint)
}

/// Fills in what depends on what is durable by now.
fn answer_root(message: &mut v1::AgentMessage, session: &OfflineSession) {
    match &mut message.message {
        Some(agent_message::Message::Heartbeat(heartbeat)) if heartbeat.root_digest.is_empty() => {
            heartbeat.root_digest = Bytes::copy_from_slice(&session.digest().root());
        }
        // One byte for each bucket that is to differ.
        Some(agent_message::Message::BucketDigests(digests)) if digests.digests.len() < 256 => {
            let mut own = session.digest().to_bytes();
            for bucket in &digests.digests {
                own[usize::from(*bucket) * 32] ^= 1;
            }
            digests.digests = own.into();
        }
        _ => {}
    }
}
