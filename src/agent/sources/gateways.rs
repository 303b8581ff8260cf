//! The objects of the Gateway API, as far as they are read: routes, and the Gateways and ListenerSets that serve them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use arcstr::ArcStr;

use super::slim::slim;

/// A namespace and a name.
pub type Place = (ArcStr, ArcStr);

slim! {
    /// `spec` of a Gateway, and of a ListenerSet.
    GatewaySpec {
        /// Where it listens.
        listeners: Vec<Listener>,
        /// Of a ListenerSet: its Gateway.
        parent_ref: ParentRef,
        /// Of a Gateway: which ListenerSets may add listeners to it.
        allowed_listeners: AllowedListeners,
    }
}
slim! {
    /// `status` of a Gateway, and of a ListenerSet.
    GatewayStatus {
        /// Where it can be reached.
        addresses: Vec<GatewayAddress>,
        /// Its conditions, from its controller.
        conditions: Vec<Condition>,
        /// The state of each listener, from the controller.
        listeners: Vec<ListenerStatus>,
    }
}
slim! {
    /// One of `status.listeners`.
    ListenerStatus {
        /// The listener's name.
        name: ArcStr,
        /// Its conditions, from the controller.
        conditions: Vec<Condition>,
    }
}
slim! {
    /// `allowedListeners` of a Gateway (GEP-1713).
    AllowedListeners {
        /// In which namespaces.
        namespaces: AllowedNamespaces,
    }
}
slim! {
    /// One of `status.addresses`.
    GatewayAddress {
        /// An address or a name.
        value: ArcStr,
    }
}
slim! {
    /// One of `spec.listeners`.
    Listener {
        name: ArcStr,
        /// The host that it serves; empty for every host.
        hostname: ArcStr,
        port: i64,
        /// HTTP, HTTPS, TLS, TCP or UDP.
        protocol: ArcStr,
        /// Which routes it accepts.
        allowed_routes: AllowedRoutes,
    }
}
slim! {
    /// `allowedRoutes` of a listener.
    AllowedRoutes {
        /// From which namespaces.
        namespaces: AllowedNamespaces,
        /// Of which kinds; empty for all that fit its protocol.
        kinds: Vec<AllowedKind>,
    }
}
slim! {
    /// `namespaces` of `allowedRoutes` and of `allowedListeners`.
    AllowedNamespaces {
        /// All, Same, Selector or None; empty means Same for routes, and None for ListenerSets.
        from: ArcStr,
        /// The labels of the namespaces.
        selector: LabelSelector,
    }
}
slim! {
    /// One of `allowedRoutes.kinds`.
    AllowedKind {
        /// Its group; `None` if it is the Gateway API's.
        group: Option<ArcStr>,
        /// Such as HTTPRoute.
        kind: ArcStr,
    }
}
slim! {
    /// A selector of labels as a structure.
    LabelSelector {
        /// Labels with these values.
        match_labels: BTreeMap<String, String>,
        /// Requirements.
        match_expressions: Vec<LabelRequirement>,
    }
}
slim! {
    /// One of `matchExpressions`.
    LabelRequirement {
        /// The label.
        key: String,
        /// In, NotIn, Exists or DoesNotExist.
        operator: ArcStr,
        values: Vec<String>,
    }
}
slim! {
    /// A reference to a Gateway or a ListenerSet.
    ParentRef {
        /// Its group; `None` if it is the Gateway API's.
        group: Option<ArcStr>,
        /// Empty means Gateway.
        kind: ArcStr,
        /// Empty means the namespace of the referring object.
        namespace: ArcStr,
        name: ArcStr,
        /// The name of one listener; empty for all.
        section_name: ArcStr,
        /// The port of the listeners; 0 for all.
        port: i64,
    }
}

slim! {
    /// `spec` of a route.
    RouteSpec {
        /// Its hosts; empty for those of the listeners. TCP and UDP have none.
        hostnames: Vec<ArcStr>,
        /// The Gateways and ListenerSets that it wants to be served by.
        parent_refs: Vec<ParentRef>,
    }
}
slim! {
    /// `status` of a route.
    RouteStatus {
        /// The state that each of its parents reports.
        parents: Vec<RouteParent>,
    }
}
slim! {
    /// One of `status.parents`.
    RouteParent {
        /// Which of `spec.parentRefs`.
        parent_ref: ParentRef,
        /// The parent's conditions.
        conditions: Vec<Condition>,
    }
}
slim! {
    /// A condition as controllers write it.
    Condition {
        /// Such as Accepted.
        r#type: ArcStr,
        /// True, False or Unknown.
        status: ArcStr,
    }
}

