//! Record sets that stay or are left out, and the messages about those of other writers.

use super::*;

#[test]
fn values_that_a_rejected_endpoint_may_have_given_stay_until_it_is_corrected_or_gone() {
    let stands = || {
        let both = endpoint("x", NAME, "A", &["192.0.2.1", "192.0.2.2"]);
        Scene { claimed_by: Some("east"), ..Scene::default() }.holds(both, Some("east"))
    };
    let scene = stands().wants(a("web", "192.0.2.1")).wants(a("other", "nonsense"));
    assert_eq!(scene.plan(), NamePlan::default());
    // A newly wanted value is added meanwhile.
    let scene = stands().wants(a("web", "192.0.2.9")).wants(a("other", "nonsense"));
    let plan = scene.plan();
    let after = plan.units[0].changes[0].after.clone().unwrap();
    assert_eq!(after.values, ["192.0.2.1", "192.0.2.2", "192.0.2.9"]);
    assert!(scene.applied(&plan).plan().units.is_empty());
    let corrected = stands().wants(a("web", "192.0.2.1")).wants(a("other", "192.0.2.3")).plan();
    let after = corrected.units[0].changes[0].after.clone().unwrap();
    assert_eq!(after.values, ["192.0.2.1", "192.0.2.3"]);
    let gone = stands().wants(a("web", "192.0.2.1")).plan();
    assert_eq!(gone.units[0].changes[0].after.clone().unwrap().values, ["192.0.2.1"]);
    // A CNAME endpoint can have made an alias, and no values.
    let mut other = cname("nonsense..");
    other.key.object = "other".into();
    let scene = stands().wants(a("web", "192.0.2.1")).wants(other);
    assert_eq!(actions(&scene.plan()), [(true, true)]);
}

#[test]
fn the_half_of_an_alias_whose_target_is_not_there_is_left_out_and_keeps_nothing_back() {
    let mut alias = cname("only-a.example.com");
    alias.properties.insert("alias".into(), "true".into());
    let plan = Scene::default().wants(alias.clone()).plan();
    let written: Vec<RecordType> =
        plan.units.iter().flat_map(|unit| &unit.changes).map(|change| change.key.rtype).collect();
    assert_eq!((written, plan.blocked.len()), (vec![RecordType::A], 0));
    assert_eq!(plan.left_out.len(), 1);
    assert!(plan.left_out[0].to_string().contains("has no AAAA record set"), "{plan:?}");
    // It takes the place of a CNAME too.
    let plan = Scene::default().wants(alias).holds(cname("x.example.net"), Some("east")).plan();
    assert_eq!(actions(&plan), [(false, true), (true, false)]);
}

#[test]
fn an_alias_that_stands_does_not_wait_for_a_target_that_has_gone() {
    let mut alias = cname("gone.example.com");
    alias.properties.insert("alias".into(), "true".into());
    let scene = Scene::default().wants(alias.clone()).holds(alias, Some("east"));
    assert_eq!(scene.plan(), NamePlan::default());
    // Neither does the half of it that never had one.
    let mut half = scene;
    half.observed.retain(|key, _| key.rtype == RecordType::A);
    let plan = half.plan();
    assert!(plan.units.is_empty() && plan.blocked.is_empty(), "{plan:?}");
    assert_eq!(plan.left_out.len(), 1);
}

#[test]
fn the_half_of_an_alias_that_leads_elsewhere_still_goes_where_the_new_target_has_none() {
    let alias = |target: &str| {
        let mut alias = cname(target);
        alias.properties.insert("alias".into(), "true".into());
        alias
    };
    let stands = || Scene::default().holds(alias("there.example.com"), Some("east"));
    let scene = stands().wants(alias("only-a.example.com"));
    let plan = scene.plan();
    assert_eq!((actions(&plan), plan.left_out.len()), (vec![(true, true), (true, false)], 1));
    assert!(scene.applied(&plan).plan().units.is_empty());
    let upsert_only = Scene { policy: ZonePolicy::UpsertOnly, ..stands() };
    let plan = upsert_only.wants(alias("only-a.example.com")).plan();
    assert_eq!(actions(&plan), [(true, true), (true, false)], "it is an update");
    // Nothing goes before something takes its place.
    let plan = stands().wants(alias("later.example.com")).plan();
    assert!(plan.units.is_empty(), "{plan:?}");
}

