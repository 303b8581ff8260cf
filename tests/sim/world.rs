//! A run: builds the world of a schedule, carries its steps out, heals everything, waits until nothing moves any more, and
//! collects what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use zonefold::broker::directory::entry::Progress;
use zonefold::broker::ingest::Limits;
use zonefold::config::Config;
use zonefold::core::dns::name::DnsName;
use zonefold::core::endpoint::KeyHash;
use zonefold::core::ids::{AccountId, ClusterId, EnvironmentId};
use zonefold::emulator::{Control, InProcess, View, ZoneSummary};
use zonefold::ports::{Drift, EndpointRow};

use crate::agent::{self, AgentHost, Cluster};
use crate::aws::{Aws, Route};
use crate::broker::{self, BrokerHost};
use crate::history::{self, Agent, End, History, StoredBatch, StoredEndpoint, What};
use crate::net::{Network, Weather};
use crate::recorder::{Recorder, lock};
use crate::schedule::Schedule;
use crate::shape::Shape;
use crate::steps::Undo;
use crate::store::{Database, Tables, Troubles};

/// After everything is healed the world has this long to come to rest.
const REST_WITHIN: Duration = Duration::from_secs(40 * 60);
/// A world with more events than this meanwhile never comes to rest, and looking on is of no use.
const REST_WITHIN_EVENTS: usize = 20_000;
/// It rests when nothing has moved for this time.
const REST: Duration = Duration::from_secs(8);
/// Then it is watched for this time.
const LOOK_ON: Duration = Duration::from_secs(90);
/// Within this time all agents have a stream at the same moment. In some worlds streams end of age before an agent takes them for
/// stable, so its pauses grow to 30 s: each is back soon, but while it is, another one's may end.
const BACK_WITHIN: Duration = Duration::from_secs(20 * 60);
/// A refused change is left alone for at least this time.
const POISON_BACKOFF_MS: i64 = 30_000;

/// Everything of a run.
pub struct World {
    pub(crate) schedule: Schedule,
    pub(crate) recorder: Recorder,
    pub(crate) network: Network,
    pub(crate) database: Database,
    pub(crate) aws: Aws,
    pub(crate) control: Control,
    pub(crate) config: watch::Sender<Arc<Config>>,
    pub(crate) brokers: Vec<Arc<Mutex<BrokerHost>>>,
    pub(crate) clusters: Vec<Arc<Mutex<Cluster>>>,
    pub(crate) agents: Vec<Arc<Mutex<AgentHost>>>,
    /// Second agents and impostors, by cluster and number.
    pub(crate) others: BTreeMap<(usize, u32), Arc<Mutex<AgentHost>>>,
    pub(crate) agent_surroundings: agent::Surroundings,
    pub(crate) random: fastrand::Rng,
    pub(crate) undo: BTreeMap<(u64, usize), Undo>,
}

/// Carries a schedule out. The time is virtual, and all randomness is the seed's.
pub fn run(seed: u64, schedule: &Schedule) -> History {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let processes = tokio::task::LocalSet::new();
    let schedule = schedule.prepared();
    let history = processes.block_on(&runtime, async {
        let mut world = World::build(seed, &schedule);
        let recorder = world.recorder.clone();
        std::panic::set_hook(Box::new(move |panic| {
            let part = panic.location().map(|place| place.file().to_owned()).unwrap_or_default();
            recorder.note(What::Panicked { part, message: panic.to_string() });
        }));
        world.play().await;
        world.heal().await;
        world.rest().await;
        world.collect()
    });
    // Tasks that still wait are not waited for.
    drop(processes);
    runtime.shutdown_background();
    history
}

