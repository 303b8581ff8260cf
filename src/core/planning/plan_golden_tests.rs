//! Whole plans and a batch as text: `snapshots/` is reviewed like code.

use super::*;
use crate::core::ids::{AccountId, ZoneId};
use crate::core::planning::change::{Action, Batch, BatchStamp, WireChange};
use crate::core::time::Timestamp;

fn east() -> Scene {
    Scene { claimed_by: Some("east"), ..Scene::default() }
}

fn alias(target: &str) -> Endpoint {
    let mut alias = cname(target);
    alias.properties.insert("alias".into(), "true".into());
    alias
}

fn weighted(object: &str, identifier: &str, target: &str) -> Endpoint {
    let mut endpoint = a(object, target);
    endpoint.key.set_identifier = identifier.into();
    endpoint.properties.insert("aws/weight".into(), "10".into());
    endpoint
}

/// The title of each plan, and the plan.
fn show(scenes: &[(&str, Scene)]) -> String {
    let shown = scenes.iter().map(|(about, scene)| format!("# {about}\n{}", scene.plan()));
    shown.collect::<Vec<_>>().join("\n")
}

#[test]
fn plans_of_a_name_that_is_free_to_write() {
    let both = || east().wants(a("web", "192.0.2.1"));
    let plans = show(&[
        ("a new name", Scene::default().wants(a("web", "192.0.2.1"))),
        ("in sync", both().holds(a("web", "192.0.2.1"), Some("east"))),
        ("other values", both().holds(a("web", "192.0.2.2"), Some("east"))),
        ("passed on", both().holds(a("web", "192.0.2.2"), Some("west"))),
        ("withdrawn", east().holds(a("web", "192.0.2.1"), Some("east"))),
        (
            "an address in the place of a CNAME",
            both().holds(cname("other.example.net"), Some("east")),
        ),
        (
            "two weighted sets",
            east().wants(weighted("blue", "blue", "192.0.2.1")).wants(weighted(
                "green",
                "green",
                "192.0.2.2",
            )),
        ),
        ("an alias", east().wants(alias("there.example.com"))),
        ("half of an alias", east().wants(alias("only-a.example.com"))),
        (
            "drift that is repaired",
            both().holds(a("web", "192.0.2.2"), Some("east")).drifted(Drift::Changed),
        ),
    ]);
    insta::assert_snapshot!(plans);
}

#[test]
fn plans_of_a_name_that_is_blocked() {
    let under = |policy, drift, adopt| Scene { policy, drift, adopt, ..east() };
    let sync = |drift, adopt| under(ZonePolicy::Sync, drift, adopt);
    let watched = || under(ZonePolicy::Observe, DriftPolicy::Repair, AdoptPolicy::Identical);
    let wanted = || a("web", "192.0.2.1");
    let plans = show(&[
        ("foreign", east().wants(wanted()).holds(a("web", "192.0.2.2"), None)),
        (
            "foreign, and identical ones are adopted",
            sync(DriftPolicy::Repair, AdoptPolicy::Identical)
                .wants(wanted())
                .holds(a("web", "192.0.2.2"), None),
        ),
        (
            "identical, and adopted",
            sync(DriftPolicy::Repair, AdoptPolicy::Identical).wants(wanted()).holds(wanted(), None),
        ),
        ("a foreign CNAME", east().wants(wanted()).holds(cname("other.example.net"), None)),
        ("observed only", watched().wants(wanted())),
        ("observed only, and identical", watched().wants(wanted()).holds(wanted(), None)),
        (
            "not to be deleted",
            under(ZonePolicy::UpsertOnly, DriftPolicy::Repair, AdoptPolicy::Never)
                .holds(wanted(), Some("east")),
        ),
        (
            "drift that is left",
            sync(DriftPolicy::Alert, AdoptPolicy::Never)
                .wants(wanted())
                .holds(a("web", "192.0.2.2"), Some("east"))
                .drifted(Drift::Changed),
        ),
        (
            "drift of a set that no endpoint asks for",
            sync(DriftPolicy::Alert, AdoptPolicy::Never)
                .holds(wanted(), Some("east"))
                .drifted(Drift::Changed),
        ),
        ("an alias without its target", east().wants(alias("later.example.com"))),
        (
            "an alias without its target in the place of an address",
            east().wants(alias("later.example.com")).holds(wanted(), Some("east")),
        ),
        (
            "in the way of a rejected endpoint's set",
            east()
                .wants(a("web", "nonsense"))
                .wants(endpoint("c", NAME, "CNAME", &["other.example.net"]))
                .holds(wanted(), Some("east")),
        ),
    ]);
    insta::assert_snapshot!(plans);
}

#[test]
fn a_batch_shows_its_elements_in_the_order_of_the_call() {
    let scene = east().wants(a("web", "192.0.2.1")).holds(cname("x.example.net"), Some("east"));
    let units = scene.plan().units;
    let changes = || units.iter().flat_map(|unit| &unit.changes);
    let deletes = changes().filter_map(|change| change.before.clone());
    let creates = changes().filter_map(|change| change.after.clone());
    let wire = deletes
        .map(|set| WireChange { action: Action::Delete, set })
        .chain(creates.map(|set| WireChange { action: Action::Create, set }))
        .collect();
    let batch = Batch {
        id: BatchId(uuid::Uuid::nil()),
        account: AccountId::parse("111111111111").unwrap(),
        zone: ZoneId::parse("Z0000000000000000001").unwrap(),
        planned_at: Timestamp(0),
        stamp: BatchStamp::default(),
        wire,
        units,
    };
    insta::assert_snapshot!(batch);
}
