//! Zonefold's decisions as functions: state in, decision and report out. No async, no IO, no clock, no randomness, no
//! globals, no logging; time is an argument.

pub mod aws;
pub mod batch;
pub mod dns;
pub mod endpoint;
pub mod governance;
pub mod ids;
pub mod invariants;
pub mod limits;
pub mod people;
pub mod planning;
pub mod printable;
pub mod release;
pub mod time;
pub mod transport;
pub mod visibility;

#[cfg(test)]
pub mod testkit;
