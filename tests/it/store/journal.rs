//! The journal: batches, changes, and a chain that shows what was done to it.

use zonefold::ports::{
    BatchOutcome, ChainCheck, ChangeFilter, ClaimRow, ClaimWrite, RecordRow, RecordWrite,
};

use super::*;

on_both_databases!(
    a_batch_is_open_from_its_intent_to_its_outcome,
    an_outcome_brings_records_and_claims_with_it,
    what_may_come_late_is_told_for_as_long_as_it_is_asked_for,
    a_batch_is_begun_once_and_ends_once,
    changes_come_newest_first_through_every_filter,
    the_last_cause_is_of_a_batch_that_was_not_refused,
    a_whole_chain_counts_its_entries,
    the_journal_cannot_be_changed_or_deleted,
    tampering_with_an_entry_shows_at_its_number,
    a_chain_that_was_cut_short_shows,
    a_chain_that_is_longer_than_its_end_shows,
    chains_of_accounts_grow_at_once,
);

fn applied(change_id: &str) -> BatchOutcome {
    BatchOutcome::Applied { change_id: change_id.into(), request_id: None }
}

fn refused() -> BatchOutcome {
    BatchOutcome::Refused {
        code: "InvalidChangeBatch".into(),
        message: "no".into(),
        request_id: Some("r".into()),
    }
}

async fn store_with_zone(place: &Place) -> Arc<dyn Store> {
    let store = place.open().await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    store
}

async fn finish(
    store: &dyn Store,
    batch: &Batch,
    outcome: &BatchOutcome,
) -> Result<(), StoreError> {
    store.finish_batch(batch, outcome, &[], &[], Timestamp(500)).await
}

async fn a_batch_is_open_from_its_intent_to_its_outcome(place: Place) {
    let store = store_with_zone(&place).await;
    let batches: Vec<_> =
        [3, 1, 2].map(|number| batch(number, &["a.example.com", "b.example.com"])).into();
    for batch in &batches {
        store.begin_batch(batch, &[]).await.unwrap();
    }
    let open = |rows: Vec<zonefold::ports::BatchRow>| {
        rows.into_iter().map(|row| row.batch).collect::<Vec<_>>()
    };
    let store = place.open().await;
    assert_eq!(open(store.open_batches(&account()).await.unwrap()), batches, "oldest first, whole");
    finish(&*store, &batches[1], &applied("C1")).await.unwrap();
    assert_eq!(
        open(store.open_batches(&account()).await.unwrap()),
        [batches[0].clone(), batches[2].clone()]
    );
    assert!(
        store.open_batches(&AccountId::parse("222222222222").unwrap()).await.unwrap().is_empty()
    );
}

async fn what_may_come_late_is_told_for_as_long_as_it_is_asked_for(place: Place) {
    let store = store_with_zone(&place).await;
    let throttled = BatchOutcome::NotApplied { reason: "throttled".into() };
    let outcomes = [
        BatchOutcome::not_found(),
        BatchOutcome::FoundDone,
        applied("C1"),
        refused(),
        throttled,
        BatchOutcome::not_found(),
    ];
    let batches: Vec<_> = (1..=6).map(|number| batch(number, &["a.example.com"])).collect();
    for (batch, outcome) in batches.iter().zip(&outcomes) {
        store.begin_batch(batch, &[]).await.unwrap();
        finish(&*store, batch, outcome).await.unwrap();
    }
    store.begin_batch(&batch(7, &["a.example.com"]), &[]).await.unwrap();
    let lost = async |since: Timestamp| {
        let rows = store.lost_batches(&account(), since).await.unwrap();
        rows.into_iter().map(|row| (row.batch, row.finished_at)).collect::<Vec<_>>()
    };
    let ended = |numbers: &[usize]| {
        let ended =
            numbers.iter().map(|number| (batches[number - 1].clone(), Some(Timestamp(500))));
        ended.collect::<Vec<_>>()
    };
    assert_eq!(lost(Timestamp(0)).await, ended(&[1, 2, 6]), "whole, oldest first");
    assert_eq!(lost(batches[1].planned_at).await, ended(&[2, 6]));
    assert_eq!(lost(Timestamp(i64::MAX)).await, []);
}

