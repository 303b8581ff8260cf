//! `bench agent`: what an agent costs on a real API server, and how soon it says what changed there.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zonefold::agent::kube::Access;

use super::figures::{quantile, rounded};
use super::folder::Folder;
use super::objects::Objects;
use super::process::Process;
use super::sink::Sink;
use super::{STOPPED, say, usage};
use crate::cli::AgentBenchArgs;

/// The longest that reading everything may take.
const ALL_WITHIN: Duration = Duration::from_secs(300);
/// The longest that one change may take.
const ONE_WITHIN: Duration = Duration::from_secs(60);
/// The longest that tidying up may take.
const TIDY_WITHIN: Duration = Duration::from_secs(600);
/// How often it is looked whether the agent still runs.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The printed figures; each is explained in [`crate::cli::AGENT_FIGURES`].
#[derive(Debug, Default, Serialize)]
pub struct AgentFigures {
    bench: &'static str,
    rss_mb: f64,
    peak_rss_mb: f64,
    unjudged_rss_mb: f64,
    changed_rss_mb: f64,
    answered_p50_ms: Option<f64>,
    answered_p99_ms: Option<f64>,
    answered_max_ms: Option<f64>,
    sent_p50_ms: Option<f64>,
    sent_p99_ms: Option<f64>,
    sent_max_ms: Option<f64>,
    start_seconds: f64,
    samples: u32,
    objects: u32,
    endpoints: usize,
    object_bytes: u64,
    object_status: bool,
    seed: u64,
}

/// Runs the benchmark. However it ends, what it made in the cluster is deleted.
///
/// # Errors
/// There is no such cluster, it refuses, a part failed, or a stop was requested.
pub async fn measure(
    args: &AgentBenchArgs,
    shutdown: &CancellationToken,
) -> anyhow::Result<AgentFigures> {
    let access =
        Access { kubeconfig: Some(args.kubeconfig.clone()), context: args.context.clone() };
    let objects = Objects::new(access.connect().await?, args.objects);
    let measured = tokio::select! {
        measured = measure_with(args, &objects) => measured,
        () = shutdown.cancelled() => Err(anyhow::anyhow!(STOPPED)),
    };
    let tidied = tokio::time::timeout(TIDY_WITHIN, objects.delete()).await;
    if let Err(error) = tidied.context("it takes too long").flatten() {
        say(&format!("the namespace {} was not deleted: {error:#}", objects.namespace()));
    }
    measured
}

async fn measure_with(args: &AgentBenchArgs, objects: &Objects) -> anyhow::Result<AgentFigures> {
    let object_bytes = objects.make().await?;
    let folder = Folder::make(args.common.folder.as_deref())?;
    let (sink, (listener, address)) = (Sink::new(), Sink::bind().await?);
    let arguments = arguments(args, objects.namespace(), address);
    let mut run = Run { args, objects, sink: sink.clone(), began: Instant::now(), pid: 0 };
    let mut agent = Process::start("agent", arguments, &[], &folder.path().join("agent.log"))?;
    run.pid = agent.pid;
    let figures = AgentFigures {
        bench: "agent",
        samples: args.samples,
        objects: args.objects,
        endpoints: objects.endpoints(),
        object_bytes,
        object_status: !args.no_object_status,
        seed: args.common.seed,
        ..AgentFigures::default()
    };
    let figures = tokio::select! {
        figures = run.figures(figures) => figures.with_context(|| format!("the agent's last words:\n{}", agent.last_words()))?,
        ended = sink.serve(listener) => return Err(ended.err().context("the broker of the benchmark ended")?),
        ended = end_of(&mut agent) => return Err(ended),
    };
    agent.stop().await?;
    Ok(figures)
}

fn arguments(args: &AgentBenchArgs, namespace: &str, broker: SocketAddr) -> Vec<OsString> {
    let broker = format!("http://{broker}");
    let fixed = [
        "agent",
        "--kubernetes",
        "--cluster",
        "bench",
        "--source",
        "service,ingress",
        "--listen",
        "127.0.0.1:0",
    ];
    let chosen = [
        "--namespace",
        namespace,
        "--broker",
        &broker,
        "--log-filter",
        &args.common.log_filter,
        "--kubeconfig",
    ];
    let mut arguments: Vec<OsString> =
        fixed.into_iter().chain(chosen).map(OsString::from).collect();
    arguments.push(args.kubeconfig.clone().into_os_string());
    if let Some(context) = &args.context {
        arguments.extend(["--kube-context".into(), context.into()]);
    }
    arguments.extend(args.no_object_status.then(|| "--no-object-status".into()));
    arguments
}

