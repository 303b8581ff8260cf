//! An issuer's keys (RFC 7517), and signatures by them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

use super::jws::{Algorithm, Jws};

/// A key of an accepted kind.
pub(super) struct Key {
    pub id: Option<String>,
    algorithms: Vec<Algorithm>,
    public: Public,
}

enum Public {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point of a curve: uncompressed (SEC 1 §2.3.3) for ES…, 32 octets for EdDSA.
    Point(Vec<u8>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Reads a set. Keys of other kinds, for other uses, or that cannot be read are passed over (RFC 7517 §5).
///
/// # Errors
/// It is not a set, or no key of it can be used.
pub(super) fn read_set(text: &[u8]) -> Result<Vec<Key>, String> {
    let set: Set = serde_json::from_slice(text)
        .map_err(|error| format!("it is no JSON Web Key Set: {error}"))?;
    let keys: Vec<Key> = set
        .keys
        .into_iter()
        .filter_map(|key| serde_json::from_value(key).ok().and_then(key_of))
        .collect();
    if keys.is_empty() {
        Err("it holds no key for signatures that can be used".to_owned())
    } else {
        Ok(keys)
    }
}

fn key_of(jwk: Jwk) -> Option<Key> {
    if jwk.usage.is_some_and(|usage| usage != "sig") {
        return None;
    }
    let bytes = |part: Option<String>| URL_SAFE_NO_PAD.decode(part?).ok();
    let point = |x, y, octets: usize| {
        let (x, y): (Vec<u8>, Vec<u8>) = (bytes(x)?, bytes(y)?);
        (x.len() == octets && y.len() == octets)
            .then(|| Public::Point([&[4], &x[..], &y[..]].concat()))
    };
    let (mut algorithms, public) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => (
            vec![Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512],
            Public::Rsa { modulus: bytes(jwk.n)?, exponent: bytes(jwk.e)? },
        ),
        ("EC", Some("P-256")) => (vec![Algorithm::Es256], point(jwk.x, jwk.y, 32)?),
        ("EC", Some("P-384")) => (vec![Algorithm::Es384], point(jwk.x, jwk.y, 48)?),
        ("OKP", Some("Ed25519")) => (vec![Algorithm::EdDsa], Public::Point(bytes(jwk.x)?)),
        _ => return None,
    };
    if let Some(only) = jwk.alg {
        let only = Algorithm::parse(&only);
        algorithms.retain(|algorithm| Some(*algorithm) == only);
    }
    (!algorithms.is_empty()).then_some(Key { id: jwk.kid, algorithms, public })
}

impl Key {
    /// Whether the key makes signatures of this kind.
    pub(super) fn makes(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether the key signed the token.
    pub(super) fn signed(&self, jws: &Jws<'_>) -> bool {
        if !self.makes(jws.algorithm) {
            return false;
        }
        let verified = match (&self.public, jws.algorithm) {
            (Public::Rsa { modulus, exponent }, algorithm) => {
                let parameters = match algorithm {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => return false,
                };
                // A leading zero octet is written by some; the components have none (RFC 7518 §6.3.1.1).
                let trimmed = |octets: &[u8]| {
                    octets.iter().copied().skip_while(|octet| *octet == 0).collect::<Vec<u8>>()
                };
                let components =
                    RsaPublicKeyComponents { n: trimmed(modulus), e: trimmed(exponent) };
                components.verify(parameters, jws.signed, &jws.signature)
            }
            (Public::Point(point), algorithm) => {
                let parameters: &dyn signature::VerificationAlgorithm = match algorithm {
                    Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
                    Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
                    Algorithm::EdDsa => &signature::ED25519,
                    Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 => return false,
                };
                UnparsedPublicKey::new(parameters, point).verify(jws.signed, &jws.signature)
            }
        };
        verified.is_ok()
    }
}
