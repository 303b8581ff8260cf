//! The endpoints of a cluster's objects, and the statuses that their owners see on them.

use std::path::Path;

use serde_json::{Value, json};

use super::site::{BALANCED, KubeSite, SHOP, balanced, dns_endpoint, host, service};
use crate::support::aws::names_beside_the_apex;
use crate::support::wait::eventually;

/// The CRDs that an operator of F5's and of NGINX's controllers has installed, as far as the agent is concerned.
const OTHER_CRDS: &str = "tests/it/kubernetes/other_crds.yaml";

/// Asks as the agent.
const AS_AGENT: &str = "--as=system:serviceaccount:zonefold:zonefold-agent";

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[tokio::test]
async fn what_people_apply_becomes_records_and_they_are_told_on_the_object() {
    let mut site = KubeSite::start().await;
    site.api.install_crd(&repository("deploy/kubernetes/dnsendpoint-crd.yaml")).await;
    let options = ["--source", "service,ingress,dnsendpoint"];
    site.grant(&options).await;
    site.agent("agent", &options).await;

    let (web, shop, mail) = (host("web"), host("shop"), host("mail"));
    site.api.apply(&service("web", &web, BALANCED)).await;
    site.api.set_status(SHOP, "service/web", &balanced(&["192.0.2.10", "192.0.2.11"])).await;
    site.holds(&web, "A", &["192.0.2.10", "192.0.2.11"]).await;
    site.tells("web", "InSync", &[&web, "dev.example.com"]).await;

    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "shop", "namespace": SHOP },
        "spec": { "rules": [{ "host": shop }], "defaultBackend": { "service": { "name": "web", "port": { "number": 443 } } } },
    });
    site.api.apply(&ingress.to_string()).await;
    site.api.set_status(SHOP, "ingress/shop", &balanced(&["192.0.2.20"])).await;
    site.holds(&shop, "A", &["192.0.2.20"]).await;
    site.tells("shop", "InSync", &[&shop]).await;

    site.api.apply(&dns_endpoint("mail", &mail, "192.0.2.30")).await;
    site.holds(&mail, "A", &["192.0.2.30"]).await;
    conditions_become(&site, "mail", ["True", "True", "True"]).await;

    // An edit is a new generation, and is judged anew.
    site.api.apply(&dns_endpoint("mail", &mail, "192.0.2.31")).await;
    site.holds(&mail, "A", &["192.0.2.31"]).await;
    conditions_become(&site, "mail", ["True", "True", "True"]).await;

    // No account has a zone for this name.
    site.api.apply(&dns_endpoint("astray", "astray.example.net", "192.0.2.40")).await;
    let said = conditions_become(&site, "astray", ["Unknown", "False", "False"]).await;
    assert!(said["message"].as_str().unwrap().contains("astray.example.net"), "{said}");
    site.tells("astray", "Waiting", &["astray.example.net", "NO_ZONE"]).await;

    // Another cluster came first.
    let taken = host("taken");
    site.deployment
        .agent(
            "dev-west",
            &[("taken.yaml", crate::support::manifests::service("taken", &taken, "198.51.100.1"))],
        )
        .await;
    site.holds(&taken, "A", &["198.51.100.1"]).await;
    site.api.apply(&dns_endpoint("late", &taken, "192.0.2.50")).await;
    site.tells("late", "Waiting", &["NAME_HELD", "dev-west"]).await;
    conditions_become(&site, "late", ["Unknown", "False", "False"]).await;

    // No answer comes without a question: a fault is no error of the API server, and nothing is reported twice.
    let events = site.events("web").await;
    let mut distinct = events.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), events.len(), "{events:?}");

    for object in ["service/web", "ingress/shop", "dnsendpoint/mail"] {
        site.api.kubectl(&["--namespace", SHOP, "delete", object]).await;
    }
    for name in [&web, &shop, &mail] {
        site.holds(name, "A", &[]).await;
    }
    site.holds(&taken, "A", &["198.51.100.1"]).await;
    site.finish().await;
}

