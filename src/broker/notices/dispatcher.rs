//! Makes notifications of the audit, and delivers them.
//!
//! One delivery for each subscription at a time, so a sink that is slow or dead delays nothing else. After a failure a subscription
//! is left alone for a while, which grows; what waits for it meanwhile is tried afterwards, and given up after a day.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::metrics::NoticeMetrics;
use crate::broker::directory::SharedDirectory;
use crate::broker::rules::RulesInForce;
use crate::core::governance::rule::subscription::NoticeSink;
use crate::core::governance::rule::{RuleId, RuleKind, RuleSpec};
use crate::core::governance::snapshot::Governance;
use crate::core::ids::RuleName;
use crate::core::notice::{MOST_WAITING, Notice, TRIED_FOR, back_off, next_try, subscribers};
use crate::core::people::public_url::PublicUrl;
use crate::core::planning::routing::ZoneFacts;
use crate::core::time::{Millis, Timestamp};
use crate::ports::{
    Clock, DeliveryEnd, DeliveryFailure, NewNotice, NoticeRow, NoticeSender, Store, StoreError,
};

/// How often the store is asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Entries of the audit that are made notifications of at once.
const PAGE: u32 = 200;
/// How long a notification is one replica's: longer than any try takes.
const CLAIMED_FOR: Millis = Millis::from_secs(60);
/// How old a notification of a subscription that is not known here has to be before it is given up: this replica may hear of it later
/// than the one that made the notification.
const UNKNOWN_FOR: Millis = Millis::from_secs(60);
/// How often what is too old is given up.
const CLEAN_EVERY: Millis = Millis::from_secs(60);
/// How often what is too old is forgotten.
const PRUNE_EVERY: Millis = Millis::from_secs(3_600);
/// How long what was delivered or given up is kept.
const KEPT_FOR: Millis = Millis::from_secs(30 * 24 * 3_600);

/// The parts of a dispatcher.
pub struct DispatcherParts {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub sender: Arc<dyn NoticeSender>,
    /// The rules that count, with the subscriptions.
    pub rules: watch::Receiver<Arc<RulesInForce>>,
    pub directory: SharedDirectory,
    pub metrics: NoticeMetrics,
    /// Where people reach the broker.
    pub public_url: watch::Receiver<Option<PublicUrl>>,
}

/// How a subscription's sink did of late.
#[derive(Clone, Copy, Debug, Default)]
struct SinkHealth {
    /// Failures in a row.
    failures: u32,
    /// Until when it is left alone.
    paused_until: Timestamp,
}

/// A try that ended.
type Tried = (NoticeRow, Result<(), DeliveryFailure>);

/// See the module's page.
pub struct Dispatcher {
    parts: DispatcherParts,
    health: BTreeMap<RuleName, SinkHealth>,
    /// The subscriptions of which something is on its way.
    busy: BTreeSet<RuleName>,
    cleaned_at: Timestamp,
    pruned_at: Timestamp,
    /// Whether the store failed, which was said.
    is_failing: bool,
}

impl Dispatcher {
    /// One that has delivered nothing.
    pub fn new(parts: DispatcherParts) -> Self {
        let (health, busy) = (BTreeMap::new(), BTreeSet::new());
        Self {
            parts,
            health,
            busy,
            cleaned_at: Timestamp::default(),
            pruned_at: Timestamp::default(),
            is_failing: false,
        }
    }

