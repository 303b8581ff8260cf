//! Accepted sets of rules. They are kept: what was decided is explained by the rules of its time.

use super::audit;
use super::codec::{from_json, to_json, to_signed, to_unsigned};
use super::error::corrupt;
use super::feed::{self, Piece};
use super::transaction::Transaction;
use super::value::Row;
use crate::core::audit::AuditEntry;
use crate::core::governance::ruleset::RulesDigest;
use crate::core::time::Timestamp;
use crate::ports::{ReplicaId, RuleSetRow, StoreError};

const LATEST: &str = "
    select number, digest, files, rules, accepted_at, accepted_by, reason from rule_sets order by number desc limit 1";

pub(super) async fn latest(
    transaction: &mut Transaction,
) -> Result<Option<RuleSetRow>, StoreError> {
    transaction.fetch_optional(LATEST, []).await?.as_ref().map(read).transpose()
}

/// The number of the set that counts; 0 before the first.
pub(super) async fn number(transaction: &mut Transaction) -> Result<u64, StoreError> {
    let query = "select coalesce(max(number), 0) as number from rule_sets";
    let row = transaction.fetch_optional(query, []).await?;
    row.map_or(Ok(0), |row| to_unsigned("number of a set of rules", row.int("number")?))
}

const NUMBERED: &str = "
    select number, digest, files, rules, accepted_at, accepted_by, reason from rule_sets where number = $1";

pub(super) async fn numbered(
    transaction: &mut Transaction,
    number: u64,
) -> Result<Option<RuleSetRow>, StoreError> {
    let number = to_signed("number of a set of rules", number)?;
    transaction.fetch_optional(NUMBERED, [number.into()]).await?.as_ref().map(read).transpose()
}

/// The set that counted at a moment.
pub(super) async fn at(
    transaction: &mut Transaction,
    at: Timestamp,
) -> Result<Option<RuleSetRow>, StoreError> {
    const AT: &str = "
        select number, digest, files, rules, accepted_at, accepted_by, reason from rule_sets
         where accepted_at <= $1 order by number desc limit 1";
    transaction.fetch_optional(AT, [at.0.into()]).await?.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<RuleSetRow, StoreError> {
    Ok(RuleSetRow {
        number: to_unsigned("number of a set of rules", row.int("number")?)?,
        digest: digest(row.bytes("digest")?)?,
        files: digest(row.bytes("files")?)?,
        rules: from_json("set of rules", row.text("rules")?)?,
        at: Timestamp(row.int("accepted_at")?),
        by: row.text("accepted_by")?.to_owned(),
        reason: row.text_or_null("reason")?.map(str::to_owned),
    })
}

fn digest(bytes: &[u8]) -> Result<RulesDigest, StoreError> {
    bytes.try_into().map(RulesDigest).map_err(|error| corrupt("digest of rules", error))
}

pub(super) async fn files_were_accepted(
    transaction: &mut Transaction,
    files: RulesDigest,
) -> Result<bool, StoreError> {
    let query = "select number from rule_sets where files = $1 limit 1";
    Ok(transaction.fetch_optional(query, [files.0.to_vec().into()]).await?.is_some())
}

/// Two replicas may try the same number at once: one waits for the other, and finds the number taken.
const ACCEPT: &str = "
    insert into rule_sets (number, digest, files, rules, accepted_at, accepted_by, reason)
    select $1, $2, $3, $4, $5, $6, $7 where (select coalesce(max(number), 0) from rule_sets) = $1 - 1
    on conflict (number) do nothing returning number";

pub(super) async fn accept(
    transaction: &mut Transaction,
    origin: ReplicaId,
    set: &RuleSetRow,
    decided: &[AuditEntry],
) -> Result<bool, StoreError> {
    let arguments = [
        to_signed("number of a set of rules", set.number)?.into(),
        set.digest.0.to_vec().into(),
        set.files.0.to_vec().into(),
        to_json(&set.rules)?.into(),
        set.at.0.into(),
        set.by.clone().into(),
        set.reason.clone().into(),
    ];
    if transaction.fetch(ACCEPT, arguments).await?.is_empty() {
        return Ok(false);
    }
    audit::append(transaction, decided).await?;
    feed::append(transaction, origin, vec![Piece::rules(set.number)]).await?;
    Ok(true)
}
