//! The endpoints: what clusters want, and what became of each.
//!
//! There may be a million, so a page is read in the order in which the directory keeps them (cluster, then key), and a filter
//! that fits few looks at a bounded number of them in one request: such a page may be short, even empty, and still have a
//! `next`.

use std::collections::{BTreeMap, VecDeque};

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::page::{Cursor, Limit, Page};
use super::problem::{ApiError, Problem};
use super::request::Params;
use super::sight::Sight;
use super::values::{EndpointSource, Placement, Time, reasons, verdict_states};
use crate::broker::directory::SharedDirectory;
use crate::broker::directory::entry::{EndpointEntry, Progress as BrokerProgress, Status};
use crate::core::dns::name::DnsName;
use crate::core::endpoint::KeyHash;
use crate::core::endpoint::verdict::{Reason, Verdict as CoreVerdict, VerdictState};
use crate::core::ids::ClusterId;

/// How many endpoints one request looks at.
const LOOK_AT_MOST: usize = 20_000;
/// How many are taken from the directory at a time, which is locked meanwhile.
const CHUNK: usize = 1_000;

/// The record set that a cluster publishes under one name, and its status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// The hash of its key, the same as long as object, name, type and set identifier are; unique inside its cluster.
    #[schema(example = "8c1f0f1a3b9be6f2f77dcb4fd5c2f9f4f6cf5dbb4a0d4b21b1a0a5ac3f0f8f11")]
    pub id: String,
    /// Whose.
    #[schema(value_type = String, example = "dev-east")]
    pub cluster: ClusterId,
    /// The object that asks, and the name.
    #[serde(flatten)]
    pub key: EndpointSource,
    /// The wanted values, as written.
    #[schema(example = json!(["192.0.2.1"]))]
    pub targets: Vec<String>,
    /// The wanted time to live in seconds; none for the zone's default.
    #[schema(example = 300)]
    pub ttl_secs: Option<i64>,
    /// Provider-specific properties, by ExternalDNS's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
    /// The hash of its content.
    pub version: String,
    /// The broker's answer; null while it is being decided.
    pub verdict: Option<Verdict>,
    /// How far it has come; null unless it is accepted.
    pub progress: Option<Progress>,
    /// Where it was placed; null for nowhere.
    pub placement: Option<Placement>,
    /// Since when verdict and progress are what they are.
    pub since: Option<Time>,
}

/// The broker's answer to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// Accepted, waiting for something else to change, or rejected until it is written differently.
    #[schema(schema_with = verdict_states)]
    pub state: VerdictState,
    /// Why, for programs.
    #[schema(schema_with = reasons)]
    pub reason: Reason,
    /// Why, for people: what happened, where, what to do. Empty when accepted.
    pub message: String,
}

impl From<&CoreVerdict> for Verdict {
    fn from(verdict: &CoreVerdict) -> Self {
        Self { state: verdict.state, reason: verdict.reason, message: verdict.message.clone() }
    }
}

/// How far an accepted endpoint has come on its way to Route 53.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Progress {
    /// Not there yet.
    Pending {
        /// The reason for waiting; empty if only its turn has to come.
        detail: String,
        /// When it is expected to go out; null if it cannot be estimated.
        expected_at: Option<Time>,
    },
    /// Route 53 accepted it.
    Applied {
        /// The change that did it, when it is known.
        change_id: Option<String>,
    },
    /// Route 53 reports the change in sync on its name servers.
    InSync {
        /// The change that did it, when it is known.
        change_id: Option<String>,
    },
    /// Route 53 refused it; it is tried again when its content changes, or later.
    Refused {
        /// Route 53's words.
        message: String,
        /// Not before this time.
        retry_at: Time,
    },
    /// Another writer changed the record set, and the zone's drift policy leaves it so.
    Drifted {
        /// The remedy.
        message: String,
    },
}

