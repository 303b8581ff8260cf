//! Targets as they are written: the record type that one asks for.

use std::net::IpAddr;

use arcstr::ArcStr;

/// The record type that a target asks for: A or AAAA for an address, CNAME for anything else. A broken address stays of the type
/// of an address: it is rejected under the record key that its correct form was published under, which therefore stays.
pub(super) fn record_type_of(target: &str) -> &'static str {
    match target.parse() {
        Ok(IpAddr::V4(_)) => "A",
        Ok(IpAddr::V6(_)) => "AAAA",
        Err(_) => type_of_broken_address(target).unwrap_or("CNAME"),
    }
}

/// Whether a target is an address that can be published.
pub(super) fn is_address(target: &str) -> bool {
    target.parse::<IpAddr>().is_ok()
}

/// An address with a port, a prefix length, a zone or brackets, or with numbers that no address has. No host name looks like one:
/// its last label is not all digits (RFC 1123 §2.1), and it has no colon.
fn type_of_broken_address(target: &str) -> Option<&'static str> {
    let body = target.split(['/', '%']).next()?;
    let body =
        body.strip_prefix('[').map_or(body, |inner| inner.split(']').next().unwrap_or(inner));
    let is_of_ipv6 = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
    if body.matches(':').count() > 1 && body.chars().all(is_of_ipv6) {
        return Some("AAAA");
    }
    let host = body.split(':').next()?;
    let is_of_ipv4 = |c: char| c.is_ascii_digit() || c == '.';
    (!host.is_empty() && host.chars().all(is_of_ipv4)).then_some("A")
}

/// An address of F5 without its route domain (`192.0.2.1%5`), which means nothing outside of the device. A zone of IPv6 that is a
/// word (`%eth0`) is not one.
pub(super) fn without_route_domain(address: &str) -> &str {
    match address.split_once('%') {
        Some((address, domain))
            if !domain.is_empty() && domain.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            address
        }
        _ => address,
    }
}

/// A name without its final dot. Two dots at the end stay: they are no name, and are to be judged as they are written.
pub(super) fn without_final_dot(text: &str) -> &str {
    match text.strip_suffix('.') {
        Some(name) if !name.ends_with('.') => name,
        _ => text,
    }
}

/// RFC 1035 §3.5 and RFC 3596 §2.5.
pub(super) fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = address
                .octets()
                .into_iter()
                .rev()
                .map(|octet| format!("{:x}.{:x}.", octet & 15, octet >> 4));
            nibbles.collect::<String>() + "ip6.arpa"
        }
    }
}

/// Two spellings of one host name compare equal in this form.
pub(super) fn comparable_name(target: &str) -> ArcStr {
    ArcStr::from(without_final_dot(target).to_ascii_lowercase())
}
