//! Earlier moments, from the journal's changes, from claims that ended and from the sets of rules that counted.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;
use tracing::Instrument as _;
use uuid::Uuid;

use super::codec::{self, batch_bytes, from_json, parse};
use super::transaction::Transaction;
use super::value::{Row, Value};
use super::{SqlStore, audit, in_transaction, rules};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordKey;
use crate::core::ids::{AccountId, BatchId, ZoneId};
use crate::core::planning::change::{Batch, Change};
use crate::core::time::Timestamp;
use crate::ports::{BatchHistory, History, PastName, PastRecord, RuleSetRow, StoreError};

/// How many changes of one name are looked at: far more than any name has record sets.
const LOOKED_AT: i64 = 10_000;

#[async_trait]
impl History for SqlStore {
    async fn batch_history(&self, id: BatchId) -> Result<Option<BatchHistory>, StoreError> {
        in_transaction!(self.reading(), batch, id)
    }

    async fn batches_of_request(&self, request: Uuid) -> Result<Vec<BatchId>, StoreError> {
        in_transaction!(self.reading(), batches_of_request, request)
    }

    async fn name_at(&self, name: &DnsName, at: Timestamp) -> Result<Vec<PastName>, StoreError> {
        in_transaction!(self.reading(), name_at, name, at)
    }

    async fn records_at(
        &self,
        zone: &ZoneId,
        at: Timestamp,
        after: Option<&RecordKey>,
        limit: u32,
    ) -> Result<(Vec<PastRecord>, Option<Timestamp>), StoreError> {
        in_transaction!(self.reading(), records_at, zone, at, after, limit)
    }

    async fn rules_at(&self, at: Timestamp) -> Result<Option<RuleSetRow>, StoreError> {
        in_transaction!(self.reading(), rules::at, at)
    }
}

const BATCH: &str = "
    select b.account, b.journal_seq, b.planned_at, b.finished_at, b.applied, b.outcome, z.zone, z.name as apex, j.entry
      from batches b join zones z on z.id = b.zone_id
      left join journal j on j.account = b.account and j.seq = b.journal_seq
     where b.batch_id = $1";

/// The part of an intent that is read back.
#[derive(Deserialize)]
struct SentBatch {
    batch: Batch,
}

async fn batch(
    transaction: &mut Transaction,
    id: BatchId,
) -> Result<Option<BatchHistory>, StoreError> {
    let Some(row) = transaction.fetch_optional(BATCH, [batch_bytes(id).into()]).await? else {
        return Ok(None);
    };
    let applied = row.int_or_null("applied")? == Some(1);
    let outcome = row.text_or_null("outcome")?;
    let sent = row.text_or_null("entry")?.map(|text| from_json::<SentBatch>("journal entry", text));
    let changes = "select change from changes where batch_id = $1 order by id";
    let changes = transaction.fetch(changes, [batch_bytes(id).into()]).await?;
    let requests = "select request_id from batch_requests where batch_id = $1 order by request_id";
    let requests = transaction.fetch(requests, [batch_bytes(id).into()]).await?;
    Ok(Some(BatchHistory {
        id,
        account: parse("account id", row.text("account")?)?,
        zone: parse("zone id", row.text("zone")?)?,
        apex: parse("name of a zone", row.text("apex")?)?,
        planned_at: Timestamp(row.int("planned_at")?),
        finished_at: row.int_or_null("finished_at")?.map(Timestamp),
        outcome: outcome.map(|text| codec::outcome(text, applied)).transpose()?,
        journal_seq: row.int("journal_seq")?,
        batch: sent.transpose()?.map(|sent| sent.batch),
        changes: changes
            .iter()
            .map(|row| from_json("change", row.text("change")?))
            .collect::<Result<_, _>>()?,
        requests: requests
            .iter()
            .map(|row| audit::uuid(row.bytes("request_id")?))
            .collect::<Result<_, _>>()?,
    }))
}

async fn batches_of_request(
    transaction: &mut Transaction,
    request: Uuid,
) -> Result<Vec<BatchId>, StoreError> {
    let query = "
        select r.batch_id from batch_requests r join batches b on b.batch_id = r.batch_id
         where r.request_id = $1 order by b.planned_at, r.batch_id";
    let rows = transaction.fetch(query, [request.as_bytes().to_vec().into()]).await?;
    rows.iter().map(|row| codec::batch_id(row.bytes("batch_id")?)).collect()
}

const CHANGES_OF_NAME: &str = "
    select c.batch_id, c.change, b.finished_at, z.zone
      from changes c join batches b on b.batch_id = c.batch_id join zones z on z.id = c.zone_id
     where c.name = $1 and b.applied = 1 and b.finished_at <= $2
     order by c.id desc limit $3";

const HOLDERS: &str = "
    select z.zone, n.name as cluster, held.since
      from (select zone_id, cluster_id, since from claims where name = $1 and since <= $2
             union all
            select zone_id, cluster_id, since from past_claims where name = $1 and since <= $2 and until > $2) held
      join zones z on z.id = held.zone_id join cluster_names n on n.id = held.cluster_id
     order by z.zone, held.since";

