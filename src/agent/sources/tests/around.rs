//! How nodes and pods affect the names of a service.

use super::*;

#[test]
fn with_local_traffic_the_nodes_of_pods_that_go_on_serving_count_before_others() {
    let nodes = nodes(&[
        ("a", &["198.51.100.1"], &[], true),
        ("b", &["198.51.100.2"], &[], true),
        ("c", &["198.51.100.3"], &[], true),
    ]);
    let pod = |node: &str, is_serving, is_terminating| Backend {
        is_serving,
        is_terminating,
        ..backend("10.1.0.1", "", node, is_serving && !is_terminating)
    };
    let (serving, ending, failing) =
        (pod("a", true, false), pod("b", true, true), pod("c", false, false));
    for (pods, address) in [
        (vec![serving, ending.clone(), failing.clone()], "198.51.100.1"),
        (vec![ending, failing.clone()], "198.51.100.2"),
        (vec![failing], "198.51.100.3"),
    ] {
        let local = "spec: {type: NodePort, externalTrafficPolicy: Local}";
        let found = among(&[HOST], local, &nodes, &pods);
        assert_eq!(lines(&found), [format!("www.example.com A {address}")]);
    }
}

#[test]
fn the_host_ip_of_a_pod_is_one_address() {
    let nodes = nodes(&[("a", &[], &["10.0.0.1", "2001:db8::a"], true)]);
    let pods = [backend("10.1.0.1", "", "a", true)];
    let host_ip = ("endpoints-type", "HostIP");
    let found = among(&[HOST, host_ip], "spec: {clusterIP: None}", &nodes, &pods);
    assert_eq!(lines(&found), ["www.example.com A 10.0.0.1"]);
}

#[test]
fn a_word_that_means_nothing_is_told_and_read_as_if_it_were_not_there() {
    let nodes = nodes(&[("a", &["198.51.100.1"], &["10.0.0.1"], true)]);
    let pods = [backend("10.1.0.1", "", "a", true)];
    for (annotation, rest, address) in [
        (("access", "outside"), "spec: {type: NodePort}", "198.51.100.1"),
        (("endpoints-type", "hostip"), "spec: {clusterIP: None}", "10.1.0.1"),
    ] {
        let found = among(&[HOST, annotation], rest, &nodes, &pods);
        assert_eq!(lines(&found), [format!("www.example.com A {address}")]);
        assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
        assert!(found.assumes.is_some(), "what is published stays as it is");
    }
    let found = run(&ingress(
        &[
            ("target", "192.0.2.1"),
            ("ingress-hostname-source", "annotations"),
            ("hostname", "b.example.com"),
        ],
        "spec: {rules: [{host: a.example.com}]}",
    ));
    assert_eq!(lines(&found), ["a.example.com A 192.0.2.1", "b.example.com A 192.0.2.1"]);
    assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
    assert_eq!(found.assumes, None, "under any word these names have these targets");
}

#[test]
fn a_word_that_asks_for_no_nodes_needs_none() {
    let yaml = service(&[HOST, ("endpoints-type", "x")], "spec: {clusterIP: None}");
    let object = Object::read(serde_saphyr::from_str(&yaml).unwrap()).unwrap().unwrap();
    assert_eq!(needs(&object), BTreeSet::from([Need::HeadlessBackends]));
    let yaml = service(&[("internal-hostname", "x.example.com")], "spec: {clusterIP: None}");
    let object = Object::read(serde_saphyr::from_str(&yaml).unwrap()).unwrap().unwrap();
    assert_eq!(needs(&object), BTreeSet::from([Need::HeadlessBackends]));
}
