//! What became of each endpoint: the latest status of every one, for streams and people to follow.
//!
//! The hub holds one status an endpoint, latest wins. A follower remembers the generation up to which it has read and asks for
//! what is newer, so a slow one costs nothing and misses nothing but intermediate states.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, mpsc};
use tracing::warn;

use crate::core::endpoint::{Endpoint, KeyHash, Version};
use crate::core::ids::ClusterId;
use crate::core::time::Timestamp;
use crate::core::verdict::{Verdict, VerdictState};
use crate::ports::{Store, VerdictRow};

/// How far an accepted endpoint has come on its way to Route 53.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub enum Progress {
    /// Not there yet; the text says what it waits for, when that is more than its turn.
    Pending {
        /// What it waits for; empty for its turn.
        detail: String,
        /// When it is expected to go out.
        #[serde(skip_serializing_if = "Option::is_none")]
        expected_at: Option<Timestamp>,
    },
    /// Route 53 accepted it.
    Applied {
        /// The change that did it, when it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        change_id: Option<String>,
    },
    /// Route 53 reports the change INSYNC on its name servers.
    InSync {
        /// The change that did it, when it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        change_id: Option<String>,
    },
    /// Route 53 refused it; it is tried again when its content changes, or later.
    Refused {
        /// Route 53's words.
        message: String,
        /// Not before this time.
        retry_at: Timestamp,
    },
    /// Somebody else changed the record set and the zone's drift policy leaves it so.
    Drifted {
        /// What to do.
        message: String,
    },
}

impl Progress {
    /// The name in the API and the protocol.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Applied { .. } => "applied",
            Self::InSync { .. } => "in_sync",
            Self::Refused { .. } => "refused",
            Self::Drifted { .. } => "drifted",
        }
    }
}

/// The status of one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointStatus {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Hash of its key.
    pub key: KeyHash,
    /// The content that the status is about.
    pub version: Version,
    /// Its arrival number.
    pub arrival: i64,
    /// The broker's answer.
    pub verdict: Verdict,
    /// How far it came; none unless accepted.
    pub progress: Option<Progress>,
    /// Since when.
    pub at: Timestamp,
}

impl EndpointStatus {
    fn says_the_same(&self, other: &Self) -> bool {
        self.version == other.version && self.verdict == other.verdict && self.progress == other.progress
    }
}

/// How many endpoints of a cluster are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatusCounts {
    /// All.
    pub endpoints: usize,
    /// On their way.
    pub pending: usize,
    /// Accepted by Route 53, in sync or not.
    pub applied: usize,
    /// Of those, in sync.
    pub in_sync: usize,
    /// Waiting for something else to change.
    pub waiting: usize,
    /// Rejected by the broker.
    pub rejected: usize,
    /// Refused by Route 53, or drifted.
    pub troubled: usize,
}

impl StatusCounts {
    fn count(&mut self, status: &EndpointStatus, step: impl Fn(&mut usize)) {
        step(&mut self.endpoints);
        match (status.verdict.state, &status.progress) {
            (VerdictState::Rejected, _) => step(&mut self.rejected),
            (VerdictState::Waiting, _) => step(&mut self.waiting),
            (VerdictState::Accepted, None | Some(Progress::Pending { .. })) => step(&mut self.pending),
            (VerdictState::Accepted, Some(Progress::Applied { .. })) => step(&mut self.applied),
            (VerdictState::Accepted, Some(Progress::InSync { .. })) => {
                step(&mut self.applied);
                step(&mut self.in_sync);
            }
            (VerdictState::Accepted, Some(Progress::Refused { .. } | Progress::Drifted { .. })) => step(&mut self.troubled),
        }
    }
}

#[derive(Default)]
struct Board {
    generation: u64,
    statuses: HashMap<KeyHash, (u64, EndpointStatus)>,
    by_generation: BTreeMap<u64, KeyHash>,
    counts: StatusCounts,
}

/// The statuses of one cluster.
#[derive(Default)]
pub struct ClusterBoard {
    board: Mutex<Board>,
    changed: Notify,
}

