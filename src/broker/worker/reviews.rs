//! Looking at names: which are to be looked at, whose turn it is, and what follows from a look.
//!
//! What changes a name only notes it. Noted names are looked at some at a time, and between two such slices the worker takes
//! messages and answers, so nobody who tells it something waits for its plans. The clusters take turns, a name each: whatever
//! one of them has changed, the next name of another is looked at soon. A name that several note is looked at once, at the
//! first of their turns.
//!
//! A start, a first listing and other settings concern all names of a zone. That is one entry, a walk, however many they are.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::Worker;
use super::name_state::Few;
use super::view::Health;
use super::zone::ZoneBook;
use crate::broker::held::{Held, Status};
use crate::core::ids::{ClusterId, ZoneId};
use crate::core::name::DnsName;
use crate::core::time::Timestamp;
use crate::core::turns::Turns;

/// So many names are looked at between two messages: about a millisecond.
pub const SLICE: usize = 100;
/// A walk reads so many names ahead.
const WALK_AHEAD: usize = 1_000;

/// Who has a name looked at: the cluster that changed something there, or nobody but Zonefold itself.
pub type Asker = Option<ClusterId>;

/// What is to be looked at when an asker's turn has come.
#[derive(Clone, Debug)]
pub enum Look {
    /// A name, if nobody has looked at it since.
    Name(DnsName),
    /// The next name of the walk through the zone.
    Walk,
}

/// A noted name.
#[derive(Default)]
struct Noted {
    /// Whether it is still to be looked at.
    due: bool,
    /// Whose turns lead here: each asker has one entry for a name at most, looked at or not.
    askers: Few<Asker>,
}

/// A look at all names of a zone, in their order.
#[derive(Default)]
struct Walk {
    /// The last name that was read.
    after: Option<DnsName>,
    /// Names that were read and not looked at.
    ahead: VecDeque<DnsName>,
    /// About how many are left.
    left: usize,
}

/// What is to be looked at in one zone.
#[derive(Default)]
pub struct ZoneReviews {
    noted: HashMap<DnsName, Noted>,
    /// How many of the noted ones are due.
    due: usize,
    walk: Option<Walk>,
    /// Entries that wait until what is there is known or durable.
    held_back: Vec<(Asker, Look)>,
}

impl ZoneReviews {
    /// How many names wait; names that a walk has before it count as often as they are noted beside it.
    pub fn waiting(&self) -> usize {
        self.due + self.walk.as_ref().map_or(0, |walk| walk.left.max(1))
    }

    /// Notes a name; answers whether the asker needs a turn for it that it does not have yet.
    fn note(&mut self, asker: &Asker, name: &DnsName) -> bool {
        let noted = self.noted.entry(name.clone()).or_default();
        if !std::mem::replace(&mut noted.due, true) {
            self.due += 1;
        }
        let is_new = !noted.askers.as_slice().contains(asker);
        if is_new {
            noted.askers.put(asker.clone(), |_| false);
        }
        is_new
    }

    /// Notes all names; answers whether this needs a turn that it does not have yet.
    fn note_all(&mut self, names: usize) -> bool {
        self.walk.replace(Walk { left: names, ..Walk::default() }).is_none()
    }

    /// Notes names that are to be looked at once what is under way in the zone is known and durable.
    pub fn hold(&mut self, names: impl IntoIterator<Item = DnsName>) {
        for name in names {
            if self.note(&None, &name) {
                self.held_back.push((None, Look::Name(name)));
            }
        }
    }

    /// Notes all names of the zone, so many, in the same way.
    pub fn hold_all(&mut self, names: usize) {
        if self.note_all(names) {
            self.held_back.push((None, Look::Walk));
        }
    }

    /// The names that are held back.
    pub fn held(&self) -> Vec<DnsName> {
        let name = |(_, look): &(Asker, Look)| match look {
            Look::Name(name) => Some(name.clone()),
            Look::Walk => None,
        };
        self.held_back.iter().filter_map(name).collect()
    }

