use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::core::endpoint::Endpoint;
use crate::core::ids::BatchId;
use crate::core::planning::claims::{NameInput, NoOtherNames, decide_name};
use crate::core::testkit::{cluster, contribution, endpoint, name, zone_context};

const NAME: &str = "www.example.com";

struct Scene {
    policy: ZonePolicy,
    drift: DriftPolicy,
    adopt: AdoptPolicy,
    claimed_by: Option<&'static str>,
    contributions: Vec<Contribution>,
    observed: BTreeMap<RecordKey, Observed>,
    departed: Vec<(ClusterId, EndpointKey)>,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            policy: ZonePolicy::Sync,
            drift: DriftPolicy::Repair,
            adopt: AdoptPolicy::Never,
            claimed_by: None,
            contributions: vec![],
            observed: BTreeMap::new(),
            departed: vec![],
        }
    }
}

impl Scene {
    fn plan(&self) -> NamePlan {
        let (zone, name) = (zone_context(), name(NAME));
        let holder = self.claimed_by.map(cluster);
        let decision = decide_name(&NameInput {
            zone: &zone,
            name: &name,
            claimed_by: holder.as_ref(),
            claimed_since: None,
            contributions: &self.contributions,
            observed: &self.observed,
            around: &NoOtherNames,
        });
        plan(&PlanInput {
            zone: &zone,
            policy: self.policy,
            drift: self.drift,
            adopt: self.adopt,
            name: &name,
            decision: &decision,
            contributions: &self.contributions,
            observed: &self.observed,
            departed: &self.departed,
            target_exists: &|target, rtype| match target.to_string().as_str() {
                "there.example.com" => true,
                "only-a.example.com" => rtype == RecordType::A,
                _ => false,
            },
        })
    }

    fn wants(mut self, endpoint: Endpoint) -> Self {
        let arrival = self.contributions.len() as i64;
        self.contributions.push(contribution("east", arrival, endpoint));
        self
    }

    fn holds(mut self, endpoint: Endpoint, owner: Option<&str>) -> Self {
        for set in parse_endpoint(&endpoint) {
            let owner = owner.map(|name| Ownership {
                cluster: cluster(name),
                batch: BatchId(uuid::Uuid::nil()),
            });
            self.observed
                .insert(set.key.clone(), Observed { raw: set.to_raw(), owner, drift: None });
        }
        self
    }

    fn drifted(mut self, drift: Drift) -> Self {
        self.observed.values_mut().for_each(|observed| observed.drift = Some(drift));
        self
    }

    /// The scene after Route 53 has applied the plan.
    fn applied(mut self, plan: &NamePlan) -> Self {
        for change in plan.units.iter().flat_map(|unit| &unit.changes) {
            match &change.after {
                None => {
                    self.observed.remove(&change.key);
                }
                Some(raw) => {
                    let owner = Some(Ownership {
                        cluster: change.cause.cluster.clone(),
                        batch: BatchId(uuid::Uuid::nil()),
                    });
                    self.observed.insert(
                        change.key.clone(),
                        Observed { raw: raw.clone(), owner, drift: None },
                    );
                }
            }
        }
        self
    }
}

fn parse_endpoint(endpoint: &Endpoint) -> Vec<RecordSet> {
    crate::core::endpoint::parsed::parse_endpoint(endpoint)
        .unwrap()
        .record_sets(zone_context().zone(), 300)
}

fn a(object: &str, target: &str) -> Endpoint {
    endpoint(object, NAME, "A", &[target])
}

fn cname(target: &str) -> Endpoint {
    endpoint("c", NAME, "CNAME", &[target])
}

fn actions(plan: &NamePlan) -> Vec<(bool, bool)> {
    plan.units
        .iter()
        .flat_map(|unit| &unit.changes)
        .map(|change| (change.before.is_some(), change.after.is_some()))
        .collect()
}

