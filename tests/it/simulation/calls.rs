//! Limits (5), poison (6), fairness (8), attribution (10) and one writer (12).

use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::invariants::Invariant::*;
use zonefold::core::limits::budget::{BucketConfig, BudgetConfig};
use zonefold::core::time::Timestamp;
use zonefold::ports::BatchOutcome;

use super::history::*;
use super::story::{BROKER, SECOND, Story, account, cluster, dns, set, wish};

/// Ten requests, refilled at one a second, half of both left to others.
fn narrow() -> Story {
    let mut story = Story::new();
    let requests = BucketConfig { capacity: 10.0, refill_per_second: 1.0 };
    let budget =
        BudgetConfig { requests, per_action: [].into(), changes: None, reserve_share: 0.5 };
    story.history.world.accounts[0].budget = budget;
    story
}

#[test]
fn i05_calls_within_our_part_are_sound_and_one_more_takes_from_the_reserve() {
    let mut story = narrow();
    (0..5).for_each(|_| story.reads(BROKER));
    story.pass_ms(2_000);
    story.reads(BROKER);
    story.keeps_to(LimitsHold);
    story.reads(BROKER);
    story.breaks(LimitsHold, "overdraws our part of the bucket of all requests");
}

#[test]
fn i05_two_replicas_share_one_bucket() {
    let mut story = narrow();
    (0..3).for_each(|_| story.reads(BROKER));
    (0..2).for_each(|_| story.reads(SECOND));
    story.keeps_to(LimitsHold);
    story.reads(SECOND);
    story.breaks(LimitsHold, "broker 1.0");
}

#[test]
fn i05_late_calls_have_the_reserve_and_no_more() {
    let mut story = narrow();
    let web = wish("web", "www", &["192.0.2.1"]);
    let late: Vec<u64> = (0..6)
        .map(|number| {
            let batch =
                story.batch(number, "east", &web, &[(None, Some(set("www", &["192.0.2.1"])))]);
            let call = story.calls(BROKER, &batch);
            story.ends(call, "timed out");
            call
        })
        .collect();
    (0..5).for_each(|_| story.reads(BROKER));
    let mut late = late.into_iter();
    for call in late.by_ref().take(5) {
        story.tell_at_once(What::CallArrived { call, granted: true });
    }
    story.keeps_to(LimitsHold);
    story.tell_at_once(What::CallArrived { call: late.next().unwrap(), granted: true });
    story.breaks(LimitsHold, "overdraws the published bucket");
}

#[test]
fn i05_changes_have_a_bucket_of_their_own() {
    let mut story = narrow();
    let changes = BucketConfig { capacity: 4.0, refill_per_second: 0.01 };
    story.history.world.accounts[0].budget.changes = Some(changes);
    let web = wish("web", "www", &["192.0.2.1"]);
    let sets: Vec<_> = ["a", "b", "c"].map(|name| (None, Some(set(name, &["192.0.2.1"])))).into();
    let batch = story.batch(1, "east", &web, &sets);
    let call = story.calls(BROKER, &batch);
    story.arrives(call);
    story.breaks(LimitsHold, "bucket of changes");
}

fn refused() -> BatchOutcome {
    let message =
        "[RRSet with DNS name www.example.com., type A is protected and cannot be changed: no]"
            .to_owned();
    BatchOutcome::Refused { code: "InvalidChangeBatch".to_owned(), message, request_id: None }
}

/// A broker sends www, perhaps with another name, and is refused; it sends www again after `after_ms`, perhaps with another address.
fn refused_and_sent_again(after_ms: i64, again: &str, beside: Option<&str>) -> Story {
    let mut story = Story::new();
    let web = wish("web", "www", &["192.0.2.1"]);
    story.tell(What::Poisoned { name: dns("www.example.com") });
    let names = std::iter::once("www").chain(beside);
    let sets: Vec<_> = names.map(|name| (None, Some(set(name, &["192.0.2.1"])))).collect();
    let first = story.batch(1, "east", &web, &sets);
    story.begins(&first);
    let call = story.calls(BROKER, &first);
    story.ends(call, "refused");
    story.finishes(&first, refused());
    story.pass_ms(after_ms);
    let second = story.batch(2, "east", &web, &[(None, Some(set("www", &[again])))]);
    story.begins(&second);
    story.calls(BROKER, &second);
    story
}

