//! Opening: migrations, versions, and messages that a person can act on.

use zonefold::core::planning::plan::Drift;
use zonefold::ports::{BatchOutcome, ChangeFilter, RecordRow, RecordWrite};

use super::*;
use crate::support::wait::eventually_equal;

on_both_databases!(
    stores_that_open_at_once_migrate_once,
    a_database_of_a_newer_version_is_refused,
    a_database_of_a_newer_version_is_worked_on_by_whoever_knows_the_minimum,
    words_of_a_newer_version_stop_no_read,
    a_database_of_another_base_is_refused_with_what_to_do,
);

async fn stores_that_open_at_once_migrate_once(place: Place) {
    let opened = futures::future::join_all((0..6).map(|_| place.try_open())).await;
    for store in opened {
        store.unwrap().clusters().await.unwrap();
    }
}

/// Notes a migration as a newer version would have run it.
const LATER: &str = "
    insert into _sqlx_migrations (version, description, success, checksum, execution_time)
    select 9999, 'later', success, checksum, 0 from _sqlx_migrations where version = 1";

async fn a_database_of_a_newer_version_is_refused(place: Place) {
    drop(place.open().await);
    place.tamper(LATER).await.unwrap();
    place.tamper("update compatibility set minimum_migration = 9999").await.unwrap();
    let error = place.try_open().await.err().unwrap();
    assert!(
        matches!(&error, StoreError::Refused(text) if text.contains("newer version") && text.contains("9999")),
        "{error}"
    );
}

async fn a_database_of_a_newer_version_is_worked_on_by_whoever_knows_the_minimum(place: Place) {
    drop(place.open().await);
    place.tamper(LATER).await.unwrap();
    let store = place.open().await;
    session(&*store, &cluster("east")).await;
    assert_eq!(place.open().await.clusters().await.unwrap().len(), 1);
}

