//! The journal: every change of a record set, what it is attributed to, and what AWS answered.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::page::{Cursor, Limit, Page};
use super::problem::{ApiError, Problem};
use super::request::Params;
use super::sight::Sight;
use super::values::{Cause, RecordSet, Time, record_types};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordType;
use crate::core::ids::{AccountId, BatchId, ClusterId, ZoneId};
use crate::core::planning::change::Change as CoreChange;
use crate::ports::{BatchOutcome, ChangeFilter, ChangeRow};

/// One change of one record set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Rises with every change.
    #[schema(example = 4711)]
    pub id: i64,
    /// When it was planned.
    pub planned_at: Time,
    /// The batch that carried it: it stands in the comment of the call, so CloudTrail can be joined.
    #[schema(value_type = String, format = "uuid")]
    pub batch: BatchId,
    /// The account that was called.
    #[schema(value_type = String, example = "111111111111")]
    pub account: AccountId,
    /// The zone that was changed.
    #[schema(value_type = String, example = "Z0EXAMPLE")]
    pub zone: ZoneId,
    /// The change: before, after, and why.
    #[serde(flatten)]
    pub difference: Difference,
    /// How it ended.
    pub outcome: Outcome,
}

/// Before and after of one record set, with the cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// The owner name.
    #[schema(value_type = String, example = "www.dev.example.com")]
    pub name: DnsName,
    /// The type.
    #[serde(rename = "type")]
    #[schema(schema_with = record_types)]
    pub record_type: RecordType,
    /// Tells apart the sets of one name and type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_identifier: Option<String>,
    /// Exactly what was there; null for nothing.
    pub before: Option<RecordSet>,
    /// The desired record set; null for none.
    pub after: Option<RecordSet>,
    /// Why.
    pub cause: Cause,
}

impl From<&CoreChange> for Difference {
    fn from(change: &CoreChange) -> Self {
        Self {
            name: change.key.name.clone(),
            record_type: change.key.rtype,
            set_identifier: change.key.set_identifier.as_ref().map(ToString::to_string),
            before: change.before.as_ref().map(RecordSet::from),
            after: change.after.as_ref().map(RecordSet::from),
            cause: Cause::from(&change.cause),
        }
    }
}

/// How a change ended, with its batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Outcome {
    /// Under way, or its outcome is being read back.
    Open,
    /// Route 53 accepted it, and said so.
    Applied {
        /// AWS's change id.
        change_id: String,
        /// AWS's request id.
        request_id: Option<String>,
    },
    /// Its answer was lost, and when it was read back, what it would have done was done: by it, by an earlier call that came
    /// late, or by another writer. CloudTrail knows the call by its comment, `zonefold` and the batch.
    FoundDone,
    /// Route 53 refused the batch for its content: nothing of it was applied.
    Refused {
        /// AWS's error code.
        code: String,
        /// AWS's message.
        message: String,
        /// AWS's request id.
        request_id: Option<String>,
    },
    /// Its answer was lost, and its zone was deleted before it could be read back.
    ZoneDeleted,
    /// It was not applied, for another reason.
    NotApplied {
        /// Which.
        reason: String,
    },
}

impl From<Option<BatchOutcome>> for Outcome {
    fn from(outcome: Option<BatchOutcome>) -> Self {
        match outcome {
            None => Self::Open,
            Some(BatchOutcome::Applied { change_id, request_id }) => {
                Self::Applied { change_id, request_id }
            }
            Some(BatchOutcome::FoundDone) => Self::FoundDone,
            Some(BatchOutcome::Refused { code, message, request_id }) => {
                Self::Refused { code, message, request_id }
            }
            Some(BatchOutcome::ZoneDeleted) => Self::ZoneDeleted,
            Some(BatchOutcome::NotApplied { reason }) => Self::NotApplied { reason },
        }
    }
}

impl From<ChangeRow> for Change {
    fn from(row: ChangeRow) -> Self {
        Self {
            id: row.id,
            planned_at: Time(row.planned_at),
            batch: row.batch,
            account: row.account,
            zone: row.zone,
            difference: Difference::from(&row.change),
            outcome: Outcome::from(row.outcome),
        }
    }
}

/// Which changes.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only of this owner name, in any spelling.
    #[param(value_type = Option<String>, example = "www.dev.example.com")]
    pub name: Option<DnsName>,
    /// Only in this zone.
    #[param(value_type = Option<String>, example = "Z0EXAMPLE")]
    pub zone: Option<ZoneId>,
    /// Only attributed to this cluster.
    #[param(value_type = Option<String>, example = "dev-east")]
    pub cluster: Option<ClusterId>,
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<i64>>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

/// The journal, newest first.
#[utoipa::path(get, path = "/api/v1/changes", operation_id = "list_changes", tag = "changes", params(ListParams), responses(
    (status = 200, description = "A page of changes.", body = Page<Change>),
    (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<ApiState>,
    sight: Sight,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Change>>, ApiError> {
    let filter = ChangeFilter {
        name: params.name,
        zone: params.zone,
        cluster: params.cluster,
        before_id: params.cursor.map(|cursor| cursor.0),
        limit: u32::try_from(params.limit.get() + 1).unwrap_or(u32::MAX),
    };
    let changes = state.broker.changes(&filter).await?.into_iter().map(Change::from).collect();
    let mut page = Page::of_overfull(changes, params.limit, |change: &Change| change.id);
    page.items.retain(|change| sight.of_account(&state, &change.account));
    Ok(Json(page))
}
