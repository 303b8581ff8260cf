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

use crate::core::digest::SetDigest;
use crate::core::endpoint::{Endpoint, KeyHash, Version};
use crate::core::ids::ClusterId;
use crate::core::status::StatusContent;
use crate::core::time::Timestamp;
use crate::core::verdict::{Verdict, VerdictState};
use crate::ports::{Store, VerdictRow};
use crate::wire::v1;

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

    /// What it says beside the kind; empty for nothing.
    pub fn detail(&self) -> &str {
        match self {
            Self::Pending { detail, .. } => detail,
            Self::Refused { message, .. } | Self::Drifted { message } => message,
            Self::Applied { .. } | Self::InSync { .. } => "",
        }
    }

    /// The kind in the protocol.
    pub const fn to_wire(&self) -> v1::Progress {
        match self {
            Self::Pending { .. } => v1::Progress::Pending,
            Self::Applied { .. } => v1::Progress::Applied,
            Self::InSync { .. } => v1::Progress::InSync,
            Self::Refused { .. } => v1::Progress::Refused,
            Self::Drifted { .. } => v1::Progress::Drifted,
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

    /// What the agent compares; made of what goes over the wire.
    pub fn content(&self) -> StatusContent<'_> {
        let placement = self.verdict.placement.as_ref();
        let detail = self.progress.as_ref().map_or("", Progress::detail);
        StatusContent {
            version: &self.version.0,
            verdict: match self.verdict.state {
                VerdictState::Accepted => v1::VerdictState::Accepted,
                VerdictState::Waiting => v1::VerdictState::Waiting,
                VerdictState::Rejected => v1::VerdictState::Rejected,
            } as i32,
            reason: self.verdict.reason.as_str(),
            message: if detail.is_empty() { &self.verdict.message } else { detail },
            progress: self.progress.as_ref().map_or(v1::Progress::Unspecified, Progress::to_wire) as i32,
            account: placement.map_or("", |placement| placement.account.as_str()),
            zone: placement.map_or("", |placement| placement.zone.as_str()),
        }
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
    /// Over the keys and what their statuses say. Made when somebody compares for the first time, and kept from then on: a
    /// start, in which most statuses change more than once, does not pay for it.
    digest: Option<SetDigest>,
}

impl Board {
    fn digest(&mut self) -> &SetDigest {
        let statuses = &self.statuses;
        self.digest.get_or_insert_with(|| {
            let mut digest = SetDigest::default();
            statuses.values().for_each(|(_, status)| digest.insert(&status.key, &status.content().hash()));
            digest
        })
    }
}

/// Some statuses of a board.
pub struct StatusPage {
    /// They, oldest first.
    pub statuses: Vec<EndpointStatus>,
    /// The generation that they reach to.
    pub reached: u64,
    /// Whether the board holds nothing newer.
    pub is_last: bool,
}

/// A page looks at so many statuses for each one that it may hold: the lock is held for moments, however few are wanted.
const LOOKED_AT: usize = 16;

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
            if let Some(digest) = &mut board.digest {
                digest.remove(&old.key, &old.content().hash());
            }
        }
        if let Some(digest) = &mut board.digest {
            digest.insert(&status.key, &status.content().hash());
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
            if let Some(digest) = &mut board.digest {
                digest.remove(key, &old.content().hash());
            }
        }
    }

    /// The buckets in which this board differs from what a follower holds, and the generation for which that was found; none
    /// when `held` is not [`SetDigest::to_bytes`].
    pub fn compare(&self, held: &[u8]) -> Option<(Vec<u8>, u64)> {
        let mut board = self.lock();
        let differing = board.digest().differing(held)?;
        Some((differing, board.generation))
    }

    /// One status.
    pub fn get(&self, key: &KeyHash) -> Option<EndpointStatus> {
        self.lock().statuses.get(key).map(|(_, status)| status.clone())
    }

    /// Up to `limit` statuses that are newer than a generation, oldest first, and the generation that they reach to.
    pub fn newer_than(&self, generation: u64, limit: usize) -> (Vec<EndpointStatus>, u64) {
        let page = self.page(generation, limit, |_, _| true);
        (page.statuses, page.reached)
    }

    /// Up to `limit` statuses that are newer than a generation and wanted by their own generation and key.
    pub fn page(&self, generation: u64, limit: usize, wanted: impl Fn(u64, &KeyHash) -> bool) -> StatusPage {
        let board = self.lock();
        let mut page = StatusPage { statuses: vec![], reached: generation, is_last: false };
        let mut newer = board.by_generation.range(generation + 1..).take(limit.saturating_mul(LOOKED_AT));
        while page.statuses.len() < limit
            && let Some((at, key)) = newer.next()
        {
            page.reached = *at;
            if wanted(*at, key)
                && let Some((_, status)) = board.statuses.get(key)
            {
                page.statuses.push(status.clone());
            }
        }
        page.is_last = board.by_generation.range(page.reached + 1..).next().is_none();
        page
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
        let row =
            VerdictRow { cluster: cluster.clone(), key: status.key, version: status.version, verdict: status.verdict.clone() };
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
    kept: HashMap<(ClusterId, KeyHash), u64>,
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
    pub fn is_kept(&mut self, cluster: &ClusterId, key: KeyHash, version: Version, verdict: &Verdict) {
        self.kept.insert((cluster.clone(), key), fingerprint(&version, verdict));
    }

    /// Keeps until the hub is gone.
    pub async fn run(mut self) {
        while let Some(first) = self.verdicts.recv().await {
            // Others follow as a rule, and the latest of each is enough.
            tokio::time::sleep(KEEP_EVERY).await;
            let mut latest = HashMap::from([((first.cluster.clone(), first.key), first)]);
            while let Ok(next) = self.verdicts.try_recv() {
                latest.insert((next.cluster.clone(), next.key), next);
            }
            latest.retain(|id, row| {
                self.kept.insert(id.clone(), fingerprint(&row.version, &row.verdict))
                    != Some(fingerprint(&row.version, &row.verdict))
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

    #[test]
    fn a_digest_follows_every_change_as_if_it_were_made_anew() {
        let accepted = |progress| EndpointStatus {
            progress: Some(progress),
            ..status(
                "a",
                Verdict { state: VerdictState::Accepted, reason: Reason::Accepted, message: String::new(), placement: None },
            )
        };
        let pending = |at| accepted(Progress::Pending { detail: String::new(), expected_at: Some(Timestamp(at)) });
        let (board, nothing) = (ClusterBoard::default(), SetDigest::default().to_bytes());
        assert_eq!(board.compare(&nothing).unwrap().0, Vec::<u8>::new());
        assert_eq!(board.compare(&[0; 31]), None);
        let differing_from_anew = |statuses: &[EndpointStatus]| {
            let anew = ClusterBoard::default();
            for status in statuses {
                anew.set(status.clone());
            }
            let held = anew.lock().digest().to_bytes();
            board.compare(&held).unwrap().0.len()
        };
        board.set(pending(1));
        board.set(status("b", Verdict::rejected(Reason::InvalidName, "x")));
        assert!(board.set(pending(2)), "the expectation is told");
        assert_eq!(differing_from_anew(&[pending(9), status("b", Verdict::rejected(Reason::InvalidName, "x"))]), 0);
        assert_eq!(differing_from_anew(&[pending(9), status("b", Verdict::rejected(Reason::InvalidName, "y"))]), 1);
        board.set(accepted(Progress::Applied { change_id: Some("C1".to_owned()) }));
        board.remove(&status("b", Verdict::rejected(Reason::InvalidName, "x")).key);
        assert_eq!(differing_from_anew(&[accepted(Progress::Applied { change_id: None })]), 0);
        assert_eq!(differing_from_anew(&[accepted(Progress::InSync { change_id: None })]), 1);
    }

    #[test]
    fn a_page_skips_what_is_not_wanted_and_comes_to_its_end() {
        let board = ClusterBoard::default();
        let rejected = || Verdict::rejected(Reason::InvalidName, "x");
        for n in 0..100 {
            board.set(status(&format!("o{n}"), rejected()));
        }
        let (mut seen, mut generation, mut pages) = (vec![], 0, 0);
        loop {
            let page = board.page(generation, 2, |at, _| at % 40 == 0);
            seen.extend(page.statuses.into_iter().map(|s| s.endpoint.key.object.to_string()));
            generation = page.reached;
            pages += 1;
            if page.is_last {
                break;
            }
        }
        assert_eq!((seen, generation), (vec!["o39".to_owned(), "o79".to_owned()], 100));
        assert!(pages > 2, "no page looks at everything");
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
