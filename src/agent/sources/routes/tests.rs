use serde_json::json;

use super::*;
use crate::agent::sources::Object;

fn gateway(yaml: &str, targets: &[&str], addresses: &[&str]) -> Gateway {
    let list = |texts: &[&str]| texts.iter().map(|text| ArcStr::from(*text)).collect();
    Gateway {
        targets: list(targets),
        spec: serde_saphyr::from_str(yaml).unwrap(),
        addresses: list(addresses),
        ..Gateway::default()
    }
}

fn place(namespace: &str, name: &str) -> Place {
    (namespace.into(), name.into())
}

fn read(yaml: &str) -> Route {
    let object = Object::read(serde_saphyr::from_str(yaml).unwrap()).unwrap().unwrap();
    let Object::Route(route) = object else { panic!("{object:?}") };
    route
}

/// The names that something is published at.
fn names(found: &Extraction) -> Vec<&str> {
    found.endpoints.iter().map(|endpoint| endpoint.key.dns_name.as_str()).collect()
}

/// The endpoints of an HTTPRoute `web` in `shop`, and whether its other hosts stay as they were.
fn run(kind: &str, annotations: &str, spec: &str, accepted_by: &str) -> (Vec<String>, bool) {
    let public = "allowedListeners: {namespaces: {from: All}}
listeners:
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
    let set = Gateway {
        is_accepted: true,
        accepted_listeners: ["extra".into()].into(),
        ..gateway(set, &[], &[])
    };
    let sets = BTreeMap::from([(place("shop", "more"), set)]);
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
    let route = read(&yaml);
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
    let defined = format!("{hostname}, {prefix}gateway-hostname-source: defined-hosts-only");
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
        (
            "a word that means nothing is as none, and the published records stay",
            "HTTPRoute",
            wrong.as_str(),
            "[a.b]",
            OWN,
            OWN,
            "a.b lb.example.org|c.example.com lb.example.org",
            true,
        ),
        (
            "its own hosts alone, and it has none",
            "TCPRoute",
            defined.as_str(),
            "[]",
            OWN,
            OWN,
            "",
            false,
        ),
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
    let Object::Route(route) = Object::read(object).unwrap().unwrap() else { panic!("no route") };
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

const STAR: &str = "
listeners:
- {name: star, protocol: HTTPS, port: 443, hostname: '*.gw.dev.example.com', allowedRoutes: {namespaces: {from: All}}}
- {name: apex, protocol: HTTPS, port: 443, hostname: gw.dev.example.com, allowedRoutes: {namespaces: {from: All}}}";

/// A route of the Gateway `public` with this part of its parent's reference, which accepted it under another one.
fn star_route(annotations: &str, hosts: &str, of_spec: &str, of_status: &str) -> Extraction {
    let route = read(&format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: {{name: web, namespace: shop, annotations: {{{annotations}}}}}\n\
         spec: {{hostnames: {hosts}, parentRefs: [{{name: public, namespace: infra{of_spec}}}]}}\n\
         status: {{parents: [{{parentRef: {{name: public, namespace: infra{of_status}}}, \
         conditions: [{{type: Accepted, status: 'True'}}]}}]}}"
    ));
    let gateways = [(place("infra", "public"), gateway(STAR, &[], &["192.0.2.230"]))].into();
    extract(&route, &Gateways { gateways: Known::Now(&gateways), ..Gateways::default() })
}

#[test]
fn the_name_of_a_listener_is_taken_only_if_nothing_else_names_the_route() {
    let star = ", sectionName: star";
    let named = "external-dns.alpha.kubernetes.io/hostname: only.gw.dev.example.com";
    let found = star_route(named, "[]", star, star);
    assert_eq!(
        (names(&found), &found.unknown),
        (vec!["only.gw.dev.example.com"], &Unknown::Nothing)
    );
    assert_eq!(names(&star_route("", "[]", star, star)), ["*.gw.dev.example.com"]);
    let elsewhere = star_route("", "[a.gw.dev.example.com, elsewhere.dev.example.com]", "", "");
    assert_eq!(names(&elsewhere), ["a.gw.dev.example.com"]);
    let apex = ", sectionName: apex";
    let found = star_route("", "[gw.dev.example.com, www.gw.dev.example.com]", apex, apex);
    assert_eq!(names(&found), ["gw.dev.example.com"]);
    let unserved = "external-dns.alpha.kubernetes.io/hostname: other.example.com";
    assert!(names(&star_route(unserved, "[]", star, star)).is_empty(), "something names it");
}

