//! From a batch to its call: first the journal, then the tokens, then Route 53; and the end of it in the journal again.
//!
//! The permit is taken when the call can be sent at once, so however long the journal takes, no token is spent later than the
//! store knows of. A batch is built when its tokens are there or will be by the time it is journalled; should they be gone then,
//! it ends as not applied and what it was for is planned anew, with what has changed since.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures::FutureExt;
use tracing::{Instrument as _, Span, info, info_span, warn};

use super::calls::{Done, WakeAt, persist};
use crate::broker::lease::Lease;
use crate::broker::worker::Worker;
use crate::core::dns::name::DnsName;
use crate::core::ids::ZoneId;
use crate::core::limits::budget::{ApiAction, Lane, Permit};
use crate::core::planning::change::Batch;
use crate::core::time::{Millis, Timestamp};
use crate::ports::{
    BatchOutcome, ClaimWrite, Clock, DnsProvider as _, RecordWrite, Store, StoreError,
};

/// How long before its request token a batch may be built: about as long as the journal takes.
pub const BUILT_AHEAD: Millis = Millis(50);
/// How long a journalled batch waits for its tokens at most, since its plan ages.
const LONGEST_WAIT: Millis = Millis(1_000);

/// A batch that is in the journal and was not sent.
pub struct Journalled {
    batch: Box<Batch>,
    since: Timestamp,
}

/// The batches of an account that are not paid for yet.
#[derive(Default)]
pub struct Outgoing {
    /// The change tokens that each will take, by its zone; includes batches that are still being journalled.
    promised: BTreeMap<ZoneId, u32>,
    /// Those that are journalled, in that order.
    journalled: VecDeque<Journalled>,
}

impl Outgoing {
    /// How many calls will be paid for.
    pub fn promised_calls(&self) -> u32 {
        u32::try_from(self.promised.len()).unwrap_or(u32::MAX)
    }

    /// How many changes will be paid for.
    pub fn promised_changes(&self) -> u32 {
        self.promised.values().fold(0, |sum, changes| sum.saturating_add(*changes))
    }

    /// Whether a batch waits for its tokens.
    pub fn is_waiting(&self) -> bool {
        !self.journalled.is_empty()
    }
}

/// The span of a batch for its log entries; the account is that of the worker's span.
fn batch_span(batch: &Batch) -> Span {
    info_span!("batch", batch = %batch.id, zone = %batch.zone)
}

/// The names that a batch changes.
pub fn names_of(batch: &Batch) -> BTreeSet<DnsName> {
    batch.changes().map(|change| change.key.name.clone()).collect()
}

/// The record changes that a batch takes from the bucket of changes.
pub(in crate::broker::worker) fn changes_of(batch: &Batch) -> u32 {
    u32::try_from(batch.wire.len()).unwrap_or(u32::MAX)
}

impl Worker {
    /// Journals a batch. From here on the only decision left is whether it is sent.
    pub(in crate::broker::worker) fn journal(&mut self, batch: Batch, now: Timestamp) {
        let Some(zone) = self.zones.get_mut(&batch.zone) else { return };
        zone.busy = true;
        zone.has_old_plan = false;
        zone.last_call_at = now;
        let claims = zone.state.claims_for(&batch);
        self.outgoing.promised.insert(batch.zone.clone(), changes_of(&batch));
        let (store, clock, lease) =
            (Arc::clone(&self.store), Arc::clone(&self.clock), self.lease.clone());
        let span = batch_span(&batch);
        self.spawn(
            async move {
                let journalled = store.begin_batch(&batch, &claims).await;
                if let Err(StoreError::Unavailable(_)) = journalled {
                    // It may be in the journal all the same, and there it would stay without an end.
                    disown(&*store, &*clock, &lease, &batch).await;
                }
                let batch = Box::new(batch);
                match journalled {
                    Ok(()) => Done::Journalled { batch, claims },
                    Err(error) => Done::NotJournalled { batch, error },
                }
            }
            .instrument(span)
            .boxed(),
        );
    }

    pub(in crate::broker::worker) fn finish_journalled(
        &mut self,
        batch: Box<Batch>,
        claims: &[ClaimWrite],
        now: Timestamp,
    ) {
        if let Some(zone) = self.zones.get_mut(&batch.zone) {
            zone.state.claims_kept(claims);
        }
        self.outgoing.journalled.push_back(Journalled { batch, since: now });
    }

