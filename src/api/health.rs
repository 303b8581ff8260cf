//! Whether the broker lives, whether it serves, and its figures.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::problem::{ApiError, Problem};

/// The content type that Prometheus reads (OpenMetrics 1.0.0 text).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the broker serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// Why not; empty when it does.
    #[schema(example = json!(["the account 111111111111 (dev) is starting"]))]
    pub reasons: Vec<String>,
}

/// Alive: the process answers.
///
/// Says nothing about the store or AWS: a restart would mend neither.
#[utoipa::path(get, path = "/healthz", operation_id = "alive", tag = "operation", security(()),
    responses((status = 200, description = "The process answers.", body = String, content_type = "text/plain", example = "ok")))]
pub async fn alive() -> &'static str {
    "ok"
}

/// Ready: the store is loaded and answers, and every account has been tried or had ten seconds for it.
#[utoipa::path(get, path = "/readyz", operation_id = "ready", tag = "operation", security(()), responses(
    (status = 200, description = "The broker serves.", body = Readiness),
    (status = 503, description = "It does not, and why.", body = Readiness)))]
pub async fn ready(State(state): State<ApiState>) -> (StatusCode, Json<Readiness>) {
    let reasons = state.broker.not_ready().await;
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: reasons.is_empty(), reasons }))
}

/// All figures of the process, for Prometheus.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "operation", responses(
    (status = 200, description = "OpenMetrics text.", body = String,
        content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    (status = 500, description = "The figures cannot be encoded.", body = Problem, content_type = "application/problem+json")))]
pub async fn metrics(State(state): State<ApiState>) -> Result<Response, ApiError> {
    encode(&state.registry)
}

/// The figures as OpenMetrics text.
pub(super) fn encode(registry: &Registry) -> Result<Response, ApiError> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
