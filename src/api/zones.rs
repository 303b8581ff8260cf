//! The hosted zones that Zonefold works, over all accounts.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::page::{Cursor, Limit, Page};
use super::peers::{Asker, Onward, Worked};
use super::problem::{ApiError, Problem};
use super::request::{NoParams, Params, identifier};
use super::sight::Sight;
use super::values::{
    Time, ZoneReference, adopt_policies, drift_policies, visibilities, zone_policies,
};
use crate::broker::worker::{AccountView, ZoneView};
use crate::core::dns::name::DnsName;
use crate::core::ids::{AccountId, EnvironmentId, ZoneId};
use crate::core::planning::policy::{AdoptPolicy, ZonePolicy};
use crate::core::visibility::Visibility;

/// One hosted zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Zone {
    /// Its id, without `/hostedzone/`.
    #[schema(value_type = String, example = "Z0EXAMPLE")]
    pub id: ZoneId,
    /// Its apex.
    #[schema(value_type = String, example = "dev.example.com")]
    pub name: DnsName,
    /// Its account.
    #[schema(value_type = String, example = "111111111111")]
    pub account: AccountId,
    /// Its environment.
    #[schema(value_type = String, example = "dev")]
    pub environment: EnvironmentId,
    /// Public or private.
    #[schema(schema_with = visibilities)]
    pub visibility: String,
    /// Whether discovery still finds it. One that is gone is left alone, and so are the endpoints placed in it.
    pub visible: bool,
    /// The policy: what Zonefold may do there.
    #[schema(schema_with = zone_policies)]
    pub policy: ZonePolicy,
    /// How the broker treats a record set of ours that another writer changed.
    #[schema(schema_with = drift_policies)]
    pub drift_policy: String,
    /// Which record sets of others are taken over.
    #[serde(default)]
    #[schema(schema_with = adopt_policies)]
    pub adopt: AdoptPolicy,
    /// When its records were last listed completely.
    pub listed_at: Option<Time>,
    /// Record sets observed.
    pub records: usize,
    /// Of those, made by Zonefold.
    pub owned: usize,
    /// Names with something to send.
    pub pending: usize,
    /// Whether a call or a save is under way.
    pub busy: bool,
    /// Changes that Route 53 refused and that wait for their content to change.
    pub refused: usize,
    /// Record sets of ours that another writer changed or removed.
    pub drifted: usize,
    /// Why nothing is called there now.
    pub trouble: Option<String>,
}

impl From<&ZoneView> for Zone {
    fn from(view: &ZoneView) -> Self {
        Self {
            id: view.zone.clone(),
            name: view.name.clone(),
            account: view.account.clone(),
            environment: view.environment.clone(),
            visibility: Visibility::of(view.private).to_string(),
            visible: view.visible,
            policy: view.policy,
            drift_policy: view.drift_policy.clone(),
            adopt: view.adopt,
            listed_at: view.listed_at.map(Time),
            records: view.records,
            owned: view.owned,
            pending: view.pending,
            busy: view.busy,
            refused: view.refused,
            drifted: view.drifted,
            trouble: view.trouble.clone(),
        }
    }
}

impl From<&ZoneView> for ZoneReference {
    fn from(view: &ZoneView) -> Self {
        Self {
            id: view.zone.clone(),
            name: view.name.clone(),
            account: view.account.clone(),
            environment: view.environment.clone(),
            visibility: Visibility::of(view.private).to_string(),
        }
    }
}

/// Which zones.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only of this environment.
    #[param(value_type = Option<String>, example = "dev")]
    pub environment: Option<EnvironmentId>,
    /// Only of this account.
    #[param(value_type = Option<String>, example = "111111111111")]
    pub account: Option<AccountId>,
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<ZoneId>>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

/// All zones, by id.
#[utoipa::path(get, path = "/api/v1/zones", operation_id = "list_zones", tag = "zones", params(ListParams), responses(
    (status = 200, description = "A page of zones.", body = Page<Zone>),
    (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<ApiState>,
    sight: Sight,
    asker: Asker,
    onward: Onward,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Zone>>, ApiError> {
    let own = page(&state.broker.accounts(), &sight, &params);
    if asker == Asker::Replica {
        return Ok(Json(own));
    }
    Ok(Json(
        state
            .peers
            .merge(own, &state.peers.working(), &onward, params.limit, |zone: &Zone| {
                zone.id.clone()
            })
            .await,
    ))
}

fn page(accounts: &[Arc<AccountView>], sight: &Sight, params: &ListParams) -> Page<Zone> {
    let wanted = |zone: &&ZoneView| {
        sight.of(&zone.environment)
            && params.environment.as_ref().is_none_or(|wanted| *wanted == zone.environment)
            && params.account.as_ref().is_none_or(|account| *account == zone.account)
    };
    let mut views: Vec<&ZoneView> =
        accounts.iter().flat_map(|account| &account.zones).filter(wanted).collect();
    views.sort_by(|a, b| a.zone.cmp(&b.zone));
    let after = params.cursor.as_ref().map(|cursor| &cursor.0);
    let page = Page::of_sorted(views, after, params.limit, |view: &&ZoneView| view.zone.clone());
    Page::of_all(page.items.into_iter().map(Zone::from).collect(), page.next)
}

/// One zone.
#[utoipa::path(get, path = "/api/v1/zones/{id}", operation_id = "get_zone", tag = "zones",
    params(("id" = String, Path, description = "The hosted zone's id, without `/hostedzone/`.", example = "Z0EXAMPLE")),
    responses(
        (status = 200, description = "The zone.", body = Zone),
        (status = 400, description = "That is no zone id.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such zone.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The replica that works it does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(state): State<ApiState>,
    sight: Sight,
    asker: Asker,
    onward: Onward,
    Path(id): Path<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<Zone>, ApiError> {
    let id: ZoneId = identifier(&id)?;
    if !sight.of_zone(&state, &id) {
        return Err(unknown(&id));
    }
    let accounts = state.broker.accounts();
    let found = accounts.iter().flat_map(|account| &account.zones).find(|view| view.zone == id);
    match found {
        Some(view) => Ok(Json(Zone::from(view))),
        None => Ok(Json(elsewhere(&state, asker, &onward, &id).await?)),
    }
}

/// The answer of the replica that manages a zone's account.
pub(super) async fn elsewhere<T: DeserializeOwned>(
    state: &ApiState,
    asker: Asker,
    onward: &Onward,
    zone: &ZoneId,
) -> Result<T, ApiError> {
    let account = state
        .broker
        .directory
        .zones()
        .get(zone)
        .map(|facts| facts.account.clone())
        .ok_or_else(|| unknown(zone))?;
    match state.peers.worked(&account) {
        Worked::At(peer) if asker == Asker::Anybody => {
            state.peers.ask(&peer, onward).await?.ok_or(ApiError::NotWorked(account))
        }
        Worked::Nowhere if state.broker.workers.is_configured(&account) => {
            Err(ApiError::NotWorked(account))
        }
        _ => Err(unknown(zone)),
    }
}

/// The error for a zone that no account's worker has.
pub(super) fn unknown(id: &ZoneId) -> ApiError {
    ApiError::NotFound {
        kind: "zone",
        id: id.to_string(),
        remedy: "/api/v1/zones lists those that the accounts' zone selectors take",
    }
}
