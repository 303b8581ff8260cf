//! Reading key sets: from a file, from a URL, and from where an issuer's discovery document says.
//!
//! A document decides where the broker sends a request, so it is followed to the issuer's own host and to those of the
//! configuration alone, whatever addresses they have. Redirects are never followed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::adapters::tls::client_config;
use crate::core::transport::innermost;

/// Kubernetes serves its keys as `application/jwk-set+json` (RFC 7517 §8.5.2) and refuses clients that accept `application/json` alone.
const ACCEPTED: &str = "application/jwk-set+json, application/json, */*";
/// An issuer answers from memory.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// A set has a few kilobytes.
const MAX_ANSWER_BYTES: usize = 256 << 10;

/// Where the text of a key set comes from.
#[async_trait]
pub(super) trait Source: Send + Sync {
    /// Reads it anew.
    async fn read(&self) -> Result<Vec<u8>, String>;
}

/// A set in a file.
pub(super) struct FileOf(pub PathBuf);

#[async_trait]
impl Source for FileOf {
    async fn read(&self) -> Result<Vec<u8>, String> {
        tokio::fs::read(&self.0).await.map_err(|error| format!("{}: {error}", self.0.display()))
    }
}

/// A set at a URL.
pub(super) struct Web {
    url: String,
    ca_file: Option<PathBuf>,
}

impl Web {
    pub(super) fn new(url: &str, ca_file: Option<&Path>) -> Self {
        Self { url: url.to_owned(), ca_file: ca_file.map(Path::to_owned) }
    }
}

#[async_trait]
impl Source for Web {
    async fn read(&self) -> Result<Vec<u8>, String> {
        get(&self.url, self.ca_file.as_deref()).await
    }
}

/// A set that an issuer's discovery document names.
pub(super) struct Discovered {
    issuer: String,
    ca_file: Option<PathBuf>,
    hosts: Vec<String>,
}

impl Discovered {
    pub(super) fn new(issuer: &str, ca_file: Option<&Path>, hosts: &[String]) -> Self {
        let ca_file = ca_file.map(Path::to_owned);
        Self { issuer: issuer.to_owned(), ca_file, hosts: hosts.to_vec() }
    }

    fn may_send_to(&self, keys: &str) -> bool {
        may_send_to(&self.issuer, &self.hosts, keys)
    }
}

/// Whether an issuer's document may send the broker to a place: over TLS to a host of the configuration, or as the issuer itself is
/// reached.
pub(super) fn may_send_to(issuer: &str, hosts: &[String], place: &str) -> bool {
    let Some(place) = UrlOrigin::of(place) else { return false };
    let of_configuration = || {
        hosts
            .iter()
            .filter_map(|host| UrlOrigin::of(&format!("https://{host}")))
            .any(|host| host == place)
    };
    UrlOrigin::of(issuer).is_some_and(|issuer| issuer == place) || of_configuration()
}

/// Scheme, host and port of a URL, in the form in which two are compared (RFC 3986 §6.2.2.1, §6.2.3).
#[derive(PartialEq, Eq)]
struct UrlOrigin {
    scheme: String,
    host: String,
    port: u16,
}

impl UrlOrigin {
    fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let usual = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        // Text before an @ is not part of the host; it is only there to mislead.
        if uri.authority()?.as_str().contains('@') {
            return None;
        }
        let host = uri.host()?.trim_end_matches('.').to_ascii_lowercase();
        Some(Self { scheme, host, port: uri.port_u16().unwrap_or(usual) })
    }
}

/// Reads an issuer's discovery document.
pub(super) async fn discovery<T: DeserializeOwned>(
    issuer: &str,
    ca_file: Option<&Path>,
) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Named {
        issuer: String,
    }
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let text = get(&url, ca_file).await?;
    let is_none = |error: serde_json::Error| format!("{url} is no discovery document: {error}");
    let named: Named = serde_json::from_slice(&text).map_err(is_none)?;
    // OpenID Connect Discovery 1.0 §4.3: else foreign keys would be taken for the issuer's.
    if named.issuer != issuer {
        return Err(format!("{url} is the document of another issuer, {:?}", named.issuer));
    }
    serde_json::from_slice(&text).map_err(is_none)
}

