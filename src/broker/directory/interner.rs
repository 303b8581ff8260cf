//! Bytes that many endpoints or record sets have in common, held once: thousands of names point to one load balancer.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Shorter bytes are not worth a reference.
const WORTH_OCTETS: usize = 32;
/// The interner drops unused texts when it has grown to twice its size, and not below this.
const LEAST_SWEEP: usize = 1_024;

/// Gives out one allocation for bytes that come again and again. Bytes that come once leave a trace of eight octets at most.
pub struct Interner {
    shared: HashSet<Arc<[u8]>>,
    /// Hashes of bytes that came once.
    seen: HashSet<u64>,
    hasher: RandomState,
    sweep_at: usize,
}

impl Default for Interner {
    fn default() -> Self {
        Self {
            shared: HashSet::new(),
            seen: HashSet::new(),
            hasher: RandomState::new(),
            sweep_at: LEAST_SWEEP,
        }
    }
}

impl Interner {
    /// The allocation that all holders of these bytes share; `None` if they are short, or come for the first time.
    pub fn share(&mut self, bytes: &[u8]) -> Option<Arc<[u8]>> {
        if bytes.len() < WORTH_OCTETS {
            return None;
        }
        if let Some(shared) = self.shared.get(bytes) {
            return Some(Arc::clone(shared));
        }
        let hash = self.hasher.hash_one(bytes);
        if !self.seen.remove(&hash) {
            self.seen.insert(hash);
            self.sweep();
            return None;
        }
        let shared: Arc<[u8]> = bytes.into();
        self.shared.insert(Arc::clone(&shared));
        self.sweep();
        Some(shared)
    }

    fn sweep(&mut self) {
        if self.shared.len() + self.seen.len() >= self.sweep_at {
            self.seen = HashSet::new();
            self.shared.retain(|bytes| Arc::strong_count(bytes) > 1);
            self.sweep_at = (self.shared.len() * 2).max(LEAST_SWEEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_held_once() {
        let mut interner = Interner::default();
        let long = [7; 64];
        assert!(interner.share(&long).is_none(), "nobody knows yet that it will come again");
        let (second, third) = (interner.share(&long).unwrap(), interner.share(&long).unwrap());
        assert!(Arc::ptr_eq(&second, &third) && *second == long[..]);
        for _ in 0..3 {
            assert!(interner.share(&[7; 8]).is_none(), "a reference would be as large");
        }
    }

    #[test]
    fn what_nobody_holds_any_more_is_let_go() {
        let mut interner = Interner::default();
        let held = [interner.share(&[1; 40]), interner.share(&[1; 40])];
        for value in 0..5_000_u64 {
            let bytes = [value.to_be_bytes(); 5].concat();
            interner.share(&bytes);
            interner.share(&bytes);
        }
        assert!(interner.shared.len() <= LEAST_SWEEP && interner.seen.len() <= LEAST_SWEEP);
        assert!(Arc::ptr_eq(held[1].as_ref().unwrap(), &interner.share(&[1; 40]).unwrap()));
    }
}
