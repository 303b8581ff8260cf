//! Zones, what was observed in them, and who holds the names in them.

use std::collections::BTreeMap;

use super::codec::{self, from_json, parse, to_json};
use super::names::{intern_clusters, known, zone_number, zone_numbers};
use super::transaction::Transaction;
use super::value::{Input, Kind, Row};
use crate::core::ids::{ClusterId, ZoneId};
use crate::core::name::DnsName;
use crate::core::record::RecordKey;
use crate::core::time::Timestamp;
use crate::ports::{ClaimRow, ClaimWrite, Ownership, RecordRow, RecordWrite, StoreError, ZoneRow};

pub(super) async fn list(transaction: &mut Transaction) -> Result<Vec<ZoneRow>, StoreError> {
    let query = "select account, environment, zone, name, private, listed_at from zones order by zone";
    let rows = transaction.fetch(query, []).await?;
    rows.iter()
        .map(|row| {
            Ok(ZoneRow {
                account: parse("account id", row.text(0)?)?,
                environment: parse("environment name", row.text(1)?)?,
                zone: parse("zone id", row.text(2)?)?,
                name: parse("zone name", row.text(3)?)?,
                private: row.int(4)? != 0,
                listed_at: row.int_or_null(5)?.map(Timestamp),
            })
        })
        .collect()
}

const ZONES: &[(&str, Kind)] = &[
    ("zone", Kind::Text),
    ("account", Kind::Text),
    ("environment", Kind::Text),
    ("name", Kind::Text),
    ("private", Kind::Int),
    ("listed_at", Kind::Int),
];

/// Discovery does not know when a zone was listed; none keeps the time that is stored.
const SAVE_ZONES: &str = "
    insert into zones (zone, account, environment, name, private, listed_at)
    select zone, account, environment, name, private, listed_at from input where true order by zone
    on conflict (zone) do update
       set account = excluded.account, environment = excluded.environment, name = excluded.name,
           private = excluded.private, listed_at = coalesce(excluded.listed_at, zones.listed_at)";

pub(super) async fn save(transaction: &mut Transaction, zones: &[ZoneRow]) -> Result<(), StoreError> {
    let last: BTreeMap<&ZoneId, &ZoneRow> = zones.iter().map(|row| (&row.zone, row)).collect();
    let mut input = Input::new(ZONES);
    for row in last.into_values() {
        input.push([
            row.zone.as_str().into(),
            row.account.as_str().into(),
            row.environment.as_str().into(),
            row.name.as_str().into(),
            i64::from(row.private).into(),
            row.listed_at.map(|at| at.0).into(),
        ]);
    }
    transaction.execute_bulk(SAVE_ZONES, input).await?;
    Ok(())
}

const RECORDS: &str = "
    select r.sort_key, r.raw, r.owner_batch, r.observed_at, n.name, r.drift
      from records r left join cluster_names n on n.id = r.owner_cluster
     where r.zone_id = (select id from zones where zone = $1) and r.sort_key > $2
     order by r.sort_key limit $3";

pub(super) async fn records(
    transaction: &mut Transaction,
    zone: &ZoneId,
    after: Option<&RecordKey>,
    limit: u32,
) -> Result<Vec<RecordRow>, StoreError> {
    let after = after.map(codec::sort_key).unwrap_or_default();
    let rows = transaction.fetch(RECORDS, [zone.as_str().into(), after.into(), i64::from(limit).into()]).await?;
    rows.iter()
        .map(|row| {
            let key = codec::record_key(row.bytes(0)?)?;
            let raw = codec::record_set(row.bytes(1)?)?;
            let drift = row.text_or_null(5)?.map(|text| from_json("drift", text)).transpose()?;
            Ok(RecordRow { key, raw, owner: owner(row)?, drift, observed_at: Timestamp(row.int(3)?) })
        })
        .collect()
}

