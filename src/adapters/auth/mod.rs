//! Caller authentication: certificates, tokens of service accounts, a cluster's own tokens, and the token that the others share.
//!
//! A caller shows a token, a certificate or both. A token that is shown has to be good; where both speak for a cluster, it has to be
//! the same one. Nothing that a caller says of itself counts.

mod certificate;
mod claims;
mod jwk;
mod jws;
mod keyset;
pub mod oidc;
mod web;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures::future::join_all;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::core::ids::ClusterId;
use crate::core::time::{Millis, Timestamp};
use crate::ports::{Callers, Clock, Means, Proven, Refused, RefusedFor, Shown};
use claims::{CLOCK_SKEW_MS, Expected};
use jws::Jws;
use keyset::{KeySet, Looked};

/// How one cluster proves itself: each of these alone is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The DNS name or the URI (a SPIFFE id) that stands in its certificate as a subject alternative name.
    pub certificate: Option<String>,
    pub service_account: Option<ServiceAccount>,
    /// SHA-256 of a token of its own.
    pub token_sha256: Option<[u8; 32]>,
}

/// A service account of a Kubernetes cluster, and how its tokens are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// `iss` of its tokens.
    pub issuer: String,
    /// One of `aud` of its tokens.
    pub audience: String,
    pub namespace: String,
    pub name: String,
    /// Where the issuer's keys are.
    pub keys: KeySource,
}

/// Where an issuer's keys are (a JSON Web Key Set, RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// Where the issuer's discovery document says (OpenID Connect Discovery 1.0 §4).
    Discovery {
        /// The CA of the issuer's certificate; `None` for those that the system trusts.
        ca_file: Option<PathBuf>,
        /// Where the document may say that the keys are, besides the issuer's own host: `HOST` or `HOST:PORT`.
        hosts: Vec<String>,
    },
    /// At a URL.
    Url {
        /// The URL.
        url: String,
        /// The CA of its host's certificate; `None` for those that the system trusts.
        ca_file: Option<PathBuf>,
    },
    /// In a file.
    File(PathBuf),
}

/// The clusters that the broker knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    /// SHA-256 of the token that clusters without an identity share; `None` if they cannot authenticate.
    pub shared_token_sha256: Option<[u8; 32]>,
    /// The identities.
    pub clusters: Vec<(ClusterId, Identity)>,
}

/// SHA-256 of a token: only this is kept of it.
pub fn token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.trim().as_bytes()).into()
}

/// How many keys of a key set (RFC 7517) can be used.
///
/// # Errors
/// It is not a key set, or no key can be used.
pub fn usable_keys(set: &[u8]) -> Result<usize, String> {
    jwk::read_set(set).map(|keys| keys.len())
}

/// See the module's page.
pub struct KnownCallers {
    table: ArcSwap<Table>,
    changes: watch::Sender<()>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Table {
    shared: Option<[u8; 32]>,
    /// A token is found by its hash, so how long the search takes says nothing of the token.
    tokens: HashMap<[u8; 32], ClusterId>,
    names: HashMap<String, ClusterId>,
    accounts: HashMap<String, Vec<Account>>,
    identified: std::collections::HashSet<ClusterId>,
}

struct Account {
    cluster: ClusterId,
    expected: Expected,
    keys: Arc<KeySet>,
    source: KeySource,
}

impl KnownCallers {
    /// Knows these.
    pub fn new(identities: Identities, clock: Arc<dyn Clock>) -> Self {
        let table = ArcSwap::from_pointee(Table::new(identities, &Table::default()));
        Self { table, changes: watch::Sender::default(), clock }
    }

    /// Knows these from now on. Keys of issuers that stay are kept.
    pub fn set(&self, identities: Identities) {
        let table = Table::new(identities, &self.table.load());
        self.table.store(Arc::new(table));
        self.changes.send_replace(());
    }

