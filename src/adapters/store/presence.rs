//! When clusters were last connected, to any replica.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tracing::Instrument as _;

use super::codec::parse;
use super::transaction::Transaction;
use super::value::{Input, Kind};
use super::{SqlStore, in_transaction};
use crate::core::ids::ClusterId;
use crate::core::time::Timestamp;
use crate::ports::{ClusterPresence, StoreError};

#[async_trait]
impl ClusterPresence for SqlStore {
    async fn note_present(&self, clusters: &[ClusterId], at: Timestamp) -> Result<(), StoreError> {
        if clusters.is_empty() {
            return Ok(());
        }
        in_transaction!(self.writing(), note, clusters, at)
    }

    async fn last_present(&self) -> Result<BTreeMap<ClusterId, Timestamp>, StoreError> {
        in_transaction!(self.reading(), all)
    }
}

/// In the order of the names, so that two replicas do not wait for each other.
const NOTE: &str = "
    insert into cluster_presence (cluster, present_at)
    select cluster, present_at from input where true order by cluster
    on conflict (cluster) do update set present_at = excluded.present_at
     where cluster_presence.present_at < excluded.present_at";

async fn note(
    transaction: &mut Transaction,
    clusters: &[ClusterId],
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut input = Input::new(&[("cluster", Kind::Text), ("present_at", Kind::Int)]);
    clusters.iter().for_each(|cluster| input.push([cluster.as_str().into(), at.0.into()]));
    transaction.execute_bulk(NOTE, input).await.map(drop)
}

async fn all(transaction: &mut Transaction) -> Result<BTreeMap<ClusterId, Timestamp>, StoreError> {
    let rows = transaction.fetch("select cluster, present_at from cluster_presence", []).await?;
    rows.iter()
        .map(|row| Ok((parse("cluster", row.text("cluster")?)?, Timestamp(row.int("present_at")?))))
        .collect()
}
