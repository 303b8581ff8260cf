//! The arguments of `zonefold-bench`.

mod figures;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

pub use figures::{
    AGENT_FIGURES, BOUNDS_FIGURES, DRAIN_FIGURES, FAILOVER_FIGURES, Figure, IDLE_FIGURES,
    INGEST_FIGURES, LATENCY_FIGURES, SCALE_FIGURES, STORE_FIGURES,
};

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

/// Measure this machine: emulated AWS accounts, a broker and clusters in one process, over real sockets
#[derive(Debug, Parser)]
#[command(
    name = "zonefold-bench",
    version,
    max_term_width = 110,
    after_help = "Example:\n  zonefold-bench drain --operation create --profile 2026 --output json"
)]
pub struct BenchCli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// A benchmark, or the part that is measured.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The benchmark.
    #[command(flatten)]
    Bench(Bench),
    /// Run as `zonefold`: how a benchmark starts the process that it measures
    #[command(hide = true)]
    Zonefold(zonefold::cli::Cli),
}

/// The benchmarks.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// How fast a backlog of many clusters goes out, against what the account's buckets allow
    #[command(after_help = explained(
        "  zonefold-bench drain --operation create --profile 2026\n  zonefold-bench drain --operation update --profile legacy --output json\n",
        DRAIN_FIGURES
    ))]
    Drain(DrainArgs),
    /// How long a single change takes from its publication until Route 53 has accepted it
    #[command(after_help = explained("  zonefold-bench latency\n  zonefold-bench latency --flood 10000 --output json\n", LATENCY_FIGURES))]
    Latency(LatencyArgs),
    /// The calls of a broker with nothing to do
    #[command(after_help = explained(
        "  zonefold-bench idle --clusters 100\n  zonefold-bench idle --accelerate 1 --seconds 1320    # the intervals as they are\n",
        IDLE_FIGURES
    ))]
    Idle(IdleArgs),
    /// How fast the endpoints of many clusters become durable, against a raw bulk insert of the same rows
    #[command(after_help = explained(
        "  zonefold-bench ingest --store sqlite\n  zonefold-bench ingest --store postgres --endpoints 1000000 --output json\n",
        INGEST_FIGURES
    ))]
    Ingest(IngestArgs),
    /// The cost of a large fleet for one broker: memory, start, reconnects, idling, and one change
    #[command(after_help = explained(
        "  zonefold-bench scale\n  zonefold-bench scale --clusters 100 --endpoints 100000 --zones 100 --accounts 10 --output json\n",
        SCALE_FIGURES
    ))]
    Scale(ScaleArgs),
    /// How large the database of a fleet is, at first and after a day's churn
    #[command(after_help = explained(
        "  zonefold-bench store --store sqlite\n  zonefold-bench store --store postgres --endpoints 200000 --output json\n",
        STORE_FIGURES
    ))]
    Store(StoreBenchArgs),
    /// How long an account waits when the replica that manages it is killed, and what the replicas spend together meanwhile
    #[command(after_help = explained(
        "  zonefold-bench failover\n  zonefold-bench failover --rounds 100 --profile legacy --output json\n",
        FAILOVER_FIGURES
    ))]
    Failover(FailoverArgs),
    /// The cost to others of an account that hangs, agents that read nothing, and agents that all come back at once
    #[command(after_help = explained("  zonefold-bench bounds\n  zonefold-bench bounds --clusters 200 --output json\n", BOUNDS_FIGURES))]
    Bounds(BoundsArgs),
    /// The cost of an agent on a real Kubernetes API server, and how soon it reports changes there
    #[command(after_help = explained(
        "  zonefold-bench agent --kubeconfig kubeconfig\n  zonefold-bench agent --kubeconfig kubeconfig --context test --objects 1000 --output json\n",
        AGENT_FIGURES
    ))]
    Agent(AgentBenchArgs),
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

/// The change to the record sets.
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

/// The options of all benchmarks.
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

/// Arguments of `zonefold-bench drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// The change to the record sets
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
    /// The options of all benchmarks.
    #[command(flatten)]
    pub common: CommonBenchArgs,
}

/// Arguments of `zonefold-bench latency`.
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
    /// The options of all benchmarks.
    #[command(flatten)]
    pub common: CommonBenchArgs,
}

/// Arguments of `zonefold-bench idle`.
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
    /// The options of all benchmarks.
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

/// Arguments of `zonefold-bench ingest`.
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
    /// The options of all benchmarks.
    #[command(flatten)]
    pub common: CommonBenchArgs,
}

/// Arguments of `zonefold-bench scale`.
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
    /// The options of all benchmarks.
    #[command(flatten)]
    pub common: CommonBenchArgs,
}

/// Arguments of `zonefold-bench store`.
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
    /// The options of all benchmarks.
    #[command(flatten)]
    pub common: CommonBenchArgs,
}

/// Arguments of `zonefold-bench failover`.
#[derive(Debug, Args)]
pub struct FailoverArgs {
    /// How often the replica that manages an account is killed
    #[arg(long, env = "ZONEFOLD_BENCH_ROUNDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
    /// How many replicas share the database
    #[arg(long, env = "ZONEFOLD_BENCH_REPLICAS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=20))]
    pub replicas: u32,
    /// How many AWS accounts they share
    #[arg(long, env = "ZONEFOLD_BENCH_ACCOUNTS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub accounts: u32,
    /// How many hosted zones each account has
    #[arg(long, env = "ZONEFOLD_BENCH_ZONES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub zones: u32,
    /// Changes of each account that are published in a second, one zone after the other
    #[arg(long, env = "ZONEFOLD_BENCH_CHANGES_PER_SECOND", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub changes_per_second: u32,
    /// The buckets of the accounts
    #[arg(long, env = "ZONEFOLD_BENCH_PROFILE", value_enum, default_value = "2026")]
    pub profile: BenchProfile,
    /// The part of the buckets that is left to others
    #[arg(long, env = "ZONEFOLD_BENCH_RESERVE_PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=80))]
    pub reserve_percent: u8,
    /// A PostgreSQL server whose user may make databases; without it one is started for the benchmark alone
    #[arg(long, env = "ZONEFOLD_BENCH_POSTGRES_URL", hide_env_values = true, value_name = "URL")]
    pub postgres_url: Option<String>,
    /// The options of all benchmarks.
    #[command(flatten)]
    pub common: CommonBenchArgs,
}

