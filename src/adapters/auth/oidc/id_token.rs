//! Whether an id token is to be believed (OpenID Connect Core 1.0 §3.1.3.7).

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::adapters::auth::claims::{CLOCK_SKEW_MS, ms};
use crate::adapters::auth::jws::Jws;
use crate::adapters::auth::keyset::{KeySet, Looked};
use crate::core::time::Timestamp;
use crate::ports::{RefusedFor, SignInError};

/// The token comes straight from the provider; one that it made long ago was made for somebody else.
const MADE_WITHIN_MS: i64 = 10 * 60_000;

/// As long as the keys' pace lasts between two attempts.
const KEYS_AGAIN_AFTER: Duration = Duration::from_millis(1_100);

/// What an id token has to say.
pub(super) struct IdTokenExpected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
    pub now: Timestamp,
}

/// What only id tokens say.
#[derive(Deserialize)]
struct IdTokenClaims {
    #[serde(rename = "iat")]
    made_secs: f64,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(rename = "azp", default)]
    authorized_party: Option<String>,
}

fn refused(why: &str) -> SignInError {
    SignInError::Refused(format!(
        "the identity provider's id token is not accepted: {why}; sign in again, and if that stays so, an admin looks into the broker's log"
    ))
}

impl IdTokenExpected<'_> {
    /// Checks a token, and answers all its claims.
    pub(super) async fn verify(&self, keys: &KeySet, token: &str) -> Result<Value, SignInError> {
        self.checked(keys, token).await.inspect_err(|error| {
            tracing::warn!(issuer = self.issuer, %error, "an id token was refused");
        })
    }

    async fn checked(&self, keys: &KeySet, token: &str) -> Result<Value, SignInError> {
        let jws = Jws::parse(token).map_err(|error| refused(&error.message))?;
        // Before the keys are asked for: another issuer's token says nothing of this one's keys.
        if jws.claims.issuer != self.issuer {
            return Err(refused("it is another issuer's"));
        }
        let mut verified = keys.verify(&jws, Looked::Kept).await;
        for wait in [None, Some(KEYS_AGAIN_AFTER)] {
            if !matches!(&verified, Err(error) if error.why == RefusedFor::UnknownKey) {
                break;
            }
            // The provider may have made the key just now, and its keys were read a moment before.
            if let Some(wait) = wait {
                tokio::time::sleep(wait).await;
            }
            verified = keys.verify(&jws, Looked::Anew).await;
        }
        match verified {
            Ok(()) => {}
            Err(error) if error.why == RefusedFor::KeysUnavailable => {
                return Err(SignInError::Away);
            }
            Err(error) => return Err(refused(&error.message)),
        }
        self.check(&jws)?;
        serde_json::from_slice(&jws.payload).map_err(|_| refused("its claims cannot be read"))
    }

    fn check(&self, jws: &Jws<'_>) -> Result<(), SignInError> {
        let claims: IdTokenClaims = serde_json::from_slice(&jws.payload)
            .map_err(|_| refused("it does not say when it was made (iat)"))?;
        if !jws.claims.audience.contains(self.client_id) {
            return Err(refused("it is meant for another client (aud)"));
        }
        let party = claims.authorized_party.as_deref();
        let is_for_us = match jws.claims.audience.len() {
            1 => party.is_none_or(|party| party == self.client_id),
            _ => party == Some(self.client_id),
        };
        if !is_for_us {
            return Err(refused("it was issued to another client (azp)"));
        }
        if claims.nonce.as_deref() != Some(self.nonce) {
            return Err(refused("it belongs to another sign-in (nonce)"));
        }
        let subject = &jws.claims.subject;
        if subject.is_empty() || subject.len() > 255 {
            return Err(refused("it names nobody (sub)"));
        }
        if self.now.0.saturating_sub(jws.claims.expires_at().0) > CLOCK_SKEW_MS {
            return Err(refused("it has expired (exp)"));
        }
        let begins_at = jws.claims.begins_secs.map_or(i64::MIN, ms);
        if begins_at.saturating_sub(self.now.0) > CLOCK_SKEW_MS {
            return Err(refused("its time has not begun (nbf): compare the clocks"));
        }
        let age_ms = self.now.0.saturating_sub(ms(claims.made_secs));
        if !(-CLOCK_SKEW_MS..=MADE_WITHIN_MS).contains(&age_ms) {
            return Err(refused("it was not made just now (iat): compare the clocks"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "id_token_tests.rs"]
mod tests;
