//! Retention: the front of a journal is cut, and what is left still tells the truth.

use zonefold::ports::{BatchOutcome, ChainCheck, ChangeFilter};

use super::*;

on_both_databases!(
    what_ended_long_ago_is_cut_and_the_rest_verifies,
    an_unfinished_batch_keeps_itself_and_all_behind_it,
    the_newest_change_that_left_something_stays_however_old,
    the_newest_change_of_each_set_identifier_stays,
    a_change_that_an_older_release_wrote_is_told_apart_as_well,
    a_cut_chain_still_shows_tampering,
    a_beginning_that_another_hand_moved_shows,
    nothing_but_what_the_beginning_covers_can_be_deleted,
    a_chain_that_was_cut_whole_goes_on,
);

/// A finished batch of these names, ended at its number.
async fn done(store: &dyn Store, number: u128, names: &[&str]) -> Batch {
    let batch = batch(number, names);
    store.begin_batch(&batch, &[]).await.unwrap();
    finish(store, &batch).await;
    batch
}

async fn finish(store: &dyn Store, batch: &Batch) {
    let outcome = BatchOutcome::FoundDone;
    let at = Timestamp(batch.planned_at.0 - 100);
    store.finish_batch(batch, &outcome, &[], &[], at).await.unwrap();
}

/// Batches 1 to 10, ended at the times 1 to 10: entries 1 to 20.
async fn ten_batches(place: &Place) -> Arc<dyn Store> {
    let store = place.open().await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    for number in 1..=10 {
        done(&*store, number, &["a.example.com"]).await;
    }
    store
}

async fn prune(store: &dyn Store, before: i64, most: u32) -> u64 {
    store.prune_journal(&account(), Timestamp(before), most, Timestamp(900)).await.unwrap()
}

async fn what_ended_long_ago_is_cut_and_the_rest_verifies(place: Place) {
    let store = ten_batches(&place).await;
    assert_eq!(prune(&*store, 1, 100).await, 0, "none is as old");
    assert_eq!(
        store.verify_journal(&account()).await.unwrap(),
        ChainCheck::Whole(20),
        "and nothing is noted"
    );
    assert_eq!(prune(&*store, 6, 100).await, 10, "five batches");
    assert_eq!(
        store.verify_journal(&account()).await.unwrap(),
        ChainCheck::Whole(11),
        "five batches and the cut"
    );
    assert_eq!(prune(&*store, 6, 100).await, 0);
    assert_eq!(prune(&*store, 9, 3).await, 3, "a step at a time");
    assert_eq!(prune(&*store, 9, 3).await, 3);
    assert_eq!(prune(&*store, 9, 3).await, 0);
    assert_eq!(
        place.open().await.verify_journal(&account()).await.unwrap(),
        ChainCheck::Whole(7),
        "two batches and three cuts"
    );
    assert_eq!(prune(&*store, 99, 0).await, 0);
    let other = AccountId::parse("222222222222").unwrap();
    assert_eq!(store.prune_journal(&other, Timestamp(99), 100, Timestamp(900)).await.unwrap(), 0);
}

async fn an_unfinished_batch_keeps_itself_and_all_behind_it(place: Place) {
    let store = place.open().await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    done(&*store, 1, &["a.example.com"]).await;
    let open = batch(2, &["b.example.com"]);
    store.begin_batch(&open, &[]).await.unwrap();
    done(&*store, 3, &["a.example.com"]).await;
    assert_eq!(prune(&*store, 99, 100).await, 2);
    assert_eq!(store.open_batches(&account()).await.unwrap()[0].batch, open);
    finish(&*store, &open).await;
    assert_eq!(prune(&*store, 99, 100).await, 5, "the rest with the record of the first cut");
    assert_eq!(store.verify_journal(&account()).await.unwrap(), ChainCheck::Whole(1));
}

async fn the_newest_change_that_left_something_stays_however_old(place: Place) {
    let store = place.open().await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    done(&*store, 1, &["a.example.com", "b.example.com", "c.example.com"]).await;
    let newest = done(&*store, 2, &["a.example.com"]).await;
    let mut removal = batch(3, &["b.example.com"]);
    let change = &mut removal.units[0].changes[0];
    change.before = change.after.take();
    store.begin_batch(&removal, &[]).await.unwrap();
    finish(&*store, &removal).await;
    let refused = batch(4, &["c.example.com"]);
    store.begin_batch(&refused, &[]).await.unwrap();
    let outcome = BatchOutcome::NotApplied { reason: "throttled".into() };
    store.finish_batch(&refused, &outcome, &[], &[], Timestamp(4)).await.unwrap();

    assert_eq!(prune(&*store, 99, 100).await, 8);
    let cause = async |name: &str| {
        store.last_cause(&zone_id(), &record_key(name)).await.unwrap().map(|(id, _)| id)
    };
    assert_eq!(cause("a.example.com").await, Some(newest.id));
    assert_eq!(cause("b.example.com").await, None, "it is gone, and so is the reason for it");
    assert_eq!(
        cause("c.example.com").await,
        Some(batch(1, &[]).id),
        "a batch that changed nothing explains nothing"
    );
    let all = ChangeFilter { limit: 10, ..ChangeFilter::default() };
    assert_eq!(store.changes(&all).await.unwrap().len(), 2);

    // The batch that stayed goes when something newer is cut.
    let newer = done(&*store, 5, &["a.example.com", "c.example.com"]).await;
    prune(&*store, 99, 100).await;
    assert_eq!(cause("a.example.com").await, Some(newer.id));
    let left = store.changes(&all).await.unwrap();
    assert!(left.len() == 2 && left.iter().all(|row| row.batch == newer.id), "{left:?}");
    assert_eq!(store.verify_journal(&account()).await.unwrap(), ChainCheck::Whole(1));
}

