//! Credentials that are fetched once for all callers, kept, and replaced well before they expire.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use tokio::sync::Mutex;

use super::classify;
use crate::core::aws::access::{ExternalId, RoleArn};
use crate::core::time::{Millis, Timestamp};
use crate::ports::{CallError, Clock};

/// Credentials are replaced at least this long before they expire …
const EARLY: Millis = Millis::from_secs(300);
/// … and up to this much earlier, each account at a time of its own, so that not all ask STS at once.
const EARLY_JITTER: Millis = Millis::from_secs(300);
/// After an early refresh that failed, the old credentials are used for this long before the next try.
const RETRY_AFTER: Millis = Millis::from_secs(30);
/// STS grants a session of a chained role one hour at most, and every role grants at least that.
const SESSION_SECS: i32 = 3_600;
/// How long fetching may take, with the SDK's own retries.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Where credentials come from.
pub(super) enum Source {
    /// The broker's own: the SDK's default chain, or what was given in code.
    Base(SharedCredentialsProvider),
    /// A session of a role.
    Role {
        /// How STS is called.
        sts: aws_sdk_sts::Client,
        /// The credentials that it is called with.
        caller: Arc<CredentialCache>,
        role: RoleArn,
        /// The external id that its trust policy asks for.
        external_id: Option<ExternalId>,
        /// The session's name, as it stands in AWS's logs.
        session_name: String,
    },
}

/// Credentials with a memory. Callers that ask while they are fetched wait for that fetch and share its outcome.
pub(super) struct CredentialCache {
    source: Source,
    clock: Arc<dyn Clock>,
    early: Millis,
    finished_fetches: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    last_error: Option<CallError>,
}

struct Kept {
    credentials: Credentials,
    /// `None` if they do not expire.
    refresh_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

impl CredentialCache {
    /// A cache over a source. `seed` and `name` decide how early it refreshes.
    pub(super) fn new(source: Source, clock: Arc<dyn Clock>, seed: u64, name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (seed, name).hash(&mut hasher);
        let jitter_ms = fastrand::Rng::with_seed(hasher.finish()).i64(0..=EARLY_JITTER.0);
        Self {
            source,
            clock,
            early: Millis(EARLY.0 + jitter_ms),
            finished_fetches: AtomicU64::new(0),
            state: Mutex::new(State::default()),
        }
    }

    /// Credentials that will do for a while.
    pub(super) async fn get(&self) -> Result<Credentials, CallError> {
        let finished_before = self.finished_fetches.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        if let Some(kept) = &state.kept
            && kept.refresh_at.is_none_or(|refresh_at| now < refresh_at)
        {
            return Ok(kept.credentials.clone());
        }
        // Another caller fetched while we waited, and failed: that answer is ours too.
        if self.finished_fetches.load(Ordering::Acquire) != finished_before
            && let Some(error) = &state.last_error
        {
            return Err(error.clone());
        }
        let fetched = Box::pin(self.fetch()).await;
        self.finished_fetches.fetch_add(1, Ordering::Release);
        state.settle(fetched, self.clock.now(), self.early)
    }

    /// Forgets the credentials, and those with which they were fetched.
    pub(super) async fn forget(&self) {
        self.state.lock().await.kept = None;
        if let Source::Role { caller, .. } = &self.source {
            Box::pin(caller.forget()).await;
        }
    }

    async fn fetch(&self) -> Result<Credentials, CallError> {
        match tokio::time::timeout(FETCH_TIMEOUT, self.fetch_without_limit()).await {
            Ok(fetched) => fetched,
            Err(_) => Err(CallError::NotSent {
                message: format!(
                    "no credentials within {} s; nothing was sent",
                    FETCH_TIMEOUT.as_secs()
                ),
            }),
        }
    }

