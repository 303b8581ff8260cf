//! The keys of one object.

use std::collections::BTreeSet;

use crate::core::endpoint::KeyHash;

/// The keys of an object, in order. Most have one or two, for which a tree would have room for eleven.
#[derive(Default)]
pub(super) struct Keys(pub(super) Vec<KeyHash>);

impl Keys {
    pub(super) fn iter(&self) -> impl Iterator<Item = &KeyHash> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, hash: KeyHash) {
        if let Err(at) = self.0.binary_search(&hash) {
            self.0.reserve_exact(1);
            self.0.insert(at, hash);
        }
    }

    pub(super) fn remove(&mut self, hash: &KeyHash) {
        if let Ok(at) = self.0.binary_search(hash) {
            self.0.remove(at);
        }
    }

    pub(super) fn retain(&mut self, is_kept: impl Fn(&KeyHash) -> bool) {
        self.0.retain(is_kept);
    }
}

impl From<BTreeSet<KeyHash>> for Keys {
    fn from(keys: BTreeSet<KeyHash>) -> Self {
        let mut sorted = Vec::with_capacity(keys.len());
        sorted.extend(keys);
        Self(sorted)
    }
}
