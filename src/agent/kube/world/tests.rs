use serde_json::{Value, json};

use super::*;
use crate::agent::index::{Index, IndexChange};
use crate::core::endpoint::Endpoint;

const SERVICE: FeedId = (Followed::Objects(SourceKind::Service), 0);
const ENDPOINT: FeedId = (Followed::Objects(SourceKind::DnsEndpoint), 0);

fn service(namespace: &str, name: &str, host: &str, address: &str) -> Document {
    let ingress = if address.is_empty() { json!([]) } else { json!([{ "ip": address }]) };
    serde_json::from_value(json!({
        "metadata": {"namespace": namespace, "name": name, "annotations": {"external-dns.kubernetes.io/hostname": host}},
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": ingress}},
    }))
    .unwrap()
}

fn endpoint(name: &str, host: &str) -> Document {
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"endpoints": [{"dnsName": host, "recordType": "A", "targets": ["192.0.2.1"]}]},
    }))
    .unwrap()
}

struct Stage {
    world: KubeWorld,
    index: Index,
}

impl Stage {
    fn new(filter: Filter) -> Self {
        let sources = [SourceKind::Service, SourceKind::DnsEndpoint];
        let reading = Reading { filter, extract: ExtractOptions::default() };
        Self { world: KubeWorld::new(&sources, reading), index: Index::new(sources) }
    }

    fn take(&mut self, id: FeedId, news: News) -> Vec<String> {
        self.world.observe(id, news).apply(&mut self.index).0.iter().map(said).collect()
    }

    fn list(&mut self, id: FeedId, documents: Vec<Document>) -> Vec<String> {
        self.take(id, News::ListBegins);
        let mut changes = self.take(id, News::Page(documents));
        changes.extend(self.take(id, News::ListEnds));
        changes
    }

    fn held(&self) -> Vec<(String, EntryState)> {
        let view = |held: &crate::agent::index::IndexEntry| {
            (held.endpoint.key.dns_name.to_string(), held.standing.clone())
        };
        self.index.iter().map(|(_, held)| view(held)).collect()
    }

    fn is_synced(&self, source: SourceKind) -> bool {
        self.index.sources().iter().any(|health| health.kind == source && health.synced)
    }
}

fn said(change: &IndexChange) -> String {
    let targets = |endpoint: &Endpoint| endpoint.targets.join(",");
    match change {
        IndexChange::Put { endpoint, .. } => {
            format!("put {} {}", endpoint.key.dns_name, targets(endpoint))
        }
        IndexChange::Del { key, cause, .. } => format!("del {} {cause:?}", key.dns_name),
    }
}

fn boxed(document: Document) -> Box<Document> {
    Box::new(document)
}

#[test]
fn a_list_that_breaks_off_deletes_nothing() {
    let mut stage = Stage::new(Filter::default());
    let both = || {
        vec![
            service("shop", "a", "a.example.com", "192.0.2.1"),
            service("shop", "b", "b.example.com", "192.0.2.1"),
        ]
    };
    assert_eq!(
        stage.list(SERVICE, both()),
        ["put a.example.com 192.0.2.1", "put b.example.com 192.0.2.1"]
    );
    assert!(stage.is_synced(SourceKind::Service));
    stage.take(SERVICE, News::ListBegins);
    stage.take(SERVICE, News::Page(vec![service("shop", "a", "a.example.com", "192.0.2.1")]));
    assert!(stage.take(SERVICE, News::Trouble("410".to_owned())).is_empty());
    assert!(stage.take(SERVICE, News::ListEnds).is_empty(), "half a list is none");
    stage.take(SERVICE, News::Trouble("gone".to_owned()));
    assert!(!stage.is_synced(SourceKind::Service) && stage.held().len() == 2);
    assert_eq!(stage.list(SERVICE, both()[1..].to_vec()), ["del a.example.com ObjectDeleted"]);
    assert!(stage.is_synced(SourceKind::Service));
}

