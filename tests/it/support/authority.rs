//! A certificate authority of a test's own, and tokens signed by keys of a test's own.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use serde_json::{Value, json};

use super::folder::{TestFolder, write_whole};

/// Signs certificates.
pub struct Authority {
    name: &'static str,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key as files.
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(name: &'static str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self {
            name,
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
        }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its own certificate as a file.
    pub fn write(&self, folder: &TestFolder) -> PathBuf {
        folder.write(&format!("{}.crt", self.name), &self.pem())
    }

    /// A certificate with these names (URIs have `://`) and its key, both PEM.
    pub fn sign(&self, names: &[&str]) -> (String, String) {
        let plain: Vec<String> =
            names.iter().filter(|name| !name.contains("://")).map(ToString::to_string).collect();
        let mut params = CertificateParams::new(plain).unwrap();
        let uris = names.iter().filter(|name| name.contains("://"));
        params.subject_alt_names.extend(uris.map(|uri| SanType::URI((*uri).try_into().unwrap())));
        params.distinguished_name.push(DnType::CommonName, "a name that proves nothing");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// The same as files; the key comes first, as no rotation should rely on an order.
    pub fn write_signed(&self, folder: &TestFolder, file: &str, names: &[&str]) -> Files {
        let (certificate, key) = self.sign(names);
        Files {
            key: folder.write(&format!("{file}.key"), &key),
            certificate: folder.write(&format!("{file}.crt"), &certificate),
        }
    }
}

/// Signs tokens.
pub struct Signer {
    pub id: String,
    key: SigningKey,
}

enum SigningKey {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(Box<RsaKeyPair>),
}

impl Signer {
    pub fn es256(id: &str) -> Self {
        let (algorithm, random) =
            (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        Self { id: id.to_owned(), key: SigningKey::Es256(pair) }
    }

    pub fn eddsa(id: &str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self {
            id: id.to_owned(),
            key: SigningKey::EdDsa(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap()),
        }
    }

    /// ring makes no RSA keys, so this one was made before; nothing but these tests knows it.
    pub fn rs256(id: &str) -> Self {
        let pair = RsaKeyPair::from_pkcs8(include_bytes!("rsa-pkcs8.der")).unwrap();
        Self { id: id.to_owned(), key: SigningKey::Rs256(Box::new(pair)) }
    }

    pub fn algorithm(&self) -> &'static str {
        match self.key {
            SigningKey::Es256(_) => "ES256",
            SigningKey::EdDsa(_) => "EdDSA",
            SigningKey::Rs256(_) => "RS256",
        }
    }

    /// The public part of the key.
    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.key {
            SigningKey::Es256(pair) => {
                // SEC 1: 4, then x and y.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
            }
            SigningKey::EdDsa(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()) })
            }
            SigningKey::Rs256(pair) => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({ "kty": "RSA", "n": encode(&public.n), "e": encode(&public.e) })
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm());
        jwk
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({ "alg": self.algorithm(), "kid": self.id, "typ": "JWT" }), claims)
    }

    /// A token with another header.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = match &self.key {
            SigningKey::Es256(pair) => {
                pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec()
            }
            SigningKey::EdDsa(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
            SigningKey::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(
                    &signature::RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    signed.as_bytes(),
                    &mut signature,
                )
                .unwrap();
                signature
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The part of a token that is signed.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".")
}

/// The keys of an issuer.
pub fn key_set(signers: &[&Signer]) -> Value {
    json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() })
}

/// The keys of an issuer as a file.
pub fn write_keys(path: &Path, signers: &[&Signer]) {
    write_whole(path, &key_set(signers).to_string());
}
