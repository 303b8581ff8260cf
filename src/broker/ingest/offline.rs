//! A session by itself: no network, no store. The same state machine takes an agent's messages, and its units become
//! durable in a directory in memory at once.
//!
//! Tests and fuzz targets use it to send messages of any content and order to a session.

use std::collections::HashMap;

use tokio::sync::mpsc;
use tonic::Status;

use super::committer::{Commit, CommitterHandle, Submission};
use super::session::{End, Limits, Session, State};
use crate::broker::decider::DeciderMessage;
use crate::broker::directory::{ClusterSettings, Directory, SharedDirectory};
use crate::core::endpoint::digest::SetDigest;
use crate::core::endpoint::quota::{Quota, Usage, Withheld};
use crate::core::endpoint::{KeyHash, Version};
use crate::core::ids::{ClusterId, EnvironmentId, Epoch};
use crate::core::visibility::Exposure;
use crate::ports::{IngestOp, IngestUnit, OpOutcome};
use crate::wire::v1;

/// As many messages as wait for a slow reader.
const OUTBOUND: usize = 64;
/// As many submissions as wait for the committer.
const SUBMISSIONS: usize = 64;

/// A session's reaction to a message.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Its messages to the agent, in order.
    pub answers: Vec<v1::BrokerMessage>,
    /// How the session ended, in the words that the agent would get; `None` if it goes on.
    pub ended: Option<String>,
}

/// See the module's page.
pub struct OfflineSession {
    session: Session,
    peers: Peers,
}

/// Everything around a session.
struct Peers {
    cluster: ClusterId,
    directory: SharedDirectory,
    submissions: mpsc::Receiver<Submission>,
    decider: mpsc::Receiver<DeciderMessage>,
    outbound: mpsc::Receiver<Result<v1::BrokerMessage, Status>>,
    arrivals: i64,
}

impl OfflineSession {
    /// A session that was just welcomed, of a cluster of which nothing is known.
    pub fn new(cluster: ClusterId, environment: EnvironmentId, limits: Limits) -> Self {
        Self::with_quota(cluster, environment, limits, Quota::default())
    }

    /// The same, of a cluster with this quota.
    pub fn with_quota(
        cluster: ClusterId,
        environment: EnvironmentId,
        limits: Limits,
        quota: Quota,
    ) -> Self {
        let settings = ClusterSettings {
            environment,
            exposure: Exposure::Public,
            labels: Default::default(),
            quota,
        };
        let directory =
            SharedDirectory::new(Directory::new(HashMap::from([(cluster.clone(), settings)])));
        let (submit, submissions) = mpsc::channel(SUBMISSIONS);
        let (decide, decider) = mpsc::channel(SUBMISSIONS);
        let (say, outbound) = mpsc::channel(OUTBOUND);
        let session = Session {
            cluster: cluster.clone(),
            epoch: Epoch(1),
            committer: CommitterHandle::to(submit),
            decider: decide,
            directory: SharedDirectory::clone(&directory),
            outbound: say,
            limits,
            state: State::new(directory.digest(&cluster).root(), quota),
        };
        Self {
            session,
            peers: Peers { cluster, directory, submissions, decider, outbound, arrivals: 0 },
        }
    }

    /// Sends a message to the session. Its unit becomes durable, and the ack is among the answers of
    /// [`settle`](Self::settle) or of a message that waits for it.
    pub async fn take(&mut self, message: v1::AgentMessage) -> Exchange {
        let Self { session, peers } = self;
        peers.serve(session.take(message)).await
    }

    /// Lets the session ack what it submitted.
    pub async fn settle(&mut self) -> Exchange {
        let Self { session, peers } = self;
        peers.serve(session.settle()).await
    }

    /// The digest of the cluster's durable endpoints.
    pub fn digest(&self) -> SetDigest {
        self.peers.directory.digest(&self.peers.cluster)
    }

    /// How much of the cluster's quota they use.
    pub fn usage(&self) -> Usage {
        self.peers.directory.usage(&self.peers.cluster)
    }

    /// The rest that is kept of an endpoint beyond the quota.
    pub fn withheld(&self, key: &KeyHash) -> Option<Withheld> {
        self.peers.directory.cluster(&self.peers.cluster).get(key)?.withheld()
    }

    /// Gives the cluster another quota.
    pub fn set_quota(&self, quota: Quota) {
        let mut settings = HashMap::clone(&self.peers.directory.settings());
        settings.values_mut().for_each(|settings| settings.quota = quota);
        // The decider would review the verdicts, and there is none.
        let _review = self.peers.directory.reconfigure(settings);
    }

    /// Takes the cluster out of the configuration.
    pub fn unregister(&self) {
        let _review = self.peers.directory.reconfigure(HashMap::new());
    }

