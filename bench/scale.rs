//! `bench scale`: what a large fleet costs one broker.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::child::ChildBroker;
use super::cluster::Cluster;
use super::figures::rounded;
use super::fleet::{AddressPlace, Fleet, FleetSize, record_sets};
use super::say;
use super::single::{Changer, change_cpu_us};
use super::site::{Accounts, Background, Setting, Site, publish_encoded};
use super::usage::{self, Memory};
use crate::cli::ScaleArgs;

/// Freed memory goes back to the system within this time.
const PURGE: Duration = Duration::from_secs(12);
/// The longest that anything may take in which all endpoints have a part.
const AT_MOST: Duration = Duration::from_secs(1_200);

/// The printed figures; each is explained in [`crate::cli::SCALE_FIGURES`].
#[derive(Debug, Default, Serialize)]
pub struct ScaleFigures {
    bench: &'static str,
    rss_mb: f64,
    peak_rss_mb: f64,
    idle_cpu_percent: f64,
    cold_start_seconds: f64,
    cold_rss_mb: f64,
    reconnect_seconds: f64,
    reconnect_bytes_per_cluster: u64,
    reconnect_bytes_max: u64,
    change_cost_ratio: f64,
    change_cpu_us: f64,
    small_change_cpu_us: f64,
    fill_seconds: f64,
    durable_seconds: f64,
    fill_cpu_seconds: f64,
    bytes_per_endpoint: f64,
    idle_seconds: u32,
    changes: u32,
    endpoints: u32,
    record_sets: usize,
    clusters: u32,
    zones: u32,
    accounts: u32,
    small_endpoints: u32,
    seed: u64,
}

/// Runs the benchmark.
///
/// # Errors
/// A part failed, or something did not come to its end in time.
pub async fn measure(args: &ScaleArgs) -> anyhow::Result<ScaleFigures> {
    let size = FleetSize {
        clusters: args.clusters,
        endpoints: args.endpoints,
        zones: args.zones,
        accounts: args.accounts,
    };
    let small = FleetSize { endpoints: args.small_endpoints, ..size };
    let large = measure_large(args, size).await?;
    let small_change_cpu_us = measure_small(args, small).await?;
    Ok(ScaleFigures {
        change_cost_ratio: rounded(large.change_cpu_us / small_change_cpu_us),
        small_change_cpu_us: rounded(small_change_cpu_us),
        ..large
    })
}

/// A broker that starts asks Route 53 after the changes of the last minute, and tells their statuses anew.
const UNCHANGED_FOR: Duration = Duration::from_secs(61);

/// Everything but what the small fleet is for.
async fn measure_large(args: &ScaleArgs, size: FleetSize) -> anyhow::Result<ScaleFigures> {
    let site = open(args, size).await?;
    let filled = fill(&site).await?;
    let in_sync_at = Instant::now();
    let memory = settled_memory(&filled.broker).await?;
    let idle_cpu_percent = idle(&filled.broker, args.idle_seconds).await?;
    let unchanged = UNCHANGED_FOR.saturating_sub(in_sync_at.elapsed());
    if !unchanged.is_zero() {
        say(&format!(
            "waiting {:.0} s: a start asks after what changed just before",
            unchanged.as_secs_f64()
        ));
        tokio::time::sleep(unchanged).await;
    }
    let (cold, broker, held) = cold_start(&site, filled.broker, filled.clusters).await?;
    let (reconnected, clusters) = reconnect(&site, &broker, held).await?;
    let change_cpu_us = single_changes(&site, broker, &clusters, args.changes).await?;
    drop(clusters);
    let sets = site.fleet.clusters.iter().flat_map(|cluster| site.fleet.endpoints(cluster));
    let record_sets = sets.map(|endpoint| record_sets(&endpoint).len()).sum();
    site.close().await;
    Ok(ScaleFigures {
        bench: "scale",
        rss_mb: rounded(memory.rss_mb),
        peak_rss_mb: rounded(memory.peak_mb),
        idle_cpu_percent: rounded(idle_cpu_percent),
        cold_start_seconds: rounded(cold.seconds),
        cold_rss_mb: rounded(cold.memory.rss_mb),
        reconnect_seconds: rounded(reconnected.seconds),
        reconnect_bytes_per_cluster: reconnected.bytes_mean,
        reconnect_bytes_max: reconnected.bytes_max,
        change_cpu_us: rounded(change_cpu_us),
        fill_seconds: rounded(filled.seconds),
        durable_seconds: rounded(filled.durable_seconds),
        fill_cpu_seconds: rounded(filled.cpu_seconds),
        bytes_per_endpoint: rounded(memory.rss_mb * f64::from(1 << 20) / f64::from(args.endpoints)),
        idle_seconds: args.idle_seconds,
        changes: args.changes,
        endpoints: args.endpoints,
        record_sets,
        clusters: args.clusters,
        zones: args.zones,
        accounts: args.accounts,
        small_endpoints: args.small_endpoints,
        seed: args.common.seed,
        ..ScaleFigures::default()
    })
}

async fn measure_small(args: &ScaleArgs, size: FleetSize) -> anyhow::Result<f64> {
    say(&format!("the same with {} endpoints, to compare a change's cost", size.endpoints));
    let site = open(args, size).await?;
    let filled = fill(&site).await?;
    let cost = single_changes(&site, filled.broker, &filled.clusters, args.changes).await?;
    site.close().await;
    Ok(cost)
}

