//! A shared name through switches of policy, edits and refusals: Route 53 accepts each unit by itself, and the name is answered
//! throughout.

use proptest::prelude::*;

use super::*;
use crate::core::dns::record::PolicyKind;
use crate::core::planning::change::{Change, Unit};
use crate::core::planning::plan::{NamePlan, PlanInput, plan};
use crate::core::planning::policy::{AdoptPolicy, DriftPolicy, ZonePolicy};

/// One name of the zone, as it goes on.
#[derive(Default)]
struct SharedScene {
    claimed_by: Option<ClusterId>,
    contributions: Vec<Contribution>,
    observed: BTreeMap<RecordKey, Observed>,
}

impl SharedScene {
    fn decide(&mut self, zone: &ZoneContext) -> NameDecision {
        let decision = decide_name(&NameInput {
            zone,
            name: &name(WWW),
            claimed_by: self.claimed_by.as_ref(),
            claimed_since: None,
            contributions: &self.contributions,
            observed: &self.observed,
            around: &NoOtherNames,
        });
        if decision.holder.is_some() || self.contributions.is_empty() && self.observed.is_empty() {
            self.claimed_by.clone_from(&decision.holder);
        }
        decision
    }

    fn plan(&mut self, zone: &ZoneContext) -> NamePlan {
        let decision = self.decide(zone);
        let planned = plan(&PlanInput {
            zone,
            policy: ZonePolicy::Sync,
            drift: DriftPolicy::Repair,
            adopt: AdoptPolicy::Never,
            name: &name(WWW),
            decision: &decision,
            contributions: &self.contributions,
            observed: &self.observed,
            departed: &[],
            target_exists: &|_, _| true,
        });
        for key in &planned.passed {
            let first = decision.desired[key].from[0];
            let owner = self.observed.get_mut(key).and_then(|observed| observed.owner.as_mut());
            owner.unwrap().cluster = self.contributions[first].cluster.clone();
        }
        planned
    }

    fn apply(&mut self, unit: &Unit) {
        for Change { key, after, cause, .. } in &unit.changes {
            let owner =
                Ownership { cluster: cause.cluster.clone(), batch: BatchId(uuid::Uuid::nil()) };
            match after {
                Some(raw) => {
                    let raw = raw.clone();
                    let now = Observed { raw, owner: Some(owner), drift: None };
                    self.observed.insert(key.clone(), now);
                }
                None => drop(self.observed.remove(key)),
            }
        }
    }

    /// Plans and applies until nothing is left to do; answers the number of units of each round.
    fn settle(&mut self, zone: &ZoneContext) -> Vec<usize> {
        let mut rounds = vec![];
        while rounds.len() < 5 {
            let planned = self.plan(zone);
            if planned.units.is_empty() {
                break;
            }
            rounds.push(planned.units.len());
            planned.units.iter().for_each(|unit| self.apply(unit));
        }
        rounds
    }

    fn is_answered(&self) -> bool {
        self.observed.keys().any(|key| answers(key.rtype))
    }

    /// What Route 53 would say against the record sets as they stand.
    fn faults(&self) -> Vec<String> {
        let sets: Vec<RecordSet> =
            self.observed.values().map(|observed| observed.raw.canonical().unwrap()).collect();
        let mut faults = vec![];
        for (at, one) in sets.iter().enumerate() {
            for other in &sets[..at] {
                let is_cname = |set: &RecordSet| set.key.rtype == RecordType::Cname;
                if is_cname(one) != is_cname(other) {
                    faults.push(format!("a CNAME beside others: {one:?} {other:?}"));
                }
                if one.key.rtype != other.key.rtype {
                    continue;
                }
                // An alias has none.
                let is_weighted = one.policy.kind() == PolicyKind::Weighted
                    && !one.is_alias()
                    && !other.is_alias();
                if one.policy.kind() != other.policy.kind() {
                    faults.push(format!("two policies: {one:?} {other:?}"));
                } else if is_weighted && one.ttl_secs() != other.ttl_secs() {
                    faults.push(format!("two TTLs: {one:?} {other:?}"));
                } else if one.policy.place().is_some() && one.policy == other.policy {
                    faults.push(format!("one place twice: {one:?} {other:?}"));
                }
            }
            let count = match &one.data {
                RecordData::Values { values, .. } => values.len(),
                RecordData::Alias(_) => 1,
            };
            if count == 0 || count > MAX_VALUES {
                faults.push(format!("{count} values: {one:?}"));
            }
        }
        faults
    }
}

