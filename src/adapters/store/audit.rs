//! The audit: one chain for the whole store, appended by all replicas.
//!
//! The end of the chain is a row that is locked until the commit, so a chain never forks; a transaction takes that lock after all
//! others but the feed's, and is not long in it. The columns beside the text are made from it and are what is searched by; verifying
//! compares them.

use std::cmp::Ordering;

use async_trait::async_trait;
use tracing::Instrument as _;
use uuid::Uuid;

use super::codec::{from_json, to_json, to_unsigned};
use super::error::corrupt;
use super::transaction::Transaction;
use super::value::{Input, Kind, Row, Value};
use super::{SqlStore, in_transaction};
use crate::core::audit::{AuditEntry, AuditHash, AuditKind, genesis, hex, link};
use crate::core::dns::name::DnsName;
use crate::core::governance::actor::Actor;
use crate::core::time::Timestamp;
use crate::ports::{
    AuditFilter, AuditLink, AuditRow, AuditTrail, ChainCheck, ChainPage, ChainedText, StoreError,
};

/// Entries that are read at once while the chain is walked.
const WALK_ENTRIES: u32 = 500;
/// The rows of the two ends.
const BEGINNING: i64 = 0;
const END: i64 = 1;

#[async_trait]
impl AuditTrail for SqlStore {
    async fn append_audit(&self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        in_transaction!(self.writing(), append, entries)
    }

    async fn append_news(
        &self,
        kinds: &[AuditKind],
        entries: &[AuditEntry],
    ) -> Result<u64, StoreError> {
        if entries.is_empty() {
            return Ok(0);
        }
        in_transaction!(self.writing(), append_news, kinds, entries)
    }

    async fn newest_audit(&self, kinds: &[AuditKind]) -> Result<Vec<AuditRow>, StoreError> {
        in_transaction!(self.reading(), newest, kinds)
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        in_transaction!(self.reading(), list, filter)
    }

    async fn audit_chain(&self, after: i64, limit: u32) -> Result<ChainPage, StoreError> {
        in_transaction!(self.reading(), chain, after, limit)
    }

    async fn verify_audit(&self) -> Result<ChainCheck, StoreError> {
        in_transaction!(self.reading(), verify)
    }

    async fn prune_audit(
        &self,
        before: Timestamp,
        most: u32,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        in_transaction!(self.writing(), prune, before, most, at)
    }
}

fn hash(bytes: &[u8]) -> Result<AuditHash, StoreError> {
    bytes
        .try_into()
        .map_err(|_| corrupt("audit hash", format_args!("it has {} bytes", bytes.len())))
}

/// One end of the chain; without a row it is the one before the first entry.
async fn end(
    transaction: &mut Transaction,
    which: i64,
    lock: &str,
) -> Result<AuditLink, StoreError> {
    let query = format!("select seq, hash from audit_ends where id = $1{lock}");
    match transaction.fetch_optional(&query, [which.into()]).await? {
        Some(row) => Ok(AuditLink { seq: row.int("seq")?, hash: hash(row.bytes("hash")?)? }),
        None => Ok(AuditLink { seq: 0, hash: genesis() }),
    }
}

/// Locks the end of the chain until the commit.
async fn lock_end(transaction: &mut Transaction) -> Result<AuditLink, StoreError> {
    let start =
        "insert into audit_ends (id, seq, hash) values ($1, 0, $2) on conflict (id) do nothing";
    transaction.execute(start, [END.into(), genesis().into()]).await?;
    let lock = transaction.for_update();
    end(transaction, END, lock).await
}

const ROWS: &[(&str, Kind)] = &[
    ("seq", Kind::Int),
    ("at", Kind::Int),
    ("hash", Kind::Bytes),
    ("request_id", Kind::Bytes),
    ("kind", Kind::Text),
    ("actor", Kind::Text),
    ("subject", Kind::Text),
    ("environment", Kind::Text),
    ("account", Kind::Text),
    ("zone", Kind::Text),
    ("zone_id", Kind::Text),
    ("cluster", Kind::Text),
    ("team", Kind::Text),
    ("entry", Kind::Text),
];

const INSERT: &str = "
    insert into audit (seq, at, hash, request_id, kind, actor, subject, environment, account, zone, zone_id, cluster, team, entry)
    select seq, at, hash, request_id, kind, actor, subject, environment, account, zone, zone_id, cluster, team, entry from input
     order by seq";

const INSERT_NAMES: &str = "
    insert into audit_names (name, seq) select name, seq from input where true on conflict (name, seq) do nothing";

