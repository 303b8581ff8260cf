//! Sessions, and tokens of people and of machines: who has which, and how they are made and taken back.
//!
//! People make tokens while they are signed in. A person's token acts as they do, with less; a machine's acts for teams, or for the
//! whole. A token makes no other one, so whoever finds one has it until its end and no longer.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::ApiState;
use super::page::{Cursor, Limit, Page};
use super::problem::{ApiError, Problem};
use super::request::{JsonBody, NoParams, Params, uuid_of};
use super::role::{Granted, Role};
use super::secret::{new_secret, secret_hash};
use super::values::Time;
use crate::core::dns::name::DnsName;
use crate::core::governance::actor::{Actor, ProvedBy};
use crate::core::governance::ruleset::Rules;
use crate::core::ids::{EnvironmentId, RuleName};
use crate::core::people::credential::{Credential, CredentialEnd, CredentialKind, TokenScope};
use crate::core::people::teams::TeamStanding;
use crate::core::time::{Millis, Timestamp};
use crate::ports::CredentialFilter;

/// The longest that a token holds.
const MOST_DAYS: u32 = 365;
/// How long one holds if its maker does not say.
const USUAL_DAYS: u32 = 90;
const LONGEST_NAME: usize = 100;
/// How many are read at once where only some may be shown.
const READ_AT_ONCE: u32 = 500;

/// A session or a token. The secret itself is shown once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    /// What it is known by.
    #[schema(format = "uuid")]
    pub id: String,
    /// session, person or machine.
    #[schema(example = "machine")]
    pub kind: String,
    /// What people call it; of a session, the program that signed in.
    #[schema(example = "deploy pipeline")]
    pub name: String,
    /// The person whose it is; null for a machine's.
    #[schema(example = "ann@example.com")]
    pub holder: Option<String>,
    /// The role for the whole at most; null for all that its holder has.
    #[schema(example = "viewer")]
    pub role: Option<String>,
    /// The teams that it acts for; null for all of its holder's.
    pub teams: Option<Vec<String>>,
    /// What it is in those teams at most: owner or member.
    #[schema(example = "member")]
    pub team_role: Option<String>,
    /// The zones in which it may change something; all if empty.
    pub zones: Vec<String>,
    /// The environments whose things it sees; all that its holder sees if empty.
    pub environments: Vec<String>,
    /// Who made it.
    pub made_by: String,
    /// When.
    pub made_at: Time,
    /// Until when it holds.
    pub ends_at: Time,
    /// When it was used last, within some minutes; null for never.
    pub used_at: Option<Time>,
    /// live, expired or revoked.
    #[schema(example = "live")]
    pub state: String,
}

impl TokenInfo {
    pub(super) fn of(credential: &Credential, now: Timestamp) -> Self {
        let scope = credential.scope.as_ref();
        let texts = |all: &BTreeSet<RuleName>| all.iter().map(ToString::to_string).collect();
        Self {
            id: credential.id.to_string(),
            kind: credential.kind.as_str().to_owned(),
            name: credential.name.clone(),
            holder: credential.person.as_ref().map(|person| person.user.clone()),
            role: scope.map(|scope| scope.role.to_string()),
            teams: scope.map(|scope| texts(&scope.teams)),
            team_role: scope.map(|scope| scope.team_role.as_str().to_owned()),
            zones: scope.iter().flat_map(|of| &of.zones).map(ToString::to_string).collect(),
            environments: scope
                .iter()
                .flat_map(|of| &of.environments)
                .map(ToString::to_string)
                .collect(),
            made_by: credential.made_by.to_string(),
            made_at: Time(credential.made_at),
            ends_at: Time(credential.ends_at),
            used_at: credential.used_at.map(Time),
            state: state_of(credential, now).as_str().to_owned(),
        }
    }
}

/// How a credential stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    /// It opens what it is for.
    Live,
    /// Its time is over.
    Expired,
    /// Somebody took it back.
    Revoked,
}

impl TokenState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

