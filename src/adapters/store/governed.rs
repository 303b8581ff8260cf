//! Rules, requests and approvals over both databases.

use async_trait::async_trait;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{SqlStore, in_transaction, requests, rules};
use crate::core::audit::AuditEntry;
use crate::core::governance::ruleset::RulesDigest;
use crate::core::release::request::ReleaseRequest;
use crate::ports::{ApprovalRow, RequestFilter, Requests, RuleSetRow, RuleSets, StoreError};

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

    async fn accept_rules(
        &self,
        set: &RuleSetRow,
        audit: &[AuditEntry],
    ) -> Result<bool, StoreError> {
        in_transaction!(self.writing(), rules::accept, self.replica, set, audit)
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
        audit: &[AuditEntry],
    ) -> Result<bool, StoreError> {
        in_transaction!(self.writing(), requests::save, self.replica, request, released, audit)
    }

    async fn approvals(&self) -> Result<Vec<ApprovalRow>, StoreError> {
        in_transaction!(self.reading(), requests::approvals)
    }
}
