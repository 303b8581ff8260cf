//! Where endpoints go, as text: `2:7,9/4` is the second decision, published in the zones number 7 and 9, leaving number 4.

use std::collections::{HashMap, HashSet};

use super::error::corrupt;
use super::names::{Numbered, numbered};
use super::transaction::Transaction;
use crate::core::endpoint::verdict::Placement;
use crate::core::planning::placement::{PlacementSet, StoredPlacement};
use crate::ports::StoreError;

/// Reads the text.
pub(super) fn decode(
    text: &str,
    placements: &HashMap<i64, Placement>,
) -> Result<StoredPlacement, StoreError> {
    let parts = PlacementText::of(text)?;
    let zones = |numbers: &[i64]| {
        numbers
            .iter()
            .map(|number| numbered("zone", placements, *number))
            .collect::<Result<Vec<_>, _>>()
    };
    let set = PlacementSet::new(zones(&parts.at)?, zones(&parts.leaving)?);
    Ok(StoredPlacement { sequence: parts.sequence, set })
}

/// The numbers of the zones in a text; empty if the text cannot be read.
pub(super) fn numbers_in(text: &str) -> Vec<i64> {
    PlacementText::of(text).map(|parts| [parts.at, parts.leaving].concat()).unwrap_or_default()
}

/// Writes the text; `None` if a zone is not stored, or belongs to another account by now.
pub(super) fn encode(
    sequence: u32,
    set: &PlacementSet,
    numbers: &HashMap<&Placement, i64>,
) -> Option<String> {
    // Most are in one zone.
    if let ([at], []) = (set.at(), set.leaving()) {
        return Some(format!("{sequence}:{}", numbers.get(at)?));
    }
    let zones = |placements: &[Placement]| {
        let mut found: Vec<i64> =
            placements.iter().map(|held| numbers.get(held).copied()).collect::<Option<_>>()?;
        found.sort_unstable();
        Some(found.iter().map(i64::to_string).collect::<Vec<_>>().join(","))
    };
    let (at, leaving) = (zones(set.at())?, zones(set.leaving())?);
    let slash = if leaving.is_empty() { "" } else { "/" };
    Some(format!("{sequence}:{at}{slash}{leaving}"))
}

struct PlacementText {
    sequence: u32,
    at: Vec<i64>,
    leaving: Vec<i64>,
}

impl PlacementText {
    fn of(text: &str) -> Result<Self, StoreError> {
        let wrong = || corrupt("placement", format_args!("{text:?} is none"));
        let numbers = |text: &str| match text {
            "" => Ok(vec![]),
            some => some.split(',').map(|number| number.parse().map_err(|_| wrong())).collect(),
        };
        let (sequence, zones) = text.split_once(':').ok_or_else(wrong)?;
        let (at, leaving) = zones.split_once('/').unwrap_or((zones, ""));
        Ok(Self {
            sequence: sequence.parse().map_err(|_| wrong())?,
            at: numbers(at)?,
            leaving: numbers(leaving)?,
        })
    }
}

/// The numbers of some zones, as far as they are stored.
pub(super) async fn numbers_of<'a>(
    transaction: &mut Transaction,
    placements: &Numbered<Placement>,
    wanted: impl Iterator<Item = &'a PlacementSet>,
) -> Result<HashMap<&'a Placement, i64>, StoreError> {
    let wanted: HashSet<&Placement> = wanted.flat_map(PlacementSet::all).collect();
    let enough = |held: &HashMap<i64, Placement>| {
        held.values().filter(|held| wanted.contains(held)).count() == wanted.len()
    };
    let held = placements.covering(transaction, enough).await?;
    let numbers = held.iter().filter_map(|(number, held)| Some((*wanted.get(held)?, *number)));
    Ok(numbers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{AccountId, ZoneId};

    fn at(zone: &str) -> Placement {
        Placement {
            account: AccountId::parse("111111111111").unwrap(),
            zone: ZoneId::parse(zone).unwrap(),
        }
    }

    #[test]
    fn a_placement_comes_back_from_its_text() {
        let known: HashMap<i64, Placement> = (1..5).map(|n| (n, at(&format!("Z{n}")))).collect();
        let numbers = known.iter().map(|(number, held)| (held, *number)).collect();
        for (text, set) in [
            ("0:1", PlacementSet::one(at("Z1"))),
            ("2:1,3/2", PlacementSet::new([at("Z3"), at("Z1")], [at("Z2")])),
            ("4294967295:4", PlacementSet::one(at("Z4"))),
        ] {
            let read = decode(text, &known).unwrap();
            assert_eq!(
                (&read.set, encode(read.sequence, &read.set, &numbers).unwrap().as_str()),
                (&set, text)
            );
        }
        assert_eq!(numbers_in("2:1,3/2"), [1, 3, 2]);
    }

    #[test]
    fn a_text_that_is_none_is_an_error_and_a_zone_that_is_not_stored_has_no_text() {
        for text in ["", "1", "x:1", "1:x", "1:1,,2", "-1:2", "1:1/x"] {
            assert!(decode(text, &HashMap::new()).is_err(), "{text:?}");
        }
        assert!(decode("1:7", &HashMap::new()).is_err(), "no zone has that number");
        assert_eq!(encode(1, &PlacementSet::one(at("Z1")), &HashMap::new()), None);
    }
}
