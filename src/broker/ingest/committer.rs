//! Group commit: whatever all streams have submitted while the last transaction ran goes into the next one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::broker::decider::ToDecider;
use crate::broker::metrics::BrokerMetrics;
use crate::core::ids::ClusterId;
use crate::ports::{Clock, IngestOp, IngestOutcome, IngestUnit, OpOutcome, Store, StoreError};

/// A transaction takes no further unit beyond so many operations: neither the ack of a quiet cluster nor the journal of a batch
/// waits long behind the flood of a noisy one.
const MOST_OPS: usize = 2_000;
/// How many submissions wait at most before a stream has to.
const QUEUE: usize = 1_024;

/// What became durable of one unit.
#[derive(Debug)]
pub struct CommittedUnit {
    /// Whose.
    pub cluster: ClusterId,
    /// The operations.
    pub ops: Vec<IngestOp>,
    /// One for each.
    pub outcomes: Vec<OpOutcome>,
}

/// What a stream is told of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It is durable.
    Durable,
    /// A newer session exists.
    Fenced,
    /// The store refuses it; it will never be durable.
    Refused,
}

struct Submission {
    unit: IngestUnit,
    reply: oneshot::Sender<Commit>,
}

/// How streams submit.
#[derive(Clone)]
pub struct CommitterHandle {
    submissions: mpsc::Sender<Submission>,
}

impl CommitterHandle {
    /// Submits a unit; the receiver is told when it is durable. None when the broker is stopping.
    pub async fn submit(&self, unit: IngestUnit) -> Option<oneshot::Receiver<Commit>> {
        let (reply, told) = oneshot::channel();
        self.submissions.send(Submission { unit, reply }).await.ok()?;
        Some(told)
    }
}

/// See the module's page.
pub struct Committer {
    submissions: mpsc::Receiver<Submission>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    decider: mpsc::Sender<ToDecider>,
    metrics: BrokerMetrics,
}

impl Committer {
    /// A committer and the handle for streams.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        decider: mpsc::Sender<ToDecider>,
        metrics: BrokerMetrics,
    ) -> (Self, CommitterHandle) {
        let (sender, submissions) = mpsc::channel(QUEUE);
        (Self { submissions, store, clock, decider, metrics }, CommitterHandle { submissions: sender })
    }

    /// Commits until every handle is gone; a hard stop gives up on a store that does not answer.
    pub async fn run(mut self, hard_stop: CancellationToken) {
        while let Some(first) = self.submissions.recv().await {
            let mut ops = first.unit.ops.len();
            let mut group = vec![first];
            while ops < MOST_OPS
                && let Ok(next) = self.submissions.try_recv()
            {
                ops += next.unit.ops.len();
                group.push(next);
            }
            self.commit(group, ops, &hard_stop).await;
        }
    }

    async fn commit(&self, group: Vec<Submission>, ops: usize, hard_stop: &CancellationToken) {
        let (units, replies): (Vec<_>, Vec<_>) = group.into_iter().map(|submission| (submission.unit, submission.reply)).unzip();
        let Some(outcomes) = self.ingest(&units, ops, hard_stop).await else { return };
        match outcomes {
            Ok(outcomes) => self.tell(units, replies, outcomes).await,
            Err(error) if units.len() == 1 => {
                error!(cluster = %units[0].cluster, "a unit cannot be stored: {error}");
                for reply in replies {
                    let _gone = reply.send(Commit::Refused);
                }
            }
            Err(_) => {
                // One unit of the group is at fault: each goes alone, so that only that one fails.
                for (unit, reply) in units.into_iter().zip(replies) {
                    Box::pin(self.commit(vec![Submission { unit, reply }], 1, hard_stop)).await;
                }
            }
        }
    }

    /// Tries until the store answers; a refusal is an answer. None at a hard stop: nothing is acked then.
    async fn ingest(
        &self,
        units: &[IngestUnit],
        ops: usize,
        hard_stop: &CancellationToken,
    ) -> Option<Result<Vec<IngestOutcome>, StoreError>> {
        let mut wait = Duration::from_millis(50);
        loop {
            #[expect(clippy::disallowed_methods, reason = "a measured duration, not a point in time that anything is decided by")]
            let started = Instant::now();
            match self.store.ingest(units, self.clock.now()).await {
                Ok(outcomes) => {
                    self.metrics.committed(started.elapsed().as_secs_f64());
                    self.metrics.ingested.inc_by(ops as u64);
                    debug!(units = units.len(), ops, took_us = started.elapsed().as_micros(), "committed");
                    return Some(Ok(outcomes));
                }
                Err(StoreError::Unavailable(reason)) => {
                    warn!("the store is unavailable, nothing is acked until it is back: {reason}")
                }
                Err(other) => return Some(Err(other)),
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = hard_stop.cancelled() => return None,
            }
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    async fn tell(&self, units: Vec<IngestUnit>, replies: Vec<oneshot::Sender<Commit>>, outcomes: Vec<IngestOutcome>) {
        let mut committed = vec![];
        let mut told = vec![];
        for ((unit, reply), outcome) in units.into_iter().zip(replies).zip(outcomes) {
            match outcome {
                IngestOutcome::Committed { applied } => {
                    committed.push(CommittedUnit { cluster: unit.cluster, ops: unit.ops, outcomes: applied });
                    told.push((reply, Commit::Durable));
                }
                IngestOutcome::Fenced { .. } => told.push((reply, Commit::Fenced)),
            }
        }
        // The decider first: when a stream has its ack, a barrier behind it sees what was acked.
        if !committed.is_empty() && self.decider.send(ToDecider::Committed(committed)).await.is_err() {
            warn!("the decider is gone; what was committed is decided at the next start");
        }
        for (reply, commit) in told {
            // The stream may have ended; what is durable stays durable.
            let _gone = reply.send(commit);
        }
    }
}
