//! TLS on the broker's own listeners: certificates that are read again when their files change, and connections that know their
//! peer.

mod listener;
mod lobby;
mod metrics;
mod pem;
mod server;

pub use listener::{Connection, Listener};
pub use lobby::WaitingLimits;
pub use metrics::TlsMetrics;
pub use pem::{TlsError, client_config};
pub use server::{Protocol, Reloaded, ServerTls, TlsFiles};