    /// The name to look at now that a turn has come, if there is one, and whether the turn comes again.
    fn turn(&mut self, asker: &Asker, look: &Look, book: &ZoneBook) -> (Option<DnsName>, bool) {
        match look {
            Look::Name(name) => {
                let was_due = self.looked_at(name);
                if let Some(noted) = self.noted.get_mut(name) {
                    noted.askers.remove(|other| other == asker);
                    if noted.askers.is_empty() {
                        self.forget(name);
                    }
                }
                (was_due.then(|| name.clone()), false)
            }
            Look::Walk => {
                let next = self.walk.as_mut().and_then(|walk| walk.next(book));
                match &next {
                    Some(name) => drop(self.looked_at(name)),
                    None => self.walk = None,
                }
                let goes_on = next.is_some();
                (next, goes_on)
            }
        }
    }

    /// A name is looked at, for whatever reason; answers whether it was to be. Turns that lead there are passed over.
    fn looked_at(&mut self, name: &DnsName) -> bool {
        let was_due = self.noted.get_mut(name).is_some_and(|noted| std::mem::take(&mut noted.due));
        self.due -= usize::from(was_due);
        was_due
    }

    fn forget(&mut self, name: &DnsName) {
        self.noted.remove(name);
        if self.noted.is_empty() {
            // What a flood needed is given back.
            self.noted = HashMap::new();
        }
    }
}

impl Walk {
    fn next(&mut self, book: &ZoneBook) -> Option<DnsName> {
        if self.ahead.is_empty() {
            self.ahead = book.names_after(self.after.as_ref(), WALK_AHEAD).into();
            self.after = self.ahead.back().cloned().or(self.after.take());
        }
        self.left = self.left.saturating_sub(1);
        self.ahead.pop_front()
    }
}

/// The turns of an account's askers.
#[derive(Default)]
pub struct Reviews(Turns<Asker, (ZoneId, Look)>);

impl Reviews {
    /// Notes a name.
    pub fn note(&mut self, zone_id: &ZoneId, zone: &mut ZoneReviews, asker: Asker, name: DnsName) {
        if zone.note(&asker, &name) {
            self.0.push(asker, (zone_id.clone(), Look::Name(name)));
        }
    }

    /// Notes all names of a zone, so many. A walk that is under way begins anew.
    pub fn note_all(&mut self, zone_id: &ZoneId, zone: &mut ZoneReviews, names: usize) {
        if zone.note_all(names) {
            self.0.push(None, (zone_id.clone(), Look::Walk));
        }
    }

    /// Gives what was held back in a zone its turns.
    pub fn release(&mut self, zone_id: &ZoneId, zone: &mut ZoneReviews) {
        for (asker, look) in std::mem::take(&mut zone.held_back) {
            self.0.push(asker, (zone_id.clone(), look));
        }
    }

    /// Whether nobody has a turn.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Worker {
    /// Notes names of a zone that Zonefold itself wants to be looked at.
    pub(super) fn note(&mut self, zone_id: &ZoneId, names: impl IntoIterator<Item = DnsName>) {
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        names.into_iter().for_each(|name| self.reviews.note(zone_id, &mut zone.reviews, None, name));
        self.dirty_view = true;
    }

    /// Notes all names of a zone.
    pub(super) fn note_all(&mut self, zone_id: &ZoneId) {
        if self.loading.is_taking() {
            // All names of all zones are noted once all endpoints are loaded.
            return;
        }
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        self.reviews.note_all(zone_id, &mut zone.reviews, zone.book.len());
        self.dirty_view = true;
    }

    /// Notes all names that have something to send, since what they wait for has changed.
    pub(super) fn note_waiting(&mut self) {
        let with_work = self.zones.all().filter(|(_, zone)| !zone.backlog.is_empty());
        let waiting: Vec<_> = with_work.map(|(zone_id, zone)| (zone_id.clone(), zone.backlog.names())).collect();
        waiting.into_iter().for_each(|(zone_id, names)| self.note(&zone_id, names));
    }

    /// Gives what was held back in a zone its turns, unless something there is still unknown.
    pub(super) fn release_held(&mut self, zone_id: &ZoneId) {
        let Some(zone) = self.zones.get_mut(zone_id).filter(|zone| zone.unsettled.is_empty()) else { return };
        self.reviews.release(zone_id, &mut zone.reviews);
    }

