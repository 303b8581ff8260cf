//! What Zonefold decides, as functions: state in, decision and report out. No async, no IO, no clock, no randomness, no
//! globals, no logging; time is an argument.

pub mod access;
pub mod budget;
pub mod change;
pub mod digest;
pub mod endpoint;
pub mod fair;
pub mod fold;
pub mod ids;
pub mod name;
pub mod policy;
pub mod rdata;
pub mod record;
pub mod refusal;
pub mod time;
pub mod verdict;
