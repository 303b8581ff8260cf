//! The broker's two listeners and what serves on them: with TLS where the configuration has a certificate, and plain text only
//! where it may be.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::adapters::tls::{
    Listener, Protocol, ServerTls, TlsFiles, TlsMetrics, WaitingLimits, client_config,
};
use crate::api::peers::PeerTls;
use crate::broker::ingest::{Limits, StartingService};
use crate::config::{self, ListenerName};
use crate::wire::http::{self, HttpLimits};
use crate::wire::v1::federation_server::FederationServer;

/// A gRPC message may be this much larger than what Welcome names, for its frame.
const MESSAGE_SLACK: usize = 64 * 1024;
/// Connections that may wait to be accepted: those of thousands of agents that come at once. The system's own limit
/// (`net.core.somaxconn`, 4,096 on Linux) holds too; behind a full queue connections are reset.
const LISTEN_BACKLOG: u32 = 4_096;
/// The most unread bytes in flight on one connection: it carries a cluster's Publish, which is bounded by credits too,
/// and its WatchStatus.
const STREAM_WINDOW_BYTES: u32 = 512 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Limits of connections whose caller is not authenticated yet, or that have no request.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Those of agents.
    pub grpc: WaitingLimits,
    /// Those of the API. Health needs no proof.
    pub http: WaitingLimits,
    /// How long one of the API may be without a request.
    pub http_limits: HttpLimits,
}

impl Default for ConnectionLimits {
    /// Room for what a fleet's agents are on their way at once, each of which proves itself within milliseconds.
    fn default() -> Self {
        let waiting =
            |at_most| WaitingLimits { most: 1_024, at_least: Duration::from_secs(2), at_most };
        Self {
            // Longer than an issuer that is asked for its keys may take.
            grpc: waiting(Some(Duration::from_secs(20))),
            http: waiting(None),
            http_limits: HttpLimits::default(),
        }
    }
}

/// Both ports, bound, with their certificates.
pub struct Ports {
    /// Where agents connect.
    pub grpc: SocketAddr,
    /// REST, metrics, health.
    pub http: SocketAddr,
    grpc_tls: Option<Arc<ServerTls>>,
    http_tls: Option<Arc<ServerTls>>,
    grpc_socket: TcpListener,
    http_socket: TcpListener,
}

impl Ports {
    /// Opens both, on the runtime in which this is called.
    ///
    /// # Errors
    /// A port is taken, or a certificate cannot be used.
    pub fn open(listen: &config::Listen, registry: &mut Registry) -> anyhow::Result<Self> {
        let metrics = TlsMetrics::register(registry);
        let grpc_tls = tls_of(listen, ListenerName::Grpc, &metrics)?;
        let http_tls = tls_of(listen, ListenerName::Http, &metrics)?;
        let grpc_socket = bind(listen.grpc, "listen.grpc")?;
        let http_socket = bind(listen.http, "listen.http")?;
        let (grpc, http) = (grpc_socket.local_addr()?, http_socket.local_addr()?);
        say_plain_text("grpc", grpc, grpc_tls.is_some());
        say_plain_text("http", http, http_tls.is_some());
        Ok(Self { grpc, http, http_tls, grpc_tls, grpc_socket, http_socket })
    }

    /// How this replica authenticates the others; `None` if HTTP is plain text.
    pub fn peer_tls(&self, listen: &config::Listen) -> Option<Arc<dyn PeerTls>> {
        let ca_file = listen.tls.as_ref().and_then(|tls| tls.replica_ca_file.clone());
        self.http_tls
            .as_ref()
            .map(|own| Arc::new(Siblings { own: Arc::clone(own), ca_file }) as Arc<dyn PeerTls>)
    }
}

/// How this replica knows the others: each has a certificate of the same authority with the names of this one.
struct Siblings {
    own: Arc<ServerTls>,
    ca_file: Option<PathBuf>,
}

