//! The agent.
pub mod index;
pub mod outbox;
pub mod sources;
pub mod status;
