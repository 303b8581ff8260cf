//! The typed side of the control API: what tests and `zonefold dev` call in process.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::AppliedChange;
use super::clock::EmulatorClock;
use super::counters::CountersReport;
use super::error::AwsError;
use super::faults::{FaultRule, FaultState};
use super::ids::IdSource;
use super::journal::JournalEntry;
use super::request::RecordChange;
use super::server::{Shared, lock};
use super::state::{name_servers, new_zone_id};
use super::zone::{Zone, ZoneSnapshot};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RawRecordSet;
use crate::core::ids::{AccountId, ZoneId};
use crate::core::time::Timestamp;
use crate::ports::Clock as _;

/// A zone in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ZoneSummary {
    /// Bare id.
    pub id: ZoneId,
    pub account: AccountId,
    /// The apex.
    pub name: DnsName,
    /// Private zones are not answered by the DNS view.
    pub private: bool,
    pub tags: BTreeMap<String, String>,
    /// How many record sets it holds, SOA and NS included.
    pub record_count: usize,
    /// Rises with every applied batch.
    pub version: u64,
}

/// Which record sets of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The accepted sets, as in the answer to a list.
    Accepted,
    /// The sets that the name servers answer with: changes arrive when they are INSYNC.
    Propagated,
}

/// The zones and ids, to be carried over a restart. Sessions, tokens, faults, counters and the journal start anew.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    ids: IdSource,
    zones: Vec<ZoneSnapshot>,
}

const SNAPSHOT_VERSION: u32 = 1;

/// Why a control operation did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such zone.
    #[error("there is no zone {0}; GET /zones lists them")]
    NoSuchZone(String),
    /// There is no such rule.
    #[error("there is no fault rule {0}; GET /faults lists them")]
    NoSuchRule(u64),
    /// A foreign write is judged like a request.
    #[error("the write was refused with {code}: {message}")]
    Refused { code: &'static str, message: String },
    /// The snapshot is of another version or damaged.
    #[error("the snapshot cannot be restored: {0}")]
    Snapshot(String),
}

impl From<AwsError> for ControlError {
    fn from(error: AwsError) -> Self {
        Self::Refused { code: error.code, message: error.message }
    }
}

/// Steers an emulator: faults, time, journal, counters, zones.
#[derive(Clone)]
pub struct Control {
    pub(super) world: Shared,
    pub(super) clock: Arc<EmulatorClock>,
}

impl Control {
    /// The emulator's time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the clock forward and answers the new time.
    pub fn step(&self, by_ms: u64) -> Timestamp {
        self.clock.step(by_ms)
    }

    /// Adds a rule and answers its id.
    pub fn add_fault(&self, rule: FaultRule) -> u64 {
        lock(&self.world).faults.add(rule)
    }

    /// Removes a rule.
    pub fn remove_fault(&self, id: u64) -> Result<(), ControlError> {
        if lock(&self.world).faults.remove(id) { Ok(()) } else { Err(ControlError::NoSuchRule(id)) }
    }

    /// Removes all rules.
    pub fn clear_faults(&self) {
        lock(&self.world).faults.clear();
    }

    /// All rules, and how often they worked.
    pub fn faults(&self) -> Vec<FaultState> {
        lock(&self.world).faults.list()
    }

    /// The journal's entries after a number; 0 for all.
    pub fn journal(&self, after: u64) -> Vec<JournalEntry> {
        lock(&self.world).journal.after(after)
    }

    /// Every applied UPSERT that replaced a set, regardless of the set's writer.
    pub fn blind_overwrites(&self) -> Vec<AppliedChange> {
        let blind = |change: &AppliedChange| {
            change.action == super::ChangeAction::Upsert && change.before.is_some()
        };
        self.journal(0).into_iter().flat_map(|entry| entry.changes).filter(blind).collect()
    }

    /// Everything that is counted.
    pub fn counters(&self) -> CountersReport {
        lock(&self.world).report()
    }

    /// All zones of all accounts.
    pub fn zones(&self) -> Vec<ZoneSummary> {
        lock(&self.world).zones.values().map(summary).collect()
    }

    /// The first zone of that name.
    pub fn zone_named(&self, name: &DnsName) -> Option<ZoneId> {
        lock(&self.world).zones.values().find(|zone| zone.name == *name).map(|zone| zone.id.clone())
    }

