//! `bench latency`: single changes, on an idle broker and under another cluster's flood.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use tokio::time::Instant;
use zonefold::core::dns::name::DnsName;
use zonefold::core::time::{Millis, Timestamp};
use zonefold::emulator::{Action, JournalEntry};

use super::cluster::Cluster;
use super::figures::{quantile, rounded, seconds};
use super::say;
use super::stage::{Extent, Pace, Stage, World};
use crate::cli::{BenchProfile, BenchSignature, LatencyArgs};

/// Between two changes on the idle broker: with ten zones each is used every three seconds, and the account's request bucket
/// refills faster than it is used.
const IDLE_GAP_MS: u64 = 300;
/// Between two changes of the quiet cluster under the flood.
const FLOOD_GAP_MS: u64 = 400;
/// Every gap is longer by a random part of this, so that the changes do not march in step with a timer of ours.
const GAP_JITTER_MS: u64 = 100;
/// The longest that a single change may take before the benchmark gives up.
const LONGEST: Millis = Millis::from_secs(120);

/// The longest that the flood may take until it is durable.
const FLOOD_AT_MOST: Duration = Duration::from_secs(600);

/// The printed figures; each is explained in [`crate::cli::LATENCY_FIGURES`].
#[derive(Debug, Default, Serialize)]
pub struct LatencyFigures {
    bench: &'static str,
    idle_p50_ms: Option<i64>,
    idle_p99_ms: Option<i64>,
    idle_max_ms: Option<i64>,
    idle_samples: usize,
    flood_p50_ms: Option<i64>,
    flood_p99_ms: Option<i64>,
    flood_max_ms: Option<i64>,
    flood_samples: usize,
    arriving_p99_ms: Option<i64>,
    arriving_samples: usize,
    flood_endpoints: u32,
    flood_durable_seconds: f64,
    flood_applied: usize,
    throttled: u64,
    busy: u64,
    profile: Option<BenchProfile>,
    clusters: u32,
    zones: u32,
    reserve_percent: u8,
    signature: Option<BenchSignature>,
    seed: u64,
}

/// Runs the benchmark.
///
/// # Errors
/// A part failed, or a change was never applied.
pub async fn measure(args: &LatencyArgs) -> anyhow::Result<LatencyFigures> {
    let world = World::new(
        &args.common,
        Extent { accounts: 1, zones: args.zones, clusters: args.clusters },
    )?;
    let stage = world.open(Pace::of(args.profile, args.reserve_percent), None).await?;
    let clusters = stage.connect(vec![]).await?;
    let [quiet, noisy, ..] = &clusters[..] else {
        bail!("a quiet and a noisy cluster are needed: give at least two")
    };
    let mut rng = fastrand::Rng::with_seed(args.common.seed);
    stage.full_buckets().await?;
    say(&format!("{} single changes on the idle broker", args.samples));
    let mut sent = vec![];
    let mut pace = Pacer::new(IDLE_GAP_MS);
    for serial in 0..args.samples {
        pace.wait(&mut rng).await;
        sent.push(single(&stage, &world, quiet, "idle", serial).await?);
    }
    let idle = latencies(&stage, &sent).await?;
    stage.full_buckets().await?;
    let flood = flood(&stage, &world, quiet, noisy, args, &mut rng).await?;
    let counters = stage.counters();
    let figures = LatencyFigures {
        bench: "latency",
        idle_p50_ms: quantile(&idle, 0.5),
        idle_p99_ms: quantile(&idle, 0.99),
        idle_max_ms: idle.last().copied(),
        idle_samples: idle.len(),
        flood_p50_ms: quantile(&flood.all, 0.5),
        flood_p99_ms: quantile(&flood.all, 0.99),
        flood_max_ms: flood.all.last().copied(),
        flood_samples: flood.all.len(),
        arriving_p99_ms: quantile(&flood.arriving, 0.99),
        arriving_samples: flood.arriving.len(),
        flood_endpoints: args.flood,
        flood_durable_seconds: rounded(seconds(flood.durable_in)),
        flood_applied: flood.applied,
        throttled: stage.throttled(),
        busy: counters.count(Action::ChangeResourceRecordSets, "PriorRequestNotComplete"),
        profile: Some(args.profile),
        clusters: args.clusters,
        zones: args.zones,
        reserve_percent: args.reserve_percent,
        signature: Some(args.common.signature),
        seed: args.common.seed,
    };
    stage.close().await?;
    Ok(figures)
}

/// A change that was published.
struct Sent {
    name: DnsName,
    at: Timestamp,
}

