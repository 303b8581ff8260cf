//! Ingest, arrivals and verdicts.

use std::collections::BTreeSet;

use zonefold::core::endpoint::quota::QuotaBound;
use zonefold::core::endpoint::verdict::{Placement, Reason, Verdict};
use zonefold::ports::{EndpointRow, VerdictRow};

use super::*;

on_both_databases!(
    a_known_key_keeps_its_arrival,
    the_same_version_again_writes_nothing,
    the_operations_of_a_unit_apply_in_their_order,
    a_deletion_of_an_unseen_version_changes_nothing,
    a_key_that_comes_back_arrives_anew,
    units_of_one_cluster_in_one_call_follow_each_other,
    an_endpoint_reads_back_whole,
    endpoints_page_by_arrival,
    arrivals_are_unique_and_rise_under_concurrent_ingest,
    a_reader_never_misses_a_smaller_arrival,
    a_verdict_stays_with_its_version_and_its_placement_outlives_it,
    what_is_withheld_reads_back_and_its_content_is_news,
    a_hundred_thousand_endpoints_in_one_call,
);

fn arrivals(outcomes: &[OpOutcome]) -> Vec<i64> {
    let arrival = |outcome: &OpOutcome| match outcome {
        OpOutcome::Stored { arrival } => *arrival,
        other => panic!("{other:?}"),
    };
    outcomes.iter().map(arrival).collect()
}