    async fn fetch_without_limit(&self) -> Result<Credentials, CallError> {
        match &self.source {
            Source::Base(provider) => {
                provider.provide_credentials().await.map_err(|error| base_error(&error))
            }
            Source::Role { sts, caller, role, external_id, session_name } => {
                let with =
                    aws_sdk_sts::config::Builder::new().credentials_provider(caller.get().await?);
                let output = sts
                    .assume_role()
                    .role_arn(role.as_str())
                    .role_session_name(session_name)
                    .duration_seconds(SESSION_SECS)
                    .set_external_id(external_id.as_ref().map(|id| id.expose().to_owned()))
                    .customize()
                    .config_override(with)
                    .send()
                    .await
                    .map_err(|error| classify::assume_role_error(role, &error))?;
                let session = output
                    .credentials()
                    .ok_or_else(|| unreadable_session(role, "it holds no credentials"))?;
                let expires_at = SystemTime::try_from(*session.expiration())
                    .map_err(|_| unreadable_session(role, "its expiry is no time"))?;
                Ok(Credentials::new(
                    session.access_key_id(),
                    session.secret_access_key(),
                    Some(session.session_token().to_owned()),
                    Some(expires_at),
                    "zonefold-assume-role",
                ))
            }
        }
    }
}

impl State {
    fn settle(
        &mut self,
        fetched: Result<Credentials, CallError>,
        now: Timestamp,
        early: Millis,
    ) -> Result<Credentials, CallError> {
        match fetched {
            Ok(credentials) => {
                let expires_at = credentials.expiry().map(timestamp);
                let refresh_at = expires_at.map(|expires_at| {
                    // A short session is replaced at half of its life.
                    let ahead = early.0.min((expires_at - now).0 / 2);
                    Timestamp(expires_at.0 - ahead)
                });
                self.kept = Some(Kept { credentials: credentials.clone(), refresh_at, expires_at });
                self.last_error = None;
                Ok(credentials)
            }
            Err(error) => {
                self.last_error = Some(error.clone());
                match &mut self.kept {
                    Some(kept)
                        if kept
                            .expires_at
                            .is_none_or(|expires_at| now + RETRY_AFTER < expires_at) =>
                    {
                        tracing::warn!(%error, "credentials cannot be renewed yet; the ones in use are still valid");
                        kept.refresh_at = Some(now + RETRY_AFTER);
                        Ok(kept.credentials.clone())
                    }
                    kept => {
                        *kept = None;
                        Err(error)
                    }
                }
            }
        }
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since_epoch_ms = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    Timestamp(i64::try_from(since_epoch_ms).unwrap_or(i64::MAX))
}

fn unreadable_session(role: &RoleArn, reason: &str) -> CallError {
    CallError::NotSent { message: format!("the answer of STS for {role} cannot be used: {reason}") }
}

fn base_error(error: &CredentialsError) -> CallError {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => CallError::Denied {
            message: "the broker has no AWS credentials; give it a role (IRSA, Pod Identity, an instance role), a profile, \
                      or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                .to_owned(),
        },
        CredentialsError::InvalidConfiguration(_) => {
            CallError::Denied { message: format!("the broker's AWS credentials are configured wrongly: {error}") }
        }
        _ => CallError::NotSent { message: format!("the broker's AWS credentials cannot be fetched: {error}") },
    }
}

/// A session name that STS accepts: `zonefold-` and the valid characters of the given text, 64 characters at most.
pub(super) fn session_name(instance: &str) -> String {
    let valid = instance.chars().filter(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(*c));
    "zonefold-".chars().chain(valid).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(key: &str, expires_at_ms: Option<u64>) -> Credentials {
        let expiry = expires_at_ms.map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
        Credentials::new(key, "secret", None, expiry, "test")
    }

    fn failure() -> CallError {
        CallError::NotSent { message: "away".to_owned() }
    }

    #[test]
    fn a_session_name_keeps_to_the_characters_of_sts() {
        assert_eq!(session_name("broker-0/pod:a b"), "zonefold-broker-0podab");
        assert_eq!(session_name(&"x".repeat(100)).len(), 64);
    }

    #[test]
    fn credentials_are_replaced_at_least_five_minutes_early_and_a_short_session_at_half_of_its_life()
     {
        let mut state = State::default();
        let early = Millis::from_secs(400);
        state.settle(Ok(credentials("a", Some(3_600_000))), Timestamp(0), early).unwrap();
        assert_eq!(state.kept.as_ref().unwrap().refresh_at, Some(Timestamp(3_200_000)));
        state.settle(Ok(credentials("b", Some(600_000))), Timestamp(0), early).unwrap();
        assert_eq!(state.kept.as_ref().unwrap().refresh_at, Some(Timestamp(300_000)));
        state.settle(Ok(credentials("c", None)), Timestamp(0), early).unwrap();
        assert_eq!(state.kept.as_ref().unwrap().refresh_at, None);
    }

    #[test]
    fn a_refresh_that_fails_keeps_what_is_still_valid_and_nothing_else() {
        let mut state = State::default();
        let early = Millis::from_secs(400);
        state.settle(Ok(credentials("a", Some(3_600_000))), Timestamp(0), early).unwrap();
        let kept = state.settle(Err(failure()), Timestamp(3_300_000), early).unwrap();
        assert_eq!(kept.access_key_id(), "a");
        assert_eq!(state.kept.as_ref().unwrap().refresh_at, Some(Timestamp(3_330_000)));
        assert_eq!(
            state.settle(Err(failure()), Timestamp(3_590_000), early).unwrap_err(),
            failure()
        );
        assert!(state.kept.is_none());
    }
}
