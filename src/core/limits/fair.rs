//! Fair turns between flows: clusters of one account, zones of one cluster.
//!
//! Each flow has a tally of what it was given. The flow that was given least is offered first, item by item, so between flows that
//! always have something waiting the tallies never drift apart by more than one item. A flow that comes back after a pause
//! starts at the tally of the flows that waited: idle time is not saved up, and going away does not clear a debt.
//!
//! This is start-time fair queueing, the form of deficit round robin that needs no quantum: an item that does not fit into
//! what is left of a batch is passed over without losing its place, and being the furthest behind it is the first of the next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// Something that waits, and its cost in whatever unit is shared (record changes, calls).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued<T> {
    /// The waiting item.
    pub item: T,
    /// The cost charged to its flow when it is taken; 0 counts as 1, or a flow could go on for ever.
    pub cost: u32,
}

/// The caller's answer to an item that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Take it.
    Take,
    /// It does not fit any more: nothing more of this flow in this round, so that its order is kept.
    Skip,
    /// End the round: nothing fits any more, or this one waits for tokens that the others must not spend meanwhile.
    Stop,
}

/// How much each flow was given. It belongs to one shared resource (an account's change tokens) and lives between rounds.
#[derive(Clone, Debug)]
pub struct FairShare<F> {
    /// The amount given to each flow that waited last time or is ahead of the clock.
    tallies: BTreeMap<F, u64>,
    /// The tally of the flow that was served first in the last round: where newcomers start. It never falls. An item that is skipped
    /// in every round does not hold it back, or newcomers would go before all others.
    clock: u64,
}

impl<F> Default for FairShare<F> {
    fn default() -> Self {
        Self { tallies: BTreeMap::new(), clock: 0 }
    }
}

impl<F: Ord + Clone> FairShare<F> {
    /// One round: offers the first item of the flow that was given least, again and again, until nothing is left or wanted.
    /// Taken items leave `pending` and come back in the order in which they were taken; flows of equal tally go by their order.
    ///
    /// O((flows waiting + items taken) · log flows).
    pub fn take<T>(
        &mut self,
        pending: &mut BTreeMap<F, VecDeque<Queued<T>>>,
        mut offer: impl FnMut(&F, &Queued<T>) -> Offer,
    ) -> Vec<(F, T)> {
        pending.retain(|_, queue| !queue.is_empty());
        self.begin_round(pending.keys());
        let mut waiting: BinaryHeap<Reverse<(u64, F)>> =
            pending.keys().map(|flow| Reverse((self.tally(flow), flow.clone()))).collect();
        let mut taken = Vec::new();
        while let Some(Reverse((tally, flow))) = waiting.pop() {
            let Some(queue) = pending.get_mut(&flow) else { continue };
            let Some(first) = queue.front() else { continue };
            match offer(&flow, first) {
                Offer::Take => {}
                Offer::Skip => continue,
                Offer::Stop => break,
            }
            let Some(Queued { item, cost }) = queue.pop_front() else { continue };
            if taken.is_empty() {
                self.clock = self.clock.max(tally);
            }
            let tally = tally.saturating_add(u64::from(cost.max(1)));
            self.tallies.insert(flow.clone(), tally);
            taken.push((flow.clone(), item));
            if queue.is_empty() {
                pending.remove(&flow);
            } else {
                waiting.push(Reverse((tally, flow)));
            }
        }
        taken
    }

    /// One round that takes items up to a sum of costs. An item that is larger than what is left ends its flow's turn
    /// only. One that is larger than the budgets of all rounds never goes out.
    pub fn take_up_to<T>(
        &mut self,
        pending: &mut BTreeMap<F, VecDeque<Queued<T>>>,
        budget: u32,
    ) -> Vec<(F, T)> {
        let mut left = budget;
        self.take(pending, |_, queued| match left.checked_sub(queued.cost) {
            _ if left == 0 => Offer::Stop,
            Some(rest) => {
                left = rest;
                Offer::Take
            }
            None => Offer::Skip,
        })
    }

    /// Charges a flow for what it was given outside the rounds.
    pub fn charge(&mut self, flow: &F, cost: u32) {
        let tally = self.tally(flow).saturating_add(u64::from(cost.max(1)));
        self.tallies.insert(flow.clone(), tally);
    }

