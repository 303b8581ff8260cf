//! Changes still to be sent to the broker: a map by key in which the latest wins, so that memory is bounded by the keys that
//! change and nothing is dropped.
//!
//! At most one version of a key is on its way; later ones wait and merge. Credits are counted in operations and in the bytes
//! of their protobuf encoding.

use std::collections::{BTreeMap, VecDeque};

use prost::Message as _;

use super::index::{DelCause, IndexChange};
use crate::core::endpoint::KeyHash;
use crate::wire::convert::version_to_wire;
use crate::wire::v1;

/// The most operations in one message, whatever their size.
const MAX_OPERATIONS: usize = 1_000;

#[derive(Default)]
struct Slot {
    /// The change that waits.
    waiting: Option<IndexChange>,
    /// The change that was sent and not acknowledged.
    sent: Option<IndexChange>,
    /// Whether `waiting` comes from an earlier session.
    carried: bool,
}

struct Flight {
    seq: u64,
    keys: Vec<KeyHash>,
}

/// The changes that wait and those on their way; see the module's page.
#[derive(Default)]
pub struct Outbox {
    slots: BTreeMap<KeyHash, Slot>,
    /// Keys with something waiting and nothing sent, oldest first.
    ready: VecDeque<KeyHash>,
    flights: VecDeque<Flight>,
    credit_items: u64,
    credit_bytes: u64,
}

impl Outbox {
    /// Queues a change of the index. It replaces the one that waits under the same key.
    pub fn push(&mut self, change: IndexChange) {
        let hash = change.hash();
        let slot = self.slots.entry(hash).or_default();
        slot.carried = false;
        if slot.waiting.replace(change).is_none() && slot.sent.is_none() {
            self.ready.push_back(hash);
        }
    }

    /// Queues a body that the broker asked for, unless it is already on its way or waiting.
    pub fn push_wanted(&mut self, change: IndexChange) {
        if !self.slots.contains_key(&change.hash()) {
            self.push(change);
        }
    }

    /// Starts over with a new session. What was put is found by comparing digests; a deletion that was observed is kept, because
    /// absence does not say it when its source is not complete.
    pub fn begin_session(&mut self) {
        self.flights.clear();
        self.ready.clear();
        (self.credit_items, self.credit_bytes) = (0, 0);
        self.slots.retain(|hash, slot| {
            let latest = slot.waiting.take().or(slot.sent.take());
            slot.sent = None;
            slot.carried = true;
            slot.waiting = latest.filter(|change| matches!(change, IndexChange::Del { .. }));
            if slot.waiting.is_some() {
                self.ready.push_back(*hash);
            }
            slot.waiting.is_some()
        });
    }

    /// Forgets the changes of earlier sessions: the broker holds what this side holds.
    pub fn drop_carried(&mut self) {
        self.slots.retain(|_, slot| !slot.carried);
        self.ready.retain(|hash| self.slots.contains_key(hash));
    }

    /// Forgets everything that waits: a snapshot contains it.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.ready.clear();
        self.flights.clear();
    }

    /// Adds the credits that the broker granted.
    pub fn grant(&mut self, credits: &v1::Credits) {
        self.credit_items = self.credit_items.saturating_add(u64::from(credits.items));
        self.credit_bytes = self.credit_bytes.saturating_add(credits.bytes);
    }

    /// The next message, as large as credits and `max_message_bytes` allow; `None` if nothing may be sent. An operation that is
    /// larger than all byte credits goes alone when nothing is on its way, or no credit would ever come back.
    pub fn take(&mut self, seq: u64, max_message_bytes: usize) -> Option<v1::Changes> {
        let mut operations = Vec::new();
        let mut keys = Vec::new();
        let mut message_bytes = 16;
        while operations.len() < MAX_OPERATIONS && self.credit_items > 0 {
            let Some(hash) = self.ready.front().copied() else { break };
            let Some(change) = self.slots.get_mut(&hash).and_then(|slot| slot.waiting.take())
            else {
                self.ready.pop_front();
                continue;
            };
            let operation = operation(&change);
            let bytes = operation.encoded_len();
            let alone = operations.is_empty() && self.flights.is_empty();
            let fits = message_bytes + bytes + 8 <= max_message_bytes || operations.is_empty();
            let Some(slot) = self.slots.get_mut(&hash) else { break };
            if !fits || (bytes as u64 > self.credit_bytes && !alone) {
                slot.waiting = Some(change);
                break;
            }
            slot.sent = Some(change);
            slot.carried = false;
            self.ready.pop_front();
            self.credit_items -= 1;
            self.credit_bytes = self.credit_bytes.saturating_sub(bytes as u64);
            message_bytes += bytes + 8;
            operations.push(operation);
            keys.push(hash);
        }
        if operations.is_empty() {
            return None;
        }
        self.flights.push_back(Flight { seq, keys });
        Some(v1::Changes { seq, operations })
    }

    /// Everything up to `seq` is durable at the broker. Returns the keys whose deletion became durable.
    pub fn ack(&mut self, seq: u64) -> Vec<KeyHash> {
        let mut deleted = Vec::new();
        while self.flights.front().is_some_and(|flight| flight.seq <= seq) {
            let Some(flight) = self.flights.pop_front() else { break };
            for hash in flight.keys {
                let Some(slot) = self.slots.get_mut(&hash) else { continue };
                if matches!(slot.sent.take(), Some(IndexChange::Del { .. }))
                    && slot.waiting.is_none()
                {
                    deleted.push(hash);
                }
                if slot.waiting.is_some() {
                    self.ready.push_back(hash);
                } else {
                    self.slots.remove(&hash);
                }
            }
        }
        deleted
    }

    /// Whether nothing waits and nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether everything was sent, acknowledged or not.
    pub fn is_sent(&self) -> bool {
        self.slots.values().all(|slot| slot.waiting.is_none())
    }

    /// Whether a change of this key is not acknowledged yet.
    pub fn holds(&self, hash: &KeyHash) -> bool {
        self.slots.contains_key(hash)
    }

    /// How many keys have a change that is not acknowledged.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
}

