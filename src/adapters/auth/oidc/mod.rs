//! Sign-in of people by OpenID Connect: the authorization code flow (OpenID Connect Core 1.0 §3.1) with PKCE (RFC 7636).
//!
//! What is believed of a person stands in a signed id token for this client and this sign-in, and in what the provider's own userinfo
//! endpoint says of the same subject. The discovery document leads the broker to the issuer's own host and to those of the configuration
//! alone, as for the keys of clusters.

mod id_token;
mod person;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use ring::rand::SecureRandom as _;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use self::id_token::IdTokenExpected;
use self::person::PersonClaims;
use super::keyset::{KeySet, Pace};
use super::web::{Discovered, call, discovery, may_send_to};
use crate::core::people::credential::SignedInPerson;
use crate::ports::{Clock, IdentityProvider, PendingSignIn, SignInBegun, SignInError};

/// Tokens come from the provider itself and from nobody else, so a key that is not known yet is looked for at once.
const KEYS: Pace = Pace {
    fresh_for: Duration::from_secs(600),
    between: Duration::from_secs(1),
    usable_for: Duration::from_secs(24 * 60 * 60),
};
/// How long a discovery document is used before it is read again.
const DOCUMENT_FRESH_FOR: Duration = Duration::from_secs(600);
/// How long it is used while it cannot be read again.
const DOCUMENT_USABLE_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// The least time between two attempts to read it.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);
/// How many sign-ins end at once: whoever makes up codes cannot have the broker ask the provider without an end.
const FINISHING_AT_ONCE: usize = 16;
/// Octets of randomness in a state, a nonce and a verifier.
const RANDOM_BYTES: usize = 32;

/// A client at an identity provider.
#[derive(Clone, PartialEq, Eq)]
pub struct OidcSettings {
    /// The issuer.
    pub issuer: String,
    /// The client's id there.
    pub client_id: String,
    /// Its secret; `None` for a public client.
    pub client_secret: Option<String>,
    /// Whether it stands in the body and not in a header; `None` for what the provider says.
    pub secret_in_body: Option<bool>,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// The claim by which rules know people.
    pub user_claim: String,
    /// The claim with their groups.
    pub groups_claim: String,
    /// Hosts to which the discovery document may send the broker, besides the issuer's own.
    pub hosts: Vec<String>,
    /// The CA of the provider's certificate; `None` for those that the system trusts.
    pub ca_file: Option<PathBuf>,
}

/// The parts of a discovery document that a sign-in needs.
#[derive(Debug, Deserialize)]
struct ProviderDocument {
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(default)]
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

#[derive(Default)]
struct KeptDocument {
    document: Option<(Instant, Arc<ProviderDocument>)>,
    attempted_at: Option<Instant>,
}

/// See the module's page.
pub struct OidcProvider {
    settings: OidcSettings,
    keys: KeySet,
    kept: Mutex<KeptDocument>,
    finishing: Semaphore,
    clock: Arc<dyn Clock>,
}

/// What the token endpoint answers (RFC 6749 §5.1, OpenID Connect Core 1.0 §3.1.3.3).
#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
    access_token: String,
}

/// Its errors (RFC 6749 §5.2).
#[derive(Deserialize)]
struct TokenProblem {
    error: String,
}

fn random() -> Result<String, SignInError> {
    let mut octets = [0; RANDOM_BYTES];
    ring::rand::SystemRandom::new().fill(&mut octets).map_err(|_| SignInError::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(octets))
}

/// The challenge of a verifier (RFC 7636 §4.2, `S256`).
pub fn code_challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// Writes parameters as a form (WHATWG URL, `application/x-www-form-urlencoded`).
fn form(parameters: &[(&str, &str)]) -> String {
    let encoded = |text: &str| {
        text.bytes().fold(String::with_capacity(text.len()), |mut encoded, octet| {
            if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
                encoded.push(char::from(octet));
            } else {
                encoded.push_str(&format!("%{octet:02X}"));
            }
            encoded
        })
    };
    let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

