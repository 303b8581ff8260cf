//! Tokens of the REST API: which role each has, what the commands do with them, and the hop from one replica to another.

use std::net::SocketAddr;
use std::path::Path;

use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zonefold::adapters::store::{self, StoreOptions};
use zonefold::agent::{Access, BrokerAddress, KeepAlive, Material};
use zonefold::app::broker::{BoundBroker, BrokerOptions, build};
use zonefold::cli::client::{Client, ClientError};
use zonefold::cli::token::sha256_hex;
use zonefold::config::Config;
use zonefold::core::dns::name::DnsName;
use zonefold::core::ids::{AccountId, EnvironmentId, ZoneId};
use zonefold::core::time::Millis;
use zonefold::ports::{ReplicaId, ReplicaRow, ZoneRow};

use super::site::{BROKER_NAME, hello, options};
use crate::support::authority::Authority;
use crate::support::folder::TestFolder;
use crate::support::postgres;
use crate::support::process::zonefold;
use crate::support::wait::eventually;

const AGENTS: &str = "a-token-of-the-agents-of-this-test";
const READER: &str = "a-token-that-may-read";
const WORKER: &str = "a-token-that-may-change-things";

fn api() -> Value {
    json!({ "tokens": [
        { "name": "dashboard", "role": "viewer", "token_sha256": sha256_hex(READER) },
        { "name": "on-call", "role": "operator", "token_sha256": sha256_hex(WORKER) },
    ]})
}

fn config(folder: &TestFolder, api: Value) -> Config {
    let config = json!({
        "store": format!("sqlite:{}", folder.path("broker.db").display()),
        "listen": { "grpc": "127.0.0.1:0", "http": "127.0.0.1:0" },
        "agents": { "token": "a-token-of-the-agents-of-this-test" },
        "api": api,
    });
    Config::parse(&config.to_string(), "broker.yaml").unwrap()
}

