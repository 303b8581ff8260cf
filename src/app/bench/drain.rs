//! `bench drain`: a backlog of many clusters against what one account's buckets allow.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Serialize;

use super::cluster::Held;
use super::figures::{rounded, seconds};
use super::say;
use super::stage::{Pace, Stage, World, prepare, publish_all};
use crate::cli::bench::{Arrival, BenchProfile, BenchSignature, DrainArgs, DrainOperation};
use crate::core::budget::{ApiAction, Budget, BudgetConfig, StartLevel};
use crate::core::endpoint::Endpoint;
use crate::core::fold::FoldLimits;
use crate::core::time::{Millis, Timestamp};
use crate::emulator::{Action, Snapshot};

const CREATE_ENDPOINTS: u32 = 10_000;
const UPDATE_ENDPOINTS: u32 = 5_000;

/// What is printed; each figure is explained in [`crate::cli::bench::DRAIN_FIGURES`].
#[derive(Debug, Serialize)]
pub struct DrainFigures {
    bench: &'static str,
    operation: DrainOperation,
    profile: BenchProfile,
    arrival: Arrival,
    seconds: f64,
    limit_seconds: f64,
    ratio: Option<f64>,
    throttled: u64,
    calls: u64,
    changes: u64,
    needed_calls: u32,
    published_limit_seconds: f64,
    busy: u64,
    requests: u64,
    durable_seconds: f64,
    wall_seconds: f64,
    endpoints: u32,
    clusters: u32,
    zones: u32,
    reserve_percent: u8,
    signature: BenchSignature,
    seed: u64,
}

/// What goes out: the fewest calls and all changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    calls: u32,
    changes: u32,
}

/// Runs the benchmark.
///
/// # Errors
/// A part failed, or the backlog did not drain.
pub async fn measure(args: &DrainArgs) -> anyhow::Result<DrainFigures> {
    let count = args.endpoints.unwrap_or(match args.operation {
        DrainOperation::Create => CREATE_ENDPOINTS,
        DrainOperation::Update => UPDATE_ENDPOINTS,
    });
    let world = World::new(&args.common, args.zones, args.clusters)?;
    let mut rng = fastrand::Rng::with_seed(args.common.seed);
    let address = [rng.u8(0..128), rng.u8(..)];
    let before = wanted(&world, count, address);
    let (start, wanted): ((Option<Snapshot>, Vec<Held>), _) = match args.operation {
        DrainOperation::Create => ((None, vec![]), before),
        DrainOperation::Update => {
            let (zones, held) = prepare(&world, &before).await?;
            ((Some(zones), held), wanted(&world, count, [address[0] + 128, address[1]]))
        }
    };
    let need = need_of(&wanted, args.operation);
    let stage = world.open(Pace::of(args.profile, args.reserve_percent), start.0).await?;
    let run = drain(&stage, start.1, &wanted, need, args.arrival).await?;
    let budget = stage.budget()?;
    let (calls, busy) = calls(&stage);
    let throttled = stage.account_counters().throttled;
    stage.close().await?;
    let limit_seconds = limit_seconds(&budget, need);
    let drained = seconds(run.last - run.first);
    Ok(DrainFigures {
        bench: "drain",
        operation: args.operation,
        profile: args.profile,
        arrival: args.arrival,
        seconds: rounded(drained),
        limit_seconds: rounded(limit_seconds),
        ratio: (limit_seconds > 0.0).then(|| rounded(drained / limit_seconds)),
        throttled,
        calls,
        changes: run.changes,
        needed_calls: need.calls,
        published_limit_seconds: rounded(published_limit_seconds(&budget, need)),
        busy,
        requests: run.requests,
        durable_seconds: rounded(seconds(run.durable - run.published)),
        wall_seconds: rounded(seconds(run.last - run.published)),
        endpoints: count,
        clusters: args.clusters,
        zones: args.zones,
        reserve_percent: args.reserve_percent,
        signature: args.common.signature,
        seed: args.common.seed,
    })
}

