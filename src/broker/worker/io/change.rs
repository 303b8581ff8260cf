//! From the backlog to one call, and the handling of each answer.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::FutureExt;
use tracing::{debug, error, info, warn};

use super::calls::{Done, WakeAt};
use super::sending::{BUILT_AHEAD, names_of};
use crate::broker::worker::Worker;
use crate::broker::worker::view::Health;
use crate::broker::worker::zone::backlog::Backlog;
use crate::broker::worker::zone::quota::creations;
use crate::broker::worker::zone::unit_key;
use crate::broker::worker::zone::work::{AwaitedChange, LONGEST_GAP, SHORTEST_GAP, Trouble};
use crate::core::batch::fold::{FoldLimits, Folder, Limit, NotAdded};
use crate::core::ids::{BatchId, ClusterId, ZoneId, id_at};
use crate::core::limits::budget::{ApiAction, Lane};
use crate::core::limits::fair::Offer;
use crate::core::planning::change::{Batch, Unit};
use crate::core::time::{Millis, Timestamp};
use crate::ports::{BatchOutcome, BatchRow, CallError, ChangeReceipt, DnsProvider as _};

/// While change tokens are scarce, a call is worth its request token if it carries as many as flow in during this time.
const CARRY_MS: f64 = 200.0;
/// The first pause of changes after a call whose outcome is not known; it doubles with each in a row.
const FIRST_DOUBT: Millis = Millis(1_000);
/// The longest pause of changes.
const LONGEST_CHANGE_PAUSE: Millis = Millis::from_secs(300);
/// How often batches answered with the same unknown error code are read back; then that code counts as a refusal.
const UNLISTED_ROUNDS: u32 = 3;
/// From this many changes in a row refused with such codes on, the zone is paused as a whole.
const UNLISTED_IN_ROW: u32 = 6;
/// The longest pause of changes then: a change that the zone would accept waits for no longer.
const LONGEST_UNLISTED_PAUSE: Millis = Millis::from_secs(30);

impl Worker {
    /// Journals a batch for every zone that has something to send, the zone of the cluster that was given least first, as long
    /// as there are tokens.
    pub(in crate::broker::worker) fn start_changes(&mut self, now: Timestamp, wake: &mut WakeAt) {
        let mut passed = BTreeSet::new();
        while self.zones.agenda(now).has_changes() && self.tokens_are_worth_a_call(1, now, wake) {
            let next = self.zones.agenda(now).next_change(&self.share, &passed);
            let Some(zone_id) = next else { return };
            let pending = self.zones.get(&zone_id).map_or(0, |zone| zone.backlog.cost());
            if !self.tokens_are_worth_a_call(pending, now, wake) {
                return;
            }
            match self.build(&zone_id, now) {
                Some(batch) => self.journal(batch, now),
                None => {
                    passed.insert(zone_id);
                }
            }
        }
    }

    /// Each call costs one request token whatever its size. While change tokens are scarce, wait until a call carries a
    /// worthwhile share, or all there is. Tokens promised to journalled batches do not count; the request token may arrive while
    /// the batch is journalled.
    fn tokens_are_worth_a_call(&mut self, pending: u32, now: Timestamp, wake: &mut WakeAt) -> bool {
        let action = ApiAction::ChangeResourceRecordSets;
        let worth = match &self.settings.budget.changes {
            Some(changes) => {
                let usable_per_second =
                    changes.refill_per_second * (1.0 - self.settings.budget.reserve_share);
                pending.clamp(1, ((usable_per_second * CARRY_MS / 1_000.0) as u32).max(1))
            }
            None => 1,
        };
        let (calls, changes) = (self.outgoing.promised_calls(), self.outgoing.promised_changes());
        match self.budget.all_ready_at(
            now,
            Lane::Changes,
            action,
            calls + 1,
            changes.saturating_add(worth),
        ) {
            Some(at) if at <= now => true,
            Some(at) if self.changes_left(now) < worth => {
                wake.at(at);
                false
            }
            Some(at) if at <= now + BUILT_AHEAD => true,
            Some(at) => {
                wake.at(Timestamp(at.0.saturating_sub(BUILT_AHEAD.0)));
                false
            }
            // More than the bucket holds: the fold adds fewer. Promised batches go first.
            None => calls == 0,
        }
    }

