//! One kind of object in one namespace, or in all: listed once, then watched, for as long as the agent runs.
//!
//! What is told to the world is only what was observed. A list counts when all its pages came and show one moment; a
//! connection that ends, a refusal or an API server that is gone say nothing about the objects. A custom kind can be removed,
//! and the API server then deletes its objects one by one: so a deletion of one counts only when the kind is still there
//! afterwards.
//!
//! kube's client does the connection, the credentials and the framing. Its own watcher is not used: it reads whole objects,
//! and does not tell a kind that is gone from an object that is.

use std::time::Duration;

use arcstr::ArcStr;
use futures::StreamExt as _;
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::document::{Document, Page};
use super::resources::{Origin, Resource};
use crate::agent::session::backoff::{Backoff, Pace};

/// How many objects a page of a list holds.
const PAGE_OBJECTS: u32 = 250;
/// How long a request other than a watch may take.
const ANSWER: Duration = Duration::from_secs(60);
/// How long a watch lasts before the API server ends it, at least; up to a quarter more is added, so that not all end at once.
const WATCH_SECS: u32 = 240;
/// How long after its end a watch that says nothing is taken for dead.
const WATCH_GRACE: Duration = Duration::from_secs(30);
/// How soon a watch that ended at once is begun again.
const SHORT_WATCH: Duration = Duration::from_secs(1);
/// How long a kind that is not there is left alone before it is looked for again, at most.
const MISSING_SECS: u64 = 20;
/// How long the deletion of a custom object is held back: by then a kind that is being removed says so.
pub const DELETION_GRACE: Duration = Duration::from_secs(3);

/// What was observed.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A list begins.
    ListBegins,
    /// Some of its objects.
    Page(Vec<Document>),
    /// All of them came, and they show one moment.
    ListEnds,
    /// The watch goes on after trouble, without a gap.
    Resumed,
    /// An object is new or has changed.
    Applied(Box<Document>),
    /// An object was deleted.
    Deleted(Box<Document>),
    /// An object went together with its kind.
    Swept(Box<Document>, String),
    /// The cluster does not know the kind, or is removing it.
    NoSuchKind(String),
    /// Nothing can be observed now, for this reason.
    Trouble(String),
    /// What the broker holds was compared with the cluster, and what has to be kept is kept.
    Proven,
}

/// What is followed, and where the news go.
pub struct Feed<Id> {
    /// Names the feed in its news.
    pub id: Id,
    /// The connection.
    pub client: Client,
    /// The kind.
    pub resource: Resource,
    /// The namespace; none for all.
    pub namespace: Option<ArcStr>,
    /// Labels that the objects must have.
    pub labels: Option<String>,
    /// For the waiting.
    pub random: fastrand::Rng,
    /// Where the news go. When nobody listens any more, the feed ends.
    pub to: mpsc::Sender<(Id, News)>,
}

/// Whether the API server serves a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// In this version.
    Served(&'static str),
    /// It is being removed, with all its objects.
    Terminating,
    /// It is not there.
    Missing,
}

/// Why something was not observed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    /// The moment from which was asked is forgotten (410).
    Expired,
    /// Nothing is served at the address (404).
    NotFound(String),
    /// Anything else, for people.
    Other(String),
}

