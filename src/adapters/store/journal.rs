//! The journal: intents and their outcomes, in one hash chain for each account.
//!
//! An entry's hash is SHA-256 over the hash before it, its number and its text, so an entry that is changed, moved or taken
//! out breaks the chain from there on. The end of the chain is kept apart, so that cutting it short shows too, and so is its
//! beginning once retention has cut it. The text
//! is stored as it was hashed: canonical means that nothing formats it again.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::codec::{batch_bytes, from_json, known_json, outcome, parse, to_json, to_unsigned};
use super::error::corrupt;
use super::names::{intern_clusters, known, zone_numbers};
use super::transaction::Transaction;
use super::value::{Input, Kind, Row};
use super::zones::{claim_clusters, claim_zones, record_clusters, write_claims, write_records};
use super::{audit, requests, rules};
use crate::core::audit::{AuditEntry, AuditKind, AuditScope};
use crate::core::dns::name::DnsName;
use crate::core::governance::actor::Actor;
use crate::core::ids::{AccountId, BatchId, ClusterId};
use crate::core::planning::change::{Batch, Change, Motive};
use crate::core::time::Timestamp;
use crate::ports::{
    BatchOutcome, BatchRow, ChainCheck, ClaimWrite, CountedRow, RecordWrite, StoreError,
};

/// Entries read at once while a chain is walked; each may hold a whole batch.
const WALK_ENTRIES: i64 = 200;

/// How a batch ends, and what ends with it.
pub(super) struct Ending<'a> {
    pub(super) outcome: &'a BatchOutcome,
    pub(super) writes: &'a [RecordWrite],
    pub(super) claims: &'a [ClaimWrite],
    pub(super) at: Timestamp,
}

/// An entry as it is written.
#[derive(Serialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub(super) enum Entry<'a> {
    /// The batch is about to be sent.
    Intent { batch: &'a Batch, claims: Vec<ClaimEntry<'a>> },
    /// The outcome of the batch.
    Outcome {
        batch: BatchId,
        at: Timestamp,
        outcome: &'a BatchOutcome,
        claims: Vec<ClaimEntry<'a>>,
    },
    /// Retention removed everything up to this entry, whose hash is the anchor of the rest.
    Cut { through: i64, hash: String, at: Timestamp },
}

impl Entry<'_> {
    /// A cut behind an entry.
    pub(super) fn cut(through: i64, hash: &Hash, at: Timestamp) -> Self {
        Self::Cut { through, hash: hex(hash), at }
    }
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The entry of a cut, read back.
#[derive(Deserialize)]
struct Cut {
    through: i64,
    hash: String,
}

/// How the text of a cut begins, and of nothing else.
const CUT: &str = r#"{"entry":"cut","#;

/// A claim that begins or ends with a batch; without a cluster it is released.
#[derive(Serialize)]
pub(super) struct ClaimEntry<'a> {
    zone: &'a str,
    name: &'a DnsName,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a ClusterId>,
}

impl<'a> ClaimEntry<'a> {
    fn all(writes: &'a [ClaimWrite]) -> Vec<Self> {
        let entry = |write: &'a ClaimWrite| match write {
            ClaimWrite::Hold(row) => {
                Self { zone: row.zone.as_str(), name: &row.name, cluster: Some(&row.cluster) }
            }
            ClaimWrite::Release { zone, name } => Self { zone: zone.as_str(), name, cluster: None },
        };
        writes.iter().map(entry).collect()
    }
}

/// The part of an intent that is read back.
#[derive(Deserialize)]
struct Intent {
    batch: Batch,
}

pub(super) type Hash = [u8; 32];

/// The hash before an account's first entry. It names the account, so one account's chain is never another's.
fn genesis(account: &AccountId) -> Hash {
    Sha256::new_with_prefix(b"zonefold.v1.journal").chain_update(account.as_str()).finalize().into()
}

fn link(before: &Hash, seq: i64, entry: &str) -> Hash {
    Sha256::new_with_prefix(before)
        .chain_update(seq.to_be_bytes())
        .chain_update(entry)
        .finalize()
        .into()
}

pub(super) fn hash(bytes: &[u8]) -> Result<Hash, StoreError> {
    bytes
        .try_into()
        .map_err(|_| corrupt("journal hash", format_args!("it has {} bytes", bytes.len())))
}

