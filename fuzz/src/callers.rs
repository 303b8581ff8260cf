//! What a caller shows: tokens, certificates, and the key set of an issuer.

use std::cell::RefCell;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use zonefold::adapters::auth::{
    Identities, Identity, KeySource, KnownCallers, ServiceAccount, usable_keys,
};
use zonefold::core::ids::ClusterId;
use zonefold::core::time::Timestamp;
use zonefold::ports::{Callers as _, Clock, Shown};

/// The longest that a refusal says; a certificate's names are at most a fuzzer's input.
const MOST_SAID: usize = 4_096;
/// The generator of P-256: a good public key.
const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k","use":"sig",
    "x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}]}"#;

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000)
    }
}

struct Site {
    runtime: tokio::runtime::Runtime,
    callers: KnownCallers,
}

thread_local! {
    static SITE: RefCell<Site> = RefCell::new(site());
}

fn site() -> Site {
    let file = std::env::temp_dir().join(format!("zonefold-fuzz-keys-{}.json", std::process::id()));
    std::fs::write(&file, KEYS).unwrap();
    let account = ServiceAccount {
        issuer: "https://issuer".to_owned(),
        audience: "zonefold".to_owned(),
        namespace: "zonefold".to_owned(),
        name: "agent".to_owned(),
        keys: KeySource::File(file),
    };
    let identity = Identity {
        service_account: Some(account),
        certificate: Some("east.test".to_owned()),
        token_sha256: None,
    };
    let identities = Identities {
        shared_token_sha256: None,
        clusters: vec![(ClusterId::parse("east").unwrap(), identity)],
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    Site { runtime, callers: KnownCallers::new(identities, Arc::new(Noon)) }
}

/// The first byte chooses what the others are: a token, a token's header and claims in two lines, a certificate, a key set.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = super::split_choice(data) else { return };
    match choice % 4 {
        0 => check_token(String::from_utf8_lossy(rest).into_owned()),
        1 => {
            let (header, claims) =
                rest.split_at(rest.iter().position(|octet| *octet == b'\n').unwrap_or(rest.len()));
            let claims = claims.strip_prefix(b"\n").unwrap_or(claims);
            check_token(format!(
                "{}.{}.{}",
                URL_SAFE_NO_PAD.encode(header),
                URL_SAFE_NO_PAD.encode(claims),
                "A".repeat(86)
            ));
        }
        2 => check_certificate(rest),
        _ => match usable_keys(rest) {
            Ok(keys) => assert!(keys > 0 && keys <= rest.len()),
            Err(error) => assert!(error.len() < MOST_SAID),
        },
    }
}

/// Nobody can sign for the issuer, and what is refused is not repeated.
fn check_token(token: String) {
    let shown = Shown { bearer: Some(token.clone()), certificate: None };
    let refused = SITE
        .with_borrow(|site| site.runtime.block_on(site.callers.prove(&shown)))
        .expect_err("nobody has the key");
    assert!(refused.message.len() < MOST_SAID, "{}", refused.message);
    assert!(token.len() < 32 || !refused.message.contains(&token), "{}", refused.message);
}

/// A certificate proves the one name that is known, when it stands there to the letter.
fn check_certificate(der: &[u8]) {
    let shown = Shown { bearer: None, certificate: Some(Bytes::copy_from_slice(der)) };
    match SITE.with_borrow(|site| site.runtime.block_on(site.callers.prove(&shown))) {
        Ok(_) => assert!(der.windows(9).any(|octets| octets.eq_ignore_ascii_case(b"east.test"))),
        Err(refused) => assert!(refused.message.len() < MOST_SAID, "{}", refused.message),
    }
}