impl World {
    fn build(seed: u64, schedule: &Schedule) -> Self {
        let shape = &schedule.shape;
        let mut random = fastrand::Rng::with_seed(seed);
        let emulator = InProcess::new(shape.emulator(random.u64(..))).unwrap();
        let control = emulator.control();
        let config = shape.config();
        let recorder = Recorder::new(described(seed, shape, &config, &control));
        let network = Network::new(random.fork(), shape.weather());
        let database = Database::new(
            recorder.clone(),
            random.fork(),
            Troubles::none(shape.store_ms),
            shape.shared_store,
        );
        let routes = (0..shape.brokers).map(|_| Route::good(shape.aws_ms)).collect();
        let aws = Aws::new(emulator, recorder.clone(), random.fork(), routes);
        let config = watch::Sender::new(Arc::new(config));
        let limits = Limits {
            heartbeat: Duration::from_millis(shape.heartbeat_ms),
            least_age: Duration::from_millis(shape.least_age_ms),
            ..Limits::default()
        };
        let surroundings = broker::Surroundings {
            recorder: recorder.clone(),
            network: network.clone(),
            database: database.clone(),
            aws: aws.clone(),
            config: config.subscribe(),
            limits,
            attempt_timeout: Duration::from_millis(shape.attempt_timeout_ms),
        };
        let brokers = (0..shape.brokers).map(|slot| {
            let skews = shape.skews_ms.get(slot as usize).cloned().unwrap_or_default();
            Arc::new(Mutex::new(BrokerHost::new(slot, surroundings.clone(), skews, random.u64(..))))
        });
        let brokers = brokers.collect();
        let agent_surroundings = agent::Surroundings {
            recorder: recorder.clone(),
            network: network.clone(),
            brokers: shape.brokers,
        };
        let clusters: Vec<Arc<Mutex<Cluster>>> =
            shape.clusters.iter().map(|_| Arc::default()).collect();
        let mut world = Self {
            schedule: schedule.clone(),
            recorder,
            network,
            database,
            aws,
            control,
            config,
            brokers,
            clusters,
            agents: vec![],
            others: BTreeMap::new(),
            agent_surroundings,
            random,
            undo: BTreeMap::new(),
        };
        world.agents =
            (0..world.clusters.len()).map(|cluster| world.new_agent(cluster, 0)).collect();
        world
    }

    /// An agent's host: number 0 is the cluster's own, 1 a second one, 2 one of another cluster.
    pub(crate) fn new_agent(&mut self, cluster: usize, number: u32) -> Arc<Mutex<AgentHost>> {
        let agent = Agent { cluster: cluster_id(cluster), number };
        let uid = if number == 2 {
            format!("uid-of-somebody-else-{cluster}")
        } else {
            format!("uid-{cluster}")
        };
        // Another cluster has other objects.
        let objects =
            if number == 2 { Arc::default() } else { Arc::clone(&self.clusters[cluster]) };
        let surroundings = self.agent_surroundings.clone();
        Arc::new(Mutex::new(AgentHost::new(agent, uid, objects, surroundings, self.random.fork())))
    }

    /// The steps, and the ends of what lasts, in the order of their times.
    async fn play(&mut self) {
        self.write_foreign_beginnings();
        self.tell_beginnings();
        for host in &self.brokers {
            lock(host).start();
            tokio::task::spawn_local(BrokerHost::restart_when_ended(Arc::clone(host)));
        }
        self.agents.iter().for_each(AgentHost::start);
        let steps = self.schedule.steps.clone();
        let mut steps = steps.into_iter().enumerate().peekable();
        let end_ms = self.schedule.shape.length_ms;
        loop {
            let next_step = steps.peek().map(|(_, timed)| timed.at_ms);
            let next_undo = self.undo.keys().next().map(|(at_ms, _)| *at_ms);
            let Some(at_ms) =
                next_step.into_iter().chain(next_undo).min().filter(|at_ms| *at_ms < end_ms)
            else {
                break;
            };
            self.wait_until(at_ms).await;
            if next_undo.is_some_and(|undo| undo <= at_ms) {
                if let Some((_, undo)) = self.undo.pop_first() {
                    self.end(undo);
                }
                continue;
            }
            let Some((number, timed)) = steps.next() else { break };
            self.recorder.note(What::Step { number, text: timed.step.text() });
            self.take_step(number, &timed.step);
        }
        self.wait_until(end_ms).await;
    }

    async fn wait_until(&self, at_ms: u64) {
        let wait_ms = at_ms.saturating_sub(self.recorder.elapsed_ms());
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }

    /// Ends everything that is wrong, and starts everything that is down.
    async fn heal(&mut self) {
        while let Some((_, undo)) = self.undo.pop_first() {
            self.end(undo);
        }
        self.network.heal(self.schedule.shape.weather());
        let quiet = Troubles::none(self.schedule.shape.store_ms);
        self.database.trouble(|troubles| *troubles = quiet);
        for broker in 0..self.schedule.shape.brokers {
            self.aws.reroute(broker, |route| *route = Route::good(self.schedule.shape.aws_ms));
        }
        self.control.clear_faults();
        // A host that was thought dead and goes on has time to find out that it is superseded. A stopping one has stopped by then.
        tokio::time::sleep(Duration::from_secs(30)).await;
        for host in &self.brokers {
            lock(host).lay_ghosts();
            lock(host).start();
        }
        self.agents.iter().for_each(AgentHost::start);
        tokio::time::sleep(Duration::from_secs(5)).await;
        self.recorder.note(What::Healed);
    }

