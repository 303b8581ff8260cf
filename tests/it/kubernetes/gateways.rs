//! Routes of the Gateway API, in the version that its authors publish.

use serde_json::{Value, json};

use super::site::{KubeSite, SHOP, host};
use crate::support::aws::names_beside_the_apex;

const SOURCES: &str =
    "gateway-httproute,gateway-grpcroute,gateway-tlsroute,gateway-tcproute,gateway-udproute";
const GROUP: &str = "gateway.networking.k8s.io";

fn object(kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": { "name": name, "namespace": namespace }, "spec": spec })
}

/// The parent of a route, in the namespace of the Gateways.
fn parent(kind: &str, name: &str, section: &str) -> Value {
    json!({ "group": GROUP, "kind": kind, "namespace": SHOP, "name": name, "sectionName": section })
}

fn accepted() -> Value {
    json!({
        "type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

/// A controller's status on a route that the parent accepts.
fn accepted_by(parent: &Value) -> Value {
    json!({ "parents": [{ "parentRef": parent, "controllerName": "example.com/gateway", "conditions": [accepted()] }] })
}

/// A controller's status on a ListenerSet whose listener it accepts.
fn set_accepted(listener: &str) -> Value {
    let listener = json!({ "name": listener, "attachedRoutes": 1, "supportedKinds": [], "conditions": [accepted()] });
    json!({ "conditions": [accepted()], "listeners": [listener] })
}

/// The status of a Gateway with this address.
fn at(address: &str) -> Value {
    json!({ "addresses": [{ "type": "IPAddress", "value": address }] })
}

/// A route, and what its controller says of it.
async fn route(site: &KubeSite, kind: &str, namespace: &str, name: &str, parent: &Value) {
    let mut spec = json!({ "parentRefs": [parent] });
    let mut annotations = json!({});
    match kind {
        "TCPRoute" | "UDPRoute" => {
            annotations["external-dns.kubernetes.io/hostname"] = json!(host(name))
        }
        _ => spec["hostnames"] = json!([host(name)]),
    }
    if !matches!(kind, "HTTPRoute" | "GRPCRoute") {
        spec["rules"] = json!([{ "backendRefs": [{ "name": "backend", "port": 80 }] }]);
    }
    let mut manifest = object(kind, namespace, name, spec);
    manifest["metadata"]["annotations"] = annotations;
    site.api.apply(&manifest.to_string()).await;
    site.api.set_status(namespace, &format!("{kind}/{name}"), &accepted_by(parent)).await;
}

#[tokio::test]
async fn routes_of_every_kind_have_the_addresses_of_the_gateways_that_take_them() {
    let mut site = KubeSite::start().await;
    site.api.install_crds("gateway-api").await;
    site.grant(&["--source", SOURCES]).await;
    for (namespace, team) in [("web", "web"), ("other", "other")] {
        let labelled = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace, "labels": { "team": team } } });
        site.api.apply(&labelled.to_string()).await;
    }
    site.agent("agent", &["--source", SOURCES]).await;

    let listener = |name: &str, port: u16, protocol: &str| json!({ "name": name, "port": port, "protocol": protocol });
    let mut tls = listener("tls", 443, "TLS");
    tls["tls"] = json!({ "mode": "Passthrough" });
    let mut team = listener("team", 8080, "HTTP");
    team["allowedRoutes"] = json!({ "namespaces": { "from": "Selector", "selector": { "matchLabels": { "team": "web" } } } });
    let listeners = [
        listener("web", 80, "HTTP"),
        tls,
        listener("tcp", 9000, "TCP"),
        listener("udp", 9000, "UDP"),
        team,
    ];
    let gateway = |sets: &str| {
        let spec = json!({
            "gatewayClassName": "test", "listeners": listeners, "allowedListeners": { "namespaces": { "from": sets } },
        });
        object("Gateway", SHOP, "edge", spec).to_string()
    };
    let (open, closed) = (gateway("All"), gateway("None"));
    site.api.apply(&open).await;
    let set =
        json!({ "parentRef": { "name": "edge" }, "listeners": [listener("extra", 8081, "HTTP")] });
    site.api.apply(&object("ListenerSet", SHOP, "more", set).to_string()).await;
    site.api.set_status(SHOP, "listenerset/more", &set_accepted("extra")).await;
    site.api.set_status(SHOP, "gateway/edge", &at("192.0.2.64")).await;

    let gateway = |section: &str| parent("Gateway", "edge", section);
    let by_set = parent("ListenerSet", "more", "extra");
    for (kind, namespace, name, parent) in [
        // The listener `team` accepts no routes from this namespace, nor `web` from another than its own.
        ("HTTPRoute", "other", "intruder", gateway("team")),
        ("HTTPRoute", "other", "neighbour", gateway("web")),
        ("HTTPRoute", SHOP, "http", gateway("web")),
        ("GRPCRoute", SHOP, "grpc", gateway("web")),
        ("TLSRoute", SHOP, "tls", gateway("tls")),
        ("TCPRoute", SHOP, "tcp", gateway("tcp")),
        ("UDPRoute", SHOP, "udp", gateway("udp")),
        ("HTTPRoute", "web", "team", gateway("team")),
        ("HTTPRoute", SHOP, "set", by_set),
    ] {
        route(&site, kind, namespace, name, &parent).await;
    }
    let labels = ["grpc", "http", "set", "tcp", "team", "tls", "udp"];
    for label in labels {
        site.holds(&host(label), "A", &["192.0.2.64"]).await;
    }
    assert_eq!(
        names_beside_the_apex(&site.aws, "dev").await,
        labels.map(|label| format!("{}.", host(label)))
    );
    site.tells("tcp", "InSync", &[&host("tcp")]).await;

    // A Gateway that loses its address takes no name with it, and one that moves takes all.
    site.api.set_status(SHOP, "gateway/edge", &json!({ "addresses": null })).await;
    site.is_kept("agent", &labels.map(|label| format!("{} waiting", host(label)))).await;
    site.api.set_status(SHOP, "gateway/edge", &at("192.0.2.65")).await;
    for label in labels {
        site.holds(&host(label), "A", &["192.0.2.65"]).await;
    }
    // The Gateway allows no ListenerSets any more, which is said on the route.
    site.api.apply(&closed).await;
    site.holds(&host("set"), "A", &[]).await;
    site.tells("set", "Ignored", &["does not allow the ListenerSet"]).await;
    // The namespace is not the team's any more: its route is not served there.
    site.api.kubectl(&["label", "namespace", "web", "team=other", "--overwrite"]).await;
    site.holds(&host("team"), "A", &[]).await;
    site.finish().await;
}
