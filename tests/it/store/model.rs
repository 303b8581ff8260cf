//! The store against a model of maps in memory, under random operations.

use std::collections::BTreeMap;

use fastrand::Rng;
use zonefold::core::endpoint::verdict::{Placement, Reason, Verdict};
use zonefold::core::endpoint::{KeyHash, Version};
use zonefold::core::planning::placement::{PlacementDecision, PlacementSet, StoredPlacement};
use zonefold::ports::{
    BatchOutcome, ChainCheck, ClaimRow, ClaimWrite, EndpointRow, PlacementRow, PlacementWrite,
    RecordRow, RecordWrite, VerdictRow,
};

use super::*;

on_both_databases!(the_store_does_what_the_model_does);

const SEEDS: u64 = 6;
const STEPS: i64 = 60;

async fn the_store_does_what_the_model_does(place: Place) {
    let store = place.open().await;
    let mut model = Model::default();
    store
        .save_zones(&[zone_row("Z1", "example.com"), zone_row("Z2", "example.com")])
        .await
        .unwrap();
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut rng = Rng::with_seed(seed);
        for step in 0..STEPS {
            model.step(&*store, &mut rng, Timestamp(seed as i64 * STEPS + step)).await;
        }
        model.compare(&*store).await;
    }
}

/// The expected content of the store.
#[derive(Default)]
struct Model {
    epochs: BTreeMap<ClusterId, Epoch>,
    endpoints: BTreeMap<(ClusterId, KeyHash), EndpointRow>,
    last_arrival: i64,
    records: BTreeMap<RecordKey, RecordRow>,
    claims: BTreeMap<DnsName, ClaimRow>,
    open: Vec<Batch>,
    batches: u128,
    entries: u64,
}

fn some_cluster(rng: &mut Rng) -> ClusterId {
    cluster(["east", "west", "north"][rng.usize(..3)])
}

fn some_name(rng: &mut Rng) -> String {
    format!("{}.example.com", ["a", "b", "c", "*"][rng.usize(..4)])
}

fn some_endpoint(rng: &mut Rng) -> Endpoint {
    endpoint(rng.usize(..12), ["192.0.2.1", "192.0.2.2"][rng.usize(..2)])
}

fn some_op(rng: &mut Rng) -> IngestOp {
    let endpoint = some_endpoint(rng);
    match rng.u8(..5) {
        0 => IngestOp::Del { key: endpoint.key.hash(), version_seen: None },
        1 => del(&endpoint),
        _ => put(endpoint),
    }
}

/// Where the store says that an endpoint goes. A plain verdict says so too: a release before 0.2 kept it there.
fn placement_of(row: &EndpointRow) -> Option<PlacementRow> {
    let here = Placement { account: account(), zone: zone_id() };
    let plain = row.verdict == Some(Verdict::accepted(here.clone()));
    let of_verdict = plain.then(|| PlacementRow {
        version: None,
        placement: StoredPlacement { sequence: 0, set: PlacementSet::one(here) },
    });
    row.placed.clone().or(of_verdict)
}

fn rests_on(row: &EndpointRow, placing: &PlacementDecision) -> bool {
    placement_of(row).map(|placed| placed.placement) == placing.found
}

/// A decision that rests on what is stored, or on something else.
fn some_placing(row: Option<&EndpointRow>, rng: &mut Rng) -> PlacementDecision {
    let mut set = || {
        let at = |zone: &str| Placement { account: account(), zone: ZoneId::parse(zone).unwrap() };
        match rng.u8(..3) {
            0 => PlacementSet::one(at("Z1")),
            1 => PlacementSet::one(at("Z2")),
            _ => PlacementSet::new([at("Z2")], [at("Z1")]),
        }
    };
    let (to, other) = (set(), StoredPlacement { sequence: 3, set: set() });
    let found = row.and_then(placement_of).map(|placed| placed.placement);
    PlacementDecision { found: if rng.u8(..4) == 0 { Some(other) } else { found }, to, asked: None }
}

impl Model {
    async fn step(&mut self, store: &dyn Store, rng: &mut Rng, at: Timestamp) {
        match rng.u8(..11) {
            10 => self.place(store, rng).await,
            0 => {
                let cluster = some_cluster(rng);
                let epoch = session(store, &cluster).await;
                let held = self.epochs.entry(cluster).or_default();
                *held = Epoch(held.0 + 1);
                assert_eq!(epoch, *held);
            }
            1..=5 => self.ingest(store, rng, at).await,
            6 => self.save_verdicts(store, rng).await,
            7 => {
                let writes: Vec<_> =
                    (0..rng.usize(..6)).map(|_| self.record_write(rng, at)).collect();
                store.save_records(&zone_id(), &writes, None).await.unwrap();
            }
            8 => self.begin(store, rng, at).await,
            _ => self.finish(store, rng, at).await,
        }
    }

