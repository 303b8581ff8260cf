//! Sessions of people, and tokens of people and of machines.

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreError;
use crate::core::people::credential::{Credential, CredentialKind, SignedInPerson};
use crate::core::time::Timestamp;

/// SHA-256 of a secret: only this is kept of it.
pub type SecretHash = [u8; 32];

/// Which credentials are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialFilter {
    /// Only of this kind.
    pub kind: Option<CredentialKind>,
    /// Only those of this person.
    pub holder: Option<String>,
    /// Only those that were made before this one.
    pub before: Option<(Timestamp, Uuid)>,
    /// How many at most.
    pub limit: u32,
}

/// The credentials of people and machines.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// Keeps a new one by the hash of its secret. Answers whether it is kept: not if its holder has a token of that name which nobody
    /// took back.
    async fn add_credential(
        &self,
        hash: &SecretHash,
        credential: &Credential,
    ) -> Result<bool, StoreError>;

    /// The one whose secret has this hash, also if it has ended; `None` if there is none.
    async fn credential_by_hash(&self, hash: &SecretHash)
    -> Result<Option<Credential>, StoreError>;

    /// One by its id.
    async fn credential(&self, id: Uuid) -> Result<Option<Credential>, StoreError>;

    /// Those that fit, the newest first.
    async fn credentials(&self, filter: &CredentialFilter) -> Result<Vec<Credential>, StoreError>;

    /// Takes one back. Answers whether it was there and nobody had done so before.
    async fn revoke_credential(&self, id: Uuid, at: Timestamp) -> Result<bool, StoreError>;

    /// Writes down that one was used.
    async fn note_credential_use(&self, id: Uuid, at: Timestamp) -> Result<(), StoreError>;

    /// A person signed in: their tokens know them as the provider does now.
    async fn refresh_person(&self, person: &SignedInPerson) -> Result<(), StoreError>;

    /// Keeps what a program may fetch once with a code, until a time.
    async fn add_sign_in_code(
        &self,
        hash: &SecretHash,
        ends_at: Timestamp,
        body: &str,
    ) -> Result<(), StoreError>;

    /// Takes what is kept for a code, and until when it was to be fetched; `None` if there is none, or it was taken before.
    async fn take_sign_in_code(
        &self,
        hash: &SecretHash,
    ) -> Result<Option<(Timestamp, String)>, StoreError>;

    /// Forgets sessions and tokens that ended before a time, and codes that were not fetched until then.
    async fn prune_credentials(&self, before: Timestamp) -> Result<u64, StoreError>;
}
