//! The store over both databases: one suite, run twice. Each test is a function over a [`Place`], a fresh database.

mod audit;
mod budget;
mod crash;
mod feed;
mod forget;
mod history;
mod ingest;
mod journal;
mod leases;
mod model;
mod network;
mod notices;
mod opening;
mod people;
mod requests;
mod restored;
mod retention;
mod rules;
mod sessions;
mod upgrade;
mod zones;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arcstr::ArcStr;
use zonefold::adapters::store::{StoreOptions, open};
use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::{RawRecordSet, RecordKey, RecordType};
use zonefold::core::endpoint::packed::{PackedEndpoint, PackedRecord};
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::{AccountId, BatchId, ClusterId, EnvironmentId, Epoch, ZoneId};
use zonefold::core::planning::change::{Batch, BatchStamp, Cause, Change, Motive, Unit};
use zonefold::core::time::Timestamp;
use zonefold::ports::{
    IngestOp, IngestOutcome, IngestUnit, OpOutcome, ReplicaId, ReplicaRow, SessionOpened,
    SessionOpening, Store, StoreError, Tenure, ZoneRow,
};

/// A fresh database; a file goes with it.
pub struct Place {
    /// Its address.
    pub url: String,
    directory: Option<PathBuf>,
}

impl Place {
    /// A SQLite file in a directory of its own.
    pub fn sqlite() -> Self {
        let directory =
            std::env::temp_dir().join(format!("zonefold-store-{}", uuid::Uuid::new_v4()));
        Self {
            url: format!("sqlite:{}", directory.join("zonefold.db").display()),
            directory: Some(directory),
        }
    }

    /// A database of the test run's PostgreSQL server.
    pub async fn postgres() -> Self {
        Self { url: crate::support::postgres::database().await, directory: None }
    }

    /// The store there.
    pub async fn open(&self) -> Arc<dyn Store> {
        self.try_open().await.unwrap()
    }

    /// The store there, or why it cannot be opened.
    pub async fn try_open(&self) -> Result<Arc<dyn Store>, StoreError> {
        // A hundred thousand endpoints in a debug build on a busy machine take their time between two statements.
        open(
            &self.url.parse()?,
            &StoreOptions { connections: 4, idle_ms: 60_000, ..StoreOptions::default() },
        )
        .await
    }

    /// One number, asked of PostgreSQL past the store.
    pub async fn count(&self, sql: &'static str) -> i64 {
        use sqlx::Connection as _;
        let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
        let count = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        count
    }

    /// Runs a statement past the store, as an operator with a shell would.
    pub async fn tamper(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        use sqlx::{Connection as _, Executor as _};
        match &self.directory {
            Some(directory) => {
                let file = sqlx::sqlite::SqliteConnectOptions::new()
                    .filename(directory.join("zonefold.db"));
                let mut connection = sqlx::SqliteConnection::connect_with(&file).await?;
                connection.execute(sql).await?;
                connection.close().await
            }
            None => {
                let mut connection = sqlx::PgConnection::connect(&self.url).await?;
                connection.execute(sql).await?;
                connection.close().await
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            std::fs::remove_dir_all(directory).ok();
        }
    }
}

/// Makes of each function over a `Place` one test for each database.
macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::store::Place::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::store::Place::postgres().await).await;
            })*
        }
    };
}
use on_both_databases;

pub fn cluster(name: &str) -> ClusterId {
    ClusterId::parse(name).unwrap()
}

pub fn replica(number: u128) -> ReplicaId {
    ReplicaId(uuid::Uuid::from_u128(number))
}

pub fn account() -> AccountId {
    AccountId::parse("111111111111").unwrap()
}

pub fn zone_id() -> ZoneId {
    ZoneId::parse("Z1").unwrap()
}

pub fn dns(name: &str) -> DnsName {
    DnsName::parse(name).unwrap()
}

