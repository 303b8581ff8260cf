//! `bench drain`: a backlog of many clusters against what the accounts' buckets allow.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Serialize;
use zonefold::core::batch::fold::FoldLimits;
use zonefold::core::endpoint::Endpoint;
use zonefold::core::ids::AccountId;
use zonefold::core::limits::budget::{ApiAction, Budget, BudgetConfig, StartLevel};
use zonefold::core::time::{Millis, Timestamp};
use zonefold::emulator::Action;

use super::cluster::HeldEndpoints;
use super::figures::{rounded, seconds};
use super::fleet::shares;
use super::say;
use super::stage::{Extent, Pace, Stage, World, prepare, publish_all};
use crate::cli::{Arrival, BenchProfile, BenchSignature, DrainArgs, DrainOperation, ZoneSpread};

const CREATE_ENDPOINTS: u32 = 10_000;
const UPDATE_ENDPOINTS: u32 = 5_000;
/// With skewed zones the hottest of ten has about a quarter of the names.
const ZONE_SKEW: f64 = 0.8;

/// The printed figures; each is explained in [`crate::cli::DRAIN_FIGURES`].
#[derive(Debug, Serialize)]
pub struct DrainFigures {
    bench: &'static str,
    operation: DrainOperation,
    profile: BenchProfile,
    arrival: Arrival,
    accounts: u32,
    seconds: f64,
    limit_seconds: f64,
    ratio: Option<f64>,
    mean_ratio: Option<f64>,
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
    spread: ZoneSpread,
    reserve_percent: u8,
    signature: BenchSignature,
    seed: u64,
}

/// The need of one account: the fewest calls, and all changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    calls: u32,
    changes: u32,
}

/// The changes to publish.
struct Backlog {
    /// The wanted endpoints of each cluster.
    wanted: Vec<Vec<Endpoint>>,
    /// The resulting need of each account.
    needs: Vec<Need>,
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
    let extent = Extent { accounts: args.accounts, zones: args.zones, clusters: args.clusters };
    let world = World::new(&args.common, extent)?;
    let mut rng = fastrand::Rng::with_seed(args.common.seed);
    let address = [rng.u8(0..128), rng.u8(..)];
    let zones = spread(count, args.zones, args.spread, &mut rng);
    let before = backlog(&world, &zones, args.operation, address);
    let (start, held, backlog) = match args.operation {
        DrainOperation::Create => (None, vec![], before),
        DrainOperation::Update => {
            let (start, held) = prepare(&world, &before.wanted).await?;
            (
                Some(start),
                held,
                backlog(&world, &zones, args.operation, [address[0] + 128, address[1]]),
            )
        }
    };
    let stage = world.open(Pace::of(args.profile, args.reserve_percent), start).await?;
    let run = drain(&stage, held, &backlog, args.arrival).await?;
    let budget = stage.budget()?;
    let (calls, busy) = calls(&stage);
    let throttled = stage.throttled();
    stage.close().await?;
    let drained = Drained::of(&run.spans, &backlog.needs, &budget)?;
    Ok(DrainFigures {
        bench: "drain",
        operation: args.operation,
        profile: args.profile,
        arrival: args.arrival,
        accounts: args.accounts,
        seconds: rounded(drained.seconds),
        limit_seconds: rounded(drained.limit_seconds),
        ratio: drained.ratio.map(rounded),
        mean_ratio: drained.mean_ratio.map(rounded),
        throttled,
        calls,
        changes: run.changes,
        needed_calls: backlog.needs.iter().map(|need| need.calls).sum(),
        published_limit_seconds: rounded(published_limit_seconds(&budget, drained.need)),
        busy,
        requests: run.requests,
        durable_seconds: rounded(seconds(run.durable - run.published)),
        wall_seconds: rounded(seconds(run.last - run.published)),
        endpoints: count,
        clusters: args.clusters,
        zones: args.zones,
        spread: args.spread,
        reserve_percent: args.reserve_percent,
        signature: args.common.signature,
        seed: args.common.seed,
    })
}

/// From the first applied batch of an account to its last.
type Span = (Timestamp, Timestamp);

/// When what happened.
struct Run {
    published: Timestamp,
    durable: Timestamp,
    last: Timestamp,
    /// In the order of the accounts.
    spans: Vec<Span>,
    changes: u64,
    requests: u64,
}

/// How far the accounts were from their limits.
struct Drained {
    /// The account that was farthest from its limit: its time, its limit, and what it needed.
    seconds: f64,
    limit_seconds: f64,
    need: Need,
    ratio: Option<f64>,
    mean_ratio: Option<f64>,
}

