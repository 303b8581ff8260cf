//! One connection that listens for new entries of the feed.
//!
//! It is a hint: the waiting task also looks from time to time by itself. So a connection that breaks is made again without haste,
//! and one that is silent for a while is asked whether it is still there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::feed::CHANNEL;
use crate::ports::ReplicaId;

/// A connection that is made, or asked, answers within this time.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Silence after which the connection is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(15);
/// How long after a failure it is made again: at first, and at most.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Listens until it is dropped.
pub(super) struct Listener {
    /// Counts what was heard.
    heard: watch::Sender<u64>,
    /// The count that the waiting side has seen.
    seen: AtomicU64,
    _task: JoinSet<()>,
}

impl Listener {
    /// Begins to listen. News from `own` is passed over.
    pub(super) fn start(connect: PgConnectOptions, own: ReplicaId) -> Self {
        let heard = watch::Sender::new(0);
        let mut task = JoinSet::new();
        task.spawn(listen(connect, own, heard.clone()));
        Self { heard, seen: AtomicU64::new(0), _task: task }
    }

    /// Returns when something was heard since it returned the last time.
    pub(super) async fn changed(&self) {
        let mut heard = self.heard.subscribe();
        let seen = self.seen.load(Ordering::Acquire);
        // The sending side is our own, so it does not go away.
        if let Ok(now) = heard.wait_for(|heard| *heard != seen).await {
            self.seen.store(*now, Ordering::Release);
        }
    }
}

async fn listen(connect: PgConnectOptions, own: ReplicaId, heard: watch::Sender<u64>) {
    let own = own.0.simple().to_string();
    let mut wait = FIRST_WAIT;
    loop {
        match subscribe(&connect).await {
            Ok(mut listener) => {
                wait = FIRST_WAIT;
                // News sent before the connection stood was missed.
                heard.send_modify(|count| *count += 1);
                let reason = hear(&mut listener, &own, &heard).await;
                tracing::info!(
                    error = %reason, "the connection that listens for news of other replicas broke and is made again"
                );
            }
            Err(error) => tracing::debug!(
                %error, "the connection that listens for news of other replicas cannot be made"
            ),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// A connection of its own, outside of the pool that statements share.
async fn subscribe(connect: &PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(ANSWER_WAIT);
    let subscribe = async {
        let mut listener =
            PgListener::connect_with(&pool.connect_lazy_with(connect.clone())).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    };
    tokio::time::timeout(ANSWER_WAIT, subscribe).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Listens until the connection breaks; returns why.
async fn hear(listener: &mut PgListener, own: &str, heard: &watch::Sender<u64>) -> String {
    loop {
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(told))) if told.payload() == own => {}
            Ok(Ok(Some(_))) => heard.send_modify(|count| *count += 1),
            Ok(Ok(None)) => return "it was closed".to_owned(),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => match tokio::time::timeout(
                ANSWER_WAIT,
                sqlx::query("select 1").execute(&mut *listener),
            )
            .await
            {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return "it did not answer".to_owned(),
            },
        }
    }
}
