use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::*;
use crate::adapters::auth::keyset::Pace;
use crate::adapters::auth::web::Source;

const NOW_SECS: i64 = 1_800_000_000;
const PACE: Pace = Pace {
    fresh_for: Duration::from_secs(600),
    between: Duration::from_secs(1),
    usable_for: Duration::from_secs(3_600),
};

/// The keys of an issuer.
struct Given(Value);

#[async_trait::async_trait]
impl Source for Given {
    async fn read(&self) -> Result<Vec<u8>, String> {
        Ok(self.0.to_string().into_bytes())
    }
}

struct Provider {
    pair: Ed25519KeyPair,
    keys: KeySet,
}

impl Provider {
    fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x });
        let source = Given(json!({ "keys": [jwk] }));
        Self { pair, keys: KeySet::of("https://id.test", Box::new(source), PACE) }
    }

    fn signed(&self, header: &Value, claims: &Value) -> String {
        let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let text = parts.join(".");
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(text.as_bytes()));
        format!("{text}.{signature}")
    }

    async fn verify(&self, token: &str) -> Result<Value, String> {
        let expected = IdTokenExpected {
            issuer: "https://id.test",
            client_id: "zonefold",
            nonce: "n-1",
            now: Timestamp(NOW_SECS * 1_000),
        };
        expected.verify(&self.keys, token).await.map_err(|error| error.to_string())
    }
}

fn claims(more: &Value) -> Value {
    let mut claims = json!({
        "iss": "https://id.test", "sub": "7", "aud": "zonefold", "exp": NOW_SECS + 600,
        "iat": NOW_SECS - 1, "nonce": "n-1", "email": "ann@example.com",
    });
    for (key, value) in more.as_object().unwrap() {
        claims[key] = value.clone();
    }
    claims
}

fn header() -> Value {
    json!({ "alg": "EdDSA", "kid": "k" })
}

#[tokio::test]
async fn oidc_core_3_1_3_7_a_token_for_this_client_and_this_sign_in_is_believed() {
    let provider = Provider::new();
    for more in [
        json!({}),
        json!({ "aud": ["zonefold"] }),
        json!({ "azp": "zonefold" }),
        json!({ "aud": ["other", "zonefold"], "azp": "zonefold" }),
        json!({ "exp": NOW_SECS - 30 }),
        json!({ "iat": NOW_SECS + 30 }),
    ] {
        let claims = provider.verify(&provider.signed(&header(), &claims(&more))).await.unwrap();
        assert_eq!(claims["email"], "ann@example.com", "{more}");
    }
}

#[tokio::test]
async fn oidc_core_3_1_3_7_any_other_token_is_refused_with_the_claim_that_is_wrong() {
    let provider = Provider::new();
    for (more, part) in [
        (json!({ "iss": "https://id.test/" }), "another issuer's"),
        (json!({ "iss": "https://evil.test" }), "another issuer's"),
        (json!({ "aud": "other" }), "(aud)"),
        (json!({ "aud": ["other", "another"] }), "(aud)"),
        (json!({ "aud": [] }), "(aud)"),
        (json!({ "aud": ["other", "zonefold"] }), "(azp)"),
        (json!({ "aud": ["other", "zonefold"], "azp": "other" }), "(azp)"),
        (json!({ "azp": "other" }), "(azp)"),
        (json!({ "exp": NOW_SECS - 61 }), "(exp)"),
        (json!({ "nbf": NOW_SECS + 61 }), "(nbf)"),
        (json!({ "iat": NOW_SECS - 601 }), "(iat)"),
        (json!({ "iat": NOW_SECS + 61 }), "(iat)"),
        (json!({ "iat": null }), "(iat)"),
        (json!({ "nonce": "n-2" }), "(nonce)"),
        (json!({ "nonce": null }), "(nonce)"),
        (json!({ "sub": "" }), "(sub)"),
        (json!({ "sub": "s".repeat(256) }), "(sub)"),
        (json!({ "exp": null }), "its claims lack"),
    ] {
        let token = provider.signed(&header(), &claims(&more));
        let error = provider.verify(&token).await.unwrap_err();
        assert!(error.contains(part), "{more}: {error}");
        assert!(!error.contains(&token), "a token is nothing to show");
    }
}

#[tokio::test(start_paused = true)]
async fn forged_tokens_are_refused() {
    let (provider, stranger) = (Provider::new(), Provider::new());
    let claims = claims(&json!({}));
    let good = provider.signed(&header(), &claims);
    let parts: Vec<&str> = good.split('.').collect();
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());

    // The public key as the secret of an HMAC (RFC 8725 §2.1).
    let public = provider.pair.public_key().as_ref();
    let text = format!("{}.{}", encoded(&json!({ "alg": "HS256", "kid": "k" })), parts[1]);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public), text.as_bytes());
    let by_hmac = format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));

    let none = |name: &str| format!("{}.{}.", encoded(&json!({ "alg": name })), parts[1]);
    let other_claims = encoded(&super::tests::claims(&json!({ "email": "root@example.com" })));
    let own_key = json!({ "alg": "EdDSA", "kid": "k", "jwk": { "kty": "OKP" } });
    for (token, part) in [
        (none("none"), "signed by \"none\""),
        (none("None"), "signed by \"None\""),
        (by_hmac, "signed by \"HS256\""),
        (stranger.signed(&header(), &claims), "not by a key of the issuer"),
        (stranger.signed(&own_key, &claims), "not by a key of the issuer"),
        (stranger.signed(&json!({ "alg": "EdDSA", "kid": "other" }), &claims), "has no key"),
        (provider.signed(&json!({ "alg": "RS256", "kid": "k" }), &claims), "makes no such"),
        (format!("{}.{other_claims}.{}", parts[0], parts[2]), "not by a key of the issuer"),
        (format!("{}.{}.", parts[0], parts[1]), "not by a key of the issuer"),
        (format!("{}.{}", parts[0], parts[1]), "cannot be read"),
        (String::new(), "cannot be read"),
    ] {
        let error = provider.verify(&token).await.unwrap_err();
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(provider.verify(&good).await.is_ok());
}
