//! The quota of one cluster: endpoints, operations on their way, status streams.

use zonefold::core::endpoint::verdict::{Reason as Why, VerdictState};
use zonefold::core::ids::ClusterId;

use super::*;
use crate::support::world::is_applied;

fn few(max_endpoints: usize) -> Plan {
    let heartbeat = std::time::Duration::from_millis(200);
    Plan { max_endpoints, heartbeat, ..Plan::default() }
}

/// The names of a cluster that are beyond its quota.
fn beyond(world: &World, cluster: &str) -> Vec<String> {
    let held = world.broker().endpoints(&ClusterId::parse(cluster).unwrap()).page(None, 100);
    let is_beyond = |held: &&zonefold::broker::directory::entry::EndpointEntry| {
        held.status().is_some_and(|status| {
            let verdict = &status.verdict;
            (verdict.state, verdict.reason) == (VerdictState::Waiting, Why::Quota)
        })
    };
    let mut names: Vec<String> =
        held.iter().filter(is_beyond).map(|held| held.view().dns_name.to_owned()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_beyond_the_quota_wait_and_the_oldest_are_published_when_there_is_room() {
    let mut world = World::start(few(2)).await;
    let east = world.cluster("east").await;
    for number in 0..4 {
        let name = format!("n{number}.example.com");
        east.wants(&format!("o{number}"), &[(&name, "A", &["192.0.2.1"])]);
        east.acked(number + 1).await;
    }
    world
        .until("two are published, and two beyond the quota", |world| {
            let published =
                |name: &str| world.statuses("east", name).first().is_some_and(is_applied);
            published("n0.example.com")
                && published("n1.example.com")
                && beyond(world, "east") == ["n2.example.com", "n3.example.com"]
        })
        .await;

    // An edit of what is published goes out, one of what waits goes on waiting, and a restart changes nothing of it.
    east.wants("o1", &[("n1.example.com", "A", &["192.0.2.9"])]);
    east.wants("o3", &[("n3.example.com", "A", &["192.0.2.9"])]);
    world.until("the edit is there", |w| w.values("n1.example.com", "A") == ["192.0.2.9"]).await;
    world.stop_broker().await;
    world.start_broker().await;
    assert_eq!(beyond(&world, "east"), ["n2.example.com", "n3.example.com"]);
    drop(east);

    let east = world.cluster("east").await;
    east.acked(4).await;
    east.delete("o0");
    world.until("the oldest has the room", |w| w.record("n2.example.com", "A").is_some()).await;
    assert!(world.record("n0.example.com", "A").is_none());
    assert_eq!(beyond(&world, "east"), ["n3.example.com"]);
    world.set_max_endpoints(3).await;
    world
        .until("a quota that was raised has room", |w| {
            w.values("n3.example.com", "A") == ["192.0.2.9"]
        })
        .await;
    world.set_max_endpoints(1).await;
    east.wants("o1", &[("n1.example.com", "A", &["192.0.2.10"])]);
    world
        .until("one that was lowered refuses no edit", |w| {
            w.values("n1.example.com", "A") == ["192.0.2.10"]
        })
        .await;
    assert_eq!(beyond(&world, "east"), [""; 0], "and drops nothing");
    drop(east);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_cluster_beyond_its_quota_takes_nothing_from_another() {
    let world = World::start(few(1)).await;
    let (east, west) = (world.cluster("east").await, world.cluster("west").await);
    east.wants(
        "many",
        &[("a.example.com", "A", &["192.0.2.1"]), ("b.example.com", "A", &["192.0.2.1"])],
    );
    west.wants("one", &[("w.example.com", "A", &["192.0.2.1"])]);
    world.until("west is published", |w| w.record("w.example.com", "A").is_some()).await;
    world.until("one of east's waits", |w| beyond(w, "east").len() == 1).await;
    assert_eq!(beyond(&world, "west"), [""; 0]);
    drop((east, west));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_sends_beyond_its_credits_is_sent_away_with_the_reason() {
    let world = World::start(Plan::default()).await;
    let mut raw = Raw::open(&world, TOKEN).await.unwrap();
    raw.hello("east", UID, &[], true).await.unwrap();
    raw.snapshot(&[]).await;
    // In one message, so that no ack comes between.
    let small = |number: usize| {
        let key = EndpointKey { object: format!("o{number}").into(), ..EndpointKey::default() };
        v1::operation::Operation::Del(v1::Del {
            key: Some((&key).into()),
            version_seen: bytes::Bytes::new(),
            cause: 0,
        })
    };
    raw.change(2, (0..2_001).map(small).collect()).await;
    let (reason, detail) = raw.goes_away().await;
    assert_eq!(reason, Reason::Protocol);
    assert!(detail.contains("wait for acks"), "{detail}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_has_a_bounded_number_of_status_streams() {
    let world = World::start(Plan::default()).await;
    let mut open = vec![];
    let refused = loop {
        match watch(&world, bytes::Bytes::new()).await {
            Ok(stream) => open.push(stream),
            Err(status) => break status,
        }
        assert!(open.len() < 1_000, "no bound was met");
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("run one agent a cluster"), "{}", refused.message());
    open.clear();
    let again = async {
        while watch(&world, bytes::Bytes::new()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), again).await.unwrap();
    world.stop().await;
}
