//! The arguments of `zonefold bench`, and what each of its figures means.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

/// A figure that a benchmark prints.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Its key in the JSON object.
    pub key: &'static str,
    /// What it should be; empty for a figure that only explains others.
    pub goal: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn figure(key: &'static str, goal: &'static str, meaning: &'static str) -> Figure {
    Figure { key, goal, meaning }
}

/// The figures of `bench drain`.
pub const DRAIN_FIGURES: &[Figure] = &[
    figure("bench", "", "drain"),
    figure("operation", "", "create or update; an update is a DELETE and a CREATE in one call, two changes"),
    figure("profile", "", "the buckets of the account, at the emulator and in the broker's budget"),
    figure("arrival", "", "whether all endpoints were durable before the account could be written"),
    figure("accounts", "", "accounts that were drained at once, each with buckets and zones of its own"),
    figure(
        "seconds",
        "",
        "from the first batch that the emulator applied to the last, by its journal; of the account farthest from its limit",
    ),
    figure("limit_seconds", "", "what our part of the buckets allows: the largest of (needed - burst) / rate over the buckets"),
    figure("ratio", "at most 1.05", "seconds / limit_seconds; null when the burst alone is enough"),
    figure("mean_ratio", "", "the same over all accounts, on average"),
    figure("throttled", "0", "calls that the emulator answered with Throttling"),
    figure("calls", "", "calls of ChangeResourceRecordSets, refused ones too"),
    figure("changes", "", "changes that the emulator applied"),
    figure("needed_calls", "", "the fewest calls that can carry the changes: 1,000 records and 32,000 characters in each"),
    figure("published_limit_seconds", "", "the same limit without our margin and reserve: what AWS's buckets would allow"),
    figure("busy", "", "calls that met a zone still at work (PriorRequestNotComplete)"),
    figure("requests", "", "all calls of Route 53 from the first publication on, reads too"),
    figure("durable_seconds", "", "from the first publication to the last acknowledgement that an endpoint is durable"),
    figure("wall_seconds", "", "from the first publication to the last applied batch, waiting for the account included"),
    figure("endpoints", "", "endpoints published in the measured run, for each account"),
    figure("clusters", "", "clusters that published, each over a gRPC session of its own"),
    figure("zones", "", "hosted zones of each account"),
    figure("spread", "", "how the endpoints of an account are spread over its zones"),
    figure("reserve_percent", "", "the part of the buckets that is left to others"),
    figure("signature", "", "whether the emulator checked signatures"),
    figure("seed", "", "the seed of names, addresses, ids and jitter"),
];

/// The figures of `bench latency`.
pub const LATENCY_FIGURES: &[Figure] = &[
    figure("bench", "", "latency"),
    figure("idle_p50_ms", "at most 50", "half of the single changes on an idle broker took no longer"),
    figure("idle_p99_ms", "at most 250", "99 of 100 of them took no longer"),
    figure("idle_max_ms", "", "the slowest of them"),
    figure("idle_samples", "", "how many of them"),
    figure("flood_p50_ms", "", "half of the quiet cluster's changes under the flood took no longer"),
    figure("flood_p99_ms", "at most 1000", "99 of 100 of them took no longer"),
    figure("flood_max_ms", "", "the slowest of them"),
    figure("flood_samples", "", "how many of them"),
    figure("arriving_p99_ms", "", "of those sent while the flood was still arriving"),
    figure("arriving_samples", "", "how many of those"),
    figure("flood_endpoints", "", "endpoints that the noisy cluster published at once"),
    figure("flood_durable_seconds", "", "how long it took until all of them were durable"),
    figure("flood_applied", "", "how many of them were applied meanwhile: the noisy cluster is not starved either"),
    figure("throttled", "", "calls that the emulator answered with Throttling"),
    figure("busy", "", "calls that met a zone still at work (PriorRequestNotComplete)"),
    figure("profile", "", "the buckets of the account, at the emulator and in the broker's budget"),
    figure("clusters", "", "clusters with an open session; one is quiet, one is noisy, the others say nothing"),
    figure("zones", "", "hosted zones, used in turn"),
    figure("reserve_percent", "", "the part of the buckets that is left to others"),
    figure("signature", "", "whether the emulator checked signatures"),
    figure("seed", "", "the seed of names, addresses, ids and jitter"),
];

