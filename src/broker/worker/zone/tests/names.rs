//! How names affect each other, and how many endpoints a name accepts.

use super::*;

fn puts(state: &mut ZoneState, at: &str, arrival: i64, endpoint: &Endpoint) -> Review {
    let entry = EndpointEntry::new(cluster("east"), arrival, &PackedEndpoint::pack(endpoint));
    state.contribute(&name(at), entry, PlacementRole::Publishes);
    state.review(&name(at), NOW, "", None)
}

fn cname(at: &str, target: &str) -> Endpoint {
    endpoint("c", at, "CNAME", &[target])
}

fn alias(at: &str, target: &str) -> Endpoint {
    let mut alias = cname(at, target);
    alias.properties.insert("alias".into(), "true".into());
    alias
}

fn sets_of(endpoint: &Endpoint) -> Vec<RawRecordSet> {
    let parsed = crate::core::endpoint::parsed::parse_endpoint(endpoint).unwrap();
    let sets = parsed.record_sets(zone_context().zone(), 300);
    sets.iter().map(crate::core::dns::record::RecordSet::to_raw).collect()
}

/// Sends everything that can be sent for a name; returns how many changes that is.
fn send_at(state: &mut ZoneState, at: &str) -> usize {
    send_for(state, &name(at)).map_or(0, |(changes, ..)| changes)
}

fn said(review: &Review) -> (&'static str, String) {
    let verdict = &review.statuses[0].1.verdict;
    (verdict.reason.as_str(), verdict.message.clone())
}

const X: &str = "x.example.com";
const Y: &str = "y.example.com";

#[test]
fn the_younger_of_two_names_that_point_to_each_other_is_kept_out_until_the_other_changes() {
    let mut state = state();
    assert_eq!(said(&puts(&mut state, X, 1, &cname(X, Y))).0, "ACCEPTED");
    let (reason, message) = said(&puts(&mut state, Y, 2, &cname(Y, X)));
    assert_eq!(reason, "INVALID_TARGET");
    assert!(message.contains("y.example.com → x.example.com → y.example.com"), "{message}");
    assert!(state.units(&name(Y), NOW).is_empty());
    let review = puts(&mut state, X, 1, &cname(X, "elsewhere.example.net"));
    assert_eq!(review.others, [name(Y)].into(), "it is looked at again");
    assert_eq!(said(&state.review(&name(Y), NOW, "", None)).0, "ACCEPTED");
}

#[test]
fn what_stands_is_not_kept_out_for_the_edit_that_closes_a_loop() {
    let mut state = state();
    puts(&mut state, Y, 1, &cname(Y, "z.example.net"));
    send_at(&mut state, Y);
    puts(&mut state, X, 2, &cname(X, Y));
    send_at(&mut state, X);
    assert_eq!(said(&puts(&mut state, Y, 1, &cname(Y, X))).0, "INVALID_TARGET");
    assert!(state.units(&name(Y), NOW).is_empty(), "and what it made before stays");
    assert_eq!(said(&state.review(&name(X), NOW, "", None)).0, "ACCEPTED");
}

#[test]
fn an_older_edit_that_closes_a_loop_has_the_younger_one_looked_at_and_kept_out() {
    let mut state = state();
    puts(&mut state, Y, 1, &cname(Y, "z.example.net"));
    puts(&mut state, X, 2, &cname(X, Y));
    let review = puts(&mut state, Y, 1, &cname(Y, X));
    assert_eq!((said(&review).0, review.others), ("ACCEPTED", [name(X)].into()));
    assert_eq!(said(&state.review(&name(X), NOW, "", None)).0, "INVALID_TARGET");
    // An alias leads on as a CNAME does.
    let mut state = self::state();
    puts(&mut state, X, 1, &cname(X, Y));
    assert_eq!(said(&puts(&mut state, Y, 2, &alias(Y, X))).0, "INVALID_TARGET");
}

#[test]
fn a_name_below_a_delegation_waits_until_that_is_gone_and_what_is_there_goes_on() {
    let (app, old) = ("app.ext.example.com", "old.ext.example.com");
    let mut state = state();
    puts(&mut state, old, 1, &endpoint("old", old, "A", &["192.0.2.1"]));
    send_at(&mut state, old);
    let ns = endpoint("ns", "ext.example.com", "NS", &["ns.example.net"]);
    let held = sets_of(&endpoint("old", old, "A", &["192.0.2.1"]));
    let touched = state.compare(&page([sets_of(&ns), held.clone()].concat()), NOW).touched;
    assert!(state.followers_of(touched).contains(&name(old)), "what lies below is looked at");
    let review = puts(&mut state, app, 2, &endpoint("app", app, "A", &["192.0.2.2"]));
    let (reason, message) = said(&review);
    assert_eq!((reason, review.work), ("BELOW_DELEGATION", None));
    assert!(message.contains("ext.example.com"), "{message}");
    let edited = puts(&mut state, old, 1, &endpoint("old", old, "A", &["192.0.2.9"]));
    assert_eq!((said(&edited).0, edited.work.is_some()), ("ACCEPTED", true));
    let touched = state.compare(&page(held), NOW).touched;
    assert!(state.followers_of(touched).contains(&name(app)));
    assert_eq!(said(&state.review(&name(app), NOW, "", None)).0, "ACCEPTED");
}

