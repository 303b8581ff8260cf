//! The parts that several tests share.

pub mod api_server;
pub mod authority;
pub mod aws;
pub mod deployment;
pub mod folder;
pub mod foreign;
pub mod manifests;
pub mod microburst;
pub mod ministack;
pub mod network;
pub mod postgres;
pub mod process;
pub mod python;
pub mod relay;
pub mod seed;
pub mod tap;
pub mod wait;
pub mod witness;
pub mod world;

/// A folder of rules under which no guard counts, for tests that are about something else.
pub const NO_GUARDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rules/no-guards");
