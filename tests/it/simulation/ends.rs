//! Idleness (9) and how a run ends (11), with what a poisoned name does to the others (6).

use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::endpoint::Endpoint;
use zonefold::core::endpoint::verdict::{Reason, VerdictState};
use zonefold::core::invariants::Invariant::*;
use zonefold::core::planning::policy::AdoptPolicy;
use zonefold::emulator::{ChangeAction, Origin};
use zonefold::ports::BatchOutcome;

use super::history::*;
use super::story::{BROKER, Story, agent, applied, cluster, dns, set, wish, zone};

const APPLIED: (VerdictState, Reason) = (VerdictState::Accepted, Reason::Accepted);
const HELD: (VerdictState, Reason) = (VerdictState::Waiting, Reason::NameHeld);

/// East has www, west waits for it; both know, and all is quiet for ten minutes.
fn settled() -> (Story, Endpoint, Endpoint) {
    let mut story = Story::new();
    let (web, shop) = (wish("web", "www", &["192.0.2.1"]), wish("shop", "www", &["198.51.100.1"]));
    for name in ["east", "west"] {
        story.starts(name);
        story.opens(name, 1);
        story.syncs(name, true);
    }
    story.wants("east", 1, &web);
    story.wants("west", 1, &shop);
    story.publishes(1, "east", &web, &[(None, Some(set("www", &["192.0.2.1"])))]);
    story.notes(&set("www", &["192.0.2.1"]));
    story.history.end.claims.insert((zone(), dns("www.example.com")), cluster("east"));
    story.keeps("east", 1, &web, APPLIED);
    story.keeps("west", 2, &shop, HELD);
    story.knows("east", &web, APPLIED.0, APPLIED.1, Progress::InSync);
    story.knows("west", &shop, HELD.0, HELD.1, Progress::Pending);
    story.is_quiet_for_ms(600_000);
    (story, web, shop)
}

#[test]
fn i11_a_run_that_settled_is_sound() {
    settled().0.is_sound();
}

#[test]
fn i11_a_record_that_is_missing_or_otherwise_or_unwanted_is_found() {
    let (mut story, ..) = settled();
    story.history.end.zones.get_mut(&zone()).unwrap().clear();
    story.breaks(
        Converges,
        "www.example.com A is not there, and east, who holds the name, wants 192.0.2.1",
    );
    story.breaks(Converges, "is in the book and not in Route 53");

    let (mut story, ..) = settled();
    story.history.end.claims.clear();
    story.history.end.endpoints.retain(|row| row.cluster == cluster("west"));
    story.breaks(Converges, "and west, who holds the name, wants 198.51.100.1");

    let (mut story, ..) = settled();
    story.history.end.claims.clear();
    story.history.end.endpoints.clear();
    story.breaks(Converges, "nobody wants it");
}

#[test]
fn i11_who_came_first_holds_the_name() {
    let (mut story, ..) = settled();
    story.history.end.claims.clear();
    story.keeps_to(Converges);
    for row in &mut story.history.end.endpoints {
        row.arrival = -row.arrival;
    }
    story.breaks(Converges, "and west, who holds the name");
}

#[test]
fn i11_what_objects_of_one_cluster_want_adds_up() {
    let (mut story, ..) = settled();
    let more = wish("more", "www", &["192.0.2.9"]);
    story.keeps("east", 3, &more, APPLIED);
    story.breaks(Converges, "wants 192.0.2.1 192.0.2.9");
}

#[test]
fn i11_a_foreign_record_in_the_way_excuses_a_name() {
    let mut story = Story::new();
    let (web, theirs) = (wish("web", "www", &["192.0.2.1"]), set("www", &["203.0.113.1"]));
    story.others_write(None, Some(&theirs));
    story.opens("east", 1);
    story.stores("east", 1, &web);
    story.keeps("east", 1, &web, (VerdictState::Waiting, Reason::ForeignRecord));
    story.is_quiet_for_ms(1_000);
    story.keeps_to(Converges);
    // Of what is ours at the name, addresses stay as well, until the wanted one can be written; a text would be no substitute.
    let text =
        RawRecordSet { rtype: "TXT".into(), values: vec!["\"ours\"".into()], ..set("www", &[]) };
    let mut beside = story.clone();
    beside.journals(
        None,
        Origin::Request,
        None,
        vec![applied(ChangeAction::Create, None, Some(&text))],
    );
    beside.breaks(Converges, "www.example.com TXT is ours (TTL 300), and nobody wants it");
    let ipv6 = RawRecordSet { rtype: "AAAA".into(), ..set("www", &["2001:db8::1"]) };
    let mut beside = story.clone();
    beside.journals(
        None,
        Origin::Request,
        None,
        vec![applied(ChangeAction::Create, None, Some(&ipv6))],
    );
    beside.notes(&ipv6);
    beside.keeps_to(Converges);
    beside.others_write(Some(&theirs), None);
    beside.breaks(Converges, "www.example.com A is not there");
    story.history.world.zones[0].adopt = AdoptPolicy::Any;
    story.breaks(Converges, "www.example.com A is 203.0.113.1");
    // A CNAME is never adopted for addresses.
    story.history.end.zones.get_mut(&zone()).unwrap()[0].rtype = "CNAME".into();
    story.keeps_to(Converges);
}

