//! The outside world behind the ports: Route 53 with STS, the stores, the clock, TLS, and caller authentication.

pub mod auth;
pub mod clock;
pub mod route53;
pub mod store;
pub mod tls;
