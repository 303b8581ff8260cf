//! What became of each endpoint, as the broker tells it: the latest status a key.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::endpoint::{EndpointKey, KeyHash};
use crate::wire::v1::{EndpointStatus, Progress, StatusBatch, VerdictState};

/// The latest status of every endpoint.
#[derive(Default)]
pub struct StatusBook {
    latest: BTreeMap<KeyHash, EndpointStatus>,
    /// The keys of a replay that goes on; none when there is none.
    replayed: Option<BTreeSet<KeyHash>>,
}

/// A status that says something that was not known.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Which endpoint.
    pub key: EndpointKey,
    /// What is so now.
    pub status: EndpointStatus,
}

impl StatusBook {
    /// Starts a replay: what it does not name is forgotten when it ends.
    pub fn begin_replay(&mut self) {
        self.replayed = Some(BTreeSet::new());
    }

    /// Takes a batch and answers what is new in it.
    pub fn take(&mut self, batch: StatusBatch) -> Vec<Transition> {
        let transitions = batch.statuses.into_iter().filter_map(|status| self.take_one(status)).collect();
        if batch.replay_done
            && let Some(replayed) = self.replayed.take()
        {
            self.latest.retain(|hash, _| replayed.contains(hash));
        }
        transitions
    }

    /// Takes one status; none when it says what was known, is older, or names no endpoint.
    pub fn take_one(&mut self, status: EndpointStatus) -> Option<Transition> {
        let key: EndpointKey = status.key.clone()?.into();
        let hash = key.hash();
        if let Some(replayed) = &mut self.replayed {
            replayed.insert(hash);
        }
        let before = self.latest.get(&hash);
        if before.is_some_and(|before| status.at_ms < before.at_ms) {
            return None;
        }
        let known = before.is_some_and(|before| same_meaning(before, &status));
        self.latest.insert(hash, status.clone());
        (!known).then_some(Transition { key, status })
    }

    /// The latest status of an endpoint.
    pub fn get(&self, hash: &KeyHash) -> Option<&EndpointStatus> {
        self.latest.get(hash)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &EndpointStatus> {
        self.latest.values()
    }
}

fn same_meaning(before: &EndpointStatus, after: &EndpointStatus) -> bool {
    (before.verdict, before.progress, &before.reason, &before.message, &before.zone_id, &before.version)
        == (after.verdict, after.progress, &after.reason, &after.message, &after.zone_id, &after.version)
}

impl Transition {
    /// Writes the transition to the log: once, where a person looks first.
    pub fn log(&self) {
        let status = &self.status;
        let (endpoint, reason, message) = (self.key.to_string(), status.reason.as_str(), status.message.as_str());
        match (status.verdict(), status.progress()) {
            (VerdictState::Rejected, _) => tracing::warn!(%endpoint, reason, message, "the broker rejected an endpoint"),
            (_, Progress::Refused) => tracing::warn!(%endpoint, reason, message, "Route 53 refused an endpoint"),
            (VerdictState::Waiting, _) => tracing::info!(%endpoint, reason, message, "an endpoint waits"),
            (_, Progress::Held) => tracing::info!(%endpoint, reason, message, "an endpoint is held for approval"),
            (_, Progress::Applied | Progress::InSync) => {
                let (zone, change_id) = (status.zone_name.as_str(), status.change_id.as_str());
                tracing::info!(%endpoint, zone, change_id, progress = progress_name(status.progress()), "an endpoint is published");
            }
            _ => tracing::debug!(%endpoint, progress = progress_name(status.progress()), message, "an endpoint moves on"),
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
        EndpointStatus { key: Some(key), at_ms, progress: progress.into(), ..EndpointStatus::default() }
    }

    fn batch(statuses: &[EndpointStatus], replay_done: bool) -> StatusBatch {
        StatusBatch { statuses: statuses.to_vec(), replay_done }
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
    fn a_replay_forgets_what_it_does_not_name() {
        let mut book = StatusBook::default();
        book.take(batch(&[status("a", 1, Progress::Applied), status("b", 1, Progress::Applied)], false));
        book.begin_replay();
        assert!(book.take(batch(&[status("b", 1, Progress::Applied)], false)).is_empty());
        assert_eq!(book.iter().count(), 2);
        book.take(batch(&[], true));
        assert_eq!(book.iter().count(), 1);
    }

    #[test]
    fn a_status_without_a_key_is_ignored() {
        assert!(StatusBook::default().take(batch(&[EndpointStatus::default()], true)).is_empty());
    }
}