/// Waits until a DNSEndpoint's conditions Accepted, Programmed and InSync are these, for what is written now; answers the first.
async fn conditions_become(site: &KubeSite, object: &str, wanted: [&str; 3]) -> Value {
    eventually(&format!("the conditions of {object} are {wanted:?}"), async || {
        let found = site.api.get(SHOP, &format!("dnsendpoint/{object}")).await;
        let conditions = &found["status"]["conditions"];
        let one = |name: &str| {
            conditions
                .as_array()
                .into_iter()
                .flatten()
                .find(|condition| condition["type"] == name)
                .cloned()
        };
        let all = ["Accepted", "Programmed", "InSync"].map(|name| one(name).unwrap_or_default());
        let fits = |(condition, wanted): (&Value, &str)| {
            condition["status"] == wanted
                && condition["observedGeneration"] == found["metadata"]["generation"]
        };
        if all.iter().zip(wanted).all(fits) {
            Ok(all[0].clone())
        } else {
            Err(found["status"].to_string())
        }
    })
    .await
}

#[tokio::test]
async fn services_without_a_load_balancer_have_the_addresses_of_nodes_and_pods() {
    let site = KubeSite::with_agent(&["--source", "service"]).await;
    for (name, address) in [("node-1", "203.0.113.1"), ("node-2", "203.0.113.2")] {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
        site.api.apply(&node.to_string()).await;
        let addresses = json!({ "addresses": [
            { "type": "ExternalIP", "address": address }, { "type": "InternalIP", "address": "10.0.0.1" },
        ] });
        site.api.set_status("default", &format!("node/{name}"), &addresses).await;
    }
    let (game, database) = (host("game"), host("db"));
    site.api
        .apply(&service("game", &game, "{type: NodePort, ports: [{port: 7777, nodePort: 30777}]}"))
        .await;
    site.holds(&game, "A", &["203.0.113.1", "203.0.113.2"]).await;
    site.holds(&format!("_game._tcp.{game}"), "SRV", &[&format!("0 50 30777 {game}.")]).await;

    site.api
        .apply(&service(
            "db",
            &database,
            "{clusterIP: None, selector: {app: db}, ports: [{port: 5432}]}",
        ))
        .await;
    let slice = |ready: &[u8]| {
        let pod = |number: &u8| {
            json!({
                "addresses": [format!("10.1.0.{number}")], "hostname": format!("db-{number}"), "nodeName": "node-1",
                "conditions": { "ready": true }, "targetRef": { "kind": "Pod", "name": format!("db-{number}"), "namespace": SHOP },
            })
        };
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": "db-1", "namespace": SHOP, "labels": { "kubernetes.io/service-name": "db", "service.kubernetes.io/headless": "" } },
            "endpoints": ready.iter().map(pod).collect::<Vec<_>>(), "ports": [{ "port": 5432 }],
        })
    };
    site.api.apply(&slice(&[1, 2]).to_string()).await;
    site.holds(&database, "A", &["10.1.0.1", "10.1.0.2"]).await;
    site.holds(&format!("db-2.{database}"), "A", &["10.1.0.2"]).await;
    // A pod that is not there any more has no name; of the last one nothing is taken away.
    site.api.apply(&slice(&[1]).to_string()).await;
    site.holds(&database, "A", &["10.1.0.1"]).await;
    site.holds(&format!("db-2.{database}"), "A", &[]).await;
    site.api.apply(&slice(&[]).to_string()).await;
    eventually("the names of db wait for pods", async || match site.kept("agent").await {
        kept if kept.iter().any(|kept| *kept == format!("{database} waiting")) => Ok(()),
        kept => Err(format!("{kept:?}")),
    })
    .await;
    assert_eq!(site.values(&database, "A").await, Some(vec!["10.1.0.1".to_owned()]));

    site.api.kubectl(&["delete", "node", "node-2"]).await;
    site.holds(&game, "A", &["203.0.113.1"]).await;
    site.finish().await;
}