/// The shared policies, and what goes with them.
fn policies() -> Vec<(&'static str, serde_json::Value)> {
    let pair = |more: serde_json::Value| {
        let mut pair = json!({ "primary": "east", "secondary": "west" });
        pair.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        json!({ "failover": pair })
    };
    vec![
        ("merge", json!({})),
        ("multivalue", json!({})),
        ("weighted", json!({ "weights": { "east": 10, "west": 90 } })),
        ("weighted", json!({ "weights": { "east": 0 } })),
        ("latency", json!({})),
        ("failover", pair(json!({ "mode": "route53", "healthCheck": "abc" }))),
        ("failover", pair(json!({ "mode": "manual" }))),
        ("failover", pair(json!({ "mode": "manual", "active": "west" }))),
        ("exclusive", json!({})),
    ]
}

#[test]
fn a_switch_of_policy_is_one_unit_whatever_the_policies() {
    for (from, of_from) in policies() {
        for (to, of_to) in policies() {
            let mut site = SharedScene { contributions: both().to_vec(), ..SharedScene::default() };
            site.settle(&zone(from, of_from.clone()));
            let before = site.observed.clone();
            let rounds = site.settle(&zone(to, of_to.clone()));
            let is_weight_alone = from == "weighted" && to == "weighted";
            let most = if is_weight_alone { 2 } else { 1 };
            assert!(
                rounds.iter().sum::<usize>() <= most,
                "{from} {of_from} to {to} {of_to}: {rounds:?}"
            );
            assert!(site.is_answered() && site.faults().is_empty());
            // And back: the same as before.
            site.settle(&zone(from, of_from.clone()));
            let raw = |observed: &BTreeMap<RecordKey, Observed>| -> Vec<_> {
                observed.values().map(|observed| observed.raw.clone()).collect()
            };
            assert_eq!(raw(&site.observed), raw(&before), "{from} {of_from} to {to} {of_to}");
        }
    }
}

#[test]
fn the_removal_of_a_rule_leaves_the_name_to_its_holder_in_one_unit() {
    let mut site = SharedScene { contributions: both().to_vec(), ..SharedScene::default() };
    site.settle(&zone("weighted", json!({})));
    assert_eq!(site.settle(&zone_context()), [1]);
    let left: Vec<_> = site.observed.values().map(|observed| observed.raw.values.clone()).collect();
    assert_eq!(left, [vec![ArcStr::from("192.0.2.1")]]);
}

#[test]
fn a_member_that_goes_takes_its_own_set_and_no_other_is_touched() {
    for (policy, more) in policies() {
        if !["multivalue", "weighted", "latency"].contains(&policy) {
            continue;
        }
        let mut site = SharedScene { contributions: both().to_vec(), ..SharedScene::default() };
        let shared = zone(policy, more);
        site.settle(&shared);
        site.contributions.remove(0);
        let planned = site.plan(&shared);
        let changed: Vec<_> = planned.units.iter().flat_map(|unit| &unit.changes).collect();
        assert!(
            matches!(changed[..], [Change { after: None, cause, .. }] if cause.cluster == cluster("east")),
            "{policy}: {changed:?}"
        );
        assert_eq!(site.claimed_by, Some(cluster("west")));
    }
}

#[test]
fn a_sum_that_stands_when_its_first_member_goes_is_the_next_one_s() {
    let one = |by: &str, arrival| contribution(by, arrival, web("A", "192.0.2.1"));
    let mut site = SharedScene {
        contributions: vec![one("east", 1), one("west", 2)],
        ..SharedScene::default()
    };
    let merged = zone("merge", json!({}));
    site.settle(&merged);
    site.contributions.remove(0);
    let planned = site.plan(&merged);
    assert!(planned.units.is_empty() && planned.passed.len() == 1, "{planned:?}");
    let owners: Vec<_> = site.observed.values().filter_map(|it| it.owner.clone()).collect();
    assert_eq!(owners[0].cluster, cluster("west"));
    assert!(site.plan(&merged).passed.is_empty(), "it is passed once");
}

#[test]
fn a_change_of_a_sum_names_all_clusters_that_have_a_part_in_it() {
    let mut site = SharedScene { contributions: both().to_vec(), ..SharedScene::default() };
    let planned = site.plan(&zone("merge", json!({})));
    let clusters: Vec<_> = planned.units[0].changes[0]
        .cause
        .clusters()
        .map(|(cluster, endpoints)| (cluster.as_str().to_owned(), endpoints.len()))
        .collect();
    assert_eq!(clusters, [("east".to_owned(), 1), ("west".to_owned(), 1)]);
}

