//! What needs the word of people, the words that were given, and what guards count.

use std::collections::BTreeSet;

use uuid::Uuid;
use zonefold::core::governance::actor::Actor;
use zonefold::core::governance::ruleset::RulesDigest;
use zonefold::core::planning::tally::{CountedName, Tally};
use zonefold::core::planning::unit_digest::UnitDigest;
use zonefold::core::release::request::{ReleaseRequest, RequestState, WantedRelease};
use zonefold::ports::{ApprovalRow, BatchOutcome, CountedRow, News, RequestFilter, RuleSetRow};

use super::*;

on_both_databases!(
    requests_are_listed_newest_first_through_every_filter,
    a_request_is_written_over_its_version_before_and_over_no_other,
    of_two_who_decide_at_once_one_does,
    words_are_kept_until_their_units_went,
    what_guards_count_is_of_applied_batches,
    a_batch_that_older_rules_planned_is_refused,
);

fn digest(number: u8) -> UnitDigest {
    UnitDigest([number; 32])
}

fn request(number: u8, at: i64) -> ReleaseRequest {
    ReleaseRequest {
        id: Uuid::from_u128(u128::from(number)),
        version: 1,
        wanted: WantedRelease::Release { zone: dns("example.com"), units: vec![digest(number)] },
        digest: digest(number),
        by: Actor::Broker,
        why: "it's much at once, \"ö\"".to_owned(),
        at: Timestamp(at),
        expires_at: Timestamp(at + 1000),
        needed: 1,
        four_eyes: true,
        votes: vec![],
        state: RequestState::Pending,
        ended: None,
    }
}

fn approval(unit: u8, request: u8) -> ApprovalRow {
    ApprovalRow {
        unit: digest(unit),
        request: Uuid::from_u128(u128::from(request)),
        at: Timestamp(5),
        until: Timestamp(500),
    }
}

fn all() -> RequestFilter {
    RequestFilter { limit: 10, ..RequestFilter::default() }
}

