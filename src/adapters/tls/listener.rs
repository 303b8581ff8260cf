//! A listener, with TLS or without, whose connections identify their peer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::ServerTls;
use super::lobby::{Closing, Lobby, LobbyTicket, WaitingLimits};
use crate::ports::{Door, Peer};

/// A handshake takes one or two round trips and some milliseconds of work.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(2);
/// Out of file descriptors: some have to be given back first.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(500);

/// See the module's page.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Arc<ServerTls>>,
    lobby: Lobby,
    handshakes: JoinSet<Option<Connection>>,
}

/// One connection.
pub struct Connection {
    stream: Transport,
    peer: Peer,
    /// Ready when it has to go; `None` once that is settled.
    closing: Option<Closing>,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Listener {
    /// Takes a bound socket; without `tls` it serves plain text.
    pub fn new(tcp: TcpListener, tls: Option<Arc<ServerTls>>, waiting: WaitingLimits) -> Self {
        Self { tcp, tls, lobby: Lobby::new(waiting), handshakes: JoinSet::new() }
    }

    /// The next connection that stands. Nothing is lost when this is dropped before it returns.
    pub async fn next(&mut self) -> Connection {
        loop {
            let (lobby, tcp) = (&self.lobby, &self.tcp);
            let accepting = async {
                lobby.room().await;
                tcp.accept().await
            };
            tokio::select! {
                Some(ended) = self.handshakes.join_next() => if let Ok(Some(connection)) = ended {
                    return connection;
                },
                accepted = accepting => {
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
                    let place = self.lobby.enter();
                    match &self.tls {
                        None => return Connection::new(Transport::Plain(stream), address, None, place),
                        Some(tls) => drop(self.handshakes.spawn(handshake(Arc::clone(tls), stream, address, place))),
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
    place: LobbyTicket,
) -> Option<Connection> {
    let accepting = TlsAcceptor::from(tls.config()).accept(stream);
    let within = tokio::time::timeout(HANDSHAKE_WITHIN, accepting);
    let ended = tokio::select! {
        ended = within => Some(ended),
        () = place.closing() => None,
    };
    let failure = match ended {
        Some(Ok(Ok(stream))) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let certificate = shown.map(|own| Bytes::copy_from_slice(own.as_ref()));
            let stream = Transport::Tls(Box::new(stream));
            return Some(Connection::new(stream, address, certificate, place));
        }
        Some(Ok(Err(error))) => error.to_string(),
        Some(Err(_)) => format!("it took longer than {} seconds", HANDSHAKE_WITHIN.as_secs()),
        None => "it made room for another one".to_owned(),
    };
    let listener = tls.protocol().listener();
    tls.metrics().handshake_failed(listener);
    // Any client that reaches the port can make lines of this.
    tracing::debug!(%address, listener, failure, "a TLS handshake failed");
    None
}

impl Connection {
    fn new(
        stream: Transport,
        address: SocketAddr,
        certificate: Option<Bytes>,
        place: LobbyTicket,
    ) -> Self {
        let closing = Some(place.closing());
        let door = Door::new(move || place.pass());
        Self { stream, peer: Peer { address, certificate, door }, closing }
    }

    /// Whether the connection has to go. Its server reads all the time, so it learns of it then.
    fn poll_closing(&mut self, context: &mut Context<'_>) -> bool {
        let is_closing =
            self.closing.as_mut().is_some_and(|closing| closing.poll_unpin(context).is_ready());
        if is_closing {
            self.closing = None;
            tracing::debug!(address = %self.peer.address, "a connection without a proven caller is closed");
        }
        is_closing
    }
}

/// The connection was gone before it was accepted; the next one is none the worse for it.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        let connection = self.next().await;
        let peer = connection.peer.clone();
        (connection, peer)
    }

    /// Our own end: no certificate is asked for.
    fn local_addr(&self) -> io::Result<Peer> {
        let address = self.tcp.local_addr()?;
        Ok(Peer { address, certificate: None, door: Door::default() })
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
        let connection = self.get_mut();
        if connection.poll_closing(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        match &mut connection.stream {
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
