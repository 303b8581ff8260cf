//! The owner of each record set in Route 53, found from AWS's journal alone.

use std::collections::BTreeMap;

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::{RawRecordSet, RecordKey};
use zonefold::core::ids::ZoneId;
use zonefold::emulator::{JournalEntry, Origin};

use super::history::{History, What};

/// The net change of one record set by all changes of a batch.
#[derive(Clone, Debug)]
pub struct NetChange {
    /// Which.
    pub key: RecordKey,
    /// The set before.
    pub before: Option<RawRecordSet>,
    /// The set after.
    pub after: Option<RawRecordSet>,
}

/// The net changes of a batch, in the order of their keys. Sets whose names cannot be read are left out; no run has one.
pub fn net_changes(entry: &JournalEntry) -> Vec<NetChange> {
    let mut net: BTreeMap<RecordKey, NetChange> = BTreeMap::new();
    for change in &entry.changes {
        let Some(key) =
            change.before.as_ref().or(change.after.as_ref()).and_then(|set| set.key().ok())
        else {
            continue;
        };
        let own = |set: &Option<std::sync::Arc<RawRecordSet>>| set.as_deref().cloned();
        net.entry(key.clone())
            .or_insert(NetChange { key, before: own(&change.before), after: None })
            .after = own(&change.after);
    }
    net.into_values().collect()
}

/// Whether a batch is ours.
pub fn is_ours(entry: &JournalEntry) -> bool {
    entry.origin == Origin::Request
}

/// The owner of a record set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// We made it, and it is as we made it.
    Us,
    /// We made it, and another writer changed it or took it away.
    UsChanged,
    /// Another writer made it.
    Others,
}

/// The owner of each set, as the journal goes on. A set that was there before the first entry is another writer's.
#[derive(Clone, Debug, Default)]
pub struct Owners(BTreeMap<(ZoneId, RecordKey), Owner>);

impl Owners {
    /// The owner of each set at the end of a run.
    pub fn at_the_end(history: &History) -> Self {
        let mut owners = Self::default();
        for event in &history.log {
            if let What::Applied { entry, .. } = &event.what {
                owners.apply(entry);
            }
        }
        owners
    }

    /// The owner of a set, or its last owner if it is gone; `None` if it was never written.
    pub fn of(&self, zone: &ZoneId, key: &RecordKey) -> Option<Owner> {
        self.0.get(&(zone.clone(), key.clone())).copied()
    }

    /// The sets at a name with their owners, or last owners.
    pub fn at(&self, zone: &ZoneId, name: &DnsName) -> impl Iterator<Item = (&RecordKey, Owner)> {
        self.0
            .iter()
            .filter(move |((of, key), _)| of == zone && key.name == *name)
            .map(|((_, key), owner)| (key, *owner))
    }

    /// Takes in a batch.
    pub fn apply(&mut self, entry: &JournalEntry) {
        for change in net_changes(entry) {
            let at = (entry.zone.clone(), change.key);
            let before = self.0.get(&at).copied();
            match (is_ours(entry), &change.after, before) {
                (true, Some(_), _) => drop(self.0.insert(at, Owner::Us)),
                (true, None, _) => drop(self.0.remove(&at)),
                // Changes by others to a set of ours do not make it theirs, also when they take it away and put another there.
                (false, _, Some(Owner::Us | Owner::UsChanged)) => {
                    self.0.insert(at, Owner::UsChanged);
                }
                (false, Some(_), _) => drop(self.0.insert(at, Owner::Others)),
                (false, None, _) => drop(self.0.remove(&at)),
            }
        }
    }
}
