mod names;
mod shared;

use super::compare::{LATE_FOR, Page};

use super::refusals::FIRST_RETRY;
use super::*;
use crate::broker::directory::entry::Progress;
use crate::core::endpoint::Endpoint;
use crate::core::endpoint::packed::PackedEndpoint;
use crate::core::ids::BatchId;
use crate::core::planning::change::{BatchStamp, Cause, Change, Motive};
use crate::core::planning::plan::Drift;
use crate::core::planning::policy::AdoptPolicy;
use crate::core::planning::record_types::RecordTypes;
use crate::core::testkit::{cluster, endpoint, name, zone_context};
use crate::core::time::Millis;

const NOW: Timestamp = Timestamp(1_000_000);

fn state() -> ZoneState {
    let settings = ZoneSettings { record_types: RecordTypes::All, ..ZoneSettings::default() };
    ZoneState::new(zone_context(), settings)
}

fn wants(state: &mut ZoneState, cluster_name: &str, arrival: i64, target: &str) -> Review {
    let www = name("www.example.com");
    state.contribute(&www, held(cluster_name, arrival, &[target]), PlacementRole::Publishes);
    state.review(&www, NOW, "", None)
}

fn held(cluster_name: &str, arrival: i64, targets: &[&str]) -> EndpointEntry {
    let endpoint = endpoint(cluster_name, "www.example.com", "A", targets);
    EndpointEntry::new(cluster(cluster_name), arrival, &PackedEndpoint::pack(&endpoint))
}

fn leaves(state: &mut ZoneState, cluster_name: &str, arrival: i64) -> Review {
    state.withdraw(&name("www.example.com"), &held(cluster_name, arrival, &[]));
    state.review(&name("www.example.com"), NOW, "", None)
}

/// Sends everything that can be sent for `www`, as Route 53 would accept it.
fn send(state: &mut ZoneState) -> Vec<(Vec<RecordWrite>, Vec<ClaimWrite>)> {
    let sent = send_for(state, &name("www.example.com"));
    sent.map(|(_, writes, claims)| (writes, claims)).into_iter().collect()
}

/// Sends everything that can be sent for a name: how many changes that is, and what to store; `None` if there is nothing.
fn send_for(
    state: &mut ZoneState,
    at: &DnsName,
) -> Option<(usize, Vec<RecordWrite>, Vec<ClaimWrite>)> {
    let units = state.units(at, NOW);
    if units.is_empty() {
        return None;
    }
    let batch = batch(7, units);
    let claims = state.claims_for(&batch);
    state.claims_kept(&claims);
    let (writes, releases) = state.applied(&batch, Some("C1"), 1, NOW);
    Some((batch.wire.len(), writes, claims.into_iter().chain(releases).collect()))
}

fn progress(review: &Review) -> Vec<&'static str> {
    review
        .statuses
        .iter()
        .map(|(_, status)| status.progress.as_ref().map_or("none", Progress::as_str))
        .collect()
}

fn page(sets: Vec<RawRecordSet>) -> Page {
    Page { from: None, until: None, sets }
}

fn raw(target: &str) -> RawRecordSet {
    crate::core::endpoint::parsed::parse_endpoint(&endpoint("x", "www.example.com", "A", &[target]))
        .unwrap()
        .record_sets(zone_context().zone(), 300)[0]
        .to_raw()
}

#[test]
fn a_wish_becomes_a_change_and_then_nothing() {
    let mut state = state();
    let review = wants(&mut state, "east", 1, "192.0.2.1");
    assert_eq!((progress(&review), review.work), (vec!["pending"], Some((cluster("east"), 1))));
    let sent = send(&mut state);
    assert!(matches!(sent[0].1[..], [ClaimWrite::Hold(_)]), "the claim is durable before the call");
    let review = state.review(&name("www.example.com"), NOW, "", None);
    assert_eq!((progress(&review), review.work), (vec!["applied"], None));
    assert!(state.in_sync(&name("www.example.com"), 1));
    assert_eq!(progress(&state.review(&name("www.example.com"), NOW, "", None)), ["in_sync"]);
}

