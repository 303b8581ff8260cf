use std::collections::BTreeMap;

use super::*;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RecordData, RecordKey, RecordType};
use crate::core::endpoint::Endpoint;
use crate::core::endpoint::parsed::parse_endpoint;
use crate::core::endpoint::verdict::VerdictState;
use crate::core::ids::BatchId;
use crate::core::planning::decision::Retained;
use crate::core::planning::observed::{Observed, Ownership};
use crate::core::planning::policy::MergePolicy;
use crate::core::planning::record_types::RecordTypes;
use crate::core::testkit::{cluster, contribution, endpoint, name, zone_context};
use crate::core::visibility::Visibility;

#[path = "claims_around_tests.rs"]
mod around;

fn at(claimed_by: Option<&str>, contributions: &[Contribution]) -> NameDecision {
    decide(&zone_context(), "www.example.com", claimed_by, contributions, &[])
}

/// `standing` are endpoints whose sets Zonefold holds in Route 53 for the cluster east.
fn decide(
    zone: &ZoneContext,
    at: &str,
    claimed_by: Option<&str>,
    contributions: &[Contribution],
    standing: &[Endpoint],
) -> NameDecision {
    let observed: BTreeMap<RecordKey, Observed> = standing
        .iter()
        .flat_map(|endpoint| {
            parse_endpoint(endpoint).unwrap().record_sets(zone.zone(), zone.default_ttl_secs)
        })
        .map(|set| {
            let owner = Ownership { cluster: cluster("east"), batch: BatchId(uuid::Uuid::nil()) };
            let observed = Observed { raw: set.to_raw(), owner: Some(owner), drift: None };
            (set.key, observed)
        })
        .collect();
    decide_name(&NameInput {
        zone,
        name: &name(at),
        claimed_by: claimed_by.map(cluster).as_ref(),
        claimed_since: None,
        contributions,
        observed: &observed,
        around: &NoOtherNames,
    })
}

fn verdict(decision: &NameDecision, index: usize) -> (VerdictState, Reason) {
    let (_, verdict) = decision.verdicts.iter().find(|(at, _)| *at == index).unwrap();
    (verdict.state, verdict.reason)
}

fn web(object: &str, target: &str) -> Endpoint {
    endpoint(object, "www.example.com", "A", &[target])
}

#[test]
fn the_first_cluster_holds_the_name_and_the_loser_sees_who() {
    let decision = at(
        None,
        &[
            contribution("west", 2, web("web", "192.0.2.2")),
            contribution("east", 1, web("web", "192.0.2.1")),
        ],
    );
    assert_eq!(decision.holder, Some(cluster("east")));
    assert_eq!(verdict(&decision, 0), (VerdictState::Waiting, Reason::NameHeld));
    assert!(
        decision
            .verdicts
            .iter()
            .any(|(_, v)| v.message.contains("cluster east for ingress/default/web"))
    );
    assert_eq!(decision.desired.len(), 1);
}

#[test]
fn a_claim_is_kept_against_an_older_arrival() {
    let decision = at(
        Some("west"),
        &[
            contribution("west", 2, web("web", "192.0.2.2")),
            contribution("east", 1, web("web", "192.0.2.1")),
        ],
    );
    assert_eq!(decision.holder, Some(cluster("west")));
}

#[test]
fn a_name_passes_on_when_its_holder_gives_it_up() {
    let decision = at(
        Some("west"),
        &[
            contribution("east", 9, web("web", "192.0.2.1")),
            contribution("north", 3, web("web", "192.0.2.3")),
        ],
    );
    assert_eq!(decision.holder, Some(cluster("north")));
}

#[test]
fn a_cluster_that_only_leaves_keeps_nobody_out_and_what_it_made_stays_until_then() {
    let leaving = || Contribution {
        parsed: None,
        leaves: true,
        ..contribution("east", 1, web("web", "192.0.2.1"))
    };
    let holder = |contributions: &[Contribution]| {
        at(Some("east"), contributions).holder.map(|cluster| cluster.to_string())
    };
    let alone = at(Some("east"), &[leaving()]);
    assert_eq!(alone.holder, Some(cluster("east")));
    assert!(!alone.retained.is_empty());
    let west = contribution("west", 2, web("web", "192.0.2.2"));
    let passed = at(Some("east"), &[leaving(), west.clone()]);
    assert_eq!(passed.holder, Some(cluster("west")));
    assert!(passed.retained.is_empty() && passed.desired.len() == 1, "{passed:?}");
    // One that comes to the zone, or is written wrongly here, is there as before.
    let comes = contribution("east", 3, web("other", "192.0.2.3"));
    assert_eq!(holder(&[leaving(), west.clone(), comes]).as_deref(), Some("east"));
    let wrong = contribution("east", 3, web("other", "192.0.2.300"));
    assert_eq!(holder(&[leaving(), west, wrong]).as_deref(), Some("east"));
}

