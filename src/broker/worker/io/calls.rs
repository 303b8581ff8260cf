//! The calls of a worker: the choice of the next one, and the handling of its result.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::{JoinError, JoinSet};
use tracing::{Instrument as _, warn};

use crate::broker::lease::Lease;
use crate::broker::worker::agenda::Kind;
use crate::broker::worker::view::Health;
use crate::broker::worker::{SPEND_AHEAD, Worker};
use crate::core::ids::ZoneId;
use crate::core::limits::budget::{ApiAction, Lane, Paid, Permit};
use crate::core::planning::change::Batch;
use crate::core::time::{Millis, Timestamp};
use crate::ports::{
    BatchOutcome, CallError, CallerIdentity, ChangeReceipt, ClaimWrite, DnsProvider as _,
    RecordPage, StoreError, ZonePage,
};

/// How soon a worker looks again whether its lease allows a call.
const LEASE_LOOK: Millis = Millis(250);

/// A call or write that runs next to the worker.
pub type Call = BoxFuture<'static, Done>;

/// The result of one step of a discovery.
pub enum ZoneListing {
    /// A page of ListHostedZones.
    Zones(ZonePage),
    /// Tags of up to ten zones.
    Tags(BTreeMap<ZoneId, BTreeMap<String, String>>),
}

/// The result of a call or write.
pub enum Done {
    /// The identity that the credentials belong to.
    Identity(Result<CallerIdentity, CallError>),
    /// One step of the discovery.
    Zones {
        /// The tokens that were paid for it.
        paid: Paid,
        /// The answer.
        result: Result<ZoneListing, CallError>,
    },
    /// A page of records.
    Page {
        /// The tokens that were paid for it.
        paid: Paid,
        zone: ZoneId,
        /// The answer.
        result: Result<RecordPage, CallError>,
    },
    /// A batch is journalled.
    Journalled {
        batch: Box<Batch>,
        /// The claims that were made durable with it.
        claims: Vec<ClaimWrite>,
    },
    /// A batch could not be journalled, so it is not sent.
    NotJournalled {
        batch: Box<Batch>,
        /// Why.
        error: StoreError,
    },
    /// A batch was answered.
    Changed {
        /// The tokens that were paid for it.
        paid: Paid,
        batch: Box<Batch>,
        /// The answer.
        result: Result<ChangeReceipt, CallError>,
        /// When the call was sent.
        sent_at: Timestamp,
    },
    /// The end of a batch is durable.
    Recorded {
        batch: Box<Batch>,
        /// How it ended.
        outcome: BatchOutcome,
    },
    /// Observed records are durable, and claims.
    Saved {
        zone: ZoneId,
        /// The claims that were made durable.
        claims: Vec<ClaimWrite>,
    },
    /// Whether a change is INSYNC.
    Synced {
        /// The tokens that were paid for it.
        paid: Paid,
        zone: ZoneId,
        /// The answer.
        result: Result<bool, CallError>,
    },
    /// Nothing to do.
    Nothing,
}

impl Done {
    /// The tokens that were paid for the call, and whether it is over: an abandoned call may still arrive.
    fn paid(&self) -> Option<(Paid, bool)> {
        let (paid, error) = match self {
            Self::Zones { paid, result } => (paid, result.as_ref().err()),
            Self::Page { paid, result, .. } => (paid, result.as_ref().err()),
            Self::Changed { paid, result, .. } => (paid, result.as_ref().err()),
            Self::Synced { paid, result, .. } => (paid, result.as_ref().err()),
            Self::Identity(_)
            | Self::Journalled { .. }
            | Self::NotJournalled { .. }
            | Self::Recorded { .. }
            | Self::Saved { .. }
            | Self::Nothing => return None,
        };
        Some((*paid, !matches!(error, Some(CallError::Unknown { .. }))))
    }
}

/// The calls of a worker. Each is a task of its own and goes on while the worker waits for something else: it may hold the
/// store's one connection for writing, and the worker may be waiting for that.
#[derive(Default)]
pub struct Running(JoinSet<Done>);

impl Running {
    /// Starts a call.
    pub fn spawn(&mut self, call: Call) {
        self.0.spawn(call.in_current_span());
    }

    /// The next result; `None` if nothing runs.
    pub async fn next(&mut self) -> Option<Done> {
        let done = self.0.join_next().await?;
        match done.map_err(JoinError::try_into_panic) {
            Ok(done) => Some(done),
            // A call that panicked is a defect of unknown extent: the worker ends with it.
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // Only a worker that is dropped cancels its calls.
            Err(Err(_)) => Some(Done::Nothing),
        }
    }

