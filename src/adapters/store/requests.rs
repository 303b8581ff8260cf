//! What needs the word of people, and the units that they let go.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::audit;
use super::codec::{batch_bytes, from_json, to_json, to_signed};
use super::error::corrupt;
use super::feed::{self, Piece};
use super::transaction::Transaction;
use super::value::{Input, Kind, Row};
use crate::core::audit::AuditEntry;
use crate::core::ids::BatchId;
use crate::core::planning::unit_digest::UnitDigest;
use crate::core::release::request::ReleaseRequest;
use crate::core::time::Timestamp;
use crate::ports::{ApprovalRow, ReplicaId, RequestFilter, StoreError};

fn id_bytes(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

fn read(row: &Row) -> Result<ReleaseRequest, StoreError> {
    from_json("request", row.text("body")?)
}

const LIST: &str = "
    select body from requests
     where ($1 is null or state = $1) and ($2 is null or digest = $2)
       and ($3 is null or made_at < $3 or (made_at = $3 and request_id < $4))
     order by made_at desc, request_id desc limit $5";

pub(super) async fn list(
    transaction: &mut Transaction,
    filter: &RequestFilter,
) -> Result<Vec<ReleaseRequest>, StoreError> {
    let arguments = [
        filter.state.map(|state| state.as_str().to_owned()).into(),
        filter.digest.map(|digest| digest.0.to_vec()).into(),
        filter.before.map(|(at, _)| at.0).into(),
        filter.before.map(|(_, id)| id_bytes(id)).into(),
        i64::from(filter.limit).into(),
    ];
    transaction.fetch(LIST, arguments).await?.iter().map(read).collect()
}

pub(super) async fn by_id(
    transaction: &mut Transaction,
    id: Uuid,
) -> Result<Option<ReleaseRequest>, StoreError> {
    let query = "select body from requests where request_id = $1";
    transaction.fetch_optional(query, [id_bytes(id).into()]).await?.as_ref().map(read).transpose()
}

const INSERT: &str = "
    insert into requests (request_id, version, state, digest, made_at, body) values ($1, $2, $3, $4, $5, $6)
    on conflict (request_id) do nothing";

const UPDATE: &str = "
    update requests set version = $2, state = $3, digest = $4, made_at = $5, body = $6
     where request_id = $1 and version = $2 - 1";

const APPROVALS: &[(&str, Kind)] = &[
    ("unit", Kind::Bytes),
    ("request_id", Kind::Bytes),
    ("given_at", Kind::Int),
    ("until", Kind::Int),
];

const APPROVE: &str = "
    insert into approvals (unit, request_id, given_at, until)
    select unit, request_id, given_at, until from input where true on conflict (unit, request_id) do nothing";

pub(super) async fn save(
    transaction: &mut Transaction,
    origin: ReplicaId,
    request: &ReleaseRequest,
    released: &[ApprovalRow],
    decided: &[AuditEntry],
) -> Result<bool, StoreError> {
    let arguments = [
        id_bytes(request.id).into(),
        to_signed("version of a request", request.version)?.into(),
        request.state.as_str().into(),
        request.digest.0.to_vec().into(),
        request.at.0.into(),
        to_json(request)?.into(),
    ];
    let write = if request.version == 1 { INSERT } else { UPDATE };
    if transaction.execute(write, arguments).await? == 0 {
        return Ok(false);
    }
    if !released.is_empty() {
        let mut input = Input::new(APPROVALS);
        for approval in released {
            input.push([
                approval.unit.0.to_vec().into(),
                id_bytes(approval.request).into(),
                approval.at.0.into(),
                approval.until.0.into(),
            ]);
        }
        transaction.execute_bulk(APPROVE, input).await?;
    }
    audit::append(transaction, decided).await?;
    if !released.is_empty() {
        feed::append(transaction, origin, vec![Piece::approvals()]).await?;
    }
    Ok(true)
}

pub(super) async fn approvals(
    transaction: &mut Transaction,
) -> Result<Vec<ApprovalRow>, StoreError> {
    let query = "select unit, request_id, given_at, until from approvals order by unit, request_id";
    let rows = transaction.fetch(query, []).await?;
    let read = |row: &Row| {
        let unit = row.bytes("unit")?.try_into().map(UnitDigest);
        let request = Uuid::from_slice(row.bytes("request_id")?);
        Ok(ApprovalRow {
            unit: unit.map_err(|error| corrupt("digest of a unit", error))?,
            request: request.map_err(|error| corrupt("id of a request", error))?,
            at: Timestamp(row.int("given_at")?),
            until: Timestamp(row.int("until")?),
        })
    };
    rows.iter().map(read).collect()
}

/// Notes which requests let units of a batch go: their words are used up with it.
pub(super) async fn note_batch(
    transaction: &mut Transaction,
    batch: BatchId,
    units: &BTreeSet<UnitDigest>,
) -> Result<(), StoreError> {
    let mut input = Input::new(&[("batch_id", Kind::Bytes), ("unit", Kind::Bytes)]);
    let id = batch_bytes(batch);
    units.iter().for_each(|unit| input.push([id.clone().into(), unit.0.to_vec().into()]));
    let note = "
        insert into batch_requests (batch_id, request_id)
        select distinct input.batch_id, approvals.request_id from input join approvals on approvals.unit = input.unit
         where true on conflict (batch_id, request_id) do nothing";
    transaction.execute_bulk(note, input).await.map(drop)
}

/// Units went: the words that let them go are for nothing else.
pub(super) async fn use_up(
    transaction: &mut Transaction,
    units: &BTreeSet<UnitDigest>,
) -> Result<(), StoreError> {
    if units.is_empty() {
        return Ok(());
    }
    let mut input = Input::new(&[("unit", Kind::Bytes)]);
    units.iter().for_each(|unit| input.push([unit.0.to_vec().into()]));
    let delete = "delete from approvals where unit in (select unit from input)";
    transaction.execute_bulk(delete, input).await.map(drop)
}
