//! Zonefold: the coordinator between the Kubernetes clusters and the Route 53 accounts of a company.

pub mod adapters;
pub mod agent;
pub mod api;
pub mod app;
pub mod broker;
pub mod cli;
pub mod config;
pub mod core;
pub mod emulator;
pub mod ports;
pub mod telemetry;
pub mod wire;
