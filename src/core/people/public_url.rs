//! Where people reach the broker.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::core::transport::is_loopback_host;

/// The address by which browsers reach the broker: an origin (RFC 6454 §4), `https://HOST` or `https://HOST:PORT`. Plain http is for
/// this machine alone: a session would go over the network for all to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

/// Why a text is no such address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicUrlError {
    /// It is no origin.
    #[error("that is no address of the form https://HOST or https://HOST:PORT, without a path")]
    NoOrigin,
    /// It is plain text over a network.
    #[error("plain http is for localhost alone: give an address with https")]
    PlainText,
}

impl PublicUrl {
    /// Reads an address. Its host is compared without case, and a port that the scheme implies is left out, as browsers do.
    ///
    /// # Errors
    /// It is no origin, or plain text over a network.
    pub fn parse(text: &str) -> Result<Self, PublicUrlError> {
        let lower = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
        let (scheme, authority) = lower.split_once("://").ok_or(PublicUrlError::NoOrigin)?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let is_host = |host: &str| match host.strip_prefix('[') {
            Some(ip) => {
                ip.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok())
            }
            None => {
                let is_part = |octet: u8| octet.is_ascii_alphanumeric() || b"-._".contains(&octet);
                !host.is_empty() && host.bytes().all(is_part)
            }
        };
        let port: Option<u16> = match port {
            Some(port) => Some(port.parse().map_err(|_| PublicUrlError::NoOrigin)?),
            None => None,
        };
        if !is_host(host) || port == Some(0) {
            return Err(PublicUrlError::NoOrigin);
        }
        let usual = match scheme {
            "https" => 443,
            "http" if is_loopback_host(host) => 80,
            "http" => return Err(PublicUrlError::PlainText),
            _ => return Err(PublicUrlError::NoOrigin),
        };
        Ok(Self(match port.filter(|port| *port != usual) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }))
    }

    /// The origin, as browsers write it.
    pub fn origin(&self) -> &str {
        &self.0
    }

    /// Whether it has TLS.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// A path of the broker there.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        Self::parse(text)
    }
}

impl Serialize for PublicUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether a text is a path of the broker itself, to which a browser may be sent after a sign-in: none that browsers take for
/// another host's (WHATWG URL, "special authority ignore slashes state").
pub fn is_own_path(path: &str) -> bool {
    path.len() <= 2_000
        && path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_origin_with_tls_or_of_this_machine() {
        for (text, origin) in [
            ("https://Zonefold.Example.com/", "https://zonefold.example.com"),
            ("https://zonefold.example.com:443", "https://zonefold.example.com"),
            ("https://zonefold.example.com:8443", "https://zonefold.example.com:8443"),
            ("http://localhost:7080", "http://localhost:7080"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("http://[::1]:7080", "http://[::1]:7080"),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().origin(), origin);
        }
        for text in [
            "",
            "zonefold.example.com",
            "https://",
            "https://zonefold.example.com/app",
            "https://user@zonefold.example.com",
            "https://zonefold.example.com?x",
            "https://zonefold.example.com:0",
            "https://zonefold.example.com:x",
            "https://[::1",
            "ftp://zonefold.example.com",
        ] {
            assert_eq!(PublicUrl::parse(text), Err(PublicUrlError::NoOrigin), "{text}");
        }
        let plain = PublicUrl::parse("http://zonefold.example.com");
        assert_eq!(plain, Err(PublicUrlError::PlainText));
    }

    #[test]
    fn a_browser_is_sent_to_paths_of_the_broker_alone() {
        for path in ["/", "/zones/Z1?sort=name#top", "/a//b", "/auth"] {
            assert!(is_own_path(path), "{path}");
        }
        for path in [
            "",
            "zones",
            "//evil.test",
            "/\\evil.test",
            "https://evil.test",
            "/a b",
            "/a\nb",
            "/\u{e4}",
            "/\t/evil.test",
        ] {
            assert!(!is_own_path(path), "{path:?}");
        }
    }
}
