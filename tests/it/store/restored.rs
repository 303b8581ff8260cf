//! A store that was restored from a copy gives out no number a second time.

use zonefold::adapters::store::open_restored;
use zonefold::core::audit::AuditKind;
use zonefold::core::governance::ruleset::RulesDigest;
use zonefold::core::time::Millis;
use zonefold::ports::{AuditFilter, ChainCheck, RuleSetRow};

use super::*;

on_both_databases!(
    one_that_is_said_to_be_restored_raises_its_epochs_and_its_rules,
    one_that_is_opened_again_stays_as_it_is,
);

fn set(number: u64) -> RuleSetRow {
    RuleSetRow {
        number,
        digest: RulesDigest([number as u8; 32]),
        files: RulesDigest([2; 32]),
        rules: vec![],
        at: Timestamp(number as i64),
        by: "token ops".to_owned(),
        reason: None,
    }
}

/// A store with a session, a lease and a set of rules; answers their numbers.
async fn used(store: &dyn Store) -> (u64, u64, u64) {
    let epoch = session(store, &cluster("east")).await;
    let tenures = store.take_leases(replica(1), &[account()], Millis(60_000)).await.unwrap();
    store.give_back(&tenures).await.unwrap();
    let number = store.latest_rules().await.unwrap().map_or(0, |latest| latest.number) + 1;
    assert!(store.accept_rules(&set(number), &[]).await.unwrap());
    (epoch.0, tenures[0].epoch.0, number)
}

async fn restored(store: &dyn Store) -> usize {
    let filter =
        AuditFilter { kind: Some(AuditKind::StoreRestored), limit: 10, ..AuditFilter::default() };
    store.audit(&filter).await.unwrap().len()
}

async fn one_that_is_said_to_be_restored_raises_its_epochs_and_its_rules(place: Place) {
    let before = used(&*place.open().await).await;
    let url = place.url.parse().unwrap();
    let store = open_restored(&url, &StoreOptions::default()).await.unwrap();
    let latest = store.latest_rules().await.unwrap().unwrap();
    assert!(latest.number > before.2 + 1_000, "{latest:?}");
    assert_eq!((latest.digest, latest.files), (set(before.2).digest, set(before.2).files));
    assert!(
        !store.accept_rules(&set(before.2 + 1), &[]).await.unwrap(),
        "it may have been given out"
    );
    let after = used(&*store).await;
    assert!(after.0 > before.0 + 1_000 && after.1 > before.1 + 1_000, "{before:?} {after:?}");
    assert_eq!(after.2, latest.number + 1);
    assert_eq!(restored(&*store).await, 1);
    assert_eq!(store.verify_audit().await.unwrap(), ChainCheck::Whole(1));
}

async fn one_that_is_opened_again_stays_as_it_is(place: Place) {
    let before = used(&*place.open().await).await;
    let after = used(&*place.open().await).await;
    assert_eq!(after, (before.0 + 1, before.1 + 1, before.2 + 1));
    assert_eq!(restored(&*place.open().await).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_file_is_recognised_when_it_takes_its_place() {
    let place = Place::sqlite();
    let path = place.url.strip_prefix("sqlite:").unwrap().to_owned();
    let store = place.open().await;
    let at_the_copy = used(&*store).await;
    place.tamper(Box::leak(format!("vacuum into '{path}.copy'").into_boxed_str())).await.unwrap();
    let later = used(&*store).await;
    assert!(later > at_the_copy);
    drop(store);
    for end in ["-wal", "-shm"] {
        std::fs::remove_file(format!("{path}{end}")).ok();
    }
    std::fs::rename(format!("{path}.copy"), &path).unwrap();
    let restored_store = place.open().await;
    assert_eq!(restored(&*restored_store).await, 1);
    let after = used(&*restored_store).await;
    assert!(after.0 > later.0 && after.1 > later.1 && after.2 > later.2, "{later:?} {after:?}");
    assert_eq!(restored(&*place.open().await).await, 1, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_database_is_recognised() {
    use sqlx::{Connection as _, Executor as _};
    let place = Place::postgres().await;
    let store = place.open().await;
    let before = used(&*store).await;
    drop(store);
    // As a dump that is restored elsewhere: the same rows in another database.
    let copy = format!("zf_copy_{}", uuid::Uuid::new_v4().simple());
    let (server, name) = place.url.rsplit_once('/').unwrap();
    let name = name.split('?').next().unwrap();
    let mut connection = sqlx::PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    let gone = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}' and pid <> pg_backend_pid()"
    );
    connection.execute(sqlx::AssertSqlSafe(gone)).await.unwrap();
    let statement = format!("create database {copy} template \"{name}\"");
    connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    let restored_place = Place { url: format!("{server}/{copy}"), directory: None };
    let store = restored_place.open().await;
    assert_eq!(restored(&*store).await, 1);
    let after = used(&*store).await;
    assert!(after.0 > before.0 + 1_000 && after.1 > before.1 + 1_000 && after.2 > before.2 + 1_000);
    drop(store);
    let statement = format!("drop database {copy} with (force)");
    connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
}
