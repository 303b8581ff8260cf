//! The rules of governance: who owns which name, and who may publish it.
//!
//! A rule is shown as the document that `zonefold apply` takes, with where it lives. Rules in files are changed there. All writes
//! are of the whole set: it is accepted or refused as one, and gets the next number.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::caller::Caller;
use super::page::{Cursor, Limit, Page};
use super::problem::{ApiError, Problem};
use super::request::{JsonBody, NoParams, Params, identifier};
use super::role::{Granted, Role};
use crate::broker::rules::{ApplyError, ChangedBy, RuleChange, RulesInForce, changed};
use crate::core::governance::rule::{Rule as CoreRule, RuleHome, RuleId, RuleKind};
use crate::core::governance::ruleset::Rules as CoreRules;
use crate::core::ids::RuleName;

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RuleEntry {
    /// Its kind.
    #[schema(example = "Grant")]
    pub kind: String,
    /// Its name, unique within the kind.
    #[schema(example = "shop-in-dev-east")]
    pub name: String,
    /// The file that it lives in; null for a rule that lives in the store.
    #[schema(example = "/etc/zonefold/rules/shop.yaml")]
    pub file: Option<String>,
    /// The rule as it is written.
    #[schema(value_type = Object)]
    pub document: serde_json::Value,
}

impl RuleEntry {
    fn of(rule: &CoreRule) -> Self {
        let file = match &rule.home {
            RuleHome::File(path) => Some(path.to_string()),
            RuleHome::Store => None,
        };
        Self {
            kind: rule.spec.kind().to_string(),
            name: rule.name.to_string(),
            file,
            // Every rule has a form in JSON.
            document: rule.document().unwrap_or_default(),
        }
    }
}

/// The set of rules that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RulesInfo {
    /// Rises by one with each accepted set; 0 before the first.
    #[schema(example = 7)]
    pub number: u64,
    /// A hash of all that the rules say: equal sets have equal digests.
    pub digest: String,
    /// How many rules there are.
    pub rules: usize,
    /// Why the rules in the files of the replica that answers are not among them; null if they are.
    pub behind: Option<String>,
}

impl RulesInfo {
    fn of(now: &RulesInForce) -> Self {
        let governance = &now.governance;
        Self {
            number: governance.number(),
            digest: governance.rules().digest().to_string(),
            rules: governance.rules().len(),
            behind: now.behind.clone(),
        }
    }
}

/// Which rules.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only of this kind.
    #[param(value_type = Option<String>, example = "Grant")]
    pub kind: Option<KindParam>,
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<(String, String)>>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

/// A kind as people write it: in any case, in the singular or the plural.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindParam(RuleKind);

impl KindParam {
    /// As it stands in paths.
    pub fn plural(self) -> &'static str {
        self.0.plural()
    }
}

impl std::fmt::Display for KindParam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for KindParam {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || RuleKind::ALL.map(RuleKind::as_str).join(", ");
        RuleKind::parse(text)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no kind of rule: take one of {}", known()))
    }
}

impl<'de> Deserialize<'de> for KindParam {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// All rules, by kind and name.
#[utoipa::path(get, path = "/api/v1/rules", operation_id = "list_rules", tag = "rules", params(ListParams), responses(
    (status = 200, description = "A page of rules. The ETag is the number of the set.", body = Page<RuleEntry>),
    (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<ApiState>,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let now = Arc::clone(&state.broker.rules.borrow());
    let of_kind =
        |rule: &&Arc<CoreRule>| params.kind.is_none_or(|KindParam(kind)| kind == rule.spec.kind());
    let mut rules: Vec<RuleEntry> =
        now.governance.rules().iter().filter(of_kind).map(|rule| RuleEntry::of(rule)).collect();
    let place = |rule: &RuleEntry| (rule.kind.clone(), rule.name.clone());
    rules.sort_by_key(place);
    let after = params.cursor.as_ref().map(|cursor| &cursor.0);
    Ok(tagged(now.governance.number(), Page::of_sorted(rules, after, params.limit, place)))
}

/// The set of rules that counts.
#[utoipa::path(get, path = "/api/v1/rules/set", operation_id = "get_rule_set", tag = "rules", responses(
    (status = 200, description = "The set. The ETag is its number.", body = RulesInfo)))]
pub async fn set(
    State(state): State<ApiState>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Response, ApiError> {
    let now = Arc::clone(&state.broker.rules.borrow());
    Ok(tagged(now.governance.number(), RulesInfo::of(&now)))
}

/// One rule.
#[utoipa::path(get, path = "/api/v1/rules/{kind}/{name}", operation_id = "get_rule", tag = "rules",
    params(("kind" = String, Path, description = "The kind, in the singular or the plural.", example = "grants"),
        ("name" = String, Path, description = "The name.", example = "shop-in-dev-east")),
    responses(
        (status = 200, description = "The rule. The ETag is the number of the set.", body = RuleEntry),
        (status = 400, description = "That is no kind, or no name.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such rule.", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(state): State<ApiState>,
    Path((kind, name)): Path<(String, String)>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Response, ApiError> {
    let id = rule_id(&kind, &name)?;
    let now = Arc::clone(&state.broker.rules.borrow());
    match now.governance.rules().get(&id) {
        Some(rule) => Ok(tagged(now.governance.number(), RuleEntry::of(rule))),
        None => Err(ApiError::NotFound {
            kind: "rule",
            id: id.to_string(),
            remedy: "/api/v1/rules lists them",
        }),
    }
}

fn rule_id(kind: &str, name: &str) -> Result<RuleId, ApiError> {
    let KindParam(kind) = identifier(kind)?;
    let name: RuleName = identifier(name)?;
    Ok(RuleId { kind, name })
}

/// How a set is changed.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct WriteParams {
    /// Whether only to say what would happen.
    #[param(required = false)]
    pub preview: bool,
    /// Why, for who reads it later.
    #[param(value_type = Option<String>, example = "the shop moves to dev-east")]
    pub reason: Option<String>,
}

/// Changes of the rules that live in the store: all are made, or none.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuleChanges {
    /// Rules to write, each as the document that says it.
    #[schema(value_type = Vec<Object>)]
    pub put: Vec<serde_json::Value>,
    /// Rules to remove.
    pub delete: Vec<RuleReference>,
}

/// A rule by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleReference {
    /// The kind.
    #[schema(example = "Grant")]
    pub kind: String,
    /// The name.
    #[schema(example = "shop-in-dev-east")]
    pub name: String,
}

