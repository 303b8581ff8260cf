//! The identity provider by which people sign in.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::core::people::credential::SignedInPerson;

/// What a sign-in that is under way has to come back with. Only the browser that began it keeps this.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingSignIn {
    /// Comes back with the browser (RFC 6749 §10.12).
    pub state: String,
    /// Comes back in the id token (OpenID Connect Core 1.0 §15.5.2).
    pub nonce: String,
    /// Proves to the provider that the code was asked for here (RFC 7636 §4.1).
    pub verifier: String,
}

/// A sign-in that begins.
pub struct SignInBegun {
    /// Where the browser goes.
    pub url: String,
    /// What it keeps until it is back.
    pub pending: PendingSignIn,
}

/// Why nobody is signed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// The provider does not answer, or answers what cannot be used. Why stands in the log: it names hosts.
    #[error(
        "the identity provider cannot be used at this moment: try again; those who are signed in stay so, tokens go on, and the broker's log says why"
    )]
    Away,
    /// The provider does not know the broker.
    #[error(
        "the identity provider does not accept the broker as its client: an admin compares oidc.client_id, the client's secret and the redirect address with what is registered there"
    )]
    UnknownClient,
    /// What came back proves nothing.
    #[error("{0}")]
    Refused(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: see to its sources")]
    NoRandomness,
}

/// An identity provider.
#[async_trait]
pub trait IdentityProvider: Send + Sync {
    /// What the provider calls itself.
    fn issuer(&self) -> &str;

    /// Begins a sign-in after which the browser comes to `redirect_uri`.
    ///
    /// # Errors
    /// The provider cannot be asked where browsers go.
    async fn begin(&self, redirect_uri: &str) -> Result<SignInBegun, SignInError>;

    /// Finds out who signed in, by the code with which the browser came to `redirect_uri`.
    ///
    /// # Errors
    /// The provider does not answer, or what it says is not to be believed.
    async fn finish(
        &self,
        redirect_uri: &str,
        code: &str,
        pending: &PendingSignIn,
    ) -> Result<SignedInPerson, SignInError>;
}
