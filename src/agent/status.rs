//! The latest status of each endpoint, by key, as the broker sends it.

use std::collections::{BTreeMap, BTreeSet};

use arcstr::ArcStr;
use bytes::Bytes;
use prost::Message as _;

use super::sources::{ObjectRef, SourceKind, object_name};
use crate::core::endpoint::digest::SetDigest;
use crate::core::endpoint::{EndpointKey, KeyHash};
use crate::wire::convert::status_hash;
use crate::wire::v1::{EndpointStatus, Progress, StatusBatch, VerdictState};

/// The latest status of every endpoint.
#[derive(Default)]
pub struct StatusBook {
    latest: BTreeMap<KeyHash, Told>,
    /// Covers the keys and their statuses: by it the broker finds what is new.
    digest: SetDigest,
    /// The keys of the current replay; `None` if none is running.
    replayed: Option<BTreeSet<KeyHash>>,
    /// How many replays were begun.
    streams: u64,
    /// Whether a replay came to its end.
    complete: bool,
    /// New statuses since the last call, by object; `None` if they are not collected.
    touched: Option<BTreeMap<TouchedObject, BTreeSet<KeyHash>>>,
}

/// A status, and since which replay it was sent.
struct Told {
    /// As the protocol encodes it: one allocation of its size, where the message has a dozen and keeps hold of the buffer that it
    /// was read from.
    packed: Box<[u8]>,
    stream: u64,
}

impl Told {
    fn new(status: &EndpointStatus, stream: u64) -> Self {
        Self { packed: status.encode_to_vec().into_boxed_slice(), stream }
    }

    fn status(&self) -> EndpointStatus {
        // It was encoded here.
        EndpointStatus::decode(&*self.packed).unwrap_or_default()
    }
}

/// An object with a new status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TouchedObject {
    /// The kind of its source.
    pub source: ArcStr,
    pub namespace: ArcStr,
    pub name: ArcStr,
}

impl TouchedObject {
    /// The object by the name that statuses give it.
    pub fn of(object: &ObjectRef) -> Self {
        Self {
            source: object.source.name(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        }
    }

    /// The object by the name that sources give it; `None` if its kind is not one that is read.
    pub fn reference(&self) -> Option<ObjectRef> {
        let source = SourceKind::parse(&self.source)?;
        Some(ObjectRef { source, namespace: self.namespace.clone(), name: self.name.clone() })
    }
}

/// A status that says something new.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The endpoint.
    pub key: EndpointKey,
    /// Its status now.
    pub status: EndpointStatus,
}

impl StatusBook {
    /// The digests of the held statuses, for a watch request; empty if none is held.
    pub fn held_digests(&self) -> Bytes {
        if self.latest.is_empty() { Bytes::new() } else { Bytes::from(self.digest.to_bytes()) }
    }

    /// Starts a replay: what it does not name is forgotten when it ends, in the buckets that it covers.
    pub fn begin_replay(&mut self) {
        self.replayed = Some(BTreeSet::new());
        self.streams += 1;
    }

    /// Marks the broker's state as unknown: another agent may have spoken to the broker.
    pub fn start_over(&mut self) {
        self.complete = false;
    }

    /// Applies a batch and returns what is new in it.
    pub fn take(&mut self, batch: StatusBatch) -> Vec<Transition> {
        let transitions =
            batch.statuses.into_iter().filter_map(|status| self.take_one(status)).collect();
        if batch.replay_done
            && let Some(replayed) = self.replayed.take()
        {
            self.complete = true;
            let covered = batch.replay_scope.map(|scope| scope.buckets);
            let is_covered = |hash| {
                covered.as_ref().is_none_or(|buckets| buckets.contains(&SetDigest::bucket_of(hash)))
            };
            let gone: Vec<KeyHash> = self
                .latest
                .keys()
                .filter(|hash| is_covered(hash) && !replayed.contains(*hash))
                .copied()
                .collect();
            self.forget(&gone);
        }
        transitions
    }

