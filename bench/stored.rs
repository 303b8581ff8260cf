//! `bench store`: how large the database of a fleet is, at first and after a day's churn.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tokio::time::Instant;
use zonefold::adapters::store::{self, StoreOptions};
use zonefold::ports::Store;

use super::figures::rounded;
use super::fleet::{Churn, Fleet, FleetSize};
use super::folder::Folder;
use super::keeping::{DAY, Keeping};
use super::postgres::{Databases, url_of};
use super::say;
use crate::cli::{StoreBenchArgs, StoreKind};

const MEBIBYTE: f64 = (1_u64 << 20) as f64;

/// The printed figures; each is explained in [`crate::cli::STORE_FIGURES`].
#[derive(Debug, Default, Serialize)]
pub struct StoreFigures {
    bench: &'static str,
    store: Option<StoreKind>,
    database_mb: f64,
    bytes_per_endpoint: f64,
    tables_mb: BTreeMap<String, f64>,
    churned_mb: f64,
    churned_tables_mb: BTreeMap<String, f64>,
    vacuumed_mb: f64,
    pruned_entries: u64,
    pruned_mb: f64,
    churned_endpoints: usize,
    fill_seconds: f64,
    churn_seconds: f64,
    vacuum_seconds: f64,
    prune_seconds: f64,
    endpoints: u32,
    clusters: u32,
    zones: u32,
    accounts: u32,
    seed: u64,
}

/// Runs the benchmark.
///
/// # Errors
/// The store refuses something.
pub async fn measure(args: &StoreBenchArgs) -> anyhow::Result<StoreFigures> {
    match args.store.store {
        StoreKind::Sqlite => {
            let folder = Folder::make(args.common.folder.as_deref())?;
            let file = folder.path().join("broker.db");
            let url = format!("sqlite:{}", file.display());
            measure_in(args, &url, &Database::File(SqliteConnectOptions::new().filename(&file)))
                .await
        }
        StoreKind::Postgres => {
            let mut databases =
                Databases::open(args.store.postgres_url.as_deref(), args.common.folder.as_deref())
                    .await?;
            let database = databases.make("store").await?;
            let figures = measure_in(args, &url_of(&database), &Database::Server(database)).await?;
            databases.close().await?;
            Ok(figures)
        }
    }
}

async fn measure_in(
    args: &StoreBenchArgs,
    url: &str,
    database: &Database,
) -> anyhow::Result<StoreFigures> {
    let size = FleetSize {
        clusters: args.clusters,
        endpoints: args.endpoints,
        zones: args.zones,
        accounts: args.accounts,
    };
    let fleet = Fleet::new(size, args.common.seed)?;
    let store = store::open(&url.parse()?, &StoreOptions::default()).await?;
    let began = Instant::now();
    let mut keeping = Keeping::begin(Arc::clone(&store), &fleet, args.common.seed).await?;
    say(&format!("storing {} endpoints, applied and journalled", args.endpoints));
    for cluster in &fleet.clusters {
        let added = fleet.endpoints(cluster).into_iter().map(Churn::Added).collect();
        keeping.keep(&cluster.id, added).await?;
    }
    let fill_seconds = began.elapsed().as_secs_f64();
    let filled = database.sizes().await?;
    say(&format!("{:.0} MiB; a day's churn of {} %", total(&filled), args.churn_percent));
    let (began, mut churned_endpoints) = (Instant::now(), 0);
    keeping.pass(DAY);
    for cluster in &fleet.clusters {
        let churn = fleet.churn(cluster, f64::from(args.churn_percent) / 100.0);
        churned_endpoints += churn.len();
        keeping.keep(&cluster.id, churn).await?;
    }
    let churn_seconds = began.elapsed().as_secs_f64();
    let churned = database.sizes().await?;
    say(&format!("{:.0} MiB; vacuuming", total(&churned)));
    let began = Instant::now();
    database.vacuum().await?;
    let vacuum_seconds = began.elapsed().as_secs_f64();
    let vacuumed = database.sizes().await?;
    say(&format!("{:.0} MiB; cutting the journal of the first day off", total(&vacuumed)));
    let began = Instant::now();
    let pruned_entries = keeping.prune(&fleet).await?;
    let prune_seconds = began.elapsed().as_secs_f64();
    database.vacuum().await?;
    let pruned = database.sizes().await?;
    close(store).await;
    Ok(StoreFigures {
        bench: "store",
        store: Some(args.store.store),
        database_mb: rounded(total(&filled)),
        bytes_per_endpoint: rounded(total(&filled) * MEBIBYTE / f64::from(args.endpoints)),
        tables_mb: filled,
        churned_mb: rounded(total(&churned)),
        churned_tables_mb: churned,
        vacuumed_mb: rounded(total(&vacuumed)),
        pruned_entries,
        pruned_mb: rounded(total(&pruned)),
        churned_endpoints,
        fill_seconds: rounded(fill_seconds),
        churn_seconds: rounded(churn_seconds),
        vacuum_seconds: rounded(vacuum_seconds),
        prune_seconds: rounded(prune_seconds),
        endpoints: args.endpoints,
        clusters: args.clusters,
        zones: args.zones,
        accounts: args.accounts,
        seed: args.common.seed,
    })
}