/// Returns when the agent has ended, and why.
async fn end_of(agent: &mut Process) -> anyhow::Error {
    loop {
        if let Err(ended) = agent.still_runs() {
            return ended;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A running agent, and what it reads.
struct Run<'a> {
    args: &'a AgentBenchArgs,
    objects: &'a Objects,
    sink: Sink,
    began: Instant,
    pid: u32,
}

impl Run<'_> {
    async fn figures(&self, figures: AgentFigures) -> anyhow::Result<AgentFigures> {
        let all = tokio::time::timeout(ALL_WITHIN, self.sink.settled(figures.endpoints)).await;
        let came = || {
            format!(
                "{} of {} endpoints are what the agent says are all",
                self.sink.endpoints(),
                figures.endpoints
            )
        };
        all.with_context(came)??;
        let start_seconds = rounded(self.began.elapsed().as_secs_f64());
        say(&format!("{} endpoints arrived", figures.endpoints));
        let unjudged_rss_mb = rounded(usage::memory(self.pid)?.rss_mb);
        self.sink.tell();
        let told = tokio::time::timeout(ALL_WITHIN, self.sink.complete()).await;
        told.context("the agent does not take in what became of its endpoints")??;
        let rss_mb = rounded(usage::memory(self.pid)?.rss_mb);
        say(&format!("{} changes, one after the other", self.args.samples));
        let took = self.changes().await?;
        let end = usage::memory(self.pid)?;
        Ok(AgentFigures {
            rss_mb,
            // The system counts it in another way, and not always up to the last page.
            peak_rss_mb: rounded(
                [end.peak_mb, rss_mb, unjudged_rss_mb].into_iter().fold(end.rss_mb, f64::max),
            ),
            unjudged_rss_mb,
            changed_rss_mb: rounded(end.rss_mb),
            answered_p50_ms: ms(&took.since_answer, 0.5),
            answered_p99_ms: ms(&took.since_answer, 0.99),
            answered_max_ms: ms(&took.since_answer, 1.0),
            sent_p50_ms: ms(&took.since_sending, 0.5),
            sent_p99_ms: ms(&took.since_sending, 0.99),
            sent_max_ms: ms(&took.since_sending, 1.0),
            start_seconds,
            ..figures
        })
    }

    async fn changes(&self) -> anyhow::Result<Took> {
        let mut random = fastrand::Rng::with_seed(self.args.common.seed);
        let mut took = Took::default();
        for round in 1..=self.args.samples {
            let change = self.objects.change(random.u32(..self.args.objects), round);
            let sent = Instant::now();
            self.objects
                .patch(&change)
                .await
                .with_context(|| format!("{} cannot be changed", change.name))?;
            let answered = Instant::now();
            let arrival = self
                .sink
                .until(|heard| heard.arrival(&change.name, |endpoint| change.is_in(endpoint)));
            let arrived = tokio::time::timeout(ONE_WITHIN, arrival).await;
            let arrived = arrived
                .with_context(|| format!("the change of {} did not arrive", change.name))??;
            took.since_answer.push(microseconds(arrived.saturating_duration_since(answered)));
            took.since_sending.push(microseconds(arrived.saturating_duration_since(sent)));
        }
        took.since_answer.sort_unstable();
        took.since_sending.sort_unstable();
        Ok(took)
    }
}

/// How long the changes took, in microseconds.
#[derive(Default)]
struct Took {
    /// From the API server's answer on: nothing for one that arrived before that.
    since_answer: Vec<i64>,
    since_sending: Vec<i64>,
}

fn microseconds(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

fn ms(sorted: &[i64], share: f64) -> Option<f64> {
    quantile(sorted, share).map(|microseconds| rounded(microseconds as f64 / 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::AGENT_FIGURES;
    use crate::figures::tests::assert_explained;

    #[test]
    fn every_figure_is_explained() {
        assert_explained(&AgentFigures::default(), AGENT_FIGURES);
    }
}
