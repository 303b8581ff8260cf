//! A small client of the broker's REST API, for the commands that show what the broker knows.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::page::{MissingPart, Page};
use crate::api::problem::Problem;
use crate::core::transport::{innermost, is_loopback_host};

/// Where a broker on this machine serves its API.
pub const DEFAULT_BROKER: &str = "http://127.0.0.1:7080";

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take; the broker itself gives up after 30 seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Why the broker did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing answers there.
    #[error(
        "the broker at {broker} cannot be reached ({reason}): start it, or name another with --broker URL or ZONEFOLD_BROKER"
    )]
    Unreachable {
        /// Where.
        broker: BrokerUrl,
        /// The reason.
        reason: String,
    },
    /// A token would go over a network in plain text.
    #[error("a token would be sent to {broker} in plain text, over a network: use https")]
    PlainText {
        /// Where.
        broker: BrokerUrl,
    },
    /// No trusted authority could have signed the broker's certificate.
    #[error(
        "there is no certificate authority to trust for {broker}: name a PEM file with --ca-file"
    )]
    NoAuthority {
        /// Where.
        broker: BrokerUrl,
    },
    /// The token cannot stand in a header.
    #[error("the token contains characters that cannot stand in a header: look into its file")]
    BadToken,
    /// It answered with an error.
    #[error("the broker refused {path} ({status} {title}): {detail}")]
    Refused {
        /// The requested path.
        path: String,
        /// The HTTP status.
        status: u16,
        /// The kind of problem in words.
        title: String,
        /// The problem's detail: what happened, and what to do.
        detail: String,
    },
    /// The server there is not a broker, or one of another version.
    #[error(
        "the server at {broker} does not answer {path} like a broker of this version ({reason}): check --broker URL"
    )]
    NotABroker {
        /// Where.
        broker: BrokerUrl,
        /// The requested path.
        path: String,
        /// The problem of the answer.
        reason: String,
    },
}

/// Why a text is not the address of a broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not the address of a broker's HTTP listener: write http://HOST:PORT or https://HOST:PORT, such as {DEFAULT_BROKER}"
)]
pub struct BrokerUrlError {
    text: String,
}

/// The address of a broker's HTTP listener: `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl(String);

impl std::fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for BrokerUrl {
    type Err = BrokerUrlError;

    fn from_str(text: &str) -> Result<Self, BrokerUrlError> {
        let refused = || BrokerUrlError { text: text.chars().take(200).collect() };
        let uri: Uri = text.parse().map_err(|_| refused())?;
        let authority = uri.authority().ok_or_else(refused)?;
        // A user and a password would show up in errors, and nothing here asks for them.
        if !matches!(uri.scheme_str(), Some("http" | "https"))
            || authority.as_str().contains('@')
            || uri.query().is_some()
        {
            return Err(refused());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl BrokerUrl {
    fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    fn is_loopback(&self) -> bool {
        let uri: Option<Uri> = self.0.parse().ok();
        is_loopback_host(uri.as_ref().and_then(Uri::host).unwrap_or_default())
    }
}

/// A broker's API as one calls it.
pub struct Client {
    broker: BrokerUrl,
    authorization: Option<HeaderValue>,
    http: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    /// A client; nothing is called yet. `token` opens what needs one; `ca_pem` is the authority of the broker's certificate, without
    /// it those that the system trusts.
    ///
    /// # Errors
    /// The token or the authority cannot be used, or the token would go over a network in plain text.
    pub fn new(
        broker: BrokerUrl,
        token: Option<&str>,
        ca_pem: Option<&[u8]>,
    ) -> Result<Self, ClientError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(&broker, ca_pem)?)
            .https_or_http()
            .enable_http1();
        let http =
            HyperClient::builder(TokioExecutor::new()).build(https.wrap_connector(connector));
        let authorization = match token {
            Some(_) if !broker.is_https() && !broker.is_loopback() => {
                return Err(ClientError::PlainText { broker });
            }
            Some(token) => Some(bearer(token)?),
            None => None,
        };
        Ok(Self { broker, authorization, http })
    }

    /// Reads one resource; `path` starts at the root and is encoded already.
    ///
    /// # Errors
    /// The broker cannot be reached, refuses, or is none.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Bytes::new(), None).await
    }

