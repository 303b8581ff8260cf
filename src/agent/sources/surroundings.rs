//! Dependencies of an object's endpoints besides the object itself: the cluster's nodes, and the pods behind a service.

use std::collections::BTreeMap;

use arcstr::ArcStr;

use super::gateways::{Gateway, Labels, Place};

/// A dependency of an object's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// The addresses of nodes.
    Nodes,
    /// The pods behind a headless service.
    HeadlessBackends,
    /// The pods behind a service for which only their own nodes answer.
    LocalBackends,
    /// The Gateways of a route.
    Gateways,
    /// The ListenerSets of a route.
    ListenerSets,
    /// The labels of namespaces, where a listener accepts routes by them.
    Namespaces,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its addresses outside of the cluster.
    pub external: Vec<ArcStr>,
    /// Its addresses inside.
    pub internal: Vec<ArcStr>,
    /// Whether it may get new pods; one that may not is being emptied.
    pub is_schedulable: bool,
}

/// A pod behind a service, as an EndpointSlice shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    pub address: ArcStr,
    /// Its host name; empty for none.
    pub hostname: ArcStr,
    /// The node on which it runs; empty when that is not said.
    pub node: ArcStr,
    /// Whether it is ready. One that is ending is not, unless its service also publishes what is not ready.
    pub is_ready: bool,
    /// Whether it would be ready if it were not ending.
    pub is_serving: bool,
    /// Whether it is ending.
    pub is_terminating: bool,
}

/// How well a pod answers, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodReadiness {
    /// It does not answer.
    NotServing,
    /// It answers until it ends.
    ServingToItsEnd,
    /// It answers.
    Serving,
}

impl Backend {
    /// How well it answers.
    pub fn readiness(&self) -> PodReadiness {
        match (self.is_serving, self.is_terminating) {
            (false, _) => PodReadiness::NotServing,
            (true, true) => PodReadiness::ServingToItsEnd,
            (true, false) => PodReadiness::Serving,
        }
    }
}

/// Something that may be known.
#[derive(Clone, Debug, Default)]
pub enum Known<T> {
    /// Not read: a folder has no nodes.
    #[default]
    Never,
    /// Not yet, for this reason.
    NotYet(String),
    /// Now.
    Now(T),
}

/// All that can be parents, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Gateways<'a> {
    /// The Gateways.
    pub gateways: Known<&'a BTreeMap<Place, Gateway>>,
    /// The ListenerSets.
    pub listener_sets: Known<&'a BTreeMap<Place, Gateway>>,
    /// The labels of the namespaces, by name; their place has no namespace.
    pub namespaces: Known<&'a BTreeMap<Place, Labels>>,
}

/// The nodes, pods and Gateways around an object.
#[derive(Clone, Debug, Default)]
pub struct Surroundings<'a> {
    /// The nodes, by name.
    pub nodes: Known<&'a BTreeMap<ArcStr, Node>>,
    /// The pods behind the object, if it is a service.
    pub backends: Known<Vec<&'a Backend>>,
    /// The possible parents of the object, if it is a route.
    pub gateways: Gateways<'a>,
}

impl Surroundings<'_> {
    /// Around an object that is looked at by itself, where its surroundings could be known.
    pub fn not_looked_at() -> Self {
        let reason = || "what is around it was not looked at".to_owned();
        let gateways = Gateways {
            gateways: Known::NotYet(reason()),
            listener_sets: Known::NotYet(reason()),
            namespaces: Known::NotYet(reason()),
        };
        Self { nodes: Known::NotYet(reason()), backends: Known::NotYet(reason()), gateways }
    }
}
