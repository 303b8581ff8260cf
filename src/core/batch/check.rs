//! An independent reading of every batch before it is sent. It knows nothing of how the batch was made: it replays the call
//! against what is observed, as Route 53 would, and asks whether each invariant that a batch can break holds.

use std::collections::BTreeMap;

use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RawRecordSet, RecordKey, RecordType};
use crate::core::governance::rule::guard::Counted;
use crate::core::invariants::Invariant;
use crate::core::planning::change::{Action, Batch, Motive, WireChange};
use crate::core::planning::claims::ZoneContext;
use crate::core::planning::counting::takes_part;
use crate::core::planning::plan::{Observed, is_protected};
use crate::core::planning::policy::{AdoptPolicy, ZonePolicy};
use crate::core::release::guarded::Guarded;
use crate::core::release::lane::lane_of;

/// Route 53: ResourceRecord elements in one call.
const MAX_RECORDS: usize = 1_000;
/// Route 53: characters of all values in one call.
const MAX_VALUE_CHARS: usize = 32_000;
/// Route 53: changes in one call.
const MAX_CHANGES: usize = 4_000;

/// Something in a batch that must not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("batch check: {what} ({invariant:?})")]
pub struct Violation {
    /// Which invariant it would break.
    pub invariant: Invariant,
    /// The violation in words.
    pub what: String,
}

/// Reads a batch against what is observed in its zone (at least the names that it touches).
///
/// # Errors
/// All violations; a batch with an error is not sent.
pub fn check(
    batch: &Batch,
    zone: &ZoneContext,
    policy: ZonePolicy,
    adopt: AdoptPolicy,
    guarded: &Guarded,
    observed: impl Fn(&RecordKey) -> Option<Observed>,
) -> Result<(), Vec<Violation>> {
    let mut reader = Reader { batch, zone, policy, adopt, violations: vec![] };
    reader.read_limits();
    reader.read_attribution();
    reader.read_freezes();
    reader.read_guards(guarded);
    reader.replay(observed);
    if reader.violations.is_empty() { Ok(()) } else { Err(reader.violations) }
}

struct Reader<'a> {
    batch: &'a Batch,
    zone: &'a ZoneContext,
    policy: ZonePolicy,
    adopt: AdoptPolicy,
    violations: Vec<Violation>,
}

