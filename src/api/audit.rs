//! The audit: who decided what, when, from where and why.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::ApiState;
use super::page::{Cursor, Limit, Page};
use super::problem::{ApiError, Problem};
use super::request::Params;
use super::sight::Sight;
use super::values::Time;
use crate::core::audit::{AuditKind, AuditResult, hex};
use crate::core::dns::name::DnsName;
use crate::core::ids::{AccountId, ClusterId, EnvironmentId, RuleName};
use crate::ports::{AuditFilter, AuditLink, AuditRow, ChainPage, ChainedText};

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditInfo {
    /// Its place in the chain, from 1.
    #[schema(example = 17)]
    pub seq: i64,
    /// Its hash, which covers the hash before it.
    pub hash: String,
    /// When.
    pub at: Time,
    /// Who: a person, a token, a file, or the broker by itself.
    #[schema(example = "token ops")]
    pub actor: String,
    /// From where.
    pub origin: OriginInfo,
    /// What was decided.
    #[schema(example = "rule_written")]
    pub kind: String,
    /// The one thing that it is about; null if it is about several.
    #[schema(example = "Grant pay-in-dev")]
    pub subject: Option<String>,
    /// The environment; null if it says none.
    #[schema(value_type = Option<String>, example = "dev")]
    pub environment: Option<EnvironmentId>,
    /// The account; null if it says none.
    #[schema(value_type = Option<String>, example = "111111111111")]
    pub account: Option<AccountId>,
    /// The apex of the zone; null if it says none.
    #[schema(value_type = Option<String>, example = "example.com")]
    pub zone: Option<DnsName>,
    /// The id of the zone; null if it says none.
    pub zone_id: Option<String>,
    /// The cluster; null if it says none.
    #[schema(value_type = Option<String>, example = "dev-east")]
    pub cluster: Option<ClusterId>,
    /// The team; null if it says none.
    #[schema(value_type = Option<String>, example = "pay")]
    pub team: Option<RuleName>,
    /// Names and patterns that it is about, a thousand at most.
    #[schema(example = json!(["*.pay.example.com"]))]
    pub names: Vec<String>,
    /// How many names there are, if they are not all listed.
    pub names_in_all: Option<u64>,
    /// How it was before; null if there was nothing.
    #[schema(value_type = Object)]
    pub before: Option<serde_json::Value>,
    /// How it is since; null if there is nothing.
    #[schema(value_type = Object)]
    pub after: Option<serde_json::Value>,
    /// Why, in the words of who decided.
    pub reason: Option<String>,
    /// The request that it belongs to.
    #[schema(format = "uuid")]
    pub request: Option<String>,
    /// The batch that carries it out.
    #[schema(format = "uuid")]
    pub batch: Option<String>,
    /// The number of the set of rules that it makes, or rests on.
    pub rules: Option<u64>,
    /// Why it was refused; null if it counts.
    pub refused: Option<String>,
}

/// From where somebody decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OriginInfo {
    /// By which way, such as `rest`.
    pub via: Option<String>,
    /// The address of the caller.
    pub address: Option<String>,
    /// The id of the HTTP request, as in the broker's log.
    pub request_id: Option<String>,
    /// The replica.
    #[schema(format = "uuid")]
    pub replica: Option<String>,
}

impl From<AuditRow> for AuditInfo {
    fn from(AuditRow { seq, hash, entry }: AuditRow) -> Self {
        Self {
            seq,
            hash: hex(&hash),
            at: Time(entry.at),
            actor: entry.actor.to_string(),
            origin: OriginInfo {
                via: entry.origin.via,
                address: entry.origin.address,
                request_id: entry.origin.request_id,
                replica: entry.origin.replica.map(|replica| replica.to_string()),
            },
            kind: entry.kind.to_string(),
            subject: entry.subject,
            environment: entry.scope.environment,
            account: entry.scope.account,
            zone: entry.scope.zone,
            zone_id: entry.scope.zone_id.map(|zone| zone.to_string()),
            cluster: entry.scope.cluster,
            team: entry.scope.team,
            names: entry.scope.names,
            names_in_all: entry.scope.names_in_all,
            before: entry.before,
            after: entry.after,
            reason: entry.reason,
            request: entry.request.map(|id| id.to_string()),
            batch: entry.batch.map(|batch| batch.to_string()),
            rules: entry.rules,
            refused: match entry.result {
                AuditResult::Done => None,
                AuditResult::Refused(why) => Some(why),
            },
        }
    }
}

/// A kind as it stands in a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditKindParam(AuditKind);

impl<'de> Deserialize<'de> for AuditKindParam {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        AuditKind::parse(&text).map(Self).ok_or_else(|| {
            let known = AuditKind::ALL.map(AuditKind::as_str).join(", ");
            serde::de::Error::custom(format!(
                "{text:?} is no kind of decision: take one of {known}"
            ))
        })
    }
}