impl OidcProvider {
    /// A provider that nobody asked yet. `clock` is the time of day.
    pub fn new(settings: OidcSettings, clock: Arc<dyn Clock>) -> Self {
        let source =
            Discovered::new(&settings.issuer, settings.ca_file.as_deref(), &settings.hosts);
        let keys = KeySet::of(&settings.issuer, Box::new(source), KEYS);
        let finishing = Semaphore::new(FINISHING_AT_ONCE);
        Self { settings, keys, kept: Mutex::default(), finishing, clock }
    }

    /// The client.
    pub fn settings(&self) -> &OidcSettings {
        &self.settings
    }

    fn away(&self, error: &str) -> SignInError {
        tracing::warn!(issuer = %self.settings.issuer, %error, "nobody can sign in: the identity provider cannot be used");
        SignInError::Away
    }

    /// The discovery document. Callers that have to wait share one attempt.
    async fn document(&self) -> Result<Arc<ProviderDocument>, SignInError> {
        let mut kept = self.kept.lock().await;
        let known = |kept: &KeptDocument, age: Duration| {
            let found = kept.document.as_ref().filter(|(at, _)| at.elapsed() < age);
            found.map(|(_, document)| Arc::clone(document))
        };
        if let Some(document) = known(&kept, DOCUMENT_FRESH_FOR) {
            return Ok(document);
        }
        if kept.attempted_at.is_none_or(|at| at.elapsed() >= BETWEEN_ATTEMPTS) {
            let read = self.read_document().await;
            kept.attempted_at = Some(Instant::now());
            match read {
                Ok(document) => kept.document = Some((Instant::now(), Arc::new(document))),
                Err(error) => drop(self.away(&error)),
            }
        }
        known(&kept, DOCUMENT_USABLE_FOR).ok_or(SignInError::Away)
    }

    async fn read_document(&self) -> Result<ProviderDocument, String> {
        let OidcSettings { issuer, ca_file, hosts, .. } = &self.settings;
        let document: ProviderDocument = discovery(issuer, ca_file.as_deref()).await?;
        // The client's secret and the person's access token go there.
        let asked = std::iter::once(&document.token_endpoint).chain(&document.userinfo_endpoint);
        for place in asked {
            if !may_send_to(issuer, hosts, place) {
                return Err(format!(
                    "its discovery document leads to {place:?}, which is neither the issuer's host nor one of the configuration: if it is the provider's, add its host to oidc.hosts"
                ));
            }
        }
        // Browsers go there, with nothing that is secret.
        let goes_over_tls = document.authorization_endpoint.starts_with("https://")
            || may_send_to(issuer, hosts, &document.authorization_endpoint);
        match goes_over_tls {
            true => Ok(document),
            false => Err(format!(
                "its discovery document sends browsers to {:?}, which is not https",
                document.authorization_endpoint
            )),
        }
    }