/// Arguments of `zonefold-bench bounds`.
#[derive(Debug, Args)]
pub struct BoundsArgs {
    /// How many clusters hold a session
    #[arg(long, env = "ZONEFOLD_BENCH_CLUSTERS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(20..=1_000))]
    pub clusters: u32,
    /// How many endpoints they have together
    #[arg(long, env = "ZONEFOLD_BENCH_ENDPOINTS", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub endpoints: u32,
    /// How many hosted zones there are
    #[arg(long, env = "ZONEFOLD_BENCH_ZONES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub zones: u32,
    /// How many AWS accounts hold them; one of them hangs
    #[arg(long, env = "ZONEFOLD_BENCH_ACCOUNTS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub accounts: u32,
    /// How many agents read none of the answers
    #[arg(long, env = "ZONEFOLD_BENCH_DEAF", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub deaf: u32,
    /// Changes of the innocent cluster in each part, one after the other
    #[arg(long, env = "ZONEFOLD_BENCH_SAMPLES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub samples: u32,
    /// The options of all benchmarks.
    #[command(flatten)]
    pub common: CommonBenchArgs,
}

/// Arguments of `zonefold-bench agent`.
#[derive(Debug, Args)]
pub struct AgentBenchArgs {
    /// The kubeconfig of a cluster for tests, whose user may make namespaces: objects are made in one of its own, and deleted at
    /// the end
    #[arg(long, env = "ZONEFOLD_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// The context in the kubeconfig; without it the current one
    #[arg(long, env = "ZONEFOLD_KUBE_CONTEXT", value_name = "CONTEXT")]
    pub context: Option<String>,
    /// How many objects are made: services and ingresses in turn. Each service takes an address of the cluster's range
    #[arg(long, env = "ZONEFOLD_BENCH_OBJECTS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub objects: u32,
    /// How many of them are changed, one after the other
    #[arg(long, env = "ZONEFOLD_BENCH_SAMPLES", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub samples: u32,
    /// The agent writes nothing on the objects
    #[arg(long, env = "ZONEFOLD_NO_OBJECT_STATUS")]
    pub no_object_status: bool,
    /// The options of all benchmarks.
    #[command(flatten)]
    pub common: CommonBenchArgs,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory as _;

    use super::*;

    fn page(path: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn parse(command: &str) {
        let parsed = BenchCli::try_parse_from(command.split_whitespace());
        drop(parsed.unwrap_or_else(|error| panic!("{command}: {error}")));
    }

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        BenchCli::command().debug_assert();
    }

    /// The measured process is this program in a role of `zonefold`, with that command's own options.
    #[test]
    fn the_roles_of_zonefold_can_be_run_and_are_not_shown() {
        parse("zonefold-bench zonefold broker --config broker.yaml");
        parse("zonefold-bench zonefold agent --cluster bench --kubernetes");
        let help = BenchCli::command().render_long_help().to_string();
        assert!(!help.contains("Run as `zonefold`"), "{help}");
    }

    /// The page of figures: each of its commands is a benchmark, and each figure in the row is one of that command's.
    #[test]
    fn every_benchmark_in_the_documents_is_one_with_these_figures() {
        let page = page("docs/performance.md");
        let rows: Vec<Vec<&str>> = page
            .lines()
            .filter(|line| line.starts_with("| `zonefold-bench "))
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        assert!(rows.len() > 20, "the tables were not found");
        for row in rows {
            let command = row[1].trim_matches('`');
            parse(command);
            let figures = match command.split(' ').nth(1).unwrap() {
                "drain" => DRAIN_FIGURES,
                "latency" => LATENCY_FIGURES,
                "idle" => IDLE_FIGURES,
                "ingest" => INGEST_FIGURES,
                "scale" => SCALE_FIGURES,
                "store" => STORE_FIGURES,
                "failover" => FAILOVER_FIGURES,
                "bounds" => BOUNDS_FIGURES,
                "agent" => AGENT_FIGURES,
                other => panic!("nobody knows the figures of {other}"),
            };
            for key in row[2].split('`').skip(1).step_by(2) {
                let known = figures.iter().any(|figure| figure.key == key);
                assert!(known, "{command} prints no {key}");
            }
        }
    }

    #[test]
    fn every_command_of_the_documents_and_of_make_is_one() {
        let mut commands = vec![];
        for path in ["docs/performance.md", "docs/reliability.md"] {
            let page = page(path);
            let lines = page.lines().filter(|line| line.starts_with("zonefold-bench "));
            commands.extend(lines.map(|line| line.split(" #").next().unwrap_or(line).to_owned()));
        }
        assert!(commands.len() >= 4, "{commands:?}");
        commands.iter().for_each(|command| parse(command));
        for rest in page("Makefile").split("$(BENCH) ").skip(1) {
            let line = rest.split(['|', '\n']).next().unwrap_or_default();
            // A variable of the shell's loops takes the place of a value.
            let line = line
                .replace("$$store", "sqlite")
                .replace("$$operation", "create")
                .replace("$$profile", "legacy")
                .replace("$$accounts", "10");
            parse(&format!("zonefold-bench {line}"));
        }
    }
}
