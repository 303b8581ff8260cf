//! The record sets of a zone as Route 53 holds them, and what Zonefold knows of each.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::page::{Cursor, Limit, MissingPart, Page};
use super::peers::{Asker, Onward};
use super::problem::{ApiError, Problem};
use super::request::{Params, identifier};
use super::sight::Sight;
use super::values::{RecordSet, Time, drift_or_null, record_types};
use super::zones;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RecordKey, RecordType};
use crate::core::ids::{BatchId, ClusterId, ZoneId};
use crate::core::planning::plan::{Drift, Observed};
use crate::core::time::Timestamp;
use crate::ports::PastRecord;

/// A record set of a zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Record {
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
    /// Exactly what Route 53 holds; what it held last when the set is missing.
    pub set: RecordSet,
    /// Whether Zonefold made or adopted it. Foreign record sets are never touched.
    pub ours: bool,
    /// The cluster that held the name when the set was written; of a name that clusters share, the first that has a part in the set.
    #[schema(value_type = Option<String>, example = "dev-east")]
    pub owner: Option<ClusterId>,
    /// The batch that wrote it; none for a set that was adopted as it was.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub batch: Option<BatchId>,
    /// How another writer changed it since we wrote it; absent if none did.
    #[schema(schema_with = drift_or_null)]
    pub drift: Option<Drift>,
}

impl Record {
    /// Shows the record set that is observed under a key.
    pub fn new(key: &RecordKey, observed: &Observed) -> Self {
        let owner = observed.owner.as_ref();
        Self {
            name: key.name.clone(),
            record_type: key.rtype,
            set_identifier: key.set_identifier.as_ref().map(ToString::to_string),
            set: RecordSet::from(&observed.raw),
            ours: owner.is_some(),
            owner: owner.map(|owner| owner.cluster.clone()),
            batch: owner.map(|owner| owner.batch).filter(|batch| !batch.0.is_nil()),
            drift: observed.drift,
        }
    }
}

impl Record {
    /// Shows a record set of ours as we wrote it.
    pub fn past(past: &PastRecord) -> Self {
        Self {
            name: past.key.name.clone(),
            record_type: past.key.rtype,
            set_identifier: past.key.set_identifier.as_ref().map(ToString::to_string),
            set: RecordSet::from(&past.set),
            ours: true,
            owner: Some(past.cluster.clone()),
            batch: Some(past.batch),
            drift: None,
        }
    }
}

/// Which records.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Those of ours as they were then by the journal, by name and type; what others wrote is not kept.
    #[param(value_type = Option<String>, example = "2026-07-30T09:15:00Z")]
    pub at: Option<Time>,
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<RecordKey>>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

/// The record sets of a zone, in Route 53's list order.
///
/// They are those that Zonefold observed last: it lists a zone once, follows its own changes, and sweeps for drift.
#[utoipa::path(get, path = "/api/v1/zones/{id}/records", operation_id = "list_records", tag = "zones",
    params(("id" = String, Path, description = "The hosted zone's id, without `/hostedzone/`.", example = "Z0EXAMPLE"), ListParams),
    responses(
        (status = 200, description = "A page of record sets.", body = Page<Record>),
        (status = 400, description = "The zone id or a parameter is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such zone.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The replica that works it does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<ApiState>,
    sight: Sight,
    asker: Asker,
    onward: Onward,
    Path(id): Path<String>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Record>>, ApiError> {
    let id: ZoneId = identifier(&id)?;
    if !sight.of_zone(&state, &id) {
        return Err(zones::unknown(&id));
    }
    let after = params.cursor.map(|cursor| cursor.0);
    if let Some(Time(at)) = params.at {
        return Ok(Json(page_at(&state, &id, at, after, params.limit).await?));
    }
    let Some(records) = state.broker.records(&id, after, params.limit.get() + 1).await else {
        return Ok(Json(zones::elsewhere(&state, asker, &onward, &id).await?));
    };
    let page = Page::of_overfull(records, params.limit, |(key, _)| key.clone());
    let items = page.items.iter().map(|(key, observed)| Record::new(key, observed)).collect();
    Ok(Json(Page::of_all(items, page.next)))
}

/// A page of a zone as it was.
async fn page_at(
    state: &ApiState,
    zone: &ZoneId,
    at: Timestamp,
    after: Option<RecordKey>,
    limit: Limit,
) -> Result<Page<Record>, ApiError> {
    let store = &state.broker.store;
    if !store.zones().await?.iter().any(|row| row.zone == *zone) {
        return Err(zones::unknown(zone));
    }
    let most = u32::try_from(limit.get() + 1).unwrap_or(u32::MAX);
    let (records, whole_since) = store.records_at(zone, at, after.as_ref(), most).await?;
    let page = Page::of_overfull(records, limit, |record| record.key.clone());
    let items = page.items.iter().map(Record::past).collect();
    let missing = whole_since.filter(|since| at < *since).map(|since| MissingPart {
        replica: None,
        accounts: vec![],
        detail: format!("the journal was cut: what was sent before {since} is known in part"),
    });
    Ok(Page { missing: missing.into_iter().collect(), ..Page::of_all(items, page.next) })
}
