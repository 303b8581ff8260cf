//! The state of one name in a zone, small enough for a million of them.
//!
//! Nearly every name has one endpoint and one record set, so one of each needs no list. Rare and passing state is behind a
//! pointer that is empty as a rule. Wishes, desired sets and plans are not held at all: they are made from this when a name is
//! looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use arcstr::ArcStr;

use crate::broker::directory::PlacementRole;
use crate::broker::directory::entry::EndpointEntry;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RecordKey, RecordType};
use crate::core::endpoint::EndpointKey;
use crate::core::endpoint::packed::PackedRecord;
use crate::core::endpoint::parsed::parse_endpoint;
use crate::core::ids::ClusterId;
use crate::core::planning::claims::Contribution;
use crate::core::planning::plan::{Drift, Observed, Ownership};
use crate::core::time::Timestamp;
use crate::ports::RecordRow;

/// How many endpoints of a name are remembered after they are gone, for the cause of the deletion.
const MAX_DEPARTED: usize = 16;

/// None, one, or several.
#[derive(Clone, Debug, Default)]
pub enum Few<T> {
    /// None.
    #[default]
    None,
    /// One.
    One(T),
    /// Two or more; behind one pointer.
    #[expect(
        clippy::box_collection,
        reason = "a list in place would make each name larger by the two words that few need"
    )]
    Many(Box<Vec<T>>),
}

impl<T> Few<T> {
    /// The items as one slice, whether there are none, one or many.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(item) => std::slice::from_ref(item),
            Self::Many(items) => items,
        }
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Puts an item in the place of the first that it replaces, which is answered, or adds it.
    pub fn put(&mut self, item: T, replaces: impl Fn(&T) -> bool) -> Option<T> {
        match self {
            Self::None => {
                *self = Self::One(item);
                None
            }
            Self::One(old) if replaces(old) => Some(std::mem::replace(old, item)),
            Self::One(_) => {
                if let Self::One(old) = std::mem::take(self) {
                    *self = Self::Many(Box::new(vec![old, item]));
                }
                None
            }
            Self::Many(items) => match items.iter_mut().find(|old| replaces(old)) {
                Some(old) => Some(std::mem::replace(old, item)),
                None => {
                    items.push(item);
                    None
                }
            },
        }
    }

    /// Takes out the first item that is meant.
    pub fn remove(&mut self, is_meant: impl Fn(&T) -> bool) -> Option<T> {
        match self {
            Self::One(item) if is_meant(item) => match std::mem::take(self) {
                Self::One(item) => Some(item),
                Self::None | Self::Many(_) => None,
            },
            Self::None | Self::One(_) => None,
            Self::Many(items) => {
                let index = items.iter().position(is_meant)?;
                let removed = items.remove(index);
                if items.len() == 1 {
                    *self = items.pop().map_or(Self::None, Self::One);
                }
                Some(removed)
            }
        }
    }
}

/// An observed record set without its name.
#[derive(Clone, Debug)]
pub struct Sighting {
    rtype: RecordType,
    drift: Option<Drift>,
    set_identifier: Option<ArcStr>,
    /// Exactly what Route 53 answered.
    pub record: PackedRecord,
    /// `None` if foreign. The sets that one batch made for a cluster share it.
    pub owner: Option<Arc<Ownership>>,
}

impl Sighting {
    /// The record set that was observed under a key.
    pub fn new(
        key: &RecordKey,
        record: PackedRecord,
        owner: Option<Arc<Ownership>>,
        drift: Option<Drift>,
    ) -> Self {
        Self { rtype: key.rtype, drift, set_identifier: key.set_identifier.clone(), record, owner }
    }

    /// The key at a name.
    pub fn key(&self, name: &DnsName) -> RecordKey {
        RecordKey {
            name: name.clone(),
            rtype: self.rtype,
            set_identifier: self.set_identifier.clone(),
        }
    }

    /// How another writer changed it since we wrote it.
    pub fn drift(&self) -> Option<Drift> {
        self.drift
    }

    /// Whether Route 53 holds the set.
    pub fn is_there(&self) -> bool {
        self.drift != Some(Drift::Missing)
    }

    /// Whether it is of a type.
    pub fn is_of(&self, rtype: RecordType) -> bool {
        self.rtype == rtype
    }

    /// Whether it is an alias.
    pub fn is_alias(&self) -> bool {
        self.record.is_alias()
    }

    /// In the core's form.
    pub fn observed(&self, key: &RecordKey) -> Observed {
        Observed {
            raw: self.record.unpack(key),
            owner: self.owner.as_deref().cloned(),
            drift: self.drift,
        }
    }

    /// In the store's form.
    pub fn row(&self, key: RecordKey, at: Timestamp) -> RecordRow {
        let owner = self.owner.as_deref().cloned();
        RecordRow { key, raw: self.record.clone(), owner, drift: self.drift, observed_at: at }
    }

    fn is_under(&self, key: &RecordKey) -> bool {
        self.rtype == key.rtype && self.set_identifier == key.set_identifier
    }
}

/// The claim of a cluster to a name.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The owning cluster.
    pub cluster: ClusterId,
    /// Since when.
    pub since: Timestamp,
}

/// The change that a name waits for to be in sync.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Route 53's id; `None` if the answer was lost.
    pub change_id: Option<String>,
    /// Its number among the zone's changes.
    pub sequence: u64,
}

#[derive(Default)]
struct Passing {
    departed: Vec<(ClusterId, EndpointKey)>,
    mark: Option<Mark>,
    /// The arrival numbers of the endpoints that have moved to another zone.
    leaving: Vec<i64>,
}

impl Passing {
    fn is_over(&self) -> bool {
        self.departed.is_empty() && self.mark.is_none() && self.leaving.is_empty()
    }
}

