//! How long to wait before the next connection: full jitter from 200 ms to 30 s, so that the agents of a thousand clusters do
//! not come back in one moment.

use std::time::Duration;

const BASE_MS: u64 = 200;
const CAP_MS: u64 = 30_000;
/// A session that stood this long makes the next failure the first again.
pub const STABLE: Duration = Duration::from_secs(60);

/// What the waiting is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The broker is away or drains: it will be back soon.
    Normal,
    /// Somebody has to change something first.
    Slow,
}

/// The state of the waiting.
pub struct Backoff {
    random: fastrand::Rng,
    failures: u32,
}

impl Backoff {
    /// Starts at the quick end.
    pub fn new(random: fastrand::Rng) -> Self {
        Self { random, failures: 0 }
    }

    /// Starts over when the session stood for a while.
    pub fn session_lasted(&mut self, lasted: Duration) {
        if lasted >= STABLE {
            self.failures = 0;
        }
    }

    /// How long to wait now.
    pub fn next(&mut self, pace: Pace) -> Duration {
        let ceiling_ms = BASE_MS.saturating_mul(1 << self.failures.min(16)).min(CAP_MS);
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(match pace {
            Pace::Normal => self.random.u64(0..=ceiling_ms),
            Pace::Slow => self.random.u64(CAP_MS / 2..=CAP_MS),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_to_its_cap_and_starts_over_after_a_stable_minute() {
        let mut backoff = Backoff::new(fastrand::Rng::with_seed(7));
        for failure in 0..40u32 {
            let ceiling = Duration::from_millis((200u64 << failure.min(16)).min(30_000));
            assert!(backoff.next(Pace::Normal) <= ceiling);
        }
        backoff.session_lasted(Duration::from_secs(59));
        assert!((0..20).map(|_| backoff.next(Pace::Normal)).any(|wait| wait > Duration::from_secs(1)));
        backoff.session_lasted(STABLE);
        assert!(backoff.next(Pace::Normal) <= Duration::from_millis(200));
        assert!(backoff.next(Pace::Slow) >= Duration::from_secs(15));
    }
}
