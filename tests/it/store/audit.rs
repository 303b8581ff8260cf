//! The audit: one chain that all replicas append to, and that shows what was done to it.

use zonefold::core::audit::{AuditEntry, AuditKind, AuditResult, AuditScope, genesis, link};
use zonefold::core::governance::actor::Actor;
use zonefold::core::governance::ruleset::RulesDigest;
use zonefold::core::ids::RuleName;
use zonefold::ports::{AuditFilter, ChainCheck, RuleSetRow};

use super::*;

on_both_databases!(
    entries_come_newest_first_through_every_filter,
    what_is_kept_is_what_was_hashed,
    replicas_append_at_once_and_the_chain_does_not_fork,
    an_entry_stands_with_what_it_tells_of_or_not_at_all,
    several_that_see_the_same_thing_tell_of_it_once,
    the_audit_cannot_be_changed_or_deleted,
    tampering_shows_at_its_number,
    a_column_that_says_something_else_than_its_entry_shows,
    an_audit_that_was_cut_short_shows,
    what_is_old_is_cut_and_the_rest_verifies,
    what_nobody_was_told_of_is_not_cut,
    a_repair_stands_in_the_audit_with_its_batch,
);

fn rule_name(text: &str) -> RuleName {
    RuleName::parse(text).unwrap()
}

fn entry(at: i64, kind: AuditKind) -> AuditEntry {
    AuditEntry::new(Timestamp(at), Actor::Token("ops".to_owned()), kind)
}

fn filter() -> AuditFilter {
    AuditFilter { limit: 100, ..AuditFilter::default() }
}

async fn seqs(store: &dyn Store, filter: AuditFilter) -> Vec<i64> {
    store.audit(&filter).await.unwrap().iter().map(|row| row.seq).collect()
}

async fn entries_come_newest_first_through_every_filter(place: Place) {
    let store = place.open().await;
    let request = uuid::Uuid::from_u128(7);
    let scope = AuditScope {
        environment: Some(EnvironmentId::parse("prod").unwrap()),
        account: Some(account()),
        zone: Some(dns("example.com")),
        zone_id: Some(zone_id()),
        cluster: Some(cluster("east")),
        team: Some(rule_name("pay")),
        ..AuditScope::default()
    };
    let all = [
        AuditEntry {
            subject: Some("Grant pay".to_owned()),
            scope: scope.named(["*.pay.example.com".to_owned(), "Shop.Example.com".to_owned()]),
            before: Some(serde_json::json!({ "ö": "it's" })),
            after: Some(serde_json::json!([1, 2])),
            reason: Some("because".to_owned()),
            rules: Some(3),
            ..entry(10, AuditKind::RuleWritten)
        },
        AuditEntry {
            request: Some(request),
            result: AuditResult::Refused("not yours".to_owned()),
            ..AuditEntry::new(Timestamp(20), Actor::Broker, AuditKind::RequestExpired)
        },
        entry(30, AuditKind::NameRerouted),
    ];
    store.append_audit(&all).await.unwrap();
    store.append_audit(&[]).await.unwrap();
    let rows = store.audit(&filter()).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [3, 2, 1]);
    let entries: Vec<AuditEntry> = rows.into_iter().rev().map(|row| row.entry).collect();
    assert_eq!(entries, all);
    let zone = |text: &str| AuditFilter { zone: Some(text.to_owned()), ..filter() };
    let name = |text: &str| AuditFilter { name: Some(dns(text)), ..filter() };
    for (filter, expected) in [
        (AuditFilter { actor: Some("broker".to_owned()), ..filter() }, vec![2]),
        (AuditFilter { actor: Some("token ops".to_owned()), ..filter() }, vec![3, 1]),
        (AuditFilter { kind: Some(AuditKind::RuleWritten), ..filter() }, vec![1]),
        (AuditFilter { subject: Some("Grant pay".to_owned()), ..filter() }, vec![1]),
        (AuditFilter { environment: EnvironmentId::parse("prod").ok(), ..filter() }, vec![1]),
        (AuditFilter { account: Some(account()), ..filter() }, vec![1]),
        (zone("example.com"), vec![1]),
        (zone("Z1"), vec![1]),
        (zone("Z2"), vec![]),
        (AuditFilter { cluster: Some(cluster("east")), ..filter() }, vec![1]),
        (AuditFilter { team: Some(rule_name("pay")), ..filter() }, vec![1]),
        (name("a.b.pay.example.com"), vec![1]),
        (name("shop.example.com"), vec![1]),
        (name("pay.example.com"), vec![]),
        (AuditFilter { request: Some(request), ..filter() }, vec![2]),
        (AuditFilter { since: Some(Timestamp(20)), ..filter() }, vec![3, 2]),
        (AuditFilter { until: Some(Timestamp(20)), ..filter() }, vec![1]),
        (AuditFilter { before: Some(3), limit: 1, ..filter() }, vec![2]),
        (
            AuditFilter {
                kind: Some(AuditKind::RuleWritten),
                cluster: Some(cluster("west")),
                ..filter()
            },
            vec![],
        ),
    ] {
        assert_eq!(seqs(&*store, filter.clone()).await, expected, "{filter:?}");
    }
}

