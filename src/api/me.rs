//! Who asks, and what they may do; and which broker answers.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::problem::{ApiError, Problem};
use super::request::{NoParams, Params};
use super::role::{Granted, Role};
use super::tokens::TokenInfo;
use super::values::Time;
use crate::core::governance::actor::{Actor, ProvedBy};
use crate::core::governance::rule::API_VERSION;
use crate::core::people::teams::TeamStanding;

/// A team of the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MyTeam {
    /// Its name.
    #[schema(example = "pay")]
    pub team: String,
    /// Its name for people.
    pub display_name: String,
    /// What the caller is there: owner or member.
    #[schema(example = "owner")]
    pub standing: String,
}

/// The session of the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MySession {
    /// Since when.
    pub began_at: Time,
    /// Until when; then one signs in again.
    pub ends_at: Time,
    /// Whether that is within half an hour.
    pub ends_soon: bool,
}

/// What the caller may do, besides reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MyAbilities {
    /// Write teams and ownerships, which say who decides.
    pub change_who_decides: bool,
    /// Write all other rules.
    pub change_rules: bool,
    /// Write grants, sharings and freezes of the names of the teams that they own.
    pub change_rules_of_own_names: bool,
    /// Decide what belongs to no team.
    pub decide_for_the_platform: bool,
    /// Decide for every team.
    pub decide_for_all: bool,
    /// The teams for which they decide.
    pub decide_for: Vec<String>,
    /// Have names placed anew.
    pub reroute: bool,
    /// Make tokens.
    pub make_tokens: bool,
    /// See and take back everybody's sessions and tokens.
    pub manage_tokens: bool,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MeInfo {
    /// The name by which rules and requests know the caller.
    #[schema(example = "ann@example.com")]
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// person, machine, token (of the configuration) or anonymous.
    #[schema(example = "person")]
    pub kind: String,
    /// The role for the whole: viewer, operator or admin.
    #[schema(example = "viewer")]
    pub role: String,
    /// The environments whose things are seen; null for all.
    pub environments: Option<Vec<String>>,
    /// The groups that the identity provider says.
    pub groups: Vec<String>,
    /// The teams that the caller acts for.
    pub teams: Vec<MyTeam>,
    /// What the caller may do, besides reading.
    pub may: MyAbilities,
    /// The session; null for a token.
    pub session: Option<MySession>,
    /// The token of the store; null for a session, or a token of the configuration.
    pub token: Option<TokenInfo>,
    /// Where a browser signs in; null if nobody can.
    #[schema(example = "/auth/sign-in")]
    pub sign_in: Option<String>,
}

/// Who asks, and what they may do.
#[utoipa::path(get, path = "/api/v1/me", operation_id = "get_me", tag = "people", responses(
    (status = 200, description = "The caller.", body = MeInfo),
    (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<MeInfo>, ApiError> {
    let governance = std::sync::Arc::clone(&state.broker.rules.borrow().governance);
    let rules = governance.rules();
    let standings = granted.standings(rules);
    let display = |team: &crate::core::ids::RuleName| {
        rules.team(team).and_then(|team| team.display_name.clone())
    };
    let teams = standings.iter().map(|(team, standing)| MyTeam {
        team: team.to_string(),
        display_name: display(team).unwrap_or_else(|| team.to_string()),
        standing: standing.as_str().to_owned(),
    });
    let credential = match granted.acted.proved_by {
        ProvedBy::Session(id) | ProvedBy::Token(id) => state.broker.store.credential(id).await?,
        ProvedBy::Nothing | ProvedBy::Configuration => None,
    };
    let now = state.broker.clock.now();
    let is_session = matches!(granted.acted.proved_by, ProvedBy::Session(_));
    let session = credential.as_ref().filter(|_| is_session).map(|session| MySession {
        began_at: Time(session.made_at),
        ends_at: Time(session.ends_at),
        ends_soon: session.ends_soon(now),
    });
    let shown = credential.as_ref().and_then(|of| of.person.as_ref()?.display_name.clone());
    let (name, kind) = match &granted.acted.actor {
        Actor::User(name) => (name.clone(), "person"),
        Actor::Machine(name) => (name.clone(), "machine"),
        Actor::Token(_) if granted.acted.proved_by == ProvedBy::Nothing => {
            (String::new(), "anonymous")
        }
        Actor::Token(name) => (name.clone(), "token"),
        Actor::File(_) | Actor::Broker => (granted.name.clone(), "token"),
    };
    Ok(Json(MeInfo {
        display_name: shown.unwrap_or_else(|| name.clone()),
        kind: kind.to_owned(),
        role: granted.role.to_string(),
        environments: granted
            .environments
            .as_ref()
            .map(|seen| seen.iter().map(ToString::to_string).collect()),
        groups: granted.groups.iter().cloned().collect(),
        teams: teams.collect(),
        may: abilities(&granted, rules),
        session,
        token: credential.as_ref().filter(|_| !is_session).map(|token| TokenInfo::of(token, now)),
        sign_in: state.authority.sign_in().map(|_| "/auth/sign-in".to_owned()),
        name,
    }))
}

fn abilities(granted: &Granted, rules: &crate::core::governance::ruleset::Rules) -> MyAbilities {
    let role = granted.role;
    let owned = granted.standings(rules).into_iter();
    let owned = owned.filter(|(_, standing)| *standing == TeamStanding::Owner);
    let owned: Vec<String> = owned.map(|(team, _)| team.to_string()).collect();
    let decides = !granted.is_machine();
    MyAbilities {
        change_who_decides: role >= Role::Admin,
        change_rules: role >= Role::Operator,
        change_rules_of_own_names: !owned.is_empty(),
        decide_for_the_platform: decides && role >= Role::Operator,
        decide_for_all: decides && role >= Role::Admin,
        decide_for: if decides { owned } else { vec![] },
        reroute: role >= Role::Operator,
        make_tokens: super::tokens::may_make_any(granted, rules),
        manage_tokens: role >= Role::Admin && granted.scope.is_none(),
    }
}

/// Which broker answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionInfo {
    /// Its release.
    #[schema(example = "0.2.0")]
    pub release: String,
    /// The version of this API.
    #[schema(example = "v1")]
    pub api: String,
    /// The version of the form of rules.
    #[schema(example = "zonefold.dev/v1")]
    pub rules: String,
}

/// Which broker answers.
#[utoipa::path(get, path = "/api/v1/version", operation_id = "get_version", tag = "operation", responses(
    (status = 200, description = "The versions of what answers.", body = VersionInfo)))]
pub async fn version(Params(NoParams {}): Params<NoParams>) -> Result<Json<VersionInfo>, ApiError> {
    Ok(Json(VersionInfo {
        release: env!("CARGO_PKG_VERSION").to_owned(),
        api: "v1".to_owned(),
        rules: API_VERSION.to_owned(),
    }))
}