    /// Gives the code for the tokens (RFC 6749 §4.1.3). The client proves itself as the provider wants it (OpenID Connect Core 1.0 §9).
    async fn tokens(
        &self,
        document: &ProviderDocument,
        redirect_uri: &str,
        code: &str,
        verifier: &str,
    ) -> Result<TokenAnswer, SignInError> {
        let OidcSettings { client_id, client_secret, secret_in_body, ca_file, .. } = &self.settings;
        let methods = document.token_endpoint_auth_methods_supported.as_deref();
        let takes = |method: &str| methods.is_some_and(|known| known.iter().any(|m| m == method));
        // Basic is what is taken where the document says nothing.
        let by_basic = match secret_in_body {
            Some(in_body) => !in_body,
            None => methods.is_none() || takes("client_secret_basic"),
        };
        let mut parameters = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ];
        let mut request = Request::post(&document.token_endpoint)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json");
        match client_secret {
            Some(secret) if by_basic => {
                // RFC 6749 §2.3.1: both parts are written as a form first.
                let pair = [client_id, secret].map(|part| form(&[("", part)])[1..].to_owned());
                let value = format!("Basic {}", STANDARD.encode(pair.join(":")));
                request = request.header(header::AUTHORIZATION, value);
            }
            Some(secret) => {
                parameters.extend([("client_id", client_id.as_str()), ("client_secret", secret)]);
            }
            None => parameters.push(("client_id", client_id)),
        }
        let request = request.body(Bytes::from(form(&parameters)));
        let request = request.map_err(|error| self.away(&error.to_string()))?;
        let (status, answer) =
            call(request, ca_file.as_deref()).await.map_err(|error| self.away(&error))?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&answer).map_err(|error| {
                self.away(&format!("its token endpoint answers no tokens: {error}"))
            });
        }
        let problem: Option<TokenProblem> = serde_json::from_slice(&answer).ok();
        match problem.map(|problem| problem.error).as_deref() {
            Some("invalid_grant") => Err(SignInError::Refused(
                "the identity provider does not take the code any more: it is good once, and for a short time; sign in again".to_owned(),
            )),
            Some("invalid_client" | "unauthorized_client") => {
                self.away("it does not know the client or its secret");
                Err(SignInError::UnknownClient)
            }
            said => Err(self.away(&format!(
                "its token endpoint answers {status} {}",
                said.map(|said| said.chars().take(100).collect::<String>()).unwrap_or_default()
            ))),
        }
    }

    /// What the provider says of a person besides the id token (OpenID Connect Core 1.0 §5.3).
    async fn userinfo(
        &self,
        endpoint: &str,
        access_token: &str,
        subject: &str,
    ) -> Result<Value, SignInError> {
        let request = Request::get(endpoint)
            .header(header::AUTHORIZATION, format!("Bearer {access_token}"))
            .header(header::ACCEPT, "application/json")
            .body(Bytes::new());
        let request = request.map_err(|error| self.away(&error.to_string()))?;
        let ca_file = self.settings.ca_file.as_deref();
        let (status, answer) = call(request, ca_file).await.map_err(|error| self.away(&error))?;
        if status != StatusCode::OK {
            return Err(self.away(&format!("its userinfo endpoint answers {status}")));
        }
        let said: Value = serde_json::from_slice(&answer)
            .map_err(|error| self.away(&format!("its userinfo is no JSON: {error}")))?;
        // §5.3.2: else another person's claims could be put in the place of these.
        if said["sub"] != *subject {
            return Err(SignInError::Refused(
                "the identity provider's userinfo is about another person than the id token: sign in again".to_owned(),
            ));
        }
        Ok(said)
    }
}

#[async_trait]
impl IdentityProvider for OidcProvider {
    fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    async fn begin(&self, redirect_uri: &str) -> Result<SignInBegun, SignInError> {
        let document = self.document().await?;
        let pending = PendingSignIn { state: random()?, nonce: random()?, verifier: random()? };
        let scope = std::iter::once("openid")
            .chain(self.settings.scopes.iter().map(String::as_str).filter(|of| *of != "openid"))
            .collect::<Vec<_>>()
            .join(" ");
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", redirect_uri),
            ("scope", &scope),
            ("state", &pending.state),
            ("nonce", &pending.nonce),
            ("code_challenge", &code_challenge(&pending.verifier)),
            ("code_challenge_method", "S256"),
        ]);
        let endpoint = &document.authorization_endpoint;
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        Ok(SignInBegun { url: format!("{endpoint}{separator}{query}"), pending })
    }

    async fn finish(
        &self,
        redirect_uri: &str,
        code: &str,
        pending: &PendingSignIn,
    ) -> Result<SignedInPerson, SignInError> {
        let _turn = self.finishing.acquire().await;
        let document = self.document().await?;
        let tokens = self.tokens(&document, redirect_uri, code, &pending.verifier).await?;
        let expected = IdTokenExpected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: &pending.nonce,
            now: self.clock.now(),
        };
        let claims = expected.verify(&self.keys, &tokens.id_token).await?;
        let wanted = PersonClaims::of(&self.settings);
        let subject = claims["sub"].as_str().unwrap_or_default();
        let said = match &document.userinfo_endpoint {
            Some(endpoint) if wanted.lack_in(&claims) => {
                self.userinfo(endpoint, &tokens.access_token, subject).await?
            }
            _ => Value::Null,
        };
        wanted.person(&claims, &said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7636_appendix_b_the_challenge_of_a_verifier() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(code_challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn parameters_are_written_as_a_form() {
        let written = form(&[("a", "openid profile"), ("b", "https://x/?y=1&z=\u{e4}")]);
        assert_eq!(written, "a=openid%20profile&b=https%3A%2F%2Fx%2F%3Fy%3D1%26z%3D%C3%A4");
    }
}
