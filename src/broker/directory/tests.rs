mod quota;

use super::*;
use crate::core::endpoint::Endpoint;
use crate::core::endpoint::packed::PackedEndpoint;
use crate::core::endpoint::quota::QuotaBound;
use crate::core::testkit::{cluster, endpoint, name};
use crate::core::visibility::Visibility;
use crate::ports::{EndpointRow, PlacementRow};

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
        labels: BTreeMap::new(),
        exposure: Exposure::Both,
        quota: Quota::default(),
    };
    HashMap::from([(cluster("east"), settings)])
}

fn directory(zones: &[(&str, &str)]) -> Directory {
    let directory = Directory::new(settings("dev"));
    discover(&directory, zones);
    directory
}

fn account() -> AccountId {
    AccountId::parse("111111111111").unwrap()
}

fn discover(directory: &Directory, zones: &[(&str, &str)]) -> Vec<String> {
    let found = zones.iter().map(|(zone, apex)| facts(zone, apex)).collect();
    reviewed(
        directory,
        directory.discover(&account(), Some(found), AccountListing::Complete, Turn::Ours),
    )
}

/// The effects of a review; placements that can be decided then are stored.
fn reviewed(directory: &Directory, review: Option<DirectoryReview>) -> Vec<String> {
    let mut effects = vec![];
    if let Some(mut review) = review {
        while !review.is_over() {
            directory.review_some(&mut review, &mut effects);
        }
    }
    let mut shown: Vec<String> = effects.iter().map(show).collect();
    // Waiting and placed endpoints are reviewed one after the other, and a repetition does no harm.
    shown.dedup();
    [shown, settle(directory)].concat()
}

/// Stores all that is due, as a store that agrees.
fn settle(directory: &Directory) -> Vec<String> {
    let mut effects = vec![];
    while let Ok(due) = directory.due().take(100) {
        let decided = |held: EndpointEntry| {
            let result = directory.decision(&held)?.placing.result();
            Some((held, result))
        };
        directory.placed(due.into_iter().filter_map(decided).collect(), &mut effects);
    }
    effects.iter().map(show).collect()
}

fn put(directory: &Directory, endpoint: Endpoint) -> Vec<String> {
    put_as(directory, endpoint, 1)
}

/// A put whose placement the store keeps, if it was known.
fn put_as(directory: &Directory, endpoint: Endpoint, arrival: i64) -> Vec<String> {
    let (key, version) = (endpoint.key.hash(), endpoint.version());
    let endpoint = PackedEndpoint::pack(&endpoint);
    let put = IngestOp::Put { key, version, endpoint };
    let placings = directory.propose(&cluster("east"), std::slice::from_ref(&put));
    let outcome = match placings.is_empty() {
        false => OpOutcome::Placed { arrival },
        true => OpOutcome::Stored { arrival },
    };
    commit(directory, put, &placings, outcome)
}

fn delete(directory: &Directory, endpoint: &Endpoint) -> Vec<String> {
    apply(
        directory,
        IngestOp::Del { key: endpoint.key.hash(), version_seen: None },
        OpOutcome::Removed,
    )
}

fn apply(directory: &Directory, op: IngestOp, outcome: OpOutcome) -> Vec<String> {
    commit(directory, op, &BTreeMap::new(), outcome)
}

