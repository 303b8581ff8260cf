//! Outcomes of batches in doubt that were read back.

use super::*;
use crate::broker::worker::zone::compare::Page;
use crate::core::dns::record::RecordType;
use crate::core::ids::{BatchId, EnvironmentId};
use crate::core::planning::change::{BatchStamp, Cause, Motive};
use crate::core::planning::policy::ZoneSettings;
use crate::core::planning::record_types::RecordTypes;
use crate::core::planning::routing::ZoneFacts;
use crate::core::testkit::{cluster, endpoint, name, zone_context};
use crate::core::visibility::Visibility;
use crate::ports::{BatchRow, RecordWrite};

const NOW: Timestamp = Timestamp(1_000_000);

fn raw(host: &str) -> RawRecordSet {
    let parsed =
        crate::core::endpoint::parsed::parse_endpoint(&endpoint("web", host, "A", &["192.0.2.1"]))
            .unwrap();
    parsed.record_sets(zone_context().zone(), 300)[0].to_raw()
}

fn change(host: &str, before: Option<RawRecordSet>, after: Option<RawRecordSet>) -> Unit {
    let key = RecordKey { name: name(host), rtype: RecordType::A, set_identifier: None };
    let cause = Cause::new(Motive::Withdrawn, cluster("east"), vec![]);
    Unit { changes: vec![Change { key, before, after, cause }] }
}

fn key_of(host: &str) -> RecordKey {
    RecordKey { name: name(host), rtype: RecordType::A, set_identifier: None }
}

fn deletes(host: &str) -> Unit {
    change(host, Some(raw(host)), None)
}

fn creates(host: &str) -> Unit {
    change(host, None, Some(raw(host)))
}

fn page(hosts: &[&str]) -> Page {
    Page { from: None, until: None, sets: hosts.iter().map(|host| raw(host)).collect() }
}

/// A zone in which a batch of these units is in doubt.
fn in_doubt(units: Vec<Unit>) -> (ZoneWork, Batch) {
    let placement = zone_context().placement;
    let batch = Batch {
        id: BatchId(uuid::Uuid::from_u128(7)),
        account: placement.account.clone(),
        zone: placement.zone.clone(),
        planned_at: NOW,
        stamp: BatchStamp::default(),
        wire: crate::core::batch::fold::wire_order(&units),
        units,
    };
    let facts = ZoneFacts {
        account: placement.account,
        environment: EnvironmentId::parse("prod").unwrap(),
        zone: placement.zone,
        name: zone_context().apex,
        visibility: Visibility::Public,
        visible: true,
    };
    let settings = ZoneSettings { record_types: RecordTypes::All, ..ZoneSettings::default() };
    let mut zone = ZoneWork::new(facts, settings, Some(NOW), NOW);
    zone.in_doubt.push(BatchRow { batch: batch.clone(), outcome: None, finished_at: None });
    (zone, batch)
}

/// The same, and Route 53 turns out to hold these hosts.
fn read_back(units: Vec<Unit>, hosts: &[&str]) -> (ZoneWork, Vec<Settled>) {
    let (mut zone, _) = in_doubt(units);
    zone.state.compare(&page(hosts), NOW);
    let settled = settle_batches(&mut zone, NOW);
    (zone, settled)
}

fn outcome_of(units: Vec<Unit>, hosts: &[&str]) -> BatchOutcome {
    read_back(units, hosts).1.remove(0).outcome
}

#[test]
fn what_was_read_back_is_journalled_as_found_and_not_as_applied() {
    // Another writer may have deleted it before the call came, and the refusal was lost.
    assert_eq!(outcome_of(vec![deletes("a.example.com")], &[]), BatchOutcome::FoundDone);
    // An earlier call of ours may have made it.
    assert_eq!(
        outcome_of(vec![creates("a.example.com")], &["a.example.com"]),
        BatchOutcome::FoundDone
    );
    assert_eq!(outcome_of(vec![creates("a.example.com")], &[]), BatchOutcome::not_found());
}

#[test]
fn a_batch_of_which_something_still_stands_was_not_applied() {
    let both = || vec![deletes("a.example.com"), deletes("b.example.com")];
    assert_eq!(outcome_of(both(), &[]), BatchOutcome::FoundDone);
    assert_eq!(
        outcome_of(both(), &["a.example.com"]),
        BatchOutcome::not_found(),
        "somebody else took the other one away"
    );
    assert_eq!(outcome_of(both(), &["a.example.com", "b.example.com"]), BatchOutcome::not_found());
    // A set that was created and is gone was deleted by another writer since.
    let created = vec![creates("a.example.com"), creates("b.example.com")];
    assert_eq!(outcome_of(created, &["a.example.com"]), BatchOutcome::FoundDone);
}

