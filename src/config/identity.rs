//! How a cluster proves itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::{KeyPath, Problems};

/// How a cluster proves itself: each of these alone is enough, so that one can take the place of another without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterIdentity {
    /// A DNS name or a URI (a SPIFFE id) that stands in the client certificate as a subject alternative name.
    pub certificate: Option<String>,
    /// The Kubernetes service account whose token the agent shows.
    pub service_account: Option<ServiceAccount>,
    /// SHA-256, in hexadecimal, of a token that only this cluster has.
    pub token_sha256: Option<String>,
}

/// A service account of the cluster, and how its tokens are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccount {
    /// The cluster's issuer of service-account tokens, exactly as `iss` has it.
    pub issuer: String,
    /// The audience that the token was projected for.
    #[serde(default = "default_audience")]
    pub audience: String,
    /// The service account's namespace.
    pub namespace: String,
    /// The service account's name.
    pub name: String,
    /// A file with the issuer's keys (JWKS).
    #[serde(default)]
    pub keys_file: Option<PathBuf>,
    /// A URL with the issuer's keys (JWKS).
    #[serde(default)]
    pub keys_url: Option<String>,
    /// Hosts (`HOST` or `HOST:PORT`) to which the issuer's discovery document may send for the keys, besides the issuer's own.
    #[serde(default)]
    pub keys_hosts: Vec<String>,
    /// The CAs for the certificate of the issuer or of `keys_url`; without it those that the system trusts.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn default_audience() -> String {
    "zonefold".to_owned()
}

/// Reads 64 hexadecimal digits.
pub(super) fn sha256_of(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut octets = [0; 32];
    for (octet, pair) in octets.iter_mut().zip(text.as_bytes().chunks(2)) {
        *octet =
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())?;
    }
    Some(octets)
}

impl ClusterIdentity {
    /// The hash of the cluster's own token.
    pub fn token_hash(&self) -> Option<[u8; 32]> {
        self.token_sha256.as_deref().and_then(sha256_of)
    }

    /// The values that only one cluster may have, each with its key.
    pub(super) fn proofs(&self) -> Vec<(&'static str, String)> {
        let certificate = self.certificate.as_ref().map(|name| match name.contains("://") {
            true => name.clone(),
            false => name.to_ascii_lowercase(),
        });
        // Issuers of one name may have keys of their own; then the keys tell the clusters apart.
        let account = self.service_account.as_ref().map(|account| {
            let ServiceAccount { issuer, namespace, name, keys_file, keys_url, .. } = account;
            format!("{issuer} {namespace} {name} {keys_file:?} {keys_url:?}")
        });
        let token = self.token_sha256.as_ref().map(|token| token.to_ascii_lowercase());
        let all =
            [("certificate", certificate), ("service_account", account), ("token_sha256", token)];
        all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    pub(super) fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        if *self == Self::default() {
            problems.add(
                at.clone(),
                "the identity says nothing, so no agent could prove itself",
                "give certificate, service_account or token_sha256, or remove identity to let the shared token speak for the cluster",
            );
        }
        if let Some(name) = &self.certificate
            && !is_certificate_name(name)
        {
            problems.add(
                at.key("certificate"),
                format!("{name:?} is neither a DNS name nor a URI"),
                "write a name of the certificate, such as dev-east.agents.example.com or spiffe://example.com/zonefold/dev-east",
            );
        }
        if self.token_sha256.is_some() && self.token_hash().is_none() {
            problems.add(
                at.key("token_sha256"),
                "that is not a SHA-256 in hexadecimal",
                "write the 64 digits of printf %s TOKEN | sha256sum",
            );
        }
        if let Some(account) = &self.service_account {
            account.validate(&at.key("service_account"), problems);
        }
    }
}

/// A URI with a scheme and a path, or a DNS name without a pattern.
fn is_certificate_name(name: &str) -> bool {
    match name.split_once("://") {
        Some((scheme, rest)) => {
            !scheme.is_empty()
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                && !rest.is_empty()
                && rest.chars().all(|c| c.is_ascii_graphic())
        }
        None => name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        }),
    }
}

