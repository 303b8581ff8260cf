//! Turns observations of the cluster into steps for the index. A plain value with synchronous methods: news in, steps out.
//!
//! Objects are read when they come and not kept: what they want is in the index. Only a service whose endpoints depend on nodes
//! or pods is kept, to be read again when those change.

use std::collections::{BTreeMap, BTreeSet};

use arcstr::ArcStr;

use super::around::{self, Nodes, Place, Slice, Table};
use super::document::Document;
use super::feed::News;
use super::filter::Filter;
use super::resources::{
    ENDPOINT_SLICES, GATEWAYS, LISTENER_SETS, NAMESPACES, NODES, Resource, resource_of,
};
use crate::agent::index::EntryState;
use crate::agent::sources::gateways::{Gateway, Labels};
use crate::agent::sources::surroundings::{Gateways, Known, Need, Node, Surroundings};
use crate::agent::sources::{
    ExtractOptions, Extraction, Object, ObjectRef, SourceKind, Unknown, Warning, extract_among,
    needs,
};

mod steps;

pub use steps::{IndexStep, Observation};

/// Where objects were read, for people.
const ORIGIN: ArcStr = arcstr::literal!("kubernetes");
/// The label of EndpointSlices whose service is headless.
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// The objects that a feed follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Followed {
    /// The objects of a source.
    Objects(SourceKind),
    /// The nodes.
    Nodes,
    /// The pods behind headless services, by slice.
    HeadlessSlices,
    /// The pods behind all other services.
    LocalSlices,
    /// The Gateways of routes.
    Gateways,
    /// The ListenerSets of routes.
    ListenerSets,
    /// The namespaces, for their labels.
    Namespaces,
}

/// The followed objects, and the number of their scope.
pub type FeedId = (Followed, usize);

impl Followed {
    /// The kind of object.
    pub fn resource(self) -> Resource {
        match self {
            Self::Objects(source) => resource_of(source),
            Self::Nodes => NODES,
            Self::HeadlessSlices | Self::LocalSlices => ENDPOINT_SLICES,
            Self::Gateways => GATEWAYS,
            Self::ListenerSets => LISTENER_SETS,
            Self::Namespaces => NAMESPACES,
        }
    }

    /// The labels that select them.
    pub fn labels(self, filter: &Filter) -> Option<String> {
        match self {
            Self::Objects(_) => filter.label_selector(),
            Self::Nodes | Self::Gateways | Self::ListenerSets | Self::Namespaces => None,
            Self::HeadlessSlices => Some(HEADLESS_LABEL.to_owned()),
            Self::LocalSlices => Some(format!("!{HEADLESS_LABEL}")),
        }
    }

    fn for_need(need: Need) -> Self {
        match need {
            Need::Nodes => Self::Nodes,
            Need::HeadlessBackends => Self::HeadlessSlices,
            Need::LocalBackends => Self::LocalSlices,
            Need::Gateways => Self::Gateways,
            Need::ListenerSets => Self::ListenerSets,
            Need::Namespaces => Self::Namespaces,
        }
    }
}

/// The operator's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Which objects count.
    pub filter: Filter,
    /// How they are read.
    pub extract: ExtractOptions,
}

enum Understood {
    Object(Object),
    /// It does not count, or it cannot be understood.
    Only(Extraction),
}

impl Reading {
    /// Reads what one object wants, by itself. One that does not count wants nothing; one that cannot be understood keeps
    /// what it had.
    pub fn read(&self, source: SourceKind, document: Document) -> Extraction {
        match self.understand(source, document) {
            Understood::Object(object) => {
                extract_among(&object, self.extract, &Surroundings::not_looked_at())
            }
            Understood::Only(extraction) => extraction,
        }
    }

    fn understand(&self, source: SourceKind, document: Document) -> Understood {
        if self.filter.refuses(source, &document).is_some() {
            return Understood::Only(Extraction::default());
        }
        match document.into_object(source, &resource_of(source)) {
            Ok(object) => Understood::Object(object),
            Err(error) => {
                let reason = format!("{error}; the records published so far stay");
                let warnings = vec![Warning { message: reason.clone() }];
                let unknown = Unknown::WholeObject(reason);
                Understood::Only(Extraction { unknown, warnings, ..Extraction::default() })
            }
        }
    }
}

#[derive(Default)]
struct Scope {
    namespace: Option<ArcStr>,
    /// The objects of the list that is being read.
    listing: Option<BTreeSet<ObjectRef>>,
    health: Health,
}

