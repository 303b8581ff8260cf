//! Tokens of service accounts, of a cluster's own, and the shared one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Json;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::sync::watch;
use tonic::Code;
use zonefold::adapters::auth::{
    Identities, Identity, KeySource, KnownCallers, ServiceAccount, token_hash,
};
use zonefold::core::ids::ClusterId;
use zonefold::core::time::Timestamp;
use zonefold::ports::{Callers as _, Clock, Means, Proven, RefusedFor, Shown};

use zonefold::app::broker::BrokerOptions;
use zonefold::broker::ingest::Limits;
use zonefold::wire::v1::go_away::Reason as GoAwayReason;

use super::site::{IdentitySite, hello, options, reason, statuses, watch as watch_statuses};
use crate::support::authority::{Signer, key_set, unsigned, write_keys};
use crate::support::folder::TestFolder;
use crate::support::network::get_json;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const NOW_SECS: i64 = 1_800_000_000;
const SHARED: &str = "the-token-that-the-others-share";
const OWN: &str = "a-token-of-the-cluster-south";

struct FixedClock(AtomicI64);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock(AtomicI64::new(NOW_SECS * 1_000)))
}

fn cluster(name: &str) -> ClusterId {
    ClusterId::parse(name).unwrap()
}

fn account(keys: KeySource) -> ServiceAccount {
    ServiceAccount {
        issuer: ISSUER.to_owned(),
        audience: "zonefold".to_owned(),
        namespace: "zonefold".to_owned(),
        name: "agent".to_owned(),
        keys,
    }
}

fn by_account(account: ServiceAccount) -> Identity {
    Identity { service_account: Some(account), ..Identity::default() }
}

/// The claims of a projected token.
fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": ["zonefold"], "sub": "system:serviceaccount:zonefold:agent",
        "iat": NOW_SECS - 10, "nbf": NOW_SECS - 10, "exp": NOW_SECS + 3_590,
        "kubernetes.io": { "namespace": "zonefold", "serviceaccount": { "name": "agent", "uid": "x" } },
    })
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(key)),
            value => claims[key] = value.clone(),
        }
    }
    claims
}

async fn proves(callers: &KnownCallers, token: &str) -> Result<String, RefusedFor> {
    let shown = Shown { bearer: Some(token.to_owned()), certificate: None };
    match callers.prove(&shown).await {
        Ok(Proven::Cluster { cluster, .. }) => Ok(cluster.to_string()),
        Ok(Proven::Shared) => Ok("shared".to_owned()),
        Err(refused) => {
            let parts = token.rsplit('.').next().unwrap();
            assert!(
                parts.is_empty() || !refused.message.contains(parts),
                "no part of a token is repeated: {}",
                refused.message
            );
            Err(refused.why)
        }
    }
}

struct Known {
    folder: TestFolder,
    clock: Arc<FixedClock>,
    callers: KnownCallers,
    east: Signer,
}

/// Two clusters whose issuers have the same name, as those of many clusters have, and keys of their own.
fn known() -> Known {
    let (folder, clock) = (TestFolder::new(), clock());
    let (east, west) = (Signer::es256("key-of-east"), Signer::rs256("key-of-west"));
    write_keys(&folder.path("east.json"), &[&east]);
    write_keys(&folder.path("west.json"), &[&west]);
    let clusters = ["east", "west"].map(|name| {
        (cluster(name), by_account(account(KeySource::File(folder.path(&format!("{name}.json"))))))
    });
    let south = Identity { token_sha256: Some(token_hash(OWN)), ..Identity::default() };
    let clusters = clusters.into_iter().chain([(cluster("south"), south)]).collect();
    let identities = Identities { shared_token_sha256: Some(token_hash(SHARED)), clusters };
    let callers = KnownCallers::new(identities, Arc::clone(&clock) as Arc<dyn Clock>);
    Known { folder, clock, callers, east }
}