/// An entry's number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChainLink {
    pub(super) seq: i64,
    pub(super) hash: Hash,
}

impl ChainLink {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self { seq: row.int("seq")?, hash: hash(row.bytes("hash")?)? })
    }

    /// The link before the first entry.
    fn genesis(account: &AccountId) -> Self {
        Self { seq: 0, hash: genesis(account) }
    }
}

/// The end of an account's chain, locked until the commit; `None` if it has not begun.
pub(super) async fn head(
    transaction: &mut Transaction,
    account: &AccountId,
) -> Result<Option<ChainLink>, StoreError> {
    let query = format!(
        "select seq, hash from journal_heads where account = $1{}",
        transaction.for_update()
    );
    let row = transaction.fetch_optional(&query, [account.as_str().into()]).await?;
    row.map(|row| ChainLink::read(&row)).transpose()
}

/// Where an account's chain begins; `None` if it was never cut.
pub(super) async fn anchor(
    transaction: &mut Transaction,
    account: &AccountId,
) -> Result<Option<ChainLink>, StoreError> {
    let query = "select seq, hash from journal_anchors where account = $1";
    let row = transaction.fetch_optional(query, [account.as_str().into()]).await?;
    row.map(|row| ChainLink::read(&row)).transpose()
}

/// Appends one entry and returns its number. The chain's end is locked until the commit, so a chain never forks.
pub(super) async fn append(
    transaction: &mut Transaction,
    account: &AccountId,
    entry: &Entry<'_>,
) -> Result<i64, StoreError> {
    let start = "insert into journal_heads (account, seq, hash) values ($1, 0, $2) on conflict (account) do nothing";
    transaction.execute(start, [account.as_str().into(), genesis(account).into()]).await?;
    let end = head(transaction, account).await?;
    let last =
        end.ok_or_else(|| corrupt("journal", format_args!("the chain of {account} has no end")))?;
    let (seq, text) = (last.seq + 1, to_json(entry)?);
    let hash = link(&last.hash, seq, &text);
    let insert = "insert into journal (account, seq, hash, entry) values ($1, $2, $3, $4)";
    transaction
        .execute(insert, [account.as_str().into(), seq.into(), hash.into(), text.into()])
        .await?;
    let update = "update journal_heads set seq = $2, hash = $3 where account = $1";
    transaction.execute(update, [account.as_str().into(), seq.into(), hash.into()]).await?;
    Ok(seq)
}

const BEGIN: &str = "
    insert into batches (batch_id, account, journal_seq, zone_id, planned_at, counted) values ($1, $2, $3, $4, $5, $6)
    on conflict (batch_id) do nothing";

/// Journals a batch and takes its claims. An id that was begun before is refused: it may be on its way already. So is one that was
/// planned by older rules: what newer ones forbid is not sent.
pub(super) async fn begin(
    transaction: &mut Transaction,
    batch: &Batch,
    claims: &[ClaimWrite],
) -> Result<(), StoreError> {
    let (planned, number) = (batch.stamp.rules, rules::number(transaction).await?);
    if planned < number {
        return Err(StoreError::OlderRules { planned, number });
    }
    let zones = zone_numbers(transaction, claim_zones(claims).chain([&batch.zone])).await?;
    let zone = known(&zones, &batch.zone)?;
    let of_changes = batch.changes().map(|change| &change.cause.cluster);
    let clusters = intern_clusters(transaction, of_changes.chain(claim_clusters(claims))).await?;
    let entry = Entry::Intent { batch, claims: ClaimEntry::all(claims) };
    let seq = append(transaction, &batch.account, &entry).await?;
    let arguments = [
        batch_bytes(batch.id).into(),
        batch.account.as_str().into(),
        seq.into(),
        zone.into(),
        batch.planned_at.0.into(),
        match batch.stamp.counted.is_empty() {
            true => None::<String>.into(),
            false => to_json(&batch.stamp.counted)?.into(),
        },
    ];
    if transaction.execute(BEGIN, arguments).await? == 0 {
        return Err(StoreError::Refused(format!(
            "batch {} was begun before; read back its outcome",
            batch.id
        )));
    }
    let mut input = Input::new(CHANGES);
    for (ordinal, change) in (0..).zip(batch.changes()) {
        let cluster = known(&clusters, &change.cause.cluster)?;
        push_change(&mut input, ordinal, batch, zone, cluster, change)?;
    }
    transaction.execute_bulk(INSERT_CHANGES, input).await?;
    requests::note_batch(transaction, batch.id, &batch.stamp.released).await?;
    write_claims(transaction, claims, &zones, &clusters, Some(batch.planned_at)).await?;
    let decided = decided_by_itself(transaction, batch).await?;
    audit::append(transaction, &decided).await
}

