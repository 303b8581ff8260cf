//! Errors as problem details (RFC 9457): `application/problem+json` with type, title, status and detail.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use tracing::warn;
use utoipa::ToSchema;

use crate::broker::rules::releases::DecideError;
use crate::core::ids::AccountId;
use crate::core::release::request::RefusedVerb;
use crate::ports::StoreError;

/// The media type of problem details.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A parameter of the query is unknown, or its value is not one.
    #[error("{0}")]
    BadParameter(String),
    /// The identifier in the path is not one.
    #[error("{0}")]
    BadPath(String),
    /// The body is no JSON, or of another form.
    #[error("{0}")]
    BadBody(String),
    /// The rule lives in a file.
    #[error("{0}")]
    InFile(String),
    /// Another set of rules counts than the one that the caller looked at.
    #[error("{0}")]
    Outdated(String),
    /// The rules do not go together.
    #[error("{0}")]
    RulesRefused(String),
    /// There is no such thing.
    #[error("there is no {kind} {id:?} here: {remedy}")]
    NotFound {
        /// The kind of resource.
        kind: &'static str,
        /// Its identifier, as given.
        id: String,
        /// How to find one.
        remedy: &'static str,
    },
    /// The store cannot be read.
    #[error("the broker's store does not answer: try again; the broker's log says why")]
    Store(#[from] StoreError),
    /// Another replica knows it and does not say it.
    #[error(
        "the replica {replica} at {address:?}, which works the accounts {accounts}, does not answer ({why}): try again; if it is gone, \
         others take over within seconds"
    )]
    ReplicaUnreachable {
        /// Which.
        replica: String,
        /// Where.
        address: String,
        /// The accounts that it manages.
        accounts: String,
        /// Why not.
        why: String,
    },
    /// A part of the answer is missing, and it may be what was asked for.
    #[error("not all replicas answer, and one of them may know it: {0}")]
    MissingPart(String),
    /// Somebody else decides this.
    #[error("{0}")]
    NotYours(String),
    /// It is decided already, or for something else by now.
    #[error("{0}")]
    Decided(String),
    /// No replica knows it at this moment.
    #[error(
        "no replica manages the account {0} at this moment: one will within seconds, try again"
    )]
    NotWorked(AccountId),
    /// No secret can be made.
    #[error("the system gives no random numbers: see to its sources")]
    NoRandomness,
    /// The broker ends and takes no orders.
    #[error("the broker stops: try again at another replica, or when it is back")]
    Stopping,
    /// The figures cannot be written down.
    #[error("the metrics cannot be encoded")]
    Metrics(#[from] std::fmt::Error),
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadParameter(_) | Self::BadPath(_) | Self::BadBody(_) => StatusCode::BAD_REQUEST,
            Self::NotYours(_) => StatusCode::FORBIDDEN,
            Self::InFile(_) | Self::Decided(_) => StatusCode::CONFLICT,
            Self::Outdated(_) => StatusCode::PRECONDITION_FAILED,
            Self::RulesRefused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::Store(StoreError::Unavailable(_))
            | Self::ReplicaUnreachable { .. }
            | Self::MissingPart(_)
            | Self::NotWorked(_)
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(_) | Self::Metrics(_) | Self::NoRandomness => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::BadParameter(_) => "bad-parameter",
            Self::BadPath(_) => "bad-path",
            Self::BadBody(_) => "bad-body",
            Self::InFile(_) => "rule-in-file",
            Self::Outdated(_) => "rules-changed",
            Self::RulesRefused(_) => "rules-refused",
            Self::NotFound { .. } => "not-found",
            Self::Store(StoreError::Unavailable(_)) => "store-unavailable",
            Self::Store(_) => "store-failed",
            Self::ReplicaUnreachable { .. } => "replica-unreachable",
            Self::MissingPart(_) => "replica-unreachable",
            Self::NotYours(_) => "not-yours",
            Self::Decided(_) => "decided",
            Self::NotWorked(_) => "account-not-worked",
            Self::Stopping => "stopping",
            Self::Metrics(_) | Self::NoRandomness => "internal",
        }
    }
}

impl From<DecideError> for ApiError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Refused(RefusedVerb::NotYours(_) | RefusedVerb::OwnRequest) => {
                Self::NotYours(error.to_string())
            }
            DecideError::Refused(_) | DecideError::Busy => Self::Decided(error.to_string()),
            DecideError::Store(error) => Self::Store(error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // The store's own words may name hosts and tables: they are for the log.
        if let Self::Store(error) = &self {
            warn!(%error, "a request could not be answered");
        }
        Problem::new(self.status(), self.kind(), self.to_string()).into_response()
    }
}

/// The problem of a request (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The kind of problem, for programs; it does not change between releases.
    #[serde(rename = "type")]
    #[schema(example = "urn:zonefold:problem:not-found")]
    pub kind: String,
    /// The kind in words.
    #[schema(example = "Not Found")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 404)]
    pub status: u16,
    /// The problem in this request, and its remedy.
    #[schema(example = "there is no zone \"Z0EXAMPLE\" here: /api/v1/zones lists them")]
    pub detail: String,
}

impl Problem {
    /// A problem whose title is the status's own phrase.
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:zonefold:problem:{kind}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_s_own_words_stay_in_the_log() {
        let error = ApiError::from(StoreError::Unavailable(
            "postgres://db.internal: connection refused".to_owned(),
        ));
        assert!(!error.to_string().contains("db.internal"));
        assert_eq!(error.into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn rfc9457_3_the_media_type_and_the_members() {
        let response = ApiError::BadPath("x".to_owned()).into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        let problem =
            serde_json::to_value(Problem::new(StatusCode::NOT_FOUND, "not-found", "gone")).unwrap();
        let expected = serde_json::json!({
            "type": "urn:zonefold:problem:not-found", "title": "Not Found", "status": 404, "detail": "gone"
        });
        assert_eq!(problem, expected);
    }
}
