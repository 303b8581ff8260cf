//! Hand-overs: names that pass from one cluster to another.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::ApiState;
use super::page::{Cursor, Limit, Page};
use super::peers::{Asker, Onward};
use super::problem::{ApiError, Problem};
use super::request::{JsonBody, NoParams, Params, uuid_of};
use super::role::Granted;
use super::sight::Sight;
use super::values::Time;
use crate::broker::handovers::{HandoverError, WantedHandover};
use crate::core::dns::name::DnsName;
use crate::core::governance::handover::{Handover, HandoverMode, HandoverReport};
use crate::core::governance::pattern::NamePattern;
use crate::core::ids::{AccountId, ClusterId, ZoneId};
use crate::core::planning::claims::HandedName;

/// How many that are over a list shows.
const SHOWN_OVER: u32 = 100;

/// How many names are how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandoverCounts {
    /// Names that pass: the new cluster wants every record set that the old one publishes.
    pub ready: u64,
    /// Names for which the new cluster wants other record types.
    pub different: u64,
    /// Names that the new cluster does not want, or may not have.
    pub missing: u64,
    /// Names that the new cluster has.
    pub passed: u64,
    /// Names that are on their way.
    pub remaining: u64,
}

/// A hand-over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HandoverInfo {
    /// Its id.
    #[schema(format = "uuid")]
    pub id: String,
    /// Who has the names.
    #[schema(value_type = String, example = "dev-east")]
    pub from: ClusterId,
    /// Who is to have them.
    #[schema(value_type = String, example = "dev-west")]
    pub to: ClusterId,
    /// Which names, by pattern; none for all.
    pub names: Vec<String>,
    /// Only names of objects in these namespaces; none for all.
    pub namespaces: Vec<String>,
    /// cutover or overlap.
    #[schema(value_type = String, example = "cutover")]
    pub mode: HandoverMode,
    /// Whether names pass, too, for which the new cluster wants other record types.
    pub with_different: bool,
    /// staged, overlapping, overlapped, switching, watching, done, aborting or aborted.
    #[schema(example = "staged")]
    pub phase: String,
    /// Who began it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it was staged.
    pub at: Time,
    /// Since when it is in its phase.
    pub since: Time,
    /// When the last resolver has forgotten the old answers, in the phases that wait for that.
    pub until: Option<Time>,
    /// How many names are how far, as the accounts said last.
    pub counts: HandoverCounts,
    /// The accounts that have not said yet how far they are.
    #[schema(value_type = Vec<String>)]
    pub silent: Vec<AccountId>,
    /// Who aborted it, and why; null if nobody did.
    pub aborted: Option<String>,
}

/// A name of a hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandedNameInfo {
    /// The account.
    #[schema(value_type = String, example = "111111111111")]
    pub account: AccountId,
    /// The zone.
    #[schema(value_type = String, example = "Z0EXAMPLE")]
    pub zone: ZoneId,
    /// Its apex.
    #[schema(value_type = String, example = "dev.example.com")]
    pub zone_name: DnsName,
    /// The name.
    #[schema(value_type = String, example = "www.dev.example.com")]
    pub name: DnsName,
    /// ready, different, missing or passed.
    #[schema(example = "ready")]
    pub is: String,
    /// Whether it is on its way.
    pub on_its_way: bool,
}

