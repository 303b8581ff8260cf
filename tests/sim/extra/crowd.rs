//! Tens of names of one cluster that Route 53 refuses, all at once and without saying which, while other clusters go on.

use zonefold::core::dns::name::DnsName;
use zonefold::emulator::{FaultEffect, FaultRule};

use super::{Extra, Steps, apex, cluster_of, some_zone, want};
use crate::history::What;
use crate::schedule::Step;
use crate::shape::Shape;
use crate::world::World;

/// Route 53's message about each.
const MESSAGE: &str = "The request could not be processed";

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrowdStep {
    zone: usize,
    /// `x0`, `x1`, … below the apex.
    count: u8,
    /// How long it lasts.
    pub for_ms: u64,
}

/// How it ends.
pub struct CrowdUndo(Vec<(u64, DnsName)>);

/// Draws one, and others that want something at the same time and later.
pub fn draw(shape: &Shape, random: &mut fastrand::Rng) -> Steps {
    let (zone, account) = some_zone(shape, random);
    let environment = shape.accounts[account].environment;
    let Some(noisy) = cluster_of(shape, environment, random) else { return vec![] };
    let quiet: Vec<usize> = (0..shape.clusters.len())
        .filter(|cluster| *cluster != noisy && shape.clusters[*cluster] == environment)
        .collect();
    let apex = apex(shape, zone);
    let count = random.u8(20..=60);
    let at_ms = random.u64(8_000..=25_000);
    let step = CrowdStep { zone, count, for_ms: random.u64(40_000..=120_000) };
    let hosts = (0..count).map(|host| format!("x{host}.{apex}")).collect::<Vec<_>>();
    let mut steps = vec![
        (at_ms, Step::Extra(Extra::Crowd(step))),
        (at_ms + random.u64(1..=500), want(noisy, 0, hosts, random)),
    ];
    if quiet.is_empty() {
        return steps;
    }
    let mut after_ms = 1;
    for number in 1..8 {
        let cluster = quiet[random.usize(0..quiet.len())];
        let hosts = vec![format!("y{number}.{apex}")];
        steps.push((at_ms + after_ms, want(cluster, number, hosts, random)));
        after_ms += random.u64(100..=6_000);
    }
    steps
}

impl World {
    pub(super) fn take_crowd_step(&mut self, step: &CrowdStep) -> CrowdUndo {
        let apex = apex(&self.schedule.shape, step.zone);
        let names =
            (0..step.count).filter_map(|host| DnsName::parse(&format!("x{host}.{apex}")).ok());
        let mut rules = vec![];
        for name in names {
            let message = MESSAGE.to_owned();
            let effect = FaultEffect::PoisonRecord { name: name.clone(), rtype: None, message };
            let rule = self.control.add_fault(FaultRule::always(effect));
            self.recorder.note(What::Poisoned { name: name.clone() });
            rules.push((rule, name));
        }
        CrowdUndo(rules)
    }

    pub(super) fn end_crowd_step(&mut self, undo: CrowdUndo) {
        for (rule, name) in undo.0 {
            drop(self.control.remove_fault(rule));
            self.recorder.note(What::Cured { name });
        }
    }
}
