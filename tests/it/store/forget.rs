//! A cluster that an operator declares gone.

use zonefold::adapters::store::is_in_use;
use zonefold::app::forget::{forget, look};
use zonefold::ports::{EndpointNews, News};

use super::*;

on_both_databases!(
    a_forgotten_cluster_s_endpoints_are_gone_and_its_session_is_fenced,
    a_cluster_that_never_had_a_session_is_not_forgotten,
    the_replicas_are_told_of_a_forgotten_cluster_s_endpoints,
);

async fn a_forgotten_cluster_s_endpoints_are_gone_and_its_session_is_fenced(place: Place) {
    let store = place.open().await;
    let (east, west) = (cluster("east"), cluster("west"));
    let (epoch, other) = (session(&*store, &east).await, session(&*store, &west).await);
    let puts = |from: usize| (from..from + 1_200).map(|n| put(endpoint(n, "192.0.2.1"))).collect();
    commit(&*store, &east, epoch, puts(0)).await;
    commit(&*store, &west, other, puts(5_000)).await;
    let remains = look(&*store, &east).await.unwrap();
    assert_eq!((remains.endpoints.len(), remains.records.len()), (1_200, 0));
    forget(&*store, &remains, Timestamp(20)).await.unwrap();
    let left = store.endpoints(0, 5_000).await.unwrap();
    assert_eq!(left.len(), 1_200);
    assert!(left.iter().all(|row| row.cluster == west));
    let late = [unit(&east, epoch, 9, vec![put(endpoint(1, "192.0.2.1"))])];
    let outcomes = store.ingest(&late, Timestamp(30)).await.unwrap();
    assert!(matches!(outcomes[..], [IngestOutcome::Fenced { .. }]));
}

async fn a_cluster_that_never_had_a_session_is_not_forgotten(place: Place) {
    let store = place.open().await;
    session(&*store, &cluster("east")).await;
    let error = look(&*store, &cluster("esat")).await.unwrap_err();
    assert!(error.to_string().contains("the store knows east"), "{error}");
}

async fn the_replicas_are_told_of_a_forgotten_cluster_s_endpoints(place: Place) {
    let store = place.open().await;
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    commit(&*store, &east, epoch, vec![put(endpoint(1, "192.0.2.1"))]).await;
    let after = store.feed_end().await.unwrap();
    forget(&*store, &look(&*store, &east).await.unwrap(), Timestamp(20)).await.unwrap();
    if !store.is_shared() {
        return;
    }
    let replica = store.of_replica(replica(7));
    let news = replica.feed(after, 100).await.unwrap();
    let key = endpoint(1, "192.0.2.1").key.hash();
    let gone = EndpointNews::Removed { cluster: east, key };
    assert_eq!(
        news.iter().map(|entry| &entry.news).collect::<Vec<_>>(),
        [&News::Endpoints(vec![gone])]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_that_a_process_has_open_is_in_use_until_that_ends() {
    let place = Place::sqlite();
    let url = place.url.parse().unwrap();
    assert!(is_in_use(&url).await.is_err(), "there is no file, and none is made");
    let store = place.open().await;
    store.ping().await.unwrap();
    assert!(is_in_use(&url).await.unwrap());
    drop(store);
    // The pool closes its connections behind the drop.
    let ends = async {
        while is_in_use(&url).await.unwrap() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), ends).await.unwrap();
}
