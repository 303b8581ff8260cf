//! How texts of people are read: lists of names, targets, and words.

use super::*;

const LB: &str = "lb.eu-west-1.elb.amazonaws.com";

fn warned(found: &Extraction, text: &str) -> bool {
    found.warnings.iter().any(|warning| warning.message.contains(text))
}

fn load_balancer(ingress: &str) -> String {
    format!("spec: {{type: LoadBalancer}}\nstatus: {{loadBalancer: {{ingress: {ingress}}}}}")
}

#[test]
fn host_names_are_separated_by_commas_and_by_white_space() {
    for list in [
        "a.example.com,b.example.com",
        "a.example.com b.example.com",
        "a.example.com\nb.example.com\n",
        " a.example.com ,\n\tb.example.com, ",
        "a.example.com\u{a0}b.example.com",
    ] {
        let found = run(&service(&[("hostname", list), ("target", "192.0.2.1 192.0.2.2")], ""));
        let targets = "A 192.0.2.1,192.0.2.2";
        let expected = [format!("a.example.com {targets}"), format!("b.example.com {targets}")];
        assert_eq!(lines(&found), expected, "{list:?}");
        assert!(found.warnings.is_empty(), "{list:?}: {:?}", found.warnings);
    }
}

#[test]
fn an_element_that_is_no_host_name_is_told_and_makes_no_other_name() {
    for wrong in ["a.example.com;b.example.com", "a.example.com\u{200b}b.example.com", "(a)", "a/b"]
    {
        let list = format!("{wrong},c.example.com");
        let found = run(&service(&[("hostname", &list), ("target", "192.0.2.1")], ""));
        assert_eq!(lines(&found), ["c.example.com A 192.0.2.1"], "{wrong:?}");
        assert!(warned(&found, "no host name"), "{wrong:?}: {:?}", found.warnings);
    }
}

#[test]
fn what_breaks_a_limit_of_names_is_passed_on_as_it_is_written_and_told() {
    let long = format!("{}.example.com", "a".repeat(64));
    for host in [long.as_str(), "a..example.com", "a.example.com..", ".example.com"] {
        let found = run(&service(&[("hostname", host), ("target", "192.0.2.1")], ""));
        assert_eq!(lines(&found), [format!("{host} A 192.0.2.1")], "{host}");
        assert!(warned(&found, "hostname"), "{host}: {:?}", found.warnings);
    }
}

#[test]
fn a_broken_address_stays_of_the_type_of_an_address() {
    for (target, record_type) in [
        ("192.0.2.1", "A"),
        ("192.0.2.300", "A"),
        ("192.0.2.01", "A"),
        ("192.0.2", "A"),
        ("192.0.2.1..", "A"),
        ("192.0.2.191:443", "A"),
        ("192.0.2.192/32", "A"),
        ("192.0.2.1%5", "A"),
        ("2001:db8::1", "AAAA"),
        ("2001:db8::1/64", "AAAA"),
        ("[2001:db8::1]:443", "AAAA"),
        ("fe80::1%eth0", "AAAA"),
        ("2001:db8:::1", "AAAA"),
        ("lb.example.net", "CNAME"),
        ("lb.example.net:443", "CNAME"),
        ("https://lb.example.net", "CNAME"),
        ("1.2.3.4.example.net", "CNAME"),
        ("face.example", "CNAME"),
    ] {
        let found = run(&service(&[HOST, ("target", target)], ""));
        assert_eq!(lines(&found), [format!("www.example.com {record_type} {target}")]);
        let endpoint = crate::core::endpoint::parsed::parse_endpoint(&found.endpoints[0]);
        let is_address = target.parse::<std::net::IpAddr>().is_ok();
        if record_type != "CNAME" {
            assert_eq!(endpoint.is_ok(), is_address, "{target}");
        }
    }
}

#[test]
fn the_route_domain_of_an_f5_address_is_cut_off() {
    let head = "apiVersion: cis.f5.com/v1\nkind: VirtualServer";
    for (spec, address) in [
        ("spec: {host: a.example.com}\nstatus: {vsAddress: '192.0.2.7%5'}", "A 192.0.2.7"),
        (
            "spec: {host: a.example.com, virtualServerAddress: '2001:db8::8%12'}\nstatus: {vsAddress: x}",
            "AAAA 2001:db8::8",
        ),
        ("spec: {host: a.example.com}\nstatus: {vsAddress: 'fe80::1%eth0'}", "AAAA fe80::1%eth0"),
    ] {
        let found = run(&with_annotations(head, &[], spec));
        assert_eq!(lines(&found), [format!("a.example.com {address}")]);
    }
}

