//! Which replica manages which account.
//!
//! A worker's write looks at its lease first and locks the row for `key share` until its commit; the taker of a lease locks the
//! row for `update`. The two exclude each other, so a lease never passes on between the look and the commit. A heartbeat locks for
//! `no key update`, which gets along with the look: a replica's life does not depend on how long its own workers write.
//!
//! A taker skips rows that are locked, and tries again at its next heartbeat. So it never waits for a holder that was paused
//! inside a transaction, and the server ends such a transaction before a lease expires.
//!
//! Locks are taken in one order by all transactions: the lease, then clusters by their number, then what is written, and
//! the counter of the feed as the last. Where several leases are locked and waited for, it is in the order of their accounts.
//!
//! SQLite has one process at a time: there a lease is taken from its holder and does not expire, and a heartbeat writes nothing.
//! With its lease the older process loses its sessions, since the newer one loads the endpoints once and reads no feed.

use std::collections::BTreeSet;

use super::clock::clock;
use super::codec::{parse, to_signed, to_unsigned};
use super::error::corrupt;
use super::transaction::Transaction;
use super::value::{Input, Kind, Row};
use crate::core::ids::AccountId;
use crate::core::time::Millis;
use crate::ports::{LeaseEpoch, Membership, ReplicaId, ReplicaRow, StoreError, Tenure};

/// How a replica's id stands in a column.
pub(super) fn replica_bytes(replica: ReplicaId) -> Vec<u8> {
    replica.0.as_bytes().to_vec()
}

pub(super) fn replica_id(bytes: &[u8]) -> Result<ReplicaId, StoreError> {
    uuid::Uuid::from_slice(bytes).map(ReplicaId).map_err(|error| corrupt("replica id", error))
}

/// The lease has not passed on and does not before the commit. The first statement of a transaction: a fenced worker waits for
/// nothing and locks nothing.
pub(super) async fn assert_held(
    transaction: &mut Transaction,
    tenure: &Tenure,
) -> Result<(), StoreError> {
    let query = format!(
        "select 1 from leases where account = $1 and holder = $2 and epoch = $3{}",
        transaction.for_key_share()
    );
    let epoch = to_signed("the epoch of a lease", tenure.epoch.0)?;
    let arguments =
        [tenure.account.as_str().into(), replica_bytes(tenure.holder).into(), epoch.into()];
    match transaction.fetch_optional(&query, arguments).await? {
        Some(_) => Ok(()),
        None => Err(StoreError::Fenced(tenure.account.clone())),
    }
}

/// Where nothing is shared: no newer process took all leases of this one.
///
/// # Errors
/// [`StoreError::Fenced`] with the account of a lease that the newer one holds.
pub(super) async fn assert_not_superseded(
    transaction: &mut Transaction,
    replica: ReplicaId,
) -> Result<(), StoreError> {
    const TAKEN: &str = "
        select account from leases
         where holder <> $1 and not exists (select 1 from leases where holder = $1) limit 1";
    if transaction.is_shared() {
        return Ok(());
    }
    match transaction.fetch_optional(TAKEN, [replica_bytes(replica).into()]).await? {
        Some(row) => Err(StoreError::Fenced(parse("account id", row.text("account")?)?)),
        None => Ok(()),
    }
}

/// One that left stays gone, though its last heartbeat may come later.
const LIVE_ON: &str = concat!(
    "insert into replicas (replica, address, release, expires_at) values ($1, $2, '",
    env!("CARGO_PKG_VERSION"),
    "', ",
    clock!(),
    " + $3)
    on conflict (replica) do update set address = excluded.address, expires_at = excluded.expires_at
     where replicas.left_at is null"
);

const EXTEND: &str = concat!(
    "with held as (select account from leases where holder = $1 order by account for no key update)
    update leases set expires_at = ",
    clock!(),
    " + $2 from held where leases.account = held.account"
);

