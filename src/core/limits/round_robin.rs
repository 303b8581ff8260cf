//! RoundRobin: one queue of waiting items per flow, and an item of each flow in turn.
//!
//! For items that cost about the same. A new flow waits for one item of each of the others, however many items they hold; the
//! items of a flow keep their order. Where costs differ and have to be balanced over time, use
//! [`fair`](super::fair).

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// See the module's page.
#[derive(Debug)]
pub struct RoundRobin<F, T> {
    /// The flows that have something waiting, each once, the next first.
    order: VecDeque<F>,
    /// The waiting items; no queue is empty.
    waiting: HashMap<F, VecDeque<T>>,
}

impl<F, T> Default for RoundRobin<F, T> {
    fn default() -> Self {
        Self { order: VecDeque::new(), waiting: HashMap::new() }
    }
}

impl<F: Clone + Eq + Hash, T> RoundRobin<F, T> {
    /// Puts an item at the end of its flow's queue.
    pub fn push(&mut self, flow: F, item: T) {
        self.queue(flow).push_back(item);
    }

    /// Puts an item at the beginning of its flow's queue: one that was taken and that its flow goes on with at its next turn.
    pub fn put_back(&mut self, flow: F, item: T) {
        self.queue(flow).push_front(item);
    }

    fn queue(&mut self, flow: F) -> &mut VecDeque<T> {
        let Self { order, waiting } = self;
        waiting.entry(flow).or_insert_with_key(|flow| {
            order.push_back(flow.clone());
            VecDeque::new()
        })
    }

    /// Takes the first item of the flow whose turn it is.
    pub fn take(&mut self) -> Option<(F, T)> {
        let flow = self.order.pop_front()?;
        let queue = self.waiting.get_mut(&flow)?;
        let item = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&flow);
        } else {
            self.order.push_back(flow.clone());
        }
        Some((flow, item))
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether something of a flow waits.
    pub fn has(&self, flow: &F) -> bool {
        self.waiting.contains_key(flow)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_flow_that_comes_waits_for_one_item_of_each_of_the_others() {
        let mut turns = RoundRobin::default();
        (0..1_000).for_each(|item| turns.push("noisy", item));
        (0..1_000).for_each(|item| turns.push("loud", item));
        (0..10).for_each(|_| assert!(turns.take().is_some()));
        turns.push("quiet", 7);
        let next: Vec<&str> =
            std::iter::from_fn(|| turns.take()).map(|(flow, _)| flow).take(3).collect();
        assert_eq!(next, ["noisy", "loud", "quiet"]);
    }

    #[test]
    fn what_is_put_back_is_the_first_of_its_flow_at_its_next_turn() {
        let mut turns = RoundRobin::default();
        for (flow, item) in [("a", 1), ("a", 2), ("b", 3)] {
            turns.push(flow, item);
        }
        let (flow, item) = turns.take().unwrap();
        turns.put_back(flow, item);
        let rest: Vec<_> = std::iter::from_fn(|| turns.take()).collect();
        assert_eq!(rest, [("b", 3), ("a", 1), ("a", 2)]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_each_flow_keeps_its_order(happenings in prop::collection::vec(prop::option::of(0u8..4), 0..200)) {
            let mut turns = RoundRobin::default();
            let (mut pushed, mut taken) = (BTreeMap::<u8, Vec<usize>>::new(), BTreeMap::<u8, Vec<usize>>::new());
            for (serial, happening) in happenings.into_iter().enumerate() {
                match happening {
                    Some(flow) => {
                        turns.push(flow, serial);
                        pushed.entry(flow).or_default().push(serial);
                    }
                    None => turns.take().into_iter().for_each(|(flow, item)| taken.entry(flow).or_default().push(item)),
                }
            }
            while let Some((flow, item)) = turns.take() {
                taken.entry(flow).or_default().push(item);
            }
            prop_assert_eq!(pushed, taken);
            prop_assert!(turns.is_empty() && (0..4).all(|flow| !turns.has(&flow)));
        }
    }
}
