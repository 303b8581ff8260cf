use super::*;
use crate::core::endpoint::verdict::VerdictState;
use crate::core::testkit::{cluster, contribution, endpoint, name, zone_context};

fn at(claimed_by: Option<&str>, contributions: &[Contribution]) -> NameDecision {
    let holder = claimed_by.map(cluster);
    decide_name(&zone_context(), &name("www.example.com"), holder.as_ref(), contributions)
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
    assert_eq!(decision.retained, [(RecordType::A, None)]);
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
    let decision =
        decide_name(&zone_context(), &name("example.com"), None, &[contribution("east", 1, apex)]);
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
