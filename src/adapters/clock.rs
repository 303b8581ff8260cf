//! Clocks: the system's, and one that follows tokio's own time, which tests can pause.

use crate::core::time::Timestamp;
use crate::ports::Clock;

/// The time of day, anchored once and carried on by tokio's monotonic clock: it does not jump when the system clock is set,
/// and it stands still in a paused runtime.
#[derive(Debug)]
pub struct AnchoredClock {
    anchor: Timestamp,
    started: tokio::time::Instant,
}

impl AnchoredClock {
    /// Anchored at the system's time.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one clock from which all others take the time"
    )]
    pub fn system() -> Self {
        Self::at(Timestamp(jiff::Timestamp::now().as_millisecond()))
    }

    /// Anchored at a given time.
    pub fn at(anchor: Timestamp) -> Self {
        Self { anchor, started: tokio::time::Instant::now() }
    }
}

impl Clock for AnchoredClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.anchor.0.saturating_add(elapsed))
    }
}

/// The system's time of day, read anew each time. It follows when the system's clock is set, and when the machine was suspended;
/// so it may jump, and nothing that counts down goes by it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the port's implementation")]
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_millisecond())
    }
}