    async fn by_token(&self, table: &Table, token: &str) -> Result<Proven, Refused> {
        let hash = token_hash(token);
        if let Some(cluster) = table.tokens.get(&hash) {
            return Ok(Proven::Cluster { cluster: cluster.clone(), by: Means::Token });
        }
        if table.shared == Some(hash) {
            return Ok(Proven::Shared);
        }
        if !jws::looks_signed(token) {
            return Err(Refused::new(
                RefusedFor::UnknownToken,
                "the token is none that the broker knows: give the agent the token that the broker's configuration has for its cluster, or that of agents.token_file",
            ));
        }
        let jws = Jws::parse(token)?;
        let issuer = &jws.claims.issuer;
        let accounts = table.accounts.get(issuer).ok_or_else(|| {
            let said: String = issuer.chars().take(200).collect();
            Refused::new(
                RefusedFor::UnknownIssuer,
                format!("the token's issuer {said:?} is that of no cluster: compare it with clusters[].identity.service_account.issuer"),
            )
        })?;
        let account = signed_for(&jws, accounts).await?;
        account.expected.check(&jws.claims, self.clock.now())?;
        Ok(Proven::Cluster { cluster: account.cluster.clone(), by: Means::ServiceAccount })
    }
}

/// The account whose issuer signed the token. Several clusters may go by one issuer's name, since that is only a text; their keys tell
/// them apart. Several service accounts of one issuer are told apart by their names.
async fn signed_for<'a>(jws: &Jws<'_>, accounts: &'a [Account]) -> Result<&'a Account, Refused> {
    let mut refused: Option<Refused> = None;
    // Most tokens are by a key that is known, and then no issuer is asked. A key that is not known may be a new one.
    for look in [Looked::Fresh, Looked::Kept, Looked::Anew] {
        // All at once: a slow issuer holds up no token of another for longer than one attempt.
        let verified =
            join_all(accounts.iter().map(|account| account.keys.verify(jws, look))).await;
        let signed = accounts
            .iter()
            .zip(&verified)
            .filter(|(_, verified)| verified.is_ok())
            .map(|(account, _)| account);
        let signed: Vec<&Account> = signed.collect();
        let named =
            signed.iter().copied().filter(|account| account.expected.subject == jws.claims.subject);
        match named.collect::<Vec<_>>()[..] {
            [account] => return Ok(account),
            [first, second, ..] => return Err(ambiguous(first, second)),
            // Then its subject is wrong.
            [] => {
                if let Some(account) = signed.first() {
                    return Ok(account);
                }
            }
        }
        let failures: Vec<Refused> = verified.into_iter().filter_map(Result::err).collect();
        let may_be_new = failures.iter().any(|refused| {
            matches!(refused.why, RefusedFor::UnknownKey | RefusedFor::KeysUnavailable)
        });
        refused = failures.into_iter().max_by_key(|refused| telling(refused.why));
        if !may_be_new {
            break;
        }
    }
    Err(refused.unwrap_or_else(|| {
        Refused::new(RefusedFor::UnknownKey, "no issuer's key signed the token")
    }))
}

fn ambiguous(first: &Account, second: &Account) -> Refused {
    Refused::new(
        RefusedFor::Ambiguous,
        format!(
            "the token is that of {} and of {}, whose issuers have one name and one key: give each cluster the keys of its own issuer",
            first.cluster, second.cluster
        ),
    )
}

/// Of several issuers, one that knows the key says best what is wrong with a signature, and one that is away may be the right one.
fn telling(why: RefusedFor) -> u8 {
    match why {
        RefusedFor::KeysUnavailable => 3,
        RefusedFor::BadSignature => 2,
        RefusedFor::Algorithm => 1,
        _ => 0,
    }
}

impl Table {
    fn new(identities: Identities, before: &Self) -> Self {
        let known = before.accounts.iter().flat_map(|(issuer, accounts)| {
            accounts.iter().map(move |account| {
                ((issuer.clone(), account.source.clone()), Arc::clone(&account.keys))
            })
        });
        let mut keysets: HashMap<(String, KeySource), Arc<KeySet>> = known.collect();
        let mut table = Self { shared: identities.shared_token_sha256, ..Self::default() };
        for (cluster, identity) in identities.clusters {
            table.identified.insert(cluster.clone());
            if let Some(name) = identity.certificate {
                table.names.insert(certificate::comparable(&name), cluster.clone());
            }
            if let Some(hash) = identity.token_sha256 {
                table.tokens.insert(hash, cluster.clone());
            }
            if let Some(account) = identity.service_account {
                let ServiceAccount { issuer, audience, namespace, name, keys: source } = account;
                let keys = keysets
                    .entry((issuer.clone(), source.clone()))
                    .or_insert_with(|| Arc::new(KeySet::new(&issuer, &source)))
                    .clone();
                let expected = Expected {
                    audience,
                    subject: format!("system:serviceaccount:{namespace}:{name}"),
                };
                table.accounts.entry(issuer).or_default().push(Account {
                    cluster,
                    expected,
                    keys,
                    source,
                });
            }
        }
        table
    }

