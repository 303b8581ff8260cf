//! The endpoints of one cluster and the subscribers of their statuses.

use super::*;
use crate::core::endpoint::packed::PackedEndpoint;
use crate::core::endpoint::verdict::Reason;
use crate::core::testkit::{cluster, endpoint};

fn put(endpoints: &ClusterEndpoints, object: &str) -> EndpointEntry {
    let endpoint = endpoint(object, "www.example.com", "A", &["192.0.2.1"]);
    let held = EndpointEntry::new(cluster("east"), 1, &PackedEndpoint::pack(&endpoint));
    endpoints.put(&endpoint.key.hash(), &endpoint.version(), held.clone());
    held
}

fn rejected() -> Arc<Status> {
    Arc::new(Status::of(Verdict::rejected(Reason::InvalidName, "x")))
}

fn waiting() -> Arc<Status> {
    Arc::new(Status::of(Verdict::waiting(Reason::NoZone, "y", None)))
}

fn objects(news: &News) -> Vec<String> {
    let mut objects: Vec<String> =
        news.endpoints.iter().map(|held| held.view().object.to_owned()).collect();
    objects.sort();
    objects
}

#[test]
fn a_follower_sees_all_then_the_latest_of_each_and_nothing_twice() {
    let endpoints = Arc::new(ClusterEndpoints::default());
    let (a, b) = (put(&endpoints, "a"), put(&endpoints, "b"));
    assert!(endpoints.tell(&a, rejected(), Timestamp(1)));
    assert!(!endpoints.tell(&a, rejected(), Timestamp(2)), "the same again says nothing new");
    let mut follower = endpoints.follow(&[]).unwrap();
    let first = follower.news(10);
    let both = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(
        (objects(&first), first.replay_done),
        (both, true),
        "b is held, though it was not judged yet"
    );
    assert!(endpoints.tell(&b, rejected(), Timestamp(3)));
    assert!(endpoints.tell(&b, waiting(), Timestamp(4)));
    assert_eq!(objects(&follower.news(10)), ["b"]);
    assert!(follower.news(10).endpoints.is_empty());
    assert_eq!(
        endpoints.counts(),
        StatusCounts { endpoints: 2, waiting: 1, rejected: 1, ..StatusCounts::default() }
    );
    endpoints.remove(&a.key_hash());
    assert_eq!(endpoints.counts().endpoints, 1);
}

#[test]
fn a_replay_of_many_pages_ends_with_the_last() {
    let endpoints = Arc::new(ClusterEndpoints::default());
    for index in 0..25 {
        endpoints.tell(&put(&endpoints, &format!("web-{index}")), waiting(), Timestamp(1));
    }
    let (mut follower, mut told) = (endpoints.follow(&[]).unwrap(), 0);
    loop {
        let news = follower.news(10);
        assert!(news.endpoints.len() <= 10);
        told += news.endpoints.len();
        if news.replay_done {
            assert_eq!(news.scope, None);
            break;
        }
    }
    assert_eq!(told, 25);
    assert!(endpoints.follow(&[1, 2, 3]).is_none(), "that is no digest");
}

#[test]
fn who_holds_the_statuses_is_told_only_what_differs() {
    let endpoints = Arc::new(ClusterEndpoints::default());
    let all: Vec<EndpointEntry> =
        (0..25).map(|index| put(&endpoints, &format!("web-{index}"))).collect();
    all.iter().for_each(|held| assert!(endpoints.tell(held, waiting(), Timestamp(1))));
    let mut own = SetDigest::default();
    let insert = |own: &mut SetDigest, held: &EndpointEntry| {
        own.insert(&held.key_hash(), &held.status().unwrap().content(&held.version()).hash());
    };
    all.iter().for_each(|held| insert(&mut own, held));
    let first = endpoints.follow(&own.to_bytes()).unwrap().news(100);
    assert_eq!((first.endpoints.len(), first.replay_done, first.scope), (0, true, Some(vec![])));
    // The digest follows new statuses and removals.
    endpoints.tell(&all[3], rejected(), Timestamp(2));
    endpoints.remove(&all[4].key_hash());
    let news = endpoints.follow(&own.to_bytes()).unwrap().news(100);
    let mut differing: Vec<u8> =
        [&all[3], &all[4]].map(|held| SetDigest::bucket_of(&held.key_hash())).to_vec();
    differing.sort_unstable();
    differing.dedup();
    assert_eq!(news.scope, Some(differing));
    assert!(objects(&news).contains(&"web-3".to_owned()) && news.endpoints.len() < 25);
}

#[test]
fn of_a_version_that_was_replaced_nothing_is_said() {
    let endpoints = Arc::new(ClusterEndpoints::default());
    let old = put(&endpoints, "a");
    let new = put(&endpoints, "a");
    assert!(!endpoints.tell(&old, rejected(), Timestamp(1)));
    assert!(endpoints.tell(&new, waiting(), Timestamp(1)));
    assert_eq!((endpoints.len(), endpoints.counts().rejected), (1, 0));
}

#[test]
fn what_is_said_of_a_key_is_never_older_than_what_was_said_before() {
    let endpoints = ClusterEndpoints::default();
    let old = put(&endpoints, "a");
    endpoints.tell(&old, rejected(), Timestamp(9));
    endpoints.tell(&old, waiting(), Timestamp(5));
    assert_eq!(old.since(), Timestamp(9), "another replica's clock is behind");
    let new = put(&endpoints, "a");
    endpoints.tell(&new, waiting(), Timestamp(6));
    assert_eq!(new.since(), Timestamp(9));
    endpoints.tell(&new, rejected(), Timestamp(12));
    assert_eq!(new.since(), Timestamp(12));
}

#[test]
fn a_bucket_holds_what_the_digest_counts_there() {
    let endpoints = ClusterEndpoints::default();
    let all: Vec<EndpointEntry> =
        (0..50).map(|index| put(&endpoints, &format!("web-{index}"))).collect();
    let mut found = 0;
    for bucket in 0..=255 {
        let held = endpoints.bucket(bucket);
        assert!(held.iter().all(|held| SetDigest::bucket_of(&held.key_hash()) == bucket));
        found += held.len();
    }
    assert_eq!(found, all.len());
}

#[tokio::test]
async fn a_follower_is_woken() {
    let endpoints = Arc::new(ClusterEndpoints::default());
    let held = put(&endpoints, "a");
    let mut follower = endpoints.follow(&[]).unwrap();
    follower.news(10);
    let waiting_follower = tokio::spawn(async move { follower.wait().await });
    endpoints.tell(&held, rejected(), Timestamp(1));
    waiting_follower.await.unwrap();
}
