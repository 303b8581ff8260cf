//! From stored state to serving, without a call to AWS.

pub mod progress;
pub(super) mod start;