    /// Whether names are to be looked at.
    pub(super) fn has_reviews(&self) -> bool {
        !self.reviews.is_empty()
    }

    /// Looks at the next names: one slice, however many wait.
    pub(super) fn review_some(&mut self) {
        let now = self.clock.now();
        let mut slice: BTreeMap<ZoneId, Vec<DnsName>> = BTreeMap::new();
        for _ in 0..SLICE {
            let Some((asker, (zone_id, look))) = self.reviews.0.take() else { break };
            let Some(zone) = self.zones.get_mut(&zone_id) else { continue };
            if !zone.unsettled.is_empty() {
                zone.reviews.held_back.push((asker, look));
                continue;
            }
            let (name, goes_on) = zone.reviews.turn(&asker, &look, &zone.book);
            if let Some(name) = name {
                slice.entry(zone_id.clone()).or_default().push(name);
            }
            if goes_on {
                self.reviews.0.put_back(asker, (zone_id, look));
            }
        }
        for (zone_id, names) in slice {
            self.review(&zone_id, names, now);
        }
        if self.loading.is_looking() && !self.reviews.0.has(&None) {
            self.loading.done();
        }
        self.dirty_view = true;
    }

    /// Looks at names now: claims, plans, statuses, and whether there is something to send.
    pub(super) fn review(&mut self, zone_id: &ZoneId, names: impl IntoIterator<Item = DnsName>, now: Timestamp) {
        if self.loading.is_taking() {
            // An endpoint that is not loaded yet looks like one that is gone. All names are looked at once all are loaded.
            return;
        }
        let detail = self.pending_detail(zone_id, now);
        let expected_at = self.expected_at(zone_id, now);
        let Some(zone) = self.zones.get_mut(zone_id) else { return };
        if !zone.unsettled.is_empty() {
            // What is there is not known yet; a plan made now could be wrong, and a status too.
            zone.reviews.hold(names);
            return;
        }
        let mut statuses = vec![];
        for name in names {
            zone.reviews.looked_at(&name);
            let review = zone.book.review(&name, now, &detail, expected_at);
            zone.pending_writes.extend(review.adopted);
            let searched = zone.searches.iter().any(|search| search.holds(&name));
            zone.backlog.set(&name, review.work.filter(|_| !searched));
            statuses.extend(review.statuses);
        }
        self.dirty_view = true;
        self.tell(statuses, now);
    }

    fn tell(&self, statuses: Vec<(Held, Arc<Status>)>, now: Timestamp) {
        for (held, status) in statuses {
            self.feedback.tell(&held, status, now);
        }
    }

    /// What a pending endpoint waits for beside its turn.
    fn pending_detail(&self, zone_id: &ZoneId, now: Timestamp) -> String {
        if let Health::Parked { message, .. } = &self.health {
            return format!("the account {} is parked: {message}", self.settings.account);
        }
        match self.zones.get(zone_id) {
            Some(zone) if !zone.is_open(now) => zone.trouble.as_ref().map_or_else(String::new, |trouble| trouble.message.clone()),
            Some(zone) if zone.listed_at.is_none() => format!("the zone {} is being listed for the first time", zone.facts.name),
            _ => String::new(),
        }
    }

