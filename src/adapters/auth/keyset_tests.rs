use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const PACE: Pace = Pace {
    fresh_for: Duration::from_secs(600),
    between: Duration::from_secs(10),
    usable_for: Duration::from_secs(3_600),
};

/// An issuer whose keys change and which may be away, and which counts how often it is asked.
#[derive(Default)]
struct Issuer {
    keys: std::sync::Mutex<Option<Vec<u8>>>,
    asked: AtomicU32,
    is_silent: AtomicBool,
}

struct Asking(Arc<Issuer>);

#[async_trait::async_trait]
impl Source for Asking {
    async fn read(&self) -> Result<Vec<u8>, String> {
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        if self.0.is_silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.0.keys.lock().unwrap().clone().ok_or_else(|| "it is away".to_owned())
    }
}

struct Signer {
    id: &'static str,
    pair: Ed25519KeyPair,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { id, pair: Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap() }
    }

    fn jwk(&self) -> serde_json::Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": x })
    }

    fn token(&self) -> String {
        let header = serde_json::json!({ "alg": "EdDSA", "kid": self.id });
        let claims = serde_json::json!({ "iss": "i", "sub": "s", "aud": "a", "exp": 1 });
        let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = parts.join(".");
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

impl Issuer {
    fn publishes(&self, signers: &[&Signer]) {
        let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
        *self.keys.lock().unwrap() =
            Some(serde_json::json!({ "keys": keys }).to_string().into_bytes());
    }

    fn goes_away(&self) {
        *self.keys.lock().unwrap() = None;
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

fn issuer_and_set() -> (Arc<Issuer>, KeySet) {
    let issuer = Arc::new(Issuer::default());
    (Arc::clone(&issuer), KeySet::of("https://issuer.test", Box::new(Asking(issuer)), PACE))
}

async fn verify(set: &KeySet, signer: &Signer, looked: Looked) -> Result<(), RefusedFor> {
    let token = signer.token();
    set.verify(&Jws::parse(&token).unwrap(), looked).await.map_err(|refused| refused.why)
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_fetched_when_a_token_names_it_and_not_more_often_than_the_pace() {
    let (issuer, set) = issuer_and_set();
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    issuer.publishes(&[&old]);
    assert_eq!(verify(&set, &old, Looked::Kept).await, Ok(()));
    assert_eq!(issuer.asked(), 1);
    issuer.publishes(&[&old, &new]);
    assert_eq!(
        verify(&set, &new, Looked::Kept).await,
        Err(RefusedFor::UnknownKey),
        "kept keys do not have it"
    );
    for _ in 0..100 {
        assert_eq!(verify(&set, &new, Looked::Anew).await, Err(RefusedFor::UnknownKey));
    }
    assert_eq!(
        issuer.asked(),
        1,
        "a caller with tokens of its own making does not make the broker ask"
    );
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(verify(&set, &new, Looked::Anew).await, Ok(()));
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn while_keys_are_fresh_nobody_waits_for_the_issuer() {
    let (issuer, set) = issuer_and_set();
    let (known, unknown) = (Signer::new("known"), Signer::new("unknown"));
    issuer.publishes(&[&known]);
    assert_eq!(
        verify(&set, &known, Looked::Fresh).await,
        Err(RefusedFor::UnknownKey),
        "they were not read yet"
    );
    assert_eq!(issuer.asked(), 0);
    assert_eq!(verify(&set, &known, Looked::Kept).await, Ok(()));
    tokio::time::advance(PACE.between).await;
    // A token by an unknown key makes the broker ask an issuer that does not answer.
    issuer.is_silent.store(true, Ordering::Relaxed);
    let asking = verify(&set, &unknown, Looked::Anew);
    tokio::pin!(asking);
    assert!(futures::poll!(&mut asking).is_pending());
    assert_eq!(issuer.asked(), 2);
    for looked in [Looked::Fresh, Looked::Kept] {
        assert_eq!(verify(&set, &known, looked).await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_the_issuer_withdrew_is_forgotten_in_time() {
    let (issuer, set) = issuer_and_set();
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    issuer.publishes(&[&old]);
    assert_eq!(verify(&set, &old, Looked::Kept).await, Ok(()));
    issuer.publishes(&[&new]);
    assert_eq!(verify(&set, &old, Looked::Kept).await, Ok(()), "not asked yet");
    tokio::time::advance(PACE.fresh_for).await;
    assert_eq!(verify(&set, &old, Looked::Kept).await, Err(RefusedFor::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_away_locks_nobody_out_for_a_while_and_is_not_trusted_for_ever() {
    let (issuer, set) = issuer_and_set();
    let signer = Signer::new("one");
    assert_eq!(verify(&set, &signer, Looked::Kept).await, Err(RefusedFor::KeysUnavailable));
    issuer.publishes(&[&signer]);
    tokio::time::advance(PACE.between).await;
    assert_eq!(verify(&set, &signer, Looked::Kept).await, Ok(()));
    issuer.goes_away();
    tokio::time::advance(PACE.fresh_for).await;
    assert_eq!(verify(&set, &signer, Looked::Kept).await, Ok(()), "its keys are known");
    tokio::time::advance(PACE.usable_for).await;
    assert_eq!(verify(&set, &signer, Looked::Kept).await, Err(RefusedFor::KeysUnavailable));
    issuer.publishes(&[&signer]);
    tokio::time::advance(PACE.between).await;
    assert_eq!(verify(&set, &signer, Looked::Kept).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_key_of_the_same_name_made_by_somebody_else_signs_nothing() {
    let (issuer, set) = issuer_and_set();
    let (ours, theirs) = (Signer::new("one"), Signer::new("one"));
    issuer.publishes(&[&ours]);
    assert_eq!(verify(&set, &theirs, Looked::Kept).await, Err(RefusedFor::BadSignature));
}
