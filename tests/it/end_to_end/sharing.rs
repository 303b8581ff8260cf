//! Several clusters and one name: each policy, switches between them, weights from outside, clusters that go, and what one member
//! does to the others.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use zonefold::broker::directory::entry::Progress;
use zonefold::broker::rules::{ChangedBy, RuleChange};
use zonefold::cli::token::sha256_hex;
use zonefold::core::audit::AuditOrigin;
use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::governance::actor::Actor;
use zonefold::core::governance::rule::{Rule, RuleHome};
use zonefold::emulator::*;
use zonefold::ports::ChangeFilter;

use crate::support::aws;
use crate::support::deployment::{Deployment, configuration, sqlite};
use crate::support::folder::TestFolder;
use crate::support::manifests::{annotated_service, service};
use crate::support::process::zonefold;
use crate::support::wait::eventually_equal;
use crate::support::world::{Plan, World, is_applied, name};

const WWW: &str = "www.example.com";
const CHECK: &str = "11111111-2222-3333-4444-555555555555";

fn sharing(policy: &str, more: &Value) -> RuleChange {
    let mut spec = json!({ "zone": "example.com", "names": [WWW], "policy": policy });
    spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    put("Sharing", "www", &spec)
}

fn put(kind: &str, rule: &str, spec: &Value) -> RuleChange {
    let document = json!({
        "apiVersion": "zonefold.dev/v1", "kind": kind, "metadata": { "name": rule }, "spec": spec,
    });
    RuleChange::Put(Box::new(Rule::from_json(&document, RuleHome::Store).unwrap()))
}

async fn apply(world: &World, change: RuleChange) {
    let by = ChangedBy {
        actor: Actor::User("ann".to_owned()),
        origin: AuditOrigin::default(),
        reason: None,
    };
    world.broker().apply_rules(vec![change], None, by).await.unwrap();
}

fn held(world: &World) -> Vec<RawRecordSet> {
    let records = world.control().records(&world.zone("example.com"), View::Accepted).unwrap();
    records.into_iter().filter(|set| name(&set.name) == name(WWW)).collect()
}

/// The record sets of the name: type, set identifier, what tells its policy, and the values.
fn sets(world: &World) -> Vec<String> {
    let shown = |set: RawRecordSet| {
        let word = set
            .weight
            .map(|weight| format!("weight {weight}"))
            .or(set.region.map(|region| region.to_string()))
            .or(set.failover.map(|role| role.to_string()))
            .or(set.multivalue_answer.map(|_| "multivalue".to_owned()))
            .unwrap_or_else(|| "simple".to_owned());
        let identifier = set.set_identifier.as_deref().unwrap_or("-");
        format!("{} {identifier} {word} {}", set.rtype, set.values.join(","))
    };
    let mut shown: Vec<String> = held(world).into_iter().map(shown).collect();
    shown.sort();
    shown
}

async fn until(world: &World, what: &str, wanted: &[&str]) {
    world.until(what, |world| sets(world) == wanted).await;
    world.wait_idle().await;
}

/// Whether the name had a record set after each batch that was applied since it had one first.
fn was_always_answered(world: &World) -> bool {
    let mut there: BTreeSet<String> = BTreeSet::new();
    let mut was_answered = false;
    for entry in world.control().journal(0) {
        for change in &entry.changes {
            let (before, after) = (change.before.as_ref(), change.after.as_ref());
            let Some(set) = after.or(before).filter(|set| name(&set.name) == name(WWW)) else {
                continue;
            };
            let key = format!("{} {:?}", set.rtype, set.set_identifier);
            if after.is_some() {
                there.insert(key)
            } else {
                there.remove(&key)
            };
        }
        if was_answered && there.is_empty() {
            return false;
        }
        was_answered |= !there.is_empty();
    }
    was_answered
}

