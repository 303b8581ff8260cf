//! The worker of one account: the only writer of its zones.
//!
//! ```text
//! effects ─▶ zone state (claims, plan) ─▶ backlog ─▶ fair round ─▶ fold ─▶ check ─▶ journal ─▶ permit ─▶ call ─▶ zone state ─▶ status
//! ```
//!
//! One task owns all state of the account. It absorbs changes, starts what can be started, and waits for the next event;
//! calls and store writes run concurrently and report back. A zone has one read or write at a time, so a page that was read is
//! never older than a batch that was applied.

mod agenda;
mod guards;
mod handovers;
mod io;
mod loading;
pub mod registry;
mod review;
#[cfg(test)]
mod tests;
mod view;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

pub use handovers::HandedNames;
pub use review::gate::Gate;
pub use view::{AccountView, Health, HeldUnits, HoldReport, Query, WhyReport, ZoneView, ZoneViews};
pub use zone::NameReport;
pub use zone::handed::NameOnItsWay;
pub use zone::holds::{Hold, HoldReason};

use super::directory::{AccountListing, Effect};
use super::lease::{Lease, LeasedProvider};
use super::metrics::AccountMetrics;
use super::rules::RulesInForce;
use super::status::feedback::Feedback;
use crate::core::governance::snapshot::Governance;
use crate::core::ids::{AccountId, ClusterId, EnvironmentId, ZoneId};
use crate::core::limits::budget::{Budget, BudgetConfig};
use crate::core::limits::fair::FairShare;
use crate::core::planning::policy::{
    AdoptPolicy, DEFAULT_TTL_SECS, DriftPolicy, MergePolicy, PlacementWait, ZonePolicy, ZoneRule,
    ZoneSettings, settings_by_known,
};
use crate::core::planning::record_types::RecordTypes;
use crate::core::planning::routing::{AccountScope, Reach, ZoneFacts};
use crate::core::time::{Millis, Timestamp};
use crate::core::visibility::Visibility;
use crate::ports::{Clock, DnsProvider, Store, ZoneRow};
use agenda::Zones;
use guards::Guards;
use io::calls::{Call, Running};
use io::discovery::Discovery;
use io::sending::Outgoing;
use loading::Loading;
use review::Reviews;
use review::gate::GateTicket;
use view::ViewBoard;

/// How far ahead the spend horizon is stored. After a crash, everything up to it counts as spent.
const SPEND_AHEAD: Millis = Millis(2_000);
/// The view is published at most this often.
const VIEW_EVERY: Millis = Millis(200);

/// The configuration of an account.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountSettings {
    /// The twelve digits.
    pub account: AccountId,
    /// For people.
    pub name: String,
    /// Joins the account with clusters.
    pub environment: EnvironmentId,
    /// Its buckets and the reserve.
    pub budget: BudgetConfig,
    /// Which zones are ours, and how they are managed.
    pub rules: Vec<ZoneRule>,
    /// Whether endpoints without a placement wait for the account while it is parked and was never listed.
    pub placement: PlacementWait,
    /// How often zones are looked for.
    pub discovery_interval: Millis,
    /// How often the records of each zone are compared with what is believed.
    pub drift_interval: Millis,
}

impl AccountSettings {
    /// The scope for routing before the account was listed.
    pub fn scope(&self) -> AccountScope {
        let reach = |rule: &ZoneRule| Reach {
            name: rule.selector.name.clone(),
            visibility: rule.selector.visibility,
        };
        AccountScope {
            environment: self.environment.clone(),
            reach: self.rules.iter().map(reach).collect(),
            listed: false,
            exempt: false,
        }
    }
}

/// The scopes of accounts for routing; `listed` has the accounts that were listed already.
pub fn scopes(
    accounts: &[AccountSettings],
    listed: &BTreeSet<AccountId>,
) -> BTreeMap<AccountId, AccountScope> {
    let scope = |settings: &AccountSettings| {
        let listed = listed.contains(&settings.account);
        (settings.account.clone(), AccountScope { listed, ..settings.scope() })
    };
    accounts.iter().map(scope).collect()
}

/// Messages to a worker.
pub enum Message {
    /// Contributions come and go.
    Effects(Vec<Effect>),
    /// All stored contributions were sent: a worker that was waiting for them may look at its names and write.
    Loaded,
    /// The configuration has changed, and with it perhaps the way to the account.
    Reconfigure(Box<AccountSettings>, Arc<dyn DnsProvider>),
    /// A question.
    Query(Query),
}