    /// Whether nothing runs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Worker {
    /// Starts every call that can be started now; returns when to look again.
    pub(in crate::broker::worker) async fn start_what_can_start(
        &mut self,
        now: Timestamp,
    ) -> Option<Timestamp> {
        debug_assert!(
            self.zones.are_many() || self.zones.agenda_is_whole(now),
            "the agenda is not what the zones say"
        );
        let mut wake = WakeAt::default();
        self.govern(now);
        self.watch_guards(now);
        let changes_at = [self.governance.next_change(), self.guards_change_at()];
        changes_at.into_iter().flatten().for_each(|at| wake.at(at));
        if !self.is_working() {
            self.give_back_journalled("the account is not called now");
        }
        match &self.health {
            // The next heartbeat renews it, or it ends.
            _ if !self.lease.allows_a_call() => wake.at(now + LEASE_LOOK),
            Health::Starting if !self.discovery.is_asking_identity() => self.ask_identity(),
            Health::Starting => {}
            Health::Parked { retry_at, .. }
                if *retry_at <= now && !self.discovery.is_asking_identity() =>
            {
                self.ask_identity()
            }
            Health::Parked { retry_at, .. } => wake.at(*retry_at),
            Health::Working if !self.loading.is_done() => {}
            Health::Working => {
                if !self.extend_spend_horizon(now).await {
                    wake.at(now + Millis(500));
                    return wake.earliest();
                }
                self.send_journalled(now, &mut wake);
                self.retry_refused(now);
                self.start_saves(now);
                self.start_required_reads(now, &mut wake);
                self.start_changes(now, &mut wake);
                self.start_discovery(now, &mut wake);
                self.start_spare_reads(now, &mut wake);
                self.zones.agenda(now).next_at().into_iter().for_each(|at| wake.at(at));
            }
        }
        if self.dirty_view {
            wake.at(self.published_at + crate::broker::worker::VIEW_EVERY);
        }
        wake.earliest()
    }

    /// Makes durable until when tokens may be spent, before they are.
    async fn extend_spend_horizon(&mut self, now: Timestamp) -> bool {
        let margin = Millis(SPEND_AHEAD.0 / 4);
        if self.spend_horizon.is_some_and(|until| now + margin < until) || !self.wants_a_call(now) {
            return true;
        }
        let until = now + SPEND_AHEAD;
        self.gate.leave();
        match self.store.set_spend_horizon(&self.settings.account, until).await {
            Ok(()) => {
                self.spend_horizon = Some(until);
                true
            }
            Err(error) => {
                self.lease.heed(&error);
                warn!(account = %self.settings.account, %error, "no call is made while the store cannot note it");
                false
            }
        }
    }

    /// Whether anything could be called for now; while nothing is, the store is left alone.
    fn wants_a_call(&mut self, now: Timestamp) -> bool {
        self.outgoing.is_waiting()
            || self.discovery.is_due(now)
            || self.zones.agenda(now).wants_a_call()
    }

    /// A permit, while the horizon covers the time at which it is spent.
    pub(in crate::broker::worker) fn permit(
        &mut self,
        now: Timestamp,
        lane: Lane,
        action: ApiAction,
        changes: u32,
        wake: &mut WakeAt,
    ) -> Option<Permit> {
        match self.try_permit(now, lane, action, changes) {
            Ok(permit) => Some(permit),
            Err(ready_at) => {
                ready_at.into_iter().for_each(|at| wake.at(at));
                None
            }
        }
    }

    /// A permit, or when to ask again; `Err(None)` if the call is larger than a bucket.
    pub(in crate::broker::worker) fn try_permit(
        &mut self,
        now: Timestamp,
        lane: Lane,
        action: ApiAction,
        changes: u32,
    ) -> Result<Permit, Option<Timestamp>> {
        if !self.lease.allows_a_call() {
            return Err(Some(now + LEASE_LOOK));
        }
        if self.spend_horizon.is_none_or(|until| until <= now) {
            return Err(Some(now + Millis(1)));
        }
        let permit = self
            .budget
            .try_take(now, lane, action, changes)
            .map_err(|shortage| shortage.ready_at)?;
        self.metrics.called(action);
        Ok(permit)
    }

    fn ask_identity(&mut self) {
        self.discovery.asking_identity(true);
        let provider = Arc::clone(&self.provider);
        self.spawn(async move { Done::Identity(provider.identity().await) }.boxed());
    }

    fn retry_refused(&mut self, now: Timestamp) {
        let mut last = None;
        while let Some(due) = self.zones.agenda(now).next_due(Kind::Retry, last.as_ref()) {
            let Some(zone) = self.zones.get_mut(&due.1) else { return };
            let mut names = zone.state.take_due_retries(now);
            names.retain(|name| !zone.backlog.contains(name));
            if !names.is_empty() {
                self.note(&due.1, names);
            }
            last = Some(due);
        }
    }

