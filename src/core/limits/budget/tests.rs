use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

const CHANGE: ApiAction = ApiAction::ChangeResourceRecordSets;
const LIST: ApiAction = ApiAction::ListResourceRecordSets;
const START: Timestamp = Timestamp(1_000_000);

fn full(config: &BudgetConfig) -> Budget {
    Budget::new(config, StartLevel::Full, START)
}

/// A call that is answered in the moment in which it is sent.
fn spend(
    budget: &mut Budget,
    now: Timestamp,
    lane: Lane,
    action: ApiAction,
    changes: u32,
) -> Result<Permit, Shortage> {
    let permit = budget.try_take(now, lane, action, changes)?;
    budget.settle(now, permit.paid());
    Ok(permit)
}

/// How many calls of one kind go out at once.
fn burst(
    budget: &mut Budget,
    now: Timestamp,
    lane: Lane,
    action: ApiAction,
    changes: u32,
) -> usize {
    std::iter::from_fn(|| spend(budget, now, lane, action, changes).ok()).take(100_000).count()
}

fn level(budget: &mut Budget, now: Timestamp, bucket: &str) -> f64 {
    budget.snapshot(now).buckets.iter().find(|b| b.bucket == bucket).unwrap().tokens
}

#[test]
fn the_usable_part_is_what_the_reserve_and_one_token_leave() {
    let shown = full(&BudgetConfig::profile_2026()).snapshot(START);
    let numbers: BTreeMap<_, _> = shown
        .buckets
        .iter()
        .map(|b| (b.bucket, (b.tokens, b.capacity, b.refill_per_second)))
        .collect();
    assert_eq!(numbers["requests"], (39.0, 39.0, 8.0));
    assert_eq!(numbers["ChangeResourceRecordSets"], (39.0, 39.0, 8.0));
    assert_eq!(numbers["changes"], (1_199.0, 1_199.0, 80.0));
    assert_eq!(numbers.len(), 7);

    let shown = full(&BudgetConfig::legacy()).snapshot(START);
    assert_eq!(shown.buckets.len(), 1);
    assert_eq!((shown.buckets[0].capacity, shown.buckets[0].refill_per_second), (3.0, 4.0));
}

#[test]
fn the_profiles_are_valid_and_nonsense_is_refused_with_its_place() {
    BudgetConfig::legacy().validate().unwrap();
    BudgetConfig::profile_2026().validate().unwrap();
    for share in [-0.1, 1.0, f64::NAN] {
        assert!(
            BudgetConfig { reserve_share: share, ..BudgetConfig::legacy() }.validate().is_err(),
            "{share}"
        );
    }
    for (capacity, refill_per_second) in
        [(0.5, 1.0), (f64::INFINITY, 1.0), (5.0, 0.0), (5.0, f64::NAN)]
    {
        let config = BudgetConfig {
            requests: BucketConfig { capacity, refill_per_second },
            ..BudgetConfig::legacy()
        };
        assert!(config.validate().unwrap_err().to_string().contains("\"requests\""));
        // Unchecked, it is at least no panic.
        full(&config).predict(START, 10, 10);
    }
}

#[test]
fn lanes_leave_tokens_to_the_lanes_before_them() {
    let config = BudgetConfig::profile_2026();
    assert_eq!(burst(&mut full(&config), START, Lane::Urgent, CHANGE, 1), 39);
    assert_eq!(burst(&mut full(&config), START, Lane::Changes, CHANGE, 1), 38);
    // Half of 39 stays.
    assert_eq!(burst(&mut full(&config), START, Lane::Reads, LIST, 0), 19);

    let mut budget = full(&config);
    burst(&mut budget, START, Lane::Reads, LIST, 0);
    assert_eq!(burst(&mut budget, START, Lane::Changes, CHANGE, 1), 19);
    assert_eq!(burst(&mut budget, START, Lane::Urgent, CHANGE, 1), 1);
}

#[test]
fn every_lane_works_in_the_smallest_bucket() {
    let requests = BucketConfig { capacity: 1.0, refill_per_second: 1.0 };
    let config = BudgetConfig { requests, ..BudgetConfig::legacy() };
    for lane in [Lane::Urgent, Lane::Changes, Lane::Reads] {
        assert_eq!(burst(&mut full(&config), START, lane, LIST, 0), 1, "{lane:?}");
    }
}

#[test]
fn changes_leave_some_change_tokens_for_urgent_ones_but_let_a_full_call_through() {
    let mut budget = full(&BudgetConfig::profile_2026());
    assert_eq!(budget.changes_available(START, Lane::Changes), 1_175);
    assert_eq!(budget.changes_available(START, Lane::Urgent), 1_199);
    spend(&mut budget, START, Lane::Changes, CHANGE, 1_000).unwrap();
    assert_eq!(budget.changes_available(START, Lane::Changes), 175);
    assert_eq!(full(&BudgetConfig::legacy()).changes_available(START, Lane::Changes), u32::MAX);
}