/// Appends entries. The end is locked from here on until the commit.
pub(super) async fn append(
    transaction: &mut Transaction,
    entries: &[AuditEntry],
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut last = lock_end(transaction).await?;
    let (mut rows, mut names) =
        (Input::new(ROWS), Input::new(&[("name", Kind::Text), ("seq", Kind::Int)]));
    for entry in entries {
        let (seq, text) = (last.seq + 1, to_json(entry)?);
        last = AuditLink { seq, hash: link(&last.hash, seq, &text) };
        rows.push(columns(&last, entry, text));
        for name in &entry.scope.names {
            names.push([name.to_ascii_lowercase().into(), seq.into()]);
        }
    }
    transaction.execute_bulk(INSERT, rows).await?;
    transaction.execute_bulk(INSERT_NAMES, names).await?;
    let update = "update audit_ends set seq = $2, hash = $3 where id = $1";
    transaction.execute(update, [END.into(), last.seq.into(), last.hash.into()]).await?;
    Ok(())
}

fn columns(at: &AuditLink, entry: &AuditEntry, text: String) -> [Value; 14] {
    let scope = &entry.scope;
    let said = |value: Option<String>| Value::from(value);
    [
        at.seq.into(),
        entry.at.0.into(),
        at.hash.into(),
        entry.request.map(|id| id.as_bytes().to_vec()).into(),
        entry.kind.as_str().into(),
        entry.actor.to_string().into(),
        entry.subject.clone().into(),
        said(scope.environment.as_ref().map(ToString::to_string)),
        said(scope.account.as_ref().map(ToString::to_string)),
        said(scope.zone.as_ref().map(ToString::to_string)),
        said(scope.zone_id.as_ref().map(ToString::to_string)),
        said(scope.cluster.as_ref().map(ToString::to_string)),
        said(scope.team.as_ref().map(ToString::to_string)),
        text.into(),
    ]
}

fn read(row: &Row) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        seq: row.int("seq")?,
        hash: hash(row.bytes("hash")?)?,
        entry: from_json("entry of the audit", row.text("entry")?)?,
    })
}

/// The words of kinds, to stand in a query: they are ours and hold no quote.
fn words(kinds: &[AuditKind]) -> String {
    let words: Vec<String> = kinds.iter().map(|kind| format!("'{}'", kind.as_str())).collect();
    words.join(", ")
}

/// Appends the entries that say something else of their subject than the newest one of these kinds.
async fn append_news(
    transaction: &mut Transaction,
    kinds: &[AuditKind],
    entries: &[AuditEntry],
) -> Result<u64, StoreError> {
    lock_end(transaction).await?;
    let query = format!(
        "select seq, hash, entry from audit where kind in ({}) and subject = $1 order by seq desc limit 1",
        words(kinds)
    );
    let mut news = vec![];
    for entry in entries {
        let subject = entry.subject.clone().unwrap_or_default();
        let newest = transaction.fetch_optional(&query, [subject.into()]).await?;
        let newest = newest.as_ref().map(read).transpose()?;
        let said = newest.as_ref().and_then(|newest| newest.entry.after.clone());
        let same_kind = newest.as_ref().is_none_or(|newest| newest.entry.kind == entry.kind);
        if said == entry.after && same_kind {
            continue;
        }
        news.push(AuditEntry { before: said, ..entry.clone() });
    }
    append(transaction, &news).await?;
    Ok(news.len() as u64)
}

async fn newest(
    transaction: &mut Transaction,
    kinds: &[AuditKind],
) -> Result<Vec<AuditRow>, StoreError> {
    let query = format!(
        "select seq, hash, entry from audit where seq in (
            select max(seq) from audit where kind in ({}) and subject is not null group by subject)
         order by seq",
        words(kinds)
    );
    transaction.fetch(&query, []).await?.iter().map(read).collect()
}

/// The entries behind a number, in their order.
pub(super) async fn after(
    transaction: &mut Transaction,
    after: i64,
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    let query = "select seq, hash, entry from audit where seq > $1 order by seq limit $2";
    let rows = transaction.fetch(query, [after.into(), i64::from(limit).into()]).await?;
    rows.iter().map(read).collect()
}

/// The name, and the patterns that it is among.
fn patterns_above(name: &DnsName) -> Vec<String> {
    let mut patterns = vec![name.to_string()];
    let mut above = name.parent();
    while let Some(parent) = above {
        patterns.push(format!("*.{parent}"));
        above = parent.parent();
    }
    patterns
}

