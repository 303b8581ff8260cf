//! Clusters with their sessions, and how far each account's tokens may have been spent.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::codec::{parse, to_unsigned};
use super::names::{intern_clusters, known};
use super::transaction::Transaction;
use super::value::{Input, Kind};
use crate::core::ids::{AccountId, ClusterId, Epoch};
use crate::core::time::Timestamp;
use crate::ports::{ClusterRow, SessionOpened, SessionOpening, StoreError};

/// Raises the epochs in one statement, which waits for every ingest that holds one of the rows. Another UID changes nothing. The
/// order is that in which ingest locks them, so that the two cannot block each other.
const RAISE: &str = "
    insert into clusters (cluster_id, kube_system_uid, epoch, instance_id, last_seq, known, session_at)
    select cluster_id, kube_system_uid, 1, instance_id, 0, 0, session_at from input where true order by cluster_id
    on conflict (cluster_id) do update
       set epoch = clusters.epoch + 1, instance_id = excluded.instance_id, last_seq = 0, session_at = excluded.session_at
     where clusters.kube_system_uid = excluded.kube_system_uid
    returning cluster_id, epoch, known";

/// Opens the sessions: a statement for all of them, and one more for each time that a cluster is named again.
pub(super) async fn open(
    transaction: &mut Transaction,
    openings: &[SessionOpening],
) -> Result<Vec<SessionOpened>, StoreError> {
    let numbers =
        intern_clusters(transaction, openings.iter().map(|opening| &opening.cluster)).await?;
    let mut waiting: Vec<(i64, usize)> = Vec::with_capacity(openings.len());
    for (place, opening) in openings.iter().enumerate() {
        waiting.push((known(&numbers, &opening.cluster)?, place));
    }
    let mut opened: BTreeMap<usize, SessionOpened> = BTreeMap::new();
    while !waiting.is_empty() {
        let mut round: BTreeMap<i64, usize> = BTreeMap::new();
        let mut later = Vec::new();
        for (cluster, place) in waiting {
            match round.entry(cluster) {
                Entry::Vacant(free) => drop(free.insert(place)),
                Entry::Occupied(_) => later.push((cluster, place)),
            }
        }
        open_round(transaction, openings, &round, &mut opened).await?;
        waiting = later;
    }
    Ok(opened.into_values().collect())
}

/// Opens sessions of clusters that are all different; `round` holds the place of each cluster's opening.
async fn open_round(
    transaction: &mut Transaction,
    openings: &[SessionOpening],
    round: &BTreeMap<i64, usize>,
    opened: &mut BTreeMap<usize, SessionOpened>,
) -> Result<(), StoreError> {
    let mut input = Input::new(&[
        ("cluster_id", Kind::Int),
        ("session_at", Kind::Int),
        ("kube_system_uid", Kind::Text),
        ("instance_id", Kind::Text),
    ]);
    for (cluster, opening) in
        round.iter().filter_map(|(cluster, place)| Some((*cluster, openings.get(*place)?)))
    {
        let (uid, instance) = (opening.kube_system_uid.as_str(), opening.instance_id.as_str());
        input.push([cluster.into(), opening.at.0.into(), uid.into(), instance.into()]);
    }
    let mut refused = round.clone();
    for row in transaction.fetch_bulk(RAISE, input).await? {
        let epoch = Epoch(to_unsigned("epoch", row.int("epoch")?)?);
        if let Some(place) = refused.remove(&row.int("cluster_id")?) {
            opened.insert(place, SessionOpened::Welcome { epoch, known: row.int("known")? != 0 });
        }
    }
    let mut input = Input::new(&[("cluster_id", Kind::Int)]);
    refused.keys().for_each(|cluster| input.push([(*cluster).into()]));
    let query = "select c.cluster_id, c.kube_system_uid from input join clusters c on c.cluster_id = input.cluster_id";
    for row in transaction.fetch_bulk(query, input).await? {
        if let Some(place) = refused.remove(&row.int("cluster_id")?) {
            opened.insert(
                place,
                SessionOpened::IdentityConflict {
                    registered_uid: row.text("kube_system_uid")?.to_owned(),
                },
            );
        }
    }
    if refused.is_empty() {
        Ok(())
    } else {
        Err(StoreError::Unavailable("a cluster vanished while its session was opened".to_owned()))
    }
}

