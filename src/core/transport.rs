//! What every caller of somebody else has to know: where plain text may go, and what an error of the connection says.

use std::error::Error;
use std::net::IpAddr;

/// Whether the host of a URL is this machine: what goes there in plain text crosses no network.
pub fn is_loopback_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// What happened. Errors wrap each other: the outer ones say where, and the last one what the system said.
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
    fn the_last_of_the_causes_is_told() {
        #[derive(Debug, thiserror::Error)]
        #[error("the call failed")]
        struct Outer(#[source] std::fmt::Error);

        assert_eq!(innermost(&Outer(std::fmt::Error)), std::fmt::Error.to_string());
        assert_eq!(innermost(&std::fmt::Error), std::fmt::Error.to_string());
    }
}
