//! Who may do what with which name: the rules that people write, and what follows from them.
//!
//! Rules are data of one form, wherever they live. [`ruleset::Rules`] is all of them at one moment, checked as a whole, with a digest
//! for its version; everything else here asks it.

pub mod actor;
pub mod document;
pub mod entitlement;
pub mod freeze;
pub mod handover;
pub mod pattern;
pub mod problem;
pub mod rule;
pub mod ruleset;
pub mod schedule;
pub mod selector;
pub mod snapshot;
#[cfg(test)]
pub mod testkit;
