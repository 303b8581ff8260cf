//! A worker's start: first the stored state of its account, then the endpoints of clusters, and only then the first plan.
//!
//! Until all endpoints have arrived, one that is missing may not be loaded yet: nothing is planned, and no call is made but
//! the check of the identity. Then all names are noted to be looked at, as at any other time, except that no call is made
//! before they were, and that none waits at the gate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use tracing::info;

use super::agenda::Zones;
use super::guards::Guards;
use super::io::calls::Running;
use super::io::discovery::Discovery;
use super::io::sending::Outgoing;
use super::io::sending::changes_of;
use super::review::Reviews;
use super::review::gate::GateTicket;
use super::view::{AccountView, Health, ViewBoard};
use super::zone::compare::LATE_FOR;
use super::zone::work::{AwaitedChange, PROPAGATION, ZoneWork};
use super::{Resolved, SPEND_AHEAD, UNSELECTED, Worker, WorkerParts, facts_of, rules_of_zone};
use crate::broker::lease::LeasedProvider;
use crate::core::dns::name::DnsName;
use crate::core::ids::ZoneId;
use crate::core::limits::budget::{ApiAction, Budget, StartLevel};
use crate::core::limits::fair::FairShare;
use crate::core::planning::routing::ZoneFacts;
use crate::core::time::{Millis, Timestamp};
use crate::ports::{BatchOutcome, ChangeFilter, ChangeRow, RecordRow, StoreError, ZoneRow};

/// The changes of an earlier life that are looked through for those that may not be in sync.
const RESUMED_CHANGES: u32 = 5_000;

/// How far a worker's start has come.
pub enum Loading {
    /// Contributions are arriving: they go into the zone states and nothing follows from them yet.
    Taking,
    /// All have arrived, and all names were noted: they are being looked at.
    Looking,
    /// Every name was looked at.
    Done,
}

impl Loading {
    /// Whether contributions may be missing.
    pub fn is_loading(&self) -> bool {
        matches!(self, Self::Taking)
    }

    /// Whether names are to be looked at.
    pub fn is_looking(&self) -> bool {
        matches!(self, Self::Looking)
    }

    /// Every name was looked at.
    pub fn done(&mut self) {
        *self = Self::Done;
    }

    /// Whether changes may be made.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

impl Worker {
    /// Loads the account's zones, claims, records and open batches, takes the stored contributions, and plans everything once.
    ///
    /// # Errors
    /// The store cannot be read.
    #[cfg(test)]
    pub async fn load(
        parts: WorkerParts,
        stored: Vec<crate::broker::directory::Effect>,
    ) -> Result<(Self, watch::Receiver<Arc<AccountView>>), StoreError> {
        let (mut worker, viewed) = Self::load_state(parts).await?;
        worker.absorb_effects(stored);
        worker.loaded();
        while worker.loading.is_looking() {
            worker.review_some();
        }
        worker.publish(worker.clock.now());
        Ok((worker, viewed))
    }

    /// Loads the account's zones, claims, records and open batches. Contributions arrive as messages, however many,
    /// and then [`Message::Loaded`](super::Message::Loaded): until then nothing is planned and nothing is called.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load_state(
        parts: WorkerParts,
    ) -> Result<(Self, watch::Receiver<Arc<AccountView>>), StoreError> {
        let now = parts.clock.now();
        let account = parts.settings.account.clone();
        let start = match parts.store.spend_horizon(&account).await? {
            Some(spent_until) => {
                StartLevel::Since(nothing_spent_since(spent_until, now, parts.clocks_differ))
            }
            None => StartLevel::Full,
        };
        let (view, viewed) = watch::channel(Arc::new(AccountView::empty(&parts.settings, now)));
        let in_force = Arc::clone(&parts.rules.borrow());
        let governance = Arc::new(in_force.governance.at(now));
        let mut worker = Self {
            budget: Budget::new(&parts.settings.budget, start, now),
            provider: Arc::new(LeasedProvider::new(parts.provider, parts.lease.clone())),
            lease: parts.lease,
            store: parts.store,
            clock: parts.clock,
            feedback: parts.feedback,
            discovered: parts.discovered,
            metrics: parts.metrics,
            rng: fastrand::Rng::with_seed(parts.seed),
            share: FairShare::default(),
            health: Health::Starting,
            failures: 0,
            governance,
            ruled_by: Arc::clone(&in_force.governance),
            guards: Guards::default(),
            rules: parts.rules,
            zones: Zones::default(),
            reviews: Reviews::default(),
            gate: GateTicket::before(parts.gate),
            loading: Loading::Taking,
            early: BTreeMap::new(),
            discovery: Discovery::default(),
            spend_horizon: None,
            outgoing: Outgoing::default(),
            running: Running::default(),
            view,
            board: ViewBoard::default(),
            published_at: Timestamp(0),
            dirty_view: true,
            settings: parts.settings,
        };
        worker.load_zones(now).await?;
        worker.load_guards(now).await?;
        worker.take_approvals(&in_force.approvals);
        worker.publish(now);
        Ok((worker, viewed))
    }

    /// All stored contributions have arrived. A second call does nothing.
    pub(super) fn loaded(&mut self) {
        if self.loading.is_loading() {
            self.loading = Loading::Looking;
            self.zones.ids().iter().for_each(|zone| self.note_all(zone));
        }
    }

