//! The manifests in deploy/kubernetes, as an API server sees them.

use std::path::Path;

use crate::support::api_server::ApiServer;

#[tokio::test]
async fn the_manifests_for_kubernetes_are_taken_as_they_are_written() {
    let api = ApiServer::start().await;
    api.kubectl(&["create", "namespace", "zonefold"]).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes");
    // Strict: a field that Kubernetes does not know is an error, and so is whatever it warns of.
    let applied = api
        .kubectl(&[
            "apply",
            "--validate=strict",
            "--warnings-as-errors",
            "--filename",
            folder.to_str().unwrap(),
        ])
        .await;
    let count = |kind: &str| applied.lines().filter(|line| line.starts_with(kind)).count();
    assert_eq!((count("deployment.apps/"), count("customresourcedefinition")), (2, 1), "{applied}");
}