impl ServiceAccount {
    fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        for (key, value) in [("namespace", &self.namespace), ("name", &self.name)] {
            if value.is_empty()
                || !value
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
            {
                problems.add(
                    at.key(key),
                    format!("{value:?} is not the {key} of a service account"),
                    "write it as kubectl get serviceaccount shows it",
                );
            }
        }
        if self.audience.is_empty() {
            problems.add(
                at.key("audience"),
                "the audience is empty",
                "write one that only this broker has, such as zonefold",
            );
        }
        if self.issuer.is_empty() {
            problems.add(
                at.key("issuer"),
                "the issuer is empty",
                "write the issuer that kubectl get --raw /.well-known/openid-configuration shows",
            );
        }
        for (index, host) in self.keys_hosts.iter().enumerate() {
            if !is_host(host) {
                problems.add(
                    at.key("keys_hosts").index(index),
                    format!("{host:?} is neither a host nor a host with a port"),
                    "write what stands between https:// and the next / of the URL, such as 10.0.0.1:6443",
                );
            }
        }
        if !self.keys_hosts.is_empty() && (self.keys_file.is_some() || self.keys_url.is_some()) {
            problems.add(
                at.key("keys_hosts"),
                "the keys are not discovered, so no document names a host",
                "remove keys_hosts, or keys_file and keys_url",
            );
        }
        match (&self.keys_file, &self.keys_url) {
            (Some(_), Some(_)) => problems.add(
                at.clone(),
                "both keys_file and keys_url are given",
                "keep one of them",
            ),
            (Some(_), None) if self.ca_file.is_some() => {
                problems.add(
                    at.key("ca_file"),
                    "keys that stand in a file need no authority",
                    "remove ca_file, or keys_file",
                );
            }
            (None, Some(url)) if !is_https(url) => problems.add(
                at.key("keys_url"),
                format!(
                    "{url:?} is not https, so anyone on the way could replace the issuer's keys"
                ),
                "write an https URL; plain http is taken from this machine only",
            ),
            (None, None) if !is_https(&self.issuer) => problems.add(
                at.key("issuer"),
                format!(
                    "the issuer {:?} is no https URL, so its keys cannot be discovered there",
                    self.issuer
                ),
                "say where its keys are with keys_file or keys_url",
            ),
            _ => {}
        }
    }
}

/// Whether a text is a host, with or without a port.
fn is_host(text: &str) -> bool {
    let authority: Option<http::uri::Authority> = text.parse().ok();
    authority.is_some_and(|authority| !authority.host().is_empty() && !text.contains('@'))
}