/// The figures of `bench idle`.
pub const IDLE_FIGURES: &[Figure] = &[
    figure("bench", "", "idle"),
    figure("clusters", "", "clusters with an open session, their heartbeats running"),
    figure("requests_per_minute", "", "calls of Route 53 at the default intervals: what was counted, divided by `accelerated`"),
    figure("writes_per_minute", "0", "calls of ChangeResourceRecordSets as counted, divided by nothing"),
    figure("computed_requests_per_minute", "", "what the intervals and pages of 300 sets come to on paper, jitter left out"),
    figure("counted_requests", "", "the calls of Route 53 in the measured time"),
    figure("counted_by_action", "", "the same by action"),
    figure("sts_calls", "", "calls of STS in the measured time: sessions last an hour, so as a rule none"),
    figure("seconds", "", "the measured time"),
    figure("accelerated", "", "by how much the intervals of the sweep for drift and of discovery were divided"),
    figure("drift_interval_secs", "", "the sweep's interval as measured"),
    figure("discovery_interval_secs", "", "the discovery's interval as measured"),
    figure("zones", "", "hosted zones of the one account"),
    figure("sets_per_zone", "", "record sets of ours in each"),
    figure("throttled", "", "calls that the emulator answered with Throttling"),
    figure("signature", "", "whether the emulator checked signatures"),
    figure("seed", "", "the seed of names, addresses, ids and jitter"),
];

/// The figures of `bench ingest`.
pub const INGEST_FIGURES: &[Figure] = &[
    figure("bench", "", "ingest"),
    figure("store", "", "the database of the broker, and of the raw insert"),
    figure(
        "endpoints_per_second",
        "at least 50000",
        "endpoints over the time from the first message sent to the last durable acknowledgement",
    ),
    figure(
        "raw_per_second",
        "",
        "the same rows inserted by the driver alone, in transactions of the same size, into an empty database",
    ),
    figure("ratio", "at least 0.5", "endpoints_per_second / raw_per_second"),
    figure("broker_cpu_us_per_endpoint", "", "microseconds of processor time of the broker's process for each endpoint"),
    figure("seconds", "", "from the first message sent to the last durable acknowledgement"),
    figure("raw_seconds", "", "the time of the raw insert"),
    figure("commits", "", "transactions in which the endpoints became durable"),
    figure("operations_per_commit", "", "endpoints in each, on average; the raw insert commits as many at once"),
    figure("rss_mb", "", "resident memory of the broker's process at the end (VmRSS)"),
    figure("endpoints", "", "endpoints that were published, all of them new"),
    figure("clusters", "", "clusters that published at once, each over a gRPC connection of its own"),
    figure("seed", "", "the seed of the fleet"),
];

/// The figures of `bench scale`.
pub const SCALE_FIGURES: &[Figure] = &[
    figure("bench", "", "scale"),
    figure(
        "rss_mb",
        "at most 600",
        "resident memory of the broker's process with all sessions open and nothing left to do (VmRSS)",
    ),
    figure("peak_rss_mb", "", "the most that it ever was before the restart (VmHWM)"),
    figure(
        "idle_cpu_percent",
        "at most 2",
        "processor time of the broker with nothing to do, at the default intervals, of one core",
    ),
    figure("cold_start_seconds", "at most 15", "from the start of the process over a full store until /readyz answers 200"),
    figure("cold_rss_mb", "", "resident memory then, before a cluster has connected"),
    figure("reconnect_seconds", "", "all clusters at once after that start, until the last has its Welcome and all statuses"),
    figure(
        "reconnect_bytes_per_cluster",
        "at most 32768",
        "bytes of a cluster's connection for that, both directions, on average",
    ),
    figure("reconnect_bytes_max", "", "the same for the cluster with the most"),
    figure(
        "change_cost_ratio",
        "at most 1.1",
        "change_cpu_us over that of small_endpoints endpoints in as many clusters, zones and accounts",
    ),
    figure("change_cpu_us", "", "processor time of the broker for one changed address, from its message to its being in sync"),
    figure("small_change_cpu_us", "", "the same with small_endpoints endpoints"),
    figure("fill_seconds", "", "from the first message sent until the last endpoint was in sync at the emulator"),
    figure("durable_seconds", "", "of that, until all endpoints were durable"),
    figure("fill_cpu_seconds", "", "processor time of the broker for the fill"),
    figure("bytes_per_endpoint", "", "rss_mb over the endpoints, in bytes"),
    figure("idle_seconds", "", "how long the idle broker was watched"),
    figure("changes", "", "single changes of each fleet"),
    figure("endpoints", "", "endpoints of the fleet"),
    figure("record_sets", "", "record sets that they became"),
    figure("clusters", "", "clusters, each with a session and a status stream"),
    figure("zones", "", "hosted zones"),
    figure("accounts", "", "AWS accounts"),
    figure("small_endpoints", "", "endpoints of the small fleet"),
    figure("seed", "", "the seed of the fleet"),
];