fn owner(row: &Row) -> Result<Option<Ownership>, StoreError> {
    match (row.text_or_null(4)?, row.bytes_or_null(2)?) {
        (Some(cluster), Some(batch)) => {
            Ok(Some(Ownership { cluster: parse("cluster name", cluster)?, batch: codec::batch_id(batch)? }))
        }
        _ => Ok(None),
    }
}

pub(super) async fn save_records(
    transaction: &mut Transaction,
    zone: &ZoneId,
    writes: &[RecordWrite],
    listed_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let zone = zone_number(transaction, zone).await?;
    let clusters = intern_clusters(transaction, record_clusters(writes)).await?;
    write_records(transaction, zone, writes, &clusters).await?;
    if let Some(at) = listed_at {
        transaction.execute("update zones set listed_at = $2 where id = $1", [zone.into(), at.0.into()]).await?;
    }
    Ok(())
}

/// The clusters that own what is written.
pub(super) fn record_clusters(writes: &[RecordWrite]) -> impl Iterator<Item = &ClusterId> {
    writes.iter().filter_map(|write| match write {
        RecordWrite::Put(row) => row.owner.as_ref().map(|owner| &owner.cluster),
        RecordWrite::Remove(_) => None,
    })
}

const RECORD_PUTS: &[(&str, Kind)] = &[
    ("zone_id", Kind::Int),
    ("sort_key", Kind::Bytes),
    ("observed_at", Kind::Int),
    ("owner_cluster", Kind::Int),
    ("owner_batch", Kind::Bytes),
    ("drift", Kind::Text),
    ("raw", Kind::Bytes),
];

const PUT_RECORDS: &str = "
    insert into records (zone_id, sort_key, observed_at, owner_cluster, owner_batch, drift, raw)
    select zone_id, sort_key, observed_at, owner_cluster, owner_batch, drift, raw from input where true
    on conflict (zone_id, sort_key) do update
       set observed_at = excluded.observed_at, owner_cluster = excluded.owner_cluster,
           owner_batch = excluded.owner_batch, drift = excluded.drift, raw = excluded.raw";

/// All rows are of one zone. SQLite looks up both columns of the key in this form; of a pair it would look up the first only
/// and walk the zone.
const REMOVE_RECORDS: &str = "
    delete from records
     where zone_id in (select zone_id from input) and sort_key in (select sort_key from input)";

/// Applies differences to the records of a zone; the last write of a key counts.
pub(super) async fn write_records(
    transaction: &mut Transaction,
    zone: i64,
    writes: &[RecordWrite],
    clusters: &BTreeMap<ClusterId, i64>,
) -> Result<(), StoreError> {
    let mut last: BTreeMap<&RecordKey, Option<&RecordRow>> = BTreeMap::new();
    for write in writes {
        match write {
            RecordWrite::Put(row) => last.insert(&row.key, Some(row)),
            RecordWrite::Remove(key) => last.insert(key, None),
        };
    }
    let mut puts = Input::new(RECORD_PUTS);
    let mut removals = Input::new(&[("zone_id", Kind::Int), ("sort_key", Kind::Bytes)]);
    for (key, row) in last {
        let sort_key = codec::sort_key(key);
        let Some(row) = row else {
            removals.push([zone.into(), sort_key.into()]);
            continue;
        };
        let owner = row.owner.as_ref().map(|owner| known(clusters, &owner.cluster)).transpose()?;
        let batch = row.owner.as_ref().map(|owner| codec::batch_bytes(owner.batch));
        let drift = row.drift.as_ref().map(to_json).transpose()?;
        puts.push([
            zone.into(),
            sort_key.into(),
            row.observed_at.0.into(),
            owner.into(),
            batch.into(),
            drift.into(),
            row.raw.as_bytes().to_vec().into(),
        ]);
    }
    transaction.execute_bulk(REMOVE_RECORDS, removals).await?;
    transaction.execute_bulk(PUT_RECORDS, puts).await?;
    Ok(())
}

