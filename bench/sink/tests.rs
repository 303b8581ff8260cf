use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zonefold::agent::manifests::ManifestOptions;
use zonefold::agent::sources::ExtractOptions;
use zonefold::agent::{Agent, AgentConfig, BrokerAddress, ClusterUid, KeepAlive, Objects};

use super::*;
use crate::folder::Folder;

const SOON: Duration = Duration::from_secs(30);

fn service(host: &str, target: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {host}\n  annotations:\n    external-dns.kubernetes.io/hostname: \
         {host}.example.com\n    external-dns.kubernetes.io/target: {target}\n"
    )
}

/// The agent over a folder of two services, and a sink that it speaks to while `test` runs.
async fn heard<T>(test: impl AsyncFnOnce(&Sink, &Folder, &zonefold::agent::AgentHandle) -> T) -> T {
    let folder = Folder::make(None).unwrap();
    for host in ["a", "b"] {
        std::fs::write(folder.path().join(format!("{host}.yaml")), service(host, "192.0.2.1"))
            .unwrap();
    }
    let (sink, (listener, address)) = (Sink::new(), Sink::bind().await.unwrap());
    let bound = Agent::build(AgentConfig {
        cluster: "bench".to_owned(),
        kube_system_uid: ClusterUid::Given("7f6a3f0e-6b0e-4a55-9a5e-000000000001".to_owned()),
        broker: BrokerAddress {
            url: format!("http://{address}"),
            token: None,
            ca: None,
            certificate: None,
            keep_alive: KeepAlive::default(),
        },
        objects: Objects::Manifests(ManifestOptions {
            path: folder.path().to_owned(),
            rescan: Duration::from_secs(1),
            extract: ExtractOptions::default(),
        }),
        listen: None,
    })
    .await
    .unwrap();
    let handle = bound.handle();
    tokio::select! {
        tested = tokio::time::timeout(SOON, test(&sink, &folder, &handle)) => tested.expect("it comes to its end"),
        ended = sink.serve(listener) => panic!("{ended:?}"),
        ended = bound.run(CancellationToken::new()) => panic!("{ended:?}"),
    }
}

#[tokio::test]
async fn it_is_settled_when_the_agent_says_that_what_came_is_all() {
    heard(async |sink, _, agent| {
        sink.settled(2).await.unwrap();
        assert!(agent.is_converged());
        let not_more = tokio::time::timeout(Duration::from_secs(2), sink.settled(3)).await;
        assert!(not_more.is_err(), "two are not three");
    })
    .await;
}

#[tokio::test]
async fn the_agent_knows_what_became_of_everything_once_it_is_told() {
    heard(async |sink, _, agent| {
        sink.settled(2).await.unwrap();
        assert!(agent.read(|state| state.statuses.is_empty() && !state.statuses.is_complete()));
        sink.tell();
        agent.wait_until(|state| state.statuses.is_complete()).await;
        assert_eq!(agent.read(|state| state.statuses.len()), 2);
        sink.complete().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_change_has_arrived_when_its_content_has() {
    heard(async |sink, folder, agent| {
        let arrival = |heard: &Heard| {
            heard.arrival("a.example.com", |endpoint| endpoint.targets == ["192.0.2.7"])
        };
        sink.settled(2).await.unwrap();
        sink.tell();
        assert!(arrival(&sink.heard.borrow()).is_none());
        let changed = Instant::now();
        std::fs::write(folder.path().join("a.yaml"), service("a", "192.0.2.7")).unwrap();
        assert!(sink.until(arrival).await.unwrap() > changed);
        let is_told = |state: &zonefold::agent::State| {
            let told = |status: &v1::EndpointStatus| {
                status.key.clone().map(|key| EndpointKey::from(key).hash())
            };
            let held = |hash: &KeyHash, version: &[u8]| {
                state.index.get(hash).is_some_and(|held| held.version.0 == *version)
            };
            state
                .statuses
                .iter()
                .all(|status| told(&status).is_some_and(|hash| held(&hash, &status.version)))
        };
        agent.wait_until(|state| state.statuses.len() == 2 && is_told(state)).await;
    })
    .await;
}
