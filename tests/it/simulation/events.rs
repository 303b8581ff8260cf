//! The oracle's checks of further events: tags (3), zones that come and go (2), lasting failures (5), silent connections (11), and the
//! clock of the database (12).

use zonefold::core::ids::ZoneId;
use zonefold::core::invariants::Invariant::*;
use zonefold::core::planning::policy::ZonePolicy;
use zonefold::core::time::Timestamp;

use super::history::*;
use super::story::{BROKER, Story, account, agent, dns, set, wish, zone};

/// A rule asks for the tag while the zone does not have it, and the tags are read so often.
fn asks_for_tags(times_read: u64, tagged: bool) -> Story {
    let mut story = Story::new();
    story.tell(What::Told(Told::Tagged { zone: zone(), tagged }));
    story.tell(What::Told(Told::TagRule { zone: zone(), policy: Some(ZonePolicy::Observe) }));
    for number in 0..times_read {
        story.reads(BROKER);
        let mut calls = story.history.log.iter_mut().rev().map(|event| &mut event.what);
        if let Some(What::CallStarted(call)) =
            calls.find(|what| matches!(what, What::CallStarted(_)))
        {
            call.action = "ListTagsForResources";
            call.number = 100 + number;
        }
        story.arrives(100 + number);
        story.ends(100 + number, "status 200");
    }
    story.pass_ms(15_000);
    let web = wish("web", "www", &["192.0.2.1"]);
    let batch = story.batch(1, "east", &web, &[(None, Some(set("www", &["192.0.2.1"])))]);
    story.begins(&batch);
    story
}

#[test]
fn i03_nothing_is_written_while_nobody_has_read_the_tag_or_it_says_observe() {
    asks_for_tags(0, false).breaks(ForeignIsUntouched, "whose tags nobody has read");
    asks_for_tags(2, true).breaks(ForeignIsUntouched, "says that it is only observed");
    asks_for_tags(1, false).keeps_to(ForeignIsUntouched);
    let mut story = asks_for_tags(0, false);
    story.history.log.retain(|event| !matches!(event.what, What::Told(Told::TagRule { .. })));
    story.keeps_to(ForeignIsUntouched);
}

fn near(id: &str) -> ZoneId {
    ZoneId::parse(id).unwrap()
}

/// An endpoint is published in one zone, perhaps that one is deleted, perhaps it is written again, and then it is in another.
fn moves(from: ZoneId, deleted: bool, edited: bool, to: ZoneId) -> Story {
    let mut story = Story::new();
    story.history.world.shifting = vec![dns("near.example.com")];
    for id in ["ZNEAR1", "ZNEAR2"] {
        let apex = dns("near.example.com");
        story.tell(What::Told(Told::ZoneMade { zone: near(id), account: account(), apex }));
    }
    let web = wish("web", "a.near", &["192.0.2.1"]);
    story.stores("east", 1, &web);
    let published = |zone: &ZoneId, number| {
        let sets = [(None, Some(set("a.near", &["192.0.2.1"])))];
        let mut batch = Story::new().batch(number, "east", &web, &sets);
        batch.zone = zone.clone();
        batch
    };
    story.begins(&published(&from, 1));
    if deleted {
        story.tell(What::Told(Told::ZoneDeleted { zone: from }));
    }
    if edited {
        story.stores("east", 1, &web);
    }
    story.begins(&published(&to, 2));
    story
}

#[test]
fn i02_what_is_placed_stays_whatever_zones_come_and_go() {
    let first = || near("ZNEAR1");
    moves(zone(), false, true, first()).breaks(SilenceNeverDeletes, "was published in the zone Z1");
    moves(first(), true, true, zone()).breaks(SilenceNeverDeletes, "and goes to Z1");
    moves(first(), true, false, near("ZNEAR2")).breaks(SilenceNeverDeletes, "goes to ZNEAR2");
    moves(first(), true, true, near("ZNEAR2")).keeps_to(SilenceNeverDeletes);
    moves(zone(), false, true, zone()).keeps_to(SilenceNeverDeletes);
}

/// A zone fails and answers that to `answered` changes, and after a minute `sent` are sent to it.
fn fails(answered: u128, sent: u128) -> Story {
    let mut story = Story::new();
    story.tell(What::Told(Told::Failing { zone: zone(), on: true }));
    let web = wish("web", "www", &["192.0.2.1"]);
    for number in 0..answered + sent {
        if number == answered {
            story.pass_ms(60_000);
        }
        let sets = [(None, Some(set("www", &["192.0.2.1"])))];
        let batch = story.batch(number, "east", &web, &sets);
        let call = story.calls(BROKER, &batch);
        if number < answered {
            story.ends(call, "status 500");
        }
    }
    story
}

#[test]
fn i05_a_zone_whose_changes_fail_is_asked_seldom() {
    fails(9, 6).keeps_to(LimitsHold);
    fails(9, 7).breaks(LimitsHold, "though all of them fail");
    fails(8, 7).keeps_to(LimitsHold);
}

#[test]
fn i11_an_agent_leaves_connections_that_fell_silent() {
    let silent = || {
        let mut story = Story::new();
        story.tell(What::Told(Told::Silent { agent: agent("east") }));
        story
    };
    let mut story = silent();
    story.opens("east", 2);
    story.pass_ms(90_000);
    story.history.end.at = story.now();
    story.keeps_to(Converges);
    let mut story = silent();
    story.pass_ms(90_000);
    story.history.end.at = story.now();
    story.breaks(Converges, "fell silent");
    let mut story = silent();
    story.tell(What::Fault { kind: "net.partition", text: String::new() });
    story.pass_ms(90_000);
    story.history.end.at = story.now();
    story.keeps_to(Converges);
}

#[test]
fn i12_a_lease_goes_by_the_clock_of_the_database() {
    let ahead = |ahead_ms: i64| {
        let mut story = Story::new();
        story.tell(What::Told(Told::StoreClock { ahead_ms }));
        let until = Timestamp(story.now().0 + ahead_ms + 8_000);
        story.lease(BROKER, 1, LeaseChange::Renewed { until });
        story.pass_ms(5_000);
        story.reads(BROKER);
        story
    };
    ahead(-60_000).keeps_to(OneWriter);
    let mut story = ahead(-60_000);
    story.pass_ms(5_000);
    story.reads(BROKER);
    story.breaks(OneWriter, "whose lease is");
}