#[test]
fn a_member_s_set_that_cannot_be_changed_holds_a_switch_up_and_nothing_is_half_done() {
    let mut site = SharedScene { contributions: both().to_vec(), ..SharedScene::default() };
    site.settle(&zone("weighted", json!({})));
    let west = site.observed.values_mut().last().unwrap();
    west.owner = None;
    let planned = site.plan(&zone("multivalue", json!({})));
    assert!(planned.units.is_empty(), "{planned:?}");
    assert_eq!(planned.blocked.len(), 2);
}

/// What a cluster asks for.
fn wish(kind: u8) -> Option<Endpoint> {
    Some(match kind % 9 {
        0 => return None,
        1 => web("A", "192.0.2.1"),
        2 => endpoint("web", WWW, "A", &["192.0.2.1", "192.0.2.2"]),
        3 => Endpoint { ttl_secs: Some(60), ..web("A", "192.0.2.3") },
        4 => web("CNAME", "lb.example.net"),
        5 => web("A", "no-address"),
        6 => web("AAAA", "2001:db8::1"),
        7 => {
            let mut own = web("A", "192.0.2.4");
            own.key.set_identifier = "blue".into();
            own.properties.insert("aws/weight".into(), "3".into());
            own
        }
        _ => web("CNAME", "a-1.eu-central-1.elb.amazonaws.com"),
    })
}

/// Which rule holds, what each of four clusters asks for, and which units Route 53 accepts.
type Step = (usize, [u8; 4], u8);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..policies().len(), prop::array::uniform4(any::<u8>()), any::<u8>());
    prop::collection::vec(step, 1..6)
}

/// A decision in a form in which the order of the contributions has no part.
fn plain(site: &SharedScene, decision: &NameDecision) -> String {
    let arrival = |index: &usize| site.contributions[*index].arrival;
    let desired: Vec<_> = decision
        .desired
        .values()
        .map(|desired| (&desired.set, desired.from.iter().map(arrival).collect::<Vec<_>>()))
        .collect();
    let verdicts: BTreeMap<_, _> =
        decision.verdicts.iter().map(|(index, verdict)| (arrival(index), verdict)).collect();
    format!("{:?} {desired:?} {:?} {verdicts:?}", decision.holder, decision.retained)
}

proptest! {
    #[test]
    fn whatever_comes_and_goes_route_53_accepts_it_and_the_name_is_answered(steps in steps()) {
        let (mut site, mut arrivals) = (SharedScene::default(), 0);
        for (rule, wishes, accepted) in steps {
            let (policy, more) = policies().swap_remove(rule);
            let shared = zone(policy, more);
            for (by, kind) in ["east", "west", "north", "twin"].into_iter().zip(wishes) {
                let there = site.contributions.iter().position(|it| it.cluster == cluster(by));
                let before = there.map(|at| site.contributions.remove(at));
                if let Some(wanted) = wish(kind) {
                    arrivals += 1;
                    let same = before.filter(|before| before.endpoint.key == wanted.key);
                    let arrival = same.map_or(arrivals, |before| before.arrival);
                    site.contributions.push(contribution(by, arrival, wanted));
                }
            }
            let decision = site.decide(&shared);
            let told = plain(&site, &decision);
            site.contributions.reverse();
            let turned = site.decide(&shared);
            prop_assert_eq!(plain(&site, &turned), told);
            prop_assert_eq!(decision.desired.values().any(|it| it.from.is_empty()), false);

            let planned = site.plan(&shared);
            let was_answered = site.is_answered();
            for (at, unit) in planned.units.iter().enumerate() {
                for change in &unit.changes {
                    let is_there = |(by, keys): (&ClusterId, &[_])| {
                        !keys.is_empty() && keys.iter().all(|key| site.contributions.iter().any(
                            |it| it.cluster == *by && it.endpoint.key == *key))
                    };
                    prop_assert!(change.after.is_none() || change.cause.clusters().all(is_there));
                }
                if accepted & (1 << (at % 8)) != 0 {
                    site.apply(unit);
                    prop_assert_eq!(site.faults(), Vec::<String>::new());
                    prop_assert!(policy == "exclusive" || !was_answered || site.is_answered());
                }
            }
            if accepted == u8::MAX {
                let rounds = site.settle(&shared);
                // A weighted set that is new waits until those beside it have its TTL.
                prop_assert!(rounds.len() <= 1, "it is not done after a round: {:?}", rounds);
            }
        }
    }
}