    pub(in crate::broker::worker) fn finish_not_journalled(
        &mut self,
        batch: &Batch,
        error: &StoreError,
        now: Timestamp,
    ) {
        self.lease.heed(error);
        warn!(account = %self.settings.account, zone = %batch.zone, %error, "a batch was not sent because it could not be journalled");
        self.outgoing.promised.remove(&batch.zone);
        self.release(&batch.zone, now + Millis(1_000));
        self.review(&batch.zone, names_of(batch), now);
    }

    /// Sends what is journalled as its tokens allow, in the order in which it was journalled.
    pub(in crate::broker::worker) fn send_journalled(&mut self, now: Timestamp, wake: &mut WakeAt) {
        while let Some(next) = self.outgoing.journalled.pop_front() {
            let (changes, patience) = (changes_of(&next.batch), next.since + LONGEST_WAIT);
            let zone = self.zones.get(&next.batch.zone);
            if zone.is_some_and(|zone| zone.has_old_plan) {
                self.give_back(next, "the configuration says something else of its zone now");
                continue;
            }
            match self.try_permit(now, Lane::Changes, ApiAction::ChangeResourceRecordSets, changes)
            {
                Ok(permit) => self.send(next, permit),
                Err(Some(ready_at)) if ready_at <= patience => {
                    wake.at(ready_at);
                    self.outgoing.journalled.push_front(next);
                    return;
                }
                Err(_) => self.give_back(next, "the tokens for it were gone"),
            }
        }
    }

    /// Ends what is journalled and was not sent, because the account is not to be called any more.
    pub(in crate::broker::worker) fn give_back_journalled(&mut self, why: &str) {
        while let Some(next) = self.outgoing.journalled.pop_front() {
            self.give_back(next, why);
        }
    }

    fn give_back(&mut self, Journalled { batch, .. }: Journalled, why: &str) {
        info!(account = %batch.account, zone = %batch.zone, batch = %batch.id, "a batch was not sent and is planned anew: {why}");
        self.outgoing.promised.remove(&batch.zone);
        self.record(
            *batch,
            BatchOutcome::NotApplied { reason: format!("not sent: {why}") },
            vec![],
            vec![],
        );
    }

    fn send(&mut self, Journalled { batch, .. }: Journalled, permit: Permit) {
        self.outgoing.promised.remove(&batch.zone);
        let (provider, clock) = (Arc::clone(&self.provider), Arc::clone(&self.clock));
        let paid = permit.paid();
        let span = batch_span(&batch);
        self.spawn(
            async move {
                let sent_at = clock.now();
                let result = provider
                    .change_records(
                        permit,
                        &batch.zone,
                        &format!("zonefold {}", batch.id),
                        &batch.wire,
                    )
                    .await;
                Done::Changed { paid, batch, result, sent_at }
            }
            .instrument(span)
            .boxed(),
        );
    }

    /// Makes the end of a batch durable; the zone stays busy until it is.
    pub(in crate::broker::worker) fn record(
        &mut self,
        batch: Batch,
        outcome: BatchOutcome,
        writes: Vec<RecordWrite>,
        claims: Vec<ClaimWrite>,
    ) {
        let (store, clock, lease) =
            (Arc::clone(&self.store), Arc::clone(&self.clock), self.lease.clone());
        if let Some(zone) = self.zones.get_mut(&batch.zone) {
            zone.busy = true;
        }
        let span = batch_span(&batch);
        self.spawn(
            async move {
                let done = persist(&lease, "the end of a batch", || {
                    store.finish_batch(&batch, &outcome, &writes, &claims, clock.now())
                })
                .await;
                if done {
                    Done::Recorded { batch: Box::new(batch), outcome }
                } else {
                    Done::Nothing
                }
            }
            .instrument(span)
            .boxed(),
        );
    }
}

/// Ends a batch that is not sent, should it be in the journal. One that a stop or an outage leaves there is read back at the
/// next start.
async fn disown(store: &dyn Store, clock: &dyn Clock, lease: &Lease, batch: &Batch) {
    let outcome = BatchOutcome::NotApplied {
        reason: "not sent: it was unknown whether it was journalled".to_owned(),
    };
    persist(lease, "that a batch was not sent", || async {
        match store.finish_batch(batch, &outcome, &[], &[], clock.now()).await {
            // It was never begun.
            Err(StoreError::Refused(_)) => Ok(()),
            ended => ended,
        }
    })
    .await;
}