    async fn ingest(&mut self, store: &dyn Store, rng: &mut Rng, at: Timestamp) {
        let mut units = vec![];
        for _ in 0..rng.usize(1..4) {
            let cluster = some_cluster(rng);
            let held = self.epochs.get(&cluster).copied().unwrap_or_default();
            let epoch = if rng.u8(..6) == 0 { Epoch(held.0 + 1) } else { held };
            let ops: Vec<IngestOp> = (0..rng.usize(..8)).map(|_| some_op(rng)).collect();
            let placing = |(index, op): (usize, &IngestOp)| match op {
                IngestOp::Put { key, .. } if rng.bool() => {
                    let row = self.endpoints.get(&(cluster.clone(), *key));
                    Some((index, some_placing(row, rng)))
                }
                _ => None,
            };
            let placings = ops.iter().enumerate().filter_map(placing).collect();
            units.push(IngestUnit { placings, ..unit(&cluster, epoch, rng.u64(..100), ops) });
        }
        let before = self.endpoints.clone();
        let expected: Vec<_> = units.iter().map(|unit| self.apply(unit, at)).collect();
        // A row that is after the call as it was before it was not written, whatever the operations between.
        for (slot, row) in &mut self.endpoints {
            if let Some(old) = before.get(slot)
                && (old.arrival, old.version) == (row.arrival, row.version)
                && placement_of(old) == placement_of(row)
            {
                row.updated_at = old.updated_at;
            }
        }
        assert_eq!(store.ingest(&units, at).await.unwrap(), expected);
    }

    fn apply(&mut self, unit: &IngestUnit, at: Timestamp) -> IngestOutcome {
        match self.epochs.get(&unit.cluster) {
            Some(epoch) if *epoch == unit.epoch => IngestOutcome::Committed {
                applied: (0..unit.ops.len())
                    .map(|index| {
                        let placing = unit.placings.get(&index);
                        self.apply_op(&unit.cluster, &unit.ops[index], placing, at)
                    })
                    .collect(),
            },
            other => IngestOutcome::Fenced { current: other.copied().unwrap_or_default() },
        }
    }

    fn apply_op(
        &mut self,
        cluster: &ClusterId,
        op: &IngestOp,
        placing: Option<&PlacementDecision>,
        at: Timestamp,
    ) -> OpOutcome {
        match op {
            IngestOp::Put { key, version, endpoint } => {
                let slot = (cluster.clone(), *key);
                let arrival = match self.endpoints.get(&slot) {
                    Some(row) => row.arrival,
                    None => {
                        self.last_arrival += 1;
                        self.last_arrival
                    }
                };
                let row = self.endpoints.entry(slot).or_insert_with(|| EndpointRow {
                    cluster: cluster.clone(),
                    key: *key,
                    version: Version([0; 32]),
                    arrival,
                    endpoint: endpoint.clone(),
                    verdict: None,
                    placed: None,
                    updated_at: at,
                });
                let result = placing.map(|placing| PlacementRow {
                    version: Some(*version),
                    placement: placing.result(),
                });
                let mut is_placed = result.is_some() && row.placed == result;
                if row.version != *version {
                    (row.version, row.endpoint, row.updated_at) = (*version, endpoint.clone(), at);
                    row.placed = placement_of(row);
                    is_placed = placing.is_some_and(|placing| rests_on(row, placing));
                    if is_placed {
                        row.placed = result;
                    }
                }
                if is_placed {
                    OpOutcome::Placed { arrival }
                } else {
                    OpOutcome::Stored { arrival }
                }
            }
            IngestOp::Del { key, version_seen } => {
                let slot = (cluster.clone(), *key);
                match self.endpoints.get(&slot) {
                    Some(row) if version_seen.is_none_or(|seen| seen == row.version) => {
                        self.endpoints.remove(&slot);
                        OpOutcome::Removed
                    }
                    _ => OpOutcome::Unchanged,
                }
            }
        }
    }

    async fn place(&mut self, store: &dyn Store, rng: &mut Rng) {
        let (mut decisions, mut expected) = (vec![], vec![]);
        for row in self.endpoints.values_mut() {
            if rng.u8(..3) > 0 {
                continue;
            }
            let placing = some_placing(Some(row), rng);
            let version = if rng.u8(..4) == 0 { Version([9; 32]) } else { row.version };
            let result = Some(PlacementRow { version: Some(version), placement: placing.result() });
            let is_there = row.placed.as_ref().map(|placed| &placed.placement)
                == result.as_ref().map(|placed| &placed.placement);
            let holds = version == row.version && (is_there || rests_on(row, &placing));
            if holds {
                row.placed = result;
            }
            expected.push(holds);
            let (cluster, arrival) = (row.cluster.clone(), row.arrival);
            decisions.push(PlacementWrite { cluster, arrival, version, placing });
        }
        assert_eq!(store.place(&decisions).await.unwrap(), expected);
    }

