//! The connection to the broker: its address, the CA to trust, and this agent's credentials. Files are read anew before each call,
//! so that a renewed certificate or token is used without a restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};

use crate::core::transport::{innermost, is_loopback_host};

/// Data that is given, or read from a file.
#[derive(Clone, PartialEq, Eq)]
pub enum Material {
    /// Given.
    Given(Vec<u8>),
    /// In this file, which may change.
    File(PathBuf),
}

impl Material {
    /// A text that is given.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Given(text.into().into_bytes())
    }

    fn read(&self) -> Result<Vec<u8>, AccessError> {
        match self {
            Self::Given(bytes) => Ok(bytes.clone()),
            Self::File(path) => std::fs::read(path)
                .map_err(|reason| AccessError::Unreadable { path: path.clone(), reason }),
        }
    }
}

/// A client certificate and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those that signed it.
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

/// The broker's address, and this agent's credentials there.
#[derive(Clone)]
pub struct BrokerAddress {
    /// https, or http on this machine.
    pub url: String,
    /// The token; never logged.
    pub token: Option<Material>,
    /// The certificate authority of the broker, in PEM; needed for https.
    pub ca: Option<Material>,
    /// A client certificate, for https.
    pub certificate: Option<ClientCertificate>,
    /// How a connection is found to be dead.
    pub keep_alive: KeepAlive,
}

/// The HTTP/2 pings of a connection, also while nothing else is sent: one that is dead says nothing, and the system gives it up
/// after a quarter of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// The time between two pings.
    pub interval: Duration,
    /// The time in which a ping has to be answered.
    pub timeout: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), timeout: Duration::from_secs(5) }
    }
}

/// Why the broker cannot be called. No text repeats anything secret.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read.
    #[error("{} cannot be read: {reason}: give the path of a file that the agent may read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
    /// The address is not one.
    #[error(
        "the broker's address {url:?} is not a URL such as https://broker.example.com:7443: {reason}"
    )]
    BadUrl {
        /// The URL as given.
        url: String,
        /// Why it is not valid.
        reason: String,
    },
    /// Plain HTTP over a network would show the token.
    #[error(
        "the broker's address {url:?} is plain http to another machine, which would show the token: use https"
    )]
    PlainHttp {
        /// The URL as given.
        url: String,
    },
    /// A certificate is shown in a TLS handshake, and there is none.
    #[error(
        "the broker's address {url:?} is plain http, where no certificate can be shown: use https, or give a token only"
    )]
    CertificateWithoutTls {
        /// The URL as given.
        url: String,
    },
    /// No CA certificate is given.
    #[error(
        "the broker's address {url:?} is https and no CA certificate is given: name the file that signed the broker's certificate"
    )]
    NoCa {
        /// The URL as given.
        url: String,
    },
    /// The certificate, its key or the authority cannot be used.
    #[error(
        "TLS to the broker cannot be set up ({reason}): see that the certificate, its key and the CA are PEM and belong together"
    )]
    BadTls {
        /// Why not.
        reason: String,
    },
    /// The token cannot stand in a header.
    #[error(
        "the token contains characters that cannot stand in a header: read it again without line breaks"
    )]
    BadToken,
}

/// A connection to the broker and what is shown on it, as they are now.
#[derive(Clone)]
pub struct Broker {
    /// The connection; it is made when it is first used, and again when it breaks.
    pub channel: Channel,
    /// `Bearer …`, marked as sensitive; `None` if the connection itself authenticates the agent.
    pub authorization: Option<MetadataValue<Ascii>>,
}

/// See the module's page. Clones share the connection.
#[derive(Clone)]
pub struct Access(Way);

#[derive(Clone)]
enum Way {
    Fixed(Broker),
    Maker(Arc<Maker>),
    Files(Arc<Files>),
}

/// Connections that the caller makes.
struct Maker {
    make: Box<dyn Fn() -> Broker + Send + Sync>,
    made: Mutex<Broker>,
    renewed: watch::Sender<u64>,
}

struct Files {
    address: BrokerAddress,
    made: Mutex<Made>,
    /// How often a connection was replaced.
    renewed: watch::Sender<u64>,
}

/// The connection, and what it was made of.
struct Made {
    of: TlsMaterial,
    channel: Channel,
    /// Later content of the files that could not be used; it is logged once.
    refused: Option<TlsMaterial>,
}