    /// Delivers for ever.
    pub async fn run(mut self) {
        let mut under_way: FuturesUnordered<BoxFuture<'static, Tried>> = FuturesUnordered::new();
        loop {
            let now = self.parts.clock.now();
            match self.look(now).await {
                Ok(started) => {
                    self.is_failing = false;
                    under_way.extend(started);
                }
                Err(error) if !self.is_failing => {
                    warn!(%error, "notifications wait for the store");
                    self.is_failing = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                Some((row, tried)) = under_way.next(), if !under_way.is_empty() => {
                    self.record(row, tried).await;
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Makes notifications of what is new, and begins to deliver what is due.
    async fn look(&mut self, now: Timestamp) -> Result<Vec<BoxFuture<'static, Tried>>, StoreError> {
        let governance = Arc::clone(&self.parts.rules.borrow().governance);
        while self.make(&governance, now).await? {}
        self.clean(now).await?;
        let mut started = vec![];
        for subscription in self.parts.store.due_subscriptions(now).await? {
            let is_paused =
                self.health.get(&subscription).is_some_and(|health| now < health.paused_until);
            if is_paused || self.busy.contains(&subscription) {
                continue;
            }
            let Some(sink) = sink_of(&governance, &subscription) else {
                let before = Timestamp(now.0 - UNKNOWN_FOR.0);
                let why = "the subscription is gone";
                let store = &self.parts.store;
                let given_up = store.give_up(Some(&subscription), before, why, now).await?;
                self.parts.metrics.given_up(given_up);
                continue;
            };
            let until = now + CLAIMED_FOR;
            if let Some(row) = self.parts.store.claim_notice(&subscription, now, until).await? {
                self.busy.insert(subscription);
                let sender = Arc::clone(&self.parts.sender);
                let trying = async move {
                    let tried = sender.send(&sink, &row.notice).await;
                    (row, tried)
                };
                started.push(trying.boxed());
            }
        }
        Ok(started)
    }

    /// Makes notifications of the next entries of the audit; answers whether there may be more.
    async fn make(&self, governance: &Governance, now: Timestamp) -> Result<bool, StoreError> {
        let store = &self.parts.store;
        let (after, rows) = store.untold(PAGE).await?;
        let Some(last) = rows.last() else { return Ok(false) };
        let zones: Vec<ZoneFacts> = self.parts.directory.zones().iter().cloned().collect();
        let public_url = self.parts.public_url.borrow().clone();
        let notices: Vec<NewNotice> = rows
            .iter()
            .flat_map(|row| {
                let to = subscribers(governance, &zones, &row.entry);
                let public_url = public_url.as_ref();
                to.into_iter().filter_map(move |subscription| {
                    let notice = Notice::new(row.seq, &row.entry, subscription, public_url)?;
                    Some(NewNotice { seq: row.seq, notice })
                })
            })
            .collect();
        // Another replica may have been first; then the next look finds what is left.
        store.make_notices(after, last.seq, &notices, MOST_WAITING, now).await?;
        Ok(rows.len() == PAGE as usize)
    }

    async fn clean(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if now - self.cleaned_at < CLEAN_EVERY {
            return Ok(());
        }
        self.cleaned_at = now;
        let store = &self.parts.store;
        let too_old = Timestamp(now.0.saturating_sub(TRIED_FOR.0));
        let given_up =
            store.give_up(None, too_old, "its sink did not answer for a day", now).await?;
        self.parts.metrics.given_up(given_up);
        if given_up > 0 {
            warn!(
                notifications = given_up,
                "notifications were given up after a day; zonefold get notifications --state dead lists them"
            );
        }
        if now - self.pruned_at >= PRUNE_EVERY {
            store.prune_notices(Timestamp(now.0.saturating_sub(KEPT_FOR.0))).await?;
            self.pruned_at = now;
        }
        Ok(())
    }

    /// Says in the store how a try ended. If the store fails, the claim ends by itself, and the notification is sent again.
    async fn record(&mut self, row: NoticeRow, tried: Result<(), DeliveryFailure>) {
        let now = self.parts.clock.now();
        self.busy.remove(&row.subscription);
        let end = match tried {
            Ok(()) => {
                self.health.remove(&row.subscription);
                DeliveryEnd::Delivered
            }
            Err(failure) => self.failed(&row, failure, now),
        };
        self.parts.metrics.ended(match &end {
            DeliveryEnd::Delivered => "delivered",
            DeliveryEnd::Again { .. } => "failed",
            DeliveryEnd::Dead { .. } => "dead",
        });
        if let Err(error) = self.parts.store.end_delivery(&row, &end, now).await {
            warn!(%error, subscription = %row.subscription, "how a delivery ended is not stored");
        }
    }

    fn failed(&mut self, row: &NoticeRow, failure: DeliveryFailure, now: Timestamp) -> DeliveryEnd {
        let health = self.health.entry(row.subscription.clone()).or_default();
        health.failures += 1;
        let DeliveryFailure { message, is_final, retry_after } = failure;
        let pause = back_off(health.failures).0.max(retry_after.map_or(0, |after| after.0));
        health.paused_until = now + Millis(pause.min(back_off(u32::MAX).0));
        let said =
            format!("notifications of the subscription {} fail: {message}", row.subscription);
        match health.failures {
            1 => warn!(subscription = %row.subscription, notice = %row.notice.id, "{said}"),
            _ => debug!(subscription = %row.subscription, notice = %row.notice.id, "{said}"),
        }
        let next = next_try(row.made_at, row.attempts.saturating_add(1), retry_after, now);
        match next.filter(|_| !is_final) {
            Some(at) => DeliveryEnd::Again { failure: message, at },
            None => DeliveryEnd::Dead { failure: message },
        }
    }
}

fn sink_of(governance: &Governance, subscription: &RuleName) -> Option<NoticeSink> {
    let id = RuleId { kind: RuleKind::Subscription, name: subscription.clone() };
    match &governance.rules().get(&id)?.spec {
        RuleSpec::Subscription(subscription) => Some(subscription.sink.clone()),
        _ => None,
    }
}
