//! The replica that manages each account, and that no other replica writes for it.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use zonefold::core::endpoint::verdict::{Reason, Verdict};
use zonefold::core::time::Millis;
use zonefold::ports::{
    BatchOutcome, ChainCheck, ClaimWrite, LeaseEpoch, Membership, RecordRow, RecordWrite,
    VerdictRow,
};

use super::*;
use crate::support::wait::eventually;

on_both_databases!(
    a_lease_is_taken_under_its_next_epoch,
    what_has_passed_on_is_not_given_back,
    who_leaves_gives_everything_back,
    a_worker_writes_while_it_holds_the_lease,
    every_write_of_a_worker_is_fenced_once_its_lease_has_passed_on,
    a_lease_that_nobody_holds_any_more_gives_no_right,
    who_takes_what_is_not_shared_from_another_ends_its_sessions,
    who_takes_what_is_not_shared_from_another_keeps_the_verdicts,
    the_first_key_that_a_replica_proposes_is_that_of_all,
);

const LONG: Millis = Millis(3_600_000);
const OVER: Millis = Millis(0);

fn nth_account(number: usize) -> AccountId {
    AccountId::parse(format!("{number:012}")).unwrap()
}

fn beating(number: u128) -> ReplicaRow {
    ReplicaRow { replica: replica(number), address: format!("10.0.0.{number}:7080") }
}

fn held(account: &AccountId, by: u128, epoch: u64) -> Tenure {
    Tenure { account: account.clone(), holder: replica(by), epoch: LeaseEpoch(epoch) }
}

async fn take(store: &dyn Store, by: u128, account: &AccountId, ttl: Millis) -> Vec<Tenure> {
    store.take_leases(replica(by), std::slice::from_ref(account), ttl).await.unwrap()
}

/// The lease goes from who holds it to another replica.
async fn pass_on(store: &dyn Store, tenure: &Tenure, to: u128) -> Tenure {
    if store.is_shared() {
        store.give_back(std::slice::from_ref(tenure)).await.unwrap();
    }
    take(store, to, &tenure.account, LONG).await.remove(0)
}

async fn the_first_key_that_a_replica_proposes_is_that_of_all(place: Place) {
    let store = place.open().await;
    let propose = async |octet| store.replica_key(&[octet; 32]).await.unwrap();
    let first = propose(1).await;
    assert_eq!(first, store.is_shared().then_some([1; 32]));
    assert_eq!(propose(2).await, first);
}

async fn a_lease_is_taken_under_its_next_epoch(place: Place) {
    let store = place.open().await;
    let accounts = [nth_account(2), nth_account(1), nth_account(2)];
    let first = store.take_leases(replica(1), &accounts, LONG).await.unwrap();
    assert_eq!(first, [held(&nth_account(1), 1, 1), held(&nth_account(2), 1, 1)]);
    assert_eq!(store.heartbeat(&beating(1), LONG).await.unwrap().leases, first);
    assert_eq!(pass_on(&*store, &first[0], 2).await, held(&nth_account(1), 2, 2));
    let leases = store.heartbeat(&beating(2), LONG).await.unwrap().leases;
    assert_eq!(leases, [held(&nth_account(1), 2, 2), held(&nth_account(2), 1, 1)]);
    assert!(store.take_leases(replica(1), &[], LONG).await.unwrap().is_empty());
}

async fn what_has_passed_on_is_not_given_back(place: Place) {
    let store = place.open().await;
    let old = take(&*store, 1, &account(), LONG).await.remove(0);
    let new = pass_on(&*store, &old, 2).await;
    let (other_epoch, other_holder) =
        (Tenure { epoch: old.epoch, ..new.clone() }, Tenure { holder: old.holder, ..new.clone() });
    store.give_back(&[old, other_epoch, other_holder]).await.unwrap();
    assert_eq!(store.heartbeat(&beating(2), LONG).await.unwrap().leases, [new]);
}

async fn who_leaves_gives_everything_back(place: Place) {
    let store = place.open().await;
    for (by, number) in [(1, 1), (1, 2), (2, 3)] {
        take(&*store, by, &nth_account(number), LONG).await;
    }
    store.leave(replica(1)).await.unwrap();
    assert_eq!(
        store.heartbeat(&beating(2), LONG).await.unwrap().leases,
        [held(&nth_account(3), 2, 1)]
    );
    assert_eq!(take(&*store, 2, &nth_account(1), LONG).await, [held(&nth_account(1), 2, 2)]);
}

