//! Group commit: all units that streams submit while a transaction runs go into the next one, a unit of each
//! cluster in turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::broker::decider::{CommittedUnit, DeciderMessage};
use crate::broker::metrics::BrokerMetrics;
use crate::broker::replicas::feed_reader::{CommitOrder, FeedHandle};
use crate::core::ids::ClusterId;
use crate::core::limits::round_robin::RoundRobin;
use crate::ports::{Clock, IngestOutcome, IngestUnit, Store, StoreError};

/// A transaction aims at this time: neither the ack of a quiet cluster nor the journal of a batch waits long behind the flood of
/// a noisy one.
const AIM: Duration = Duration::from_millis(40);
/// A transaction has room for this many operations, however slow the disk is: fewer would not make its sync faster.
const LEAST_OPS: usize = 1_000;
/// And for no more than this: operations that wait for the commit are in memory twice.
const MOST_OPS: usize = 8_000;
/// How many submissions wait at most before a stream has to.
const QUEUE: usize = 1_024;

/// The outcome of a unit, for its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It is durable.
    Durable,
    /// A newer session exists.
    Fenced,
    /// The store refuses it; it will never be durable.
    Refused,
}

/// A unit in flight, and where its stream waits.
pub(super) struct Submission {
    pub(super) unit: IngestUnit,
    pub(super) reply: oneshot::Sender<Commit>,
}

/// How streams submit.
#[derive(Clone)]
pub struct CommitterHandle {
    submissions: mpsc::Sender<Submission>,
}

impl CommitterHandle {
    /// A handle to another receiver of submissions.
    pub(super) fn to(submissions: mpsc::Sender<Submission>) -> Self {
        Self { submissions }
    }

    /// Submits a unit; the receiver gets its outcome. `None` if the broker is stopping.
    pub async fn submit(&self, unit: IngestUnit) -> Option<oneshot::Receiver<Commit>> {
        let (reply, told) = oneshot::channel();
        self.submissions.send(Submission { unit, reply }).await.ok()?;
        Some(told)
    }
}

/// Units waiting for a transaction. The clusters take turns, a unit each, so that a quiet one's change is in the next transaction
/// whatever a noisy one has submitted; the units of one cluster keep their order. Bounded by the credits of the sessions.
type Waiting = RoundRobin<ClusterId, Submission>;

fn wait(waiting: &mut Waiting, submission: Submission) {
    waiting.push(submission.unit.cluster.clone(), submission);
}

/// The units of the next transaction, and their operations.
fn next_group(waiting: &mut Waiting, most_ops: usize) -> (Vec<Submission>, usize) {
    let (mut group, mut ops) = (vec![], 0);
    while ops < most_ops
        && let Some((_, submission)) = waiting.take()
    {
        ops += submission.unit.ops.len();
        group.push(submission);
    }
    (group, ops)
}

/// How many operations the next transaction takes: as many as fit into [`AIM`], going by those before.
struct GroupSize(usize);

impl GroupSize {
    /// Takes a measured transaction into account. One that was not full says nothing about a larger one.
    fn measured(&mut self, ops: usize, took: Duration) {
        if ops < self.0 {
            return;
        }
        let fits = ops as f64 * AIM.as_secs_f64() / took.as_secs_f64().max(1e-6);
        // Half way: one slow sync is no trend.
        self.0 = ((self.0 as f64 + fits) / 2.0).clamp(LEAST_OPS as f64, MOST_OPS as f64) as usize;
    }
}

/// Whether every attempt of a transaction was answered. One that was not may have been committed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    AllCame,
    SomeLost,
}

/// See the module's page.
pub struct Committer {
    /// Units of all sessions.
    submissions: mpsc::Receiver<Submission>,
    /// Where they become durable.
    store: Arc<dyn Store>,
    /// The time of their commit.
    clock: Arc<dyn Clock>,
    /// Gets the committed units, in order.
    decider: mpsc::Sender<DeciderMessage>,
    /// The figures.
    metrics: BrokerMetrics,
    /// Held during each transaction, so that the commits of other replicas come in their place among these.
    order: CommitOrder,
    /// Read again when it is in doubt whether a transaction was committed.
    feed: FeedHandle,
    /// The feed's position before an unanswered attempt that is in doubt; `None` if none is.
    doubt: Option<u64>,
}