/// The reasons without their data.
fn reasons(plan: &NamePlan) -> Vec<&'static str> {
    let kind = |blocked: &Blocked| match &blocked.why {
        BlockReason::Foreign { .. } => "foreign",
        BlockReason::Policy(_) => "policy",
        BlockReason::Drifted(_) => "drifted",
        BlockReason::AliasTarget { .. } => "alias target",
        BlockReason::KeptForSibling(_) => "kept for sibling",
    };
    plan.blocked.iter().map(kind).collect()
}

#[test]
fn what_is_missing_is_created_and_what_differs_is_swapped() {
    assert_eq!(actions(&Scene::default().wants(a("web", "192.0.2.1")).plan()), [(false, true)]);
    let scene =
        Scene::default().wants(a("web", "192.0.2.1")).holds(a("web", "192.0.2.2"), Some("east"));
    assert_eq!(actions(&scene.plan()), [(true, true)]);
    let scene =
        Scene::default().wants(a("web", "192.0.2.1")).holds(a("web", "192.0.2.1"), Some("east"));
    assert_eq!(scene.plan(), NamePlan::default());
}

#[test]
fn what_nobody_wants_is_deleted_only_when_it_is_ours() {
    assert_eq!(
        actions(&Scene::default().holds(a("web", "192.0.2.1"), Some("east")).plan()),
        [(true, false)]
    );
    assert_eq!(Scene::default().holds(a("web", "192.0.2.1"), None).plan(), NamePlan::default());
}

#[test]
fn a_foreign_record_set_is_never_touched() {
    let scene = Scene::default().wants(a("web", "192.0.2.1")).holds(a("web", "192.0.2.2"), None);
    assert!(scene.plan().units.is_empty());
    assert_eq!(reasons(&scene.plan()), ["foreign"]);
    let same = Scene::default().wants(a("web", "192.0.2.1")).holds(a("web", "192.0.2.1"), None);
    assert_eq!(reasons(&same.plan()), ["foreign"], "also when it says the same");
    let beside =
        Scene::default().wants(cname("other.example.net")).holds(a("web", "192.0.2.2"), None);
    assert!(beside.plan().units.is_empty());
}

#[test]
fn adopting_takes_over_what_is_wanted_and_nothing_else() {
    let adopt = || Scene { adopt: AdoptPolicy::Any, ..Scene::default() };
    let same = adopt().wants(a("web", "192.0.2.1")).holds(a("web", "192.0.2.1"), None).plan();
    assert_eq!((same.units.len(), same.adopted.len()), (0, 1));
    let differs = adopt().wants(a("web", "192.0.2.1")).holds(a("web", "192.0.2.2"), None).plan();
    assert_eq!(differs.units[0].changes[0].cause.motive, Motive::Adopt);
    assert_eq!(adopt().holds(a("web", "192.0.2.2"), None).plan(), NamePlan::default());
}

#[test]
fn where_a_zone_adopts_what_others_changed_of_ours_is_put_back_as_elsewhere() {
    for drift in [Drift::Changed, Drift::Missing] {
        let plan = |adopt| {
            let scene = Scene { adopt, ..Scene::default() };
            let ours = a("web", "192.0.2.2");
            scene.wants(a("web", "192.0.2.1")).holds(ours, Some("east")).drifted(drift).plan()
        };
        let adopt = plan(AdoptPolicy::Any);
        assert_eq!(adopt.units[0].changes[0].cause.motive, Motive::Repair);
        assert_eq!(adopt, plan(AdoptPolicy::Never));
    }
}

#[test]
fn a_switch_of_type_is_one_unit() {
    let plan = Scene::default()
        .wants(cname("other.example.net"))
        .holds(a("web", "192.0.2.1"), Some("east"))
        .plan();
    assert_eq!(plan.units.len(), 1);
    assert_eq!(actions(&plan), [(true, false), (false, true)]);
}

#[test]
fn different_types_stand_alone() {
    let plan = Scene::default()
        .wants(a("web", "192.0.2.1"))
        .wants(endpoint("txt", NAME, "TXT", &["hello"]))
        .plan();
    assert_eq!(plan.units.len(), 2);
}

