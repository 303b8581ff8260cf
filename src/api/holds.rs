//! What guards hold, and the words of people on it.
//!
//! A hold is known by the digest of its units: what somebody looked at is what they let go. The replica that manages the account
//! knows what is held; a word is taken by any replica and reaches that one through the store.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::caller::Caller;
use super::changes::Difference;
use super::page::{Cursor, Limit, Page};
use super::peers::{Asker, Onward};
use super::problem::{ApiError, Problem};
use super::request::{JsonBody, NoParams, Params, identifier};
use super::requests::RequestInfo;
use super::role::Granted;
use super::sight::Sight;
use super::values::Time;
use crate::broker::rules::releases::{DecidedHold, Word, WordVerdict};
use crate::broker::worker::HoldReport;
use crate::core::dns::name::DnsName;
use crate::core::governance::rule::guard::{Counted, Guard, GuardId};
use crate::core::governance::snapshot::Governance;
use crate::core::ids::{AccountId, ZoneId};
use crate::core::planning::unit_digest::UnitDigest;
use crate::core::release::guard::Crossed;
use crate::core::release::ledger::GuardScope;
use crate::core::release::request::{Deciders, RequestState};
use crate::core::time::Millis;
use crate::ports::RequestFilter;

/// Names of a hold that a list shows.
const SHOWN_NAMES: usize = 10;
/// How long a word holds if it does not say.
const HOLDS_FOR: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
/// The longest that a word holds.
const LONGEST: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);

/// A line of a guard that is crossed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CrossedLine {
    /// What there is too much of: deletions, lost-names or replaced-names.
    #[schema(example = "deletions")]
    pub what: String,
    /// How many went within the guard's window.
    pub sent: u64,
    /// How many wait.
    pub pending: u64,
    /// How many may go within the window.
    pub allowed: u64,
    /// Of how many names.
    pub names: u64,
}

impl From<&Crossed> for CrossedLine {
    fn from(crossed: &Crossed) -> Self {
        let Crossed { what, sent, pending, allowed, names } = *crossed;
        Self { what: what.as_str().to_owned(), sent, pending, allowed, names }
    }
}

/// Units of change of one zone that one guard holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HoldInfo {
    /// What the hold is known by: other units are another hold.
    #[schema(example = "5d31fd7c8fc046a3a3fdd1cabf475663992fe06b21776fe67b2699a0d44b1db1")]
    pub digest: String,
    /// The account.
    #[schema(value_type = String, example = "111111111111")]
    pub account: AccountId,
    /// The zone.
    #[schema(value_type = String, example = "Z0EXAMPLE")]
    pub zone: ZoneId,
    /// Its apex.
    #[schema(value_type = String, example = "dev.example.com")]
    pub zone_name: DnsName,
    /// The rule that is the guard; null for the guard that is there by default.
    pub guard: Option<String>,
    /// Why it is held.
    pub reason: String,
    /// The lines that are crossed; none if the guard asks for a word for each change of its kind.
    pub crossed: Vec<CrossedLine>,
    /// How many units wait.
    pub units: usize,
    /// How many names they are of.
    pub names: usize,
    /// The first of the names.
    #[schema(value_type = Vec<String>)]
    pub some_names: Vec<DnsName>,
    /// Since when the oldest of them waits.
    pub since: Time,
    /// Who decides.
    #[schema(example = "the owners of the team pay")]
    pub deciders: String,
    /// How many have to say yes.
    pub needed: u8,
    /// The request with the words that were given; null before the first one.
    pub request: Option<RequestInfo>,
}

/// A hold with the digests of its units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HoldDetails {
    /// The hold.
    #[serde(flatten)]
    pub hold: HoldInfo,
    /// The digest of each unit.
    pub unit_digests: Vec<String>,
    /// All names.
    #[schema(value_type = Vec<String>)]
    pub all_names: Vec<DnsName>,
}

/// One unit of a hold: changes that go together or not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HeldUnitInfo {
    /// What it is known by.
    pub digest: String,
    /// What it changes.
    pub changes: Vec<Difference>,
}

