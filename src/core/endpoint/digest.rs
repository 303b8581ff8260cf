//! Set digests: with them, two sides find out which of a million items differ without sending the items.
//!
//! The items are spread over 256 buckets by the first byte of their key's hash. A bucket's digest is the sum of its items'
//! hashes, lane by lane, so the order of changes does not matter and one change costs one hash. Equal roots mean equal sets;
//! unequal ones are narrowed down to the buckets that differ.
//!
//! The sum is made for finding what got out of step, not for defence: an author of the items can make two sets collide,
//! but only in the digest of their own cluster.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{KeyHash, Version};

/// The number of buckets: one for each value of a key hash's first byte.
pub const BUCKETS: usize = 256;
/// The octets of one bucket's digest.
pub const BUCKET_BYTES: usize = 32;

const LANES: usize = BUCKET_BYTES / size_of::<u64>();

/// One bucket: four little-endian lanes that wrap on their own.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Bucket([u64; LANES]);

impl Bucket {
    fn of_item(key: &KeyHash, version: &Version) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"zonefold.v1.item");
        hasher.update(key.0);
        hasher.update(version.0);
        let hash: [u8; BUCKET_BYTES] = hasher.finalize().into();
        let (words, _) = hash.as_chunks();
        let mut lanes = [0; LANES];
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = u64::from_le_bytes(*word);
        }
        Self(lanes)
    }

    fn add(&mut self, other: &Self) {
        for (lane, theirs) in self.0.iter_mut().zip(&other.0) {
            *lane = lane.wrapping_add(*theirs);
        }
    }

    fn subtract(&mut self, other: &Self) {
        for (lane, theirs) in self.0.iter_mut().zip(&other.0) {
            *lane = lane.wrapping_sub(*theirs);
        }
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        self.0.iter().flat_map(|lane| lane.to_le_bytes())
    }
}

/// The digest of a set of (key, version) pairs: 256 buckets by the first byte of the key's hash, each the sum of
/// `SHA-256("zonefold.v1.item" || key || version)` over its items, as four wrapping little-endian 64-bit lanes.
///
/// The digest does not know its members: inserting an item twice or removing an absent one gives the digest of no set. The
/// index that owns it does each once.
#[derive(Clone, PartialEq, Eq)]
pub struct SetDigest {
    buckets: Box<[Bucket; BUCKETS]>,
    count: u64,
}

impl Default for SetDigest {
    fn default() -> Self {
        Self { buckets: Box::new([Bucket::default(); BUCKETS]), count: 0 }
    }
}

impl SetDigest {
    /// The bucket in which a key falls.
    pub fn bucket_of(key: &KeyHash) -> u8 {
        key.0[0]
    }

    /// Takes an item in.
    pub fn insert(&mut self, key: &KeyHash, version: &Version) {
        self.buckets[usize::from(Self::bucket_of(key))].add(&Bucket::of_item(key, version));
        self.count = self.count.wrapping_add(1);
    }

    /// Takes an item out that was put in with this very version.
    pub fn remove(&mut self, key: &KeyHash, version: &Version) {
        self.buckets[usize::from(Self::bucket_of(key))].subtract(&Bucket::of_item(key, version));
        self.count = self.count.wrapping_sub(1);
    }

    /// Takes in all items of another set that shares none with this one.
    pub fn add(&mut self, other: &SetDigest) {
        self.buckets
            .iter_mut()
            .zip(other.buckets.iter())
            .for_each(|(ours, theirs)| ours.add(theirs));
        self.count = self.count.wrapping_add(other.count);
    }

    /// Takes out all items of another set that is part of this one.
    pub fn subtract(&mut self, other: &SetDigest) {
        self.buckets
            .iter_mut()
            .zip(other.buckets.iter())
            .for_each(|(ours, theirs)| ours.subtract(theirs));
        self.count = self.count.wrapping_sub(other.count);
    }

    /// The number of items.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One hash over the count and all buckets: equal for equal sets.
    pub fn root(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(b"zonefold.v1.root");
        hasher.update(self.count.to_le_bytes());
        for bucket in self.buckets.iter() {
            for lane in bucket.0 {
                hasher.update(lane.to_le_bytes());
            }
        }
        hasher.finalize().into()
    }

    /// The buckets as they go over the wire: 256 times 32 octets.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.buckets.iter().flat_map(Bucket::bytes).collect()
    }

    /// The buckets, in order, in which this set differs from the one whose [`to_bytes`](Self::to_bytes) the other side sent;
    /// `None` if `other` has the wrong length.
    pub fn differing(&self, other: &[u8]) -> Option<Vec<u8>> {
        if other.len() != BUCKETS * BUCKET_BYTES {
            return None;
        }
        let pairs = self.buckets.iter().zip(other.chunks_exact(BUCKET_BYTES));
        let numbered = (0..=u8::MAX).zip(pairs);
        Some(
            numbered
                .filter(|(_, (ours, theirs))| !ours.bytes().eq(theirs.iter().copied()))
                .map(|(number, _)| number)
                .collect(),
        )
    }
}

