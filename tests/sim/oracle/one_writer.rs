//! 12: At most one replica manages an account, and one that lost its lease stops calling before the lease can pass on.

use std::collections::BTreeMap;

use zonefold::core::ids::{AccountId, BatchId};
use zonefold::core::invariants::Invariant;
use zonefold::core::time::{Millis, Timestamp};
use zonefold::emulator::Action;

use super::Violation;
use super::history::{Call, Commit, Event, History, LeaseChange, Replica, Told, What};

/// The end of a lease that does not run out.
const FOR_EVER: Timestamp = Timestamp(i64::MAX);

/// The longest that an answer of the store is on its way.
const TOLD_AFTER: Millis = Millis::from_secs(1);

/// A lease as the store has it.
struct Lease {
    replica: Replica,
    epoch: u64,
    until: Timestamp,
    given_back: bool,
}

#[derive(Default)]
struct Reading {
    leases: BTreeMap<AccountId, Lease>,
    /// The replicas that ever took the lease of each account, and when the store told them first that it had passed on.
    holders: BTreeMap<(AccountId, Replica), Option<Timestamp>>,
    batches: BTreeMap<BatchId, AccountId>,
    /// The replica that journalled each batch, while it had the newest lease.
    begun: BTreeMap<BatchId, Replica>,
    /// How far the database's clock is ahead of the true time: it is the one that leases go by.
    database_ahead: Millis,
    violations: Vec<Violation>,
}

/// No lease is given while another one lasts; every call starts inside its caller's lease; every write of a worker asserts the
/// lease that is the account's newest. A world of one broker whose store gives no leases has nothing to judge.
pub fn judge(history: &History) -> Vec<Violation> {
    if !history.log.iter().any(|event| matches!(event.what, What::Lease { .. })) {
        return vec![];
    }
    let mut reading = Reading::default();
    for event in &history.log {
        reading.read(event);
    }
    reading.violations
}

impl Reading {
    fn found(&mut self, at: Timestamp, what: String) {
        self.violations.push(Violation::new(Invariant::OneWriter, at, what));
    }

    fn read(&mut self, event: &Event) {
        match &event.what {
            What::Lease { account, replica, epoch, change } => {
                self.lease(event.at, account, *replica, *epoch, *change)
            }
            What::Told(Told::StoreClock { ahead_ms }) => self.database_ahead = Millis(*ahead_ms),
            What::Fault { kind: "store.fenced", text } => {
                let is_told = |account: &AccountId, replica: &Replica| {
                    text.starts_with(&format!("{replica}:")) && text.contains(account.as_str())
                };
                let told = self.holders.iter_mut();
                told.filter(|((account, replica), _)| is_told(account, replica))
                    .for_each(|(_, fenced_at)| *fenced_at = fenced_at.or(Some(event.at)));
            }
            What::CallStarted(call) => {
                let lease = self.leases.get(&call.account);
                let is_theirs = |lease: &&Lease| {
                    let now = event.at + self.database_ahead;
                    lease.replica == call.replica && !lease.given_back && now <= lease.until
                };
                if lease.filter(is_theirs).is_none()
                    && !lease.is_some_and(|lease| self.may_not_know(lease, call, event.at))
                {
                    let held =
                        lease.map_or_else(|| "never held".to_owned(), |lease| lease.to_string());
                    let what = format!(
                        "{} starts call {} ({}) of the account {}, whose lease is {held}",
                        call.replica, call.number, call.action, call.account
                    );
                    self.found(event.at, what);
                }
            }
            What::Committed { replica, lease_epoch, commit } => {
                let account = match commit {
                    Commit::BatchBegun(batch) => {
                        self.batches.insert(batch.id, batch.account.clone());
                        let newest = self.leases.get(&batch.account).map(|lease| lease.epoch);
                        self.begun.extend(
                            replica
                                .filter(|_| newest.is_some() && *lease_epoch == newest)
                                .map(|by| (batch.id, by)),
                        );
                        batch.account.clone()
                    }
                    Commit::BatchFinished { batch, .. } => match self.batches.get(batch) {
                        Some(account) => account.clone(),
                        None => return,
                    },
                    Commit::SpendHorizon { account, .. } => account.clone(),
                    Commit::Session { .. } | Commit::Ingest { .. } => return,
                };
                self.write(event.at, &account, *replica, *lease_epoch);
            }
            _ => {}
        }
    }

    /// A lease of a store that is not shared never runs out: a second process on the same file takes it over, and the first one
    /// learns of it with its next write, which is fenced, when the store's answer has arrived. Until then it may ask what it
    /// likes, and send what it journalled while the lease was its own: its successor found that batch open and reads it back.
    fn may_not_know(&self, lease: &Lease, call: &Call, at: Timestamp) -> bool {
        let holder = self.holders.get(&(call.account.clone(), call.replica));
        let was_theirs = lease.until == FOR_EVER
            && holder.is_some_and(|fenced| fenced.is_none_or(|fenced| at < fenced + TOLD_AFTER));
        let is_journalled =
            || call.batch.is_some_and(|batch| self.begun.get(&batch) == Some(&call.replica));
        was_theirs && (call.action != Action::ChangeResourceRecordSets.as_str() || is_journalled())
    }

    fn lease(
        &mut self,
        at: Timestamp,
        account: &AccountId,
        replica: Replica,
        epoch: u64,
        change: LeaseChange,
    ) {
        match (change, self.leases.get_mut(account)) {
            (LeaseChange::Taken { until }, old) => {
                // In a store that is not shared a lease never runs out, and any replica that starts takes it over.
                let now = at + self.database_ahead;
                let lasts =
                    |old: &Lease| !old.given_back && now < old.until && old.until != FOR_EVER;
                if let Some(old) = old.filter(|old| epoch <= old.epoch || lasts(old)) {
                    let what = format!(
                        "{replica} is given the lease {epoch} of the account {account}, which is {old}"
                    );
                    self.found(at, what);
                }
                self.leases
                    .insert(account.clone(), Lease { replica, epoch, until, given_back: false });
                self.holders.insert((account.clone(), replica), None);
            }
            (LeaseChange::Renewed { until }, Some(lease))
                if lease.epoch == epoch && lease.replica == replica =>
            {
                lease.until = until;
            }
            (LeaseChange::GivenBack, Some(lease))
                if lease.epoch == epoch && lease.replica == replica =>
            {
                lease.given_back = true
            }
            (LeaseChange::Renewed { .. } | LeaseChange::GivenBack, _) => {}
        }
    }

    /// A write after the lease has run out is sound while no other replica has taken it: the epoch tells.
    fn write(
        &mut self,
        at: Timestamp,
        account: &AccountId,
        replica: Option<Replica>,
        epoch: Option<u64>,
    ) {
        let newest = self.leases.get(account).map(|lease| lease.epoch);
        if epoch.is_none() || epoch != newest {
            let who = replica.map_or_else(|| "somebody".to_owned(), |replica| replica.to_string());
            let asserted =
                epoch.map_or_else(|| "no lease".to_owned(), |epoch| format!("the lease {epoch}"));
            let newest = newest.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string());
            self.found(at, format!("{who} wrote for the account {account} under {asserted}, and the newest is {newest}"));
        }
    }
}

impl std::fmt::Display for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}'s under epoch {}", self.replica, self.epoch)?;
        if self.given_back {
            f.write_str(", given back")
        } else {
            write!(f, ", until {}", self.until)
        }
    }
}
