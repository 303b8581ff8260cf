//! When clusters were last connected, to any replica.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::StoreError;
use crate::core::ids::ClusterId;
use crate::core::time::Timestamp;

/// When clusters were last connected. A store that is not one of [`crate::ports::Store`]'s databases may not know.
#[async_trait]
pub trait ClusterPresence: Send + Sync {
    /// These clusters are connected.
    async fn note_present(&self, clusters: &[ClusterId], at: Timestamp) -> Result<(), StoreError> {
        let _ = (clusters, at);
        Ok(())
    }

    /// When each cluster was last connected, as far as that was noted.
    async fn last_present(&self) -> Result<BTreeMap<ClusterId, Timestamp>, StoreError> {
        Ok(BTreeMap::new())
    }
}
