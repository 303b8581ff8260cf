//! Routes of the Gateway API: the hosts that a route and the listeners of its Gateways agree on, at the Gateways' addresses.

use std::collections::{BTreeMap, BTreeSet};

use arcstr::ArcStr;

use super::annotations::{Annotations, normal_host};
use super::gateways::{Gateway, Listener, ParentRef, Place, RouteParent, RouteSpec, RouteStatus};
use super::object::Manifest;
use super::surroundings::{Gateways, Known, Need};
use super::{Collector, Extraction, Pending, SourceKind, Unknown};

type Route = Manifest<RouteSpec, RouteStatus>;

pub(super) fn needs(route: &Route) -> BTreeSet<Need> {
    let has_set =
        route.spec.parent_refs.iter().any(|parent| parent.is_listener_set() == Some(true));
    [Need::Gateways].into_iter().chain(has_set.then_some(Need::ListenerSets)).collect()
}

pub(super) fn extract(route: &Route, around: &Gateways<'_>) -> Extraction {
    let annotations = Annotations::read(&route.annotations);
    let mut collector = Collector::new(&route.reference, &annotations);
    if annotations.foreign_controller {
        return collector.finish();
    }
    let hosts = match hosts(route, &annotations) {
        Ok(hosts) => hosts,
        Err(reason) => {
            collector.warn(reason.clone());
            return Extraction { unknown: Unknown::WholeObject(reason), ..collector.finish() };
        }
    };
    // A parent that serves nothing now leaves its hosts as they were.
    let mut silent = None;
    let mut found: BTreeMap<ArcStr, BTreeSet<ArcStr>> = BTreeMap::new();
    for parent in route.spec.parent_refs.iter().filter(|parent| parent.is_listener_set().is_some())
    {
        match served(route, parent, &hosts, around) {
            Ok(served) => served
                .into_iter()
                .for_each(|(host, targets)| found.entry(host).or_default().extend(targets)),
            Err(Silence::Nothing(reason)) => silent = Some(reason),
            // What the others serve may be less than what there is.
            Err(Silence::Unread(reason)) => {
                let unknown = Unknown::WholeObject(format!(
                    "{}: {reason}: what was published before stays",
                    route.reference
                ));
                return Extraction { unknown, ..collector.finish() };
            }
        }
    }
    // Of what has no address nothing comes here.
    let never = Pending::Status(String::new());
    for (host, targets) in found {
        collector.hosts(&[host], &targets.into_iter().collect::<Vec<_>>(), &never);
    }
    match silent {
        None => collector.finish(),
        Some(reason) => {
            let unknown = Unknown::WholeObject(format!(
                "{}: {reason}: what was published before stays",
                route.reference
            ));
            Extraction { unknown, ..collector.finish() }
        }
    }
}

/// Why a parent names no targets.
enum Silence {
    /// It was looked at, and has none now, for this reason.
    Nothing(String),
    /// It was not looked at yet, for this reason.
    Unread(String),
}

/// The hosts that the route names; an empty one stands for those of the listeners.
fn hosts(route: &Route, annotations: &Annotations) -> Result<BTreeSet<ArcStr>, String> {
    let written = || {
        let own = route.spec.hostnames.iter().map(|host| normal_host(host));
        own.chain(route.spec.hostnames.is_empty().then(ArcStr::new))
    };
    let annotated = annotations.hostnames.iter().cloned();
    match annotations.gateway_hostname_source.as_deref() {
        None => Ok(written().chain(annotated).collect()),
        Some("defined-hosts-only") => Ok(written().collect()),
        Some("annotation-only") => Ok(annotated.collect()),
        Some(other) => Err(format!(
            "{} has the annotation gateway-hostname-source {other:?}: write defined-hosts-only or annotation-only; until then what \
             was published before stays",
            route.reference
        )),
    }
}

