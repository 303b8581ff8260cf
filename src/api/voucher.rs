//! How a replica that asks another vouches for who asked it.
//!
//! The replica that a caller came to judges the caller's token; what goes on to another replica is its finding, signed with a key that
//! the replicas have from their store, and never the token. A voucher is good for one method and path of one replica, for a
//! minute: who overhears it can repeat a question whose answer passed by as well.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ring::hmac;

use super::role::{Granted, Role};
use crate::core::governance::actor::ProvedBy;
use crate::core::time::{Millis, Timestamp};
use crate::ports::{Clock, ReplicaId};

/// Carries a voucher.
pub(super) const VOUCHER: HeaderName = HeaderName::from_static("x-zonefold-voucher");
/// Clocks of replicas may differ by ten seconds, and an answer takes three at most.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// The first part of a voucher with a role and a name: holders of tokens of the configuration.
const FIRST: &str = "1";
/// The first part of one with all that is known of a caller.
const SECOND: &str = "2";

/// Signs and checks vouchers.
#[derive(Clone)]
pub struct Vouching {
    key: hmac::Key,
    me: ReplicaId,
    clock: Arc<dyn Clock>,
}

impl Vouching {
    /// With the key that the replicas share; `clock` is the time of day.
    pub fn new(key: &[u8; 32], me: ReplicaId, clock: Arc<dyn Clock>) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), me, clock }
    }

    /// Vouches to another replica that a caller may ask this.
    pub(super) fn sign(
        &self,
        to: ReplicaId,
        method: &Method,
        path: &str,
        granted: &Granted,
    ) -> Option<HeaderValue> {
        let at_ms = self.clock.now().0;
        let head = match in_first_form(granted) {
            true => format!("{FIRST}.{at_ms}.{}.{}", granted.role, to_hex(granted.name.as_bytes())),
            false => format!("{SECOND}.{at_ms}.{}", to_hex(&serde_json::to_vec(granted).ok()?)),
        };
        let tag = hmac::sign(&self.key, signed(to, &head, method, path).as_bytes());
        let mut value: HeaderValue = format!("{head}.{}", to_hex(tag.as_ref())).parse().ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// For whom another replica vouches; `None` if it is none of ours, or not for this request of this moment.
    pub(super) fn check(
        &self,
        method: &Method,
        path: &str,
        voucher: &HeaderValue,
    ) -> Option<Granted> {
        let (head, tag) = voucher.to_str().ok()?.rsplit_once('.')?;
        let text = signed(self.me, head, method, path);
        hmac::verify(&self.key, text.as_bytes(), &from_hex(tag)?).ok()?;
        let parts: Vec<&str> = head.split('.').collect();
        let (at_ms, granted) = match parts[..] {
            [FIRST, at_ms, role, name] => {
                let role = Role::ALL.into_iter().find(|known| known.as_str() == role)?;
                let name = String::from_utf8(from_hex(name)?).ok()?;
                let granted = match name.as_str() {
                    "" => Granted::anonymous(role, None),
                    name => Granted::configured(name, role, None),
                };
                (at_ms, granted)
            }
            [SECOND, at_ms, granted] => (at_ms, serde_json::from_slice(&from_hex(granted)?).ok()?),
            _ => return None,
        };
        let age: Millis = self.clock.now() - Timestamp(at_ms.parse().ok()?);
        (u128::from(age.0.unsigned_abs()) <= GOOD_FOR.as_millis()).then_some(granted)
    }
}

/// Whether a caller can be told in the form that older releases read: by name and role alone.
fn in_first_form(granted: &Granted) -> bool {
    let is_plain = matches!(granted.acted.proved_by, ProvedBy::Nothing | ProvedBy::Configuration);
    is_plain && granted.environments.is_none() && granted.scope.is_none()
}

