//! Which changes pass through a freeze.

use crate::core::dns::record::{RawRecordSet, RecordData};
use crate::core::governance::rule::freeze::Lane;
use crate::core::planning::change::{Change, Unit};

/// The lane of a unit: `urgent` if it only takes values away and one stays in each record set.
pub fn lane_of(unit: &Unit) -> Option<Lane> {
    (!unit.changes.is_empty() && unit.changes.iter().all(only_takes_values)).then_some(Lane::Urgent)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::dns::record::RecordKey;
    use crate::core::planning::change::{Cause, Motive};
    use crate::core::testkit::cluster;

    fn set(values: &[&str], ttl_secs: i64) -> Option<RawRecordSet> {
        Some(RawRecordSet {
            name: "www.example.com.".into(),
            rtype: "A".into(),
            values: values.iter().map(|value| (*value).into()).collect(),
            ttl_secs: Some(ttl_secs),
            ..RawRecordSet::default()
        })
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
            let key: RecordKey = before.as_ref().or(after.as_ref()).unwrap().key().unwrap();
            let cause =
                Cause { motive: Motive::Wanted, cluster: cluster("east"), endpoints: vec![] };
            let change = Change { key, before, after, cause };
            let lane = lane_of(&Unit { changes: vec![change.clone()] });
            assert_eq!(lane.is_some(), is_urgent, "{change:?}");
        }
    }
}