async fn requests_are_listed_newest_first_through_every_filter(place: Place) {
    let store = place.open().await;
    let denied = ReleaseRequest { state: RequestState::Denied, ..request(3, 20) };
    let requests = [request(1, 10), request(2, 20), denied];
    for request in &requests {
        assert!(store.save_request(request, &[]).await.unwrap());
    }
    let listed = async |filter: RequestFilter| {
        let listed = store.requests(&filter).await.unwrap();
        listed.iter().map(|request| request.id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(store.request(requests[1].id).await.unwrap().as_ref(), Some(&requests[1]));
    assert_eq!(store.request(Uuid::from_u128(9)).await.unwrap(), None);
    assert_eq!(listed(all()).await, [3, 2, 1]);
    assert_eq!(listed(RequestFilter { limit: 1, ..all() }).await, [3]);
    let pending = RequestFilter { state: Some(RequestState::Pending), ..all() };
    assert_eq!(listed(pending).await, [2, 1]);
    assert_eq!(listed(RequestFilter { digest: Some(digest(1)), ..all() }).await, [1]);
    let next = RequestFilter { before: Some((Timestamp(20), Uuid::from_u128(3))), ..all() };
    assert_eq!(listed(next).await, [2, 1], "of one time, the id decides");
}

async fn a_request_is_written_over_its_version_before_and_over_no_other(place: Place) {
    let store = place.open().await;
    let second = ReleaseRequest { version: 2, state: RequestState::Approved, ..request(1, 10) };
    assert!(
        !store.save_request(&second, &[approval(1, 1)]).await.unwrap(),
        "there is no first one"
    );
    assert!(store.save_request(&request(1, 10), &[]).await.unwrap());
    assert!(!store.save_request(&request(1, 10), &[approval(1, 1)]).await.unwrap(), "it is there");
    assert_eq!(store.approvals().await.unwrap(), [], "a refused write lets nothing go");
    assert!(store.save_request(&second, &[approval(1, 1)]).await.unwrap());
    assert!(!store.save_request(&second, &[approval(2, 1)]).await.unwrap(), "it is taken");
    assert_eq!(store.requests(&all()).await.unwrap(), [second]);
    assert_eq!(store.approvals().await.unwrap(), [approval(1, 1)]);
}

async fn of_two_who_decide_at_once_one_does(place: Place) {
    let store = place.open().await;
    store.save_request(&request(1, 10), &[]).await.unwrap();
    let decide = |unit: u8| {
        let store = Arc::clone(&store);
        let decided = ReleaseRequest { version: 2, ..request(1, 10) };
        tokio::spawn(
            async move { store.save_request(&decided, &[approval(unit, 1)]).await.unwrap() },
        )
    };
    let mut done = 0;
    for deciding in (1..=8).map(decide).collect::<Vec<_>>() {
        done += usize::from(deciding.await.unwrap());
    }
    assert_eq!((done, store.approvals().await.unwrap().len()), (1, 1));
}

fn stamped(number: u128, names: &[&str], stamp: BatchStamp) -> Batch {
    Batch { stamp, ..batch(number, names) }
}

fn applied() -> BatchOutcome {
    BatchOutcome::Applied { change_id: "C1".into(), request_id: None }
}

async fn words_are_kept_until_their_units_went(place: Place) {
    let store = place.open().await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    store.save_request(&request(1, 10), &[approval(1, 1), approval(2, 1)]).await.unwrap();
    store.save_request(&request(2, 11), &[approval(1, 2)]).await.unwrap();
    let stamp = BatchStamp { released: BTreeSet::from([digest(1)]), ..BatchStamp::default() };
    let (lost, went) =
        (stamped(1, &["a.example.com"], stamp.clone()), stamped(2, &["a.example.com"], stamp));
    let not_applied = BatchOutcome::NotApplied { reason: "throttled".into() };
    for (batch, outcome) in [(&lost, not_applied), (&went, applied())] {
        assert_eq!(store.approvals().await.unwrap().len(), 3);
        store.begin_batch(batch, &[]).await.unwrap();
        assert_eq!(store.approvals().await.unwrap().len(), 3, "it is not said that it goes");
        store.finish_batch(batch, &outcome, &[], &[], Timestamp(500)).await.unwrap();
    }
    assert_eq!(store.approvals().await.unwrap(), [approval(2, 1)], "every word for it is used up");
}

async fn what_guards_count_is_of_applied_batches(place: Place) {
    let store = place.open().await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    let counted = |name: &str| CountedName {
        name: dns(name),
        cluster: cluster("east"),
        tally: Tally { deletions: 1, lost_names: 1, replaced_names: 0 },
    };
    let stamp = BatchStamp { counted: vec![counted("a.example.com")], ..BatchStamp::default() };
    let refused = BatchOutcome::Refused {
        code: "InvalidChangeBatch".into(),
        message: "no".into(),
        request_id: None,
    };
    let ended = [
        (BatchStamp::default(), applied(), 400),
        (stamp.clone(), refused, 500),
        (stamp.clone(), applied(), 300),
        (stamp.clone(), BatchOutcome::FoundDone, 600),
    ];
    for (number, (stamp, outcome, at)) in ended.into_iter().enumerate() {
        let batch = stamped(number as u128, &["a.example.com"], stamp);
        store.begin_batch(&batch, &[]).await.unwrap();
        store.finish_batch(&batch, &outcome, &[], &[], Timestamp(at)).await.unwrap();
    }
    let open = stamped(9, &["a.example.com"], stamp);
    store.begin_batch(&open, &[]).await.unwrap();
    let row = |at| CountedRow {
        at: Timestamp(at),
        zone: ZoneId::parse("Z1").unwrap(),
        counted: vec![counted("a.example.com")],
    };
    assert_eq!(store.counted(&account(), Timestamp(0)).await.unwrap(), [row(300), row(600)]);
    assert_eq!(store.counted(&account(), Timestamp(301)).await.unwrap(), [row(600)]);
    let other = AccountId::parse("222222222222").unwrap();
    assert_eq!(store.counted(&other, Timestamp(0)).await.unwrap(), []);
}

async fn a_batch_that_older_rules_planned_is_refused(place: Place) {
    let store = place.open().await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    let set = |number| RuleSetRow {
        number,
        digest: RulesDigest([number as u8; 32]),
        files: RulesDigest([0; 32]),
        rules: vec![],
        at: Timestamp(7),
        by: "ann".to_owned(),
        reason: None,
    };
    let by = |rules| BatchStamp { rules, ..BatchStamp::default() };
    store.accept_rules(&set(1)).await.unwrap();
    store.begin_batch(&stamped(1, &["a.example.com"], by(1)), &[]).await.unwrap();
    store.accept_rules(&set(2)).await.unwrap();
    let older = stamped(2, &["a.example.com"], by(1));
    let refused = store.begin_batch(&older, &[]).await.unwrap_err();
    assert!(matches!(refused, StoreError::OlderRules { planned: 1, number: 2 }), "{refused}");
    assert_eq!(store.open_batches(&account()).await.unwrap().len(), 1, "it is not in the journal");
    store.begin_batch(&Batch { stamp: by(2), ..older }, &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_replicas_hear_of_words() {
    let place = Place::postgres().await;
    let (one, other) = (place.open().await.of_replica(replica(1)), place.open().await);
    let end = other.feed_end().await.unwrap();
    one.save_request(&request(1, 10), &[]).await.unwrap();
    assert_eq!(other.feed(end, 10).await.unwrap(), [], "a request lets nothing go");
    let second = ReleaseRequest { version: 2, ..request(1, 10) };
    one.save_request(&second, &[approval(1, 1)]).await.unwrap();
    let heard = other.feed(end, 10).await.unwrap();
    assert!(matches!(heard[..], [ref entry] if matches!(entry.news, News::Approvals)), "{heard:?}");
}
