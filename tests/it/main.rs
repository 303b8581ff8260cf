//! The integration tests: one binary, one module a subject.

mod agent;
mod architecture;
mod store;
mod support;
