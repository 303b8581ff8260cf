//! The outside world behind the ports: Route 53 with STS, the stores, the clock, TLS, caller authentication,
//! and the sender of notifications.

pub mod auth;
pub mod clock;
pub mod notify;
pub mod route53;
pub mod store;
pub mod tls;
