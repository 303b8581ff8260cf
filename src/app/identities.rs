//! The configuration's identities, as the adapter that judges callers takes them.

use crate::adapters::auth::{self, Identities, KeySource, ServiceAccount, token_hash};
use crate::config::{ClusterIdentity, Config, ConfigError};

/// Whom a configuration knows.
///
/// # Errors
/// The file of the shared token cannot be read.
pub fn of(config: &Config) -> Result<Identities, ConfigError> {
    let shared = if config.agents.is_given() { Some(config.agents.read_token()?) } else { None };
    let clusters =
        config.clusters.iter().filter_map(|cluster| Some((cluster.name.clone(), identity(cluster.identity.as_ref()?))));
    Ok(Identities { shared_token_sha256: shared.map(|token| token_hash(token.expose())), clusters: clusters.collect() })
}

fn identity(identity: &ClusterIdentity) -> auth::Identity {
    let account = identity.service_account.as_ref().map(|account| ServiceAccount {
        issuer: account.issuer.clone(),
        audience: account.audience.clone(),
        namespace: account.namespace.clone(),
        name: account.name.clone(),
        keys: match (&account.keys_file, &account.keys_url) {
            (Some(file), _) => KeySource::File(file.clone()),
            (None, Some(url)) => KeySource::Url { url: url.clone(), ca_file: account.ca_file.clone() },
            (None, None) => KeySource::Discovery { ca_file: account.ca_file.clone() },
        },
    });
    auth::Identity { certificate: identity.certificate.clone(), service_account: account, token_sha256: identity.token_hash() }
}