async fn who_takes_what_is_not_shared_from_another_ends_its_sessions(place: Place) {
    let (store, east) = (place.open().await, cluster("east"));
    let tenure = take(&*store, 1, &account(), LONG).await.remove(0);
    let epoch = session(&*store, &east).await;
    take(&*store, 1, &nth_account(7), LONG).await;
    commit(&*store, &east, epoch, vec![put(endpoint(1, "192.0.2.1"))]).await;
    pass_on(&*store, &tenure, 2).await;
    let late = store
        .ingest(&[unit(&east, epoch, 2, vec![del(&endpoint(1, "192.0.2.1"))])], Timestamp(11))
        .await
        .unwrap();
    let is_refused = late == [IngestOutcome::Fenced { current: Epoch(epoch.0 + 1) }];
    assert_eq!(is_refused, !store.is_shared(), "{late:?}");
}

async fn who_takes_what_is_not_shared_from_another_keeps_the_verdicts(place: Place) {
    let (store, east) = (place.open().await, cluster("east"));
    let (old, new) = (store.of_replica(replica(1)), store.of_replica(replica(2)));
    let tenure = take(&*store, 1, &account(), LONG).await.remove(0);
    let (epoch, web) = (session(&*store, &east).await, endpoint(1, "192.0.2.1"));
    commit(&*store, &east, epoch, vec![put(web.clone())]).await;
    let arrival = store.endpoints(0, 1).await.unwrap()[0].arrival;
    let verdict = |message: &str| {
        let verdict = Verdict::waiting(Reason::NoZone, message, None);
        [VerdictRow { cluster: east.clone(), arrival, version: web.version(), verdict }]
    };
    old.save_verdicts(&verdict("before")).await.unwrap();
    pass_on(&*store, &tenure, 2).await;
    new.save_verdicts(&verdict("after")).await.unwrap();
    let late = old.save_verdicts(&verdict("late")).await;
    let is_refused = matches!(&late, Err(StoreError::Fenced(of)) if *of == account());
    assert_eq!(is_refused, !store.is_shared(), "{late:?}");
    let kept = store.endpoints(0, 1).await.unwrap()[0].verdict.clone();
    let newest = if store.is_shared() { "late" } else { "after" };
    assert_eq!(kept.as_ref(), Some(&verdict(newest)[0].verdict));
    // A lease of an account that is no longer configured stays with a process that died.
    take(&*store, 3, &nth_account(7), LONG).await;
    new.save_verdicts(&verdict("still")).await.unwrap();
}

fn a_record() -> RecordRow {
    let name = "a.example.com";
    RecordRow {
        key: record_key(name),
        raw: packed(name, "192.0.2.1"),
        owner: None,
        drift: None,
        observed_at: Timestamp(7),
    }
}

/// The six writes of a worker, in an order in which each is possible.
async fn write_everything(store: &dyn Store) -> [Result<(), StoreError>; 6] {
    let batch = batch(1, &["a.example.com"]);
    let outcome = BatchOutcome::NotApplied { reason: "denied".to_owned() };
    [
        store.save_zones(&[zone_row("Z1", "example.com")]).await,
        store.save_records(&zone_id(), &[RecordWrite::Put(a_record())], Some(Timestamp(9))).await,
        store
            .save_claims(&[ClaimWrite::Release { zone: zone_id(), name: dns("a.example.com") }])
            .await,
        store.set_spend_horizon(&account(), Timestamp(5)).await,
        store.begin_batch(&batch, &[]).await,
        store.finish_batch(&batch, &outcome, &[], &[], Timestamp(300)).await,
    ]
}

async fn a_worker_writes_while_it_holds_the_lease(place: Place) {
    let store = place.open().await;
    let tenure = take(&*store, 1, &account(), OVER).await.remove(0);
    // Its time may be over: as long as the lease was not taken, no other replica writes.
    for written in write_everything(&*store.under(tenure)).await {
        written.unwrap();
    }
    assert_eq!(store.verify_journal(&account()).await.unwrap(), ChainCheck::Whole(2));
}

async fn refuses_everything(store: &dyn Store, tenure: &Tenure) {
    for written in write_everything(&*store.under(tenure.clone())).await {
        assert!(
            matches!(&written, Err(StoreError::Fenced(account)) if *account == tenure.account),
            "{written:?}"
        );
    }
}

