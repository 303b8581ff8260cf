//! The living replicas and their leases, by the database's time.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::ids::AccountId;
use zonefold::core::time::{Millis, Timestamp};
use zonefold::ports::{LeaseEpoch, Membership, ReplicaId, ReplicaRow, Tenure};

use crate::history::{LeaseChange, Replica, What};

/// One account's lease.
#[derive(Clone, Debug)]
struct Lease {
    holder: Option<(ReplicaId, Replica)>,
    epoch: u64,
    /// None: it does not run out.
    until: Option<Timestamp>,
}

/// See the module's page.
#[derive(Clone, Debug, Default)]
pub struct LeaseTable {
    alive: BTreeMap<ReplicaId, (ReplicaRow, Timestamp)>,
    /// Replicas that left do not come back, whatever of them is still under way.
    left: BTreeSet<ReplicaId>,
    leases: BTreeMap<AccountId, Lease>,
}

/// A time that never comes, for the log.
const FOR_EVER: Timestamp = Timestamp(i64::MAX);

impl LeaseTable {
    /// Whether the lease of a tenure has not passed on.
    pub fn is_held(&self, tenure: &Tenure) -> bool {
        self.leases.get(&tenure.account).is_some_and(|lease| {
            lease.epoch == tenure.epoch.0
                && lease.holder.is_some_and(|(holder, _)| holder == tenure.holder)
        })
    }

    /// A replica lives on, and with it the leases that it still holds: one that ran out and was not taken is still its own.
    pub fn heartbeat(
        &mut self,
        row: &ReplicaRow,
        life: Replica,
        now: Timestamp,
        ttl: Millis,
        shared: bool,
    ) -> Vec<What> {
        let (until, mut notes) = (now + ttl, vec![]);
        if shared && !self.left.contains(&row.replica) {
            self.alive.insert(row.replica, (row.clone(), until));
        }
        for (account, lease) in &mut self.leases {
            if shared && lease.holder.is_some_and(|(holder, _)| holder == row.replica) {
                lease.until = Some(until);
                notes.push(What::Lease {
                    account: account.clone(),
                    replica: life,
                    epoch: lease.epoch,
                    change: LeaseChange::Renewed { until },
                });
            }
        }
        notes
    }

    /// The living replicas and the leases held now. A store that is not shared has only the asking replica.
    pub fn standing(&self, asking: &ReplicaRow, now: Timestamp, shared: bool) -> Membership {
        let held =
            self.leases.iter().filter(|(_, lease)| lease.until.is_none_or(|until| now < until));
        let tenure = |(account, lease): (&AccountId, &Lease)| {
            let (holder, _) = lease.holder?;
            Some(Tenure { account: account.clone(), holder, epoch: LeaseEpoch(lease.epoch) })
        };
        let alive =
            self.alive.values().filter(|(_, until)| now < *until).map(|(row, _)| row.clone());
        Membership {
            replicas: if shared { alive.collect() } else { vec![asking.clone()] },
            leases: held.filter_map(tenure).collect(),
        }
    }

    /// An account that a newer process has, if it has all of this one's.
    pub fn superseded(&self, replica: ReplicaId) -> Option<AccountId> {
        let mut held =
            self.leases.iter().filter_map(|(account, lease)| Some((account, lease.holder?.0)));
        let of_another = held.clone().find(|(_, holder)| *holder != replica);
        let has_one = held.any(|(_, holder)| holder == replica);
        of_another.filter(|_| !has_one).map(|(account, _)| account.clone())
    }

    /// Whether another replica has one of these.
    pub fn is_any_of_another(&self, replica: ReplicaId, accounts: &[AccountId]) -> bool {
        let mut holders = accounts.iter().filter_map(|account| self.leases.get(account)?.holder);
        holders.any(|(holder, _)| holder != replica)
    }

    /// Takes the free leases. In a store that is not shared it takes all, from any holder.
    pub fn take(
        &mut self,
        replica: ReplicaId,
        life: Replica,
        accounts: &[AccountId],
        now: Timestamp,
        ttl: Millis,
        shared: bool,
    ) -> (Vec<Tenure>, Vec<What>) {
        let (mut taken, mut notes) = (vec![], vec![]);
        if shared && self.left.contains(&replica) {
            return (taken, notes);
        }
        for account in accounts {
            let lease = self.leases.entry(account.clone()).or_insert(Lease {
                holder: None,
                epoch: 0,
                until: None,
            });
            let is_free = lease.holder.is_none() || lease.until.is_some_and(|until| until <= now);
            if shared && !is_free {
                continue;
            }
            lease.epoch += 1;
            lease.holder = Some((replica, life));
            lease.until = shared.then(|| now + ttl);
            taken.push(Tenure {
                account: account.clone(),
                holder: replica,
                epoch: LeaseEpoch(lease.epoch),
            });
            let change = LeaseChange::Taken { until: lease.until.unwrap_or(FOR_EVER) };
            notes.push(What::Lease {
                account: account.clone(),
                replica: life,
                epoch: lease.epoch,
                change,
            });
        }
        (taken, notes)
    }

    /// Gives one back, when it is still that one.
    pub fn give_back(&mut self, tenure: &Tenure) -> Option<What> {
        if !self.is_held(tenure) {
            return None;
        }
        let lease = self.leases.get_mut(&tenure.account)?;
        let (_, replica) = lease.holder.take()?;
        Some(What::Lease {
            account: tenure.account.clone(),
            replica,
            epoch: lease.epoch,
            change: LeaseChange::GivenBack,
        })
    }

    /// A replica goes, and gives everything back.
    pub fn leave(&mut self, replica: ReplicaId) -> Vec<What> {
        self.alive.remove(&replica);
        self.left.insert(replica);
        let own = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.holder.is_some_and(|(holder, _)| holder == replica));
        let own: Vec<Tenure> = own
            .map(|(account, lease)| Tenure {
                account: account.clone(),
                holder: replica,
                epoch: LeaseEpoch(lease.epoch),
            })
            .collect();
        own.iter().filter_map(|tenure| self.give_back(tenure)).collect()
    }
}
