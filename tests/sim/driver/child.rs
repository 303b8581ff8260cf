//! One seed, in a process of its own.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::anyhow;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use zonefold::core::invariants::Invariant;

use super::super::history::{History, What};
use super::super::oracle::{self, Violation};
use super::super::recorder::log_hash;
use super::super::schedule::Schedule;
use super::super::world;
use super::command::{OneOptions, Telling};
use super::shrink;
use super::summary::{Failure, Report};
use super::timeline::{self, Focus};

/// Runs the seed and says what became of it; a broken invariant is no error of the child's.
pub fn main(options: &OneOptions) -> anyhow::Result<ExitCode> {
    let mut schedule = Schedule::draw(options.seed);
    let steps = schedule.steps.len();
    if let Some(keep) = &options.keep {
        let kept = shrink::from_text(keep).map_err(|error| anyhow!(error))?;
        let mut place = 0..;
        schedule.steps.retain(|_| place.next().is_some_and(|place| kept.contains(&place)));
    }
    mad_turmoil::rand::set_rng(StdRng::seed_from_u64(options.seed));
    let seed = options.seed;
    // A thread of its own begins with the seed's randomness, whatever this one has drawn before.
    let running = std::thread::spawn(move || world::run(seed, &schedule));
    let history = running.join().map_err(|_| anyhow!("the run panicked"))?;
    let violations = oracle::judge(&history);
    let report = report(options.seed, steps, &history, &violations);
    match options.tell {
        Telling::Json => println!("{}", serde_json::to_string(&report)?),
        Telling::Story => tell(&history, &violations, options.broken.as_deref(), Scope::Concerned),
        Telling::Everything => {
            tell(&history, &violations, options.broken.as_deref(), Scope::Everything)
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn name_of(invariant: Invariant) -> String {
    serde_json::to_value(invariant)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn report(seed: u64, steps: usize, history: &History, violations: &[Violation]) -> Report {
    let mut faults: BTreeMap<String, u64> = BTreeMap::new();
    let mut failures = vec![];
    for event in &history.log {
        match &event.what {
            What::Fault { kind, .. } => *faults.entry((*kind).to_owned()).or_default() += 1,
            What::Panicked { part, message } => {
                failures.push(Failure {
                    broken: "panic".to_owned(),
                    what: format!("{part}: {message}"),
                });
            }
            _ => {}
        }
    }
    failures.extend(violations.iter().map(|violation| Failure {
        broken: name_of(violation.invariant),
        what: violation.to_string(),
    }));
    let virtual_ms =
        u64::try_from((history.end.at - history.world.started_at).0).unwrap_or_default();
    Report {
        seed,
        steps,
        virtual_ms,
        faults,
        events: history.log.len(),
        hash: log_hash(history),
        failures,
    }
}

/// How much a timeline tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Concerned,
    Everything,
}

/// The violations and the timeline, for a person. `broken` is the invariant that the timeline is to show.
fn tell(history: &History, violations: &[Violation], broken: Option<&str>, scope: Scope) {
    println!("seed {}: {} violations", history.world.seed, violations.len());
    for violation in violations {
        println!("{violation}");
    }
    let shown = violations
        .iter()
        .find(|violation| broken.is_none_or(|broken| name_of(violation.invariant) == broken));
    let shown = shown.or(violations.first());
    let (focus, until) = match (scope, shown) {
        (Scope::Concerned, Some(violation)) => {
            (Focus::Names(violation.about.clone()), violation.at)
        }
        (Scope::Everything, _) | (_, None) => (Focus::All, history.end.at),
    };
    if let Focus::Names(names) = &focus {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        println!(
            "\nwhat concerns {}:",
            if names.is_empty() { "calls and leases".to_owned() } else { names.join(", ") }
        );
    }
    for line in timeline::lines(history, &focus, until) {
        println!("{line}");
    }
}
