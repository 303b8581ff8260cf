//! `bench bounds`: what is stuck costs, and what the others notice of it.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio::time::Instant;
use zonefold::core::endpoint::Endpoint;
use zonefold::emulator::{FaultEffect, FaultMatch, FaultRule};
use zonefold::wire::v1::Progress;

use super::child::ChildBroker;
use super::cluster::{Cluster, HeldEndpoints};
use super::deaf::Deaf;
use super::figures::{quantile, rounded};
use super::fleet::{AddressPlace, Fleet, FleetSize};
use super::say;
use super::site::{Site, publish_encoded};
use super::usage;
use crate::cli::BoundsArgs;

/// The longest that anything may take in which all endpoints have a part.
const AT_MOST: Duration = Duration::from_secs(600);
/// How often everything that the account that hangs is to hold changes.
const ROUNDS: usize = 20;

/// The printed figures; each is explained in [`crate::cli::BOUNDS_FIGURES`].
#[derive(Debug, Default, Serialize)]
pub struct BoundsFigures {
    bench: &'static str,
    rss_before_mb: f64,
    rss_hanging_mb: f64,
    rss_deaf_mb: f64,
    rss_after_mb: f64,
    peak_rss_mb: f64,
    tasks_before: u64,
    tasks_hanging: u64,
    tasks_deaf: u64,
    tasks_reconnecting: u64,
    tasks_after: u64,
    innocent_p99_ms: Option<i64>,
    innocent_hanging_p99_ms: Option<i64>,
    innocent_deaf_p99_ms: Option<i64>,
    innocent_reconnecting_p99_ms: Option<i64>,
    reconnect_seconds: f64,
    samples: u32,
    hanging_changes: usize,
    hanging_calls_at_once: u64,
    deaf: u32,
    clusters: u32,
    endpoints: u32,
    zones: u32,
    accounts: u32,
    seed: u64,
}

/// Runs the benchmark.
///
/// # Errors
/// A part failed, or something did not come to its end in time.
pub async fn measure(args: &BoundsArgs) -> anyhow::Result<BoundsFigures> {
    let size = FleetSize {
        clusters: args.clusters,
        endpoints: args.endpoints,
        zones: args.zones,
        accounts: args.accounts,
    };
    anyhow::ensure!(
        args.deaf < args.clusters,
        "one cluster is innocent: give fewer deaf agents than clusters"
    );
    let fleet = Fleet::new(size, args.common.seed)?;
    let site = Site::open(
        fleet,
        args.common.folder.as_deref(),
        None,
        &args.common.log_filter,
        args.common.seed,
    )
    .await?;
    let messages = site.encode()?;
    let broker = site.start_fresh().await?;
    let mut clusters: Vec<Option<Cluster>> =
        site.connect(&broker, vec![]).await?.into_iter().map(Some).collect();
    publish_encoded(clusters.iter().flatten(), messages).await?;
    let mut stage = Stage::new(args, site, broker)?;
    stage.in_sync().await?;
    let mut figures = BoundsFigures { bench: "bounds", ..stage.described(args) };

    say("nothing is wrong");
    let calm = stage.innocent(&clusters, async { Ok(()) }).await?;
    (figures.innocent_p99_ms, figures.tasks_before) = (quantile(&calm.took_ms, 0.99), calm.tasks);
    figures.rss_before_mb = stage.rss_mb()?;

    let (hanging, changes) = stage.hanging(&clusters).await?;
    (figures.innocent_hanging_p99_ms, figures.tasks_hanging) =
        (quantile(&hanging.took_ms, 0.99), hanging.tasks);
    (figures.rss_hanging_mb, figures.hanging_changes) = (stage.rss_mb()?, changes);
    figures.hanging_calls_at_once = stage.calls_at_once();
    stage.in_sync().await?;

    let deaf = stage.deaf(&mut clusters, args.deaf as usize).await?;
    (figures.innocent_deaf_p99_ms, figures.tasks_deaf) =
        (quantile(&deaf.took_ms, 0.99), deaf.tasks);
    figures.rss_deaf_mb = deaf.rss_mb;

    let (reconnecting, seconds) = stage.reconnect(&mut clusters).await?;
    figures.innocent_reconnecting_p99_ms = quantile(&reconnecting.took_ms, 0.99);
    (figures.tasks_reconnecting, figures.reconnect_seconds) =
        (reconnecting.tasks, rounded(seconds));
    stage.in_sync().await?;
    figures.tasks_after = stage.tasks_left(figures.tasks_before).await?;
    (figures.rss_after_mb, figures.peak_rss_mb) =
        (stage.rss_mb()?, rounded(usage::memory(stage.broker.pid)?.peak_mb));
    drop(clusters);
    stage.broker.stop().await?;
    stage.site.close().await;
    Ok(figures)
}

