//! Identities that the configuration knows: agents, as the adapter that judges them takes them, and holders of tokens of the API.

use std::net::SocketAddr;

use crate::adapters::auth::{self, Identities, KeySource, ServiceAccount, token_hash};
use crate::api::authority::{Holder, Rules};
use crate::api::role::Role;
use crate::config::{Anonymous, ApiRole, ClusterIdentity, Config, ConfigError, PlainText};

/// The identities that a configuration knows.
///
/// # Errors
/// The file of the shared token cannot be read.
pub fn of(config: &Config) -> Result<Identities, ConfigError> {
    let shared = if config.agents.is_given() { Some(config.agents.read_token()?) } else { None };
    let clusters = config
        .clusters
        .iter()
        .filter_map(|cluster| Some((cluster.name.clone(), identity(cluster.identity.as_ref()?))));
    Ok(Identities {
        shared_token_sha256: shared.map(|token| token_hash(token.expose())),
        clusters: clusters.collect(),
    })
}

fn identity(identity: &ClusterIdentity) -> auth::Identity {
    let account = identity.service_account.as_ref().map(|account| ServiceAccount {
        issuer: account.issuer.clone(),
        audience: account.audience.clone(),
        namespace: account.namespace.clone(),
        name: account.name.clone(),
        keys: match (&account.keys_file, &account.keys_url) {
            (Some(file), _) => KeySource::File(file.clone()),
            (None, Some(url)) => {
                KeySource::Url { url: url.clone(), ca_file: account.ca_file.clone() }
            }
            (None, None) => KeySource::Discovery {
                ca_file: account.ca_file.clone(),
                hosts: account.keys_hosts.clone(),
            },
        },
    });
    auth::Identity {
        certificate: identity.certificate.clone(),
        service_account: account,
        token_sha256: identity.token_hash(),
    }
}

/// The access rules of the API of a broker that listens on `http`.
pub fn api_rules(config: &Config, http: SocketAddr) -> Rules {
    let api = &config.api;
    let holders = api.tokens.iter().filter_map(|token| {
        let role = match token.role {
            ApiRole::Viewer => Role::Viewer,
            ApiRole::Operator => Role::Operator,
            ApiRole::Admin => Role::Admin,
        };
        Some((token.token_hash()?, Holder { name: token.name.clone(), role }))
    });
    // Behind a proxy every caller comes from this machine.
    let only_this_machine =
        http.ip().is_loopback() && config.listen.plain_text == PlainText::LoopbackOnly;
    let may_read = match api.anonymous {
        Anonymous::Viewer => true,
        Anonymous::OnLoopback => only_this_machine && api.tokens.is_empty(),
        Anonymous::Nothing => false,
    };
    Rules {
        holders: holders.collect(),
        anonymous: may_read.then_some(Role::Viewer),
        anonymous_on_loopback: api.anonymous == Anonymous::OnLoopback,
        open_metrics: api.open_metrics.unwrap_or(only_this_machine),
    }
}
