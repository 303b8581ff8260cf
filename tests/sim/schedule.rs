//! The events of a run, as data: drawn from the seed first, then carried out. Steps can be left out, so a run that fails can
//! be shortened; what is left means the same.

use zonefold::core::ids::AccountId;
use zonefold::emulator::Action;

use crate::agent::SOURCES;
use crate::extra::{self, Extra};
use crate::net::{Death, Direction};
use crate::shape::Shape;
use crate::wants;
use crate::wish::{Object, Wish};
use crate::{quotas, trials};

/// A world and what happens in it.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The world.
    pub shape: Shape,
    /// The foreign record sets in Route 53 before the first broker starts: zone by place, host, value.
    pub foreign: Vec<(usize, String, String)>,
    /// In the order of their times.
    pub steps: Vec<TimedStep>,
}

/// A step and its time.
#[derive(Clone, Debug)]
pub struct TimedStep {
    /// Milliseconds since the start.
    pub at_ms: u64,
    /// The step itself.
    pub step: Step,
}

/// How an agent's or a broker's process goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    /// From one moment to the next.
    Crash(Death),
    /// In good order.
    Drain,
}

/// Something that happens. What lasts says for how long; it ends by itself, and at the latest when everything is healed.
#[derive(Clone, Debug)]
pub enum Step {
    /// An object of a cluster is created, or changed to want exactly this.
    Want { cluster: usize, object: Object, wishes: Vec<Wish> },
    /// The object is deleted.
    Delete { cluster: usize, object: Object },
    /// The object's load balancer shows no address.
    LoseStatus { cluster: usize, object: Object, for_ms: u64 },
    /// Objects of a kind cannot be read.
    SourceFails { cluster: usize, source: usize, for_ms: u64 },
    /// The agent's process goes, and comes back knowing nothing.
    RestartAgent { cluster: usize, going: Going, for_ms: u64 },
    /// Its session breaks; the process remembers.
    Reconnect { cluster: usize, death: Death },
    /// It stands still.
    PauseAgent { cluster: usize, for_ms: u64 },
    /// A second agent with the same identity runs.
    Twin { cluster: usize, for_ms: u64 },
    /// An agent of another cluster shows up under this name.
    Impostor { cluster: usize, for_ms: u64 },
    /// A partition between an agent and a broker; of the whole agent when no broker is named.
    Cut { cluster: usize, broker: Option<u32>, directions: Vec<Direction>, for_ms: u64 },
    /// The agent's connections are reset.
    Reset { cluster: usize },
    /// The connections that the agent has now sleep; new ones do not. Then they wake up.
    Sleep { cluster: usize, directions: Vec<Direction>, for_ms: u64 },
    /// The network is slow and loses pieces.
    Storm { latency_ms: (u64, u64), loss_percent: u8, for_ms: u64 },
    /// A broker's process goes, and is started again.
    RestartBroker { broker: u32, going: Going, for_ms: u64 },
    /// SIGSTOP, and SIGCONT later.
    PauseBroker { broker: u32, for_ms: u64 },
    /// It is stopped and taken for dead, and another process is started in its place. Then it goes on.
    Supersede { broker: u32, for_ms: u64 },
    /// The configuration is written anew.
    Reconfigure { change: Reconfiguration },
    /// The store does badly.
    Store { trouble: StoreTrouble, percent: u8, for_ms: u64 },
    /// The feed is cut: a replica that has not read it cannot any more.
    CutFeed,
    /// The way from a broker to AWS is bad.
    AwsRoute { broker: u32, trouble: RouteTrouble, percent: u8, for_ms: u64 },
    /// AWS does something.
    Aws { account: usize, action: Option<Action>, trouble: AwsTrouble, percent: u8, for_ms: u64 },
    /// Route 53 refuses every batch with this name.
    Poison { host: String, for_ms: u64 },
    /// Another writer writes into a zone.
    Foreign { zone: usize, write: ForeignWrite },
    /// One of the further kinds of events.
    Extra(Extra),
}

