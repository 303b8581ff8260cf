//! Children: one process a seed, several at a time.

use std::collections::VecDeque;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::Context as _;

use super::summary::{Failure, Report};

/// A run that takes longer than this in real time hangs.
const LONGEST_RUN_SECS: u32 = 300;
/// The length of a dead child's last output that is shown.
const LAST_WORDS: usize = 2_000;

/// The run that a child carries out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The seed.
    pub seed: u64,
    /// The steps to keep; `None` keeps all.
    pub keep: Option<String>,
}

impl Order {
    /// The whole schedule of a seed.
    pub fn of(seed: u64) -> Self {
        Self { seed, keep: None }
    }
}

/// Real seconds since the machine started. The clocks of this program stand still, so that runs are the same each time.
pub fn uptime_secs() -> f64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split_whitespace().next().and_then(|secs| secs.parse().ok()).unwrap_or_default()
}

/// The command of a child; `timeout` ends one that hangs.
pub fn command(order: &Order, more: &[&str]) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("this program does not know its own path")?;
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", &LONGEST_RUN_SECS.to_string()]).arg(program);
    command.args(["one", "--seed", &order.seed.to_string()]).args(more);
    if let Some(keep) = &order.keep {
        command.args(["--keep", keep]);
    }
    Ok(command)
}

/// Runs one child to its end.
pub fn run_one(order: &Order) -> anyhow::Result<Report> {
    let mut command = command(order, &[])?;
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child =
        child.as_mut().map_err(|error| anyhow::anyhow!("a child cannot be started: {error}"))?;
    let (said, complained) = (said(child)?, complaint(child)?);
    let status = child.wait()?;
    let line = said.lines().rev().find(|line| line.starts_with('{'));
    if let Some(report) =
        line.and_then(|line| serde_json::from_str(line).ok()).filter(|_| status.success())
    {
        return Ok(report);
    }
    // 137: killed by `timeout`.
    let broken =
        if status.code() == Some(137) || status.code().is_none() { "hang" } else { "panic" };
    let what = format!("the run ended with {status}: {complained}");
    Ok(Report {
        seed: order.seed,
        failures: vec![Failure { broken: broken.to_owned(), what }],
        ..Report::default()
    })
}

fn said(child: &mut Child) -> anyhow::Result<String> {
    let mut said = String::new();
    child.stdout.take().context("a child has no output")?.read_to_string(&mut said)?;
    Ok(said)
}

/// The end of what a child complained of, with what a panic says first.
fn complaint(child: &mut Child) -> anyhow::Result<String> {
    let mut bytes = vec![];
    child.stderr.take().context("a child has no errors")?.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let from = text.find("panicked at").unwrap_or_else(|| text.len().saturating_sub(LAST_WORDS));
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    Ok(text[from..].chars().take(LAST_WORDS).collect())
}

/// Runs all orders, `jobs` at a time, and hands each report over as it comes. `goes_on` is asked before each child is started.
pub fn run_all(
    orders: impl Iterator<Item = Order> + Send,
    jobs: usize,
    goes_on: impl Fn() -> bool + Sync,
    mut take: impl FnMut(Order, Report),
) -> anyhow::Result<()> {
    let orders = Mutex::new(orders);
    let (reports, reported) = mpsc::channel::<anyhow::Result<(Order, Report)>>();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (orders, reports, goes_on) = (&orders, reports.clone(), &goes_on);
            scope.spawn(move || {
                while goes_on() {
                    let next = orders.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(order) = next else { return };
                    let report = run_one(&order).map(|report| (order, report));
                    if reports.send(report).is_err() {
                        return;
                    }
                }
            });
        }
        drop(reports);
        for report in reported {
            let (order, report) = report?;
            take(order, report);
        }
        Ok(())
    })
}

/// Runs a few orders and answers their reports in the order of the orders.
pub fn run_these(orders: Vec<Order>, jobs: usize) -> anyhow::Result<Vec<(Order, Report)>> {
    let mut done: VecDeque<(Order, Report)> = VecDeque::new();
    run_all(
        orders.clone().into_iter(),
        jobs,
        || true,
        |order, report| done.push_back((order, report)),
    )?;
    let place = |order: &Order| orders.iter().position(|other| other == order);
    let mut done: Vec<_> = done.into();
    done.sort_by_key(|(order, _)| place(order));
    Ok(done)
}
