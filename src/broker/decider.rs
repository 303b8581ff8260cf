//! The one writer of the directory: takes what was committed and what was discovered, and passes on what follows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::directory::{ClusterSettings, Directory, Effect};
use super::feedback::Feedback;
use super::held::Status;
use super::ingest::CommittedUnit;
use super::worker::{Discovered, Message, WorkerHandle};
use crate::core::ids::{AccountId, ClusterId};
use crate::ports::Clock;

/// What the decider is told.
pub enum ToDecider {
    /// Units that became durable, in the order of their commits.
    Committed(Vec<CommittedUnit>),
    /// The zones of an account.
    Discovered(Discovered),
    /// The configuration of clusters has changed.
    Reconfigure(HashMap<ClusterId, ClusterSettings>),
    /// Answered when everything before it is in the directory.
    Barrier(oneshot::Sender<()>),
}

/// The directory, shared; only the decider tells it anything.
#[derive(Clone)]
pub struct SharedDirectory(Arc<Directory>);

impl SharedDirectory {
    /// Shares a directory.
    pub fn new(directory: Directory) -> Self {
        Self(Arc::new(directory))
    }

    /// Looks at it.
    pub fn read<T>(&self, look: impl FnOnce(&Directory) -> T) -> T {
        look(&self.0)
    }
}

/// See the module's page.
pub struct Decider {
    /// The directory.
    pub directory: SharedDirectory,
    /// The workers, by account.
    pub workers: BTreeMap<AccountId, WorkerHandle>,
    /// Where verdicts go.
    pub feedback: Feedback,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Decider {
    /// Decides until nobody is left to tell it anything.
    pub async fn run(self, mut messages: mpsc::Receiver<ToDecider>) {
        while let Some(message) = messages.recv().await {
            let mut effects = vec![];
            match message {
                ToDecider::Committed(units) => self.directory.read(|directory| {
                    for unit in units {
                        directory.commit(&unit.cluster, unit.ops, &unit.outcomes, &mut effects);
                    }
                }),
                ToDecider::Discovered(discovered) => {
                    self.directory.read(|directory| directory.discover(&discovered.account, discovered.zones, &mut effects));
                }
                ToDecider::Reconfigure(settings) => {
                    self.directory.read(|directory| directory.reconfigure(settings, &mut effects));
                }
                ToDecider::Barrier(reply) => {
                    // Who asked may have gone.
                    let _gone = reply.send(());
                }
            }
            self.pass_on(effects).await;
        }
    }

    async fn pass_on(&self, effects: Vec<Effect>) {
        for (account, effects) in part(effects, &self.feedback, &*self.clock) {
            match self.workers.get(&account) {
                Some(worker) => {
                    if worker.messages.send(Message::Effects(effects)).await.is_err() {
                        warn!(account = %account, "the account's worker is gone; its names are decided at the next start");
                    }
                }
                None => {
                    warn!(account = %account, "no worker for the account: it is not in the configuration, nothing is written there")
                }
            }
        }
    }
}

/// Parts effects by account, in order, and tells what concerns no account.
pub fn part(effects: Vec<Effect>, feedback: &Feedback, clock: &dyn Clock) -> BTreeMap<AccountId, Vec<Effect>> {
    let mut by_account: BTreeMap<AccountId, Vec<Effect>> = BTreeMap::new();
    for effect in effects {
        match effect {
            Effect::Contribute { ref placement, .. } | Effect::Withdraw { ref placement, .. } => {
                by_account.entry(placement.account.clone()).or_default().push(effect);
            }
            Effect::Judge { held, verdict } => feedback.tell(&held, Arc::new(Status::of(verdict)), clock.now()),
        }
    }
    by_account
}