    /// Waits until nothing moves, and looks on for a while.
    async fn rest(&mut self) {
        // What a freeze keeps back goes out at its end, also if no endpoint is left that could wait for it; and people who want to hand
        // names over try again for some time.
        let steps = self.schedule.steps.iter();
        let goes_on = steps.filter_map(|timed| Some(timed.at_ms + timed.step.goes_on_for_ms()?));
        let goes_on_until = goes_on.max();
        self.wait_until(goes_on_until.unwrap_or_default()).await;
        let until = tokio::time::Instant::now() + REST_WITHIN;
        let mut rested = false;
        // Changes of the zones by others are found when the zones are compared next.
        let config = Arc::clone(&self.config.borrow());
        let compared_within = config
            .accounts
            .iter()
            .map(|account| account.drift_interval_secs.max(self.schedule.shape.awaits_listing()))
            .max()
            .unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(u64::from(compared_within) * 5 / 4)).await;
        let most_events = self.recorder.len() + REST_WITHIN_EVENTS;
        while tokio::time::Instant::now() < until && self.recorder.len() < most_events {
            let before = self.recorder.len();
            tokio::time::sleep(REST).await;
            let moved = self
                .recorder
                .since(before, |events| events.iter().any(|event| is_movement(&event.what)));
            if !moved && self.is_converged() && !self.is_moving() {
                rested = true;
                break;
            }
        }
        if rested {
            self.recorder.note(What::Quiet);
            tokio::time::sleep(LOOK_ON).await;
            // Streams end of age now and then, and are back soon.
            let until = tokio::time::Instant::now() + BACK_WITHIN;
            while !self.is_converged() && tokio::time::Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }

    fn is_converged(&self) -> bool {
        let mut worked = BTreeSet::new();
        for host in &self.brokers {
            let Some(handle) = lock(host).handle() else { return false };
            for view in handle.accounts() {
                // A zone's trouble is over by itself some time, and what waits for that goes out then. What a guard holds goes out when
                // people let it go.
                let is_troubled = view
                    .zones
                    .iter()
                    .any(|zone| zone.visible && (zone.trouble.is_some() || zone.held > 0));
                if !view.is_settled() || is_troubled {
                    return false;
                }
                worked.insert(view.account.clone());
            }
        }
        worked.len() == self.schedule.shape.accounts.len()
            && self
                .agents
                .iter()
                .all(|host| lock(host).is_converged() || self.is_unregistered(host))
    }

    /// Whether an endpoint is about to leave a zone, which it does as soon as it is in sync where it went, or names are handed over,
    /// which ends when resolvers have forgotten what was.
    fn is_moving(&self) -> bool {
        let is_handed_over =
            |tables: &Tables| tables.handovers.values().any(|handover| !handover.phase.is_over());
        if self.database.look(is_handed_over) {
            return true;
        }
        let is_leaving = |row: &EndpointRow| {
            let placed = row.placed.as_ref();
            placed.is_some_and(|placed| !placed.placement.set.leaving().is_empty())
        };
        let leaving: Vec<_> = self.database.look(|tables| {
            let rows = tables.endpoints.values().filter(|row| is_leaving(row));
            rows.map(|row| (row.cluster.clone(), row.key)).collect()
        });
        let handles = self.brokers.iter().filter_map(|host| lock(host).handle());
        let statuses = handles.flat_map(|handle| {
            let status = |(cluster, key): &(ClusterId, KeyHash)| {
                handle.endpoints(cluster).get(key).and_then(|held| held.status())
            };
            leaving.iter().filter_map(status).collect::<Vec<_>>()
        });
        statuses.into_iter().any(|status| matches!(status.progress, Some(Progress::Applied { .. })))
    }

    fn is_unregistered(&self, host: &Arc<Mutex<AgentHost>>) -> bool {
        let cluster = lock(host).agent().cluster.clone();
        self.config.borrow().clusters.iter().all(|registered| registered.name != cluster)
    }

