//! The walk of the README: `zonefold dev`, an edited manifest, `dig`, Ctrl-C, and the same again with the state kept.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::folder::{TestFolder, write_whole};
use crate::support::network::dig;
use crate::support::process::{Process, zonefold};
use crate::support::wait::{eventually, eventually_equal};

const APP: &str = "app.dev.example.com";
/// A person who presses Ctrl-C does not want to wait longer.
const PROMPTLY: Duration = Duration::from_secs(10);

/// A copy of the example clusters that a test may edit.
fn copy_of_the_examples(folder: &TestFolder) -> std::path::PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clusters");
    for cluster in std::fs::read_dir(examples).unwrap().map(Result::unwrap) {
        let copy = folder.folder(&format!("clusters/{}", cluster.file_name().display()));
        for manifest in std::fs::read_dir(cluster.path()).unwrap().map(Result::unwrap) {
            std::fs::copy(manifest.path(), copy.join(manifest.file_name())).unwrap();
        }
    }
    folder.path("clusters")
}

/// Starts `zonefold dev` and answers where its DNS is.
async fn start(folder: &TestFolder, clusters: &Path) -> (Process, SocketAddr) {
    let addresses = folder.path("addresses.json");
    // The one of an earlier life would be believed.
    let _ = std::fs::remove_file(&addresses);
    let mut command = zonefold(&folder.path(""), ["dev", "--free-ports", "--plain"]);
    command.arg("--clusters").arg(clusters).arg("--data").arg(folder.path("data"));
    command.arg("--addresses-file").arg(&addresses);
    let dev = Process::start("zonefold dev", command);
    let written = eventually("the addresses are written", async || {
        std::fs::read_to_string(&addresses).map_err(|error| format!("{error}\n{}", dev.output()))
    })
    .await;
    let written: serde_json::Value = serde_json::from_str(&written).unwrap();
    (dev, written["dns"].as_str().unwrap().parse().unwrap())
}

async fn answers(dns: SocketAddr, name: &str, address: &str) {
    eventually_equal(&format!("{name} is {address}"), vec![address.to_owned()], async || {
        dig(dns, name, "A").await
    })
    .await;
}

async fn stop(dev: Process) -> String {
    let asked = Instant::now();
    let said = dev.stop().await;
    assert!(asked.elapsed() < PROMPTLY, "it took {:?} to stop:\n{said}", asked.elapsed());
    said
}

#[tokio::test]
async fn an_edited_manifest_is_what_dig_answers_and_a_restart_keeps_it() {
    let folder = TestFolder::new();
    let clusters = copy_of_the_examples(&folder);
    // dev-west wants the name as well; clusters come in the order of their names, so dev-east holds it.
    let manifest = clusters.join("dev-east/app.yaml");

    let (dev, dns) = start(&folder, &clusters).await;
    answers(dns, APP, "192.0.2.10").await;
    answers(dns, "cafe.dev.example.com", "198.51.100.30").await;
    answers(dns, "api.prod.example.com", "203.0.113.10").await;

    let text = std::fs::read_to_string(&manifest).unwrap();
    write_whole(&manifest, &text.replace("192.0.2.10", "192.0.2.77"));
    answers(dns, APP, "192.0.2.77").await;
    let manifest = clusters.join("dev-west/nginx.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    write_whole(&manifest, &text.replace("198.51.100.30", "198.51.100.99"));
    answers(dns, "cafe.dev.example.com", "198.51.100.99").await;
    stop(dev).await;

    let (mut dev, dns) = start(&folder, &clusters).await;
    for cluster in ["dev-east", "dev-west", "prod-east"] {
        let opened = |line: &serde_json::Value| {
            line["message"] == "session opened" && line["cluster"] == cluster
        };
        let session = dev.line(&format!("a session of {cluster}"), opened).await;
        assert_eq!(session["mode"], "MODE_RESUME", "{session}");
    }
    answers(dns, APP, "192.0.2.77").await;
    stop(dev).await;

    // Every batch of both lives: the second had nothing to write.
    let journal = std::fs::read_to_string(folder.path("data/route53-journal.jsonl")).unwrap();
    let writes_app = |line: &&str| line.contains(&format!("\"{APP}.\""));
    assert_eq!(journal.lines().filter(writes_app).count(), 2, "{journal}");
}
