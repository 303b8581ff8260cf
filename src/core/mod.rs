//! What Zonefold decides, as functions: state in, decision and report out. No async, no IO, no clock, no randomness, no
//! globals, no logging; time is an argument.

pub mod access;
pub mod alias_zones;
pub mod budget;
pub mod change;
pub mod check;
pub mod claims;
pub mod digest;
pub mod endpoint;
pub mod fair;
pub mod fold;
pub mod ids;
pub mod invariants;
pub mod name;
pub mod packed;
pub mod plan;
pub mod policy;
pub mod rdata;
pub mod record;
pub mod refusal;
pub mod routing;
pub mod status;
pub mod time;
pub mod transport;
pub mod turns;
pub mod verdict;
pub mod wish;

#[cfg(test)]
pub mod testkit;
