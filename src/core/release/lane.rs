//! Which changes pass through a freeze.

use crate::core::dns::record::{RawRecordSet, RecordData, RecordSet, RoutingPolicy};
use crate::core::governance::rule::freeze::Lane;
use crate::core::governance::rule::sharing::{FailoverMode, Sharing, SharingPolicy};
use crate::core::planning::change::{Change, Motive, Unit};
use crate::core::planning::claims::ZoneContext;

/// The lane of a unit: `urgent` if each of its changes only takes values away and one stays, or is what people say of a shared name
/// by its rule: another weight, or another cluster that answers. Whatever else a change does, it has no lane.
pub fn lane_of(unit: &Unit, zone: &ZoneContext) -> Option<Lane> {
    let is_urgent =
        |change: &Change| only_takes_values(change) || only_follows_people(change, zone);
    (!unit.changes.is_empty() && unit.changes.iter().all(is_urgent)).then_some(Lane::Urgent)
}

fn only_takes_values(change: &Change) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return false };
    let values = |raw: &RawRecordSet| match raw.canonical().ok()?.data {
        RecordData::Values { values, .. } => Some(values),
        RecordData::Alias(_) => None,
    };
    let (Some(old), Some(new)) = (values(before), values(after)) else { return false };
    let rest_is_equal = RawRecordSet { values: before.values.clone(), ..after.clone() } == *before;
    rest_is_equal
        && !new.is_empty()
        && new.len() < old.len()
        && new.iter().all(|value| old.contains(value))
}

fn only_follows_people(change: &Change, zone: &ZoneContext) -> bool {
    let rules = zone.governance.rules();
    let Some((_, sharing)) = rules.sharing(&zone.apex, &change.key.name) else { return false };
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return false };
    let (Ok(before), Ok(after)) = (before.canonical(), after.canonical()) else { return false };
    only_weighs_anew(change, sharing, &before, &after)
        || fails_over(change, sharing, &before, &after)
}

/// A set gets the weight that the rule gives its cluster, and is the same otherwise.
fn only_weighs_anew(
    change: &Change,
    sharing: &Sharing,
    before: &RecordSet,
    after: &RecordSet,
) -> bool {
    let given = sharing.given_weight(&change.cause.cluster).map(RoutingPolicy::Weighted);
    sharing.policy == SharingPolicy::Weighted
        && matches!(before.policy, RoutingPolicy::Weighted(_))
        && given.as_ref() == Some(&after.policy)
        && RecordSet { policy: before.policy.clone(), ..after.clone() } == *before
}

/// The name passes to the cluster that the rule says answers.
fn fails_over(change: &Change, sharing: &Sharing, before: &RecordSet, after: &RecordSet) -> bool {
    let Some(pair) = &sharing.failover else { return false };
    let is_simple = |set: &RecordSet| set.policy == RoutingPolicy::Simple;
    sharing.policy == SharingPolicy::Failover
        && pair.mode == FailoverMode::Manual
        && change.cause.motive == Motive::Passed
        && change.cause.cluster == *pair.active()
        && is_simple(before)
        && is_simple(after)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::core::dns::record::RecordKey;
    use crate::core::governance::rule::RuleKind;
    use crate::core::governance::snapshot::Governance;
    use crate::core::governance::testkit::{rule, rules};
    use crate::core::planning::change::Cause;
    use crate::core::testkit::{cluster, zone_context};

    fn set(values: &[&str], ttl_secs: i64) -> Option<RawRecordSet> {
        Some(RawRecordSet {
            name: "www.example.com.".into(),
            rtype: "A".into(),
            values: values.iter().map(|value| (*value).into()).collect(),
            ttl_secs: Some(ttl_secs),
            ..RawRecordSet::default()
        })
    }

    fn lane(
        zone: &ZoneContext,
        motive: Motive,
        before: Option<RawRecordSet>,
        after: Option<RawRecordSet>,
    ) -> Option<Lane> {
        let key: RecordKey = before.as_ref().or(after.as_ref()).unwrap().key().unwrap();
        let cause = Cause::new(motive, cluster("east"), vec![]);
        let change = Change { key, before, after, cause };
        lane_of(&Unit { changes: vec![change] }, zone)
    }

    #[test]
    fn only_the_removal_of_values_of_which_one_stays_is_urgent() {
        let both = || set(&["192.0.2.1", "192.0.2.2"], 60);
        for (before, after, is_urgent) in [
            (both(), set(&["192.0.2.1"], 60), true),
            (both(), set(&["192.0.2.3"], 60), false),
            (both(), set(&["192.0.2.1"], 30), false),
            (both(), both(), false),
            (both(), None, false),
            (None, both(), false),
            (set(&["192.0.2.1"], 60), both(), false),
        ] {
            let told = format!("{before:?} to {after:?}");
            let lane = lane(&zone_context(), Motive::Wanted, before, after);
            assert_eq!(lane.is_some(), is_urgent, "{told}");
        }
    }

    fn shared(spec: serde_json::Value) -> ZoneContext {
        let mut whole = json!({ "zone": "example.com", "names": ["www.example.com"] });
        whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
        let rules = rules(vec![rule(RuleKind::Sharing, "www", whole)]);
        zone_context().governed(Arc::new(Governance::new(Arc::new(rules), [].into())))
    }

    #[test]
    fn a_weight_that_a_rule_gives_is_urgent_if_nothing_else_changes() {
        let weighted = |value: &str, weight| {
            set(&[value], 60).map(|set| RawRecordSet {
                set_identifier: Some("east".into()),
                weight: Some(weight),
                ..set
            })
        };
        let by_rule = shared(json!({ "policy": "weighted", "weights": { "east": 10 } }));
        let by_endpoint = shared(json!({ "policy": "weighted" }));
        let exclusive = zone_context();
        for (zone, before, after, is_urgent) in [
            (&by_rule, weighted("192.0.2.1", 90), weighted("192.0.2.1", 10), true),
            (&by_rule, weighted("192.0.2.1", 90), weighted("192.0.2.9", 10), false),
            (&by_rule, weighted("192.0.2.1", 90), weighted("192.0.2.1", 20), false),
            (&by_rule, None, weighted("192.0.2.1", 10), false),
            (&by_rule, weighted("192.0.2.1", 10), None, false),
            (&by_rule, set(&["192.0.2.1"], 60), weighted("192.0.2.1", 10), false),
            (&by_endpoint, weighted("192.0.2.1", 90), weighted("192.0.2.1", 10), false),
            (&exclusive, weighted("192.0.2.1", 90), weighted("192.0.2.1", 10), false),
        ] {
            let told = format!("{before:?} to {after:?}");
            assert_eq!(lane(zone, Motive::Wanted, before, after).is_some(), is_urgent, "{told}");
        }
    }

    #[test]
    fn a_fail_over_by_a_person_is_urgent_and_an_edit_of_who_answers_is_not() {
        let pair = |active: &str| {
            shared(json!({ "policy": "failover", "failover": {
                "mode": "manual", "primary": "east", "secondary": "west", "active": active,
            } }))
        };
        let (one, other) = (|| set(&["192.0.2.1"], 60), || set(&["192.0.2.2"], 30));
        assert!(lane(&pair("east"), Motive::Passed, one(), other()).is_some());
        assert!(lane(&pair("east"), Motive::Wanted, one(), other()).is_none(), "its own edit");
        assert!(lane(&pair("west"), Motive::Passed, one(), other()).is_none(), "another answers");
        assert!(lane(&pair("east"), Motive::Passed, one(), None).is_none());
        assert!(lane(&zone_context(), Motive::Passed, one(), other()).is_none());
    }
}