impl fmt::Debug for SetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetDigest({} items, root ", self.count)?;
        self.root()[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    /// An item whose key falls into bucket `bucket`.
    fn item(bucket: u8, serial: u8, content: u8) -> (KeyHash, Version) {
        let mut key = [serial; 32];
        key[0] = bucket;
        (KeyHash(key), Version([content; 32]))
    }

    fn digest_of<'a>(items: impl IntoIterator<Item = &'a (KeyHash, Version)>) -> SetDigest {
        let mut digest = SetDigest::default();
        for (key, version) in items {
            digest.insert(key, version);
        }
        digest
    }

    /// Items with distinct keys.
    fn items() -> impl Strategy<Value = Vec<(KeyHash, Version)>> {
        btree_map((any::<u8>(), any::<u8>()), any::<u8>(), 0..40).prop_map(|map| {
            map.into_iter()
                .map(|((bucket, serial), content)| item(bucket, serial, content))
                .collect()
        })
    }

    #[test]
    fn the_digest_of_a_known_set_never_changes() {
        // Agents of another version compute the same, so these octets are part of the protocol.
        let digest = digest_of(&[item(0, 1, 2), item(0, 3, 4), item(255, 5, 6)]);
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let bytes = digest.to_bytes();
        assert_eq!(
            hex(&bytes[..32]),
            "303487220e4583fdd289f331d64fe05d379f2caada3e6c9a0730a430b3117f7a"
        );
        assert_eq!(
            hex(&bytes[255 * 32..]),
            "803c9032750ef0e2495bbc77b6a1bb2d70828fd28040bbf3141af998be4d2234"
        );
        assert_eq!(
            hex(&digest.root()),
            "9a0c45da01416eb5fc2af22cef197838b2694cb3674408976f90738ef45c81b8"
        );
        assert_eq!(
            hex(&SetDigest::default().root()),
            "c69b5568e01e4b0a84149663960d4ab50cb78152cbd64ccc914bf91d9925c6d0"
        );
    }

    #[test]
    fn another_length_is_no_digest() {
        let digest = SetDigest::default();
        for length in [0, 1, BUCKETS * BUCKET_BYTES - 1, BUCKETS * BUCKET_BYTES + 1] {
            assert_eq!(digest.differing(&vec![0; length]), None, "{length} octets");
        }
        assert_eq!(digest.differing(&digest.to_bytes()), Some(vec![]));
    }

    #[test]
    fn lanes_do_not_carry_into_each_other() {
        let mut bucket = Bucket([u64::MAX, 0, 0, 0]);
        bucket.add(&Bucket([1, 0, 0, 0]));
        assert!(bucket == Bucket::default());
    }

    proptest! {
        #[test]
        fn the_order_of_insertion_does_not_matter(items in items(), seed in any::<u64>()) {
            let mut shuffled = items.clone();
            fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
            prop_assert_eq!(digest_of(&items), digest_of(&shuffled));
            prop_assert_eq!(digest_of(&items).root(), digest_of(&shuffled).root());
        }

        #[test]
        fn removing_undoes_inserting(items in items(), bucket in any::<u8>(), content in any::<u8>()) {
            let before = digest_of(&items);
            let (key, version) = item(bucket, 7, content);
            let mut after = before.clone();
            after.insert(&key, &version);
            prop_assert_eq!(after.count(), before.count() + 1);
            prop_assert_ne!(after.root(), before.root());
            after.remove(&key, &version);
            prop_assert_eq!(after, before);
        }

        #[test]
        fn one_different_item_shows_in_exactly_its_bucket(items in items(), which in any::<prop::sample::Index>()) {
            prop_assume!(!items.is_empty());
            let index = which.index(items.len());
            let mut changed = items.clone();
            changed[index].1.0[31] ^= 1;
            let differing = digest_of(&items).differing(&digest_of(&changed).to_bytes());
            prop_assert_eq!(differing, Some(vec![SetDigest::bucket_of(&items[index].0)]));
        }

        #[test]
        fn the_differing_buckets_are_those_whose_items_differ(
            ours in btree_map((any::<u8>(), 0u8..3), 0u8..2, 0..60),
            theirs in btree_map((any::<u8>(), 0u8..3), 0u8..2, 0..60),
        ) {
            let build = |map: &BTreeMap<(u8, u8), u8>| {
                digest_of(&map.iter().map(|(&(bucket, serial), &content)| item(bucket, serial, content)).collect::<Vec<_>>())
            };
            let as_set = |map: &BTreeMap<(u8, u8), u8>| map.iter().map(|(k, v)| (*k, *v)).collect::<BTreeSet<_>>();
            let expected: BTreeSet<u8> =
                as_set(&ours).symmetric_difference(&as_set(&theirs)).map(|((bucket, _), _)| *bucket).collect();
            let found = build(&ours).differing(&build(&theirs).to_bytes()).unwrap();
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(build(&ours).root() == build(&theirs).root(), ours == theirs);
        }

        #[test]
        fn sets_add_and_subtract(items in items(), split in any::<prop::sample::Index>(), removals in vec(any::<bool>(), 40)) {
            let (left, right) = items.split_at(split.index(items.len() + 1));
            let mut sum = digest_of(left);
            sum.add(&digest_of(right));
            prop_assert_eq!(&sum, &digest_of(&items));
            let (out, kept): (Vec<_>, Vec<_>) = items.iter().zip(removals).partition(|(_, out)| *out);
            sum.subtract(&digest_of(out.into_iter().map(|(item, _)| item)));
            prop_assert_eq!(sum.is_empty(), kept.is_empty());
            prop_assert_eq!(sum, digest_of(kept.into_iter().map(|(item, _)| item)));
        }
    }
}