#[async_trait]
impl Source for Discovered {
    async fn read(&self) -> Result<Vec<u8>, String> {
        #[derive(Deserialize)]
        struct Keys {
            jwks_uri: String,
        }
        let ca_file = self.ca_file.as_deref();
        let Keys { jwks_uri } = discovery(&self.issuer, ca_file).await?;
        if !self.may_send_to(&jwks_uri) {
            return Err(format!(
                "the issuer {} says that its keys are at {jwks_uri:?}, which is neither https nor the issuer's host or one of the configuration: if they are, add its host to clusters[].identity.service_account.keys_hosts, or give keys_url; of an identity provider, to oidc.hosts",
                self.issuer
            ));
        }
        get(&jwks_uri, ca_file).await
    }
}

/// Reads a URL over TLS; plain http is accepted from this machine only. A new client each time: the URL is read every ten
/// minutes, and the authority's file may have changed.
pub(super) async fn get(url: &str, ca_file: Option<&Path>) -> Result<Vec<u8>, String> {
    let request = Request::get(url).header(header::ACCEPT, ACCEPTED).body(Bytes::new());
    let request = request.map_err(|_| format!("{url:?} is no URL"))?;
    match call(request, ca_file).await? {
        (StatusCode::OK, answer) => Ok(answer),
        (status, _) => Err(format!("{url} answers {status}")),
    }
}

/// Asks a URL over TLS; plain http is accepted from this machine only. Answers the status and the body.
pub(super) async fn call(
    request: Request<Bytes>,
    ca_file: Option<&Path>,
) -> Result<(StatusCode, Vec<u8>), String> {
    let url = request.uri().to_string();
    let uri: Uri = request.uri().clone();
    let is_loopback = uri.host().is_some_and(is_loopback);
    if !(uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && is_loopback)) {
        return Err(format!("{url:?} is not https"));
    }
    let tls = client_config(ca_file).map_err(|error| error.to_string())?;
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let asking = async {
        let response = client
            .request(request.map(Full::new))
            .await
            .map_err(|error| format!("{url}: {}", innermost(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        body.map(|body| (status, body.to_bytes().to_vec()))
            .map_err(|error| format!("{url}: {error}"))
    };
    let answered = tokio::time::timeout(ANSWERS_WITHIN, asking).await;
    answered.unwrap_or_else(|_| {
        Err(format!("{url} does not answer within {} seconds", ANSWERS_WITHIN.as_secs()))
    })
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discovery_document_leads_to_the_issuer_s_host_and_to_configured_ones_alone() {
        let hosts = ["keys.example.com".to_owned(), "172.18.0.2:6443".to_owned()];
        let issuer = Discovered::new("https://Issuer.example.com/id/1", None, &hosts);
        for keys in [
            "https://issuer.example.com/id/1/keys",
            "https://issuer.example.com:443/keys",
            "https://ISSUER.example.com./keys",
            "https://keys.example.com/a",
            "https://172.18.0.2:6443/openid/v1/jwks",
        ] {
            assert!(issuer.may_send_to(keys), "{keys}");
        }
        for keys in [
            "http://issuer.example.com/keys",
            "https://issuer.example.com:8443/keys",
            "https://issuer.example.com@127.0.0.1/keys",
            "https://issuer.example.com.evil.test/keys",
            "https://127.0.0.1/keys",
            "http://127.0.0.1:7080/keys",
            "https://[::1]/keys",
            "https://169.254.169.254/latest/meta-data",
            "https://172.18.0.2/keys",
            "http://keys.example.com/a",
            "file:///etc/passwd",
            "/keys",
            "",
        ] {
            assert!(!issuer.may_send_to(keys), "{keys}");
        }
        let local = Discovered::new("http://127.0.0.1:8080", None, &[]);
        assert!(local.may_send_to("http://127.0.0.1:8080/keys"));
        assert!(!local.may_send_to("http://127.0.0.1:8081/keys"));
    }
}
