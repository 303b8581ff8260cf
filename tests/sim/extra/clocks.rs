//! Clocks that are set while processes run: the time of day of a broker's machine, and the clock of the database. What is anchored or
//! monotonic stays as it is.

use super::{Extra, Steps, Told, apex, cluster_of, some_zone, want};
use crate::recorder::lock;
use crate::schedule::Step;
use crate::shape::Shape;
use crate::world::World;

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockStep {
    /// AWS looks at the times of signatures.
    Begin,
    /// The time of day of a broker's machine is set, and never set right again.
    TimeOfDay { broker: u32, by_ms: i64 },
    /// The database's clock is set back. A jump forward would end leases early, and is not promised.
    Store { back_ms: i64 },
}

/// Nothing of it ends.
pub enum ClockUndo {}

/// Draws one or two jumps.
pub fn draw(shape: &Shape, random: &mut fastrand::Rng) -> Steps {
    let mut steps = vec![];
    if random.u8(0..4) > 0 {
        steps.push((0, ClockStep::Begin));
    }
    for _ in 0..random.u8(1..=3) {
        let at_ms = random.u64(5_000..shape.length_ms * 3 / 4);
        let minutes = if random.bool() { random.i64(6..=59) } else { random.i64(60..=400) };
        let by_ms = minutes * 60_000 * if random.bool() { 1 } else { -1 };
        let broker = random.u32(0..shape.brokers);
        steps.push((
            at_ms,
            match random.u8(0..4) {
                0 if shape.shared_store => {
                    ClockStep::Store { back_ms: random.i64(1_000..=180_000) }
                }
                _ => ClockStep::TimeOfDay { broker, by_ms },
            },
        ));
    }
    let mut steps: Steps =
        steps.into_iter().map(|(at, step)| (at, Step::Extra(Extra::Clocks(step)))).collect();
    // A cluster wants something afterwards.
    let (zone, account) = some_zone(shape, random);
    let environment = shape.accounts[account].environment;
    if let Some(cluster) = cluster_of(shape, environment, random) {
        let hosts = vec![format!("t0.{}", apex(shape, zone))];
        steps.push((shape.length_ms * 4 / 5, want(cluster, 0, hosts, random)));
    }
    steps
}

impl ClockStep {
    /// How long it lasts: for ever.
    pub fn lasts_ms(&self) -> Option<u64> {
        None
    }

    /// Signatures are looked at.
    pub fn prepare(&self, shape: &mut Shape) {
        shape.signatures |= *self == Self::Begin;
    }
}

impl World {
    pub(super) fn take_clock_step(&mut self, step: &ClockStep) -> Option<ClockUndo> {
        match step {
            ClockStep::Begin => {}
            ClockStep::TimeOfDay { broker, by_ms } => {
                self.recorder
                    .fault("time.of_day_set", format!("broker {broker}: by {} s", by_ms / 1_000));
                lock(self.brokers.get(*broker as usize)?).set_time_of_day(*by_ms);
            }
            ClockStep::Store { back_ms } => {
                self.recorder.fault("time.of_the_store_set", format!("back by {back_ms} ms"));
                let ahead_ms = self.database.set_clock(-back_ms);
                self.tell(Told::StoreClock { ahead_ms });
            }
        }
        None
    }

    pub(super) fn end_clock_step(&mut self, undo: ClockUndo) {
        match undo {}
    }
}
