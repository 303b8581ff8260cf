//! Queries of the journal's changes: what happened, and why a record set is as it is.

use super::codec::{self, from_json, parse};
use super::transaction::Transaction;
use super::value::{Row, Value};
use crate::core::dns::record::RecordKey;
use crate::core::ids::{BatchId, ZoneId};
use crate::core::planning::change::{Cause, Change};
use crate::core::time::Timestamp;
use crate::ports::{ChangeFilter, ChangeRow, StoreError};

const LIST: &str = "
    select c.id, c.batch_id, b.account, z.zone, c.change, b.planned_at, b.outcome, b.applied
      from changes c join batches b on b.batch_id = c.batch_id join zones z on z.id = c.zone_id
     where 1 = 1";

pub(super) async fn list(
    transaction: &mut Transaction,
    filter: &ChangeFilter,
) -> Result<Vec<ChangeRow>, StoreError> {
    let mut sql = LIST.to_owned();
    let mut values: Vec<Value> = Vec::new();
    let mut only = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            values.push(value);
            sql.push_str(&condition.replace('#', &format!("${}", values.len())));
        }
    };
    only(" and c.name = #", filter.name.as_ref().map(|name| name.as_str().into()));
    only(
        " and c.zone_id = (select id from zones where zone = #)",
        filter.zone.as_ref().map(|zone| zone.as_str().into()),
    );
    only(
        " and c.cluster_id = (select id from cluster_names where name = #)",
        filter.cluster.as_ref().map(|cluster| cluster.as_str().into()),
    );
    only(" and c.id < #", filter.before_id.map(Value::from));
    only(" order by c.id desc limit #", Some(i64::from(filter.limit).into()));
    let rows = transaction.fetch_values(sql, values).await?;
    rows.iter().map(change_row).collect()
}

fn change_row(row: &Row) -> Result<ChangeRow, StoreError> {
    let applied = row.int_or_null("applied")? == Some(1);
    Ok(ChangeRow {
        id: row.int("id")?,
        batch: codec::batch_id(row.bytes("batch_id")?)?,
        account: parse("account id", row.text("account")?)?,
        zone: parse("zone id", row.text("zone")?)?,
        change: from_json("change", row.text("change")?)?,
        planned_at: Timestamp(row.int("planned_at")?),
        outcome: row
            .text_or_null("outcome")?
            .map(|text| codec::outcome(text, applied))
            .transpose()?,
    })
}

/// A batch that is known to have changed nothing explains nothing, so it is passed over.
const LAST_CAUSE: &str = "
    select c.batch_id, c.change
      from changes c join batches b on b.batch_id = c.batch_id
     where c.name = $1 and c.zone_id = (select id from zones where zone = $2) and c.rtype = $3
       and (c.action is null or c.set_identifier is not distinct from $4)
       and (b.applied is null or b.applied = 1)
     order by c.id desc limit $5";

/// Rows of a release that does not keep the set identifier by itself, which are passed over to find the one that is meant.
const PASSED_OVER: i64 = 100;

pub(super) async fn last_cause(
    transaction: &mut Transaction,
    zone: &ZoneId,
    key: &RecordKey,
) -> Result<Option<(BatchId, Cause)>, StoreError> {
    let arguments = [
        key.name.as_str().into(),
        zone.as_str().into(),
        key.rtype.as_str().into(),
        key.set_identifier.as_ref().map(ToString::to_string).into(),
        PASSED_OVER.into(),
    ];
    for row in transaction.fetch(LAST_CAUSE, arguments).await? {
        let change: Change = from_json("change", row.text("change")?)?;
        if change.key == *key {
            return Ok(Some((codec::batch_id(row.bytes("batch_id")?)?, change.cause)));
        }
    }
    Ok(None)
}