/// What the broker decides with a batch by itself: to put back what another writer changed, and to take over what it did not make.
async fn decided_by_itself(
    transaction: &mut Transaction,
    batch: &Batch,
) -> Result<Vec<AuditEntry>, StoreError> {
    let mut entries = vec![];
    for (motive, kind) in
        [(Motive::Repair, AuditKind::DriftRepaired), (Motive::Adopt, AuditKind::RecordAdopted)]
    {
        let changes = batch.changes().filter(|change| change.cause.motive == motive);
        let names: BTreeSet<String> = changes.map(|change| change.key.name.to_string()).collect();
        if names.is_empty() {
            continue;
        }
        let apex = "select name, environment from zones where zone = $1";
        let apex = transaction.fetch_optional(apex, [batch.zone.as_str().into()]).await?;
        let said = |column: &str| apex.as_ref().map(|row| row.text(column)).transpose();
        let scope = AuditScope {
            environment: said("environment")?.map(|text| parse("environment", text)).transpose()?,
            account: Some(batch.account.clone()),
            zone: said("name")?.map(|text| parse("name of a zone", text)).transpose()?,
            zone_id: Some(batch.zone.clone()),
            ..AuditScope::default()
        };
        entries.push(AuditEntry {
            scope: scope.named(names),
            batch: Some(batch.id),
            rules: Some(batch.stamp.rules),
            ..AuditEntry::new(batch.planned_at, Actor::Broker, kind)
        });
    }
    Ok(entries)
}

const CHANGES: &[(&str, Kind)] = &[
    ("ordinal", Kind::Int),
    ("batch_id", Kind::Bytes),
    ("zone_id", Kind::Int),
    ("cluster_id", Kind::Int),
    ("name", Kind::Text),
    ("rtype", Kind::Text),
    ("change", Kind::Text),
    ("set_identifier", Kind::Text),
    ("action", Kind::Text),
];

const INSERT_CHANGES: &str = "
    insert into changes (batch_id, zone_id, cluster_id, name, rtype, change, set_identifier, action)
    select batch_id, zone_id, cluster_id, name, rtype, change, set_identifier, action from input order by ordinal";

/// The word for what a change does.
pub(super) fn action(change: &Change) -> &'static str {
    match (&change.before, &change.after) {
        (None, _) => "create",
        (Some(_), None) => "delete",
        (Some(_), Some(_)) => "update",
    }
}

fn push_change(
    input: &mut Input,
    ordinal: i64,
    batch: &Batch,
    zone: i64,
    cluster: i64,
    change: &Change,
) -> Result<(), StoreError> {
    input.push([
        ordinal.into(),
        batch_bytes(batch.id).into(),
        zone.into(),
        cluster.into(),
        change.key.name.as_str().into(),
        change.key.rtype.as_str().into(),
        to_json(change)?.into(),
        change.key.set_identifier.as_ref().map(ToString::to_string).into(),
        action(change).to_owned().into(),
    ]);
    Ok(())
}