fn state_of(credential: &Credential, now: Timestamp) -> TokenState {
    match credential.ended(now) {
        None => TokenState::Live,
        Some(CredentialEnd::Expired(_)) => TokenState::Expired,
        Some(CredentialEnd::Revoked(_)) => TokenState::Revoked,
    }
}

/// Which credentials.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only sessions, or only tokens of people, or of machines.
    #[param(value_type = Option<String>, example = "machine")]
    pub kind: Option<CredentialKind>,
    /// Only those of this person.
    #[param(value_type = Option<String>, example = "ann@example.com")]
    pub holder: Option<String>,
    /// Only those that stand so: live, expired or revoked.
    #[param(value_type = Option<String>, example = "live")]
    pub state: Option<TokenState>,
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<(i64, Uuid)>>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

/// A token to make.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewTokenRequest {
    /// What people call it.
    #[schema(example = "deploy pipeline")]
    pub name: String,
    /// person, for who asks; or machine. Without it, person.
    #[schema(value_type = Option<String>, example = "machine")]
    pub kind: Option<CredentialKind>,
    /// The role for the whole at most: viewer, operator or admin. Without it, viewer.
    #[schema(value_type = Option<String>, example = "viewer")]
    pub role: Role,
    /// The teams that it acts for.
    #[schema(value_type = Vec<String>, example = json!(["pay"]))]
    pub teams: BTreeSet<RuleName>,
    /// What it is in those teams at most: owner or member. Without it, member.
    #[schema(value_type = Option<String>, example = "owner")]
    pub team_role: TeamStanding,
    /// The zones, by their apex, in which it may change something; all if empty.
    #[schema(value_type = Vec<String>, example = json!(["pay.example.com"]))]
    pub zones: BTreeSet<DnsName>,
    /// The environments whose things it sees; all that who asks sees if empty.
    #[schema(value_type = Vec<String>, example = json!(["prod"]))]
    pub environments: BTreeSet<EnvironmentId>,
    /// For how many days it holds: 1 to 365. Without it, 90.
    #[schema(example = 90)]
    pub days: Option<u32>,
}

/// A token that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// The token itself. It is shown here and nowhere else.
    pub secret: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub token: TokenInfo,
}

fn has_token(granted: &Granted) -> bool {
    matches!(granted.acted.proved_by, ProvedBy::Token(_) | ProvedBy::Nothing)
}

/// Whether somebody may make some token.
pub(super) fn may_make_any(granted: &Granted, rules: &Rules) -> bool {
    let owns_a_team = || granted.standings(rules).values().any(|one| *one == TeamStanding::Owner);
    let is_person = matches!(granted.acted.actor, Actor::User(_));
    !has_token(granted) && (is_person || granted.role >= Role::Operator || owns_a_team())
}

/// Whether somebody sees a credential and may take it back.
fn is_own(granted: &Granted, rules: &Rules, credential: &Credential) -> bool {
    if granted.role >= Role::Admin && granted.scope.is_none() {
        return true;
    }
    let holder = credential.person.as_ref().map(|person| Actor::User(person.user.clone()));
    match (holder, &credential.scope) {
        (Some(holder), _) => holder == granted.acted.actor,
        (None, _) if credential.actor() == granted.acted.actor => true,
        (None, Some(scope)) => {
            let standings = granted.standings(rules);
            let owns = |team: &RuleName| standings.get(team) == Some(&TeamStanding::Owner);
            scope.teams.iter().any(owns)
        }
        (None, None) => false,
    }
}

