//! The REST API.

use std::sync::Arc;

use crate::broker::BrokerHandle;

/// The routes.
pub fn router(_handle: BrokerHandle, _registry: Arc<prometheus_client::registry::Registry>) -> axum::Router {
    axum::Router::new()
}
