//! Who owns which name, end to end: rules in files and in the store, and the commands that write them.

use std::process::Output;

use serde_json::json;
use zonefold::cli::token::sha256_hex;

use crate::support::aws;
use crate::support::deployment::{Deployment, configuration, sqlite};
use crate::support::folder::TestFolder;
use crate::support::manifests::service;
use crate::support::process::zonefold;
use crate::support::wait::{eventually, eventually_equal};

const OPERATOR: &str = "zf_operator_of_the_rules_0123456789abcdef";
const APP: &str = "app.dev.example.com";

const OWNED: &str = "\
apiVersion: zonefold.dev/v1
kind: Team
metadata: { name: shop }
spec: { owners: { groups: [shop-leads] } }
---
apiVersion: zonefold.dev/v1
kind: Ownership
metadata: { name: dev }
spec: { zone: dev.example.com, team: shop, claims: granted }
";

const GRANT: &str = "\
apiVersion: zonefold.dev/v1
kind: Grant
metadata: { name: app }
spec:
  zone: dev.example.com
  names: [app.dev.example.com]
  clusters: { names: [dev-east] }
";

fn answer(address: &str) -> aws::Answer {
    Some((60, vec![address.to_owned()]))
}

async fn command(site: &Deployment, arguments: &[&str]) -> Output {
    let broker = format!("http://{}", site.http);
    let token = site.folder.write("operator", OPERATOR);
    let token = token.to_str().unwrap();
    let arguments =
        arguments.iter().copied().chain(["--broker", broker.as_str(), "--token-file", token]);
    zonefold(&site.folder.path("home"), arguments).output().await.unwrap()
}