    /// The limits of a call: Route 53's, and what the account's budget holds at most.
    pub(super) fn fold_limits(&self) -> FoldLimits {
        let change_tokens = usize::try_from(self.budget.most_changes()).unwrap_or(usize::MAX);
        FoldLimits { change_tokens, ..FoldLimits::default() }
    }

    /// The change tokens that are there for a batch that is built now.
    fn changes_left(&mut self, now: Timestamp) -> u32 {
        match self.budget.changes_available(now, Lane::Changes) {
            u32::MAX => u32::MAX,
            available => available.saturating_sub(self.outgoing.promised_changes()),
        }
    }

    /// The next batch of a zone; `None` if nothing can be sent.
    fn build(&mut self, zone_id: &ZoneId, now: Timestamp) -> Option<Batch> {
        let tokens = self.changes_left(now);
        let units = match self.search_units(zone_id, tokens, now) {
            Some(units) => units,
            None => self.fair_units(zone_id, tokens, now),
        };
        if units.is_empty() {
            return None;
        }
        let zone = self.zones.get(zone_id)?;
        let id = id_at(now, |random| self.rng.fill(random));
        let batch = Batch {
            id: BatchId(id),
            account: self.settings.account.clone(),
            zone: zone_id.clone(),
            planned_at: now,
            wire: crate::core::batch::fold::wire_order(&units),
            stamp: zone.state.stamp(&units, now),
            units,
        };
        let Err(violations) = zone.state.check(&batch) else {
            return Some(batch);
        };
        // A defect of ours: it is not sent, said loudly, and kept from being planned again until it changes.
        let text = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        error!(account = %batch.account, zone = %batch.zone, "a batch was not sent: {text}");
        self.metrics.violated(&violations);
        self.refuse_units(
            zone_id,
            &batch.units,
            &format!("Zonefold's own check refused the change: {text}"),
            now,
        );
        self.review(zone_id, names_of(&batch), now);
        None
    }

    /// A fair round over the clusters that wait for the zone.
    fn fair_units(&mut self, zone_id: &ZoneId, tokens: u32, now: Timestamp) -> Vec<Unit> {
        loop {
            let (units, passed) = self.fair_round(zone_id, tokens, now);
            if !units.is_empty() || passed == 0 {
                return units;
            }
        }
    }

