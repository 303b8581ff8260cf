//! One kind of object in one namespace, or in all: listed once, then watched, for as long as the agent runs.
//!
//! Only what was observed is passed to the world. A list counts when all its pages came and show one moment; a
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
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::ask::{Fault, Presence, answer, fault, fault_of_status, presence};
use super::document::{Document, Page};
use super::resources::{Origin, Resource};
use crate::agent::session::backoff::{Backoff, Pace};

/// How many objects a page of a list holds. A page is held whole while it is read, with a few kilobytes for each object, and one of
/// each kind waits behind it.
const PAGE_OBJECTS: u32 = 50;
/// How long a watch lasts before the API server ends it, at least; up to a quarter more is added, so that not all end at once.
const WATCH_SECS: u32 = 240;
/// How long after its end a watch that is not over is taken for dead.
const WATCH_GRACE: Duration = Duration::from_secs(30);
/// A watch that is silent for this long is begun anew: bookmarks come every minute, and a connection may end unnoticed.
const WATCH_SILENCE: Duration = Duration::from_secs(150);
/// How soon a watch that ended at once is begun again.
const SHORT_WATCH: Duration = Duration::from_secs(1);
/// How long a kind that is not there is left alone before it is looked for again, at most.
const MISSING_SECS: u64 = 20;
/// How long the deletion of a custom object is held back: by then a kind that is being removed says so.
pub const DELETION_GRACE: Duration = Duration::from_secs(3);

/// An observation.
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
    /// The broker's endpoints were compared with the cluster, and those that have to be kept are kept.
    Proven,
}

/// The objects to follow, and where the news go.
pub struct Feed<Id> {
    /// Names the feed in its news.
    pub id: Id,
    /// The connection.
    pub client: Client,
    /// The kind.
    pub resource: Resource,
    /// The namespace; `None` for all.
    pub namespace: Option<ArcStr>,
    /// Labels that the objects must have.
    pub labels: Option<String>,
    /// For the waiting.
    pub random: fastrand::Rng,
    /// Where the news go. The feed ends with its receiver.
    pub to: mpsc::Sender<(Id, News)>,
}

