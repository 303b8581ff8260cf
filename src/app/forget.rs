//! `zonefold cluster forget`: an operator says that a cluster is gone for good, and its endpoints with it.
//!
//! The endpoints are removed like those whose deletion an agent observed, under a session of their own: an older session of the
//! cluster commits nothing any more, and the broker that manages the accounts, now or at its next start, deletes the records.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::adapters::clock::SystemClock;
use crate::adapters::store::{self, StoreOptions, StoreUrl};
use crate::cli::cluster::ForgetArgs;
use crate::config::Config;
use crate::core::audit::{AuditEntry, AuditKind, AuditOrigin, AuditScope};
use crate::core::dns::record::RecordKey;
use crate::core::endpoint::{KeyHash, Version};
use crate::core::governance::actor::Actor;
use crate::core::ids::{ClusterId, Epoch};
use crate::core::time::Timestamp;
use crate::ports::{
    Clock as _, ClusterRow, IngestOp, IngestOutcome, IngestUnit, SessionOpened, SessionOpening,
    Store,
};

/// The session in which a cluster is forgotten, as REST shows it.
const INSTANCE: &str = "zonefold cluster forget";
/// Who forgets a cluster, as the audit says it: whoever can open the store, which does not say who that is.
const OPERATOR: &str = "command line";
/// Rows that are read at once.
const PAGE: u32 = 1_000;
/// Endpoints that are removed in one transaction: others wait for it some milliseconds.
const STEP: usize = 500;
/// Records that are shown by name.
const SHOWN: usize = 50;

/// A cluster's remains in the store.
#[derive(Debug)]
pub struct Remains {
    row: ClusterRow,
    /// Its endpoints.
    pub endpoints: Vec<(KeyHash, Version)>,
    /// The record sets that it made, with the apex of their zone.
    pub records: Vec<(String, RecordKey)>,
}

