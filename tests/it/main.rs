//! The integration tests: one binary, one module a subject.

mod agent;
mod bench;
mod emulator;
mod emulator_control;
mod emulator_dns;
mod emulator_rows;
mod emulator_support;
mod store;
mod support;
