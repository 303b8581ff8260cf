//! Requests: what needed the word of people, and what came of it.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::ApiState;
use super::page::{Cursor, Limit, Page};
use super::problem::{ApiError, Problem};
use super::request::{NoParams, Params, uuid_of};
use super::sight::Sight;
use super::values::Time;
use crate::core::ids::BatchId;
use crate::core::release::request::{ReleaseRequest, RequestState, Vote, WantedRelease};
use crate::core::time::Timestamp;
use crate::ports::RequestFilter;

/// One person's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WordInfo {
    /// Whose.
    #[schema(example = "token ops")]
    pub by: String,
    /// When.
    pub at: Time,
    /// What they said to it.
    pub comment: String,
}

impl From<&Vote> for WordInfo {
    fn from(vote: &Vote) -> Self {
        Self { by: vote.by.to_string(), at: Time(vote.at), comment: vote.comment.clone() }
    }
}

/// What needs the word of people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestInfo {
    /// Its id.
    #[schema(format = "uuid")]
    pub id: String,
    /// What it asks for.
    #[schema(example = "let 12 units of change go in example.com")]
    pub wants: String,
    /// A hash of what would be done: a word is for that.
    pub digest: String,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it was made.
    pub at: Time,
    /// Until when it waits.
    pub expires_at: Time,
    /// pending, approved, denied, expired, cancelled or stale.
    #[schema(example = "pending")]
    pub state: String,
    /// How many have to say yes.
    pub needed: u8,
    /// Who said yes.
    pub approvals: Vec<WordInfo>,
    /// Who ended it otherwise; null if nobody has.
    pub ended: Option<WordInfo>,
}

impl From<&ReleaseRequest> for RequestInfo {
    fn from(request: &ReleaseRequest) -> Self {
        let wants = match &request.wanted {
            WantedRelease::Release { zone, units } => {
                format!("let {} units of change go in {zone}", units.len())
            }
            WantedRelease::Transfer { zone, names, to } => {
                format!("pass {} of {zone} to the team {to}", names.join(", "))
            }
            WantedRelease::Grant(_) => "a grant".to_owned(),
            WantedRelease::Handover { from, to, names } => {
                format!("hand {} over from {from} to {to}", names.join(", "))
            }
            WantedRelease::BreakFreeze(freeze) => format!("go through the freeze {freeze}"),
        };
        Self {
            id: request.id.to_string(),
            wants,
            digest: request.digest.to_string(),
            by: request.by.to_string(),
            reason: request.why.clone(),
            at: Time(request.at),
            expires_at: Time(request.expires_at),
            state: request.state.as_str().to_owned(),
            needed: request.needed,
            approvals: request.votes.iter().map(WordInfo::from).collect(),
            ended: request.ended.as_ref().map(WordInfo::from),
        }
    }
}

/// What needs the word of people, with what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestDetails {
    /// The request.
    #[serde(flatten)]
    pub request: RequestInfo,
    /// The batches that its words let go, in the order in which they were planned.
    #[schema(value_type = Vec<String>)]
    pub batches: Vec<BatchId>,
}

/// Which requests.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only in this state.
    #[param(value_type = Option<String>, example = "pending")]
    pub state: Option<RequestState>,
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<(i64, Uuid)>>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

/// All requests, the newest first; ended ones stay.
#[utoipa::path(get, path = "/api/v1/requests", operation_id = "list_requests", tag = "holds", params(ListParams), responses(
    (status = 200, description = "A page of requests.", body = Page<RequestInfo>),
    (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<ApiState>,
    sight: Sight,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<RequestInfo>>, ApiError> {
    let filter = RequestFilter {
        state: params.state,
        before: params.cursor.map(|Cursor((at, id))| (Timestamp(at), id)),
        limit: u32::try_from(params.limit.get() + 1).unwrap_or(u32::MAX),
        ..RequestFilter::default()
    };
    let requests = state.broker.store.requests(&filter).await?;
    let page = Page::of_overfull(requests, params.limit, |request| (request.at.0, request.id));
    let seen = page.items.iter().filter(|request| sees(&state, &sight, request));
    let items = seen.map(RequestInfo::from).collect();
    Ok(Json(Page::of_all(items, page.next)))
}

/// Whether a request is about something that is seen.
fn sees(state: &ApiState, sight: &Sight, request: &ReleaseRequest) -> bool {
    match &request.wanted {
        WantedRelease::Release { zone, .. } | WantedRelease::Transfer { zone, .. } => {
            sight.of_apex(state, zone)
        }
        WantedRelease::Handover { from, to, .. } => {
            sight.of_cluster(state, from) || sight.of_cluster(state, to)
        }
        WantedRelease::Grant(_) | WantedRelease::BreakFreeze(_) => sight.is_whole(),
    }
}

/// One request.
#[utoipa::path(get, path = "/api/v1/requests/{id}", operation_id = "get_request", tag = "holds",
    params(("id" = String, Path, description = "The request's id.")), responses(
        (status = 200, description = "The request.", body = RequestDetails),
        (status = 400, description = "That is no id.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such request.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(state): State<ApiState>,
    sight: Sight,
    Path(id): Path<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<RequestDetails>, ApiError> {
    let uuid = uuid_of("request", &id)?;
    let request = state.broker.store.request(uuid).await?;
    let request = request.filter(|request| sees(&state, &sight, request));
    let request = request.as_ref().map(RequestInfo::from).ok_or(ApiError::NotFound {
        kind: "request",
        id,
        remedy: "/api/v1/requests lists them",
    })?;
    let batches = state.broker.store.batches_of_request(uuid).await?;
    Ok(Json(RequestDetails { request, batches }))
}
