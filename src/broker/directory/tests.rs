use super::*;
use crate::core::endpoint::Endpoint;
use crate::core::endpoint::packed::PackedEndpoint;
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
    let settings = ClusterSettings {
        environment: EnvironmentId::parse(environment).unwrap(),
        visibility: Visibility::Public,
        labels: BTreeMap::new(),
    };
    HashMap::from([(cluster("east"), settings)])
}

fn directory(zones: &[(&str, &str)]) -> Directory {
    let directory = Directory::new(settings("dev"));
    discover(&directory, zones);
    directory
}

fn discover(directory: &Directory, zones: &[(&str, &str)]) -> Vec<String> {
    let found = zones.iter().map(|(zone, apex)| facts(zone, apex)).collect();
    let mut effects = vec![];
    directory.discover(&AccountId::parse("111111111111").unwrap(), found, &mut effects);
    effects.iter().map(show).collect()
}

fn put(directory: &Directory, endpoint: Endpoint) -> Vec<String> {
    let (key, version) = (endpoint.key.hash(), endpoint.version());
    let op = IngestOp::Put { key, version, endpoint: PackedEndpoint::pack(&endpoint) };
    apply(directory, op, OpOutcome::Stored { arrival: 1 })
}

fn delete(directory: &Directory, endpoint: &Endpoint) -> Vec<String> {
    apply(
        directory,
        IngestOp::Del { key: endpoint.key.hash(), version_seen: None },
        OpOutcome::Removed,
    )
}

fn apply(directory: &Directory, op: IngestOp, outcome: OpOutcome) -> Vec<String> {
    let mut effects = vec![];
    directory.commit(&cluster("east"), vec![op], &[outcome], &mut effects);
    effects.iter().map(show).collect()
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::Contribute { placement, held, .. } if held.is_retained() => {
            format!("retained {}", placement.zone)
        }
        Effect::Contribute { placement, .. } => format!("+{}", placement.zone),
        Effect::Withdraw { placement, .. } => format!("-{}", placement.zone),
        Effect::Judge { verdict, .. } => verdict.reason.as_str().to_owned(),
    }
}

fn web(target: &str) -> Endpoint {
    endpoint("web", "www.example.com", "A", &[target])
}

#[test]
fn an_endpoint_goes_to_its_zone_and_leaves_it_when_it_is_deleted() {
    let directory = directory(&[("Z1", "example.com")]);
    assert_eq!(put(&directory, web("192.0.2.1")), ["+Z1"]);
    assert_eq!(delete(&directory, &web("192.0.2.1")), ["-Z1"]);
    assert!(directory.digest(&cluster("east")).is_empty());
}

#[test]
fn an_endpoint_without_a_zone_waits_until_there_is_one() {
    let directory = directory(&[]);
    assert_eq!(put(&directory, web("192.0.2.1")), ["NO_ZONE"]);
    assert_eq!(discover(&directory, &[("Z1", "example.com")]), ["+Z1"]);
}

#[test]
fn a_closer_zone_moves_nothing() {
    let directory = directory(&[("Z1", "example.com")]);
    put(&directory, web("192.0.2.1"));
    held(&directory).set_kept(7);
    assert_eq!(put(&directory, web("192.0.2.2")), ["+Z1"]);
    assert!(discover(&directory, &[("Z1", "example.com"), ("Z2", "www.example.com")]).is_empty());
    assert_eq!(put(&directory, web("192.0.2.3")), ["+Z1"]);
}

#[test]
fn the_same_put_again_keeps_what_was_said_of_it() {
    let directory = directory(&[("Z1", "example.com")]);
    put(&directory, web("192.0.2.1"));
    held(&directory).set_kept(7);
    assert_eq!((put(&directory, web("192.0.2.1")), held(&directory).kept()), (vec![], 7));
    directory.reconfigure(HashMap::new(), &mut vec![]);
    directory.reconfigure(settings("dev"), &mut vec![]);
    assert_eq!(put(&directory, web("192.0.2.1")), [""; 0], "it has its place again");
}

