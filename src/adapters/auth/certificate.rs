//! The names in a certificate.

use rustls::pki_types::CertificateDer;

/// The subject alternative names of a certificate that are DNS names or URIs, as [`comparable`] writes them. Its signature was checked
/// by the handshake. The common name is none of them (RFC 9525 §2).
pub(super) fn names(der: &[u8]) -> Vec<String> {
    let der = CertificateDer::from(der);
    let Ok(certificate) = webpki::EndEntityCert::try_from(&der) else { return vec![] };
    // A pattern stands for many names and proves none of them.
    let dns = certificate.valid_dns_names().filter(|name| !name.contains('*'));
    dns.chain(certificate.valid_uri_names()).map(comparable).collect()
}

/// A name in the form in which two are compared: DNS names have no case, URIs are compared as they are.
pub(super) fn comparable(name: &str) -> String {
    if name.contains("://") {
        name.to_owned()
    } else {
        name.trim_end_matches('.').to_ascii_lowercase()
    }
}
