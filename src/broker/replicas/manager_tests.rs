//! Several lease managers on one store, under virtual time. Workers do nothing but hold their lease.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use futures::FutureExt as _;

use super::*;
use crate::broker::metrics::BrokerMetrics;
use crate::core::ids::EnvironmentId;
use crate::core::limits::budget::BudgetConfig;
use crate::core::time::Millis;
use crate::ports::{FeedEntry, LeaseEpoch, ReplicaId};

/// The leases as a database keeps them, by its own time.
struct Database {
    started: Instant,
    is_shared: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    replicas: BTreeMap<ReplicaId, (ReplicaRow, Instant)>,
    leases: BTreeMap<AccountId, (Tenure, Instant)>,
    epochs: BTreeMap<AccountId, u64>,
    announced: usize,
}

impl Database {
    fn new(is_shared: bool) -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), is_shared, state: Mutex::default() })
    }
}

/// One replica's way to the database.
struct Connection {
    database: Arc<Database>,
    is_cut: AtomicBool,
    /// How long a heartbeat is in flight.
    lag_ms: AtomicU64,
}

/// A heartbeat takes this long, and leases go on to run out meanwhile.
const LAG_MS: u64 = 150;

impl Connection {
    fn state(&self) -> Result<std::sync::MutexGuard<'_, State>, StoreError> {
        if self.is_cut.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("the connection is cut".to_owned()));
        }
        Ok(self.database.state.lock().unwrap())
    }
}

fn later(ttl: Millis) -> Instant {
    Instant::now() + ttl.to_duration()
}

#[async_trait]
impl Leases for Connection {
    fn is_shared(&self) -> bool {
        self.database.is_shared
    }
    async fn heartbeat(&self, replica: &ReplicaRow, ttl: Millis) -> Result<Membership, StoreError> {
        tokio::time::sleep(Duration::from_millis(self.lag_ms.load(Ordering::Relaxed))).await;
        let (mut state, now) = (self.state()?, Instant::now());
        state.replicas.insert(replica.replica, (replica.clone(), later(ttl)));
        for (tenure, until) in
            state.leases.values_mut().filter(|(tenure, _)| tenure.holder == replica.replica)
        {
            *until = later(ttl).max(*until);
            assert_eq!(tenure.holder, replica.replica);
        }
        let replicas =
            state.replicas.values().filter(|(_, until)| *until > now).map(|(row, _)| row.clone());
        let leases = state
            .leases
            .values()
            .filter(|(_, until)| *until > now)
            .map(|(tenure, _)| tenure.clone());
        Ok(Membership { replicas: replicas.collect(), leases: leases.collect() })
    }
    async fn take_leases(
        &self,
        replica: ReplicaId,
        accounts: &[AccountId],
        ttl: Millis,
    ) -> Result<Vec<Tenure>, StoreError> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (mut state, now) = (self.state()?, Instant::now());
        let mut taken = vec![];
        for account in accounts {
            if self.database.is_shared
                && state.leases.get(account).is_some_and(|(_, until)| *until > now)
            {
                continue;
            }
            let epoch = state.epochs.entry(account.clone()).or_default();
            *epoch += 1;
            let tenure =
                Tenure { account: account.clone(), holder: replica, epoch: LeaseEpoch(*epoch) };
            state.leases.insert(account.clone(), (tenure.clone(), later(ttl)));
            taken.push(tenure);
        }
        Ok(taken)
    }
    async fn give_back(&self, tenures: &[Tenure]) -> Result<(), StoreError> {
        self.state()?.leases.retain(|_, (tenure, _)| !tenures.contains(tenure));
        Ok(())
    }
    async fn leave(&self, replica: ReplicaId) -> Result<(), StoreError> {
        let mut state = self.state()?;
        state.replicas.remove(&replica);
        state.leases.retain(|_, (tenure, _)| tenure.holder != replica);
        Ok(())
    }
}