async fn words_of_a_newer_version_stop_no_read(place: Place) {
    let store = place.open().await;
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    commit(&*store, &east, epoch, vec![put(endpoint(1, "192.0.2.1"))]).await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    let row = RecordRow {
        key: record_key("a.example.com"),
        raw: packed("a.example.com", "192.0.2.1"),
        owner: None,
        drift: Some(Drift::Missing),
        observed_at: Timestamp(2),
    };
    let batches = [batch(1, &["a.example.com"]), batch(2, &["b.example.com"])];
    for batch in &batches {
        store.begin_batch(batch, &[]).await.unwrap();
    }
    let done = BatchOutcome::FoundDone;
    let writes = [RecordWrite::Put(row)];
    store.finish_batch(&batches[0], &done, &writes, &[], Timestamp(3)).await.unwrap();
    let failed = BatchOutcome::NotApplied { reason: "throttled".to_owned() };
    store.finish_batch(&batches[1], &failed, &[], &[], Timestamp(4)).await.unwrap();
    for newer in [
        r#"update endpoints set verdict = '{"state":"waiting","reason":"FULL_MOON"}'"#,
        r#"update records set drift = '"moved"'"#,
        r#"update batches set outcome = '{"outcome":"eclipsed"}'"#,
        "update changes set change = replace(change, '\"wanted\"', '\"moonlit\"')",
    ] {
        place.tamper(newer).await.unwrap();
    }

    let endpoints = store.endpoints(0, 10).await.unwrap();
    assert!(matches!(&endpoints[..], [row] if row.verdict.is_none()), "{endpoints:?}");
    let records = store.records(&zone_id(), None, 10).await.unwrap();
    assert_eq!(records[0].drift, Some(Drift::Changed), "it is not what was written");
    let all = ChangeFilter { limit: 10, ..ChangeFilter::default() };
    let changes = store.changes(&all).await.unwrap();
    assert!(changes.iter().all(|row| row.change.cause.motive == Motive::Unknown), "{changes:?}");
    assert!(
        matches!(&changes[0].outcome, Some(BatchOutcome::NotApplied { reason }) if reason.contains("eclipsed")),
        "{changes:?}"
    );
    assert_eq!(changes[1].outcome, Some(done), "what it says is done");
    let lost = store.lost_batches(&account(), Timestamp(0)).await.unwrap();
    assert_eq!(lost.len(), 2, "whether they come late is not known");
    // A damaged row stays an error.
    place.tamper("update endpoints set verdict = '{'").await.unwrap();
    assert!(matches!(store.endpoints(0, 10).await, Err(StoreError::Corrupt { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_migrates_is_waited_for_longer_than_a_statement_may_take() {
    use sqlx::Connection as _;
    let place = Place::postgres().await;
    let mut other = sqlx::PgConnection::connect(&place.url).await.unwrap();
    let lock = i64::from_be_bytes(*b"zonefold");
    let locked = sqlx::query("select pg_advisory_lock($1)").bind(lock).execute(&mut other).await;
    locked.unwrap();
    let options =
        StoreOptions { statement_ms: 1_000, lock_wait_ms: 1_000, ..StoreOptions::default() };
    let url = place.url.parse().unwrap();
    let opening = tokio::spawn(async move { open(&url, &options).await.map(drop) });
    let waits = "
        select count(*) from pg_stat_activity
         where datname = current_database() and wait_event = 'advisory'
           and query_start < clock_timestamp() - interval '1500 milliseconds'";
    eventually_equal("it waits", 1, async || place.count(waits).await).await;
    other.close().await.unwrap();
    opening.await.unwrap().unwrap();
}

async fn a_database_of_another_base_is_refused_with_what_to_do(place: Place) {
    drop(place.open().await);
    let other = if place.directory.is_some() {
        "update _sqlx_migrations set checksum = x'00'"
    } else {
        "update _sqlx_migrations set checksum = '\\x00'"
    };
    place.tamper(other).await.unwrap();
    let error = place.try_open().await.err().unwrap();
    assert!(
        matches!(&error, StoreError::Refused(text) if text.contains("begin with an empty one")),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_and_its_directory_are_made_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::sqlite();
    let store = place.open().await;
    session(&*store, &cluster("east")).await;
    let directory = place.directory.as_ref().unwrap();
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
}

#[tokio::test]
async fn a_store_in_memory_works_until_it_is_dropped() {
    let url = "sqlite::memory:".parse().unwrap();
    let store = open(&url, &StoreOptions::default()).await.unwrap();
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    commit(&*store, &east, epoch, vec![put(endpoint(1, "192.0.2.1"))]).await;
    assert_eq!(store.endpoints(0, 10).await.unwrap().len(), 1);
    let other = open(&url, &StoreOptions::default()).await.unwrap();
    assert!(other.endpoints(0, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_damaged_and_named() {
    let place = Place::sqlite();
    let file = place.directory.as_ref().unwrap().join("zonefold.db");
    std::fs::create_dir_all(place.directory.as_ref().unwrap()).unwrap();
    std::fs::write(&file, "this is not a database, however long one looks at it ".repeat(100))
        .unwrap();
    let error = place.try_open().await.err().unwrap();
    assert!(
        matches!(&error, StoreError::Corrupt { reason, .. } if reason.contains("zonefold.db")),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_its_password() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://zonefold:s3cret@127.0.0.1:{port}/zonefold").parse().unwrap();
    let error = open(&url, &StoreOptions::default()).await.err().unwrap();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(
        error.to_string().contains(&format!("127.0.0.1:{port}"))
            && !error.to_string().contains("s3cret"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_that_commits_without_the_disk_is_refused() {
    let place = Place::postgres().await;
    let url = format!("{}?options=-csynchronous_commit%3Doff", place.url);
    let error = open(&url.parse().unwrap(), &StoreOptions::default()).await.err().unwrap();
    assert!(
        matches!(&error, StoreError::Refused(text) if text.contains("synchronous_commit")),
        "{error}"
    );
}
