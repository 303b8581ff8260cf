//! Notifications: what was sent, what waits, and what could not be delivered.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::caller::Caller;
use super::page::{Cursor, Limit, Page};
use super::problem::{ApiError, Problem};
use super::request::{NoParams, Params};
use super::role::Granted;
use super::sight::Sight;
use super::values::Time;
use crate::core::audit::{AuditEntry, AuditKind, AuditScope};
use crate::core::ids::RuleName;
use crate::ports::{NoticeFilter, NoticeRow, NoticeState};

/// One notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationInfo {
    /// Its id, which its sink gets with each try.
    #[schema(example = "17-oncall")]
    pub id: String,
    /// The decision in the audit that it tells of.
    #[schema(example = 17)]
    pub audit: i64,
    /// The subscription.
    #[schema(value_type = String, example = "oncall")]
    pub subscription: RuleName,
    /// What it is about.
    #[schema(example = "holds")]
    pub topic: String,
    /// What it says, in one line.
    pub title: String,
    /// waiting, delivered or dead.
    #[schema(example = "dead")]
    pub state: String,
    /// When it was made.
    pub at: Time,
    /// How often its delivery failed.
    pub failures: u32,
    /// Why it failed last; null if it never has.
    pub failure: Option<String>,
    /// When it is tried next; null if it is not.
    pub next_at: Option<Time>,
    /// When it was delivered or given up.
    pub ended_at: Option<Time>,
}

impl From<NoticeRow> for NotificationInfo {
    fn from(row: NoticeRow) -> Self {
        Self {
            id: row.notice.id,
            audit: row.seq,
            subscription: row.subscription,
            topic: row.topic.to_string(),
            title: row.notice.title,
            state: row.state.as_str().to_owned(),
            at: Time(row.made_at),
            failures: row.attempts,
            failure: row.failure,
            next_at: (row.state == NoticeState::Waiting).then_some(Time(row.next_at)),
            ended_at: row.ended_at.map(Time),
        }
    }
}

/// A state as it stands in a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateParam(NoticeState);

impl<'de> Deserialize<'de> for StateParam {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        NoticeState::parse(&text).map(Self).ok_or_else(|| {
            let known = NoticeState::ALL.map(NoticeState::as_str).join(", ");
            serde::de::Error::custom(format!("{text:?} is no state: take one of {known}"))
        })
    }
}

/// Which notifications.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only in this state.
    #[param(value_type = Option<String>, example = "dead")]
    pub state: Option<StateParam>,
    /// Only of this subscription.
    #[param(value_type = Option<String>, example = "oncall")]
    pub subscription: Option<RuleName>,
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<(i64, RuleName)>>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

/// All notifications, the newest first; those that ended are kept for 30 days.
#[utoipa::path(get, path = "/api/v1/notifications", operation_id = "list_notifications", tag = "audit", params(ListParams), responses(
    (status = 200, description = "A page of notifications.", body = Page<NotificationInfo>),
    (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<ApiState>,
    sight: Sight,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<NotificationInfo>>, ApiError> {
    sight.whole()?;
    let filter = NoticeFilter {
        state: params.state.map(|StateParam(state)| state),
        subscription: params.subscription,
        after: params.cursor.map(|cursor| cursor.0),
        limit: u32::try_from(params.limit.get() + 1).unwrap_or(u32::MAX),
    };
    let rows = state.broker.store.notices(&filter).await?;
    let items = rows.into_iter().map(NotificationInfo::from).collect();
    let place = |info: &NotificationInfo| (info.audit, info.subscription.clone());
    Ok(Json(Page::of_overfull(items, params.limit, place)))
}

/// Send a dead notification again.
///
/// It is tried for a day, as when it was made.
#[utoipa::path(post, path = "/api/v1/notifications/{id}/resend", operation_id = "resend_notification", tag = "audit",
    params(("id" = String, Path, description = "The notification's id.", example = "17-oncall")), responses(
        (status = 200, description = "It waits to be delivered.", body = NotificationInfo),
        (status = 400, description = "That is no id.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such dead notification.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn resend(
    State(state): State<ApiState>,
    granted: axum::Extension<Granted>,
    caller: Caller,
    Path(id): Path<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<NotificationInfo>, ApiError> {
    let parts = id.split_once('-').and_then(|(seq, subscription)| {
        Some((seq.parse::<i64>().ok()?, RuleName::parse(subscription).ok()?))
    });
    let Some((seq, subscription)) = parts else {
        let text = format!("{id:?} is no id of a notification, such as 17-oncall");
        return Err(ApiError::BadPath(text));
    };
    let (store, now) = (&state.broker.store, state.broker.clock.now());
    let entry = AuditEntry {
        origin: caller.origin(&state),
        subject: Some(format!("notification {id}")),
        scope: AuditScope::default(),
        ..AuditEntry::new(now, granted.person().actor, AuditKind::NoticeResent)
    };
    let is_dead = store.resend(seq, &subscription, now, &[entry]).await?;
    let missing = || ApiError::NotFound {
        kind: "dead notification",
        id: id.clone(),
        remedy: "/api/v1/notifications?state=dead lists them",
    };
    if !is_dead {
        return Err(missing());
    }
    // The newest come first, so the one that is meant is the first that is not newer.
    let after = Some((seq + 1, subscription.clone()));
    let filter = NoticeFilter {
        subscription: Some(subscription),
        after,
        limit: 1,
        ..NoticeFilter::default()
    };
    let row = store.notices(&filter).await?.into_iter().next();
    row.map(|row| Json(NotificationInfo::from(row))).ok_or_else(missing)
}