    /// When what is added now would go out, if the account goes on as it is.
    fn expected_at(&mut self, zone_id: &ZoneId, now: Timestamp) -> Option<Timestamp> {
        if !matches!(self.health, Health::Working) {
            return None;
        }
        let changes = self.zones.agenda(now).cost();
        let at = self.budget.predict(now, 1, changes.max(1));
        let zone = self.zones.get(zone_id)?;
        (at.0 < i64::MAX).then(|| at.max(zone.free_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::{DriftPolicy, ZonePolicy, ZoneSettings};
    use crate::core::testkit::{cluster, name, zone_context};

    /// One zone's names, and what is looked at there.
    struct World {
        zone_id: ZoneId,
        book: ZoneBook,
        reviews: Reviews,
        zone: ZoneReviews,
    }

    impl World {
        fn new() -> Self {
            let settings = ZoneSettings { policy: ZonePolicy::Sync, drift: DriftPolicy::Repair, default_ttl_secs: 300 };
            let context = zone_context();
            let zone_id = context.placement.zone.clone();
            Self { zone_id, book: ZoneBook::new(context, settings), reviews: Reviews::default(), zone: ZoneReviews::default() }
        }

        fn note(&mut self, asker: &str, owner: &str) {
            self.reviews.note(&self.zone_id, &mut self.zone, Some(cluster(asker)), name(owner));
        }

        /// The names that are looked at in so many turns.
        fn looks(&mut self, turns: usize) -> Vec<String> {
            let mut looks = vec![];
            for _ in 0..turns {
                let Some((asker, (zone_id, look))) = self.reviews.0.take() else { break };
                let (next, goes_on) = self.zone.turn(&asker, &look, &self.book);
                looks.extend(next.map(|next| next.to_string()));
                if goes_on {
                    self.reviews.0.put_back(asker, (zone_id, look));
                }
            }
            looks
        }
    }

    #[test]
    fn a_name_that_is_noted_three_times_is_looked_at_once_at_the_first_of_its_turns() {
        let mut world = World::new();
        for (asker, owner) in
            [("east", "a.example.com"), ("east", "b.example.com"), ("east", "b.example.com"), ("west", "b.example.com")]
        {
            world.note(asker, owner);
        }
        assert_eq!(world.zone.waiting(), 2);
        assert_eq!(world.looks(9), ["a.example.com", "b.example.com"]);
        assert!(world.zone.waiting() == 0 && world.reviews.is_empty() && world.zone.noted.is_empty());
    }

    #[test]
    fn a_name_that_is_noted_again_after_its_look_is_looked_at_again_and_nobody_has_two_turns_for_it() {
        let mut world = World::new();
        world.note("east", "a.example.com");
        world.note("east", "b.example.com");
        for _ in 0..1_000 {
            world.note("east", "b.example.com");
            world.note("west", "b.example.com");
            assert!(world.zone.looked_at(&name("b.example.com")));
        }
        world.note("west", "b.example.com");
        let turns = std::iter::from_fn(|| world.reviews.0.take()).count();
        assert_eq!((turns, world.zone.waiting()), (3, 2));
    }

    #[test]
    fn a_walk_goes_past_every_name_once_and_the_clusters_keep_their_turns() {
        let mut world = World::new();
        let all: Vec<String> = (0..2 * WALK_AHEAD + 5).map(|i| format!("n{i:05}.example.com")).collect();
        for owner in &all {
            world.book.names.insert(name(owner), super::super::name_state::NameState::default());
        }
        world.reviews.note_all(&world.zone_id, &mut world.zone, all.len());
        assert_eq!(world.looks(10), all[..10]);
        world.note("east", "quiet.example.com");
        world.note("east", &all[WALK_AHEAD]);
        assert!(world.looks(2).contains(&"quiet.example.com".to_owned()));
        let rest = world.looks(usize::MAX);
        assert_eq!(rest.len(), all.len() - 10 - 1 + 1, "what was noted beside the walk was looked at before it came there");
        assert_eq!((world.zone.waiting(), rest.last()), (0, all.last()));
    }

    #[test]
    fn what_is_held_back_has_no_turn_before_it_is_released_and_keeps_its_asker_then() {
        let mut world = World::new();
        world.zone.hold([name("a.example.com"), name("a.example.com")]);
        world.zone.hold_all(0);
        world.note("east", "b.example.com");
        assert_eq!((world.looks(9), world.zone.waiting()), (vec!["b.example.com".to_owned()], 2));
        world.zone.held_back.push((Some(cluster("west")), Look::Name(name("c.example.com"))));
        world.zone.note(&Some(cluster("west")), &name("c.example.com"));
        world.reviews.release(&world.zone_id, &mut world.zone);
        assert!(world.reviews.0.has(&Some(cluster("west"))));
        assert_eq!((world.looks(9), world.zone.waiting()), (vec!["a.example.com".to_owned(), "c.example.com".to_owned()], 0));
    }
}
