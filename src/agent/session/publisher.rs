//! The agent's side of `Publish` as a state machine without IO: messages in, messages out.
//!
//! Control answers go before changes, so that the keys of a bucket and the changes that follow them arrive in the order in
//! which they were true. While a snapshot is not acknowledged no change is sent.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use crate::agent::index::{Index, IndexChange};
use crate::agent::outbox::Outbox;
use crate::core::endpoint::{Endpoint, KeyHash, Version};
use crate::wire::convert::{
    ConvertError, key_hashes_from_wire, key_versions_to_wire, version_to_wire,
};
use crate::wire::v1::agent_message::Message as ToBroker;
use crate::wire::v1::broker_message::Message as FromBroker;
use crate::wire::v1::{self, welcome::Mode};

/// The size of messages when the broker names none.
const DEFAULT_MESSAGE_BYTES: usize = 1024 * 1024;
/// The least size, whatever the broker names: long TXT records would not fit into less.
const MIN_MESSAGE_BYTES: usize = 4 * 1024;
/// Pings that were not answered yet are forgotten beyond this many.
const MAX_PONGS: usize = 16;

/// The agent's identity, as the broker has to know it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The name under which the cluster is registered.
    pub cluster: String,
    /// The UID of the namespace kube-system.
    pub kube_system_uid: String,
    /// A UUID made at each start.
    pub instance_id: String,
}

/// How the broker broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Something came before Welcome.
    #[error("the broker sent a message before Welcome")]
    BeforeWelcome,
    /// Welcome came twice.
    #[error("the broker sent Welcome twice")]
    SecondWelcome,
    /// Welcome names no mode that this agent knows.
    #[error(
        "the broker's Welcome has the mode {0}, which this agent does not know: update the agent"
    )]
    UnknownMode(i32),
    /// Something was acknowledged that was not sent.
    #[error("the broker acknowledged {acked} and {sent} was the last that was sent")]
    AckOfUnsent {
        /// The acknowledged sequence number.
        acked: u64,
        /// The last sequence number.
        sent: u64,
    },
    /// A bucket number above 255.
    #[error("the broker asked for bucket {0} of 256")]
    NoSuchBucket(u32),
    /// A field that cannot be read.
    #[error(transparent)]
    Field(#[from] ConvertError),
}

/// The meaning of a message for the session around the state machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Nothing.
    None,
    /// The session stands.
    Welcomed(Mode),
    /// Verdicts, to be shown.
    Verdicts(Vec<v1::EndpointStatus>),
    /// Durable deletions: nothing more will be known of these keys.
    Deleted(Vec<KeyHash>),
    /// The broker ends the session.
    GoAway(v1::GoAway),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Offline,
    Greeting,
    Live,
    /// The broker said GoAway: nothing new is sent.
    Leaving,
}

struct Snapshot {
    seq: u64,
    /// Endpoints still to be sent; `None` if the end was sent and only its acknowledgement is missing.
    rest: Option<VecDeque<(Arc<Endpoint>, Version)>>,
}

/// The agent's side of the stream; see the module's page.
pub struct Publisher {
    /// The identity that Hello sends.
    identity: Identity,
    /// Changes that are still to be sent.
    outbox: Outbox,
    /// How far the session is.
    phase: Phase,
    /// Messages that go before changes.
    control: VecDeque<ToBroker>,
    /// Nonces of pings that are still to be answered.
    pongs: VecDeque<u64>,
    /// The snapshot that is being sent.
    snapshot: Option<Snapshot>,
    /// The number of the session, as Welcome said it.
    epoch: u64,
    /// The number of the last message with changes.
    last_seq: u64,
    /// The last of them that is durable.
    last_acked_seq: u64,
    /// Whether the broker is known to hold what the index holds, but for what is in the outbox.
    settled: bool,
    /// How often a heartbeat goes out, in milliseconds.
    heartbeat_ms: u64,
    /// The largest message that the broker accepts.
    max_message_bytes: usize,
    /// How many pings were sent.
    pings: u64,
}