async fn list(
    transaction: &mut Transaction,
    filter: &AuditFilter,
) -> Result<Vec<AuditRow>, StoreError> {
    let mut sql = "select seq, hash, entry from audit where 1 = 1".to_owned();
    let mut values: Vec<Value> = Vec::new();
    let mut only = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            values.push(value);
            sql.push_str(&condition.replace('#', &format!("${}", values.len())));
        }
    };
    let text = |value: Option<String>| value.map(Value::from);
    only(" and actor = #", text(filter.actor.clone()));
    only(" and kind = #", text(filter.kind.map(|kind| kind.as_str().to_owned())));
    only(" and subject = #", text(filter.subject.clone()));
    only(" and environment = #", text(filter.environment.as_ref().map(ToString::to_string)));
    only(" and account = #", text(filter.account.as_ref().map(ToString::to_string)));
    only(" and (zone = # or zone_id = #)", text(filter.zone.clone()));
    only(" and cluster = #", text(filter.cluster.as_ref().map(ToString::to_string)));
    only(" and team = #", text(filter.team.as_ref().map(ToString::to_string)));
    only(" and request_id = #", filter.request.map(|id| id.as_bytes().to_vec().into()));
    only(" and at >= #", filter.since.map(|at| at.0.into()));
    only(" and at < #", filter.until.map(|at| at.0.into()));
    only(" and seq < #", filter.before.map(Value::from));
    if let Some(name) = &filter.name {
        let mut among = vec![];
        for pattern in patterns_above(name) {
            values.push(pattern.into());
            among.push(format!("${}", values.len()));
        }
        sql.push_str(&format!(
            " and seq in (select seq from audit_names where name in ({}))",
            among.join(", ")
        ));
    }
    values.push(i64::from(filter.limit).into());
    sql.push_str(&format!(" order by seq desc limit ${}", values.len()));
    transaction.fetch_values(sql, values).await?.iter().map(read).collect()
}

async fn chain(
    transaction: &mut Transaction,
    after: i64,
    limit: u32,
) -> Result<ChainPage, StoreError> {
    // The ends are read first and last: what is appended meanwhile lies behind the end that is read with the page.
    let query = "
        select b.seq as first_seq, b.hash as first_hash, e.seq as end_seq, e.hash as end_hash,
               a.seq as seq, a.hash as hash, a.entry as entry
          from (select 1 as always) one
          left join audit_ends b on b.id = 0
          left join audit_ends e on e.id = 1
          left join audit a on a.seq > $1
         order by a.seq limit $2";
    let rows = transaction.fetch(query, [after.into(), i64::from(limit).into()]).await?;
    let none = AuditLink { seq: 0, hash: genesis() };
    let mut page = ChainPage { beginning: none, end: none, entries: vec![] };
    for row in &rows {
        if let (Some(seq), Some(bytes)) =
            (row.int_or_null("first_seq")?, row.bytes_or_null("first_hash")?)
        {
            page.beginning = AuditLink { seq, hash: hash(bytes)? };
        }
        if let (Some(seq), Some(bytes)) =
            (row.int_or_null("end_seq")?, row.bytes_or_null("end_hash")?)
        {
            page.end = AuditLink { seq, hash: hash(bytes)? };
        }
        let Some(seq) = row.int_or_null("seq")? else { continue };
        let text = row.text("entry")?.to_owned();
        page.entries.push(ChainedText { seq, hash: hash(row.bytes("hash")?)?, text });
    }
    Ok(page)
}

/// Walks the chain from its beginning to its end.
async fn verify(transaction: &mut Transaction) -> Result<ChainCheck, StoreError> {
    let number = |seq: i64| to_unsigned("entry of the audit", seq);
    let first = end(transaction, BEGINNING, "").await?;
    let mut last = first;
    let mut cut = None;
    loop {
        let page = chain(transaction, last.seq, WALK_ENTRIES).await?;
        if page.beginning != first {
            let reason = "the audit was cut while it was verified; verify it again";
            return Err(StoreError::Unavailable(reason.to_owned()));
        }
        for entry in &page.entries {
            let expected = link(&last.hash, last.seq + 1, &entry.text);
            if entry.seq != last.seq + 1 || entry.hash != expected {
                return Ok(ChainCheck::BrokenAt(number(last.seq + 1)?));
            }
            last = AuditLink { seq: entry.seq, hash: expected };
        }
        if let Some(seq) = differs(transaction, &page, &mut cut).await? {
            return Ok(ChainCheck::BrokenAt(number(seq)?));
        }
        if page.entries.len() < WALK_ENTRIES as usize {
            let at_fault = match page.end.seq.cmp(&last.seq) {
                Ordering::Less => Some(page.end.seq + 1),
                Ordering::Greater => Some(last.seq + 1),
                Ordering::Equal if page.end.hash != last.hash => Some(last.seq),
                Ordering::Equal => (!says_beginning(cut.as_ref(), &first)).then_some(first.seq + 1),
            };
            return Ok(match at_fault {
                Some(seq) => ChainCheck::BrokenAt(number(seq)?),
                None => ChainCheck::Whole(number(last.seq - first.seq)?),
            });
        }
    }
}

