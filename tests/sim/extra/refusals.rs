//! Changes that fail for minutes: with 500 or 503, or with an unknown code, of a whole zone or of one name.

use zonefold::core::dns::name::DnsName;
use zonefold::emulator::{Action, FaultEffect, FaultMatch, FaultRule};

use super::{Extra, Steps, Told, apex, cluster_of, some_zone, want};
use crate::schedule::Step;
use crate::shape::Shape;
use crate::world::World;

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalStep {
    /// All changes of the zone fail.
    Failing { zone: usize, status: u16, for_ms: u64 },
    /// Those with the name fail, or all, with an unknown code.
    Unlisted { zone: usize, host: Option<String>, for_ms: u64 },
}

/// How a step ends.
pub struct RefusalUndo {
    rule: u64,
    zone: usize,
}

/// Draws one that lasts, and some that want something of the zone before, meanwhile and later.
pub fn draw(shape: &Shape, random: &mut fastrand::Rng) -> Steps {
    let (zone, account) = some_zone(shape, random);
    let environment = shape.accounts[account].environment;
    let host = |host: &str| format!("{host}.{}", apex(shape, zone));
    let at_ms = random.u64(5_000..=30_000);
    let for_ms = random.u64(60_000..=150_000);
    let step = match random.u8(0..4) {
        0 => RefusalStep::Unlisted { zone, host: None, for_ms },
        1 => RefusalStep::Unlisted { zone, host: Some(host("t0")), for_ms },
        _ => {
            let status = if random.bool() { 500 } else { 503 };
            RefusalStep::Failing { zone, status, for_ms }
        }
    };
    let mut steps = vec![(at_ms, Step::Extra(Extra::Refusals(step)))];
    for number in 0..5 {
        let Some(cluster) = cluster_of(shape, environment, random) else { continue };
        let hosts = vec![host(&format!("t{number}")), host(&format!("u{number}"))];
        let after_ms = u64::from(number) * random.u64(1_000..=15_000);
        steps.push((at_ms + 100 + after_ms, want(cluster, number, hosts, random)));
    }
    steps
}

impl RefusalStep {
    /// How long it lasts.
    pub fn for_ms(&self) -> u64 {
        match self {
            Self::Failing { for_ms, .. } | Self::Unlisted { for_ms, .. } => *for_ms,
        }
    }
}

impl World {
    pub(super) fn take_refusal_step(&mut self, step: &RefusalStep) -> Option<RefusalUndo> {
        let (zone, name, effect) = match step {
            RefusalStep::Failing { zone, status, .. } => {
                (*zone, None, FaultEffect::HttpError { status: *status })
            }
            RefusalStep::Unlisted { zone, host, .. } => {
                (*zone, host.clone(), FaultEffect::UnlistedError {})
            }
        };
        let apex = DnsName::parse(apex(&self.schedule.shape, zone)).ok()?;
        let id = self.control.zone_named(&apex)?;
        let kind = if matches!(effect, FaultEffect::UnlistedError {}) {
            "aws.unlisted_for_minutes"
        } else {
            "aws.failing_for_minutes"
        };
        self.recorder.fault(kind, format!("{apex}: {}", name.as_deref().unwrap_or("all")));
        if name.is_none() {
            self.tell(Told::Failing { zone: id.clone(), on: true });
        }
        let matching = FaultMatch {
            action: Some(Action::ChangeResourceRecordSets),
            zone: Some(id),
            name,
            ..FaultMatch::default()
        };
        let rule = self.control.add_fault(FaultRule { matching, times: None, effect });
        Some(RefusalUndo { rule, zone })
    }

    pub(super) fn end_refusal_step(&mut self, undo: RefusalUndo) {
        drop(self.control.remove_fault(undo.rule));
        let apex = DnsName::parse(apex(&self.schedule.shape, undo.zone)).ok();
        if let Some(zone) = apex.and_then(|apex| self.control.zone_named(&apex)) {
            self.tell(Told::Failing { zone, on: false });
        }
    }
}
