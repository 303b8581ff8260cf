//! The zones of an account, and the work that is due in each, by time.
//!
//! The work due in a zone follows from the zone's state alone ([`Due::of`]). Taking a zone to change it also marks it, and
//! the marked zones are looked at again before the agenda is asked. So no change of state can be forgotten, and a look at the
//! agenda costs only the zones that have changed, however many there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Unbounded};

use super::zone::work::ZoneWork;
use crate::core::dns::name::DnsName;
use crate::core::ids::{ClusterId, ZoneId};
use crate::core::limits::fair::FairShare;
use crate::core::time::Timestamp;

/// The kinds of work that can be due in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Look again at something that was refused.
    Retry,
    /// Make observed records durable.
    Save,
    /// A read that others wait for: the first listing, and the reading back.
    Read,
    /// A change.
    Change,
    /// The sweep for drift.
    Sweep,
    /// A question whether a change is INSYNC.
    Ask,
}

const KINDS: usize = 6;
/// Nothing has to be waited for.
const AT_ONCE: Timestamp = Timestamp(i64::MIN);

/// A zone, and since when something is due there.
pub type DueZone = (Timestamp, ZoneId);

/// Zones by the time from which on something is due there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Timers(BTreeMap<Timestamp, BTreeSet<ZoneId>>);

impl Timers {
    fn insert(&mut self, from: Timestamp, zone: &ZoneId) {
        self.0.entry(from).or_default().insert(zone.clone());
    }

    fn remove(&mut self, from: Timestamp, zone: &ZoneId) {
        if let Some(zones) = self.0.get_mut(&from) {
            zones.remove(zone);
            if zones.is_empty() {
                self.0.remove(&from);
            }
        }
    }

    /// The first zone that is due at a time, after another.
    fn next(&self, after: Option<&DueZone>, now: Timestamp) -> Option<DueZone> {
        let beside = after.and_then(|(from, zone)| {
            Some((from, self.0.get(from)?.range((Excluded(zone), Unbounded)).next()?))
        });
        let lower = after.map_or(Unbounded, |(from, _)| Excluded(*from));
        let next = beside.or_else(|| {
            let (from, zones) = self.0.range((lower, Unbounded)).next()?;
            Some((from, zones.first()?))
        });
        next.filter(|(from, _)| **from <= now).map(|(from, zone)| (*from, zone.clone()))
    }

    /// The first time after this one.
    fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.range((Excluded(now), Unbounded)).next().map(|(from, _)| *from)
    }
}

/// From when on each kind of work is due in a zone, as long as its state does not change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Due {
    from: [Option<Timestamp>; KINDS],
    last_call_at: Timestamp,
    cost: u32,
}

impl Due {
    fn of(zone: &ZoneWork) -> Self {
        let visible = zone.facts.visible;
        let open_from = zone.trouble.as_ref().map_or(AT_ONCE, |trouble| trouble.retry_at);
        let listed = zone.listed_at.is_some();
        let settled = zone.in_doubt.is_empty();
        let reads_names = zone.reader.as_ref().is_some_and(|reader| !reader.is_whole());
        let workable = visible && listed && settled && !zone.busy;
        let mut due = Self {
            from: [None; KINDS],
            last_call_at: zone.last_call_at,
            cost: zone.backlog.cost(),
        };
        let mut set = |kind: Kind, condition: bool, from: Option<Timestamp>| {
            due.from[kind as usize] = from.filter(|_| condition);
        };
        set(Kind::Retry, !zone.busy, zone.state.next_retry());
        let has_saves = !zone.pending_writes.is_empty() || zone.state.has_lone_claims();
        set(Kind::Save, !zone.busy && has_saves, Some(AT_ONCE));
        set(
            Kind::Read,
            visible && !zone.busy && (!settled || !listed || reads_names),
            Some(open_from),
        );
        let has_changes = !zone.backlog.is_empty() || !zone.searches.is_empty();
        set(
            Kind::Change,
            workable && has_changes && zone.reader.is_none(),
            Some(open_from.max(zone.free_at).max(zone.changes_open_from().unwrap_or(AT_ONCE))),
        );
        // Changes go first: a sweep starts while its zone has none and no name could bring one, and then goes on.
        let is_calm = zone.backlog.is_empty() && zone.reviews.waiting() == 0;
        let sweeps_from =
            if zone.reader.is_some() { open_from } else { open_from.max(zone.sweep_at) };
        set(
            Kind::Sweep,
            workable && !reads_names && (zone.reader.is_some() || is_calm),
            Some(sweeps_from),
        );
        set(Kind::Ask, true, zone.sync.as_ref().map(|sync| sync.ask_at));
        due
    }

    fn from(&self, kind: Kind) -> Option<Timestamp> {
        self.from[kind as usize]
    }
}

/// A zone that is ready for a change, as it stands in [`Ready`].
#[derive(Debug, PartialEq, Eq)]
struct Placed {
    last_call_at: Timestamp,
    clusters: BTreeSet<ClusterId>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    due: Due,
    placed: Option<Placed>,
}

