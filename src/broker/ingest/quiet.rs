//! Warnings that any client of the port can cause: the first of its kind at once, then one a minute with how many there were.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The least time between two warnings of one kind.
const ONCE_IN: Duration = Duration::from_secs(60);

/// See the module's page. There have to be few kinds: each is remembered.
pub(super) struct Quiet<K>(Mutex<HashMap<K, LastSaid>>);

struct LastSaid {
    said_at: Instant,
    since: u64,
}

impl<K> Default for Quiet<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Quiet<K> {
    /// Counts one. If it is to be logged, returns how many there were since the last one that was, this one included.
    pub(super) fn count(&self, kind: K) -> Option<u64> {
        let now = Instant::now();
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kinds.get_mut(&kind) {
            Some(known) if now.duration_since(known.said_at) < ONCE_IN => {
                known.since += 1;
                None
            }
            Some(known) => {
                let since = known.since + 1;
                *known = LastSaid { said_at: now, since: 0 };
                Some(since)
            }
            None => {
                kinds.insert(kind, LastSaid { said_at: now, since: 0 });
                Some(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_one_line_a_minute_with_its_number() {
        let quiet = Quiet::default();
        assert_eq!(quiet.count("a"), Some(1));
        for _ in 0..10_000 {
            assert_eq!(quiet.count("a"), None);
        }
        assert_eq!(quiet.count("b"), Some(1), "another kind is told at once");
        tokio::time::sleep(ONCE_IN).await;
        assert_eq!(quiet.count("a"), Some(10_001));
        assert_eq!(quiet.count("a"), None);
        tokio::time::sleep(ONCE_IN).await;
        assert_eq!(quiet.count("b"), Some(1));
    }
}
