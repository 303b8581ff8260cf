//! The whole agent over a folder of files, in real time, bounded by a deadline.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zonefold::agent::manifests::ManifestOptions;
use zonefold::agent::sources::ExtractOptions;
use zonefold::agent::{
    Agent, AgentConfig, BrokerAddress, ClusterUid, KeepAlive, Material, Objects,
};
use zonefold::wire::v1::{self, operation::Operation, welcome::Mode};

use super::fake_broker::{FakeBroker, PLENTY};

struct TempFolder(PathBuf);

impl TempFolder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("zonefold-agent-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(path.join("manifests")).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, host: &str) {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  annotations:\n    external-dns.kubernetes.io/hostname: {host}\n    external-dns.kubernetes.io/target: 192.0.2.1\n"
        );
        // Written to another name and renamed, as careful tools do.
        std::fs::write(self.0.join("new"), text).unwrap();
        std::fs::rename(self.0.join("new"), self.manifests().join(name)).unwrap();
    }

    fn manifests(&self) -> PathBuf {
        self.0.join("manifests")
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn config(manifests: &Path, broker_url: String) -> AgentConfig {
    AgentConfig {
        cluster: "dev-east".to_owned(),
        kube_system_uid: ClusterUid::Given("7f6a3f0e-6b0e-4a55-9a5e-000000000001".to_owned()),
        broker: BrokerAddress {
            url: broker_url,
            token: Some(Material::text("token")),
            ca: None,
            certificate: None,
            keep_alive: KeepAlive::default(),
        },
        objects: Objects::Manifests(ManifestOptions {
            path: manifests.to_owned(),
            rescan: Duration::from_secs(1),
            extract: ExtractOptions::default(),
        }),
        listen: Some("127.0.0.1:0".parse().unwrap()),
    }
}

fn operations(changes: v1::Changes) -> Vec<String> {
    let say = |operation: v1::Operation| match operation.operation.unwrap() {
        Operation::Put(put) => format!("put {}", put.endpoint.unwrap().key.unwrap().dns_name),
        Operation::Del(del) => {
            format!("del {} {:?}", del.key.clone().unwrap().dns_name, del.cause())
        }
    };
    changes.operations.into_iter().map(say).collect()
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        )
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn files_become_changes_and_statuses_come_back() {
    tokio::time::timeout(Duration::from_secs(60), story()).await.expect("the story ends");
}

async fn story() {
    let temp = TempFolder::new();
    temp.write("web.yaml", "www.example.com");
    let (mut broker, url) = FakeBroker::listen().await;
    let bound = Agent::build(config(&temp.manifests(), url)).await.unwrap();
    let (handle, shutdown) = (bound.handle(), CancellationToken::new());
    let running = tokio::spawn(bound.run(shutdown.clone()));

    let (mut session, hello) = broker.accept().await;
    assert_eq!(hello.resume.unwrap().count, 1);
    session.welcome(Mode::Resume, PLENTY);
    handle.wait_until(|state| state.publisher.is_converged()).await;

    temp.write("web.yaml", "new.example.com");
    let changes = session.changes().await;
    let seq = changes.seq;
    let mut said = operations(changes);
    said.sort();
    assert_eq!(said, ["del www.example.com HostRemoved", "put new.example.com"]);
    session.ack(seq, 2);

    let key = handle.read(|state| state.index.iter().next().unwrap().1.endpoint.key.clone());
    let watcher = broker.watchers.recv().await.unwrap();
    let status = v1::EndpointStatus {
        key: Some((&key).into()),
        verdict: v1::VerdictState::Rejected.into(),
        reason: "NO_ZONE".to_owned(),
        ..v1::EndpointStatus::default()
    };
    watcher
        .send(Ok(v1::StatusBatch { statuses: vec![status], replay_done: true, replay_scope: None }))
        .unwrap();
    handle
        .wait_until(|state| {
            state.statuses.get(&key.hash()).is_some() && state.publisher.is_converged()
        })
        .await;

    let address = handle.http_address().unwrap();
    assert!(get(address, "/healthz").await.contains("200 OK"));
    assert!(get(address, "/readyz").await.contains(r#""ready":true"#));
    let metrics = get(address, "/metrics").await;
    assert!(
        metrics.contains("zonefold_agent_endpoints 1")
            && metrics.contains(r#"zonefold_agent_source_synced{source="service"} 1"#),
        "{metrics}"
    );
    let endpoints = get(address, "/endpoints").await;
    assert!(
        endpoints.contains(r#""origin":"web.yaml:1""#)
            && endpoints.contains(r#""acked":true"#)
            && endpoints.contains("NO_ZONE"),
        "{endpoints}"
    );
    assert!(get(address, "/statuses").await.contains(r#""verdict":"rejected""#));

    // A file that cannot be read keeps what it held; a deleted one does not.
    std::fs::write(temp.manifests().join("web.yaml"), "a: [1").unwrap();
    handle.wait_until(|state| state.index.sources().iter().all(|source| !source.synced)).await;
    assert_eq!(handle.digest().1, 1);
    std::fs::remove_file(temp.manifests().join("web.yaml")).unwrap();
    let changes = session.changes().await;
    let seq = changes.seq;
    assert_eq!(operations(changes), ["del new.example.com ObjectDeleted"]);
    session.ack(seq, 1);

    shutdown.cancel();
    running.await.unwrap().unwrap();
}