#[test]
fn a_status_may_speak_of_one_listener_where_the_route_asks_all() {
    let (star, apex) = (", sectionName: star", ", sectionName: apex");
    let hosts = "[gw.dev.example.com, www.gw.dev.example.com]";
    for (what, of_spec, of_status, published, kept) in [
        ("of one", "", star, vec!["www.gw.dev.example.com"], true),
        (
            "of one by its port",
            "",
            ", port: 443",
            vec!["gw.dev.example.com", "www.gw.dev.example.com"],
            false,
        ),
        ("of another port", "", ", port: 80", vec![], true),
        ("of all", apex, "", vec!["gw.dev.example.com"], false),
        ("of another", apex, star, vec![], true),
    ] {
        let found = star_route("", hosts, of_spec, of_status);
        assert_eq!((names(&found), found.unknown != Unknown::Nothing), (published, kept), "{what}");
    }
}

#[test]
fn what_is_of_another_group_is_not_of_the_gateway_api() {
    let of_gateway_api = ", group: gateway.networking.k8s.io";
    let hosts = "[a.gw.dev.example.com]";
    assert_eq!(names(&star_route("", hosts, of_gateway_api, "")), ["a.gw.dev.example.com"]);
    for group in [", group: ''", ", group: example.com"] {
        let found = star_route("", hosts, group, group);
        assert_eq!(found, Extraction::default(), "{group}");
    }
    let kinds = |kinds: &str| Listener {
        protocol: "HTTP".into(),
        allowed_routes: serde_saphyr::from_str(kinds).unwrap(),
        ..Listener::default()
    };
    for (allowed, fits) in [
        ("{kinds: [{kind: HTTPRoute}]}", true),
        ("{kinds: [{kind: HTTPRoute, group: gateway.networking.k8s.io}]}", true),
        ("{kinds: [{kind: HTTPRoute, group: example.com}]}", false),
    ] {
        assert_eq!(fits_kind(SourceKind::GatewayHttpRoute, &kinds(allowed)), fits, "{allowed}");
    }
}

#[test]
fn a_host_that_is_no_host_name_is_said_and_left_out() {
    for host in
        ["a_b.gw.dev.example.com", "-a.gw.dev.example.com", "192.0.2.1", "a..example.com", "*"]
    {
        let found = star_route("", &format!("[{host:?}, b.gw.dev.example.com]"), "", "");
        assert_eq!(names(&found), ["b.gw.dev.example.com"], "{host}");
        assert!(found.warnings[0].message.contains("is no host name"), "{:?}", found.warnings);
        let Unknown::Hosts(kept) = found.unknown else { panic!("{host}") };
        assert_eq!(kept.keys().collect::<Vec<_>>(), [host], "what was published of it stays");
    }
    let long = format!("{}.gw.dev.example.com", "a".repeat(64));
    assert_eq!(star_route("", &format!("[{long}]"), "", "").warnings.len(), 1);
}

/// The ListenerSet `more` in `shop` of the Gateway `public` in `infra`, and the route `web` in `shop` behind it.
fn set_route(allowed_listeners: &str, status: &str) -> Extraction {
    let route = read(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec: {hostnames: [a.example.com], parentRefs: [{kind: ListenerSet, name: more}]}
status: {parents: [{parentRef: {kind: ListenerSet, name: more}, conditions: [{type: Accepted, status: 'True'}]}]}",
    );
    let set = "parentRef: {name: public, namespace: infra}\nlisteners: [{name: extra, protocol: HTTP, port: 80}]";
    let set = Gateway::new(
        vec![],
        serde_saphyr::from_str(set).unwrap(),
        serde_saphyr::from_str(status).unwrap(),
    );
    let gateways =
        [(place("infra", "public"), gateway(allowed_listeners, &[], &["192.0.2.1"]))].into();
    let sets = [(place("shop", "more"), set)].into();
    let labels = [(place("", "shop"), [("dns".to_owned(), "on".to_owned())].into())].into();
    let around = Gateways {
        gateways: Known::Now(&gateways),
        listener_sets: Known::Now(&sets),
        namespaces: Known::Now(&labels),
    };
    extract(&route, &around)
}