#[test]
fn a_rejected_version_wins_no_name() {
    let decision = at(
        None,
        &[
            contribution("east", 1, web("web", "nonsense")),
            contribution("west", 2, web("web", "192.0.2.2")),
        ],
    );
    assert_eq!(decision.holder, Some(cluster("west")));
}

#[test]
fn a_rejected_version_of_the_holder_keeps_the_name_and_freezes_what_is_there() {
    let decision = at(
        Some("east"),
        &[
            contribution("east", 1, web("web", "nonsense")),
            contribution("west", 2, web("web", "192.0.2.2")),
        ],
    );
    assert_eq!(decision.holder, Some(cluster("east")));
    assert!(decision.desired.is_empty());
    let kept = Retained { values: Some(Retention::Firm), alias: Some(Retention::Firm) };
    assert_eq!(decision.retained, BTreeMap::from([((RecordType::A, None), kept)]));
}

#[test]
fn objects_of_one_cluster_add_up() {
    let decision = at(
        None,
        &[
            contribution("east", 1, web("one", "192.0.2.1")),
            contribution("east", 2, web("two", "192.0.2.2")),
        ],
    );
    let desired = decision.desired.values().next().unwrap();
    assert_eq!(desired.from, [0, 1]);
    assert!(matches!(&desired.set.data, RecordData::Values { values, .. } if values.len() == 2));
}

#[test]
fn rfc1034_3_6_2_a_cname_beside_an_address_waits() {
    let decision = at(
        None,
        &[
            contribution("east", 1, web("one", "192.0.2.1")),
            contribution(
                "east",
                2,
                endpoint("two", "www.example.com", "CNAME", &["other.example.net"]),
            ),
        ],
    );
    assert_eq!(verdict(&decision, 1), (VerdictState::Waiting, Reason::ConflictInCluster));
    assert_eq!(decision.desired.len(), 1);
}

#[test]
fn a_cname_at_the_apex_is_rejected() {
    let apex = endpoint("web", "example.com", "CNAME", &["other.example.net"]);
    let contributions = [contribution("east", 1, apex)];
    let decision = decide(&zone_context(), "example.com", None, &contributions, &[]);
    assert_eq!(verdict(&decision, 0), (VerdictState::Rejected, Reason::InvalidType));
    assert_eq!(decision.holder, None);
}

fn weighted(object: &str, set: &str, weight: &str, ttl_secs: i64) -> Endpoint {
    let mut endpoint = web(object, "192.0.2.1");
    endpoint.key.set_identifier = set.into();
    endpoint.properties.insert("aws/weight".into(), weight.into());
    endpoint.ttl_secs = Some(ttl_secs);
    endpoint
}

#[test]
fn a_duplicate_set_identifier_waits() {
    let decision = at(
        None,
        &[
            contribution("east", 1, weighted("one", "a", "1", 60)),
            contribution("east", 2, weighted("two", "a", "2", 60)),
        ],
    );
    assert_eq!(verdict(&decision, 1), (VerdictState::Waiting, Reason::ConflictInCluster));
}

#[test]
fn a_weighted_group_has_the_time_to_live_of_its_oldest_member() {
    let decision = at(
        None,
        &[
            contribution("east", 5, weighted("one", "a", "1", 60)),
            contribution("east", 2, weighted("two", "b", "2", 30)),
        ],
    );
    assert!(decision.desired.values().all(|desired| desired.set.ttl_secs() == Some(30)));
}

#[test]
fn the_order_of_contributions_does_not_matter() {
    let mut contributions = vec![
        contribution("east", 3, web("one", "192.0.2.1")),
        contribution("west", 1, web("two", "192.0.2.2")),
        contribution("west", 4, endpoint("six", "www.example.com", "AAAA", &["2001:db8::1"])),
        contribution("west", 2, endpoint("txt", "www.example.com", "TXT", &["hello"])),
    ];
    let first = at(None, &contributions);
    contributions.reverse();
    let second = at(None, &contributions);
    let sets = |s: &NameDecision| s.desired.values().map(|d| d.set.clone()).collect::<Vec<_>>();
    assert_eq!((first.holder.clone(), sets(&first)), (second.holder.clone(), sets(&second)));
}

