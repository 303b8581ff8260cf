//! Notifications: each is made once and delivered by one replica at a time.

use zonefold::core::audit::{AuditEntry, AuditKind};
use zonefold::core::governance::actor::Actor;
use zonefold::core::ids::RuleName;
use zonefold::core::notice::Notice;
use zonefold::ports::{DeliveryEnd, NewNotice, NoticeFilter, NoticeRow, NoticeState};

use super::*;

on_both_databases!(
    an_entry_is_told_of_once,
    a_notification_is_claimed_by_one_and_by_another_once_that_time_is_over,
    what_failed_is_tried_again_at_its_time_and_holds_up_no_other_subscription,
    the_dead_are_listed_and_sent_again_on_a_word,
    beyond_what_may_wait_a_notification_is_dead_at_once,
    what_waits_for_too_long_or_for_nobody_is_given_up,
);

fn name(text: &str) -> RuleName {
    RuleName::parse(text).unwrap()
}

fn entry() -> AuditEntry {
    AuditEntry::new(Timestamp(1), Actor::Broker, AuditKind::HoldBegan)
}

fn new(seq: i64, subscription: &str) -> NewNotice {
    NewNotice { seq, notice: Notice::new(seq, &entry(), &name(subscription), None).unwrap() }
}

/// Notifications of as many entries for these subscriptions, made at a time.
async fn made(store: &dyn Store, entries: usize, subscriptions: &[&str], at: i64) {
    store.append_audit(&vec![entry(); entries]).await.unwrap();
    let (after, rows) = store.untold(1_000).await.unwrap();
    let notices: Vec<NewNotice> = rows
        .iter()
        .flat_map(|row| subscriptions.iter().map(|subscription| new(row.seq, subscription)))
        .collect();
    let through = rows.last().unwrap().seq;
    assert!(store.make_notices(after, through, &notices, 100, Timestamp(at)).await.unwrap());
}

async fn claim(store: &dyn Store, subscription: &str, now: i64) -> Option<NoticeRow> {
    store.claim_notice(&name(subscription), Timestamp(now), Timestamp(now + 60)).await.unwrap()
}

async fn listed(store: &dyn Store, state: NoticeState) -> Vec<(i64, String)> {
    let filter = NoticeFilter { state: Some(state), limit: 100, ..NoticeFilter::default() };
    let rows = store.notices(&filter).await.unwrap();
    rows.into_iter().map(|row| (row.seq, row.subscription.to_string())).collect()
}

async fn an_entry_is_told_of_once(place: Place) {
    let stores = [place.open().await, place.open().await];
    stores[0].append_audit(&[entry(), entry()]).await.unwrap();
    let (after, rows) = stores[1].untold(1).await.unwrap();
    assert_eq!((after, rows.len(), rows[0].seq), (0, 1, 1));
    let notices = [new(1, "a"), new(1, "b")];
    for (store, is_first) in stores.iter().zip([true, false]) {
        let made = store.make_notices(0, 1, &notices, 100, Timestamp(5)).await.unwrap();
        assert_eq!(made, is_first);
    }
    assert_eq!(stores[1].untold(10).await.unwrap().0, 1);
    let waiting = listed(&*stores[0], NoticeState::Waiting).await;
    assert_eq!(waiting, [(1, "a".to_owned()), (1, "b".to_owned())]);
}

async fn a_notification_is_claimed_by_one_and_by_another_once_that_time_is_over(place: Place) {
    let stores = [place.open().await, place.open().await];
    made(&*stores[0], 1, &["a"], 10).await;
    assert_eq!(stores[0].due_subscriptions(Timestamp(9)).await.unwrap(), [], "not yet");
    assert_eq!(stores[0].due_subscriptions(Timestamp(10)).await.unwrap(), [name("a")]);
    let tries = (0..16).map(|number: usize| {
        let store = Arc::clone(&stores[number % 2]);
        tokio::spawn(async move { claim(&*store, "a", 10).await })
    });
    let mut claimed = vec![];
    for task in tries.collect::<Vec<_>>() {
        claimed.extend(task.await.unwrap());
    }
    assert_eq!(claimed.len(), 1);
    assert_eq!(stores[1].due_subscriptions(Timestamp(60)).await.unwrap(), []);
    let again = claim(&*stores[1], "a", 70).await.expect("the first one has died");
    let delivered = async |store: &dyn Store, row: &NoticeRow| {
        store.end_delivery(row, &DeliveryEnd::Delivered, Timestamp(80)).await.unwrap()
    };
    assert!(!delivered(&*stores[0], &claimed[0]).await, "it is another's by now");
    assert!(delivered(&*stores[1], &again).await);
    assert!(!delivered(&*stores[1], &again).await, "once");
    assert_eq!(listed(&*stores[0], NoticeState::Delivered).await, [(1, "a".to_owned())]);
}