/// A row is kept for an hour, so that a heartbeat that was held up brings no replica back that left.
const FORGET_DEAD: &str = concat!(
    "delete from replicas where replica in (
        select replica from replicas where expires_at < ",
    clock!(),
    " - 3600000 for update skip locked)"
);

const ALIVE: &str = concat!(
    "select replica, address from replicas where expires_at > ",
    clock!(),
    " order by replica"
);

const HELD: &str = concat!(
    "select account, holder, epoch from leases where holder is not null and expires_at > ",
    clock!(),
    " order by account"
);

const HELD_ALONE: &str =
    "select account, holder, epoch from leases where holder is not null order by account";

/// The key of the replicas: that of the first that proposes one.
pub(super) async fn replica_key(
    transaction: &mut Transaction,
    proposed: &[u8; 32],
) -> Result<[u8; 32], StoreError> {
    const PROPOSE: &str =
        "insert into replica_key (id, key) values (1, $1) on conflict (id) do nothing";
    transaction.execute(PROPOSE, [proposed.to_vec().into()]).await?;
    let row = transaction.fetch_optional("select key from replica_key where id = 1", []).await?;
    let row = row.ok_or_else(|| corrupt("replica key", "there is none"))?;
    let key = row.bytes("key")?;
    key.try_into().map_err(|_| corrupt("replica key", format!("it has {} bytes", key.len())))
}

/// Keeps the replica alive, and the leases that it holds, also expired ones that no replica took. Returns the live replicas
/// and the leases.
pub(super) async fn heartbeat(
    transaction: &mut Transaction,
    replica: &ReplicaRow,
    ttl: Millis,
) -> Result<Membership, StoreError> {
    let id = replica_bytes(replica.replica);
    transaction
        .execute(LIVE_ON, [id.clone().into(), replica.address.as_str().into(), ttl.0.into()])
        .await?;
    transaction.execute(EXTEND, [id.into(), ttl.0.into()]).await?;
    transaction.execute(FORGET_DEAD, []).await?;
    let rows = transaction.fetch(ALIVE, []).await?;
    let replica = |row: &Row| {
        Ok(ReplicaRow {
            replica: replica_id(row.bytes("replica")?)?,
            address: row.text("address")?.to_owned(),
        })
    };
    let replicas = rows.iter().map(replica).collect::<Result<_, StoreError>>()?;
    Ok(Membership { replicas, leases: held(transaction, HELD).await? })
}

/// The answer to a heartbeat where nothing is shared.
pub(super) async fn standing_alone(
    transaction: &mut Transaction,
    replica: &ReplicaRow,
) -> Result<Membership, StoreError> {
    Ok(Membership { replicas: vec![replica.clone()], leases: held(transaction, HELD_ALONE).await? })
}

async fn held(transaction: &mut Transaction, query: &str) -> Result<Vec<Tenure>, StoreError> {
    let rows = transaction.fetch(query, []).await?;
    rows.iter()
        .map(|row| tenure(row, replica_id(row.bytes("holder")?)?, row.int("epoch")?))
        .collect()
}

fn tenure(row: &Row, holder: ReplicaId, epoch: i64) -> Result<Tenure, StoreError> {
    let epoch = LeaseEpoch(to_unsigned("epoch of a lease", epoch)?);
    Ok(Tenure { account: parse("account id", row.text("account")?)?, holder, epoch })
}

const TAKING: &[(&str, Kind)] =
    &[("account", Kind::Text), ("holder", Kind::Bytes), ("ttl", Kind::Int)];

const ADD_LEASES: &str = "
    insert into leases (account, epoch, expires_at) select account, 0, 0 from input where true order by account
    on conflict (account) do nothing";

const TAKE: &str = concat!(
    ", free as (
        select l.account from leases l
         where l.account in (select account from input) and (l.holder is null or l.expires_at <= ",
    clock!(),
    ") and not exists (select 1 from replicas where replica in (select holder from input) and left_at is not null)
         order by l.account for update of l skip locked)
    update leases set holder = input.holder, epoch = leases.epoch + 1, expires_at = ",
    clock!(),
    " + input.ttl
      from free join input on input.account = free.account where leases.account = free.account
    returning leases.account, leases.epoch"
);