/// Which decisions.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only by this actor, written as in the list.
    #[param(example = "token ops")]
    pub actor: Option<String>,
    /// Only of this kind.
    #[param(value_type = Option<String>, example = "rule_written")]
    pub kind: Option<AuditKindParam>,
    /// Only about this thing, written as in the list.
    #[param(example = "Grant pay-in-dev")]
    pub subject: Option<String>,
    /// Only of this environment.
    #[param(value_type = Option<String>, example = "dev")]
    pub environment: Option<EnvironmentId>,
    /// Only of this account.
    #[param(value_type = Option<String>, example = "111111111111")]
    pub account: Option<AccountId>,
    /// Only of this zone, by its apex or its id.
    #[param(example = "example.com")]
    pub zone: Option<String>,
    /// Only of this cluster.
    #[param(value_type = Option<String>, example = "dev-east")]
    pub cluster: Option<ClusterId>,
    /// Only of this team.
    #[param(value_type = Option<String>, example = "pay")]
    pub team: Option<RuleName>,
    /// Only about this name, or a pattern that it is among.
    #[param(value_type = Option<String>, example = "www.pay.example.com")]
    pub name: Option<DnsName>,
    /// Only of this request.
    #[param(value_type = Option<String>)]
    pub request: Option<Uuid>,
    /// Only from this time on.
    #[param(value_type = Option<String>, example = "2026-07-30T00:00:00Z")]
    pub since: Option<Time>,
    /// Only before this time.
    #[param(value_type = Option<String>, example = "2026-07-31T00:00:00Z")]
    pub until: Option<Time>,
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<i64>>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

/// The apex of a zone in its one form, or its id.
fn zone_text(text: String) -> String {
    match text.contains('.').then(|| DnsName::parse(&text)) {
        Some(Ok(apex)) => apex.to_string(),
        _ => text,
    }
}

/// All decisions, the newest first.
#[utoipa::path(get, path = "/api/v1/audit", operation_id = "list_audit", tag = "audit", params(ListParams), responses(
    (status = 200, description = "A page of decisions.", body = Page<AuditInfo>),
    (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<ApiState>,
    sight: Sight,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<AuditInfo>>, ApiError> {
    sight.whole()?;
    let texts = [("actor", &params.actor), ("subject", &params.subject), ("zone", &params.zone)];
    if let Some((key, _)) =
        texts.iter().find(|(_, text)| text.as_ref().is_some_and(|text| text.contains('\0')))
    {
        return Err(ApiError::BadParameter(format!(
            "{key}: no text in the audit holds that character"
        )));
    }
    let filter = AuditFilter {
        actor: params.actor,
        kind: params.kind.map(|AuditKindParam(kind)| kind),
        subject: params.subject,
        environment: params.environment,
        account: params.account,
        zone: params.zone.map(zone_text),
        cluster: params.cluster,
        team: params.team,
        name: params.name,
        request: params.request,
        since: params.since.map(|Time(at)| at),
        until: params.until.map(|Time(at)| at),
        before: params.cursor.map(|cursor| cursor.0),
        limit: u32::try_from(params.limit.get() + 1).unwrap_or(u32::MAX),
    };
    let rows = state.broker.store.audit(&filter).await?;
    let items = rows.into_iter().map(AuditInfo::from).collect();
    Ok(Json(Page::of_overfull(items, params.limit, |info: &AuditInfo| info.seq)))
}

/// A place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChainEnd {
    /// The number of the entry; 0 before the first.
    pub seq: i64,
    /// Its hash.
    pub hash: String,
}

impl From<AuditLink> for ChainEnd {
    fn from(link: AuditLink) -> Self {
        Self { seq: link.seq, hash: hex(&link.hash) }
    }
}

/// An entry as it was hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChainEntry {
    /// Its place in the chain, from 1.
    pub seq: i64,
    /// SHA-256 over the hash before it, its number as eight octets with the highest first, and its text.
    pub hash: String,
    /// Its text, JSON, exactly as it was hashed.
    pub text: String,
}

impl From<ChainedText> for ChainEntry {
    fn from(entry: ChainedText) -> Self {
        Self { seq: entry.seq, hash: hex(&entry.hash), text: entry.text }
    }
}

/// Entries as they were hashed, and the two ends of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChainInfo {
    /// The last entry that was cut off: the hash from which the first kept one is verified.
    pub beginning: ChainEnd,
    /// The newest entry.
    pub end: ChainEnd,
    /// The entries, in their order.
    pub entries: Vec<ChainEntry>,
}

impl From<ChainPage> for ChainInfo {
    fn from(page: ChainPage) -> Self {
        Self {
            beginning: page.beginning.into(),
            end: page.end.into(),
            entries: page.entries.into_iter().map(ChainEntry::from).collect(),
        }
    }
}

/// Which entries of the chain.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ChainParams {
    /// Those behind this number.
    #[serde(default)]
    #[param(required = false, example = 0)]
    pub after: i64,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

/// The audit as it was hashed.
///
/// Whoever has these entries can verify the chain without the broker.
#[utoipa::path(get, path = "/api/v1/audit/chain", operation_id = "get_audit_chain", tag = "audit", params(ChainParams), responses(
    (status = 200, description = "Entries, and the ends of the chain.", body = ChainInfo),
    (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn chain(
    State(state): State<ApiState>,
    sight: Sight,
    Params(params): Params<ChainParams>,
) -> Result<Json<ChainInfo>, ApiError> {
    sight.whole()?;
    let limit = u32::try_from(params.limit.get()).unwrap_or(u32::MAX);
    Ok(Json(state.broker.store.audit_chain(params.after, limit).await?.into()))
}