#[tokio::test]
async fn a_token_of_the_service_account_proves_its_cluster_and_no_other() {
    let Known { callers, east, folder: _folder, .. } = known();
    assert_eq!(proves(&callers, &east.token(&claims())).await, Ok("east".to_owned()));
    assert_eq!(
        proves(&callers, &Signer::rs256("key-of-west").token(&claims())).await,
        Ok("west".to_owned())
    );
    assert_eq!(proves(&callers, OWN).await, Ok("south".to_owned()));
    assert_eq!(proves(&callers, SHARED).await, Ok("shared".to_owned()));

    let east_by_account = Proven::Cluster { cluster: cluster("east"), by: Means::ServiceAccount };
    assert!(callers.claim(&east_by_account, &cluster("east")).is_ok());
    let claim = |proven: &Proven, name| {
        callers.claim(proven, &cluster(name)).map_err(|refused| refused.why)
    };
    assert_eq!(claim(&east_by_account, "west"), Err(RefusedFor::OtherCluster));
    assert_eq!(claim(&Proven::Shared, "east"), Err(RefusedFor::IdentityRequired));
    assert_eq!(claim(&Proven::Shared, "a-cluster-without-identity"), Ok(()));
}

#[tokio::test]
async fn every_flaw_of_a_token_has_its_reason() {
    let Known { callers, east, folder: _folder, .. } = known();
    let rows = [
        (with(json!({ "exp": NOW_SECS - 61 })), RefusedFor::Expired),
        (with(json!({ "exp": 0 })), RefusedFor::Expired),
        (with(json!({ "exp": -1e300 })), RefusedFor::Expired),
        (with(json!({ "exp": null })), RefusedFor::MalformedToken),
        (with(json!({ "nbf": NOW_SECS + 61 })), RefusedFor::NotYetValid),
        (with(json!({ "nbf": 1e300 })), RefusedFor::NotYetValid),
        (with(json!({ "aud": ["https://kubernetes.default.svc"] })), RefusedFor::WrongAudience),
        (with(json!({ "aud": "zonefold2" })), RefusedFor::WrongAudience),
        (with(json!({ "aud": [] })), RefusedFor::WrongAudience),
        (with(json!({ "aud": null })), RefusedFor::MalformedToken),
        (with(json!({ "iss": "https://elsewhere.test" })), RefusedFor::UnknownIssuer),
        (with(json!({ "iss": format!("{ISSUER}/") })), RefusedFor::UnknownIssuer),
        (
            with(json!({ "sub": "system:serviceaccount:zonefold:default" })),
            RefusedFor::WrongServiceAccount,
        ),
        (
            with(json!({ "sub": "system:serviceaccount:other:agent" })),
            RefusedFor::WrongServiceAccount,
        ),
    ];
    for (claims, why) in rows {
        assert_eq!(proves(&callers, &east.token(&claims)).await, Err(why), "{claims}");
    }
    // Clocks may differ by a minute.
    let late = with(json!({ "exp": NOW_SECS - 59, "nbf": NOW_SECS - 3_600 }));
    assert_eq!(proves(&callers, &east.token(&late)).await, Ok("east".to_owned()));
    let early = with(json!({ "nbf": NOW_SECS + 59 }));
    assert_eq!(proves(&callers, &east.token(&early)).await, Ok("east".to_owned()));
    for audience in [json!("zonefold"), json!(["other", "zonefold"])] {
        assert_eq!(
            proves(&callers, &east.token(&with(json!({ "aud": audience })))).await,
            Ok("east".to_owned())
        );
    }
}

