//! The texts for statuses: pure functions.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::agent::kube::document::Document;
use crate::core::printable::printable;
use crate::core::time::Timestamp;
use crate::wire::v1::{EndpointStatus, Progress, VerdictState};

/// The reporter, as Kubernetes shows it.
const REPORTER: &str = "zonefold-agent";
/// How many names an event spells out.
const MOST_NAMES: usize = 3;
/// How many events one report has at most: the author of a thousand names with different problems learns of the first ones.
const MOST_EVENTS: usize = 8;
/// Kubernetes accepts 1,024 bytes of an event's message and 32,768 of a condition's.
const MAX_MESSAGE_BYTES: usize = 1_000;
/// Kubernetes accepts 253 characters of a name, and the digits after a dot are 16 of them.
const MAX_NAME_CHARS: usize = 230;

/// A report on an object, over some of its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// `Normal` or `Warning`.
    pub kind: &'static str,
    /// In CamelCase.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// When it became so, in milliseconds.
    at_ms: i64,
    naming: Naming,
}

/// How an Event gets its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Naming {
    /// The API server makes one: the same may happen again.
    Generated,
    /// From its object and content: the API server refuses it while it has the same one.
    ByContent,
}

/// How far an endpoint came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Rejected,
    Refused,
    Drifted,
    Held,
    Waiting,
    Accepted,
    Applied,
    InSync,
}

impl Stage {
    fn of(status: &EndpointStatus) -> Option<Self> {
        Some(match (status.verdict(), status.progress()) {
            (VerdictState::Rejected, _) => Self::Rejected,
            (VerdictState::Waiting, _) => Self::Waiting,
            (VerdictState::Accepted, Progress::Refused) => Self::Refused,
            (VerdictState::Accepted, Progress::Drifted) => Self::Drifted,
            (VerdictState::Accepted, Progress::Held) => Self::Held,
            (VerdictState::Accepted, Progress::Applied) => Self::Applied,
            (VerdictState::Accepted, Progress::InSync) => Self::InSync,
            (VerdictState::Accepted, Progress::Pending | Progress::Unspecified) => Self::Accepted,
            (VerdictState::Unspecified, _) => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rejected => "Rejected",
            Self::Refused => "Refused",
            Self::Drifted => "Drifted",
            Self::Held => "Held",
            Self::Waiting => "Waiting",
            Self::Accepted => "Accepted",
            Self::Applied => "Applied",
            Self::InSync => "InSync",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Refused => "refused by Route 53",
            Self::Drifted => "changed by another writer",
            Self::Held => "held for approval",
            Self::Waiting => "waiting",
            Self::Accepted => "accepted",
            Self::Applied => "applied at Route 53",
            Self::InSync => "served by all of Route 53's servers",
        }
    }

    fn is_wrong(self) -> bool {
        matches!(self, Self::Rejected | Self::Refused | Self::Drifted | Self::Waiting)
    }
}

/// Whether a person has to act.
pub fn is_wrong(status: &EndpointStatus) -> bool {
    Stage::of(status).is_some_and(Stage::is_wrong)
}

/// One event for each stage that some of the endpoints came to; where they have reasons, one for each reason. What is wrong comes
/// first; when there are too many, the last says how many names are left out.
pub fn events<'a>(statuses: impl Iterator<Item = &'a EndpointStatus>) -> Vec<Event> {
    let mut groups: BTreeMap<(Stage, [&str; 3]), Vec<&EndpointStatus>> = BTreeMap::new();
    for status in statuses {
        if let Some(stage) = Stage::of(status) {
            groups.entry((stage, told_beside(stage, status))).or_default().push(status);
        }
    }
    let mut groups = groups.into_iter();
    let told_of = if groups.len() > MOST_EVENTS { MOST_EVENTS - 1 } else { MOST_EVENTS };
    let mut events: Vec<Event> = groups
        .by_ref()
        .take(told_of)
        .map(|((stage, beside), group)| event(stage, beside, &group))
        .collect();
    let rest: Vec<&EndpointStatus> = groups.flat_map(|(_, group)| group).collect();
    if !rest.is_empty() {
        events.push(Event {
            kind: if rest.iter().any(|status| is_wrong(status)) { "Warning" } else { "Normal" },
            reason: "More",
            message: cut(format!("{}: ask `zonefold why` for their statuses", names(&rest))),
            at_ms: rest.iter().map(|status| status.at_ms).max().unwrap_or(0),
            naming: Naming::Generated,
        });
    }
    events
}

