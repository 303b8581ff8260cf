//! Limits on what one object may ask for.

use super::*;

fn many(count: usize, text: impl Fn(usize) -> String) -> String {
    (0..count).map(text).collect::<Vec<_>>().join(",")
}

fn address(number: usize) -> String {
    format!("10.{}.{}.{}", number / 65_536, number / 256 % 256, number % 256)
}

fn host(number: usize) -> String {
    format!("h{number}.example.com")
}

/// Nothing is built, everything stays as it was, and one warning says so.
fn is_refused_as_a_whole(found: &Extraction) -> bool {
    found.endpoints.is_empty()
        && matches!(found.unknown, Unknown::WholeObject(_))
        && found.warnings.len() == 1
}

#[test]
fn an_object_that_asks_for_too_much_is_told_and_not_built() {
    let (hosts, targets) = (many(2_000, host), many(14_000, address));
    let found = run(&service(&[("hostname", &hosts), ("target", &targets)], ""));
    assert!(is_refused_as_a_whole(&found), "{:?}", found.warnings);
    let found =
        run(&ingress(&[("hostname", &many(MAX_ENDPOINTS + 1, host)), ("target", "192.0.2.1")], ""));
    assert!(is_refused_as_a_whole(&found), "{:?}", found.warnings);
    let found = run(&ingress(&[("hostname", &many(MAX_ENDPOINTS + 1, host))], ""));
    assert!(is_refused_as_a_whole(&found), "{:?}", found.warnings);
    let entries =
        (0..=MAX_ENDPOINTS).map(|n| format!("{{dnsName: {}, targets: [192.0.2.1]}}", host(n)));
    let found = run(&format!(
        "apiVersion: externaldns.k8s.io/v1alpha1\nkind: DNSEndpoint\nmetadata: {{name: x}}\nspec: {{endpoints: [{}]}}",
        entries.collect::<Vec<_>>().join(",")
    ));
    assert!(is_refused_as_a_whole(&found), "{:?}", found.warnings);
}

#[test]
fn as_much_as_an_object_may_ask_for_is_read() {
    let (hosts, targets) = (many(1_000, host), many(100, address));
    let found = run(&service(&[("hostname", &hosts), ("target", &targets)], ""));
    assert_eq!((found.endpoints.len(), found.warnings.len()), (1_000, 0));
    assert!(found.endpoints.iter().all(|endpoint| endpoint.targets.len() == 100));
}

#[test]
fn a_host_with_too_many_targets_waits_and_the_others_do_not() {
    let entry = |name: &str, targets: usize| {
        format!("{{dnsName: {name}.example.com, targets: [{}]}}", many(targets, address))
    };
    let found = run(&format!(
        "apiVersion: externaldns.k8s.io/v1alpha1\nkind: DNSEndpoint\nmetadata: {{name: x}}\nspec: {{endpoints: [{}, {}]}}",
        entry("a", MAX_TARGETS + 1),
        entry("b", 2)
    ));
    assert_eq!(lines(&found), ["b.example.com A 10.0.0.0,10.0.0.1"]);
    assert_eq!(pending(&found), ["a.example.com"]);
    assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
    let targets = many(MAX_TARGETS + 1, address);
    let found = run(&service(&[HOST, ("target", &targets)], ""));
    assert_eq!(pending(&found), ["www.example.com"]);
}

#[test]
fn an_object_with_many_mistakes_is_told_of_some_and_of_their_number() {
    let entries = vec!["{recordType: A, targets: [192.0.2.1]}"; 500].join(",");
    let found = run(&format!(
        "apiVersion: externaldns.k8s.io/v1alpha1\nkind: DNSEndpoint\nmetadata: {{name: x}}\nspec: {{endpoints: [{entries}]}}"
    ));
    assert!(found.warnings.len() < 50, "{}", found.warnings.len());
    assert!(found.warnings.last().unwrap().message.starts_with("480 more"));
}

#[test]
fn a_route_of_many_names_at_a_gateway_of_many_targets_is_told_and_not_built() {
    use super::super::gateways::{Gateway, GatewayStatus};
    use super::super::surroundings::Gateways;
    let targets = (0..14_000).map(|number| address(number).into()).collect();
    let spec = serde_saphyr::from_str("listeners: [{name: http, protocol: HTTP}]").unwrap();
    let gateway = Gateway::new(targets, spec, GatewayStatus::default());
    let gateways = BTreeMap::from([(("default".into(), "own".into()), gateway)]);
    let yaml = with_annotations(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute",
        &[("hostname", &many(2_000, host))],
        "spec: {parentRefs: [{name: own}]}\nstatus: {parents: [{parentRef: {name: own}, conditions: [{type: Accepted, status: 'True'}]}]}",
    );
    let object = Object::read(serde_saphyr::from_str(&yaml).unwrap()).unwrap().unwrap();
    let gateways = Gateways { gateways: Known::Now(&gateways), ..Gateways::default() };
    let around = Surroundings { gateways, ..Surroundings::default() };
    let found = extract_among(&object, ExtractOptions::default(), &around);
    assert!(found.endpoints.is_empty() && matches!(found.unknown, Unknown::WholeObject(_)));
    assert!(!found.warnings.is_empty() && found.warnings.len() <= 20);
}