    /// How many endpoints are durable.
    pub fn endpoint_count(&self) -> usize {
        self.peers.directory.endpoint_count(&self.peers.cluster)
    }
}

impl Peers {
    async fn serve(&mut self, work: impl Future<Output = Result<(), End>>) -> Exchange {
        let mut exchange = Exchange::default();
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                biased;
                Some(said) = self.outbound.recv() => exchange.answers.extend(said),
                Some(submission) = self.submissions.recv() => self.commit(submission),
                Some(told) = self.decider.recv() => if let DeciderMessage::Barrier(reply) = told {
                    // The session waits for it.
                    let _told = reply.send(());
                },
                done = &mut work => break done,
            }
        };
        while let Ok(said) = self.outbound.try_recv() {
            exchange.answers.extend(said);
        }
        exchange.ended = done.err().map(|end| match end {
            End::Closed => "closed".to_owned(),
            End::GoAway(reason, detail) => format!("{}: {detail}", reason.as_str_name()),
            End::Failed(status) => status.to_string(),
        });
        exchange
    }

    /// Commits as a store does, without one.
    fn commit(&mut self, submission: Submission) {
        let IngestUnit { ops, placings, .. } = submission.unit;
        for op in ops {
            let outcome = self.outcome(&op);
            self.directory.commit(&self.cluster, vec![op], &placings, &[outcome], &mut Vec::new());
        }
        // The session waits for it, or has ended.
        let _told = submission.reply.send(Commit::Durable);
    }

    fn outcome(&mut self, op: &IngestOp) -> OpOutcome {
        match op {
            IngestOp::Put { key, .. } => {
                let known = self.directory.cluster(&self.cluster).get(key);
                let arrival = known.map(|held| held.arrival()).unwrap_or_else(|| {
                    self.arrivals += 1;
                    self.arrivals
                });
                OpOutcome::Stored { arrival }
            }
            IngestOp::Del { key, version_seen } => {
                let held = self.version(key);
                let is_seen = held.is_some() && version_seen.is_none_or(|seen| held == Some(seen));
                if is_seen { OpOutcome::Removed } else { OpOutcome::Unchanged }
            }
        }
    }

    fn version(&self, key: &KeyHash) -> Option<Version> {
        let bucket = [SetDigest::bucket_of(key)].into();
        let held = self.directory.keys_in(&self.cluster, &bucket);
        held.into_iter().find(|(hash, ..)| hash == key).map(|(_, version, _)| version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::endpoint::Endpoint;
    use crate::core::testkit::{cluster, endpoint};
    use crate::wire::convert::version_to_wire;
    use crate::wire::v1::{agent_message, broker_message, operation};

    fn put(endpoint: &Endpoint) -> v1::Operation {
        let put = v1::Put {
            endpoint: Some(endpoint.into()),
            version: version_to_wire(&endpoint.version()),
        };
        v1::Operation { operation: Some(operation::Operation::Put(put)) }
    }

    fn changes(seq: u64, operations: Vec<v1::Operation>) -> v1::AgentMessage {
        v1::AgentMessage {
            message: Some(agent_message::Message::Changes(v1::Changes { seq, operations })),
        }
    }

    #[tokio::test]
    async fn what_is_put_is_durable_acked_once_and_gone_when_it_is_deleted() {
        let environment = EnvironmentId::parse("dev").unwrap();
        let mut session = OfflineSession::new(cluster("east"), environment, Limits::default());
        let web = endpoint("web", "www.example.com", "A", &["192.0.2.1"]);
        assert!(session.take(changes(1, vec![put(&web)])).await.ended.is_none());
        let settled = session.settle().await;
        let acks = |answers: &[v1::BrokerMessage]| {
            let is_ack = |answer: &&v1::BrokerMessage| {
                matches!(answer.message, Some(broker_message::Message::Ack(_)))
            };
            answers.iter().filter(is_ack).count()
        };
        assert_eq!((acks(&settled.answers), session.endpoint_count()), (1, 1));
        let mut expected = SetDigest::default();
        expected.insert(&web.key.hash(), &web.version());
        assert_eq!(session.digest().root(), expected.root());

        let del =
            v1::Del { key: Some((&web.key).into()), version_seen: vec![7; 32].into(), cause: 0 };
        let stale = v1::Operation { operation: Some(operation::Operation::Del(del.clone())) };
        session.take(changes(2, vec![stale])).await;
        session.settle().await;
        assert_eq!(session.endpoint_count(), 1, "another version was seen");
        let del = v1::Del { version_seen: version_to_wire(&web.version()), ..del };
        session
            .take(changes(
                3,
                vec![v1::Operation { operation: Some(operation::Operation::Del(del)) }],
            ))
            .await;
        session.settle().await;
        assert_eq!(session.endpoint_count(), 0);
        assert!(session.take(changes(9, vec![])).await.ended.unwrap().contains("came after 3"));
    }
}
