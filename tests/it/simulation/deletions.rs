//! Durability (1), silence (2), foreign records (3), compare-and-swap (4) and hand-overs (7).

use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::endpoint::Endpoint;
use zonefold::core::invariants::Invariant::*;
use zonefold::core::planning::policy::{AdoptPolicy, DriftPolicy};
use zonefold::emulator::{ChangeAction, Origin};

use super::history::*;
use super::story::{BROKER, Story, agent, applied, set, wish};

/// East wants www and has it: two addresses.
fn published() -> (Story, Endpoint) {
    let mut story = Story::new();
    let web = wish("web", "www", &["192.0.2.1", "192.0.2.2"]);
    story.starts("east");
    story.opens("east", 1);
    story.syncs("east", true);
    story.wants("east", 1, &web);
    story.publishes(1, "east", &web, &[(None, Some(set("www", &["192.0.2.1", "192.0.2.2"])))]);
    (story, web)
}

/// An IPv6 address that another object wants at the same name, and its record set.
fn six() -> (Endpoint, RawRecordSet) {
    let (mut six, mut there) = (wish("six", "www", &["2001:db8::1"]), set("www", &["2001:db8::1"]));
    six.key.record_type = "AAAA".into();
    there.rtype = "AAAA".into();
    (six, there)
}

/// A weighted set that another object wants at the same name.
fn weighted(set_identifier: &str) -> Endpoint {
    let mut weighted = wish(set_identifier, "www", &["192.0.2.8"]);
    weighted.key.set_identifier = set_identifier.into();
    weighted.properties.insert("aws/weight".into(), "10".into());
    weighted
}

trait SoFar {
    fn is_durable_so_far(&self);
}

impl SoFar for Story {
    /// Nothing that was acked is lost, the end left aside: the story goes on.
    #[track_caller]
    fn is_durable_so_far(&self) {
        let violations = self.judged(AckedIsDurable);
        assert!(
            violations.iter().all(|what| what.contains("is not in the store")),
            "{violations:#?}"
        );
    }
}

fn put(endpoint: &Endpoint) -> Op {
    Op::Put { endpoint: endpoint.clone(), version: endpoint.version() }
}

#[test]
fn i01_an_ack_for_what_is_stored_is_sound_and_one_before_the_commit_is_not() {
    let web = wish("web", "www", &["192.0.2.1"]);
    let mut story = Story::new();
    story.opens("east", 1);
    story.sends("east", 1, 1, put(&web));
    let before_the_commit = story.clone();
    story.stores("east", 1, &web);
    story.acks("east", 1, 1);
    story.is_durable_so_far();

    let mut story = before_the_commit;
    story.acks("east", 1, 1);
    story.breaks(AckedIsDurable, "is not stored");
}

#[test]
fn i01_a_later_operation_or_a_newer_session_supersedes_what_was_acked() {
    let (one, two) = (wish("web", "www", &["192.0.2.1"]), wish("web", "www", &["192.0.2.2"]));
    let mut story = Story::new();
    story.opens("east", 1);
    story.sends("east", 1, 1, put(&one));
    story.sends("east", 1, 2, put(&two));
    story.stores("east", 1, &two);
    story.acks("east", 1, 1);
    story.is_durable_so_far();
    story.opens("east", 2);
    story.removes("east", 2, &two);
    story.acks("east", 1, 2);
    story.is_durable_so_far();
}

#[test]
fn i01_an_acked_deletion_is_carried_out() {
    let web = wish("web", "www", &["192.0.2.1"]);
    let mut story = Story::new();
    story.opens("east", 1);
    story.stores("east", 1, &web);
    story.sends("east", 1, 1, Op::Del { key: web.key.clone(), version_seen: Some(web.version()) });
    story.acks("east", 1, 1);
    story.breaks(AckedIsDurable, "is not removed");
}

#[test]
fn i01_a_fenced_session_commits_nothing() {
    let web = wish("web", "www", &["192.0.2.1"]);
    let mut story = Story::new();
    story.opens("east", 1);
    story.opens("east", 2);
    story.stores("east", 1, &web);
    story.breaks(AckedIsDurable, "committed after session 2");
}

#[test]
fn i01_what_was_committed_is_there_at_the_end() {
    let web = wish("web", "www", &["192.0.2.1"]);
    let mut story = Story::new();
    story.opens("east", 1);
    story.stores("east", 1, &web);
    story.breaks(AckedIsDurable, "is not in the store");
}

#[test]
fn i02_an_observed_deletion_explains_a_deletion() {
    let (mut story, web) = published();
    story.sees_gone("east", &web);
    story.removes("east", 1, &web);
    story.publishes(2, "east", &web, &[(Some(set("www", &["192.0.2.1", "192.0.2.2"])), None)]);
    story.is_sound();
}