#[test]
fn a_name_passes_on_in_one_batch() {
    let mut state = state();
    wants(&mut state, "east", 1, "192.0.2.1");
    send(&mut state);
    wants(&mut state, "west", 2, "192.0.2.2");
    leaves(&mut state, "east", 1);
    let units = state.units(&name("www.example.com"), NOW);
    assert_eq!(units.len(), 1);
    let change = &units[0].changes[0];
    assert!(
        change.before.is_some() && change.after.is_some(),
        "no gap: DELETE and CREATE together"
    );
    assert_eq!((change.cause.motive, change.cause.cluster.as_str()), (Motive::Passed, "west"));
}

#[test]
fn the_last_one_out_releases_the_claim() {
    let mut state = state();
    wants(&mut state, "east", 1, "192.0.2.1");
    send(&mut state);
    leaves(&mut state, "east", 1);
    let sent = send(&mut state);
    assert!(matches!(sent[0].1[..], [ClaimWrite::Release { .. }]), "{sent:?}");
    assert!(matches!(sent[0].0[..], [RecordWrite::Remove(_)]));
}

#[test]
fn a_refused_unit_waits_and_a_new_content_does_not() {
    let mut state = state();
    wants(&mut state, "east", 1, "192.0.2.1");
    let unit = state.units(&name("www.example.com"), NOW).remove(0);
    state.refuse(&unit, "no".to_owned(), NOW);
    assert_eq!(progress(&state.review(&name("www.example.com"), NOW, "", None)), ["refused"]);
    assert!(state.units(&name("www.example.com"), NOW).is_empty());
    assert_eq!(state.next_retry(), Some(NOW + FIRST_RETRY));
    assert_eq!(
        state.units(&name("www.example.com"), NOW + FIRST_RETRY).len(),
        1,
        "tried again after its wait"
    );
    state.refuse(&unit, "no".to_owned(), NOW);
    assert_eq!(state.next_retry(), Some(NOW + Millis(FIRST_RETRY.0 * 2)));
    assert_eq!(
        progress(&wants(&mut state, "east", 1, "192.0.2.9")),
        ["pending"],
        "other content is tried at once"
    );
}

#[test]
fn a_page_that_says_what_is_known_changes_nothing() {
    let mut state = state();
    wants(&mut state, "east", 1, "192.0.2.1");
    send(&mut state);
    let diff = state.compare(&page(vec![raw("192.0.2.1")]), NOW);
    assert!(diff.writes.is_empty() && diff.touched.is_empty());
}

#[test]
fn drift_is_found_and_put_back() {
    let mut state = state();
    wants(&mut state, "east", 1, "192.0.2.1");
    send(&mut state);
    let diff = state.compare(&page(vec![raw("192.0.2.66")]), NOW);
    assert_eq!(diff.drifted.len(), 1);
    let units = state.units(&name("www.example.com"), NOW);
    assert_eq!(
        units[0].changes[0].before,
        Some(raw("192.0.2.66")),
        "exactly what is there is swapped"
    );
    let diff = state.compare(&page(vec![]), NOW);
    assert_eq!(diff.drifted.len(), 1);
    assert!(state.units(&name("www.example.com"), NOW)[0].changes[0].before.is_none());
}

#[test]
fn a_foreign_set_blocks_until_it_is_gone() {
    let mut state = state();
    state.compare(&page(vec![raw("192.0.2.66")]), NOW);
    let review = wants(&mut state, "east", 1, "192.0.2.1");
    assert_eq!(review.work, None);
    assert_eq!(review.statuses[0].1.verdict.reason.as_str(), "FOREIGN_RECORD");
    state.compare(&page(vec![]), NOW);
    assert!(state.review(&name("www.example.com"), NOW, "", None).work.is_some());
}

