//! 5: A zone whose changes all fail is asked less and less often.

use std::collections::BTreeMap;

use zonefold::core::ids::{AccountId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::time::{Millis, Timestamp};
use zonefold::emulator::Action;

use super::Violation;
use super::history::{Call, History, LeaseChange, Told, What};

/// After this time in that state ...
const AFTER: Millis = Millis::from_secs(45);
/// ... and with this number of answered changes: nothing shows while a policy has nothing sent, or answers are lost ...
const ANSWERED: usize = 9;
/// ... a holder of the account sends no more than this number of changes to the zone ...
const MOST_CALLS: usize = 6;
/// ... in this time.
const IN: Millis = Millis::from_secs(60);

struct Failing {
    since: Timestamp,
    answered: usize,
    sent: Vec<Timestamp>,
    told: bool,
}

/// Counts the changes that are sent to each zone that is failing; a replica that takes the account over begins anew.
pub fn judge(history: &History) -> Vec<Violation> {
    let mut failing: BTreeMap<ZoneId, Failing> = BTreeMap::new();
    let mut accounts: BTreeMap<ZoneId, AccountId> = BTreeMap::new();
    let mut under_way: BTreeMap<u64, ZoneId> = BTreeMap::new();
    let mut violations = vec![];
    for event in &history.log {
        match &event.what {
            What::Told(Told::Failing { zone, on: true }) => {
                let zone_failing =
                    Failing { since: event.at, answered: 0, sent: vec![], told: false };
                failing.insert(zone.clone(), zone_failing);
            }
            What::Told(Told::Failing { zone, on: false }) => drop(failing.remove(zone)),
            What::Lease { account, change: LeaseChange::Taken { .. }, .. } => {
                let own =
                    failing.iter_mut().filter(|(zone, _)| accounts.get(*zone) == Some(account));
                own.for_each(|(_, failing)| {
                    (failing.since, failing.answered, failing.sent) = (event.at, 0, vec![])
                });
            }
            What::CallStarted(call @ Call { zone: Some(zone), .. }) => {
                accounts.insert(zone.clone(), call.account.clone());
                let Some(failing) = failing.get_mut(zone).filter(|_| is_change(call)) else {
                    continue;
                };
                under_way.insert(call.number, zone.clone());
                let shows = failing.since + AFTER <= event.at && failing.answered >= ANSWERED;
                if !shows || failing.told {
                    continue;
                }
                failing.sent.push(event.at);
                failing.sent.retain(|sent| *sent + IN > event.at);
                if failing.sent.len() > MOST_CALLS {
                    failing.told = true;
                    let what = format!(
                        "{} sent {} changes to the zone {zone} in {} s, though all of them fail since {}",
                        call.replica,
                        failing.sent.len(),
                        IN.0 / 1_000,
                        failing.since
                    );
                    violations.push(Violation::new(Invariant::LimitsHold, event.at, what));
                }
            }
            What::CallEnded { call, outcome } => {
                let zone = under_way.remove(call).filter(|_| outcome.starts_with("status "));
                if let Some(failing) = zone.and_then(|zone| failing.get_mut(&zone)) {
                    failing.answered += 1;
                }
            }
            _ => {}
        }
    }
    violations
}

fn is_change(call: &Call) -> bool {
    call.action == Action::ChangeResourceRecordSets.as_str()
}
