//! The REST API and the commands on top of it, over a whole broker.

mod audit;
mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use zonefold::cli::client::{BrokerUrl, Client};
use zonefold::cli::{status, why};
use zonefold::core::ids::ClusterId;

use crate::emulator::support as aws;

use support::Rig;

fn texts<'a>(items: &'a [Value], field: &str) -> Vec<&'a str> {
    items.iter().map(|item| item[field].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_endpoint_is_listed_with_its_verdict_and_progress() {
    let rig = Rig::with_story().await;
    let all = rig.all("/api/v1/endpoints", 2).await;
    assert_eq!(
        texts(&all, "cluster"),
        ["dev-east", "dev-east", "dev-east", "dev-east", "dev-west"]
    );
    let ids: BTreeSet<(&str, &str)> =
        texts(&all, "cluster").into_iter().zip(texts(&all, "id")).collect();
    assert_eq!(ids.len(), 5, "pages in a row are all endpoints once");

    let web = &rig.all("/api/v1/endpoints?name=WWW.example.com.&cluster=dev-east", 100).await[0];
    assert_eq!(web["verdict"], json!({"state": "accepted", "reason": "ACCEPTED", "message": ""}));
    assert!(matches!(web["progress"]["state"].as_str(), Some("applied" | "in_sync")), "{web}");
    assert!(web["progress"]["change_id"].is_string());
    assert_eq!(web["placement"], json!({"account": "111111111111", "zone": "Z0EXAMPLE"}));
    assert_eq!(web["targets"], json!(["192.0.2.1"]));
    assert_eq!(web["source"], "service");
    assert!(web["since"].as_str().unwrap().ends_with('Z'));

    let rejected = rig.all("/api/v1/endpoints?state=rejected", 100).await;
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0]["verdict"]["reason"], "INVALID_NAME");
    let too_long = format!("{}.example.com", "a".repeat(64));
    assert_eq!(rig.all(&format!("/api/v1/endpoints?name={too_long}"), 100).await, rejected);

    let waiting = rig.all("/api/v1/endpoints?state=waiting", 1).await;
    let reasons: Vec<&Value> =
        waiting.iter().map(|endpoint| &endpoint["verdict"]["reason"]).collect();
    assert_eq!(reasons, ["NO_ZONE", "NAME_HELD"]);
    assert!(rig.all("/api/v1/endpoints?progress=refused", 100).await.is_empty());
    assert!(rig.all("/api/v1/endpoints?cluster=nobody", 100).await.is_empty());
}

#[tokio::test]
async fn clusters_show_their_session_and_their_counts() {
    let rig = Rig::with_story().await;
    let all = rig.all("/api/v1/clusters", 1).await;
    assert_eq!(texts(&all, "name"), ["dev-east", "dev-west", "prod-east"]);
    let east = rig.get("/api/v1/clusters/dev-east").await;
    assert_eq!(
        (&east["environment"], &east["connected"], &east["registered"]),
        (&json!("dev"), &json!(true), &json!(true))
    );
    assert_eq!(east["session"]["epoch"], 1);
    assert_eq!(east["labels"], json!({ "region": "eu-west-1" }));
    let counts = &east["endpoints"];
    assert_eq!(
        [
            &counts["stored"],
            &counts["applied"],
            &counts["waiting"],
            &counts["rejected"],
            &counts["troubled"]
        ],
        [4, 2, 1, 1, 0]
    );
    assert_eq!([&counts["over_quota"], &east["quota"]["max_endpoints"]], [0, 50_000]);
    assert!(counts["stored_bytes"].as_u64().unwrap() > 100);
    assert_eq!(all[2]["session"], Value::Null, "never connected");
}