#[derive(Clone, PartialEq, Eq)]
struct TlsMaterial {
    ca: Option<Vec<u8>>,
    certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl From<Broker> for Access {
    /// One that stays as it is.
    fn from(broker: Broker) -> Self {
        Self(Way::Fixed(broker))
    }
}

impl Access {
    /// Prepares the connection. Nothing is sent yet.
    ///
    /// # Errors
    /// A file cannot be read, or what was given cannot be used.
    pub fn new(address: BrokerAddress) -> Result<Self, AccessError> {
        let of = TlsMaterial::read(&address)?;
        let channel = connect(&address, &of)?;
        authorization(&address)?;
        Ok(Self(Way::Files(Arc::new(Files {
            address,
            made: Mutex::new(Made { of, channel, refused: None }),
            renewed: watch::Sender::new(0),
        }))))
    }

    /// One whose connections are made by the caller.
    pub fn made_by(make: impl Fn() -> Broker + Send + Sync + 'static) -> Self {
        let (made, renewed) = (Mutex::new(make()), watch::Sender::new(0));
        Self(Way::Maker(Arc::new(Maker { make: Box::new(make), made, renewed })))
    }

    /// A new connection, and the token, for a session that begins now: what ended the last session may be the
    /// connection, or what it leads to. From now on [`Self::now`] returns it.
    ///
    /// # Errors
    /// As those of [`Self::now`].
    pub fn renew(&self) -> Result<Broker, AccessError> {
        match &self.0 {
            Way::Fixed(broker) => Ok(broker.clone()),
            Way::Maker(maker) => Ok(maker.renew()),
            Way::Files(files) => Ok(Broker {
                channel: files.renew()?,
                authorization: authorization(&files.address)?,
            }),
        }
    }

    /// Returns when the connection of this moment was replaced by [`Self::renew`].
    pub fn replaced(&self) -> impl Future<Output = ()> + use<> {
        let renewed = match &self.0 {
            Way::Fixed(_) => None,
            Way::Maker(maker) => Some(maker.renewed.subscribe()),
            Way::Files(files) => Some(files.renewed.subscribe()),
        };
        async move {
            let Some(mut renewed) = renewed else { return std::future::pending().await };
            if renewed.changed().await.is_err() {
                // The task that replaces it is gone.
                std::future::pending().await
            }
        }
    }

    /// The connection and the token for a call that is made now.
    ///
    /// # Errors
    /// The token's file cannot be read, or its content cannot be a token. A certificate that cannot be used is logged, and the
    /// connection stays as it was.
    pub fn now(&self) -> Result<Broker, AccessError> {
        match &self.0 {
            Way::Fixed(broker) => Ok(broker.clone()),
            Way::Maker(maker) => {
                Ok(maker.made.lock().unwrap_or_else(PoisonError::into_inner).clone())
            }
            Way::Files(files) => Ok(Broker {
                channel: files.channel(),
                authorization: authorization(&files.address)?,
            }),
        }
    }
}

impl Maker {
    fn renew(&self) -> Broker {
        let broker = (self.make)();
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = broker.clone();
        self.renewed.send_modify(|renewed| *renewed = renewed.wrapping_add(1));
        broker
    }
}

impl Files {
    fn renew(&self) -> Result<Channel, AccessError> {
        // This reads what changed in the files.
        self.channel();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.channel = connect(&self.address, &made.of)?;
        self.renewed.send_modify(|renewed| *renewed = renewed.wrapping_add(1));
        Ok(made.channel.clone())
    }

