//! Tells people on their object what became of each name: Events on every kind, conditions on DNSEndpoints.
//!
//! The statuses say which objects have news. One object is told at a time, the latest state only, those that something is wrong
//! with first: so what changes faster than it can be told is told once, and a change of the whole fleet does not flood the API
//! server. The object is read before it is told anything, since its identity, its generation and its conditions are not kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::document::Document;
use super::feed::{Presence, look_up, presence};
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
/// How long nothing is told after the API server refused it.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

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
}

/// What was told already.
#[derive(Default)]
struct Told {
    events: BTreeMap<(ObjectRef, Event), Instant>,
    /// Whether the CRD of DNSEndpoints dropped the conditions.
    conditions_are_dropped: bool,
    refusal: Option<String>,
}

type Open = BTreeMap<TouchedObject, BTreeSet<KeyHash>>;

/// Tells until it is dropped.
pub async fn run(reporter: Reporter, shared: Arc<Shared>) {
    shared.write(|state| state.statuses.note_touched());
    let mut told = Told::default();
    let mut open = Open::new();
    let mut tokens = Tokens::full();
    loop {
        if open.is_empty() {
            shared.wait_until(|state| state.statuses.is_touched()).await;
        }
        for (object, new) in shared.take(|state| state.statuses.take_touched()) {
            open.entry(object).or_default().extend(new);
        }
        let Some((object, new)) = take_next(&mut open, &shared) else { continue };
        let Some(source) = SourceKind::parse(&object.source).filter(|source| reporter.sources.contains(source)) else { continue };
        if new.is_empty() && source != SourceKind::DnsEndpoint {
            continue;
        }
        tokens.take().await;
        let reference = ObjectRef { source, namespace: object.namespace.clone(), name: object.name.clone() };
        match reporter.tell(&reference, &new, &shared, &mut told).await {
            Ok(()) => told.refusal = None,
            Err(Untold::Gone) => {}
            Err(Untold::Refused(reason)) => {
                if told.refusal.as_ref() != Some(&reason) {
                    tracing::warn!(object = %reference, reason, "what became of an object cannot be written on it; trying again");
                    told.refusal = Some(reason);
                }
                open.entry(object).or_default().extend(new);
                sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

/// The next object: one that something is wrong with, else any.
fn take_next(open: &mut Open, shared: &Shared) -> Option<(TouchedObject, BTreeSet<KeyHash>)> {
    let is_wrong = |new: &BTreeSet<KeyHash>| {
        shared.read(|state| new.iter().filter_map(|hash| state.statuses.get(hash)).any(words::is_wrong))
    };
    let object = open.iter().find(|(_, new)| is_wrong(new)).or_else(|| open.iter().next()).map(|(object, _)| object.clone())?;
    open.remove_entry(&object)
}

impl Reporter {
    async fn tell(&self, object: &ObjectRef, new: &BTreeSet<KeyHash>, shared: &Shared, told: &mut Told) -> Result<(), Untold> {
        let resource = resource_of(object.source);
        let version = match presence(&self.client, &resource).await {
            Ok(Presence::Served(version)) => version,
            Ok(Presence::Terminating | Presence::Missing) => return Err(Untold::Gone),
            Err(reason) => return Err(Untold::Refused(reason)),
        };
        let document = match look_up(&self.client, &resource, version, &object.namespace, &object.name).await {
            Ok(Some(document)) => document,
            Ok(None) => return Err(Untold::Gone),
            Err(reason) => return Err(Untold::Refused(reason)),
        };
        let statuses = self.statuses(object, &document, shared);
        for event in words::events(statuses.iter().filter(|(key, ..)| new.contains(&key.hash())).filter_map(|(_, s)| s.as_ref()))
        {
            self.tell_event(object, &document, &resource.api_version(version), resource.kind, event, told).await?;
        }
        if object.source == SourceKind::DnsEndpoint && !told.conditions_are_dropped {
            self.tell_conditions(object, &document, (&resource, version), &statuses, told).await?;
        }
        Ok(())
    }

    /// What the object asks for now, and what the broker says of exactly that; none where it speaks of an older content.
    fn statuses(&self, object: &ObjectRef, document: &Document, shared: &Shared) -> Vec<(EndpointKey, Option<EndpointStatus>)> {
        // Conditions name the generation that they speak of, so they are about this very document.
        let written =
            (object.source == SourceKind::DnsEndpoint).then(|| self.reading.read(object.source, document.clone()).endpoints);
        shared.read(|state| {
            let status = |key: &EndpointKey, version: Version| {
                let status = state.statuses.get(&key.hash()).filter(|status| status.version.as_ref() == version.0);
                (key.clone(), status.cloned())
            };
            match written {
                Some(endpoints) => endpoints.iter().map(|endpoint| status(&endpoint.key, endpoint.version())).collect(),
                None => state.index.of_object(object).map(|held| status(&held.endpoint.key, held.version)).collect(),
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
        let judged: Option<Vec<&EndpointStatus>> = statuses.iter().map(|(_, status)| status.as_ref()).collect();
        let Some(judged) = judged.filter(|judged| !judged.is_empty()) else { return Ok(()) };
        let before = document.status.get("conditions").cloned().unwrap_or_default();
        let conditions = Condition::all(&judged, document.metadata.generation, &before);
        if conditions.iter().all(|condition| condition.is_in(&before)) {
            return Ok(());
        }
        let path = format!("{}/{}/status", resource.path(version, Some(&object.namespace)), object.name);
        let others = words::conditions_of_others(&before);
        let all: Vec<Value> = others.into_iter().chain(conditions.iter().map(Condition::to_json)).collect();
        let body = serde_json::json!({ "status": { "conditions": all } });
        let answer = self.write(http::Method::PATCH, path, "application/merge-patch+json", &body).await?;
        let after = answer.pointer("/status/conditions").cloned().unwrap_or_default();
        if !conditions.iter().all(|condition| condition.is_in(&after)) {
            told.conditions_are_dropped = true;
            tracing::warn!(
                "the CRD of DNSEndpoint has no status.conditions, so the API server drops them; Events are written all the same. \
                 deploy/kubernetes/dnsendpoint-crd.yaml has them"
            );
        }
        Ok(())
    }

    async fn write(&self, method: http::Method, path: String, content_type: &str, body: &Value) -> Result<Value, Untold> {
        let refused = |reason: String| Untold::Refused(reason.chars().take(300).collect());
        let request = http::Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, content_type);
        let request = request.body(body.to_string().into_bytes()).map_err(|error| refused(error.to_string()))?;
        match tokio::time::timeout(Duration::from_secs(30), self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(Untold::Gone),
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
            self.left = (self.left + now.duration_since(self.at).as_secs_f64() * OBJECTS_PER_SEC).min(BURST);
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
