//! How long to wait before the next connection: full jitter, so that the agents of a thousand clusters do not come back in one
//! moment.
//!
//! A broker that answers and fails is left alone for longer each time, from 200 ms to 30 s. One that does not even accept the
//! connection is not burdened by trying, so it is looked for again within a quarter of the time that it has been away (a second
//! at least, 30 s at most): after a restart of ten seconds all agents are back within two and a half, spread over them.

use std::time::Duration;

const BASE_MS: u64 = 200;
const CAP_MS: u64 = 30_000;
const LEAST_ABSENT_MS: u64 = 1_000;
/// A session that stood this long makes the next failure the first again.
pub const STABLE: Duration = Duration::from_secs(60);

/// The reason for a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The connection cannot be made, so no broker is burdened.
    Absent,
    /// The broker fails or drains: it will be back soon.
    Normal,
    /// A person has to change something first.
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

    /// How long to wait now, when there was no session for the time `away`.
    pub fn next(&mut self, pace: Pace, away: Duration) -> Duration {
        Duration::from_millis(match pace {
            Pace::Absent => {
                let quarter_ms = u64::try_from(away.as_millis() / 4).unwrap_or(CAP_MS);
                self.random.u64(0..=quarter_ms.clamp(LEAST_ABSENT_MS, CAP_MS))
            }
            Pace::Normal => {
                let ceiling_ms = BASE_MS.saturating_mul(1 << self.failures.min(16)).min(CAP_MS);
                self.failures = self.failures.saturating_add(1);
                self.random.u64(0..=ceiling_ms)
            }
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
            assert!(backoff.next(Pace::Normal, Duration::ZERO) <= ceiling);
        }
        backoff.session_lasted(Duration::from_secs(59));
        assert!(
            (0..20)
                .map(|_| backoff.next(Pace::Normal, Duration::ZERO))
                .any(|wait| wait > Duration::from_secs(1))
        );
        backoff.session_lasted(STABLE);
        assert!(backoff.next(Pace::Normal, Duration::ZERO) <= Duration::from_millis(200));
        assert!(backoff.next(Pace::Slow, Duration::ZERO) >= Duration::from_secs(15));
    }

    #[test]
    fn a_broker_that_was_away_is_found_soon_and_not_by_all_at_once() {
        for away_secs in [1, 10, 60, 600] {
            let away = Duration::from_secs(away_secs);
            let mut back: Vec<Duration> = (0..1_000).map(|seed| found_after(seed, away)).collect();
            back.sort();
            let most = (away / 4).clamp(Duration::from_secs(1), Duration::from_secs(30));
            assert!(back[999] <= most, "{:?} after {away:?}", back[999]);
            // No tenth of the window takes more than twice its share.
            for tenth in 0..10 {
                let window = most * tenth / 10..most * (tenth + 1) / 10;
                let count = back.iter().filter(|at| window.contains(*at)).count();
                assert!(count <= 250, "{count} of 1,000 agents come in {window:?} after {away:?}");
            }
        }
    }

    /// When an agent finds a broker that was away for a while, counted from when it is back.
    fn found_after(seed: u64, away: Duration) -> Duration {
        let mut backoff = Backoff::new(fastrand::Rng::with_seed(seed));
        let mut at = Duration::ZERO;
        while at < away {
            at += backoff.next(Pace::Absent, at);
        }
        at - away
    }
}
