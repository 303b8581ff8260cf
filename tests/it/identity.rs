//! The identity of an agent: certificates and tokens, over real TLS handshakes, and the cluster that they decide.

mod clocks;
mod rest;
mod silent;
pub mod site;
mod tls;
mod tokens;
