//! What the tasks of the agent share: the index, the publisher and the statuses under one lock that is held for moments and
//! never across an await, and the signals that wake who waits for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::index::{Index, IndexChange};
use super::session::publisher::Publisher;
use super::status::StatusBook;
use crate::wire::v1;

/// Everything that the agent knows.
pub struct State {
    /// What the cluster wants.
    pub index: Index,
    /// What the broker is still to be told.
    pub publisher: Publisher,
    /// What the broker answered.
    pub statuses: StatusBook,
}

/// The state with its signals; see the module's page.
pub struct Shared {
    state: Mutex<State>,
    /// Wakes the task that sends.
    pub(super) to_send: Notify,
    changed: watch::Sender<u64>,
}

impl Shared {
    /// Shares a new state.
    pub fn new(index: Index, publisher: Publisher) -> Arc<Self> {
        let state = Mutex::new(State { index, publisher, statuses: StatusBook::default() });
        Arc::new(Self { state, to_send: Notify::new(), changed: watch::Sender::new(0) })
    }

    /// Looks at the state.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the state and wakes who waits for it.
    pub fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.lock());
        self.to_send.notify_one();
        self.changed.send_modify(|generation| *generation = generation.wrapping_add(1));
        answer
    }

    /// Changes the index, puts what it changed into the outbox, and answers what people should look at.
    pub fn change(&self, change: impl FnOnce(&mut Index) -> Vec<IndexChange>) -> Vec<String> {
        self.write(|state| {
            for changed in change(&mut state.index) {
                state.publisher.push(changed);
            }
            state.index.warnings().map(|(object, warning)| format!("{object}: {warning}")).collect()
        })
    }

    /// The next message to the broker. Who waits for the outbox to empty is told by its acknowledgement.
    pub(super) fn next_message(&self) -> Option<v1::AgentMessage> {
        let state = &mut *self.lock();
        state.publisher.next(&state.index)
    }

    /// Queues a heartbeat for the task that calls this.
    pub(super) fn heartbeat(&self) {
        let state = &mut *self.lock();
        state.publisher.heartbeat(&state.index);
        // While a source was not read yet, what it wants may be known to the broker alone.
        let State { index, statuses, .. } = state;
        if index.listed() && statuses.len() as u64 > index.digest().count() {
            statuses.keep(|hash| index.get(hash).is_some());
        }
    }

    /// Waits until the state is as wanted.
    pub async fn wait_until(&self, mut wanted: impl FnMut(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        while !self.read(&mut wanted) {
            // The sender lives as long as `self`.
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held is reported where it happened; the state is replaced as a whole at the next session.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