/// The zones that are ready for a change, by the clusters that wait there, the least recently called first.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ready {
    by_cluster: BTreeMap<ClusterId, BTreeSet<DueZone>>,
    /// No cluster waits there.
    of_nobody: BTreeSet<DueZone>,
}

impl Ready {
    fn place(&mut self, zone: &DueZone, placed: &Placed) {
        placed.clusters.iter().for_each(|cluster| self.join(cluster, zone));
        if placed.clusters.is_empty() {
            self.of_nobody.insert(zone.clone());
        }
    }

    fn remove(&mut self, zone: &DueZone, placed: &Placed) {
        placed.clusters.iter().for_each(|cluster| self.leave(cluster, zone));
        self.of_nobody.remove(zone);
    }

    fn join(&mut self, cluster: &ClusterId, zone: &DueZone) {
        self.by_cluster.entry(cluster.clone()).or_default().insert(zone.clone());
    }

    fn leave(&mut self, cluster: &ClusterId, zone: &DueZone) {
        if let Some(zones) = self.by_cluster.get_mut(cluster) {
            zones.remove(zone);
            if zones.is_empty() {
                self.by_cluster.remove(cluster);
            }
        }
    }
}

/// The due work of all zones, by time. Made by [`Zones::agenda`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Agenda {
    entries: BTreeMap<ZoneId, Entry>,
    /// By kind; changes only until they are ready.
    due: [Timers; KINDS],
    ready: Ready,
    cost: u64,
    /// The latest time seen: what was ready then stays so.
    now: Timestamp,
}

impl Agenda {
    /// Looks at a zone again.
    fn note(&mut self, zone_id: &ZoneId, zone: &ZoneWork, turned: &BTreeSet<ClusterId>) {
        let new = Due::of(zone);
        let mut entry = self.entries.remove(zone_id).unwrap_or_default();
        self.cost = self.cost - u64::from(entry.due.cost) + u64::from(new.cost);
        for kind in 0..KINDS {
            let (old, new) = (entry.due.from[kind], new.from[kind]);
            if old != new {
                old.into_iter().for_each(|from| self.due[kind].remove(from, zone_id));
                new.into_iter().for_each(|from| self.due[kind].insert(from, zone_id));
            }
        }
        entry.due = new;
        self.place(zone_id, &mut entry, zone, turned);
        self.entries.insert(zone_id.clone(), entry);
    }

    /// Puts a zone among those that are ready for a change, or takes it out, or brings its clusters up to date.
    fn place(
        &mut self,
        zone_id: &ZoneId,
        entry: &mut Entry,
        zone: &ZoneWork,
        turned: &BTreeSet<ClusterId>,
    ) {
        let from = entry.due.from(Kind::Change);
        let last_call_at = from.filter(|from| *from <= self.now).map(|_| entry.due.last_call_at);
        match (&mut entry.placed, last_call_at) {
            (Some(placed), Some(at)) if placed.last_call_at == at => {
                let place = (at, zone_id.clone());
                self.ready.of_nobody.remove(&place);
                for cluster in turned {
                    if zone.has_cluster(cluster) {
                        placed.clusters.insert(cluster.clone());
                        self.ready.join(cluster, &place);
                    } else if placed.clusters.remove(cluster) {
                        self.ready.leave(cluster, &place);
                    }
                }
                if placed.clusters.is_empty() {
                    self.ready.of_nobody.insert(place);
                }
            }
            (old, at) => {
                if let Some(placed) = old.take() {
                    self.ready.remove(&(placed.last_call_at, zone_id.clone()), &placed);
                }
                entry.placed =
                    at.map(|at| Placed { last_call_at: at, clusters: zone.waiting_clusters() });
                if let Some(placed) = &entry.placed {
                    self.ready.place(&(placed.last_call_at, zone_id.clone()), placed);
                }
            }
        }
        if let Some(from) = from {
            let waiting = &mut self.due[Kind::Change as usize];
            if entry.placed.is_some() {
                waiting.remove(from, zone_id);
            } else {
                waiting.insert(from, zone_id);
            }
        }
    }

    /// The next zone after another in which something of a kind is due, the longest wait first. Not for changes.
    pub fn next_due(&self, kind: Kind, after: Option<&DueZone>) -> Option<DueZone> {
        self.due[kind as usize].next(after, self.now)
    }

    /// The zone whose turn it is for a change: that of the cluster that was given least, and of its zones the one that was
    /// called least recently. It costs a look at each cluster that waits.
    pub fn next_change(
        &self,
        share: &FairShare<ClusterId>,
        passed: &BTreeSet<ZoneId>,
    ) -> Option<ZoneId> {
        let mut best: Option<(u64, &DueZone)> = None;
        let of_clusters =
            self.ready.by_cluster.iter().map(|(cluster, zones)| (Some(cluster), zones));
        for (cluster, zones) in of_clusters.chain([(None, &self.ready.of_nobody)]) {
            let given = share.least(cluster.into_iter()).unwrap_or(0);
            let first =
                zones.iter().find(|(_, zone)| !passed.contains(zone)).map(|zone| (given, zone));
            best = best.into_iter().chain(first).min();
        }
        best.map(|(_, (_, zone))| zone.clone())
    }

