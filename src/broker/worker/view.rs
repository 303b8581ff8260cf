//! A worker as others see it: a snapshot that is published now and then, and answers to queries.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::oneshot;

use super::handovers::HandedNames;
use super::zone::NameReport;
use super::zone::holds::Hold;
use super::zone::search::Search;
use super::zone::work::ZoneWork;
use super::{AccountSettings, VIEW_EVERY, Worker};
use crate::broker::metrics::AccountFigures;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordKey;
use crate::core::governance::handover::{Handover, HandoverReport};
use crate::core::ids::{AccountId, EnvironmentId, ZoneId};
use crate::core::limits::budget::BudgetSnapshot;
use crate::core::planning::change::Unit;
use crate::core::planning::plan::Observed;
use crate::core::planning::policy::{AdoptPolicy, ZonePolicy};
use crate::core::planning::unit_digest::UnitDigest;
use crate::core::release::guard::Crossed;
use crate::core::time::{Millis, Timestamp};

/// Whether an account is managed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Health {
    /// Its identity has not been confirmed yet.
    Starting,
    /// It is managed.
    Working,
    /// No call is made before `retry_at`.
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
    pub zone: ZoneId,
    pub account: AccountId,
    pub environment: EnvironmentId,
    /// Its apex.
    pub name: DnsName,
    /// Private or public.
    pub private: bool,
    /// Whether discovery still finds it.
    pub visible: bool,
    /// Which changes are allowed there.
    pub policy: ZonePolicy,
    /// How drift is handled.
    pub drift_policy: String,
    /// Which record sets of others are taken over.
    pub adopt: AdoptPolicy,
    /// When its records were last listed completely.
    pub listed_at: Option<Timestamp>,
    /// Record sets observed.
    pub records: usize,
    /// Of those, made by Zonefold.
    pub owned: usize,
    /// Names with something to send, and those that are still to be looked at.
    pub pending: usize,
    /// Whether a call or a save is under way.
    pub busy: bool,
    /// Changes that Route 53 refused.
    pub refused: usize,
    /// Names of which a guard holds something.
    pub held: usize,
    /// Our sets that another writer changed.
    pub drifted: usize,
    /// Why nothing is called there now, or not all that is wanted is done.
    pub trouble: Option<String>,
}

/// The zones of an account by their ids. What has not changed is shared from one view to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ZoneViews(Arc<Vec<Arc<ZoneView>>>);

impl ZoneViews {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &ZoneView> {
        self.into_iter()
    }

    /// Replaces the view of a zone; returns the old one.
    fn put(&mut self, view: ZoneView) -> Option<Arc<ZoneView>> {
        let views = Arc::make_mut(&mut self.0);
        match views.binary_search_by(|other| other.zone.cmp(&view.zone)) {
            Ok(at) => views.get_mut(at).map(|old| std::mem::replace(old, Arc::new(view))),
            Err(at) => {
                views.insert(at, Arc::new(view));
                None
            }
        }
    }
}

impl<'a> IntoIterator for &'a ZoneViews {
    type Item = &'a ZoneView;
    type IntoIter =
        std::iter::Map<std::slice::Iter<'a, Arc<ZoneView>>, fn(&'a Arc<ZoneView>) -> &'a ZoneView>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(Arc::as_ref)
    }
}

/// The zones' views as they were published last, and their sums.
#[derive(Default)]
pub struct ViewBoard {
    zones: ZoneViews,
    pending: usize,
    refused: usize,
    drifted: usize,
    /// When a zone's trouble ends, which changes its view without any event.
    calm_at: BTreeSet<(Timestamp, ZoneId)>,
}

impl ViewBoard {
    fn put(&mut self, view: ZoneView) {
        self.pending += view.pending;
        self.refused += view.refused;
        self.drifted += view.drifted;
        if let Some(old) = self.zones.put(view) {
            self.pending -= old.pending;
            self.refused -= old.refused;
            self.drifted -= old.drifted;
        }
    }

