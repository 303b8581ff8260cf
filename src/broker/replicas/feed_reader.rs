//! Follows what the other replicas make durable.
//!
//! One task reads the feed, from a place noted before the store was loaded, and sends it to the decider. Three rules keep the
//! directory equal to the store:
//!
//! * Bodies are read when the feed is read, so an entry may show newer content than the change that it announces. That does no
//!   harm: the newer change comes again, and content that is held already is left alone.
//! * A cluster's session may move from one replica to another and back. Before a session is welcomed the feed is read to its end
//!   ([`FeedHandle::catch_up`]), so the new session never works on less than what the older one made durable. Before a page goes
//!   to the decider, this replica's own commits from before the page was read go there ([`CommitOrder`]), so an older content of
//!   its own never comes after a newer one of another.
//! * This replica's own entries are skipped, since the decider got them at the commit. If a commit is in doubt because its answer
//!   was lost, they are read too ([`FeedHandle::read_own_again`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::broker::decider::{DeciderMessage, Followed};
use crate::broker::directory::AccountListing;
use crate::broker::metrics::BrokerMetrics;
use crate::broker::rules::keeper::RulesMessage;
use crate::broker::status::relay::{RelayHandle, THAT_WAS_ALL, decode};
use crate::broker::worker::{Discovered, facts_of};
use crate::core::ids::AccountId;
use crate::core::time::Millis;
use crate::ports::{FeedEntry, News, ReplicaId, Store, StoreError};

/// The feed is read this often, whether or not the store reports news.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest wait before a failing store is tried again.
const MOST_WAIT: Duration = Duration::from_secs(5);
/// About how many endpoints are read at once.
const PAGE: u32 = 2_000;
/// How long entries are kept for a replica that does not read them, and how often older ones are cut.
const KEEP_FOR: Millis = Millis(15 * 60_000);
const CUT_EVERY: Duration = Duration::from_secs(60);

/// Held while a transaction of this replica's ingest is in flight: from before its begin until the decider has its result.
#[derive(Clone, Default)]
pub struct CommitOrder(Arc<Mutex<()>>);

impl CommitOrder {
    /// Returns when no other transaction is in flight; the next one waits until the guard is dropped.
    pub async fn hold(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.0).lock_owned().await
    }
}

/// Why the feed could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the feed of the other replicas cannot be read now")]
pub struct NotCaughtUp;

enum Request {
    CatchUp(oneshot::Sender<Result<(), NotCaughtUp>>),
    ReadOwnAgain { after: u64 },
}

/// How to reach the feed reader.
#[derive(Clone, Default)]
pub struct FeedHandle {
    /// `None` if the store has one replica: then there is nothing to read.
    requests: Option<mpsc::UnboundedSender<Request>>,
    position: Arc<AtomicU64>,
}

impl FeedHandle {
    /// Returns when the decider has everything that the other replicas had made durable at the time of the call.
    ///
    /// # Errors
    /// The store does not answer, or this replica ends.
    pub async fn catch_up(&self) -> Result<(), NotCaughtUp> {
        let Some(requests) = &self.requests else { return Ok(()) };
        let (reply, told) = oneshot::channel();
        requests.send(Request::CatchUp(reply)).map_err(|_| NotCaughtUp)?;
        told.await.map_err(|_| NotCaughtUp)?
    }

    /// A place in the feed before everything that is committed from now on.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// Has the entries after a place read again, this replica's own too; returns whether there is a feed that has them.
    pub fn read_own_again(&self, after: u64) -> bool {
        self.requests
            .as_ref()
            .is_some_and(|requests| requests.send(Request::ReadOwnAgain { after }).is_ok())
    }
}

