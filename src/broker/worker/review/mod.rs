//! Which names are to be looked at, and whose turn it is.
//!
//! What changes a name only notes it. Noted names are looked at some at a time, and between two such slices the worker takes
//! messages and answers, so nobody who tells it something waits for its plans. The clusters take turns, a name each: whatever
//! one of them has changed, the next name of another is looked at soon. A name that several note is looked at once, at the
//! first of their turns.
//!
//! A start, a first listing and other settings concern all names of a zone. That is one entry, a walk, however many they are.

pub(in crate::broker::worker) mod gate;
pub(in crate::broker::worker) mod looking;

use std::collections::{HashMap, VecDeque};

use super::zone::ZoneState;
use super::zone::name_state::Few;
use crate::core::dns::name::DnsName;
use crate::core::ids::{ClusterId, ZoneId};
use crate::core::limits::round_robin::RoundRobin;

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

    /// Holds back what had its turn.
    pub fn hold_back(&mut self, asker: Asker, look: Look) {
        self.held_back.push((asker, look));
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
    pub fn turn(
        &mut self,
        asker: &Asker,
        look: &Look,
        state: &ZoneState,
    ) -> (Option<DnsName>, bool) {
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
                let next = self.walk.as_mut().and_then(|walk| walk.next(state));
                match &next {
                    Some(name) => drop(self.looked_at(name)),
                    None => self.walk = None,
                }
                let goes_on = next.is_some();
                (next, goes_on)
            }
        }
    }

    /// A name is looked at, for whatever reason; answers whether it was to be. RoundRobin that lead there are passed over.
    pub fn looked_at(&mut self, name: &DnsName) -> bool {
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
    fn next(&mut self, state: &ZoneState) -> Option<DnsName> {
        if self.ahead.is_empty() {
            self.ahead = state.names_after(self.after.as_ref(), WALK_AHEAD).into();
            self.after = self.ahead.back().cloned().or(self.after.take());
        }
        self.left = self.left.saturating_sub(1);
        self.ahead.pop_front()
    }
}

/// The turns of an account's askers.
#[derive(Default)]
pub struct Reviews(RoundRobin<Asker, (ZoneId, Look)>);

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

    /// Takes the next turn: whose it is, and what is to be looked at where.
    pub fn take(&mut self) -> Option<(Asker, (ZoneId, Look))> {
        self.0.take()
    }

    /// Gives an asker another turn for what it just had one for.
    pub fn go_on(&mut self, asker: Asker, zone_id: ZoneId, look: Look) {
        self.0.put_back(asker, (zone_id, look));
    }

    /// Whether an asker has a turn.
    pub fn has(&self, asker: &Asker) -> bool {
        self.0.has(asker)
    }

    /// Whether nobody has a turn.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::planning::policy::{DriftPolicy, ZonePolicy, ZoneSettings};
    use crate::core::testkit::{cluster, name, zone_context};

    /// One zone's names, and what is looked at there.
    struct World {
        zone_id: ZoneId,
        state: ZoneState,
        reviews: Reviews,
        zone: ZoneReviews,
    }

    impl World {
        fn new() -> Self {
            let settings = ZoneSettings {
                policy: ZonePolicy::Sync,
                drift: DriftPolicy::Repair,
                default_ttl_secs: 300,
            };
            let context = zone_context();
            let zone_id = context.placement.zone.clone();
            Self {
                zone_id,
                state: ZoneState::new(context, settings),
                reviews: Reviews::default(),
                zone: ZoneReviews::default(),
            }
        }

        fn note(&mut self, asker: &str, owner: &str) {
            self.reviews.note(&self.zone_id, &mut self.zone, Some(cluster(asker)), name(owner));
        }

        /// The names that are looked at in so many turns.
        fn looks(&mut self, turns: usize) -> Vec<String> {
            let mut looks = vec![];
            for _ in 0..turns {
                let Some((asker, (zone_id, look))) = self.reviews.take() else { break };
                let (next, goes_on) = self.zone.turn(&asker, &look, &self.state);
                looks.extend(next.map(|next| next.to_string()));
                if goes_on {
                    self.reviews.go_on(asker, zone_id, look);
                }
            }
            looks
        }
    }

    #[test]
    fn a_name_that_is_noted_three_times_is_looked_at_once_at_the_first_of_its_turns() {
        let mut world = World::new();
        for (asker, owner) in [
            ("east", "a.example.com"),
            ("east", "b.example.com"),
            ("east", "b.example.com"),
            ("west", "b.example.com"),
        ] {
            world.note(asker, owner);
        }
        assert_eq!(world.zone.waiting(), 2);
        assert_eq!(world.looks(9), ["a.example.com", "b.example.com"]);
        assert!(
            world.zone.waiting() == 0 && world.reviews.is_empty() && world.zone.noted.is_empty()
        );
    }

    #[test]
    fn a_name_that_is_noted_again_after_its_look_is_looked_at_again_and_nobody_has_two_turns_for_it()
     {
        let mut world = World::new();
        world.note("east", "a.example.com");
        world.note("east", "b.example.com");
        for _ in 0..1_000 {
            world.note("east", "b.example.com");
            world.note("west", "b.example.com");
            assert!(world.zone.looked_at(&name("b.example.com")));
        }
        world.note("west", "b.example.com");
        let turns = std::iter::from_fn(|| world.reviews.take()).count();
        assert_eq!((turns, world.zone.waiting()), (3, 2));
    }

    #[test]
    fn a_walk_goes_past_every_name_once_and_the_clusters_keep_their_turns() {
        let mut world = World::new();
        let all: Vec<String> =
            (0..2 * WALK_AHEAD + 5).map(|i| format!("n{i:05}.example.com")).collect();
        for owner in &all {
            world
                .state
                .names
                .insert(name(owner), crate::broker::worker::zone::name_state::NameState::default());
        }
        world.reviews.note_all(&world.zone_id, &mut world.zone, all.len());
        assert_eq!(world.looks(10), all[..10]);
        world.note("east", "quiet.example.com");
        world.note("east", &all[WALK_AHEAD]);
        assert!(world.looks(2).contains(&"quiet.example.com".to_owned()));
        let rest = world.looks(usize::MAX);
        assert_eq!(
            rest.len(),
            all.len() - 10 - 1 + 1,
            "what was noted beside the walk was looked at before it came there"
        );
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
        assert!(world.reviews.has(&Some(cluster("west"))));
        assert_eq!(
            (world.looks(9), world.zone.waiting()),
            (vec!["a.example.com".to_owned(), "c.example.com".to_owned()], 0)
        );
    }
}