#[tokio::test]
async fn nobody_signs_for_the_issuer_but_its_key() {
    let Known { callers, east, folder: _folder, .. } = known();
    let good = east.token(&claims());
    let kid = east.id.clone();

    // A foreign key under the right name, under none, and under its own.
    let forger = Signer::es256(&kid);
    assert_eq!(proves(&callers, &forger.token(&claims())).await, Err(RefusedFor::BadSignature));
    let nameless = forger.token_with(&json!({ "alg": "ES256" }), &claims());
    assert_eq!(proves(&callers, &nameless).await, Err(RefusedFor::BadSignature));
    assert_eq!(
        proves(&callers, &Signer::es256("unknown").token(&claims())).await,
        Err(RefusedFor::UnknownKey)
    );
    // A key that the token brings along is not looked at.
    let header = json!({ "alg": "ES256", "kid": kid, "jwk": forger.jwk(), "jku": "https://forger.test/keys" });
    assert_eq!(
        proves(&callers, &forger.token_with(&header, &claims())).await,
        Err(RefusedFor::BadSignature)
    );

    // No signature, and the public key taken for the secret of HS256.
    let none = format!("{}.", unsigned(&json!({ "alg": "none", "kid": kid }), &claims()));
    assert_eq!(proves(&callers, &none).await, Err(RefusedFor::Algorithm));
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, east.jwk().to_string().as_bytes());
    let signed = unsigned(&json!({ "alg": "HS256", "kid": kid }), &claims());
    let signature = ring::hmac::sign(&secret, signed.as_bytes());
    let confused = format!("{signed}.{}", base64_url(signature.as_ref()));
    assert_eq!(proves(&callers, &confused).await, Err(RefusedFor::Algorithm));
    // A signature of a kind that the key does not make.
    let header = json!({ "alg": "RS256", "kid": kid });
    assert_eq!(
        proves(&callers, &east.token_with(&header, &claims())).await,
        Err(RefusedFor::Algorithm)
    );

    // Other claims under a good signature, and a signature that was cut or is empty.
    let (_, signature) = good.rsplit_once('.').unwrap();
    let header = json!({ "alg": "ES256", "kid": kid, "typ": "JWT" });
    let swapped =
        format!("{}.{signature}", unsigned(&header, &with(json!({ "exp": NOW_SECS + 999_999 }))));
    assert_eq!(proves(&callers, &swapped).await, Err(RefusedFor::BadSignature));
    assert_eq!(proves(&callers, &good[..good.len() - 2]).await, Err(RefusedFor::BadSignature));
    assert_eq!(
        proves(&callers, &format!("{}.", unsigned(&header, &claims()))).await,
        Err(RefusedFor::BadSignature)
    );
    assert_eq!(proves(&callers, "..").await, Err(RefusedFor::MalformedToken));
    assert_eq!(proves(&callers, "").await, Err(RefusedFor::UnknownToken));
    assert_eq!(
        proves(&callers, &token_hash(OWN).map(|octet| format!("{octet:02x}")).concat()).await,
        Err(RefusedFor::UnknownToken)
    );
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test]
async fn a_token_is_good_until_it_expires() {
    let Known { callers, clock, east, folder: _folder } = known();
    let token = east.token(&claims());
    assert_eq!(proves(&callers, &token).await, Ok("east".to_owned()));
    clock.0.store((NOW_SECS + 3_590 + 61) * 1_000, Ordering::Relaxed);
    assert_eq!(proves(&callers, &token).await, Err(RefusedFor::Expired));
}

#[tokio::test]
async fn a_key_of_two_issuers_proves_neither_of_their_clusters() {
    let (folder, signer) = (TestFolder::new(), Signer::es256("copied"));
    let clusters = ["east", "west"].map(|name| {
        let path = folder.path(&format!("{name}.json"));
        write_keys(&path, &[&signer]);
        (cluster(name), by_account(account(KeySource::File(path))))
    });
    let callers = KnownCallers::new(
        Identities { shared_token_sha256: None, clusters: clusters.into() },
        clock(),
    );
    assert_eq!(proves(&callers, &signer.token(&claims())).await, Err(RefusedFor::Ambiguous));
}

