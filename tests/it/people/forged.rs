//! A provider that lies, or that somebody else speaks for: whatever it sends, nobody is signed in by it.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::{Query, State};
use axum::response::Redirect;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use ring::hmac;
use serde::Deserialize;
use serde_json::{Value, json};

use super::browser::{Answer, Browser};
use super::provider::{CLIENT, CLIENT_SECRET};
use super::site::{COOKIE, PeopleSite};
use crate::support::authority::{Signer, key_set, unsigned};
use crate::support::folder::TestFolder;
use crate::support::network::free_address;

/// What the provider says next.
struct Said {
    url: String,
    signer: Signer,
    nonce: String,
    /// Makes an id token for a nonce.
    token: Box<dyn Fn(&Said) -> String + Send>,
    userinfo: Value,
    /// Laid over the discovery document.
    document: Value,
}

type Shared = Arc<Mutex<Said>>;

#[derive(Deserialize)]
struct Asked {
    redirect_uri: String,
    state: String,
    nonce: String,
}

async fn document(State(said): State<Shared>) -> Json<Value> {
    let said = said.lock().unwrap();
    let mut document = json!({
        "issuer": said.url, "authorization_endpoint": format!("{}/auth", said.url),
        "token_endpoint": format!("{}/token", said.url), "jwks_uri": format!("{}/keys", said.url),
        "userinfo_endpoint": format!("{}/userinfo", said.url),
    });
    for (key, value) in said.document.as_object().unwrap() {
        document[key] = value.clone();
    }
    Json(document)
}

/// Lets everybody in at once.
async fn auth(State(said): State<Shared>, Query(asked): Query<Asked>) -> Redirect {
    said.lock().unwrap().nonce = asked.nonce;
    Redirect::to(&format!("{}?code=a-code&state={}", asked.redirect_uri, asked.state))
}

async fn token(State(said): State<Shared>) -> Json<Value> {
    let said = said.lock().unwrap();
    let token = (said.token)(&said);
    Json(json!({ "access_token": "an-access-token", "token_type": "Bearer", "id_token": token }))
}

async fn keys(State(said): State<Shared>) -> Json<Value> {
    Json(key_set(&[&said.lock().unwrap().signer]))
}

async fn userinfo(State(said): State<Shared>) -> Json<Value> {
    Json(said.lock().unwrap().userinfo.clone())
}

struct Liar {
    site: PeopleSite,
    said: Shared,
}

fn now_secs() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The claims that it should make.
fn claims(said: &Said, more: &Value) -> Value {
    let mut claims = json!({
        "iss": said.url, "sub": "7", "aud": CLIENT, "exp": now_secs() + 600, "iat": now_secs(),
        "nonce": said.nonce, "email": "ann@example.com", "groups": ["pay-leads"],
    });
    for (key, value) in more.as_object().unwrap() {
        claims[key] = value.clone();
    }
    claims
}

impl Liar {
    async fn start(document_says: Value) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let said = Said {
            url: url.clone(),
            signer: Signer::es256("k"),
            nonce: String::new(),
            token: Box::new(|said| said.signer.token(&claims(said, &json!({})))),
            userinfo: json!({ "sub": "7" }),
            document: document_says,
        };
        let said: Shared = Arc::new(Mutex::new(said));
        let routes = axum::Router::new()
            .route("/.well-known/openid-configuration", get(document))
            .route("/auth", get(auth))
            .route("/token", post(token))
            .route("/keys", get(keys))
            .route("/userinfo", get(userinfo))
            .with_state(Arc::clone(&said));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let site = PeopleSite::start(TestFolder::new(), free_address(), &url, &json!({})).await;
        Self { site, said }
    }

    fn says(&self, token: impl Fn(&Said) -> String + Send + 'static) {
        self.said.lock().unwrap().token = Box::new(token);
    }

    /// How a sign-in ends.
    async fn sign_in(&self) -> Answer {
        let end = format!("{}/end", self.site.url);
        let link = format!("{}/auth/sign-in?return_to=/end", self.site.url);
        Browser::default().go_until(&link, |next| next == end).await
    }
}