#[test]
fn a_page_speaks_only_of_its_range() {
    let mut state = state();
    wants(&mut state, "east", 1, "192.0.2.1");
    send(&mut state);
    let elsewhere = Page { from: None, until: Some(name("www.example.com")), sets: vec![] };
    assert!(state.compare(&elsewhere, NOW).writes.is_empty());
    assert_eq!(state.counts().records, 1);
}

#[test]
fn another_order_of_values_is_no_drift() {
    let mut state = state();
    let www = name("www.example.com");
    state.contribute(&www, held("east", 1, &["192.0.2.1", "192.0.2.2"]), PlacementRole::Publishes);
    state.review(&www, NOW, "", None);
    send(&mut state);
    let mut turned = state.records(None, 10)[0].1.raw.clone();
    turned.values.reverse();
    let diff = state.compare(&page(vec![turned.clone()]), NOW);
    assert!(diff.drifted.is_empty() && state.units(&www, NOW).is_empty());
    assert_eq!(
        state.records(None, 10)[0].1.raw,
        turned,
        "and the new spelling is what a DELETE has to say"
    );
}

#[test]
fn what_a_lost_call_of_ours_made_late_is_ours() {
    let mut state = state();
    let www = name("www.example.com");
    wants(&mut state, "east", 1, "192.0.2.1");
    let batch = batch(9, state.units(&www, NOW));
    state.may_come_late(&batch, NOW);
    state.compare(&page(vec![raw("192.0.2.1")]), NOW);
    assert_eq!(state.records(None, 1)[0].1.owner.as_ref().map(|owner| owner.batch), Some(batch.id));
    assert_eq!(progress(&state.review(&www, NOW, "", None)), ["applied"]);

    // A different set at that key, or the same one after a long time, is foreign.
    for (target, at) in [("192.0.2.66", NOW), ("192.0.2.1", NOW + LATE_FOR)] {
        let mut state = self::state();
        state.may_come_late(&batch, NOW);
        state.compare(&page(vec![raw(target)]), at);
        assert_eq!(state.records(None, 1)[0].1.owner, None);
    }
}

/// A wanted change of east's.
fn change(before: Option<RawRecordSet>, after: Option<RawRecordSet>) -> Change {
    let cause = Cause::new(Motive::Wanted, cluster("east"), vec![]);
    let key = before.as_ref().or(after.as_ref()).unwrap().key().unwrap();
    Change { key, before, after, cause }
}

/// A batch of the zone.
fn batch(number: u128, units: Vec<Unit>) -> Batch {
    Batch {
        id: BatchId(uuid::Uuid::from_u128(number)),
        account: zone_context().placement.account,
        zone: zone_context().placement.zone,
        planned_at: NOW,
        stamp: BatchStamp::default(),
        wire: fold::wire_order(&units),
        units,
    }
}

/// A batch of one change whose answer was lost.
fn lost(number: u128, before: Option<RawRecordSet>, after: Option<RawRecordSet>) -> Batch {
    batch(number, vec![Unit { changes: vec![change(before, after)] }])
}

#[test]
fn what_lost_calls_make_one_after_the_other_is_ours_each_time() {
    let mut state = state();
    for (number, target) in ["192.0.2.1", "192.0.2.2", "192.0.2.1"].into_iter().enumerate() {
        state.may_come_late(&lost(number as u128, None, Some(raw(target))), NOW);
    }
    let mut came = |target| {
        state.compare(&page(vec![raw(target)]), NOW);
        let is_ours = state.records(None, 1)[0].1.owner.is_some();
        state.compare(&page(vec![]), NOW);
        state.observe(&raw(target).key().unwrap(), None);
        is_ours
    };
    let targets = ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"];
    assert_eq!(targets.map(&mut came), [true, true, false, true, false]);
}

