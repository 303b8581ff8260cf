//! The sums of many runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The invariant, by its name in `core::invariants`; `panic` or `hang` for a run that did not come to its end.
    pub broken: String,
    /// The evidence.
    pub what: String,
}

/// A child's report of its run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How many steps the whole schedule of the seed has.
    pub steps: usize,
    /// The length of the run in virtual milliseconds.
    pub virtual_ms: u64,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<String, u64>,
    /// How many events the history has.
    pub events: usize,
    /// A hash over every byte of the history: equal for two runs that were the same.
    pub hash: String,
    /// The failures, in the order of the invariants.
    pub failures: Vec<Failure>,
}

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedRun {
    /// The seed.
    pub seed: u64,
    /// Why.
    pub failures: Vec<Failure>,
}

/// All runs together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// How many runs came to an end, sound or not.
    pub runs: u64,
    /// Their length in virtual hours.
    pub virtual_hours: f64,
    /// Faults that struck.
    pub faults_injected: u64,
    /// The same by kind.
    pub faults_by_kind: BTreeMap<String, u64>,
    /// The time that it took, in real minutes.
    pub real_minutes: f64,
    /// Runs in a real second.
    pub runs_per_second: f64,
    /// Virtual hours in a real minute.
    pub virtual_hours_per_minute: f64,
    /// Faults in a real minute.
    pub faults_per_minute: f64,
    /// The seeds that failed.
    pub violations: Vec<FailedRun>,
}

impl Summary {
    /// Takes in a run.
    pub fn add(&mut self, report: Report) {
        self.runs += 1;
        self.virtual_hours += report.virtual_ms as f64 / 3_600_000.0;
        for (kind, count) in report.faults {
            self.faults_injected += count;
            *self.faults_by_kind.entry(kind).or_default() += count;
        }
        if !report.failures.is_empty() {
            self.violations.push(FailedRun { seed: report.seed, failures: report.failures });
        }
    }

    /// Takes the real time that has gone by.
    pub fn after_secs(&mut self, real_secs: f64) {
        self.real_minutes = real_secs / 60.0;
        let minutes = self.real_minutes.max(1e-6);
        self.runs_per_second = self.runs as f64 / minutes / 60.0;
        self.virtual_hours_per_minute = self.virtual_hours / minutes;
        self.faults_per_minute = self.faults_injected as f64 / minutes;
    }

    /// One line for people.
    pub fn line(&self) -> String {
        format!(
            "{} runs · {:.1} virtual hours · {} faults · {:.1} runs/s · {} failed",
            self.runs,
            self.virtual_hours,
            self.faults_injected,
            self.runs_per_second,
            self.violations.len()
        )
    }

    /// All of it for people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}\n{:.1} minutes: {:.1} virtual hours and {:.0} faults a minute\n",
            self.line(),
            self.real_minutes,
            self.virtual_hours_per_minute,
            self.faults_per_minute
        );
        let mut kinds: Vec<_> = self.faults_by_kind.iter().collect();
        kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(**count), *kind));
        for (kind, count) in kinds {
            text.push_str(&format!("  {count:>10}  {kind}\n"));
        }
        for failed in &self.violations {
            for failure in failed.failures.iter().take(1) {
                text.push_str(&format!(
                    "  seed {} broke {}: {}\n",
                    failed.seed, failure.broken, failure.what
                ));
            }
        }
        text
    }
}