/// A change of the configuration.
#[derive(Clone, Debug)]
pub enum Reconfiguration {
    /// The default TTL of all zones.
    DefaultTtl(u32),
    /// How often zones are compared.
    DriftInterval(u32),
    /// A cluster is no longer registered, or is again.
    Cluster { cluster: usize, registered: bool },
}

/// A fault of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreTrouble {
    /// Nothing is applied at all.
    Outage,
    /// Calls take seconds.
    Slow,
    /// Calls fail.
    Refuse,
    /// Calls are applied and seem to fail.
    LoseAnswers,
    /// Notifications are lost.
    LoseNotices,
}

/// A fault between a broker and AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTrouble {
    /// Nothing gets through.
    Cut,
    /// No connection.
    Refuse,
    /// Requests are lost.
    LoseRequests,
    /// Answers are lost.
    LoseAnswers,
    /// Requests take seconds.
    Delay,
}

/// A fault of AWS; each is a fault of the emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsTrouble {
    Throttle,
    Prior,
    ServerError(u16),
    Latency(u64),
    HangBeforeApply,
    ApplyThenHang,
    ApplyThenReset(usize),
    ResetBeforeApply,
    Truncate(usize),
    Garbage,
    ExpiredToken,
    AccessDenied,
    InvalidClientToken,
    ClockSkew(i64),
    StsDown,
    RoleRevoked,
    FreezeZone,
    /// Another writer writes a record set into the account's first zone just before each call is looked at.
    Race {
        host: u8,
        value: u8,
    },
    /// Another writer writes a record set there after each page of a list.
    ListTear {
        host: u8,
        value: u8,
    },
    /// The zone accepts no more than this number of record sets.
    ZoneQuota(u64),
}

/// A write by another writer.
#[derive(Clone, Debug)]
pub enum ForeignWrite {
    /// A record set of an own name.
    Create { host: String, value: String },
    /// One of those that are there is deleted, by its place.
    Delete { place: usize },
    /// One of those that are there gets another value.
    Change { place: usize, value: String },
}

/// How many objects of a kind a cluster has at most.
pub const OBJECTS: u8 = 5;

impl Schedule {
    /// Draws a world and what happens in it.
    pub fn draw(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5EED_0F5C_4ED0_1E00);
        let mut shape = Shape::draw(&mut random);
        shape.quotas = quotas::draw(seed, shape.clusters.len());
        let zones = shape.zones().count();
        let foreign = (0..random.usize(0..=2)).map(|_| {
            let zone = random.usize(0..zones);
            (
                zone,
                format!("n{}.{}", random.u8(0..6), apex(&shape, zone)),
                "198.51.100.7".to_owned(),
            )
        });
        let foreign = foreign.collect();
        let mut draw = Draw { shape: &shape, random: &mut random };
        let mut steps = draw.beginning();
        let count = draw.random.usize(10..=45);
        // Some runs are calm but for their workload, and some are one long bad day.
        let faults_percent = [0, 30, 50, 50, 70][draw.random.usize(0..5)];
        for _ in 0..count {
            let at_ms = draw.random.u64(3_000..shape.length_ms);
            let step =
                if draw.random.u8(0..100) < faults_percent { draw.fault() } else { draw.work() };
            steps.push(TimedStep { at_ms, step });
        }
        steps.extend(trials::draw(seed, &shape));
        steps.extend(wants::draw(seed, &mut shape));
        steps.extend(extra::draw(seed, &shape));
        steps.sort_by_key(|timed| timed.at_ms);
        Self { shape, foreign, steps }
    }

    /// The schedule with a shape that has what its steps find there from the start.
    pub fn prepared(&self) -> Self {
        let mut prepared = self.clone();
        for timed in &self.steps {
            if let Step::Extra(extra) = &timed.step {
                extra.prepare(&mut prepared.shape);
            }
        }
        prepared
    }
}