async fn open(args: &ScaleArgs, size: FleetSize) -> anyhow::Result<Site> {
    let fleet = Fleet::new(size, args.common.seed)?;
    Site::open(
        fleet,
        args.common.folder.as_deref(),
        None,
        &args.common.log_filter,
        args.common.seed,
    )
    .await
}

/// A broker that has nothing left to do.
struct Filled {
    broker: ChildBroker,
    clusters: Vec<Cluster>,
    seconds: f64,
    durable_seconds: f64,
    cpu_seconds: f64,
}

async fn fill(site: &Site) -> anyhow::Result<Filled> {
    let messages = site.encode()?;
    let mut broker = site.start_fresh().await?;
    // Everything is durable before the first call goes out: each call then carries what it can, and the fill ends soon.
    site.park(&mut broker).await?;
    let clusters = site.connect(&broker, vec![]).await?;
    say(&format!("{} clusters publish; the broker is process {}", clusters.len(), broker.pid));
    let (began, cpu_before) = (Instant::now(), broker.cpu_ns()?);
    publish_encoded(&clusters, messages).await?;
    let durable_seconds = began.elapsed().as_secs_f64();
    say(&format!("durable after {durable_seconds:.1} s"));
    site.configure(Setting { accounts: Accounts::Working, background: Background::Default })?;
    site.in_sync(&mut broker, AT_MOST).await?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu_seconds = (broker.cpu_ns()? - cpu_before) as f64 / 1e9;
    Ok(Filled { broker, clusters, seconds, durable_seconds, cpu_seconds })
}

async fn settled_memory(broker: &ChildBroker) -> anyhow::Result<Memory> {
    tokio::time::sleep(PURGE).await;
    let memory = usage::memory(broker.pid)?;
    say(&format!("{:.0} MiB resident, {:.0} at most", memory.rss_mb, memory.peak_mb));
    Ok(memory)
}

/// Per cent of one core.
async fn idle(broker: &ChildBroker, seconds: u32) -> anyhow::Result<f64> {
    say(&format!("watching the idle broker for {seconds} s"));
    let (began, before) = (Instant::now(), broker.cpu_ns()?);
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    Ok((broker.cpu_ns()? - before) as f64 / 1e9 / began.elapsed().as_secs_f64() * 100.0)
}

struct Cold {
    seconds: f64,
    memory: Memory,
}

/// Stops the broker and starts it again with no cluster connected; answers what the clusters hold.
async fn cold_start(
    site: &Site,
    broker: ChildBroker,
    clusters: Vec<Cluster>,
) -> anyhow::Result<(Cold, ChildBroker, Vec<super::cluster::HeldEndpoints>)> {
    let mut held = vec![];
    for cluster in clusters {
        held.push(cluster.leave().await);
    }
    broker.stop().await?;
    say("starting the broker over the full store");
    let began = Instant::now();
    let mut broker = site.start()?;
    broker.ready(AT_MOST).await?;
    let seconds = began.elapsed().as_secs_f64();
    say(&format!("ready after {seconds:.1} s"));
    let memory = usage::memory(broker.pid)?;
    Ok((Cold { seconds, memory }, broker, held))
}

struct Reconnected {
    seconds: f64,
    bytes_mean: u64,
    bytes_max: u64,
}

/// All clusters come back in one moment, unchanged.
async fn reconnect(
    site: &Site,
    broker: &ChildBroker,
    held: Vec<super::cluster::HeldEndpoints>,
) -> anyhow::Result<(Reconnected, Vec<Cluster>)> {
    say("all clusters connect again");
    let began = Instant::now();
    let clusters = site.connect(broker, held).await?;
    futures::future::try_join_all(clusters.iter().map(Cluster::replayed)).await?;
    let seconds = began.elapsed().as_secs_f64();
    let bytes: Vec<u64> = clusters.iter().map(Cluster::traffic_bytes).collect();
    let (sum, most) = (bytes.iter().sum::<u64>(), bytes.iter().max().copied().unwrap_or(0));
    let reconnected =
        Reconnected { seconds, bytes_mean: sum / bytes.len().max(1) as u64, bytes_max: most };
    say(&format!("after {seconds:.1} s and {} bytes each on average", reconnected.bytes_mean));
    Ok((reconnected, clusters))
}

/// Processor time of one change, in microseconds, with everything that recurs switched off.
async fn single_changes(
    site: &Site,
    mut broker: ChildBroker,
    clusters: &[Cluster],
    changes: u32,
) -> anyhow::Result<f64> {
    site.configure(Setting { accounts: Accounts::Working, background: Background::Off })?;
    site.in_sync(&mut broker, AT_MOST).await?;
    let changers = site.fleet.clusters.iter().zip(clusters).filter_map(|(cluster, session)| {
        let [first, second] = [AddressPlace::First, AddressPlace::Second]
            .map(|place| site.fleet.address(cluster, place));
        Some(Changer { session, places: [first?, second?] })
    });
    let cost = change_cpu_us(&broker, changers.collect(), changes).await?;
    say(&format!("one change costs {cost:.0} µs of processor time"));
    Ok(cost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::SCALE_FIGURES;
    use crate::figures::tests::assert_explained;

    #[test]
    fn every_figure_is_explained() {
        assert_explained(&ScaleFigures::default(), SCALE_FIGURES);
    }
}
