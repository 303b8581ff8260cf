//! Reports on each object the outcome of its names, and which parts were not read as written: Events on every kind,
//! conditions on DNSEndpoints.
//!
//! The statuses and the index say which objects have news. Objects are reported one at a time, with their latest state only,
//! those with problems first: so changes that outpace the reports are reported once, and a change of the whole fleet does not
//! flood the API server. The object is read first, since its identity, its generation and its conditions are not kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arcstr::ArcStr;
use kube::Client;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::ask::{Presence, look_up, presence};
use super::document::Document;
use super::resources::{Resource, resource_of};
use super::world::Reading;
use crate::agent::index::IndexEntry;
use crate::agent::shared::{AgentRole, Shared, State};
use crate::agent::sources::{ObjectRef, SourceKind};
use crate::agent::status::TouchedObject;
use crate::core::endpoint::{EndpointKey, KeyHash, Version};
use crate::ports::Clock;
use crate::wire::v1::EndpointStatus;

mod words;

use words::{Condition, Event};

/// How many objects are reported a second, in the long run.
const OBJECTS_PER_SEC: f64 = 5.0;
/// How many at once after a quiet time.
const BURST: f64 = 25.0;
/// Time within which an event is not repeated.
const REPEAT_AFTER: Duration = Duration::from_secs(600);
/// How many events are remembered for that.
const MAX_REMEMBERED: usize = 10_000;
/// How long an object is left alone after the API server refused a report.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// Refusals in this many namespaces in a row are not about one of them: nothing is reported for as long.
const REFUSED_NAMESPACES: usize = 3;
/// How long conditions that the API server dropped are not tried again.
const DROPPED_PAUSE: Duration = Duration::from_secs(600);

/// The reporter, and how it reads objects.
pub struct Reporter {
    /// The connection.
    pub client: Client,
    /// The kinds that this agent follows.
    pub sources: Vec<SourceKind>,
    /// How it reads them.
    pub reading: Reading,
    /// When something was noticed.
    pub clock: Arc<dyn Clock>,
}

/// Why something was not reported.
enum Untold {
    /// The object is not there any more.
    Gone,
    /// For people; it may be reported later.
    Refused(String),
    /// For people; it will be refused again as it is.
    Unacceptable(String),
    /// It was reported before, by the leader of that time.
    Known,
}

/// Reports already made.
struct Told {
    events: BTreeMap<(ObjectRef, Event), Instant>,
    /// Warnings that still apply, by object.
    warnings: BTreeMap<ObjectRef, BTreeSet<String>>,
    /// When the CRD of DNSEndpoints dropped the conditions last.
    conditions_dropped_at: Option<Instant>,
    tokens: Tokens,
}

/// The news of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct New {
    /// The endpoints with a new status.
    statuses: BTreeSet<KeyHash>,
    /// Whether there is something to report on the object itself.
    is_read: bool,
}

impl New {
    fn add(&mut self, other: Self) {
        self.statuses.extend(other.statuses);
        self.is_read |= other.is_read;
    }
}

/// Pending reports, by object.
#[derive(Default)]
struct Open {
    ready: BTreeMap<TouchedObject, New>,
    /// Those with problems.
    wrong: BTreeSet<TouchedObject>,
    /// Refused reports, and when each is tried again.
    set_aside: BTreeMap<TouchedObject, (Instant, New)>,
}

impl Open {
    /// Notes the objects with news.
    fn take_in(&mut self, shared: &Shared) {
        let now = Instant::now();
        let due: Vec<_> = self
            .set_aside
            .extract_if(.., |_, (at, _)| *at <= now)
            .map(|(object, (_, new))| (object, new))
            .collect();
        let (touched, read) = shared.take(|state| {
            let read = if speaks(state) { state.index.take_news() } else { BTreeSet::new() };
            let read: Vec<ObjectRef> =
                read.into_iter().filter(|object| has_something_to_say(state, object)).collect();
            (state.statuses.take_touched(), read)
        });
        let of_status = |statuses| New { statuses, is_read: false };
        let touched = touched.into_iter().map(|(object, new)| (object, of_status(new)));
        let read = read
            .iter()
            .map(|object| (TouchedObject::of(object), New { is_read: true, ..New::default() }));
        for (object, new) in touched.chain(read).chain(due) {
            if let Some((_, aside)) = self.set_aside.get_mut(&object) {
                aside.add(new);
                continue;
            }
            let all = self.ready.entry(object.clone()).or_default();
            all.add(new);
            if shared.read(|state| is_wrong(state, &object, all)) {
                self.wrong.insert(object);
            } else {
                self.wrong.remove(&object);
            }
        }
    }

