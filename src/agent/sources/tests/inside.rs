//! Visibility of a name: its annotation, and names for clients inside.

use super::*;
use crate::core::endpoint::EndpointKey;

fn visibility(endpoint: &Endpoint) -> &str {
    endpoint.properties.get("zonefold/visibility").map_or("", ArcStr::as_str)
}

/// `object name type targets visibility` of each endpoint.
fn placed(found: &Extraction) -> Vec<String> {
    let line = |endpoint: &Endpoint| {
        let EndpointKey { object, dns_name, record_type, .. } = &endpoint.key;
        let targets = endpoint.targets.join(",");
        format!("{object} {dns_name} {record_type} {targets} {}", visibility(endpoint))
    };
    found.endpoints.iter().map(line).collect()
}

const BALANCED: &str = "spec: {type: LoadBalancer, clusterIP: 10.96.0.12}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.122}]}}";

/// An object with annotations under any prefix.
fn service_with(annotations: &[(&str, &str)], rest: &str) -> String {
    let lines: String =
        annotations.iter().map(|(key, value)| format!("    {key}: {value:?}\n")).collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  annotations:\n{lines}\n{rest}\n"
    )
}

const OUTSIDE: (&str, &str) = ("external-dns.kubernetes.io/hostname", "x.example.com");
const INSIDE: (&str, &str) = ("external-dns.kubernetes.io/internal-hostname", "x.example.com");

#[test]
fn a_host_for_those_inside_and_one_for_everybody_are_two_endpoints() {
    let found = run(&service_with(&[OUTSIDE, INSIDE], BALANCED));
    assert_eq!(
        placed(&found),
        ["web x.example.com A 192.0.2.122 ", "web/internal x.example.com A 10.96.0.12 internal",]
    );
    let objects: BTreeSet<_> =
        found.endpoints.iter().map(|endpoint| ObjectRef::of(&endpoint.key)).collect();
    assert_eq!(objects.len(), 1, "both are the same object's: {objects:?}");
    assert_eq!(objects.first().unwrap().as_ref().unwrap().name, "web");
}

#[test]
fn the_key_of_a_host_for_those_inside_does_not_depend_on_the_one_for_everybody() {
    let with = run(&service_with(&[OUTSIDE, INSIDE], BALANCED));
    let without = run(&service_with(&[INSIDE], BALANCED));
    assert!(with.endpoints.iter().any(|endpoint| endpoint.key == without.endpoints[0].key));
}

#[test]
fn no_object_has_a_slash_in_its_name() {
    let yaml = "apiVersion: v1\nkind: Service\nmetadata: {name: web/internal}";
    let read = Object::read(serde_saphyr::from_str(yaml).unwrap());
    assert!(matches!(read, Some(Err(ObjectError::Shape { .. }))), "{read:?}");
}

#[test]
fn the_annotation_says_who_may_resolve_the_names_of_an_object() {
    const KEY: &str = "zonefold.dev/visibility";
    for (annotations, expected) in [
        (&[OUTSIDE, (KEY, "private")][..], &["private"][..]),
        (&[OUTSIDE, (KEY, " Both ")], &["both"]),
        (&[OUTSIDE, (KEY, "")], &[""]),
        (&[INSIDE, (KEY, "public")], &["public"]),
        (&[INSIDE, (KEY, "private")], &["private"]),
        // For the same host outside the word is meant; a name inside never joins it.
        (&[OUTSIDE, INSIDE, (KEY, "public")], &["public", "internal"]),
        (&[OUTSIDE, INSIDE, (KEY, "both")], &["both", "internal"]),
        (&[OUTSIDE, INSIDE, (KEY, "private")], &["private", "private"]),
    ] {
        let found = run(&service_with(annotations, BALANCED));
        let words: Vec<&str> = found.endpoints.iter().map(visibility).collect();
        assert_eq!(words, expected, "{annotations:?}");
        assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    }
}

#[test]
fn a_visibility_that_is_no_word_is_told_and_published_nowhere() {
    let found = run(&service_with(&[OUTSIDE, ("zonefold.dev/visibility", "privat")], BALANCED));
    assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
    assert!(found.warnings[0].message.contains("zonefold.dev/visibility"));
    let verdict = crate::core::endpoint::parsed::parse_endpoint(&found.endpoints[0]).unwrap_err();
    assert!(verdict.message.contains("privat"), "{}", verdict.message);
}

#[test]
fn an_entry_s_own_visibility_wins_over_that_of_its_object() {
    let found = run(r#"
apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata: {name: x, annotations: {zonefold.dev/visibility: private}}
spec:
  endpoints:
  - {dnsName: a.example.com, targets: [192.0.2.1], providerSpecific: [{name: zonefold/visibility, value: public}]}
  - {dnsName: b.example.com, targets: [192.0.2.1]}
"#);
    assert_eq!(found.endpoints.iter().map(visibility).collect::<Vec<_>>(), ["public", "private"]);
}

#[test]
fn a_reverse_record_is_for_those_who_see_its_host() {
    let ptr = ("external-dns.kubernetes.io/record-type", "ptr");
    let found = run(&service_with(&[INSIDE, ptr], BALANCED));
    assert_eq!(
        placed(&found),
        [
            "web/internal 12.0.96.10.in-addr.arpa PTR x.example.com internal",
            "web/internal x.example.com A 10.96.0.12 internal",
        ]
    );
}

#[test]
fn what_has_no_cluster_ip_publishes_for_those_inside_what_it_has() {
    let found =
        run(&service_with(&[INSIDE], "spec: {type: ExternalName, externalName: db.example.net}"));
    assert_eq!(placed(&found), ["web/internal x.example.com CNAME db.example.net internal"]);
    let pods = [backend("10.1.0.1", "db-0", "a", true)];
    let found = among(
        &[("internal-hostname", "x.example.com")],
        "spec: {clusterIP: None}",
        &BTreeMap::new(),
        &pods,
    );
    assert_eq!(
        placed(&found),
        [
            "web/internal db-0.x.example.com A 10.1.0.1 internal",
            "web/internal x.example.com A 10.1.0.1 internal",
        ]
    );
    let node_port = run(&service_with(&[INSIDE], "spec: {type: NodePort, clusterIP: 10.0.0.1}"));
    assert_eq!(placed(&node_port), ["web/internal x.example.com A 10.0.0.1 internal"]);
}
