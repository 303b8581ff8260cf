//! Which freezes hold, and until when.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::rule::freeze::{Freeze, Lane};
use super::rule::team::Person;
use super::rule::{RuleId, RuleSpec, SharedRule};
use super::schedule::Opening;
use super::selector::Place;
use crate::core::time::{Millis, Timestamp};

/// How many times a freeze closes within a time, as far as it is added up.
const MOST_CLOSINGS: usize = 4_096;

/// A freeze of a set of rules, ready to be asked.
#[derive(Clone, Debug)]
pub struct CompiledFreeze {
    rule: SharedRule,
    opening: Option<Opening>,
}

impl CompiledFreeze {
    /// Of a rule that is one, whose schedule is known to be good; `None` for any other.
    pub fn of(rule: &SharedRule) -> Option<Self> {
        let RuleSpec::Freeze(freeze) = &rule.spec else { return None };
        let opening = match &freeze.schedule {
            Some(schedule) => Some(Opening::parse(schedule).ok()?),
            None => None,
        };
        Some(Self { rule: Arc::clone(rule), opening })
    }

    /// Its rule.
    pub fn id(&self) -> RuleId {
        self.rule.id()
    }

    /// What the rule says.
    pub fn spec(&self) -> Option<&Freeze> {
        match &self.rule.spec {
            RuleSpec::Freeze(freeze) => Some(freeze),
            _ => None,
        }
    }

    /// Until when it is closed at a time; `None` if it is open then.
    pub fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        if let Some(opening) = &self.opening {
            return opening.closed_until(now);
        }
        let freeze = self.spec()?;
        let (from, until) = (freeze.from.map(moment), moment(freeze.until?));
        (from.is_none_or(|from| from <= now) && now < until).then_some(until)
    }

    /// When it begins next, after a time; `None` if it does not.
    pub fn next_begin(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.opening {
            Some(opening) => opening.next_after(now),
            None => self.spec()?.from.map(moment).filter(|from| *from > now),
        }
    }
}

impl CompiledFreeze {
    /// For how long it was closed within a time. Of one that closes thousands of times meanwhile, the first count.
    pub fn closed_within(&self, time: &Range<Timestamp>) -> Millis {
        let (mut at, mut closed) = (time.start, Millis::default());
        for _ in 0..MOST_CLOSINGS {
            if at >= time.end {
                break;
            }
            at = match (self.closed_until(at), self.next_begin(at)) {
                (Some(until), _) => {
                    let until = until.min(time.end);
                    closed = Millis(closed.0 + until.since(at).0);
                    until
                }
                (None, Some(begin)) => begin,
                (None, None) => break,
            };
        }
        closed
    }

    /// Whether it closes a place for a lane, when it is closed; a place whose cluster is not known any more, too.
    fn concerns(&self, place: Option<Place<'_>>, lane: Option<Lane>) -> bool {
        self.spec().is_some_and(|spec| {
            !lane.is_some_and(|lane| spec.exempt.lanes.contains(&lane))
                && place.is_none_or(|place| spec.scope.contains(place))
        })
    }
}

/// For how long freezes kept a place closed for a lane within a time, all of them together.
pub fn closed_within(
    freezes: &[CompiledFreeze],
    place: Option<Place<'_>>,
    lane: Option<Lane>,
    time: &Range<Timestamp>,
) -> Millis {
    let concerned = freezes.iter().filter(|freeze| freeze.concerns(place, lane));
    Millis(concerned.map(|freeze| freeze.closed_within(time).0).sum())
}

fn moment(time: jiff::Timestamp) -> Timestamp {
    Timestamp(time.as_millisecond())
}

/// The freezes that are closed at a moment, and until when that is so.
#[derive(Clone, Debug, Default)]
pub struct ClosedNow {
    closed: Vec<(CompiledFreeze, Timestamp)>,
    /// When to ask again; `None` for never.
    pub changes_at: Option<Timestamp>,
}

/// What closes a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The freeze that ends last.
    pub rule: RuleId,
    /// When it ends.
    pub until: Timestamp,
    /// What it says of itself.
    pub reason: Option<String>,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the freeze {} lets nothing go until {}", self.rule.name, self.until)?;
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

fn closed(freeze: &CompiledFreeze, spec: &Freeze, until: Timestamp) -> Closed {
    Closed { rule: freeze.id(), until, reason: spec.reason.clone() }
}

impl ClosedNow {
    /// The freezes of a set that are closed at a time.
    pub fn at(freezes: &[CompiledFreeze], now: Timestamp) -> Self {
        let mut found = Self::default();
        for freeze in freezes {
            let changes_at = match freeze.closed_until(now) {
                Some(until) => {
                    found.closed.push((freeze.clone(), until));
                    Some(until)
                }
                None => freeze.next_begin(now),
            };
            found.changes_at = [found.changes_at, changes_at].into_iter().flatten().min();
        }
        found
    }

    /// What closes a place for a lane and, if a person does it, for them. Any freeze that fits closes, whatever others exempt.
    pub fn closes(
        &self,
        place: Place<'_>,
        lane: Option<Lane>,
        person: Option<&Person>,
    ) -> Option<Closed> {
        let mut closing = self.closed.iter().filter_map(|(freeze, until)| {
            let spec = freeze.spec()?;
            let is_exempt = lane.is_some_and(|lane| spec.exempt.lanes.contains(&lane))
                || person.is_some_and(|person| spec.exempt.people.include(person));
            (!is_exempt && spec.scope.contains(place)).then_some((freeze, spec, *until))
        });
        let first = closing.next()?;
        let (freeze, spec, until) =
            closing.fold(first, |last, next| if next.2 > last.2 { next } else { last });
        Some(closed(freeze, spec, until))
    }

    /// What closes anything at all for the longest.
    pub fn last(&self) -> Option<Closed> {
        let (freeze, until) = self.closed.iter().max_by_key(|(_, until)| *until)?;
        Some(closed(freeze, freeze.spec()?, *until))
    }

    /// Whether nothing is closed anywhere.
    pub fn is_empty(&self) -> bool {
        self.closed.is_empty()
    }
}
