//! Which parts of a refused batch to try next, so that the good units go out and the bad ones are found.

use super::order::dependency_order;
use crate::core::planning::change::Unit;

/// The halves of a batch; the left one is the larger when the number is odd.
pub fn bisect<T>(units: &[T]) -> (&[T], &[T]) {
    units.split_at(units.len().div_ceil(2))
}

/// The search for the poison in a refused batch of `n` units.
///
/// ```text
/// while let Some(indices) = bisection.next_try() { send them; bisection.applied() or bisection.refused(..) }
/// bisection.poison()
/// ```
///
/// Units are tried in an order in which aliases come after their targets, and always from the front: when a unit is found,
/// everything before it has gone out or was found too, so none is refused for lack of what it depends on. A unit counts as
/// poison only after it was refused alone or by name. With p poisoned units the search takes p · (⌈log2 n⌉ + 2) calls at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bisection {
    /// Known to hold poison, because a call with exactly these, or with these and units that have gone out since, was refused.
    suspects: Vec<usize>,
    /// Nothing known; all of them come after the suspects.
    rest: Vec<usize>,
    /// How many of the suspects are tried first, where there is a reason to try more or less than half of them.
    first: Option<usize>,
    poison: Vec<usize>,
}

impl Bisection {
    /// The search in a batch that was refused as a whole. `culprits` are the indices of the units that the refusal names; when
    /// it names none, the batch is halved.
    pub fn new(units: &[Unit], culprits: &[usize]) -> Self {
        let mut search = Self {
            suspects: dependency_order(units),
            rest: Vec::new(),
            first: None,
            poison: Vec::new(),
        };
        search.judge(units.len(), culprits);
        search
    }

    /// The search in a refused whole of parts that do not depend on each other. The last `blamed` of them are suspected: the
    /// others are tried first, together, so that as a rule they have gone out after one call.
    pub fn of_parts(order: Vec<usize>, blamed: usize) -> Self {
        let others = order.len().saturating_sub(blamed);
        let first = (blamed > 0 && others > 0).then_some(others);
        let mut search = Self { suspects: order, rest: Vec::new(), first, poison: Vec::new() };
        search.judge(search.suspects.len(), &[]);
        search
    }

    /// The order in which units are tried: aliases come after their targets.
    pub fn order(units: &[Unit]) -> Vec<usize> {
        dependency_order(units)
    }

    /// The indices of the units that are still to be tried.
    pub fn open(&self) -> impl Iterator<Item = usize> {
        self.suspects.iter().chain(&self.rest).copied()
    }

    /// Removes units that are settled otherwise, without a try.
    pub fn settle(&mut self, indices: &[usize]) {
        self.first = None;
        self.suspects.retain(|index| !indices.contains(index));
        self.rest.retain(|index| !indices.contains(index));
        // A suspect that is left may be good: it was refused together with the others.
        self.rest.splice(..0, std::mem::take(&mut self.suspects));
    }

    /// How many of the suspects are tried next.
    fn tried(&self) -> usize {
        let half = bisect(&self.suspects).0.len();
        self.first.filter(|first| *first < self.suspects.len()).unwrap_or(half)
    }

    /// The indices of the units to try next, in one call; `None` if all are settled.
    pub fn next_try(&self) -> Option<&[usize]> {
        let next =
            if self.suspects.is_empty() { &self.rest[..] } else { &self.suspects[..self.tried()] };
        (!next.is_empty()).then_some(next)
    }

    /// The units of [`next_try`](Self::next_try) have gone out.
    pub fn applied(&mut self) {
        if self.suspects.is_empty() {
            self.rest.clear();
        } else {
            self.suspects.drain(..self.tried());
            self.first = None;
        }
    }

    /// The units of [`next_try`](Self::next_try) were refused, with the indices that the refusal names, if any.
    pub fn refused(&mut self, culprits: &[usize]) {
        if self.suspects.is_empty() {
            self.suspects = std::mem::take(&mut self.rest);
            self.judge(self.suspects.len(), culprits);
        } else {
            let tried = self.tried();
            self.first = None;
            self.judge(tried, culprits);
        }
    }

    /// The units that cannot go out, in the order in which they were found.
    pub fn poison(&self) -> &[usize] {
        &self.poison
    }

    /// The first `tried` suspects were refused together.
    fn judge(&mut self, tried: usize, culprits: &[usize]) {
        let untried = self.suspects.split_off(tried);
        let named = |index: &usize| culprits.contains(index);
        if self.suspects.len() == 1 {
            self.poison.append(&mut self.suspects);
        } else if self.suspects.iter().any(named) {
            // Without those that are named the others may be good: nothing is known of them any more.
            let (found, others): (Vec<usize>, Vec<usize>) =
                self.suspects.drain(..).partition(named);
            self.poison.extend(found);
            self.rest.splice(..0, others.into_iter().chain(untried));
            return;
        }
        self.rest.splice(..0, untried);
    }
}