#[test]
fn a_blocked_replacement_keeps_what_is_there() {
    // A → CNAME, with a foreign TXT in the way of the CNAME: the A must not go.
    let scene = Scene::default()
        .wants(cname("other.example.net"))
        .holds(a("web", "192.0.2.1"), Some("east"))
        .holds(endpoint("txt", NAME, "TXT", &["foreign"]), None);
    let plan = scene.plan();
    assert!(plan.units.is_empty(), "{plan:?}");
    assert!(reasons(&plan).contains(&"kept for sibling"));
}

#[test]
fn what_a_blocked_set_could_not_replace_goes_while_it_waits() {
    let text = || endpoint("txt", NAME, "TXT", &["hello"]);
    let aaaa = || endpoint("web", NAME, "AAAA", &["2001:db8::1"]);
    // An address is blocked by a foreign one: no client would look for it in a TXT.
    let scene = Scene::default()
        .wants(a("web", "192.0.2.1"))
        .holds(a("web", "203.0.113.1"), None)
        .holds(text(), Some("east"))
        .holds(aaaa(), Some("east"));
    let plan = scene.plan();
    let deleted: Vec<RecordType> =
        plan.units.iter().flat_map(|unit| &unit.changes).map(|change| change.key.rtype).collect();
    assert_eq!((actions(&plan), deleted), (vec![(true, false)], vec![RecordType::Txt]));
    let again = scene.applied(&plan).plan();
    assert!(again.units.is_empty() && reasons(&again).contains(&"kept for sibling"), "{again:?}");

    // Not when it is all that the name has.
    let mut alias = a("web", "soon.example.com");
    alias.properties.insert("alias".into(), "true".into());
    let plan = Scene::default().wants(alias).holds(text(), Some("east")).plan();
    assert!(plan.units.is_empty(), "{plan:?}");
}

#[test]
fn a_name_of_which_nothing_stays_passes_to_another_type_in_one_unit() {
    let aaaa = || endpoint("web", NAME, "AAAA", &["2001:db8::1"]);
    let scene = || Scene::default().wants(aaaa()).holds(a("web", "192.0.2.1"), Some("east"));
    let plan = scene().plan();
    assert_eq!(plan.units.len(), 1, "{plan:?}");
    assert_eq!(actions(&plan), [(true, false), (false, true)]);
    // If something else stays, each goes alone.
    let text = || endpoint("txt", NAME, "TXT", &["hello"]);
    assert_eq!(scene().holds(text(), None).plan().units.len(), 2);
    assert_eq!(scene().holds(text(), Some("east")).wants(text()).plan().units.len(), 2);
}

#[test]
fn what_somebody_changed_stays_in_the_way_where_drift_is_only_reported() {
    let weighted = || {
        let mut endpoint = a("web", "192.0.2.7");
        endpoint.key.set_identifier = "s1".into();
        endpoint.properties.insert("aws/weight".into(), "10".into());
        endpoint
    };
    let plan = |drift, wanted: Endpoint, held: Endpoint| {
        Scene { drift, ..Scene::default() }
            .wants(wanted)
            .holds(held, Some("east"))
            .drifted(Drift::Changed)
            .plan()
    };
    for (wanted, held) in [
        (weighted(), a("web", "192.0.2.1")),
        (a("web", "192.0.2.1"), weighted()),
        (cname("x.example.net"), a("web", "192.0.2.1")),
    ] {
        let alert = plan(DriftPolicy::Alert, wanted.clone(), held.clone());
        assert!(alert.units.is_empty(), "{alert:?}");
        assert!(reasons(&alert).contains(&"drifted"));
        assert_eq!(plan(DriftPolicy::Repair, wanted, held).units.len(), 1);
    }
}

#[test]
fn what_has_no_place_beside_what_is_kept_waits_with_it() {
    // A foreign TXT blocks ours, so the simple A is kept; no weighted A can coexist with it.
    let foreign = endpoint("txt", NAME, "TXT", &["foreign"]);
    let mut weighted = a("web", "192.0.2.7");
    weighted.key.set_identifier = "s1".into();
    weighted.properties.insert("aws/weight".into(), "10".into());
    let scene = Scene::default()
        .wants(weighted)
        .wants(endpoint("txt", NAME, "TXT", &["ours"]))
        .holds(a("web", "192.0.2.1"), Some("east"))
        .holds(foreign, None);
    let plan = scene.plan();
    assert!(plan.units.is_empty(), "{plan:?}");
    assert!(reasons(&plan).contains(&"kept for sibling"));
}