pub(super) async fn claims(transaction: &mut Transaction, zones: &[ZoneId]) -> Result<Vec<ClaimRow>, StoreError> {
    let numbers = zone_numbers(transaction, zones).await?;
    let ids: BTreeMap<i64, &ZoneId> = numbers.iter().map(|(zone, number)| (*number, zone)).collect();
    let mut input = Input::new(&[("zone_id", Kind::Int)]);
    ids.keys().for_each(|number| input.push([(*number).into()]));
    let query = "
        select c.zone_id, c.name, n.name, c.since
          from input join claims c on c.zone_id = input.zone_id join cluster_names n on n.id = c.cluster_id
         order by c.zone_id, c.name";
    let rows = transaction.fetch_bulk(query, input).await?;
    rows.iter()
        .map(|row| {
            let number = row.int(0)?;
            let zone = ids.get(&number).ok_or_else(|| super::error::corrupt("claim", format_args!("zone {number}")))?;
            Ok(ClaimRow {
                zone: (*zone).clone(),
                name: parse("claimed name", row.text(1)?)?,
                cluster: parse("cluster name", row.text(2)?)?,
                since: Timestamp(row.int(3)?),
            })
        })
        .collect()
}

/// The clusters that the claims name.
pub(super) fn claim_clusters(writes: &[ClaimWrite]) -> impl Iterator<Item = &ClusterId> {
    writes.iter().filter_map(|write| match write {
        ClaimWrite::Hold(row) => Some(&row.cluster),
        ClaimWrite::Release { .. } => None,
    })
}

/// The zones that the claims are in.
pub(super) fn claim_zones(writes: &[ClaimWrite]) -> impl Iterator<Item = &ZoneId> {
    writes.iter().map(|write| match write {
        ClaimWrite::Hold(row) => &row.zone,
        ClaimWrite::Release { zone, .. } => zone,
    })
}

const CLAIM_PUTS: &[(&str, Kind)] =
    &[("zone_id", Kind::Int), ("name", Kind::Text), ("cluster_id", Kind::Int), ("since", Kind::Int)];

const PUT_CLAIMS: &str = "
    insert into claims (zone_id, name, cluster_id, since)
    select zone_id, name, cluster_id, since from input where true
    on conflict (zone_id, name) do update set cluster_id = excluded.cluster_id, since = excluded.since";

/// The first line finds the rows by their key, as for records; the second keeps to the pairs.
const RELEASE_CLAIMS: &str = "
    delete from claims where zone_id in (select zone_id from input) and name in (select name from input)
       and exists (select 1 from input where input.zone_id = claims.zone_id and input.name = claims.name)";

/// Applies differences to the claims; the last write of a name counts.
pub(super) async fn write_claims(
    transaction: &mut Transaction,
    writes: &[ClaimWrite],
    zones: &BTreeMap<ZoneId, i64>,
    clusters: &BTreeMap<ClusterId, i64>,
) -> Result<(), StoreError> {
    let mut last: BTreeMap<(i64, &DnsName), Option<&ClaimRow>> = BTreeMap::new();
    for write in writes {
        match write {
            ClaimWrite::Hold(row) => last.insert((known(zones, &row.zone)?, &row.name), Some(row)),
            ClaimWrite::Release { zone, name } => last.insert((known(zones, zone)?, name), None),
        };
    }
    let mut puts = Input::new(CLAIM_PUTS);
    let mut releases = Input::new(&[("zone_id", Kind::Int), ("name", Kind::Text)]);
    for ((zone, name), row) in last {
        match row {
            Some(row) => {
                let cluster = known(clusters, &row.cluster)?;
                puts.push([zone.into(), name.as_str().into(), cluster.into(), row.since.0.into()]);
            }
            None => releases.push([zone.into(), name.as_str().into()]),
        }
    }
    transaction.execute_bulk(RELEASE_CLAIMS, releases).await?;
    transaction.execute_bulk(PUT_CLAIMS, puts).await?;
    Ok(())
}
