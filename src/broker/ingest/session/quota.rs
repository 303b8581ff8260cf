//! A session keeps its cluster to its quota: for an endpoint beyond it, key and version become durable, and the content is left
//! out. When room is freed, the oldest of these are requested again.
//!
//! No other session changes the cluster's durable endpoints meanwhile, so the directory, once everything submitted is in it,
//! gives the usage of the quota. Far from the quota nothing is waited for: all puts in flight count as new.

use std::collections::{HashMap, HashSet};

use tonic::Status;
use tracing::{info, warn};

use super::{End, Session};
use crate::core::endpoint::quota::{MOST_WITHHELD, MOST_WITHHELD_BYTES, Quota, Share};
use crate::core::endpoint::{KeyHash, Version};
use crate::core::ids::ClusterId;
use crate::ports::IngestOp;

/// A session's notes about the quota of its cluster.
#[derive(Default)]
pub(super) struct QuotaState {
    /// As last configured: a cluster that is removed from the configuration keeps its quota for as long as it has a session.
    quota: Quota,
    /// Puts that were submitted and may not be in the directory yet, and their octets.
    on_their_way: (usize, u64),
    /// The endpoints that were requested again and did not come: an agent that lost the content cannot send it at a second
    /// request either.
    asked_for: HashSet<KeyHash>,
}

impl QuotaState {
    pub(super) fn new(quota: Quota) -> Self {
        Self { quota, ..Self::default() }
    }

    /// Everything submitted is in the directory.
    pub(super) fn all_is_there(&mut self) {
        self.on_their_way = (0, 0);
    }
}

/// A key while the operations of a unit are gone through.
type Held = Option<(Version, Share)>;

impl Session {
    /// Leaves out the content of endpoints beyond the cluster's quota.
    pub(super) async fn keep_to_quota(&mut self, ops: &mut [IngestOp]) -> Result<(), End> {
        let (mut puts, mut octets) = (0, 0);
        for op in ops.iter() {
            if let IngestOp::Put { key, endpoint, .. } = op {
                (puts, octets) = (puts + 1, octets + endpoint.share().octets);
                self.state.quota.asked_for.remove(key);
            }
        }
        let (waiting, waiting_octets) = self.state.quota.on_their_way;
        let (all, all_octets) = (waiting + puts, waiting_octets + octets);
        let quota = self.quota();
        if !quota.has_room_for(&self.directory.usage(&self.cluster), all, all_octets) {
            self.settle().await?;
            self.withhold(&quota, ops)?;
            self.state.quota.on_their_way = (puts, octets);
        } else {
            self.state.quota.on_their_way = (all, all_octets);
        }
        Ok(())
    }

    fn quota(&mut self) -> Quota {
        if let Some(quota) = self.directory.quota(&self.cluster) {
            self.state.quota.quota = quota;
        }
        self.state.quota.quota
    }

    /// Goes through the operations one by one; everything submitted before is in the directory.
    fn withhold(&self, quota: &Quota, ops: &mut [IngestOp]) -> Result<(), End> {
        let endpoints = self.directory.cluster(&self.cluster);
        let mut usage = endpoints.usage();
        let mut seen: HashMap<KeyHash, Held> = HashMap::new();
        let held_under = |seen: &HashMap<KeyHash, Held>, key: &KeyHash| match seen.get(key) {
            Some(held) => *held,
            None => endpoints.get(key).map(|held| (held.version(), held.share())),
        };
        let mut left_out = 0;
        for op in ops {
            match op {
                IngestOp::Put { key, version, endpoint } => {
                    let before = held_under(&seen, key);
                    let is_stored = before
                        .is_some_and(|(held, share)| held == *version && share.withheld.is_none());
                    if is_stored {
                        continue;
                    }
                    let before = before.map(|(_, share)| share);
                    let octets = endpoint.share().octets;
                    if let Some(bound) = quota.bound_of(&usage, before.as_ref(), octets) {
                        *endpoint = endpoint.withhold(bound);
                        left_out += 1;
                    }
                    before.iter().for_each(|share| usage.remove(share));
                    let share = endpoint.share();
                    usage.add(&share);
                    seen.insert(*key, Some((*version, share)));
                }
                IngestOp::Del { key, version_seen } => {
                    if let Some((held, share)) = held_under(&seen, key)
                        && version_seen.is_none_or(|seen| seen == held)
                    {
                        usage.remove(&share);
                        seen.insert(*key, None);
                    }
                }
            }
        }
        if usage.is_beyond_bearing() {
            return Err(too_many(&self.cluster, quota, usage.withheld));
        }
        if left_out > 0 {
            warn!(cluster = %self.cluster, left_out, stored = usage.stored, beyond = usage.withheld, "the cluster is beyond its quota: of new endpoints the keys are kept");
        }
        Ok(())
    }

