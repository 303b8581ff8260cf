//! The integration tests: one binary, one module a subject.

#![expect(
    clippy::disallowed_methods,
    reason = "a test sets the scene: it reads the environment and makes clients of its own"
)]

mod agent;
mod api;
mod api_support;
mod architecture;
mod bad_input;
mod bench;
mod burst;
mod cases;
mod chaos;
mod deploy;
mod dev_walk;
mod doc_comments;
mod docs;
mod emulator;
mod emulator_control;
mod emulator_dns;
mod emulator_rows;
mod emulator_rows_2;
mod emulator_support;
mod forget;
mod fuzz;
mod identity;
mod invariants;
mod kill;
mod kubernetes;
mod main_job;
mod policy;
mod replicas;
mod shape;
mod simulation;
mod store;
mod stream;
mod support;
mod type_names;
mod zone_rules;
