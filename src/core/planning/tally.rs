//! What the changes of a name do, in the numbers that guards count.

use serde::{Deserialize, Serialize};

use super::change::Unit;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RawRecordSet, RecordKey, RecordType};
use crate::core::governance::rule::guard::Counted;
use crate::core::ids::ClusterId;

/// How many of each that guards count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Record sets that are deleted and not replaced.
    #[serde(skip_serializing_if = "is_none")]
    pub deletions: u64,
    /// Names of which no answer is left.
    #[serde(skip_serializing_if = "is_none")]
    pub lost_names: u64,
    /// Names of which every value changes.
    #[serde(skip_serializing_if = "is_none")]
    pub replaced_names: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Tally {
    /// The number of one of them.
    pub const fn of(&self, what: Counted) -> u64 {
        match what {
            Counted::Deletions => self.deletions,
            Counted::LostNames => self.lost_names,
            Counted::ReplacedNames => self.replaced_names,
        }
    }

    /// Whether there is nothing to count.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.deletions += other.deletions;
        self.lost_names += other.lost_names;
        self.replaced_names += other.replaced_names;
    }

    /// Takes another one away that was added before.
    pub fn remove(&mut self, other: Self) {
        self.deletions = self.deletions.saturating_sub(other.deletions);
        self.lost_names = self.lost_names.saturating_sub(other.lost_names);
        self.replaced_names = self.replaced_names.saturating_sub(other.replaced_names);
    }

    /// What units do to a name that holds these record sets now.
    pub fn of_name<'a>(
        observed: impl Iterator<Item = (&'a RecordKey, &'a RawRecordSet)>,
        units: &[Unit],
    ) -> Self {
        let changes: Vec<_> = units.iter().flat_map(|unit| &unit.changes).collect();
        let created = changes.iter().filter(|change| change.before.is_none()).count();
        let deleted = changes.iter().filter(|change| change.after.is_none()).count();
        let (mut before, mut after) = (vec![], vec![]);
        for (key, raw) in observed.filter(|(key, _)| answers(key.rtype)) {
            before.push(raw);
            if !changes.iter().any(|change| change.key == *key) {
                after.push(raw);
            }
        }
        let written = changes.iter().filter(|change| answers(change.key.rtype));
        after.extend(written.filter_map(|change| change.after.as_ref()));
        let is_lost = !before.is_empty() && after.is_empty();
        let is_replaced = !before.is_empty()
            && !after.is_empty()
            && !changes.is_empty()
            && !before.iter().any(|old| after.iter().any(|new| share_an_answer(old, new)));
        Self {
            deletions: deleted.saturating_sub(created) as u64,
            lost_names: is_lost.into(),
            replaced_names: is_replaced.into(),
        }
    }
}

/// Whether a name without a record set of the type answers less. What a TXT or CAA set says is for machines that can do without.
const fn answers(rtype: RecordType) -> bool {
    !matches!(rtype, RecordType::Txt | RecordType::Caa | RecordType::Soa)
}

/// Whether a unit has a part in what its name is counted for.
pub fn takes_part(unit: &Unit, what: Counted) -> bool {
    let changes = &unit.changes;
    match what {
        Counted::Deletions => {
            let deleted = changes.iter().filter(|change| change.after.is_none()).count();
            deleted > changes.iter().filter(|change| change.before.is_none()).count()
        }
        Counted::LostNames => {
            changes.iter().any(|change| change.after.is_none() && answers(change.key.rtype))
        }
        Counted::ReplacedNames => {
            changes.iter().any(|change| change.before.is_some() && answers(change.key.rtype))
        }
    }
}

/// Whether two record sets have a value or the alias target in common.
fn share_an_answer(old: &RawRecordSet, new: &RawRecordSet) -> bool {
    match (&old.alias, &new.alias) {
        (Some(old), Some(new)) => old == new,
        (None, None) => old.values.iter().any(|value| new.values.contains(value)),
        _ => false,
    }
}

/// What guards count of one name in a batch, without what people let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedName {
    /// The name.
    pub name: DnsName,
    /// The cluster that it is for.
    pub cluster: ClusterId,
    /// What the batch does to it.
    pub tally: Tally,
}
