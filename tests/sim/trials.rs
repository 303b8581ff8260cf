//! What seldom comes together by chance, brought together in one seed of six: a few steps that try one rule where it is hard to
//! keep. They are drawn apart, so that the rest of a seed is what it would be without them.

use crate::agent::SOURCES;
use crate::net::Death;
use crate::schedule::{Going, OBJECTS, Step, TimedStep};
use crate::shape::Shape;
use crate::wish::{Object, Wish};

/// One seed of so many has a trial.
const ONE_OF: u8 = 6;
/// Keeps the draws apart from those of the schedule.
const APART: u64 = 0x7E57_0000_0000_012F;

/// The trial of a seed, if it has one.
pub fn draw(seed: u64, shape: &Shape) -> Vec<TimedStep> {
    let mut random = fastrand::Rng::with_seed(seed ^ APART);
    if random.u8(0..ONE_OF) != 0 {
        return vec![];
    }
    let at_ms = random.u64(8_000..shape.length_ms / 2);
    let cluster = random.usize(0..shape.clusters.len());
    let steps = match random.u8(0..2) {
        0 => poison_among_others(shape, cluster, &mut random),
        _ => start_half_blind(shape, cluster, &mut random),
    };
    steps.into_iter().map(|(after_ms, step)| TimedStep { at_ms: at_ms + after_ms, step }).collect()
}

type Steps = Vec<(u64, Step)>;

/// Several names are wanted at once, and Route 53 refuses one of them for as long as its first back-off and longer.
fn poison_among_others(shape: &Shape, cluster: usize, random: &mut fastrand::Rng) -> Steps {
    let (object, wishes) = new_names(shape, cluster, random);
    let Some(host) = wishes.first().map(|wish| wish.host.clone()) else { return vec![] };
    vec![
        (0, Step::Poison { host, for_ms: random.u64(40_000..=90_000) }),
        (random.u64(0..=1_000), Step::Want { cluster, object, wishes }),
    ]
}

/// An agent starts while what it published cannot be seen: its source cannot be read for longer than an agent waits for that, or
/// the object shows no address.
fn start_half_blind(shape: &Shape, cluster: usize, random: &mut fastrand::Rng) -> Steps {
    let (object, wishes) = new_names(shape, cluster, random);
    let published_ms = random.u64(2_000..=15_000);
    let (source, for_ms) = (SOURCES.iter().position(|kind| *kind == object.kind).unwrap_or(0), random.u64(40_000..=90_000));
    let blind = if random.bool() {
        Step::SourceFails { cluster, source, for_ms }
    } else {
        Step::LoseStatus { cluster, object, for_ms }
    };
    let restart = Step::RestartAgent { cluster, going: Going::Crash(Death::Reset), for_ms: random.u64(50..=2_000) };
    vec![
        (0, Step::Want { cluster, object, wishes }),
        (published_ms, blind),
        (published_ms + random.u64(1..=1_000), restart),
    ]
}

/// An object of its own, and what it wants in a zone that serves the cluster, at names that nobody else wants.
fn new_names(shape: &Shape, cluster: usize, random: &mut fastrand::Rng) -> (Object, Vec<Wish>) {
    let object = Object { kind: SOURCES[random.usize(0..SOURCES.len())], number: OBJECTS + 1 };
    let environment = shape.clusters.get(cluster);
    let apexes: Vec<&str> =
        shape.zones().filter(|(account, _)| Some(&account.environment) == environment).map(|(_, zone)| zone.apex).collect();
    let Some(apex) = apexes.get(random.usize(0..apexes.len().max(1))) else { return (object, vec![]) };
    let count = random.u8(4..=12);
    (object, (0..count).map(|number| Wish::plain(format!("x{cluster}-{number}.{apex}"), random)).collect())
}