#[test]
fn i02_a_change_of_content_explains_that_a_value_goes() {
    let (mut story, _) = published();
    let less = wish("web", "www", &["192.0.2.2"]);
    story.wants("east", 1, &less);
    let swap = (Some(set("www", &["192.0.2.1", "192.0.2.2"])), Some(set("www", &["192.0.2.2"])));
    story.publishes(2, "east", &less, &[swap]);
    story.keeps_to(SilenceNeverDeletes);
}

#[test]
fn i02_absence_explains_a_deletion_only_once_the_source_is_synced() {
    for synced in [false, true] {
        let (mut story, web) = published();
        story.tell(What::Crashed(Part::Agent(agent("east"))));
        story.loses("east", &web);
        story.starts("east");
        story.syncs("east", synced);
        story.removes("east", 1, &web);
        story.publishes(2, "east", &web, &[(Some(set("www", &["192.0.2.1", "192.0.2.2"])), None)]);
        if synced {
            story.keeps_to(SilenceNeverDeletes);
        } else {
            story.breaks(SilenceNeverDeletes, "no agent saw that it is no longer wanted");
        }
    }
}

#[test]
fn i02_a_deletion_that_was_observed_explains_also_what_was_made_anew_before_the_broker_heard_of_it()
{
    for is_seen in [true, false] {
        let (mut story, web) = published();
        story.syncs("east", false);
        if is_seen {
            story.sees_gone("east", &web);
        } else {
            story.loses("east", &web);
        }
        let ours = set("www", &["192.0.2.1", "192.0.2.2"]);
        story.others_write(Some(&ours), None);
        story.publishes(2, "east", &web, &[(None, Some(ours.clone()))]);
        story.removes("east", 1, &web);
        story.publishes(3, "east", &web, &[(Some(ours), None)]);
        if is_seen {
            story.keeps_to(SilenceNeverDeletes)
        } else {
            story.breaks(SilenceNeverDeletes, "lost 192.0.2.1")
        }
    }
}

#[test]
fn i02_an_agent_that_is_wrong_about_its_cluster_explains_nothing() {
    let gone = [(Some(set("www", &["192.0.2.1", "192.0.2.2"])), None)];
    let (mut story, web) = published();
    story.says_gone("east", &web);
    story.removes("east", 1, &web);
    story.publishes(2, "east", &web, &gone);
    story.breaks(SilenceNeverDeletes, "no agent saw that it is no longer wanted");

    let (mut story, web) = published();
    story.tell(What::Crashed(Part::Agent(agent("east"))));
    story.starts("east");
    story.syncs("east", true);
    story.removes("east", 1, &web);
    story.publishes(2, "east", &web, &gone);
    story.breaks(SilenceNeverDeletes, "no agent saw that it is no longer wanted");
}

#[test]
fn i02_what_one_object_gives_up_another_may_still_want() {
    let (mut story, web) = published();
    let api = wish("api", "www", &["192.0.2.2"]);
    story.wants("east", 1, &api);
    story.sees_gone("east", &web);
    story.removes("east", 1, &web);
    story.pass_ms(60_000);
    // 192.0.2.2 goes too, and the second object wants it all the time.
    let (both, one) = (set("www", &["192.0.2.1", "192.0.2.2"]), set("www", &["192.0.2.2"]));
    let mut sound = story.clone();
    sound.publishes(2, "east", &api, &[(Some(both.clone()), Some(one))]);
    sound.keeps_to(SilenceNeverDeletes);
    story.publishes(2, "east", &web, &[(Some(both), None)]);
    story.breaks(HandoverWithoutGap, "east: www.example.com A from dnsendpoint/default/api");
    story.breaks(SilenceNeverDeletes, "lost 192.0.2.2");
}