    async fn load_zones(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let store = Arc::clone(&self.store);
        let rows: Vec<ZoneRow> = store
            .zones()
            .await?
            .into_iter()
            .filter(|row| row.account == self.settings.account)
            .collect();
        for row in &rows {
            let facts = facts_of(row);
            let Resolved { settings, waits_for_tags } =
                rules_of_zone(&self.settings.rules, &facts, row.tags.as_ref());
            let settings = settings.filter(|_| row.visible);
            let facts = ZoneFacts { visible: settings.is_some(), ..facts };
            let settings = settings.unwrap_or(UNSELECTED);
            let mut zone = ZoneWork::new(facts, settings, row.listed_at, now);
            zone.tags.clone_from(&row.tags);
            zone.waits_for_tags = waits_for_tags;
            zone.govern(&self.governance);
            zone.sweep_at = row.listed_at.map_or(now, |at| at + self.settings.drift_interval);
            let mut records = vec![];
            loop {
                let after = records.last().map(|record: &RecordRow| &record.key);
                let page = store.records(&row.zone, after, 5_000).await?;
                if page.is_empty() {
                    break;
                }
                records.extend(page);
            }
            zone.state.load_records(records.into_iter());
            self.zones.insert(row.zone.clone(), zone);
        }
        let ids: Vec<ZoneId> = rows.iter().map(|row| row.zone.clone()).collect();
        for claim in store.claims(&ids).await? {
            if let Some(zone) = self.zones.get_mut(&claim.zone) {
                zone.state.load_claim(claim);
            }
        }
        for batch in store.open_batches(&self.settings.account).await? {
            // Its call may be on its way yet, and take tokens that are not counted here.
            self.budget.expect_late(
                now,
                ApiAction::ChangeResourceRecordSets,
                changes_of(&batch.batch),
            );
            if let Some(zone) = self.zones.get_mut(&batch.batch.zone) {
                info!(zone = %batch.batch.zone, batch = %batch.batch.id, "a batch of an earlier life has no outcome: reading it back");
                zone.in_doubt.push(batch);
            }
        }
        // Batches that an earlier life, or another replica, read back as lost may come late in this one.
        for row in store
            .lost_batches(&self.settings.account, Timestamp(now.0.saturating_sub(LATE_FOR.0)))
            .await?
        {
            if let Some(zone) = self.zones.get_mut(&row.batch.zone) {
                zone.state.may_come_late(&row.batch, row.batch.planned_at);
            }
        }
        for zone in ids {
            self.resume_sync(&zone, now).await?;
        }
        Ok(())
    }

    /// What an earlier life, or another replica, sent counts for guards as what this one will send.
    async fn load_guards(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.take_guards();
        let counted =
            self.store.counted(&self.settings.account, self.guards_count_since(now)).await?;
        self.load_counted(counted);
        Ok(())
    }

    /// The last changes of an earlier life may not have been in sync: their names wait for that again.
    async fn resume_sync(&mut self, zone_id: &ZoneId, now: Timestamp) -> Result<(), StoreError> {
        let last_changes =
            |limit| ChangeFilter { zone: Some(zone_id.clone()), limit, ..ChangeFilter::default() };
        let is_recent = |row: &ChangeRow| row.planned_at + PROPAGATION > now;
        let is_done = |row: &ChangeRow| row.outcome.as_ref().is_some_and(BatchOutcome::is_done);
        // As a rule there is none, and one row tells.
        if !self.store.changes(&last_changes(1)).await?.iter().any(is_recent) {
            return Ok(());
        }
        let mut rows = self.store.changes(&last_changes(RESUMED_CHANGES)).await?;
        rows.retain(|row| is_recent(row) && is_done(row));
        let change_id = rows.iter().find_map(|row| match &row.outcome {
            Some(BatchOutcome::Applied { change_id, .. }) => Some(change_id.clone()),
            _ => None,
        });
        if let Some(zone) = self.zones.get_mut(zone_id).filter(|_| !rows.is_empty()) {
            zone.sequence += 1;
            let sequence = zone.sequence;
            let names: BTreeSet<DnsName> =
                rows.into_iter().map(|row| row.change.key.name).collect();
            zone.state.await_sync(&names, change_id.as_deref(), sequence);
            zone.await_sync(AwaitedChange { sequence, change_id, since: now }, names);
        }
        Ok(())
    }
}

/// The time since which none of the account's tokens were spent, by this replica's clock. The horizon may have been written by
/// another clock, or by this machine's before it was set. But the worker that spent stopped before its lease passed on, so the
/// time is no later than now and what was sent last, and where the clocks could make a difference, it is taken to be now.
fn nothing_spent_since(spent_until: Timestamp, now: Timestamp, clocks_differ: Millis) -> Timestamp {
    let latest = (spent_until + clocks_differ).min(now);
    spent_until.max(latest).min(now + SPEND_AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_whose_clock_is_ahead_takes_over_no_tokens_that_were_spent() {
        let since = |spent_until, differ| {
            nothing_spent_since(Timestamp(spent_until), Timestamp(100_000), Millis(differ)).0
        };
        assert_eq!((since(98_000, 0), since(102_000, 0)), (98_000, 102_000), "one clock is right");
        assert_eq!(since(93_000, 10_000), 100_000, "that may have been just now");
        assert_eq!(since(60_000, 10_000), 70_000, "that is long ago by any clock");
        assert_eq!(since(101_500, 10_000), 101_500, "sent, and not there yet");
        assert_eq!(since(900_000, 10_000), 102_000, "a clock that was wrong stops nobody");
    }
}
