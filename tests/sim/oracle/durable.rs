//! 1: After an ack no crash of anything but the disk loses what was acked, and a fenced session commits nothing.

use std::collections::BTreeMap;

use zonefold::core::endpoint::{EndpointKey, KeyHash, Version};
use zonefold::core::ids::ClusterId;
use zonefold::core::invariants::Invariant;
use zonefold::core::time::Timestamp;

use super::Violation;
use super::history::{Agent, Commit, History, Op, RowChange, What};

/// A stored row, or its absence, by the store's log.
struct Row {
    /// None: removed.
    version: Option<Version>,
    /// The epoch of the session that wrote it last.
    epoch: u64,
    key: EndpointKey,
}

/// The operations that a session sent, in order, and how many of them were looked at when an ack came.
#[derive(Default)]
struct Session {
    sent: Vec<(u64, Op)>,
    acked: u64,
}

#[derive(Default)]
struct Reading {
    rows: BTreeMap<(ClusterId, KeyHash), Row>,
    newest: BTreeMap<ClusterId, u64>,
    sessions: BTreeMap<(Agent, u64), Session>,
    violations: Vec<Violation>,
}

/// At the moment of each ack the store has what the ack covers, unless a later operation of the session or a newer session says
/// otherwise; what the store committed is what it holds at the end.
pub fn judge(history: &History) -> Vec<Violation> {
    let mut reading = Reading::default();
    for event in &history.log {
        match &event.what {
            What::Sent { agent, epoch, ops, seq } => {
                let session = reading.sessions.entry((agent.clone(), *epoch)).or_default();
                session.sent.extend(ops.iter().map(|op| (*seq, op.clone())));
            }
            What::Acked { agent, epoch, seq } => reading.acked(agent, *epoch, *seq, event.at),
            What::Committed { commit: Commit::Session { cluster, epoch, .. }, .. } => {
                reading.opened(cluster, *epoch, event.at)
            }
            What::Committed {
                commit: Commit::Ingest { cluster, epoch, newest_epoch, rows, .. },
                ..
            } => {
                reading.committed(cluster, *epoch, *newest_epoch, rows, event.at);
            }
            _ => {}
        }
    }
    reading.compare_with_the_end(history);
    reading.violations
}

impl Reading {
    fn found(&mut self, at: Timestamp, what: String, key: Option<&EndpointKey>) {
        let violation = Violation::new(Invariant::AckedIsDurable, at, what);
        self.violations
            .push(key.iter().fold(violation, |violation, key| violation.about(&key.dns_name)));
    }

    fn opened(&mut self, cluster: &ClusterId, epoch: u64, at: Timestamp) {
        let newest = self.newest.entry(cluster.clone()).or_default();
        if epoch <= *newest {
            let what = format!(
                "a session of {cluster} was opened under epoch {epoch} after one under epoch {newest}"
            );
            self.found(at, what, None);
        } else {
            *newest = epoch;
        }
    }

    /// `newest` is what the store says of itself; what it said when it opened sessions counts as well.
    fn committed(
        &mut self,
        cluster: &ClusterId,
        epoch: u64,
        newest: u64,
        rows: &[RowChange],
        at: Timestamp,
    ) {
        let newest = self.newest.get(cluster).copied().unwrap_or_default().max(newest);
        if epoch < newest {
            let key = rows.first().map(RowChange::key);
            self.found(
                at,
                format!(
                    "the session {epoch} of {cluster} committed after session {newest} was opened"
                ),
                key,
            );
        }
        for row in rows {
            let (key, version) = (row.key(), version_of(row));
            self.rows
                .insert((cluster.clone(), key.hash()), Row { version, epoch, key: key.clone() });
        }
    }

    fn acked(&mut self, agent: &Agent, epoch: u64, seq: u64, at: Timestamp) {
        let Some(session) = self.sessions.get_mut(&(agent.clone(), epoch)) else { return };
        let before = session.acked;
        session.acked = seq.max(before);
        let mut lost = vec![];
        for (place, (sent_seq, op)) in session.sent.iter().enumerate() {
            if !(before + 1..=seq).contains(sent_seq) || is_misversioned(op) {
                continue;
            }
            let hash = key_of_op(op).hash();
            let row = self.rows.get(&(agent.cluster.clone(), hash));
            let is_superseded = row.is_some_and(|row| row.epoch > epoch);
            // An operation sent later may be committed already, and one sent earlier never counts again.
            let mut since = session.sent[place..]
                .iter()
                .map(|(_, op)| op)
                .filter(|op| key_of_op(op).hash() == hash);
            if !is_superseded && !since.any(|op| is_carried_out(op, row)) {
                lost.push((*sent_seq, op.clone()));
            }
        }
        for (sent_seq, op) in lost {
            let key = key_of_op(&op);
            let verb = if matches!(op, Op::Put { .. }) { "stored" } else { "removed" };
            let what = format!(
                "{agent} got the ack {seq} in session {epoch}, and {key} of message {sent_seq} is not {verb}"
            );
            self.found(at, what, Some(key));
        }
    }

    fn compare_with_the_end(&mut self, history: &History) {
        let at = history.end.at;
        let mut held: BTreeMap<(ClusterId, KeyHash), (Version, &EndpointKey)> = BTreeMap::new();
        for row in &history.end.endpoints {
            held.insert((row.cluster.clone(), row.key), (row.version, &row.endpoint.key));
        }
        let mut wrong = vec![];
        for (at, row) in &self.rows {
            let now = held.remove(at);
            if now.map(|(version, _)| version) != row.version {
                wrong.push((
                    format!("{} of {} is not in the store as it was committed last", row.key, at.0),
                    row.key.clone(),
                ));
            }
        }
        for ((cluster, _), (_, key)) in held {
            wrong.push((
                format!("{key} of {cluster} is in the store, and nobody committed it"),
                key.clone(),
            ));
        }
        for (what, key) in wrong {
            self.found(at, what, Some(&key));
        }
    }
}

fn version_of(row: &RowChange) -> Option<Version> {
    match row {
        RowChange::Stored(endpoint) => Some(endpoint.version()),
        RowChange::Withheld(_, version) => Some(*version),
        RowChange::Removed(_) => None,
    }
}

fn key_of_op(op: &Op) -> &EndpointKey {
    match op {
        Op::Put { endpoint, .. } => &endpoint.key,
        Op::Del { key, .. } => key,
    }
}

/// A put whose version is not the hash of its content is not stored but answered.
fn is_misversioned(op: &Op) -> bool {
    matches!(op, Op::Put { endpoint, version } if endpoint.version() != *version)
}

fn is_carried_out(op: &Op, row: Option<&Row>) -> bool {
    let stored = row.and_then(|row| row.version);
    match op {
        Op::Put { version, .. } => stored == Some(*version),
        // Another version than the one seen is not removed.
        Op::Del { version_seen, .. } => {
            stored.is_none() || (version_seen.is_some() && stored != *version_seen)
        }
    }
}
