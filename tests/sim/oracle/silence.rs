//! 2: Only an observed deletion, or absence from a complete and synced view, deletes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::RecordKey;
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::governance::pattern::NamePattern;
use zonefold::core::ids::{ClusterId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::time::{Millis, Timestamp};
use zonefold::emulator::JournalEntry;

use super::history::{Commit, Event, History, Told, What};
use super::owners::{NetChange, is_ours, net_changes};
use super::views::Views;
use super::{Violation, model, placing};

/// A value of a record set that we made.
type Value = (ZoneId, RecordKey, String);

struct Reading<'a> {
    history: &'a History,
    views: Views,
    /// Where in the log each value that is there came to be.
    born: BTreeMap<Value, usize>,
    /// Where in the log each call was started.
    calls: BTreeMap<u64, usize>,
    /// When each cluster began and ceased to be registered; all are at first.
    registered: BTreeMap<ClusterId, Vec<(Timestamp, bool)>>,
    /// The clusters between which names were handed over, with the names.
    handed: Vec<(BTreeSet<ClusterId>, NamePattern)>,
    /// The stored versions of each endpoint, by name.
    stored: BTreeMap<DnsName, BTreeMap<(ClusterId, EndpointKey), Vec<Stored>>>,
}

/// A stored version of an endpoint: the place in the log, the time, and the content; `None` if it was removed.
type Stored = (usize, Timestamp, Option<Endpoint>);

/// An endpoint that wanted a value that went away, and from where in the log on it counts that an agent saw otherwise.
struct Supplier {
    key: EndpointKey,
    from: usize,
}

/// An endpoint that began to want a value after it was published for another one counts when it was stored, by a cluster that was
/// registered, this long before the call: news between replicas takes a second, a start or a fail-over some more.
const KNOWN_AFTER: Millis = Millis::from_secs(30);

/// Each value of ours that goes away had an endpoint that gave it; an agent must have had good reason to say that this endpoint
/// no longer wants it, after the value came to be and before the call that took it away arrived.
pub fn judge(history: &History) -> Vec<Violation> {
    let mut reading = Reading {
        history,
        views: Views::of(&history.log),
        born: BTreeMap::new(),
        calls: BTreeMap::new(),
        registered: BTreeMap::new(),
        handed: vec![],
        stored: BTreeMap::new(),
    };
    history.log.iter().enumerate().flat_map(|(index, event)| reading.read(index, event)).collect()
}

