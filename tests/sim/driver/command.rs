//! The commands.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, anyhow};
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::super::extra::{self, Kind};
use super::super::schedule::Schedule;
use super::pool::{self, Order, uptime_secs};
use super::summary::{Report, Summary};
use super::{regressions as list, shrink};

/// Between two lines of progress, in real seconds.
const PROGRESS_SECS: f64 = 10.0;

/// Simulates the whole federation under faults, and judges each run.
#[derive(Debug, Parser)]
#[command(name = "sim")]
pub struct Options {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run seeds one after the other, and shorten the first that fails
    Run(RunOptions),
    /// Run one seed again and tell its story
    Replay(ReplayOptions),
    /// Run every seed of the list of those that failed once
    Regressions(RegressionOptions),
    /// Run one seed in this process (the others start this one)
    One(OneOptions),
}

/// Many seeds.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// How many seeds; without it as many as the minutes allow, or for ever
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Processes at a time
    #[arg(long, default_value_t = processors())]
    jobs: usize,
    /// Start no more runs after this number of real minutes
    #[arg(long)]
    minutes: Option<f64>,
    /// Go on until this number of seeds have failed
    #[arg(long, default_value_t = 1)]
    most_failures: usize,
    /// Heed this invariant alone, by its name in `core::invariants`; may be given more than once
    #[arg(long)]
    only: Vec<String>,
    /// Only seeds with this kind of event; may be given more than once
    #[arg(long, value_enum)]
    with: Vec<Kind>,
    /// Tell of failures without shortening their schedules
    #[arg(long)]
    no_shrink: bool,
    /// A file to append the seeds that failed to
    #[arg(long)]
    failures: Option<PathBuf>,
    /// The form of the summary; with JSON nothing else is printed, no story of a failure either
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// One seed again.
#[derive(Debug, Args)]
pub struct ReplayOptions {
    /// The seed
    seed: u64,
    /// Only these steps of its schedule, such as 0,3,5-9
    #[arg(long)]
    keep: Option<String>,
    /// Tell of everything, not only of what the violation concerns
    #[arg(long)]
    everything: bool,
    /// Shorten the schedule first
    #[arg(long)]
    shrink: bool,
}

/// The list.
#[derive(Debug, Args)]
pub struct RegressionOptions {
    /// The list
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sim/regressions.txt"))]
    list: PathBuf,
    /// Processes at a time
    #[arg(long, default_value_t = processors())]
    jobs: usize,
}

/// A child.
#[derive(Debug, Args)]
pub struct OneOptions {
    /// The seed
    #[arg(long)]
    pub seed: u64,
    /// Only these steps of its schedule, such as 0,3,5-9
    #[arg(long)]
    pub keep: Option<String>,
    /// The form of the output
    #[arg(long, value_enum, default_value_t = Telling::Json)]
    pub tell: Telling,
    /// The invariant whose breaking the story is about
    #[arg(long)]
    pub broken: Option<String>,
}

/// The output of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Telling {
    /// One line of JSON.
    Json,
    /// The violations, and a timeline of what they concern.
    Story,
    /// The violations, and a timeline of everything.
    Everything,
}

/// How a summary is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs seeds until there are no more, the time is over, or enough have failed.
pub fn run(options: &RunOptions) -> anyhow::Result<ExitCode> {
    let started = uptime_secs();
    let last = options.seeds.map_or(u64::MAX, |seeds| options.from.saturating_add(seeds));
    let enough = AtomicBool::new(false);
    let goes_on = || {
        let is_over =
            options.minutes.is_some_and(|minutes| uptime_secs() - started >= minutes * 60.0);
        !is_over && !enough.load(Ordering::Relaxed)
    };
    let mut summary = Summary::default();
    let mut told_at = started;
    let mut failed: Vec<Report> = vec![];
    let is_meant = |seed: &u64| {
        let has = || extra::kinds(&Schedule::draw(*seed).steps);
        options.with.is_empty() || has().iter().any(|kind| options.with.contains(kind))
    };
    let seeds = (options.from..last).filter(is_meant);
    pool::run_all(seeds.map(Order::of), options.jobs, goes_on, |_, mut report| {
        report
            .failures
            .retain(|failure| options.only.is_empty() || options.only.contains(&failure.broken));
        if !report.failures.is_empty() {
            eprintln!("seed {} failed: {}", report.seed, report.failures[0].what);
            // At once: who ends a long run by hand wants to know what it found.
            if let Some(Err(error)) =
                options.failures.as_ref().map(|path| note_failure(path, &report))
            {
                eprintln!("{error:#}");
            }
            failed.push(report.clone());
            enough.store(failed.len() >= options.most_failures, Ordering::Relaxed);
        }
        summary.add(report);
        let now = uptime_secs();
        summary.after_secs(now - started);
        if now - told_at >= PROGRESS_SECS {
            told_at = now;
            eprintln!("{}", summary.line());
        }
    })?;
    let is_told = !options.no_shrink && options.output == Output::Text;
    if let Some(report) = failed.first().filter(|_| is_told) {
        shorten_and_tell(report, Order::of(report.seed))?;
    }
    match options.output {
        Output::Text => print!("{}", summary.text()),
        Output::Json => println!("{}", serde_json::to_string_pretty(&summary)?),
    }
    Ok(exit_code(failed.is_empty()))
}

