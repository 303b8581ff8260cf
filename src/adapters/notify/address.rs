//! Which addresses a sink may have.
//!
//! Who may write a subscription has the broker call an address. What is of private networks or of this machine is refused unless the
//! configuration allows it, since the broker reaches there what its caller does not. Link-local addresses (where clouds serve the
//! credentials of machines), multicast and the like are no place for a sink and are refused always. A name is judged by each address that
//! it leads to when it is connected to, so that one that leads elsewhere a moment later gains nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};
use std::vec;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

/// Which addresses are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    /// Also those of private networks and of this machine.
    pub(super) allows_private: bool,
}

/// Who is reached by an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddressReach {
    Everybody,
    Private,
    Never,
}

fn reach_v4(ip: Ipv4Addr) -> AddressReach {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        // RFC 6890: this network, link-local, protocol assignments, benchmarks, multicast, reserved.
        (0, ..) | (169, 254, _) | (192, 0, 0) | (198, 18..=19, _) | (224..=255, ..) => {
            AddressReach::Never
        }
        // RFC 1918, RFC 6598, and this machine.
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) | (127, ..) => {
            AddressReach::Private
        }
        _ => AddressReach::Everybody,
    }
}

fn reach_v6(ip: Ipv6Addr) -> AddressReach {
    // Addresses of IPv4 in another form (RFC 4291 §2.5.5, RFC 6052, RFC 3056).
    let [a, b, c, ..] = ip.segments();
    let octets = ip.octets();
    let tail = Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]);
    let is_mapped = ip.to_ipv4_mapped().is_some();
    if ip.is_loopback() {
        return AddressReach::Private;
    }
    match (a, b) {
        _ if is_mapped => reach_v4(tail),
        (0x64, 0xff9b) => reach_v4(tail),
        (0x2002, _) => reach_v4(Ipv4Addr::new(
            (b >> 8) as u8,
            (b & 0xff) as u8,
            (c >> 8) as u8,
            (c & 0xff) as u8,
        )),
        (0, _) => AddressReach::Never,
        // Link-local, site-local, multicast, discard.
        (0xfe80..=0xfeff | 0xff00..=0xffff | 0x0100, _) => AddressReach::Never,
        // Unique local (RFC 4193).
        (0xfc00..=0xfdff, _) => AddressReach::Private,
        _ => AddressReach::Everybody,
    }
}

impl Addresses {
    /// Whether a sink may be there.
    ///
    /// # Errors
    /// It may not, and why. The address itself is told: who wrote the subscription knows it, or has it from public DNS.
    pub(super) fn check(self, ip: IpAddr) -> Result<(), String> {
        let reach = match ip {
            IpAddr::V4(ip) => reach_v4(ip),
            IpAddr::V6(ip) => reach_v6(ip),
        };
        match reach {
            AddressReach::Everybody => Ok(()),
            AddressReach::Private if self.allows_private => Ok(()),
            AddressReach::Private => Err(
                "it has an address of a private network or of this machine: notifications.private_addresses of the configuration allows these"
                    .to_owned(),
            ),
            AddressReach::Never => Err("it has an address at which no sink can be".to_owned()),
        }
    }
}

/// Looks names up and passes on the addresses that are allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct GuardedResolver(pub(super) Addresses);

impl Service<Name> for GuardedResolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self(addresses) = *self;
        async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let mut refused = None;
            let mut allowed = vec![];
            for address in found {
                match addresses.check(address.ip()) {
                    Ok(()) => allowed.push(address),
                    Err(why) => refused = Some(why),
                }
            }
            match refused.filter(|_| allowed.is_empty()) {
                Some(why) => Err(io::Error::new(io::ErrorKind::PermissionDenied, why)),
                None => Ok(allowed.into_iter()),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_for_everybody_is_allowed_by_default() {
        let (strict, lenient) =
            (Addresses { allows_private: false }, Addresses { allows_private: true });
        for public in ["192.0.2.1", "8.8.8.8", "2001:db8::1", "2606:4700::1111", "64:ff9b::808:808"]
        {
            let ip = public.parse().unwrap();
            assert!(strict.check(ip).is_ok() && lenient.check(ip).is_ok(), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.9.9",
            "192.168.1.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "2002:0a00:0001::1",
        ] {
            let ip = private.parse().unwrap();
            assert!(strict.check(ip).is_err() && lenient.check(ip).is_ok(), "{private}");
        }
        for never in [
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "::7f00:1",
        ] {
            let ip = never.parse().unwrap();
            assert!(strict.check(ip).is_err() && lenient.check(ip).is_err(), "{never}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused_when_it_is_looked_up() {
        let name = || "localhost".parse::<Name>().unwrap();
        let strict = GuardedResolver(Addresses { allows_private: false }).call(name()).await;
        assert_eq!(strict.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let mut lenient =
            GuardedResolver(Addresses { allows_private: true }).call(name()).await.unwrap();
        assert!(lenient.next().is_some());
    }
}
