//! Ingest: the endpoints of many streams made durable in one transaction.
//!
//! The rows concerned are read at once, the operations are applied to them in memory in their order, and the difference is
//! written at once: three statements whatever the number of units, and one more that tells the other replicas.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::codec::{self, to_signed};
use super::feed::{self, Piece, References};
use super::names::Numbered;
use super::placements::{encode, numbers_of};
use super::sessions::{LockedCluster, lock_clusters};
use super::transaction::Transaction;
use super::value::{Input, Kind};
use crate::core::endpoint::packed::PackedEndpoint;
use crate::core::endpoint::verdict::Placement;
use crate::core::endpoint::{KeyHash, Version};
use crate::core::ids::Epoch;
use crate::core::planning::placement::PlacementDecision;
use crate::core::time::Timestamp;
use crate::ports::{IngestOp, IngestOutcome, IngestUnit, OpOutcome, ReplicaId, StoreError};

/// Makes the units durable, as news of `origin`. A unit of a cluster that never opened a session is fenced at epoch 0.
pub(super) async fn ingest(
    transaction: &mut Transaction,
    placements: &Numbered<Placement>,
    origin: ReplicaId,
    units: &[IngestUnit],
    at: Timestamp,
) -> Result<Vec<IngestOutcome>, StoreError> {
    let clusters = lock_clusters(transaction, units.iter().map(|unit| &unit.cluster)).await?;
    let admitted = |unit: &IngestUnit| {
        clusters.get(&unit.cluster).filter(|cluster| cluster.epoch == unit.epoch)
    };
    let mut fold = Fold::read(transaction, units, &admitted).await?;
    let placings = units.iter().flat_map(|unit| unit.placings.values());
    let sets = placings.flat_map(PlacementDecision::sets);
    let numbers = numbers_of(transaction, placements, sets).await?;
    let mut applied = Vec::with_capacity(units.len());
    for unit in units {
        applied.push(match admitted(unit) {
            Some(cluster) => {
                let placing = |index| Place::of(unit.placings.get(&index)?, &numbers);
                let ops = unit.ops.iter().enumerate();
                Ok(ops
                    .map(|(index, op)| fold.apply(cluster.number, op, placing(index)))
                    .collect::<Vec<_>>())
            }
            None => Err(clusters.get(&unit.cluster).map_or(Epoch(0), |cluster| cluster.epoch)),
        });
    }
    let first_new = take_arrivals(transaction, fold.new_arrivals).await?;
    let written = fold.write(transaction, first_new, at).await?;
    record_progress(transaction, units, &admitted).await?;
    if transaction.is_shared() && !written.is_empty() {
        feed::append(transaction, origin, vec![Piece::endpoints(&written)?]).await?;
    }
    let outcome = |unit: Result<Vec<Applied>, Epoch>| match unit {
        Ok(ops) => IngestOutcome::Committed {
            applied: ops.into_iter().map(|op| op.outcome(first_new)).collect(),
        },
        Err(current) => IngestOutcome::Fenced { current },
    };
    Ok(applied.into_iter().map(outcome).collect())
}

/// An arrival number, or the place among those that this transaction takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    Stored(i64),
    New(i64),
}

impl Arrival {
    fn number(self, first_new: i64) -> i64 {
        match self {
            Self::Stored(number) => number,
            Self::New(place) => first_new + place,
        }
    }
}

/// Where a put goes, as the columns have it.
struct Place {
    found: Option<String>,
    to: String,
}

impl Place {
    /// `None` if a zone is not stored.
    fn of(placing: &PlacementDecision, numbers: &HashMap<&Placement, i64>) -> Option<Self> {
        let found = match &placing.found {
            Some(found) => Some(encode(found.sequence, &found.set, numbers)?),
            None => None,
        };
        Some(Self { found, to: encode(placing.sequence(), &placing.to, numbers)? })
    }
}

