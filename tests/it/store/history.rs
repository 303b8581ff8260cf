//! Earlier moments, and what led to a batch.

use std::collections::BTreeSet;

use zonefold::core::governance::actor::Actor;
use zonefold::core::governance::ruleset::RulesDigest;
use zonefold::core::release::request::{ReleaseRequest, RequestState, WantedRelease};
use zonefold::ports::{ApprovalRow, BatchOutcome, ClaimRow, ClaimWrite, RuleSetRow};

use super::*;

on_both_databases!(
    a_batch_leads_to_the_words_that_let_it_go_and_back,
    a_batch_whose_entry_was_cut_still_shows_what_is_kept,
    a_name_is_shown_as_it_was,
    a_zone_is_shown_as_it_was_page_by_page,
    the_rules_of_a_moment_are_those_that_counted_then,
);

fn applied(change: &str) -> BatchOutcome {
    BatchOutcome::Applied { change_id: change.into(), request_id: Some("r-1".into()) }
}

async fn store_with_zone(place: &Place) -> Arc<dyn Store> {
    let store = place.open().await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    store
}

/// One name's record changes from one value to another; `None` for nothing.
fn change(number: u128, name: &str, before: Option<&str>, after: Option<&str>, of: &str) -> Batch {
    let mut batch = batch(number, &[name]);
    let change = &mut batch.units[0].changes[0];
    change.before = before.map(|value| raw(name, value));
    change.after = after.map(|value| raw(name, value));
    change.cause.cluster = cluster(of);
    batch
}

async fn send(
    store: &dyn Store,
    batch: &Batch,
    claims: &[ClaimWrite],
    outcome: &BatchOutcome,
    at: i64,
) {
    store.begin_batch(batch, claims).await.unwrap();
    store.finish_batch(batch, outcome, &[], &[], Timestamp(at)).await.unwrap();
}

fn hold(name: &str, of: &str, since: i64) -> ClaimWrite {
    let since = Timestamp(since);
    ClaimWrite::Hold(ClaimRow { zone: zone_id(), name: dns(name), cluster: cluster(of), since })
}

async fn a_batch_leads_to_the_words_that_let_it_go_and_back(place: Place) {
    let store = store_with_zone(&place).await;
    let id = uuid::Uuid::from_u128(9);
    let mut batch = batch(1, &["a.example.com", "b.example.com"]);
    let unit = batch.units[1].digest(&zone_id());
    batch.stamp.rules = 0;
    batch.stamp.released = BTreeSet::from([unit]);
    let request = ReleaseRequest {
        id,
        version: 1,
        wanted: WantedRelease::Release { zone: dns("example.com"), units: vec![unit] },
        digest: unit,
        by: Actor::Broker,
        why: "too many".to_owned(),
        at: Timestamp(1),
        expires_at: Timestamp(1_000),
        needed: 1,
        four_eyes: true,
        votes: vec![],
        state: RequestState::Approved,
        ended: None,
    };
    let word = ApprovalRow { unit, request: id, at: Timestamp(1), until: Timestamp(900) };
    assert!(store.save_request(&request, &[word], &[]).await.unwrap());
    assert_eq!(store.batch_history(batch.id).await.unwrap(), None);
    send(&*store, &batch, &[], &applied("C1"), 500).await;
    assert_eq!(store.approvals().await.unwrap(), [], "used up");
    let history = store.batch_history(batch.id).await.unwrap().unwrap();
    assert_eq!(history.requests, [id]);
    assert_eq!(store.batches_of_request(id).await.unwrap(), [batch.id]);
    assert_eq!(history.outcome, Some(applied("C1")));
    assert_eq!(
        (history.apex.clone(), history.finished_at),
        (dns("example.com"), Some(Timestamp(500)))
    );
    assert_eq!((history.changes.len(), history.journal_seq), (2, 1));
    assert_eq!(history.batch, Some(batch));
}

async fn a_batch_whose_entry_was_cut_still_shows_what_is_kept(place: Place) {
    let store = store_with_zone(&place).await;
    let batch = change(1, "a.example.com", None, Some("192.0.2.1"), "east");
    send(&*store, &batch, &[], &applied("C1"), 500).await;
    assert!(
        store.prune_journal(&account(), Timestamp(600), 100, Timestamp(700)).await.unwrap() > 0
    );
    let history = store.batch_history(batch.id).await.unwrap().unwrap();
    assert_eq!((history.batch, history.changes.len()), (None, 1));
}