async fn every_write_of_a_worker_is_fenced_once_its_lease_has_passed_on(place: Place) {
    let store = place.open().await;
    let old = take(&*store, 1, &account(), LONG).await.remove(0);
    let new = pass_on(&*store, &old, 2).await;
    refuses_everything(&*store, &old).await;
    assert!(store.zones().await.unwrap().is_empty());
    assert!(write_everything(&*store.under(new.clone())).await.iter().all(Result::is_ok));
    // Neither the holder nor the epoch alone gives the right, nor does the lease of another account.
    refuses_everything(&*store, &Tenure { epoch: old.epoch, ..new.clone() }).await;
    refuses_everything(&*store, &Tenure { holder: old.holder, ..new.clone() }).await;
    refuses_everything(&*store, &Tenure { account: nth_account(7), ..new.clone() }).await;
    // The same replica again is another taking.
    let newer = pass_on(&*store, &new, 2).await;
    assert_eq!(newer.epoch, LeaseEpoch(3));
    refuses_everything(&*store, &new).await;
    assert_eq!(store.verify_journal(&account()).await.unwrap(), ChainCheck::Whole(2));
    assert_eq!(store.spend_horizon(&account()).await.unwrap(), Some(Timestamp(5)));
}

async fn a_lease_that_nobody_holds_any_more_gives_no_right(place: Place) {
    let store = place.open().await;
    let tenure = take(&*store, 1, &account(), LONG).await.remove(0);
    store.give_back(std::slice::from_ref(&tenure)).await.unwrap();
    refuses_everything(&*store, &tenure).await;
    assert!(
        store.heartbeat(&beating(1), LONG).await.unwrap().leases.is_empty(),
        "a heartbeat takes nothing"
    );
    refuses_everything(&*store, &tenure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_held_is_taken_only_when_its_time_is_over() {
    let store = Place::postgres().await.open().await;
    assert!(store.is_shared());
    let (one, two) = (nth_account(1), nth_account(2));
    take(&*store, 1, &one, LONG).await;
    take(&*store, 1, &two, OVER).await;
    let both = [one.clone(), two.clone()];
    assert_eq!(store.take_leases(replica(2), &both, LONG).await.unwrap(), [held(&two, 2, 2)]);
    assert!(take(&*store, 1, &one, LONG).await.is_empty(), "who holds it does not take it again");
    assert_eq!(
        store.heartbeat(&beating(3), LONG).await.unwrap().leases,
        [held(&one, 1, 1), held(&two, 2, 2)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_take_at_once_one_wins() {
    let place = Place::postgres().await;
    let stores = [place.open().await, place.open().await, place.open().await];
    for round in 0..20 {
        let accounts: Vec<AccountId> =
            (0..30).map(|number| nth_account(round * 100 + number)).collect();
        let taking = stores
            .iter()
            .zip(1..)
            .map(|(store, by)| store.take_leases(replica(by), &accounts, LONG));
        let taken = futures::future::try_join_all(taking).await.unwrap().concat();
        // A loser has skipped a lease that another was about to take; it may not be taken by any other now.
        let rest = stores[0].take_leases(replica(1), &accounts, LONG).await.unwrap();
        let once: BTreeSet<&AccountId> =
            taken.iter().chain(&rest).map(|tenure| &tenure.account).collect();
        assert_eq!((once.len(), taken.len() + rest.len()), (30, 30), "{taken:?}");
        assert!(taken.iter().all(|tenure| tenure.epoch == LeaseEpoch(1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_extends_what_is_still_held() {
    let store = Place::postgres().await.open().await;
    let (kept, lost) = (nth_account(1), nth_account(2));
    store.take_leases(replica(1), &[kept.clone(), lost.clone()], OVER).await.unwrap();
    assert!(
        store.heartbeat(&beating(2), LONG).await.unwrap().leases.is_empty(),
        "they have run out"
    );
    take(&*store, 2, &lost, LONG).await;
    let standing = store.heartbeat(&beating(1), LONG).await.unwrap();
    assert_eq!(standing.leases, [held(&kept, 1, 1), held(&lost, 2, 2)]);
    assert!(take(&*store, 2, &kept, LONG).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_lives_from_heartbeat_to_heartbeat() {
    let place = Place::postgres().await;
    let store = place.open().await;
    let standing = |numbers: &[u128]| Membership {
        replicas: numbers.iter().map(|n| beating(*n)).collect(),
        leases: vec![],
    };
    assert_eq!(store.heartbeat(&beating(2), LONG).await.unwrap(), standing(&[2]));
    assert_eq!(
        store.heartbeat(&beating(3), OVER).await.unwrap(),
        standing(&[2]),
        "its time is over already"
    );
    assert_eq!(store.heartbeat(&beating(1), LONG).await.unwrap(), standing(&[1, 2]));
    assert_eq!(store.heartbeat(&beating(3), LONG).await.unwrap(), standing(&[1, 2, 3]));
    let moved = ReplicaRow { address: "elsewhere:7080".into(), ..beating(3) };
    assert_eq!(store.heartbeat(&moved, LONG).await.unwrap().replicas[2], moved);
    assert_eq!(place.count("select count(*) from replicas").await, 3);
    place
        .tamper("update replicas set expires_at = 0 where address = 'elsewhere:7080'")
        .await
        .unwrap();
    assert_eq!(store.heartbeat(&beating(1), LONG).await.unwrap(), standing(&[1, 2]));
    assert_eq!(
        place.count("select count(*) from replicas").await,
        2,
        "one that is dead for long is forgotten"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_heartbeat_brings_nobody_back_who_left() {
    let store = Place::postgres().await.open().await;
    store.heartbeat(&beating(1), LONG).await.unwrap();
    store.heartbeat(&beating(2), LONG).await.unwrap();
    store.leave(replica(1)).await.unwrap();
    let standing = store.heartbeat(&beating(1), LONG).await.unwrap();
    assert_eq!(standing.replicas, [beating(2)]);
    assert!(take(&*store, 1, &account(), LONG).await.is_empty(), "nor does it take anything");
    assert_eq!(take(&*store, 2, &account(), LONG).await.len(), 1);
}

/// Polls a transaction of a worker until the server has answered its first statement, and then no more.
async fn pause_inside<'a>(
    place: &Place,
    store: &'a dyn Store,
) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>> {
    for until in 2.. {
        let mut writing: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(async move { store.set_spend_horizon(&account(), Timestamp(until)).await });
        while writing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if place.count(INSIDE).await > 0 {
                return writing;
            }
        }
    }
    unreachable!("the loop ends by its return")
}

const INSIDE: &str =
    "select count(*) from pg_stat_activity where state = 'idle in transaction' and query like '%from leases%for key share'
        and datname = current_database()";

/// As a process behaves that is stopped inside a transaction, or whose network is cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_paused_inside_a_transaction_keeps_its_lease_for_a_moment_only() {
    let place = Place::postgres().await;
    let options = StoreOptions { connections: 1, idle_ms: 3_000, ..StoreOptions::default() };
    let (store, one_connection) =
        (place.open().await, open(&place.url.parse().unwrap(), &options).await.unwrap());
    let tenure = take(&*store, 1, &account(), OVER).await.remove(0);
    let worker = one_connection.under(tenure.clone());
    // From the second time on the statements are prepared, and the first answer says that the lease is locked.
    worker.set_spend_horizon(&account(), Timestamp(1)).await.unwrap();
    let paused = pause_inside(&place, &*worker).await;
    let before = store.spend_horizon(&account()).await.unwrap();

    store.heartbeat(&beating(1), OVER).await.unwrap();
    let at_once = take(&*store, 2, &account(), LONG).await;
    assert_eq!(
        place.count(INSIDE).await,
        1,
        "neither the heartbeat nor the taker waited for the transaction"
    );
    assert_eq!(at_once, [], "it does not pass on before the commit");
    let paused_at = tokio::time::Instant::now();
    let taken = eventually("the server ends the transaction", async || {
        take(&*store, 2, &account(), LONG).await.pop().ok_or_else(|| "not taken".to_owned())
    })
    .await;
    assert_eq!(taken, held(&account(), 2, 2));
    assert!(
        paused_at.elapsed() < Duration::from_secs(30),
        "a statement may take longer, a client that does nothing may not"
    );

    let woken = paused.await;
    assert!(matches!(woken, Err(StoreError::Unavailable(_))), "{woken:?}");
    assert_eq!(store.spend_horizon(&account()).await.unwrap(), before);
    let again = worker.set_spend_horizon(&account(), Timestamp(99)).await;
    assert!(matches!(again, Err(StoreError::Fenced(_))), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_process_on_the_same_file_is_fenced() {
    let place = Place::sqlite();
    let (old, new) = (place.open().await, place.open().await);
    assert!(!old.is_shared());
    let first = take(&*old, 1, &account(), OVER).await.remove(0);
    let alone = Membership { replicas: vec![beating(1)], leases: vec![first.clone()] };
    assert_eq!(old.heartbeat(&beating(1), OVER).await.unwrap(), alone, "it does not run out");
    assert!(write_everything(&*old.under(first.clone())).await.iter().all(Result::is_ok));

    let second = take(&*new, 2, &account(), OVER).await.remove(0);
    assert_eq!(second, held(&account(), 2, 2));
    refuses_everything(&*old, &first).await;
    let standing = old.heartbeat(&beating(1), OVER).await.unwrap();
    assert_eq!(
        standing,
        Membership { replicas: vec![beating(1)], leases: vec![second] },
        "the older one sees who has it"
    );
}
