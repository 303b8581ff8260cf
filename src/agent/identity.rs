//! Who the agent is: the UID of its cluster, and the way to the broker.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Uri};

use super::session::Broker;

/// Where the UID of the cluster comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterUid {
    /// The UID of the namespace kube-system.
    Given(String),
    /// For a folder without a cluster: a UUID that is made once and kept in this file.
    StateFile(PathBuf),
}

/// Why the agent cannot say who it is or reach the broker.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The state file cannot be read or written.
    #[error("the file of the cluster's UID {} cannot be used: {reason}", path.display())]
    StateFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// The UID is not a UUID.
    #[error("the cluster's UID {value:?} is not a UUID: give the UID of the namespace kube-system")]
    NotAUuid {
        /// What was given.
        value: String,
    },
    /// The address is not one.
    #[error("the broker's address {url:?} is not a URL such as https://broker.example.com:7443: {reason}")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Plain HTTP over a network would show the token.
    #[error("the broker's address {url:?} is plain http to another machine, which would show the token: use https")]
    PlainHttp {
        /// What was given.
        url: String,
    },
    /// Nothing says whom to trust.
    #[error(
        "the broker's address {url:?} is https and no CA certificate is given: name the file that signed the broker's certificate"
    )]
    NoCa {
        /// What was given.
        url: String,
    },
    /// The token cannot stand in a header.
    #[error("the token contains characters that cannot stand in a header: read it again without line breaks")]
    BadToken,
}

impl ClusterUid {
    /// The UID; makes and keeps one when the state file does not exist.
    pub fn read_or_make(&self) -> Result<String, IdentityError> {
        match self {
            Self::Given(value) => checked(value),
            Self::StateFile(path) => {
                let failed = |reason| IdentityError::StateFile { path: path.clone(), reason };
                match std::fs::read_to_string(path) {
                    Ok(text) => checked(text.trim()),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => make(path).map_err(failed),
                    Err(error) => Err(failed(error)),
                }
            }
        }
    }
}

fn checked(value: &str) -> Result<String, IdentityError> {
    let not_a_uuid = |_| IdentityError::NotAUuid { value: value.chars().take(80).collect() };
    uuid::Uuid::parse_str(value).map(|uid| uid.to_string()).map_err(not_a_uuid)
}

fn make(path: &Path) -> io::Result<String> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let uid = uuid::Uuid::new_v4().to_string();
    // Two agents that start at once must not both win.
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    writeln!(file, "{uid}")?;
    file.sync_all()?;
    Ok(uid)
}

/// Prepares the connection to the broker. Nothing is sent yet. `ca_pem` is needed for https.
pub fn broker(url: &str, token: Option<&str>, ca_pem: Option<&[u8]>) -> Result<Broker, IdentityError> {
    let bad_url = |reason: String| IdentityError::BadUrl { url: url.to_owned(), reason };
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| bad_url(error.to_string()))?;
    let host = uri.host().ok_or_else(|| bad_url("it names no host".to_owned()))?;
    let endpoint = Endpoint::from(uri.clone())
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .connect_timeout(std::time::Duration::from_secs(10));
    let endpoint = match (uri.scheme_str(), ca_pem) {
        (Some("http"), _) if is_loopback(host) => endpoint,
        (Some("http"), _) => return Err(IdentityError::PlainHttp { url: url.to_owned() }),
        (Some("https"), Some(pem)) => {
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
            endpoint.tls_config(tls).map_err(|error| bad_url(error.to_string()))?
        }
        (Some("https"), None) => return Err(IdentityError::NoCa { url: url.to_owned() }),
        _ => return Err(bad_url("it starts neither with https:// nor with http://".to_owned())),
    };
    Ok(Broker { channel: endpoint.connect_lazy(), authorization: token.map(bearer).transpose()? })
}

fn bearer(token: &str) -> Result<MetadataValue<Ascii>, IdentityError> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.trim()).parse().map_err(|_| IdentityError::BadToken)?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plain_http_goes_to_this_machine_only() {
        for url in ["http://127.0.0.1:7443", "http://localhost:7443", "http://[::1]:7443"] {
            assert!(broker(url, Some("secret"), None).is_ok(), "{url}");
        }
        assert!(matches!(broker("http://10.0.0.1:7443", None, None), Err(IdentityError::PlainHttp { .. })));
        assert!(matches!(broker("https://broker:7443", None, None), Err(IdentityError::NoCa { .. })));
        for url in ["broker:7443", "ftp://127.0.0.1", "", "http://"] {
            assert!(matches!(broker(url, None, None), Err(IdentityError::BadUrl { .. })), "{url}");
        }
    }

    #[tokio::test]
    async fn the_token_does_not_show() {
        let broker = broker("http://127.0.0.1:1", Some("secret-token"), None).unwrap();
        assert!(!format!("{:?}", broker.authorization).contains("secret-token"));
    }

    #[test]
    fn the_uid_is_made_once_and_kept() {
        let folder = std::env::temp_dir().join(format!("zonefold-uid-{}", uuid::Uuid::new_v4()));
        let uid = ClusterUid::StateFile(folder.join("cluster-uid"));
        let first = uid.read_or_make().unwrap();
        assert_eq!(uid.read_or_make().unwrap(), first);
        std::fs::write(folder.join("cluster-uid"), "not a uuid").unwrap();
        assert!(matches!(uid.read_or_make(), Err(IdentityError::NotAUuid { .. })), "a damaged file is not replaced");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
