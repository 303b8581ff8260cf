//! The broker's figures, registered into a registry that is passed in. All names start with `zonefold_`.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::usage::UsageFigures;
use crate::core::batch::check::Violation;
use crate::core::ids::AccountId;
use crate::core::limits::budget::{ApiAction, BucketSnapshot};
use crate::core::planning::change::Batch;

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AccountLabel {
    account: String,
}

/// Why a caller was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    reason: &'static str,
}

/// One account and one action of the API.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabel {
    account: String,
    action: String,
}

/// One account and one bucket of its budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BucketLabel {
    account: String,
    bucket: String,
}

/// One account and one invariant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct InvariantLabel {
    account: String,
    invariant: String,
}

/// The tasks of this process, counted on demand.
#[derive(Debug)]
struct LivingTasks;

impl EncodeMetric for LivingTasks {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let tasks = tokio::runtime::Handle::try_current()
            .map_or(0, |runtime| runtime.metrics().num_alive_tasks());
        ConstGauge::new(i64::try_from(tasks).unwrap_or(i64::MAX)).encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

type ByAccount = Family<AccountLabel, Counter>;
type GaugeByAccount = Family<AccountLabel, Gauge>;

/// All of the broker's figures.
#[derive(Clone, Default)]
pub struct BrokerMetrics {
    calls: Family<CallLabel, Counter>,
    throttled: ByAccount,
    denied: ByAccount,
    unknown: ByAccount,
    refused: ByAccount,
    drifted: ByAccount,
    changes: ByAccount,
    batches: ByAccount,
    violations: Family<InvariantLabel, Counter>,
    tokens: Family<BucketLabel, Gauge<f64, AtomicU64>>,
    pending: GaugeByAccount,
    refused_now: GaugeByAccount,
    drifted_now: GaugeByAccount,
    working: GaugeByAccount,
    callers_refused: Family<ReasonLabel, Counter>,
    /// Endpoints made durable.
    pub ingested: Counter,
    /// Transactions of the ingest.
    pub commits: Counter,
    /// Sessions that are open.
    pub sessions: Gauge,
    /// Live replicas, this one included.
    pub replicas: Gauge,
    /// Entries of the other replicas' feed that were not read yet.
    pub feed_unread: Gauge,
    /// How much of its quota each cluster uses.
    pub usage: UsageFigures,
    lease_held: GaugeByAccount,
    commit_seconds: Option<Histogram>,
    batch_changes: Option<Histogram>,
}

impl BrokerMetrics {
    /// Makes the figures and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            commit_seconds: Some(Histogram::new(exponential_buckets(0.000_5, 2.0, 14))),
            batch_changes: Some(Histogram::new(exponential_buckets(1.0, 2.0, 11))),
            ..Self::default()
        };
        // This one lives; others are known by their heartbeats in a shared store.
        metrics.replicas.set(1);
        registry.register(
            "zonefold_route53_calls",
            "Calls paid for, by action",
            metrics.calls.clone(),
        );
        registry.register(
            "zonefold_route53_throttled",
            "Answers of Throttling",
            metrics.throttled.clone(),
        );
        registry.register(
            "zonefold_route53_denied",
            "Answers of AccessDenied and its kin",
            metrics.denied.clone(),
        );
        registry.register(
            "zonefold_route53_unknown_outcomes",
            "Batches whose outcome had to be read back",
            metrics.unknown.clone(),
        );
        registry.register(
            "zonefold_changes_refused",
            "Changes that Route 53 refused for their content",
            metrics.refused.clone(),
        );
        registry.register(
            "zonefold_changes_applied",
            "Record changes that Route 53 applied",
            metrics.changes.clone(),
        );
        registry.register(
            "zonefold_batches_applied",
            "Batches that Route 53 applied",
            metrics.batches.clone(),
        );
        registry.register(
            "zonefold_drift_found",
            "Record sets of ours that another writer changed",
            metrics.drifted.clone(),
        );
        registry.register(
            "zonefold_invariant_violations",
            "Batches that the independent check kept back",
            metrics.violations.clone(),
        );
        registry.register(
            "zonefold_budget_tokens",
            "Our tokens left, by bucket",
            metrics.tokens.clone(),
        );
        registry.register(
            "zonefold_pending_names",
            "Names with something to send",
            metrics.pending.clone(),
        );
        registry.register(
            "zonefold_refused_names",
            "Changes that wait because Route 53 refused them",
            metrics.refused_now.clone(),
        );
        registry.register(
            "zonefold_drifted_records",
            "Record sets that drifted and are not put back",
            metrics.drifted_now.clone(),
        );
        registry.register(
            "zonefold_account_working",
            "1 while the account is worked, 0 while it is parked",
            metrics.working.clone(),
        );
        registry.register(
            "zonefold_ingested_operations",
            "Operations made durable",
            metrics.ingested.clone(),
        );
        registry.register(
            "zonefold_ingest_commits",
            "Transactions of the ingest",
            metrics.commits.clone(),
        );
        registry.register(
            "zonefold_callers_refused",
            "Agents that proved nothing, or claimed to be another cluster",
            metrics.callers_refused.clone(),
        );
        registry.register("zonefold_sessions", "Sessions that are open", metrics.sessions.clone());
        registry.register("zonefold_tasks", "Tasks that live in the process", LivingTasks);
        registry.register(
            "zonefold_replicas",
            "Replicas of the broker that live",
            metrics.replicas.clone(),
        );
        registry.register(
            "zonefold_lease_held",
            "1 while this replica works the account",
            metrics.lease_held.clone(),
        );
        registry.register(
            "zonefold_feed_unread_entries",
            "Entries of other replicas' feed that this one has not read yet",
            metrics.feed_unread.clone(),
        );
        registry.register_collector(Box::new(metrics.usage.clone()));
        if let Some(histogram) = &metrics.commit_seconds {
            registry.register(
                "zonefold_ingest_commit_seconds",
                "Time of one transaction of the ingest",
                histogram.clone(),
            );
        }
        if let Some(histogram) = &metrics.batch_changes {
            registry.register(
                "zonefold_batch_changes",
                "Changes carried by a call",
                histogram.clone(),
            );
        }
        metrics
    }

    /// The time that one ingest transaction took.
    pub fn committed(&self, seconds: f64) {
        self.commits.inc();
        if let Some(histogram) = &self.commit_seconds {
            histogram.observe(seconds);
        }
    }

    /// A caller was refused.
    pub fn caller_refused(&self, reason: &'static str) {
        self.callers_refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Whether an account is managed here.
    pub fn lease_held(&self, account: &AccountId, held: bool) {
        self.lease_held
            .get_or_create(&AccountLabel { account: account.to_string() })
            .set(i64::from(held));
    }

    /// The figures of one account.
    pub fn account(&self, account: &AccountId) -> AccountMetrics {
        AccountMetrics { all: self.clone(), label: AccountLabel { account: account.to_string() } }
    }
}

