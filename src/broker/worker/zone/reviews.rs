//! Which names of one zone are to be looked at.

use std::collections::{HashMap, VecDeque};

use super::ZoneState;
use super::name_state::Few;
use crate::core::dns::name::DnsName;
use crate::core::ids::ClusterId;

/// Names that a walk reads ahead.
pub(in crate::broker::worker) const WALK_AHEAD: usize = 1_000;

/// On whose account a name is looked at: the cluster that changed something there, or Zonefold itself.
pub type Asker = Option<ClusterId>;

/// The subject of an asker's turn.
#[derive(Clone, Debug)]
pub enum Look {
    /// A name, unless it was looked at since.
    Name(DnsName),
    /// The next name of the walk through the zone.
    Walk,
}

/// A noted name.
#[derive(Default)]
struct Noted {
    /// Whether it is still to be looked at.
    due: bool,
    /// The askers with a turn for it: each has one entry for a name at most, looked at or not.
    askers: Few<Asker>,
}

/// A look at all names of a zone, in their order.
#[derive(Default)]
struct Walk {
    /// The last name that was read.
    after: Option<DnsName>,
    /// Names that were read and not looked at.
    ahead: VecDeque<DnsName>,
    /// About how many are left.
    left: usize,
}

/// The names to look at in one zone.
#[derive(Default)]
pub struct ZoneReviews {
    noted: HashMap<DnsName, Noted>,
    /// How many of the noted ones are due.
    due: usize,
    walk: Option<Walk>,
    /// Entries that wait until the zone's records are known or durable.
    held_back: Vec<(Asker, Look)>,
}

impl ZoneReviews {
    /// How many names wait; a name that is noted and also still ahead of the walk counts twice.
    pub fn waiting(&self) -> usize {
        self.due + self.walk.as_ref().map_or(0, |walk| walk.left.max(1))
    }

    /// Notes a name; returns whether the asker needs a turn for it that it does not have yet.
    pub(in crate::broker::worker) fn note(&mut self, asker: &Asker, name: &DnsName) -> bool {
        let noted = self.noted.entry(name.clone()).or_default();
        if !std::mem::replace(&mut noted.due, true) {
            self.due += 1;
        }
        let is_new = !noted.askers.as_slice().contains(asker);
        if is_new {
            noted.askers.put(asker.clone(), |_| false);
        }
        is_new
    }

    /// Notes all names; returns whether this needs a turn that it does not have yet.
    pub(in crate::broker::worker) fn note_all(&mut self, names: usize) -> bool {
        self.walk.replace(Walk { left: names, ..Walk::default() }).is_none()
    }

    /// Notes names to look at once the result of the zone's current operation is known and durable.
    pub fn hold(&mut self, names: impl IntoIterator<Item = DnsName>) {
        for name in names {
            if self.note(&None, &name) {
                self.held_back.push((None, Look::Name(name)));
            }
        }
    }

    /// Notes all names of the zone in the same way; `names` is their number.
    pub fn hold_all(&mut self, names: usize) {
        if self.note_all(names) {
            self.held_back.push((None, Look::Walk));
        }
    }

    /// Holds back an entry that had its turn.
    pub fn hold_back(&mut self, asker: Asker, look: Look) {
        self.held_back.push((asker, look));
    }

    /// Whether nothing is remembered of any name.
    #[cfg(test)]
    pub(in crate::broker::worker) fn is_forgotten(&self) -> bool {
        self.noted.is_empty()
    }

    /// Takes out the entries that are held back.
    pub(in crate::broker::worker) fn take_held_back(&mut self) -> Vec<(Asker, Look)> {
        std::mem::take(&mut self.held_back)
    }

    /// The names that are held back.
    pub fn held(&self) -> Vec<DnsName> {
        let name = |(_, look): &(Asker, Look)| match look {
            Look::Name(name) => Some(name.clone()),
            Look::Walk => None,
        };
        self.held_back.iter().filter_map(name).collect()
    }

    /// The name to look at now that a turn has come, if there is one, and whether the turn comes again.
    pub fn turn(
        &mut self,
        asker: &Asker,
        look: &Look,
        state: &ZoneState,
    ) -> (Option<DnsName>, bool) {
        match look {
            Look::Name(name) => {
                let was_due = self.looked_at(name);
                if let Some(noted) = self.noted.get_mut(name) {
                    noted.askers.remove(|other| other == asker);
                    if noted.askers.is_empty() {
                        self.forget(name);
                    }
                }
                (was_due.then(|| name.clone()), false)
            }
            Look::Walk => {
                let next = self.walk.as_mut().and_then(|walk| walk.next(state));
                match &next {
                    Some(name) => drop(self.looked_at(name)),
                    None => self.walk = None,
                }
                let goes_on = next.is_some();
                (next, goes_on)
            }
        }
    }

    /// A name is looked at, for whatever reason; returns whether it was due. Turns that lead there are passed over.
    pub fn looked_at(&mut self, name: &DnsName) -> bool {
        let was_due = self.noted.get_mut(name).is_some_and(|noted| std::mem::take(&mut noted.due));
        self.due -= usize::from(was_due);
        was_due
    }

    fn forget(&mut self, name: &DnsName) {
        self.noted.remove(name);
        if self.noted.is_empty() {
            // Frees the memory that a flood needed.
            self.noted = HashMap::new();
        }
    }
}

impl Walk {
    fn next(&mut self, state: &ZoneState) -> Option<DnsName> {
        if self.ahead.is_empty() {
            self.ahead = state.names_after(self.after.as_ref(), WALK_AHEAD).into();
            self.after = self.ahead.back().cloned().or(self.after.take());
        }
        self.left = self.left.saturating_sub(1);
        self.ahead.pop_front()
    }
}
