use serde_json::json;

use super::*;
use crate::core::governance::rule::RuleKind;
use crate::core::governance::testkit::{rule, rules, team};

/// Pay owns everything below pay.example.com but risk.pay, which is risk's; the rest belongs to the platform's team.
fn company() -> Rules {
    let owned = |name: &str, names: serde_json::Value, team: &str| {
        let spec = json!({ "zone": "example.com", "names": names, "team": team });
        rule(RuleKind::Ownership, name, spec)
    };
    rules(vec![
        team("pay"),
        team("risk"),
        team("platform"),
        owned("pay", json!(["pay.example.com", "*.pay.example.com"]), "pay"),
        owned("risk", json!(["*.risk.pay.example.com"]), "risk"),
        owned("gone", json!(["old.pay.example.com"]), "nobody"),
        owned("all", json!([]), "platform"),
    ])
}

fn owner_of(name: &str) -> Authorization {
    let team = RuleName::parse(name).unwrap();
    Authorization { standings: [(team, TeamStanding::Owner)].into(), ..Authorization::default() }
}

fn grant(names: &[&str]) -> Rule {
    let spec = json!({
        "zone": "example.com", "names": names, "clusters": { "names": ["east"] },
    });
    rule(RuleKind::Grant, "new", spec)
}

fn may(who: &Authorization, after: &Rule) -> bool {
    who.may_change(&company(), None, Some(after)).is_ok()
}

#[test]
fn owners_write_rules_about_names_that_are_theirs_alone() {
    let pay = owner_of("pay");
    for (names, expected) in [
        (&["pay.example.com"][..], true),
        (&["api.pay.example.com", "*.shop.pay.example.com"], true),
        (&["old.pay.example.com"], true),
        (&["*.pay.example.com"], false),
        (&["*.risk.pay.example.com"], false),
        (&["a.risk.pay.example.com"], false),
        (&["risk.pay.example.com"], true),
        (&["pay.example.com", "www.example.com"], false),
        (&["*.example.com"], false),
    ] {
        assert_eq!(may(&pay, &grant(names)), expected, "{names:?}");
    }
    assert!(may(&owner_of("risk"), &grant(&["*.risk.pay.example.com"])));
    assert!(!may(&owner_of("platform"), &grant(&["*.example.com"])), "pay owns some of it");
    let member = Authorization {
        standings: [(RuleName::parse("pay").unwrap(), TeamStanding::Member)].into(),
        ..Authorization::default()
    };
    assert!(!may(&member, &grant(&["pay.example.com"])));
}

#[test]
fn a_rule_that_is_about_others_names_before_or_after_is_not_changed() {
    let (mine, others) = (grant(&["pay.example.com"]), grant(&["www.example.com"]));
    let change = |before, after| owner_of("pay").may_change(&company(), before, after);
    assert!(change(Some(&mine), Some(&mine)).is_ok());
    assert!(change(Some(&mine), None).is_ok());
    for (before, after) in
        [(Some(&mine), Some(&others)), (Some(&others), Some(&mine)), (Some(&others), None)]
    {
        let refused = change(before, after).unwrap_err();
        assert!(matches!(refused, RuleNotYours::OthersNames { .. }), "{refused}");
    }
}

#[test]
fn who_decides_is_said_by_admins_and_what_is_for_the_whole_by_operators() {
    let ownership = json!({ "zone": "example.com", "names": ["a.pay.example.com"], "team": "pay" });
    let freeze = |scope: serde_json::Value| {
        let spec = json!({
            "scope": scope, "from": "2030-01-01T00:00:00Z", "until": "2030-01-02T00:00:00Z",
            "reason": "a test",
        });
        rule(RuleKind::Freeze, "new", spec)
    };
    let own = json!({ "zones": ["example.com"], "names": ["pay.example.com"] });
    for (after, [owner, operator]) in [
        (team("new"), [false, false]),
        (rule(RuleKind::Ownership, "new", ownership), [false, false]),
        (rule(RuleKind::Guard, "new", json!({ "scope": own })), [false, true]),
        (freeze(own), [true, true]),
        (freeze(json!({ "names": ["pay.example.com"] })), [false, true]),
        (freeze(json!({})), [false, true]),
        (grant(&["www.example.com"]), [false, true]),
    ] {
        let operators = Authorization { role: Role::Operator, ..Authorization::default() };
        let admins = Authorization { role: Role::Admin, ..Authorization::default() };
        assert_eq!(may(&owner_of("pay"), &after), owner, "{after:?}");
        assert_eq!(may(&operators, &after), operator, "{after:?}");
        assert!(may(&admins, &after), "{after:?}");
    }
}

#[test]
fn owners_change_their_own_team_but_for_what_publishes_for_it() {
    let with = |spec: serde_json::Value| rule(RuleKind::Team, "pay", spec);
    let now = team("pay");
    let change = |after: &Rule| owner_of("pay").may_change(&company(), Some(&now), Some(after));
    let members = json!({ "owners": { "groups": ["pay"] }, "members": { "users": ["eve"] } });
    assert_eq!(change(&with(members)), Ok(()));
    let publishes = json!({
        "owners": { "groups": ["pay"] },
        "publishes": [{ "clusters": { "names": ["east"] } }],
    });
    assert_eq!(change(&with(publishes)), Err(RuleNotYours::Publishers(now.id())));
    let removed = owner_of("pay").may_change(&company(), Some(&now), None);
    assert_eq!(removed, Err(RuleNotYours::AdminsOnly(now.id())));
    let others = owner_of("risk").may_change(&company(), Some(&now), Some(&now));
    assert_eq!(others, Err(RuleNotYours::AdminsOnly(now.id())));
}

#[test]
fn a_token_for_some_zones_changes_rules_of_those_alone() {
    let of = |zone: &str| Authorization {
        role: Role::Admin,
        zones: [DnsName::parse(zone).unwrap()].into(),
        ..Authorization::default()
    };
    assert!(may(&of("example.com"), &grant(&["www.example.com"])));
    let refused = |who: &Authorization, after: &Rule| {
        who.may_change(&company(), None, Some(after)).unwrap_err().to_string()
    };
    let other = refused(&of("example.net"), &grant(&["www.example.com"]));
    assert_eq!(other, "Grant new is about the zone example.com, and the token is for other zones");
    let whole = refused(&of("example.com"), &team("new"));
    assert_eq!(whole, "Team new is not about one zone, and the token is for some zones alone");
}

#[test]
fn somebody_is_in_the_teams_that_name_them_or_a_group_of_theirs() {
    let ben = Person { user: "ben".to_owned(), groups: ["pay".to_owned()].into() };
    let found = standings(&company(), &ben);
    assert_eq!(found, [(RuleName::parse("pay").unwrap(), TeamStanding::Owner)].into());
}