#[test]
fn a_weighted_set_waits_for_one_that_stays_with_another_time_to_live() {
    let weighted = |set: &str, ttl_secs| {
        let mut endpoint = a("web", "192.0.2.1");
        endpoint.key.set_identifier = set.into();
        endpoint.properties.insert("aws/weight".into(), "10".into());
        endpoint.ttl_secs = Some(ttl_secs);
        endpoint
    };
    let scene = |policy| {
        let scene = Scene { policy, ..Scene::default() };
        scene.wants(weighted("new", 60)).holds(weighted("old", 300), Some("east"))
    };
    let plan = scene(ZonePolicy::UpsertOnly).plan();
    assert!(plan.units.is_empty() && plan.blocked.iter().any(|it| it.to_string().contains("live")));
    // Where the other goes they are one unit.
    let plan = scene(ZonePolicy::Sync).plan();
    assert_eq!((plan.units.len(), plan.blocked.len()), (1, 0));
    let foreign = Scene::default().wants(weighted("new", 60)).holds(weighted("old", 300), None);
    assert!(foreign.plan().units.is_empty());
    let same = Scene::default().wants(weighted("new", 60)).holds(weighted("old", 60), None);
    assert_eq!(same.plan().units.len(), 1);
}

#[test]
fn a_weighted_set_of_an_endpoint_that_waits_gives_way_to_another_time_to_live() {
    let routed = |object: &str, key: &str, value: &str, ttl_secs| {
        let mut endpoint = a(object, "192.0.2.1");
        endpoint.key.set_identifier = object.into();
        endpoint.properties.insert(key.into(), value.into());
        endpoint.ttl_secs = Some(ttl_secs);
        endpoint
    };
    let weighted = |object, ttl_secs| routed(object, "aws/weight", "10", ttl_secs);
    let scene = || {
        Scene { claimed_by: Some("east"), ..Scene::default() }
            .holds(weighted("first", 60), Some("east"))
            .holds(weighted("second", 60), Some("east"))
            .wants(weighted("first", 300))
    };
    let plan = scene().wants(routed("second", "aws/failover", "SECONDARY", 60)).plan();
    assert_eq!((plan.units.len(), plan.blocked.len()), (1, 0), "{plan:?}");
    assert_eq!(plan.units[0].changes.iter().filter(|change| change.after.is_none()).count(), 1);
    // What a rejected endpoint made stays.
    let plan = scene().wants(routed("second", "aws/weight", "many", 60)).plan();
    assert!(plan.units.is_empty() && !plan.blocked.is_empty(), "{plan:?}");
}

#[test]
fn the_remedy_for_a_foreign_set_is_one_that_helps() {
    let remedy = |adopt, held: Endpoint, wanted: Endpoint| {
        let scene = Scene { adopt, ..Scene::default() }.wants(wanted).holds(held, None);
        scene.plan().blocked[0].to_string()
    };
    let (one, other) = (|| a("web", "192.0.2.1"), || a("web", "192.0.2.2"));
    assert!(remedy(AdoptPolicy::Never, one(), other()).contains("set adopt for the zone"));
    assert!(remedy(AdoptPolicy::Identical, one(), other()).contains("set adopt to any"));
    for adopt in [AdoptPolicy::Never, AdoptPolicy::Identical, AdoptPolicy::Any] {
        let message = remedy(adopt, one(), cname("x.example.net"));
        assert!(!message.contains("adopt") && message.contains("go together"), "{message}");
    }
    let observed =
        Scene { adopt: AdoptPolicy::Any, policy: ZonePolicy::Observe, ..Scene::default() };
    let plan = observed.wants(one()).holds(one(), None).plan();
    assert_eq!(reasons(&plan), ["policy"], "{plan:?}");
}

#[test]
fn only_what_already_says_the_same_changes_hands_where_identical_sets_are_adopted() {
    let identical = || Scene { adopt: AdoptPolicy::Identical, ..Scene::default() };
    let same = identical().wants(a("web", "192.0.2.1")).holds(a("web", "192.0.2.1"), None).plan();
    assert_eq!((same.units.len(), same.adopted.len()), (0, 1));
    let differs =
        identical().wants(a("web", "192.0.2.1")).holds(a("web", "192.0.2.2"), None).plan();
    assert!(differs.units.is_empty() && reasons(&differs) == ["foreign"]);
}