fn aliased(object: &str, at: &str, target: &str) -> Endpoint {
    let mut endpoint = endpoint(object, at, "CNAME", &[target]);
    endpoint.properties.insert("alias".into(), "true".into());
    endpoint
}

fn message(decision: &NameDecision, index: usize) -> &str {
    let (_, verdict) = decision.verdicts.iter().find(|(at, _)| *at == index).unwrap();
    &verdict.message
}

#[test]
fn what_an_endpoint_made_at_the_apex_stays_when_the_zone_rejects_what_it_says_now() {
    let apex = "example.com";
    let mut not_aws = endpoint("web", apex, "CNAME", &["elb.example.net"]);
    let unwanted = aliased("web", apex, "elb.example.net");
    for rejected in [not_aws.clone(), unwanted, {
        not_aws.properties.insert("alias".into(), "false".into());
        not_aws
    }] {
        let contributions = [contribution("east", 1, rejected)];
        let decision = decide(&zone_context(), apex, Some("east"), &contributions, &[]);
        assert_eq!(verdict(&decision, 0).0, VerdictState::Rejected);
        for rtype in [RecordType::A, RecordType::Aaaa] {
            assert_eq!(decision.retained[&(rtype, None)].alias, Some(Retention::Firm), "{rtype}");
        }
        let newcomer = decide(&zone_context(), apex, None, &contributions, &[]);
        assert!(newcomer.retained.is_empty() && newcomer.holder.is_none(), "it made nothing");
    }
}

#[test]
fn an_alias_to_a_name_outside_its_zone_is_rejected_and_one_within_is_not() {
    let at = |target: &str| {
        at(None, &[contribution("east", 1, aliased("web", "www.example.com", target))])
    };
    let decision = at("lb.example.net");
    assert_eq!(verdict(&decision, 0), (VerdictState::Rejected, Reason::InvalidTarget));
    assert!(message(&decision, 0).contains("remove the annotation alias"));
    assert_eq!(verdict(&at("lb.example.com"), 0).0, VerdictState::Accepted);
    assert_eq!(verdict(&at("lb.us-east-1.elb.amazonaws.com"), 0).0, VerdictState::Accepted);
}

#[test]
fn a_type_that_the_zone_does_not_take_is_rejected_and_what_is_published_goes_on() {
    let usual = ZoneContext { record_types: RecordTypes::Usual, ..zone_context() };
    let listed = ZoneContext {
        record_types: RecordTypes::Listed([RecordType::A].into_iter().collect()),
        ..zone_context()
    };
    let text = || endpoint("txt", "www.example.com", "TXT", &["hello"]);
    let decide = |zone: &ZoneContext, standing: &[Endpoint]| {
        let contributions = [contribution("east", 1, text())];
        decide(zone, "www.example.com", Some("east"), &contributions, standing)
    };
    let decision = decide(&usual, &[]);
    assert_eq!(verdict(&decision, 0), (VerdictState::Rejected, Reason::ZonePolicy));
    assert!(message(&decision, 0).contains("record_types"));
    assert_eq!(verdict(&decide(&usual, &[text()]), 0).0, VerdictState::Accepted);
    let decision = decide(&listed, &[text()]);
    assert_eq!(verdict(&decision, 0), (VerdictState::Rejected, Reason::ZonePolicy));
    assert_eq!(decision.retained[&(RecordType::Txt, None)].values, Some(Retention::Firm));
}

fn from(source: &str, namespace: &str, object: &str, targets: &[&str]) -> Endpoint {
    let mut endpoint = endpoint(object, "www.example.com", "A", targets);
    endpoint.key.source = source.into();
    endpoint.key.namespace = namespace.into();
    endpoint
}

fn annotated(mut endpoint: Endpoint) -> Endpoint {
    endpoint.properties.insert("zonefold/target-source".into(), "annotation".into());
    endpoint
}

fn values(decision: &NameDecision) -> Vec<String> {
    let sets = decision.desired.values().map(|desired| &desired.set.data);
    let values = sets.flat_map(|data| match data {
        RecordData::Values { values, .. } => values.clone(),
        RecordData::Alias(_) => vec![],
    });
    values.map(|value| value.to_string()).collect()
}