/// A finished batch of one set of a weighted name.
async fn weighted(store: &dyn Store, number: u128, set: &str) -> Batch {
    let mut batch = batch(number, &["a.example.com"]);
    batch.units[0].changes[0].key.set_identifier = Some(set.into());
    store.begin_batch(&batch, &[]).await.unwrap();
    finish(store, &batch).await;
    batch
}

async fn cause_of(store: &dyn Store, set: Option<&str>) -> Option<BatchId> {
    let key = RecordKey { set_identifier: set.map(Into::into), ..record_key("a.example.com") };
    store.last_cause(&zone_id(), &key).await.unwrap().map(|(id, _)| id)
}

async fn the_newest_change_of_each_set_identifier_stays(place: Place) {
    let store = place.open().await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    let plain = done(&*store, 1, &["a.example.com"]).await;
    let blue = weighted(&*store, 2, "blue").await;
    weighted(&*store, 3, "green").await;
    let green = weighted(&*store, 4, "green").await;
    prune(&*store, 99, 100).await;
    assert_eq!(cause_of(&*store, Some("blue")).await, Some(blue.id));
    assert_eq!(cause_of(&*store, Some("green")).await, Some(green.id));
    assert_eq!(cause_of(&*store, None).await, Some(plain.id));
    let all = ChangeFilter { limit: 10, ..ChangeFilter::default() };
    assert_eq!(store.changes(&all).await.unwrap().len(), 3);
}

async fn a_change_that_an_older_release_wrote_is_told_apart_as_well(place: Place) {
    let store = place.open().await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    let blue = weighted(&*store, 1, "blue").await;
    weighted(&*store, 2, "green").await;
    place.tamper("update changes set set_identifier = null, action = null").await.unwrap();
    assert_eq!(cause_of(&*store, Some("blue")).await, Some(blue.id));
    let green = weighted(&*store, 3, "green").await;
    let plain = done(&*store, 4, &["a.example.com"]).await;
    prune(&*store, 99, 100).await;
    assert_eq!(cause_of(&*store, Some("blue")).await, Some(blue.id));
    assert_eq!(cause_of(&*store, Some("green")).await, Some(green.id));
    assert_eq!(cause_of(&*store, None).await, Some(plain.id));
    let all = ChangeFilter { limit: 10, ..ChangeFilter::default() };
    assert_eq!(store.changes(&all).await.unwrap().len(), 3);
}

async fn untriggered(place: &Place) {
    place
        .tamper(if place.directory.is_some() {
            "drop trigger journal_is_not_updated; drop trigger journal_is_not_deleted; drop trigger journal_anchors_move_on;
             drop trigger journal_anchors_stay"
        } else {
            "alter table journal disable trigger all; alter table journal_anchors disable trigger all"
        })
        .await
        .unwrap();
}

async fn a_cut_chain_still_shows_tampering(place: Place) {
    let store = ten_batches(&place).await;
    prune(&*store, 6, 100).await;
    untriggered(&place).await;
    place
        .tamper(
            "update journal set entry = replace(entry, '192.0.2.1', '192.0.2.6') where seq = 15",
        )
        .await
        .unwrap();
    assert_eq!(store.verify_journal(&account()).await.unwrap(), ChainCheck::BrokenAt(15));
    place.tamper("delete from journal where seq = 11").await.unwrap();
    assert_eq!(store.verify_journal(&account()).await.unwrap(), ChainCheck::BrokenAt(11));
}

async fn a_beginning_that_another_hand_moved_shows(place: Place) {
    let store = ten_batches(&place).await;
    prune(&*store, 6, 100).await;
    // The triggers let the beginning move on and what it covers go: only the chain itself knows that this was no cut of ours.
    let forged =
        "update journal_anchors set seq = 14, hash = (select hash from journal where seq = 14)";
    place.tamper(forged).await.unwrap();
    place.tamper("delete from journal where seq <= 14").await.unwrap();
    assert_eq!(store.verify_journal(&account()).await.unwrap(), ChainCheck::BrokenAt(15));
    untriggered(&place).await;
    place.tamper("delete from journal_anchors").await.unwrap();
    assert_eq!(store.verify_journal(&account()).await.unwrap(), ChainCheck::BrokenAt(1));
}

async fn nothing_but_what_the_beginning_covers_can_be_deleted(place: Place) {
    let store = ten_batches(&place).await;
    prune(&*store, 6, 100).await;
    for sql in [
        "update journal set entry = '{}' where seq = 13",
        "delete from journal where seq = 11",
        "delete from journal",
        "update journal_anchors set seq = 3",
        "update journal_anchors set account = '222222222222', seq = 99",
        "delete from journal_anchors",
    ] {
        let error = place.tamper(sql).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{sql}: {error}");
    }
    assert_eq!(store.verify_journal(&account()).await.unwrap(), ChainCheck::Whole(11));
}

async fn a_chain_that_was_cut_whole_goes_on(place: Place) {
    let store = ten_batches(&place).await;
    assert_eq!(prune(&*store, 99, 100).await, 20);
    for _ in 0..3 {
        assert_eq!(
            prune(&*store, 99, 100).await,
            0,
            "the record of a cut is no reason for another"
        );
    }
    assert_eq!(store.verify_journal(&account()).await.unwrap(), ChainCheck::Whole(1));
    done(&*store, 11, &["b.example.com"]).await;
    assert_eq!(place.open().await.verify_journal(&account()).await.unwrap(), ChainCheck::Whole(3));
}
