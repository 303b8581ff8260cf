//! Connections of which one direction or both are silent for minutes, and peers that never answer: of agents, and between a broker and
//! the database.

use super::{Extra, Steps, Told, apex, cluster_of, some_zone, want};
use crate::net::Direction;
use crate::recorder::lock;
use crate::schedule::Step;
use crate::shape::Shape;
use crate::store::Way;
use crate::world::World;

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HalfOpenStep {
    /// The connections that an agent has now fall silent; new ones do not.
    Agent { cluster: usize, directions: Vec<Direction>, for_ms: u64 },
    /// A broker takes connections and never answers on them; those that are there are sound.
    Mute { broker: u32, for_ms: u64 },
    /// Between a broker and the database.
    Store { broker: u32, way: Way, for_ms: u64 },
}

/// How a step ends.
pub enum HalfOpenUndo {
    Wake(Vec<u64>),
    Speak(u32),
    Store(u32),
}

/// Draws one, and something that the agent has to say meanwhile.
pub fn draw(shape: &Shape, random: &mut fastrand::Rng) -> Steps {
    let (zone, account) = some_zone(shape, random);
    let environment = shape.accounts[account].environment;
    let Some(cluster) = cluster_of(shape, environment, random) else { return vec![] };
    let at_ms = random.u64(10_000..=40_000);
    let for_ms = random.u64(60_000..=180_000);
    let broker = random.u32(0..shape.brokers);
    let directions = match random.u8(0..3) {
        0 => vec![Direction::ToBroker],
        1 => vec![Direction::ToAgent],
        _ => vec![Direction::ToBroker, Direction::ToAgent],
    };
    let step = |step| Step::Extra(Extra::HalfOpen(step));
    let agent = HalfOpenStep::Agent { cluster, directions, for_ms };
    let mut steps = match random.u8(0..4) {
        0 if shape.shared_store => {
            let way = if random.bool() { Way::There } else { Way::Back };
            vec![(at_ms, step(HalfOpenStep::Store { broker, way, for_ms }))]
        }
        1 => vec![(at_ms, step(HalfOpenStep::Mute { broker, for_ms })), (at_ms + 1, step(agent))],
        _ => vec![(at_ms, step(agent))],
    };
    for number in 0..3 {
        let hosts = vec![format!("t{number}.{}", apex(shape, zone))];
        let after_ms = 2_000 + u64::from(number) * random.u64(5_000..=30_000);
        steps.push((at_ms + after_ms, want(cluster, number, hosts, random)));
    }
    steps
}

impl HalfOpenStep {
    /// How long it lasts.
    pub fn for_ms(&self) -> u64 {
        match self {
            Self::Agent { for_ms, .. } | Self::Mute { for_ms, .. } | Self::Store { for_ms, .. } => {
                *for_ms
            }
        }
    }
}

impl World {
    pub(super) fn take_half_open_step(&mut self, step: &HalfOpenStep) -> Option<HalfOpenUndo> {
        match step {
            HalfOpenStep::Agent { cluster, directions, .. } => {
                let agent = lock(&self.agents[*cluster]).agent().clone();
                let held = self.network.hold(&agent, directions);
                if held.is_empty() {
                    return None;
                }
                self.recorder.fault("net.silent", format!("{agent}, {directions:?}"));
                self.tell(Told::Silent { agent });
                Some(HalfOpenUndo::Wake(held))
            }
            HalfOpenStep::Mute { broker, .. } => {
                self.recorder.fault("net.mute", format!("broker {broker}"));
                self.network.set_mute(*broker, true);
                Some(HalfOpenUndo::Speak(*broker))
            }
            HalfOpenStep::Store { broker, way, .. } => {
                self.recorder.fault("store.half_open", format!("broker {broker}, {way:?}"));
                self.database.trouble(|troubles| {
                    troubles.half_open.insert(*broker, *way);
                });
                Some(HalfOpenUndo::Store(*broker))
            }
        }
    }

    pub(super) fn end_half_open_step(&mut self, undo: HalfOpenUndo) {
        match undo {
            HalfOpenUndo::Wake(held) => self.network.release(&held),
            HalfOpenUndo::Speak(broker) => self.network.set_mute(broker, false),
            HalfOpenUndo::Store(broker) => {
                self.database.trouble(|troubles| {
                    troubles.half_open.remove(&broker);
                });
            }
        }
    }
}