    /// Refuses more keys than the quota and the bound beyond it allow; `keys` are all that the agent holds.
    pub(super) fn can_hold(&mut self, keys: usize) -> Result<(), End> {
        let quota = self.quota();
        if keys <= quota.max_endpoints.saturating_add(MOST_WITHHELD) {
            return Ok(());
        }
        let withheld = keys.saturating_sub(quota.max_endpoints);
        Err(too_many(&self.cluster, &quota, withheld))
    }

    /// The endpoints beyond the quota that there is room for now, oldest first; each is answered once in a session. Everything
    /// submitted is in the directory.
    pub(super) fn within_quota_now(&mut self) -> Vec<KeyHash> {
        let endpoints = self.directory.cluster(&self.cluster);
        if endpoints.usage().withheld == 0 {
            return vec![];
        }
        let (quota, limit) = (self.quota(), self.limits.credit_items as usize);
        let asked_for = &mut self.state.quota.asked_for;
        let wanted = endpoints.wanted_by(&quota, limit, |key| !asked_for.contains(key));
        asked_for.extend(&wanted);
        if !wanted.is_empty() {
            info!(cluster = %self.cluster, endpoints = wanted.len(), "the cluster's quota has room again: asking for what was left out");
        }
        wanted
    }
}

fn too_many(cluster: &ClusterId, quota: &Quota, withheld: usize) -> End {
    End::Failed(Status::resource_exhausted(format!(
        "{withheld} endpoints of the cluster {cluster} are beyond its quota of {} endpoints and {} bytes, and no more than {MOST_WITHHELD} or {MOST_WITHHELD_BYTES} bytes of keys may be: delete endpoints of the cluster, or have the platform team raise clusters[].max_endpoints or max_bytes",
        quota.max_endpoints, quota.max_bytes
    )))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::broker::ingest::offline::{Exchange, OfflineSession};
    use crate::broker::ingest::session::Limits;
    use crate::core::endpoint::digest::SetDigest;
    use crate::core::endpoint::quota::QuotaBound;
    use crate::core::endpoint::{Endpoint, EndpointKey};
    use crate::core::ids::EnvironmentId;
    use crate::core::testkit::{cluster, endpoint};
    use crate::wire::convert::{key_hashes_from_wire, version_to_wire};
    use crate::wire::v1::{self, agent_message, broker_message, operation};

    fn quota(max_endpoints: usize) -> Quota {
        Quota { max_endpoints, ..Quota::default() }
    }

    fn text(number: usize, target: &str) -> Endpoint {
        endpoint(&format!("web{number}"), &format!("n{number}.example.com"), "TXT", &[target])
    }

    /// An agent that holds the given endpoints, and the session that it speaks to.
    struct Agent {
        session: OfflineSession,
        held: Vec<Endpoint>,
        seq: u64,
    }

    impl Agent {
        fn new(quota: Quota) -> Self {
            let environment = EnvironmentId::parse("dev").unwrap();
            let session =
                OfflineSession::with_quota(cluster("east"), environment, Limits::default(), quota);
            Self { session, held: vec![], seq: 0 }
        }

        async fn say(&mut self, message: agent_message::Message) -> Exchange {
            self.session.take(v1::AgentMessage { message: Some(message) }).await
        }

        async fn change(&mut self, operations: Vec<operation::Operation>) -> Exchange {
            self.seq += 1;
            let operations = operations
                .into_iter()
                .map(|operation| v1::Operation { operation: Some(operation) })
                .collect();
            let changes = v1::Changes { seq: self.seq, operations };
            let exchange = self.say(agent_message::Message::Changes(changes)).await;
            self.session.settle().await;
            exchange
        }

        async fn send(&mut self, endpoints: &[Endpoint]) -> Exchange {
            let put = |endpoint: &Endpoint| {
                operation::Operation::Put(v1::Put {
                    endpoint: Some(endpoint.into()),
                    version: version_to_wire(&endpoint.version()),
                })
            };
            self.change(endpoints.iter().map(put).collect()).await
        }

        async fn want(&mut self, endpoints: &[Endpoint]) {
            self.held.retain(|held| endpoints.iter().all(|new| new.key != held.key));
            self.held.extend(endpoints.iter().cloned());
            assert!(self.send(endpoints).await.ended.is_none());
        }

        async fn delete(&mut self, gone: &Endpoint) {
            self.held.retain(|held| held.key != gone.key);
            let del = v1::Del {
                key: Some((&gone.key).into()),
                version_seen: version_to_wire(&gone.version()),
                cause: 0,
            };
            assert!(self.change(vec![operation::Operation::Del(del)]).await.ended.is_none());
        }

        /// Sends a heartbeat and then the requested bodies, as an agent does; returns the objects that were requested.
        async fn heartbeat(&mut self) -> Vec<String> {
            let mut digest = SetDigest::default();
            for held in &self.held {
                digest.insert(&held.key.hash(), &held.version());
            }
            assert_eq!(self.session.digest().root(), digest.root(), "both hold the same");
            let heartbeat = v1::Heartbeat {
                through_seq: self.seq,
                count: digest.count(),
                root_digest: digest.root().to_vec().into(),
                sources: vec![],
            };
            let answers = self.say(agent_message::Message::Heartbeat(heartbeat)).await.answers;
            let mut asked = BTreeSet::new();
            for answer in answers {
                match answer.message {
                    Some(broker_message::Message::BodyRequest(request)) => {
                        asked.extend(key_hashes_from_wire(&request.key_hashes).unwrap());
                    }
                    Some(broker_message::Message::DiffRequest(_)) => panic!("nothing differs"),
                    _ => {}
                }
            }
            let bodies: Vec<Endpoint> =
                self.held.iter().filter(|held| asked.contains(&held.key.hash())).cloned().collect();
            if !bodies.is_empty() {
                assert!(self.send(&bodies).await.ended.is_none());
            }
            bodies.iter().map(|endpoint| endpoint.key.object.to_string()).collect()
        }

        fn figures(&self) -> (usize, usize) {
            let usage = self.session.usage();
            (usage.stored, usage.withheld)
        }

        fn bound_of(&self, key: &EndpointKey) -> Option<QuotaBound> {
            self.session.withheld(&key.hash()).map(|withheld| withheld.bound)
        }
    }

    fn texts(numbers: std::ops::Range<usize>) -> Vec<Endpoint> {
        numbers.map(|number| text(number, "\"a\"")).collect()
    }

    #[tokio::test]
    async fn of_endpoints_beyond_the_quota_key_and_version_are_kept() {
        let mut agent = Agent::new(quota(3));
        agent.want(&texts(0..5)).await;
        assert_eq!(agent.figures(), (3, 2));
        assert_eq!(agent.bound_of(&text(4, "").key), Some(QuotaBound::Endpoints));
        assert_eq!(agent.heartbeat().await, [""; 0], "nothing differs, and nothing is asked for");
    }

    #[tokio::test]
    async fn an_edit_of_what_is_stored_is_never_one_too_many() {
        let mut agent = Agent::new(quota(3));
        agent.want(&texts(0..5)).await;
        agent.want(&[text(0, "\"another\""), text(4, "\"another\"")]).await;
        assert_eq!(agent.figures(), (3, 2));
        assert_eq!(agent.bound_of(&text(0, "").key), None);
        assert_eq!(agent.heartbeat().await, [""; 0]);
    }

    #[tokio::test]
    async fn where_room_comes_the_oldest_are_asked_for_again() {
        let mut agent = Agent::new(quota(3));
        agent.want(&texts(0..3)).await;
        agent.want(&[text(9, "\"a\"")]).await;
        agent.want(&[text(5, "\"a\"")]).await;
        agent.delete(&text(1, "\"a\"")).await;
        assert_eq!(agent.heartbeat().await, ["web9"]);
        assert_eq!(agent.figures(), (3, 1));
        agent.delete(&text(5, "\"a\"")).await;
        assert_eq!((agent.heartbeat().await, agent.figures()), (vec![], (3, 0)));
    }

    #[tokio::test]
    async fn a_quota_that_is_raised_has_what_was_left_out_asked_for_and_one_that_is_lowered_drops_nothing()
     {
        let mut agent = Agent::new(quota(2));
        agent.want(&texts(0..5)).await;
        agent.session.set_quota(quota(4));
        assert_eq!(agent.heartbeat().await, ["web2", "web3"]);
        assert_eq!(agent.figures(), (4, 1));
        agent.session.set_quota(quota(1));
        agent.want(&[text(3, "\"another\""), text(7, "\"a\"")]).await;
        assert_eq!((agent.heartbeat().await, agent.figures()), (vec![], (4, 2)));
    }

    #[tokio::test]
    async fn an_edit_beyond_the_bytes_is_left_out_and_asked_for_when_they_are_there() {
        let mut agent = Agent::new(Quota { max_endpoints: 10, max_bytes: 500 });
        agent.want(&texts(0..3)).await;
        let large = text(0, &format!("\"{}\"", "x".repeat(400)));
        agent.want(std::slice::from_ref(&large)).await;
        assert_eq!(agent.bound_of(&large.key), Some(QuotaBound::Bytes));
        assert_eq!((agent.heartbeat().await, agent.figures()), (vec![], (2, 1)));
        agent.delete(&text(1, "\"a\"")).await;
        agent.delete(&text(2, "\"a\"")).await;
        assert_eq!((agent.heartbeat().await, agent.figures()), (vec!["web0".to_owned()], (1, 0)));
    }

    #[tokio::test]
    async fn a_cluster_that_is_taken_out_of_the_configuration_keeps_its_quota() {
        let mut agent = Agent::new(quota(1));
        agent.session.unregister();
        agent.want(&texts(0..2)).await;
        assert_eq!(agent.figures(), (1, 1));
    }

    #[tokio::test]
    async fn what_the_agent_cannot_say_again_is_asked_for_once() {
        let mut agent = Agent::new(quota(1));
        agent.want(&texts(0..3)).await;
        agent.session.set_quota(quota(2));
        let digest = agent.session.digest();
        let heartbeat = v1::Heartbeat {
            through_seq: agent.seq,
            count: digest.count(),
            root_digest: digest.root().to_vec().into(),
            sources: vec![],
        };
        let mut asked = vec![];
        for _ in 0..3 {
            let answers =
                agent.say(agent_message::Message::Heartbeat(heartbeat.clone())).await.answers;
            let is_request = |answer: &v1::BrokerMessage| {
                matches!(answer.message, Some(broker_message::Message::BodyRequest(_)))
            };
            asked.push(answers.iter().any(is_request));
        }
        assert_eq!(asked, [true, true, false], "each of the two that wait, and then none");
    }

    #[tokio::test]
    async fn more_beyond_the_quota_than_is_kept_ends_the_session_with_the_remedy() {
        let mut agent = Agent::new(quota(1));
        let begin = v1::SnapshotBegin {
            seq: 1,
            count: MOST_WITHHELD as u64 + 2,
            root_digest: bytes::Bytes::new(),
            by_name: true,
        };
        let ended = agent.say(agent_message::Message::SnapshotBegin(begin)).await.ended.unwrap();
        assert!(ended.contains("clusters[].max_endpoints"), "{ended}");

        let mut agent = Agent::new(quota(1));
        let long = |number: usize| {
            let name = format!("{}{number}.example.com", "x".repeat(60_000));
            endpoint("web", &name, "A", &["192.0.2.1"])
        };
        let mut ended = None;
        for message in 0..100 {
            let endpoints: Vec<Endpoint> =
                (0..10).map(|number| long(message * 10 + number)).collect();
            ended = agent.send(&endpoints).await.ended;
            if ended.is_some() {
                break;
            }
        }
        assert!(ended.unwrap().contains("clusters[].max_endpoints"));
        assert!(agent.session.usage().withheld_bytes <= MOST_WITHHELD_BYTES);
    }

    #[tokio::test]
    async fn an_agent_that_sends_beyond_its_credits_is_told_so() {
        let environment = EnvironmentId::parse("dev").unwrap();
        let limits = Limits { credit_items: 2, ..Limits::default() };
        let session = OfflineSession::new(cluster("east"), environment, limits);
        let mut agent = Agent { session, held: vec![], seq: 0 };
        let ended = agent.send(&texts(0..3)).await.ended.unwrap();
        assert!(ended.contains("wait for acks"), "{ended}");
    }
}
