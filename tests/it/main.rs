//! The integration tests: one binary, one folder a subject.

#![expect(
    clippy::disallowed_methods,
    reason = "a test sets the scene: it reads the environment and makes clients of its own"
)]

mod agent;
mod api;
mod chaos;
mod emulator;
mod end_to_end;
mod governance;
mod house;
mod identity;
mod kubernetes;
mod notices;
mod people;
mod replicas;
mod simulation;
mod store;
mod stream;
mod support;