#[test]
fn i02_who_gave_way_to_what_is_gone_takes_the_name_over_when_the_broker_hears_of_it() {
    for is_seen in [true, false] {
        let (mut story, web) = published();
        let mut shop = wish("shop", "www", &["shop.example.net"]);
        shop.key.record_type = "CNAME".into();
        let mut answer = set("www", &["shop.example.net"]);
        answer.rtype = "CNAME".into();
        let api = wish("api", "www", &["192.0.2.3"]);
        story.wants("east", 1, &shop);
        story.wants("east", 1, &api);
        let all = set("www", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        story.publishes(
            2,
            "east",
            &api,
            &[(Some(set("www", &["192.0.2.1", "192.0.2.2"])), Some(all.clone()))],
        );
        if is_seen {
            story.sees_gone("east", &web);
        }
        // The agent has no stream, and meanwhile what it thinks gone is made anew.
        story.pass_ms(60_000);
        story.others_write(Some(&all), None);
        story.publishes(3, "east", &web, &[(None, Some(all.clone()))]);
        story.removes("east", 1, &web);
        story.publishes(4, "east", &shop, &[(Some(all), None), (None, Some(answer))]);
        if is_seen {
            story.keeps_to(SilenceNeverDeletes);
        } else {
            story.breaks(SilenceNeverDeletes, "lost 192.0.2.1");
        }
    }
}

#[test]
fn i02_what_a_cluster_wants_while_it_is_not_registered_is_published_for_nobody() {
    for registered_again in [false, true] {
        let (mut story, web) = published();
        let registered =
            |registered| What::Registered { cluster: super::story::cluster("east"), registered };
        story.tell(registered(false));
        story.wants("east", 1, &wish("api", "www", &["192.0.2.2"]));
        story.pass_ms(60_000);
        if registered_again {
            story.tell(registered(true));
            story.pass_ms(60_000);
            story.tell(registered(false));
        }
        story.sees_gone("east", &web);
        story.removes("east", 1, &web);
        story.publishes(2, "east", &web, &[(Some(set("www", &["192.0.2.1", "192.0.2.2"])), None)]);
        if registered_again {
            story.breaks(SilenceNeverDeletes, "lost 192.0.2.2");
        } else {
            story.keeps_to(SilenceNeverDeletes);
        }
    }
}

#[test]
fn i03_what_others_made_is_left_alone_unless_the_zone_adopts() {
    let (theirs, ours) = (set("www", &["203.0.113.1"]), set("www", &["192.0.2.1"]));
    for (adopt, is_sound) in [(AdoptPolicy::Never, false), (AdoptPolicy::Any, true)] {
        let mut story = Story::new();
        story.history.world.zones[0].adopt = adopt;
        let web = wish("web", "www", &["192.0.2.1"]);
        story.others_write(None, Some(&theirs));
        story.opens("east", 1);
        story.stores("east", 1, &web);
        story.publishes(1, "east", &web, &[(Some(theirs.clone()), Some(ours.clone()))]);
        if is_sound {
            story.keeps_to(ForeignIsUntouched)
        } else {
            story.breaks(ForeignIsUntouched, "made by somebody else")
        }
    }
}

#[test]
fn i03_ours_is_put_back_when_others_changed_it_unless_the_policy_is_to_alert() {
    for (drift, is_sound) in [(DriftPolicy::Repair, true), (DriftPolicy::Alert, false)] {
        let (mut story, web) = published();
        story.history.world.zones[0].drift = drift;
        let (ours, theirs) =
            (set("www", &["192.0.2.1", "192.0.2.2"]), set("www", &["203.0.113.1"]));
        story.others_write(Some(&ours), Some(&theirs));
        story.publishes(2, "east", &web, &[(Some(theirs), Some(ours))]);
        if is_sound {
            story.keeps_to(ForeignIsUntouched)
        } else {
            story.breaks(ForeignIsUntouched, "changed by somebody else")
        }
    }
}

#[test]
fn i03_what_we_gave_up_and_others_made_anew_is_theirs() {
    let (mut story, web) = published();
    let (ours, theirs) = (set("www", &["192.0.2.1", "192.0.2.2"]), set("www", &["203.0.113.1"]));
    story.publishes(2, "east", &web, &[(Some(ours), None)]);
    story.others_write(None, Some(&theirs));
    story.publishes(3, "east", &web, &[(Some(theirs), None)]);
    story.breaks(ForeignIsUntouched, "made by somebody else");
}

#[test]
fn i04_an_upsert_of_ours_is_found_and_one_of_others_is_theirs() {
    let (mut story, _) = published();
    let (one, two) = (set("api", &["192.0.2.1"]), set("api", &["192.0.2.2"]));
    story.others_write(None, Some(&one));
    story.others_write(Some(&one), Some(&two));
    story.keeps_to(CompareAndSwap);
    let upsert = applied(ChangeAction::Upsert, Some(&two), Some(&one));
    story.journals(None, Origin::Request, None, vec![upsert]);
    story.breaks(CompareAndSwap, "is an UPSERT");
}

#[test]
fn i07_a_name_that_passes_on_in_one_batch_is_sound_and_one_that_goes_first_is_not() {
    for in_one_batch in [true, false] {
        let (mut story, web) = published();
        let heir = wish("shop", "www", &["198.51.100.1"]);
        story.starts("west");
        story.opens("west", 1);
        story.syncs("west", true);
        story.wants("west", 1, &heir);
        story.pass_ms(60_000);
        story.sees_gone("east", &web);
        story.removes("east", 1, &web);
        let (old, new) = (set("www", &["192.0.2.1", "192.0.2.2"]), set("www", &["198.51.100.1"]));
        if in_one_batch {
            story.publishes(2, "west", &heir, &[(Some(old), Some(new))]);
            story.keeps_to(HandoverWithoutGap);
        } else {
            story.publishes(2, "east", &web, &[(Some(old), None)]);
            story.publishes(3, "west", &heir, &[(None, Some(new))]);
            story.breaks(HandoverWithoutGap, "west: www.example.com A");
        }
        story.keeps_to(SilenceNeverDeletes);
    }
}

#[test]
fn i07_an_heir_that_nobody_could_know_of_yet_is_no_gap() {
    let (mut story, web) = published();
    let heir = wish("shop", "www", &["198.51.100.1"]);
    story.sees_gone("east", &web);
    story.removes("east", 1, &web);
    let batch =
        story.batch(2, "east", &web, &[(Some(set("www", &["192.0.2.1", "192.0.2.2"])), None)]);
    story.wants("west", 1, &heir);
    story.begins(&batch);
    let call = story.calls(BROKER, &batch);
    story.applies(Some(call), &batch);
    story.keeps_to(HandoverWithoutGap);
}

#[test]
fn i07_what_somebody_else_took_away_before_is_no_gap_of_ours() {
    for taken_away in [true, false] {
        let (mut story, web) = published();
        let (six, there) = six();
        story.wants("east", 1, &six);
        if taken_away {
            story.publishes(2, "east", &six, &[(None, Some(there.clone()))]);
            story.others_write(Some(&there), None);
        }
        story.pass_ms(60_000);
        story.sees_gone("east", &web);
        story.removes("east", 1, &web);
        story.publishes(3, "east", &web, &[(Some(set("www", &["192.0.2.1", "192.0.2.2"])), None)]);
        if taken_away {
            story.keeps_to(HandoverWithoutGap);
        } else {
            story.breaks(
                HandoverWithoutGap,
                "east: www.example.com AAAA from dnsendpoint/default/six",
            );
        }
    }
}

#[test]
fn i07_what_waits_for_a_record_of_ours_that_somebody_else_took_away_is_no_gap() {
    for taken_away in [true, false] {
        let (mut story, web) = published();
        story.wants("east", 1, &weighted("s0"));
        let (six, there) = six();
        story.wants("east", 1, &six);
        story.publishes(2, "east", &six, &[(None, Some(there.clone()))]);
        let simple = set("www", &["192.0.2.1", "192.0.2.2"]);
        if taken_away {
            story.others_write(Some(&simple), None);
        } else {
            story.sees_gone("east", &web);
            story.removes("east", 1, &web);
            story.publishes(3, "east", &web, &[(Some(simple), None)]);
        }
        story.pass_ms(60_000);
        story.sees_gone("east", &six);
        story.removes("east", 1, &six);
        story.publishes(4, "east", &six, &[(Some(there), None)]);
        if taken_away {
            story.keeps_to(HandoverWithoutGap);
        } else {
            story.breaks(
                HandoverWithoutGap,
                "east: www.example.com A from dnsendpoint/default/s0 [s0]",
            );
        }
    }
}

#[test]
fn i07_a_weighted_set_does_not_wait_for_another_one_that_somebody_else_took_away() {
    let mut story = Story::new();
    story.opens("east", 1);
    let there = |set_identifier: &str| RawRecordSet {
        set_identifier: Some(set_identifier.into()),
        weight: Some(10),
        ..set("www", &["192.0.2.8"])
    };
    for (number, set_identifier) in [(1, "s0"), (2, "s1")] {
        let wanted = weighted(set_identifier);
        story.wants("east", 1, &wanted);
        story.publishes(number, "east", &wanted, &[(None, Some(there(set_identifier)))]);
    }
    story.others_write(Some(&there("s1")), None);
    story.pass_ms(60_000);
    story.publishes(3, "east", &weighted("s0"), &[(Some(there("s0")), None)]);
    story.breaks(HandoverWithoutGap, "east: www.example.com A from dnsendpoint/default/s0 [s0]");
}

#[test]
fn i07_what_waits_for_a_record_of_others_that_is_gone_is_no_gap_until_we_have_looked() {
    for has_looked in [false, true] {
        let mut story = Story::new();
        let theirs = set("www", &["203.0.113.1"]);
        story.others_write(None, Some(&theirs));
        story.opens("east", 1);
        story.wants("east", 1, &wish("web", "www", &["192.0.2.1"]));
        let (six, there) = six();
        story.wants("east", 1, &six);
        story.publishes(1, "east", &six, &[(None, Some(there.clone()))]);
        story.pass_ms(60_000);
        story.others_write(Some(&theirs), None);
        if has_looked {
            story.pass_ms(1_000);
            story.reads(BROKER);
        }
        story.sees_gone("east", &six);
        story.removes("east", 1, &six);
        story.publishes(2, "east", &six, &[(Some(there), None)]);
        if has_looked {
            story
                .breaks(HandoverWithoutGap, "east: www.example.com A from dnsendpoint/default/web");
        } else {
            story.keeps_to(HandoverWithoutGap);
        }
    }
}