#[test]
fn a_call_larger_than_the_bucket_is_never_ready_and_one_that_fills_it_is() {
    let mut budget = full(&BudgetConfig::profile_2026());
    assert_eq!(budget.ready_at(START, Lane::Changes, CHANGE, 1_200), None);
    let shortage = spend(&mut budget, START, Lane::Changes, CHANGE, 1_200).unwrap_err();
    assert_eq!(shortage, Shortage { bucket: "changes", ready_at: None });
    assert_eq!(budget.ready_at(START, Lane::Changes, CHANGE, 1_199), Some(START));
}

#[test]
fn time_that_runs_backwards_adds_nothing() {
    let mut budget = Budget::new(&BudgetConfig::legacy(), StartLevel::Empty, START);
    for _ in 0..1_000 {
        budget.snapshot(Timestamp(START.0 + 250));
        budget.snapshot(START);
    }
    assert_eq!(level(&mut budget, START, "requests"), 1.0);
}

#[test]
fn throttling_empties_halves_and_is_recovered_from_in_a_minute() {
    let mut budget = full(&BudgetConfig::legacy());
    let at = |ms: i64| Timestamp(START.0 + ms);
    budget.throttled(at(0));
    budget.throttled(at(10));
    let shown = budget.snapshot(at(10));
    assert_eq!(
        (shown.ceiling, shown.throttles, shown.buckets[0].tokens),
        (0.5, 2, 0.0),
        "one overdraft, two answers"
    );
    assert_eq!(shown.buckets[0].refill_per_second, 2.0);
    for n in 1..20 {
        budget.throttled(at(n * 1_000 + 10));
    }
    assert_eq!(budget.snapshot(at(20_000)).ceiling, 0.0625, "the floor");
    // Time alone proves nothing.
    assert_eq!(budget.snapshot(at(500_000)).ceiling, 0.0625);

    let mut budget = full(&BudgetConfig::legacy());
    budget.throttled(at(0));
    budget.throttled(at(1_000));
    budget.throttled(at(2_000));
    budget.throttled(at(3_000));
    let ceilings: Vec<f64> = (0..=60)
        .map(|s| {
            budget.succeeded(at(3_000 + s * 1_000));
            budget.snapshot(at(3_000 + s * 1_000)).ceiling
        })
        .collect();
    assert_eq!((ceilings[0], ceilings[32], ceilings[60]), (0.0625, 0.5625, 1.0));
    assert!(ceilings.is_sorted());
}

#[test]
fn a_new_configuration_raises_no_level() {
    let mut budget = full(&BudgetConfig::legacy());
    burst(&mut budget, START, Lane::Urgent, CHANGE, 0);
    budget.reconfigure(&BudgetConfig::profile_2026(), START);
    assert!(budget.snapshot(START).buckets.iter().all(|b| b.tokens == 0.0));
    let mut budget = full(&BudgetConfig::profile_2026());
    budget.reconfigure(&BudgetConfig::legacy(), START);
    assert_eq!(level(&mut budget, START, "requests"), 3.0);
    budget.reconfigure(&BudgetConfig::profile_2026(), START);
    assert_eq!(level(&mut budget, START, "requests"), 3.0);
}

#[test]
fn a_long_series_is_predicted_from_its_pace() {
    let mut budget = Budget::new(&BudgetConfig::legacy(), StartLevel::Empty, START);
    // 4 calls a second.
    assert_eq!(budget.predict(START, 4_000_000, 0), Timestamp(START.0 + 1_000_000_000));
}

fn any_config() -> impl Strategy<Value = BudgetConfig> {
    let bucket = |capacity: std::ops::Range<f64>, refill: std::ops::Range<f64>| {
        (capacity, refill)
            .prop_map(|(capacity, refill_per_second)| BucketConfig { capacity, refill_per_second })
    };
    (
        bucket(4.0..60.0, 0.1..30.0),
        proptest::option::of(bucket(4.0..60.0, 0.1..30.0)),
        proptest::option::of(bucket(10.0..2_000.0, 1.0..300.0)),
        0.0..0.5,
    )
        .prop_map(|(requests, own, changes, reserve_share)| BudgetConfig {
            requests,
            per_action: own.into_iter().map(|own| (CHANGE, own)).collect(),
            changes,
            reserve_share,
        })
}

fn any_lane() -> impl Strategy<Value = Lane> {
    prop::sample::select(vec![Lane::Urgent, Lane::Changes, Lane::Reads])
}