impl From<&BrokerProgress> for Progress {
    fn from(progress: &BrokerProgress) -> Self {
        match progress {
            BrokerProgress::Pending { detail, expected_at } => {
                Self::Pending { detail: detail.clone(), expected_at: expected_at.map(Time) }
            }
            BrokerProgress::Applied { change_id } => Self::Applied { change_id: change_id.clone() },
            BrokerProgress::InSync { change_id } => Self::InSync { change_id: change_id.clone() },
            BrokerProgress::Refused { message, retry_at } => {
                Self::Refused { message: message.clone(), retry_at: Time(*retry_at) }
            }
            BrokerProgress::Drifted { message } => Self::Drifted { message: message.clone() },
        }
    }
}

/// The states of [`Verdict`], to filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateFilter {
    Accepted,
    Waiting,
    Rejected,
}

impl StateFilter {
    fn fits(self, status: Option<&Status>) -> bool {
        let state = status.map(|status| match status.verdict.state {
            VerdictState::Accepted => Self::Accepted,
            VerdictState::Waiting => Self::Waiting,
            VerdictState::Rejected => Self::Rejected,
        });
        state == Some(self)
    }
}

/// The states of [`Progress`], to filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgressFilter {
    Pending,
    Applied,
    InSync,
    Refused,
    Drifted,
}

impl ProgressFilter {
    fn fits(self, progress: Option<&BrokerProgress>) -> bool {
        let state = progress.map(|progress| match progress {
            BrokerProgress::Pending { .. } => Self::Pending,
            BrokerProgress::Applied { .. } => Self::Applied,
            BrokerProgress::InSync { .. } => Self::InSync,
            BrokerProgress::Refused { .. } => Self::Refused,
            BrokerProgress::Drifted { .. } => Self::Drifted,
        });
        state == Some(self)
    }
}

impl Endpoint {
    /// Shows an endpoint with its status, once there is one.
    pub fn new(held: &EndpointEntry) -> Self {
        let (view, status) = (held.view(), held.status());
        let status = status.as_ref();
        Self {
            id: view.key_hash().to_string(),
            cluster: held.cluster().clone(),
            key: EndpointSource::from(&view.key()),
            targets: view.targets.iter().map(ToString::to_string).collect(),
            ttl_secs: view.ttl_secs,
            properties: view
                .properties
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            version: view.version().to_string(),
            verdict: status.map(|status| Verdict::from(&status.verdict)),
            progress: status.and_then(|status| status.progress.as_ref()).map(Progress::from),
            placement: status
                .and_then(|status| status.verdict.placement.as_ref())
                .map(Placement::from),
            since: status.map(|_| Time(held.since())),
        }
    }
}

/// A name to filter by. What was rejected because it is no name can be asked for as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameFilter {
    text: String,
    name: Option<DnsName>,
}

impl NameFilter {
    /// Endpoints that want this name, in any spelling.
    pub fn new(text: &str) -> Self {
        let name = DnsName::parse(text).ok();
        let text = name.as_ref().map_or_else(|| text.to_ascii_lowercase(), ToString::to_string);
        Self { text, name }
    }

    fn fits(&self, written: &str) -> bool {
        let written = written.strip_suffix('.').unwrap_or(written);
        if written.eq_ignore_ascii_case(&self.text) {
            return true;
        }
        // Only Unicode and escapes have more than one spelling besides the case; all else is decided without reading the name.
        let has_spellings = !written.is_ascii() || written.contains('\\');
        has_spellings
            && self
                .name
                .as_ref()
                .is_some_and(|name| DnsName::parse(written).is_ok_and(|written| written == *name))
    }
}

impl<'de> Deserialize<'de> for NameFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(&String::deserialize(deserializer)?))
    }
}

/// Which endpoints.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only of this cluster.
    #[param(value_type = Option<String>, example = "dev-east")]
    pub cluster: Option<ClusterId>,
    /// Only with this verdict.
    #[param(inline)]
    pub state: Option<StateFilter>,
    /// Only accepted ones that have come this far.
    #[param(inline)]
    pub progress: Option<ProgressFilter>,
    /// Only of this name, in any spelling.
    #[param(value_type = Option<String>, example = "www.dev.example.com")]
    pub name: Option<NameFilter>,
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<Cursor<Position>>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: Limit,
}

impl ListParams {
    fn is_filter(&self) -> bool {
        self.state.is_some() || self.progress.is_some() || self.name.is_some()
    }