    /// One round: the units that go out, and how many names were passed.
    fn fair_round(&mut self, zone_id: &ZoneId, tokens: u32, now: Timestamp) -> (Vec<Unit>, usize) {
        let limits = self.fold_limits();
        let Some(zone) = self.zones.get_mut(zone_id) else { return (vec![], 0) };
        let mut folder = Folder::new(limits, tokens);
        let (mut units, mut too_large, mut offered) = (vec![], vec![], HashSet::new());
        let mut without_work = vec![];
        let mut created = 0;
        let (state, apart) = (&mut zone.state, &zone.apart);
        let next = zone.backlog.clusters().min_by_key(|cluster| {
            (self.share.least(std::iter::once(*cluster)).unwrap_or(0), *cluster)
        });
        // A unit that is refused again and again travels alone, and the others without it.
        let alone = next.filter(|cluster| apart.is_apart(cluster, now)).cloned();
        let travels = |cluster: &ClusterId| match &alone {
            Some(alone) => alone == cluster,
            None => !apart.is_apart(cluster, now),
        };
        let (queues, members) = zone.backlog.split();
        let taken = self.share.take(queues, |cluster, queued| {
            // A name that ceased to wait and began again has two entries; a batch that held it twice would contradict itself.
            if !Backlog::is_member(members, cluster, &queued.item) {
                return Offer::Take;
            }
            if !travels(cluster) {
                return Offer::Skip;
            }
            if !offered.insert(queued.item.clone()) {
                return Offer::Take;
            }
            let (mut added, mut out_of_tokens) = (false, false);
            let planned = state.units(&queued.item, now);
            let nothing_left = planned.is_empty();
            if nothing_left {
                without_work.push(queued.item.clone());
            }
            for unit in planned {
                let creates = creations(&unit);
                if creates > 0 && created > 0 && created + creates > state.quota.allowance(now) {
                    // The zone was full a moment ago: the rest follows when these are there.
                    continue;
                }
                match folder.try_add(&unit) {
                    Ok(()) => {
                        added = true;
                        created += creates;
                        units.push(unit);
                    }
                    Err(NotAdded::TooLarge(why)) => {
                        added = true;
                        too_large.push((unit, why.to_string()));
                    }
                    // A change that lacks tokens ends the round: small ones after it would starve it.
                    Err(NotAdded::Full(limit)) => out_of_tokens |= limit == Limit::ChangeTokens,
                }
            }
            match (added || nothing_left, out_of_tokens) {
                (true, _) => Offer::Take,
                (false, true) => Offer::Stop,
                (false, false) => Offer::Skip,
            }
        });
        let passed = taken.len();
        for (cluster, name) in taken {
            zone.backlog.taken(&cluster, &name);
        }
        if !without_work.is_empty() {
            // They had a change when they were planned last: what they wait for now, if anything, is to be found out.
            self.note(zone_id, without_work);
        }
        for (unit, why) in too_large {
            self.refuse_units(zone_id, std::slice::from_ref(&unit), &why, now);
            self.review(zone_id, unit_key(&unit).map(|key| key.name.clone()), now);
        }
        (units, passed)
    }

    /// Notes that these units are not to be sent again as they are for a while, and why.
    pub(super) fn refuse_units(
        &mut self,
        zone_id: &ZoneId,
        units: &[Unit],
        message: &str,
        now: Timestamp,
    ) {
        if let Some(zone) = self.zones.get_mut(zone_id) {
            units.iter().for_each(|unit| zone.state.refuse(unit, message.to_owned(), now));
            self.metrics.refused(units.len());
        }
    }

    pub(in crate::broker::worker) fn finish_change(
        &mut self,
        batch: Batch,
        result: Result<ChangeReceipt, CallError>,
        sent_at: Timestamp,
        now: Timestamp,
    ) {
        match result {
            Ok(receipt) => self.finish_applied(batch, receipt, sent_at, now),
            Err(CallError::Refused { code, message, request_id }) => {
                self.finish_refused(batch, code, message, request_id, now)
            }
            Err(CallError::Unlisted { code, message, request_id }) => {
                let zone = self.zones.get_mut(&batch.zone);
                let times = zone.map_or(0, |zone| {
                    let times = zone.unlisted.entry(code.clone()).or_default();
                    *times = times.saturating_add(1);
                    *times
                });
                if times > UNLISTED_ROUNDS {
                    // It was read back each time, and nothing of it was there.
                    self.refused_in_row(&batch.zone, &code, now);
                    self.finish_refused(batch, code, message, request_id, now);
                } else {
                    let text = format!("{code}: {message}");
                    self.finish_unknown(batch, Some(code), &text, now);
                }
            }
            Err(CallError::Unknown { message }) => self.finish_unknown(batch, None, &message, now),
            Err(CallError::Denied { message }) => {
                // Reading may be allowed where changing is not.
                self.metrics.denied();
                let text = format!("AWS denies it: {message}");
                self.change_trouble(&batch.zone, text, Millis(30_000), now);
                let reason = CallError::Denied { message }.to_string();
                self.record(batch, BatchOutcome::NotApplied { reason }, vec![], vec![]);
            }
            Err(other) => {
                self.not_applied(&batch.zone, &other, now);
                self.record(
                    batch,
                    BatchOutcome::NotApplied { reason: other.to_string() },
                    vec![],
                    vec![],
                );
            }
        }
    }

