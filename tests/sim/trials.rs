//! Rare coincidences, brought about in one seed of six: a few steps that try one rule where it is hard to
//! keep. They are drawn apart, so that the rest of a seed is what it would be without them.

use zonefold::emulator::Action;

use crate::agent::SOURCES;
use crate::net::Death;
use crate::schedule::{AwsTrouble, Going, OBJECTS, RouteTrouble, Step, TimedStep};
use crate::shape::{Account, Limits, Shape};
use crate::wish::{Object, Wish};

/// The objects of a flood have numbers from here on.
const FLOOD: u8 = 100;
/// One in this number of seeds has a trial.
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
    let tight =
        shape.accounts.iter().find(|account| matches!(account.limits, Limits::Tight { .. }));
    let steps = match (tight, random.u8(0..3)) {
        (Some(account), _) => flood_of_a_small_budget(shape, account, &mut random),
        (None, 0) => poison_among_others(shape, cluster, &mut random),
        (None, 1) => start_half_blind(shape, cluster, &mut random),
        (None, _) => torn_lists(shape, &mut random),
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
    let (source, for_ms) = (
        SOURCES.iter().position(|kind| *kind == object.kind).unwrap_or(0),
        random.u64(40_000..=90_000),
    );
    let blind = if random.bool() {
        Step::SourceFails { cluster, source, for_ms }
    } else {
        Step::LoseStatus { cluster, object, for_ms }
    };
    let restart = Step::RestartAgent {
        cluster,
        going: Going::Crash(Death::Reset),
        for_ms: random.u64(50..=2_000),
    };
    vec![
        (0, Step::Want { cluster, object, wishes }),
        (published_ms, blind),
        (published_ms + random.u64(1..=1_000), restart),
    ]
}

/// Lists of records break off somewhere, for longer than zones are left without a comparison.
fn torn_lists(shape: &Shape, random: &mut fastrand::Rng) -> Steps {
    let account = random.usize(0..shape.accounts.len());
    let trouble = AwsTrouble::Truncate(random.usize(300..3_000));
    vec![(
        0,
        Step::Aws {
            account,
            action: Some(Action::ListResourceRecordSets),
            trouble,
            percent: 60,
            for_ms: 70_000,
        },
    )]
}

/// The first cluster wants far more in every zone of an account than it has tokens for, and a little later the last one a single
/// name. Meanwhile calls are held up on their way and overtake each other, or the account passes to another life of a broker.
/// It comes late, when the last cluster has been quiet for a while.
fn flood_of_a_small_budget(shape: &Shape, account: &Account, random: &mut fastrand::Rng) -> Steps {
    let of_account = |environment: &&str| *environment == account.environment;
    let (Some(noisy), Some(quiet)) =
        (shape.clusters.iter().position(of_account), shape.clusters.iter().rposition(of_account))
    else {
        return vec![];
    };
    let (count, late_ms) = (random.u8(60..=120), shape.length_ms / 3);
    let mut steps = vec![];
    for (zone, kind) in account.zones.iter().zip(SOURCES.into_iter().cycle()) {
        let object = Object { kind, number: FLOOD + u8::try_from(steps.len()).unwrap_or(0) };
        let wishes = (0..count)
            .map(|number| Wish::plain(format!("f{number}.{}", zone.apex), random))
            .collect();
        steps.push((random.u64(0..=200), Step::Want { cluster: noisy, object, wishes }));
    }
    if let Some(zone) = account.zones.first().filter(|_| noisy != quiet) {
        let object = Object { kind: SOURCES[0], number: OBJECTS + 1 };
        let wishes = vec![Wish::plain(format!("z.{}", zone.apex), random)];
        steps.push((random.u64(1_000..=4_000), Step::Want { cluster: quiet, object, wishes }));
    }
    let brokers = 0..shape.brokers;
    if random.bool() {
        let trouble = RouteTrouble::Delay;
        steps
            .extend(brokers.map(|broker| {
                (0, Step::AwsRoute { broker, trouble, percent: 50, for_ms: 40_000 })
            }));
    } else {
        let after_ms = random.u64(1_000..=6_000);
        steps.extend(brokers.map(|broker| {
            (after_ms, Step::RestartBroker { broker, going: Going::Drain, for_ms: 200 })
        }));
    }
    steps.into_iter().map(|(after_ms, step)| (late_ms + after_ms, step)).collect()
}

/// An object of its own, and its wishes in a zone that serves the cluster, at names that no other object wants.
fn new_names(shape: &Shape, cluster: usize, random: &mut fastrand::Rng) -> (Object, Vec<Wish>) {
    let object = Object { kind: SOURCES[random.usize(0..SOURCES.len())], number: OBJECTS + 1 };
    let environment = shape.clusters.get(cluster);
    let apexes: Vec<&str> = shape
        .zones()
        .filter(|(account, _)| Some(&account.environment) == environment)
        .map(|(_, zone)| zone.apex)
        .collect();
    let Some(apex) = apexes.get(random.usize(0..apexes.len().max(1))) else {
        return (object, vec![]);
    };
    let count = random.u8(4..=12);
    (
        object,
        (0..count)
            .map(|number| Wish::plain(format!("x{cluster}-{number}.{apex}"), random))
            .collect(),
    )
}