async fn an_outcome_brings_records_and_claims_with_it(place: Place) {
    let store = store_with_zone(&place).await;
    let batch = batch(1, &["a.example.com"]);
    let claim = ClaimRow {
        zone: zone_id(),
        name: dns("a.example.com"),
        cluster: cluster("east"),
        since: Timestamp(1),
    };
    store.begin_batch(&batch, &[ClaimWrite::Hold(claim.clone())]).await.unwrap();
    let row = RecordRow {
        key: record_key("a.example.com"),
        raw: packed("a.example.com", "192.0.2.1"),
        owner: None,
        drift: None,
        observed_at: Timestamp(2),
    };
    let writes = [RecordWrite::Put(row.clone())];
    let release = [ClaimWrite::Release { zone: zone_id(), name: claim.name }];
    store.finish_batch(&batch, &applied("C1"), &writes, &release, Timestamp(3)).await.unwrap();
    assert_eq!(store.records(&zone_id(), None, 10).await.unwrap(), [row]);
    assert!(store.claims(&[zone_id()]).await.unwrap().is_empty());
    let changes =
        store.changes(&ChangeFilter { limit: 10, ..ChangeFilter::default() }).await.unwrap();
    assert_eq!(changes[0].outcome, Some(applied("C1")));
    assert_eq!(
        (&changes[0].account, &changes[0].zone, changes[0].planned_at),
        (&account(), &zone_id(), batch.planned_at)
    );
    assert_eq!(&changes[0].change, batch.changes().next().unwrap());
}

async fn a_batch_is_begun_once_and_ends_once(place: Place) {
    let store = store_with_zone(&place).await;
    let batch = batch(1, &["a.example.com"]);
    assert!(
        matches!(finish(&*store, &batch, &applied("C1")).await, Err(StoreError::Refused(_))),
        "never begun"
    );
    store.begin_batch(&batch, &[]).await.unwrap();
    assert!(matches!(store.begin_batch(&batch, &[]).await, Err(StoreError::Refused(_))));
    finish(&*store, &batch, &applied("C1")).await.unwrap();
    // The same again does nothing, not even with other records: the answer to the first call was lost, that is all.
    let writes = [RecordWrite::Remove(record_key("a.example.com"))];
    store.finish_batch(&batch, &applied("C1"), &writes, &[], Timestamp(900)).await.unwrap();
    assert!(matches!(finish(&*store, &batch, &refused()).await, Err(StoreError::Refused(_))));
    assert!(matches!(store.begin_batch(&batch, &[]).await, Err(StoreError::Refused(_))));
    assert_eq!(
        store.verify_journal(&account()).await.unwrap(),
        ChainCheck::Whole(2),
        "one intent, one outcome"
    );
}

