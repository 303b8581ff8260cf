//! `zonefold-bench`: what the whole costs and how long it takes, on real parts.
//!
//! Against AWS's limits (`drain`, `latency`, `idle`; [`stage`]) one process holds the emulator with its limits on, the broker on
//! a SQLite file and the clusters' end of the protocol. Times are those of the emulator's clock, to the millisecond; what Route
//! 53 accepted, and when, is what its journal says.
//!
//! The broker's own cost (`ingest`, `scale`, `bounds`; [`site`]) is measured on a process of its own that manages a
//! [`fleet`] at an emulator without limits. `failover` kills such processes, several on one database, with AWS's limits on. `store`
//! fills a database through the store's port alone.
//!
//! `agent` is the other half: a real Kubernetes API server, the agent as a process of its own, and a broker that only [listens](sink).
//!
//! Everything speaks over loopback sockets: gRPC from the clusters, the AWS SDK's signed HTTP to Route 53 and STS.

mod agent;
mod bounds;
mod child;
mod cli;
mod cluster;
mod connection;
mod deaf;
mod drain;
mod failover;
mod figures;
mod fleet;
mod folder;
mod idle;
mod ingest;
mod keeping;
mod latency;
mod objects;
mod postgres;
mod process;
mod raw;
mod scale;
mod single;
mod sink;
mod site;
mod stage;
mod stored;
mod usage;

use std::process::ExitCode;

use anyhow::bail;
use clap::Parser as _;
use tokio_util::sync::CancellationToken;
use zonefold::app::{run_to_end, signal};
use zonefold::config::{Log, LogFormat};
use zonefold::telemetry;

use crate::cli::{
    AGENT_FIGURES, BOUNDS_FIGURES, Bench, BenchCli, Command, CommonBenchArgs, DRAIN_FIGURES,
    FAILOVER_FIGURES, IDLE_FIGURES, INGEST_FIGURES, LATENCY_FIGURES, SCALE_FIGURES, STORE_FIGURES,
};

/// The allocator of the binary `zonefold`, so that memory and time are measured with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Said when the user does not want to wait.
const STOPPED: &str = "stopped before there were figures";

fn main() -> ExitCode {
    match BenchCli::parse().command {
        Command::Bench(bench) => run_to_end("zonefold-bench", None, run(bench)),
        Command::Zonefold(cli) => zonefold::app::run(cli),
    }
}

/// Runs a benchmark. The figures go to standard output, progress to standard error.
///
/// # Errors
/// A part could not be started or died, or what was measured did not come to its end.
async fn run(bench: Bench) -> anyhow::Result<ExitCode> {
    start_log(common_of(&bench))?;
    let shutdown = signal::shutdown()?;
    // One of them tidies up in a cluster before it stops.
    let stops_by_itself = matches!(bench, Bench::Agent(_));
    let text = tokio::select! {
        text = measure(&bench, &shutdown) => text?,
        () = shutdown.cancelled(), if !stops_by_itself => bail!(STOPPED),
    };
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}

fn common_of(bench: &Bench) -> &CommonBenchArgs {
    match bench {
        Bench::Drain(args) => &args.common,
        Bench::Latency(args) => &args.common,
        Bench::Idle(args) => &args.common,
        Bench::Ingest(args) => &args.common,
        Bench::Scale(args) => &args.common,
        Bench::Store(args) => &args.common,
        Bench::Failover(args) => &args.common,
        Bench::Bounds(args) => &args.common,
        Bench::Agent(args) => &args.common,
    }
}

async fn measure(bench: &Bench, shutdown: &CancellationToken) -> anyhow::Result<String> {
    match bench {
        Bench::Drain(args) => {
            figures::text(&drain::measure(args).await?, DRAIN_FIGURES, args.common.output)
        }
        Bench::Latency(args) => {
            figures::text(&latency::measure(args).await?, LATENCY_FIGURES, args.common.output)
        }
        Bench::Idle(args) => {
            figures::text(&idle::measure(args).await?, IDLE_FIGURES, args.common.output)
        }
        Bench::Ingest(args) => {
            figures::text(&ingest::measure(args).await?, INGEST_FIGURES, args.common.output)
        }
        Bench::Scale(args) => {
            figures::text(&scale::measure(args).await?, SCALE_FIGURES, args.common.output)
        }
        Bench::Store(args) => {
            figures::text(&stored::measure(args).await?, STORE_FIGURES, args.common.output)
        }
        Bench::Failover(args) => {
            figures::text(&failover::measure(args).await?, FAILOVER_FIGURES, args.common.output)
        }
        Bench::Bounds(args) => {
            figures::text(&bounds::measure(args).await?, BOUNDS_FIGURES, args.common.output)
        }
        Bench::Agent(args) => {
            figures::text(&agent::measure(args, shutdown).await?, AGENT_FIGURES, args.common.output)
        }
    }
}

fn start_log(common: &CommonBenchArgs) -> anyhow::Result<()> {
    telemetry::init(&Log { format: LogFormat::Text, filter: common.log_filter.clone() })?;
    say(&format!("seed {}", common.seed));
    Ok(())
}

/// Tells the user how far it is.
fn say(text: &str) {
    eprintln!("bench: {text}");
}
