//! The endpoints of one cluster: the index by key, the digest by which its agent resumes, and the status subscribers.
//!
//! Everything is behind one lock a cluster, which is never held for longer than a page takes to copy: a reader delays the
//! writer by microseconds, and two clusters not at all.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;

use super::entry::{EndpointEntry, Progress, Status};
use crate::core::endpoint::digest::SetDigest;
use crate::core::endpoint::quota::{Quota, Share, Usage};
use crate::core::endpoint::verdict::{Placement, Verdict, VerdictState};
use crate::core::endpoint::{KeyHash, Version};
use crate::core::time::Timestamp;

/// The first half of a key's hash: enough of SHA-256 that no two keys of a cluster share it, in half the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ShortKey([u8; 16]);

impl From<&KeyHash> for ShortKey {
    fn from(key: &KeyHash) -> Self {
        let (short, _) = key.0.as_chunks::<16>();
        Self(short[0])
    }
}

/// How many endpoints of a cluster are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatusCounts {
    /// All.
    pub endpoints: usize,
    /// On their way.
    pub pending: usize,
    /// Accepted by Route 53, in sync or not.
    pub applied: usize,
    /// Of those, in sync.
    pub in_sync: usize,
    /// Waiting for something else to change.
    pub waiting: usize,
    /// Rejected by the broker.
    pub rejected: usize,
    /// Refused by Route 53, or drifted.
    pub troubled: usize,
}

impl StatusCounts {
    fn count(&mut self, status: &Status, step: impl Fn(&mut usize)) {
        step(&mut self.endpoints);
        match (status.verdict.state, &status.progress) {
            (VerdictState::Rejected, _) => step(&mut self.rejected),
            (VerdictState::Waiting, _) => step(&mut self.waiting),
            (VerdictState::Accepted, None | Some(Progress::Pending { .. })) => {
                step(&mut self.pending)
            }
            (VerdictState::Accepted, Some(Progress::Applied { .. })) => step(&mut self.applied),
            (VerdictState::Accepted, Some(Progress::InSync { .. })) => {
                step(&mut self.applied);
                step(&mut self.in_sync);
            }
            (VerdictState::Accepted, Some(Progress::Refused { .. } | Progress::Drifted { .. })) => {
                step(&mut self.troubled)
            }
        }
    }
}

#[derive(Default)]
struct State {
    index: BTreeMap<ShortKey, EndpointEntry>,
    digest: SetDigest,
    counts: StatusCounts,
    usage: Usage,
    /// The endpoints beyond the cluster's quota, oldest first.
    withheld: BTreeMap<i64, (Share, EndpointEntry)>,
    /// The digest of keys and their statuses. Made at the first comparison, and kept from then on: a
    /// start, in which most statuses change more than once, does not pay for it.
    statuses: Option<SetDigest>,
    /// The news that each subscriber has still to get; the latest of each endpoint is enough.
    untold: BTreeMap<u64, BTreeMap<ShortKey, EndpointEntry>>,
    next_follower: u64,
    /// The status in each zone, for endpoints with more than one.
    parts: BTreeMap<ShortKey, ZoneStatuses>,
}

/// The statuses of one endpoint, by zone.
type ZoneStatuses = Vec<(Placement, Arc<Status>)>;

impl State {
    /// Counts what an endpoint uses of the quota.
    fn use_quota(&mut self, held: &EndpointEntry) {
        let share = held.share();
        self.usage.add(&share);
        if share.withheld.is_some() {
            self.withheld.insert(held.arrival(), (share, held.clone()));
        }
    }

    fn take_out(&mut self, key: &KeyHash) -> Option<EndpointEntry> {
        let short = ShortKey::from(key);
        let old = self.index.remove(&short)?;
        self.usage.remove(&old.share());
        self.withheld.remove(&old.arrival());
        self.digest.remove(key, &old.version());
        old.set_gone();
        if let Some(status) = old.status() {
            self.count_out(key, &old, &status);
        }
        self.untold.values_mut().for_each(|untold| drop(untold.remove(&short)));
        self.parts.remove(&short);
        Some(old)
    }

    fn count_out(&mut self, key: &KeyHash, held: &EndpointEntry, status: &Status) {
        self.counts.count(status, |n| *n -= 1);
        if let Some(statuses) = &mut self.statuses {
            statuses.remove(key, &status.content(&held.version()).hash());
        }
    }