#[derive(Default, PartialEq, Eq)]
enum Health {
    #[default]
    Unread,
    Followed,
    Troubled(String),
    NoSuchKind(String),
}

/// An object whose endpoints depend on what is around it.
struct Dependent {
    object: Object,
    needs: BTreeSet<Need>,
}

/// A change around objects.
enum Stirred {
    Nothing,
    /// Behind one service.
    Service(Place),
    Everything,
}

/// Everything that is followed; see the module's page.
pub struct KubeWorld {
    /// How objects are read.
    reading: Reading,
    /// The namespaces that are followed; `None` for all.
    namespaces: Vec<Option<ArcStr>>,
    /// The state of each kind, by namespace.
    scopes: BTreeMap<(SourceKind, usize), Scope>,
    /// Objects whose endpoints depend on others.
    dependents: BTreeMap<ObjectRef, Dependent>,
    /// The objects to follow.
    wanted: BTreeSet<Followed>,
    nodes: Nodes,
    /// The pods behind headless services, by slice.
    headless: Table<Slice>,
    /// The pods behind services whose traffic stays on its node, by slice.
    local: Table<Slice>,
    /// The Gateways.
    gateways: Table<Gateway>,
    /// The ListenerSets.
    listener_sets: Table<Gateway>,
    /// The labels of namespaces.
    labels: Table<Labels>,
}

impl KubeWorld {
    /// A world of these kinds in which nothing was observed yet.
    pub fn new(sources: &[SourceKind], reading: Reading) -> Self {
        let namespaces = reading.filter.scopes();
        let scope =
            |namespace: &Option<ArcStr>| Scope { namespace: namespace.clone(), ..Scope::default() };
        let scopes = sources.iter().flat_map(|source| {
            namespaces
                .iter()
                .enumerate()
                .map(move |(number, namespace)| ((*source, number), scope(namespace)))
        });
        Self {
            scopes: scopes.collect(),
            wanted: sources.iter().copied().map(Followed::Objects).collect(),
            reading,
            namespaces,
            dependents: BTreeMap::new(),
            nodes: Nodes::default(),
            headless: Table::default(),
            local: Table::default(),
            gateways: Table::default(),
            listener_sets: Table::default(),
            labels: Table::default(),
        }
    }

    /// The objects to follow: more are added when objects come that depend on them.
    pub fn wanted(&self) -> impl Iterator<Item = Followed> {
        self.wanted.iter().copied()
    }

    /// The scopes in which the objects are followed: namespaces, or `None` for all.
    pub fn scopes(&self, followed: Followed) -> Vec<Option<ArcStr>> {
        match followed {
            // A Gateway may stand in another namespace than its routes.
            Followed::Nodes
            | Followed::Gateways
            | Followed::ListenerSets
            | Followed::Namespaces => vec![None],
            Followed::Objects(_) | Followed::HeadlessSlices | Followed::LocalSlices => {
                self.namespaces.clone()
            }
        }
    }

    /// Applies an observation. Returns its steps for the index, and messages for people.
    pub fn observe(&mut self, id: FeedId, news: News) -> Observation {
        let (followed, scope) = id;
        let mut said = Vec::new();
        let namespace = self.namespaces.get(scope).cloned().flatten();
        let (need, stirred) = match followed {
            Followed::Objects(source) => return self.observe_objects((source, scope), news),
            Followed::Nodes => {
                let stirs = |_: &Place, _: &Node| Stirred::Everything;
                let stirred = take_rows(
                    &mut self.nodes.table,
                    scope,
                    None,
                    news,
                    around::node,
                    stirs,
                    &mut said,
                );
                // Most updates of a node say only that it is still alive.
                if !matches!(stirred, Stirred::Nothing) {
                    self.nodes.publish();
                }
                (Need::Nodes, stirred)
            }
            Followed::HeadlessSlices | Followed::LocalSlices => {
                let is_headless = followed == Followed::HeadlessSlices;
                let table = if is_headless { &mut self.headless } else { &mut self.local };
                let stirs = |(namespace, _): &Place, slice: &Slice| {
                    Stirred::Service((namespace.clone(), slice.service.clone()))
                };
                let stirred =
                    take_rows(table, scope, namespace, news, around::slice, stirs, &mut said);
                (if is_headless { Need::HeadlessBackends } else { Need::LocalBackends }, stirred)
            }
            Followed::Gateways | Followed::ListenerSets => {
                let is_gateway = followed == Followed::Gateways;
                let table = if is_gateway { &mut self.gateways } else { &mut self.listener_sets };
                let stirred = take_rows(
                    table,
                    scope,
                    None,
                    news,
                    around::gateway,
                    |_, _| Stirred::Everything,
                    &mut said,
                );
                if table.rows().any(Gateway::selects_namespaces) {
                    self.wanted.insert(Followed::Namespaces);
                }
                (if is_gateway { Need::Gateways } else { Need::ListenerSets }, stirred)
            }
            Followed::Namespaces => {
                let stirred = take_rows(
                    &mut self.labels,
                    scope,
                    None,
                    news,
                    around::labels,
                    |_, _| Stirred::Everything,
                    &mut said,
                );
                // Objects that depend on Gateways may depend on the namespaces that these select.
                (Need::Gateways, stirred)
            }
        };
        Observation { steps: self.read_again(need, &stirred), said }
    }

