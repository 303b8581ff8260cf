//! The keys of one issuer: read when they are needed, kept, read again when they are old or when a token names one that is not there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::KeySource;
use super::jwk::{self, Key};
use super::jws::Jws;
use super::web::{Discovered, FileOf, Source, Web};
use crate::ports::{Refused, RefusedFor};

/// How often a source is asked.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// Keys that are older are read again, so that one that the issuer withdrew does not stay.
    pub fresh_for: Duration,
    /// Between two attempts lies so much, whatever tokens come.
    pub between: Duration,
    /// Keys that could not be read again for so long are not used any more.
    pub usable_for: Duration,
}

/// A network, and an issuer that rate-limits.
const FROM_THE_WEB: Pace =
    Pace { fresh_for: Duration::from_secs(600), between: Duration::from_secs(10), usable_for: Duration::from_secs(24 * 60 * 60) };
/// A file of this machine.
const FROM_A_FILE: Pace =
    Pace { fresh_for: Duration::from_secs(10), between: Duration::from_secs(1), usable_for: Duration::from_secs(24 * 60 * 60) };

/// Whether kept keys will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// They will, unless they are old.
    Kept,
    /// They did not: read anew as soon as the pace allows.
    Anew,
}

/// See the module's page.
pub(super) struct KeySet {
    issuer: String,
    source: Box<dyn Source>,
    pace: Pace,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: Arc<Vec<Key>>,
    read_at: Option<Instant>,
    tried_at: Option<Instant>,
    /// Why the last attempt failed; none when it did not.
    failure: Option<String>,
}

impl KeySet {
    pub(super) fn new(issuer: &str, source: &KeySource) -> Self {
        match source {
            KeySource::File(path) => Self::of(issuer, Box::new(FileOf(path.clone())), FROM_A_FILE),
            KeySource::Url { url, ca_file } => Self::of(issuer, Box::new(Web::new(url, ca_file.as_deref())), FROM_THE_WEB),
            KeySource::Discovery { ca_file } => {
                Self::of(issuer, Box::new(Discovered::new(issuer, ca_file.as_deref())), FROM_THE_WEB)
            }
        }
    }

    pub(super) fn of(issuer: &str, source: Box<dyn Source>, pace: Pace) -> Self {
        Self { issuer: issuer.to_owned(), source, pace, state: Mutex::default() }
    }

    /// Whether a key of the set signed the token.
    pub(super) async fn verify(&self, jws: &Jws<'_>, looked: Looked) -> Result<(), Refused> {
        let keys = self.keys(looked).await?;
        let named: Vec<&Key> = keys.iter().filter(|key| jws.key_id.is_none() || key.id == jws.key_id).collect();
        if named.is_empty() {
            let name: String = jws.key_id.iter().flat_map(|id| id.chars()).take(100).collect();
            return Err(Refused::new(
                RefusedFor::UnknownKey,
                format!(
                    "the issuer {} has no key {name:?}: a new one is known within seconds, and one from elsewhere never",
                    self.issuer
                ),
            ));
        }
        if !named.iter().any(|key| key.makes(jws.algorithm)) {
            return Err(Refused::new(
                RefusedFor::Algorithm,
                format!("the token says that it is signed by {:?}, and the issuer's key makes no such signatures", jws.algorithm),
            ));
        }
        if named.iter().any(|key| key.signed(jws)) {
            return Ok(());
        }
        Err(Refused::new(
            RefusedFor::BadSignature,
            format!("the token's signature is not by a key of the issuer {}", self.issuer),
        ))
    }

    /// The keys; whoever waits for them waits for one attempt.
    async fn keys(&self, looked: Looked) -> Result<Arc<Vec<Key>>, Refused> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        let age = state.read_at.map(|at| now - at);
        let is_due = looked == Looked::Anew || age.is_none_or(|age| age >= self.pace.fresh_for);
        let may_try = state.tried_at.is_none_or(|at| now - at >= self.pace.between);
        if is_due && may_try {
            state.tried_at = Some(now);
            let read = self.source.read().await.and_then(|text| jwk::read_set(&text));
            self.take(&mut state, read);
        }
        let age = state.read_at.map(|at| at.elapsed());
        if age.is_some_and(|age| age < self.pace.usable_for) {
            return Ok(Arc::clone(&state.keys));
        }
        let why = state.failure.as_deref().unwrap_or("they were not read yet");
        Err(Refused::new(RefusedFor::KeysUnavailable, format!("the keys of the issuer {} cannot be read: {why}", self.issuer)))
    }

    fn take(&self, state: &mut State, read: Result<Vec<Key>, String>) {
        match read {
            Ok(keys) => {
                if state.failure.take().is_some() {
                    tracing::info!(issuer = %self.issuer, "the issuer's keys can be read again");
                }
                state.keys = Arc::new(keys);
                state.read_at = Some(Instant::now());
            }
            Err(error) => {
                // Said once for as long as it is the same.
                if state.failure.as_deref() != Some(error.as_str()) {
                    let kept = state.keys.len();
                    tracing::error!(issuer = %self.issuer, %error, kept, "the issuer's keys cannot be read; those that are known are used on");
                }
                state.failure = Some(error);
            }
        }
    }
}

#[cfg(test)]
#[path = "keyset_tests.rs"]
mod tests;