/// The text that is signed. No part of it holds a line feed.
fn signed(to: ReplicaId, head: &str, method: &Method, path: &str) -> String {
    format!("zonefold voucher\n{to}\n{method}\n{path}\n{head}")
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |octet: u8| char::from(octet).to_digit(16);
    let octet = |&[high, low]: &[u8; 2]| u8::try_from(digit(high)? * 16 + digit(low)?).ok();
    pairs.iter().map(octet).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use uuid::Uuid;

    use super::*;
    use crate::core::governance::actor::Actor;
    use crate::core::ids::EnvironmentId;
    use crate::core::people::credential::TokenScope;

    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    const PATH: &str = "/api/v1/clusters?limit=5";

    fn replica(number: u128) -> ReplicaId {
        ReplicaId(Uuid::from_u128(number))
    }

    #[test]
    fn a_voucher_is_good_for_one_question_to_one_replica_for_a_minute() {
        let clock = Arc::new(Hand(AtomicI64::new(1_000_000)));
        let of = |key: &[u8; 32], me| {
            Vouching::new(key, replica(me), Arc::clone(&clock) as Arc<dyn Clock>)
        };
        let (first, second) = (of(&[7; 32], 1), of(&[7; 32], 2));
        let granted = Granted::configured("on call, ä", Role::Operator, None);
        let voucher = first.sign(replica(2), &Method::GET, PATH, &granted).unwrap();
        let check = |by: &Vouching, method, path| by.check(&method, path, &voucher);
        assert_eq!(check(&second, Method::GET, PATH), Some(granted.clone()));

        assert_eq!(check(&second, Method::POST, PATH), None, "another method");
        assert_eq!(check(&second, Method::GET, "/api/v1/clusters?limit=6"), None, "another path");
        assert_eq!(check(&first, Method::GET, PATH), None, "another replica");
        assert_eq!(check(&of(&[8; 32], 2), Method::GET, PATH), None, "another key");
        let text = voucher.to_str().unwrap();
        for forged in [
            text.replace("operator", "admin"),
            text.replace("1000000", "1000001"),
            text.to_uppercase(),
            text[..text.len() - 2].to_owned(),
            format!("{text}00"),
            text.rsplit_once('.').unwrap().0.to_owned(),
            String::new(),
            ".".repeat(40),
        ] {
            let forged = forged.parse().unwrap();
            assert_eq!(second.check(&Method::GET, PATH, &forged), None, "{forged:?}");
        }
        for (now_ms, expected) in
            [(1_060_000, true), (1_060_001, false), (940_000, true), (939_999, false)]
        {
            clock.0.store(now_ms, Ordering::Relaxed);
            assert_eq!(check(&second, Method::GET, PATH).is_some(), expected, "{now_ms}");
        }
    }

    #[test]
    fn whatever_is_known_of_a_person_goes_along() {
        let clock = Arc::new(Hand(AtomicI64::new(1_000_000)));
        let of = |me| Vouching::new(&[7; 32], replica(me), Arc::clone(&clock) as Arc<dyn Clock>);
        let mut granted = Granted::configured("ann@example.com", Role::Viewer, None);
        granted.acted.actor = Actor::User("ann@example.com".to_owned());
        granted.acted.proved_by = ProvedBy::Session(Uuid::from_u128(5));
        granted.acted.from = Some([192, 0, 2, 1].into());
        granted.groups = ["pay".to_owned()].into();
        granted.environments = Some([EnvironmentId::parse("dev").unwrap()].into());
        granted.scope = Some(TokenScope::default());
        let voucher = of(1).sign(replica(2), &Method::GET, PATH, &granted).unwrap();
        assert_eq!(of(2).check(&Method::GET, PATH, &voucher), Some(granted));
        let nobody = Granted::anonymous(Role::Viewer, None);
        let voucher = of(1).sign(replica(2), &Method::GET, PATH, &nobody).unwrap();
        assert_eq!(of(2).check(&Method::GET, PATH, &voucher), Some(nobody));
    }
}
