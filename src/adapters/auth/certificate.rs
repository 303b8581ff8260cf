//! The names in a certificate.

use rustls::pki_types::CertificateDer;

use crate::core::time::Timestamp;

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

/// Tags of DER (X.690 §8).
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// When a certificate ends (RFC 5280 §4.1.2.5); `None` if that cannot be read.
pub(super) fn ends_at(der: &[u8]) -> Option<Timestamp> {
    let certificate = Element::first(der)?.of(SEQUENCE)?.content;
    let to_be_signed = Element::first(certificate)?.of(SEQUENCE)?.content;
    let version = Element::first(to_be_signed)?;
    let serial = match version.tag {
        VERSION => version.next()?,
        _ => version,
    };
    let issuer = serial.of(INTEGER)?.next()?.of(SEQUENCE)?.next()?.of(SEQUENCE)?;
    let validity = issuer.next()?.of(SEQUENCE)?.content;
    let ends = Element::first(validity)?.next()?;
    let text = std::str::from_utf8(ends.content).ok()?;
    let text = match ends.tag {
        // Years of two digits are those from 1950 to 2049.
        UTC_TIME if text.get(..2)?.parse::<u8>().ok()? < 50 => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(Timestamp(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond()))
}

/// One element of DER, and what comes after it.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let (&tag, bytes) = bytes.split_first()?;
        let (&length, bytes) = bytes.split_first()?;
        let (length, bytes) = match usize::from(length) {
            short @ ..=0x7f => (short, bytes),
            long @ 0x81..=0x84 => {
                let (octets, bytes) = bytes.split_at_checked(long - 0x80)?;
                let length =
                    octets.iter().fold(0_usize, |length, octet| length << 8 | usize::from(*octet));
                (length, bytes)
            }
            _ => return None,
        };
        let (content, rest) = bytes.split_at_checked(length)?;
        Some(Self { tag, content, rest })
    }

    fn next(&self) -> Option<Self> {
        Self::first(self.rest)
    }

    fn of(self, tag: u8) -> Option<Self> {
        (self.tag == tag).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut params =
            rcgen::CertificateParams::new(vec!["east.example.com".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn rfc5280_4_1_2_5_the_end_of_a_certificate_is_read_in_both_forms() {
        for (year, ms) in
            [(2_030, 1_924_905_600_000), (2_049, 2_524_521_600_000), (2_050, 2_556_057_600_000)]
        {
            assert_eq!(ends_at(&certificate(year)), Some(Timestamp(ms)), "{year}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let whole = certificate(2_030);
        for length in 0..whole.len() {
            assert_eq!(ends_at(&whole[..length]), None);
        }
        assert_eq!(ends_at(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
