//! The digest of a set of (key, version) pairs: what two sides compare to learn where they differ.
//!
//! 256 buckets by the first byte of the key hash. A bucket's digest is the sum of its items' hashes, lane by lane, so one
//! change costs one hash and the order of changes does not matter.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::endpoint::{KeyHash, Version};

/// How many buckets a set has: one for each first byte of a key hash.
pub const BUCKETS: usize = 256;
/// The length of one bucket's digest in bytes.
pub const BUCKET_BYTES: usize = 32;

type Lanes = [u64; 4];

/// The digest of a set; see the module's page. Inserting what is in it, or removing what is not, is the caller's mistake and
/// is not noticed here.
#[derive(Clone, PartialEq, Eq)]
pub struct SetDigest {
    count: u64,
    buckets: Box<[Lanes; BUCKETS]>,
}

impl Default for SetDigest {
    fn default() -> Self {
        Self { count: 0, buckets: Box::new([[0; 4]; BUCKETS]) }
    }
}

impl SetDigest {
    /// Adds an item.
    pub fn insert(&mut self, key: &KeyHash, version: &Version) {
        self.count = self.count.wrapping_add(1);
        self.combine(key, version, u64::wrapping_add);
    }

    /// Takes an item out.
    pub fn remove(&mut self, key: &KeyHash, version: &Version) {
        self.count = self.count.wrapping_sub(1);
        self.combine(key, version, u64::wrapping_sub);
    }

    /// How many items the set has.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// SHA-256 over a tag, the count and all buckets.
    pub fn root(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(b"zonefold.v1.set");
        hasher.update(self.count.to_be_bytes());
        hasher.update(self.to_bytes());
        hasher.finalize().into()
    }

    /// All bucket digests, one after the other: 8,192 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.buckets.iter().flatten().flat_map(|lane| lane.to_be_bytes()).collect()
    }

    /// The buckets in which the set differs from one whose digests are `other_bytes`; none when that is not 8,192 bytes long.
    pub fn differing(&self, other_bytes: &[u8]) -> Option<Vec<u8>> {
        if other_bytes.len() != BUCKETS * BUCKET_BYTES {
            return None;
        }
        let own = self.to_bytes();
        let pairs = own.chunks(BUCKET_BYTES).zip(other_bytes.chunks(BUCKET_BYTES));
        Some((0u8..=u8::MAX).zip(pairs).filter(|(_, (own, other))| own != other).map(|(bucket, _)| bucket).collect())
    }

    fn combine(&mut self, key: &KeyHash, version: &Version, operation: fn(u64, u64) -> u64) {
        let mut hasher = Sha256::new();
        hasher.update(b"zonefold.v1.item");
        hasher.update(key.0);
        hasher.update(version.0);
        let item: [u8; 32] = hasher.finalize().into();
        let lanes = &mut self.buckets[usize::from(key.0[0])];
        for (lane, bytes) in lanes.iter_mut().zip(item.as_chunks::<8>().0) {
            *lane = operation(*lane, u64::from_be_bytes(*bytes));
        }
    }
}

impl fmt::Debug for SetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetDigest({} items, ", self.count)?;
        self.root()[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_set_names_the_buckets_that_differ() {
        let mut one = SetDigest::default();
        let empty = one.to_bytes();
        one.insert(&KeyHash([7; 32]), &Version([1; 32]));
        one.insert(&KeyHash([200; 32]), &Version([1; 32]));
        assert_eq!(one.differing(&empty), Some(vec![7, 200]));
        assert_eq!(one.differing(&one.to_bytes()), Some(vec![]));
        assert_eq!(one.differing(&empty[1..]), None);
    }

    proptest! {
        #[test]
        fn the_order_does_not_matter_and_removal_undoes_insertion(items in proptest::collection::btree_map(any::<[u8; 32]>(), any::<[u8; 32]>(), 1..20)) {
            let (mut forward, mut backward) = (SetDigest::default(), SetDigest::default());
            for (key, version) in &items {
                forward.insert(&KeyHash(*key), &Version(*version));
            }
            for (key, version) in items.iter().rev() {
                backward.insert(&KeyHash(*key), &Version(*version));
            }
            prop_assert_eq!(&forward, &backward);
            prop_assert_eq!(forward.count(), items.len() as u64);
            prop_assert_ne!(forward.root(), SetDigest::default().root());
            for (key, version) in &items {
                forward.remove(&KeyHash(*key), &Version(*version));
            }
            prop_assert_eq!(forward, SetDigest::default());
        }
    }
}
