//! The numbers that stand for clusters and zones.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::codec::parse;
use super::transaction::Transaction;
use super::value::{Input, Kind, Row};
use crate::core::endpoint::verdict::Placement;
use crate::core::ids::{ClusterId, ZoneId};
use crate::ports::StoreError;

/// The values that numbers stand for, kept from row to row: all rows share one text, and no query joins a name to each of them. A
/// number is given out once, so what is held here stays true; a number that is not held is read.
pub(super) struct Numbered<T> {
    query: &'static str,
    read: fn(&Row) -> Result<T, StoreError>,
    held: ArcSwap<HashMap<i64, T>>,
}

/// The names of clusters.
pub(super) fn cluster_names() -> Numbered<ClusterId> {
    Numbered {
        query: "select id, name from cluster_names",
        read: |row| parse("cluster name", row.text("name")?),
        held: ArcSwap::default(),
    }
}

/// The zones with their accounts.
pub(super) fn placements() -> Numbered<Placement> {
    Numbered {
        query: "select id, account, zone from zones",
        read: |row| {
            Ok(Placement {
                account: parse("account id", row.text("account")?)?,
                zone: parse("zone id", row.text("zone")?)?,
            })
        },
        held: ArcSwap::default(),
    }
}

impl<T: Clone> Numbered<T> {
    /// The held values, read anew if they are not enough for the caller.
    pub(super) async fn covering(
        &self,
        transaction: &mut Transaction,
        is_enough: impl Fn(&HashMap<i64, T>) -> bool + Send,
    ) -> Result<Arc<HashMap<i64, T>>, StoreError> {
        let held = self.held.load_full();
        if is_enough(&held) {
            return Ok(held);
        }
        let rows = transaction.fetch(self.query, []).await?;
        let mut read = HashMap::with_capacity(rows.len());
        for row in &rows {
            let number = row.int("id")?;
            let value = match held.get(&number) {
                Some(value) => value.clone(),
                None => (self.read)(row)?,
            };
            read.insert(number, value);
        }
        let read = Arc::new(read);
        self.held.store(Arc::clone(&read));
        Ok(read)
    }

    /// Reads everything anew the next time.
    pub(super) fn forget(&self) {
        self.held.store(Arc::default());
    }
}

/// The value that a number stands for.
pub(super) fn numbered<T: Clone>(
    what: &str,
    held: &HashMap<i64, T>,
    number: i64,
) -> Result<T, StoreError> {
    held.get(&number)
        .cloned()
        .ok_or_else(|| super::error::corrupt(what, format_args!("number {number} is not there")))
}

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
        let add = "insert into cluster_names (name) select name from input where true order by name on conflict (name) do nothing";
        transaction.execute_bulk(add, names(missing.map(ClusterId::as_str))).await?;
        found = cluster_numbers(transaction, &wanted).await?;
    }
    Ok(found)
}

async fn cluster_numbers(
    transaction: &mut Transaction,
    clusters: &BTreeSet<&ClusterId>,
) -> Result<BTreeMap<ClusterId, i64>, StoreError> {
    let query =
        "select c.name, c.id from input cross join cluster_names c where c.name = input.name";
    let rows = transaction
        .fetch_bulk(query, names(clusters.iter().map(|cluster| cluster.as_str())))
        .await?;
    rows.iter().map(|row| Ok((parse("cluster name", row.text("name")?)?, row.int("id")?))).collect()
}

/// Numbers of those zones that are stored.
pub(super) async fn zone_numbers<'a>(
    transaction: &mut Transaction,
    zones: impl IntoIterator<Item = &'a ZoneId>,
) -> Result<BTreeMap<ZoneId, i64>, StoreError> {
    let wanted: BTreeSet<&ZoneId> = zones.into_iter().collect();
    let query = "select z.zone, z.id from input cross join zones z where z.zone = input.name";
    let rows =
        transaction.fetch_bulk(query, names(wanted.iter().map(|zone| zone.as_str()))).await?;
    rows.iter().map(|row| Ok((parse("zone id", row.text("zone")?)?, row.int("id")?))).collect()
}

/// The number of a zone that has to be stored before anything is said about it.
pub(super) async fn zone_number(
    transaction: &mut Transaction,
    zone: &ZoneId,
) -> Result<i64, StoreError> {
    known(&zone_numbers(transaction, [zone]).await?, zone)
}

/// The number of a name among those that were looked up.
pub(super) fn known<K: Ord + std::fmt::Display>(
    numbers: &BTreeMap<K, i64>,
    name: &K,
) -> Result<i64, StoreError> {
    numbers
        .get(name)
        .copied()
        .ok_or_else(|| StoreError::Refused(format!("{name} is not stored; save it first")))
}

fn names<'a>(list: impl Iterator<Item = &'a str>) -> Input {
    let mut input = Input::new(NAMES);
    list.for_each(|name| input.push([name.into()]));
    input
}
