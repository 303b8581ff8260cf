//! The worker of one account: the only writer of its zones.
//!
//! ```text
//! effects ─▶ book (claims, plan) ─▶ backlog ─▶ fair round ─▶ fold ─▶ check ─▶ permit ─▶ journal ─▶ call ─▶ book ─▶ status
//! ```
//!
//! One task owns all state of the account. It absorbs what changed, starts what can be started, and waits for the next thing
//! to happen; calls and store writes run beside it and report back. One thing runs in a zone at a time, reading or writing, so
//! a page that was read is never older than a batch that was applied.

mod backlog;
mod calls;
mod change;
mod compare;
mod discovery;
mod name_state;
mod reading;
mod view;
mod zone;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use view::{AccountView, Health, Query, WhyReport, ZoneView};
pub use zone::NameReport;

use super::directory::Effect;
use super::feedback::Feedback;
use super::held::{Held, Status};
use super::metrics::AccountMetrics;
use crate::core::budget::{Budget, BudgetConfig, StartLevel};
use crate::core::claims::ZoneContext;
use crate::core::fair::FairShare;
use crate::core::ids::{AccountId, ClusterId, EnvironmentId, ZoneId};
use crate::core::name::DnsName;
use crate::core::policy::{DriftPolicy, Visibility, ZonePolicy, ZoneRule, ZoneSettings, settings_of};
use crate::core::routing::ZoneFacts;
use crate::core::time::{Millis, Timestamp};
use crate::core::verdict::Placement;
use crate::ports::{BatchRow, ChangeFilter, Clock, DnsProvider, RecordRow, Store, StoreError, ZoneRow};
use backlog::Backlog;
use calls::{Call, Running};
use change::Search;
use reading::Reader;
use zone::ZoneBook;

/// The pause after a call on a zone before the next: Route 53 refuses a second change while it still works on the first
/// (`PriorRequestNotComplete`). It doubles with each such refusal and comes back slowly.
const SHORTEST_GAP: Millis = Millis(250);
const LONGEST_GAP: Millis = Millis(4_000);
/// How far ahead the account's tokens may be spent by a life of the broker that then dies: the next one starts with what has
/// flowed in since.
const SPEND_AHEAD: Millis = Millis(2_000);
/// The view is published at most this often.
const VIEW_EVERY: Millis = Millis(200);

/// What the configuration says of an account.
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
    /// Which zones are ours, and how they are worked.
    pub rules: Vec<ZoneRule>,
    /// How often zones are looked for.
    pub discovery_interval: Millis,
    /// How often the records of each zone are compared with what is believed.
    pub drift_interval: Millis,
}

/// What a worker is told.
pub enum Message {
    /// Contributions come and go.
    Effects(Vec<Effect>),
    /// The configuration has changed, and with it perhaps the way to the account.
    Reconfigure(Box<AccountSettings>, Arc<dyn DnsProvider>),
    /// Somebody asks.
    Query(Query),
}

/// What a worker tells the directory: all zones that it found.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// The account.
    pub account: AccountId,
    /// Its zones.
    pub zones: Vec<ZoneFacts>,
}

/// What a worker is built from.
pub struct WorkerParts {
    /// The configuration's word.
    pub settings: AccountSettings,
    /// Route 53 and STS.
    pub provider: Arc<dyn DnsProvider>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where statuses go.
    pub feedback: Feedback,
    /// Where zones go.
    pub discovered: mpsc::Sender<Discovered>,
    /// Where figures go.
    pub metrics: AccountMetrics,
    /// The seed of the jitter.
    pub seed: u64,
}

/// How to reach a worker.
#[derive(Clone)]
pub struct WorkerHandle {
    /// Tell it something.
    pub messages: mpsc::Sender<Message>,
    /// Its latest state.
    pub view: watch::Receiver<Arc<AccountView>>,
}

/// One zone as it is worked.
struct ZoneWork {
    book: ZoneBook,
    facts: ZoneFacts,
    backlog: Backlog,
    /// Something runs in the zone.
    busy: bool,
    free_at: Timestamp,
    gap: Millis,
    last_call_at: Timestamp,
    reader: Option<Reader>,
    listed_at: Option<Timestamp>,
    sweep_at: Timestamp,
    /// Batches whose outcome nobody knows: the zone is read back before anything else is sent.
    unsettled: Vec<BatchRow>,
    /// Names to look at once nothing is unsettled any more.
    to_review: BTreeSet<DnsName>,
    /// Searches for poison; the first is worked.
    searches: VecDeque<Search>,
    search_turn: bool,
    pending_writes: Vec<crate::ports::RecordWrite>,
    trouble: Option<Trouble>,
    sequence: u64,
    sync: Option<SyncWatch>,
    latest_change: Option<(String, u64)>,
    awaiting_sync: Vec<(u64, DnsName)>,
}

