//! Clusters with their sessions, and how far each account's tokens may have been spent.

use super::codec::{parse, to_unsigned};
use super::names::{intern_clusters, known};
use super::transaction::Transaction;
use crate::core::ids::{AccountId, Epoch};
use crate::core::time::Timestamp;
use crate::ports::{ClusterRow, SessionOpened, SessionOpening, StoreError};

/// Raises the epoch in one statement, which waits for every ingest that holds the row. Another UID changes nothing.
const RAISE: &str = "
    insert into clusters (cluster_id, kube_system_uid, epoch, instance_id, last_seq, known, session_at)
    values ($1, $2, 1, $3, 0, 0, $4)
    on conflict (cluster_id) do update
       set epoch = clusters.epoch + 1, instance_id = excluded.instance_id, last_seq = 0, session_at = excluded.session_at
     where clusters.kube_system_uid = excluded.kube_system_uid
    returning epoch, known";

pub(super) async fn open(transaction: &mut Transaction, opening: &SessionOpening) -> Result<SessionOpened, StoreError> {
    let cluster = known(&intern_clusters(transaction, [&opening.cluster]).await?, &opening.cluster)?;
    let arguments =
        [cluster.into(), opening.kube_system_uid.as_str().into(), opening.instance_id.as_str().into(), opening.at.0.into()];
    if let Some(row) = transaction.fetch_optional(RAISE, arguments).await? {
        return Ok(SessionOpened::Welcome { epoch: Epoch(to_unsigned("epoch", row.int(0)?)?), known: row.int(1)? != 0 });
    }
    let query = "select kube_system_uid from clusters where cluster_id = $1";
    let row = transaction.fetch_optional(query, [cluster.into()]).await?;
    let row = row.ok_or_else(|| StoreError::Unavailable("a cluster vanished while its session was opened".to_owned()))?;
    Ok(SessionOpened::IdentityConflict { registered_uid: row.text(0)?.to_owned() })
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
                cluster: parse("cluster name", row.text(0)?)?,
                kube_system_uid: row.text(1)?.to_owned(),
                epoch: Epoch(to_unsigned("epoch", row.int(2)?)?),
                instance_id: row.text(3)?.to_owned(),
                last_seq: to_unsigned("sequence number", row.int(4)?)?,
                known: row.int(5)? != 0,
                session_at: Timestamp(row.int(6)?),
            })
        })
        .collect()
}

pub(super) async fn spend_horizon(transaction: &mut Transaction, account: &AccountId) -> Result<Option<Timestamp>, StoreError> {
    let query = "select until from spend_horizons where account = $1";
    let row = transaction.fetch_optional(query, [account.as_str().into()]).await?;
    row.map(|row| row.int(0).map(Timestamp)).transpose()
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