#[test]
fn a_listener_set_serves_what_its_gateway_allows_and_accepts() {
    const ACCEPTED: &str = "{conditions: [{type: Accepted, status: 'True'}, {type: Programmed, status: 'False'}], \
                            listeners: [{name: extra, conditions: [{type: Accepted, status: 'True'}]}]}";
    let allows = |from: &str| format!("allowedListeners: {{namespaces: {{{from}}}}}");
    for (from, is_allowed) in [
        ("from: All", true),
        ("from: Same", false),
        ("from: None", false),
        ("", false),
        ("from: Selector, selector: {matchLabels: {dns: 'on'}}", true),
        ("from: Selector, selector: {matchLabels: {dns: 'off'}}", false),
    ] {
        let found = set_route(&allows(from), ACCEPTED);
        assert_eq!(names(&found).len(), usize::from(is_allowed), "{from}");
        assert_eq!(found.warnings.len(), usize::from(!is_allowed), "{from}: {:?}", found.warnings);
        assert_eq!(found.unknown, Unknown::Nothing, "{from}: nothing is kept of what is excluded");
    }
    for (what, status) in [
        ("nobody looked at it", "{}"),
        (
            "the set is refused",
            "{conditions: [{type: Accepted, status: 'False'}], listeners: [{name: extra, conditions: [{type: Accepted, status: 'True'}]}]}",
        ),
        (
            "its listener is refused",
            "{conditions: [{type: Accepted, status: 'True'}], listeners: [{name: extra, conditions: [{type: Accepted, status: 'False'}]}]}",
        ),
        (
            "another listener is accepted",
            "{conditions: [{type: Accepted, status: 'True'}], listeners: [{name: other, conditions: [{type: Accepted, status: 'True'}]}]}",
        ),
    ] {
        let found = set_route(&allows("from: All"), status);
        assert!(names(&found).is_empty(), "{what}");
        assert!(found.warnings[0].message.contains("not accepted"), "{what}: {:?}", found.warnings);
        let Unknown::Hosts(kept) = found.unknown else { panic!("{what}") };
        assert!(kept.contains_key("a.example.com"), "the published records stay");
    }
}

#[test]
fn a_parent_that_is_silent_may_have_more_targets_for_the_hosts_that_it_serves() {
    let two = |hosts: &str, parents: &str, accepted: &[&str]| {
        let accepted: Vec<String> = accepted
            .iter()
            .map(|name| format!("{{parentRef: {{name: {name}}}, conditions: [{{type: Accepted, status: 'True'}}]}}"))
            .collect();
        let route = read(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\n\
             spec: {{hostnames: {hosts}, parentRefs: {parents}}}\nstatus: {{parents: [{}]}}",
            accepted.join(", ")
        ));
        let all = "listeners: [{name: http, protocol: HTTP}]";
        let few = "listeners: [{name: http, protocol: HTTP, hostname: '*.few.example.com'}]";
        let gateways = [
            (place("shop", "one"), gateway(all, &[], &["192.0.2.1"])),
            (place("shop", "few"), gateway(few, &[], &[])),
        ]
        .into();
        extract(&route, &Gateways { gateways: Known::Now(&gateways), ..Gateways::default() })
    };
    let hosts = "[a.example.com, b.few.example.com]";
    let silent = |found: &Extraction| -> Vec<String> {
        found.partial.iter().map(|(host, by)| format!("{host}: {by:?}")).collect()
    };
    let found = two(hosts, "[{name: one}, {name: few}]", &["one", "few"]);
    assert_eq!(silent(&found), [r#"b.few.example.com: {"Gateway shop/few"}"#], "it has no address");
    assert_eq!(names(&found), ["a.example.com", "b.few.example.com"]);
    let found = two(hosts, "[{name: one}, {name: few}]", &["one"]);
    assert_eq!(silent(&found).len(), 1, "it has not accepted the route");
    let found = two(hosts, "[{name: one}, {name: away}]", &["one", "away"]);
    assert_eq!(silent(&found).len(), 2, "one that is not there may serve any host");
    assert!(matches!(found.unknown, Unknown::WholeObject(_)));
    let found =
        two(hosts, "[{name: one, sectionName: http}, {name: one, sectionName: gone}]", &["one"]);
    assert_eq!((silent(&found), found.unknown), (vec![], Unknown::Nothing));
}

#[test]
fn targets_that_a_gateway_s_annotation_gives_are_marked_and_its_addresses_are_not() {
    let gateways = |annotated: &[&str]| {
        let open = "listeners: [{name: any, protocol: HTTP, port: 80}]";
        BTreeMap::from([(place("shop", "own"), gateway(open, annotated, &["192.0.2.2"]))])
    };
    let route = read(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: shop}\n\
         spec: {hostnames: [www.example.com], parentRefs: [{name: own}]}\n\
         status: {parents: [{parentRef: {name: own}, conditions: [{type: Accepted, status: 'True'}]}]}",
    );
    let (none, labels) = (BTreeMap::new(), BTreeMap::new());
    for (annotated, expected) in [(&["lb.example.org"][..], true), (&[], false)] {
        let gateways = gateways(annotated);
        let around = Gateways {
            gateways: Known::Now(&gateways),
            listener_sets: Known::Now(&none),
            namespaces: Known::Now(&labels),
        };
        let found = extract(&route, &around);
        let is_marked = |endpoint: &crate::core::endpoint::Endpoint| {
            endpoint.properties.contains_key(crate::core::endpoint::TARGET_SOURCE)
        };
        let marks: Vec<bool> = found.endpoints.iter().map(is_marked).collect();
        assert_eq!(marks, [expected]);
    }
}
