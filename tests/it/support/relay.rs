//! A relay between two parts that counts what passes, both ways, can lead elsewhere, and can fail as a network does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The fate of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passage {
    /// They pass.
    Open,
    /// They wait, without any sign: packets are lost and sent again until the way is open.
    Held,
    /// Connections break, and new ones break at once.
    Cut,
}

/// See the module's page.
pub struct Relay {
    pub address: SocketAddr,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

struct Inner {
    upstreams: Mutex<Vec<SocketAddr>>,
    turn: AtomicUsize,
    bytes: AtomicU64,
    passage: watch::Sender<Passage>,
    /// How many connections were made.
    made: AtomicU64,
    /// The first connections, up to this number, break.
    broken: watch::Sender<u64>,
    /// Nothing passes the first connections, up to this number, any more.
    stranded: watch::Sender<u64>,
}

impl Relay {
    pub async fn start(upstream: SocketAddr) -> Self {
        Self::before(vec![upstream]).await
    }

    /// Before several places that do the same: each new connection goes to the next one that answers.
    pub async fn before(upstreams: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            upstreams: Mutex::new(upstreams),
            turn: AtomicUsize::default(),
            bytes: AtomicU64::default(),
            passage: watch::channel(Passage::Open).0,
            made: AtomicU64::default(),
            broken: watch::channel(0).0,
            stranded: watch::channel(0).0,
        });
        let accepting = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&accepting).connect(client));
            }
        });
        Self { address, inner, task }
    }

    /// Connections that are made from now on go to another place.
    pub fn lead_to(&self, upstream: SocketAddr) {
        self.lead_to_any(vec![upstream]);
    }

    /// Connections that are made from now on go to one of these.
    pub fn lead_to_any(&self, upstreams: Vec<SocketAddr>) {
        *self.inner.upstreams.lock().unwrap() = upstreams;
    }

    /// Breaks the connections of now; new ones are made.
    pub fn break_connections(&self) {
        self.inner.broken.send_replace(self.inner.made.load(Ordering::Relaxed));
    }

    /// Nothing passes over the present connections any more, without any sign; new ones are made. So it looks when what was there
    /// has moved to another machine behind the same address.
    pub fn strand(&self) {
        self.inner.stranded.send_replace(self.inner.made.load(Ordering::Relaxed));
    }

    /// From now on nothing passes, without any sign, as if packets were lost.
    pub fn hold(&self) {
        self.inner.passage.send_replace(Passage::Held);
    }

    /// From now on connections break.
    pub fn cut(&self) {
        self.inner.passage.send_replace(Passage::Cut);
    }

    /// Everything passes again, what was held first.
    pub fn heal(&self) {
        self.inner.passage.send_replace(Passage::Open);
    }

    /// How many connections were made.
    pub fn made(&self) -> u64 {
        self.inner.made.load(Ordering::Relaxed)
    }

    /// The bytes that have passed, both ways.
    pub fn bytes(&self) -> u64 {
        self.inner.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

impl Inner {
    async fn connect(self: Arc<Self>, client: TcpStream) {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        // A connection that is made while packets are lost is made late.
        if !self.is_open(number).await {
            return;
        }
        let upstreams = self.upstreams.lock().unwrap().clone();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        for offset in 0..upstreams.len() {
            if let Ok(server) =
                TcpStream::connect(upstreams[(first + offset) % upstreams.len()]).await
            {
                let _without_delay = (client.set_nodelay(true), server.set_nodelay(true));
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::join!(
                    self.pass(from_client, to_server, number),
                    self.pass(from_server, to_client, number)
                );
                return;
            }
        }
    }

    async fn pass(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        number: u64,
    ) {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = tokio::select! {
                read = from.read(&mut buffer) => read,
                () = self.is_cut(number) => return,
            };
            if !self.is_open(number).await {
                return;
            }
            let Ok(length @ 1..) = read else { break };
            self.bytes.fetch_add(length as u64, Ordering::Relaxed);
            let written = tokio::select! {
                written = to.write_all(&buffer[..length]) => written,
                () = self.is_cut(number) => return,
            };
            if written.is_err() {
                break;
            }
        }
        // The other side learns that this one has nothing more to say; it may have gone.
        let _ = to.shutdown().await;
    }

    /// Waits while bytes are held; false when the connection is to break.
    async fn is_open(&self, number: u64) -> bool {
        let mut passage = self.passage.subscribe();
        tokio::select! {
            _ = passage.wait_for(|passage| *passage == Passage::Open), if number >= *self.stranded.borrow() => true,
            () = self.is_cut(number) => false,
        }
    }

    /// Returns when the connection is to break.
    async fn is_cut(&self, number: u64) {
        let (mut passage, mut broken) = (self.passage.subscribe(), self.broken.subscribe());
        // The senders live as long as the relay.
        tokio::select! {
            _ = passage.wait_for(|passage| *passage == Passage::Cut) => {}
            _ = broken.wait_for(|broken| number < *broken) => {}
        }
    }
}
