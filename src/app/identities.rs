//! Identities that the configuration knows: agents, as the adapter that judges them takes them, and holders of tokens of the API.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::adapters::auth::oidc::{OidcProvider, OidcSettings};
use crate::adapters::auth::{self, Identities, KeySource, ServiceAccount, token_hash};
use crate::api::authority::{Authority, Holder, Rules, SignInWay};
use crate::api::role::Role;
use crate::config::{
    Anonymous, ApiRole, ClientAuthentication, ClusterIdentity, Config, ConfigError, NamedPeople,
    OtherPeople, PlainText,
};
use crate::core::governance::rule::team::People;
use crate::core::people::role::{RoleTable, ViewerGroup};
use crate::core::time::Millis;
use crate::ports::Clock;

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
        people: roles(config),
        public_url: config.public_url.clone(),
    }
}

fn people(users: &[String], groups: &[String]) -> People {
    People { users: users.iter().cloned().collect(), groups: groups.iter().cloned().collect() }
}

/// Who of those who sign in may do what.
fn roles(config: &Config) -> RoleTable {
    let roles = &config.api.people;
    let named = |of: &NamedPeople| people(&of.users, &of.groups);
    let viewers = roles.viewers.iter().map(|entry| ViewerGroup {
        people: people(&entry.users, &entry.groups),
        environments: entry.environments.iter().cloned().collect(),
    });
    RoleTable {
        admins: named(&roles.admins),
        operators: named(&roles.operators),
        viewers: viewers.collect(),
        others_read: roles.others == OtherPeople::Viewer,
    }
}

/// How people sign in, and the provider by which they do so now.
#[derive(Default)]
pub struct SignInSetting {
    provider: Option<Arc<OidcProvider>>,
}

impl SignInSetting {
    /// Has people sign in as a configuration says. A provider that stays is not asked for its keys again.
    ///
    /// # Errors
    /// The client's secret cannot be read; people sign in as before.
    pub fn apply(
        &mut self,
        config: &Config,
        authority: &Authority,
        time_of_day: &Arc<dyn Clock>,
    ) -> Result<(), ConfigError> {
        let Some(oidc) = &config.oidc else {
            self.provider = None;
            authority.set_sign_in(None);
            return Ok(());
        };
        let settings = OidcSettings {
            issuer: oidc.issuer.clone(),
            client_id: oidc.client_id.clone(),
            client_secret: oidc.read_client_secret()?.map(|secret| secret.expose().to_owned()),
            secret_in_body: oidc
                .client_authentication
                .map(|way| way == ClientAuthentication::ClientSecretPost),
            scopes: oidc.scopes.clone(),
            user_claim: oidc.user_claim.clone(),
            groups_claim: oidc.groups_claim.clone(),
            hosts: oidc.hosts.clone(),
            ca_file: oidc.ca_file.clone(),
        };
        let known = self.provider.clone().filter(|known| *known.settings() == settings);
        let provider =
            known.unwrap_or_else(|| Arc::new(OidcProvider::new(settings, Arc::clone(time_of_day))));
        self.provider = Some(Arc::clone(&provider));
        let session_lasts = Millis::from_secs(i64::from(oidc.session_hours) * 3_600);
        authority.set_sign_in(Some(SignInWay { provider, session_lasts }));
        Ok(())
    }
}
