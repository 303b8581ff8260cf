//! What needs the word of people, and the words that were given.

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreError;
use crate::core::audit::AuditEntry;
use crate::core::planning::unit_digest::UnitDigest;
use crate::core::release::request::{ReleaseRequest, RequestState};
use crate::core::time::Timestamp;

/// A unit of change that people let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRow {
    /// The unit.
    pub unit: UnitDigest,
    /// By which request.
    pub request: Uuid,
    /// Since when.
    pub at: Timestamp,
    /// Until when, as long as no freeze is closed meanwhile.
    pub until: Timestamp,
}

/// Which requests are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// Only those in this state.
    pub state: Option<RequestState>,
    /// Only those for this.
    pub digest: Option<UnitDigest>,
    /// Only those that were made before this one.
    pub before: Option<(Timestamp, Uuid)>,
    /// How many at most.
    pub limit: u32,
}

/// The requests and the words that were given.
#[async_trait]
pub trait Requests: Send + Sync {
    /// Requests, the newest first.
    async fn requests(&self, filter: &RequestFilter) -> Result<Vec<ReleaseRequest>, StoreError>;

    /// A request by its id.
    async fn request(&self, id: Uuid) -> Result<Option<ReleaseRequest>, StoreError>;

    /// Writes a request over its version before, a new one has version 1, with what it lets go and what the audit is to say of it;
    /// other replicas are told of what it lets go. Answers whether that was its version; if not, nothing was done.
    async fn save_request(
        &self,
        request: &ReleaseRequest,
        released: &[ApprovalRow],
        audit: &[AuditEntry],
    ) -> Result<bool, StoreError>;

    /// All units that people let go and that have not gone.
    async fn approvals(&self) -> Result<Vec<ApprovalRow>, StoreError>;
}
