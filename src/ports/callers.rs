//! The callers: their credentials, and what these prove.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::core::ids::ClusterId;
use crate::core::time::Timestamp;

/// The other end of a connection, as the listener learned it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// The certificate (DER) whose key it proved to hold; it was signed by the authority for clients, and is in its time.
    pub certificate: Option<Bytes>,
    /// Where to report that a caller on this connection has proved its identity.
    pub door: Door,
}

/// The listener's side of a connection, which may be closed to make room for others until its caller has proved its identity.
#[derive(Clone, Default)]
pub struct Door(Option<Arc<dyn Fn() + Send + Sync>>);

impl Door {
    /// Calls `passed` each time that a caller has proved its identity.
    pub fn new(passed: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(passed)))
    }

    /// Reports that a caller on the connection has proved its identity.
    pub fn pass(&self) {
        if let Some(passed) = &self.0 {
            passed();
        }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Door")
    }
}

/// The credentials that a caller presents. The token is not printed.
#[derive(Clone, Default)]
pub struct Shown {
    /// The certificate (DER) of its connection, as in [`Peer::certificate`].
    pub certificate: Option<Bytes>,
    /// The token of `authorization: Bearer TOKEN`.
    pub bearer: Option<String>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (certificate, bearer) = (self.certificate.is_some(), self.bearer.is_some());
        f.debug_struct("Shown").field("certificate", &certificate).field("bearer", &bearer).finish()
    }
}

/// How a cluster can prove itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// A client certificate.
    Certificate,
    /// A token of a Kubernetes service account.
    ServiceAccount,
    /// A token of its own.
    Token,
    /// The token that clusters without an identity of their own share.
    SharedToken,
}

impl Means {
    /// The name, for logs and the API; it does not change between releases.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::ServiceAccount => "service_account",
            Self::Token => "token",
            Self::SharedToken => "shared_token",
        }
    }
}

/// The identity that a caller has proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proven {
    /// That it speaks for this cluster.
    Cluster { cluster: ClusterId, by: Means },
    /// That it knows the shared token: it may speak for every cluster that has no identity of its own.
    Shared,
}

impl Proven {
    /// By what.
    pub const fn means(&self) -> Means {
        match self {
            Self::Cluster { by, .. } => *by,
            Self::Shared => Means::SharedToken,
        }
    }
}

/// Why a caller is refused, for programs: the texts are added to and never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusedFor {
    /// It shows neither a token nor a certificate.
    NoCredentials,
    /// The token is neither a known one nor a signed one.
    UnknownToken,
    /// The signed token cannot be read.
    MalformedToken,
    /// The token is signed in a way that is not accepted, such as `none` or `HS256`.
    Algorithm,
    /// No cluster's issuer is the one that the token names.
    UnknownIssuer,
    /// The issuer has no key of the name that the token gives.
    UnknownKey,
    /// The signature is not by the issuer's key.
    BadSignature,
    /// The token's time is over.
    Expired,
    /// The token's time has not begun.
    NotYetValid,
    /// The token is meant for another audience.
    WrongAudience,
    /// The token is that of another service account.
    WrongServiceAccount,
    /// The issuer's keys cannot be read.
    KeysUnavailable,
    /// No cluster has a name that stands in the certificate.
    UnknownCertificate,
    /// The token and the certificate speak for different clusters.
    Ambiguous,
    /// It claims to be another cluster than it proved to be.
    OtherCluster,
    /// It shows the shared token and claims a cluster that has an identity of its own.
    IdentityRequired,
}

impl RefusedFor {
    /// The stable text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCredentials => "NO_CREDENTIALS",
            Self::UnknownToken => "UNKNOWN_TOKEN",
            Self::MalformedToken => "MALFORMED_TOKEN",
            Self::Algorithm => "ALGORITHM",
            Self::UnknownIssuer => "UNKNOWN_ISSUER",
            Self::UnknownKey => "UNKNOWN_KEY",
            Self::BadSignature => "BAD_SIGNATURE",
            Self::Expired => "EXPIRED",
            Self::NotYetValid => "NOT_YET_VALID",
            Self::WrongAudience => "WRONG_AUDIENCE",
            Self::WrongServiceAccount => "WRONG_SERVICE_ACCOUNT",
            Self::KeysUnavailable => "KEYS_UNAVAILABLE",
            Self::UnknownCertificate => "UNKNOWN_CERTIFICATE",
            Self::Ambiguous => "AMBIGUOUS",
            Self::OtherCluster => "OTHER_CLUSTER",
            Self::IdentityRequired => "IDENTITY_REQUIRED",
        }
    }
}

/// A caller that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Why, for programs.
    pub why: RefusedFor,
    /// The problem and what to do, for people; without anything secret.
    pub message: String,
}

impl Refused {
    /// A refusal.
    pub fn new(why: RefusedFor, message: impl Into<String>) -> Self {
        Self { why, message: message.into() }
    }
}

/// Authenticates callers.
#[async_trait]
pub trait Callers: Send + Sync {
    /// The identity that the presented credentials prove.
    ///
    /// # Errors
    /// They prove nothing.
    async fn prove(&self, shown: &Shown) -> Result<Proven, Refused>;

    /// When the presented credentials stop being a proof; `None` if they do not expire.
    fn good_until(&self, _shown: &Shown, _proven: &Proven) -> Option<Timestamp> {
        None
    }

    /// Changes when the known callers change: what was proved before may not hold any more.
    fn changes(&self) -> watch::Receiver<()>;

    /// Whether a cluster has an identity of its own, so that the shared token does not speak for it.
    fn has_identity(&self, cluster: &ClusterId) -> bool;

    /// Whether a caller who proved this may speak for a cluster.
    ///
    /// # Errors
    /// It proved to be another cluster, or too little.
    fn claim(&self, proven: &Proven, cluster: &ClusterId) -> Result<(), Refused> {
        match proven {
            Proven::Cluster { cluster: own, .. } if own == cluster => Ok(()),
            Proven::Cluster { cluster: own, by } => Err(Refused::new(
                RefusedFor::OtherCluster,
                format!(
                    "the caller proved by its {} to be the cluster {own} and claims to be {cluster}: start the agent with the name that its identity has in the broker's configuration",
                    by.as_str()
                ),
            )),
            Proven::Shared if self.has_identity(cluster) => Err(Refused::new(
                RefusedFor::IdentityRequired,
                format!(
                    "the shared token does not speak for {cluster}, which has an identity of its own: give the agent the credentials that `clusters[].identity` asks for"
                ),
            )),
            Proven::Shared => Ok(()),
        }
    }
}
