//! How the accounts are spread over the replicas: each decides for itself, from what all of them see.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::ids::AccountId;
use crate::ports::{Membership, ReplicaId};

/// The view from which a replica decides.
pub struct Rebalancer<'a> {
    me: ReplicaId,
    configured: &'a BTreeSet<AccountId>,
    standing: &'a Membership,
    /// How many accounts each live replica holds.
    held: BTreeMap<ReplicaId, usize>,
}

impl<'a> Rebalancer<'a> {
    /// The outlook of one replica.
    pub fn new(
        me: ReplicaId,
        configured: &'a BTreeSet<AccountId>,
        standing: &'a Membership,
    ) -> Self {
        let mut held: BTreeMap<ReplicaId, usize> =
            standing.replicas.iter().map(|row| (row.replica, 0)).collect();
        held.entry(me).or_default();
        for tenure in &standing.leases {
            // A holder that no longer lives loses its leases soon.
            if let Some(count) = held.get_mut(&tenure.holder) {
                *count += 1;
            }
        }
        Self { me, configured, standing, held }
    }

    fn mine(&self) -> usize {
        self.held.get(&self.me).copied().unwrap_or(0)
    }

    /// Replicas whose configurations differ know of each other's accounts by their leases.
    fn accounts(&self) -> usize {
        let leased = self.standing.leases.iter().map(|tenure| &tenure.account);
        self.configured.iter().chain(leased).collect::<BTreeSet<_>>().len()
    }

    /// A fair share, rounded up.
    fn share(&self) -> usize {
        self.accounts().div_ceil(self.held.len().max(1))
    }

    /// The free accounts. Replicas begin at different ones, so that they seldom want the same.
    pub fn free(&self) -> Vec<AccountId> {
        let leased: BTreeSet<&AccountId> =
            self.standing.leases.iter().map(|tenure| &tenure.account).collect();
        let mut free: Vec<AccountId> =
            self.configured.iter().filter(|account| !leased.contains(account)).cloned().collect();
        let before_me = self.held.range(..self.me).count();
        let first = before_me * free.len() / self.held.len().max(1);
        free.rotate_left(first);
        free
    }

    /// How many accounts may be taken: up to a fair share, and beyond a share that is rounded down only what the others leave.
    pub fn room(&self) -> usize {
        let (mine, least) = (self.mine(), self.accounts() / self.held.len().max(1));
        let others = self.held.iter().filter(|(replica, _)| **replica != self.me);
        let needed: usize = others.map(|(_, held)| least.saturating_sub(*held)).sum();
        let first = least.saturating_sub(mine);
        let left = self.free().len().saturating_sub(first + needed);
        first + self.share().saturating_sub(mine + first).min(left)
    }

    /// How many accounts are too many here while another replica has room for them. If shares do not divide evenly, only one of
    /// the replicas that hold most gives one back.
    pub fn too_many(&self) -> usize {
        let (mine, share) = (self.mine(), self.share());
        let room: usize = self.held.values().map(|held| share.saturating_sub(*held)).sum();
        let over = mine.saturating_sub(share).min(room);
        if over > 0 {
            return over;
        }
        let most =
            self.held.iter().max_by_key(|(replica, held)| (**held, std::cmp::Reverse(**replica)));
        let least = self.held.values().min().copied().unwrap_or(mine);
        let is_first_of_most = most.is_some_and(|(replica, _)| *replica == self.me);
        usize::from(is_first_of_most && mine >= least + 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{LeaseEpoch, ReplicaRow, Tenure};

    fn replica(number: usize) -> ReplicaId {
        ReplicaId(uuid::Uuid::from_u128(number as u128))
    }

    fn account(number: usize) -> AccountId {
        AccountId::parse(format!("{number:012}")).unwrap()
    }

    fn accounts(count: usize) -> BTreeSet<AccountId> {
        (0..count).map(account).collect()
    }

    /// This number of accounts at each replica, in order.
    fn standing(held: &[usize]) -> Membership {
        let replicas = (0..held.len())
            .map(|number| ReplicaRow { replica: replica(number), address: String::new() });
        let holders = held
            .iter()
            .enumerate()
            .flat_map(|(number, count)| std::iter::repeat_n(replica(number), *count));
        let lease =
            |(number, holder)| Tenure { account: account(number), holder, epoch: LeaseEpoch(1) };
        Membership {
            replicas: replicas.collect(),
            leases: holders.enumerate().map(lease).collect(),
        }
    }

    /// One round: replicas with too many accounts give some back, replicas with room take free ones.
    fn round(total: usize, held: &mut [usize]) {
        let (configured, before) = (accounts(total), standing(held));
        let give: Vec<usize> = (0..held.len())
            .map(|n| Rebalancer::new(replica(n), &configured, &before).too_many())
            .collect();
        held.iter_mut().zip(&give).for_each(|(held, give)| *held -= give);
        for number in 0..held.len() {
            let now = standing(held);
            let outlook = Rebalancer::new(replica(number), &configured, &now);
            let taken = outlook.room().min(outlook.free().len());
            held[number] += taken;
        }
    }

    #[test]
    fn alone_it_takes_everything() {
        let (configured, nobody) = (accounts(5), Membership::default());
        let outlook = Rebalancer::new(replica(7), &configured, &nobody);
        assert_eq!((outlook.room(), outlook.free().len(), outlook.too_many()), (5, 5, 0));
    }

    #[test]
    fn every_spread_evens_out_soon_and_then_nothing_moves() {
        for total in 0..=9 {
            for replicas in 1..=4 {
                for first in 0..=total {
                    let mut held = vec![0; replicas];
                    held[0] = first;
                    held[replicas - 1] += total - first;
                    for _ in 0..total + 2 {
                        round(total, &mut held);
                    }
                    let even = held.clone();
                    let (least, most) = (even.iter().min().unwrap(), even.iter().max().unwrap());
                    assert!(
                        even.iter().sum::<usize>() == total && most - least <= 1,
                        "{total} over {replicas}: {even:?}"
                    );
                    round(total, &mut held);
                    assert_eq!(held, even, "nothing flaps");
                }
            }
        }
    }

    #[test]
    fn two_that_come_at_once_begin_at_different_accounts() {
        let (configured, both) = (accounts(6), standing(&[0, 0]));
        let first =
            |number| Rebalancer::new(replica(number), &configured, &both).free()[..3].to_vec();
        assert!(first(0).iter().all(|account| !first(1).contains(account)));
    }

    #[test]
    fn accounts_that_only_others_know_count_and_are_left_to_them() {
        let (configured, others) = (accounts(2), standing(&[0, 4]));
        let outlook = Rebalancer::new(replica(0), &configured, &others);
        assert_eq!((outlook.room(), outlook.free()), (2, vec![]));
    }
}