/// Measurements taken while something was wrong.
struct BoundsPhase {
    /// Of the innocent cluster's changes, in rising order.
    took_ms: Vec<i64>,
    /// The most tasks.
    tasks: u64,
    rss_mb: f64,
}

struct Stage {
    site: Site,
    broker: ChildBroker,
    /// The cluster that nothing is wrong with, and the two places of its address.
    innocent: (usize, [Endpoint; 2]),
    moves: usize,
    samples: u32,
}

impl Stage {
    fn new(args: &BoundsArgs, site: Site, broker: ChildBroker) -> anyhow::Result<Self> {
        let hanging = site.fleet.accounts.first().context("there is no account")?;
        let is_innocent = |endpoint: &Endpoint| {
            let is_below = |zone: &zonefold::core::dns::name::DnsName| {
                endpoint.key.dns_name.ends_with(&format!(".{zone}"))
            };
            !hanging.zones.iter().any(is_below)
        };
        let places = |cluster| {
            let place = |place| site.fleet.address(cluster, place).filter(is_innocent);
            Some([place(AddressPlace::First)?, place(AddressPlace::Second)?])
        };
        let mut candidates = site.fleet.clusters.iter().enumerate();
        let innocent = candidates.find_map(|(index, cluster)| Some((index, places(cluster)?)));
        let innocent =
            innocent.context("no cluster has an address elsewhere: give more endpoints")?;
        Ok(Self { site, broker, innocent, moves: 0, samples: args.samples })
    }

    fn described(&self, args: &BoundsArgs) -> BoundsFigures {
        BoundsFigures {
            samples: args.samples,
            deaf: args.deaf,
            clusters: args.clusters,
            endpoints: args.endpoints,
            zones: args.zones,
            accounts: args.accounts,
            seed: args.common.seed,
            ..BoundsFigures::default()
        }
    }

    async fn in_sync(&mut self) -> anyhow::Result<()> {
        self.site.in_sync(&mut self.broker, AT_MOST).await
    }