fn apex(shape: &Shape, zone: usize) -> &'static str {
    shape.zones().nth(zone).map_or("example.com", |(_, zone)| zone.apex)
}

struct Draw<'a> {
    shape: &'a Shape,
    random: &'a mut fastrand::Rng,
}

impl Draw<'_> {
    /// Every cluster has some objects soon.
    fn beginning(&mut self) -> Vec<TimedStep> {
        let mut steps = vec![];
        for cluster in 0..self.shape.clusters.len() {
            for number in 0..self.random.u8(1..=3) {
                let object = Object { kind: SOURCES[usize::from(number) % SOURCES.len()], number };
                let step = Step::Want { cluster, object, wishes: self.wishes(cluster) };
                steps.push(TimedStep { at_ms: self.random.u64(0..4_000), step });
            }
        }
        steps
    }

    fn cluster(&mut self) -> usize {
        self.random.usize(0..self.shape.clusters.len())
    }

    fn broker(&mut self) -> u32 {
        self.random.u32(0..self.shape.brokers)
    }

    fn object(&mut self) -> Object {
        Object {
            kind: SOURCES[self.random.usize(0..SOURCES.len())],
            number: self.random.u8(0..OBJECTS),
        }
    }

    fn wishes(&mut self, cluster: usize) -> Vec<Wish> {
        (0..self.random.usize(1..=3))
            .map(|_| Wish::draw(self.shape, cluster, self.random))
            .collect()
    }

    fn flood(&mut self, cluster: usize) -> Vec<Wish> {
        let zone = self.random.usize(0..self.shape.zones().count());
        let count = self.random.u8(30..=120);
        (0..count)
            .map(|number| {
                Wish::plain(format!("f{cluster}-{number}.{}", apex(self.shape, zone)), self.random)
            })
            .collect()
    }

    /// Mostly seconds, sometimes longer than any patience.
    fn span(&mut self) -> u64 {
        match self.random.u8(0..10) {
            0 => self.random.u64(20_000..=90_000),
            1..=3 => self.random.u64(50..=1_000),
            _ => self.random.u64(1_000..=15_000),
        }
    }

    fn death(&mut self) -> Death {
        if self.random.bool() { Death::Reset } else { Death::Silent }
    }

    fn going(&mut self) -> Going {
        if self.random.u8(0..4) == 0 { Going::Drain } else { Going::Crash(self.death()) }
    }

    fn directions(&mut self) -> Vec<Direction> {
        match self.random.u8(0..4) {
            0 => vec![Direction::ToBroker],
            1 => vec![Direction::ToAgent],
            _ => vec![Direction::ToBroker, Direction::ToAgent],
        }
    }

    fn work(&mut self) -> Step {
        let (cluster, object) = (self.cluster(), self.object());
        match self.random.u8(0..10) {
            0 | 1 => Step::Delete { cluster, object },
            2 => Step::LoseStatus { cluster, object, for_ms: self.span() },
            // A cluster that wants more at once than an account has tokens for.
            3 if self.random.u8(0..4) == 0 => {
                let object = Object { kind: object.kind, number: OBJECTS };
                Step::Want { cluster, object, wishes: self.flood(cluster) }
            }
            _ => Step::Want { cluster, object, wishes: self.wishes(cluster) },
        }
    }

    fn fault(&mut self) -> Step {
        match self.random.u8(0..12) {
            0 | 1 => self.agent_fault(),
            2 | 3 => self.network_fault(),
            4 | 5 => self.broker_fault(),
            6 | 7 => self.store_fault(),
            8 => self.route_fault(),
            9 | 10 => self.aws_fault(),
            _ => self.outsider(),
        }
    }

    fn agent_fault(&mut self) -> Step {
        let (cluster, for_ms) = (self.cluster(), self.span());
        match self.random.u8(0..8) {
            0..=2 => Step::RestartAgent { cluster, going: self.going(), for_ms },
            3 => Step::Reconnect { cluster, death: self.death() },
            4 => Step::PauseAgent { cluster, for_ms },
            5 => Step::Twin { cluster, for_ms },
            6 => Step::Impostor { cluster, for_ms },
            _ => Step::SourceFails { cluster, source: self.random.usize(0..SOURCES.len()), for_ms },
        }
    }

    fn network_fault(&mut self) -> Step {
        let (cluster, for_ms) = (self.cluster(), self.span());
        match self.random.u8(0..5) {
            0 | 1 => {
                let broker = self.random.bool().then(|| self.broker());
                Step::Cut { cluster, broker, directions: self.directions(), for_ms }
            }
            2 => Step::Reset { cluster },
            3 => Step::Sleep { cluster, directions: self.directions(), for_ms },
            _ => Step::Storm {
                latency_ms: (1, self.random.u64(50..=2_000)),
                loss_percent: self.random.u8(0..=40),
                for_ms,
            },
        }
    }

    fn broker_fault(&mut self) -> Step {
        let (broker, for_ms) = (self.broker(), self.span());
        match self.random.u8(0..8) {
            0..=4 => Step::RestartBroker { broker, going: self.going(), for_ms },
            5 => Step::PauseBroker { broker, for_ms },
            6 => Step::Supersede { broker, for_ms },
            _ => {
                let cluster = self.cluster();
                let change = match self.random.u8(0..3) {
                    0 => Reconfiguration::DefaultTtl(self.random.u32(1..=4) * 60),
                    1 => Reconfiguration::DriftInterval(self.random.u32(15..=60)),
                    _ => Reconfiguration::Cluster { cluster, registered: self.random.bool() },
                };
                Step::Reconfigure { change }
            }
        }
    }

    fn store_fault(&mut self) -> Step {
        if self.random.u8(0..16) == 0 {
            return Step::CutFeed;
        }
        use StoreTrouble::*;
        let trouble =
            [Outage, Slow, Refuse, LoseAnswers, LoseAnswers, LoseNotices][self.random.usize(0..6)];
        Step::Store { trouble, percent: self.random.u8(5..=60), for_ms: self.span() }
    }

    fn route_fault(&mut self) -> Step {
        use RouteTrouble::*;
        let trouble = [Cut, Refuse, LoseRequests, LoseAnswers, Delay][self.random.usize(0..5)];
        Step::AwsRoute {
            broker: self.broker(),
            trouble,
            percent: self.random.u8(5..=80),
            for_ms: self.span(),
        }
    }

    fn aws_fault(&mut self) -> Step {
        let (host, value) = (self.random.u8(0..6), self.random.u8(1..20));
        let trouble = match self.random.u8(0..20) {
            0 => AwsTrouble::Throttle,
            1 => AwsTrouble::Prior,
            2 => AwsTrouble::ServerError(if self.random.bool() { 500 } else { 503 }),
            3 => AwsTrouble::Latency(self.random.u64(500..=12_000)),
            4 => AwsTrouble::HangBeforeApply,
            5 => AwsTrouble::ApplyThenHang,
            6 => AwsTrouble::ApplyThenReset(self.random.usize(0..200)),
            7 => AwsTrouble::ResetBeforeApply,
            8 => AwsTrouble::Truncate(self.random.usize(0..400)),
            9 => AwsTrouble::Garbage,
            10 => AwsTrouble::ExpiredToken,
            11 => AwsTrouble::AccessDenied,
            12 => AwsTrouble::InvalidClientToken,
            13 => AwsTrouble::ClockSkew(self.random.i64(-600_000..=600_000)),
            14 => AwsTrouble::StsDown,
            15 => AwsTrouble::RoleRevoked,
            16 => AwsTrouble::Race { host, value },
            17 => AwsTrouble::ListTear { host, value },
            18 => AwsTrouble::ZoneQuota(self.random.u64(3..=12)),
            _ => AwsTrouble::FreezeZone,
        };
        let actions = [
            None,
            Some(Action::ChangeResourceRecordSets),
            Some(Action::ChangeResourceRecordSets),
            Some(Action::ListResourceRecordSets),
            Some(Action::ListHostedZones),
            Some(Action::GetChange),
        ];
        let action = actions[self.random.usize(0..actions.len())];
        let account = self.random.usize(0..self.shape.accounts.len());
        Step::Aws {
            account,
            action,
            trouble,
            percent: self.random.u8(5..=100),
            for_ms: self.span(),
        }
    }

    fn outsider(&mut self) -> Step {
        let zone = self.random.usize(0..self.shape.zones().count());
        let host = format!("n{}.{}", self.random.u8(0..6), apex(self.shape, zone));
        let value = format!("203.0.113.{}", self.random.u8(1..20));
        match self.random.u8(0..5) {
            0 => Step::Poison { host, for_ms: self.span() },
            1 => Step::Foreign { zone, write: ForeignWrite::Create { host, value } },
            2 | 3 => Step::Foreign {
                zone,
                write: ForeignWrite::Change { place: self.random.usize(0..100), value },
            },
            _ => Step::Foreign {
                zone,
                write: ForeignWrite::Delete { place: self.random.usize(0..100) },
            },
        }
    }
}