async fn changes_come_newest_first_through_every_filter(place: Place) {
    let store = store_with_zone(&place).await;
    store.save_zones(&[zone_row("Z2", "example.net")]).await.unwrap();
    store.begin_batch(&batch(1, &["a.example.com", "b.example.com"]), &[]).await.unwrap();
    let mut other = batch(2, &["a.example.com", "c.example.com"]);
    other.zone = ZoneId::parse("Z2").unwrap();
    other
        .units
        .iter_mut()
        .flat_map(|unit| &mut unit.changes)
        .for_each(|change| change.cause.cluster = cluster("west"));
    store.begin_batch(&other, &[]).await.unwrap();
    let all = ChangeFilter { limit: 10, ..ChangeFilter::default() };
    for (filter, expected) in [
        (all.clone(), &["c", "a", "b", "a"][..]),
        (ChangeFilter { limit: 1, ..all.clone() }, &["c"]),
        (ChangeFilter { name: Some(dns("a.example.com")), ..all.clone() }, &["a", "a"]),
        (ChangeFilter { zone: Some(zone_id()), ..all.clone() }, &["b", "a"]),
        (ChangeFilter { cluster: Some(cluster("west")), ..all.clone() }, &["c", "a"]),
        (ChangeFilter { cluster: Some(cluster("nobody")), ..all.clone() }, &[]),
        (
            ChangeFilter {
                name: Some(dns("a.example.com")),
                cluster: Some(cluster("east")),
                ..all.clone()
            },
            &["a"],
        ),
    ] {
        let rows = store.changes(&filter).await.unwrap();
        let names: Vec<_> =
            rows.iter().map(|row| row.change.key.name.labels().next().unwrap()).collect();
        assert_eq!(names, expected, "{filter:?}");
    }
    let rows = store.changes(&all).await.unwrap();
    assert!(rows.is_sorted_by(|a, b| a.id > b.id));
    let rest = store.changes(&ChangeFilter { before_id: Some(rows[1].id), ..all }).await.unwrap();
    assert_eq!(rest.iter().map(|row| row.id).collect::<Vec<_>>(), [rows[2].id, rows[3].id]);
}

async fn the_last_cause_is_of_a_batch_that_was_not_refused(place: Place) {
    let store = store_with_zone(&place).await;
    let key = record_key("a.example.com");
    let ask = async || store.last_cause(&zone_id(), &key).await.unwrap().map(|(id, _)| id);
    assert_eq!(ask().await, None);
    let batches: Vec<_> = (1..=3).map(|number| batch(number, &["a.example.com"])).collect();
    for (batch, outcome) in batches.iter().zip([Some(applied("C1")), Some(refused()), None]) {
        store.begin_batch(batch, &[]).await.unwrap();
        assert_eq!(ask().await, Some(batch.id), "it may be in effect while nobody knows better");
        if let Some(outcome) = outcome {
            finish(&*store, batch, &outcome).await.unwrap();
        }
    }
    finish(&*store, &batches[2], &BatchOutcome::NotApplied { reason: "throttled".into() })
        .await
        .unwrap();
    assert_eq!(ask().await, Some(batches[0].id));
    let (_, cause) = store.last_cause(&zone_id(), &key).await.unwrap().unwrap();
    assert_eq!(cause, batches[0].changes().next().unwrap().cause);
    let text = RecordKey { rtype: RecordType::Txt, ..key.clone() };
    assert_eq!(store.last_cause(&zone_id(), &text).await.unwrap(), None);
    let weighted = RecordKey { set_identifier: Some("blue".into()), ..key.clone() };
    assert_eq!(store.last_cause(&zone_id(), &weighted).await.unwrap(), None);
}

/// Ten batches with their outcomes: twenty entries.
async fn twenty_entries(place: &Place) -> Arc<dyn Store> {
    let store = store_with_zone(place).await;
    for number in 1..=10 {
        let batch = batch(number, &["a.example.com"]);
        store.begin_batch(&batch, &[]).await.unwrap();
        finish(&*store, &batch, &applied("C1")).await.unwrap();
    }
    store
}

async fn a_whole_chain_counts_its_entries(place: Place) {
    let store = twenty_entries(&place).await;
    assert_eq!(store.verify_journal(&account()).await.unwrap(), ChainCheck::Whole(20));
    assert_eq!(
        store.verify_journal(&AccountId::parse("222222222222").unwrap()).await.unwrap(),
        ChainCheck::Whole(0)
    );
    // More entries than are read at once, up to a full page.
    for number in 11..=200 {
        store.begin_batch(&batch(number, &[]), &[]).await.unwrap();
    }
    for number in 200..=430 {
        let expected = number - 200 + 210;
        if matches!(expected, 210 | 399 | 400 | 401 | 430) {
            assert_eq!(
                store.verify_journal(&account()).await.unwrap(),
                ChainCheck::Whole(expected as u64)
            );
        }
        store.begin_batch(&batch(number + 1000, &[]), &[]).await.unwrap();
    }
}

