//! Whose each record set in Route 53 is, told from AWS's journal alone.

use std::collections::BTreeMap;

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::{RawRecordSet, RecordKey};
use zonefold::core::ids::ZoneId;
use zonefold::emulator::{JournalEntry, Origin};

use super::history::{History, What};

/// What a batch made of one record set, all its changes together.
#[derive(Clone, Debug)]
pub struct NetChange {
    /// Which.
    pub key: RecordKey,
    /// What was there.
    pub before: Option<RawRecordSet>,
    /// What is there.
    pub after: Option<RawRecordSet>,
}

/// The net changes of a batch, in the order of their keys. Sets whose names nobody can read are left out; no run has one.
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

/// Whose a record set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// We made it, and it is as we made it.
    Us,
    /// We made it, and somebody else changed it or took it away.
    UsChanged,
    /// Somebody else made it.
    Others,
}

/// Whose each set is, as the journal goes on. A set that was there before the first entry is somebody else's.
#[derive(Clone, Debug, Default)]
pub struct Owners(BTreeMap<(ZoneId, RecordKey), Owner>);

impl Owners {
    /// Whose each set is at the end of a run.
    pub fn at_the_end(history: &History) -> Self {
        let mut owners = Self::default();
        for event in &history.log {
            if let What::Applied { entry, .. } = &event.what {
                owners.apply(entry);
            }
        }
        owners
    }

    /// Whose a set is, or was last when it is gone; none when nobody ever wrote it.
    pub fn of(&self, zone: &ZoneId, key: &RecordKey) -> Option<Owner> {
        self.0.get(&(zone.clone(), key.clone())).copied()
    }

    /// Whose the sets at a name are, or were last.
    pub fn at(&self, zone: &ZoneId, name: &DnsName) -> impl Iterator<Item = Owner> {
        self.0
            .iter()
            .filter(move |((of, key), _)| of == zone && key.name == *name)
            .map(|(_, owner)| *owner)
    }

    /// Takes in a batch.
    pub fn apply(&mut self, entry: &JournalEntry) {
        for change in net_changes(entry) {
            let at = (entry.zone.clone(), change.key);
            let before = self.0.get(&at).copied();
            match (is_ours(entry), &change.after, before) {
                (true, Some(_), _) => drop(self.0.insert(at, Owner::Us)),
                (true, None, _) => drop(self.0.remove(&at)),
                // What others do to a set of ours does not make it theirs, also when they take it away and put another there.
                (false, _, Some(Owner::Us | Owner::UsChanged)) => {
                    self.0.insert(at, Owner::UsChanged);
                }
                (false, Some(_), _) => drop(self.0.insert(at, Owner::Others)),
                (false, None, _) => drop(self.0.remove(&at)),
            }
        }
    }
}
