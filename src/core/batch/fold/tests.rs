use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::core::dns::record::{RawAlias, RecordKey};
use crate::core::ids::ClusterId;
use crate::core::planning::change::{Cause, Motive};

fn values(name: &str, values: &[&str]) -> RawRecordSet {
    RawRecordSet {
        name: name.into(),
        rtype: "A".into(),
        ttl_secs: Some(60),
        values: values.iter().map(|value| (*value).into()).collect(),
        ..RawRecordSet::default()
    }
}

fn alias(name: &str, target: &str) -> RawRecordSet {
    RawRecordSet {
        name: name.into(),
        rtype: "A".into(),
        alias: Some(RawAlias {
            zone_id: "Z1".into(),
            name: target.into(),
            evaluate_target_health: false,
        }),
        ..RawRecordSet::default()
    }
}

fn change(before: Option<RawRecordSet>, after: Option<RawRecordSet>) -> Change {
    let key: RecordKey = before.as_ref().or(after.as_ref()).unwrap().key().unwrap();
    let cause = Cause::new(Motive::Wanted, ClusterId::parse("east").unwrap(), vec![]);
    Change { key, before, after, cause }
}

fn unit(changes: impl IntoIterator<Item = (Option<RawRecordSet>, Option<RawRecordSet>)>) -> Unit {
    Unit { changes: changes.into_iter().map(|(before, after)| change(before, after)).collect() }
}

fn shown(wire: &[WireChange]) -> Vec<String> {
    wire.iter().map(|element| format!("{:?} {}", element.action, element.set.name)).collect()
}

#[test]
fn a_call_deletes_before_it_creates_and_creates_targets_before_their_aliases() {
    let units = [
        unit([(Some(values("old", &["192.0.2.1"])), None)]),
        unit([(Some(alias("gone", "old")), None)]),
        unit([(None, Some(alias("third", "SECOND.")))]),
        unit([(None, Some(alias("second", "first")))]),
        unit([(None, Some(alias("first", "target")))]),
        unit([(Some(values("target", &["192.0.2.1"])), Some(values("target", &["192.0.2.2"])))]),
        unit([(None, Some(alias("outside", "elb.amazonaws.com")))]),
    ];
    assert_eq!(
        shown(&wire_order(&units)),
        [
            "Delete gone",
            "Delete old",
            "Delete target",
            "Create target",
            "Create first",
            "Create outside",
            "Create second",
            "Create third"
        ]
    );
}

#[test]
fn an_alias_of_another_type_is_no_target() {
    let mut other = alias("second", "first");
    other.rtype = "AAAA".into();
    let wire = wire_order(&[
        unit([(None, Some(other))]),
        unit([(None, Some(alias("first", "elsewhere")))]),
    ]);
    assert_eq!(shown(&wire), ["Create second", "Create first"]);
}

#[test]
fn aliases_in_a_circle_come_last_and_are_not_lost() {
    let wire = wire_order(&[
        unit([(None, Some(alias("a", "b")))]),
        unit([(None, Some(alias("b", "a")))]),
        unit([(None, Some(alias("c", "elsewhere")))]),
    ]);
    assert_eq!(shown(&wire), ["Create c", "Create a", "Create b"]);
}

#[test]
fn a_long_chain_of_aliases_is_put_in_order() {
    let units: Vec<Unit> = (0..2_000)
        .map(|n| unit([(None, Some(alias(&format!("n{n}"), &format!("n{}", n + 1))))]))
        .collect();
    let wire = wire_order(&units);
    assert_eq!(wire[0].set.name, "n1999");
    assert_eq!(wire[1_999].set.name, "n0");
}

#[test]
fn a_change_that_changes_nothing_is_neither_sent_nor_paid() {
    let same = values("same", &["192.0.2.1"]);
    let idle = unit([(Some(same.clone()), Some(same))]);
    assert_eq!(cost(&idle), Cost::default());
    assert_eq!(wire_order(&[idle]), []);
}

