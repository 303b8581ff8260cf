//! The emulator's control port over HTTP.

use aws_sdk_route53::types::ChangeAction::Create;
use serde_json::{Value, json};
use zonefold::emulator::{EmulatorConfig, EmulatorHandle};

use crate::emulator::support::*;

async fn call(
    emulator: &EmulatorHandle,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, String) {
    let url = format!("http://{}{path}", emulator.bound().control_addr);
    let request =
        http::Request::builder().method(method).uri(url).header("content-type", "application/json");
    let request = request.body(body.map(|body| body.to_string()).unwrap_or_default()).unwrap();
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<String>();
    let (parts, body) = client.request(request).await.unwrap().into_parts();
    let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
    (parts.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
}

async fn json(emulator: &EmulatorHandle, path: &str) -> Value {
    let (status, body) = call(emulator, "GET", path, None).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn faults_are_added_listed_and_removed_over_http() {
    let emulator = start(config()).await;
    let rule = json!({ "match": { "action": "GetHostedZoneCount" }, "times": 1, "effect": { "kind": "throttle" } });
    let (status, body) = call(&emulator, "POST", "/faults", Some(rule)).await;
    assert_eq!((status, body.as_str()), (201, "{\"id\":1}"));
    let client = route53(&emulator, user());
    assert!(client.get_hosted_zone_count().send().await.is_err());
    client.get_hosted_zone_count().send().await.unwrap();
    assert_eq!(json(&emulator, "/faults").await[0]["worked"], 1);
    assert_eq!(call(&emulator, "DELETE", "/faults/1", None).await.0, 204);
    assert_eq!(call(&emulator, "DELETE", "/faults/1", None).await.0, 404);
    let (status, _) =
        call(&emulator, "POST", "/faults", Some(json!({ "effect": { "kind": "no_such" } }))).await;
    assert_eq!(status, 422);
    emulator.stop().await;
}

#[tokio::test]
async fn the_journal_the_clock_and_the_counters_are_served_as_json() {
    let emulator = start(config()).await;
    change(&route53(&emulator, user()), vec![(Create, a_set("a.example.com", 60, &["192.0.2.1"]))])
        .await
        .unwrap();
    let path = format!("/zones/{ZONE}/records");
    let theirs = json!([{ "action": "UPSERT",
        "set": { "name": "a.example.com", "type": "A", "ttl_secs": 60, "values": ["192.0.2.2"] } }]);
    assert_eq!(call(&emulator, "POST", &path, Some(theirs)).await.0, 201);
    let journal = json(&emulator, "/journal?after=0").await;
    assert_eq!(journal[0]["origin"], "request");
    assert_eq!(journal[0]["comment"], "a test");
    assert_eq!(journal[1]["origin"], "foreign");
    assert_eq!(journal[1]["changes"][0]["before"]["values"], json!(["192.0.2.1"]));
    let before = json(&emulator, "/clock").await["now_ms"].as_i64().unwrap();
    call(&emulator, "POST", "/clock/step", Some(json!({ "by_ms": 1_500 }))).await;
    assert_eq!(json(&emulator, "/clock").await["now_ms"].as_i64().unwrap(), before + 1_500);
    assert_eq!(json(&emulator, "/counters").await["accounts"][ACCOUNT]["changes_applied"], 1);
    assert!(
        call(&emulator, "GET", "/metrics", None)
            .await
            .1
            .contains("zonefold_emulator_requests_total{")
    );
    assert!(call(&emulator, "GET", "/", None).await.1.contains("/faults"));
    emulator.stop().await;
}

#[tokio::test]
async fn a_control_port_that_others_could_reach_is_refused() {
    let config = EmulatorConfig { control_listen: "0.0.0.0:0".parse().unwrap(), ..config() };
    let error = zonefold::emulator::Emulator::build(config).await.err().unwrap().to_string();
    assert!(error.contains("is not a loopback address"), "{error}");
}
