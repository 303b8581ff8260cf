//! Guards that hold deletions until people let them go.

use std::time::Duration;

use serde_json::json;
use zonefold::broker::rules::releases::{DecidedHold, Word, WordVerdict};
use zonefold::core::audit::AuditOrigin;
use zonefold::core::dns::name::DnsName;
use zonefold::core::governance::actor::{ActingPerson, Actor};
use zonefold::core::release::request::Deciders;
use zonefold::core::time::Millis;

use super::{Extra, Steps, Told, apex, cluster_of, object, some_zone, want};
use crate::history::What;
use crate::recorder::lock;
use crate::schedule::Step;
use crate::shape::Shape;
use crate::world::World;

/// How often people look at what is held once they do.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A guard of a zone, which every broker knows from its start on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardStep {
    zone: usize,
    /// Deletions within the window.
    allowed: u64,
    window_secs: u64,
    /// From when on people let go what is held, since the beginning of the run.
    people_ms: u64,
}

/// Draws one, and a cluster that wants several names and then none of them, more than once.
pub fn draw(shape: &Shape, random: &mut fastrand::Rng) -> Steps {
    let (zone, account) = some_zone(shape, random);
    let Some(cluster) = cluster_of(shape, shape.accounts[account].environment, random) else {
        return vec![];
    };
    let people_ms = random.u64(60_000..=150_000);
    let step = GuardStep {
        zone,
        allowed: random.u64(1..=4),
        window_secs: random.u64(60..=120),
        people_ms,
    };
    let mut steps = vec![(0, Step::Extra(Extra::Guards(step)))];
    let apex = apex(shape, zone);
    let names = random.u8(4..=12);
    let mut at_ms = random.u64(4_000..=15_000);
    for _ in 0..random.u8(1..=3) {
        for number in 0..names {
            let hosts = vec![format!("g{number}.{apex}")];
            steps.push((at_ms + random.u64(0..=3_000), want(cluster, number, hosts, random)));
        }
        at_ms += random.u64(10_000..=25_000);
        for number in 0..names {
            if random.u8(0..4) > 0 {
                let delete = Step::Delete { cluster, object: object(number) };
                steps.push((at_ms + random.u64(0..=6_000), delete));
            }
        }
        at_ms += random.u64(8_000..=25_000);
    }
    steps
}

impl GuardStep {
    /// Until people have let go what is left.
    pub fn lasts_ms(&self) -> Option<u64> {
        Some(self.people_ms)
    }

    /// Writes the rule into the brokers' configuration.
    pub fn prepare(&self, shape: &mut Shape) {
        let zone = apex(shape, self.zone);
        let rule = json!({
            "apiVersion": "zonefold.dev/v1", "kind": "Guard",
            "metadata": { "name": format!("g{}", shape.prepared.governance.len()) },
            "spec": {
                "scope": { "zones": [zone] }, "window": format!("PT{}S", self.window_secs),
                "counts": ["deletions"], "steps": [{ "percent": 0, "atLeast": self.allowed }],
            },
        });
        shape.prepared.governance.push(rule);
    }
}

impl World {
    /// Tells of the guard. From a time on people look at what is held now and then, and let it go.
    pub(super) fn take_guard_step(&self, step: &GuardStep) {
        let Ok(apex) = DnsName::parse(apex(&self.schedule.shape, step.zone)) else { return };
        let (allowed, window_ms) = (step.allowed, step.window_secs * 1_000);
        self.tell(Told::Guarded { apex, allowed, window_ms });
        let (brokers, recorder) = (self.brokers.clone(), self.recorder.clone());
        let begins = Duration::from_millis(step.people_ms);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(begins).await;
            loop {
                for broker in &brokers {
                    let Some(handle) = lock(broker).handle() else { continue };
                    for report in handle.holds().await {
                        let hold = DecidedHold {
                            digest: report.hold.digest,
                            zone: report.apex,
                            names: report.hold.names.into_iter().collect(),
                            units: report.hold.units,
                            why: "the simulation".to_owned(),
                            needed: 1,
                        };
                        recorder.note(What::Told(Told::LetGo { units: hold.units.clone() }));
                        let word = Word {
                            person: ActingPerson {
                                actor: Actor::User("ann".to_owned()),
                                groups: [].into(),
                                is_admin: true,
                                is_operator: true,
                            },
                            deciders: Deciders::Platform,
                            verdict: WordVerdict::Approve(Millis::from_secs(86_400)),
                            comment: String::new(),
                            origin: AuditOrigin::default(),
                        };
                        // Where the store fails, they look again.
                        drop(handle.decide_hold(&hold, &word).await);
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
    }
}