/// A person's word.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HoldDecision {
    /// What they say to it.
    pub comment: String,
    /// How long the word holds, as in 24h; freezes do not count. Not for a no.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "24h")]
    pub holds_for: Option<jiff::SignedDuration>,
}

/// Which holds.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only of this zone.
    #[param(value_type = Option<String>, example = "Z0EXAMPLE")]
    pub zone: Option<ZoneId>,
    /// Only of this account.
    #[param(value_type = Option<String>, example = "111111111111")]
    pub account: Option<AccountId>,
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<(ZoneId, String)>>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

/// Which units.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UnitParams {
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<DnsName>>,
    /// Of how many names at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

fn guard_of(governance: &Governance, guard: &GuardId) -> Guard {
    governance.guards().remove(guard).unwrap_or_default()
}

fn reason(report: &HoldReport) -> String {
    let HoldReport { hold, crossed, .. } = report;
    let guard = &hold.reason.guard;
    let Some(scope) = &hold.reason.scope else {
        return format!("{guard} asks for a person's word");
    };
    let place = match scope {
        GuardScope::Zone(_) => format!("the zone {}", report.apex),
        GuardScope::Cluster(_) | GuardScope::Account => scope.to_string(),
    };
    let line = |crossed: &Crossed| {
        let what = match crossed.what {
            Counted::Deletions => "record sets deleted",
            Counted::LostNames => "names without an answer",
            Counted::ReplacedNames => "names with all answers changed",
        };
        let Crossed { sent, pending, allowed, names, .. } = crossed;
        format!(
            "{pending} more {what}, after {sent}, are over the line of {allowed} for {names} names"
        )
    };
    let lines: Vec<String> = crossed.iter().map(line).collect();
    format!("{guard} for {place}: {}", lines.join("; "))
}

/// Who decides, in words.
fn words(deciders: &Deciders) -> String {
    match deciders {
        Deciders::Team { name, .. } => format!("the owners of the team {name}"),
        Deciders::Platform => "operators and admins".to_owned(),
    }
}

fn details(
    report: &HoldReport,
    governance: &Governance,
    granted: &Granted,
    request: Option<RequestInfo>,
) -> HoldDetails {
    let HoldReport { account, zone, apex, hold, crossed } = report;
    let person = granted.person();
    let deciders = Deciders::of(governance.rules(), apex, &hold.names, &person);
    HoldDetails {
        hold: HoldInfo {
            digest: hold.digest.to_string(),
            account: account.clone(),
            zone: zone.clone(),
            zone_name: apex.clone(),
            guard: match &hold.reason.guard {
                GuardId::Default => None,
                GuardId::Rule(name) => Some(name.to_string()),
            },
            reason: reason(report),
            crossed: crossed.iter().map(CrossedLine::from).collect(),
            units: hold.units.len(),
            names: hold.names.len(),
            some_names: hold.names.iter().take(SHOWN_NAMES).cloned().collect(),
            since: Time(hold.since),
            deciders: words(&deciders),
            needed: guard_of(governance, &hold.reason.guard).approvals.unwrap_or(1),
            request,
        },
        unit_digests: hold.units.iter().map(ToString::to_string).collect(),
        all_names: hold.names.iter().cloned().collect(),
    }
}

/// The requests that wait, by what they are for.
async fn pending_request(
    state: &ApiState,
    digest: UnitDigest,
) -> Result<Option<RequestInfo>, ApiError> {
    let filter = RequestFilter {
        state: Some(RequestState::Pending),
        digest: Some(digest),
        limit: 1,
        ..RequestFilter::default()
    };
    Ok(state.broker.store.requests(&filter).await?.first().map(RequestInfo::from))
}

