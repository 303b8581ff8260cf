//! A gRPC connection whose bytes are counted at the socket, and on which messages go out as they were encoded before.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes};
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstDecoder;
use zonefold::wire::v1::BrokerMessage;

/// The bytes that passed a socket, in both directions.
#[derive(Debug, Default)]
pub struct Traffic(AtomicU64);

impl Traffic {
    /// How many by now.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Opens a connection of its own.
///
/// # Errors
/// Nothing answers there.
pub async fn connect(broker: SocketAddr, traffic: Arc<Traffic>) -> anyhow::Result<Channel> {
    let dial = tower::service_fn(move |_: Uri| {
        let traffic = Arc::clone(&traffic);
        async move {
            let socket = TcpStream::connect(broker).await?;
            socket.set_nodelay(true)?;
            Ok::<_, io::Error>(TokioIo::new(Counted { socket, traffic }))
        }
    });
    Ok(Endpoint::from_shared(format!("http://{broker}"))?.connect_with_connector(dial).await?)
}

struct Counted {
    socket: TcpStream,
    traffic: Arc<Traffic>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        self.traffic.add(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.traffic.add(*count);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The codec of `Publish` for messages that are encoded already.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsEncoded;

impl Codec for AsEncoded {
    type Encode = Bytes;
    type Decode = BrokerMessage;
    type Encoder = Self;
    type Decoder = ProstDecoder<BrokerMessage>;

    fn encoder(&mut self) -> Self::Encoder {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::default())
    }
}

impl Encoder for AsEncoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}
