//! The Kubernetes clusters: what the configuration says of each, its session, and how its endpoints fare.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::page::{Cursor, Limit, MissingPart, Page};
use super::peers::{Asker, Onward};
use super::problem::{ApiError, Problem};
use super::request::{NoParams, Params, identifier};
use super::sight::Sight;
use super::values::{Time, visibility_or_null};
use crate::broker::ClusterView;
use crate::broker::directory::cluster::StatusCounts;
use crate::core::endpoint::quota::{Quota, Usage};
use crate::core::ids::{ClusterId, EnvironmentId};

/// One cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// The name under which it is registered.
    #[schema(value_type = String, example = "dev-east")]
    pub name: ClusterId,
    /// Whether the configuration knows it. What an unregistered one left behind stays where it is.
    pub registered: bool,
    /// The environment that joins it with accounts; none for one that is not registered.
    #[schema(value_type = Option<String>, example = "dev")]
    pub environment: Option<EnvironmentId>,
    /// Its labels in the configuration, for people and for rules.
    #[serde(default)]
    #[schema(example = json!({"region": "eu-west-1"}))]
    pub labels: BTreeMap<String, String>,
    /// Which kind of zone its endpoints go to unless they say so themselves; none for one that is not registered.
    #[schema(schema_with = visibility_or_null)]
    pub visibility: Option<String>,
    /// Whether its agent has a session open.
    pub connected: bool,
    /// The replica that serves the session; none when there is none.
    #[schema(format = "uuid")]
    pub replica: Option<String>,
    /// Its newest session; none before the first.
    pub session: Option<Session>,
    /// The callers that claimed to be this cluster and were refused since the replicas started; absent if there were none.
    pub refused_claims: Option<RefusedClaims>,
    /// How its endpoints fare.
    pub endpoints: EndpointCounts,
    /// How much of it may be stored; none for one that is not registered.
    #[serde(default)]
    pub quota: Option<ClusterQuota>,
    /// Replicas that do not say whether they have its session, and whom they refused; left out when all say it, and in lists, which say
    /// it for the page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingPart>,
}

impl Cluster {
    /// Adds what another replica knows.
    fn is_known_as(&mut self, there: Self) {
        if there.connected {
            self.connected = true;
            self.replica = there.replica;
        }
        self.refused_claims = match (self.refused_claims.take(), there.refused_claims) {
            (Some(here), Some(there)) => {
                let count = here.count + there.count;
                let last = if there.last_at > here.last_at { there } else { here };
                Some(RefusedClaims { count, ..last })
            }
            (here, there) => here.or(there),
        };
    }
}

/// Callers that claimed to be this cluster and were refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedClaims {
    /// How many.
    pub count: u64,
    /// When the last one came.
    pub last_at: Time,
    /// Why it was refused, for programs.
    #[schema(example = "OTHER_CLUSTER")]
    pub reason: String,
    /// Why it was refused, for people.
    pub detail: String,
}

/// The newest session of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Rises with every session; older ones can commit nothing any more.
    pub epoch: u64,
    /// The agent's instance.
    pub instance_id: String,
    /// The UID of the cluster's namespace kube-system: another one under the same name is refused.
    pub kube_system_uid: String,
    /// When it was opened.
    pub opened_at: Time,
    /// The highest sequence number that is durable.
    pub last_durable_seq: u64,
    /// Whether a snapshot of the cluster was ever completed.
    pub snapshot_taken: bool,
}

/// How much of a cluster may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterQuota {
    /// Endpoints.
    #[schema(example = 50_000)]
    pub max_endpoints: usize,
    /// Octets of them in their packed form.
    #[schema(example = 67_108_864)]
    pub max_bytes: u64,
}

impl From<Quota> for ClusterQuota {
    fn from(Quota { max_endpoints, max_bytes }: Quota) -> Self {
        Self { max_endpoints, max_bytes }
    }
}

/// How many endpoints are in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndpointCounts {
    /// Stored.
    pub stored: usize,
    /// Octets of those in their packed form.
    #[serde(default)]
    pub stored_bytes: u64,
    /// Beyond the cluster's quota: waiting with the reason `QUOTA`, and only their keys are stored.
    #[serde(default)]
    pub over_quota: usize,
    /// Accepted and on their way.
    pub pending: usize,
    /// Accepted by Route 53, in sync or not.
    pub applied: usize,
    /// Of those, in sync on its name servers.
    pub in_sync: usize,
    /// Waiting for something else to change.
    pub waiting: usize,
    /// Rejected by the broker.
    pub rejected: usize,
    /// Refused by Route 53, or changed by another writer.
    pub troubled: usize,
}