#[tokio::test]
async fn custom_kinds_are_waited_for_and_read_when_they_come() {
    let mut site = KubeSite::with_agent(&[
        "--source",
        "f5-virtualserver,f5-transportserver,nginx-virtualserver",
    ])
    .await;
    let agent = site.deployment.agent_of("agent");
    agent.process.says("virtualservers.k8s.nginx.org").await;
    site.api.install_crd(&repository(OTHER_CRDS)).await;

    let [virtual_server, transport, nginx] = ["f5", "transport", "nginx"].map(host);
    let object = |api_version: &str, kind: &str, name: &str, spec: Value| {
        json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name, "namespace": SHOP }, "spec": spec })
            .to_string()
    };
    let f5 = json!({ "host": virtual_server, "virtualServerAddress": "192.0.2.60" });
    site.api.apply(&object("cis.f5.com/v1", "VirtualServer", "f5", f5)).await;
    site.api
        .apply(&object(
            "cis.f5.com/v1",
            "TransportServer",
            "transport",
            json!({ "host": transport }),
        ))
        .await;
    let nginx_server = json!({ "host": nginx, "externalDNS": { "enable": true } });
    site.api.apply(&object("k8s.nginx.org/v1", "VirtualServer", "nginx", nginx_server)).await;
    for (what, status) in [
        ("virtualservers.cis.f5.com/f5", json!({ "vsAddress": "192.0.2.61" })),
        ("transportservers.cis.f5.com/transport", json!({ "vsAddress": "192.0.2.62" })),
        (
            "virtualservers.k8s.nginx.org/nginx",
            json!({ "externalEndpoints": [{ "ip": "192.0.2.63", "ports": "[80,443]" }] }),
        ),
    ] {
        site.api.set_status(SHOP, what, &status).await;
    }
    site.holds(&virtual_server, "A", &["192.0.2.60"]).await;
    site.holds(&transport, "A", &["192.0.2.62"]).await;
    site.holds(&nginx, "A", &["192.0.2.63"]).await;
    site.tells("nginx", "InSync", &[&nginx]).await;

    // That the kinds were missing was said once for each.
    let said = site.deployment.agent_of("agent").process.log();
    for kind in
        ["virtualservers.cis.f5.com", "transportservers.cis.f5.com", "virtualservers.k8s.nginx.org"]
    {
        let of_kind = |line: &&Value| {
            line["message"]
                .as_str()
                .is_some_and(|text| text.contains(&format!("{kind}: they are waited for")))
        };
        assert_eq!(said.iter().filter(of_kind).count(), 1, "{kind}: {said:#?}");
    }
    site.finish().await;
}

#[tokio::test]
async fn what_filters_leave_out_is_not_published_and_rights_in_the_chosen_namespaces_are_enough() {
    let mut site = KubeSite::start().await;
    for namespace in ["web", "other"] {
        site.api.kubectl(&["create", "namespace", namespace]).await;
    }
    let scope = ["--source", "ingress", "--namespace", "shop,web"];
    site.grant(&scope).await;
    let cannot = site
        .api
        .try_kubectl(&["auth", "can-i", "list", "ingresses", "--namespace", "other", AS_AGENT])
        .await;
    assert!(cannot.is_err(), "{cannot:?}");
    let filters = [
        "--label-filter",
        "tier in (front,edge)",
        "--annotation-filter",
        "!internal",
        "--ingress-class",
        "public",
    ];
    site.agent("agent", &[&scope[..], &filters[..]].concat()).await;

    let ingress = |namespace: &str, name: &str, class: &str, tier: &str, annotations: Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": { "name": name, "namespace": namespace, "labels": { "tier": tier }, "annotations": annotations },
            "spec": {
                "ingressClassName": class, "rules": [{ "host": host(name) }],
                "defaultBackend": { "service": { "name": "web", "port": { "number": 443 } } },
            },
        })
    };
    let none = json!({});
    for (object, namespace, name) in [
        (ingress("other", "elsewhere", "public", "front", none.clone()), "other", "elsewhere"),
        (ingress(SHOP, "classless", "private", "front", none.clone()), SHOP, "classless"),
        (ingress(SHOP, "tierless", "public", "back", none.clone()), SHOP, "tierless"),
        (
            ingress(SHOP, "internal", "public", "front", json!({ "internal": "yes" })),
            SHOP,
            "internal",
        ),
        // These two count. They come last: when they are there, the others were seen before them.
        (ingress("web", "first", "public", "front", none.clone()), "web", "first"),
        (ingress(SHOP, "second", "public", "edge", none), SHOP, "second"),
    ] {
        site.api.apply(&object.to_string()).await;
        site.api
            .set_status(namespace, &format!("ingress/{name}"), &balanced(&["192.0.2.70"]))
            .await;
    }
    site.holds(&host("first"), "A", &["192.0.2.70"]).await;
    site.holds(&host("second"), "A", &["192.0.2.70"]).await;
    let names = names_beside_the_apex(&site.aws, "dev").await;
    assert_eq!(names, [format!("{}.", host("first")), format!("{}.", host("second"))]);
    site.tells("second", "InSync", &[&host("second")]).await;
    site.finish().await;
}
