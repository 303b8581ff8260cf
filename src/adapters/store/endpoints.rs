//! The stored endpoints and their verdicts.

use std::collections::{BTreeMap, HashMap};

use super::codec::{self, from_json, parse, to_json};
use super::ingest::lock_clusters;
use super::transaction::Transaction;
use super::value::{Input, Kind};
use crate::core::endpoint::Version;
use crate::core::ids::ClusterId;
use crate::core::time::Timestamp;
use crate::core::verdict::Verdict;
use crate::ports::{EndpointRow, StoreError, VerdictRow};

const LIST: &str = "
    select e.cluster_id, n.name, e.key_hash, e.version, e.arrival, e.body, e.verdict, e.updated_at
      from endpoints e join cluster_names n on n.id = e.cluster_id
     where e.arrival > $1 order by e.arrival limit $2";

pub(super) async fn list(transaction: &mut Transaction, after_arrival: i64, limit: u32) -> Result<Vec<EndpointRow>, StoreError> {
    let rows = transaction.fetch(LIST, [after_arrival.into(), i64::from(limit).into()]).await?;
    // All rows of a cluster share one text.
    let mut clusters: HashMap<i64, ClusterId> = HashMap::new();
    rows.iter()
        .map(|row| {
            let number = row.int(0)?;
            let cluster = match clusters.get(&number) {
                Some(cluster) => cluster.clone(),
                None => {
                    let cluster: ClusterId = parse("cluster name", row.text(1)?)?;
                    clusters.insert(number, cluster.clone());
                    cluster
                }
            };
            Ok(EndpointRow {
                cluster,
                key: codec::key_hash(row.bytes(2)?)?,
                version: codec::version(row.bytes(3)?)?,
                arrival: row.int(4)?,
                endpoint: codec::endpoint(row.bytes(5)?)?,
                verdict: row.text_or_null(6)?.map(|text| from_json("verdict", text)).transpose()?,
                updated_at: Timestamp(row.int(7)?),
            })
        })
        .collect()
}

const VERDICTS: &[(&str, Kind)] = &[("arrival", Kind::Int), ("version", Kind::Bytes), ("verdict", Kind::Text)];

/// A verdict that is stored already is not written again.
const SAVE_VERDICTS: &str = "
    update endpoints set verdict = input.verdict from input
     where endpoints.arrival = input.arrival and endpoints.version = input.version
       and (endpoints.verdict is null or endpoints.verdict <> input.verdict)";

pub(super) async fn save_verdicts(transaction: &mut Transaction, verdicts: &[VerdictRow]) -> Result<(), StoreError> {
    // The lock keeps two writers of the same endpoints from waiting for each other in a circle.
    lock_clusters(transaction, verdicts.iter().map(|row| &row.cluster)).await?;
    let mut last: BTreeMap<(i64, Version), &Verdict> = BTreeMap::new();
    for row in verdicts {
        last.insert((row.arrival, row.version), &row.verdict);
    }
    let mut input = Input::new(VERDICTS);
    for ((arrival, version), verdict) in last {
        input.push([arrival.into(), version.0.into(), to_json(verdict)?.into()]);
    }
    transaction.execute_bulk(SAVE_VERDICTS, input).await?;
    Ok(())
}
