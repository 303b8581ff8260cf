//! Waiting for conditions, never for time.

use std::time::Duration;

use tokio::time::Instant;

/// How long anything may take on a busy machine of two processors; nothing waits for it that goes well.
pub const DEADLINE: Duration = Duration::from_secs(120);
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);

/// Looks until there is something, and fails with what was seen last when there is nothing at the deadline.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let seen = match look().await {
            Ok(found) => return found,
            Err(seen) => seen,
        };
        assert!(
            Instant::now() < deadline,
            "not within {} s: {what}; at last {seen}",
            DEADLINE.as_secs()
        );
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Looks until two values are equal.
pub async fn eventually_equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    wanted: T,
    mut look: impl AsyncFnMut() -> T,
) {
    eventually(what, async || match look().await {
        seen if seen == wanted => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
}

/// Waits for what ends by itself when all goes well.
pub async fn within_deadline<T>(what: &str, work: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(DEADLINE, work).await;
    ended.unwrap_or_else(|_| panic!("not within {} s: {what}", DEADLINE.as_secs()))
}
