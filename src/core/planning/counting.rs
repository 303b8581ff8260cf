//! What the changes of a name do, in the numbers that guards count.

use super::change::Unit;
use super::tally::Tally;
use crate::core::dns::record::{RawRecordSet, RecordKey, RecordType};
use crate::core::governance::rule::guard::Counted;

/// What units do to a name that holds these record sets now.
pub fn count_name<'a>(
    observed: impl Iterator<Item = (&'a RecordKey, &'a RawRecordSet)>,
    units: &[Unit],
) -> Tally {
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
    Tally {
        deletions: deleted.saturating_sub(created) as u64,
        lost_names: is_lost.into(),
        replaced_names: is_replaced.into(),
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