async fn only_row(store: &dyn Store) -> EndpointRow {
    let mut rows = store.endpoints(0, 10).await.unwrap();
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

async fn a_known_key_keeps_its_arrival(place: Place) {
    let store = place.open().await;
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    let first = arrivals(
        &commit(&*store, &east, epoch, (0..3).map(|n| put(endpoint(n, "192.0.2.1"))).collect())
            .await,
    );
    assert!(first.is_sorted_by(|a, b| a < b), "{first:?}");
    let again = arrivals(
        &commit(
            &*store,
            &east,
            epoch,
            (0..3).rev().map(|n| put(endpoint(n, "192.0.2.9"))).collect(),
        )
        .await,
    );
    assert!(again.into_iter().rev().eq(first));
    let rows = store.endpoints(0, 10).await.unwrap();
    assert!(rows.iter().all(|row| row.endpoint.view().targets == ["192.0.2.9"]));
}

async fn the_same_version_again_writes_nothing(place: Place) {
    let store = place.open().await;
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    let before = commit(&*store, &east, epoch, vec![put(endpoint(1, "192.0.2.1"))]).await;
    let later = [unit(&east, epoch, 2, vec![put(endpoint(1, "192.0.2.1"))])];
    let after = store.ingest(&later, Timestamp(99)).await.unwrap();
    assert_eq!(after, [IngestOutcome::Committed { applied: before }]);
    assert_eq!(only_row(&*store).await.updated_at, Timestamp(10), "the time of the first");
}

async fn the_operations_of_a_unit_apply_in_their_order(place: Place) {
    let store = place.open().await;
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    let (one, two) = (endpoint(1, "192.0.2.1"), endpoint(1, "192.0.2.2"));
    let ops = vec![
        put(one.clone()),
        put(two.clone()),
        del(&one),
        del(&two),
        put(one.clone()),
        put(two.clone()),
        put(one.clone()),
    ];
    let done = commit(&*store, &east, epoch, ops).await;
    let [OpOutcome::Stored { arrival: first }, OpOutcome::Stored { arrival: second }] = done[..2]
    else {
        panic!("{done:?}")
    };
    assert_eq!(first, second);
    assert_eq!(done[2..4], [OpOutcome::Unchanged, OpOutcome::Removed]);
    let last = arrivals(&done[4..]);
    assert!(last[0] > first && last.iter().all(|arrival| *arrival == last[0]), "{done:?}");
    let row = only_row(&*store).await;
    assert_eq!((row.arrival, row.endpoint), (last[0], PackedEndpoint::pack(&one)));
}

async fn what_is_withheld_reads_back_and_its_content_is_news(place: Place) {
    let store = place.open().await;
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    let (old, new) = (endpoint(1, "192.0.2.1"), endpoint(1, "192.0.2.2"));
    let withheld = PackedEndpoint::pack(&new).withhold(QuotaBound::Endpoints);
    let withhold = || IngestOp::Put {
        key: new.key.hash(),
        version: new.version(),
        endpoint: withheld.clone(),
    };
    let first = commit(&*store, &east, epoch, vec![put(old), withhold()]).await;
    let row = only_row(&*store).await;
    assert_eq!((row.version, row.endpoint), (new.version(), withheld.clone()));
    // Not even one with the same version, of which the content is there now.
    let stored = commit(&*store, &east, epoch, vec![put(new.clone())]).await;
    assert_eq!(stored, first[1..]);
    assert_eq!(only_row(&*store).await.endpoint.unpack(), new);
    commit(&*store, &east, epoch, vec![withhold()]).await;
    assert_eq!(only_row(&*store).await.endpoint.unpack(), new, "what is stored stays");
    let gone = commit(&*store, &east, epoch, vec![del(&new)]).await;
    assert_eq!(gone, [OpOutcome::Removed]);
}

async fn a_deletion_of_an_unseen_version_changes_nothing(place: Place) {
    let store = place.open().await;
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    let (old, new) = (endpoint(1, "192.0.2.1"), endpoint(1, "192.0.2.2"));
    commit(&*store, &east, epoch, vec![put(new.clone())]).await;
    let done = commit(&*store, &east, epoch, vec![del(&old), del(&endpoint(2, "192.0.2.1"))]).await;
    assert_eq!(done, [OpOutcome::Unchanged, OpOutcome::Unchanged]);
    assert_eq!(only_row(&*store).await.endpoint.unpack(), new);
    let whatever = IngestOp::Del { key: new.key.hash(), version_seen: None };
    assert_eq!(commit(&*store, &east, epoch, vec![whatever]).await, [OpOutcome::Removed]);
    assert!(store.endpoints(0, 10).await.unwrap().is_empty());
}

async fn a_key_that_comes_back_arrives_anew(place: Place) {
    let store = place.open().await;
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    let one = endpoint(1, "192.0.2.1");
    let first = arrivals(&commit(&*store, &east, epoch, vec![put(one.clone())]).await)[0];
    save(&*store, &one, Verdict::waiting(Reason::NoZone, "no zone", None)).await;
    // Deleted and put again inside one unit: still another arrival, and no verdict.
    let done = commit(&*store, &east, epoch, vec![del(&one), put(one.clone())]).await;
    let row = only_row(&*store).await;
    assert!(row.arrival > first);
    assert_eq!(done, [OpOutcome::Removed, OpOutcome::Stored { arrival: row.arrival }]);
    assert_eq!(row.verdict, None);
}

async fn units_of_one_cluster_in_one_call_follow_each_other(place: Place) {
    let store = place.open().await;
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    let (one, two) = (endpoint(1, "192.0.2.1"), endpoint(1, "192.0.2.2"));
    let units = [
        unit(&east, epoch, 1, vec![put(one.clone())]),
        unit(&east, epoch, 2, vec![del(&one)]),
        unit(&east, epoch, 3, vec![put(two)]),
    ];
    let outcomes = store.ingest(&units, Timestamp(5)).await.unwrap();
    assert_eq!(outcomes[1], IngestOutcome::Committed { applied: vec![OpOutcome::Removed] });
    assert_eq!(only_row(&*store).await.endpoint.view().targets, ["192.0.2.2"]);
    assert_eq!(store.clusters().await.unwrap()[0].last_seq, 3);
}

async fn an_endpoint_reads_back_whole(place: Place) {
    let store = place.open().await;
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    let mut written = endpoint(1, "lb-1.elb.amazonaws.com");
    written.key.set_identifier = "größe \"1\"".into();
    written.targets.push("other".into());
    written.ttl_secs = None;
    written.properties =
        [("aws/weight".into(), "10".into()), ("alias".into(), "true".into())].into();
    commit(&*store, &east, epoch, vec![put(written.clone())]).await;
    let row = only_row(&*store).await;
    assert_eq!((row.key, row.version), (written.key.hash(), written.version()));
    assert_eq!((row.cluster, row.endpoint.unpack(), row.verdict), (east, written, None));
}

async fn endpoints_page_by_arrival(place: Place) {
    let store = place.open().await;
    let clusters = [cluster("east"), cluster("west")];
    let epochs = [session(&*store, &clusters[0]).await, session(&*store, &clusters[1]).await];
    for number in 0..10 {
        commit(
            &*store,
            &clusters[number % 2],
            epochs[number % 2],
            vec![put(endpoint(number, "192.0.2.1"))],
        )
        .await;
    }
    let (mut after, mut seen) = (0, vec![]);
    loop {
        let page = store.endpoints(after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 3);
        after = last.arrival;
        seen.extend(page.into_iter().map(|row| row.endpoint.view().object.to_owned()));
    }
    assert_eq!(seen, (0..10).map(|number| format!("web-{number}")).collect::<Vec<_>>());
}

/// Eight tasks of eight clusters over two stores, as two replicas would.
async fn ingest_from_eight_tasks(place: &Place) -> tokio::task::JoinSet<Vec<i64>> {
    let stores = [place.open().await, place.open().await];
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let store = stores[task % 2].clone();
        tasks.spawn(async move {
            let own = cluster(&format!("cluster-{task}"));
            let epoch = session(&*store, &own).await;
            let mut all = vec![];
            for round in 0..20 {
                let ops =
                    (0..5).map(|number| put(endpoint(round * 5 + number, "192.0.2.1"))).collect();
                all.extend(arrivals(&commit(&*store, &own, epoch, ops).await));
            }
            all
        });
    }
    tasks
}