/// One event for each thing in an object that was not read as it is written; when there are too many, the last says how many are
/// left.
pub fn warnings(messages: &[String], at: Timestamp) -> Vec<Event> {
    let event = |message: String| Event {
        kind: "Warning",
        reason: "Ignored",
        message: cut(message),
        at_ms: at.0,
        naming: Naming::ByContent,
    };
    let spelled = if messages.len() > MOST_EVENTS { MOST_EVENTS - 1 } else { MOST_EVENTS };
    let mut events: Vec<Event> = messages.iter().take(spelled).cloned().map(event).collect();
    match messages.len().saturating_sub(spelled) {
        0 => {}
        more => events.push(event(format!("and {more} more: see the agent's log"))),
    }
    events
}

/// Of a stage that goes well, the zone, its account and, once applied, the message; of any other, the reason and
/// the message.
fn told_beside(stage: Stage, status: &EndpointStatus) -> [&str; 3] {
    match stage {
        Stage::Accepted => [&status.zone_name, &status.account, ""],
        Stage::Applied | Stage::InSync => [&status.zone_name, &status.account, &status.message],
        _ => [&status.reason, &status.message, ""],
    }
}

fn event(stage: Stage, beside: [&str; 3], group: &[&EndpointStatus]) -> Event {
    let mut text = format!("{}: {}", names(group), stage.in_words());
    match (stage >= Stage::Accepted, beside) {
        (true, ["", ..]) | (false, ["", "", _]) => {}
        (true, [zone, account, _]) => text += &format!(" in the zone {zone} of account {account}"),
        (false, [reason, message, _]) => text += &format!(" ({reason}): {message}"),
    }
    if let [.., note] = beside
        && !note.is_empty()
    {
        text += &format!(": {note}");
    }
    Event {
        kind: if stage.is_wrong() { "Warning" } else { "Normal" },
        reason: stage.name(),
        message: cut(text),
        at_ms: group.iter().map(|status| status.at_ms).max().unwrap_or(0),
        naming: Naming::Generated,
    }
}

fn names(group: &[&EndpointStatus]) -> String {
    let name = |status: &&EndpointStatus| {
        status
            .key
            .as_ref()
            .map(|key| format!("{} {}", key.dns_name, key.record_type))
            .unwrap_or_default()
    };
    let spelled: Vec<String> = group.iter().take(MOST_NAMES).map(name).collect();
    match group.len().saturating_sub(MOST_NAMES) {
        0 => spelled.join(", "),
        more => format!("{} and {more} more", spelled.join(", ")),
    }
}

/// As Kubernetes accepts it, and safe for a terminal: `kubectl describe` shows it as it is.
fn cut(text: String) -> String {
    let mut text = printable(&text).into_owned();
    if text.len() > MAX_MESSAGE_BYTES {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE_BYTES - 4));
        text.push('…');
    }
    text
}

fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

impl Event {
    /// A name from its object and content.
    fn name(&self, document: &Document) -> String {
        let metadata = &document.metadata;
        let mut hash = Sha256::new();
        for part in [metadata.uid.as_str(), self.reason, &self.message] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digits =
            hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let name: String = metadata.name.chars().take(MAX_NAME_CHARS).collect();
        format!("{}.{digits}", name.trim_end_matches(['.', '-']))
    }

    /// The Event as Kubernetes accepts it.
    pub fn body(&self, document: &Document, api_version: &str, kind: &str) -> Value {
        let metadata = &document.metadata;
        let at = time(self.at_ms);
        let (how, name) = match self.naming {
            Naming::Generated => ("generateName", format!("{}.", metadata.name)),
            Naming::ByContent => ("name", self.name(document)),
        };
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {how: name, "namespace": metadata.namespace.as_str()},
            "involvedObject": {
                "apiVersion": api_version,
                "kind": kind,
                "namespace": metadata.namespace.as_str(),
                "name": metadata.name.as_str(),
                "uid": metadata.uid.as_str(),
                "resourceVersion": metadata.resource_version.as_str(),
            },
            "type": self.kind,
            "reason": self.reason,
            "message": self.message,
            "count": 1,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "source": {"component": REPORTER},
            "reportingComponent": REPORTER,
            "reportingInstance": "",
        })
    }
}

/// A condition of a DNSEndpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    name: &'static str,
    status: &'static str,
    reason: String,
    message: String,
    generation: i64,
    since: String,
}

impl Condition {
    /// The names of all of them.
    const NAMES: [&str; 3] = ["Accepted", "Programmed", "InSync"];