async fn a_name_is_shown_as_it_was(place: Place) {
    let store = store_with_zone(&place).await;
    let name = "a.example.com";
    send(
        &*store,
        &change(1, name, None, Some("192.0.2.1"), "east"),
        &[hold(name, "east", 90)],
        &applied("C1"),
        100,
    )
    .await;
    let refused = BatchOutcome::NotApplied { reason: "throttled".into() };
    send(
        &*store,
        &change(2, name, Some("192.0.2.1"), Some("192.0.2.66"), "east"),
        &[],
        &refused,
        150,
    )
    .await;
    send(
        &*store,
        &change(3, name, Some("192.0.2.1"), Some("192.0.2.2"), "west"),
        &[hold(name, "west", 200)],
        &applied("C3"),
        200,
    )
    .await;
    send(&*store, &change(4, name, Some("192.0.2.2"), None, "west"), &[], &applied("C4"), 300)
        .await;
    store
        .finish_batch(
            &change(4, name, Some("192.0.2.2"), None, "west"),
            &applied("C4"),
            &[],
            &[],
            Timestamp(300),
        )
        .await
        .unwrap();
    let gone = ClaimWrite::Release { zone: zone_id(), name: dns(name) };
    let last = Batch {
        planned_at: Timestamp(390),
        ..change(5, "b.example.com", None, Some("192.0.2.9"), "east")
    };
    send(&*store, &last, &[gone], &applied("C5"), 400).await;
    let seen = async |at: i64| {
        let found = store.name_at(&dns(name), Timestamp(at)).await.unwrap();
        let zone = found.into_iter().next();
        zone.map(|zone| {
            let holder = zone.holder.map(|(cluster, since)| (cluster.to_string(), since.0));
            let values: Vec<String> = zone
                .records
                .iter()
                .flat_map(|record| &record.set.values)
                .map(ToString::to_string)
                .collect();
            (holder, values)
        })
    };
    let east = Some(("east".to_owned(), 90));
    let west = Some(("west".to_owned(), 200));
    let of = |value: &str| vec![value.to_owned()];
    assert_eq!(seen(80).await, None);
    assert_eq!(seen(95).await, Some((east.clone(), vec![])), "claimed, and not there yet");
    assert_eq!(seen(100).await, Some((east.clone(), of("192.0.2.1"))));
    assert_eq!(seen(199).await, Some((east, of("192.0.2.1"))), "what was not applied never was");
    assert_eq!(seen(200).await, Some((west.clone(), of("192.0.2.2"))));
    assert_eq!(seen(300).await.unwrap().1, [""; 0]);
    let after = store.name_at(&dns(name), Timestamp(i64::MAX)).await.unwrap();
    assert_eq!(after[0].holder, None, "released");
    assert_eq!(after[0].whole_since, None);
    assert_eq!(
        store.prune_journal(&account(), Timestamp(160), 100, Timestamp(900)).await.unwrap(),
        4
    );
    let after = store.name_at(&dns(name), Timestamp(i64::MAX)).await.unwrap();
    assert_eq!(after[0].whole_since, Some(Timestamp(103)), "the first batch that is kept");
}

async fn a_zone_is_shown_as_it_was_page_by_page(place: Place) {
    let store = store_with_zone(&place).await;
    for (number, name) in (1..).zip(["c.example.com", "a.example.com", "b.example.com"]) {
        let made = change(number, name, None, Some("192.0.2.1"), "east");
        send(&*store, &made, &[], &applied("C"), 100 + number as i64).await;
    }
    send(
        &*store,
        &change(4, "a.example.com", Some("192.0.2.1"), Some("192.0.2.2"), "east"),
        &[],
        &applied("C"),
        200,
    )
    .await;
    send(
        &*store,
        &change(5, "b.example.com", Some("192.0.2.1"), None, "east"),
        &[],
        &applied("C"),
        300,
    )
    .await;
    let seen = async |at: i64, limit: u32| {
        let (mut all, mut after): (Vec<String>, Option<RecordKey>) = (vec![], None);
        loop {
            let (page, _) =
                store.records_at(&zone_id(), Timestamp(at), after.as_ref(), limit).await.unwrap();
            let Some(last) = page.last() else { return all };
            after = Some(last.key.clone());
            all.extend(
                page.iter().map(|record| format!("{} {}", record.key.name, record.set.values[0])),
            );
        }
    };
    assert_eq!(seen(100, 10).await, [""; 0]);
    assert_eq!(seen(102, 1).await, ["a.example.com 192.0.2.1", "c.example.com 192.0.2.1"]);
    let all = ["a.example.com 192.0.2.2", "b.example.com 192.0.2.1", "c.example.com 192.0.2.1"];
    assert_eq!(seen(200, 2).await, all);
    assert_eq!(seen(300, 1).await, [all[0], all[2]]);
}

async fn the_rules_of_a_moment_are_those_that_counted_then(place: Place) {
    let store = place.open().await;
    for (number, at) in [(1, 10), (2, 20)] {
        let set = RuleSetRow {
            number,
            digest: RulesDigest([number as u8; 32]),
            files: RulesDigest([0; 32]),
            rules: vec![],
            at: Timestamp(at),
            by: "token ops".to_owned(),
            reason: None,
        };
        assert!(store.accept_rules(&set, &[]).await.unwrap());
    }
    let number = async |at: i64| store.rules_at(Timestamp(at)).await.unwrap().map(|set| set.number);
    assert_eq!(
        [number(9).await, number(10).await, number(19).await, number(20).await],
        [None, Some(1), Some(1), Some(2)]
    );
}