/// See the module's page.
#[derive(Default)]
pub struct NameState {
    /// The endpoints that contribute here.
    pub contributions: Few<EndpointEntry>,
    /// The record sets that Route 53 holds.
    pub observed: Few<Sighting>,
    /// The owning cluster's claim, if any.
    pub claim: Option<Claim>,
    passing: Option<Box<Passing>>,
}

impl NameState {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.contributions.is_empty() && self.observed.is_empty() && self.claim.is_none()
    }

    /// Whether no set of ours is here.
    pub fn owns_nothing(&self) -> bool {
        self.observed.as_slice().iter().all(|sighting| sighting.owner.is_none())
    }

    /// The contributions in the core's form, in the order of `contributions`.
    pub fn to_contributions(&self) -> Vec<Contribution> {
        let contribution = |held: &EndpointEntry| {
            let endpoint = held.endpoint();
            let leaves = self.is_leaving(held.arrival());
            let parsed = if held.is_retained() || leaves {
                None
            } else {
                parse_endpoint(&endpoint).ok().map(Arc::new)
            };
            Contribution {
                cluster: held.cluster().clone(),
                arrival: held.arrival(),
                endpoint: Arc::new(endpoint),
                parsed,
                leaves,
            }
        };
        self.contributions.as_slice().iter().map(contribution).collect()
    }

    /// The observed record sets in the core's form.
    pub fn to_observed(&self, name: &DnsName) -> BTreeMap<RecordKey, Observed> {
        let observed = |sighting: &Sighting| {
            let key = sighting.key(name);
            let observed = sighting.observed(&key);
            (key, observed)
        };
        self.observed.as_slice().iter().map(observed).collect()
    }

    /// The observed record set under a key.
    pub fn sighting(&self, key: &RecordKey) -> Option<&Sighting> {
        self.observed.as_slice().iter().find(|sighting| sighting.is_under(key))
    }

    /// Sets the observed record set under a key; returns the old one.
    pub fn observe(&mut self, key: &RecordKey, sighting: Option<Sighting>) -> Option<Sighting> {
        match sighting {
            Some(sighting) => self.observed.put(sighting, |old| old.is_under(key)),
            None => self.observed.remove(|old| old.is_under(key)),
        }
    }

    /// Notes whether an endpoint has moved to another zone: its record sets here stay until it is in sync there.
    pub fn set_role(&mut self, arrival: i64, role: PlacementRole) {
        if role == PlacementRole::Publishes && !self.is_leaving(arrival) {
            return;
        }
        let passing = self.passing.get_or_insert_default();
        passing.leaving.retain(|other| *other != arrival);
        if role == PlacementRole::Leaves {
            passing.leaving.push(arrival);
        }
        self.forget_what_passed();
    }

    fn is_leaving(&self, arrival: i64) -> bool {
        self.passing.as_ref().is_some_and(|passing| passing.leaving.contains(&arrival))
    }

    fn forget_what_passed(&mut self) {
        if self.passing.as_ref().is_some_and(|passing| passing.is_over()) {
            self.passing = None;
        }
    }

    /// Remembers an endpoint that is gone, for the cause of the deletion.
    pub fn depart(&mut self, cluster: ClusterId, endpoint: EndpointKey) {
        let departed = &mut self.passing.get_or_insert_default().departed;
        departed.retain(|(_, other)| *other != endpoint);
        if departed.len() >= MAX_DEPARTED {
            departed.remove(0);
        }
        departed.push((cluster, endpoint));
    }

    /// The endpoints that are gone and whose traces may still be here, with their clusters.
    pub fn departed(&self) -> &[(ClusterId, EndpointKey)] {
        self.passing.as_ref().map_or(&[], |passing| &passing.departed)
    }

    /// The change that the name waits for; `None` if it is in sync.
    pub fn mark(&self) -> Option<&Mark> {
        self.passing.as_ref()?.mark.as_ref()
    }

    /// A change was applied: departed endpoints are forgotten, and the name waits for the change to be in sync.
    pub fn applied(&mut self, mark: Mark) {
        let passing = self.passing.get_or_insert_default();
        passing.departed = vec![];
        passing.mark = Some(mark);
    }

    /// A set that a lost call of ours made is there; Route 53 cannot be asked whether it is in sync.
    pub fn came_late(&mut self) {
        let passing = self.passing.get_or_insert_default();
        passing.mark.get_or_insert(Mark { change_id: None, sequence: 0 });
    }

    /// Everything up to a change is INSYNC; returns whether the name was waiting for that.
    pub fn in_sync(&mut self, up_to: u64) -> bool {
        let Some(passing) = &mut self.passing else { return false };
        let arrived = passing.mark.as_ref().is_some_and(|mark| mark.sequence <= up_to);
        if arrived {
            passing.mark = None;
            self.forget_what_passed();
        }
        arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_small() {
        // A million of these are held: each octet here is a megabyte there.
        assert!(size_of::<NameState>() <= 80, "{} octets", size_of::<NameState>());
    }

    #[test]
    fn few_hold_what_a_list_would() {
        let mut few = Few::default();
        for item in [3, 1, 2] {
            assert_eq!(few.put(item, |old| *old == item), None);
        }
        assert_eq!(few.put(1, |old| *old == 1), Some(1));
        assert_eq!(few.as_slice(), [3, 1, 2]);
        assert_eq!(few.remove(|item| *item == 9), None);
        assert_eq!((few.remove(|item| *item == 1), few.as_slice()), (Some(1), &[3, 2][..]));
        assert_eq!((few.remove(|item| *item == 3), few.as_slice()), (Some(3), &[2][..]));
        assert_eq!((few.remove(|item| *item == 2), few.is_empty()), (Some(2), true));
    }
}