/// The figures of one account.
#[derive(Clone)]
pub struct AccountMetrics {
    all: BrokerMetrics,
    label: AccountLabel,
}

impl AccountMetrics {
    /// A call was paid for.
    pub fn called(&self, action: ApiAction) {
        let label =
            CallLabel { account: self.label.account.clone(), action: action.as_str().to_owned() };
        self.all.calls.get_or_create(&label).inc();
    }

    /// Route 53 throttled.
    pub fn throttled(&self) {
        self.all.throttled.get_or_create(&self.label).inc();
    }

    /// AWS denied.
    pub fn denied(&self) {
        self.all.denied.get_or_create(&self.label).inc();
    }

    /// An outcome has to be read back.
    pub fn unknown(&self) {
        self.all.unknown.get_or_create(&self.label).inc();
    }

    /// Route 53 refused units.
    pub fn refused(&self, units: usize) {
        self.all.refused.get_or_create(&self.label).inc_by(units as u64);
    }

    /// Drift was found.
    pub fn drifted(&self, sets: usize) {
        self.all.drifted.get_or_create(&self.label).inc_by(sets as u64);
    }

    /// A batch was applied.
    pub fn applied(&self, batch: &Batch) {
        self.all.batches.get_or_create(&self.label).inc();
        self.all.changes.get_or_create(&self.label).inc_by(batch.wire.len() as u64);
        if let Some(histogram) = &self.all.batch_changes {
            histogram.observe(batch.wire.len() as f64);
        }
    }

    /// The independent check kept a batch back.
    pub fn violated(&self, violations: &[Violation]) {
        for violation in violations {
            let label = InvariantLabel {
                account: self.label.account.clone(),
                invariant: format!("{:?}", violation.invariant),
            };
            self.all.violations.get_or_create(&label).inc();
        }
    }

    /// The account is no longer managed here: its figures are for the next replica to show.
    pub fn released(&self) {
        for family in
            [&self.all.pending, &self.all.refused_now, &self.all.drifted_now, &self.all.working]
        {
            family.remove(&self.label);
        }
        for bucket in
            ApiAction::ALL.map(ApiAction::as_str).into_iter().chain(["requests", "changes"])
        {
            self.all.tokens.remove(&BucketLabel {
                account: self.label.account.clone(),
                bucket: bucket.to_owned(),
            });
        }
    }

    /// The figures of the account's worker have changed.
    pub fn published(&self, figures: &AccountFigures<'_>) {
        let gauge = |family: &GaugeByAccount, value: usize| {
            family.get_or_create(&self.label).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        gauge(&self.all.pending, figures.pending);
        gauge(&self.all.refused_now, figures.refused);
        gauge(&self.all.drifted_now, figures.drifted);
        gauge(&self.all.working, usize::from(figures.is_working));
        for bucket in figures.buckets {
            let label = BucketLabel {
                account: self.label.account.clone(),
                bucket: bucket.bucket.to_owned(),
            };
            self.all.tokens.get_or_create(&label).set(bucket.tokens);
        }
    }
}

/// The figures of an account's worker.
pub struct AccountFigures<'a> {
    /// Names with something to send.
    pub pending: usize,
    /// Units that Route 53 refused and that wait for their retry.
    pub refused: usize,
    /// Record sets that another writer changed and that are left so.
    pub drifted: usize,
    /// Whether calls can be made.
    pub is_working: bool,
    /// The tokens of each bucket.
    pub buckets: &'a [BucketSnapshot],
}