fn any_action() -> impl Strategy<Value = ApiAction> {
    prop::sample::select(vec![CHANGE, LIST])
}

/// A step of time in milliseconds, sometimes backwards, and what is asked for then.
fn any_schedule() -> impl Strategy<Value = Vec<(i64, Lane, ApiAction, u32)>> {
    let step = prop_oneof![4 => 0i64..50, 2 => 0i64..3_000, 1 => -500i64..0];
    vec((step, any_lane(), any_action(), prop_oneof![0u32..20, 0u32..800]), 1..80)
}

/// The buckets of AWS, as published.
struct Published {
    config: BudgetConfig,
    taken: Vec<(i64, ApiAction, u32)>,
}

impl Published {
    /// The lowest level of each bucket, with its reserve: levels are full in the beginning and refilled without rounding.
    fn lowest_and_reserve(&self) -> Vec<(f64, f64)> {
        let walk = |bucket: &BucketConfig, need: &dyn Fn(ApiAction, u32) -> f64| {
            let (mut level, mut lowest, mut last) = (bucket.capacity, bucket.capacity, None);
            for (at, action, changes) in &self.taken {
                let elapsed_ms = at - last.unwrap_or(*at);
                level = (level + bucket.refill_per_second * elapsed_ms as f64 / 1_000.0)
                    .min(bucket.capacity)
                    - need(*action, *changes);
                lowest = f64::min(lowest, level);
                last = Some(*at);
            }
            (lowest, bucket.capacity * self.config.reserve_share)
        };
        let mut all = vec![walk(&self.config.requests, &|_, _| 1.0)];
        for (own, bucket) in &self.config.per_action {
            all.push(walk(bucket, &|action, _| f64::from(u8::from(action == *own))));
        }
        all.extend(
            self.config.changes.iter().map(|bucket| walk(bucket, &|_, changes| f64::from(changes))),
        );
        all
    }
}

