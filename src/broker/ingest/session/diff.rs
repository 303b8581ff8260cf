//! What the agent holds is compared with what is durable: by a root at each heartbeat, and where that differs by buckets and then by
//! keys. What is new or different is asked for, what is gone and was seen to be gone is deleted.

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
    /// The root of what the agent should hold: what is durable, without what is kept for sources that are not synced.
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
        if (differs || retained_is_due)
            && self.state.diff.is_none()
            && self.state.snapshot.is_none()
        {
            info!(cluster = %self.cluster, differs, "the agent holds something else than is durable: comparing");
            self.state.diff = Some(Diff::default());
            return self.say(broker_message::Message::DiffRequest(v1::DiffRequest {})).await;
        }
        if !differs && self.state.diff.is_none() && self.state.snapshot.is_none() {
            let wanted = self.within_quota_now();
            if !wanted.is_empty() {
                return self.request_bodies(&wanted).await;
            }
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
        // A name may be wanted by another key now: it is written anew before what was there goes. What the agent then still does not
        // give it does not have.
        self.state.deletions_waited = !wanted.is_empty() && !self.state.deletions_waited;
        if !deletions.is_empty() && !self.state.deletions_waited {
            self.submit(0, deletions, v1::Credits::default(), false).await?;
            // What is gone made room first.
            self.settle().await?;
        }
        self.can_hold(self.directory.endpoint_count(&self.cluster) + new)?;
        self.request_bodies(&wanted).await
    }
}