    /// The batch is in doubt: its names are read back before anything else is sent.
    fn finish_unknown(
        &mut self,
        batch: Batch,
        code: Option<String>,
        message: &str,
        now: Timestamp,
    ) {
        warn!(account = %batch.account, zone = %batch.zone, batch = %batch.id, "the outcome of a batch is unknown, reading it back: {message}");
        self.metrics.unknown();
        let text = format!("the outcome of a change at Route 53 is unknown: {message}");
        self.change_trouble(&batch.zone, text, FIRST_DOUBT, now);
        let mut free_at = now;
        if let Some(zone) = self.zones.get_mut(&batch.zone) {
            zone.end_searches();
            zone.reviews.hold(names_of(&batch));
            zone.doubt_code = code;
            // It may have been applied just now, and the zone be busy with it.
            free_at = now + zone.gap;
            zone.in_doubt.push(BatchRow { batch: batch.clone(), outcome: None, finished_at: None });
        }
        self.release(&batch.zone, free_at);
    }

    fn finish_applied(
        &mut self,
        batch: Batch,
        receipt: ChangeReceipt,
        sent_at: Timestamp,
        now: Timestamp,
    ) {
        self.budget.succeeded(now);
        info!(
            account = %batch.account, zone = %batch.zone, batch = %batch.id, changes = batch.wire.len(),
            change_id = %receipt.change_id, request_id = receipt.request_id.as_deref().unwrap_or(""), took_ms = now.since(sent_at).0,
            "batch applied"
        );
        for change in batch.changes() {
            debug!(zone = %batch.zone, batch = %batch.id, key = %change.key, motive = ?change.cause.motive, cluster = %change.cause.cluster, "change applied");
        }
        self.metrics.applied(&batch);
        self.count_applied(&batch, now);
        let Some(zone) = self.zones.get_mut(&batch.zone) else { return };
        zone.sequence += 1;
        zone.trouble = None;
        zone.change_trouble = None;
        zone.unlisted_in_row = 0;
        zone.gap = Millis((zone.gap.0 * 9 / 10).max(SHORTEST_GAP.0));
        let sequence = zone.sequence;
        let (writes, releases) =
            zone.state.applied(&batch, Some(&receipt.change_id), sequence, now);
        let change =
            AwaitedChange { sequence, change_id: Some(receipt.change_id.clone()), since: now };
        zone.await_sync(change, names_of(&batch));
        if zone.search_turn
            && let Some(search) = zone.searches.front_mut()
            && names_of(&batch).iter().all(|name| search.holds(name))
        {
            search.applied();
        }
        let outcome =
            BatchOutcome::Applied { change_id: receipt.change_id, request_id: receipt.request_id };
        self.record(batch, outcome, writes, releases);
    }

    /// Handles an answer that applied nothing: its consequences for the account and the zone.
    pub(in crate::broker::worker) fn not_applied(
        &mut self,
        zone_id: &ZoneId,
        error: &CallError,
        now: Timestamp,
    ) {
        match error {
            CallError::Throttled => {
                warn!(account = %self.settings.account, zone = %zone_id, "Route 53 throttled the account: slowing down");
                self.metrics.throttled();
                self.budget.throttled(now);
            }
            CallError::Busy => {
                if let Some(zone) = self.zones.get_mut(zone_id) {
                    zone.gap = Millis((zone.gap.0 * 2).min(LONGEST_GAP.0));
                }
            }
            CallError::Expired => {
                let provider = Arc::clone(&self.provider);
                self.spawn(
                    async move {
                        provider.refresh_credentials().await;
                        Done::Nothing
                    }
                    .boxed(),
                );
                self.trouble(
                    zone_id,
                    "the account's credentials had expired and are fetched again".to_owned(),
                    Millis(1_000),
                    now,
                );
            }
            CallError::Denied { message } => {
                self.metrics.denied();
                self.trouble(zone_id, format!("AWS denies it: {message}"), Millis(30_000), now);
            }
            CallError::NotFound { message } => {
                self.trouble(
                    zone_id,
                    format!("Route 53 does not know the zone: {message}"),
                    Millis(60_000),
                    now,
                );
                self.discovery.look_again(now);
            }
            CallError::NotSent { message } => {
                self.trouble(
                    zone_id,
                    format!("Route 53 cannot be reached: {message}"),
                    Millis(1_000),
                    now,
                );
            }
            CallError::Unknown { message } => {
                self.trouble(
                    zone_id,
                    format!("Route 53 did not answer: {message}"),
                    Millis(1_000),
                    now,
                );
            }
            CallError::Refused { message, .. } | CallError::Unlisted { message, .. } => {
                self.trouble(
                    zone_id,
                    format!("Route 53 refused the question: {message}"),
                    Millis(60_000),
                    now,
                );
            }
        }
    }