    /// Collects new statuses from now on, for [`Self::take_touched`].
    pub fn note_touched(&mut self) {
        self.touched.get_or_insert_default();
    }

    /// The objects with new statuses since the last call, with their endpoints. The first replay repeats earlier statuses: its
    /// objects come without endpoints.
    pub fn take_touched(&mut self) -> BTreeMap<TouchedObject, BTreeSet<KeyHash>> {
        self.touched.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether there are any.
    pub fn is_touched(&self) -> bool {
        self.touched.as_ref().is_some_and(|touched| !touched.is_empty())
    }

    /// Forgets endpoints that are gone.
    pub fn forget(&mut self, hashes: &[KeyHash]) {
        for hash in hashes {
            if let Some(told) = self.latest.remove(hash) {
                self.digest.remove(hash, &status_hash(&told.status()));
            }
        }
    }

    /// Forgets statuses that are not to be kept, by key and kind of source.
    pub fn keep(&mut self, is_kept: impl Fn(&KeyHash, &str) -> bool) {
        let is_gone = |(hash, told): &(&KeyHash, &Told)| !is_kept(hash, source_of(&told.status()));
        let gone: Vec<KeyHash> =
            self.latest.iter().filter(is_gone).map(|(hash, _)| *hash).collect();
        self.forget(&gone);
    }

    /// Whether it names every endpoint that the broker held when it was asked first, by this agent or since it leads.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.latest.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }

    /// Applies one status; `None` if it says what was known, is older, or names no endpoint.
    pub fn take_one(&mut self, status: EndpointStatus) -> Option<Transition> {
        let key: EndpointKey = status.key.clone()?.into();
        let hash = key.hash();
        if let Some(replayed) = &mut self.replayed {
            replayed.insert(hash);
        }
        let before = self.latest.get(&hash).map(|told| (told.status(), told.stream));
        // A status that a replay names is current, whatever its broker's clock says; so is one that changes after a replay that
        // did not need to name it: another broker's clock, or this one's before it was set, may have been ahead.
        let is_comparable = |stream: u64| self.replayed.is_none() && stream == self.streams;
        if before
            .as_ref()
            .is_some_and(|(before, stream)| is_comparable(*stream) && status.at_ms < before.at_ms)
        {
            return None;
        }
        let known = before.as_ref().is_some_and(|(before, _)| same_meaning(before, &status));
        if let Some((before, _)) = before {
            self.digest.remove(&hash, &status_hash(&before));
        }
        self.digest.insert(&hash, &status_hash(&status));
        self.latest.insert(hash, Told::new(&status, self.streams));
        if let Some(touched) = self.touched.as_mut().filter(|_| !known) {
            let (source, namespace, name) =
                (key.source.clone(), key.namespace.clone(), object_name(&key.object));
            let new = touched.entry(TouchedObject { source, namespace, name }).or_default();
            if self.complete {
                new.insert(hash);
            }
        }
        (!known).then_some(Transition { key, status })
    }

    /// The latest status of an endpoint.
    pub fn get(&self, hash: &KeyHash) -> Option<EndpointStatus> {
        self.latest.get(hash).map(Told::status)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = EndpointStatus> {
        self.latest.values().map(Told::status)
    }
}

/// The source of a status's endpoint.
fn source_of(status: &EndpointStatus) -> &str {
    status.key.as_ref().map_or("", |key| &key.source)
}

fn same_meaning(before: &EndpointStatus, after: &EndpointStatus) -> bool {
    (
        before.verdict,
        before.progress,
        &before.reason,
        &before.message,
        &before.zone_id,
        &before.version,
    ) == (
        after.verdict,
        after.progress,
        &after.reason,
        &after.message,
        &after.zone_id,
        &after.version,
    )
}

impl Transition {
    /// Writes the transition to the log: once, where a person looks first.
    pub fn log(&self) {
        let status = &self.status;
        let (endpoint, reason, message) =
            (self.key.to_string(), status.reason.as_str(), status.message.as_str());
        match (status.verdict(), status.progress()) {
            (VerdictState::Rejected, _) => {
                tracing::warn!(%endpoint, reason, message, "the broker rejected an endpoint")
            }
            (_, Progress::Refused) => {
                tracing::warn!(%endpoint, reason, message, "Route 53 refused an endpoint")
            }
            (VerdictState::Waiting, _) => {
                tracing::info!(%endpoint, reason, message, "an endpoint waits")
            }
            (_, Progress::Held) => {
                tracing::info!(%endpoint, reason, message, "an endpoint is held for approval")
            }
            (_, Progress::Applied | Progress::InSync) => {
                let (zone, change_id) = (status.zone_name.as_str(), status.change_id.as_str());
                tracing::info!(%endpoint, zone, change_id, progress = progress_name(status.progress()), "an endpoint is published");
            }
            _ => {
                tracing::debug!(%endpoint, progress = progress_name(status.progress()), message, "an endpoint moves on")
            }
        }
    }
}

/// The name of a verdict in logs and JSON.
pub fn verdict_name(verdict: VerdictState) -> &'static str {
    match verdict {
        VerdictState::Unspecified => "unknown",
        VerdictState::Accepted => "accepted",
        VerdictState::Waiting => "waiting",
        VerdictState::Rejected => "rejected",
    }
}

/// The name of a progress in logs and JSON.
pub fn progress_name(progress: Progress) -> &'static str {
    match progress {
        Progress::Unspecified => "unknown",
        Progress::Pending => "pending",
        Progress::Applied => "applied",
        Progress::InSync => "in_sync",
        Progress::Held => "held",
        Progress::Refused => "refused",
        Progress::Drifted => "drifted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1;

    fn status(name: &str, at_ms: i64, progress: Progress) -> EndpointStatus {
        let key = v1::EndpointKey { dns_name: name.to_owned(), ..v1::EndpointKey::default() };
        EndpointStatus {
            key: Some(key),
            at_ms,
            progress: progress.into(),
            ..EndpointStatus::default()
        }
    }

    fn batch(statuses: &[EndpointStatus], replay_done: bool) -> StatusBatch {
        StatusBatch { statuses: statuses.to_vec(), replay_done, replay_scope: None }
    }

    fn hash_of(status: &EndpointStatus) -> KeyHash {
        EndpointKey::from(status.key.clone().unwrap()).hash()
    }

    #[test]
    fn a_replay_of_some_buckets_leaves_the_others_alone() {
        let all: Vec<EndpointStatus> =
            (0..50).map(|n| status(&format!("host{n}"), 1, Progress::Applied)).collect();
        let mut book = StatusBook::default();
        assert!(book.held_digests().is_empty());
        book.take(batch(&all, false));
        let bucket = SetDigest::bucket_of(&hash_of(&all[0]));
        let (inside, outside): (Vec<_>, Vec<_>) = all
            .iter()
            .cloned()
            .partition(|status| SetDigest::bucket_of(&hash_of(status)) == bucket);
        book.begin_replay();
        let scope = v1::ReplayScope { buckets: vec![bucket].into() };
        // The clock of the broker that is back is behind, and its statuses count all the same.
        let back = status("host0", 0, Progress::InSync);
        book.take(StatusBatch {
            statuses: vec![back.clone()],
            replay_done: true,
            replay_scope: Some(scope),
        });
        assert_eq!(
            book.iter().count(),
            outside.len() + 1,
            "{} of {} were in the bucket",
            inside.len(),
            all.len()
        );
        assert_eq!(book.get(&hash_of(&back)).unwrap().progress(), Progress::InSync);
        let mut anew = StatusBook::default();
        anew.take(batch(&outside, false));
        anew.take(batch(&[back], false));
        assert_eq!(book.held_digests(), anew.held_digests());
    }

    #[test]
    fn what_is_not_kept_leaves_no_trace() {
        let (wanted, gone) = (status("a", 1, Progress::Applied), status("b", 1, Progress::Applied));
        let mut book = StatusBook::default();
        book.take(batch(&[wanted.clone(), gone], false));
        book.keep(|hash, _| *hash == hash_of(&wanted));
        let mut anew = StatusBook::default();
        anew.take(batch(&[wanted], false));
        assert_eq!((book.len(), book.held_digests()), (1, anew.held_digests()));
    }

    #[test]
    fn what_is_forgotten_leaves_no_trace() {
        let mut book = StatusBook::default();
        let a = status("a", 1, Progress::Applied);
        book.take(batch(&[a.clone(), status("b", 1, Progress::Pending)], false));
        let mut one = StatusBook::default();
        one.take(batch(&[status("b", 7, Progress::Pending)], false));
        book.forget(&[hash_of(&a)]);
        assert_eq!(book.held_digests(), one.held_digests());
    }

    #[test]
    fn a_transition_is_told_once_and_an_older_status_never() {
        let mut book = StatusBook::default();
        assert_eq!(book.take(batch(&[status("a", 1, Progress::Pending)], false)).len(), 1);
        assert!(book.take(batch(&[status("a", 2, Progress::Pending)], false)).is_empty());
        assert_eq!(book.take(batch(&[status("a", 3, Progress::Applied)], false)).len(), 1);
        assert!(book.take(batch(&[status("a", 2, Progress::Pending)], false)).is_empty());
        assert_eq!(book.iter().next().unwrap().progress(), Progress::Applied);
    }

    #[test]
    fn what_changes_after_a_replay_that_had_nothing_to_name_is_so_whatever_the_clock() {
        let mut book = StatusBook::default();
        book.begin_replay();
        book.take(batch(&[status("a", 9, Progress::Pending)], true));
        book.begin_replay();
        let nothing = v1::ReplayScope { buckets: vec![].into() };
        book.take(StatusBatch { statuses: vec![], replay_done: true, replay_scope: Some(nothing) });
        assert_eq!(book.take(batch(&[status("a", 4, Progress::Applied)], false)).len(), 1);
        assert!(
            book.take(batch(&[status("a", 3, Progress::Pending)], false)).is_empty(),
            "one stream's clock goes forward"
        );
        assert_eq!(book.iter().next().unwrap().progress(), Progress::Applied);
    }

    #[test]
    fn a_replay_forgets_what_it_does_not_name() {
        let mut book = StatusBook::default();
        book.take(batch(
            &[status("a", 1, Progress::Applied), status("b", 1, Progress::Applied)],
            false,
        ));
        book.begin_replay();
        assert!(book.take(batch(&[status("b", 1, Progress::Applied)], false)).is_empty());
        assert_eq!(book.iter().count(), 2);
        book.take(batch(&[], true));
        assert_eq!(book.iter().count(), 1);
    }

    #[test]
    fn what_the_first_replay_names_is_not_news() {
        let mut book = StatusBook::default();
        book.take(batch(&[status("a", 1, Progress::Applied)], false));
        assert!(!book.is_touched(), "nobody asked");
        book.note_touched();
        book.begin_replay();
        book.take(batch(&[status("b", 1, Progress::Applied)], true));
        assert!(book.take_touched().into_values().all(|new| new.is_empty()));
        book.take(batch(&[status("b", 2, Progress::InSync)], false));
        book.take(batch(&[status("b", 3, Progress::InSync)], false));
        assert_eq!(
            book.take_touched().into_values().collect::<Vec<_>>(),
            [BTreeSet::from([hash_of(&status("b", 0, Progress::InSync))])]
        );
        assert!(!book.is_touched());
    }

    #[test]
    fn a_status_without_a_key_is_ignored() {
        assert!(StatusBook::default().take(batch(&[EndpointStatus::default()], true)).is_empty());
    }
}
