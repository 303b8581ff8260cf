//! A store that was restored from a copy gives out no number a second time.
//!
//! Epochs of sessions and leases and numbers of sets of rules order what happens; what was given out after the copy was made is
//! unknown to it. So before it serves, a restored store raises all of them by far more than are given out between two copies. What it
//! can tell by itself is told by what the database is: PostgreSQL's system identifier, timeline (which a recovery to a point in time
//! and a standby that takes over begin anew) and database; for SQLite the file. A copy that takes the place of the original in the same
//! file or database, or a snapshot of a disk, looks the same: that it was restored has to be said (`zonefold store restored`).

use std::path::Path;

use super::audit;
use super::codec::{to_json, to_signed, to_unsigned};
use super::error::corrupt;
use super::transaction::Transaction;
use super::{Database, SqlStore, rules};
use crate::core::audit::{AuditEntry, AuditKind, AuditOrigin};
use crate::core::governance::actor::Actor;
use crate::core::time::Timestamp;
use crate::ports::{RuleSetRow, StoreError};

/// How far numbers are raised.
pub(super) const RAISED_BY: i64 = 1_000_000;

/// Whether a store is known to have been restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restored {
    /// If it looks so.
    IfItLooksSo,
    /// An operator says so.
    Yes,
}

impl SqlStore {
    /// Raises the numbers of a store that was restored. Processes that open it at once take turns.
    pub(super) async fn raise_if_restored(
        &self,
        file: Option<&Path>,
        restored: Restored,
    ) -> Result<(), StoreError> {
        let identity = match (&self.shared.database, file) {
            (Database::Sqlite(_), Some(file)) => identity_of_file(file.to_owned()).await?,
            // A database in memory ends with its process.
            (Database::Sqlite(_), None) => return Ok(()),
            (Database::Postgres(_), _) => self.identity_of_server().await?,
        };
        let mut transaction = self.writing().await?;
        let raised = recognise(&mut transaction, &identity, restored).await?;
        transaction.commit().await?;
        if let Some(before) = raised {
            tracing::warn!(
                %before,
                now = %identity,
                "the store was restored from a copy, or moved: epochs and the number of the rules were raised"
            );
        }
        Ok(())
    }

    async fn identity_of_server(&self) -> Result<String, StoreError> {
        const DATABASE: &str =
            "select oid::bigint as oid from pg_database where datname = current_database()";
        const SERVER: &str = "
            select s.system_identifier::text as system, c.timeline_id::bigint as timeline
              from pg_control_system() s, pg_control_checkpoint() c";
        let mut transaction = self.reading().await?;
        let database = transaction.fetch_optional(DATABASE, []).await?;
        let oid = database.ok_or_else(|| corrupt("database", "it has no row"))?.int("oid")?;
        transaction.commit().await?;
        // A role may be forbidden to ask; what is known then still tells one database from another.
        let mut transaction = self.reading().await?;
        let server = transaction.fetch_optional(SERVER, []).await;
        Ok(match server {
            Ok(Some(row)) => {
                let (system, timeline) = (row.text("system")?.to_owned(), row.int("timeline")?);
                transaction.commit().await?;
                format!("postgresql {system}, timeline {timeline}, database {oid}")
            }
            Ok(None) | Err(StoreError::Refused(_)) => format!("postgresql, database {oid}"),
            Err(error) => return Err(error),
        })
    }
}

async fn identity_of_file(file: std::path::PathBuf) -> Result<String, StoreError> {
    let looked = tokio::task::spawn_blocking(move || {
        let metadata = std::fs::metadata(&file)?;
        let made = metadata.created().ok();
        let made = made.and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
        Ok::<_, std::io::Error>((number_of(&metadata), made.map_or(0, |made| made.as_millis())))
    });
    let looked = looked.await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let (number, made) = looked.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    Ok(format!("sqlite file {number}, made {made}"))
}

