//! What people are told without asking.
//!
//! What happens by itself is written to the audit by one replica ([`observer`]): a guard that holds, a freeze that begins, an account
//! that is parked, a cluster that is silent, drift, conflicts, requests that expire. The audit is read in its order, and each entry
//! becomes a notification for each subscription that it is for, once; those are delivered by whichever replica claims them
//! ([`dispatcher`]).

pub mod dispatcher;
pub mod metrics;
pub mod observer;
mod watch;
