//! The oracle: whether a run broke an invariant, and by what one can tell.
//!
//! It judges from what was seen outside (`history.rs`): the wires, the store's log, the leases and AWS's journal. It never asks
//! the broker, and its ideas of merging, of ownership and of buckets are its own, smaller and slower than the broker's.
//! One file an invariant; the numbers are those of `core::invariants`.

mod attributable;
mod calm;
mod converges;
mod durable;
mod fair;
mod foreign;
mod freezes;
mod guards;
mod handover;
mod idle;
mod limits;
mod model;
mod observed;
mod one_writer;
mod owners;
mod placed;
mod placing;
mod poison;
mod quota;
mod reading;
mod sharing;
mod silence;
mod silent;
mod stored;
mod storms;
mod swap;
mod views;

use std::collections::BTreeSet;
use std::fmt;

use zonefold::core::invariants::Invariant;
use zonefold::core::time::Timestamp;

use super::history::{self, History};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// When it showed.
    pub at: Timestamp,
    /// The fault, with the evidence.
    pub what: String,
    /// The DNS names that it is about; the timeline tells of them.
    pub about: BTreeSet<String>,
}

impl Violation {
    fn new(invariant: Invariant, at: Timestamp, what: impl Into<String>) -> Self {
        Self { invariant, at, what: what.into(), about: BTreeSet::new() }
    }

    /// The violation, which is about this name.
    fn about(mut self, name: impl fmt::Display) -> Self {
        self.about.insert(name.to_string());
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invariant {} ({:?}) at {}: {}",
            self.invariant.number(),
            self.invariant,
            self.at,
            self.what
        )
    }
}

/// Every broken invariant of a run, in the order of the invariants.
pub fn judge(history: &History) -> Vec<Violation> {
    Invariant::ALL.into_iter().flat_map(|invariant| judge_one(history, invariant)).collect()
}

/// Whether a run broke one invariant.
pub fn judge_one(history: &History, invariant: Invariant) -> Vec<Violation> {
    let judge = match invariant {
        Invariant::AckedIsDurable => durable::judge,
        Invariant::SilenceNeverDeletes => silence::judge,
        Invariant::ForeignIsUntouched => foreign::judge,
        Invariant::CompareAndSwap => swap::judge,
        Invariant::LimitsHold => limits::judge,
        Invariant::PoisonIsAlone => poison::judge,
        Invariant::HandoverWithoutGap => handover::judge,
        Invariant::NoStarvation => fair::judge,
        Invariant::IdleIsFree => idle::judge,
        Invariant::Attributable => attributable::judge,
        Invariant::Converges => converges::judge,
        Invariant::OneWriter => one_writer::judge,
        Invariant::FreezesHold => freezes::judge,
        Invariant::GuardsHold => guards::judge,
        Invariant::SharedNamesAnswer => sharing::judge,
    };
    let more: fn(&History) -> Vec<Violation> = match invariant {
        Invariant::SilenceNeverDeletes => placed::judge,
        Invariant::ForeignIsUntouched => observed::judge,
        Invariant::LimitsHold => storms::judge,
        Invariant::Converges => silent::judge,
        _ => |_| vec![],
    };
    judge(history).into_iter().chain(more(history)).collect()
}