    /// The least that any of these flows was given, for comparison when several queues share one memory and each holds
    /// some of the flows.
    pub fn least<'a>(&self, flows: impl Iterator<Item = &'a F>) -> Option<u64>
    where
        F: 'a,
    {
        flows.map(|flow| self.tally(flow)).min()
    }

    fn tally(&self, flow: &F) -> u64 {
        self.tallies.get(flow).copied().unwrap_or(0).max(self.clock)
    }

    /// Gives each waiting flow at least the clock's tally, and forgets flows that neither wait nor are ahead of the clock.
    fn begin_round<'a>(&mut self, flows: impl ExactSizeIterator<Item = &'a F>)
    where
        F: 'a,
    {
        if flows.len() == 0 {
            *self = Self::default();
            return;
        }
        for flow in flows {
            let tally = self.tally(flow);
            self.tallies.insert(flow.clone(), tally);
        }
        let clock = self.clock;
        self.tallies.retain(|_, tally| *tally >= clock);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Pending = BTreeMap<u8, VecDeque<Queued<(u8, usize)>>>;

    /// Appends items to a flow; an item is its flow and a serial number.
    fn push(pending: &mut Pending, flow: u8, costs: &[u32], next: &mut usize) {
        for cost in costs {
            pending.entry(flow).or_default().push_back(Queued { item: (flow, *next), cost: *cost });
            *next += 1;
        }
    }

    #[test]
    fn a_small_change_of_a_quiet_flow_goes_out_in_the_next_round() {
        let (mut share, mut pending, mut next) = (FairShare::default(), Pending::new(), 0);
        push(&mut pending, 1, &[1; 10_000], &mut next);
        for _ in 0..20 {
            assert_eq!(share.take_up_to(&mut pending, 100).len(), 100);
        }
        push(&mut pending, 9, &[1], &mut next);
        let round = share.take_up_to(&mut pending, 2);
        assert!(round.iter().any(|(flow, _)| *flow == 9), "{round:?}");
    }

    #[test]
    fn what_is_given_outside_the_rounds_is_paid_for() {
        let (mut share, mut pending, mut next) = (FairShare::default(), Pending::new(), 0);
        push(&mut pending, 1, &[1; 20], &mut next);
        push(&mut pending, 2, &[1; 20], &mut next);
        assert_eq!(share.take_up_to(&mut pending, 2).len(), 2);
        share.charge(&1, 10);
        let round = share.take_up_to(&mut pending, 10);
        assert!(round.iter().all(|(flow, _)| *flow == 2), "{round:?}");
    }

    #[test]
    fn going_away_does_not_clear_a_debt() {
        let (mut share, mut pending, mut next) = (FairShare::default(), Pending::new(), 0);
        push(&mut pending, 2, &[10; 100], &mut next);
        let mut given = BTreeMap::<u8, u32>::new();
        for _ in 0..20 {
            // Flow 1 comes with exactly what a round takes, is first by name, and is gone afterwards.
            if !pending.contains_key(&1) {
                push(&mut pending, 1, &[10], &mut next);
            }
            for (flow, _) in share.take_up_to(&mut pending, 10) {
                *given.entry(flow).or_default() += 1;
            }
        }
        assert_eq!(given, BTreeMap::from([(1, 10), (2, 10)]));
    }

    #[test]
    fn an_item_that_did_not_fit_is_the_first_of_the_next_round() {
        let (mut share, mut pending, mut next) = (FairShare::default(), Pending::new(), 0);
        push(&mut pending, 1, &[1; 50], &mut next);
        push(&mut pending, 2, &[10; 3], &mut next);
        let first = share.take_up_to(&mut pending, 10);
        assert!(first.iter().all(|(flow, _)| *flow == 1), "10 no longer fit after the first 1");
        assert_eq!(share.take_up_to(&mut pending, 10)[0].0, 2);
    }

    #[test]
    fn an_item_that_never_fits_holds_up_only_its_own_flow() {
        let (mut share, mut pending, mut next) = (FairShare::default(), Pending::new(), 0);
        push(&mut pending, 1, &[1_000, 1], &mut next);
        push(&mut pending, 2, &[1; 10], &mut next);
        push(&mut pending, 3, &[1; 10], &mut next);
        let flows: Vec<_> =
            (0..2).flat_map(|_| share.take_up_to(&mut pending, 10)).map(|(flow, _)| flow).collect();
        assert_eq!(flows.iter().filter(|flow| **flow == 2).count(), 10);
        assert_eq!(flows.iter().filter(|flow| **flow == 3).count(), 10);
        assert_eq!(pending.keys().copied().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn an_item_that_never_fits_gives_newcomers_no_lead() {
        let (mut share, mut pending, mut next) = (FairShare::default(), Pending::new(), 0);
        push(&mut pending, 1, &[1_000], &mut next);
        push(&mut pending, 2, &[1; 1_000], &mut next);
        for _ in 0..50 {
            share.take_up_to(&mut pending, 10);
        }
        push(&mut pending, 3, &[1; 1_000], &mut next);
        let taken: Vec<_> =
            (0..4).flat_map(|_| share.take_up_to(&mut pending, 10)).map(|(flow, _)| flow).collect();
        // The newcomer starts where the last round started, so it leads by that round at most.
        assert!(taken.iter().filter(|flow| **flow == 2).count() >= 15, "{taken:?}");
    }

    #[test]
    fn nothing_is_remembered_when_nothing_waits() {
        let (mut share, mut pending, mut next) = (FairShare::default(), Pending::new(), 0);
        push(&mut pending, 1, &[1; 5], &mut next);
        share.take_up_to(&mut pending, 10);
        share.take_up_to(&mut pending, 10);
        assert!(share.tallies.is_empty() && share.clock == 0);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_doubled_or_taken_out_of_its_flow_s_order(
            rounds in vec((vec((0u8..5, vec(0u32..20, 0..6)), 0..4), 0u32..40), 1..20),
        ) {
            let (mut share, mut pending, mut next) = (FairShare::default(), Pending::new(), 0);
            let (mut expected, mut got) = (BTreeMap::<u8, Vec<usize>>::new(), BTreeMap::<u8, Vec<usize>>::new());
            for (arrivals, budget) in rounds {
                for (flow, costs) in arrivals {
                    expected.entry(flow).or_default().extend(next..next + costs.len());
                    push(&mut pending, flow, &costs, &mut next);
                }
                let cost_before: u32 = pending.values().flatten().map(|queued| queued.cost).sum();
                for (flow, (own_flow, serial)) in share.take_up_to(&mut pending, budget) {
                    prop_assert_eq!(flow, own_flow);
                    got.entry(flow).or_default().push(serial);
                }
                let cost_after: u32 = pending.values().flatten().map(|queued| queued.cost).sum();
                prop_assert!(cost_before - cost_after <= budget);
            }
            for (flow, queue) in &pending {
                got.entry(*flow).or_default().extend(queue.iter().map(|queued| queued.item.1));
            }
            expected.retain(|_, serials| !serials.is_empty());
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn flows_that_always_wait_are_given_the_same_but_for_one_item(
            flows in vec(vec(1u32..30, 200), 2..6),
            // A batch is cut by count here, so nothing is passed over for its size.
            rounds in vec(1usize..12, 1..15),
        ) {
            let (mut share, mut pending, mut next) = (FairShare::default(), Pending::new(), 0);
            for (flow, costs) in (0u8..).zip(&flows) {
                push(&mut pending, flow, costs, &mut next);
            }
            let mut given = vec![0u32; flows.len()];
            for mut count in rounds {
                share.take(&mut pending, |flow, queued| match count.checked_sub(1) {
                    Some(rest) => {
                        count = rest;
                        given[usize::from(*flow)] += queued.cost;
                        Offer::Take
                    }
                    None => Offer::Stop,
                });
                let largest = flows.iter().flatten().max().unwrap();
                let spread = given.iter().max().unwrap() - given.iter().min().unwrap();
                prop_assert!(spread <= *largest, "{given:?} differ by more than {largest}");
            }
        }

        #[test]
        fn whoever_was_given_least_is_served_in_every_round(
            flows in vec(vec(1u32..=20, 60), 2..5),
            budgets in vec(20u32..60, 1..10),
        ) {
            let (mut share, mut pending, mut next) = (FairShare::default(), Pending::new(), 0);
            for (flow, costs) in (0u8..).zip(&flows) {
                push(&mut pending, flow, costs, &mut next);
            }
            let mut given = vec![0u32; flows.len()];
            for budget in budgets {
                let least = *given.iter().min().unwrap();
                let last: Vec<usize> = (0..given.len()).filter(|flow| given[*flow] == least).collect();
                let costs: BTreeMap<(u8, usize), u32> = pending.values().flatten().map(|q| (q.item, q.cost)).collect();
                let round = share.take_up_to(&mut pending, budget);
                prop_assert!(last.contains(&usize::from(round[0].0)), "{:?} first, {:?} were behind", round[0].0, last);
                for (flow, item) in round {
                    given[usize::from(flow)] += costs[&item];
                }
            }
        }
    }
}
