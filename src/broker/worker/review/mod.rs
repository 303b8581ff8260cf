//! Which names are to be looked at, and whose turn it is.
//!
//! A change to a name only notes it. Noted names are looked at in slices, and between two of them the worker handles
//! messages and answers, so no sender waits for its plans. The clusters take turns, a name each: whatever
//! one of them has changed, the next name of another is looked at soon. A name that several note is looked at once, at the
//! first of their turns.
//!
//! A start, a first listing and other settings concern all names of a zone. That is one entry, a walk, however many they are.

pub(in crate::broker::worker) mod gate;
pub(in crate::broker::worker) mod looking;

use super::zone::reviews::{Asker, Look, ZoneReviews};
use crate::core::dns::name::DnsName;
use crate::core::ids::ZoneId;
use crate::core::limits::round_robin::RoundRobin;

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

    /// Notes all names of a zone; `names` is their number. A walk that is under way begins anew.
    pub fn note_all(&mut self, zone_id: &ZoneId, zone: &mut ZoneReviews, names: usize) {
        if zone.note_all(names) {
            self.0.push(None, (zone_id.clone(), Look::Walk));
        }
    }

    /// Gives the entries held back in a zone their turns.
    pub fn release(&mut self, zone_id: &ZoneId, zone: &mut ZoneReviews) {
        for (asker, look) in zone.take_held_back() {
            self.0.push(asker, (zone_id.clone(), look));
        }
    }

    /// Takes the next turn: its asker, its zone, and what to look at there.
    pub fn take(&mut self) -> Option<(Asker, (ZoneId, Look))> {
        self.0.take()
    }

    /// Gives an asker another turn for the same look.
    pub fn go_on(&mut self, asker: Asker, zone_id: ZoneId, look: Look) {
        self.0.put_back(asker, (zone_id, look));
    }

    /// Whether an asker has a turn.
    pub fn has(&self, asker: &Asker) -> bool {
        self.0.has(asker)
    }

    /// Whether no cluster has a turn.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::worker::zone::ZoneState;
    use crate::broker::worker::zone::reviews::WALK_AHEAD;
    use crate::core::planning::policy::ZoneSettings;
    use crate::core::planning::record_types::RecordTypes;
    use crate::core::testkit::{cluster, name, zone_context};

    /// One zone's names, and the looks at them.
    struct World {
        zone_id: ZoneId,
        state: ZoneState,
        reviews: Reviews,
        zone: ZoneReviews,
    }

    impl World {
        fn new() -> Self {
            let settings =
                ZoneSettings { record_types: RecordTypes::All, ..ZoneSettings::default() };
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

        /// The names that are looked at in this many turns.
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
        assert!(world.zone.waiting() == 0 && world.reviews.is_empty() && world.zone.is_forgotten());
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
        world.zone.hold_back(Some(cluster("west")), Look::Name(name("c.example.com")));
        world.zone.note(&Some(cluster("west")), &name("c.example.com"));
        world.reviews.release(&world.zone_id, &mut world.zone);
        assert!(world.reviews.has(&Some(cluster("west"))));
        assert_eq!(
            (world.looks(9), world.zone.waiting()),
            (vec!["a.example.com".to_owned(), "c.example.com".to_owned()], 0)
        );
    }
}
