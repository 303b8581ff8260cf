//! Names that all clusters of an environment want, shared by a rule whose policy and weights people change meanwhile.

use std::time::Duration;

use serde_json::{Value, json};
use zonefold::broker::rules::{ChangedBy, RuleChange};
use zonefold::core::audit::AuditOrigin;
use zonefold::core::dns::name::DnsName;
use zonefold::core::governance::actor::Actor;
use zonefold::core::governance::rule::{Rule, RuleHome, RuleSpec, Sharing};

use super::{Extra, Steps, Told, apex, object, some_zone};
use crate::history::What;
use crate::recorder::lock;
use crate::schedule::Step;
use crate::shape::Shape;
use crate::wish::{Wish, address};
use crate::world::World;

/// How many names are shared.
const HOSTS: u8 = 2;
/// The objects of shared names have numbers from here on.
const FIRST: u8 = 44;
/// How long people wait for an answer before they ask anew.
const PATIENCE: Duration = Duration::from_secs(8);

/// A rule that changes.
#[derive(Clone, Debug, PartialEq)]
pub struct SharingStep {
    zone: usize,
    /// From when on what it says, since the beginning of the run.
    says: Vec<(u64, Value)>,
}

/// Draws a rule and its changes, and clusters that want its names, edit what they want, and go.
pub fn draw(shape: &Shape, random: &mut fastrand::Rng) -> Steps {
    let (zone, account) = some_zone(shape, random);
    let environment = shape.accounts[account].environment;
    let clusters = shape.clusters.iter().enumerate().filter(|(_, of)| **of == environment);
    let clusters: Vec<usize> = clusters.map(|(cluster, _)| cluster).collect();
    // Where endpoints name their zones, one that names none may be in several.
    let names_zones = shape.accounts.iter().any(|account| !account.private.is_empty());
    if clusters.len() < 2 || names_zones {
        return vec![];
    }
    let apex = apex(shape, zone);
    let mut at_ms = random.u64(500..=12_000);
    let mut says = vec![];
    for _ in 0..random.u8(2..=6) {
        says.push((at_ms, rule(apex, &clusters, random)));
        at_ms += random.u64(4_000..=30_000);
    }
    let ends_ms = at_ms;
    let mut steps = vec![(0, Step::Extra(Extra::Sharing(SharingStep { zone, says })))];
    for cluster in clusters {
        for host in 0..HOSTS {
            let object = object(FIRST + host);
            let name = format!("s{host}.{apex}");
            let mut at_ms = random.u64(1_000..=15_000);
            while at_ms < ends_ms {
                let step = match random.u8(0..6) {
                    0 => Step::Delete { cluster, object },
                    _ => Step::Want { cluster, object, wishes: vec![wish(name.clone(), random)] },
                };
                steps.push((at_ms, step));
                at_ms += random.u64(3_000..=35_000);
            }
        }
    }
    steps
}

fn wish(host: String, random: &mut fastrand::Rng) -> Wish {
    let mut wish = Wish::plain(host, random);
    wish.ttl_secs = [None, Some(60), Some(120)][random.usize(0..3)];
    match random.u8(0..20) {
        0 | 1 => {
            wish.rtype = "CNAME";
            wish.targets = vec![format!("t{}.example.net", random.u8(0..3))];
        }
        2 => {
            wish.rtype = "AAAA";
            wish.targets = vec![format!("2001:db8::{}", random.u8(1..9))];
        }
        3 => wish.targets = vec!["not-an-address".to_owned()],
        4 | 5 => {
            wish.set_identifier = "blue".to_owned();
            wish.weight = Some(random.u8(0..4) * 10);
        }
        6..=9 => wish.targets.push(address(random)),
        _ => {}
    }
    wish.targets.dedup();
    wish
}

fn rule(apex: &str, clusters: &[usize], random: &mut fastrand::Rng) -> Value {
    let cluster =
        |random: &mut fastrand::Rng| Shape::cluster_name(clusters[random.usize(0..clusters.len())]);
    let names: Vec<String> = (0..HOSTS).map(|host| format!("s{host}.{apex}")).collect();
    let mut spec = json!({ "zone": apex, "names": names });
    let policy = match random.u8(0..14) {
        0..=2 => "merge",
        3..=6 => "weighted",
        7 | 8 => "multivalue",
        9 | 10 => "latency",
        11 | 12 => "failover",
        _ => "exclusive",
    };
    spec["policy"] = policy.into();
    if policy == "weighted" {
        let mut weights = serde_json::Map::new();
        for _ in 0..random.u8(0..=3) {
            weights.insert(cluster(random), (random.u8(1..4) * 10).into());
        }
        if random.bool() {
            weights.insert(cluster(random), 0.into());
        }
        spec["weights"] = weights.into();
    }
    if policy == "failover" {
        let (primary, secondary) = (clusters[0], clusters[1]);
        let mut pair = json!({
            "primary": Shape::cluster_name(primary), "secondary": Shape::cluster_name(secondary),
        });
        match random.u8(0..3) {
            0 => {
                pair["mode"] = "route53".into();
                pair["healthCheck"] = "11111111-2222-3333-4444-555555555555".into();
            }
            number => {
                pair["mode"] = "manual".into();
                let active = if number == 1 { primary } else { secondary };
                pair["active"] = Shape::cluster_name(active).into();
            }
        }
        spec["failover"] = pair;
    }
    spec
}

impl SharingStep {
    /// Until the last change, and some more.
    pub fn lasts_ms(&self) -> Option<u64> {
        self.says.last().map(|(at_ms, _)| at_ms + 10_000)
    }
}

fn read(spec: &Value) -> Option<(Rule, Sharing)> {
    let document = json!({
        "apiVersion": "zonefold.dev/v1", "kind": "Sharing", "metadata": { "name": "shared" },
        "spec": spec,
    });
    let rule = Rule::from_json(&document, RuleHome::Store).ok()?;
    match rule.spec.clone() {
        RuleSpec::Sharing(sharing) => Some((rule, sharing)),
        _ => None,
    }
}

impl World {
    /// People write the rule, one change after the other, and each until a broker has accepted it.
    pub(super) fn take_sharing_step(&self, step: &SharingStep) {
        let Ok(apex) = DnsName::parse(apex(&self.schedule.shape, step.zone)) else { return };
        let (brokers, recorder) = (self.brokers.clone(), self.recorder.clone());
        let says = step.says.clone();
        tokio::task::spawn_local(async move {
            let mut now_ms = 0;
            for (at_ms, spec) in says {
                tokio::time::sleep(Duration::from_millis(at_ms - now_ms)).await;
                now_ms = at_ms;
                let Some((rule, sharing)) = read(&spec) else { continue };
                let told = |is_accepted: bool| {
                    let (apex, sharing) = (apex.clone(), Box::new(sharing.clone()));
                    recorder.note(What::Told(Told::Shared { apex, sharing, is_accepted }));
                };
                told(false);
                let mut tried = 0;
                loop {
                    let broker = brokers[tried % brokers.len()].clone();
                    tried += 1;
                    let handle = lock(&broker).handle();
                    if let Some(handle) = handle {
                        let by = ChangedBy {
                            actor: Actor::User("ann".to_owned()),
                            origin: AuditOrigin::default(),
                            reason: None,
                        };
                        let changes = vec![RuleChange::Put(Box::new(rule.clone()))];
                        let applied = handle.apply_rules(changes, None, by);
                        if let Ok(Ok(_)) = tokio::time::timeout(PATIENCE, applied).await {
                            break;
                        }
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                told(true);
            }
        });
    }
}