impl Reading<'_> {
    fn read(&mut self, index: usize, event: &Event) -> Vec<Violation> {
        match &event.what {
            What::CallStarted(call) => drop(self.calls.insert(call.number, index)),
            What::Registered { cluster, registered } => {
                self.registered.entry(cluster.clone()).or_default().push((event.at, *registered));
            }
            What::Told(Told::HandedOver { from, to, names }) => {
                self.handed.push(([from.clone(), to.clone()].into(), names.clone()));
            }
            What::Committed { commit: Commit::Ingest { cluster, rows, .. }, .. } => {
                for row in rows {
                    let (key, content) = (row.key(), row.content().map(Cow::into_owned));
                    let Ok(name) = DnsName::parse(&key.dns_name) else { continue };
                    let of_name = self.stored.entry(name).or_default();
                    of_name
                        .entry((cluster.clone(), key.clone()))
                        .or_default()
                        .push((index, event.at, content));
                }
            }
            What::Applied { call, entry } => {
                let started = call.and_then(|call| self.calls.get(&call)).copied().unwrap_or(index);
                return net_changes(entry)
                    .into_iter()
                    .flat_map(|change| self.applied(index, started, event, entry, &change))
                    .collect();
            }
            _ => {}
        }
        vec![]
    }

    fn applied(
        &mut self,
        index: usize,
        started: usize,
        event: &Event,
        entry: &JournalEntry,
        change: &NetChange,
    ) -> Vec<Violation> {
        let values = |set: &Option<_>| set.as_ref().map(model::values_of).unwrap_or_default();
        let (before, after) = (values(&change.before), values(&change.after));
        let is_ours = is_ours(entry);
        let creates_another =
            |other: &NetChange| other.key.name == change.key.name && other.after.is_some();
        let is_replaced = net_changes(entry).iter().any(creates_another);
        let mut violations = vec![];
        for value in before.difference(&after) {
            let Some(born) =
                self.born.remove(&(entry.zone.clone(), change.key.clone(), value.clone()))
            else {
                continue;
            };
            let wanted_by = self.wanted_by(&entry.zone, change, value, born, started);
            let is_explained = |suppliers: &Vec<Supplier>, cluster: &ClusterId| {
                suppliers.iter().all(|Supplier { key, from }| {
                    // A typing error takes no name off the air, nor does a zone that cannot be found.
                    let wants = |endpoint: &Endpoint| {
                        let is_mistake = !is_replaced
                            && !placing::has_place(&self.history.world, cluster, endpoint);
                        is_mistake || self.wants(cluster, endpoint, &entry.zone, &change.key, value)
                    };
                    // An older endpoint of the cluster that came to want another type takes the name over, or one that gave way to
                    // what is gone; the broker may hear of that long after the agent.
                    let gives_way = || {
                        is_replaced
                            && self.heard_of_another(cluster, key, &change.key.name, *from, index)
                    };
                    self.views.lacked(cluster, key, *from, index, wants) || gives_way()
                })
            };
            // The word of people takes a value away only in favour of another one.
            let is_handed_over = is_replaced
                && self.handed.iter().any(|(clusters, names)| {
                    names.matches(&change.key.name)
                        && wanted_by.iter().all(|(cluster, _)| clusters.contains(cluster))
                });
            if !is_ours
                || is_handed_over
                || wanted_by.is_empty()
                || wanted_by.iter().any(|(cluster, suppliers)| is_explained(suppliers, cluster))
            {
                continue;
            }
            let who: Vec<String> = wanted_by
                .iter()
                .flat_map(|(cluster, of)| of.iter().map(move |of| format!("{cluster}: {}", of.key)))
                .collect();
            let what = format!(
                "{} lost {value} in batch {:?}, and no agent saw that it is no longer wanted by {}",
                change.key,
                entry.comment.as_deref().unwrap_or("without a comment"),
                who.join(", ")
            );
            violations.push(
                Violation::new(Invariant::SilenceNeverDeletes, event.at, what)
                    .about(&change.key.name),
            );
        }
        for value in after.difference(&before).filter(|_| is_ours) {
            // It was decided on before its call was started, and what was seen since counts.
            self.born.insert((entry.zone.clone(), change.key.clone(), value.clone()), started);
        }
        violations
    }

    /// The time of a place in the log.
    fn at(&self, place: usize) -> Timestamp {
        self.history.log.get(place).map_or(Timestamp::default(), |event| event.at)
    }

    /// The place in the log from which on news may have come to the broker no sooner than at another place.
    fn before(&self, place: usize) -> usize {
        let at = self.at(place);
        self.history.log.partition_point(|event| event.at + KNOWN_AFTER < at)
    }

    /// Whether the broker heard something new about another endpoint of the name, there or later, from an agent with good reason.
    fn heard_of_another(
        &self,
        cluster: &ClusterId,
        key: &EndpointKey,
        name: &DnsName,
        from: usize,
        to: usize,
    ) -> bool {
        let since = self.before(from);
        let mut others = self
            .stored
            .get(name)
            .into_iter()
            .flatten()
            .filter(|((of, other), _)| of == cluster && other != key);
        others.any(|((_, other), stored)| {
            let before = std::iter::once(0).chain(stored.iter().map(|(place, ..)| *place));
            stored.iter().zip(before).any(|((place, _, content), before)| {
                let has_reason = || {
                    content.is_some()
                        || self.views.lacked(cluster, other, self.before(before), *place, |_| true)
                };
                (since..=to).contains(place) && has_reason()
            })
        })
    }

    /// The endpoints, by cluster, that the value was published for, or that were known to want it when the call was started.
    fn wanted_by(
        &self,
        zone: &ZoneId,
        change: &NetChange,
        value: &str,
        born: usize,
        started: usize,
    ) -> BTreeMap<ClusterId, Vec<Supplier>> {
        let started_at = self.at(started);
        let mut found: BTreeMap<ClusterId, Vec<Supplier>> = BTreeMap::new();
        for ((cluster, key), stored) in self.stored.get(&change.key.name).into_iter().flatten() {
            let wants = |content: &Option<Endpoint>| {
                content
                    .as_ref()
                    .is_some_and(|endpoint| self.wants(cluster, endpoint, zone, &change.key, value))
            };
            let is_first =
                stored.iter().any(|(index, _, content)| *index <= born && wants(content));
            // Where its present wanting began.
            let before = stored.iter().rev().skip_while(|(index, ..)| *index > started);
            let since = before.take_while(|(.., content)| wants(content)).last();
            let from = match since {
                // A value that was published on old news counts from when it was the news.
                _ if is_first => last_wanting(stored, born, &wants).min(started),
                Some((index, at, _))
                    if self.was_published(cluster, *at, started_at)
                        && !self.is_kept_out(cluster, key, &change.key.name, *index, started) =>
                {
                    *index
                }
                _ => continue,
            };
            found.entry(cluster.clone()).or_default().push(Supplier { key: key.clone(), from });
        }
        found
    }

    /// Whether another endpoint of the name, which came before, may keep one out that began to want a value at a place: an older
    /// one of its own cluster, or the one of another cluster that holds the name.
    fn is_kept_out(
        &self,
        cluster: &ClusterId,
        key: &EndpointKey,
        name: &DnsName,
        from: usize,
        to: usize,
    ) -> bool {
        self.stored.get(name).into_iter().flatten().any(|((of, other), stored)| {
            let is_another = of != cluster || other != key;
            let came_before = stored.first().is_some_and(|(place, ..)| *place < from);
            let last = stored.iter().rev().find(|(place, ..)| *place <= to);
            is_another && came_before && last.is_some_and(|(.., content)| content.is_some())
        })
    }

    /// Whether an endpoint with this content may want a value in a zone.
    fn wants(
        &self,
        cluster: &ClusterId,
        endpoint: &Endpoint,
        zone: &ZoneId,
        key: &RecordKey,
        value: &str,
    ) -> bool {
        placing::may_be_in(&self.history.world, cluster, endpoint, zone)
            && model::wish(endpoint)
                .is_some_and(|wish| wish.is_for(key) && wish.values_in(zone).contains(value))
    }

    /// Whether a cluster's wish from one time to another was published: whether the cluster was registered for long enough.
    fn was_published(&self, cluster: &ClusterId, from: Timestamp, to: Timestamp) -> bool {
        let changes = self.registered.get(cluster).map(Vec::as_slice).unwrap_or_default();
        let mut since = Some(from);
        for (at, registered) in changes.iter().filter(|(at, _)| *at <= to) {
            if since.is_some_and(|since| since + KNOWN_AFTER <= *at) {
                return true;
            }
            since = if *registered { since.or(Some((*at).max(from))) } else { None };
        }
        since.is_some_and(|since| since + KNOWN_AFTER <= to)
    }
}

/// Where in the log it was stored last, up to a place, that an endpoint wants a value, if it was no longer stored there: a call
/// may be made for what was known before. Otherwise the place.
fn last_wanting(
    stored: &[Stored],
    place: usize,
    wants: &impl Fn(&Option<Endpoint>) -> bool,
) -> usize {
    let mut before = stored.iter().rev().filter(|(index, ..)| *index <= place);
    let is_old = before.clone().next().is_some_and(|(.., content)| !wants(content));
    let last = before.find(|(.., content)| wants(content)).map(|(index, ..)| *index);
    last.filter(|_| is_old).unwrap_or(place)
}