/// A zone that cannot be worked now.
#[derive(Clone, Debug)]
struct Trouble {
    message: String,
    failures: u32,
    retry_at: Timestamp,
}

/// A change that is asked after with GetChange.
#[derive(Clone, Debug)]
struct SyncWatch {
    change_id: String,
    sequence: u64,
    ask_at: Timestamp,
    asked: u32,
}

impl ZoneWork {
    fn new(facts: ZoneFacts, settings: ZoneSettings, listed_at: Option<Timestamp>, now: Timestamp) -> Self {
        let context = ZoneContext {
            placement: Placement { account: facts.account.clone(), zone: facts.zone.clone() },
            apex: facts.name.clone(),
            default_ttl_secs: settings.default_ttl_secs,
        };
        Self {
            book: ZoneBook::new(context, settings),
            facts,
            backlog: Backlog::default(),
            busy: false,
            free_at: now,
            gap: SHORTEST_GAP,
            last_call_at: Timestamp(0),
            reader: None,
            listed_at,
            sweep_at: now,
            unsettled: vec![],
            to_review: BTreeSet::new(),
            searches: VecDeque::new(),
            search_turn: false,
            pending_writes: vec![],
            trouble: None,
            sequence: 0,
            sync: None,
            latest_change: None,
            awaiting_sync: vec![],
        }
    }

    /// What is there is not what was believed, so nothing is learned from going on: the names are looked at anew.
    fn end_searches(&mut self) {
        let names = self.searches.drain(..).flat_map(Search::into_names);
        self.to_review.extend(names);
    }

    fn is_open(&self, now: Timestamp) -> bool {
        self.facts.visible && self.trouble.as_ref().is_none_or(|trouble| trouble.retry_at <= now)
    }
}

/// See the module's page.
pub struct Worker {
    settings: AccountSettings,
    provider: Arc<dyn DnsProvider>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    feedback: Feedback,
    discovered: mpsc::Sender<Discovered>,
    metrics: AccountMetrics,
    rng: fastrand::Rng,
    budget: Budget,
    share: FairShare<ClusterId>,
    health: Health,
    failures: u32,
    zones: BTreeMap<ZoneId, ZoneWork>,
    /// Contributions to zones that discovery has not shown yet.
    early: BTreeMap<ZoneId, Vec<Effect>>,
    discovery: discovery::Discovery,
    spend_horizon: Option<Timestamp>,
    running: Running,
    view: watch::Sender<Arc<AccountView>>,
    published_at: Timestamp,
    dirty_view: bool,
    shutdown: CancellationToken,
}