    fn start_saves(&mut self, now: Timestamp) {
        let mut last = None;
        while let Some(due) = self.zones.agenda(now).next_due(Kind::Save, last.as_ref()) {
            let Some(zone) = self.zones.get_mut(&due.1) else { return };
            zone.busy = true;
            let (writes, claims) =
                (std::mem::take(&mut zone.pending_writes), zone.state.take_lone_claims());
            let zone = due.1.clone();
            let (store, lease) = (Arc::clone(&self.store), self.lease.clone());
            self.spawn(
                async move {
                    // Claims first: the ownership of records depends on them.
                    let saved = (claims.is_empty()
                        || persist(&lease, "claims", || store.save_claims(&claims)).await)
                        && (writes.is_empty()
                            || persist(&lease, "observed records", || {
                                store.save_records(&zone, &writes, None)
                            })
                            .await);
                    if saved { Done::Saved { zone, claims } } else { Done::Nothing }
                }
                .boxed(),
            );
            last = Some(due);
        }
    }

    /// Handles a result.
    pub(in crate::broker::worker) async fn finish(&mut self, done: Done) {
        let now = self.clock.now();
        self.dirty_view = true;
        match done.paid() {
            Some((paid, true)) => self.budget.settle(now, paid),
            Some((paid, false)) => self.budget.give_up(now, paid),
            None => {}
        }
        match done {
            Done::Identity(result) => self.finish_identity(result, now),
            Done::Zones { result, .. } => self.finish_discovery(result, now).await,
            Done::Page { zone, result, .. } => self.finish_page(&zone, result, now),
            Done::Journalled { batch, claims } => self.finish_journalled(batch, &claims, now),
            Done::NotJournalled { batch, error } => self.finish_not_journalled(&batch, &error, now),
            Done::Changed { batch, result, sent_at, .. } => {
                self.finish_change(*batch, result, sent_at, now)
            }
            Done::Recorded { batch, outcome } => self.finish_recorded(*batch, outcome, now),
            Done::Saved { zone, claims } => self.finish_saved(&zone, &claims, now),
            Done::Synced { zone, result, .. } => self.finish_sync(&zone, result, now),
            Done::Nothing => {}
        }
    }

    /// The zone is free again, for calls from a time on.
    pub(in crate::broker::worker) fn release(&mut self, zone: &ZoneId, free_at: Timestamp) {
        if let Some(zone) = self.zones.get_mut(zone) {
            zone.busy = false;
            zone.free_at = zone.free_at.max(free_at);
        }
    }
}

/// The earliest of several times.
#[derive(Default)]
pub struct WakeAt(Option<Timestamp>);

impl WakeAt {
    /// Wake at this time, if not before.
    pub fn at(&mut self, time: Timestamp) {
        self.0 = Some(self.0.map_or(time, |at| at.min(time)));
    }

    /// The earliest.
    pub fn earliest(self) -> Option<Timestamp> {
        self.0
    }
}

/// Repeats a store operation until it succeeds, the worker stops or its lease has passed on; returns whether it succeeded. A
/// lost write is recovered by reading back.
pub async fn persist<F, R, T>(lease: &Lease, what: &str, operation: F) -> bool
where
    F: Fn() -> R,
    R: Future<Output = Result<T, StoreError>>,
{
    let mut wait = Duration::from_millis(100);
    loop {
        match operation().await {
            Ok(_) => return true,
            Err(error) => {
                lease.heed(&error);
                warn!(%error, "{what} could not be stored, trying again");
            }
        }
        if lease.is_over() || lease.stop().is_cancelled() {
            return false;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_goes_on_while_the_worker_waits_for_what_the_call_holds() {
        let connection = Arc::new(tokio::sync::Mutex::new(()));
        let mut running = Running::default();
        let (held, is_held) = tokio::sync::oneshot::channel();
        let call = {
            let connection = Arc::clone(&connection);
            async move {
                let _connection = connection.lock().await;
                let _ = held.send(());
                tokio::task::yield_now().await;
                Done::Nothing
            }
        };
        running.spawn(call.boxed());
        let waiting = async {
            is_held.await.unwrap();
            connection.lock().await
        };
        let got = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        assert!(got.is_ok(), "the worker waits for a connection that its own call holds");
        drop(got);
        assert!(matches!(running.next().await, Some(Done::Nothing)));
        assert!(running.is_empty() && running.next().await.is_none());
    }
}