async fn what_failed_is_tried_again_at_its_time_and_holds_up_no_other_subscription(place: Place) {
    let store = place.open().await;
    made(&*store, 1, &["a", "b"], 10).await;
    let row = claim(&*store, "a", 10).await.unwrap();
    let again = DeliveryEnd::Again { failure: "x".repeat(5_000), at: Timestamp(500) };
    assert!(store.end_delivery(&row, &again, Timestamp(20)).await.unwrap());
    assert_eq!(store.due_subscriptions(Timestamp(499)).await.unwrap(), [name("b")]);
    assert_eq!(claim(&*store, "a", 499).await, None);
    let row = claim(&*store, "a", 500).await.unwrap();
    assert_eq!((row.attempts, row.failure.unwrap().len()), (1, 500));
    assert_eq!(row.notice.id, "1-a", "the same each time");
}

async fn the_dead_are_listed_and_sent_again_on_a_word(place: Place) {
    let store = place.open().await;
    made(&*store, 2, &["a"], 10).await;
    let row = claim(&*store, "a", 10).await.unwrap();
    let dead = DeliveryEnd::Dead { failure: "gone".to_owned() };
    assert!(store.end_delivery(&row, &dead, Timestamp(20)).await.unwrap());
    assert_eq!(listed(&*store, NoticeState::Dead).await, [(1, "a".to_owned())]);
    let said = [AuditEntry::new(Timestamp(30), Actor::Broker, AuditKind::NoticeResent)];
    assert!(!store.resend(2, &name("a"), Timestamp(30), &said).await.unwrap(), "it waits");
    assert!(store.resend(1, &name("a"), Timestamp(30), &said).await.unwrap());
    assert!(!store.resend(1, &name("a"), Timestamp(30), &said).await.unwrap(), "it waits by now");
    let audit =
        store.audit(&zonefold::ports::AuditFilter { limit: 10, ..Default::default() }).await;
    let resent =
        audit.unwrap().iter().filter(|row| row.entry.kind == AuditKind::NoticeResent).count();
    assert_eq!(resent, 1);
    let row = claim(&*store, "a", 30).await.unwrap();
    assert_eq!((row.seq, row.attempts, row.made_at), (1, 0, Timestamp(30)));
}

async fn beyond_what_may_wait_a_notification_is_dead_at_once(place: Place) {
    let store = place.open().await;
    store.append_audit(&vec![entry(); 4]).await.unwrap();
    let notices: Vec<NewNotice> = (1..=4)
        .flat_map(|seq| ["a", "b"].map(|of| new(seq, of)))
        .filter(|new| new.notice.subscription != name("b") || new.seq == 4)
        .collect();
    assert!(store.make_notices(0, 4, &notices, 2, Timestamp(10)).await.unwrap());
    let a = |seqs: &[i64]| seqs.iter().map(|seq| (*seq, "a".to_owned())).collect::<Vec<_>>();
    assert_eq!(listed(&*store, NoticeState::Dead).await, a(&[4, 3]));
    let mut waiting = a(&[2, 1]);
    waiting.insert(0, (4, "b".to_owned()));
    assert_eq!(listed(&*store, NoticeState::Waiting).await, waiting);
}

async fn what_waits_for_too_long_or_for_nobody_is_given_up(place: Place) {
    let store = place.open().await;
    made(&*store, 1, &["a", "b"], 10).await;
    made(&*store, 1, &["a", "b"], 20).await;
    assert!(claim(&*store, "b", 20).await.is_some());
    let give_up = async |of: Option<&str>, before: i64, at: i64| {
        let of = of.map(name);
        store.give_up(of.as_ref(), Timestamp(before), "no", Timestamp(at)).await.unwrap()
    };
    assert_eq!(give_up(None, 15, 30).await, 1, "what is being delivered ends by itself");
    assert_eq!(give_up(Some("a"), i64::MAX, 30).await, 1);
    assert_eq!(listed(&*store, NoticeState::Waiting).await.len(), 2);
    assert_eq!(store.prune_notices(Timestamp(30)).await.unwrap(), 0);
    assert_eq!(store.prune_notices(Timestamp(31)).await.unwrap(), 2);
    assert_eq!(listed(&*store, NoticeState::Dead).await, []);
}
