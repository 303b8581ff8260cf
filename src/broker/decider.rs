//! The one writer of the directory: takes what was committed and what was discovered, and passes on what follows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::directory::{ClusterSettings, Effect, SharedDirectory};
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
                ToDecider::Committed(units) => {
                    for unit in units {
                        self.directory.commit(&unit.cluster, unit.ops, &unit.outcomes, &mut effects);
                    }
                }
                ToDecider::Discovered(discovered) => {
                    self.directory.discover(&discovered.account, discovered.zones, &mut effects);
                }
                ToDecider::Reconfigure(settings) => {
                    self.directory.reconfigure(settings, &mut effects);
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