#[test]
fn an_update_counts_its_old_and_its_new_values() {
    let update = unit([(
        Some(values("a", &["192.0.2.1", "192.0.2.2"])),
        Some(values("a", &["192.0.2.33"])),
    )]);
    assert_eq!(cost(&update), Cost { records: 3, value_chars: 28, changes: 2, change_tokens: 2 });
    let aliases = unit([(Some(alias("b", "x")), Some(alias("b", "y")))]);
    assert_eq!(cost(&aliases), Cost { records: 2, value_chars: 0, changes: 2, change_tokens: 2 });
}

#[test]
fn route_53_s_limits_hold_to_the_last_record_and_character() {
    let single = |n: usize| unit([(None, Some(values(&format!("n{n}"), &["192.0.2.1"])))]);
    let mut folder = Folder::new(FoldLimits::default(), u32::MAX);
    for n in 0..1_000 {
        folder.try_add(&single(n)).unwrap();
    }
    assert_eq!(folder.try_add(&single(1_000)), Err(NotAdded::Full(Limit::Records)));

    let long = |name: &str, chars: usize| unit([(None, Some(values(name, &[&"x".repeat(chars)])))]);
    let mut folder = Folder::new(FoldLimits::default(), u32::MAX);
    folder.try_add(&long("a", 31_000)).unwrap();
    assert_eq!(folder.try_add(&long("b", 1_001)), Err(NotAdded::Full(Limit::ValueChars)));
    folder.try_add(&long("b", 1_000)).unwrap();
    assert_eq!(folder.used().value_chars, 32_000);

    let mut folder = Folder::new(FoldLimits::default(), 1);
    folder.try_add(&single(0)).unwrap();
    assert_eq!(folder.try_add(&single(1)), Err(NotAdded::Full(Limit::ChangeTokens)));
}

#[test]
fn a_unit_that_the_account_s_bucket_never_holds_is_reported_with_what_to_raise() {
    let limits = FoldLimits { change_tokens: 3, ..FoldLimits::default() };
    let one = |n: u32| unit([(None, Some(values(&format!("n{n}"), &["192.0.2.1"])))]);
    let four = unit((0..4).map(|n| (None, Some(values(&format!("n{n}"), &["192.0.2.1"])))));
    assert_eq!(
        Folder::new(limits, 1).try_add(&four).unwrap_err().to_string(),
        "the change needs 4 change tokens in one call and the account's bucket of changes holds 3: raise its capacity, or spread the record sets over more names"
    );
    let mut folder = Folder::new(limits, u32::MAX);
    (0..3).for_each(|n| folder.try_add(&one(n)).unwrap());
    assert_eq!(folder.try_add(&one(3)), Err(NotAdded::Full(Limit::ChangeTokens)));
}

#[test]
fn a_unit_that_no_call_can_hold_is_reported_as_such() {
    let huge = unit([(None, Some(values("a", &["x"; 1_001])))]);
    let refusal = Folder::new(FoldLimits::default(), u32::MAX).try_add(&huge).unwrap_err();
    assert_eq!(
        refusal,
        NotAdded::TooLarge(TooLarge { which: Limit::Records, needed: 1_001, most: 1_000 })
    );
    assert_eq!(
        refusal.to_string(),
        "the change needs 1001 records in one call and Route 53 accepts 1000 at most: spread its values over more names"
    );
}

/// A set of a small world of names, so that aliases do meet their targets.
fn any_set(name: u8) -> impl Strategy<Value = RawRecordSet> {
    prop_oneof![
        vec("[a-z]{1,12}", 1..5).prop_map(move |texts| {
            values(
                &format!("n{name}.example.com."),
                &texts.iter().map(String::as_str).collect::<Vec<_>>(),
            )
        }),
        (0u8..12).prop_map(move |target| alias(
            &format!("n{name}.example.com."),
            &format!("N{target}.example.com")
        )),
    ]
}

/// Units with a name each.
fn any_units() -> impl Strategy<Value = Vec<Unit>> {
    let before_and_after =
        |name| (proptest::option::of(any_set(name)), proptest::option::of(any_set(name)));
    (0u8..12)
        .prop_map(|count| (0..count).collect::<Vec<_>>())
        .prop_flat_map(move |names| {
            names
                .into_iter()
                .map(|name| {
                    before_and_after(name).prop_map(|pair| {
                        (pair.0.is_some() || pair.1.is_some()).then(|| unit([pair]))
                    })
                })
                .collect::<Vec<_>>()
        })
        .prop_map(|units| units.into_iter().flatten().collect())
}