fn commit(
    directory: &Directory,
    op: IngestOp,
    placings: &BTreeMap<usize, PlacementDecision>,
    outcome: OpOutcome,
) -> Vec<String> {
    let mut effects = vec![];
    directory.commit(&cluster("east"), vec![op], placings, &[outcome], &mut effects);
    effects.iter().map(show).collect()
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::Contribute { placement, held, .. } if held.is_retained() => {
            format!("retained {}", placement.zone)
        }
        Effect::Contribute { placement, role: PlacementRole::Leaves, .. } => {
            format!("leaves {}", placement.zone)
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
    reviewed(&directory, directory.reconfigure(HashMap::new()));
    reviewed(&directory, directory.reconfigure(settings("dev")));
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
    let unregistered = reviewed(&directory, directory.reconfigure(HashMap::new()));
    assert_eq!(unregistered, ["retained Z1", "NO_ZONE"]);
    let moved = reviewed(&directory, directory.reconfigure(settings("prod")));
    assert_eq!(moved, ["retained Z1", "ZONE_GONE"], "another environment neither");
}

#[test]
fn a_rejected_version_stays_where_the_accepted_one_was() {
    let directory = directory(&[("Z1", "example.com")]);
    put(&directory, web("192.0.2.1"));
    assert_eq!(put(&directory, web("nonsense")), ["retained Z1", "INVALID_TARGET"]);
    assert_eq!(put(&directory, web("192.0.2.2")), ["+Z1"]);
}

fn pinned(zone: &str) -> Endpoint {
    let mut pinned = web("192.0.2.1");
    pinned.properties.insert("aws/hosted-zone-id".into(), zone.into());
    pinned
}

/// A zone's worker reports the endpoint in sync.
fn in_sync(directory: &Directory, zone: &str) {
    let verdict = Verdict::accepted(placement(zone));
    let progress = Some(entry::Progress::InSync { change_id: None });
    let status = Arc::new(Status { verdict, progress });
    directory.tell(&held(directory), &placement(zone), status, Timestamp(1));
}

#[test]
fn a_move_leaves_the_old_zone_when_it_has_arrived_in_the_new_one() {
    let directory = directory(&[("Z1", "example.com"), ("Z2", "www.example.com")]);
    assert_eq!(put(&directory, web("192.0.2.1")), ["+Z2"]);
    assert_eq!(put(&directory, pinned("Z1")), ["+Z1", "leaves Z2"]);
    in_sync(&directory, "Z2");
    assert_eq!(settle(&directory), [""; 0], "what it leaves says nothing of where it goes");
    in_sync(&directory, "Z1");
    assert_eq!(settle(&directory), ["-Z2", "+Z1"]);
    assert_eq!(delete(&directory, &pinned("Z1")), ["-Z1"]);
}

#[test]
fn a_move_that_is_deleted_on_the_way_leaves_both_zones() {
    let directory = directory(&[("Z1", "example.com"), ("Z2", "www.example.com")]);
    put(&directory, web("192.0.2.1"));
    put(&directory, pinned("Z1"));
    assert_eq!(delete(&directory, &pinned("Z1")), ["-Z1", "-Z2"]);
}

#[test]
fn an_edit_that_is_not_placed_yet_stays_where_the_version_before_was() {
    let zones = [("Z1", "example.com"), ("Z2", "www.example.com")];
    let directory = directory(&zones);
    put(&directory, web("192.0.2.1"));
    let moved = pinned("Z1");
    let op = IngestOp::Put {
        key: moved.key.hash(),
        version: moved.version(),
        endpoint: PackedEndpoint::pack(&moved),
    };
    let stored = apply(&directory, op, OpOutcome::Stored { arrival: 1 });
    assert_eq!(stored, ["retained Z2"], "the store holds nothing else yet");
    assert_eq!(settle(&directory), ["+Z1", "leaves Z2"]);
}

#[test]
fn split_horizon_is_one_endpoint_in_several_zones_with_a_status_for_each() {
    let directory = directory(&[("Z1", "example.com")]);
    let private = ZoneFacts { visibility: Visibility::Private, ..facts("Z2", "example.com") };
    let zones = vec![facts("Z1", "example.com"), private];
    directory.discover(&account(), Some(zones), AccountListing::Complete, Turn::Ours);
    assert_eq!(put(&directory, web("192.0.2.1")), ["+Z1", "+Z2"]);
    let progress = || held(&directory).status().and_then(|status| status.progress.clone());
    in_sync(&directory, "Z1");
    assert!(matches!(progress(), Some(entry::Progress::Pending { .. })), "{:?}", progress());
    in_sync(&directory, "Z2");
    assert!(held(&directory).is_in_sync());
    let refused = Status::of(Verdict::waiting(
        crate::core::endpoint::verdict::Reason::NameHeld,
        "another holds it",
        Some(placement("Z2")),
    ));
    directory.tell(&held(&directory), &placement("Z2"), Arc::new(refused), Timestamp(2));
    let whole = held(&directory).status().unwrap();
    assert_eq!(whole.verdict.message, "in the zone Z2: another holds it");
    let parts = directory.cluster(&cluster("east")).parts(&web("").key.hash());
    assert_eq!(parts.len(), 2);
}

#[test]
fn a_zone_that_was_made_again_takes_its_names_on_an_operators_word_and_never_its_parent() {
    let directory = directory(&[("Z1", "example.com"), ("Z2", "www.example.com")]);
    put(&directory, web("192.0.2.1"));
    assert_eq!(discover(&directory, &[("Z1", "example.com")]), ["retained Z2", "ZONE_GONE"]);
    let reroute = |reach| {
        let mut effects = vec![];
        let count = directory.reroute(&name("www.example.com"), reach, &mut effects);
        (count, effects.iter().map(show).collect::<Vec<_>>(), settle(&directory))
    };
    assert_eq!(reroute(NameReach::Name), (0, vec![], vec![]), "the parent's zone is another place");
    let again = [("Z1", "example.com"), ("Z3", "www.example.com")];
    assert!(discover(&directory, &again).iter().all(|shown| !shown.starts_with('+')));
    let (count, held, settled) = reroute(NameReach::Below);
    assert_eq!((count, held), (1, vec!["retained Z2".to_owned()]));
    assert_eq!(settled, ["+Z3", "leaves Z2"]);
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
    assert_eq!(
        discover(&directory, &[("Z1", "example.com"), ("Z2", "example.org")]),
        ["+Z2"],
        "only what lies there is looked at"
    );
    assert_eq!(found("www.example.org"), 0, "it has found its zone");
    delete(&directory, &elsewhere("b", "..."));
    assert_eq!(found("..."), 0);
}

/// A placement in the store, decided for a version or by a release that did not keep which.
fn placed_in(zone: &str, sequence: u32, version: Option<Version>) -> Option<PlacementRow> {
    let set = PlacementSet::one(placement(zone));
    Some(PlacementRow { version, placement: StoredPlacement { sequence, set } })
}

fn load(directory: &Directory, endpoint: &Endpoint, placed: Option<PlacementRow>) -> Vec<String> {
    let mut effects = vec![];
    let mut loader = Loader::default();
    loader.take(directory, [EndpointRow { placed, ..row(endpoint, 3, None) }], &mut effects);
    loader.finish(directory);
    effects.iter().map(show).collect()
}

#[test]
fn a_stored_placement_is_kept_at_start() {
    let directory = directory(&[("Z1", "example.com"), ("Z2", "www.example.com")]);
    let web = web("192.0.2.1");
    assert_eq!(load(&directory, &web, placed_in("Z1", 1, Some(web.version()))), ["+Z1"]);
    assert_eq!(
        (directory.endpoint_count(&cluster("east")), directory.digest(&cluster("east")).count()),
        (1, 1)
    );
    assert_eq!(settle(&directory), [""; 0]);
}

#[test]
fn the_placement_of_the_version_before_only_protects_what_is_there() {
    let directory = directory(&[("Z1", "example.com"), ("Z2", "www.example.com")]);
    let before = placed_in("Z2", 1, Some(web("192.0.2.1").version()));
    assert_eq!(load(&directory, &pinned("Z1"), before), ["retained Z2"]);
    assert_eq!(settle(&directory), ["+Z1", "leaves Z2"]);
}

#[test]
fn a_placement_of_unknown_version_is_trusted_where_it_fits() {
    let directory = directory(&[("Z1", "example.com"), ("Z2", "www.example.com")]);
    assert_eq!(load(&directory, &web("192.0.2.1"), placed_in("Z1", 0, None)), ["+Z1"]);
    assert_eq!(settle(&directory), ["+Z1"], "and is kept with its version from now on");
    assert_eq!(settle(&directory), [""; 0]);
}

#[test]
fn a_placement_of_unknown_version_that_does_not_fit_is_decided_anew_and_left_when_that_is_in_sync()
{
    let directory = directory(&[("Z1", "example.com"), ("Z2", "www.example.com")]);
    assert_eq!(load(&directory, &pinned("Z1"), placed_in("Z2", 0, None)), ["retained Z2"]);
    assert_eq!(settle(&directory), ["+Z1", "leaves Z2"]);
    in_sync(&directory, "Z1");
    assert_eq!(settle(&directory), ["-Z2", "+Z1"]);
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
        placed: None,
        updated_at: Timestamp(0),
    }
}

