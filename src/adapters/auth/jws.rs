//! Signed tokens in their compact form (RFC 7515 §7.1): read, not yet believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::claims::Claims;
use crate::ports::{Refused, RefusedFor};

/// A service account's token has about 1,200 characters.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// The accepted signatures (RFC 7518 §3.1, RFC 8037 §3.1). The key says which of them it makes; the token's own word is only
/// compared with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// Extensions that have to be understood (RFC 7515 §4.1.11); none is supported.
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

/// A token that can be read.
pub(super) struct Jws<'a> {
    pub algorithm: Algorithm,
    pub key_id: Option<String>,
    pub claims: Claims,
    /// All claims, as they are written.
    pub payload: Vec<u8>,
    /// The signed part.
    pub signed: &'a [u8],
    pub signature: Vec<u8>,
}

/// Whether a token has the form of a signed one: three parts.
pub(super) fn looks_signed(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl<'a> Jws<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, Refused> {
        let malformed = |what: &str| {
            Refused::new(RefusedFor::MalformedToken, format!("the token cannot be read: {what}"))
        };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(malformed("it is longer than 16 KiB"));
        }
        let (signed, signature) =
            token.rsplit_once('.').ok_or_else(|| malformed("it has not three parts"))?;
        let (header, claims) =
            signed.split_once('.').ok_or_else(|| malformed("it has not three parts"))?;
        let header: Header = json(header).ok_or_else(|| malformed("its header is none"))?;
        if header.crit.is_some() {
            return Err(malformed(
                "its header names extensions that have to be understood (crit), and none is",
            ));
        }
        let algorithm = Algorithm::parse(&header.alg).ok_or_else(|| {
            let name: String = header.alg.chars().take(20).collect();
            Refused::new(
                RefusedFor::Algorithm,
                format!("the token is signed by {name:?}: RS256, RS384, RS512, ES256, ES384 and EdDSA are taken"),
            )
        })?;
        let payload = URL_SAFE_NO_PAD.decode(claims).unwrap_or_default();
        let claims = serde_json::from_slice(&payload)
            .map_err(|_| malformed("its claims lack iss, sub, aud or exp"))?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| malformed("its signature is not base64url"))?;
        let (key_id, signed) = (header.kid, signed.as_bytes());
        Ok(Self { algorithm, key_id, claims, payload, signed, signature })
    }
}

fn json<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str, claims: &str, signature: &str) -> String {
        format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    const CLAIMS: &str = r#"{"iss":"i","sub":"s","aud":["a","b"],"exp":1.5}"#;

    #[test]
    fn what_is_no_signed_token_is_told_apart() {
        let refused = |token: &str| Jws::parse(token).err().map(|refused| refused.why);
        assert_eq!(refused(&token(r#"{"alg":"ES256","kid":"k"}"#, CLAIMS, "AAAA")), None);
        for algorithm in ["none", "None", "HS256", "HS512", "PS256", "ES256K", ""] {
            let header = format!(r#"{{"alg":"{algorithm}"}}"#);
            assert_eq!(
                refused(&token(&header, CLAIMS, "")),
                Some(RefusedFor::Algorithm),
                "{algorithm}"
            );
        }
        let good = r#"{"alg":"ES256"}"#;
        for (header, claims, signature) in [
            (r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, CLAIMS, "AAAA"),
            (r#"{"alg":"RS256","alg":"ES256"}"#, CLAIMS, "AAAA"),
            ("[]", CLAIMS, "AAAA"),
            (good, "{}", "AAAA"),
            (good, r#"{"iss":"i","sub":"s","aud":"a"}"#, "AAAA"),
            (good, r#"{"iss":"i","iss":"j","sub":"s","aud":"a","exp":1}"#, "AAAA"),
            (good, r#"{"iss":"i","sub":"s","aud":"a","exp":"1"}"#, "AAAA"),
            (good, CLAIMS, "not base64"),
            (good, CLAIMS, "AA=="),
        ] {
            assert_eq!(
                refused(&token(header, claims, signature)),
                Some(RefusedFor::MalformedToken),
                "{header} {claims}"
            );
        }
        assert_eq!(refused(&"a.".repeat(20_000)), Some(RefusedFor::MalformedToken));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(text in ".{0,200}", header in ".{0,60}", claims in ".{0,60}") {
            let _either = Jws::parse(&text);
            let _either = Jws::parse(&token(&header, &claims, "AAAA"));
        }
    }
}