/// A worker's report to the directory about its account.
#[derive(Clone, Debug)]
pub struct Discovered {
    pub account: AccountId,
    /// All its zones; `None` if they could not be listed.
    pub zones: Option<Vec<ZoneFacts>>,
    /// Whether more has to be known before endpoints are placed.
    pub listing: AccountListing,
}

/// The parts of a new worker.
pub struct WorkerParts {
    /// The configuration of its account.
    pub settings: AccountSettings,
    /// The right to manage the account.
    pub lease: Lease,
    /// Route 53 and STS.
    pub provider: Arc<dyn DnsProvider>,
    /// The store, under the lease's tenure.
    pub store: Arc<dyn Store>,
    /// How far the clock of the last holder may differ from this one.
    pub clocks_differ: Millis,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The rules of governance that count.
    pub rules: watch::Receiver<Arc<RulesInForce>>,
    /// Where statuses go.
    pub feedback: Feedback,
    /// Where zones go.
    pub discovered: mpsc::Sender<Discovered>,
    /// Where figures go.
    pub metrics: AccountMetrics,
    /// Shared by all workers: how many look at names at once.
    pub gate: Gate,
    /// The seed of the jitter.
    pub seed: u64,
}

/// How to reach a worker.
#[derive(Clone)]
pub struct WorkerHandle {
    /// Sends it a message.
    pub messages: mpsc::Sender<Message>,
    /// Its latest state.
    pub view: watch::Receiver<Arc<AccountView>>,
    /// Its right to be one.
    pub lease: Lease,
}

impl WorkerHandle {
    /// Asks the worker something; `None` if it has ended.
    pub async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.messages.send(Message::Query(query(reply))).await.ok()?;
        answer.await.ok()
    }
}

/// See the module's page.
pub struct Worker {
    settings: AccountSettings,
    /// The right to manage the account: no call starts without enough of it, and none goes on after it.
    lease: Lease,
    /// The account's Route 53, as long as the lease lasts.
    provider: Arc<LeasedProvider>,
    /// The store, under the lease's tenure.
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// Where statuses of endpoints go.
    feedback: Feedback,
    /// Where the zones of a discovery go, to be routed to.
    discovered: mpsc::Sender<Discovered>,
    metrics: AccountMetrics,
    /// Draws jitter and the ids of batches, from a seed.
    rng: fastrand::Rng,
    /// The tokens for calls and changes: what a call costs is taken here before it is made.
    budget: Budget,
    /// How much each cluster was given of the change tokens, kept between rounds.
    share: FairShare<ClusterId>,
    health: Health,
    /// How often the account was parked in a row; the wait before the next try doubles each time.
    failures: u32,
    /// The rules of governance that count.
    rules: watch::Receiver<Arc<RulesInForce>>,
    /// The same as they are now: grants end by themselves.
    governance: Arc<Governance>,
    /// The same as they were taken last.
    ruled_by: Arc<Governance>,
    /// What guards count and hold.
    guards: Guards,
    /// The state of each zone, and when it has something to do.
    zones: Zones,
    /// Names to plan again, in turns.
    reviews: Reviews,
    /// Its place at the gate that bounds how many workers look at names at once.
    gate: GateTicket,
    /// How far the zones are loaded from the store.
    loading: Loading,
    /// Contributions to zones that discovery has not shown yet.
    early: BTreeMap<ZoneId, Vec<Effect>>,
    discovery: Discovery,
    /// Until when tokens may be spent, as stored by this worker; after a crash everything up to it counts
    /// as spent. `None` until it is stored first.
    spend_horizon: Option<Timestamp>,
    /// Batches that are not paid for yet.
    outgoing: Outgoing,
    /// Calls and writes that run next to the worker and report back.
    running: Running,
    /// Where the latest state is published.
    view: watch::Sender<Arc<AccountView>>,
    /// The zones' views as they were published last, and their sums.
    board: ViewBoard,
    /// When the view was published last: a change waits until `VIEW_EVERY` after it.
    published_at: Timestamp,
    /// Whether something has changed since.
    dirty_view: bool,
}