/// The `number`th object's wish for one address.
pub fn endpoint(number: usize, target: &str) -> Endpoint {
    let key = EndpointKey {
        source: "ingress".into(),
        namespace: "shop".into(),
        object: format!("web-{number}").into(),
        dns_name: format!("web-{number}.example.com").into(),
        record_type: "A".into(),
        set_identifier: ArcStr::new(),
    };
    Endpoint { key, targets: vec![target.into()], ttl_secs: Some(60), properties: BTreeMap::new() }
}

pub fn put(endpoint: Endpoint) -> IngestOp {
    IngestOp::Put {
        key: endpoint.key.hash(),
        version: endpoint.version(),
        endpoint: PackedEndpoint::pack(&endpoint),
    }
}

pub fn del(endpoint: &Endpoint) -> IngestOp {
    IngestOp::Del { key: endpoint.key.hash(), version_seen: Some(endpoint.version()) }
}

pub fn unit(cluster: &ClusterId, epoch: Epoch, seq: u64, ops: Vec<IngestOp>) -> IngestUnit {
    IngestUnit {
        cluster: cluster.clone(),
        epoch,
        seq,
        completes_snapshot: false,
        ops,
        placings: BTreeMap::new(),
    }
}

/// A session that is welcome.
pub async fn session(store: &dyn Store, cluster: &ClusterId) -> Epoch {
    let opening = SessionOpening {
        cluster: cluster.clone(),
        kube_system_uid: format!("uid-{cluster}"),
        instance_id: "agent-1".into(),
        at: Timestamp(1),
    };
    match store.open_session(&opening).await.unwrap() {
        SessionOpened::Welcome { epoch, .. } => epoch,
        conflict => panic!("{conflict:?}"),
    }
}

/// One unit's operations, committed.
pub async fn commit(
    store: &dyn Store,
    cluster: &ClusterId,
    epoch: Epoch,
    ops: Vec<IngestOp>,
) -> Vec<OpOutcome> {
    let outcome = store.ingest(&[unit(cluster, epoch, 1, ops)], Timestamp(10)).await.unwrap();
    match outcome.into_iter().next() {
        Some(IngestOutcome::Committed { applied }) => applied,
        other => panic!("{other:?}"),
    }
}

pub fn zone_row(zone: &str, name: &str) -> ZoneRow {
    ZoneRow {
        account: account(),
        environment: EnvironmentId::parse("prod").unwrap(),
        zone: ZoneId::parse(zone).unwrap(),
        name: dns(name),
        private: false,
        listed_at: None,
        visible: true,
        tags: None,
    }
}

pub fn record_key(name: &str) -> RecordKey {
    RecordKey { name: dns(name), rtype: RecordType::A, set_identifier: None }
}

pub fn raw(name: &str, value: &str) -> RawRecordSet {
    RawRecordSet {
        name: dns(name).as_str().into(),
        rtype: "A".into(),
        ttl_secs: Some(60),
        values: vec![value.into()],
        ..RawRecordSet::default()
    }
}

/// The same, as it is stored.
pub fn packed(name: &str, value: &str) -> PackedRecord {
    PackedRecord::pack(&record_key(name), &raw(name, value))
}

/// A batch that creates one address for each name.
pub fn batch(number: u128, names: &[&str]) -> Batch {
    let change = |name: &&str| Change {
        key: record_key(name),
        before: None,
        after: Some(raw(name, "192.0.2.1")),
        cause: Cause::new(Motive::Wanted, cluster("east"), vec![endpoint(1, "192.0.2.1").key]),
    };
    Batch {
        id: BatchId(uuid::Uuid::from_u128(number)),
        account: account(),
        zone: zone_id(),
        planned_at: Timestamp(100 + number as i64),
        stamp: BatchStamp::default(),
        units: names.iter().map(|name| Unit { changes: vec![change(name)] }).collect(),
        wire: vec![],
    }
}