    fn observe_objects(&mut self, id: (SourceKind, usize), news: News) -> Observation {
        let source = id.0;
        let mut observed = Observation::default();
        let Some(mut scope) = self.scopes.remove(&id) else { return observed };
        let (steps, said) = (&mut observed.steps, &mut observed.said);
        match news {
            News::ListBegins => scope.listing = Some(BTreeSet::new()),
            News::Page(documents) => {
                for document in documents {
                    if let Some(listing) = &mut scope.listing {
                        listing.insert(document.reference(source));
                    }
                    self.apply(source, document, steps);
                }
            }
            News::ListEnds => {
                if let Some(listing) = scope.listing.take() {
                    let namespace = scope.namespace.as_deref();
                    let is_in = |object: &ObjectRef| {
                        object.source == source
                            && namespace.is_none_or(|namespace| object.namespace == namespace)
                    };
                    self.dependents.retain(|object, _| listing.contains(object) || !is_in(object));
                    steps.push(IndexStep::Retain(source, scope.namespace.clone(), listing));
                }
                scope.health = Health::Followed;
            }
            News::Resumed => scope.health = Health::Followed,
            News::Applied(document) => self.apply(source, *document, steps),
            News::Deleted(document) => {
                let object = document.reference(source);
                self.dependents.remove(&object);
                steps.push(IndexStep::Delete(object));
            }
            News::Swept(document, reason) => steps.push(IndexStep::LoseSight(
                document.reference(source),
                EntryState::Orphaned(reason),
            )),
            News::NoSuchKind(reason) => {
                if scope.health != Health::NoSuchKind(reason.clone()) {
                    said.push(format!("{source}: {reason}"));
                }
                // The list of a kind that comes back lacks what went with it.
                steps.push(IndexStep::LoseSightOfAll(
                    source,
                    scope.namespace.clone(),
                    EntryState::Orphaned(reason.clone()),
                ));
                scope.health = Health::NoSuchKind(reason);
            }
            News::Trouble(reason) => {
                if scope.health != Health::Troubled(reason.clone()) {
                    said.push(format!("{source}: {reason}"));
                }
                scope.listing = None;
                scope.health = Health::Troubled(reason);
            }
            // Endpoints kept for objects that depend on others may be known to be gone by now.
            News::Proven => {
                for need in
                    [Need::Nodes, Need::HeadlessBackends, Need::LocalBackends, Need::Gateways]
                {
                    steps.extend(self.read_again(need, &Stirred::Everything));
                }
            }
        }
        self.scopes.insert(id, scope);
        observed.steps.extend(self.report(source));
        observed
    }

    fn apply(&mut self, source: SourceKind, document: Document, steps: &mut Vec<IndexStep>) {
        let reference = document.reference(source);
        self.dependents.remove(&reference);
        // A person who waits for an object to be read looks for its generation there.
        let is_unobserved = source == SourceKind::DnsEndpoint
            && document.status["observedGeneration"] != document.metadata.generation;
        let object = match self.reading.understand(source, document) {
            Understood::Only(extraction) => {
                return steps.push(IndexStep::Apply(reference, extraction));
            }
            Understood::Object(object) => object,
        };
        let needs = needs(&object);
        steps.push(IndexStep::Apply(reference.clone(), self.extract(&reference, &object, &needs)));
        if is_unobserved {
            steps.push(IndexStep::NoteNews(reference.clone()));
        }
        if !needs.is_empty() {
            self.wanted.extend(needs.iter().copied().map(Followed::for_need));
            self.dependents.insert(reference, Dependent { object, needs });
        }
    }

