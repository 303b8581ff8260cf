//! The objects of the Gateway API, as far as they are read: routes, and the Gateways and ListenerSets that serve them.

use std::collections::BTreeMap;

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
    }
}
slim! {
    /// `status` of a Gateway.
    GatewayStatus {
        /// Where it can be reached.
        addresses: Vec<GatewayAddress>,
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
        /// Its name.
        name: ArcStr,
        /// The host that it serves; empty for every host.
        hostname: ArcStr,
        /// Its port.
        port: i64,
        /// HTTP, HTTPS, TLS, TCP or UDP.
        protocol: ArcStr,
        /// Which routes it takes.
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
    /// `allowedRoutes.namespaces`.
    AllowedNamespaces {
        /// All, Same or Selector; empty means Same.
        from: ArcStr,
        /// The labels of the namespaces.
        selector: LabelSelector,
    }
}
slim! {
    /// One of `allowedRoutes.kinds`.
    AllowedKind {
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
        /// The values.
        values: Vec<String>,
    }
}
slim! {
    /// A reference to a Gateway or a ListenerSet.
    ParentRef {
        /// Empty means Gateway.
        kind: ArcStr,
        /// Empty means the namespace of what refers.
        namespace: ArcStr,
        /// Its name.
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
        /// What each of its parents says.
        parents: Vec<RouteParent>,
    }
}
slim! {
    /// One of `status.parents`.
    RouteParent {
        /// Which of `spec.parentRefs`.
        parent_ref: ParentRef,
        /// What it says.
        conditions: Vec<RouteCondition>,
    }
}
slim! {
    /// One of a parent's conditions.
    RouteCondition {
        /// Such as Accepted.
        r#type: ArcStr,
        /// True, False or Unknown.
        status: ArcStr,
    }
}

/// What can be a parent of routes: a Gateway or a ListenerSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gateway {
    /// The annotation `target`.
    pub targets: Vec<ArcStr>,
    /// Its listeners; of a ListenerSet also its Gateway.
    pub spec: GatewaySpec,
    /// Its addresses; a ListenerSet has none of its own.
    pub addresses: Vec<ArcStr>,
}

/// The labels of a namespace.
pub type Labels = BTreeMap<String, String>;

impl Gateway {
    /// Whether one of its listeners takes routes from namespaces with labels.
    pub fn selects_namespaces(&self) -> bool {
        self.spec
            .listeners
            .iter()
            .any(|listener| listener.allowed_routes.namespaces.from == "Selector")
    }
}

impl ParentRef {
    /// Whether it refers to a ListenerSet; none for something that is neither that nor a Gateway.
    pub fn is_listener_set(&self) -> Option<bool> {
        match self.kind.as_str() {
            "" | "Gateway" => Some(false),
            "ListenerSet" => Some(true),
            _ => None,
        }
    }

    /// What it refers to, seen from a namespace.
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