/// When what happened.
struct Run {
    published: Timestamp,
    durable: Timestamp,
    first: Timestamp,
    last: Timestamp,
    changes: u64,
    requests: u64,
}

async fn drain(
    stage: &Stage<'_>,
    held: Vec<Held>,
    wanted: &[Vec<Endpoint>],
    need: Need,
    arrival: Arrival,
) -> anyhow::Result<Run> {
    let clusters = stage.connect(held).await?;
    stage.full_buckets().await?;
    let requests_before = stage.account_counters().requests;
    if arrival == Arrival::Queued {
        stage.park().await?;
    }
    let names: usize = wanted.iter().map(Vec::len).sum();
    say(&format!("publishing {names} endpoints"));
    let published = stage.now();
    publish_all(&clusters, wanted).await?;
    let durable = stage.now();
    if arrival == Arrival::Queued {
        stage
            .wait_for(Millis::from_secs(120), "every endpoint is pending", |stage| {
                stage.handle.accounts().iter().map(|account| account.pending).sum::<usize>() == names
            })
            .await?;
        say("everything is queued: the role is put right");
        stage.unpark().await?;
    }
    let at_most = Millis::from_secs(120 + 4 * limit_seconds(&stage.budget()?, need) as i64);
    let is_drained = |stage: &Stage<'_>| stage.account_counters().changes_applied >= u64::from(need.changes);
    stage.wait_for(at_most, "everything is applied", is_drained).await?;
    let journal = stage.journal(0);
    let changes = journal.iter().map(|entry| entry.changes.len() as u64).sum();
    let first = journal.first().context("nothing was applied")?.at;
    let last = journal.last().context("nothing was applied")?.at;
    let requests = stage.account_counters().requests - requests_before;
    Ok(Run { published, durable, first, last, changes, requests })
}

/// Endpoints in equal parts, each cluster's in every zone.
fn wanted(world: &World, count: u32, address: [u8; 2]) -> Vec<Vec<Endpoint>> {
    let mut parts = vec![vec![]; world.clusters.len()];
    for serial in 0..count {
        // Whole rounds over the zones go to one cluster, so that its names are in all of them.
        let cluster = (serial as usize / world.zones.len()) % parts.len();
        parts[cluster].push(world.endpoint(&world.clusters[cluster], "drain", serial, address));
    }
    parts
}

/// Every endpoint is one value of one set, deleted and created by an update; zones share no call.
fn need_of(wanted: &[Vec<Endpoint>], operation: DrainOperation) -> Need {
    let limits = FoldLimits::default();
    let changes_each = if operation == DrainOperation::Update { 2 } else { 1 };
    let mut zones: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for endpoint in wanted.iter().flatten() {
        let name = endpoint.key.dns_name.as_str();
        let zone = name.splitn(3, '.').nth(2).unwrap_or(name);
        let (records, chars) = zones.entry(zone).or_default();
        *records += changes_each;
        *chars += changes_each * endpoint.targets.iter().map(|target| target.len()).sum::<usize>();
    }
    let fewest = |(records, chars): &(usize, usize)| records.div_ceil(limits.records).max(chars.div_ceil(limits.value_chars));
    let calls: usize = zones.values().map(fewest).sum();
    let changes: usize = zones.values().map(|(records, _)| records).sum();
    Need { calls: u32::try_from(calls).unwrap_or(u32::MAX), changes: u32::try_from(changes).unwrap_or(u32::MAX) }
}

/// The least time between the first call and the last under our part of the buckets, full at the start.
fn limit_seconds(budget: &BudgetConfig, need: Need) -> f64 {
    let usable = Budget::new(budget, StartLevel::Full, Timestamp(0)).snapshot(Timestamp(0)).buckets;
    let waits = usable.iter().map(|bucket| {
        let needed = match bucket.bucket {
            "changes" => need.changes,
            name if name == "requests" || name == ApiAction::ChangeResourceRecordSets.as_str() => need.calls,
            _ => 0,
        };
        (f64::from(needed) - bucket.capacity) / bucket.refill_per_second
    });
    waits.fold(0.0, f64::max)
}

