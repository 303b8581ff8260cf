//! The start of a broker: from the store alone, without a call to Route 53.
//!
//! First the worker of every account that is managed here reads its zone states: zones, records, claims, open batches. Then all
//! endpoints are loaded, a page at a time; each is put into the directory and sent to its worker. Until a worker hears that all
//! are loaded, an endpoint that it does not know may be one that was not loaded yet, so it plans nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::progress::{StartPhase, StartProgress};
use crate::broker::StartError;
use crate::broker::decider::{part, pass_on};
use crate::broker::directory::SharedDirectory;
use crate::broker::directory::due::Turn;
use crate::broker::directory::{AccountListing, Effect, Loader};
use crate::broker::replicas::manager::Starting;
use crate::broker::status::feedback::{Feedback, Keeper};
use crate::broker::worker;
use crate::broker::worker::Message;
use crate::broker::worker::registry::Workers;
use crate::core::ids::AccountId;
use crate::ports::{Clock, EndpointRow, Store, StoreError};

/// Endpoints are loaded in pages of this size.
const PAGE: u32 = 10_000;

/// The parts that a start needs.
pub(in crate::broker) struct Start<'a> {
    pub(in crate::broker) store: &'a Arc<dyn Store>,
    pub(in crate::broker) clock: &'a dyn Clock,
    pub(in crate::broker) progress: &'a StartProgress,
    pub(in crate::broker) directory: &'a SharedDirectory,
    pub(in crate::broker) feedback: &'a Feedback,
    pub(in crate::broker) workers: &'a Workers,
}

impl Start<'_> {
    /// Loads the zones of all accounts.
    pub(in crate::broker) async fn zones(&self) -> Result<(), StartError> {
        self.progress.enter(StartPhase::Zones, 0);
        let mut by_account: BTreeMap<AccountId, Vec<_>> = BTreeMap::new();
        for row in self.store.zones().await? {
            by_account.entry(row.account.clone()).or_default().push(worker::facts_of(&row));
        }
        for (account, facts) in by_account {
            // There are no endpoints yet that this could concern.
            let _nothing =
                self.directory.discover(&account, Some(facts), AccountListing::Unknown, Turn::Ours);
        }
        Ok(())
    }

    /// Waits until the workers of the accounts that are managed here have read their zone states.
    pub(in crate::broker) async fn states(
        &self,
        starting: Vec<Starting>,
    ) -> Result<(), StartError> {
        self.progress.enter(StartPhase::Accounts, starting.len() as u64);
        let mut workers = BTreeMap::new();
        for (account, told) in starting {
            // An account that lost its lease meanwhile is managed elsewhere.
            if let Ok(worker) = told.await {
                workers.insert(account, worker?);
            }
            self.progress.advance(1);
        }
        self.workers.replace(workers);
        Ok(())
    }

    /// Loads all endpoints and sends each worker its own; then the workers begin to plan.
    pub(in crate::broker) async fn endpoints(&self) -> Result<(), StartError> {
        let workers = self.workers.all();
        self.progress.enter(StartPhase::Endpoints, 0);
        let (mut loader, mut judged) = (Loader::default(), vec![]);
        let mut next = self.fetch(0);
        while let Some(page) = next.join_next().await {
            // If a failed read passed for the end, workers would treat endpoints as gone.
            let page = page.map_err(|died| {
                StoreError::Unavailable(format!("the reading of endpoints ended: {died}"))
            })??;
            let Some(last) = page.last() else { break };
            // The store reads the next page while this one is processed.
            next = self.fetch(last.arrival);
            self.progress.advance(page.len() as u64);
            let mut effects = vec![];
            loader.take(self.directory, page, &mut effects);
            judged.extend(effects.extract_if(.., |effect| matches!(effect, Effect::Judge { .. })));
            for (account, effects) in part(effects, Keeper::Here, self.feedback, self.clock) {
                pass_on(self.workers, account, effects).await;
            }
        }
        loader.finish(self.directory);
        // The status of an endpoint is counted at its cluster, so the clusters must exist first.
        part(judged, Keeper::Here, self.feedback, self.clock);
        for worker in workers.values() {
            // A worker that is gone is noticed by the wait for the tasks.
            let _gone = worker.messages.send(Message::Loaded).await;
        }
        // Every account is managed as soon as its own names are planned. Agents are admitted when all are: the statuses of
        // their endpoints are known then, and those that they hold already are not sent again.
        self.progress.enter(StartPhase::Plans, workers.len() as u64);
        for worker in workers.values() {
            let mut view = worker.view.clone();
            let _gone = view.wait_for(|view| !view.loading).await.is_err();
            self.progress.advance(1);
        }
        Ok(())
    }

    fn fetch(&self, after: i64) -> JoinSet<Result<Vec<EndpointRow>, StoreError>> {
        let store = Arc::clone(self.store);
        let mut fetching = JoinSet::new();
        fetching.spawn(async move { store.endpoints(after, PAGE).await });
        fetching
    }
}