const TAKE_ALONE: &str = "
    insert into leases (account, holder, epoch) select account, holder, 1 from input where true order by account
    on conflict (account) do update set holder = excluded.holder, epoch = leases.epoch + 1
    returning account, epoch";

/// Before [`TAKE_ALONE`]: refuses writes that an older process still has in flight for its sessions.
const END_SESSIONS_OF_ANOTHER: &str = "
    update clusters set epoch = epoch + 1
     where exists (
        select 1 from input join leases on leases.account = input.account
         where leases.holder is not null and leases.holder <> input.holder)";

/// Takes the free leases, or all where nothing is shared; returns them in the order of the accounts.
pub(super) async fn take(
    transaction: &mut Transaction,
    holder: ReplicaId,
    accounts: &[AccountId],
    ttl: Millis,
) -> Result<Vec<Tenure>, StoreError> {
    let accounts: BTreeSet<&AccountId> = accounts.iter().collect();
    let input = || {
        let mut input = Input::new(TAKING);
        accounts.iter().for_each(|account| {
            input.push([account.as_str().into(), replica_bytes(holder).into(), ttl.0.into()])
        });
        input
    };
    let statement = if transaction.is_shared() {
        transaction.execute_bulk(ADD_LEASES, input()).await?;
        TAKE
    } else {
        transaction.execute_bulk(END_SESSIONS_OF_ANOTHER, input()).await?;
        TAKE_ALONE
    };
    let rows = transaction.fetch_bulk(statement, input()).await?;
    let mut taken = rows
        .iter()
        .map(|row| tenure(row, holder, row.int("epoch")?))
        .collect::<Result<Vec<_>, _>>()?;
    taken.sort_by(|a, b| a.account.cmp(&b.account));
    Ok(taken)
}

/// Frees the leases that have not passed on.
pub(super) async fn give_back(
    transaction: &mut Transaction,
    tenures: &[Tenure],
) -> Result<(), StoreError> {
    let mut input =
        Input::new(&[("account", Kind::Text), ("holder", Kind::Bytes), ("epoch", Kind::Int)]);
    for tenure in tenures {
        let epoch = to_signed("the epoch of a lease", tenure.epoch.0)?;
        input.push([
            tenure.account.as_str().into(),
            replica_bytes(tenure.holder).into(),
            epoch.into(),
        ]);
    }
    let statement = format!(
        ", held as (
            select l.account from leases l
             where exists (select 1 from input where input.account = l.account and input.holder = l.holder and input.epoch = l.epoch)
             order by l.account{})
        update leases set holder = null from held where leases.account = held.account",
        transaction.for_no_key_update()
    );
    transaction.execute_bulk(&statement, input).await?;
    Ok(())
}

const LEAVE: &str = concat!(
    "insert into replicas (replica, address, release, expires_at, left_at) values ($1, '', '",
    env!("CARGO_PKG_VERSION"),
    "', ",
    clock!(),
    ", ",
    clock!(),
    ") on conflict (replica) do update set expires_at = excluded.expires_at, left_at = excluded.left_at"
);

/// The replica is gone for good, and its leases are free.
pub(super) async fn leave(
    transaction: &mut Transaction,
    replica: ReplicaId,
) -> Result<(), StoreError> {
    let id = replica_bytes(replica);
    if transaction.is_shared() {
        transaction.execute(LEAVE, [id.clone().into()]).await?;
    }
    let free = format!(
        "with held as (select account from leases where holder = $1 order by account{})
        update leases set holder = null from held where leases.account = held.account",
        transaction.for_no_key_update()
    );
    transaction.execute(&free, [id.into()]).await?;
    Ok(())
}
