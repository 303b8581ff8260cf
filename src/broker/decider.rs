//! The only writer of the directory: takes commits, of this replica and of others, and discovered zones, and passes on
//! the effects to the workers of this replica.
//!
//! A worker that comes later gets everything that contributes to its account: the directory is walked a page at a time, and
//! between two pages the decider goes on with its other messages. The worker gets those at once, so every change during
//! the walk reaches it one way or the other, and a repetition does no harm.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use super::directory::due::Turn;
use super::directory::entry::EndpointEntry;
use super::directory::entry::Status;
use super::directory::review::DirectoryReview;
use super::directory::{ClusterSettings, Effect, NameReach, SharedDirectory, Walk};
use super::status::feedback::{Feedback, Keeper};
use super::status::relay::StatusUpdate;
use super::worker::registry::Workers;
use super::worker::{Discovered, Message, WorkerHandle};
use crate::core::dns::name::DnsName;
use crate::core::endpoint::verdict::Placement;
use crate::core::ids::{AccountId, ClusterId};
use crate::core::planning::placement::{PlacementDecision, StoredPlacement};
use crate::core::planning::routing::AccountScope;
use crate::ports::{Clock, EndpointNews, IngestOp, OpOutcome, ReplicaId};

/// One unit that became durable.
#[derive(Debug)]
pub struct CommittedUnit {
    /// Its cluster.
    pub cluster: ClusterId,
    /// The operations.
    pub ops: Vec<IngestOp>,
    /// The placements of puts, by the index of the operation.
    pub placings: BTreeMap<usize, PlacementDecision>,
    /// One for each operation.
    pub outcomes: Vec<OpOutcome>,
}

/// Messages to the decider.
pub enum DeciderMessage {
    /// Units that became durable, in the order of their commits.
    Committed(Vec<CommittedUnit>),
    /// Decisions about placements that were stored.
    Placed(Vec<(EndpointEntry, StoredPlacement)>),
    /// The zones of an account.
    Discovered(Discovered),
    /// Entries of other replicas' feed, in order.
    Followed(Vec<Followed>),
    /// Another replica has gone. It may not have stored the verdicts on what it committed last.
    ReplicaGone,
    /// An account is managed here from now on; its zone states are read, and it waits for its contributions.
    Adopt(AccountId, WorkerHandle),
    /// An account is no longer managed here.
    Release(AccountId),
    /// The configuration of clusters and accounts has changed.
    Reconfigure(HashMap<ClusterId, ClusterSettings>, BTreeMap<AccountId, AccountScope>),
    /// An operator has names whose zones are gone placed anew; answered with how many endpoints go elsewhere.
    Reroute {
        name: DnsName,
        /// Whether names below it are included.
        reach: NameReach,
        /// The number.
        reply: oneshot::Sender<usize>,
    },
    /// Answered when everything before it is in the directory.
    Barrier(oneshot::Sender<()>),
}

/// An entry of another replica.
#[derive(Debug)]
pub enum Followed {
    /// An endpoint was stored or removed.
    Endpoint(EndpointNews),
    /// An endpoint was stored or removed by this replica, which has lost the answer: verdicts on it are kept here, since
    /// no other replica keeps them.
    OwnEndpoint(EndpointNews),
    /// The zones of an account, as the store holds them.
    Zones(Discovered),
    /// Statuses of endpoints.
    Statuses(Vec<StatusUpdate>),
    /// A replica has sent every status that it has.
    ThatWasAll(ReplicaId),
}

/// See the module's page.
pub struct Decider {
    /// Written by the decider alone.
    directory: SharedDirectory,
    /// Get the contributions of their accounts.
    workers: Arc<Workers>,
    /// Receives the statuses that no worker decides.
    feedback: Feedback,
    /// The time of statuses.
    clock: Arc<dyn Clock>,
    /// The walk for workers that have just begun; `None` without one.
    walk: Option<Walk>,
    /// Reviews that are not over yet.
    reviews: VecDeque<DirectoryReview>,
    /// The accounts that a walk has yet to be begun for.
    waiting: BTreeSet<AccountId>,
    /// The replicas that have sent every status that they have.
    told_all: watch::Sender<BTreeSet<ReplicaId>>,
}

impl Decider {
    /// A decider; it alone writes to the directory, and adds and removes workers.
    pub fn new(
        directory: SharedDirectory,
        workers: Arc<Workers>,
        feedback: Feedback,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (told_all, _) = watch::channel(BTreeSet::new());
        Self {
            directory,
            workers,
            feedback,
            clock,
            walk: None,
            reviews: VecDeque::new(),
            waiting: BTreeSet::new(),
            told_all,
        }
    }

    /// The replicas that have sent every status that they have.
    pub fn told_all(&self) -> watch::Receiver<BTreeSet<ReplicaId>> {
        self.told_all.subscribe()
    }

