//! The control port: the operations of [`Control`] over HTTP, as JSON.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::faults::FaultRule;
use super::handle::{Control, ControlError, Snapshot, View};
use super::request::RecordChange;
use crate::core::ids::ZoneId;

const INDEX: &str = include_str!("index.html");

/// The routes.
pub(super) fn router(control: Control) -> Router {
    Router::new()
        .route("/", get(async || Html(INDEX)))
        .route("/healthz", get(async || "ok\n"))
        .route("/clock", get(clock))
        .route("/clock/step", post(step))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(remove_fault))
        .route("/journal", get(journal))
        .route("/counters", get(counters))
        .route("/metrics", get(metrics))
        .route("/zones", get(zones))
        .route("/zones/{id}/records", get(records).post(foreign_write))
        .route("/zones/{id}/dns_view", get(dns_view))
        .route("/snapshot", get(snapshot).put(restore))
        .with_state(control)
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoSuchZone(_) | Self::NoSuchRule(_) => StatusCode::NOT_FOUND,
            Self::Refused { .. } => StatusCode::CONFLICT,
            Self::Snapshot(_) => StatusCode::BAD_REQUEST,
        };
        (status, Json(json!({ "error": self.to_string() }))).into_response()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    by_ms: u64,
}

async fn clock(State(control): State<Control>) -> Response {
    Json(json!({ "now_ms": control.now() })).into_response()
}

async fn step(State(control): State<Control>, Json(step): Json<Step>) -> Response {
    Json(json!({ "now_ms": control.step(step.by_ms) })).into_response()
}

async fn faults(State(control): State<Control>) -> Response {
    Json(control.faults()).into_response()
}

async fn add_fault(State(control): State<Control>, Json(rule): Json<FaultRule>) -> Response {
    (StatusCode::CREATED, Json(json!({ "id": control.add_fault(rule) }))).into_response()
}

async fn clear_faults(State(control): State<Control>) -> StatusCode {
    control.clear_faults();
    StatusCode::NO_CONTENT
}

async fn remove_fault(
    State(control): State<Control>,
    Path(id): Path<u64>,
) -> Result<StatusCode, ControlError> {
    control.remove_fault(id).map(|()| StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn journal(State(control): State<Control>, Query(after): Query<After>) -> Response {
    Json(control.journal(after.after)).into_response()
}

async fn counters(State(control): State<Control>) -> Response {
    Json(control.counters()).into_response()
}

async fn metrics(State(control): State<Control>) -> Response {
    let content_type =
        [(axum::http::header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, control.counters().to_prometheus()).into_response()
}

async fn zones(State(control): State<Control>) -> Response {
    Json(control.zones()).into_response()
}

fn zone_id(text: &str) -> Result<ZoneId, ControlError> {
    ZoneId::parse(text).map_err(|_| ControlError::NoSuchZone(text.to_owned()))
}

async fn records(
    State(control): State<Control>,
    Path(id): Path<String>,
) -> Result<Response, ControlError> {
    Ok(Json(control.records(&zone_id(&id)?, View::Accepted)?).into_response())
}

async fn dns_view(
    State(control): State<Control>,
    Path(id): Path<String>,
) -> Result<Response, ControlError> {
    Ok(Json(control.records(&zone_id(&id)?, View::Propagated)?).into_response())
}

async fn foreign_write(
    State(control): State<Control>,
    Path(id): Path<String>,
    Json(changes): Json<Vec<RecordChange>>,
) -> Result<Response, ControlError> {
    let change_id = control.foreign_write(&zone_id(&id)?, &changes)?;
    Ok((StatusCode::CREATED, Json(json!({ "change_id": change_id }))).into_response())
}

async fn snapshot(State(control): State<Control>) -> Response {
    Json(control.snapshot()).into_response()
}

async fn restore(
    State(control): State<Control>,
    Json(snapshot): Json<Snapshot>,
) -> Result<StatusCode, ControlError> {
    control.restore(snapshot).map(|()| StatusCode::NO_CONTENT)
}
