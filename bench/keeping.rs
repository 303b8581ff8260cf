//! A broker's rows for a fleet, put into a store through its port: endpoints with their verdicts, records, claims, batches.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context, bail};
use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::{RecordKey, RecordSet};
use zonefold::core::endpoint::Endpoint;
use zonefold::core::endpoint::packed::{PackedEndpoint, PackedRecord};
use zonefold::core::endpoint::parsed::parse_endpoint;
use zonefold::core::endpoint::verdict::{Placement, Verdict};
use zonefold::core::ids::{BatchId, ClusterId, Epoch, ZoneId};
use zonefold::core::planning::change::{
    Action, Batch, BatchStamp, Cause, Change, Motive, Unit, WireChange,
};
use zonefold::core::time::{Millis, Timestamp};
use zonefold::ports::{
    BatchOutcome, ClaimRow, ClaimWrite, IngestOp, IngestOutcome, IngestUnit, OpOutcome, Ownership,
    RecordRow, RecordWrite, SessionOpening, Store, VerdictRow, ZoneRow,
};

use super::fleet::{Churn, Fleet};

/// A day.
pub const DAY: Millis = Millis(86_400_000);
/// Some morning.
const FIRST_DAY: Timestamp = Timestamp(1_900_000_000_000);
/// Operations of one unit, as group commit makes them.
const OPS: usize = 1_000;
/// Changes of one batch.
const CHANGES: usize = 1_000;
const DEFAULT_TTL_SECS: u32 = 300;
/// Journal entries that are cut at once.
const PRUNED_AT_ONCE: u32 = 500;

/// A store that is being filled.
pub struct Keeping {
    store: Arc<dyn Store>,
    zones: HashMap<DnsName, Placement>,
    now: Timestamp,
    rng: fastrand::Rng,
}

/// The change of one endpoint.
struct Step {
    before: Option<Endpoint>,
    after: Option<Endpoint>,
}

impl From<Churn> for Step {
    fn from(churn: Churn) -> Self {
        match churn {
            Churn::Changed { before, after } => Self { before: Some(before), after: Some(after) },
            Churn::Added(after) => Self { before: None, after: Some(after) },
            Churn::Removed(before) => Self { before: Some(before), after: None },
        }
    }
}

impl Step {
    fn op(&self) -> Option<IngestOp> {
        match (&self.before, &self.after) {
            (_, Some(after)) => Some(IngestOp::Put {
                key: after.key.hash(),
                version: after.version(),
                endpoint: PackedEndpoint::pack(after),
            }),
            (Some(before), None) => {
                Some(IngestOp::Del { key: before.key.hash(), version_seen: Some(before.version()) })
            }
            (None, None) => None,
        }
    }
}