    /// Decides until all senders are gone.
    pub async fn run(mut self, mut messages: mpsc::Receiver<DeciderMessage>) {
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.take(message).await,
                    None => return,
                },
                () = std::future::ready(()), if self.has_more_to_do() => {
                    self.review_on().await;
                    if self.walk.is_some() || !self.waiting.is_empty() {
                        self.walk_on().await;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn has_more_to_do(&self) -> bool {
        self.walk.is_some() || !self.waiting.is_empty() || !self.reviews.is_empty()
    }

    /// Goes on with the first review by a page.
    async fn review_on(&mut self) {
        let Some(mut review) = self.reviews.pop_front() else { return };
        let mut effects = vec![];
        self.directory.review_some(&mut review, &mut effects);
        if !review.is_over() {
            self.reviews.push_back(review);
        }
        self.pass_on(Keeper::Here, effects).await;
    }

    async fn take(&mut self, message: DeciderMessage) {
        let mut effects = vec![];
        let mut keeper = Keeper::Here;
        match message {
            DeciderMessage::Committed(units) => {
                for unit in units {
                    let CommittedUnit { cluster, ops, placings, outcomes } = unit;
                    self.directory.commit(&cluster, ops, &placings, &outcomes, &mut effects);
                }
            }
            DeciderMessage::Placed(decisions) => self.directory.placed(decisions, &mut effects),
            DeciderMessage::Discovered(found) => self.discover(found, Turn::Ours),
            DeciderMessage::Followed(followed) => {
                keeper = Keeper::Elsewhere;
                for news in followed {
                    let next = match &news {
                        Followed::OwnEndpoint(_) => Keeper::Here,
                        _ => Keeper::Elsewhere,
                    };
                    if matches!(news, Followed::Statuses(_)) || next != keeper {
                        // The verdict on an endpoint comes before the status from its worker.
                        self.pass_on(keeper, std::mem::take(&mut effects)).await;
                    }
                    keeper = next;
                    self.follow(news, &mut effects);
                }
            }
            // A placed endpoint is judged by its account's next worker.
            DeciderMessage::ReplicaGone => {
                self.reviews.push_back(DirectoryReview::of_all_waiting(Turn::Ours));
            }
            DeciderMessage::Adopt(account, worker) => {
                self.workers.insert(&account, &worker);
                self.waiting.insert(account);
            }
            DeciderMessage::Release(account) => {
                self.workers.remove(&account);
                // Should the account come back, its worker gets everything, not only the rest of this walk.
                self.waiting.remove(&account);
                if let Some(walk) = &mut self.walk {
                    walk.accounts.remove(&account);
                }
            }
            DeciderMessage::Reconfigure(settings, accounts) => {
                self.directory.set_accounts(accounts);
                self.reviews.extend(self.directory.reconfigure(settings));
                // Endpoints that waited for an account that is gone wait no more.
                self.reviews.push_back(DirectoryReview::of_all_waiting(Turn::Ours));
            }
            DeciderMessage::Reroute { name, reach, reply } => {
                let count = self.directory.reroute(&name, reach, &mut effects);
                info!(%name, endpoints = count, "an operator has names placed anew");
                let _gone = reply.send(count);
            }
            DeciderMessage::Barrier(reply) => {
                // The asker may have gone.
                let _gone = reply.send(());
            }
        }
        self.pass_on(keeper, effects).await;
    }

    fn discover(&mut self, Discovered { account, zones, listing }: Discovered, turn: Turn) {
        self.reviews.extend(self.directory.discover(&account, zones, listing, turn));
    }

    fn follow(&mut self, news: Followed, effects: &mut Vec<Effect>) {
        match news {
            Followed::Endpoint(news) | Followed::OwnEndpoint(news) => {
                if let Some(same) = self.directory.follow(news, effects) {
                    // The other replica may have had another version in between, and hold this one anew.
                    self.feedback.tell_others_of(&same);
                }
            }
            Followed::Zones(found) => self.discover(found, Turn::Theirs),
            Followed::ThatWasAll(replica) => {
                self.told_all.send_if_modified(|told| told.insert(replica));
            }
            Followed::Statuses(statuses) => {
                for told in statuses {
                    self.hear(&told);
                }
            }
        }
    }

    /// Takes a status from another replica.
    fn hear(&self, told: &StatusUpdate) {
        let held = self
            .directory
            .cluster(&told.cluster)
            .get(&told.key)
            .filter(|held| held.version() == told.version);
        // The status of another content says nothing about the one here.
        let Some(held) = held else { return };
        let is_managed_here = |placement: &Placement| self.workers.has(&placement.account);
        let zone = told.zone.as_ref().or(told.status.verdict.placement.as_ref());
        // The worker here knows better than the one that had the account before.
        if !zone.is_some_and(is_managed_here) {
            self.feedback.told(&held, told);
        }
    }

    /// The next page of contributions for new workers; at the end they may begin.
    async fn walk_on(&mut self) {
        let directory = Arc::clone(&self.directory);
        let walk =
            self.walk.get_or_insert_with(|| directory.walk(std::mem::take(&mut self.waiting)));
        match directory.contributions(walk) {
            Some(effects) => self.pass_on(Keeper::Here, effects).await,
            None => {
                let accounts = self.walk.take().map(|walk| walk.accounts).unwrap_or_default();
                for worker in accounts.iter().filter_map(|account| self.workers.get(account)) {
                    // The worker may have lost its lease meanwhile.
                    let _gone = worker.messages.send(Message::Loaded).await;
                }
            }
        }
    }

    async fn pass_on(&self, keeper: Keeper, effects: Vec<Effect>) {
        for (account, effects) in part(effects, keeper, &self.feedback, &*self.clock) {
            pass_on(&self.workers, account, effects).await;
        }
    }
}

/// Sends an account's worker its effects, if the account is managed here.
pub(super) async fn pass_on(workers: &Workers, account: AccountId, effects: Vec<Effect>) {
    match workers.get(&account) {
        Some(worker) => {
            // The worker may have lost its lease, or give it back: the next holder loads everything.
            let _gone = worker.messages.send(Message::Effects(effects)).await;
        }
        None if workers.is_configured(&account) => {}
        None => {
            warn!(account = %account, "no worker for the account: it is not in the configuration, nothing is written there")
        }
    }
}

/// Splits effects by account, in order, and reports those of no account.
pub fn part(
    effects: Vec<Effect>,
    keeper: Keeper,
    feedback: &Feedback,
    clock: &dyn Clock,
) -> BTreeMap<AccountId, Vec<Effect>> {
    let mut by_account: BTreeMap<AccountId, Vec<Effect>> = BTreeMap::new();
    for effect in effects {
        match effect {
            Effect::Contribute { ref placement, .. } | Effect::Withdraw { ref placement, .. } => {
                by_account.entry(placement.account.clone()).or_default().push(effect);
            }
            Effect::Judge { held, verdict } => {
                feedback.judge(keeper, &held, Arc::new(Status::of(verdict)), clock.now());
            }
        }
    }
    by_account
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::directory::Directory;
    use crate::broker::directory::tests::row;
    use crate::broker::status::relay::RelayHandle;
    use crate::core::testkit::endpoint;
    use crate::core::time::Timestamp;

    struct StandingClock;

    impl Clock for StandingClock {
        fn now(&self) -> Timestamp {
            Timestamp(1)
        }
    }

    #[tokio::test]
    async fn what_is_judged_of_an_own_commit_whose_answer_was_lost_is_kept_here() {
        let directory = Arc::new(Directory::default());
        let (to_keep, mut kept) = mpsc::unbounded_channel();
        let feedback = Feedback::new(Arc::clone(&directory), to_keep);
        let mut decider =
            Decider::new(directory, Arc::default(), feedback, Arc::new(StandingClock));
        let theirs = endpoint("theirs", "theirs.example.com", "A", &["192.0.2.1"]);
        let own = endpoint("own", "own.example.com", "A", &["192.0.2.1"]);
        let news = vec![
            Followed::Endpoint(EndpointNews::Stored(row(&theirs, 1, None))),
            Followed::OwnEndpoint(EndpointNews::Stored(row(&own, 2, None))),
        ];
        decider.take(DeciderMessage::Followed(news)).await;
        assert_eq!(kept.try_recv().map(|held| held.arrival()), Ok(2), "the others keep theirs");
        assert!(kept.try_recv().is_err());
        take_whole(&mut decider, DeciderMessage::ReplicaGone).await;
        let left: BTreeSet<i64> =
            std::iter::from_fn(|| kept.try_recv().ok()).map(|held| held.arrival()).collect();
        assert!(left.contains(&1), "one that is gone may not have come to it: {left:?}");
    }

    async fn take_whole(decider: &mut Decider, message: DeciderMessage) {
        decider.take(message).await;
        while !decider.reviews.is_empty() {
            decider.review_on().await;
        }
    }

    #[tokio::test]
    async fn the_other_replicas_are_told_what_is_judged_here_and_again_when_one_wrote_what_is_held()
    {
        let (directory, relay) = (Arc::new(Directory::default()), RelayHandle::default());
        relay.set_others(true);
        let feedback = Feedback::new(Arc::clone(&directory), mpsc::unbounded_channel().0)
            .relayed(relay.clone());
        let mut decider =
            Decider::new(directory, Arc::default(), feedback, Arc::new(StandingClock));
        let web = endpoint("web", "www.example.com", "A", &["192.0.2.1"]);
        let row = row(&web, 1, None);
        for occasion in [
            "its cluster is not registered",
            "it was another one there meanwhile, which nobody here has seen",
        ] {
            let news = Followed::Endpoint(EndpointNews::Stored(row.clone()));
            decider.take(DeciderMessage::Followed(vec![news])).await;
            assert_eq!(relay.take_untold().len(), 1, "{occasion}");
        }
    }
}
