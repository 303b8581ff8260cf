//! The broker's dependencies as traits: a store, Route 53, a clock, callers. Adapters implement them; nothing here does IO.

mod audit;
mod books;
mod callers;
mod credentials;
mod dns;
mod handovers;
mod history;
mod notices;
mod presence;
mod replicas;
mod requests;
mod rules;
mod sign_in;
mod store;

pub use audit::*;
pub use books::*;
pub use callers::*;
pub use credentials::*;
pub use dns::*;
pub use handovers::*;
pub use history::*;
pub use notices::*;
pub use presence::*;
pub use replicas::*;
pub use requests::*;
pub use rules::*;
pub use sign_in::*;
pub use store::*;

use crate::core::time::Timestamp;

/// The time of day. Waiting is tokio's affair, so a paused runtime and a clock that follows it make virtual time.
pub trait Clock: Send + Sync {
    /// Now, in milliseconds since the epoch.
    fn now(&self) -> Timestamp;
}