fn operation(change: &IndexChange) -> v1::Operation {
    use v1::operation::Operation;
    let operation = match change {
        IndexChange::Put { endpoint, version, .. } => Operation::Put(v1::Put {
            endpoint: Some(endpoint.as_ref().into()),
            version: version_to_wire(version),
        }),
        IndexChange::Del { key, version_seen, cause, .. } => Operation::Del(v1::Del {
            key: Some(key.into()),
            version_seen: version_to_wire(version_seen),
            cause: match cause {
                DelCause::ObjectDeleted => v1::del::Cause::ObjectDeleted,
                DelCause::HostRemoved => v1::del::Cause::HostRemoved,
                DelCause::Released => v1::del::Cause::Released,
            }
            .into(),
        }),
    };
    v1::Operation { operation: Some(operation) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::agent::index::Index;
    use crate::agent::index::tests::{object, wants};
    use crate::agent::sources::SourceKind;
    use crate::core::endpoint::{EndpointKey, Version};
    use crate::wire::convert::version_from_wire;

    const PLENTY: v1::Credits = v1::Credits { items: 1_000, bytes: 1_000_000 };

    /// A broker that remembers what it was sent.
    #[derive(Default)]
    struct Broker(BTreeMap<KeyHash, Version>);

    impl Broker {
        fn take(&mut self, changes: &v1::Changes) {
            use v1::operation::Operation;
            for operation in &changes.operations {
                match operation.operation.as_ref().unwrap() {
                    Operation::Put(put) => {
                        let key: EndpointKey = put.endpoint.clone().unwrap().key.unwrap().into();
                        self.0.insert(
                            key.hash(),
                            version_from_wire("version", &put.version).unwrap(),
                        );
                    }
                    Operation::Del(del) => {
                        self.0.remove(&EndpointKey::from(del.key.clone().unwrap()).hash());
                    }
                }
            }
        }
    }

    fn put(name: &str, target: &str) -> IndexChange {
        let web = object(name);
        Index::new([SourceKind::Service])
            .apply(&web, &"f".into(), wants(&web, &[(name, target)]))
            .remove(0)
    }

    fn del(name: &str) -> IndexChange {
        let web = object(name);
        let mut index = Index::new([SourceKind::Service]);
        index.apply(&web, &"f".into(), wants(&web, &[(name, "1")]));
        index.delete(&web).remove(0)
    }

    #[test]
    fn ten_edits_while_waiting_are_one_operation() {
        let mut outbox = Outbox::default();
        (0..10).for_each(|n| outbox.push(put("a", &n.to_string())));
        outbox.grant(&PLENTY);
        assert_eq!(outbox.take(1, 10_000).unwrap().operations.len(), 1);
        assert!(outbox.take(2, 10_000).is_none());
    }

    #[test]
    fn one_version_of_a_key_is_on_its_way() {
        let mut outbox = Outbox::default();
        outbox.grant(&PLENTY);
        outbox.push(put("a", "1"));
        outbox.take(1, 10_000).unwrap();
        outbox.push(put("a", "2"));
        assert!(outbox.take(2, 10_000).is_none());
        outbox.ack(1);
        assert_eq!(outbox.take(2, 10_000).unwrap().seq, 2);
    }

    #[test]
    fn credits_stop_the_flow_and_start_it_again() {
        let mut outbox = Outbox::default();
        for name in ["a", "b", "c"] {
            outbox.push(put(name, "1"));
        }
        assert!(outbox.take(1, 10_000).is_none());
        outbox.grant(&v1::Credits { items: 2, bytes: 1_000_000 });
        assert_eq!(outbox.take(1, 10_000).unwrap().operations.len(), 2);
        assert!(outbox.take(2, 10_000).is_none());
        outbox.grant(&v1::Credits { items: 1, bytes: 0 });
        assert_eq!(outbox.take(2, 10_000).unwrap().operations.len(), 1);
    }

    #[test]
    fn an_operation_larger_than_all_byte_credits_goes_alone() {
        let mut outbox = Outbox::default();
        outbox.push(put("a", "1"));
        outbox.push(put("b", "1"));
        outbox.grant(&v1::Credits { items: 10, bytes: 1 });
        assert_eq!(outbox.take(1, 10_000).unwrap().operations.len(), 1);
        assert!(outbox.take(2, 10_000).is_none());
        outbox.ack(1);
        assert_eq!(outbox.take(2, 10_000).unwrap().operations.len(), 1);
    }

    #[test]
    fn messages_keep_to_their_size() {
        let mut outbox = Outbox::default();
        outbox.grant(&PLENTY);
        (0..100).for_each(|n| outbox.push(put(&format!("name-{n}"), "192.0.2.1")));
        let (mut seq, mut total) = (0, 0);
        while let Some(changes) = outbox.take(seq + 1, 1_000) {
            assert!(changes.encoded_len() <= 1_000, "{}", changes.encoded_len());
            (seq, total) = (seq + 1, total + changes.operations.len());
        }
        assert_eq!(total, 100);
    }

    #[test]
    fn an_observed_deletion_outlives_the_session_and_a_put_does_not() {
        let mut outbox = Outbox::default();
        outbox.grant(&PLENTY);
        outbox.push(put("a", "1"));
        outbox.push(del("b"));
        outbox.take(1, 10_000).unwrap();
        outbox.begin_session();
        assert_eq!(outbox.len(), 1);
        outbox.grant(&PLENTY);
        let operations = outbox.take(1, 10_000).unwrap().operations;
        assert!(matches!(operations[0].operation, Some(v1::operation::Operation::Del(_))));
        outbox.begin_session();
        outbox.drop_carried();
        assert!(outbox.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Want(u8, u8),
        Forget(u8),
        Send(u16),
        Ack,
        Grant(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..6u8, any::<u8>()).prop_map(|(name, target)| Step::Want(name, target)),
            2 => (0..6u8).prop_map(Step::Forget),
            3 => (50..400u16).prop_map(Step::Send),
            2 => Just(Step::Ack),
            2 => (1..4u8).prop_map(Step::Grant),
        ]
    }

    proptest! {
        #[test]
        fn the_broker_ends_with_the_index_and_never_sees_two_versions_on_their_way(steps in proptest::collection::vec(step(), 0..80)) {
            let (mut index, mut outbox, mut broker) = (Index::new([SourceKind::Service]), Outbox::default(), Broker::default());
            let (mut next_seq, mut acked, mut granted, mut sent) = (1, 0, 0u64, 0u64);
            let mut on_their_way: BTreeMap<u64, BTreeSet<EndpointKey>> = BTreeMap::new();
            let drain = vec![Step::Grant(250), Step::Send(400), Step::Ack, Step::Send(400), Step::Ack];
            let drain: Vec<Step> = std::iter::repeat_n(drain, 12).flatten().collect();
            for step in steps.into_iter().chain(drain) {
                match step {
                    Step::Want(name, target) => {
                        let object = object(&format!("o{name}"));
                        let target = target.to_string();
                        index.apply(&object, &"f".into(), wants(&object, &[("host", &target)])).into_iter().for_each(|c| outbox.push(c));
                    }
                    Step::Forget(name) => index.delete(&object(&format!("o{name}"))).into_iter().for_each(|c| outbox.push(c)),
                    Step::Send(size) => if let Some(changes) = outbox.take(next_seq, usize::from(size)) {
                        broker.take(&changes);
                        sent += changes.operations.len() as u64;
                        let keys: BTreeSet<EndpointKey> = changes.operations.iter().map(key_of).collect();
                        prop_assert!(on_their_way.values().all(|others| others.is_disjoint(&keys)));
                        on_their_way.insert(next_seq, keys);
                        next_seq += 1;
                    },
                    Step::Ack => if let Some((seq, _)) = on_their_way.pop_first() {
                        acked = acked.max(seq);
                        outbox.ack(acked);
                    },
                    Step::Grant(items) => {
                        granted += u64::from(items);
                        outbox.grant(&v1::Credits { items: u32::from(items), bytes: 100_000 });
                    }
                }
                prop_assert!(outbox.len() <= 6, "bounded by the live keys");
                prop_assert!(sent <= granted);
            }
            prop_assert!(outbox.is_empty());
            let held: BTreeMap<KeyHash, Version> = index.iter().map(|(hash, held)| (*hash, held.version)).collect();
            prop_assert_eq!(held, broker.0);
        }
    }

    fn key_of(operation: &v1::Operation) -> EndpointKey {
        match operation.operation.clone().unwrap() {
            v1::operation::Operation::Put(put) => put.endpoint.unwrap().key.unwrap().into(),
            v1::operation::Operation::Del(del) => del.key.unwrap().into(),
        }
    }
}