impl ClusterBoard {
    fn lock(&self) -> MutexGuard<'_, Board> {
        // A panic while the lock was held leaves a board that is at worst one status behind.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a status; answers whether it says something new.
    pub fn set(&self, status: EndpointStatus) -> bool {
        let mut guard = self.lock();
        let board = &mut *guard;
        if let Some((generation, old)) = board.statuses.get(&status.key) {
            if old.says_the_same(&status) {
                return false;
            }
            board.by_generation.remove(generation);
            board.counts.count(old, |n| *n -= 1);
        }
        board.generation += 1;
        board.counts.count(&status, |n| *n += 1);
        board.by_generation.insert(board.generation, status.key);
        board.statuses.insert(status.key, (board.generation, status));
        drop(guard);
        self.changed.notify_waiters();
        true
    }

    /// Forgets an endpoint that is gone.
    pub fn remove(&self, key: &KeyHash) {
        let mut guard = self.lock();
        let board = &mut *guard;
        if let Some((generation, old)) = board.statuses.remove(key) {
            board.by_generation.remove(&generation);
            board.counts.count(&old, |n| *n -= 1);
        }
    }

    /// One status.
    pub fn get(&self, key: &KeyHash) -> Option<EndpointStatus> {
        self.lock().statuses.get(key).map(|(_, status)| status.clone())
    }

    /// Up to `limit` statuses that are newer than a generation, oldest first, and the generation that they reach to.
    pub fn newer_than(&self, generation: u64, limit: usize) -> (Vec<EndpointStatus>, u64) {
        let board = self.lock();
        let mut reached = generation;
        let statuses = board
            .by_generation
            .range(generation + 1..)
            .take(limit)
            .filter_map(|(at, key)| {
                reached = *at;
                board.statuses.get(key).map(|(_, status)| status.clone())
            })
            .collect();
        (statuses, reached)
    }

    /// How many are in which state.
    pub fn counts(&self) -> StatusCounts {
        self.lock().counts
    }

    /// Returns when something is newer than the generation.
    pub async fn wait_newer_than(&self, generation: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no change falls between.
            changed.as_mut().enable();
            if self.lock().generation > generation {
                return;
            }
            changed.await;
        }
    }
}

/// The statuses of all clusters.
#[derive(Default)]
pub struct StatusHub {
    clusters: RwLock<HashMap<ClusterId, Arc<ClusterBoard>>>,
    /// Verdicts on their way to the store.
    verdicts: Option<mpsc::UnboundedSender<VerdictRow>>,
}

impl StatusHub {
    /// A hub that passes every verdict on.
    pub fn keeping(verdicts: mpsc::UnboundedSender<VerdictRow>) -> Self {
        Self { verdicts: Some(verdicts), ..Self::default() }
    }

    /// Sets a status, and passes its verdict on when something is new.
    pub fn set(&self, cluster: &ClusterId, status: EndpointStatus) {
        let row = VerdictRow {
            cluster: cluster.clone(),
            arrival: status.arrival,
            version: status.version,
            verdict: status.verdict.clone(),
        };
        if self.cluster(cluster).set(status)
            && let Some(verdicts) = &self.verdicts
        {
            // The keeper lives as long as the broker; at its end verdicts are made anew from what is stored.
            let _gone = verdicts.send(row);
        }
    }

    /// Forgets an endpoint that is gone.
    pub fn forget(&self, cluster: &ClusterId, key: &KeyHash) {
        self.cluster(cluster).remove(key);
    }

    /// The board of a cluster, made when it is asked for first.
    pub fn cluster(&self, cluster: &ClusterId) -> Arc<ClusterBoard> {
        if let Some(board) = self.clusters.read().unwrap_or_else(PoisonError::into_inner).get(cluster) {
            return Arc::clone(board);
        }
        Arc::clone(self.clusters.write().unwrap_or_else(PoisonError::into_inner).entry(cluster.clone()).or_default())
    }
}

/// Keeps verdicts in the store, in bulk: what has not changed since it was kept is not written again.
pub struct VerdictKeeper {
    store: Arc<dyn Store>,
    verdicts: mpsc::UnboundedReceiver<VerdictRow>,
    kept: HashMap<i64, u64>,
}