#[test]
fn what_lost_calls_delete_one_after_the_other_is_no_drift_each_time() {
    let mut state = state();
    wants(&mut state, "east", 1, "192.0.2.1");
    for number in 7..9 {
        state.may_come_late(&lost(number, Some(raw("192.0.2.1")), None), NOW);
    }
    let mut goes = || {
        send(&mut state);
        state.compare(&page(vec![]), NOW).drifted.is_empty()
    };
    assert_eq!([goes(), goes(), goes()], [true, true, false]);
}

#[test]
fn what_a_lost_call_of_ours_deletes_late_is_no_drift() {
    let www = name("www.example.com");
    let aaaa = RawRecordSet {
        rtype: "AAAA".into(),
        values: vec!["2001:db8::1".into()],
        ..raw("192.0.2.1")
    };
    let deletion = || change(Some(raw("192.0.2.1")), None);
    for (changes, there, is_ours) in [
        (vec![deletion()], vec![], true),
        (vec![deletion(), change(None, Some(aaaa.clone()))], vec![aaaa.clone()], true),
        // A call is carried out whole, so this one was not.
        (vec![deletion(), change(None, Some(aaaa.clone()))], vec![], false),
        // Route 53 deletes only what a call says word for word.
        (vec![change(Some(raw("192.0.2.66")), None)], vec![], false),
        (vec![], vec![], false),
    ] {
        let mut state = state();
        wants(&mut state, "east", 1, "192.0.2.1");
        send(&mut state);
        state.may_come_late(&batch(9, vec![Unit { changes }]), NOW);
        let diff = state.compare(&page(there), NOW);
        assert_eq!(diff.drifted.is_empty(), is_ours);
        let makes_it_anew = state
            .units(&www, NOW)
            .iter()
            .flat_map(|unit| &unit.changes)
            .any(|change| change.after == Some(raw("192.0.2.1")));
        assert!(makes_it_anew || !is_ours);
    }
}

#[test]
fn what_somebody_changed_after_a_lost_call_made_it_late_is_ours_where_the_rest_of_the_call_shows_that_it_came()
 {
    let set = |host: &str, target: &str| RawRecordSet {
        name: format!("{host}.example.com.").into(),
        ..raw(target)
    };
    let creates = |host: &str| Unit { changes: vec![change(None, Some(set(host, "192.0.2.1")))] };
    let (both, theirs) = (batch(9, vec![creates("a"), creates("b")]), set("b", "192.0.2.66"));
    let seen = |state: &ZoneState| {
        let observed = state.observed(&theirs.key().unwrap()).unwrap();
        (observed.owner.map(|owner| owner.batch), observed.drift)
    };
    for (earlier, beside, is_ours) in [
        (vec![], vec![set("a", "192.0.2.1")], true),
        // An earlier call explains what there is, or there is nothing: this one may have met a foreign record.
        (vec![creates("a")], vec![set("a", "192.0.2.1")], false),
        (vec![], vec![], false),
    ] {
        let mut state = state();
        state.may_come_late(&batch(8, earlier), NOW);
        state.may_come_late(&both, NOW);
        let diff = state.compare(&page([vec![theirs.clone()], beside].concat()), NOW);
        assert_eq!(
            seen(&state),
            if is_ours { (Some(both.id), Some(Drift::Changed)) } else { (None, None) }
        );
        assert_eq!(diff.drifted.len(), usize::from(is_ours));
    }
    // A set that was gone when the call was seen to have come is foreign when it is created again.
    let mut state = state();
    state.may_come_late(&both, NOW);
    state.compare(&page(vec![set("a", "192.0.2.1")]), NOW);
    state.compare(&page(vec![set("a", "192.0.2.1"), theirs.clone()]), NOW);
    assert_eq!(seen(&state), (None, None));
}

