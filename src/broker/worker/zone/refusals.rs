//! What Route 53 refused for its content, and when each is tried again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordKey;
use crate::core::time::{Millis, Timestamp};

/// The first wait before something refused is tried again unchanged.
pub const FIRST_RETRY: Millis = Millis::from_secs(30);
/// The longest such wait.
const LONGEST_RETRY: Millis = Millis::from_secs(3_600);

/// Something that Route 53 refused for its content.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Of the content that was refused.
    pub fingerprint: u64,
    /// How often in a row.
    pub failures: u32,
    /// Not sent again unchanged before this time.
    pub retry_at: Timestamp,
    /// Route 53's words.
    pub message: String,
}

/// The refusals of a zone, by name, with a timer for each that is still to be tried again.
#[derive(Debug, Default)]
pub struct Refusals {
    by_name: HashMap<DnsName, BTreeMap<RecordKey, Refusal>>,
    timers: BTreeSet<(Timestamp, RecordKey)>,
    len: usize,
}

impl Refusals {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// What was refused under a key.
    pub fn get(&self, key: &RecordKey) -> Option<&Refusal> {
        self.by_name.get(&key.name)?.get(key)
    }

    /// Notes a refusal. The same content again waits twice as long as the time before.
    pub fn refuse(&mut self, key: &RecordKey, fingerprint: u64, message: String, now: Timestamp) {
        let failures = self
            .get(key)
            .filter(|old| old.fingerprint == fingerprint)
            .map_or(0, |old| old.failures)
            + 1;
        let wait = Millis((FIRST_RETRY.0 << (failures - 1).min(16)).min(LONGEST_RETRY.0));
        self.remove(key);
        let refusal = Refusal { fingerprint, failures, retry_at: now + wait, message };
        self.timers.insert((refusal.retry_at, key.clone()));
        self.by_name.entry(key.name.clone()).or_default().insert(key.clone(), refusal);
        self.len += 1;
    }

    /// Forgets what was refused under a key.
    pub fn remove(&mut self, key: &RecordKey) {
        self.retain(&key.name, |other| other != key);
    }

    /// Forgets the refusals of a name whose keys are not wanted any more.
    pub fn retain(&mut self, name: &DnsName, is_wanted: impl Fn(&RecordKey) -> bool) {
        let Some(of_name) = self.by_name.get_mut(name) else { return };
        let before = of_name.len();
        of_name.retain(|key, refusal| {
            let stays = is_wanted(key);
            if !stays {
                self.timers.remove(&(refusal.retry_at, key.clone()));
            }
            stays
        });
        self.len -= before - of_name.len();
        if of_name.is_empty() {
            self.by_name.remove(name);
        }
    }

    /// When the next is to be tried again; it may lie in the past.
    pub fn next_retry(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The names whose time has come, each once: the caller looks at them. The refusals stay until the content is
    /// applied, refused again or no longer wanted.
    pub fn take_due(&mut self, now: Timestamp) -> BTreeSet<DnsName> {
        let mut due = BTreeSet::new();
        while let Some((at, key)) = self.timers.pop_first() {
            if at > now {
                self.timers.insert((at, key));
                break;
            }
            due.insert(key.name);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::dns::record::RecordType;
    use crate::core::testkit::name;

    fn key(owner: &str) -> RecordKey {
        RecordKey { name: name(owner), rtype: RecordType::A, set_identifier: None }
    }

    #[test]
    fn a_refusal_is_handed_out_once_when_its_time_has_come_and_the_same_again_waits_longer() {
        let (mut refusals, www) = (Refusals::default(), key("www.example.com"));
        refusals.refuse(&www, 1, "no".to_owned(), Timestamp(0));
        refusals.refuse(&key("api.example.com"), 1, "no".to_owned(), Timestamp(1));
        let first = Timestamp(0) + FIRST_RETRY;
        assert!(refusals.take_due(Timestamp(first.0 - 1)).is_empty());
        assert_eq!(refusals.take_due(first), [name("www.example.com")].into());
        assert!(refusals.take_due(first).is_empty(), "handed out already");
        assert_eq!((refusals.len(), refusals.next_retry()), (2, Some(Timestamp(1) + FIRST_RETRY)));
        refusals.refuse(&www, 1, "no".to_owned(), first);
        assert_eq!(refusals.get(&www).unwrap().retry_at, first + Millis(FIRST_RETRY.0 * 2));
        refusals.refuse(&www, 2, "no".to_owned(), first);
        assert_eq!(refusals.get(&www).unwrap().failures, 1, "other content begins anew");
    }

    #[test]
    fn what_is_no_longer_wanted_leaves_no_timer() {
        let mut refusals = Refusals::default();
        refusals.refuse(&key("www.example.com"), 1, "no".to_owned(), Timestamp(0));
        refusals.retain(&name("api.example.com"), |_| false);
        assert_eq!(refusals.len(), 1);
        refusals.retain(&name("www.example.com"), |_| false);
        assert_eq!((refusals.len(), refusals.next_retry()), (0, None));
    }
}
