//! Verdicts and progress on their way back: to whoever follows a cluster, and, as far as they are verdicts, to the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;

use super::directory::SharedDirectory;
use super::held::{Held, Status, fingerprint};
use super::relay::{RelayHandle, ToldStatus};
use crate::core::time::Timestamp;
use crate::ports::{Store, VerdictRow};

/// Tells what became of endpoints.
#[derive(Clone)]
pub struct Feedback {
    directory: SharedDirectory,
    /// Endpoints whose verdict is not in the store as it is.
    unkept: mpsc::UnboundedSender<Held>,
    /// Where the other replicas are told.
    relay: Option<RelayHandle>,
}

/// Who keeps a verdict in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// This replica: what the verdict follows from happened here.
    Here,
    /// The replica where it happened.
    Elsewhere,
}

impl Feedback {
    /// Tells followers through the directory, and the keeper.
    pub fn new(directory: SharedDirectory, unkept: mpsc::UnboundedSender<Held>) -> Self {
        Self { directory, unkept, relay: None }
    }

    /// The same, which tells the other replicas too: for what they cannot know by themselves.
    pub fn relayed(self, relay: RelayHandle) -> Self {
        Self { relay: Some(relay), ..self }
    }

    /// Tells what became of an endpoint and keeps the verdict; what says nothing new is not passed on.
    pub fn tell(&self, held: &Held, status: Arc<Status>, at: Timestamp) {
        self.tell_kept_by(Keeper::Here, held, status, at);
    }

    /// Tells what became of an endpoint; what says nothing new is not passed on.
    pub fn tell_kept_by(&self, keeper: Keeper, held: &Held, status: Arc<Status>, at: Timestamp) {
        let keep = fingerprint(&status.verdict) != held.kept();
        let endpoints = self.directory.cluster(held.cluster());
        if !endpoints.tell(held, status, at) {
            return;
        }
        if keep && keeper == Keeper::Here {
            // The keeper lives as long as the broker; at its end verdicts are made anew from what is stored.
            let _gone = self.unkept.send(held.clone());
        }
        if let Some(relay) = &self.relay {
            relay.note(held);
        }
    }

    /// Tells the other replicas again what became of the endpoints of the accounts that are worked here.
    pub fn tell_others_again(&self) {
        self.relay.iter().for_each(RelayHandle::tell_again);
    }

    /// Tells what another replica says of an endpoint and keeps; of a content that is not the one here it says nothing.
    pub fn told(&self, told: &ToldStatus) {
        let endpoints = self.directory.cluster(&told.cluster);
        let Some(held) = endpoints.get(&told.key).filter(|held| held.version() == told.version) else { return };
        held.set_kept(fingerprint(&told.status.verdict));
        endpoints.tell(&held, Arc::clone(&told.status), told.since);
    }
}

/// Keeps verdicts in the store, in bulk: what has not changed since it was kept is not written again.
pub struct VerdictKeeper {
    store: Arc<dyn Store>,
    unkept: mpsc::UnboundedReceiver<Held>,
}

/// Verdicts are gathered for this long before they are written.
const KEEP_EVERY: Duration = Duration::from_millis(200);
/// So many are written at once: the store's writer is free again soon for what somebody waits for.
const KEEP_AT_ONCE: usize = 2_000;

impl VerdictKeeper {
    /// A keeper, and the sender for [`Feedback`].
    pub fn new(store: Arc<dyn Store>) -> (Self, mpsc::UnboundedSender<Held>) {
        let (sender, unkept) = mpsc::unbounded_channel();
        (Self { store, unkept }, sender)
    }

    /// Keeps until nobody is left to tell it anything.
    pub async fn run(mut self) {
        while let Some(first) = self.unkept.recv().await {
            // Others follow as a rule, and the latest of each is enough.
            tokio::time::sleep(KEEP_EVERY).await;
            let mut latest = HashMap::from([(first.arrival(), first)]);
            while let Ok(next) = self.unkept.try_recv() {
                latest.insert(next.arrival(), next);
            }
            let mut unkept: Vec<Held> = latest.into_values().collect();
            unkept.sort_by_key(Held::arrival);
            for chunk in unkept.chunks(KEEP_AT_ONCE) {
                self.keep(chunk).await;
                tokio::task::yield_now().await;
            }
        }
    }

    async fn keep(&self, endpoints: &[Held]) {
        let (mut rows, mut fingerprints) = (vec![], vec![]);
        for held in endpoints {
            let Some(status) = held.status() else { continue };
            let fingerprint = fingerprint(&status.verdict);
            if held.is_gone() || fingerprint == held.kept() {
                continue;
            }
            let (cluster, verdict) = (held.cluster().clone(), status.verdict.clone());
            rows.push(VerdictRow { cluster, arrival: held.arrival(), version: held.version(), verdict });
            fingerprints.push((held, fingerprint));
        }
        if rows.is_empty() {
            return;
        }
        match self.store.save_verdicts(&rows).await {
            Ok(()) => fingerprints.into_iter().for_each(|(held, fingerprint)| held.set_kept(fingerprint)),
            Err(error) => warn!("verdicts could not be stored; they are made anew at the next start: {error}"),
        }
    }
}
