//! Precedence of writes: urgent ones go before those that can be made anew.
//!
//! SQLite has one writer. Changes of batches and acks of agents wait for it; verdicts are kept for the next start only, and
//! writing them between the transactions of a flood would cost the flood a sync each time.

use std::time::Duration;

use tokio::sync::watch;

/// Nothing urgent for this long is a pause, and not the gap between two transactions.
const PAUSE: Duration = Duration::from_millis(10);
/// A write that gives way waits this long at most: a flood that does not end would leave verdicts in memory without end.
const WAIT_AT_MOST: Duration = Duration::from_millis(250);

/// See the module's page.
pub(super) struct Precedence {
    urgent: watch::Sender<usize>,
}

/// Something urgent under way, until it is dropped.
pub(super) struct Urgent<'a>(&'a Precedence);

impl Default for Precedence {
    fn default() -> Self {
        Self { urgent: watch::Sender::new(0) }
    }
}

impl Precedence {
    /// Says that something urgent waits or runs.
    pub(super) fn urgent(&self) -> Urgent<'_> {
        self.urgent.send_modify(|count| *count += 1);
        Urgent(self)
    }

    /// Returns in a pause of what is urgent, or when it has waited long enough.
    pub(super) async fn give_way(&self) {
        let mut urgent = self.urgent.subscribe();
        let pause = async {
            while urgent.wait_for(|count| *count == 0).await.is_ok() {
                if tokio::time::timeout(PAUSE, urgent.wait_for(|count| *count > 0)).await.is_err() {
                    return;
                }
            }
        };
        // Going at the deadline is the other way to end.
        let _paused = tokio::time::timeout(WAIT_AT_MOST, pause).await;
    }
}

impl Drop for Urgent<'_> {
    fn drop(&mut self) {
        self.0.urgent.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn waited_ms(precedence: &Precedence) -> u128 {
        let started = tokio::time::Instant::now();
        precedence.give_way().await;
        started.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_wait_goes_in_a_pause() {
        let precedence = Precedence::default();
        assert!(waited_ms(&precedence).await <= 11);
        let flood = async {
            for _ in 0..4 {
                let urgent = precedence.urgent();
                tokio::time::sleep(Duration::from_millis(30)).await;
                drop(urgent);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (waited, ()) = tokio::join!(waited_ms(&precedence), flood);
        assert!((140..160).contains(&waited), "{waited} ms: the gaps of 5 ms are no pauses");
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_wait_does_not_wait_for_ever() {
        let precedence = Precedence::default();
        let _endless = precedence.urgent();
        assert!((250..260).contains(&waited_ms(&precedence).await));
    }
}
