//! Rules, requests, approvals and the credentials of people over both databases.

use async_trait::async_trait;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{SqlStore, credentials, in_transaction, requests, rules};
use crate::core::governance::ruleset::RulesDigest;
use crate::core::people::credential::{Credential, SignedInPerson};
use crate::core::release::request::ReleaseRequest;
use crate::core::time::Timestamp;
use crate::ports::{
    ApprovalRow, CredentialFilter, Credentials, RequestFilter, Requests, RuleSetRow, RuleSets,
    SecretHash, StoreError,
};

#[async_trait]
impl RuleSets for SqlStore {
    async fn latest_rules(&self) -> Result<Option<RuleSetRow>, StoreError> {
        in_transaction!(self.reading(), rules::latest)
    }

    async fn rules_numbered(&self, number: u64) -> Result<Option<RuleSetRow>, StoreError> {
        in_transaction!(self.reading(), rules::numbered, number)
    }

    async fn files_were_accepted(&self, files: RulesDigest) -> Result<bool, StoreError> {
        in_transaction!(self.reading(), rules::files_were_accepted, files)
    }

    async fn accept_rules(&self, set: &RuleSetRow) -> Result<bool, StoreError> {
        in_transaction!(self.writing(), rules::accept, self.replica, set)
    }
}

#[async_trait]
impl Requests for SqlStore {
    async fn requests(&self, filter: &RequestFilter) -> Result<Vec<ReleaseRequest>, StoreError> {
        in_transaction!(self.reading(), requests::list, filter)
    }

    async fn request(&self, id: Uuid) -> Result<Option<ReleaseRequest>, StoreError> {
        in_transaction!(self.reading(), requests::by_id, id)
    }

    async fn save_request(
        &self,
        request: &ReleaseRequest,
        released: &[ApprovalRow],
    ) -> Result<bool, StoreError> {
        in_transaction!(self.writing(), requests::save, self.replica, request, released)
    }

    async fn approvals(&self) -> Result<Vec<ApprovalRow>, StoreError> {
        in_transaction!(self.reading(), requests::approvals)
    }
}

#[async_trait]
impl Credentials for SqlStore {
    async fn add_credential(
        &self,
        hash: &SecretHash,
        credential: &Credential,
    ) -> Result<bool, StoreError> {
        in_transaction!(self.writing(), credentials::add, hash, credential)
    }

    async fn credential_by_hash(
        &self,
        hash: &SecretHash,
    ) -> Result<Option<Credential>, StoreError> {
        in_transaction!(self.reading(), credentials::by_hash, hash)
    }

    async fn credential(&self, id: Uuid) -> Result<Option<Credential>, StoreError> {
        in_transaction!(self.reading(), credentials::by_id, id)
    }

    async fn credentials(&self, filter: &CredentialFilter) -> Result<Vec<Credential>, StoreError> {
        in_transaction!(self.reading(), credentials::list, filter)
    }

    async fn revoke_credential(&self, id: Uuid, at: Timestamp) -> Result<bool, StoreError> {
        in_transaction!(self.writing(), credentials::revoke, id, at)
    }

    async fn note_credential_use(&self, id: Uuid, at: Timestamp) -> Result<(), StoreError> {
        in_transaction!(self.writing(), credentials::note_use, id, at)
    }

    async fn refresh_person(&self, person: &SignedInPerson) -> Result<(), StoreError> {
        in_transaction!(self.writing(), credentials::refresh_person, person)
    }

    async fn add_sign_in_code(
        &self,
        hash: &SecretHash,
        ends_at: Timestamp,
        body: &str,
    ) -> Result<(), StoreError> {
        in_transaction!(self.writing(), credentials::add_code, hash, ends_at, body)
    }

    async fn take_sign_in_code(
        &self,
        hash: &SecretHash,
    ) -> Result<Option<(Timestamp, String)>, StoreError> {
        // Whoever guesses codes has no part in the turns of those who write.
        if !in_transaction!(self.reading(), credentials::has_code, hash)? {
            return Ok(None);
        }
        in_transaction!(self.writing(), credentials::take_code, hash)
    }

    async fn prune_credentials(&self, before: Timestamp) -> Result<u64, StoreError> {
        in_transaction!(self.writing(), credentials::prune, before)
    }
}
