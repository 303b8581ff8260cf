//! A broker that does what the test tells it, over a connection in memory so that virtual time works.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::{Stream, StreamExt as _};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use zonefold::agent::Access;
use zonefold::agent::session::Broker;
use zonefold::wire::v1::agent_message::Message as FromAgent;
use zonefold::wire::v1::broker_message::Message as ToAgent;
use zonefold::wire::v1::federation_server::{Federation, FederationServer};
use zonefold::wire::v1::{self, welcome::Mode};

/// Sends statuses to an agent that watches.
pub type Watcher = UnboundedSender<Result<v1::StatusBatch, Status>>;

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub const PLENTY: v1::Credits = v1::Credits { items: 10_000, bytes: 10_000_000 };

struct Service {
    sessions: UnboundedSender<FakeSession>,
    watchers: UnboundedSender<Watcher>,
    away: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl Federation for Service {
    type PublishStream = Out<v1::BrokerMessage>;
    type WatchStatusStream = Out<v1::StatusBatch>;

    async fn publish(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        // A connection that stood may serve the next session; a proxy before a broker that is away answers like this.
        if self.away.load(Ordering::Relaxed) {
            return Err(Status::unavailable("away"));
        }
        let authorization = request
            .metadata()
            .get("authorization")
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned);
        let (to_agent, outbound) = unbounded_channel();
        let (from_agent, inbound) = unbounded_channel();
        let mut stream = request.into_inner();
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                if from_agent.send(message).is_err() {
                    return;
                }
            }
        });
        let _ = self.sessions.send(FakeSession { inbound, to_agent, authorization });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(outbound))))
    }

    async fn watch_status(
        &self,
        _: Request<v1::WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let (to_agent, outbound) = unbounded_channel();
        let _ = self.watchers.send(to_agent);
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(outbound))))
    }
}

/// The broker as a test holds it.
pub struct FakeBroker {
    pub sessions: UnboundedReceiver<FakeSession>,
    pub watchers: UnboundedReceiver<Watcher>,
    away: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
    connect: UnboundedSender<Result<DuplexStream, io::Error>>,
}

/// One session as the broker sees it.
pub struct FakeSession {
    inbound: UnboundedReceiver<v1::AgentMessage>,
    pub to_agent: UnboundedSender<Result<v1::BrokerMessage, Status>>,
    pub authorization: Option<String>,
}

fn service() -> (Service, UnboundedReceiver<FakeSession>, UnboundedReceiver<Watcher>) {
    let (sessions, session_list) = unbounded_channel();
    let (watchers, watcher_list) = unbounded_channel();
    (Service { sessions, watchers, away: Arc::default() }, session_list, watcher_list)
}

impl FakeBroker {
    /// A broker in memory.
    pub fn spawn() -> Self {
        let (service, sessions, watchers) = service();
        let (connect, incoming) = unbounded_channel();
        let away = service.away.clone();
        let serving = Server::builder()
            .add_service(FederationServer::new(service))
            .serve_with_incoming(UnboundedReceiverStream::new(incoming));
        tokio::spawn(serving);
        Self { sessions, watchers, away, connections: Arc::default(), connect }
    }

    /// A broker on a port of this machine, for the whole agent in real time.
    pub async fn listen() -> (Self, String) {
        let (service, sessions, watchers) = service();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(
            Server::builder()
                .add_service(FederationServer::new(service))
                .serve_with_incoming(incoming),
        );
        let (connect, _) = unbounded_channel();
        let (away, connections) = (Arc::default(), Arc::default());
        (Self { sessions, watchers, away, connections, connect }, url)
    }

    /// The agent's access, connecting anew each time.
    pub fn access(&self) -> Access {
        let (connect, away) = (self.connect.clone(), self.away.clone());
        let connections = self.connections.clone();
        Access::made_by(move || connection(connect.clone(), away.clone(), connections.clone()))
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// From now on no connection gets through, or all do again.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// The next session, with its Hello.
    pub async fn accept(&mut self) -> (FakeSession, v1::Hello) {
        let mut session = self.sessions.recv().await.unwrap();
        match session.next().await {
            FromAgent::Hello(hello) => (session, hello),
            other => panic!("Hello comes first, not {other:?}"),
        }
    }
}

/// A connection to the broker; it is made when it is first used.
fn connection(
    connect: UnboundedSender<Result<DuplexStream, io::Error>>,
    away: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
) -> Broker {
    let connector = tower::service_fn(move |_: http::Uri| {
        let (connect, away, connections) = (connect.clone(), away.clone(), connections.clone());
        async move {
            if away.load(Ordering::Relaxed) {
                return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
            }
            let (client, server) = tokio::io::duplex(1 << 20);
            connections.fetch_add(1, Ordering::Relaxed);
            connect.send(Ok(server)).map_err(io::Error::other)?;
            Ok(TokioIo::new(client))
        }
    });
    let channel: Channel =
        Endpoint::from_static("http://broker.test").connect_with_connector_lazy(connector);
    Broker { channel, authorization: Some("Bearer token".parse().unwrap()) }
}

impl FakeSession {
    /// The next message.
    pub async fn next(&mut self) -> FromAgent {
        self.inbound.recv().await.expect("the agent goes on").message.unwrap()
    }

    /// Whether the agent ended its side.
    pub async fn ended(&mut self) -> bool {
        while self.inbound.recv().await.is_some() {}
        true
    }

    /// The next message that is not there to show life. Those are answered.
    pub async fn next_word(&mut self) -> FromAgent {
        loop {
            match self.next().await {
                FromAgent::Ping(ping) => self.send(ToAgent::Pong(v1::Pong { nonce: ping.nonce })),
                FromAgent::Heartbeat(_) => self.send(ToAgent::Ping(v1::Ping { nonce: 1 })),
                FromAgent::Pong(_) => {}
                word => return word,
            }
        }
    }

    /// Asserts that the agent says nothing but signs of life for this long.
    pub async fn quiet_for(&mut self, secs: u64) {
        let word =
            tokio::time::timeout(std::time::Duration::from_secs(secs), self.next_word()).await;
        assert!(word.is_err(), "nothing was expected and {word:?} came");
    }

    /// The next heartbeat.
    pub async fn heartbeat(&mut self) -> v1::Heartbeat {
        loop {
            match self.next().await {
                FromAgent::Heartbeat(heartbeat) => return heartbeat,
                FromAgent::Ping(ping) => self.send(ToAgent::Pong(v1::Pong { nonce: ping.nonce })),
                other => panic!("a heartbeat was expected, not {other:?}"),
            }
        }
    }

    /// The next changes.
    pub async fn changes(&mut self) -> v1::Changes {
        match self.next_word().await {
            FromAgent::Changes(changes) => changes,
            other => panic!("changes were expected, not {other:?}"),
        }
    }

    pub fn send(&self, message: ToAgent) {
        let _ = self.to_agent.send(Ok(v1::BrokerMessage { message: Some(message) }));
    }

    pub fn welcome(&self, mode: Mode, credits: v1::Credits) {
        self.send(ToAgent::Welcome(v1::Welcome {
            epoch: 7,
            mode: mode.into(),
            credits: Some(credits),
            heartbeat_ms: 10_000,
            max_message_bytes: 65_536,
            ..v1::Welcome::default()
        }));
    }

    pub fn ack(&self, seq: u64, items: u32) {
        self.send(ToAgent::Ack(v1::Ack {
            seq,
            credits: Some(v1::Credits { items, bytes: 1_000_000 }),
        }));
    }
}