/// Journals the outcome and applies what follows from it. The same outcome again changes nothing; another one is refused.
pub(super) async fn finish(
    transaction: &mut Transaction,
    batch: &Batch,
    ending: &Ending<'_>,
) -> Result<(), StoreError> {
    let zones = zone_numbers(transaction, claim_zones(ending.claims).chain([&batch.zone])).await?;
    let owners = record_clusters(ending.writes).chain(claim_clusters(ending.claims));
    let clusters = intern_clusters(transaction, owners).await?;
    let query =
        format!("select outcome from batches where batch_id = $1{}", transaction.for_update());
    let row = transaction.fetch_optional(&query, [batch_bytes(batch.id).into()]).await?;
    let row =
        row.ok_or_else(|| StoreError::Refused(format!("batch {} was never begun", batch.id)))?;
    if let Some(text) = row.text_or_null("outcome")? {
        let before: Option<BatchOutcome> = known_json("batch outcome", text)?;
        return if before.as_ref() == Some(ending.outcome) {
            Ok(())
        } else {
            Err(StoreError::Refused(format!(
                "batch {} ended before, with another outcome",
                batch.id
            )))
        };
    }
    let entry = Entry::Outcome {
        batch: batch.id,
        at: ending.at,
        outcome: ending.outcome,
        claims: ClaimEntry::all(ending.claims),
    };
    append(transaction, &batch.account, &entry).await?;
    let applied = i64::from(ending.outcome.is_done());
    let update =
        "update batches set outcome = $2, applied = $3, finished_at = $4 where batch_id = $1";
    let arguments = [
        batch_bytes(batch.id).into(),
        to_json(ending.outcome)?.into(),
        applied.into(),
        ending.at.0.into(),
    ];
    transaction.execute(update, arguments).await?;
    if ending.outcome.is_done() {
        requests::use_up(transaction, &batch.stamp.released).await?;
    }
    write_records(transaction, known(&zones, &batch.zone)?, ending.writes, &clusters).await?;
    write_claims(transaction, ending.claims, &zones, &clusters, Some(ending.at)).await
}

const COUNTED: &str = "
    select b.finished_at, b.counted, z.zone from batches b join zones z on z.id = b.zone_id
     where b.account = $1 and b.finished_at >= $2 and b.applied = 1 and b.counted is not null
     order by b.finished_at, b.journal_seq";

/// What guards count of the batches that were applied since.
pub(super) async fn counted(
    transaction: &mut Transaction,
    account: &AccountId,
    since: Timestamp,
) -> Result<Vec<CountedRow>, StoreError> {
    let rows = transaction.fetch(COUNTED, [account.as_str().into(), since.0.into()]).await?;
    let read = |row: &Row| {
        Ok(CountedRow {
            at: Timestamp(row.int("finished_at")?),
            zone: parse("zone id", row.text("zone")?)?,
            counted: from_json("count of a batch", row.text("counted")?)?,
        })
    };
    rows.iter().map(read).collect()
}

/// The batches in doubt, from their intents.
pub(super) async fn open(
    transaction: &mut Transaction,
    account: &AccountId,
) -> Result<Vec<BatchRow>, StoreError> {
    let query = "
        select j.entry from batches b join journal j on j.account = b.account and j.seq = b.journal_seq
         where b.account = $1 and b.outcome is null order by b.journal_seq";
    let rows = transaction.fetch(query, [account.as_str().into()]).await?;
    rows.iter()
        .map(|row| {
            let Intent { batch } = from_json("journal entry", row.text("entry")?)?;
            Ok(BatchRow { batch, outcome: None, finished_at: None })
        })
        .collect()
}

/// How the last batches of an account ended. Batches are journalled about in the order in which they were planned, so the index is
/// walked from its end to the first that is too old.
const LAST_ENDS: &str = "
    select journal_seq, outcome, finished_at, applied from batches
     where account = $1 and outcome is not null and journal_seq > coalesce((
           select old.journal_seq from batches old where old.account = $1 and old.planned_at < $2
            order by old.journal_seq desc limit 1), 0)
     order by journal_seq";

/// The batches that may come late, from their intents.
pub(super) async fn lost(
    transaction: &mut Transaction,
    account: &AccountId,
    since: Timestamp,
) -> Result<Vec<BatchRow>, StoreError> {
    let mut lost = vec![];
    for row in transaction.fetch(LAST_ENDS, [account.as_str().into(), since.0.into()]).await? {
        let known: Option<BatchOutcome> = known_json("batch outcome", row.text("outcome")?)?;
        // Few are, and one that ended in a way that is unknown here may be: each is looked up by itself.
        if known.is_none_or(|known| known.may_come_late()) {
            let seq = row.int("journal_seq")?;
            let query = "select entry from journal where account = $1 and seq = $2";
            let intent =
                transaction.fetch_optional(query, [account.as_str().into(), seq.into()]).await?;
            let intent = intent
                .ok_or_else(|| corrupt(format_args!("journal entry {seq}"), "it is missing"))?;
            let Intent { batch } = from_json("journal entry", intent.text("entry")?)?;
            lost.push(BatchRow {
                batch,
                outcome: Some(outcome(
                    row.text("outcome")?,
                    row.int_or_null("applied")? == Some(1),
                )?),
                finished_at: row.int_or_null("finished_at")?.map(Timestamp),
            });
        }
    }
    Ok(lost)
}