#[tokio::test]
async fn accounts_show_health_budget_and_zones() {
    let rig = Rig::with_story().await;
    let all = rig.all("/api/v1/accounts", 1).await;
    assert_eq!(texts(&all, "id"), ["111111111111", "222222222222"]);
    let prod = rig.all("/api/v1/accounts?environment=prod", 100).await;
    assert_eq!(texts(&prod, "name"), ["prod"]);

    let dev = rig.get("/api/v1/accounts/111111111111").await;
    let account = &dev["account"];
    assert_eq!(account["health"], json!({"state": "working"}));
    let requests = account["budget"]["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .find(|b| b["bucket"] == "requests")
        .unwrap();
    assert_eq!(requests["capacity"], 39.0, "50, without a fifth for others and one for luck");
    assert!(requests["tokens"].as_f64().unwrap() <= 39.0);
    assert_eq!(account["budget"]["throttles"], 0);
    let zones = &account["zones"];
    assert_eq!(
        [&zones["zones"], &zones["records"], &zones["owned"], &zones["gone"]],
        [1, 5, 2, 0],
        "NS, SOA, old, www, api"
    );
    assert_eq!(dev["zones"][0]["id"], "Z0EXAMPLE");
}

#[tokio::test]
async fn zones_are_filtered_and_show_what_they_hold() {
    let rig = Rig::with_story().await;
    assert_eq!(rig.all("/api/v1/zones", 1).await.len(), 2);
    assert_eq!(
        texts(&rig.all("/api/v1/zones?environment=prod", 100).await, "name"),
        ["example.net"]
    );
    assert_eq!(
        texts(&rig.all("/api/v1/zones?account=111111111111", 100).await, "name"),
        ["example.com"]
    );
    assert!(rig.all("/api/v1/zones?environment=prod&account=111111111111", 100).await.is_empty());
    let zone = rig.get("/api/v1/zones/Z0EXAMPLE").await;
    assert_eq!(
        (&zone["policy"], &zone["drift_policy"], &zone["visibility"]),
        (&json!("sync"), &json!("repair"), &json!("public"))
    );
    assert!(zone["listed_at"].is_string());

    let records = rig.all("/api/v1/zones/Z0EXAMPLE/records", 2).await;
    let listed: Vec<String> = records
        .iter()
        .map(|r| format!("{} {}", r["name"].as_str().unwrap(), r["type"].as_str().unwrap()))
        .collect();
    assert_eq!(
        listed,
        [
            "example.com NS",
            "example.com SOA",
            "api.example.com A",
            "old.example.com A",
            "www.example.com A"
        ]
    );
    let (old, www) = (&records[3], &records[4]);
    assert_eq!(
        (&old["ours"], &old["owner"], &old["batch"]),
        (&json!(false), &Value::Null, &Value::Null)
    );
    assert_eq!(
        (&www["ours"], &www["owner"], &www["drift"]),
        (&json!(true), &json!("dev-east"), &Value::Null)
    );
    assert!(uuid::Uuid::parse_str(www["batch"].as_str().unwrap()).is_ok());
    assert_eq!(www["set"]["name"], "www.example.com.", "the raw form is untouched");
    assert_eq!(www["set"]["values"], json!(["192.0.2.1"]));
}

#[tokio::test]
async fn the_journal_says_what_changed_why_and_what_aws_answered() {
    let rig = Rig::with_story().await;
    let all = rig.all("/api/v1/changes", 1).await;
    assert_eq!(all.len(), 2);
    assert!(all[0]["id"].as_i64() > all[1]["id"].as_i64(), "newest first");
    let of_www =
        rig.all("/api/v1/changes?name=www.example.com&zone=Z0EXAMPLE&cluster=dev-east", 100).await;
    let [change] = of_www.as_slice() else { panic!("{of_www:?}") };
    assert_eq!(
        (&change["before"], &change["after"]["values"]),
        (&Value::Null, &json!(["192.0.2.1"]))
    );
    assert_eq!(
        (&change["cause"]["motive"], &change["cause"]["cluster"]),
        (&json!("wanted"), &json!("dev-east"))
    );
    assert_eq!(change["cause"]["endpoints"][0]["object"], "web");
    assert_eq!(change["outcome"]["state"], "applied");
    assert!(
        change["outcome"]["change_id"].is_string() && change["outcome"]["request_id"].is_string(),
        "{change}"
    );
    assert!(rig.all("/api/v1/changes?cluster=dev-west", 100).await.is_empty());
    assert!(rig.all("/api/v1/changes?name=old.example.com", 100).await.is_empty());
}

#[tokio::test]
async fn a_name_says_who_holds_it_who_waits_and_what_is_there() {
    let rig = Rig::with_story().await;
    let name = rig.get("/api/v1/names/WWW.Example.com.").await;
    assert_eq!(name["name"], "www.example.com");
    let [zone] = name["zones"].as_array().unwrap().as_slice() else { panic!("{name}") };
    assert_eq!(zone["zone"]["id"], "Z0EXAMPLE");
    assert_eq!(zone["holder"]["cluster"], "dev-east");
    let contributions = zone["contributions"].as_array().unwrap();
    let told: Vec<(&str, &str)> = contributions
        .iter()
        .map(|c| {
            (
                c["endpoint"]["cluster"].as_str().unwrap(),
                c["endpoint"]["verdict"]["reason"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [("dev-east", "ACCEPTED"), ("dev-west", "NAME_HELD")],
        "in the order in which they came"
    );
    assert_eq!(
        (&zone["desired"][0]["values"], &zone["observed"][0]["set"]["values"]),
        (&json!(["192.0.2.1"]), &json!(["192.0.2.1"]))
    );
    assert_eq!(
        (&zone["pending"], &zone["blocked"], &zone["refused"]),
        (&json!([]), &json!([]), &json!([]))
    );
    assert_eq!(name["changes"].as_array().unwrap().len(), 1);
    let summary = name["summary"].as_str().unwrap();
    assert!(
        summary.starts_with("www.example.com is held by dev-east in the zone example.com"),
        "{summary}"
    );
    assert!(
        summary.contains("Route 53 holds that") && summary.contains("of dev-west waits"),
        "{summary}"
    );
}

#[tokio::test]
async fn a_name_that_nobody_wants_is_told_where_it_would_go() {
    let rig = Rig::with_story().await;
    let new = rig.get("/api/v1/names/new.example.com").await;
    assert_eq!(
        (&new["zones"], &new["unplaced"], &new["changes"]),
        (&json!([]), &json!([]), &json!([]))
    );
    let dev = new["routes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|route| route["environment"] == "dev")
        .unwrap();
    assert_eq!(dev["zone"]["id"], "Z0EXAMPLE");
    let prod = new["routes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|route| route["environment"] == "prod")
        .unwrap();
    assert!(
        prod["zone"].is_null() && prod["message"].as_str().unwrap().contains("environment prod"),
        "{prod}"
    );
    assert!(new["summary"].as_str().unwrap().contains("No cluster wants new.example.com"));

    let outside = rig.get("/api/v1/names/shop.example.org").await;
    assert_eq!(outside["unplaced"][0]["verdict"]["reason"], "NO_ZONE");
    assert!(outside["summary"].as_str().unwrap().contains("of dev-east waits"), "{outside}");

    let foreign = rig.get("/api/v1/names/old.example.com").await;
    assert_eq!(foreign["zones"][0]["observed"][0]["ours"], false);
    assert!(
        foreign["summary"].as_str().unwrap().contains("did not make and does not touch"),
        "{foreign}"
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told() {
    let rig = Rig::start().await;
    for (path, status, parts) in [
        ("/api/v1/endpoints?limit=0", 400, ["limit", "1 to 1000"]),
        ("/api/v1/endpoints?state=perhaps", 400, ["state", "accepted"]),
        ("/api/v1/endpoints?colour=red", 400, ["colour", "expected"]),
        ("/api/v1/changes?cursor=zz", 400, ["cursor", "next"]),
        ("/api/v1/changes?name=a..b", 400, ["name", "empty label"]),
        ("/api/v1/zones?account=1", 400, ["account", "twelve digits"]),
        ("/api/v1/zones/Z0EXAMPLE?limit=1", 400, ["limit", "query"]),
        ("/api/v1/zones/Z%200", 400, ["zone id", "A-Z"]),
        ("/api/v1/zones/ZNONE", 404, ["ZNONE", "/api/v1/zones"]),
        ("/api/v1/zones/ZNONE/records", 404, ["ZNONE", "/api/v1/zones"]),
        ("/api/v1/accounts/333333333333", 404, ["333333333333", "/api/v1/accounts"]),
        ("/api/v1/clusters/nobody", 404, ["nobody", "/api/v1/clusters"]),
        ("/api/v1/names/a..b", 400, ["empty label", "dot"]),
        ("/api/v1/nothing", 404, ["/api/v1/nothing", "openapi.json"]),
    ] {
        let (got, detail) = rig.problem(path).await;
        assert_eq!(got, status, "{path}: {detail}");
        assert!(parts.iter().all(|part| detail.contains(part)), "{path}: {detail}");
    }
}

#[tokio::test]
async fn health_and_metrics_answer() {
    let rig = Rig::start().await;
    assert_eq!(rig.text("/healthz").await.2, "ok");
    assert_eq!(rig.get("/readyz").await, json!({"ready": true, "reasons": []}));
    let (_, headers, text) = rig.text("/metrics").await;
    assert!(headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(
        text.contains("zonefold_account_working{account=\"111111111111\"} 1")
            && text.ends_with("# EOF\n"),
        "{text}"
    );
    assert!(headers.contains_key("x-request-id"));
    assert_eq!(headers["cache-control"], "no-store");
}

#[tokio::test]
async fn a_broker_whose_accounts_have_not_answered_is_alive_and_not_ready() {
    // AWS takes the connection and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = Rig::build(
        aws::start(aws::config()).await,
        &format!("http://{}", silent.local_addr().unwrap()),
    )
    .await;
    assert_eq!(rig.text("/healthz").await.0, 200);
    let (status, _, text) = rig.text("/readyz").await;
    let readiness: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status.as_u16(), &readiness["ready"]), (503, &json!(false)));
    let reasons = readiness["reasons"].as_array().unwrap();
    assert!(
        reasons.len() == 2
            && reasons[0].as_str().unwrap().contains("111111111111 (dev) is starting"),
        "{text}"
    );
}

#[tokio::test]
async fn the_description_is_the_one_that_was_reviewed() {
    let rig = Rig::start().await;
    let served = rig.get("/api/v1/openapi.json").await;
    assert_eq!(served, serde_json::to_value(zonefold::api::openapi()).unwrap());
    insta::assert_json_snapshot!("openapi", served);
}

#[test]
fn every_operation_is_described_to_its_last_parameter() {
    let description = serde_json::to_value(zonefold::api::openapi()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    assert!(paths.len() > 25, "{} paths", paths.len());
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            assert!(["get", "post", "delete"].contains(&method.as_str()), "{place}");
            assert!(
                is_text(&operation["operationId"]) && is_text(&operation["summary"]),
                "{place}"
            );
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{place}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(is_text(&parameter["description"]), "{place}: {}", parameter["name"]);
                assert_eq!(
                    parameter["required"],
                    parameter["in"] == "path",
                    "{place}: {}",
                    parameter["name"]
                );
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(is_text(&response["description"]), "{place}: {status}");
                assert!(!response["content"].as_object().unwrap().is_empty(), "{place}: {status}");
            }
        }
    }
    for (name, schema) in description["components"]["schemas"].as_object().unwrap() {
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let described = is_text(&property["description"])
                || property.get("$ref").is_some()
                || property.get("oneOf").is_some();
            assert!(described || field == "state", "{name}.{field}");
        }
    }
}

/// Serves the routes on a port, for the commands.
async fn serve(rig: &Rig) -> BrokerUrl {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let routes = rig.routes.clone();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

#[tokio::test]
async fn status_shows_accounts_zones_clusters_and_what_is_not_fine() {
    let rig = Rig::with_story().await;
    let client = Client::new(serve(&rig).await, None, None).unwrap();
    let all = status::gather(&client, None).await.unwrap();
    assert_eq!((all.accounts.len(), all.zones.len(), all.clusters.len()), (2, 2, 3));
    let not_fine: Vec<String> = all
        .endpoints_not_fine
        .iter()
        .map(|e| format!("{} {}", e.cluster, e.verdict.as_ref().unwrap().reason.as_str()))
        .collect();
    assert_eq!(not_fine, ["dev-east INVALID_NAME", "dev-east NO_ZONE", "dev-west NAME_HELD"]);
    assert!(!all.more_not_fine);
    let text = status::render(&all, 200);
    for part in [
        "requests ",
        "working",
        "example.net",
        "never came",
        "region=eu-west-1",
        "rejected INVALID_NAME",
        "waiting NAME_HELD",
        "the limit is 63",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let mut over = all.clone();
    over.clusters[0].endpoints.over_quota = 3;
    assert!(!text.contains("over quota") && status::render(&over, 300).contains("(3 over quota)"));
    let prod =
        status::gather(&client, Some(&ClusterId::parse("prod-east").unwrap())).await.unwrap();
    assert_eq!((prod.accounts.len(), prod.zones.len(), prod.clusters.len()), (1, 1, 1));
    assert!(status::render(&prod, 80).contains("Every endpoint is fine."));
    let error =
        status::gather(&client, Some(&ClusterId::parse("nobody").unwrap())).await.unwrap_err();
    assert!(error.to_string().contains("nobody"), "{error}");
}

#[tokio::test]
async fn why_shows_summary_holder_contributions_and_changes() {
    let rig = Rig::with_story().await;
    let client = Client::new(serve(&rig).await, None, None).unwrap();
    let name = client.get("/api/v1/names/www.example.com").await.unwrap();
    let text = why::render(&name, 200);
    for part in [
        "is held by dev-east",
        "holder: dev-east since",
        "A 192.0.2.9",
        "waiting NAME_HELD",
        "ours (dev-east)",
        "wanted by dev-east",
        "applied as",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}
