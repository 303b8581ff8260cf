//! Which accounts this replica manages.
//!
//! ```text
//! heartbeat ─▶ live replicas, all leases ─▶ renew · take free accounts, up to a fair share · give back the excess
//!                                                      └─▶ a tenant: zone states ─▶ feed ─▶ adopted ─▶ worker ─▶ lease back
//! ```
//!
//! A store that is not shared has one replica: it takes all leases at once, and they do not run out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::leased_account::{Ended, LeasedAccount, Way};
use super::rebalance::Rebalancer;
use crate::broker::StartError;
use crate::broker::lease::{Lease, LeaseTiming};
use crate::broker::metrics::BrokerMetrics;
use crate::broker::status::relay::RelayHandle;
use crate::broker::worker::registry::Workers;
use crate::broker::worker::{AccountSettings, WorkerHandle};
use crate::core::ids::AccountId;
use crate::ports::{Feed, Leases, Membership, News, ReplicaRow, StoreError, Tenure};

/// Time after which an account that was handed over and not taken is handed over again: the others may not know it.
const NOT_TAKEN_FOR: Duration = Duration::from_secs(600);

/// Commands to the lease manager.
pub enum LeaseCommand {
    /// The accounts of another configuration.
    Configure(Vec<AccountSettings>),
    /// The start is over: from now on accounts are taken and given back as replicas come and go.
    Open,
}

/// The parts of a lease manager.
pub struct LeaseManagerParts {
    /// This replica.
    pub replica: ReplicaRow,
    /// How leases are kept.
    pub timing: LeaseTiming,
    /// The store of the leases.
    pub leases: Arc<dyn Leases>,
    /// Where the other replicas are asked for statuses.
    pub feed: Arc<dyn Feed>,
    /// The accounts that the configuration names.
    pub accounts: Vec<AccountSettings>,
    /// Manages an account until its lease is over or is to be given back.
    pub spawn_worker: Box<dyn Fn(LeasedAccount) -> BoxFuture<'static, Ended> + Send + Sync>,
    /// The workers, and which accounts may have one.
    pub workers: Arc<Workers>,
    /// Learns whether another replica lives.
    pub relay: RelayHandle,
    /// The figures.
    pub metrics: BrokerMetrics,
}

/// An account that is held.
struct Holding {
    lease: Lease,
    settings: watch::Sender<Arc<AccountSettings>>,
}

/// A worker that a start waits for.
pub type Starting = (AccountId, oneshot::Receiver<Result<WorkerHandle, StartError>>);

/// See the module's page.
pub struct LeaseManager {
    /// The parts it was built from.
    parts: LeaseManagerParts,
    /// The configured accounts.
    accounts: BTreeMap<AccountId, Arc<AccountSettings>>,
    /// The leases of this replica, with their workers.
    held: BTreeMap<AccountId, Holding>,
    /// The tasks of the workers.
    tenants: JoinSet<Ended>,
    /// The live replicas and their leases, as heard last.
    standing: watch::Sender<Arc<Membership>>,
    /// Whether accounts are taken and given back.
    is_open: bool,
    /// When the last answered heartbeat was sent; `None` if the others cannot see this replica yet.
    heard_at: Option<Instant>,
    /// Whether the other replicas are to be asked for statuses.
    asks: bool,
    /// Since when this replica holds too much.
    uneven_since: Option<Instant>,
    /// Since when an account is free that this replica has no room for.
    free_since: BTreeMap<AccountId, Instant>,
    /// When an account was handed over that no other replica was seen to hold since.
    given_back_at: BTreeMap<AccountId, Instant>,
}

/// Why no accounts can be managed any more.
struct Broken;

impl LeaseManager {
    /// Holds nothing yet. The receiver shows the live replicas and their leases.
    pub fn new(mut parts: LeaseManagerParts) -> (Self, watch::Receiver<Arc<Membership>>) {
        let me = Membership { replicas: vec![parts.replica.clone()], leases: vec![] };
        let (standing, seen) = watch::channel(Arc::new(me));
        let accounts = std::mem::take(&mut parts.accounts);
        let mut tenancy = Self {
            parts,
            accounts: BTreeMap::new(),
            held: BTreeMap::new(),
            tenants: JoinSet::new(),
            standing,
            is_open: false,
            heard_at: None,
            asks: false,
            uneven_since: None,
            free_since: BTreeMap::new(),
            given_back_at: BTreeMap::new(),
        };
        tenancy.name_accounts(accounts);
        (tenancy, seen)
    }

