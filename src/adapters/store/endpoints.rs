//! The stored endpoints and their verdicts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::codec::{self, known_json, to_json};
use super::leases;
use super::names::{Numbered, numbered};
use super::placements;
use super::sessions::lock_clusters;
use super::transaction::Transaction;
use super::value::{Input, Kind, Row};
use crate::core::endpoint::Version;
use crate::core::endpoint::verdict::{Placement, Verdict, VerdictState};
use crate::core::ids::ClusterId;
use crate::core::time::Timestamp;
use crate::ports::{EndpointRow, PlacementRow, ReplicaId, StoreError, VerdictRow};

const COLUMNS: &[(&str, Kind)] = &[
    ("cluster_id", Kind::Int),
    ("key_hash", Kind::Bytes),
    ("version", Kind::Bytes),
    ("arrival", Kind::Int),
    ("body", Kind::Bytes),
    ("verdict_zone", Kind::Int),
    ("verdict", Kind::Text),
    ("updated_at", Kind::Int),
    ("placed_version", Kind::Bytes),
    ("placed", Kind::Text),
];

const LIST: &str = "
    select e.cluster_id, e.key_hash, e.version, e.arrival, e.body, e.verdict_zone, e.verdict, e.updated_at,
           e.placed_version, coalesce(e.placed, '0:' || e.verdict_zone) as placed
      from endpoints e where e.arrival > $1 order by e.arrival limit $2";

pub(super) async fn list(
    transaction: &mut Transaction,
    clusters: &Numbered<ClusterId>,
    placements: &Numbered<Placement>,
    after_arrival: i64,
    limit: u32,
) -> Result<Vec<EndpointRow>, StoreError> {
    let rows = transaction
        .fetch_many(COLUMNS, LIST, [after_arrival.into(), i64::from(limit).into()])
        .await?;
    read(transaction, clusters, placements, &rows).await
}

const BY_ARRIVAL: &str = "
    select e.cluster_id, e.key_hash, e.version, e.arrival, e.body, e.verdict_zone, e.verdict, e.updated_at,
           e.placed_version, coalesce(e.placed, '0:' || e.verdict_zone) as placed
      from input cross join endpoints e where e.arrival = input.arrival";

/// Those of the endpoints that are still there, by their arrival.
pub(super) async fn by_arrival(
    transaction: &mut Transaction,
    clusters: &Numbered<ClusterId>,
    placements: &Numbered<Placement>,
    arrivals: BTreeSet<i64>,
) -> Result<HashMap<i64, EndpointRow>, StoreError> {
    let mut input = Input::new(&[("arrival", Kind::Int)]);
    arrivals.into_iter().for_each(|arrival| input.push([arrival.into()]));
    let rows = transaction.fetch_bulk(BY_ARRIVAL, input).await?;
    let rows = read(transaction, clusters, placements, &rows).await?;
    Ok(rows.into_iter().map(|row| (row.arrival, row)).collect())
}

async fn read(
    transaction: &mut Transaction,
    clusters: &Numbered<ClusterId>,
    placements: &Numbered<Placement>,
    rows: &[Row],
) -> Result<Vec<EndpointRow>, StoreError> {
    let numbers = |column: &'static str| {
        rows.iter().filter_map(move |row| row.int_or_null(column).ok().flatten())
    };
    let clusters = clusters
        .covering(transaction, |held| {
            numbers("cluster_id").all(|number| held.contains_key(&number))
        })
        .await?;
    let placed = || rows.iter().filter_map(|row| row.text_or_null("placed").ok().flatten());
    let is_known = |held: &HashMap<i64, Placement>| {
        let zones = placed().flat_map(placements::numbers_in);
        numbers("verdict_zone").chain(zones).all(|number| held.contains_key(&number))
    };
    let placements = placements.covering(transaction, is_known).await?;
    rows.iter()
        .map(|row| {
            Ok(EndpointRow {
                cluster: numbered("cluster", &clusters, row.int("cluster_id")?)?,
                key: codec::key_hash(row.bytes("key_hash")?)?,
                version: codec::version(row.bytes("version")?)?,
                arrival: row.int("arrival")?,
                endpoint: codec::endpoint(row.bytes("body")?)?,
                verdict: verdict(row, &placements)?,
                placed: placement(row, &placements)?,
                updated_at: Timestamp(row.int("updated_at")?),
            })
        })
        .collect()
}

