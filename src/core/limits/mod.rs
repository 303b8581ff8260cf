//! Which call may go out next: the token buckets of an account, and the turns of clusters and zones.

pub mod budget;
pub mod fair;
pub mod round_robin;