    /// Sums up the statuses of all endpoints of an object. Conditions that did not change keep their time from `before`.
    pub fn all(statuses: &[&EndpointStatus], generation: i64, before: &Value) -> [Self; 3] {
        Self::NAMES.map(|name| {
            let (status, decisive) = match name {
                "Accepted" => verdict(statuses),
                "Programmed" => all_at(statuses, Stage::Applied),
                _ => all_at(statuses, Stage::InSync),
            };
            let stages: Vec<&EndpointStatus> =
                statuses.iter().copied().filter(|one| Stage::of(one) == decisive).collect();
            let first = stages.first().copied();
            let words = decisive.map_or("not judged yet", Stage::in_words);
            let message = first.map_or("", |status| status.message.as_str());
            let message = if status == "True" || message.is_empty() {
                String::new()
            } else {
                format!(": {message}")
            };
            let latest_ms = statuses.iter().map(|status| status.at_ms).max().unwrap_or(0);
            Self {
                name,
                status,
                reason: decisive.map_or("Pending", Stage::name).to_owned(),
                message: cut(format!("{}: {words}{message}", names(&stages))),
                generation,
                since: since(before, name, status).unwrap_or_else(|| time(latest_ms)),
            }
        })
    }

    /// Whether the conditions of an object say this already.
    pub fn is_in(&self, conditions: &Value) -> bool {
        find(conditions, self.name).is_some_and(|found| *found == self.to_json())
    }

    /// The condition as Kubernetes accepts it.
    pub fn to_json(&self) -> Value {
        json!({
            "type": self.name,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": self.generation,
            "lastTransitionTime": self.since,
        })
    }
}

/// The conditions that others wrote.
pub fn conditions_of_others(conditions: &Value) -> Vec<Value> {
    let is_ours = |condition: &Value| {
        condition["type"].as_str().is_some_and(|name| Condition::NAMES.contains(&name))
    };
    conditions
        .as_array()
        .into_iter()
        .flatten()
        .filter(|condition| !is_ours(condition))
        .cloned()
        .collect()
}

fn find<'a>(conditions: &'a Value, name: &str) -> Option<&'a Value> {
    conditions.as_array()?.iter().find(|condition| condition["type"] == name)
}

fn since(before: &Value, name: &str, status: &str) -> Option<String> {
    let found = find(before, name).filter(|found| found["status"] == status)?;
    Some(found["lastTransitionTime"].as_str()?.to_owned())
}

/// Accepted when all are; the worst decides.
fn verdict(statuses: &[&EndpointStatus]) -> (&'static str, Option<Stage>) {
    let stage = |wanted| {
        statuses
            .iter()
            .find(|status| status.verdict() == wanted)
            .and_then(|status| Stage::of(status))
    };
    if let Some(rejected) = stage(VerdictState::Rejected) {
        return ("False", Some(rejected));
    }
    if let Some(waiting) = stage(VerdictState::Waiting) {
        return ("Unknown", Some(waiting));
    }
    ("True", statuses.iter().filter_map(|status| Stage::of(status)).min())
}