/// The figures of `bench store`.
pub const STORE_FIGURES: &[Figure] = &[
    figure("bench", "", "store"),
    figure("store", "", "the database"),
    figure("database_mb", "", "MiB of the fleet's database: every endpoint stored, applied and journalled"),
    figure("bytes_per_endpoint", "", "the same for each endpoint, in bytes"),
    figure("tables_mb", "", "the same by table, its indexes included"),
    figure("churned_mb", "", "MiB after a day's churn"),
    figure("churned_tables_mb", "", "the same by table"),
    figure("vacuumed_mb", "", "MiB after a vacuum then"),
    figure("pruned_entries", "", "journal entries that were cut: all that ended before that day"),
    figure("pruned_mb", "", "MiB after that and another vacuum"),
    figure("churned_endpoints", "", "endpoints that the day touched: six tenths changed, two added, two removed"),
    figure("fill_seconds", "", "how long the fleet took to be stored"),
    figure("churn_seconds", "", "how long the day took"),
    figure("vacuum_seconds", "", "how long the first vacuum took"),
    figure("prune_seconds", "", "how long cutting the journal took"),
    figure("endpoints", "", "endpoints of the fleet"),
    figure("clusters", "", "clusters of the fleet"),
    figure("zones", "", "hosted zones"),
    figure("accounts", "", "AWS accounts"),
    figure("seed", "", "the seed of the fleet"),
];

fn explained(examples: &str, figures: &[Figure]) -> String {
    let width = figures.iter().map(|figure| figure.key.len()).max().unwrap_or(0);
    let mut text = format!("Example:\n{examples}\nFigures:\n");
    for Figure { key, goal, meaning } in figures {
        let goal = if goal.is_empty() { String::new() } else { format!(" [goal: {goal}]") };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {key:width$}  {meaning}{goal}");
    }
    text
}

/// Arguments of `zonefold bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub bench: Bench,
}

/// The benchmarks.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// How fast a backlog of many clusters goes out, against what the account's buckets allow
    #[command(after_help = explained(
        "  zonefold bench drain --operation create --profile 2026\n  zonefold bench drain --operation update --profile legacy --output json\n",
        DRAIN_FIGURES
    ))]
    Drain(DrainArgs),
    /// How long a single change takes from its publication until Route 53 has accepted it
    #[command(after_help = explained("  zonefold bench latency\n  zonefold bench latency --flood 10000 --output json\n", LATENCY_FIGURES))]
    Latency(LatencyArgs),
    /// What a broker with nothing to do calls
    #[command(after_help = explained(
        "  zonefold bench idle --clusters 100\n  zonefold bench idle --accelerate 1 --seconds 1320    # the intervals as they are\n",
        IDLE_FIGURES
    ))]
    Idle(IdleArgs),
    /// How fast the endpoints of many clusters become durable, against a raw bulk insert of the same rows
    #[command(after_help = explained(
        "  zonefold bench ingest --store sqlite\n  zonefold bench ingest --store postgres --endpoints 1000000 --output json\n",
        INGEST_FIGURES
    ))]
    Ingest(IngestArgs),
    /// What a large fleet costs one broker: memory, start, reconnects, idling, and one change
    #[command(after_help = explained(
        "  zonefold bench scale\n  zonefold bench scale --clusters 100 --endpoints 100000 --zones 100 --accounts 10 --output json\n",
        SCALE_FIGURES
    ))]
    Scale(ScaleArgs),
    /// How large the database of a fleet is, at first and after a day's churn
    #[command(after_help = explained(
        "  zonefold bench store --store sqlite\n  zonefold bench store --store postgres --endpoints 200000 --output json\n",
        STORE_FIGURES
    ))]
    Store(StoreBenchArgs),
}

/// The form of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchOutput {
    /// A table for people.
    Table,
    /// One JSON object.
    Json,
}

/// Whether the emulator checks signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BenchSignature {
    /// Every request is signed again and compared, which costs the machine that also runs the broker.
    Verify,
    /// The access key alone says who calls.
    Trust,
}

/// The buckets of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
pub enum BenchProfile {
    /// 50 requests and 10 a second, 1,500 changes and 100 a second.
    #[value(name = "2026")]
    #[serde(rename = "2026")]
    Since2026,
    /// 5 requests a second.
    #[value(name = "legacy")]
    #[serde(rename = "legacy")]
    Legacy,
}