/// The same under the buckets as AWS publishes them.
fn published_limit_seconds(budget: &BudgetConfig, need: Need) -> f64 {
    let calls = budget.per_action.get(&ApiAction::ChangeResourceRecordSets).into_iter().chain([&budget.requests]);
    let calls = calls.map(|bucket| (need.calls, bucket));
    let changes = budget.changes.iter().map(|bucket| (need.changes, bucket));
    let waits = calls.chain(changes).map(|(needed, bucket)| (f64::from(needed) - bucket.capacity) / bucket.refill_per_second);
    waits.fold(0.0, f64::max)
}

/// All calls of ChangeResourceRecordSets, and those that met a busy zone.
fn calls(stage: &Stage<'_>) -> (u64, u64) {
    let counters = stage.counters();
    let action = Action::ChangeResourceRecordSets;
    let all = counters.requests.iter().filter(|row| row.action == action).map(|row| row.count).sum();
    (all, counters.count(action, "PriorRequestNotComplete"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::bench::figures::tests::assert_explained;
    use crate::cli::bench::DRAIN_FIGURES;

    #[test]
    fn every_figure_is_explained() {
        let figures = DrainFigures {
            bench: "drain",
            operation: DrainOperation::Create,
            profile: BenchProfile::Legacy,
            arrival: Arrival::Queued,
            seconds: 0.0,
            limit_seconds: 0.0,
            ratio: None,
            throttled: 0,
            calls: 0,
            changes: 0,
            needed_calls: 0,
            published_limit_seconds: 0.0,
            busy: 0,
            requests: 0,
            durable_seconds: 0.0,
            wall_seconds: 0.0,
            endpoints: 0,
            clusters: 0,
            zones: 0,
            reserve_percent: 0,
            signature: BenchSignature::Verify,
            seed: 0,
        };
        assert_explained(&figures, DRAIN_FIGURES);
    }

    #[test]
    fn the_limit_is_that_of_the_slowest_bucket() {
        let mut since_2026 = BudgetConfig::profile_2026();
        since_2026.reserve_share = 0.0;
        // (10,000 - 1,499) / 100: one token of each bucket is our margin.
        assert_eq!(limit_seconds(&since_2026, Need { calls: 10, changes: 10_000 }), 85.01);
        // (1,000 - 49) / 10
        assert_eq!(limit_seconds(&since_2026, Need { calls: 1_000, changes: 1_000 }), 95.1);
        assert_eq!(limit_seconds(&since_2026, Need { calls: 10, changes: 1_000 }), 0.0);
        let mut legacy = BudgetConfig::legacy();
        legacy.reserve_share = 0.0;
        let need = Need { calls: 10, changes: 10_000 };
        assert_eq!((limit_seconds(&legacy, need), published_limit_seconds(&legacy, need)), (1.2, 1.0));
        legacy.reserve_share = 0.2;
        // (10 - 3) / 4
        assert_eq!(limit_seconds(&legacy, need), 1.75);
    }

    #[test]
    fn what_is_needed_counts_an_update_twice_and_every_zone_for_itself() {
        let endpoint = |name: &str| Endpoint {
            key: crate::core::endpoint::EndpointKey { dns_name: name.into(), ..Default::default() },
            targets: vec!["10.0.0.1".into()],
            ..Endpoint::default()
        };
        let of = |count: usize, zone: &str| (0..count).map(|n| endpoint(&format!("n{n}.c.{zone}"))).collect::<Vec<_>>();
        let wanted = [of(1_001, "one.example"), of(3, "two.example")];
        assert_eq!(need_of(&wanted, DrainOperation::Create), Need { calls: 3, changes: 1_004 });
        assert_eq!(need_of(&wanted, DrainOperation::Update), Need { calls: 4, changes: 2_008 });
    }
}
