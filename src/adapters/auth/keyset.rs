//! The keys of one issuer: read when they are needed, kept, read again when they are old or when a token names one that is not there.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
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
    /// Older keys are read again, so that one that the issuer withdrew does not stay.
    pub fresh_for: Duration,
    /// The least time between two attempts, whatever tokens come.
    pub between: Duration,
    /// Keys that could not be read again for this long are not used any more.
    pub usable_for: Duration,
}

/// A network, and an issuer that rate-limits.
const FROM_THE_WEB: Pace = Pace {
    fresh_for: Duration::from_secs(600),
    between: Duration::from_secs(10),
    usable_for: Duration::from_secs(24 * 60 * 60),
};
/// A file of this machine.
const FROM_A_FILE: Pace = Pace {
    fresh_for: Duration::from_secs(10),
    between: Duration::from_secs(1),
    usable_for: Duration::from_secs(24 * 60 * 60),
};

/// How far the search for a key goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// Among fresh keys only: without a request and without waiting.
    Fresh,
    /// Keys that are old are read again first.
    Kept,
    /// That did not do: all are read again, as soon as the pace allows.
    Anew,
}

/// See the module's page.
pub(super) struct KeySet {
    issuer: String,
    source: Box<dyn Source>,
    pace: Pace,
    /// `None` before the first reading.
    kept: ArcSwapOption<Kept>,
    /// Held while the source is read, so that one attempt is made at a time.
    attempts: Mutex<Attempts>,
}

struct Kept {
    keys: Vec<Key>,
    read_at: Instant,
}

#[derive(Default)]
struct Attempts {
    last_at: Option<Instant>,
    /// Why the last one failed; `None` if it did not.
    failure: Option<String>,
}

impl KeySet {
    pub(super) fn new(issuer: &str, source: &KeySource) -> Self {
        match source {
            KeySource::File(path) => Self::of(issuer, Box::new(FileOf(path.clone())), FROM_A_FILE),
            KeySource::Url { url, ca_file } => {
                Self::of(issuer, Box::new(Web::new(url, ca_file.as_deref())), FROM_THE_WEB)
            }
            KeySource::Discovery { ca_file, hosts } => Self::of(
                issuer,
                Box::new(Discovered::new(issuer, ca_file.as_deref(), hosts)),
                FROM_THE_WEB,
            ),
        }
    }

    pub(super) fn of(issuer: &str, source: Box<dyn Source>, pace: Pace) -> Self {
        Self {
            issuer: issuer.to_owned(),
            source,
            pace,
            kept: ArcSwapOption::empty(),
            attempts: Mutex::default(),
        }
    }

    /// Whether a key of the set signed the token.
    pub(super) async fn verify(&self, jws: &Jws<'_>, looked: Looked) -> Result<(), Refused> {
        let kept = self.keys(looked).await?;
        let named: Vec<&Key> =
            kept.keys.iter().filter(|key| jws.key_id.is_none() || key.id == jws.key_id).collect();
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
                format!(
                    "the token says that it is signed by {:?}, and the issuer's key makes no such signatures",
                    jws.algorithm
                ),
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

    /// The keys. Callers that have to wait share one attempt; a caller that finds fresh keys does not wait.
    async fn keys(&self, looked: Looked) -> Result<Arc<Kept>, Refused> {
        if looked != Looked::Anew
            && let Some(kept) = self.kept_for(self.pace.fresh_for)
        {
            return Ok(kept);
        }
        if looked == Looked::Fresh {
            return Err(Refused::new(
                RefusedFor::UnknownKey,
                format!("no keys of the issuer {} are fresh", self.issuer),
            ));
        }
        let mut attempts = self.attempts.lock().await;
        // Another caller may have read them while this one waited; for a key that is not there, the pace says when to look again.
        let is_due = looked == Looked::Anew || self.kept_for(self.pace.fresh_for).is_none();
        if is_due && attempts.last_at.is_none_or(|at| at.elapsed() >= self.pace.between) {
            attempts.last_at = Some(Instant::now());
            let read = self.source.read().await.and_then(|text| jwk::read_set(&text));
            self.take(&mut attempts, read);
        }
        // The reason names hosts and files, and the caller has proved nothing: it goes to the log only.
        self.kept_for(self.pace.usable_for).ok_or_else(|| {
            Refused::new(
                RefusedFor::KeysUnavailable,
                "the keys of the token's issuer cannot be read at this moment: the broker's log says why",
            )
        })
    }

    /// The keys, unless they are older.
    fn kept_for(&self, age: Duration) -> Option<Arc<Kept>> {
        self.kept.load_full().filter(|kept| kept.read_at.elapsed() < age)
    }

    fn take(&self, attempts: &mut Attempts, read: Result<Vec<Key>, String>) {
        match read {
            Ok(keys) => {
                if attempts.failure.take().is_some() {
                    tracing::info!(issuer = %self.issuer, "the issuer's keys can be read again");
                }
                self.kept.store(Some(Arc::new(Kept { keys, read_at: Instant::now() })));
            }
            Err(error) => {
                // Logged once for as long as it is the same.
                if attempts.failure.as_deref() != Some(error.as_str()) {
                    tracing::error!(issuer = %self.issuer, %error, "the issuer's keys cannot be read; those that are known are used for a day");
                }
                attempts.failure = Some(error);
            }
        }
    }
}

#[cfg(test)]
#[path = "keyset_tests.rs"]
mod tests;
