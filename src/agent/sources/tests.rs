mod around;
mod bounds;
mod inside;
mod reading;

use super::surroundings::{Backend, Known, Node};
use super::target::reverse_name;
use super::*;
use crate::core::endpoint::TARGET_SOURCE;

fn run(yaml: &str) -> Extraction {
    run_with(yaml, ExtractOptions::default())
}

fn run_with(yaml: &str, options: ExtractOptions) -> Extraction {
    let object = Object::read(serde_saphyr::from_str(yaml).unwrap()).unwrap().unwrap();
    extract(&object, options)
}

/// `name type targets [set] ttl=… k=v`, one a line, for comparing with what is expected.
fn lines(extraction: &Extraction) -> Vec<String> {
    let line = |endpoint: &Endpoint| {
        let mut line = format!(
            "{} {} {}",
            endpoint.key.dns_name,
            endpoint.key.record_type,
            endpoint.targets.join(",")
        );
        if !endpoint.key.set_identifier.is_empty() {
            line += &format!(" [{}]", endpoint.key.set_identifier);
        }
        if let Some(ttl_secs) = endpoint.ttl_secs {
            line += &format!(" ttl={ttl_secs}");
        }
        // It is tested on its own.
        let shown = |name: &&ArcStr| name.as_str() != TARGET_SOURCE;
        for (name, value) in endpoint.properties.iter().filter(|(name, _)| shown(name)) {
            line += &format!(" {name}={value}");
        }
        line
    };
    extraction.endpoints.iter().map(line).collect()
}

fn pending(extraction: &Extraction) -> Vec<&str> {
    match &extraction.unknown {
        Unknown::Hosts(hosts) => hosts.keys().map(ArcStr::as_str).collect(),
        Unknown::Nothing => vec![],
        Unknown::WholeObject(_) => vec!["*"],
    }
}

fn service(annotations: &[(&str, &str)], rest: &str) -> String {
    with_annotations("apiVersion: v1\nkind: Service", annotations, rest)
}

fn ingress(annotations: &[(&str, &str)], rest: &str) -> String {
    with_annotations("apiVersion: networking.k8s.io/v1\nkind: Ingress", annotations, rest)
}

fn with_annotations(head: &str, annotations: &[(&str, &str)], rest: &str) -> String {
    let annotations: String = annotations
        .iter()
        .map(|(key, value)| {
            format!("    external-dns.kubernetes.io/{key}: {}\n", serde_json::json!(value))
        })
        .collect();
    format!("{head}\nmetadata:\n  name: web\n  annotations:\n{annotations}\n{rest}\n")
}