enum Step {
    Look,
    List { version: &'static str },
    Watch { version: &'static str, at: String },
}

/// The receiver is gone.
struct Unheard;

impl<Id: Copy> Feed<Id> {
    /// Follows the kind until the receiver is gone.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(self.random.fork());
        let mut course = Course::default();
        let mut step = Step::Look;
        loop {
            let began = Instant::now();
            let taken = match self.settle(&mut course.held).await {
                Ok(Ok(())) => self.take(step, &mut course).await,
                Ok(Err(reason)) => Ok((step, Outcome::Trouble(reason))),
                Err(unheard) => Err(unheard),
            };
            let Ok((next, outcome)) = taken else { return };
            step = next;
            backoff.session_lasted(began.elapsed());
            match outcome {
                Outcome::Done => continue,
                Outcome::Overtaken => {}
                Outcome::Trouble(reason) => {
                    course.is_troubled = true;
                    if self.tell(News::Trouble(self.in_words(&reason))).await.is_err() {
                        return;
                    }
                }
            }
            sleep(backoff.next(Pace::Normal, Duration::ZERO)).await;
        }
    }

    /// Takes one step. Returns the next one, and how this one ended.
    async fn take(&mut self, step: Step, course: &mut Course) -> Result<(Step, Outcome), Unheard> {
        let is_custom = self.resource.origin == Origin::Custom;
        match step {
            Step::Look => self.look().await,
            Step::List { version } => match self.list(version, course).await? {
                Ok(at) => {
                    course.is_troubled = false;
                    course.has_listed = true;
                    Ok((Step::Watch { version, at }, Outcome::Done))
                }
                Err(Fault::NotFound { .. }) if is_custom => Ok((Step::Look, Outcome::Overtaken)),
                Err(Fault::Expired) => Ok((
                    Step::Look,
                    Outcome::Trouble("the list expired while it was read".to_owned()),
                )),
                Err(fault) => Ok((Step::Look, Outcome::Trouble(fault.in_words()))),
            },
            Step::Watch { version, mut at } => match self.watch(version, &mut at, course).await? {
                Ok(()) => Ok((Step::Watch { version, at }, Outcome::Done)),
                // The API server has forgotten the events in between: only a new list can show them.
                Err(Fault::Expired) => Ok((Step::Look, Outcome::Overtaken)),
                Err(Fault::NotFound { .. }) if is_custom => Ok((Step::Look, Outcome::Overtaken)),
                Err(fault) => Ok((Step::Watch { version, at }, Outcome::Trouble(fault.in_words()))),
            },
        }
    }

    async fn look(&mut self) -> Result<(Step, Outcome), Unheard> {
        let wait = match presence(&self.client, &self.resource).await {
            Ok(Presence::Served(version)) => return Ok((Step::List { version }, Outcome::Done)),
            Ok(Presence::Missing) => {
                self.tell(News::NoSuchKind(format!(
                    "the cluster has no {}: they are waited for; the published records stay",
                    self.resource.full_name()
                )))
                .await?;
                Duration::from_millis(self.random.u64(MISSING_SECS * 500..MISSING_SECS * 1_000))
            }
            Ok(Presence::Terminating) => {
                self.tell(News::NoSuchKind(format!(
                    "the cluster is removing {}: the published records stay",
                    self.resource.full_name()
                )))
                .await?;
                Duration::from_secs(2)
            }
            Err(reason) => return Ok((Step::Look, Outcome::Trouble(reason))),
        };
        sleep(wait).await;
        Ok((Step::Look, Outcome::Done))
    }

    async fn list(
        &mut self,
        version: &'static str,
        course: &Course,
    ) -> Result<Result<String, Fault>, Unheard> {
        self.tell(News::ListBegins).await?;
        let mut params = ListParams {
            limit: Some(PAGE_OBJECTS),
            label_selector: self.labels.clone(),
            ..ListParams::default()
        };
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
                // The first list takes nothing away.
                if course.has_listed
                    && let Err(fault) = self.outlasts().await
                {
                    return Ok(Err(fault));
                }
                self.tell(News::ListEnds).await?;
                return Ok(Ok(at));
            }
            params.continue_token = Some(page.metadata.next);
        }
    }

    /// Whether a custom kind is still served when it would be known that it is being removed: a list of one that is lacks objects
    /// that were not deleted.
    async fn outlasts(&self) -> Result<(), Fault> {
        if self.resource.origin == Origin::BuiltIn {
            return Ok(());
        }
        sleep(DELETION_GRACE).await;
        match presence(&self.client, &self.resource).await {
            Ok(Presence::Served(_)) => Ok(()),
            Ok(Presence::Terminating | Presence::Missing) => Err(Fault::NotFound {
                message: "it went while it was listed".to_owned(),
                object: String::new(),
            }),
            Err(reason) => Err(Fault::Other(reason)),
        }
    }

    async fn watch(
        &mut self,
        version: &'static str,
        at: &mut String,
        course: &mut Course,
    ) -> Result<Result<(), Fault>, Unheard> {
        let held = &mut course.held;
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
        if std::mem::take(&mut course.is_troubled) {
            self.tell(News::Resumed).await?;
        }
        let mut events = std::pin::pin!(events);
        let mut heard_at = Instant::now();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = until_due(held) => {
                    // If they cannot be settled now, they are settled before anything else is done.
                    if let Err(reason) = self.settle_due(held).await? {
                        return Ok(Err(Fault::Other(reason)));
                    }
                    continue;
                }
                () = sleep_until(dead_at) => {
                    return Ok(Err(Fault::Other("the API server did not end the watch".to_owned())));
                }
                () = sleep_until(heard_at + WATCH_SILENCE) => break,
            };
            heard_at = Instant::now();
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
        held: &mut Vec<HeldDeletion>,
    ) -> Result<Result<(), Fault>, Unheard> {
        match event {
            WatchEvent::Added(document) | WatchEvent::Modified(document) => {
                held.retain(|held| !held.is_of(&document));
                advance(at, &document.metadata.resource_version);
                self.tell(News::Applied(Box::new(document))).await?;
            }
            WatchEvent::Deleted(document) => {
                advance(at, &document.metadata.resource_version);
                match self.resource.origin {
                    Origin::BuiltIn => self.tell(News::Deleted(Box::new(document))).await?,
                    Origin::Custom => {
                        held.push(HeldDeletion { due: Instant::now() + DELETION_GRACE, document })
                    }
                }
            }
            WatchEvent::Bookmark(bookmark) => advance(at, &bookmark.metadata.resource_version),
            WatchEvent::Error(status) => return Ok(Err(fault_of_status(&status))),
        }
        Ok(Ok(()))
    }

    /// Settles the deletions that are held back before anything else is observed. Waits for them.
    async fn settle(
        &mut self,
        held: &mut Vec<HeldDeletion>,
    ) -> Result<Result<(), String>, Unheard> {
        while !held.is_empty() {
            until_due(held).await;
            if let Err(reason) = self.settle_due(held).await? {
                return Ok(Err(reason));
            }
        }
        Ok(Ok(()))
    }

    async fn settle_due(
        &mut self,
        held: &mut Vec<HeldDeletion>,
    ) -> Result<Result<(), String>, Unheard> {
        let presence = match presence(&self.client, &self.resource).await {
            Ok(presence) => presence,
            Err(reason) => return Ok(Err(reason)),
        };
        let now = Instant::now();
        let due: Vec<HeldDeletion> = held.extract_if(.., |held| held.due <= now).collect();
        for HeldDeletion { document, .. } in due {
            let document = Box::new(document);
            self.tell(match presence {
                Presence::Served(_) => News::Deleted(document),
                Presence::Terminating | Presence::Missing => News::Swept(
                    document,
                    format!(
                        "{} were removed from the cluster with all their objects",
                        self.resource.full_name()
                    ),
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
        let place = self
            .namespace
            .as_ref()
            .map_or_else(String::new, |namespace| format!(" in {namespace}"));
        format!("{}{place}: {reason}; the published records stay", self.resource.full_name())
    }
}

/// Notes the version up to which was read. Reading on from no version would leave out the deletions in between.
fn advance(at: &mut String, to: &str) {
    if !to.is_empty() {
        at.replace_range(.., to);
    }
}

/// State that the steps of a feed share.
#[derive(Default)]
struct Course {
    /// Whether the world was told that nothing can be observed.
    is_troubled: bool,
    /// Whether a list ended once.
    has_listed: bool,
    /// Deletions that are held back.
    held: Vec<HeldDeletion>,
}

/// How a step ended.
enum Outcome {
    Done,
    /// It has to begin anew, and nothing is wrong.
    Overtaken,
    /// For people.
    Trouble(String),
}

/// A deletion that is held back.
struct HeldDeletion {
    due: Instant,
    document: Document,
}

impl HeldDeletion {
    fn is_of(&self, document: &Document) -> bool {
        let (mine, other) = (&self.document.metadata, &document.metadata);
        (&mine.namespace, &mine.name) == (&other.namespace, &other.name)
    }
}

async fn until_due(held: &[HeldDeletion]) {
    match held.iter().map(|held| held.due).min() {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
