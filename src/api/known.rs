//! Sessions and tokens of the store, as requests show them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use super::secret::{may_be_ours, secret_hash};
use crate::broker::BrokerHandle;
use crate::core::people::credential::Credential;
use crate::ports::{SecretHash, StoreError};

/// How long one that was found is not looked for again: what is taken back at another replica ends here within this time.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// How many are kept.
const MOST_KEPT: usize = 4_096;
/// How many are looked for at once: whoever guesses holds up none of the store's other work.
const LOOKUPS_AT_ONCE: usize = 4;

/// See the module's page.
pub(super) struct KnownCredentials {
    broker: BrokerHandle,
    found: Mutex<HashMap<SecretHash, (Instant, Arc<Credential>)>>,
    lookups: Semaphore,
}

impl KnownCredentials {
    /// Those of a broker's store.
    pub(super) fn new(broker: BrokerHandle) -> Self {
        Self { broker, found: Mutex::default(), lookups: Semaphore::new(LOOKUPS_AT_ONCE) }
    }

    /// The broker.
    pub(super) fn broker(&self) -> &BrokerHandle {
        &self.broker
    }

    /// The credential of a secret, also if it has ended; `None` if there is none.
    pub(super) async fn find(&self, secret: &str) -> Result<Option<Arc<Credential>>, StoreError> {
        if !may_be_ours(secret) {
            return Ok(None);
        }
        let hash = secret_hash(secret);
        if let Some(credential) = self.kept(&hash) {
            return Ok(Some(credential));
        }
        let _turn = self.lookups.acquire().await;
        if let Some(credential) = self.kept(&hash) {
            return Ok(Some(credential));
        }
        let store = &self.broker.store;
        let Some(credential) = store.credential_by_hash(&hash).await? else { return Ok(None) };
        let now = self.broker.clock.now();
        if credential.ended(now).is_none() && credential.use_is_news(now) {
            // It is for people to see which tokens nobody uses: a store that is busy may pass it over.
            if let Err(error) = store.note_credential_use(credential.id, now).await {
                tracing::debug!(%error, "the use of a token was not written down");
            }
        }
        let credential = Arc::new(credential);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() >= MOST_KEPT {
            found.clear();
        }
        found.insert(hash, (Instant::now(), Arc::clone(&credential)));
        Ok(Some(credential))
    }

    fn kept(&self, hash: &SecretHash) -> Option<Arc<Credential>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, credential) = found.get(hash)?;
        (at.elapsed() < KEPT_FOR).then(|| Arc::clone(credential))
    }

    /// One was taken back here.
    pub(super) fn forget(&self, id: Uuid) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.retain(|_, (_, credential)| credential.id != id);
    }

    /// A person signed in: their tokens know their groups anew.
    pub(super) fn forget_all_of(&self, user: &str) {
        let is_theirs = |credential: &Credential| {
            credential.person.as_ref().is_some_and(|person| person.user == user)
        };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.retain(|_, (_, credential)| !is_theirs(credential));
    }
}
