//! What the store keeps of what happened, for people.

use super::{AuditTrail, ClusterPresence, History, Notices};

/// The audit, earlier moments, notifications, and when clusters were last connected.
pub trait Books: AuditTrail + History + Notices + ClusterPresence {}

impl<T: AuditTrail + History + Notices + ClusterPresence> Books for T {}