#[test]
fn a_refusal_in_one_namespace_keeps_the_whole_source_from_being_complete() {
    let filter = Filter { namespaces: vec!["shop".into(), "web".into()], ..Filter::default() };
    let mut stage = Stage::new(filter);
    let (shop, web) = (SERVICE, (SERVICE.0, 1));
    stage.list(shop, vec![service("shop", "a", "a.example.com", "192.0.2.1")]);
    assert!(!stage.index.listed() && !stage.is_synced(SourceKind::Service));
    stage.list(web, vec![service("web", "b", "b.example.com", "192.0.2.1")]);
    assert!(stage.is_synced(SourceKind::Service));
    stage.take(web, News::Trouble("403".to_owned()));
    assert!(
        stage.list(shop, vec![service("shop", "a", "a.example.com", "192.0.2.1")]).is_empty(),
        "its own namespace only"
    );
    assert!(!stage.is_synced(SourceKind::Service));
    stage.take(web, News::Resumed);
    assert!(stage.is_synced(SourceKind::Service));
}

#[test]
fn an_address_that_went_away_is_waited_for() {
    let mut stage = Stage::new(Filter::default());
    stage.list(SERVICE, vec![service("shop", "a", "a.example.com", "192.0.2.1")]);
    assert!(
        stage
            .take(SERVICE, News::Applied(boxed(service("shop", "a", "a.example.com", ""))))
            .is_empty()
    );
    assert!(
        matches!(&stage.held()[..], [(host, EntryState::Waiting(_))] if host == "a.example.com")
    );
    assert_eq!(
        stage.take(
            SERVICE,
            News::Applied(boxed(service("shop", "a", "a.example.com", "192.0.2.2")))
        ),
        ["put a.example.com 192.0.2.2"]
    );
    assert_eq!(stage.held()[0].1, EntryState::Wanted);
    stage.take(SERVICE, News::Applied(boxed(service("shop", "a", "a.example.com", ""))));
    assert_eq!(
        stage.take(SERVICE, News::Deleted(boxed(service("shop", "a", "a.example.com", "")))),
        ["del a.example.com ObjectDeleted"]
    );
}

#[test]
fn what_went_with_its_kind_stays_until_it_is_deleted_by_itself_or_released() {
    let mut stage = Stage::new(Filter::default());
    let three =
        || ["a", "b", "c"].map(|name| endpoint(name, &format!("{name}.example.com"))).to_vec();
    stage.list(ENDPOINT, three());
    stage.take(ENDPOINT, News::Swept(boxed(endpoint("a", "a.example.com")), "removed".to_owned()));
    stage.take(ENDPOINT, News::NoSuchKind("removed".to_owned()));
    assert!(
        stage
            .held()
            .iter()
            .all(|(_, standing)| *standing == EntryState::Orphaned("removed".to_owned()))
    );
    assert!(!stage.is_synced(SourceKind::DnsEndpoint) && stage.held().len() == 3);
    assert!(stage.list(ENDPOINT, vec![]).is_empty(), "the kind is back, and empty");
    assert!(stage.is_synced(SourceKind::DnsEndpoint) && stage.held().len() == 3);
    assert!(
        stage.take(ENDPOINT, News::Applied(boxed(endpoint("a", "a.example.com")))).is_empty(),
        "as it was"
    );
    assert_eq!(
        stage.held().iter().filter(|(_, standing)| *standing == EntryState::Wanted).count(),
        1
    );
    assert_eq!(
        stage.take(ENDPOINT, News::Deleted(boxed(endpoint("a", "a.example.com")))),
        ["del a.example.com ObjectDeleted"]
    );
    let released = stage.index.release(|held| held.object.name == "b");
    assert_eq!(released.iter().map(said).collect::<Vec<_>>(), ["del b.example.com Released"]);
    assert_eq!(stage.held().len(), 1);
}

#[test]
fn an_object_that_cannot_be_understood_keeps_what_it_had() {
    let mut stage = Stage::new(Filter::default());
    stage.list(ENDPOINT, vec![endpoint("a", "a.example.com")]);
    let mut broken = endpoint("a", "a.example.com");
    broken.spec = json!({"endpoints": 5});
    let (changes, said) =
        stage.world.observe(ENDPOINT, News::Applied(boxed(broken.clone()))).apply(&mut stage.index);
    assert!(changes.is_empty() && said.len() == 1, "{said:?}");
    let (_, again) =
        stage.world.observe(ENDPOINT, News::Applied(boxed(broken))).apply(&mut stage.index);
    assert!(again.is_empty(), "said once");
    assert!(matches!(&stage.held()[..], [(_, EntryState::Waiting(_))]));
}