/// Whether a URL is https, or http to this machine.
fn is_https(url: &str) -> bool {
    let loopback = ["http://127.0.0.1", "http://[::1]", "http://localhost"];
    let on_loopback = || {
        loopback.iter().any(|start| {
            url.strip_prefix(start).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with(':') || rest.starts_with('/')
            })
        })
    };
    url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty()) || on_loopback()
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ListenerName};

    const TLS: &str =
        "listen: { tls: { certificate_file: a.crt, key_file: a.key, client_ca_file: ca.crt } }\n";
    const ACCOUNT: &str = "issuer: https://issuer.example.com, namespace: zonefold, name: agent";

    /// The problems of the identities of the clusters east and west.
    fn refusal(start: &str, east: &str, west: &str) -> Option<String> {
        let text = format!(
            "{start}environments: [ {{name: dev}} ]\nclusters:\n- {{name: east, environment: dev, identity: {east}}}\n- {{name: west, environment: dev, identity: {west}}}\n"
        );
        Config::parse(&text, "broker.yaml").err().map(|error| error.to_string())
    }

    const TOKEN: &str =
        "{ token_sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef }";

    #[test]
    fn identities_that_can_be_told_apart_are_taken_without_a_shared_token() {
        let account = format!("{{ service_account: {{ {ACCOUNT} }} }}");
        for (east, west) in [
            ("{ certificate: east.example.com }", "{ certificate: \"spiffe://example.com/west\" }"),
            (account.as_str(), TOKEN),
            (
                &format!("{{ service_account: {{ {ACCOUNT}, keys_file: east.json }} }}"),
                &format!("{{ service_account: {{ {ACCOUNT}, keys_file: west.json }} }}"),
            ),
        ] {
            assert_eq!(refusal(TLS, east, west), None, "{east} {west}");
        }
        assert!(
            refusal(TLS, TOKEN, "null").unwrap().contains("no token"),
            "west has no other way to prove itself"
        );
    }

    #[test]
    fn an_identity_that_proves_nothing_or_two_clusters_is_refused_with_its_key() {
        let account = |more: &str| format!("{{ service_account: {{ {ACCOUNT}{more} }} }}");
        let rows = [
            ("{}".to_owned(), TOKEN, ["clusters[0].identity", "says nothing"]),
            (
                "{ certificate: \"*.example.com\" }".to_owned(),
                TOKEN,
                ["identity.certificate", "neither a DNS name nor a URI"],
            ),
            ("{ token_sha256: abc }".to_owned(), TOKEN, ["identity.token_sha256", "not a SHA-256"]),
            (
                TOKEN.to_owned(),
                TOKEN,
                ["clusters[1].identity.token_sha256", "clusters[0] proves itself by the same"],
            ),
            (
                account(""),
                &account(", audience: other"),
                ["clusters[1].identity.service_account", "by the same"],
            ),
            (
                account(", keys_url: \"http://issuer.example.com/keys\""),
                TOKEN,
                ["keys_url", "not https"],
            ),
            (
                account(", keys_file: a, keys_url: \"https://b\""),
                TOKEN,
                ["service_account", "both keys_file and keys_url"],
            ),
            (account(", keys_file: a, ca_file: b"), TOKEN, ["ca_file", "need no authority"]),
            (
                account(", keys_hosts: [\"https://keys.example.com/a\"]"),
                TOKEN,
                ["keys_hosts[0]", "neither a host"],
            ),
            (
                account(", keys_file: a, keys_hosts: [keys.example.com]"),
                TOKEN,
                ["keys_hosts", "not discovered"],
            ),
            (
                account("").replace("https://", "http://"),
                TOKEN,
                ["service_account.issuer", "cannot be discovered"],
            ),
            (
                account("").replace("name: agent", "name: Agent"),
                TOKEN,
                ["service_account.name", "\"Agent\""],
            ),
            (account("").replace("zonefold", "\"\""), TOKEN, ["service_account.namespace", "\"\""]),
        ];
        for (east, west, says) in rows {
            let error = refusal(TLS, &east, west).unwrap_or_else(|| panic!("taken: {east} {west}"));
            assert!(says.iter().all(|part| error.contains(part)), "{east}: {error}");
        }
        let without_ca = TLS.replace(", client_ca_file: ca.crt", "");
        let error = refusal(&without_ca, "{ certificate: east.example.com }", TOKEN).unwrap();
        assert!(
            error.contains("clusters[0].identity.certificate")
                && error.contains("listen.tls.client_ca_file"),
            "{error}"
        );
    }

    #[test]
    fn only_a_listener_with_tls_leaves_loopback() {
        let config = |listen: &str| {
            Config::parse(
                &format!("listen: {{ {listen} }}\nagents: {{ token: \"0123456789abcdef0123\" }}"),
                "broker.yaml",
            )
        };
        let (tls, everywhere) =
            ("certificate_file: a, key_file: b", "grpc: \"0.0.0.0:1\", http: \"[::]:2\"");
        assert!(config(&format!("{everywhere}, tls: {{ {tls} }}")).is_ok());
        assert!(config(&format!("{everywhere}, plain_text: behind-tls-proxy")).is_ok());
        let half = format!("{everywhere}, tls: {{ {tls}, listeners: [grpc] }}");
        let error = config(&half).unwrap_err().to_string();
        assert!(
            error.contains("listen.http")
                && error.contains("listen.tls")
                && !error.contains("listen.grpc:"),
            "{error}"
        );
        let half = config(&format!("tls: {{ {tls}, listeners: [grpc] }}")).unwrap();
        assert!(
            half.listen.has_tls(ListenerName::Grpc) && !half.listen.has_tls(ListenerName::Http)
        );
        for (tls, says) in [
            (format!("{tls}, listeners: []"), "no listener would have TLS"),
            (format!("{tls}, listeners: [http], client_ca_file: c"), "grpc, which has no TLS"),
            ("certificate_file: \"\", key_file: b".to_owned(), "the path is empty"),
        ] {
            let error = config(&format!("tls: {{ {tls} }}")).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