#[cfg(unix)]
fn number_of(metadata: &std::fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    metadata.ino()
}

#[cfg(not(unix))]
fn number_of(_: &std::fs::Metadata) -> u64 {
    0
}

/// Notes what the database is; if that differs from what was noted, raises all numbers. Answers what was noted then.
async fn recognise(
    transaction: &mut Transaction,
    identity: &str,
    restored: Restored,
) -> Result<Option<String>, StoreError> {
    const START: &str =
        "insert into store_identity (id, identity) values (1, $1) on conflict (id) do nothing";
    transaction.execute(START, [identity.into()]).await?;
    let query =
        format!("select identity from store_identity where id = 1{}", transaction.for_update());
    let row = transaction.fetch_optional(&query, []).await?;
    let before = row.ok_or_else(|| corrupt("identity of the store", "there is none"))?;
    let before = before.text("identity")?.to_owned();
    if before == identity && restored == Restored::IfItLooksSo {
        return Ok(None);
    }
    let update = "update store_identity set identity = $1 where id = 1";
    transaction.execute(update, [identity.into()]).await?;
    raise(transaction, &before, identity).await?;
    Ok(Some(before))
}

async fn raise(transaction: &mut Transaction, before: &str, now: &str) -> Result<(), StoreError> {
    // In the order in which all transactions lock.
    let leases = "update leases set epoch = epoch + $1, holder = null";
    transaction.execute(leases, [RAISED_BY.into()]).await?;
    transaction.execute("update clusters set epoch = epoch + $1", [RAISED_BY.into()]).await?;
    let at = Timestamp(time(transaction).await?);
    let latest = rules::latest(transaction).await?;
    let number = latest.as_ref().map_or(0, |latest| latest.number);
    let mut raised = 0;
    if let Some(latest) = latest {
        raised = number + to_unsigned("number of a set of rules", RAISED_BY)?;
        copy_rules(transaction, &latest, raised, at).await?;
    }
    let entry = AuditEntry {
        origin: AuditOrigin::default(),
        subject: Some("store".to_owned()),
        before: Some(serde_json::json!({ "store": before, "rules": number })),
        after: Some(
            serde_json::json!({ "store": now, "rules": raised, "epochs_raised_by": RAISED_BY }),
        ),
        ..AuditEntry::new(at, Actor::Broker, AuditKind::StoreRestored)
    };
    audit::append(transaction, &[entry]).await?;
    if transaction.is_shared() {
        // A replica that read on before the restore has to start again.
        let feed = "update counters set value = value + $1 where name = 'feed'";
        transaction.execute(feed, [RAISED_BY.into()]).await?;
        let cut = "
            update counters set value = (select value from counters where name = 'feed') where name = 'feed_cut'";
        transaction.execute(cut, []).await?;
    }
    Ok(())
}

/// The same rules under a number that was never given out.
async fn copy_rules(
    transaction: &mut Transaction,
    latest: &RuleSetRow,
    number: u64,
    at: Timestamp,
) -> Result<(), StoreError> {
    const COPY: &str = "
        insert into rule_sets (number, digest, files, rules, accepted_at, accepted_by, reason)
        values ($1, $2, $3, $4, $5, $6, $7)";
    let arguments = [
        to_signed("number of a set of rules", number)?.into(),
        latest.digest.0.to_vec().into(),
        latest.files.0.to_vec().into(),
        to_json(&latest.rules)?.into(),
        at.0.into(),
        Actor::Broker.to_string().into(),
        "the store was restored from a copy".into(),
    ];
    transaction.execute(COPY, arguments).await.map(drop)
}

async fn time(transaction: &mut Transaction) -> Result<i64, StoreError> {
    let query = format!("select {} as now", transaction.clock());
    let row = transaction.fetch_optional(&query, []).await?;
    row.ok_or_else(|| corrupt("clock of the store", "it says nothing"))?.int("now")
}
