//! Changes that Route 53 refused for their content, and when each is retried.

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

#[derive(Debug)]
struct Kept {
    refusal: Refusal,
    refused_at: Timestamp,
    /// If not, it is only kept in case the same content is wanted again.
    is_wanted: bool,
}

/// The refusals of a zone, by name, with a timer for each that is still to be tried again.
#[derive(Debug, Default)]
pub struct Refusals {
    by_name: HashMap<DnsName, BTreeMap<RecordKey, Kept>>,
    timers: BTreeSet<(Timestamp, RecordKey)>,
    len: usize,
}

impl Refusals {
    /// How many refusals of wanted changes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The refusal under a key.
    pub fn get(&self, key: &RecordKey) -> Option<&Refusal> {
        self.by_name.get(&key.name)?.get(key).map(|kept| &kept.refusal)
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
        let kept = Kept { refusal, refused_at: now, is_wanted: true };
        self.by_name.entry(key.name.clone()).or_default().insert(key.clone(), kept);
        self.len += 1;
    }

    /// Forgets the refusal under a key.
    pub fn remove(&mut self, key: &RecordKey) {
        let Some(of_name) = self.by_name.get_mut(&key.name) else { return };
        if let Some(kept) = of_name.remove(key) {
            self.timers.remove(&(kept.refusal.retry_at, key.clone()));
            self.len -= usize::from(kept.is_wanted);
        }
        if of_name.is_empty() {
            self.by_name.remove(&key.name);
        }
    }

    /// Notes the wanted changes at a name. The refusals of others are forgotten [`FIRST_RETRY`] after they came: an object that
    /// comes and goes does not cause a call each time, and one that is fixed and created again does not wait for an hour.
    pub fn wanted_are(
        &mut self,
        name: &DnsName,
        is_wanted: impl Fn(&RecordKey) -> bool,
        now: Timestamp,
    ) {
        let Some(of_name) = self.by_name.get_mut(name) else { return };
        of_name.retain(|key, kept| {
            let was_wanted = std::mem::replace(&mut kept.is_wanted, is_wanted(key));
            self.len = self.len + usize::from(kept.is_wanted) - usize::from(was_wanted);
            if kept.is_wanted || !was_wanted {
                return true;
            }
            self.timers.remove(&(kept.refusal.retry_at, key.clone()));
            kept.refusal.retry_at = kept.refused_at + FIRST_RETRY;
            let stays = kept.refusal.retry_at > now;
            if stays {
                self.timers.insert((kept.refusal.retry_at, key.clone()));
            }
            stays
        });
        if of_name.is_empty() {
            self.by_name.remove(name);
        }
    }

    /// When the next is to be tried again; it may lie in the past.
    pub fn next_retry(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The names whose time has come, each once: the caller looks at them. The refusals stay until the content is
    /// applied, refused again or no longer wanted; those of unwanted content end.
    pub fn take_due(&mut self, now: Timestamp) -> BTreeSet<DnsName> {
        let mut due = BTreeSet::new();
        while let Some((at, key)) = self.timers.pop_first() {
            if at > now {
                self.timers.insert((at, key));
                break;
            }
            let kept = self.by_name.get(&key.name).and_then(|of_name| of_name.get(&key));
            if kept.is_some_and(|kept| kept.is_wanted) {
                due.insert(key.name);
            } else {
                self.remove(&key);
            }
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
    fn what_is_no_longer_wanted_leaves_nothing_after_the_first_wait() {
        let (mut refusals, www) = (Refusals::default(), name("www.example.com"));
        refusals.refuse(&key("www.example.com"), 1, "no".to_owned(), Timestamp(0));
        refusals.wanted_are(&name("api.example.com"), |_| false, Timestamp(1));
        assert_eq!(refusals.len(), 1);
        refusals.wanted_are(&www, |_| false, Timestamp(1));
        let first = Timestamp(0) + FIRST_RETRY;
        assert_eq!((refusals.len(), refusals.next_retry()), (0, Some(first)));
        assert!(refusals.take_due(first).is_empty(), "nobody has to look at it");
        assert_eq!(
            (refusals.get(&key("www.example.com")).is_none(), refusals.next_retry()),
            (true, None)
        );
        refusals.refuse(&key("www.example.com"), 1, "no".to_owned(), Timestamp(0));
        refusals.wanted_are(&www, |_| false, first);
        assert_eq!((refusals.by_name.len(), refusals.next_retry()), (0, None), "the wait is over");
    }

    #[test]
    fn what_is_wanted_again_waits_for_the_first_wait_at_most() {
        let (mut refusals, www) = (Refusals::default(), name("www.example.com"));
        for _ in 0..4 {
            refusals.refuse(&key("www.example.com"), 1, "no".to_owned(), Timestamp(0));
        }
        for at in [1, 3] {
            refusals.wanted_are(&www, |_| false, Timestamp(at));
            refusals.wanted_are(&www, |_| true, Timestamp(at + 1));
        }
        let first = Timestamp(0) + FIRST_RETRY;
        let refusal = refusals.get(&key("www.example.com")).unwrap();
        assert_eq!((refusal.failures, refusal.retry_at), (4, first));
        assert_eq!((refusals.len(), refusals.take_due(first)), (1, [www].into()));
    }
}
