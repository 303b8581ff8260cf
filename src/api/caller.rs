//! From where a caller decides something, for the audit.

use std::convert::Infallible;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;

use super::ApiState;
use crate::core::audit::AuditOrigin;
use crate::ports::Peer;

/// How long the id of a request may be, in characters, to be kept: callers may send their own.
const MAX_REQUEST_ID: usize = 128;

/// The caller's address and the id of its request.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    address: Option<String>,
    request_id: Option<String>,
}

impl Caller {
    /// As the audit says it.
    pub fn origin(&self, state: &ApiState) -> AuditOrigin {
        AuditOrigin {
            via: Some("rest".to_owned()),
            address: self.address.clone(),
            request_id: self.request_id.clone(),
            replica: Some(state.broker.replica.replica.0),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let address = parts.extensions.get::<ConnectInfo<Peer>>();
        let address = address.map(|ConnectInfo(peer)| peer.address.ip().to_string());
        let id = parts.headers.get("x-request-id").and_then(|id| id.to_str().ok());
        let request_id = id.map(|id| id.chars().take(MAX_REQUEST_ID).collect());
        Ok(Self { address, request_id })
    }
}