impl PeerTls for Siblings {
    fn now(&self) -> Result<(rustls::ClientConfig, Option<ServerName<'static>>), String> {
        let config = client_config(self.ca_file.as_deref())
            .map_err(|error| format!("listen.tls.replica_ca_file: {error}"))?;
        Ok((config, self.own.own_name().and_then(|name| ServerName::try_from(name).ok())))
    }
}

fn tls_of(
    listen: &config::Listen,
    listener: ListenerName,
    metrics: &TlsMetrics,
) -> anyhow::Result<Option<Arc<ServerTls>>> {
    let Some(tls) = listen.tls.as_ref().filter(|tls| tls.covers(listener)) else { return Ok(None) };
    let protocol = match listener {
        ListenerName::Grpc => Protocol::Grpc,
        ListenerName::Http => Protocol::Http,
    };
    let files = TlsFiles {
        certificate: tls.certificate_file.clone(),
        key: tls.key_file.clone(),
        // People and probes show tokens or nothing.
        client_ca: tls.client_ca_file.clone().filter(|_| listener == ListenerName::Grpc),
    };
    let loaded = ServerTls::load(files, protocol, metrics.clone()).context("listen.tls")?;
    Ok(Some(Arc::new(loaded)))
}

/// The log says what can be read on the wire.
fn say_plain_text(listener: &str, address: SocketAddr, has_tls: bool) {
    match (has_tls, address.ip().is_loopback()) {
        (true, _) => {}
        (false, true) => {
            info!(listener, %address, "plain text, on this machine only; listen.tls would give it TLS")
        }
        (false, false) => warn!(
            listener, %address,
            "plain text, since listen.plain_text says that a proxy in front ends TLS: make sure that nothing else reaches this port"
        ),
    }
}

fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(LISTEN_BACKLOG)
    };
    listen().with_context(|| {
        format!(
            "{key}: cannot listen on {address}: stop the process that listens there, or choose another port"
        )
    })
}

/// The two servers; dropped they are cut.
pub struct Servers {
    stop: CancellationToken,
    grpc: JoinHandle<Result<(), tonic::transport::Error>>,
    http: JoinHandle<()>,
    /// They look after the certificates.
    _following: JoinSet<()>,
}

impl Servers {
    /// Serves; certificates are looked at again every `reload_every`.
    pub fn start(
        ports: Ports,
        service: StartingService,
        routes: axum::Router,
        limits: &Limits,
        connections: ConnectionLimits,
        reload_every: Duration,
    ) -> Self {
        let stop = CancellationToken::new();
        let mut following = JoinSet::new();
        for tls in [&ports.grpc_tls, &ports.http_tls].into_iter().flatten() {
            following.spawn(Arc::clone(tls).follow(reload_every, stop.clone()));
        }
        let max_message = limits.max_message_bytes as usize + MESSAGE_SLACK;
        let service = FederationServer::new(service).max_decoding_message_size(max_message);
        let grpc = tonic::transport::Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .add_service(service)
            .serve_with_incoming_shutdown(
                Listener::new(ports.grpc_socket, ports.grpc_tls, connections.grpc).into_stream(),
                stop.clone().cancelled_owned(),
            );
        let http = http::serve(
            Listener::new(ports.http_socket, ports.http_tls, connections.http),
            routes,
            connections.http_limits,
            stop.clone(),
        );
        Self { grpc: tokio::spawn(grpc), http: tokio::spawn(http), _following: following, stop }
    }

    /// Returns the part that ended unasked.
    pub async fn died(&mut self) -> String {
        tokio::select! {
            ended = &mut self.grpc => format!("the gRPC server: {ended:?}"),
            ended = &mut self.http => format!("the HTTP server: {ended:?}"),
        }
    }

    /// Ends both, with a little time for those who are connected.
    pub async fn stop(self) {
        self.stop.cancel();
        for server in [self.grpc.abort_handle(), self.http.abort_handle()] {
            let ended = async {
                while !server.is_finished() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            if tokio::time::timeout(Duration::from_secs(3), ended).await.is_err() {
                warn!("clients still hold connections; they are cut");
                server.abort();
            }
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.grpc.abort();
        self.http.abort();
    }
}
