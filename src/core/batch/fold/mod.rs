//! From units to one ChangeResourceRecordSets call: the units that fit, their order, and the parts to try after a refusal.
//!
//! A unit goes in whole or stays out whole. The counts are Route 53's own: every element of the call counts, a value counts
//! each time that it is deleted and each time that it is created, and every CREATE and DELETE costs one change token.

mod bisection;
mod order;

use serde::{Deserialize, Serialize};

use crate::core::dns::record::RawRecordSet;
use crate::core::planning::change::{Action, Change, Unit, WireChange};
pub use bisection::{Bisection, bisect};
pub use order::wire_order;

/// The limits of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FoldLimits {
    /// Records: the values of all elements, an alias counting as one.
    pub records: usize,
    /// Characters of all values, quotes and spaces included.
    pub value_chars: usize,
    /// Elements of the call.
    pub changes: usize,
    /// Tokens that the account's bucket of changes holds when it is full.
    pub change_tokens: usize,
}

impl Default for FoldLimits {
    /// Route 53's limits for one ChangeResourceRecordSets request, and a budget that bounds none.
    fn default() -> Self {
        Self { records: 1_000, value_chars: 32_000, changes: 4_000, change_tokens: usize::MAX }
    }
}

/// The cost of a unit, or of a call, against the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Records, as Route 53 counts them in a request.
    pub records: usize,
    /// Characters of values.
    pub value_chars: usize,
    /// Elements of the call.
    pub changes: usize,
    /// Tokens of the account's change bucket: one for each CREATE and each DELETE.
    pub change_tokens: u32,
}

impl Cost {
    fn plus(self, other: Cost) -> Cost {
        Cost {
            records: self.records + other.records,
            value_chars: self.value_chars + other.value_chars,
            changes: self.changes + other.changes,
            change_tokens: self.change_tokens.saturating_add(other.change_tokens),
        }
    }

    /// The first limit that is exceeded, with the amount that is needed and the amount that there is.
    fn exceeds(&self, limits: &FoldLimits) -> Option<TooLarge> {
        [
            (Limit::Records, self.records, limits.records),
            (Limit::ValueChars, self.value_chars, limits.value_chars),
            (Limit::Changes, self.changes, limits.changes),
            (
                Limit::ChangeTokens,
                usize::try_from(self.change_tokens).unwrap_or(usize::MAX),
                limits.change_tokens,
            ),
        ]
        .into_iter()
        .find(|(_, needed, most)| needed > most)
        .map(|(which, needed, most)| TooLarge { which, needed, most })
    }
}

/// The limits of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Records in all elements.
    Records,
    /// Characters in all values.
    ValueChars,
    /// Elements.
    Changes,
    /// Tokens of the account's bucket of changes.
    ChangeTokens,
}

impl Limit {
    fn noun(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::ValueChars => "characters of values",
            Self::Changes => "changes",
            Self::ChangeTokens => "change tokens",
        }
    }

    /// Who sets the limit, and how to keep it.
    fn bounded_by(self, most: usize) -> String {
        match self {
            Self::ChangeTokens => format!(
                "the account's bucket of changes holds {most}: raise its capacity, or spread the record sets over more names"
            ),
            _ => format!("Route 53 accepts {most} at most: spread its values over more names"),
        }
    }
}

/// A unit that no call can hold. It needs a person: make the endpoints that want it smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("the change needs {needed} {} in one call and {}", which.noun(), which.bounded_by(*most))]
pub struct TooLarge {
    /// The first limit that it breaks.
    pub which: Limit,
    /// The amount that the unit needs.
    pub needed: usize,
    /// The most that a call may hold.
    pub most: usize,
}

/// Why a unit was not added to the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdded {
    /// It fits into a later call.
    #[error("the call has no room for so many {} more", .0.noun())]
    Full(Limit),
    /// It fits into no call.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// The elements of one change: DELETE of exactly what was observed, CREATE of what is wanted. A change that changes nothing
/// has none.
fn elements(change: &Change) -> impl Iterator<Item = (Action, &RawRecordSet)> {
    let delete = change.before.as_ref().map(|set| (Action::Delete, set));
    let create = change.after.as_ref().map(|set| (Action::Create, set));
    delete.into_iter().chain(create).filter(|_| change.before != change.after)
}

/// The cost of a unit.
pub fn cost(unit: &Unit) -> Cost {
    unit.changes.iter().flat_map(elements).fold(Cost::default(), |sum, (_, set)| {
        sum.plus(Cost {
            records: set.record_count(),
            value_chars: set.value_chars(),
            changes: 1,
            change_tokens: 1,
        })
    })
}

/// A call that is being filled.
#[derive(Clone, Debug)]
pub struct Folder {
    limits: FoldLimits,
    change_tokens: u32,
    used: Cost,
    elements: Vec<WireChange>,
}

impl Folder {
    /// An empty call under Route 53's limits and the change tokens that are there now (`u32::MAX` where none are counted).
    pub fn new(limits: FoldLimits, change_tokens: u32) -> Self {
        Self { limits, change_tokens, used: Cost::default(), elements: Vec::new() }
    }

    /// Adds a whole unit.
    ///
    /// # Errors
    /// Nothing of the unit was added: the call has no room for it, or no call has.
    pub fn try_add(&mut self, unit: &Unit) -> Result<(), NotAdded> {
        let alone = cost(unit);
        if let Some(too_large) = alone.exceeds(&self.limits) {
            return Err(too_large.into());
        }
        let together = self.used.plus(alone);
        if let Some(full) = together.exceeds(&self.limits) {
            return Err(NotAdded::Full(full.which));
        }
        if together.change_tokens > self.change_tokens {
            return Err(NotAdded::Full(Limit::ChangeTokens));
        }
        self.used = together;
        self.elements.extend(order::wire_changes(unit));
        Ok(())
    }

    /// The cost of the call so far.
    pub fn used(&self) -> Cost {
        self.used
    }

    /// Whether the call would change nothing.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// The elements in the order of the call.
    pub fn finish(self) -> Vec<WireChange> {
        order::in_wire_order(self.elements)
    }
}

#[cfg(test)]
mod tests;