proptest! {
    #[test]
    fn no_window_of_time_takes_more_than_the_usable_bucket(config in any_config(), schedule in any_schedule()) {
        let mut budget = full(&config);
        let usable = budget.snapshot(START).buckets;
        let (mut now, mut latest, mut taken) = (START, START, vec![]);
        for (step, lane, action, changes) in schedule {
            now = now + Millis(step);
            latest = latest.max(now);
            if spend(&mut budget, now, lane, action, changes).is_ok() {
                taken.push((latest.0, action, changes));
            }
        }
        for bucket in usable {
            let need = |action: ApiAction, changes: u32| match bucket.bucket {
                "requests" => 1.0,
                "changes" => f64::from(changes),
                own => f64::from(u8::from(own == action.as_str())),
            };
            for from in 0..taken.len() {
                let mut sum = 0.0;
                for (at, action, changes) in &taken[from..] {
                    sum += need(*action, *changes);
                    let allowed = bucket.capacity + bucket.refill_per_second * (at - taken[from].0) as f64 / 1_000.0;
                    prop_assert!(sum <= allowed + 1e-6, "{sum} of {} in {} ms, {allowed} allowed", bucket.bucket, at - taken[from].0);
                }
            }
        }
    }

    #[test]
    fn no_crash_and_no_haste_takes_aws_s_reserve(
        config in any_config(),
        lives in vec((vec(0i64..400, 1..10), 0u32..100, 0i64..5_000, 0i64..2_000), 1..8),
    ) {
        let mut published = Published { config: config.clone(), taken: vec![] };
        let mut budget = full(&config);
        let mut now = START;
        for (steps, changes, down_ms, lease_ms) in lives {
            for step in steps {
                now = now + Millis(step);
                // All that goes out goes out at once, the dearer calls first.
                for changes in [changes, 1, 0] {
                    let count = burst(&mut budget, now, Lane::Urgent, CHANGE, changes);
                    published.taken.extend(std::iter::repeat_n((now.0, CHANGE, changes), count));
                }
            }
            // The process dies. Its successor knows only until when it may have spent: the end of its lease.
            let spent_until = now + Millis(lease_ms);
            now = now + Millis(down_ms);
            budget = Budget::new(&config, StartLevel::Since(spent_until), now);
        }
        for (lowest, reserve) in published.lowest_and_reserve() {
            prop_assert!(lowest >= reserve - 1e-6, "down to {lowest} with a reserve of {reserve}");
        }
    }

    #[test]
    fn calls_that_are_held_up_or_given_up_and_arrive_together_take_no_reserve(
        config in any_config(),
        // Each call: the pause before it, how long its answer takes or is waited for, when in that time AWS looks at it, and, if
        // it is given up, how long after that.
        calls in vec((0i64..3_000, 0u32..60, 0i64..3_000, 0.0..=1.0f64, option::of(0i64..=ARRIVES_WITHIN.0)), 1..60),
    ) {
        let mut budget = full(&config);
        let (mut now, mut open, mut taken) = (START, Vec::<(Timestamp, Paid, bool)>::new(), vec![]);
        for (pause_ms, changes, waits_ms, looked_at, late_ms) in calls {
            now = now + Millis(pause_ms);
            open.sort_by_key(|(until, ..)| *until);
            while open.first().is_some_and(|(until, ..)| *until <= now) {
                match open.remove(0) {
                    (until, paid, true) => budget.give_up(until, paid),
                    (until, paid, false) => budget.settle(until, paid),
                }
            }
            if let Ok(permit) = budget.try_take(now, Lane::Urgent, CHANGE, changes) {
                open.push((now + Millis(waits_ms), permit.paid(), late_ms.is_some()));
                let looks_ms = late_ms.map_or((waits_ms as f64 * looked_at) as i64, |late_ms| waits_ms + late_ms);
                taken.push((now.0 + looks_ms, CHANGE, changes));
            }
        }
        taken.sort_by_key(|(at, ..)| *at);
        let published = Published { config, taken };
        for (lowest, reserve) in published.lowest_and_reserve() {
            prop_assert!(lowest >= reserve - 1e-6, "down to {lowest} with a reserve of {reserve}");
        }
    }

    #[test]
    fn a_call_takes_from_all_of_its_buckets_or_from_none(config in any_config(), schedule in any_schedule()) {
        let mut budget = full(&config);
        let mut now = START;
        for (step, lane, action, changes) in schedule {
            now = now + Millis(step);
            let before = budget.snapshot(now);
            match spend(&mut budget, now, lane, action, changes) {
                Ok(permit) => {
                    prop_assert_eq!((permit.action(), permit.changes()), (action, changes));
                    for (before, after) in before.buckets.iter().zip(&budget.snapshot(now).buckets) {
                        let need = match before.bucket {
                            "requests" => 1.0,
                            "changes" => f64::from(changes),
                            own => f64::from(u8::from(own == action.as_str())),
                        };
                        prop_assert!((before.tokens - after.tokens - need).abs() < 1e-6);
                        prop_assert!(after.tokens >= 0.0);
                    }
                }
                Err(_) => prop_assert_eq!(before, budget.snapshot(now)),
            }
        }
    }

    #[test]
    fn ready_at_is_exact(config in any_config(), schedule in any_schedule(), lane in any_lane(), action in any_action(), changes in 0u32..300) {
        let run = || {
            let (mut budget, mut now) = (full(&config), START);
            for (step, lane, action, changes) in &schedule {
                now = now + Millis(*step);
                let _ = spend(&mut budget, now, *lane, *action, *changes);
            }
            (budget, now)
        };
        let (mut budget, now) = run();
        match budget.ready_at(now, lane, action, changes) {
            Some(ready) if ready == now => prop_assert!(spend(&mut budget, now, lane, action, changes).is_ok()),
            Some(ready) => {
                let early = spend(&mut budget, Timestamp(ready.0 - 1), lane, action, changes);
                prop_assert_eq!(early.unwrap_err().ready_at, Some(ready));
                prop_assert!(spend(&mut budget, ready, lane, action, changes).is_ok());
            }
            None => {
                let never = Timestamp(now.0 + 1_000_000_000);
                prop_assert!(spend(&mut budget, never, lane, action, changes).is_err());
            }
        }
    }

    #[test]
    fn a_prediction_is_what_then_happens(
        config in any_config(),
        schedule in any_schedule(),
        throttles in 0usize..3,
        calls in 1u32..60,
        changes in 0u32..2_000,
    ) {
        let (mut budget, mut now) = (full(&config), START);
        for (step, lane, action, changes) in &schedule {
            now = now + Millis(step.abs());
            let _ = spend(&mut budget, now, *lane, *action, *changes);
        }
        for _ in 0..throttles {
            now = now + Millis(1_000);
            budget.throttled(now);
        }
        let part = |call: u32| changes / calls + u32::from(call < changes % calls);
        prop_assume!(budget.ready_at(now, Lane::Changes, CHANGE, part(0)).is_some());
        let predicted = budget.predict(now, calls, changes);
        let first = budget.ready_at(now, Lane::Changes, CHANGE, part(0)).unwrap();
        prop_assert!(predicted >= first);
        prop_assert!(calls > 1 || predicted == first);
        for call in 0..calls {
            now = budget.ready_at(now, Lane::Changes, CHANGE, part(call)).unwrap();
            spend(&mut budget, now, Lane::Changes, CHANGE, part(call)).unwrap();
        }
        prop_assert_eq!(predicted, now);
    }
}
