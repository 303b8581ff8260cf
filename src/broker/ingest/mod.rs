//! The broker's end of the stream: sessions, durable commits, statuses back.
//!
//! ```text
//! stream ─▶ receive ─▶ ordered work ─▶ committer (all streams, one transaction) ─▶ store ─▶ decider
//!                            └──────── acks, after the commit ────────▶ stream
//! ```

mod admission;
mod committer;
pub mod offline;
mod opener;
mod put;
mod quiet;
mod readiness;
mod service;
mod session;
mod snapshot;
mod starting;
mod status;
mod watchers;

pub use admission::{Admission, REASON, RefusedClaim};
pub use committer::{Committer, CommitterHandle, CommitterParts};
pub use readiness::watch_store;
pub use service::{FederationService, ServiceParts};
pub use session::{Limits, barrier};
pub use starting::StartingService;
