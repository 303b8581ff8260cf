//! `zonefold audit verify` on a store, and what the broker's configuration says in the audit.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tracing::warn;

use crate::adapters::store::{self, StoreOptions, StoreUrl};
use crate::broker::BrokerHandle;
use crate::cli::audit::{AuditVerifyArgs, ChainVerifier, cut_of, verify_file};
use crate::config::{Account, Cluster, Config};
use crate::core::audit::{AuditEntry, AuditKind, AuditOrigin, AuditScope, hex};
use crate::core::governance::actor::Actor;
use crate::ports::{ChainCheck, Store};

/// Entries that are read at once.
const PAGE: u32 = 1_000;

/// Runs `zonefold audit verify`; the exit code is 0 if the chain is whole.
///
/// # Errors
/// The store or the file cannot be read, or the chain is broken.
pub async fn verify(args: AuditVerifyArgs) -> anyhow::Result<ExitCode> {
    let said = match (&args.file, &args.config) {
        (Some(file), _) => verify_file(file, &args.expect)?,
        (None, Some(path)) => {
            let config = Config::load_with(path, &args.overrides())?;
            let url: StoreUrl = config.store.expose().parse()?;
            let options = StoreOptions { connections: 1, ..StoreOptions::default() };
            let store = store::open(&url, &options).await.context("the store cannot be opened")?;
            verify_store(&*store, &args).await?
        }
        (None, None) => bail!("give --config or --file"),
    };
    std::io::stdout().lock().write_all(said.as_bytes()).context("the answer cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

/// Computes each hash of the chain in a store anew, and has the store compare what is searched by with what the entries say.
async fn verify_store(store: &dyn Store, args: &AuditVerifyArgs) -> anyhow::Result<String> {
    let first = store.audit_chain(0, 1).await?;
    let mut verifier = ChainVerifier::new(first.beginning.seq, first.beginning.hash, &args.expect);
    let (mut after, mut cut) = (first.beginning.seq, None);
    loop {
        let page = store.audit_chain(after, PAGE).await?;
        if page.beginning != first.beginning {
            bail!("the audit was cut while it was verified; verify it again");
        }
        for entry in &page.entries {
            verifier.take(entry.seq, &entry.hash, &entry.text)?;
            cut = cut_of(&entry.text).or(cut);
        }
        match page.entries.last() {
            Some(last) => after = last.seq,
            None if after < page.end.seq => {
                bail!("the chain is broken: entry {} is missing", after + 1)
            }
            None => break,
        }
    }
    let beginning = (first.beginning.seq > 0)
        .then(|| json!({ "through": first.beginning.seq, "hash": hex(&first.beginning.hash) }));
    if beginning != cut {
        bail!("the chain is broken: no entry tells of the cut before its first one");
    }
    match store.verify_audit().await? {
        ChainCheck::Whole(_) => verifier.end(),
        ChainCheck::BrokenAt(seq) => {
            bail!("entry {seq} is found by something else than it says")
        }
    }
}

/// Says in the audit what the configuration says of accounts and clusters, as far as that is news. Every replica does, and the first
/// one tells of it.
pub async fn note_configuration(broker: &BrokerHandle, config: &Config, path: &str) {
    let accounts = config.accounts.iter().map(account_entry);
    let clusters = config.clusters.iter().map(cluster_entry);
    for (kind, entries) in [
        (AuditKind::AccountConfigured, accounts.collect::<Vec<_>>()),
        (AuditKind::ClusterConfigured, clusters.collect::<Vec<_>>()),
    ] {
        if let Err(error) = note(broker, kind, entries, path).await {
            warn!(%error, "what the configuration says does not stand in the audit yet");
        }
    }
}

async fn note(
    broker: &BrokerHandle,
    kind: AuditKind,
    entries: Vec<(String, AuditScope, Value)>,
    path: &str,
) -> anyhow::Result<()> {
    let entry = |subject: String, scope: AuditScope, after: Option<Value>| AuditEntry {
        origin: AuditOrigin::replica(broker.replica.replica.0),
        subject: Some(subject),
        scope,
        after,
        ..AuditEntry::new(broker.clock.now(), Actor::File(path.to_owned()), kind)
    };
    let named: BTreeSet<String> = entries.iter().map(|(subject, ..)| subject.clone()).collect();
    let mut news: Vec<AuditEntry> = entries
        .into_iter()
        .map(|(subject, scope, after)| entry(subject, scope, Some(after)))
        .collect();
    for row in broker.store.newest_audit(&[kind]).await? {
        let gone = row.entry.subject.filter(|subject| !named.contains(subject));
        if let Some(subject) = gone.filter(|_| row.entry.after.is_some()) {
            news.push(entry(subject, row.entry.scope, None));
        }
    }
    broker.store.append_news(&[kind], &news).await?;
    Ok(())
}

/// What is said of an account: how its zones are managed, and no way into it.
fn account_entry(account: &Account) -> (String, AuditScope, Value) {
    let scope = AuditScope {
        environment: Some(account.environment.clone()),
        account: Some(account.id.clone()),
        ..AuditScope::default()
    };
    let after = json!({
        "name": account.name, "environment": account.environment, "budget": account.budget, "zones": account.zones,
        "placement": account.placement, "role_arn": account.role_arn,
        "discovery_interval_secs": account.discovery_interval_secs, "drift_interval_secs": account.drift_interval_secs,
    });
    (format!("account {}", account.id), scope, after)
}

/// What is said of a cluster, without its identity's proofs.
fn cluster_entry(cluster: &Cluster) -> (String, AuditScope, Value) {
    let scope = AuditScope {
        environment: Some(cluster.environment.clone()),
        cluster: Some(cluster.name.clone()),
        ..AuditScope::default()
    };
    let after = json!({
        "environment": cluster.environment, "labels": cluster.labels, "visibility": cluster.visibility,
        "max_endpoints": cluster.max_endpoints, "max_bytes": cluster.max_bytes,
        "has_identity": cluster.identity.is_some(),
    });
    (format!("cluster {}", cluster.name), scope, after)
}
