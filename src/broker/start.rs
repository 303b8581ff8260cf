//! The start of a broker: from the store alone, without a call to Route 53.
//!
//! First every account's worker reads its books: zones, records, claims, open batches. Then all endpoints go past, a page at a
//! time, and each is put into the directory and told to its worker. Until a worker has been told that this was all, an
//! endpoint that it does not know may be one that was not loaded yet, so it plans nothing.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::decider::part;
use super::directory::SharedDirectory;
use super::directory::{Effect, Loader};
use super::feedback::{Feedback, fingerprint};
use super::progress::StartPhase;
use super::worker::{self, AccountSettings, Discovered, Message, Worker, WorkerHandle, WorkerParts};
use super::{BrokerParts, StartError, WORKER_QUEUE, spawn};
use crate::core::ids::AccountId;
use crate::ports::{EndpointRow, StoreError};

/// Endpoints are loaded in pages of this size.
const PAGE: u32 = 10_000;
/// How many accounts read their books at once.
const BOOKS_AT_ONCE: usize = 4;

/// What a start is made with.
pub(super) struct Start<'a> {
    pub(super) parts: &'a BrokerParts,
    pub(super) directory: &'a SharedDirectory,
    pub(super) feedback: &'a Feedback,
    pub(super) gate: worker::Gate,
}

impl Start<'_> {
    /// Loads the zones and starts a worker for each account, with its books read.
    pub(super) async fn workers(
        &self,
        discovered: mpsc::Sender<Discovered>,
        stop: &CancellationToken,
        tasks: &mut JoinSet<&'static str>,
    ) -> Result<BTreeMap<AccountId, WorkerHandle>, StartError> {
        self.parts.progress.enter(StartPhase::Zones, 0);
        let mut by_account: BTreeMap<AccountId, Vec<_>> = BTreeMap::new();
        for row in self.parts.store.zones().await? {
            by_account.entry(row.account.clone()).or_default().push(worker::facts_of(&row));
        }
        for (account, facts) in by_account {
            // There are no endpoints yet that this could concern.
            self.directory.discover(&account, facts, &mut vec![]);
        }
        self.parts.progress.enter(StartPhase::Accounts, self.parts.accounts.len() as u64);
        let accounts = (0_u64..).zip(&self.parts.accounts);
        let loading = accounts.map(|(index, settings)| self.load_books(settings, index, discovered.clone(), stop.clone()));
        let mut loaded = futures::stream::iter(loading).buffered(BOOKS_AT_ONCE);
        let mut workers = BTreeMap::new();
        while let Some((account, worker, handle, receiver)) = loaded.try_next().await? {
            spawn(tasks, "worker", worker.run(receiver));
            workers.insert(account, handle);
            self.parts.progress.advance(1);
        }
        Ok(workers)
    }

    async fn load_books(
        &self,
        settings: &AccountSettings,
        index: u64,
        discovered: mpsc::Sender<Discovered>,
        stop: CancellationToken,
    ) -> Result<(AccountId, Worker, WorkerHandle, mpsc::Receiver<Message>), StartError> {
        let account = settings.account.clone();
        let provider = self.parts.providers.provider(&account).await;
        let parts = WorkerParts {
            settings: settings.clone(),
            provider: provider.map_err(|source| StartError::Account { account: account.clone(), source })?,
            store: self.parts.store.clone(),
            clock: self.parts.clock.clone(),
            feedback: self.feedback.clone(),
            discovered,
            metrics: self.parts.metrics.account(&account),
            gate: self.gate.clone(),
            seed: self.parts.seed.wrapping_add(index),
        };
        let (worker, view) = Worker::load_books(parts, stop).await?;
        let (messages, receiver) = mpsc::channel(WORKER_QUEUE);
        Ok((account, worker, WorkerHandle { messages, view }, receiver))
    }

    /// Loads all endpoints and tells each worker of its own; then the workers begin to plan.
    pub(super) async fn endpoints(&self, workers: &BTreeMap<AccountId, WorkerHandle>) -> Result<(), StartError> {
        self.parts.progress.enter(StartPhase::Endpoints, 0);
        let (mut loader, mut judged) = (Loader::default(), vec![]);
        let mut next = self.fetch(0);
        while let Some(page) = next.join_next().await {
            // An end that is none would make workers take endpoints for gone.
            let page = page.map_err(|died| StoreError::Unavailable(format!("the reading of endpoints ended: {died}")))??;
            let Some(last) = page.last() else { break };
            // The store reads the next page while this one is worked.
            next = self.fetch(last.arrival);
            self.parts.progress.advance(page.len() as u64);
            let mut effects = vec![];
            for row in page {
                let kept = row.verdict.as_ref().map_or(0, fingerprint);
                loader.take(self.directory, row, &mut effects).set_kept(kept);
            }
            judged.extend(effects.extract_if(.., |effect| matches!(effect, Effect::Judge { .. })));
            self.pass_on(workers, effects).await;
        }
        loader.finish(self.directory);
        // What is said of an endpoint is counted at its cluster, so the clusters are there first.
        part(judged, self.feedback, &*self.parts.clock);
        for worker in workers.values() {
            // A worker that is gone is noticed by whoever waits for the tasks.
            let _gone = worker.messages.send(Message::Loaded).await;
        }
        // Every account works as soon as its own names are looked at. Agents are let in when all are: what became of their
        // endpoints is known then, and what they know already is not sent again.
        self.parts.progress.enter(StartPhase::Plans, workers.len() as u64);
        for worker in workers.values() {
            let mut view = worker.view.clone();
            let _gone = view.wait_for(|view| !view.loading).await.is_err();
            self.parts.progress.advance(1);
        }
        Ok(())
    }

    fn fetch(&self, after: i64) -> JoinSet<Result<Vec<EndpointRow>, StoreError>> {
        let store = self.parts.store.clone();
        let mut fetching = JoinSet::new();
        fetching.spawn(async move { store.endpoints(after, PAGE).await });
        fetching
    }

    async fn pass_on(&self, workers: &BTreeMap<AccountId, WorkerHandle>, effects: Vec<Effect>) {
        for (account, effects) in part(effects, self.feedback, &*self.parts.clock) {
            match workers.get(&account) {
                Some(worker) => {
                    // A worker that is gone is noticed by whoever waits for the tasks.
                    let _gone = worker.messages.send(Message::Effects(effects)).await;
                }
                None => {
                    warn!(account = %account, "no worker for the account: it is not in the configuration, nothing is written there")
                }
            }
        }
    }
}