/// What is done to the record sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainOperation {
    /// New names.
    Create,
    /// Other targets of names that are there.
    Update,
}

/// When the endpoints come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// All are durable while the account's role cannot be assumed; then the role is put right.
    Queued,
    /// They stream in while the first are already sent.
    Streaming,
}

/// The kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// A file in the folder of the benchmark.
    Sqlite,
    /// A server: the one that is named, or one of Debian's that is started for the benchmark alone.
    Postgres,
}

/// How endpoints are spread over zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoneSpread {
    /// Each zone has as many.
    Even,
    /// Some zones are hot and some are cold.
    Skewed,
}

/// What all benchmarks take.
#[derive(Debug, Args)]
pub struct CommonBenchArgs {
    /// The form of the figures
    #[arg(long, env = "ZONEFOLD_OUTPUT", value_enum, default_value = "table")]
    pub output: BenchOutput,
    /// The seed of names, addresses, ids and jitter
    #[arg(long, env = "ZONEFOLD_BENCH_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Whether the emulator checks signatures
    #[arg(long, env = "ZONEFOLD_BENCH_SIGNATURE", value_enum, default_value = "verify")]
    pub signature: BenchSignature,
    /// Where to make the folder of the SQLite file, which is removed at the end; by default the system's temporary folder
    #[arg(long, env = "ZONEFOLD_BENCH_FOLDER", value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Directives of the log, such as info or error,zonefold::broker=debug
    #[arg(long, env = "ZONEFOLD_LOG_FILTER", default_value = "error")]
    pub log_filter: String,
}

/// Arguments of `zonefold bench drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// What is done to the record sets
    #[arg(long, env = "ZONEFOLD_BENCH_OPERATION", value_enum, default_value = "create")]
    pub operation: DrainOperation,
    /// The buckets of the account
    #[arg(long, env = "ZONEFOLD_BENCH_PROFILE", value_enum, default_value = "2026")]
    pub profile: BenchProfile,
    /// When the endpoints come
    #[arg(long, env = "ZONEFOLD_BENCH_ARRIVAL", value_enum, default_value = "queued")]
    pub arrival: Arrival,
    /// How many AWS accounts are drained at once
    #[arg(long, env = "ZONEFOLD_BENCH_ACCOUNTS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub accounts: u32,
    /// How many endpoints for each account; by default 10,000 to create or 5,000 to update
    #[arg(long, env = "ZONEFOLD_BENCH_ENDPOINTS", value_parser = clap::value_parser!(u32).range(1..=90_000))]
    pub endpoints: Option<u32>,
    /// How many clusters publish them
    #[arg(long, env = "ZONEFOLD_BENCH_CLUSTERS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub clusters: u32,
    /// How many hosted zones of each account they go to
    #[arg(long, env = "ZONEFOLD_BENCH_ZONES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub zones: u32,
    /// How they are spread over an account's zones
    #[arg(long, env = "ZONEFOLD_BENCH_SPREAD", value_enum, default_value = "even")]
    pub spread: ZoneSpread,
    /// The part of the buckets that is left to others
    #[arg(long, env = "ZONEFOLD_BENCH_RESERVE_PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=80))]
    pub reserve_percent: u8,
    /// What all benchmarks take.
    #[command(flatten)]
    pub common: CommonBenchArgs,
}

/// Arguments of `zonefold bench latency`.
#[derive(Debug, Args)]
pub struct LatencyArgs {
    /// Single changes on the idle broker, one about every 300 ms in another zone each, so that neither a zone's pause after a
    /// call nor the buckets are measured
    #[arg(long, env = "ZONEFOLD_BENCH_SAMPLES", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub samples: u32,
    /// Changes of the quiet cluster under the flood, one about every 400 ms from the flood's first moment on
    #[arg(long, env = "ZONEFOLD_BENCH_FLOOD_SAMPLES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub flood_samples: u32,
    /// Endpoints that the noisy cluster publishes at once
    #[arg(long, env = "ZONEFOLD_BENCH_FLOOD", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub flood: u32,
    /// How many clusters hold a session: a quiet one, a noisy one, and others that say nothing
    #[arg(long, env = "ZONEFOLD_BENCH_CLUSTERS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub clusters: u32,
    /// How many hosted zones
    #[arg(long, env = "ZONEFOLD_BENCH_ZONES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub zones: u32,
    /// The buckets of the account
    #[arg(long, env = "ZONEFOLD_BENCH_PROFILE", value_enum, default_value = "2026")]
    pub profile: BenchProfile,
    /// The part of the buckets that is left to others
    #[arg(long, env = "ZONEFOLD_BENCH_RESERVE_PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=80))]
    pub reserve_percent: u8,
    /// What all benchmarks take.
    #[command(flatten)]
    pub common: CommonBenchArgs,
}