impl Worker {
    /// Loads the account's zones, claims, records and open batches, takes the stored contributions, and plans everything once.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(
        parts: WorkerParts,
        stored: Vec<Effect>,
        shutdown: CancellationToken,
    ) -> Result<(Self, watch::Receiver<Arc<AccountView>>), StoreError> {
        let now = parts.clock.now();
        let account = parts.settings.account.clone();
        let start = match parts.store.spend_horizon(&account).await? {
            Some(spent_until) => StartLevel::Since(spent_until),
            None => StartLevel::Full,
        };
        let (view, viewed) = watch::channel(Arc::new(AccountView::empty(&parts.settings, now)));
        let mut worker = Self {
            budget: Budget::new(&parts.settings.budget, start, now),
            provider: parts.provider,
            store: parts.store,
            clock: parts.clock,
            feedback: parts.feedback,
            discovered: parts.discovered,
            metrics: parts.metrics,
            rng: fastrand::Rng::with_seed(parts.seed),
            share: FairShare::default(),
            health: Health::Starting,
            failures: 0,
            zones: BTreeMap::new(),
            early: BTreeMap::new(),
            discovery: discovery::Discovery::default(),
            spend_horizon: None,
            running: Running::default(),
            view,
            published_at: Timestamp(0),
            dirty_view: true,
            settings: parts.settings,
            shutdown,
        };
        worker.load_zones(now).await?;
        worker.absorb_effects(stored);
        for zone in worker.zone_ids() {
            worker.review_all(&zone, now);
        }
        worker.publish(now);
        Ok((worker, viewed))
    }

    async fn load_zones(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let store = Arc::clone(&self.store);
        let rows: Vec<ZoneRow> = store.zones().await?.into_iter().filter(|row| row.account == self.settings.account).collect();
        for row in &rows {
            // Tags are not kept: a zone that only a tag selects is worked once discovery has seen it again.
            let settings = settings_of(&self.settings.rules, &row.name, &row.zone, row.private, &BTreeMap::new());
            let facts = ZoneFacts { visible: settings.is_some(), ..facts_of(row) };
            let settings = settings.copied().unwrap_or(UNSELECTED);
            let mut zone = ZoneWork::new(facts, settings, row.listed_at, now);
            zone.sweep_at = row.listed_at.map_or(now, |at| at + self.settings.drift_interval);
            let mut records = vec![];
            loop {
                let after = records.last().map(|record: &RecordRow| &record.key);
                let page = store.records(&row.zone, after, 5_000).await?;
                if page.is_empty() {
                    break;
                }
                records.extend(page);
            }
            zone.book.load_records(records.into_iter());
            self.zones.insert(row.zone.clone(), zone);
        }
        let ids: Vec<ZoneId> = rows.iter().map(|row| row.zone.clone()).collect();
        for claim in store.claims(&ids).await? {
            if let Some(zone) = self.zones.get_mut(&claim.zone) {
                zone.book.load_claim(claim);
            }
        }
        for batch in store.open_batches(&self.settings.account).await? {
            if let Some(zone) = self.zones.get_mut(&batch.batch.zone) {
                info!(zone = %batch.batch.zone, batch = %batch.batch.id, "a batch of an earlier life has no outcome: reading it back");
                zone.unsettled.push(batch);
            }
        }
        for zone in ids {
            self.resume_sync(&zone, now).await?;
        }
        Ok(())
    }

    /// The last change of an earlier life may not have been in sync: it is asked after once more.
    async fn resume_sync(&mut self, zone_id: &ZoneId, now: Timestamp) -> Result<(), StoreError> {
        let filter = ChangeFilter { zone: Some(zone_id.clone()), limit: 1, ..ChangeFilter::default() };
        let last = self.store.changes(&filter).await?.into_iter().next();
        if let Some(zone) = self.zones.get_mut(zone_id)
            && let Some(crate::ports::BatchOutcome::Applied { change_id: Some(change_id), .. }) = last.and_then(|row| row.outcome)
        {
            zone.sync = Some(SyncWatch { change_id, sequence: 0, ask_at: now, asked: 0 });
        }
        Ok(())
    }

    /// Works until the shutdown: then no new call is started, and those that run are waited for and recorded.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        loop {
            let now = self.clock.now();
            let stopping = self.shutdown.is_cancelled();
            if stopping && self.running.is_empty() {
                break;
            }
            let wake = if stopping { None } else { self.start_what_can_start(now).await };
            self.publish_if_due(now);
            let sleep = wake.map(|at| tokio::time::sleep((at - now).to_duration().max(std::time::Duration::from_millis(1))));
            tokio::select! {
                Some(done) = self.running.next(), if !self.running.is_empty() => self.finish(done).await,
                message = messages.recv() => match message {
                    Some(message) => {
                        self.take(message);
                    }
                    None if self.running.is_empty() => break,
                    None => self.shutdown.cancel(),
                },
                () = async { match sleep { Some(sleep) => sleep.await, None => std::future::pending().await } } => {}
                () = self.shutdown.cancelled(), if !stopping => {}
            }
        }
        self.publish(self.clock.now());
    }

    fn take(&mut self, message: Message) {
        let now = self.clock.now();
        match message {
            Message::Effects(effects) => {
                let touched = self.absorb_effects(effects);
                for (zone, names) in touched {
                    self.review(&zone, names, now);
                }
            }
            Message::Reconfigure(settings, provider) => self.reconfigure(*settings, provider, now),
            Message::Query(query) => self.answer(query, now),
        }
    }

    fn reconfigure(&mut self, settings: AccountSettings, provider: Arc<dyn DnsProvider>, now: Timestamp) {
        if !Arc::ptr_eq(&self.provider, &provider) {
            // Another way to the account: who it leads to is asked before anything is written.
            self.provider = provider;
            self.health = Health::Starting;
            self.discovery.asking_identity(false);
            self.dirty_view = true;
        }
        if settings == self.settings {
            return;
        }
        self.budget.reconfigure(&settings.budget, now);
        self.settings = settings;
        self.discovery.look_again(now);
        self.dirty_view = true;
    }

    /// Takes contributions into the books; answers the names to look at.
    fn absorb_effects(&mut self, effects: Vec<Effect>) -> BTreeMap<ZoneId, BTreeSet<DnsName>> {
        let mut touched: BTreeMap<ZoneId, BTreeSet<DnsName>> = BTreeMap::new();
        for effect in effects {
            let zone_id = match &effect {
                Effect::Contribute { placement, .. } | Effect::Withdraw { placement, .. } => placement.zone.clone(),
                Effect::Judge { .. } => continue,
            };
            let Some(zone) = self.zones.get_mut(&zone_id) else {
                self.early.entry(zone_id).or_default().push(effect);
                continue;
            };
            match effect {
                Effect::Contribute { name, held, .. } => {
                    zone.book.contribute(&name, held);
                    touched.entry(zone_id).or_default().insert(name);
                }
                Effect::Withdraw { name, held, .. } => {
                    zone.book.withdraw(&name, &held);
                    touched.entry(zone_id).or_default().insert(name);
                }
                Effect::Judge { .. } => {}
            }
        }
        touched
    }

    fn review_all(&mut self, zone_id: &ZoneId, now: Timestamp) {
        let Some(names) = self.zones.get(zone_id).map(|zone| zone.book.names()) else { return };
        self.review(zone_id, names, now);
    }

    /// Looks at names again: claims, plans, statuses, and whether there is something to send.
    fn review(&mut self, zone_id: &ZoneId, names: impl IntoIterator<Item = DnsName>, now: Timestamp) {
        let detail = self.pending_detail(zone_id, now);
        let expected_at = self.expected_at(zone_id, now);
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        if !zone.unsettled.is_empty() {
            // What is there is not known yet; a plan made now could be wrong, and a status too.
            zone.to_review.extend(names);
            return;
        }
        let mut statuses = vec![];
        for name in names {
            let review = zone.book.review(&name, now, &detail, expected_at);
            zone.pending_writes.extend(review.adopted);
            let searched = zone.searches.iter().any(|search| search.holds(&name));
            zone.backlog.set(&name, review.work.filter(|_| !searched));
            statuses.extend(review.statuses);
        }
        self.dirty_view = true;
        self.tell(statuses, now);
    }

    fn tell(&self, statuses: Vec<(Held, Arc<Status>)>, now: Timestamp) {
        for (held, status) in statuses {
            self.feedback.tell(&held, status, now);
        }
    }

    /// What a pending endpoint waits for beside its turn.
    fn pending_detail(&self, zone_id: &ZoneId, now: Timestamp) -> String {
        if let Health::Parked { message, .. } = &self.health {
            return format!("the account {} is parked: {message}", self.settings.account);
        }
        match self.zones.get(zone_id) {
            Some(zone) if !zone.is_open(now) => zone.trouble.as_ref().map_or_else(String::new, |trouble| trouble.message.clone()),
            Some(zone) if zone.listed_at.is_none() => format!("the zone {} is being listed for the first time", zone.facts.name),
            _ => String::new(),
        }
    }

    /// When what is added now would go out, if the account goes on as it is.
    fn expected_at(&mut self, zone_id: &ZoneId, now: Timestamp) -> Option<Timestamp> {
        if !matches!(self.health, Health::Working) {
            return None;
        }
        let changes: u64 = self.zones.values().map(|zone| u64::from(zone.backlog.cost())).sum();
        let at = self.budget.predict(now, 1, u32::try_from(changes.max(1)).unwrap_or(u32::MAX));
        let zone = self.zones.get(zone_id)?;
        (at.0 < i64::MAX).then(|| at.max(zone.free_at))
    }

    fn zone_ids(&self) -> Vec<ZoneId> {
        self.zones.keys().cloned().collect()
    }

    fn park(&mut self, message: String, now: Timestamp) {
        self.failures += 1;
        let wait = Millis((5_000_i64 << (self.failures - 1).min(8)).min(900_000));
        let jitter = Millis(self.rng.i64(0..=wait.0 / 5));
        warn!(account = %self.settings.account, name = %self.settings.name, retry_in_ms = wait.0 + jitter.0, "account parked, nothing is written: {message}");
        self.health = Health::Parked { message, since: now, retry_at: now + wait + jitter };
        self.dirty_view = true;
        for zone in self.zone_ids() {
            let waiting = self.zones.get(&zone).map(|zone| zone.backlog.names()).unwrap_or_default();
            self.review(&zone, waiting, now);
        }
    }

    fn spawn(&mut self, call: Call) {
        self.running.spawn(call);
    }
}

/// How a zone that no rule selects is held: looked at, not worked.
const UNSELECTED: ZoneSettings = ZoneSettings { policy: ZonePolicy::Observe, drift: DriftPolicy::Alert, default_ttl_secs: 300 };

/// What the store keeps of a zone, for routing.
pub fn facts_of(row: &ZoneRow) -> ZoneFacts {
    ZoneFacts {
        account: row.account.clone(),
        environment: row.environment.clone(),
        zone: row.zone.clone(),
        name: row.name.clone(),
        visibility: Visibility::of(row.private),
        visible: true,
    }
}

fn row_of(facts: &ZoneFacts, listed_at: Option<Timestamp>) -> ZoneRow {
    ZoneRow {
        account: facts.account.clone(),
        environment: facts.environment.clone(),
        zone: facts.zone.clone(),
        name: facts.name.clone(),
        private: facts.visibility.is_private(),
        listed_at,
    }
}
