//! One account's worker, from the taking of its lease to the end of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::{Instrument as _, info_span, warn};

use super::feed_reader::FeedHandle;
use crate::broker::decider::DeciderMessage;
use crate::broker::lease::Lease;
use crate::broker::metrics::BrokerMetrics;
use crate::broker::rules::RulesInForce;
use crate::broker::status::feedback::Feedback;
use crate::broker::worker::{
    AccountSettings, Discovered, Gate, Message, Worker, WorkerHandle, WorkerParts,
};
use crate::broker::{StartError, WORKER_QUEUE};
use crate::core::ids::AccountId;
use crate::core::time::Millis;
use crate::ports::{Clock, DnsProviders, Store, Tenure};

/// How far the clocks of two runs of the broker may differ: those of two replicas, or one machine's before and after it was set.
/// With more, the next holder of an account could count tokens that were spent just now as refilled.
const CLOCKS_DIFFER: Millis = Millis(10_000);
/// How long a tenant that cannot begin waits before it tries again, at first and at most.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// The parts that all workers share.
pub struct WorkerFactory {
    /// The store, as this replica's.
    pub store: Arc<dyn Store>,
    /// Route 53 and STS.
    pub providers: Arc<dyn DnsProviders>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Receives statuses.
    pub feedback: Feedback,
    /// The rules of governance that count.
    pub rules: watch::Receiver<Arc<RulesInForce>>,
    /// Receives discovered zones.
    pub discovered: mpsc::Sender<Discovered>,
    /// The decider, which sends the worker its contributions.
    pub decider: mpsc::Sender<DeciderMessage>,
    /// Changes that other replicas made durable.
    pub feed: FeedHandle,
    /// The figures.
    pub metrics: BrokerMetrics,
    /// How many workers review names at once.
    pub gate: Gate,
    /// How many workers read their zone states at once.
    pub states: Semaphore,
    /// The seed of the jitter.
    pub seed: u64,
}

/// How a tenant begins.
pub enum Way {
    /// At the broker's start, which loads all workers together: it gets the worker, or the error.
    AtStart(oneshot::Sender<Result<WorkerHandle, StartError>>),
    /// Later: it learns what the other replicas made durable, and the decider adopts it.
    Adopted,
}

/// One tenant.
pub struct LeasedAccount {
    /// The lease of its account.
    pub lease: Lease,
    /// Its settings, and later changes of them.
    pub settings: watch::Receiver<Arc<AccountSettings>>,
    /// How it begins.
    pub way: Way,
}

/// How a tenant's life ended.
#[derive(Debug)]
pub struct Ended {
    /// The lease that it held.
    pub tenure: Tenure,
    /// Whether the lease was lost while it worked.
    pub is_lost: bool,
}

impl WorkerFactory {
    /// Manages an account until its lease is over or is to be given back.
    pub async fn live(self: Arc<Self>, tenant: LeasedAccount) -> Ended {
        let lease = tenant.lease.clone();
        let is_lost = tokio::select! {
            biased;
            // The work stops wherever it stands: calls in flight are abandoned, and read back by the next holder.
            () = lease.over() => true,
            () = self.work(tenant) => lease.is_over(),
        };
        self.metrics.account(lease.account()).released();
        // A broker that ends need not know.
        let _ending = self.decider.send(DeciderMessage::Release(lease.account().clone())).await;
        Ended { tenure: lease.tenure().clone(), is_lost }
    }