/// The effect of one operation, before the new arrival numbers are known.
enum Applied {
    Stored(Arrival),
    Placed(Arrival),
    Removed,
    Unchanged,
}

impl Applied {
    fn outcome(self, first_new: i64) -> OpOutcome {
        match self {
            Self::Stored(arrival) => OpOutcome::Stored { arrival: arrival.number(first_new) },
            Self::Placed(arrival) => OpOutcome::Placed { arrival: arrival.number(first_new) },
            Self::Removed => OpOutcome::Removed,
            Self::Unchanged => OpOutcome::Unchanged,
        }
    }
}

/// One key while operations are applied to it.
#[derive(Default)]
struct Slot<'a> {
    stored: Option<(i64, Version)>,
    now: Option<(Arrival, Version)>,
    /// Whether the content is withheld, now and as it is stored.
    is_withheld: bool,
    was_withheld: bool,
    /// The content of `now`, when it is not the stored one.
    content: Option<&'a PackedEndpoint>,
    /// Where it goes, and for which version that was decided.
    placed: Option<String>,
    placed_version: Option<Version>,
    /// The same as it is stored.
    stored_placement: (Option<String>, Option<Version>),
}

impl Slot<'_> {
    fn has_content_now(&self) -> bool {
        self.was_withheld && !self.is_withheld
    }

    fn is_placed_anew(&self) -> bool {
        (&self.placed, &self.placed_version) != (&self.stored_placement.0, &self.stored_placement.1)
    }
}

pub(super) const KEYS: &[(&str, Kind)] = &[("cluster_id", Kind::Int), ("key_hash", Kind::Bytes)];

/// A `cross join` is not reordered by SQLite: for a large `input` it would rather walk all endpoints and look them up in there.
pub(super) const FIND_KEYS: &str = "
    select e.cluster_id, e.key_hash, e.arrival, e.version, e.placed_version,
           coalesce(e.placed, '0:' || e.verdict_zone) as placed, substr(e.body, 1, 1) as form
      from input cross join endpoints e where e.cluster_id = input.cluster_id and e.key_hash = input.key_hash";

/// The keys that a call touches.
struct Fold<'a> {
    slots: HashMap<(i64, KeyHash), Slot<'a>>,
    new_arrivals: i64,
}

impl<'a> Fold<'a> {
    /// Reads what is stored under the keys of the admitted units.
    async fn read<'b>(
        transaction: &mut Transaction,
        units: &[IngestUnit],
        admitted: &(impl Fn(&IngestUnit) -> Option<&'b LockedCluster> + Sync),
    ) -> Result<Self, StoreError> {
        let mut slots = HashMap::new();
        let mut input = Input::new(KEYS);
        for unit in units {
            let Some(cluster) = admitted(unit) else { continue };
            for op in &unit.ops {
                let key = (cluster.number, op_key(op));
                if slots.insert(key, Slot::default()).is_none() {
                    input.push([key.0.into(), key.1.0.into()]);
                }
            }
        }
        for row in transaction.fetch_bulk(FIND_KEYS, input).await? {
            let (arrival, version) = (row.int("arrival")?, codec::version(row.bytes("version")?)?);
            if let Some(slot) =
                slots.get_mut(&(row.int("cluster_id")?, codec::key_hash(row.bytes("key_hash")?)?))
            {
                slot.stored = Some((arrival, version));
                slot.now = Some((Arrival::Stored(arrival), version));
                slot.placed_version =
                    row.bytes_or_null("placed_version")?.map(codec::version).transpose()?;
                slot.placed = row.text_or_null("placed")?.map(str::to_owned);
                slot.stored_placement = (slot.placed.clone(), slot.placed_version);
                slot.was_withheld = PackedEndpoint::is_withheld_form(row.bytes("form")?);
                slot.is_withheld = slot.was_withheld;
            }
        }
        Ok(Self { slots, new_arrivals: 0 })
    }