#[test]
fn an_object_that_leaves_the_filter_takes_its_names_along() {
    let selector = "external-dns.kubernetes.io/hostname".parse().unwrap();
    let mut stage = Stage::new(Filter { annotations: Some(selector), ..Filter::default() });
    stage.list(SERVICE, vec![service("shop", "a", "a.example.com", "192.0.2.1")]);
    let mut bare = service("shop", "a", "a.example.com", "192.0.2.1");
    bare.metadata.annotations.clear();
    assert_eq!(stage.take(SERVICE, News::Applied(boxed(bare))), ["del a.example.com HostRemoved"]);
}

fn headless(name: &str) -> Document {
    let mut service = service("shop", name, &format!("{name}.example.com"), "");
    service.spec = json!({"type": "ClusterIP", "clusterIP": "None"});
    service
}

fn slice(name: &str, service: &str, pods: &[(&str, &str)]) -> Document {
    let endpoint = |(hostname, address): &(&str, &str)| json!({"addresses": [address], "hostname": hostname, "targetRef": {"kind": "Pod"}});
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": name, "labels": {"kubernetes.io/service-name": service, "x": "y"}},
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
    }))
    .unwrap()
}

const SLICES: FeedId = (Followed::HeadlessSlices, 0);

#[test]
fn only_addresses_of_pods_count_behind_a_service() {
    let mut stage = Stage::new(Filter::default());
    stage.list(SERVICE, vec![headless("db")]);
    let mut mixed =
        slice("db-x", "db", &[("", "10.0.0.1"), ("", "db.example.net"), ("", "10.0.0.3")]);
    mixed.endpoints[2]["targetRef"] = json!(null);
    assert_eq!(stage.list(SLICES, vec![mixed]), ["put db.example.com 10.0.0.1"]);
}

#[test]
fn pods_are_followed_only_when_a_service_needs_them_and_a_pod_that_goes_takes_its_name_along() {
    let mut stage = Stage::new(Filter::default());
    stage.list(SERVICE, vec![service("shop", "web", "web.example.com", "192.0.2.1")]);
    assert!(!stage.world.wanted().any(|followed| followed == Followed::HeadlessSlices));
    assert!(
        stage
            .list(
                SERVICE,
                vec![service("shop", "web", "web.example.com", "192.0.2.1"), headless("db")]
            )
            .is_empty()
    );
    assert_eq!(stage.world.wanted().last(), Some(Followed::HeadlessSlices));
    let both = slice("db-x", "db", &[("db-0", "10.0.0.1"), ("db-1", "10.0.0.2")]);
    let mut put =
        stage.list(SLICES, vec![both.clone(), slice("other-x", "other", &[("o", "10.0.0.9")])]);
    put.sort();
    assert_eq!(
        put,
        [
            "put db-0.db.example.com 10.0.0.1",
            "put db-1.db.example.com 10.0.0.2",
            "put db.example.com 10.0.0.1,10.0.0.2"
        ]
    );
    let one = slice("db-x", "db", &[("db-0", "10.0.0.1")]);
    let mut changes = stage.take(SLICES, News::Applied(boxed(one.clone())));
    changes.sort();
    assert_eq!(changes, ["del db-1.db.example.com HostRemoved", "put db.example.com 10.0.0.1"]);
    assert!(stage.take(SLICES, News::Applied(boxed(one.clone()))).is_empty());
    assert!(
        stage.take(SLICES, News::Trouble("403".to_owned())).is_empty(),
        "what was known is still the best there is"
    );
    assert!(
        stage.take(SLICES, News::Deleted(boxed(one))).is_empty(),
        "no pod at all withdraws nothing"
    );
    assert_eq!(
        stage
            .held()
            .iter()
            .filter(|(_, standing)| matches!(standing, EntryState::Waiting(_)))
            .count(),
        2
    );
    assert_eq!(stage.take(SERVICE, News::Deleted(boxed(headless("db")))).len(), 2);
    assert!(stage.take(SLICES, News::Applied(boxed(both))).is_empty(), "nobody asks any more");
}