#[async_trait]
impl Feed for Connection {
    async fn feed_end(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
    async fn feed(&self, _: u64, _: u32) -> Result<Vec<FeedEntry>, StoreError> {
        Ok(vec![])
    }
    async fn announce(&self, _: ReplicaId, news: Vec<News>) -> Result<(), StoreError> {
        self.state()?.announced += news.len();
        Ok(())
    }
    async fn feed_changed(&self) {
        std::future::pending().await
    }
    async fn prune_feed(&self, _: Millis) -> Result<u64, StoreError> {
        Ok(0)
    }
}

fn account(number: usize) -> AccountSettings {
    AccountSettings {
        placement: crate::core::planning::policy::PlacementWait::Wait,
        account: AccountId::parse(format!("{number:012}")).unwrap(),
        name: number.to_string(),
        environment: EnvironmentId::parse("dev").unwrap(),
        budget: BudgetConfig::profile_2026(),
        rules: vec![],
        discovery_interval: Millis::from_secs(300),
        drift_interval: Millis::from_secs(600),
    }
}

fn accounts(count: usize) -> Vec<AccountSettings> {
    (0..count).map(account).collect()
}

/// One replica.
struct Replica {
    connection: Arc<Connection>,
    commands: mpsc::UnboundedSender<LeaseCommand>,
    stop: CancellationToken,
    /// The leases that it ever had.
    leases: Arc<Mutex<Vec<Lease>>>,
    running: JoinSet<()>,
}

impl Replica {
    async fn start(database: &Arc<Database>, number: u128, count: usize) -> Self {
        let (is_cut, lag_ms) = (AtomicBool::new(false), AtomicU64::new(LAG_MS));
        let connection = Arc::new(Connection { database: Arc::clone(database), is_cut, lag_ms });
        let leases = Arc::<Mutex<Vec<Lease>>>::default();
        let noted = Arc::clone(&leases);
        let (mut tenancy, _standing) = LeaseManager::new(LeaseManagerParts {
            replica: ReplicaRow {
                replica: ReplicaId(uuid::Uuid::from_u128(number)),
                address: String::new(),
            },
            timing: LeaseTiming::default(),
            leases: Arc::clone(&connection) as Arc<dyn Leases>,
            feed: Arc::clone(&connection) as Arc<dyn Feed>,
            accounts: accounts(count),
            spawn_worker: Box::new(move |tenant| {
                noted.lock().unwrap().push(tenant.lease.clone());
                work(tenant).boxed()
            }),
            workers: Arc::default(),
            relay: RelayHandle::default(),
            metrics: BrokerMetrics::default(),
        });
        tenancy.begin().await.unwrap();
        let (commands, receiver) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(tenancy.run(receiver, stop.clone()));
        commands.send(LeaseCommand::Open).unwrap();
        Self { connection, commands, stop, leases, running }
    }

