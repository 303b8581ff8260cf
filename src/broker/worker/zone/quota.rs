//! The quota of a zone: how many record sets Route 53 holds there at most.
//!
//! A full zone accepts no creation from any cluster, and everything else as before. So it is no refusal of any unit: creations
//! wait together, with a back-off that doubles, and then a few go out to see. A deletion makes room at once.

use std::collections::BTreeSet;

use crate::core::dns::name::DnsName;
use crate::core::planning::change::Unit;
use crate::core::time::{Millis, Timestamp};

/// The first wait before something is created again.
const FIRST_WAIT: Millis = Millis::from_secs(30);
/// The longest such wait.
const LONGEST_WAIT: Millis = Millis::from_secs(1_800);
/// No call has more creations than this, so a zone that accepts as many is not full.
const MOST_CREATIONS: usize = 1_000;

/// The known state of the quota.
#[derive(Debug, Default)]
pub struct ZoneQuota {
    full: Option<Full>,
}

#[derive(Debug)]
struct Full {
    message: String,
    failures: u32,
    retry_at: Timestamp,
    /// How many record sets one call may create once the wait is over.
    allowance: usize,
    /// There are more than the quota allows, so not even a replacement is accepted.
    holds_replacements: bool,
    /// The names that wait and are to be looked at then.
    held: BTreeSet<DnsName>,
}

/// The record sets that a unit adds to the zone, if it adds more than it takes away.
pub fn creations(unit: &Unit) -> usize {
    let created = unit.changes.iter().filter(|change| change.before.is_none()).count();
    let deleted = unit.changes.iter().filter(|change| change.after.is_none()).count();
    created.saturating_sub(deleted)
}

impl ZoneQuota {
    /// Route 53 refused these units because the zone is full.
    pub fn refused(&mut self, units: &[Unit], message: String, now: Timestamp) {
        let replaces_only = units.iter().all(|unit| creations(unit) == 0);
        if let Some(full) = self.full.as_mut().filter(|full| now < full.retry_at) {
            full.holds_replacements |= replaces_only;
            return;
        }
        let old = self.full.take();
        let failures = old.as_ref().map_or(0, |full| full.failures) + 1;
        let wait = Millis((FIRST_WAIT.0 << (failures - 1).min(10)).min(LONGEST_WAIT.0));
        let holds_replacements =
            replaces_only || old.as_ref().is_some_and(|full| full.holds_replacements);
        let held = old.map(|full| full.held).unwrap_or_default();
        let retry_at = now + wait;
        let full = Full { message, failures, retry_at, allowance: 1, holds_replacements, held };
        self.full = Some(full);
    }

    /// A call was applied that added and removed these numbers of record sets.
    pub fn applied(&mut self, created: usize, deleted: usize, now: Timestamp) {
        let Some(full) = &mut self.full else { return };
        // A replacement counts as neither.
        full.holds_replacements = false;
        if created > deleted {
            full.allowance = full.allowance.saturating_mul(2);
            if full.allowance > MOST_CREATIONS {
                self.full = None;
            }
        } else if deleted > created {
            full.retry_at = full.retry_at.min(now);
            full.allowance = full.allowance.max(deleted - created);
        }
    }

    /// Why creations wait now, and until when; `None` if they do not.
    pub fn holds(&self, now: Timestamp) -> Option<(&str, Timestamp)> {
        let full = self.full.as_ref().filter(|full| now < full.retry_at)?;
        Some((&full.message, full.retry_at))
    }

    /// Why a unit waits now, and until when; `None` if it does not.
    pub fn holds_unit(&self, unit: &Unit, now: Timestamp) -> Option<(&str, Timestamp)> {
        let full = self.full.as_ref()?;
        let replaces = || unit.changes.iter().any(|change| change.after.is_some());
        let is_meant = creations(unit) > 0 || (full.holds_replacements && replaces());
        self.holds(now).filter(|_| is_meant)
    }

    /// How many record sets the next call may create.
    pub fn allowance(&self, now: Timestamp) -> usize {
        match &self.full {
            None => usize::MAX,
            Some(full) if now < full.retry_at => 0,
            Some(full) => full.allowance,
        }
    }