#[test]
fn i06_what_was_refused_waits_before_it_goes_out_again_unchanged() {
    refused_and_sent_again(1_000, "192.0.2.1", None).breaks(PoisonIsAlone, "unchanged");
    refused_and_sent_again(30_000, "192.0.2.1", None).keeps_to(PoisonIsAlone);
    refused_and_sent_again(1_000, "192.0.2.2", None).keeps_to(PoisonIsAlone);
    // Which of several names is at fault is found by halving them, whatever the message says.
    refused_and_sent_again(1_000, "192.0.2.1", Some("api")).keeps_to(PoisonIsAlone);
}

/// Four names go out together, one of them poisoned, and are refused `times` times in a row; perhaps they are read back between.
fn refused_together(times: u128, read_back_after: Option<u128>) -> Story {
    let mut story = Story::new();
    let web = wish("web", "www", &["192.0.2.1"]);
    story.tell(What::Poisoned { name: dns("www.example.com") });
    let sets = ["api", "www", "shop", "mail"].map(|name| (None, Some(set(name, &["192.0.2.1"]))));
    for number in 1..=times {
        let batch = story.batch(number, "east", &web, &sets);
        story.begins(&batch);
        let call = story.calls(BROKER, &batch);
        story.ends(call, "refused");
        let is_lost = read_back_after == Some(number);
        let lost = || BatchOutcome::NotApplied { reason: "read back".to_owned() };
        story.finishes(&batch, if is_lost { lost() } else { refused() });
    }
    story
}

#[test]
fn i06_a_name_beside_a_poisoned_one_is_parted_from_it_by_halving() {
    refused_together(4, None).keeps_to(PoisonIsAlone);
    refused_together(5, None)
        .breaks(PoisonIsAlone, "api.example.com was refused 5 times with www.example.com");
    // A lost answer ends a search.
    refused_together(6, Some(3)).keeps_to(PoisonIsAlone);
}

#[test]
fn i08_a_quiet_clusters_change_goes_out_within_a_few_calls() {
    for (calls_before, is_sound) in [(4, true), (8, false)] {
        let mut story = Story::new();
        let (quiet, noisy) =
            (wish("web", "quiet", &["192.0.2.1"]), wish("many", "noisy", &["192.0.2.1"]));
        story.opens("east", 1);
        story.opens("west", 1);
        story.stores("west", 1, &quiet);
        story.pass_ms(5_000);
        for number in 0..calls_before {
            let name = format!("n{number}");
            story.publishes(number, "east", &noisy, &[(None, Some(set(&name, &["192.0.2.1"])))]);
        }
        story.publishes(100, "west", &quiet, &[(None, Some(set("quiet", &["192.0.2.1"])))]);
        if is_sound {
            story.keeps_to(NoStarvation)
        } else {
            story.breaks(NoStarvation, "west got quiet.example.com A")
        }
    }
}

#[test]
fn i08_a_cluster_that_floods_waits_for_its_own_flood() {
    let mut story = Story::new();
    story.opens("east", 1);
    let many: Vec<_> = (0..10).map(|n| wish("many", &format!("n{n}"), &["192.0.2.1"])).collect();
    for endpoint in &many {
        story.stores("east", 1, endpoint);
    }
    story.pass_ms(5_000);
    for (number, endpoint) in (0..9).zip(&many) {
        let name = format!("n{number}");
        story.publishes(number, "east", endpoint, &[(None, Some(set(&name, &["192.0.2.1"])))]);
    }
    story.keeps_to(NoStarvation);
}

#[test]
fn i08_what_was_configured_anew_takes_turns_of_the_cluster_that_it_is_for() {
    for (whose, is_sound) in [("west", true), ("east", false)] {
        let mut story = Story::new();
        let (one, old) = (wish("web", "new", &["192.0.2.1"]), wish("many", "old", &["192.0.2.1"]));
        story.opens("west", 1);
        story.stores("west", 1, &one);
        story.pass_ms(5_000);
        for number in 0..8 {
            let anew =
                RawRecordSet { ttl_secs: Some(60), ..set(&format!("n{number}"), &["192.0.2.1"]) };
            story.publishes(
                number,
                whose,
                &old,
                &[(Some(set(&format!("n{number}"), &["192.0.2.1"])), Some(anew))],
            );
        }
        if is_sound {
            story.keeps_to(NoStarvation)
        } else {
            story.breaks(NoStarvation, "west got new.example.com A")
        }
    }
}

