//! The agent.
pub mod index;
pub mod manifests;
pub mod outbox;
pub mod session;
pub mod shared;
pub mod sources;
pub mod status;
