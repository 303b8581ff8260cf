//! Hand-overs of names from one cluster to another, some of them aborted.

use std::time::Duration;

use zonefold::broker::handovers::WantedHandover;
use zonefold::core::governance::actor::Actor;
use zonefold::core::governance::handover::{Handover, HandoverMode, HandoverPhase};
use zonefold::core::governance::pattern::NamePattern;
use zonefold::core::ids::ClusterId;

use super::{Extra, Steps, Told, apex, object, some_zone, want};
use crate::history::What;
use crate::recorder::lock;
use crate::schedule::Step;
use crate::shape::Shape;
use crate::world::World;

/// The objects of hand-overs have numbers from here on, past those of other events.
const FIRST: u8 = 30;
/// How often people try again what a broker refuses.
const AGAIN_EVERY: Duration = Duration::from_secs(3);

/// Somebody hands names over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandoverStep {
    from: usize,
    to: usize,
    /// The names, as a pattern.
    names: String,
    mode: HandoverMode,
    /// How long people look at what is ready.
    staged_ms: u64,
    /// After how long they abort it; `None` if they do not.
    aborted_ms: Option<u64>,
    lasts_ms: u64,
}

/// Draws one between two clusters of an environment, which want many of the same names.
pub fn draw(shape: &Shape, random: &mut fastrand::Rng) -> Steps {
    let (zone, account) = some_zone(shape, random);
    let environment = shape.accounts[account].environment;
    let fit = shape.clusters.iter().enumerate().filter(|(_, of)| **of == environment);
    let mut fit: Vec<usize> = fit.map(|(cluster, _)| cluster).collect();
    random.shuffle(&mut fit);
    let [from, to, ..] = fit[..] else { return vec![] };
    let apex = apex(shape, zone);
    let mut steps = vec![];
    let names = random.u8(3..=10);
    let begins_ms = random.u64(2_000..=10_000);
    for number in 0..names {
        let hosts = || vec![format!("m{number}.moves.{apex}")];
        // Names of one cluster alone stay with it.
        let wanted = random.u8(0..10);
        if wanted != 0 {
            let at_ms = begins_ms + random.u64(0..=3_000);
            steps.push((at_ms, want(from, FIRST + number, hosts(), random)));
        }
        if wanted != 1 {
            let at_ms = begins_ms + random.u64(1_000..=40_000);
            steps.push((at_ms, want(to, FIRST + number, hosts(), random)));
        }
    }
    let mut at_ms = begins_ms + random.u64(5_000..=20_000);
    for back in [false, true] {
        let (from, to) = if back { (to, from) } else { (from, to) };
        let lasts_ms = 150_000_u64.saturating_sub(at_ms);
        let step = HandoverStep {
            from,
            to,
            names: format!("*.moves.{apex}"),
            mode: if random.bool() { HandoverMode::Cutover } else { HandoverMode::Overlap },
            staged_ms: random.u64(1_000..=8_000),
            aborted_ms: random.bool().then(|| random.u64(1..=30_000)),
            lasts_ms,
        };
        steps.push((at_ms, Step::Extra(Extra::Handovers(step))));
        if random.bool() {
            break;
        }
        at_ms += random.u64(10_000..=60_000);
    }
    // Names change and go while they are on their way.
    for _ in 0..random.u8(0..=6) {
        let (cluster, number) = (if random.bool() { from } else { to }, random.u8(0..names));
        let at_ms = begins_ms + random.u64(5_000..=60_000);
        let step = match random.u8(0..3) {
            0 => Step::Delete { cluster, object: object(FIRST + number) },
            _ => want(cluster, FIRST + number, vec![format!("m{number}.moves.{apex}")], random),
        };
        steps.push((at_ms, step));
    }
    steps
}

impl HandoverStep {
    /// Until it is over, or people have given it up.
    pub fn lasts_ms(&self) -> Option<u64> {
        Some(self.lasts_ms)
    }
}

fn cluster_id(cluster: usize) -> Option<ClusterId> {
    ClusterId::parse(format!("cluster-{cluster}")).ok()
}

impl World {
    /// People stage it, switch it, and perhaps abort it, at whichever broker answers, until it is done.
    pub(super) fn take_handover_step(&self, step: &HandoverStep) {
        let (Some(from), Some(to)) = (cluster_id(step.from), cluster_id(step.to)) else { return };
        let Ok(names) = NamePattern::parse(&step.names) else { return };
        let (brokers, recorder, step) = (self.brokers.clone(), self.recorder.clone(), step.clone());
        tokio::task::spawn_local(async move {
            let told =
                Told::HandedOver { from: from.clone(), to: to.clone(), names: names.clone() };
            recorder.note(What::Told(told));
            let handle = || brokers.iter().find_map(|broker| lock(broker).handle());
            let ends = tokio::time::Instant::now() + Duration::from_millis(step.lasts_ms);
            let by = || Actor::User("ann".to_owned());
            let wanted = WantedHandover {
                from,
                to,
                names: vec![names],
                namespaces: vec![],
                mode: step.mode,
                with_different: false,
                by: by(),
                reason: String::new(),
            };
            let staged = loop {
                if tokio::time::Instant::now() > ends {
                    return;
                }
                if let Some(handle) = handle() {
                    // An answer that was lost may have been a yes.
                    let known = handle.store.handovers(0).await.unwrap_or_default();
                    let is_it = |known: &Handover| {
                        known.phase == HandoverPhase::Staged
                            && (&known.from, &known.to) == (&wanted.from, &wanted.to)
                            && known.names == wanted.names
                    };
                    if let Some(known) = known.into_iter().find(is_it) {
                        break known;
                    }
                    if let Ok(staged) = handle.stage_handover(wanted.clone()).await {
                        break staged;
                    }
                }
                tokio::time::sleep(AGAIN_EVERY).await;
            };
            tokio::time::sleep(Duration::from_millis(step.staged_ms)).await;
            let phase = async || {
                let known = handle()?.store.handover(staged.id).await.ok()??;
                Some(known.phase)
            };
            let mut is_switched = false;
            while !is_switched && tokio::time::Instant::now() < ends {
                if let Some(handle) = handle() {
                    drop(handle.switch_handover(staged.id).await);
                }
                is_switched = phase().await.is_some_and(|phase| phase != HandoverPhase::Staged);
                tokio::time::sleep(AGAIN_EVERY).await;
            }
            // One that could not be switched is not left behind.
            let aborted_ms = step.aborted_ms.or((!is_switched).then_some(0));
            let Some(aborted_ms) = aborted_ms else { return };
            tokio::time::sleep(Duration::from_millis(aborted_ms)).await;
            loop {
                if let Some(handle) = handle() {
                    drop(handle.abort_handover(staged.id, by(), String::new()).await);
                }
                let is_aborted = phase()
                    .await
                    .is_some_and(|phase| phase == HandoverPhase::Aborting || phase.is_over());
                if is_aborted {
                    return;
                }
                tokio::time::sleep(AGAIN_EVERY).await;
            }
        });
    }
}
