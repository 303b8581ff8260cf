//! A process reaches the outside through its gate: open, stopped (SIGSTOP: everything waits), or closed for good
//! when it died. Tasks of a dead process that go on inside it are not seen any more, which makes it a crash at
//! whichever await point its tasks were.

use tokio::sync::watch;

/// How a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Running,
    Stopped,
    Dead,
}

/// The gate of one life of a process.
#[derive(Clone)]
pub struct Gate(watch::Sender<Standing>);

impl Gate {
    /// An open one.
    pub fn open() -> Self {
        Self(watch::Sender::new(Standing::Running))
    }

    /// Nothing passes until [`Gate::resume`].
    pub fn stop(&self) {
        self.0.send_if_modified(|standing| {
            std::mem::replace(standing, stopped(*standing)) == Standing::Running
        });
    }

    /// Lets pass what waited.
    pub fn resume(&self) {
        self.0.send_if_modified(|standing| {
            let waits = *standing == Standing::Stopped;
            if waits {
                *standing = Standing::Running;
            }
            waits
        });
    }

    /// Nothing passes any more.
    pub fn close(&self) {
        self.0.send_replace(Standing::Dead);
    }

    /// Whether the process is gone.
    pub fn is_dead(&self) -> bool {
        *self.0.borrow() == Standing::Dead
    }

    /// Whether the process does nothing for now.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() == Standing::Stopped
    }

    /// Returns while the process runs; never when it is dead.
    pub async fn pass(&self) {
        if *self.0.borrow() == Standing::Running {
            return;
        }
        let mut standing = self.0.subscribe();
        // The sender lives as long as `self`.
        let _running = standing.wait_for(|standing| *standing == Standing::Running).await;
    }
}

fn stopped(standing: Standing) -> Standing {
    if standing == Standing::Dead { Standing::Dead } else { Standing::Stopped }
}