    fn apply(&mut self, cluster: i64, op: &'a IngestOp, place: Option<Place>) -> Applied {
        let Some(slot) = self.slots.get_mut(&(cluster, op_key(op))) else {
            return Applied::Unchanged;
        };
        match op {
            IngestOp::Put { version, endpoint, .. } => {
                let arrival = match slot.now {
                    // Content that was withheld before is news.
                    Some((arrival, held))
                        if held == *version
                            && (!slot.is_withheld || endpoint.withheld().is_some()) =>
                    {
                        // An earlier attempt may have stored it, and its answer was lost.
                        let is_placed = slot.placed_version == Some(*version)
                            && place.is_some_and(|place| slot.placed.as_ref() == Some(&place.to));
                        return if is_placed {
                            Applied::Placed(arrival)
                        } else {
                            Applied::Stored(arrival)
                        };
                    }
                    Some((arrival, _)) => arrival,
                    None => {
                        self.new_arrivals += 1;
                        Arrival::New(self.new_arrivals - 1)
                    }
                };
                slot.now = Some((arrival, *version));
                slot.content = Some(endpoint);
                slot.is_withheld = endpoint.withheld().is_some();
                match place.filter(|place| place.found == slot.placed) {
                    Some(place) => {
                        slot.placed = Some(place.to);
                        slot.placed_version = Some(*version);
                        Applied::Placed(arrival)
                    }
                    None => Applied::Stored(arrival),
                }
            }
            IngestOp::Del { version_seen, .. } => match slot.now {
                Some((_, held)) if version_seen.is_none_or(|seen| seen == held) => {
                    (slot.now, slot.content) = (None, None);
                    (slot.placed, slot.placed_version) = (None, None);
                    Applied::Removed
                }
                _ => Applied::Unchanged,
            },
        }
    }

    /// Writes the difference between what was stored and what is now, and returns it.
    async fn write(
        mut self,
        transaction: &mut Transaction,
        first_new: i64,
        at: Timestamp,
    ) -> Result<References, StoreError> {
        let mut gone = Vec::new();
        let mut removed = BTreeSet::new();
        let mut changed = BTreeMap::new();
        let mut added = BTreeMap::new();
        for ((cluster, key), slot) in &mut self.slots {
            let same = matches!((slot.stored, slot.now), (Some((a, _)), Some((Arrival::Stored(b), _))) if a == b);
            match (slot.stored, slot.now) {
                (Some((arrival, _)), now) if !same => {
                    gone.push(arrival);
                    if now.is_none() {
                        removed.insert((*cluster, *key));
                    }
                }
                (Some((arrival, before)), Some((_, version)))
                    if before != version || slot.has_content_now() || slot.is_placed_anew() =>
                {
                    changed.insert(arrival, (version, slot));
                    continue;
                }
                _ => {}
            }
            if let Some((arrival @ Arrival::New(_), version)) = slot.now {
                added.insert(arrival.number(first_new), (*cluster, *key, version, slot));
            }
        }
        let stored = changed.keys().chain(added.keys()).copied();
        let written = References::new(stored, removed);
        delete(transaction, gone).await?;
        update(transaction, changed, at).await?;
        insert(transaction, added, at).await?;
        Ok(written)
    }
}

fn op_key(op: &IngestOp) -> KeyHash {
    match op {
        IngestOp::Put { key, .. } | IngestOp::Del { key, .. } => *key,
    }
}

/// Takes `count` numbers and returns the first. The row stays locked until the commit, so numbers become visible in their order.
async fn take_arrivals(transaction: &mut Transaction, count: i64) -> Result<i64, StoreError> {
    if count == 0 {
        return Ok(0);
    }
    let take = "update counters set value = value + $1 where name = 'arrival' returning value";
    let row = transaction.fetch_optional(take, [count.into()]).await?;
    let row =
        row.ok_or_else(|| StoreError::Refused("the counter of arrivals is missing".to_owned()))?;
    Ok(row.int("value")? - count + 1)
}

