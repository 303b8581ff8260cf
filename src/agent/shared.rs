//! State shared by the agent's tasks: the index, the publisher and the statuses under one lock that is held for moments and
//! never across an await, and the signals that wake waiting tasks.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::index::{Index, IndexChange};
use super::session::publisher::Publisher;
use super::status::StatusBook;
use crate::wire::v1;

/// Everything that the agent knows.
pub struct State {
    /// The endpoints that the cluster wants.
    pub index: Index,
    /// Changes still to be sent to the broker.
    pub publisher: Publisher,
    /// The broker's answers.
    pub statuses: StatusBook,
    /// Whether this agent is the one that speaks to the broker.
    pub role: AgentRole,
}

/// Which of the agents of a cluster this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentRole {
    /// The only one.
    #[default]
    Alone,
    /// The one of several that speaks to the broker.
    Leads,
    /// It follows the cluster, and sends nothing.
    StandsBy,
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
        let state = Mutex::new(State {
            index,
            publisher,
            statuses: StatusBook::default(),
            role: AgentRole::default(),
        });
        Arc::new(Self { state, to_send: Notify::new(), changed: watch::Sender::new(0) })
    }

    /// Looks at the state.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the state and wakes the tasks that wait for it.
    pub fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.lock());
        self.to_send.notify_one();
        self.changed.send_modify(|generation| *generation = generation.wrapping_add(1));
        answer
    }

    /// Takes something out of the state that no task waits for.
    pub fn take<T>(&self, take: impl FnOnce(&mut State) -> T) -> T {
        take(&mut self.lock())
    }

    /// Changes the state, and puts the changes of the index into the outbox.
    pub fn update(&self, change: impl FnOnce(&mut State) -> Vec<IndexChange>) {
        self.write(|state| {
            for changed in change(state) {
                state.publisher.push(changed);
            }
        });
    }

    /// Changes the index, puts its changes into the outbox, and returns the messages for people.
    pub fn change(&self, change: impl FnOnce(&mut Index) -> Vec<IndexChange>) -> Vec<String> {
        self.write(|state| {
            for changed in change(&mut state.index) {
                state.publisher.push(changed);
            }
            state.index.warnings().map(|(object, warning)| format!("{object}: {warning}")).collect()
        })
    }

    /// The next message to the broker. Tasks that wait for the outbox to empty are woken by its acknowledgement.
    pub(super) fn next_message(&self) -> Option<v1::AgentMessage> {
        let state = &mut *self.lock();
        state.publisher.next(&state.index)
    }

    /// Queues a heartbeat for the task that calls this.
    pub(super) fn heartbeat(&self) {
        let state = &mut *self.lock();
        state.publisher.heartbeat(&state.index);
    }

    /// Forgets the statuses of endpoints that are gone at the broker too: it reports nothing on those that a comparison showed to
    /// be gone. While it may hold an endpoint, a forgotten status is not sent again.
    pub(super) fn forget_what_is_gone(&self) {
        let State { index, publisher, statuses, .. } = &mut *self.lock();
        if statuses.len() as u64 <= index.digest().count() {
            return;
        }
        // Absence counts at the broker for sources that say that they were read completely, and for no others.
        let synced: BTreeSet<&str> = index
            .sources()
            .iter()
            .filter(|source| source.synced)
            .map(|source| source.kind.as_str())
            .collect();
        statuses.keep(|hash, source| {
            index.get(hash).is_some() || publisher.holds(hash) || !synced.contains(source)
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::index::tests::{object, wants};
    use crate::agent::session::publisher::Identity;
    use crate::agent::sources::SourceKind;
    use crate::core::endpoint::EndpointKey;

    fn shared() -> Arc<Shared> {
        let identity = Identity {
            cluster: "east".into(),
            kube_system_uid: "uid".into(),
            instance_id: "one".into(),
        };
        Shared::new(Index::new([SourceKind::Service]), Publisher::new(identity))
    }

    fn is_told(shared: &Shared, host: &str) -> bool {
        let key: EndpointKey = wants(&object("web"), &[(host, "1")]).endpoints.remove(0).key;
        let status =
            v1::EndpointStatus { key: Some((&key).into()), ..v1::EndpointStatus::default() };
        shared.write(|state| {
            state
                .statuses
                .take(v1::StatusBatch { statuses: vec![status], ..v1::StatusBatch::default() })
        });
        shared.forget_what_is_gone();
        shared.read(|state| state.statuses.get(&key.hash()).is_some())
    }

    #[test]
    fn what_the_broker_may_still_hold_is_not_forgotten() {
        let (shared, web) = (shared(), object("web"));
        assert!(is_told(&shared, "a"), "the source was not read yet");
        shared.change(|index| index.reset(SourceKind::Service, vec![]));
        shared.change(|index| {
            index.fail(SourceKind::Service, "away".to_owned());
            vec![]
        });
        assert!(is_told(&shared, "a"), "absence does not count at the broker");
        shared.change(|index| index.reset(SourceKind::Service, vec![]));
        assert!(!is_told(&shared, "a"));
        shared.change(|index| index.apply(&web, &"file".into(), wants(&web, &[("a", "1")])));
        assert!(is_told(&shared, "a"));
        shared.change(|index| index.delete(&web));
        assert!(
            is_told(&shared, "a"),
            "the broker does not know yet that it is gone, and it may come back before"
        );
    }
}