fn by_hmac(said: &Said, key: &[u8]) -> String {
    let text = unsigned(&json!({ "alg": "HS256", "kid": "k" }), &claims(said, &json!({})));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_signed_in_by_a_token_that_is_forged_expired_replayed_or_meant_for_others() {
    type Forgery = (&'static str, Box<dyn Fn(&Said) -> String + Send>);
    let with = |what: &'static str, more: Value| -> Forgery {
        (what, Box::new(move |said: &Said| said.signer.token(&claims(said, &more))))
    };
    let liar = Liar::start(json!({})).await;
    let good = liar.sign_in().await;
    assert_eq!(good.status, 303, "{}", good.body);
    assert!(good.sets(COOKIE).is_some());
    let earlier = {
        let said = liar.said.lock().unwrap();
        said.signer.token(&claims(&said, &json!({})))
    };
    let forgeries: Vec<Forgery> = vec![
        ("nonce", Box::new(move |_: &Said| earlier.clone())),
        with("nonce", json!({ "nonce": null })),
        with("aud", json!({ "aud": "another-client" })),
        with("azp", json!({ "aud": [CLIENT, "another-client"], "azp": "another-client" })),
        with("azp", json!({ "aud": [CLIENT, "another-client"] })),
        with("another issuer", json!({ "iss": "https://evil.test" })),
        with("exp", json!({ "exp": now_secs() - 120 })),
        with("iat", json!({ "iat": now_secs() - 3_600 })),
        with("iat", json!({ "iat": now_secs() + 3_600 })),
        (
            "none",
            Box::new(|said: &Said| {
                format!("{}.", unsigned(&json!({ "alg": "none" }), &claims(said, &json!({}))))
            }),
        ),
        ("HS256", Box::new(|said: &Said| by_hmac(said, CLIENT_SECRET.as_bytes()))),
        (
            "HS256",
            Box::new(|said: &Said| {
                by_hmac(said, said.signer.jwk()["x"].as_str().unwrap().as_bytes())
            }),
        ),
        (
            "not by a key",
            Box::new(|said: &Said| Signer::es256("k").token(&claims(said, &json!({})))),
        ),
        (
            "has no key",
            Box::new(|said: &Said| Signer::es256("other").token(&claims(said, &json!({})))),
        ),
        (
            "not by a key",
            Box::new(|said: &Said| {
                let stranger = Signer::es256("k");
                let header = json!({ "alg": "ES256", "kid": "k", "jwk": stranger.jwk() });
                stranger.token_with(&header, &claims(said, &json!({})))
            }),
        ),
        (
            "not by a key",
            Box::new(|said: &Said| {
                let good = said.signer.token(&claims(said, &json!({})));
                let (_, signature) = good.rsplit_once('.').unwrap();
                let other = claims(said, &json!({ "email": "root@example.com" }));
                format!("{}.{signature}", unsigned(&json!({ "alg": "ES256", "kid": "k" }), &other))
            }),
        ),
        ("cannot be read", Box::new(|_: &Said| "no.token".to_owned())),
    ];
    for (what, forgery) in forgeries {
        liar.says(forgery);
        let refused = liar.sign_in().await;
        assert_eq!((refused.status, refused.sets(COOKIE)), (400, None), "{what}: {}", refused.body);
        assert!(refused.body.contains(what), "{what}: {}", refused.body);
    }
    liar.says(|said| said.signer.token(&claims(said, &json!({}))));
    assert_eq!(liar.sign_in().await.status, 303, "and it lets people in as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_another_person_is_not_believed() {
    let liar = Liar::start(json!({})).await;
    liar.says(|said| said.signer.token(&claims(said, &json!({ "email": null, "groups": null }))));
    liar.said.lock().unwrap().userinfo =
        json!({ "sub": "7", "email": "ann@example.com", "groups": ["pay-leads"] });
    // What the id token says counts, also that it is nothing.
    assert_eq!(liar.sign_in().await.status, 400);
    liar.says(|said| {
        let mut claims = claims(said, &json!({}));
        claims.as_object_mut().unwrap().retain(|key, _| key != "email" && key != "groups");
        said.signer.token(&claims)
    });
    assert_eq!(liar.sign_in().await.status, 303);
    liar.said.lock().unwrap().userinfo = json!({ "sub": "8", "email": "root@example.com" });
    let refused = liar.sign_in().await;
    assert_eq!((refused.status, refused.sets(COOKIE)), (400, None));
    assert!(refused.body.contains("another person"), "{}", refused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discovery_document_sends_neither_secrets_nor_people_elsewhere() {
    for document in [
        json!({ "issuer": "https://evil.test" }),
        json!({ "token_endpoint": "https://evil.test/token" }),
        json!({ "userinfo_endpoint": "https://evil.test/userinfo" }),
        json!({ "authorization_endpoint": "http://evil.test/auth" }),
        json!({ "authorization_endpoint": "javascript:alert(1)" }),
        json!({ "token_endpoint": null }),
    ] {
        let liar = Liar::start(document.clone()).await;
        let link = format!("{}/auth/sign-in", liar.site.url);
        let away = Browser::default().ask(Method::GET, &link, &[], "").await;
        assert_eq!((away.status, away.location()), (503, None), "{document}");
        assert!(!away.body.contains("evil.test"), "{}", away.body);
    }
}