#[test]
fn addresses_of_objects_of_another_kind_or_namespace_do_not_add_up_and_both_are_told() {
    let first = || from("service", "red", "web", &["192.0.2.1"]);
    for second in [
        from("service", "blue", "web", &["192.0.2.2"]),
        from("ingress", "red", "web", &["192.0.2.2"]),
        annotated(from("service", "red", "other", &["192.0.2.2"])),
    ] {
        let resource = second.key.resource();
        let decision =
            at(None, &[contribution("east", 2, second), contribution("east", 1, first())]);
        assert_eq!(values(&decision), ["192.0.2.1"]);
        assert_eq!(verdict(&decision, 0), (VerdictState::Waiting, Reason::ConflictInCluster));
        assert_eq!(verdict(&decision, 1).0, VerdictState::Accepted);
        assert!(message(&decision, 0).contains("service/red/web"), "{}", message(&decision, 0));
        assert!(message(&decision, 1).contains(&resource), "{}", message(&decision, 1));
    }
    let same = from("service", "red", "other", &["192.0.2.2"]);
    let decision = at(None, &[contribution("east", 1, first()), contribution("east", 2, same)]);
    assert_eq!(values(&decision), ["192.0.2.1", "192.0.2.2"]);
    // An endpoint that wants just the value that is there takes nothing from another.
    let alike = from("ingress", "blue", "web", &["192.0.2.1"]);
    let decision = at(None, &[contribution("east", 1, first()), contribution("east", 2, alike)]);
    assert!(decision.verdicts.iter().all(|(_, v)| v.state == VerdictState::Accepted));
}

#[test]
fn a_zone_may_add_up_the_addresses_of_all_namespaces() {
    let cluster_wide = ZoneContext { merge: MergePolicy::Cluster, ..zone_context() };
    let contributions = [
        contribution("east", 1, from("service", "red", "web", &["192.0.2.1"])),
        contribution("east", 2, from("service", "blue", "web", &["192.0.2.2"])),
        contribution("east", 3, from("ingress", "blue", "web", &["192.0.2.3"])),
    ];
    let decision = decide(&cluster_wide, "www.example.com", None, &contributions, &[]);
    assert_eq!(values(&decision), ["192.0.2.1", "192.0.2.2"]);
}

#[test]
fn an_annotated_target_is_not_joined_by_the_other_family_of_another_objects_status() {
    let mut status = from("ingress", "app", "solver", &["2001:db8::1"]);
    status.key.record_type = "AAAA".into();
    let mut written = from("dnsendpoint", "app", "more", &["2001:db8::2"]);
    written.key.record_type = "AAAA".into();
    let application = annotated(from("ingress", "app", "web", &["203.0.113.1"]));
    let decision = at(
        None,
        &[
            contribution("east", 1, application),
            contribution("east", 2, status),
            contribution("east", 3, written),
        ],
    );
    assert_eq!(verdict(&decision, 1), (VerdictState::Waiting, Reason::ConflictInCluster));
    assert_eq!(values(&decision), ["203.0.113.1", "2001:db8::2"]);
}

#[test]
fn a_sum_that_stands_stays_until_one_of_its_objects_changes() {
    let (red, blue) = (
        from("service", "red", "web", &["192.0.2.1"]),
        from("service", "blue", "web", &["192.0.2.2"]),
    );
    let standing = [from("service", "red", "web", &["192.0.2.1", "192.0.2.2"])];
    let decide = |red: Endpoint| {
        let contributions = [contribution("east", 1, red), contribution("east", 2, blue.clone())];
        decide(&zone_context(), "www.example.com", Some("east"), &contributions, &standing)
    };
    assert_eq!(values(&decide(red)), ["192.0.2.1", "192.0.2.2"]);
    let changed = decide(from("service", "red", "web", &["192.0.2.9"]));
    assert_eq!(values(&changed), ["192.0.2.9"]);
    assert_eq!(verdict(&changed, 1).0, VerdictState::Waiting);
}

fn failover(object: &str, role: &str) -> Endpoint {
    let mut endpoint = web(object, "192.0.2.1");
    endpoint.key.set_identifier = object.into();
    endpoint.properties.insert("aws/failover".into(), role.into());
    endpoint.properties.insert("aws/health-check-id".into(), "check".into());
    endpoint
}

#[test]
fn a_place_stays_with_the_set_that_has_it_while_its_endpoint_wants_it() {
    let standing = [failover("a", "PRIMARY"), failover("b", "SECONDARY")];
    let decide = |a: &str, b: &str| {
        let contributions =
            [contribution("east", 1, failover("a", a)), contribution("east", 2, failover("b", b))];
        decide(&zone_context(), "www.example.com", Some("east"), &contributions, &standing)
    };
    for (a, b, waits) in [("SECONDARY", "SECONDARY", 0), ("PRIMARY", "PRIMARY", 1)] {
        let decision = decide(a, b);
        assert_eq!(verdict(&decision, waits), (VerdictState::Waiting, Reason::ConflictInCluster));
        assert_eq!(verdict(&decision, 1 - waits).0, VerdictState::Accepted);
        let set = (RecordType::A, Some(["a", "b"][waits].into()));
        assert_eq!(
            decision.retained[&set].values,
            Some(Retention::Loose),
            "its set stays meanwhile"
        );
    }
    assert_eq!(decide("SECONDARY", "PRIMARY").desired.len(), 2);
}

