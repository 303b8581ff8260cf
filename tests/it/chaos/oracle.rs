//! The invariants that hold whatever was broken, asked of the emulator and the database.

use std::collections::{BTreeMap, HashSet};

use sqlx::Connection as _;
use zonefold::adapters::store::{self, StoreOptions};
use zonefold::core::ids::AccountId;
use zonefold::emulator::*;
use zonefold::ports::{BatchOutcome, ChangeFilter};

use super::site::{ACCOUNTS, ChaosSite};
use crate::support::foreign::foreign_records;

/// The invariants that every test of this folder ends with, by their numbers in ARCHITECTURE.md.
pub async fn assert_unbroken(site: &ChaosSite) {
    let control = site.emulator.control();
    assert_eq!(foreign_records(&control), site.foreign(), "3: a foreign record was touched");
    compare_and_swap(&control);
    within_the_limits(&control);
    attributable(site).await;
}

fn our_batches(control: &Control) -> Vec<JournalEntry> {
    control.journal(0).into_iter().filter(|entry| entry.origin == Origin::Request).collect()
}

/// Nothing is written blindly, and nothing deleted that was not ours: every state that was taken away is one that we had made.
fn compare_and_swap(control: &Control) {
    let mut made: HashSet<String> = HashSet::new();
    for change in our_batches(control).into_iter().flat_map(|entry| entry.changes) {
        assert_ne!(
            change.action,
            ChangeAction::Upsert,
            "4: a write without a precondition: {change:?}"
        );
        if let Some(before) = &change.before {
            assert!(
                made.contains(&format!("{before:?}")),
                "3: what was deleted was not what we had made: {change:?}"
            );
        }
        if let Some(after) = &change.after {
            made.insert(format!("{after:?}"));
        }
    }
}

/// The emulator's buckets are AWS's: what the replicas spent together never was more.
fn within_the_limits(control: &Control) {
    for (account, counters) in control.counters().accounts {
        assert_eq!(
            (counters.overdrawn, counters.throttled),
            (0, 0),
            "5: a bucket of {account} was overdrawn: {counters:?}"
        );
    }
}

/// No zone ever had two calls of ours at once.
pub fn one_call_a_zone_at_a_time(site: &ChaosSite) {
    for (zone, most) in &site.emulator.control().counters().max_in_flight {
        assert!(*most <= 1, "12: {most} calls were in flight at once in {zone}");
    }
}

/// Each taking of a lease is good for one uninterrupted run of calls: a replica that has lost it does not come back without taking it
/// again. `late` calls were under way when their caller was stopped, and each may interrupt a run.
pub async fn one_replica_at_a_time(site: &ChaosSite, late: usize) {
    let epochs = lease_epochs(site).await;
    for account in ACCOUNTS {
        let runs = site.runs(account);
        let order: Vec<usize> = runs.iter().map(|(replica, _)| *replica).collect();
        let allowed = epochs[account] as usize + 2 * late;
        assert!(
            runs.len() <= allowed,
            "12: {account} was called by {order:?} under {} leases: {runs:#?}",
            epochs[account]
        );
    }
}

/// How often each account's lease was taken, as the database says.
pub async fn lease_epochs(site: &ChaosSite) -> BTreeMap<&'static str, u64> {
    let mut database = sqlx::PgConnection::connect(&site.store).await.unwrap();
    let rows: Vec<(String, i64)> =
        sqlx::query_as("select account, epoch from leases").fetch_all(&mut database).await.unwrap();
    let epoch = |account: &str| {
        rows.iter().find(|(of, _)| of == account).map_or(0, |(_, epoch)| *epoch as u64)
    };
    ACCOUNTS.into_iter().map(|account| (account, epoch(account))).collect()
}

/// Every batch that Route 53 applied is in the journal as applied, with its change, or was found done by reading back; and the
/// journal's chain is whole.
async fn attributable(site: &ChaosSite) {
    let store = store::open(&site.store.parse().unwrap(), &StoreOptions::default()).await.unwrap();
    let rows =
        store.changes(&ChangeFilter { limit: 100_000, ..ChangeFilter::default() }).await.unwrap();
    let mut journal: BTreeMap<String, Vec<_>> = BTreeMap::new();
    rows.into_iter().for_each(|row| journal.entry(row.batch.to_string()).or_default().push(row));
    for entry in our_batches(&site.emulator.control()) {
        let batch = entry
            .comment
            .as_deref()
            .and_then(|comment| comment.strip_prefix("zonefold "))
            .unwrap_or_default();
        let rows = journal.get(batch).unwrap_or_else(|| panic!("10: nobody journalled {entry:?}"));
        for row in rows {
            assert_eq!((&row.account, &row.zone), (&entry.account, &entry.zone), "10: {row:?}");
            assert!(
                !row.change.cause.endpoints.is_empty() || row.change.after.is_none(),
                "10: a change without a cause: {row:?}"
            );
            match &row.outcome {
                Some(BatchOutcome::Applied { change_id, .. }) => {
                    assert_eq!(*change_id, entry.change_id)
                }
                // Its answer was lost, or it came late: what it did was found by reading back, at once or later.
                Some(BatchOutcome::FoundDone | BatchOutcome::NotApplied { .. }) | None => {}
                other => panic!("10: Route 53 applied {entry:?}, and the journal says {other:?}"),
            }
        }
    }
    for account in ACCOUNTS {
        let kept = store.verify_journal(&AccountId::parse(account).unwrap()).await.unwrap();
        assert!(
            kept.entries().is_some(),
            "10: the journal of {account} does not fit together at {kept:?}"
        );
    }
}
