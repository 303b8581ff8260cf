//! Of people the store of these tests knows nothing.

use async_trait::async_trait;

use super::store::TestStore;
use crate::core::people::credential::{Credential, SignedInPerson};
use crate::core::time::Timestamp;
use crate::ports::*;

/// Nobody signs in here, and no token is made.
#[async_trait]
impl Credentials for TestStore {
    async fn add_credential(&self, _: &SecretHash, _: &Credential) -> Result<bool, StoreError> {
        Ok(true)
    }
    async fn credential_by_hash(&self, _: &SecretHash) -> Result<Option<Credential>, StoreError> {
        Ok(None)
    }
    async fn credential(&self, _: uuid::Uuid) -> Result<Option<Credential>, StoreError> {
        Ok(None)
    }
    async fn credentials(&self, _: &CredentialFilter) -> Result<Vec<Credential>, StoreError> {
        Ok(vec![])
    }
    async fn revoke_credential(&self, _: uuid::Uuid, _: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn note_credential_use(&self, _: uuid::Uuid, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
    async fn refresh_person(&self, _: &SignedInPerson) -> Result<(), StoreError> {
        Ok(())
    }
    async fn add_sign_in_code(
        &self,
        _: &SecretHash,
        _: Timestamp,
        _: &str,
    ) -> Result<(), StoreError> {
        Ok(())
    }
    async fn take_sign_in_code(
        &self,
        _: &SecretHash,
    ) -> Result<Option<(Timestamp, String)>, StoreError> {
        Ok(None)
    }
    async fn prune_credentials(&self, _: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }
}