    fn count_in(&mut self, key: &KeyHash, held: &EndpointEntry, status: &Status) {
        self.counts.count(status, |n| *n += 1);
        if let Some(statuses) = &mut self.statuses {
            statuses.insert(key, &status.content(&held.version()).hash());
        }
    }

    fn statuses(&mut self) -> &SetDigest {
        let index = &self.index;
        self.statuses.get_or_insert_with(|| {
            let mut digest = SetDigest::default();
            for (held, status) in index.values().filter_map(|held| Some((held, held.status()?))) {
                digest.insert(&held.key_hash(), &status.content(&held.version()).hash());
            }
            digest
        })
    }
}

/// See the module's page.
#[derive(Default)]
pub struct ClusterEndpoints {
    state: Mutex<State>,
    changed: Notify,
}

/// The endpoints of a cluster while they are loaded: the tree is built at once, so that its nodes are full.
#[derive(Default)]
pub struct LoadingEndpoints {
    index: Vec<(ShortKey, EndpointEntry)>,
    digest: SetDigest,
}

impl LoadingEndpoints {
    /// Takes an endpoint with the hashes that the store has.
    pub fn push(&mut self, key: &KeyHash, version: &Version, held: EndpointEntry) {
        self.digest.insert(key, version);
        self.index.push((ShortKey::from(key), held));
    }

    /// All are there.
    pub fn finish(self) -> ClusterEndpoints {
        let mut state = State { digest: self.digest, ..State::default() };
        self.index.iter().for_each(|(_, held)| state.use_quota(held));
        state.index = self.index.into_iter().collect();
        ClusterEndpoints { state: Mutex::new(state), changed: Notify::new() }
    }
}

impl ClusterEndpoints {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves counts that are at worst one behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a version in the place of the one before, and returns that.
    pub(in crate::broker) fn put(
        &self,
        key: &KeyHash,
        version: &Version,
        held: EndpointEntry,
    ) -> Option<EndpointEntry> {
        let mut state = self.lock();
        let old = state.take_out(key);
        // An agent orders the statuses of a key by their times, whichever replica's clock those are of.
        held.set_since(old.as_ref().map_or(held.since(), EndpointEntry::since));
        state.digest.insert(key, version);
        state.use_quota(&held);
        state.index.insert(ShortKey::from(key), held);
        old
    }

    /// Takes an endpoint out.
    pub(in crate::broker) fn remove(&self, key: &KeyHash) -> Option<EndpointEntry> {
        self.lock().take_out(key)
    }

    /// Sets the status of an endpoint; returns whether it is new. An endpoint that is gone gets no further status.
    pub fn tell(&self, held: &EndpointEntry, status: Arc<Status>, at: Timestamp) -> bool {
        let is_news = || {
            !held.is_gone() && held.status().is_none_or(|before| !says_the_same(&before, &status))
        };
        if !is_news() {
            return false;
        }
        let key = held.key_hash();
        let mut state = self.lock();
        // The decider and a worker may set one endpoint's status at a time.
        if !is_news() {
            return false;
        }
        let before = held.status();
        if let Some(before) = before {
            state.count_out(&key, held, &before);
        }
        state.count_in(&key, held, &status);
        held.set_status(status, at.max(held.since()));
        let short = ShortKey::from(&key);
        state.untold.values_mut().for_each(|untold| drop(untold.insert(short, held.clone())));
        let followed = !state.untold.is_empty();
        drop(state);
        if followed {
            self.changed.notify_waiters();
        }
        true
    }

    /// Sets the status of an endpoint in one of its zones, and with it the status of the whole; returns whether either is
    /// new.
    pub fn tell_part(
        &self,
        held: &EndpointEntry,
        placement: &Placement,
        status: Arc<Status>,
        zones: &[Placement],
        at: Timestamp,
    ) -> bool {
        let whole = {
            let mut state = self.lock();
            if held.is_gone() {
                return false;
            }
            let parts = state.parts.entry(ShortKey::from(&held.key_hash())).or_default();
            parts.retain(|(other, _)| zones.contains(other));
            match parts.iter_mut().find(|(other, _)| other == placement) {
                Some((_, before)) if says_the_same(before, &status) => return false,
                Some((_, before)) => *before = status,
                None => parts.push((placement.clone(), status)),
            }
            parts.sort_by(|(a, _), (b, _)| a.cmp(b));
            whole_of(parts, zones)
        };
        self.tell(held, Arc::new(whole), at);
        true
    }

