//! Sessions and their epochs.

use zonefold::core::ids::Epoch;
use zonefold::core::time::Timestamp;
use zonefold::ports::{ClusterRow, IngestOutcome, IngestUnit, SessionOpened, SessionOpening};

use super::*;

on_both_databases!(
    a_new_session_raises_the_epoch_and_another_uid_changes_nothing,
    only_the_newest_session_commits,
    a_fenced_unit_leaves_the_others_alone,
    sessions_that_open_at_once_get_different_epochs,
    a_group_of_sessions_opens_each_as_if_it_were_alone,
    a_cluster_is_known_after_its_first_snapshot,
);

fn opening(uid: &str, instance: &str, at: i64) -> SessionOpening {
    SessionOpening {
        cluster: cluster("east"),
        kube_system_uid: uid.into(),
        instance_id: instance.into(),
        at: Timestamp(at),
    }
}

async fn a_new_session_raises_the_epoch_and_another_uid_changes_nothing(place: Place) {
    let store = place.open().await;
    for epoch in 1..=3 {
        let welcome = SessionOpened::Welcome { epoch: Epoch(epoch), known: false };
        assert_eq!(
            store
                .open_session(&opening("uid", &format!("agent-{epoch}"), epoch as i64))
                .await
                .unwrap(),
            welcome
        );
    }
    let conflict = SessionOpened::IdentityConflict { registered_uid: "uid".into() };
    assert_eq!(store.open_session(&opening("another", "agent-9", 9)).await.unwrap(), conflict);
    let row = ClusterRow {
        cluster: cluster("east"),
        kube_system_uid: "uid".into(),
        epoch: Epoch(3),
        instance_id: "agent-3".into(),
        last_seq: 0,
        known: false,
        session_at: Timestamp(3),
    };
    assert_eq!(store.clusters().await.unwrap(), [row]);
}

async fn only_the_newest_session_commits(place: Place) {
    let store = place.open().await;
    let east = cluster("east");
    let old = session(&*store, &east).await;
    let new = session(&*store, &east).await;
    let ops = vec![put(endpoint(1, "192.0.2.1"))];
    let outcome = store.ingest(&[unit(&east, old, 1, ops.clone())], Timestamp(5)).await.unwrap();
    assert_eq!(outcome, [IngestOutcome::Fenced { current: new }]);
    assert!(store.endpoints(0, 10).await.unwrap().is_empty());
    assert_eq!(store.clusters().await.unwrap()[0].last_seq, 0);
    assert_eq!(commit(&*store, &east, new, ops).await.len(), 1);
}

async fn a_fenced_unit_leaves_the_others_alone(place: Place) {
    let store = place.open().await;
    let (east, west, ghost) = (cluster("east"), cluster("west"), cluster("ghost"));
    let (first, other) = (session(&*store, &east).await, session(&*store, &west).await);
    let units = [
        unit(&east, Epoch(7), 1, vec![put(endpoint(1, "192.0.2.1"))]),
        unit(&west, other, 1, vec![put(endpoint(1, "192.0.2.1"))]),
        unit(&ghost, Epoch(1), 1, vec![put(endpoint(1, "192.0.2.1"))]),
        unit(&east, first, 2, vec![put(endpoint(2, "192.0.2.1"))]),
    ];
    let outcome = store.ingest(&units, Timestamp(5)).await.unwrap();
    assert_eq!(outcome[0], IngestOutcome::Fenced { current: first });
    assert_eq!(outcome[2], IngestOutcome::Fenced { current: Epoch(0) });
    assert!(matches!(&outcome[1], IngestOutcome::Committed { applied } if applied.len() == 1));
    assert!(matches!(&outcome[3], IngestOutcome::Committed { applied } if applied.len() == 1));
    let rows = store.endpoints(0, 10).await.unwrap();
    let stored: Vec<_> =
        rows.iter().map(|row| (row.cluster.as_str(), row.endpoint.view().object)).collect();
    assert_eq!(stored, [("west", "web-1"), ("east", "web-2")]);
}

async fn sessions_that_open_at_once_get_different_epochs(place: Place) {
    let (one, two) = (place.open().await, place.open().await);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let store = if number % 2 == 0 { one.clone() } else { two.clone() };
        tasks.spawn(async move { session(&*store, &cluster("east")).await });
    }
    let mut epochs = tasks.join_all().await;
    epochs.sort();
    assert_eq!(epochs, (1..=8).map(Epoch).collect::<Vec<_>>());
}

async fn a_group_of_sessions_opens_each_as_if_it_were_alone(place: Place) {
    let store = place.open().await;
    let of = |name: &str, uid: &str, instance: &str| SessionOpening {
        cluster: cluster(name),
        ..opening(uid, instance, 7)
    };
    assert!(store.open_sessions(&[]).await.unwrap().is_empty());
    store.open_session(&of("west", "uid-west", "first")).await.unwrap();
    let epoch = store.open_session(&of("known", "uid-known", "first")).await.unwrap();
    assert_eq!(epoch, SessionOpened::Welcome { epoch: Epoch(1), known: false });
    store
        .ingest(
            &[IngestUnit {
                completes_snapshot: true,
                ..unit(&cluster("known"), Epoch(1), 1, vec![])
            }],
            Timestamp(5),
        )
        .await
        .unwrap();
    let group = [
        of("west", "uid-west", "second"),
        of("east", "uid-east", "one"),
        of("west", "another", "clone"),
        of("east", "uid-east", "two"),
        of("known", "uid-known", "second"),
        of("east", "another", "clone"),
        of("west", "uid-west", "third"),
    ];
    let welcome = |epoch, known| SessionOpened::Welcome { epoch: Epoch(epoch), known };
    let conflict = |uid: &str| SessionOpened::IdentityConflict { registered_uid: uid.to_owned() };
    let expected = [
        welcome(2, false),
        welcome(1, false),
        conflict("uid-west"),
        welcome(2, false),
        welcome(2, true),
        conflict("uid-east"),
        welcome(3, false),
    ];
    assert_eq!(store.open_sessions(&group).await.unwrap(), expected);
    let rows = store.clusters().await.unwrap();
    let instances: Vec<_> = rows
        .iter()
        .map(|row| (row.cluster.as_str(), row.instance_id.as_str(), row.epoch.0))
        .collect();
    assert_eq!(instances, [("east", "two", 2), ("known", "second", 2), ("west", "third", 3)]);
    let many: Vec<SessionOpening> = (0..1_500).map(|n| of(&format!("c{n}"), "uid", "i")).collect();
    assert!(
        store.open_sessions(&many).await.unwrap().iter().all(|opened| *opened == welcome(1, false))
    );
}

async fn a_cluster_is_known_after_its_first_snapshot(place: Place) {
    let store = place.open().await;
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    let snapshot = IngestUnit { completes_snapshot: true, ..unit(&east, epoch, 7, vec![]) };
    let smaller = unit(&east, epoch, 4, vec![]);
    store.ingest(&[snapshot, smaller], Timestamp(5)).await.unwrap();
    let row = &store.clusters().await.unwrap()[0];
    assert!(row.known);
    assert_eq!(row.last_seq, 7, "the highest number counts");
    let again = store.open_session(&opening("uid-east", "agent-2", 9)).await.unwrap();
    assert_eq!(again, SessionOpened::Welcome { epoch: Epoch(2), known: true });
    assert_eq!(
        store.clusters().await.unwrap()[0].last_seq,
        0,
        "the numbers of a session start at its beginning"
    );
}
