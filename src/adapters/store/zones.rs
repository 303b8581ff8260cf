//! Zones, the records observed in them, and the owners of the names in them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::codec::{self, from_json, known_json, parse, to_json};
use super::feed::{self, Piece};
use super::names::{Numbered, intern_clusters, known, numbered, zone_number, zone_numbers};
use super::transaction::Transaction;
use super::value::{Input, Kind, Row};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordKey;
use crate::core::ids::{ClusterId, ZoneId};
use crate::core::planning::plan::Drift;
use crate::core::time::Timestamp;
use crate::ports::{
    ClaimRow, ClaimWrite, Ownership, RecordRow, RecordWrite, ReplicaId, StoreError, ZoneRow,
};

pub(super) async fn list(transaction: &mut Transaction) -> Result<Vec<ZoneRow>, StoreError> {
    let query = "select account, environment, zone, name, private, listed_at, visible, tags from zones order by zone";
    let rows = transaction.fetch(query, []).await?;
    rows.iter()
        .map(|row| {
            Ok(ZoneRow {
                account: parse("account id", row.text("account")?)?,
                environment: parse("environment name", row.text("environment")?)?,
                zone: parse("zone id", row.text("zone")?)?,
                name: parse("zone name", row.text("name")?)?,
                private: row.int("private")? != 0,
                listed_at: row.int_or_null("listed_at")?.map(Timestamp),
                visible: row.int("visible")? != 0,
                tags: row
                    .text_or_null("tags")?
                    .map(|text| from_json("zone tags", text))
                    .transpose()?,
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
    ("visible", Kind::Int),
    ("tags", Kind::Text),
];

/// Discovery does not know when a zone was listed; `None` keeps the time that is stored. Rows that are stored already are
/// neither written again nor news.
const SAVE_ZONES: &str = "
    insert into zones (zone, account, environment, name, private, listed_at, visible, tags)
    select zone, account, environment, name, private, listed_at, visible, tags from input where true order by zone
    on conflict (zone) do update
       set account = excluded.account, environment = excluded.environment, name = excluded.name, private = excluded.private,
           listed_at = coalesce(excluded.listed_at, zones.listed_at), visible = excluded.visible,
           tags = excluded.tags
     where zones.account <> excluded.account or zones.environment <> excluded.environment or zones.name <> excluded.name
        or zones.private <> excluded.private or zones.visible <> excluded.visible
        or coalesce(excluded.listed_at, zones.listed_at) is distinct from zones.listed_at
        or excluded.tags is distinct from zones.tags
    returning account";

pub(super) async fn save(
    transaction: &mut Transaction,
    origin: ReplicaId,
    zones: &[ZoneRow],
) -> Result<(), StoreError> {
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
            i64::from(row.visible).into(),
            row.tags.as_ref().map(to_json).transpose()?.into(),
        ]);
    }
    let saved = transaction.fetch_bulk(SAVE_ZONES, input).await?;
    let accounts: BTreeSet<&str> =
        saved.iter().map(|row| row.text("account")).collect::<Result<_, _>>()?;
    let news = accounts.into_iter().map(Piece::zones).collect();
    feed::append(transaction, origin, news).await
}

const RECORD_COLUMNS: &[(&str, Kind)] = &[
    ("sort_key", Kind::Bytes),
    ("raw", Kind::Bytes),
    ("owner_batch", Kind::Bytes),
    ("observed_at", Kind::Int),
    ("owner_cluster", Kind::Int),
    ("drift", Kind::Text),
];

const RECORDS: &str = "
    select sort_key, raw, owner_batch, observed_at, owner_cluster, drift from records
     where zone_id = (select id from zones where zone = $1) and sort_key > $2
     order by sort_key limit $3";

pub(super) async fn records(
    transaction: &mut Transaction,
    clusters: &Numbered<ClusterId>,
    zone: &ZoneId,
    after: Option<&RecordKey>,
    limit: u32,
) -> Result<Vec<RecordRow>, StoreError> {
    let after = after.map(codec::sort_key).unwrap_or_default();
    let arguments = [zone.as_str().into(), after.into(), i64::from(limit).into()];
    let rows = transaction.fetch_many(RECORD_COLUMNS, RECORDS, arguments).await?;
    let owners = || rows.iter().filter_map(|row| row.int_or_null("owner_cluster").ok().flatten());
    let clusters = clusters
        .covering(transaction, |held| owners().all(|number| held.contains_key(&number)))
        .await?;
    rows.iter()
        .map(|row| {
            let key = codec::record_key(row.bytes("sort_key")?)?;
            let raw = codec::record_set(row.bytes("raw")?)?;
            let drift = row.text_or_null("drift")?.map(drift).transpose()?;
            Ok(RecordRow {
                key,
                raw,
                owner: owner(row, &clusters)?,
                drift,
                observed_at: Timestamp(row.int("observed_at")?),
            })
        })
        .collect()
}

/// Drift that is unknown here is a change: the record set is not what was written.
fn drift(text: &str) -> Result<Drift, StoreError> {
    Ok(known_json("drift", text)?.unwrap_or(Drift::Changed))
}

fn owner(row: &Row, clusters: &HashMap<i64, ClusterId>) -> Result<Option<Ownership>, StoreError> {
    match (row.int_or_null("owner_cluster")?, row.bytes_or_null("owner_batch")?) {
        (Some(cluster), Some(batch)) => Ok(Some(Ownership {
            cluster: numbered("cluster", clusters, cluster)?,
            batch: codec::batch_id(batch)?,
        })),
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
        transaction
            .execute("update zones set listed_at = $2 where id = $1", [zone.into(), at.0.into()])
            .await?;
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

const CLAIM_COLUMNS: &[(&str, Kind)] =
    &[("name", Kind::Text), ("cluster_id", Kind::Int), ("since", Kind::Int)];

const CLAIMS: &str = "select name, cluster_id, since from claims where zone_id = $1 order by name";

pub(super) async fn claims(
    transaction: &mut Transaction,
    clusters: &Numbered<ClusterId>,
    zones: &[ZoneId],
) -> Result<Vec<ClaimRow>, StoreError> {
    let mut claims = Vec::new();
    for (zone, number) in zone_numbers(transaction, zones).await? {
        let rows = transaction.fetch_many(CLAIM_COLUMNS, CLAIMS, [number.into()]).await?;
        let holders = || rows.iter().filter_map(|row| row.int_or_null("cluster_id").ok().flatten());
        let clusters = clusters
            .covering(transaction, |held| holders().all(|number| held.contains_key(&number)))
            .await?;
        claims.reserve(rows.len());
        for row in &rows {
            claims.push(ClaimRow {
                zone: zone.clone(),
                name: parse("claimed name", row.text("name")?)?,
                cluster: numbered("cluster", &clusters, row.int("cluster_id")?)?,
                since: Timestamp(row.int("since")?),
            });
        }
    }
    Ok(claims)
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

/// Applies differences to the claims by themselves.
pub(super) async fn save_claims(
    transaction: &mut Transaction,
    writes: &[ClaimWrite],
) -> Result<(), StoreError> {
    let zones = zone_numbers(transaction, claim_zones(writes)).await?;
    let clusters = intern_clusters(transaction, claim_clusters(writes)).await?;
    write_claims(transaction, writes, &zones, &clusters, None).await
}

const CLAIM_PUTS: &[(&str, Kind)] = &[
    ("zone_id", Kind::Int),
    ("name", Kind::Text),
    ("cluster_id", Kind::Int),
    ("since", Kind::Int),
];

const PUT_CLAIMS: &str = "
    insert into claims (zone_id, name, cluster_id, since)
    select zone_id, name, cluster_id, since from input where true
    on conflict (zone_id, name) do update set cluster_id = excluded.cluster_id, since = excluded.since";

const CLAIM_ENDS: &[(&str, Kind)] = &[
    ("zone_id", Kind::Int),
    ("name", Kind::Text),
    ("cluster_id", Kind::Int),
    ("until", Kind::Int),
];

/// Of claims that pass to another cluster, or to none.
const KEEP_ENDED: &str = "
    insert into past_claims (zone_id, name, cluster_id, since, until)
    select c.zone_id, c.name, c.cluster_id, c.since, coalesce(input.until, NOW)
      from input join claims c on c.zone_id = input.zone_id and c.name = input.name
     where input.cluster_id is null or input.cluster_id <> c.cluster_id
    on conflict (zone_id, name, until) do nothing";

/// The first line finds the rows by their key, as for records; the second keeps to the pairs.
const RELEASE_CLAIMS: &str = "
    delete from claims where zone_id in (select zone_id from input) and name in (select name from input)
       and exists (select 1 from input where input.zone_id = claims.zone_id and input.name = claims.name)";

/// Applies differences to the claims; the last write of a name counts. Claims that end are kept with their end, which is `at`, or now
/// if that is not given.
pub(super) async fn write_claims(
    transaction: &mut Transaction,
    writes: &[ClaimWrite],
    zones: &BTreeMap<ZoneId, i64>,
    clusters: &BTreeMap<ClusterId, i64>,
    at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let mut last: BTreeMap<(i64, &DnsName), Option<&ClaimRow>> = BTreeMap::new();
    for write in writes {
        match write {
            ClaimWrite::Hold(row) => last.insert((known(zones, &row.zone)?, &row.name), Some(row)),
            ClaimWrite::Release { zone, name } => last.insert((known(zones, zone)?, name), None),
        };
    }
    let mut puts = Input::new(CLAIM_PUTS);
    let mut ends = Input::new(CLAIM_ENDS);
    let mut releases = Input::new(&[("zone_id", Kind::Int), ("name", Kind::Text)]);
    for ((zone, name), row) in last {
        match row {
            Some(row) => {
                let cluster = known(clusters, &row.cluster)?;
                ends.push([zone.into(), name.as_str().into(), cluster.into(), row.since.0.into()]);
                puts.push([zone.into(), name.as_str().into(), cluster.into(), row.since.0.into()]);
            }
            None => {
                let (nobody, at) = (None::<i64>, at.map(|at| at.0));
                ends.push([zone.into(), name.as_str().into(), nobody.into(), at.into()]);
                releases.push([zone.into(), name.as_str().into()]);
            }
        }
    }
    let keep = KEEP_ENDED.replace("NOW", transaction.clock());
    transaction.execute_bulk(&keep, ends).await?;
    transaction.execute_bulk(RELEASE_CLAIMS, releases).await?;
    transaction.execute_bulk(PUT_CLAIMS, puts).await?;
    Ok(())
}