/// Change rules.
///
/// All changes are made or none. `If-Match` names the set that the caller looked at; if another one counts by now, nothing is done.
#[utoipa::path(post, path = "/api/v1/rules", operation_id = "change_rules", tag = "rules", params(WriteParams),
    request_body = RuleChanges, responses(
        (status = 200, description = "The set that counts now; of a preview, the one that would.", body = RulesInfo),
        (status = 400, description = "The body or a parameter is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "A rule is not the caller's to change.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "A rule to remove is not there.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "A rule lives in a file.", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "Other rules count by now.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The rules do not go together.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn post(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    caller: Caller,
    headers: HeaderMap,
    Params(params): Params<WriteParams>,
    JsonBody(body): JsonBody<RuleChanges>,
) -> Result<Response, ApiError> {
    let expected = if_match(&headers)?;
    let put = body.put.iter().enumerate().map(|(index, document)| {
        CoreRule::from_json(document, RuleHome::Store)
            .map(|rule| RuleChange::Put(Box::new(rule)))
            .map_err(|error| ApiError::BadBody(format!("put[{index}] is no rule: {error}")))
    });
    let delete =
        body.delete.iter().map(|rule| Ok(RuleChange::Delete(rule_id(&rule.kind, &rule.name)?)));
    let changes: Vec<RuleChange> = put.chain(delete).collect::<Result<_, ApiError>>()?;
    let now = Arc::clone(&state.broker.rules.borrow());
    let is_judged = granted.role < Role::Operator;
    // What whoever may change rules is refused stands in the audit; what others ask for in vain does not fill it.
    let is_of_file = |error: &ApplyError| matches!(error, ApplyError::InFile { .. });
    if let Err(error) = changed(now.governance.rules(), &changes)
        && (is_judged || is_of_file(&error))
    {
        return Err(error.into());
    }
    may_change(&granted, now.governance.rules(), &changes)?;
    if params.preview {
        let rules = changed(now.governance.rules(), &changes)?;
        let number = now.governance.number();
        let next = number + u64::from(rules.digest() != now.governance.rules().digest());
        let (digest, count) = (rules.digest().to_string(), rules.len());
        let set = RulesInfo { number: next, digest, rules: count, behind: now.behind.clone() };
        return Ok(tagged(number, set));
    }
    let (actor, origin) = (granted.person().actor, caller.origin(&state));
    let by = ChangedBy { actor, origin, reason: params.reason };
    // Whoever may change all rules may change them whatever became of the others meanwhile.
    let judged = is_judged.then(|| now.governance.number());
    let number = state.broker.apply_rules(changes, expected.or(judged), by).await?;
    let now = Arc::clone(&state.broker.rules.borrow());
    Ok(tagged(number, RulesInfo::of(&now)))
}

/// Whether the caller may make all of these changes.
fn may_change(
    granted: &Granted,
    rules: &CoreRules,
    changes: &[RuleChange],
) -> Result<(), ApiError> {
    let who = granted.authorization(rules);
    for change in changes {
        let after = match change {
            RuleChange::Put(rule) => Some(&**rule),
            RuleChange::Delete(_) => None,
        };
        let before = rules.get(&change.id()).map(|rule| &**rule);
        who.may_change(rules, before, after)
            .map_err(|refused| ApiError::NotYours(refused.to_string()))?;
    }
    Ok(())
}

/// The number in `If-Match` (RFC 9110 §13.1.1); `None` if there is none, or it is `*`.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.trim_matches('"').parse().ok();
    number.map(Some).ok_or_else(|| {
        ApiError::BadParameter(
            "If-Match takes the ETag of an answer about rules, such as \"7\"".to_owned(),
        )
    })
}

fn tagged(number: u64, body: impl Serialize) -> Response {
    let mut response = (StatusCode::OK, Json(body)).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{number}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Problems(_) => Self::RulesRefused(error.to_string()),
            ApplyError::InFile { .. } => Self::InFile(error.to_string()),
            ApplyError::NotFound(id) => Self::NotFound {
                kind: "rule",
                id: id.to_string(),
                remedy: "/api/v1/rules lists them",
            },
            ApplyError::Outdated { .. } => Self::Outdated(error.to_string()),
            ApplyError::Store(error) => Self::Store(error),
        }
    }
}
