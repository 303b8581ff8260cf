//! How the journal stays of a bounded size: old entries are cut from the front of an account's chain.
//!
//! Before the first kept entry stands its anchor: a number and a hash, from which the chain is verified on. The triggers let
//! entries go that the anchor covers, and no others; the anchor moves on and never back. Each cut is itself an entry of the
//! chain that names the anchor, so an anchor that was moved by another hand does not fit what the chain says.
//!
//! An entry is kept while its batch is unfinished or ended too recently, and so is everything behind it. In the tables for
//! queries, the newest change of each record set that left something there stays, however old it is: it tells whose the record
//! set is and why.

use super::codec::from_json;
use super::journal::{self, ChainLink, Entry, anchor, append, head};
use super::transaction::Transaction;
use super::value::{Input, Kind};
use crate::core::ids::AccountId;
use crate::core::planning::change::Change;
use crate::core::time::Timestamp;
use crate::ports::StoreError;

/// The first entry behind the anchor, up to a number, whose batch has to be kept.
const FIRST_KEPT: &str = "
    select journal_seq from batches
     where account = $1 and journal_seq > $2 and journal_seq <= $3 and (finished_at is null or finished_at >= $4)
     order by journal_seq limit 1";

const MOVE_ANCHOR: &str = "
    insert into journal_anchors (account, seq, hash)
    select account, seq, hash from journal where account = $1 and seq = $2
    on conflict (account) do update set seq = excluded.seq, hash = excluded.hash";

/// Cuts up to `most` entries whose batches ended before `before`; returns how many.
pub(super) async fn prune(
    transaction: &mut Transaction,
    account: &AccountId,
    before: Timestamp,
    most: u32,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let Some(ChainLink { seq: end, .. }) = head(transaction, account).await? else { return Ok(0) };
    let begin = anchor(transaction, account).await?.map_or(0, |anchor| anchor.seq);
    let furthest = end.min(begin + i64::from(most));
    let bounds = [account.as_str().into(), begin.into(), furthest.into(), before.0.into()];
    let through = match transaction.fetch_optional(FIRST_KEPT, bounds).await? {
        Some(row) => row.int("journal_seq")? - 1,
        None if is_only_tail(transaction, account, begin).await? => begin,
        None => furthest,
    };
    if through <= begin {
        return Ok(0);
    }
    prune_changes(transaction, account, begin, through).await?;
    transaction.execute(MOVE_ANCHOR, [account.as_str().into(), through.into()]).await?;
    let delete = "delete from journal where account = $1 and seq <= $2";
    let cut = transaction.execute(delete, [account.as_str().into(), through.into()]).await?;
    let moved = anchor(transaction, account).await?.map(|anchor| anchor.hash).unwrap_or_default();
    append(transaction, account, &Entry::cut(through, &moved, at)).await?;
    Ok(cut)
}

/// Whether no batch begins behind the beginning: the record of a cut is no reason for another cut.
async fn is_only_tail(
    transaction: &mut Transaction,
    account: &AccountId,
    begin: i64,
) -> Result<bool, StoreError> {
    let query = "select 1 from batches where account = $1 and journal_seq > $2 limit 1";
    Ok(transaction.fetch_optional(query, [account.as_str().into(), begin.into()]).await?.is_none())
}

/// The changes of the batches that are cut, the newest first.
const CUT_CHANGES: &str = "
    select c.id, c.zone_id, c.name, c.rtype, c.set_identifier, c.action, b.applied,
           case when c.action is null then c.change end as older_form
      from batches b join changes c on c.batch_id = b.batch_id
     where b.account = $1 and b.journal_seq > $2 and b.journal_seq <= $3
     order by c.id desc";

const DELETE_OLDER: &str = "
    delete from changes where id in (
        select c.id from input cross join changes c
         where c.name = input.name and c.zone_id = input.zone_id and c.id < input.id and c.rtype = input.rtype
           and c.set_identifier is not distinct from input.set_identifier)";

/// Fills the columns in rows of a release that does not know them.
const FILL: &str = "
    update changes set set_identifier = input.set_identifier, action = input.action from input
     where changes.id = input.id";

/// A batch goes with the last of its changes.
const DELETE_BATCHES: &str = "
    delete from batches
     where account = $1 and journal_seq <= $2
       and not exists (select 1 from changes where changes.batch_id = batches.batch_id)";

async fn prune_changes(
    transaction: &mut Transaction,
    account: &AccountId,
    begin: i64,
    through: i64,
) -> Result<(), StoreError> {
    let rows = transaction
        .fetch(CUT_CHANGES, [account.as_str().into(), begin.into(), through.into()])
        .await?;
    let mut gone = Input::new(&[("id", Kind::Int)]);
    let mut newer = Input::new(&[
        ("id", Kind::Int),
        ("zone_id", Kind::Int),
        ("name", Kind::Text),
        ("rtype", Kind::Text),
        ("set_identifier", Kind::Text),
    ]);
    let mut filled =
        Input::new(&[("id", Kind::Int), ("set_identifier", Kind::Text), ("action", Kind::Text)]);
    for row in &rows {
        let id = row.int("id")?;
        let mut set = row.text_or_null("set_identifier")?.map(str::to_owned);
        let mut action = row.text_or_null("action")?;
        if let Some(text) = row.text_or_null("older_form")? {
            let change: Change = from_json("change", text)?;
            set = change.key.set_identifier.as_ref().map(ToString::to_string);
            action = Some(journal::action(&change));
            filled.push([id.into(), set.clone().into(), action.map(str::to_owned).into()]);
        }
        let applied = row.int_or_null("applied")? == Some(1);
        if !applied || action == Some("delete") {
            gone.push([id.into()]);
        }
        if applied {
            newer.push([
                id.into(),
                row.int("zone_id")?.into(),
                row.text("name")?.into(),
                row.text("rtype")?.into(),
                set.into(),
            ]);
        }
    }
    transaction.execute_bulk(FILL, filled).await?;
    transaction.execute_bulk(DELETE_OLDER, newer).await?;
    transaction
        .execute_bulk("delete from changes where id in (select id from input)", gone)
        .await?;
    transaction.execute(DELETE_BATCHES, [account.as_str().into(), through.into()]).await?;
    Ok(())
}