/// Arguments of `zonefold bench idle`.
#[derive(Debug, Args)]
pub struct IdleArgs {
    /// How many clusters hold a session
    #[arg(long, env = "ZONEFOLD_BENCH_CLUSTERS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub clusters: u32,
    /// How many hosted zones
    #[arg(long, env = "ZONEFOLD_BENCH_ZONES", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub zones: u32,
    /// Record sets of ours in each zone
    #[arg(long, env = "ZONEFOLD_BENCH_SETS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=9_000))]
    pub sets: u32,
    /// How long to measure
    #[arg(long, env = "ZONEFOLD_BENCH_SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// Divide the default intervals of the sweep (600 s) and of discovery (300 s) by this, so that a short time sees whole
    /// rounds of both
    #[arg(long, env = "ZONEFOLD_BENCH_ACCELERATE", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub accelerate: u32,
    /// What all benchmarks take.
    #[command(flatten)]
    pub common: CommonBenchArgs,
}

/// Which database.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// The kind of database
    #[arg(long, env = "ZONEFOLD_BENCH_STORE", value_enum, default_value = "sqlite")]
    pub store: StoreKind,
    /// A PostgreSQL server whose user may make databases; without it one is started for the benchmark alone
    #[arg(long, env = "ZONEFOLD_BENCH_POSTGRES_URL", hide_env_values = true, value_name = "URL")]
    pub postgres_url: Option<String>,
}

/// Arguments of `zonefold bench ingest`.
#[derive(Debug, Args)]
pub struct IngestArgs {
    /// The database.
    #[command(flatten)]
    pub store: StoreArgs,
    /// How many endpoints are published
    #[arg(long, env = "ZONEFOLD_BENCH_ENDPOINTS", default_value_t = 300_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub endpoints: u32,
    /// How many clusters publish them, all at once
    #[arg(long, env = "ZONEFOLD_BENCH_CLUSTERS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub clusters: u32,
    /// What all benchmarks take.
    #[command(flatten)]
    pub common: CommonBenchArgs,
}

/// Arguments of `zonefold bench scale`.
#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// How many clusters hold a session
    #[arg(long, env = "ZONEFOLD_BENCH_CLUSTERS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub clusters: u32,
    /// How many endpoints they have together
    #[arg(long, env = "ZONEFOLD_BENCH_ENDPOINTS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub endpoints: u32,
    /// How many hosted zones there are
    #[arg(long, env = "ZONEFOLD_BENCH_ZONES", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub zones: u32,
    /// How many AWS accounts hold them
    #[arg(long, env = "ZONEFOLD_BENCH_ACCOUNTS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub accounts: u32,
    /// How many endpoints the small fleet has, whose changes are the measure of the large one's
    #[arg(long, env = "ZONEFOLD_BENCH_SMALL_ENDPOINTS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub small_endpoints: u32,
    /// How many single changes are made in each fleet
    #[arg(long, env = "ZONEFOLD_BENCH_CHANGES", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub changes: u32,
    /// How long the idle broker is watched, in seconds
    #[arg(long, env = "ZONEFOLD_BENCH_IDLE_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub idle_seconds: u32,
    /// What all benchmarks take.
    #[command(flatten)]
    pub common: CommonBenchArgs,
}

/// Arguments of `zonefold bench store`.
#[derive(Debug, Args)]
pub struct StoreBenchArgs {
    /// The database.
    #[command(flatten)]
    pub store: StoreArgs,
    /// How many endpoints are stored
    #[arg(long, env = "ZONEFOLD_BENCH_ENDPOINTS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub endpoints: u32,
    /// How many clusters have them
    #[arg(long, env = "ZONEFOLD_BENCH_CLUSTERS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub clusters: u32,
    /// How many hosted zones there are
    #[arg(long, env = "ZONEFOLD_BENCH_ZONES", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub zones: u32,
    /// How many AWS accounts hold them
    #[arg(long, env = "ZONEFOLD_BENCH_ACCOUNTS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub accounts: u32,
    /// Which part of the endpoints a day touches, in per cent
    #[arg(long, env = "ZONEFOLD_BENCH_CHURN_PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub churn_percent: u8,
    /// What all benchmarks take.
    #[command(flatten)]
    pub common: CommonBenchArgs,
}
