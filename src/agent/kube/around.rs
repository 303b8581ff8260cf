//! Nodes and the pods behind services, as far as some service needs them. Plain values: observed objects in, changes out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use arcstr::ArcStr;
use serde_json::Value;

use super::document::Document;
use crate::agent::sources::annotations::Annotations;
pub use crate::agent::sources::gateways::Place;
use crate::agent::sources::gateways::{Gateway, Labels};
use crate::agent::sources::surroundings::{Backend, Known, Node};

/// The label by which an EndpointSlice names its service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Rows by place, read from a list and a watch.
pub struct Table<Row> {
    rows: BTreeMap<Place, Row>,
    listings: BTreeMap<usize, BTreeSet<Place>>,
    /// The scopes that were read completely once.
    listed: BTreeSet<usize>,
    trouble: Option<String>,
}

impl<Row> Default for Table<Row> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            listings: BTreeMap::new(),
            listed: BTreeSet::new(),
            trouble: None,
        }
    }
}

impl<Row: PartialEq> Table<Row> {
    /// A list of a scope begins.
    pub fn begin(&mut self, scope: usize) {
        self.listings.insert(scope, BTreeSet::new());
    }

    /// Stores a row of a list or of the watch. Returns whether it differs from the one before. A row that cannot be understood
    /// leaves the one before.
    pub fn put(&mut self, scope: usize, place: Place, row: Option<Row>) -> bool {
        if let Some(listing) = self.listings.get_mut(&scope) {
            listing.insert(place.clone());
        }
        let Some(row) = row else { return false };
        let is_new = self.rows.get(&place).is_none_or(|before| *before != row);
        self.rows.insert(place, row);
        is_new
    }

    /// A list of a scope is complete. `is_in` says whether a row belongs to the scope.
    pub fn end(&mut self, scope: usize, is_in: impl Fn(&Place) -> bool) {
        if let Some(listing) = self.listings.remove(&scope) {
            self.rows.retain(|place, _| listing.contains(place) || !is_in(place));
        }
        self.listed.insert(scope);
        self.trouble = None;
    }

    /// Deletes a row and returns it.
    pub fn delete(&mut self, place: &Place) -> Option<Row> {
        self.rows.remove(place)
    }

    /// Nothing can be observed now: the known rows stay.
    /// Returns whether that is news.
    pub fn fail(&mut self, scope: usize, reason: String) -> bool {
        self.listings.remove(&scope);
        let is_news = self.trouble.as_ref() != Some(&reason);
        self.trouble = Some(reason);
        is_news
    }

    /// The watch goes on.
    pub fn resume(&mut self) {
        self.trouble = None;
    }

    /// Whether this many scopes were read completely.
    fn is_known(&self, scopes: usize) -> bool {
        self.listed.len() >= scopes
    }

    /// All rows, as far as they are known.
    pub fn known(&self, what: &str) -> Known<&BTreeMap<Place, Row>> {
        if self.is_known(1) { Known::Now(&self.rows) } else { self.not_yet(what) }
    }

    /// The rows as far as they were observed.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    fn not_yet<T>(&self, what: &str) -> Known<T> {
        Known::NotYet(
            self.trouble.clone().unwrap_or_else(|| format!("{what} were not read completely yet")),
        )
    }
}

/// The pods of one EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The service that they are behind.
    pub service: ArcStr,
    backends: Vec<Backend>,
}

/// The nodes, by name.
#[derive(Default)]
pub struct Nodes {
    /// The rows as they are observed.
    pub table: Table<Node>,
    by_name: BTreeMap<ArcStr, Node>,
}

impl Nodes {
    /// Makes what was observed visible.
    pub fn publish(&mut self) {
        self.by_name =
            self.table.rows.iter().map(|((_, name), node)| (name.clone(), node.clone())).collect();
    }

    /// The nodes as far as they are known.
    pub fn known(&self) -> Known<&BTreeMap<ArcStr, Node>> {
        if self.table.is_known(1) { Known::Now(&self.by_name) } else { self.table.not_yet("nodes") }
    }
}

impl Table<Slice> {
    /// The pods behind a service, as far as they are known.
    pub fn behind(
        &self,
        scopes: usize,
        namespace: &ArcStr,
        service: &ArcStr,
    ) -> Known<Vec<&Backend>> {
        if !self.is_known(scopes) {
            return self.not_yet("EndpointSlices");
        }
        let first = (namespace.clone(), ArcStr::new());
        let here = self
            .rows
            .range(first..)
            .take_while(|((place, _), _)| place == namespace)
            .map(|(_, slice)| slice);
        Known::Now(
            here.filter(|slice| slice.service == *service)
                .flat_map(|slice| &slice.backends)
                .collect(),
        )
    }
}

/// Reads a Node; `None` if it cannot be understood.
pub fn node(document: &Document) -> Option<Node> {
    if document.is_too_deep() {
        return None;
    }
    let of_type = |wanted: &str| {
        let addresses = document.status["addresses"].as_array().into_iter().flatten();
        let found = addresses
            .filter(|address| address["type"] == wanted)
            .filter_map(|address| address["address"].as_str());
        found.map(ArcStr::from).collect::<Vec<_>>()
    };
    Some(Node {
        external: of_type("ExternalIP"),
        internal: of_type("InternalIP"),
        is_schedulable: document.spec["unschedulable"] != true,
    })
}

/// Reads an EndpointSlice; `None` if it cannot be understood.
pub fn slice(document: &Document) -> Option<Slice> {
    if document.is_too_deep() {
        return None;
    }
    let text = |value: &Value| ArcStr::from(value.as_str().unwrap_or_default());
    let backend = |endpoint: &Value| {
        let conditions = &endpoint["conditions"];
        // Unset means ready (discovery.k8s.io/v1); unset serving means the same as ready.
        let is_ready = conditions["ready"].as_bool().unwrap_or(true);
        Backend {
            address: text(&endpoint["addresses"][0]),
            hostname: text(&endpoint["hostname"]),
            node: text(&endpoint["nodeName"]),
            is_ready,
            is_serving: conditions["serving"].as_bool().unwrap_or(is_ready),
            is_terminating: conditions["terminating"].as_bool().unwrap_or(false),
        }
    };
    let endpoints = document.endpoints.as_array().into_iter().flatten();
    // As ExternalDNS: endpoints that are no pods, and names in place of addresses, do not count.
    let of_pods = endpoints.filter(|endpoint| endpoint["targetRef"]["kind"] == "Pod");
    let mut backends: Vec<Backend> = of_pods.map(backend).collect();
    backends.retain(|backend| backend.address.parse::<IpAddr>().is_ok());
    backends.sort();
    let service = document
        .metadata
        .labels
        .get(SERVICE_LABEL)
        .map(|name| ArcStr::from(name.as_str()))
        .unwrap_or_default();
    Some(Slice { service, backends })
}

/// Reads a Gateway or a ListenerSet; `None` if it cannot be understood, so that its last valid state still counts.
pub fn gateway(document: &Document) -> Option<Gateway> {
    Some(Gateway::new(
        Annotations::read(&document.metadata.annotations).targets,
        serde_json::from_value(or_empty(&document.spec)).ok()?,
        serde_json::from_value(or_empty(&document.status)).ok()?,
    ))
}

/// Reads the labels of a Namespace.
pub fn labels(document: &Document) -> Option<Labels> {
    Some(document.metadata.labels.clone())
}

fn or_empty(value: &Value) -> Value {
    if value.is_null() { Value::Object(serde_json::Map::new()) } else { value.clone() }
}