    fn extract(
        &self,
        reference: &ObjectRef,
        object: &Object,
        needs: &BTreeSet<Need>,
    ) -> Extraction {
        let table = if needs.contains(&Need::LocalBackends) { &self.local } else { &self.headless };
        let has_backends =
            needs.contains(&Need::LocalBackends) || needs.contains(&Need::HeadlessBackends);
        let around = Surroundings {
            nodes: if needs.contains(&Need::Nodes) { self.nodes.known() } else { Known::Never },
            backends: match has_backends {
                true => table.behind(self.namespaces.len(), &reference.namespace, &reference.name),
                false => Known::Never,
            },
            gateways: Gateways {
                gateways: self.gateways.known("Gateways"),
                listener_sets: self.listener_sets.known("ListenerSets"),
                namespaces: self.labels.known("namespaces"),
            },
        };
        extract_among(object, self.reading.extract, &around)
    }

    /// Reads the objects again that depend on a change.
    fn read_again(&self, need: Need, stirred: &Stirred) -> Vec<IndexStep> {
        let is_concerned = |object: &ObjectRef| match stirred {
            Stirred::Nothing => false,
            Stirred::Service((namespace, name)) => {
                object.namespace == *namespace && object.name == *name
            }
            Stirred::Everything => true,
        };
        let concerned = self
            .dependents
            .iter()
            .filter(|(object, dependent)| dependent.needs.contains(&need) && is_concerned(object));
        let step = |(reference, dependent): (&ObjectRef, &Dependent)| {
            let extraction = self.extract(reference, &dependent.object, &dependent.needs);
            IndexStep::Apply(reference.clone(), extraction)
        };
        concerned.map(step).collect()
    }

    /// The health of the source, which is that of its worst scope.
    fn report(&self, source: SourceKind) -> Option<IndexStep> {
        let of_source = || {
            self.scopes.range((source, 0)..=(source, usize::MAX)).map(|(_, scope)| &scope.health)
        };
        let troubled = of_source().find_map(|health| match health {
            Health::Troubled(reason) => Some(reason),
            _ => None,
        });
        let no_such_kind = of_source().find_map(|health| match health {
            Health::NoSuchKind(reason) => Some(reason),
            _ => None,
        });
        match (troubled, no_such_kind) {
            (Some(reason), _) => Some(IndexStep::Fail(source, reason.clone())),
            (None, Some(reason)) => Some(IndexStep::NoSuchKind(source, reason.clone())),
            (None, None) => of_source()
                .all(|health| *health == Health::Followed)
                .then_some(IndexStep::Complete(source)),
        }
    }
}

/// Applies news of what is around objects, and returns the change. Rows known before something goes wrong stay known.
fn take_rows<Row: PartialEq>(
    table: &mut Table<Row>,
    scope: usize,
    namespace: Option<ArcStr>,
    news: News,
    read: fn(&Document) -> Option<Row>,
    stirs: impl Fn(&Place, &Row) -> Stirred,
    said: &mut Vec<String>,
) -> Stirred {
    let place_of =
        |document: &Document| (document.metadata.namespace.clone(), document.metadata.name.clone());
    match news {
        News::ListBegins => table.begin(scope),
        News::Page(documents) => {
            for document in documents {
                table.put(scope, place_of(&document), read(&document));
            }
        }
        News::ListEnds => {
            table.end(scope, |(place, _)| {
                namespace.as_ref().is_none_or(|namespace| place == namespace)
            });
            return Stirred::Everything;
        }
        News::Applied(document) => {
            let (place, row) = (place_of(&document), read(&document));
            let stirred = row.as_ref().map_or(Stirred::Nothing, |row| stirs(&place, row));
            if table.put(scope, place, row) {
                return stirred;
            }
        }
        News::Deleted(document) => {
            let place = place_of(&document);
            return table.delete(&place).map_or(Stirred::Nothing, |row| stirs(&place, &row));
        }
        News::Trouble(reason) | News::NoSuchKind(reason) => {
            if table.fail(scope, reason.clone()) {
                said.push(reason);
            }
            return Stirred::Everything;
        }
        News::Resumed => table.resume(),
        News::Swept(..) | News::Proven => {}
    }
    Stirred::Nothing
}

#[cfg(test)]
mod tests;