impl Worker {
    /// Works until the lease is to be given back: then no new call is started, and those that run are waited for and recorded.
    /// When the lease is over this is to be dropped, wherever it stands.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut other_rules = self.rules.clone();
        loop {
            let now = self.clock.now();
            let stopping = self.lease.stop().is_cancelled();
            if stopping {
                self.give_back_journalled("the account is given back");
                if self.running.is_empty() {
                    break;
                }
            }
            let wake = if stopping { None } else { self.start_what_can_start(now).await };
            self.publish_if_due(now);
            let looks = !stopping && (self.has_reviews() || self.loading.is_looking());
            let sleep = wake.map(|at| {
                tokio::time::sleep(
                    (at - now).to_duration().max(std::time::Duration::from_millis(1)),
                )
            });
            tokio::select! {
                Some(done) = self.running.next(), if !self.running.is_empty() => self.finish(done).await,
                message = messages.recv() => match message {
                    Some(message) => self.take(message),
                    None if self.running.is_empty() && !self.outgoing.is_waiting() => break,
                    None => self.lease.stop().cancel(),
                },
                // At a start there is nothing else to wait for.
                () = tokio::task::yield_now(), if looks && self.loading.is_looking() => self.review_some(),
                inside = self.gate.enter(), if looks && !self.loading.is_looking() => {
                    self.review_some();
                    drop(inside);
                    tokio::task::yield_now().await;
                }
                () = async { match sleep { Some(sleep) => sleep.await, None => std::future::pending().await } } => {}
                () = self.lease.stop().cancelled(), if !stopping => {}
                // They are taken before the next call is started.
                Ok(()) = other_rules.changed(), if !stopping => {}
            }
        }
        self.publish(self.clock.now());
    }

    fn take(&mut self, message: Message) {
        let now = self.clock.now();
        match message {
            Message::Loaded => self.loaded(),
            Message::Effects(effects) => self.absorb_effects(effects),
            Message::Reconfigure(settings, provider) => self.reconfigure(*settings, provider, now),
            Message::Query(query) => self.answer(query, now),
        }
    }

    fn reconfigure(
        &mut self,
        settings: AccountSettings,
        provider: Arc<dyn DnsProvider>,
        now: Timestamp,
    ) {
        if !self.provider.is(&provider) {
            // Another way to the account: the identity behind it is checked before anything is written.
            self.provider = Arc::new(LeasedProvider::new(provider, self.lease.clone()));
            self.health = Health::Starting;
            self.discovery.asking_identity(false);
            self.dirty_view = true;
        }
        if settings == self.settings {
            return;
        }
        self.budget.reconfigure(&settings.budget, now);
        self.settings = settings;
        self.apply_rules();
        self.discovery.look_again(now);
        self.dirty_view = true;
    }

    /// Has every zone decide by what the rules of governance say now, if that is not what they said before, and takes what people
    /// let go.
    fn govern(&mut self, now: Timestamp) {
        let has_ended = self.governance.next_change().is_some_and(|at| at <= now);
        // It is closed when the broker ends.
        if !has_ended && !self.rules.has_changed().unwrap_or(false) {
            return;
        }
        let in_force = Arc::clone(&self.rules.borrow_and_update());
        self.take_approvals(&in_force.approvals);
        if !has_ended && Arc::ptr_eq(&self.ruled_by, &in_force.governance) {
            return;
        }
        self.ruled_by = Arc::clone(&in_force.governance);
        self.governance = Arc::new(in_force.governance.at(now));
        self.take_guards();
        for zone_id in self.zones.ids() {
            if let Some(zone) = self.zones.get_mut(&zone_id) {
                zone.govern(&self.governance);
            }
            self.note_all(&zone_id);
        }
        self.dirty_view = true;
    }

    /// Applies the rules at once to the zones that are managed, by what is known of these. Zones that only now match a rule are
    /// added by the next discovery.
    fn apply_rules(&mut self) {
        for zone_id in self.zones.ids() {
            let Some(zone) = self.zones.get_mut(&zone_id).filter(|zone| zone.facts.visible) else {
                continue;
            };
            let resolved = rules_of_zone(&self.settings.rules, &zone.facts, zone.tags.as_ref());
            let Resolved { settings, waits_for_tags } = resolved;
            zone.waits_for_tags = waits_for_tags;
            if settings.is_some_and(|settings| settings == zone.state.settings) {
                continue;
            }
            // One that no rule selects any more is gone with the next discovery, which stores that.
            zone.take_settings(settings.unwrap_or(UNSELECTED));
            self.note_all(&zone_id);
        }
    }

    /// Takes contributions into the zone states and notes the names to look at, each for the cluster that changed something there.
    fn absorb_effects(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let zone_id = match &effect {
                Effect::Contribute { placement, .. } | Effect::Withdraw { placement, .. } => {
                    placement.zone.clone()
                }
                Effect::Judge { .. } => continue,
            };
            let Some(zone) = self.zones.get_mut(&zone_id) else {
                self.early.entry(zone_id).or_default().push(effect);
                continue;
            };
            let (name, asker) = match effect {
                Effect::Contribute { name, held, role, .. } => {
                    let asker = held.cluster().clone();
                    zone.state.contribute(&name, held, role);
                    (name, asker)
                }
                Effect::Withdraw { name, held, .. } => {
                    zone.state.withdraw(&name, &held);
                    (name, held.cluster().clone())
                }
                Effect::Judge { .. } => continue,
            };
            if !self.loading.is_loading() {
                self.reviews.note(&zone_id, &mut zone.reviews, Some(asker), name);
            }
        }
        self.dirty_view = true;
    }

    fn park(&mut self, message: String, now: Timestamp) {
        self.failures += 1;
        let wait = Millis((5_000_i64 << (self.failures - 1).min(8)).min(900_000));
        let jitter = Millis(self.rng.i64(0..=wait.0 / 5));
        warn!(account = %self.settings.account, name = %self.settings.name, retry_in_ms = wait.0 + jitter.0, "account parked, nothing is written: {message}");
        let is_news =
            !matches!(&self.health, Health::Parked { message: said, .. } if *said == message);
        self.health = Health::Parked { message, since: now, retry_at: now + wait + jitter };
        self.dirty_view = true;
        if is_news {
            self.note_waiting();
            if self.settings.placement == PlacementWait::DoNotWait && !self.discovery.is_complete()
            {
                self.tell_directory(None, AccountListing::Impossible);
            }
        }
    }

    /// Reports the account's zones to the directory, which reads them when it can; the worker goes on.
    fn tell_directory(&mut self, zones: Option<Vec<ZoneFacts>>, listing: AccountListing) {
        let discovered = self.discovered.clone();
        let message = Discovered { account: self.settings.account.clone(), zones, listing };
        self.spawn(
            async move {
                if discovered.send(message).await.is_err() {
                    warn!("the directory is gone");
                }
                io::calls::Done::Nothing
            }
            .boxed(),
        );
    }

    fn spawn(&mut self, call: Call) {
        self.running.spawn(call);
    }
}