/// The group of the Gateway API.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// A possible parent of routes: a Gateway or a ListenerSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gateway {
    /// The annotation `target`.
    pub targets: Vec<ArcStr>,
    /// Its listeners; of a ListenerSet also its Gateway.
    pub spec: GatewaySpec,
    /// Its addresses; a ListenerSet has none of its own.
    pub addresses: Vec<ArcStr>,
    /// Of a ListenerSet: whether its Gateway accepted it.
    pub is_accepted: bool,
    /// Of a ListenerSet: the names of the listeners that its Gateway accepted.
    pub accepted_listeners: BTreeSet<ArcStr>,
}

/// Which kind of parent a route names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ParentKind {
    /// A Gateway.
    Gateway,
    /// A ListenerSet.
    ListenerSet,
}

impl fmt::Display for ParentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
        })
    }
}

/// The labels of a namespace.
pub type Labels = BTreeMap<String, String>;

impl Gateway {
    /// Puts together what is read of a Gateway or a ListenerSet: its annotation `target`, spec and status.
    pub fn new(targets: Vec<ArcStr>, spec: GatewaySpec, status: GatewayStatus) -> Self {
        let addresses = status
            .addresses
            .into_iter()
            .map(|address| ArcStr::from(address.value.trim_end_matches('.')));
        let accepted_listeners = status.listeners.into_iter();
        Self {
            targets,
            spec,
            addresses: addresses.filter(|address| !address.is_empty()).collect(),
            is_accepted: is_accepted(&status.conditions),
            accepted_listeners: accepted_listeners
                .filter(|listener| is_accepted(&listener.conditions))
                .map(|listener| listener.name)
                .collect(),
        }
    }

    /// Whether it accepts routes or ListenerSets from namespaces with labels.
    pub fn selects_namespaces(&self) -> bool {
        let of_routes =
            self.spec.listeners.iter().map(|listener| &listener.allowed_routes.namespaces);
        of_routes
            .chain([&self.spec.allowed_listeners.namespaces])
            .any(|allowed| allowed.from == "Selector")
    }
}

/// Whether the condition Accepted is True. Programmed says nothing about whose names count.
pub fn is_accepted(conditions: &[Condition]) -> bool {
    conditions.iter().any(|one| one.r#type == "Accepted" && one.status == "True")
}

/// Whether a reference means the group of the Gateway API: by naming it, or by naming none.
pub fn is_of_gateway_api(group: Option<&ArcStr>) -> bool {
    group.is_none_or(|group| group == GROUP)
}

impl ParentRef {
    /// The kind that it refers to; `None` if that is neither a Gateway nor a ListenerSet of the Gateway API.
    pub fn parent_kind(&self) -> Option<ParentKind> {
        match self.kind.as_str() {
            _ if !is_of_gateway_api(self.group.as_ref()) => None,
            "" | "Gateway" => Some(ParentKind::Gateway),
            "ListenerSet" => Some(ParentKind::ListenerSet),
            _ => None,
        }
    }

    /// Whether a reference in a status may be about this one, seen from a namespace. A controller may say of each listener alone
    /// what it thinks of a reference to all of them.
    pub fn is_told_of_by(&self, status: &ParentRef, from: &ArcStr) -> bool {
        let fits = |a: &ArcStr, b: &ArcStr| a.is_empty() || b.is_empty() || a == b;
        (self.parent_kind(), self.place(from)) == (status.parent_kind(), status.place(from))
            && fits(&self.section_name, &status.section_name)
            && (self.port == 0 || status.port == 0 || self.port == status.port)
    }

    /// The place of its object, seen from a namespace.
    pub fn place(&self, from: &ArcStr) -> Place {
        (
            if self.namespace.is_empty() { from.clone() } else { self.namespace.clone() },
            self.name.clone(),
        )
    }

    /// Whether it names this listener.
    pub fn names(&self, listener: &Listener) -> bool {
        (self.section_name.is_empty() || self.section_name == listener.name)
            && (self.port == 0 || self.port == listener.port)
    }
}

impl LabelSelector {
    /// Whether labels fit. An operator that Kubernetes does not have fits nothing.
    pub fn matches(&self, labels: &Labels) -> bool {
        let fits = |requirement: &LabelRequirement| {
            let value = labels.get(&requirement.key);
            match requirement.operator.as_str() {
                "In" => value.is_some_and(|value| requirement.values.contains(value)),
                "NotIn" => value.is_none_or(|value| !requirement.values.contains(value)),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        };
        self.match_labels.iter().all(|(key, wanted)| labels.get(key) == Some(wanted))
            && self.match_expressions.iter().all(fits)
    }
}
