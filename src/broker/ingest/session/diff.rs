//! Compares the agent's endpoints with the durable ones: by a root at each heartbeat, and where that differs by buckets and then by
//! keys. Endpoints that are new or different are requested; those that are gone from a synced source are deleted.

use std::collections::{BTreeSet, HashMap};

use tracing::info;

use super::{End, Session, protocol};
use crate::core::endpoint::digest::SetDigest;
use crate::core::endpoint::{KeyHash, Version};
use crate::ports::IngestOp;
use crate::wire::convert::key_versions_from_wire;
use crate::wire::v1::{self, broker_message};

/// A comparison under way.
#[derive(Default)]
pub(super) struct Diff {
    buckets: BTreeSet<u8>,
    named: HashMap<KeyHash, Version>,
}

impl Session {
    /// The root of what the agent should hold: the durable endpoints, without those kept for sources that are not synced.
    pub(super) fn expected_root(&mut self) -> [u8; 32] {
        if let Some(root) = self.state.expected_root {
            return root;
        }
        let mut digest = self.directory.digest(&self.cluster);
        for (key, version) in &self.state.kept_keys {
            digest.remove(key, version);
        }
        let root = digest.root();
        self.state.expected_root = Some(root);
        root
    }

    pub(super) async fn take_heartbeat(&mut self, heartbeat: v1::Heartbeat) -> Result<(), End> {
        if heartbeat.through_seq != self.state.last_seq {
            return Err(protocol(format!(
                "a heartbeat speaks of {} and {} was the last",
                heartbeat.through_seq, self.state.last_seq
            )));
        }
        let newly_synced = self.note_sources(&heartbeat.sources);
        self.settle().await?;
        let retained_is_due = !self.state.kept_keys.is_empty() && newly_synced;
        let differs = self.expected_root()[..] != heartbeat.root_digest[..];
        let is_idle = self.state.diff.is_none() && self.state.snapshot.is_none();
        if is_idle && (differs || retained_is_due) {
            info!(cluster = %self.cluster, differs, "the agent holds something else than is durable: comparing");
            self.state.diff = Some(Diff::default());
            return self.say(broker_message::Message::DiffRequest(v1::DiffRequest {})).await;
        }
        let wanted = if is_idle { self.within_quota_now() } else { vec![] };
        if !wanted.is_empty() {
            return self.request_bodies(&wanted).await;
        }
        self.say(broker_message::Message::Pong(v1::Pong { nonce: 0 })).await
    }

    pub(super) async fn take_digests(&mut self, digests: &[u8]) -> Result<(), End> {
        self.settle().await?;
        let own = self.directory.digest(&self.cluster);
        let Some(buckets) = own.differing(digests) else {
            return Err(protocol(format!(
                "{} bytes of bucket digests came and 8192 are 256 of them",
                digests.len()
            )));
        };
        let request = v1::BucketRequest {
            buckets: buckets.iter().map(|bucket| u32::from(*bucket)).collect(),
        };
        self.state.kept_keys.clear();
        self.state.expected_root = None;
        self.state.diff = (!buckets.is_empty())
            .then(|| Diff { buckets: buckets.into_iter().collect(), named: HashMap::new() });
        self.say(broker_message::Message::BucketRequest(request)).await
    }