#[test]
fn a_refusal_of_what_nobody_wants_any_more_is_forgotten() {
    let mut state = state();
    wants(&mut state, "east", 1, "192.0.2.1");
    let unit = state.units(&name("www.example.com"), NOW).remove(0);
    state.refuse(&unit, "no".to_owned(), NOW);
    leaves(&mut state, "east", 1);
    assert_eq!(state.counts().refused, 0);
    assert!(state.take_due_retries(NOW + FIRST_RETRY).is_empty());
    assert_eq!((state.len(), state.next_retry()), (0, None));
}

#[test]
fn what_was_refused_and_is_wanted_anew_is_not_sent_before_its_wait_is_over() {
    let mut state = state();
    let www = name("www.example.com");
    wants(&mut state, "east", 1, "192.0.2.1");
    let unit = state.units(&www, NOW).remove(0);
    state.refuse(&unit, "no".to_owned(), NOW);
    leaves(&mut state, "east", 1);
    let review = wants(&mut state, "east", 2, "192.0.2.1");
    assert_eq!((progress(&review), review.work), (vec!["refused"], None));
    assert!(state.units(&www, NOW).is_empty());
    assert_eq!(state.counts().refused, 1);
    assert_eq!(state.take_due_retries(NOW + FIRST_RETRY), [www.clone()].into());
    assert_eq!(state.units(&www, NOW + FIRST_RETRY).len(), 1);
}

#[test]
fn what_is_sent_before_anybody_looked_rests_on_the_claim_of_whom_it_is_for() {
    let mut state = state();
    wants(&mut state, "east", 1, "192.0.2.1");
    // It passes to the other while it waits to be sent.
    state.withdraw(&name("www.example.com"), &held("east", 1, &[]));
    state.contribute(
        &name("www.example.com"),
        held("west", 2, &["192.0.2.2"]),
        PlacementRole::Publishes,
    );
    let sent = send(&mut state);
    let holders: Vec<&ClusterId> = sent
        .iter()
        .flat_map(|(_, claims)| claims)
        .filter_map(|claim| match claim {
            ClaimWrite::Hold(row) => Some(&row.cluster),
            ClaimWrite::Release { .. } => None,
        })
        .collect();
    assert_eq!(holders, [&cluster("west")]);
}

/// The stored claim of the name after these writes, in order.
fn stored(writes: &[ClaimWrite]) -> Option<ClaimRow> {
    writes.last().and_then(|write| match write {
        ClaimWrite::Hold(row) => Some(row.clone()),
        ClaimWrite::Release { .. } => None,
    })
}

/// The zone state of a replica that starts from what the store has.
fn taken_over(records: Vec<RecordWrite>, claims: &[ClaimWrite]) -> ZoneState {
    let mut state = state();
    state.load_records(records.into_iter().filter_map(|write| match write {
        RecordWrite::Put(row) => Some(row),
        RecordWrite::Remove(_) => None,
    }));
    stored(claims).into_iter().for_each(|claim| state.load_claim(claim));
    state
}

/// An endpoint that made something once is rewritten so that it cannot be read.
fn is_rejected(state: &mut ZoneState, cluster_name: &str, arrival: i64) -> Review {
    let rejected = held(cluster_name, arrival, &["not-an-address"]);
    rejected.set_retained(true);
    state.contribute(&name("www.example.com"), rejected, PlacementRole::Publishes);
    state.review(&name("www.example.com"), NOW, "", None)
}

#[test]
fn who_holds_a_name_is_durable_also_where_nothing_can_be_sent() {
    let mut state = state();
    state.compare(&page(vec![raw("192.0.2.66")]), NOW);
    wants(&mut state, "east", 1, "192.0.2.1");
    let claims = state.take_lone_claims();
    assert_eq!(stored(&claims).map(|row| row.cluster), Some(cluster("east")));
    state.claims_kept(&claims);
    state.review(&name("www.example.com"), NOW, "", None);
    assert!(!state.has_lone_claims(), "once is enough");

    leaves(&mut state, "east", 1);
    assert!(matches!(state.take_lone_claims()[..], [ClaimWrite::Release { .. }]));
}