fn expected_elements(units: &[Unit]) -> Vec<WireChange> {
    let mut expected = vec![];
    for change in
        units.iter().flat_map(|unit| &unit.changes).filter(|change| change.before != change.after)
    {
        expected
            .extend(change.before.clone().map(|set| WireChange { action: Action::Delete, set }));
        expected.extend(change.after.clone().map(|set| WireChange { action: Action::Create, set }));
    }
    expected.sort();
    expected
}

proptest! {
    #[test]
    fn a_fold_takes_or_leaves_whole_units_and_stays_inside_all_limits(
        units in any_units(),
        limits in (1usize..25, 1usize..150, 1usize..20).prop_map(|(records, value_chars, changes)| FoldLimits { records, value_chars, changes, ..FoldLimits::default() }),
        change_tokens in 0u32..25,
    ) {
        let mut folder = Folder::new(limits, change_tokens);
        let (mut inside, mut sum) = (vec![], Cost::default());
        for unit in &units {
            let with = sum.plus(cost(unit));
            let fits = with.records <= limits.records && with.value_chars <= limits.value_chars
                && with.changes <= limits.changes && with.change_tokens <= change_tokens;
            match folder.try_add(unit) {
                Ok(()) => { inside.push(unit.clone()); sum = with; prop_assert!(fits); }
                Err(NotAdded::TooLarge(_)) => prop_assert!(cost(unit).exceeds(&limits).is_some()),
                Err(NotAdded::Full(_)) => prop_assert!(!fits && cost(unit).exceeds(&limits).is_none()),
            }
        }
        prop_assert_eq!(folder.used(), sum);
        let wire = folder.finish();
        prop_assert_eq!(wire.len(), sum.changes);
        prop_assert!(wire.iter().map(|e| e.set.record_count()).sum::<usize>() <= limits.records);
        prop_assert!(wire.iter().map(|e| e.set.value_chars()).sum::<usize>() <= limits.value_chars);
        prop_assert_eq!(&wire, &wire_order(&inside));
        let mut sorted = wire;
        sorted.sort();
        prop_assert_eq!(sorted, expected_elements(&inside));
    }

    #[test]
    fn the_order_of_a_call_is_one_that_route_53_takes(units in any_units()) {
        let wire = wire_order(&units);
        let first_create = wire.iter().position(|e| e.action == Action::Create).unwrap_or(wire.len());
        prop_assert!(wire[first_create..].iter().all(|e| e.action == Action::Create), "deletes come first");
        for half in [&wire[..first_create], &wire[first_create..]] {
            let aliases: Vec<bool> = half.iter().map(|e| e.set.alias.is_some()).collect();
            let mut sorted = aliases.clone();
            sorted.sort();
            if half.first().is_some_and(|e| e.action == Action::Delete) {
                sorted.reverse();
            }
            prop_assert_eq!(aliases, sorted);
        }
        // Every alias finds its target before it, but for those that end in a circle.
        let creates = &wire[first_create..];
        let target_of = |e: &WireChange| e.set.alias.as_ref().map(|a| format!("{}.", a.name.to_lowercase()));
        for (index, element) in creates.iter().enumerate() {
            let Some(target) = target_of(element) else { continue };
            let Some(at) = creates.iter().position(|e| e.set.name == target.as_str()) else { continue };
            let (mut walk, mut steps) = (at, 0);
            while let Some(next) = target_of(&creates[walk]).and_then(|name| creates.iter().position(|e| e.set.name == name.as_str())) {
                walk = next;
                steps += 1;
                if steps > creates.len() { break; }
            }
            prop_assert!(at < index || steps > creates.len(), "{} before {}", element.set.name, target);
        }
    }
}