enum Step {
    Look,
    List { version: &'static str },
    Watch { version: &'static str, at: String },
}

/// Nobody listens any more.
struct Unheard;

#[derive(Deserialize)]
struct Served {
    #[serde(default)]
    resources: Vec<ServedResource>,
}

#[derive(Deserialize)]
struct ServedResource {
    name: String,
    #[serde(default)]
    verbs: Vec<String>,
}

/// Whether the API server serves a kind now. Every service account may ask that. A kind that is being removed is one that
/// can still be read, and nothing can be made of it.
pub async fn presence(client: &Client, resource: &Resource) -> Result<Presence, String> {
    if resource.origin == Origin::BuiltIn {
        return Ok(Presence::Served(resource.preferred_version()));
    }
    for version in resource.versions {
        let request = http::Request::get(resource.group_path(version)).body(Vec::new()).map_err(|error| error.to_string())?;
        let served: Served = match answer(client.request(request)).await {
            Ok(served) => served,
            Err(Fault::NotFound(_)) => continue,
            Err(Fault::Expired) => return Err("the API server answered 410".to_owned()),
            Err(Fault::Other(reason)) => return Err(reason),
        };
        if let Some(found) = served.resources.iter().find(|served| served.name == resource.plural) {
            let can_create = found.verbs.iter().any(|verb| verb == "create");
            return Ok(if can_create { Presence::Served(version) } else { Presence::Terminating });
        }
    }
    Ok(Presence::Missing)
}

/// Reads one object, or none when the API server says that it has no such object. The kind has to be served.
pub async fn look_up(
    client: &Client,
    resource: &Resource,
    version: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Document>, String> {
    let path = format!("{}/{name}", resource.path(version, Some(namespace)));
    let request = http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    match answer(client.request(request)).await {
        Ok(document) => Ok(Some(document)),
        Err(Fault::NotFound(_)) => Ok(None),
        Err(Fault::Expired) => Err("the API server answered 410".to_owned()),
        Err(Fault::Other(reason)) => Err(reason),
    }
}

async fn answer<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Fault> {
    match timeout(ANSWER, call).await {
        Ok(answer) => answer.map_err(|error| fault(&error)),
        Err(_) => Err(Fault::Other(format!("the API server did not answer in {} s", ANSWER.as_secs()))),
    }
}

fn fault(error: &kube::Error) -> Fault {
    match error {
        kube::Error::Api(status) => fault_of_status(status),
        other => {
            // The sources say what happened; the outer errors only where.
            let deepest = std::iter::successors(std::error::Error::source(other), |error| (*error).source()).last();
            let reason = deepest.map_or_else(|| other.to_string(), ToString::to_string);
            Fault::Other(format!("the API server cannot be read: {reason}"))
        }
    }
}

fn fault_of_status(status: &kube::core::Status) -> Fault {
    let message: String = status.message.chars().take(300).collect();
    match status.code {
        410 => Fault::Expired,
        404 => Fault::NotFound(message),
        code @ (401 | 403) => Fault::Other(format!(
            "the API server refuses it ({code}): {message}; `zonefold agent rbac` prints what the agent needs"
        )),
        code => Fault::Other(format!("the API server answered {code}: {message}")),
    }
}

impl<Id: Copy> Feed<Id> {
    /// Follows the kind until nobody listens any more.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(self.random.fork());
        let mut held = Vec::new();
        let mut step = Step::Look;
        let mut troubled = false;
        loop {
            let began = Instant::now();
            let next = match self.settle(&mut held).await {
                Ok(Ok(())) => self.take(step, &mut troubled, &mut held).await,
                Ok(Err(reason)) => Ok((step, Err(reason))),
                Err(unheard) => Err(unheard),
            };
            let Ok((next, outcome)) = next else { return };
            step = next;
            backoff.session_lasted(began.elapsed());
            if let Err(reason) = outcome {
                troubled = true;
                if self.tell(News::Trouble(self.in_words(&reason))).await.is_err() {
                    return;
                }
                sleep(backoff.next(Pace::Normal, Duration::ZERO)).await;
            }
        }
    }

    /// One step. Answers the next one, and why this one failed.
    async fn take(
        &mut self,
        step: Step,
        troubled: &mut bool,
        held: &mut Vec<Held>,
    ) -> Result<(Step, Result<(), String>), Unheard> {
        match step {
            Step::Look => self.look().await,
            Step::List { version } => match self.list(version).await? {
                Ok(at) => {
                    *troubled = false;
                    Ok((Step::Watch { version, at }, Ok(())))
                }
                Err(Fault::NotFound(_)) if self.resource.origin == Origin::Custom => Ok((Step::Look, Ok(()))),
                Err(Fault::Expired) => Ok((Step::Look, Err("the list expired while it was read".to_owned()))),
                Err(Fault::NotFound(reason) | Fault::Other(reason)) => Ok((Step::Look, Err(reason))),
            },
            Step::Watch { version, mut at } => match self.watch(version, &mut at, troubled, held).await? {
                Ok(()) => Ok((Step::Watch { version, at }, Ok(()))),
                // What happened in between is forgotten by the API server: only a new list can say it.
                Err(Fault::Expired) => Ok((Step::Look, Ok(()))),
                Err(Fault::NotFound(_)) if self.resource.origin == Origin::Custom => Ok((Step::Look, Ok(()))),
                Err(Fault::NotFound(reason) | Fault::Other(reason)) => Ok((Step::Watch { version, at }, Err(reason))),
            },
        }
    }

    async fn look(&mut self) -> Result<(Step, Result<(), String>), Unheard> {
        let wait = match presence(&self.client, &self.resource).await {
            Ok(Presence::Served(version)) => return Ok((Step::List { version }, Ok(()))),
            Ok(Presence::Missing) => {
                self.tell(News::NoSuchKind(format!(
                    "the cluster has no {}: they are waited for; what was published stays",
                    self.resource.full_name()
                )))
                .await?;
                Duration::from_millis(self.random.u64(MISSING_SECS * 500..MISSING_SECS * 1_000))
            }
            Ok(Presence::Terminating) => {
                self.tell(News::NoSuchKind(format!(
                    "the cluster is removing {}: what was published stays",
                    self.resource.full_name()
                )))
                .await?;
                Duration::from_secs(2)
            }
            Err(reason) => return Ok((Step::Look, Err(reason))),
        };
        sleep(wait).await;
        Ok((Step::Look, Ok(())))
    }

    async fn list(&mut self, version: &'static str) -> Result<Result<String, Fault>, Unheard> {
        self.tell(News::ListBegins).await?;
        let mut params = ListParams { limit: Some(PAGE_OBJECTS), label_selector: self.labels.clone(), ..ListParams::default() };
        let mut moment: Option<String> = None;
        loop {
            let request = match Request::new(self.path(version)).list(&params) {
                Ok(request) => request,
                Err(error) => return Ok(Err(Fault::Other(error.to_string()))),
            };
            let page: Page = match answer(self.client.request(request)).await {
                Ok(page) => page,
                Err(fault) => return Ok(Err(fault)),
            };
            let at = page.metadata.resource_version;
            // Pages of two moments may leave out an object that was there in both.
            if moment.get_or_insert_with(|| at.clone()) != &at {
                return Ok(Err(Fault::Expired));
            }
            self.tell(News::Page(page.items.unwrap_or_default())).await?;
            if page.metadata.next.is_empty() {
                self.tell(News::ListEnds).await?;
                return Ok(Ok(at));
            }
            params.continue_token = Some(page.metadata.next);
        }
    }

    async fn watch(
        &mut self,
        version: &'static str,
        at: &mut String,
        troubled: &mut bool,
        held: &mut Vec<Held>,
    ) -> Result<Result<(), Fault>, Unheard> {
        let lasts_secs = WATCH_SECS + self.random.u32(0..=WATCH_SECS / 4);
        let params = WatchParams {
            label_selector: self.labels.clone(),
            timeout: Some(lasts_secs),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = match Request::new(self.path(version)).watch(&params, at) {
            Ok(request) => request,
            Err(error) => return Ok(Err(Fault::Other(error.to_string()))),
        };
        let began = Instant::now();
        let dead_at = began + Duration::from_secs(u64::from(lasts_secs)) + WATCH_GRACE;
        let events = match answer(self.client.request_events::<Document>(request)).await {
            Ok(events) => events,
            Err(fault) => return Ok(Err(fault)),
        };
        if std::mem::take(troubled) {
            self.tell(News::Resumed).await?;
        }
        let mut events = std::pin::pin!(events);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = until_due(held) => {
                    // When that cannot be told now, it is told before anything else that is done.
                    if let Err(reason) = self.settle_due(held).await? {
                        return Ok(Err(Fault::Other(reason)));
                    }
                    continue;
                }
                () = sleep_until(dead_at) => {
                    return Ok(Err(Fault::Other("the API server neither said anything nor ended the watch".to_owned())));
                }
            };
            match event {
                Some(Ok(event)) => {
                    if let Err(fault) = self.take_event(event, at, held).await? {
                        return Ok(Err(fault));
                    }
                }
                Some(Err(error)) => return Ok(Err(fault(&error))),
                None => break,
            }
        }
        if began.elapsed() < SHORT_WATCH {
            sleep(SHORT_WATCH).await;
        }
        Ok(Ok(()))
    }

    async fn take_event(
        &mut self,
        event: WatchEvent<Document>,
        at: &mut String,
        held: &mut Vec<Held>,
    ) -> Result<Result<(), Fault>, Unheard> {
        match event {
            WatchEvent::Added(document) | WatchEvent::Modified(document) => {
                held.retain(|held| !held.is_of(&document));
                at.replace_range(.., &document.metadata.resource_version);
                self.tell(News::Applied(Box::new(document))).await?;
            }
            WatchEvent::Deleted(document) => {
                at.replace_range(.., &document.metadata.resource_version);
                match self.resource.origin {
                    Origin::BuiltIn => self.tell(News::Deleted(Box::new(document))).await?,
                    Origin::Custom => held.push(Held { due: Instant::now() + DELETION_GRACE, document }),
                }
            }
            WatchEvent::Bookmark(bookmark) => *at = bookmark.metadata.resource_version,
            WatchEvent::Error(status) => return Ok(Err(fault_of_status(&status))),
        }
        Ok(Ok(()))
    }

    /// Before anything else is observed: what became of the deletions that are held back. Waits for them.
    async fn settle(&mut self, held: &mut Vec<Held>) -> Result<Result<(), String>, Unheard> {
        while !held.is_empty() {
            until_due(held).await;
            if let Err(reason) = self.settle_due(held).await? {
                return Ok(Err(reason));
            }
        }
        Ok(Ok(()))
    }

    async fn settle_due(&mut self, held: &mut Vec<Held>) -> Result<Result<(), String>, Unheard> {
        let presence = match presence(&self.client, &self.resource).await {
            Ok(presence) => presence,
            Err(reason) => return Ok(Err(reason)),
        };
        let now = Instant::now();
        let due: Vec<Held> = held.extract_if(.., |held| held.due <= now).collect();
        for Held { document, .. } in due {
            let document = Box::new(document);
            self.tell(match presence {
                Presence::Served(_) => News::Deleted(document),
                Presence::Terminating | Presence::Missing => News::Swept(
                    document,
                    format!("{} were removed from the cluster with all their objects", self.resource.full_name()),
                ),
            })
            .await?;
        }
        Ok(Ok(()))
    }

    async fn tell(&self, news: News) -> Result<(), Unheard> {
        self.to.send((self.id, news)).await.map_err(|_| Unheard)
    }

    fn path(&self, version: &str) -> String {
        self.resource.path(version, self.namespace.as_deref())
    }

    fn in_words(&self, reason: &str) -> String {
        let place = self.namespace.as_ref().map_or_else(String::new, |namespace| format!(" in {namespace}"));
        format!("{}{place}: {reason}; what was published stays", self.resource.full_name())
    }
}

/// A deletion that is held back.
struct Held {
    due: Instant,
    document: Document,
}

impl Held {
    fn is_of(&self, document: &Document) -> bool {
        let (mine, other) = (&self.document.metadata, &document.metadata);
        (&mine.namespace, &mine.name) == (&other.namespace, &other.name)
    }
}

async fn until_due(held: &[Held]) {
    match held.iter().map(|held| held.due).min() {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