    fn name_accounts(&mut self, accounts: Vec<AccountSettings>) {
        self.accounts = accounts
            .into_iter()
            .map(|settings| (settings.account.clone(), Arc::new(settings)))
            .collect();
        self.parts.workers.configure(self.accounts.clone());
    }

    fn names(&self) -> BTreeSet<AccountId> {
        self.accounts.keys().cloned().collect()
    }

    /// Takes the accounts that this replica manages from its start on: free ones, up to its share. If none is free, it sends no
    /// further heartbeat before it can manage accounts, since the others would give some back for it.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn begin(&mut self) -> Result<Vec<Starting>, StoreError> {
        if !self.parts.leases.is_shared() {
            return self.take(self.names().into_iter().collect(), Begin::AtStart).await;
        }
        let standing = self.hear().await?;
        let wanted = {
            let names = self.names();
            let outlook = Rebalancer::new(self.parts.replica.replica, &names, &standing);
            outlook.free().into_iter().take(outlook.room()).collect()
        };
        let starting = self.take(wanted, Begin::AtStart).await?;
        if starting.is_empty() {
            self.heard_at = None;
        }
        Ok(starting)
    }

    /// Keeps the leases until the stop; then the workers end, and their leases pass on at once.
    pub async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<LeaseCommand>,
        stop: CancellationToken,
    ) {
        let is_shared = self.parts.leases.is_shared();
        let mut beat_at = Instant::now() + self.parts.timing.heartbeat_every;
        let mut is_stopping = false;
        loop {
            if is_stopping && self.tenants.is_empty() {
                break;
            }
            // A replica that holds nothing yet and cannot take anything sends no heartbeat.
            let beats = is_shared && (self.heard_at.is_some() || self.is_open);
            let step = tokio::select! {
                () = stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    self.is_open = false;
                    self.held.values().for_each(|holding| holding.lease.stop().cancel());
                    Ok(())
                }
                Some(command) = commands.recv(), if !is_stopping => {
                    if matches!(command, LeaseCommand::Open) {
                        beat_at = Instant::now();
                    }
                    self.obey(command).await;
                    Ok(())
                }
                Some(ended) = self.tenants.join_next(), if !self.tenants.is_empty() => match ended {
                    Ok(ended) => self.ended(ended).await,
                    Err(died) => {
                        error!("a worker died: {died}");
                        Err(Broken)
                    }
                },
                () = tokio::time::sleep_until(beat_at), if beats => {
                    beat_at = Instant::now() + self.beat().await;
                    Ok(())
                }
            };
            if step.is_err() {
                return;
            }
        }
        if is_shared && let Err(error) = self.parts.leases.leave(self.parts.replica.replica).await {
            warn!(
                %error, "this replica could not say that it leaves; its leases pass on when they run out"
            );
        }
    }

    async fn obey(&mut self, command: LeaseCommand) {
        match command {
            LeaseCommand::Open => {
                self.is_open = true;
                self.asks = self.parts.leases.is_shared();
            }
            LeaseCommand::Configure(accounts) => {
                self.name_accounts(accounts);
                for (account, holding) in &self.held {
                    match self.accounts.get(account) {
                        Some(settings) => drop(holding.settings.send_replace(Arc::clone(settings))),
                        None => {
                            info!(account = %account, "the account is no longer configured: it is given back");
                            holding.lease.stop().cancel();
                        }
                    }
                }
                if !self.parts.leases.is_shared() {
                    let new = self
                        .accounts
                        .keys()
                        .filter(|account| !self.held.contains_key(account))
                        .cloned()
                        .collect();
                    self.take_now(new).await;
                }
            }
        }
    }

    /// Renews this replica's heartbeat and reads those of the others. Leases that it still holds go on; the others end.
    async fn hear(&mut self) -> Result<Arc<Membership>, StoreError> {
        let timing = &self.parts.timing;
        let asked_at = Instant::now();
        let beating = self.parts.leases.heartbeat(&self.parts.replica, timing.ttl_millis());
        // While leases are held, a missing answer leaves time to ask again.
        let patience = if self.held.is_empty() { timing.ttl } else { timing.ttl / 2 };
        let standing = in_time(patience, beating).await?;
        for holding in self.held.values() {
            if standing.leases.contains(holding.lease.tenure()) {
                holding.lease.renew(asked_at + timing.ttl);
            } else {
                holding.lease.lose();
            }
        }
        // A replica that was away for this long has missed requests, and a request may have been on its way for long.
        if self.heard_at.is_some_and(|before| before + timing.ttl <= Instant::now()) {
            self.asks = true;
        }
        self.heard_at = Some(asked_at);
        let standing = Arc::new(standing);
        self.parts.relay.set_others(standing.replicas.len() > 1);
        self.parts.metrics.replicas.set(i64::try_from(standing.replicas.len()).unwrap_or(i64::MAX));
        self.standing.send_replace(Arc::clone(&standing));
        Ok(standing)
    }

    /// Sends one heartbeat and acts on the answer; returns the wait until the next one.
    async fn beat(&mut self) -> Duration {
        let standing = match self.hear().await {
            Ok(standing) => standing,
            Err(error) => {
                warn!(
                    holds = self.held.len(),
                    %error, "the leases could not be renewed, trying again"
                );
                return self.parts.timing.heartbeat_every / 4;
            }
        };
        self.give_back_strays(&standing).await;
        if self.is_open {
            self.spread(&standing).await;
        }
        // A single replica has no other to ask, and one that comes later knows no more.
        self.asks &= standing.replicas.len() > 1 || !self.is_open;
        if self.asks && self.is_open {
            match self.parts.feed.announce(self.parts.replica.replica, vec![News::Ask]).await {
                Ok(()) => self.asks = false,
                Err(error) => warn!(
                    %error, "the other replicas could not be asked for statuses, trying again"
                ),
            }
        }
        self.parts.timing.heartbeat_every
    }

    /// Gives back leases in the store that no worker here uses: an answer was lost, or the lease ended here first.
    async fn give_back_strays(&self, standing: &Membership) {
        let is_stray = |tenure: &&Tenure| {
            tenure.holder == self.parts.replica.replica
                && self
                    .held
                    .get(&tenure.account)
                    .is_none_or(|holding| holding.lease.tenure() != *tenure)
        };
        let strays: Vec<Tenure> = standing.leases.iter().filter(is_stray).cloned().collect();
        if !strays.is_empty() {
            self.give_back(&strays).await;
        }
    }

    async fn give_back(&self, tenures: &[Tenure]) {
        if let Err(error) =
            in_time(self.parts.timing.ttl / 2, self.parts.leases.give_back(tenures)).await
        {
            warn!(%error, "leases could not be given back, trying again at the next heartbeat");
        }
    }

    /// Takes free accounts and gives back those beyond the share.
    async fn spread(&mut self, standing: &Membership) {
        let (names, now) = (self.names(), Instant::now());
        let outlook = Rebalancer::new(self.parts.replica.replica, &names, standing);
        let is_elsewhere = |account: &AccountId| {
            standing.leases.iter().any(|tenure| {
                tenure.account == *account && tenure.holder != self.parts.replica.replica
            })
        };
        self.given_back_at
            .retain(|account, at| *at + NOT_TAKEN_FOR > now && !is_elsewhere(account));
        let mut free = outlook.free();
        self.free_since.retain(|account, _| free.contains(account));
        let mut wanted: Vec<AccountId> = free.drain(..outlook.room().min(free.len())).collect();
        // Others that have room do not take such an account: they may not know it.
        let patience = self.parts.timing.ttl * 2;
        wanted.extend(free.into_iter().filter(|account| {
            *self.free_since.entry(account.clone()).or_insert(now) + patience <= now
        }));
        // An account whose worker is still ending is not free here.
        wanted.retain(|account| !self.held.contains_key(account));
        let is_ending =
            |holding: &&Holding| holding.lease.stop().is_cancelled() || holding.lease.is_over();
        let ending = self.held.values().filter(is_ending).count();
        let too_many = outlook.too_many().saturating_sub(ending);
        self.uneven_since = (too_many > 0).then(|| self.uneven_since.unwrap_or(now));
        if self.uneven_since.is_some_and(|since| since + self.parts.timing.rebalance_after <= now) {
            self.uneven_since = None;
            self.hand_back(too_many, now);
        }
        if !wanted.is_empty() {
            self.take_now(wanted).await;
        }
    }

    /// Ends a number of workers, so that another replica takes their accounts.
    fn hand_back(&mut self, count: usize, now: Instant) {
        let candidates = self.held.iter().rev().filter(|(account, holding)| {
            !self.given_back_at.contains_key(*account)
                && !holding.lease.stop().is_cancelled()
                && !holding.lease.is_over()
        });
        let chosen: Vec<AccountId> =
            candidates.take(count).map(|(account, _)| account.clone()).collect();
        for account in chosen {
            info!(account = %account, "another replica has room for the account: handing it over");
            if let Some(holding) = self.held.get(&account) {
                holding.lease.stop().cancel();
            }
            self.given_back_at.insert(account, now);
        }
    }

    async fn take_now(&mut self, wanted: Vec<AccountId>) {
        if let Err(error) = self.take(wanted, Begin::Later).await {
            warn!(%error, "free accounts could not be taken, trying again at the next heartbeat");
        }
    }

    /// Takes the leases of free accounts and starts their workers.
    async fn take(
        &mut self,
        wanted: Vec<AccountId>,
        begin: Begin,
    ) -> Result<Vec<Starting>, StoreError> {
        let mut starting = vec![];
        if wanted.is_empty() {
            return Ok(starting);
        }
        let (timing, is_shared) = (self.parts.timing.clone(), self.parts.leases.is_shared());
        let asked_at = Instant::now();
        let taking =
            self.parts.leases.take_leases(self.parts.replica.replica, &wanted, timing.ttl_millis());
        let taken = in_time(timing.ttl, taking).await?;
        for tenure in taken {
            let Some(settings) = self.accounts.get(&tenure.account) else { continue };
            let account = tenure.account.clone();
            info!(account = %account, name = %settings.name, epoch = tenure.epoch.0, "account taken");
            let stop = CancellationToken::new();
            let lease = match is_shared {
                true => Lease::until(tenure, asked_at + timing.ttl, timing.call_margin, stop),
                false => Lease::endless(tenure, stop),
            };
            let way = match begin {
                Begin::Later => Way::Adopted,
                Begin::AtStart => {
                    let (reply, told) = oneshot::channel();
                    starting.push((account.clone(), told));
                    Way::AtStart(reply)
                }
            };
            let (sender, receiver) = watch::channel(Arc::clone(settings));
            let tenant = LeasedAccount { lease: lease.clone(), settings: receiver, way };
            self.tenants.spawn((self.parts.spawn_worker)(tenant));
            self.parts.metrics.lease_held(&account, true);
            self.held.insert(account, Holding { lease, settings: sender });
        }
        self.show_held();
        Ok(starting)
    }

    /// A worker has ended: its lease is free for the next replica.
    async fn ended(&mut self, Ended { tenure, is_lost }: Ended) -> Result<(), Broken> {
        let account = tenure.account.clone();
        if self.held.get(&account).is_some_and(|holding| *holding.lease.tenure() == tenure) {
            self.held.remove(&account);
        }
        self.parts.metrics.lease_held(&account, false);
        self.show_held();
        if !is_lost {
            info!(account = %account, epoch = tenure.epoch.0, "account given back");
            self.give_back(&[tenure]).await;
            // It may have been configured again while it ended; if leases are shared, the next heartbeat takes it.
            if self.is_open
                && !self.parts.leases.is_shared()
                && self.accounts.contains_key(&account)
            {
                self.take_now(vec![account]).await;
            }
            return Ok(());
        }
        warn!(account = %account, epoch = tenure.epoch.0, "the lease of the account was lost: nothing more is written there");
        if self.parts.leases.is_shared() {
            return Ok(());
        }
        error!(account = %account, "another broker works on this store, which one alone may: this one ends");
        Err(Broken)
    }

    /// Shows the leases held here, which this replica knows best between two heartbeats.
    fn show_held(&self) {
        let me = self.parts.replica.replica;
        self.standing.send_modify(|standing| {
            let others = standing
                .leases
                .iter()
                .filter(|tenure| tenure.holder != me && !self.held.contains_key(&tenure.account));
            let mine = self.held.values().map(|holding| holding.lease.tenure());
            let mut leases: Vec<Tenure> = others.chain(mine).cloned().collect();
            leases.sort_by(|a, b| a.account.cmp(&b.account));
            *standing = Arc::new(Membership { replicas: standing.replicas.clone(), leases });
        });
    }
}

/// The store's answer; one that takes longer than a lease is of no use.
async fn in_time<T>(
    patience: Duration,
    asking: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let answer = tokio::time::timeout(patience, asking).await;
    answer.unwrap_or_else(|_| {
        Err(StoreError::Unavailable(format!("no answer came within {} ms", patience.as_millis())))
    })
}

/// When a tenant begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    AtStart,
    Later,
}

#[cfg(test)]
#[path = "manager_tests.rs"]
mod tests;
