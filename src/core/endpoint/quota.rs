//! How much of a cluster is stored: its quota, its usage, and the data kept of an endpoint beyond the quota.
//!
//! Key and version of an endpoint beyond the quota are kept, so that both ends of the stream still hold the same set; its content
//! is not. Record sets that an earlier version of it published stay.

use serde::{Deserialize, Serialize};

use super::Version;

/// How many endpoints beyond its quota a cluster may have: each leaves its key behind.
pub const MOST_WITHHELD: usize = 100_000;
/// How many octets these may be: the keys of [`MOST_WITHHELD`] ordinary endpoints are half of it.
pub const MOST_WITHHELD_BYTES: u64 = 32 << 20;

/// The most that a cluster may have stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Endpoints.
    pub max_endpoints: usize,
    /// Octets of them in their packed form.
    pub max_bytes: u64,
}

impl Default for Quota {
    fn default() -> Self {
        // An ordinary endpoint is about 150 octets: the bytes are for extraordinary ones.
        Self { max_endpoints: 50_000, max_bytes: 64 << 20 }
    }
}

/// A bound of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum QuotaBound {
    /// The number of endpoints.
    Endpoints,
    /// Their octets.
    Bytes,
}

/// The data kept of the content of an endpoint beyond its cluster's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Withheld {
    version: [u8; 32],
    /// Octets of the endpoint as it would be stored.
    pub octets: u64,
    /// The bound that it was beyond.
    pub bound: QuotaBound,
}

impl Withheld {
    /// The data kept of a content.
    pub fn new(version: &Version, octets: u64, bound: QuotaBound) -> Self {
        Self { version: version.0, octets, bound }
    }

    /// The hash of the content.
    pub fn version(&self) -> Version {
        Version(self.version)
    }
}

/// One endpoint's share of its cluster's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Octets that are stored of it.
    pub octets: u64,
    /// The data kept instead of its content; `None` if the content is stored.
    pub withheld: Option<Withheld>,
}

impl Share {
    /// Whether it counts among the endpoints. One that grew beyond the bytes keeps its place among them, to be stored again.
    fn has_place(&self) -> bool {
        self.withheld.is_none_or(|withheld| withheld.bound == QuotaBound::Bytes)
    }

    fn stored_octets(&self) -> u64 {
        if self.withheld.is_none() { self.octets } else { 0 }
    }
}

/// The part of a cluster's quota that its endpoints use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Endpoints that are stored.
    pub stored: usize,
    /// Their octets.
    pub bytes: u64,
    /// Endpoints beyond the quota.
    pub withheld: usize,
    /// The octets that are kept of those.
    pub withheld_bytes: u64,
    places: usize,
}

impl Usage {
    /// Adds an endpoint.
    pub fn add(&mut self, share: &Share) {
        self.places += usize::from(share.has_place());
        self.bytes += share.stored_octets();
        match share.withheld {
            None => self.stored += 1,
            Some(_) => {
                self.withheld += 1;
                self.withheld_bytes += share.octets;
            }
        }
    }

    /// Takes out an endpoint that was added.
    pub fn remove(&mut self, share: &Share) {
        self.places = self.places.saturating_sub(usize::from(share.has_place()));
        self.bytes = self.bytes.saturating_sub(share.stored_octets());
        match share.withheld {
            None => self.stored = self.stored.saturating_sub(1),
            Some(_) => {
                self.withheld = self.withheld.saturating_sub(1);
                self.withheld_bytes = self.withheld_bytes.saturating_sub(share.octets);
            }
        }
    }

    /// Whether more is beyond the quota than a session goes on with.
    pub fn is_beyond_bearing(&self) -> bool {
        self.withheld > MOST_WITHHELD || self.withheld_bytes > MOST_WITHHELD_BYTES
    }
}

impl Quota {
    /// The bound that keeps out an endpoint of this size; `None` if it is stored. `before` is what the key uses now: an endpoint
    /// that is stored already is never one too many, and one that does not grow is never too large, so a quota that was lowered
    /// takes nothing away.
    pub fn bound_of(
        &self,
        usage: &Usage,
        before: Option<&Share>,
        octets: u64,
    ) -> Option<QuotaBound> {
        let has_place = before.is_some_and(Share::has_place);
        if !has_place && usage.places >= self.max_endpoints {
            return Some(QuotaBound::Endpoints);
        }
        let held = before.map_or(0, Share::stored_octets);
        let grows_beyond = octets > held
            && usage.bytes.saturating_sub(held).saturating_add(octets) > self.max_bytes;
        grows_beyond.then_some(QuotaBound::Bytes)
    }