/// Runs `zonefold cluster forget`.
///
/// # Errors
/// The cluster is registered, or not known; the store cannot be opened, or a broker uses it that could not be told.
pub async fn run(args: ForgetArgs) -> anyhow::Result<ExitCode> {
    let place = args.config.display().to_string();
    let config = Config::load_with(&args.config, &args.overrides())?;
    if config.clusters.iter().any(|cluster| cluster.name == args.name) {
        bail!(
            "the cluster {} is registered in {place}: take it out of `clusters` first, so that its agent does not publish it again",
            args.name
        );
    }
    let url: StoreUrl = config.store.expose().parse()?;
    if store::is_in_use(&url).await? {
        bail!(
            "a broker uses the store {url}, and one on SQLite is not told what others change there: stop it first"
        );
    }
    let store =
        store::open(&url, &StoreOptions::default()).await.context("the store cannot be opened")?;
    let remains = look(&*store, &args.name).await?;
    let mut answer = describe(&args.name, &remains);
    if args.yes {
        note(&*store, &args.name, &remains).await?;
        forget(&*store, &remains, SystemClock.now()).await?;
        let when =
            if store.is_shared() { "now, or when a broker runs" } else { "at its next start" };
        answer.push_str(&format!("\nforgotten; the broker deletes these records {when}\n"));
    } else {
        answer.push_str("\nnothing was changed: run this again with --yes to forget the cluster\n");
    }
    std::io::stdout()
        .lock()
        .write_all(answer.as_bytes())
        .context("the answer cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a cluster's remains in the store.
///
/// # Errors
/// The store cannot be read, or the cluster never had a session.
pub async fn look(store: &dyn Store, cluster: &ClusterId) -> anyhow::Result<Remains> {
    let rows = store.clusters().await?;
    let Some(row) = rows.iter().find(|row| row.cluster == *cluster) else {
        let known: Vec<&str> = rows.iter().map(|row| row.cluster.as_str()).collect();
        bail!(
            "no cluster {cluster} ever had a session: the store knows {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
    };
    let (mut endpoints, mut after) = (vec![], 0);
    loop {
        let page = store.endpoints(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.arrival;
        let own = page.iter().filter(|row| row.cluster == *cluster);
        endpoints.extend(own.map(|row| (row.key, row.version)));
    }
    let mut records = vec![];
    for zone in store.zones().await? {
        let mut after: Option<RecordKey> = None;
        loop {
            let page = store.records(&zone.zone, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            let is_own = |owner: &crate::ports::Ownership| owner.cluster == *cluster;
            let own = page.into_iter().filter(|row| row.owner.as_ref().is_some_and(is_own));
            records.extend(own.map(|row| (zone.name.to_string(), row.key)));
        }
    }
    Ok(Remains { row: row.clone(), endpoints, records })
}

/// Says in the audit what is about to be removed: what is not in the audit is not done.
async fn note(store: &dyn Store, cluster: &ClusterId, remains: &Remains) -> anyhow::Result<()> {
    let names = remains.records.iter().map(|(_, key)| key.name.to_string());
    let entry = AuditEntry {
        origin: AuditOrigin { via: Some("command line".to_owned()), ..AuditOrigin::default() },
        subject: Some(format!("cluster {cluster}")),
        scope: AuditScope { cluster: Some(cluster.clone()), ..AuditScope::default() }.named(names),
        before: Some(serde_json::json!({
            "endpoints": remains.endpoints.len(), "record_sets": remains.records.len(),
        })),
        ..AuditEntry::new(
            SystemClock.now(),
            Actor::User(OPERATOR.to_owned()),
            AuditKind::ClusterForgotten,
        )
    };
    store.append_audit(&[entry]).await.context("the audit cannot be written")
}

/// Describes a cluster's remains.
fn describe(cluster: &ClusterId, remains: &Remains) -> String {
    let (endpoints, records) = (remains.endpoints.len(), remains.records.len());
    let mut text = format!("the cluster {cluster} has {endpoints} endpoints in the store");
    if records == 0 {
        text.push_str(", and no record in any zone\n");
        return text;
    }
    text.push_str(&format!(
        "; with them go these {records} record sets, and their names are released to whoever wants them:\n"
    ));
    for (zone, key) in remains.records.iter().take(SHOWN) {
        text.push_str(&format!("  {key}  in {zone}\n"));
    }
    if records > SHOWN {
        text.push_str(&format!("  … and {} more\n", records - SHOWN));
    }
    text
}

/// Removes the endpoints.
///
/// # Errors
/// The store does not take it, or a session of the cluster was opened meanwhile.
pub async fn forget(store: &dyn Store, remains: &Remains, at: Timestamp) -> anyhow::Result<()> {
    let cluster = &remains.row.cluster;
    let opening = SessionOpening {
        cluster: cluster.clone(),
        kube_system_uid: remains.row.kube_system_uid.clone(),
        instance_id: INSTANCE.to_owned(),
        at,
    };
    let epoch: Epoch = match store.open_session(&opening).await? {
        SessionOpened::Welcome { epoch, .. } => epoch,
        SessionOpened::IdentityConflict { registered_uid } => bail!(
            "the cluster {cluster} got another kube-system UID meanwhile ({registered_uid}): look at it again"
        ),
    };
    for (seq, step) in (1..).zip(remains.endpoints.chunks(STEP)) {
        let gone = |(key, version): &(KeyHash, Version)| IngestOp::Del {
            key: *key,
            version_seen: Some(*version),
        };
        let unit = IngestUnit {
            cluster: cluster.clone(),
            epoch,
            seq,
            completes_snapshot: false,
            ops: step.iter().map(gone).collect(),
            placings: BTreeMap::new(),
        };
        let outcomes = store.ingest(&[unit], at).await?;
        if outcomes.iter().any(|outcome| matches!(outcome, IngestOutcome::Fenced { .. })) {
            bail!(
                "an agent of the cluster {cluster} has opened a session meanwhile, so it is not gone: see that no broker registers it, and run this again"
            );
        }
    }
    Ok(())
}