/// What became of a record set: it is as it was written, or it was deleted.
fn past_record(row: &Row) -> Result<(RecordKey, Option<PastRecord>), StoreError> {
    let change: Change = from_json("change", row.text("change")?)?;
    let (batch, since) =
        (codec::batch_id(row.bytes("batch_id")?)?, Timestamp(row.int("finished_at")?));
    let (key, cluster) = (change.key.clone(), change.cause.cluster);
    let record = change.after.map(|set| PastRecord { key: change.key, set, cluster, batch, since });
    Ok((key, record))
}

async fn name_at(
    transaction: &mut Transaction,
    name: &DnsName,
    at: Timestamp,
) -> Result<Vec<PastName>, StoreError> {
    let arguments = [name.as_str().into(), at.0.into(), LOOKED_AT.into()];
    let mut records: BTreeMap<ZoneId, BTreeMap<RecordKey, Option<PastRecord>>> = BTreeMap::new();
    for row in transaction.fetch(CHANGES_OF_NAME, arguments).await? {
        let (key, record) = past_record(&row)?;
        let of_zone = records.entry(parse("zone id", row.text("zone")?)?).or_default();
        // The newest comes first.
        of_zone.entry(key).or_insert(record);
    }
    let mut holders = BTreeMap::new();
    for row in transaction.fetch(HOLDERS, [name.as_str().into(), at.0.into()]).await? {
        let holder = (parse("cluster", row.text("cluster")?)?, Timestamp(row.int("since")?));
        holders.insert(parse("zone id", row.text("zone")?)?, holder);
    }
    let zones: BTreeSet<ZoneId> = records.keys().chain(holders.keys()).cloned().collect();
    let mut found = vec![];
    for zone in zones {
        let query = "select account, environment, name, private from zones where zone = $1";
        let row = transaction.fetch_optional(query, [zone.as_str().into()]).await?;
        let Some(row) = row else { continue };
        let account: AccountId = parse("account id", row.text("account")?)?;
        let kept = records.remove(&zone).unwrap_or_default();
        found.push(PastName {
            environment: parse("environment", row.text("environment")?)?,
            apex: parse("name of a zone", row.text("name")?)?,
            private: row.int("private")? != 0,
            holder: holders.remove(&zone),
            records: kept.into_values().flatten().collect(),
            whole_since: whole_since(transaction, &account).await?,
            account,
            zone,
        });
    }
    Ok(found)
}

/// From when on the journal of an account is whole; `None` if nothing was ever cut off.
async fn whole_since(
    transaction: &mut Transaction,
    account: &AccountId,
) -> Result<Option<Timestamp>, StoreError> {
    let query = "
        select a.cut_seq, (select min(b.planned_at) from batches b where b.account = $1 and b.journal_seq > a.cut_seq) as since
          from (select seq as cut_seq from journal_anchors where account = $1) a";
    let row = transaction.fetch_optional(query, [account.as_str().into()]).await?;
    row.map(|row| Ok(Timestamp(row.int_or_null("since")?.unwrap_or(i64::MAX)))).transpose()
}

/// The newest change of each record set up to then, without those that deleted it.
const RECORDS_AT: &str = "
    select c.batch_id, c.change, b.finished_at
      from changes c join batches b on b.batch_id = c.batch_id
     where c.id in (
        select max(o.id) from changes o join batches p on p.batch_id = o.batch_id
         where o.zone_id = (select id from zones where zone = $1) and p.applied = 1 and p.finished_at <= $2
         group by o.name, o.rtype, o.set_identifier)
       and (c.action is null or c.action <> 'delete')";

const BEHIND: &str = "
       and (c.name > $4 or (c.name = $4 and (c.rtype > $5 or (c.rtype = $5 and coalesce(c.set_identifier, '') > $6))))";

async fn records_at(
    transaction: &mut Transaction,
    zone: &ZoneId,
    at: Timestamp,
    after: Option<&RecordKey>,
    limit: u32,
) -> Result<(Vec<PastRecord>, Option<Timestamp>), StoreError> {
    let mut sql = RECORDS_AT.to_owned();
    let mut values: Vec<Value> = vec![zone.as_str().into(), at.0.into(), i64::from(limit).into()];
    if let Some(key) = after {
        sql.push_str(BEHIND);
        values.push(key.name.as_str().into());
        values.push(key.rtype.as_str().into());
        values.push(key.set_identifier.as_deref().unwrap_or_default().into());
    }
    sql.push_str(" order by c.name, c.rtype, coalesce(c.set_identifier, '') limit $3");
    let rows = transaction.fetch_values(sql, values).await?;
    let records: Result<Vec<_>, StoreError> = rows.iter().map(past_record).collect();
    let account = "select account from zones where zone = $1";
    let account = transaction.fetch_optional(account, [zone.as_str().into()]).await?;
    let account = account.map(|row| parse("account id", row.text("account")?)).transpose()?;
    let since = match account {
        Some(account) => whole_since(transaction, &account).await?,
        None => None,
    };
    Ok((records?.into_iter().filter_map(|(_, record)| record).collect(), since))
}
