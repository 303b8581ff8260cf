//! What guards hold in an account, as its zones and the check of each batch know it.

use std::sync::Arc;

use super::hold::Approvals;
use super::ledger::Crossings;

/// What guards hold in an account now, and what people let go all the same.
#[derive(Clone, Debug, Default)]
pub struct Guarded {
    /// The lines that are crossed.
    pub crossings: Crossings,
    /// The units that people let go.
    pub approvals: Arc<Approvals>,
}