/// What is to be handed over.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHandover {
    /// Who has the names.
    #[schema(value_type = String, example = "dev-east")]
    pub from: ClusterId,
    /// Who is to have them.
    #[schema(value_type = String, example = "dev-west")]
    pub to: ClusterId,
    /// Which names, by pattern; all if there are none.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["*.shop.example.com"]))]
    pub names: Vec<NamePattern>,
    /// Only names of objects in these namespaces; all if there are none.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// cutover (the default) or overlap.
    #[serde(default)]
    #[schema(value_type = String, example = "cutover")]
    pub mode: HandoverMode,
    /// Whether names pass, too, for which the new cluster wants other record types.
    #[serde(default)]
    pub with_different: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Why a hand-over is aborted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HandoverWord {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

impl From<HandoverError> for ApiError {
    fn from(error: HandoverError) -> Self {
        match error {
            HandoverError::SameCluster(_) => Self::BadBody(format!("to: {error}")),
            HandoverError::NotFound(id) => Self::NotFound {
                kind: "hand-over",
                id: id.to_string(),
                remedy: "/api/v1/handovers lists them",
            },
            HandoverError::Store(error) => Self::Store(error),
            HandoverError::Clashes { .. }
            | HandoverError::NotReported(_)
            | HandoverError::Refused(_)
            | HandoverError::MovedOn => Self::Decided(error.to_string()),
        }
    }
}

async fn info(state: &ApiState, handover: &Handover) -> Result<HandoverInfo, ApiError> {
    let reports = state.broker.store.handover_reports(handover.id).await?;
    let accounts = state.broker.workers.configured();
    let mut sum = HandoverReport::default();
    let mut silent = vec![];
    for account in accounts.keys() {
        match reports.get(account) {
            Some(report) => {
                sum.add(report);
                if report.version != handover.version {
                    silent.push(account.clone());
                }
            }
            None => silent.push(account.clone()),
        }
    }
    let HandoverReport { ready, different, missing, passed, remaining, .. } = sum;
    Ok(HandoverInfo {
        id: handover.id.to_string(),
        from: handover.from.clone(),
        to: handover.to.clone(),
        names: handover.names.iter().map(ToString::to_string).collect(),
        namespaces: handover.namespaces.clone(),
        mode: handover.mode,
        with_different: handover.with_different,
        phase: handover.phase.to_string(),
        by: handover.by.to_string(),
        reason: handover.reason.clone(),
        at: Time(handover.at),
        since: Time(handover.since),
        until: handover.until.map(Time),
        counts: HandoverCounts { ready, different, missing, passed, remaining },
        silent: if handover.phase.is_over() { vec![] } else { silent },
        aborted: handover.ended.as_ref().map(|(by, why)| match why.is_empty() {
            true => by.to_string(),
            false => format!("{by}: {why}"),
        }),
    })
}

/// Whether a hand-over is seen: by who sees one of its clusters.
fn sees(state: &ApiState, sight: &Sight, handover: &Handover) -> bool {
    sight.of_cluster(state, &handover.from) || sight.of_cluster(state, &handover.to)
}

/// A hand-over that is seen.
async fn find(state: &ApiState, sight: &Sight, id: &str) -> Result<Handover, ApiError> {
    let id = uuid_of("hand-over", id)?;
    let found = state.broker.store.handover(id).await?;
    let seen = found.filter(|found| sees(state, sight, found));
    Ok(seen.ok_or(HandoverError::NotFound(id))?)
}

/// Which hand-overs.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HandoverParams {
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<(i64, Uuid)>>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

/// The hand-overs that are not over and the last ones that are, the newest first.
#[utoipa::path(get, path = "/api/v1/handovers", operation_id = "list_handovers", tag = "handovers", params(HandoverParams), responses(
    (status = 200, description = "The hand-overs.", body = Page<HandoverInfo>),
    (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<ApiState>,
    sight: Sight,
    Params(params): Params<HandoverParams>,
) -> Result<Json<Page<HandoverInfo>>, ApiError> {
    let position = |handover: &Handover| (handover.at.0, handover.id);
    let before = params.cursor.map(|cursor| cursor.0);
    let known = state.broker.store.handovers(SHOWN_OVER).await?.into_iter();
    let known = known.filter(|known| sees(&state, &sight, known));
    let rest = known.filter(|known| before.is_none_or(|before| position(known) < before));
    let page =
        Page::of_overfull(rest.take(params.limit.get() + 1).collect(), params.limit, position);
    let mut items = vec![];
    for handover in &page.items {
        items.push(info(&state, handover).await?);
    }
    Ok(Json(Page::of_all(items, page.next)))
}

/// Stage a hand-over.
///
/// Nothing passes yet: the accounts say which names are ready, different or missing. Switch it then, or abort it.
#[utoipa::path(post, path = "/api/v1/handovers", operation_id = "stage_handover", tag = "handovers", request_body = NewHandover, responses(
    (status = 200, description = "The hand-over.", body = HandoverInfo),
    (status = 400, description = "The body is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token is for other zones.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Another hand-over may want the same names.", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn stage(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    Params(NoParams {}): Params<NoParams>,
    JsonBody(body): JsonBody<NewHandover>,
) -> Result<Json<HandoverInfo>, ApiError> {
    granted.may_change_all_of(&body.names)?;
    let registered = state.broker.directory.settings();
    for (field, cluster) in [("from", &body.from), ("to", &body.to)] {
        if !registered.contains_key(cluster) {
            return Err(ApiError::BadBody(format!(
                "{field}: there is no cluster {cluster}: /api/v1/clusters lists them"
            )));
        }
    }
    let wanted = WantedHandover {
        from: body.from,
        to: body.to,
        names: body.names,
        namespaces: body.namespaces,
        mode: body.mode,
        with_different: body.with_different,
        by: granted.person().actor,
        reason: body.reason,
    };
    let handover = state.broker.stage_handover(wanted).await?;
    Ok(Json(info(&state, &handover).await?))
}

/// One hand-over.
#[utoipa::path(get, path = "/api/v1/handovers/{id}", operation_id = "get_handover", tag = "handovers",
    params(("id" = String, Path, description = "The hand-over's id.")), responses(
        (status = 200, description = "The hand-over.", body = HandoverInfo),
        (status = 400, description = "That is no id.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such hand-over.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(state): State<ApiState>,
    sight: Sight,
    Path(id): Path<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<HandoverInfo>, ApiError> {
    let handover = find(&state, &sight, &id).await?;
    Ok(Json(info(&state, &handover).await?))
}

/// Which names of a hand-over.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NameParams {
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<(AccountId, ZoneId, DnsName)>>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

/// The names of a hand-over, each with how far it is now.
#[utoipa::path(get, path = "/api/v1/handovers/{id}/names", operation_id = "list_handover_names", tag = "handovers",
    params(("id" = String, Path, description = "The hand-over's id."), NameParams), responses(
        (status = 200, description = "A page of names.", body = Page<HandedNameInfo>),
        (status = 400, description = "That is no id, or a parameter is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such hand-over.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn names(
    State(state): State<ApiState>,
    sight: Sight,
    asker: Asker,
    onward: Onward,
    Path(id): Path<String>,
    Params(params): Params<NameParams>,
) -> Result<Json<Page<HandedNameInfo>>, ApiError> {
    let handover = find(&state, &sight, &id).await?;
    let after = params.cursor.map(|cursor| cursor.0);
    let found = state.broker.handed_names(handover, after, params.limit.get() + 1).await;
    let of_zone = |(account, zone): (AccountId, crate::broker::worker::HandedNames)| {
        zone.names.into_iter().map(move |handed| HandedNameInfo {
            account: account.clone(),
            zone: zone.zone.clone(),
            zone_name: zone.apex.clone(),
            name: handed.name,
            is: match handed.is {
                HandedName::Ready => "ready",
                HandedName::Different => "different",
                HandedName::Missing => "missing",
                HandedName::Passed => "passed",
            }
            .to_owned(),
            on_its_way: handed.is_on_its_way,
        })
    };
    let position =
        |info: &HandedNameInfo| (info.account.clone(), info.zone.clone(), info.name.clone());
    let own =
        Page::of_overfull(found.into_iter().flat_map(of_zone).collect(), params.limit, position);
    if asker == Asker::Replica {
        return Ok(Json(own));
    }
    let peers = state.peers.all();
    Ok(Json(state.peers.merge(own, &peers, &onward, params.limit, position).await))
}

/// Let the names of a staged hand-over pass.
///
/// Names that are ready pass, each in one change, and so do those that become ready before the hand-over is over. Guards and freezes
/// count as for any change.
#[utoipa::path(post, path = "/api/v1/handovers/{id}/switch", operation_id = "switch_handover", tag = "handovers",
    params(("id" = String, Path, description = "The hand-over's id.")), responses(
        (status = 200, description = "The hand-over.", body = HandoverInfo),
        (status = 400, description = "That is no id.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is for other zones.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such hand-over.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has begun, or an account has not said yet which names are ready.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn switch(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    Path(id): Path<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<HandoverInfo>, ApiError> {
    let staged = find(&state, &Sight::by(&granted), &id).await?;
    granted.may_change_all_of(&staged.names)?;
    let handover = state.broker.switch_handover(staged.id).await?;
    Ok(Json(info(&state, &handover).await?))
}

/// Abort a hand-over.
///
/// Names that passed go back to the cluster that had them, if it still wants them.
#[utoipa::path(post, path = "/api/v1/handovers/{id}/abort", operation_id = "abort_handover", tag = "handovers",
    params(("id" = String, Path, description = "The hand-over's id.")), request_body = HandoverWord, responses(
        (status = 200, description = "The hand-over.", body = HandoverInfo),
        (status = 400, description = "That is no id, or the body is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is for other zones.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such hand-over.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is over, or is aborted already.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn abort(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    Path(id): Path<String>,
    Params(NoParams {}): Params<NoParams>,
    JsonBody(body): JsonBody<HandoverWord>,
) -> Result<Json<HandoverInfo>, ApiError> {
    let known = find(&state, &Sight::by(&granted), &id).await?;
    granted.may_change_all_of(&known.names)?;
    let by = granted.person().actor;
    let handover = state.broker.abort_handover(known.id, by, body.reason).await?;
    Ok(Json(info(&state, &handover).await?))
}