    /// The status of an endpoint in each of its zones; empty if it has no more than one.
    pub fn parts(&self, key: &KeyHash) -> Vec<(Placement, Arc<Status>)> {
        self.lock().parts.get(&ShortKey::from(key)).cloned().unwrap_or_default()
    }

    /// One endpoint.
    pub fn get(&self, key: &KeyHash) -> Option<EndpointEntry> {
        self.lock().index.get(&ShortKey::from(key)).cloned()
    }

    /// A page of endpoints after one of them, in the order of their keys' hashes; costs the page, not the cluster.
    pub fn page(&self, after: Option<&KeyHash>, limit: usize) -> Vec<EndpointEntry> {
        let lower = after.map_or(Bound::Unbounded, |after| Bound::Excluded(ShortKey::from(after)));
        self.lock()
            .index
            .range((lower, Bound::Unbounded))
            .take(limit)
            .map(|(_, held)| held.clone())
            .collect()
    }

    /// The endpoints of one bucket of the digest.
    pub fn bucket(&self, bucket: u8) -> Vec<EndpointEntry> {
        let (first, last) = bucket_bounds(bucket);
        self.lock().index.range(first..=last).map(|(_, held)| held.clone()).collect()
    }

    /// How much of the cluster's quota they use.
    pub fn usage(&self) -> Usage {
        self.lock().usage
    }

    /// The oldest endpoints beyond the quota that it has room for now, `limit` at most.
    pub fn wanted_by(
        &self,
        quota: &Quota,
        limit: usize,
        is_meant: impl Fn(&KeyHash) -> bool,
    ) -> Vec<KeyHash> {
        let state = self.lock();
        let (mut usage, mut wanted) = (state.usage, vec![]);
        for (before, held) in state.withheld.values() {
            if wanted.len() >= limit || !quota.has_room(&usage) {
                break;
            }
            let octets = before.withheld.map_or(0, |withheld| withheld.octets);
            if quota.bound_of(&usage, Some(before), octets).is_some() {
                continue;
            }
            let key = held.key_hash();
            if is_meant(&key) {
                usage.remove(before);
                usage.add(&Share { octets, withheld: None });
                wanted.push(key);
            }
        }
        wanted
    }

    /// How many are stored, with those beyond the quota.
    pub fn len(&self) -> usize {
        self.lock().index.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The digest of what is durable.
    pub fn digest(&self) -> SetDigest {
        self.lock().digest.clone()
    }

    /// How many are in which state.
    pub fn counts(&self) -> StatusCounts {
        self.lock().counts
    }

    /// Follows the statuses: first those that the subscriber does not hold, then each change. `held` are the digests of those
    /// that it holds, as [`SetDigest::to_bytes`]; empty if it holds nothing. `None` if they are no digests.
    pub fn follow(self: &Arc<Self>, held: &[u8]) -> Option<StatusSubscriber> {
        let mut state = self.lock();
        let differing =
            if held.is_empty() { None } else { Some(state.statuses().differing(held)?) };
        state.next_follower += 1;
        let id = state.next_follower;
        // From here on every change is noted, so none falls between the comparison and the replay.
        state.untold.insert(id, BTreeMap::new());
        let buckets = differing.clone().unwrap_or_else(|| (0..=u8::MAX).collect()).into();
        Some(StatusSubscriber {
            endpoints: Arc::clone(self),
            id,
            replay: Some(Replay { buckets, after: None, scope: differing }),
        })
    }
}

/// The first look of a follower.
struct Replay {
    /// The buckets that are left; the first may be begun.
    buckets: VecDeque<u8>,
    /// How far in the first.
    after: Option<ShortKey>,
    /// The buckets that differed; `None` if the subscriber held nothing.
    scope: Option<Vec<u8>>,
}

impl Replay {
    /// Takes the next endpoints, `limit` at most. Those without a status are among them: by the replay the subscriber learns
    /// what the broker holds.
    fn take(
        &mut self,
        index: &BTreeMap<ShortKey, EndpointEntry>,
        limit: usize,
    ) -> Vec<EndpointEntry> {
        let mut taken = vec![];
        while let Some(bucket) = self.buckets.front()
            && taken.len() < limit
        {
            let (first, last) = bucket_bounds(*bucket);
            let lower = self.after.map_or(Bound::Included(first), Bound::Excluded);
            let before = taken.len();
            for (key, held) in index.range((lower, Bound::Included(last))).take(limit - before) {
                self.after = Some(*key);
                taken.push(held.clone());
            }
            if taken.len() == before {
                self.buckets.pop_front();
                self.after = None;
            }
        }
        taken
    }
}

fn bucket_bounds(bucket: u8) -> (ShortKey, ShortKey) {
    let (mut first, mut last) = ([0; 16], [u8::MAX; 16]);
    (first[0], last[0]) = (bucket, bucket);
    (ShortKey(first), ShortKey(last))
}

/// Reads the statuses of a cluster. A slow one costs a reference for each endpoint that has changed meanwhile, and misses
/// nothing but states in between.
pub struct StatusSubscriber {
    endpoints: Arc<ClusterEndpoints>,
    id: u64,
    /// The first look, until it is over.
    replay: Option<Replay>,
}

/// Statuses that are news to a follower.
pub struct News {
    pub endpoints: Vec<EndpointEntry>,
    /// Whether they are the last of those that were there at first.
    pub replay_done: bool,
    /// At the end of the replay: the buckets that it covered; `None` for all.
    pub scope: Option<Vec<u8>>,
}

impl StatusSubscriber {
    /// The next news, up to a number of endpoints; may be empty.
    pub fn news(&mut self, limit: usize) -> News {
        let mut guard = self.endpoints.lock();
        let state = &mut *guard;
        if let Some(replay) = &mut self.replay {
            let endpoints = replay.take(&state.index, limit);
            let replay_done = replay.buckets.is_empty();
            let scope =
                if replay_done { self.replay.take().and_then(|replay| replay.scope) } else { None };
            return News { endpoints, replay_done, scope };
        }
        let mut endpoints = vec![];
        if let Some(untold) = state.untold.get_mut(&self.id) {
            while endpoints.len() < limit
                && let Some((_, held)) = untold.pop_first()
            {
                endpoints.push(held);
            }
        }
        News { endpoints, replay_done: false, scope: None }
    }

