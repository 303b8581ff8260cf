//! Tells people on their object what became of each name: Events on every kind, conditions on DNSEndpoints.
//!
//! The statuses say which objects have news. One object is told at a time, the latest state only, those that something is wrong
//! with first: so what changes faster than it can be told is told once, and a change of the whole fleet does not flood the API
//! server. The object is read before it is told anything, since its identity, its generation and its conditions are not kept.

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
use crate::agent::shared::Shared;
use crate::agent::sources::{ObjectRef, SourceKind};
use crate::agent::status::TouchedObject;
use crate::core::endpoint::{EndpointKey, KeyHash, Version};
use crate::wire::v1::EndpointStatus;

mod words;

use words::{Condition, Event};

/// How many objects are told a second, in the long run.
const OBJECTS_PER_SEC: f64 = 5.0;
/// How many at once after a quiet time.
const BURST: f64 = 25.0;
/// An event that was told so recently is not told again.
const REPEAT_AFTER: Duration = Duration::from_secs(600);
/// How many events are remembered for that.
const MAX_REMEMBERED: usize = 10_000;
/// How long an object is left alone after the API server refused what it was to be told.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// When it refused something in so many namespaces in a row, it is not about one of them: nothing is told for as long.
const REFUSED_NAMESPACES: usize = 3;
/// How long conditions are not tried that the API server dropped.
const DROPPED_PAUSE: Duration = Duration::from_secs(600);

/// Who tells, and how it reads objects.
pub struct Reporter {
    /// The connection.
    pub client: Client,
    /// The kinds that this agent follows.
    pub sources: Vec<SourceKind>,
    /// How it reads them.
    pub reading: Reading,
}

/// Why something was not told.
enum Untold {
    /// The object is not there any more.
    Gone,
    /// For people; it may be told later.
    Refused(String),
    /// For people; it will be refused again as it is.
    Unacceptable(String),
}

/// What was told already.
struct Told {
    events: BTreeMap<(ObjectRef, Event), Instant>,
    /// When the CRD of DNSEndpoints dropped the conditions last.
    conditions_dropped_at: Option<Instant>,
    tokens: Tokens,
}

/// What is to be told, by object.
#[derive(Default)]
struct Open {
    ready: BTreeMap<TouchedObject, BTreeSet<KeyHash>>,
    /// Those of them that something is wrong with.
    wrong: BTreeSet<TouchedObject>,
    /// What was refused, and when it is tried again.
    set_aside: BTreeMap<TouchedObject, (Instant, BTreeSet<KeyHash>)>,
}

impl Open {
    /// Takes note of what has news.
    fn take_in(&mut self, touched: BTreeMap<TouchedObject, BTreeSet<KeyHash>>, shared: &Shared) {
        let now = Instant::now();
        let due: Vec<_> = self
            .set_aside
            .extract_if(.., |_, (at, _)| *at <= now)
            .map(|(object, (_, new))| (object, new))
            .collect();
        for (object, new) in touched.into_iter().chain(due) {
            if let Some((_, aside)) = self.set_aside.get_mut(&object) {
                aside.extend(new);
                continue;
            }
            let all = self.ready.entry(object.clone()).or_default();
            all.extend(new);
            let mut statuses = all.iter();
            if shared.read(|state| {
                statuses.any(|hash| {
                    state.statuses.get(hash).is_some_and(|status| words::is_wrong(&status))
                })
            }) {
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

    /// The next object: one that something is wrong with, else any.
    fn next(&mut self) -> Option<(TouchedObject, BTreeSet<KeyHash>)> {
        match self.wrong.pop_first() {
            Some(object) => self.ready.remove_entry(&object),
            None => self.ready.pop_first(),
        }
    }
}

/// Tells until it is dropped.
pub async fn run(reporter: Reporter, shared: Arc<Shared>) {
    shared.write(|state| state.statuses.note_touched());
    let mut told =
        Told { events: BTreeMap::new(), conditions_dropped_at: None, tokens: Tokens::full() };
    let mut open = Open::default();
    let mut refused_in: BTreeSet<ArcStr> = BTreeSet::new();
    let mut said = None;
    loop {
        if open.ready.is_empty() {
            tokio::select! {
                () = shared.wait_until(|state| state.statuses.is_touched()) => {}
                () = open.until_due() => {}
            }
        }
        open.take_in(shared.take(|state| state.statuses.take_touched()), &shared);
        let Some((object, new)) = open.next() else { continue };
        let Some(source) =
            SourceKind::parse(&object.source).filter(|source| reporter.sources.contains(source))
        else {
            continue;
        };
        if new.is_empty() && source != SourceKind::DnsEndpoint {
            continue;
        }
        told.tokens.take().await;
        let reference =
            ObjectRef { source, namespace: object.namespace.clone(), name: object.name.clone() };
        match reporter.tell(&reference, &new, &shared, &mut told).await {
            Ok(()) => {
                refused_in.clear();
                said = None;
            }
            Err(Untold::Gone) => {}
            Err(Untold::Unacceptable(reason)) => {
                tracing::warn!(object = %reference, reason, "what became of an object cannot be written on it");
            }
            Err(Untold::Refused(reason)) => {
                if said.as_ref() != Some(&reason) {
                    tracing::warn!(object = %reference, reason, "what became of an object cannot be written on it; trying again");
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
        new: &BTreeSet<KeyHash>,
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
            .filter(|(key, ..)| new.contains(&key.hash()))
            .filter_map(|(_, status)| status.as_ref());
        for (number, event) in words::events(news).into_iter().enumerate() {
            if number > 0 {
                told.tokens.take().await;
            }
            self.tell_event(
                object,
                &document,
                &resource.api_version(version),
                resource.kind,
                event,
                told,
            )
            .await?;
        }
        let are_dropped = told.conditions_dropped_at.is_some_and(|at| at.elapsed() < DROPPED_PAUSE);
        if object.source == SourceKind::DnsEndpoint && !are_dropped {
            self.tell_conditions(object, &document, (&resource, version), &statuses, told).await?;
        }
        Ok(())
    }

    /// What the object asks for now, and what the broker says of exactly that; none where it speaks of an older content.
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
        object: &ObjectRef,
        document: &Document,
        api_version: &str,
        kind: &str,
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
        // A part that the broker has not judged yet is judged soon, and the object is told then.
        let judged: Option<Vec<&EndpointStatus>> =
            statuses.iter().map(|(_, status)| status.as_ref()).collect();
        let Some(judged) = judged.filter(|judged| !judged.is_empty()) else { return Ok(()) };
        let before = document.status.get("conditions").cloned().unwrap_or_default();
        let conditions = Condition::all(&judged, document.metadata.generation, &before);
        if conditions.iter().all(|condition| condition.is_in(&before)) {
            return Ok(());
        }
        let path =
            format!("{}/{}/status", resource.path(version, Some(&object.namespace)), object.name);
        let others = words::conditions_of_others(&before);
        let all: Vec<Value> =
            others.into_iter().chain(conditions.iter().map(Condition::to_json)).collect();
        let body = serde_json::json!({ "status": { "conditions": all } });
        let answer =
            self.write(http::Method::PATCH, path, "application/merge-patch+json", &body).await?;
        let after = answer.pointer("/status/conditions").cloned().unwrap_or_default();
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
                400 | 413 | 422 => Untold::Unacceptable(status.message.chars().take(300).collect()),
                _ => refused(status.message.clone()),
            }),
            Ok(Err(error)) => Err(refused(error.to_string())),
            Err(_) => Err(refused("the API server did not answer in 30 s".to_owned())),
        }
    }
}

/// How much may be told now.
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
