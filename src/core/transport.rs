//! Shared by all clients: where plain text may go, and the message of a connection error.

use std::error::Error;
use std::net::IpAddr;

/// Whether the host of a URL is this machine: plain text to it crosses no network.
pub fn is_loopback_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether a request with this `host` (RFC 9110 §7.2) is for this machine by name, and comes from no page of another `origin` (RFC 6454
/// §7). A foreign name that its owner points to this machine does not count.
pub fn is_asked_as_loopback(host: Option<&str>, origin: Option<&str>) -> bool {
    let Some(host) = host else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
        _ => host,
    };
    let is_of_the_same = |origin: &str| {
        origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host))
    };
    is_loopback_host(name) && origin.is_none_or(is_of_the_same)
}

/// The token of an `authorization` header: `Bearer TOKEN`. The scheme has no case (RFC 9110 §11.1, RFC 6750 §2.1).
pub fn bearer_token(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The innermost message. Errors wrap each other: the outer ones say where, and the last one what the system said.
pub fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_from_others() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "[::1]", "::1"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in
            ["", "localhost.example.com", "10.0.0.1", "0.0.0.0", "[::]", "127.0.0.1.example.com"]
        {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn a_request_for_this_machine_names_it() {
        for host in
            ["127.0.0.1", "127.0.0.1:7081", "localhost:7081", "LOCALHOST", "[::1]:7081", "[::1]"]
        {
            assert!(is_asked_as_loopback(Some(host), None), "{host}");
            assert!(is_asked_as_loopback(Some(host), Some(&format!("http://{host}"))), "{host}");
        }
        for host in [
            "",
            "rebound.test",
            "rebound.test:7081",
            "127.0.0.1.rebound.test",
            "10.0.0.1:7081",
            "localhost:x",
        ] {
            assert!(!is_asked_as_loopback(Some(host), None), "{host}");
        }
        assert!(!is_asked_as_loopback(None, None));
        for origin in ["https://elsewhere.test", "null", "", "http://localhost:3000"] {
            assert!(!is_asked_as_loopback(Some("localhost:7081"), Some(origin)), "{origin}");
        }
    }

    #[test]
    fn rfc9110_11_1_the_scheme_of_a_token_has_no_case() {
        for header in ["Bearer t", "bearer t", "BEARER  t ", "bEaReR t"] {
            assert_eq!(bearer_token(header), Some("t"), "{header}");
        }
        for header in ["t", "Bearer", "Bearert", "Basic t", " Bearer t", ""] {
            assert_eq!(bearer_token(header), None, "{header}");
        }
    }

    #[test]
    fn the_last_of_the_causes_is_told() {
        #[derive(Debug, thiserror::Error)]
        #[error("the call failed")]
        struct Outer(#[source] std::fmt::Error);

        assert_eq!(innermost(&Outer(std::fmt::Error)), std::fmt::Error.to_string());
        assert_eq!(innermost(&std::fmt::Error), std::fmt::Error.to_string());
    }
}
