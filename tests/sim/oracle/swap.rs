//! 4: Every write is DELETE of exactly what was observed and CREATE of what is wanted.
//!
//! AWS checks that a DELETE repeats what is there and a CREATE finds nothing there; here it is read again in its journal.

use zonefold::core::invariants::Invariant;
use zonefold::emulator::ChangeAction;

use super::Violation;
use super::history::{History, What};
use super::owners::is_ours;

/// No batch of ours has an UPSERT, and no set is written over.
pub fn judge(history: &History) -> Vec<Violation> {
    let mut violations = vec![];
    for event in &history.log {
        let What::Applied { entry, .. } = &event.what else { continue };
        for change in entry.changes.iter().filter(|_| is_ours(entry)) {
            let wrong = match (change.action, &change.before, &change.after) {
                (ChangeAction::Upsert, _, _) => Some("is an UPSERT"),
                (ChangeAction::Create, Some(_), _) => Some("creates over what is there"),
                (ChangeAction::Delete, None, _) => Some("deletes what is not there"),
                (ChangeAction::Delete, _, Some(_)) => Some("deletes and leaves something"),
                (ChangeAction::Create | ChangeAction::Delete, _, _) => None,
            };
            let set = change.after.as_ref().or(change.before.as_ref());
            if let (Some(wrong), Some(set)) = (wrong, set) {
                let name = set.name.trim_end_matches('.');
                let what = format!("the change of {name} {} {wrong}", set.rtype);
                violations
                    .push(Violation::new(Invariant::CompareAndSwap, event.at, what).about(name));
            }
        }
    }
    violations
}