fn said(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr];
    texts.map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_published_from_its_grant_on_and_stays_as_it_is_when_the_grant_goes() {
    let (emulator, aws) = aws::emulated().await;
    let folder = TestFolder::new();
    let rules = folder.folder("rules");
    folder.write("rules/dev.yaml", OWNED);
    let mut configured = configuration(&folder, &sqlite(&folder), aws.configured());
    configured["rules"] = json!([rules]);
    configured["api"] = json!({ "tokens": [
        { "name": "ann", "role": "operator", "token_sha256": sha256_hex(OPERATOR) },
    ] });
    let mut site = Deployment::start(folder, &aws, &configured).await;
    site.agent("dev-east", &[("app.yaml", service("app", APP, "192.0.2.10"))]).await;
    let is_not_granted = |status: &serde_json::Value| status["reason"] == "NOT_GRANTED";
    let waiting = site.status("dev-east", "app", "A", is_not_granted).await;
    assert!(waiting["message"].as_str().unwrap().contains("team shop"), "{waiting}");
    assert_eq!(aws.answer("dev", APP, "A").await, None);

    // A file that is wrong changes nothing, and the command says where.
    let wrong = site.folder.write("wrong.yaml", &GRANT.replace("clusters:", "cluster:"));
    let refused = command(&site, &["apply", "-f", wrong.to_str().unwrap()]).await;
    assert!(
        !refused.status.success() && said(&refused).contains("wrong.yaml:7:3"),
        "{}",
        said(&refused)
    );

    let grant = site.folder.write("grant.yaml", GRANT);
    let grant = grant.to_str().unwrap();
    let preview = command(&site, &["apply", "-f", grant, "--preview"]).await;
    assert!(said(&preview).contains("nothing is changed"), "{}", said(&preview));
    let applied = command(&site, &["apply", "-f", grant, "--reason", "the app is ready"]).await;
    assert!(applied.status.success(), "{}", said(&applied));
    site.applied("dev-east", "app", "A").await;
    assert_eq!(aws.answer("dev", APP, "A").await, answer("192.0.2.10"));
    let listed = command(&site, &["get", "grants", "--documents", "yaml"]).await;
    assert!(said(&listed).contains("name: app"), "{}", said(&listed));

    let in_file = command(&site, &["delete", "team", "shop"]).await;
    assert!(!in_file.status.success() && said(&in_file).contains("lives in the file"));
    let deleted = command(&site, &["delete", "grant", "app"]).await;
    assert!(deleted.status.success(), "{}", said(&deleted));
    site.status("dev-east", "app", "A", is_not_granted).await;
    site.write("dev-east", "app.yaml", &service("app", APP, "192.0.2.99"));
    let is_edited = |status: &serde_json::Value| {
        is_not_granted(status) && status["version"] != waiting["version"]
    };
    site.status("dev-east", "app", "A", is_edited).await;
    assert_eq!(aws.answer("dev", APP, "A").await, answer("192.0.2.10"), "a rule moves nothing");

    // Deleting the object is no rule's doing.
    site.remove("dev-east", "app.yaml");
    eventually_equal("the deletion arrives", None, async || aws.answer("dev", APP, "A").await)
        .await;
    site.finish(&aws).await;
    emulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_loses_all_at_once_is_held_until_a_person_has_looked_at_it() {
    const HOSTS: usize = 12;
    let (emulator, aws) = aws::emulated().await;
    let folder = TestFolder::new();
    let mut configured = configuration(&folder, &sqlite(&folder), aws.configured());
    configured["rules"] = json!([]);
    configured["api"] = json!({ "tokens": [
        { "name": "ann", "role": "operator", "token_sha256": sha256_hex(OPERATOR) },
    ] });
    let mut site = Deployment::start(folder, &aws, &configured).await;
    let host = |number: usize| format!("h{number}.dev.example.com");
    let services = |numbers: std::ops::Range<usize>| {
        let service = |number: usize| service(&format!("h{number}"), &host(number), "192.0.2.10");
        numbers.map(service).collect::<Vec<_>>().join("\n---\n")
    };
    site.agent("dev-east", &[("all.yaml", services(0..HOSTS))]).await;
    site.all_applied("dev-east").await;
    site.remove("dev-east", "all.yaml");
    let held = eventually("the deletions are held", async || {
        let listed = command(&site, &["get", "holds", "--output", "json"]).await;
        let holds: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
        let is_all = |hold: &&serde_json::Value| hold["units"] == HOSTS;
        let found = holds.as_array().and_then(|holds| holds.iter().find(is_all).cloned());
        found.ok_or_else(|| said(&listed))
    })
    .await;
    assert_eq!((&held["zone_name"], &held["guard"]), (&"dev.example.com".into(), &json!(null)));
    let digest = &held["digest"].as_str().unwrap()[..12];
    let described = said(&command(&site, &["describe", "hold", digest]).await);
    for part in [host(0).as_str(), "192.0.2.10", "nothing", "operators and admins decide"] {
        assert!(described.contains(part), "{part}: {described}");
    }
    assert_eq!(aws.answer("dev", &host(0), "A").await, answer("192.0.2.10"));

    // All else goes on, and what comes back is held no longer.
    let later = service("later", "later.dev.example.com", "192.0.2.11");
    site.write("dev-east", "later.yaml", &later);
    site.applied("dev-east", "later", "A").await;
    let denied = command(&site, &["deny", digest, "--comment", "a mistake"]).await;
    assert!(said(&denied).contains("stay held"), "{}", said(&denied));

    let approved = command(&site, &["approve", digest, "--comment", "the shop is closed"]).await;
    assert!(said(&approved).contains("12 units of dev.example.com may go"), "{}", said(&approved));
    for number in 0..HOSTS {
        eventually_equal("it is gone", None, async || aws.answer("dev", &host(number), "A").await)
            .await;
    }
    let again = command(&site, &["approve", digest]).await;
    assert!(!again.status.success() && said(&again).contains("there is no hold"));
    let requests = said(&command(&site, &["get", "requests", "-o", "json"]).await);
    for part in ["approved", "denied", "token ann", "let 12 units of change go in dev.example.com"]
    {
        assert!(requests.contains(part), "{part}: {requests}");
    }
    site.finish(&aws).await;
    emulator.stop().await;
}