/// All holds, by zone.
///
/// A guard holds all that is pending of a kind once too much of it would go within its window, and everything else goes on. What is
/// held goes when people let it go, when less of it is wanted, or when what went before is long enough ago.
#[utoipa::path(get, path = "/api/v1/holds", operation_id = "list_holds", tag = "holds", params(ListParams), responses(
    (status = 200, description = "A page of holds.", body = Page<HoldInfo>),
    (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    sight: Sight,
    asker: Asker,
    onward: Onward,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<HoldInfo>>, ApiError> {
    let governance = state.broker.rules.borrow().governance.clone();
    let mut holds = vec![];
    for report in state.broker.holds().await {
        let is_meant = sight.of_account(&state, &report.account)
            && params.zone.as_ref().is_none_or(|zone| *zone == report.zone)
            && params.account.as_ref().is_none_or(|account| *account == report.account);
        if is_meant {
            let request = pending_request(&state, report.hold.digest).await?;
            holds.push(details(&report, &governance, &granted, request).hold);
        }
    }
    let position = |hold: &HoldInfo| (hold.zone.clone(), hold.digest.clone());
    holds.sort_by_key(position);
    let after = params.cursor.map(|cursor| cursor.0);
    let own = Page::of_sorted(holds, after.as_ref(), params.limit, position);
    if asker == Asker::Replica {
        return Ok(Json(own));
    }
    let peers = state.peers.all();
    Ok(Json(state.peers.merge(own, &peers, &onward, params.limit, position).await))
}

/// Whether the caller sees what is held.
fn sees(state: &ApiState, granted: &Granted, report: &HoldReport) -> bool {
    Sight::by(granted).of_account(state, &report.account)
}

async fn find(
    state: &ApiState,
    granted: &Granted,
    asker: Asker,
    onward: &Onward,
    digest: UnitDigest,
) -> Result<HoldDetails, ApiError> {
    let governance = state.broker.rules.borrow().governance.clone();
    let reports = state.broker.holds().await;
    let is_it = |report: &&HoldReport| report.hold.digest == digest && sees(state, granted, report);
    if let Some(report) = reports.iter().find(is_it) {
        let request = pending_request(state, digest).await?;
        return Ok(details(report, &governance, granted, request));
    }
    let asked = onward.to(&format!("/api/v1/holds/{digest}"));
    let peers = if asker == Asker::Anybody { state.peers.all() } else { vec![] };
    let (found, missing) = state.peers.ask_each(&peers, &asked).await;
    match (found.into_iter().next(), missing.into_iter().next()) {
        (Some(found), _) => Ok(found),
        (None, Some(missing)) => Err(ApiError::MissingPart(missing.detail)),
        (None, None) => Err(ApiError::NotFound {
            kind: "hold",
            id: digest.to_string(),
            remedy: "what is held has changed, or has gone; /api/v1/holds lists what is held now",
        }),
    }
}

/// One hold.
#[utoipa::path(get, path = "/api/v1/holds/{digest}", operation_id = "get_hold", tag = "holds",
    params(("digest" = String, Path, description = "The hold's digest.")), responses(
        (status = 200, description = "The hold.", body = HoldDetails),
        (status = 400, description = "That is no digest.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such hold now.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "A replica or the store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    asker: Asker,
    onward: Onward,
    Path(digest): Path<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<HoldDetails>, ApiError> {
    let digest: UnitDigest = identifier(&digest)?;
    Ok(Json(find(&state, &granted, asker, &onward, digest).await?))
}

/// What a hold would change, name by name.
#[utoipa::path(get, path = "/api/v1/holds/{digest}/units", operation_id = "list_hold_units", tag = "holds",
    params(("digest" = String, Path, description = "The hold's digest."), UnitParams), responses(
        (status = 200, description = "A page of units.", body = Page<HeldUnitInfo>),
        (status = 400, description = "That is no digest, or a parameter is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such hold now.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "A replica does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn units(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    asker: Asker,
    onward: Onward,
    Path(digest): Path<String>,
    Params(params): Params<UnitParams>,
) -> Result<Json<Page<HeldUnitInfo>>, ApiError> {
    let digest: UnitDigest = identifier(&digest)?;
    if !Sight::by(&granted).is_whole() {
        // It says that there is none that they see.
        find(&state, &granted, asker, &onward, digest).await?;
    }
    let after = params.cursor.map(|cursor| cursor.0);
    if let Some((units, next)) = state.broker.hold_units(digest, after, params.limit.get()).await {
        let unit =
            |(digest, unit): &(UnitDigest, crate::core::planning::change::Unit)| HeldUnitInfo {
                digest: digest.to_string(),
                changes: unit.changes.iter().map(Difference::from).collect(),
            };
        let next = next.map(|name| Cursor(name).to_string());
        return Ok(Json(Page::of_all(units.iter().map(unit).collect(), next)));
    }
    let peers = if asker == Asker::Anybody { state.peers.all() } else { vec![] };
    let (found, _) = state.peers.ask_each(&peers, &onward).await;
    match found.into_iter().next() {
        Some(page) => Ok(Json(page)),
        // It says why there is none.
        None => find(&state, &granted, asker, &onward, digest)
            .await
            .map(|_| Json(Page::of_all(vec![], None))),
    }
}

async fn decide(
    state: &ApiState,
    granted: &Granted,
    caller: &Caller,
    onward: &Onward,
    digest: &str,
    comment: String,
    verdict: WordVerdict,
) -> Result<Json<RequestInfo>, ApiError> {
    let digest: UnitDigest = identifier(digest)?;
    let found = find(state, granted, Asker::Anybody, onward, digest).await?;
    let person = granted.person();
    let governance = state.broker.rules.borrow().governance.clone();
    let apex = &found.hold.zone_name;
    let deciders = Deciders::of(governance.rules(), apex, &found.all_names, &person);
    let deciders = granted.may_decide(governance.rules(), apex, deciders)?;
    let units: Vec<UnitDigest> =
        found.unit_digests.iter().filter_map(|unit| UnitDigest::parse(unit)).collect();
    let hold = DecidedHold {
        digest,
        zone: apex.clone(),
        names: found.all_names.clone(),
        units,
        why: found.hold.reason.clone(),
        needed: found.hold.needed,
    };
    let origin = caller.origin(state);
    let word = Word { person, deciders, verdict, comment, origin };
    let request = state.broker.decide_hold(&hold, &word).await?;
    Ok(Json(RequestInfo::from(&request)))
}

/// Let a hold go.
///
/// The word is for the units of the hold as they are now: one that changes afterwards is held anew. Once as many people have said
/// yes as the guard asks for, the units go out as any change does; a freeze still keeps them back until its end.
#[utoipa::path(post, path = "/api/v1/holds/{digest}/approve", operation_id = "approve_hold", tag = "holds",
    params(("digest" = String, Path, description = "The hold's digest.")), request_body = HoldDecision, responses(
        (status = 200, description = "The request with the word.", body = RequestInfo),
        (status = 400, description = "The digest or the body is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Somebody else decides this.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such hold now.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is decided already.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "A replica or the store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn approve(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    caller: Caller,
    onward: Onward,
    Path(digest): Path<String>,
    Params(NoParams {}): Params<NoParams>,
    JsonBody(body): JsonBody<HoldDecision>,
) -> Result<Json<RequestInfo>, ApiError> {
    let holds_for = body.holds_for.unwrap_or(HOLDS_FOR);
    if holds_for < jiff::SignedDuration::from_secs(60) || holds_for > LONGEST {
        return Err(ApiError::BadBody(
            "for: a word holds for a minute to 30 days: give for example 24h".to_owned(),
        ));
    }
    let verdict = WordVerdict::Approve(Millis::from_secs(holds_for.as_secs()));
    decide(&state, &granted, &caller, &onward, &digest, body.comment, verdict).await
}

/// Say no to a hold.
///
/// It stays held, and its request ends. What the clusters want does not change by that: withdraw it there.
#[utoipa::path(post, path = "/api/v1/holds/{digest}/deny", operation_id = "deny_hold", tag = "holds",
    params(("digest" = String, Path, description = "The hold's digest.")), request_body = HoldDecision, responses(
        (status = 200, description = "The request with the word.", body = RequestInfo),
        (status = 400, description = "The digest or the body is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Somebody else decides this.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such hold now.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is decided already.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "A replica or the store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn deny(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    caller: Caller,
    onward: Onward,
    Path(digest): Path<String>,
    Params(NoParams {}): Params<NoParams>,
    JsonBody(body): JsonBody<HoldDecision>,
) -> Result<Json<RequestInfo>, ApiError> {
    if body.holds_for.is_some() {
        return Err(ApiError::BadBody("for: a no has no time".to_owned()));
    }
    decide(&state, &granted, &caller, &onward, &digest, body.comment, WordVerdict::Deny).await
}