impl Drained {
    fn of(spans: &[Span], needs: &[Need], budget: &BudgetConfig) -> anyhow::Result<Self> {
        let mut accounts: Vec<(f64, f64, Need)> = spans
            .iter()
            .zip(needs)
            .map(|((first, last), need)| {
                (seconds(*last - *first), limit_seconds(budget, *need), *need)
            })
            .collect();
        let excess = |(seconds, limit, _): &(f64, f64, Need)| {
            if *limit > 0.0 { seconds / limit } else { *seconds }
        };
        accounts.sort_by(|one, other| excess(one).total_cmp(&excess(other)));
        let (seconds, limit_seconds, need) = *accounts.last().context("there is no account")?;
        let ratios: Vec<f64> =
            accounts.iter().filter(|(_, limit, _)| *limit > 0.0).map(excess).collect();
        let mean_ratio =
            (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64);
        Ok(Self { seconds, limit_seconds, need, ratio: ratios.last().copied(), mean_ratio })
    }
}

async fn drain(
    stage: &Stage<'_>,
    held: Vec<HeldEndpoints>,
    backlog: &Backlog,
    arrival: Arrival,
) -> anyhow::Result<Run> {
    let clusters = stage.connect(held).await?;
    stage.full_buckets().await?;
    let requests_before = stage.requests();
    if arrival == Arrival::Queued {
        stage.park().await?;
    }
    let names: usize = backlog.wanted.iter().map(Vec::len).sum();
    say(&format!("publishing {names} endpoints"));
    let published = stage.now();
    publish_all(&clusters, &backlog.wanted).await?;
    let durable = stage.now();
    if arrival == Arrival::Queued {
        stage
            .wait_for(Millis::from_secs(120), "every endpoint is pending", |stage| {
                stage.handle.accounts().iter().map(|account| account.pending).sum::<usize>()
                    == names
            })
            .await?;
        say("everything is queued: the roles are put right");
        stage.unpark().await?;
    }
    let budget = stage.budget()?;
    let limit = backlog.needs.iter().map(|need| limit_seconds(&budget, *need)).fold(0.0, f64::max);
    let is_drained = |stage: &Stage<'_>| {
        let counted = stage.account_counters();
        counted
            .iter()
            .zip(&backlog.needs)
            .all(|(counted, need)| counted.changes_applied >= u64::from(need.changes))
    };
    stage
        .wait_for(Millis::from_secs(120 + 4 * limit as i64), "everything is applied", is_drained)
        .await?;
    let journal = stage.journal(0);
    let changes = journal.iter().map(|entry| entry.changes.len() as u64).sum();
    let last = journal.last().context("nothing was applied")?.at;
    let mut spans: BTreeMap<&AccountId, Span> = BTreeMap::new();
    for entry in &journal {
        spans.entry(&entry.account).or_insert((entry.at, entry.at)).1 = entry.at;
    }
    let spans = spans.into_values().collect();
    Ok(Run {
        published,
        durable,
        last,
        spans,
        changes,
        requests: stage.requests() - requests_before,
    })
}

/// The zone of each endpoint of an account, by its place.
fn spread(count: u32, zones: u32, spread: ZoneSpread, rng: &mut fastrand::Rng) -> Vec<usize> {
    let zones = zones as usize;
    match spread {
        ZoneSpread::Even => (0..count as usize).map(|serial| serial % zones).collect(),
        ZoneSpread::Skewed => {
            let shares = shares(count as usize, zones, ZONE_SKEW).into_iter().enumerate();
            let mut places: Vec<usize> =
                shares.flat_map(|(zone, share)| std::iter::repeat_n(zone, share)).collect();
            rng.shuffle(&mut places);
            places
        }
    }
}

/// The same for every account; each cluster's endpoints are in all accounts and, spread evenly, in all zones.
fn backlog(world: &World, zones: &[usize], operation: DrainOperation, address: [u8; 2]) -> Backlog {
    let mut wanted = vec![vec![]; world.clusters.len()];
    let mut needs = vec![];
    for account in 0..world.accounts.len() {
        let own = world.zones_of(account);
        let mut of_account = vec![];
        for (serial, zone) in (0u32..).zip(zones) {
            // Whole rounds over the zones go to one cluster, so that its names are in all of them.
            let cluster = (serial as usize / own.len()) % wanted.len();
            let endpoint =
                world.endpoint_in(&own[*zone], &world.clusters[cluster], "drain", serial, address);
            of_account.push((cluster, endpoint));
        }
        needs.push(need_of(of_account.iter().map(|(_, endpoint)| endpoint), operation));
        of_account.into_iter().for_each(|(cluster, endpoint)| wanted[cluster].push(endpoint));
    }
    Backlog { wanted, needs }
}

/// Every endpoint is one value of one set, deleted and created by an update; zones share no call.
fn need_of<'a>(wanted: impl Iterator<Item = &'a Endpoint>, operation: DrainOperation) -> Need {
    let limits = FoldLimits::default();
    let changes_each = if operation == DrainOperation::Update { 2 } else { 1 };
    let mut zones: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for endpoint in wanted {
        let name = endpoint.key.dns_name.as_str();
        let zone = name.splitn(3, '.').nth(2).unwrap_or(name);
        let (records, chars) = zones.entry(zone).or_default();
        *records += changes_each;
        *chars += changes_each * endpoint.targets.iter().map(|target| target.len()).sum::<usize>();
    }
    let fewest = |(records, chars): &(usize, usize)| {
        records.div_ceil(limits.records).max(chars.div_ceil(limits.value_chars))
    };
    let calls: usize = zones.values().map(fewest).sum();
    let changes: usize = zones.values().map(|(records, _)| records).sum();
    Need {
        calls: u32::try_from(calls).unwrap_or(u32::MAX),
        changes: u32::try_from(changes).unwrap_or(u32::MAX),
    }
}