async fn delete(transaction: &mut Transaction, arrivals: Vec<i64>) -> Result<(), StoreError> {
    let mut input = Input::new(&[("arrival", Kind::Int)]);
    arrivals.into_iter().for_each(|arrival| input.push([arrival.into()]));
    transaction
        .execute_bulk("delete from endpoints where arrival in (select arrival from input)", input)
        .await?;
    Ok(())
}

async fn update(
    transaction: &mut Transaction,
    changed: BTreeMap<i64, (Version, &mut Slot<'_>)>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut input = Input::new(&[
        ("arrival", Kind::Int),
        ("updated_at", Kind::Int),
        ("version", Kind::Bytes),
        ("placed_version", Kind::Bytes),
        ("placed", Kind::Text),
        ("body", Kind::Bytes),
    ]);
    for (arrival, (version, slot)) in changed {
        input.push([
            arrival.into(),
            at.0.into(),
            version.0.into(),
            slot.placed_version.map(|version| version.0.to_vec()).into(),
            slot.placed.take().into(),
            slot.content.map(|content| content.as_bytes().to_vec()).into(),
        ]);
    }
    let update = "
        update endpoints
           set version = input.version, body = input.body, updated_at = input.updated_at,
               placed_version = input.placed_version, placed = input.placed
          from input where endpoints.arrival = input.arrival";
    transaction.execute_bulk(update, input).await?;
    Ok(())
}

async fn insert(
    transaction: &mut Transaction,
    added: BTreeMap<i64, (i64, KeyHash, Version, &mut Slot<'_>)>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut input = Input::new(&[
        ("arrival", Kind::Int),
        ("cluster_id", Kind::Int),
        ("updated_at", Kind::Int),
        ("key_hash", Kind::Bytes),
        ("version", Kind::Bytes),
        ("placed_version", Kind::Bytes),
        ("placed", Kind::Text),
        ("body", Kind::Bytes),
    ]);
    for (arrival, (cluster, key, version, slot)) in added {
        let body = slot.content.map(|content| content.as_bytes().to_vec());
        input.push([
            arrival.into(),
            cluster.into(),
            at.0.into(),
            key.0.into(),
            version.0.into(),
            slot.placed_version.map(|version| version.0.to_vec()).into(),
            slot.placed.take().into(),
            body.into(),
        ]);
    }
    let insert = "
        insert into endpoints (arrival, cluster_id, updated_at, key_hash, version, placed_version, placed, body)
        select arrival, cluster_id, updated_at, key_hash, version, placed_version, placed, body from input";
    transaction.execute_bulk(insert, input).await?;
    Ok(())
}

/// Keeps each session's highest sequence number, and that a snapshot was completed.
async fn record_progress<'b>(
    transaction: &mut Transaction,
    units: &[IngestUnit],
    admitted: &(impl Fn(&IngestUnit) -> Option<&'b LockedCluster> + Sync),
) -> Result<(), StoreError> {
    let mut progress: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for unit in units {
        let Some(cluster) = admitted(unit) else { continue };
        let entry = progress.entry(cluster.number).or_default();
        entry.0 = entry.0.max(to_signed("the sequence number", unit.seq)?);
        entry.1 |= i64::from(unit.completes_snapshot);
    }
    let mut input =
        Input::new(&[("cluster_id", Kind::Int), ("seq", Kind::Int), ("known", Kind::Int)]);
    for (cluster, (seq, known)) in progress {
        input.push([cluster.into(), seq.into(), known.into()]);
    }
    let update = "
        update clusters
           set last_seq = case when input.seq > clusters.last_seq then input.seq else clusters.last_seq end,
               known = case when input.known > clusters.known then input.known else clusters.known end
          from input where clusters.cluster_id = input.cluster_id";
    transaction.execute_bulk(update, input).await?;
    Ok(())
}