async fn what_is_kept_is_what_was_hashed(place: Place) {
    let store = place.open().await;
    for at in 1..=3 {
        store.append_audit(&[entry(at, AuditKind::NameRerouted)]).await.unwrap();
    }
    let page = store.audit_chain(0, 2).await.unwrap();
    assert_eq!((page.beginning.seq, page.beginning.hash), (0, genesis()));
    assert_eq!((page.end.seq, page.entries.len()), (3, 2));
    let (mut before, mut rest) = (genesis(), store.audit_chain(2, 100).await.unwrap().entries);
    let mut all = page.entries;
    all.append(&mut rest);
    for (number, chained) in (1..).zip(&all) {
        before = link(&before, number, &chained.text);
        assert_eq!((chained.seq, chained.hash), (number, before));
        assert!(serde_json::from_str::<AuditEntry>(&chained.text).is_ok());
    }
    assert_eq!(before, page.end.hash);
    assert_eq!(store.verify_audit().await.unwrap(), ChainCheck::Whole(3));
    assert_eq!(store.audit_chain(3, 10).await.unwrap().entries, []);
}

async fn replicas_append_at_once_and_the_chain_does_not_fork(place: Place) {
    let stores = [place.open().await, place.open().await];
    let tasks = (0..40).map(|number| {
        let store = Arc::clone(&stores[number % 2]);
        tokio::spawn(async move {
            let entries = [1, 2, 3].map(|_| entry(number as i64, AuditKind::NameRerouted));
            store.append_audit(&entries).await.unwrap();
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(stores[0].verify_audit().await.unwrap(), ChainCheck::Whole(120));
    let rows = stores[1].audit(&AuditFilter { limit: 1_000, ..filter() }).await.unwrap();
    for three in rows.chunks(3) {
        assert!(three.iter().all(|row| row.entry.at == three[0].entry.at), "they stand together");
    }
}

async fn an_entry_stands_with_what_it_tells_of_or_not_at_all(place: Place) {
    let store = place.open().await;
    let set = |number| RuleSetRow {
        number,
        digest: RulesDigest([1; 32]),
        files: RulesDigest([2; 32]),
        rules: vec![],
        at: Timestamp(5),
        by: "token ops".to_owned(),
        reason: None,
    };
    let told = [entry(5, AuditKind::RuleWritten)];
    assert!(!store.accept_rules(&set(2), &told).await.unwrap(), "it is not the next one");
    assert_eq!(seqs(&*store, filter()).await, [0; 0]);
    assert!(store.accept_rules(&set(1), &told).await.unwrap());
    assert_eq!(seqs(&*store, filter()).await, [1]);
    assert_eq!(store.verify_audit().await.unwrap(), ChainCheck::Whole(1));
}

async fn several_that_see_the_same_thing_tell_of_it_once(place: Place) {
    let stores = [place.open().await, place.open().await];
    let kinds = [AuditKind::AccountParked, AuditKind::AccountResumed];
    let parked = |why: &str| AuditEntry {
        subject: Some("account 1".to_owned()),
        after: Some(serde_json::json!({ "message": why })),
        ..entry(1, AuditKind::AccountParked)
    };
    let resumed = AuditEntry { after: None, ..parked("") };
    let resumed = AuditEntry { kind: AuditKind::AccountResumed, ..resumed };
    let tell = async |store: usize, entry: &AuditEntry| {
        stores[store].append_news(&kinds, std::slice::from_ref(entry)).await.unwrap()
    };
    assert_eq!(tell(0, &resumed).await, 0, "it was never parked");
    assert_eq!(tell(0, &parked("no role")).await, 1);
    assert_eq!(tell(1, &parked("no role")).await, 0);
    assert_eq!(tell(1, &parked("no key")).await, 1);
    assert_eq!(tell(0, &resumed).await, 1);
    assert_eq!(tell(1, &resumed).await, 0);
    assert_eq!(tell(1, &parked("no role")).await, 1);
    let rows = stores[0].audit(&filter()).await.unwrap();
    let said: Vec<_> = rows.iter().rev().map(|row| row.entry.before.clone()).collect();
    let message = |why: &str| Some(serde_json::json!({ "message": why }));
    assert_eq!(said, [None, message("no role"), message("no key"), None]);
    let newest = stores[0].newest_audit(&kinds).await.unwrap();
    assert_eq!(newest.iter().map(|row| row.seq).collect::<Vec<_>>(), [4]);
    let twenty = (0..20).map(|number| {
        let store = Arc::clone(&stores[number % 2]);
        let entry = AuditEntry { subject: Some("account 2".to_owned()), ..parked("no role") };
        tokio::spawn(async move { store.append_news(&kinds, &[entry]).await.unwrap() })
    });
    let mut appended = 0;
    for task in twenty.collect::<Vec<_>>() {
        appended += task.await.unwrap();
    }
    assert_eq!(appended, 1);
}

async fn three(place: &Place) -> Arc<dyn Store> {
    let store = place.open().await;
    for at in 1..=3 {
        store.append_audit(&[entry(at, AuditKind::NameRerouted)]).await.unwrap();
    }
    store
}

async fn the_audit_cannot_be_changed_or_deleted(place: Place) {
    let store = three(&place).await;
    for statement in [
        "update audit set actor = 'ann' where seq = 2",
        "delete from audit where seq = 2",
        "delete from audit",
        "update audit_ends set seq = 1 where id = 1",
        "delete from audit_ends",
    ] {
        let error = place.tamper(statement).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{statement}: {error}");
    }
    assert_eq!(store.verify_audit().await.unwrap(), ChainCheck::Whole(3));
}

/// Whoever owns the database can drop the triggers.
async fn without_triggers(place: &Place) {
    let of_sqlite = [
        "drop trigger audit_is_not_updated",
        "drop trigger audit_is_not_deleted",
        "drop trigger audit_ends_move_on",
    ];
    let of_postgres =
        ["alter table audit disable trigger all", "alter table audit_ends disable trigger all"];
    let all: &[&'static str] = if place.directory.is_some() { &of_sqlite } else { &of_postgres };
    for statement in all {
        place.tamper(statement).await.unwrap();
    }
}

async fn tampering_shows_at_its_number(place: Place) {
    let store = three(&place).await;
    without_triggers(&place).await;
    place
        .tamper("update audit set entry = replace(entry, 'ops', 'ann') where seq = 2")
        .await
        .unwrap();
    assert_eq!(store.verify_audit().await.unwrap(), ChainCheck::BrokenAt(2));
    place
        .tamper("update audit set entry = replace(entry, 'ann', 'ops') where seq = 2")
        .await
        .unwrap();
    assert_eq!(store.verify_audit().await.unwrap(), ChainCheck::Whole(3));
    place.tamper("delete from audit where seq = 1").await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap(), ChainCheck::BrokenAt(1));
}

async fn a_column_that_says_something_else_than_its_entry_shows(place: Place) {
    let store = three(&place).await;
    without_triggers(&place).await;
    place.tamper("update audit set actor = 'token ann' where seq = 3").await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap(), ChainCheck::BrokenAt(3));
}

async fn an_audit_that_was_cut_short_shows(place: Place) {
    let store = three(&place).await;
    without_triggers(&place).await;
    place.tamper("delete from audit where seq = 3").await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap(), ChainCheck::BrokenAt(3));
}

/// Subscribers were told of all there is.
async fn told_all(store: &dyn Store) {
    let (after, rows) = store.untold(1_000).await.unwrap();
    let through = rows.last().map_or(after, |row| row.seq);
    assert!(store.make_notices(after, through, &[], 10, Timestamp(1)).await.unwrap());
}

async fn what_is_old_is_cut_and_the_rest_verifies(place: Place) {
    let store = place.open().await;
    for at in 1..=10 {
        let scope = AuditScope::default().named([format!("n{at}.example.com")]);
        store
            .append_audit(&[AuditEntry { scope, ..entry(at, AuditKind::NameRerouted) }])
            .await
            .unwrap();
    }
    told_all(&*store).await;
    let prune = async |before: i64, most: u32| {
        store.prune_audit(Timestamp(before), most, Timestamp(100)).await.unwrap()
    };
    assert_eq!(prune(1, 100).await, 0, "none is as old");
    assert_eq!(prune(6, 3).await, 3, "some at a time");
    assert_eq!(prune(6, 100).await, 2);
    assert_eq!(store.verify_audit().await.unwrap(), ChainCheck::Whole(7), "five, and two cuts");
    let page = store.audit_chain(0, 100).await.unwrap();
    assert_eq!((page.beginning.seq, page.entries[0].seq, page.end.seq), (5, 6, 12));
    assert_ne!(page.beginning.hash, genesis());
    let named = AuditFilter { name: Some(dns("n3.example.com")), ..filter() };
    assert_eq!(seqs(&*store, named).await, [0; 0]);
    told_all(&*store).await;
    assert_eq!(prune(1_000, 100).await, 6, "all but the newest");
    told_all(&*store).await;
    assert_eq!(prune(1_000, 100).await, 0, "what tells of cuts is no reason for another one");
    assert_eq!(store.verify_audit().await.unwrap(), ChainCheck::Whole(2));
    without_triggers(&place).await;
    place.tamper("update audit_ends set seq = 12, hash = (select hash from audit where seq = 12) where id = 0").await.unwrap();
    place.tamper("delete from audit where seq <= 12").await.unwrap();
    let check = store.verify_audit().await.unwrap();
    assert!(
        matches!(check, ChainCheck::BrokenAt(_)),
        "a beginning that another hand moved: {check:?}"
    );
}

async fn what_nobody_was_told_of_is_not_cut(place: Place) {
    let store = three(&place).await;
    assert_eq!(store.prune_audit(Timestamp(100), 100, Timestamp(100)).await.unwrap(), 0);
    told_all(&*store).await;
    assert_eq!(store.prune_audit(Timestamp(100), 100, Timestamp(100)).await.unwrap(), 2);
}

async fn a_repair_stands_in_the_audit_with_its_batch(place: Place) {
    let store = place.open().await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    store.begin_batch(&batch(1, &["a.example.com"]), &[]).await.unwrap();
    assert_eq!(seqs(&*store, filter()).await, [0; 0], "what a cluster wants is in the journal");
    let mut repair = batch(2, &["a.example.com", "b.example.com"]);
    repair.units[0].changes[0].cause.motive = Motive::Repair;
    repair.units[1].changes[0].cause.motive = Motive::Adopt;
    store.begin_batch(&repair, &[]).await.unwrap();
    let rows = store.audit(&filter()).await.unwrap();
    let said: Vec<_> =
        rows.iter().map(|row| (row.entry.kind, row.entry.scope.names.clone())).collect();
    assert_eq!(
        said,
        [
            (AuditKind::RecordAdopted, vec!["b.example.com".to_owned()]),
            (AuditKind::DriftRepaired, vec!["a.example.com".to_owned()]),
        ]
    );
    let entry = &rows[0].entry;
    assert_eq!((entry.batch, &entry.actor), (Some(repair.id), &Actor::Broker));
    assert_eq!(entry.scope.zone, Some(dns("example.com")));
}
