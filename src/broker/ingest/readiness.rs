//! Whether this replica reaches its store. One that no longer does sends its agents to another replica.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How often the store is asked.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// The store counts as lost if it has not answered for this long. Leases run out sooner, and a slow answer under load is faster.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// Asks the store from time to time and says in `ready` whether sessions may stay. If no other replica lives, they stay in any
/// case: there is no other to take them.
pub async fn watch_store(
    ping: impl AsyncFn() -> bool,
    has_others: impl Fn() -> bool,
    ready: watch::Sender<bool>,
) {
    let mut answered_at = Instant::now();
    loop {
        if timeout(LOST_AFTER, ping()).await.unwrap_or(false) {
            answered_at = Instant::now();
        }
        let may_stay = answered_at.elapsed() < LOST_AFTER || !has_others();
        let is_news =
            ready.send_if_modified(|ready| std::mem::replace(ready, may_stay) != may_stay);
        match may_stay {
            true if is_news => tracing::info!("the store answers again: agents may stay"),
            false if is_news => {
                tracing::warn!("the store does not answer: agents are sent to another replica")
            }
            _ => {}
        }
        sleep(ASK_EVERY).await;
    }
}

/// Returns when sessions may not stay.
pub(super) async fn lost(mut ready: watch::Receiver<bool>) {
    if ready.wait_for(|ready| !ready).await.is_err() {
        // The replica stops, which ends sessions otherwise.
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Whether sessions may stay after each of these seconds, in which the store answers or not.
    async fn run(has_others: bool, seconds: &[(u64, bool)]) -> Vec<bool> {
        let answers = Arc::new(AtomicBool::new(true));
        let (sender, ready) = watch::channel(true);
        let asked = Arc::clone(&answers);
        let ping = async move || asked.load(Ordering::Relaxed);
        let watching = tokio::spawn(watch_store(ping, move || has_others, sender));
        let mut seen = vec![];
        for (secs, is_there) in seconds {
            answers.store(*is_there, Ordering::Relaxed);
            sleep(Duration::from_secs(*secs)).await;
            seen.push(*ready.borrow());
        }
        watching.abort();
        seen
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_without_its_store_sends_its_agents_to_another_one() {
        let phases = [(30, true), (5, false), (3, true), (20, false), (3, true)];
        assert_eq!(run(true, &phases).await, [true, true, true, false, true]);
        assert_eq!(run(false, &phases).await, [true; 5], "nobody else would take them");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_silent_is_lost() {
        let (sender, ready) = watch::channel(true);
        let silent = async || std::future::pending().await;
        let watching = tokio::spawn(watch_store(silent, || true, sender));
        tokio::time::timeout(Duration::from_secs(13), lost(ready)).await.expect("it is lost");
        watching.abort();
    }
}
