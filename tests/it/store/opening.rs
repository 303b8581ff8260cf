//! Opening: migrations, versions, and messages that a person can act on.

use super::*;

on_both_databases!(
    stores_that_open_at_once_migrate_once,
    a_database_of_a_newer_version_is_refused,
    a_database_of_another_base_is_refused_with_what_to_do,
);

async fn stores_that_open_at_once_migrate_once(place: Place) {
    let opened = futures::future::join_all((0..6).map(|_| place.try_open())).await;
    for store in opened {
        store.unwrap().clusters().await.unwrap();
    }
}

async fn a_database_of_a_newer_version_is_refused(place: Place) {
    drop(place.open().await);
    place.tamper("update _sqlx_migrations set version = 9999 where version = (select max(version) from _sqlx_migrations)").await.unwrap();
    let error = place.try_open().await.err().unwrap();
    assert!(
        matches!(&error, StoreError::Refused(text) if text.contains("newer version") && text.contains("9999")),
        "{error}"
    );
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
