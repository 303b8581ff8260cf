//! The emulator's time: everything that waits, expires or refills reads this one clock.

use std::sync::atomic::{AtomicI64, Ordering};

use super::config::ClockMode;
use crate::core::time::Timestamp;
use crate::ports::Clock;

/// A clock that runs, or one that is moved by hand. Either can be moved forward.
#[derive(Debug)]
pub struct EmulatorClock {
    /// Milliseconds since the epoch when the clock was made, plus all steps.
    base_ms: AtomicI64,
    /// Set for a clock that runs.
    started: Option<tokio::time::Instant>,
}

impl EmulatorClock {
    /// A clock of the configured kind.
    #[expect(
        clippy::disallowed_methods,
        reason = "the emulator stands for AWS, which has a clock of its own"
    )]
    pub fn new(mode: ClockMode) -> Self {
        match mode {
            ClockMode::Real => Self {
                base_ms: AtomicI64::new(jiff::Timestamp::now().as_millisecond()),
                started: Some(tokio::time::Instant::now()),
            },
            ClockMode::From { start_ms } => Self {
                base_ms: AtomicI64::new(start_ms),
                started: Some(tokio::time::Instant::now()),
            },
            ClockMode::Stepped { start_ms } => {
                Self { base_ms: AtomicI64::new(start_ms), started: None }
            }
        }
    }

    /// Moves the clock forward and answers the new time.
    pub fn step(&self, by_ms: u64) -> Timestamp {
        self.base_ms.fetch_add(i64::try_from(by_ms).unwrap_or(i64::MAX / 4), Ordering::SeqCst);
        self.now()
    }
}

impl Clock for EmulatorClock {
    fn now(&self) -> Timestamp {
        let ran = self
            .started
            .map_or(0, |started| i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX));
        Timestamp(self.base_ms.load(Ordering::SeqCst).saturating_add(ran))
    }
}
