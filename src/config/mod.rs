//! The broker's configuration: one YAML file, accepted whole or refused whole.
//!
//! Reading has three steps. YAML becomes the structs of this module, and whatever is not known is refused; options given on
//! the command line or in the environment are laid over them ([`ConfigOverrides`]); then every section validates itself and
//! reports its problems by path, and the path is looked up in the text, so that each problem has a file, a line and a
//! column. [`ConfigWatch`] does the same again whenever the file changes, and keeps the old configuration when the new one is
//! refused.

mod account;
mod api;
mod budget;
mod cluster;
mod error;
mod identity;
mod locate;
mod notifications;
mod people;
mod rules;
mod secret;
mod server;
mod tls;
mod watch;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use account::{Account, ZoneEntry};
pub use api::{Anonymous, Api, ApiRole, ApiToken};
pub use budget::{BucketEntry, BudgetEntry, BudgetProfile};
pub use cluster::{Cluster, Environment};
pub use error::{ConfigError, Problem, SourceLocation};
pub use identity::{ClusterIdentity, ServiceAccount};
pub use notifications::{Audit, Notifications, PrivateAddresses, SecretPlace, SinkSecret};
pub use people::{ClientAuthentication, NamedPeople, Oidc, OtherPeople, PeopleRoles, ViewerEntry};
pub use rules::{RuleFiles, RulesOfFiles};
pub use secret::Secret;
pub use server::{Agents, Aws, Journal, Listen, Log, LogFormat, PlainText, StoreUrl};
pub use tls::{ListenerName, Tls};
pub use watch::ConfigWatch;

use crate::core::people::public_url::PublicUrl;
use error::{KeyPath, Problems};

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the broker keeps its state.
    pub store: StoreUrl,
    /// Where it listens.
    pub listen: Listen,
    /// How agents prove themselves.
    pub agents: Agents,
    /// Access to the REST API.
    pub api: Api,
    /// Where browsers reach the broker.
    pub public_url: Option<PublicUrl>,
    /// How people sign in.
    pub oidc: Option<Oidc>,
    /// The environments, which join clusters and accounts.
    pub environments: Vec<Environment>,
    /// The AWS accounts that are managed.
    pub accounts: Vec<Account>,
    /// The clusters that may publish.
    pub clusters: Vec<Cluster>,
    /// Folders of YAML with rules: who owns which name, and who may publish it.
    pub rules: Vec<PathBuf>,
    /// The rules of those folders.
    #[serde(skip)]
    pub governance: RulesOfFiles,
    /// The secrets of sinks of notifications, and where sinks may be.
    pub notifications: Notifications,
    /// How long the audit is kept.
    pub audit: Audit,
    /// How AWS is called.
    pub aws: Aws,
    /// How long the journal is kept.
    pub journal: Journal,
    /// The level and the form of the log.
    pub log: Log,
}

/// Options from the command line or the environment. One that is given wins over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigOverrides {
    /// `ZONEFOLD_STORE`.
    pub store: Option<String>,
    /// `ZONEFOLD_LISTEN_GRPC`.
    pub listen_grpc: Option<std::net::SocketAddr>,
    /// `ZONEFOLD_LISTEN_HTTP`.
    pub listen_http: Option<std::net::SocketAddr>,
    /// `ZONEFOLD_LISTEN_ADVERTISE`.
    pub listen_advertise: Option<String>,
    /// `ZONEFOLD_AGENTS_TOKEN_FILE`; replaces a token in the file as well.
    pub agents_token_file: Option<std::path::PathBuf>,
    /// `ZONEFOLD_OIDC_CLIENT_SECRET`; replaces a file as well.
    pub oidc_client_secret: Option<Secret>,
    /// `ZONEFOLD_LOG_FORMAT`.
    pub log_format: Option<LogFormat>,
    /// `ZONEFOLD_LOG_FILTER`.
    pub log_filter: Option<String>,
}

impl ConfigOverrides {
    /// Lays the given options over the configuration and returns the keys that they replaced, each with its variable.
    fn apply(&self, config: &mut Config) -> Vec<(&'static str, &'static str)> {
        let mut replaced = Vec::new();
        if let Some(store) = &self.store {
            config.store = StoreUrl::new(store);
            replaced.push(("store", "ZONEFOLD_STORE"));
        }
        if let Some(address) = self.listen_grpc {
            config.listen.grpc = address;
            replaced.push(("listen.grpc", "ZONEFOLD_LISTEN_GRPC"));
        }
        if let Some(address) = self.listen_http {
            config.listen.http = address;
            replaced.push(("listen.http", "ZONEFOLD_LISTEN_HTTP"));
        }
        if let Some(address) = &self.listen_advertise {
            config.listen.advertise = Some(address.clone());
            replaced.push(("listen.advertise", "ZONEFOLD_LISTEN_ADVERTISE"));
        }
        if let Some(path) = &self.agents_token_file {
            config.agents = Agents { token: None, token_file: Some(path.clone()) };
            replaced.push(("agents", "ZONEFOLD_AGENTS_TOKEN_FILE"));
        }
        if let (Some(secret), Some(oidc)) = (&self.oidc_client_secret, &mut config.oidc) {
            (oidc.client_secret, oidc.client_secret_file) = (Some(secret.clone()), None);
            replaced.push(("oidc.client_secret_file", "ZONEFOLD_OIDC_CLIENT_SECRET"));
        }
        if let Some(format) = self.log_format {
            config.log.format = format;
            replaced.push(("log.format", "ZONEFOLD_LOG_FORMAT"));
        }
        if let Some(filter) = &self.log_filter {
            config.log.filter.clone_from(filter);
            replaced.push(("log.filter", "ZONEFOLD_LOG_FILTER"));
        }
        replaced
    }
}

