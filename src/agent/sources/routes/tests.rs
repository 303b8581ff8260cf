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