impl Reader<'_> {
    fn found(&mut self, invariant: Invariant, what: String) {
        self.violations.push(Violation { invariant, what });
    }

    fn read_limits(&mut self) {
        let wire = &self.batch.wire;
        let records: usize = wire.iter().map(|change| change.set.values.len().max(1)).sum();
        let chars: usize = wire
            .iter()
            .flat_map(|change| &change.set.values)
            .map(|value| value.chars().count())
            .sum();
        if records > MAX_RECORDS || chars > MAX_VALUE_CHARS || wire.len() > MAX_CHANGES {
            self.found(
                Invariant::LimitsHold,
                format!("{records} records, {chars} value characters, {} changes", wire.len()),
            );
        }
        if wire.is_empty() {
            self.found(Invariant::IdleIsFree, "the batch is empty".to_owned());
        }
    }

    /// The units and the wire agree, and every change names the cluster that it is for.
    fn read_attribution(&mut self) {
        let mut from_units: Vec<WireChange> = self
            .batch
            .changes()
            .flat_map(|change| {
                let before =
                    change.before.clone().map(|set| WireChange { action: Action::Delete, set });
                let after =
                    change.after.clone().map(|set| WireChange { action: Action::Create, set });
                [before, after].into_iter().flatten()
            })
            .collect();
        let mut wire = self.batch.wire.clone();
        from_units.sort();
        wire.sort();
        if from_units != wire {
            self.found(
                Invariant::Attributable,
                "the call and the changes that it is journalled under differ".to_owned(),
            );
        }
        for change in self.batch.changes() {
            let wanted = change.after.is_some() && change.cause.endpoints.is_empty();
            if wanted {
                self.found(
                    Invariant::Attributable,
                    format!("{} is written for no endpoint", change.key),
                );
            }
        }
    }

    /// Nothing that a freeze closes is in it.
    fn read_freezes(&mut self) {
        let zone = self.zone;
        for unit in &self.batch.units {
            let lane = lane_of(unit);
            let closed = unit.changes.iter().find_map(|change| {
                let (name, cluster) = (&change.key.name, &change.cause.cluster);
                let (governance, placement) = (&zone.governance, &zone.placement);
                Some((name, governance.closes(placement, &zone.apex, name, cluster, lane)?))
            });
            if let Some((name, closed)) = closed {
                self.found(Invariant::FreezesHold, format!("{name} is changed, and {closed}"));
            }
        }
    }

    /// Nothing that a guard holds is in it but what people let go, and the word of people is for what is in it.
    fn read_guards(&mut self, guarded: &Guarded) {
        let (batch, zone) = (self.batch, self.zone);
        let mut unspoken = batch.stamp.released.clone();
        for unit in &batch.units {
            let digest = unit.digest(&batch.zone);
            if unspoken.remove(&digest) && guarded.approvals.speak_of(&digest) {
                continue;
            }
            let (Some(change), Some(cluster)) = (unit.changes.first(), unit.cluster()) else {
                continue;
            };
            let name = &change.key.name;
            let guards = zone.governance.guards_at(&zone.placement, &zone.apex, name, cluster);
            let counted = batch.stamp.counted.iter().find(|counted| counted.name == *name);
            let does = |what: Counted| {
                takes_part(unit, what)
                    && match what {
                        Counted::Deletions => self.deletes_more_than_it_creates(name),
                        _ => counted.is_some_and(|counted| counted.tally.of(what) > 0),
                    }
            };
            let crossings = &guarded.crossings;
            if let Some((counter, _)) = crossings.holds(&guards, &batch.zone, cluster, does) {
                self.found(
                    Invariant::GuardsHold,
                    format!("{name} is changed, and {} holds it", counter.guard),
                );
            }
        }
        if !unspoken.is_empty() {
            let text = format!("{} words are for units that are not in it", unspoken.len());
            self.found(Invariant::GuardsHold, text);
        }
    }

    fn deletes_more_than_it_creates(&self, name: &DnsName) -> bool {
        let of_name = self.batch.changes().filter(|change| change.key.name == *name);
        let (mut created, mut deleted) = (0, 0);
        for change in of_name {
            created += usize::from(change.before.is_none());
            deleted += usize::from(change.after.is_none());
        }
        deleted > created
    }

    fn replay(&mut self, observed: impl Fn(&RecordKey) -> Option<Observed>) {
        let motives: BTreeMap<&RecordKey, Motive> =
            self.batch.changes().map(|change| (&change.key, change.cause.motive)).collect();
        let mut held: BTreeMap<RecordKey, Option<RawRecordSet>> = BTreeMap::new();
        for change in &self.batch.wire {
            let key = match change.set.key() {
                Ok(key) => key,
                Err(error) => {
                    self.found(
                        Invariant::CompareAndSwap,
                        format!("{} cannot be read: {error}", change.set.name),
                    );
                    continue;
                }
            };
            self.read_place(&key);
            let before = observed(&key).filter(|o| o.is_there());
            let now =
                held.entry(key.clone()).or_insert_with(|| before.as_ref().map(|o| o.raw.clone()));
            match (change.action, now.as_ref()) {
                (Action::Create, Some(_)) => {
                    self.found(
                        Invariant::CompareAndSwap,
                        format!("{key} is created over an existing record set"),
                    );
                }
                (Action::Create, None) => *now = Some(change.set.clone()),
                (Action::Delete, Some(there)) if *there == change.set => {
                    *now = None;
                    self.read_delete(&key, before.as_ref(), motives.get(&key).copied());
                }
                (Action::Delete, _) => {
                    self.found(
                        Invariant::CompareAndSwap,
                        format!("{key} is deleted in another form than observed"),
                    );
                }
            }
        }
        for (key, now) in &held {
            if now.is_none() && !self.policy.allows_delete() && !self.is_replaced(key, &held) {
                self.found(
                    Invariant::SilenceNeverDeletes,
                    format!("{key} is deleted under the policy {}", self.policy),
                );
            }
            if key.rtype == RecordType::Cname
                && now.is_some()
                && held.iter().any(|(other, there)| {
                    there.is_some()
                        && other.name == key.name
                        && other != key
                        && other.rtype != key.rtype
                })
            {
                self.found(
                    Invariant::PoisonIsAlone,
                    format!("{key} would coexist with another type (RFC 1034 §3.6.2)"),
                );
            }
        }
    }

    fn is_replaced(
        &self,
        key: &RecordKey,
        held: &BTreeMap<RecordKey, Option<RawRecordSet>>,
    ) -> bool {
        held.iter().any(|(other, there)| other.name == key.name && there.is_some())
    }

    fn read_place(&mut self, key: &RecordKey) {
        if !key.name.is_in(&self.zone.apex) {
            self.found(
                Invariant::ForeignIsUntouched,
                format!("{key} does not lie in {}", self.zone.apex),
            );
        }
        if is_protected(&self.zone.apex, key) {
            self.found(Invariant::ForeignIsUntouched, format!("{key} belongs to Route 53"));
        }
        if !self.policy.allows_create() {
            self.found(
                Invariant::ForeignIsUntouched,
                format!("{key} is written under the policy {}", self.policy),
            );
        }
    }

    fn read_delete(&mut self, key: &RecordKey, before: Option<&Observed>, motive: Option<Motive>) {
        let foreign = before.is_some_and(|o| o.owner.is_none());
        if foreign && !(motive == Some(Motive::Adopt) && self.adopt == AdoptPolicy::Any) {
            self.found(Invariant::ForeignIsUntouched, format!("{key} was not made by Zonefold"));
        }
        if motive.is_none() {
            self.found(Invariant::Attributable, format!("{key} is deleted for no reason"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::endpoint::parsed::parse_endpoint;
    use crate::core::ids::{AccountId, BatchId};
    use crate::core::planning::change::{BatchStamp, Cause, Change, Unit};
    use crate::core::planning::plan::Ownership;
    use crate::core::testkit::{cluster, endpoint, zone_context};
    use crate::core::time::Timestamp;

    fn raw(target: &str) -> RawRecordSet {
        let endpoint = endpoint("web", "www.example.com", "A", &[target]);
        parse_endpoint(&endpoint).unwrap().record_sets(zone_context().zone(), 300)[0].to_raw()
    }

    fn batch(before: Option<RawRecordSet>, after: Option<RawRecordSet>) -> Batch {
        let key = before.as_ref().or(after.as_ref()).unwrap().key().unwrap();
        let cause = Cause {
            motive: Motive::Wanted,
            cluster: cluster("east"),
            endpoints: vec![endpoint("web", "www.example.com", "A", &[]).key],
        };
        let wire = [
            before.clone().map(|set| WireChange { action: Action::Delete, set }),
            after.clone().map(|set| WireChange { action: Action::Create, set }),
        ];
        Batch {
            id: BatchId(uuid::Uuid::nil()),
            account: AccountId::parse("111111111111").unwrap(),
            zone: zone_context().placement.zone,
            planned_at: Timestamp(0),
            stamp: BatchStamp::default(),
            units: vec![Unit { changes: vec![Change { key, before, after, cause }] }],
            wire: wire.into_iter().flatten().collect(),
        }
    }

    fn verify(batch: &Batch, policy: ZonePolicy, observed: Option<Observed>) -> Vec<Invariant> {
        let guarded = Guarded::default();
        let adopt = AdoptPolicy::Never;
        match check(batch, &zone_context(), policy, adopt, &guarded, |_| observed.clone()) {
            Ok(()) => vec![],
            Err(violations) => violations.into_iter().map(|v| v.invariant).collect(),
        }
    }

    fn ours(target: &str) -> Option<Observed> {
        let owner = Some(Ownership { cluster: cluster("east"), batch: BatchId(uuid::Uuid::nil()) });
        Some(Observed { raw: raw(target), owner, drift: None })
    }

    fn foreign(target: &str) -> Option<Observed> {
        Some(Observed { raw: raw(target), owner: None, drift: None })
    }

    #[test]
    fn a_sound_batch_passes() {
        assert_eq!(verify(&batch(None, Some(raw("192.0.2.1"))), ZonePolicy::Sync, None), []);
        assert_eq!(
            verify(
                &batch(Some(raw("192.0.2.1")), Some(raw("192.0.2.2"))),
                ZonePolicy::Sync,
                ours("192.0.2.1")
            ),
            []
        );
        assert_eq!(
            verify(&batch(Some(raw("192.0.2.1")), None), ZonePolicy::Sync, ours("192.0.2.1")),
            []
        );
    }

    #[test]
    fn a_write_over_something_else_is_found() {
        let update = batch(Some(raw("192.0.2.1")), Some(raw("192.0.2.2")));
        assert!(
            verify(&update, ZonePolicy::Sync, ours("192.0.2.9"))
                .contains(&Invariant::CompareAndSwap)
        );
        assert!(verify(&update, ZonePolicy::Sync, None).contains(&Invariant::CompareAndSwap));
        let create = batch(None, Some(raw("192.0.2.2")));
        assert!(
            verify(&create, ZonePolicy::Sync, ours("192.0.2.9"))
                .contains(&Invariant::CompareAndSwap)
        );
    }

    #[test]
    fn a_foreign_record_is_found() {
        let update = batch(Some(raw("192.0.2.1")), Some(raw("192.0.2.2")));
        assert_eq!(
            verify(&update, ZonePolicy::Sync, foreign("192.0.2.1")),
            [Invariant::ForeignIsUntouched]
        );
    }

    #[test]
    fn a_policy_is_read_again() {
        let delete = batch(Some(raw("192.0.2.1")), None);
        assert_eq!(
            verify(&delete, ZonePolicy::UpsertOnly, ours("192.0.2.1")),
            [Invariant::SilenceNeverDeletes]
        );
        assert!(
            verify(&batch(None, Some(raw("192.0.2.1"))), ZonePolicy::Observe, None)
                .contains(&Invariant::ForeignIsUntouched)
        );
    }

    #[test]
    fn a_call_that_says_more_than_its_journal_is_found() {
        let mut batch = batch(None, Some(raw("192.0.2.1")));
        batch.wire.push(WireChange {
            action: Action::Create,
            set: RawRecordSet { name: "other.example.com.".into(), ..raw("192.0.2.1") },
        });
        assert!(verify(&batch, ZonePolicy::Sync, None).contains(&Invariant::Attributable));
    }

    #[test]
    fn a_change_for_no_endpoint_is_found() {
        let mut batch = batch(None, Some(raw("192.0.2.1")));
        batch.units[0].changes[0].cause.endpoints.clear();
        assert_eq!(verify(&batch, ZonePolicy::Sync, None), [Invariant::Attributable]);
    }

    #[test]
    fn a_call_over_the_limits_is_found() {
        let mut set = raw("192.0.2.1");
        set.values = (0..1_001).map(|i| format!("10.0.{}.{}", i / 256, i % 256).into()).collect();
        assert!(
            verify(&batch(None, Some(set)), ZonePolicy::Sync, None)
                .contains(&Invariant::LimitsHold)
        );
    }
}