#[test]
fn what_stands_where_a_batch_took_something_away_is_somebody_elses() {
    let (a, b) = ("a.example.com", "b.example.com");
    let mut other = raw(a);
    other.values = vec!["203.0.113.1".into()];
    let (mut zone, batch) = in_doubt(vec![deletes(a), deletes(b)]);
    zone.state.applied(&Batch { units: vec![creates(a), creates(b)], ..batch }, None, 1, NOW);
    zone.state.compare(&Page { from: None, until: None, sets: vec![other.clone()] }, NOW);
    let mut settled = settle_batches(&mut zone, NOW).remove(0);
    assert_eq!(settled.outcome, BatchOutcome::FoundDone);
    let key = RecordKey { name: name(a), rtype: RecordType::A, set_identifier: None };
    let observed = zone.state.observed(&key).unwrap();
    assert_eq!((observed.raw, observed.owner, observed.drift), (other.clone(), None, None));
    let Some(crate::ports::RecordWrite::Put(row)) = settled.writes.pop() else {
        panic!("{:?}", settled.writes)
    };
    assert_eq!((row.key, row.owner), (key, None), "the store learns it last");
}

#[test]
fn what_stands_where_a_batch_may_have_taken_the_only_thing_away_is_somebody_elses() {
    let other = RawRecordSet { values: vec!["203.0.113.1".into()], ..raw("a.example.com") };
    for (also, beside, is_ours) in [
        (vec![], vec![], false),
        (vec![deletes("b.example.com")], vec![raw("b.example.com")], true),
    ] {
        let (mut zone, batch) = in_doubt([vec![deletes("a.example.com")], also.clone()].concat());
        zone.state.applied(
            &Batch { units: vec![creates("a.example.com"), creates("b.example.com")], ..batch },
            None,
            1,
            NOW,
        );
        let sets = [vec![other.clone()], beside].concat();
        zone.state.compare(&Page { from: None, until: None, sets }, NOW);
        assert_eq!(settle_batches(&mut zone, NOW)[0].outcome, BatchOutcome::not_found());
        let observed = zone.state.observed(&key_of("a.example.com")).unwrap();
        assert_eq!(
            observed.owner.is_some(),
            is_ours,
            "what still stands beside it shows that the batch did not come: {also:?}"
        );
    }
}

#[test]
fn what_somebody_changed_after_a_batch_made_it_is_ours_and_changed() {
    let other = RawRecordSet { values: vec!["203.0.113.1".into()], ..raw("a.example.com") };
    let b = "b.example.com";
    let earlier = |zone: &mut ZoneWork, batch: &Batch| {
        let id = BatchId(uuid::Uuid::from_u128(6));
        zone.state.may_come_late(&Batch { id, units: vec![creates(b)], ..batch.clone() }, NOW);
    };
    for (beside, sets, may_be_late, is_ours) in [
        (creates(b), vec![raw(b)], false, true),
        // An earlier call explains it, or any writer may have done it: then this one may have met a foreign record.
        (creates(b), vec![raw(b)], true, false),
        (deletes(b), vec![], false, false),
        (creates(b), vec![], false, false),
    ] {
        let (mut zone, batch) = in_doubt(vec![creates("a.example.com"), beside]);
        if may_be_late {
            earlier(&mut zone, &batch);
        }
        zone.state.compare(
            &Page { from: None, until: None, sets: [vec![other.clone()], sets].concat() },
            NOW,
        );
        let mut settled = settle_batches(&mut zone, NOW).remove(0);
        let observed = zone.state.observed(&key_of("a.example.com")).unwrap();
        let owner = observed.owner.map(|owner| owner.batch);
        assert_eq!(
            (owner, observed.drift),
            if is_ours { (Some(batch.id), Some(Drift::Changed)) } else { (None, None) }
        );
        assert_eq!(observed.raw, other);
        let told = settled.writes.pop().is_some_and(|write| {
            matches!(write, RecordWrite::Put(row) if row.key == key_of("a.example.com") && row.drift == Some(Drift::Changed))
        });
        assert_eq!(told, is_ours, "the store learns it last");
    }
}

#[test]
fn what_is_missing_of_a_batch_that_was_found_done_is_ours_when_it_comes_late() {
    let (mut zone, settled) =
        read_back(vec![deletes("a.example.com"), creates("b.example.com")], &[]);
    assert_eq!(settled[0].outcome, BatchOutcome::FoundDone);
    zone.state.compare(&page(&["b.example.com"]), NOW);
    let key = RecordKey { name: name("b.example.com"), rtype: RecordType::A, set_identifier: None };
    let owner = zone.state.observed(&key).and_then(|observed| observed.owner);
    assert_eq!(owner.map(|owner| owner.batch), Some(settled[0].batch.id));
}