impl Step {
    /// In words; of many wishes only their number.
    pub fn text(&self) -> String {
        match self {
            Self::Want { cluster, object, wishes } if wishes.len() > 6 => {
                format!(
                    "Want {{ cluster: {cluster}, object: {object:?}, wishes: {} of them }}",
                    wishes.len()
                )
            }
            Self::Want { cluster, object, wishes } => {
                let wishes: Vec<String> = wishes.iter().map(ToString::to_string).collect();
                format!(
                    "Want {{ cluster: {cluster}, object: {object:?}, wishes: {} }}",
                    wishes.join(", ")
                )
            }
            Self::Extra(extra) => extra.text(),
            other => format!("{other:?}"),
        }
    }

    /// How long it goes on also when everything is healed; `None` if it does not.
    pub fn goes_on_for_ms(&self) -> Option<u64> {
        match self {
            Self::Extra(extra) => extra.goes_on_for_ms(),
            _ => None,
        }
    }

    /// How long it lasts; `None` if it is done at once.
    pub fn lasts_ms(&self) -> Option<u64> {
        match self {
            Self::LoseStatus { for_ms, .. }
            | Self::SourceFails { for_ms, .. }
            | Self::RestartAgent { for_ms, .. }
            | Self::PauseAgent { for_ms, .. }
            | Self::Twin { for_ms, .. }
            | Self::Impostor { for_ms, .. }
            | Self::Cut { for_ms, .. }
            | Self::Sleep { for_ms, .. }
            | Self::Storm { for_ms, .. }
            | Self::RestartBroker { for_ms, .. }
            | Self::PauseBroker { for_ms, .. }
            | Self::Supersede { for_ms, .. }
            | Self::Store { for_ms, .. }
            | Self::AwsRoute { for_ms, .. }
            | Self::Aws { for_ms, .. }
            | Self::Poison { for_ms, .. } => Some(*for_ms),
            Self::Extra(extra) => extra.lasts_ms(),
            Self::Want { .. }
            | Self::Delete { .. }
            | Self::Reconnect { .. }
            | Self::Reset { .. }
            | Self::Reconfigure { .. }
            | Self::CutFeed
            | Self::Foreign { .. } => None,
        }
    }

    /// The account of a fault of AWS.
    pub fn account(shape: &Shape, account: usize) -> Option<AccountId> {
        AccountId::parse(shape.accounts.get(account)?.id).ok()
    }
}