#[test]
fn nodes_move_the_names_of_node_ports() {
    let mut stage = Stage::new(Filter::default());
    let nodes: FeedId = (Followed::Nodes, 0);
    let mut node_port = service("shop", "np", "np.example.com", "");
    node_port.spec = json!({"type": "NodePort"});
    stage.list(SERVICE, vec![node_port]);
    let node = |name: &str, address: &str| -> Document {
        let addresses = json!([{"type": "InternalIP", "address": address}]);
        serde_json::from_value(
            json!({"metadata": {"name": name}, "status": {"addresses": addresses}}),
        )
        .unwrap()
    };
    assert_eq!(stage.list(nodes, vec![node("a", "10.0.0.1")]), ["put np.example.com 10.0.0.1"]);
    assert_eq!(
        stage.take(nodes, News::Applied(boxed(node("b", "10.0.0.2")))),
        ["put np.example.com 10.0.0.1,10.0.0.2"]
    );
    assert!(
        stage.take(nodes, News::Applied(boxed(node("b", "10.0.0.2")))).is_empty(),
        "a heartbeat"
    );
    assert_eq!(
        stage.take(nodes, News::Deleted(boxed(node("a", "10.0.0.1")))),
        ["put np.example.com 10.0.0.2"]
    );
    assert!(
        stage.take(nodes, News::Deleted(boxed(node("b", "10.0.0.2")))).is_empty(),
        "no node at all withdraws nothing"
    );
}

#[test]
fn a_route_follows_its_gateway_and_keeps_its_name_while_that_has_no_address() {
    let route_feed: FeedId = (Followed::Objects(SourceKind::GatewayHttpRoute), 0);
    let gateway_feed: FeedId = (Followed::Gateways, 0);
    let sources = [SourceKind::GatewayHttpRoute];
    let mut stage =
        Stage { world: KubeWorld::new(&sources, Reading::default()), index: Index::new(sources) };
    let parent = json!({"name": "public", "namespace": "infra"});
    let conditions = json!([{"type": "Accepted", "status": "True"}]);
    let route: Document = serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"hostnames": ["web.example.com"], "parentRefs": [parent]},
        "status": {"parents": [{"parentRef": parent, "conditions": conditions}]},
    }))
    .unwrap();
    let gateway = |addresses: &[&str], from: &str| -> Document {
        let addresses: Vec<_> = addresses.iter().map(|value| json!({ "value": value })).collect();
        let namespaces = json!({"from": from, "selector": {"matchLabels": {"dns": "on"}}});
        let listener = json!({"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": namespaces}});
        serde_json::from_value(json!({
            "metadata": {"namespace": "infra", "name": "public"},
            "spec": {"listeners": [listener]},
            "status": {"addresses": addresses},
        }))
        .unwrap()
    };
    assert!(stage.list(route_feed, vec![route]).is_empty());
    assert!(stage.world.wanted().any(|followed| followed == Followed::Gateways));
    assert_eq!(
        stage.list(gateway_feed, vec![gateway(&["192.0.2.1"], "All")]),
        ["put web.example.com 192.0.2.1"]
    );
    assert!(stage.take(gateway_feed, News::Applied(boxed(gateway(&[], "All")))).is_empty());
    assert!(matches!(&stage.held()[..], [(_, EntryState::Waiting(_))]));
    let mut broken = gateway(&["192.0.2.9"], "All");
    broken.spec = json!({"listeners": 5});
    assert!(
        stage.take(gateway_feed, News::Applied(boxed(broken))).is_empty(),
        "the last that could be understood counts"
    );
    assert!(!stage.world.wanted().any(|followed| followed == Followed::Namespaces));
    assert!(
        stage
            .take(gateway_feed, News::Applied(boxed(gateway(&["192.0.2.2"], "Selector"))))
            .is_empty()
    );
    assert!(stage.world.wanted().any(|followed| followed == Followed::Namespaces));
    let shop: Document =
        serde_json::from_value(json!({"metadata": {"name": "shop", "labels": {"dns": "on"}}}))
            .unwrap();
    assert_eq!(
        stage.list((Followed::Namespaces, 0), vec![shop]),
        ["put web.example.com 192.0.2.2"]
    );
    assert!(
        stage.take(gateway_feed, News::Deleted(boxed(gateway(&["192.0.2.2"], "All")))).is_empty(),
        "a Gateway that is gone is silence"
    );
    assert!(matches!(&stage.held()[..], [(_, EntryState::Waiting(_))]));
}