    /// Returns when something that was set aside is due.
    async fn until_due(&self) {
        match self.set_aside.values().map(|(at, _)| *at).min() {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// The next object: one with problems, else any.
    fn next(&mut self) -> Option<(TouchedObject, New)> {
        match self.wrong.pop_first() {
            Some(object) => self.ready.remove_entry(&object),
            None => self.ready.pop_first(),
        }
    }
}

/// Whether this agent is the one that speaks for its cluster.
fn speaks(state: &State) -> bool {
    state.role != AgentRole::StandsBy
}

/// Whether something in the object is to be reported, or all of it is judged already, so that no status will come.
fn has_something_to_say(state: &State, object: &ObjectRef) -> bool {
    let is_judged = |held: &IndexEntry| {
        let status = state.statuses.get(&held.endpoint.key.hash());
        status.is_some_and(|status| status.version.as_ref() == held.version.0)
    };
    !state.index.warnings_of(object).is_empty() || state.index.of_object(object).all(is_judged)
}

fn is_wrong(state: &State, object: &TouchedObject, new: &New) -> bool {
    let reads_wrong =
        || object.reference().is_some_and(|object| !state.index.warnings_of(&object).is_empty());
    let status_is_wrong =
        |hash| state.statuses.get(hash).is_some_and(|status| words::is_wrong(&status));
    (new.is_read && reads_wrong()) || new.statuses.iter().any(status_is_wrong)
}

/// Reports until it is dropped.
pub async fn run(reporter: Reporter, shared: Arc<Shared>) {
    shared.write(|state| {
        state.statuses.note_touched();
        state.index.note_all_news();
    });
    let mut told = Told {
        events: BTreeMap::new(),
        warnings: BTreeMap::new(),
        conditions_dropped_at: None,
        tokens: Tokens::full(),
    };
    let mut open = Open::default();
    let has_news =
        |state: &State| state.statuses.is_touched() || (speaks(state) && state.index.has_news());
    let mut refused_in: BTreeSet<ArcStr> = BTreeSet::new();
    let mut said = None;
    loop {
        if open.ready.is_empty() {
            tokio::select! {
                () = shared.wait_until(has_news) => {}
                () = open.until_due() => {}
            }
        }
        open.take_in(&shared);
        let Some((object, new)) = open.next() else { continue };
        let is_followed = |object: &ObjectRef| reporter.sources.contains(&object.source);
        let Some(reference) = object.reference().filter(is_followed) else { continue };
        if new == New::default() && reference.source != SourceKind::DnsEndpoint {
            continue;
        }
        told.tokens.take().await;
        match reporter.tell(&reference, &new, &shared, &mut told).await {
            Ok(()) => {
                refused_in.clear();
                said = None;
            }
            Err(Untold::Gone | Untold::Known) => drop(told.warnings.remove(&reference)),
            Err(Untold::Unacceptable(reason)) => {
                tracing::warn!(object = %reference, reason, "the status cannot be written on its object");
            }
            Err(Untold::Refused(reason)) => {
                if said.as_ref() != Some(&reason) {
                    tracing::warn!(object = %reference, reason, "the status cannot be written on its object; trying again");
                    said = Some(reason);
                }
                refused_in.insert(object.namespace.clone());
                open.set_aside.insert(object, (Instant::now() + REFUSED_PAUSE, new));
                if refused_in.len() >= REFUSED_NAMESPACES {
                    sleep(REFUSED_PAUSE).await;
                    refused_in.clear();
                }
            }
        }
    }
}

impl Reporter {
    async fn tell(
        &self,
        object: &ObjectRef,
        new: &New,
        shared: &Shared,
        told: &mut Told,
    ) -> Result<(), Untold> {
        let resource = resource_of(object.source);
        let version = match presence(&self.client, &resource).await {
            Ok(Presence::Served(version)) => version,
            Ok(Presence::Terminating | Presence::Missing) => return Err(Untold::Gone),
            Err(reason) => return Err(Untold::Refused(reason)),
        };
        let document = match look_up(
            &self.client,
            &resource,
            version,
            &object.namespace,
            &object.name,
        )
        .await
        {
            Ok(Some(document)) => document,
            Ok(None) => return Err(Untold::Gone),
            Err(reason) => return Err(Untold::Refused(reason)),
        };
        let statuses = self.statuses(object, &document, shared);
        let news = statuses
            .iter()
            .filter(|(key, ..)| new.statuses.contains(&key.hash()))
            .filter_map(|(_, status)| status.as_ref());
        let mut events = words::events(news);
        let noticed: BTreeSet<String> =
            shared.read(|state| state.index.warnings_of(object).iter().cloned().collect());
        let before = told.warnings.remove(object).unwrap_or_default();
        let unsaid: Vec<String> = noticed.difference(&before).cloned().collect();
        events.extend(words::warnings(&unsaid, self.clock.now()));
        let about = (object, &document, &*resource.api_version(version), resource.kind);
        for (number, event) in events.into_iter().enumerate() {
            if number > 0 {
                told.tokens.take().await;
            }
            match self.tell_event(about, event, told).await {
                Ok(()) | Err(Untold::Known) => {}
                Err(untold) => return Err(untold),
            }
        }
        if !noticed.is_empty() {
            told.warnings.insert(object.clone(), noticed);
        }
        if object.source == SourceKind::DnsEndpoint {
            self.tell_conditions(object, &document, (&resource, version), &statuses, told).await?;
        }
        Ok(())
    }

    /// The endpoints that the object asks for now, with their statuses; `None` if the broker's is of an older content.
    fn statuses(
        &self,
        object: &ObjectRef,
        document: &Document,
        shared: &Shared,
    ) -> Vec<(EndpointKey, Option<EndpointStatus>)> {
        // Conditions name the generation that they speak of, so they are about this very document.
        let written = (object.source == SourceKind::DnsEndpoint)
            .then(|| self.reading.read(object.source, document.clone()).endpoints);
        shared.read(|state| {
            let status = |key: &EndpointKey, version: Version| {
                (
                    key.clone(),
                    state
                        .statuses
                        .get(&key.hash())
                        .filter(|status| status.version.as_ref() == version.0),
                )
            };
            match written {
                Some(endpoints) => endpoints
                    .iter()
                    .map(|endpoint| status(&endpoint.key, endpoint.version()))
                    .collect(),
                None => state
                    .index
                    .of_object(object)
                    .map(|held| status(&held.endpoint.key, held.version))
                    .collect(),
            }
        })
    }

    async fn tell_event(
        &self,
        (object, document, api_version, kind): (&ObjectRef, &Document, &str, &str),
        event: Event,
        told: &mut Told,
    ) -> Result<(), Untold> {
        let now = Instant::now();
        told.events.retain(|_, at| now.duration_since(*at) < REPEAT_AFTER);
        let known = (object.clone(), event);
        if told.events.contains_key(&known) {
            return Ok(());
        }
        let body = known.1.body(document, api_version, kind);
        let path = format!("/api/v1/namespaces/{}/events", object.namespace);
        self.write(http::Method::POST, path, "application/json", &body).await?;
        if told.events.len() < MAX_REMEMBERED {
            told.events.insert(known, now);
        }
        Ok(())
    }

    async fn tell_conditions(
        &self,
        object: &ObjectRef,
        document: &Document,
        (resource, version): (&Resource, &str),
        statuses: &[(EndpointKey, Option<EndpointStatus>)],
        told: &mut Told,
    ) -> Result<(), Untold> {
        // A part that the broker has not judged yet is judged soon, and the object is reported then.
        let judged: Option<Vec<&EndpointStatus>> =
            statuses.iter().map(|(_, status)| status.as_ref()).collect();
        let counts = || self.reading.filter.refuses(object.source, document).is_none();
        let is_read =
            |judged: &Vec<_>| !judged.is_empty() || (asks_for_nothing(document) && counts());
        let Some(judged) = judged.filter(is_read) else { return Ok(()) };
        let generation = document.metadata.generation;
        let before = document.status.get("conditions").cloned().unwrap_or_default();
        let are_dropped = told.conditions_dropped_at.is_some_and(|at| at.elapsed() < DROPPED_PAUSE);
        let conditions = match judged.is_empty() || are_dropped {
            true => Vec::new(),
            false => Condition::all(&judged, generation, &before).to_vec(),
        };
        let is_said = conditions.iter().all(|condition| condition.is_in(&before));
        if is_said && document.status["observedGeneration"] == generation {
            return Ok(());
        }
        let path =
            format!("{}/{}/status", resource.path(version, Some(&object.namespace)), object.name);
        let mut status = serde_json::json!({ "observedGeneration": generation });
        if !is_said {
            let others = words::conditions_of_others(&before);
            status["conditions"] =
                others.into_iter().chain(conditions.iter().map(Condition::to_json)).collect();
        }
        let body = serde_json::json!({ "status": status });
        let answer =
            self.write(http::Method::PATCH, path, "application/merge-patch+json", &body).await?;
        let after = answer.pointer("/status/conditions").cloned().unwrap_or_default();
        if is_said {
            return Ok(());
        }
        if conditions.iter().all(|condition| condition.is_in(&after)) {
            told.conditions_dropped_at = None;
        } else if told.conditions_dropped_at.replace(Instant::now()).is_none() {
            tracing::warn!(
                "the CRD of DNSEndpoint has no status.conditions, so the API server drops them; Events are written all the same. \
                 deploy/kubernetes/dnsendpoint-crd.yaml has them"
            );
        }
        Ok(())
    }

    async fn write(
        &self,
        method: http::Method,
        path: String,
        content_type: &str,
        body: &Value,
    ) -> Result<Value, Untold> {
        let refused = |reason: String| Untold::Refused(reason.chars().take(300).collect());
        let is_new = method == http::Method::POST;
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content_type);
        let request = request
            .body(body.to_string().into_bytes())
            .map_err(|error| refused(error.to_string()))?;
        match tokio::time::timeout(Duration::from_secs(30), self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Err(match status.code {
                404 => Untold::Gone,
                409 if is_new => Untold::Known,
                400 | 413 | 422 => Untold::Unacceptable(status.message.chars().take(300).collect()),
                _ => refused(status.message.clone()),
            }),
            Ok(Err(error)) => Err(refused(error.to_string())),
            Err(_) => Err(refused("the API server did not answer in 30 s".to_owned())),
        }
    }
}

/// Whether a DNSEndpoint has no endpoints, so that no status says that it was read.
fn asks_for_nothing(document: &Document) -> bool {
    match &document.spec["endpoints"] {
        Value::Null => !document.is_too_deep(),
        Value::Array(endpoints) => endpoints.is_empty(),
        // It cannot be read.
        _ => false,
    }
}

/// How much may be reported now.
struct Tokens {
    left: f64,
    at: Instant,
}

impl Tokens {
    fn full() -> Self {
        Self { left: BURST, at: Instant::now() }
    }

    async fn take(&mut self) {
        loop {
            let now = Instant::now();
            self.left = (self.left + now.duration_since(self.at).as_secs_f64() * OBJECTS_PER_SEC)
                .min(BURST);
            self.at = now;
            if self.left >= 1.0 {
                self.left -= 1.0;
                return;
            }
            sleep(Duration::from_secs_f64(((1.0 - self.left) / OBJECTS_PER_SEC).max(0.001))).await;
        }
    }
}

#[cfg(test)]
mod tests;
