//! The traffic between agents and brokers, read off the broker's side of the wire: operations that came, acks that went.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use futures::future::BoxFuture;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use prost::Message as _;
use tonic::body::Body;
use tower::{Layer, Service};
use zonefold::core::endpoint::{Endpoint, EndpointKey, Version};
use zonefold::wire::v1::{self, agent_message, broker_message};

use crate::gate::Gate;
use crate::history::{Agent, Op, What};
use crate::net::Peer;
use crate::recorder::{Recorder, lock};

/// The state of one stream.
struct Conversation {
    recorder: Recorder,
    gate: Gate,
    agent: Agent,
    epoch: u64,
    last_seq: u64,
    snapshot: Option<u64>,
    /// The messages that came before Welcome went.
    early: VecDeque<v1::AgentMessage>,
}

impl Conversation {
    fn came(&mut self, message: v1::AgentMessage) {
        if self.gate.is_dead() {
            return;
        }
        if self.epoch == 0 {
            self.early.push_back(message);
            return;
        }
        let (seq, ops) = match message.message {
            Some(agent_message::Message::Changes(changes)) => {
                (changes.seq, changes.operations.into_iter().filter_map(op).collect())
            }
            Some(agent_message::Message::SnapshotBegin(begin)) => {
                self.snapshot = Some(begin.seq);
                return;
            }
            Some(agent_message::Message::SnapshotChunk(chunk)) => (
                self.snapshot.unwrap_or_default(),
                chunk.puts.into_iter().filter_map(put).collect(),
            ),
            _ => return,
        };
        self.last_seq = self.last_seq.max(seq);
        self.recorder.note(What::Sent { agent: self.agent.clone(), epoch: self.epoch, seq, ops });
    }

    fn went(&mut self, message: v1::BrokerMessage) {
        if self.gate.is_dead() {
            return;
        }
        match message.message {
            Some(broker_message::Message::Welcome(welcome)) => {
                self.epoch = welcome.epoch;
                while let Some(early) = self.early.pop_front() {
                    self.came(early);
                }
            }
            Some(broker_message::Message::Ack(ack)) => {
                self.recorder.note(What::Acked {
                    agent: self.agent.clone(),
                    epoch: self.epoch,
                    seq: ack.seq,
                });
            }
            _ => {}
        }
    }
}

fn put(put: v1::Put) -> Option<Op> {
    let version = Version::from_slice(&put.version)?;
    Some(Op::Put { endpoint: Endpoint::try_from(put.endpoint?).ok()?, version })
}

fn op(operation: v1::Operation) -> Option<Op> {
    match operation.operation? {
        v1::operation::Operation::Put(message) => put(message),
        v1::operation::Operation::Del(del) => Some(Op::Del {
            key: EndpointKey::from(del.key?),
            version_seen: Version::from_slice(&del.version_seen),
        }),
    }
}

/// Reads what goes through a broker's server.
#[derive(Clone)]
pub struct Tap {
    /// Where it is written down.
    pub recorder: Recorder,
    /// The broker's gate: messages that a dead one seems to send are not heard.
    pub gate: Gate,
}

impl<S> Layer<S> for Tap {
    type Service = Tapped<S>;

    fn layer(&self, inner: S) -> Tapped<S> {
        Tapped { inner, tap: self.clone() }
    }
}

/// A server that is listened to.
#[derive(Clone)]
pub struct Tapped<S> {
    inner: S,
    tap: Tap,
}

impl<S> Service<http::Request<Body>> for Tapped<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<http::Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().cloned();
        let (Some(Peer(agent)), true) = (peer, request.uri().path().ends_with("/Publish")) else {
            return Box::pin(self.inner.call(request));
        };
        let Tap { recorder, gate } = self.tap.clone();
        let conversation = Conversation {
            recorder,
            gate,
            agent,
            epoch: 0,
            last_seq: 0,
            snapshot: None,
            early: VecDeque::new(),
        };
        let conversation = Arc::new(Mutex::new(conversation));
        let (coming, going) = (Arc::clone(&conversation), conversation);
        let request = request.map(|body| {
            Body::new(Listening::to(body, move |bytes| {
                if let Ok(message) = v1::AgentMessage::decode(bytes) {
                    lock(&coming).came(message);
                }
            }))
        });
        let answer = self.inner.call(request);
        Box::pin(async move {
            let hear = move |bytes: Bytes| {
                if let Ok(message) = v1::BrokerMessage::decode(bytes) {
                    lock(&going).went(message);
                }
            };
            Ok(answer.await?.map(|body| Body::new(Listening::to(body, hear))))
        })
    }
}

/// A body whose gRPC messages are listened to.
struct Listening<F> {
    body: Body,
    buffer: BytesMut,
    hear: F,
}

impl<F: FnMut(Bytes) + Unpin> Listening<F> {
    fn to(body: Body, hear: F) -> Self {
        Self { body, buffer: BytesMut::new(), hear }
    }

    /// Five bytes stand before each message: a flag, and its length.
    fn take(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while let Some(head) = self.buffer.first_chunk::<5>() {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if self.buffer.len() < 5 + length {
                return;
            }
            self.buffer.advance(5);
            let message = self.buffer.split_to(length).freeze();
            (self.hear)(message);
        }
    }
}

impl<F: FnMut(Bytes) + Unpin> HttpBody for Listening<F> {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            let bytes = bytes.clone();
            self.take(&bytes);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