impl Publisher {
    /// A publisher that was never connected.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            outbox: Outbox::default(),
            phase: Phase::Offline,
            control: VecDeque::new(),
            pongs: VecDeque::new(),
            snapshot: None,
            epoch: 0,
            last_seq: 0,
            last_acked_seq: 0,
            settled: false,
            heartbeat_ms: 0,
            max_message_bytes: DEFAULT_MESSAGE_BYTES,
            pings: 0,
        }
    }

    /// Queues a change of the index.
    pub fn push(&mut self, change: IndexChange) {
        self.outbox.push(change);
    }

    /// Starts a session and returns its first message.
    pub fn hello(&mut self, index: &Index) -> v1::AgentMessage {
        self.outbox.begin_session();
        self.control.clear();
        self.pongs.clear();
        self.snapshot = None;
        self.settled = false;
        self.phase = Phase::Greeting;
        let resume = v1::Resume {
            epoch: self.epoch,
            last_acked_seq: self.last_acked_seq,
            root_digest: root(index),
            count: index.digest().count(),
        };
        (self.last_seq, self.last_acked_seq) = (0, 0);
        wrap(ToBroker::Hello(v1::Hello {
            cluster: self.identity.cluster.clone(),
            kube_system_uid: self.identity.kube_system_uid.clone(),
            instance_id: self.identity.instance_id.clone(),
            features: vec![],
            resume: Some(resume),
            sources: sources(index),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    /// The session is over, however it ended. Returns whether it ever stood.
    pub fn disconnected(&mut self) -> bool {
        let stood = matches!(self.phase, Phase::Live | Phase::Leaving);
        self.phase = Phase::Offline;
        self.settled = false;
        stood
    }

    /// Handles a message of the broker.
    pub fn receive(
        &mut self,
        index: &Index,
        message: v1::BrokerMessage,
    ) -> Result<Event, ProtocolError> {
        // A message of a later protocol is one that this agent did not ask for.
        let Some(message) = message.message else { return Ok(Event::None) };
        match message {
            FromBroker::Welcome(welcome) => return self.welcome(index, &welcome),
            FromBroker::GoAway(go_away) => {
                self.phase = Phase::Leaving;
                return Ok(Event::GoAway(go_away));
            }
            _ if self.phase == Phase::Greeting => return Err(ProtocolError::BeforeWelcome),
            FromBroker::Ack(ack) => return self.acked(&ack),
            FromBroker::DiffRequest(_) => self.start_diff(index),
            FromBroker::BucketRequest(request) => self.answer_buckets(index, &request)?,
            FromBroker::BodyRequest(request) => self.answer_bodies(index, &request)?,
            FromBroker::Ping(ping) => {
                self.pongs.push_back(ping.nonce);
                if self.pongs.len() > MAX_PONGS {
                    self.pongs.pop_front();
                }
            }
            FromBroker::Pong(_) => {}
            FromBroker::Verdicts(verdicts) => return Ok(Event::Verdicts(verdicts.verdicts)),
        }
        Ok(Event::None)
    }

    fn welcome(&mut self, index: &Index, welcome: &v1::Welcome) -> Result<Event, ProtocolError> {
        if self.phase != Phase::Greeting {
            return Err(ProtocolError::SecondWelcome);
        }
        let mode = welcome.mode();
        self.phase = Phase::Live;
        self.epoch = welcome.epoch;
        self.heartbeat_ms = welcome.heartbeat_ms;
        self.max_message_bytes = match usize::try_from(welcome.max_message_bytes) {
            Ok(0) | Err(_) => DEFAULT_MESSAGE_BYTES,
            Ok(bytes) => bytes.max(MIN_MESSAGE_BYTES),
        };
        self.outbox.grant(&welcome.credits.unwrap_or_default());
        match mode {
            Mode::Resume => {
                self.outbox.drop_carried();
                self.settled = true;
            }
            Mode::Diff => self.start_diff(index),
            Mode::Snapshot => self.start_snapshot(index),
            Mode::Unspecified => return Err(ProtocolError::UnknownMode(welcome.mode)),
        }
        Ok(Event::Welcomed(mode))
    }

    fn acked(&mut self, ack: &v1::Ack) -> Result<Event, ProtocolError> {
        if ack.seq > self.last_seq {
            return Err(ProtocolError::AckOfUnsent { acked: ack.seq, sent: self.last_seq });
        }
        self.last_acked_seq = self.last_acked_seq.max(ack.seq);
        let deleted = self.outbox.ack(ack.seq);
        self.outbox.grant(&ack.credits.unwrap_or_default());
        if self
            .snapshot
            .as_ref()
            .is_some_and(|snapshot| snapshot.rest.is_none() && snapshot.seq <= ack.seq)
        {
            self.snapshot = None;
            self.settled = true;
        }
        Ok(if deleted.is_empty() { Event::None } else { Event::Deleted(deleted) })
    }

    fn start_diff(&mut self, index: &Index) {
        self.settled = false;
        let digests = Bytes::from(index.digest().to_bytes());
        self.control.push_back(ToBroker::BucketDigests(v1::BucketDigests { digests }));
    }

    fn answer_buckets(
        &mut self,
        index: &Index,
        request: &v1::BucketRequest,
    ) -> Result<(), ProtocolError> {
        if request.buckets.is_empty() {
            self.settled = true;
            return Ok(());
        }
        let mut buckets = Vec::with_capacity(request.buckets.len());
        for bucket in &request.buckets {
            buckets.push(u8::try_from(*bucket).map_err(|_| ProtocolError::NoSuchBucket(*bucket))?);
        }
        buckets.sort_unstable();
        buckets.dedup();
        let held = buckets
            .into_iter()
            .flat_map(|bucket| index.bucket(bucket))
            .map(|(hash, held)| (hash, &held.version));
        let mut rest = key_versions_to_wire(held);
        let most = (self.max_message_bytes - 64) / 64 * 64;
        while rest.len() > most {
            let entries = rest.split_to(most);
            self.control.push_back(ToBroker::KeyVersions(v1::KeyVersions { entries, last: false }));
        }
        self.control
            .push_back(ToBroker::KeyVersions(v1::KeyVersions { entries: rest, last: true }));
        Ok(())
    }

    fn answer_bodies(
        &mut self,
        index: &Index,
        request: &v1::BodyRequest,
    ) -> Result<(), ProtocolError> {
        for hash in key_hashes_from_wire(&request.key_hashes)? {
            // An endpoint that is gone meanwhile is in the outbox as a deletion.
            if let Some(held) = index.get(&hash) {
                let (endpoint, version) = (held.endpoint.clone(), held.version);
                self.outbox.push_wanted(IndexChange::Put { hash, endpoint, version });
            }
        }
        self.settled |= request.last;
        Ok(())
    }

    fn start_snapshot(&mut self, index: &Index) {
        self.outbox.clear();
        self.last_seq += 1;
        let (seq, count, root_digest) = (self.last_seq, index.digest().count(), root(index));
        self.control.push_back(ToBroker::SnapshotBegin(v1::SnapshotBegin {
            seq,
            count,
            root_digest,
            by_name: true,
        }));
        let mut rest: Vec<(Arc<Endpoint>, Version)> =
            index.iter().map(|(_, held)| (held.endpoint.clone(), held.version)).collect();
        rest.sort_by(|(a, _), (b, _)| a.key.dns_name.cmp(&b.key.dns_name));
        self.snapshot = Some(Snapshot { seq, rest: Some(rest.into()) });
    }

    /// The next message to send; `None` if there is nothing to send, or no credit.
    pub fn next(&mut self, index: &Index) -> Option<v1::AgentMessage> {
        if let Some(nonce) = self.pongs.pop_front() {
            return Some(wrap(ToBroker::Pong(v1::Pong { nonce })));
        }
        if self.phase != Phase::Live {
            return None;
        }
        if let Some(message) = self.control.pop_front() {
            return Some(wrap(message));
        }
        if let Some(snapshot) = &mut self.snapshot {
            return snapshot.next(self.max_message_bytes, index).map(wrap);
        }
        let changes = self.outbox.take(self.last_seq + 1, self.max_message_bytes)?;
        self.last_seq = changes.seq;
        Some(wrap(ToBroker::Changes(changes)))
    }

    /// A heartbeat when its figures mean something to the broker, which is when everything was sent; else a ping.
    pub fn heartbeat(&mut self, index: &Index) {
        if self.phase != Phase::Live || !self.control.is_empty() {
            return;
        }
        let comparable = self.settled && self.snapshot.is_none() && self.outbox.is_sent();
        let message = if comparable {
            ToBroker::Heartbeat(v1::Heartbeat {
                through_seq: self.last_seq,
                count: index.digest().count(),
                root_digest: root(index),
                sources: sources(index),
            })
        } else {
            self.pings += 1;
            ToBroker::Ping(v1::Ping { nonce: self.pings })
        };
        self.control.push_back(message);
    }

    /// Milliseconds between heartbeats, as the broker wants it; 0 before Welcome.
    pub fn heartbeat_ms(&self) -> u64 {
        self.heartbeat_ms
    }

    /// Whether the session stands.
    pub fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Whether the broker has made durable everything that the index holds.
    pub fn is_converged(&self) -> bool {
        self.settled && self.snapshot.is_none() && self.outbox.is_empty()
    }

    /// Whether the broker has made durable what the index holds under this key.
    pub fn is_acked(&self, hash: &KeyHash) -> bool {
        self.settled && !self.outbox.holds(hash)
    }

    /// Whether a change of this key is not acknowledged yet.
    pub fn holds(&self, hash: &KeyHash) -> bool {
        self.outbox.holds(hash)
    }

    /// How many keys have a change that is not acknowledged.
    pub fn outbox_len(&self) -> usize {
        self.outbox.len()
    }

    /// The number of the session, as the broker's store counts them; 0 before the first.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Snapshot {
    fn next(&mut self, max_message_bytes: usize, index: &Index) -> Option<ToBroker> {
        let rest = self.rest.as_mut()?;
        let (mut puts, mut bytes) = (Vec::new(), 16);
        while let Some((endpoint, version)) = rest.front() {
            let put = v1::Put {
                endpoint: Some(endpoint.as_ref().into()),
                version: version_to_wire(version),
            };
            let put_bytes = put.encoded_len() + 8;
            if !puts.is_empty() && bytes + put_bytes > max_message_bytes {
                break;
            }
            bytes += put_bytes;
            puts.push(put);
            rest.pop_front();
        }
        if puts.is_empty() {
            self.rest = None;
            return Some(ToBroker::SnapshotEnd(v1::SnapshotEnd { sources: sources(index) }));
        }
        Some(ToBroker::SnapshotChunk(v1::SnapshotChunk { puts }))
    }
}

/// The keys whose content the broker will ask for after this message, although only it had that.
pub(super) fn wanted_and_missing(index: &Index, message: &v1::BrokerMessage) -> Vec<KeyHash> {
    let of_those = |hashes: Vec<KeyHash>| {
        hashes.into_iter().filter(|hash| index.get(hash).is_some_and(|held| !held.has_body()))
    };
    match &message.message {
        Some(FromBroker::Welcome(welcome)) if welcome.mode() == Mode::Snapshot => index.bodiless(),
        Some(FromBroker::BodyRequest(request)) => {
            of_those(key_hashes_from_wire(&request.key_hashes).unwrap_or_default()).collect()
        }
        _ => vec![],
    }
}

fn wrap(message: ToBroker) -> v1::AgentMessage {
    v1::AgentMessage { message: Some(message) }
}

fn root(index: &Index) -> Bytes {
    Bytes::copy_from_slice(&index.digest().root())
}

fn sources(index: &Index) -> Vec<v1::SourceState> {
    let state = |health: crate::agent::index::SourceHealth| v1::SourceState {
        kind: health.kind.as_str().to_owned(),
        synced: health.synced,
        last_error: health.last_error.unwrap_or_default(),
    };
    index.sources().into_iter().map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::index::tests::{object, wants};
    use crate::agent::sources::SourceKind;

    fn live(mode: Mode) -> (Publisher, Index) {
        let identity =
            Identity { cluster: "c".into(), kube_system_uid: "u".into(), instance_id: "i".into() };
        let (mut publisher, mut index) =
            (Publisher::new(identity), Index::new([SourceKind::Service]));
        let many: Vec<String> = (0..200).map(|n| format!("host{n}")).collect();
        let many: Vec<(&str, &str)> =
            many.iter().map(|host| (host.as_str(), "192.0.2.1")).collect();
        index.apply(&object("many"), &"f".into(), wants(&object("many"), &many));
        publisher.hello(&index);
        tell(&mut publisher, &index, welcome(mode)).unwrap();
        (publisher, index)
    }

    fn welcome(mode: Mode) -> FromBroker {
        let credits = Some(v1::Credits { items: 1_000, bytes: 1_000_000 });
        FromBroker::Welcome(v1::Welcome {
            mode: mode.into(),
            credits,
            max_message_bytes: 1,
            ..v1::Welcome::default()
        })
    }

    fn tell(
        publisher: &mut Publisher,
        index: &Index,
        message: FromBroker,
    ) -> Result<Event, ProtocolError> {
        publisher.receive(index, v1::BrokerMessage { message: Some(message) })
    }

    fn drain(publisher: &mut Publisher, index: &Index) -> Vec<ToBroker> {
        std::iter::from_fn(|| publisher.next(index)).filter_map(|message| message.message).collect()
    }

    #[test]
    fn the_keys_of_buckets_come_in_one_piece_before_any_change() {
        let (mut publisher, mut index) = live(Mode::Diff);
        assert!(matches!(drain(&mut publisher, &index)[..], [ToBroker::BucketDigests(_)]));
        tell(
            &mut publisher,
            &index,
            FromBroker::BucketRequest(v1::BucketRequest { buckets: (0..256).collect() }),
        )
        .unwrap();
        for change in index.apply(
            &object("late"),
            &"f".into(),
            wants(&object("late"), &[("late", "192.0.2.1")]),
        ) {
            publisher.push(change);
        }
        let messages = drain(&mut publisher, &index);
        let last: Vec<Option<bool>> = messages
            .iter()
            .map(|m| if let ToBroker::KeyVersions(k) = m { Some(k.last) } else { None })
            .collect();
        assert!(last.len() > 3, "the keys need several messages of {MIN_MESSAGE_BYTES} bytes");
        assert_eq!(last[last.len() - 2..], [Some(true), None]);
        assert!(last[..last.len() - 2].iter().all(|last| *last == Some(false)));
    }

    #[test]
    fn no_message_is_larger_than_the_broker_takes() {
        let (mut publisher, index) = live(Mode::Snapshot);
        let messages = drain(&mut publisher, &index);
        assert!(messages.len() > 4);
        for message in messages {
            assert!(wrap(message).encoded_len() <= MIN_MESSAGE_BYTES + 16);
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        let (mut publisher, index) = live(Mode::Resume);
        assert_eq!(
            tell(&mut publisher, &index, welcome(Mode::Resume)),
            Err(ProtocolError::SecondWelcome)
        );
        let ack = FromBroker::Ack(v1::Ack { seq: 1, credits: None });
        assert_eq!(
            tell(&mut publisher, &index, ack.clone()),
            Err(ProtocolError::AckOfUnsent { acked: 1, sent: 0 })
        );
        let request = FromBroker::BucketRequest(v1::BucketRequest { buckets: vec![256] });
        assert_eq!(tell(&mut publisher, &index, request), Err(ProtocolError::NoSuchBucket(256)));
        let request = FromBroker::BodyRequest(v1::BodyRequest {
            key_hashes: Bytes::from_static(&[1]),
            last: true,
        });
        assert!(matches!(tell(&mut publisher, &index, request), Err(ProtocolError::Field(_))));
        publisher.hello(&index);
        assert_eq!(tell(&mut publisher, &index, ack), Err(ProtocolError::BeforeWelcome));
        assert_eq!(
            tell(&mut publisher, &index, welcome(Mode::Unspecified)),
            Err(ProtocolError::UnknownMode(0))
        );
    }

    #[test]
    fn a_heartbeat_compares_only_what_was_sent() {
        let (mut publisher, mut index) = live(Mode::Resume);
        publisher.heartbeat(&index);
        assert!(matches!(drain(&mut publisher, &index)[..], [ToBroker::Heartbeat(_)]));
        for change in index.delete(&object("many")) {
            publisher.push(change);
        }
        publisher.heartbeat(&index);
        assert!(matches!(publisher.next(&index).unwrap().message, Some(ToBroker::Ping(_))));
    }
}