    /// The tasks that stay: what is only about to end has ten seconds to do so.
    async fn tasks_left(&self, before: u64) -> anyhow::Result<u64> {
        let until = Instant::now() + Duration::from_secs(10);
        let mut fewest = self.tasks().await?;
        while fewest > before && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(200)).await;
            fewest = fewest.min(self.tasks().await?);
        }
        Ok(fewest)
    }

    async fn tasks(&self) -> anyhow::Result<u64> {
        self.broker.counter("zonefold_tasks").await
    }

    fn rss_mb(&self) -> anyhow::Result<f64> {
        Ok(rounded(usage::memory(self.broker.pid)?.rss_mb))
    }

    /// The most calls that a zone ever had at once.
    fn calls_at_once(&self) -> u64 {
        self.site.control().counters().max_in_flight.values().max().copied().unwrap_or(0)
    }

    /// Measures the innocent cluster's changes, one after the other, while something else goes on, and until it is over.
    async fn innocent(
        &mut self,
        clusters: &[Option<Cluster>],
        meanwhile: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<BoundsPhase> {
        let session = clusters
            .get(self.innocent.0)
            .and_then(Option::as_ref)
            .context("the innocent cluster has no session")?;
        let mut seen = BoundsPhase { took_ms: vec![], tasks: 0, rss_mb: 0.0 };
        let (mut is_over, mut meanwhile) = (false, std::pin::pin!(meanwhile));
        while seen.took_ms.len() < self.samples as usize || !is_over {
            self.moves += 1;
            let place = &self.innocent.1[self.moves % 2];
            let began = Instant::now();
            let change = async {
                session.publish(std::slice::from_ref(place)).await?;
                tokio::time::timeout(
                    AT_MOST,
                    session.progressed(place.version(), Progress::Applied),
                )
                .await?
            };
            tokio::pin!(change);
            loop {
                tokio::select! {
                    done = &mut change => break done?,
                    done = &mut meanwhile, if !is_over => {
                        done?;
                        is_over = true;
                    }
                }
            }
            seen.took_ms.push(i64::try_from(began.elapsed().as_millis())?);
            seen.tasks = seen.tasks.max(self.tasks().await?);
        }
        seen.took_ms.sort_unstable();
        seen.rss_mb = self.rss_mb()?;
        Ok(seen)
    }

    /// The first account hangs while every cluster moves its address to and fro; answers how many of the changes were for it.
    async fn hanging(
        &mut self,
        clusters: &[Option<Cluster>],
    ) -> anyhow::Result<(BoundsPhase, usize)> {
        let hanging = self.site.fleet.accounts.first().context("there is no account")?.clone();
        say(&format!(
            "the account {} hangs, and every cluster changes what it wants {ROUNDS} times",
            hanging.id
        ));
        let rule = FaultRule {
            matching: FaultMatch { account: Some(hanging.id.clone()), ..FaultMatch::default() },
            times: None,
            effect: FaultEffect::HangBeforeApply {},
        };
        let rule = self.site.control().add_fault(rule);
        let mut moves: Vec<(usize, [Endpoint; 2])> = vec![];
        for (index, cluster) in self
            .site
            .fleet
            .clusters
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != self.innocent.0)
        {
            let place = |place| self.site.fleet.address(cluster, place);
            if let Some(places) = place(AddressPlace::Second).zip(place(AddressPlace::First)) {
                moves.push((index, [places.0, places.1]));
            }
        }
        let is_hanging = |endpoint: &Endpoint| {
            hanging.zones.iter().any(|z| endpoint.key.dns_name.ends_with(&format!(".{z}")))
        };
        let changes = moves.iter().filter(|(_, places)| is_hanging(&places[0])).count() * ROUNDS;
        let moving = async {
            for round in 0..ROUNDS {
                let publishing = moves.iter().map(async |(index, places)| {
                    let session = clusters[*index].as_ref().context("a cluster has no session")?;
                    session
                        .durable(session.publish(std::slice::from_ref(&places[round % 2])).await?)
                        .await
                });
                futures::future::try_join_all(publishing).await?;
            }
            Ok(())
        };
        let seen = self.innocent(clusters, moving).await?;
        self.site.control().remove_fault(rule)?;
        Ok((seen, changes))
    }

    /// `count` clusters come back with agents that read nothing, and ask and ask.
    async fn deaf(
        &mut self,
        clusters: &mut [Option<Cluster>],
        count: usize,
    ) -> anyhow::Result<BoundsPhase> {
        say(&format!("{count} agents read nothing of what they are told"));
        let chosen: Vec<usize> =
            (0..clusters.len()).filter(|index| *index != self.innocent.0).take(count).collect();
        let mut held = vec![];
        for index in &chosen {
            held.push(clusters[*index].take().context("a cluster has no session")?.leave().await);
        }
        let way = self.site.way();
        let opening = chosen
            .iter()
            .zip(&held)
            .map(|(index, held)| way.connect_deaf(self.broker.addresses.grpc, *index, held));
        let deaf: Vec<Deaf> = futures::future::try_join_all(opening).await?;
        let talking = async {
            futures::future::join_all(deaf.iter().map(Deaf::talk)).await;
            Ok(())
        };
        let seen = self.innocent(clusters, talking).await?;
        drop(deaf);
        for (index, held) in chosen.into_iter().zip(held) {
            clusters[index] = Some(way.connect(self.broker.addresses.grpc, index, held).await?);
        }
        Ok(seen)
    }

    /// All clusters but the innocent one lose their sessions and come back in one moment; answers how long the last one took.
    async fn reconnect(
        &mut self,
        clusters: &mut [Option<Cluster>],
    ) -> anyhow::Result<(BoundsPhase, f64)> {
        say("all clusters connect again at once");
        let mut held: Vec<(usize, HeldEndpoints)> = vec![];
        for (index, cluster) in
            clusters.iter_mut().enumerate().filter(|(index, _)| *index != self.innocent.0)
        {
            held.push((index, cluster.take().context("a cluster has no session")?.leave().await));
        }
        let (way, broker, began) = (self.site.way(), self.broker.addresses, Instant::now());
        let (tell, mut told) = tokio::sync::oneshot::channel();
        let connecting = async {
            let opening = held.into_iter().map(async |(index, held)| {
                let cluster = way.connect(broker.grpc, index, held).await?;
                cluster.replayed().await?;
                anyhow::Ok((index, cluster))
            });
            let connected = futures::future::try_join_all(opening).await?;
            // The receiver is below.
            let _received = tell.send((connected, began.elapsed().as_secs_f64()));
            Ok(())
        };
        let seen = self.innocent(clusters, connecting).await?;
        let (connected, seconds) = told.try_recv().context("the clusters did not connect")?;
        for (index, cluster) in connected {
            clusters[index] = Some(cluster);
        }
        Ok((seen, seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::BOUNDS_FIGURES;
    use crate::figures::tests::assert_explained;

    #[test]
    fn every_figure_is_explained() {
        assert_explained(&BoundsFigures::default(), BOUNDS_FIGURES);
    }
}