/// Publishes one new name; the clock starts before the message is handed to the connection.
async fn single(
    stage: &Stage<'_>,
    world: &World,
    quiet: &Cluster,
    purpose: &str,
    serial: u32,
) -> anyhow::Result<Sent> {
    let endpoint = world.endpoint(quiet.id(), purpose, serial, [0, 0]);
    let name = DnsName::parse(&endpoint.key.dns_name)?;
    let at = stage.now();
    quiet.publish(&[endpoint]).await?;
    Ok(Sent { name, at })
}

/// The measurements of the flood.
struct Flood {
    all: Vec<i64>,
    /// Those of the changes that were sent while the flood was arriving.
    arriving: Vec<i64>,
    durable_in: Millis,
    applied: usize,
}

async fn flood(
    stage: &Stage<'_>,
    world: &World,
    quiet: &Cluster,
    noisy: &Cluster,
    args: &LatencyArgs,
    rng: &mut fastrand::Rng,
) -> anyhow::Result<Flood> {
    say(&format!(
        "{} endpoints of the noisy cluster, {} changes of the quiet one",
        args.flood, args.flood_samples
    ));
    let endpoints: Vec<_> =
        (0..args.flood).map(|serial| world.endpoint(noisy.id(), "flood", serial, [1, 1])).collect();
    let before = stage.journal(0).last().map_or(0, |entry| entry.number);
    let began = stage.now();
    let pouring = async {
        noisy.durable(noisy.publish(&endpoints).await?).await?;
        anyhow::Ok(stage.now())
    };
    let trickling = async {
        let mut sent = vec![];
        let mut pace = Pacer::new(FLOOD_GAP_MS);
        for serial in 0..args.flood_samples {
            pace.wait(rng).await;
            sent.push(single(stage, world, quiet, "flood", serial).await?);
        }
        anyhow::Ok(sent)
    };
    let both = async { tokio::try_join!(pouring, trickling) };
    let (durable_at, sent) = tokio::time::timeout(FLOOD_AT_MOST, both)
        .await
        .context("the flood was not taken in time")??;
    let all = latencies(stage, &sent).await?;
    let arriving: Vec<Sent> = sent.into_iter().filter(|sent| sent.at <= durable_at).collect();
    let arriving = if arriving.is_empty() { vec![] } else { latencies(stage, &arriving).await? };
    let changes: usize = stage.journal(before).iter().map(|entry| entry.changes.len()).sum();
    Ok(Flood {
        applied: changes.saturating_sub(all.len()),
        all,
        arriving,
        durable_in: durable_at - began,
    })
}

/// Milliseconds from each publication to Route 53's acceptance, in rising order.
async fn latencies(stage: &Stage<'_>, sent: &[Sent]) -> anyhow::Result<Vec<i64>> {
    let last = sent.last().map(|sent| sent.name.clone()).context("nothing was sent")?;
    let mut seen = 0;
    let mut applied: HashMap<DnsName, Timestamp> = HashMap::new();
    let give_up = stage.now() + LONGEST;
    loop {
        let entries = stage.journal(seen);
        seen = entries.last().map_or(seen, |entry| entry.number);
        entries.iter().for_each(|entry| applied.extend(names_of(entry)));
        if sent.iter().all(|sent| applied.contains_key(&sent.name)) {
            break;
        }
        anyhow::ensure!(
            stage.now() < give_up,
            "a change was not applied within {} s; the last was {last}",
            LONGEST.0 / 1_000
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut latencies: Vec<i64> =
        sent.iter().filter_map(|sent| Some((*applied.get(&sent.name)? - sent.at).0)).collect();
    latencies.sort_unstable();
    Ok(latencies)
}

fn names_of(entry: &JournalEntry) -> impl Iterator<Item = (DnsName, Timestamp)> {
    let sets = entry.changes.iter().filter_map(|change| change.after.as_ref());
    sets.filter_map(|set| Some((DnsName::parse(&set.name).ok()?, entry.at)))
}

/// Spaces changes.
struct Pacer {
    gap_ms: u64,
    next: Instant,
}

impl Pacer {
    fn new(gap_ms: u64) -> Self {
        Self { gap_ms, next: Instant::now() }
    }

    async fn wait(&mut self, rng: &mut fastrand::Rng) {
        tokio::time::sleep_until(self.next).await;
        self.next += Duration::from_millis(self.gap_ms + rng.u64(0..=GAP_JITTER_MS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::LATENCY_FIGURES;
    use crate::figures::tests::assert_explained;

    #[test]
    fn every_figure_is_explained() {
        assert_explained(&LatencyFigures::default(), LATENCY_FIGURES);
    }
}