impl Keeping {
    /// Keeps the zones and opens the sessions of all clusters.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn begin(store: Arc<dyn Store>, fleet: &Fleet, seed: u64) -> anyhow::Result<Self> {
        let (mut zones, mut rows) = (HashMap::new(), vec![]);
        for account in &fleet.accounts {
            for name in &account.zones {
                let zone = ZoneId::parse(format!("Z{:019}", rows.len()))?;
                zones.insert(
                    name.clone(),
                    Placement { account: account.id.clone(), zone: zone.clone() },
                );
                rows.push(ZoneRow {
                    account: account.id.clone(),
                    environment: account.environment.clone(),
                    zone,
                    name: name.clone(),
                    private: false,
                    listed_at: Some(FIRST_DAY),
                    visible: true,
                    tags: None,
                });
            }
        }
        store.save_zones(&rows).await?;
        for cluster in &fleet.clusters {
            let opening = SessionOpening {
                cluster: cluster.id.clone(),
                kube_system_uid: format!("uid-of-{}", cluster.id),
                instance_id: "bench".to_owned(),
                at: FIRST_DAY,
            };
            store.open_session(&opening).await?;
        }
        Ok(Self { store, zones, now: FIRST_DAY, rng: fastrand::Rng::with_seed(seed) })
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Millis) {
        self.now = self.now + time;
    }

    /// Keeps what a cluster's churn comes to, from its ingest to its last batch.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn keep(&mut self, cluster: &ClusterId, churn: Vec<Churn>) -> anyhow::Result<()> {
        let steps: Vec<Step> = churn.into_iter().map(Step::from).collect();
        for chunk in steps.chunks(OPS) {
            self.ingest(cluster, chunk).await?;
        }
        let mut by_zone: BTreeMap<Placement, Vec<Unit>> = BTreeMap::new();
        for step in &steps {
            let placement = self.placement(
                step.after.as_ref().or(step.before.as_ref()).context("nothing to keep")?,
            )?;
            let unit = unit(cluster, &placement, step)?;
            by_zone.entry(placement).or_default().push(unit);
        }
        for (placement, units) in by_zone {
            for units in units.chunks(CHANGES) {
                self.apply(cluster, &placement, units.to_vec()).await?;
            }
        }
        Ok(())
    }

    fn placement(&self, endpoint: &Endpoint) -> anyhow::Result<Placement> {
        let name = DnsName::parse(&endpoint.key.dns_name)?;
        let found = std::iter::successors(Some(name), DnsName::parent)
            .find_map(|name| self.zones.get(&name));
        found.cloned().with_context(|| format!("no zone holds {}", endpoint.key.dns_name))
    }

    async fn ingest(&self, cluster: &ClusterId, steps: &[Step]) -> anyhow::Result<()> {
        let ops = steps.iter().filter_map(Step::op).collect();
        let unit = IngestUnit {
            placings: std::collections::BTreeMap::new(),
            cluster: cluster.clone(),
            epoch: Epoch(1),
            seq: 1,
            completes_snapshot: true,
            ops,
        };
        let outcomes = self.store.ingest(&[unit], self.now).await?;
        let Some(IngestOutcome::Committed { applied }) = outcomes.into_iter().next() else {
            bail!("the session of {cluster} was fenced");
        };
        let mut verdicts = vec![];
        for (step, outcome) in steps.iter().zip(applied) {
            if let (Some(after), OpOutcome::Stored { arrival }) = (&step.after, outcome) {
                let verdict = Verdict::accepted(self.placement(after)?);
                verdicts.push(VerdictRow {
                    cluster: cluster.clone(),
                    arrival,
                    version: after.version(),
                    verdict,
                });
            }
        }
        Ok(self.store.save_verdicts(&verdicts).await?)
    }

    /// Journals a batch as one that is sent, then as one that was applied.
    async fn apply(
        &mut self,
        cluster: &ClusterId,
        placement: &Placement,
        units: Vec<Unit>,
    ) -> anyhow::Result<()> {
        let random = self.rng.u128(..).to_be_bytes();
        let at_ms = self.now.0.unsigned_abs();
        let id = BatchId(
            uuid::Builder::from_unix_timestamp_millis(
                at_ms,
                random.first_chunk().context("sixteen bytes")?,
            )
            .into_uuid(),
        );
        let zone = placement.zone.clone();
        let wire = units.iter().flat_map(|unit| &unit.changes).flat_map(wire_of).collect();
        let batch = Batch {
            id,
            account: placement.account.clone(),
            zone: zone.clone(),
            planned_at: self.now,
            stamp: BatchStamp::default(),
            units,
            wire,
        };
        let (holds, releases) = claims(&batch, cluster, self.now);
        self.store.begin_batch(&batch, &holds).await?;
        let writes: Vec<RecordWrite> =
            batch.changes().map(|change| write_of(change, &batch, self.now)).collect();
        let outcome = BatchOutcome::Applied {
            change_id: format!("C{:020}", self.rng.u64(..)),
            request_id: Some(uuid::Builder::from_random_bytes(random).into_uuid().to_string()),
        };
        Ok(self.store.finish_batch(&batch, &outcome, &writes, &releases, self.now).await?)
    }

    /// Cuts everything off the journals that ended before today; answers how many entries.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn prune(&self, fleet: &Fleet) -> anyhow::Result<u64> {
        let mut cut = 0;
        for account in &fleet.accounts {
            loop {
                let pruned = self
                    .store
                    .prune_journal(&account.id, self.now, PRUNED_AT_ONCE, self.now)
                    .await?;
                cut += pruned;
                if pruned == 0 {
                    break;
                }
            }
        }
        Ok(cut)
    }
}