    /// Returns when there is news.
    pub async fn wait(&self) {
        loop {
            let changed = self.endpoints.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no change falls between.
            changed.as_mut().enable();
            let is_news =
                |state: &State| state.untold.get(&self.id).is_some_and(|untold| !untold.is_empty());
            if self.replay.is_some() || is_news(&self.endpoints.lock()) {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for StatusSubscriber {
    fn drop(&mut self) {
        self.endpoints.lock().untold.remove(&self.id);
    }
}

/// The status of an endpoint with several zones: the worst one, and its zone.
fn whole_of(parts: &ZoneStatuses, zones: &[Placement]) -> Status {
    let trouble = |status: &Status| match (status.verdict.state, &status.progress) {
        (VerdictState::Rejected, _) => 6,
        (VerdictState::Waiting, _) => 5,
        (_, Some(Progress::Refused { .. })) => 4,
        (_, Some(Progress::Drifted { .. })) => 3,
        (_, None | Some(Progress::Pending { .. })) => 2,
        (_, Some(Progress::Applied { .. })) => 1,
        (_, Some(Progress::InSync { .. })) => 0,
    };
    let Some((placement, worst)) =
        parts.iter().rev().max_by_key(|(_, status)| trouble(status)).cloned()
    else {
        return Status { verdict: Verdict::accepted(zones[0].clone()), progress: None };
    };
    let is_missing = zones.iter().find(|zone| parts.iter().all(|(other, _)| other != *zone));
    if let Some(zone) = is_missing
        && trouble(&worst) < 2
    {
        let progress = Progress::Pending { detail: String::new(), expected_at: None };
        return Status { verdict: Verdict::accepted(zone.clone()), progress: Some(progress) };
    }
    let mut whole = Status::clone(&worst);
    whole.verdict.placement = Some(placement.clone());
    let in_zone = |text: &mut String| {
        if !text.is_empty() {
            *text = format!("in the zone {}: {text}", placement.zone);
        }
    };
    in_zone(&mut whole.verdict.message);
    match &mut whole.progress {
        Some(Progress::Pending { detail, .. }) => in_zone(detail),
        Some(Progress::Refused { message, .. } | Progress::Drifted { message }) => in_zone(message),
        _ => {}
    }
    whole
}

/// The change that brought an endpoint into sync is sent once, and the journal has it.
fn says_the_same(before: &Status, after: &Status) -> bool {
    match (&before.progress, &after.progress) {
        (Some(Progress::InSync { .. }), Some(Progress::InSync { .. })) => {
            before.verdict == after.verdict
        }
        _ => before == after,
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
