//! A store that an older release wrote, read by this one.

use std::collections::BTreeSet;
use std::path::Path;

use zonefold::core::endpoint::verdict::Reason;
use zonefold::ports::{BatchOutcome, ChainCheck, ChangeFilter};

use super::*;

on_both_databases!(
    a_store_of_0_1_0_keeps_what_it_holds,
    a_store_of_0_1_0_is_written_to_once_migrated,
    the_changes_of_an_older_release_are_given_their_columns
);

/// The example clusters' store of `zonefold dev` of release 0.1.0: `app.yaml` of dev-east was edited, and `f5.yaml` of dev-west
/// removed.
const SQLITE_OF_0_1_0: &str = "tests/data/store-0.1.0.sqlite3";
/// The same clusters as they are written, in PostgreSQL; its one replica was alive when it was dumped.
const POSTGRES_OF_0_1_0: &str = include_str!("../../data/store-0.1.0.sql");

/// The content of the store of 0.1.0.
struct Held {
    /// With a verdict each.
    endpoints: usize,
    /// How many are accepted, have no zone, and wait for a name that another cluster has.
    verdicts: [usize; 3],
    /// How many record sets, claims, changes and journal entries.
    figures: [usize; 4],
}

/// Fills an empty place.
async fn fill_by_0_1_0(place: &Place) -> Held {
    let Some(directory) = &place.directory else {
        place.tamper(POSTGRES_OF_0_1_0).await.unwrap();
        return Held { endpoints: 16, verdicts: [14, 1, 1], figures: [23, 12, 17, 6] };
    };
    std::fs::create_dir_all(directory).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(SQLITE_OF_0_1_0);
    std::fs::copy(file, directory.join("zonefold.db")).unwrap();
    Held { endpoints: 13, verdicts: [11, 1, 1], figures: [20, 9, 21, 10] }
}

async fn a_store_of_0_1_0_keeps_what_it_holds(place: Place) {
    let held = fill_by_0_1_0(&place).await;
    for _ in ["as it was left", "migrated before"] {
        let store = place.open().await;
        let endpoints = store.endpoints(0, 100).await.unwrap();
        assert_eq!(endpoints.len(), held.endpoints);
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
        assert_eq!(counts, held.verdicts);

        assert_eq!(store.clusters().await.unwrap().len(), 3);
        let zones = store.zones().await.unwrap();
        assert_eq!(zones.len(), 3);
        let accounts: BTreeSet<_> = zones.iter().map(|zone| zone.account.clone()).collect();
        assert_eq!(store.listed_accounts().await.unwrap(), accounts);
        let mut records = 0;
        for zone in &zones {
            records += store.records(&zone.zone, None, 100).await.unwrap().len();
        }
        let zones: Vec<_> = zones.into_iter().map(|zone| zone.zone).collect();
        let claims = store.claims(&zones).await.unwrap().len();

        let all = ChangeFilter { limit: 100, ..ChangeFilter::default() };
        let changes = store.changes(&all).await.unwrap();
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
            entries += store.verify_journal(account).await.unwrap().entries().unwrap() as usize;
        }
        assert_eq!([records, claims, changes.len(), entries], held.figures);
    }
}

async fn a_store_of_0_1_0_is_written_to_once_migrated(place: Place) {
    let held = fill_by_0_1_0(&place).await;
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
    assert_eq!(store.endpoints(0, 100).await.unwrap().len(), held.endpoints + 1);
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

#[tokio::test]
async fn a_database_is_not_migrated_while_a_replica_of_0_1_0_works_on_it() {
    let place = Place::postgres().await;
    place.tamper(POSTGRES_OF_0_1_0).await.unwrap();
    place.tamper("update replicas set expires_at = expires_at + 3153600000000").await.unwrap();
    let refused = place.try_open().await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "replicas of zonefold 0.1.0 work on the store (127.0.0.1:7080), and that release cannot share it with this one: stop all of them; \
         what they hold is taken over once their leases have run out"
    );
    assert_eq!(place.count("select count(*) from _sqlx_migrations").await, 1);
    place.tamper("update replicas set left_at = 1").await.unwrap();
    place.open().await;
    assert!(place.count("select count(*) from _sqlx_migrations").await > 1);
}

#[tokio::test]
async fn a_replica_of_0_1_0_that_comes_too_late_cannot_join() {
    let place = Place::postgres().await;
    place.open().await;
    let as_0_1_0_does =
        "insert into replicas (replica, address, expires_at) values ('\\x01', 'late:7080', 1)";
    let refused = place.tamper(as_0_1_0_does).await.unwrap_err().to_string();
    assert!(refused.contains("column \"release\""), "{refused}");
}