    pub(super) async fn take_keys(&mut self, keys: v1::KeyVersions) -> Result<(), End> {
        let entries =
            key_versions_from_wire(&keys.entries).map_err(|error| protocol(error.to_string()))?;
        let Some(diff) = &mut self.state.diff else {
            return Err(protocol("keys came that were not asked for"));
        };
        diff.named.extend(
            entries
                .into_iter()
                .filter(|(key, _)| diff.buckets.contains(&SetDigest::bucket_of(key))),
        );
        if diff.named.len() > self.limits.snapshot_items {
            return Err(protocol(format!(
                "more than {} keys were named: split the cluster's sources over several registered clusters",
                self.limits.snapshot_items
            )));
        }
        if !keys.last {
            return Ok(());
        }
        self.settle().await?;
        let diff = self.state.diff.take().unwrap_or_default();
        let own = self.directory.keys_in(&self.cluster, &diff.buckets);
        let known: HashMap<&KeyHash, &Version> =
            own.iter().map(|(key, version, _)| (key, version)).collect();
        let wanted: Vec<KeyHash> = diff
            .named
            .iter()
            .filter(|(key, version)| known.get(key) != Some(version))
            .map(|(key, _)| *key)
            .collect();
        let new = diff.named.keys().filter(|key| !known.contains_key(key)).count();
        let mut deletions = vec![];
        for (key, version, endpoint) in &own {
            if diff.named.contains_key(key) {
                continue;
            }
            // Absence says something only where the source has looked at everything.
            if self.is_synced(&endpoint.source) {
                deletions.push(IngestOp::Del { key: *key, version_seen: Some(*version) });
            } else {
                self.state.kept_keys.insert(*key, *version);
            }
        }
        self.state.expected_root = None;
        info!(cluster = %self.cluster, buckets = diff.buckets.len(), wanted = wanted.len(), gone = deletions.len(), kept = self.state.kept_keys.len(), "compared");
        // A name may have another key now: its new endpoint is stored before the old one goes. Bodies that the agent has not sent by
        // the next comparison it does not have.
        self.state.deletions_waited =
            !deletions.is_empty() && !wanted.is_empty() && !self.state.deletions_waited;
        if !deletions.is_empty() && !self.state.deletions_waited {
            self.submit(0, deletions, v1::Credits::default(), false).await?;
            // Deletions make room first.
            self.settle().await?;
        }
        self.can_hold(self.directory.endpoint_count(&self.cluster) + new)?;
        self.request_bodies(&wanted).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::ingest::offline::OfflineSession;
    use crate::broker::ingest::session::Limits;
    use crate::core::endpoint::Endpoint;
    use crate::core::ids::EnvironmentId;
    use crate::core::testkit::{cluster, endpoint};
    use crate::wire::convert::version_to_wire;
    use crate::wire::v1::{agent_message, operation};

    fn web(object: &str) -> Endpoint {
        endpoint(object, "www.example.com", "A", &["192.0.2.1"])
    }

    /// An agent announces what it holds, goes through a comparison, and sends the requested endpoints.
    async fn compare(session: &mut OfflineSession, seq: u64, held: &[Endpoint], sent: &[Endpoint]) {
        let mut digest = SetDigest::default();
        held.iter().for_each(|held| digest.insert(&held.key.hash(), &held.version()));
        let versions = held.iter().flat_map(|held| [held.key.hash().0, held.version().0].concat());
        let put = |endpoint: &Endpoint| v1::Operation {
            operation: Some(operation::Operation::Put(v1::Put {
                endpoint: Some(endpoint.into()),
                version: version_to_wire(&endpoint.version()),
            })),
        };
        let messages = [
            agent_message::Message::Heartbeat(v1::Heartbeat {
                through_seq: seq - 1,
                count: digest.count(),
                root_digest: digest.root().to_vec().into(),
                sources: vec![v1::SourceState {
                    kind: "ingress".to_owned(),
                    synced: true,
                    last_error: String::new(),
                }],
            }),
            agent_message::Message::BucketDigests(v1::BucketDigests {
                digests: digest.to_bytes().into(),
            }),
            agent_message::Message::KeyVersions(v1::KeyVersions {
                entries: versions.collect::<Vec<u8>>().into(),
                last: true,
            }),
            agent_message::Message::Changes(v1::Changes {
                seq,
                operations: sent.iter().map(put).collect(),
            }),
        ];
        for message in messages {
            let exchange = session.take(v1::AgentMessage { message: Some(message) }).await;
            assert!(exchange.ended.is_none(), "{:?}", exchange.ended);
        }
        session.settle().await;
    }

    #[tokio::test]
    async fn each_comparison_that_finds_something_gone_and_something_new_writes_that_first() {
        let environment = EnvironmentId::parse("dev").unwrap();
        let mut session = OfflineSession::new(cluster("east"), environment, Limits::default());
        let (old, new) = ([web("old")], [web("new")]);
        // The first one has nothing to delete, so the next one waits as if it were the first.
        compare(&mut session, 1, &old, &old).await;
        assert_eq!(session.endpoint_count(), 1);
        compare(&mut session, 2, &new, &new).await;
        assert_eq!(session.endpoint_count(), 2, "the new one is there before the old one goes");
        compare(&mut session, 3, &new, &[]).await;
        assert_eq!(session.endpoint_count(), 1);
    }
}