/// Whether the newest cut that the chain tells of is the one that it begins after.
fn says_beginning(cut: Option<&serde_json::Value>, first: &AuditLink) -> bool {
    match cut {
        None => first.seq == 0,
        Some(cut) => *cut == cut_of(first),
    }
}

fn cut_of(beginning: &AuditLink) -> serde_json::Value {
    serde_json::json!({ "through": beginning.seq, "hash": hex(&beginning.hash) })
}

/// The first entry of a page that is found by something else than it says. Notes the newest cut that is told of.
async fn differs(
    transaction: &mut Transaction,
    page: &ChainPage,
    cut: &mut Option<serde_json::Value>,
) -> Result<Option<i64>, StoreError> {
    let (Some(from), Some(to)) = (page.entries.first(), page.entries.last()) else {
        return Ok(None);
    };
    let query = "select seq, at, kind, actor, request_id from audit where seq >= $1 and seq <= $2 order by seq";
    let rows = transaction.fetch(query, [from.seq.into(), to.seq.into()]).await?;
    for (row, chained) in rows.iter().zip(&page.entries) {
        let entry: AuditEntry = from_json("entry of the audit", &chained.text)?;
        let request = entry.request.map(|id| id.as_bytes().to_vec());
        let is_known = entry.kind != AuditKind::Unknown;
        if row.int("seq")? != chained.seq
            || row.int("at")? != entry.at.0
            || (is_known && row.text("kind")? != entry.kind.as_str())
            || row.text("actor")? != entry.actor.to_string()
            || row.bytes_or_null("request_id")?.map(<[u8]>::to_vec) != request
        {
            return Ok(Some(chained.seq));
        }
        if entry.kind == AuditKind::AuditCut {
            *cut = entry.after;
        }
    }
    Ok(None)
}

const MOVE_BEGINNING: &str = "
    insert into audit_ends (id, seq, hash) select 0, seq, hash from audit where seq = $1
    on conflict (id) do update set seq = excluded.seq, hash = excluded.hash";

/// The first entry that is too young, behind the beginning.
const FIRST_KEPT: &str =
    "select seq from audit where seq > $1 and seq <= $2 and at >= $3 order by seq limit 1";

/// Cuts entries off the front. Those of which subscribers are not told yet stay, and what is kept with them; so does the newest, so
/// that a chain never consists of cuts alone.
async fn prune(
    transaction: &mut Transaction,
    before: Timestamp,
    most: u32,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let last = lock_end(transaction).await?;
    let beginning = end(transaction, BEGINNING, "").await?;
    let noticed =
        transaction.fetch_optional("select value from counters where name = 'noticed'", []).await?;
    let noticed = noticed.map_or(Ok(0), |row| row.int("value"))?;
    let furthest = (last.seq - 1).min(noticed).min(beginning.seq + i64::from(most));
    let bounds = [beginning.seq.into(), furthest.into(), before.0.into()];
    let through = match transaction.fetch_optional(FIRST_KEPT, bounds).await? {
        Some(row) => row.int("seq")? - 1,
        None => furthest,
    };
    if through <= beginning.seq || only_cuts(transaction, beginning.seq, through).await? {
        return Ok(0);
    }
    transaction.execute(MOVE_BEGINNING, [through.into()]).await?;
    transaction.execute("delete from audit_names where seq <= $1", [through.into()]).await?;
    let cut = transaction.execute("delete from audit where seq <= $1", [through.into()]).await?;
    let moved = end(transaction, BEGINNING, "").await?;
    let entry = AuditEntry {
        after: Some(cut_of(&moved)),
        ..AuditEntry::new(at, Actor::Broker, AuditKind::AuditCut)
    };
    append(transaction, &[entry]).await?;
    Ok(cut)
}

/// Whether what would be cut tells of nothing but earlier cuts: then it is no reason for another one.
async fn only_cuts(
    transaction: &mut Transaction,
    after: i64,
    through: i64,
) -> Result<bool, StoreError> {
    let query =
        "select seq from audit where seq > $1 and seq <= $2 and kind <> 'audit_cut' limit 1";
    Ok(transaction.fetch_optional(query, [after.into(), through.into()]).await?.is_none())
}

/// The requests of an id, for rows that keep it as bytes.
pub(super) fn uuid(bytes: &[u8]) -> Result<Uuid, StoreError> {
    Uuid::from_slice(bytes).map_err(|error| corrupt("id of a request", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_among_the_patterns_above_it() {
        let name = DnsName::parse("a.pay.example.com").unwrap();
        let found = patterns_above(&name);
        assert_eq!(&found[..3], ["a.pay.example.com", "*.pay.example.com", "*.example.com"]);
    }
}
