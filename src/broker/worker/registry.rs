//! The workers of this replica, as all may see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{AccountSettings, WorkerHandle};
use crate::core::ids::AccountId;

/// The accounts that are managed here, and those that the configuration names. Snapshots that are replaced whole.
#[derive(Default)]
pub struct Workers {
    held: ArcSwap<BTreeMap<AccountId, WorkerHandle>>,
    configured: ArcSwap<BTreeMap<AccountId, Arc<AccountSettings>>>,
}

impl Workers {
    /// All of them, now.
    pub fn all(&self) -> Arc<BTreeMap<AccountId, WorkerHandle>> {
        self.held.load_full()
    }

    /// The worker of an account; `None` if the account is not managed here.
    pub fn get(&self, account: &AccountId) -> Option<WorkerHandle> {
        self.held.load().get(account).cloned()
    }

    /// Whether an account is managed here, at this moment.
    pub fn has(&self, account: &AccountId) -> bool {
        self.held.load().get(account).is_some_and(|worker| !worker.lease.is_over())
    }

    /// Whether the configuration names an account.
    pub fn is_configured(&self, account: &AccountId) -> bool {
        self.configured.load().contains_key(account)
    }

    /// The accounts that the configuration names.
    pub fn configured(&self) -> Arc<BTreeMap<AccountId, Arc<AccountSettings>>> {
        self.configured.load_full()
    }

    pub(in crate::broker) fn configure(&self, accounts: BTreeMap<AccountId, Arc<AccountSettings>>) {
        self.configured.store(Arc::new(accounts));
    }

    pub(in crate::broker) fn replace(&self, workers: BTreeMap<AccountId, WorkerHandle>) {
        self.held.store(Arc::new(workers));
    }

    pub(in crate::broker) fn insert(&self, account: &AccountId, worker: &WorkerHandle) {
        self.held.rcu(|held| {
            let mut held = BTreeMap::clone(held);
            held.insert(account.clone(), worker.clone());
            held
        });
    }

    pub(in crate::broker) fn remove(&self, account: &AccountId) {
        self.held.rcu(|held| {
            let mut held = BTreeMap::clone(held);
            held.remove(account);
            held
        });
    }
}