#[test]
fn an_alias_to_a_name_with_addresses_of_one_family_is_in_sync_and_the_other_half_follows() {
    let mut state = state();
    let target = |rtype, address| endpoint("web", X, rtype, &[address]);
    puts(&mut state, X, 1, &target("A", "192.0.2.1"));
    send_at(&mut state, X);
    puts(&mut state, Y, 2, &alias(Y, X));
    assert_eq!(send_at(&mut state, Y), 1);
    state.in_sync(&name(Y), 1);
    let review = state.review(&name(Y), NOW, "", None);
    assert_eq!(progress(&review), ["in_sync"]);
    assert!(said(&review).1.contains("has no AAAA record set"), "{:?}", said(&review));
    puts(&mut state, X, 3, &target("AAAA", "2001:db8::1"));
    send_at(&mut state, X);
    assert!(state.followers_of([name(X)]).contains(&name(Y)));
    assert_eq!(send_at(&mut state, Y), 1);
    assert_eq!(said(&state.review(&name(Y), NOW, "", None)).1, "");
}

#[test]
fn an_alias_at_the_apex_stays_when_its_endpoint_is_rejected_there() {
    let apex = "example.com";
    let mut state = state();
    puts(&mut state, apex, 1, &cname(apex, "lb.us-east-1.elb.amazonaws.com"));
    assert_eq!(send_at(&mut state, apex), 2);
    let mut plain = cname(apex, "lb.us-east-1.elb.amazonaws.com");
    plain.properties.insert("alias".into(), "false".into());
    for wrong in [cname(apex, "elb.example.net"), plain, alias(apex, "elb.example.net")] {
        assert_eq!(puts(&mut state, apex, 1, &wrong).work, None);
        assert_eq!(send_at(&mut state, apex), 0, "{wrong:?}");
    }
}

#[test]
fn beyond_the_bound_of_a_name_the_youngest_endpoints_are_told_and_follow_when_an_older_one_goes() {
    let mut state = state();
    let web = |arrival: i64| endpoint(&format!("web-{arrival}"), X, "A", &["192.0.2.1"]);
    let most = crowd::MOST_AT_A_NAME as i64;
    for arrival in 2..most + 3 {
        let entry =
            EndpointEntry::new(cluster("east"), arrival, &PackedEndpoint::pack(&web(arrival)));
        state.contribute(&name(X), entry, PlacementRole::Publishes);
    }
    let told = |review: &Review, reason: &str| -> Vec<i64> {
        let told = review.statuses.iter().filter(|(_, s)| s.verdict.reason.as_str() == reason);
        told.map(|(held, _)| held.arrival()).collect()
    };
    let review = state.review(&name(X), NOW, "", None);
    assert_eq!(told(&review, "TOO_LARGE"), [most + 2]);
    assert_eq!(told(&review, "ACCEPTED").len(), crowd::MOST_AT_A_NAME);
    // An older one takes the place of the youngest, which then waits too; each gets its status once.
    let review = puts(&mut state, X, 1, &web(1));
    assert_eq!(told(&review, "TOO_LARGE"), [most + 1]);
    let gone = EndpointEntry::new(cluster("east"), 5, &PackedEndpoint::pack(&web(5)));
    state.withdraw(&name(X), &gone);
    let review = state.review(&name(X), NOW, "", None);
    assert!(
        told(&review, "ACCEPTED").contains(&(most + 1)) && told(&review, "TOO_LARGE").is_empty()
    );
    // The endpoints of one cluster do not count towards another's bound.
    let west = EndpointEntry::new(cluster("west"), most + 9, &PackedEndpoint::pack(&web(9)));
    state.contribute(&name(X), west, PlacementRole::Publishes);
    assert_eq!(told(&state.review(&name(X), NOW, "", None), "NAME_HELD"), [most + 9]);
}

#[test]
fn a_loop_through_a_wildcard_is_kept_out_until_another_name_answers() {
    let (wild, covered) = ("*.w.example.com", "a.w.example.com");
    let mut state = state();
    assert_eq!(said(&puts(&mut state, X, 1, &cname(X, covered))).0, "ACCEPTED");
    let (reason, message) = said(&puts(&mut state, wild, 2, &cname(wild, X)));
    assert_eq!(reason, "INVALID_TARGET");
    assert!(message.contains("x.example.com → a.w.example.com → *.w.example.com"), "{message}");
    // A name below the wildcard that exists is not covered by it (RFC 4592 §2.2.2).
    let review = puts(&mut state, covered, 3, &endpoint("web", covered, "A", &["192.0.2.1"]));
    assert_eq!(review.others, [name(wild)].into());
    assert_eq!(said(&state.review(&name(wild), NOW, "", None)).0, "ACCEPTED");
}
