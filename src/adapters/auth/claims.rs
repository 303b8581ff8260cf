//! The claims of a token (RFC 7519 §4.1), and whether they are as expected.

use serde::Deserialize;

use crate::core::time::Timestamp;
use crate::ports::{Refused, RefusedFor};

/// Clocks of the issuer and of the broker may differ by this much.
pub(super) const CLOCK_SKEW_MS: i64 = 60_000;

/// The claims that are looked at.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Claims {
    #[serde(rename = "iss")]
    pub issuer: String,
    #[serde(rename = "sub")]
    pub subject: String,
    #[serde(rename = "aud")]
    pub audience: Audience,
    /// Seconds since the epoch; may have a fraction. Every token has to have it.
    #[serde(rename = "exp")]
    pub expires_secs: f64,
    #[serde(rename = "nbf", default)]
    pub begins_secs: Option<f64>,
}

impl Claims {
    /// When the token expires.
    pub(super) fn expires_at(&self) -> Timestamp {
        Timestamp(ms(self.expires_secs))
    }
}

/// A float of any size becomes the nearest integer, so nothing overflows.
pub(super) fn ms(secs: f64) -> i64 {
    (secs * 1_000.0) as i64
}

/// One or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Several(several) => several.len(),
        }
    }

    pub(super) fn contains(&self, wanted: &str) -> bool {
        match self {
            Self::One(one) => one == wanted,
            Self::Several(several) => several.iter().any(|one| one == wanted),
        }
    }
}

/// The claims that a token has to make.
pub(super) struct Expected {
    pub audience: String,
    pub subject: String,
}

impl Expected {
    /// Checks a token whose signature is good.
    pub(super) fn check(&self, claims: &Claims, now: Timestamp) -> Result<(), Refused> {
        if claims.subject != self.subject {
            let given: String = claims.subject.chars().take(200).collect();
            return Err(Refused::new(
                RefusedFor::WrongServiceAccount,
                format!(
                    "the token is that of {given:?} and not of {:?}: run the agent under the service account that the broker's configuration names",
                    self.subject
                ),
            ));
        }
        if !claims.audience.contains(&self.audience) {
            return Err(Refused::new(
                RefusedFor::WrongAudience,
                format!(
                    "the token is meant for another audience: project one with the audience {:?}",
                    self.audience
                ),
            ));
        }
        let expired_ms = now.0.saturating_sub(ms(claims.expires_secs));
        if expired_ms > CLOCK_SKEW_MS {
            return Err(Refused::new(
                RefusedFor::Expired,
                format!(
                    "the token expired {} s ago: the agent reads its file anew at each session, so see why the file is old",
                    expired_ms / 1_000
                ),
            ));
        }
        let early_ms = claims.begins_secs.map_or(0, |begins| ms(begins).saturating_sub(now.0));
        if early_ms > CLOCK_SKEW_MS {
            return Err(Refused::new(
                RefusedFor::NotYetValid,
                format!(
                    "the token begins in {} s: compare the clocks of the issuer and of the broker",
                    early_ms / 1_000
                ),
            ));
        }
        Ok(())
    }
}