fn routed(object: &str, properties: &[(&str, &str)]) -> Endpoint {
    let mut endpoint = web(object, "192.0.2.1");
    endpoint.key.set_identifier = object.into();
    endpoint.properties =
        properties.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    endpoint
}

#[test]
fn a_group_of_cidr_sets_has_one_collection() {
    let of = |object: &str, digit: char| {
        let collection = format!("{digit}8c02a84-aaaa-bbbb-e0d2-d833a2f80106");
        routed(
            object,
            &[("aws/cidr-collection-id", &collection), ("aws/cidr-location-name", object)],
        )
    };
    let decision = at(
        None,
        &[
            contribution("east", 1, of("one", 'a')),
            contribution("east", 2, of("two", 'b')),
            contribution("east", 3, of("three", 'a')),
        ],
    );
    assert_eq!(verdict(&decision, 1), (VerdictState::Waiting, Reason::ConflictInCluster));
    assert_eq!(decision.desired.len(), 2);
}

#[test]
fn a_group_has_at_most_30_geoproximity_sets_and_100_of_any_other_policy() {
    for (property, most) in [("aws/geoproximity-coordinates", 30), ("aws/weight", 100)] {
        let value = |n: i64| if most == 30 { format!("{n},0") } else { "1".to_owned() };
        let contributions: Vec<_> = (0..=most)
            .map(|n| contribution("east", n, routed(&format!("o{n}"), &[(property, &value(n))])))
            .collect();
        let decision = at(None, &contributions);
        let last = usize::try_from(most).unwrap();
        assert_eq!(verdict(&decision, last), (VerdictState::Rejected, Reason::TooLarge));
        assert_eq!(decision.desired.len(), last, "{property}");
    }
}

#[test]
fn addresses_for_those_inside_and_for_everybody_never_add_up() {
    let everybody = || contribution("east", 1, web("web", "192.0.2.1"));
    let inside = |word: &str| {
        let mut endpoint = web("web/internal", "10.0.0.1");
        endpoint.properties.insert("zonefold/visibility".into(), word.into());
        contribution("east", 2, endpoint)
    };
    for word in ["internal", "private"] {
        for (visibility, counts, value) in
            [(Visibility::Public, 0, "192.0.2.1"), (Visibility::Private, 1, "10.0.0.1")]
        {
            let zone = ZoneContext { visibility, ..zone_context() };
            let both = [everybody(), inside(word)];
            let decision = decide(&zone, "www.example.com", None, &both, &[]);
            let wanted: Vec<_> = decision.desired.values().collect();
            let [desired] = wanted.as_slice() else { panic!("{wanted:?}") };
            assert_eq!(desired.from, [counts], "{visibility}");
            assert!(
                matches!(&desired.set.data, RecordData::Values { values, .. } if *values == [value])
            );
            for index in [0, 1] {
                assert_eq!(verdict(&decision, index).0, VerdictState::Accepted);
            }
            let left_out = decision.verdicts.iter().find(|(at, _)| *at == 1 - counts).unwrap();
            assert!(left_out.1.message.contains("ingress/default/web"), "{left_out:?}");
        }
    }
    // One that is rejected keeps what it made, and nothing is added to it.
    let private = ZoneContext { visibility: Visibility::Private, ..zone_context() };
    let standing = [web("web/internal", "10.0.0.1")];
    let rejected = contribution("east", 2, web("web/internal", "10.0.0.300"));
    let both = [everybody(), rejected];
    let decision = decide(&private, "www.example.com", Some("east"), &both, &standing);
    assert!(decision.desired.is_empty(), "{decision:?}");
}

#[test]
fn other_records_and_single_sides_count_in_every_zone() {
    for visibility in [Visibility::Public, Visibility::Private] {
        let zone = ZoneContext { visibility, ..zone_context() };
        let text = endpoint("note", "www.example.com", "TXT", &["note"]);
        let all = [contribution("east", 1, web("web", "192.0.2.1")), contribution("east", 2, text)];
        let decision = decide(&zone, "www.example.com", None, &all, &[]);
        assert_eq!(decision.desired.len(), 2);
        let alone = [contribution("east", 1, web("web/internal", "10.0.0.1"))];
        assert_eq!(decide(&zone, "www.example.com", None, &alone, &[]).desired.len(), 1);
    }
}