/// Verdicts are gathered for this long before they are written.
const KEEP_EVERY: Duration = Duration::from_millis(200);
/// So many are written at once: the store's writer is free again soon for what somebody waits for.
const KEEP_AT_ONCE: usize = 500;

impl VerdictKeeper {
    /// A keeper, and the sender for the hub.
    pub fn new(store: Arc<dyn Store>) -> (Self, mpsc::UnboundedSender<VerdictRow>) {
        let (sender, verdicts) = mpsc::unbounded_channel();
        (Self { store, verdicts, kept: HashMap::new() }, sender)
    }

    /// Notes what the store has already.
    pub fn is_kept(&mut self, arrival: i64, version: Version, verdict: &Verdict) {
        self.kept.insert(arrival, fingerprint(&version, verdict));
    }

    /// Keeps until the hub is gone.
    pub async fn run(mut self) {
        while let Some(first) = self.verdicts.recv().await {
            // Others follow as a rule, and the latest of each is enough.
            tokio::time::sleep(KEEP_EVERY).await;
            let mut latest = HashMap::from([(first.arrival, first)]);
            while let Ok(next) = self.verdicts.try_recv() {
                latest.insert(next.arrival, next);
            }
            latest.retain(|id, row| {
                self.kept.insert(*id, fingerprint(&row.version, &row.verdict)) != Some(fingerprint(&row.version, &row.verdict))
            });
            let rows: Vec<VerdictRow> = latest.into_values().collect();
            for chunk in rows.chunks(KEEP_AT_ONCE) {
                if let Err(error) = self.store.save_verdicts(chunk).await {
                    warn!("verdicts could not be stored; they are made anew at the next start: {error}");
                }
                tokio::task::yield_now().await;
            }
        }
    }
}

fn fingerprint(version: &Version, verdict: &Verdict) -> u64 {
    let mut hasher = DefaultHasher::new();
    (version, verdict.state, verdict.reason, &verdict.message, &verdict.placement).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testkit::endpoint;
    use crate::core::verdict::Reason;

    fn status(object: &str, verdict: Verdict) -> EndpointStatus {
        let endpoint = endpoint(object, "www.example.com", "A", &["192.0.2.1"]);
        EndpointStatus {
            key: endpoint.key.hash(),
            version: endpoint.version(),
            arrival: 1,
            endpoint: Arc::new(endpoint),
            verdict,
            progress: None,
            at: Timestamp(0),
        }
    }

    #[test]
    fn a_follower_sees_the_latest_of_each_and_nothing_twice() {
        let board = ClusterBoard::default();
        let rejected = || Verdict::rejected(Reason::InvalidName, "x");
        let waiting = || Verdict::waiting(Reason::NoZone, "y", None);
        assert!(board.set(status("a", rejected())));
        assert!(!board.set(status("a", rejected())), "the same again says nothing new");
        assert!(board.set(status("b", rejected())));
        assert!(board.set(status("a", waiting())));
        let (seen, generation) = board.newer_than(0, 10);
        let seen: Vec<_> = seen.iter().map(|s| (s.endpoint.key.object.to_string(), s.verdict.state)).collect();
        assert_eq!(seen, [("b".to_owned(), VerdictState::Rejected), ("a".to_owned(), VerdictState::Waiting)]);
        assert!(board.newer_than(generation, 10).0.is_empty());
        assert_eq!(board.counts(), StatusCounts { endpoints: 2, waiting: 1, rejected: 1, ..StatusCounts::default() });
        board.remove(&status("a", waiting()).key);
        assert_eq!(board.counts().endpoints, 1);
    }

    #[tokio::test]
    async fn a_follower_is_woken() {
        let board = Arc::new(ClusterBoard::default());
        let follower = tokio::spawn({
            let board = Arc::clone(&board);
            async move { board.wait_newer_than(0).await }
        });
        board.set(status("a", Verdict::rejected(Reason::InvalidName, "x")));
        follower.await.unwrap();
    }
}
