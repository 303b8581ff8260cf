//! What others may see of a worker: a snapshot that is published now and then, and answers to questions.

use serde::Serialize;
use tokio::sync::oneshot;

use super::zone::NameReport;
use super::{AccountSettings, VIEW_EVERY, Worker};
use crate::core::budget::BudgetSnapshot;
use crate::core::ids::{AccountId, EnvironmentId, ZoneId};
use crate::core::name::DnsName;
use crate::core::plan::Observed;
use crate::core::policy::ZonePolicy;
use crate::core::record::RecordKey;
use crate::core::time::{Millis, Timestamp};

/// Whether an account is worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Health {
    /// Its identity has not been confirmed yet.
    Starting,
    /// It is worked.
    Working,
    /// Nothing is called until the time has come.
    Parked {
        /// Why, and what to do.
        message: String,
        /// Since when.
        since: Timestamp,
        /// When it is tried again.
        retry_at: Timestamp,
    },
}

/// One zone, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ZoneView {
    /// The zone.
    pub zone: ZoneId,
    /// Its account.
    pub account: AccountId,
    /// Its environment.
    pub environment: EnvironmentId,
    /// Its apex.
    pub name: DnsName,
    /// Private or public.
    pub private: bool,
    /// Whether discovery still finds it.
    pub visible: bool,
    /// What may be done there.
    pub policy: ZonePolicy,
    /// What becomes of drift.
    pub drift_policy: String,
    /// When its records were last listed completely.
    pub listed_at: Option<Timestamp>,
    /// Record sets observed.
    pub records: usize,
    /// Of those, made by Zonefold.
    pub owned: usize,
    /// Names with something to send.
    pub pending: usize,
    /// Whether a call or a save is under way.
    pub busy: bool,
    /// Changes that Route 53 refused.
    pub refused: usize,
    /// Sets of ours that somebody else changed.
    pub drifted: usize,
    /// Why nothing is called there now.
    pub trouble: Option<String>,
}

/// One account, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccountView {
    /// The account.
    pub account: AccountId,
    /// Its name in the configuration.
    pub name: String,
    /// Its environment.
    pub environment: EnvironmentId,
    /// Whether it is worked.
    pub health: Health,
    /// Our part of its buckets.
    pub budget: BudgetSnapshot,
    /// Whether zones were discovered in this life of the broker.
    pub discovered: bool,
    /// Its zones.
    pub zones: Vec<ZoneView>,
    /// Names with something to send.
    pub pending: usize,
    /// When all that is pending is expected to have gone out.
    pub drained_at: Option<Timestamp>,
    /// When this was true.
    pub at: Timestamp,
}

impl AccountView {
    /// Before the worker has started.
    pub fn empty(settings: &AccountSettings, at: Timestamp) -> Self {
        Self {
            account: settings.account.clone(),
            name: settings.name.clone(),
            environment: settings.environment.clone(),
            health: Health::Starting,
            budget: BudgetSnapshot { buckets: vec![], ceiling: 1.0, throttles: 0 },
            discovered: false,
            zones: vec![],
            pending: 0,
            drained_at: None,
            at,
        }
    }

    /// Whether everything that is known to be wanted is there, as far as it can be.
    pub fn is_settled(&self) -> bool {
        let zone_settled = |zone: &ZoneView| !zone.visible || (zone.listed_at.is_some() && zone.pending == 0 && !zone.busy);
        self.health == Health::Working && self.discovered && self.zones.iter().all(zone_settled)
    }
}

/// A question to a worker.
pub enum Query {
    /// Observed records of a zone after a key.
    Records {
        /// The zone.
        zone: ZoneId,
        /// The cursor.
        after: Option<RecordKey>,
        /// How many at most.
        limit: usize,
        /// None when the zone is not known.
        reply: oneshot::Sender<Option<Vec<(RecordKey, Observed)>>>,
    },
    /// Publish the view now.
    Publish {
        /// Told when it is published.
        reply: oneshot::Sender<()>,
    },
    /// Everything that is known of a name, zone by zone.
    Why {
        /// The owner name.
        name: DnsName,
        /// One report for each zone of the account that knows the name.
        reply: oneshot::Sender<Vec<WhyReport>>,
    },
}

/// What a zone knows of a name.
#[derive(Clone, Debug)]
pub struct WhyReport {
    /// The zone.
    pub zone: ZoneView,
    /// What is known.
    pub report: NameReport,
}

impl Worker {
    pub(super) fn answer(&mut self, query: Query, now: Timestamp) {
        // Who asked may have gone; then nobody is told.
        match query {
            Query::Records { zone, after, limit, reply } => {
                let records = self.zones.get(&zone).map(|zone| zone.book.records(after.as_ref(), limit));
                let _gone = reply.send(records);
            }
            Query::Publish { reply } => {
                self.publish(now);
                let _gone = reply.send(());
            }
            Query::Why { name, reply } => {
                let reports = self.zones.values().filter_map(|zone| {
                    zone.book.why(&name, now).map(|report| WhyReport { zone: self.zone_view(zone, now), report })
                });
                let _gone = reply.send(reports.collect());
            }
        }
    }

    pub(super) fn publish_if_due(&mut self, now: Timestamp) {
        if self.dirty_view && now >= self.published_at + VIEW_EVERY {
            self.publish(now);
        }
    }

    pub(super) fn publish(&mut self, now: Timestamp) {
        self.dirty_view = false;
        self.published_at = now;
        let zones: Vec<ZoneView> = self.zones.values().map(|zone| self.zone_view(zone, now)).collect();
        let pending = zones.iter().map(|zone| zone.pending).sum();
        let changes: u64 = self.zones.values().map(|zone| u64::from(zone.backlog.cost())).sum();
        let drained_at = (pending > 0 && self.is_working())
            .then(|| self.budget.predict(now, 1, u32::try_from(changes).unwrap_or(u32::MAX)))
            .filter(|at| at.0 < i64::MAX);
        let view = AccountView {
            account: self.settings.account.clone(),
            name: self.settings.name.clone(),
            environment: self.settings.environment.clone(),
            health: self.health.clone(),
            budget: self.budget.snapshot(now),
            discovered: self.discovery.is_complete(),
            zones,
            pending,
            drained_at,
            at: now,
        };
        self.metrics.published(&view);
        self.view.send_replace(std::sync::Arc::new(view));
        // Tokens flow back without anything happening; while they do, the view is still news.
        if pending > 0 {
            self.dirty_view = true;
        }
    }

    fn zone_view(&self, zone: &super::ZoneWork, now: Timestamp) -> ZoneView {
        let counts = zone.book.counts();
        let searched: usize = zone.searches.iter().map(super::Search::len).sum();
        ZoneView {
            zone: zone.facts.zone.clone(),
            account: zone.facts.account.clone(),
            environment: zone.facts.environment.clone(),
            name: zone.facts.name.clone(),
            private: zone.facts.visibility.is_private(),
            visible: zone.facts.visible,
            policy: zone.book.settings.policy,
            drift_policy: zone.book.settings.drift.to_string(),
            listed_at: zone.listed_at,
            records: counts.records,
            owned: counts.owned,
            pending: zone.backlog.len() + searched + zone.to_review.len() + zone.unsettled.len(),
            busy: zone.busy || zone.reader.is_some(),
            refused: counts.refused,
            drifted: counts.drifted,
            trouble: zone
                .trouble
                .as_ref()
                .filter(|trouble| trouble.retry_at + Millis(1) > now)
                .map(|trouble| trouble.message.clone()),
        }
    }
}
