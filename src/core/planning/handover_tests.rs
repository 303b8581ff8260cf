//! Which names a hand-over passes, and which way.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::core::dns::record::RecordData;
use crate::core::governance::actor::Actor;
use crate::core::governance::handover::{Handover, HandoverMode, HandoverPhase, Handovers};
use crate::core::governance::ruleset::Rules;
use crate::core::governance::snapshot::Governance;
use crate::core::planning::claims::{decide_name, handover_of};
use crate::core::planning::decision::{Contribution, Desired, NameInput, NoOtherNames};
use crate::core::testkit::{cluster, contribution, endpoint, name, zone_context};
use crate::core::time::Timestamp;

const WWW: &str = "www.example.com";
const BEGAN: Timestamp = Timestamp(1_000);

fn handover(phase: HandoverPhase) -> Handover {
    Handover {
        id: Uuid::from_u128(1),
        version: 2,
        from: cluster("east"),
        to: cluster("west"),
        names: vec![],
        namespaces: vec![],
        mode: HandoverMode::Cutover,
        with_different: false,
        phase,
        by: Actor::Broker,
        reason: String::new(),
        at: BEGAN,
        began_at: Some(BEGAN),
        since: BEGAN,
        until: None,
        ended: None,
    }
}

fn of(by: &str, arrival: i64, rtype: &str, target: &str) -> Contribution {
    contribution(by, arrival, endpoint(by, WWW, rtype, &[target]))
}

fn both() -> [Contribution; 2] {
    [of("east", 1, "A", "192.0.2.1"), of("west", 2, "A", "192.0.2.2")]
}

/// Asks something about the name, which a cluster has since a time.
fn ask<T>(
    handover: &Handover,
    (held_by, since): (&str, Timestamp),
    contributions: &[Contribution],
    question: impl Fn(&NameInput<'_>) -> T,
) -> T {
    let handovers = Arc::new(Handovers::new([handover.clone()]));
    let rules = Governance::new(Arc::new(Rules::default()), BTreeMap::new());
    question(&NameInput {
        zone: &zone_context().governed(Arc::new(rules.with_handovers(handovers))),
        name: &name(WWW),
        claimed_by: Some(&cluster(held_by)),
        claimed_since: Some(since),
        contributions,
        observed: &BTreeMap::new(),
        around: &NoOtherNames,
    })
}

/// The holder, and what is wanted.
fn decided(
    handover: &Handover,
    held: (&str, Timestamp),
    contributions: &[Contribution],
) -> (String, Vec<String>) {
    ask(handover, held, contributions, |input| {
        let decision = decide_name(input);
        let values = |desired: &Desired| match &desired.set.data {
            RecordData::Values { values, .. } => {
                format!("{} {}", desired.set.key.rtype, values.join(" "))
            }
            RecordData::Alias(_) => "alias".to_owned(),
        };
        let holder = decision.holder.as_ref().unwrap().to_string();
        (holder, decision.desired.values().map(values).collect())
    })
}

fn far(
    handover: &Handover,
    held: (&str, Timestamp),
    contributions: &[Contribution],
) -> Option<HandedName> {
    ask(handover, held, contributions, |input| handover_of(input, handover))
}

const EAST: (&str, Timestamp) = ("east", Timestamp(1));

fn has(holder: &str, sets: &[&str]) -> (String, Vec<String>) {
    (holder.to_owned(), sets.iter().map(ToString::to_string).collect())
}

#[test]
fn a_name_passes_while_a_hand_over_switches_and_not_before() {
    let [staged, switching, watching] =
        [HandoverPhase::Staged, HandoverPhase::Switching, HandoverPhase::Watching].map(handover);
    assert_eq!(far(&staged, EAST, &both()), Some(HandedName::Ready));
    assert_eq!(decided(&staged, EAST, &both()), has("east", &["A 192.0.2.1"]));
    for handover in [&switching, &watching] {
        assert_eq!(decided(handover, EAST, &both()), has("west", &["A 192.0.2.2"]));
    }
    let west = ("west", BEGAN);
    assert_eq!(decided(&switching, west, &both()), has("west", &["A 192.0.2.2"]));
    assert_eq!(far(&switching, west, &both()), Some(HandedName::Passed));
    assert_eq!(far(&switching, ("west", Timestamp(1)), &both()), None, "it had the name before");
}

#[test]
fn a_name_that_the_new_cluster_does_not_want_whole_stays() {
    let switching = handover(HandoverPhase::Switching);
    let alone = [of("east", 1, "A", "192.0.2.1")];
    assert_eq!(far(&switching, EAST, &alone), Some(HandedName::Missing));
    assert_eq!(decided(&switching, EAST, &alone), has("east", &["A 192.0.2.1"]));
    let [east, west] = both();
    let six = of("east", 3, "AAAA", "2001:db8::1");
    let more = [east, west, six];
    assert_eq!(far(&switching, EAST, &more), Some(HandedName::Different));
    assert_eq!(decided(&switching, EAST, &more), has("east", &["A 192.0.2.1", "AAAA 2001:db8::1"]));
    let with_different = Handover { with_different: true, ..switching };
    assert_eq!(decided(&with_different, EAST, &more), has("west", &["A 192.0.2.2"]));
    assert_eq!(decided(&with_different, EAST, &alone), has("east", &["A 192.0.2.1"]));
}

#[test]
fn only_addresses_are_answered_by_both() {
    let overlapping = handover(HandoverPhase::Overlapping);
    assert_eq!(decided(&overlapping, EAST, &both()), has("east", &["A 192.0.2.1 192.0.2.2"]));
    let texts = [of("east", 1, "TXT", "\"one\""), of("west", 2, "TXT", "\"two\"")];
    assert_eq!(decided(&overlapping, EAST, &texts), has("east", &["TXT \"one\""]));
    let alone = [of("east", 1, "A", "192.0.2.1")];
    assert_eq!(decided(&overlapping, EAST, &alone), has("east", &["A 192.0.2.1"]));
}

#[test]
fn what_passed_goes_back_and_nothing_else_does() {
    let aborting = handover(HandoverPhase::Aborting);
    assert_eq!(decided(&aborting, ("west", BEGAN), &both()), has("east", &["A 192.0.2.1"]));
    let before = ("west", Timestamp(BEGAN.0 - 1));
    assert_eq!(decided(&aborting, before, &both()), has("west", &["A 192.0.2.2"]));
    let alone = [of("west", 2, "A", "192.0.2.2")];
    assert_eq!(decided(&aborting, ("west", BEGAN), &alone), has("west", &["A 192.0.2.2"]));
}

#[test]
fn other_namespaces_are_not_meant() {
    let other =
        Handover { namespaces: vec!["other".to_owned()], ..handover(HandoverPhase::Switching) };
    assert_eq!(far(&other, EAST, &both()), None);
    assert_eq!(decided(&other, EAST, &both()), has("east", &["A 192.0.2.1"]));
}