/// Annotations, the rest of the object, the endpoints, the hosts that wait.
type Case<'a> = (&'a [(&'a str, &'a str)], String, &'a [&'a str], &'a [&'a str]);
/// The same with a title.
type NamedCase<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a [&'a str], &'a [&'a str]);

const HOST: (&str, &str) = ("hostname", "www.example.com");

#[test]
fn a_service_publishes_what_its_type_offers() {
    let lb = "spec: {type: LoadBalancer, clusterIP: 10.0.0.1}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {hostname: lb.example.net.}, {ip: '2001:db8::1'}]}}";
    let cases: &[NamedCase] = &[
        ("nothing without annotation", &[], lb, &[], &[]),
        (
            "addresses of both families, and no name",
            &[HOST],
            lb,
            &["www.example.com A 192.0.2.1", "www.example.com AAAA 2001:db8::1"],
            &[],
        ),
        (
            "target wins over status",
            &[HOST, ("target", "192.0.2.9")],
            lb,
            &["www.example.com A 192.0.2.9"],
            &[],
        ),
        (
            "internal names get the cluster IP",
            &[("internal-hostname", "in.example.com")],
            lb,
            &["in.example.com A 10.0.0.1 zonefold/visibility=internal"],
            &[],
        ),
        (
            "external IPs win over status",
            &[HOST],
            "spec: {type: LoadBalancer, externalIPs: [198.51.100.1]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}",
            &["www.example.com A 198.51.100.1"],
            &[],
        ),
        (
            "an empty status leaves the host pending",
            &[HOST],
            "spec: {type: LoadBalancer}",
            &[],
            &["www.example.com"],
        ),
        (
            "a null status as well",
            &[HOST],
            "spec: {type: LoadBalancer}\nstatus: {loadBalancer: null}",
            &[],
            &["www.example.com"],
        ),
        ("a cluster IP is private", &[HOST], "spec: {clusterIP: 10.0.0.1}", &[], &[]),
        (
            "ExternalName",
            &[HOST],
            "spec: {type: ExternalName, externalName: other.example.net.}",
            &["www.example.com CNAME other.example.net"],
            &[],
        ),
        (
            "ExternalName with external IPs",
            &[HOST],
            "spec: {type: ExternalName, externalName: x, externalIPs: [192.0.2.3]}",
            &["www.example.com A 192.0.2.3"],
            &[],
        ),
        (
            "NodePort is not guessed",
            &[HOST],
            "spec: {type: NodePort, clusterIP: 10.0.0.1}",
            &[],
            &["www.example.com"],
        ),
        (
            "NodePort with a target",
            &[HOST, ("target", "192.0.2.4")],
            "spec: {type: NodePort}",
            &["www.example.com A 192.0.2.4"],
            &[],
        ),
        ("headless is not guessed", &[HOST], "spec: {clusterIP: None}", &[], &["www.example.com"]),
        ("another controller", &[HOST, ("controller", "other")], lb, &[], &[]),
        (
            "routing",
            &[
                HOST,
                ("target", "192.0.2.4"),
                ("set-identifier", "east"),
                ("aws-weight", "5"),
                ("ttl", "1m"),
            ],
            lb,
            &["www.example.com A 192.0.2.4 [east] ttl=60 aws/weight=5"],
            &[],
        ),
        (
            "reverse records",
            &[HOST, ("target", "192.0.2.4"), ("record-type", "ptr")],
            lb,
            &["4.2.0.192.in-addr.arpa PTR www.example.com", "www.example.com A 192.0.2.4"],
            &[],
        ),
    ];
    for (what, annotations, rest, endpoints, waiting) in cases {
        let found = run(&service(annotations, rest));
        assert_eq!(lines(&found), *endpoints, "{what}");
        assert_eq!(pending(&found), *waiting, "{what}");
    }
}

#[test]
fn cluster_ips_are_published_when_that_is_chosen() {
    let yaml = service(&[HOST], "spec: {type: ClusterIP, clusterIP: 10.0.0.1}");
    let found = run_with(&yaml, ExtractOptions { cluster_ips: ClusterIps::Publish });
    assert_eq!(lines(&found), ["www.example.com A 10.0.0.1"]);
}

#[test]
fn what_cannot_be_known_is_said() {
    for rest in ["spec: {type: NodePort}", "spec: {clusterIP: None}"] {
        let found = run(&service(&[HOST], rest));
        assert!(
            found.warnings[0].message.contains("set the annotation target"),
            "{:?}",
            found.warnings
        );
    }
}

#[test]
fn an_ingress_publishes_rules_certificates_and_annotation() {
    let spec = "spec: {rules: [{host: A.example.com}, {}, {host: a.example.com}], tls: [{hosts: [b.example.com]}]}\nstatus: {loadBalancer: {ingress: [{hostname: lb.eu-west-1.elb.amazonaws.com}]}}";
    let lb = "CNAME lb.eu-west-1.elb.amazonaws.com";
    let all = [
        format!("a.example.com {lb}"),
        format!("b.example.com {lb}"),
        format!("c.example.com {lb}"),
    ];
    let host = ("hostname", "c.example.com");
    assert_eq!(lines(&run(&ingress(&[host], spec))), all);
    assert_eq!(
        lines(&run(&ingress(&[host, ("ingress-hostname-source", "defined-hosts-only")], spec))),
        all[..2]
    );
    assert_eq!(
        lines(&run(&ingress(&[host, ("ingress-hostname-source", "annotation-only")], spec))),
        all[2..]
    );
    assert_eq!(
        lines(&run(&ingress(
            &[("target", "192.0.2.1")],
            "spec: {rules: [{host: '*.example.com'}]}"
        ))),
        ["*.example.com A 192.0.2.1"]
    );
}

#[test]
fn an_ingress_without_an_address_waits() {
    assert_eq!(
        pending(&run(&ingress(&[], "spec: {rules: [{host: a.example.com}]}"))),
        ["a.example.com"]
    );
}

#[test]
fn a_dns_endpoint_says_everything_itself() {
    let found = run(r#"
apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata: {name: mail, namespace: shop, annotations: {external-dns.kubernetes.io/ttl: "5"}}
spec:
  endpoints:
  - {dnsName: Example.com., recordType: mx, recordTTL: 300, targets: ["10 mail.example.com", "20 mail2.example.com"]}
  - {dnsName: example.com, recordType: TXT, targets: ['"v=spf1 -all"']}
  - {dnsName: www.example.com, recordType: CNAME, targets: [a.example.net, b.example.net]}
  - {dnsName: w.example.com, recordType: A, targets: [192.0.2.1], setIdentifier: one, providerSpecific: [{name: aws/weight, value: "1"}]}
  - {dnsName: untyped.example.com, targets: [192.0.2.1, "2001:db8::1"]}
  - {dnsName: empty.example.com, recordType: A, targets: []}
  - {recordType: A, targets: [192.0.2.1]}
"#);
    assert_eq!(
        lines(&found),
        [
            "example.com MX 10 mail.example.com,20 mail2.example.com ttl=300",
            "example.com TXT \"v=spf1 -all\"",
            "untyped.example.com A 192.0.2.1",
            "untyped.example.com AAAA 2001:db8::1",
            "w.example.com A 192.0.2.1 [one] aws/weight=1",
            "www.example.com CNAME a.example.net",
        ]
    );
    assert_eq!(pending(&found), ["empty.example.com"]);
    assert_eq!(
        found.warnings.len(),
        3,
        "second CNAME target, no targets, no name: {:?}",
        found.warnings
    );
    assert_eq!(found.endpoints[0].key.resource(), "dnsendpoint/shop/mail");
}

#[test]
fn f5_publishes_only_what_has_an_address_in_use() {
    let head = "apiVersion: cis.f5.com/v1\nkind: VirtualServer";
    let spec = "spec: {host: a.example.com, hostAliases: [b.example.com]}";
    let addressed = "spec: {host: a.example.com, virtualServerAddress: 192.0.2.8}";
    let status = "status: {vsAddress: 192.0.2.7}";
    let cases: &[Case] = &[
        (
            &[],
            format!("{spec}\n{status}"),
            &["a.example.com A 192.0.2.7", "b.example.com A 192.0.2.7"],
            &[],
        ),
        (&[], format!("{addressed}\n{status}"), &["a.example.com A 192.0.2.8"], &[]),
        (
            &[("target", "lb.example.net"), ("ttl", "30"), ("aws-weight", "1")],
            format!("{addressed}\n{status}"),
            &["a.example.com CNAME lb.example.net ttl=30"],
            &[],
        ),
        (&[], addressed.to_owned(), &[], &["a.example.com"]),
        (
            &[],
            format!("{spec}\nstatus: {{vsAddress: None}}"),
            &[],
            &["a.example.com", "b.example.com"],
        ),
    ];
    for (annotations, rest, endpoints, waiting) in cases {
        let found = run(&with_annotations(head, annotations, rest));
        assert_eq!(lines(&found), *endpoints, "{rest}");
        assert_eq!(pending(&found), *waiting, "{rest}");
    }
}

#[test]
fn nginx_publishes_when_external_dns_is_enabled() {
    let head = "apiVersion: k8s.nginx.org/v1\nkind: VirtualServer";
    let status = "status: {externalEndpoints: [{ip: 192.0.2.7, ports: '[80,443]'}, {hostname: lb.example.net}]}";
    let cases: &[Case] = &[
        (&[], format!("spec: {{host: a.example.com}}\n{status}"), &[], &[]),
        (
            &[],
            format!(
                "spec: {{host: a.example.com, externalDNS: {{enable: true, recordTTL: 60, labels: {{x: y}}, providerSpecific: [{{name: aws/weight, value: '3'}}]}}}}\n{status}"
            ),
            &["a.example.com A 192.0.2.7 ttl=60 aws/weight=3"],
            &[],
        ),
        (
            &[("target", "other.example.net")],
            format!(
                "spec: {{host: a.example.com, externalDNS: {{enable: true, recordType: cname}}}}\n{status}"
            ),
            &["a.example.com CNAME other.example.net"],
            &[],
        ),
        (
            &[],
            "spec: {host: a.example.com, externalDNS: {enable: true}}".to_owned(),
            &[],
            &["a.example.com"],
        ),
    ];
    for (annotations, rest, endpoints, waiting) in cases {
        let found = run(&with_annotations(head, annotations, rest));
        assert_eq!(lines(&found), *endpoints, "{rest}");
        assert_eq!(pending(&found), *waiting, "{rest}");
    }
}

#[test]
fn a_name_that_dns_does_not_take_is_left_to_the_broker() {
    let host = format!("{}.example.com", "a".repeat(64));
    let found = run(&service(&[("hostname", &host), ("target", "192.0.2.1")], "spec: {}"));
    assert_eq!(lines(&found), [format!("{host} A 192.0.2.1")]);
}

#[test]
fn reverse_names_follow_the_rfcs() {
    assert_eq!(reverse_name("192.0.2.1".parse().unwrap()), "1.2.0.192.in-addr.arpa");
    let v6 = reverse_name("2001:db8::1".parse().unwrap());
    assert_eq!(v6, format!("1.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(23)));
}

#[test]
fn unquoted_annotation_values_are_read() {
    let found = run(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: x\n  annotations:\n    external-dns.kubernetes.io/hostname: a.example.com\n    external-dns.kubernetes.io/target: 192.0.2.1\n    external-dns.kubernetes.io/ttl: 60\n    external-dns.kubernetes.io/alias: true\n",
    );
    assert_eq!(lines(&found), ["a.example.com A 192.0.2.1 ttl=60 alias=true"]);
}

#[test]
fn an_object_of_the_wrong_shape_is_an_error_and_another_kind_is_none() {
    let read = |yaml: &str| Object::read(serde_saphyr::from_str(yaml).unwrap());
    assert!(read("{apiVersion: apps/v1, kind: Deployment}").is_none());
    assert!(read("just text").is_none());
    assert!(matches!(
        read("{apiVersion: v1, kind: Service}"),
        Some(Err(ObjectError::NoName { .. }))
    ));
    assert!(matches!(
        read("{apiVersion: v1, kind: Service, metadata: {name: x}, spec: [1]}"),
        Some(Err(ObjectError::Shape { .. }))
    ));
}

#[test]
fn the_error_of_a_long_value_is_short() {
    let yaml = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {}\n",
        "é".repeat(10_000)
    );
    let Some(Err(error)) = Object::read(serde_saphyr::from_str(&yaml).unwrap()) else {
        panic!("it was read")
    };
    assert!(error.to_string().chars().count() < 400, "{error}");
}

fn among(
    annotations: &[(&str, &str)],
    rest: &str,
    nodes: &BTreeMap<ArcStr, Node>,
    backends: &[Backend],
) -> Extraction {
    let object = Object::read(serde_saphyr::from_str(&service(annotations, rest)).unwrap())
        .unwrap()
        .unwrap();
    let around = Surroundings {
        nodes: Known::Now(nodes),
        backends: Known::Now(backends.iter().collect()),
        ..Surroundings::default()
    };
    extract_among(&object, ExtractOptions::default(), &around)
}

fn nodes(rows: &[(&str, &[&str], &[&str], bool)]) -> BTreeMap<ArcStr, Node> {
    let list =
        |addresses: &[&str]| addresses.iter().map(|address| ArcStr::from(*address)).collect();
    let node = |(name, external, internal, is_schedulable): &(&str, &[&str], &[&str], bool)| {
        let node = Node {
            external: list(external),
            internal: list(internal),
            is_schedulable: *is_schedulable,
        };
        (ArcStr::from(*name), node)
    };
    rows.iter().map(node).collect()
}

fn backend(address: &str, hostname: &str, node: &str, is_ready: bool) -> Backend {
    Backend {
        address: address.into(),
        hostname: hostname.into(),
        node: node.into(),
        is_ready,
        is_serving: is_ready,
        is_terminating: false,
    }
}

/// The title, the annotations, the rest of the object, the pods, the endpoints.
type NodePortCase<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a [Backend], &'a [&'a str]);

#[test]
fn a_node_port_is_where_the_nodes_are() {
    let nodes = nodes(&[
        ("a", &["198.51.100.1"], &["10.0.0.1"], true),
        ("b", &[], &["10.0.0.2"], true),
        ("drained", &["198.51.100.3"], &["10.0.0.3"], false),
    ]);
    let ports = "ports: [{nodePort: 30080}, {nodePort: 30443, protocol: TCP}, {nodePort: 30053, protocol: UDP}]";
    let any = format!("spec: {{type: NodePort, {ports}}}");
    let local = "spec: {type: NodePort, externalTrafficPolicy: Local}";
    let srv = [
        "_web._tcp.www.example.com SRV 0 50 30080 www.example.com.,0 50 30443 www.example.com.",
        "_web._udp.www.example.com SRV 0 50 30053 www.example.com.",
    ];
    let cases: &[NodePortCase] = &[
        (
            "external addresses where there are any",
            &[HOST],
            &any,
            &[],
            &[srv[0], srv[1], "www.example.com A 198.51.100.1"],
        ),
        (
            "private access",
            &[HOST, ("access", "private")],
            "spec: {type: NodePort}",
            &[],
            &["www.example.com A 10.0.0.1,10.0.0.2"],
        ),
        (
            "public access",
            &[HOST, ("access", "public")],
            "spec: {type: NodePort}",
            &[],
            &["www.example.com A 198.51.100.1"],
        ),
        (
            "local traffic where a pod is ready",
            &[HOST],
            local,
            &[backend("10.1.0.1", "", "b", true), backend("10.1.0.2", "", "a", false)],
            &["www.example.com A 10.0.0.2"],
        ),
        (
            "local traffic where none is ready",
            &[HOST],
            local,
            &[backend("10.1.0.2", "", "a", false)],
            &["www.example.com A 198.51.100.1"],
        ),
    ];
    for (what, annotations, rest, backends, expected) in cases {
        assert_eq!(lines(&among(annotations, rest, &nodes, backends)), *expected, "{what}");
    }
    let none = among(&[HOST], "spec: {type: NodePort}", &BTreeMap::new(), &[]);
    assert_eq!((lines(&none).len(), pending(&none)), (0, vec!["www.example.com"]));
}

#[test]
fn a_headless_service_is_where_its_pods_are() {
    let nodes = nodes(&[("a", &["198.51.100.1"], &["10.0.0.1"], true)]);
    let headless = "spec: {clusterIP: None}";
    let pods = [
        backend("10.1.0.1", "db-0", "a", true),
        backend("10.1.0.2", "db-1", "a", false),
        backend("2001:db8::1", "db-0", "a", true),
    ];
    let ready = [
        "db-0.www.example.com A 10.1.0.1",
        "db-0.www.example.com AAAA 2001:db8::1",
        "www.example.com A 10.1.0.1",
        "www.example.com AAAA 2001:db8::1",
    ];
    assert_eq!(lines(&among(&[HOST], headless, &nodes, &pods)), ready);
    let all = among(
        &[HOST],
        "spec: {clusterIP: None, publishNotReadyAddresses: true}",
        &nodes,
        &pods[..2],
    );
    assert_eq!(
        lines(&all),
        [
            "db-0.www.example.com A 10.1.0.1",
            "db-1.www.example.com A 10.1.0.2",
            "www.example.com A 10.1.0.1,10.1.0.2"
        ]
    );
    for (kind, address) in [("NodeExternalIP", "198.51.100.1"), ("HostIP", "10.0.0.1")] {
        let found = among(&[HOST, ("endpoints-type", kind)], headless, &nodes, &pods[..1]);
        assert_eq!(
            lines(&found),
            [format!("db-0.www.example.com A {address}"), format!("www.example.com A {address}")]
        );
    }
    assert_eq!(
        pending(&among(&[HOST], headless, &nodes, &pods[1..2])),
        ["*"],
        "no pod is ready: nothing is withdrawn"
    );
    assert_eq!(
        lines(&among(&[HOST, ("target", "192.0.2.7")], headless, &nodes, &[])),
        ["www.example.com A 192.0.2.7"]
    );
}

#[test]
fn only_what_a_service_depends_on_is_looked_at() {
    let of = |annotations: &[(&str, &str)], rest: &str| {
        needs(
            &Object::read(serde_saphyr::from_str(&service(annotations, rest)).unwrap())
                .unwrap()
                .unwrap(),
        )
        .into_iter()
        .collect::<Vec<_>>()
    };
    let node_port = "spec: {type: NodePort}";
    assert_eq!(of(&[HOST], node_port), [Need::Nodes]);
    assert_eq!(
        of(&[HOST], "spec: {type: NodePort, externalTrafficPolicy: Local}"),
        [Need::Nodes, Need::LocalBackends]
    );
    assert_eq!(of(&[HOST], "spec: {clusterIP: None}"), [Need::HeadlessBackends]);
    assert_eq!(
        of(&[HOST, ("endpoints-type", "HostIP")], "spec: {clusterIP: None}"),
        [Need::Nodes, Need::HeadlessBackends]
    );
    for (annotations, rest) in [
        (&[][..], node_port),
        (&[HOST, ("target", "192.0.2.1")], node_port),
        (&[HOST], "spec: {type: LoadBalancer}"),
        (&[HOST, ("controller", "x")], node_port),
    ] {
        assert_eq!(of(annotations, rest), [], "{annotations:?} {rest}");
    }
}

#[test]
fn targets_of_an_annotation_are_marked_and_those_of_the_status_are_not() {
    let marks = |annotations: &str| -> Vec<Option<String>> {
        let yaml = format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, namespace: shop, annotations: {{{annotations}}}}}\nspec: {{rules: [{{host: www.example.com}}]}}\nstatus: {{loadBalancer: {{ingress: [{{ip: 192.0.2.1}}]}}}}"
        );
        run(&yaml)
            .endpoints
            .iter()
            .map(|endpoint| endpoint.properties.get(TARGET_SOURCE).map(ToString::to_string))
            .collect()
    };
    assert_eq!(marks(""), [None]);
    let target = "external-dns.alpha.kubernetes.io/target: 203.0.113.1";
    assert_eq!(marks(target), [Some("annotation".to_owned())]);
}