    /// Notes a name with something that waits, to be looked at when the wait is over.
    pub fn hold(&mut self, name: &DnsName) {
        if let Some(full) = &mut self.full {
            full.held.insert(name.clone());
        }
    }

    /// When the waiting names are to be looked at; may lie in the past.
    pub fn next_retry(&self) -> Option<Timestamp> {
        self.full.as_ref().filter(|full| !full.held.is_empty()).map(|full| full.retry_at)
    }

    /// The names whose wait is over, each once.
    pub fn take_due(&mut self, now: Timestamp) -> BTreeSet<DnsName> {
        match &mut self.full {
            Some(full) if full.retry_at <= now => std::mem::take(&mut full.held),
            _ => BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::dns::record::{RawRecordSet, RecordKey, RecordType};
    use crate::core::planning::change::{Cause, Change, Motive};
    use crate::core::testkit::{cluster, name};

    fn unit(before: bool, after: bool) -> Unit {
        let set = RawRecordSet::default();
        let key =
            RecordKey { name: name("www.example.com"), rtype: RecordType::A, set_identifier: None };
        let cause = Cause::new(Motive::Wanted, cluster("east"), vec![]);
        let (before, after) = (before.then(|| set.clone()), after.then_some(set));
        Unit { changes: vec![Change { key, before, after, cause }] }
    }

    fn creation() -> Unit {
        unit(false, true)
    }

    fn replacement() -> Unit {
        unit(true, true)
    }

    fn deletion() -> Unit {
        unit(true, false)
    }

    #[test]
    fn a_full_zone_is_tried_with_one_creation_and_takes_twice_as_many_each_time_that_it_goes_well()
    {
        let (mut quota, mut now) = (ZoneQuota::default(), Timestamp(0));
        assert_eq!((quota.allowance(now), quota.next_retry()), (usize::MAX, None));
        for wait in [30, 60, 120, 240, 480, 960, 1_800, 1_800] {
            quota.refused(&[creation()], "full".to_owned(), now);
            quota.hold(&name("www.example.com"));
            assert_eq!(quota.holds(now), Some(("full", now + Millis::from_secs(wait))));
            assert!(quota.allowance(now) == 0 && quota.take_due(now).is_empty());
            now = now + Millis::from_secs(wait);
            assert_eq!((quota.holds(now), quota.allowance(now)), (None, 1));
            assert_eq!(quota.take_due(now), [name("www.example.com")].into());
            assert_eq!(quota.next_retry(), None, "handed out already");
        }
        for allowance in [2, 4, 8] {
            quota.applied(1, 0, now);
            assert_eq!(quota.allowance(now), allowance);
        }
        (0..10).for_each(|_| quota.applied(1, 0, now));
        assert_eq!(quota.allowance(now), usize::MAX, "it is not full");
    }

    #[test]
    fn where_there_are_more_than_the_quota_allows_not_even_a_replacement_goes_out() {
        let (mut quota, now) = (ZoneQuota::default(), Timestamp(0));
        quota.refused(&[creation(), replacement()], "full".to_owned(), now);
        let until = quota.holds_unit(&creation(), now).map(|(_, until)| until);
        assert!(until.is_some() && quota.holds_unit(&replacement(), now).is_none());
        quota.refused(&[replacement()], "full".to_owned(), now + Millis(500));
        let held = quota.holds_unit(&replacement(), now + Millis(500)).map(|(_, until)| until);
        assert_eq!(held, until, "it was full before, and is not tried later for that");
        assert!(quota.holds_unit(&deletion(), now + Millis(500)).is_none());
    }

    #[test]
    fn a_deletion_makes_room_at_once() {
        let (mut quota, now) = (ZoneQuota::default(), Timestamp(7));
        quota.refused(&[creation()], "full".to_owned(), now);
        quota.applied(1, 1, now);
        assert!(quota.holds(now).is_some(), "one came for one that went");
        quota.applied(0, 3, now);
        assert_eq!((quota.holds(now), quota.allowance(now)), (None, 3));
    }
}
