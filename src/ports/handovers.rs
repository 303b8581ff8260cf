//! Hand-overs, and what accounts say of them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreError;
use crate::core::governance::handover::{Handover, HandoverReport};
use crate::core::ids::AccountId;

/// The hand-overs.
#[async_trait]
pub trait HandoverStore: Send + Sync {
    /// The hand-overs that are not over, and the newest of the others, so many at most; the newest first.
    async fn handovers(&self, over: u32) -> Result<Vec<Handover>, StoreError>;

    /// A hand-over by its id.
    async fn handover(&self, id: Uuid) -> Result<Option<Handover>, StoreError>;

    /// Writes a hand-over over its version before, a new one has version 1, and tells the other replicas. Answers whether that was
    /// its version; if not, nothing was done.
    async fn save_handover(&self, handover: &Handover) -> Result<bool, StoreError>;

    /// What the accounts said last of a hand-over.
    async fn handover_reports(
        &self,
        id: Uuid,
    ) -> Result<BTreeMap<AccountId, HandoverReport>, StoreError>;

    /// Replaces what an account said of a hand-over, but for a report on a later version.
    async fn save_handover_report(
        &self,
        id: Uuid,
        account: &AccountId,
        report: &HandoverReport,
    ) -> Result<(), StoreError>;
}