#[test]
fn a_name_of_two_gateways_stays_while_one_of_them_is_silent_and_follows_a_set_that_is_excluded() {
    let route_feed: FeedId = (Followed::Objects(SourceKind::GatewayHttpRoute), 0);
    let (gateway_feed, set_feed): (FeedId, FeedId) =
        ((Followed::Gateways, 0), (Followed::ListenerSets, 0));
    let sources = [SourceKind::GatewayHttpRoute];
    let mut stage =
        Stage { world: KubeWorld::new(&sources, Reading::default()), index: Index::new(sources) };
    let conditions = json!([{"type": "Accepted", "status": "True"}]);
    let route = |parents: Value| -> Document {
        let told = |parent: &Value| json!({"parentRef": parent, "conditions": conditions});
        let statuses: Vec<Value> = parents.as_array().unwrap().iter().map(told).collect();
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"hostnames": ["web.example.com"], "parentRefs": parents},
            "status": {"parents": statuses},
        }))
        .unwrap()
    };
    let gateway = |name: &str, address: &str, allowed: &str| -> Document {
        let addresses = if address.is_empty() { json!([]) } else { json!([{"value": address}]) };
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": name},
            "spec": {
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
                "allowedListeners": {"namespaces": {"from": allowed}},
            },
            "status": {"addresses": addresses},
        }))
        .unwrap()
    };
    let both = || vec![gateway("one", "192.0.2.1", "All"), gateway("two", "192.0.2.2", "All")];
    stage.list(route_feed, vec![route(json!([{"name": "one"}, {"name": "two"}]))]);
    assert_eq!(stage.list(gateway_feed, both()), ["put web.example.com 192.0.2.1,192.0.2.2"]);
    let silent = boxed(gateway("two", "", "All"));
    assert!(stage.take(gateway_feed, News::Applied(silent.clone())).is_empty());
    assert!(stage.take(gateway_feed, News::Deleted(silent)).is_empty());
    assert!(matches!(&stage.held()[..], [(_, EntryState::Waiting(_))]));
    assert_eq!(
        stage.take(gateway_feed, News::Applied(boxed(gateway("two", "192.0.2.3", "All")))),
        ["put web.example.com 192.0.2.1,192.0.2.3"]
    );

    // Through a ListenerSet alone.
    let set = |accepted: &str| -> Document {
        let conditions = json!([{"type": "Accepted", "status": accepted}]);
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": "more"},
            "spec": {"parentRef": {"name": "one"}, "listeners": [{"name": "x", "port": 81, "protocol": "HTTP"}]},
            "status": {"conditions": conditions, "listeners": [{"name": "x", "conditions": conditions}]},
        }))
        .unwrap()
    };
    let by_set = route(json!([{"kind": "ListenerSet", "name": "more"}]));
    stage.take(route_feed, News::Applied(boxed(by_set)));
    assert_eq!(stage.list(set_feed, vec![set("True")]), ["put web.example.com 192.0.2.1"]);
    assert!(stage.take(set_feed, News::Applied(boxed(set("False")))).is_empty(), "it flickers");
    assert!(stage.take(set_feed, News::Applied(boxed(set("True")))).is_empty());
    stage.take(set_feed, News::Applied(boxed(set("False"))));
    assert_eq!(
        stage.take(gateway_feed, News::Applied(boxed(gateway("one", "192.0.2.1", "None")))),
        ["del web.example.com HostRemoved"]
    );
}

#[test]
fn routes_named_otherwise_publish_no_name_of_their_listener() {
    let text = include_str!("../../../../tests/data/cases/23-gateway-listener-star/manifest.yaml");
    let (mut gateways, mut routes) = (vec![], vec![]);
    for part in text.split("\n---\n") {
        let document: Document = serde_saphyr::from_str(part).unwrap();
        let list = if part.contains("kind: Gateway\n") { &mut gateways } else { &mut routes };
        list.push(document);
    }
    assert_eq!((gateways.len(), routes.len()), (1, 3));
    let sources = [SourceKind::GatewayHttpRoute];
    let mut stage =
        Stage { world: KubeWorld::new(&sources, Reading::default()), index: Index::new(sources) };
    let routes_first = (Followed::Objects(SourceKind::GatewayHttpRoute), 0);
    assert!(stage.list(routes_first, routes).is_empty());
    let mut published = stage.list((Followed::Gateways, 0), gateways);
    published.sort_unstable();
    assert_eq!(
        published,
        [
            "put a.gw.dev.example.com 192.0.2.230",
            "put gw.dev.example.com 192.0.2.230",
            "put only.gw.dev.example.com 192.0.2.230",
        ]
    );
    assert!(stage.held().iter().all(|(_, standing)| *standing == EntryState::Wanted));
}
