//! The Route 53 and the clock of these tests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::store::TestStore;
pub use super::store::{START, zone_id};
use crate::broker::directory::entry::EndpointEntry;
use crate::broker::directory::{Directory, Effect, PlacementRole};
use crate::broker::lease::Lease;
use crate::broker::metrics::BrokerMetrics;
use crate::broker::rules::RulesInForce;
use crate::broker::status::feedback::Feedback;
use crate::broker::worker::{AccountSettings, AccountView, Discovered, Gate, Worker, WorkerParts};
use crate::core::dns::record::RawRecordSet;
use crate::core::endpoint::Endpoint;
use crate::core::endpoint::packed::PackedEndpoint;
use crate::core::endpoint::verdict::Placement;
use crate::core::ids::{AccountId, EnvironmentId, ZoneId};
use crate::core::limits::budget::{BucketConfig, BudgetConfig, Permit};
use crate::core::planning::change::{Action, WireChange};
use crate::core::planning::policy::{ZoneRule, ZoneSelector, ZoneSettings};
use crate::core::planning::record_types::RecordTypes;
use crate::core::testkit::{cluster, endpoint, name, zone_context};
use crate::core::time::{Millis, Timestamp};
use crate::ports::*;

pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn advance(&self, span: Millis) {
        self.0.fetch_add(span.0, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// A Route 53 that accepts everything.
pub struct TestProvider {
    zones: Vec<HostedZone>,
    clock: Arc<TestClock>,
    pub calls: Mutex<Vec<&'static str>>,
    /// Changes get no answer, and nothing comes of them.
    pub unanswered: AtomicBool,
    /// The changes that were applied, and when each arrived.
    pub changes: Mutex<Vec<(Timestamp, Vec<WireChange>)>>,
    /// When each change was asked for, whatever became of it.
    pub asked: Mutex<Vec<(Timestamp, Vec<WireChange>)>>,
    /// Why a change is not accepted; it is accepted if this returns `None`.
    pub refuses: Mutex<Option<Refuses>>,
    /// Changes are applied, but their answers are lost.
    pub loses_answers: AtomicBool,
    /// Questions after changes get no answer.
    pub sync_unknown: AtomicBool,
    /// The record sets that every zone is said to hold.
    pub held: Mutex<Vec<RawRecordSet>>,
}

/// Says why a change is not accepted.
pub type Refuses = Box<dyn Fn(&[WireChange]) -> Option<CallError> + Send>;

/// A refusal for the content.
pub fn refused(message: &str) -> CallError {
    CallError::Refused {
        code: "InvalidChangeBatch".to_owned(),
        message: message.to_owned(),
        request_id: None,
    }
}

impl TestProvider {
    fn called(&self, what: &'static str) {
        self.calls.lock().unwrap().push(what);
    }

    /// The values that were created, call by call.
    pub fn created(&self) -> Vec<Vec<String>> {
        let created = |changes: &Vec<WireChange>| {
            let creates = changes.iter().filter(|change| change.action == Action::Create);
            creates.flat_map(|change| change.set.values.iter().map(ToString::to_string)).collect()
        };
        self.changes.lock().unwrap().iter().map(|(_, changes)| created(changes)).collect()
    }
}

#[async_trait]
impl DnsProvider for TestProvider {
    async fn identity(&self) -> Result<CallerIdentity, CallError> {
        self.called("identity");
        Ok(CallerIdentity {
            account: account(),
            arn: "arn:aws:iam::111111111111:role/zonefold".to_owned(),
        })
    }
    async fn list_zones(&self, _: Permit, _: Option<String>) -> Result<ZonePage, CallError> {
        self.called("list_zones");
        Ok(ZonePage { zones: self.zones.clone(), next_marker: None })
    }
    async fn zone_tags(
        &self,
        _: Permit,
        _: &[ZoneId],
    ) -> Result<BTreeMap<ZoneId, BTreeMap<String, String>>, CallError> {
        self.called("zone_tags");
        Ok(BTreeMap::new())
    }
    async fn list_records(
        &self,
        _: Permit,
        _: &ZoneId,
        _: Option<RecordCursor>,
    ) -> Result<RecordPage, CallError> {
        self.called("list_records");
        Ok(RecordPage { sets: self.held.lock().unwrap().clone(), next: None })
    }
    async fn change_records(
        &self,
        _: Permit,
        _: &ZoneId,
        _: &str,
        changes: &[WireChange],
    ) -> Result<ChangeReceipt, CallError> {
        self.called("change_records");
        self.asked.lock().unwrap().push((self.clock.now(), changes.to_vec()));
        let why = self.refuses.lock().unwrap().as_ref().and_then(|refuses| refuses(changes));
        if let Some(error) = why {
            return Err(error);
        }
        if self.unanswered.load(Ordering::Relaxed) {
            return Err(CallError::Unknown { message: "no answer".to_owned() });
        }
        self.changes.lock().unwrap().push((self.clock.now(), changes.to_vec()));
        if self.loses_answers.load(Ordering::Relaxed) {
            let created = changes.iter().filter(|change| change.action == Action::Create);
            self.held.lock().unwrap().extend(created.map(|change| change.set.clone()));
            return Err(CallError::Unknown { message: "the answer was lost".to_owned() });
        }
        Ok(ChangeReceipt { change_id: "C1".to_owned(), in_sync: true, request_id: None })
    }
    async fn change_in_sync(&self, _: Permit, _: &str) -> Result<bool, CallError> {
        self.called("change_in_sync");
        if self.sync_unknown.load(Ordering::Relaxed) {
            return Err(CallError::Unknown { message: "no answer".to_owned() });
        }
        Ok(true)
    }
    async fn refresh_credentials(&self) {}
}

pub fn account() -> AccountId {
    zone_context().placement.account
}

/// A lease that does not run out.
pub fn endless() -> Lease {
    let tenure =
        Tenure { account: account(), holder: ReplicaId(uuid::Uuid::nil()), epoch: LeaseEpoch(1) };
    Lease::endless(tenure, CancellationToken::new())
}

/// `www` in a zone.
pub fn www(zone: usize) -> String {
    format!("www.zone-{zone:05}.example.com")
}

/// The cluster east wants an address at a name.
pub fn wants(zone: usize, owner: &str, target: &str) -> Effect {
    wants_for("east", zone, owner, target)
}

/// A cluster wants an address at a name.
pub fn wants_for(of: &str, zone: usize, owner: &str, target: &str) -> Effect {
    effect_of(of, 1, zone, &endpoint("web", owner, "A", &[target]))
}

/// A cluster wants an endpoint in a zone.
pub fn effect_of(of: &str, arrival: i64, zone: usize, endpoint: &Endpoint) -> Effect {
    Effect::Contribute {
        placement: Placement { account: account(), zone: zone_id(zone) },
        name: name(&endpoint.key.dns_name),
        role: PlacementRole::Publishes,
        held: EndpointEntry::new(cluster(of), arrival, &PackedEndpoint::pack(endpoint)),
    }
}

/// The account's requests, with no reserve but the budget's own margin of a token.
pub fn requests(capacity: f64, refill_per_second: f64) -> BudgetConfig {
    let requests = BucketConfig { capacity, refill_per_second };
    BudgetConfig { requests, per_action: BTreeMap::new(), changes: None, reserve_share: 0.0 }
}

/// The parts that a worker is made from, and its surroundings.
pub struct World {
    pub store: Arc<TestStore>,
    pub provider: Arc<TestProvider>,
    pub clock: Arc<TestClock>,
    budget: BudgetConfig,
    pub rules: Vec<ZoneRule>,
    pub governance: watch::Sender<Arc<RulesInForce>>,
    discoveries: Option<mpsc::Receiver<Discovered>>,
}

impl World {
    /// Zones that were all listed just now.
    pub fn new(zones: usize, budget: BudgetConfig) -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(START.0)));
        let rows = (0..zones).map(|zone| ZoneRow {
            account: account(),
            environment: EnvironmentId::parse("dev").unwrap(),
            zone: zone_id(zone),
            name: name(&www(zone)[4..]),
            private: false,
            listed_at: Some(START),
            visible: true,
            tags: None,
        });
        let rows: Vec<ZoneRow> = rows.collect();
        let hosted = rows.iter().map(|row| HostedZone {
            id: row.zone.clone(),
            name: row.name.clone(),
            private: false,
            record_count: 2,
        });
        let provider = TestProvider {
            zones: hosted.collect(),
            clock: Arc::clone(&clock),
            calls: Mutex::default(),
            unanswered: AtomicBool::new(false),
            changes: Mutex::default(),
            asked: Mutex::default(),
            refuses: Mutex::default(),
            loses_answers: AtomicBool::new(false),
            sync_unknown: AtomicBool::new(false),
            held: Mutex::default(),
        };
        let store = TestStore {
            zones: Mutex::new(rows),
            records: Mutex::default(),
            claims: Mutex::default(),
            outcomes: Mutex::default(),
            verdicts: Mutex::default(),
            loses_verdict_answers: AtomicBool::new(false),
            changes: Mutex::default(),
            lost: Mutex::default(),
            counted: Mutex::default(),
            horizon: Mutex::default(),
            journal: Semaphore::new(Semaphore::MAX_PERMITS),
            journalled: AtomicUsize::new(0),
            loses_answer: AtomicBool::new(false),
        };
        let settings = ZoneSettings { record_types: RecordTypes::All, ..ZoneSettings::default() };
        Self {
            store: Arc::new(store),
            provider: Arc::new(provider),
            clock,
            budget,
            rules: vec![ZoneRule { selector: ZoneSelector::default(), settings }],
            governance: watch::Sender::default(),
            discoveries: None,
        }
    }

    pub fn parts(&mut self) -> WorkerParts {
        let (discovered, discoveries) = mpsc::channel(16);
        self.discoveries = Some(discoveries);
        WorkerParts {
            settings: AccountSettings {
                placement: crate::core::planning::policy::PlacementWait::Wait,
                account: account(),
                name: "test".to_owned(),
                environment: EnvironmentId::parse("dev").unwrap(),
                budget: self.budget.clone(),
                rules: self.rules.clone(),
                discovery_interval: Millis::from_secs(300),
                drift_interval: Millis::from_secs(600),
            },
            lease: endless(),
            provider: Arc::clone(&self.provider) as Arc<dyn DnsProvider>,
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            clocks_differ: Millis(0),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            rules: self.governance.subscribe(),
            feedback: Feedback::new(Arc::new(Directory::default()), mpsc::unbounded_channel().0),
            discovered,
            metrics: BrokerMetrics::default().account(&account()),
            gate: Gate::new(1),
            seed: 7,
        }
    }

    /// A worker that knows its account and its zones and has nothing to do.
    pub async fn idle_worker(&mut self) -> (Worker, watch::Receiver<Arc<AccountView>>) {
        let (mut worker, view) = Worker::load(self.parts(), vec![]).await.unwrap();
        drive(&mut worker).await;
        assert!(worker.is_working() && worker.discovery.is_complete());
        self.provider.calls.lock().unwrap().clear();
        (worker, view)
    }

    pub fn calls(&self) -> Vec<&'static str> {
        self.provider.calls.lock().unwrap().clone()
    }
}

/// Lets a worker do all that it can do now.
pub async fn drive(worker: &mut Worker) {
    loop {
        step(worker).await;
        let Some(done) = worker.running.next().await else { return };
        worker.finish(done).await;
    }
}

/// One turn of the worker, with all looks at names but those of its start; returns when it wants the next.
pub async fn step(worker: &mut Worker) -> Option<Timestamp> {
    while worker.has_reviews() && !worker.loading.is_looking() {
        worker.review_some();
    }
    let now = worker.clock.now();
    let wake = worker.start_what_can_start(now).await;
    worker.publish_if_due(now);
    wake
}

/// Handles the next result.
pub async fn take_next(worker: &mut Worker) {
    let done = worker.running.next().await.unwrap();
    worker.finish(done).await;
}