    /// Has something done; `path` as for [`Client::get`].
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::POST, path, Bytes::new(), None).await
    }

    /// Has something done that a body says; `path` as for [`Client::get`].
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.call(Method::POST, path, self.json(path, body)?, None).await
    }

    /// As [`Client::post_json`], if what it is about is at that version still.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post_json_if<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        version: u64,
    ) -> Result<T, ClientError> {
        self.call(Method::POST, path, self.json(path, body)?, Some(version)).await
    }

    fn json(&self, path: &str, body: &impl Serialize) -> Result<Bytes, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::NotABroker {
            broker: self.broker.clone(),
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(body.into())
    }

    /// Has something removed; `path` as for [`Client::get`].
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::DELETE, path, Bytes::new(), None).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        version: Option<u64>,
    ) -> Result<T, ClientError> {
        let unreachable =
            |reason: String| ClientError::Unreachable { broker: self.broker.clone(), reason };
        let not_a_broker = |reason: String| ClientError::NotABroker {
            broker: self.broker.clone(),
            path: path.to_owned(),
            reason,
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.broker))
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("zonefold/", env!("CARGO_PKG_VERSION")));
        let request = match &self.authorization {
            Some(authorization) => request.header(header::AUTHORIZATION, authorization),
            None => request,
        };
        let request = match version {
            Some(version) => request.header(header::IF_MATCH, format!("\"{version}\"")),
            None => request,
        };
        let request = match body.is_empty() {
            true => request,
            false => request.header(header::CONTENT_TYPE, "application/json"),
        };
        let request =
            request.body(Full::new(body)).map_err(|error| not_a_broker(error.to_string()))?;
        let answer = async {
            let response =
                self.http.request(request).await.map_err(|error| unreachable(innermost(&error)))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES)
                .collect()
                .await
                .map_err(|error| not_a_broker(error.to_string()))?;
            Ok((head.status, body.to_bytes()))
        };
        let (status, body) =
            tokio::time::timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| {
                unreachable(format!("no answer within {} seconds", ANSWER_TIMEOUT.as_secs()))
            })??;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| not_a_broker(error.to_string()));
        }
        match serde_json::from_slice(&body) {
            Ok(Problem { title, detail, .. }) => Err(ClientError::Refused {
                path: path.to_owned(),
                status: status.as_u16(),
                title,
                detail,
            }),
            Err(_) => {
                Err(not_a_broker(format!("it answered {status} without a problem's details")))
            }
        }
    }

    /// Reads a whole list, page by page, up to a number of items; also answers whether there are more.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        params: &[(&str, &str)],
        most: usize,
    ) -> Result<Listed<T>, ClientError> {
        let (mut items, mut missing) = (vec![], vec![]);
        let mut cursor: Option<String> = None;
        loop {
            let mut query = String::from("?limit=1000");
            for (name, value) in
                params.iter().copied().chain(cursor.as_deref().map(|cursor| ("cursor", cursor)))
            {
                let _infallible = write!(query, "&{name}={}", encode(value));
            }
            let page: Page<T> = self.get(&format!("{path}{query}")).await?;
            items.extend(page.items);
            for part in page.missing {
                if !missing.contains(&part) {
                    missing.push(part);
                }
            }
            if items.len() > most || page.next.is_none() {
                let more = items.len() > most || page.next.is_some();
                items.truncate(most);
                return Ok(Listed { items, more, missing });
            }
            cursor = page.next;
        }
    }
}