fn exit_code(is_sound: bool) -> ExitCode {
    if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn note_failure(path: &Path, report: &Report) -> anyhow::Result<()> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let mut file = file.with_context(|| format!("{} cannot be written", path.display()))?;
    let why = report.failures.first().map_or("", |failure| failure.what.as_str());
    writeln!(file, "{} # {}", report.seed, why.replace('\n', " "))?;
    Ok(())
}

/// The most runs that shortening a schedule may take.
const SHRINK_RUNS: usize = 200;

/// Shortens the schedule of a run that failed, prints it and tells its story.
fn shorten_and_tell(report: &Report, order: Order) -> anyhow::Result<()> {
    let Some(broken) = report.failures.first().map(|failure| failure.broken.clone()) else {
        return Ok(());
    };
    eprintln!("seed {}: shortening its {} steps", report.seed, report.steps);
    let breaks = |kept: &[usize]| {
        let order = Order { keep: Some(shrink::to_text(kept)), ..order.clone() };
        let again = pool::run_one(&order);
        again.is_ok_and(|report| report.failures.iter().any(|failure| failure.broken == broken))
    };
    let (kept, runs) = shrink::shrink(report.steps, SHRINK_RUNS, breaks);
    let keep = shrink::to_text(&kept);
    println!(
        "seed {} breaks {broken} with {} of its {} steps ({runs} runs to find them)",
        report.seed,
        kept.len(),
        report.steps
    );
    println!("again with: make sim ARGS=\"replay {} --keep '{keep}'\"\n", report.seed);
    tell(&Order { keep: Some(keep), ..order }, Some(&broken), "story")
}

fn tell(order: &Order, broken: Option<&str>, telling: &str) -> anyhow::Result<()> {
    let mut more = vec!["--tell", telling];
    more.extend(broken.iter().flat_map(|broken| ["--broken", broken]));
    let status = pool::command(order, &more)?.status()?;
    // A child that panics tells of that itself.
    if !status.success() {
        println!("the run ended with {status}");
    }
    Ok(())
}

/// Runs one seed again and tells its story.
pub fn replay(options: &ReplayOptions) -> anyhow::Result<ExitCode> {
    let order = Order { seed: options.seed, keep: options.keep.clone() };
    let report = pool::run_one(&order)?;
    println!(
        "seed {}: {} events, {} virtual seconds, hash {}",
        report.seed,
        report.events,
        report.virtual_ms / 1_000,
        report.hash
    );
    let broken = report.failures.first().map(|failure| failure.broken.as_str());
    if options.shrink && broken.is_some() && options.keep.is_none() {
        shorten_and_tell(&report, order)?;
    } else {
        tell(&order, broken, if options.everything { "everything" } else { "story" })?;
    }
    Ok(exit_code(report.failures.is_empty()))
}

/// The seeds that are run twice: the same seed is the same run, to the last byte of what was seen.
const TWICE: std::ops::RangeInclusive<u64> = 1..=4;

/// How many of them were another run the second time.
fn differ(jobs: usize) -> anyhow::Result<usize> {
    let orders = TWICE.flat_map(|seed| [Order::of(seed), Order::of(seed)]).collect();
    let reports = pool::run_these(orders, jobs)?;
    let mut differ = 0;
    for pair in reports.chunks(2) {
        if let [(order, once), (_, again)] = pair
            && once.hash != again.hash
        {
            differ += 1;
            println!(
                "seed {} is not the same run each time: {} and {}",
                order.seed, once.hash, again.hash
            );
        }
    }
    Ok(differ)
}

/// Runs every seed of the list, and some twice.
pub fn regressions(options: &RegressionOptions) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(&options.list)
        .with_context(|| format!("{} cannot be read", options.list.display()))?;
    let entries =
        list::read(&text).map_err(|error| anyhow!("{}: {error}", options.list.display()))?;
    let orders =
        entries.iter().map(|entry| Order { seed: entry.seed, keep: entry.keep.clone() }).collect();
    let mut failed = 0;
    for ((_, report), entry) in pool::run_these(orders, options.jobs)?.iter().zip(&entries) {
        if let Some(failure) = report.failures.first() {
            failed += 1;
            println!("seed {} ({}) fails again: {}", entry.seed, entry.why, failure.what);
        }
    }
    let differ = differ(options.jobs)?;
    println!(
        "{} seeds of the list, {failed} failed; {} seeds run twice, {differ} differ",
        entries.len(),
        TWICE.count()
    );
    Ok(exit_code(failed + differ == 0))
}
