//! Ids, keys and chances from the seed: the same seed and the same calls give the same ids.

use serde::{Deserialize, Serialize};

const CAPITALS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// A source of ids. Its state is the seed and how many numbers were drawn, so that a snapshot can carry it on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct IdSource {
    seed: u64,
    drawn: u64,
}

impl IdSource {
    /// The same ids for the same seed, from the first on.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// A number of 64 bits.
    pub fn next(&mut self) -> u64 {
        self.drawn += 1;
        fastrand::Rng::with_seed(
            self.seed.rotate_left(32) ^ self.drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        )
        .u64(..)
    }

    /// A number below `bound`; zero for a bound of zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// Whether a chance between 0 and 1 came true.
    pub fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are what a double holds exactly.
        (self.next() >> 11) as f64 / (1u64 << 53) as f64 <= probability && probability > 0.0
    }

    /// A prefix and `count` capitals and digits.
    pub fn text(&mut self, prefix: &str, count: usize) -> String {
        let mut rng = fastrand::Rng::with_seed(self.next());
        let tail = (0..count).map(|_| char::from(*rng.choice(CAPITALS).unwrap_or(&b'A')));
        prefix.chars().chain(tail).collect()
    }

    /// A random (version 4) UUID.
    pub fn uuid(&mut self) -> String {
        let bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string()
    }
}
