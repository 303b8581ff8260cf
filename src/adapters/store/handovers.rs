//! Hand-overs, and what accounts said of them.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::codec::{from_json, parse, to_json, to_signed};
use super::feed::{self, Piece};
use super::transaction::Transaction;
use super::value::Row;
use crate::core::governance::handover::{Handover, HandoverReport};
use crate::core::ids::AccountId;
use crate::ports::{ReplicaId, StoreError};

fn id_bytes(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

fn read(row: &Row) -> Result<Handover, StoreError> {
    from_json("hand-over", row.text("body")?)
}

const OPEN: &str =
    "select body from handovers where is_over = 0 order by staged_at desc, handover_id desc";

const OVER: &str = "
    select body from handovers where is_over = 1 order by staged_at desc, handover_id desc limit $1";

pub(super) async fn list(
    transaction: &mut Transaction,
    over: u32,
) -> Result<Vec<Handover>, StoreError> {
    let mut found: Vec<Handover> =
        transaction.fetch(OPEN, []).await?.iter().map(read).collect::<Result<_, _>>()?;
    if over > 0 {
        let rows = transaction.fetch(OVER, [i64::from(over).into()]).await?;
        found.extend(rows.iter().map(read).collect::<Result<Vec<_>, _>>()?);
        found.sort_by_key(|handover| std::cmp::Reverse((handover.at, handover.id)));
    }
    Ok(found)
}

pub(super) async fn by_id(
    transaction: &mut Transaction,
    id: Uuid,
) -> Result<Option<Handover>, StoreError> {
    let query = "select body from handovers where handover_id = $1";
    transaction.fetch_optional(query, [id_bytes(id).into()]).await?.as_ref().map(read).transpose()
}

const INSERT: &str = "
    insert into handovers (handover_id, version, is_over, staged_at, body) values ($1, $2, $3, $4, $5)
    on conflict (handover_id) do nothing";

const UPDATE: &str = "
    update handovers set version = $2, is_over = $3, staged_at = $4, body = $5
     where handover_id = $1 and version = $2 - 1";

pub(super) async fn save(
    transaction: &mut Transaction,
    origin: ReplicaId,
    handover: &Handover,
) -> Result<bool, StoreError> {
    let arguments = [
        id_bytes(handover.id).into(),
        to_signed("version of a hand-over", handover.version)?.into(),
        i64::from(handover.phase.is_over()).into(),
        handover.at.0.into(),
        to_json(handover)?.into(),
    ];
    let write = if handover.version == 1 { INSERT } else { UPDATE };
    if transaction.execute(write, arguments).await? == 0 {
        return Ok(false);
    }
    feed::append(transaction, origin, vec![Piece::handovers()]).await?;
    Ok(true)
}

pub(super) async fn reports(
    transaction: &mut Transaction,
    id: Uuid,
) -> Result<BTreeMap<AccountId, HandoverReport>, StoreError> {
    let query = "select account, body from handover_reports where handover_id = $1";
    let rows = transaction.fetch(query, [id_bytes(id).into()]).await?;
    let read = |row: &Row| {
        let report = from_json("report on a hand-over", row.text("body")?)?;
        Ok((parse("account id", row.text("account")?)?, report))
    };
    rows.iter().map(read).collect()
}

const REPORT: &str = "
    insert into handover_reports (handover_id, account, version, body) values ($1, $2, $3, $4)
    on conflict (handover_id, account) do update set version = excluded.version, body = excluded.body
     where handover_reports.version <= excluded.version";

pub(super) async fn save_report(
    transaction: &mut Transaction,
    id: Uuid,
    account: &AccountId,
    report: &HandoverReport,
) -> Result<(), StoreError> {
    let arguments = [
        id_bytes(id).into(),
        account.as_str().into(),
        to_signed("version of a hand-over", report.version)?.into(),
        to_json(report)?.into(),
    ];
    transaction.execute(REPORT, arguments).await.map(drop)
}