    /// The accounts that it may call for.
    fn works(&self) -> Vec<String> {
        let leases = self.leases.lock().unwrap();
        let mut works: Vec<String> = leases
            .iter()
            .filter(|lease| !lease.is_over() && !lease.stop().is_cancelled())
            .map(|lease| lease.account().to_string())
            .collect();
        works.sort();
        works
    }
}

/// A worker that takes a moment to end.
async fn work(tenant: LeasedAccount) -> Ended {
    let lease = tenant.lease;
    let is_lost = tokio::select! {
        () = lease.over() => true,
        () = lease.stop().cancelled() => false,
    };
    if !is_lost {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ended { tenure: lease.tenure().clone(), is_lost: lease.is_over() }
}

/// Lets time pass, and checks all the while that no account has two holders.
async fn pass(replicas: &[&Replica], secs: u64) {
    for _ in 0..secs * 20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let all: Vec<String> = replicas.iter().flat_map(|replica| replica.works()).collect();
        let once: BTreeSet<&String> = all.iter().collect();
        assert_eq!(once.len(), all.len(), "an account has two workers: {all:?}");
    }
}

fn sizes(replicas: &[&Replica]) -> Vec<usize> {
    replicas.iter().map(|replica| replica.works().len()).collect()
}

#[tokio::test(start_paused = true)]
async fn accounts_spread_over_those_that_come_and_pass_on_from_those_that_go() {
    let database = Database::new(true);
    let first = Replica::start(&database, 1, 5).await;
    pass(&[&first], 3).await;
    assert_eq!(sizes(&[&first]), [5]);
    let second = Replica::start(&database, 2, 5).await;
    pass(&[&first, &second], 30).await;
    assert_eq!(sizes(&[&first, &second]), [3, 2]);
    let third = Replica::start(&database, 3, 5).await;
    pass(&[&first, &second, &third], 30).await;
    let mut even = sizes(&[&first, &second, &third]);
    even.sort_unstable();
    assert_eq!(even, [1, 2, 2]);
    // A stop hands over at the others' next heartbeat.
    first.stop.cancel();
    pass(&[&first, &second, &third], 3).await;
    assert_eq!(sizes(&[&first, &second, &third]).iter().sum::<usize>(), 5);
    // A crash does when the leases have run out.
    drop(second.running);
    let crashed_at = Instant::now();
    while third.works().len() < 5 {
        pass(&[&third], 1).await;
    }
    assert!(crashed_at.elapsed() <= Duration::from_secs(10), "{:?}", crashed_at.elapsed());
}

#[tokio::test(start_paused = true)]
async fn i12_who_is_cut_off_stops_before_another_begins_and_comes_back_as_a_new_holder() {
    let database = Database::new(true);
    let (first, second) =
        (Replica::start(&database, 1, 4).await, Replica::start(&database, 2, 4).await);
    pass(&[&first, &second], 30).await;
    for _ in 0..5 {
        first.connection.is_cut.store(true, Ordering::Relaxed);
        pass(&[&first, &second], 12).await;
        assert_eq!(sizes(&[&first, &second]), [0, 4]);
        first.connection.is_cut.store(false, Ordering::Relaxed);
        pass(&[&first, &second], 30).await;
        assert_eq!(sizes(&[&first, &second]), [2, 2]);
    }
    assert!(database.state.lock().unwrap().announced >= 5, "it asks for what it has missed");
    let leases = first.leases.lock().unwrap();
    let taken: BTreeSet<(String, u64)> =
        leases.iter().map(|lease| (lease.account().to_string(), lease.tenure().epoch.0)).collect();
    assert_eq!(taken.len(), leases.len(), "every taking has an epoch of its own");
}

#[tokio::test(start_paused = true)]
async fn who_was_taken_for_dead_while_its_heartbeat_was_on_its_way_asks_for_what_it_has_missed() {
    let database = Database::new(true);
    let (first, second) =
        (Replica::start(&database, 1, 4).await, Replica::start(&database, 2, 4).await);
    pass(&[&first, &second], 30).await;
    let is_alive_until =
        || database.state.lock().unwrap().replicas[&ReplicaId(uuid::Uuid::from_u128(1))].1;
    let (asked, before) = (|| database.state.lock().unwrap().announced, is_alive_until());
    while is_alive_until() == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let asked_before = asked();
    first.connection.is_cut.store(true, Ordering::Relaxed);
    pass(&[&first, &second], 5).await;
    // It is sent within the time for which the one before it counts, and comes after it.
    first.connection.lag_ms.store(3_000, Ordering::Relaxed);
    first.connection.is_cut.store(false, Ordering::Relaxed);
    pass(&[&first, &second], 3).await;
    assert!(is_alive_until() < Instant::now() && asked() == asked_before);
    pass(&[&first, &second], 1).await;
    first.connection.lag_ms.store(LAG_MS, Ordering::Relaxed);
    pass(&[&first, &second], 30).await;
    assert_eq!(asked(), asked_before + 1);
    assert_eq!(sizes(&[&first, &second]), [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_short_cut_changes_nothing() {
    let database = Database::new(true);
    let (first, second) =
        (Replica::start(&database, 1, 4).await, Replica::start(&database, 2, 4).await);
    pass(&[&first, &second], 30).await;
    let before = (first.works(), first.leases.lock().unwrap().len());
    first.connection.is_cut.store(true, Ordering::Relaxed);
    pass(&[&first, &second], 3).await;
    first.connection.is_cut.store(false, Ordering::Relaxed);
    pass(&[&first, &second], 60).await;
    assert_eq!((first.works(), first.leases.lock().unwrap().len()), before, "nothing flaps");
}

#[tokio::test(start_paused = true)]
async fn what_the_store_believes_to_be_held_here_and_is_not_is_given_back() {
    let database = Database::new(true);
    let first = Replica::start(&database, 1, 2).await;
    pass(&[&first], 3).await;
    // An answer was lost: the store has given a lease that this replica does not know of.
    let tenure = Tenure {
        account: AccountId::parse("000000000009").unwrap(),
        holder: ReplicaId(uuid::Uuid::from_u128(1)),
        epoch: LeaseEpoch(1),
    };
    let until = Instant::now() + Duration::from_secs(7);
    database.state.lock().unwrap().leases.insert(tenure.account.clone(), (tenure.clone(), until));
    pass(&[&first], 3).await;
    assert!(!database.state.lock().unwrap().leases.contains_key(&tenure.account));
    assert_eq!(sizes(&[&first]), [2]);
}

#[tokio::test(start_paused = true)]
async fn another_configuration_is_worked_without_a_restart() {
    for is_shared in [true, false] {
        let database = Database::new(is_shared);
        let first = Replica::start(&database, 1, 2).await;
        pass(&[&first], 3).await;
        first.commands.send(LeaseCommand::Configure(vec![account(1), account(2)])).unwrap();
        pass(&[&first], 5).await;
        assert_eq!(first.works(), ["000000000001", "000000000002"]);
        // Given back and named again before its worker has ended.
        first.commands.send(LeaseCommand::Configure(vec![account(1)])).unwrap();
        pass(&[&first], 0).await;
        first.commands.send(LeaseCommand::Configure(vec![account(1), account(2)])).unwrap();
        pass(&[&first], 5).await;
        assert_eq!(first.works(), ["000000000001", "000000000002"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_whose_store_another_took_ends() {
    let database = Database::new(false);
    let mut first = Replica::start(&database, 1, 2).await;
    pass(&[&first], 100).await;
    assert_eq!(sizes(&[&first]), [2], "alone its leases do not run out");
    first.leases.lock().unwrap()[0].heed(&StoreError::Fenced(account(0).account));
    let ended = tokio::time::timeout(Duration::from_secs(5), first.running.join_next()).await;
    assert!(ended.is_ok() && database.started.elapsed() < Duration::from_secs(200));
}
