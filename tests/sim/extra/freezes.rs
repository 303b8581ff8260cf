//! Freezes that close and open while endpoints of their zone are written.

use serde_json::{Value, json};
use zonefold::core::dns::name::DnsName;
use zonefold::core::time::Timestamp;

use super::{Extra, Steps, Told, apex, cluster_of, some_zone, want};
use crate::recorder::STARTED_AT;
use crate::schedule::Step;
use crate::shape::Shape;
use crate::world::World;

/// A freeze of a zone, which every broker knows from its start on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreezeStep {
    zone: usize,
    /// Since the beginning of the run.
    from_ms: u64,
    until_ms: u64,
    /// Whether values of which one stays may be taken away.
    urgent: bool,
}

/// Draws one, and clusters that want something before it, in it and after it.
pub fn draw(shape: &Shape, random: &mut fastrand::Rng) -> Steps {
    let (zone, account) = some_zone(shape, random);
    let Some(cluster) = cluster_of(shape, shape.accounts[account].environment, random) else {
        return vec![];
    };
    let from_ms = random.u64(20_000..=60_000);
    let until_ms = from_ms + random.u64(40_000..=100_000);
    let step = FreezeStep { zone, from_ms, until_ms, urgent: random.bool() };
    let mut steps = vec![(0, Step::Extra(Extra::Freezes(step)))];
    let apex = apex(shape, zone);
    for at_ms in [from_ms / 2, from_ms + 15_000, (from_ms + until_ms) / 2, until_ms - 5_000] {
        for number in 0..2 {
            let hosts = vec![format!("f{number}.{apex}")];
            steps.push((at_ms + random.u64(0..=3_000), want(cluster, number, hosts, random)));
        }
    }
    steps
}

impl FreezeStep {
    /// It is over by itself.
    pub fn lasts_ms(&self) -> Option<u64> {
        Some(self.until_ms)
    }

    /// Writes the rule into the brokers' configuration.
    pub fn prepare(&self, shape: &mut Shape) {
        let time = |ms: u64| {
            let ms = STARTED_AT.0.saturating_add_unsigned(ms);
            jiff::Timestamp::from_millisecond(ms)
                .map_or_else(|_| String::new(), |at| at.to_string())
        };
        let lanes: &[&str] = if self.urgent { &["urgent"] } else { &[] };
        let zone = apex(shape, self.zone);
        let rule: Value = json!({
            "apiVersion": "zonefold.dev/v1", "kind": "Freeze",
            "metadata": { "name": format!("f{}", shape.prepared.governance.len()) },
            "spec": {
                "scope": { "zones": [zone] }, "from": time(self.from_ms), "until": time(self.until_ms),
                "exempt": { "lanes": lanes },
            },
        });
        shape.prepared.governance.push(rule);
    }
}

impl World {
    pub(super) fn take_freeze_step(&self, step: &FreezeStep) {
        let Ok(apex) = DnsName::parse(apex(&self.schedule.shape, step.zone)) else { return };
        let time = |ms: u64| Timestamp(STARTED_AT.0.saturating_add_unsigned(ms));
        let (from, until) = (time(step.from_ms), time(step.until_ms));
        self.tell(Told::Frozen { apex, from, until, urgent: step.urgent });
    }
}