/// The hosts that one parent serves for the route, with its addresses.
fn served(
    route: &Route,
    parent: &ParentRef,
    hosts: &BTreeSet<ArcStr>,
    around: &Gateways<'_>,
) -> Result<Vec<(ArcStr, Vec<ArcStr>)>, Silence> {
    if !is_accepted(route, parent) {
        return Err(Silence::Nothing(format!("{} has not accepted it", parent.name)));
    }
    let place = parent.place(&route.reference.namespace);
    let (itself, gateway, namespace) = if parent.is_listener_set() == Some(true) {
        let set = look(&around.listener_sets, &place, "ListenerSet")?;
        (set, look(&around.gateways, &set.spec.parent_ref.place(&place.0), "Gateway")?, place.0)
    } else {
        let gateway = look(&around.gateways, &place, "Gateway")?;
        (gateway, gateway, place.0)
    };
    let targets = [&itself.targets, &gateway.targets, &gateway.addresses]
        .into_iter()
        .find(|targets| !targets.is_empty());
    let no_address = || Silence::Nothing(format!("{} has no address", parent.name));
    let targets = targets.ok_or_else(no_address)?;
    let mut found = Vec::new();
    for listener in itself.spec.listeners.iter().filter(|listener| parent.names(listener)) {
        if !fits_kind(route.reference.source, listener)
            || !takes_from(listener, &namespace, &route.reference.namespace, around)?
        {
            continue;
        }
        let listens_to = normal_host(&listener.hostname);
        let agreed = hosts.iter().filter_map(|host| agreed_host(&listens_to, host));
        found.extend(agreed.map(|host| (host, targets.clone())));
    }
    Ok(found)
}

fn is_accepted(route: &Route, parent: &ParentRef) -> bool {
    let own = &route.reference.namespace;
    let is_same = |other: &ParentRef| {
        (other.is_listener_set(), other.place(own), &other.section_name, other.port)
            == (parent.is_listener_set(), parent.place(own), &parent.section_name, parent.port)
    };
    let says = |parent: &RouteParent| {
        parent.conditions.iter().any(|one| one.r#type == "Accepted" && one.status == "True")
    };
    route.status.parents.iter().any(|status| is_same(&status.parent_ref) && says(status))
}

fn look<'a>(
    known: &Known<&'a BTreeMap<Place, Gateway>>,
    place: &Place,
    what: &str,
) -> Result<&'a Gateway, Silence> {
    let is_away = || Silence::Nothing(format!("the {what} {}/{} is not there", place.0, place.1));
    match known {
        Known::Never => Err(Silence::Unread(format!("its {what} is not known here"))),
        Known::NotYet(reason) => Err(Silence::Unread(reason.clone())),
        Known::Now(all) => all.get(place).ok_or_else(is_away),
    }
}

fn fits_kind(source: SourceKind, listener: &Listener) -> bool {
    let (kind, protocols): (&str, &[&str]) = match source {
        SourceKind::GatewayHttpRoute => ("HTTPRoute", &["HTTP", "HTTPS"]),
        SourceKind::GatewayGrpcRoute => ("GRPCRoute", &["HTTP", "HTTPS"]),
        SourceKind::GatewayTlsRoute => ("TLSRoute", &["TLS"]),
        SourceKind::GatewayTcpRoute => ("TCPRoute", &["TCP", "TLS"]),
        SourceKind::GatewayUdpRoute => ("UDPRoute", &["UDP"]),
        _ => return false,
    };
    let kinds = &listener.allowed_routes.kinds;
    protocols.contains(&listener.protocol.as_str())
        && (kinds.is_empty() || kinds.iter().any(|allowed| allowed.kind == kind))
}

