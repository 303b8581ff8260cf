//! Connections between a broker and the database of which one direction or both are silent: no error comes, and what waits for
//! an answer gives up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Database;
use crate::history::Replica;
use crate::recorder::lock;

/// How long a process waits for an answer before it takes its connection for dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// The direction that is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing arrives at the database.
    There,
    /// Calls that arrive are carried out, and no answer comes back.
    Back,
}

/// The brokers, by slot, whose connections are half open.
pub type HalfOpen = BTreeMap<u32, Way>;

/// Waits until a process gives up.
pub async fn patience() {
    tokio::time::sleep(PATIENCE).await;
}

impl Database {
    /// The direction between a broker and the database that is silent now.
    pub(super) fn way(&self, replica: Replica) -> Option<Way> {
        lock(&self.0.troubles).half_open.get(&replica.slot).copied()
    }
}
