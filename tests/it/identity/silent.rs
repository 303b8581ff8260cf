//! Connections that say nothing, or too little, and those that are none of them.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use zonefold::adapters::tls::{Listener, WaitingLimits, client_config};
use zonefold::app::ConnectionLimits;
use zonefold::app::broker::BrokerOptions;

use zonefold::wire::http::{HttpLimits, serve};

use super::site::{BROKER_NAME, IdentitySite, hello, options};
use crate::support::wait::within_deadline;

const SHARED: &str = "the-token-that-the-clusters-share";
/// As many as the listener lets wait.
const MOST: usize = 4;

async fn site() -> IdentitySite {
    let waiting = WaitingLimits {
        most: MOST,
        at_least: Duration::from_millis(20),
        at_most: Some(Duration::from_millis(500)),
    };
    let connections = ConnectionLimits {
        grpc: waiting,
        http: WaitingLimits { at_most: None, ..waiting },
        http_limits: HttpLimits { idle: Duration::from_millis(200) },
    };
    let clusters =
        json!(["east", "west"].map(|name| json!({ "name": name, "environment": "dev" })));
    IdentitySite::start_with(
        &clusters,
        &json!({ "agents": { "token": SHARED } }),
        BrokerOptions { connections, ..options() },
    )
    .await
}

/// Returns when the other side has closed the connection.
async fn closed(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut rest = vec![];
    // A reset is an end as well.
    let _ended = within_deadline("the connection is closed", stream.read_to_end(&mut rest)).await;
}

/// A connection on which TLS stands and nothing is said.
async fn silent_over_tls(site: &IdentitySite) -> impl tokio::io::AsyncRead + Unpin + use<> {
    let tls = client_config(Some(&site.folder.path("authority.crt"))).unwrap();
    let name = rustls::pki_types::ServerName::try_from(BROKER_NAME).unwrap();
    let stream = TcpStream::connect(site.grpc).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls));
    connector.connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn silent_connections_keep_no_agent_out_and_end_no_session() {
    let site = site().await;
    let mut session = hello(&site.by_token(SHARED), "east").await.unwrap();
    let mut silent = vec![];
    for _ in 0..MOST * 5 {
        silent.push(TcpStream::connect(site.grpc).await.unwrap());
    }
    let west = within_deadline("an agent comes in", hello(&site.by_token(SHARED), "west")).await;
    assert!(west.unwrap().is_open().await);
    for stream in silent {
        closed(stream).await;
    }
    assert!(session.is_open().await, "whoever proved who it is makes room for nobody");
}

#[tokio::test]
async fn a_connection_on_which_nobody_proves_anything_ends_and_a_proven_one_stays() {
    let site = site().await;
    let mut session = hello(&site.by_token(SHARED), "east").await.unwrap();
    closed(silent_over_tls(&site).await).await;
    // The session is older than the one that was closed for its age.
    assert!(session.is_open().await);
}

#[tokio::test]
async fn half_a_head_and_a_silent_connection_to_the_api_are_closed() {
    let site = site().await;
    let mut half = TcpStream::connect(site.http).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n").await.unwrap();
    let silent = TcpStream::connect(site.http).await.unwrap();
    let mut kept_alive = TcpStream::connect(site.http).await.unwrap();
    kept_alive.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
    for stream in [half, silent, kept_alive] {
        closed(stream).await;
    }
}

/// Serves an answer that is written as the sender says.
async fn streaming(idle: Duration) -> (SocketAddr, mpsc::Sender<Result<Bytes, std::io::Error>>) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel(1);
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(Some(receiver)));
    let routes = axum::Router::new().route(
        "/stream",
        axum::routing::get(async move || {
            let receiver = receiver.lock().unwrap().take().unwrap();
            Body::from_stream(ReceiverStream::new(receiver))
        }),
    );
    let waiting = WaitingLimits { most: 100, at_least: Duration::ZERO, at_most: None };
    let listener = Listener::new(tcp, None, waiting);
    tokio::spawn(serve(listener, routes, HttpLimits { idle }, CancellationToken::new()));
    (address, sender)
}

#[tokio::test]
async fn an_answer_that_streams_is_not_cut_however_quiet_it_is() {
    let (address, sender) = streaming(Duration::from_millis(100)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 512];
    assert!(stream.read(&mut head).await.unwrap() > 0, "the answer has begun");
    for word in ["one", "two"] {
        // Two connections that came later and are silent have been closed for it since.
        closed(TcpStream::connect(address).await.unwrap()).await;
        sender.send(Ok(Bytes::from_static(word.as_bytes()))).await.unwrap();
        let mut chunk = [0; 64];
        let length = within_deadline("the next part", stream.read(&mut chunk)).await.unwrap();
        assert!(String::from_utf8_lossy(&chunk[..length]).contains(word));
    }
    drop(sender);
    closed(stream).await;
}