fn sets(endpoint: Option<&Endpoint>, placement: &Placement) -> anyhow::Result<Vec<RecordSet>> {
    let Some(endpoint) = endpoint else { return Ok(vec![]) };
    let wish = parse_endpoint(endpoint)
        .map_err(|verdict| anyhow::anyhow!("{}: {}", endpoint.key, verdict.message))?;
    Ok(wish.record_sets(&placement.zone, DEFAULT_TTL_SECS))
}

/// The changes of one endpoint's record sets.
fn unit(cluster: &ClusterId, placement: &Placement, step: &Step) -> anyhow::Result<Unit> {
    let (before, after) =
        (sets(step.before.as_ref(), placement)?, sets(step.after.as_ref(), placement)?);
    let key = step.after.as_ref().or(step.before.as_ref()).map(|endpoint| endpoint.key.clone());
    let motive = if step.after.is_some() { Motive::Wanted } else { Motive::Withdrawn };
    let cause = Cause::new(motive, cluster.clone(), key.into_iter().collect());
    let keys: BTreeSet<_> = before.iter().chain(&after).map(|set| set.key.clone()).collect();
    let of = |sets: &[RecordSet], key: &RecordKey| {
        sets.iter().find(|set| set.key == *key).map(RecordSet::to_raw)
    };
    let change = |key| Change {
        before: of(&before, &key),
        after: of(&after, &key),
        cause: cause.clone(),
        key,
    };
    Ok(Unit { changes: keys.into_iter().map(change).collect() })
}

fn wire_of(change: &Change) -> impl Iterator<Item = WireChange> + use<> {
    let delete = change.before.clone().map(|set| WireChange { action: Action::Delete, set });
    let create = change.after.clone().map(|set| WireChange { action: Action::Create, set });
    delete.into_iter().chain(create)
}

fn write_of(change: &Change, batch: &Batch, at: Timestamp) -> RecordWrite {
    let Some(raw) = &change.after else { return RecordWrite::Remove(change.key.clone()) };
    RecordWrite::Put(RecordRow {
        raw: PackedRecord::pack(&change.key, raw),
        key: change.key.clone(),
        owner: Some(Ownership { cluster: change.cause.cluster.clone(), batch: batch.id }),
        drift: None,
        observed_at: at,
    })
}

/// The names that are held from the batch's beginning on, and those that are free at its end. One of two weighted sets does
/// not free its name.
fn claims(batch: &Batch, cluster: &ClusterId, at: Timestamp) -> (Vec<ClaimWrite>, Vec<ClaimWrite>) {
    let names = |wanted: &dyn Fn(&Change) -> bool| -> BTreeSet<DnsName> {
        batch
            .changes()
            .filter(|change| wanted(change))
            .map(|change| change.key.name.clone())
            .collect()
    };
    let hold = |name| {
        ClaimWrite::Hold(ClaimRow {
            zone: batch.zone.clone(),
            name,
            cluster: cluster.clone(),
            since: at,
        })
    };
    let release = |name| ClaimWrite::Release { zone: batch.zone.clone(), name };
    let held = names(&|change| change.before.is_none());
    let freed = names(&|change| change.after.is_none() && change.key.set_identifier.is_none());
    (held.into_iter().map(hold).collect(), freed.into_iter().map(release).collect())
}