/// Whether a listener in one namespace takes routes from another one.
fn takes_from(
    listener: &Listener,
    namespace: &ArcStr,
    of_route: &ArcStr,
    around: &Gateways<'_>,
) -> Result<bool, Silence> {
    let allowed = &listener.allowed_routes.namespaces;
    match allowed.from.as_str() {
        "" | "Same" => Ok(namespace == of_route),
        "All" => Ok(true),
        "Selector" => match &around.namespaces {
            Known::Never => {
                Err(Silence::Unread("the labels of namespaces are not known here".to_owned()))
            }
            Known::NotYet(reason) => Err(Silence::Unread(reason.clone())),
            Known::Now(all) => match all.get(&(ArcStr::new(), of_route.clone())) {
                Some(labels) => Ok(allowed.selector.matches(labels)),
                // The route stands in it.
                None => Err(Silence::Unread(format!(
                    "the labels of the namespace {of_route} were not read yet"
                ))),
            },
        },
        _ => Ok(false),
    }
}

/// The most specific host that both mean; none when they have none in common, or every host is meant.
fn agreed_host(listener: &ArcStr, route: &ArcStr) -> Option<ArcStr> {
    let covers = |wildcard: &str, host: &str| {
        wildcard.strip_prefix('*').is_some_and(|suffix| host.ends_with(suffix))
    };
    let agreed = match (listener.as_str(), route.as_str()) {
        ("", _) => route,
        (_, "") => listener,
        (one, other) if one == other || covers(one, other) => route,
        (one, other) if covers(other, one) => listener,
        _ => return None,
    };
    Some(agreed.clone()).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gateway(yaml: &str, targets: &[&str], addresses: &[&str]) -> Gateway {
        let list = |texts: &[&str]| texts.iter().map(|text| ArcStr::from(*text)).collect();
        Gateway {
            targets: list(targets),
            spec: serde_saphyr::from_str(yaml).unwrap(),
            addresses: list(addresses),
        }
    }

    fn place(namespace: &str, name: &str) -> Place {
        (namespace.into(), name.into())
    }

    /// The endpoints of an HTTPRoute `web` in `shop`, and whether its other hosts stay as they were.
    fn run(kind: &str, annotations: &str, spec: &str, accepted_by: &str) -> (Vec<String>, bool) {
        let public = "listeners:
- {name: http, protocol: HTTP, port: 80, hostname: '*.example.com', allowedRoutes: {namespaces: {from: All}}}
- {name: tcp, protocol: TCP, port: 5432, hostname: db.example.com, allowedRoutes: {namespaces: {from: Same}}}
- {name: labelled, protocol: HTTPS, port: 443, hostname: '*.example.net', allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {dns: 'on'}}}, kinds: [{kind: HTTPRoute}]}}";
        let open = "listeners: [{name: any, protocol: HTTP, port: 80}, {name: raw, protocol: TCP, port: 1, hostname: raw.example.com}]";
        let set = "parentRef: {name: public, namespace: infra}\nlisteners: [{name: extra, protocol: HTTP, port: 80, hostname: set.example.com}]";
        let gateways = BTreeMap::from([
            (place("infra", "public"), gateway(public, &[], &["192.0.2.1", "2001:db8::1"])),
            (place("shop", "own"), gateway(open, &["lb.example.org"], &["192.0.2.2"])),
            (place("shop", "new"), gateway(open, &[], &[])),
        ]);
        let sets = BTreeMap::from([(place("shop", "more"), gateway(set, &[], &[]))]);
        let labels = BTreeMap::from([(
            place("", "shop"),
            BTreeMap::from([("dns".to_owned(), "on".to_owned())]),
        )]);
        let parent = |parent: &str| {
            format!("{{parentRef: {parent}, conditions: [{{type: Accepted, status: 'True'}}]}}")
        };
        let accepted: Vec<String> =
            accepted_by.split(';').filter(|text| !text.is_empty()).map(parent).collect();
        let yaml = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: web, namespace: shop, annotations: {{{annotations}}}}}\n\
             spec: {spec}\nstatus: {{parents: [{}]}}",
            accepted.join(", ")
        );
        let object =
            super::super::Object::read(serde_saphyr::from_str(&yaml).unwrap()).unwrap().unwrap();
        let super::super::Object::Route(route) = object else { panic!("{object:?}") };
        let around = Gateways {
            gateways: Known::Now(&gateways),
            listener_sets: Known::Now(&sets),
            namespaces: Known::Now(&labels),
        };
        let found = extract(&route, &around);
        let line = |endpoint: &crate::core::endpoint::Endpoint| {
            format!("{} {}", endpoint.key.dns_name, endpoint.targets.join(","))
        };
        (found.endpoints.iter().map(line).collect(), found.unknown != Unknown::Nothing)
    }

    #[test]
    fn a_route_has_the_hosts_that_it_and_its_gateways_agree_on() {
        const PUBLIC: &str = "{name: public, namespace: infra}";
        const OWN: &str = "{name: own}";
        let prefix = "external-dns.kubernetes.io/";
        let hostname = format!("{prefix}hostname: c.example.com");
        let only = format!("{hostname}, {prefix}gateway-hostname-source: annotation-only");
        let wrong = format!("{hostname}, {prefix}gateway-hostname-source: all");
        for (what, kind, annotations, hosts, parents, accepted, expected, stays) in [
            (
                "both families",
                "HTTPRoute",
                "",
                "[a.example.com]",
                PUBLIC,
                PUBLIC,
                "a.example.com 192.0.2.1|a.example.com 2001:db8::1",
                false,
            ),
            (
                "the annotation of the Gateway wins",
                "HTTPRoute",
                "",
                "[a.b]",
                OWN,
                OWN,
                "a.b lb.example.org",
                false,
            ),
            ("no host in common", "HTTPRoute", "", "[a.test]", PUBLIC, PUBLIC, "", false),
            (
                "namespaces by label",
                "HTTPRoute",
                "",
                "[a.example.net]",
                PUBLIC,
                PUBLIC,
                "a.example.net 192.0.2.1|a.example.net 2001:db8::1",
                false,
            ),
            (
                "a kind that is not allowed",
                "GRPCRoute",
                "",
                "[a.example.net]",
                PUBLIC,
                PUBLIC,
                "",
                false,
            ),
            ("another protocol", "TLSRoute", "", "[a.example.com]", PUBLIC, PUBLIC, "", false),
            (
                "the host of the listener",
                "TCPRoute",
                "",
                "[]",
                OWN,
                OWN,
                "raw.example.com lb.example.org",
                false,
            ),
            ("another namespace", "TCPRoute", "", "[]", PUBLIC, PUBLIC, "", false),
            (
                "the annotation too",
                "HTTPRoute",
                hostname.as_str(),
                "[a.b]",
                OWN,
                OWN,
                "a.b lb.example.org|c.example.com lb.example.org",
                false,
            ),
            (
                "the annotation alone",
                "HTTPRoute",
                only.as_str(),
                "[a.b]",
                OWN,
                OWN,
                "c.example.com lb.example.org",
                false,
            ),
            ("a word that means nothing", "HTTPRoute", wrong.as_str(), "[a.b]", OWN, OWN, "", true),
            (
                "one listener by name",
                "HTTPRoute",
                "",
                "[a.example.com]",
                "{name: public, namespace: infra, sectionName: labelled}",
                "{name: public, namespace: infra, sectionName: labelled}",
                "",
                false,
            ),
            (
                "one listener by port",
                "HTTPRoute",
                "",
                "[a.example.com]",
                "{name: public, namespace: infra, port: 81}",
                "{name: public, namespace: infra, port: 81}",
                "",
                false,
            ),
            (
                "a ListenerSet has its Gateway's addresses",
                "HTTPRoute",
                "",
                "[]",
                "{kind: ListenerSet, name: more}",
                "{kind: ListenerSet, name: more}",
                "set.example.com 192.0.2.1|set.example.com 2001:db8::1",
                false,
            ),
            ("nobody accepted it", "HTTPRoute", "", "[a.b]", OWN, "", "", true),
            ("somebody else accepted it", "HTTPRoute", "", "[a.b]", OWN, PUBLIC, "", true),
            (
                "its Gateway is not there",
                "HTTPRoute",
                "",
                "[a.b]",
                "{name: away}",
                "{name: away}",
                "",
                true,
            ),
            (
                "its Gateway has no address",
                "HTTPRoute",
                "",
                "[a.b]",
                "{name: new}",
                "{name: new}",
                "",
                true,
            ),
            (
                "a service mesh",
                "HTTPRoute",
                "",
                "[a.b]",
                "{kind: Service, name: own}",
                "{kind: Service, name: own}",
                "",
                false,
            ),
        ] {
            let spec = format!("{{hostnames: {hosts}, parentRefs: [{parents}]}}");
            let (found, is_kept) = run(kind, annotations, &spec, accepted);
            assert_eq!((found.join("|").as_str(), is_kept), (expected, stays), "{what}");
        }
        let spec = format!("{{hostnames: [a.example.com], parentRefs: [{PUBLIC}, {OWN}]}}");
        let (found, is_kept) = run("HTTPRoute", "", &spec, PUBLIC);
        assert!(found.len() == 2 && is_kept, "one of two parents said something");
        let spec = "{hostnames: [a.b], parentRefs: [{name: own}, {name: new}]}";
        let (found, is_kept) = run("HTTPRoute", "", spec, "{name: own};{name: new}");
        assert!(
            found == ["a.b lb.example.org"] && is_kept,
            "what one of two Gateways had stays while it has no address"
        );
    }

    #[test]
    fn while_some_of_its_parents_were_not_read_a_route_says_nothing_at_all() {
        let object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"hostnames": ["a.b"], "parentRefs": [{"name": "own"}, {"kind": "ListenerSet", "name": "more"}]},
            "status": {"parents": [
                {"parentRef": {"name": "own"}, "conditions": [{"type": "Accepted", "status": "True"}]},
                {"parentRef": {"kind": "ListenerSet", "name": "more"}, "conditions": [{"type": "Accepted", "status": "True"}]},
            ]},
        });
        let object = super::super::Object::read(object).unwrap().unwrap();
        let super::super::Object::Route(route) = object else { panic!("{object:?}") };
        let gateways = BTreeMap::from([(
            place("shop", "own"),
            gateway(r#"{"listeners": [{"protocol": "HTTP"}]}"#, &[], &["192.0.2.1"]),
        )]);
        let read = Gateways { gateways: Known::Now(&gateways), ..Gateways::default() };
        let listener_sets = Known::NotYet("ListenerSets were not read".to_owned());
        let found = extract(&route, &Gateways { listener_sets, ..read });
        assert!(
            found.endpoints.is_empty() && matches!(found.unknown, Unknown::WholeObject(_)),
            "{found:?}"
        );
    }

    #[test]
    fn the_more_specific_host_is_the_agreed_one() {
        for (listener, route, agreed) in [
            ("", "a.example.com", Some("a.example.com")),
            ("a.example.com", "", Some("a.example.com")),
            ("", "", None),
            ("*.example.com", "a.example.com", Some("a.example.com")),
            ("*.example.com", "a.b.example.com", Some("a.b.example.com")),
            ("a.example.com", "*.example.com", Some("a.example.com")),
            ("*.example.com", "*.b.example.com", Some("*.b.example.com")),
            ("*.example.com", "", Some("*.example.com")),
            ("*.example.com", "example.com", None),
            ("a.example.com", "b.example.com", None),
        ] {
            assert_eq!(
                agreed_host(&listener.into(), &route.into()),
                agreed.map(ArcStr::from),
                "{listener:?} {route:?}"
            );
        }
    }
}
