//! The numbers that stand for clusters and zones.

use std::collections::{BTreeMap, BTreeSet};

use super::codec::parse;
use super::transaction::Transaction;
use super::value::{Input, Kind};
use crate::core::ids::{ClusterId, ZoneId};
use crate::ports::StoreError;

const NAMES: &[(&str, Kind)] = &[("name", Kind::Text)];

/// Numbers of the clusters, given out where one is missing. The order makes two transactions that add the same names wait for
/// each other in one direction only.
pub(super) async fn intern_clusters<'a>(
    transaction: &mut Transaction,
    clusters: impl IntoIterator<Item = &'a ClusterId>,
) -> Result<BTreeMap<ClusterId, i64>, StoreError> {
    let wanted: BTreeSet<&ClusterId> = clusters.into_iter().collect();
    let mut found = cluster_numbers(transaction, &wanted).await?;
    if found.len() < wanted.len() {
        let missing = wanted.iter().copied().filter(|cluster| !found.contains_key(*cluster));
        let add =
            "insert into cluster_names (name) select name from input where true order by name on conflict (name) do nothing";
        transaction.execute_bulk(add, names(missing.map(ClusterId::as_str))).await?;
        found = cluster_numbers(transaction, &wanted).await?;
    }
    Ok(found)
}

async fn cluster_numbers(
    transaction: &mut Transaction,
    clusters: &BTreeSet<&ClusterId>,
) -> Result<BTreeMap<ClusterId, i64>, StoreError> {
    let query = "select c.name, c.id from input join cluster_names c on c.name = input.name";
    let rows = transaction.fetch_bulk(query, names(clusters.iter().map(|cluster| cluster.as_str()))).await?;
    rows.iter().map(|row| Ok((parse("cluster name", row.text(0)?)?, row.int(1)?))).collect()
}

/// Numbers of those zones that are stored.
pub(super) async fn zone_numbers<'a>(
    transaction: &mut Transaction,
    zones: impl IntoIterator<Item = &'a ZoneId>,
) -> Result<BTreeMap<ZoneId, i64>, StoreError> {
    let wanted: BTreeSet<&ZoneId> = zones.into_iter().collect();
    let query = "select z.zone, z.id from input join zones z on z.zone = input.name";
    let rows = transaction.fetch_bulk(query, names(wanted.iter().map(|zone| zone.as_str()))).await?;
    rows.iter().map(|row| Ok((parse("zone id", row.text(0)?)?, row.int(1)?))).collect()
}

/// The number of a zone that has to be stored before anything is said about it.
pub(super) async fn zone_number(transaction: &mut Transaction, zone: &ZoneId) -> Result<i64, StoreError> {
    known(&zone_numbers(transaction, [zone]).await?, zone)
}

/// The number of a name among those that were looked up.
pub(super) fn known<K: Ord + std::fmt::Display>(numbers: &BTreeMap<K, i64>, name: &K) -> Result<i64, StoreError> {
    numbers.get(name).copied().ok_or_else(|| StoreError::Refused(format!("{name} is not stored; save it first")))
}

fn names<'a>(list: impl Iterator<Item = &'a str>) -> Input {
    let mut input = Input::new(NAMES);
    list.for_each(|name| input.push([name.into()]));
    input
}