fn pair(more: &Value) -> Value {
    let mut pair = json!({ "primary": "east", "secondary": "west" });
    pair.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    json!({ "failover": pair })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_switch_of_policy_is_one_call_and_the_name_is_answered_throughout() {
    World::run(Plan::default(), async |world| {
        let (east, west) = (world.cluster("east").await, world.cluster("west").await);
        east.wants("web", &[(WWW, "A", &["192.0.2.1"])]);
        until(world, "the first has it", &["A - simple 192.0.2.1"]).await;
        west.wants("web", &[(WWW, "A", &["192.0.2.2"])]);
        west.acked(1).await;
        let by_weight = json!({ "weights": { "east": 10, "west": 90 } });
        let route53 = pair(&json!({ "mode": "route53", "healthCheck": CHECK }));
        let manual = |active: &str| pair(&json!({ "mode": "manual", "active": active }));
        let steps: [(&str, Value, &[&str]); 8] = [
            ("merge", json!({}), &["A - simple 192.0.2.1,192.0.2.2"]),
            ("weighted", by_weight, &["A east weight 10 192.0.2.1", "A west weight 90 192.0.2.2"]),
            (
                "multivalue",
                json!({}),
                &["A east multivalue 192.0.2.1", "A west multivalue 192.0.2.2"],
            ),
            ("latency", json!({}), &["A east us-east-1 192.0.2.1", "A west us-west-1 192.0.2.2"]),
            ("failover", route53, &["A east PRIMARY 192.0.2.1", "A west SECONDARY 192.0.2.2"]),
            ("failover", manual("east"), &["A - simple 192.0.2.1"]),
            ("failover", manual("west"), &["A - simple 192.0.2.2"]),
            ("exclusive", json!({}), &["A - simple 192.0.2.1"]),
        ];
        for (policy, more, wanted) in steps {
            let before = world.our_batches().len();
            apply(world, sharing(policy, &more)).await;
            until(world, policy, wanted).await;
            assert_eq!(world.our_batches().len(), before + 1, "{policy} {more}: one call");
        }
        apply(world, sharing("weighted", &json!({}))).await;
        until(world, "again", &["A east weight 1 192.0.2.1", "A west weight 1 192.0.2.2"]).await;
        let before = world.our_batches().len();
        let removed = RuleChange::Delete(sharing("weighted", &json!({})).id());
        apply(world, removed).await;
        until(world, "without a rule", &["A - simple 192.0.2.1"]).await;
        assert_eq!(world.our_batches().len(), before + 1);
        assert!(was_always_answered(world));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_changes_weights_and_no_object_does_and_a_freeze_lets_that_pass() {
    World::run(Plan::default(), async |world| {
        let (east, west) = (world.cluster("east").await, world.cluster("west").await);
        apply(world, sharing("weighted", &json!({ "weights": { "east": 100, "west": 0 } }))).await;
        east.wants("web", &[(WWW, "A", &["192.0.2.1"])]);
        west.wants("web", &[(WWW, "A", &["192.0.2.2"])]);
        until(world, "a canary", &["A east weight 100 192.0.2.1", "A west weight 0 192.0.2.2"])
            .await;
        let now = jiff::Timestamp::now();
        let freeze = json!({
            "from": (now - jiff::SignedDuration::from_hours(1)).to_string(),
            "until": (now + jiff::SignedDuration::from_hours(1)).to_string(),
        });
        apply(world, put("Freeze", "now", &freeze)).await;
        // The object's edit waits, and the people's word does not wait for it.
        west.wants("web", &[(WWW, "A", &["192.0.2.9"])]);
        let is_frozen = |world: &World| {
            world.statuses("west", WWW).iter().any(|status| {
                matches!(&status.progress, Some(Progress::Pending { detail, .. }) if detail.contains("the freeze now"))
            })
        };
        world.until("the edit waits", is_frozen).await;
        west.wants("web", &[(WWW, "A", &["192.0.2.2"])]);
        world.until("it is taken back", |world| !is_frozen(world)).await;
        apply(world, sharing("weighted", &json!({ "weights": { "east": 50, "west": 50 } }))).await;
        until(world, "half", &["A east weight 50 192.0.2.1", "A west weight 50 192.0.2.2"]).await;
        assert!(was_always_answered(world));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_goes_takes_its_share_alone_and_the_last_value_stays_until_the_rule_lets_it_go()
 {
    World::run(Plan::default(), async |world| {
        let (east, west) = (world.cluster("east").await, world.cluster("west").await);
        apply(world, sharing("weighted", &json!({}))).await;
        east.wants("web", &[(WWW, "A", &["192.0.2.1"])]);
        west.wants("web", &[(WWW, "A", &["192.0.2.2"])]);
        let both = ["A east weight 1 192.0.2.1", "A west weight 1 192.0.2.2"];
        until(world, "both are there", &both).await;
        let before = world.our_batches().len();
        east.delete("web");
        until(world, "the first goes", &both[1..]).await;
        let batches = world.our_batches().split_off(before);
        let changed: Vec<_> = batches.iter().flat_map(|batch| &batch.changes).collect();
        assert_eq!(changed.len(), 1, "the other's set is not touched: {changed:?}");
        west.delete("web");
        west.acked(0).await;
        world.wait_idle().await;
        assert_eq!(sets(world), both[1..], "the last value stays");
        // Also over a restart, where nobody remembers who asked for it.
        world.stop_broker().await;
        world.start_broker().await;
        world.wait_idle().await;
        assert_eq!(sets(world), both[1..]);
        apply(world, sharing("weighted", &json!({ "lastValue": "delete" }))).await;
        until(world, "people let it go", &[]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_route_53_refuses_stops_no_other() {
    let plan = Plan { health_checks: Some(vec![CHECK.to_owned()]), ..Plan::default() };
    World::run(plan, async |world| {
        apply(world, sharing("weighted", &json!({ "weights": { "east": 10, "west": 90 } }))).await;
        let (east, west) = (world.cluster("east").await, world.cluster("west").await);
        east.wants("web", &[(WWW, "A", &["192.0.2.1"])]);
        until(world, "the first is published", &["A east weight 10 192.0.2.1"]).await;
        let unknown = [
            ("set-identifier", "blue"),
            ("aws-weight", "5"),
            ("aws-health-check-id", "99999999-2222-3333-4444-555555555555"),
        ];
        west.write("web.yaml", &annotated_service("web", WWW, "192.0.2.2", &unknown));
        world
            .until("it is refused", |world| {
                world.statuses("west", WWW).iter().any(|status| {
                    matches!(&status.progress, Some(Progress::Refused { message, .. }) if message.contains("health check"))
                })
            })
            .await;
        east.wants("web", &[(WWW, "A", &["192.0.2.3"])]);
        until(world, "the other is edited", &["A east weight 10 192.0.2.3"]).await;
        let known = [unknown[0], unknown[1], ("aws-health-check-id", CHECK)];
        west.write("web.yaml", &annotated_service("web", WWW, "192.0.2.2", &known));
        world.until("once it is right it goes out", |world| sets(world).len() == 2).await;
        assert_eq!(sets(world)[0], "A blue weight 90 192.0.2.2", "with the rule's weight");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_writer_s_change_of_one_share_is_repaired_and_the_others_are_left_alone() {
    World::run(Plan { drift_interval_secs: 15, ..Plan::default() }, async |world| {
        apply(world, sharing("weighted", &json!({}))).await;
        let (east, west) = (world.cluster("east").await, world.cluster("west").await);
        east.wants("web", &[(WWW, "A", &["192.0.2.1"])]);
        west.wants("web", &[(WWW, "A", &["192.0.2.2"])]);
        let both = ["A east weight 1 192.0.2.1", "A west weight 1 192.0.2.2"];
        until(world, "both are there", &both).await;
        let shares = held(world);
        let of_west = shares.iter().find(|set| set.set_identifier.as_deref() == Some("west"));
        let before = of_west.unwrap().clone();
        let after = RawRecordSet { weight: Some(200), ..before.clone() };
        let changes = [(ChangeAction::Delete, before), (ChangeAction::Create, after)]
            .map(|(action, set)| RecordChange { action, set });
        world.control().foreign_write(&world.zone("example.com"), &changes).unwrap();
        let begun = world.our_batches().len();
        // The other one's edit is not stopped by what nobody has seen yet.
        east.wants("web", &[(WWW, "A", &["192.0.2.3"])]);
        until(world, "it is repaired", &["A east weight 1 192.0.2.3", both[1]]).await;
        let touched: BTreeMap<String, usize> = world
            .our_batches()
            .split_off(begun)
            .iter()
            .flat_map(|batch| &batch.changes)
            .filter_map(|change| change.after.as_ref()?.set_identifier.clone())
            .fold(BTreeMap::new(), |mut counts, identifier| {
                *counts.entry(identifier.to_string()).or_default() += 1;
                counts
            });
        assert_eq!(touched, BTreeMap::from([("east".to_owned(), 1), ("west".to_owned(), 1)]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_set_is_everybody_s_and_says_so() {
    World::run(Plan::default(), async |world| {
        apply(world, sharing("merge", &json!({}))).await;
        let (east, west) = (world.cluster("east").await, world.cluster("west").await);
        east.wants("web", &[(WWW, "A", &["192.0.2.1"])]);
        until(world, "one", &["A - simple 192.0.2.1"]).await;
        west.wants("web", &[(WWW, "A", &["192.0.2.2"])]);
        until(world, "both", &["A - simple 192.0.2.1,192.0.2.2"]).await;
        for cluster in ["east", "west"] {
            assert!(world.statuses(cluster, WWW).iter().all(is_applied), "{cluster}");
        }
        let changes = world
            .broker()
            .changes(&ChangeFilter { limit: 100, ..ChangeFilter::default() })
            .await
            .unwrap();
        let last = changes.iter().max_by_key(|row| row.change.cause.shared_with.len()).unwrap();
        let clusters: Vec<_> =
            last.change.cause.clusters().map(|(cluster, _)| cluster.to_string()).collect();
        assert_eq!(clusters, ["east", "west"]);
        east.delete("web");
        until(world, "the rest", &["A - simple 192.0.2.2"]).await;
        assert!(was_always_answered(world));
    })
    .await;
}

const OPERATOR: &str = "zf_operator_of_shared_names_0123456789abcdef";
const APP: &str = "app.dev.example.com";

const SHARED: &str = "\
apiVersion: zonefold.dev/v1
kind: Sharing
metadata: { name: app }
spec:
  zone: dev.example.com
  names: [app.dev.example.com]
  policy: weighted
  weights: { dev-east: 100, dev-west: 0 }
---
apiVersion: zonefold.dev/v1
kind: Sharing
metadata: { name: api }
spec:
  zone: dev.example.com
  names: [api.dev.example.com]
  policy: failover
  failover: { mode: manual, primary: dev-east, secondary: dev-west }
";

const OF_FILE: &str = "\
apiVersion: zonefold.dev/v1
kind: Sharing
metadata: { name: fixed }
spec: { zone: dev.example.com, names: [\"*.fixed.dev.example.com\"], policy: weighted }
";

async fn command(site: &Deployment, arguments: &[&str]) -> (bool, String) {
    let broker = format!("http://{}", site.http);
    let token = site.folder.write("operator", OPERATOR);
    let token = token.to_str().unwrap();
    let arguments =
        arguments.iter().copied().chain(["--broker", broker.as_str(), "--token-file", token]);
    let output = zonefold(&site.folder.path("home"), arguments).output().await.unwrap();
    let texts = [&output.stdout, &output.stderr];
    (output.status.success(), texts.map(|text| String::from_utf8_lossy(text).into_owned()).concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn people_move_weights_and_fail_over_by_a_command_each() {
    let (emulator, aws) = aws::emulated().await;
    let folder = TestFolder::new();
    let rules = folder.folder("rules");
    folder.write("rules/fixed.yaml", OF_FILE);
    let mut configured = configuration(&folder, &sqlite(&folder), aws.configured());
    let without_guards = configured["rules"][0].clone();
    configured["rules"] = json!([rules, without_guards]);
    configured["api"] = json!({ "tokens": [
        { "name": "ann", "role": "operator", "token_sha256": sha256_hex(OPERATOR) },
    ] });
    let mut site = Deployment::start(folder, &aws, &configured).await;
    let shared = site.folder.write("shared.yaml", SHARED);
    let (ok, said) = command(&site, &["apply", "-f", shared.to_str().unwrap()]).await;
    assert!(ok, "{said}");
    let api = "api.dev.example.com";
    for (cluster, number) in [("dev-east", 1), ("dev-west", 2)] {
        let manifests = [
            ("app.yaml", service("app", APP, &format!("192.0.2.1{number}"))),
            ("api.yaml", service("api", api, &format!("192.0.2.2{number}"))),
        ];
        site.agent(cluster, &manifests).await;
        site.applied(cluster, "app", "A").await;
    }
    let weights = async |site: &Deployment| {
        let (_, said) = command(site, &["why", APP, "-o", "json"]).await;
        let answer: Value = serde_json::from_str(&said).unwrap_or_default();
        let observed = answer["zones"][0]["observed"].as_array().cloned().unwrap_or_default();
        observed
            .iter()
            .map(|record| (record["set_identifier"].clone(), record["set"]["weight"].clone()))
            .collect::<Vec<_>>()
    };
    let (ok, said) =
        command(&site, &["weight", APP, "dev-east=90", "dev-west=10", "--preview"]).await;
    assert!(ok && said.contains("nothing is changed") && said.contains("0 % → 10 %"), "{said}");
    for (arguments, told) in [
        (&["dev-west=300"][..], "give a weight from 0 to 255"),
        (&["dev-north=1"], "dev-north is no cluster of the broker's configuration"),
        (&["dev-east=0"], "no cluster that publishes app.dev.example.com would have a weight"),
    ] {
        let (ok, said) = command(&site, &[&["weight", APP], arguments].concat()).await;
        assert!(!ok && said.contains(told), "{arguments:?}: {said}");
    }
    let (ok, said) = command(&site, &["weight", "a.fixed.dev.example.com", "dev-east=1"]).await;
    assert!(!ok && said.contains("rules/fixed.yaml: change spec.weights there, to"), "{said}");
    let (ok, said) = command(&site, &["weight", "nobody.dev.example.com", "dev-east=1"]).await;
    assert!(!ok && said.contains("no Sharing rule says"), "{said}");
    let canary = ["weight", APP, "dev-east=90", "dev-west=10", "--reason", "a canary"];
    let (ok, said) = command(&site, &canary).await;
    assert!(ok && said.contains("90 %") && said.contains("is changed for app.dev"), "{said}");
    let wanted = vec![(json!("dev-east"), json!(90)), (json!("dev-west"), json!(10))];
    eventually_equal("the weights arrive", wanted, async || weights(&site).await).await;

    let answer = |address: &str| Some((60, vec![address.to_owned()]));
    assert_eq!(aws.answer("dev", api, "A").await, answer("192.0.2.21"));
    let (ok, said) = command(&site, &["failover", api, "--to", "prod-east"]).await;
    assert!(!ok && said.contains("prod-east is neither"), "{said}");
    let (ok, said) = command(&site, &["failover", APP, "--to", "dev-west"]).await;
    assert!(!ok && said.contains("lets no person fail over"), "{said}");
    let (ok, said) = command(&site, &["failover", api, "--to", "dev-west"]).await;
    assert!(ok && said.contains("dev-east → dev-west"), "{said}");
    let west = answer("192.0.2.22");
    eventually_equal("the other answers", west, async || aws.answer("dev", api, "A").await).await;
    site.finish(&aws).await;
    emulator.stop().await;
}