    fn channel(&self) -> Channel {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match TlsMaterial::read(&self.address) {
            Ok(found) if found == made.of => made.refused = None,
            Ok(found) if made.refused.as_ref() == Some(&found) => {}
            Ok(found) => match connect(&self.address, &found) {
                Ok(channel) => {
                    tracing::info!("a new certificate is used for the broker");
                    *made = Made { of: found, channel, refused: None };
                }
                Err(error) => {
                    tracing::error!(%error, "the new certificate cannot be used; the old one is shown until its files are mended or it expires");
                    made.refused = Some(found);
                }
            },
            // A file that is just being replaced is away for a moment.
            Err(error) => tracing::warn!(%error, "the certificate stays as it was"),
        }
        made.channel.clone()
    }
}

impl TlsMaterial {
    fn read(address: &BrokerAddress) -> Result<Self, AccessError> {
        let file = |path: &Path| Material::File(path.to_owned()).read();
        let ca = address.ca.as_ref().map(Material::read).transpose()?;
        let certificate = match &address.certificate {
            Some(own) => Some((file(&own.certificate_file)?, file(&own.key_file)?)),
            None => None,
        };
        Ok(Self { ca, certificate })
    }
}

fn connect(address: &BrokerAddress, material: &TlsMaterial) -> Result<Channel, AccessError> {
    let url = address.url.as_str();
    let bad_url = |reason: String| AccessError::BadUrl { url: url.to_owned(), reason };
    let uri: Uri =
        url.parse().map_err(|error: http::uri::InvalidUri| bad_url(error.to_string()))?;
    let host = uri.host().ok_or_else(|| bad_url("it names no host".to_owned()))?;
    let endpoint = Endpoint::from(uri.clone())
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .connect_timeout(Duration::from_secs(10))
        .http2_keep_alive_interval(address.keep_alive.interval)
        .keep_alive_timeout(address.keep_alive.timeout)
        .keep_alive_while_idle(true);
    let endpoint = match (uri.scheme_str(), &material.ca) {
        (Some("http"), _) if !is_loopback_host(host) => {
            return Err(AccessError::PlainHttp { url: url.to_owned() });
        }
        (Some("http"), _) if material.certificate.is_some() => {
            return Err(AccessError::CertificateWithoutTls { url: url.to_owned() });
        }
        (Some("http"), _) => endpoint,
        (Some("https"), Some(ca)) => {
            let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
            if let Some((certificate, key)) = &material.certificate {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            endpoint
                .tls_config(tls)
                .map_err(|error| AccessError::BadTls { reason: innermost(&error) })?
        }
        (Some("https"), None) => return Err(AccessError::NoCa { url: url.to_owned() }),
        _ => return Err(bad_url("it starts neither with https:// nor with http://".to_owned())),
    };
    Ok(endpoint.connect_lazy())
}

fn authorization(address: &BrokerAddress) -> Result<Option<MetadataValue<Ascii>>, AccessError> {
    let Some(token) = &address.token else { return Ok(None) };
    let token = String::from_utf8(token.read()?).map_err(|_| AccessError::BadToken)?;
    let mut value: MetadataValue<Ascii> =
        format!("Bearer {}", token.trim()).parse().map_err(|_| AccessError::BadToken)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> BrokerAddress {
        BrokerAddress {
            url: url.to_owned(),
            token: None,
            ca: None,
            certificate: None,
            keep_alive: KeepAlive::default(),
        }
    }

    fn with_token(url: &str, token: Material) -> BrokerAddress {
        BrokerAddress { token: Some(token), ..address(url) }
    }

    #[tokio::test]
    async fn plain_http_goes_to_this_machine_only() {
        for url in ["http://127.0.0.1:7443", "http://localhost:7443", "http://[::1]:7443"] {
            assert!(Access::new(with_token(url, Material::text("secret"))).is_ok(), "{url}");
        }
        let refusal = |url: &str| Access::new(address(url)).err();
        assert!(matches!(refusal("http://10.0.0.1:7443"), Some(AccessError::PlainHttp { .. })));
        assert!(matches!(refusal("https://broker:7443"), Some(AccessError::NoCa { .. })));
        for url in ["broker:7443", "ftp://127.0.0.1", "", "http://"] {
            assert!(matches!(refusal(url), Some(AccessError::BadUrl { .. })), "{url}");
        }
    }

    #[tokio::test]
    async fn the_token_does_not_show() {
        let access =
            Access::new(with_token("http://127.0.0.1:1", Material::text("secret-token"))).unwrap();
        assert!(!format!("{:?}", access.now().unwrap().authorization).contains("secret-token"));
    }

    #[tokio::test]
    async fn a_connection_that_is_replaced_tells_who_uses_it() {
        let access = Access::new(address("http://127.0.0.1:1")).unwrap();
        let replaced = access.replaced();
        access.now().unwrap();
        tokio::pin!(replaced);
        assert!(futures::poll!(&mut replaced).is_pending(), "a call replaces nothing");
        access.renew().unwrap();
        assert!(futures::poll!(&mut replaced).is_ready());
        assert!(futures::poll!(Box::pin(access.replaced())).is_pending(), "it is a new one");
    }

    #[tokio::test]
    async fn a_token_in_a_file_is_read_anew_for_each_call() {
        let path = std::env::temp_dir().join(format!("zonefold-token-{}", uuid::Uuid::new_v4()));
        std::fs::write(&path, "first\n").unwrap();
        let access =
            Access::new(with_token("http://127.0.0.1:1", Material::File(path.clone()))).unwrap();
        let shown = || access.now().unwrap().authorization.unwrap().to_str().unwrap().to_owned();
        assert_eq!(shown(), "Bearer first");
        std::fs::write(&path, "second\n").unwrap();
        assert_eq!(shown(), "Bearer second");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(access.now().err(), Some(AccessError::Unreadable { .. })));
    }
}