#[test]
fn addresses_win_over_host_names_in_any_order_and_the_rest_is_told() {
    for ingress in [
        "[{ip: 192.0.2.1}, {hostname: lb.example.net}]",
        "[{hostname: lb.example.net}, {ip: 192.0.2.1}]",
    ] {
        let found = run(&service(&[HOST], &load_balancer(ingress)));
        assert_eq!(lines(&found), ["www.example.com A 192.0.2.1"], "{ingress}");
        assert!(warned(&found, "lb.example.net"), "{:?}", found.warnings);
    }
}

#[test]
fn of_several_host_names_the_first_in_order_counts_and_the_rest_is_told() {
    for ingress in [
        "[{hostname: b.example.net}, {hostname: a.example.net}]",
        "[{hostname: a.example.net}, {hostname: b.example.net}]",
    ] {
        let found = run(&service(&[HOST], &load_balancer(ingress)));
        assert_eq!(lines(&found), ["www.example.com CNAME a.example.net"], "{ingress}");
        assert!(warned(&found, "b.example.net"), "{:?}", found.warnings);
    }
}

#[test]
fn one_name_in_two_spellings_is_one_target() {
    let found = run(&service(
        &[HOST],
        &load_balancer("[{hostname: lb.example.net}, {hostname: LB.example.net.}]"),
    ));
    assert_eq!(found.endpoints.len(), 1);
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
}

#[test]
fn a_broken_address_takes_no_host_name_away() {
    let found = run(&service(&[HOST, ("target", "lb.example.net,192.0.2.300")], ""));
    assert_eq!(
        lines(&found),
        ["www.example.com A 192.0.2.300", "www.example.com CNAME lb.example.net"],
        "the name stays published, and the address gets its verdict"
    );
}

#[test]
fn alias_false_is_a_word_of_its_own() {
    let found = run(&ingress(
        &[("target", LB), ("alias", "false")],
        "spec: {rules: [{host: a.example.com}]}",
    ));
    assert_eq!(lines(&found), [format!("a.example.com CNAME {LB} alias=false")]);
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    assert!(crate::core::endpoint::parsed::parse_endpoint(&found.endpoints[0]).unwrap().is_cname());
}

#[test]
fn values_of_one_set_under_two_ttls_are_added_up_at_the_smaller_one() {
    let entries = [
        "{dnsName: a.example.com, recordType: A, recordTTL: 300, targets: [192.0.2.2]}",
        "{dnsName: a.example.com, recordType: A, recordTTL: 60, targets: [192.0.2.1]}",
    ];
    for (first, second) in [(0, 1), (1, 0)] {
        let found = run(&format!(
            "apiVersion: externaldns.k8s.io/v1alpha1\nkind: DNSEndpoint\nmetadata: {{name: x}}\nspec:\n  endpoints:\n  - {}\n  - {}\n",
            entries[first], entries[second]
        ));
        assert_eq!(lines(&found), ["a.example.com A 192.0.2.1,192.0.2.2 ttl=60"]);
        assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
    }
}

#[test]
fn the_source_of_an_ingress_s_names_is_a_word_in_any_case() {
    let found = run(&ingress(
        &[
            ("target", "192.0.2.1"),
            ("ingress-hostname-source", "Defined-Hosts-Only"),
            ("hostname", "b.example.com"),
        ],
        "spec: {rules: [{host: a.example.com}]}",
    ));
    assert_eq!(lines(&found), ["a.example.com A 192.0.2.1"]);
    assert!(found.warnings.is_empty());
}

#[test]
fn a_dns_endpoint_is_passed_on_as_it_is_written() {
    let long = format!("{}.example.com", "a".repeat(64));
    let found = run(&format!(
        "apiVersion: externaldns.k8s.io/v1alpha1\nkind: DNSEndpoint\nmetadata: {{name: x}}\nspec:\n  endpoints:
  - {{dnsName: {long}, recordType: A, targets: [192.0.2.1]}}
  - {{dnsName: b.example.com, recordType: A, targets: [192.0.2.1.]}}
  - {{dnsName: c.example.com, targets: [192.0.2.1.]}}
  - {{dnsName: d.example.com, recordType: NAPTR, targets: [x]}}
"
    ));
    assert_eq!(
        lines(&found),
        [
            format!("{long} A 192.0.2.1").as_str(),
            "b.example.com A 192.0.2.1.",
            "c.example.com A 192.0.2.1.",
            "d.example.com NAPTR x",
        ]
    );
    for endpoint in &found.endpoints {
        assert!(crate::core::endpoint::parsed::parse_endpoint(endpoint).is_err(), "{endpoint:?}");
    }
}

#[test]
fn a_name_that_is_too_long_in_a_rule_is_passed_on() {
    let long = format!("{}.example.com", "a".repeat(64));
    let spec = format!("spec: {{rules: [{{host: {long}}}]}}");
    let found = run(&ingress(&[("target", "192.0.2.1")], &spec));
    assert_eq!(lines(&found), [format!("{long} A 192.0.2.1")]);
}
