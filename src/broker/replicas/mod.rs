//! Which replica manages which account: leases are taken, handed over and watched, and what the other replicas
//! committed is followed.

pub mod feed_reader;
pub(super) mod leased_account;
pub mod manager;
pub(super) mod rebalance;