#[test]
fn zone_policies_bound_what_is_written() {
    let under = |policy| Scene { policy, ..Scene::default() };
    let update = |policy| {
        under(policy)
            .wants(a("web", "192.0.2.1"))
            .holds(a("web", "192.0.2.2"), Some("east"))
            .plan()
            .units
            .len()
    };
    let delete =
        |policy| under(policy).holds(a("web", "192.0.2.2"), Some("east")).plan().units.len();
    let create = |policy| under(policy).wants(a("web", "192.0.2.1")).plan().units.len();
    let switch = |policy| {
        under(policy)
            .wants(cname("x.example.net"))
            .holds(a("web", "192.0.2.2"), Some("east"))
            .plan()
            .units
            .len()
    };
    for (policy, expected) in [
        (ZonePolicy::Sync, (1, 1, 1, 1)),
        (ZonePolicy::UpsertOnly, (1, 1, 0, 1)),
        (ZonePolicy::CreateOnly, (1, 0, 0, 0)),
        (ZonePolicy::Observe, (0, 0, 0, 0)),
    ] {
        assert_eq!(
            (create(policy), update(policy), delete(policy), switch(policy)),
            expected,
            "{policy}"
        );
    }
}

#[test]
fn drift_is_repaired_or_reported() {
    let changed = |drift| {
        Scene { drift, ..Scene::default() }
            .wants(a("web", "192.0.2.1"))
            .holds(a("web", "192.0.2.9"), Some("east"))
            .drifted(Drift::Changed)
    };
    let plan = changed(DriftPolicy::Repair).plan();
    assert_eq!(plan.units[0].changes[0].cause.motive, Motive::Repair);
    assert_eq!(reasons(&changed(DriftPolicy::Alert).plan()), ["drifted"]);
    let missing = |drift| {
        Scene { drift, ..Scene::default() }
            .wants(a("web", "192.0.2.1"))
            .holds(a("web", "192.0.2.1"), Some("east"))
            .drifted(Drift::Missing)
    };
    assert_eq!(actions(&missing(DriftPolicy::Repair).plan()), [(false, true)]);
    assert!(missing(DriftPolicy::Alert).plan().units.is_empty());
}

#[test]
fn a_rejected_version_keeps_what_the_accepted_one_made() {
    let scene = Scene { claimed_by: Some("east"), ..Scene::default() }
        .wants(a("web", "nonsense"))
        .holds(a("web", "192.0.2.1"), Some("east"));
    assert!(scene.plan().units.is_empty());
}

#[test]
fn an_alias_waits_for_its_target() {
    let alias = |target: &str| {
        let mut alias = cname(target);
        alias.properties.insert("alias".into(), "true".into());
        alias
    };
    assert!(matches!(
        reasons(&Scene::default().wants(alias("later.example.com")).plan())[..],
        ["alias target", ..]
    ));
    assert_eq!(Scene::default().wants(alias("there.example.com")).plan().units.len(), 2);
}

#[test]
fn the_root_ns_and_soa_are_never_ours() {
    let zone = zone_context();
    for rtype in [RecordType::Ns, RecordType::Soa] {
        assert!(is_protected(
            &zone.apex,
            &RecordKey { name: zone.apex.clone(), rtype, set_identifier: None }
        ));
    }
    assert!(!is_protected(
        &zone.apex,
        &RecordKey { name: name("sub.example.com"), rtype: RecordType::Ns, set_identifier: None }
    ));
}

fn latency(set: &str, region: &str) -> Endpoint {
    let mut endpoint = a(&format!("l{set}"), "192.0.2.7");
    endpoint.key.set_identifier = set.into();
    endpoint.properties.insert("aws/region".into(), region.into());
    endpoint
}