/// The same, placed in Z1.
fn placed_row(endpoint: &Endpoint, arrival: i64) -> EndpointRow {
    EndpointRow {
        placed: placed_in("Z1", 1, Some(endpoint.version())),
        ..row(endpoint, arrival, None)
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
        let news = EndpointNews::Stored(placed_row(&web(target), 1));
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
    follow(&here, EndpointNews::Stored(placed_row(&web("192.0.2.1"), 1)));
    assert_eq!(
        follow(&here, EndpointNews::Stored(placed_row(&web("192.0.2.1"), 2))),
        ["-Z1", "+Z1"]
    );
}

#[test]
fn where_an_endpoint_goes_is_what_the_store_says_and_nothing_before_that() {
    // A closer zone is known here, which the replica that decided did not know.
    let here = directory(&[("Z1", "example.com"), ("Z2", "www.example.com")]);
    let web = web("192.0.2.1");
    assert_eq!(follow(&here, EndpointNews::Stored(row(&web, 1, None))), [""; 0]);
    assert_eq!(here.unplaced("www.example.com").len(), 1);
    assert!(matches!(here.due().take(10), Err(Some(_))), "it is left to the other for a while");
    let placed = EndpointNews::Placed(placed_row(&web, 1));
    assert_eq!(follow(&here, placed.clone()), ["+Z1"]);
    assert_eq!(follow(&here, placed), [""; 0], "told twice it means nothing more");
}

#[test]
fn a_later_placement_counts_and_one_of_another_content_says_nothing() {
    let here = directory(&[("Z1", "example.com"), ("Z2", "www.example.com")]);
    let web = web("192.0.2.1");
    let at = |zone: &str, sequence| {
        let placed = placed_in(zone, sequence, Some(web.version()));
        EndpointNews::Placed(EndpointRow { placed, ..row(&web, 1, None) })
    };
    follow(&here, EndpointNews::Stored(placed_row(&web, 1)));
    assert_eq!(follow(&here, at("Z2", 2)), ["-Z1", "+Z2"]);
    assert_eq!(follow(&here, at("Z1", 1)), [""; 0]);
    let other = placed_row(&pinned("Z1"), 1);
    assert_eq!(follow(&here, EndpointNews::Placed(other)), [""; 0]);
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
        put_as(&here, endpoint, i64::try_from(object).unwrap());
    }
    put(&here, endpoint("elsewhere", "www.example.org", "A", &["192.0.2.1"]));
    let found = |account: &str| {
        let mut walk = here.walk(BTreeSet::from([AccountId::parse(account).unwrap()]));
        std::iter::from_fn(|| here.contributions(&mut walk)).flatten().count()
    };
    assert_eq!((found("111111111111"), found("222222222222")), (3 * LOOK_PAGE, 0));
}

