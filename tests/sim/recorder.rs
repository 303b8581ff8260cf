//! The one clock and the one log of a run.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};
use zonefold::core::time::Timestamp;
use zonefold::ports::Clock;

use crate::history::{Event, History, What, World};

/// When every run starts: some day in 2027.
pub const STARTED_AT: Timestamp = Timestamp(1_800_000_000_000);

/// Locks what only one thread uses; a panic of the code under test leaves it as usable as it was.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes down what happens, at the run's own time.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    started: tokio::time::Instant,
    history: Mutex<History>,
}

impl Recorder {
    /// Starts the time.
    pub fn new(world: World) -> Self {
        let history = History { world, ..History::default() };
        Self(Arc::new(Inner { started: tokio::time::Instant::now(), history: Mutex::new(history) }))
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp(STARTED_AT.0 + elapsed)
    }

    /// Milliseconds since the start.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from((self.now() - STARTED_AT).0).unwrap_or(0)
    }

    /// Appends to the log.
    pub fn note(&self, what: What) {
        let at = self.now();
        lock(&self.0.history).log.push(Event { at, what });
    }

    /// A fault strikes.
    pub fn fault(&self, kind: &'static str, text: impl Into<String>) {
        self.note(What::Fault { kind, text: text.into() });
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        lock(&self.0.history).log.len()
    }

    /// Looks at the events from one on.
    pub fn since<T>(&self, from: usize, look: impl FnOnce(&[Event]) -> T) -> T {
        look(lock(&self.0.history).log.get(from..).unwrap_or_default())
    }

    /// Everything, at the end.
    pub fn take(&self) -> History {
        std::mem::take(&mut lock(&self.0.history))
    }
}

/// A hash over every byte of a log: equal for two runs that were the same.
pub fn log_hash(history: &History) -> String {
    let mut hasher = Sha256::new();
    let mut line = String::new();
    for event in &history.log {
        line.clear();
        // Writing to a string cannot fail.
        let _ = writeln!(line, "{event:?}");
        hasher.update(&line);
    }
    hasher.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A broker's clock: the true time, and how far it is off.
pub struct SkewedClock {
    recorder: Recorder,
    skew_ms: i64,
    jumped_ms: Arc<AtomicI64>,
}

impl SkewedClock {
    /// A clock that is off by `skew_ms`.
    pub fn new(recorder: Recorder, skew_ms: i64) -> Self {
        Self { recorder, skew_ms, jumped_ms: Arc::default() }
    }

    /// The machine's time of day: its jumps are added.
    pub fn that_jumps(&self, jumped_ms: Arc<AtomicI64>) -> Self {
        Self { recorder: self.recorder.clone(), skew_ms: self.skew_ms, jumped_ms }
    }
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.recorder.now().0 + self.skew_ms + self.jumped_ms.load(Ordering::Relaxed))
    }
}