#[test]
fn a_zone_that_vanishes_withdraws_nothing() {
    let directory = directory(&[("Z1", "example.com")]);
    put(&directory, web("192.0.2.1"));
    assert_eq!(discover(&directory, &[]), ["retained Z1", "ZONE_GONE"]);
    assert_eq!(discover(&directory, &[("Z1", "example.com")]), ["+Z1"]);
}

#[test]
fn a_cluster_that_is_no_longer_configured_withdraws_nothing() {
    let directory = directory(&[("Z1", "example.com")]);
    put(&directory, web("192.0.2.1"));
    let mut effects = vec![];
    directory.reconfigure(HashMap::new(), &mut effects);
    assert_eq!(effects.iter().map(show).collect::<Vec<_>>(), ["retained Z1", "NO_ZONE"]);
    effects.clear();
    directory.reconfigure(settings("prod"), &mut effects);
    assert_eq!(
        effects.iter().map(show).collect::<Vec<_>>(),
        ["retained Z1", "NO_ZONE"],
        "another environment neither"
    );
}

#[test]
fn a_rejected_version_stays_where_the_accepted_one_was() {
    let directory = directory(&[("Z1", "example.com")]);
    put(&directory, web("192.0.2.1"));
    assert_eq!(put(&directory, web("nonsense")), ["retained Z1", "INVALID_TARGET"]);
    assert_eq!(put(&directory, web("192.0.2.2")), ["+Z1"]);
}

#[test]
fn a_pin_moves_an_endpoint_because_it_was_written() {
    let directory = directory(&[("Z1", "example.com"), ("Z2", "www.example.com")]);
    let mut pinned = web("192.0.2.1");
    assert_eq!(put(&directory, pinned.clone()), ["+Z2"]);
    pinned.properties.insert("aws/hosted-zone-id".into(), "Z1".into());
    assert_eq!(put(&directory, pinned), ["-Z2", "+Z1"]);
}

#[test]
fn the_digest_follows_what_was_committed() {
    let directory = directory(&[("Z1", "example.com")]);
    put(&directory, web("192.0.2.1"));
    put(&directory, web("192.0.2.2"));
    let mut expected = SetDigest::default();
    expected.insert(&web("").key.hash(), &web("192.0.2.2").version());
    assert_eq!(directory.digest(&cluster("east")).root(), expected.root());
}

