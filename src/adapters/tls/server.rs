//! The certificate of a listener, and the authority whose client certificates it accepts; both read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::TlsMetrics;
use super::pem::{self, TlsError};

/// The files, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The own certificate, and those that signed it.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The CA of client certificates; a caller may still show none. Without it none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// The protocol inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC, which is HTTP/2.
    Grpc,
    /// HTTP/1.1 or HTTP/2.
    Http,
}

impl Protocol {
    pub(super) const fn listener(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }

    /// RFC 7301 names.
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Grpc => vec![b"h2".to_vec()],
            Self::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }
}

/// The outcome of reading the files again.
#[derive(Debug)]
pub enum Reloaded {
    /// They hold what is in use, or what was refused before.
    Unchanged,
    /// Their content is in use for connections that are made from now on.
    Taken,
    /// Their content cannot be used; the former one stays in use.
    Kept(TlsError),
}

/// See the module's page.
pub struct ServerTls {
    files: TlsFiles,
    protocol: Protocol,
    current: ArcSwap<ServerConfig>,
    /// The first DNS name of the own certificate, by which the replicas know each other.
    own_name: ArcSwap<Option<String>>,
    seen: Mutex<[u8; 32]>,
    metrics: TlsMetrics,
}

struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: pem::read(&files.certificate)?,
            key: pem::read(&files.key)?,
            client_ca: files.client_ca.as_deref().map(pem::read).transpose()?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let parts = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        let mut digest = Sha256::new();
        for part in parts.into_iter().flatten() {
            digest.update(Sha256::digest(part));
        }
        digest.finalize().into()
    }
}

impl ServerTls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// They cannot be read, or not be used.
    pub fn load(
        files: TlsFiles,
        protocol: Protocol,
        metrics: TlsMetrics,
    ) -> Result<Self, TlsError> {
        let contents = Contents::read(&files)?;
        let (config, own_name) = configure(&files, &contents, protocol)?;
        let seen = Mutex::new(contents.digest());
        let (current, own_name) = (ArcSwap::from_pointee(config), ArcSwap::from_pointee(own_name));
        Ok(Self { files, protocol, current, own_name, seen, metrics })
    }

    /// The protocol inside TLS.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The figures.
    pub(super) fn metrics(&self) -> &TlsMetrics {
        &self.metrics
    }

    /// For the next handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// The first DNS name of the own certificate that is no pattern.
    pub fn own_name(&self) -> Option<String> {
        self.own_name.load().as_ref().clone()
    }

    /// Looks at the files again.
    pub fn reload(&self) -> Reloaded {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = match Contents::read(&self.files) {
            Ok(contents) => contents,
            Err(error) => {
                // Logged once for as long as it is so.
                let first = std::mem::take(&mut *seen) != [0; 32];
                self.metrics.stale(true);
                return if first { Reloaded::Kept(error) } else { Reloaded::Unchanged };
            }
        };
        let digest = contents.digest();
        if *seen == digest {
            return Reloaded::Unchanged;
        }
        *seen = digest;
        match configure(&self.files, &contents, self.protocol) {
            Ok((config, own_name)) => {
                self.current.store(Arc::new(config));
                self.own_name.store(Arc::new(own_name));
                self.metrics.stale(false);
                Reloaded::Taken
            }
            Err(error) => {
                self.metrics.stale(true);
                Reloaded::Kept(error)
            }
        }
    }

    /// Looks at the files again and again until `stop`, and reports the outcome.
    pub async fn follow(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            let (file, listener) = (self.files.certificate.display(), self.protocol.listener());
            match self.reload() {
                Reloaded::Unchanged => {}
                Reloaded::Taken => tracing::info!(%file, listener, "a new certificate is in use"),
                Reloaded::Kept(error) => tracing::error!(
                    %file, listener, %error,
                    "the new certificate cannot be used; the old one is served until the files are mended or it expires"
                ),
            }
        }
    }
}

fn configure(
    files: &TlsFiles,
    contents: &Contents,
    protocol: Protocol,
) -> Result<(ServerConfig, Option<String>), TlsError> {
    let chain = pem::certificates(&contents.certificate, &files.certificate)?;
    let key = pem::key(&contents.key, &files.key)?;
    let mismatch = |error: rustls::Error| TlsError::Mismatch {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        reason: error.to_string(),
    };
    let own_name = chain.first().and_then(|own| first_dns_name(own.as_ref()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certified = CertifiedKey::from_der(chain, key, &provider).map_err(mismatch)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions();
    let builder = builder.map_err(mismatch)?;
    let builder = match (&files.client_ca, &contents.client_ca) {
        (Some(path), Some(text)) => {
            builder.with_client_cert_verifier(client_verifier(path, text, provider)?)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = protocol.alpn();
    Ok((config, own_name))
}

fn client_verifier(
    path: &Path,
    text: &[u8],
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let roots = Arc::new(pem::authorities(text, path)?);
    let bad = |error: rustls::server::VerifierBuilderError| TlsError::BadAuthority {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    // Some clusters prove themselves by a token: no certificate is no failure, a wrong one is.
    WebPkiClientVerifier::builder_with_provider(roots, provider)
        .allow_unauthenticated()
        .build()
        .map_err(bad)
}

fn first_dns_name(certificate: &[u8]) -> Option<String> {
    let der = rustls::pki_types::CertificateDer::from(certificate);
    let certificate = webpki::EndEntityCert::try_from(&der).ok()?;
    certificate.valid_dns_names().find(|name| !name.contains('*')).map(str::to_owned)
}