    /// The record sets of a zone, in list order.
    pub fn records(&self, id: &ZoneId, view: View) -> Result<Vec<RawRecordSet>, ControlError> {
        let now = self.clock.now();
        let mut world = lock(&self.world);
        let zone =
            world.zones.get_mut(id).ok_or_else(|| ControlError::NoSuchZone(id.to_string()))?;
        let records = match view {
            View::Accepted => &zone.records,
            View::Propagated => {
                zone.settle(now);
                zone.propagated()
            }
        };
        Ok(records.values().map(|set| RawRecordSet::clone(set)).collect())
    }

    /// Writes in the place of another writer. The batch is judged like a request; it takes no token and meets no busy zone.
    pub fn foreign_write(
        &self,
        zone: &ZoneId,
        changes: &[RecordChange],
    ) -> Result<String, ControlError> {
        Ok(lock(&self.world).foreign_write(zone, changes)?.id)
    }

    /// Makes a zone as another writer.
    pub fn make_zone(&self, account: AccountId, name: DnsName) -> ZoneId {
        let mut world = lock(&self.world);
        let id = new_zone_id(&mut world.ids);
        let mut zone = Zone::new(id.clone(), account, name, name_servers(&mut world.ids));
        zone.caller_reference = format!("emulator:{id}");
        world.zones.insert(id.clone(), zone);
        id
    }

    /// Deletes a zone with all its record sets, as another writer.
    ///
    /// # Errors
    /// There is no such zone.
    pub fn delete_zone(&self, id: &ZoneId) -> Result<(), ControlError> {
        let deleted = lock(&self.world).zones.remove(id);
        deleted.map(drop).ok_or_else(|| ControlError::NoSuchZone(id.to_string()))
    }

    /// Gives a zone these tags in the place of those that it has.
    ///
    /// # Errors
    /// There is no such zone.
    pub fn set_tags(
        &self,
        id: &ZoneId,
        tags: BTreeMap<String, String>,
    ) -> Result<(), ControlError> {
        let mut world = lock(&self.world);
        let zone = world.zones.get_mut(id);
        zone.ok_or_else(|| ControlError::NoSuchZone(id.to_string()))?.tags = tags;
        Ok(())
    }

    /// Zones and ids, for a restart.
    pub fn snapshot(&self) -> Snapshot {
        let world = lock(&self.world);
        let zones = world.zones.values().map(Zone::save).collect();
        Snapshot { version: SNAPSHOT_VERSION, ids: world.ids.clone(), zones }
    }

    /// Puts the zones of a snapshot in the place of the present ones.
    pub fn restore(&self, snapshot: Snapshot) -> Result<(), ControlError> {
        if snapshot.version != SNAPSHOT_VERSION {
            return Err(ControlError::Snapshot(format!(
                "its version is {}, not {SNAPSHOT_VERSION}",
                snapshot.version
            )));
        }
        let zones = snapshot
            .zones
            .into_iter()
            .map(|saved| Zone::load(saved).map(|zone| (zone.id.clone(), zone)));
        let zones = zones.collect::<Result<_, _>>().map_err(ControlError::Snapshot)?;
        let mut world = lock(&self.world);
        world.zones = zones;
        world.ids = snapshot.ids;
        Ok(())
    }
}

fn summary(zone: &Zone) -> ZoneSummary {
    ZoneSummary {
        id: zone.id.clone(),
        account: zone.account.clone(),
        name: zone.name.clone(),
        private: zone.private,
        tags: zone.tags.clone(),
        record_count: zone.records.len(),
        version: zone.version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::{AccountConfig, EmulatorConfig, InProcess};

    #[test]
    fn somebody_else_makes_tags_and_deletes_a_zone() {
        let account = AccountId::parse("111111111111").unwrap();
        let accounts = vec![AccountConfig::new(account.clone())];
        let emulator = InProcess::new(EmulatorConfig { accounts, ..EmulatorConfig::default() });
        let control = emulator.unwrap().control();
        let name = DnsName::parse("example.com").unwrap();
        let id = control.make_zone(account, name.clone());
        assert_eq!(control.zone_named(&name), Some(id.clone()));
        let tags = BTreeMap::from([("stage".to_owned(), "frozen".to_owned())]);
        control.set_tags(&id, tags.clone()).unwrap();
        assert_eq!(control.zones()[0].tags, tags);
        control.delete_zone(&id).unwrap();
        assert_eq!(control.zone_named(&name), None);
        assert_eq!(control.delete_zone(&id), Err(ControlError::NoSuchZone(id.to_string())));
        assert_eq!(control.set_tags(&id, tags), Err(ControlError::NoSuchZone(id.to_string())));
    }
}