impl EndpointCounts {
    fn new(usage: Usage, counts: StatusCounts) -> Self {
        let StatusCounts { endpoints: _, pending, applied, in_sync, waiting, rejected, troubled } =
            counts;
        Self {
            stored: usage.stored,
            stored_bytes: usage.bytes,
            over_quota: usage.withheld,
            pending,
            applied,
            in_sync,
            waiting,
            rejected,
            troubled,
        }
    }
}

/// Which clusters.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<ClusterId>>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

fn show(state: &ApiState, view: ClusterView) -> Cluster {
    let usage = state.broker.directory.usage(&view.cluster);
    Cluster {
        registered: view.settings.is_some(),
        environment: view.settings.as_ref().map(|settings| settings.environment.clone()),
        labels: view.settings.as_ref().map(|settings| settings.labels.clone()).unwrap_or_default(),
        visibility: view.settings.as_ref().map(|settings| settings.exposure.to_string()),
        connected: view.connected,
        replica: view.connected.then(|| state.broker.replica.replica.to_string()),
        session: view.stored.map(|row| Session {
            epoch: row.epoch.0,
            instance_id: row.instance_id,
            kube_system_uid: row.kube_system_uid,
            opened_at: Time(row.session_at),
            last_durable_seq: row.last_seq,
            snapshot_taken: row.known,
        }),
        refused_claims: view.refused.map(|refused| RefusedClaims {
            count: refused.count,
            last_at: Time(refused.at),
            reason: refused.reason.to_owned(),
            detail: refused.message,
        }),
        endpoints: EndpointCounts::new(usage, view.counts),
        quota: view.settings.as_ref().map(|settings| settings.quota.into()),
        name: view.cluster,
        missing: vec![],
    }
}

/// All clusters, by name.
///
/// Those that the configuration registers, and those that are only left in the store.
#[utoipa::path(get, path = "/api/v1/clusters", operation_id = "list_clusters", tag = "clusters", params(ListParams), responses(
    (status = 200, description = "A page of clusters.", body = Page<Cluster>),
    (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<ApiState>,
    sight: Sight,
    asker: Asker,
    onward: Onward,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Cluster>>, ApiError> {
    let views = state.broker.clusters().await?;
    let seen = views.into_iter().filter(|view| sight.of_cluster(&state, &view.cluster));
    let clusters = seen.map(|view| show(&state, view)).collect();
    let after = params.cursor.map(|cursor| cursor.0);
    let mut page = Page::of_sorted(clusters, after.as_ref(), params.limit, |cluster: &Cluster| {
        cluster.name.clone()
    });
    if asker == Asker::Anybody {
        let (known, missing) =
            state.peers.ask_each::<Page<Cluster>>(&state.peers.all(), &onward).await;
        page.missing = missing;
        for page_there in known {
            for there in page_there.items {
                if let Some(cluster) =
                    page.items.iter_mut().find(|cluster| cluster.name == there.name)
                {
                    cluster.is_known_as(there);
                }
            }
        }
    }
    Ok(Json(page))
}

/// One cluster.
#[utoipa::path(get, path = "/api/v1/clusters/{name}", operation_id = "get_cluster", tag = "clusters",
    params(("name" = String, Path, description = "The name under which it is registered.", example = "dev-east")),
    responses(
        (status = 200, description = "The cluster.", body = Cluster),
        (status = 400, description = "That is no cluster name.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such cluster.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(state): State<ApiState>,
    sight: Sight,
    asker: Asker,
    onward: Onward,
    Path(name): Path<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<Cluster>, ApiError> {
    let name: ClusterId = identifier(&name)?;
    let view = state.broker.clusters().await?.into_iter().find(|view| view.cluster == name);
    let view = view.filter(|view| sight.of_cluster(&state, &view.cluster));
    let view = view.ok_or_else(|| ApiError::NotFound {
        kind: "cluster",
        id: name.to_string(),
        remedy: "/api/v1/clusters lists them, and clusters are registered in the broker's configuration",
    })?;
    let mut cluster = show(&state, view);
    if asker == Asker::Anybody {
        let (known, missing) = state.peers.ask_each::<Cluster>(&state.peers.all(), &onward).await;
        known.into_iter().for_each(|there| cluster.is_known_as(there));
        cluster.missing = missing;
    }
    Ok(Json(cluster))
}