/// Runs a search against an oracle that refuses a call when `is_bad` says so of one of its units, and answers the calls made,
/// the units gone out, and the poison found.
fn search(
    units: &[Unit],
    poison: &BTreeSet<usize>,
    culprits: impl Fn(&[usize]) -> Vec<usize>,
) -> (usize, BTreeSet<usize>, BTreeSet<usize>) {
    let all: Vec<usize> = (0..units.len()).collect();
    let mut bisection = Bisection::new(units, &culprits(&all));
    let (mut calls, mut out) = (0, BTreeSet::new());
    while let Some(indices) = bisection.next_try().map(<[usize]>::to_vec) {
        calls += 1;
        assert!(calls <= 10_000, "the search does not end");
        if indices.iter().any(|index| poison.contains(index)) {
            bisection.refused(&culprits(&indices));
        } else {
            bisection.applied();
            for index in indices {
                assert!(out.insert(index), "unit {index} went out twice");
            }
        }
    }
    (calls, out, bisection.poison().iter().copied().collect())
}

fn plain_units(count: usize) -> Vec<Unit> {
    (0..count).map(|n| unit([(None, Some(values(&format!("n{n}"), &["192.0.2.1"])))])).collect()
}

proptest! {
    #[test]
    fn the_search_sends_all_that_is_good_and_finds_all_poison(
        count in 1usize..80,
        poison in vec(any::<prop::sample::Index>(), 1..8),
        names in any::<bool>(),
    ) {
        let poison: BTreeSet<usize> = poison.into_iter().map(|index| index.index(count)).collect();
        // A refusal names some of the culprits or none.
        let culprits = |tried: &[usize]| tried.iter().copied().filter(|i| names && poison.contains(i) && i % 2 == 0).collect();
        let (calls, out, found) = search(&plain_units(count), &poison, culprits);
        prop_assert_eq!(&found, &poison);
        prop_assert_eq!(out, (0..count).filter(|index| !poison.contains(index)).collect::<BTreeSet<_>>());
        let log2 = usize::try_from(count.next_power_of_two().ilog2()).unwrap();
        prop_assert!(calls <= poison.len() * (log2 + 2), "{calls} calls for {} of {count}", poison.len());
    }
}

#[test]
fn a_named_culprit_costs_no_search() {
    let poison = BTreeSet::from([3, 70]);
    let (calls, out, found) = search(&plain_units(100), &poison, |_| vec![3, 70]);
    assert_eq!((calls, out.len(), found), (1, 98, poison));
}

#[test]
fn a_unit_alone_that_was_refused_is_poison_without_another_call() {
    let (calls, out, found) = search(&plain_units(1), &BTreeSet::from([0]), |_| vec![]);
    assert_eq!((calls, out.len(), found), (0, 0, BTreeSet::from([0])));
}

#[test]
fn what_nothing_speaks_against_goes_out_in_the_first_call() {
    let mut bisection = Bisection::of_parts((0..100).collect(), 3);
    assert_eq!(bisection.next_try().map(<[usize]>::len), Some(97));
    bisection.applied();
    bisection.refused(&[]);
    assert_eq!(bisection.next_try(), Some(&[97][..]), "the two were refused, so each goes alone");
    bisection.refused(&[]);
    assert_eq!(bisection.poison(), [97]);
    bisection.settle(&[98, 99]);
    assert_eq!((bisection.next_try(), bisection.poison()), (None, &[97][..]));
}

#[test]
fn an_alias_is_never_tried_before_its_good_target() {
    // The alias stands before its target; the poison stands between.
    let mut units = vec![unit([(None, Some(alias("web", "target")))])];
    units.extend(plain_units(9));
    units.push(unit([(None, Some(values("target", &["192.0.2.1"])))]));
    let mut bisection = Bisection::new(&units, &[]);
    let mut out = BTreeSet::new();
    while let Some(indices) = bisection.next_try().map(<[usize]>::to_vec) {
        let alias_fails = indices.contains(&0) && !indices.contains(&10) && !out.contains(&10);
        if indices.contains(&5) || alias_fails {
            bisection.refused(&[]);
        } else {
            bisection.applied();
            out.extend(indices);
        }
    }
    assert_eq!(bisection.poison(), [5]);
    assert_eq!(out.len(), 10);
}