/// Sessions and tokens, the newest first.
///
/// One's own; for the owners of a team those of the machines that act for it; for admins all. They are listed for a month after their
/// end.
#[utoipa::path(get, path = "/api/v1/tokens", operation_id = "list_tokens", tag = "people", params(ListParams), responses(
    (status = 200, description = "A page of sessions and tokens.", body = Page<TokenInfo>),
    (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<TokenInfo>>, ApiError> {
    let governance = std::sync::Arc::clone(&state.broker.rules.borrow().governance);
    let now = state.broker.clock.now();
    let mut filter = CredentialFilter {
        kind: params.kind,
        holder: params.holder,
        before: params.cursor.map(|Cursor((at, id))| (Timestamp(at), id)),
        limit: READ_AT_ONCE,
    };
    let mut shown: Vec<Credential> = vec![];
    while shown.len() <= params.limit.get() {
        let read = state.broker.store.credentials(&filter).await?;
        filter.before = read.last().map(|last| (last.made_at, last.id));
        let is_last = read.len() < READ_AT_ONCE as usize;
        let wanted = |one: &Credential| {
            params.state.is_none_or(|state| state == state_of(one, now))
                && is_own(&granted, governance.rules(), one)
        };
        shown.extend(read.into_iter().filter(wanted));
        if is_last {
            break;
        }
    }
    shown.truncate(params.limit.get() + 1);
    let page = Page::of_overfull(shown, params.limit, |one| (one.made_at.0, one.id));
    let items = page.items.iter().map(|one| TokenInfo::of(one, now)).collect();
    Ok(Json(Page::of_all(items, page.next)))
}

/// Make a token.
///
/// The answer shows the token itself, which is kept nowhere. Who asks is signed in, or shows a token of the configuration.
#[utoipa::path(post, path = "/api/v1/tokens", operation_id = "make_token", tag = "people", request_body = NewTokenRequest, responses(
    (status = 201, description = "The token.", body = MadeToken),
    (status = 400, description = "The body is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token would carry more than who asks has.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "There is a token of that name.", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn post(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    Params(NoParams {}): Params<NoParams>,
    JsonBody(body): JsonBody<NewTokenRequest>,
) -> Result<(StatusCode, Json<MadeToken>), ApiError> {
    let governance = std::sync::Arc::clone(&state.broker.rules.borrow().governance);
    check_form(&state, governance.rules(), &body)?;
    let kind = body.kind.unwrap_or(CredentialKind::Person);
    may_make(&granted, governance.rules(), kind, &body)?;
    let person = match (kind, &granted.acted.proved_by) {
        (CredentialKind::Person, ProvedBy::Session(id)) => {
            state.broker.store.credential(*id).await?.and_then(|session| session.person)
        }
        _ => None,
    };
    let now = state.broker.clock.now();
    let days = i64::from(body.days.unwrap_or(USUAL_DAYS));
    let NewTokenRequest { name, role, teams, team_role, zones, environments, .. } = body;
    let credential = Credential {
        id: Uuid::new_v4(),
        kind,
        name,
        person,
        scope: Some(TokenScope { role, teams, team_role, zones, environments }),
        made_by: granted.acted.actor.clone(),
        made_at: now,
        ends_at: now + Millis::from_secs(days * 24 * 3_600),
        revoked_at: None,
        used_at: None,
    };
    let secret = new_secret().ok_or(ApiError::NoRandomness)?;
    if !state.broker.store.add_credential(&secret_hash(&secret), &credential).await? {
        return Err(ApiError::Decided(format!(
            "there is a token {:?} already: take it back, or give the new one another name",
            credential.name
        )));
    }
    tracing::info!(id = %credential.id, name = credential.name, kind = kind.as_str(), by = %credential.made_by, "a token was made");
    Ok((StatusCode::CREATED, Json(MadeToken { secret, token: TokenInfo::of(&credential, now) })))
}

fn check_form(state: &ApiState, rules: &Rules, body: &NewTokenRequest) -> Result<(), ApiError> {
    let refuse = |reason: String| Err(ApiError::BadBody(reason));
    let name = body.name.trim();
    if name.is_empty() || name != body.name || name.len() > LONGEST_NAME {
        return refuse(format!(
            "name: give it a name of 1 to {LONGEST_NAME} characters, without white space around it"
        ));
    }
    if name.chars().any(char::is_control) {
        return refuse("name: it has control characters: leave them out".to_owned());
    }
    if body.kind == Some(CredentialKind::Session) {
        return refuse("kind: sessions are made by signing in: give person or machine".to_owned());
    }
    if body.days.is_some_and(|days| !(1..=MOST_DAYS).contains(&days)) {
        return refuse(format!("days: a token holds for 1 to {MOST_DAYS} days"));
    }
    if let Some(team) = body.teams.iter().find(|team| rules.team(team).is_none()) {
        return refuse(format!(
            "teams: there is no team {team}: correct the name, or write it first"
        ));
    }
    let settings = state.broker.directory.settings();
    let configured = state.broker.workers.configured();
    let is_known = |environment: &EnvironmentId| {
        settings.values().any(|cluster| cluster.environment == *environment)
            || configured.values().any(|account| account.environment == *environment)
    };
    match body.environments.iter().find(|environment| !is_known(environment)) {
        Some(environment) => refuse(format!(
            "environments: no cluster and no account belongs to {environment}: correct the name"
        )),
        None => Ok(()),
    }
}

/// Whether somebody has all that a token would carry.
fn may_make(
    granted: &Granted,
    rules: &Rules,
    kind: CredentialKind,
    body: &NewTokenRequest,
) -> Result<(), ApiError> {
    let refuse = |reason: String| Err(ApiError::NotYours(reason));
    if has_token(granted) {
        return refuse("a token makes no other token: sign in with zonefold login".to_owned());
    }
    let is_person = matches!(granted.acted.actor, Actor::User(_));
    if kind == CredentialKind::Person && !is_person {
        return refuse(
            "only who is signed in has tokens of their own: make one of the kind machine"
                .to_owned(),
        );
    }
    if body.role > granted.role {
        return refuse(format!(
            "you have the role {}, and the token would have {}",
            granted.role, body.role
        ));
    }
    if let Some(seen) = &granted.environments
        && (body.environments.is_empty() || !body.environments.is_subset(seen))
    {
        return refuse(
            "you see some environments alone: name those that the token sees (environments)"
                .to_owned(),
        );
    }
    let standings = granted.standings(rules);
    let needed = match kind {
        // A machine acts by itself: it is let loose by who decides.
        CredentialKind::Machine => TeamStanding::Owner,
        CredentialKind::Session | CredentialKind::Person => body.team_role,
    };
    let is_held = |team: &RuleName| {
        standings.get(team).is_some_and(|standing| *standing >= needed)
            || (kind == CredentialKind::Machine && granted.role >= Role::Admin)
    };
    if let Some(team) = body.teams.iter().find(|team| !is_held(team)) {
        return refuse(format!("you are no {} of the team {team}", needed.as_str()));
    }
    let is_for_the_whole = body.teams.is_empty() || body.role > Role::Viewer;
    if kind == CredentialKind::Machine && is_for_the_whole && granted.role < Role::Operator {
        return refuse(
            "machines that act for no team are let in by operators and admins: name teams that you own"
                .to_owned(),
        );
    }
    Ok(())
}

/// Take a session or a token back.
///
/// It opens nothing any more: at once at the replica that answers, and within five seconds at the others.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", operation_id = "revoke_token", tag = "people",
    params(("id" = String, Path, description = "The id of the session or the token.")), responses(
        (status = 200, description = "It as it stands now.", body = TokenInfo),
        (status = 400, description = "That is no id.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such session or token, or it is another's.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn delete(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    Path(id): Path<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<TokenInfo>, ApiError> {
    let uuid = uuid_of("token", &id)?;
    let governance = std::sync::Arc::clone(&state.broker.rules.borrow().governance);
    let found = state.broker.store.credential(uuid).await?;
    let found = found.filter(|one| is_own(&granted, governance.rules(), one));
    let mut credential = found.ok_or(ApiError::NotFound {
        kind: "session or token",
        id,
        remedy: "/api/v1/tokens lists those that you may see",
    })?;
    let now = state.broker.clock.now();
    if state.broker.store.revoke_credential(uuid, now).await? {
        tracing::info!(id = %uuid, name = credential.name, by = %granted.acted.actor, "a session or a token was taken back");
        credential.revoked_at = Some(now);
    }
    state.authority.known().inspect(|known| known.forget(uuid));
    Ok(Json(TokenInfo::of(&credential, now)))
}