    fn fits(&self, held: &EndpointEntry) -> bool {
        let status = held.status();
        let status = status.as_deref();
        self.name.as_ref().is_none_or(|name| name.fits(held.view().dns_name))
            && self.state.is_none_or(|state| state.fits(status))
            && self.progress.is_none_or(|progress| {
                progress.fits(status.and_then(|status| status.progress.as_ref()))
            })
    }
}

/// Where a page of endpoints ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    cluster: ClusterId,
    key: [u8; 32],
}

/// All endpoints that fit, by cluster and key.
///
/// With a filter a page may hold fewer items than `limit`, even none, while `next` is not null: go on until it is.
#[utoipa::path(get, path = "/api/v1/endpoints", operation_id = "list_endpoints", tag = "endpoints", params(ListParams),
    responses(
        (status = 200, description = "A page of endpoints.", body = Page<Endpoint>),
        (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<ApiState>,
    sight: Sight,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Endpoint>>, ApiError> {
    let seen = |cluster: &ClusterId| sight.of_cluster(&state, cluster);
    Ok(Json(page(&state.broker.directory, &params, &seen, LOOK_AT_MOST).await))
}

/// One page, after a look at a bounded number of endpoints.
pub(super) async fn page(
    directory: &SharedDirectory,
    params: &ListParams,
    seen: &(dyn Fn(&ClusterId) -> bool + Sync),
    look_at_most: usize,
) -> Page<Endpoint> {
    let mut walk = EndpointWalk::new(directory, params, seen);
    let (mut items, mut last, mut looked_at) = (vec![], None, 0);
    while let Some((here, held)) = walk.next().await {
        let is_full = looked_at == look_at_most;
        let fits = !is_full && params.fits(&held);
        if is_full || (fits && items.len() == params.limit.get()) {
            return Page::of_all(items, last.map(|last| Cursor(last).to_string()));
        }
        looked_at += 1;
        if fits {
            items.push(Endpoint::new(&held));
        }
        last = Some(here);
    }
    Page::of_all(items, None)
}

/// The endpoints of all clusters from a position on, read a chunk at a time.
struct EndpointWalk<'a> {
    directory: &'a SharedDirectory,
    /// The cluster that is read, and those after it.
    clusters: VecDeque<ClusterId>,
    /// The last endpoint of the first cluster that was given out.
    after: Option<KeyHash>,
    /// Read and not given out yet.
    chunk: std::vec::IntoIter<EndpointEntry>,
    chunk_size: usize,
}

impl<'a> EndpointWalk<'a> {
    fn new(
        directory: &'a SharedDirectory,
        params: &ListParams,
        seen: &dyn Fn(&ClusterId) -> bool,
    ) -> Self {
        let start = params.cursor.as_ref().map(|cursor| &cursor.0);
        let is_wanted = |cluster: &ClusterId| {
            start.is_none_or(|start| *cluster >= start.cluster)
                && params.cluster.as_ref().is_none_or(|wanted| wanted == cluster)
                && seen(cluster)
        };
        let clusters: VecDeque<ClusterId> =
            directory.clusters().into_iter().filter(is_wanted).collect();
        let after = start.filter(|start| clusters.front() == Some(&start.cluster));
        let chunk_size = if params.is_filter() { CHUNK } else { params.limit.get() + 1 };
        let after = after.map(|start| KeyHash(start.key));
        Self { directory, clusters, after, chunk: vec![].into_iter(), chunk_size }
    }

    async fn next(&mut self) -> Option<(Position, EndpointEntry)> {
        loop {
            let cluster = self.clusters.front()?;
            if let Some(held) = self.chunk.next() {
                let key = held.view().key_hash();
                self.after = Some(key);
                return Some((Position { cluster: cluster.clone(), key: key.0 }, held));
            }
            let entries =
                self.directory.cluster(cluster).page(self.after.as_ref(), self.chunk_size);
            if entries.is_empty() {
                self.clusters.pop_front();
                self.after = None;
            }
            self.chunk = entries.into_iter();
            // A long look lets others have their turn.
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};
    use std::sync::Arc;

    use super::*;
    use crate::broker::directory::Directory;
    use crate::core::endpoint::packed::PackedEndpoint;
    use crate::core::testkit::{cluster, endpoint};
    use crate::core::time::Timestamp;
    use crate::ports::{IngestOp, OpOutcome};

    #[test]
    fn a_name_is_found_in_any_spelling() {
        let fits = |asked: &str, written: &str| NameFilter::new(asked).fits(written);
        assert!(fits("WWW.Example.com.", "www.example.com"));
        assert!(fits("www.example.com", "www.example.com."));
        assert!(fits("xn--bcher-kva.example.com", "bücher.example.com"));
        assert!(fits("bücher.example.com", "xn--bcher-kva.example.com"));
        assert!(fits("*.example.com", "\\052.example.com"));
        assert!(!fits("www.example.com", "ww.example.com"));
        let too_long = format!("{}.example.com", "a".repeat(64));
        assert!(fits(&too_long, &too_long), "what is no name is found as it was written");
    }

    /// Three clusters of 20 endpoints, every fifth of which is rejected.
    fn stored() -> SharedDirectory {
        let directory = Directory::new(HashMap::new());
        for name in ["a", "b", "c"] {
            for index in 0..20 {
                let endpoint =
                    endpoint(&format!("web-{index}"), "www.example.com", "A", &["192.0.2.1"]);
                let (key, version) = (endpoint.key.hash(), endpoint.version());
                let put = IngestOp::Put { key, version, endpoint: PackedEndpoint::pack(&endpoint) };
                directory.commit(
                    &cluster(name),
                    vec![put],
                    &std::collections::BTreeMap::new(),
                    &[OpOutcome::Stored { arrival: index }],
                    &mut vec![],
                );
                let verdict = match index % 5 {
                    0 => CoreVerdict::rejected(Reason::InvalidTarget, "no"),
                    _ => CoreVerdict::waiting(Reason::NoZone, "no", None),
                };
                let endpoints = directory.cluster(&cluster(name));
                endpoints.tell(
                    &endpoints.get(&key).unwrap(),
                    Arc::new(Status::of(verdict)),
                    Timestamp(0),
                );
            }
        }
        Arc::new(directory)
    }

    /// All pages in a row, and how many there were.
    async fn all(mut params: ListParams, look_at_most: usize) -> (Vec<Endpoint>, usize) {
        let directory = stored();
        let (mut found, mut pages) = (vec![], 0);
        loop {
            let page = page(&directory, &params, &|_| true, look_at_most).await;
            assert!(page.items.len() <= params.limit.get());
            (found, pages) = ([found, page.items].concat(), pages + 1);
            let Some(next) = page.next else { break };
            params.cursor = Some(serde_json::from_value(next.into()).unwrap());
        }
        let once: BTreeSet<(&ClusterId, &str)> =
            found.iter().map(|e| (&e.cluster, e.id.as_str())).collect();
        assert_eq!(once.len(), found.len(), "none comes twice");
        (found, pages)
    }

    #[tokio::test]
    async fn pages_in_a_row_are_everything_once_and_the_last_is_not_empty() {
        let limit = |limit: &str| serde_json::from_value(limit.into()).unwrap();
        for (size, pages) in [("1", 60), ("7", 9), ("20", 3), ("60", 1), ("1000", 1)] {
            let (found, in_pages) =
                all(ListParams { limit: limit(size), ..ListParams::default() }, usize::MAX).await;
            assert_eq!((found.len(), in_pages), (60, pages), "pages of {size}");
        }
    }

    #[tokio::test]
    async fn a_filter_finds_all_although_each_request_looks_at_few() {
        let rejected = ListParams { state: Some(StateFilter::Rejected), ..ListParams::default() };
        for look_at_most in [1, 7, 59, 60, 1_000] {
            let (found, pages) = all(rejected.clone(), look_at_most).await;
            assert_eq!(found.len(), 12);
            assert_eq!(pages, 60_usize.div_ceil(look_at_most), "looking at {look_at_most}");
        }
        let of_one = ListParams { cluster: Some(cluster("b")), ..rejected };
        assert_eq!(all(of_one, 3).await.0.len(), 4);
    }
}
