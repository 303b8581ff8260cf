//! Delta debugging: the fewest steps of a schedule that still break the same invariant.
//!
//! First large pieces are left out, then smaller ones, then single steps, until nothing can be left out any more (Zeller and
//! Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002, without the complements that only help sets in order).

use std::collections::BTreeSet;

/// The remaining steps, and how many runs it took to find them. `fails` says whether a selection still breaks; the whole
/// is known to. No more than `most_runs` are asked for, so that what is left may be more than needed.
pub fn shrink(
    steps: usize,
    most_runs: usize,
    mut fails: impl FnMut(&[usize]) -> bool,
) -> (Vec<usize>, usize) {
    let mut kept: Vec<usize> = (0..steps).collect();
    let mut runs = 0;
    let mut piece = kept.len().div_ceil(2);
    while piece > 0 && !kept.is_empty() {
        let mut start = 0;
        let mut is_smaller = false;
        while start < kept.len() {
            if runs == most_runs {
                return (kept, runs);
            }
            let end = (start + piece).min(kept.len());
            let without: Vec<usize> = kept[..start].iter().chain(&kept[end..]).copied().collect();
            runs += 1;
            if fails(&without) {
                kept = without;
                is_smaller = true;
            } else {
                start = end;
            }
        }
        // A pass over single steps is repeated as long as it finds one to leave out.
        piece = match (piece, is_smaller) {
            (1, true) => 1,
            (1, false) => 0,
            (piece, _) => piece.div_ceil(2).min(kept.len().max(1)),
        };
    }
    (kept, runs)
}

/// A selection as text: `0,3,5-9`.
pub fn to_text(kept: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = vec![];
    for step in kept {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *step => *last = *step,
            _ => ranges.push((*step, *step)),
        }
    }
    let one = |(first, last): (usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.into_iter().map(one).collect::<Vec<_>>().join(",")
}

/// The selection of a text; an empty text is none of the steps.
pub fn from_text(text: &str) -> Result<BTreeSet<usize>, String> {
    let mut kept = BTreeSet::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            text.parse::<usize>()
                .map_err(|error| format!("{part:?} is no step or range of steps: {error}"))
        };
        kept.extend(number(first)?..=number(last)?);
    }
    Ok(kept)
}
