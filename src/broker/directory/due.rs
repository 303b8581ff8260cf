//! The endpoints whose placement can be decided and is not stored yet.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::entry::EndpointEntry;

/// How long an endpoint is left to the replica that got it first. That one decides at once, as a rule; should it be gone, another
/// does so after this time.
const LEAVE_TO_OTHERS: Duration = Duration::from_secs(2);

/// Which replica is to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This replica.
    Ours,
    /// Another one, for now.
    Theirs,
}

/// See the module's page. At most one entry an endpoint, the latest version.
#[derive(Default)]
pub struct DuePlacements {
    waiting: Mutex<BTreeMap<i64, (EndpointEntry, Instant)>>,
    news: Notify,
}

impl DuePlacements {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, (EndpointEntry, Instant)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an endpoint.
    pub fn note(&self, held: &EndpointEntry, turn: Turn) {
        let wait = match turn {
            Turn::Ours => Duration::ZERO,
            Turn::Theirs => LEAVE_TO_OTHERS,
        };
        self.note_in(held, wait);
    }

    /// Notes an endpoint, to be decided after some time; an earlier time that it was noted for is kept.
    pub fn note_in(&self, held: &EndpointEntry, wait: Duration) {
        let at = Instant::now() + wait;
        let mut waiting = self.lock();
        let at = waiting.get(&held.arrival()).map_or(at, |(_, before)| at.min(*before));
        waiting.insert(held.arrival(), (held.clone(), at));
        drop(waiting);
        self.news.notify_one();
    }

    /// Takes some of those whose time has come, or says when that of the first comes; `None` if there is none.
    pub fn take(&self, limit: usize) -> Result<Vec<EndpointEntry>, Option<Instant>> {
        let now = Instant::now();
        let mut waiting = self.lock();
        let due = waiting.iter().filter(|(_, (_, at))| *at <= now).map(|(arrival, _)| *arrival);
        let due: Vec<i64> = due.take(limit).collect();
        if due.is_empty() {
            return Err(waiting.values().map(|(_, at)| *at).min());
        }
        Ok(due.iter().filter_map(|arrival| Some(waiting.remove(arrival)?.0)).collect())
    }

    /// Returns when an endpoint was noted.
    pub async fn noted(&self) {
        self.news.notified().await;
    }
}
