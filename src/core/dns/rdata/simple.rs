//! Values that are words between spaces: addresses, names, numbers and digests.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::core::dns::name::DnsName;

/// The result of a parser: canonical text, or the problem and how to fix it.
pub(in crate::core::dns::rdata) type Parsed<T = String> = Result<T, String>;

/// RFC 1035 §3.4.1 and RFC 1123 §2.1: four decimal numbers. A leading zero means octal to some readers, so there is none.
pub(in crate::core::dns::rdata) fn a(value: &str) -> Parsed {
    let value = value.trim();
    match value.parse::<Ipv4Addr>() {
        // An address has one such text.
        Ok(_) => Ok(value.to_owned()),
        Err(_) => Err("it is no IPv4 address: write four numbers from 0 to 255 with dots and without leading zeros".to_owned()),
    }
}

/// RFC 3596 §2.2, in the text form of RFC 5952.
pub(in crate::core::dns::rdata) fn aaaa(value: &str) -> Parsed {
    match value.trim().parse::<Ipv6Addr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err("it is no IPv6 address: write it as in 2001:db8::1, without brackets, prefix length and zone".to_owned()),
    }
}

/// RFC 1035 §3.3.1, §3.3.11, §3.3.12: one name.
pub(in crate::core::dns::rdata) fn host(value: &str) -> Parsed {
    name(value.trim())
}

/// RFC 1035 §3.3.9: preference and exchange; `0 .` says that there is no mail (RFC 7505 §3).
pub(in crate::core::dns::rdata) fn mx(value: &str) -> Parsed {
    let [preference, exchange] =
        words(value, "a preference and a host, as in 10 mail.example.com")?;
    Ok(format!("{} {}", number::<u16>(preference, "preference")?, name_or_root(exchange)?))
}

/// RFC 2782: priority, weight, port and target; the target `.` says that there is no such service.
pub(in crate::core::dns::rdata) fn srv(value: &str) -> Parsed {
    let [priority, weight, port, target] =
        words(value, "a priority, a weight, a port and a host, as in 10 5 5060 sip.example.com")?;
    let priority: u16 = number(priority, "priority")?;
    let weight: u16 = number(weight, "weight")?;
    let port: u16 = number(port, "port")?;
    Ok(format!("{priority} {weight} {port} {}", name_or_root(target)?))
}

/// RFC 1035 §3.3.13: two names and five numbers.
pub(in crate::core::dns::rdata) fn soa(value: &str) -> Parsed {
    let [server, mailbox, serial, refresh, retry, expire, minimum] = words(
        value,
        "a name server, a mailbox, a serial, and refresh, retry, expire and minimum in seconds",
    )?;
    let mut canonical = format!("{} {}", name(server)?, name(mailbox)?);
    let numbers = [
        (serial, "serial"),
        (refresh, "refresh"),
        (retry, "retry"),
        (expire, "expire"),
        (minimum, "minimum"),
    ];
    for (word, what) in numbers {
        canonical.push_str(&format!(" {}", number::<u32>(word, what)?));
    }
    Ok(canonical)
}

/// RFC 4034 §5.3: key tag, algorithm, digest type and digest. Digest lengths: RFC 4509, RFC 6605.
pub(in crate::core::dns::rdata) fn ds(value: &str) -> Parsed {
    let ([key_tag, algorithm, digest_type], digest) = words_and_hex(
        value,
        "a key tag, an algorithm, a digest type and the digest in hexadecimal",
    )?;
    let key_tag: u16 = number(key_tag, "key tag")?;
    let algorithm: u8 = number(algorithm, "algorithm")?;
    let digest_type: u8 = number(digest_type, "digest type")?;
    check_octets(&digest, "digest type", digest_type, &[(1, 20), (2, 32), (4, 48)])?;
    Ok(format!("{key_tag} {algorithm} {digest_type} {digest}"))
}

/// RFC 6698 §2.2: usage, selector, matching type and certificate data.
pub(in crate::core::dns::rdata) fn tlsa(value: &str) -> Parsed {
    let ([usage, selector, matching], data) =
        words_and_hex(value, "a usage, a selector, a matching type and the data in hexadecimal")?;
    let usage: u8 = number(usage, "usage")?;
    let selector: u8 = number(selector, "selector")?;
    let matching: u8 = number(matching, "matching type")?;
    check_octets(&data, "matching type", matching, &[(1, 32), (2, 64)])?;
    Ok(format!("{usage} {selector} {matching} {data}"))
}

/// RFC 4255 §3.2: algorithm, fingerprint type and fingerprint; SHA-256 is type 2 (RFC 6594 §3.1.2).
pub(in crate::core::dns::rdata) fn sshfp(value: &str) -> Parsed {
    let ([algorithm, kind], fingerprint) = words_and_hex(
        value,
        "an algorithm, a fingerprint type and the fingerprint in hexadecimal",
    )?;
    let algorithm: u8 = number(algorithm, "algorithm")?;
    let kind: u8 = number(kind, "fingerprint type")?;
    check_octets(&fingerprint, "fingerprint type", kind, &[(1, 20), (2, 32)])?;
    Ok(format!("{algorithm} {kind} {fingerprint}"))
}

pub(in crate::core::dns::rdata) fn name(word: &str) -> Parsed {
    DnsName::parse(word).map(|name| name.as_str().to_owned()).map_err(|error| error.to_string())
}

/// A name, or `.` where the type gives the root a meaning.
pub(in crate::core::dns::rdata) fn name_or_root(word: &str) -> Parsed {
    if word == "." { Ok(word.to_owned()) } else { name(word) }
}

/// Digits only: `FromStr` alone would accept a sign.
pub(in crate::core::dns::rdata) fn number<T: FromStr + Into<u64>>(
    word: &str,
    what: &str,
) -> Parsed<T> {
    let most = u64::MAX >> (64 - 8 * size_of::<T>());
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| word.parse().ok())
        .flatten()
        .ok_or_else(|| format!("the {what} {word:?} is no whole number from 0 to {most}"))
}

fn words<'a, const N: usize>(value: &'a str, expected: &str) -> Parsed<[&'a str; N]> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    words
        .try_into()
        .map_err(|words: Vec<_>| format!("it has {} parts and needs {N}: {expected}", words.len()))
}

/// `N` words and, in the rest, octets in hexadecimal, in capitals; RFC 4034 §5.3 allows spaces between them.
fn words_and_hex<'a, const N: usize>(
    value: &'a str,
    expected: &str,
) -> Parsed<([&'a str; N], String)> {
    let mut rest = value.split_ascii_whitespace();
    let words: Vec<&str> = rest.by_ref().take(N).collect();
    let words =
        words.try_into().map_err(|_| format!("it has too few parts: it needs {expected}"))?;
    let hex = rest.collect::<String>().to_ascii_uppercase();
    if hex.is_empty() || hex.len() % 2 != 0 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("it does not end in pairs of hexadecimal digits: it needs {expected}"));
    }
    Ok((words, hex))
}

/// Types that are not in the list may have any length.
fn check_octets(hex: &str, what: &str, kind: u8, lengths: &[(u8, usize)]) -> Parsed<()> {
    match lengths.iter().find(|(known, octets)| *known == kind && hex.len() != octets * 2) {
        Some((_, octets)) => Err(format!(
            "it has {} octets and {what} {kind} has {octets}: check that it is complete",
            hex.len() / 2
        )),
        None => Ok(()),
    }
}
