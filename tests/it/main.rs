//! The integration tests: one binary, one module a subject.

mod agent;
mod bad_input;
mod dev_walk;
mod emulator;
mod emulator_control;
mod emulator_dns;
mod emulator_rows;
mod emulator_support;
mod main_job;
mod store;
mod support;