impl Config {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, &ConfigOverrides::default())
    }

    /// Reads a file and lays options over it.
    pub fn load_with(path: &Path, overrides: &ConfigOverrides) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })?;
        Self::parse_with(&text, &path.display().to_string(), overrides)
    }

    /// Reads a text; messages name `source_name` in place of the file.
    pub fn parse(text: &str, source_name: &str) -> Result<Self, ConfigError> {
        Self::parse_with(text, source_name, &ConfigOverrides::default())
    }

    /// Reads a text and lays options over it.
    pub fn parse_with(
        text: &str,
        source_name: &str,
        overrides: &ConfigOverrides,
    ) -> Result<Self, ConfigError> {
        let mut config = locate::read(text)
            .map_err(|problem| ConfigError::refused(source_name, vec![problem]))?;
        let replaced = overrides.apply(&mut config);
        let found = config.validate();
        if !found.is_empty() {
            return Err(ConfigError::refused(source_name, locate::place(found, text, &replaced)));
        }
        config.governance = RulesOfFiles::read(&config.rules)?;
        Ok(config)
    }

    /// Parts in the form of an earlier version: they still hold, and should be rewritten.
    pub fn warnings(&self) -> Vec<String> {
        let accounts = KeyPath::default().key("accounts");
        let of = |(index, account): (usize, &Account)| account.warnings(&accounts.index(index));
        self.accounts.iter().enumerate().flat_map(of).collect()
    }

    /// The problems of a configuration. It can be used if there are none.
    fn validate(&self) -> Vec<error::Finding> {
        let mut problems = Problems::default();
        let root = KeyPath::default();
        self.store.validate(&root.key("store"), &mut problems);
        self.listen.validate(&root.key("listen"), &mut problems);
        self.agents.validate(&root.key("agents"), self.needs_shared_token(), &mut problems);
        self.api.validate(&root.key("api"), &mut problems);
        self.notifications.validate(&root.key("notifications"), &mut problems);
        self.audit.validate(&root.key("audit"), &mut problems);
        if let Some(oidc) = &self.oidc {
            oidc.validate(&root.key("oidc"), self.public_url.is_some(), &mut problems);
        }
        for (index, entry) in self.api.people.viewers.iter().enumerate() {
            let at = root.key("api").key("people").key("viewers").index(index);
            for environment in &entry.environments {
                self.known_environment(environment, &at, &mut problems);
            }
        }
        self.aws.validate(&root.key("aws"), &mut problems);
        self.journal.validate(&root.key("journal"), &mut problems);
        self.log.validate(&root.key("log"), &mut problems);
        let environments = root.key("environments");
        problems.unique(
            &environments,
            "name",
            "environments",
            self.environments.iter().map(|e| e.name.as_str()),
        );
        let accounts = root.key("accounts");
        problems.unique(
            &accounts,
            "id",
            "accounts",
            self.accounts.iter().map(|account| account.id.as_str()),
        );
        problems.unique(
            &accounts,
            "name",
            "accounts",
            self.accounts.iter().map(|account| account.name.as_str()),
        );
        for (index, account) in self.accounts.iter().enumerate() {
            let at = accounts.index(index);
            account.validate(&at, &mut problems);
            self.known_environment(&account.environment, &at, &mut problems);
        }
        let clusters = root.key("clusters");
        problems.unique(
            &clusters,
            "name",
            "clusters",
            self.clusters.iter().map(|cluster| cluster.name.as_str()),
        );
        for (index, cluster) in self.clusters.iter().enumerate() {
            let at = clusters.index(index);
            cluster.validate(&at, &mut problems);
            self.known_environment(&cluster.environment, &at, &mut problems);
        }
        self.identities_are_told_apart(&clusters, &mut problems);
        problems.into_findings()
    }

    /// Whether some cluster has no other way to prove itself.
    fn needs_shared_token(&self) -> bool {
        self.clusters.is_empty() || self.clusters.iter().any(|cluster| cluster.identity.is_none())
    }

    /// One proof speaks for one cluster.
    fn identities_are_told_apart(&self, clusters: &KeyPath, problems: &mut Problems) {
        let mut first: BTreeMap<(&str, String), usize> = BTreeMap::new();
        let asks_for_certificates =
            self.listen.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
        for (index, cluster) in self.clusters.iter().enumerate() {
            let Some(identity) = &cluster.identity else { continue };
            let at = clusters.index(index).key("identity");
            if identity.certificate.is_some() && !asks_for_certificates {
                problems.add(
                    at.key("certificate"),
                    "the broker asks agents for no certificate",
                    "set listen.tls.client_ca_file to the authority that signs the agents' certificates",
                );
            }
            for (key, value) in identity.proofs() {
                match first.entry((key, value)) {
                    Entry::Vacant(free) => drop(free.insert(index)),
                    Entry::Occupied(taken) => problems.add(
                        at.key(key),
                        format!("{} proves itself by the same", clusters.index(*taken.get())),
                        "give each cluster an identity of its own: the identity decides which cluster an agent speaks for",
                    ),
                }
            }
        }
    }

    fn known_environment(
        &self,
        wanted: &crate::core::ids::EnvironmentId,
        at: &KeyPath,
        problems: &mut Problems,
    ) {
        if self.environments.iter().any(|environment| environment.name == *wanted) {
            return;
        }
        let known: Vec<&str> =
            self.environments.iter().map(|environment| environment.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        problems.add(
            at.key("environment"),
            format!("there is no environment {wanted}"),
            format!("add it to environments, or name one that is there ({known})"),
        );
    }
}

#[cfg(test)]
mod tests;