#[test]
fn i11_what_somebody_made_of_ours_before_anybody_looked_may_look_foreign() {
    let (web, ours, theirs) = (
        wish("web", "www", &["192.0.2.1"]),
        set("www", &["192.0.2.1"]),
        set("www", &["203.0.113.1"]),
    );
    for (is_lost, is_made_anew) in [(false, false), (true, false), (false, true)] {
        let mut story = Story::new();
        story.opens("east", 1);
        story.stores("east", 1, &web);
        let batch = story.batch(1, "east", &web, &[(None, Some(ours.clone()))]);
        story.begins(&batch);
        let call = story.calls(BROKER, &batch);
        story.applies(Some(call), &batch);
        let receipt = BatchOutcome::Applied { change_id: "C1".into(), request_id: None };
        story.finishes(&batch, if is_lost { BatchOutcome::not_found() } else { receipt });
        if is_made_anew {
            story.others_write(Some(&ours), None);
            story.others_write(None, Some(&theirs));
        } else {
            story.others_write(Some(&ours), Some(&theirs));
        }
        story.keeps("east", 1, &web, (VerdictState::Waiting, Reason::ForeignRecord));
        story.is_quiet_for_ms(1_000);
        if is_lost || is_made_anew {
            story.keeps_to(Converges);
        } else {
            story.breaks(Converges, "www.example.com A is 203.0.113.1");
        }
    }
}

/// East wanted www, had it, and came to write it so that it cannot be read; its other object wants a CNAME there.
fn rejected(once_readable: bool) -> Story {
    let mut story = Story::new();
    let (web, broken) =
        (wish("web", "www", &["192.0.2.1"]), wish("web", "www", &["not-an-address"]));
    let mut alias = wish("alias", "www", &["elsewhere.example.net"]);
    alias.key.record_type = "CNAME".into();
    story.opens("east", 1);
    if once_readable {
        story.stores("east", 1, &web);
    }
    story.publishes(1, "east", &web, &[(None, Some(set("www", &["192.0.2.1"])))]);
    story.notes(&set("www", &["192.0.2.1"]));
    story.stores("east", 1, &broken);
    story.stores("east", 1, &alias);
    story.history.end.claims.insert((zone(), dns("www.example.com")), cluster("east"));
    story.keeps("east", 1, &broken, (VerdictState::Rejected, Reason::InvalidTarget));
    story.keeps("east", 2, &alias, (VerdictState::Waiting, Reason::ZonePolicy));
    story.is_quiet_for_ms(1_000);
    story
}

#[test]
fn i11_what_a_rejected_endpoint_made_once_may_stay_and_be_in_the_way() {
    rejected(true).keeps_to(Converges);
    rejected(false).breaks(Converges, "www.example.com CNAME is not there, and east");
}

#[test]
fn i11_a_name_is_not_held_by_an_endpoint_that_could_never_be_read() {
    let shop = wish("shop", "www", &["198.51.100.1"]);
    for (once_readable, holder) in
        [(true, "nobody wants"), (false, "and west, who holds the name, wants 198.51.100.1")]
    {
        let mut story = rejected(once_readable);
        story.history.end.endpoints.retain(|row| row.endpoint.key.record_type.as_str() == "A");
        story.keeps("west", 3, &shop, HELD);
        let text = RawRecordSet {
            rtype: "TXT".into(),
            values: vec!["\"ours\"".into()],
            ..set("www", &[])
        };
        story.journals(
            None,
            Origin::Request,
            None,
            vec![applied(ChangeAction::Create, None, Some(&text))],
        );
        story.breaks(Converges, holder);
    }
}