#[test]
fn an_endpoint_that_is_said_again_as_it_was_stays_where_its_zone_was() {
    let directory = directory(&[("Z1", "example.com")]);
    put(&directory, web("192.0.2.1"));
    assert_eq!(discover(&directory, &[("Z2", "example.com")]), ["retained Z1", "ZONE_GONE"]);
    assert_eq!(put(&directory, web("192.0.2.1")), ["retained Z1", "ZONE_GONE"]);
    let moved = put(&directory, web("192.0.2.2"));
    assert!(moved.contains(&"+Z2".to_owned()), "other content is asked: {moved:?}");
}

#[test]
fn a_decision_is_asked_again_when_it_rests_on_something_else_than_what_is_known_at_its_commit() {
    let endpoint = web("192.0.2.1");
    let (key, version) = (endpoint.key.hash(), endpoint.version());
    let packed = PackedEndpoint::pack(&endpoint);
    let op = || IngestOp::Put { key, version, endpoint: packed.clone() };
    let placed = OpOutcome::Placed { arrival: 1 };
    for (changes, expected) in [(false, vec!["+Z1"]), (true, vec!["retained Z1", "ZONE_GONE"])] {
        let directory = directory(&[("Z1", "example.com")]);
        let placings = directory.propose(&cluster("east"), &[op()]);
        if changes {
            reviewed(&directory, directory.reconfigure(settings("prod")));
        }
        assert_eq!(commit(&directory, op(), &placings, placed), expected);
    }
}