async fn the_journal_cannot_be_changed_or_deleted(place: Place) {
    let store = twenty_entries(&place).await;
    for sql in [
        "update journal set entry = '{}' where seq = 3",
        "delete from journal where seq = 3",
        "delete from journal",
    ] {
        let error = place.tamper(sql).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{sql}: {error}");
    }
    assert_eq!(store.verify_journal(&account()).await.unwrap(), ChainCheck::Whole(20));
}

/// Takes the triggers away first, as a user with all rights could.
async fn tampered(place: &Place, sql: &'static str) -> ChainCheck {
    let store = twenty_entries(place).await;
    let triggers = if place.directory.is_some() {
        "drop trigger journal_is_not_updated; drop trigger journal_is_not_deleted"
    } else {
        "alter table journal disable trigger all"
    };
    place.tamper(triggers).await.unwrap();
    place.tamper(sql).await.unwrap();
    store.verify_journal(&account()).await.unwrap()
}

async fn tampering_with_an_entry_shows_at_its_number(place: Place) {
    let rewrite =
        "update journal set entry = replace(entry, '192.0.2.1', '192.0.2.6') where seq = 7";
    assert_eq!(tampered(&place, rewrite).await, ChainCheck::BrokenAt(7));
    place.tamper("delete from journal where seq = 4").await.unwrap();
    assert_eq!(
        place.open().await.verify_journal(&account()).await.unwrap(),
        ChainCheck::BrokenAt(4)
    );
    place
        .tamper("update journal set hash = (select hash from journal where seq = 2) where seq = 1")
        .await
        .unwrap();
    assert_eq!(
        place.open().await.verify_journal(&account()).await.unwrap(),
        ChainCheck::BrokenAt(1)
    );
}

async fn a_chain_that_was_cut_short_shows(place: Place) {
    assert_eq!(
        tampered(&place, "delete from journal where seq > 18").await,
        ChainCheck::BrokenAt(19)
    );
    place.tamper("delete from journal").await.unwrap();
    assert_eq!(
        place.open().await.verify_journal(&account()).await.unwrap(),
        ChainCheck::BrokenAt(1)
    );
    place.tamper("delete from journal_heads").await.unwrap();
    assert_eq!(
        place.open().await.verify_journal(&account()).await.unwrap(),
        ChainCheck::Whole(0),
        "an empty one is whole"
    );
}

async fn a_chain_that_is_longer_than_its_end_shows(place: Place) {
    let store = twenty_entries(&place).await;
    for (sql, at_fault) in [
        ("update journal_heads set hash = (select hash from journal where seq = 2)", 20),
        ("update journal_heads set seq = 17", 18),
        ("delete from journal_heads", 1),
    ] {
        place.tamper(sql).await.unwrap();
        assert_eq!(
            store.verify_journal(&account()).await.unwrap(),
            ChainCheck::BrokenAt(at_fault),
            "{sql}"
        );
    }
}

async fn chains_of_accounts_grow_at_once(place: Place) {
    let store = store_with_zone(&place).await;
    let accounts: Vec<_> =
        (0..4).map(|number| AccountId::parse(format!("{number:012}")).unwrap()).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for (number, account) in accounts.iter().cloned().enumerate() {
        // Two tasks an account: its chain must not fork even when the rule of one writer is broken.
        for half in 0..2 {
            let (store, account) = (store.clone(), account.clone());
            tasks.spawn(async move {
                for round in 0..10 {
                    let mut batch =
                        batch((number * 1000 + half * 100 + round) as u128, &["a.example.com"]);
                    batch.account = account.clone();
                    store.begin_batch(&batch, &[]).await.unwrap();
                    finish(&*store, &batch, &applied("C1")).await.unwrap();
                }
            });
        }
    }
    tasks.join_all().await;
    for account in &accounts {
        assert_eq!(store.verify_journal(account).await.unwrap(), ChainCheck::Whole(40));
    }
}