/// One page of a chain with its end and its anchor, read in one statement: entries that others append meanwhile fit the end
/// read with them.
const WALK: &str = "
    select h.seq as end_seq, h.hash as end_hash, j.seq as seq, j.hash as hash, j.entry as entry,
           a.seq as anchor_seq
      from (select 1 as always) one
      left join journal_heads h on h.account = $1
      left join journal_anchors a on a.account = $1
      left join journal j on j.account = $1 and j.seq > $2
     order by j.seq limit $3";

/// Walks the chain from its anchor. An anchor that the chain does not name is a fault at the first kept number.
pub(super) async fn verify(
    transaction: &mut Transaction,
    account: &AccountId,
) -> Result<ChainCheck, StoreError> {
    let number = |seq: i64| to_unsigned("journal entry", seq);
    let begin = anchor(transaction, account).await?;
    let first = begin.unwrap_or_else(|| ChainLink::genesis(account));
    let mut last = first;
    let mut named = None;
    loop {
        let rows = transaction
            .fetch(WALK, [account.as_str().into(), last.seq.into(), WALK_ENTRIES.into()])
            .await?;
        let mut end = ChainLink::genesis(account);
        let mut walked = 0;
        for row in &rows {
            if let (Some(seq), Some(bytes)) =
                (row.int_or_null("end_seq")?, row.bytes_or_null("end_hash")?)
            {
                end = ChainLink { seq, hash: hash(bytes)? };
            }
            if row.int_or_null("anchor_seq")? != begin.map(|begin| begin.seq) {
                return Err(StoreError::Unavailable(
                    "the journal was cut while it was verified; verify it again".to_owned(),
                ));
            }
            let Some(found) = row.int_or_null("seq")? else { continue };
            let text = row.text("entry")?;
            let expected = link(&last.hash, last.seq + 1, text);
            if found != last.seq + 1 || row.bytes("hash")? != expected {
                return Ok(ChainCheck::BrokenAt(number(last.seq + 1)?));
            }
            if text.starts_with(CUT) {
                named = Some(from_json::<Cut>("journal entry", text)?);
            }
            last = ChainLink { seq: last.seq + 1, hash: expected };
            walked += 1;
        }
        if walked < WALK_ENTRIES {
            let at_fault = match end.seq.cmp(&last.seq) {
                Ordering::Less => Some(end.seq + 1),
                Ordering::Greater => Some(last.seq + 1),
                Ordering::Equal if end.hash != last.hash => Some(last.seq),
                Ordering::Equal => {
                    (!names_anchor(named.as_ref(), begin.as_ref())).then_some(first.seq + 1)
                }
            };
            return Ok(match at_fault {
                Some(seq) => ChainCheck::BrokenAt(number(seq)?),
                None => ChainCheck::Whole(number(last.seq - first.seq)?),
            });
        }
    }
}

/// Whether the newest cut of a chain is the one that its anchor stands for.
fn names_anchor(cut: Option<&Cut>, anchor: Option<&ChainLink>) -> bool {
    match (cut, anchor) {
        (None, None) => true,
        (Some(cut), Some(anchor)) => cut.through == anchor.seq && cut.hash == hex(&anchor.hash),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_account_place_and_text() {
        let account = |digits: &str| AccountId::parse(digits).unwrap();
        let base = genesis(&account("111111111111"));
        assert_ne!(base, genesis(&account("222222222222")));
        let first = link(&base, 1, "{}");
        assert_ne!(first, link(&base, 2, "{}"));
        assert_ne!(first, link(&base, 1, "{ }"));
        assert_ne!(first, link(&first, 1, "{}"));
    }
}
