//! A listener, with TLS or without, whose connections say who is at their other end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info;
use axum::serve::IncomingStream;
use bytes::Bytes;
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::ServerTls;
use crate::ports::Peer;

/// A handshake takes one or two round trips and some milliseconds of work.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Handshakes that run at once. Beyond them connections wait in the system's queue: nobody who only connects takes room.
const HANDSHAKES: usize = 512;
/// Out of file descriptors: some have to be given back first.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(500);

/// See the module's page.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Arc<ServerTls>>,
    handshakes: JoinSet<Option<Connection>>,
}

/// One connection.
pub struct Connection {
    stream: Transport,
    peer: Peer,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Listener {
    /// Takes a bound socket; without `tls` it serves plain text.
    pub fn new(tcp: TcpListener, tls: Option<Arc<ServerTls>>) -> Self {
        Self { tcp, tls, handshakes: JoinSet::new() }
    }

    /// The next connection that stands. Nothing is lost when this is dropped before it returns.
    pub async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                Some(ended) = self.handshakes.join_next() => if let Ok(Some(connection)) = ended {
                    return connection;
                },
                accepted = self.tcp.accept(), if self.handshakes.len() < HANDSHAKES => {
                    let (stream, address) = match accepted {
                        Ok(accepted) => accepted,
                        Err(error) if is_of_one_connection(&error) => continue,
                        Err(error) => {
                            tracing::error!(%error, "no connection can be accepted; trying again");
                            tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
                            continue;
                        }
                    };
                    // A socket that cannot be told so is only slower.
                    let _slower = stream.set_nodelay(true);
                    match &self.tls {
                        None => return Connection { stream: Transport::Plain(stream), peer: Peer { address, certificate: None } },
                        Some(tls) => drop(self.handshakes.spawn(handshake(Arc::clone(tls), stream, address))),
                    }
                }
            }
        }
    }

    /// Its connections, for tonic.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Connection>> + Send {
        futures::stream::unfold(self, async |mut listener| {
            let connection = listener.next().await;
            Some((Ok(connection), listener))
        })
    }
}

async fn handshake(
    tls: Arc<ServerTls>,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<Connection> {
    let accepting = TlsAcceptor::from(tls.config()).accept(stream);
    let failure = match tokio::time::timeout(HANDSHAKE_WITHIN, accepting).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let certificate = shown.map(|own| Bytes::copy_from_slice(own.as_ref()));
            return Some(Connection {
                stream: Transport::Tls(Box::new(stream)),
                peer: Peer { address, certificate },
            });
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it took longer than {} seconds", HANDSHAKE_WITHIN.as_secs()),
    };
    let listener = tls.protocol().listener();
    tls.metrics().handshake_failed(listener);
    // Anybody who reaches the port can make lines of this.
    tracing::debug!(%address, listener, failure, "a TLS handshake failed");
    None
}

/// The connection was gone before it was accepted; the next one is none the worse for it.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let connection = self.next().await;
        let address = connection.peer.address;
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl connect_info::Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        stream.io().peer.clone()
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