#[test]
fn i08_what_a_cluster_wants_that_is_not_registered_is_not_waited_for() {
    for (registered_again, is_sound) in [(false, true), (true, false)] {
        let mut story = Story::new();
        let (quiet, noisy) =
            (wish("web", "quiet", &["192.0.2.1"]), wish("many", "noisy", &["192.0.2.1"]));
        story.opens("east", 1);
        story.opens("west", 1);
        story.tell(What::Registered { cluster: cluster("west"), registered: false });
        if registered_again {
            story.tell(What::Registered { cluster: cluster("west"), registered: true });
        }
        story.stores("west", 1, &quiet);
        story.pass_ms(5_000);
        for number in 0..8 {
            let name = format!("n{number}");
            story.publishes(number, "east", &noisy, &[(None, Some(set(&name, &["192.0.2.1"])))]);
        }
        if is_sound {
            story.keeps_to(NoStarvation)
        } else {
            story.breaks(NoStarvation, "west got quiet.example.com A")
        }
    }
}

#[test]
fn i10_a_change_is_journalled_before_it_is_sent_and_as_it_is_sent() {
    let web = wish("web", "www", &["192.0.2.1"]);
    let sets = [(None, Some(set("www", &["192.0.2.1"])))];
    let mut story = Story::new();
    story.opens("east", 1);
    story.stores("east", 1, &web);
    let before = story.clone();
    story.publishes(1, "east", &web, &sets);
    story.keeps_to(Attributable);

    let mut story = before.clone();
    let batch = story.batch(1, "east", &web, &sets);
    let call = story.calls(BROKER, &batch);
    story.applies(Some(call), &batch);
    story.breaks(Attributable, "before it is in the journal");
    story.breaks(Attributable, "which is in no journal");

    let mut story = before;
    let batch = story.batch(1, "east", &web, &sets);
    story.begins(&batch);
    let call = story.calls(BROKER, &batch);
    let other = story.batch(1, "east", &web, &[(None, Some(set("www", &["192.0.2.2"])))]);
    story.applies(Some(call), &other);
    story.breaks(Attributable, "something else");
}

#[test]
fn i10_the_journal_tells_what_became_of_a_batch() {
    let web = wish("web", "www", &["192.0.2.1"]);
    let mut story = Story::new();
    story.opens("east", 1);
    story.stores("east", 1, &web);
    let batch = story.batch(1, "east", &web, &[(None, Some(set("www", &["192.0.2.1"])))]);
    story.begins(&batch);
    let call = story.calls(BROKER, &batch);
    let lost = BatchOutcome::NotApplied { reason: "read back".to_owned() };
    let sent = story.clone();

    story.finishes(&batch, lost.clone());
    story.applies(Some(call), &batch);
    story.keeps_to(Attributable);

    let mut story = sent.clone();
    story.applies(Some(call), &batch);
    let mut overwritten = story.clone();
    story.finishes(&batch, lost.clone());
    story.breaks(Attributable, "after AWS had applied it");

    // A record set that another writer wrote over cannot be read back.
    overwritten
        .others_write(Some(&set("www", &["192.0.2.1"])), Some(&set("www", &["203.0.113.1"])));
    overwritten.finishes(&batch, lost);
    overwritten.keeps_to(Attributable);

    let mut story = sent;
    story.finishes(&batch, BatchOutcome::Applied { change_id: "C1".to_owned(), request_id: None });
    story.breaks(Attributable, "AWS never applied it");
}

#[test]
fn i10_what_was_found_done_was_done_by_whomever() {
    let web = wish("web", "www", &["192.0.2.1"]);
    let (old, new) = (set("www", &["192.0.2.1"]), set("www", &["192.0.2.2"]));
    let mut story = Story::new();
    story.opens("east", 1);
    story.stores("east", 1, &web);
    story.publishes(1, "east", &web, &[(None, Some(old.clone()))]);
    for (step, done_by_others) in
        [((Some(old.clone()), Some(new.clone())), Some(&new)), ((Some(old.clone()), None), None)]
    {
        let before = story.clone();
        let batch = before.batch(2, "east", &web, std::slice::from_ref(&step));
        let sent = |mut story: Story| {
            story.begins(&batch);
            let call = story.calls(BROKER, &batch);
            story.ends(call, "timed out");
            (story, call)
        };
        let (mut story, _) = sent(before.clone());
        story.finishes(&batch, BatchOutcome::FoundDone);
        story.breaks(Attributable, "found done, and nothing of it was");

        let (mut story, call) = sent(before.clone());
        story.applies(Some(call), &batch);
        story.finishes(&batch, BatchOutcome::FoundDone);
        story.keeps_to(Attributable);

        // Before it was journalled, while no reader looked; or after.
        let mut early = before.clone();
        early.others_write(Some(&old), done_by_others);
        let (early, _) = sent(early);
        let (mut late, _) = sent(before);
        late.others_write(Some(&old), done_by_others);
        for mut story in [early, late] {
            story.finishes(&batch, BatchOutcome::FoundDone);
            story.keeps_to(Attributable);
        }
    }
}

