//! A store that an older release wrote, read by this one.

use std::collections::BTreeSet;
use std::path::Path;

use zonefold::core::endpoint::verdict::Reason;
use zonefold::ports::{BatchOutcome, ChainCheck, ChangeFilter};

use super::*;

on_both_databases!(the_changes_of_an_older_release_are_given_their_columns);

/// What `zonefold dev` of the release 0.1.0 left of the example clusters: `app.yaml` of dev-east was edited, and `f5.yaml` of dev-west
/// removed.
const WRITTEN_BY_0_1_0: &str = "tests/data/store-0.1.0.sqlite3";

fn place_of_0_1_0() -> Place {
    let place = Place::sqlite();
    let directory = place.directory.as_ref().unwrap();
    std::fs::create_dir_all(directory).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(WRITTEN_BY_0_1_0);
    std::fs::copy(file, directory.join("zonefold.db")).unwrap();
    place
}

#[tokio::test]
async fn a_store_of_0_1_0_keeps_what_it_holds() {
    let place = place_of_0_1_0();
    for _ in ["as it was left", "migrated before"] {
        let store = place.open().await;
        let endpoints = store.endpoints(0, 100).await.unwrap();
        assert_eq!(endpoints.len(), 13);
        for row in &endpoints {
            let verdict = row.verdict.as_ref().unwrap();
            let placed = row.placed.as_ref();
            assert_eq!(
                placed.map(|placed| placed.placement.set.at()),
                verdict.placement.as_ref().map(std::slice::from_ref),
                "{row:?}"
            );
            assert!(placed.is_none_or(|placed| placed.version.is_none()), "{row:?}");
            assert!(placed.is_none_or(|placed| placed.placement.set.leaving().is_empty()));
        }
        let reasons: Vec<_> =
            endpoints.iter().map(|row| row.verdict.as_ref().unwrap().reason).collect();
        let count = |reason| reasons.iter().filter(|held| **held == reason).count();
        let counts = [Reason::Accepted, Reason::NoZone, Reason::NameHeld].map(count);
        assert_eq!(counts, [11, 1, 1]);

        assert_eq!(store.clusters().await.unwrap().len(), 3);
        let zones = store.zones().await.unwrap();
        assert_eq!(zones.len(), 3);
        let accounts: BTreeSet<_> = zones.iter().map(|zone| zone.account.clone()).collect();
        assert_eq!(store.listed_accounts().await.unwrap(), accounts);
        let mut records = 0;
        for zone in &zones {
            records += store.records(&zone.zone, None, 100).await.unwrap().len();
        }
        assert_eq!(records, 20);
        let zones: Vec<_> = zones.into_iter().map(|zone| zone.zone).collect();
        assert_eq!(store.claims(&zones).await.unwrap().len(), 9);

        let all = ChangeFilter { limit: 100, ..ChangeFilter::default() };
        let changes = store.changes(&all).await.unwrap();
        assert_eq!(changes.len(), 21);
        let is_applied = |row: &zonefold::ports::ChangeRow| {
            matches!(row.outcome, Some(BatchOutcome::Applied { .. }))
        };
        assert!(changes.iter().all(is_applied), "{changes:?}");
        let set = |set: Option<&str>| RecordKey {
            set_identifier: set.map(ArcStr::from),
            ..record_key("checkout.prod.example.com")
        };
        let prod = changes.iter().find(|row| row.change.key == set(Some("prod-east"))).unwrap();
        let cause = store.last_cause(&prod.zone, &set(Some("prod-east"))).await.unwrap();
        assert_eq!(cause.unwrap().0, prod.batch, "the changes were given their set identifiers");
        assert_eq!(store.last_cause(&prod.zone, &set(None)).await.unwrap(), None);
        let mut entries = 0;
        for account in &accounts {
            entries += store.verify_journal(account).await.unwrap().entries().unwrap();
        }
        assert_eq!(entries, 10);
    }
}

#[tokio::test]
async fn a_store_of_0_1_0_is_written_to_once_migrated() {
    let place = place_of_0_1_0();
    let store = place.open().await;
    let north = cluster("dev-north");
    let epoch = session(&*store, &north).await;
    commit(&*store, &north, epoch, vec![put(endpoint(1, "192.0.2.1"))]).await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    let batch = batch(1, &["a.example.com"]);
    store.begin_batch(&batch, &[]).await.unwrap();
    let before = store.verify_journal(&account()).await.unwrap().entries().unwrap();
    store.finish_batch(&batch, &BatchOutcome::FoundDone, &[], &[], Timestamp(3)).await.unwrap();
    assert_eq!(store.verify_journal(&account()).await.unwrap(), ChainCheck::Whole(before + 1));
    assert_eq!(store.endpoints(0, 100).await.unwrap().len(), 14);
}

async fn the_changes_of_an_older_release_are_given_their_columns(place: Place) {
    let store = place.open().await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    let mut batch = batch(1, &["a.example.com", "b.example.com", "c.example.com"]);
    batch.units[0].changes[0].key.set_identifier = Some("blue".into());
    let removed = &mut batch.units[1].changes[0];
    removed.before = removed.after.take();
    let updated = &mut batch.units[2].changes[0];
    updated.before = Some(raw("c.example.com", "192.0.2.9"));
    store.begin_batch(&batch, &[]).await.unwrap();
    drop(store);
    for older in [
        "alter table changes drop column action",
        "alter table changes drop column set_identifier",
        "delete from _sqlx_migrations where version in (6, 7)",
    ] {
        place.tamper(older).await.unwrap();
    }

    let store = place.open().await;
    let blue = RecordKey { set_identifier: Some("blue".into()), ..record_key("a.example.com") };
    assert_eq!(store.last_cause(&zone_id(), &blue).await.unwrap().unwrap().0, batch.id);
    assert_eq!(store.last_cause(&zone_id(), &record_key("a.example.com")).await.unwrap(), None);
    if place.directory.is_none() {
        let filled = "
            select count(*) from changes
             where (name, action, coalesce(set_identifier, '-')) in
                   (('a.example.com.', 'create', 'blue'), ('b.example.com.', 'delete', '-'), ('c.example.com.', 'update', '-'))";
        assert_eq!(place.count(filled).await, 3);
    }
}