/// The parts of a committer.
pub struct CommitterParts {
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Gets the committed units.
    pub decider: mpsc::Sender<DeciderMessage>,
    /// The figures.
    pub metrics: BrokerMetrics,
    /// Held while a transaction is in flight.
    pub order: CommitOrder,
    /// Where the outcome can be looked up if its answer was lost.
    pub feed: FeedHandle,
}

impl Committer {
    /// A committer and the handle for streams.
    pub fn new(parts: CommitterParts) -> (Self, CommitterHandle) {
        let (sender, submissions) = mpsc::channel(QUEUE);
        let CommitterParts { store, clock, decider, metrics, order, feed } = parts;
        let committer =
            Self { submissions, store, clock, decider, metrics, order, feed, doubt: None };
        (committer, CommitterHandle::to(sender))
    }

    /// Commits until every handle is gone; a hard stop gives up on a store that does not answer.
    pub async fn run(mut self, hard_stop: CancellationToken) {
        let mut waiting = Waiting::default();
        let mut size = GroupSize(LEAST_OPS);
        while let Some(first) = self.submissions.recv().await {
            wait(&mut waiting, first);
            while !waiting.is_empty() {
                while let Ok(next) = self.submissions.try_recv() {
                    wait(&mut waiting, next);
                }
                let (group, ops) = next_group(&mut waiting, size.0);
                let order = self.order.hold().await;
                if let Some(took) = self.commit(group, ops, &hard_stop).await {
                    size.measured(ops, took);
                }
                drop(order);
                if let Some(after) = self.doubt.take()
                    && !self.feed.read_own_again(after)
                {
                    error!(
                        "it is unknown whether the last messages of an older session were committed: the broker ends, to be started again"
                    );
                    return;
                }
            }
        }
    }

    /// Commits a group and answers its streams; returns how long the store took for it as a whole.
    async fn commit(
        &mut self,
        group: Vec<Submission>,
        ops: usize,
        hard_stop: &CancellationToken,
    ) -> Option<Duration> {
        let (units, replies): (Vec<_>, Vec<_>) =
            group.into_iter().map(|submission| (submission.unit, submission.reply)).unzip();
        let before = self.feed.position();
        let (result, answers) = self.ingest(&units, ops, hard_stop).await?;
        let is_refused = match &result {
            Ok((outcomes, _)) => {
                outcomes.iter().any(|outcome| matches!(outcome, IngestOutcome::Fenced { .. }))
            }
            Err(_) => true,
        };
        if is_refused && answers == Answers::SomeLost {
            self.doubt = Some(self.doubt.map_or(before, |doubt| doubt.min(before)));
        }
        match result {
            Ok((outcomes, took)) => {
                self.tell(units, replies, outcomes).await;
                return Some(took);
            }
            Err(error) if units.len() == 1 => {
                error!(cluster = %units[0].cluster, %error, "a unit cannot be stored");
                for reply in replies {
                    let _gone = reply.send(Commit::Refused);
                }
            }
            Err(_) => {
                // One unit of the group is at fault: each goes alone, so that only that one fails.
                for (unit, reply) in units.into_iter().zip(replies) {
                    let ops = unit.ops.len();
                    Box::pin(self.commit(vec![Submission { unit, reply }], ops, hard_stop)).await;
                }
            }
        }
        None
    }

