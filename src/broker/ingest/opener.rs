//! Opens sessions in groups: every Hello that comes while a transaction runs goes into the next one, so a thousand clusters
//! that reconnect at once cost a few transactions, and the acks of the others go on between them.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::session::barrier;
use crate::broker::decider::DeciderMessage;
use crate::broker::replicas::feed_reader::FeedHandle;
use crate::ports::{SessionOpened, SessionOpening, Store, StoreError};

/// A transaction opens no more sessions than this: it takes milliseconds, and others wait for the store's writer.
const MOST_AT_ONCE: usize = 256;
/// How many Hellos wait at most; those behind them wait for a place, in their order.
const QUEUE: usize = 1_024;

/// Why a session could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The store does not answer.
    #[error("the broker's store is unavailable: connect again later")]
    Unavailable,
    /// The store refuses it.
    #[error("the broker's store refuses the session; see the broker's log")]
    Refused,
    /// The broker stops.
    #[error("the broker shuts down: connect again")]
    Stopping,
}

struct Hello {
    opening: SessionOpening,
    reply: oneshot::Sender<Result<SessionOpened, OpenError>>,
}

/// How streams have their sessions opened.
#[derive(Clone)]
pub struct OpenerHandle {
    hellos: mpsc::Sender<Hello>,
}

impl OpenerHandle {
    /// Opens a session. When this answers, everything that older sessions of the cluster made durable, at whichever replica, is in
    /// the directory, and nothing more of them will be.
    ///
    /// # Errors
    /// The store does not answer or refuses, or the broker stops.
    pub async fn open(&self, opening: SessionOpening) -> Result<SessionOpened, OpenError> {
        let (reply, told) = oneshot::channel();
        self.hellos.send(Hello { opening, reply }).await.map_err(|_| OpenError::Stopping)?;
        told.await.map_err(|_| OpenError::Stopping)?
    }
}

/// See the module's page.
pub struct Opener {
    hellos: mpsc::Receiver<Hello>,
    store: Arc<dyn Store>,
    decider: mpsc::Sender<DeciderMessage>,
    feed: FeedHandle,
}

impl Opener {
    /// An opener and the handle for streams.
    pub fn new(
        store: Arc<dyn Store>,
        decider: mpsc::Sender<DeciderMessage>,
        feed: FeedHandle,
    ) -> (Self, OpenerHandle) {
        let (sender, hellos) = mpsc::channel(QUEUE);
        (Self { hellos, store, decider, feed }, OpenerHandle { hellos: sender })
    }

    /// Opens until the broker drains; streams that still wait then get [`OpenError::Stopping`].
    pub async fn run(mut self, drain: CancellationToken) {
        let mut group = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = drain.cancelled() => return,
                count = self.hellos.recv_many(&mut group, MOST_AT_ONCE) => if count == 0 {
                    return;
                },
            }
            self.open(std::mem::take(&mut group)).await;
        }
    }

    async fn open(&self, group: Vec<Hello>) {
        // A stream that has hung up meanwhile supersedes no session.
        let (openings, replies): (Vec<_>, Vec<_>) = group
            .into_iter()
            .filter(|hello| !hello.reply.is_closed())
            .map(|hello| (hello.opening, hello.reply))
            .unzip();
        if openings.is_empty() {
            return;
        }
        match self.store.open_sessions(&openings).await {
            Ok(opened) => {
                debug!(sessions = opened.len(), "opened");
                let is_there = self.everything_is_there().await;
                for (reply, opened) in replies.into_iter().zip(opened) {
                    tell(reply, is_there.map(|()| opened));
                }
            }
            Err(StoreError::Unavailable(reason)) => {
                warn!(
                    sessions = openings.len(),
                    error = %reason, "no session can be opened, the store is unavailable"
                );
                replies.into_iter().for_each(|reply| tell(reply, Err(OpenError::Unavailable)));
            }
            Err(error) if openings.len() == 1 => {
                warn!(%error, "a session could not be opened");
                replies.into_iter().for_each(|reply| tell(reply, Err(OpenError::Refused)));
            }
            Err(_) => {
                // One of the group is at fault: each goes alone, so that only that one fails.
                for (opening, reply) in openings.into_iter().zip(replies) {
                    Box::pin(self.open(vec![Hello { opening, reply }])).await;
                }
            }
        }
    }

    /// Waits once for the group: when this returns, the directory has all commits from before the epochs rose.
    async fn everything_is_there(&self) -> Result<(), OpenError> {
        if let Err(error) = self.feed.catch_up().await {
            warn!(%error, "sessions were opened and are not welcomed yet");
            return Err(OpenError::Unavailable);
        }
        barrier(&self.decider).await.ok_or(OpenError::Stopping)
    }
}

fn tell(
    reply: oneshot::Sender<Result<SessionOpened, OpenError>>,
    answer: Result<SessionOpened, OpenError>,
) {
    // The stream may have ended.
    let _gone = reply.send(answer);
}
