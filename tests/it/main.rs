//! The integration tests, one binary.

mod emulator;
mod emulator_control;
mod emulator_dns;
mod emulator_rows;
mod emulator_support;