fn bearer(token: &str) -> Result<HeaderValue, ClientError> {
    let mut value: HeaderValue =
        format!("Bearer {}", token.trim()).parse().map_err(|_| ClientError::BadToken)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whom to trust; not used for plain text.
fn tls_config(broker: &BrokerUrl, ca_pem: Option<&[u8]>) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    if broker.is_https() {
        let certificates = match ca_pem {
            Some(pem) => CertificateDer::pem_slice_iter(pem)
                .collect::<Result<Vec<_>, _>>()
                .unwrap_or_default(),
            None => rustls_native_certs::load_native_certs().certs,
        };
        if roots.add_parsable_certificates(certificates).0 == 0 {
            return Err(ClientError::NoAuthority { broker: broker.clone() });
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| ClientError::Unreachable {
        broker: broker.clone(),
        reason: error.to_string(),
    })?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A list as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Whether there are more.
    pub more: bool,
    /// The accounts that are missing, since their replicas do not answer.
    pub missing: Vec<MissingPart>,
}

/// Encodes a text as one segment of a path or one value of a query (RFC 3986 §2.3: all but the unreserved characters).
pub fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3986_2_3_only_unreserved_characters_stand_for_themselves() {
        assert_eq!(encode("*.a-b_c~d.example.com"), "%2A.a-b_c~d.example.com");
        assert_eq!(encode("a/b?c&d=ä"), "a%2Fb%3Fc%26d%3D%C3%A4");
    }

    #[test]
    fn a_broker_s_address_is_a_url_without_a_password() {
        for good in [
            "http://127.0.0.1:7080",
            "http://broker.example.com",
            "http://[::1]:7080/",
            "https://broker:7080",
        ] {
            assert!(!good.parse::<BrokerUrl>().unwrap().to_string().ends_with('/'), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:7080",
            "https://",
            "http://user:password@broker",
            "http://",
            "ftp://x",
            "/x",
        ] {
            assert!(bad.parse::<BrokerUrl>().is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_token_goes_over_no_network_in_plain_text() {
        let client = |url: &str| Client::new(url.parse().unwrap(), Some("a-secret\n"), None);
        for url in ["http://127.0.0.1:7080", "http://localhost:7080", "http://[::1]:7080"] {
            assert!(
                !format!("{:?}", client(url).unwrap().authorization).contains("a-secret"),
                "{url}"
            );
        }
        assert!(matches!(
            client("http://broker.example.com:7080"),
            Err(ClientError::PlainText { .. })
        ));
        assert!(matches!(client("http://10.0.0.1"), Err(ClientError::PlainText { .. })));
        let url: BrokerUrl = "https://broker.example.com".parse().unwrap();
        assert!(matches!(
            Client::new(url, None, Some(b"no certificate")),
            Err(ClientError::NoAuthority { .. })
        ));
    }

    #[tokio::test]
    async fn an_absent_broker_is_told_with_its_address_and_the_remedy() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: BrokerUrl = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let error = Client::new(url.clone(), None, None)
            .unwrap()
            .get::<Problem>("/healthz")
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(&url.to_string()) && error.contains("--broker"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_broker_is_told_apart_from_one_that_refuses() {
        use axum::response::IntoResponse as _;
        let refuses = || async {
            Problem::new(http::StatusCode::NOT_FOUND, "not-found", "no such zone").into_response()
        };
        let routes = axum::Router::new()
            .route("/other", axum::routing::get(|| async { "<html>" }))
            .route("/refuses", axum::routing::get(refuses));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: BrokerUrl = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
        let client = Client::new(url, None, None).unwrap();
        assert!(matches!(
            client.get::<Problem>("/other").await,
            Err(ClientError::NotABroker { .. })
        ));
        assert!(matches!(
            client.get::<Problem>("/nothing").await,
            Err(ClientError::NotABroker { .. })
        ));
        let refused = client.get::<Problem>("/refuses").await.unwrap_err().to_string();
        assert!(refused.contains("404") && refused.contains("no such zone"), "{refused}");
        serving.abort();
    }
}
