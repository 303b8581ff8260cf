//! The integration tests: one binary, one module a subject.

mod agent;
mod store;
mod support;
