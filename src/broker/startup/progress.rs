//! The progress of a start.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The phases of a start, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum StartPhase {
    /// The store is opened, and its schema brought up to date.
    Store,
    /// Replicas of a release that cannot share the store have to stop first.
    OlderReplicas,
    /// Zones are loaded.
    Zones,
    /// The zone states of each account are loaded; counted in accounts.
    Accounts,
    /// Endpoints are loaded.
    Endpoints,
    /// The loaded state is compared and planned; counted in accounts, each managed from then on.
    Plans,
    /// The other replicas send the statuses of their endpoints.
    Statuses,
    /// All is done.
    Started,
}

/// Counted by the start, read by all.
#[derive(Debug, Default)]
pub struct StartProgress {
    phase: AtomicU8,
    done: AtomicU64,
    total: AtomicU64,
}

impl StartProgress {
    /// Begins a phase; `total` is 0 if it is unknown.
    pub fn enter(&self, phase: StartPhase, total: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Counts further progress in the phase.
    pub fn advance(&self, by: u64) {
        self.done.fetch_add(by, Ordering::Relaxed);
    }

    /// The phase.
    pub fn phase(&self) -> StartPhase {
        match self.phase.load(Ordering::Acquire) {
            0 => StartPhase::Store,
            1 => StartPhase::OlderReplicas,
            2 => StartPhase::Zones,
            3 => StartPhase::Accounts,
            4 => StartPhase::Endpoints,
            5 => StartPhase::Plans,
            6 => StartPhase::Statuses,
            _ => StartPhase::Started,
        }
    }

    /// The progress of the phase: done and total, 0 if unknown.
    pub fn figures(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// In words, such as `loading endpoints: 340000 of 1000000`.
    pub fn describe(&self) -> String {
        let what = match self.phase() {
            StartPhase::Store => return "opening the store".to_owned(),
            StartPhase::OlderReplicas => {
                return "waiting until no replica of an older release works on the store"
                    .to_owned();
            }
            StartPhase::Started => return "started".to_owned(),
            StartPhase::Statuses => return "reading the statuses of the other replicas".to_owned(),
            StartPhase::Zones => "zones",
            StartPhase::Endpoints => "endpoints",
            StartPhase::Accounts => "accounts",
            StartPhase::Plans => {
                let (done, total) = self.figures();
                return format!("planning accounts: {done} of {total}");
            }
        };
        match self.figures() {
            (0, 0) => format!("loading {what}"),
            (done, 0) => format!("loading {what}: {done}"),
            (done, total) => format!("loading {what}: {done} of {total}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_done_and_how_much_is_left() {
        let progress = StartProgress::default();
        assert_eq!(progress.describe(), "opening the store");
        progress.enter(StartPhase::Zones, 0);
        assert_eq!(progress.describe(), "loading zones");
        progress.enter(StartPhase::Endpoints, 1_000_000);
        progress.advance(300_000);
        progress.advance(40_000);
        assert_eq!(progress.describe(), "loading endpoints: 340000 of 1000000");
        progress.enter(StartPhase::Accounts, 0);
        progress.advance(3);
        assert_eq!(progress.describe(), "loading accounts: 3");
        progress.enter(StartPhase::Started, 0);
        assert_eq!(
            (progress.describe().as_str(), progress.phase()),
            ("started", StartPhase::Started)
        );
    }
}