/// Status, headers and body of a request over plain HTTP.
async fn ask(
    http: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
) -> (u16, http::HeaderMap, String) {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<String>();
    let mut request = http::Request::builder().method(method).uri(format!("http://{http}{path}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let (head, body) =
        client.request(request.body(String::new()).unwrap()).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, String::from_utf8_lossy(&body).into_owned())
}

/// Whether a command of ours succeeded, and what it said.
async fn command(folder: &TestFolder, arguments: &[&str]) -> (bool, String) {
    let output = zonefold(&folder.path(""), arguments).output().await.unwrap();
    let said = [output.stdout, output.stderr]
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .concat();
    (output.status.success(), said)
}

#[tokio::test]
async fn a_token_opens_what_its_role_may_and_the_configuration_can_take_it_back() {
    let folder = TestFolder::new();
    let first = config(&folder, api());
    let bound = build(&first, options()).await.unwrap();
    let (http, stop) = (bound.http, CancellationToken::new());
    let reloader = bound.reloader(std::sync::Arc::new(first));
    let running = tokio::spawn(bound.run(stop.clone()));
    let clusters = "/api/v1/clusters";
    for (method, path, token, status, kind) in [
        ("GET", clusters, Some(READER), 200, ""),
        ("GET", clusters, Some(WORKER), 200, ""),
        ("GET", clusters, None, 401, "unauthenticated"),
        ("GET", clusters, Some("another"), 401, "unknown-token"),
        ("GET", clusters, Some(&sha256_hex(READER)), 401, "unknown-token"),
        ("POST", clusters, Some(READER), 403, "forbidden"),
        ("DELETE", clusters, None, 401, "unauthenticated"),
        ("POST", clusters, Some(WORKER), 405, "method-not-allowed"),
        ("GET", "/api/v1/openapi.json", None, 401, "unauthenticated"),
        ("GET", "/healthz", None, 200, ""),
        ("GET", "/readyz", None, 200, ""),
        ("GET", "/metrics", None, 200, ""),
    ] {
        let (got, headers, body) = ask(http, method, path, token).await;
        assert_eq!(got, status, "{method} {path} {token:?}: {body}");
        assert_eq!(
            headers.contains_key("www-authenticate"),
            matches!(status, 401 | 403),
            "{method} {path}"
        );
        assert!(!body.contains(READER) && !body.contains(WORKER));
        if !kind.is_empty() {
            assert_eq!(headers["content-type"], "application/problem+json");
            let problem: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(problem["type"], format!("urn:zonefold:problem:{kind}"));
        }
    }

    let token_file = folder.write("api-token", &format!("{READER}\n")).display().to_string();
    let url = format!("http://{http}");
    let (ok, said) =
        command(&folder, &["status", "--broker", &url, "--token-file", &token_file]).await;
    assert!(ok, "{said}");
    let (ok, said) = command(&folder, &["status", "--broker", &url]).await;
    assert!(!ok && said.contains("--token-file") && said.contains("401"), "{said}");

    let only_worker = json!({ "tokens": [api()["tokens"][1]], "open_metrics": false });
    reloader.apply(&config(&folder, only_worker)).await;
    assert_eq!(ask(http, "GET", clusters, Some(READER)).await.0, 401);
    assert_eq!(ask(http, "GET", clusters, Some(WORKER)).await.0, 200);
    assert_eq!(ask(http, "GET", "/metrics", None).await.0, 401);
    reloader.apply(&config(&folder, json!({}))).await;
    assert_eq!(ask(http, "GET", clusters, None).await.0, 200, "on loopback, with no tokens at all");
    reloader.apply(&config(&folder, json!({ "anonymous": "nothing" }))).await;
    assert_eq!(ask(http, "GET", clusters, None).await.0, 401);
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn zonefold_token_writes_a_token_that_the_broker_takes() {
    let folder = TestFolder::new();
    let out = folder.path("new-token").display().to_string();
    let (ok, entry) =
        command(&folder, &["token", "--role", "viewer", "--name", "dashboard", "--out", &out])
            .await;
    assert!(ok, "{entry}");
    let token = std::fs::read_to_string(&out).unwrap();
    assert!(!entry.contains(token.trim()) && entry.contains(&sha256_hex(&token)), "{entry}");
    let api: Value = serde_saphyr::from_str(&entry).unwrap();
    let bound = build(&config(&folder, api["api"].clone()), options()).await.unwrap();
    let url = format!("http://{}", bound.http);
    let stop = CancellationToken::new();
    let running = tokio::spawn(bound.run(stop.clone()));
    let (ok, said) = command(&folder, &["status", "--broker", &url, "--token-file", &out]).await;
    assert!(ok, "{said}");
    let (ok, said) = command(&folder, &["token", "--cluster", "dev-east", "--out", &out]).await;
    assert!(!ok && said.contains("new file"), "what is there is not overwritten: {said}");
    stop.cancel();
    running.await.unwrap().unwrap();
}

/// A replica with TLS on HTTP that knows these tokens, and where its agents and its callers connect.
async fn replica(
    folder: &TestFolder,
    authority: &Authority,
    store: &str,
    api: Value,
) -> (SocketAddr, SocketAddr, CancellationToken) {
    // A name and no address: replicas know each other by it, wherever they are.
    let own = authority.write_signed(folder, "replica", &[BROKER_NAME]);
    let config = json!({
        "store": store,
        "listen": {
            "grpc": "127.0.0.1:0", "http": "127.0.0.1:0",
            "tls": {
                "certificate_file": own.certificate, "key_file": own.key,
                "replica_ca_file": authority.write(folder), "listeners": ["http"],
            },
        },
        "agents": { "token": AGENTS },
        "environments": [{ "name": "dev" }],
        "clusters": [{ "name": "east", "environment": "dev" }],
        "api": api,
    });
    let config = Config::parse(&config.to_string(), "broker.yaml").unwrap();
    let bound =
        build(&config, BrokerOptions { leases: crate::replicas::quick_leases(), ..options() })
            .await
            .unwrap();
    let BoundBroker { grpc, http, .. } = bound;
    let stop = CancellationToken::new();
    tokio::spawn(bound.run(stop.clone()));
    (grpc, http, stop)
}

/// A replica's answer to a client that trusts the authority; its certificate names no address, so its name is looked up there.
async fn ask_over_tls(
    http: SocketAddr,
    ca: &Path,
    token: &str,
    path: &str,
) -> Result<Value, String> {
    let tls = zonefold::adapters::tls::client_config(Some(ca)).unwrap();
    let name = rustls::pki_types::ServerName::try_from(BROKER_NAME).unwrap();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name))
        .enable_http1()
        .build();
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build::<_, String>(connector);
    let request = http::Request::get(format!("https://{http}{path}"))
        .header("authorization", format!("Bearer {token}"));
    let (head, body) = client
        .request(request.body(String::new()).unwrap())
        .await
        .map_err(|e| format!("{e:?}"))?
        .into_parts();
    let body = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
    if head.status == 200 {
        Ok(serde_json::from_str(&body).unwrap())
    } else {
        Err(format!("{} {body}", head.status))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_asks_another_over_tls_for_whom_it_has_judged_itself() {
    let (folder, authority, store) =
        (TestFolder::new(), Authority::new("authority"), postgres::database().await);
    let ca = authority.write(&folder);
    let (_, first, stop_first) = replica(&folder, &authority, &store, api()).await;
    // This one does not know the reader, and has the session.
    let (grpc, second, stop_second) =
        replica(&folder, &authority, &store, json!({ "tokens": [api()["tokens"][1]] })).await;
    let agent = Access::new(BrokerAddress {
        url: format!("http://{grpc}"),
        token: Some(Material::text(AGENTS)),
        ca: None,
        certificate: None,
        keep_alive: KeepAlive::default(),
    });
    let _session = hello(&agent.unwrap(), "east").await.unwrap();
    let east = "/api/v1/clusters/east";
    assert!(ask_over_tls(second, &ca, READER, east).await.unwrap_err().contains("unknown-token"));
    eventually("the first replica tells the reader what the second knows", async || {
        match ask_over_tls(first, &ca, READER, east).await {
            Ok(cluster) if cluster["connected"] == true => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let clusters = ask_over_tls(first, &ca, READER, "/api/v1/clusters").await.unwrap();
    assert_eq!(clusters["items"][0]["connected"], true, "{clusters}");
    assert!(clusters.get("missing").is_none(), "{clusters}");
    stop_second.cancel();
    stop_first.cancel();

    // The command does not take a certificate that names another host.
    let pem = authority.pem();
    let client = Client::new(
        format!("https://{first}").parse().unwrap(),
        Some(WORKER),
        Some(pem.as_bytes()),
    )
    .unwrap();
    assert!(matches!(
        client.get::<Value>("/api/v1/clusters").await,
        Err(ClientError::Unreachable { .. })
    ));
}

/// Something that answers to nothing that a replica asks for clusters, and with an error to everything else; it hands on what it is asked.
async fn dumb_replica() -> (SocketAddr, mpsc::UnboundedReceiver<(String, http::HeaderMap)>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, seen) = mpsc::unbounded_channel();
    let routes = axum::Router::new().fallback(async move |request: axum::extract::Request| {
        let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
        let is_silent = path.starts_with("/api/v1/clusters");
        asked.send((path, headers)).unwrap();
        match is_silent {
            true => std::future::pending().await,
            false => http::StatusCode::INTERNAL_SERVER_ERROR,
        }
    });
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (address, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_silent_is_named_and_the_rest_is_told_and_it_hears_no_token() {
    let (folder, url) = (TestFolder::new(), postgres::database().await);
    let (address, mut asked) = dumb_replica().await;
    let account = AccountId::parse("111111111111").unwrap();
    let silent =
        ReplicaRow { replica: ReplicaId(uuid::Uuid::from_u128(1)), address: address.to_string() };
    let store = store::open(&url.parse().unwrap(), &StoreOptions::default()).await.unwrap();
    let long = Millis::from_secs(3_600);
    store.heartbeat(&silent, long).await.unwrap();
    store.take_leases(silent.replica, std::slice::from_ref(&account), long).await.unwrap();
    let zone = ZoneRow {
        zone: ZoneId::parse("Z1").unwrap(),
        account: account.clone(),
        environment: EnvironmentId::parse("dev").unwrap(),
        name: DnsName::parse("example.com").unwrap(),
        private: false,
        visible: true,
        tags: None,
        listed_at: None,
    };
    store.save_zones(&[zone]).await.unwrap();

    let config = json!({
        "store": url,
        "listen": { "grpc": "127.0.0.1:0", "http": "127.0.0.1:0" },
        "agents": { "token": AGENTS },
        "environments": [{ "name": "dev" }],
        "clusters": [{ "name": "east", "environment": "dev" }],
        "accounts": [{ "id": account, "name": "dev-dns", "environment": "dev", "zones": [{ "name": "*" }] }],
        "api": api(),
    });
    let config = Config::parse(&config.to_string(), "broker.yaml").unwrap();
    let options = BrokerOptions { leases: crate::replicas::quick_leases(), ..options() };
    let bound = build(&config, options).await.unwrap();
    let (http, stop) = (bound.http, CancellationToken::new());
    let running = tokio::spawn(bound.run(stop.clone()));

    for path in ["clusters", "clusters/east", "accounts", "zones", "names/www.example.com"] {
        let path = format!("/api/v1/{path}");
        let answer = eventually("the answer names who is silent", async || {
            let (status, _, body) = ask(http, "GET", &path, Some(READER)).await;
            assert_eq!(status, 200, "{path}: {body}");
            let answer: Value = serde_json::from_str(&body).unwrap();
            match answer["missing"][0]["replica"].as_str() {
                Some(_) => Ok(answer),
                None => Err(body),
            }
        })
        .await;
        let missing = &answer["missing"][0];
        assert_eq!(missing["replica"], silent.replica.to_string(), "{answer}");
        assert_eq!(missing["accounts"], json!([account]), "{answer}");
        let (asked_path, headers) = asked.recv().await.unwrap();
        assert_eq!(asked_path, path);
        assert!(headers.contains_key("x-zonefold-voucher"), "{headers:?}");
        assert!(!format!("{headers:?}").contains(READER) && !headers.contains_key("authorization"));
        // Each attempt of `eventually` asked once.
        while asked.try_recv().is_ok() {}
        match path.as_str() {
            "/api/v1/clusters" => assert_eq!(answer["items"][0]["name"], "east"),
            "/api/v1/clusters/east" => assert_eq!(answer["name"], "east"),
            "/api/v1/names/www.example.com" => {
                let summary = answer["summary"].as_str().unwrap();
                assert!(
                    summary.contains("incomplete") && summary.contains("111111111111"),
                    "{summary}"
                );
            }
            _ => {}
        }
    }
    // State that the silent one alone knows is no partial answer.
    let (status, _, body) = ask(http, "GET", "/api/v1/accounts/111111111111", Some(READER)).await;
    assert!(status == 503 && body.contains("replica-unreachable"), "{status} {body}");

    let token_file = folder.write("api-token", READER).display().to_string();
    let broker = format!("http://{http}");
    let (ok, said) =
        command(&folder, &["status", "--broker", &broker, "--token-file", &token_file]).await;
    assert!(ok && said.contains("MISSING") && said.contains("111111111111"), "{said}");
    stop.cancel();
    running.await.unwrap().unwrap();
}
