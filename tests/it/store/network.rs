//! PostgreSQL behind a network that swallows what is sent.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use zonefold::core::time::Millis;

use super::*;
use crate::support::wait::eventually;

/// A way to PostgreSQL on which connections can get stuck: nothing passes any more, without any sign.
struct Way {
    url: String,
    /// How many more messages of the client pass on the connections that exist. Below zero: none does.
    passes: Arc<std::sync::Mutex<Arc<AtomicI64>>>,
    _task: JoinSet<()>,
}

impl Way {
    async fn to(place: &Place) -> Self {
        let (start, rest) = place.url.rsplit_once(':').unwrap();
        let (port, database) = rest.split_once('/').unwrap();
        let upstream = format!("127.0.0.1:{port}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{start}:{}/{database}", listener.local_addr().unwrap().port());
        let passes = Arc::new(std::sync::Mutex::new(Arc::new(AtomicI64::new(i64::MAX))));
        let newest = Arc::clone(&passes);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let passes = Arc::clone(&newest.lock().unwrap());
                let server = TcpStream::connect(&upstream).await.unwrap();
                connections.spawn(async move {
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::join!(
                        pass(from_client, to_server, &passes, 1),
                        pass(from_server, to_client, &passes, 0)
                    );
                });
            }
        });
        Self { url, passes, _task: task }
    }

    async fn open(&self, options: &StoreOptions) -> Arc<dyn Store> {
        let url = self.url.parse().unwrap();
        eventually("it opens", async || {
            open(&url, options).await.map_err(|error| error.to_string())
        })
        .await
    }

    /// The connections that exist are stuck after `messages` messages; those that are made later are not.
    fn stick_after(&self, messages: i64) {
        let mut newest = self.passes.lock().unwrap();
        newest.store(messages, Ordering::Relaxed);
        *newest = Arc::new(AtomicI64::new(i64::MAX));
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passes: &AtomicI64,
    takes: i64,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if passes.fetch_sub(takes, Ordering::Relaxed) >= takes
            && to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
    // The end of one side does not pass either: the other half would say so when it is dropped.
    if passes.load(Ordering::Relaxed) < 0 {
        std::future::pending::<()>().await;
    }
}

/// Short waits, and one connection: one that is waited for is missed at once.
const IMPATIENT: StoreOptions = StoreOptions {
    connections: 1,
    acquire_wait_ms: 1_000,
    lock_wait_ms: 700,
    statement_ms: 700,
    idle_ms: 4_000,
    lease_wait_ms: 700,
};

fn is_unavailable(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_gets_no_answer_ends_and_a_later_one_has_another_connection() {
    let place = Place::postgres().await;
    let way = Way::to(&place).await;
    let store = way.open(&IMPATIENT).await;
    let me = ReplicaRow { replica: replica(1), address: String::new() };
    let beat = async || store.heartbeat(&me, Millis(3_600_000)).await;
    let write = async |at| store.set_spend_horizon(&account(), Timestamp(at)).await;
    let mut stuck = [0, 0];
    // Before a statement, between two of them, and at the commit.
    for messages in [0, 2, 4, 6] {
        way.stick_after(messages);
        stuck[0] += usize::from(beat().await.is_err_and(|error| is_unavailable(&error)));
        eventually("the leases have another connection", async || {
            beat().await.map_err(|error| error.to_string())
        })
        .await;
        stuck[1] += usize::from(write(messages).await.is_err_and(|error| is_unavailable(&error)));
        eventually("all else has another connection", async || {
            store.zones().await.map_err(|error| error.to_string())
        })
        .await;
    }
    assert!(stuck.iter().all(|count| *count >= 2), "{stuck:?}: too few got stuck");
}