    async fn work(&self, LeasedAccount { lease, mut settings, way }: LeasedAccount) {
        let account = lease.account().clone();
        let (worker, handle, receiver) = match way {
            Way::AtStart(reply) => match self.load_state(&lease, &mut settings).await {
                Ok(loaded) => {
                    // A start that no longer waits for it ends with its own error.
                    let _gone = reply.send(Ok(loaded.1.clone()));
                    loaded
                }
                Err(error) => {
                    let _gone = reply.send(Err(error));
                    return;
                }
            },
            Way::Adopted => {
                let begun = tokio::select! {
                    begun = self.begin(&lease, &mut settings) => begun,
                    () = lease.stop().cancelled() => return,
                };
                // A broker that ends needs no worker.
                let _ending = self
                    .decider
                    .send(DeciderMessage::Adopt(account.clone(), begun.1.clone()))
                    .await;
                begun
            }
        };
        tokio::select! {
            () = worker.run(receiver).instrument(info_span!("worker", %account)) => {}
            () = self.follow_settings(&account, &mut settings, &handle) => {}
            () = self.introduce(&handle) => {}
        }
    }

    /// Reads the zone states and then the changes of other replicas, among them all that led to these zone states.
    async fn begin(
        &self,
        lease: &Lease,
        settings: &mut watch::Receiver<Arc<AccountSettings>>,
    ) -> (Worker, WorkerHandle, mpsc::Receiver<Message>) {
        let mut wait = FIRST_RETRY;
        let loaded = loop {
            match self.load_state(lease, settings).await {
                Ok(loaded) => break loaded,
                Err(error) => {
                    warn!(account = %lease.account(), %error, "the account cannot be worked yet, trying again")
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LAST_RETRY);
        };
        while self.feed.catch_up().await.is_err() {
            tokio::time::sleep(FIRST_RETRY).await;
        }
        loaded
    }

    async fn load_state(
        &self,
        lease: &Lease,
        settings: &mut watch::Receiver<Arc<AccountSettings>>,
    ) -> Result<(Worker, WorkerHandle, mpsc::Receiver<Message>), StartError> {
        // The semaphore is never closed.
        let _turn = self.states.acquire().await;
        let account = lease.account().clone();
        let settings = Arc::clone(&settings.borrow_and_update());
        let provider = self.providers.provider(&account).await;
        let number = account
            .as_str()
            .bytes()
            .fold(0_u64, |number, digit| number.wrapping_mul(31).wrapping_add(u64::from(digit)));
        let (worker, view) = Worker::load_state(WorkerParts {
            settings: AccountSettings::clone(&settings),
            lease: lease.clone(),
            provider: provider
                .map_err(|reason| StartError::Account { account: account.clone(), reason })?,
            store: self.store.under(lease.tenure().clone()),
            clocks_differ: CLOCKS_DIFFER,
            clock: Arc::clone(&self.clock),
            rules: self.rules.clone(),
            feedback: self.feedback.clone(),
            discovered: self.discovered.clone(),
            metrics: self.metrics.account(&account),
            gate: self.gate.clone(),
            seed: self.seed.wrapping_add(number),
        })
        .await?;
        let (messages, receiver) = mpsc::channel(WORKER_QUEUE);
        Ok((worker, WorkerHandle { messages, view, lease: lease.clone() }, receiver))
    }

    /// Sends the statuses of the account to the other replicas once the worker has loaded everything.
    async fn introduce(&self, worker: &WorkerHandle) {
        let mut view = worker.view.clone();
        if view.wait_for(|view| !view.loading).await.is_ok() {
            self.feedback.tell_others_again(worker.lease.account());
        }
        std::future::pending().await
    }

    /// Sends the worker later configurations.
    async fn follow_settings(
        &self,
        account: &AccountId,
        settings: &mut watch::Receiver<Arc<AccountSettings>>,
        worker: &WorkerHandle,
    ) {
        while settings.changed().await.is_ok() {
            let settings = AccountSettings::clone(&settings.borrow_and_update());
            match self.providers.provider(account).await {
                Ok(provider) => {
                    let message = Message::Reconfigure(Box::new(settings), provider);
                    if worker.messages.send(message).await.is_err() {
                        break;
                    }
                }
                Err(error) => warn!(account = %account, %error, "the account stays as it was"),
            }
        }
        std::future::pending().await
    }
}