fn all_at(statuses: &[&EndpointStatus], wanted: Stage) -> (&'static str, Option<Stage>) {
    let worst = statuses.iter().filter_map(|status| Stage::of(status)).min();
    (if worst.is_some_and(|worst| worst >= wanted) { "True" } else { "False" }, worst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1;

    #[test]
    fn many_warnings_of_one_object_are_a_few_events() {
        let messages: Vec<String> = (0..20).map(|n| format!("warning {n:02}")).collect();
        let told = warnings(&messages, Timestamp(0));
        assert_eq!(told.len(), MOST_EVENTS);
        assert!(told.iter().all(|event| (event.kind, event.reason) == ("Warning", "Ignored")));
        assert_eq!(told.last().unwrap().message, "and 13 more: see the agent's log");
        assert_eq!(warnings(&messages[..8], Timestamp(0)).len(), 8);
    }

    pub fn status(
        host: &str,
        verdict: VerdictState,
        progress: Progress,
        reason: &str,
        message: &str,
    ) -> EndpointStatus {
        EndpointStatus {
            key: Some(v1::EndpointKey {
                dns_name: host.to_owned(),
                record_type: "A".to_owned(),
                ..v1::EndpointKey::default()
            }),
            verdict: verdict.into(),
            progress: progress.into(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            account: "111122223333".to_owned(),
            zone_name: "example.com".to_owned(),
            at_ms: 1_700_000_000_000,
            ..EndpointStatus::default()
        }
    }

    fn accepted(host: &str, progress: Progress) -> EndpointStatus {
        status(host, VerdictState::Accepted, progress, "", "")
    }

    fn said(statuses: &[EndpointStatus]) -> Vec<String> {
        events(statuses.iter())
            .iter()
            .map(|event| format!("{} {}: {}", event.kind, event.reason, event.message))
            .collect()
    }

    #[test]
    fn names_that_came_to_the_same_stage_are_one_event() {
        let five: Vec<EndpointStatus> =
            (1..=5).map(|n| accepted(&format!("h{n}.example.com"), Progress::InSync)).collect();
        assert_eq!(
            said(&five),
            [
                "Normal InSync: h1.example.com A, h2.example.com A, h3.example.com A and 2 more: served by all of Route 53's servers in the zone example.com of account 111122223333"
            ]
        );
    }

    #[test]
    fn names_in_two_zones_are_two_events() {
        let mut other = accepted("b.example.org", Progress::Applied);
        other.zone_name = "example.org".to_owned();
        assert_eq!(
            said(&[accepted("a.example.com", Progress::Applied), other]),
            [
                "Normal Applied: a.example.com A: applied at Route 53 in the zone example.com of account 111122223333",
                "Normal Applied: b.example.org A: applied at Route 53 in the zone example.org of account 111122223333"
            ]
        );
    }

    #[test]
    fn a_thousand_mistakes_are_a_few_events_that_say_how_many_are_left() {
        let mistake = |n: usize| {
            let (host, message) = (format!("h{n:04}"), format!("mistake {n:04}"));
            status(&host, VerdictState::Rejected, Progress::Unspecified, "BAD_NAME", &message)
        };
        let told = said(&(0..1_000).map(mistake).collect::<Vec<_>>());
        assert_eq!(told.len(), MOST_EVENTS);
        assert_eq!(
            told.last().unwrap(),
            "Warning More: h0007 A, h0008 A, h0009 A and 990 more: ask `zonefold why` for their statuses"
        );
    }

    #[test]
    fn a_rejection_tells_its_reason_and_the_winner() {
        let held = status(
            "a.example.com",
            VerdictState::Waiting,
            Progress::Unspecified,
            "NAME_HELD",
            "the cluster east holds it",
        );
        let bad = status(
            "b.example.com",
            VerdictState::Rejected,
            Progress::Unspecified,
            "BAD_TARGET",
            "no address",
        );
        assert_eq!(
            said(&[held, bad]),
            [
                "Warning Rejected: b.example.com A: rejected (BAD_TARGET): no address",
                "Warning Waiting: a.example.com A: waiting (NAME_HELD): the cluster east holds it"
            ]
        );
        let long = status(
            "b.example.com",
            VerdictState::Rejected,
            Progress::Unspecified,
            "X",
            &"ä".repeat(2_000),
        );
        assert!(events([long].iter())[0].message.len() <= MAX_MESSAGE_BYTES);
    }

    #[test]
    fn conditions_add_up_to_the_worst() {
        let table = |statuses: &[EndpointStatus]| {
            let all: Vec<&EndpointStatus> = statuses.iter().collect();
            Condition::all(&all, 4, &Value::Null)
                .map(|condition| format!("{} {}", condition.status, condition.reason))
        };
        let (applied, synced) = (accepted("a", Progress::Applied), accepted("b", Progress::InSync));
        let rejected = status("c", VerdictState::Rejected, Progress::Unspecified, "X", "no");
        let waiting =
            status("d", VerdictState::Waiting, Progress::Unspecified, "NAME_HELD", "held");
        assert_eq!(
            table(std::slice::from_ref(&synced)),
            ["True InSync", "True InSync", "True InSync"]
        );
        assert_eq!(
            table(&[applied.clone(), synced.clone()]),
            ["True Applied", "True Applied", "False Applied"]
        );
        assert_eq!(
            table(&[accepted("a", Progress::Pending)]),
            ["True Accepted", "False Accepted", "False Accepted"]
        );
        assert_eq!(
            table(&[synced.clone(), waiting.clone()]),
            ["Unknown Waiting", "False Waiting", "False Waiting"]
        );
        assert_eq!(
            table(&[synced, waiting, rejected]),
            ["False Rejected", "False Rejected", "False Rejected"]
        );
    }

    #[test]
    fn a_condition_that_says_the_same_keeps_its_time() {
        let one = accepted("a", Progress::Applied);
        let first = Condition::all(&[&one], 1, &Value::Null);
        let before = Value::from(first.iter().map(Condition::to_json).collect::<Vec<_>>());
        assert!(first.iter().all(|condition| condition.is_in(&before)));
        let later = EndpointStatus { at_ms: 1_800_000_000_000, ..accepted("a", Progress::InSync) };
        let [is_accepted, _, in_sync] = Condition::all(&[&later], 1, &before);
        assert_eq!(
            (is_accepted.since.as_str(), in_sync.since.as_str()),
            ("2023-11-14T22:13:20Z", "2027-01-15T08:00:00Z")
        );
        assert_eq!(
            conditions_of_others(&json!([{"type": "Mine"}, {"type": "InSync"}])),
            [json!({"type": "Mine"})]
        );
    }
}