async fn arrivals_are_unique_and_rise_under_concurrent_ingest(place: Place) {
    let all = ingest_from_eight_tasks(&place).await.join_all().await;
    assert!(all.iter().all(|of_task| of_task.is_sorted_by(|a, b| a < b)), "each task's rise");
    let unique: BTreeSet<i64> = all.iter().flatten().copied().collect();
    assert_eq!(unique.len(), 8 * 100);
    let stored: Vec<_> = place
        .open()
        .await
        .endpoints(0, 10_000)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.arrival)
        .collect();
    assert!(unique.into_iter().eq(stored));
}

async fn a_reader_never_misses_a_smaller_arrival(place: Place) {
    let reader = place.open().await;
    let mut writers = ingest_from_eight_tasks(&place).await;
    let (mut after, mut seen) = (0, 0);
    let mut finished = 0;
    while finished < 8 {
        while writers.try_join_next().is_some() {
            finished += 1;
        }
        let rows = reader.endpoints(after, 10_000).await.unwrap();
        seen += rows.len();
        after = rows.last().map_or(after, |row| row.arrival);
        tokio::task::yield_now().await;
    }
    seen += reader.endpoints(after, 10_000).await.unwrap().len();
    assert_eq!(seen, 8 * 100);
}

async fn save(store: &dyn Store, endpoint: &Endpoint, verdict: Verdict) {
    let arrival = only_row(store).await.arrival;
    let row =
        VerdictRow { cluster: cluster("east"), arrival, version: endpoint.version(), verdict };
    store.save_verdicts(&[row]).await.unwrap();
}

async fn a_verdict_stays_with_its_version_and_its_placement_outlives_it(place: Place) {
    let store = place.open().await;
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    let (old, new) = (endpoint(1, "192.0.2.1"), endpoint(1, "192.0.2.2"));
    let accepted = Verdict::accepted(Placement { account: account(), zone: zone_id() });
    commit(&*store, &east, epoch, vec![put(old.clone())]).await;
    save(&*store, &old, accepted.clone()).await;
    assert_eq!(only_row(&*store).await.verdict, Some(accepted.clone()));

    commit(&*store, &east, epoch, vec![put(new.clone())]).await;
    assert_eq!(
        only_row(&*store).await.verdict,
        Some(accepted.clone()),
        "until the new content has one of its own"
    );
    save(&*store, &old, Verdict::rejected(Reason::InvalidTarget, "late")).await;
    assert_eq!(
        only_row(&*store).await.verdict,
        Some(accepted),
        "a verdict for content that is gone is dropped"
    );

    let held = Verdict::waiting(Reason::NameHeld, "west holds it", None);
    save(&*store, &new, Verdict::rejected(Reason::InvalidTarget, "first")).await;
    save(&*store, &new, held.clone()).await;
    assert_eq!(only_row(&*store).await.verdict, Some(held));
}

async fn a_hundred_thousand_endpoints_in_one_call(place: Place) {
    const COUNT: usize = 100_000;
    let store = place.open().await;
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    let done = commit(
        &*store,
        &east,
        epoch,
        (0..COUNT).map(|number| put(endpoint(number, "192.0.2.1"))).collect(),
    )
    .await;
    let first = arrivals(&done);
    assert!(first.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let last = store.endpoints(first[COUNT - 2], 10).await.unwrap();
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].endpoint.unpack(), endpoint(COUNT - 1, "192.0.2.1"));
    let done = commit(
        &*store,
        &east,
        epoch,
        (0..COUNT).map(|number| del(&endpoint(number, "192.0.2.1"))).collect(),
    )
    .await;
    assert!(done.iter().all(|outcome| *outcome == OpOutcome::Removed));
    assert!(store.endpoints(0, 1).await.unwrap().is_empty());
}