fn placement(
    row: &Row,
    placements: &HashMap<i64, Placement>,
) -> Result<Option<PlacementRow>, StoreError> {
    let Some(text) = row.text_or_null("placed")? else { return Ok(None) };
    Ok(Some(PlacementRow {
        version: row.bytes_or_null("placed_version")?.map(codec::version).transpose()?,
        placement: placements::decode(text, placements)?,
    }))
}

/// A verdict that only names a zone is the number of that zone; any other is JSON. `None` if it is unknown here.
fn verdict(row: &Row, placements: &HashMap<i64, Placement>) -> Result<Option<Verdict>, StoreError> {
    match row.int_or_null("verdict_zone")? {
        Some(zone) => Ok(Some(Verdict::accepted(numbered("zone", placements, zone)?))),
        None => match row.text_or_null("verdict")? {
            Some(text) => known_json("verdict", text),
            None => Ok(None),
        },
    }
}

/// The zone of an accepting verdict; `None` if it says anything else.
fn plainly_at(verdict: &Verdict) -> Option<&Placement> {
    let placement =
        verdict.placement.as_ref().filter(|_| verdict.state == VerdictState::Accepted)?;
    (*verdict == Verdict::accepted(placement.clone())).then_some(placement)
}

pub(super) const VERDICTS: &[(&str, Kind)] = &[
    ("arrival", Kind::Int),
    ("version", Kind::Bytes),
    ("verdict_zone", Kind::Int),
    ("verdict", Kind::Text),
];

/// A verdict that is stored already is not written again. The versions are not compared by equality: SQLite would walk all
/// endpoints to look their versions up in a large `input`.
pub(super) const SAVE_VERDICTS: &str = "
    update endpoints set verdict_zone = input.verdict_zone, verdict = input.verdict from input
     where endpoints.arrival = input.arrival and not (endpoints.version <> input.version)
       and (endpoints.verdict_zone is distinct from input.verdict_zone or endpoints.verdict is distinct from input.verdict)";

pub(super) async fn save_verdicts(
    transaction: &mut Transaction,
    placements: &Numbered<Placement>,
    replica: ReplicaId,
    verdicts: &[VerdictRow],
) -> Result<(), StoreError> {
    // No replica that decides otherwise now would hear of a verdict that this process made before it was superseded.
    leases::assert_not_superseded(transaction, replica).await?;
    // The lock keeps two writers of the same endpoints from waiting for each other in a circle.
    lock_clusters(transaction, verdicts.iter().map(|row| &row.cluster)).await?;
    let mut last: BTreeMap<(i64, Version), &Verdict> = BTreeMap::new();
    for row in verdicts {
        last.insert((row.arrival, row.version), &row.verdict);
    }
    let zones = zone_numbers(transaction, placements, last.values().copied()).await?;
    let mut input = Input::new(VERDICTS);
    for ((arrival, version), verdict) in last {
        let zone = plainly_at(verdict).and_then(|placement| zones.get(placement).copied());
        let text = if zone.is_none() { Some(to_json(verdict)?) } else { None };
        input.push([arrival.into(), version.0.into(), zone.into(), text.into()]);
    }
    transaction.execute_bulk(SAVE_VERDICTS, input).await?;
    Ok(())
}

/// The numbers of the zones that verdicts plainly accept at; one that is not stored, or of another account there, has none.
async fn zone_numbers(
    transaction: &mut Transaction,
    placements: &Numbered<Placement>,
    verdicts: impl Iterator<Item = &Verdict>,
) -> Result<HashMap<Placement, i64>, StoreError> {
    let mut wanted: HashMap<Placement, Option<i64>> =
        verdicts.filter_map(plainly_at).map(|placement| (placement.clone(), None)).collect();
    let count = wanted.len();
    let enough = |held: &HashMap<i64, Placement>| {
        held.values().filter(|held| wanted.contains_key(*held)).count() == count
    };
    let held = placements.covering(transaction, enough).await?;
    for (number, placement) in &*held {
        if let Some(found) = wanted.get_mut(placement) {
            *found = Some(*number);
        }
    }
    Ok(wanted.into_iter().filter_map(|(placement, number)| Some((placement, number?))).collect())
}