#[test]
fn i11_everybody_has_the_last_word() {
    let (mut story, ..) = settled();
    story.history.end.agents.get_mut(&agent("east")).unwrap().statuses[0].progress =
        Progress::Pending;
    story.breaks(Converges, "agent east was told last that www.example.com A");

    let (mut story, ..) = settled();
    story.history.end.agents.get_mut(&agent("west")).unwrap().statuses.clear();
    story.breaks(Converges, "agent west was told nothing");

    let (mut story, ..) = settled();
    story.history.end.endpoints[1].verdict = None;
    story.breaks(Converges, "should be Waiting(NameHeld) and is None");
}

#[test]
fn i11_the_chain_from_the_objects_to_the_store_has_no_gap() {
    let (mut story, _, shop) = settled();
    story
        .history
        .log
        .retain(|event| !matches!(&event.what, What::Wanted { endpoint, .. } if *endpoint == shop));
    story.breaks(Converges, "agent west does not hold");

    let (mut story, web, _) = settled();
    story.history.end.endpoints.retain(|row| row.endpoint != web);
    story.breaks(Converges, "the store does not hold");

    let (mut story, ..) = settled();
    story.history.end.agents.get_mut(&agent("west")).unwrap().live = false;
    story.breaks(Converges, "agent west has no live session");

    let (mut story, ..) = settled();
    story.history.end.batches[0].outcome = None;
    story.breaks(Converges, "nobody knows what became of batch");
}

#[test]
fn i11_a_run_that_never_came_to_rest_is_found_and_one_that_was_not_healed_is_not_judged() {
    let (mut story, ..) = settled();
    story.history.log.retain(|event| !matches!(event.what, What::Quiet));
    story.breaks(Converges, "did not come to rest");
    story.history.log.retain(|event| !matches!(event.what, What::Healed));
    story.history.end.zones.clear();
    story.keeps_to(Converges);
}

#[test]
fn i06_a_poisoned_name_is_excused_and_its_neighbours_are_not() {
    let (mut story, ..) = settled();
    story.history.end.zones.get_mut(&zone()).unwrap().clear();
    story.history.end.poisoned.insert(dns("www.example.com"));
    story.keeps_to(PoisonIsAlone);
    story.history.end.poisoned = [dns("other.example.com")].into();
    story.breaks(
        PoisonIsAlone,
        "beside a poisoned name www.example.com did not get where it belongs",
    );
}

#[test]
fn i09_what_was_refused_is_tried_again_when_its_wait_is_over_and_not_before() {
    for (waited_ms, is_sound) in [(60_000, true), (10_000, false)] {
        let mut story = Story::new();
        let web = wish("web", "www", &["192.0.2.1"]);
        let steps = [(None, Some(set("www", &["192.0.2.1"])))];
        let refused = BatchOutcome::Refused {
            code: "InvalidChangeBatch".to_owned(),
            message: "no".to_owned(),
            request_id: None,
        };
        for number in 1..=2 {
            let batch = story.batch(number, "east", &web, &steps);
            story.begins(&batch);
            let call = story.calls(BROKER, &batch);
            story.ends(call, "status 400");
            story.finishes(&batch, refused.clone());
            story.is_quiet_for_ms(waited_ms);
        }
        story.history.end.at = story.now();
        if is_sound {
            story.keeps_to(IdleIsFree)
        } else {
            story.breaks(IdleIsFree, "a batch was journalled")
        }
    }
}

#[test]
fn i09_the_steady_state_reads_to_sweep_and_writes_nothing() {
    let (mut story, web, _) = settled();
    for _ in 0..10 {
        story.pass_ms(60_000);
        story.reads(BROKER);
    }
    story.history.end.at = story.now();
    story.keeps_to(IdleIsFree);
    for _ in 0..200 {
        story.reads(BROKER);
    }
    story.breaks(IdleIsFree, "reads of the account");
    story.publishes(2, "east", &web, &[(None, Some(set("api", &["192.0.2.1"])))]);
    story.breaks(IdleIsFree, "a batch was journalled");
    story.breaks(IdleIsFree, "sent 1 changes");
    story.breaks(IdleIsFree, "a batch of 1 changes was applied");
    story.stores("east", 1, &web);
    story.breaks(IdleIsFree, "were written to the store");
}
