use super::*;
use crate::core::packed::PackedEndpoint;
use crate::core::testkit::{cluster, endpoint, name};

fn facts(zone: &str, apex: &str) -> ZoneFacts {
    ZoneFacts {
        account: AccountId::parse("111111111111").unwrap(),
        environment: EnvironmentId::parse("dev").unwrap(),
        zone: ZoneId::parse(zone).unwrap(),
        name: name(apex),
        visibility: Visibility::Public,
        visible: true,
    }
}

fn settings(environment: &str) -> HashMap<ClusterId, ClusterSettings> {
    let settings = ClusterSettings { environment: EnvironmentId::parse(environment).unwrap(), visibility: Visibility::Public };
    HashMap::from([(cluster("east"), settings)])
}

fn directory(zones: &[(&str, &str)]) -> Directory {
    let mut directory = Directory::new(settings("dev"));
    discover(&mut directory, zones);
    directory
}

fn discover(directory: &mut Directory, zones: &[(&str, &str)]) -> Vec<String> {
    let found = zones.iter().map(|(zone, apex)| facts(zone, apex)).collect();
    let mut effects = vec![];
    directory.discover(&AccountId::parse("111111111111").unwrap(), found, &mut effects);
    effects.iter().map(show).collect()
}

fn put(directory: &mut Directory, endpoint: Endpoint) -> Vec<String> {
    let op = IngestOp::Put { key: endpoint.key.hash(), version: endpoint.version(), endpoint: PackedEndpoint::pack(&endpoint) };
    apply(directory, op, OpOutcome::Stored { arrival: 1 })
}

fn delete(directory: &mut Directory, endpoint: &Endpoint) -> Vec<String> {
    apply(directory, IngestOp::Del { key: endpoint.key.hash(), version_seen: None }, OpOutcome::Removed)
}

fn apply(directory: &mut Directory, op: IngestOp, outcome: OpOutcome) -> Vec<String> {
    let mut effects = vec![];
    directory.commit(&cluster("east"), vec![op], &[outcome], &mut effects);
    effects.iter().map(show).collect()
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::Contribute { placement, contribution, .. } if contribution.wish.is_some() => format!("+{}", placement.zone),
        Effect::Contribute { placement, .. } => format!("frozen {}", placement.zone),
        Effect::Withdraw { placement, .. } => format!("-{}", placement.zone),
        Effect::Judge { verdict, .. } => verdict.reason.as_str().to_owned(),
        Effect::Forget { .. } => "forget".to_owned(),
    }
}

fn web(target: &str) -> Endpoint {
    endpoint("web", "www.example.com", "A", &[target])
}

#[test]
fn an_endpoint_goes_to_its_zone_and_leaves_it_when_it_is_deleted() {
    let mut directory = directory(&[("Z1", "example.com")]);
    assert_eq!(put(&mut directory, web("192.0.2.1")), ["+Z1"]);
    assert_eq!(delete(&mut directory, &web("192.0.2.1")), ["-Z1", "forget"]);
    assert!(directory.digest(&cluster("east")).is_empty());
}

#[test]
fn an_endpoint_without_a_zone_waits_until_there_is_one() {
    let mut directory = directory(&[]);
    assert_eq!(put(&mut directory, web("192.0.2.1")), ["NO_ZONE"]);
    assert_eq!(discover(&mut directory, &[("Z1", "example.com")]), ["+Z1"]);
}

#[test]
fn a_closer_zone_moves_nothing() {
    let mut directory = directory(&[("Z1", "example.com")]);
    put(&mut directory, web("192.0.2.1"));
    assert_eq!(discover(&mut directory, &[("Z1", "example.com"), ("Z2", "www.example.com")]), ["+Z1"]);
    assert_eq!(put(&mut directory, web("192.0.2.2")), ["+Z1"]);
}

#[test]
fn a_zone_that_vanishes_withdraws_nothing() {
    let mut directory = directory(&[("Z1", "example.com")]);
    put(&mut directory, web("192.0.2.1"));
    assert_eq!(discover(&mut directory, &[]), ["frozen Z1", "ZONE_GONE"]);
    assert_eq!(discover(&mut directory, &[("Z1", "example.com")]), ["+Z1"]);
}

#[test]
fn a_cluster_that_is_no_longer_configured_withdraws_nothing() {
    let mut directory = directory(&[("Z1", "example.com")]);
    put(&mut directory, web("192.0.2.1"));
    let mut effects = vec![];
    directory.reconfigure(HashMap::new(), &mut effects);
    assert_eq!(effects.iter().map(show).collect::<Vec<_>>(), ["frozen Z1", "NO_ZONE"]);
    effects.clear();
    directory.reconfigure(settings("prod"), &mut effects);
    assert_eq!(effects.iter().map(show).collect::<Vec<_>>(), ["frozen Z1", "NO_ZONE"], "another environment neither");
}

#[test]
fn a_rejected_version_stays_where_the_accepted_one_was() {
    let mut directory = directory(&[("Z1", "example.com")]);
    put(&mut directory, web("192.0.2.1"));
    assert_eq!(put(&mut directory, web("nonsense")), ["frozen Z1", "INVALID_TARGET"]);
    assert_eq!(put(&mut directory, web("192.0.2.2")), ["+Z1"]);
}

#[test]
fn a_pin_moves_an_endpoint_because_it_was_written() {
    let mut directory = directory(&[("Z1", "example.com"), ("Z2", "www.example.com")]);
    let mut pinned = web("192.0.2.1");
    assert_eq!(put(&mut directory, pinned.clone()), ["+Z2"]);
    pinned.properties.insert("aws/hosted-zone-id".into(), "Z1".into());
    assert_eq!(put(&mut directory, pinned), ["-Z2", "+Z1"]);
}

#[test]
fn the_digest_follows_what_was_committed() {
    let mut directory = directory(&[("Z1", "example.com")]);
    put(&mut directory, web("192.0.2.1"));
    put(&mut directory, web("192.0.2.2"));
    let mut expected = SetDigest::default();
    expected.insert(&web("").key.hash(), &web("192.0.2.2").version());
    assert_eq!(directory.digest(&cluster("east")).root(), expected.root());
}

#[test]
fn pages_in_a_row_are_all_endpoints_once() {
    let mut directory = directory(&[("Z1", "example.com")]);
    for index in 0..25 {
        put(&mut directory, endpoint(&format!("web-{index}"), "www.example.com", "A", &["192.0.2.1"]));
    }
    let (mut seen, mut after) = (vec![], None);
    loop {
        let page = directory.page(&cluster("east"), after.as_ref(), 10);
        let Some((last, ..)) = page.last() else { break };
        after = Some(*last);
        seen.extend(page.into_iter().map(|(key, ..)| key));
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert_eq!(directory.clusters().collect::<Vec<_>>(), [&cluster("east")]);
}