    fn take_calm(&mut self, now: Timestamp) -> Vec<ZoneId> {
        let mut calm = vec![];
        while let Some((at, zone)) = self.calm_at.pop_first() {
            if at > now {
                self.calm_at.insert((at, zone));
                break;
            }
            calm.push(zone);
        }
        calm
    }
}

/// One account, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccountView {
    pub account: AccountId,
    /// Its name in the configuration.
    pub name: String,
    pub environment: EnvironmentId,
    /// Whether it is managed.
    pub health: Health,
    /// Our part of its buckets.
    pub budget: BudgetSnapshot,
    /// Whether zones were discovered in this life of the broker.
    pub discovered: bool,
    /// Whether the stored state is still being loaded; nothing is written before.
    pub loading: bool,
    pub zones: ZoneViews,
    /// Names with something to send, and those that are still to be looked at.
    pub pending: usize,
    /// Changes that Route 53 refused.
    pub refused: usize,
    /// Our sets that another writer changed.
    pub drifted: usize,
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
            loading: true,
            zones: ZoneViews::default(),
            pending: 0,
            refused: 0,
            drifted: 0,
            drained_at: None,
            at,
        }
    }

    /// Whether everything that is known to be wanted is there, as far as it can be.
    pub fn is_settled(&self) -> bool {
        let zone_settled = |zone: &ZoneView| {
            !zone.visible || (zone.listed_at.is_some() && zone.pending == 0 && !zone.busy)
        };
        self.health == Health::Working
            && self.discovered
            && !self.loading
            && self.zones.iter().all(zone_settled)
    }
}