#[test]
fn a_claim_that_a_batch_takes_along_is_not_written_alone() {
    let mut state = state();
    wants(&mut state, "east", 1, "192.0.2.1");
    assert!(!state.has_lone_claims());
    send(&mut state);
    state.review(&name("www.example.com"), NOW, "", None);
    assert!(!state.has_lone_claims());
}

#[test]
fn what_passed_on_as_it_stood_stays_when_its_holder_is_rejected_and_another_replica_takes_over() {
    let mut state = state();
    wants(&mut state, "east", 1, "192.0.2.1");
    wants(&mut state, "west", 2, "192.0.2.1");
    let (records, mut claims) = send(&mut state).remove(0);
    leaves(&mut state, "east", 1);
    assert!(
        state.units(&name("www.example.com"), NOW).is_empty(),
        "the other wants just what is there"
    );
    claims.extend(state.take_lone_claims());
    assert_eq!(is_rejected(&mut taken_over(records, &claims), "west", 2).work, None);
}

#[test]
fn what_was_adopted_as_it_stood_stays_when_its_holder_is_rejected_and_another_replica_takes_over() {
    let mut state = state();
    state.settings.adopt = AdoptPolicy::Any;
    state.compare(&page(vec![raw("192.0.2.1")]), NOW);
    let records = wants(&mut state, "east", 1, "192.0.2.1").adopted;
    assert_eq!(records.len(), 1);
    let claims = state.take_lone_claims();
    assert_eq!(is_rejected(&mut taken_over(records, &claims), "east", 1).work, None);
}

#[test]
fn a_set_of_a_type_that_nobody_knows_is_in_the_way_of_a_cname_and_of_nothing_else() {
    let unknown = RawRecordSet { rtype: "DNAME".into(), ..raw("192.0.2.9") };
    let www = name("www.example.com");
    for (rtype, target, is_blocked) in
        [("CNAME", "lb.example.net", true), ("A", "192.0.2.1", false)]
    {
        let mut state = state();
        let diff = state.compare(&page(vec![unknown.clone()]), NOW);
        let RecordWrite::Put(row) = &diff.writes[0] else { panic!("{:?}", diff.writes) };
        assert_eq!((row.key.rtype.as_str(), &row.owner), ("DNAME", &None));
        assert_eq!(row.raw.unpack(&row.key).rtype, "DNAME");
        let wanted = endpoint("web", "www.example.com", rtype, &[target]);
        let held = EndpointEntry::new(cluster("east"), 1, &PackedEndpoint::pack(&wanted));
        state.contribute(&www, held, PlacementRole::Publishes);
        let review = state.review(&www, NOW, "", None);
        assert_eq!(state.units(&www, NOW).is_empty(), is_blocked, "{rtype}");
        let reason = review.statuses[0].1.verdict.reason;
        let expected = crate::core::endpoint::verdict::Reason::ForeignRecord;
        assert_eq!(reason == expected, is_blocked, "{rtype}");
        if is_blocked {
            assert!(review.statuses[0].1.verdict.message.contains("DNAME"));
        }
        // Both go through the store and the next page, and nothing is new.
        assert!(state.compare(&page(vec![unknown.clone()]), NOW).writes.is_empty());
    }
}

#[test]
fn a_cluster_does_not_wait_for_its_turn_behind_what_another_one_left_at_the_name() {
    let mut state = state();
    wants(&mut state, "noisy", 1, "192.0.2.1");
    send(&mut state);
    leaves(&mut state, "noisy", 1);
    let www = name("www.example.com");
    let wanted = endpoint("web", "www.example.com", "CNAME", &["lb.example.net"]);
    let held = EndpointEntry::new(cluster("quiet"), 2, &PackedEndpoint::pack(&wanted));
    state.contribute(&www, held, PlacementRole::Publishes);
    let review = state.review(&www, NOW, "", None);
    assert_eq!(review.work, Some((cluster("quiet"), 2)));
}