/// The last user closes the pools; their connections end in the background.
async fn close(store: Arc<dyn Store>) {
    drop(store);
    tokio::task::yield_now().await;
}

fn total(tables: &BTreeMap<String, f64>) -> f64 {
    tables.values().sum()
}

/// The database behind the store, for what the port does not say.
enum Database {
    File(SqliteConnectOptions),
    Server(PgConnectOptions),
}

impl Database {
    /// Mebibytes of each table with its indexes, and of what is free.
    async fn sizes(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let rows: Vec<(String, i64)> = match self {
            Self::File(options) => {
                let mut connection = options.connect().await?;
                connection.execute("pragma wal_checkpoint(truncate)").await?;
                let rows = sqlx::query_as(
                    "select coalesce(s.tbl_name, 'schema'), sum(d.pgsize)
                       from dbstat d left join sqlite_schema s on s.name = d.name where d.aggregate = true group by 1
                     union all select 'free', f.freelist_count * p.page_size from pragma_freelist_count f, pragma_page_size p",
                )
                .fetch_all(&mut connection)
                .await?;
                connection.close().await?;
                rows
            }
            Self::Server(options) => {
                let mut connection = options.connect().await?;
                let rows = sqlx::query_as(
                    "select relname::text, pg_total_relation_size(oid) from pg_class
                      where relkind = 'r' and relnamespace = current_schema()::regnamespace",
                )
                .fetch_all(&mut connection)
                .await?;
                connection.close().await?;
                rows
            }
        };
        let mb = |bytes: i64| rounded(bytes as f64 / MEBIBYTE);
        let tables: BTreeMap<String, f64> =
            rows.into_iter().map(|(table, bytes)| (table, mb(bytes))).collect();
        tables
            .contains_key("endpoints")
            .then_some(tables)
            .context("the database has no table of endpoints")
    }

    /// As an operator would: SQLite writes the file anew, PostgreSQL makes dead rows free to be used again.
    async fn vacuum(&self) -> anyhow::Result<()> {
        match self {
            Self::File(options) => {
                let mut connection = options.connect().await?;
                connection.execute("vacuum").await?;
                connection.close().await?;
            }
            Self::Server(options) => {
                let mut connection = options.connect().await?;
                connection.execute("vacuum (analyze)").await?;
                connection.close().await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::STORE_FIGURES;
    use crate::figures::tests::assert_explained;

    #[test]
    fn every_figure_is_explained() {
        assert_explained(&StoreFigures::default(), STORE_FIGURES);
    }
}
