//! Everything that calls, or is called back: reads, batches, discovery, and the answers to them.

pub(in crate::broker::worker) mod calls;
pub(in crate::broker::worker) mod change;
pub(in crate::broker::worker) mod discovery;
pub(in crate::broker::worker) mod reading;
pub(in crate::broker::worker) mod refused;
pub(in crate::broker::worker) mod searching;
pub(in crate::broker::worker) mod sending;