    /// Whether anything is due that needs a call.
    pub fn wants_a_call(&self) -> bool {
        let is_due = |kind| self.next_due(kind, None).is_some();
        is_due(Kind::Read) || self.has_changes() || is_due(Kind::Sweep) || is_due(Kind::Ask)
    }

    /// Whether a zone is ready for a change.
    pub fn has_changes(&self) -> bool {
        !self.ready.by_cluster.is_empty() || !self.ready.of_nobody.is_empty()
    }

    /// When the next thing falls due that is not due yet.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.due.iter().filter_map(|due| due.next_after(self.now)).min()
    }

    /// The change tokens that all that waits costs.
    pub fn cost(&self) -> u32 {
        u32::try_from(self.cost).unwrap_or(u32::MAX)
    }
}

/// The zones of an account with their agenda.
#[derive(Default)]
pub struct Zones {
    works: BTreeMap<ZoneId, ZoneWork>,
    /// Taken to be changed since the agenda was last asked.
    touched: BTreeSet<ZoneId>,
    /// Touched since the last query for those whose view may have changed.
    unseen: BTreeSet<ZoneId>,
    agenda: Agenda,
    /// The zones of an apex: one that is public, and private ones.
    by_apex: HashMap<DnsName, BTreeSet<ZoneId>>,
    /// How many zones were looked at: the cost of a wake.
    #[cfg(test)]
    looks: std::cell::Cell<usize>,
}

impl Zones {
    /// A zone.
    pub fn get(&self, zone: &ZoneId) -> Option<&ZoneWork> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        self.works.get(zone)
    }

    /// A zone, to change it.
    pub fn get_mut(&mut self, zone: &ZoneId) -> Option<&mut ZoneWork> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        let work = self.works.get_mut(zone)?;
        if !self.touched.contains(zone) {
            self.touched.insert(zone.clone());
        }
        Some(work)
    }

    /// Takes a zone in.
    pub fn insert(&mut self, zone: ZoneId, work: ZoneWork) {
        self.touched.insert(zone.clone());
        self.by_apex.entry(work.facts.name.clone()).or_default().insert(zone.clone());
        self.works.insert(zone, work);
    }

    /// All of them, for what concerns the whole account.
    pub fn all(&self) -> impl Iterator<Item = (&ZoneId, &ZoneWork)> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + self.works.len());
        self.works.iter()
    }

    /// The ids of all, for what concerns the whole account.
    pub fn ids(&self) -> Vec<ZoneId> {
        self.all().map(|(zone, _)| zone.clone()).collect()
    }

    /// The zones that may hold a name: those whose apex it lies under. The apex of a zone never changes.
    pub fn around(&self, name: &DnsName) -> BTreeSet<ZoneId> {
        let apexes = std::iter::successors(Some(name.clone()), DnsName::parent);
        apexes.filter_map(|apex| self.by_apex.get(&apex)).flatten().cloned().collect()
    }

    /// The agenda, brought up to date. A time earlier than the latest one seen is ignored.
    pub fn agenda(&mut self, now: Timestamp) -> &Agenda {
        self.agenda.now = self.agenda.now.max(now);
        for zone in std::mem::take(&mut self.touched) {
            self.note(&zone);
            self.unseen.insert(zone);
        }
        let mut last = None;
        while let Some(due) = self.agenda.next_due(Kind::Change, last.as_ref()) {
            // It is ready from now on.
            self.note(&due.1);
            last = Some(due);
        }
        &self.agenda
    }

    fn note(&mut self, zone_id: &ZoneId) {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        if let Some(zone) = self.works.get_mut(zone_id) {
            let turned = zone.take_turned();
            self.agenda.note(zone_id, zone, &turned);
        }
    }

    /// The zones that were changed since this was last asked.
    pub fn take_unseen(&mut self) -> BTreeSet<ZoneId> {
        let mut unseen = std::mem::take(&mut self.unseen);
        unseen.extend(self.touched.iter().cloned());
        unseen
    }

    /// Whether there are too many to look at all of them to check the agenda, even in a debug build.
    pub fn are_many(&self) -> bool {
        self.works.len() > 64
    }

    /// Whether the agenda says what a look at every zone would say.
    pub fn agenda_is_whole(&mut self, now: Timestamp) -> bool {
        self.agenda(now);
        let mut anew = Agenda { now: self.agenda.now, ..Agenda::default() };
        self.works.iter().for_each(|(zone_id, zone)| anew.note(zone_id, zone, &BTreeSet::new()));
        anew == self.agenda
    }

    /// How many zones were looked at since this was last asked.
    #[cfg(test)]
    pub fn take_looks(&self) -> usize {
        self.looks.take()
    }
}