    /// Tries until the store answers; a refusal is an answer. `None` at a hard stop: nothing is acked then.
    async fn ingest(
        &self,
        units: &[IngestUnit],
        ops: usize,
        hard_stop: &CancellationToken,
    ) -> Option<(Result<(Vec<IngestOutcome>, Duration), StoreError>, Answers)> {
        let (mut wait, mut answers) = (Duration::from_millis(50), Answers::AllCame);
        loop {
            #[expect(
                clippy::disallowed_methods,
                reason = "a measured duration, not a point in time that anything is decided by"
            )]
            let started = Instant::now();
            match self.store.ingest(units, self.clock.now()).await {
                Ok(outcomes) => {
                    let took = started.elapsed();
                    self.metrics.committed(took.as_secs_f64());
                    self.metrics.ingested.inc_by(ops as u64);
                    debug!(units = units.len(), ops, took_us = took.as_micros(), "committed");
                    return Some((Ok((outcomes, took)), answers));
                }
                Err(StoreError::Unavailable(reason)) => {
                    answers = Answers::SomeLost;
                    warn!(error = %reason, "the store is unavailable, nothing is acked until it is back")
                }
                Err(other) => return Some((Err(other), answers)),
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = hard_stop.cancelled() => return None,
            }
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    async fn tell(
        &self,
        units: Vec<IngestUnit>,
        replies: Vec<oneshot::Sender<Commit>>,
        outcomes: Vec<IngestOutcome>,
    ) {
        let mut committed = vec![];
        let mut told = vec![];
        for ((unit, reply), outcome) in units.into_iter().zip(replies).zip(outcomes) {
            match outcome {
                IngestOutcome::Committed { applied } => {
                    committed.push(CommittedUnit {
                        cluster: unit.cluster,
                        ops: unit.ops,
                        placings: unit.placings,
                        outcomes: applied,
                    });
                    told.push((reply, Commit::Durable));
                }
                IngestOutcome::Fenced { .. } => told.push((reply, Commit::Fenced)),
            }
        }
        // The decider first: when a stream has its ack, a barrier behind it sees what was acked.
        if !committed.is_empty()
            && self.decider.send(DeciderMessage::Committed(committed)).await.is_err()
        {
            warn!("the decider is gone; what was committed is decided at the next start");
        }
        for (reply, commit) in told {
            // The stream may have ended; what is durable stays durable.
            let _gone = reply.send(commit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::endpoint::KeyHash;
    use crate::core::ids::Epoch;
    use crate::core::testkit::cluster;

    fn submission(cluster_name: &str, seq: u64, ops: usize) -> Submission {
        let op = || crate::ports::IngestOp::Del { key: KeyHash([0; 32]), version_seen: None };
        let ops = std::iter::repeat_with(op).take(ops).collect();
        let unit = IngestUnit {
            placings: std::collections::BTreeMap::new(),
            cluster: cluster(cluster_name),
            epoch: Epoch(1),
            seq,
            completes_snapshot: false,
            ops,
        };
        Submission { unit, reply: oneshot::channel().0 }
    }

    fn taken(waiting: &mut Waiting) -> Vec<(String, u64)> {
        next_group(waiting, LEAST_OPS)
            .0
            .into_iter()
            .map(|s| (s.unit.cluster.to_string(), s.unit.seq))
            .collect()
    }

    #[test]
    fn a_quiet_cluster_s_unit_is_in_the_next_transaction() {
        let mut waiting = Waiting::default();
        (1..=100).for_each(|seq| wait(&mut waiting, submission("noisy", seq, 500)));
        taken(&mut waiting);
        wait(&mut waiting, submission("quiet", 1, 1));
        assert!(taken(&mut waiting).contains(&("quiet".to_owned(), 1)));
    }

    #[test]
    fn a_transaction_grows_until_it_takes_its_time() {
        // A sync of 5 ms and 10 µs an operation: 3,500 operations take 40 ms.
        let took = |ops: usize| Duration::from_micros(5_000 + 10 * ops as u64);
        let mut size = GroupSize(LEAST_OPS);
        for _ in 0..50 {
            size.measured(size.0, took(size.0));
        }
        assert!((3_400..3_600).contains(&size.0), "{}", size.0);
        size.measured(10, took(10));
        assert!((3_400..3_600).contains(&size.0), "a small one says nothing: {}", size.0);
        for _ in 0..50 {
            size.measured(size.0, took(size.0) * 4);
        }
        assert_eq!(size.0, LEAST_OPS, "a slow disk does not make it small");
        for _ in 0..50 {
            size.measured(size.0, Duration::ZERO);
        }
        assert_eq!(size.0, MOST_OPS, "a fast one does not make it endless");
    }

    #[test]
    fn nothing_is_lost_and_each_cluster_keeps_its_order() {
        let mut waiting = Waiting::default();
        for seq in 1..=50 {
            wait(&mut waiting, submission("a", seq, 90));
            wait(&mut waiting, submission("b", seq, 7));
        }
        let mut all = vec![];
        while !waiting.is_empty() {
            all.extend(taken(&mut waiting));
        }
        for name in ["a", "b"] {
            let seqs: Vec<u64> =
                all.iter().filter(|(cluster, _)| cluster == name).map(|(_, seq)| *seq).collect();
            assert_eq!(seqs, (1..=50).collect::<Vec<_>>());
        }
    }
}