/// The settings of a zone that no rule selects: it is observed, not managed.
const UNSELECTED: ZoneSettings = ZoneSettings {
    policy: ZonePolicy::Observe,
    drift: DriftPolicy::Alert,
    adopt: AdoptPolicy::Never,
    record_types: RecordTypes::All,
    merge: MergePolicy::Namespace,
    default_ttl_secs: DEFAULT_TTL_SECS,
};

/// The result of the rules for a zone.
struct Resolved {
    /// How it is managed; `None` if no rule selects it.
    settings: Option<ZoneSettings>,
    /// It is observed because its tags are not known.
    waits_for_tags: bool,
}

fn rules_of_zone(
    rules: &[ZoneRule],
    facts: &ZoneFacts,
    tags: Option<&BTreeMap<String, String>>,
) -> Resolved {
    let by = |tags: Option<&BTreeMap<String, String>>| {
        settings_by_known(rules, &facts.name, &facts.zone, facts.visibility.is_private(), tags)
    };
    let settings = by(tags);
    let waits_for_tags = tags.is_none() && settings != by(Some(&BTreeMap::new()));
    Resolved { settings, waits_for_tags }
}

/// The routing facts of a stored zone.
pub fn facts_of(row: &ZoneRow) -> ZoneFacts {
    ZoneFacts {
        account: row.account.clone(),
        environment: row.environment.clone(),
        zone: row.zone.clone(),
        name: row.name.clone(),
        visibility: Visibility::of(row.private),
        visible: row.visible,
    }
}

fn row_of(
    facts: &ZoneFacts,
    listed_at: Option<Timestamp>,
    tags: Option<BTreeMap<String, String>>,
) -> ZoneRow {
    ZoneRow {
        account: facts.account.clone(),
        environment: facts.environment.clone(),
        zone: facts.zone.clone(),
        name: facts.name.clone(),
        private: facts.visibility.is_private(),
        listed_at,
        visible: facts.visible,
        tags,
    }
}
