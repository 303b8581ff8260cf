//! The audit, end to end: who decided what, the way from a record to the words that let it change and back, and a notification of it.

use std::process::Output;

use serde_json::{Value, json};
use zonefold::cli::token::sha256_hex;

use crate::support::aws;
use crate::support::deployment::{Deployment, configuration, sqlite};
use crate::support::folder::TestFolder;
use crate::support::manifests::service;
use crate::support::process::{clean, listening, zonefold};
use crate::support::wait::eventually;

const OPERATOR: &str = "zf_operator_of_the_audit_0123456789abcdef";
const KEY: &str = "a-key-that-nobody-can-guess";
const HOSTS: usize = 12;

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

async fn json_of(site: &Deployment, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--output", "json"]).collect();
    let output = command(site, &arguments).await;
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
}

fn host(number: usize) -> String {
    format!("h{number}.dev.example.com")
}

fn kinds(entries: &Value) -> Vec<String> {
    let entries = entries.as_array().unwrap().iter();
    entries.map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_leads_to_its_batch_its_words_and_its_entries_and_a_subscriber_hears_of_it() {
    let (emulator, aws) = aws::emulated().await;
    let folder = TestFolder::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/receiver.py");
    let home = folder.path("home");
    let (receiver, receives_at) = listening("the receiver", "/", |at| {
        let mut command = clean("python3", &home);
        command.args([script, &at.port().to_string(), KEY]);
        command
    })
    .await;
    let mut configured = configuration(&folder, &sqlite(&folder), aws.configured());
    configured["rules"] = json!([]);
    configured["public_url"] = json!("https://zonefold.example.com");
    configured["notifications"] = json!({
        "secrets": [{ "name": "hook", "file": folder.write("hook", KEY) }], "private_addresses": "allow",
    });
    configured["api"] = json!({ "tokens": [
        { "name": "ann", "role": "operator", "token_sha256": sha256_hex(OPERATOR) },
    ] });
    let mut site = Deployment::start(folder, &aws, &configured).await;
    let subscription = json!({
        "apiVersion": "zonefold.dev/v1", "kind": "Subscription", "metadata": { "name": "oncall" },
        "spec": {
            "sink": { "webhook": { "url": format!("http://{receives_at}/ok"), "secret": "hook" } },
            "what": ["holds", "decisions"], "scope": { "environments": ["dev"] },
        },
    });
    let subscription = site.folder.write("subscription.yaml", &subscription.to_string());
    let reason = ["--reason", "people want to know"];
    let apply = ["apply", "-f", subscription.to_str().unwrap()];
    let applied = command(&site, &[&apply[..], &reason[..]].concat()).await;
    assert!(applied.status.success(), "{}", said(&applied));
    let refused = command(&site, &["delete", "grant", "nobody", "--reason", "clean up"]).await;
    assert!(!refused.status.success());

    // What people decide about rules stands there, with what was refused.
    let entries = json_of(&site, &["audit", "list", "--actor", "token ann"]).await;
    assert_eq!(kinds(&entries), ["rule_deleted", "rule_written"]);
    assert!(entries[0]["refused"].as_str().unwrap().contains("there is no Grant nobody"));
    let written = &entries[1];
    assert_eq!((&written["reason"], &written["rules"]), (&json!("people want to know"), &json!(1)));
    assert_eq!(
        (&written["before"], &written["after"]["kind"]),
        (&json!(null), &json!("Subscription"))
    );
    let origin = &written["origin"];
    assert_eq!((&origin["via"], &origin["address"]), (&json!("rest"), &json!("127.0.0.1")));
    assert!(origin["request_id"].is_string() && origin["replica"].is_string(), "{origin}");
    let configured = json_of(&site, &["audit", "list", "--account", "111111111111"]).await;
    assert_eq!(configured[0]["after"]["zones"][0]["name"], "dev.example.com", "{configured}");

    // Too much goes at once; a person looks, and lets it go.
    let all = (0..HOSTS).map(|number| service(&format!("h{number}"), &host(number), "192.0.2.10"));
    let all = all.collect::<Vec<_>>().join("\n---\n");
    site.agent("dev-east", &[("all.yaml", all)]).await;
    site.all_applied("dev-east").await;
    site.remove("dev-east", "all.yaml");
    let digest = eventually("the deletions are held", async || {
        let holds = json_of(&site, &["get", "holds"]).await;
        let is_all = |hold: &&Value| hold["units"] == HOSTS;
        let found = holds.as_array().unwrap().iter().find(is_all);
        found
            .map(|hold| hold["digest"].as_str().unwrap().to_owned())
            .ok_or_else(|| holds.to_string())
    })
    .await;
    let held = eventually("the hold stands in the audit", async || {
        let entries =
            json_of(&site, &["audit", "list", "--kind", "hold_began", "--name", &host(3)]).await;
        entries.as_array().unwrap().first().cloned().ok_or_else(|| entries.to_string())
    })
    .await;
    assert_eq!((&held["actor"], &held["zone"]), (&json!("broker"), &json!("dev.example.com")));
    let while_held = held["at"].as_str().unwrap().to_owned();
    let approved = command(&site, &["approve", &digest, "--comment", "the shop is closed"]).await;
    assert!(approved.status.success(), "{}", said(&approved));
    for number in 0..HOSTS {
        eventually("it is gone", async || match aws.answer("dev", &host(number), "A").await {
            None => Ok(()),
            there => Err(format!("{there:?}")),
        })
        .await;
    }

    // From the record to its batch, to the word that let it go, to the audit, and back.
    let deletion = eventually("the deletion has ended", async || {
        let name = json_of(&site, &["why", &host(3)]).await;
        let change = name["changes"][0].clone();
        let is_done = change["after"].is_null() && change["outcome"]["state"] == "applied";
        if is_done { Ok(change) } else { Err(change.to_string()) }
    })
    .await;
    let id = deletion["batch"].as_str().unwrap();
    let batch = json_of(&site, &["describe", "batch", id]).await;
    assert_eq!(batch["outcome"], deletion["outcome"]);
    assert!(batch["outcome"]["request_id"].is_string(), "{batch}");
    assert_eq!(
        (&batch["rules"]["number"], &batch["rules"]["by"]),
        (&json!(1), &json!("token ann"))
    );
    assert!(
        batch["units"].as_array().unwrap().iter().any(|unit| unit["released"] == true),
        "{batch}"
    );
    let request = &batch["released_by"][0];
    assert_eq!(request["approvals"][0]["by"], "token ann");
    assert_eq!(request["approvals"][0]["comment"], "the shop is closed");
    let of_request =
        json_of(&site, &["audit", "list", "--request", request["id"].as_str().unwrap()]).await;
    assert_eq!(kinds(&of_request), ["request_approved", "request_made"]);
    assert!(of_request[0]["names"].as_array().unwrap().contains(&json!(host(3))), "{of_request}");
    let table = said(&command(&site, &["describe", "batch", id]).await);
    assert!(table.contains("it was held, and let go by") && table.contains("token ann"), "{table}");

    // The name as it was.
    let past = json_of(&site, &["why", &host(3), "--at", &while_held]).await;
    assert_eq!(past["zones"][0]["holder"]["cluster"], "dev-east", "{past}");
    assert_eq!(past["zones"][0]["observed"][0]["set"]["values"], json!(["192.0.2.10"]));
    assert_eq!(past["rules"], 1);
    let earlier = json_of(&site, &["why", &host(3), "--at", "2020-01-01T00:00:00Z"]).await;
    assert!(earlier["summary"].as_str().unwrap().contains("no record and no holder"), "{earlier}");

    // The subscriber heard of all of it.
    eventually("the receiver has them", async || {
        let lines = receiver.output();
        let got: Vec<Value> =
            lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let has = |kind: &str| {
            got.iter().any(|line| line["body"]["kind"] == kind && line["signed"] == true)
        };
        let all = ["hold_began", "request_approved", "hold_ended"].iter().all(|kind| has(kind));
        if all { Ok(()) } else { Err(lines) }
    })
    .await;
    let lines = receiver.output();
    let link = format!("https://zonefold.example.com/requests/{}", request["id"].as_str().unwrap());
    assert!(lines.contains(&link), "{lines}");
    let told = json_of(&site, &["get", "notifications", "--state", "delivered"]).await;
    assert!(told.as_array().unwrap().len() >= 3, "{told}");
    assert_eq!(json_of(&site, &["get", "notifications", "--state", "dead"]).await, json!([]));

    // It proves itself: by its store, and by what was exported.
    let export = command(&site, &["audit", "export"]).await;
    let file = site.folder.write("audit.ndjson", &String::from_utf8_lossy(&export.stdout));
    let verify = async |arguments: &[&str]| {
        let arguments = ["audit", "verify"].iter().chain(arguments);
        zonefold(&site.folder.path("home"), arguments).output().await.unwrap()
    };
    let by_file = verify(&["--file", file.to_str().unwrap()]).await;
    assert!(by_file.status.success(), "{}", said(&by_file));
    let newest = said(&by_file).trim().rsplit_once(' ').unwrap().1.to_owned();
    let config = site.folder.path("broker.yaml");
    let by_store = verify(&["--config", config.to_str().unwrap(), "--expect", &newest]).await;
    assert!(by_store.status.success(), "{}", said(&by_store));
    let text =
        std::fs::read_to_string(&file).unwrap().replace("the shop is closed", "I was not there");
    std::fs::write(&file, text).unwrap();
    let tampered = verify(&["--file", file.to_str().unwrap()]).await;
    assert!(
        !tampered.status.success() && said(&tampered).contains("was changed"),
        "{}",
        said(&tampered)
    );
    site.finish(&aws).await;
    emulator.stop().await;
}