#[test]
fn pages_in_a_row_are_all_endpoints_once() {
    let directory = directory(&[("Z1", "example.com")]);
    for index in 0..25 {
        put(&directory, endpoint(&format!("web-{index}"), "www.example.com", "A", &["192.0.2.1"]));
    }
    let (mut seen, mut after) = (vec![], None);
    loop {
        let page = directory.cluster(&cluster("east")).page(after.as_ref(), 10);
        let Some(last) = page.last() else { break };
        after = Some(last.key_hash());
        seen.extend(page.iter().map(EndpointEntry::key_hash));
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert_eq!(directory.clusters(), [cluster("east")]);
}

#[test]
fn what_contributes_nowhere_is_found_by_its_name() {
    let directory = directory(&[("Z1", "example.com")]);
    let elsewhere = |object: &str, name: &str| endpoint(object, name, "A", &["192.0.2.1"]);
    put(&directory, web("192.0.2.1"));
    put(&directory, elsewhere("a", "WWW.example.org."));
    put(&directory, elsewhere("b", "..."));
    let found = |name: &str| directory.unplaced(name).len();
    assert_eq!((found("www.example.com"), found("www.example.org"), found("...")), (0, 1, 1));
    discover(&directory, &[("Z1", "example.com"), ("Z2", "example.org")]);
    assert_eq!(found("www.example.org"), 0, "it has found its zone");
    delete(&directory, &elsewhere("b", "..."));
    assert_eq!(found("..."), 0);
}

#[test]
fn a_stored_placement_is_kept_at_start() {
    let directory = directory(&[("Z1", "example.com"), ("Z2", "www.example.com")]);
    let (endpoint, mut effects) = (web("192.0.2.1"), vec![]);
    let mut loader = Loader::default();
    let row = EndpointRow {
        cluster: cluster("east"),
        key: endpoint.key.hash(),
        version: endpoint.version(),
        arrival: 3,
        verdict: Some(Verdict::accepted(Placement {
            account: AccountId::parse("111111111111").unwrap(),
            zone: ZoneId::parse("Z1").unwrap(),
        })),
        endpoint: PackedEndpoint::pack(&endpoint),
        updated_at: crate::core::time::Timestamp(0),
    };
    loader.take(&directory, row, &mut effects);
    loader.finish(&directory);
    assert_eq!(effects.iter().map(show).collect::<Vec<_>>(), ["+Z1"]);
    assert_eq!(
        (directory.endpoint_count(&cluster("east")), directory.digest(&cluster("east")).count()),
        (1, 1)
    );
}

/// The endpoint as the store holds it for the cluster east.
pub(in crate::broker) fn row(
    endpoint: &Endpoint,
    arrival: i64,
    verdict: Option<Verdict>,
) -> EndpointRow {
    EndpointRow {
        cluster: cluster("east"),
        key: endpoint.key.hash(),
        version: endpoint.version(),
        arrival,
        endpoint: PackedEndpoint::pack(endpoint),
        verdict,
        updated_at: crate::core::time::Timestamp(0),
    }
}

fn follow(directory: &Directory, news: EndpointNews) -> Vec<String> {
    let mut effects = vec![];
    directory.follow(news, &mut effects);
    effects.iter().map(show).collect()
}

#[test]
fn what_another_replica_committed_means_the_same_here() {
    let zones = [("Z1", "example.com")];
    let (there, here) = (directory(&zones), directory(&zones));
    for target in ["192.0.2.1", "192.0.2.2"] {
        let news = EndpointNews::Stored(row(&web(target), 1, None));
        assert_eq!(follow(&here, news.clone()), put(&there, web(target)));
        assert_eq!(follow(&here, news.clone()), [""; 0], "told twice it means nothing more");
        assert_eq!(here.follow(news, &mut vec![]).map(|same| same.endpoint()), Some(web(target)));
        assert_eq!(here.digest(&cluster("east")).root(), there.digest(&cluster("east")).root());
    }
    let gone = EndpointNews::Removed { cluster: cluster("east"), key: web("192.0.2.2").key.hash() };
    assert_eq!(follow(&here, gone.clone()), delete(&there, &web("192.0.2.2")));
    assert_eq!((follow(&here, gone), here.endpoint_count(&cluster("east"))), (vec![], 0));
}

#[test]
fn an_endpoint_that_came_back_takes_the_place_of_the_one_whose_end_was_not_told() {
    let here = directory(&[("Z1", "example.com")]);
    follow(&here, EndpointNews::Stored(row(&web("192.0.2.1"), 1, None)));
    assert_eq!(
        follow(&here, EndpointNews::Stored(row(&web("192.0.2.1"), 2, None))),
        ["-Z1", "+Z1"]
    );
}

#[test]
fn where_an_endpoint_went_is_decided_where_it_was_written() {
    // A closer zone was found meanwhile, which is no reason to move.
    let here = directory(&[("Z1", "example.com"), ("Z2", "www.example.com")]);
    let placement = Placement {
        account: AccountId::parse("111111111111").unwrap(),
        zone: ZoneId::parse("Z1").unwrap(),
    };
    let stored = row(&web("192.0.2.1"), 1, Some(Verdict::accepted(placement)));
    assert_eq!(follow(&here, EndpointNews::Stored(stored)), ["+Z1"]);
    assert_eq!(
        follow(&here, EndpointNews::Stored(row(&web("192.0.2.2"), 1, None))),
        ["+Z1"],
        "nor is another version"
    );
}

fn placement(zone: &str) -> Placement {
    Placement {
        account: AccountId::parse("111111111111").unwrap(),
        zone: ZoneId::parse(zone).unwrap(),
    }
}

fn held(directory: &Directory) -> EndpointEntry {
    directory.cluster(&cluster("east")).get(&web("").key.hash()).unwrap()
}

/// What follows when another replica says where it has placed the endpoint.
fn agree(directory: &Directory, ours_is: Belief, theirs: &str) -> (Agreement, Vec<String>) {
    let mut effects = vec![];
    let agreement = directory.agree(&held(directory), &placement(theirs), ours_is, &mut effects);
    (agreement, effects.iter().map(show).collect())
}

#[test]
fn replicas_that_knew_of_different_zones_agree_where_an_endpoint_goes() {
    let zones = [("Z1", "example.com"), ("Z2", "www.example.com")];
    let (early, late) = (directory(&zones[..1]), directory(&zones));
    assert_eq!(
        (put(&early, web("192.0.2.1")), put(&late, web("192.0.2.1"))),
        (vec!["+Z1".to_owned()], vec!["+Z2".to_owned()])
    );
    assert_eq!(
        agree(&early, Belief::Idle, "Z2"),
        (Agreement::OursCounts, vec![]),
        "of that zone nobody has told it"
    );
    held(&early).set_kept(7);
    assert_eq!(discover(&early, &zones), [""; 0]);
    assert_eq!(agree(&late, Belief::GoneBy, "Z1"), (Agreement::OursCounts, vec![]));
    assert_eq!(
        agree(&early, Belief::GoneBy, "Z2"),
        (Agreement::Agreed, vec!["-Z1".to_owned(), "+Z2".to_owned()])
    );
    assert_eq!(
        agree(&early, Belief::GoneBy, "Z2"),
        (Agreement::Agreed, vec![]),
        "said twice it changes nothing"
    );
}

#[test]
fn a_place_that_nobody_goes_by_gives_way_to_one_that_is_said() {
    let late = directory(&[("Z1", "example.com"), ("Z2", "www.example.com")]);
    assert_eq!(put(&late, web("192.0.2.1")), ["+Z2"]);
    assert_eq!(
        agree(&late, Belief::Idle, "Z1"),
        (Agreement::Agreed, vec!["-Z2".to_owned(), "+Z1".to_owned()])
    );
}

#[test]
fn an_endpoint_that_nobody_has_said_anything_of_is_bound_to_no_place() {
    let here = directory(&[("Z1", "example.com")]);
    assert_eq!(put(&here, web("192.0.2.1")), ["+Z1"]);
    assert_eq!(
        discover(&here, &[("Z1", "example.com"), ("Z2", "www.example.com")]),
        ["-Z1", "+Z2"]
    );
}

#[test]
fn a_deletion_whose_answer_was_lost_is_one() {
    let here = directory(&[("Z1", "example.com")]);
    let (old, new) = (web("192.0.2.1"), web("192.0.2.2"));
    put(&here, new.clone());
    let del = |seen: Option<&Endpoint>| IngestOp::Del {
        key: new.key.hash(),
        version_seen: seen.map(Endpoint::version),
    };
    assert_eq!(
        apply(&here, del(Some(&old)), OpOutcome::Unchanged),
        [""; 0],
        "another version is there"
    );
    assert_eq!(apply(&here, del(Some(&new)), OpOutcome::Unchanged), ["-Z1"]);
    assert_eq!(apply(&here, del(None), OpOutcome::Unchanged), [""; 0]);
}

#[test]
fn a_walk_goes_past_everything_that_contributes_to_the_accounts_that_are_asked_for() {
    let here = directory(&[("Z1", "example.com")]);
    for object in 0..3 * LOOK_PAGE {
        let endpoint = endpoint(
            &format!("web-{object}"),
            &format!("n{object}.example.com"),
            "A",
            &["192.0.2.1"],
        );
        let op = IngestOp::Put {
            key: endpoint.key.hash(),
            version: endpoint.version(),
            endpoint: PackedEndpoint::pack(&endpoint),
        };
        apply(&here, op, OpOutcome::Stored { arrival: i64::try_from(object).unwrap() });
    }
    put(&here, endpoint("elsewhere", "www.example.org", "A", &["192.0.2.1"]));
    let found = |account: &str| {
        let mut walk = here.walk(BTreeSet::from([AccountId::parse(account).unwrap()]));
        std::iter::from_fn(|| here.contributions(&mut walk)).flatten().count()
    };
    assert_eq!((found("111111111111"), found("222222222222")), (3 * LOOK_PAGE, 0));
}
