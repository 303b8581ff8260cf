//! An operator's word for names whose zone was made again under another id.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::ApiState;
use crate::api::caller::Caller;
use crate::api::problem::{ApiError, Problem};
use crate::api::request::{Params, identifier};
use crate::api::role::Granted;
use crate::broker::directory::NameReach;
use crate::core::audit::{AuditEntry, AuditKind, AuditScope};
use crate::core::dns::name::DnsName;

/// Which names are meant.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RerouteParams {
    /// Whether all names below are meant too.
    #[serde(default)]
    #[param(required = false)]
    pub below: bool,
}

/// The steps that were taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rerouted {
    /// How many endpoints go to another zone now; the others stay as they were.
    pub endpoints: usize,
}

/// Place anew what lost its zone.
///
/// Endpoints whose zone is no longer visible go to the visible zone of the same name, as if their objects were written again;
/// never to a parent zone.
#[utoipa::path(post, path = "/api/v1/names/{fqdn}/reroute", operation_id = "reroute_name", tag = "names",
    params(("fqdn" = String, Path, description = "The name, in any spelling.", example = "dev.example.com"), RerouteParams),
    responses(
        (status = 200, description = "How many endpoints this concerns.", body = Rerouted),
        (status = 400, description = "That is no DNS name.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is for other zones.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The broker stops.", body = Problem, content_type = "application/problem+json")))]
pub async fn post(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    caller: Caller,
    Path(fqdn): Path<String>,
    Params(RerouteParams { below }): Params<RerouteParams>,
) -> Result<Json<Rerouted>, ApiError> {
    let name: DnsName = identifier(&fqdn)?;
    granted.may_change_at(&name)?;
    let reach = if below { NameReach::Below } else { NameReach::Name };
    let pattern = if below { format!("*.{name}") } else { name.to_string() };
    // It stands in the audit before it is done: what is not in the audit is not done.
    let entry = AuditEntry {
        origin: caller.origin(&state),
        scope: AuditScope::default().named([name.to_string(), pattern]),
        ..AuditEntry::new(state.broker.clock.now(), granted.person().actor, AuditKind::NameRerouted)
    };
    state.broker.store.append_audit(&[entry]).await?;
    let endpoints = state.broker.reroute(name, reach).await.ok_or(ApiError::Stopping)?;
    Ok(Json(Rerouted { endpoints }))
}