    async fn save_verdicts(&mut self, store: &dyn Store, rng: &mut Rng) {
        let mut rows = vec![];
        for _ in 0..rng.usize(1..8) {
            let endpoint = some_endpoint(rng);
            let verdict = match rng.u8(..4) {
                0 => Verdict::accepted(Placement { account: account(), zone: zone_id() }),
                // A zone that is not stored, and an account that is not its own.
                1 => Verdict::accepted(Placement {
                    account: account(),
                    zone: ZoneId::parse("Z9").unwrap(),
                }),
                2 => Verdict::accepted(Placement {
                    account: AccountId::parse("222222222222").unwrap(),
                    zone: zone_id(),
                }),
                _ => Verdict::waiting(Reason::NoZone, format!("number {}", rng.u8(..)), None),
            };
            let slot = (some_cluster(rng), endpoint.key.hash());
            let Some(held) = self.endpoints.get_mut(&slot) else { continue };
            if held.version == endpoint.version() {
                held.verdict = Some(verdict.clone());
            }
            rows.push(VerdictRow {
                cluster: slot.0,
                arrival: held.arrival,
                version: endpoint.version(),
                verdict,
            });
        }
        store.save_verdicts(&rows).await.unwrap();
    }

    fn record_write(&mut self, rng: &mut Rng, at: Timestamp) -> RecordWrite {
        let name = some_name(rng);
        let key = record_key(&name);
        if rng.bool() {
            self.records.remove(&key);
            return RecordWrite::Remove(key);
        }
        let raw = packed(&name, ["192.0.2.1", "192.0.2.2"][rng.usize(..2)]);
        let row = RecordRow { key: key.clone(), raw, owner: None, drift: None, observed_at: at };
        self.records.insert(key, row.clone());
        RecordWrite::Put(row)
    }

    fn claim_write(&mut self, rng: &mut Rng, at: Timestamp) -> ClaimWrite {
        let name = dns(&some_name(rng));
        if rng.bool() {
            self.claims.remove(&name);
            return ClaimWrite::Release { zone: zone_id(), name };
        }
        let row =
            ClaimRow { zone: zone_id(), name: name.clone(), cluster: some_cluster(rng), since: at };
        self.claims.insert(name, row.clone());
        ClaimWrite::Hold(row)
    }

    async fn begin(&mut self, store: &dyn Store, rng: &mut Rng, at: Timestamp) {
        self.batches += 1;
        let batch = batch(self.batches, &[&some_name(rng)]);
        let claims: Vec<_> = (0..rng.usize(..3)).map(|_| self.claim_write(rng, at)).collect();
        store.begin_batch(&batch, &claims).await.unwrap();
        self.open.push(batch);
        self.entries += 1;
    }

    async fn finish(&mut self, store: &dyn Store, rng: &mut Rng, at: Timestamp) {
        if self.open.is_empty() {
            return;
        }
        let batch = self.open.remove(rng.usize(..self.open.len()));
        let outcome = BatchOutcome::NotApplied { reason: format!("number {}", rng.u8(..)) };
        let writes: Vec<_> = (0..rng.usize(..3)).map(|_| self.record_write(rng, at)).collect();
        let claims: Vec<_> = (0..rng.usize(..3)).map(|_| self.claim_write(rng, at)).collect();
        store.finish_batch(&batch, &outcome, &writes, &claims, at).await.unwrap();
        self.entries += 1;
    }

    async fn compare(&self, store: &dyn Store) {
        let shown = |row: &EndpointRow| EndpointRow { placed: placement_of(row), ..row.clone() };
        let mut endpoints: Vec<_> = self.endpoints.values().map(shown).collect();
        endpoints.sort_by_key(|row| row.arrival);
        assert_eq!(store.endpoints(0, 1_000).await.unwrap(), endpoints);
        let records: Vec<_> = self.records.values().cloned().collect();
        assert_eq!(store.records(&zone_id(), None, 1_000).await.unwrap(), records);
        let mut claims = store.claims(&[zone_id()]).await.unwrap();
        claims.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(claims, self.claims.values().cloned().collect::<Vec<_>>());
        let open = store.open_batches(&account()).await.unwrap();
        assert_eq!(open.into_iter().map(|row| row.batch).collect::<Vec<_>>(), self.open);
        assert_eq!(
            store.verify_journal(&account()).await.unwrap(),
            ChainCheck::Whole(self.entries)
        );
        let epochs: BTreeMap<_, _> = store
            .clusters()
            .await
            .unwrap()
            .into_iter()
            .map(|row| (row.cluster, row.epoch))
            .collect();
        assert_eq!(epochs, self.epochs);
    }
}