#[test]
fn i10_what_somebody_put_back_looks_as_if_it_had_never_been_taken_away() {
    let web = wish("web", "www", &["192.0.2.1"]);
    let [www, api] = ["www", "api"].map(|name| set(name, &["192.0.2.1"]));
    let mut story = Story::new();
    story.opens("east", 1);
    story.stores("east", 1, &web);
    story.publishes(1, "east", &web, &[(None, Some(www.clone()))]);
    let batch = story.batch(2, "east", &web, &[(Some(www.clone()), None), (None, Some(api))]);
    story.begins(&batch);
    let call = story.calls(BROKER, &batch);
    story.applies(Some(call), &batch);
    for (put_back, can_be_known) in [(set("www", &["192.0.2.2"]), true), (www, false)] {
        let mut story = story.clone();
        story.others_write(None, Some(&put_back));
        story.finishes(&batch, BatchOutcome::not_found());
        if can_be_known {
            story.breaks(Attributable, "after AWS had applied it")
        } else {
            story.keeps_to(Attributable)
        }
    }
}

#[test]
fn i10_a_change_is_for_endpoints_that_the_cluster_had() {
    let mut story = Story::new();
    let web = wish("web", "www", &["192.0.2.1"]);
    story.publishes(1, "east", &web, &[(None, Some(set("www", &["192.0.2.1"])))]);
    story.breaks(Attributable, "which east never had");
}

#[test]
fn i12_a_call_starts_inside_the_callers_lease() {
    let mut story = Story::new();
    story.reads(BROKER);
    story.keeps_to(OneWriter);
    story.reads(SECOND);
    story.breaks(OneWriter, "broker 1.0 starts call 2");
}

#[test]
fn i12_a_lease_that_ran_out_or_was_given_back_allows_no_call() {
    let mut story = Story::new();
    story.pass_ms(3_600_001);
    story.reads(BROKER);
    story.breaks(OneWriter, "broker 0.0 starts call 1");

    let mut story = Story::new();
    story.lease(BROKER, 1, LeaseChange::Renewed { until: Timestamp(9_000_000) });
    story.pass_ms(3_600_001);
    story.reads(BROKER);
    story.keeps_to(OneWriter);
    story.lease(BROKER, 1, LeaseChange::GivenBack);
    story.reads(BROKER);
    story.breaks(OneWriter, "given back");
}

#[test]
fn i12_no_lease_is_given_while_another_lasts() {
    let mut story = Story::new();
    story.lease(SECOND, 2, LeaseChange::Taken { until: Timestamp(9_000_000) });
    story.breaks(OneWriter, "is given the lease 2");

    let mut story = Story::new();
    story.lease(BROKER, 1, LeaseChange::GivenBack);
    story.lease(SECOND, 2, LeaseChange::Taken { until: Timestamp(9_000_000) });
    story.keeps_to(OneWriter);
}

#[test]
fn i12_a_lease_that_never_runs_out_passes_to_whoever_starts_and_binds_the_others() {
    let mut story = Story::new();
    for (replica, epoch) in [(BROKER, 2), (SECOND, 3)] {
        story.pass_ms(3_600_000);
        story.lease(replica, epoch, LeaseChange::Taken { until: Timestamp(i64::MAX) });
    }
    // It cannot know before its next write is fenced.
    story.reads(BROKER);
    story.keeps_to(OneWriter);
    story.tell(What::Fault {
        kind: "store.fenced",
        text: format!("{BROKER}: the lease of {} has passed on", account()),
    });
    // Nor before the store's answer has arrived.
    story.pass_ms(999);
    story.reads(BROKER);
    story.keeps_to(OneWriter);
    story.pass_ms(1);
    story.reads(BROKER);
    story.breaks(OneWriter, "broker 0.0 starts call 3");
}

#[test]
fn i12_a_write_asserts_the_newest_lease() {
    let mut story = Story::new();
    let horizon = |lease_epoch| What::Committed {
        replica: Some(BROKER),
        lease_epoch,
        commit: Commit::SpendHorizon { account: account(), until: Timestamp(0) },
    };
    story.tell(horizon(Some(1)));
    story.keeps_to(OneWriter);
    story.lease(BROKER, 1, LeaseChange::GivenBack);
    story.lease(SECOND, 2, LeaseChange::Taken { until: Timestamp(9_000_000) });
    story.tell(horizon(Some(1)));
    story.breaks(OneWriter, "under the lease 1, and the newest is 2");
    story.tell(horizon(None));
    story.breaks(OneWriter, "under no lease");
}
