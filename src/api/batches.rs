//! One batch: what one call changed, why, by whose word, by which rules, and what AWS called it.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::changes::{Difference, Outcome};
use super::problem::{ApiError, Problem};
use super::request::{NoParams, Params};
use super::requests::RequestInfo;
use super::sight::Sight;
use super::values::Time;
use crate::core::dns::name::DnsName;
use crate::core::ids::{AccountId, BatchId, ZoneId};
use crate::core::planning::change::Unit;
use crate::ports::RuleSetRow;

/// One call of ChangeResourceRecordSets, with what led to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchInfo {
    /// Its id, which stands in the comment of the call.
    #[schema(value_type = String, format = "uuid")]
    pub id: BatchId,
    /// The account that was called.
    #[schema(value_type = String, example = "111111111111")]
    pub account: AccountId,
    /// The zone that was changed.
    #[schema(value_type = String, example = "Z0EXAMPLE")]
    pub zone: ZoneId,
    /// Its apex.
    #[schema(value_type = String, example = "dev.example.com")]
    pub zone_name: DnsName,
    /// When it was planned.
    pub planned_at: Time,
    /// When it ended; null while it is in doubt.
    pub finished_at: Option<Time>,
    /// How it ended, with AWS's change id and request id.
    pub outcome: Outcome,
    /// The number of its entry in the journal of the account.
    pub journal_seq: i64,
    /// The units that it carried: changes that went together or not at all. Null once its entry was cut off the journal.
    pub units: Option<Vec<BatchUnitInfo>>,
    /// Its changes; of a batch whose entry was cut off the journal those that are still kept.
    pub changes: Vec<Difference>,
    /// The set of rules by which it was planned; null if none was ever accepted, or its entry was cut off the journal.
    pub rules: Option<RuleSetInfo>,
    /// The requests whose words let units of it go.
    pub released_by: Vec<RequestInfo>,
}

/// Changes that went together or not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchUnitInfo {
    /// What it is known by where people decide about it.
    pub digest: String,
    /// Whether it was held, and people let it go.
    pub released: bool,
    /// What it changed, and why.
    pub changes: Vec<Difference>,
}

/// An accepted set of rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleSetInfo {
    /// Its number.
    #[schema(example = 7)]
    pub number: u64,
    /// A hash of all that its rules say; null if the set is not kept.
    pub digest: Option<String>,
    /// When it was accepted; null if the set is not kept.
    pub at: Option<Time>,
    /// Who changed the set before into this one; null if the set is not kept.
    #[schema(example = "token ops")]
    pub by: Option<String>,
    /// Why; null if nobody said.
    pub reason: Option<String>,
}

impl RuleSetInfo {
    /// Of a set that may not be kept any more.
    pub fn new(number: u64, set: Option<RuleSetRow>) -> Self {
        Self {
            number,
            digest: set.as_ref().map(|set| set.digest.to_string()),
            at: set.as_ref().map(|set| Time(set.at)),
            by: set.as_ref().map(|set| set.by.clone()),
            reason: set.and_then(|set| set.reason),
        }
    }
}

/// One batch.
///
/// `batch` of a change, of a record and of a decision in the audit leads here.
#[utoipa::path(get, path = "/api/v1/batches/{id}", operation_id = "get_batch", tag = "changes",
    params(("id" = String, Path, description = "The batch's id.")), responses(
        (status = 200, description = "The batch.", body = BatchInfo),
        (status = 400, description = "That is no id.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such batch, or it is kept no more.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(state): State<ApiState>,
    sight: Sight,
    Path(id): Path<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<BatchInfo>, ApiError> {
    let uuid = id.parse().map_err(|_| {
        ApiError::BadPath(format!(
            "{id:?} is no id of a batch: it is a UUID, as in /api/v1/changes"
        ))
    })?;
    let store = &state.broker.store;
    let known = store.batch_history(BatchId(uuid)).await?;
    let Some(history) = known.filter(|known| sight.of_account(&state, &known.account)) else {
        let remedy = "/api/v1/changes lists those that the journal keeps";
        return Err(ApiError::NotFound { kind: "batch", id, remedy });
    };
    let number = history.batch.as_ref().map_or(0, |batch| batch.stamp.rules);
    let rules = match number {
        0 => None,
        number => Some(RuleSetInfo::new(number, store.rules_numbered(number).await?)),
    };
    let mut released_by = vec![];
    for request in &history.requests {
        released_by.extend(store.request(*request).await?.as_ref().map(RequestInfo::from));
    }
    let unit = |unit: &Unit| {
        let digest = unit.digest(&history.zone);
        let stamp = history.batch.as_ref().map(|batch| &batch.stamp);
        BatchUnitInfo {
            digest: digest.to_string(),
            released: stamp.is_some_and(|stamp| stamp.released.contains(&digest)),
            changes: unit.changes.iter().map(Difference::from).collect(),
        }
    };
    let units = history.batch.as_ref().map(|batch| batch.units.iter().map(unit).collect());
    Ok(Json(BatchInfo {
        id: history.id,
        account: history.account,
        zone: history.zone,
        zone_name: history.apex,
        planned_at: Time(history.planned_at),
        finished_at: history.finished_at.map(Time),
        outcome: Outcome::from(history.outcome),
        journal_seq: history.journal_seq,
        units,
        changes: history.changes.iter().map(Difference::from).collect(),
        rules,
        released_by,
    }))
}
