//! The agent against a broker that follows a script.

mod examples;
mod fake_broker;
mod folder;
mod session;