/// The least time between the first call and the last under our part of the buckets, full at the start.
fn limit_seconds(budget: &BudgetConfig, need: Need) -> f64 {
    let usable = Budget::new(budget, StartLevel::Full, Timestamp(0)).snapshot(Timestamp(0)).buckets;
    let waits = usable.iter().map(|bucket| {
        let needed = match bucket.bucket {
            "changes" => need.changes,
            name if name == "requests" || name == ApiAction::ChangeResourceRecordSets.as_str() => {
                need.calls
            }
            _ => 0,
        };
        (f64::from(needed) - bucket.capacity) / bucket.refill_per_second
    });
    waits.fold(0.0, f64::max)
}

/// The same under the buckets as AWS publishes them.
fn published_limit_seconds(budget: &BudgetConfig, need: Need) -> f64 {
    let calls = budget
        .per_action
        .get(&ApiAction::ChangeResourceRecordSets)
        .into_iter()
        .chain([&budget.requests]);
    let calls = calls.map(|bucket| (need.calls, bucket));
    let changes = budget.changes.iter().map(|bucket| (need.changes, bucket));
    let waits = calls
        .chain(changes)
        .map(|(needed, bucket)| (f64::from(needed) - bucket.capacity) / bucket.refill_per_second);
    waits.fold(0.0, f64::max)
}

/// All calls of ChangeResourceRecordSets, and those that met a busy zone.
fn calls(stage: &Stage<'_>) -> (u64, u64) {
    let counters = stage.counters();
    let action = Action::ChangeResourceRecordSets;
    let all =
        counters.requests.iter().filter(|row| row.action == action).map(|row| row.count).sum();
    (all, counters.count(action, "PriorRequestNotComplete"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::DRAIN_FIGURES;
    use crate::figures::tests::assert_explained;

    #[test]
    fn every_figure_is_explained() {
        let figures = DrainFigures {
            bench: "drain",
            operation: DrainOperation::Create,
            profile: BenchProfile::Legacy,
            arrival: Arrival::Queued,
            accounts: 0,
            seconds: 0.0,
            limit_seconds: 0.0,
            ratio: None,
            mean_ratio: None,
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
            spread: ZoneSpread::Even,
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
        assert_eq!(
            (limit_seconds(&legacy, need), published_limit_seconds(&legacy, need)),
            (1.2, 1.0)
        );
        legacy.reserve_share = 0.2;
        // (10 - 3) / 4
        assert_eq!(limit_seconds(&legacy, need), 1.75);
    }

    #[test]
    fn skewed_zones_are_hot_and_cold_and_hold_as_much() {
        let mut rng = fastrand::Rng::with_seed(1);
        let places = spread(1_000, 10, ZoneSpread::Skewed, &mut rng);
        let counts: Vec<usize> =
            (0..10).map(|zone| places.iter().filter(|place| **place == zone).count()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 1_000);
        assert!(counts[0] > 4 * counts[9] && counts[9] > 0, "{counts:?}");
    }

    #[test]
    fn the_account_that_is_farthest_from_its_limit_counts() {
        let mut budget = BudgetConfig::profile_2026();
        budget.reserve_share = 0.0;
        let need = Need { calls: 1, changes: 2_499 };
        let spans = [(Timestamp(0), Timestamp(11_000)), (Timestamp(5_000), Timestamp(17_000))];
        let drained = Drained::of(&spans, &[need, need], &budget).unwrap();
        assert_eq!(
            (drained.ratio, drained.mean_ratio, drained.seconds),
            (Some(1.2), Some(1.15), 12.0)
        );
        let within_the_burst = Drained::of(&spans, &[Need::default(); 2], &budget).unwrap();
        assert_eq!((within_the_burst.ratio, within_the_burst.seconds), (None, 12.0));
    }

    #[test]
    fn what_is_needed_counts_an_update_twice_and_every_zone_for_itself() {
        let endpoint = |name: &str| Endpoint {
            key: zonefold::core::endpoint::EndpointKey {
                dns_name: name.into(),
                ..Default::default()
            },
            targets: vec!["10.0.0.1".into()],
            ..Endpoint::default()
        };
        let of = |count: usize, zone: &str| {
            (0..count).map(|n| endpoint(&format!("n{n}.c.{zone}"))).collect::<Vec<_>>()
        };
        let wanted = [of(1_001, "one.example"), of(3, "two.example")];
        assert_eq!(
            need_of(wanted.iter().flatten(), DrainOperation::Create),
            Need { calls: 3, changes: 1_004 }
        );
        assert_eq!(
            need_of(wanted.iter().flatten(), DrainOperation::Update),
            Need { calls: 4, changes: 2_008 }
        );
    }
}
