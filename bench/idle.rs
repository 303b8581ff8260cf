//! `bench idle`: what a broker with nothing to do calls.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use zonefold::core::endpoint::Endpoint;
use zonefold::core::time::Millis;
use zonefold::emulator::{Action, Service};

use super::figures::{rounded, seconds};
use super::say;
use super::stage::{Extent, Pace, Stage, World, prepare};
use crate::cli::{BenchProfile, BenchSignature, IdleArgs};

/// The default intervals of an account.
const DRIFT_INTERVAL_SECS: u32 = 600;
const DISCOVERY_INTERVAL_SECS: u32 = 300;
/// Sets of one page of ListResourceRecordSets.
const PAGE: u32 = 300;
/// A zone has SOA and NS besides our sets.
const SETS_OF_THE_ZONE: u32 = 2;

/// The printed figures; each is explained in [`crate::cli::IDLE_FIGURES`].
#[derive(Debug, Default, Serialize)]
pub struct IdleFigures {
    bench: &'static str,
    clusters: u32,
    requests_per_minute: f64,
    writes_per_minute: f64,
    computed_requests_per_minute: f64,
    counted_requests: u64,
    counted_by_action: BTreeMap<Action, u64>,
    sts_calls: u64,
    seconds: f64,
    accelerated: u32,
    drift_interval_secs: u32,
    discovery_interval_secs: u32,
    zones: u32,
    sets_per_zone: u32,
    throttled: u64,
    signature: Option<BenchSignature>,
    seed: u64,
}

/// Runs the benchmark.
///
/// # Errors
/// A part failed.
pub async fn measure(args: &IdleArgs) -> anyhow::Result<IdleFigures> {
    let world = World::new(
        &args.common,
        Extent { accounts: 1, zones: args.zones, clusters: args.clusters },
    )?;
    let (zones, held) = prepare(&world, &wanted(&world, args)).await?;
    let pace = Pace {
        drift_interval_secs: DRIFT_INTERVAL_SECS / args.accelerate,
        discovery_interval_secs: DISCOVERY_INTERVAL_SECS / args.accelerate,
        ..Pace::of(BenchProfile::Since2026, 0)
    };
    let stage = world.open(pace, Some(zones)).await?;
    let clusters = stage.connect(held).await?;
    settle(&stage, pace).await?;
    say(&format!("measuring {} s with {} clusters", args.seconds, clusters.len()));
    let (before, began) = (Counted::of(&stage), stage.now());
    tokio::time::sleep(Duration::from_secs(args.seconds.into())).await;
    let (after, measured) = (Counted::of(&stage), stage.now() - began);
    let throttled = stage.throttled();
    stage.close().await?;
    let counted = after.since(&before);
    let per_minute = |count: u64| count as f64 * 60.0 / seconds(measured);
    let requests: u64 = counted.by_action.values().sum();
    let writes = counted.by_action.get(&Action::ChangeResourceRecordSets).copied().unwrap_or(0);
    Ok(IdleFigures {
        bench: "idle",
        clusters: args.clusters,
        requests_per_minute: rounded(per_minute(requests) / f64::from(args.accelerate)),
        writes_per_minute: rounded(per_minute(writes)),
        computed_requests_per_minute: rounded(computed(args)),
        counted_requests: requests,
        counted_by_action: counted.by_action,
        sts_calls: counted.sts_calls,
        seconds: rounded(seconds(measured)),
        accelerated: args.accelerate,
        drift_interval_secs: pace.drift_interval_secs,
        discovery_interval_secs: pace.discovery_interval_secs,
        zones: args.zones,
        sets_per_zone: args.sets,
        throttled,
        signature: Some(args.common.signature),
        seed: args.common.seed,
    })
}

/// The first sweep of the new broker and its questions after old changes belong to its start: the steady state begins after
/// one whole round.
async fn settle(stage: &Stage<'_>, pace: Pace) -> anyhow::Result<()> {
    say("waiting for the first round of the sweep");
    let began = stage.now();
    let round = Millis::from_secs(i64::from(pace.drift_interval_secs));
    stage
        .wait_for(Millis(round.0 * 3 + 120_000), "every zone was swept once", |stage| {
            let accounts = stage.handle.accounts();
            accounts
                .iter()
                .flat_map(|account| &account.zones)
                .all(|zone| zone.listed_at.is_some_and(|at| at >= began))
        })
        .await
}

/// The zones' sets in equal parts.
fn wanted(world: &World, args: &IdleArgs) -> Vec<Vec<Endpoint>> {
    let mut rng = fastrand::Rng::with_seed(args.common.seed);
    let mut parts = vec![vec![]; world.clusters.len()];
    for serial in 0..args.zones * args.sets {
        let cluster = (serial / args.zones) as usize % parts.len();
        parts[cluster].push(world.endpoint(
            &world.clusters[cluster],
            "idle",
            serial,
            [rng.u8(..), rng.u8(..)],
        ));
    }
    parts
}

/// The pages of one sweep and those of one discovery, over their intervals.
fn computed(args: &IdleArgs) -> f64 {
    let pages = args.zones * (args.sets + SETS_OF_THE_ZONE).div_ceil(PAGE);
    let lists = args.zones.div_ceil(100);
    f64::from(pages) * 60.0 / f64::from(DRIFT_INTERVAL_SECS)
        + f64::from(lists) * 60.0 / f64::from(DISCOVERY_INTERVAL_SECS)
}

/// The emulator's counters at one moment.
struct Counted {
    by_action: BTreeMap<Action, u64>,
    sts_calls: u64,
}

impl Counted {
    fn of(stage: &Stage<'_>) -> Self {
        let report = stage.counters();
        let mut by_action = BTreeMap::new();
        for row in report.requests.iter().filter(|row| row.action.service() == Service::Route53) {
            *by_action.entry(row.action).or_default() += row.count;
        }
        Self { by_action, sts_calls: report.sts_calls }
    }

    fn since(&self, before: &Self) -> Self {
        let grown = |(action, count): (&Action, &u64)| {
            let grown = count - before.by_action.get(action).copied().unwrap_or(0);
            (grown > 0).then_some((*action, grown))
        };
        Self {
            by_action: self.by_action.iter().filter_map(grown).collect(),
            sts_calls: self.sts_calls - before.sts_calls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::IDLE_FIGURES;
    use crate::figures::tests::assert_explained;

    #[test]
    fn every_figure_is_explained() {
        assert_explained(&IdleFigures::default(), IDLE_FIGURES);
    }
}