/// A cluster whose row is locked until the transaction ends.
pub(super) struct LockedCluster {
    pub(super) number: i64,
    pub(super) epoch: Epoch,
}

/// Locks the clusters that have a session, in the order of their numbers so that two transactions cannot block each other.
pub(super) async fn lock_clusters<'a>(
    transaction: &mut Transaction,
    clusters: impl IntoIterator<Item = &'a ClusterId>,
) -> Result<BTreeMap<ClusterId, LockedCluster>, StoreError> {
    let wanted: BTreeSet<&ClusterId> = clusters.into_iter().collect();
    let mut names = Input::new(&[("name", Kind::Text)]);
    wanted.iter().for_each(|cluster| names.push([cluster.as_str().into()]));
    let numbers = transaction
        .fetch_bulk(
            "select n.id from input cross join cluster_names n where n.name = input.name",
            names,
        )
        .await?;
    let numbers: BTreeSet<i64> =
        numbers.iter().map(|row| row.int("id")).collect::<Result<_, _>>()?;
    let mut input = Input::new(&[("cluster_id", Kind::Int)]);
    numbers.into_iter().for_each(|number| input.push([number.into()]));
    let query = format!(
        "select c.cluster_id, c.epoch, (select n.name from cluster_names n where n.id = c.cluster_id) as name from clusters c
          where c.cluster_id in (select cluster_id from input) order by c.cluster_id{}",
        transaction.for_update()
    );
    let rows = transaction.fetch_bulk(&query, input).await?;
    rows.iter()
        .map(|row| {
            let epoch = Epoch(to_unsigned("epoch", row.int("epoch")?)?);
            Ok((
                parse("cluster name", row.text("name")?)?,
                LockedCluster { number: row.int("cluster_id")?, epoch },
            ))
        })
        .collect()
}

pub(super) async fn clusters(transaction: &mut Transaction) -> Result<Vec<ClusterRow>, StoreError> {
    let query = "
        select n.name, c.kube_system_uid, c.epoch, c.instance_id, c.last_seq, c.known, c.session_at
          from clusters c join cluster_names n on n.id = c.cluster_id
         order by n.name";
    let rows = transaction.fetch(query, []).await?;
    rows.iter()
        .map(|row| {
            Ok(ClusterRow {
                cluster: parse("cluster name", row.text("name")?)?,
                kube_system_uid: row.text("kube_system_uid")?.to_owned(),
                epoch: Epoch(to_unsigned("epoch", row.int("epoch")?)?),
                instance_id: row.text("instance_id")?.to_owned(),
                last_seq: to_unsigned("sequence number", row.int("last_seq")?)?,
                known: row.int("known")? != 0,
                session_at: Timestamp(row.int("session_at")?),
            })
        })
        .collect()
}

pub(super) async fn spend_horizon(
    transaction: &mut Transaction,
    account: &AccountId,
) -> Result<Option<Timestamp>, StoreError> {
    let query = "select until from spend_horizons where account = $1";
    let row = transaction.fetch_optional(query, [account.as_str().into()]).await?;
    row.map(|row| row.int("until").map(Timestamp)).transpose()
}

pub(super) async fn set_spend_horizon(
    transaction: &mut Transaction,
    account: &AccountId,
    until: Timestamp,
) -> Result<(), StoreError> {
    let upsert = "
        insert into spend_horizons (account, until) values ($1, $2)
        on conflict (account) do update set until = excluded.until";
    transaction.execute(upsert, [account.as_str().into(), until.0.into()]).await?;
    Ok(())
}