/// An issuer that publishes its keys by discovery.
async fn issuer(keys: watch::Receiver<Value>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let document = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
    let elsewhere =
        json!({ "issuer": "https://elsewhere.test", "jwks_uri": format!("{url}/keys") });
    let routes = axum::Router::new()
        .route("/.well-known/openid-configuration", get(async || Json(document)))
        .route("/liar/.well-known/openid-configuration", get(async || Json(elsewhere)))
        .route("/keys", get(async move || Json(keys.borrow().clone())));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

#[tokio::test]
async fn keys_are_discovered_at_the_issuer_or_read_at_a_url() {
    let signer = Signer::eddsa("one");
    let (_publish, keys) = watch::channel(key_set(&[&signer]));
    let url = issuer(keys).await;
    for (issuer, keys, expected) in [
        (url.clone(), KeySource::Discovery { ca_file: None, hosts: vec![] }, Ok("east".to_owned())),
        (
            ISSUER.to_owned(),
            KeySource::Url { url: format!("{url}/keys"), ca_file: None },
            Ok("east".to_owned()),
        ),
        (
            format!("{url}/liar"),
            KeySource::Discovery { ca_file: None, hosts: vec![] },
            Err(RefusedFor::KeysUnavailable),
        ),
        (
            ISSUER.to_owned(),
            KeySource::Url { url: format!("{url}/absent"), ca_file: None },
            Err(RefusedFor::KeysUnavailable),
        ),
        (
            ISSUER.to_owned(),
            KeySource::Url { url: "http://192.0.2.1/keys".into(), ca_file: None },
            Err(RefusedFor::KeysUnavailable),
        ),
    ] {
        let account = ServiceAccount { issuer: issuer.clone(), ..account(keys.clone()) };
        let identities = Identities {
            shared_token_sha256: None,
            clusters: vec![(cluster("east"), by_account(account))],
        };
        let callers = KnownCallers::new(identities, clock());
        let token = signer.token(&with(json!({ "iss": issuer })));
        assert_eq!(proves(&callers, &token).await, expected, "{issuer} {keys:?}");
    }
}

#[tokio::test]
async fn a_discovery_document_sends_the_broker_to_no_other_host_and_the_caller_hears_nothing_of_it()
{
    let asked = Arc::new(AtomicI64::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inside = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let signer = Signer::eddsa("one");
    let (keys, counted) = (key_set(&[&signer]), Arc::clone(&asked));
    let routes = axum::Router::new().fallback(async move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Json(keys.clone())
    });
    tokio::spawn(async move { axum::serve(listener, routes).await });

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let document = json!({ "issuer": issuer, "jwks_uri": format!("http://{inside}/keys") });
    let routes = axum::Router::new()
        .route("/.well-known/openid-configuration", get(async || Json(document)));
    tokio::spawn(async move { axum::serve(listener, routes).await });

    let keys = KeySource::Discovery { ca_file: None, hosts: vec![] };
    let account = ServiceAccount { issuer: issuer.clone(), ..account(keys) };
    let clusters = vec![(cluster("east"), by_account(account))];
    let callers = KnownCallers::new(Identities { shared_token_sha256: None, clusters }, clock());
    let token = signer.token(&with(json!({ "iss": issuer })));
    let shown = Shown { bearer: Some(token), certificate: None };
    let refused = callers.prove(&shown).await.unwrap_err();
    assert_eq!(refused.why, RefusedFor::KeysUnavailable);
    for part in [inside.as_str(), issuer.as_str(), "keys_hosts", "https"] {
        assert!(!refused.message.contains(part), "{}", refused.message);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0, "nothing was asked there");
}

/// A broker that knows the cluster east by its service account, with its time of day in our hand.
async fn site_by_account(limits: Limits) -> (IdentitySite, Arc<FixedClock>, Signer) {
    let (keys, signer, time_of_day) = (TestFolder::new(), Signer::es256("one"), clock());
    let keys_file = keys.path("keys.json");
    write_keys(&keys_file, &[&signer]);
    let clusters = json!([{ "name": "east", "environment": "dev", "identity": { "service_account": {
        "issuer": ISSUER, "namespace": "zonefold", "name": "agent", "keys_file": keys_file } } }]);
    let options = BrokerOptions {
        time_of_day: Some(Arc::clone(&time_of_day) as Arc<dyn Clock>),
        limits,
        ..options()
    };
    let site = IdentitySite::start_with(&clusters, &json!({}), options).await;
    // The keys are read before their folder goes.
    hello(&site.by_token(&signer.token(&claims())), "east").await.unwrap();
    (site, time_of_day, signer)
}

#[tokio::test]
async fn no_stream_outlives_the_token_that_opened_it() {
    let (site, time_of_day, signer) = site_by_account(Limits::default()).await;
    // Good for a quarter of a second more, with the minute by which clocks may differ.
    let ending = signer.token(&with(json!({ "exp": NOW_SECS as f64 - 59.75 })));
    let mut watching = statuses(&site.by_token(&ending), "east").await.unwrap();
    assert!(watching.message().await.unwrap().unwrap().replay_done, "nothing is held");
    time_of_day.0.fetch_add(1_000, Ordering::Relaxed);
    assert_eq!(reason(watching.message().await), (Code::Unauthenticated, "EXPIRED".to_owned()));
    assert_eq!(
        reason(hello(&site.by_token(&ending), "east").await),
        (Code::Unauthenticated, "EXPIRED".to_owned())
    );

    time_of_day.0.store(NOW_SECS * 1_000, Ordering::Relaxed);
    let session = hello(&site.by_token(&ending), "east").await.unwrap();
    assert_eq!(session.go_away().await, GoAwayReason::SessionAge, "the agent comes back at once");
}

#[tokio::test]
async fn a_stream_of_statuses_is_no_older_than_a_session() {
    let limits = Limits { least_age: Duration::from_millis(300), ..Limits::default() };
    let (site, _, signer) = site_by_account(limits).await;
    let mut watching = statuses(&site.by_token(&signer.token(&claims())), "east").await.unwrap();
    assert!(watching.message().await.unwrap().unwrap().replay_done, "nothing is held");
    assert!(watching.message().await.unwrap().is_none(), "it ends without an error");
}

#[tokio::test]
async fn the_broker_lets_in_whom_the_token_names() {
    let site = {
        let clusters = json!([
            { "name": "east", "environment": "dev", "identity": { "service_account": {
                "issuer": ISSUER, "namespace": "zonefold", "name": "agent", "keys_file": "/nonexistent/keys.json" } } },
            { "name": "west", "environment": "dev" },
            { "name": "south", "environment": "dev", "identity": { "token_sha256": hex(&token_hash(OWN)) } },
        ]);
        IdentitySite::start(&clusters, &json!({ "agents": { "token": SHARED } })).await
    };
    assert!(hello(&site.by_token(SHARED), "west").await.is_ok());
    assert!(hello(&site.by_token(OWN), "south").await.is_ok());
    watch_statuses(&site.by_token(OWN), "south").await.unwrap();
    for token in [SHARED, OWN] {
        assert_eq!(reason(hello(&site.by_token(token), "east").await).0, Code::PermissionDenied);
    }
    let refused =
        get_json(site.http, "/api/v1/clusters/east").await.unwrap()["refused_claims"].clone();
    assert_eq!(
        (refused["count"].as_u64(), refused["reason"].as_str()),
        (Some(2), Some("OTHER_CLUSTER")),
        "{refused}"
    );
    assert_eq!(
        reason(hello(&site.by_token(SHARED), "south").await),
        (Code::PermissionDenied, "IDENTITY_REQUIRED".to_owned())
    );
    // The issuer's keys cannot be read: the agent is not to blame, and comes again soon.
    let token = Signer::es256("one").token(&claims());
    assert_eq!(
        reason(hello(&site.by_token(&token), "east").await),
        (Code::Unavailable, "KEYS_UNAVAILABLE".to_owned())
    );
}

#[tokio::test]
async fn an_identity_that_is_taken_away_ends_the_streams_that_it_opened() {
    let cluster = |name: &str, token: &str| json!({ "name": name, "environment": "dev", "identity": { "token_sha256": hex(&token_hash(token)) } });
    let [of_east, of_west, next] =
        ["that-of-east-0123456789", "that-of-west-0123456789", "the-next-of-east-0123456789"];
    let site = IdentitySite::start(
        &json!([cluster("east", of_east), cluster("west", of_west)]),
        &json!({}),
    )
    .await;
    let mut watching = statuses(&site.by_token(of_east), "east").await.unwrap();
    assert!(watching.message().await.unwrap().unwrap().replay_done, "nothing is held");
    let (east, mut west) = (
        hello(&site.by_token(of_east), "east").await.unwrap(),
        hello(&site.by_token(of_west), "west").await.unwrap(),
    );

    site.reconfigure(&json!([cluster("east", next), cluster("west", of_west)])).await;
    assert_eq!(
        reason::<()>(Err(east.end().await)),
        (Code::Unauthenticated, "UNKNOWN_TOKEN".to_owned())
    );
    assert_eq!(
        reason(watching.message().await),
        (Code::Unauthenticated, "UNKNOWN_TOKEN".to_owned())
    );
    assert!(west.is_open().await, "a session whose identity stays goes on");
    assert!(hello(&site.by_token(next), "east").await.is_ok());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