    /// A connection may live longer than the certificate that was shown when it was made.
    fn by_certificate(&self, der: &[u8], now: Timestamp) -> Result<Proven, Refused> {
        let ended_ms = certificate::ends_at(der).map_or(0, |ends_at| (now - ends_at).0);
        if ended_ms > CLOCK_SKEW_MS {
            return Err(Refused::new(
                RefusedFor::Expired,
                format!(
                    "the certificate of the connection expired {} s ago: connect again with a new one",
                    ended_ms / 1_000
                ),
            ));
        }
        let names = certificate::names(der);
        let mut clusters: Vec<&ClusterId> =
            names.iter().filter_map(|name| self.names.get(name)).collect();
        clusters.sort();
        clusters.dedup();
        match clusters[..] {
            [cluster] => Ok(Proven::Cluster { cluster: cluster.clone(), by: Means::Certificate }),
            [] => Err(Refused::new(
                RefusedFor::UnknownCertificate,
                format!(
                    "no cluster has a name of the certificate ({}): compare it with clusters[].identity.certificate",
                    if names.is_empty() { "it has none".to_owned() } else { names.join(", ") }
                ),
            )),
            _ => Err(Refused::new(
                RefusedFor::Ambiguous,
                "the certificate has names of several clusters: issue one for each",
            )),
        }
    }
}

#[async_trait]
impl Callers for KnownCallers {
    async fn prove(&self, shown: &Shown) -> Result<Proven, Refused> {
        let table = self.table.load_full();
        let now = self.clock.now();
        let by_certificate = shown.certificate.as_ref().map(|der| table.by_certificate(der, now));
        let by_token = match &shown.bearer {
            Some(token) => Some(self.by_token(&table, token).await?),
            None => None,
        };
        match (by_token, by_certificate) {
            (None, None) => Err(Refused::new(
                RefusedFor::NoCredentials,
                "neither a token nor a certificate was shown: start the agent with --token-file, or with --certificate-file and --key-file",
            )),
            (
                Some(Proven::Cluster { cluster: a, .. }),
                Some(Ok(Proven::Cluster { cluster: b, .. })),
            ) if a != b => Err(Refused::new(
                RefusedFor::Ambiguous,
                format!(
                    "the token is that of {a} and the certificate that of {b}: use credentials of one cluster"
                ),
            )),
            // A certificate that says nothing to us may be that of a mesh.
            (Some(Proven::Shared), Some(Ok(proven)))
            | (None, Some(Ok(proven)))
            | (Some(proven), _) => Ok(proven),
            (None, Some(Err(refused))) => Err(refused),
        }
    }

    fn good_until(&self, shown: &Shown, proven: &Proven) -> Option<Timestamp> {
        let ends_at = match proven.means() {
            Means::Certificate => certificate::ends_at(shown.certificate.as_ref()?)?,
            Means::ServiceAccount => Jws::parse(shown.bearer.as_ref()?).ok()?.claims.expires_at(),
            Means::Token | Means::SharedToken => return None,
        };
        Some(ends_at + Millis(CLOCK_SKEW_MS))
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn has_identity(&self, cluster: &ClusterId) -> bool {
        self.table.load().identified.contains(cluster)
    }
}
