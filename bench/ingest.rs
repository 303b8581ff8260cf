//! `bench ingest`: how fast what clusters publish becomes durable, against a raw insert of the same rows.

use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

use super::child::ChildBroker;
use super::figures::rounded;
use super::fleet::{Fleet, FleetSize};
use super::postgres::{Databases, url_of};
use super::raw::{self, RawInsert};
use super::say;
use super::site::{Site, publish_encoded};
use super::usage;
use crate::cli::{IngestArgs, StoreKind};

/// Names of one zone, on average.
const ENDPOINTS_A_ZONE: u32 = 1_000;
const ACCOUNTS: u32 = 10;

/// The printed figures; each is explained in [`crate::cli::INGEST_FIGURES`].
#[derive(Debug, Default, Serialize)]
pub struct IngestFigures {
    bench: &'static str,
    store: Option<StoreKind>,
    endpoints_per_second: f64,
    raw_per_second: f64,
    ratio: f64,
    broker_cpu_us_per_endpoint: f64,
    seconds: f64,
    raw_seconds: f64,
    commits: u64,
    operations_per_commit: f64,
    rss_mb: f64,
    endpoints: u32,
    clusters: u32,
    seed: u64,
}

/// Runs the benchmark.
///
/// # Errors
/// A part failed.
pub async fn measure(args: &IngestArgs) -> anyhow::Result<IngestFigures> {
    match args.store.store {
        StoreKind::Sqlite => {
            let site = open(args, None).await?;
            let ingested = ingest(&site).await?;
            say("inserting the same rows with the driver alone");
            let full = site.folder().join("broker.db");
            let raw =
                raw::sqlite(&full, &site.folder().join("raw.db"), ingested.rows_a_commit()).await?;
            site.close().await;
            Ok(figures(args, ingested, raw))
        }
        StoreKind::Postgres => {
            let folder = args.common.folder.as_deref();
            let mut databases = Databases::open(args.store.postgres_url.as_deref(), folder).await?;
            let (full, empty) = (databases.make("ingest").await?, databases.make("raw").await?);
            let site = open(args, Some(&full)).await?;
            let ingested = ingest(&site).await?;
            site.close().await;
            say("copying the same rows with the driver alone");
            let raw = raw::postgres(&full, &empty, ingested.rows_a_commit()).await?;
            databases.close().await?;
            Ok(figures(args, ingested, raw))
        }
    }
}

async fn open(args: &IngestArgs, database: Option<&PgConnectOptions>) -> anyhow::Result<Site> {
    let zones = (args.endpoints / ENDPOINTS_A_ZONE).max(ACCOUNTS);
    let size =
        FleetSize { clusters: args.clusters, endpoints: args.endpoints, zones, accounts: ACCOUNTS };
    let fleet = Fleet::new(size, args.common.seed)?;
    let common = &args.common;
    Site::open(
        fleet,
        common.folder.as_deref(),
        database.map(url_of),
        &common.log_filter,
        common.seed,
    )
    .await
}

/// The broker's measured work.
struct Ingested {
    seconds: f64,
    cpu_ns: u64,
    commits: u64,
    operations: u64,
    rss_mb: f64,
}

impl Ingested {
    fn rows_a_commit(&self) -> usize {
        usize::try_from(self.operations / self.commits.max(1)).unwrap_or(usize::MAX).max(1)
    }
}

/// Publishes everything while no account can be written: the endpoints are stored, routed and claimed, and nothing is called.
async fn ingest(site: &Site) -> anyhow::Result<Ingested> {
    let messages = site.encode()?;
    let mut broker = site.start_fresh().await?;
    site.park(&mut broker).await?;
    let clusters = site.connect(&broker, vec![]).await?;
    say(&format!("{} clusters publish; the broker is process {}", clusters.len(), broker.pid));
    let before = Counted::of(&broker).await?;
    let began = Instant::now();
    publish_encoded(&clusters, messages).await?;
    let seconds = began.elapsed().as_secs_f64();
    let after = Counted::of(&broker).await?;
    let rss_mb = usage::memory(broker.pid)?.rss_mb;
    drop(clusters);
    broker.stop().await?;
    let (commits, operations) =
        (after.commits - before.commits, after.operations - before.operations);
    Ok(Ingested { seconds, cpu_ns: after.cpu_ns - before.cpu_ns, commits, operations, rss_mb })
}

struct Counted {
    cpu_ns: u64,
    commits: u64,
    operations: u64,
}

impl Counted {
    async fn of(broker: &ChildBroker) -> anyhow::Result<Self> {
        let cpu_ns = broker.cpu_ns()?;
        let commits = broker.counter("zonefold_ingest_commits_total").await?;
        Ok(Self {
            cpu_ns,
            commits,
            operations: broker.counter("zonefold_ingested_operations_total").await?,
        })
    }
}

fn figures(args: &IngestArgs, ingested: Ingested, raw: RawInsert) -> IngestFigures {
    let endpoints_per_second = f64::from(args.endpoints) / ingested.seconds;
    let raw_seconds = raw.took.as_secs_f64();
    let raw_per_second = raw.rows as f64 / raw_seconds;
    IngestFigures {
        bench: "ingest",
        store: Some(args.store.store),
        endpoints_per_second: endpoints_per_second.round(),
        raw_per_second: raw_per_second.round(),
        ratio: rounded(endpoints_per_second / raw_per_second),
        broker_cpu_us_per_endpoint: rounded(
            ingested.cpu_ns as f64 / 1e3 / f64::from(args.endpoints),
        ),
        seconds: rounded(ingested.seconds),
        raw_seconds: rounded(raw_seconds),
        commits: ingested.commits,
        operations_per_commit: rounded(ingested.operations as f64 / ingested.commits.max(1) as f64),
        rss_mb: rounded(ingested.rss_mb),
        endpoints: args.endpoints,
        clusters: args.clusters,
        seed: args.common.seed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::INGEST_FIGURES;
    use crate::figures::tests::assert_explained;

    #[test]
    fn every_figure_is_explained() {
        assert_explained(&IngestFigures::default(), INGEST_FIGURES);
    }
}