    /// Opens the zone's circuit: nothing is asked there until the time has come, and then once.
    fn trouble(&mut self, zone_id: &ZoneId, message: String, first_wait: Millis, now: Timestamp) {
        let jitter = self.rng.i64(0..=first_wait.0 / 4);
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        let failures = zone.trouble.as_ref().map_or(0, |trouble| trouble.failures) + 1;
        let wait = Millis((first_wait.0 << (failures - 1).min(10)).min(900_000) + jitter);
        warn!(account = %self.settings.account, zone = %zone_id, retry_in_ms = wait.0, "zone paused: {message}");
        zone.trouble = Some(Trouble { message, failures, retry_at: now + wait });
    }

    /// The same for changes alone: reads go on, and that they succeed says nothing of the next change.
    fn change_trouble(
        &mut self,
        zone_id: &ZoneId,
        message: String,
        first_wait: Millis,
        now: Timestamp,
    ) {
        let share = self.rng.f64() / 4.0;
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        let failures = zone.change_trouble.as_ref().map_or(0, |trouble| trouble.failures) + 1;
        let longest = LONGEST_CHANGE_PAUSE.0.max(first_wait.0);
        let wait = (first_wait.0 << (failures - 1).min(10)).min(longest);
        let wait = Millis(wait + (wait as f64 * share) as i64);
        warn!(account = %self.settings.account, zone = %zone_id, retry_in_ms = wait.0, "no changes for a while: {message}");
        zone.change_trouble = Some(Trouble { message, failures, retry_at: now + wait });
    }

    /// A change was refused with a code that nobody knows. When that is so of all that are sent, the zone is asked less and less
    /// often instead of once for each unit.
    fn refused_in_row(&mut self, zone_id: &ZoneId, code: &str, now: Timestamp) {
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        zone.unlisted_in_row = zone.unlisted_in_row.saturating_add(1);
        let failures = zone.unlisted_in_row;
        let Some(more) = failures.checked_sub(UNLISTED_IN_ROW) else { return };
        let wait = Millis((FIRST_DOUBT.0 << more.min(10)).min(LONGEST_UNLISTED_PAUSE.0));
        let message = format!("Route 53 refuses all changes of the zone with {code}");
        warn!(account = %self.settings.account, zone = %zone_id, retry_in_ms = wait.0, "no changes for a while: {message}");
        zone.change_trouble = Some(Trouble { message, failures, retry_at: now + wait });
    }

    pub(in crate::broker::worker) fn finish_recorded(
        &mut self,
        batch: Batch,
        outcome: BatchOutcome,
        now: Timestamp,
    ) {
        let zone_id = batch.zone.clone();
        let names = names_of(&batch);
        let mut followers = BTreeSet::new();
        if let Some(zone) = self.zones.get_mut(&zone_id) {
            let gap = zone.gap;
            zone.in_doubt.retain(|row| row.batch.id != batch.id);
            if outcome.is_done() {
                followers = zone.state.followers_of(names.iter().cloned());
            }
            self.release(&zone_id, now + gap);
        }
        self.release_held(&zone_id);
        self.review(&zone_id, names, now);
        self.note(&zone_id, followers);
    }

    /// Whether the account may call at all.
    pub(in crate::broker::worker) fn is_working(&self) -> bool {
        matches!(self.health, Health::Working)
    }
}