    /// Whether some endpoint beyond the quota may be within it now.
    pub fn has_room(&self, usage: &Usage) -> bool {
        let grown = usage.places.saturating_sub(usage.stored);
        (usage.places < self.max_endpoints || grown > 0) && usage.bytes < self.max_bytes
    }

    /// Whether any `endpoints` more endpoints, of `octets` octets together, are stored.
    pub fn has_room_for(&self, usage: &Usage, endpoints: usize, octets: u64) -> bool {
        usage.places.saturating_add(endpoints) <= self.max_endpoints
            && usage.bytes.saturating_add(octets) <= self.max_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUOTA: Quota = Quota { max_endpoints: 3, max_bytes: 100 };

    fn stored(octets: u64) -> Share {
        Share { octets, withheld: None }
    }

    fn withheld(octets: u64, bound: QuotaBound) -> Share {
        Share { octets: 40, withheld: Some(Withheld::new(&Version([7; 32]), octets, bound)) }
    }

    fn usage(shares: &[Share]) -> Usage {
        let mut usage = Usage::default();
        shares.iter().for_each(|share| usage.add(share));
        usage
    }

    #[test]
    fn what_is_stored_is_never_one_too_many() {
        let full = usage(&[stored(10); 5]);
        assert_eq!(QUOTA.bound_of(&full, None, 1), Some(QuotaBound::Endpoints));
        assert_eq!(QUOTA.bound_of(&full, Some(&stored(10)), 20), None);
    }

    #[test]
    fn what_does_not_grow_is_never_too_large() {
        let full = usage(&[stored(80), stored(40)]);
        assert_eq!(QUOTA.bound_of(&full, Some(&stored(80)), 80), None);
        assert_eq!(QUOTA.bound_of(&full, Some(&stored(80)), 79), None);
        assert_eq!(QUOTA.bound_of(&full, Some(&stored(80)), 81), Some(QuotaBound::Bytes));
        assert_eq!(QUOTA.bound_of(&full, Some(&stored(40)), 20), None);
        assert_eq!(QUOTA.bound_of(&full, None, 1), Some(QuotaBound::Bytes));
    }

    #[test]
    fn what_grew_beyond_the_bytes_keeps_its_place_and_what_was_one_too_many_has_none() {
        let grown = withheld(200, QuotaBound::Bytes);
        let full = usage(&[stored(10), stored(10), grown]);
        assert_eq!(QUOTA.bound_of(&full, Some(&grown), 50), None);
        assert_eq!(QUOTA.bound_of(&full, None, 50), Some(QuotaBound::Endpoints));
        let late = withheld(10, QuotaBound::Endpoints);
        let full = usage(&[stored(10), stored(10), stored(10), late]);
        assert_eq!(QUOTA.bound_of(&full, Some(&late), 10), Some(QuotaBound::Endpoints));
    }

    #[test]
    fn fifty_thousand_ordinary_endpoints_are_within_the_default() {
        let usage = usage(&vec![stored(1_000); 49_999]);
        assert_eq!(Quota::default().bound_of(&usage, None, 1_000), None);
    }

    fn share() -> impl Strategy<Value = Share> {
        let bound = prop_oneof![Just(QuotaBound::Endpoints), Just(QuotaBound::Bytes)];
        prop_oneof![
            (0..200_u64).prop_map(stored),
            (0..200_u64, bound).prop_map(|(octets, bound)| withheld(octets, bound))
        ]
    }

    proptest! {
        #[test]
        fn removing_undoes_adding(shares in proptest::collection::vec(share(), 0..20), one in share()) {
            let before = usage(&shares);
            let mut after = before;
            after.add(&one);
            after.remove(&one);
            prop_assert_eq!(before, after);
        }

        #[test]
        fn where_there_is_room_for_all_none_is_kept_out(shares in proptest::collection::vec(share(), 0..6), new in proptest::collection::vec(0..60_u64, 0..4)) {
            let mut usage = usage(&shares);
            if QUOTA.has_room_for(&usage, new.len(), new.iter().sum()) {
                for octets in new {
                    prop_assert_eq!(QUOTA.bound_of(&usage, None, octets), None);
                    usage.add(&stored(octets));
                }
            }
        }
    }
}
