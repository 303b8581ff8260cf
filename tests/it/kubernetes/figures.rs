//! `zonefold-bench agent` at a real API server.

use serde_json::Value;

use crate::support::api_server::ApiServer;
use crate::support::process::clean;
use crate::support::wait::eventually;

#[tokio::test]
async fn the_benchmark_of_an_agent_measures_and_leaves_nothing_behind() {
    let api = ApiServer::start().await;
    let mut command = clean(env!("CARGO_BIN_EXE_zonefold-bench"), &api.folder.path(""));
    command.args(["agent", "--objects", "12", "--samples", "4", "--output", "json"]);
    let output = command.arg("--kubeconfig").arg(&api.kubeconfig).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Every second ingress has two names.
    assert_eq!(
        (figures["objects"].as_u64(), figures["endpoints"].as_u64()),
        (Some(12), Some(15)),
        "{figures}"
    );
    for figure in ["rss_mb", "peak_rss_mb", "sent_p50_ms", "sent_p99_ms"] {
        assert!(figures[figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {figures}");
    }
    eventually("what it made is gone", async || {
        let left = api
            .kubectl(&["get", "services,ingresses,events", "--all-namespaces", "--output", "name"])
            .await;
        // The API server's own service, and what it says of that.
        let is_its_own =
            |name: &str| name == "service/kubernetes" || name.starts_with("event/kubernetes.");
        match left.lines().filter(|name| !is_its_own(name)).collect::<Vec<_>>()[..] {
            [] => Ok(()),
            _ => Err(left),
        }
    })
    .await;
    let namespaces = api.kubectl(&["get", "namespaces", "--output", "json"]).await;
    let namespaces: Value = serde_json::from_str(&namespaces).unwrap();
    let stays = |namespace: &&Value| {
        let metadata = &namespace["metadata"];
        metadata["name"].as_str().unwrap().starts_with("zonefold-bench")
            && metadata["deletionTimestamp"].is_null()
    };
    assert_eq!(namespaces["items"].as_array().unwrap().iter().find(stays), None);
}
