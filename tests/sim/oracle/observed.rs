//! 3: Nothing is written in a zone as long as a rule before the one that allows it asks for a tag that says observe, or that has
//! not been read.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::ids::{AccountId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::planning::policy::ZonePolicy;
use zonefold::core::time::{Millis, Timestamp};

use super::Violation;
use super::history::{Commit, Event, History, Told, What};

/// The longest that news of a configuration, and what was planned before it, take.
const KNOWN_AFTER: Millis = Millis::from_secs(10);
/// A process that stood still, or a store that did badly, may go by what was known before.
const LONGEST_TROUBLE: Millis = Millis::from_secs(120);

struct Rule {
    policy: Option<ZonePolicy>,
    since: Timestamp,
}

/// The content of the answers about a zone's tags.
#[derive(Default)]
struct Read {
    /// Whether it has the tag, by the answer before the last, and by the last.
    tagged: Vec<bool>,
    at: Timestamp,
}

#[derive(Default)]
struct Reading {
    rules: BTreeMap<ZoneId, Rule>,
    tagged: BTreeMap<ZoneId, bool>,
    read: BTreeMap<ZoneId, Read>,
    accounts: BTreeMap<ZoneId, AccountId>,
    /// The accounts whose answers about tags say nothing.
    unreadable: BTreeSet<AccountId>,
    /// The questions about tags: the account, and what the zones had when they arrived.
    asked: BTreeMap<u64, (AccountId, BTreeMap<ZoneId, bool>)>,
    stood_still: Option<Timestamp>,
    store_failed: Option<Timestamp>,
    started_at: Timestamp,
    violations: Vec<Violation>,
}

/// Reads the facts about rules and tags, and looks at each batch that is begun.
pub fn judge(history: &History) -> Vec<Violation> {
    let accounts = history.world.zones.iter().map(|zone| (zone.id.clone(), zone.account.clone()));
    let mut reading = Reading {
        accounts: accounts.collect(),
        started_at: history.world.started_at,
        ..Reading::default()
    };
    history.log.iter().for_each(|event| reading.read(event));
    reading.violations
}

impl Reading {
    fn read(&mut self, event: &Event) {
        match &event.what {
            What::Told(Told::TagRule { zone, policy }) => {
                let rule = Rule { policy: *policy, since: event.at };
                self.rules.insert(zone.clone(), rule);
            }
            What::Told(Told::Tagged { zone, tagged }) => {
                self.tagged.insert(zone.clone(), *tagged);
            }
            What::Told(Told::TagsReadable { account, readable: true }) => {
                self.unreadable.remove(account);
            }
            What::Told(Told::TagsReadable { account, readable: false }) => {
                self.unreadable.insert(account.clone());
            }
            What::Fault { kind, .. } if kind.starts_with("stop.") => {
                self.stood_still = Some(event.at)
            }
            What::Fault { kind, .. } if kind.starts_with("store.") => {
                self.store_failed = Some(event.at)
            }
            What::CallStarted(call) if call.action == "ListTagsForResources" => {
                self.asked.insert(call.number, (call.account.clone(), BTreeMap::new()));
            }
            What::CallArrived { call, .. } => {
                if let Some((account, held)) = self.asked.get_mut(call)
                    && !self.unreadable.contains(account)
                {
                    let own = self.accounts.iter().filter(|(_, of)| *of == account);
                    let tagged = |zone: &ZoneId| self.tagged.get(zone).copied().unwrap_or_default();
                    *held = own.map(|(zone, _)| (zone.clone(), tagged(zone))).collect();
                }
            }
            What::CallEnded { call, outcome } => {
                let answered = self.asked.remove(call).filter(|_| outcome == "status 200");
                for (zone, tagged) in answered.into_iter().flat_map(|(_, held)| held) {
                    let read = self.read.entry(zone).or_default();
                    read.tagged.push(tagged);
                    read.at = event.at;
                }
            }
            What::Committed { commit: Commit::BatchBegun(batch), .. } => {
                if let Some(why) = self.is_closed(&batch.zone, event.at) {
                    let what =
                        format!("batch {} is begun in the zone {}, {why}", batch.id, batch.zone);
                    self.violations.push(Violation::new(
                        Invariant::ForeignIsUntouched,
                        event.at,
                        what,
                    ));
                }
            }
            _ => {}
        }
    }

    /// Why nothing may be written in a zone.
    fn is_closed(&self, zone: &ZoneId, now: Timestamp) -> Option<&'static str> {
        let rule = self.rules.get(zone)?;
        let is_long_known = rule.since + KNOWN_AFTER <= now || self.is_first(rule);
        let lately = |at: Option<Timestamp>| at.is_some_and(|at| at + LONGEST_TROUBLE > now);
        if rule.policy != Some(ZonePolicy::Observe) || !is_long_known || lately(self.stood_still) {
            return None;
        }
        let Some(read) = self.read.get(zone) else {
            return Some("whose tags nobody has read, and a rule asks for them");
        };
        // An answer counts when what it says is stored.
        let says_so = read.tagged.iter().rev().take(2).all(|tagged| *tagged);
        (says_so
            && read.tagged.len() >= 2
            && read.at + KNOWN_AFTER <= now
            && !lately(self.store_failed))
        .then_some("whose tag says that it is only observed")
    }

    /// Whether a rule was there before any process was.
    fn is_first(&self, rule: &Rule) -> bool {
        rule.since == self.started_at
    }
}