    fn collect(&self) -> History {
        let mut history = self.recorder.take();
        let now = self.recorder.now();
        history.end = self.database.look(|tables| End {
            at: now,
            endpoints: tables.endpoints.values().map(stored).collect(),
            claims: tables
                .claims
                .values()
                .map(|row| ((row.zone.clone(), row.name.clone()), row.cluster.clone()))
                .collect(),
            book: tables
                .records
                .iter()
                .map(|(zone, records)| {
                    let own = records
                        .values()
                        .filter(|row| row.owner.is_some() && row.drift != Some(Drift::Missing));
                    (zone.clone(), own.map(|row| row.raw.unpack(&row.key)).collect())
                })
                .collect(),
            batches: tables
                .batches
                .iter()
                .map(|entry| StoredBatch {
                    batch: entry.row.batch.clone(),
                    outcome: entry.row.outcome.clone(),
                })
                .collect(),
            ..End::default()
        });
        let config = self.config.borrow();
        let is_registered =
            |cluster: &ClusterId| config.clusters.iter().any(|other| other.name == *cluster);
        history.end.unregistered = history
            .world
            .clusters
            .keys()
            .filter(|cluster| !is_registered(cluster))
            .cloned()
            .collect();
        for zone in &mut history.world.zones {
            let account = config.accounts.iter().find(|account| account.id == zone.account);
            let entry =
                account.and_then(|account| account.zones.iter().find(|zone| zone.tags.is_empty()));
            zone.default_ttl_secs =
                entry.map_or(zone.default_ttl_secs, |entry| entry.default_ttl_secs);
        }
        for zone in self.control.zones() {
            let records = self.control.records(&zone.id, View::Accepted).unwrap_or_default();
            history.end.zones.insert(zone.id, records);
        }
        let hosts = self.agents.iter().chain(self.others.values());
        for host in hosts {
            let host = lock(host);
            let refused = host.agent().number == 2
                || history.end.unregistered.contains(&host.agent().cluster);
            if let Some(end) = host.end(refused) {
                history.end.agents.insert(host.agent().clone(), end);
            }
        }
        history
    }
}

/// The name of a cluster.
pub fn cluster_id(cluster: usize) -> ClusterId {
    ClusterId::parse(Shape::cluster_name(cluster)).unwrap()
}

/// Whether something is under way that rest waits for.
fn is_movement(what: &What) -> bool {
    match what {
        What::CallStarted(call) => call.action == "ChangeResourceRecordSets",
        What::Committed { commit, .. } => !matches!(commit, history::Commit::SpendHorizon { .. }),
        What::Sent { .. } | What::Status { .. } | What::Applied { .. } | What::Started(_) => true,
        _ => false,
    }
}

fn stored(row: &zonefold::ports::EndpointRow) -> StoredEndpoint {
    StoredEndpoint {
        cluster: row.cluster.clone(),
        arrival: row.arrival,
        key: row.key,
        version: row.version,
        endpoint: row.endpoint.unpack(),
        octets: row.endpoint.share().octets,
        withheld: row.endpoint.withheld().map(|withheld| withheld.octets),
        verdict: row.verdict.as_ref().map(|verdict| (verdict.state, verdict.reason)),
    }
}

/// The world as the history tells it.
fn described(seed: u64, shape: &Shape, config: &Config, control: &Control) -> history::World {
    let accounts = config.accounts.iter().map(|account| history::Account {
        id: account.id.clone(),
        environment: account.environment.clone(),
        budget: account.budget_config(),
    });
    let summaries = control.zones();
    let zone = |account: &crate::shape::Account, zone: &crate::shape::Zone, private: bool| {
        let apex = DnsName::parse(zone.apex).unwrap();
        let is_it = |summary: &&ZoneSummary| summary.name == apex && summary.private == private;
        history::Zone {
            id: summaries.iter().find(is_it).unwrap().id.clone(),
            private,
            account: AccountId::parse(account.id).unwrap(),
            apex,
            policy: zone.policy,
            drift: zone.drift,
            adopt: zone.adopt,
            default_ttl_secs: 300,
        }
    };
    let environment = |name: &str| EnvironmentId::parse(name).unwrap();
    history::World {
        seed,
        started_at: crate::recorder::STARTED_AT,
        accounts: accounts.collect(),
        zones: shape.all_zones().map(|(account, of, private)| zone(account, of, private)).collect(),
        clusters: shape
            .clusters
            .iter()
            .enumerate()
            .map(|(index, name)| (cluster_id(index), environment(name)))
            .collect(),
        shifting: shape.prepared.shifting(),
        quotas: (0..shape.clusters.len())
            .filter_map(|index| Some((cluster_id(index), shape.quota(index)?)))
            .collect(),
        sweep_ms: i64::from(shape.drift_secs.min(shape.discovery_secs)) * 1_000,
        poison_backoff_ms: POISON_BACKOFF_MS,
    }
}

impl Shape {
    /// The network when nothing is wrong.
    pub fn weather(&self) -> Weather {
        Weather { latency_ms: self.network_ms, loss: 0.0, pipe_bytes: self.pipe_bytes }
    }
}