fn holding(sets: &[(&str, &str)]) -> Scene {
    let scene = Scene { claimed_by: Some("east"), ..Scene::default() };
    sets.iter().fold(scene, |scene, (set, region)| scene.holds(latency(set, region), Some("east")))
}

fn wanting(scene: Scene, sets: &[(&str, &str)]) -> Scene {
    sets.iter().fold(scene, |scene, (set, region)| scene.wants(latency(set, region)))
}

#[test]
fn sets_that_swap_their_places_go_in_one_unit_and_the_others_alone() {
    let before = [("a", "us-east-1"), ("b", "eu-west-1"), ("c", "sa-east-1")];
    let swapped = wanting(holding(&before), &[("a", "eu-west-1"), ("b", "us-east-1")]);
    let units = swapped.plan().units;
    let sizes: Vec<usize> = units.iter().map(|unit| unit.changes.len()).collect();
    assert_eq!(sizes, [2, 1], "c goes on its own: {units:?}");
    assert!(each_can_go_alone(&swapped, &units).is_ok());
    // A region that changes its set identifier.
    let renamed = wanting(holding(&before[..1]), &[("z", "us-east-1")]).plan();
    assert_eq!(renamed.units.len(), 1, "{renamed:?}");
}

#[test]
fn a_set_that_waits_for_a_place_stays_and_both_go_together_once_both_are_edited() {
    let before = [("a", "us-east-1"), ("b", "eu-west-1")];
    for edited in
        [[("a", "eu-west-1"), ("b", "eu-west-1")], [("a", "us-east-1"), ("b", "us-east-1")]]
    {
        let plan = wanting(holding(&before), &edited).plan();
        assert_eq!(plan.units, [], "nothing is deleted, nothing moves: {plan:?}");
    }
    let plan = wanting(holding(&before), &[("a", "eu-west-1"), ("b", "us-east-1")]).plan();
    assert_eq!(plan.units.len(), 1);
}

#[test]
fn a_place_that_a_set_cannot_give_up_is_waited_for() {
    // No endpoint wants b any more, but the zone keeps it; and c, which wants its place, would be refused.
    let mut scene = wanting(holding(&[("b", "eu-west-1")]), &[("c", "eu-west-1")]);
    scene.policy = ZonePolicy::CreateOnly;
    assert!(scene.plan().units.is_empty(), "{:?}", scene.plan());
    // Another writer changed b, and the zone reports that only.
    let mut scene =
        wanting(holding(&[("b", "eu-west-1")]), &[("b", "us-east-1"), ("c", "eu-west-1")])
            .drifted(Drift::Changed);
    scene.drift = DriftPolicy::Alert;
    let plan = scene.plan();
    assert!(plan.units.is_empty() && reasons(&plan).contains(&"kept for sibling"), "{plan:?}");
}