/// A question to a worker.
pub enum Query {
    /// Observed records of a zone after a key.
    Records {
        zone: ZoneId,
        /// The cursor.
        after: Option<RecordKey>,
        /// How many at most.
        limit: usize,
        /// `None` if the zone is not known.
        reply: oneshot::Sender<Option<Vec<(RecordKey, Observed)>>>,
    },
    /// All holds.
    Holds {
        /// One for each, with its zone.
        reply: oneshot::Sender<Vec<HoldReport>>,
    },
    /// The units of a hold.
    HoldUnits {
        /// Which hold.
        digest: UnitDigest,
        /// The cursor.
        after: Option<DnsName>,
        /// Of how many names at most.
        limit: usize,
        /// `None` if there is no such hold; else its units, and the last name if there are more.
        reply: oneshot::Sender<Option<HeldUnits>>,
    },
    /// How far the account is with a hand-over.
    Handover {
        /// Which.
        handover: Arc<Handover>,
        /// `None` while the account cannot say.
        reply: oneshot::Sender<Option<HandoverReport>>,
    },
    /// Names of a hand-over.
    HandedNames {
        /// Of which.
        handover: Arc<Handover>,
        /// The cursor.
        after: Option<(ZoneId, DnsName)>,
        /// How many at most.
        limit: usize,
        /// By zone.
        reply: oneshot::Sender<Vec<HandedNames>>,
    },
    /// Publish the view now.
    Publish {
        /// Answered when it is published.
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

/// Everything that one zone knows of a name.
#[derive(Clone, Debug)]
pub struct WhyReport {
    pub zone: ZoneView,
    /// The zone's report.
    pub report: NameReport,
}

/// Some of the units of a hold, each with its digest; and the last name of them if there are more.
pub type HeldUnits = (Vec<(UnitDigest, Unit)>, Option<DnsName>);

/// One hold with its zone and the numbers of its guard.
#[derive(Clone, Debug)]
pub struct HoldReport {
    /// The account.
    pub account: AccountId,
    /// The zone.
    pub zone: ZoneId,
    /// Its apex.
    pub apex: DnsName,
    /// The hold.
    pub hold: Hold,
    /// What is crossed, with its numbers.
    pub crossed: Vec<Crossed>,
}

impl Worker {
    pub(super) fn answer(&mut self, query: Query, now: Timestamp) {
        // The asker may have gone.
        match query {
            Query::Records { zone, after, limit, reply } => {
                let records =
                    self.zones.get(&zone).map(|zone| zone.state.records(after.as_ref(), limit));
                let _gone = reply.send(records);
            }
            Query::Holds { reply } => {
                let _gone = reply.send(self.holds());
            }
            Query::HoldUnits { digest, after, limit, reply } => {
                let _gone = reply.send(self.hold_units(digest, after.as_ref(), limit, now));
            }
            Query::Handover { handover, reply } => {
                let _gone = reply.send(self.report_handover(&handover));
            }
            Query::HandedNames { handover, after, limit, reply } => {
                let _gone = reply.send(self.handed_names(&handover, after.as_ref(), limit));
            }
            Query::Publish { reply } => {
                self.publish(now);
                let _gone = reply.send(());
            }
            Query::Why { name, reply } => {
                let around = self.zones.around(&name);
                let reports =
                    around.iter().filter_map(|zone| self.zones.get(zone)).filter_map(|zone| {
                        zone.state
                            .why(&name, now)
                            .map(|report| WhyReport { zone: zone_view(zone, now), report })
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
        let changes = self.zones.agenda(now).cost();
        let mut changed = self.zones.take_unseen();
        changed.extend(self.board.take_calm(now));
        for zone_id in changed {
            let Some(zone) = self.zones.get(&zone_id) else { continue };
            let view = zone_view(zone, now);
            if let Some((_, Some(until))) = zone.told_trouble(now) {
                self.board.calm_at.insert((until + Millis(1), zone_id));
            }
            self.board.put(view);
        }
        let pending = self.board.pending;
        let drained_at = (pending > 0 && self.is_working())
            .then(|| self.budget.predict(now, 1, changes))
            .filter(|at| at.0 < i64::MAX);
        let view = AccountView {
            account: self.settings.account.clone(),
            name: self.settings.name.clone(),
            environment: self.settings.environment.clone(),
            health: self.health.clone(),
            budget: self.budget.snapshot(now),
            discovered: self.discovery.is_complete(),
            loading: !self.loading.is_done(),
            zones: self.board.zones.clone(),
            pending,
            refused: self.board.refused,
            drifted: self.board.drifted,
            drained_at,
            at: now,
        };
        self.metrics.published(&AccountFigures {
            pending: view.pending,
            refused: view.refused,
            drifted: view.drifted,
            is_working: view.health == Health::Working,
            buckets: &view.budget.buckets,
        });
        self.view.send_replace(std::sync::Arc::new(view));
        // Tokens flow back without anything happening; while they do, the view is still news.
        if pending > 0 {
            self.dirty_view = true;
        }
    }
}

fn zone_view(zone: &ZoneWork, now: Timestamp) -> ZoneView {
    let counts = zone.state.counts();
    let searched: usize = zone.searches.iter().map(Search::len).sum();
    ZoneView {
        zone: zone.facts.zone.clone(),
        account: zone.facts.account.clone(),
        environment: zone.facts.environment.clone(),
        name: zone.facts.name.clone(),
        private: zone.facts.visibility.is_private(),
        visible: zone.facts.visible,
        policy: zone.state.settings.policy,
        drift_policy: zone.state.settings.drift.to_string(),
        adopt: zone.state.settings.adopt,
        listed_at: zone.listed_at,
        records: counts.records,
        owned: counts.owned,
        pending: zone.backlog.len() + searched + zone.reviews.waiting() + zone.in_doubt.len(),
        busy: zone.busy || zone.reader.is_some(),
        refused: counts.refused,
        held: zone.state.held.len(),
        drifted: counts.drifted,
        trouble: zone.told_trouble(now).map(|(message, _)| message),
    }
}