/// The parts of a feed reader.
pub struct FeedReaderParts {
    /// The store, as this replica's: its own entries come without endpoints and statuses.
    pub store: Arc<dyn Store>,
    /// The store without a replica: its entries come whole.
    pub whole: Arc<dyn Store>,
    /// This replica; its own entries are skipped.
    pub replica: ReplicaId,
    /// The last entry that the directory has already.
    pub after: u64,
    pub decider: mpsc::Sender<DeciderMessage>,
    /// Hears when another replica has accepted rules.
    pub rules: mpsc::UnboundedSender<RulesMessage>,
    /// Orders the feed among this replica's own commits.
    pub commits: CommitOrder,
    /// Hears when another replica asks for statuses.
    pub relay: RelayHandle,
    /// The figures.
    pub metrics: BrokerMetrics,
}

/// See the module's page.
pub struct FeedReader {
    parts: FeedReaderParts,
    position: Arc<AtomicU64>,
    requests: mpsc::UnboundedReceiver<Request>,
    waiting: Vec<oneshot::Sender<Result<(), NotCaughtUp>>>,
    /// The place after which this replica's own entries are to be read too.
    own_after: Option<u64>,
    /// Whether the store's last failure was logged.
    is_failing: bool,
}

/// Why the feed was not read to its end.
enum Stop {
    /// The store did not answer.
    Store(StoreError),
    /// The decider is gone.
    Ending,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl FeedReader {
    /// A feed reader, and how to reach it.
    pub fn new(parts: FeedReaderParts) -> (Self, FeedHandle) {
        let (sender, requests) = mpsc::unbounded_channel();
        let position = Arc::new(AtomicU64::new(parts.after));
        let handle = FeedHandle { requests: Some(sender), position: Arc::clone(&position) };
        (
            Self { parts, position, requests, waiting: vec![], own_after: None, is_failing: false },
            handle,
        )
    }

    /// Follows until the decider is gone, or until entries to be read were cut off: then the store has to be loaded anew.
    pub async fn run(mut self) {
        let (mut wait, mut cut_at) = (LOOK_EVERY, Instant::now() + CUT_EVERY);
        loop {
            let store = Arc::clone(&self.parts.store);
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.take(request),
                    None => return,
                },
                () = store.feed_changed(), if !self.is_failing => {}
                () = tokio::time::sleep(wait) => {}
            }
            while let Ok(request) = self.requests.try_recv() {
                self.take(request);
            }
            match self.read_to_end().await {
                Ok(()) => {
                    if std::mem::take(&mut self.is_failing) {
                        info!("the feed of the other replicas is read again");
                    }
                    wait = LOOK_EVERY;
                    self.answer(Ok(()));
                }
                Err(Stop::Store(StoreError::FeedCut { after })) => {
                    error!(
                        after,
                        "the feed was cut before it was read: this replica ends, to be started again and load the store"
                    );
                    return;
                }
                Err(Stop::Store(error)) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        warn!(
                            %error, "the feed of the other replicas cannot be read, trying again"
                        );
                    }
                    wait = (wait * 2).min(MOST_WAIT);
                    self.answer(Err(NotCaughtUp));
                }
                Err(Stop::Ending) => return,
            }
            if Instant::now() >= cut_at {
                cut_at = Instant::now() + CUT_EVERY;
                if let Err(error) = self.parts.store.prune_feed(KEEP_FOR).await {
                    warn!(
                        %error, "old entries of the feed could not be cut, trying again in a minute"
                    );
                }
            }
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::CatchUp(reply) => self.waiting.push(reply),
            Request::ReadOwnAgain { after } => {
                self.own_after = Some(self.own_after.map_or(after, |before| before.min(after)))
            }
        }
    }

    fn answer(&mut self, answer: Result<(), NotCaughtUp>) {
        for reply in self.waiting.drain(..) {
            // The asker may have gone.
            let _gone = reply.send(answer);
        }
    }

    /// Reads the entries up to now and sends them to the decider.
    async fn read_to_end(&mut self) -> Result<(), Stop> {
        if let Some(after) = self.own_after {
            self.read_all_again(after).await?;
            self.own_after = None;
        }
        let end = self.parts.store.feed_end().await?;
        loop {
            let after = self.position.load(Ordering::Acquire);
            self.parts
                .metrics
                .feed_unread
                .set(i64::try_from(end.saturating_sub(after)).unwrap_or(i64::MAX));
            if after >= end {
                return Ok(());
            }
            let entries = self.parts.store.feed(after, PAGE).await?;
            let last = entries.last().map_or(end, |entry| entry.seq);
            let followed = self.read(entries, Entries::OfOthers).await?;
            let own_are_told = self.parts.commits.hold().await;
            self.tell(followed).await?;
            drop(own_are_told);
            self.position.store(last, Ordering::Release);
        }
    }

    /// Reads all entries after a place again, this replica's own too, while it commits nothing: at the end the decider has
    /// what the store holds.
    async fn read_all_again(&self, mut after: u64) -> Result<(), Stop> {
        let _nothing_commits = self.parts.commits.hold().await;
        let end = self.parts.store.feed_end().await?;
        while after < end {
            let entries = self.parts.whole.feed(after, PAGE).await?;
            after = entries.last().map_or(end, |entry| entry.seq);
            let followed = self.read(entries, Entries::All).await?;
            self.tell(followed).await?;
        }
        self.position.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    async fn tell(&self, followed: Vec<Followed>) -> Result<(), Stop> {
        if followed.is_empty() {
            return Ok(());
        }
        self.parts.decider.send(DeciderMessage::Followed(followed)).await.map_err(|_| Stop::Ending)
    }

    async fn read(
        &self,
        entries: Vec<FeedEntry>,
        which: Entries,
    ) -> Result<Vec<Followed>, StoreError> {
        let mut followed = vec![];
        let mut zones = BTreeSet::new();
        for entry in entries {
            let is_own = entry.origin == self.parts.replica;
            match entry.news {
                News::Endpoints(endpoints) if !is_own => {
                    followed.extend(endpoints.into_iter().map(Followed::Endpoint));
                }
                News::Endpoints(endpoints) if which == Entries::All => {
                    followed.extend(endpoints.into_iter().map(Followed::OwnEndpoint));
                }
                // Of this replica's own entries, only commits can be in doubt.
                _ if is_own => {}
                News::Endpoints(_) => {}
                News::Zones(account) => {
                    // The store is asked once a page for the zones that it holds now.
                    if zones.insert(account.clone()) {
                        followed.push(Followed::Zones(self.zones_of(account).await?));
                    }
                }
                News::Statuses(bytes) if bytes == THAT_WAS_ALL => {
                    followed.push(Followed::ThatWasAll(entry.origin))
                }
                News::Statuses(bytes) => match decode(&bytes) {
                    Ok(statuses) => followed.push(Followed::Statuses(statuses)),
                    Err(error) => {
                        debug!(origin = %entry.origin, %error, "statuses of another release are passed over")
                    }
                },
                News::Ask => self.parts.relay.tell_everything(),
                // The keeper ends with the broker.
                News::Rules(_) => drop(self.parts.rules.send(RulesMessage::Accepted)),
                News::Approvals => drop(self.parts.rules.send(RulesMessage::Approved)),
                News::Handovers => drop(self.parts.rules.send(RulesMessage::HandedOver)),
            }
        }
        Ok(followed)
    }

    async fn zones_of(&self, account: AccountId) -> Result<Discovered, StoreError> {
        let rows = self.parts.store.zones().await?;
        let is_listed = self.parts.store.listed_accounts().await?.contains(&account);
        let zones = rows.iter().filter(|row| row.account == account).map(facts_of).collect();
        let listing = if is_listed { AccountListing::Complete } else { AccountListing::Unknown };
        Ok(Discovered { account, zones: Some(zones), listing })
    }
}

/// Which replicas' entries are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entries {
    OfOthers,
    All,
}
