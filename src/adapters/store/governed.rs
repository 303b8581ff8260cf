//! Rules, requests, approvals and hand-overs over both databases.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{SqlStore, handovers, in_transaction, requests, rules};
use crate::core::governance::handover::{Handover, HandoverReport};
use crate::core::governance::ruleset::RulesDigest;
use crate::core::ids::AccountId;
use crate::core::release::request::ReleaseRequest;
use crate::ports::{
    ApprovalRow, HandoverStore, RequestFilter, Requests, RuleSetRow, RuleSets, StoreError,
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
impl HandoverStore for SqlStore {
    async fn handovers(&self, over: u32) -> Result<Vec<Handover>, StoreError> {
        in_transaction!(self.reading(), handovers::list, over)
    }

    async fn handover(&self, id: Uuid) -> Result<Option<Handover>, StoreError> {
        in_transaction!(self.reading(), handovers::by_id, id)
    }

    async fn save_handover(&self, handover: &Handover) -> Result<bool, StoreError> {
        in_transaction!(self.writing(), handovers::save, self.replica, handover)
    }

    async fn handover_reports(
        &self,
        id: Uuid,
    ) -> Result<BTreeMap<AccountId, HandoverReport>, StoreError> {
        in_transaction!(self.reading(), handovers::reports, id)
    }

    async fn save_handover_report(
        &self,
        id: Uuid,
        account: &AccountId,
        report: &HandoverReport,
    ) -> Result<(), StoreError> {
        in_transaction!(self.writing(), handovers::save_report, id, account, report)
    }
}