/// Whether Route 53 would accept each unit without the others: one policy a name and type, and one set a place of it.
fn each_can_go_alone(scene: &Scene, units: &[Unit]) -> Result<(), String> {
    for unit in units {
        let mut held: BTreeMap<RecordKey, RawRecordSet> = scene
            .observed
            .iter()
            .filter(|(_, observed)| observed.is_there())
            .map(|(key, observed)| (key.clone(), observed.raw.clone()))
            .collect();
        for change in &unit.changes {
            held.remove(&change.key);
        }
        for change in &unit.changes {
            held.extend(change.after.clone().map(|raw| (change.key.clone(), raw)));
        }
        let sets: Vec<RecordSet> = held.values().map(|raw| raw.canonical().unwrap()).collect();
        for (index, one) in sets.iter().enumerate() {
            for other in &sets[index + 1..] {
                let is_cname = |set: &RecordSet| set.key.rtype == RecordType::Cname;
                let of_one_type = one.key.rtype == other.key.rtype;
                let clash = is_cname(one) != is_cname(other)
                    || (of_one_type && one.policy.kind() != other.policy.kind())
                    || (of_one_type
                        && one.policy.place().is_some()
                        && one.policy.place() == other.policy.place());
                if clash {
                    return Err(format!("{} and {} after {unit:?}", one.key, other.key));
                }
            }
        }
    }
    Ok(())
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let plain = (0..3u8, 0..4u8)
        .prop_map(|(object, host)| a(&format!("a{object}"), &format!("192.0.2.{host}")));
    let text = (0..3u8).prop_map(|n| endpoint("txt", NAME, "TXT", &[&format!("t{n}")]));
    let cname = (0..2u8).prop_map(|n| cname(&format!("c{n}.example.net")));
    let balancer = Just(cname_to_balancer());
    let weighted = (0..3u8, 0..3u8, 0..2i64).prop_map(|(set, weight, ttl)| {
        let mut endpoint = a(&format!("w{set}"), "192.0.2.7");
        endpoint.key.set_identifier = format!("s{set}").into();
        endpoint.properties.insert("aws/weight".into(), weight.to_string().into());
        endpoint.ttl_secs = Some(60 * (ttl + 1));
        endpoint
    });
    let regional = (0..4u8, 0..3u8)
        .prop_map(|(set, region)| latency(&format!("r{set}"), &format!("region-{region}")));
    let mut half = self::cname("only-a.example.com");
    half.properties.insert("alias".into(), "true".into());
    let invalid = (0..2u8).prop_map(|object| a(&format!("a{object}"), "nonsense"));
    let elsewhere = (0..3u8).prop_map(|host| {
        let mut endpoint = a("b", &format!("192.0.2.{host}"));
        endpoint.key.namespace = "elsewhere".into();
        endpoint
    });
    prop_oneof![plain, text, cname, balancer, weighted, regional, Just(half), invalid, elsewhere]
}

fn cname_to_balancer() -> Endpoint {
    cname("lb.us-east-1.elb.amazonaws.com")
}

proptest! {
    #[test]
    fn a_plan_is_a_fixed_point(first in proptest::collection::vec(any_endpoint(), 0..5), second in proptest::collection::vec(any_endpoint(), 0..5), foreign in proptest::option::of(any_endpoint()), upsert_only in any::<bool>()) {
        let policy = if upsert_only { ZonePolicy::UpsertOnly } else { ZonePolicy::Sync };
        let mut scene = Scene { policy, ..Scene::default() };
        if let Some(foreign) = foreign.filter(|endpoint| {
            crate::core::endpoint::parsed::parse_endpoint(endpoint).is_ok()
        }) {
            scene = scene.holds(foreign, None);
        }
        let foreign_before: Vec<_> = scene.observed.clone().into_iter().collect();
        for wanted in [first, second] {
            scene.contributions.clear();
            for endpoint in wanted {
                scene = scene.wants(endpoint);
            }
            let plan = scene.plan();
            prop_assert_eq!(each_can_go_alone(&scene, &plan.units), Ok(()));
            scene = scene.applied(&plan);
            scene.claimed_by = scene.claimed_by.or_else(|| (!plan.units.is_empty()).then_some("east"));
            let again = scene.plan();
            prop_assert!(again.units.is_empty(), "planned {:?}, then again {:?}", plan.units, again.units);
        }
        for (key, observed) in foreign_before {
            prop_assert_eq!(scene.observed.get(&key), Some(&observed), "a foreign set was touched");
        }
    }
}

#[test]
fn a_deletion_names_the_owners_endpoints_that_are_gone_and_not_those_that_only_waited() {
    let made = endpoint("web", NAME, "A", &["192.0.2.1"]);
    let waited = endpoint("other", NAME, "A", &["192.0.2.2"]);
    let mut scene = Scene::default().holds(made.clone(), Some("east"));
    scene.departed = vec![(cluster("west"), waited.key), (cluster("east"), made.key.clone())];
    let plan = scene.plan();
    let causes: Vec<&Cause> =
        plan.units.iter().flat_map(|unit| &unit.changes).map(|change| &change.cause).collect();
    assert_eq!(
        causes,
        [&Cause { motive: Motive::Withdrawn, cluster: cluster("east"), endpoints: vec![made.key] }]
    );
}

#[path = "plan_golden_tests.rs"]
mod golden;
#[path = "plan_keeping_tests.rs"]
mod keeping;
